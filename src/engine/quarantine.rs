//! Looking at what is left of a damaged journal, and doing nothing with it.
//!
//! Where records are lost, the rest does not tell the whole story: what seems to wait may have
//! been applied, and an unknown key may have been used. So a quarantined partition is folded as
//! far as its changes fit together, answers repeats and reads, and decides nothing: no attempt,
//! no question, no acceptance, no order, no record.

use super::change::{Change, Settlement};
use super::event::{Event, Fault, Reply};
use super::machine::Machine;
use super::step::{Decision, Effect};
use crate::domain::ids::Seq;
use crate::domain::state::{Move, State};

/// What a change needs of the transaction it names.
enum Needs {
    /// That this move is legal.
    Legal(Move),
    /// That it stands in this state.
    Standing(State),
}

impl Machine {
    /// From now on the state is only looked at, and changes that do not fit it are passed over.
    pub fn quarantine(&mut self) {
        self.quarantined = true;
    }

    /// Whether records of the journal are lost, so that nothing is decided.
    #[must_use]
    pub fn is_quarantined(&self) -> bool {
        self.quarantined
    }

    /// How many changes were passed over, because what they rest on is lost.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Whether `change` can be folded although records before it are lost; counted where not.
    pub(super) fn fits(&mut self, change: &Change) -> bool {
        if matches!(change, Change::ProvisionalDecided { .. }) {
            let live = &self.live;
            let in_flight = |seq: &Seq| {
                live.find(*seq).is_some_and(|slot| live.get(slot).state == State::InFlight)
            };
            self.upstreams.iter_mut().for_each(|upstream| upstream.provisional.retain(in_flight));
        }
        let Some((transaction, needs)) = needs(change) else { return true };
        let state = self.live.find(transaction).map(|slot| self.live.get(slot).state);
        let fits = state.is_some_and(|state| match needs {
            Needs::Legal(step) => state.after(step).is_ok(),
            Needs::Standing(standing) => state == standing,
        });
        self.passed_over += u64::from(!fits);
        fits
    }

    /// Answers what can be answered without deciding anything.
    pub(super) fn look_only(&mut self, event: Event, out: &mut Decision) {
        let no = || Reply::Invalid(Fault::Quarantined);
        let (reply, answer) = match event {
            Event::Submit(reply, submission) => (reply, self.known(&submission).unwrap_or_else(no)),
            Event::Order(reply, _)
            | Event::Withdraw { reply, .. }
            | Event::CloseTicket { reply, .. }
            | Event::RegisterDeadline { reply, .. }
            | Event::CheckDeadline { reply, .. }
            | Event::StoreBlob { reply, .. } => (reply, no()),
            Event::Settled { .. }
            | Event::Found { .. }
            | Event::Probed { .. }
            | Event::Forward { .. }
            | Event::Retire { .. }
            | Event::AuditNoted(_)
            | Event::NoRoom
            | Event::SweepBlobs
            | Event::Adjusted(_)
            | Event::Tick
            | Event::Stop => return,
        };
        out.effects.push(Effect::Reply(reply, answer));
    }
}

fn needs(change: &Change) -> Option<(Seq, Needs)> {
    let settles = |settlement: &Settlement| match settlement {
        Settlement::Applied { .. } => Needs::Legal(Move::Apply),
        Settlement::Refused { provisional: false, .. } => Needs::Legal(Move::Refuse),
        Settlement::Refused { provisional: true, .. } => Needs::Standing(State::InFlight),
        Settlement::Transient { .. } => Needs::Legal(Move::Return),
        Settlement::InDoubt { .. } => Needs::Legal(Move::Doubt),
    };
    let (transaction, needs) = match change {
        Change::AttemptStarted { transaction, .. } => (transaction, Needs::Legal(Move::Start)),
        Change::Settled { transaction, settlement, .. }
        | Change::Resolved { transaction, settlement, .. } => (transaction, settles(settlement)),
        Change::StillInDoubt { transaction, .. } => (transaction, Needs::Standing(State::InDoubt)),
        Change::Ticketed { transaction, .. } => (transaction, Needs::Legal(Move::Ticket)),
        Change::TicketClosed { transaction, .. } => (transaction, Needs::Standing(State::Ticketed)),
        Change::Withdrawn { transaction, .. } => (transaction, Needs::Legal(Move::Withdraw)),
        Change::DeadLettered { transaction, .. } => (transaction, Needs::Legal(Move::GiveUp)),
        Change::Redriven { transaction, .. } => (transaction, Needs::Legal(Move::Redrive)),
        Change::ActionRequired { transaction, .. } => {
            (transaction, Needs::Legal(Move::RequireAction))
        }
        Change::Superseded { transaction, .. } => (transaction, Needs::Legal(Move::Supersede)),
        Change::Started { .. }
        | Change::Accepted(_)
        | Change::TurnedAway(_)
        | Change::ProvisionalDecided { .. }
        | Change::ResultTold { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::IntakeStopped(_)
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. }
        | Change::Forwarded { .. }
        | Change::Retired { .. }
        | Change::ClockAccepted { .. }
        | Change::AuditNoted { .. }
        | Change::BlobStored(_)
        | Change::BlobsRemoved { .. }
        | Change::Totals(_)
        | Change::Carried(_)
        | Change::DeadlineCarried { .. } => return None,
    };
    Some((*transaction, needs))
}
