//! Deadlines: registering a case that has no transaction, and asking for any date.
//!
//! A date that is answered counts as told: the engine journals it first, and it is never moved
//! earlier afterwards.

use super::answer;
use super::submit::{plain, posted};
use super::{Caller, Page, Query, Shared, State, missing};
use crate::domain::deadline::Computed;
use crate::domain::ids::{Business, DeadlineId, Seq, WindowId};
use crate::domain::term::{self, Ground, OwedBy, Said, Term};
use crate::domain::time::{CivilDate, Now};
use crate::engine::change::Case;
use crate::engine::event::{Fault, Reply};
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Search};
use crate::engine::view::DeadlineView;
use crate::web::problem::{self, DeadlineMention, FieldError, Problem};
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
    /// When it is due: a day, `yyyy-MM-dd`, or an instant with its offset. Left out where it
    /// follows from an event.
    #[serde(default)]
    original: Option<String>,
    /// How long after the event: `working_days:5`, `days:60`, `months:6`, `years:3`, `month_end`,
    /// or `first_working_days:5/1,4,7,10`.
    #[serde(default)]
    term: Option<String>,
    /// The day of the event; it is not counted.
    #[serde(default)]
    event: Option<String>,
    /// Who has to act: `applicant`, `institution` or `agency`.
    #[serde(default)]
    owed_by: Option<String>,
    /// The registrant's own reference, which tells this case from others of the same business and
    /// date; kept only as a keyed hash.
    reference: String,
}

/// One move of a date.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Move {
    #[schema(value_type = String)]
    from: term::Deadline,
    #[schema(value_type = String)]
    to: term::Deadline,
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
    /// The term by which it follows from `event`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    term: Option<Term>,
    /// The day of the event that it follows from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Date)]
    event: Option<CivilDate>,
    /// Who has to act.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    owed_by: Option<OwedBy>,
}

fn deadline(business: Business, computed: &Computed) -> Deadline {
    let moves = computed.moves.iter().map(|m| Move {
        from: m.from,
        to: m.to,
        rule: m.rule.to_string(),
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
        term: None,
        event: None,
        owed_by: None,
    }
}

impl Deadline {
    fn with(self, ground: Option<Ground>, owed_by: Option<OwedBy>) -> Self {
        let (term, event) = ground.map(|ground| (ground.term, ground.event)).unzip();
        Self { term, event, owed_by, ..self }
    }
}

fn field_error(name: &str, detail: &str) -> FieldError {
    FieldError { pointer: format!("/{name}"), detail: detail.to_owned().into(), code: None }
}

fn note(found: Vec<(&'static str, String)>, wrong: &mut Vec<FieldError>) {
    wrong.extend(found.iter().map(|(name, why)| field_error(name, why)));
}

/// The deadline, and what it follows from.
async fn due(state: &State, asked: Said) -> Result<(term::Deadline, Option<Ground>), Problem> {
    let ground = match asked {
        Said::Given(due) => return Ok((due, None)),
        Said::After(ground) => ground,
    };
    let of = ground.clone();
    let ends = state.engine.read(move |machine, _| machine.ends(&of)).await;
    let day = ends.ok_or_else(answer::unavailable)?.map_err(|fault| answer::faulty(&fault))?;
    Ok((day.into(), Some(ground)))
}

fn known_business(state: &State, text: &str) -> Option<Business> {
    text.parse::<Business>().ok().filter(|business| state.catalogue.knows(business))
}

const NO_BUSINESS: &str = "the catalogue has no such business";

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
    let (institution, body) = posted::<RegisterBody>(&state, request).await?;
    let mut wrong = Vec::new();
    let business = known_business(&state, &body.business);
    if business.is_none() {
        wrong.push(field_error("business", NO_BUSINESS));
    }
    let [original, term, event] = [&body.original, &body.term, &body.event].map(Option::as_deref);
    let said = Said::read(original, term, event).map_err(|found| note(found, &mut wrong)).ok();
    let owed_by = body.owed_by.as_deref().map(str::parse::<OwedBy>).transpose();
    if let Err(why) = &owed_by {
        wrong.push(field_error("owed_by", &why.to_string()));
    }
    let (Some(business), Some(said), Ok(owed_by), true) =
        (business, said, owed_by, wrong.is_empty())
    else {
        return Err(Problem::fields(wrong));
    };
    let (original, ground) = due(&state, said).await?;
    let reference = state.vault.insured(&plain(&body.reference, "/reference")?);
    let case = Case {
        institution,
        business: business.clone(),
        original,
        reference,
        ground: ground.clone(),
        owed_by,
    };
    match state.engine.register_deadline(case).await {
        Reply::Deadline { id, duplicate, computed } => {
            let id = id.map(|seq| state.numbers.deadline(seq));
            let deadline = Deadline { id, ..deadline(business, &computed).with(ground, owed_by) };
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

/// Which registered cases are meant.
#[derive(Clone)]
struct Wanted {
    id: Option<Seq>,
    business: Option<Business>,
    original: Option<term::Deadline>,
    window: Option<WindowId>,
}

impl Wanted {
    fn keeps(&self, view: &DeadlineView, machine: &Machine, now: Now) -> bool {
        let Case { business, original, .. } = &view.case;
        let moved_by = |window: &WindowId| {
            let holds = machine.deadline(business, *original, now.wall);
            holds.is_ok_and(|date| date.moves.iter().any(|one| one.window == *window))
        };
        self.id.is_none_or(|id| id == view.id)
            && self.business.as_ref().is_none_or(|of| of == business)
            && self.original.is_none_or(|of| of == *original)
            && self.window.as_ref().is_none_or(moved_by)
    }
}

/// Lists the caller's registered deadlines as they hold now.
#[utoipa::path(
    get,
    path = "/v1/deadlines",
    operation_id = "listDeadlines",
    params(
        ("after" = Option<String>, Query, description = "Only those after this one"),
        ("limit" = Option<usize>, Query, description = "At most so many, 50 where not said"),
        ("id" = Option<String>, Query, description = "Only this one"),
        ("business" = Option<String>, Query, description = "Only those of this business"),
        ("original" = Option<String>, Query, description = "Only those that were due then"),
        ("window" = Option<String>, Query, description = "Only those that this window has moved"),
    ),
    responses(
        (status = 200, description = "A page", body = Deadlines),
        (status = 422, description = "Wrong parameters", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn list(
    Taken(state): Taken<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let (head, _) = request.into_parts();
    let (mut query, mut problems) = (Query::of(&head)?, Vec::new());
    let Page { after, limit } = Page::read(&state, &mut query, &mut problems);
    let wanted = Wanted {
        id: query.read("id", "expected the number of a registered case", &mut problems, |text| {
            state.numbers.place(&text.parse::<DeadlineId>().ok()?)
        }),
        business: query.read("business", NO_BUSINESS, &mut problems, |b| known_business(&state, b)),
        original: query.read("original", "expected a day or an instant", &mut problems, |text| {
            text.replace(' ', "+").parse().ok()
        }),
        window: query
            .read("window", "expected the name of a window", &mut problems, |w| w.parse().ok()),
    };
    query.end(problems)?;
    let look = move |machine: &Machine, now: Now, search| {
        let is_own = |view: &DeadlineView| {
            view.case.institution == institution && wanted.keeps(view, machine, now)
        };
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
        ..deadline(view.case.business, &computed).with(view.case.ground, view.case.owed_by)
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
        ("original" = Option<String>, Query, description = "A day or an instant"),
        ("term" = Option<String>, Query, description = "Instead: how long after the event"),
        ("event" = Option<String>, Query, description = "The day of the event"),
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
    // A `+` of an offset that was not encoded arrives as a space.
    let original = query.take("original").map(|text| text.replace(' ', "+"));
    let [term, event] = ["term", "event"].map(|name| query.take(name));
    let said = Said::read(original.as_deref(), term.as_deref(), event.as_deref());
    let said = said.map_err(|found| note(found, &mut problems)).ok();
    let received = query.read("received", "expected a day or an instant", &mut problems, |text| {
        text.replace(' ', "+").parse::<term::Deadline>().ok()
    });
    if found.is_none() && !problems.iter().any(|p| p.pointer.ends_with("business")) {
        missing("business", &mut problems);
    }
    query.end(problems)?;
    let (Some(business), Some(said)) = (found, said) else {
        return Err(Problem::fields(Vec::new()));
    };
    let (original, ground) = due(&state, said).await?;
    match state.engine.check_deadline(business.clone(), original).await {
        Reply::Deadline { computed, .. } => {
            let in_time = received.map(|at| computed.date.is_met_by(at, state.zone));
            let deadline = deadline(business, &computed).with(ground, None);
            answer::json_response(StatusCode::OK, &Deadline { in_time, ..deadline })
        }
        other => Err(answer::problem_of(&state, other, state.clock.now().wall)),
    }
}
