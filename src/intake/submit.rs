//! Submitting: one transaction, or a batch of lines; and taking one back.
//!
//! A batch is many single submissions under way together: at most a window of lines is in the
//! engine at a time, answers keep the order of the lines, and a line that is wrong stops none
//! of the others.

use super::answer::{self, Answered};
use super::check::{self, Asking};
use super::receipt::Receipt;
use super::{Caller, Shared, State, ended};
use crate::domain::identity::contains_identity_number;
use crate::domain::ids::{InstitutionCode, TransactionId};
use crate::domain::time::{Monotonic, Timestamp};
use crate::engine::event::{Done, Reply};
use crate::web::access::Scope;
use crate::web::problem::{Code, FieldError, Problem};
use crate::web::server::RequestId;
use crate::web::{body, problem};
use axum::extract::{Path, Request, State as Taken};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
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
    may_ask(state, &institution.code, 1, now.monotonic)?;
    must_be(&head.headers, "application/json")?;
    let key = head.headers.get("idempotency-key").map(HeaderValue::as_bytes);
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
fn may_ask(
    state: &State,
    who: &InstitutionCode,
    submissions: usize,
    now: Monotonic,
) -> Result<(), Problem> {
    state.quotas.take(who, submissions as u64, now).map_err(|seconds| {
        let detail = "more submissions per second than one institution may make";
        Problem::new(Code::QuotaExceeded, detail).retry_after(seconds)
    })
}

/// Submits many, one in a line, and answers each in its line.
#[utoipa::path(
    post,
    path = "/v1/transactions/batch",
    operation_id = "submitBatch",
    request_body(content = super::openapi::BatchLineBody, content_type = "application/x-ndjson",
        description = "One object a line"),
    responses(
        (status = 200, description = "One object a line, in the order of the lines",
            body = LineAnswer<'static>, content_type = "application/x-ndjson"),
        (status = 413, description = "Too many bytes or lines", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn batch(
    Taken(state): Taken<Shared>,
    id: RequestId,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let now = state.clock.now().wall;
    let caller = Caller::of(&state, &head.headers, now)?;
    caller.with(Scope::Submit)?;
    must_be(&head.headers, "application/x-ndjson")?;
    has_room(&state)?;
    let body = body::read(body, state.limits.batch).await?;
    let lines = split(&body);
    if lines.len() > state.limits.batch_lines_max {
        let detail = format!("more than {} lines", state.limits.batch_lines_max);
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    if let Some((institution, _)) = caller.0.institution() {
        may_ask(&state, &institution.code, lines.len(), state.clock.now().monotonic)?;
    }
    let mut under_way = VecDeque::with_capacity(state.limits.batch_window);
    let mut out = Vec::with_capacity(lines.len() * 768);
    let mut written = 0usize;
    for line in lines {
        if under_way.len() >= state.limits.batch_window
            && let Some(answered) = first_of(&mut under_way).await
        {
            written += 1;
            write_line(&state, &mut out, written, answered, id.as_str())?;
        }
        let (state, caller) = (Arc::clone(&state), caller.clone());
        under_way.push_back(Slot::Open(Box::pin(async move {
            line_answer(&state, &caller, now, line).await
        })));
    }
    while let Some(answered) = first_of(&mut under_way).await {
        written += 1;
        write_line(&state, &mut out, written, answered, id.as_str())?;
    }
    let mut response = Response::new(out.into());
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

async fn line_answer(state: &Shared, caller: &Caller, now: Timestamp, line: Bytes) -> Answered {
    let (institution, channels) = match caller.with(Scope::Submit) {
        Ok(submitter) => submitter,
        Err(problem) => return Answered::Problem(problem),
    };
    if line.len() > state.limits.body.bytes_max {
        let detail = format!("the line has more than {} bytes", state.limits.body.bytes_max);
        return Answered::Problem(Problem::new(Code::BodyTooLarge, detail));
    }
    let asking = Asking { institution, channels, now, wait: None };
    match check::submission(state, asking, None, &line) {
        Ok(submission) => answer::of(state, state.engine.submit(submission).await, now).await,
        Err(problem) => Answered::Problem(problem),
    }
}

/// The lines of a body, uncopied; empty lines count for nothing.
fn split(body: &Bytes) -> Vec<Bytes> {
    body.split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .map(|line| body.slice_ref(line))
        .collect()
}

enum Slot<F> {
    Open(Pin<Box<F>>),
    Done(Answered),
}

/// The answer of the first line under way. All of them are driven: a line that waits for room
/// in the engine's queue must not keep a place there that it does not use.
async fn first_of<F: Future<Output = Answered>>(lines: &mut VecDeque<Slot<F>>) -> Option<Answered> {
    poll_fn(|cx| {
        let head_open = matches!(lines.front(), Some(Slot::Open(_)));
        for slot in lines.iter_mut().filter(|_| head_open) {
            if let Slot::Open(line) = slot
                && let Poll::Ready(answered) = line.as_mut().poll(cx)
            {
                *slot = Slot::Done(answered);
            }
        }
        match lines.pop_front() {
            None => Poll::Ready(None),
            Some(Slot::Done(answered)) => Poll::Ready(Some(answered)),
            Some(open @ Slot::Open(_)) => {
                lines.push_front(open);
                Poll::Pending
            }
        }
    })
    .await
}

/// The answer to one line of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LineAnswer<'a> {
    /// The line, from 1, empty lines not counted.
    line: usize,
    /// The status that a single submission would have had.
    status: u16,
    /// Whether it is a repeat.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    /// The receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt<'a>>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<problem::ProblemBody>)]
    problem: Option<&'a Problem>,
}

fn write_line(
    state: &State,
    out: &mut Vec<u8>,
    line: usize,
    answered: Answered,
    request_id: &str,
) -> Result<(), Problem> {
    state.tally.count(&answered);
    let written = match answered {
        Answered::Accepted { id, record, duplicate, live: _ } => {
            let receipt = Some(Receipt::of(id, &record, state.zone));
            let status = StatusCode::ACCEPTED.as_u16();
            let answer = LineAnswer { line, status, replayed: duplicate, receipt, problem: None };
            serde_json::to_writer(&mut *out, &answer)
        }
        Answered::Problem(mut problem) => {
            problem.request_id = Some(request_id.to_owned());
            let (status, problem) = (problem.status, Some(&problem));
            let answer = LineAnswer { line, status, replayed: false, receipt: None, problem };
            serde_json::to_writer(&mut *out, &answer)
        }
    };
    out.push(b'\n');
    written.map_err(|_| Problem::new(Code::Internal, "no body could be made"))
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
    let (head, body) = request.into_parts();
    let now = state.clock.now().wall;
    let caller = Caller::of(&state, &head.headers, now)?;
    let (institution, _) = caller.with(Scope::Submit)?;
    let transaction = super::own_partition(&state, &id)?;
    let asked: WithdrawBody = read_json(&state, &head.headers, body).await?;
    let reason = impersonal(&asked.reason, "/reason")?;
    let code = institution.code.clone();
    let reply = state.engine.withdraw(code.clone(), transaction, reason).await;
    let reply = ended::or_wrong_state(&state, code, transaction, reply).await?;
    match reply {
        Reply::Done(Done::Transaction(seq, standing)) => {
            let id = TransactionId::new(state.partition, seq);
            answer::json_response(StatusCode::OK, &Standing { id, state: standing })
        }
        other => Err(answer::problem_of(&state, other, now)),
    }
}

/// The typed JSON body of a small request.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(
    state: &State,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<T, Problem> {
    must_be(headers, "application/json")?;
    let body = body::read(body, state.limits.body).await?;
    serde_json::from_slice(&body).map_err(|error| {
        // Never the library's words: they may repeat a value.
        if error.is_data() {
            let detail = "a field is missing, unknown or of the wrong type; see /openapi.json";
            return Problem::new(Code::Invalid, detail);
        }
        let (line, column) = (error.line(), error.column());
        Problem::new(Code::Malformed, format!("not JSON: line {line}, column {column}"))
    })
}

/// A short text in words.
pub(super) fn plain(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        let detail = "expected 1 to 200 characters, none of them a control character".into();
        return Err(Problem::fields(vec![FieldError { pointer: pointer.to_owned(), detail }]));
    }
    Ok(text.to_owned())
}

/// The same, for a text that is stored in clear.
pub(super) fn impersonal(text: &str, pointer: &'static str) -> Result<String, Problem> {
    let text = plain(text, pointer)?;
    if contains_identity_number(&text) {
        let detail = "it contains an identity number; leave it out, the id says who is meant";
        let error = FieldError { pointer: pointer.to_owned(), detail: detail.into() };
        return Err(Problem::fields(vec![error]));
    }
    Ok(text)
}

fn has_room(state: &State) -> Result<(), Problem> {
    if state.disk_reserve.load(Ordering::Relaxed) {
        let detail = "the disk's reserve has been reached; what was accepted is being sent";
        return Err(Problem::new(Code::DiskReserve, detail).retry_after(30));
    }
    Ok(())
}

/// Refuses a body that says it is something else. One that says nothing is taken at its word.
fn must_be(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
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

    #[test]
    fn empty_lines_are_no_lines() {
        let body = Bytes::from_static(b"{}\r\n\n  \n{\"a\":1}\n");
        assert_eq!(split(&body), ["{}", "{\"a\":1}"]);
    }
}
