//! When something is due: what is written down as a deadline, and how one follows from an event.
//!
//! Whether a stop moves a deadline is `deadline`'s.
//!
//! The counting rules are those of the Civil Code: the day of the event is not counted (article
//! 201); a period of months ends on the corresponding day, or on the month's last where there is
//! none (202); a last day that is not worked moves to the next that is (203). A day that was
//! given as a deadline stands as it was given: 203 speaks of periods.

use super::calendar::{Calendar, NoCalendar};
use super::time::{CivilDate, Timestamp, Zone};
use chrono::{Datelike, Months};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// When something is due. In text a day such as `2022-08-13`, or an instant with its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Deadline {
    /// In the course of a day: until its end.
    Day(CivilDate),
    /// Until an instant.
    Moment(Timestamp),
}

/// A text that is neither a day nor an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a day such as 2022-08-13, or an instant such as 2022-08-13T17:00:00+08:00")]
pub struct NotADeadline;

impl Deadline {
    /// The least of all, in the order of the type: days come before instants.
    pub const MIN: Self = Self::Day(CivilDate::MIN);
    /// The greatest of all.
    pub const MAX: Self = Self::Moment(Timestamp::from_millis(i64::MAX));

    /// Its day, as seen in `zone`.
    #[must_use]
    pub fn day(self, zone: Zone) -> CivilDate {
        match self {
            Self::Day(day) => day,
            Self::Moment(at) => at.civil(zone).date(),
        }
    }

    /// Whether it is a day.
    #[must_use]
    pub const fn is_day(self) -> bool {
        matches!(self, Self::Day(_))
    }

    /// Whether what was handed in at `received` was in time. Of two instants the times of day
    /// count too.
    #[must_use]
    pub fn is_met_by(self, received: Self, zone: Zone) -> bool {
        match (self, received) {
            (Self::Moment(due), Self::Moment(at)) => at <= due,
            _ => received.day(zone) <= self.day(zone),
        }
    }

    /// As it is written for people in `zone`.
    #[must_use]
    pub fn shown(self, zone: Zone) -> String {
        match self {
            Self::Day(day) => day.to_string(),
            Self::Moment(at) => at.rfc3339(zone),
        }
    }

    /// The same kind of deadline on `day`: an instant keeps its time of day.
    #[must_use]
    pub(super) fn on(self, day: CivilDate, zone: Zone) -> Self {
        match self {
            Self::Day(_) => Self::Day(day),
            Self::Moment(at) => {
                let time = at.civil(zone).time();
                Self::Moment(Timestamp::from_civil(day.and_time(time), zone))
            }
        }
    }
}

impl From<CivilDate> for Deadline {
    fn from(day: CivilDate) -> Self {
        Self::Day(day)
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => day.fmt(f),
            Self::Moment(at) => at.fmt(f),
        }
    }
}

impl From<Deadline> for String {
    fn from(due: Deadline) -> Self {
        due.to_string()
    }
}

impl FromStr for Deadline {
    type Err = NotADeadline;

    fn from_str(text: &str) -> Result<Self, NotADeadline> {
        if let Ok(day) = text.parse::<CivilDate>() {
            return (text == day.to_string()).then_some(Self::Day(day)).ok_or(NotADeadline);
        }
        text.parse().map(Self::Moment).map_err(|_| NotADeadline)
    }
}

impl TryFrom<String> for Deadline {
    type Error = NotADeadline;

    fn try_from(text: String) -> Result<Self, NotADeadline> {
        text.parse()
    }
}

/// How long after an event something is due.
///
/// In text `days:60`, `working_days:5`, `months:6`, `years:3`, `month_end`, or
/// `first_working_days:5/1,4,7,10`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Term {
    /// So many days.
    Days(u32),
    /// So many working days.
    WorkingDays(u32),
    /// So many months; a year has twelve.
    Months(u32),
    /// To the end of the month in which it happened.
    MonthEnd,
    /// Within the first so many working days of the next of these months, that of the event
    /// included while they last. The months rise from 1 to 12.
    FirstWorkingDays(u32, Vec<u32>),
}

/// The longest term, of whatever unit: a lifetime in days.
const TERM_MAX: u32 = 36_600;
/// Fewer than any month has.
const FIRST_WORKING_DAYS_MAX: u32 = 10;

/// A text that is not a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected days:60, working_days:5, months:6, years:3, month_end or \
     first_working_days:5/1,4,7,10"
)]
pub struct NotATerm;

impl Term {
    /// The last day of the term that an event on `event` began.
    ///
    /// # Errors
    /// [`NoCalendar`] where a working day is needed in a year without data.
    pub fn ends(&self, event: CivilDate, calendar: &Calendar) -> Result<CivilDate, NoCalendar> {
        let beyond = || NoCalendar(event.year());
        let day = match self {
            Self::Days(_) | Self::Months(_) => self.corresponding_day(event).ok_or_else(beyond)?,
            Self::WorkingDays(count) => return calendar.nth_working_day_after(event, *count),
            Self::MonthEnd => {
                let next = event.checked_add_months(Months::new(1));
                let first = next.and_then(|next| next.with_day(1));
                first.and_then(|first| first.pred_opt()).ok_or_else(beyond)?
            }
            Self::FirstWorkingDays(count, of) => {
                return first_working_days(*count, of, event, calendar);
            }
        };
        calendar.first_working_day_from(day)
    }

    /// The day that corresponds to `event` after so many days or months, worked or not; the
    /// month's last where there is none. `None` of a term that is not counted so, and beyond the
    /// last date there is.
    #[must_use]
    pub fn corresponding_day(&self, event: CivilDate) -> Option<CivilDate> {
        match self {
            Self::Days(count) => event.checked_add_days(chrono::Days::new(u64::from(*count))),
            Self::Months(count) => event.checked_add_months(Months::new(*count)),
            Self::WorkingDays(_) | Self::MonthEnd | Self::FirstWorkingDays(..) => None,
        }
    }
}

fn first_working_days(
    count: u32,
    of: &[u32],
    event: CivilDate,
    calendar: &Calendar,
) -> Result<CivilDate, NoCalendar> {
    let beyond = || NoCalendar(event.year());
    // A year and a month later the event's own month has come again.
    for later in 0..=12 {
        let month = event.checked_add_months(Months::new(later)).ok_or_else(beyond)?;
        if !of.contains(&month.month()) {
            continue;
        }
        let before = month.with_day(1).and_then(|first| first.pred_opt()).ok_or_else(beyond)?;
        let last = calendar.nth_working_day_after(before, count)?;
        if event <= last {
            return Ok(last);
        }
    }
    Err(beyond())
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(count) => write!(f, "days:{count}"),
            Self::WorkingDays(count) => write!(f, "working_days:{count}"),
            Self::Months(count) if count % 12 == 0 => write!(f, "years:{}", count / 12),
            Self::Months(count) => write!(f, "months:{count}"),
            Self::MonthEnd => f.write_str("month_end"),
            Self::FirstWorkingDays(count, of) => {
                let of: Vec<String> = of.iter().map(u32::to_string).collect();
                write!(f, "first_working_days:{count}/{}", of.join(","))
            }
        }
    }
}

impl FromStr for Term {
    type Err = NotATerm;

    fn from_str(text: &str) -> Result<Self, NotATerm> {
        let number = |text: &str, max| {
            let is_plain = text.bytes().all(|b| b.is_ascii_digit());
            let number = text.parse::<u32>().ok().filter(|&n| is_plain && (1..=max).contains(&n));
            number.ok_or(NotATerm)
        };
        if text == "month_end" {
            return Ok(Self::MonthEnd);
        }
        match text.split_once(':').ok_or(NotATerm)? {
            ("days", count) => number(count, TERM_MAX).map(Self::Days),
            ("working_days", count) => number(count, TERM_MAX).map(Self::WorkingDays),
            ("months", count) => number(count, TERM_MAX / 30).map(Self::Months),
            ("years", count) => number(count, TERM_MAX / 366).map(|n| Self::Months(12 * n)),
            ("first_working_days", rest) => {
                let (count, of) = rest.split_once('/').ok_or(NotATerm)?;
                let of: Result<Vec<u32>, _> = of.split(',').map(|m| number(m, 12)).collect();
                let of = of?;
                let rises = of.is_sorted_by(|one, next| one < next);
                let count = number(count, FIRST_WORKING_DAYS_MAX)?;
                rises.then_some(Self::FirstWorkingDays(count, of)).ok_or(NotATerm)
            }
            _ => Err(NotATerm),
        }
    }
}

impl From<Term> for String {
    fn from(term: Term) -> Self {
        term.to_string()
    }
}

impl TryFrom<String> for Term {
    type Error = NotATerm;

    fn try_from(text: String) -> Result<Self, NotATerm> {
        text.parse()
    }
}

/// The event that a deadline follows from, and by which term.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ground {
    /// How long after it.
    pub term: Term,
    /// Its day.
    pub event: CivilDate,
}

/// What somebody said is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It was given.
    Given(Deadline),
    /// It follows from an event.
    After(Ground),
}

impl Said {
    /// Reads the three fields that say it, of which an absent one is `None`. Names the field that is
    /// wrong and what is expected there, and repeats nothing of what it holds.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(
        original: Option<&str>,
        term: Option<&str>,
        event: Option<&str>,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        match (original, term, event) {
            (Some(original), None, None) => {
                let due = original.parse();
                due.map(Self::Given)
                    .map_err(|why: NotADeadline| vec![("original", why.to_string())])
            }
            (None, Some(term), event) => {
                let term = term.parse::<Term>();
                let day = event.and_then(|text| text.parse::<Deadline>().ok());
                match (term, day) {
                    (Ok(term), Some(Deadline::Day(event))) => {
                        Ok(Self::After(Ground { term, event }))
                    }
                    (term, day) => {
                        let term = term.err().map(|why| ("term", why.to_string()));
                        let is_day = day.is_some_and(Deadline::is_day);
                        let event = (!is_day).then(|| ("event", EVENT.to_owned()));
                        Err(term.into_iter().chain(event).collect())
                    }
                }
            }
            (Some(_), ..) => {
                Err(vec![("original", "expected either original, or term and event".to_owned())])
            }
            (None, None, _) => {
                let why = "expected when it is due: original, or term and event";
                Err(vec![("original", why.to_owned())])
            }
        }
    }
}

const EVENT: &str = "expected a day such as 2022-08-13";

super::cell::words!(
    /// Who has to act until the deadline.
    OwedBy, "who owes", {
        /// The insured person.
        Applicant = "applicant",
        /// The hospital, pharmacy or employer.
        Institution = "institution",
        /// The agency.
        Agency = "agency",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_reads_as_it_is_written() {
        for text in ["2022-08-13", "2022-08-13T09:00:00Z"] {
            let due: Deadline = text.parse().unwrap();
            assert_eq!(serde_json::to_value(due).unwrap(), text);
        }
        assert_eq!("2022-08-13T17:00".parse::<Deadline>(), Err(NotADeadline), "no offset");
        assert_eq!("2022-8-13".parse::<Deadline>(), Err(NotADeadline), "two ways to write one day");
        assert_eq!("2022-02-30".parse::<Deadline>(), Err(NotADeadline));
        let at: Deadline = "2022-08-13T17:00:00+08:00".parse().unwrap();
        let zone = chrono_tz::Asia::Shanghai;
        assert_eq!(at.shown(zone), "2022-08-13T17:00:00+08:00");
        let moved = at.on("2022-08-15".parse().unwrap(), zone);
        assert_eq!(moved.shown(zone), "2022-08-15T17:00:00+08:00");
    }

    #[test]
    fn a_term_reads_as_it_is_written() {
        for text in [
            "days:60",
            "working_days:5",
            "months:6",
            "years:3",
            "month_end",
            "first_working_days:5/1,4,7,10",
        ] {
            assert_eq!(text.parse::<Term>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "days",
            "days:",
            "days:0",
            "days:+5",
            "days:36601",
            "weeks:2",
            "month_end:1",
            "first_working_days:5",
            "first_working_days:5/",
            "first_working_days:5/13",
            "first_working_days:5/4,1",
            "first_working_days:11/1",
        ] {
            assert_eq!(text.parse::<Term>(), Err(NotATerm), "{text}");
        }
    }
}
