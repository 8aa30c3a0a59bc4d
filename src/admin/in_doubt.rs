//! `/admin/v1/in-doubt`: attempts that may or may not have taken effect. The core can be asked
//! at once; where it cannot tell, a person says what they found out. Nothing guesses.

use super::State;
use super::guard::Caller;
use super::refusal::Refusal;
use super::transactions::{self, Changed};
use super::types::{Because, Page, Resolve, TransactionOut, Verdict};
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
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Changed {
    let decide = |_: &Because, seq| (Value::Null, Command::AskNow(seq));
    transactions::order(state, caller, id, body, "in_doubt.ask", decide).await
}

pub(super) async fn resolve(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Changed {
    let decide = |body: &Resolve, transaction| {
        let verdict = match body.verdict {
            Verdict::Applied => Standing::Applied,
            Verdict::Refused => Standing::Refused,
            Verdict::NotApplied => Standing::Waiting,
        };
        let after = json!({ "verdict": body.verdict });
        (after, Command::ResolveDoubt { transaction, verdict })
    };
    transactions::order(state, caller, id, body, "in_doubt.resolve", decide).await
}
