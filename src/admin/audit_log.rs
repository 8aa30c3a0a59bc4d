//! `/admin/v1/audit`: the end of the audit log and its head.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::AuditOut;
use crate::web::problem::{Code, Problem};
use axum::Json;
use axum::extract::State as Extract;
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;

/// How many records are shown where the query names no number.
const RECORDS: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    limit: Option<usize>,
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    uri: Uri,
) -> Result<Json<AuditOut>, Refusal> {
    let query: Query = look::query(&uri)?;
    let limit = query.limit.unwrap_or(RECORDS);
    let audit = Arc::clone(&state.audit);
    let read = tokio::task::spawn_blocking(move || (audit.head(), audit.tail(limit))).await;
    match read {
        Ok((head, Ok(records))) => Ok(Json(AuditOut { head, records })),
        Ok((_, Err(error))) => {
            tracing::error!(%error, "the audit log cannot be read");
            Err(Problem::new(Code::Internal, "the audit log cannot be read; see the log").into())
        }
        Err(_) => Err(Problem::new(Code::Internal, "reading the audit log met a defect").into()),
    }
}
