//! Deadlines: whether a stop moves one, by which rule, and to which date.
//!
//! No rule is built in: a window that moves deadlines names its rule and its legal basis. The
//! stop counts from its start to the later of its published end and its actual restart.
//!
//! Telling people and remembering what they were told is the machine's job; here a date is
//! computed afresh each time.

mod explain;

pub use explain::in_words;

use super::calendar::{Calendar, NoCalendar};
use super::cell::{BusinessPattern, Channel, Selector};
use super::ids::{Business, UpstreamName, WindowId};
use super::policy::Row;
use super::term::Deadline;
use super::time::Timestamp;
use super::time::{CivilDate, Interval, Zone};
use super::window::{Act, Cause, Window};
use chrono::{Days, NaiveTime};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// How far a deadline inside a stop is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Not at all.
    None,
    /// To the first working day whose opening hour is not before the restart.
    FirstFullWorkingDay,
    /// To the n-th working day after the day of the restart.
    RestorePlusWorkingDays(u32),
    /// To the n-th day after the day of the restart, or the next that is worked (Civil Code,
    /// article 203).
    RestorePlusDays(u32),
    /// By the stop's length, and on to the next day that is worked.
    ShiftByOutage,
    /// To this day, as it stands.
    FixedDate(CivilDate),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::FirstFullWorkingDay => f.write_str("first_full_working_day"),
            Self::RestorePlusWorkingDays(n) => write!(f, "restore_plus_working_days({n})"),
            Self::RestorePlusDays(n) => write!(f, "restore_plus_days({n})"),
            Self::ShiftByOutage => f.write_str("shift_by_outage"),
            Self::FixedDate(day) => write!(f, "fixed_date({day})"),
        }
    }
}

/// What must be so before a stop moves any date. Nothing has to be where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Minutes that the stop lasts at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_min_minutes: Option<u32>,
    /// Minutes that the notice was published before the stop at least. Without a notice it was
    /// not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_min_minutes: Option<u32>,
    /// Why there is a stop: `planned` or `unplanned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Channels through all of which the business is stopped: where people can still go to a
    /// hall, a stop of the portal takes nothing away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped_channels: Vec<Channel>,
}

impl Conditions {
    /// What keeps a stop of `business` by `window` from moving dates, in words; nothing where it
    /// moves them. One that still lasts may do so later.
    fn unmet(&self, window: &Window, business: &Business, stop: &Interval) -> Option<String> {
        let minutes = |time: Duration| time.as_secs() / 60;
        if let Some(cause) = self.cause.filter(|&cause| cause != window.cause) {
            return Some(format!("it was {}, and must have been {cause}", window.cause));
        }
        if let Some(least) = self.stop_min_minutes.map(u64::from)
            && minutes(stop.length()) < least
        {
            let lasts = minutes(stop.length());
            return Some(format!("it lasts {lasts} minutes, at least {least} are needed"));
        }
        if let Some(least) = self.notice_min_minutes.map(u64::from) {
            let published = window.notice.as_ref().map(|notice| notice.published_at);
            let before = published.filter(|&at| at <= stop.start).map(|at| stop.start.since(at));
            if before.is_none_or(|before| minutes(before) < least) {
                let before = before.map(minutes).unwrap_or_default();
                return Some(format!(
                    "its notice came {before} minutes before it, at least {least} are needed"
                ));
            }
        }
        if window.cause == Cause::Unplanned && window.rows_that_stop(business).next().is_none() {
            // Nothing could be taken in, through whatever channel.
            return None;
        }
        let goes_on = |channel: &&Channel| {
            !window
                .rows_that_stop(business)
                .any(|row| row.cells.channel.is_empty() || row.cells.channel.contains(channel))
        };
        let open = self.stopped_channels.iter().find(goes_on)?;
        Some(format!("{business} goes on through the channel {open}"))
    }
}

/// The deadline part of a window: the rule, what it rests on, and what it speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineRule {
    /// The rule.
    pub rule: Rule,
    /// The notice's clause.
    pub clause: String,
    /// What the rule rests on. Mandatory: without it the window cannot be activated.
    pub legal_basis: String,
    /// The businesses whose deadlines it moves.
    pub business: Vec<BusinessPattern>,
    /// The parts of the core whose restart ends the stop for these deadlines. Needed where the
    /// policy rows of the business name no upstream: a restore that names an upstream counts
    /// only when that upstream is known to be the business's own.
    #[serde(default)]
    pub restart_of: Vec<UpstreamName>,
    /// When the agencies open, for `first_full_working_day`.
    #[serde(default = "nine")]
    pub opens_at: NaiveTime,
    /// When a deadline day ends. `None`: at 24:00 (Civil Code, article 203); a time of day
    /// only where a cited rule says so.
    #[serde(default)]
    pub day_ends_at: Option<NaiveTime>,
    /// What must be so before the stop moves any date.
    #[serde(default, skip_serializing_if = "is_default")]
    pub only_if: Conditions,
    /// Whether a date after the stop goes along when one inside it would overtake it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_leapfrog: bool,
}

fn is_default(conditions: &Conditions) -> bool {
    *conditions == Conditions::default()
}

fn nine() -> NaiveTime {
    NaiveTime::from_hms_opt(9, 0, 0).unwrap_or(NaiveTime::MIN)
}

/// A deadline as computed from the windows that are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computed {
    /// What was given.
    pub original: Deadline,
    /// What holds now. Never before `original`, and of its kind.
    pub date: Deadline,
    /// Whether it can still move because a stop that it rests on has not ended.
    pub is_final: bool,
    /// Each move, in order.
    pub moves: Vec<Extension>,
}

/// One move of one date by one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// The date before.
    pub from: Deadline,
    /// The date after.
    pub to: Deadline,
    /// The rule.
    pub rule: Rule,
    /// The clause it rests on.
    pub clause: String,
    /// The window.
    pub window: WindowId,
    /// The window's version.
    pub version: u32,
    /// The calendar's version.
    pub calendar: String,
}

/// The stop of one business, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// From the business's stop to the later of its published end and its restart; to `now`
    /// where the published end has passed without a restart.
    pub interval: Interval,
    /// Whether the interval can no longer grow.
    pub is_final: bool,
}

impl DeadlineRule {
    /// Whether it moves dates of `business`.
    #[must_use]
    pub fn speaks_of(&self, business: &Business) -> bool {
        self.rule != Rule::None && self.business.iter().any(|p| p.matches(business))
    }

    /// What `due`, which lies inside `stop`, is moved to. Never before `due`.
    pub(super) fn moved(
        &self,
        due: Deadline,
        stop: &Interval,
        zone: Zone,
        calendar: &Calendar,
    ) -> Result<Deadline, NoCalendar> {
        let restart = stop.end.civil(zone);
        let day = match self.rule {
            Rule::None => return Ok(due),
            Rule::FirstFullWorkingDay => {
                let open_in_time = restart.time() <= self.opens_at;
                let first = calendar.first_working_day_from(restart.date())?;
                if first > restart.date() || open_in_time {
                    first
                } else {
                    calendar.nth_working_day_after(first, 1)?
                }
            }
            Rule::RestorePlusWorkingDays(n) => calendar.nth_working_day_after(restart.date(), n)?,
            Rule::RestorePlusDays(n) => {
                let day = restart.date().checked_add_days(Days::new(u64::from(n)));
                calendar.first_working_day_from(day.unwrap_or(CivilDate::MAX))?
            }
            Rule::ShiftByOutage => return self.shifted(due, stop, zone, calendar),
            Rule::FixedDate(day) => day,
        };
        Ok(due.on(day, zone).max(due))
    }

    /// `due` as much later as `stop` is long, on a day that is worked.
    fn shifted(
        &self,
        due: Deadline,
        stop: &Interval,
        zone: Zone,
        calendar: &Calendar,
    ) -> Result<Deadline, NoCalendar> {
        let moved = end_of(due, zone, self.day_ends_at).after(stop.length());
        let Deadline::Day(date) = due else {
            let day = Deadline::Moment(moved).day(zone);
            let worked = calendar.first_working_day_from(day)?;
            return Ok(if worked == day { Deadline::Moment(moved) } else { due.on(worked, zone) });
        };
        let ends = |day: CivilDate| end_of(Deadline::Day(day), zone, self.day_ends_at);
        let mut to = moved.civil(zone).date().max(date);
        // The day whose end is not before the moved instant: at 24:00 sharp that is the day which
        // ends then, not the one which begins.
        if let Some(earlier) = to.pred_opt().filter(|&day| day >= date)
            && moved <= ends(earlier)
        {
            to = earlier;
        } else if ends(to) < moved {
            to = to.succ_opt().unwrap_or(to);
        }
        calendar.first_working_day_from(to).map(Deadline::Day)
    }

    /// What `due`, which ends after `stop`, is lifted to so that no date from inside overtakes it.
    fn lifted(
        &self,
        due: Deadline,
        stop: &Interval,
        zone: Zone,
        calendar: &Calendar,
    ) -> Result<Deadline, NoCalendar> {
        // The last day inside is the one that comes farthest.
        let after = stop.end.civil(zone).date();
        let is_last =
            |day: &CivilDate| is_inside(Deadline::Day(*day), stop, zone, self.day_ends_at);
        let Some(last) = [Some(after), after.pred_opt()].into_iter().flatten().find(is_last) else {
            return Ok(due);
        };
        let farthest = self.moved(Deadline::Day(last), stop, zone, calendar)?.day(zone);
        Ok(if due.day(zone) < farthest { due.on(farthest, zone) } else { due })
    }
}

impl Window {
    /// The rows that stop anything of `business`.
    fn rows_that_stop<'a>(&'a self, business: &'a Business) -> impl Iterator<Item = &'a Row> {
        self.policy.iter().filter(move |row| {
            let patterns = &row.cells.business;
            row.disposition.is_some_and(|said| !said.passes())
                && (patterns.is_empty() || patterns.iter().any(|p| p.matches(business)))
        })
    }

    /// How long `business` is stopped by this window. `restart_of` is that of the rule by which its
    /// deadlines move.
    ///
    /// Its stretch is the published one, or that of the rows which stop the business where
    /// they have one of their own. It has restarted when, for each of those rows, restores have
    /// named everything in the row that belongs to the business: one that names only a
    /// district, a class or a channel which the row does not name is a part, and does not count.
    #[must_use]
    pub fn stop_of(
        &self,
        restart_of: &[UpstreamName],
        business: &Business,
        now: Timestamp,
    ) -> Stop {
        let rows: Vec<&Row> = self.rows_that_stop(business).collect();
        let Interval { start, end } = self.told_of(business).unwrap_or(self.published);
        if self.cancelled_at.is_some() {
            return Stop { interval: Interval { start, end }, is_final: true };
        }
        let restarted = if rows.is_empty() {
            let stop = Interval { start, end: self.planned.end };
            self.restart(&Selector::default(), restart_of, business, stop)
        } else {
            let each: Option<Vec<Timestamp>> = rows
                .iter()
                .map(|row| {
                    let stop = Interval { start, end: self.interval_of(row).end };
                    self.restart(&row.cells, restart_of, business, stop)
                })
                .collect();
            each.and_then(|all| all.into_iter().max())
        };
        let (end, is_final) = match restarted.filter(|&at| at <= now) {
            Some(at) => (end.max(at), end <= now),
            None => (end.max(now), false),
        };
        Stop { interval: Interval { start, end }, is_final }
    }

    /// When the part of `business` that `cells` means was restored in or after `stop`, if all of it
    /// was.
    fn restart(
        &self,
        cells: &Selector,
        restart_of: &[UpstreamName],
        business: &Business,
        stop: Interval,
    ) -> Option<Timestamp> {
        let mut part = cells.clone();
        part.business = vec![BusinessPattern::Exact(business.clone())];
        // A group of it that goes on later, as a person has said, has not restarted before that.
        let later = || {
            let meant = |act: &&Act| self.counts(act, stop) && act.cells.overlaps(&part);
            self.restores.iter().filter(meant).filter_map(|act| act.ready_from).max()
        };
        let upstreams = if part.upstream.is_empty() { restart_of } else { &cells.upstream };
        let first_cover =
            |part: &Selector| self.lets_go(|act| self.counts(act, stop) && act.cells.covers(part));
        if upstreams.is_empty() {
            return first_cover(&part).map(|at| later().map_or(at, |ready| ready.max(at)));
        }
        let each: Option<Vec<Timestamp>> = upstreams
            .iter()
            .map(|name| first_cover(&Selector { upstream: vec![name.clone()], ..part.clone() }))
            .collect();
        let last = each.and_then(|all| all.into_iter().max());
        last.map(|at| later().map_or(at, |ready| ready.max(at)))
    }
}

/// A stop that takes days away from a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByWindow {
    /// The stop.
    pub stop: Stop,
    /// When a deadline day ends; `None` for 24:00.
    pub day_ends_at: Option<NaiveTime>,
}

impl Window {
    /// The stop by which this window takes days away from `business`, while it is not over. `None`
    /// where nothing of the business is stopped, or where the window says in so many words that
    /// its deadlines are not moved: then somebody has decided it.
    #[must_use]
    pub fn takes_days_of(&self, business: &Business, now: Timestamp) -> Option<ByWindow> {
        let names = |patterns: &[BusinessPattern]| patterns.iter().any(|p| p.matches(business));
        let rule = self.deadlines.as_ref().filter(|rule| names(&rule.business));
        if self.rows_that_stop(business).next().is_none()
            || rule.is_some_and(|rule| rule.rule == Rule::None)
        {
            return None;
        }
        let restart_of = rule.map_or(&[][..], |rule| &rule.restart_of);
        let stop = self.stop_of(restart_of, business, now);
        let day_ends_at = rule.and_then(|rule| rule.day_ends_at);
        // A stop that moves nothing was decided too.
        if rule.is_some_and(|rule| rule.only_if.unmet(self, business, &stop.interval).is_some()) {
            return None;
        }
        (!stop.is_final).then_some(ByWindow { stop, day_ends_at })
    }
}

/// When `due` ends, where that lies in the stop.
#[must_use]
pub fn taken_by(due: Deadline, zone: Zone, by: &ByWindow) -> Option<Timestamp> {
    let inside = is_inside(due, &by.stop.interval, zone, by.day_ends_at);
    inside.then(|| end_of(due, zone, by.day_ends_at))
}

/// Whether the last usable instant lies in the stop, so that the stop takes away the end of the
/// term. `day_ends_at` is `None` for 24:00.
#[must_use]
pub fn is_inside(
    original: Deadline,
    stop: &Interval,
    zone: Zone,
    day_ends_at: Option<NaiveTime>,
) -> bool {
    let end = end_of(original, zone, day_ends_at);
    stop.start < end && end <= stop.end
}

/// The instant at which `due` ends where no cited rule says another time than 24:00.
#[must_use]
pub fn ends_at(due: Deadline, zone: Zone) -> Timestamp {
    end_of(due, zone, None)
}

/// The instant at which `due` ends as a deadline.
fn end_of(due: Deadline, zone: Zone, day_ends_at: Option<NaiveTime>) -> Timestamp {
    match (due, day_ends_at) {
        (Deadline::Moment(at), _) => at,
        (Deadline::Day(day), Some(time)) => Timestamp::from_civil(day.and_time(time), zone),
        (Deadline::Day(day), None) => {
            let next = day.succ_opt().unwrap_or(day);
            Timestamp::from_civil(next.and_time(NaiveTime::MIN), zone)
        }
    }
}

/// The date that holds at `now` for a deadline of `business` given as `original`.
///
/// A date moved out of one stop may land in another and moves again. Where stops overlap, every
/// chain of moves is followed and the latest date wins, so that one more window never makes a
/// date earlier. Every move leaves its stop for good, so the chains end.
///
/// # Errors
/// [`NoCalendar`] where a working day is needed in a year without data.
pub fn effective<'a>(
    original: Deadline,
    business: &Business,
    windows: impl IntoIterator<Item = &'a Window>,
    calendar: &Calendar,
    now: Timestamp,
) -> Result<Computed, NoCalendar> {
    let of = |window: &'a Window| {
        let rule = window.deadlines.as_ref().filter(|rule| rule.speaks_of(business))?;
        let stop = window.stop_of(&rule.restart_of, business, now);
        let moves = rule.only_if.unmet(window, business, &stop.interval).is_none();
        Some((window, rule, stop, moves))
    };
    let stops: Vec<_> = windows.into_iter().filter_map(of).collect();
    let mut is_final = true;
    let mut latest: (Deadline, Vec<Extension>) = (original, Vec::new());
    let mut seen = BTreeSet::from([original]);
    let mut open = vec![latest.clone()];
    while let Some((date, moves)) = open.pop() {
        for (window, rule, stop, applies) in &stops {
            let (interval, zone) = (&stop.interval, window.zone);
            let end = end_of(date, zone, rule.day_ends_at);
            // A stop that can still grow may yet reach a date that it does not hold now.
            is_final &= stop.is_final || end <= interval.start;
            let to = if !applies {
                continue;
            } else if is_inside(date, interval, zone, rule.day_ends_at) {
                rule.moved(date, interval, zone, calendar)?
            } else if rule.no_leapfrog && interval.end < end {
                rule.lifted(date, interval, zone, calendar)?
            } else {
                continue;
            };
            if to <= date || !seen.insert(to) {
                continue;
            }
            let mut moves = moves.clone();
            moves.push(Extension {
                from: date,
                to,
                rule: rule.rule,
                clause: rule.clause.clone(),
                window: window.id.clone(),
                version: window.version,
                calendar: calendar.version.clone(),
            });
            if to > latest.0 {
                latest = (to, moves.clone());
            }
            open.push((to, moves));
        }
    }
    let (date, moves) = latest;
    Ok(Computed { original, date, is_final, moves })
}
