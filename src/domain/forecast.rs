//! What a stop is expected to keep, and how long it takes to send afterwards.
//!
//! A plain extrapolation: what was accepted lately, by the hour, for as long as a cell is planned to
//! be kept. It knows no weekday and no season, and what a stop turned away while it was watched is
//! missing from it; so whoever shows it also says for how long was watched.

use super::gate::HealthPolicy;
use super::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Hours that are remembered: a week.
const HOURS_MAX: usize = 7 * 24;

const HOUR_MS: i64 = 3_600_000;

/// The shortest time from which anything is extrapolated. Less would make a rate of one
/// transaction.
pub const WATCHED_MIN: Duration = Duration::from_secs(60);

/// What one transaction takes on the disk beside its sealed part: its acceptance (some 300 bytes),
/// an attempt and its outcome (150), its place in a snapshot and in the index (300), rounded up.
pub const BESIDE_SEALED_BYTES: u64 = 1024;

/// What was accepted, hour by hour, over the last week.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    hours: VecDeque<Hour>,
}

#[derive(Debug, Clone, Copy)]
struct Hour {
    /// Whole hours since 1970.
    hour: i64,
    count: u64,
    bytes: u64,
}

impl Arrivals {
    /// Counts one that was accepted at `at` with `bytes` of sealed content.
    pub fn count(&mut self, at: Timestamp, bytes: u64) {
        let hour = at.as_millis().div_euclid(HOUR_MS);
        match self.hours.back_mut() {
            // A clock that was set back counts where it stood: the sum is what matters.
            Some(last) if hour <= last.hour => {
                last.count += 1;
                last.bytes += bytes;
            }
            _ => self.hours.push_back(Hour { hour, count: 1, bytes }),
        }
        if self.hours.len() > HOURS_MAX {
            self.hours.pop_front();
        }
    }

    /// How many there were, and their bytes, in the hours that begin at `from` or later.
    #[must_use]
    pub fn since(&self, from: Timestamp) -> (u64, u64) {
        let hours = self.hours.iter().filter(|hour| from.as_millis() <= hour.hour * HOUR_MS);
        hours.fold((0, 0), |sum, hour| (sum.0 + hour.count, sum.1 + hour.bytes))
    }
}

/// The stretch that is extrapolated from: at most a week, in whole hours where it is longer than
/// one, so that what is counted and what is divided by are the same.
#[must_use]
pub fn watched(since: Timestamp, now: Timestamp) -> (Timestamp, Duration) {
    let week = now.before(Duration::from_secs(HOURS_MAX as u64 * 3600));
    if since < week {
        let first = (week.as_millis().div_euclid(HOUR_MS) + 1) * HOUR_MS;
        let first = Timestamp::from_millis(first);
        return (first, now.since(first));
    }
    // The hour in which it began counts whole: nothing was counted before it.
    let first = Timestamp::from_millis(since.as_millis().div_euclid(HOUR_MS) * HOUR_MS);
    (first, now.since(since).max(WATCHED_MIN))
}

/// `count`, which came within `watched`, over `lasts`; rounded up.
#[must_use]
pub fn extrapolated(count: u64, watched: Duration, lasts: Duration) -> u64 {
    let watched = watched.max(WATCHED_MIN).as_millis();
    let expected = (u128::from(count) * lasts.as_millis()).div_ceil(watched);
    u64::try_from(expected).unwrap_or(u64::MAX)
}

/// How long `count` take to be sent at the configured pace, the rise after reopening included.
/// `None` where no pace is configured: then only the core's own speed limits.
#[must_use]
pub fn replay_time(policy: &HealthPolicy, count: u64) -> Option<Duration> {
    let steady = f64::from(policy.steady?).max(1.0);
    let from = f64::from(policy.ramp_from).clamp(1.0, steady);
    #[expect(clippy::cast_precision_loss, reason = "an estimate of seconds")]
    let count = count as f64;
    let ramp = policy.ramp.as_secs_f64();
    let in_ramp = (from + steady) / 2.0 * ramp;
    let seconds = if in_ramp <= count {
        ramp + (count - in_ramp) / steady
    } else {
        // from·t + rise·t²/2 = count
        let rise = (steady - from) / ramp;
        match rise > 0.0 {
            true => ((from * from + 2.0 * rise * count).sqrt() - from) / rise,
            false => count / steady,
        }
    };
    Duration::try_from_secs_f64(seconds.ceil()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_millis(hour * HOUR_MS + minute * 60_000)
    }

    #[test]
    fn what_came_in_the_last_week_is_counted_hour_by_hour() {
        let mut arrivals = Arrivals::default();
        for hour in 0..200 {
            arrivals.count(at(hour, 30), 100);
            arrivals.count(at(hour, 40), 300);
        }
        assert_eq!(arrivals.since(at(0, 0)), (336, 67_200), "a week of it");
        assert_eq!(arrivals.since(at(199, 0)), (2, 400));
        assert_eq!(arrivals.since(at(199, 1)), (0, 0), "whole hours only");
        arrivals.count(at(10, 0), 1);
        assert_eq!(arrivals.since(at(199, 0)), (3, 401), "a clock that was set back");
    }

    #[test]
    fn what_is_counted_and_what_it_is_divided_by_begin_together() {
        assert_eq!(watched(at(5, 30), at(8, 0)), (at(5, 0), Duration::from_secs(9000)));
        assert_eq!(watched(at(5, 30), at(5, 30)), (at(5, 0), WATCHED_MIN));
        let (first, length) = watched(at(0, 0), at(500, 30));
        assert_eq!((first, length), (at(333, 0), Duration::from_secs(167 * 3600 + 1800)));
        let hour = Duration::from_secs(3600);
        assert_eq!(extrapolated(10, hour, 3 * hour), 30);
        assert_eq!(extrapolated(1, hour, Duration::from_secs(1)), 1, "rounded up");
        assert_eq!(extrapolated(0, hour, hour), 0);
        assert_eq!(extrapolated(u64::MAX, hour, 9 * hour), u64::MAX);
    }

    #[test]
    fn the_replay_takes_as_long_as_its_pace_allows_the_rise_included() {
        let policy = |steady: Option<u32>| HealthPolicy {
            probe_interval: Duration::ZERO,
            good_needed: 3,
            bad_needed: 3,
            ramp: Duration::from_secs(60),
            ramp_from: 5,
            steady,
            burst: 4,
        };
        let seconds = |steady, count| replay_time(&policy(steady), count).map(|d| d.as_secs());
        assert_eq!(seconds(Some(200), 0), Some(0));
        // 60 s at 102.5 a second are 6,150.
        assert_eq!(seconds(Some(200), 6150), Some(60));
        assert_eq!(seconds(Some(200), 6150 + 2000), Some(70));
        // 5t + 3.25·t²/2 = 1000 at t = 23.3.
        assert_eq!(seconds(Some(200), 1000), Some(24));
        assert_eq!(seconds(Some(5), 300), Some(60), "no rise");
        assert_eq!(seconds(None, 300), None, "nobody knows the core's own speed");
    }
}
