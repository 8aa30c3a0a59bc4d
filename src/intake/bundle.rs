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
use crate::engine::explain::{Asked, Explained};
use crate::engine::machine::Machine;
use crate::web::access::Scope;
use crate::web::problem::{PolicyMention, Problem};
use axum::extract::State as Taken;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How far ahead it speaks: recurring stops are declared that far ahead by default.
const AHEAD: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long it may be relied on: a window that is declared meanwhile is not in it.
const GOOD_FOR: Duration = Duration::from_secs(24 * 3600);
/// Stretches of one kind of submission; what changes more often ends where they do.
const SPANS_MAX: usize = 64;
/// What it is, for whoever verifies it.
const KIND: &str = "holdover-policy+jws";

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
    let cells = cells(&state.catalogue.lines, institution, channels);
    let (catalogue, zone, credit) = (Arc::clone(&state.catalogue), state.zone, institution.credit);
    let institution = institution.code.to_string();
    let bundle = state.engine.read(move |machine, now| {
        let (now, until) = (now.wall, now.wall.after(AHEAD));
        let ahead = |(place, channel, attributes, cell): (usize, Channel, _, Cell)| {
            let line = catalogue.lines.get(place)?;
            let asked = Asked { cell: &cell, normal: line.normal, queued: line.queued, credit };
            Some(Ahead {
                business: line.business.to_string(),
                operation: line.operation.to_string(),
                channel: channel.to_string(),
                attributes,
                needs_credential: line.needs_credential,
                spans: spans(machine, &asked, now, until, zone),
            })
        };
        Bundle {
            institution,
            issued_at: now.rfc3339(zone),
            expires_at: now.after(GOOD_FOR).rfc3339(zone),
            zone: zone.to_string(),
            windows: machine.windows().iter().map(known).collect(),
            policy: cells.into_iter().filter_map(ahead).collect(),
        }
    });
    let bundle = bundle.await.ok_or_else(answer::unavailable)?;
    let text = serde_json::to_vec(&bundle)
        .map_err(|_| Problem::new(crate::web::problem::Code::Internal, "no bundle was made"))?;
    let signed = state.signer.sign(KIND, &text);
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/jose")], signed).into_response())
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
    Ok((StatusCode::OK, kind, state.signer.key_set().to_string()).into_response())
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

/// What would be done from `from` to `until`, where it changes.
fn spans(
    machine: &Machine,
    asked: &Asked<'_>,
    from: Timestamp,
    until: Timestamp,
    zone: Zone,
) -> Vec<Span> {
    let mut spans: Vec<(Timestamp, Timestamp, Explained)> = Vec::new();
    let mut at = from;
    while at < until && spans.len() < SPANS_MAX {
        let said = machine.explain(asked, Some(at), from);
        let next = machine.next_change(at).unwrap_or(until).min(until);
        match spans.last_mut() {
            Some((_, ends, before)) if before.decision == said.decision => *ends = next,
            Some(_) | None => spans.push((at, next, said)),
        }
        at = next;
    }
    let span = |(from, until, said): (Timestamp, Timestamp, Explained)| Span {
        from: from.rfc3339(zone),
        until: until.rfc3339(zone),
        disposition: said.decision.disposition,
        counter_action: said.decision.advice.to_string(),
        because: said.because.to_string(),
        policy: said.decision.row.as_ref().map(PolicyMention::from),
        resume_at: said.decision.resume_at.map(|at| at.rfc3339(zone)),
        alternative: said.decision.alternative,
        bring: said.decision.bring,
        needs_report_file: said.decision.needs_report_file,
    };
    spans.into_iter().map(span).collect()
}
