//! Working days from versioned data: an explicit entry wins, else Monday to Friday.
//!
//! Every entry knows the paper that it rests on; a paper that amends another takes its place for
//! the days that both name. A year without data is an error, never a guess, and that the data are
//! about to end is told a month ahead.

use super::time::{CivilDate, Timestamp, Zone};
use chrono::{Datelike, NaiveTime, Weekday};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The calendar has no data for a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has no data for {0}; add the year to the calendar file")]
pub struct NoCalendar(pub i32);

/// The month of a year from which on the next year must be known. The papers come in November at
/// the latest, most years.
const NEXT_YEAR_FROM: u32 = 12;

/// A paper that says which days of a year are not what their weekday says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paper {
    /// The year that it speaks of; some of its days may lie at the end of the year before.
    pub year: i32,
    /// Its document number.
    pub document: String,
    /// The day it was published.
    pub published: CivilDate,
    /// The document number of the paper that it changes.
    pub amends: Option<String>,
}

/// A day that is not what its weekday says, or could be taken for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Whether it is worked.
    pub is_worked: bool,
    /// The paper that says so.
    pub paper: Arc<Paper>,
}

/// Which days are worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The data's version, named in every computed date.
    pub version: String,
    /// The file that the data stand in.
    pub file: String,
    /// The years that are complete, one after the other.
    pub years: Vec<i32>,
    /// The papers, as the file has them.
    pub papers: Vec<Arc<Paper>>,
    /// Make-up workdays and holidays.
    pub exceptions: BTreeMap<CivilDate, Exception>,
}

impl Calendar {
    /// Whether `day` is worked.
    ///
    /// # Errors
    /// [`NoCalendar`] where the data do not cover its year.
    pub fn is_working_day(&self, day: CivilDate) -> Result<bool, NoCalendar> {
        if !self.years.contains(&day.year()) {
            return Err(NoCalendar(day.year()));
        }
        Ok(self
            .exceptions
            .get(&day)
            .map_or_else(|| !is_weekend(day), |exception| exception.is_worked))
    }

    /// The year that must be known on `today` and is not: the year of `today` itself, or from the
    /// first of December on the one that follows.
    #[must_use]
    pub fn lacks(&self, today: CivilDate) -> Option<i32> {
        let next = (today.month() >= NEXT_YEAR_FROM).then(|| today.year() + 1);
        let mut needed = [Some(today.year()), next].into_iter().flatten();
        needed.find(|year| !self.years.contains(year))
    }

    /// The first instant that no complete year covers any more; `None` without any year.
    #[must_use]
    pub fn ends_at(&self, zone: Zone) -> Option<Timestamp> {
        let day = CivilDate::from_ymd_opt(self.years.last()? + 1, 1, 1)?;
        Some(Timestamp::from_civil(day.and_time(NaiveTime::MIN), zone))
    }

    /// `day` itself where it is worked, else the next day that is.
    ///
    /// # Errors
    /// [`NoCalendar`] where the data end before such a day is found.
    pub fn first_working_day_from(&self, day: CivilDate) -> Result<CivilDate, NoCalendar> {
        let mut day = day;
        while !self.is_working_day(day)? {
            day = following(day)?;
        }
        Ok(day)
    }

    /// The `n`-th working day after `day`; `day` is not counted (Civil Code, article 201), so
    /// that 0 is `day` itself.
    ///
    /// # Errors
    /// [`NoCalendar`] where the data end before such a day is found.
    pub fn nth_working_day_after(&self, day: CivilDate, n: u32) -> Result<CivilDate, NoCalendar> {
        let mut day = day;
        for _ in 0..n {
            day = self.first_working_day_from(following(day)?)?;
        }
        Ok(day)
    }
}

/// Whether `day` is a Saturday or a Sunday.
#[must_use]
pub fn is_weekend(day: CivilDate) -> bool {
    matches!(day.weekday(), Weekday::Sat | Weekday::Sun)
}

fn following(day: CivilDate) -> Result<CivilDate, NoCalendar> {
    day.succ_opt().ok_or(NoCalendar(day.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> CivilDate {
        text.parse().unwrap()
    }

    fn calendar() -> Calendar {
        // The days around the National Day of 2025.
        let holidays = (1..=8).map(|d| (CivilDate::from_ymd_opt(2025, 10, d).unwrap(), false));
        let worked = ["2025-09-28", "2025-10-11"].map(|text| (day(text), true));
        let paper = Arc::new(Paper {
            year: 2025,
            document: "a paper".to_owned(),
            published: day("2024-11-12"),
            amends: None,
        });
        let of = |(day, is_worked)| (day, Exception { is_worked, paper: paper.clone() });
        Calendar {
            version: "test".to_owned(),
            file: "test.toml".to_owned(),
            years: vec![2025],
            exceptions: holidays.chain(worked).map(of).collect(),
            papers: vec![paper],
        }
    }

    #[test]
    fn an_entry_wins_over_the_weekday() {
        let calendar = calendar();
        for (text, worked) in [
            ("2025-09-28", true),
            ("2025-10-01", false),
            ("2025-10-08", false),
            ("2025-10-09", true),
            ("2025-10-11", true),
            ("2025-10-12", false),
        ] {
            assert_eq!(calendar.is_working_day(day(text)), Ok(worked), "{text}");
        }
    }

    #[test]
    fn counting_leaves_out_the_first_day_and_takes_in_make_up_days() {
        let calendar = calendar();
        for (from, n, to) in [
            ("2025-09-26", 5, "2025-10-10"),
            ("2025-09-30", 5, "2025-10-14"),
            ("2025-10-10", 5, "2025-10-16"),
            ("2025-10-10", 0, "2025-10-10"),
        ] {
            assert_eq!(calendar.nth_working_day_after(day(from), n), Ok(day(to)), "{from} + {n}");
        }
        assert_eq!(calendar.first_working_day_from(day("2025-10-01")), Ok(day("2025-10-09")));
        assert_eq!(calendar.first_working_day_from(day("2025-10-11")), Ok(day("2025-10-11")));
    }

    #[test]
    fn a_year_without_data_is_an_error_even_when_counting_runs_into_it() {
        let calendar = calendar();
        assert_eq!(calendar.is_working_day(day("2026-01-05")), Err(NoCalendar(2026)));
        assert_eq!(calendar.nth_working_day_after(day("2025-12-31"), 1), Err(NoCalendar(2026)));
        assert_eq!(calendar.first_working_day_from(day("2024-12-31")), Err(NoCalendar(2024)));
    }

    #[test]
    fn the_next_year_is_missed_from_the_first_of_december_on_and_the_present_one_always() {
        let calendar = calendar();
        for (today, lacks) in [
            ("2025-01-01", None),
            ("2025-11-30", None),
            ("2025-12-01", Some(2026)),
            ("2025-12-31", Some(2026)),
            ("2026-01-01", Some(2026)),
            ("2026-12-01", Some(2026)),
            ("2024-12-31", Some(2024)),
        ] {
            assert_eq!(calendar.lacks(day(today)), lacks, "{today}");
        }
        let ends = calendar.ends_at(chrono_tz::Asia::Shanghai);
        assert_eq!(ends, "2026-01-01T00:00:00+08:00".parse().ok());
        assert_eq!(Calendar { years: Vec::new(), ..calendar }.ends_at(chrono_tz::UTC), None);
    }
}
