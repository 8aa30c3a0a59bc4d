//! The body of `GET /admin/v1/policy`: what would be done with a submission, and why.

use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, District, Label, UpstreamName, WindowId};
use crate::domain::policy::{Advice, Disposition, RowRef};
use crate::domain::time::Timestamp;
use crate::engine::explain::{Because, Lost};
use crate::web::problem::Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What would be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOut {
    /// The business.
    pub business: Business,
    /// What is done to it.
    pub operation: Operation,
    /// Who submits.
    pub class: Class,
    /// Through which channel.
    pub channel: Channel,
    /// From which district.
    pub district: District,
    /// With which labels.
    pub labels: Vec<Label>,
    /// The attributes that count.
    pub attributes: BTreeMap<String, String>,
    /// Whether it settles on credit.
    pub credit: bool,
    /// The part of the core that it goes to.
    pub upstream: UpstreamName,
    /// The instant.
    pub at: Timestamp,
    /// What would be done.
    pub disposition: Disposition,
    /// What the counter would be told.
    pub counter_action: Advice,
    /// What decides.
    pub because: Because,
    /// The row that does; version 0 where it is that of service hours.
    pub policy: Option<RowRef>,
    /// When the business is planned to be back.
    pub resume_at: Option<Timestamp>,
    /// Why that is not known, where the calendar is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_unknown: Option<Code>,
    /// Where to go instead.
    pub alternative: Option<String>,
    /// What to bring or keep.
    pub bring: Vec<String>,
    /// Whether a report file must be attached.
    pub needs_report_file: bool,
    /// How the gate stands; absent where the question is not about now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateState>,
    /// The service hours of the cell.
    pub service_hours: Vec<HoursThenOut>,
    /// What else speaks of the cell, and why it does not decide.
    pub others: Vec<OtherRowOut>,
}

/// Service hours at the instant that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoursThenOut {
    /// Their name.
    pub name: WindowId,
    /// Whether they are on.
    pub open: bool,
    /// When that changes next; absent where nobody knows.
    pub until: Option<Timestamp>,
}

/// A row that speaks of the cell and does not decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRowOut {
    /// Where it stands.
    pub policy: RowRef,
    /// What it says.
    pub disposition: Option<Disposition>,
    /// Why it does not decide.
    pub lost: Lost,
}
