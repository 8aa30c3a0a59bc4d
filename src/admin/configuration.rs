//! `/admin/v1/configuration`: what is in force, and why what was read since is not.

use super::State;
use super::types::ConfigOut;
use axum::Json;
use axum::extract::State as Extract;
use std::sync::Arc;

pub(super) async fn show(Extract(state): Extract<Arc<State>>) -> Json<ConfigOut> {
    Json((state.configuration)())
}
