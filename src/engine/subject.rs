//! Which transaction a change is about: what both histories, the submitters' and the operators',
//! pick their changes by. What a change does to it is told elsewhere.

use super::change::Change;
use crate::domain::ids::Seq;

impl Change {
    /// The transaction that the change is about, where it is about an earlier one.
    #[must_use]
    pub fn transaction(&self) -> Option<Seq> {
        match self {
            Self::AttemptStarted { transaction, .. }
            | Self::Settled { transaction, .. }
            | Self::Resolved { transaction, .. }
            | Self::StillInDoubt { transaction, .. }
            | Self::Ticketed { transaction, .. }
            | Self::TicketClosed { transaction, .. }
            | Self::Withdrawn { transaction, .. }
            | Self::DeadLettered { transaction, .. }
            | Self::Redriven { transaction, .. }
            | Self::ActionRequired { transaction, .. }
            | Self::Superseded { transaction, .. }
            | Self::ResultTold { transaction, .. } => Some(*transaction),
            Self::Started { .. }
            | Self::Accepted(_)
            | Self::TurnedAway(_)
            | Self::ProvisionalDecided { .. }
            | Self::WindowSet(_)
            | Self::OverridesSet(_)
            | Self::HealthSet { .. }
            | Self::DeadlineRegistered { .. }
            | Self::DeadlineTold { .. }
            | Self::Forwarded { .. }
            | Self::Retired { .. }
            | Self::ClockAccepted { .. }
            | Self::AuditNoted { .. }
            | Self::Totals(_)
            | Self::Carried(_)
            | Self::DeadlineCarried { .. } => None,
        }
    }
}
