//! The rules about windows in files, and the report of `check-config`.

use super::{Config, Problem, Severity};
use crate::domain::review::{contradictions, review};
use crate::domain::time::Timestamp;

/// What is wrong with the windows of a configuration that could be read. [`super::load`] has
/// refused it when one of these is an error.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, window) in config.windows.iter().enumerate() {
        for fault in review(window, &config.catalogue, &config.calendar) {
            problems.push(Problem {
                key: format!("window.{}.{}", window.id, fault.field),
                value: None,
                why: fault.why,
                severity: if fault.is_warning { Severity::Warning } else { Severity::Error },
            });
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
    problems
}

/// The next three openings and closings after `now`, in the window's zone and in UTC, and then
/// the configuration in effect. It holds no secrets: the files that do are named, not read.
#[must_use]
pub fn render(config: &Config, now: Timestamp) -> String {
    let mut text = String::new();
    let next: Vec<_> = config.windows.iter().filter(|w| now < w.planned.end).take(3).collect();
    if next.is_empty() {
        text.push_str("# no window is planned\n");
    }
    for window in next {
        let show = |at: Timestamp| format!("{} ({at})", at.rfc3339(window.zone));
        text.push_str(&format!(
            "# window {}\n#   closes {}\n#   opens  {} once proved\n",
            window.id,
            show(window.planned.start),
            show(window.planned.end)
        ));
    }
    text.push('\n');
    match toml::to_string(&config.effective) {
        Ok(effective) => text.push_str(&effective),
        Err(error) => text.push_str(&format!("# the configuration cannot be shown: {error}\n")),
    }
    text
}
