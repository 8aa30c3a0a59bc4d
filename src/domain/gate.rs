//! Gates: may an effect start in this cell now?
//!
//! A gate is open when nothing closes it: no window's lock, no operator's override, no doubt
//! about the upstream's health, no hour outside its service. The first two are facts about windows
//! and overrides, the last one about the time; the third is the [`Health`] of the upstream, which this file moves between its four phases:
//!
//! ```text
//!          bad probes                good probe              enough good probes, or signed
//!   open ────────────► down ────────────────────► verifying ─────────────────────────────┐
//!    ▲                  ▲  ◄──── bad probe ───────────┘ ▲                                 ▼
//!    └── ramp done ─────┼───────────────────────────────┴──── burst of one refusal ── reopening
//!                       └──────────────────────── bad probes ─────────────────────────────┘
//! ```
//!
//! Proof by probes spans time: N good probes in a row count as N only where each began a probe
//! interval after the one counted before, so that they span N-1 intervals. What a process has
//! counted ends with it: after a restart, which probes at once, the count begins again.
//!
//! While verifying or reopening, refusals are provisional: a core that is just coming up says
//! no to everything. They count when the gate has opened fully, and are taken back when a burst
//! of one code closes it again.

use super::cell::{Cell, Selector, words};
use super::deadline::DeadlineRule;
use super::time::{Monotonic, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

words!(
    /// The phase of an upstream's health.
    HealthPhase, "upstream phase", {
        /// Working.
        Open = "open",
        /// Not answering its probe.
        Down = "down",
        /// Answering again, not often enough yet.
        Verifying = "verifying",
        /// Proved back; sends at a rising rate.
        Reopening = "reopening",
    }
);

words!(
    /// What an operator or a metric is told about a gate.
    GateState, "gate state", {
        /// Effects may start.
        Open = "open",
        /// A window is about to close it: long work is not begun, what was begun goes on.
        Closing = "closing",
        /// Closed by a window.
        ClosedByWindow = "closed_by_window",
        /// Closed until a named person releases it.
        AwaitingRelease = "awaiting_release",
        /// Closed by an operator.
        ClosedByOperator = "closed_by_operator",
        /// Closed because the upstream does not answer.
        ClosedByProbe = "closed_by_probe",
        /// Closed outside service hours.
        ClosedBySchedule = "closed_by_schedule",
        /// Closed because the clock was set and nobody knows yet whether the stop is over.
        ClosedByClock = "closed_by_clock",
        /// Waiting for proof that the core is back.
        Verifying = "verifying",
        /// Open at a rising rate; refusals are provisional.
        Reopening = "reopening",
    }
);

impl GateState {
    /// Whether an effect may start that finishes what one before it began.
    #[must_use]
    pub const fn lets_finish(self) -> bool {
        match self {
            Self::Closing => true,
            other => other.lets_through(),
        }
    }

    /// Whether an effect may start.
    #[must_use]
    pub const fn lets_through(self) -> bool {
        match self {
            Self::Open | Self::Reopening => true,
            Self::Closing
            | Self::ClosedByWindow
            | Self::AwaitingRelease
            | Self::ClosedByOperator
            | Self::ClosedByProbe
            | Self::ClosedBySchedule
            | Self::ClosedByClock
            | Self::Verifying => false,
        }
    }
}

/// How an upstream is probed and let back.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthPolicy {
    /// The time from the beginning of one probe to that of the next.
    pub probe_interval: Duration,
    /// Good probes in a row, an interval apart, that prove it back. At least 1.
    pub good_needed: u32,
    /// Bad probes in a row after which it counts as down. At least 1.
    pub bad_needed: u32,
    /// How long the rate rises after a reopening.
    pub ramp: Duration,
    /// Sends per second at the beginning of the ramp. At least 1.
    pub ramp_from: u32,
    /// Sends per second at its end, and from then on. `None`: no limit but concurrency.
    pub steady: Option<u32>,
    /// Refusals of one code in a row, during a reopening, that close the gate again.
    pub burst: u32,
}

impl HealthPolicy {
    /// The least time between the beginnings of two good probes that both count. The prober waits
    /// by the wall clock and this is monotonic time: a wall clock that is slewed gains up to a
    /// twelfth, and both are cut to milliseconds. A tenth covers either.
    #[must_use]
    pub fn apart(&self) -> Duration {
        self.probe_interval * 9 / 10
    }
}

/// One probe of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When it began.
    pub began: Monotonic,
    /// Whether it was answered well.
    pub good: bool,
}

/// The health of one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The phase.
    pub phase: HealthPhase,
    /// When the phase began.
    pub since: Timestamp,
    /// Good probes in a row that count.
    pub good: u32,
    /// Bad probes in a row.
    pub bad: u32,
    /// When the latest good probe that counts began; `None` after a bad one.
    #[serde(skip)]
    pub counted: Option<Monotonic>,
    /// The code of the latest refusals during a reopening, and how many came in a row.
    pub refusals: Option<(String, u32)>,
    /// Since when every probe was bad; `None` while the latest was good.
    #[serde(skip)]
    pub failing_since: Option<Timestamp>,
    /// The latest time that it was away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
}

/// A time in which an upstream was away, as its probes tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// The first bad probe of those that closed its gates.
    pub began: Timestamp,
    /// When it was proved back; `None` while it was not.
    pub ended: Option<Timestamp>,
    /// Whether a person has confirmed it as a window, or dismissed it.
    pub settled: bool,
}

/// When an outage that nobody planned is proposed as a window, when the proposal lapses, and what
/// the window does to dates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutagePolicy {
    /// How long it must last.
    pub proposed_after: Duration,
    /// How long the core must be back.
    pub lapses_after: Duration,
    /// How it moves deadlines, where it does.
    pub deadlines: Option<DeadlineRule>,
}

/// A change of phase that must be journaled and acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Where it was.
    pub from: HealthPhase,
    /// Where it is now.
    pub to: HealthPhase,
}

impl Health {
    /// Working, as of `now`.
    #[must_use]
    pub fn open(now: Timestamp) -> Self {
        Self {
            phase: HealthPhase::Open,
            since: now,
            good: 0,
            bad: 0,
            counted: None,
            refusals: None,
            failing_since: None,
            outage: None,
        }
    }

    /// Puts the upstream into `phase`.
    pub fn turn(&mut self, phase: HealthPhase, now: Timestamp) -> Option<Turn> {
        if self.phase == phase {
            return None;
        }
        let from = std::mem::replace(&mut self.phase, phase);
        self.since = now;
        self.refusals = None;
        if phase == HealthPhase::Verifying {
            self.good = 0;
        }
        self.note_outage(from, now);
        Some(Turn { from, to: phase })
    }

    /// An outage begins when it falls, and one that fell back while it reopened goes on.
    fn note_outage(&mut self, from: HealthPhase, now: Timestamp) {
        match (self.phase, &mut self.outage) {
            (HealthPhase::Down, Some(known)) if from != HealthPhase::Open => known.ended = None,
            (HealthPhase::Down, _) => {
                let began = self.failing_since.unwrap_or(now);
                self.outage = Some(Outage { began, ended: None, settled: false });
            }
            (HealthPhase::Reopening, Some(known)) => known.ended = Some(now),
            (HealthPhase::Open | HealthPhase::Verifying | HealthPhase::Reopening, _) => {}
        }
    }

    /// Begins to count afresh: of the probes of a process that has ended nothing is known but
    /// what phase they led to.
    pub fn forget_probes(&mut self) {
        (self.good, self.bad, self.counted) = (0, 0, None);
        self.failing_since = None;
    }

    /// Whether `probe`, if it is good, is one more than those counted before.
    #[must_use]
    pub fn counts(&self, probe: Probe, policy: &HealthPolicy) -> bool {
        self.counted.is_none_or(|last| last.after(policy.apart()) <= probe.began)
    }

    /// Takes in one probe. `may_reopen` is false while a window or a signed-only policy forbids
    /// reopening on probes alone.
    pub fn probed(
        &mut self,
        probe: Probe,
        may_reopen: bool,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> Option<Turn> {
        let good = probe.good;
        match good {
            true => self.failing_since = None,
            false => _ = self.failing_since.get_or_insert(now),
        }
        if !good {
            self.bad = self.bad.saturating_add(1);
            (self.good, self.counted) = (0, None);
        } else if self.counts(probe, policy) {
            self.good = self.good.saturating_add(1);
            (self.bad, self.counted) = (0, Some(probe.began));
        }
        match self.phase {
            HealthPhase::Open | HealthPhase::Reopening if self.bad >= policy.bad_needed => {
                self.turn(HealthPhase::Down, now)
            }
            HealthPhase::Down if good => {
                let turn = self.turn(HealthPhase::Verifying, now);
                self.good = 1;
                if may_reopen && policy.good_needed <= 1 {
                    return self.turn(HealthPhase::Reopening, now);
                }
                turn
            }
            HealthPhase::Verifying if !good => self.turn(HealthPhase::Down, now),
            HealthPhase::Verifying if may_reopen && self.good >= policy.good_needed => {
                self.turn(HealthPhase::Reopening, now)
            }
            HealthPhase::Open
            | HealthPhase::Down
            | HealthPhase::Verifying
            | HealthPhase::Reopening => None,
        }
    }

    /// Takes in the end of an attempt during a reopening: a refusal's code, or `None` for
    /// anything the core applied.
    pub fn settled(
        &mut self,
        refused: Option<&str>,
        policy: &HealthPolicy,
        now: Timestamp,
    ) -> Option<Turn> {
        if self.phase != HealthPhase::Reopening {
            return None;
        }
        let Some(code) = refused else {
            self.refusals = None;
            return None;
        };
        let count = match &self.refusals {
            Some((last, count)) if last == code => count + 1,
            Some(_) | None => 1,
        };
        self.refusals = Some((code.to_owned(), count));
        if count >= policy.burst {
            return self.turn(HealthPhase::Verifying, now);
        }
        None
    }

    /// Opens fully once the ramp is over.
    pub fn tick(&mut self, policy: &HealthPolicy, now: Timestamp) -> Option<Turn> {
        let ramp_over =
            self.phase == HealthPhase::Reopening && now.since(self.since) >= policy.ramp;
        if ramp_over { self.turn(HealthPhase::Open, now) } else { None }
    }

    /// Sends per second allowed at `now`; `None` where only concurrency limits.
    #[must_use]
    pub fn rate(&self, policy: &HealthPolicy, now: Timestamp) -> Option<u32> {
        if self.phase != HealthPhase::Reopening {
            return policy.steady;
        }
        let target = u64::from(policy.steady.unwrap_or(policy.ramp_from.saturating_mul(64)));
        let from = u64::from(policy.ramp_from).min(target);
        let ramp = u64::try_from(policy.ramp.as_millis()).unwrap_or(u64::MAX).max(1);
        let passed = u64::try_from(now.since(self.since).as_millis()).unwrap_or(u64::MAX).min(ramp);
        let rate = from + (target - from) * passed / ramp;
        Some(u32::try_from(rate).unwrap_or(u32::MAX).max(1))
    }
}

/// An operator's word that effects must not start in some cells. It always has an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The cells.
    pub cells: Selector,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Timestamp,
}

impl Override {
    /// Whether it closes `cell` at some instant from `early` to `late`: one and the same, unless
    /// it is not certain what time it is.
    #[must_use]
    pub fn closes(&self, cell: &Cell, early: Timestamp, late: Timestamp) -> bool {
        self.since <= late && early < self.until && self.cells.matches(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> HealthPolicy {
        HealthPolicy {
            probe_interval: Duration::from_secs(5),
            good_needed: 3,
            bad_needed: 2,
            ramp: Duration::from_secs(60),
            ramp_from: 10,
            steady: Some(100),
            burst: 3,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// A probe that began after `ms` milliseconds.
    fn probe(ms: u64, good: bool) -> Probe {
        Probe { began: Monotonic(ms), good }
    }

    #[test]
    fn three_good_probes_in_a_row_reopen_and_a_bad_one_starts_again() {
        let (p, mut h) = (policy(), Health::open(at(0)));
        let phases: Vec<HealthPhase> = [false, false, true, true, false, true, true, true]
            .iter()
            .zip(1u64..)
            .map(|(&good, n)| {
                h.probed(probe(n * 5000, good), true, &p, at(0));
                h.phase
            })
            .collect();
        use HealthPhase::{Down, Open, Reopening, Verifying};
        assert_eq!(
            phases,
            [Open, Down, Verifying, Verifying, Down, Verifying, Verifying, Reopening]
        );
    }

    #[test]
    fn a_good_probe_counts_an_interval_after_the_one_counted_before() {
        let (p, mut h) = (policy(), Health::open(at(0)));
        h.turn(HealthPhase::Verifying, at(0));
        let mut counted = |ms, good| {
            h.probed(probe(ms, good), false, &p, at(0));
            h.good
        };
        // Soon after one that counts, and as long after it as two clocks may differ.
        assert_eq!([0, 40, 4499, 4500].map(|ms| counted(ms, true)), [1, 1, 1, 2]);
        assert_eq!(counted(5000, false), 0, "a bad one counts whenever it comes");
        assert_eq!([5040, 6000, 10_040].map(|ms| counted(ms, true)), [1, 1, 2]);
        h.forget_probes();
        assert_eq!((h.good, h.phase), (0, HealthPhase::Verifying));
    }

    #[test]
    fn probes_do_not_reopen_what_only_a_person_may_restore() {
        let (p, mut h) = (policy(), Health::open(at(0)));
        h.turn(HealthPhase::Verifying, at(1));
        for n in 2..20 {
            assert_eq!(h.probed(probe(n * 5000, true), false, &p, at(2)), None);
        }
    }

    #[test]
    fn a_burst_of_one_code_closes_again_but_mixed_codes_do_not() {
        let (p, mut h) = (policy(), Health::open(at(0)));
        h.turn(HealthPhase::Reopening, at(1));
        for code in ["a", "a", "b", "b", "a", "a"] {
            assert_eq!(h.settled(Some(code), &p, at(2)), None);
        }
        assert!(h.settled(Some("a"), &p, at(3)).is_some());
        assert_eq!(h.phase, HealthPhase::Verifying);
    }

    #[test]
    fn the_rate_rises_over_the_ramp_and_never_exceeds_the_steady_rate() {
        let (p, mut h) = (policy(), Health::open(at(0)));
        h.turn(HealthPhase::Reopening, at(0));
        let rates: Vec<u32> = [0, 30, 60, 600].iter().filter_map(|&t| h.rate(&p, at(t))).collect();
        assert_eq!(rates, [10, 55, 100, 100]);
        assert!(h.tick(&p, at(59)).is_none());
        assert!(h.tick(&p, at(60)).is_some());
    }
}
