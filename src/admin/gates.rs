//! `/admin/v1/gates`: which cells may start effects, and an operator's word against it.
//!
//! A closing always has an end. It is answered only when every send that was begun before has
//! ended or is in doubt: the answer may take as long as the slowest call to the core.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::look;
use super::refusal::Refusal;
use super::text::{self, Reason};
use super::types::{Because, CellGate, ClockOut, CloseGates, ForCells, GatesChanged, GatesOut};
use super::windows::named;
use crate::domain::cell::Selector;
use crate::domain::time::Timestamp;
use crate::engine::event::{Command, Done};
use axum::body::Body;
use axum::extract::State as Extract;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

pub(super) async fn list(Extract(state): Shared) -> Result<Json<GatesOut>, Refusal> {
    let out = look::at(&state, |machine, now| GatesOut {
        gates: machine.gates(now.wall).into_iter().map(look::gate_out).collect(),
        overrides: machine.overrides().to_vec(),
        clock: machine.clock_doubt().map(ClockOut::from),
    })
    .await?;
    Ok(Json(out))
}

pub(super) async fn close(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<GatesChanged>, Refusal> {
    let (cells, until, reason) = with_end(&state, &caller, body).await?;
    let after = json!({ "closed_until": until });
    let command = Command::CloseGate { cells: cells.clone(), until };
    order(&state, &caller, "gate.close", &cells, after, reason, command).await
}

pub(super) async fn extend(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<GatesChanged>, Refusal> {
    let (cells, until, reason) = with_end(&state, &caller, body).await?;
    let after = json!({ "closed_until": until });
    let command = Command::ExtendGate { cells: cells.clone(), until };
    order(&state, &caller, "gate.extend", &cells, after, reason, command).await
}

pub(super) async fn open(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<GatesChanged>, Refusal> {
    let (body, reason): (ForCells, _) = text::read(&caller, body, state.body_limits).await?;
    let cells = named(body.cells, body.all)?;
    let after = json!({ "closed_until": null });
    let command = Command::OpenGate { cells: cells.clone() };
    order(&state, &caller, "gate.open", &cells, after, reason, command).await
}

/// Believes the clock as it is. It concerns every cell: each may have been kept for its sake.
pub(super) async fn trust_clock(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<GatesChanged>, Refusal> {
    let (_, reason): (Because, _) = text::read(&caller, body, state.body_limits).await?;
    let shows = state.clock.doubt().map_or_else(|| state.clock.now().wall, |doubt| doubt.shows);
    let after = json!({ "clock": shows });
    let (cells, command) = (Selector::default(), Command::TrustClock);
    order(&state, &caller, "gate.trust_clock", &cells, after, reason, command).await
}

async fn with_end(
    state: &State,
    caller: &Caller,
    body: Body,
) -> Result<(Selector, Timestamp, Reason), Refusal> {
    let (body, reason): (CloseGates, _) = text::read(caller, body, state.body_limits).await?;
    let cells = named(body.cells, body.all)?;
    match body.until {
        Some(until) if state.clock.now().wall < until => Ok((cells, until, reason)),
        Some(_) => Err(Refusal::field("/until", "expected an instant to come")),
        None => Err(Refusal::field("/until", "a closing needs an end: say until when")),
    }
}

async fn order(
    state: &Arc<State>,
    caller: &Caller,
    action: &'static str,
    cells: &Selector,
    after: Value,
    reason: Reason,
    command: Command,
) -> Result<Json<GatesChanged>, Refusal> {
    let selector = serde_json::to_string(cells).unwrap_or_default();
    let object = format!("cells {selector}");
    let act = Act { action, object, before: Value::Null, after, reason, command: Ok(command) };
    let (done, audit_head) = carry_out(state, caller, act).await?;
    let Done::Gates(gates) = done else { return Err(unexpected()) };
    let mut states = BTreeMap::new();
    for (_, state) in &gates {
        *states.entry(*state).or_insert(0) += 1;
    }
    let gates: Vec<CellGate> =
        gates.into_iter().map(|(cell, state)| CellGate { cell, state }).collect();
    Ok(Json(GatesChanged { cells: gates.len() as u64, states, gates, audit_head }))
}
