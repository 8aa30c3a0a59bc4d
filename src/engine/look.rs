//! Reading the state: what the edges ask for between two steps. Changes nothing.
//!
//! Nothing here walks transactions: what does is `search`. What is walked are cells, windows and
//! upstreams, of which there are as many as the configuration and the submitters' classes make.

use super::change::AuditHead;
use super::live::{NONE, PRE_ACCEPTED, Slot};
use super::machine::Machine;
use super::view::{GateView, TicketView, TransactionView, Untold, UpstreamView};
use crate::domain::catalogue::Catalogue;
use crate::domain::cell::Cell;
use crate::domain::gate::{GateState, Override};
use crate::domain::ids::Seq;
use crate::domain::ledger::Books;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use std::sync::atomic::Ordering;

impl Machine {
    /// The first sequence that has not left, or may not leave, the journal.
    #[must_use]
    pub fn begins(&self) -> Seq {
        self.begins
    }

    /// The transactions before `before` whose records are still needed, among the places
    /// `from..from + count` of what is live; and the next place to look at, while there is one.
    /// What is final and not told stands with the first place.
    #[must_use]
    pub fn needed_before(&self, before: Seq, from: u32, count: u32) -> (Vec<Seq>, Option<u32>) {
        let mut found = Vec::new();
        if from == 0 {
            found.extend(self.untold.numbers(..before));
        }
        let end = from.saturating_add(count).min(self.live.places());
        let live = (from..end).filter_map(|place| self.live.at_place(place));
        found.extend(live.filter(|&transaction| transaction < before));
        (found, (end < self.live.places()).then_some(end))
    }

    /// Whether the accept record of `transaction` is still needed: it is not final, or its
    /// result has not been told.
    pub(super) fn needs_record(&self, transaction: Seq) -> bool {
        self.live.find(transaction).is_some() || self.untold.contains(transaction)
    }

    /// The transaction of the same key that `slot` waits behind.
    pub(super) fn behind(&self, slot: Slot) -> Option<Seq> {
        let head = self.live.head_of(slot);
        if head == NONE || head == slot || !self.live.get(slot).state.blocks_its_key() {
            return None;
        }
        self.live.before(slot).map(|before| self.live.get(before).transaction)
    }

    /// The books.
    #[must_use]
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The end of the audit log as it was noted last.
    #[must_use]
    pub fn audit_noted(&self) -> Option<&AuditHead> {
        self.audit.as_ref()
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
                window: self
                    .lock_of(&slot.cell, now)
                    .map(|(id, _)| id)
                    .or_else(|| self.closing_by(&slot.cell, slot.long, now))
                    .cloned(),
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
                    probes: slot.probes.iter().copied().collect(),
                }
            })
            .collect()
    }

    /// A transaction that is not final (a ticketed one included).
    #[must_use]
    pub fn transaction(&self, seq: Seq) -> Option<TransactionView> {
        self.live.find(seq).map(|slot| self.view(slot))
    }

    /// Whether nothing has happened to a transaction but its acceptance, so that its history need
    /// not be looked for: it waits, and it comes back to waiting only after an attempt. Where
    /// records are lost, nobody knows.
    #[must_use]
    pub fn is_only_accepted(&self, seq: Seq) -> bool {
        let live = self.live.find(seq).map(|slot| self.live.get(slot));
        let untried = live.is_some_and(|live| live.state == State::Waiting && live.attempts == 0);
        untried && !self.quarantined
    }

    /// A transaction that is final and whose result has not been told.
    #[must_use]
    pub fn untold(&self, seq: Seq) -> Option<&Untold> {
        self.untold.get(seq)
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
            given_up_for: self.live.extra(slot).and_then(|e| e.given_up_for),
            at: live.at,
            result_told: live.is(PRE_ACCEPTED).then(|| !self.untold.contains(live.transaction)),
        }
    }

    /// The open ticket of a transaction.
    #[must_use]
    pub fn open_ticket(&self, seq: Seq) -> Option<TicketView> {
        let slot = self.live.find(seq).filter(|_| self.ticketed.contains(&seq))?;
        let view = self.view(slot);
        Some(TicketView {
            transaction: seq,
            institution: view.institution,
            cell: view.cell,
            amount: view.amount,
            state: TicketState::Open,
            replaced_by: self.live.extra(slot).and_then(|e| e.replaced_by),
            at: view.at,
        })
    }

    /// The businesses.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.settings.catalogue
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

    /// When the oldest transaction that is in doubt was accepted.
    #[must_use]
    pub fn oldest_in_doubt(&self) -> Option<Timestamp> {
        let slot = self.live.find(*self.doubtful.first()?)?;
        Some(self.live.get(slot).at)
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
