//! Changes from their fields. What is not as some version of us wrote it is refused.

use super::change::{
    ACCEPTED, AUDIT_NOTED, BLOB, BLOB_STORED, BLOBS_REMOVED, CLOCK_ACCEPTED, DEADLINE_FINAL,
    DEADLINE_REGISTERED, FORWARDED, INTAKE_STOPPED, KEPT, NEEDS_CREDENTIAL, RETIRED,
    SELF_CONTAINED, START, STARTED, VIRTUAL_CLOCK, YES, tag,
};
use super::codes::Coded;
use super::tlv::{Fields, text};
use super::{Malformed, Seal, carried};
use crate::domain::cell::Cell;
use crate::domain::deadline::{Extension, Rule};
use crate::domain::ids::{
    AttemptNo, BlobName, Fingerprint, InstitutionCode, InsuredHash, KeyHash, Label, Mark,
    OrderingKey, Seq, WindowId,
};
use crate::domain::ledger::Entry;
use crate::domain::money::Money;
use crate::domain::policy::RowRef;
use crate::domain::term::Deadline;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{
    Accepted, AuditHead, Blob, Case, Change, Sealed, Settlement, Told, Totals, TurnedAway,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Reads the change of type `kind`; `None` where there is no such type.
pub(super) fn decode(
    kind: u8,
    at: Timestamp,
    seal: Seal,
    f: &Fields<'_>,
    seen: &mut Seen,
) -> Result<Option<Change>, Malformed> {
    let change = match kind {
        STARTED => Change::Started {
            epoch: f.uint(tag::EPOCH)?,
            mark: Mark::new(f.uint(tag::MARK)?),
            virtual_clock: f.uint(tag::FLAGS)? & VIRTUAL_CLOCK != 0,
            at,
        },
        ACCEPTED => Change::Accepted(Arc::new(get_accepted(f, at, seal, seen)?)),
        3 => Change::TurnedAway(Arc::new(get_turned_away(f, at, seen)?)),
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
        FORWARDED => Change::Forwarded {
            transaction: get_seq(f, tag::TRANSACTION)?,
            accepted: Arc::new(get_accepted(f, get_instant(f, tag::INNER_AT)?, seal, seen)?),
            at,
        },
        RETIRED => Change::Retired { before: get_seq(f, tag::UP_TO)?, at },
        CLOCK_ACCEPTED => {
            Change::ClockAccepted { by: f.string(tag::PERSON)?, reason: f.string(tag::REASON)?, at }
        }
        INTAKE_STOPPED => Change::IntakeStopped(f.json(tag::VALUE)?),
        AUDIT_NOTED => Change::AuditNoted {
            head: AuditHead { records: f.uint(tag::UP_TO)?, hash: f.string(tag::AUDIT_HASH)? },
            at,
        },
        BLOB_STORED => Change::BlobStored(get_blob(f, at)?),
        BLOBS_REMOVED => Change::BlobsRemoved { names: get_blob_names(f)?, at },
        9..=16 => return decode_move(kind, at, f).map(Some),
        17..=24 => return decode_rare(kind, at, f, seen).map(Some),
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
fn decode_rare(
    kind: u8,
    at: Timestamp,
    f: &Fields<'_>,
    seen: &mut Seen,
) -> Result<Change, Malformed> {
    Ok(match kind {
        17 => Change::WindowSet(Arc::new(f.json(tag::VALUE)?)),
        18 => Change::OverridesSet(f.json(tag::VALUE)?),
        19 => Change::HealthSet { upstream: f.name(tag::UPSTREAM)?, health: f.json(tag::VALUE)? },
        DEADLINE_REGISTERED => {
            let (ground, owed_by) = f.opt_json(tag::VALUE)?.unwrap_or_default();
            let case = Case {
                institution: f.name(tag::INSTITUTION)?,
                business: f.name(tag::BUSINESS)?,
                original: get_due(f)?,
                reference: InsuredHash(f.wide(tag::INSURED)?),
                ground,
                owed_by,
            };
            Change::DeadlineRegistered { case, at }
        }
        21 => Change::DeadlineTold {
            business: f.name(tag::BUSINESS)?,
            original: get_due(f)?,
            extension: get_extension(f)?.ok_or(Malformed("a field is missing"))?,
            cause: f.string(tag::WORD)?,
            at,
        },
        22 => Change::Totals(Box::new(Totals {
            books: f.list(tag::BOOKS)?.into_iter().map(get_entry).collect::<Result<_, _>>()?,
            turned_away: f.uint(tag::TURNED_AWAY)?,
            epoch: f.uint(tag::EPOCH)?,
            starts: f.bytes(tag::STARTS)?.chunks(START).map(get_start).collect::<Result<_, _>>()?,
            last_at: get_instant(f, tag::LAST_AT)?,
            up_to: get_seq(f, tag::UP_TO)?,
        })),
        23 => Change::Carried(carried::get(f, seen)?),
        _ => {
            let inner = Fields::parse(f.bytes(tag::INNER)?, false)?;
            let registered = decode_rare(DEADLINE_REGISTERED, at, &inner, seen)?;
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

pub(super) fn opt_instant(f: &Fields<'_>, tag: u8) -> Result<Option<Timestamp>, Malformed> {
    Ok(f.opt_int(tag)?.map(Timestamp::from_millis))
}

pub(super) fn get_date(days: i64) -> Result<CivilDate, Malformed> {
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

fn get_start(bytes: &[u8]) -> Result<(Seq, Mark), Malformed> {
    const WRONG: Malformed = Malformed("a start has the wrong length");
    let (first, mark) = bytes.split_first_chunk::<8>().ok_or(WRONG)?;
    let mark = mark.try_into().map_err(|_| WRONG)?;
    Ok((Seq(u64::from_le_bytes(*first)), Mark::new(u32::from_le_bytes(mark).into())))
}

/// Institutions and cells that were read before, so that a long walk makes each of them once.
/// Bounded by how many there are of them.
#[derive(Default)]
pub(in crate::journal) struct Seen {
    institutions: HashMap<Box<[u8]>, InstitutionCode>,
    cells: HashMap<Box<[u8]>, Arc<Cell>>,
    /// The stored form of the cell that is looked for.
    wanted: Vec<u8>,
}

/// The fields that make a cell.
const CELL: [u8; 8] = [
    tag::UPSTREAM,
    tag::BUSINESS,
    tag::OPERATION,
    tag::CLASS,
    tag::CHANNEL,
    tag::DISTRICT,
    tag::LABELS,
    tag::ATTRIBUTES,
];

impl Seen {
    pub(super) fn institution(&mut self, stored: &[u8]) -> Result<InstitutionCode, Malformed> {
        if let Some(known) = self.institutions.get(stored) {
            return Ok(known.clone());
        }
        let read = text(stored)?.parse::<InstitutionCode>();
        let read = read.map_err(|_| Malformed("a name breaks its rules"))?;
        self.institutions.insert(stored.into(), read.clone());
        Ok(read)
    }

    pub(super) fn cell(&mut self, f: &Fields<'_>) -> Result<Arc<Cell>, Malformed> {
        self.wanted.clear();
        for tag in CELL {
            // Absent and empty mean the same for each of them.
            let stored = f.opt_bytes(tag).unwrap_or_default();
            self.wanted.extend_from_slice(&stored.len().to_le_bytes());
            self.wanted.extend_from_slice(stored);
        }
        if let Some(known) = self.cells.get(self.wanted.as_slice()) {
            return Ok(known.clone());
        }
        let read = Arc::new(get_cell(f)?);
        self.cells.insert(self.wanted.as_slice().into(), read.clone());
        Ok(read)
    }
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

fn get_window(name: &str) -> Result<WindowId, Malformed> {
    name.parse().map_err(|_| Malformed("a name breaks its rules"))
}

fn get_sealed(f: &Fields<'_>, seal: Seal) -> Option<Sealed> {
    f.opt_bytes(tag::SEALED).map(|bytes| Sealed {
        algorithm: seal.algorithm,
        key_id: seal.key_id,
        bytes: Bytes::copy_from_slice(bytes),
    })
}

fn get_due(f: &Fields<'_>) -> Result<Deadline, Malformed> {
    match f.opt_int(tag::DUE_AT)? {
        Some(millis) => Ok(Deadline::Moment(Timestamp::from_millis(millis))),
        None => get_date(f.int(tag::DEADLINE)?).map(Deadline::Day),
    }
}

fn get_extension(f: &Fields<'_>) -> Result<Option<Extension>, Malformed> {
    const WRONG: Malformed = Malformed("a move of a date is not whole");
    let parts = f.list(tag::EXTENSION)?;
    if parts.is_empty() {
        return Ok(None);
    }
    let &[from, to, rule, count, clause, window, version, calendar] = parts.as_slice() else {
        return Err(WRONG);
    };
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| WRONG);
    let date = |bytes: &[u8]| get_date(i64::from(number(bytes)?.cast_signed()));
    let due = |bytes: &[u8]| match bytes.try_into().map(i64::from_le_bytes) {
        Ok(millis) => Ok(Deadline::Moment(Timestamp::from_millis(millis))),
        Err(_) => date(bytes).map(Deadline::Day),
    };
    let rule = match rule {
        [1] => Rule::None,
        [2] => Rule::FirstFullWorkingDay,
        [3] => Rule::RestorePlusWorkingDays(number(count)?),
        [4] => Rule::ShiftByOutage,
        [5] => Rule::RestorePlusDays(number(count)?),
        [6] => Rule::FixedDate(date(count)?),
        _ => return Err(Malformed("unknown code of a rule")),
    };
    Ok(Some(Extension {
        from: due(from)?,
        to: due(to)?,
        rule,
        clause: text(clause)?.to_owned(),
        window: text(window)?.parse::<WindowId>().map_err(|_| WRONG)?,
        version: number(version)?,
        calendar: text(calendar)?.to_owned(),
    }))
}

fn get_blob(f: &Fields<'_>, at: Timestamp) -> Result<Blob, Malformed> {
    let &[name] = get_blob_names(f)?.as_slice() else {
        return Err(Malformed("a stored file has not one name"));
    };
    Ok(Blob {
        name,
        file: f.uint(tag::ID)?,
        institution: f.name(tag::INSTITUTION)?,
        bytes: f.uint(tag::VALUE)?,
        content: Coded::of(f.code(tag::CODE)?)?,
        at,
        named: f.opt_uint(tag::TRANSACTION)?.map(Seq),
    })
}

/// None where the field is absent.
fn get_blob_names(f: &Fields<'_>) -> Result<Vec<BlobName>, Malformed> {
    const WRONG: Malformed = Malformed("the name of a stored file has the wrong length");
    let (names, rest) = f.opt_bytes(tag::BLOBS).unwrap_or_default().as_chunks::<BLOB>();
    let names = names.iter().map(|name| BlobName(u128::from_le_bytes(*name))).collect();
    if rest.is_empty() { Ok(names) } else { Err(WRONG) }
}

fn get_accepted(
    f: &Fields<'_>,
    at: Timestamp,
    seal: Seal,
    seen: &mut Seen,
) -> Result<Accepted, Malformed> {
    let flags = f.uint(tag::FLAGS)?;
    let bring = f
        .list(tag::BRING)?
        .into_iter()
        .map(|item| text(item).map(str::to_owned))
        .collect::<Result<_, _>>()?;
    Ok(Accepted {
        at,
        institution: seen.institution(f.bytes(tag::INSTITUTION)?)?,
        cell: seen.cell(f)?,
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
        blobs: get_blob_names(f)?,
        told: Told {
            disposition: Coded::of(f.code(tag::DISPOSITION)?)?,
            advice: Coded::of(f.code(tag::ADVICE)?)?,
            row: get_row(f)?,
            resume_at: opt_instant(f, tag::RESUME_AT)?,
            alternative: f.opt_string(tag::ALTERNATIVE)?,
            bring,
            deadline: get_extension(f)?,
            deadline_final: flags & DEADLINE_FINAL != 0,
            kept: flags & KEPT != 0,
            incurred_in: f.opt_text(tag::WORD)?.map(get_window).transpose()?,
        },
        sealed: get_sealed(f, seal).ok_or(Malformed("an accept record has no sealed part"))?,
    })
}

fn get_turned_away(
    f: &Fields<'_>,
    at: Timestamp,
    seen: &mut Seen,
) -> Result<TurnedAway, Malformed> {
    Ok(TurnedAway {
        at,
        institution: seen.institution(f.bytes(tag::INSTITUTION)?)?,
        cell: Cell::clone(&*seen.cell(f)?),
        amount: get_money(f)?,
        row: get_row(f)?,
        resume_at: opt_instant(f, tag::RESUME_AT)?,
        deadline: get_extension(f)?,
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
