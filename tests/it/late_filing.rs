//! What happened in a stop and is filed after it: taken, tagged with that stop, tied to its ticket, and
//! given the date that the stop moved.

use crate::engine_scenarios::{Bench, at, upstream, window};
use crate::engine_support::{answer, cell, settings, submission};
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::window::Proof;
use holdover::engine::change::{Accepted, Change};
use holdover::engine::event::{Command, Event, Submission};
use std::sync::Arc;

fn bench(disposition: Disposition) -> Bench {
    let mut bench = Bench::with(settings(), "2022-08-11T10:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(disposition))));
    bench
}

/// The operator says that everything is back.
fn restore(bench: &mut Bench, when: &str) {
    bench.set(when);
    let (window, cells) = ("stop".parse().unwrap(), upstream("b"));
    bench.order(Command::Restore { window, cells, ready_from: None, proof: Proof::Signed });
}

fn filed(number: u128, occurred_at: &str) -> Submission {
    let occurred_at = at(occurred_at);
    Submission { occurred_at, ..submission(cell("b", "filing.one"), number, number) }
}

fn record(bench: &Bench) -> Arc<Accepted> {
    let accepted = |change: &Change| match change {
        Change::Accepted(record) => Some(record.clone()),
        _ => None,
    };
    bench.journal.iter().rev().find_map(accepted).unwrap()
}

fn tag(bench: &mut Bench, number: u128, occurred_at: &str) -> Option<String> {
    bench.accepted(filed(number, occurred_at));
    record(bench).told.incurred_in.as_ref().map(ToString::to_string)
}

#[test]
fn what_happened_in_a_stop_that_is_over_is_tagged_with_it() {
    let stop = || Some("stop".to_owned());
    let mut bench = bench(Disposition::Hold);
    bench.set("2022-08-13T10:00:00+08:00");
    assert_eq!(tag(&mut bench, 1, "2022-08-13T09:00:00+08:00"), None, "it is not over");
    restore(&mut bench, "2022-08-15T07:10:00+08:00");
    bench.set("2022-08-20T10:00:00+08:00");
    for (number, occurred_at, expected) in [
        (2, "2022-08-12T18:59:59+08:00", None),
        (3, "2022-08-12T19:00:00+08:00", stop()),
        (4, "2022-08-13T09:00:00+08:00", stop()),
        // The actual restart counts, not the planned one.
        (5, "2022-08-15T06:30:00+08:00", stop()),
        (6, "2022-08-15T07:09:59+08:00", stop()),
        (7, "2022-08-15T07:10:00+08:00", None),
        (8, "2022-08-20T09:00:00+08:00", None),
    ] {
        assert_eq!(tag(&mut bench, number, occurred_at), expected, "{occurred_at}");
    }
    let elsewhere =
        Submission { cell: cell("a", "filing.one"), ..filed(9, "2022-08-13T09:00:00+08:00") };
    bench.accepted(elsewhere);
    assert_eq!(record(&bench).told.incurred_in, None, "that part was not stopped");
}

#[test]
fn a_late_filing_is_tied_to_the_ticket_and_has_the_date_that_the_stop_moved() {
    let mut bench = bench(Disposition::PassOrTicket);
    bench.set("2022-08-13T10:00:00+08:00");
    bench.probe("b", false);
    // The core is away: the person pays, and there is a ticket.
    let paid = bench.accepted(filed(1, "2022-08-13T10:00:00+08:00"));
    bench.settle(Outcome::Transient {
        reason: holdover::domain::outcome::TransientReason::Unreachable,
        retry_after: None,
    });
    bench.set("2022-08-13T10:01:00+08:00");
    assert_eq!(bench.state(paid), Some(State::Ticketed));
    restore(&mut bench, "2022-08-15T06:00:00+08:00");
    bench.set("2022-08-15T10:00:00+08:00");
    let late = Submission {
        replaces: Some(paid),
        deadline: Some("2022-08-13".parse().unwrap()),
        ..filed(2, "2022-08-13T10:00:00+08:00")
    };
    let filed = bench.accepted(late);
    let told = record(&bench).told.clone();
    assert_eq!(told.incurred_in.unwrap().as_str(), "stop");
    let moved = told.deadline.unwrap();
    assert_eq!((moved.to.to_string(), moved.window.as_str()), ("2022-08-16".to_owned(), "stop"));
    assert_eq!(record(&bench).replaces, Some(paid));
    bench.settle(Outcome::Applied(answer("{}")));
    assert_eq!((bench.state(paid), bench.state(filed)), (None, None));
    let closed = bench.journal.iter().any(|change| {
        matches!(change, Change::TicketClosed { transaction, by_transaction, .. }
            if *transaction == paid && *by_transaction == Some(filed))
    });
    assert!(closed, "the ticket says by what it was made good");
    bench.step(Event::Tick);
}

#[test]
fn a_stop_that_was_cancelled_or_let_everything_pass_tags_nothing() {
    let mut bench = bench(Disposition::Hold);
    bench.order(Command::CancelWindow { window: "stop".parse().unwrap(), if_version: None });
    bench.set("2022-08-20T10:00:00+08:00");
    assert_eq!(tag(&mut bench, 1, "2022-08-13T09:00:00+08:00"), None);
}
