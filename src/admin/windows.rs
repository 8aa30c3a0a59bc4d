//! `/admin/v1/windows`: declare a stop, move its end, cancel it, restore and release its cells.
//!
//! A window's `ETag` is its version. An act that sends `If-Match` fails with 412 when somebody
//! else changed the window in between; one that does not still cannot overtake a change made
//! between its own look and its order.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::look;
use super::refusal::Refusal;
use super::text::{self, Reasoned};
use super::types::OperatorCode;
use super::types::{
    Because, DeclareWindow, ForCells, HoursOut, MoveEnd, NEXT_MAX, OccurrenceOut, RecurringOut,
    ScheduleOut, StretchOut, WindowChanged, WindowOut, WindowsOut,
};
use crate::domain::calendar::NoCalendar;
use crate::domain::cell::Selector;
use crate::domain::ids::WindowId;
use crate::domain::policy::{Advice, Row};
use crate::domain::time::{Interval, Timestamp, Zone};
use crate::domain::window::{Phase, Proof, Window};
use crate::engine::change::AuditHead;
use crate::engine::event::{Command, Done, Fault, Sought};
use crate::engine::machine::Machine;
use crate::engine::view::OccurrenceView;
use crate::web::problem::{FieldError, Problem};
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

/// How much is shown of what comes by schedule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Next {
    #[serde(default = "three")]
    next: usize,
}

fn three() -> usize {
    3
}

pub(super) async fn list(Extract(state): Shared, uri: Uri) -> Result<Json<WindowsOut>, Refusal> {
    let Next { next } = look::query(&uri)?;
    if next > NEXT_MAX {
        return Err(Refusal::field("/next", format!("expected 0 to {NEXT_MAX}")));
    }
    let seen = look::at(&state, move |machine, now| {
        let now = now.wall;
        let windows = machine.windows_and_phases(now);
        let items = windows.iter().map(|(window, phase)| shown(window, *phase, now)).collect();
        WindowsOut { items, schedule: schedule(machine, now, next) }
    });
    Ok(Json(seen.await?))
}

fn schedule(machine: &Machine, now: Timestamp, next: usize) -> ScheduleOut {
    let recurring = machine.recurring(now, next).into_iter().map(|one| RecurringOut {
        next: one.next.into_iter().map(|occurrence| occurrence_out(occurrence, one.zone)).collect(),
        name: one.name,
        cron: one.cron,
        days: one.days,
        zone: one.zone,
        lasts_seconds: one.lasts.as_secs(),
    });
    let hours = machine.service_hours(now, next).into_iter().map(|one| HoursOut {
        next: one.next.into_iter().map(|opening| StretchOut::new(opening, one.zone)).collect(),
        name: one.name,
        zone: one.zone,
        open: one.is_open,
        cells: one.cells,
        outside: one.outside,
        clause: one.clause,
        reason: one.reason,
        unknown_from_year: one.unknown.map(|NoCalendar(year)| year),
    });
    ScheduleOut {
        recurring: recurring.collect(),
        service_hours: hours.collect(),
        left_alone: machine.left_alone(now).iter().map(|window| window.id.clone()).collect(),
    }
}

fn occurrence_out(occurrence: OccurrenceView, zone: Zone) -> OccurrenceOut {
    let (window, phase) = occurrence.declared.unzip();
    OccurrenceOut { planned: StretchOut::new(occurrence.planned, zone), window, phase }
}

pub(super) async fn show(
    Extract(state): Shared,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let seen = see(&state, &id).await?;
    let out = shown(&seen.window, seen.phase, seen.now);
    Ok(with_etag(StatusCode::OK, out.version, Json(out)))
}

pub(super) async fn declare(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Refusal> {
    let (body, reason): (DeclareWindow, _) = text::read(&caller, body, state.body_limits).await?;
    text::no_personal_data(&body)?;
    let now = state.clock.now().wall;
    let zone = body.zone.unwrap_or(state.zone);
    let planned = planned(&body, zone)?;
    check_policy(&body, planned, now)?;
    let window = Window {
        id: body.id,
        version: 1,
        zone,
        planned,
        published: planned,
        author: caller.name.clone(),
        reason: reason.as_str().to_owned(),
        changed_at: now,
        notice: body.notice,
        policy: body.policy,
        deadlines: body.deadlines,
        restore_by: body.restore_by,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    };
    let act = Act {
        action: "window.declare",
        object: format!("window {}", window.id),
        before: Value::Null,
        after: shortly(&window),
        reason,
        command: Ok(Command::DeclareWindow(Box::new(window))),
    };
    let (done, head) = carry_out(&state, &caller, act).await?;
    let mut response = changed(&state, done, head, StatusCode::CREATED).await?;
    let path = response.extensions_mut().remove::<WindowId>();
    let location = path.and_then(|id| format!("/admin/v1/windows/{id}").parse().ok());
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) async fn extend(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |body: MoveEnd, seen: &Seen| {
        seen.is_not_over()?;
        let old = seen.window.planned.end;
        let detail = match body.ends_at {
            Some(ends_at) if old < ends_at => return Ok(seen.move_end(ends_at)),
            Some(_) => {
                let old = old.rfc3339(seen.window.zone);
                format!("expected an instant after {old}; use end to end it early")
            }
            None => "expected the new end, later than the present one".to_owned(),
        };
        Err(Refusal::field("/ends_at", detail))
    };
    act(state, caller, id, body, "window.extend", decide).await
}

pub(super) async fn end(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |body: MoveEnd, seen: &Seen| {
        seen.is_not_over()?;
        let (old, ends_at) = (seen.window.planned.end, body.ends_at.unwrap_or(seen.now));
        if ends_at < old {
            return Ok(seen.move_end(ends_at));
        }
        let old = old.rfc3339(seen.window.zone);
        let detail = format!("expected an instant before {old}; use extend to move it on");
        Err(Refusal::field("/ends_at", detail))
    };
    act(state, caller, id, body, "window.end", decide).await
}

pub(super) async fn cancel(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |_: Because, seen: &Seen| {
        let (window, if_version) = (seen.window.id.clone(), Some(seen.version));
        Ok((json!({ "cancelled": true }), Command::CancelWindow { window, if_version }))
    };
    act(state, caller, id, body, "window.cancel", decide).await
}

pub(super) async fn restore(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |body: ForCells, seen: &Seen| {
        let (cells, window) = (seen.cells_of(body)?, seen.window.id.clone());
        let after = json!({ "cells": &cells, "proof": Proof::Signed });
        Ok((after, Command::Restore { window, cells, proof: Proof::Signed }))
    };
    act(state, caller, id, body, "window.restore", decide).await
}

pub(super) async fn release(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |body: ForCells, seen: &Seen| {
        let (cells, window) = (seen.cells_of(body)?, seen.window.id.clone());
        Ok((json!({ "cells": &cells }), Command::Release { window, cells }))
    };
    act(state, caller, id, body, "window.release", decide).await
}

/// Carries out an act upon the window of the path: what `decide` makes of the body.
async fn act<B: Reasoned>(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
    action: &'static str,
    decide: impl FnOnce(B, &Seen) -> Result<(Value, Command), Refusal>,
) -> Result<Response, Refusal> {
    let (body, reason) = text::read(&caller, body, state.body_limits).await?;
    let mut seen = see(&state, &id).await?;
    seen.version = caller.seen_version.unwrap_or(seen.version);
    let (after, command) = match decide(body, &seen) {
        Ok((after, command)) => (after, Ok(command)),
        Err(refusal) if refusal.is_of_state() => (Value::Null, Err(refusal)),
        Err(refusal) => return Err(refusal),
    };
    let object = format!("window {}", seen.window.id);
    let act = Act { action, object, before: shortly(&seen.window), after, reason, command };
    let (done, head) = carry_out(&state, &caller, act).await?;
    changed(&state, done, head, StatusCode::OK).await
}

/// The cells of a body; all of them only where that was said.
pub(super) fn named(cells: Selector, all: bool) -> Result<Selector, Refusal> {
    let is_empty = cells == Selector::default();
    match (is_empty, all) {
        (true, false) => Err(Refusal::ours_at(
            OperatorCode::CellsMissing,
            "/cells",
            "an empty selector matches every cell",
        )),
        (false, true) => Err(Refusal::field("/all", "expected either cells or all, not both")),
        (true, true) | (false, false) => Ok(cells),
    }
}

struct Seen {
    window: Arc<Window>,
    /// The version that the caller's decision rests on.
    version: u32,
    phase: Phase,
    now: Timestamp,
}

impl Seen {
    /// Said before anything is said of the body, in which nothing could help.
    fn is_not_over(&self) -> Result<(), Refusal> {
        if self.phase == Phase::Completed {
            return Err(Fault::WindowCompleted(self.window.id.clone()).into());
        }
        Ok(())
    }

    fn move_end(&self, ends_at: Timestamp) -> (Value, Command) {
        let (window, if_version) = (self.window.id.clone(), Some(self.version));
        (json!({ "ends_at": ends_at }), Command::MoveWindowEnd { window, ends_at, if_version })
    }

    /// The cells of a restore or release. Those add to a window and never undo another's act, so
    /// the engine needs no version; a person who names one is told when it is no longer what
    /// they looked at.
    fn cells_of(&self, body: ForCells) -> Result<Selector, Refusal> {
        let cells = named(body.cells, body.all)?;
        if self.version != self.window.version {
            return Err(Fault::Changed { current: self.window.version }.into());
        }
        Ok(cells)
    }
}

async fn see(state: &State, id: &str) -> Result<Seen, Refusal> {
    let id: WindowId = id.parse().map_err(|_| Problem::not_found(Sought::Window))?;
    look::at(state, move |machine, now| {
        let window = machine.windows().into_iter().find(|window| window.id == id)?;
        let (version, phase) = (window.version, machine.phase(&window, now.wall));
        Some(Seen { window, version, phase, now: now.wall })
    })
    .await?
    .ok_or_else(|| Problem::not_found(Sought::Window).into())
}

async fn changed(
    state: &State,
    done: Done,
    audit_head: AuditHead,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let Done::Window(window) = done else { return Err(unexpected()) };
    let now = state.clock.now().wall;
    let known = window.clone();
    let phase = look::at(state, move |machine, now| machine.phase(&known, now.wall)).await;
    // The act took effect; where the engine has ended since, nobody knows which cells it has seen.
    let phase = phase.unwrap_or_else(|_| window.phase([], now));
    let window = shown(&window, phase, now);
    let (version, id) = (window.version, window.id.clone());
    let mut response = with_etag(status, version, Json(WindowChanged { window, audit_head }));
    response.extensions_mut().insert(id);
    Ok(response)
}

fn with_etag(status: StatusCode, version: u32, body: impl IntoResponse) -> Response {
    (status, [(header::ETAG, format!("\"{version}\""))], body).into_response()
}

fn planned(body: &DeclareWindow, zone: Zone) -> Result<Interval, Refusal> {
    match (body.starts_at, body.ends_at, body.text.as_deref(), body.published) {
        (Some(start), Some(end), None, _) => Interval::new(start, end)
            .ok_or_else(|| Refusal::field("/ends_at", "expected an instant after starts_at")),
        (None, None, Some(text), Some(published)) => text::stop(text, published, zone),
        (None, None, Some(_), None) => Err(Refusal::field(
            "/published",
            "expected the day of the notice, which gives its dates their year",
        )),
        (None, None, None, _) | (Some(_), None, None, _) | (None, Some(_), None, _) => Err(
            Refusal::field("/starts_at", "expected starts_at and ends_at, or the notice's text"),
        ),
        (Some(_), _, Some(_), _) | (None, Some(_), Some(_), _) => {
            Err(Refusal::field("/text", "expected either instants or a text, not both"))
        }
    }
}

/// What can be said about a window without knowing the catalogue.
fn check_policy(body: &DeclareWindow, planned: Interval, now: Timestamp) -> Result<(), Refusal> {
    if planned.end <= now {
        return Err(Refusal::field("/ends_at", "the stop is already over"));
    }
    if body.policy.is_empty() {
        return Err(Refusal::field("/policy", "expected at least one row"));
    }
    let rows = body.policy.iter().enumerate();
    let wrong = rows.filter_map(|(index, row)| {
        let (field, detail) = wrong_in(row, planned)?;
        Some(FieldError { pointer: format!("/policy/{index}/{field}"), detail: detail.into() })
    });
    let wrong: Vec<FieldError> = wrong.collect();
    if !wrong.is_empty() {
        return Err(Problem::fields(wrong).into());
    }
    match &body.deadlines {
        Some(rule) if rule.legal_basis.trim().is_empty() => Err(Refusal::field(
            "/deadlines/legal_basis",
            "expected what the rule rests on; without it no deadline may be moved",
        )),
        Some(_) | None => Ok(()),
    }
}

fn wrong_in(row: &Row, planned: Interval) -> Option<(&'static str, &'static str)> {
    let start = row.starts_at.unwrap_or(planned.start);
    let end = row.ends_at.unwrap_or(planned.end);
    let silent = |text: &Option<String>| text.as_deref().is_none_or(|t| t.trim().is_empty());
    if row.clause.trim().is_empty() {
        Some(("clause", "expected the notice's clause, or not_in_notice"))
    } else if row.disposition.is_none() {
        Some(("disposition", "the notice is silent here: a person must decide"))
    } else if row.clause == "not_in_notice" && silent(&row.decided_because) {
        Some(("decided_because", "expected why it was decided so"))
    } else if row.advice == Advice::GoElsewhere && silent(&row.alternative) {
        Some(("alternative", "expected where to go"))
    } else if Interval::new(start, end).is_none() {
        Some(("ends_at", "the row ends before it starts"))
    } else {
        None
    }
}

/// A window as it is shown.
fn shown(window: &Window, phase: Phase, now: Timestamp) -> WindowOut {
    WindowOut {
        id: window.id.clone(),
        version: window.version,
        phase,
        zone: window.zone,
        starts_at: window.planned.start,
        ends_at: window.planned.end,
        published_starts_at: window.published.start,
        published_ends_at: window.published.end,
        next_edge_at: window.next_edge(now),
        author: window.author.clone(),
        reason: window.reason.clone(),
        changed_at: window.changed_at,
        cancelled_at: window.cancelled_at,
        restore_by: window.restore_by,
        notice: window.notice.clone(),
        deadlines: window.deadlines.clone(),
        policy: window.policy.clone(),
        restores: window.restores.clone(),
        releases: window.releases.clone(),
    }
}

/// A window as it is written into the audit log.
pub(super) fn shortly(window: &Window) -> Value {
    json!({
        "version": window.version,
        "starts_at": window.planned.start,
        "ends_at": window.planned.end,
        "rows": window.policy.len(),
        "restores": window.restores.len(),
        "releases": window.releases.len(),
        "cancelled_at": window.cancelled_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: impl FnOnce(&mut Value)) -> DeclareWindow {
        let mut body = json!({
            "id": "stop", "starts_at": "2022-08-12T11:00:00Z", "ends_at": "2022-08-14T22:00:00Z",
            "policy": [{"clause": "(二)1", "disposition": "hold"}], "reason": "why",
        });
        change(&mut body);
        serde_json::from_value(body).unwrap()
    }

    fn pointer_of(refusal: Refusal) -> String {
        let Refusal::Shared(problem) = refusal else { panic!("{refusal:?}") };
        problem.errors[0].pointer.clone()
    }

    fn verdict(change: impl FnOnce(&mut Value)) -> Result<Interval, String> {
        let body = body(change);
        let now = "2022-08-11T00:00:00Z".parse().unwrap();
        planned(&body, chrono_tz::Asia::Shanghai)
            .and_then(|planned| check_policy(&body, planned, now).map(|()| planned))
            .map_err(pointer_of)
    }

    #[test]
    fn a_declaration_that_leaves_something_open_is_refused_where_it_does() {
        assert_eq!(verdict(|_| {}).unwrap().length().as_secs(), 59 * 3600);
        type Change = fn(&mut Value);
        let table: &[(Change, &str)] = &[
            (|b| b["ends_at"] = json!("2022-08-12T11:00:00Z"), "/ends_at"),
            (|b| b["policy"] = json!([]), "/policy"),
            (|b| b["policy"][0]["clause"] = json!(" "), "/policy/0/clause"),
            (|b| b["policy"][0]["disposition"] = Value::Null, "/policy/0/disposition"),
            (|b| b["policy"][0]["clause"] = json!("not_in_notice"), "/policy/0/decided_because"),
            (|b| b["policy"][0]["advice"] = json!("go_elsewhere"), "/policy/0/alternative"),
            (|b| b["policy"][0]["ends_at"] = json!("2022-08-12T11:00:00Z"), "/policy/0/ends_at"),
            (|b| b["text"] = json!("8月12日"), "/text"),
            (|b| b["ends_at"] = Value::Null, "/starts_at"),
        ];
        for (change, pointer) in table {
            assert_eq!(verdict(change), Err((*pointer).to_owned()));
        }
        let over = |b: &mut Value| {
            b["starts_at"] = json!("2022-08-01T00:00:00Z");
            b["ends_at"] = json!("2022-08-02T00:00:00Z");
        };
        assert_eq!(verdict(over), Err("/ends_at".to_owned()));
    }

    #[test]
    fn every_cell_is_meant_only_where_that_is_said() {
        let some = Selector { upstream: vec!["agency".parse().unwrap()], ..Selector::default() };
        assert!(named(Selector::default(), false).is_err());
        assert!(named(some.clone(), true).is_err());
        assert_eq!(named(some.clone(), false).unwrap(), some);
        assert_eq!(named(Selector::default(), true).unwrap(), Selector::default());
    }
}
