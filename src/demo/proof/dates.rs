//! P5: every deadline inside the stop was moved, and no date that was told was moved earlier.
//!
//! The arithmetic stands here a second time, on purpose and on its own: its own list of working
//! days, its own idea of inside, no call into `domain::deadline`. It knows August 2022 and
//! nothing else.

use super::Broken;
use crate::domain::deadline::Rule;
use crate::domain::time::{CivilDate, Timestamp};
use chrono::{Datelike, Days, NaiveDate, NaiveTime, Weekday};
use std::collections::BTreeMap;

/// The stop, as the proof knows it.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Its published start.
    pub starts: Timestamp,
    /// Its published end.
    pub published_end: Timestamp,
    /// When the business was really back.
    pub restored: Timestamp,
    /// How far a date inside it is moved.
    pub rule: Rule,
    /// When the agencies open.
    pub opens_at: NaiveTime,
    /// When a deadline day ends; `None` at 24:00.
    pub day_ends_at: Option<NaiveTime>,
}

const MILLIS_PER_HOUR: i64 = 3_600_000;
const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;
/// Beijing is eight hours ahead of Greenwich, summer and winter.
const AHEAD: i64 = 8 * MILLIS_PER_HOUR;

fn midnight(date: CivilDate) -> i64 {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap_or_default();
    date.signed_duration_since(epoch).num_days() * MILLIS_PER_DAY - AHEAD
}

fn date_of(millis: i64) -> CivilDate {
    let days = (millis + AHEAD).div_euclid(MILLIS_PER_DAY);
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap_or_default();
    epoch + Days::new(u64::try_from(days).unwrap_or(0))
}

/// August 2022 had neither holidays nor make-up workdays.
fn is_worked(date: CivilDate) -> bool {
    !matches!(date.weekday(), Weekday::Sat | Weekday::Sun)
}

fn time_of_day(time: NaiveTime) -> i64 {
    time.signed_duration_since(NaiveTime::MIN).num_milliseconds()
}

impl Stop {
    fn counted_end(&self) -> i64 {
        self.published_end.max(self.restored).as_millis()
    }

    /// The date that must hold for `original`; `None` outside August 2022.
    #[must_use]
    pub fn effective(&self, original: CivilDate) -> Option<CivilDate> {
        let in_august = |date: CivilDate| date.year() == 2022 && date.month() == 8;
        if !in_august(original) {
            return None;
        }
        let expires = midnight(original) + self.day_ends_at.map_or(MILLIS_PER_DAY, time_of_day);
        let end = self.counted_end();
        if expires < self.starts.as_millis() || end <= expires {
            return Some(original);
        }
        let day_after = |date: CivilDate| date + Days::new(1);
        let first_worked = |date: CivilDate| {
            let mut day = date;
            while !is_worked(day) {
                day = day_after(day);
            }
            day
        };
        let moved = match self.rule {
            Rule::None => original,
            Rule::FirstFullWorkingDay => {
                let mut day = date_of(end);
                while !is_worked(day) || midnight(day) + time_of_day(self.opens_at) < end {
                    day = day_after(day);
                }
                day
            }
            Rule::RestorePlusWorkingDays(count) => {
                let (mut day, mut left) = (date_of(end), count);
                while left > 0 {
                    day = day_after(day);
                    left -= u32::from(is_worked(day));
                }
                day
            }
            Rule::RestorePlusDays(count) => {
                first_worked(date_of(end) + Days::new(u64::from(count)))
            }
            // A day ends when the next begins, so the last instant of the day counts.
            Rule::ShiftByOutage => {
                first_worked(date_of(expires + (end - self.starts.as_millis()) - 1))
            }
            Rule::FixedDate(day) => day,
        };
        let moved = moved.max(original);
        in_august(moved).then_some(moved)
    }
}

/// A date that somebody was told, in the order of telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Which date: a business and the date given, or a registered case.
    pub about: String,
    /// The date given.
    pub original: CivilDate,
    /// The date told.
    pub told: CivilDate,
    /// When.
    pub at: Timestamp,
}

/// P5 over everything that was told; the last telling of each date is the one that holds now.
#[must_use]
pub fn moved(stop: &Stop, tellings: &[Telling]) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<(&str, CivilDate), CivilDate> = BTreeMap::new();
    for telling in tellings {
        let about = (telling.about.as_str(), telling.original);
        let before = last.insert(about, telling.told);
        if let Some(before) = before.filter(|&before| telling.told < before) {
            let what = format!(
                "the date {} was told as {before} and then as {}",
                telling.original, telling.told
            );
            broken.push(Broken::new("P5", &telling.about, what));
        }
    }
    for ((about, original), told) in last {
        let Some(expected) = stop.effective(original) else { continue };
        if told < expected {
            let what = format!("the date {original} ran to {told}, it must run to {expected}");
            broken.push(Broken::new("P5", about, what));
        }
    }
    broken
}

/// P5 while a stop that was put off is still on: from then on every date that is told counts on the
/// new end, which `stop` has as its published one, and not first on the restart.
#[must_use]
pub fn followed(
    stop: &Stop,
    tellings: &[Telling],
    from: Timestamp,
    until: Timestamp,
) -> Vec<Broken> {
    let told = tellings.iter().filter(|telling| from <= telling.at && telling.at < until);
    let late = told.filter(|telling| {
        stop.effective(telling.original).is_some_and(|expected| telling.told < expected)
    });
    late.map(|telling| {
        let what = format!(
            "the stop was put off, and the date {} was still told as {}",
            telling.original, telling.told
        );
        Broken::new("P5", &telling.about, what)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(restored: &str, rule: Rule) -> Stop {
        Stop {
            starts: "2022-08-12T19:00:00+08:00".parse().unwrap(),
            published_end: "2022-08-15T06:00:00+08:00".parse().unwrap(),
            restored: restored.parse().unwrap(),
            rule,
            opens_at: NaiveTime::from_hms_opt(9, 0, 0).unwrap(),
            day_ends_at: None,
        }
    }

    fn day(day: u32) -> CivilDate {
        NaiveDate::from_ymd_opt(2022, 8, day).unwrap()
    }

    #[test]
    fn s1_12_the_second_arithmetic_gives_the_table_of_the_notice() {
        let on_time = "2022-08-15T06:00:00+08:00";
        // restart, day given, first full working day, plus five working days, shifted
        let table = [
            (on_time, 11, [11, 11, 11]),
            (on_time, 12, [15, 22, 15]),
            (on_time, 13, [15, 22, 16]),
            (on_time, 14, [15, 22, 17]),
            (on_time, 15, [15, 15, 15]),
            ("2022-08-15T07:10:00+08:00", 14, [15, 22, 17]),
            ("2022-08-16T10:00:00+08:00", 15, [17, 23, 19]),
            ("2022-08-14T20:00:00+08:00", 14, [15, 22, 17]),
        ];
        let rules =
            [Rule::FirstFullWorkingDay, Rule::RestorePlusWorkingDays(5), Rule::ShiftByOutage];
        for (restored, given, expected) in table {
            for (rule, wanted) in rules.into_iter().zip(expected) {
                let got = stop(restored, rule).effective(day(given));
                assert_eq!(got, Some(day(wanted)), "{restored} {given} {rule:?}");
            }
        }
        let mut closes_early = stop(on_time, Rule::FirstFullWorkingDay);
        closes_early.day_ends_at = NaiveTime::from_hms_opt(17, 0, 0);
        assert_eq!(closes_early.effective(day(12)), Some(day(12)));
    }

    fn telling(told: u32, at: i64) -> Telling {
        Telling {
            about: "reimbursement.manual".to_owned(),
            original: day(13),
            told: day(told),
            at: Timestamp::from_millis(at),
        }
    }

    #[test]
    fn a_date_that_was_not_moved_is_found() {
        let stop = stop("2022-08-15T06:00:00+08:00", Rule::FirstFullWorkingDay);
        assert!(moved(&stop, &[telling(15, 1)]).is_empty());
        let broken = moved(&stop, &[telling(13, 1)]);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].what.contains("must run to 2022-08-15"), "{}", broken[0].what);
    }

    #[test]
    fn a_date_that_does_not_follow_a_stop_that_was_put_off_is_found() {
        let mut stop = stop("2022-08-15T06:00:00+08:00", Rule::FirstFullWorkingDay);
        stop.published_end = "2022-08-16T08:00:00+08:00".parse().unwrap();
        let at = Timestamp::from_millis;
        assert_eq!(followed(&stop, &[telling(15, 5)], at(5), at(9)).len(), 1);
        assert!(followed(&stop, &[telling(16, 5)], at(5), at(9)).is_empty());
        assert!(followed(&stop, &[telling(15, 4), telling(15, 9)], at(5), at(9)).is_empty());
    }

    #[test]
    fn a_date_told_and_then_moved_earlier_is_found() {
        let stop = stop("2022-08-15T06:00:00+08:00", Rule::FirstFullWorkingDay);
        let broken = moved(&stop, &[telling(17, 1), telling(15, 2)]);
        assert_eq!(broken.len(), 1);
        assert!(broken[0].what.contains("told as 2022-08-17 and then as 2022-08-15"));
    }
}
