//! What gets a place in the state when it is met for the first time: cells, institutions, upstreams.
//!
//! Places are given by the fold alone, so that they are the same after recovery.

use super::machine::{CellSlot, Machine, UpstreamSlot};
use crate::domain::cell::Cell;
use crate::domain::forecast::Arrivals;
use crate::domain::gate::{GateState, Health, HealthPhase};
use crate::domain::ids::{InstitutionCode, UpstreamName};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

impl Machine {
    /// The place of an upstream.
    pub(super) fn upstream(&mut self, name: &UpstreamName) -> usize {
        if let Some(index) = self.upstreams.iter().position(|u| u.name == *name) {
            return index;
        }
        // An upstream that configuration no longer has: its cells stay, its gate never opens.
        let mut health = Health::open(self.last_at);
        health.phase = HealthPhase::Down;
        self.upstreams.push(UpstreamSlot::new(name.clone(), health));
        self.upstreams.len() - 1
    }

    /// The place of a cell.
    pub(super) fn intern_cell(&mut self, cell: &Cell) -> u32 {
        if let Some(&id) = self.cell_ids.get(cell) {
            return id;
        }
        let upstream = self.upstream(&cell.upstream);
        self.met(cell);
        let long = self.is_long(cell);
        let cell = Arc::new(cell.clone());
        let id = u32::try_from(self.cells.len()).unwrap_or(u32::MAX);
        self.cells.push(CellSlot {
            cell: cell.clone(),
            upstream,
            gate: GateState::Open,
            opened_at: None,
            epoch: Arc::new(AtomicU64::new(0)),
            live: VecDeque::new(),
            backlog: VecDeque::new(),
            chained: VecDeque::new(),
            filed: VecDeque::new(),
            long,
            live_in_a_row: 0,
            in_turn: false,
            waiting: 0,
            came: VecDeque::new(),
            came_back: BTreeSet::new(),
            arrivals: Arrivals::default(),
            out: 0,
        });
        self.cell_ids.insert(cell, id);
        let gate = self.gate_of(id, self.last_at);
        self.cells[id as usize].gate = gate;
        id
    }

    /// Whether the work of a cell takes long, by the catalogue.
    pub(super) fn is_long(&self, cell: &Cell) -> bool {
        let line = self.settings.catalogue.line(&cell.business, cell.operation);
        line.is_some_and(|line| line.long)
    }

    /// The place of an institution.
    pub(super) fn intern_institution(&mut self, code: &InstitutionCode) -> u32 {
        if let Some(&id) = self.institution_ids.get(code) {
            return id;
        }
        let id = u32::try_from(self.institutions.len()).unwrap_or(u32::MAX);
        self.institutions.push(code.clone());
        self.institution_ids.insert(code.clone(), id);
        id
    }
}
