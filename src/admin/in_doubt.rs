//! `/admin/v1/in-doubt`: attempts that may or may not have taken effect. The core can be asked
//! at once; where it cannot tell, a person says what they found out. Nothing guesses.

use super::State;
use super::guard::Caller;
use super::refusal::Refusal;
use super::text::{self, Reason};
use super::types::{Because, Page, Resolve, TransactionChanged, TransactionOut, Verdict};
use super::{look, transactions};
use crate::domain::state::State as Standing;
use crate::engine::event::Command;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

pub(super) async fn list(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<Page<TransactionOut>>, Refusal> {
    transactions::list_in(&state, &uri, Standing::InDoubt).await
}

pub(super) async fn ask(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<TransactionChanged>, Refusal> {
    let body: Because = text::read(&caller, body, state.body_limits).await?;
    let reason = Reason::check(&body.reason)?;
    let seq = look::transaction(&state, &id)?;
    let command = Command::AskNow(seq);
    transactions::order(&state, &caller, "in_doubt.ask", seq, Value::Null, reason, command).await
}

pub(super) async fn resolve(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<TransactionChanged>, Refusal> {
    let body: Resolve = text::read(&caller, body, state.body_limits).await?;
    let reason = Reason::check(&body.reason)?;
    let transaction = look::transaction(&state, &id)?;
    let verdict = match body.verdict {
        Verdict::Applied => Standing::Applied,
        Verdict::Refused => Standing::Refused,
        Verdict::NotApplied => Standing::Waiting,
    };
    let after = json!({ "verdict": body.verdict });
    let command = Command::ResolveDoubt { transaction, verdict };
    transactions::order(&state, &caller, "in_doubt.resolve", transaction, after, reason, command)
        .await
}
