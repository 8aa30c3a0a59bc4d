//! Stops that recur: a schedule, how long each lasts, and what a window says that is declared for
//! one of them.
//!
//! An occurrence is an ordinary window from its declaration on: it can be extended, ended, restored
//! and cancelled, and what is ordered of it concerns it alone. Its name is the schedule's with its
//! planned start in UTC (`nightly-20260105t1800z`), so that one start has one name whatever the
//! zone, and a start that has been declared, or cancelled, is known again. Which are declared, and
//! when, is decided in `engine::schedule`.

use super::deadline::DeadlineRule;
use super::ids::WindowId;
use super::policy::Row;
use super::schedule::Recurrence;
use super::time::{Interval, Timestamp};
use super::window::{Cause, Notice, RestoreBy, Window};
use chrono::NaiveDateTime;
use std::time::Duration;

/// The form of a start within a name. As long as it is read with its own dash.
const START: &str = "%Y%m%dt%H%Mz";
/// How long such a start is.
const START_LENGTH: usize = "20260105t1800z".len();
/// The longest name of a schedule, so that its windows have names.
pub const NAME_LENGTH_MAX: usize = 64 - 1 - START_LENGTH;

/// A stop that recurs.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurring {
    /// What its windows' names begin with.
    pub name: WindowId,
    /// When each begins.
    pub recurrence: Recurrence,
    /// How long each is planned to last, in elapsed time.
    pub lasts: Duration,
    /// Who answers for it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// The notice it rests on.
    pub notice: Option<Notice>,
    /// What it says, cell by cell. Its rows have no times of their own.
    pub policy: Vec<Row>,
    /// How it moves deadlines, if it does.
    pub deadlines: Option<DeadlineRule>,
    /// How its parts are proved to be back.
    pub restore_by: RestoreBy,
    /// For how many minutes before a part stops its long work is not begun any more.
    pub cutoff_minutes: Option<u32>,
}

impl Recurring {
    /// The stretches after `at` (those that begin later), in order.
    pub fn after(&self, at: Timestamp) -> impl Iterator<Item = Interval> + '_ {
        let stretch = |start: Timestamp| Interval { start, end: start.after(self.lasts) };
        self.recurrence.after(at).map(stretch)
    }

    /// The name of the window that begins at `start`.
    #[must_use]
    pub fn id_of(&self, start: Timestamp) -> Option<WindowId> {
        let start = start.civil(chrono_tz::UTC).format(START);
        format!("{}-{start}", self.name).parse().ok()
    }

    /// Whether a window of this name is one that this schedule would declare now.
    #[must_use]
    pub fn still_means(&self, id: &WindowId) -> bool {
        let Some((name, start)) = origin(id) else { return false };
        let just_before = start.before(Duration::from_millis(1));
        name == self.name.as_str() && self.recurrence.after(just_before).next() == Some(start)
    }

    /// The window for one stretch, as it is declared at `now`.
    #[must_use]
    pub fn window(&self, planned: Interval, now: Timestamp) -> Option<Window> {
        Some(Window {
            id: self.id_of(planned.start)?,
            version: 1,
            zone: self.recurrence.zone,
            planned,
            published: planned,
            told: Vec::new(),
            author: format!("schedule {} ({})", self.name, self.author),
            reason: self.reason.clone(),
            changed_at: now,
            notice: self.notice.clone(),
            policy: self.policy.clone(),
            deadlines: self.deadlines.clone(),
            restore_by: self.restore_by,
            cause: Cause::Planned,
            cutoff_minutes: self.cutoff_minutes,
            cancelled_at: None,
            restores: Vec::new(),
            releases: Vec::new(),
        })
    }
}

/// The schedule's name and the start that the name of a recurring window is made of; `None` for
/// any other window.
#[must_use]
pub fn origin(id: &WindowId) -> Option<(&str, Timestamp)> {
    let text = id.as_str();
    let (name, start) = text.split_at_checked(text.len().checked_sub(START_LENGTH)?)?;
    let start = NaiveDateTime::parse_from_str(start, START).ok()?;
    let name = name.strip_suffix('-').filter(|name| !name.is_empty())?;
    Some((name, Timestamp::from_civil(start, chrono_tz::UTC)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nightly(cron: &str) -> Recurring {
        Recurring {
            name: "nightly".parse().unwrap(),
            recurrence: Recurrence {
                cron: cron.parse().unwrap(),
                days: None,
                zone: chrono_tz::America::New_York,
            },
            lasts: Duration::from_secs(4 * 3600),
            author: "duty officer".to_owned(),
            reason: "backup".to_owned(),
            notice: None,
            policy: Vec::new(),
            deadlines: None,
            restore_by: RestoreBy::Probes,
            cutoff_minutes: None,
        }
    }

    #[test]
    fn a_name_is_made_of_the_schedule_and_the_start_and_read_back() {
        let one = nightly("30 2 * * *");
        let start = "2026-01-05T02:30:00-05:00".parse().unwrap();
        let id = one.id_of(start).unwrap();
        assert_eq!(id.as_str(), "nightly-20260105t0730z");
        assert_eq!(origin(&id), Some(("nightly", start)));
        assert!(one.still_means(&id));
        assert!(!nightly("40 2 * * *").still_means(&id));
        for other in ["nightly", "20260105t0730z", "-20260105t0730z", "nightly-20261305t0730z"] {
            assert_eq!(origin(&other.parse().unwrap()), None, "{other}");
        }
        assert_eq!("x".repeat(NAME_LENGTH_MAX).len() + id.as_str().len() - "nightly".len(), 64);
    }

    #[test]
    fn it_lasts_as_long_in_the_night_of_a_change_of_the_clock_as_in_any_other() {
        for (cron, after, start, end) in [
            ("0 0 * * *", "2026-03-07T12:00:00-05:00", "03-08T00:00:00-05", "03-08T05:00:00-04"),
            ("30 2 * * *", "2026-03-07T12:00:00-05:00", "03-08T03:00:00-04", "03-08T07:00:00-04"),
            ("0 0 * * *", "2026-10-31T12:00:00-04:00", "11-01T00:00:00-04", "11-01T03:00:00-05"),
            ("30 1 * * *", "2026-10-31T12:00:00-04:00", "11-01T01:30:00-04", "11-01T04:30:00-05"),
        ] {
            let one = nightly(cron);
            let stretch = one.after(after.parse().unwrap()).next().unwrap();
            let shown = [stretch.start, stretch.end].map(|at| at.rfc3339(one.recurrence.zone));
            assert_eq!(shown, [start, end].map(|at| format!("2026-{at}:00")), "{cron}");
        }
    }
}
