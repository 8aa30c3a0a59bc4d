//! `/admin/v1/windows`: declare a stop, change it, move its end, cancel it, restore and release its
//! cells.
//!
//! A window's `ETag` is its version. An act that sends `If-Match` fails with 412 when somebody
//! else changed the window in between; one that does not still cannot overtake a change made
//! between its own look and its order.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::forecast;
use super::guard::Caller;
use super::look;
use super::outages::draft_out;
use super::refusal::Refusal;
use super::text::{self, Reasoned};
use super::types::OperatorCode;
use super::types::{
    Because, ChangeWindow, DeclareWindow, ForCells, HoursOut, MoveEnd, NEXT_MAX, OccurrenceOut,
    RecurringOut, RestoreCells, ScheduleOut, StretchOut, WindowChanged, WindowOut, WindowsOut,
};
use super::versions::differences;
use crate::domain::calendar::NoCalendar;
use crate::domain::cell::Selector;
use crate::domain::ids::WindowId;
use crate::domain::revision::Revision;
use crate::domain::time::{CivilDate, Interval, Timestamp, Zone};
use crate::domain::window::{Cause, Phase, Proof, Window};
use crate::engine::change::AuditHead;
use crate::engine::event::{Command, Done, Fault, Sought};
use crate::engine::machine::Machine;
use crate::engine::view::OccurrenceView;
use crate::web::problem::Problem;
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
        let drafts = machine.drafts(now).into_iter().map(draft_out).collect();
        WindowsOut { items, drafts, schedule: schedule(machine, now, next) }
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
    uri: Uri,
    body: Body,
) -> Result<Response, Refusal> {
    let (body, reason): (DeclareWindow, _) = text::read(&caller, body, state.body_limits).await?;
    text::no_personal_data(&body)?;
    let now = state.clock.now().wall;
    let zone = body.zone.unwrap_or(state.zone);
    let told = Told::new(body.starts_at, body.ends_at, body.text.as_deref(), body.published);
    let planned = planned(told, zone)?;
    let window = Window {
        id: body.id,
        version: 1,
        zone,
        planned,
        published: planned,
        told: Vec::new(),
        author: caller.name.clone(),
        reason: reason.as_str().to_owned(),
        changed_at: now,
        notice: body.notice,
        policy: body.policy,
        deadlines: body.deadlines,
        restore_by: body.restore_by,
        cause: Cause::Planned,
        cutoff_minutes: body.cutoff_minutes,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    };
    if forecast::is_trial(&uri)? {
        return Ok(forecast::of_new(&state, window).await?.into_response());
    }
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

pub(super) async fn change(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    uri: Uri,
    body: Body,
) -> Result<Response, Refusal> {
    if forecast::is_trial(&uri)? {
        let (body, _): (ChangeWindow, _) = text::read(&caller, body, state.body_limits).await?;
        let seen = see(&state, &id).await?;
        let to = seen.revision(body)?;
        let next = seen.window.revised(&to, seen.now);
        return Ok(forecast::of_change(&state, seen.window, next).await?.into_response());
    }
    let decide = |body: ChangeWindow, seen: &Seen| {
        let to = seen.revision(body)?;
        let mut after = json!({
            "starts_at": to.planned.start, "ends_at": to.planned.end, "rows": to.policy.len(),
        });
        // Whoever agrees to it, and whoever reads the log, sees all of it.
        if let Ok(next) = seen.window.revised(&to, seen.now) {
            let [old, new] = [&*seen.window, &next].map(|w| shown(w, seen.phase, seen.now));
            after["differences"] = json!(differences(&old, &new));
        }
        let (window, if_version) = (seen.window.id.clone(), Some(seen.version));
        Ok((after, Command::ChangeWindow { window, to: Box::new(to), if_version }))
    };
    act(state, caller, id, body, "window.change", decide).await
}

/// What `body` makes of `window`.
fn revision(body: ChangeWindow, window: &Window) -> Result<Revision, Refusal> {
    text::no_personal_data(&body)?;
    let zone = body.zone.unwrap_or(window.zone);
    let mut told = Told::new(body.starts_at, body.ends_at, body.text.as_deref(), body.published);
    if told.text.is_none() {
        told.starts_at = told.starts_at.or(Some(window.planned.start));
        told.ends_at = told.ends_at.or(Some(window.planned.end));
    }
    let planned = planned(told, zone)?;
    Ok(Revision {
        zone,
        planned,
        notice: body.notice,
        policy: body.policy,
        deadlines: body.deadlines,
        restore_by: body.restore_by,
        cutoff_minutes: body.cutoff_minutes,
    })
}

pub(super) async fn extend(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let decide = |body: MoveEnd, seen: &Seen| {
        seen.is_not_over()?;
        let old = seen.end_of(body.row)?;
        let detail = match body.ends_at {
            Some(ends_at) if old < ends_at => return Ok(seen.move_end(body.row, ends_at)),
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
        let (old, ends_at) = (seen.end_of(body.row)?, body.ends_at.unwrap_or(seen.now));
        if ends_at < old {
            return Ok(seen.move_end(body.row, ends_at));
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
    let decide = |body: RestoreCells, seen: &Seen| {
        let (window, ready_from) = (seen.window.id.clone(), body.ready_from);
        let cells = seen.cells_of(body.cells, body.all)?;
        let after = json!({ "cells": &cells, "ready_from": ready_from, "proof": Proof::Signed });
        Ok((after, Command::Restore { window, cells, ready_from, proof: Proof::Signed }))
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
        let (cells, window) = (seen.cells_of(body.cells, body.all)?, seen.window.id.clone());
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

    fn revision(&self, body: ChangeWindow) -> Result<Revision, Refusal> {
        self.is_not_over()?;
        revision(body, &self.window)
    }

    /// The planned end, or that of one row.
    fn end_of(&self, row: Option<u32>) -> Result<Timestamp, Refusal> {
        let Some(index) = row else { return Ok(self.window.planned.end) };
        let row = self.window.policy.get(index as usize);
        row.map(|row| self.window.interval_of(row).end).ok_or_else(|| {
            let last = self.window.policy.len().saturating_sub(1);
            Refusal::field("/row", format!("expected the place of a row, 0 to {last}"))
        })
    }

    fn move_end(&self, row: Option<u32>, ends_at: Timestamp) -> (Value, Command) {
        let (window, if_version) = (self.window.id.clone(), Some(self.version));
        let after = match row {
            Some(row) => json!({ "row": row, "ends_at": ends_at }),
            None => json!({ "ends_at": ends_at }),
        };
        (after, Command::MoveWindowEnd { window, row, ends_at, if_version })
    }

    /// The cells of a restore or release. Those add to a window and never undo another's act, so
    /// the engine needs no version; a person who names one is told when it is no longer what
    /// they looked at.
    fn cells_of(&self, cells: Selector, all: bool) -> Result<Selector, Refusal> {
        let cells = named(cells, all)?;
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

pub(super) async fn changed(
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
    let warnings = forecast::warnings(state, window.clone()).await;
    let window = shown(&window, phase, now);
    let (version, id) = (window.version, window.id.clone());
    let changed = WindowChanged { window, warnings, audit_head };
    let mut response = with_etag(status, version, Json(changed));
    response.extensions_mut().insert(id);
    Ok(response)
}

fn with_etag(status: StatusCode, version: u32, body: impl IntoResponse) -> Response {
    (status, [(header::ETAG, format!("\"{version}\""))], body).into_response()
}

/// How a body tells the stop: by instants, or by the notice's own words.
struct Told<'a> {
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    text: Option<&'a str>,
    published: Option<CivilDate>,
}

impl<'a> Told<'a> {
    const fn new(
        starts_at: Option<Timestamp>,
        ends_at: Option<Timestamp>,
        text: Option<&'a str>,
        published: Option<CivilDate>,
    ) -> Self {
        Self { starts_at, ends_at, text, published }
    }
}

fn planned(told: Told<'_>, zone: Zone) -> Result<Interval, Refusal> {
    match (told.starts_at, told.ends_at, told.text, told.published) {
        // Whether that is a stop at all is for the review to say.
        (Some(start), Some(end), None, _) => Ok(Interval { start, end }),
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

/// A window as it is shown.
pub(super) fn shown(window: &Window, phase: Phase, now: Timestamp) -> WindowOut {
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
        cause: window.cause,
        cutoff_minutes: window.cutoff_minutes,
        notice: window.notice.clone(),
        deadlines: window.deadlines.clone(),
        policy: window.policy.clone(),
        told: window.told.clone(),
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
        let told = Told::new(body.starts_at, body.ends_at, body.text.as_deref(), body.published);
        planned(told, chrono_tz::Asia::Shanghai).map_err(pointer_of)
    }

    #[test]
    fn a_stop_is_told_by_instants_or_by_a_sentence_and_not_by_both_or_half() {
        assert_eq!(verdict(|_| {}).unwrap().length().as_secs(), 59 * 3600);
        let sentence = |b: &mut Value| {
            *b = json!({
                "id": "stop", "policy": [], "text": "8月12日19：00至8月15日6：00",
                "published": "2022-08-09",
            });
        };
        assert_eq!(verdict(sentence).unwrap(), verdict(|_| {}).unwrap());
        type Change = fn(&mut Value);
        let table: &[(Change, &str)] = &[
            (|b| b["text"] = json!("8月12日"), "/text"),
            (|b| b["ends_at"] = Value::Null, "/starts_at"),
            (|b| b["starts_at"] = Value::Null, "/starts_at"),
        ];
        for (change, pointer) in table {
            assert_eq!(verdict(change), Err((*pointer).to_owned()));
        }
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
