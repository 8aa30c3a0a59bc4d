//! What happened to one transaction, read from the journal.
//!
//! A history names no person, not even those who decided something: that is in the operators'
//! audit log.

use crate::domain::cell::words;
use crate::domain::ids::Seq;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Timestamp, Zone};
use crate::engine::change::{Accepted, Change, ResolvedBy, Sealed, Settlement};
use crate::engine::ports::{JournalReader, ReadError};
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;

words!(
    /// What happened to a transaction.
    Happened, "event", {
        /// It was accepted.
        Accepted = "accepted",
        /// An attempt began.
        AttemptStarted = "attempt_started",
        /// The core applied it.
        Applied = "applied",
        /// The core refused it.
        Refused = "refused",
        /// An attempt surely had no effect.
        Transient = "transient",
        /// An attempt may have had its effect.
        InDoubt = "in_doubt",
        /// It became a ticket.
        Ticketed = "ticketed",
        /// Its ticket was closed.
        TicketClosed = "ticket_closed",
        /// It was taken back.
        Withdrawn = "withdrawn",
        /// It was given up after sure failures.
        DeadLettered = "dead_lettered",
        /// It was put back.
        Redriven = "redriven",
        /// It needs its submitter.
        ActionRequired = "action_required",
        /// Another took its place.
        Superseded = "superseded",
        /// Its result was told to the person.
        ResultTold = "result_told",
    }
);

/// One thing that happened.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Event {
    /// When.
    at: String,
    /// What.
    #[schema(value_type = String)]
    event: Happened,
    /// The attempt, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Why, or the core's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What the journal says of one transaction.
pub(super) struct Told {
    pub(super) record: Arc<Accepted>,
    pub(super) history: Vec<Event>,
    pub(super) complete: bool,
    /// When the core's applying it was written down.
    pub(super) applied_at: Option<Timestamp>,
    pub(super) answer: Option<Sealed>,
    pub(super) business_status: Option<String>,
}

/// What happened to `seq` until `last`, reading at most `bound` records of it and the last one.
pub(super) fn history(
    journal: &dyn JournalReader,
    record: Arc<Accepted>,
    seq: Seq,
    last: Seq,
    bound: u64,
    zone: Zone,
) -> Result<Told, ReadError> {
    let end = Seq(last.0.min(seq.0.saturating_add(bound)));
    let complete = end == last;
    let at = record.at.rfc3339(zone);
    let first = Event { at, event: Happened::Accepted, attempt: None, reason: None };
    let mut told = Told {
        record,
        history: vec![first],
        complete,
        applied_at: None,
        answer: None,
        business_status: None,
    };
    if end > seq {
        journal.scan(seq.next(), &mut |place, change| {
            if place <= end {
                told.note(seq, change, zone);
            }
            if place < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        told.complete &= journal.damaged_in(seq, end).is_none();
    }
    if !complete {
        told.note(seq, journal.read(last)?, zone);
    }
    Ok(told)
}

impl Told {
    fn push(&mut self, at: Timestamp, zone: Zone, event: Happened, reason: Option<String>) {
        self.history.push(Event { at: at.rfc3339(zone), event, attempt: None, reason });
    }

    fn note(&mut self, seq: Seq, change: Change, zone: Zone) {
        if change.transaction() != Some(seq) {
            return;
        }
        match change {
            Change::AttemptStarted { attempt, at, .. } => {
                self.push(at, zone, Happened::AttemptStarted, None);
                self.number(attempt.0);
            }
            Change::Settled { attempt, settlement, at, .. } => {
                self.settled(settlement, at, zone);
                self.number(attempt.0);
            }
            Change::Resolved { settlement, by, at, .. } => {
                self.settled(settlement, at, zone);
                if by == ResolvedBy::Person
                    && let Some(event) = self.history.last_mut()
                {
                    event.reason.get_or_insert_with(|| "by_person".to_owned());
                }
            }
            Change::Ticketed { at, .. } => {
                self.push(at, zone, Happened::Ticketed, None);
            }
            Change::TicketClosed { how, at, .. } => {
                self.push(at, zone, Happened::TicketClosed, Some(how.to_string()));
            }
            Change::Withdrawn { at, .. } => {
                self.push(at, zone, Happened::Withdrawn, None);
            }
            Change::DeadLettered { reason, at, .. } => {
                self.push(at, zone, Happened::DeadLettered, Some(reason.to_string()));
            }
            Change::Redriven { at, .. } => {
                self.push(at, zone, Happened::Redriven, None);
            }
            Change::ActionRequired { why, at, .. } => {
                self.push(at, zone, Happened::ActionRequired, Some(why));
            }
            Change::Superseded { at, .. } => {
                self.push(at, zone, Happened::Superseded, None);
            }
            Change::ResultTold { how, at, .. } => {
                self.push(at, zone, Happened::ResultTold, Some(how));
            }
            other => {
                let untold = matches!(other, Change::StillInDoubt { .. });
                debug_assert!(untold, "a change of {seq} was not told");
            }
        }
    }

    /// Where it ended, as far as a complete history tells.
    pub(super) fn final_state(&self) -> Option<State> {
        let ends = |event: &Event| match event.event {
            Happened::Applied => Some(State::Applied),
            Happened::Refused => Some(State::Refused),
            Happened::Withdrawn => Some(State::Withdrawn),
            Happened::Superseded => Some(State::Superseded),
            Happened::TicketClosed => {
                let resettled = event.reason.as_deref() == Some(TicketState::Resettled.as_str());
                Some(if resettled { State::Superseded } else { State::Withdrawn })
            }
            Happened::Accepted
            | Happened::AttemptStarted
            | Happened::Transient
            | Happened::InDoubt
            | Happened::Ticketed
            | Happened::DeadLettered
            | Happened::Redriven
            | Happened::ActionRequired
            | Happened::ResultTold => None,
        };
        self.history.iter().rev().find_map(ends).filter(|_| self.complete)
    }

    fn number(&mut self, attempt: u32) {
        if let Some(event) = self.history.last_mut() {
            event.attempt = Some(attempt);
        }
    }

    fn settled(&mut self, settlement: Settlement, at: Timestamp, zone: Zone) {
        match settlement {
            Settlement::Applied { answer, business_status } => {
                self.push(at, zone, Happened::Applied, None);
                self.applied_at = Some(at);
                (self.answer, self.business_status) = (answer, business_status);
            }
            Settlement::Refused { code, answer, provisional } => {
                let code = if provisional { format!("{code} (provisional)") } else { code };
                self.push(at, zone, Happened::Refused, Some(code));
                self.answer = answer;
            }
            Settlement::Transient { reason, .. } => {
                self.push(at, zone, Happened::Transient, Some(reason.to_string()));
            }
            Settlement::InDoubt { reason, .. } => {
                self.push(at, zone, Happened::InDoubt, Some(reason.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AttemptNo;
    use crate::domain::outcome::{DoubtReason, TransientReason};

    struct Listed(Vec<Change>);

    impl JournalReader for Listed {
        fn read(&self, seq: Seq) -> Result<Change, ReadError> {
            let place = usize::try_from(seq.0).unwrap() - 1;
            self.0.get(place).cloned().ok_or(ReadError::Missing(seq))
        }
        fn scan(
            &self,
            from: Seq,
            visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
        ) -> Result<(), ReadError> {
            for seq in from.0..=self.last().0 {
                if visit(Seq(seq), self.read(Seq(seq))?).is_break() {
                    break;
                }
            }
            Ok(())
        }
        fn last(&self) -> Seq {
            Seq(self.0.len() as u64)
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn accepted() -> Arc<Accepted> {
        Arc::new(Accepted::sample())
    }

    fn settled(seq: u64, attempt: u32, settlement: Settlement) -> Change {
        let (transaction, attempt) = (Seq(seq), AttemptNo(attempt));
        Change::Settled { transaction, attempt, settlement, at: at(2) }
    }

    fn started(seq: u64, attempt: u32) -> Change {
        let (transaction, attempt) = (Seq(seq), AttemptNo(attempt));
        Change::AttemptStarted { transaction, attempt, at: at(1) }
    }

    fn life() -> Listed {
        let applied = || Settlement::Applied { answer: None, business_status: Some("ok".into()) };
        let busy = Settlement::Transient { reason: TransientReason::Busy, not_before: at(3) };
        let doubt = Settlement::InDoubt { reason: DoubtReason::Cut, ask_at: at(4) };
        Listed(vec![
            Change::Accepted(accepted()),
            Change::Accepted(accepted()),
            started(1, 1),
            settled(1, 1, busy),
            settled(2, 1, applied()),
            started(1, 2),
            settled(1, 2, doubt),
            Change::Resolved {
                transaction: Seq(1),
                settlement: applied(),
                by: ResolvedBy::Person,
                person: Some("Li Wei".to_owned()),
                reason: None,
                at: at(9),
            },
        ])
    }

    fn told(bound: u64) -> Told {
        let journal = life();
        history(&journal, accepted(), Seq(1), journal.last(), bound, chrono_tz::UTC).unwrap()
    }

    #[test]
    fn a_history_tells_what_happened_to_its_own_transaction_in_order() {
        let told = told(100);
        let events: Vec<(&str, Option<u32>, Option<&str>)> = told
            .history
            .iter()
            .map(|e| (e.event.as_str(), e.attempt, e.reason.as_deref()))
            .collect();
        let expected = [
            ("accepted", None, None),
            ("attempt_started", Some(1), None),
            ("transient", Some(1), Some("busy")),
            ("attempt_started", Some(2), None),
            ("in_doubt", Some(2), Some("cut")),
            ("applied", None, Some("by_person")),
        ];
        assert_eq!(events, expected);
        assert!(told.complete);
        assert_eq!(told.business_status.as_deref(), Some("ok"));
        assert_eq!(told.final_state(), Some(State::Applied));
    }

    #[test]
    fn a_history_over_too_much_of_the_journal_is_cut_but_has_its_end() {
        let told = told(2);
        let events: Vec<&str> = told.history.iter().map(|e| e.event.as_str()).collect();
        assert_eq!(events, ["accepted", "attempt_started", "applied"]);
        assert!(!told.complete);
        assert_eq!(told.final_state(), None, "what was cut proves nothing");
    }
}
