//! What happened to one transaction, told from the journal's changes.
//!
//! [`by_scan`] finds the changes without an index: it reads the journal from the acceptance on.
//! Nothing private is told: sealed parts stay sealed.

use super::refusal::Refusal;
use super::types::{Step, TransactionOut};
use super::{History, State as Service};
use crate::domain::ids::Seq;
use crate::domain::numbers::Numbers;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::engine::change::{Accepted, Change, ResolvedBy, Settlement};
use crate::engine::ports::{JournalReader, ReadError};
use crate::web::problem::{Code, Problem};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Finds a transaction's changes by reading the journal from its acceptance to the end of the
/// journal, or to the change that made it final.
#[must_use]
pub fn by_scan(journal: Arc<dyn JournalReader>) -> History {
    Arc::new(move |transaction, is_only_accepted| {
        let mut found = Vec::new();
        match journal.read(transaction) {
            // Where it was forwarded, the place that it had may have left.
            Ok(accepted @ Change::Accepted(_)) => found.push((transaction, accepted)),
            Ok(_) | Err(ReadError::Missing(_) | ReadError::Retired(_)) => return Ok(found),
            Err(error) => return Err(error),
        }
        if is_only_accepted {
            return Ok(found);
        }
        journal.scan(transaction.next(), &mut |seq, change| {
            if change.transaction() != Some(transaction) {
                return ControlFlow::Continue(());
            }
            let last = is_last(&change, &found);
            found.push((seq, change));
            if last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    })
}

/// Why a history cannot be told.
pub(super) enum Unread {
    /// A record is damaged; where.
    Damaged(String),
    /// The disk did not answer, or a defect was met: the log says more.
    Failed,
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Damaged(place) => Problem::new(Code::RecordDamaged, place),
            Unread::Failed => {
                Problem::new(Code::Internal, "the journal cannot be read here; see the log")
            }
        }
        .into()
    }
}

/// Every change about `transaction`, as [`History`] finds them; `is_only_accepted` where the
/// engine knows that nothing has followed its acceptance.
pub(super) async fn of(
    state: &Service,
    transaction: Seq,
    is_only_accepted: bool,
) -> Result<Vec<(Seq, Change)>, Unread> {
    let find = Arc::clone(&state.history);
    match tokio::task::spawn_blocking(move || find(transaction, is_only_accepted)).await {
        Ok(Ok(changes)) => Ok(changes),
        Ok(Err(error @ ReadError::Damaged { .. })) => Err(Unread::Damaged(error.to_string())),
        Ok(Err(error)) => {
            let id = state.numbers.transaction(transaction);
            tracing::error!(%error, transaction_id = %id, "its history cannot be read");
            Err(Unread::Failed)
        }
        // The read panicked, which is logged, or the runtime is going down.
        Err(_) => Err(Unread::Failed),
    }
}

/// Whether nothing can follow `change`. What was pre-accepted is told its result afterwards.
fn is_last(change: &Change, before: &[(Seq, Change)]) -> bool {
    let (Change::Settled { settlement, .. } | Change::Resolved { settlement, .. }) = change else {
        return false;
    };
    let ends = match settlement {
        Settlement::Applied { .. } => true,
        Settlement::Refused { provisional, .. } => !provisional,
        Settlement::Transient { .. } | Settlement::InDoubt { .. } => false,
    };
    ends && matches!(before.first(), Some((_, Change::Accepted(a))) if !a.is_pre_accepted())
}

/// What `changes` tell about `transaction`: how it stands and each step. `None` where they do
/// not begin with its acceptance. A provisional refusal counts as a refusal here; for what is
/// not final the engine knows better.
#[must_use]
pub fn fold(
    numbers: &Numbers,
    transaction: Seq,
    changes: &[(Seq, Change)],
) -> Option<(TransactionOut, Vec<Step>)> {
    let ((first, Change::Accepted(accepted)), rest) = changes.split_first()? else { return None };
    if *first != transaction {
        return None;
    }
    let mut out = begin(numbers, transaction, accepted);
    let disposition = accepted.told.disposition.to_string();
    let mut steps =
        vec![step(*first, Some(accepted.at), "accepted", [("disposition", disposition)])];
    for (seq, change) in rest {
        if let Some(told) = tell(numbers, *seq, change, &mut out) {
            steps.push(told);
        }
    }
    Some((out, steps))
}

fn begin(numbers: &Numbers, transaction: Seq, accepted: &Accepted) -> TransactionOut {
    TransactionOut {
        id: numbers.transaction(transaction),
        institution: accepted.institution.clone(),
        cell: accepted.cell.as_ref().clone(),
        state: State::Waiting,
        amount: accepted.amount,
        accepted_at: accepted.at,
        attempts: 0,
        failures: 0,
        not_before: None,
        gate: None,
        behind: None,
        provisional: None,
        given_up_for: None,
        result_told: accepted.is_pre_accepted().then_some(false),
        ended_at: None,
    }
}

fn step<const N: usize>(
    record: Seq,
    at: Option<Timestamp>,
    what: &str,
    details: [(&str, String); N],
) -> Step {
    let details: BTreeMap<String, String> =
        details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Step { record: record.0, at, what: what.to_owned(), details }
}

fn resolver(by: ResolvedBy, person: Option<&str>) -> String {
    match by {
        ResolvedBy::Asking => "asking".to_owned(),
        ResolvedBy::Person => person.unwrap_or_default().to_owned(),
    }
}

fn tell(numbers: &Numbers, seq: Seq, change: &Change, out: &mut TransactionOut) -> Option<Step> {
    let id = |seq: &Seq| numbers.transaction(*seq).to_string();
    Some(match change {
        Change::AttemptStarted { attempt, at, .. } => {
            out.state = State::InFlight;
            out.attempts = attempt.0;
            step(seq, Some(*at), "attempt_started", [("attempt", attempt.0.to_string())])
        }
        Change::Settled { attempt, settlement, at, .. } => {
            let (word, mut details) = settle(settlement, *at, out);
            details.insert("attempt".to_owned(), attempt.0.to_string());
            Step { record: seq.0, at: Some(*at), what: word.to_owned(), details }
        }
        Change::Resolved { settlement, by, person, reason, at, .. } => {
            let (word, mut details) = settle(settlement, *at, out);
            details.insert("by".to_owned(), resolver(*by, person.as_deref()));
            details.extend(reason.clone().map(|reason| ("reason".to_owned(), reason)));
            Step { record: seq.0, at: Some(*at), what: format!("resolved_{word}"), details }
        }
        Change::StillInDoubt { ask_at, .. } => {
            step(seq, None, "still_in_doubt", [("ask_at", ask_at.to_string())])
        }
        Change::Ticketed { at, .. } => {
            out.state = State::Ticketed;
            step(seq, Some(*at), "ticketed", [])
        }
        Change::TicketClosed { how, by_transaction, person, at, .. } => {
            let by_another = by_transaction.is_some();
            end(out, if by_another { State::Superseded } else { State::Withdrawn }, *at);
            let by = by_transaction.as_ref().map(id).or_else(|| person.clone());
            let details = [("how", how.to_string()), ("by", by.unwrap_or_default())];
            step(seq, Some(*at), "ticket_closed", details)
        }
        Change::Withdrawn { by, reason, at, .. } => {
            end(out, State::Withdrawn, *at);
            step(seq, Some(*at), "withdrawn", [("by", by.clone()), ("reason", reason.clone())])
        }
        Change::DeadLettered { reason, at, .. } => {
            out.state = State::DeadLettered;
            step(seq, Some(*at), "dead_lettered", [("reason", reason.to_string())])
        }
        Change::Redriven { by, reason, at, .. } => {
            out.state = State::Waiting;
            step(seq, Some(*at), "redriven", [("by", by.clone()), ("reason", reason.clone())])
        }
        Change::ActionRequired { why, at, .. } => {
            out.state = State::ActionRequired;
            step(seq, Some(*at), "action_required", [("why", why.clone())])
        }
        Change::Superseded { by_transaction, at, .. } => {
            end(out, State::Superseded, *at);
            step(seq, Some(*at), "superseded", [("by", id(by_transaction))])
        }
        Change::ResultTold { how, by, at, .. } => {
            out.result_told = Some(true);
            step(seq, Some(*at), "result_told", [("how", how.clone()), ("by", by.clone())])
        }
        Change::Started { .. }
        | Change::Accepted(_)
        | Change::TurnedAway(_)
        | Change::ProvisionalDecided { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::IntakeStopped(_)
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. }
        | Change::Totals(_)
        | Change::Forwarded { .. }
        | Change::Retired { .. }
        | Change::ClockAccepted { .. }
        | Change::AuditNoted { .. }
        | Change::BlobStored(_)
        | Change::BlobsRemoved { .. }
        | Change::Carried(_)
        | Change::DeadlineCarried { .. } => return None,
    })
}

fn end(out: &mut TransactionOut, state: State, at: Timestamp) {
    (out.state, out.ended_at) = (state, Some(at));
}

fn settle(
    settlement: &Settlement,
    at: Timestamp,
    out: &mut TransactionOut,
) -> (&'static str, BTreeMap<String, String>) {
    let mut details = BTreeMap::new();
    let mut note = |name: &str, value: String| drop(details.insert(name.to_owned(), value));
    let (state, word) = match settlement {
        Settlement::Applied { business_status, .. } => {
            if let Some(status) = business_status {
                note("business_status", status.clone());
            }
            (State::Applied, "applied")
        }
        Settlement::Refused { code, provisional, .. } => {
            note("code", code.clone());
            if *provisional {
                note("provisional", "true".to_owned());
            }
            (State::Refused, "refused")
        }
        Settlement::Transient { reason, not_before } => {
            note("reason", reason.to_string());
            note("not_before", not_before.to_string());
            (State::Waiting, "transient")
        }
        Settlement::InDoubt { reason, ask_at } => {
            note("reason", reason.to_string());
            note("ask_at", ask_at.to_string());
            (State::InDoubt, "in_doubt")
        }
    };
    let counts = !matches!(settlement, Settlement::Refused { provisional: true, .. });
    out.state = state;
    out.ended_at = (state.is_final() && counts).then_some(at);
    (word, details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AttemptNo;
    use crate::domain::outcome::{DoubtReason, TransientReason};
    use crate::domain::policy::Disposition;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn accepted(disposition: Disposition) -> Change {
        let mut accepted = Accepted::sample();
        accepted.told.disposition = disposition;
        Change::Accepted(Arc::new(accepted))
    }

    fn settled(attempt: u32, settlement: Settlement) -> Change {
        let attempt = AttemptNo(attempt);
        Change::Settled { transaction: Seq(5), attempt, settlement, at: at(3) }
    }

    #[test]
    fn the_story_of_a_transaction_ends_where_the_engine_ended_it() {
        let start =
            |n| Change::AttemptStarted { transaction: Seq(5), attempt: AttemptNo(n), at: at(2) };
        let reason = TransientReason::Busy;
        let transient = Settlement::Transient { reason, not_before: at(9) };
        let doubt = Settlement::InDoubt { reason: DoubtReason::Cut, ask_at: at(9) };
        let applied = Settlement::Applied { answer: None, business_status: None };
        let resolved = Change::Resolved {
            transaction: Seq(5),
            settlement: applied,
            by: ResolvedBy::Person,
            person: Some("Li Na".to_owned()),
            reason: Some("told by the centre".to_owned()),
            at: at(4),
        };
        let told = Change::ResultTold {
            transaction: Seq(5),
            how: "telephone".to_owned(),
            by: "Li Na".to_owned(),
            at: at(5),
        };
        let changes: Vec<(Seq, Change)> = [
            accepted(Disposition::PreAccept),
            start(1),
            settled(1, transient),
            start(2),
            settled(2, doubt),
            resolved.clone(),
            told,
        ]
        .into_iter()
        .zip(5..)
        .map(|(change, seq)| (Seq(seq), change))
        .collect();
        let states: Vec<State> = (1..=changes.len())
            .filter_map(|n| fold(&Numbers::default(), Seq(5), &changes[..n]))
            .map(|(out, _)| out.state)
            .collect();
        use State::{Applied, InDoubt, InFlight, Waiting};
        assert_eq!(states, [Waiting, InFlight, Waiting, InFlight, InDoubt, Applied, Applied]);
        let (out, steps) = fold(&Numbers::default(), Seq(5), &changes).unwrap();
        assert_eq!((out.attempts, out.result_told), (2, Some(true)));
        assert_eq!(steps[5].what, "resolved_applied");
        assert_eq!(steps[5].details["by"], "Li Na");
        assert!(fold(&Numbers::default(), Seq(6), &changes).is_none());
        assert!(fold(&Numbers::default(), Seq(5), &[]).is_none());

        assert!(!is_last(&resolved, &changes), "its result must still be told");
        let passed = [(Seq(5), accepted(Disposition::Pass))];
        assert!(is_last(&resolved, &passed));
        let refused = |provisional| {
            settled(1, Settlement::Refused { code: "E1".to_owned(), answer: None, provisional })
        };
        assert!(is_last(&refused(false), &passed));
        assert!(!is_last(&refused(true), &passed), "it may be taken back");
    }
}
