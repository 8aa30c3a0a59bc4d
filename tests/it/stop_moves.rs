//! A stop that is made longer or shorter while it runs: what is sent, what is told, and which dates
//! come of it, in whatever order its end is moved.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{answer, cell, settings, submission};
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::deadline::Rule;
use holdover::domain::ids::InsuredHash;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::term::Deadline;
use holdover::domain::time::Timestamp;
use holdover::domain::window::{Phase, Window};
use holdover::engine::change::{Case, Change, Told, TurnedAway};
use holdover::engine::event::{Command, Done, Event, Reply, Submission};
use std::sync::Arc;

fn at_night(text: &str) -> Timestamp {
    at(&format!("2022-08-{text}:00+08:00"))
}

fn filing() -> Cell {
    cell("b", "filing.one")
}

/// A district in which the stop turns away what it holds elsewhere.
fn west() -> Cell {
    Cell { district: "110102".parse().unwrap(), ..filing() }
}

fn declared(window: Window) -> Bench {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window)));
    assert!(matches!(reply, Some(Reply::Done(_))), "{reply:?}");
    bench
}

/// A stop until Monday at six, of one part in all districts.
fn stop() -> Window {
    let mut stop = window(Disposition::Hold);
    let district = Selector { district: vec![west().district], ..upstream("b") };
    stop.policy.push(row(district, Disposition::Refuse));
    stop
}

fn moved(bench: &mut Bench, ends_at: &str) {
    let (window, ends_at) = ("stop".parse().unwrap(), at_night(ends_at));
    let order = Command::MoveWindowEnd { window, row: None, ends_at, if_version: None };
    let reply = bench.order(order);
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
}

/// One that is due on the Saturday of the stop.
fn due(cell: Cell, number: u128) -> Submission {
    let mut due = submission(cell, number, number);
    due.deadline = Some("2022-08-13".parse().unwrap());
    due
}

fn receipt(bench: &mut Bench, number: u128) -> Told {
    match bench.submit(due(filing(), number)) {
        Some(Reply::Accepted { accepted: Some(record), .. }) => record.told.clone(),
        other => panic!("{other:?}"),
    }
}

fn refusal(bench: &mut Bench, number: u128) -> Arc<TurnedAway> {
    match bench.submit(due(west(), number)) {
        Some(Reply::TurnedAway { record, .. }) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn c5_six_hours_more_at_five_minutes_to_send_nothing_and_are_told_in_the_same_step() {
    let mut bench = declared(stop());
    bench.set("2022-08-12T20:00:00+08:00");
    let planned = receipt(&mut bench, 1);
    let day = |text: &str| Deadline::Day(text.parse().unwrap());
    assert_eq!(planned.resume_at, Some(at_night("15T06:00")));
    assert_eq!(planned.deadline.unwrap().to, day("2022-08-15"));
    bench.set("2022-08-15T05:55:00+08:00");
    let before = bench.journal.len();
    moved(&mut bench, "15T12:00");
    match &bench.journal[before..] {
        [Change::WindowSet(window), Change::DeadlineTold { extension, cause, .. }] => {
            assert_eq!((window.version, window.planned.end), (2, at_night("15T12:00")));
            assert_eq!((extension.to, extension.version), (day("2022-08-16"), 2));
            assert_eq!(cause, "window");
        }
        other => panic!("one commit with the window and the date: {other:?}"),
    }
    let now = receipt(&mut bench, 2);
    assert_eq!((now.resume_at, now.row.unwrap().version), (Some(at_night("15T12:00")), 2));
    assert_eq!(now.deadline.unwrap().to, day("2022-08-16"));
    let turned = refusal(&mut bench, 3);
    assert_eq!(turned.resume_at, Some(at_night("15T12:00")));
    assert_eq!(turned.deadline.as_ref().unwrap().to, day("2022-08-16"));
    assert_eq!(bench.decides(&filing(), bench.now).resume_at, turned.resume_at);
    for minutes in 0..365 {
        bench.now = at_night("15T05:55").after(std::time::Duration::from_secs(minutes * 60));
        bench.probe("b", true);
        assert!(bench.sent().is_empty(), "at {}", bench.now);
    }
    bench.set("2022-08-15T12:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent().len(), 2, "what was held before and after the move");
}

#[test]
fn c6_an_end_four_hours_early_is_told_ends_refusals_and_lets_the_replay_begin_by_its_gate() {
    let mut bench = declared(stop());
    bench.set("2022-08-13T10:00:00+08:00");
    assert_eq!(receipt(&mut bench, 1).row.unwrap().version, 1);
    let held = bench.journal.iter().filter(|c| matches!(c, Change::Accepted(_))).count();
    bench.set("2022-08-15T01:50:00+08:00");
    moved(&mut bench, "15T02:00");
    let told = receipt(&mut bench, 2);
    assert_eq!((told.resume_at, told.row.unwrap().version), (Some(at_night("15T02:00")), 2));
    let turned = refusal(&mut bench, 3);
    assert_eq!(turned.resume_at, Some(at_night("15T02:00")));
    assert_eq!(turned.row.as_ref().unwrap().version, 2);
    (0..9).for_each(|_| bench.probe("b", true));
    bench.set("2022-08-15T02:00:00+08:00");
    assert!(bench.sent().is_empty(), "its end alone opens nothing");
    // Nobody has proved it back: still turned away, and nobody knows until when.
    let turned = refusal(&mut bench, 4);
    assert_eq!((turned.resume_at, turned.row.as_ref().unwrap().version), (None, 2));
    (0..2).for_each(|_| bench.probe("b", true));
    assert!(bench.sent().is_empty());
    bench.probe("b", true);
    assert_eq!((held, bench.sent().len()), (1, 2), "four hours before the first plan");
    let window = bench.machine.windows().remove(0);
    assert_eq!(bench.machine.phase(&window, bench.now), Phase::Completed);
    while !bench.out.is_empty() {
        bench.settle(Outcome::Applied(answer("ok")));
    }
    bench.accepted(due(west(), 5));
    assert_eq!(bench.sent().len(), 1, "nothing is turned away any more");
    assert_eq!(receipt(&mut bench, 6).row, None);
}

/// The days around the stop; a case is due on each.
const DAYS: [&str; 9] = ["10", "11", "12", "13", "14", "15", "16", "17", "18"];

fn registered(bench: &mut Bench) {
    for day in DAYS {
        let case = Case {
            institution: "H11010500001".parse().unwrap(),
            business: "filing.one".parse().unwrap(),
            original: original(day),
            reference: InsuredHash(1),
            ground: None,
            owed_by: None,
        };
        let reply = bench.ask(|reply| Event::RegisterDeadline { reply, case });
        assert!(matches!(reply, Some(Reply::Deadline { .. })), "{reply:?}");
    }
}

fn original(day: &str) -> Deadline {
    format!("2022-08-{day}").parse().unwrap()
}

/// Of a business, each date as it holds and as it was told last, and whether it is final.
fn dates_of(bench: &Bench, business: &str) -> Vec<(Deadline, Option<Deadline>, bool)> {
    let explained = |day: &str| {
        let business = business.parse().unwrap();
        let found = bench.machine.explain_date(&business, original(day), bench.now).unwrap();
        let told: Vec<Deadline> = found.told.iter().map(|telling| telling.extension.to).collect();
        assert!(told.is_sorted(), "never earlier than what was told: {told:?}");
        (found.computed.date, told.last().copied(), found.computed.is_final)
    };
    DAYS.iter().map(|day| explained(day)).collect()
}

/// The dates of the cases, and those of a business that nobody has asked about yet.
fn dates(bench: &Bench) -> Vec<(Deadline, Option<Deadline>, bool)> {
    [dates_of(bench, "filing.one"), dates_of(bench, "filing.two")].concat()
}

/// All orders of `left`, each behind `begun`.
fn orders<'a>(begun: &[&'a str], left: &[&'a str], all: &mut Vec<Vec<&'a str>>) {
    if left.is_empty() {
        all.push(begun.to_vec());
    }
    for next in left {
        let rest: Vec<&str> = left.iter().filter(|one| *one != next).copied().collect();
        orders(&[begun, &[*next]].concat(), &rest, all);
    }
}

/// The stop under `rule`, its end moved to each of `ends` in turn, proved back at the last.
fn run(rule: Rule, first: &str, ends: &[&str]) -> [Vec<(Deadline, Option<Deadline>, bool)>; 2] {
    let mut stop = window(Disposition::Hold);
    stop.deadlines.as_mut().unwrap().rule = rule;
    stop.planned.end = at_night(first);
    let mut bench = declared(stop);
    registered(&mut bench);
    bench.set("2022-08-13T10:00:00+08:00");
    ends.iter().for_each(|end| moved(&mut bench, end));
    let while_stopped = dates(&bench);
    let again = bench.order(Command::TellDates);
    assert!(matches!(again, Some(Reply::Done(Done::Dates(0)))), "once told is told: {again:?}");
    bench.now = at_night(ends.last().unwrap());
    (0..3).for_each(|_| bench.probe("b", true));
    // When what was published is over too.
    bench.set("2022-08-17T10:00:00+08:00");
    [while_stopped, dates(&bench)]
}

#[test]
fn e4_in_whatever_order_an_end_is_moved_the_dates_are_those_of_a_clean_run() {
    // Four hours early, as planned, six hours longer, a day longer.
    let ends = ["14T20:00", "15T06:00", "15T12:00", "16T06:00"];
    let mut all = Vec::new();
    orders(&[], &ends, &mut all);
    assert_eq!(all.len(), 24);
    let rules = [
        Rule::FirstFullWorkingDay,
        Rule::RestorePlusWorkingDays(5),
        Rule::RestorePlusDays(3),
        Rule::ShiftByOutage,
    ];
    for rule in rules {
        for order in &all {
            let moves = run(rule, "15T06:00", order);
            // The longest end was told, so it counts; then the last one, which may be earlier.
            let clean = run(rule, "16T06:00", &order[3..]);
            assert_eq!(moves, clean, "{rule:?} by {order:?}");
            assert!(moves[1].iter().all(|(.., is_final)| *is_final), "{rule:?} by {order:?}");
        }
    }
}

#[test]
fn e6_what_is_previewed_while_a_stop_overruns_is_what_apply_tells_date_by_date() {
    let mut bench = declared(window(Disposition::Hold));
    registered(&mut bench);
    bench.set("2022-08-13T10:00:00+08:00");
    let mut carried = submission(filing(), 1, 1);
    carried.deadline = Some("2022-08-15".parse().unwrap());
    bench.accepted(carried);
    bench.set("2022-08-15T23:50:00+08:00");
    // Dates are looked at once an hour while it lasts. Monday ends in between, and inside the stop.
    bench.now = at_night("16T00:10");
    let window = bench.machine.windows().remove(0);
    let preview = |bench: &Bench| bench.machine.preview(&window, bench.now).unwrap().moves;
    let foreseen = preview(&bench);
    let monday = foreseen.iter().find(|one| one.original == original("15")).unwrap();
    assert_eq!((monday.holds, monday.becomes.date), (original("15"), original("16")));
    assert_eq!((monday.cases, monday.open), (1, 1), "whom it concerns");
    let before = bench.journal.len();
    let applied = bench.order(Command::TellDates);
    let Some(Reply::Done(Done::Dates(count))) = applied else { panic!("{applied:?}") };
    let told = bench.journal[before..].iter().map(|change| match change {
        Change::DeadlineTold { business, original, extension, cause, .. } if cause == "apply" => {
            (business.clone(), *original, extension.to)
        }
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    let expected = foreseen.iter().map(|m| (m.business.clone(), m.original, m.becomes.date));
    assert_eq!((told, count), (expected.collect(), foreseen.len() as u64));
    assert!(preview(&bench).is_empty(), "told is told");
}
