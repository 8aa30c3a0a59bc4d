//! Reading the state: what the edges ask for between two steps. Changes nothing.

use super::live::{PRE_ACCEPTED, Slot};
use super::machine::Machine;
use super::view::{DeadlineView, GateView, TicketView, TransactionView, UpstreamView};
use crate::domain::cell::Cell;
use crate::domain::gate::{GateState, Override};
use crate::domain::ids::{InstitutionCode, Seq};
use crate::domain::ledger::Books;
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use crate::domain::window::{self, Decision, Window};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Machine {
    /// The books.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Submissions turned away, ever.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// The last sequence decided.
    #[must_use]
    pub fn last(&self) -> Seq {
        Seq(self.next.0 - 1)
    }

    /// Every window that is known, oldest first.
    #[must_use]
    pub fn windows(&self) -> Vec<Arc<Window>> {
        self.windows.clone()
    }

    /// Where a window stands, as far as cells have been seen.
    #[must_use]
    pub fn phase(&self, window: &Window, now: Timestamp) -> window::Phase {
        window.phase(self.cells.iter().map(|c| c.cell.as_ref()), now)
    }

    /// Every operator's override, lapsed ones included until the next change.
    #[must_use]
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// The gate of every cell that has been seen.
    #[must_use]
    pub fn gates(&self, now: Timestamp) -> Vec<GateView> {
        self.cells
            .iter()
            .map(|slot| GateView {
                cell: slot.cell.clone(),
                state: slot.gate,
                window: self.lock_of(&slot.cell, now).map(|(id, _)| id.clone()),
                waiting: slot.waiting,
                in_flight: slot.out,
                epoch: slot.epoch.load(Ordering::SeqCst),
            })
            .collect()
    }

    /// Every upstream.
    #[must_use]
    pub fn upstreams(&self, now: Timestamp) -> Vec<UpstreamView> {
        self.upstreams
            .iter()
            .map(|slot| {
                let settings = self.settings.upstreams.get(&slot.name);
                UpstreamView {
                    name: slot.name.clone(),
                    health: slot.health.clone(),
                    rate: settings.and_then(|s| slot.health.rate(&s.health, now)),
                    in_flight: slot.out,
                }
            })
            .collect()
    }

    /// A transaction that is not final (a ticketed one included).
    #[must_use]
    pub fn transaction(&self, seq: Seq) -> Option<TransactionView> {
        self.live.find(seq).map(|slot| self.view(slot))
    }

    fn view(&self, slot: Slot) -> TransactionView {
        let live = self.live.get(slot);
        let cell = &self.cells[live.cell as usize];
        TransactionView {
            transaction: live.transaction,
            institution: self.institutions[live.institution as usize].clone(),
            cell: cell.cell.clone(),
            state: live.state,
            ordering_key: self.live.ordering_key(slot),
            amount: live.amount,
            attempts: u32::from(live.attempts),
            failures: u32::from(live.failures),
            not_before: live.not_before,
            gate: cell.gate,
            behind: self.behind(slot),
            provisional: self.live.extra(slot).and_then(|e| e.provisional.clone()),
            at: live.at,
            result_told: live
                .is(PRE_ACCEPTED)
                .then(|| !self.untold.contains_key(&live.transaction)),
        }
    }

    /// Transactions that are not final, by acceptance, from the first after `after`, for which
    /// `keep` says yes; at most `limit`.
    #[must_use]
    pub fn transactions(
        &self,
        after: Seq,
        limit: usize,
        keep: &dyn Fn(&TransactionView) -> bool,
    ) -> Vec<TransactionView> {
        let mut slots: Vec<Slot> =
            self.live.slots().filter(|&s| self.live.get(s).transaction > after).collect();
        slots.sort_unstable_by_key(|&s| self.live.get(s).transaction);
        slots.into_iter().map(|s| self.view(s)).filter(|v| keep(v)).take(limit).collect()
    }

    /// The transactions in one of the states that people work through: dead letters, doubts,
    /// tickets. Empty for the others.
    #[must_use]
    pub fn worklist(&self, state: State) -> Vec<TransactionView> {
        let list = match state {
            State::DeadLettered => &self.dead,
            State::InDoubt => &self.doubtful,
            State::Ticketed => &self.ticketed,
            State::Waiting
            | State::InFlight
            | State::ActionRequired
            | State::Applied
            | State::Refused
            | State::Withdrawn
            | State::Superseded => return Vec::new(),
        };
        list.iter().filter_map(|&seq| self.live.find(seq)).map(|slot| self.view(slot)).collect()
    }

    /// Pre-accepted transactions that ended and whose result has not been told.
    #[must_use]
    pub fn untold(&self) -> Vec<(Seq, InstitutionCode, Arc<Cell>)> {
        self.untold
            .iter()
            .filter(|(seq, _)| self.live.find(**seq).is_none())
            .map(|(seq, untold)| (*seq, untold.institution.clone(), untold.cell.clone()))
            .collect()
    }

    /// Open tickets, of one institution or of all.
    #[must_use]
    pub fn tickets(&self, of: Option<&InstitutionCode>) -> Vec<TicketView> {
        self.ticketed
            .iter()
            .filter_map(|&seq| {
                let slot = self.live.find(seq)?;
                let view = self.view(slot);
                of.is_none_or(|of| *of == view.institution).then(|| TicketView {
                    transaction: seq,
                    institution: view.institution,
                    cell: view.cell,
                    amount: view.amount,
                    state: TicketState::Open,
                    replaced_by: self.live.extra(slot).and_then(|e| e.replaced_by),
                    at: view.at,
                })
            })
            .collect()
    }

    /// Registered deadlines, of one institution or of all.
    #[must_use]
    pub fn deadlines(&self, of: Option<&InstitutionCode>) -> Vec<DeadlineView> {
        let mine = |d: &&DeadlineView| of.is_none_or(|of| *of == d.institution);
        self.registered.values().filter(mine).cloned().collect()
    }

    /// What would be done with a submission to `cell` at any instant `at`.
    #[must_use]
    pub fn decide(&self, cell: &Cell, normal: Disposition, at: Timestamp) -> Decision {
        window::decide(self.windows.iter().map(AsRef::as_ref), cell, normal, at)
    }

    /// The gate of `cell`, where it has been seen.
    #[must_use]
    pub fn gate(&self, cell: &Cell) -> Option<GateState> {
        self.cell_ids.get(cell).map(|&id| self.cells[id as usize].gate)
    }

    /// When the oldest transaction that waits behind an open gate was accepted, and the oldest
    /// behind a closed one. Costs a look at each cell, however many wait.
    #[must_use]
    pub fn oldest(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let (mut deliverable, mut held) = (None::<Timestamp>, None::<Timestamp>);
        for cell in &self.cells {
            let first = cell.came.front().into_iter().chain(cell.came_back.first()).min();
            let Some(slot) = first.and_then(|&first| self.live.find(first)) else { continue };
            let at = self.live.get(slot).at;
            let oldest = if cell.gate.lets_through() { &mut deliverable } else { &mut held };
            *oldest = Some(oldest.map_or(at, |known| known.min(at)));
        }
        (deliverable, held)
    }

    /// Keys whose next transaction is in doubt, dead or needs its submitter.
    #[must_use]
    pub fn keys_blocked(&self) -> usize {
        self.dead.len() + self.doubtful.len()
    }

    /// Transactions that are not final, and the keys they belong to.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.live.len(), self.live.keys())
    }
}
