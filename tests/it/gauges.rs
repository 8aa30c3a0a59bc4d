//! What monitoring is told of the engine: time before a closed gate counts for nobody, what waits
//! behind another is not due, and a date that nobody moved is named.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{answer, cell, settings, submission};
use holdover::domain::cell::Selector;
use holdover::domain::deadline::Rule;
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::time::Timestamp;
use holdover::domain::window::{Proof, Window};
use holdover::engine::event::{Command, Done, Event, Reply};
use holdover::engine::machine::Machine;
use holdover::engine::view::ReplayView;

fn declared(window: Window) -> Bench {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window)));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench
}

/// What waits for upstream b.
fn replay(bench: &Bench) -> ReplayView {
    let mut views = bench.machine.replays(bench.now);
    views.retain(|view| view.upstream.as_str() == "b");
    views.remove(0)
}

fn due_since(bench: &Bench) -> Option<Timestamp> {
    replay(bench).due_since
}

fn restore(bench: &mut Bench) {
    let window = "stop".parse().unwrap();
    let command =
        Command::Restore { window, cells: upstream("b"), ready_from: None, proof: Proof::Signed };
    let reply = bench.order(command);
    assert!(matches!(reply, Some(Reply::Done(_))), "{reply:?}");
}

fn apply_all(bench: &mut Bench) {
    while !bench.out.is_empty() {
        bench.settle(Outcome::Applied(answer("ok")));
    }
}

#[test]
fn what_a_window_holds_is_due_from_the_opening_of_its_gate_and_not_before() {
    let mut bench = declared(window(Disposition::Hold));
    bench.set("2022-08-12T19:00:00+08:00");
    for number in 1..=20 {
        bench.accepted(submission(cell("b", "filing.one"), number, number));
    }
    bench.set("2022-08-15T05:00:00+08:00");
    let held = replay(&bench);
    assert_eq!((held.held, held.remaining, held.due_since), (20, 0, None), "59 hours in");
    let stopped: Vec<_> = bench.machine.replays(bench.now).into_iter().map(|v| v.stopped).collect();
    assert_eq!(stopped, [false, true], "of the two upstreams the second");
    restore(&mut bench);
    // Eight are out, or as many as the ramp lets go; the others have been due for as long.
    let opened = at("2022-08-15T05:00:00+08:00");
    assert_eq!(due_since(&bench), Some(opened));
    bench.set("2022-08-15T05:10:00+08:00");
    let now = replay(&bench);
    assert_eq!((now.held, now.due_since), (0, Some(opened)));
    assert!(now.remaining >= 12, "{now:?}");
    while replay(&bench).remaining > 0 {
        apply_all(&mut bench);
        bench.step(Event::Tick);
    }
    assert_eq!(due_since(&bench), None);
}

#[test]
fn a_restart_in_the_middle_of_a_replay_does_not_forget_when_the_gate_opened() {
    let mut bench = declared(window(Disposition::Hold));
    bench.set("2022-08-12T19:00:00+08:00");
    for number in 1..=20 {
        bench.accepted(submission(cell("b", "filing.one"), number, number));
    }
    bench.set("2022-08-15T05:00:00+08:00");
    restore(&mut bench);
    // The ramp ends at 05:01.
    bench.set("2022-08-15T05:01:00+08:00");
    bench.set("2022-08-15T05:10:00+08:00");
    let mut folded = Machine::new(settings(), Box::new(crate::engine_support::NoRuns));
    for (seq, change) in (1..).zip(&bench.journal) {
        folded.apply(holdover::domain::ids::Seq(seq), change);
    }
    bench.machine = folded;
    bench.step(Event::Tick);
    assert_eq!(due_since(&bench), Some(at("2022-08-15T05:00:00+08:00")));
}

#[test]
fn a_failing_core_leaves_its_oldest_due_and_what_waits_behind_it_is_not() {
    let mut bench = Bench::with(settings(), "2022-08-01T10:00:00+08:00");
    let first = bench.accepted(submission(cell("b", "filing.one"), 1, 7));
    bench.now = at("2022-08-01T10:01:00+08:00");
    bench.accepted(submission(cell("b", "filing.one"), 2, 7));
    assert_eq!(due_since(&bench), None, "the first is out, the second behind it");
    assert_eq!(replay(&bench).remaining, 1);
    let busy = || Outcome::Transient { reason: TransientReason::Busy, retry_after: None };
    bench.settle(busy());
    assert_eq!(due_since(&bench), Some(at("2022-08-01T10:00:00+08:00")), "to be tried again");
    for minute in 2..5 {
        bench.set(&format!("2022-08-01T10:0{minute}:00+08:00"));
        bench.settle(busy());
    }
    assert_eq!(bench.state(first), Some(holdover::domain::state::State::DeadLettered));
    assert_eq!(replay(&bench).remaining, 1);
    assert_eq!(due_since(&bench), None, "a person must act, the core is not late");
}

#[test]
fn an_operators_closing_counts_for_nobody() {
    let mut bench = Bench::with(settings(), "2022-08-01T10:00:00+08:00");
    let until = at("2022-08-01T12:00:00+08:00");
    bench.order(Command::CloseGate { cells: Selector::default(), until });
    for number in 1..=20 {
        bench.accepted(submission(cell("b", "filing.one"), number, number));
    }
    assert_eq!((replay(&bench).held, due_since(&bench)), (20, None));
    bench.set("2022-08-01T12:00:00+08:00");
    assert_eq!(due_since(&bench), Some(until));
}

/// A stop of b that moves no deadline, or says that it moves none.
fn silent(rule: Option<Rule>) -> Window {
    let mut stop = window(Disposition::Hold);
    stop.deadlines = stop.deadlines.filter(|_| rule.is_some());
    if let (Some(deadlines), Some(rule)) = (&mut stop.deadlines, rule) {
        deadlines.rule = rule;
    }
    stop
}

/// The date at risk at `now`, with the 13th and the 20th known.
fn at_risk(stop: Window, now: &str) -> Option<Timestamp> {
    let mut bench = declared(stop);
    for original in ["2022-08-13", "2022-08-20"] {
        let business = "filing.one".parse().unwrap();
        let original: holdover::domain::time::CivilDate = original.parse().unwrap();
        let reply =
            bench.ask(|reply| Event::CheckDeadline { reply, business, original: original.into() });
        assert!(matches!(reply, Some(Reply::Deadline { .. })), "{reply:?}");
        // A transaction makes its date known.
        let mut one = submission(cell("b", "filing.one"), bench.journal.len() as u128 + 50, 50);
        one.deadline = Some(original);
        bench.accepted(one);
    }
    bench.set(now);
    bench.machine.deadlines(bench.now).at_risk
}

#[test]
fn a_date_inside_a_stop_is_at_risk_where_no_rule_moves_it() {
    let inside = "2022-08-13T10:00:00+08:00";
    let end_of_the_13th = at("2022-08-14T00:00:00+08:00");
    assert_eq!(at_risk(silent(None), inside), Some(end_of_the_13th));
    assert_eq!(at_risk(silent(None), "2022-08-14T10:00:00+08:00"), Some(end_of_the_13th), "missed");
    assert_eq!(at_risk(silent(None), "2022-08-12T18:00:00+08:00"), None, "not begun");
    let moved = at("2022-08-16T00:00:00+08:00");
    let by_rule = at_risk(window(Disposition::Hold), inside);
    assert_eq!(by_rule, Some(moved), "moved by the rule, and still waiting when it ends");
    assert_eq!(at_risk(silent(Some(Rule::None)), inside), None, "somebody has decided it");
    let mut elsewhere = silent(None);
    elsewhere.policy = vec![row(upstream("b"), Disposition::Pass)];
    assert_eq!(at_risk(elsewhere, inside), Some(end_of_the_13th), "sent, and not answered");
}
