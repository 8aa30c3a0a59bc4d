//! Which orders one person alone may not give.
//!
//! Looked at in the step that would carry the order out: whether it opens anything early depends on
//! what is stopped then, and nothing can come in between. A proposal is no state of the engine: it
//! is a handshake of two persons, kept by `admin` until the second agrees.

use super::event::{Command, Fault, Order};
use super::machine::Machine;
use crate::domain::cell::Selector;
use crate::domain::consent::Deed;
use crate::domain::deadline::Conditions;
use crate::domain::ids::WindowId;
use crate::domain::policy::Row;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use std::sync::Arc;

impl Machine {
    /// The order as it is carried out: in both names where it was agreed to.
    pub(super) fn consented(&self, order: Order, now: Timestamp) -> Result<Order, Fault> {
        let Command::Agreed { to: proposed, seen } = order.command else {
            let mut needed = self.settings.two_persons_for.iter();
            return match needed.find(|&&deed| self.is_deed(&order.command, deed, now)) {
                Some(&deed) => Err(Fault::TwoPersons(deed, self.stands(&order.command))),
                None => Ok(order),
            };
        };
        if proposed.by == order.by {
            return Err(Fault::Invalid("another person must agree to it".to_owned()));
        }
        if self.stands(&proposed.command) != seen {
            let state = "not as it was when it was proposed".to_owned();
            return Err(Fault::WrongState { what: "what the proposal is about", state });
        }
        let by = format!("{} and {}", proposed.by, order.by);
        Ok(Order { by, ..*proposed })
    }

    /// How that stands which an order is about: what is agreed to is what was looked at.
    fn stands(&self, command: &Command) -> u64 {
        let closing = |cells: &Selector| {
            let known = self.overrides.iter().find(|one| one.cells == *cells);
            known.map_or(0, |one| one.since.as_millis().unsigned_abs())
        };
        if let Command::Restore { window, .. }
        | Command::MoveWindowEnd { window, .. }
        | Command::ChangeWindow { window, .. } = command
        {
            self.window(window).map_or(0, |window| u64::from(window.version))
        } else if let Command::OpenGate { cells }
        | Command::ExtendGate { cells, .. }
        | Command::CloseGate { cells, .. } = command
        {
            closing(cells)
        } else if let Command::ResolveDoubt { transaction, .. } = command {
            let slot = self.live.find(*transaction);
            slot.map_or(0, |slot| u64::from(self.live.get(slot).attempts))
        } else {
            0
        }
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
                let Some(known) = self.window(window) else { return false };
                let Some(rule) = &known.deadlines else { return false };
                // What its conditions look at may switch it off.
                let met_by = |policy: &[Row]| {
                    policy
                        .iter()
                        .map(|row| (row.cells.clone(), row.disposition))
                        .collect::<Vec<_>>()
                };
                let same = known.notice == to.notice && met_by(&known.policy) == met_by(&to.policy);
                known.deadlines != to.deadlines || (rule.only_if != Conditions::default() && !same)
            }
        }
    }

    /// Whether it lets anything go before its time that is stopped at `now`.
    fn opens_early(&self, command: &Command, now: Timestamp) -> bool {
        // Also where it goes on later: the end may be put off before then, and the word stands.
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
            // Closing the same cells anew sets their end too.
            Command::ExtendGate { cells, until } | Command::CloseGate { cells, until } => {
                closed(cells, *until)
            }
            // By a clock that stands ahead a stop is over sooner, by one that is behind it has not
            // begun.
            Command::TrustClock => self.clock_doubt().is_some(),
            Command::Agreed { .. }
            | Command::DeclareWindow(_)
            | Command::ChangeWindow { .. }
            | Command::MoveWindowEnd { .. }
            | Command::CancelWindow { .. }
            | Command::ConfirmOutage { .. }
            | Command::DismissOutage { .. }
            | Command::Restore { .. }
            | Command::Release { .. }
            | Command::TellDates
            | Command::RegisterCases(_)
            | Command::Redrive(_)
            | Command::Skip(_)
            | Command::ResolveDoubt { .. }
            | Command::AskNow(_)
            | Command::ResultTold { .. } => false,
        }
    }

    /// Whether `window` may stop anything in `cells` whose planned end is still to come: also a part
    /// that no submission came for.
    fn still_stops(&self, window: &Window, cells: &Selector, now: Timestamp) -> bool {
        let on = |row: &&Row| row.stops() && window.interval_of(row).contains(now);
        window.cancelled_at.is_none()
            && window.policy.iter().filter(on).any(|row| row.cells.overlaps(cells))
    }

    fn window(&self, id: &WindowId) -> Option<Arc<Window>> {
        self.windows.iter().find(|window| window.id == *id).cloned()
    }
}
