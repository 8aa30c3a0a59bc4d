//! Outages that nobody planned: what the probes tell, as drafts of windows.
//!
//! An upstream that stays away for longer than `OutagePolicy::proposed_after` is proposed as a window.
//! Holding needs no draft: the gate is closed by the probe since the failure was seen. A draft is a
//! view of the upstream's health, which is durable, and nothing else is kept of it; it lapses when
//! the upstream has been back for `lapses_after`, or when a person dismisses it. Confirmed it becomes an
//! ordinary window that began when the failure did: what is held has its reason and its version, and
//! the public start counts. It is over when probes or a person prove the core back; where it is back
//! already, the window says so from the beginning.
//!
//! A time in which we had no room ourselves (`room`) is proposed the same way, and confirmed when it is
//! over: its window closes nothing and moves dates alone.
//!
//! A part that a window stops wholly has no unplanned outage.

use super::change::Change;
use super::event::{Done, Fault, Order, Sought};
use super::machine::Machine;
use super::orders::without_errors;
use super::step::Decision;
use super::view::DraftView;
use crate::domain::catalogue::Line;
use crate::domain::cell::{BusinessPattern, Cell, Selector};
use crate::domain::deadline::DeadlineRule;
use crate::domain::gate::Outage;
use crate::domain::ids::{UpstreamName, WindowId};
use crate::domain::policy::{Advice, Disposition, Row};
use crate::domain::review::{NOT_IN_NOTICE, cells_of, review};
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{self, Act, Cause, Proof, RestoreBy, Window};

/// The clause of the rows of an outage that nobody planned.
pub const UNPLANNED: &str = "unplanned";
/// What our own lack of room is named by where an upstream has its name; none may be named so.
pub const INTAKE: &str = "intake";

impl Machine {
    /// The outages that may be confirmed as windows now.
    #[must_use]
    pub fn drafts(&self, now: Timestamp) -> Vec<DraftView> {
        let mut drafts = Vec::new();
        for (index, slot) in self.upstreams.iter().enumerate() {
            let Some(outage) = &slot.health.outage else { continue };
            if !self.is_proposed(outage, now) {
                continue;
            }
            let of_it = || self.cells.iter().filter(|cell| cell.upstream == index);
            if !self.is_unplanned(index, now) {
                continue;
            }
            let Some(id) = id_of(slot.name.as_str(), outage) else { continue };
            drafts.push(DraftView {
                id,
                upstream: Some(slot.name.clone()),
                began: outage.began,
                ended: outage.ended,
                waiting: of_it().map(|cell| cell.waiting).sum(),
            });
        }
        let own = self.intake.as_ref().filter(|outage| self.is_proposed(outage, now));
        drafts.extend(own.and_then(|outage| {
            let (began, ended) = (outage.began, outage.ended);
            let id = id_of(INTAKE, outage)?;
            Some(DraftView { id, upstream: None, began, ended, waiting: 0 })
        }));
        drafts
    }

    /// Whether no window stops all of an upstream at `now`. Where no submission has come for it, the
    /// catalogue says what there is.
    fn is_unplanned(&self, index: usize, now: Timestamp) -> bool {
        let free = |cell: &Cell| window::lock(self.in_play(), cell, now).is_none();
        let mut seen = self.cells.iter().filter(|cell| cell.upstream == index).peekable();
        if seen.peek().is_some() {
            return seen.any(|slot| free(&slot.cell));
        }
        let name = &self.upstreams[index].name;
        let anywhere = Selector::default();
        let cells = self.lines_of(Some(name)).flat_map(|line| cells_of(line, &anywhere));
        cells.filter(|cell| cell.upstream == *name).any(|cell| free(&cell))
    }

    fn is_proposed(&self, outage: &Outage, now: Timestamp) -> bool {
        let policy = &self.settings.outages;
        let lasted = outage.ended.unwrap_or(now).since(outage.began);
        let lapsed = outage.ended.is_some_and(|at| policy.lapses_after <= now.since(at));
        !outage.settled && policy.proposed_after <= lasted && !lapsed
    }

    fn draft(&self, id: &WindowId, now: Timestamp) -> Result<DraftView, Fault> {
        let known = self.drafts(now).into_iter().find(|draft| draft.id == *id);
        known.ok_or(Fault::NotFound(Sought::Draft))
    }

    /// Makes a window of a draft.
    pub(super) fn confirm(
        &mut self,
        id: &WindowId,
        ends_at: Option<Timestamp>,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let draft = self.draft(id, now)?;
        if draft.upstream.is_none() && draft.ended.is_none() {
            let state = "not over: make room first, then confirm it".to_owned();
            return Err(Fault::WrongState { what: "the outage", state });
        }
        if ends_at.is_some_and(|at| at <= now) {
            return Err(Fault::Invalid("the expected end is not in the future".to_owned()));
        }
        let end = draft.ended.or(ends_at).unwrap_or(now);
        let planned = Interval::new(draft.began, end)
            .ok_or_else(|| Fault::Invalid("the outage has not lasted yet".to_owned()))?;
        let window = self.window_of(&draft, planned, o, now);
        without_errors(review(&window, &self.settings.catalogue, &self.settings.calendar))?;
        let done = self.set_window(window, out);
        self.settle_outage(draft.upstream.as_ref(), out);
        Ok(done)
    }

    /// Says that a draft is no window.
    pub(super) fn dismiss(
        &mut self,
        id: &WindowId,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let draft = self.draft(id, now)?;
        self.settle_outage(draft.upstream.as_ref(), out);
        let cells = parts(draft.upstream.as_ref());
        Ok(Done::Gates(self.gates_of(&cells)))
    }

    fn settle_outage(&mut self, of: Option<&UpstreamName>, out: &mut Decision) {
        let Some(name) = of else {
            if let Some(outage) = self.intake.clone() {
                self.push(out, Change::IntakeStopped(Outage { settled: true, ..outage }));
            }
            return;
        };
        let index = self.upstream(name);
        let mut health = self.upstreams[index].health.clone();
        if let Some(outage) = &mut health.outage {
            outage.settled = true;
            self.push(out, Change::HealthSet { upstream: name.clone(), health });
        }
    }

    fn window_of(&self, draft: &DraftView, planned: Interval, o: &Order, now: Timestamp) -> Window {
        let back = draft.ended.map(|at| Act {
            cells: parts(draft.upstream.as_ref()),
            at,
            ready_from: None,
            by: "probes".to_owned(),
            proof: Proof::Probes,
            reason: "it was back before the outage was confirmed".to_owned(),
        });
        Window {
            id: draft.id.clone(),
            version: 1,
            zone: self.settings.zone,
            planned,
            published: planned,
            told: Vec::new(),
            author: o.by.clone(),
            reason: o.reason.clone(),
            changed_at: now,
            notice: None,
            policy: self.rows_of(draft.upstream.as_ref()),
            deadlines: self.rule_of(draft.upstream.as_ref()),
            restore_by: RestoreBy::Probes,
            cause: Cause::Unplanned,
            cutoff_minutes: None,
            cancelled_at: None,
            restores: back.into_iter().collect(),
            releases: Vec::new(),
        }
    }

    /// What the public rule for outages that nobody planned says of the businesses that go there.
    fn rule_of(&self, of: Option<&UpstreamName>) -> Option<DeadlineRule> {
        let rule = self.settings.outages.deadlines.clone()?;
        let named = |line: &&Line| rule.business.iter().any(|one| one.matches(&line.business));
        let (mut business, mut restart_of) = (Vec::new(), Vec::new());
        for line in self.lines_of(of).filter(named) {
            let exact = BusinessPattern::Exact(line.business.clone());
            if !business.contains(&exact) {
                business.push(exact);
            }
            let parts = line.upstream_for.values().chain([&line.upstream]);
            for part in parts.filter(|part| of.is_none_or(|of| of == *part)) {
                if !restart_of.contains(part) {
                    restart_of.push(part.clone());
                }
            }
        }
        let names_any = !business.is_empty();
        names_any.then_some(DeadlineRule { business, restart_of, ..rule })
    }

    /// The lines that go to an upstream; every one where none is named.
    fn lines_of<'a>(&'a self, of: Option<&'a UpstreamName>) -> impl Iterator<Item = &'a Line> {
        self.settings.catalogue.lines.iter().filter(move |line| {
            of.is_none_or(|upstream| {
                line.upstream == *upstream
                    || line.upstream_for.values().any(|name| name == upstream)
            })
        })
    }

    /// What goes to the upstream is held where it can be kept and sent later, and else goes on as on
    /// any day, behind the gate that the probe keeps closed.
    fn rows_of(&self, of: Option<&UpstreamName>) -> Vec<Row> {
        let row = |clause: &str, cells, disposition| Row {
            clause: clause.to_owned(),
            cells,
            disposition: Some(disposition),
            advice: Advice::None,
            alternative: None,
            bring: Vec::new(),
            needs_report_file: false,
            starts_at: None,
            ends_at: None,
            decided_because: None,
        };
        let mut rows: Vec<Row> = self
            .lines_of(of)
            .filter(|_| of.is_some())
            .map(|line| {
                let cells = Selector {
                    upstream: of.into_iter().cloned().collect(),
                    business: vec![BusinessPattern::Exact(line.business.clone())],
                    operation: vec![line.operation],
                    ..Selector::default()
                };
                let kept = line.queued && line.self_contained;
                row(UNPLANNED, cells, if kept { Disposition::Hold } else { line.normal })
            })
            .collect();
        let mut others = row(NOT_IN_NOTICE, Selector::default(), Disposition::Pass);
        let why = match of {
            Some(_) => "it goes to another part of the core",
            None => "nothing could be taken in; what was, went on",
        };
        others.decided_because = Some(why.to_owned());
        rows.push(others);
        rows
    }
}

/// The part of the core that was away; all of it where we had no room.
fn parts(of: Option<&UpstreamName>) -> Selector {
    Selector { upstream: of.into_iter().cloned().collect(), ..Selector::default() }
}

/// `outage-agency-20221126-1530`, in UTC. Other than a recurring window's, it does not read as a
/// schedule's.
fn id_of(upstream: &str, outage: &Outage) -> Option<WindowId> {
    let began = outage.began.civil(chrono_tz::UTC).format("%Y%m%d-%H%M");
    format!("outage-{}-{began}", upstream.replace('_', "-")).parse().ok()
}
