//! The state and its two functions: `step` decides, `apply` folds.

use super::view::{DeadlineView, GateView, TicketView, TransactionView, UpstreamView};
use crate::domain::cell::Cell;
use crate::domain::deadline::Computed;
use crate::domain::gate::Override;
use crate::domain::ids::{Business, InstitutionCode, Seq};
use crate::domain::ledger::Books;
use crate::domain::policy::Disposition;
use crate::domain::time::{CivilDate, Timestamp};
use crate::domain::window::{Decision, Window};
use crate::engine::event::Fault;
use std::sync::Arc;

/// The state of one partition.
pub struct Machine;

impl Machine {
    /// The books.
    #[must_use]
    pub fn books(&self) -> &Books {
        unimplemented!()
    }
    /// Submissions turned away, ever.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        unimplemented!()
    }
    /// Every window that is known, oldest first.
    #[must_use]
    pub fn windows(&self) -> Vec<Arc<Window>> {
        unimplemented!()
    }
    /// Every operator's override in force.
    #[must_use]
    pub fn overrides(&self) -> &[Override] {
        unimplemented!()
    }
    /// The gate of every cell that has been seen.
    #[must_use]
    pub fn gates(&self, _now: Timestamp) -> Vec<GateView> {
        unimplemented!()
    }
    /// Every upstream.
    #[must_use]
    pub fn upstreams(&self, _now: Timestamp) -> Vec<UpstreamView> {
        unimplemented!()
    }
    /// A transaction that is not final (a ticketed one included).
    #[must_use]
    pub fn transaction(&self, _seq: Seq, _now: Timestamp) -> Option<TransactionView> {
        unimplemented!()
    }
    /// Transactions that are not final, by acceptance, for which `keep` says yes; at most `limit`.
    #[must_use]
    pub fn transactions(
        &self,
        _now: Timestamp,
        _after: Seq,
        _limit: usize,
        _keep: &dyn Fn(&TransactionView) -> bool,
    ) -> Vec<TransactionView> {
        unimplemented!()
    }
    /// Open tickets, of one institution or of all.
    #[must_use]
    pub fn tickets(&self, _of: Option<&InstitutionCode>) -> Vec<TicketView> {
        unimplemented!()
    }
    /// Registered deadlines, of one institution or of all.
    #[must_use]
    pub fn deadlines(&self, _of: Option<&InstitutionCode>) -> Vec<DeadlineView> {
        unimplemented!()
    }
    /// A date as it holds at `now`: the later of what was told and what is computed.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn deadline(
        &self,
        _business: &Business,
        _original: CivilDate,
        _now: Timestamp,
    ) -> Result<Computed, Fault> {
        unimplemented!()
    }
    /// What would be done with a submission to `cell` at any instant `at`.
    #[must_use]
    pub fn decide(&self, _cell: &Cell, _normal: Disposition, _at: Timestamp) -> Decision {
        unimplemented!()
    }
}
