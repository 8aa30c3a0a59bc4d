//! Where a transaction stands, and the only moves there are.
//!
//! *Held* is deliberately absent: being held is a fact about the gate, so opening a window
//! rewrites no records. *Expired* is absent too: nothing here runs out by itself.

use super::cell::words;

words!(
    /// Where an accepted transaction stands.
    State, "state", {
        /// It will be sent when its gate is open and its key is free.
        Waiting = "waiting",
        /// An attempt has been journaled and has no outcome yet.
        InFlight = "in_flight",
        /// An attempt may or may not have taken effect.
        InDoubt = "in_doubt",
        /// It cannot be sent without its submitter.
        ActionRequired = "action_required",
        /// Given up by policy after sure failures; keeps its place in its key.
        DeadLettered = "dead_lettered",
        /// It surely did not happen and the person paid; never sent, blocks nothing.
        Ticketed = "ticketed",
        /// The core applied it. Final.
        Applied = "applied",
        /// The core said no. Final.
        Refused = "refused",
        /// Taken back before it took effect. Final.
        Withdrawn = "withdrawn",
        /// Another transaction took its place. Final.
        Superseded = "superseded",
    }
);

words!(
    /// The legal moves. There is no other way to change a [`State`].
    Move, "move", {
        /// An attempt is journaled.
        Start = "start",
        /// The core applied it.
        Apply = "apply",
        /// The core refused it.
        Refuse = "refuse",
        /// It surely did not take effect and will be tried again.
        Return = "return",
        /// The answer is lost, cut, or cannot be read.
        Doubt = "doubt",
        /// It surely did not take effect and policy says ticket.
        Ticket = "ticket",
        /// A replacement was applied or accepted in its place.
        Supersede = "supersede",
        /// The submitter, or a person on its behalf, takes it back.
        Withdraw = "withdraw",
        /// Too many sure failures.
        GiveUp = "give_up",
        /// A person puts a dead letter back.
        Redrive = "redrive",
        /// It needs its submitter.
        RequireAction = "require_action",
        /// The submitter acted.
        Resume = "resume",
    }
);

/// A move that does not exist from the state it was tried in. Always a defect of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no move {to} from state {from}")]
pub struct IllegalMove {
    /// The state it was tried in.
    pub from: State,
    /// The move that was tried.
    pub to: Move,
}

impl State {
    /// The state after `step`, where that move exists.
    ///
    /// # Errors
    /// [`IllegalMove`] where it does not.
    pub const fn after(self, step: Move) -> Result<Self, IllegalMove> {
        use State::{
            ActionRequired, Applied, DeadLettered, InDoubt, InFlight, Refused, Superseded,
            Ticketed, Waiting, Withdrawn,
        };
        let next = match (self, step) {
            (Waiting, Move::Start) => InFlight,
            (InFlight | InDoubt, Move::Apply) => Applied,
            (InFlight | InDoubt, Move::Refuse) => Refused,
            (InFlight | InDoubt, Move::Return) => Waiting,
            (InFlight, Move::Doubt) => InDoubt,
            (Waiting | InFlight | InDoubt, Move::Ticket) => Ticketed,
            (Ticketed | ActionRequired, Move::Supersede) => Superseded,
            (Waiting | DeadLettered | ActionRequired | Ticketed, Move::Withdraw) => Withdrawn,
            (Waiting, Move::GiveUp) => DeadLettered,
            (DeadLettered, Move::Redrive) => Waiting,
            (Waiting, Move::RequireAction) => ActionRequired,
            (ActionRequired, Move::Resume) => Waiting,
            _ => {
                return Err(IllegalMove { from: self, to: step });
            }
        };
        Ok(next)
    }

    /// Whether nothing can change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Applied | Self::Refused | Self::Withdrawn | Self::Superseded => true,
            Self::Waiting
            | Self::InFlight
            | Self::InDoubt
            | Self::ActionRequired
            | Self::DeadLettered
            | Self::Ticketed => false,
        }
    }

    /// Whether later transactions of the same ordering key must wait behind it.
    #[must_use]
    pub const fn blocks_its_key(self) -> bool {
        match self {
            Self::Waiting
            | Self::InFlight
            | Self::InDoubt
            | Self::ActionRequired
            | Self::DeadLettered => true,
            Self::Ticketed | Self::Applied | Self::Refused | Self::Withdrawn | Self::Superseded => {
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_never_changes() {
        for &state in State::ALL {
            for &step in Move::ALL {
                if state.is_final() {
                    assert!(state.after(step).is_err(), "{state} {step}");
                }
            }
        }
    }

    #[test]
    fn every_state_but_the_first_can_be_reached() {
        for &target in State::ALL {
            let reached = target == State::Waiting
                || State::ALL.iter().any(|s| Move::ALL.iter().any(|&m| s.after(m) == Ok(target)));
            assert!(reached, "{target}");
        }
    }

    #[test]
    fn doubt_never_becomes_a_dead_letter() {
        assert!(State::InDoubt.after(Move::GiveUp).is_err());
        assert!(State::InFlight.after(Move::GiveUp).is_err());
        assert!(State::InFlight.after(Move::Withdraw).is_err());
    }
}
