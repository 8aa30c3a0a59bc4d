//! The policy ahead as a signed bundle, for systems that must know what to do while we are away.
//!
//! A hospital's system fetches it now and then and keeps the last. It says, for everything that its
//! key may submit, what would be done from when to when by what is planned: the same answers that
//! `GET /v1/policy` gives about each of those instants, which a test compares. It knows of no core
//! that goes away without a plan. The signature (`web/sign`) lets a counter believe a copy that came
//! over a memory stick; the bundle says until when it may be relied on.

use super::answer;
use super::{Caller, Shared, check};
use crate::domain::catalogue::Line;
use crate::domain::cell::{Cell, Channel, Institution};
use crate::domain::policy::Disposition;
use crate::domain::review::attribute_sets;
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::Decision;
use crate::engine::explain::{Asked, Because};
use crate::web::access::Scope;
use crate::web::problem::{PolicyMention, Problem};
use crate::web::sign::Signer;
use axum::extract::State as Taken;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far ahead it speaks: recurring stops are declared that far ahead by default.
const AHEAD: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it may be relied on: a window that is declared meanwhile is not in it.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// Instants at which anything may change that are looked at; it speaks of no time after the last.
const EDGES_MAX: usize = 96;
/// How long one answer serves an institution's key: it takes the engine a moment to make.
const MADE_FOR: Duration = Duration::from_secs(10);
/// Keys whose last answer is kept.
const KEPT_MAX: usize = 4096;
/// What it is, for whoever verifies it.
const KIND: &str = "holdover-policy+jws";

/// Whose a bundle is: an institution's, for the channels of one of its keys.
type Whose = (String, Vec<Channel>);

/// Who signs bundles, and those that were made just now.
pub struct Bundles {
    signer: Signer,
    made: Mutex<HashMap<Whose, (Timestamp, Arc<str>)>>,
}

impl Bundles {
    /// None made yet.
    #[must_use]
    pub fn new(signer: Signer) -> Self {
        Self { signer, made: Mutex::default() }
    }

    fn kept(&self, whose: &Whose, now: Timestamp) -> Option<Arc<str>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, signed) = made.get(whose)?;
        (*at <= now && now.since(*at) < MADE_FOR).then(|| Arc::clone(signed))
    }

    fn keep(&self, whose: Whose, now: Timestamp, signed: &str) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= KEPT_MAX {
            made.clear();
        }
        made.insert(whose, (now, signed.into()));
    }
}

#[derive(Debug, Serialize)]
struct Bundle {
    /// Whom it speaks to.
    institution: String,
    /// When it was made.
    issued_at: String,
    /// Until when it may be relied on.
    expires_at: String,
    /// The zone of its times.
    zone: String,
    /// The windows that it knows, and their versions.
    windows: Vec<Known>,
    /// What would be done, kind by kind.
    policy: Vec<Ahead>,
}

#[derive(Debug, Serialize)]
struct Known {
    id: String,
    version: u32,
}

#[derive(Debug, Serialize)]
struct Ahead {
    business: String,
    operation: String,
    channel: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    /// Whether a live attempt needs the patient's credential.
    needs_credential: bool,
    /// One after the other, without gaps.
    spans: Vec<Span>,
}

#[derive(Debug, Serialize)]
struct Span {
    from: String,
    until: String,
    disposition: Disposition,
    counter_action: String,
    because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyMention>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alternative: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bring: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    needs_report_file: bool,
}

/// Fetches what policy makes of each kind of submission in the next seven days, signed.
#[utoipa::path(
    get,
    path = "/v1/policy/bundle",
    operation_id = "fetchPolicyBundle",
    responses((status = 200, description = "A JSON Web Signature (RFC 7515, compact, EdDSA) over a JSON object; keep the last one, and go by it while Holdover cannot be reached, until its expires_at", body = String, content_type = "application/jose")),
    security(("key" = []))
)]
pub(super) async fn fetch(
    Taken(state): Taken<Shared>,
    caller: Caller,
) -> Result<Response, Problem> {
    let (institution, channels) = caller.with(Scope::Read)?;
    let now = state.clock.now().wall;
    let whose = (institution.code.to_string(), channels.to_vec());
    if let Some(signed) = state.bundles.kept(&whose, now) {
        return Ok(response(signed.to_string()));
    }
    let cells = cells(&state.catalogue.lines, institution, channels);
    let (catalogue, zone, credit) = (Arc::clone(&state.catalogue), state.zone, institution.credit);
    let institution = institution.code.to_string();
    let bundle = state.engine.read(move |machine, now| {
        let now = now.wall;
        let (windows, edges, until) = machine.plan_ahead(now, now.after(AHEAD), EDGES_MAX);
        let ahead = |(place, channel, attributes, cell): (usize, Channel, _, Cell)| {
            let line = catalogue.lines.get(place)?;
            let asked = Asked { cell: &cell, normal: line.normal, queued: line.queued, credit };
            Some(Ahead {
                business: line.business.to_string(),
                operation: line.operation.to_string(),
                channel: channel.to_string(),
                attributes,
                needs_credential: line.needs_credential,
                spans: spans(machine.ahead(&asked, &edges, &windows, now), until, zone),
            })
        };
        Bundle {
            institution,
            issued_at: now.rfc3339(zone),
            expires_at: now.after(GOOD_FOR).rfc3339(zone),
            zone: zone.to_string(),
            windows: windows.iter().map(known).collect(),
            policy: cells.into_iter().filter_map(ahead).collect(),
        }
    });
    let bundle = bundle.await.ok_or_else(answer::unavailable)?;
    let text = serde_json::to_vec(&bundle)
        .map_err(|_| Problem::new(crate::web::problem::Code::Internal, "no bundle was made"))?;
    let signed = state.bundles.signer.sign(KIND, &text);
    state.bundles.keep(whose, now, &signed);
    Ok(response(signed))
}

fn response(signed: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/jose")], signed).into_response()
}

/// Fetches the public key that bundles are verified with.
#[utoipa::path(
    get,
    path = "/v1/policy/keys",
    operation_id = "fetchPolicyKeys",
    responses((status = 200, description = "A JSON Web Key Set (RFC 7517)", body = Object, content_type = "application/jwk-set+json")),
    security(("key" = []))
)]
pub(super) async fn keys(Taken(state): Taken<Shared>, caller: Caller) -> Result<Response, Problem> {
    caller.reads()?;
    let kind = [(header::CONTENT_TYPE, "application/jwk-set+json")];
    Ok((StatusCode::OK, kind, state.bundles.signer.key_set().to_string()).into_response())
}

fn known(window: &Arc<crate::domain::window::Window>) -> Known {
    Known { id: window.id.to_string(), version: window.version }
}

/// Every kind of submission that a key may make, as policy tells them apart.
fn cells(
    lines: &[Line],
    institution: &Institution,
    channels: &[Channel],
) -> Vec<(usize, Channel, BTreeMap<String, String>, Cell)> {
    let mut cells = Vec::new();
    let open = |(_, line): &(usize, &Line)| line.classes.contains(&institution.class);
    for (place, line) in lines.iter().enumerate().filter(open) {
        for &channel in channels.iter().filter(|channel| line.channels.contains(channel)) {
            for attributes in attribute_sets(line) {
                let cell = check::cell(line, institution, channel, &attributes);
                cells.push((place, channel, attributes, cell));
            }
        }
    }
    cells
}

/// Stretches of the same answer as one. Instants at which something may change but does not end none.
fn spans(said: Vec<(Timestamp, Decision, Because)>, until: Timestamp, zone: Zone) -> Vec<Span> {
    let mut kept: Vec<(Timestamp, Decision, Because)> = Vec::new();
    for one in said {
        if kept.last().is_none_or(|(_, before, _)| *before != one.1) {
            kept.push(one);
        }
    }
    let ends: Vec<Timestamp> = kept.iter().skip(1).map(|(at, ..)| *at).chain([until]).collect();
    let span = |((from, said, because), until): ((Timestamp, Decision, Because), Timestamp)| Span {
        from: from.rfc3339(zone),
        until: until.rfc3339(zone),
        disposition: said.disposition,
        counter_action: said.advice.to_string(),
        because: because.to_string(),
        policy: said.row.as_ref().map(PolicyMention::from),
        resume_at: said.resume_at.map(|at| at.rfc3339(zone)),
        alternative: said.alternative,
        bring: said.bring,
        needs_report_file: said.needs_report_file,
    };
    kept.into_iter().zip(ends).map(span).collect()
}
