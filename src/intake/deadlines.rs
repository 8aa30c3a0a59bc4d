//! Deadlines: registering a case that has no transaction, and asking for any date.
//!
//! A date that is answered counts as told: the engine journals it first, and it is never moved
//! earlier afterwards.

use super::answer;
use super::check::parse_day;
use super::submit::{plain, posted};
use super::{Caller, Page, Query, Shared, State, missing};
use crate::domain::deadline::Computed;
use crate::domain::ids::{Business, DeadlineId};
use crate::domain::time::{CivilDate, Now, Timestamp, Zone};
use crate::engine::change::Case;
use crate::engine::event::{Fault, Reply};
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Search};
use crate::engine::view::DeadlineView;
use crate::web::problem::{self, DeadlineMention, FieldError, Problem, rule_word};
use axum::extract::{Request, State as Taken};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

/// A case to register.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    /// The business.
    business: String,
    /// The date, `yyyy-MM-dd`.
    original: String,
    /// The registrant's own reference, which tells this case from others of the same business and
    /// date; kept only as a keyed hash.
    reference: String,
}

/// One move of a date.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Move {
    #[schema(value_type = String, format = Date)]
    from: CivilDate,
    #[schema(value_type = String, format = Date)]
    to: CivilDate,
    rule: String,
    clause: String,
    window: String,
    version: u32,
    /// The version of the calendar that was counted by.
    calendar: String,
}

/// A deadline as it holds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Deadline {
    /// Its number, where it is registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    id: Option<DeadlineId>,
    #[schema(value_type = String)]
    business: Business,
    #[serde(flatten)]
    date: DeadlineMention,
    /// Each move with its rule and clause, in order.
    extensions: Vec<Move>,
    /// Whether what was received then was in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_time: Option<bool>,
    /// When it was registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_at: Option<String>,
}

fn deadline(business: Business, computed: &Computed) -> Deadline {
    let moves = computed.moves.iter().map(|m| Move {
        from: m.from,
        to: m.to,
        rule: rule_word(m.rule),
        clause: m.clause.clone(),
        window: m.window.to_string(),
        version: m.version,
        calendar: m.calendar.clone(),
    });
    Deadline {
        id: None,
        business,
        date: DeadlineMention::computed(computed),
        extensions: moves.collect(),
        in_time: None,
        registered_at: None,
    }
}

fn known_business(state: &State, text: &str) -> Option<Business> {
    text.parse::<Business>().ok().filter(|business| state.catalogue.knows(business))
}

const NO_BUSINESS: &str = "the catalogue has no such business";
const NO_DAY: &str = "expected a day such as 2022-08-13";

/// Registers a case, so that its date is watched and told.
///
/// A case is its business, its date and its reference: who lost the answer sends the same again,
/// and gets the first number with the date as it holds now.
#[utoipa::path(
    post,
    path = "/v1/deadlines",
    operation_id = "registerDeadline",
    request_body = RegisterBody,
    responses(
        (status = 201, description = "Registered, now or before", body = Deadline,
            headers(("Idempotency-Replayed" = Option<String>))),
        (status = 422, description = "Wrong fields", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn register(
    Taken(state): Taken<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (institution, asked) = posted::<RegisterBody>(&state, request).await?;
    let business = known_business(&state, &asked.business);
    let original = parse_day(&asked.original);
    let (Some(business), Some(original)) = (business.clone(), original) else {
        let wrong = |bad: bool, pointer: &str, detail: &'static str| {
            bad.then(|| FieldError {
                pointer: pointer.to_owned(),
                detail: detail.into(),
                code: None,
            })
        };
        let problems = [
            wrong(business.is_none(), "/business", NO_BUSINESS),
            wrong(original.is_none(), "/original", NO_DAY),
        ];
        return Err(Problem::fields(problems.into_iter().flatten().collect()));
    };
    let reference = state.vault.insured(&plain(&asked.reference, "/reference")?);
    let case = Case { institution, business: business.clone(), original, reference };
    match state.engine.register_deadline(case).await {
        Reply::Deadline { id, duplicate, computed } => {
            let id = id.map(|seq| state.numbers.deadline(seq));
            let deadline = Deadline { id, ..deadline(business, &computed) };
            let mut response = answer::json_response(StatusCode::CREATED, &deadline)?;
            if duplicate {
                response.headers_mut().insert(answer::REPLAYED, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        other => Err(answer::problem_of(&state, other, state.clock.now().wall)),
    }
}

/// A page of deadlines, by registration.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Deadlines {
    items: Vec<Deadline>,
    /// What `after` is for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<DeadlineId>,
}

/// Lists the caller's registered deadlines as they hold now.
#[utoipa::path(
    get,
    path = "/v1/deadlines",
    operation_id = "listDeadlines",
    params(
        ("after" = Option<String>, Query, description = "Only those after this one"),
        ("limit" = Option<usize>, Query, description = "At most so many, 50 where not said"),
    ),
    responses((status = 200, description = "A page", body = Deadlines)),
    security(("key" = []))
)]
pub(super) async fn list(
    Taken(state): Taken<Shared>,
    caller: Caller,
    Page { after, limit }: Page,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let look = move |machine: &Machine, now: Now, search| {
        let is_own = |view: &DeadlineView| view.case.institution == institution;
        let dated = |view: DeadlineView| {
            let Case { business, original, .. } = &view.case;
            machine.deadline(business, *original, now.wall).map(|date| (view, date))
        };
        machine.search_deadlines(search, is_own, |view| Some(dated(view)))
    };
    let found = state.engine.search(Search::new(after, limit, Among::Open), look).await;
    let found = found.ok_or_else(answer::unavailable)?;
    let id = |seq| state.numbers.deadline(seq);
    let item = |(view, computed): (DeadlineView, Computed)| Deadline {
        id: Some(id(view.id)),
        registered_at: Some(view.at.rfc3339(state.zone)),
        ..deadline(view.case.business, &computed)
    };
    let own: Result<Vec<_>, Fault> = found.items.into_iter().collect();
    let own = own.map_err(|fault| answer::faulty(&fault))?;
    let items = own.into_iter().map(item).collect();
    answer::json_response(StatusCode::OK, &Deadlines { items, next: found.next.map(id) })
}

/// Asks for any date, registered or not.
#[utoipa::path(
    get,
    path = "/v1/deadlines/check",
    operation_id = "checkDeadline",
    params(
        ("business" = String, Query, description = "The business"),
        ("original" = String, Query, description = "The date, yyyy-MM-dd"),
        ("received" = Option<String>, Query, description = "A day or an instant: was it in time?"),
    ),
    responses(
        (status = 200, description = "The date as it holds", body = Deadline),
        (status = 422, description = "Wrong parameters", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn check(
    Taken(state): Taken<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.reads()?;
    let (head, _) = request.into_parts();
    let (mut query, mut problems) = (Query::of(&head)?, Vec::new());
    let found = query.read("business", NO_BUSINESS, &mut problems, |b| known_business(&state, b));
    let day = query.read("original", NO_DAY, &mut problems, parse_day);
    let received = query.read("received", "expected a day or an instant", &mut problems, |text| {
        parse_received(text, state.zone)
    });
    for (name, is_there) in [("business", found.is_some()), ("original", day.is_some())] {
        if !is_there && !problems.iter().any(|p| p.pointer.ends_with(name)) {
            missing(name, &mut problems);
        }
    }
    query.end(problems)?;
    let (Some(business), Some(original)) = (found, day) else {
        return Err(Problem::fields(Vec::new()));
    };
    match state.engine.check_deadline(business.clone(), original).await {
        Reply::Deadline { computed, .. } => {
            let in_time = received.map(|day| day <= computed.date);
            let deadline = Deadline { in_time, ..deadline(business, &computed) };
            answer::json_response(StatusCode::OK, &deadline)
        }
        other => Err(answer::problem_of(&state, other, state.clock.now().wall)),
    }
}

/// The civil day of what was received: a day, or an instant seen in the zone. A deadline's day
/// ends at 24:00.
fn parse_received(text: &str, zone: Zone) -> Option<CivilDate> {
    // A `+` of an offset that was not encoded arrives as a space.
    let instant = || text.replace(' ', "+").parse::<Timestamp>().ok();
    parse_day(text).or_else(|| instant().map(|at| at.civil(zone).date()))
}
