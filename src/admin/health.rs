//! `/livez`, `/readyz`, `/metrics`: for machines, without a key.
//!
//! Ready means: submissions can be taken durably. A window is no reason against it; a proxy
//! that took us out of service during a stop would defeat the product. Nor is a file of API keys
//! in which a scope is missing: a restart mends nothing, and a key that is made now is known
//! within a second. That is a note beside the answer.

use super::State;
use super::types::{ClockOut, ReadyOut};
use axum::Json;
use axum::extract::State as Extract;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(super) async fn alive() -> &'static str {
    "alive\n"
}

pub(super) async fn ready(Extract(state): Extract<Arc<State>>, uri: Uri) -> Response {
    let reasons = (state.not_ready)();
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let clock = if state.clock.is_virtual() { "virtual" } else { "real" }.to_owned();
    let now = state.clock.now().wall;
    let notes: Vec<String> =
        state.keys.lacks(now).iter().map(|lack| format!("no_key_may_{}", lack.scope)).collect();
    let verbose = uri.query().is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
    if verbose {
        let audit_head = state.audit.head();
        let clock_doubt = state.clock.doubt().map(ClockOut::from);
        let out = ReadyOut { ready, reasons, notes, clock, now, clock_doubt, audit_head };
        return (status, Json(out)).into_response();
    }
    let word = if ready { "ready" } else { "not ready" };
    let mut text = format!("{word} ({clock} clock)\n");
    for line in reasons.into_iter().chain(notes.into_iter().map(|note| format!("note: {note}"))) {
        text.push_str(&line);
        text.push('\n');
    }
    // Nothing durable rests on it, so that submissions are taken all the same.
    if let Some(doubt) = state.clock.doubt() {
        let [shows, expected] = [doubt.shows, doubt.expected].map(|at| at.rfc3339(state.zone));
        let line = format!("the clock is doubted: it shows {shows}, not {expected}\n");
        text.push_str(&line);
    }
    (status, text).into_response()
}

pub(super) async fn metrics(Extract(state): Extract<Arc<State>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (state.metrics)()).into_response()
}
