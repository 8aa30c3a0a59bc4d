//! Submitting many transactions, one in a line.
//!
//! Lines are judged and submitted while the body still arrives: at most a window of them is in
//! the engine at a time, and no more of the body is kept than they are made of. A line that is
//! wrong stops none of the others, and where the body breaks off, the lines before are answered
//! all the same.
//!
//! The answer is kept until the last line has come, and bounded by the number of lines. Receipts
//! on their way while lines still arrive would stop every client that reads nothing before it
//! has sent everything: with both directions full neither side goes on.

use super::answer::{self, Answered};
use super::check::{self, Asking};
use super::receipt::Receipt;
use super::submit::{has_room, may_ask, must_be};
use super::tally::Quotas;
use super::{Caller, Shared, State};
use crate::domain::ids::InstitutionCode;
use crate::domain::time::{Monotonic, Timestamp};
use crate::engine::event::{Reply, Submission};
use crate::engine::run::Asked;
use crate::web::access::Scope;
use crate::web::body::{BodyLimits, too_large};
use crate::web::problem::{self, Code, Problem};
use crate::web::server::RequestId;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State as Taken};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use memchr::memchr;
use serde::Serialize;
use std::collections::VecDeque;
use std::future::{Future, Pending, pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Timeout;

/// Submits many, one in a line, and answers each in its line.
///
/// Lines are taken as they arrive. Where the body has too many bytes or lines, is too slow or
/// breaks off, what came before is answered, and one more line says why the rest is not.
#[utoipa::path(
    post,
    path = "/v1/transactions/batch",
    operation_id = "submitBatch",
    request_body(content = super::openapi::BatchLineBody, content_type = "application/x-ndjson",
        description = "One object a line"),
    responses(
        (status = 200, description = "One object a line, in the order of the lines",
            body = LineAnswer<'static>, content_type = "application/x-ndjson"),
        (status = 413, description = "Too many bytes; no line was taken", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn submit(
    Taken(state): Taken<Shared>,
    id: RequestId,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = Caller::of(&state, &head.headers, state.clock.now().wall)?;
    let who = caller.with(Scope::Submit)?.0.code.clone();
    must_be(&head.headers, "application/x-ndjson")?;
    has_room(&state)?;
    let window = state.limits.batch_window;
    let mut lines = Lines::new(body, state.limits.batch, state.limits.body.bytes_max)?;
    let mut under_way = VecDeque::with_capacity(window);
    let mut allowance = Allowance::default();
    let (mut taken, mut out) = (0usize, Vec::new());
    loop {
        while under_way.len() < window
            && let Some((number, line)) = lines.next()
        {
            if taken == state.limits.batch_lines_max {
                lines.give_up(number, too_many(taken));
                continue;
            }
            let now = state.clock.now();
            let allowed = allowance.draw(&state.quotas, &who, now.monotonic);
            if let (Err(problem), 0) = (&allowed, taken) {
                return Err(problem.clone());
            }
            taken += 1;
            let judged = allowed.and_then(|()| judge(&state, &caller, now.wall, &line));
            let line = match judged {
                Ok(submission) => {
                    Line::Asked(now.wall, state.engine.begin_submit(submission).await)
                }
                Err(problem) => Line::Refused(problem),
            };
            under_way.push_back((number, line));
        }
        let (number, answered) = match next(&mut lines, &mut under_way, window).await {
            Next::Bytes => continue,
            Next::Reply(number, at, reply) => (number, answer::of(&state, reply, at).await),
            Next::Refused(number, problem) => (number, Answered::Problem(problem)),
            Next::End => break,
        };
        write_line(&state, &mut out, number, answered, id.as_str())?;
    }
    if let Some((number, problem)) = lines.cut {
        if out.is_empty() {
            return Err(problem);
        }
        write_line(&state, &mut out, number, Answered::Problem(problem), id.as_str())?;
    }
    let mut response = Response::new(out.into());
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn too_many(lines: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("more than {lines} lines; send the rest again"))
}

/// What a batch may take of its institution's quota: as many as a full bucket holds are counted,
/// the others are free. Once it is used up, everything after is refused: what was refused must
/// not be overtaken by what stands behind it.
#[derive(Default)]
struct Allowance {
    drawn: u64,
    refused: Option<Problem>,
}

impl Allowance {
    fn draw(
        &mut self,
        quotas: &Quotas,
        who: &InstitutionCode,
        now: Monotonic,
    ) -> Result<(), Problem> {
        if self.refused.is_none() && self.drawn < quotas.full() {
            self.refused = may_ask(quotas, who, now).err();
            self.drawn += 1;
        }
        self.refused.clone().map_or(Ok(()), Err)
    }
}

/// The submission that a line holds.
fn judge(
    state: &State,
    caller: &Caller,
    now: Timestamp,
    line: &Bytes,
) -> Result<Submission, Problem> {
    let (institution, channels) = caller.with(Scope::Submit)?;
    if line.len() > state.limits.body.bytes_max {
        let detail = format!("the line has more than {} bytes", state.limits.body.bytes_max);
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    check::submission(state, Asking { institution, channels, now, wait: None }, None, line)
}

/// The lines of a body, as they arrive; empty ones are passed over, and counted.
struct Lines {
    body: Body,
    limits: BodyLimits,
    bytes_left: usize,
    /// One byte more than a line may have is kept of one that is longer.
    line_bytes_max: usize,
    /// Runs while we wait for the client.
    alarm: Option<Alarm>,
    /// What has come and was not looked at.
    chunk: Bytes,
    /// The begin of a line whose end has not come.
    begun: Vec<u8>,
    ended: bool,
    /// How many lines have come as a whole.
    count: usize,
    /// From which line on the rest is not looked at, and why.
    cut: Option<(usize, Problem)>,
}

type Alarm = Pin<Box<Timeout<Pending<()>>>>;

impl Lines {
    fn new(body: Body, limits: BodyLimits, line_bytes_max: usize) -> Result<Self, Problem> {
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > limits.bytes_max {
            return Err(too_large(limits.bytes_max));
        }
        Ok(Self {
            body,
            limits,
            bytes_left: limits.bytes_max,
            line_bytes_max,
            alarm: None,
            chunk: Bytes::new(),
            begun: Vec::new(),
            ended: false,
            count: 0,
            cut: None,
        })
    }

    /// The next line that has come as a whole, and its number.
    fn next(&mut self) -> Option<(usize, Bytes)> {
        while self.cut.is_none() {
            let (mut line, whole) = match memchr(b'\n', &self.chunk) {
                Some(end) => (self.chunk.split_to(end + 1), true),
                None => (std::mem::take(&mut self.chunk), self.ended),
            };
            if !whole || !self.begun.is_empty() {
                let room = (self.line_bytes_max + 1).saturating_sub(self.begun.len());
                let more = if self.begun.is_empty() { line.trim_ascii_start() } else { &line };
                self.begun.extend_from_slice(&more[..more.len().min(room)]);
                if !whole {
                    return None;
                }
                line = std::mem::take(&mut self.begun).into();
            }
            self.count += 1;
            let trimmed = line.trim_ascii();
            if !trimmed.is_empty() {
                return Some((self.count, line.slice_ref(trimmed)));
            }
            if self.chunk.is_empty() && self.ended {
                return None;
            }
        }
        None
    }

    /// Looks at nothing from the line `number` on.
    fn give_up(&mut self, number: usize, why: Problem) {
        (self.chunk, self.begun) = (Bytes::new(), Vec::new());
        self.cut.get_or_insert((number, why));
    }

    /// Waits for more, or for the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limits.timeout;
        let alarm =
            self.alarm.get_or_insert_with(|| Box::pin(tokio::time::timeout(limit, pending())));
        let came = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(came) => came.map(|came| came.map(|frame| frame.into_data().ok())),
            Poll::Pending if alarm.as_mut().poll(cx).is_pending() => return Poll::Pending,
            Poll::Pending => {
                let detail = format!("the body took longer than {} s", limit.as_secs());
                self.stop(Problem::new(Code::RequestTimeout, detail));
                return Poll::Ready(());
            }
        };
        match came {
            Some(Ok(Some(data))) => match self.bytes_left.checked_sub(data.len()) {
                Some(left) if self.cut.is_none() => (self.bytes_left, self.chunk) = (left, data),
                // It is read to its end, so that the client comes to the answer.
                Some(left) => self.bytes_left = left,
                None => self.stop(too_large(self.limits.bytes_max)),
            },
            // Trailers.
            Some(Ok(None)) => {}
            Some(Err(_)) => {
                self.stop(Problem::new(Code::Malformed, "the body ended before its time"));
            }
            None => self.ended = true,
        }
        Poll::Ready(())
    }

    fn stop(&mut self, why: Problem) {
        self.give_up(self.count + 1, why);
        self.ended = true;
    }

    /// We kept the client waiting: its time begins anew.
    fn forgive(&mut self) {
        self.alarm = None;
    }
}

/// A line under way.
enum Line {
    /// Asked at this time; the engine has yet to reply.
    Asked(Timestamp, Asked),
    Refused(Problem),
}

enum Next {
    /// More of the body is there, or its end.
    Bytes,
    /// What the engine replied to the line of this number, which was asked at this time.
    Reply(usize, Timestamp, Reply),
    /// The line of this number never reached the engine.
    Refused(usize, Problem),
    /// Nothing is under way and nothing comes.
    End,
}

async fn next(lines: &mut Lines, under_way: &mut VecDeque<(usize, Line)>, window: usize) -> Next {
    let is_full = under_way.len() >= window;
    if is_full && !lines.ended {
        lines.forgive();
    }
    poll_fn(|cx| {
        if !is_full && !lines.ended && lines.poll_more(cx).is_ready() {
            return Poll::Ready(Next::Bytes);
        }
        match under_way.pop_front() {
            None if lines.ended => Poll::Ready(Next::End),
            None => Poll::Pending,
            Some((line, Line::Refused(problem))) => Poll::Ready(Next::Refused(line, problem)),
            Some((line, Line::Asked(at, mut asked))) => match Pin::new(&mut asked).poll(cx) {
                Poll::Ready(reply) => Poll::Ready(Next::Reply(line, at, reply)),
                Poll::Pending => {
                    under_way.push_front((line, Line::Asked(at, asked)));
                    Poll::Pending
                }
            },
        }
    })
    .await
}

/// The answer to one line of a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct LineAnswer<'a> {
    /// The line of the body, from 1; empty lines are counted and have no answer.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::tally::Quota;
    use std::task::Waker;

    fn limits() -> BodyLimits {
        BodyLimits { bytes_max: 1000, ..BodyLimits::default() }
    }

    fn all_lines(body: &'static str) -> Vec<(usize, Bytes)> {
        let mut lines = Lines::new(Body::from(body), limits(), 8).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut found = Vec::new();
        loop {
            found.extend(std::iter::from_fn(|| lines.next()));
            if lines.ended {
                return found;
            }
            assert!(lines.poll_more(&mut cx).is_ready());
        }
    }

    #[tokio::test]
    async fn empty_lines_are_only_counted_and_the_last_needs_no_end() {
        let line = |number: usize, text: &'static str| (number, Bytes::from(text));
        let found = all_lines("{}\r\n\n  \n{\"a\":1}\n");
        assert_eq!(found, [line(1, "{}"), line(4, "{\"a\":1}")]);
        assert_eq!(all_lines("\n{}\n{}"), [line(2, "{}"), line(3, "{}")]);
        assert_eq!(all_lines("{}\n  \n "), [line(1, "{}")]);
        assert!(all_lines("").is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_not_kept_whole() {
        let found = all_lines("0123456789\n\n0123456789012345");
        assert!(found[0].1.len() > 8, "long enough to be refused");
        assert_eq!(found[1], (3, Bytes::from("012345678")));
    }

    #[test]
    fn a_batch_may_overdraw_a_full_quota_and_once_refused_stays_so() {
        let quotas = Quotas::new(Quota { per_second: 10, burst: 5 });
        let who = "H1".parse().unwrap();
        let granted = |from: u64| {
            let mut allowance = Allowance::default();
            let draw = |n: u64| allowance.draw(&quotas, &who, Monotonic(from + n)).is_ok();
            (0..40).map(draw).take_while(|ok| *ok).count()
        };
        assert_eq!(granted(0), 40);
        assert_eq!(granted(500), 5, "half a second gives five; what comes later does not help");
        let mut refused = Allowance::default();
        assert!(refused.draw(&quotas, &who, Monotonic(500)).is_err());
        assert!(refused.draw(&quotas, &who, Monotonic(60_000)).is_err(), "order is kept");
    }
}
