//! Whether the wall clock is believed.
//!
//! Wall and monotonic time are read together. As long as both have advanced by the same amount
//! since the last reading, give or take the allowed jump, the wall clock is believed and the
//! machine's time is what it shows. When they part, somebody has set the clock: the machine's
//! time then goes on from the last believed reading at the pace of monotonic time, and the
//! *doubt* lasts until the two agree again or a person says that the clock is right.
//!
//! While in doubt, what closes a gate holds if either time says so, and nothing that a window
//! has closed is opened by probes or by the plan; see `flow.rs`.
//!
//! A doubt is not journaled. A process that starts has no earlier reading to compare with: it
//! believes what it finds where that is not far from the last journaled time, and else asks for a
//! person's word before it begins (`journal::OpenError::ClockApart`).
//!
//! That word, and an operator's who believes a clock that was set, is the one change that moves
//! time back. What was to come then stays as far away as it was, what has been is not in the
//! future, and a doubt has to settle anew: nobody knows how much time has truly passed.

use super::change::Change;
use super::event::{Done, Fault, Order, Reply, ReplyTo};
use super::machine::Machine;
use super::ports::{Clock, Later};
use super::schedule::Plan;
use super::step::{Decision, Effect};
use crate::domain::cell::{Cell, Selector};
use crate::domain::gate::GateState;
use crate::domain::ids::WindowId;
use crate::domain::time::{Now, Timestamp};
use crate::domain::window::{self, Lock, Window};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A change of the doubt that is large enough to look at every gate again.
const WORTH_A_LOOK: Duration = Duration::from_secs(1);

/// The wall clock and the time that monotonic time makes of the last believed reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// What the wall clock shows.
    pub shows: Timestamp,
    /// What it should show; the machine's time while in doubt.
    pub expected: Timestamp,
}

impl Doubt {
    /// How far the wall clock stands ahead of where it should, in milliseconds.
    #[must_use]
    pub fn ahead_ms(&self) -> i64 {
        self.shows.as_millis().saturating_sub(self.expected.as_millis())
    }

    /// What the wall clock will show when the machine's time is `at`.
    fn on_the_wall(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().saturating_add(self.ahead_ms()))
    }
}

/// What a reading of the two clocks is judged by.
#[derive(Debug)]
struct Belief {
    /// How far they may part at once. `None`: whatever the clock shows is right.
    jump_max: Option<Duration>,
    /// How far wall time was ahead of monotonic time when it was last believed, in milliseconds.
    lead_ms: AtomicI64,
}

/// Nothing has been read yet.
const NO_LEAD: i64 = i64::MIN;

impl Belief {
    fn new(jump_max: Option<Duration>) -> Self {
        Self { jump_max, lead_ms: AtomicI64::new(NO_LEAD) }
    }

    /// What is wrong with the wall clock at a reading.
    fn judge(&self, now: Now) -> Option<Doubt> {
        let max = self.jump_max?;
        let lead = Some(self.lead_ms.load(Ordering::Relaxed)).filter(|lead| *lead != NO_LEAD)?;
        let expected = Timestamp::from_millis(monotonic_ms(now).saturating_add(lead));
        let apart = now.wall.since(expected).max(expected.since(now.wall));
        (apart > max).then_some(Doubt { shows: now.wall, expected })
    }

    /// Believes a reading.
    fn believe(&self, now: Now) {
        let lead = now.wall.as_millis().saturating_sub(monotonic_ms(now));
        self.lead_ms.store(lead, Ordering::Relaxed);
    }
}

fn monotonic_ms(now: Now) -> i64 {
    i64::try_from(now.monotonic.0).unwrap_or(i64::MAX)
}

/// The clock as the engine believes it, for whoever must know the time without asking the
/// engine: intake and operators. Shows what the wall clock should show while that is doubted.
pub struct BelievedClock {
    clock: Arc<dyn Clock>,
    belief: Arc<Belief>,
}

impl Clock for BelievedClock {
    fn now(&self) -> Now {
        let now = self.clock.now();
        Now { wall: self.belief.judge(now).map_or(now.wall, |doubt| doubt.expected), ..now }
    }

    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()> {
        self.clock.sleep_until(self.doubt().map_or(at, |doubt| doubt.on_the_wall(at)))
    }

    fn is_virtual(&self) -> bool {
        self.clock.is_virtual()
    }

    fn doubt(&self) -> Option<Doubt> {
        self.belief.judge(self.clock.now())
    }
}

/// Compares the two clocks.
#[derive(Debug)]
pub(super) struct Watch {
    belief: Arc<Belief>,
    read: Now,
    doubt: Option<Doubt>,
}

impl Watch {
    pub(super) fn new(jump_max: Option<Duration>) -> Self {
        Self { belief: Arc::new(Belief::new(jump_max)), read: Now::default(), doubt: None }
    }

    /// Takes in a reading; whether gates must be looked at again because of it.
    fn take_in(&mut self, now: Now) -> bool {
        let before = self.doubt;
        self.doubt = self.belief.judge(now);
        self.read = now;
        if self.doubt.is_none() {
            self.belief.believe(now);
        }
        match (before, self.doubt) {
            (None, None) => false,
            (Some(old), Some(new)) => {
                let moved = old.ahead_ms().abs_diff(new.ahead_ms());
                Duration::from_millis(moved) >= WORTH_A_LOOK
            }
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Believes the latest reading.
    fn believe(&mut self) {
        self.belief.believe(self.read);
        self.doubt = None;
    }
}

impl Machine {
    /// The machine's clock is moved by a driver: it jumps by design and is believed.
    pub fn follow_driver(&mut self) {
        self.clock = Watch::new(None);
    }

    /// `clock` as this machine believes it.
    pub(super) fn believed(&self, clock: Arc<dyn Clock>) -> BelievedClock {
        BelievedClock { clock, belief: self.clock.belief.clone() }
    }

    /// The machine's time at a reading, without taking it in.
    #[must_use]
    pub fn time_at(&self, now: Now) -> Timestamp {
        self.clock.belief.judge(now).map_or(now.wall, |doubt| doubt.expected).max(self.last_at)
    }

    /// What is wrong with the wall clock, if anything is.
    #[must_use]
    pub fn clock_doubt(&self) -> Option<Doubt> {
        self.clock.doubt
    }

    /// Takes in a reading; the machine's time, which never runs backwards.
    pub(super) fn read_clock(&mut self, now: Now) -> Timestamp {
        let time = self.time_at(now);
        self.gates_dirty |= self.clock.take_in(now);
        time
    }

    /// What the wall clock shows, or will show, at the machine's time `at`.
    pub(super) fn on_the_wall(&self, at: Timestamp) -> Timestamp {
        self.clock.doubt.map_or(at, |doubt| doubt.on_the_wall(at))
    }

    /// The machine's time when the wall clock shows `shown`, as far as that is known.
    fn off_the_wall(&self, shown: Timestamp) -> Timestamp {
        let ahead = self.clock.doubt.map_or(0, |doubt| doubt.ahead_ms());
        Timestamp::from_millis(shown.as_millis().saturating_sub(ahead))
    }

    /// The earlier and the later of the machine's time and what the wall clock shows while it
    /// is not believed.
    pub(super) fn readings(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let shows = self.clock.doubt.map_or(now, |doubt| doubt.shows);
        (now.min(shows), now.max(shows))
    }

    /// The lock on `cell` as the windows put it: at the machine's time, else at the later time
    /// that the wall clock shows. A window closes until somebody restores it, so that what is
    /// closed at the earlier reading is closed at the later one too.
    pub(super) fn lock_of(&self, cell: &Cell, now: Timestamp) -> Option<(&WindowId, Lock)> {
        self.lock_among(self.windows_in_play(), cell, now)
    }

    /// The same among some windows.
    fn lock_among<'w>(
        &self,
        windows: &'w [Arc<Window>],
        cell: &Cell,
        now: Timestamp,
    ) -> Option<(&'w WindowId, Lock)> {
        let windows = || windows.iter().map(AsRef::as_ref);
        let (_, late) = self.readings(now);
        let at_late = || window::lock(windows(), cell, late);
        window::lock(windows(), cell, now).or_else(|| if late == now { None } else { at_late() })
    }

    /// What one of `windows` makes of the gate of `cell`; `None` where none closes it.
    pub(super) fn gate_by_windows(
        &self,
        windows: &[Arc<Window>],
        cell: &Cell,
        now: Timestamp,
    ) -> Option<GateState> {
        let (_, lock) = self.lock_among(windows, cell, now)?;
        let windows = || windows.iter().map(AsRef::as_ref);
        let at = |at| window::lock(windows(), cell, at).map(|(_, lock)| lock);
        // A closed gate that both times explain alike is closed by the window and nothing else,
        // except that no probe may open it now.
        let agreed = self.clock.doubt.is_none_or(|doubt| at(doubt.shows) == at(now));
        Some(match lock {
            Lock::Stopped if agreed => GateState::ClosedByWindow,
            Lock::AwaitingRelease if agreed => GateState::AwaitingRelease,
            Lock::Verifying if self.clock.doubt.is_none() => GateState::Verifying,
            Lock::Stopped | Lock::Verifying | Lock::AwaitingRelease => GateState::ClosedByClock,
        })
    }

    /// The next instant of the machine's time at which a gate may turn by plan.
    pub(super) fn next_gate_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let after = |at: Timestamp| {
            let lapses = self.overrides.iter().map(|o| o.until).filter(move |&until| at < until);
            self.next_planned_edge(at).into_iter().chain(lapses).min()
        };
        let by_wall = self.clock.doubt.and_then(|d| after(d.shows)).map(|at| self.off_the_wall(at));
        after(now).into_iter().chain(by_wall).min()
    }

    /// Time goes on from `at`. Windows, ends of closings and told dates stay as they were written:
    /// they are by the calendar.
    pub(super) fn set_time(&mut self, at: Timestamp) {
        let was = std::mem::replace(&mut self.last_at, at);
        let past = |instant: Timestamp| instant.min(at);
        let to_come = |instant: Timestamp| match instant.since(was) {
            Duration::ZERO => past(instant),
            away => at.after(away),
        };
        self.live.set_instants(past, to_come, at);
        let agenda = std::mem::take(&mut self.agenda);
        self.agenda = agenda.into_iter().map(|(instant, due)| (to_come(instant), due)).collect();
        self.overrun_at = self.overrun_at.map(to_come);
        for closing in &mut self.overrides {
            closing.since = past(closing.since);
        }
        for upstream in &mut self.upstreams {
            upstream.health.since = past(upstream.health.since);
            // When they were is no longer known, so that they prove nothing.
            upstream.good.clear();
        }
        for (asked_at, _) in self.asking.values_mut() {
            *asked_at = past(*asked_at);
        }
        self.plan = Plan::default();
        self.gates_dirty = true;
        self.dates_dirty = true;
    }

    /// An operator says that the clock is right as it is.
    pub(super) fn trust_clock(&mut self, reply: ReplyTo, order: Order, out: &mut Decision) {
        let Some(doubt) = self.clock.doubt else {
            let state = "believed".to_owned();
            let fault = Fault::WrongState { what: "the clock", state };
            out.effects.push(Effect::Reply(reply, Reply::Invalid(fault)));
            return;
        };
        self.clock.believe();
        let Order { by, reason, .. } = order;
        self.push(out, Change::ClockAccepted { by, reason, at: doubt.shows });
        self.run_agenda(self.last_at, out);
        let done = Done::Gates(self.gates_of(&Selector::default()));
        self.when_quiet(reply, done, &|_| false, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Monotonic;

    fn now(wall_s: i64, monotonic_s: u64) -> Now {
        Now {
            wall: Timestamp::from_millis(wall_s * 1000),
            monotonic: Monotonic(monotonic_s * 1000),
        }
    }

    #[test]
    fn a_clock_that_parts_from_monotonic_time_is_doubted_until_it_comes_back() {
        let mut watch = Watch::new(Some(Duration::from_secs(60)));
        // Drifting and being slewed are no jumps, however far they lead in the end.
        for (wall, monotonic) in [(1000, 0), (1050, 20), (1100, 45), (1090, 70)] {
            watch.take_in(now(wall, monotonic));
            assert_eq!(watch.doubt, None, "{wall} after {monotonic} s");
        }
        assert!(watch.take_in(now(8300, 80)));
        assert_eq!(watch.doubt.map(|d| d.ahead_ms()), Some(7_200_000));
        assert!(!watch.take_in(now(8301, 81)), "the same doubt is no news");
        assert!(watch.take_in(now(1020, 90)), "another jump is");
        assert_eq!(watch.doubt.map(|d| d.expected.as_millis()), Some(1_110_000));
        assert!(watch.take_in(now(1121, 100)));
        assert_eq!(watch.doubt, None);
    }

    #[test]
    fn a_driven_clock_is_never_doubted() {
        let mut watch = Watch::new(None);
        assert!(!watch.take_in(now(1000, 0)) && !watch.take_in(now(9000, 1)));
        assert_eq!(watch.doubt, None);
    }
}
