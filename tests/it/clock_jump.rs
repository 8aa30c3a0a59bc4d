//! The wall clock is set while the daemon runs: what a window closed stays closed, nothing that
//! was closed is let go, dates are not moved for it, and the rest goes on.

use crate::engine_scenarios::{Bench, at, upstream, window};
use crate::engine_support::{NoRuns, answer, cell, settings, submission};
use crate::house::Nowhere;
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::ids::{InstitutionCode, InsuredHash, Seq};
use holdover::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::time::{Monotonic, Now, Timestamp};
use holdover::engine::change::{Case, Change};
use holdover::engine::event::{Command, Done, Event, Fault, Reply, ReplyTo};
use holdover::engine::machine::Machine;
use holdover::engine::ports::{AppendError, Clock, Journal, Later};
use holdover::engine::run;
use holdover::engine::settings::Settings;
use holdover::engine::step::Decision;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const HOURS_2: i64 = 2 * 3_600_000;

fn watchful() -> Settings {
    let mut settings = settings();
    settings.limits.clock_jump_max = Some(Duration::from_secs(60));
    settings
}

fn filing() -> Cell {
    cell("b", "filing.one")
}

/// In the stop of 12 to 15 August, with one transaction held and the time of the morning.
fn stopped(now: &str) -> (Bench, Seq) {
    let mut bench = Bench::with(watchful(), "2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench.set("2022-08-12T20:00:00+08:00");
    let held = bench.accepted(submission(filing(), 1, 1));
    bench.set(now);
    (bench, held)
}

fn gate(bench: &Bench) -> Option<GateState> {
    bench.machine.gate(&filing())
}

fn good_probes(bench: &mut Bench) {
    for _ in 0..5 {
        bench.probe("b", true);
    }
}

#[test]
fn two_hours_forward_open_nothing_early_and_the_rest_goes_on() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    bench.step(Event::RegisterDeadline {
        reply: ReplyTo(900),
        case: Case {
            institution: "H11010500001".parse().unwrap(),
            business: "filing.one".parse().unwrap(),
            original: "2022-08-14".parse().unwrap(),
            reference: InsuredHash(1),
            ground: None,
            owed_by: None,
        },
    });
    let told = |bench: &Bench| {
        let business = "filing.one".parse().unwrap();
        let original = "2022-08-14".parse().unwrap();
        bench.machine.deadline(&business, original, bench.now).unwrap().date
    };
    let date = told(&bench);
    bench.ahead_ms = HOURS_2;
    good_probes(&mut bench);
    assert_eq!(gate(&bench), Some(GateState::ClosedByClock));
    assert!(bench.sent().is_empty(), "the clock shows 07:00, it is 05:00");
    assert_eq!(bench.machine.clock_doubt().map(|d| d.ahead_ms()), Some(HOURS_2));
    let view = &bench.machine.gates(bench.now)[0];
    assert!(view.window.is_some(), "the gate still names its window");
    assert_eq!(told(&bench), date);
    let other = bench.accepted(submission(cell("a", "filing.two"), 2, 2));
    assert_eq!(bench.sent(), [other.0], "no window touches it");
    bench.settle(Outcome::Applied(answer("ok")));

    // Even past the end by both clocks: probes prove nothing while the clock is not believed.
    bench.set("2022-08-15T06:30:00+08:00");
    good_probes(&mut bench);
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByClock), Vec::new()));

    bench.ahead_ms = 900;
    bench.set("2022-08-15T06:31:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::Verifying));
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn a_clock_that_comes_back_before_the_end_leaves_the_stop_as_it_was() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    bench.ahead_ms = HOURS_2;
    good_probes(&mut bench);
    bench.ahead_ms = 0;
    bench.set("2022-08-15T05:10:00+08:00");
    good_probes(&mut bench);
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByWindow), Vec::new()));
    bench.set("2022-08-15T06:00:00+08:00");
    assert!(bench.sent().is_empty());
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn two_hours_back_lose_no_hold_and_time_does_not_stand_still() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    let other = bench.accepted(submission(cell("a", "filing.two"), 2, 2));
    bench.ahead_ms = -HOURS_2;
    let busy = Outcome::Transient { reason: TransientReason::Busy, retry_after: None };
    bench.settle(busy);
    let due = bench.machine.next_due().unwrap();
    assert!(due < at("2022-08-15T03:01:00+08:00"), "told as the wall clock will show it: {due}");
    bench.set("2022-08-15T05:00:30+08:00");
    assert_eq!(bench.sent(), [other.0], "the retry came in its time");
    bench.settle(Outcome::Applied(answer("ok")));
    let late = bench.accepted(submission(filing(), 3, 3));
    assert_eq!(bench.machine.transaction(late).unwrap().at, at("2022-08-15T05:00:30+08:00"));
    bench.set("2022-08-15T06:30:00+08:00");
    good_probes(&mut bench);
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByClock), Vec::new()));
    assert_eq!(bench.state(held), Some(State::Waiting));
    bench.ahead_ms = 0;
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0, late.0]);
}

#[test]
fn two_hours_back_end_no_closing_and_put_off_no_stop() {
    let mut bench = Bench::with(watchful(), "2022-08-12T18:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    let until = at("2022-08-12T19:30:00+08:00");
    let other = cell("a", "filing.two");
    bench.order(Command::CloseGate { cells: upstream("a"), until });
    bench.accepted(submission(other.clone(), 1, 1));
    bench.ahead_ms = -HOURS_2;
    bench.set("2022-08-12T18:59:59+08:00");
    let last = bench.accepted(submission(filing(), 2, 2));
    assert_eq!(bench.sent(), [last.0]);
    let sent = bench.out.remove(0);
    let on_the_wall = at("2022-08-12T17:00:00+08:00");
    assert_eq!(sent.not_after, Some(on_the_wall), "19:00, as the clock shows it");
    bench.set("2022-08-12T19:00:00+08:00");
    bench.accepted(submission(filing(), 3, 3));
    assert!(!gate(&bench).unwrap().lets_through() && bench.sent().is_empty());
    // Half past seven by the time that has passed, half past five by the clock.
    bench.set("2022-08-12T19:30:00+08:00");
    assert_eq!(bench.machine.gate(&other), Some(GateState::ClosedByOperator));
    bench.set("2022-08-12T21:30:00+08:00");
    assert_eq!(bench.machine.gate(&other), Some(GateState::Open));
}

#[test]
fn a_clock_set_into_a_stop_closes_its_gates() {
    let mut bench = Bench::with(watchful(), "2022-08-12T18:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.accepted(submission(filing(), 1, 1));
    bench.settle(Outcome::Applied(answer("ok")));
    bench.ahead_ms = HOURS_2;
    bench.set("2022-08-12T18:00:01+08:00");
    assert_eq!(gate(&bench), Some(GateState::ClosedByClock), "it may be eight o'clock");
    bench.ahead_ms = 0;
    bench.set("2022-08-12T18:00:02+08:00");
    assert_eq!(gate(&bench), Some(GateState::Open));
}

#[test]
fn a_person_may_restore_what_the_clock_keeps_closed() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    bench.ahead_ms = HOURS_2;
    bench.set("2022-08-15T05:00:01+08:00");
    let proof = holdover::domain::window::Proof::Signed;
    bench.order(Command::Restore {
        window: "stop".parse().unwrap(),
        cells: Selector::default(),
        ready_from: None,
        proof,
    });
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn a_clock_that_an_operator_accepts_is_followed_and_proved_by_fresh_probes() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    let refused = bench.order(Command::TrustClock);
    assert!(
        matches!(refused, Some(Reply::Invalid(Fault::WrongState { .. }))),
        "there is nothing to accept: {refused:?}"
    );
    bench.ahead_ms = HOURS_2;
    good_probes(&mut bench);
    let accepted = bench.order(Command::TrustClock);
    let Some(Reply::Done(Done::Gates(gates))) = accepted else { panic!("{accepted:?}") };
    assert_eq!(gates[0].1, GateState::Verifying);
    assert_eq!(bench.machine.clock_doubt(), None);
    assert!(bench.sent().is_empty(), "probes from before prove nothing after the end");
    bench.probe("b", true);
    bench.probe("b", true);
    assert!(bench.sent().is_empty());
    bench.probe("b", true);
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn an_earlier_time_that_is_accepted_opens_nothing_before_its_end() {
    let (mut bench, held) = stopped("2022-08-15T05:00:00+08:00");
    bench.ahead_ms = -HOURS_2;
    bench.set("2022-08-15T05:00:01+08:00");
    bench.order(Command::TrustClock);
    assert_eq!(bench.machine.clock_doubt(), None);
    for (true_time, open) in [("07:00", false), ("07:59", false), ("08:00", true)] {
        bench.set(&format!("2022-08-15T{true_time}:00+08:00"));
        good_probes(&mut bench);
        assert_eq!(bench.sent() == [held.0], open, "{true_time}");
    }
}

/// A year ahead for a while, by a person's mistake, and then taken back.
fn back_after_a_year(bench: &mut Bench, during: impl FnOnce(&mut Bench)) {
    const YEAR: i64 = 365 * 24 * HOURS_2 / 2;
    bench.step(Event::Tick);
    let accept = |bench: &mut Bench, ahead_ms: i64| {
        bench.ahead_ms = ahead_ms;
        bench.step(Event::Tick);
        assert!(bench.machine.clock_doubt().is_some());
        bench.order(Command::TrustClock);
        assert_eq!(bench.machine.clock_doubt(), None);
    };
    accept(bench, YEAR);
    during(bench);
    accept(bench, 0);
}

#[test]
fn what_was_put_off_while_the_clock_was_a_year_ahead_is_not_put_off_for_a_year() {
    let mut bench = Bench::with(watchful(), "2022-08-12T17:00:00+08:00");
    let other = || cell("a", "filing.two");
    let (mut retried, mut doubtful) = (Seq(0), Seq(0));
    back_after_a_year(&mut bench, |bench| {
        let until = bench.machine.time_at(bench.reads()).after(Duration::from_secs(3600));
        bench.order(Command::CloseGate { cells: upstream("b"), until });
        bench.accepted(submission(filing(), 3, 3));
        retried = bench.accepted(submission(other(), 1, 1));
        doubtful = bench.accepted(submission(other(), 2, 2));
        bench.settle(Outcome::Transient { reason: TransientReason::Busy, retry_after: None });
        bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
    });
    assert!(bench.sent().is_empty(), "what was to wait a little still waits a little");
    assert_eq!(gate(&bench), Some(GateState::ClosedByOperator), "a closing holds");
    assert_eq!(bench.machine.oldest().0, Some(bench.now), "it has waited since no later time");
    bench.set("2022-08-12T17:00:29+08:00");
    assert_eq!(bench.sent(), [retried.0]);
    let not_found = |bench: &mut Bench| {
        assert_eq!(bench.asks, [doubtful]);
        bench.asks.clear();
        let finding = Finding::NotFound { fenced: false };
        bench.step(Event::Found { transaction: doubtful, finding });
    };
    // Of the thirty seconds that the core may take, none is known to have passed before.
    not_found(&mut bench);
    assert_eq!(bench.state(doubtful), Some(State::InDoubt));
    bench.set("2022-08-12T17:00:31+08:00");
    not_found(&mut bench);
    assert_eq!(bench.sent(), [retried.0, doubtful.0]);
}

#[test]
fn a_question_that_was_asked_while_the_clock_was_ahead_proves_nothing_after_it() {
    let mut bench = Bench::with(watchful(), "2022-08-12T17:00:00+08:00");
    let mut doubtful = Seq(0);
    back_after_a_year(&mut bench, |bench| {
        doubtful = bench.accepted(submission(cell("a", "filing.two"), 2, 2));
        bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
        bench.order(Command::AskNow(doubtful));
    });
    assert_eq!(bench.asks, [doubtful]);
    let finding = Finding::NotFound { fenced: false };
    bench.step(Event::Found { transaction: doubtful, finding });
    assert_eq!(bench.state(doubtful), Some(State::InDoubt));
}

#[test]
fn a_stop_that_a_wrong_clock_had_ended_is_on_again_and_a_date_told_stays() {
    let (mut bench, held) = stopped("2022-08-13T05:00:00+08:00");
    let date = |bench: &Bench| {
        let (business, original) = ("filing.one".parse().unwrap(), "2022-08-13".parse().unwrap());
        bench.machine.deadline(&business, original, bench.now).unwrap().date
    };
    bench.step(Event::RegisterDeadline {
        reply: ReplyTo(900),
        case: Case {
            institution: "H11010500001".parse::<InstitutionCode>().unwrap(),
            business: "filing.one".parse().unwrap(),
            original: "2022-08-13".parse().unwrap(),
            reference: InsuredHash(1),
            ground: None,
            owed_by: None,
        },
    });
    let told = date(&bench);
    back_after_a_year(&mut bench, |bench| {
        good_probes(bench);
        assert_eq!(bench.sent(), [held.0], "the planned end has passed by this clock");
        bench.settle(Outcome::Transient { reason: TransientReason::Busy, retry_after: None });
    });
    bench.set("2022-08-13T05:10:00+08:00");
    good_probes(&mut bench);
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByWindow), Vec::new()));
    assert!(date(&bench) >= told);
    bench.set("2022-08-15T06:00:00+08:00");
    assert!(bench.sent().is_empty(), "probes of next year prove nothing");
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn an_accepted_clock_is_journaled_with_who_and_why() {
    let mut bench = Bench::with(watchful(), "2022-08-12T17:00:00+08:00");
    back_after_a_year(&mut bench, |_| {});
    let accepted: Vec<_> = bench
        .journal
        .iter()
        .filter_map(|change| match change {
            Change::ClockAccepted { by, reason, at } => Some((by.as_str(), reason.as_str(), *at)),
            _ => None,
        })
        .collect();
    let next_year = at("2023-08-12T17:00:00+08:00");
    let expected = [next_year, bench.now].map(|at| ("operator", "because", at));
    assert_eq!(accepted, expected);
}

struct NoDisk;

impl Journal for NoDisk {
    fn append(&mut self, _changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<(), AppendError> {
        Ok(())
    }
}

/// A wall clock that is set by hand beside a monotonic clock that stands.
struct ByHand {
    wall_ms: AtomicI64,
    is_virtual: bool,
}

impl Clock for ByHand {
    fn now(&self) -> Now {
        let wall = Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst));
        Now { wall, monotonic: Monotonic(0) }
    }
    fn sleep_until(&self, _at: Timestamp) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn is_virtual(&self) -> bool {
        self.is_virtual
    }
}

#[tokio::test]
async fn the_running_engine_doubts_the_clock_of_the_machine_and_not_that_of_a_driver() {
    for is_virtual in [false, true] {
        let wall_ms = AtomicI64::new(at("2022-08-15T05:00:00+08:00").as_millis());
        let clock = Arc::new(ByHand { wall_ms, is_virtual });
        let machine = Machine::new(watchful(), Box::new(NoRuns));
        let (journal, outlet) = (Box::new(NoDisk), Box::new(Nowhere));
        let parts = run::assemble(machine, Decision::default(), journal, outlet, clock.clone());
        let worker = parts.worker;
        let running = std::thread::spawn(move || worker.run().1.unwrap());
        let engine = parts.handle;
        engine.read(|_, _| ()).await.unwrap();
        clock.wall_ms.fetch_add(HOURS_2, Ordering::SeqCst);
        // Looking is enough to notice it; whoever looks next sees it.
        engine.read(|_, _| ()).await.unwrap();
        let seen = engine.read(|machine, now| (machine.clock_doubt(), now.wall)).await.unwrap();
        let (doubt, now) = seen;
        assert_eq!(doubt.is_some(), !is_virtual);
        assert_eq!(parts.clock.now().wall, now, "whoever does not ask the engine knows it too");
        assert_eq!(parts.clock.doubt(), doubt);
        let expected = if is_virtual { "07:00" } else { "05:00" };
        assert_eq!(now, at(&format!("2022-08-15T{expected}:00+08:00")));
        engine.close().await;
        running.join().unwrap();
    }
}

#[tokio::test]
async fn intake_goes_by_the_time_that_the_engine_believes() {
    let now = at(crate::intake_rig::NOW);
    let clock = Arc::new(ByHand { wall_ms: AtomicI64::new(now.as_millis()), is_virtual: false });
    let machine = Machine::new(watchful(), Box::new(NoRuns));
    let (journal, outlet) = (Box::new(NoDisk), Box::new(Nowhere));
    let parts = run::assemble(machine, Decision::default(), journal, outlet, clock.clone());
    let worker = parts.worker;
    let running = std::thread::spawn(move || worker.run().1.unwrap());
    let engine = parts.handle;
    let limits = crate::intake_rig::limits();
    let (journal, seen) = <_>::default();
    let rig =
        crate::intake_rig::rig_before(engine.clone(), journal, seen, limits, parts.clock.clone());
    let submit = async |key: &str, occurred: Timestamp| {
        let body = crate::intake_rig::body(|body| {
            body["occurred_at"] = serde_json::json!(occurred.to_string());
            body["received_from_person_at"] = serde_json::json!(occurred.to_string());
        });
        let answered = rig.submit(key, body).await;
        (answered.status.as_u16(), answered.pointers())
    };
    assert_eq!(submit("before", now).await.0, 202);
    // Nobody has told the engine yet that the clock was set.
    let in_an_hour = now.after(Duration::from_secs(3600));
    clock.wall_ms.fetch_add(HOURS_2, Ordering::SeqCst);
    let (status, pointers) = submit("in-an-hour", in_an_hour).await;
    assert_eq!((status, pointers[0].as_str()), (422, "/occurred_at"));
    clock.wall_ms.fetch_sub(2 * HOURS_2, Ordering::SeqCst);
    assert_eq!(submit("now", now).await.0, 202, "it is not in the future");
    engine.close().await;
    running.join().unwrap();
}
