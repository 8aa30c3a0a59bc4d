//! The windows that are known, and every version of them.
//!
//! A version is a whole window, and none is ever forgotten, because receipts name them: orders,
//! restores, releases and probes make one alike. A snapshot lists them as the changes that they
//! were, oldest first, so that reading it back needs no code of its own.
//!
//! What a window does to gates is `flow`'s business, what comes by schedule `schedule`'s.

use super::change::Change;
use super::machine::Machine;
use super::step::Decision;
use crate::domain::cell::Cell;
use crate::domain::gate::HealthPhase;
use crate::domain::ids::{UpstreamName, WindowId};
use crate::domain::plan_review::review_plan;
use crate::domain::review::{self, FaultCode, WindowFault};
use crate::domain::time::Timestamp;
use crate::domain::window::{self, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The versions of each window before the one in force, oldest first.
pub(super) type Earlier = BTreeMap<WindowId, Vec<Arc<Window>>>;

impl Machine {
    pub(super) fn apply_window(&mut self, window: &Arc<Window>) {
        let unrestored = review::unrestored(window, &self.settings.catalogue);
        self.unrestored.insert(window.id.clone(), unrestored);
        match self.windows.iter_mut().find(|w| w.id == window.id) {
            Some(known) => {
                let before = std::mem::replace(known, window.clone());
                self.earlier.entry(window.id.clone()).or_default().push(before);
            }
            None => self.windows.push(window.clone()),
        }
        self.note_ready(window);
        self.plan.sorted = false;
        self.gates_dirty = true;
        self.dates_dirty = true;
    }

    /// Remembers when what is restored already goes on, where that is later.
    fn note_ready(&mut self, window: &Window) {
        for act in &window.restores {
            let Some(at) = act.ready_from.filter(|&at| self.last_at < at) else { continue };
            let named = |name: &UpstreamName| act.cells.upstream.contains(name);
            let upstreams = self.upstreams.iter().enumerate();
            let meant = upstreams.filter(|(_, u)| act.cells.upstream.is_empty() || named(&u.name));
            self.ready_at.extend(meant.map(|(index, _)| (at, index)));
        }
    }

    /// Begins the ramp of what goes on from now on, as a restore without a later time does at once.
    pub(super) fn reopen_ready(&mut self, now: Timestamp, out: &mut Decision) {
        while let Some(&(at, index)) = self.ready_at.first().filter(|(at, _)| *at <= now) {
            self.ready_at.remove(&(at, index));
            // What has happened to it since, in this process or one before, counts; and one that is
            // away by then is let back by its probes, not by a word of hours ago.
            let health = &self.upstreams[index].health;
            if health.phase != HealthPhase::Down && health.since < at {
                self.reopen(index, now, out);
            }
        }
    }

    /// The changes of which [`Self::apply_window`] makes what is known.
    pub(super) fn windows_carried(&self) -> impl Iterator<Item = Change> + '_ {
        let before = |window: &Arc<Window>| self.earlier.get(&window.id).into_iter().flatten();
        let all = self.windows.iter().flat_map(move |w| before(w).chain(std::iter::once(w)));
        all.map(|window| Change::WindowSet(window.clone()))
    }

    /// The window that had stopped `cell` at `at` and is over by now, the first declared of several:
    /// what is filed late, because it could not be filed then, says so.
    pub(super) fn incurred_in(
        &self,
        cell: &Cell,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<WindowId> {
        let found = self.windows.iter().find(|window| window.had_stopped(cell, at, now));
        found.map(|window| window.id.clone())
    }

    /// Every window that is known, oldest first.
    #[must_use]
    pub fn windows(&self) -> Vec<Arc<Window>> {
        self.windows.clone()
    }

    /// Every version of a window, oldest first, the last of them in force. Empty where there is no
    /// such window.
    #[must_use]
    pub fn versions(&self, id: &WindowId) -> Vec<Arc<Window>> {
        let before = self.earlier.get(id).into_iter().flatten();
        before.chain(self.windows.iter().filter(|window| window.id == *id)).cloned().collect()
    }

    /// Everything that is wrong with declaring `window` now, beside those that are known.
    #[must_use]
    pub fn faults_of(&self, window: &Window, now: Timestamp) -> Vec<WindowFault> {
        let (catalogue, calendar) = (&self.settings.catalogue, &self.settings.calendar);
        let longest = self.settings.limits.window_length_max;
        let others = self.in_play();
        let mut faults = review_plan(window, others, catalogue, calendar, longest, now);
        faults.extend(review::review(window, catalogue, calendar));
        let here = self.settings.zone;
        if window.deadlines.is_some() && window.zone != here {
            let why =
                format!("its days end as in {}, and dates here are days of {here}", window.zone);
            faults.push(WindowFault::warning(FaultCode::WrongRule, "zone", why));
        }
        faults
    }

    /// Where a window that is known stands.
    #[must_use]
    pub fn phase(&self, window: &Window, now: Timestamp) -> window::Phase {
        let seen = self.cells.iter().map(|c| c.cell.as_ref());
        window.phase(seen.chain(self.unrestored.get(&window.id).into_iter().flatten()), now)
    }

    /// Every window that is known, and where each stands.
    #[must_use]
    pub fn windows_and_phases(&self, now: Timestamp) -> Vec<(Arc<Window>, window::Phase)> {
        self.windows.iter().map(|window| (window.clone(), self.phase(window, now))).collect()
    }
}
