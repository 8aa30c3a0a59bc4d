//! What is wrong with a window where and when it is declared: its times, the year's calendar, and
//! what other windows say at the same time.
//!
//! `review` holds a window to the catalogue and to itself, at any time; this holds it to now.

use super::calendar::Calendar;
use super::catalogue::Catalogue;
use super::cell::Cell;
use super::review::{FaultCode, WindowFault, overlap, unrestored};
use super::time::{CivilDate, Timestamp};
use super::window::Window;
use chrono::Datelike;
use std::time::Duration;

/// The longest time before a stop in which long work is not begun.
const CUTOFF_MAX: Duration = Duration::from_secs(24 * 3600);

/// Lines of the catalogue that are named of one overlap; the others are counted.
const LINES_SHOWN: usize = 3;

/// Whether it lasts longer than a window may.
#[must_use]
pub fn too_long(window: &Window, longest: Duration) -> Option<WindowFault> {
    let lasts = window.stretch().length();
    (longest < lasts).then(|| {
        let hours = |length: Duration| length.as_secs().div_ceil(3600);
        let (lasts, longest) = (hours(lasts), hours(longest));
        let why = format!(
            "lasts {lasts} hours, {longest} are the most a window may (limits.window_length_max)"
        );
        WindowFault::error(FaultCode::TooLong, "ends_at", why)
    })
}

/// Everything that is wrong with declaring `window` at `now`, beside the others that are known.
#[must_use]
pub fn review_plan<'a>(
    window: &Window,
    others: impl IntoIterator<Item = &'a Window>,
    catalogue: &Catalogue,
    calendar: &Calendar,
    longest: Duration,
    now: Timestamp,
) -> Vec<WindowFault> {
    let mut faults: Vec<WindowFault> = too_long(window, longest).into_iter().collect();
    if window.planned.end <= now {
        faults.push(WindowFault::error(FaultCode::Past, "ends_at", "the stop is over already"));
    } else if window.version <= 1 && window.stretch().start < now {
        let why = "it has begun already: what came since then was not held by it";
        faults.push(WindowFault::warning(FaultCode::Begun, "starts_at", why));
    }
    if !window.policy.is_empty() && !window.policy.iter().any(|row| row.stops()) {
        let why = "every row lets through: nothing is held";
        faults.push(WindowFault::warning(FaultCode::StopsNothing, "row", why));
    }
    review_cutoff(window, catalogue, &mut faults);
    review_days(window, calendar, &mut faults);
    let meets =
        |other: &&Window| other.id != window.id && window.stretch().overlaps(&other.stretch());
    for other in others.into_iter().filter(meets) {
        let found = overlap(window, other, catalogue);
        let some = |lines: &[String]| match lines {
            [] => None,
            lines => {
                let shown = lines.iter().take(LINES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
                Some(match lines.len().saturating_sub(LINES_SHOWN) {
                    0 => shown,
                    more => format!("{shown}; and {more} more lines"),
                })
            }
        };
        if let Some(lines) = some(&found.contradicting) {
            let why = format!("contradicts window {}, the stop holds: {lines}", other.id);
            faults.push(WindowFault::warning(FaultCode::Contradicts, "row", why));
        }
        if let Some(lines) = some(&found.both_stop) {
            let why = format!("window {} stops the same, the stricter holds: {lines}", other.id);
            faults.push(WindowFault::warning(FaultCode::Overlaps, "row", why));
        }
    }
    faults
}

/// What is not begun before the stop.
fn review_cutoff(window: &Window, catalogue: &Catalogue, faults: &mut Vec<WindowFault>) {
    if window.cutoff_minutes.is_none() {
        return;
    }
    if CUTOFF_MAX < window.cutoff() {
        let why = "long work is held back for a day before a stop at the most";
        faults.push(WindowFault::error(FaultCode::TooLong, "cutoff_minutes", why));
    }
    let stopped = unrestored(window, catalogue);
    let long = |cell: &Cell| catalogue.line(&cell.business, cell.operation).is_some_and(|l| l.long);
    if !stopped.iter().any(long) {
        let why = "no line that it stops is long in the catalogue: nothing is held back";
        faults.push(WindowFault::warning(FaultCode::Unmet, "cutoff_minutes", why));
    }
}

/// Holidays in the stop, and years without a calendar where no rule has asked for one.
fn review_days(window: &Window, calendar: &Calendar, faults: &mut Vec<WindowFault>) {
    let ends = [window.planned.start, window.planned.end];
    let [first, last] = ends.map(|at| at.civil(window.zone).date());
    let unknown = (first.year()..=last.year()).find(|year| !calendar.years.contains(year));
    if let Some(year) = unknown.filter(|_| window.deadlines.is_none()) {
        let why = format!(
            "{}; a date that another stop moves into it cannot be told",
            super::calendar::NoCalendar(year)
        );
        faults.push(WindowFault::warning(FaultCode::NoCalendar, "starts_at", why));
    }
    if last < first {
        return;
    }
    let holidays = calendar.exceptions.range(first..=last).filter(|(_, day)| !day.is_worked);
    let holidays: Vec<CivilDate> = holidays.map(|(&day, _)| day).collect();
    if let Some(day) = holidays.first() {
        let why = format!(
            "{} holidays lie in it, the first of them {day}: who certifies and releases then?",
            holidays.len()
        );
        faults.push(WindowFault::warning(FaultCode::OverHoliday, "ends_at", why));
    }
}
