//! How an announcement is put: its data, and one plain sentence in Chinese and in English.

use super::super::State;
use super::super::plan::{self, Planned};
use super::super::words;
use super::outbox::Announcement;
use crate::domain::announcement::{Kind, Moment};
use crate::domain::catalogue::Catalogue;
use crate::domain::cell::Selector;
use crate::domain::deadline::Extension;
use crate::domain::ids::{Business, DeadlineId, InstitutionCode, Seq, UpstreamName, WindowId};
use crate::domain::policy::{Disposition, Row};
use crate::domain::term::Deadline;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{Act, Phase, Window};
use crate::web::problem::{Code, Message, Problem};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// Cases that one announcement of a moved date names; of more it says how many.
const CASES_MAX: usize = 100;

/// What is told of a window.
#[derive(Serialize)]
struct WindowData<'a> {
    message: Message,
    /// Of a reminder: how many hours before the start it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    hours_before: Option<u32>,
    /// Of a change: what was planned before.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    /// Of a restore: what is handled again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    restored: Vec<Restored<'a>>,
    /// The version that is told of, as `GET /v1/windows` has it.
    window: Planned,
}

#[derive(Serialize)]
struct Before {
    starts_at: String,
    ends_at: String,
}

/// A part that is handled again.
#[derive(Serialize)]
struct Restored<'a> {
    /// Which cells; without any choice all of the window's.
    cells: &'a Selector,
    /// From when on, where that is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_from: Option<String>,
}

/// What is told of a date.
#[derive(Serialize)]
struct DeadlineData<'a> {
    message: Message,
    business: &'a Business,
    original: Deadline,
    effective: Deadline,
    rule: String,
    clause: &'a str,
    window: &'a WindowId,
    version: u32,
    /// The caller's registered cases with this date, the first hundred of them.
    cases: Vec<DeadlineId>,
    /// How many there are.
    cases_count: usize,
}

fn raw(data: &impl Serialize) -> Result<Box<RawValue>, Problem> {
    serde_json::value::to_raw_value(data)
        .map_err(|_| Problem::new(Code::Internal, "an announcement cannot be put into words"))
}

/// The announcement of a moment of a window, that stands in `phase` now.
pub(super) fn of_window(
    state: &State,
    moment: &Moment,
    phase: Phase,
    now: Timestamp,
) -> Result<Announcement, Problem> {
    let Moment { at, kind, hours_before, window, before } = moment;
    let moved = before.as_ref().filter(|_| *kind == Kind::Changed).map(|before| before.stretch());
    let moved = moved.filter(|before| *before != window.stretch());
    let acts = moment.restored().chain(moment.released()).filter(|_| *kind == Kind::Restored);
    let restored = acts.map(|act| Restored {
        cells: &act.cells,
        ready_from: act.ready_from.map(|at| at.rfc3339(window.zone)),
    });
    let told_before = |of: Interval| Before {
        starts_at: of.start.rfc3339(window.zone),
        ends_at: of.end.rfc3339(window.zone),
    };
    let data = WindowData {
        message: about_window(moment, moved, &state.catalogue),
        hours_before: *hours_before,
        before: moved.map(told_before),
        restored: restored.collect(),
        window: plan::planned(window, phase),
    };
    let short = kind.as_str().trim_start_matches("window.");
    let hours = hours_before.map_or(String::new(), |hours| format!("-{hours}"));
    let lines = || window.policy.iter().flat_map(|row| words::lines_of(row, &state.catalogue));
    let upstreams =
        lines().flat_map(|l| std::iter::once(&l.upstream).chain(l.upstream_for.values()));
    let upstreams: BTreeSet<UpstreamName> = upstreams.cloned().collect();
    let businesses: BTreeSet<Business> = lines().map(|line| line.business.clone()).collect();
    Ok(Announcement {
        // No full stop: one stands between the parts of what is signed.
        id: format!("window_{}_{}_{short}{hours}", window.id, window.version),
        kind: *kind,
        at: at.rfc3339(state.zone),
        written_at: now,
        institution: None,
        upstreams: upstreams.into_iter().collect(),
        businesses: businesses.into_iter().collect(),
        data: raw(&data)?,
    })
}

fn about_window(moment: &Moment, moved: Option<Interval>, catalogue: &Catalogue) -> Message {
    let window: &Window = &moment.window;
    let Message { zh: what, en: what_en } = words::scope(window.policy.iter(), catalogue);
    let of = window.stretch();
    let Message { zh: times, en: times_en } = words::stretch(of, window.zone);
    let Message { zh: end, en: end_en } = words::when(of.end, window.zone);
    let (zh, en) = match moment.kind {
        Kind::Announced if !window.cause.is_planned() => (
            format!("故障停机：{what}已中断，预计{end}恢复。"),
            format!("Unplanned stop: {what_en} is interrupted; it is expected back on {end_en}."),
        ),
        Kind::Announced => (
            format!("停机预告：{what}计划于{times}停止办理。"),
            format!("Planned stop: {what_en} stops {times_en}."),
        ),
        Kind::Changed => {
            let before = moved.map(|before| words::stretch(before, window.zone));
            let (was, was_en) = match before {
                Some(Message { zh, en }) => (format!("原为{zh}"), format!("before: {en}")),
                None => ("起止时间不变".to_owned(), "the times are the same".to_owned()),
            };
            (
                format!("停机变更：{what}现计划于{times}停止办理（{was}）。"),
                format!("Changed stop: {what_en} now stops {times_en} ({was_en})."),
            )
        }
        Kind::Reminder => {
            let hours = moment.hours_before.unwrap_or_default();
            let (unit, plural) = (hours, if hours == 1 { "" } else { "s" });
            (
                format!("停机提醒（提前{unit}小时）：{what}将于{times}停止办理。"),
                format!("Reminder, {unit} hour{plural} ahead: {what_en} stops {times_en}."),
            )
        }
        Kind::Started => (
            format!("停机开始：{what}现已停止办理，预计{end}恢复。"),
            format!("The stop has begun: {what_en}; the restart is planned for {end_en}."),
        ),
        Kind::Restored => restored(moment, catalogue),
        Kind::Ended => (
            format!("停机结束：{what}已恢复办理。"),
            format!("The stop is over: {what_en} is handled again."),
        ),
        Kind::Cancelled => (
            format!("停机取消：原定{times}的停机不再进行，{what}照常办理。"),
            format!("Cancelled stop: {what_en} does not stop {times_en}."),
        ),
        // A date is told of by `of_deadline`.
        Kind::Extended => (String::new(), String::new()),
    };
    Message { zh, en }
}

/// What is handled again, where and from when on: an act is of some districts, or is ready later. What
/// a named person has to release is not handled again by being restored.
fn restored(moment: &Moment, catalogue: &Catalogue) -> (String, String) {
    let window = &moment.window;
    let waits = |row: &Row| row.disposition.is_some_and(Disposition::needs_release);
    let (mut again, mut later) = (Vec::new(), Vec::new());
    for row in words::stopped(window.policy.iter()) {
        let chosen = |act: &Act| {
            let lines = words::lines_of(row, catalogue);
            let lines = lines.filter(|line| words::is_meant(line, &act.cells));
            lines.filter(|_| act.cells.overlaps(&row.cells)).collect::<Vec<_>>()
        };
        let released = |part: &Act| {
            let of_row = window.releases.iter().filter(|act| act.cells.overlaps(&row.cells));
            of_row.map(|act| &act.cells).any(|cells| cells.covers(&part.cells))
        };
        for act in moment.restored() {
            if !waits(row) || released(act) {
                again.extend(chosen(act))
            } else {
                later.extend(chosen(act))
            }
        }
        let is_back = window.restores.iter().any(|act| act.cells.overlaps(&row.cells));
        for act in moment.released().filter(|_| waits(row) && is_back) {
            again.extend(chosen(act));
        }
    }
    let acts = || moment.restored().chain(moment.released());
    let districts: BTreeSet<&str> =
        acts().flat_map(|act| &act.cells.district).map(|d| d.as_str()).collect();
    let districts = districts.into_iter().collect::<Vec<_>>().join(", ");
    let (at, at_en) = match districts.is_empty() {
        true => (String::new(), String::new()),
        false => (format!("（{districts}）"), format!(" ({districts})")),
    };
    if again.is_empty() {
        let Message { zh: what, en: what_en } = words::titles(later.into_iter());
        return (
            format!("系统已恢复：停机期间停办的{what}{at}待专人放行后恢复办理。"),
            format!(
                "The system is back, and what a person has to release waits: {what_en}{at_en}."
            ),
        );
    }
    let Message { zh: what, en: what_en } = words::titles(again.into_iter());
    let ready = acts().filter_map(|act| act.ready_from).max();
    let Some(Message { zh: from, en: from_en }) = ready.map(|at| words::when(at, window.zone))
    else {
        return (
            format!("部分恢复：停机期间停办的{what}{at}已恢复办理。"),
            format!("Part of what was stopped is handled again: {what_en}{at_en}."),
        );
    };
    (
        format!("部分恢复：停机期间停办的{what}{at}将于{from}恢复办理。"),
        format!("Part of what was stopped is handled again from {from_en}: {what_en}{at_en}."),
    )
}

/// A date that was told anew.
#[derive(Debug, Clone)]
pub(super) struct DateTold {
    /// The change.
    pub(super) seq: Seq,
    pub(super) business: Business,
    pub(super) original: Deadline,
    pub(super) extension: Extension,
    pub(super) at: Timestamp,
}

/// The announcement of a moved date to an institution, whose cases with that date are `cases`.
pub(super) fn of_deadline(
    state: &State,
    told: &DateTold,
    institution: &InstitutionCode,
    cases: &[Seq],
    now: Timestamp,
) -> Result<Announcement, Problem> {
    let DateTold { seq, business, original, extension, at } = told;
    let line = state.catalogue.lines.iter().find(|line| line.business == *business);
    let titles = line.map(|line| (line.title_zh.as_str(), line.title_en.as_str()));
    let titles = titles.filter(|(zh, en)| !zh.is_empty() && !en.is_empty());
    let (zh, en) = titles.unwrap_or((business.as_str(), business.as_str()));
    let (to, clause) = (extension.to, &extension.clause);
    let message = Message {
        zh: format!("期限顺延：{zh}原定{original}的期限顺延至{to}（依据{clause}）。"),
        en: format!("Extended deadline: {en}, due {original}, is now due {to} ({clause})."),
    };
    let named = cases.iter().take(CASES_MAX).map(|&case| state.numbers.deadline(case));
    let data = DeadlineData {
        message,
        business,
        original: *original,
        effective: to,
        rule: extension.rule.to_string(),
        clause,
        window: &extension.window,
        version: extension.version,
        cases: named.collect(),
        cases_count: cases.len(),
    };
    Ok(Announcement {
        id: format!("deadline_{}_{institution}", seq.0),
        kind: Kind::Extended,
        at: at.rfc3339(state.zone),
        written_at: now,
        institution: Some(institution.clone()),
        upstreams: Vec::new(),
        businesses: vec![business.clone()],
        data: raw(&data)?,
    })
}
