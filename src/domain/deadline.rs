//! Deadlines: whether a stop moves one, by which rule, and to which date.
//!
//! No rule is built in: a window that moves deadlines names its rule and its legal basis. The
//! stop counts from its start to the later of its published end and its actual restart.

use super::calendar::{Calendar, NoCalendar};
use super::cell::BusinessPattern;
use super::ids::{Business, WindowId};
use super::time::Timestamp;
use super::time::{CivilDate, Interval, Zone};
use super::window::Window;
use chrono::NaiveTime;
use serde::{Deserialize, Serialize};

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
    /// By the stop's length.
    ShiftByOutage,
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
    /// When the agencies open, for `first_full_working_day`.
    #[serde(default = "nine")]
    pub opens_at: NaiveTime,
    /// When a deadline day ends. `None`: at 24:00 (Civil Code, article 203); a time of day
    /// only where a cited rule says so.
    #[serde(default)]
    pub day_ends_at: Option<NaiveTime>,
}

fn nine() -> NaiveTime {
    NaiveTime::from_hms_opt(9, 0, 0).unwrap_or(NaiveTime::MIN)
}

/// A deadline as computed from the windows that are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computed {
    /// The date given.
    pub original: CivilDate,
    /// The date that holds now. Never before `original`.
    pub date: CivilDate,
    /// Whether it can still move because a stop that it rests on has not ended.
    pub is_final: bool,
    /// Each move, in order.
    pub moves: Vec<Extension>,
}

/// One move of one date by one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// The date before.
    pub from: CivilDate,
    /// The date after.
    pub to: CivilDate,
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
