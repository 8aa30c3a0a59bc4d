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
//! A part that a window stops wholly has no unplanned outage.

use super::change::Change;
use super::event::{Done, Fault, Order, Sought};
use super::machine::Machine;
use super::orders::without_errors;
use super::step::Decision;
use super::view::DraftView;
use crate::domain::cell::{BusinessPattern, Selector};
use crate::domain::gate::Outage;
use crate::domain::ids::{UpstreamName, WindowId};
use crate::domain::policy::{Advice, Disposition, Row};
use crate::domain::review::{NOT_IN_NOTICE, review};
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{self, Act, Cause, Proof, RestoreBy, Window};

/// The clause of the rows of an outage that nobody planned.
pub const UNPLANNED: &str = "unplanned";

impl Machine {
    /// The outages that may be confirmed as windows now.
    #[must_use]
    pub fn drafts(&self, now: Timestamp) -> Vec<DraftView> {
        let policy = &self.settings.outages;
        let mut drafts = Vec::new();
        for (index, slot) in self.upstreams.iter().enumerate() {
            let Some(outage) = slot.health.outage.as_ref().filter(|one| !one.settled) else {
                continue;
            };
            let lasted = outage.ended.unwrap_or(now).since(outage.began);
            let lapsed = outage.ended.is_some_and(|at| policy.lapses_after <= now.since(at));
            if lasted < policy.proposed_after || lapsed {
                continue;
            }
            let of_it = || self.cells.iter().filter(|cell| cell.upstream == index);
            let unplanned = |cell: &&super::machine::CellSlot| {
                window::lock(self.in_play(), &cell.cell, now).is_none()
            };
            let Some(id) = id_of(&slot.name, outage).filter(|_| of_it().any(|c| unplanned(&c)))
            else {
                continue;
            };
            drafts.push(DraftView {
                id,
                upstream: slot.name.clone(),
                began: outage.began,
                ended: outage.ended,
                waiting: of_it().map(|cell| cell.waiting).sum(),
            });
        }
        drafts
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
        if ends_at.is_some_and(|at| at <= now) {
            return Err(Fault::Invalid("the expected end is not in the future".to_owned()));
        }
        let end = draft.ended.or(ends_at).unwrap_or(now);
        let planned = Interval::new(draft.began, end)
            .ok_or_else(|| Fault::Invalid("the outage has not lasted yet".to_owned()))?;
        let window = self.window_of(&draft, planned, o, now);
        without_errors(review(&window, &self.settings.catalogue, &self.settings.calendar))?;
        let done = self.set_window(window, out);
        self.settle_outage(&draft.upstream, out);
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
        self.settle_outage(&draft.upstream, out);
        let cells = Selector { upstream: vec![draft.upstream], ..Selector::default() };
        Ok(Done::Gates(self.gates_of(&cells)))
    }

    fn settle_outage(&mut self, name: &UpstreamName, out: &mut Decision) {
        let index = self.upstream(name);
        let mut health = self.upstreams[index].health.clone();
        if let Some(outage) = &mut health.outage {
            outage.settled = true;
            self.push(out, Change::HealthSet { upstream: name.clone(), health });
        }
    }

    fn window_of(&self, draft: &DraftView, planned: Interval, o: &Order, now: Timestamp) -> Window {
        let back = draft.ended.map(|at| Act {
            cells: Selector { upstream: vec![draft.upstream.clone()], ..Selector::default() },
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
            policy: self.rows_of(&draft.upstream),
            deadlines: None,
            restore_by: RestoreBy::Probes,
            cause: Cause::Unplanned,
            cutoff_minutes: None,
            cancelled_at: None,
            restores: back.into_iter().collect(),
            releases: Vec::new(),
        }
    }

    /// What goes to the upstream is held where it can be kept and sent later, and else goes on as on
    /// any day, behind the gate that the probe keeps closed.
    fn rows_of(&self, upstream: &UpstreamName) -> Vec<Row> {
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
        let lines = self.settings.catalogue.lines.iter();
        let goes = |line: &&crate::domain::catalogue::Line| {
            line.upstream == *upstream || line.upstream_for.values().any(|name| name == upstream)
        };
        let mut rows: Vec<Row> = lines
            .filter(goes)
            .map(|line| {
                let cells = Selector {
                    upstream: vec![upstream.clone()],
                    business: vec![BusinessPattern::Exact(line.business.clone())],
                    operation: vec![line.operation],
                    ..Selector::default()
                };
                let kept = line.queued && line.self_contained;
                row(UNPLANNED, cells, if kept { Disposition::Hold } else { line.normal })
            })
            .collect();
        let mut others = row(NOT_IN_NOTICE, Selector::default(), Disposition::Pass);
        others.decided_because = Some("it goes to another part of the core".to_owned());
        rows.push(others);
        rows
    }
}

/// `outage-agency-20221126-1530`, in UTC. Other than a recurring window's, it does not read as a
/// schedule's.
fn id_of(upstream: &UpstreamName, outage: &Outage) -> Option<WindowId> {
    let began = outage.began.civil(chrono_tz::UTC).format("%Y%m%d-%H%M");
    format!("outage-{}-{began}", upstream.as_str().replace('_', "-")).parse().ok()
}
