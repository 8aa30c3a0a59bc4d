//! A window that is changed: what of it may be something else, and what stays told.
//!
//! Before anything of it has begun, a window may be given a new whole. From then on its end, the
//! ends of its rows and what is done with new submissions can be others, and nothing that a
//! transaction, a date or a person already rests on: what is stopped is let go by a restore and
//! never by a change, and what waits for a named person's word waits for it whatever the row says
//! later.
//!
//! What the public was told is never shrunk. A row that says less than one before it, or is gone,
//! leaves its stretch in `Window::told`; deadlines count on the whole ([`Window::told_of`]).
//!
//! Whether the outcome may be in force is `review`'s job.

use super::cell::Selector;
use super::deadline::DeadlineRule;
use super::ids::Business;
use super::policy::Row;
use super::review::{FaultCode, WindowFault};
use super::time::{Interval, Timestamp, Zone};
use super::window::{Notice, Proof, RestoreBy, Window};
use serde::{Deserialize, Serialize};

/// A stop that the public was told for cells by an earlier version, which no row says any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldStop {
    /// The cells.
    pub cells: Selector,
    /// From when to when.
    pub stretch: Interval,
}

/// The most stretches of earlier versions that a window remembers.
pub const TOLD_MAX: usize = 256;

/// What a window is to say from now on, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The zone its times are meant in.
    pub zone: Zone,
    /// From when to when it is planned.
    pub planned: Interval,
    /// The notice it rests on.
    pub notice: Option<Notice>,
    /// What it says, cell by cell.
    pub policy: Vec<Row>,
    /// How it moves deadlines, if it does.
    pub deadlines: Option<DeadlineRule>,
    /// How its parts are proved to be back.
    pub restore_by: RestoreBy,
    /// See [`Window::cutoff_minutes`].
    pub cutoff_minutes: Option<u32>,
}

impl Window {
    /// What the public was told of `row`: its own times where it has some, else the window's.
    #[must_use]
    pub fn told_by(&self, row: &Row) -> Interval {
        Interval {
            start: row.starts_at.unwrap_or(self.published.start),
            end: row.ends_at.unwrap_or(self.published.end),
        }
    }

    /// From the earliest start to the latest end that the public was ever told for `business`, by
    /// this version or one before it. `None` where none of them stops it.
    #[must_use]
    pub fn told_of(&self, business: &Business) -> Option<Interval> {
        let rows =
            self.policy.iter().filter(|row| row.stops()).map(|r| (&r.cells, self.told_by(r)));
        let before = self.told.iter().map(|told| (&told.cells, told.stretch));
        let of = |cells: &Selector| {
            cells.business.is_empty() || cells.business.iter().any(|p| p.matches(business))
        };
        let told = rows.chain(before).filter(|(cells, _)| of(cells)).map(|(_, stretch)| stretch);
        told.reduce(hull)
    }

    /// The next version by `to`, at `now`. Author, reason and instant are the caller's.
    ///
    /// # Errors
    /// Everything that can no longer be changed, or is in the past already.
    pub fn revised(&self, to: &Revision, now: Timestamp) -> Result<Self, Vec<WindowFault>> {
        let mut faults = Vec::new();
        if self.stretch().start <= now {
            self.refuse_what_has_begun(to, now, &mut faults);
        }
        let mut next = Self {
            zone: to.zone,
            planned: to.planned,
            notice: to.notice.clone(),
            policy: to.policy.clone(),
            deadlines: to.deadlines.clone(),
            restore_by: to.restore_by,
            cutoff_minutes: to.cutoff_minutes,
            ..self.clone()
        };
        self.refuse_past_ends(&next, now, &mut faults);
        next.keep_told(self);
        if next.told.len() > TOLD_MAX {
            let why = format!("{TOLD_MAX} stretches that earlier versions told are remembered");
            faults.push(WindowFault::error(FaultCode::TooLong, "row", why));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        next.forget_disproved(now);
        Ok(next)
    }

    /// The next version in which the row at `index` is planned to end at `ends_at`; `None` where
    /// there is no such row.
    #[must_use]
    pub fn with_row_end(&self, index: u32, ends_at: Timestamp, now: Timestamp) -> Option<Self> {
        let mut next = self.clone();
        next.policy.get_mut(index as usize)?.ends_at = Some(ends_at);
        next.keep_told(self);
        next.forget_disproved(now);
        Some(next)
    }

    /// Takes over what the version `before` told the public, wherever this one says less.
    fn keep_told(&mut self, before: &Self) {
        self.published = hull(before.published, self.planned);
        for row in before.policy.iter().filter(|row| row.stops()) {
            let told = before.told_by(row);
            let still_says = self.policy.iter().any(|new| {
                let says = self.told_by(new);
                new.stops() && new.cells == row.cells && hull(says, told) == says
            });
            if still_says {
                continue;
            }
            match self.told.iter_mut().find(|known| known.cells == row.cells) {
                Some(known) => known.stretch = hull(known.stretch, told),
                None => self.told.push(ToldStop { cells: row.cells.clone(), stretch: told }),
            }
        }
    }

    /// Where a stop goes on, what probes proved before is proved no longer.
    pub fn forget_disproved(&mut self, now: Timestamp) {
        let provable: Vec<Timestamp> = self
            .policy
            .iter()
            .filter(|row| row.stops())
            .map(|row| self.provable_from(self.interval_of(row)))
            .filter(|&from| from <= now)
            .collect();
        let proves = |at: Timestamp| provable.iter().any(|&from| from <= at);
        self.restores.retain(|act| act.proof != Proof::Probes || proves(act.at));
    }

    fn refuse_what_has_begun(&self, to: &Revision, now: Timestamp, faults: &mut Vec<WindowFault>) {
        let mut error = |field: String, why: &str| {
            faults.push(WindowFault::error(FaultCode::Fixed, field, why))
        };
        let stays = "it has begun, and this stays as it is";
        for (field, differs) in [
            ("zone", self.zone != to.zone),
            ("starts_at", self.planned.start != to.planned.start),
            // One that comes later moves nobody's date earlier.
            ("deadlines", self.deadlines.is_some() && self.deadlines != to.deadlines),
            ("restore_by", self.restore_by != to.restore_by),
        ] {
            if differs {
                error(field.to_owned(), stays);
            }
        }
        if self.policy.len() != to.policy.len() {
            let why = "it has begun: rows are neither added nor taken away; declare another window \
                       beside it";
            error("row".to_owned(), why);
            return;
        }
        for (index, (old, new)) in self.policy.iter().zip(&to.policy).enumerate() {
            let field = |name: &str| format!("row[{index}].{name}");
            for (name, differs) in
                [("clause", old.clause != new.clause), ("cells", old.cells != new.cells)]
            {
                if differs {
                    error(field(name), stays);
                }
            }
            let start = self.interval_of(old).start;
            let new_start = new.starts_at.unwrap_or(to.planned.start);
            let own = old.starts_at.or(new.starts_at).is_some();
            if own && start != new_start && start.min(new_start) <= now {
                error(field("starts_at"), "it has begun, or would have: the start stays");
            }
            if now < start {
                continue;
            }
            if old.stops() && !new.stops() {
                let why = "what is stopped is let go by a restore and not by a change";
                error(field("disposition"), why);
            } else if old.disposition.is_some_and(|d| d.needs_release())
                && !new.disposition.is_some_and(|d| d.needs_release())
            {
                let why = "what was taken waits for a named person's word: hold_for_release and \
                           pre_accept can only become each other";
                error(field("disposition"), why);
            }
        }
    }

    /// An end that is moved is moved to an instant that is still to come.
    fn refuse_past_ends(&self, next: &Self, now: Timestamp, faults: &mut Vec<WindowFault>) {
        let why = "is in the past; end a stop by window end";
        if next.planned.end <= now && next.planned.end != self.planned.end {
            faults.push(WindowFault::error(FaultCode::Past, "ends_at", why));
        }
        for (index, row) in next.policy.iter().enumerate() {
            let Some(end) = row.ends_at.filter(|&end| end <= now) else { continue };
            if self.policy.get(index).and_then(|old| old.ends_at) != Some(end) {
                let field = format!("row[{index}].ends_at");
                faults.push(WindowFault::error(FaultCode::Past, field, why));
            }
        }
    }
}

/// The shortest stretch that holds both.
fn hull(one: Interval, other: Interval) -> Interval {
    Interval { start: one.start.min(other.start), end: one.end.max(other.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Disposition;
    use crate::domain::window::Cause;

    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);
    const STOP: (&str, &str) = ("2022-08-12T19:00:00+08:00", "2022-08-15T06:00:00+08:00");

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn stretch(start: &str, end: &str) -> Interval {
        Interval::new(at(start), at(end)).unwrap()
    }

    fn row(business: &str, disposition: &str) -> Row {
        serde_json::from_value(serde_json::json!({
            "clause": "1", "cells": {"business": [business]}, "disposition": disposition,
        }))
        .unwrap()
    }

    fn window() -> Window {
        let planned = stretch(STOP.0, STOP.1);
        Window {
            id: "stop".parse().unwrap(),
            version: 1,
            zone: chrono_tz::Asia::Shanghai,
            planned,
            published: planned,
            told: Vec::new(),
            author: "a".to_owned(),
            reason: "r".to_owned(),
            changed_at: at("2022-08-09T10:00:00+08:00"),
            notice: None,
            policy: vec![row("filing.*", "hold"), row("service.*", "hold_for_release")],
            deadlines: None,
            restore_by: RestoreBy::Probes,
            cause: Cause::Planned,
            cutoff_minutes: None,
            cancelled_at: None,
            restores: Vec::new(),
            releases: Vec::new(),
        }
    }

    fn rule() -> DeadlineRule {
        serde_json::from_value(serde_json::json!({
            "rule": "shift_by_outage", "clause": "1", "legal_basis": "b", "business": ["filing.*"],
        }))
        .unwrap()
    }

    fn as_it_is(window: &Window) -> Revision {
        Revision {
            zone: window.zone,
            planned: window.planned,
            notice: window.notice.clone(),
            policy: window.policy.clone(),
            deadlines: window.deadlines.clone(),
            restore_by: window.restore_by,
            cutoff_minutes: window.cutoff_minutes,
        }
    }

    fn told(window: &Window, business: &str) -> Option<Interval> {
        window.told_of(&business.parse().unwrap())
    }

    #[test]
    fn what_was_told_is_never_shrunk_whatever_the_rows_say_later() {
        let before = at("2022-08-10T08:00:00+08:00");
        let first = window();
        // Moved by a week: both weeks were told.
        let mut to = as_it_is(&first);
        to.planned = stretch("2022-08-19T19:00:00+08:00", "2022-08-22T06:00:00+08:00");
        let second = first.revised(&to, before).unwrap();
        let both = stretch(STOP.0, "2022-08-22T06:00:00+08:00");
        assert_eq!((second.planned, second.published), (to.planned, both));
        assert_eq!(told(&second, "filing.one"), Some(both));
        // A row gets shorter times of its own, another is let pass, a third is new.
        to.policy[0].starts_at = Some(at("2022-08-20T00:00:00+08:00"));
        to.policy[1].disposition = Some(Disposition::Pass);
        to.policy.push(row("settlement.*", "hold"));
        to.policy[2].ends_at = Some(at("2022-08-30T06:00:00+08:00"));
        let third = second.revised(&to, before).unwrap();
        assert_eq!(third.told.len(), 2);
        assert_eq!(told(&third, "filing.one"), Some(both));
        assert_eq!(told(&third, "service.query"), Some(both));
        let new = stretch(STOP.0, "2022-08-30T06:00:00+08:00");
        assert_eq!(told(&third, "settlement.outpatient"), Some(new));
        assert_eq!(told(&third, "reimbursement.manual"), None);
        // The new one is gone again, and what it told stays.
        to.policy.pop();
        let fourth = third.revised(&to, before).unwrap();
        assert_eq!(told(&fourth, "settlement.outpatient"), Some(new));
        // Said again, twice, it is remembered once.
        let again = fourth.revised(&to, before).unwrap();
        assert_eq!(again.told, fourth.told);
    }

    #[test]
    fn a_window_that_was_stored_before_says_what_it_said() {
        let plain = window();
        let stored = serde_json::to_value(&plain).unwrap();
        for new in ["told", "cutoff_minutes", "cause"] {
            assert!(stored.get(new).is_none(), "{new} is written where it says nothing");
        }
        assert_eq!(serde_json::from_value::<Window>(stored).unwrap(), plain);
        let mut full = plain.with_row_end(0, at(STOP.0).after(HOUR), at(STOP.0)).unwrap();
        (full.cutoff_minutes, full.cause) = (Some(10), Cause::Unplanned);
        let again: Window = serde_json::from_str(&serde_json::to_string(&full).unwrap()).unwrap();
        assert!(again == full && !again.told.is_empty());
    }

    #[test]
    fn a_row_that_ends_early_leaves_its_end_told() {
        let now = at("2022-08-13T08:00:00+08:00");
        let first = window();
        let next = first.with_row_end(0, at("2022-08-13T09:00:00+08:00"), now).unwrap();
        assert_eq!(next.interval_of(&next.policy[0]).end, at("2022-08-13T09:00:00+08:00"));
        assert_eq!(told(&next, "filing.one"), Some(first.published));
        assert!(next.told.len() == 1 && first.with_row_end(2, now, now).is_none());
        let later = next.with_row_end(0, at("2022-08-16T09:00:00+08:00"), now).unwrap();
        let whole = Interval { end: at("2022-08-16T09:00:00+08:00"), ..first.published };
        assert_eq!(told(&later, "filing.one"), Some(whole));
    }

    #[test]
    fn once_it_has_begun_only_what_nobody_rests_on_can_change() {
        type Change = fn(&mut Revision);
        let table: &[(Change, Option<&str>)] = &[
            (|_| {}, None),
            (|to| to.planned.end = at("2022-08-15T12:00:00+08:00"), None),
            (|to| to.planned.end = at("2022-08-13T12:00:00+08:00"), None),
            (|to| to.planned.end = at("2022-08-13T07:00:00+08:00"), Some("ends_at")),
            (|to| to.planned.start = at("2022-08-12T18:00:00+08:00"), Some("starts_at")),
            (|to| to.zone = chrono_tz::UTC, Some("zone")),
            (|to| to.deadlines = Some(rule()), None),
            (|to| to.restore_by = RestoreBy::Signed, Some("restore_by")),
            (|to| drop(to.policy.pop()), Some("row")),
            (|to| to.policy[0].cells = Selector::default(), Some("row[0].cells")),
            (|to| to.policy[0].clause = "2".to_owned(), Some("row[0].clause")),
            (|to| to.policy[0].disposition = Some(Disposition::Refuse), None),
            (|to| to.policy[0].disposition = Some(Disposition::Pass), Some("row[0].disposition")),
            (|to| to.policy[1].disposition = Some(Disposition::PreAccept), None),
            (|to| to.policy[1].disposition = Some(Disposition::Hold), Some("row[1].disposition")),
            (|to| to.policy[1].ends_at = Some(at("2022-08-14T00:00:00+08:00")), None),
            (
                |to| to.policy[1].ends_at = Some(at("2022-08-13T07:00:00+08:00")),
                Some("row[1].ends_at"),
            ),
            (
                |to| to.policy[1].starts_at = Some(at("2022-08-14T00:00:00+08:00")),
                Some("row[1].starts_at"),
            ),
        ];
        let now = at("2022-08-13T08:00:00+08:00");
        for (place, (change, field)) in table.iter().enumerate() {
            let mut to = as_it_is(&window());
            change(&mut to);
            let fields: Vec<String> = match window().revised(&to, now) {
                Ok(_) => Vec::new(),
                Err(faults) => faults.into_iter().map(|fault| fault.field).collect(),
            };
            assert_eq!(
                fields,
                field.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "{place}"
            );
        }
    }

    #[test]
    fn a_part_of_a_running_window_that_is_still_to_come_can_still_be_moved() {
        let mut staged = window();
        staged.policy[1].starts_at = Some(at("2022-08-14T00:00:00+08:00"));
        let mut to = as_it_is(&staged);
        to.policy[1].starts_at = Some(at("2022-08-14T06:00:00+08:00"));
        to.policy[1].disposition = Some(Disposition::Pass);
        let next = staged.revised(&to, at("2022-08-13T08:00:00+08:00")).unwrap();
        let whole = Interval { start: at("2022-08-14T00:00:00+08:00"), ..staged.published };
        assert_eq!(told(&next, "service.query"), Some(whole));
    }
}
