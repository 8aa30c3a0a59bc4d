//! What the engine answered, as HTTP: the one place where replies and faults become responses.
//!
//! ```text
//!  Accepted    202 + Location + receipt · 200 {receipt, outcome, …} for somebody who waited
//!  KeyReused   422 idempotency_key_reused      TurnedAway  409 business_suspended
//!  Invalid     by its fault                    Unavailable 503
//! ```

use super::State;
use super::receipt::{self, FundSettled, Invoice, Receipt};
use crate::domain::cell::words;
use crate::domain::ids::{Seq, TicketId, TransactionId};
use crate::domain::policy::Advice;
use crate::domain::time::Timestamp;
use crate::domain::window::Decision;
use crate::engine::change::{Accepted, Change, TurnedAway};
use crate::engine::event::{AttachmentFault, Fault, Live, Reply, Sought};
use crate::engine::ports::{Answer, ReadError};
use crate::web::problem::{Code, DeadlineMention, FieldError, PolicyMention, Problem};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

words!(
    /// What came of a live attempt within the time that somebody waited.
    WaitOutcome, "outcome", {
        /// The core applied it.
        Applied = "applied",
        /// The core refused it.
        Refused = "refused",
        /// It surely did not happen; there is a ticket.
        Ticketed = "ticketed",
        /// Nobody knows yet.
        DoNotFinalise = "do_not_finalise",
        /// It is kept and will be sent later.
        Waiting = "waiting",
    }
);

/// The answer to somebody who waited: the receipt, and what the counter goes by now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Waited<'a> {
    receipt: &'a Receipt<'a>,
    /// What came of the attempt.
    #[schema(value_type = String)]
    outcome: WaitOutcome,
    /// Whether the fund has settled.
    #[schema(value_type = String)]
    fund_settled: FundSettled,
    /// What the counter does.
    #[schema(value_type = String)]
    counter_action: Advice,
    /// Which invoice the counter issues.
    #[schema(value_type = String)]
    invoice: Invoice,
    /// The day from which on it counts, where it was applied and does not count at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_on: Option<String>,
    /// The ticket, where there is one now.
    #[schema(value_type = Option<String>)]
    ticket: Option<TicketId>,
    /// The core's code, where it refused.
    code: Option<&'a str>,
    /// The core's answer: its JSON as it came, or a text.
    #[schema(value_type = Option<Object>)]
    answer: Option<CoreAnswer<'a>>,
}

/// A core's answer inside one of ours.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum CoreAnswer<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl<'a> CoreAnswer<'a> {
    pub(super) fn of(body: &'a [u8]) -> Option<Self> {
        if body.is_empty() {
            return None;
        }
        match serde_json::from_slice::<&RawValue>(body) {
            Ok(json) => Some(Self::Json(json)),
            Err(_) => Some(Self::Text(String::from_utf8_lossy(body))),
        }
    }
}

/// One line's worth of answer: the same for a single submission and a line of a batch.
pub(super) enum Answered {
    Accepted { id: TransactionId, record: Arc<Accepted>, duplicate: bool, live: Option<Live> },
    Problem(Problem),
}

/// Makes of `reply` what a submitter is told. Reads the record where the reply has none at hand.
pub(super) async fn of(state: &Arc<State>, reply: Reply, now: Timestamp) -> Answered {
    match reply {
        Reply::Accepted { transaction, accepted, duplicate, live } => {
            let record = match accepted {
                Some(record) => Ok(record),
                None => read_accepted(state, transaction).await,
            };
            match record {
                Ok(record) => {
                    let id = state.numbers.transaction(transaction);
                    Answered::Accepted { id, record, duplicate, live }
                }
                Err(problem) => Answered::Problem(problem),
            }
        }
        other => Answered::Problem(problem_of(state, other, now)),
    }
}

/// The problem that a reply other than *accepted* is.
pub(super) fn problem_of(state: &State, reply: Reply, now: Timestamp) -> Problem {
    match reply {
        Reply::KeyReused { transaction } => {
            let id = state.numbers.transaction(transaction);
            let detail = format!("the key belongs to {id}, which has other content");
            Problem::new(Code::IdempotencyKeyReused, detail)
        }
        Reply::TurnedAway { number, record, decision, unknown } => {
            let mut problem = suspended(state, number, &record, &decision, now);
            if let Some(why) = unknown {
                problem.detail =
                    format!("policy turns this business away, until nobody knows when: {why}")
                        .into();
                problem.resume_unknown = Some(Code::NoCalendar);
            }
            problem
        }
        Reply::Invalid(fault) => faulty(&fault),
        Reply::Unavailable => unavailable(),
        Reply::Accepted { .. } | Reply::Done(_) | Reply::Deadline { .. } => {
            tracing::error!("the engine gave an answer that does not belong to the question");
            Problem::new(Code::Internal, "the request met a defect; it is in our log")
        }
    }
}

/// The engine is stopping or its journal is poisoned.
pub(super) fn unavailable() -> Problem {
    let detail = "the engine gives no answer now; whether what was sent was kept is not known, \
                  and the same key finds it out";
    Problem::new(Code::Unavailable, detail).retry_after(5)
}

fn suspended(
    state: &State,
    number: Seq,
    record: &TurnedAway,
    decision: &Decision,
    now: Timestamp,
) -> Problem {
    let number = state.numbers.refusal(number).to_string();
    let mut problem = Problem::new(Code::BusinessSuspended, "policy turns this business away now");
    problem.resume_at = record.resume_at.map(|at| at.rfc3339(state.zone));
    problem.window = record.row.as_ref().map(PolicyMention::from);
    problem.deadline = record.deadline.as_ref().map(|d| DeadlineMention::moved(d, false));
    let sentence = receipt::refusal_sentence(&number, record, decision.advice, state.zone);
    problem.message = Some(sentence);
    problem.refusal = Some(number);
    // At least one second: also where the planned end has passed without proof of the restart.
    problem.retry_after_seconds = record.resume_at.map(|at| at.since(now).as_secs().max(1));
    problem
}

/// Every fault of the engine, as the caller is told.
pub(super) fn faulty(fault: &Fault) -> Problem {
    let code = match fault {
        Fault::NotFound(what) => return Problem::not_found(*what),
        Fault::WrongState { .. } | Fault::WindowCompleted(_) => Code::WrongState,
        Fault::Changed { .. } => Code::Changed,
        Fault::BeingReplaced => Code::BeingReplaced,
        Fault::OpenTicket => Code::OpenTicket,
        Fault::PolicyDemands(_) => Code::PolicyDemands,
        Fault::Attachments(faults) => return attachments(faults),
        Fault::NotCovered(_) => Code::NotCovered,
        // Only operators can meet the last two.
        Fault::Invalid(_) | Fault::WrongWindow(_) | Fault::TwoPersons(..) => Code::Invalid,
        Fault::Full(_) => Code::DiskReserve,
        Fault::NoCalendar(_) => Code::NoCalendar,
        Fault::Quarantined => Code::Quarantined,
    };
    Problem::new(code, fault.to_string())
}

/// Each file that is not as the submission says.
fn attachments(faults: &[(usize, AttachmentFault)]) -> Problem {
    let error = |(place, fault): &(usize, AttachmentFault)| {
        let (field, detail) = match fault {
            AttachmentFault::NotStored => (
                "digest",
                "not stored: upload the file with PUT /v1/attachments/ and this digest, then send \
                 the submission again with the same key",
            ),
            AttachmentFault::OtherSize => ("bytes", "what is stored has another size"),
            AttachmentFault::OtherContent => ("name", "what is stored is no such file"),
        };
        FieldError {
            pointer: format!("/attachments/{place}/{field}"),
            detail: detail.into(),
            code: None,
        }
    };
    let errors: Vec<FieldError> = faults.iter().map(error).collect();
    let missing = faults.iter().filter(|(_, fault)| *fault == AttachmentFault::NotStored).count();
    if missing == 0 {
        return Problem::fields(errors);
    }
    let detail = format!("{missing} of the files that are named are not stored here");
    let mut problem = Problem::new(Code::AttachmentNotStored, detail);
    problem.errors = errors;
    problem
}

/// The accept record of `transaction`.
pub(super) async fn read_accepted(
    state: &Arc<State>,
    transaction: Seq,
) -> Result<Arc<Accepted>, Problem> {
    let reader = Arc::clone(&state.journal);
    // A slow disk must not keep a worker from other connections.
    let read = tokio::task::spawn_blocking(move || reader.read(transaction)).await;
    match read {
        Ok(Ok(Change::Accepted(record))) => Ok(record),
        Ok(Ok(_)) => Err(Problem::not_found(Sought::Transaction)),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(Problem::new(Code::Internal, "the record could not be read")),
    }
}

/// A record that the disk does not give back. Of damage the log has told already, once.
pub(super) fn unreadable(error: &ReadError) -> Problem {
    match error {
        ReadError::Missing(_) | ReadError::Retired(_) => Problem::not_found(Sought::Transaction),
        ReadError::Damaged { .. } => {
            let detail = "the transaction was accepted, and its stored record is damaged";
            Problem::new(Code::RecordDamaged, detail).retry_after(DAMAGED_RETRY_SECONDS)
        }
        ReadError::Io(error) => {
            tracing::error!(%error, "a record cannot be read");
            Problem::new(Code::Unavailable, "the record cannot be read now").retry_after(5)
        }
    }
}

/// A person has to restore a file first.
const DAMAGED_RETRY_SECONDS: u64 = 300;

/// The header that tells a repeat from a first time.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The response to a single submission; `waited` when the client asked to wait.
pub(super) fn respond(
    state: &State,
    answered: Answered,
    waited: bool,
) -> Result<Response, Problem> {
    let (id, record, duplicate, live) = match answered {
        Answered::Accepted { id, record, duplicate, live } => (id, record, duplicate, live),
        Answered::Problem(problem) => return Err(problem),
    };
    let receipt = Receipt::of(id, &record, state.zone);
    let live = live.filter(|_| waited);
    let (status, body) = match &live {
        None => (StatusCode::ACCEPTED, json(&receipt)?),
        Some(live) => {
            let mut waited = waited_for(&receipt, id, live);
            if let Live::Applied { at, .. } = live {
                waited.effective_on = effective_on(state, &record, *at);
            }
            (StatusCode::OK, json(&waited)?)
        }
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(location) = HeaderValue::try_from(format!("/v1/transactions/{id}")) {
        headers.insert(header::LOCATION, location);
    }
    if duplicate {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn waited_for<'a>(receipt: &'a Receipt<'a>, id: TransactionId, live: &'a Live) -> Waited<'a> {
    let body = |answer: &'a Answer| CoreAnswer::of(&answer.body);
    let (outcome, fund_settled, counter_action, ticket, code, answer) = match live {
        Live::Applied { answer, .. } => {
            (WaitOutcome::Applied, FundSettled::True, Advice::ChargeSplit, None, None, body(answer))
        }
        Live::Refused { code, answer } => (
            WaitOutcome::Refused,
            FundSettled::False,
            Advice::None,
            None,
            Some(code.as_str()),
            body(answer),
        ),
        Live::Ticketed => (
            WaitOutcome::Ticketed,
            FundSettled::False,
            Advice::ChargeFull,
            Some(TicketId::from(id)),
            None,
            None,
        ),
        Live::DoNotFinalise => (
            WaitOutcome::DoNotFinalise,
            FundSettled::Unknown,
            Advice::DoNotFinalise,
            None,
            None,
            None,
        ),
        Live::Waiting => (
            WaitOutcome::Waiting,
            receipt.fund_settled(),
            receipt.counter_action(),
            None,
            None,
            None,
        ),
    };
    let invoice = receipt::invoice(counter_action);
    let effective_on = None;
    Waited {
        receipt,
        outcome,
        fund_settled,
        counter_action,
        invoice,
        effective_on,
        ticket,
        code,
        answer,
    }
}

/// The day from which on counts what became of `record`, applied at `applied`, where its line does
/// not take effect at once.
pub(super) fn effective_on(state: &State, record: &Accepted, applied: Timestamp) -> Option<String> {
    let line = state.catalogue.line(&record.cell.business, record.cell.operation)?;
    line.effective_on(applied, state.zone).map(|day| day.to_string())
}

/// The body of anything that we made up ourselves.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    // Room for a receipt, so that it is not copied while it grows.
    let mut body = Vec::with_capacity(1536);
    match serde_json::to_writer(&mut body, value) {
        Ok(()) => Ok(body),
        Err(_) => Err(Problem::new(Code::Internal, "no body could be made")),
    }
}

/// A response with a JSON body.
pub(super) fn json_response(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response, Problem> {
    let mut response = Response::new(json(value)?.into());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
