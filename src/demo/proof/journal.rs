//! The journal, recounted: where each accepted transaction stands when every record is read in
//! order.
//!
//! This is not the engine's fold: it keeps no queues, no gates and no keys, only what the checks
//! need, so that a defect of the one does not hide in the other.

use crate::domain::cell::Cell;
use crate::domain::ids::{
    Fingerprint, InstitutionCode, OrderingKey, Seq, TransactionId, UpstreamName,
};
use crate::domain::money::Money;
use crate::domain::numbers::Numbers;
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{Accepted, Change, Settlement};
use std::collections::BTreeMap;

/// An accepted transaction, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The submitter.
    pub institution: InstitutionCode,
    /// The cell.
    pub cell: Cell,
    /// The ordering key, as hashed by the daemon.
    pub ordering_key: OrderingKey,
    /// The content's hash.
    pub fingerprint: Fingerprint,
    /// The amount.
    pub amount: Money,
    /// When it was accepted.
    pub at: Timestamp,
    /// What was done with it on acceptance.
    pub disposition: Disposition,
    /// Whether it took another's place.
    pub replaces: Option<Seq>,
    /// Where it stands.
    pub state: State,
    /// Whether it was ever in doubt.
    pub doubted: bool,
    /// Its ticket, if it ever had one.
    pub ticket: Option<TicketState>,
    /// For a pre-accepted one: whether its result was told.
    pub result_told: bool,
    provisional: bool,
}

/// A submission that was turned away, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// The submitter.
    pub institution: InstitutionCode,
    /// The cell it would have had.
    pub cell: Cell,
}

/// A date that was told, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The business.
    pub business: String,
    /// The date given.
    pub original: CivilDate,
    /// The date told.
    pub to: CivilDate,
    /// When.
    pub at: Timestamp,
}

/// The recount.
#[derive(Debug, Clone, Default)]
pub struct Recount {
    /// Everything accepted.
    pub accepted: BTreeMap<Seq, Recorded>,
    /// Everything turned away.
    pub turned_away: BTreeMap<Seq, TurnedAway>,
    /// Dates told, in order.
    pub told: Vec<Told>,
    /// The numbers given out, by the starts of daemons.
    pub numbers: Numbers,
    /// How often refusals of a core that was coming up were taken back.
    pub taken_back: u64,
    /// Records that speak of a transaction that no record before them accepted.
    pub orphans: Vec<Seq>,
}

impl Recorded {
    fn of(accepted: &Accepted) -> Self {
        Self {
            institution: accepted.institution.clone(),
            cell: accepted.cell.as_ref().clone(),
            ordering_key: accepted.ordering_key,
            fingerprint: accepted.fingerprint,
            amount: accepted.amount,
            at: accepted.at,
            disposition: accepted.told.disposition,
            replaces: accepted.replaces,
            state: State::Waiting,
            doubted: false,
            ticket: None,
            result_told: false,
            provisional: false,
        }
    }
}

impl Recount {
    /// The transaction that has this id.
    #[must_use]
    pub fn kept(&self, id: TransactionId) -> Option<&Recorded> {
        self.accepted.get(&self.numbers.place(&id)?)
    }

    /// Takes in the record `seq`.
    pub fn read(&mut self, seq: Seq, change: Change) {
        match change {
            Change::Started { mark, .. } => self.numbers.start(seq, mark),
            Change::Accepted(accepted) => {
                self.accepted.insert(seq, Recorded::of(&accepted));
            }
            Change::TurnedAway(record) => {
                let turned_away = TurnedAway {
                    institution: record.institution.clone(),
                    cell: record.cell.clone(),
                };
                self.turned_away.insert(seq, turned_away);
            }
            Change::AttemptStarted { transaction, .. } => {
                self.set(seq, transaction, State::InFlight);
            }
            Change::Settled { transaction, settlement, .. }
            | Change::Resolved { transaction, settlement, .. } => {
                self.settle(seq, transaction, &settlement);
            }
            Change::ProvisionalDecided { upstream, confirmed, .. } => {
                self.taken_back += u64::from(!confirmed);
                self.decide(&upstream, confirmed);
            }
            Change::Ticketed { transaction, .. } => {
                self.set(seq, transaction, State::Ticketed);
                self.with(seq, transaction, |t| t.ticket = Some(TicketState::Open));
            }
            Change::TicketClosed { transaction, how, .. } => {
                let state = match how {
                    TicketState::Resettled => State::Superseded,
                    TicketState::ReimbursedManually | TicketState::Waived => State::Withdrawn,
                    TicketState::Open => State::Ticketed,
                };
                self.set(seq, transaction, state);
                self.with(seq, transaction, |t| t.ticket = Some(how));
            }
            Change::Withdrawn { transaction, .. } => {
                self.set(seq, transaction, State::Withdrawn);
            }
            Change::DeadLettered { transaction, .. } => {
                self.set(seq, transaction, State::DeadLettered);
            }
            Change::Redriven { transaction, .. } => self.set(seq, transaction, State::Waiting),
            Change::ActionRequired { transaction, .. } => {
                self.set(seq, transaction, State::ActionRequired);
            }
            Change::Superseded { transaction, .. } => {
                self.set(seq, transaction, State::Superseded);
            }
            Change::ResultTold { transaction, .. } => {
                self.with(seq, transaction, |t| t.result_told = true);
            }
            Change::DeadlineTold { business, original, extension, at, .. } => {
                let business = business.to_string();
                // The demo speaks of days alone.
                let [original, to] = [original, extension.to].map(|due| due.day(chrono_tz::UTC));
                self.told.push(Told { business, original, to, at });
            }
            Change::StillInDoubt { .. }
            | Change::Forwarded { .. }
            | Change::Retired { .. }
            | Change::ClockAccepted { .. }
            | Change::AuditNoted { .. }
            | Change::BlobStored(_)
            | Change::BlobsRemoved { .. }
            | Change::WindowSet(_)
            | Change::OverridesSet(_)
            | Change::HealthSet { .. }
            | Change::IntakeStopped(_)
            | Change::DeadlineRegistered { .. }
            | Change::Totals(_)
            | Change::Carried(_)
            | Change::DeadlineCarried { .. } => {}
        }
    }

    fn with(&mut self, seq: Seq, transaction: Seq, act: impl FnOnce(&mut Recorded)) {
        match self.accepted.get_mut(&transaction) {
            Some(recorded) => act(recorded),
            None => self.orphans.push(seq),
        }
    }

    fn set(&mut self, seq: Seq, transaction: Seq, state: State) {
        self.with(seq, transaction, |t| {
            t.state = state;
            t.provisional = false;
        });
    }

    fn settle(&mut self, seq: Seq, transaction: Seq, settlement: &Settlement) {
        match settlement {
            Settlement::Applied { .. } => self.set(seq, transaction, State::Applied),
            Settlement::Refused { provisional: true, .. } => {
                self.set(seq, transaction, State::InFlight);
                self.with(seq, transaction, |t| t.provisional = true);
            }
            Settlement::Refused { .. } => self.set(seq, transaction, State::Refused),
            Settlement::Transient { .. } => self.set(seq, transaction, State::Waiting),
            Settlement::InDoubt { .. } => {
                self.set(seq, transaction, State::InDoubt);
                self.with(seq, transaction, |t| t.doubted = true);
            }
        }
    }

    fn decide(&mut self, upstream: &UpstreamName, confirmed: bool) {
        let state = if confirmed { State::Refused } else { State::Waiting };
        for recorded in self.accepted.values_mut() {
            if recorded.provisional && recorded.cell.upstream == *upstream {
                recorded.state = state;
                recorded.provisional = false;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::ids::AttemptNo;
    use crate::domain::outcome::{DoubtReason, TransientReason};
    use crate::engine::change::ResolvedBy;
    use std::sync::Arc;

    /// An accept record of 1.00 for the outpatient line.
    pub(in super::super) fn accepted() -> Change {
        let mut accepted = Accepted {
            at: Timestamp::from_millis(1),
            institution: "H11010100100".parse().unwrap(),
            fingerprint: Fingerprint(0xfeed),
            amount: Money::from_fen(100).unwrap(),
            ..Accepted::sample()
        };
        let cell = Arc::make_mut(&mut accepted.cell);
        cell.upstream = "settlement".parse().unwrap();
        cell.business = "settlement.outpatient".parse().unwrap();
        accepted.told.disposition = Disposition::PassOrTicket;
        Change::Accepted(Arc::new(accepted))
    }

    fn start(transaction: u64) -> Change {
        let at = Timestamp::from_millis(2);
        Change::AttemptStarted { transaction: Seq(transaction), attempt: AttemptNo(1), at }
    }

    fn settled(transaction: u64, settlement: Settlement) -> Change {
        let at = Timestamp::from_millis(3);
        Change::Settled { transaction: Seq(transaction), attempt: AttemptNo(1), settlement, at }
    }

    fn recount(changes: Vec<Change>) -> Recount {
        let mut recount = Recount::default();
        for (seq, change) in (1u64..).zip(changes) {
            recount.read(Seq(seq), change);
        }
        recount
    }

    #[test]
    fn a_doubt_that_was_settled_by_asking_ends_applied_and_stays_seen() {
        let doubt =
            Settlement::InDoubt { reason: DoubtReason::Restart, ask_at: Timestamp::from_millis(9) };
        let found = Change::Resolved {
            transaction: Seq(1),
            settlement: Settlement::Applied { answer: None, business_status: None },
            by: ResolvedBy::Asking,
            person: None,
            reason: None,
            at: Timestamp::from_millis(9),
        };
        let recount = recount(vec![accepted(), start(1), settled(1, doubt), found]);
        let one = &recount.accepted[&Seq(1)];
        assert_eq!((one.state, one.doubted), (State::Applied, true));
    }

    #[test]
    fn provisional_refusals_count_only_when_they_are_confirmed() {
        let refused = Settlement::Refused { code: "X".to_owned(), answer: None, provisional: true };
        let decided = |confirmed| Change::ProvisionalDecided {
            upstream: "settlement".parse().unwrap(),
            confirmed,
            at: Timestamp::from_millis(4),
        };
        let base = vec![accepted(), start(1), settled(1, refused)];
        let state = |more: Vec<Change>| {
            recount(base.clone().into_iter().chain(more).collect()).accepted[&Seq(1)].state
        };
        assert_eq!(state(vec![]), State::InFlight);
        assert_eq!(state(vec![decided(true)]), State::Refused);
        assert_eq!(state(vec![decided(false)]), State::Waiting);
        let count = |confirmed| recount(vec![decided(confirmed)]).taken_back;
        assert_eq!((count(true), count(false)), (0, 1));
    }

    #[test]
    fn a_ticket_is_closed_once_and_its_transaction_with_it() {
        let at = Timestamp::from_millis(5);
        let sure = Settlement::Transient {
            reason: TransientReason::Unreachable,
            not_before: Timestamp::from_millis(4),
        };
        let closed = Change::TicketClosed {
            transaction: Seq(1),
            how: TicketState::Waived,
            by_transaction: None,
            person: Some("Wang".to_owned()),
            reason: None,
            at,
        };
        let ticketed = Change::Ticketed { transaction: Seq(1), at };
        let recount = recount(vec![accepted(), start(1), settled(1, sure), ticketed, closed]);
        let one = &recount.accepted[&Seq(1)];
        assert_eq!((one.state, one.ticket), (State::Withdrawn, Some(TicketState::Waived)));
    }

    #[test]
    fn a_record_about_nothing_is_an_orphan() {
        assert_eq!(recount(vec![start(7)]).orphans, [Seq(1)]);
    }
}
