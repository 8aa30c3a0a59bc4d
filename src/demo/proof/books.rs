//! P6: the books balance in items and in money, and three independent counts agree.

use super::Broken;
use super::journal::Recount;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use std::collections::BTreeMap;

/// Answered posts, as the clients count them. One post per answer, however often it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counter {
    /// Answered posts.
    pub submitted: u64,
    /// Distinct transactions that were acknowledged.
    pub accepted: u64,
    /// Answers that repeated an earlier receipt.
    pub duplicates: u64,
    /// Turned away by policy.
    pub turned_away: u64,
    /// Refused because of what they said.
    pub invalid: u64,
    /// The money of what was accepted, in fen.
    pub accepted_fen: i128,
    /// Distinct tickets that clients were given.
    pub tickets: u64,
}

/// A column of the books: items, and money in fen.
pub type Column = BTreeMap<&'static str, (i128, i128)>;

/// The books as somebody keeps them: accepted and each state; tickets by state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// `accepted` and each state.
    pub states: Column,
    /// Each ticket state.
    pub tickets: Column,
}

impl Ledger {
    /// The books by the journal.
    #[must_use]
    pub fn recounted(journal: &Recount) -> Self {
        let mut ledger = Self::default();
        for &state in State::ALL {
            ledger.states.insert(state.as_str(), (0, 0));
        }
        for &state in TicketState::ALL {
            ledger.tickets.insert(state.as_str(), (0, 0));
        }
        ledger.states.insert("accepted", (0, 0));
        for kept in journal.accepted.values() {
            let fen = i128::from(kept.amount.fen());
            for column in ["accepted", kept.state.as_str()] {
                add(&mut ledger.states, column, fen);
            }
            if let Some(ticket) = kept.ticket {
                add(&mut ledger.tickets, ticket.as_str(), fen);
            }
        }
        ledger
    }

    /// Accepted less every state: items and money.
    #[must_use]
    pub fn difference(&self) -> (i128, i128) {
        let accepted = self.states.get("accepted").copied().unwrap_or_default();
        let sum = State::ALL.iter().fold((0, 0), |(items, fen), state| {
            let column = self.states.get(state.as_str()).copied().unwrap_or_default();
            (items + column.0, fen + column.1)
        });
        (accepted.0 - sum.0, accepted.1 - sum.1)
    }

    /// Every ticket ever issued.
    #[must_use]
    pub fn tickets_issued(&self) -> i128 {
        self.tickets.values().map(|column| column.0).sum()
    }
}

fn add(column: &mut Column, name: &'static str, fen: i128) {
    let entry = column.entry(name).or_default();
    entry.0 += 1;
    entry.1 += fen;
}

/// Sendings that the clients know nothing of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spare {
    /// Posts that were sent again because a kill cut them off: the first sending may have left a
    /// refusal that nobody holds.
    pub cut_off: u64,
    /// Posts that were never answered: each may have left anything.
    pub unanswered: u64,
}

/// P6 over the three counts. Effects equal what is applied only at the end of a `completed` run:
/// before, answers are still on their way.
#[must_use]
pub fn balance(
    clients: &Counter,
    daemon: &Ledger,
    journal: &Recount,
    effects: u64,
    spare: Spare,
    completed: bool,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut say = |id: &str, what: String| broken.push(Broken::new("P6", id, what));
    let answers = clients.accepted + clients.duplicates + clients.turned_away + clients.invalid;
    if clients.submitted != answers {
        say("submitted", format!("{} posts, but {answers} answers", clients.submitted));
    }
    let recounted = Ledger::recounted(journal);
    for (whose, ledger) in [("the daemon's books", daemon), ("the journal", &recounted)] {
        if ledger.difference() != (0, 0) {
            let (items, fen) = ledger.difference();
            say("difference", format!("{whose} are out by {items} items and {fen} fen"));
        }
    }
    for (ours, theirs, what) in [
        (&recounted.states, &daemon.states, "transactions"),
        (&recounted.tickets, &daemon.tickets, "tickets"),
    ] {
        for (&name, &(items, fen)) in ours {
            let said = theirs.get(name).copied().unwrap_or_default();
            if said != (items, fen) {
                let what = format!(
                    "the journal has {items} {what} of {fen} fen, the daemon's books {} of {} fen",
                    said.0, said.1
                );
                say(name, what);
            }
        }
    }
    let accepted = recounted.states["accepted"];
    let held = (i128::from(clients.accepted), clients.accepted_fen);
    let more = held.0 < accepted.0 && accepted.0 <= held.0 + i128::from(spare.unanswered);
    if held != accepted && !more {
        let what = format!(
            "clients hold receipts for {} of {} fen, the journal has {} of {} fen",
            held.0, held.1, accepted.0, accepted.1
        );
        say("accepted", what);
    }
    let turned_away = u64::try_from(journal.turned_away.len()).unwrap_or(u64::MAX);
    let most = clients.turned_away + spare.cut_off + spare.unanswered;
    if turned_away < clients.turned_away || most < turned_away {
        let what =
            format!("clients hold {} refusals, the journal {turned_away}", clients.turned_away);
        say("turned_away", what);
    }
    let applied = recounted.states[State::Applied.as_str()].0;
    if completed && i128::from(effects) != applied {
        say("applied", format!("{applied} by the journal, {effects} effects by the cores' logs"));
    }
    if recounted.tickets_issued() < i128::from(clients.tickets) {
        let issued = recounted.tickets_issued();
        say("tickets", format!("clients hold {}, the journal issued {issued}", clients.tickets));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::accepted;
    use super::*;
    use crate::domain::ids::Seq;
    use crate::domain::time::Timestamp;
    use crate::engine::change::Change;

    fn ticketed() -> Recount {
        let mut journal = Recount::default();
        journal.read(Seq(1), accepted());
        let at = Timestamp::from_millis(5);
        journal.read(Seq(2), Change::Ticketed { transaction: Seq(1), at });
        journal
    }

    fn clients() -> Counter {
        Counter { submitted: 1, accepted: 1, accepted_fen: 100, tickets: 1, ..Counter::default() }
    }

    fn names(broken: &[Broken]) -> Vec<&str> {
        broken.iter().map(|b| b.id.as_str()).collect()
    }

    #[test]
    fn books_that_agree_balance() {
        let journal = ticketed();
        let ledger = Ledger::recounted(&journal);
        assert_eq!(balance(&clients(), &ledger, &journal, 0, Spare::default(), true), []);
    }

    #[test]
    fn a_ticket_that_the_books_dropped_is_found() {
        let journal = ticketed();
        let mut ledger = Ledger::recounted(&journal);
        ledger.tickets.insert("open", (0, 0));
        assert_eq!(
            names(&balance(&clients(), &ledger, &journal, 0, Spare::default(), true)),
            ["open"]
        );
        let mut dropped = journal;
        dropped.accepted.get_mut(&Seq(1)).unwrap().ticket = None;
        let ledger = Ledger::recounted(&dropped);
        assert_eq!(
            names(&balance(&clients(), &ledger, &dropped, 0, Spare::default(), true)),
            ["tickets"]
        );
    }

    #[test]
    fn money_that_is_missing_is_found_even_where_the_items_agree() {
        let journal = ticketed();
        let ledger = Ledger::recounted(&journal);
        let poorer = Counter { accepted_fen: 99, ..clients() };
        assert_eq!(
            names(&balance(&poorer, &ledger, &journal, 0, Spare::default(), true)),
            ["accepted"]
        );
    }

    #[test]
    fn effects_that_the_journal_does_not_know_are_found() {
        let journal = ticketed();
        let ledger = Ledger::recounted(&journal);
        assert_eq!(
            names(&balance(&clients(), &ledger, &journal, 1, Spare::default(), true)),
            ["applied"]
        );
    }

    #[test]
    fn posts_without_an_answer_may_have_left_something_and_no_more_than_that() {
        let journal = ticketed();
        let ledger = Ledger::recounted(&journal);
        let nobody = Counter::default();
        let spare = |unanswered| Spare { unanswered, ..Spare::default() };
        assert_eq!(balance(&nobody, &ledger, &journal, 0, spare(1), false), []);
        assert_eq!(names(&balance(&nobody, &ledger, &journal, 0, spare(0), false)), ["accepted"]);
    }

    #[test]
    fn an_answer_that_fits_no_column_is_found() {
        let journal = ticketed();
        let ledger = Ledger::recounted(&journal);
        let more = Counter { submitted: 2, ..clients() };
        assert_eq!(
            names(&balance(&more, &ledger, &journal, 0, Spare::default(), true)),
            ["submitted"]
        );
    }
}
