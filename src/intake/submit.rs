//! Submitting one transaction, and taking one back; and what submitting a batch has in common
//! with that.

use super::answer::{self, Answered};
use super::check::{self, Asking};
use super::receipt::Receipt;
use super::tally::Quotas;
use super::{Caller, Shared, State, ended};
use crate::domain::identity::contains_identity_number;
use crate::domain::ids::{InstitutionCode, TransactionId};
use crate::domain::time::Monotonic;
use crate::engine::event::{Done, Reply};
use crate::web::access::Scope;
use crate::web::problem::{Code, FieldError, Problem};
use crate::web::{body, problem};
use axum::extract::{Path, Request, State as Taken};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Submits one transaction.
#[utoipa::path(
    post,
    path = "/v1/transactions",
    operation_id = "submit",
    params(
        ("Idempotency-Key" = String, Header, description = "1 to 128 visible ASCII characters; the same intent has the same key"),
        ("Prefer" = Option<String>, Header, description = "wait=N: wait up to N seconds for the core's answer"),
    ),
    request_body = super::openapi::SubmissionBody,
    responses(
        (status = 200, description = "The core's answer, or what is known of it", body = answer::Waited<'static>),
        (status = 202, description = "Accepted and durable", body = Receipt<'static>,
            headers(("Location" = String), ("Idempotency-Replayed" = Option<String>))),
        (status = 409, description = "business_suspended: turned away by policy", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body has more bytes than one submission may have", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Wrong fields, or the key was used for other content", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Not available now", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 507, description = "The disk's reserve has been reached", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn one(
    Taken(state): Taken<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let wait = preferred_wait(request.headers(), state.limits.wait_max);
    let answered = submit_one(&state, request, wait).await.unwrap_or_else(Answered::Problem);
    state.tally.count(&answered);
    answer::respond(&state, answered, wait.is_some())
}

async fn submit_one(
    state: &Shared,
    request: Request,
    wait: Option<Duration>,
) -> Result<Answered, Problem> {
    let (head, body) = request.into_parts();
    let now = state.clock.now();
    let caller = Caller::of(state, &head.headers, now.wall)?;
    let (institution, channels) = caller.with(Scope::Submit)?;
    may_ask(&state.quotas, &institution.code, now.monotonic)?;
    must_be(&head.headers, "application/json")?;
    let mut keys = head.headers.get_all("idempotency-key").iter().map(HeaderValue::as_bytes);
    let key = keys.next();
    if keys.next().is_some() {
        let detail = "there are two headers Idempotency-Key; send one";
        return Err(Problem::new(Code::IdempotencyKeyMissing, detail));
    }
    let key = check::header_key(key)?;
    has_room(state)?;
    let body = body::read(body, state.limits.body).await?;
    let asking = Asking { institution, channels, now: now.wall, wait };
    let submission = check::submission(state, asking, Some(key), &body)?;
    drop(body);
    let reply = state.engine.submit(submission).await;
    Ok(answer::of(state, reply, now.wall).await)
}

/// Keeps one institution from taking everybody's share.
pub(super) fn may_ask(
    quotas: &Quotas,
    who: &InstitutionCode,
    now: Monotonic,
) -> Result<(), Problem> {
    quotas.take(who, 1, now).map_err(|seconds| {
        let detail = "more submissions per second than one institution may make";
        Problem::new(Code::QuotaExceeded, detail).retry_after(seconds)
    })
}

/// Why a transaction is taken back.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WithdrawBody {
    /// Why; 1 to 200 characters, nothing about a person.
    reason: String,
}

/// Where a transaction stands now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Standing {
    #[schema(value_type = String)]
    id: TransactionId,
    #[schema(value_type = String)]
    state: crate::domain::state::State,
}

/// Takes a transaction back before it is sent.
#[utoipa::path(
    post,
    path = "/v1/transactions/{id}/withdraw",
    operation_id = "withdraw",
    params(("id" = String, Path, description = "The transaction")),
    request_body = WithdrawBody,
    responses(
        (status = 200, description = "Taken back", body = Standing),
        (status = 404, description = "Not there, or not yours", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It has been sent, or has ended", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn withdraw(
    Taken(state): Taken<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (code, asked) = posted::<WithdrawBody>(&state, request).await?;
    let reason = impersonal(&asked.reason, "/reason")?;
    let transaction = super::own_place(&state, &id)?;
    let reply = state.engine.withdraw(code.clone(), transaction, reason).await;
    let reply = ended::or_wrong_state(&state, code, transaction, reply).await?;
    match reply {
        Reply::Done(Done::Transaction(seq, standing)) => {
            let id = state.numbers.transaction(seq);
            answer::json_response(StatusCode::OK, &Standing { id, state: standing })
        }
        other => Err(answer::problem_of(&state, other, state.clock.now().wall)),
    }
}

/// Who sends a small request, and its typed JSON body. The key must be good for submitting.
pub(super) async fn posted<T: serde::de::DeserializeOwned>(
    state: &State,
    request: Request,
) -> Result<(InstitutionCode, T), Problem> {
    let (head, body) = request.into_parts();
    let caller = Caller::of(state, &head.headers, state.clock.now().wall)?;
    let institution = caller.with(Scope::Submit)?.0.code.clone();
    must_be(&head.headers, "application/json")?;
    let body = body::read(body, state.limits.body).await?;
    let asked = serde_json::from_slice(&body).map_err(|error| {
        // Never the library's words: they may repeat a value.
        if error.is_data() {
            // The name of a missing field is ours.
            let said = error.to_string();
            let missing = said.strip_prefix("missing field `").and_then(|s| s.split_once('`'));
            if let Some((field, _)) = missing {
                let (pointer, detail) = (format!("/{field}"), "missing".into());
                return Problem::fields(vec![FieldError { pointer, detail, code: None }]);
            }
            let detail = "a field is missing, unknown or of the wrong type; see /openapi.json";
            return Problem::new(Code::Invalid, detail);
        }
        let (line, column) = (error.line(), error.column());
        Problem::new(Code::Malformed, format!("not JSON: line {line}, column {column}"))
    })?;
    Ok((institution, asked))
}

/// A short text in words.
pub(super) fn plain(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        let detail = "expected 1 to 200 characters, none of them a control character".into();
        return Err(Problem::fields(vec![FieldError {
            pointer: pointer.to_owned(),
            detail,
            code: None,
        }]));
    }
    Ok(text.to_owned())
}

/// The same, for a text that is stored in clear.
pub(super) fn impersonal(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let text = plain(text, pointer)?;
    if contains_identity_number(&text) {
        let detail = "it contains an identity number; leave it out, the id says who is meant";
        let error = FieldError { pointer: pointer.to_owned(), detail: detail.into(), code: None };
        return Err(Problem::fields(vec![error]));
    }
    Ok(text)
}

pub(super) fn has_room(state: &State) -> Result<(), Problem> {
    if state.disk_reserve.load(Ordering::Relaxed) {
        let detail = "the disk's reserve has been reached; what was accepted is being sent";
        return Err(Problem::new(Code::DiskReserve, detail).retry_after(30));
    }
    Ok(())
}

/// Refuses a body that says it is something else. One that says nothing is taken at its word.
pub(super) fn must_be(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let named = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    if named.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Problem::new(Code::UnsupportedMediaType, format!("expected {expected}")))
}

/// How long the client would wait (RFC 7240), at most `longest`. What cannot be read is ignored,
/// as the RFC asks.
fn preferred_wait(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next()?.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .find_map(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u32>().ok())
        .map(|seconds| Duration::from_secs(seconds.into()).min(longest))
        .filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_from_among_other_preferences_and_bounded() {
        for (value, seconds) in [
            ("wait=5", Some(5)),
            ("respond-async, WAIT = 7; x=y", Some(7)),
            ("wait=999999", Some(30)),
            ("wait=0", None),
            ("wait=soon", None),
            ("return=minimal", None),
        ] {
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static("prefer"),
                HeaderValue::from_static(value),
            )]);
            let wait = preferred_wait(&headers, Duration::from_secs(30));
            assert_eq!(wait.map(|w| w.as_secs()), seconds, "{value}");
        }
    }
}
