//! When to try again: exponential backoff with full jitter.
//!
//! Full jitter (a delay drawn evenly from zero to the growing bound) spreads equal start times
//! best; the bound doubles from `first` to `longest`. A core's `Retry-After` is a floor.

use std::time::Duration;

/// How often and how soon a sure failure is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The bound of the first delay.
    pub first: Duration,
    /// The largest bound.
    pub longest: Duration,
    /// Sure failures after which a transaction becomes a dead letter. At least 1.
    pub failures_max: u32,
}

impl RetryPolicy {
    /// The delay after the `failures`-th sure failure in a row (from 1). `random` is drawn by
    /// the caller, evenly over its whole range.
    #[must_use]
    pub fn delay(&self, failures: u32, retry_after: Option<Duration>, random: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let bound = self.first.saturating_mul(1 << doublings).min(self.longest);
        let jittered = bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
        match retry_after {
            Some(asked) => asked.saturating_add(jittered),
            None => jittered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_doubling_bound_and_above_retry_after() {
        let policy = RetryPolicy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            failures_max: 5,
        };
        let bounds: Vec<u64> =
            [1, 2, 3, 7, 40].iter().map(|&n| policy.delay(n, None, u32::MAX).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 60, 60]);
        assert_eq!(policy.delay(9, None, 0), Duration::ZERO);
        let asked = Duration::from_secs(120);
        assert!(policy.delay(1, Some(asked), 0) >= asked);
    }
}
