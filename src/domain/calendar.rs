//! Working days from versioned data: an explicit entry wins, else Monday to Friday.
//!
//! A year without data is an error, never a guess.

use super::time::CivilDate;
use std::collections::BTreeMap;

/// The calendar has no data for a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has no data for {0}; add the year to the calendar file")]
pub struct NoCalendar(pub i32);

/// Which days are worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The data's version, named in every computed date.
    pub version: String,
    /// The years that are complete.
    pub years: Vec<i32>,
    /// Days that are not what their weekday says: `true` for a make-up workday, `false` for a
    /// holiday.
    pub exceptions: BTreeMap<CivilDate, bool>,
}
