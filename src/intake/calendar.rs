//! The planned stops as a calendar feed (RFC 5545), for whoever subscribes to it.
//!
//! One event for each stretch of a window: the rows of a notice that have the same times share
//! one. An event keeps its UID for the life of its window; its SEQUENCE is the window's version,
//! so that a stop that was moved or taken back replaces what a calendar holds. Where a window
//! stands at the moment is not told: the text changes with the windows and never with the clock,
//! and its digest serves as the entity tag.
//! What people read says it in Chinese and in English: what stops, from when to when, then the rows.
//!
//! How lines are folded and escaped is `web::ics`.

use super::{Caller, Shared, answer, words};
use crate::domain::catalogue::Catalogue;
use crate::domain::policy::Row;
use crate::domain::window::Window;
use crate::web::ics::{escaped, instant, line};
use crate::web::problem::{Message, Problem};
use axum::extract::State as Taken;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Shows the planned stops as a calendar feed.
#[utoipa::path(
    get,
    path = "/v1/windows.ics",
    operation_id = "subscribeWindows",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of the copy at hand")),
    responses(
        (status = 200, description = "An iCalendar object (RFC 5545), one event a stretch",
            body = String, content_type = "text/calendar", headers(("ETag" = String))),
        (status = 304, description = "Nothing has changed"),
    ),
    security(("key" = []))
)]
pub(super) async fn feed(
    Taken(state): Taken<Shared>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.reads()?;
    let windows = state.engine.read(|machine, _| {
        let windows = machine.windows();
        windows.iter().map(|window| machine.versions(&window.id)).collect::<Vec<_>>()
    });
    let windows = windows.await;
    let text = write(&windows.ok_or_else(answer::unavailable)?, &state.catalogue);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let half = digest.as_ref().iter().take(16).fold(0u128, |n, &b| (n << 8) | u128::from(b));
    let tag = format!("\"{half:032x}\"");
    let mut response = if holds(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "text/calendar; charset=utf-8")], text).into_response()
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Whether the client says that it holds what `tag` stands for.
fn holds(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|held| held == "*" || held.strip_prefix("W/").unwrap_or(held) == tag)
}

fn write(windows: &[Vec<Arc<Window>>], catalogue: &Catalogue) -> String {
    let mut out = String::with_capacity(1024 * (1 + windows.len()));
    line(&mut out, "BEGIN", "VCALENDAR");
    line(&mut out, "VERSION", "2.0");
    line(&mut out, "PRODID", "-//Holdover//Planned stops//EN");
    line(&mut out, "REFRESH-INTERVAL;VALUE=DURATION", "PT15M");
    for versions in windows {
        events(&mut out, versions, catalogue);
    }
    line(&mut out, "END", "VCALENDAR");
    out
}

/// The rows of a window that have the same times, under the name that their event keeps.
fn events_of(window: &Window) -> Vec<(String, Vec<&Row>)> {
    let own_times = |row: &Row| (row.starts_at, row.ends_at);
    let rows = || (1usize..).zip(&window.policy);
    let mut found = Vec::new();
    for (number, first) in rows() {
        let times = own_times(first);
        if rows().any(|(earlier, row)| earlier < number && own_times(row) == times) {
            continue;
        }
        let inherits = times == (None, None);
        // A window's name has no dot.
        let place = if inherits { String::new() } else { format!(".{number}") };
        let alike = window.policy.iter().filter(|row| own_times(row) == times).collect();
        found.push((format!("{}{place}@holdover", window.id), alike));
    }
    found
}

/// The events of a window, given its versions, the last of them in force. One that an earlier
/// version had and this one has not stays in the feed as cancelled.
fn events(out: &mut String, versions: &[Arc<Window>], catalogue: &Catalogue) {
    let Some((window, earlier)) = versions.split_last() else { return };
    let current = events_of(window);
    let cancelled = window.cancelled_at.is_some();
    let mut told: Vec<String> = current.iter().map(|(uid, _)| uid.clone()).collect();
    for (uid, rows) in &current {
        event(out, uid, (window, rows, catalogue), window, cancelled);
    }
    for before in earlier.iter().rev() {
        for (uid, rows) in events_of(before) {
            if !told.contains(&uid) {
                event(out, &uid, (before, &rows, catalogue), window, true);
                told.push(uid);
            }
        }
    }
}

/// One event: what `of` says of its rows, as `now` leaves it.
fn event(
    out: &mut String,
    uid: &str,
    (of, rows, catalogue): (&Window, &[&Row], &Catalogue),
    now: &Window,
    cancelled: bool,
) {
    let Some(first) = rows.first() else { return };
    let stretch = of.interval_of(first);
    line(out, "BEGIN", "VEVENT");
    line(out, "UID", uid);
    line(out, "SEQUENCE", &now.version.to_string());
    line(out, "DTSTAMP", &instant(now.changed_at));
    line(out, "DTSTART", &instant(stretch.start));
    line(out, "DTEND", &instant(stretch.end));
    line(out, "STATUS", if cancelled { "CANCELLED" } else { "CONFIRMED" });
    // It takes nobody's time.
    line(out, "TRANSP", "TRANSPARENT");
    let clauses = each_once(rows.iter().map(|row| row.clause.as_str())).join(", ");
    let is_planned = of.cause.is_planned();
    let kind = if is_planned { "Planned stop" } else { "Unplanned stop" };
    let kind_zh = if is_planned { "计划停机" } else { "故障停机" };
    let Message { zh: scope, en: scope_en } = words::scope(rows.iter().copied(), catalogue);
    let Message { zh: times, en: times_en } = words::stretch(stretch, of.zone);
    let summary = format!("{kind_zh}：{scope} / {kind} {}: {clauses}", of.id);
    line(out, "SUMMARY", &escaped(&summary));
    let said = format!("{kind_zh}：{scope}，{times}。\n{kind}: {scope_en}, {times_en}.\n");
    line(out, "DESCRIPTION", &escaped(&(said + &description(of, rows, catalogue))));
    line(out, "END", "VEVENT");
}

/// What is said, in its order, and nothing of it twice.
fn each_once<T: PartialEq>(said: impl Iterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for one in said {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

fn description(window: &Window, rows: &[&Row], catalogue: &Catalogue) -> String {
    let mut lines = Vec::with_capacity(rows.len() + 1);
    if let Some(notice) = &window.notice {
        let published_at = notice.published_at.rfc3339(window.zone);
        lines.push(format!("{}, published {published_at}", notice.source));
    }
    let rows = rows.iter().map(|row| {
        let disposition = row.disposition.map_or("not decided yet", |said| said.as_str());
        let of = words::of_row(row, catalogue);
        format!("{}: {disposition}, counter: {}; {of}", row.clause, row.advice.as_str())
    });
    lines.extend(each_once(rows));
    lines.join("\n")
}
