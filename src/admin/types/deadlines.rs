//! The bodies of `/admin/v1/deadlines`.

use crate::domain::deadline::{Computed, Extension};
use crate::domain::ids::{Business, DeadlineId, InstitutionCode, WindowId};
use crate::domain::term::{Deadline, Ground, OwedBy};
use crate::domain::time::{CivilDate, Timestamp};
use crate::domain::window::Window;
use crate::engine::change::AuditHead;
use serde::{Deserialize, Serialize};

/// A registered deadline, with the date that holds now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadlineOut {
    /// Its number.
    pub id: DeadlineId,
    /// Who registered it.
    pub institution: InstitutionCode,
    /// The business.
    pub business: Business,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// What was given.
    pub original: Deadline,
    /// What it follows from, where it was not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ground: Option<Ground>,
    /// Who has to act, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owed_by: Option<OwedBy>,
    /// The date as it holds; absent where the calendar does not reach.
    pub computed: Option<Computed>,
}

/// The answer to a question for a date. Asking counts as telling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadlineChecked {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds.
    pub effective: Deadline,
    /// Whether it can still move.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Each move with its rule and clause.
    pub extensions: Vec<Extension>,
    /// For the day asked about: whether it is in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_time: Option<bool>,
}

/// How a date came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadlineExplained {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds.
    pub effective: Deadline,
    /// Whether it can still move.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The computation, sentence by sentence.
    pub words: Vec<String>,
    /// Each move with its rule and clause.
    pub extensions: Vec<Extension>,
    /// What was told of it, in order.
    pub told: Vec<ToldOut>,
}

/// What a date rests on, raw: enough to count it without Holdover (`runbooks/prove-a-date.py`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadlineEvidence {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds, as it was computed.
    pub effective: Deadline,
    /// Whether it can still move.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The windows whose rule speaks of the business: as published, restored and by whom.
    pub windows: Vec<Window>,
    /// The days.
    pub calendar: DaysOut,
    /// What was told of it, in order.
    pub told: Vec<ToldOut>,
}

/// Days that are not what their weekday says, and the papers that say so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaysOut {
    /// The data's version.
    pub version: String,
    /// The document numbers.
    pub papers: Vec<String>,
    /// Days that are free.
    pub free: Vec<CivilDate>,
    /// Days that are worked.
    pub worked: Vec<CivilDate>,
}

/// A move that was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOut {
    /// When.
    pub at: Timestamp,
    /// What caused the computation: `accepted`, `turned_away`, `check`, `window`, `apply`.
    pub cause: String,
    /// The move.
    #[serde(flatten)]
    pub extension: Extension,
}

/// The dates at risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlinesAtRisk {
    /// The next to end first.
    pub items: Vec<DeadlineRisk>,
}

/// A known date that a stop takes away and that was not moved out of it, or that ends within a day
/// while transactions that carry it are not at the core yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlineRisk {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds.
    pub effective: Deadline,
    /// When that ends.
    pub ends_at: Timestamp,
    /// The window that takes it away; absent where it only ends soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// Cases that are registered for it.
    pub cases: u64,
    /// Transactions that carry it and are not final.
    pub transactions: u64,
}

/// What a change of a window would do to the known dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadlinesPreview {
    /// The dates that would move.
    pub moves: Vec<MoveOut>,
    /// Registered cases with such a date.
    pub cases: u64,
    /// Transactions that are not final, with such a date.
    pub transactions: u64,
    /// Dates that would be overtaken by ones given as earlier.
    pub inversions: Vec<InversionOut>,
}

/// A date that would move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MoveOut {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds now.
    pub holds: Deadline,
    /// What would hold.
    pub becomes: Deadline,
    /// Each move with its rule and clause.
    pub extensions: Vec<Extension>,
    /// Cases that are registered for it.
    pub cases: u64,
    /// Transactions that carry it and are not final.
    pub transactions: u64,
}

/// Two dates of a business that would change places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InversionOut {
    /// The business.
    pub business: Business,
    /// The one given as the earlier.
    pub earlier: Deadline,
    /// What it becomes.
    pub earlier_becomes: Deadline,
    /// The one given as the later.
    pub later: Deadline,
    /// What it becomes, before the other.
    pub later_becomes: Deadline,
}

/// What was told by an order to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlinesApplied {
    /// Dates that were told to move just now; a second order finds none.
    pub told: u64,
    /// The end of the audit log.
    pub audit_head: AuditHead,
}

/// Rows of one call.
pub const IMPORT_ROWS_MAX: usize = 1000;

/// Cases to register for institutions, row by row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportCases {
    /// At most [`IMPORT_ROWS_MAX`].
    pub rows: Vec<CaseRow>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// A row, as it was written: each is judged by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRow {
    /// The institution's code.
    #[serde(default)]
    pub institution: String,
    /// The business.
    #[serde(default)]
    pub business: String,
    /// When it is due; empty where it follows from an event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub original: String,
    /// How long after the event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub term: String,
    /// The day of the event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event: String,
    /// Who has to act.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owed_by: String,
    /// The registrant's own reference; kept only as a keyed hash.
    #[serde(default)]
    pub reference: String,
}

/// What came of an import, row by row, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CasesImported {
    /// One for each row.
    pub rows: Vec<CaseImported>,
    /// The end of the audit log.
    pub audit_head: AuditHead,
}

/// What came of a row: a number and a date, or what is wrong. It repeats nothing of what the row
/// says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseImported {
    /// The case's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeadlineId>,
    /// Whether it was registered before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// The date that holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Deadline>,
    /// The field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong and what is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
