//! Every change as fields. The numbers here are the format: they are never reused. The way
//! back is in `decode.rs`.
//!
//! The instant of a change stands in the record's header and not among its fields. Fields that
//! hold their default (`None`, `false`, an empty list) are not written.

use super::codes::Coded;
use super::tlv::{Fields, Writer};
use super::{Seal, carried};
use crate::domain::cell::Cell;
use crate::domain::deadline::{Extension, Rule};
use crate::domain::ids::{BlobName, Mark, Seq, WindowId};
use crate::domain::ledger::Entry;
use crate::domain::policy::RowRef;
use crate::domain::term::Deadline;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{Accepted, Change, Sealed, Settlement, TurnedAway};
use crate::journal::keys::KeyRow;
use chrono::Datelike;

/// The tags. One set for all types, so that one field has one number everywhere.
pub(super) mod tag {
    pub(in super::super) const TRANSACTION: u8 = 1;
    pub(in super::super) const ATTEMPT: u8 = 2;
    pub(in super::super) const INSTITUTION: u8 = 3;
    pub(in super::super) const ORDERING_KEY: u8 = 4;
    pub(in super::super) const KEY_HASH: u8 = 5;
    pub(in super::super) const FINGERPRINT: u8 = 6;
    pub(in super::super) const INSURED: u8 = 7;
    pub(in super::super) const AMOUNT: u8 = 8;
    pub(in super::super) const OCCURRED_AT: u8 = 9;
    pub(in super::super) const RECEIVED_AT: u8 = 10;
    pub(in super::super) const DEADLINE: u8 = 11;
    pub(in super::super) const REPLACES: u8 = 12;
    pub(in super::super) const DEPENDS_ON: u8 = 13;
    pub(in super::super) const FLAGS: u8 = 14;
    pub(in super::super) const TICKET_AFTER: u8 = 15;
    pub(in super::super) const UPSTREAM: u8 = 16;
    pub(in super::super) const BUSINESS: u8 = 17;
    pub(in super::super) const OPERATION: u8 = 18;
    pub(in super::super) const CLASS: u8 = 19;
    pub(in super::super) const CHANNEL: u8 = 20;
    pub(in super::super) const DISTRICT: u8 = 21;
    pub(in super::super) const LABELS: u8 = 22;
    pub(in super::super) const ATTRIBUTES: u8 = 23;
    pub(in super::super) const DISPOSITION: u8 = 24;
    pub(in super::super) const ADVICE: u8 = 25;
    pub(in super::super) const ROW_WINDOW: u8 = 26;
    pub(in super::super) const ROW_VERSION: u8 = 27;
    pub(in super::super) const ROW: u8 = 28;
    pub(in super::super) const ROW_CLAUSE: u8 = 29;
    pub(in super::super) const RESUME_AT: u8 = 30;
    pub(in super::super) const ALTERNATIVE: u8 = 31;
    pub(in super::super) const BRING: u8 = 32;
    pub(in super::super) const EXTENSION: u8 = 33;
    pub(in super::super) const SEALED: u8 = 34;
    pub(in super::super) const END: u8 = 35;
    pub(in super::super) const CODE: u8 = 36;
    pub(in super::super) const BUSINESS_STATUS: u8 = 37;
    pub(in super::super) const END_REASON: u8 = 38;
    pub(in super::super) const NOT_BEFORE: u8 = 39;
    pub(in super::super) const RESOLVED_BY: u8 = 40;
    pub(in super::super) const PERSON: u8 = 41;
    pub(in super::super) const REASON: u8 = 42;
    pub(in super::super) const CARRIED: u8 = 43;
    pub(in super::super) const WORD: u8 = 44;
    pub(in super::super) const BY_TRANSACTION: u8 = 45;
    pub(in super::super) const VALUE: u8 = 46;
    pub(in super::super) const EPOCH: u8 = 47;
    pub(in super::super) const BOOKS: u8 = 48;
    pub(in super::super) const TURNED_AWAY: u8 = 49;
    pub(in super::super) const LAST_AT: u8 = 50;
    pub(in super::super) const UP_TO: u8 = 51;
    pub(in super::super) const ID: u8 = 52;
    pub(in super::super) const INNER: u8 = 53;
    pub(in super::super) const DUE_AT: u8 = 54;
    pub(in super::super) const STATE: u8 = 55;
    pub(in super::super) const CELLS: u8 = 56;
    pub(in super::super) const EXTRAS: u8 = 57;
    /// The names of stored files. A record that has them has no extras, which have the same number.
    pub(in super::super) const BLOBS: u8 = 57;
    pub(in super::super) const PROVISIONAL: u8 = 58;
    pub(in super::super) const INNER_AT: u8 = 59;
    pub(in super::super) const ENDED_AT: u8 = 60;
    pub(in super::super) const AUDIT_HASH: u8 = 61;
    pub(in super::super) const MARK: u8 = 62;
    pub(in super::super) const STARTS: u8 = 63;
}

pub(super) const SELF_CONTAINED: u64 = 1;
pub(super) const NEEDS_CREDENTIAL: u64 = 2;
pub(super) const PRE_ACCEPTED: u64 = 4;
pub(super) const DEADLINE_FINAL: u64 = 8;
pub(super) const VIRTUAL_CLOCK: u64 = 16;
pub(super) const YES: u64 = 32;
/// Older records have not said it, and their receipts stay what they were.
pub(super) const KEPT: u64 = 64;

pub(super) const STARTED: u8 = 1;
pub(super) const ACCEPTED: u8 = 2;
pub(super) const DEADLINE_REGISTERED: u8 = 20;
pub(super) const TOTALS: u8 = 22;
pub(super) const FORWARDED: u8 = 25;
pub(super) const RETIRED: u8 = 26;
pub(super) const CLOCK_ACCEPTED: u8 = 27;
pub(super) const AUDIT_NOTED: u8 = 28;
pub(super) const BLOB_STORED: u8 = 29;
pub(super) const BLOBS_REMOVED: u8 = 30;
pub(super) const INTAKE_STOPPED: u8 = 31;

/// The kinds' names, by their numbers.
pub(super) const KIND_NAMES: [&str; 32] = [
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
    "forwarded",
    "retired",
    "clock_accepted",
    "audit_noted",
    "blob_stored",
    "blobs_removed",
    "intake_stopped",
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
        Change::DeadlineRegistered { .. } => DEADLINE_REGISTERED,
        Change::DeadlineTold { .. } => 21,
        Change::Totals(_) => TOTALS,
        Change::Carried(_) => 23,
        Change::DeadlineCarried { .. } => 24,
        Change::Forwarded { .. } => FORWARDED,
        Change::Retired { .. } => RETIRED,
        Change::ClockAccepted { .. } => CLOCK_ACCEPTED,
        Change::AuditNoted { .. } => AUDIT_NOTED,
        Change::BlobStored(_) => BLOB_STORED,
        Change::BlobsRemoved { .. } => BLOBS_REMOVED,
        Change::IntakeStopped(_) => INTAKE_STOPPED,
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
        | Change::DeadlineTold { at, .. }
        | Change::Forwarded { at, .. }
        | Change::Retired { at, .. }
        | Change::ClockAccepted { at, .. }
        | Change::BlobsRemoved { at, .. }
        | Change::AuditNoted { at, .. } => Some(*at),
        Change::BlobStored(blob) => Some(blob.at),
        Change::DeadlineCarried { registered, .. } => time_of(registered),
        Change::Carried(_)
        | Change::StillInDoubt { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::IntakeStopped(_)
        | Change::Totals(_) => None,
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
        Change::Accepted(accepted) | Change::Forwarded { accepted, .. } => Some(&accepted.sealed),
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
        | Change::IntakeStopped(_)
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. }
        | Change::Retired { .. }
        | Change::ClockAccepted { .. }
        | Change::AuditNoted { .. }
        | Change::BlobStored(_)
        | Change::BlobsRemoved { .. }
        | Change::Totals(_)
        | Change::Carried(_)
        | Change::DeadlineCarried { .. } => None,
    };
    sealed.map_or_else(Seal::default, |s| Seal { algorithm: s.algorithm, key_id: s.key_id })
}

/// The key of the intent among the fields of the accept record of `transaction`.
pub(super) fn key_of(fields: &Fields<'_>, transaction: Seq) -> Option<KeyRow> {
    let key = fields.wide(tag::KEY_HASH).ok()?;
    Some(KeyRow { key, seq: transaction.0, fingerprint: fields.uint(tag::FINGERPRINT).ok()? })
}

/// The transaction among the fields of a record that is about one.
pub(super) fn transaction_of(fields: &Fields<'_>) -> Option<Seq> {
    fields.uint(tag::TRANSACTION).ok().map(Seq)
}

/// Writes the fields of `change`.
pub(super) fn encode(w: &mut Writer<'_>, change: &Change) {
    match change {
        Change::Started { epoch, mark, virtual_clock, at: _ } => {
            w.uint(tag::EPOCH, *epoch);
            w.uint(tag::MARK, mark.bits().into());
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
        Change::Forwarded { transaction, accepted, at: _ } => {
            w.uint(tag::TRANSACTION, transaction.0);
            w.int(tag::INNER_AT, accepted.at.as_millis());
            put_accepted(w, accepted);
        }
        Change::Retired { before, at: _ } => w.uint(tag::UP_TO, before.0),
        Change::Superseded { .. }
        | Change::ResultTold { .. }
        | Change::ClockAccepted { .. }
        | Change::AuditNoted { .. }
        | Change::BlobStored(_)
        | Change::BlobsRemoved { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::IntakeStopped(_)
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. } => encode_rare(w, change),
        Change::Totals(_) | Change::Carried(_) | Change::DeadlineCarried { .. } => {
            encode_snapshot(w, change);
        }
    }
}

fn encode_rare(w: &mut Writer<'_>, change: &Change) {
    if let Change::Superseded { transaction, by_transaction, at: _ } = change {
        w.uint(tag::TRANSACTION, transaction.0);
        w.uint(tag::BY_TRANSACTION, by_transaction.0);
    } else if let Change::ResultTold { transaction, how, by, at: _ } = change {
        w.uint(tag::TRANSACTION, transaction.0);
        w.text(tag::WORD, how);
        w.text(tag::PERSON, by);
    } else if let Change::ClockAccepted { by, reason, at: _ } = change {
        w.text(tag::PERSON, by);
        w.text(tag::REASON, reason);
    } else if let Change::AuditNoted { head, at: _ } = change {
        w.uint(tag::UP_TO, head.records);
        w.text(tag::AUDIT_HASH, &head.hash);
    } else if let Change::BlobStored(blob) = change {
        w.text(tag::INSTITUTION, blob.institution.as_str());
        w.bytes(tag::BLOBS, &blob_bytes(&[blob.name]));
        w.uint(tag::ID, blob.file);
        w.uint(tag::VALUE, blob.bytes);
        w.uint(tag::CODE, u64::from(blob.content.code()));
        w.opt_uint(tag::TRANSACTION, blob.named.map(|seq| seq.0));
    } else if let Change::BlobsRemoved { names, at: _ } = change {
        w.bytes(tag::BLOBS, &blob_bytes(names));
    } else if let Change::WindowSet(window) = change {
        w.json(tag::VALUE, window.as_ref());
    } else if let Change::OverridesSet(overrides) = change {
        w.json(tag::VALUE, overrides);
    } else if let Change::IntakeStopped(outage) = change {
        w.json(tag::VALUE, outage);
    } else if let Change::HealthSet { upstream, health } = change {
        w.text(tag::UPSTREAM, upstream.as_str());
        w.json(tag::VALUE, health);
    } else if let Change::DeadlineRegistered { case, at: _ } = change {
        w.text(tag::INSTITUTION, case.institution.as_str());
        w.text(tag::BUSINESS, case.business.as_str());
        put_due(w, case.original);
        w.wide(tag::INSURED, case.reference.0);
        if case.ground.is_some() || case.owed_by.is_some() {
            w.json(tag::VALUE, &(&case.ground, case.owed_by));
        }
    } else if let Change::DeadlineTold { business, original, extension, cause, at: _ } = change {
        w.text(tag::BUSINESS, business.as_str());
        put_due(w, *original);
        put_extension(w, extension);
        w.text(tag::WORD, cause);
    }
}

fn encode_snapshot(w: &mut Writer<'_>, change: &Change) {
    if let Change::Totals(totals) = change {
        let entries: Vec<[u8; 24]> = totals.books.iter().map(entry_bytes).collect();
        w.list(tag::BOOKS, entries.iter().map(<[u8; 24]>::as_slice));
        w.uint(tag::TURNED_AWAY, totals.turned_away);
        w.uint(tag::EPOCH, totals.epoch);
        w.bytes(tag::STARTS, &totals.starts.iter().flat_map(start_bytes).collect::<Vec<u8>>());
        w.int(tag::LAST_AT, totals.last_at.as_millis());
        w.uint(tag::UP_TO, totals.up_to.0);
    } else if let Change::Carried(carried) = change {
        carried::put(w, carried);
    } else if let Change::DeadlineCarried { id, registered } = change {
        w.uint(tag::ID, id.0);
        let mut inner = Vec::new();
        encode(&mut Writer { out: &mut inner }, registered);
        w.bytes(tag::INNER, &inner);
    }
}

/// The bytes of a name of a stored file.
pub(super) const BLOB: usize = 16;

fn blob_bytes(names: &[BlobName]) -> Vec<u8> {
    names.iter().flat_map(|name| name.0.to_le_bytes()).collect()
}

fn entry_bytes(entry: &Entry) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&entry.items.to_le_bytes());
    bytes[8..].copy_from_slice(&entry.fen.to_le_bytes());
    bytes
}

/// The bytes of a start in a snapshot's totals.
pub(super) const START: usize = 12;

fn start_bytes((first, mark): &(Seq, Mark)) -> [u8; START] {
    let mut bytes = [0; START];
    bytes[..8].copy_from_slice(&first.0.to_le_bytes());
    bytes[8..].copy_from_slice(&mark.bits().to_le_bytes());
    bytes
}

pub(super) fn days(date: CivilDate) -> i64 {
    i64::from(date.num_days_from_ce())
}

/// A day is a number of days, an instant a number of milliseconds, each under a tag of its own.
fn put_due(w: &mut Writer<'_>, due: Deadline) {
    match due {
        Deadline::Day(day) => w.int(tag::DEADLINE, days(day)),
        Deadline::Moment(at) => w.int(tag::DUE_AT, at.as_millis()),
    }
}

/// The same in a list, where the length tells them apart.
fn due_bytes(due: Deadline) -> Vec<u8> {
    match due {
        Deadline::Day(day) => day.num_days_from_ce().to_le_bytes().to_vec(),
        Deadline::Moment(at) => at.as_millis().to_le_bytes().to_vec(),
    }
}

pub(super) fn millis(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millis)
}

pub(super) fn put_cell(w: &mut Writer<'_>, cell: &Cell) {
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

/// A move of a date: a list of its parts, always all of them, in this order.
fn put_extension(w: &mut Writer<'_>, extension: &Extension) {
    let (rule, days_more) = match extension.rule {
        Rule::None => (1u8, 0),
        Rule::FirstFullWorkingDay => (2, 0),
        Rule::RestorePlusWorkingDays(count) => (3, count),
        Rule::ShiftByOutage => (4, 0),
        Rule::RestorePlusDays(count) => (5, count),
        Rule::FixedDate(day) => (6, day.num_days_from_ce().cast_unsigned()),
    };
    let (from, to) = (due_bytes(extension.from), due_bytes(extension.to));
    let parts: [&[u8]; 8] = [
        &from,
        &to,
        &[rule],
        &days_more.to_le_bytes(),
        extension.clause.as_bytes(),
        extension.window.as_str().as_bytes(),
        &extension.version.to_le_bytes(),
        extension.calendar.as_bytes(),
    ];
    w.list(tag::EXTENSION, parts.into_iter());
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
        (accepted.told.kept, KEPT),
    ] {
        flags |= if set { flag } else { 0 };
    }
    w.uint(tag::FLAGS, flags);
    w.opt_int(tag::TICKET_AFTER, millis(accepted.ticket_after));
    if !accepted.blobs.is_empty() {
        w.bytes(tag::BLOBS, &blob_bytes(&accepted.blobs));
    }
    let told = &accepted.told;
    w.uint(tag::DISPOSITION, u64::from(told.disposition.code()));
    w.uint(tag::ADVICE, u64::from(told.advice.code()));
    put_row(w, told.row.as_ref());
    w.opt_int(tag::RESUME_AT, millis(told.resume_at));
    w.opt_text(tag::ALTERNATIVE, told.alternative.as_deref());
    w.opt_text(tag::WORD, told.incurred_in.as_ref().map(WindowId::as_str));
    w.list(tag::BRING, told.bring.iter().map(String::as_bytes));
    if let Some(extension) = &told.deadline {
        put_extension(w, extension);
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
        put_extension(w, extension);
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
