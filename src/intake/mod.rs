//! The submitters' interface: `/v1` over HTTP, and topics of Kafka (`kafka`).
//!
//! ```text
//!  key ─► body (bounded) ─► wire (one parse) ─► check (everything at once) ─► seal
//!                                                                              │ Submission
//!  answer ◄── receipt ◄── accept record ◄──────────── engine (durable) ◄───────┘
//! ```
//!
//! Nothing is decided here that depends on the windows: policy, the key of the intent and the
//! order are the engine's step. Whose a request is comes from its key, never from its body;
//! what belongs to somebody else is not there (404). A patient's credential goes into the
//! submission in memory and nowhere else.

pub mod announce;
mod answer;
mod attachments;
mod batch;
pub mod bundle;
mod calendar;
mod check;
mod content;
mod deadlines;
mod ended;
mod history;
pub mod kafka;
mod lookup;
pub mod openapi;
mod plan;
mod receipt;
mod submit;
pub mod tally;
mod tickets;
pub mod transfers;
mod wire;
mod words;

use crate::domain::attachment::Format;
use crate::domain::catalogue::Catalogue;
use crate::domain::cell::{Channel, Institution};
use crate::domain::ids::{Seq, TicketId, TransactionId};
use crate::domain::numbers::Numbers;
use crate::domain::time::{Timestamp, Zone};
use crate::engine::event::Sought;
use crate::engine::ports::{Blobs, Clock, JournalReader, Listing, Vault};
use crate::engine::run::Handle;
use crate::web::access::{KeyFile, Principal, Scope};
use crate::web::body::BodyLimits;
use crate::web::problem::{self, Code, FieldError, Problem};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::routing::{MethodRouter, get, post};
use bundle::Bundles;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What the submitters' interface allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One submission, or any other small body; also one line of a batch.
    pub body: BodyLimits,
    /// A whole batch.
    pub batch: BodyLimits,
    /// Lines of a batch.
    pub batch_lines_max: usize,
    /// Lines of one batch that are in the engine at a time.
    pub batch_window: usize,
    /// How deep objects and lists of a payload may stand in each other.
    pub json_depth_max: usize,
    /// One file.
    pub attachment: BodyLimits,
    /// The longest wait for a core's answer that is granted.
    pub wait_max: Duration,
    /// How far ahead of ours a submitter's clock may be.
    pub clock_skew_max: Duration,
    /// Items of one page of a listing.
    pub page_items_max: usize,
    /// Records that are read at most to tell the history of one transaction.
    pub history_records_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: BodyLimits::default(),
            batch: BodyLimits { bytes_max: 32 << 20, timeout: Duration::from_secs(60) },
            attachment: BodyLimits { bytes_max: 10 << 20, timeout: Duration::from_secs(120) },
            batch_lines_max: 10_000,
            batch_window: 512,
            json_depth_max: 32,
            wait_max: Duration::from_secs(30),
            clock_skew_max: Duration::from_secs(600),
            page_items_max: 200,
            history_records_max: 4096,
        }
    }
}

/// Everything the submitters' interface works with.
pub struct State {
    /// The way into the engine.
    pub engine: Handle,
    /// Reads accept records for repeats and histories.
    pub journal: Arc<dyn JournalReader>,
    /// Hashes and seals.
    pub vault: Arc<dyn Vault>,
    /// The files that submissions name.
    pub blobs: Arc<dyn Blobs>,
    /// What may be uploaded.
    pub attachment_formats: Vec<Format>,
    /// The files under way.
    pub transfers: transfers::Transfers,
    /// Ends of transactions and listings.
    pub listing: Arc<dyn Listing>,
    /// Which businesses there are.
    pub catalogue: Arc<Catalogue>,
    /// Who may call.
    pub keys: Arc<KeyFile>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The numbers that are given out and understood.
    pub numbers: Arc<Numbers>,
    /// The zone that instants are shown in. Receipts are equal for ever as long as it is.
    pub zone: Zone,
    /// What is allowed.
    pub limits: Limits,
    /// Whether the disk's reserve has been reached, so that nothing new is taken.
    pub disk_reserve: Arc<AtomicBool>,
    /// What was answered.
    pub tally: Arc<tally::Tally>,
    /// Signs the policy ahead.
    pub bundles: Arc<Bundles>,
    /// How much each institution may ask.
    pub quotas: tally::Quotas,
    /// What people are told of.
    pub announcements: Arc<announce::Outbox>,
}

/// The state as handlers share it.
pub type Shared = Arc<State>;

/// Every route there is. The API document is held to this list.
fn routes() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/transactions", post(submit::one).get(lookup::list)),
        ("/v1/transactions/batch", post(batch::submit)),
        ("/v1/transactions/{id}", get(lookup::one)),
        ("/v1/transactions/{id}/withdraw", post(submit::withdraw)),
        (
            "/v1/attachments/{digest}",
            get(attachments::show).head(attachments::is_there).put(attachments::store),
        ),
        ("/v1/tickets", get(tickets::list)),
        ("/v1/tickets/{id}/close", post(tickets::close)),
        ("/v1/policy", get(plan::policy)),
        ("/v1/policy/bundle", get(bundle::fetch)),
        ("/v1/policy/keys", get(bundle::keys)),
        ("/v1/windows", get(plan::windows)),
        ("/v1/windows.ics", get(calendar::feed)),
        ("/v1/announcements", get(announce::listing::list)),
        ("/v1/deadlines", post(deadlines::register).get(deadlines::list)),
        ("/v1/deadlines/check", get(deadlines::check)),
        ("/openapi.json", get(openapi::document)),
    ]
}

/// The paths of every route, for the test of the API document.
#[must_use]
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().map(|(path, _)| path).collect()
}

/// The submitters' routes.
pub fn router(state: Shared) -> axum::Router {
    let mut router = axum::Router::new();
    for (path, methods) in routes() {
        router = router.route(path, methods);
    }
    problem::with_fallbacks(router).with_state(state)
}

/// Who is calling: an institution, with the scopes of its key.
#[derive(Clone)]
struct Caller(Arc<Principal>);

impl Caller {
    fn of(state: &State, headers: &HeaderMap, now: Timestamp) -> Result<Self, Problem> {
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        // Two of them: nobody knows whose request it is.
        let value = sent.next().filter(|_| sent.next().is_none());
        value
            .and_then(|value| value.to_str().ok())
            .and_then(|value| state.keys.bearer(value, now))
            .map(Self)
            .ok_or_else(Problem::unauthenticated)
    }

    /// The institution and its channels, where the key has `scope`.
    fn with(&self, scope: Scope) -> Result<(&Institution, &[Channel]), Problem> {
        let Some(submitter) = self.0.institution() else {
            let detail = "an operator's key is for the operators' listener";
            return Err(Problem::new(Code::Forbidden, detail));
        };
        if !self.0.may(scope) {
            return Err(Problem::forbidden(scope));
        }
        Ok(submitter)
    }

    /// The institution, where the key may read.
    fn reads(&self) -> Result<&Institution, Problem> {
        self.with(Scope::Read).map(|(institution, _)| institution)
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        Self::of(state, &parts.headers, state.clock.now().wall)
    }
}

/// The place of a transaction or ticket of ours; no other number has one here.
fn own_place(state: &State, id: &str) -> Result<Seq, Problem> {
    let transaction = id.parse::<TransactionId>();
    let id = transaction.or_else(|_| id.parse::<TicketId>().map(TransactionId::from));
    id.ok()
        .and_then(|id| state.numbers.place(&id))
        .ok_or_else(|| Problem::not_found(Sought::Transaction))
}

/// The parts of a query string, each at most once.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(parts: &Parts) -> Result<Self, Problem> {
        let read = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        match read {
            Ok(axum::extract::Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(Problem::new(Code::Malformed, "the query string cannot be read")),
        }
    }

    /// Takes the value of `name` out.
    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Takes the value of `name` out and reads it; what is wrong goes to `problems`.
    fn read<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        problems: &mut Vec<FieldError>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = parse(&value);
        if read.is_none() {
            problems.push(FieldError {
                pointer: format!("/{name}"),
                detail: expected.into(),
                code: None,
            });
        }
        read
    }

    /// Everything has been taken out, and nothing was wrong.
    fn end(self, mut problems: Vec<FieldError>) -> Result<(), Problem> {
        for (name, _) in &self.0 {
            let pointer = wire::pointer_to("", name);
            problems.push(FieldError {
                pointer,
                detail: "unknown, or named twice".into(),
                code: None,
            });
        }
        if problems.is_empty() { Ok(()) } else { Err(Problem::fields(problems)) }
    }
}

/// Notes that the query lacks `name`.
fn missing(name: &'static str, problems: &mut Vec<FieldError>) {
    problems.push(FieldError { pointer: format!("/{name}"), detail: "missing".into(), code: None });
}

/// How many items a page has, and after which it begins.
struct Page {
    after: Seq,
    limit: usize,
}

impl Page {
    fn read(state: &State, query: &mut Query, problems: &mut Vec<FieldError>) -> Self {
        let largest = state.limits.page_items_max;
        let after = query.read("after", "expected an id of a listing", problems, |text| {
            own_place(state, text).ok().or_else(|| {
                state.numbers.place(&text.parse::<crate::domain::ids::DeadlineId>().ok()?)
            })
        });
        let limit = query.read("limit", "expected a number from 1", problems, |text| {
            text.parse::<usize>().ok().filter(|&limit| limit > 0)
        });
        Self { after: after.unwrap_or_default(), limit: limit.unwrap_or(50).min(largest) }
    }
}

/// Of a listing that has no other parameters.
impl FromRequestParts<Shared> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Problem> {
        let (mut query, mut problems) = (Query::of(parts)?, Vec::new());
        let page = Self::read(state, &mut query, &mut problems);
        query.end(problems).map(|()| page)
    }
}
