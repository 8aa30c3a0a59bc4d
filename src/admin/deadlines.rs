//! `/admin/v1/deadlines`: registered cases with the date that holds, and any date on demand.
//!
//! `check` counts as telling: a date that was shown to somebody is never moved earlier, so the
//! engine journals it before this page shows it. The list tells nobody anything.

use super::State;
use super::look::{self, Of};
use super::refusal::Refusal;
use super::types::{DeadlineChecked, DeadlineOut, Page};
use crate::domain::ids::Business;
use crate::domain::term::Deadline;
use crate::domain::time::Now;
use crate::engine::change::Case;
use crate::engine::event::Reply;
use crate::engine::machine::Machine;
use crate::engine::search::Among;
use crate::engine::view::DeadlineView;
use axum::Json;
use axum::extract::State as Extract;
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

pub(super) async fn list(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<Page<DeadlineOut>>, Refusal> {
    let of: Of = look::query(&uri)?;
    let search = of.wanted(&state)?.search(Among::Open);
    let look = move |machine: &Machine, now: Now, search| {
        let fits = |view: &DeadlineView| of.fits(&view.case.institution, &view.case.business);
        let computed = |view: DeadlineView| {
            let Case { business, original, .. } = &view.case;
            Some((machine.deadline(business, *original, now.wall).ok(), view))
        };
        machine.search_deadlines(search, fits, computed)
    };
    let numbers = Arc::clone(&state.numbers);
    let show = |(computed, view): (_, DeadlineView)| DeadlineOut {
        id: numbers.deadline(view.id),
        institution: view.case.institution,
        business: view.case.business,
        registered_at: view.at,
        original: view.case.original,
        ground: view.case.ground,
        owed_by: view.case.owed_by,
        computed,
    };
    look::page(&state, search, look, show).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    business: Business,
    original: Deadline,
    /// When something was handed in.
    received: Option<Deadline>,
}

pub(super) async fn check(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<DeadlineChecked>, Refusal> {
    let Question { business, original, received } = look::query(&uri)?;
    match state.engine.check_deadline(business.clone(), original).await {
        Reply::Deadline { computed, .. } => Ok(Json(DeadlineChecked {
            business,
            original: computed.original,
            effective: computed.date,
            is_final: computed.is_final,
            extensions: computed.moves,
            in_time: received.map(|at| computed.date.is_met_by(at, state.zone)),
        })),
        Reply::Invalid(fault) => Err(fault.into()),
        Reply::Unavailable => Err(Refusal::unavailable()),
        Reply::Accepted { .. }
        | Reply::KeyReused { .. }
        | Reply::TurnedAway { .. }
        | Reply::Done(_) => Err(super::act::unexpected()),
    }
}
