//! Settings that change while the engine works: gates turn and stops are declared at once, nothing
//! that was decided is decided again, and what is folded is the same under either settings.

use crate::engine_scenarios::{Bench, at};
use crate::engine_support::{answer, cell, settings, submission};
use crate::recurring::{nightly, restarted};
use crate::service_hours::hours;
use holdover::domain::cell::Selector;
use holdover::domain::gate::GateState;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::engine::adjust::Adjustable;
use holdover::engine::change::Change;
use holdover::engine::event::Event;
use holdover::engine::settings::Settings;
use std::sync::atomic::Ordering;
use std::time::Duration;

const NOON: &str = "2021-10-12T12:00:00+08:00";

/// Filings are open for an hour after 13:00.
fn afternoon() -> Settings {
    let mut one = hours("from = '13:00'\nuntil = '14:00'");
    one.row.disposition = Some(Disposition::Hold);
    one.row.cells = Selector {
        business: vec!["filing.one".to_owned().try_into().unwrap()],
        ..Selector::default()
    };
    let mut settings = settings();
    settings.service_hours.push(one);
    settings
}

fn adjust(bench: &mut Bench, settings: Settings) {
    bench.step(Event::Adjusted(Box::new(Adjustable::of(settings))));
}

fn windows(bench: &Bench) -> usize {
    bench.journal.iter().filter(|change| matches!(change, Change::WindowSet(_))).count()
}

#[test]
fn service_hours_close_and_open_gates_at_once_and_stop_what_has_not_begun() {
    let mut bench = Bench::with(settings(), NOON);
    let filing = cell("b", "filing.one");
    let first = bench.accepted(submission(filing.clone(), 1, 1));
    assert_eq!(bench.sent(), [first.0]);
    adjust(&mut bench, afternoon());
    assert_eq!(bench.machine.gate(&filing), Some(GateState::ClosedBySchedule));
    let order = &bench.out[0];
    assert_eq!(order.gate.load(Ordering::SeqCst), order.epoch + 1, "its first byte is not sent");
    let second = bench.accepted(submission(filing.clone(), 2, 2));
    assert_eq!(bench.sent(), [first.0], "what comes now is held");
    assert_eq!(bench.machine.next_due(), Some(at("2021-10-12T13:00:00+08:00")));
    // What was begun ends as it does, whatever the settings are by then.
    bench.settle(Outcome::Applied(answer("ok")));
    bench.set("2021-10-12T13:00:00+08:00");
    assert_eq!(bench.sent(), [second.0]);
    bench.set("2021-10-12T14:00:00+08:00");
    assert_eq!(bench.machine.gate(&filing), Some(GateState::ClosedBySchedule));
    adjust(&mut bench, settings());
    assert_eq!(bench.machine.gate(&filing), Some(GateState::Open));
}

#[test]
fn a_recurring_stop_that_is_new_is_declared_once_and_one_that_is_gone_takes_back_nothing() {
    let mut bench = Bench::with(settings(), NOON);
    let mut planned = nightly("0 23 * * *");
    planned.limits.recurring_ahead = Duration::from_secs(86_400);
    adjust(&mut bench, planned.clone());
    assert_eq!(windows(&bench), 1);
    adjust(&mut bench, planned.clone());
    assert_eq!(windows(&bench), 1);
    planned.limits.recurring_ahead = Duration::from_secs(3 * 86_400);
    adjust(&mut bench, planned);
    assert_eq!(windows(&bench), 3, "it is looked further ahead");
    adjust(&mut bench, settings());
    assert_eq!(windows(&bench), 3);
    assert_eq!(bench.machine.left_alone(bench.now).len(), 3);
}

#[test]
fn retries_bounds_and_proof_go_by_the_newer_settings() {
    let mut bench = Bench::with(settings(), NOON);
    let mut strict = settings();
    strict.limits.open_transactions_max = 1;
    let filing = cell("b", "filing.one");
    let first = bench.accepted(submission(filing.clone(), 1, 1));
    adjust(&mut bench, strict);
    let refused = bench.submit(submission(filing.clone(), 2, 2));
    assert!(!matches!(refused, Some(holdover::engine::event::Reply::Accepted { .. })));
    adjust(&mut bench, settings());
    bench.accepted(submission(filing, 2, 2));
    assert_eq!(bench.state(first), Some(State::InFlight));
}

#[test]
fn the_fold_is_the_same_under_either_settings() {
    let mut bench = Bench::with(settings(), NOON);
    for number in 1..=5 {
        bench.accepted(submission(cell("b", "filing.one"), number, number));
    }
    adjust(&mut bench, afternoon());
    for number in 6..=9 {
        bench.accepted(submission(cell("b", "filing.one"), number, number));
    }
    let [before, after] =
        [settings(), afternoon()].map(|settings| restarted(&bench, settings, NOON));
    assert_eq!(before.machine.books().accepted().items, 9);
    assert_eq!(before.machine.books(), after.machine.books());
    let snapshots: [Vec<Change>; 2] =
        [&before, &after].map(|bench| bench.machine.snapshot().collect());
    assert_eq!(snapshots[0], snapshots[1], "recovery decides the same");
    let filing = cell("b", "filing.one");
    assert_eq!(before.machine.gate(&filing), Some(GateState::Open));
    assert_eq!(after.machine.gate(&filing), Some(GateState::ClosedBySchedule));
}
