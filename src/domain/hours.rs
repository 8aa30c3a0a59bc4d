//! Service hours: a business that is open only on some days and between two times of day.
//!
//! Outside them its gate is closed by schedule and opens again by itself: nobody has to prove or
//! restore anything, because nothing was taken away from a core. Hours say nothing about deadlines:
//! an office that is closed every night is no reason to move a date. Where a cell has several hours
//! it is open only while all of them are, and what windows say counts beside them: the strictest
//! answer holds, and who is turned away is told the first instant at which nothing stops the cell
//! any more, as far as that is planned.
//!
//! Days are those of the month, of the week and of certain months, and working days by the calendar
//! (the first five of a month, the last two). Where the calendar does not know a year, nobody knows
//! when it is open there: it is closed, and that it is not known is told and never guessed.
//!
//! Openings are half-open, `[from, until)`, in the civil time of a zone; days that follow upon each
//! other without a break are one opening. One that ends at an earlier time of day than it begins at
//! goes over midnight, and belongs to the day on which it begins. A time that the clock skips or shows twice is read as
//! everywhere ([`Timestamp::from_civil`]): skipped, it is the first instant after the gap; shown
//! twice, it is the first of the two.

use super::calendar::{Calendar, NoCalendar};
use super::cell::{Cell, words};
use super::ids::WindowId;
use super::policy::{Disposition, Row, RowRef};
use super::schedule::{Days, Months, Weekdays};
use super::time::{CivilDate, Interval, Timestamp, Zone};
use super::window::Decision;
use chrono::{NaiveTime, TimeDelta};
use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How far ahead an opening is looked for: the rarest that can be written (a certain weekday on a
/// 29 February) comes within 40 years.
const LOOKS_AHEAD_DAYS: usize = 366 * 40;
/// How often the hours of one cell are asked in turn for an instant at which all of them are open.
const ROUNDS_MAX: usize = 1000;

/// A time of day, to the minute; 24:00 is the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    minutes: i64,
}

impl TimeOfDay {
    fn on(self, day: CivilDate, zone: Zone) -> Timestamp {
        let midnight = day.and_time(NaiveTime::MIN);
        Timestamp::from_civil(midnight + TimeDelta::minutes(self.minutes), zone)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.minutes / 60, self.minutes % 60)
    }
}

/// A text that is no time of day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time of day from \"00:00\" to \"24:00\", such as \"06:00\"")]
pub struct InvalidTimeOfDay;

impl FromStr for TimeOfDay {
    type Err = InvalidTimeOfDay;

    fn from_str(text: &str) -> Result<Self, InvalidTimeOfDay> {
        if text == "24:00" {
            return Ok(Self { minutes: 24 * 60 });
        }
        let time = NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| InvalidTimeOfDay)?;
        let minutes = time.signed_duration_since(NaiveTime::MIN).num_minutes();
        // "6:5" is read as well as "06:05"; only the latter is meant for sure.
        let read = Self { minutes };
        (read.to_string() == text).then_some(read).ok_or(InvalidTimeOfDay)
    }
}

words!(
    /// What is done with a submission outside service hours.
    Outside, "answer outside service hours", {
        /// It is kept and sent when they begin.
        Hold = "hold",
        /// It is turned away and told when they begin.
        Refuse = "refuse",
    }
);

impl Outside {
    /// The same among all dispositions.
    #[must_use]
    pub const fn disposition(self) -> Disposition {
        match self {
            Self::Hold => Disposition::Hold,
            Self::Refuse => Disposition::Refuse,
        }
    }
}

/// A stretch of working days within each month, by a calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkingDays {
    /// Which of them, counted from either end of the month.
    pub days: Days,
    /// Says which days are worked.
    pub calendar: Arc<Calendar>,
}

/// When some cells are open.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceHours {
    /// Its name, which no window has.
    pub name: WindowId,
    /// The zone of its times.
    pub zone: Zone,
    /// The days of each month; all where there are none.
    pub days: Option<Days>,
    /// The days of each week; all where there are none.
    pub weekdays: Option<Weekdays>,
    /// The months; all where there are none.
    pub months: Option<Months>,
    /// The working days of each month; all days, worked or not, where there are none.
    pub working_days: Option<WorkingDays>,
    /// When it opens.
    pub from: TimeOfDay,
    /// When it closes: on the same day where it is later than `from`, else on the next.
    pub until: TimeOfDay,
    /// Why.
    pub reason: String,
    /// The cells, and what is done with a submission outside the hours.
    pub row: Row,
}

impl ServiceHours {
    /// Whether it opens on `day`.
    fn counts(&self, day: CivilDate) -> Result<bool, NoCalendar> {
        let named = self.months.as_ref().is_none_or(|months| months.contain(day))
            && self.days.as_ref().is_none_or(|days| days.contain(day))
            && self.weekdays.as_ref().is_none_or(|days| days.contain(day));
        match &self.working_days {
            // What is closed for another reason needs no calendar.
            Some(working) if named => working.days.contain_working_day(day, &working.calendar),
            Some(_) | None => Ok(named),
        }
    }

    fn opening_on(&self, day: CivilDate) -> Result<Option<Interval>, NoCalendar> {
        if !self.counts(day)? {
            return Ok(None);
        }
        let closes_on = if self.until <= self.from { day.succ_opt() } else { Some(day) };
        let (from, until) =
            (self.from.on(day, self.zone), closes_on.map(|day| self.until.on(day, self.zone)));
        // All of an opening may lie in a gap.
        Ok(until.and_then(|until| Interval::new(from, until)))
    }

    /// The days from `at` on, beginning with yesterday: an opening goes over midnight, and a clock
    /// that is put back over midnight shows the day before once more.
    fn days_from(&self, at: Timestamp) -> impl Iterator<Item = CivilDate> + use<> {
        let today = at.civil(self.zone).date();
        today.pred_opt().unwrap_or(today).iter_days().take(LOOKS_AHEAD_DAYS)
    }

    /// The openings that are not over at `at`, in order, each as long as nothing interrupts it. Of
    /// one that has been on for days the start is not looked for further back than yesterday; one
    /// that never ends is cut where looking ahead ends. They end where the calendar does
    /// ([`ServiceHours::unknown_after`]).
    pub fn openings(&self, at: Timestamp) -> impl Iterator<Item = Interval> + '_ {
        let known = self.days_from(at).enumerate().map_while(move |(place, day)| {
            // Of a yesterday that is not known nothing is left over either.
            self.opening_on(day).or_else(|why| if place == 0 { Ok(None) } else { Err(why) }).ok()
        });
        let mut days = known.flatten().peekable();
        std::iter::from_fn(move || {
            let mut opening = days.next()?;
            while let Some(next) = days.next_if(|next| next.start <= opening.end) {
                opening.end = opening.end.max(next.end);
            }
            Some(opening)
        })
        .filter(move |opening| at < opening.end)
    }

    /// The year whose working days are missing, so that no opening after the last of
    /// [`ServiceHours::openings`] can be told; `None` where the days are known as far as anybody
    /// looks.
    #[must_use]
    pub fn unknown_after(&self, at: Timestamp) -> Option<NoCalendar> {
        self.working_days.as_ref()?;
        self.days_from(at).skip(1).find_map(|day| self.opening_on(day).err())
    }

    /// The opening that `at` is in, or the next one.
    #[must_use]
    pub fn opening(&self, at: Timestamp) -> Option<Interval> {
        self.openings(at).next()
    }

    /// Whether it is open at `at`.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        let today = at.civil(self.zone).date();
        let days = [today.pred_opt(), Some(today), today.succ_opt()];
        let known = days.into_iter().flatten().filter_map(|day| self.opening_on(day).ok());
        known.flatten().any(|opening| opening.contains(at))
    }

    /// Whether it is open from `early` to `late` without a break.
    #[must_use]
    pub fn is_open_throughout(&self, early: Timestamp, late: Timestamp) -> bool {
        self.is_open(early)
            && (early == late || self.opening(early).is_some_and(|opening| late < opening.end))
    }

    /// When it opens or closes next after `at`.
    #[must_use]
    pub fn next_edge(&self, at: Timestamp) -> Option<Timestamp> {
        self.opening(at).map(|o| if at < o.start { o.start } else { o.end })
    }

    /// When it closes next, where it is open at `at`.
    #[must_use]
    pub fn closes_at(&self, at: Timestamp) -> Option<Timestamp> {
        self.opening(at).filter(|opening| opening.contains(at)).map(|opening| opening.end)
    }

    /// The first instant from `at` on at which it is open; `None` where it opens no more.
    fn opens_at(&self, at: Timestamp) -> Result<Option<Timestamp>, NoCalendar> {
        if self.is_open(at) {
            return Ok(Some(at));
        }
        match self.opening(at) {
            Some(opening) => Ok(Some(opening.start.max(at))),
            None => self.unknown_after(at).map_or(Ok(None), Err),
        }
    }
}

/// The hours of `cell`.
pub fn of<'h>(
    hours: &'h [ServiceHours],
    cell: &'h Cell,
) -> impl Iterator<Item = &'h ServiceHours> + Clone {
    hours.iter().filter(move |one| one.row.cells.matches(cell))
}

/// Whether `cell` is within all of its hours from `early` to `late`.
#[must_use]
pub fn are_open(hours: &[ServiceHours], cell: &Cell, early: Timestamp, late: Timestamp) -> bool {
    of(hours, cell).all(|one| one.is_open_throughout(early, late))
}

/// The first instant from `at` on at which `cell` is within all of its hours.
fn all_open_at(
    hours: &[ServiceHours],
    cell: &Cell,
    mut at: Timestamp,
) -> Result<Option<Timestamp>, NoCalendar> {
    for _ in 0..ROUNDS_MAX {
        let mut latest = at;
        for one in of(hours, cell) {
            let Some(opens) = one.opens_at(at)? else { return Ok(None) };
            latest = latest.max(opens);
        }
        if latest == at {
            return Ok(Some(at));
        }
        at = latest;
    }
    Ok(None)
}

/// What the windows have decided for `cell` at `now`, with its hours beside them; and why nobody
/// can say when it opens, where the calendar is the reason.
#[must_use]
pub fn decide(
    hours: &[ServiceHours],
    cell: &Cell,
    said: Decision,
    now: Timestamp,
) -> (Decision, Option<NoCalendar>) {
    let closed = of(hours, cell).filter(|one| !one.is_open(now));
    // Of equals the one that was written first.
    let strictest = closed.min_by_key(|one| Reverse(one.row.disposition));
    let stopped = said.row.is_some() && !said.disposition.passes();
    // Nobody knows when a stop is over that has lasted longer than planned.
    let overruns = stopped && said.resume_at.is_none();
    let from = said.resume_at.filter(|_| stopped).unwrap_or(now).max(now);
    let (mut decision, mut unknown) = (said, None);
    if (strictest.is_some() || stopped) && !overruns {
        let opens = all_open_at(hours, cell, from);
        decision.resume_at = opens.unwrap_or_default();
        unknown = opens.err();
    }
    let Some((one, outside)) = strictest.and_then(|one| Some((one, one.row.disposition?))) else {
        return (decision, unknown);
    };
    if stopped && outside <= decision.disposition {
        return (decision, unknown);
    }
    let decision = Decision {
        disposition: outside,
        advice: one.row.advice,
        // See `RowRef::is_of_hours`.
        row: Some(RowRef {
            window: one.name.clone(),
            version: 0,
            row: 0,
            clause: one.row.clause.clone(),
        }),
        resume_at: decision.resume_at,
        alternative: one.row.alternative.clone(),
        bring: one.row.bring.clone(),
        needs_report_file: false,
    };
    (decision, unknown)
}
