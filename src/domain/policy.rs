//! What is done with a submission: dispositions, advice to the counter, and the rows of a notice.
//!
//! Choosing among the windows in force is `window`'s job; here is one row and its words.

use super::cell::{Selector, words};
use serde::{Deserialize, Serialize};

words!(
    /// What is done with a submission, from the mildest to the strictest.
    Disposition, "disposition", {
        /// Send it.
        Pass = "pass",
        /// Send it; a ticket when it surely did not happen in time.
        PassOrTicket = "pass_or_ticket",
        /// Send it; hold it on credit when that fails and the institution opted in.
        PassOrHold = "pass_or_hold",
        /// Keep it and send it after the restart, by itself.
        Hold = "hold",
        /// Keep it and send it on a named person's word, per district.
        HoldForRelease = "hold_for_release",
        /// Take file and materials; open until the result was told.
        PreAccept = "pre_accept",
        /// Turn it away with a number and the time to come back.
        Refuse = "refuse",
    }
);

impl Disposition {
    /// Whether effects may start in the cell.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::Pass | Self::PassOrTicket | Self::PassOrHold => true,
            Self::Hold | Self::HoldForRelease | Self::PreAccept | Self::Refuse => false,
        }
    }

    /// Whether a named person must let the cell go after the restart.
    #[must_use]
    pub const fn needs_release(self) -> bool {
        match self {
            Self::HoldForRelease | Self::PreAccept => true,
            Self::Pass | Self::PassOrTicket | Self::PassOrHold | Self::Hold | Self::Refuse => false,
        }
    }
}

words!(
    /// What the counter is told to do.
    Advice, "advice", {
        /// Nothing; go on.
        None = "none",
        /// Charge the patient's share, the fund pays the rest.
        ChargeSplit = "charge_split",
        /// Charge the full amount and issue a self-pay invoice.
        ChargeFull = "charge_full",
        /// Do not finalise: nobody knows yet whether it happened.
        DoNotFinalise = "do_not_finalise",
        /// Let the patient leave on credit.
        Credit = "credit",
        /// Another institution can do it now.
        GoElsewhere = "go_elsewhere",
        /// Come back after the restart.
        ComeBack = "come_back",
        /// Keep the originals.
        KeepOriginals = "keep_originals",
        /// Materials are taken in, nothing has been reviewed.
        MaterialsTaken = "materials_taken",
    }
);

/// One row of a notice's policy table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The notice's own clause, such as `(二)1`; `not_in_notice` where a person decided.
    pub clause: String,
    /// The cells it speaks of.
    #[serde(default)]
    pub cells: Selector,
    /// What is done with them. `None` where the notice is silent and nobody has decided yet.
    #[serde(default)]
    pub disposition: Option<Disposition>,
    /// What the counter is told.
    #[serde(default = "no_advice")]
    pub advice: Advice,
    /// Where to go instead, for `go_elsewhere`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// What to bring or keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bring: Vec<String>,
    /// For `pre_accept`: whether a report file must be attached.
    #[serde(default)]
    pub needs_report_file: bool,
    /// This row's own stretch, where it stops earlier or later than the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<super::time::Timestamp>,
    /// See `starts_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<super::time::Timestamp>,
    /// Why a person decided it so; mandatory for `not_in_notice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_because: Option<String>,
}

impl Row {
    /// Whether it keeps effects from starting.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.disposition.is_some_and(|disposition| !disposition.passes())
    }
}

fn no_advice() -> Advice {
    Advice::None
}

/// Where a row stands, for receipts and explanations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRef {
    /// The window, or the service hours.
    pub window: super::ids::WindowId,
    /// The window's version when the decision was taken; 0 for service hours, which have none.
    pub version: u32,
    /// The row's place in the table, from 0.
    pub row: u32,
    /// The row's clause.
    pub clause: String,
}

impl RowRef {
    /// Whether it was service hours that decided, and no window.
    #[must_use]
    pub const fn is_of_hours(&self) -> bool {
        self.version == 0
    }
}
