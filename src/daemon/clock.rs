//! Real time: the only place that reads a clock of the machine or sleeps on one.
//!
//! Everybody else is given an `engine::ports::Clock`. [`SystemClock`] is the one of production;
//! the demonstration's clock, which a driver moves, is in `driven.rs` and rests on the
//! [`Stopwatch`] of this file. Socket timeouts do not belong here: they stay real time.

use crate::domain::time::{Monotonic, Now, Timestamp};
use crate::engine::ports::{Clock, Later};
use std::time::{Duration, Instant, SystemTime};

/// The longest stretch that is slept without looking at the wall clock again: whoever sets the
/// machine's clock delays a sleeper by at most this much.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Real time that has passed since it was started. Never runs backwards.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// A stopwatch that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Real time since the start.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the clock")]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn micros(&self) -> i64 {
        i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// Sleeps in real time. For the daemon's own upkeep and for drivers; everything that follows
/// schedules sleeps on its `Clock` instead.
#[expect(clippy::disallowed_methods, reason = "this file is the clock")]
pub async fn real_sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    began: Stopwatch,
}

impl SystemClock {
    /// The machine's clocks; monotonic readings count from here.
    #[must_use]
    pub fn new() -> Self {
        Self { began: Stopwatch::start() }
    }

    /// The machine's wall clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this file is the clock")]
    pub fn wall() -> Timestamp {
        let now = SystemTime::now();
        match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Timestamp::default().after(since),
            Err(before) => Timestamp::default().before(before.duration()),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a sleeper pauses before it looks again, when `first` was left at the beginning and
/// `left` is now, after `slept`; `None` when it is over. A wall clock that is set back keeps
/// nobody asleep for longer than was asked: probes and appointments go on.
fn pause(first: Duration, left: Duration, slept: Duration) -> Option<Duration> {
    let longest = first.saturating_add(LOOK_AGAIN).saturating_sub(slept);
    Some(left.min(longest).min(LOOK_AGAIN)).filter(|pause| !pause.is_zero())
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let monotonic = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall: Self::wall(), monotonic: Monotonic(monotonic) }
    }

    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()> {
        Box::pin(async move {
            let slept = Stopwatch::start();
            let first = at.since(Self::wall());
            while let Some(pause) = pause(first, at.since(Self::wall()), slept.elapsed()) {
                real_sleep(pause).await;
            }
        })
    }

    fn is_virtual(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_at_or_after_its_instant() {
        let clock = SystemClock::new();
        let at = clock.now().wall.after(Duration::from_millis(20));
        clock.sleep_until(at).await;
        assert!(clock.now().wall >= at);
        clock.sleep_until(Timestamp::default()).await;
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_asleep() {
        let s = Duration::from_secs;
        let ms = Duration::from_millis;
        assert_eq!(pause(s(5), s(5), s(0)), Some(LOOK_AGAIN));
        assert_eq!(pause(s(5), ms(300), ms(4700)), Some(ms(300)));
        assert_eq!(pause(s(5), s(0), s(5)), None);
        // Two hours back, after two seconds of five.
        assert_eq!(pause(s(5), s(7203), s(2)), Some(LOOK_AGAIN));
        assert_eq!(pause(s(5), s(7200), s(5)), Some(LOOK_AGAIN));
        assert_eq!(pause(s(5), s(7199), s(6)), None);
        assert_eq!(pause(Duration::MAX, s(5), s(0)), Some(LOOK_AGAIN));
    }

    #[test]
    fn the_wall_clock_is_after_this_was_written() {
        assert!(SystemClock::wall() > Timestamp::from_millis(1_600_000_000_000));
        assert!(!SystemClock::new().is_virtual());
    }
}
