//! The HTTP upstream and the simulated core, over real sockets.
//!
//! `adapter` puts the adapter before a server that answers, cuts and stays silent byte by byte;
//! `simulated` puts it before the simulated core. Here is what both need.

mod adapter;
mod simulated;

use bytes::Bytes;
use holdover::domain::cell::{Cell, Channel, Class, Operation};
use holdover::domain::ids::{AttemptNo, Seq, TransactionId};
use holdover::domain::numbers::Numbers;
use holdover::domain::outcome::{Finding, Outcome};
use holdover::domain::time::Timestamp;
use holdover::engine::ports::{Call, Upstream};
use holdover::upstream::{HttpOptions, HttpUpstream, ProbeExpect};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// Ends a test that hangs.
async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs")
}

/// Waits until `met`, which others bring about.
async fn until(what: &str, met: impl Fn() -> bool) {
    for _ in 0..200_000 {
        if met() {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    panic!("never came about: {what}");
}

fn id(seq: u64) -> TransactionId {
    Numbers::default().transaction(Seq(seq))
}

fn call_of(seq: u64, attempt: u32, business: &str) -> Call {
    Call {
        id: id(seq),
        attempt: AttemptNo(attempt),
        institution: "H11010500001".parse().unwrap(),
        cell: Cell {
            upstream: "agency".parse().unwrap(),
            business: business.parse().unwrap(),
            operation: Operation::Request,
            class: Class::Hospital,
            channel: Channel::System,
            district: "110105".parse().unwrap(),
            labels: Vec::new(),
            attributes: BTreeMap::new(),
        },
        idempotency_key: format!("key-{seq}").parse().unwrap(),
        accepted_at: Timestamp::from_millis(1_660_302_000_000),
        occurred_at: Timestamp::from_millis(1_660_301_999_000),
        received_from_person_at: None,
        credential: None,
        payload: Bytes::from_static(b"{\"subject\":\"visit-1\", \"n\" : 1 }"),
        attachments: Vec::new(),
    }
}

fn call(seq: u64) -> Call {
    call_of(seq, 1, "settlement.outpatient")
}

fn options(base_url: &str) -> HttpOptions {
    HttpOptions {
        name: "agency".parse().unwrap(),
        base_url: base_url.into(),
        connect_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(5),
        concurrency: 64,
        settle_time: Duration::from_secs(1),
        answers_questions: true,
        probe_path: "/health".into(),
        probe_query: None,
        probe_expect: ProbeExpect { status: 200, body: Some("\"up\":true".into()) },
        answer_bytes_max: 1024,
        takes_attachments: false,
    }
}

fn upstream(base_url: &str) -> HttpUpstream {
    HttpUpstream::new(options(base_url)).unwrap()
}

/// The same core, met with little patience.
fn hurry(base_url: &str) -> HttpUpstream {
    let answer_timeout = Duration::from_millis(50);
    HttpUpstream::new(HttpOptions { answer_timeout, ..options(base_url) }).unwrap()
}

async fn send(upstream: &HttpUpstream, call: Call) -> String {
    outcome(upstream.send(call, &|| true).await)
}

async fn ask(upstream: &HttpUpstream, seq: u64) -> String {
    match upstream.ask(id(seq)).await {
        Finding::Applied(_) => "applied".into(),
        Finding::Refused { code, .. } => format!("refused {code}"),
        Finding::NotFound { fenced } => format!("not found{}", if fenced { " fenced" } else { "" }),
        Finding::NoAnswer => "no answer".into(),
    }
}

/// An outcome in words.
fn outcome(outcome: Outcome<Bytes>) -> String {
    match outcome {
        Outcome::Applied(_) => "applied".into(),
        Outcome::Refused { code, .. } => format!("refused {code}"),
        Outcome::Transient { reason, retry_after: Some(wait) } => {
            format!("{reason} {}", wait.as_secs())
        }
        Outcome::Transient { reason, retry_after: None } => reason.to_string(),
        Outcome::InDoubt(reason) => format!("doubt {reason}"),
    }
}
