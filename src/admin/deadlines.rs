//! `/admin/v1/deadlines`: registered cases with the date that holds, and any date on demand.
//!
//! Explaining, previewing and the dates at risk tell nobody anything; `apply` tells what is computed
//! and was not told, which the engine does by itself whenever a window changes.
//!
//! `check` counts as telling: a date that was shown to somebody is never moved earlier, so the
//! engine journals it before this page shows it. The list tells nobody anything.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::look::{self, Of};
use super::refusal::Refusal;
use super::text;
use super::types::{
    Because, DaysOut, DeadlineChecked, DeadlineEvidence, DeadlineExplained, DeadlineOut,
    DeadlineRisk, DeadlinesApplied, DeadlinesAtRisk, DeadlinesPreview, InversionOut, MoveOut, Page,
    ToldOut,
};
use crate::domain::deadline::Computed;
use crate::domain::ids::{Business, DeadlineId, WindowId};
use crate::domain::numbers::Numbers;
use crate::domain::term::Deadline;
use crate::domain::time::{Interval, Now, Timestamp};
use crate::engine::change::Case;
use crate::engine::deadlines::Telling;
use crate::engine::event::{Command, Done, Fault, Reply, Sought};
use crate::engine::machine::Machine;
use crate::engine::search::Among;
use crate::engine::view::{Affected, DateExplained, DeadlineView, Preview};
use crate::web::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
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
    let show = |(computed, view): (_, DeadlineView)| registered(&numbers, view, computed);
    look::page(&state, search, look, show).await
}

fn registered(numbers: &Numbers, view: DeadlineView, computed: Option<Computed>) -> DeadlineOut {
    DeadlineOut {
        id: numbers.deadline(view.id),
        institution: view.case.institution,
        business: view.case.business,
        registered_at: view.at,
        original: view.case.original,
        ground: view.case.ground,
        owed_by: view.case.owed_by,
        computed,
    }
}

pub(super) async fn show(
    Extract(state): Shared,
    Path(id): Path<String>,
) -> Result<Json<DeadlineOut>, Refusal> {
    let id = id.parse::<DeadlineId>().ok().and_then(|id| state.numbers.place(&id));
    let id = id.ok_or_else(|| Problem::not_found(Sought::Deadline))?;
    let looked = look::at(&state, move |machine, now| {
        let view = machine.registered(id)?;
        let computed = machine.deadline(&view.case.business, view.case.original, now.wall).ok();
        Some((view, computed))
    });
    let (view, computed) = looked.await?.ok_or_else(|| Problem::not_found(Sought::Deadline))?;
    Ok(Json(registered(&state.numbers, view, computed)))
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
        | Reply::Done(_) => Err(unexpected()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    business: Business,
    original: Deadline,
}

pub(super) async fn explain(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<DeadlineExplained>, Refusal> {
    let Which { business, original } = look::query(&uri)?;
    let asked = business.clone();
    let seen =
        look::at(&state, move |machine, now| machine.explain_date(&asked, original, now.wall));
    let DateExplained { computed, words, told } = seen.await??;
    Ok(Json(DeadlineExplained {
        business,
        original,
        effective: computed.date,
        is_final: computed.is_final,
        words,
        extensions: computed.moves,
        told: told.into_iter().map(told_out).collect(),
    }))
}

pub(super) async fn evidence(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<DeadlineEvidence>, Refusal> {
    let Which { business, original } = look::query(&uri)?;
    let asked = business.clone();
    let seen = look::at(&state, move |machine, now| {
        let explained = machine.explain_date(&asked, original, now.wall)?;
        Ok::<_, Fault>((explained, machine.evidence(&asked)))
    });
    let (DateExplained { computed, told, .. }, (windows, calendar)) = seen.await??;
    let days = |worked| {
        let of = calendar.exceptions.iter().filter(move |(_, one)| one.is_worked == worked);
        of.map(|(day, _)| *day).collect()
    };
    Ok(Json(DeadlineEvidence {
        business,
        original,
        effective: computed.date,
        is_final: computed.is_final,
        windows: windows.iter().map(|window| (**window).clone()).collect(),
        calendar: DaysOut {
            version: calendar.version.clone(),
            papers: calendar.papers.iter().map(|paper| paper.document.clone()).collect(),
            free: days(false),
            worked: days(true),
        },
        told: told.into_iter().map(told_out).collect(),
    }))
}

fn told_out(Telling { extension, cause, at }: Telling) -> ToldOut {
    ToldOut { at, cause, extension }
}

pub(super) async fn at_risk(Extract(state): Shared) -> Result<Json<DeadlinesAtRisk>, Refusal> {
    let found = look::at(&state, |machine, now| machine.dates_at_risk(now.wall)).await?;
    let items = found.into_iter().map(|risk| DeadlineRisk {
        business: risk.business,
        original: risk.original,
        effective: risk.holds,
        ends_at: risk.ends_at,
        window: risk.window,
        cases: risk.cases,
        transactions: risk.open,
    });
    Ok(Json(DeadlinesAtRisk { items: items.collect() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IfSo {
    window: WindowId,
    /// The end that it would have.
    ends_at: Option<Timestamp>,
}

pub(super) async fn preview(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<DeadlinesPreview>, Refusal> {
    let IfSo { window, ends_at } = look::query(&uri)?;
    let looked = look::at(&state, move |machine, now| {
        let mut changed = (*machine.windows().into_iter().find(|w| w.id == window)?).clone();
        if let Some(end) = ends_at {
            changed.planned = Interval { end, ..changed.planned };
            changed.published.end = changed.published.end.max(end);
        }
        Some(machine.preview(&changed, now.wall))
    });
    let preview = looked.await?.ok_or_else(|| Problem::not_found(Sought::Window))??;
    Ok(Json(shown(preview)))
}

fn shown(preview: Preview) -> DeadlinesPreview {
    let sum = |of: fn(&Affected) -> u64| preview.moves.iter().map(of).sum();
    let (cases, transactions) = (sum(|one| one.cases), sum(|one| one.open));
    let moves = preview.moves.into_iter().map(|one| MoveOut {
        business: one.business,
        original: one.original,
        holds: one.holds,
        becomes: one.becomes.date,
        extensions: one.becomes.moves,
        cases: one.cases,
        transactions: one.open,
    });
    let inversions = preview.inversions.into_iter().map(|one| InversionOut {
        business: one.business,
        earlier: one.earlier.0,
        earlier_becomes: one.earlier.1,
        later: one.later.0,
        later_becomes: one.later.1,
    });
    DeadlinesPreview {
        moves: moves.collect(),
        cases,
        transactions,
        inversions: inversions.collect(),
    }
}

pub(super) async fn apply(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<DeadlinesApplied>, Refusal> {
    let (_, reason): (Because, _) = text::read(&caller, body, state.body_limits).await?;
    let act = Act {
        action: "deadlines.apply",
        object: "every known date".to_owned(),
        before: Value::Null,
        after: Value::Null,
        reason,
        command: Ok(Command::TellDates),
    };
    let (done, audit_head) = carry_out(&state, &caller, act).await?;
    let Done::Dates(told) = done else { return Err(unexpected()) };
    Ok(Json(DeadlinesApplied { told, audit_head }))
}
