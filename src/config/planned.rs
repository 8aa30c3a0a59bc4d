//! Recurring stops and service hours: from their tables to the model, and the rules about them.
//!
//! A schedule is a rule and knows no today, so that its rules are checked from a fixed year on:
//! whether it ever comes, how near its occurrences come to each other, and whether the window of
//! one of them would pass its review.

use super::raw::{Reader, show_duration};
use super::read::{MINUTE, read_cutoff, read_zone};
use super::{Config, Limits, Problem, Severity};
use crate::domain::calendar::Calendar;
use crate::domain::hours::{ServiceHours, WorkingDays};
use crate::domain::ids::WindowId;
use crate::domain::policy::{Advice, Row};
use crate::domain::recurring::{NAME_LENGTH_MAX, Recurring};
use crate::domain::review::{WindowFault, review, review_hours};
use crate::domain::schedule::{Recurrence, Weekdays};
use crate::domain::time::{CivilDate, Interval, Timestamp, Zone};
use chrono::NaiveTime;
use std::sync::Arc;
use std::time::Duration;

/// How near two occurrences may come: each becomes a window of its own, and what stops more often
/// than hourly is a way of working.
const LEAST_APART: Duration = Duration::from_secs(3600);
/// Occurrences that are compared with the next.
const COMPARED: usize = 1000;
/// The first year that schedules are checked in: one with a 29 February.
const CHECKED_FROM: i32 = 2024;

fn zone_of(r: &mut Reader<'_>, default: Option<Zone>) -> Option<Zone> {
    let zone = if r.has("zone") { read_zone(r) } else { default };
    r.expect(&["zone"]);
    zone
}

pub(super) fn read_recurring(
    name: &str,
    mut r: Reader<'_>,
    zone: Option<Zone>,
    limits: &Limits,
) -> Option<Recurring> {
    let id: Result<WindowId, _> = name.parse();
    if let Err(why) = &id {
        r.error("", None, why);
    } else if name.len() > NAME_LENGTH_MAX {
        r.error("", None, format!("its name is longer than {NAME_LENGTH_MAX} characters"));
    }
    let zone = zone_of(&mut r, zone);
    let cron = r.parsed("cron");
    let days = r.has("days").then(|| r.parsed("days"));
    let lasts = r.duration("lasts", MINUTE..=limits.window_length_max);
    let restore_by = r.parsed("restore_by");
    let notice = r.has("notice").then(|| r.section("notice").whole());
    let deadlines = r.has("deadlines").then(|| r.section("deadlines").whole());
    let rows = r.rows("row");
    let count = rows.len();
    let policy: Vec<Row> = rows.into_iter().filter_map(Reader::whole).collect();
    for (index, row) in policy.iter().enumerate() {
        if row.starts_at.is_some() || row.ends_at.is_some() {
            let why = "a row of a recurring stop has no times of its own; give it a schedule of \
                       its own instead";
            r.error(&format!("row[{index}]"), None, why);
        }
    }
    let cutoff_minutes = read_cutoff(&mut r);
    let (author, reason) = (r.text("author"), r.text("reason"));
    r.expect(&["days", "cutoff_minutes", "notice", "deadlines"]);
    r.finish();
    let complete = policy.len() == count;
    let recurring = Recurring {
        name: id.ok()?,
        recurrence: Recurrence { cron: cron?, days: given(days)?, zone: zone? },
        lasts,
        author,
        reason,
        notice: given(notice)?,
        policy,
        deadlines: given(deadlines)?,
        restore_by: restore_by?,
        cutoff_minutes,
    };
    complete.then_some(recurring)
}

/// What may be left out: nothing where it was, and an end where it was given and wrong.
fn given<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(Some(value)) => Some(Some(value)),
        None => Some(None),
    }
}

pub(super) fn read_hours(
    name: &str,
    mut r: Reader<'_>,
    zone: Option<Zone>,
    calendar: Option<&Arc<Calendar>>,
) -> Option<ServiceHours> {
    let id: Result<WindowId, _> = name.parse();
    if let Err(why) = &id {
        r.error("", None, why);
    }
    let zone = zone_of(&mut r, zone);
    let days = r.has("days").then(|| r.parsed("days"));
    let weekdays: Option<Option<Weekdays>> = r.has("weekdays").then(|| r.parsed("weekdays"));
    let months = r.has("months").then(|| r.parsed("months"));
    let working_days = r.has("working_days").then(|| {
        let days = r.parsed("working_days")?;
        Some(WorkingDays { days, calendar: Arc::clone(calendar?) })
    });
    let (from, until) = (r.parsed("from"), r.parsed("until"));
    let outside: Option<crate::domain::hours::Outside> = r.parsed("outside");
    let (clause, reason) = (r.text("clause"), r.text("reason"));
    let cells = r.has("cells").then(|| r.section("cells").whole());
    if cells.is_none() {
        r.error("cells", None, "is missing: say which cells are open at these times only");
    }
    let advice = r.has("advice").then(|| r.parsed("advice"));
    let alternative = r.has("alternative").then(|| r.text("alternative"));
    let bring = r.list_if_given("bring");
    r.expect(&["days", "weekdays", "months", "working_days", "cells", "advice", "alternative"]);
    if let (Some(from), Some(until)) = (from, until)
        && until == from
    {
        let why = "must differ from `from`; an earlier time is on the next day, 24:00 the end of \
                   the same day";
        r.error("until", Some(format!("\"{until}\"")), why);
    }
    r.finish();
    Some(ServiceHours {
        name: id.ok()?,
        zone: zone?,
        days: given(days)?,
        weekdays: given(weekdays)?,
        months: given(months)?,
        working_days: given(working_days)?,
        from: from?,
        until: until?,
        reason,
        row: Row {
            clause,
            cells: cells??,
            disposition: Some(outside?.disposition()),
            advice: given(advice)?.unwrap_or(Advice::None),
            alternative,
            bring,
            needs_report_file: false,
            starts_at: None,
            ends_at: None,
            decided_because: None,
        },
    })
}

/// What is wrong with the recurring stops and the service hours of a configuration.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for one in &config.recurring {
        let key = |field: &str| format!("recurring.{}.{field}", one.name);
        let first = start_of(CHECKED_FROM, one.recurrence.zone);
        let Some(planned) = first.and_then(|at| one.after(at).next()) else {
            let shown = Some(format!("\"{}\"", one.recurrence.cron));
            problems.push(error(key("cron"), shown, "never comes: no such day exists".to_owned()));
            continue;
        };
        problems.extend(too_near(one).map(|(field, why)| error(key(field), None, why)));
        // Deadlines need the working days of the year.
        let year = config.calendar.years.last().copied().unwrap_or(CHECKED_FROM);
        let in_year = start_of(year, one.recurrence.zone).and_then(|at| one.after(at).next());
        let sample = in_year.unwrap_or(planned);
        let faults = one.window(sample, sample.start).into_iter();
        let faults = faults.flat_map(|w| review(&w, &config.catalogue, &config.calendar));
        problems.extend(faults.map(|fault| problem(key(&fault.field), fault)));
    }
    for one in &config.service_hours {
        let key = |field: &str| format!("service_hours.{}.{field}", one.name);
        let faults = review_hours(one, &config.catalogue).into_iter();
        problems.extend(faults.map(|fault| problem(key(&fault.field), fault)));
        if let Some(working) = &one.working_days {
            let first = working.calendar.years.first().and_then(|&year| start_of(year, one.zone));
            let day_after = first.map(|at| at.after(Duration::from_millis(1)));
            if day_after.is_none_or(|at| one.opening(at).is_none()) {
                let why = "it never opens in the years whose working days are known";
                problems.push(error(key("working_days"), None, why.to_owned()));
            }
            continue;
        }
        let first = start_of(CHECKED_FROM, one.zone);
        match first.and_then(|at| one.openings(at).nth(1)) {
            Some(_) => {}
            None if first.is_some_and(|at| one.opening(at).is_none()) => {
                problems.push(error(
                    key("days"),
                    None,
                    "it never opens: no such day exists".into(),
                ));
            }
            None => {
                problems.push(error(key("until"), None, "it never closes; leave it out".into()));
            }
        }
    }
    let hours = config.service_hours.iter().map(|one| ("service_hours", &one.name));
    let recurring = config.recurring.iter().map(|one| ("recurring", &one.name));
    for (table, name) in hours.chain(recurring) {
        let others = config.windows.iter().map(|w| &w.id);
        let others = others.chain(config.recurring.iter().map(|one| &one.name));
        let others = others.filter(|other| *other == name).count();
        if others > usize::from(table == "recurring") {
            let why = "a window or a recurring stop has this name too; receipts could not tell them \
                       apart";
            problems.push(error(format!("{table}.{name}"), None, why.to_owned()));
        }
    }
    problems
}

fn start_of(year: i32, zone: Zone) -> Option<Timestamp> {
    let day = CivilDate::from_ymd_opt(year, 1, 1)?;
    let at = Timestamp::from_civil(day.and_time(NaiveTime::MIN), zone);
    Some(at.before(Duration::from_millis(1)))
}

/// Where occurrences come nearer to each other than they may.
fn too_near(one: &Recurring) -> Option<(&'static str, String)> {
    let shortest = |recurrence: &Recurrence| {
        let at = start_of(CHECKED_FROM, recurrence.zone)?;
        let starts: Vec<Timestamp> = recurrence.after(at).take(COMPARED).collect();
        let gaps = starts.windows(2).filter_map(|pair| Interval::new(pair[0], pair[1]));
        gaps.min_by_key(Interval::length)
    };
    // A change of the clock brings occurrences nearer to each other once a year.
    let civil = Recurrence { zone: Zone::UTC, ..one.recurrence.clone() };
    if let Some(gap) = shortest(&civil).filter(|gap| gap.length() < LEAST_APART) {
        let (apart, least) = (show_duration(gap.length()), show_duration(LEAST_APART));
        return Some(("cron", format!("comes again after {apart}; {least} is the least")));
    }
    let gap = shortest(&one.recurrence).filter(|gap| gap.length() < one.lasts)?;
    let show = |at: Timestamp| at.rfc3339(one.recurrence.zone);
    let why = format!(
        "{} is longer than the {} from {} to the next at {}: it would overlap itself",
        show_duration(one.lasts),
        show_duration(gap.length()),
        show(gap.start),
        show(gap.end)
    );
    Some(("lasts", why))
}

fn error(key: String, value: Option<String>, why: String) -> Problem {
    Problem { key, value, why, severity: Severity::Error }
}

/// A fault of what a file says, at its key.
pub(super) fn problem(key: String, fault: WindowFault) -> Problem {
    let severity = if fault.is_warning { Severity::Warning } else { Severity::Error };
    Problem { key, value: None, why: fault.why, severity }
}

/// The next `count` occurrences of each recurring stop and openings of the service hours, as lines
/// of comment.
pub(super) fn render(config: &Config, now: Timestamp, count: usize) -> String {
    let mut text = String::new();
    for one in &config.recurring {
        let Recurrence { cron, days, zone } = &one.recurrence;
        let days = days.as_ref().map(|days| format!(", days {days}")).unwrap_or_default();
        let lasts = show_duration(one.lasts);
        text.push_str(&format!("# recurring {}: {cron}{days} ({zone}), {lasts} each\n", one.name));
        for planned in one.after(now.before(one.lasts)).take(count) {
            text.push_str(&format!(
                "#   closes {}\n#   opens  {} once proved\n",
                in_both(planned.start, *zone),
                in_both(planned.end, *zone)
            ));
        }
    }
    for one in &config.service_hours {
        let state = if one.is_open(now) { "open" } else { "closed" };
        text.push_str(&format!("# service hours {}: {state} now\n", one.name));
        for opening in one.openings(now).take(count) {
            if now < opening.start {
                text.push_str(&format!("#   opens  {}\n", in_both(opening.start, one.zone)));
            }
            text.push_str(&format!("#   closes {}\n", in_both(opening.end, one.zone)));
        }
        if one.openings(now).take(count).count() < count
            && let Some(unknown) = one.unknown_after(now)
        {
            text.push_str(&format!("#   then unknown: {unknown}\n"));
        }
    }
    text
}

/// An instant in its zone and in UTC.
pub(super) fn in_both(at: Timestamp, zone: Zone) -> String {
    format!("{} ({at})", at.rfc3339(zone))
}
