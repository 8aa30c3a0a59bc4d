//! What is told of a record: its answer, or its dead letter.
//!
//! An answer is a CloudEvent in binary form: the receipt, or the refusal by policy, under the
//! record's own key, so that the answers of a key stand in one partition. A dead letter is the
//! record as it was, with headers that say why and whence. Both name topic, partition and offset
//! of the record. Which of the two it becomes is decided in [`Outgoing::of`] alone.

use super::Options;
use super::envelope::SPEC_VERSION;
use crate::intake::State;
use crate::intake::answer::{self, Answered};
use crate::intake::receipt::Receipt;
use crate::kafka::{Watcher, text};
use crate::telemetry::events::kafka::{self as events, RecordOutcome};
use crate::web::problem::{Code, Problem};
use rdkafka::Message;
use rdkafka::message::{OwnedHeaders, OwnedMessage};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};

/// The type of the event that has a receipt.
const RECEIPT: &str = "holdover.transaction.receipt";
/// The type of the event that has a refusal by policy.
const REFUSAL: &str = "holdover.transaction.refusal";
/// What every event of ours comes from.
const SOURCE: &str = "/holdover/v1";
/// A value above this is not copied: topics take 1 MiB a message by default, headers included.
const COPIED_BYTES_MAX: usize = 900 * 1024;

/// A record of ours, not sent yet.
pub(super) struct Outgoing {
    topic: String,
    headers: OwnedHeaders,
    body: Body,
    outcome: RecordOutcome,
}

enum Body {
    Ours(Vec<u8>),
    /// The value of the record itself.
    Copied,
    /// The record had none, or one that is too large.
    None,
}

impl Outgoing {
    /// What is told of `record`, to which `answered` is the answer.
    ///
    /// # Errors
    /// The problem itself, where the record is to be tried again.
    pub(super) fn of(
        state: &State,
        options: &Options,
        record: &OwnedMessage,
        answered: &Answered,
    ) -> Result<Self, Problem> {
        let problem = match answered {
            Answered::Accepted { id, record: accepted, duplicate, live: _ } => {
                let body = answer::json(&Receipt::of(*id, accepted, state.zone))?;
                let headers = event(RECEIPT, &id.to_string(), "application/json", record);
                let headers = match duplicate {
                    true => headers.insert(text("holdover-replayed", "true")),
                    false => headers,
                };
                let outcome = match duplicate {
                    true => RecordOutcome::Duplicate,
                    false => RecordOutcome::Accepted,
                };
                let topic = options.answers_of(record.topic());
                return Ok(Self { topic, headers, body: Body::Ours(body), outcome });
            }
            Answered::Problem(problem) => problem,
        };
        if is_for_now(problem.code) {
            return Err(problem.clone());
        }
        if let (Code::BusinessSuspended, Some(refusal)) = (problem.code, &problem.refusal) {
            let body = answer::json(problem)?;
            return Ok(Self {
                topic: options.answers_of(record.topic()),
                headers: event(REFUSAL, refusal, "application/problem+json", record),
                body: Body::Ours(body),
                outcome: RecordOutcome::TurnedAway,
            });
        }
        Ok(Self::dead_letter(options, record, problem))
    }

    fn dead_letter(options: &Options, record: &OwnedMessage, problem: &Problem) -> Self {
        let theirs = record.headers().cloned().unwrap_or_default();
        let mut headers = whence(theirs, record)
            .insert(text("holdover-reason", problem.code.as_str()))
            .insert(text("holdover-detail", &problem.detail));
        for error in &problem.errors {
            let said = format!("{}: {}", error.pointer, error.detail);
            headers = headers.insert(text("holdover-error", &said));
        }
        let body = match record.payload() {
            Some(value) if value.len() <= COPIED_BYTES_MAX => Body::Copied,
            Some(_) => {
                headers = headers.insert(text("holdover-value", "too large, left where it stands"));
                Body::None
            }
            None => Body::None,
        };
        events::dead_letter(
            record.topic(),
            record.partition(),
            record.offset(),
            problem.code.as_str(),
        );
        let topic = options.dead_letters_of(record.topic());
        Self { topic, headers, body, outcome: RecordOutcome::DeadLettered }
    }

    /// Hands it to the client, which delivers it in this order.
    ///
    /// # Errors
    /// When the client takes nothing.
    pub(super) fn send(
        self,
        producer: &FutureProducer<Watcher>,
        record: &OwnedMessage,
    ) -> Result<DeliveryFuture, rdkafka::error::KafkaError> {
        let mut out = FutureRecord::to(&self.topic).headers(self.headers);
        if let Some(key) = record.key() {
            out = out.key(key);
        }
        match &self.body {
            Body::Ours(body) => out = out.payload(body.as_slice()),
            Body::Copied => {
                if let Some(value) = record.payload() {
                    out = out.payload(value);
                }
            }
            Body::None => {}
        }
        let sent = producer.send_result(out).map_err(|(error, _)| error)?;
        events::record(self.outcome);
        Ok(sent)
    }
}

/// Whether the same record may be taken later: the fault is not its own.
fn is_for_now(code: Code) -> bool {
    match code {
        Code::QuotaExceeded
        | Code::DiskReserve
        | Code::IndexUnavailable
        | Code::Unavailable
        | Code::Quarantined => true,
        Code::Malformed
        | Code::Invalid
        | Code::CredentialInPayload
        | Code::AttachmentNotStored
        | Code::IdempotencyKeyMissing
        | Code::IdempotencyKeyReused
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::WrongState
        | Code::Changed
        | Code::VersionMissing
        | Code::BeingReplaced
        | Code::OpenTicket
        | Code::PolicyDemands
        | Code::NotCovered
        | Code::NoCalendar
        | Code::BusinessSuspended
        | Code::RecordDamaged
        | Code::Internal => false,
    }
}

/// The headers of an event in binary form.
pub(super) fn cloud_event(kind: &str, id: &str, content: &str) -> OwnedHeaders {
    OwnedHeaders::new()
        .insert(text("ce_specversion", SPEC_VERSION))
        .insert(text("ce_id", id))
        .insert(text("ce_source", SOURCE))
        .insert(text("ce_type", kind))
        .insert(text("content-type", content))
}

fn event(kind: &str, id: &str, content: &str, record: &OwnedMessage) -> OwnedHeaders {
    whence(cloud_event(kind, id, content), record)
}

/// Where the record stands that this is about.
fn whence(headers: OwnedHeaders, record: &OwnedMessage) -> OwnedHeaders {
    headers
        .insert(text("holdover-topic", record.topic()))
        .insert(text("holdover-partition", &record.partition().to_string()))
        .insert(text("holdover-offset", &record.offset().to_string()))
}
