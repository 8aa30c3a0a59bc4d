//! What comes by schedule: recurring stops are declared ahead, service hours close and open gates.
//!
//! **Recurring stops.** An occurrence is declared as an ordinary window as soon as it is no further
//! away than `Limits::recurring_ahead`. One that runs when it is first seen, because the daemon was
//! off at its start or the schedule is new, is declared all the same and stops what it stops at
//! once; one whose planned end has passed by then is not: nothing was sent while the daemon was
//! off, and a core that is not back shows at its probes. An occurrence that was declared before
//! lasts until it is proved back, however long the daemon was off.
//!
//! What says that an occurrence has been declared is the window of its name, which is in the
//! journal for good. So a second look, a restart and a cancellation declare nothing anew, and a
//! changed or removed schedule takes back nothing: [`Machine::left_alone`] lists what such a
//! schedule would not declare any more, for a person to cancel.
//!
//! An occurrence was reviewed with its schedule, at the start. Its year may lack working days by
//! now; it is declared even so, because a stop that nobody holds is worse than a date that cannot
//! be told yet, and the lack is an answer of its own (`deadlines`).
//!
//! **Service hours** are the configuration's and stand in no journal: whether a cell is open is a
//! question about the time. Their closing is an edge like a window's start: the gate turns at it,
//! raises its epoch, and no send is begun from then on. While the clock is not believed, a cell is
//! open only if it is by both times and between them.
//!
//! **Windows in play.** Recurring stops pile up over the years. Those that are over for every cell
//! that is known are not asked again at each submission; `Plan` keeps the others.

use super::change::Change;
use super::machine::{Due, Machine};
use super::step::Decision;
use super::view::{HoursView, OccurrenceView, RecurringView};
use crate::domain::cell::Cell;
use crate::domain::hours;
use crate::domain::ids::WindowId;
use crate::domain::recurring;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{Phase, Window};
use std::sync::Arc;

/// Later than anything that is planned.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// What is known of the plan in this process only.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Windows that may still say something about a cell that is known.
    in_play: Vec<Arc<Window>>,
    /// Whether that list is right; where it is not, every window is asked.
    pub(super) sorted: bool,
    /// When recurring stops are looked at again; at once where it is in the past.
    declares_at: Timestamp,
}

impl Plan {
    /// Looks at the recurring stops anew, at once.
    pub(super) fn look_again(&mut self) {
        self.declares_at = Timestamp::default();
    }
}

impl Machine {
    /// Declares each occurrence that has come near enough.
    pub(super) fn declare_recurring(&mut self, now: Timestamp, out: &mut Decision) {
        if now < self.plan.declares_at {
            return;
        }
        let horizon = now.after(self.settings.limits.recurring_ahead);
        let mut next = NEVER;
        let mut windows = Vec::new();
        for recurring in &self.settings.recurring {
            for planned in recurring.after(now.before(recurring.lasts)) {
                if horizon < planned.start {
                    next = next.min(planned.start.before(self.settings.limits.recurring_ahead));
                    break;
                }
                let window = recurring.window(planned, now);
                windows.extend(window.filter(|w| !self.unrestored.contains_key(&w.id)));
            }
        }
        for window in windows {
            self.push(out, Change::WindowSet(Arc::new(window)));
        }
        self.plan.declares_at = next;
        if next < NEVER {
            self.agenda.insert((next, Due::Gates));
        }
    }

    /// The windows that may say something about a cell that is known: all that are not over.
    #[must_use]
    pub fn windows_in_play(&self) -> &[Arc<Window>] {
        if self.plan.sorted { &self.plan.in_play } else { &self.windows }
    }

    /// The same, one by one.
    pub(super) fn in_play(&self) -> impl Iterator<Item = &Window> + Clone {
        self.windows_in_play().iter().map(AsRef::as_ref)
    }

    /// Sorts out the windows that say nothing any more. One that does stays so until it, time or
    /// the cells that are known change, which is when all are looked at again. Where everything
    /// that was stopped is back, what lets other cells through is in force until the planned end.
    pub(super) fn sort_windows(&mut self, now: Timestamp) {
        let says_something =
            |w: &Window| self.cells.iter().any(|one| w.row_in_force(&one.cell, now).is_some());
        let over = |window: &Window| match self.phase(window, now) {
            Phase::Completed | Phase::Cancelled => !says_something(window),
            Phase::Scheduled
            | Phase::Closing
            | Phase::Active
            | Phase::Verifying
            | Phase::Overrun
            | Phase::Replaying => false,
        };
        let in_play = self.windows_in_play().iter().filter(|w| !over(w)).cloned().collect();
        self.plan.in_play = in_play;
        self.plan.sorted = true;
    }

    /// A cell is seen for the first time: a window that was over may stop it.
    pub(super) fn met(&mut self, cell: &Cell) {
        let now = self.last_at;
        let speaks =
            |w: &Arc<Window>| w.lock(cell, now).is_some() || w.row_in_force(cell, now).is_some();
        self.plan.sorted &= !self.windows.iter().any(speaks);
    }

    /// Whether `cell` is within its service hours, by both times where the clock is doubted.
    pub(super) fn is_in_service(&self, cell: &Cell, now: Timestamp) -> bool {
        let (early, late) = self.readings(now);
        hours::are_open(&self.settings.service_hours, cell, early, late)
    }

    /// When the cell `id` is known to close next by plan.
    pub(super) fn closes_by_plan(&self, id: u32, now: Timestamp) -> Option<Timestamp> {
        let slot = &self.cells[id as usize];
        let cell = slot.cell.as_ref();
        let windows = self.in_play().filter_map(|w| w.closes_at(cell, now));
        let cutoffs = self.in_play().filter_map(|w| w.cuts_off_at(cell, now));
        let cutoffs = cutoffs.filter(|_| slot.long);
        let hours = hours::of(&self.settings.service_hours, cell);
        windows.chain(cutoffs).chain(hours.filter_map(|one| one.closes_at(now))).min()
    }

    /// The window whose stop of `cell` is so near that `long` work is not begun any more, by either
    /// time where the clock is doubted.
    pub(super) fn closing_by(&self, cell: &Cell, long: bool, now: Timestamp) -> Option<&WindowId> {
        let (early, late) = self.readings(now);
        let near = |w: &Window| w.is_closing(cell, early) || w.is_closing(cell, late);
        let mut windows = self.in_play().filter(|_| long);
        windows.find(|w| near(w)).map(|w| &w.id)
    }

    /// When something turns next after `at` by plan.
    pub(super) fn next_planned_edge(&self, at: Timestamp) -> Option<Timestamp> {
        let windows = self.in_play().filter_map(|w| w.next_edge(at));
        let hours = self.settings.service_hours.iter().filter_map(|one| one.next_edge(at));
        windows.chain(hours).min()
    }

    /// The windows that say something from `now` to `until`, the instants from `now` on, at most
    /// `most`, at which anything may change by plan, and until when that is all: recurring stops are
    /// known as far as they are declared.
    #[must_use]
    pub fn plan_ahead(
        &self,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> (Vec<Arc<Window>>, Vec<Timestamp>, Timestamp) {
        let until = until.min(now.after(self.settings.limits.recurring_ahead));
        let overrides = |at: Timestamp| {
            self.overrides.iter().map(|one| one.until).filter(move |&until| at < until).min()
        };
        let next =
            |at: &Timestamp| self.next_planned_edge(*at).into_iter().chain(overrides(*at)).min();
        let mut edges: Vec<Timestamp> = std::iter::successors(Some(now), next)
            .take_while(|&at| at < until)
            .take(most + 1)
            .collect();
        let until = if edges.len() > most { edges.pop().unwrap_or(until) } else { until };
        let says = |w: &&Arc<Window>| w.cancelled_at.is_none() && w.stretch().start < until;
        let windows = self.windows_in_play().iter().filter(says).cloned().collect();
        (windows, edges, until)
    }

    /// The windows as they are expected to stand at `at`: with what will have been declared by
    /// then, and without the recurring ones that are planned to be over; else one night that is
    /// still to come would answer for every later day.
    pub(super) fn expected_at(&self, at: Timestamp, now: Timestamp) -> Vec<Arc<Window>> {
        let of = |one: &recurring::Recurring| {
            let planned = one.after(at.before(one.lasts)).next()?;
            let comes = planned.contains(at) && now < planned.end;
            let window = one.window(planned, at).filter(|_| comes)?;
            Some(window).filter(|window| !self.unrestored.contains_key(&window.id)).map(Arc::new)
        };
        let known = self.windows.iter().filter(|w| !is_over_by(w, at, now)).cloned();
        known.chain(self.settings.recurring.iter().filter_map(of)).collect()
    }

    /// The next `count` occurrences of each recurring stop, one that runs included.
    #[must_use]
    pub fn recurring(&self, now: Timestamp, count: usize) -> Vec<RecurringView> {
        let of = |planned: Interval, id: Option<WindowId>| {
            let declared = self.windows.iter().find(|w| Some(&w.id) == id.as_ref());
            OccurrenceView {
                planned,
                declared: declared.map(|w| (w.id.clone(), self.phase(w, now))),
            }
        };
        let view = |one: &recurring::Recurring| RecurringView {
            name: one.name.clone(),
            cron: one.recurrence.cron.to_string(),
            days: one.recurrence.days.as_ref().map(ToString::to_string),
            zone: one.recurrence.zone,
            lasts: one.lasts,
            next: one
                .after(now.before(one.lasts))
                .take(count)
                .map(|planned| of(planned, one.id_of(planned.start)))
                .collect(),
        };
        self.settings.recurring.iter().map(view).collect()
    }

    /// The service hours, and their next `count` openings, one that runs included.
    #[must_use]
    pub fn service_hours(&self, now: Timestamp, count: usize) -> Vec<HoursView> {
        let hours = self.settings.service_hours.iter();
        let view = |one: &hours::ServiceHours| {
            let next: Vec<Interval> = one.openings(now).take(count).collect();
            let unknown = (next.len() < count).then(|| one.unknown_after(now)).flatten();
            HoursView {
                name: one.name.clone(),
                zone: one.zone,
                is_open: one.is_open(now),
                cells: one.row.cells.clone(),
                outside: one.row.disposition,
                clause: one.row.clause.clone(),
                reason: one.reason.clone(),
                next,
                unknown,
            }
        };
        hours.map(view).collect()
    }

    /// Recurring windows still to come that no schedule would declare now: it was changed or
    /// removed after it had declared them. They stand until somebody cancels them.
    #[must_use]
    pub fn left_alone(&self, now: Timestamp) -> Vec<Arc<Window>> {
        let meant = |id: &WindowId| self.settings.recurring.iter().any(|one| one.still_means(id));
        let left = |window: &&Arc<Window>| {
            matches!(self.phase(window, now), Phase::Scheduled | Phase::Closing)
                && recurring::origin(&window.id).is_some()
                && !meant(&window.id)
        };
        self.windows.iter().filter(left).cloned().collect()
    }
}

/// Whether a window that recurs is planned to be over by `at`, and still to come at `now`: else one
/// night that nobody has proved over would answer for every later day.
pub(super) fn is_over_by(w: &Window, at: Timestamp, now: Timestamp) -> bool {
    now < w.planned.end && w.planned.end <= at && recurring::origin(&w.id).is_some()
}
