//! What a receipt says of the gate: decided in the step, for every state that a gate can have.

use crate::engine_scenarios::{Bench, at, settlement, upstream, window};
use crate::engine_support::{cell, settings, submission};
use holdover::domain::gate::GateState;
use holdover::domain::policy::{Advice, Disposition};
use holdover::domain::window::Proof;
use holdover::engine::change::Accepted;
use holdover::engine::event::{Command, Event, Live, Reply, Submission};
use std::sync::Arc;
use std::time::Duration;

fn bench() -> Bench {
    Bench::with(settings(), "2022-08-12T10:00:00+08:00")
}

/// A filing for the part `b`.
fn filing(number: u128) -> Submission {
    submission(cell("b", "filing.one"), number, number)
}

/// A settlement for the part `a` that nobody waits for.
fn unattended(number: u128) -> Submission {
    Submission { wait: None, ..settlement(number) }
}

/// The record of a submission that is answered at once.
fn record(bench: &mut Bench, submission: Submission) -> Arc<Accepted> {
    match bench.submit(submission) {
        Some(Reply::Accepted { accepted: Some(record), .. }) => record,
        other => panic!("{other:?}"),
    }
}

fn gate(bench: &Bench, part: &str, business: &str) -> GateState {
    bench.machine.gate(&cell(part, business)).unwrap()
}

#[test]
fn whoever_waits_for_a_core_at_a_stop_hears_that_it_was_kept_and_is_not_final() {
    let mut bench = bench();
    assert!(bench.submit(settlement(1)).is_none(), "its core has not answered");
    bench.step(Event::Stop);
    let told: Vec<_> = bench.replies.iter().map(|(_, reply)| reply).collect();
    let [Reply::Accepted { accepted: Some(_), live: Some(live), .. }] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(matches!(live, Live::DoNotFinalise), "{live:?}");
}

#[test]
fn an_operators_closing_is_told_until_it_is_opened() {
    let mut bench = bench();
    assert!(!record(&mut bench, filing(1)).told.kept);
    let until = at("2022-08-12T20:00:00+08:00");
    bench.order(Command::CloseGate { cells: upstream("b"), until });
    assert!(record(&mut bench, filing(2)).told.kept);
    bench.order(Command::OpenGate { cells: upstream("b") });
    assert!(!record(&mut bench, filing(3)).told.kept);
}

#[test]
fn a_part_that_is_away_or_coming_back_is_told_until_it_is_open() {
    let mut bench = bench();
    let mut number = 0;
    let mut told = |bench: &mut Bench| {
        number += 1;
        let kept = record(bench, filing(number)).told.kept;
        (gate(bench, "b", "filing.one"), kept)
    };
    assert_eq!(told(&mut bench), (GateState::Open, false));
    for _ in 0..3 {
        bench.probe("b", false);
    }
    assert_eq!(told(&mut bench), (GateState::ClosedByProbe, true));
    bench.probe("b", true);
    assert_eq!(told(&mut bench), (GateState::Verifying, true));
    for _ in 0..2 {
        bench.probe("b", true);
    }
    assert_eq!(told(&mut bench), (GateState::Reopening, true));
    let now = bench.now.after(Duration::from_secs(61));
    bench.now = now;
    assert_eq!(told(&mut bench), (GateState::Open, false));
}

#[test]
fn what_somebody_waits_for_is_tried_while_a_part_reopens_and_is_not_told_as_kept() {
    let mut bench = bench();
    for good in [false, false, false, true, true, true] {
        bench.probe("a", good);
    }
    assert!(bench.submit(settlement(1)).is_none(), "the client waits");
    assert_eq!(gate(&bench, "a", "settlement.outpatient"), GateState::Reopening);
    let (waited_for, ..) = bench.out[0].at_hand.clone().unwrap();
    assert!(!waited_for.told.kept);
    assert!(!record(&mut bench, unattended(2)).told.kept, "a settlement is tried at once");
    let mut live = submission(cell("a", "filing.two"), 3, 3);
    live.wait = Some(Duration::from_secs(5));
    bench.submit(live);
    let (live, ..) = bench.out.last().unwrap().at_hand.clone().unwrap();
    assert!(!live.told.kept);
}

#[test]
fn a_settlement_at_a_closed_gate_is_a_ticket_from_the_beginning() {
    let mut bench = bench();
    for _ in 0..3 {
        bench.probe("a", false);
    }
    let record = record(&mut bench, unattended(1));
    assert!(record.told.kept);
    assert_eq!(record.ticket_after, Some(record.at), "it was not tried at all");
    assert_eq!(record.told.advice, Advice::ChargeFull);
    assert!(bench.sent().is_empty());
}

#[test]
fn what_a_window_holds_is_told_by_its_disposition_as_before() {
    let mut bench = bench();
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::HoldForRelease))));
    bench.set("2022-08-13T10:00:00+08:00");
    let held = record(&mut bench, filing(1));
    assert_eq!((held.told.disposition, held.told.kept), (Disposition::HoldForRelease, false));
    // Restored, not released: it waits for a person like what came before.
    let (window, cells, proof) = ("stop".parse().unwrap(), upstream("b"), Proof::Signed);
    bench.order(Command::Restore { window, cells, ready_from: None, proof });
    let waits = record(&mut bench, filing(2));
    assert_eq!(gate(&bench, "b", "filing.one"), GateState::AwaitingRelease);
    assert_eq!((waits.told.disposition, waits.told.kept), (Disposition::HoldForRelease, false));
    bench.order(Command::Release { window: "stop".parse().unwrap(), cells: upstream("b") });
    assert_eq!(record(&mut bench, filing(3)).told.disposition, Disposition::Pass);
}
