//! The rules about windows in files, and the report of `check-config`.

use super::planned::{self, in_both, problem as told};
use super::raw::show_duration;
use super::read::BUILT_IN;
use super::{Config, Problem, Severity};
use crate::domain::calendar::Calendar;
use crate::domain::review::{contradictions, review, review_standing};
use crate::domain::time::Timestamp;
use std::time::Duration;

/// How many openings and closings are shown of each.
const SHOWN: usize = 3;

/// What is wrong with the windows of a configuration that could be read. [`super::load`] has
/// refused it when one of these is an error.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, window) in config.windows.iter().enumerate() {
        for fault in review(window, &config.catalogue, &config.calendar) {
            problems.push(told(format!("window.{}.{}", window.id, fault.field), fault));
        }
        for other in &config.windows[index + 1..] {
            let found = contradictions(window, other, &config.catalogue);
            let Some(first) = found.first() else { continue };
            let more = match found.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more lines)"),
            };
            problems.push(Problem {
                key: format!("window.{}.row", window.id),
                value: None,
                why: format!("the windows contradict each other: {first}{more}"),
                severity: Severity::Error,
            });
        }
    }
    if let Some(rule) = &config.outages.deadlines {
        let faults = review_standing(rule, &config.catalogue, &config.calendar).into_iter();
        problems.extend(faults.map(|fault| told(format!("unplanned.{}", fault.field), fault)));
    }
    problems.extend(planned::check(config));
    problems.extend(retention(config));
    problems
}

/// How long after a stop a repeat of what was held must still be known as one: a submitter that was
/// away itself comes back with what it had not heard of.
const REPEATS_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// Nothing that is held ever expires. What can expire is the knowledge of what has ended, and a stop
/// that outlasts it could let a repeat take effect a second time.
fn retention(config: &Config) -> Vec<Problem> {
    let kept = config.journal.retention;
    let windows = config.windows.iter().map(|w| (w.id.to_string(), w.stretch().length()));
    let recurring = config.recurring.iter().map(|one| (one.name.to_string(), one.lasts));
    let short = |length: Duration| kept < length.saturating_add(REPEATS_FOR);
    let problem = |severity, of: &str, length: Duration| Problem {
        key: "journal.retention".to_owned(),
        value: Some(format!("\"{}\"", show_duration(kept))),
        why: format!(
            "a repeat could be taken for new after {of}: expected at least its {} and 30 days",
            show_duration(length)
        ),
        severity,
    };
    let mut found: Vec<Problem> = windows
        .chain(recurring)
        .filter(|(_, length)| short(*length))
        .map(|(name, length)| problem(Severity::Error, &format!("the stop of {name}"), length))
        .collect();
    let longest = config.limits.window_length_max;
    if found.is_empty() && short(longest) {
        let of = "a stop of limits.window_length_max";
        found.push(problem(Severity::Warning, of, longest));
    }
    found
}

/// That a year is missing which must be known at `now`, if one is. No error: whatever needs no
/// working day of that year goes on.
#[must_use]
pub fn calendar_lack(config: &Config, now: Timestamp) -> Option<Problem> {
    let year = config.calendar.lacks(now.civil(config.zone).date())?;
    let next = how_to_add(&config.calendar, year);
    Some(Problem {
        key: "calendar.file".to_owned(),
        value: None,
        why: format!("has no working days for {year}: {next}"),
        severity: Severity::Warning,
    })
}

/// What to do so that `year` is known.
#[must_use]
pub fn how_to_add(calendar: &Calendar, year: i32) -> String {
    match calendar.file.as_str() {
        BUILT_IN => format!(
            "copy {BUILT_IN}, add a [[paper]] for {year} as the State Council has published it, \
             name the copy as calendar.file, and restart"
        ),
        file => format!(
            "add a [[paper]] for {year} to {file} as the State Council has published it, and restart"
        ),
    }
}

/// The next three openings and closings after `now` of the windows, of each recurring stop and of
/// the service hours, in their zones and in UTC, and then
/// the configuration in effect. It holds no secrets: the files that do are named, not read.
#[must_use]
pub fn render(config: &Config, now: Timestamp) -> String {
    let mut text = String::new();
    let next = config.windows.iter().filter(|w| now < w.planned.end);
    let next: Vec<_> = next.take(SHOWN).collect();
    if next.is_empty() && config.recurring.is_empty() {
        text.push_str("# no window is planned\n");
    }
    for window in next {
        let show = |at: Timestamp| in_both(at, window.zone);
        text.push_str(&format!(
            "# window {}\n#   closes {}\n#   opens  {} once proved\n",
            window.id,
            show(window.planned.start),
            show(window.planned.end)
        ));
    }
    text.push_str(&planned::render(config, now, SHOWN));
    text.push('\n');
    match toml::to_string(&config.effective) {
        Ok(effective) => text.push_str(&effective),
        Err(error) => text.push_str(&format!("# the configuration cannot be shown: {error}\n")),
    }
    text
}
