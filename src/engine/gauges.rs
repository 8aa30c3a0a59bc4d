//! What monitoring is told of the state beyond the books: what may go and has not, until when
//! something is stopped, which date nobody has moved.
//!
//! Looked at every second, so nothing here walks transactions: what is walked are cells, windows,
//! and, while something is stopped, the dates that somebody was told of. An order violation has no
//! gauge: the machine asserts the order of a key before each start and stops instead.

use super::deadlines::Dated;
use super::machine::{CellSlot, Machine};
use super::settings::Limits;
use super::view::{AtRisk, DeadlinesView, ReplayView};
use crate::domain::cell::Cell;
use crate::domain::deadline::{Rule, ends_at, taken_by};
use crate::domain::gate::HealthPhase;
use crate::domain::ids::{Business, Seq, UpstreamName};
use crate::domain::state::State;
use crate::domain::term::Deadline;
use crate::domain::time::Timestamp;
use crate::domain::window::{Lock, Window};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// How near the end of its date is what is told as due.
const DUE_WITHIN: Duration = Duration::from_secs(24 * 3600);

impl Machine {
    /// The moves into final states and dead letters since this was last called.
    pub fn take_arrivals(&mut self) -> Vec<(Seq, Arc<Cell>, State)> {
        std::mem::take(&mut self.arrivals)
    }

    /// The year whose working days must be known at `now` and are not.
    #[must_use]
    pub fn calendar_lacks(&self, now: Timestamp) -> Option<i32> {
        self.settings.calendar.lacks(now.civil(self.settings.zone).date())
    }

    /// How much there may be of anything.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Pre-accepted transactions that are final and whose result was not told to the person.
    #[must_use]
    pub const fn results_untold(&self) -> u64 {
        self.untold.finals_count()
    }

    /// What waits for each upstream, before and behind its gates.
    #[must_use]
    pub fn replays(&self, now: Timestamp) -> Vec<ReplayView> {
        let mut views: Vec<ReplayView> = self
            .upstreams
            .iter()
            .map(|slot| ReplayView {
                upstream: slot.name.clone(),
                remaining: 0,
                held: 0,
                due_since: None,
                stopped: false,
                unconfirmed: false,
            })
            .collect();
        for (id, cell) in (0_u32..).zip(&self.cells) {
            let Some(view) = views.get_mut(cell.upstream) else { continue };
            if cell.gate.lets_through() {
                view.remaining += cell.waiting;
                let since = self.due_since(id, cell, now);
                view.due_since = view.due_since.into_iter().chain(since).min();
            } else {
                view.held += cell.waiting;
            }
        }
        let drafts = self.drafts(now);
        for view in &mut views {
            view.stopped = self.is_stopped(&view.upstream, now);
            view.unconfirmed =
                drafts.iter().any(|draft| draft.upstream.as_ref() == Some(&view.upstream));
        }
        views
    }

    /// Whether a window stops a part of `upstream` now: one that transactions have come for, or one
    /// that the window's own rows speak of.
    fn is_stopped(&self, upstream: &UpstreamName, now: Timestamp) -> bool {
        let seen = self.cells.iter().map(|slot| slot.cell.as_ref());
        let planned = self.unrestored.values().flatten();
        let mut own = seen.chain(planned).filter(|cell| cell.upstream == *upstream);
        own.any(|cell| matches!(self.lock_of(cell, now), Some((_, Lock::Stopped))))
    }

    /// Since when the oldest of those that a cell with an open gate has to send has been due: since
    /// its acceptance, or since the gate opened where that was later. What waits behind another one
    /// of its key, or for another transaction, is not due.
    ///
    /// Of those never tried the first in the queue stands for all: it has been there longest.
    fn due_since(&self, id: u32, cell: &CellSlot, now: Timestamp) -> Option<Timestamp> {
        let untried = [&cell.chained, &cell.live, &cell.filed, &cell.backlog].map(|queue| {
            let first = queue.iter().copied().find(|&slot| self.is_ready(slot, id));
            first.map(|slot| self.live.get(slot).at)
        });
        let tried = cell.came_back.first().and_then(|&first| self.live.find(first));
        let tried = tried.map(|slot| self.live.get(slot).at);
        let oldest = untried.into_iter().flatten().chain(tried).min()?;
        Some(oldest.max(self.opened_at(cell, now)))
    }

    /// When the gate of a cell opened last: what this process saw, else what windows and the health
    /// of the upstream tell. An operator's closing that ended before this process began is not
    /// known any more.
    fn opened_at(&self, cell: &CellSlot, now: Timestamp) -> Timestamp {
        if let Some(at) = cell.opened_at {
            return at;
        }
        let upstream = &self.upstreams[cell.upstream];
        let ramp = self.settings.upstreams.get(&upstream.name).map(|s| s.health.ramp);
        let began = match upstream.health.phase {
            // Since the end of the ramp, at whose beginning the gate opened.
            HealthPhase::Open => upstream.health.since.before(ramp.unwrap_or_default()),
            HealthPhase::Down | HealthPhase::Verifying | HealthPhase::Reopening => {
                upstream.health.since
            }
        };
        let acts = self
            .windows
            .iter()
            .flat_map(|window| [window.restored_at(&cell.cell), window.released_at(&cell.cell)]);
        let known = acts.flatten().chain([began]);
        known.filter(|&at| at <= now).max().unwrap_or_default()
    }

    /// How the deadlines stand.
    #[must_use]
    pub fn deadlines(&self, now: Timestamp) -> DeadlinesView {
        DeadlinesView { registered: self.registered.len() as u64, at_risk: self.at_risk(now) }
    }

    /// When the next known date ends that a stop of now takes away and that was not moved out of it.
    fn at_risk(&self, now: Timestamp) -> Option<Timestamp> {
        let mut next = None::<Timestamp>;
        self.each_at_risk(now, |_, _, _, ends_at| {
            next = next.into_iter().chain([ends_at]).min();
        });
        self.each_due(now, |_, _, ends_at| {
            next = next.into_iter().chain([ends_at]).min();
        });
        next
    }

    /// Every known date that a stop of now takes away and that was not moved out of it, the next
    /// to end first.
    #[must_use]
    pub fn dates_at_risk(&self, now: Timestamp) -> Vec<AtRisk> {
        let mut found = Vec::new();
        self.each_at_risk(now, |window, (business, original), known, ends_at| {
            found.push(AtRisk {
                business: business.clone(),
                original: *original,
                holds: known.holds(*original),
                ends_at,
                window: Some(window.id.clone()),
                cases: known.cases,
                open: known.open,
            });
        });
        let taken: BTreeSet<_> =
            found.iter().map(|one| (one.business.clone(), one.original)).collect();
        self.each_due(now, |key, known, ends_at| {
            let (business, original) = key;
            if taken.contains(key) {
                return;
            }
            found.push(AtRisk {
                business: business.clone(),
                original: *original,
                holds: known.holds(*original),
                ends_at,
                window: None,
                cases: 0,
                open: known.open,
            });
        });
        found.sort_by(|one, other| {
            let by = |risk: &AtRisk| (risk.ends_at, risk.business.clone(), risk.original);
            by(one).cmp(&by(other))
        });
        found
    }

    /// Every date that something carries which is not at the core yet, and that ends within a day of
    /// now or of the planned end of a stop that is on. What a rule has moved ends where it was moved
    /// to.
    fn each_due(
        &self,
        now: Timestamp,
        mut note: impl FnMut(&(Business, Deadline), &Dated, Timestamp),
    ) {
        let is_on = |w: &&Arc<Window>| w.cancelled_at.is_none() && w.stretch().contains(now);
        let on: Vec<_> = self.windows.iter().filter(is_on).collect();
        let after = on.iter().map(|window| window.stretch().end).fold(now, Timestamp::max);
        let rules = || on.iter().filter_map(|window| window.deadlines.as_ref());
        // That dates stay where they are was decided with those that wait in view.
        let decided = |business: &Business| {
            let mut named = rules().filter(|rule| rule.rule == Rule::None);
            named.any(|rule| rule.business.iter().any(|one| one.matches(business)))
        };
        let zone = self.settings.zone;
        for key in self.dates_open.iter().filter(|(business, _)| !decided(business)) {
            let Some(known) = self.dates.get(key) else { continue };
            let ends_at = ends_at(known.holds(key.1), zone);
            // What has passed without the core is late already; its filing time tells by how much.
            if now < ends_at && ends_at <= after.after(DUE_WITHIN) {
                note(key, known, ends_at);
            }
        }
    }

    fn each_at_risk(
        &self,
        now: Timestamp,
        mut note: impl FnMut(&Window, &(Business, Deadline), &Dated, Timestamp),
    ) {
        let begun = |w: &&Arc<Window>| w.cancelled_at.is_none() && w.stretch().start <= now;
        for window in self.windows.iter().filter(begun) {
            // From business to business: of a stop that is over no date is looked at.
            let mut after = Bound::Unbounded;
            while let Some(((business, _), _)) = self.dates.range((after, Bound::Unbounded)).next()
            {
                let last = (business.clone(), Deadline::MAX);
                if let Some(stop) = window.takes_days_of(business, now) {
                    let dates = self.dates.range((business.clone(), Deadline::MIN)..=last.clone());
                    for (date, known) in dates {
                        let taken = taken_by(known.holds(date.1), window.zone, &stop);
                        taken.into_iter().for_each(|ends_at| note(window, date, known, ends_at));
                    }
                }
                after = Bound::Excluded(last);
            }
        }
    }
}
