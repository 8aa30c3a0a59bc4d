//! A cancel goes behind the request that it undoes, and never to the core for what became a
//! ticket: nothing took effect there, and what is resettled later is another intent.

use crate::engine_scenarios::{Bench, at};
use crate::engine_support::{NoRuns, answer, cell, settings, submission};
use holdover::domain::cell::{Cell, Operation, Selector};
use holdover::domain::ids::Seq;
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::ticket::TicketState;
use holdover::engine::event::{Command, Event, Fault, Reply, Submission};
use holdover::engine::machine::Machine;
use std::time::Duration;

const NOW: &str = "2022-08-13T10:00:00+08:00";

fn of(operation: Operation) -> Cell {
    Cell { operation, ..cell("a", "settlement.outpatient") }
}

/// A settlement of the visit `visit` that falls to a ticket.
fn request(number: u128, visit: u128) -> Submission {
    let mut request = submission(of(Operation::Request), number, visit);
    request.line.normal = Disposition::PassOrTicket;
    request
}

fn cancel(number: u128, visit: u128) -> Submission {
    submission(of(Operation::Cancel), number, visit)
}

fn requests() -> Selector {
    Selector { operation: vec![Operation::Request], ..Selector::default() }
}

fn close_gate(bench: &mut Bench) {
    let until = bench.now.after(Duration::from_secs(3600));
    let closed = bench.order(Command::CloseGate { cells: requests(), until });
    assert!(matches!(closed, None | Some(Reply::Done(_))), "{closed:?}");
}

fn refused(reply: Option<Reply>) -> bool {
    matches!(reply, Some(Reply::Invalid(Fault::OpenTicket)))
}

/// A visit that has an open ticket, and nothing else.
fn ticketed() -> (Bench, Seq) {
    let mut bench = Bench::with(settings(), NOW);
    let first = bench.accepted(request(1, 1));
    assert_eq!(bench.settle(Outcome::Applied(answer("{}"))), first);
    close_gate(&mut bench);
    let ticket = bench.accepted(request(2, 1));
    assert_eq!(bench.state(ticket), Some(State::Ticketed));
    (bench, ticket)
}

#[test]
fn a_cancel_is_refused_while_its_key_has_an_open_ticket_and_taken_when_it_is_closed() {
    for resettled in [false, true] {
        let (mut bench, ticket) = ticketed();
        assert!(refused(bench.submit(cancel(3, 1))));
        let mut named = cancel(4, 1);
        named.depends_on = Some(ticket);
        assert!(refused(bench.submit(named)));
        // A ticket blocks nobody else: another visit, and another request of this one.
        let other = bench.accepted(cancel(5, 2));
        assert_eq!(bench.settle(Outcome::Applied(answer("{}"))), other);
        let opened = bench.order(Command::OpenGate { cells: requests() });
        assert!(matches!(opened, Some(Reply::Done(_))), "{opened:?}");
        let again = bench.accepted(request(6, 1));
        assert_eq!(bench.settle(Outcome::Applied(answer("{}"))), again);
        assert!(refused(bench.submit(cancel(3, 1))), "nothing remembers the refused key");
        if resettled {
            let mut resettlement = request(7, 1);
            resettlement.replaces = Some(ticket);
            let seq = bench.accepted(resettlement);
            assert!(refused(bench.submit(cancel(3, 1))), "it is still on its way");
            assert_eq!(bench.settle(Outcome::Applied(answer("{}"))), seq);
        } else {
            bench.step(Event::CloseTicket {
                reply: holdover::engine::event::ReplyTo(900),
                institution: "H11010500001".parse().unwrap(),
                transaction: ticket,
                how: TicketState::Waived,
                by: "the counter".to_owned(),
                reason: "as agreed".to_owned(),
            });
        }
        assert_eq!(bench.state(ticket), None);
        let taken = bench.accepted(cancel(3, 1));
        assert_eq!(bench.sent(), [taken.0]);
    }
}

#[test]
fn an_open_ticket_is_known_after_a_restart() {
    let (bench, _) = ticketed();
    let mut machine = Machine::new(settings(), Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| machine.apply(Seq(0), &change));
    machine.link_carried();
    let mut again = Bench::with(settings(), NOW);
    again.machine = machine;
    assert!(refused(again.submit(cancel(3, 1))));
    again.accepted(cancel(4, 2));
}

#[test]
fn a_cancel_behind_what_becomes_a_ticket_needs_its_submitter_and_is_never_sent() {
    let mut bench = Bench::with(settings(), NOW);
    let before = bench.accepted(cancel(1, 1));
    let request_1 = bench.accepted(request(2, 1));
    let cancel_1 = bench.accepted(cancel(3, 1));
    let elsewhere = bench.accepted(cancel(4, 2));
    let last = bench.accepted(request(5, 1));
    assert_eq!(bench.sent(), [before.0, elsewhere.0]);
    bench.settle(Outcome::Applied(answer("{}")));
    bench.settle(Outcome::Applied(answer("{}")));
    assert_eq!(bench.sent(), [request_1.0], "its cancel stays behind it");
    close_gate(&mut bench);
    let reason = TransientReason::Unreachable;
    bench.settle(Outcome::Transient { reason, retry_after: None });
    assert_eq!(bench.state(request_1), Some(State::Ticketed));
    assert_eq!(bench.state(cancel_1), Some(State::ActionRequired));
    let receipt = bench.submit(cancel(3, 1));
    assert!(matches!(receipt, Some(Reply::Accepted { duplicate: true, .. })), "{receipt:?}");
    bench.order(Command::OpenGate { cells: requests() });
    bench.now = at("2022-08-13T10:00:01+08:00");
    bench.step(Event::Tick);
    assert!(bench.out.is_empty(), "{:?}", bench.sent());
    // Which of the two holds is its submitter's word: taken back, the rest of the visit goes on.
    bench.step(Event::Withdraw {
        reply: holdover::engine::event::ReplyTo(901),
        institution: "H11010500001".parse().unwrap(),
        transaction: cancel_1,
        reason: "it never took effect".to_owned(),
    });
    assert_eq!((bench.state(cancel_1), bench.sent()), (None, vec![last.0]));
}

#[test]
fn the_defaults_keep_a_cancel_in_the_order_group_of_its_request() {
    let config = crate::notice_policy::shipped();
    let cancels = config.catalogue.lines.iter().filter(|line| line.operation == Operation::Cancel);
    let mut seen = 0;
    for cancel in cancels {
        let request = config.catalogue.line(&cancel.business, Operation::Request).unwrap();
        assert_eq!(cancel.order_group, request.order_group, "{}", cancel.name());
        seen += 1;
    }
    assert_eq!(seen, 4);
}
