//! Transactions that are not final, packed, and their order per key.
//!
//! Ten million of them must fit a small machine, so an entry is 56 bytes, keys are chains
//! through the entries, and the two look-ups hold four-byte slot numbers only. What few
//! transactions have (a dependency, a ticket's limit, a provisional refusal) is kept beside, in
//! [`Extra`].
//!
//! Nothing here knows about windows, gates or outcomes: it keeps places.

use crate::domain::ids::{OrderingKey, Seq};
use crate::domain::money::Money;
use crate::domain::outcome::TransientReason;
use crate::domain::state::{IllegalMove, Move, State};
use crate::domain::time::{CivilDate, Timestamp};
use hashbrown::HashTable;
use std::collections::HashMap;

/// The number of an entry's place.
pub(super) type Slot = u32;
/// No place.
pub(super) const NONE: Slot = u32::MAX;

/// A transaction that is not final.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live {
    pub(super) transaction: Seq,
    pub(super) amount: Money,
    pub(super) at: Timestamp,
    /// When it may be tried, or asked about, next.
    pub(super) not_before: Timestamp,
    pub(super) cell: u32,
    pub(super) institution: u32,
    pub(super) key: u32,
    /// The next transaction of the same key.
    next: Slot,
    pub(super) attempts: u16,
    pub(super) failures: u16,
    pub(super) state: State,
    pub(super) flags: u16,
}

/// It is still in its key's chain.
const IN_CHAIN: u16 = 1;
/// Stored bytes are not enough to send it.
pub(super) const NEEDS_CREDENTIAL: u16 = 2;
/// It must not be kept for later.
pub(super) const UNQUEUED: u16 = 4;
/// Its result must be told to the person.
pub(super) const PRE_ACCEPTED: u16 = 8;
/// It has an [`Extra`].
pub(super) const HAS_EXTRA: u16 = 16;
/// Only its submitter can send it again.
pub(super) const NOT_SELF_CONTAINED: u16 = 32;
/// It stands in its cell's queue of transactions that could go now.
pub(super) const READY: u16 = 64;
/// It waited for another one that has ended: what that began, it finishes. Not carried on by
/// snapshots: after one it waits like others.
pub(super) const CHAINED: u16 = 128;
/// It names stored files, which its upstream takes few at a time.
pub(super) const HAS_FILES: u16 = 256;

impl Live {
    #[expect(clippy::too_many_arguments, reason = "one packed entry, built in one place")]
    pub(super) fn new(
        transaction: Seq,
        amount: Money,
        at: Timestamp,
        not_before: Timestamp,
        cell: u32,
        institution: u32,
        state: State,
        flags: u16,
    ) -> Self {
        Self {
            transaction,
            amount,
            at,
            not_before,
            cell,
            institution,
            key: 0,
            next: NONE,
            attempts: 0,
            failures: 0,
            state,
            flags,
        }
    }

    pub(super) fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What few transactions have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) deadline: Option<CivilDate>,
    pub(super) replaces: Option<Seq>,
    pub(super) depends_on: Option<Seq>,
    pub(super) ticket_after: Option<Timestamp>,
    pub(super) provisional: Option<String>,
    pub(super) given_up_for: Option<TransientReason>,
    pub(super) replaced_by: Option<Seq>,
    pub(super) doubt_since: Option<Timestamp>,
}

/// One ordering key: the chain of its transactions that still block one another.
#[derive(Debug, Clone, Copy)]
struct Chain {
    key: u64,
    head: Slot,
    tail: Slot,
    /// Entries that name it, those outside the chain included.
    members: u32,
    /// Entries that stand in the chain.
    linked: u32,
}

/// A slab in fixed chunks: it grows without copying, so memory never doubles for a moment.
#[derive(Debug)]
struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    len: u32,
}

const CHUNK: usize = 1 << 14;

impl<T: Copy> Slab<T> {
    fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }

    fn insert(&mut self, value: T) -> u32 {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = value;
            return slot;
        }
        let slot = self.len;
        if (slot as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(value);
        }
        self.len += 1;
        slot
    }

    fn remove(&mut self, slot: u32) {
        self.free.push(slot);
    }

    fn get(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

/// Every transaction that is not final.
#[derive(Debug)]
pub(super) struct LiveSet {
    entries: Slab<Live>,
    chains: Slab<Chain>,
    by_transaction: HashTable<Slot>,
    by_key: HashTable<u32>,
    extras: HashMap<Slot, Extra>,
}

fn scatter(value: u64) -> u64 {
    // Fibonacci hashing: sequences are consecutive, tables want spread high bits.
    value.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32)
}

/// The part of an ordering key that chains are kept by. Two keys that meet in 64 bits (one
/// chance in 10^6 among 5 million) are ordered among each other, which is never wrong.
fn chain_key(key: OrderingKey) -> u64 {
    (key.0 >> 64) as u64 ^ u64::try_from(key.0 & u128::from(u64::MAX)).unwrap_or(0)
}

impl LiveSet {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            chains: Slab::new(),
            by_transaction: HashTable::new(),
            by_key: HashTable::new(),
            extras: HashMap::new(),
        }
    }

    /// Makes room for so many transactions, so that the look-up does not grow step by step.
    pub(super) fn reserve(&mut self, transactions: usize) {
        let entries = &self.entries;
        self.by_transaction.reserve(transactions, |&slot| scatter(entries.get(slot).transaction.0));
    }

    pub(super) fn len(&self) -> usize {
        self.by_transaction.len()
    }

    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn find(&self, transaction: Seq) -> Option<Slot> {
        let entries = &self.entries;
        self.by_transaction
            .find(scatter(transaction.0), |&slot| entries.get(slot).transaction == transaction)
            .copied()
    }

    pub(super) fn get(&self, slot: Slot) -> &Live {
        self.entries.get(slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Live {
        self.entries.get_mut(slot)
    }

    pub(super) fn extra(&self, slot: Slot) -> Option<&Extra> {
        if self.get(slot).is(HAS_EXTRA) { self.extras.get(&slot) } else { None }
    }

    /// What few transactions have, each with its slot, in no order.
    pub(super) fn extras(&self) -> Vec<(Slot, Extra)> {
        self.extras.iter().map(|(&slot, extra)| (slot, extra.clone())).collect()
    }

    pub(super) fn extra_mut(&mut self, slot: Slot) -> &mut Extra {
        self.get_mut(slot).flags |= HAS_EXTRA;
        self.extras.entry(slot).or_default()
    }

    /// The ordering key of `slot`, as far as it is kept: equal keys stay equal.
    pub(super) fn ordering_key(&self, slot: Slot) -> OrderingKey {
        OrderingKey(u128::from(self.chains.get(self.get(slot).key).key) << 64)
    }

    /// Puts a transaction in, at the end of its key's chain (or behind `behind`, whose place it
    /// takes over). One that blocks nothing stays outside the chain.
    pub(super) fn insert(
        &mut self,
        mut live: Live,
        key: OrderingKey,
        behind: Option<Slot>,
    ) -> Slot {
        let chain = self.chain_of(chain_key(key));
        live.key = chain;
        live.next = NONE;
        let joins = live.state.blocks_its_key();
        live.flags = if joins { live.flags | IN_CHAIN } else { live.flags & !IN_CHAIN };
        let slot = self.entries.insert(live);
        self.chains.get_mut(chain).members += 1;
        let entries = &self.entries;
        self.by_transaction.insert_unique(scatter(live.transaction.0), slot, |&s| {
            scatter(entries.get(s).transaction.0)
        });
        if joins {
            self.chains.get_mut(chain).linked += 1;
            match behind {
                Some(before) if self.get(before).is(IN_CHAIN) && self.get(before).key == chain => {
                    let next = self.get(before).next;
                    self.get_mut(slot).next = next;
                    self.get_mut(before).next = slot;
                    if next == NONE {
                        self.chains.get_mut(chain).tail = slot;
                    }
                }
                Some(_) | None => self.push_back(chain, slot),
            }
        }
        slot
    }

    fn chain_of(&mut self, key: u64) -> u32 {
        let chains = &self.chains;
        if let Some(&found) = self.by_key.find(scatter(key), |&c| chains.get(c).key == key) {
            return found;
        }
        let chain =
            self.chains.insert(Chain { key, head: NONE, tail: NONE, members: 0, linked: 0 });
        let chains = &self.chains;
        self.by_key.insert_unique(scatter(key), chain, |&c| scatter(chains.get(c).key));
        chain
    }

    fn push_back(&mut self, chain: u32, slot: Slot) {
        let tail = self.chains.get(chain).tail;
        if tail == NONE {
            self.chains.get_mut(chain).head = slot;
        } else {
            self.get_mut(tail).next = slot;
        }
        self.chains.get_mut(chain).tail = slot;
    }

    /// The transaction of the key of `slot` that goes next.
    pub(super) fn head_of(&self, slot: Slot) -> Slot {
        self.chains.get(self.get(slot).key).head
    }

    pub(super) fn is_head(&self, slot: Slot) -> bool {
        self.head_of(slot) == slot
    }

    /// Whether a transaction of this key stands outside its chain, blocking nothing.
    pub(super) fn has_outside(&self, key: OrderingKey) -> bool {
        let (key, chains) = (chain_key(key), &self.chains);
        let chain = self.by_key.find(scatter(key), |&c| chains.get(c).key == key);
        chain.map(|&c| chains.get(c)).is_some_and(|chain| chain.linked < chain.members)
    }

    /// The transactions that wait behind `slot` in its chain, in order.
    pub(super) fn followers(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        let next = |at: Slot| Some(self.get(at).next).filter(|&next| next != NONE);
        std::iter::successors(next(slot), move |&at| next(at))
    }

    /// The transaction right before `slot` in its chain.
    pub(super) fn before(&self, slot: Slot) -> Option<Slot> {
        if !self.get(slot).is(IN_CHAIN) {
            return None;
        }
        let mut at = self.head_of(slot);
        let mut previous = None;
        while at != NONE && at != slot {
            previous = Some(at);
            at = self.get(at).next;
        }
        previous
    }

    /// Moves a transaction, where that move exists.
    pub(super) fn shift(&mut self, slot: Slot, step: Move) -> Result<State, IllegalMove> {
        let live = self.get_mut(slot);
        live.state = live.state.after(step)?;
        Ok(live.state)
    }

    /// Takes `slot` out of its chain and says which transaction is the head now, where that
    /// changed.
    pub(super) fn leave_chain(&mut self, slot: Slot) -> Option<Slot> {
        if !self.get(slot).is(IN_CHAIN) {
            return None;
        }
        let chain = self.get(slot).key;
        let next = self.get(slot).next;
        let previous = self.before(slot);
        match previous {
            None => self.chains.get_mut(chain).head = next,
            Some(before) => self.get_mut(before).next = next,
        }
        if next == NONE {
            self.chains.get_mut(chain).tail = previous.unwrap_or(NONE);
        }
        self.chains.get_mut(chain).linked -= 1;
        let live = self.get_mut(slot);
        live.flags &= !IN_CHAIN;
        live.next = NONE;
        (previous.is_none() && next != NONE).then_some(next)
    }

    /// Forgets a transaction that left its chain.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Slot> {
        let woken = self.leave_chain(slot);
        let live = *self.get(slot);
        let entries = &self.entries;
        if let Ok(entry) = self.by_transaction.find_entry(scatter(live.transaction.0), |&s| {
            entries.get(s).transaction == live.transaction
        }) {
            entry.remove();
        }
        if live.is(HAS_EXTRA) {
            self.extras.remove(&slot);
        }
        self.entries.remove(slot);
        self.chains.get_mut(live.key).members -= 1;
        let chain = *self.chains.get(live.key);
        if chain.members == 0 {
            let chains = &self.chains;
            if let Ok(entry) =
                self.by_key.find_entry(scatter(chain.key), |&c| chains.get(c).key == chain.key)
            {
                entry.remove();
                self.chains.remove(live.key);
            }
        }
        woken
    }

    /// The members of the chain that `slot` is the head of, in order; `slot` alone where it
    /// stands outside its chain; nothing where it is another member.
    pub(super) fn chain_from(&self, slot: Slot) -> Vec<Slot> {
        if !self.get(slot).is(IN_CHAIN) {
            return vec![slot];
        }
        let mut members = Vec::new();
        let mut at = if self.is_head(slot) { slot } else { NONE };
        while at != NONE {
            members.push(at);
            at = self.get(at).next;
        }
        members
    }

    /// How many places there are, in use or not.
    pub(super) fn places(&self) -> Slot {
        self.entries.len
    }

    /// The transaction at a place, where one is.
    pub(super) fn at_place(&self, place: Slot) -> Option<Seq> {
        let transaction = self.get(place).transaction;
        (self.find(transaction) == Some(place)).then_some(transaction)
    }

    /// Shows every instant that an entry holds, to be set anew: since when it is here or in
    /// doubt, when it may go on, until when it is tried.
    pub(super) fn set_instants(
        &mut self,
        past: impl Fn(Timestamp) -> Timestamp,
        to_come: impl Fn(Timestamp) -> Timestamp,
        doubt: Timestamp,
    ) {
        for place in 0..self.places() {
            let live = self.get_mut(place);
            (live.at, live.not_before) = (past(live.at), to_come(live.not_before));
        }
        for extra in self.extras.values_mut() {
            extra.ticket_after = extra.ticket_after.map(&to_come);
            extra.doubt_since = extra.doubt_since.map(|_| doubt);
        }
    }

    /// Every slot in use, in no order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.by_transaction.iter().copied()
    }
}
