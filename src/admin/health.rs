//! `/livez`, `/readyz`, `/metrics`: for machines, without a key.
//!
//! Ready means: submissions can be taken durably. A window is no reason against it; a proxy
//! that took us out of service during a stop would defeat the product.

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
    let verbose = uri.query().is_some_and(|q| q.split('&').any(|p| p.starts_with("verbose")));
    if verbose {
        let now = state.clock.now().wall;
        let audit_head = state.audit.head();
        let clock_doubt = state.clock.doubt().map(ClockOut::from);
        let shown = ReadyOut { ready, reasons, clock, now, clock_doubt, audit_head };
        return (status, Json(shown)).into_response();
    }
    let word = if ready { "ready" } else { "not ready" };
    let mut text = format!("{word} ({clock} clock)\n");
    for reason in reasons {
        text.push_str(&reason);
        text.push('\n');
    }
    // Nothing durable rests on it, so that submissions are taken all the same.
    if let Some(doubt) = state.clock.doubt() {
        let line =
            format!("the clock is doubted: it shows {}, not {}\n", doubt.shows, doubt.expected);
        text.push_str(&line);
    }
    (status, text).into_response()
}

pub(super) async fn metrics(Extract(state): Extract<Arc<State>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], (state.metrics)()).into_response()
}
