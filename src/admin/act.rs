//! The one way in which an operator's act takes place.
//!
//! ```text
//!  audit "begun" durable ─► engine orders, commits, answers ─► audit "done" | "refused" | "unknown"
//! ```
//!
//! It runs in a task of its own, so that an operator who hangs up leaves no act without its
//! second record. A first record without a second one means that the daemon ended in between:
//! `audit verify` lists them.

use super::State;
use super::audit::{AuditError, Entry, Outcome};
use super::ended;
use super::guard::Caller;
use super::proposals::Proposed;
use super::refusal::Refusal;
use super::text::Reason;
use super::types::OperatorCode;
use crate::domain::numbers::Numbers;
use crate::engine::change::AuditHead;
use crate::engine::event::{Command, Done, Event, Fault, Order, Reply};
use crate::web::problem::{Code, Problem};
use serde_json::Value;
use std::sync::Arc;

/// An act that is about to be tried.
pub(super) struct Act {
    /// What is done, as `noun.verb`.
    pub(super) action: &'static str,
    /// What it is done to.
    pub(super) object: String,
    /// The object as it is, in short.
    pub(super) before: Value,
    /// What is ordered, in short.
    pub(super) after: Value,
    /// Why.
    pub(super) reason: Reason,
    /// The order, or what stood against it before it was given: it is written down all the same.
    pub(super) command: Result<Command, Refusal>,
}

/// Writes the act down, gives the order, writes down what came of it. Answers what the engine
/// answered and the head of the audit log.
pub(super) async fn carry_out(
    state: &Arc<State>,
    caller: &Caller,
    act: Act,
) -> Result<(Done, AuditHead), Refusal> {
    let (state, caller) = (Arc::clone(state), caller.clone());
    let tracker = state.acts.clone();
    let task = tracker.spawn(async move { carry_out_here(&state, &caller, act).await });
    match task.await {
        Ok(result) => result,
        Err(_) => {
            Err(Problem::new(Code::Internal, "the act met a defect; see the audit log").into())
        }
    }
}

async fn carry_out_here(
    state: &Arc<State>,
    caller: &Caller,
    act: Act,
) -> Result<(Done, AuditHead), Refusal> {
    let begin = begin(state, caller, act.action, act.object, &act.reason);
    let mut entry = Entry { before: act.before, after: act.after, ..begin };
    let begun = append(state, entry.clone()).await.map_err(|error| {
        tracing::error!(%error, action = act.action, "an act was not begun");
        Refusal::ours(OperatorCode::AuditUnavailable, "nothing was begun")
    })?;
    let result = match act.command {
        Ok(command) => {
            let kept = command.clone();
            let about = ended::subject(&command);
            let (by, reason) = (caller.name.clone(), entry.reason.clone());
            let order = Order { by: by.clone(), reason: reason.clone(), command };
            let reply = state.engine.order(order).await;
            if let Reply::Invalid(Fault::TwoPersons(deed, seen)) = reply {
                let (action, object, after) = (act.action, &entry.object, &entry.after);
                let key = &caller.key_id;
                let proposed = Proposed { deed, seen, key, action, object, after };
                let (order, now) = (Order { by, reason, command: kept }, state.clock.now().wall);
                Err(state.proposals.keep(begun.records, &proposed, order, now))
            } else {
                ended::or_wrong_state(state, about, done(reply)).await
            }
        }
        Err(refusal) => Err(refusal),
    };

    entry.at = state.clock.now().wall;
    entry.of = Some(begun.records);
    entry.before = Value::Null;
    match &result {
        Ok(done) => (entry.outcome, entry.after) = (Outcome::Done, shortly(&state.numbers, done)),
        Err(refusal) => {
            let certain = refusal.is_certain();
            entry.outcome = match certain {
                true if refusal.proposal() == Some(begun.records) => Outcome::Proposed,
                true => Outcome::Refused,
                false => Outcome::Unknown,
            };
            entry.code = Some(refusal.code().to_owned());
            entry.after = Value::Null;
        }
    }
    let outcome = entry.outcome;
    let head = match append(state, entry).await {
        Ok(head) => head,
        // What took effect is not taken back by a full disk; the missing second record shows.
        Err(error) => {
            tracing::error!(%error, action = act.action, "the end of an act was not written");
            begun
        }
    };
    tracing::info!(
        action = act.action,
        outcome = outcome.as_str(),
        request_id = caller.request_id,
        audit_record = head.records,
        "an operator's act"
    );
    result.map(|done| (done, head))
}

/// Writes down an act that concerns nothing but this interface, and needs no order.
pub(super) async fn note(
    state: &Arc<State>,
    caller: &Caller,
    action: &str,
    object: String,
    before: Value,
    reason: Reason,
) -> Result<AuditHead, Refusal> {
    let entry = Entry { outcome: Outcome::Done, ..begin(state, caller, action, object, &reason) };
    append(state, Entry { before, ..entry }).await.map_err(|error| {
        tracing::error!(%error, action, "an act was not written down");
        Refusal::ours(OperatorCode::AuditUnavailable, "it was done, and is not written down")
    })
}

fn begin(state: &State, caller: &Caller, action: &str, object: String, reason: &Reason) -> Entry {
    Entry {
        at: state.clock.now().wall,
        actor: caller.name.clone(),
        key: caller.key_id.clone(),
        scopes: caller.scopes.iter().map(ToString::to_string).collect(),
        source: caller.source.clone(),
        action: action.to_owned(),
        object,
        reason: reason.as_str().to_owned(),
        before: Value::Null,
        after: Value::Null,
        request_id: caller.request_id.clone(),
        outcome: Outcome::Begun,
        code: None,
        of: None,
    }
}

async fn append(state: &Arc<State>, entry: Entry) -> Result<AuditHead, AuditError> {
    let audit = Arc::clone(&state.audit);
    let appended = match tokio::task::spawn_blocking(move || audit.append(&entry)).await {
        Ok(appended) => appended,
        // The write panicked or the runtime is going down: nobody knows whether it was written.
        Err(_) => Err(AuditError::Poisoned),
    };
    if let Ok(head) = &appended {
        // The journal notes what is durable, so that nobody can cut it off unnoticed.
        state.engine.tell(Event::AuditNoted(head.clone())).await;
    }
    appended
}

fn done(reply: Reply) -> Result<Done, Refusal> {
    match reply {
        Reply::Done(done) => Ok(done),
        Reply::Invalid(fault) => Err(fault.into()),
        Reply::Unavailable => Err(Refusal::unavailable()),
        Reply::Accepted { .. }
        | Reply::KeyReused { .. }
        | Reply::TurnedAway { .. }
        | Reply::Deadline { .. } => Err(unexpected()),
    }
}

/// The engine answered an order with something else than it promises.
pub(super) fn unexpected() -> Refusal {
    Problem::new(Code::Internal, "the engine gave an answer that does not belong to the order")
        .into()
}

/// What came of an order, in short: what it is about by the names that people know.
pub(super) fn shortly(numbers: &Numbers, done: &Done) -> Value {
    match done {
        Done::Window(window) => super::windows::shortly(window),
        Done::Cases(cases) => {
            let registered = cases.iter().filter(|case| case.is_ok()).count();
            serde_json::json!({ "registered": registered })
        }
        Done::Dates(told) => serde_json::json!({ "told": told }),
        Done::Blob(new) => serde_json::json!({ "new": new }),
        Done::Gates(gates) => serde_json::json!({ "cells": gates.len() }),
        Done::Transaction(seq, state) => {
            serde_json::json!({ "transaction": numbers.transaction(*seq), "state": state.as_str() })
        }
        Done::Ticket(seq, state) => {
            serde_json::json!({ "ticket": numbers.ticket(*seq), "state": state.as_str() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Seq;
    use crate::domain::state::State as Standing;
    use crate::domain::ticket::TicketState;

    #[test]
    fn what_came_of_an_order_is_told_by_the_number_that_people_know() {
        let numbers = Numbers::default();
        let of = |done| shortly(&numbers, &done);
        let transaction = of(Done::Transaction(Seq(56), Standing::Waiting));
        let id = numbers.transaction(Seq(56)).to_string();
        assert!(id.starts_with("txn_"), "{id}");
        assert_eq!(transaction, serde_json::json!({ "transaction": id, "state": "waiting" }));
        let ticket = of(Done::Ticket(Seq(56), TicketState::Open));
        assert_eq!(ticket["ticket"], numbers.ticket(Seq(56)).to_string());
    }
}
