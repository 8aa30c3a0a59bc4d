//! When something recurs: cron expressions, days of the month, weekdays, and what they mean in a
//! zone whose clock is changed.
//!
//! An expression has the five fields that operators know: minute, hour, day of month, month,
//! weekday. A field is `*`, a number, a range `a-b`, a step `*/n` or `a-b/n`, or a list of those;
//! months and weekdays may be named by three letters; Sunday is 0 and 7. What other programs read
//! in more than one way is refused with what to write instead: seconds or years, `@daily`, `?`,
//! `L`, `W`, `#`, a step without a range, a range that runs backwards, and a day of month beside a
//! weekday (some programs want both, others either). Both at once is written as a weekday here and
//! [`Days`] beside it: Tuesday and `8..14` is the second Tuesday, Friday and `last-6..last` the
//! last Friday.
//!
//! The crate `cron` finds the matching times. It wants seconds first, numbers Sunday as 1, knows no
//! day that a month lacks, and skips or repeats what a change of the clock touches. So it is given
//! every field as a plain list, and a clock that never changes; what it finds is a civil time, and
//! the zone is applied here, by one rule ([`Timestamp::from_civil`]):
//!
//! | The clock shows the time … | what recurs then begins |
//! |---|---|
//! | once | at it |
//! | never, because it was put forward | at the first instant after the gap; all of one gap are one |
//! | twice, because it was put back | the first time, and only then |
//!
//! So no occurrence is missed and none comes twice; that is also why `0 * * * *` comes once and
//! not twice in an hour that is lived twice. How long something lasts is elapsed time, and not for
//! this file to say.

use super::calendar::{Calendar, NoCalendar};
use super::time::{CivilDate, Timestamp, Zone};
use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A schedule that cannot be taken as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct InvalidSchedule {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it, and what to write.
    pub why: String,
}

/// A number of one or two digits and nothing else.
fn number(text: &str) -> Option<u32> {
    let digits = text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// One field of an expression.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Names, from that of the lowest number on.
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const MINUTE: Field = Field { name: "minute", first: 0, last: 59, words: &[] };
const HOUR: Field = Field { name: "hour", first: 0, last: 23, words: &[] };
const DAY: Field = Field { name: "day of month", first: 1, last: 31, words: &[] };
const MONTH: Field = Field { name: "month", first: 1, last: 12, words: &MONTHS };
const WEEKDAY: Field = Field { name: "weekday", first: 0, last: 7, words: &WEEKDAYS };

impl Field {
    fn wrong(&self, why: impl Into<String>) -> InvalidSchedule {
        InvalidSchedule { field: self.name, why: why.into() }
    }

    fn value(&self, text: &str) -> Result<u32, InvalidSchedule> {
        let named = self.words.iter().position(|word| text.eq_ignore_ascii_case(word));
        if let Some(place) = named.and_then(|place| u32::try_from(place).ok()) {
            return Ok(self.first + place);
        }
        number(text).filter(|n| (self.first..=self.last).contains(n)).ok_or_else(|| {
            let names = if self.words.is_empty() { "" } else { " or the first letters of a name" };
            let (first, last) = (self.first, self.last);
            self.wrong(match text.contains(['?', 'L', 'W', '#']) {
                true => format!(
                    "{text:?} means different things to different programs; write numbers, ranges \
                     and lists"
                ),
                false => format!("{text:?} is none of {first} to {last}{names}"),
            })
        })
    }

    /// One part of a list, as the numbers that it stands for.
    fn part(&self, text: &str) -> Result<impl Iterator<Item = u32> + use<>, InvalidSchedule> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (first, last) = match (range.split_once('-'), range) {
            // Seven is another name of 0, not an eighth day.
            (None, "*") => (self.first, self.end()),
            (None, one) => {
                let value = self.value(one)?;
                if step.is_some() {
                    let (end, step) = (self.end(), step.unwrap_or_default());
                    let why = format!("a step needs a range: write {one}-{end}/{step}");
                    return Err(self.wrong(why));
                }
                (value, value)
            }
            (Some((first, last)), _) => (self.value(first)?, self.value(last)?),
        };
        if last < first {
            let why =
                format!("{range} runs backwards: write two ranges, or 7 for a Sunday at the end");
            return Err(self.wrong(why));
        }
        let most = self.end() - self.first;
        let given = step.unwrap_or("1");
        let step = number(given).filter(|step| (1..=most).contains(step));
        let step =
            step.ok_or_else(|| self.wrong(format!("the step {given:?} is none of 1 to {most}")))?;
        Ok((first..=last).step_by(usize::try_from(step).unwrap_or(1)))
    }

    /// The last number that has a meaning of its own.
    fn end(&self) -> u32 {
        if self.last == 7 { 6 } else { self.last }
    }

    fn set(&self, text: &str) -> Result<BTreeSet<u32>, InvalidSchedule> {
        let mut set = BTreeSet::new();
        for part in text.split(',') {
            set.extend(self.part(part)?);
        }
        if self.last == 7 && set.remove(&7) {
            set.insert(0);
        }
        Ok(set)
    }
}

/// A cron expression of five fields.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    civil: Box<cron::Schedule>,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Cron {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let whole = |why: String| InvalidSchedule { field: "expression", why };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let found = fields.len();
            return Err(whole(format!(
                "{found} fields; expected five: minute, hour, day of month, month, weekday, \
                 without seconds, years or words such as @daily"
            )));
        };
        if *day != "*" && *weekday != "*" {
            return Err(DAY.wrong(format!(
                "beside the weekday {weekday} it means either of them to some programs and both to \
                 others: for both, leave * here and set days (such as days = \"8..14\" for the \
                 second such weekday); for either, write two schedules"
            )));
        }
        let list = |field: &Field, text: &str, shift: u32| {
            let numbers = field.set(text)?;
            let numbers: Vec<String> = numbers.iter().map(|n| (n + shift).to_string()).collect();
            Ok(if text == "*" { text.to_owned() } else { numbers.join(",") })
        };
        let fields = [
            list(&MINUTE, minute, 0)?,
            list(&HOUR, hour, 0)?,
            list(&DAY, day, 0)?,
            list(&MONTH, month, 0)?,
            list(&WEEKDAY, weekday, 1)?,
        ];
        // Seconds first; and Sunday is 1.
        let source = format!("0 {}", fields.join(" "));
        let civil = cron::Schedule::from_str(&source).map_err(|error| whole(error.to_string()))?;
        Ok(Self { text: fields_joined(text), civil: Box::new(civil) })
    }
}

fn fields_joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A day of a month, counted from either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfMonth {
    /// 1 is the first.
    Nth(u32),
    /// 0 is the last.
    BeforeLast(u32),
}

impl DayOfMonth {
    /// Its place in a month of `count` days.
    fn place(self, count: i64) -> i64 {
        match self {
            Self::Nth(n) => i64::from(n),
            Self::BeforeLast(n) => count - i64::from(n),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("last") {
            let before = if rest.is_empty() { 0 } else { number(rest.strip_prefix('-')?)? };
            return (before <= 30).then_some(Self::BeforeLast(before));
        }
        number(text).filter(|n| (1..=31).contains(n)).map(Self::Nth)
    }
}

/// A stretch of days within each month: `4..last`, `8..14`, `last-6..last`, `15`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Days {
    text: String,
    first: DayOfMonth,
    last: DayOfMonth,
}

impl Days {
    /// Whether `date` is one of them. A month that lacks a day has one less.
    #[must_use]
    pub fn contain(&self, date: CivilDate) -> bool {
        self.contain_place(i64::from(date.day()), i64::from(date.num_days_in_month()))
    }

    /// The same where working days alone are counted; a day off is none of them.
    ///
    /// # Errors
    /// [`NoCalendar`] where the calendar does not know the year.
    pub fn contain_working_day(
        &self,
        date: CivilDate,
        calendar: &Calendar,
    ) -> Result<bool, NoCalendar> {
        if !calendar.is_working_day(date)? {
            return Ok(false);
        }
        let (mut place, mut count) = (0, 0);
        let first = date.with_day(1).unwrap_or(date);
        for day in first.iter_days().take(usize::from(date.num_days_in_month())) {
            if calendar.is_working_day(day)? {
                count += 1;
                place += i64::from(day <= date);
            }
        }
        Ok(self.contain_place(place, count))
    }

    fn contain_place(&self, place: i64, count: i64) -> bool {
        self.first.place(count) <= place && place <= self.last.place(count)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Days {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let read = DayOfMonth::read(first).zip(DayOfMonth::read(last));
        let forwards = |&(first, last): &(DayOfMonth, DayOfMonth)| match (first, last) {
            (DayOfMonth::Nth(a), DayOfMonth::Nth(b)) => a <= b,
            (DayOfMonth::BeforeLast(a), DayOfMonth::BeforeLast(b)) => a >= b,
            (DayOfMonth::Nth(_), DayOfMonth::BeforeLast(_))
            | (DayOfMonth::BeforeLast(_), DayOfMonth::Nth(_)) => true,
        };
        let (first, last) = read.filter(forwards).ok_or_else(|| InvalidSchedule {
            field: "days",
            why:
                "expected a day or a stretch of days of a month, such as 15, last, 4..last, 8..14 \
                  or last-6..last"
                    .to_owned(),
        })?;
        Ok(Self { text: text.to_owned(), first, last })
    }
}

/// Months of the year, written as in an expression: `1,4,7,10`, `jan-mar`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Months {
    text: String,
    set: BTreeSet<u32>,
}

impl Months {
    /// Whether `date` is in one of them.
    #[must_use]
    pub fn contain(&self, date: CivilDate) -> bool {
        self.set.contains(&date.month())
    }
}

impl fmt::Display for Months {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Months {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        Ok(Self { text: text.to_owned(), set: MONTH.set(text)? })
    }
}

/// Days of the week, written as in an expression: `mon-fri`, `0,6`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weekdays {
    text: String,
    set: BTreeSet<u32>,
}

impl Weekdays {
    /// Whether `date` is one of them.
    #[must_use]
    pub fn contain(&self, date: CivilDate) -> bool {
        self.set.contains(&date.weekday().num_days_from_sunday())
    }
}

impl fmt::Display for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Weekdays {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        Ok(Self { text: text.to_owned(), set: WEEKDAY.set(text)? })
    }
}

/// An expression in a zone, on some days of each month only where that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    /// The expression.
    pub cron: Cron,
    /// The days on which it counts; every day where there are none.
    pub days: Option<Days>,
    /// The zone of its times.
    pub zone: Zone,
}

impl Recurrence {
    /// Every occurrence after `at`, in order, each once. It ends where the expression matches
    /// nothing more before the year 2101.
    pub fn after(&self, at: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        let mut civil = at.civil(self.zone);
        let mut last = at;
        std::iter::from_fn(move || {
            loop {
                civil = self.civil_after(civil)?;
                // In a gap several times become one instant; in what is lived a second time the
                // instant has passed.
                let found = Timestamp::from_civil(civil, self.zone);
                if last < found {
                    last = found;
                    return Some(found);
                }
            }
        })
    }

    /// The next matching time on a clock that is never changed.
    fn civil_after(&self, mut at: NaiveDateTime) -> Option<NaiveDateTime> {
        loop {
            let found: DateTime<Utc> = self.cron.civil.after(&at.and_utc()).next()?;
            let found = found.naive_utc();
            if self.days.as_ref().is_none_or(|days| days.contain(found.date())) {
                return Some(found);
            }
            // Nothing of that day counts.
            let midnight = found.date().succ_opt()?.and_time(NaiveTime::MIN);
            at = midnight.checked_sub_signed(TimeDelta::seconds(1))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recurrence(cron: &str, days: Option<&str>, zone: Zone) -> Recurrence {
        let days = days.map(|days| days.parse().unwrap());
        Recurrence { cron: cron.parse().unwrap(), days, zone }
    }

    fn next(one: &Recurrence, after: &str, n: usize) -> Vec<String> {
        let at = after.parse().unwrap();
        one.after(at).take(n).map(|found| found.rfc3339(one.zone)).collect()
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_with_what_to_write() {
        for (text, field, says) in [
            ("0 2 * *", "expression", "4 fields; expected five"),
            ("0 0 2 * * *", "expression", "6 fields; expected five"),
            ("@daily", "expression", "without seconds, years or words such as @daily"),
            ("60 2 * * *", "minute", "\"60\" is none of 0 to 59"),
            ("0 24 * * *", "hour", "\"24\" is none of 0 to 23"),
            ("0 2 0 * *", "day of month", "\"0\" is none of 1 to 31"),
            ("0 2 * 13 *", "month", "\"13\" is none of 1 to 12"),
            ("0 2 * * 8", "weekday", "\"8\" is none of 0 to 7 or the first letters of a name"),
            ("0 2 * * monday", "weekday", "\"monday\" is none of"),
            ("-1 2 * * *", "minute", "\"\" is none of"),
            ("+5 2 * * *", "minute", "\"+5\" is none of"),
            ("5/15 2 * * *", "minute", "write 5-59/15"),
            ("*/0 2 * * *", "minute", "the step \"0\" is none of 1 to 59"),
            ("*/90 2 * * *", "minute", "the step \"90\" is none of 1 to 59"),
            ("0 22-4 * * *", "hour", "22-4 runs backwards"),
            ("0 2 * * fri-sun", "weekday", "7 for a Sunday at the end"),
            ("0 2 L * *", "day of month", "different things"),
            ("0 2 * * 2#1", "weekday", "different things"),
            ("0 2 ? * 1", "day of month", "for both, leave * here and set days"),
            ("0 2 13 * fri", "day of month", "for either, write two schedules"),
            ("0 2 */2 * 1", "day of month", "beside the weekday 1"),
            ("0 2 1-31 * 1", "day of month", "beside the weekday 1"),
            ("0 2,,3 * * *", "hour", "\"\" is none of"),
        ] {
            let error = text.parse::<Cron>().unwrap_err();
            assert_eq!(error.field, field, "{text}: {error}");
            assert!(error.why.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn sunday_is_0_and_7_and_monday_is_1() {
        let utc = Zone::UTC;
        // 2026-01-04 is a Sunday.
        for (weekday, day) in [("0", 4), ("7", 4), ("sun", 4), ("1", 5), ("MON", 5), ("6", 10)] {
            let one = recurrence(&format!("0 2 * * {weekday}"), None, utc);
            let expected = format!("2026-01-{day:02}T02:00:00Z");
            assert_eq!(next(&one, "2026-01-03T12:00:00Z", 1), [expected], "{weekday}");
        }
        let weekend = recurrence("0 2 * * 6-7", None, utc);
        let found = next(&weekend, "2026-01-05T00:00:00Z", 3);
        assert_eq!(days(&found), ["10", "11", "17"]);
    }

    /// The days of the month of what was found.
    fn days(found: &[String]) -> Vec<&str> {
        found.iter().map(|text| &text[8..10]).collect()
    }

    #[test]
    fn a_weekday_and_days_beside_it_are_the_nth_and_the_last_weekday() {
        let second = recurrence("0 2 * * tue", Some("8..14"), Zone::UTC);
        assert_eq!(days(&next(&second, "2026-01-01T00:00:00Z", 3)), ["13", "10", "10"]);
        let last = recurrence("0 2 * * fri", Some("last-6..last"), Zone::UTC);
        assert_eq!(days(&next(&last, "2026-01-01T00:00:00Z", 3)), ["30", "27", "27"]);
    }

    #[test]
    fn a_month_without_the_day_is_passed_over_and_its_last_day_is_asked_for_by_name() {
        let thirty_first = recurrence("0 2 31 * *", None, Zone::UTC);
        let found = next(&thirty_first, "2026-01-31T12:00:00Z", 2);
        assert_eq!(found, ["2026-03-31T02:00:00Z", "2026-05-31T02:00:00Z"]);
        let last = recurrence("0 2 * * *", Some("last"), Zone::UTC);
        assert_eq!(days(&next(&last, "2028-01-31T12:00:00Z", 3)), ["29", "31", "30"]);
    }

    #[test]
    fn what_never_comes_ends() {
        for (cron, days) in
            [("0 2 30 2 *", None), ("0 2 29 2 *", Some("1..7")), ("* * * 2 *", Some("30"))]
        {
            assert!(next(&recurrence(cron, days, Zone::UTC), "2026-01-01T00:00:00Z", 1).is_empty());
        }
    }

    #[test]
    fn a_time_that_the_clock_skips_comes_right_after_the_gap_and_once() {
        let new_york = chrono_tz::America::New_York;
        let one = recurrence("*/20 1-3 * * *", None, new_york);
        let found = next(&one, "2026-03-08T01:30:00-05:00", 4);
        let expected = ["01:40:00-05", "03:00:00-04", "03:20:00-04", "03:40:00-04"];
        assert_eq!(found, expected.map(|t| format!("2026-03-08T{t}:00")));
        // Right at the gap, and right after it.
        let odd = recurrence("7 2 * * *", None, new_york);
        assert_eq!(next(&odd, "2026-03-08T01:59:59-05:00", 1), ["2026-03-08T03:00:00-04:00"]);
        assert_eq!(next(&odd, "2026-03-08T03:00:00-04:00", 1), ["2026-03-09T02:07:00-04:00"]);
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_counts_the_first_time_only() {
        let new_york = chrono_tz::America::New_York;
        let one = recurrence("30 * * * *", None, new_york);
        let expected = ["00:30:00-04", "01:30:00-04", "02:30:00-05"];
        let expected = expected.map(|t| format!("2026-11-01T{t}:00"));
        assert_eq!(next(&one, "2026-11-01T00:00:00-04:00", 3), expected);
        // Asked between the two, and when the clock shows it the second time.
        for asked in ["2026-11-01T01:40:00-04:00", "2026-11-01T01:20:00-05:00"] {
            assert_eq!(next(&one, asked, 1), [expected[2].clone()], "{asked}");
        }
    }

    #[test]
    fn days_are_counted_from_either_end() {
        for text in ["0", "32", "14..8", "last-31", "last..last-1", "first", "4..", "..4", "4-last"]
        {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
        let days: Days = "4..last".parse().unwrap();
        let inside: Vec<u32> = CivilDate::from_ymd_opt(2023, 2, 1)
            .unwrap()
            .iter_days()
            .take(31)
            .filter(|&day| days.contain(day))
            .map(|day| day.ordinal())
            .collect();
        assert_eq!(inside, (35..=59).collect::<Vec<_>>());
    }
}
