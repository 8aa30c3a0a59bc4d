//! `/admin/v1/upstreams`: each core and its health.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::{Page, UpstreamOut};
use axum::Json;
use axum::extract::State as Extract;
use std::sync::Arc;

pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
) -> Result<Json<Page<UpstreamOut>>, Refusal> {
    let views = look::at(&state, |machine, now| machine.upstreams(now.wall)).await?;
    let items = views.into_iter().map(look::upstream_out).collect();
    Ok(Json(Page { items, next_cursor: None }))
}
