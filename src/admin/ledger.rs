//! `/admin/v1/ledger`: the books in items and in money, read between two steps of the engine.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::{BOOKS_UNPROVED, DamageOut, IntakeCounters, LedgerOut, Unproved};
use crate::domain::ledger::Books;
use crate::domain::money::format_fen;
use crate::domain::state::State as Standing;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use axum::Json;
use axum::extract::State as Extract;
use std::sync::Arc;

pub(super) async fn show(Extract(state): Extract<Arc<State>>) -> Result<Json<LedgerOut>, Refusal> {
    let (books, turned_away, passed_over, at) = look::at(&state, |machine, now| {
        let passed_over = machine.is_quarantined().then(|| machine.passed_over());
        (machine.books().clone(), machine.turned_away(), passed_over, now.wall)
    })
    .await?;
    let mut out = ledger(&books, turned_away, (state.intake)(), at);
    let damage = (state.damage)();
    out.damaged_records = damage.iter().map(DamageOut::records).sum();
    if let Some(passed_over) = passed_over {
        out.balanced = false;
        let code = BOOKS_UNPROVED.to_owned();
        out.unproved = Some(Unproved { code, passed_over, damage });
    }
    Ok(Json(out))
}

fn ledger(
    books: &Books,
    turned_away_ever: u64,
    intake: IntakeCounters,
    at: Timestamp,
) -> LedgerOut {
    // A number that does not fit is shown as the largest one, and is not zero.
    let whole = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
    let mut out = LedgerOut {
        items: [("accepted".to_owned(), whole(books.accepted().items.into()))].into(),
        amount: [("accepted".to_owned(), format_fen(books.accepted().fen))].into(),
        tickets: [("issued".to_owned(), books.tickets_issued())].into(),
        tickets_amount: [].into(),
        turned_away_ever,
        intake,
        intake_difference: whole(intake.difference()),
        balanced: books.difference() == 0 && books.amount_difference() == 0,
        unproved: None,
        damaged_records: 0,
        at,
    };
    for &standing in Standing::ALL {
        let entry = books.in_state(standing);
        out.items.insert(standing.to_string(), whole(entry.items.into()));
        out.amount.insert(standing.to_string(), format_fen(entry.fen));
    }
    for &ticket in TicketState::ALL {
        let entry = books.tickets(ticket);
        out.tickets.insert(ticket.to_string(), entry.items);
        out.tickets_amount.insert(ticket.to_string(), format_fen(entry.fen));
    }
    out.items.insert("difference".to_owned(), whole(books.difference()));
    out.amount.insert("difference".to_owned(), format_fen(books.amount_difference()));
    // The counters of requests that are being answered this very moment move one by one.
    out.balanced = out.balanced && out.intake_difference == 0;
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_are_shown_in_items_and_in_money_under_the_words_of_the_states() {
        let mut books = Books::default();
        for text in ["10.50", "0.25", "99.00"] {
            books.accept(text.parse().unwrap());
        }
        books.shift(Standing::Waiting, Standing::Ticketed, "99.00".parse().unwrap());
        books.issue("99.00".parse().unwrap());
        let counters =
            IntakeCounters { submitted: 5, accepted: 3, duplicates: 1, turned_away: 1, invalid: 0 };
        let out = ledger(&books, 1, counters, Timestamp::from_millis(0));
        assert_eq!((out.items["accepted"], out.items["waiting"], out.items["ticketed"]), (3, 2, 1));
        assert_eq!(out.amount["waiting"], "10.75");
        assert_eq!((out.tickets["issued"], out.tickets["open"]), (1, 1));
        assert_eq!(out.tickets_amount["open"], "99.00");
        assert!(out.balanced);
        assert_eq!(out.items.len(), Standing::ALL.len() + 2);

        let lost = IntakeCounters { submitted: 6, ..counters };
        assert!(!ledger(&Books::default(), 0, lost, Timestamp::from_millis(0)).balanced);
        let text = serde_json::to_string(&out).unwrap();
        assert_eq!(serde_json::from_str::<LedgerOut>(&text).unwrap(), out);
    }
}
