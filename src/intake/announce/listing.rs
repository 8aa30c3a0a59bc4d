//! `GET /v1/announcements`: what was told last, for whoever asks instead of being called.

use super::super::{Caller, Query, Shared, answer};
use super::outbox::Announcement;
use crate::domain::announcement::Kind;
use crate::web::problem::{self, Problem};
use axum::extract::{Request, State as Taken};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

/// Something that was told.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::intake) struct Told<'a> {
    /// The same as `webhook-id`.
    id: &'a str,
    /// What is told: `window.announced`, `window.changed`, `window.reminder`, `window.started`,
    /// `window.restored`, `window.ended`, `window.cancelled` or `deadline.extended`.
    #[schema(value_type = String)]
    r#type: Kind,
    /// When it happened.
    timestamp: &'a str,
    /// What there is to say, with one `message` in Chinese (`zh`) and in English (`en`).
    #[schema(value_type = Object)]
    data: &'a RawValue,
}

/// What was told last.
#[derive(Serialize, utoipa::ToSchema)]
pub(in crate::intake) struct Announcements<'a> {
    items: Vec<Told<'a>>,
}

/// Lists what was told last of stops, and of the caller's deadlines where a subscriber is told of
/// them; newest first.
#[utoipa::path(
    get,
    path = "/v1/announcements",
    operation_id = "listAnnouncements",
    params(("limit" = Option<usize>, Query, description = "At most so many, 50 where not said")),
    responses(
        (status = 200, description = "What was told last", body = Announcements),
        (status = 422, description = "Wrong parameters", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(in crate::intake) async fn list(
    Taken(state): Taken<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let (head, _) = request.into_parts();
    let (mut query, mut problems) = (Query::of(&head)?, Vec::new());
    let limit = query.read("limit", "expected a number from 1", &mut problems, |text| {
        text.parse::<usize>().ok().filter(|&limit| limit > 0)
    });
    query.end(problems)?;
    let most = limit.unwrap_or(50).min(state.limits.page_items_max);
    let own = |one: &Announcement| one.institution.as_ref().is_none_or(|of| *of == institution);
    let newest = state.announcements.newest(most, own);
    let items = newest.iter().map(|one| Told {
        id: &one.id,
        r#type: one.kind,
        timestamp: &one.at,
        data: &one.data,
    });
    answer::json_response(StatusCode::OK, &Announcements { items: items.collect() })
}
