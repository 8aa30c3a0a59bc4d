//! Which transaction a change is about, and where it brings it, as far as the change alone tells:
//! for everybody who follows the journal beside the engine (histories, index, published results).
//! The engine's own fold is `machine`'s.

use super::change::{Change, Settlement};
use crate::domain::ids::Seq;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;

/// Where a change brings its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// To this state, at that instant.
    To(State, Timestamp),
    /// To a refusal that counts once its upstream's refusals are confirmed.
    RefusedProvisionally,
    /// Nowhere: it was asked about once more.
    StillInDoubt,
}

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
            | Self::IntakeStopped(_)
            | Self::DeadlineRegistered { .. }
            | Self::DeadlineTold { .. }
            | Self::Forwarded { .. }
            | Self::Retired { .. }
            | Self::ClockAccepted { .. }
            | Self::AuditNoted { .. }
            | Self::BlobStored(_)
            | Self::BlobsRemoved { .. }
            | Self::Totals(_)
            | Self::Carried(_)
            | Self::DeadlineCarried { .. } => None,
        }
    }

    /// The transaction, and where this brings it.
    #[must_use]
    pub fn brings(&self) -> Option<(Seq, Brought)> {
        let brought = match self {
            Self::AttemptStarted { at, .. } => Brought::To(State::InFlight, *at),
            Self::Settled { settlement, at, .. } | Self::Resolved { settlement, at, .. } => {
                match settlement {
                    Settlement::Applied { .. } => Brought::To(State::Applied, *at),
                    Settlement::Refused { provisional: false, .. } => {
                        Brought::To(State::Refused, *at)
                    }
                    Settlement::Refused { provisional: true, .. } => Brought::RefusedProvisionally,
                    Settlement::Transient { .. } => Brought::To(State::Waiting, *at),
                    Settlement::InDoubt { .. } => Brought::To(State::InDoubt, *at),
                }
            }
            Self::StillInDoubt { .. } => Brought::StillInDoubt,
            Self::Ticketed { at, .. } => Brought::To(State::Ticketed, *at),
            Self::TicketClosed { how, at, .. } => match how {
                TicketState::Resettled => Brought::To(State::Superseded, *at),
                TicketState::ReimbursedManually | TicketState::Waived => {
                    Brought::To(State::Withdrawn, *at)
                }
                TicketState::Open => return None,
            },
            Self::Withdrawn { at, .. } => Brought::To(State::Withdrawn, *at),
            Self::DeadLettered { at, .. } => Brought::To(State::DeadLettered, *at),
            Self::Redriven { at, .. } => Brought::To(State::Waiting, *at),
            Self::ActionRequired { at, .. } => Brought::To(State::ActionRequired, *at),
            Self::Superseded { at, .. } => Brought::To(State::Superseded, *at),
            Self::Started { .. }
            | Self::Accepted(_)
            | Self::TurnedAway(_)
            | Self::ProvisionalDecided { .. }
            | Self::ResultTold { .. }
            | Self::WindowSet(_)
            | Self::OverridesSet(_)
            | Self::HealthSet { .. }
            | Self::IntakeStopped(_)
            | Self::DeadlineRegistered { .. }
            | Self::DeadlineTold { .. }
            | Self::Forwarded { .. }
            | Self::Retired { .. }
            | Self::ClockAccepted { .. }
            | Self::AuditNoted { .. }
            | Self::BlobStored(_)
            | Self::BlobsRemoved { .. }
            | Self::Totals(_)
            | Self::Carried(_)
            | Self::DeadlineCarried { .. } => return None,
        };
        Some((self.transaction()?, brought))
    }
}
