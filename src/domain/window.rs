//! Windows: planned stops, what they say about each cell, and the acts that end them.
//!
//! One window is one object however many days and parts it has; a row may stop and restart
//! earlier or later than the rest. "The clock reached the end" never opens anything: a part is
//! over when a *restore* act names it. Dispositions that a person must let go (per district)
//! need a *release* act as well.

use super::cell::{Cell, Selector, words};
use super::deadline::DeadlineRule;
use super::ids::WindowId;
use super::policy::{Advice, Disposition, Row, RowRef};
use super::revision::ToldStop;
use super::time::{CivilDate, Interval, Timestamp, Zone};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long after its planned end a stop is still about to be proved over. The alert
/// HoldoverWindowOverrun means the same; a test compares them.
pub const PROOF_TAKES: Duration = Duration::from_secs(300);

/// The notice that a window rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Who published it, and where.
    pub source: String,
    /// When.
    pub published_at: Timestamp,
    /// Its document number, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// SHA-256 of its text, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its clauses, as it numbers them. Where they are listed, each needs a row, and no row may
    /// name another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<String>,
}

words!(
    /// How a part of the core is proved to be back.
    RestoreBy, "restore policy", {
        /// N good probes in a row after the planned end, or a signed act at any time.
        Probes = "probes",
        /// A signed act only.
        Signed = "signed",
    }
);

words!(
    /// Why there is a stop.
    #[derive(Default)]
    Cause, "cause of a window", {
        /// Somebody planned it.
        #[default]
        Planned = "planned",
        /// A part of the core was away, and a person confirmed it.
        Unplanned = "unplanned",
    }
);

impl Cause {
    /// Whether somebody planned it.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        *self == Self::Planned
    }
}

words!(
    /// How a restore came about.
    Proof, "proof", {
        /// A named person signed for it.
        Signed = "signed",
        /// The probes were good often enough.
        Probes = "probes",
    }
);

/// A restore or a release: the cells that it names are let go from `at` on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The cells.
    pub cells: Selector,
    /// When it was done.
    pub at: Timestamp,
    /// From when on they may go, where that is later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_from: Option<Timestamp>,
    /// Who did it; `probes` where nobody had to.
    pub by: String,
    /// What it rests on.
    pub proof: Proof,
    /// Why.
    pub reason: String,
}

/// One planned stop, as of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its name.
    pub id: WindowId,
    /// 1 when declared, rising by one with each change.
    pub version: u32,
    /// The zone its times are meant in.
    pub zone: Zone,
    /// From when to when it is planned now.
    pub planned: Interval,
    /// What the public was ever told: from the earliest start to the latest end. Deadlines
    /// count on this; ending early or cancelling shrinks nothing.
    pub published: Interval,
    /// What rows of earlier versions told the public, where the rows of now say less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<ToldStop>,
    /// Who made this version.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When this version was made.
    pub changed_at: Timestamp,
    /// The notice it rests on.
    pub notice: Option<Notice>,
    /// What it says, cell by cell.
    pub policy: Vec<Row>,
    /// How it moves deadlines, if it does.
    pub deadlines: Option<DeadlineRule>,
    /// How its parts are proved to be back.
    pub restore_by: RestoreBy,
    /// Whether it was planned.
    #[serde(default, skip_serializing_if = "Cause::is_planned")]
    pub cause: Cause,
    /// For how many minutes before a part stops its long work is not begun any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoff_minutes: Option<u32>,
    /// When it was cancelled, if it was.
    pub cancelled_at: Option<Timestamp>,
    /// What has been restored.
    pub restores: Vec<Act>,
    /// What has been released.
    pub releases: Vec<Act>,
}

impl Act {
    /// From when on it lets go.
    #[must_use]
    pub fn lets_go_at(&self) -> Timestamp {
        self.ready_from.map_or(self.at, |ready| ready.max(self.at))
    }
}

words!(
    /// Where a window stands in its life.
    Phase, "window phase", {
        /// Its start is still to come.
        Scheduled = "scheduled",
        /// Its start is so near that long work is not begun any more.
        Closing = "closing",
        /// Between start and planned end, not everything restored.
        Active = "active",
        /// Past its planned end, not everything restored yet.
        Verifying = "verifying",
        /// Past its planned end for longer than a proof takes.
        Overrun = "overrun",
        /// Everything restored; something still waits for a release.
        Replaying = "replaying",
        /// Over.
        Completed = "completed",
        /// Taken back before it began.
        Cancelled = "cancelled",
    }
);

/// Why a window keeps a cell's gate closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// The stop is on.
    Stopped,
    /// The planned end has passed; the core is not proved back yet.
    Verifying,
    /// The core is back; a named person has not let these cells go yet.
    AwaitingRelease,
}

/// What a submission is told, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is done with it.
    pub disposition: Disposition,
    /// What the counter is told.
    pub advice: Advice,
    /// The row that said so; `None` where no window speaks of the cell.
    pub row: Option<RowRef>,
    /// When the stop is planned to be over; `None` where it has lasted longer than planned, so
    /// that nobody knows.
    pub resume_at: Option<Timestamp>,
    /// Where to go instead.
    pub alternative: Option<String>,
    /// What to bring or keep.
    pub bring: Vec<String>,
    /// Whether a report file must be attached.
    pub needs_report_file: bool,
}

impl Window {
    /// Whether `other` was declared with the same words, whatever has been ordered since. A move
    /// of the end that was published counts, because the public was told.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        (self.zone, self.published, self.restore_by, self.cutoff_minutes)
            == (other.zone, other.published, other.restore_by, other.cutoff_minutes)
            && self.notice == other.notice
            && self.policy == other.policy
            && self.deadlines == other.deadlines
    }

    /// The row that speaks of `cell`: the narrowest that matches, the earlier one of equals.
    #[must_use]
    pub fn row_for(&self, cell: &Cell) -> Option<(u32, &Row)> {
        let mut best: Option<(u32, &Row)> = None;
        for (index, row) in (0u32..).zip(&self.policy) {
            let narrower = |kept: &Row| row.cells.narrowness() > kept.cells.narrowness();
            if row.cells.matches(cell) && best.is_none_or(|(_, kept)| narrower(kept)) {
                best = Some((index, row));
            }
        }
        best
    }

    /// The stretch that `row` is planned to be stopped for.
    #[must_use]
    pub fn interval_of(&self, row: &Row) -> Interval {
        Interval {
            start: row.starts_at.unwrap_or(self.planned.start),
            end: row.ends_at.unwrap_or(self.planned.end),
        }
    }

    /// From the earliest start to the latest end that are planned, those of single rows included.
    #[must_use]
    pub fn stretch(&self) -> Interval {
        let rows = || self.policy.iter().map(|row| self.interval_of(row));
        Interval {
            start: rows().map(|row| row.start).fold(self.planned.start, Timestamp::min),
            end: rows().map(|row| row.end).fold(self.planned.end, Timestamp::max),
        }
    }

    /// From when on good probes prove a part that is planned to be stopped for `planned`: from the
    /// planned end, because a core may answer while it is worked on. The end of a stop that nobody
    /// planned is only expected, and the core is proved as soon as it answers.
    #[must_use]
    pub fn provable_from(&self, planned: Interval) -> Timestamp {
        match self.cause {
            Cause::Planned => planned.end,
            Cause::Unplanned => planned.start,
        }
    }

    /// Whether `act` says anything about a part that is planned to be stopped for `planned`: one
    /// before the stop says nothing about the core after it.
    pub(super) fn counts(&self, act: &Act, planned: Interval) -> bool {
        match act.proof {
            Proof::Signed => planned.start <= act.at,
            Proof::Probes => self.provable_from(planned) <= act.at,
        }
    }

    /// When `cell` was restored, if it was. An act from before the cell's own stop proves
    /// nothing about the core after it, and is left out.
    #[must_use]
    pub fn restored_at(&self, cell: &Cell) -> Option<Timestamp> {
        if self.restores.is_empty() {
            return None;
        }
        let planned = self.row_for(cell).map_or(self.planned, |(_, row)| self.interval_of(row));
        self.lets_go(|act| self.counts(act, planned) && act.cells.matches(cell))
    }

    /// When the first restore that counts lets go. What a person has said is ready later, later
    /// probes do not let go before that.
    pub(super) fn lets_go(&self, counts: impl Fn(&Act) -> bool) -> Option<Timestamp> {
        let counting = || self.restores.iter().filter(|act| counts(act));
        let signed = |act: &&Act| act.proof == Proof::Signed;
        let word = counting().filter(signed).map(|act| act.at).min();
        let before = |act: &&Act| signed(act) || word.is_none_or(|at| act.at < at);
        counting().filter(before).map(Act::lets_go_at).min()
    }

    /// Whether `cell` was restored so that it may go at once, and released where that is needed.
    #[must_use]
    pub fn is_let_go(&self, cell: &Cell) -> bool {
        let row = self.row_for(cell).map(|(_, row)| row);
        let planned = row.map_or(self.planned, |row| self.interval_of(row));
        let waits = row.is_some_and(|r| r.disposition.is_some_and(Disposition::needs_release));
        if waits && self.released_at(cell).is_none() {
            return false;
        }
        let counts = |act: &Act| self.counts(act, planned) && act.cells.matches(cell);
        let signed = |act: &Act| act.proof == Proof::Signed;
        // Later probes do not outdo a person's word that it is ready later.
        let said = self.restores.iter().any(|act| counts(act) && signed(act));
        let at_once = |act: &Act| counts(act) && act.ready_from.is_none() && (signed(act) || !said);
        self.restores.iter().any(at_once)
    }

    /// From when on `cell` may go, where it is proved back at `now` and not ready yet.
    #[must_use]
    pub fn ready_from(&self, cell: &Cell, now: Timestamp) -> Option<Timestamp> {
        let at = self.restored_at(cell).filter(|&at| now < at)?;
        let signed = |act: &Act| act.at <= now && act.lets_go_at() == at;
        self.restores.iter().any(|act| signed(act) && act.cells.matches(cell)).then_some(at)
    }

    /// When `cell` was released, if it was.
    #[must_use]
    pub fn released_at(&self, cell: &Cell) -> Option<Timestamp> {
        let planned = self.row_for(cell).map_or(self.planned, |(_, row)| self.interval_of(row));
        self.releases
            .iter()
            .filter(|act| self.counts(act, planned) && act.cells.matches(cell))
            .map(Act::lets_go_at)
            .min()
    }

    /// Whether `day` belongs to the stop of `cell` as it is known at `now`: from the published
    /// start to the later of the published end and the actual restart. A filing made afterwards
    /// for the time of the stop may begin on such a day.
    #[must_use]
    pub fn covers_day(&self, day: CivilDate, cell: &Cell, now: Timestamp) -> bool {
        let own = self.row_for(cell).map(|(_, row)| row);
        let before = self.told.iter().filter(|told| told.cells.matches(cell));
        let (start, end) = own
            .map(|row| self.told_by(row))
            .into_iter()
            .chain(before.map(|told| told.stretch))
            .map(|told| (told.start, told.end))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .unwrap_or((self.published.start, self.published.end));
        let stops = own.is_some_and(Row::stops);
        let over = self.cancelled_at.is_some() || !stops;
        let restart = if over { end } else { self.restored_at(cell).map_or(now, |at| at.min(now)) };
        let last = end.max(restart).civil(self.zone).date();
        (start.civil(self.zone).date()..=last).contains(&day)
    }

    /// Whether the stop of `cell` is over at `now` and what happened at `at` fell into it: from the
    /// planned start to the actual restart, or, where things were let through, to the planned end.
    #[must_use]
    pub fn had_stopped(&self, cell: &Cell, at: Timestamp, now: Timestamp) -> bool {
        let ends = self.policy.iter().filter_map(|row| row.ends_at);
        // Most windows are long over, and nothing was changed in them since.
        if ends.fold(self.planned.end.max(self.changed_at), Timestamp::max) <= at {
            return false;
        }
        let Some((_, row)) = self.row_for(cell) else { return false };
        let Some(disposition) = row.disposition.filter(|d| *d != Disposition::Pass) else {
            return false;
        };
        let planned = self.interval_of(row);
        let by_plan = (disposition.passes() && planned.end <= now).then_some(planned.end);
        let restored = self.restored_at(cell).filter(|restored| *restored <= now);
        let ended = if self.cancelled_at.is_some() { None } else { restored.or(by_plan) };
        ended.is_some_and(|ended| planned.start <= at && at < ended)
    }

    /// Whether `cell` was restored and released by `now`.
    fn is_released(&self, cell: &Cell, now: Timestamp) -> bool {
        let by_now = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        by_now(self.restored_at(cell)) && by_now(self.released_at(cell))
    }

    /// The row that is in force for new submissions of `cell` at `now`: until its part is back, and
    /// where a person has to let it go, until then, so that all of them are met alike.
    #[must_use]
    pub fn row_in_force(&self, cell: &Cell, now: Timestamp) -> Option<(u32, &Row)> {
        let (index, row) = self.row_for(cell)?;
        let planned = self.interval_of(row);
        let disposition = row.disposition?;
        let begun = self.cancelled_at.is_none() && planned.start <= now;
        let back = match disposition.needs_release() {
            true => self.is_released(cell, now),
            false => self.restored_at(cell).is_some_and(|at| at <= now),
        };
        let over = back || (disposition.passes() && planned.end <= now);
        (begun && !over).then_some((index, row))
    }

    /// Why this window keeps the gate of `cell` closed at `now`, if it does.
    #[must_use]
    pub fn lock(&self, cell: &Cell, now: Timestamp) -> Option<Lock> {
        let (_, row) = self.row_for(cell)?;
        let disposition = row.disposition?;
        let planned = self.interval_of(row);
        if disposition.passes() || self.cancelled_at.is_some() || now < planned.start {
            return None;
        }
        if self.restored_at(cell).is_none_or(|at| now < at) {
            let known = now < self.provable_from(planned) || self.ready_from(cell, now).is_some();
            return Some(if known { Lock::Stopped } else { Lock::Verifying });
        }
        let waits = disposition.needs_release() && !self.is_released(cell, now);
        waits.then_some(Lock::AwaitingRelease)
    }

    /// How long before a part stops its long work is not begun any more.
    #[must_use]
    pub fn cutoff(&self) -> Duration {
        Duration::from_secs(u64::from(self.cutoff_minutes.unwrap_or(0)) * 60)
    }

    /// Whether the stop of `cell` is so near at `now` that long work in it is not begun any more.
    #[must_use]
    pub fn is_closing(&self, cell: &Cell, now: Timestamp) -> bool {
        let closes = self.closes_at(cell, now);
        closes.is_some_and(|start| start.before(self.cutoff()) <= now)
    }

    /// The next instant after `now` from which long work in `cell` is not begun any more.
    #[must_use]
    pub fn cuts_off_at(&self, cell: &Cell, now: Timestamp) -> Option<Timestamp> {
        let at = self.closes_at(cell, now)?.before(self.cutoff());
        (now < at).then_some(at)
    }

    /// The next instant after `now` at which this window closes `cell` by itself.
    #[must_use]
    pub fn closes_at(&self, cell: &Cell, now: Timestamp) -> Option<Timestamp> {
        let (_, row) = self.row_for(cell)?;
        let start = self.interval_of(row).start;
        let closes = !row.disposition?.passes()
            && self.cancelled_at.is_none()
            // One that has not taken effect yet lets go later, or was signed by a clock that stood
            // ahead.
            && self.restored_at(cell).is_none_or(|at| now < at);
        (closes && now < start).then_some(start)
    }

    /// The next planned instant after `now` at which anything about this window changes.
    #[must_use]
    pub fn next_edge(&self, now: Timestamp) -> Option<Timestamp> {
        if self.cancelled_at.is_some() {
            return None;
        }
        self.policy
            .iter()
            .map(|row| self.interval_of(row))
            .chain([self.planned, self.published])
            .flat_map(|i| [i.start.before(self.cutoff()), i.start, i.end])
            .chain(self.restores.iter().map(Act::lets_go_at))
            .filter(|&edge| now < edge)
            .min()
    }

    /// Where the window stands at `now`, given every cell that has been seen and every other one
    /// that it stops and nobody has restored (`review::unrestored`): a part that no submission
    /// came for is not back because of that.
    #[must_use]
    pub fn phase<'a>(&self, cells: impl IntoIterator<Item = &'a Cell>, now: Timestamp) -> Phase {
        if self.cancelled_at.is_some() {
            return Phase::Cancelled;
        }
        let stretches: Vec<Interval> =
            self.policy.iter().map(|row| self.interval_of(row)).chain([self.planned]).collect();
        if stretches.iter().all(|stretch| now < stretch.start) {
            let near = |stretch: &Interval| stretch.start.before(self.cutoff()) <= now;
            return if stretches.iter().any(near) { Phase::Closing } else { Phase::Scheduled };
        }
        let stops = self.policy.iter().any(|row| row.disposition.is_some_and(|d| !d.passes()));
        // Where nothing has been restored, the rows speak for cells that nobody has seen yet.
        let mut phase = match stretches.iter().any(|stretch| now < stretch.end) {
            true if self.restores.is_empty() => Phase::Active,
            false if self.restores.is_empty() && stops => Phase::Verifying,
            true | false => Phase::Completed,
        };
        if phase != Phase::Completed {
            return self.or_overrun(phase, now);
        }
        for cell in cells {
            phase = match (self.lock(cell, now), phase) {
                (Some(Lock::Stopped), _) | (_, Phase::Active) => Phase::Active,
                (None, _) if self.closes_at(cell, now).is_some() => Phase::Active,
                (Some(Lock::Verifying), _) | (_, Phase::Verifying) => Phase::Verifying,
                (Some(Lock::AwaitingRelease), _) => Phase::Replaying,
                (None, other) => other,
            };
        }
        self.or_overrun(phase, now)
    }

    fn or_overrun(&self, phase: Phase, now: Timestamp) -> Phase {
        let is_late = PROOF_TAKES <= now.since(self.stretch().end);
        if phase == Phase::Verifying && is_late { Phase::Overrun } else { phase }
    }
}

/// Decides what is done with a submission to `cell` at `now`: the strictest answer of all the
/// windows in force, or `normal`, the catalogue's answer for an ordinary day.
#[must_use]
pub fn decide<'a>(
    windows: impl IntoIterator<Item = &'a Window>,
    cell: &Cell,
    normal: Disposition,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision {
        disposition: normal,
        advice: Advice::None,
        row: None,
        resume_at: None,
        alternative: None,
        bring: Vec::new(),
        needs_report_file: false,
    };
    for window in windows {
        let Some((index, row)) = window.row_in_force(cell, now) else {
            continue;
        };
        let Some(disposition) = row.disposition else {
            continue;
        };
        let replaces = decision.row.is_none() || disposition > decision.disposition;
        let planned = window.interval_of(row).end;
        let end = window.ready_from(cell, now).unwrap_or(planned);
        // What lets things through does not put off the end of what stops them, and an end
        // that has passed without a restart tells nobody when to come back.
        let counts = !disposition.passes() || decision.disposition.passes();
        let earlier = decision.resume_at.filter(|_| {
            decision.row.is_some() && (!decision.disposition.passes() || disposition.passes())
        });
        let resume_at = Some(end).filter(|&at| counts && now < at).max(earlier);
        if replaces {
            decision = Decision {
                disposition,
                advice: row.advice,
                row: Some(RowRef {
                    window: window.id.clone(),
                    version: window.version,
                    row: index,
                    clause: row.clause.clone(),
                }),
                resume_at,
                alternative: row.alternative.clone(),
                bring: row.bring.clone(),
                needs_report_file: row.needs_report_file,
            };
        } else {
            decision.resume_at = resume_at;
        }
    }
    decision
}

/// The first lock that any window puts on `cell` at `now`, with the window's name; a stop
/// outranks a missing release.
#[must_use]
pub fn lock<'a>(
    windows: impl IntoIterator<Item = &'a Window>,
    cell: &Cell,
    now: Timestamp,
) -> Option<(&'a WindowId, Lock)> {
    let mut found = None;
    for window in windows {
        match window.lock(cell, now) {
            Some(lock @ (Lock::Stopped | Lock::Verifying)) => return Some((&window.id, lock)),
            Some(lock @ Lock::AwaitingRelease) => found = found.or(Some((&window.id, lock))),
            None => {}
        }
    }
    found
}
