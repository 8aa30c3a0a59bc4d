//! The bodies that declare, change and show a window.

use crate::domain::deadline::DeadlineRule;
use crate::domain::ids::{UpstreamName, WindowId};
use crate::domain::policy::Row;
use crate::domain::revision::ToldStop;
use crate::domain::time::{CivilDate, Timestamp, Zone};
use crate::domain::window::{Act, Cause, Notice, Phase, RestoreBy};
use crate::engine::change::AuditHead;
use serde::{Deserialize, Serialize};

/// Declares a window, by instants (`starts_at`, `ends_at`) or by the notice's own words (`text`,
/// `published`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclareWindow {
    /// Its name.
    pub id: WindowId,
    /// The zone that its times are meant in; the daemon's own where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// Its planned end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// The sentence of the notice that names the stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The day on which the notice was published, which gives `text` its year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<CivilDate>,
    /// The notice it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What it says, cell by cell.
    pub policy: Vec<Row>,
    /// How it moves deadlines, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<DeadlineRule>,
    /// How its parts are proved to be back; only a signed act where it is left out.
    #[serde(default = "signed")]
    pub restore_by: RestoreBy,
    /// For how many minutes before a part stops its long work is not begun any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoff_minutes: Option<u32>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

fn signed() -> RestoreBy {
    RestoreBy::Signed
}

/// Gives a window a new whole. What of the times is left out stays as it is planned; anything else
/// that is left out is not part of the window any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeWindow {
    /// The zone that its times are meant in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// Its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// Its planned end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// The sentence of the notice that names the stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The day on which the notice was published, which gives `text` its year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<CivilDate>,
    /// The notice it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What it says, cell by cell.
    pub policy: Vec<Row>,
    /// How it moves deadlines, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadlines: Option<DeadlineRule>,
    /// How its parts are proved to be back; only a signed act where it is left out.
    #[serde(default = "signed")]
    pub restore_by: RestoreBy,
    /// For how many minutes before a part stops its long work is not begun any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoff_minutes: Option<u32>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Moves a window's planned end, or that of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveEnd {
    /// The new planned end. `end` without it means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// The row's place in `policy`, from 0, where only that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Makes a window of an outage that nobody planned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmOutage {
    /// When it is expected to be over, where somebody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An outage that nobody planned, proposed as a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftOut {
    /// The name that its window would have.
    pub id: WindowId,
    /// The part of the core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<UpstreamName>,
    /// When it began.
    pub began_at: Timestamp,
    /// When the core was proved back; absent while it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Transactions of that part that wait.
    pub waiting: u64,
}

/// A draft right after it was dismissed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftDismissed {
    /// Its name.
    pub id: WindowId,
    /// The head of the audit log after this act.
    pub audit_head: AuditHead,
}

/// A window, as it stands now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowOut {
    /// Its name.
    pub id: WindowId,
    /// Its version, which is also its `ETag`.
    pub version: u32,
    /// Where it stands in its life.
    pub phase: Phase,
    /// The zone that its times are meant in.
    pub zone: Zone,
    /// Its planned start.
    pub starts_at: Timestamp,
    /// Its planned end.
    pub ends_at: Timestamp,
    /// The earliest start that was ever published.
    pub published_starts_at: Timestamp,
    /// The latest end that was ever published.
    pub published_ends_at: Timestamp,
    /// When anything about it changes next by plan.
    pub next_edge_at: Option<Timestamp>,
    /// Who made this version.
    pub author: String,
    /// Why it was made.
    pub reason: String,
    /// When this version was made.
    pub changed_at: Timestamp,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// How its parts are proved to be back.
    pub restore_by: RestoreBy,
    /// Whether somebody planned it, or an outage was confirmed.
    #[serde(default)]
    pub cause: Cause,
    /// For how many minutes before a part stops its long work is not begun any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoff_minutes: Option<u32>,
    /// The notice it rests on.
    pub notice: Option<Notice>,
    /// How it moves deadlines.
    pub deadlines: Option<DeadlineRule>,
    /// What it says, cell by cell.
    pub policy: Vec<Row>,
    /// What rows of earlier versions told the public, where the rows of now say less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<ToldStop>,
    /// What has been restored.
    pub restores: Vec<Act>,
    /// What has been released.
    pub releases: Vec<Act>,
}
