//! `/admin/v1/dead-letters`: what was given up after sure failures, and a person's decision on
//! it: put it back (redrive) or give it up for good (skip). Either lets its key go on.

use super::State;
use super::guard::Caller;
use super::refusal::Refusal;
use super::text::{self, Reason};
use super::types::{Because, Page, TransactionChanged, TransactionOut};
use super::{look, transactions};
use crate::domain::state::State as Standing;
use crate::engine::event::Command;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::{Extension, Json};
use serde_json::json;
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

pub(super) async fn list(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<Page<TransactionOut>>, Refusal> {
    transactions::list_in(&state, &uri, Standing::DeadLettered).await
}

pub(super) async fn redrive(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<TransactionChanged>, Refusal> {
    let body: Because = text::read(&caller, body, state.body_limits).await?;
    let reason = Reason::check(&body.reason)?;
    let seq = look::transaction(&state, &id)?;
    let (after, command) = (json!({ "state": Standing::Waiting }), Command::Redrive(seq));
    transactions::order(&state, &caller, "dead_letter.redrive", seq, after, reason, command).await
}

pub(super) async fn skip(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<TransactionChanged>, Refusal> {
    let body: Because = text::read(&caller, body, state.body_limits).await?;
    let reason = Reason::check(&body.reason)?;
    let seq = look::transaction(&state, &id)?;
    let (after, command) = (json!({ "state": Standing::Withdrawn }), Command::Skip(seq));
    transactions::order(&state, &caller, "dead_letter.skip", seq, after, reason, command).await
}
