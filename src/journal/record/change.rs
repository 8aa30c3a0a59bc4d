//! Every change as fields, and back. The numbers here are the format: they are never reused.
//!
//! The instant of a change stands in the record's header and not among its fields. Fields that
//! hold their default (`None`, `false`, an empty list) are not written.

use super::codes::Coded;
use super::tlv::{Fields, Writer, text};
use super::{Malformed, Seal};
use crate::domain::cell::Cell;
use crate::domain::ids::{
    AttemptNo, Fingerprint, InsuredHash, KeyHash, Label, OrderingKey, Seq, WindowId,
};
use crate::domain::ledger::Entry;
use crate::domain::money::Money;
use crate::domain::policy::RowRef;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{
    Accepted, Carried, Change, Facts, Sealed, Settlement, Told, TurnedAway,
};
use bytes::Bytes;
use chrono::Datelike;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The tags. One set for all types, so that one field has one number everywhere.
mod tag {
    pub(super) const TRANSACTION: u8 = 1;
    pub(super) const ATTEMPT: u8 = 2;
    pub(super) const INSTITUTION: u8 = 3;
    pub(super) const ORDERING_KEY: u8 = 4;
    pub(super) const KEY_HASH: u8 = 5;
    pub(super) const FINGERPRINT: u8 = 6;
    pub(super) const INSURED: u8 = 7;
    pub(super) const AMOUNT: u8 = 8;
    pub(super) const OCCURRED_AT: u8 = 9;
    pub(super) const RECEIVED_AT: u8 = 10;
    pub(super) const DEADLINE: u8 = 11;
    pub(super) const REPLACES: u8 = 12;
    pub(super) const DEPENDS_ON: u8 = 13;
    pub(super) const FLAGS: u8 = 14;
    pub(super) const TICKET_AFTER: u8 = 15;
    pub(super) const UPSTREAM: u8 = 16;
    pub(super) const BUSINESS: u8 = 17;
    pub(super) const OPERATION: u8 = 18;
    pub(super) const CLASS: u8 = 19;
    pub(super) const CHANNEL: u8 = 20;
    pub(super) const DISTRICT: u8 = 21;
    pub(super) const LABELS: u8 = 22;
    pub(super) const ATTRIBUTES: u8 = 23;
    pub(super) const DISPOSITION: u8 = 24;
    pub(super) const ADVICE: u8 = 25;
    pub(super) const ROW_WINDOW: u8 = 26;
    pub(super) const ROW_VERSION: u8 = 27;
    pub(super) const ROW: u8 = 28;
    pub(super) const ROW_CLAUSE: u8 = 29;
    pub(super) const RESUME_AT: u8 = 30;
    pub(super) const ALTERNATIVE: u8 = 31;
    pub(super) const BRING: u8 = 32;
    pub(super) const EXTENSION: u8 = 33;
    pub(super) const SEALED: u8 = 34;
    pub(super) const END: u8 = 35;
    pub(super) const CODE: u8 = 36;
    pub(super) const BUSINESS_STATUS: u8 = 37;
    pub(super) const END_REASON: u8 = 38;
    pub(super) const NOT_BEFORE: u8 = 39;
    pub(super) const RESOLVED_BY: u8 = 40;
    pub(super) const PERSON: u8 = 41;
    pub(super) const REASON: u8 = 42;
    pub(super) const WORD: u8 = 44;
    pub(super) const BY_TRANSACTION: u8 = 45;
    pub(super) const VALUE: u8 = 46;
    pub(super) const EPOCH: u8 = 47;
    pub(super) const BOOKS: u8 = 48;
    pub(super) const TURNED_AWAY: u8 = 49;
    pub(super) const LAST_AT: u8 = 50;
    pub(super) const UP_TO: u8 = 51;
    pub(super) const ID: u8 = 52;
    pub(super) const INNER: u8 = 53;
    pub(super) const INNER_KIND: u8 = 54;
    pub(super) const STATE: u8 = 55;
    pub(super) const ATTEMPTS: u8 = 56;
    pub(super) const FAILURES: u8 = 57;
    pub(super) const PROVISIONAL: u8 = 58;
    pub(super) const INNER_AT: u8 = 59;
}

const SELF_CONTAINED: u64 = 1;
const NEEDS_CREDENTIAL: u64 = 2;
const PRE_ACCEPTED: u64 = 4;
const DEADLINE_FINAL: u64 = 8;
const VIRTUAL_CLOCK: u64 = 16;
const YES: u64 = 32;

pub(super) const STARTED: u8 = 1;
pub(super) const ACCEPTED: u8 = 2;

/// The kinds' names, by their numbers.
pub(super) const KIND_NAMES: [&str; 25] = [
    "unknown",
    "started",
    "accepted",
    "turned_away",
    "attempt_started",
    "settled",
    "resolved",
    "still_in_doubt",
    "provisional_decided",
    "ticketed",
    "ticket_closed",
    "withdrawn",
    "dead_lettered",
    "redriven",
    "action_required",
    "superseded",
    "result_told",
    "window_set",
    "overrides_set",
    "health_set",
    "deadline_registered",
    "deadline_told",
    "totals",
    "carried",
    "deadline_carried",
];

pub(super) fn kind_of(change: &Change) -> u8 {
    match change {
        Change::Started { .. } => STARTED,
        Change::Accepted(_) => ACCEPTED,
        Change::TurnedAway(_) => 3,
        Change::AttemptStarted { .. } => 4,
        Change::Settled { .. } => 5,
        Change::Resolved { .. } => 6,
        Change::StillInDoubt { .. } => 7,
        Change::ProvisionalDecided { .. } => 8,
        Change::Ticketed { .. } => 9,
        Change::TicketClosed { .. } => 10,
        Change::Withdrawn { .. } => 11,
        Change::DeadLettered { .. } => 12,
        Change::Redriven { .. } => 13,
        Change::ActionRequired { .. } => 14,
        Change::Superseded { .. } => 15,
        Change::ResultTold { .. } => 16,
        Change::WindowSet(_) => 17,
        Change::OverridesSet(_) => 18,
        Change::HealthSet { .. } => 19,
        Change::DeadlineRegistered { .. } => 20,
        Change::DeadlineTold { .. } => 21,
        Change::Totals { .. } => 22,
        Change::Carried(_) => 23,
        Change::DeadlineCarried { .. } => 24,
    }
}

/// The instant that a change carries, if it carries one.
pub(super) fn time_of(change: &Change) -> Option<Timestamp> {
    match change {
        Change::Accepted(accepted) => Some(accepted.at),
        Change::TurnedAway(turned_away) => Some(turned_away.at),
        Change::Started { at, .. }
        | Change::AttemptStarted { at, .. }
        | Change::Settled { at, .. }
        | Change::Resolved { at, .. }
        | Change::ProvisionalDecided { at, .. }
        | Change::Ticketed { at, .. }
        | Change::TicketClosed { at, .. }
        | Change::Withdrawn { at, .. }
        | Change::DeadLettered { at, .. }
        | Change::Redriven { at, .. }
        | Change::ActionRequired { at, .. }
        | Change::Superseded { at, .. }
        | Change::ResultTold { at, .. }
        | Change::DeadlineRegistered { at, .. }
        | Change::DeadlineTold { at, .. } => Some(*at),
        Change::Carried(carried) => Some(carried.facts.at),
        Change::DeadlineCarried { .. }
        | Change::StillInDoubt { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::Totals { .. } => None,
    }
}

fn sealed_of(settlement: &Settlement) -> Option<&Sealed> {
    match settlement {
        Settlement::Applied { answer, .. } | Settlement::Refused { answer, .. } => answer.as_ref(),
        Settlement::Transient { .. } | Settlement::InDoubt { .. } => None,
    }
}

/// How the sealed bytes of a change are sealed.
pub(super) fn seal_of(change: &Change) -> Seal {
    let sealed = match change {
        Change::Accepted(accepted) => Some(&accepted.sealed),
        Change::Settled { settlement, .. } | Change::Resolved { settlement, .. } => {
            sealed_of(settlement)
        }
        Change::Started { .. }
        | Change::TurnedAway(_)
        | Change::AttemptStarted { .. }
        | Change::StillInDoubt { .. }
        | Change::ProvisionalDecided { .. }
        | Change::Ticketed { .. }
        | Change::TicketClosed { .. }
        | Change::Withdrawn { .. }
        | Change::DeadLettered { .. }
        | Change::Redriven { .. }
        | Change::ActionRequired { .. }
        | Change::Superseded { .. }
        | Change::ResultTold { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. }
        | Change::Totals { .. }
        | Change::Carried(_)
        | Change::DeadlineCarried { .. } => None,
    };
    sealed.map_or_else(Seal::default, |s| Seal { algorithm: s.algorithm, key_id: s.key_id })
}

/// The key hash and fingerprint among the fields of an accept record.
pub(super) fn key_of(fields: &Fields<'_>) -> Option<(u128, u64)> {
    Some((fields.wide(tag::KEY_HASH).ok()?, fields.uint(tag::FINGERPRINT).ok()?))
}

/// Writes the fields of `change`.
pub(super) fn encode(w: &mut Writer<'_>, change: &Change) {
    match change {
        Change::Started { epoch, virtual_clock, at: _ } => {
            w.uint(tag::EPOCH, *epoch);
            w.uint(tag::FLAGS, if *virtual_clock { VIRTUAL_CLOCK } else { 0 });
        }
        Change::Accepted(accepted) => put_accepted(w, accepted),
        Change::TurnedAway(turned_away) => put_turned_away(w, turned_away),
        Change::AttemptStarted { transaction, attempt, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.uint(tag::ATTEMPT, u64::from(attempt.0));
        }
        Change::Settled { transaction, attempt, settlement, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.uint(tag::ATTEMPT, u64::from(attempt.0));
            put_settlement(w, settlement);
        }
        Change::Resolved { transaction, settlement, by, person, reason, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            put_settlement(w, settlement);
            w.uint(tag::RESOLVED_BY, u64::from(by.code()));
            w.opt_text(tag::PERSON, person.as_deref());
            w.opt_text(tag::REASON, reason.as_deref());
        }
        Change::StillInDoubt { transaction, ask_at } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.int(tag::NOT_BEFORE, ask_at.as_millis());
        }
        Change::ProvisionalDecided { upstream, confirmed, at: _ } => {
            w.text(tag::UPSTREAM, upstream.as_str());
            w.uint(tag::FLAGS, if *confirmed { YES } else { 0 });
        }
        Change::Ticketed { transaction, at: _ } => w.uint(tag::TRANSACTION, transaction.0),
        Change::TicketClosed { transaction, how, by_transaction, person, reason, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.uint(tag::STATE, u64::from(how.code()));
            w.opt_uint(tag::BY_TRANSACTION, by_transaction.map(|seq| seq.0));
            w.opt_text(tag::PERSON, person.as_deref());
            w.opt_text(tag::REASON, reason.as_deref());
        }
        Change::Withdrawn { transaction, by, reason, at: _ }
        | Change::Redriven { transaction, by, reason, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.text(tag::PERSON, by);
            w.text(tag::REASON, reason);
        }
        Change::DeadLettered { transaction, reason, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.uint(tag::END_REASON, u64::from(reason.code()));
        }
        Change::ActionRequired { transaction, why, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.text(tag::WORD, why);
        }
        Change::Superseded { transaction, by_transaction, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.uint(tag::BY_TRANSACTION, by_transaction.0);
        }
        Change::ResultTold { transaction, how, by, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.text(tag::WORD, how);
            w.text(tag::PERSON, by);
        }
        Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. } => encode_rare(w, change),
        Change::Totals { .. } | Change::Carried(_) | Change::DeadlineCarried { .. } => {
            encode_snapshot(w, change);
        }
    }
}

fn encode_rare(w: &mut Writer<'_>, change: &Change) {
    if let Change::WindowSet(window) = change {
        w.json(tag::VALUE, window.as_ref());
    } else if let Change::OverridesSet(overrides) = change {
        w.json(tag::VALUE, overrides);
    } else if let Change::HealthSet { upstream, health } = change {
        w.text(tag::UPSTREAM, upstream.as_str());
        w.json(tag::VALUE, health);
    } else if let Change::DeadlineRegistered { institution, business, original, reference, at: _ } =
        change
    {
        w.text(tag::INSTITUTION, institution.as_str());
        w.text(tag::BUSINESS, business.as_str());
        w.int(tag::DEADLINE, days(*original));
        w.wide(tag::INSURED, reference.0);
    } else if let Change::DeadlineTold { business, original, extension, cause, at: _ } = change {
        w.text(tag::BUSINESS, business.as_str());
        w.int(tag::DEADLINE, days(*original));
        w.json(tag::EXTENSION, extension);
        w.text(tag::WORD, cause);
    }
}

fn encode_snapshot(w: &mut Writer<'_>, change: &Change) {
    if let Change::Totals { books, turned_away, epoch, last_at, up_to } = change {
        let entries: Vec<[u8; 24]> = books.iter().map(entry_bytes).collect();
        w.list(tag::BOOKS, entries.iter().map(<[u8; 24]>::as_slice));
        w.uint(tag::TURNED_AWAY, *turned_away);
        w.uint(tag::EPOCH, *epoch);
        w.int(tag::LAST_AT, last_at.as_millis());
        w.uint(tag::UP_TO, up_to.0);
    } else if let Change::Carried(carried) = change {
        w.uint(tag::TRANSACTION, carried.transaction.0);
        put_facts(w, &carried.facts);
        w.uint(tag::STATE, u64::from(carried.state.code()));
        w.uint(tag::ATTEMPTS, u64::from(carried.attempts));
        w.uint(tag::FAILURES, u64::from(carried.failures));
        w.int(tag::NOT_BEFORE, carried.not_before.as_millis());
        w.opt_text(tag::PROVISIONAL, carried.provisional.as_deref());
    } else if let Change::DeadlineCarried { id, registered } = change {
        w.uint(tag::ID, id.0);
        w.uint(tag::INNER_KIND, u64::from(kind_of(registered)));
        w.opt_int(tag::INNER_AT, time_of(registered).map(Timestamp::as_millis));
        let mut inner = Vec::new();
        encode(&mut Writer { out: &mut inner }, registered);
        w.bytes(tag::INNER, &inner);
    }
}

fn entry_bytes(entry: &Entry) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&entry.items.to_le_bytes());
    bytes[8..].copy_from_slice(&entry.fen.to_le_bytes());
    bytes
}

fn days(date: CivilDate) -> i64 {
    i64::from(date.num_days_from_ce())
}

fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millis)
}

fn put_cell(w: &mut Writer<'_>, cell: &Cell) {
    w.text(tag::UPSTREAM, cell.upstream.as_str());
    w.text(tag::BUSINESS, cell.business.as_str());
    w.uint(tag::OPERATION, u64::from(cell.operation.code()));
    w.uint(tag::CLASS, u64::from(cell.class.code()));
    w.uint(tag::CHANNEL, u64::from(cell.channel.code()));
    w.text(tag::DISTRICT, cell.district.as_str());
    w.list(tag::LABELS, cell.labels.iter().map(|label| label.as_str().as_bytes()));
    let pairs = cell.attributes.iter().flat_map(|(k, v)| [k.as_bytes(), v.as_bytes()]);
    w.list(tag::ATTRIBUTES, pairs);
}

fn put_row(w: &mut Writer<'_>, row: Option<&RowRef>) {
    let Some(row) = row else { return };
    w.text(tag::ROW_WINDOW, row.window.as_str());
    w.uint(tag::ROW_VERSION, u64::from(row.version));
    w.uint(tag::ROW, u64::from(row.row));
    w.text(tag::ROW_CLAUSE, &row.clause);
}

fn put_accepted(w: &mut Writer<'_>, accepted: &Accepted) {
    w.text(tag::INSTITUTION, accepted.institution.as_str());
    w.wide(tag::KEY_HASH, accepted.key_hash.0);
    w.uint(tag::FINGERPRINT, accepted.fingerprint.0);
    w.wide(tag::ORDERING_KEY, accepted.ordering_key.0);
    w.wide(tag::INSURED, accepted.insured.0);
    put_cell(w, &accepted.cell);
    w.int(tag::AMOUNT, accepted.amount.fen());
    w.int(tag::OCCURRED_AT, accepted.occurred_at.as_millis());
    w.opt_int(tag::RECEIVED_AT, millis(accepted.received_from_person_at));
    w.opt_int(tag::DEADLINE, accepted.deadline.map(days));
    w.opt_uint(tag::REPLACES, accepted.replaces.map(|seq| seq.0));
    w.opt_uint(tag::DEPENDS_ON, accepted.depends_on.map(|seq| seq.0));
    let mut flags = 0;
    for (set, flag) in [
        (accepted.self_contained, SELF_CONTAINED),
        (accepted.needs_credential, NEEDS_CREDENTIAL),
        (accepted.told.deadline_final, DEADLINE_FINAL),
    ] {
        flags |= if set { flag } else { 0 };
    }
    w.uint(tag::FLAGS, flags);
    w.opt_int(tag::TICKET_AFTER, millis(accepted.ticket_after));
    let told = &accepted.told;
    w.uint(tag::DISPOSITION, u64::from(told.disposition.code()));
    w.uint(tag::ADVICE, u64::from(told.advice.code()));
    put_row(w, told.row.as_ref());
    w.opt_int(tag::RESUME_AT, millis(told.resume_at));
    w.opt_text(tag::ALTERNATIVE, told.alternative.as_deref());
    w.list(tag::BRING, told.bring.iter().map(String::as_bytes));
    if let Some(extension) = &told.deadline {
        w.json(tag::EXTENSION, extension);
    }
    w.bytes(tag::SEALED, &accepted.sealed.bytes);
}

fn put_turned_away(w: &mut Writer<'_>, turned_away: &TurnedAway) {
    w.text(tag::INSTITUTION, turned_away.institution.as_str());
    put_cell(w, &turned_away.cell);
    w.int(tag::AMOUNT, turned_away.amount.fen());
    put_row(w, turned_away.row.as_ref());
    w.opt_int(tag::RESUME_AT, millis(turned_away.resume_at));
    if let Some(extension) = &turned_away.deadline {
        w.json(tag::EXTENSION, extension);
    }
}

fn put_settlement(w: &mut Writer<'_>, settlement: &Settlement) {
    if let Some(sealed) = sealed_of(settlement) {
        w.bytes(tag::SEALED, &sealed.bytes);
    }
    match settlement {
        Settlement::Applied { answer: _, business_status } => {
            w.uint(tag::END, 1);
            w.opt_text(tag::BUSINESS_STATUS, business_status.as_deref());
        }
        Settlement::Refused { code, answer: _, provisional } => {
            w.uint(tag::END, 2);
            w.text(tag::CODE, code);
            w.uint(tag::FLAGS, if *provisional { YES } else { 0 });
        }
        Settlement::Transient { reason, not_before } => {
            w.uint(tag::END, 3);
            w.uint(tag::END_REASON, u64::from(reason.code()));
            w.int(tag::NOT_BEFORE, not_before.as_millis());
        }
        Settlement::InDoubt { reason, ask_at } => {
            w.uint(tag::END, 4);
            w.uint(tag::END_REASON, u64::from(reason.code()));
            w.int(tag::NOT_BEFORE, ask_at.as_millis());
        }
    }
}

fn put_facts(w: &mut Writer<'_>, facts: &Facts) {
    w.text(tag::INSTITUTION, facts.institution.as_str());
    put_cell(w, &facts.cell);
    w.wide(tag::ORDERING_KEY, facts.ordering_key.0);
    w.int(tag::AMOUNT, facts.amount.fen());
    w.opt_int(tag::DEADLINE, facts.deadline.map(days));
    w.opt_uint(tag::REPLACES, facts.replaces.map(|seq| seq.0));
    w.opt_uint(tag::DEPENDS_ON, facts.depends_on.map(|seq| seq.0));
    let mut flags = 0;
    for (set, flag) in [
        (facts.self_contained, SELF_CONTAINED),
        (facts.needs_credential, NEEDS_CREDENTIAL),
        (facts.pre_accepted, PRE_ACCEPTED),
    ] {
        flags |= if set { flag } else { 0 };
    }
    w.uint(tag::FLAGS, flags);
    w.opt_int(tag::TICKET_AFTER, millis(facts.ticket_after));
}

/// Reads the change of type `kind`; `None` where there is no such type.
pub(super) fn decode(
    kind: u8,
    at: Timestamp,
    seal: Seal,
    f: &Fields<'_>,
) -> Result<Option<Change>, Malformed> {
    let change = match kind {
        STARTED => Change::Started {
            epoch: f.uint(tag::EPOCH)?,
            virtual_clock: f.uint(tag::FLAGS)? & VIRTUAL_CLOCK != 0,
            at,
        },
        ACCEPTED => Change::Accepted(Arc::new(get_accepted(f, at, seal)?)),
        3 => Change::TurnedAway(Arc::new(get_turned_away(f, at)?)),
        4 => Change::AttemptStarted {
            transaction: get_seq(f, tag::TRANSACTION)?,
            attempt: AttemptNo(f.short(tag::ATTEMPT)?),
            at,
        },
        5 => Change::Settled {
            transaction: get_seq(f, tag::TRANSACTION)?,
            attempt: AttemptNo(f.short(tag::ATTEMPT)?),
            settlement: get_settlement(f, seal)?,
            at,
        },
        6 => Change::Resolved {
            transaction: get_seq(f, tag::TRANSACTION)?,
            settlement: get_settlement(f, seal)?,
            by: Coded::of(f.code(tag::RESOLVED_BY)?)?,
            person: f.opt_string(tag::PERSON)?,
            reason: f.opt_string(tag::REASON)?,
            at,
        },
        7 => Change::StillInDoubt {
            transaction: get_seq(f, tag::TRANSACTION)?,
            ask_at: get_instant(f, tag::NOT_BEFORE)?,
        },
        8 => Change::ProvisionalDecided {
            upstream: f.name(tag::UPSTREAM)?,
            confirmed: f.uint(tag::FLAGS)? & YES != 0,
            at,
        },
        9..=16 => return decode_move(kind, at, f).map(Some),
        17..=24 => return decode_rare(kind, at, f).map(Some),
        _ => return Ok(None),
    };
    Ok(Some(change))
}

/// The types 9 to 16: moves of one transaction.
fn decode_move(kind: u8, at: Timestamp, f: &Fields<'_>) -> Result<Change, Malformed> {
    let transaction = get_seq(f, tag::TRANSACTION)?;
    Ok(match kind {
        9 => Change::Ticketed { transaction, at },
        10 => Change::TicketClosed {
            transaction,
            how: Coded::of(f.code(tag::STATE)?)?,
            by_transaction: f.opt_uint(tag::BY_TRANSACTION)?.map(Seq),
            person: f.opt_string(tag::PERSON)?,
            reason: f.opt_string(tag::REASON)?,
            at,
        },
        11 => Change::Withdrawn {
            transaction,
            by: f.string(tag::PERSON)?,
            reason: f.string(tag::REASON)?,
            at,
        },
        12 => {
            Change::DeadLettered { transaction, reason: Coded::of(f.code(tag::END_REASON)?)?, at }
        }
        13 => Change::Redriven {
            transaction,
            by: f.string(tag::PERSON)?,
            reason: f.string(tag::REASON)?,
            at,
        },
        14 => Change::ActionRequired { transaction, why: f.string(tag::WORD)?, at },
        15 => {
            Change::Superseded { transaction, by_transaction: get_seq(f, tag::BY_TRANSACTION)?, at }
        }
        _ => Change::ResultTold {
            transaction,
            how: f.string(tag::WORD)?,
            by: f.string(tag::PERSON)?,
            at,
        },
    })
}

/// The types 17 to 24: what is set as a whole, deadlines, and what only snapshots hold.
fn decode_rare(kind: u8, at: Timestamp, f: &Fields<'_>) -> Result<Change, Malformed> {
    Ok(match kind {
        17 => Change::WindowSet(Arc::new(f.json(tag::VALUE)?)),
        18 => Change::OverridesSet(f.json(tag::VALUE)?),
        19 => Change::HealthSet { upstream: f.name(tag::UPSTREAM)?, health: f.json(tag::VALUE)? },
        20 => Change::DeadlineRegistered {
            institution: f.name(tag::INSTITUTION)?,
            business: f.name(tag::BUSINESS)?,
            original: get_date(f.int(tag::DEADLINE)?)?,
            reference: InsuredHash(f.wide(tag::INSURED)?),
            at,
        },
        21 => Change::DeadlineTold {
            business: f.name(tag::BUSINESS)?,
            original: get_date(f.int(tag::DEADLINE)?)?,
            extension: f.json(tag::EXTENSION)?,
            cause: f.string(tag::WORD)?,
            at,
        },
        22 => Change::Totals {
            books: f.list(tag::BOOKS)?.into_iter().map(get_entry).collect::<Result<_, _>>()?,
            turned_away: f.uint(tag::TURNED_AWAY)?,
            epoch: f.uint(tag::EPOCH)?,
            last_at: get_instant(f, tag::LAST_AT)?,
            up_to: get_seq(f, tag::UP_TO)?,
        },
        23 => Change::Carried(Box::new(Carried {
            transaction: get_seq(f, tag::TRANSACTION)?,
            facts: get_facts(f, at)?,
            state: Coded::of(f.code(tag::STATE)?)?,
            attempts: f.short(tag::ATTEMPTS)?,
            failures: f.short(tag::FAILURES)?,
            not_before: get_instant(f, tag::NOT_BEFORE)?,
            provisional: f.opt_string(tag::PROVISIONAL)?,
        })),
        _ => {
            let kind = f.code(tag::INNER_KIND)?;
            if kind != 20 {
                return Err(Malformed("a carried deadline is no registration"));
            }
            let at = f.opt_int(tag::INNER_AT)?.map_or(at, Timestamp::from_millis);
            let inner = Fields::parse(f.bytes(tag::INNER)?, false)?;
            let registered = decode_rare(kind, at, &inner)?;
            inner.finish(false)?;
            Change::DeadlineCarried { id: get_seq(f, tag::ID)?, registered: Box::new(registered) }
        }
    })
}

fn get_seq(f: &Fields<'_>, tag: u8) -> Result<Seq, Malformed> {
    f.uint(tag).map(Seq)
}

fn get_instant(f: &Fields<'_>, tag: u8) -> Result<Timestamp, Malformed> {
    f.int(tag).map(Timestamp::from_millis)
}

fn opt_instant(f: &Fields<'_>, tag: u8) -> Result<Option<Timestamp>, Malformed> {
    Ok(f.opt_int(tag)?.map(Timestamp::from_millis))
}

fn get_date(days: i64) -> Result<CivilDate, Malformed> {
    i32::try_from(days)
        .ok()
        .and_then(CivilDate::from_num_days_from_ce_opt)
        .ok_or(Malformed("a date is out of range"))
}

fn get_money(f: &Fields<'_>) -> Result<Money, Malformed> {
    Money::from_fen(f.int(tag::AMOUNT)?).ok_or(Malformed("an amount is out of range"))
}

fn get_entry(bytes: &[u8]) -> Result<Entry, Malformed> {
    const WRONG: Malformed = Malformed("an entry of the books has the wrong length");
    let (items, fen) = bytes.split_first_chunk::<8>().ok_or(WRONG)?;
    let fen = fen.try_into().map_err(|_| WRONG)?;
    Ok(Entry { items: u64::from_le_bytes(*items), fen: i128::from_le_bytes(fen) })
}

fn get_cell(f: &Fields<'_>) -> Result<Cell, Malformed> {
    let labels = f
        .list(tag::LABELS)?
        .into_iter()
        .map(|item| text(item)?.parse::<Label>().map_err(|_| Malformed("a label breaks its rules")))
        .collect::<Result<_, _>>()?;
    let mut attributes = BTreeMap::new();
    for pair in f.list(tag::ATTRIBUTES)?.chunks(2) {
        let &[name, value] = pair else {
            return Err(Malformed("an attribute has no value"));
        };
        attributes.insert(text(name)?.to_owned(), text(value)?.to_owned());
    }
    Ok(Cell {
        upstream: f.name(tag::UPSTREAM)?,
        business: f.name(tag::BUSINESS)?,
        operation: Coded::of(f.code(tag::OPERATION)?)?,
        class: Coded::of(f.code(tag::CLASS)?)?,
        channel: Coded::of(f.code(tag::CHANNEL)?)?,
        district: f.name(tag::DISTRICT)?,
        labels,
        attributes,
    })
}

fn get_row(f: &Fields<'_>) -> Result<Option<RowRef>, Malformed> {
    let Some(window) = f.opt_text(tag::ROW_WINDOW)? else { return Ok(None) };
    Ok(Some(RowRef {
        window: window.parse::<WindowId>().map_err(|_| Malformed("a name breaks its rules"))?,
        version: f.short(tag::ROW_VERSION)?,
        row: f.short(tag::ROW)?,
        clause: f.string(tag::ROW_CLAUSE)?,
    }))
}

fn get_sealed(f: &Fields<'_>, seal: Seal) -> Option<Sealed> {
    f.opt_bytes(tag::SEALED).map(|bytes| Sealed {
        algorithm: seal.algorithm,
        key_id: seal.key_id,
        bytes: Bytes::copy_from_slice(bytes),
    })
}

fn get_accepted(f: &Fields<'_>, at: Timestamp, seal: Seal) -> Result<Accepted, Malformed> {
    let flags = f.uint(tag::FLAGS)?;
    let bring = f
        .list(tag::BRING)?
        .into_iter()
        .map(|item| text(item).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    Ok(Accepted {
        at,
        institution: f.name(tag::INSTITUTION)?,
        cell: get_cell(f)?,
        ordering_key: OrderingKey(f.wide(tag::ORDERING_KEY)?),
        key_hash: KeyHash(f.wide(tag::KEY_HASH)?),
        fingerprint: Fingerprint(f.uint(tag::FINGERPRINT)?),
        insured: InsuredHash(f.wide(tag::INSURED)?),
        amount: get_money(f)?,
        occurred_at: get_instant(f, tag::OCCURRED_AT)?,
        received_from_person_at: opt_instant(f, tag::RECEIVED_AT)?,
        deadline: f.opt_int(tag::DEADLINE)?.map(get_date).transpose()?,
        replaces: f.opt_uint(tag::REPLACES)?.map(Seq),
        depends_on: f.opt_uint(tag::DEPENDS_ON)?.map(Seq),
        self_contained: flags & SELF_CONTAINED != 0,
        needs_credential: flags & NEEDS_CREDENTIAL != 0,
        ticket_after: opt_instant(f, tag::TICKET_AFTER)?,
        told: Told {
            disposition: Coded::of(f.code(tag::DISPOSITION)?)?,
            advice: Coded::of(f.code(tag::ADVICE)?)?,
            row: get_row(f)?,
            resume_at: opt_instant(f, tag::RESUME_AT)?,
            alternative: f.opt_string(tag::ALTERNATIVE)?,
            bring,
            deadline: f.opt_json(tag::EXTENSION)?,
            deadline_final: flags & DEADLINE_FINAL != 0,
        },
        sealed: get_sealed(f, seal).ok_or(Malformed("an accept record has no sealed part"))?,
    })
}

fn get_turned_away(f: &Fields<'_>, at: Timestamp) -> Result<TurnedAway, Malformed> {
    Ok(TurnedAway {
        at,
        institution: f.name(tag::INSTITUTION)?,
        cell: get_cell(f)?,
        amount: get_money(f)?,
        row: get_row(f)?,
        resume_at: opt_instant(f, tag::RESUME_AT)?,
        deadline: f.opt_json(tag::EXTENSION)?,
    })
}

fn get_settlement(f: &Fields<'_>, seal: Seal) -> Result<Settlement, Malformed> {
    Ok(match f.code(tag::END)? {
        1 => Settlement::Applied {
            answer: get_sealed(f, seal),
            business_status: f.opt_string(tag::BUSINESS_STATUS)?,
        },
        2 => Settlement::Refused {
            code: f.string(tag::CODE)?,
            answer: get_sealed(f, seal),
            provisional: f.uint(tag::FLAGS)? & YES != 0,
        },
        3 => Settlement::Transient {
            reason: Coded::of(f.code(tag::END_REASON)?)?,
            not_before: get_instant(f, tag::NOT_BEFORE)?,
        },
        4 => Settlement::InDoubt {
            reason: Coded::of(f.code(tag::END_REASON)?)?,
            ask_at: get_instant(f, tag::NOT_BEFORE)?,
        },
        _ => return Err(Malformed("unknown code of the end of an attempt")),
    })
}

fn get_facts(f: &Fields<'_>, at: Timestamp) -> Result<Facts, Malformed> {
    let flags = f.uint(tag::FLAGS)?;
    Ok(Facts {
        institution: f.name(tag::INSTITUTION)?,
        cell: get_cell(f)?,
        ordering_key: OrderingKey(f.wide(tag::ORDERING_KEY)?),
        amount: get_money(f)?,
        deadline: f.opt_int(tag::DEADLINE)?.map(get_date).transpose()?,
        replaces: f.opt_uint(tag::REPLACES)?.map(Seq),
        depends_on: f.opt_uint(tag::DEPENDS_ON)?.map(Seq),
        self_contained: flags & SELF_CONTAINED != 0,
        needs_credential: flags & NEEDS_CREDENTIAL != 0,
        ticket_after: opt_instant(f, tag::TICKET_AFTER)?,
        pre_accepted: flags & PRE_ACCEPTED != 0,
        at,
    })
}
