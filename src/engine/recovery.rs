//! Building the state again from a snapshot and the changes after it.
//!
//! | the process died | what recovery finds | what it makes of it |
//! |---|---|---|
//! | before the accept was durable | nothing | the client was not answered and asks again |
//! | after it, before the answer | a waiting transaction | the repeat gets the same receipt |
//! | after the start of an attempt was durable | an attempt without an end | in doubt; asked, never sent again blindly |
//! | after the core's answer, before it was durable | the same | the same |
//! | after the end of an attempt was durable | that end | nothing to do |
//! | while a gate was closing | the gate as last committed | computed again before anything is sent |
//! | while a snapshot was written | the older snapshot | more changes to fold |

use super::change::{AuditHead, Change};
use super::machine::Machine;
use super::ports::{JournalReader, KeyEntry, KeyRuns, ReadError, Snapshot};
use super::settings::Settings;
use super::step::Decision;
use crate::domain::ids::{KeyHash, Mark, Seq};
use crate::domain::numbers::Numbers;
use crate::domain::time::Timestamp;
use std::ops::ControlFlow;

/// Keys of a state that only serves to be written down: nobody asks for them.
struct AllCovered;

impl KeyRuns for AllCovered {
    fn find(&self, _key: KeyHash) -> Result<Option<KeyEntry>, ReadError> {
        Ok(None)
    }

    fn covers(&self) -> Seq {
        Seq(u64::MAX)
    }
}

/// The state after `up_to`, folded from a snapshot and the changes after it, for the next
/// snapshot. Runs beside the engine and shares nothing with it.
///
/// # Errors
/// [`ReadError`] when the journal cannot be read.
pub fn fold(
    settings: Settings,
    snapshot: &dyn Snapshot,
    reader: &dyn JournalReader,
    from: Seq,
    up_to: Seq,
) -> Result<Machine, ReadError> {
    let mut machine = Machine::new(settings, Box::new(AllCovered));
    machine.forget_sealed_keys();
    snapshot.visit(&mut |change| machine.apply(Seq(0), change))?;
    machine.link_carried();
    reader.scan(from, &mut |seq, change| {
        if seq <= up_to {
            machine.apply(seq, &change);
            drop(machine.take_arrivals());
        }
        if seq < up_to { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    // What lacks records must never become the truth.
    reader.damaged_in(from, up_to).map_or(Ok(machine), Err)
}

/// What a journal hands over when it is opened.
pub struct Found {
    /// The newest snapshot, or nothing.
    pub snapshot: Box<dyn Snapshot>,
    /// The first change that the snapshot does not hold.
    pub replay_from: Seq,
    /// Idempotency keys of sealed segments.
    pub runs: Box<dyn KeyRuns>,
    /// The epoch of this start.
    pub epoch: u64,
    /// What the numbers are marked with that this start gives out: random bits.
    pub mark: Mark,
    /// Whether the clock is a driver's.
    pub virtual_clock: bool,
    /// Whether records are lost, so that the rest is only looked at.
    pub quarantined: bool,
    /// The person who said that the clock is right, and why, where that had to be said.
    pub clock_accepted: Option<(String, String)>,
}

/// Builds the state and decides what the interruption made necessary. The decision must be
/// committed before anything else; for a quarantined journal it is empty.
///
/// # Errors
/// [`ReadError`] when the journal cannot be read to its end.
pub fn recover(
    settings: Settings,
    found: Found,
    reader: &dyn JournalReader,
    now: Timestamp,
) -> Result<(Machine, Decision), ReadError> {
    let covered = found.runs.covers();
    let mut machine = Machine::new(settings, found.runs);
    if found.quarantined {
        machine.quarantine();
    }
    found.snapshot.visit(&mut |change| machine.apply(Seq(0), change))?;
    machine.link_carried();
    let from = found.replay_from.min(covered.next());
    reader.scan(from, &mut |seq, change| {
        if seq >= found.replay_from {
            machine.apply(seq, &change);
        } else if let Change::Accepted(accepted) = &change {
            // Folded into the snapshot, but its key stands in no sealed run yet.
            let entry = KeyEntry { transaction: seq, fingerprint: accepted.fingerprint };
            machine.recent.insert(accepted.key_hash, entry);
        }
        ControlFlow::Continue(())
    })?;
    machine.forget_sealed_keys();
    // What happened before this start has been counted.
    drop(machine.take_arrivals());
    let mut decision = Decision::default();
    if found.quarantined {
        return Ok((machine, decision));
    }
    if let Some((by, reason)) = found.clock_accepted {
        machine.push(&mut decision, Change::ClockAccepted { by, reason, at: now });
    }
    let Found { epoch, mark, virtual_clock, .. } = found;
    let started = Change::Started { epoch, mark, virtual_clock, at: now };
    machine.push(&mut decision, started);
    machine.recovered(now, &mut decision);
    Ok((machine, decision))
}

impl Machine {
    /// The numbers that this partition has given out, with those of this start. Complete once
    /// recovery has ended: it is the last that adds to them.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Notes the end that the audit log has at a start, also where it is not what it was.
    pub fn begin_audit(&mut self, head: AuditHead, out: &mut Decision) {
        let known = self.audit.as_ref();
        let new = known.map_or(head.records > 0, |known| *known != head);
        if new && !self.quarantined {
            self.push(out, Change::AuditNoted { head, at: self.last_at });
        }
    }

    /// Notes that the audit log has grown. Two acts at once may tell it in another order.
    pub(super) fn note_audit(&mut self, head: AuditHead, now: Timestamp, out: &mut Decision) {
        if self.audit.as_ref().is_none_or(|known| known.records < head.records) {
            self.push(out, Change::AuditNoted { head, at: now });
        }
    }
}
