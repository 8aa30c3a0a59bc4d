//! Made-up changes for tests, of every kind, from a seed. Nothing outside tests uses this.

use crate::domain::cell::{Cell, Channel, Class, Operation, Selector};
use crate::domain::deadline::{Extension, Rule};
use crate::domain::gate::{Health, Outage, Override};
use crate::domain::ids::{
    AttemptNo, Fingerprint, InstitutionCode, InsuredHash, KeyHash, Mark, OrderingKey, Seq,
};
use crate::domain::ledger::Entry;
use crate::domain::money::Money;
use crate::domain::outcome::{DoubtReason, TransientReason};
use crate::domain::policy::{Advice, Disposition, RowRef};
use crate::domain::state::State;
use crate::domain::term::{Deadline, Ground, OwedBy, Term};
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Interval, Timestamp};
use crate::domain::window::{Act, Cause, Notice, Proof, RestoreBy, Window};
use crate::engine::change::{
    Accepted, AuditHead, Carried, Case, Change, ResolvedBy, Sealed, Settlement, Told, Totals,
    TurnedAway,
};
use bytes::Bytes;
use std::sync::Arc;

/// The kinds that there are, numbered as in the journal's format.
pub const KINDS: u8 = 28;

/// A source of chance that repeats itself for a seed.
#[derive(Debug)]
pub struct Dice(fastrand::Rng);

impl Dice {
    /// The dice of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number from 0 to `end - 1`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.u64(..end.max(1))
    }

    /// One of the kinds.
    pub fn kind(&mut self) -> u8 {
        self.0.u8(1..=KINDS)
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.0.bool()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.coin().then(|| make(self))
    }

    fn text(&mut self) -> String {
        let length = self.0.usize(0..20);
        (0..length).map(|_| self.of(&['a', 'Z', '9', ' ', '医', '"', '\\', '\n'])).collect()
    }

    fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(&mut self) -> T {
        let length = self.0.usize(1..20);
        let text: String = (0..length).map(|_| self.0.char('a'..='z')).collect();
        text.parse().unwrap_or_else(|_| unreachable_name())
    }

    fn institution(&mut self) -> InstitutionCode {
        let number = self.below(99_999_999_999);
        format!("H{number:011}").parse().unwrap_or_else(|_| unreachable_name())
    }

    fn at(&mut self) -> Timestamp {
        // 2001 to 2033, in milliseconds.
        Timestamp::from_millis(1_000_000_000_000 + self.0.i64(0..1_000_000_000_000))
    }

    fn date(&mut self) -> CivilDate {
        CivilDate::from_num_days_from_ce_opt(self.0.i32(730_000..750_000)).unwrap_or_default()
    }

    fn deadline(&mut self) -> Deadline {
        if self.0.bool() { Deadline::Day(self.date()) } else { Deadline::Moment(self.at()) }
    }

    fn seq(&mut self) -> Seq {
        let bits = self.0.u32(1..64);
        Seq(self.below(1 << bits) + 1)
    }

    fn money(&mut self) -> Money {
        Money::from_fen(self.0.i64(-1_000_000..9_999_999_999)).unwrap_or_default()
    }

    fn sealed(&mut self) -> Sealed {
        let length = self.0.usize(28..400);
        let bytes: Vec<u8> = (0..length).map(|_| self.0.u8(..)).collect();
        Sealed { algorithm: 1, key_id: self.0.u32(1..), bytes: Bytes::from(bytes) }
    }
}

#[expect(clippy::panic, reason = "a defect of this file, which only tests use")]
fn unreachable_name<T>() -> T {
    panic!("made up a name that breaks the rules")
}

/// But for those that are younger than the stored formats that this is compared with.
fn reasons() -> &'static [TransientReason] {
    TransientReason::ALL.get(..9).unwrap_or(TransientReason::ALL)
}

fn cell(d: &mut Dice) -> Cell {
    let labels = d.below(3);
    let attributes = d.below(3);
    Cell {
        upstream: d.name(),
        business: d.name(),
        operation: d.of(Operation::ALL),
        class: d.of(Class::ALL),
        channel: d.of(Channel::ALL),
        district: d.name(),
        labels: (0..labels).map(|_| d.name()).collect(),
        attributes: (0..attributes).map(|_| (d.text(), d.text())).collect(),
    }
}

fn extension(d: &mut Dice) -> Extension {
    Extension {
        from: d.deadline(),
        to: d.deadline(),
        rule: d.of(&[
            Rule::None,
            Rule::FirstFullWorkingDay,
            Rule::RestorePlusWorkingDays(3),
            Rule::ShiftByOutage,
            Rule::RestorePlusDays(10),
            Rule::FixedDate(CivilDate::MAX),
        ]),
        clause: d.text(),
        window: d.name(),
        version: 4,
        calendar: d.text(),
    }
}

fn row(d: &mut Dice) -> RowRef {
    RowRef { window: d.name(), version: 2, row: d.0.u32(..), clause: d.text() }
}

/// A transaction. Its key hash is a function of the seed alone.
pub fn accepted(d: &mut Dice) -> Accepted {
    let bring = d.below(3);
    Accepted {
        at: d.at(),
        institution: d.institution(),
        cell: Arc::new(cell(d)),
        ordering_key: OrderingKey(d.0.u128(..)),
        key_hash: KeyHash(d.0.u128(..)),
        fingerprint: Fingerprint(d.0.u64(..)),
        insured: InsuredHash(d.0.u128(..)),
        amount: d.money(),
        occurred_at: d.at(),
        received_from_person_at: d.maybe(Dice::at),
        deadline: d.maybe(Dice::date),
        replaces: d.maybe(Dice::seq),
        depends_on: d.maybe(Dice::seq),
        self_contained: d.coin(),
        needs_credential: d.coin(),
        ticket_after: d.maybe(Dice::at),
        // Younger than the stored formats that this is compared with.
        blobs: Vec::new(),
        told: Told {
            disposition: d.of(Disposition::ALL),
            advice: d.of(Advice::ALL),
            row: d.maybe(row),
            resume_at: d.maybe(Dice::at),
            alternative: d.maybe(Dice::text),
            bring: (0..bring).map(|_| d.text()).collect(),
            deadline: d.maybe(extension),
            deadline_final: d.coin(),
            kept: false,
            incurred_in: None,
        },
        sealed: d.sealed(),
    }
}

fn settlement(d: &mut Dice) -> Settlement {
    match d.below(4) {
        0 => Settlement::Applied {
            answer: d.maybe(Dice::sealed),
            business_status: d.maybe(Dice::text),
        },
        1 => Settlement::Refused {
            code: d.text(),
            answer: d.maybe(Dice::sealed),
            provisional: d.coin(),
        },
        2 => Settlement::Transient { reason: d.of(reasons()), not_before: d.at() },
        _ => Settlement::InDoubt { reason: d.of(DoubtReason::ALL), ask_at: d.at() },
    }
}

fn window(d: &mut Dice) -> Window {
    let stretch = Interval { start: d.at(), end: d.at() };
    Window {
        id: d.name(),
        version: 3,
        zone: chrono_tz::Asia::Shanghai,
        planned: stretch,
        published: stretch,
        told: Vec::new(),
        author: d.text(),
        reason: d.text(),
        changed_at: d.at(),
        notice: d.maybe(|d| Notice {
            source: d.text(),
            published_at: d.at(),
            document: d.maybe(Dice::text),
            digest: None,
            // Younger than the stored formats that this is compared with.
            clauses: Vec::new(),
        }),
        policy: Vec::new(),
        deadlines: None,
        restore_by: d.of(&[RestoreBy::Probes, RestoreBy::Signed]),
        cause: Cause::Planned,
        cutoff_minutes: None,
        cancelled_at: d.maybe(Dice::at),
        restores: vec![Act {
            cells: selector(d),
            at: d.at(),
            ready_from: None,
            by: d.text(),
            proof: Proof::Signed,
            reason: d.text(),
        }],
        releases: Vec::new(),
    }
}

fn selector(d: &mut Dice) -> Selector {
    Selector { upstream: vec![d.name()], class: vec![d.of(Class::ALL)], ..Selector::default() }
}

fn carried(d: &mut Dice) -> Carried {
    Carried {
        transaction: d.seq(),
        facts: accepted(d).facts(),
        state: d.of(State::ALL),
        attempts: d.0.u32(..),
        failures: d.0.u32(..),
        not_before: d.at(),
        provisional: d.maybe(Dice::text),
        ended_at: d.maybe(Dice::at),
        given_up_for: d.maybe(|d| d.of(reasons())),
    }
}

/// A change of the kind with this number.
pub fn change(d: &mut Dice, kind: u8) -> Change {
    let (transaction, at) = (d.seq(), d.at());
    let attempt = AttemptNo(d.0.u32(..));
    match kind {
        1 => {
            let (epoch, mark) = (d.below(1 << 40), Mark::new(d.0.u64(..)));
            Change::Started { epoch, mark, virtual_clock: d.coin(), at }
        }
        2 => Change::Accepted(Arc::new(accepted(d))),
        3 => Change::TurnedAway(Arc::new(TurnedAway {
            at,
            institution: d.institution(),
            cell: cell(d),
            amount: d.money(),
            row: d.maybe(row),
            resume_at: d.maybe(Dice::at),
            deadline: d.maybe(extension),
        })),
        4 => Change::AttemptStarted { transaction, attempt, at },
        5 => Change::Settled { transaction, attempt, settlement: settlement(d), at },
        6 => Change::Resolved {
            transaction,
            settlement: settlement(d),
            by: d.of(&[ResolvedBy::Asking, ResolvedBy::Person]),
            person: d.maybe(Dice::text),
            reason: d.maybe(Dice::text),
            at,
        },
        7 => Change::StillInDoubt { transaction, ask_at: d.at() },
        8 => Change::ProvisionalDecided { upstream: d.name(), confirmed: d.coin(), at },
        9 => Change::Ticketed { transaction, at },
        10 => Change::TicketClosed {
            transaction,
            how: d.of(TicketState::ALL),
            by_transaction: d.maybe(Dice::seq),
            person: d.maybe(Dice::text),
            reason: d.maybe(Dice::text),
            at,
        },
        11 => Change::Withdrawn { transaction, by: d.text(), reason: d.text(), at },
        12 => Change::DeadLettered { transaction, reason: d.of(reasons()), at },
        13 => Change::Redriven { transaction, by: d.text(), reason: d.text(), at },
        14 => Change::ActionRequired { transaction, why: d.text(), at },
        15 => Change::Superseded { transaction, by_transaction: d.seq(), at },
        16 => Change::ResultTold { transaction, how: d.text(), by: d.text(), at },
        _ => rare(d, kind, transaction, at),
    }
}

fn rare(d: &mut Dice, kind: u8, transaction: Seq, at: Timestamp) -> Change {
    match kind {
        17 => Change::WindowSet(Arc::new(window(d))),
        18 => Change::OverridesSet(vec![Override {
            cells: selector(d),
            by: d.text(),
            reason: d.text(),
            since: d.at(),
            until: d.at(),
        }]),
        19 => Change::HealthSet { upstream: d.name(), health: Health::open(at) },
        20 => Change::DeadlineRegistered {
            case: Case {
                institution: d.institution(),
                business: d.name(),
                original: d.deadline(),
                reference: InsuredHash(d.0.u128(..)),
                ground: d.0.bool().then(|| Ground { term: Term::Months(6), event: d.date() }),
                owed_by: d.0.bool().then(|| d.of(OwedBy::ALL)),
            },
            at,
        },
        21 => Change::DeadlineTold {
            business: d.name(),
            original: d.deadline(),
            extension: extension(d),
            cause: d.text(),
            at,
        },
        22 => Change::Totals(Box::new(Totals {
            books: vec![Entry { items: d.0.u64(..), fen: d.0.i128(..) }; 15],
            turned_away: d.below(1 << 40),
            epoch: 7,
            starts: vec![(d.seq(), Mark::new(d.0.u64(..))); 3],
            last_at: at,
            up_to: d.seq(),
        })),
        23 => Change::Carried((0..3).map(|_| carried(d)).collect()),
        25 => Change::Forwarded { transaction, accepted: Arc::new(accepted(d)), at },
        // A sample must not make a journal believe that its segments have left.
        26 => Change::Retired { before: Seq(1), at },
        27 => Change::ClockAccepted { by: d.text(), reason: d.text(), at },
        31 => Change::IntakeStopped(Outage { began: at, ended: d.maybe(Dice::at), settled: true }),
        28 => {
            Change::AuditNoted { head: AuditHead { records: d.below(1 << 40), hash: d.text() }, at }
        }
        _ => Change::DeadlineCarried { id: d.seq(), registered: Box::new(change(d, 20)) },
    }
}
