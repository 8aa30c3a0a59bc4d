//! `/admin/v1/dead-letters`: what was given up after sure failures, and a person's decision on
//! it: put it back (redrive) or give it up for good (skip). Either lets its key go on.

use super::State;
use super::guard::Caller;
use super::refusal::Refusal;
use super::transactions::{self, Changed};
use super::types::{Because, Page, TransactionOut};
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
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Changed {
    let decide = |_: &Because, seq| (json!({ "state": Standing::Waiting }), Command::Redrive(seq));
    transactions::order(state, caller, id, body, "dead_letter.redrive", decide).await
}

pub(super) async fn skip(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Changed {
    let decide = |_: &Because, seq| (json!({ "state": Standing::Withdrawn }), Command::Skip(seq));
    transactions::order(state, caller, id, body, "dead_letter.skip", decide).await
}
