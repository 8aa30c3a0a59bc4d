//! What would happen, and what is planned: policy and windows for submitters.
//!
//! Who declared a window and why is the operators' affair; submitters see the notice, the rows
//! and the times.

use super::answer;
use super::check::{self, Given};
use super::{Caller, Query, Shared, missing};
use crate::domain::catalogue::{AttributeKind, Line, SPECIAL_CASE};
use crate::domain::cell::{Channel, Operation};
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, WindowId};
use crate::domain::policy::{Advice, Disposition};
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::{Phase, Window};
use crate::engine::explain::{self, Asked, Because, Explained, Lost};
use crate::web::problem::{self, FieldError, PolicyMention, Problem};
use axum::extract::{Request, State as Taken};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What would be done with a submission.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Policy {
    #[schema(value_type = String)]
    business: Business,
    #[schema(value_type = String)]
    operation: Operation,
    #[schema(value_type = String)]
    channel: Channel,
    /// The instant that was asked about.
    at: String,
    /// What would be done.
    #[schema(value_type = String)]
    disposition: Disposition,
    /// What the counter would be told.
    #[schema(value_type = String)]
    counter_action: Advice,
    /// What decides: `ordinary_day`, `window`, `service_hours`, `gate_closed` or `no_credit`.
    #[schema(value_type = String)]
    because: Because,
    /// The row of the notice that decides; none on an ordinary day.
    policy: Option<PolicyMention>,
    /// When the stop is planned to be over.
    resume_at: Option<String>,
    /// Why that is not known, where the calendar is the reason: `no_calendar`.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_unknown: Option<problem::Code>,
    /// Where to go instead.
    alternative: Option<String>,
    /// What to bring or keep.
    bring: Vec<String>,
    /// Whether a report file must be attached.
    needs_report_file: bool,
    /// Whether a live attempt needs the patient's credential.
    needs_credential: bool,
    /// How the gate stands; absent where the question is not about now.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<GateState>,
    /// The service hours of the business.
    service_hours: Vec<HoursThen>,
    /// What else speaks of it, and why that does not decide.
    others: Vec<OtherRow>,
}

/// Service hours at the instant that was asked about.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HoursThen {
    #[schema(value_type = String)]
    name: WindowId,
    /// Whether they are on.
    open: bool,
    /// When that changes next; absent where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// A row that speaks of the submission and does not decide.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct OtherRow {
    /// Where it stands; version 0 is that of service hours.
    policy: PolicyMention,
    /// What it says; none where nobody has decided yet.
    #[schema(value_type = Option<String>)]
    disposition: Option<Disposition>,
    /// Why it does not decide: `narrower_row`, `earlier_row`, `not_in_force`, `stricter`,
    /// `first_of_equals` or `within_hours`.
    #[schema(value_type = String)]
    lost: Lost,
}

/// Says what would be done with a submission, and why. Further parameters are attributes.
#[utoipa::path(
    get,
    path = "/v1/policy",
    operation_id = "askPolicy",
    params(
        ("business" = String, Query, description = "The business"),
        ("operation" = String, Query, description = "What is done to it"),
        ("channel" = Option<String>, Query, description = "One of the key's channels"),
        ("at" = Option<String>, Query, description = "The instant asked about; now where not said"),
        ("ground" = Option<String>, Query, description = "The ground of a special case"),
    ),
    responses(
        (status = 200, description = "What would be done", body = Policy),
        (status = 422, description = "Wrong parameters", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn policy(
    Taken(state): Taken<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (institution, channels) = caller.with(crate::web::access::Scope::Read)?;
    let (head, _) = request.into_parts();
    let (mut query, mut problems) = (Query::of(&head)?, Vec::new());
    let at = query.read("at", "expected an instant with its offset", &mut problems, |text| {
        text.parse::<Timestamp>().ok()
    });
    let line = line(&state.catalogue.lines, &mut query, &mut problems);
    let named = query.read("channel", "expected one of the key's channels", &mut problems, |c| {
        c.parse::<Channel>().ok().filter(|channel| channels.contains(channel))
    });
    let has_ground = query.take("ground").is_some();
    let channel = named.or(match channels {
        [only] => Some(*only),
        _ => None,
    });
    if channel.is_none() && !problems.iter().any(|p| p.pointer == "/channel") {
        missing("channel", &mut problems);
    }
    if line.is_some_and(|line| !line.classes.contains(&institution.class)) {
        let detail = format!("not open to a submitter of class {}", institution.class).into();
        problems.push(FieldError { pointer: "/operation".to_owned(), detail, code: None });
    }
    if let (Some(line), Some(channel)) = (line, channel)
        && !line.channels.contains(&channel)
    {
        let detail = format!("not open through the channel {channel}").into();
        problems.push(FieldError { pointer: "/channel".to_owned(), detail, code: None });
    }
    let (Some(line), Some(channel)) = (line, channel) else {
        return Err(Problem::fields(problems));
    };
    let attributes = attributes(line, has_ground, &mut query, &mut problems);
    query.end(problems)?;

    let cell = check::cell(line, institution, channel, &attributes);
    let (normal, queued, credit) = (line.normal, line.queued, institution.credit);
    let explained = state.engine.read(move |machine, now| {
        machine.explain(&Asked { cell: &cell, normal, queued, credit }, at, now.wall)
    });
    let explained = explained.await.ok_or_else(answer::unavailable)?;
    answer::json_response(StatusCode::OK, &explain(line, channel, explained, state.zone))
}

fn explain(line: &Line, channel: Channel, explained: Explained, zone: Zone) -> Policy {
    let Explained { at, decision: said, because, unknown, gate, hours, others } = explained;
    let then = |one: explain::HoursThen| HoursThen {
        name: one.name,
        open: one.is_open,
        until: one.until.map(|at| at.rfc3339(zone)),
    };
    let other = |one: explain::Other| OtherRow {
        policy: PolicyMention::from(&one.row),
        disposition: one.disposition,
        lost: one.lost,
    };
    Policy {
        business: line.business.clone(),
        operation: line.operation,
        channel,
        at: at.rfc3339(zone),
        disposition: said.disposition,
        counter_action: said.advice,
        because,
        policy: said.row.as_ref().map(PolicyMention::from),
        resume_at: said.resume_at.map(|at| at.rfc3339(zone)),
        resume_unknown: unknown.map(|_| problem::Code::NoCalendar),
        alternative: said.alternative,
        bring: said.bring,
        needs_report_file: said.needs_report_file,
        needs_credential: line.needs_credential,
        gate,
        service_hours: hours.into_iter().map(then).collect(),
        others: others.into_iter().map(other).collect(),
    }
}

fn line<'l>(
    lines: &'l [Line],
    query: &mut Query,
    problems: &mut Vec<FieldError>,
) -> Option<&'l Line> {
    let business = query.take("business");
    let operation = query.take("operation");
    if business.is_none() {
        missing("business", problems);
    }
    if operation.is_none() {
        missing("operation", problems);
    }
    let (business, operation) = (business?, operation?);
    let of_business = |line: &&Line| line.business.as_str() == business;
    if !lines.iter().any(|line| of_business(&line)) {
        let detail = "the catalogue has no such business".into();
        problems.push(FieldError { pointer: "/business".to_owned(), detail, code: None });
        return None;
    }
    let found = lines.iter().filter(of_business).find(|l| l.operation.as_str() == operation);
    if found.is_none() {
        let detail = "the catalogue has no such operation of this business".into();
        problems.push(FieldError { pointer: "/operation".to_owned(), detail, code: None });
    }
    found
}

/// The attributes among the rest of the query.
fn attributes(
    line: &Line,
    has_ground: bool,
    query: &mut Query,
    problems: &mut Vec<FieldError>,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for name in line.attributes.keys() {
        let Some(text) = query.take(name) else { continue };
        let is_list = line.attributes.get(name).is_some_and(|a| a.kind == AttributeKind::List);
        let given = match text.as_str() {
            items if is_list => Given::List(items.split(',').map(str::to_owned).collect()),
            "true" => Given::Boolean(true),
            "false" => Given::Boolean(false),
            _ => Given::Text(Cow::Borrowed(text.as_str())),
        };
        match check::attribute(line, name, &given) {
            Ok(value) => drop(values.insert(name.clone(), value)),
            Err(detail) => {
                problems.push(FieldError { pointer: format!("/{name}"), detail, code: None })
            }
        }
    }
    if line.has_special_case() {
        values.insert(SPECIAL_CASE.to_owned(), has_ground.to_string());
    }
    for name in line.lacking(&values) {
        // Named wrong, it is not missing.
        let pointer = format!("/{name}");
        if !problems.iter().any(|problem| problem.pointer == pointer) {
            let detail = "is missing, and policy may distinguish by it".into();
            problems.push(FieldError { pointer, detail, code: None });
        }
    }
    values
}

/// One row of a notice.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PlannedRow {
    /// The notice's clause.
    clause: String,
    /// The cells it speaks of.
    #[schema(value_type = Object)]
    cells: crate::domain::cell::Selector,
    /// What is done with them; none where nobody has decided yet.
    #[schema(value_type = Option<String>)]
    disposition: Option<Disposition>,
    /// What the counter is told.
    #[schema(value_type = String)]
    counter_action: Advice,
    /// When these cells stop.
    starts_at: String,
    /// When they are planned to be back.
    ends_at: String,
}

/// A planned stop.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Planned {
    #[schema(value_type = String)]
    id: WindowId,
    version: u32,
    #[schema(value_type = String)]
    phase: Phase,
    /// The zone its times are meant in.
    zone: String,
    starts_at: String,
    ends_at: String,
    /// Who published the notice that it rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// When the notice was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<String>,
    rows: Vec<PlannedRow>,
}

/// What is planned.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PlannedList {
    items: Vec<Planned>,
}

/// Lists the planned stops, oldest first.
#[utoipa::path(
    get,
    path = "/v1/windows",
    operation_id = "listWindows",
    responses((status = 200, description = "What is planned", body = PlannedList)),
    security(("key" = []))
)]
pub(super) async fn windows(
    Taken(state): Taken<Shared>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.reads()?;
    let seen = state.engine.read(|machine, now| machine.windows_and_phases(now.wall));
    let windows = seen.await.ok_or_else(answer::unavailable)?;
    let items = windows.iter().map(|(window, phase)| planned(window, *phase)).collect();
    answer::json_response(StatusCode::OK, &PlannedList { items })
}

/// A window as submitters see it.
pub(super) fn planned(window: &Window, phase: Phase) -> Planned {
    let zone = window.zone;
    let rows = window.policy.iter().map(|row| {
        let stretch = window.interval_of(row);
        PlannedRow {
            clause: row.clause.clone(),
            cells: row.cells.clone(),
            disposition: row.disposition,
            counter_action: row.advice,
            starts_at: stretch.start.rfc3339(zone),
            ends_at: stretch.end.rfc3339(zone),
        }
    });
    Planned {
        id: window.id.clone(),
        version: window.version,
        phase,
        zone: zone.to_string(),
        starts_at: window.planned.start.rfc3339(zone),
        ends_at: window.planned.end.rfc3339(zone),
        source: window.notice.as_ref().map(|notice| notice.source.clone()),
        published_at: window.notice.as_ref().map(|n| n.published_at.rfc3339(zone)),
        rows: rows.collect(),
    }
}
