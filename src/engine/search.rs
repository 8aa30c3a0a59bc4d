//! Finding transactions, tickets, untold results and registered deadlines, page by page, in several
//! short looks.
//!
//! A look stands in the way of everything else that the engine's thread does, so it may touch only so
//! many entries; a search that has not found its page by then goes on in the next look. What
//! stands in a sorted list is walked there. All others are found by trying the numbers after the
//! cursor one by one, as long as there are fewer of those left than places in memory (with
//! millions waiting nearly every number is one of theirs, and a page takes one look); else by
//! walking the places and keeping the smallest numbers.
//!
//! Transactions come and go between two looks. One that is there and fits all the while is found,
//! once: it keeps its number and its place. One that was accepted after the search began belongs
//! to a later page.

use super::live::{PRE_ACCEPTED, Slot};
use super::machine::Machine;
use super::run::Handle;
use super::view::{DeadlineView, Untold};
use crate::domain::cell::Cell;
use crate::domain::gate::GateState;
use crate::domain::ids::{InstitutionCode, Seq};
use crate::domain::state::State;
use crate::domain::time::Now;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Entries that one look may touch. Among a million, in a test build with both cores busy, half of
/// the looks of so many took less than 1 ms and the slowest 6.3 ms (50,000: 2.5 and 10 ms): one
/// look costs submitters no more than one sync does. A search among ten million takes 500.
const LOOK_ENTRIES_MAX: usize = 20_000;

/// What a search decides by: cheap to see, without a copy.
#[derive(Debug, Clone, Copy)]
pub struct Glance<'a> {
    /// Where the transaction stands.
    pub state: State,
    /// Its submitter.
    pub institution: &'a InstitutionCode,
    /// Its cell.
    pub cell: &'a Cell,
    /// The gate of its cell; `None` once it is final.
    pub gate: Option<GateState>,
    /// For a pre-accepted one: whether its result has been told.
    pub result_told: Option<bool>,
}

/// Which transactions to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those that are not final.
    Open,
    /// Those that stand in one state. Naming it may save looks; `keep` must ask for it too.
    In(State),
    /// Pre-accepted ones whose result has not been told, final or not.
    Untold,
}

/// A search on its way.
#[derive(Debug)]
pub struct Search {
    walk: Walk,
    /// Everything up to here has been looked at, or was not asked for.
    after: Seq,
    /// The last record when the search began; `None` before the first look.
    up_to: Option<Seq>,
    limit: usize,
    /// The smallest that were found, one more than asked for.
    found: BinaryHeap<Seq>,
}

#[derive(Debug, Clone, Copy)]
enum Walk {
    /// The sorted list of those searched, where they have one; else the numbers.
    Numbers(Among),
    /// The places in memory, from this one on.
    Places(Slot),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What is on it, by number. What ended since it was found is left out.
    pub items: Vec<T>,
    /// After which the next page begins; `None` on the last.
    pub next: Option<Seq>,
}

impl Search {
    /// For at most `limit` that come after `after`.
    #[must_use]
    pub fn new(after: Seq, limit: usize, among: Among) -> Self {
        let found = BinaryHeap::new();
        Self { walk: Walk::Numbers(among), after, up_to: None, limit, found }
    }

    /// Looks at the next of `numbers`, which rise. Says whether the search has ended.
    fn walk(
        &mut self,
        mut numbers: impl Iterator<Item = Seq>,
        mut keeps: impl FnMut(Seq) -> bool,
    ) -> bool {
        for _ in 0..LOOK_ENTRIES_MAX {
            let Some(number) = numbers.next() else { return true };
            self.after = number;
            if keeps(number) {
                self.found.push(number);
                if self.found.len() > self.limit {
                    return true;
                }
            }
        }
        false
    }

    /// Whether `number` can still be one of the smallest that come after what was looked at.
    fn wants(&self, number: Seq) -> bool {
        let is_full = self.found.len() > self.limit;
        self.after < number
            && self.up_to.is_none_or(|up_to| number <= up_to)
            && !(is_full && self.found.peek().is_some_and(|&largest| largest < number))
    }

    fn add(&mut self, number: Seq) {
        self.found.push(number);
        if self.found.len() > self.limit.saturating_add(1) {
            self.found.pop();
        }
    }

    fn end<T>(self, show: impl FnMut(Seq) -> Option<T>) -> Found<T> {
        let mut numbers = self.found.into_sorted_vec();
        let more = numbers.len() > self.limit;
        numbers.truncate(self.limit);
        let next = numbers.last().copied().filter(|_| more);
        Found { items: numbers.into_iter().filter_map(show).collect(), next }
    }
}

impl Handle {
    /// Searches, in as many looks as that takes. `None` when the engine has ended.
    pub async fn search<T: Send + 'static>(
        &self,
        mut search: Search,
        look: impl Fn(&Machine, Now, Search) -> ControlFlow<Found<T>, Search> + Send + Sync + 'static,
    ) -> Option<Found<T>> {
        let look = Arc::new(look);
        loop {
            let look = Arc::clone(&look);
            match self.read(move |machine, now| look(machine, now, search)).await? {
                ControlFlow::Break(found) => return Some(found),
                ControlFlow::Continue(more) => search = more,
            }
        }
    }
}

impl Machine {
    /// Looks on for transactions for which `keep` says yes. `show` says what of each goes on the
    /// page.
    pub fn search<T>(
        &self,
        mut search: Search,
        keep: impl Fn(&Glance<'_>) -> bool,
        show: impl FnMut(Seq) -> Option<T>,
    ) -> ControlFlow<Found<T>, Search> {
        let up_to = *search.up_to.get_or_insert(self.last());
        let keeps = |slot: Slot| keep(&self.glance(slot));
        let keeps_number = |seq: Seq| self.live.find(seq).is_some_and(keeps);
        let rest = (Bound::Excluded(search.after), Bound::Unbounded);
        let ended = match search.walk {
            Walk::Numbers(Among::Untold) => {
                let numbers = self.untold.numbers(rest);
                let is_final = |seq| self.untold(seq).is_some_and(|one| keep(&glance_back(one)));
                search.walk(numbers, |seq| keeps_number(seq) || is_final(seq))
            }
            Walk::Numbers(among) => match self.list(among) {
                Some(list) => search.walk(list.range(rest).copied(), keeps_number),
                None => {
                    let numbers = (search.after.0.saturating_add(1)..=up_to.0).map(Seq);
                    let ended = search.walk(numbers, keeps_number);
                    if up_to.0.saturating_sub(search.after.0) > u64::from(self.live.places()) {
                        search.walk = Walk::Places(0);
                    }
                    ended
                }
            },
            Walk::Places(from) => {
                let most = u32::try_from(LOOK_ENTRIES_MAX).unwrap_or(u32::MAX);
                let to = self.live.places().min(from.saturating_add(most));
                for slot in from..to {
                    let number = self.live.get(slot).transaction;
                    // A place that is free still holds what stood there last; asking whether it
                    // is costs more than the rest.
                    if search.wants(number) && self.live.at_place(slot).is_some() && keeps(slot) {
                        search.add(number);
                    }
                }
                search.walk = Walk::Places(to);
                to == self.live.places()
            }
        };
        if ended { ControlFlow::Break(search.end(show)) } else { ControlFlow::Continue(search) }
    }

    /// The same for registered deadlines.
    pub fn search_deadlines<T>(
        &self,
        mut search: Search,
        keep: impl Fn(&DeadlineView) -> bool,
        mut show: impl FnMut(DeadlineView) -> Option<T>,
    ) -> ControlFlow<Found<T>, Search> {
        let rest = (Bound::Excluded(search.after), Bound::Unbounded);
        let numbers = self.registered.range(rest).map(|(&seq, _)| seq);
        if search.walk(numbers, |seq| self.registered.get(&seq).is_some_and(&keep)) {
            let view = |seq| self.registered.get(&seq).cloned();
            return ControlFlow::Break(search.end(|seq| view(seq).and_then(&mut show)));
        }
        ControlFlow::Continue(search)
    }

    /// The states that people work through have lists of their own.
    fn list(&self, among: Among) -> Option<&BTreeSet<Seq>> {
        match among {
            Among::In(State::DeadLettered) => Some(&self.dead),
            Among::In(State::InDoubt) => Some(&self.doubtful),
            Among::In(State::Ticketed) => Some(&self.ticketed),
            Among::In(
                State::Waiting
                | State::InFlight
                | State::ActionRequired
                | State::Applied
                | State::Refused
                | State::Withdrawn
                | State::Superseded,
            )
            | Among::Open
            | Among::Untold => None,
        }
    }

    fn glance(&self, slot: Slot) -> Glance<'_> {
        let live = self.live.get(slot);
        let cell = &self.cells[live.cell as usize];
        Glance {
            state: live.state,
            institution: &self.institutions[live.institution as usize],
            cell: &cell.cell,
            gate: Some(cell.gate),
            result_told: live.is(PRE_ACCEPTED).then(|| !self.untold.contains(live.transaction)),
        }
    }
}

/// A look at one that is final.
fn glance_back(untold: &Untold) -> Glance<'_> {
    Glance {
        state: untold.state,
        institution: &untold.institution,
        cell: &untold.cell,
        gate: None,
        result_told: Some(false),
    }
}
