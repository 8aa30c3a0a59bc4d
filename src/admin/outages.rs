//! `/admin/v1/windows/{id}/confirm` and `/dismiss`: what becomes of an outage that nobody planned.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::look;
use super::refusal::Refusal;
use super::text;
use super::types::{Because, ConfirmOutage, DraftDismissed, DraftOut};
use super::windows::changed;
use crate::domain::ids::WindowId;
use crate::engine::event::{Command, Done, Sought};
use crate::engine::view::DraftView;
use crate::web::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn draft_out(draft: DraftView) -> DraftOut {
    DraftOut {
        id: draft.id,
        upstream: draft.upstream,
        began_at: draft.began,
        ended_at: draft.ended,
        waiting: draft.waiting,
    }
}

pub(super) async fn confirm(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let (body, reason): (ConfirmOutage, _) = text::read(&caller, body, state.body_limits).await?;
    let draft = see(&state, &id).await?;
    let act = Act {
        action: "window.confirm",
        object: format!("window {}", draft.id),
        before: shortly(&draft),
        after: json!({ "ends_at": body.ends_at }),
        reason,
        command: Ok(Command::ConfirmOutage { window: draft.id, ends_at: body.ends_at }),
    };
    let (done, head) = carry_out(&state, &caller, act).await?;
    changed(&state, done, head, StatusCode::CREATED).await
}

pub(super) async fn dismiss(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<DraftDismissed>, Refusal> {
    let (_, reason): (Because, _) = text::read(&caller, body, state.body_limits).await?;
    let draft = see(&state, &id).await?;
    let id = draft.id.clone();
    let act = Act {
        action: "window.dismiss",
        object: format!("window {id}"),
        before: shortly(&draft),
        after: json!({ "dismissed": true }),
        reason,
        command: Ok(Command::DismissOutage { window: draft.id }),
    };
    let (done, audit_head) = carry_out(&state, &caller, act).await?;
    let Done::Gates(_) = done else { return Err(unexpected()) };
    Ok(Json(DraftDismissed { id, audit_head }))
}

async fn see(state: &State, id: &str) -> Result<DraftView, Refusal> {
    let id: WindowId = id.parse().map_err(|_| Problem::not_found(Sought::Draft))?;
    let drafts = look::at(state, |machine, now| machine.drafts(now.wall)).await?;
    let known = drafts.into_iter().find(|draft| draft.id == id);
    known.ok_or_else(|| Problem::not_found(Sought::Draft).into())
}

/// A draft as it is written into the audit log.
fn shortly(draft: &DraftView) -> Value {
    json!({ "upstream": &draft.upstream, "began_at": draft.began, "ended_at": draft.ended })
}
