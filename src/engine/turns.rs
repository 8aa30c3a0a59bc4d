//! Whose turn it is: the queues of each cell, and how fast and how many at once an upstream is sent.
//!
//! A cell is in turn while its gate lets something through that it has. Nothing here opens or closes a
//! gate: that is `flow`'s business.

use super::live::{CHAINED, HAS_FILES, READY, Slot};
use super::machine::{Due, Machine};
use super::settings::sabotaged;
use super::step::Decision;
use crate::domain::state::State;
use crate::domain::time::Now;

/// Sends of a cell that go to those somebody waits for before the backlog has one: three
/// quarters of a rate that is too low for both, so that neither side starves.
const LIVE_IN_A_ROW_MAX: u32 = 3;

/// Which queue of its cell a ready transaction came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    Chained,
    Live,
    Filed,
    Backlog,
}

impl Machine {
    /// Puts a transaction where it belongs if it is its key's next and waits.
    pub(super) fn wake(&mut self, slot: Slot) {
        let head = self.live.is_head(slot) || sabotaged!(self.settings, IgnoreKeyOrder);
        let live = *self.live.get(slot);
        if !head || live.state != State::Waiting || live.is(READY) {
            return;
        }
        if self.live.extra(slot).is_some_and(|e| e.depends_on.is_some()) {
            let first = self.live.extra(slot).and_then(|e| e.depends_on);
            if first.is_some_and(|first| self.live.find(first).is_some()) {
                return;
            }
        }
        if live.not_before > self.last_at {
            self.agenda.insert((live.not_before, Due::Retry(live.transaction)));
            return;
        }
        self.live.get_mut(slot).flags |= READY;
        let waited_for = self.waiters.contains_key(&live.transaction);
        let cell = &mut self.cells[live.cell as usize];
        if live.is(CHAINED) && !(waited_for && cell.gate.lets_through()) {
            cell.chained.push_back(slot)
        } else if waited_for {
            cell.live.push_back(slot)
        } else {
            cell.backlog.push_back(slot)
        }
        self.take_turn(live.cell);
    }

    pub(super) fn take_turn(&mut self, id: u32) {
        let filed = self.has_filed(id);
        let cell = &mut self.cells[id as usize];
        let something = filed || !cell.live.is_empty() || !cell.backlog.is_empty();
        let something = something && cell.gate.lets_through();
        let something = something || (!cell.chained.is_empty() && cell.gate.lets_finish());
        if something && !cell.in_turn {
            cell.in_turn = true;
            self.upstreams[cell.upstream].turn.push_back(id);
        }
    }

    /// Whether the cell has something that waited for a place for files, and one is free.
    fn has_filed(&self, id: u32) -> bool {
        let cell = &self.cells[id as usize];
        !cell.filed.is_empty() && self.has_place(cell.upstream)
    }

    /// Whether the upstream may be sent one more transaction that names files.
    fn has_place(&self, index: usize) -> bool {
        let upstream = &self.upstreams[index];
        let settings = self.settings.upstreams.get(&upstream.name);
        let most = settings.and_then(|settings| settings.files_at_a_time);
        most.is_none_or(|most| upstream.files_out.len() < most)
    }

    /// Lets the cells of an upstream have their turn that wait for the place that is free now.
    pub(super) fn place_is_free(&mut self, index: usize) {
        for id in 0..self.cells.len() {
            if self.cells[id].upstream == index && !self.cells[id].filed.is_empty() {
                self.take_turn(u32::try_from(id).unwrap_or(u32::MAX));
            }
        }
    }

    /// Starts as many attempts as gates, pacing and concurrency allow.
    pub fn dispatch(&mut self, now: Now, out: &mut Decision) {
        if self.stopping || self.quarantined {
            return;
        }
        // The clock may have passed an edge, or been set, since the last step.
        let now = self.read_clock(now);
        self.refresh_gates(now, out);
        for index in 0..self.upstreams.len() {
            let name = self.upstreams[index].name.clone();
            let Some(settings) = self.settings.upstreams.get(&name).cloned() else { continue };
            let rate = self.upstreams[index].health.rate(&settings.health, now);
            while self.upstreams[index].out < u64::from(settings.concurrency) {
                let Some((slot, lane)) = self.next_in_turn(index) else { break };
                if !self.upstreams[index].pacer.take(rate, now) {
                    self.put_back(slot, lane);
                    let at = self.upstreams[index].pacer.refills_at(now);
                    self.agenda.insert((at, Due::Gates));
                    break;
                }
                self.count_lane(slot, lane);
                self.start(slot, now, out);
            }
        }
    }

    /// The next ready transaction of an upstream: its cells in turn, and of a cell what somebody
    /// waits for first, but for the backlog's share. What names files and finds no place free is put
    /// aside until one is, so that it keeps none of the places of others.
    fn next_in_turn(&mut self, index: usize) -> Option<(Slot, Lane)> {
        let mut looked_at = 0;
        while looked_at <= self.upstreams[index].turn.len() {
            let id = self.upstreams[index].turn.pop_front()?;
            let filed = self.has_filed(id);
            let cell = &mut self.cells[id as usize];
            cell.in_turn = false;
            if !cell.gate.lets_finish() {
                continue;
            }
            let only_chained = !cell.gate.lets_through();
            let has_backlog = filed || !cell.backlog.is_empty() || !cell.chained.is_empty();
            let backlogs_turn = cell.live_in_a_row >= LIVE_IN_A_ROW_MAX && has_backlog;
            let live = cell.live.pop_front_if(|_| !backlogs_turn && !only_chained);
            let found = match live {
                Some(slot) => Some((slot, Lane::Live)),
                None => match cell.chained.pop_front() {
                    Some(slot) => Some((slot, Lane::Chained)),
                    None if only_chained => None,
                    None if filed => cell.filed.pop_front().map(|slot| (slot, Lane::Filed)),
                    None => cell.backlog.pop_front().map(|slot| (slot, Lane::Backlog)),
                },
            };
            self.take_turn(id);
            let Some((slot, lane)) = found else { continue };
            // A place that is used again may stand in a queue that is not its own.
            let in_place = lane != Lane::Chained || self.live.get(slot).is(CHAINED);
            if in_place && self.is_ready(slot, id) {
                let waits = self.live.get(slot).is(HAS_FILES) && !self.has_place(index);
                let filed = &mut self.cells[id as usize].filed;
                match lane {
                    Lane::Live if waits => filed.push_front(slot),
                    Lane::Backlog if waits => filed.push_back(slot),
                    _ => {
                        self.live.get_mut(slot).flags &= !READY;
                        return Some((slot, lane));
                    }
                }
                continue;
            }
            looked_at += usize::from(self.upstreams[index].turn.is_empty());
        }
        None
    }

    /// Whether an entry of a ready queue is still what it was put in for: places are used again.
    pub(super) fn is_ready(&self, slot: Slot, cell: u32) -> bool {
        let live = self.live.get(slot);
        let head = self.live.is_head(slot) || sabotaged!(self.settings, IgnoreKeyOrder);
        live.cell == cell
            && live.state == State::Waiting
            && live.is(READY)
            && head
            && self.live.find(live.transaction) == Some(slot)
    }

    /// Takes back what [`Self::next_in_turn`] has just given, the turn of its cell included:
    /// otherwise a rate that is reached again and again would always pass over the same cells.
    fn put_back(&mut self, slot: Slot, lane: Lane) {
        let live = self.live.get_mut(slot);
        live.flags |= READY;
        let id = live.cell;
        let cell = &mut self.cells[id as usize];
        match lane {
            Lane::Chained => cell.chained.push_front(slot),
            Lane::Live => cell.live.push_front(slot),
            Lane::Filed => cell.filed.push_front(slot),
            Lane::Backlog => cell.backlog.push_front(slot),
        }
        let turn = &mut self.upstreams[cell.upstream].turn;
        turn.pop_back_if(|last| *last == id);
        turn.push_front(id);
        cell.in_turn = true;
    }

    /// Counts a send of a cell, for the backlog's share.
    fn count_lane(&mut self, slot: Slot, lane: Lane) {
        let cell = &mut self.cells[self.live.get(slot).cell as usize];
        cell.live_in_a_row = match lane {
            Lane::Live => cell.live_in_a_row.saturating_add(1),
            Lane::Chained | Lane::Filed | Lane::Backlog => 0,
        };
    }
}
