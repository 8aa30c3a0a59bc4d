//! Working days from versioned data: an explicit entry wins, else Monday to Friday.
//!
//! A year without data is an error, never a guess.

use super::time::CivilDate;
use chrono::{Datelike, Weekday};
use std::collections::BTreeMap;

/// The calendar has no data for a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has no data for {0}; add the year to the calendar file")]
pub struct NoCalendar(pub i32);

/// Which days are worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The data's version, named in every computed date.
    pub version: String,
    /// The years that are complete.
    pub years: Vec<i32>,
    /// Days that are not what their weekday says: `true` for a make-up workday, `false` for a
    /// holiday.
    pub exceptions: BTreeMap<CivilDate, bool>,
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
            .copied()
            .unwrap_or_else(|| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun)))
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
        Calendar {
            version: "test".to_owned(),
            years: vec![2025],
            exceptions: holidays.chain(worked).collect(),
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
}
