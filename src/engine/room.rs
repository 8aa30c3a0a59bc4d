//! Our own lack of room: a time in which nothing could be submitted, as an outage of the intake.
//!
//! Whoever was turned away because the disk has no more than its reserve, or because too many
//! transactions are open, has lost that time as if the core had been away. It is kept as an
//! [`Outage`] of no upstream: proposed as a window when it is over, and confirmed, dismissed or let
//! lapse like any other (`outages`). As a window it closes nothing; it only moves dates.
//!
//! An institution's quota is none: it lets some through in every second, and what a person handed in
//! counts from then (`received_from_person_at`).

use super::change::Change;
use super::machine::{Due, Machine};
use super::step::Decision;
use crate::domain::gate::Outage;
use crate::domain::time::Timestamp;
use std::time::Duration;

/// How long nobody must have been turned away for there to be room again: at the limit one is
/// taken whenever another has ended.
const QUIET: Duration = Duration::from_secs(60);

impl Machine {
    /// Somebody is, or would be, turned away for want of room.
    pub(super) fn no_room(&mut self, now: Timestamp, out: &mut Decision) {
        self.refused_at = Some(now);
        let outage = match &self.intake {
            Some(known) if known.ended.is_none() => return,
            // It went on, for all that anybody knows.
            Some(known)
                if !known.settled && known.ended.is_some_and(|at| now.since(at) < 2 * QUIET) =>
            {
                Outage { ended: None, ..known.clone() }
            }
            Some(_) | None => Outage { began: now, ended: None, settled: false },
        };
        self.push(out, Change::IntakeStopped(outage));
        self.agenda.insert((now.after(QUIET), Due::Room));
    }

    /// Looks whether there has been room for long enough.
    pub(super) fn look_for_room(&mut self, now: Timestamp, out: &mut Decision) {
        let Some(known) = self.intake.clone().filter(|known| known.ended.is_none()) else { return };
        // Nothing was seen before this start.
        let last = *self.refused_at.get_or_insert(now);
        let quiet = last.after(QUIET);
        if now < quiet {
            self.agenda.insert((quiet, Due::Room));
            return;
        }
        self.push(out, Change::IntakeStopped(Outage { ended: Some(last), ..known }));
    }
}
