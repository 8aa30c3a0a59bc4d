//! A ticket ends once: by hand, or by the settlement that replaces it, whoever comes first.

use crate::engine_scenarios::{Bench, settlement};
use crate::engine_support::{answer, cell, settings, submission};
use crate::house::{Says, house};
use holdover::domain::ids::Seq;
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::ticket::TicketState;
use holdover::engine::event::{Done, Event, Fault, Reply, Sought, Submission};
use holdover::engine::ports::IndexUnavailable;
use std::time::Duration;

/// A settlement that surely failed: its person has a ticket.
fn ticketed() -> (Bench, Seq) {
    let mut bench = Bench::with(settings(), "2022-08-12T20:00:00+08:00");
    bench.submit(settlement(1));
    let (reason, retry_after) = (TransientReason::Busy, Some(Duration::from_secs(60)));
    let old = bench.settle(Outcome::Transient { reason, retry_after });
    assert_eq!(bench.state(old), Some(State::Ticketed));
    (bench, old)
}

fn instead_of(old: Seq, number: u128) -> Submission {
    Submission { replaces: Some(old), ..settlement(number) }
}

fn close(bench: &mut Bench, ticket: Seq, how: TicketState) -> Option<Reply> {
    bench.ask(|reply| Event::CloseTicket {
        reply,
        institution: "H11010500001".parse().unwrap(),
        transaction: ticket,
        how,
        by: "counter".to_owned(),
        reason: "the person chose so".to_owned(),
    })
}

#[test]
fn what_was_closed_by_hand_is_not_settled_again() {
    for how in [TicketState::Waived, TicketState::ReimbursedManually] {
        let (mut bench, old) = ticketed();
        let closed = close(&mut bench, old, how);
        assert!(matches!(closed, Some(Reply::Done(Done::Ticket(_, done))) if done == how));
        let sent = bench.sent().len();
        let refused = bench.submit(instead_of(old, 2));
        let gone = Fault::NotFound(Sought::Transaction);
        assert!(matches!(&refused, Some(Reply::Invalid(fault)) if *fault == gone), "{refused:?}");
        assert_eq!(bench.sent().len(), sent, "nothing went to the core");
        let books = bench.machine.books();
        assert_eq!((books.tickets(how).items, books.ticket_difference()), (1, 0));
        assert_eq!(books.tickets(TicketState::Resettled).items, 0);
    }
}

#[test]
fn a_replacement_that_is_refused_gives_the_ticket_back() {
    let refused = || Outcome::Refused { code: "wrong".to_owned(), answer: answer("no") };
    for by_hand in [false, true] {
        let (mut bench, old) = ticketed();
        bench.submit(instead_of(old, 2));
        let taken = close(&mut bench, old, TicketState::Waived);
        assert!(matches!(taken, Some(Reply::Invalid(Fault::BeingReplaced))), "{taken:?}");
        bench.settle(refused());
        assert_eq!(bench.state(old), Some(State::Ticketed), "it is open as before");
        let how = if by_hand {
            close(&mut bench, old, TicketState::Waived);
            TicketState::Waived
        } else {
            bench.submit(instead_of(old, 3));
            bench.settle(Outcome::Applied(answer("ok")));
            TicketState::Resettled
        };
        assert_eq!(bench.state(old), None);
        let books = bench.machine.books();
        assert_eq!((books.tickets(how).items, books.ticket_difference()), (1, 0));
        assert_eq!(books.in_state(State::Refused).items, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_would_end_a_ticket_at_once_one_does() {
    for round in 0..8u128 {
        let house = house(Says(Err(IndexUnavailable))).await;
        let settle = |number: u128, normal: Disposition| {
            let mut one = submission(cell("a", "settlement.outpatient"), number, 1);
            one.line.normal = normal;
            one
        };
        // Every gate is closed: one becomes a ticket at once, the others would wait.
        let old = house.accepted(settle(1, Disposition::PassOrTicket)).await;
        let mut ends = tokio::task::JoinSet::new();
        for number in 2..18 {
            let (engine, by_hand) = (house.engine.clone(), (number + round) % 2 == 0);
            let instead = Submission { replaces: Some(old), ..settle(number, Disposition::Pass) };
            ends.spawn(async move {
                if !by_hand {
                    return engine.submit(instead).await;
                }
                let institution = "H11010500001".parse().unwrap();
                let (by, reason) = ("counter".to_owned(), "as agreed".to_owned());
                engine.close_ticket(institution, old, TicketState::Waived, by, reason).await
            });
        }
        let mut winners = 0;
        for reply in ends.join_all().await {
            match reply {
                Reply::Accepted { .. } | Reply::Done(_) => winners += 1,
                Reply::Invalid(Fault::BeingReplaced | Fault::NotFound(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
        house.close();
    }
}
