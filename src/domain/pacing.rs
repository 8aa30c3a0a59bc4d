//! Keeping to a rate: whole permits, refilled once a second.
//!
//! Refilling by the second makes the promise easy to check (no one-second bucket ever holds
//! more than the rate) and lets a jumping clock take a second at a time.

use super::time::Timestamp;
use std::time::Duration;

/// Hands out permits, at most `rate` in each second.
#[derive(Debug, Clone, Default)]
pub struct Pacer {
    second: i64,
    spent: u32,
}

impl Pacer {
    /// Takes one permit at `now`, if this second has one left.
    pub fn take(&mut self, rate: Option<u32>, now: Timestamp) -> bool {
        let Some(rate) = rate else { return true };
        let second = now.as_millis().div_euclid(1000);
        if second != self.second {
            (self.second, self.spent) = (second, 0);
        }
        let granted = self.spent < rate;
        self.spent += u32::from(granted);
        granted
    }

    /// When the next permit may be had.
    #[must_use]
    pub fn refills_at(&self, now: Timestamp) -> Timestamp {
        let into_second = u64::try_from(now.as_millis().rem_euclid(1000)).unwrap_or(0);
        now.after(Duration::from_millis(1000 - into_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_ever_holds_more_than_the_rate() {
        let mut pacer = Pacer::default();
        for second in 0..5 {
            let granted = (0..1000)
                .filter(|ms| pacer.take(Some(7), Timestamp::from_millis(second * 1000 + ms)))
                .count();
            assert_eq!(granted, 7);
        }
    }
}
