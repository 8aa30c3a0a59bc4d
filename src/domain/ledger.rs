//! The books: how many transactions, and how much money, stand where.
//!
//! Promise P6: what was accepted equals the sum over all states, in items and in money, at
//! every instant. The books are kept by moving one item at a time; [`Books::difference`] and
//! [`Books::amount_difference`] are zero unless we have a defect.

use super::money::Money;
use super::state::State;
use super::ticket::TicketState;

/// A number of transactions and the sum of their amounts in fen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entry {
    /// How many.
    pub items: u64,
    /// How much, in fen.
    pub fen: i128,
}

/// The books of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    accepted: Entry,
    issued: Entry,
    states: [Entry; State::ALL.len()],
    tickets: [Entry; TicketState::ALL.len()],
}

impl Books {
    /// Enters a newly accepted transaction, which is `Waiting`.
    pub fn accept(&mut self, amount: Money) {
        let fen = i128::from(amount.fen());
        self.accepted.items += 1;
        self.accepted.fen += fen;
        let waiting = &mut self.states[State::Waiting as usize];
        waiting.items += 1;
        waiting.fen += fen;
    }

    /// Moves a transaction from one state to another.
    pub fn shift(&mut self, from: State, to: State, amount: Money) {
        let fen = i128::from(amount.fen());
        let source = &mut self.states[from as usize];
        // A book that would go below zero is a defect: `difference` shows it, nothing hides it.
        source.items = source.items.wrapping_sub(1);
        source.fen -= fen;
        let target = &mut self.states[to as usize];
        target.items = target.items.wrapping_add(1);
        target.fen += fen;
    }

    /// Enters a new ticket.
    pub fn issue(&mut self, amount: Money) {
        self.issued.items += 1;
        self.issued.fen += i128::from(amount.fen());
        let open = &mut self.tickets[TicketState::Open as usize];
        open.items += 1;
        open.fen += i128::from(amount.fen());
    }

    /// Closes a ticket.
    pub fn close(&mut self, how: TicketState, amount: Money) {
        let fen = i128::from(amount.fen());
        let open = &mut self.tickets[TicketState::Open as usize];
        open.items = open.items.wrapping_sub(1);
        open.fen -= fen;
        let closed = &mut self.tickets[how as usize];
        closed.items += 1;
        closed.fen += fen;
    }

    /// What was accepted.
    #[must_use]
    pub fn accepted(&self) -> Entry {
        self.accepted
    }

    /// What stands in `state`.
    #[must_use]
    pub fn in_state(&self, state: State) -> Entry {
        self.states[state as usize]
    }

    /// The tickets in `state`.
    #[must_use]
    pub fn tickets(&self, state: TicketState) -> Entry {
        self.tickets[state as usize]
    }

    /// Every ticket ever issued.
    #[must_use]
    pub fn tickets_issued(&self) -> u64 {
        self.issued.items
    }

    /// Tickets issued less the sum over where they stand. Zero unless we have a defect.
    #[must_use]
    pub fn ticket_difference(&self) -> i128 {
        let signed = |items: u64| i128::from(items.cast_signed());
        signed(self.issued.items) - self.tickets.iter().map(|e| signed(e.items)).sum::<i128>()
    }

    /// Accepted less the sum over all states, in items. Zero unless we have a defect.
    #[must_use]
    pub fn difference(&self) -> i128 {
        let signed = |items: u64| i128::from(items.cast_signed());
        signed(self.accepted.items) - self.states.iter().map(|e| signed(e.items)).sum::<i128>()
    }

    /// Accepted less the sum over all states, in fen. Zero unless we have a defect.
    #[must_use]
    pub fn amount_difference(&self) -> i128 {
        self.accepted.fen - self.states.iter().map(|e| e.fen).sum::<i128>()
    }

    /// How many transactions are not final.
    #[must_use]
    pub fn open_items(&self) -> usize {
        let open = State::ALL.iter().zip(&self.states).filter(|(state, _)| !state.is_final());
        let items: u64 = open.map(|(_, entry)| entry.items).sum();
        usize::try_from(items).unwrap_or(usize::MAX)
    }

    /// The books as plain numbers, for snapshots: accepted, tickets issued, then each state, then
    /// each ticket state, in the order of their words.
    #[must_use]
    pub fn to_entries(&self) -> Vec<Entry> {
        [self.accepted, self.issued].into_iter().chain(self.states).chain(self.tickets).collect()
    }

    /// The books from [`Books::to_entries`]; `None` when the number of entries is wrong.
    #[must_use]
    pub fn from_entries(entries: &[Entry]) -> Option<Self> {
        let (&[accepted, issued], rest) = entries.split_first_chunk()?;
        let (states, tickets) = rest.split_at_checked(State::ALL.len())?;
        Some(Self {
            accepted,
            issued,
            states: states.try_into().ok()?,
            tickets: tickets.try_into().ok()?,
        })
    }
}
