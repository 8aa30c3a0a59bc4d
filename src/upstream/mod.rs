//! The core systems, as Holdover sees them: adapters behind `engine::ports::Upstream`.
//!
//! The contract of every adapter, in words:
//! - It answers *applied* or *refused* only where the core itself said so, in a form the adapter
//!   lists.
//! - It answers *transient* only where it knows that the core did not apply the attempt: no byte
//!   was sent, or the core said so in a listed form.
//! - Everything else is *in doubt*: no answer in time, a cut connection, an answer that cannot be
//!   read or is not listed, a maintenance page in front of the core. It is never guessed.
//! - `may_start` is asked between having a connection and writing to it. After a no, nothing is
//!   written. Nothing is ever written twice for one call.
//! - Questions and probes have no effect, and a failing one teaches nothing.
//!
//! `http` and `kafka` are the adapters, `answer` their table of answers, `connection` the sockets
//! beneath the first;
//! `scripted` is the simulated core that demos, tests and benchmarks talk to.
//! When to probe and how often to ask is not decided here.

pub mod answer;
mod connection;
pub mod http;
pub mod kafka;
pub mod scripted;

pub use answer::business_status;
pub use http::{FILES_AT_A_TIME, HttpOptions, HttpUpstream, ProbeExpect};
pub use kafka::{KafkaOptions, KafkaUpstream};

use crate::engine::ports::Call;

/// What every adapter tells a core about a call, besides its payload: names in lower case, values
/// of visible ASCII. A credential is not among it.
fn call_headers(call: &Call) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(12);
    headers.extend([
        ("holdover-transaction-id", call.id.to_string()),
        ("idempotency-key", call.idempotency_key.as_str().to_owned()),
        ("holdover-institution", call.institution.to_string()),
        ("holdover-business", call.cell.business.as_str().to_owned()),
        ("holdover-operation", call.cell.operation.as_str().to_owned()),
        ("holdover-accepted-at", call.accepted_at.to_string()),
        ("holdover-occurred-at", call.occurred_at.to_string()),
    ]);
    if let Some(at) = call.received_from_person_at {
        headers.push(("holdover-received-from-person-at", at.to_string()));
    }
    if !call.attachments.is_empty() {
        let digests: Vec<String> = call.attachments.iter().map(|a| a.digest.to_string()).collect();
        headers.push(("holdover-attachments", digests.join(",")));
    }
    headers.extend([
        ("holdover-attempt", call.attempt.0.to_string()),
        ("holdover-repeat", (call.attempt.0 > 1).to_string()),
        ("holdover-cell", call.cell.to_string()),
    ]);
    headers
}
