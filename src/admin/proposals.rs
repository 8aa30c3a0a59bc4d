//! `/admin/v1/proposals`: orders that one person alone may not give, and the second person's word.
//!
//! ```text
//!  one person orders ─► engine: two persons ─► kept here ─► another approves ─► engine ─► done
//!                                                        └► lapses, is rejected, or a restart: nothing
//! ```
//!
//! A proposal is a handshake of two persons at about the same time and no record: both of its
//! halves stand in the audit log, under whose number of the first half it goes here. It is kept in
//! memory, so that nothing that was proposed before a restart takes effect after it.

use super::State;
use super::act::{Act, carry_out, shortly};
use super::guard::Caller;
use super::refusal::Refusal;
use super::text::{self, Reason};
use super::types::{Because, OperatorCode, ProposalOut, ProposalSettled};
use crate::domain::consent::Deed;
use crate::domain::plain::length;
use crate::domain::time::Timestamp;
use crate::engine::event::{Command, Order, Sought};
use crate::web::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Shared = Extract<Arc<State>>;

/// Proposals that may wait at a time.
const PROPOSALS_MAX: usize = 64;

/// The proposals that wait.
pub struct Proposals {
    wait: Duration,
    waiting: Mutex<BTreeMap<u64, Proposal>>,
}

struct Proposal {
    out: ProposalOut,
    order: Order,
    /// How that stood which it is about.
    seen: u64,
    /// The key it was proposed with.
    key: String,
}

impl Proposals {
    /// None yet. Each is to wait for `wait` and no longer.
    #[must_use]
    pub fn new(wait: Duration) -> Self {
        Self { wait, waiting: Mutex::default() }
    }

    /// The proposals that wait at `now`, the oldest first.
    pub(super) fn list(&self, now: Timestamp) -> Vec<ProposalOut> {
        self.waiting(now).values().map(|one| one.out.clone()).collect()
    }

    /// Keeps an order that needs a second person, once however often it is given. Answers what the
    /// first one is told: never that it was done.
    pub(super) fn keep(
        &self,
        of: u64,
        act: &Proposed<'_>,
        order: Order,
        now: Timestamp,
    ) -> Refusal {
        let mut waiting = self.waiting(now);
        let deed = act.deed;
        let same = |one: &&Proposal| one.seen == act.seen && one.order.command == order.command;
        if let Some(Proposal { out, .. }) = waiting.values().find(same) {
            let (id, by) = (out.id, &out.by);
            let who = if *by == order.by { "you have" } else { "another person has" };
            let why = format!("{deed} needs two persons: {who} proposed this as proposal {id}");
            return Refusal::proposed(id, why);
        }
        if waiting.len() >= PROPOSALS_MAX {
            let why =
                format!("{deed} needs two persons, and {PROPOSALS_MAX} proposals wait already");
            return Refusal::ours(OperatorCode::TwoPersons, why);
        }
        let lapses_at = now.after(self.wait);
        let out = ProposalOut {
            id: of,
            deed,
            action: act.action.to_owned(),
            object: act.object.to_owned(),
            order: act.after.clone(),
            by: order.by.clone(),
            reason: order.reason.clone(),
            proposed_at: now,
            lapses_at,
        };
        let (seen, key) = (act.seen, act.key.to_owned());
        waiting.insert(of, Proposal { out, order, seen, key });
        let wait = length(self.wait);
        let why =
            format!("{deed} needs two persons: it waits as proposal {of} and lapses in {wait}");
        Refusal::proposed(of, why)
    }

    /// Takes a proposal out: it can be settled once.
    fn take(&self, id: u64, now: Timestamp) -> Option<Proposal> {
        self.waiting(now).remove(&id)
    }

    fn waiting(&self, now: Timestamp) -> MutexGuard<'_, BTreeMap<u64, Proposal>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, one| now < one.out.lapses_at);
        waiting
    }
}

/// An act that one person alone may not do.
pub(super) struct Proposed<'a> {
    pub(super) deed: Deed,
    pub(super) seen: u64,
    pub(super) key: &'a str,
    pub(super) action: &'a str,
    pub(super) object: &'a str,
    pub(super) after: &'a Value,
}

pub(super) async fn list(Extract(state): Shared) -> Json<Vec<ProposalOut>> {
    Json(state.proposals.list(state.clock.now().wall))
}

pub(super) async fn approve(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ProposalSettled>, Refusal> {
    let (_, reason): (Because, _) = text::read(&caller, body, state.body_limits).await?;
    let now = state.clock.now().wall;
    let id = known(&state, &id, now)?;
    let waiting = state.proposals.list(now).into_iter().find(|one| one.id == id);
    if let Some(own) = waiting.filter(|one| one.by == caller.name) {
        let why = "you proposed it: another person must agree to it";
        let refused = Refusal::ours(OperatorCode::TwoPersons, why);
        let (done, audit_head) =
            carry_out(&state, &caller, approval(own, reason, Err(refused))).await?;
        return Ok(Json(ProposalSettled {
            id,
            result: shortly(&state.numbers, &done),
            audit_head,
        }));
    }
    let taken = state.proposals.take(id, now);
    let taken = taken.ok_or_else(|| Problem::not_found(Sought::Proposal))?;
    let Proposal { out, order, seen, key } = taken;
    // What a stolen key has proposed goes with it.
    let command = match state.keys.holder(&key, now) {
        Some(_) => Ok(Command::Agreed { to: Box::new(order), seen }),
        None => {
            let why = "the key it was proposed with is not good any more: have it proposed again";
            Err(Refusal::ours(OperatorCode::TwoPersons, why))
        }
    };
    let (done, audit_head) = carry_out(&state, &caller, approval(out, reason, command)).await?;
    Ok(Json(ProposalSettled { id, result: shortly(&state.numbers, &done), audit_head }))
}

fn approval(of: ProposalOut, reason: Reason, command: Result<Command, Refusal>) -> Act {
    Act {
        action: "proposal.approve",
        object: format!("proposal {}: {}", of.id, of.object),
        before: json!({ "proposed_by": of.by, "reason": of.reason, "action": of.action }),
        after: of.order,
        reason,
        command,
    }
}

pub(super) async fn reject(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<ProposalSettled>, Refusal> {
    let (_, reason): (Because, _) = text::read(&caller, body, state.body_limits).await?;
    let now = state.clock.now().wall;
    let id = known(&state, &id, now)?;
    let taken = state.proposals.take(id, now);
    let Proposal { out, .. } = taken.ok_or_else(|| Problem::not_found(Sought::Proposal))?;
    let object = format!("proposal {id}: {}", out.object);
    let before = json!({ "proposed_by": out.by, "reason": out.reason, "action": out.action });
    let audit_head = super::act::note(&state, &caller, "proposal.reject", object, before, reason);
    Ok(Json(ProposalSettled { id, result: Value::Null, audit_head: audit_head.await? }))
}

fn known(state: &State, text: &str, now: Timestamp) -> Result<u64, Refusal> {
    let id = text.parse().ok();
    let id = id.filter(|id| state.proposals.list(now).iter().any(|one| one.id == *id));
    id.ok_or_else(|| Problem::not_found(Sought::Proposal).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cell::Selector;
    use crate::domain::ids::Seq;
    use crate::domain::state::State as Standing;

    #[test]
    fn a_proposal_waits_for_so_long_and_is_taken_once() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let proposals = Proposals::new(Duration::from_secs(3600));
        let order = || Order {
            by: "Li Na".to_owned(),
            reason: "proved".to_owned(),
            command: Command::OpenGate { cells: Selector::default() },
        };
        let keep = |number, now: &str| {
            let (deed, after) = (Deed::OpenEarly, Value::Null);
            let act = Proposed {
                deed,
                seen: number,
                key: "1",
                action: "gate.open",
                object: "cells {}",
                after: &after,
            };
            proposals.keep(number, &act, order(), at(now)).proposal()
        };
        assert_eq!(keep(1, "2022-08-13T10:00:00Z"), Some(1));
        assert_eq!(keep(3, "2022-08-13T10:30:00Z"), Some(3));
        assert_eq!(proposals.list(at("2022-08-13T10:59:59Z")).len(), 2);
        assert!(proposals.take(1, at("2022-08-13T11:00:00Z")).is_none(), "it has lapsed");
        assert!(proposals.take(3, at("2022-08-13T11:00:00Z")).is_some());
        assert!(proposals.take(3, at("2022-08-13T11:00:00Z")).is_none(), "it was taken");
        let kept = (0..65).filter_map(|number| keep(number, "2022-08-13T12:00:00Z"));
        assert_eq!(kept.count(), PROPOSALS_MAX, "the others were told that nothing was done");
    }

    #[test]
    fn the_same_order_is_one_proposal_and_another_about_the_same_is_another() {
        let now = Timestamp::default();
        let proposals = Proposals::new(Duration::from_secs(3600));
        let keep = |number, verdict| {
            let act = Proposed {
                deed: Deed::ResolveDoubt,
                seen: 1,
                key: "1",
                action: "in_doubt.resolve",
                object: "transaction 7",
                after: &Value::Null,
            };
            let command = Command::ResolveDoubt { transaction: Seq(7), verdict };
            let order = Order { by: "Li Na".to_owned(), reason: "asked".to_owned(), command };
            proposals.keep(number, &act, order, now).proposal()
        };
        assert_eq!(keep(1, Standing::Applied), Some(1));
        assert_eq!(keep(2, Standing::Applied), Some(1), "as it was given before");
        assert_eq!(keep(3, Standing::Refused), Some(3), "whatever is shown of it");
    }
}
