//! The transactions of a snapshot, many to a record: a snapshot of ten million is read at every
//! start after a crash, and written every few minutes beside intake.
//!
//! ```text
//!   institutions   each that occurs, once
//!   cells          each that occurs, once, as its fields
//!   rows           66 bytes for each transaction, in order, little-endian:
//!
//!     0             8                24       32   40           48            52     56
//!     │ transaction │ ordering key   │ amount │ at │ not before │ institution │ cell │ …
//!     56         60         64      65      66
//!     │ attempts │ failures │ state │ flags │     the two before: places in the lists above
//!
//!   extras         what few have, as fields, for each row whose flags say so, in order
//! ```

use super::Malformed;
use super::change::{NEEDS_CREDENTIAL, PRE_ACCEPTED, SELF_CONTAINED, days, millis, put_cell, tag};
use super::codes::Coded;
use super::decode::{Seen, get_date, opt_instant};
use super::tlv::{Fields, Writer};
use crate::domain::cell::Cell;
use crate::domain::ids::{InstitutionCode, OrderingKey, Seq};
use crate::domain::money::Money;
use crate::domain::time::Timestamp;
use crate::engine::change::{Carried, Facts};
use std::collections::HashMap;
use std::sync::Arc;

const ROW: usize = 66;
/// A row has a part in the extras.
const HAS_EXTRA: u64 = 128;
/// It names stored files.
const HAS_FILES: u64 = 64;

/// Values by where they lie in memory: equal ones mostly are one. Where they are not, the list
/// has both.
#[derive(Default)]
struct Places(HashMap<usize, u32>);

impl Places {
    /// The place of the value at `address`; a new one is noted by `add`.
    fn of(&mut self, address: usize, add: impl FnOnce()) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(address).or_insert_with(|| {
            add();
            next
        })
    }
}

/// Writes the fields of `carried`.
pub(super) fn put(w: &mut Writer<'_>, carried: &[Carried]) {
    let mut institutions: Vec<&[u8]> = Vec::new();
    let mut cells: Vec<Vec<u8>> = Vec::new();
    let (mut known_institutions, mut known_cells) = (Places::default(), Places::default());
    let mut rows = Vec::with_capacity(carried.len() * ROW);
    let mut extras: Vec<Vec<u8>> = Vec::new();
    for one in carried {
        let facts = &one.facts;
        let code = facts.institution.as_str().as_bytes();
        let institution = known_institutions.of(code.as_ptr().addr(), || institutions.push(code));
        let cell = known_cells.of(Arc::as_ptr(&facts.cell).addr(), || {
            let mut bytes = Vec::new();
            put_cell(&mut Writer { out: &mut bytes }, &facts.cell);
            cells.push(bytes);
        });
        let extra = extra_of(one);
        let mut flags = if extra.is_empty() { 0 } else { HAS_EXTRA };
        for (set, flag) in [
            (facts.self_contained, SELF_CONTAINED),
            (facts.needs_credential, NEEDS_CREDENTIAL),
            (facts.pre_accepted, PRE_ACCEPTED),
            (facts.has_files, HAS_FILES),
        ] {
            flags |= if set { flag } else { 0 };
        }
        rows.extend_from_slice(&one.transaction.0.to_le_bytes());
        rows.extend_from_slice(&facts.ordering_key.0.to_le_bytes());
        rows.extend_from_slice(&facts.amount.fen().to_le_bytes());
        rows.extend_from_slice(&facts.at.as_millis().to_le_bytes());
        rows.extend_from_slice(&one.not_before.as_millis().to_le_bytes());
        rows.extend_from_slice(&institution.to_le_bytes());
        rows.extend_from_slice(&cell.to_le_bytes());
        rows.extend_from_slice(&one.attempts.to_le_bytes());
        rows.extend_from_slice(&one.failures.to_le_bytes());
        rows.push(one.state.code());
        rows.push(u8::try_from(flags).unwrap_or(u8::MAX));
        if !extra.is_empty() {
            extras.push(extra);
        }
    }
    w.list(tag::INSTITUTION, institutions.into_iter());
    w.list(tag::CELLS, cells.iter().map(Vec::as_slice));
    w.bytes(tag::CARRIED, &rows);
    w.list(tag::EXTRAS, extras.iter().map(Vec::as_slice));
}

fn extra_of(one: &Carried) -> Vec<u8> {
    let (facts, mut out) = (&one.facts, Vec::new());
    let mut w = Writer { out: &mut out };
    w.opt_int(tag::DEADLINE, facts.deadline.map(days));
    w.opt_uint(tag::REPLACES, facts.replaces.map(|seq| seq.0));
    w.opt_uint(tag::DEPENDS_ON, facts.depends_on.map(|seq| seq.0));
    w.opt_int(tag::TICKET_AFTER, millis(facts.ticket_after));
    w.opt_text(tag::PROVISIONAL, one.provisional.as_deref());
    w.opt_int(tag::ENDED_AT, millis(one.ended_at));
    w.opt_uint(tag::END_REASON, one.given_up_for.map(|reason| reason.code().into()));
    out
}

/// Reads what [`put`] wrote.
pub(super) fn get(f: &Fields<'_>, seen: &mut Seen) -> Result<Vec<Carried>, Malformed> {
    let institutions = f.list(tag::INSTITUTION)?;
    let institutions = institutions.into_iter().map(|stored| seen.institution(stored));
    let institutions = institutions.collect::<Result<Vec<_>, _>>()?;
    let mut cells = Vec::new();
    for stored in f.list(tag::CELLS)? {
        let fields = Fields::parse(stored, false)?;
        cells.push(seen.cell(&fields)?);
        fields.finish(false)?;
    }
    let mut extras = f.list(tag::EXTRAS)?.into_iter();
    let rows = f.bytes(tag::CARRIED)?;
    let carried = rows.chunks(ROW).map(|row| one(Row(row), &institutions, &cells, &mut extras));
    let carried = carried.collect::<Result<_, _>>()?;
    if extras.next().is_some() {
        return Err(Malformed("there are more extras than rows that have one"));
    }
    Ok(carried)
}

/// What is left of a row.
struct Row<'a>(&'a [u8]);

impl Row<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("a row is cut off"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    fn instant(&mut self) -> Result<Timestamp, Malformed> {
        self.take().map(i64::from_le_bytes).map(Timestamp::from_millis)
    }

    /// The value at the place that the row names.
    fn among<T: Clone>(&mut self, values: &[T]) -> Result<T, Malformed> {
        let place = self.number()? as usize;
        values.get(place).cloned().ok_or(Malformed("a row names a place that there is not"))
    }
}

fn one<'a>(
    mut row: Row<'_>,
    institutions: &[InstitutionCode],
    cells: &[Arc<Cell>],
    extras: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Carried, Malformed> {
    let transaction = Seq(u64::from_le_bytes(row.take()?));
    let ordering_key = OrderingKey(u128::from_le_bytes(row.take()?));
    let amount = Money::from_fen(i64::from_le_bytes(row.take()?));
    let (at, not_before) = (row.instant()?, row.instant()?);
    let (institution, cell) = (row.among(institutions)?, row.among(cells)?);
    let (attempts, failures) = (row.number()?, row.number()?);
    let [state, flags] = row.take()?;
    let flags = u64::from(flags);
    let mut carried = Carried {
        transaction,
        facts: Facts {
            institution,
            cell,
            ordering_key,
            amount: amount.ok_or(Malformed("an amount is out of range"))?,
            deadline: None,
            replaces: None,
            depends_on: None,
            self_contained: flags & SELF_CONTAINED != 0,
            needs_credential: flags & NEEDS_CREDENTIAL != 0,
            ticket_after: None,
            pre_accepted: flags & PRE_ACCEPTED != 0,
            has_files: flags & HAS_FILES != 0,
            at,
        },
        state: Coded::of(state)?,
        attempts,
        failures,
        not_before,
        provisional: None,
        ended_at: None,
        given_up_for: None,
    };
    if flags & HAS_EXTRA != 0 {
        let extra = extras.next().ok_or(Malformed("an extra is missing"))?;
        let f = Fields::parse(extra, false)?;
        let facts = &mut carried.facts;
        facts.deadline = f.opt_int(tag::DEADLINE)?.map(get_date).transpose()?;
        facts.replaces = f.opt_uint(tag::REPLACES)?.map(Seq);
        facts.depends_on = f.opt_uint(tag::DEPENDS_ON)?.map(Seq);
        facts.ticket_after = opt_instant(&f, tag::TICKET_AFTER)?;
        carried.provisional = f.opt_string(tag::PROVISIONAL)?;
        carried.ended_at = opt_instant(&f, tag::ENDED_AT)?;
        carried.given_up_for = f.opt_code(tag::END_REASON)?.map(Coded::of).transpose()?;
        f.finish(false)?;
    }
    Ok(carried)
}
