//! Which orders one person alone may not give.
//!
//! Looked at in the step that would carry the order out: whether it opens anything early depends on
//! what is stopped then, and nothing can come in between. A proposal is no state of the engine: it
//! is a handshake of two persons, kept by `admin` until the second agrees.

use super::event::{Command, Fault, Order};
use super::machine::Machine;
use crate::domain::cell::{Cell, Selector};
use crate::domain::consent::Deed;
use crate::domain::ids::WindowId;
use crate::domain::review::unrestored;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::window::{Lock, Window};
use std::sync::Arc;

impl Machine {
    /// The order as it is carried out: in both names where it was agreed to.
    pub(super) fn consented(&self, order: Order, now: Timestamp) -> Result<Order, Fault> {
        let Command::Agreed(proposed) = order.command else {
            let mut needed = self.settings.two_persons_for.iter();
            return match needed.find(|&&deed| self.is_deed(&order.command, deed, now)) {
                Some(&deed) => Err(Fault::TwoPersons(deed)),
                None => Ok(order),
            };
        };
        if proposed.by == order.by {
            return Err(Fault::Invalid("another person must agree to it".to_owned()));
        }
        let by = format!("{} and {}", proposed.by, order.by);
        Ok(Order { by, ..*proposed })
    }

    fn is_deed(&self, command: &Command, deed: Deed, now: Timestamp) -> bool {
        match deed {
            Deed::OpenEarly => self.opens_early(command, now),
            Deed::ResolveDoubt => {
                let Command::ResolveDoubt { transaction, .. } = command else { return false };
                // Of any other transaction it is refused in any case.
                let slot = self.live.find(*transaction);
                slot.is_some_and(|slot| self.live.get(slot).state == State::InDoubt)
            }
            Deed::ShortenDate => {
                let Command::ChangeWindow { window, to, .. } = command else { return false };
                let known = self.window(window).and_then(|window| window.deadlines.clone());
                known.is_some() && known != to.deadlines
            }
        }
    }

    /// Whether it lets anything go before its time that is stopped at `now`.
    fn opens_early(&self, command: &Command, now: Timestamp) -> bool {
        if let Command::Restore { window, cells, .. } = command {
            return self.window(window).is_some_and(|known| self.still_stops(&known, cells, now));
        }
        if let Command::MoveWindowEnd { window, row, ends_at, .. } = command {
            let Some(known) = self.window(window) else { return false };
            let row = row.and_then(|index| known.policy.get(index as usize));
            let planned = row.map_or(known.planned, |row| known.interval_of(row));
            return known.stretch().start <= now && *ends_at < planned.end;
        }
        if let Command::ChangeWindow { window, to, .. } = command {
            let Some(known) = self.window(window) else { return false };
            let Ok(next) = known.revised(to, now) else { return false };
            // Once it has begun its rows keep their places.
            let ends = |w: &Window| w.policy.iter().map(|row| w.interval_of(row).end).collect();
            let (old, new): (Vec<Timestamp>, Vec<Timestamp>) = (ends(&known), ends(&next));
            return known.stretch().start <= now
                && old.iter().zip(&new).any(|(old, new)| new < old);
        }
        // A closing by an operator, taken back or shortened.
        let closed = |cells: &Selector, to: Timestamp| {
            self.overrides.iter().any(|one| one.cells == *cells && to.max(now) < one.until)
        };
        match command {
            Command::OpenGate { cells } => closed(cells, now),
            Command::ExtendGate { cells, until } => closed(cells, *until),
            Command::Agreed(_)
            | Command::DeclareWindow(_)
            | Command::ChangeWindow { .. }
            | Command::MoveWindowEnd { .. }
            | Command::CancelWindow { .. }
            | Command::ConfirmOutage { .. }
            | Command::DismissOutage { .. }
            | Command::Restore { .. }
            | Command::Release { .. }
            | Command::CloseGate { .. }
            | Command::TrustClock
            | Command::TellDates
            | Command::RegisterCases(_)
            | Command::Redrive(_)
            | Command::Skip(_)
            | Command::ResolveDoubt { .. }
            | Command::AskNow(_)
            | Command::ResultTold { .. } => false,
        }
    }

    /// Whether `window` stops anything in `cells` whose planned end is still to come, a part that no
    /// submission came for included.
    fn still_stops(&self, window: &Window, cells: &Selector, now: Timestamp) -> bool {
        let stopped =
            |cell: &Cell| cells.matches(cell) && window.lock(cell, now) == Some(Lock::Stopped);
        self.cells.iter().any(|known| stopped(&known.cell))
            || unrestored(window, &self.settings.catalogue).iter().any(stopped)
    }

    fn window(&self, id: &WindowId) -> Option<Arc<Window>> {
        self.windows.iter().find(|window| window.id == *id).cloned()
    }
}
