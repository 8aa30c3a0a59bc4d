//! What policy makes of a submission, and why: one function for what is decided and for what is
//! asked.
//!
//! [`Machine::dispose`] is that function. The step that takes a submission calls it with the windows
//! in play and the gate as it stands; [`Machine::explain`] calls it for any instant, by the windows
//! as they are known now, and says beside it which other rows speak of the cell and why they did not
//! count. Nothing here changes anything.
//!
//! The order in which rows count:
//! 1. within a window the narrowest row, of equally narrow ones the earlier;
//! 2. among the windows in force the strictest row, of equally strict ones that of the window that
//!    was declared first;
//! 3. service hours that are closed, where they are stricter than that, or no window stops the cell;
//! 4. what cannot be kept is refused while its gate lets nothing through;
//! 5. credit becomes a ticket for whoever has not opted in to it.

use super::machine::Machine;
use super::schedule::is_over_by;
use super::settings::sabotaged;
use crate::domain::calendar::NoCalendar;
use crate::domain::cell::{Cell, words};
use crate::domain::gate::{GateState, HealthPhase};
use crate::domain::hours::{self, ServiceHours};
use crate::domain::ids::WindowId;
use crate::domain::policy::{Advice, Disposition, Row, RowRef};
use crate::domain::time::Timestamp;
use crate::domain::window::{self, Decision, Lock, Window};
use std::sync::Arc;

/// What a submission says of itself, as far as policy goes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'c> {
    /// Its cell.
    pub cell: &'c Cell,
    /// What is done with its line on an ordinary day.
    pub normal: Disposition,
    /// Whether its line may be kept at all.
    pub queued: bool,
    /// Whether its institution opted in to settling on credit.
    pub credit: bool,
}

words!(
    /// What decided.
    Because, "reason of a decision", {
        /// No window and no hours speak of the cell now.
        OrdinaryDay = "ordinary_day",
        /// A row of a window.
        Window = "window",
        /// Service hours, which are not on.
        ServiceHours = "service_hours",
        /// It cannot be kept, and its gate lets nothing through.
        GateClosed = "gate_closed",
        /// A row would let it go on credit, and the institution has not opted in.
        NoCredit = "no_credit",
    }
);

words!(
    /// Why a row that speaks of a cell did not decide.
    Lost, "reason why a row does not count", {
        /// A narrower row of the same window speaks of the cell.
        NarrowerRow = "narrower_row",
        /// A row as narrow stands earlier in the same window.
        EarlierRow = "earlier_row",
        /// It does not hold at that instant: not begun, over, restored, cancelled or undecided.
        NotInForce = "not_in_force",
        /// Something stricter counts.
        Stricter = "stricter",
        /// Something as strict was declared earlier.
        FirstOfEquals = "first_of_equals",
        /// The hours are on.
        WithinHours = "within_hours",
    }
);

/// A row that speaks of the cell and did not decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Where it stands.
    pub row: RowRef,
    /// What it says.
    pub disposition: Option<Disposition>,
    /// Why it did not count.
    pub lost: Lost,
}

/// Service hours of the cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoursThen {
    /// Their name.
    pub name: WindowId,
    /// Whether they are on.
    pub is_open: bool,
    /// When that changes next, where it is known.
    pub until: Option<Timestamp>,
}

/// What is done with a submission.
pub(super) struct Disposed {
    pub(super) decision: Decision,
    pub(super) because: Because,
    /// What the row says, before its gate and credit were looked at.
    said: Disposition,
    pub(super) unknown: Option<NoCalendar>,
}

/// What would be done, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The instant.
    pub at: Timestamp,
    /// What is done. Its advice is the one that a receipt has.
    pub decision: Decision,
    /// What decided.
    pub because: Because,
    /// Why nobody can say when the business is back, where the calendar is the reason.
    pub unknown: Option<NoCalendar>,
    /// How the gate stands, where the question is about now.
    pub gate: Option<GateState>,
    /// The service hours of the cell.
    pub hours: Vec<HoursThen>,
    /// What else speaks of the cell.
    pub others: Vec<Other>,
}

impl Machine {
    /// What is done at `at` with what is `asked` about, whose gate stands as `gate`.
    pub(super) fn dispose<'w>(
        &self,
        windows: impl IntoIterator<Item = &'w Window>,
        asked: &Asked<'_>,
        gate: GateState,
        at: Timestamp,
    ) -> Disposed {
        let said = window::decide(windows, asked.cell, asked.normal, at);
        let hours = &self.settings.service_hours;
        let (mut decision, unknown) = hours::decide(hours, asked.cell, said, at);
        let said = decision.disposition;
        let mut because = match &decision.row {
            None => Because::OrdinaryDay,
            Some(row) if row.is_of_hours() => Because::ServiceHours,
            Some(_) => Because::Window,
        };
        if !asked.queued && !gate.lets_through() && said != Disposition::Refuse {
            (decision.disposition, because) = (Disposition::Refuse, Because::GateClosed);
        }
        if decision.disposition == Disposition::PassOrHold && !asked.credit {
            (decision.disposition, because) = (Disposition::PassOrTicket, Because::NoCredit);
        }
        if decision.disposition != Disposition::Refuse {
            decision.advice = advice_for(decision.disposition, decision.advice, gate);
        }
        Disposed { decision, because, said, unknown }
    }

    /// What would be done with a submission at `at`, or now where that is not said, and why. A
    /// question about now is answered as the submission itself would be; one about another instant
    /// by what is planned, with a core that is there.
    #[must_use]
    pub fn explain(&self, asked: &Asked<'_>, at: Option<Timestamp>, now: Timestamp) -> Explained {
        let is_now = at.is_none_or(|at| at == now);
        let at = at.unwrap_or(now);
        let windows = self.expected_at(at, now);
        let among = || windows.iter().map(AsRef::as_ref);
        let gate = match is_now {
            true => self.gate_of_cell(&windows, asked.cell, now),
            false => self.planned_gate(&windows, asked.cell, at),
        };
        let disposed = self.dispose(among(), asked, gate, at);
        let others = self.others(&windows, asked.cell, &disposed, at);
        let Disposed { decision, because, unknown, .. } = disposed;
        let own = hours::of(&self.settings.service_hours, asked.cell);
        let then = |one: &ServiceHours| HoursThen {
            name: one.name.clone(),
            is_open: one.is_open(at),
            until: one.next_edge(at),
        };
        Explained {
            at,
            decision,
            because,
            unknown,
            gate: is_now.then_some(gate),
            hours: own.map(then).collect(),
            others,
        }
    }

    /// What is planned for `asked` in each of the stretches between `edges`, by `windows`
    /// ([`Self::plan_ahead`]), with a core that is there.
    #[must_use]
    pub fn ahead(
        &self,
        asked: &Asked<'_>,
        edges: &[Timestamp],
        windows: &[Arc<Window>],
        now: Timestamp,
    ) -> Vec<(Timestamp, Decision, Because)> {
        let of = |&at: &Timestamp| {
            let known: Vec<Arc<Window>> =
                windows.iter().filter(|w| !is_over_by(w, at, now)).cloned().collect();
            let gate = self.planned_gate(&known, asked.cell, at);
            let among = known.iter().map(AsRef::as_ref);
            let Disposed { decision, because, .. } = self.dispose(among, asked, gate, at);
            (at, decision, because)
        };
        edges.iter().map(of).collect()
    }

    /// How the gate of a cell stands now, seen or not.
    pub(super) fn gate_of_cell(
        &self,
        windows: &[Arc<Window>],
        cell: &Cell,
        now: Timestamp,
    ) -> GateState {
        if sabotaged!(self.settings, IgnoreGate) {
            return GateState::Open;
        }
        let slot = self.upstreams.iter().find(|slot| slot.name == cell.upstream);
        let phase = slot.map_or(HealthPhase::Open, |slot| slot.health.phase);
        self.gate_by_facts(windows, (cell, self.is_long(cell)), phase, now)
    }

    /// How the gate of a cell is planned to stand.
    fn planned_gate(&self, windows: &[Arc<Window>], cell: &Cell, at: Timestamp) -> GateState {
        if self.overrides.iter().any(|o| o.closes(cell, at, at)) {
            return GateState::ClosedByOperator;
        }
        match window::lock(windows.iter().map(AsRef::as_ref), cell, at) {
            Some((_, Lock::Stopped)) => GateState::ClosedByWindow,
            Some((_, Lock::Verifying)) => GateState::Verifying,
            Some((_, Lock::AwaitingRelease)) => GateState::AwaitingRelease,
            None if !hours::are_open(&self.settings.service_hours, cell, at, at) => {
                GateState::ClosedBySchedule
            }
            None => GateState::Open,
        }
    }

    /// What else speaks of `cell` at `at`, of the windows that are on then and of the hours.
    fn others(
        &self,
        windows: &[Arc<Window>],
        cell: &Cell,
        disposed: &Disposed,
        at: Timestamp,
    ) -> Vec<Other> {
        let chosen = |row: &RowRef| disposed.decision.row.as_ref() == Some(row);
        let mut others = Vec::new();
        let on = |window: &&Arc<Window>| {
            window.stretch().contains(at) || window.row_in_force(cell, at).is_some()
        };
        for window in windows.iter().filter(on) {
            for (index, row) in (0u32..).zip(&window.policy) {
                let place = RowRef {
                    window: window.id.clone(),
                    version: window.version,
                    row: index,
                    clause: row.clause.clone(),
                };
                if row.cells.matches(cell) && !chosen(&place) {
                    let lost = lost(window, cell, (index, row), disposed.said, at);
                    others.push(Other { row: place, disposition: row.disposition, lost });
                }
            }
        }
        for one in hours::of(&self.settings.service_hours, cell) {
            let place = RowRef {
                window: one.name.clone(),
                version: 0,
                row: 0,
                clause: one.row.clause.clone(),
            };
            if !chosen(&place) {
                let lost = if one.is_open(at) {
                    Lost::WithinHours
                } else {
                    weaker(one.row.disposition, disposed.said)
                };
                others.push(Other { row: place, disposition: one.row.disposition, lost });
            }
        }
        others
    }
}

/// Why a row of `window` that matches `cell` did not decide.
fn lost(
    window: &Window,
    cell: &Cell,
    (index, row): (u32, &Row),
    counted: Disposition,
    at: Timestamp,
) -> Lost {
    match window.row_for(cell) {
        Some((best, speaks)) if best != index => {
            match speaks.cells.narrowness() == row.cells.narrowness() {
                true => Lost::EarlierRow,
                false => Lost::NarrowerRow,
            }
        }
        Some(_) | None if window.row_in_force(cell, at).is_none() => Lost::NotInForce,
        Some(_) | None => weaker(row.disposition, counted),
    }
}

fn weaker(disposition: Option<Disposition>, counted: Disposition) -> Lost {
    if disposition < Some(counted) { Lost::Stricter } else { Lost::FirstOfEquals }
}

/// What the counter is told when the row does not say.
fn advice_for(disposition: Disposition, row: Advice, gate: GateState) -> Advice {
    if row != Advice::None {
        return row;
    }
    match disposition {
        Disposition::Pass => Advice::None,
        Disposition::PassOrTicket if !gate.lets_through() => Advice::ChargeFull,
        Disposition::PassOrTicket => Advice::DoNotFinalise,
        Disposition::PassOrHold => Advice::Credit,
        Disposition::Hold => Advice::None,
        Disposition::HoldForRelease => Advice::MaterialsTaken,
        Disposition::PreAccept => Advice::MaterialsTaken,
        Disposition::Refuse => Advice::ComeBack,
    }
}
