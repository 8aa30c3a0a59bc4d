//! Dates and what nobody planned: outages of a core, our own lack of room, what ends soon and waits.

use crate::engine_scenarios::{Bench, at, upstream, window};
use crate::engine_support::{NoRuns, answer, cell, settings, submission};
use holdover::domain::deadline::{DeadlineRule, Rule};
use holdover::domain::ids::{InsuredHash, Seq};
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::term::Deadline;
use holdover::domain::window::{Cause, Phase};
use holdover::engine::change::{Case, Change};
use holdover::engine::event::{Command, Done, Event, Fault, Reply, ReplyTo, Submission};
use holdover::engine::machine::Machine;
use holdover::engine::settings::Settings;
use serde_json::json;
use std::time::Duration;

fn rule(only_if: serde_json::Value) -> DeadlineRule {
    serde_json::from_value(json!({
        "rule": "shift_by_outage", "clause": "unplanned", "legal_basis": "the bureau's rule",
        "business": ["filing.*"], "only_if": only_if,
    }))
    .unwrap()
}

fn with(rule: DeadlineRule) -> Settings {
    let mut settings = settings();
    settings.outages.deadlines = Some(rule);
    settings
}

fn due(text: &str) -> Deadline {
    text.parse().unwrap()
}

fn date(bench: &Bench, original: &str) -> String {
    let business = "filing.one".parse().unwrap();
    bench.machine.deadline(&business, due(original), bench.now).unwrap().date.to_string()
}

fn register(bench: &mut Bench, original: &str) {
    bench.step(Event::RegisterDeadline {
        reply: ReplyTo(900),
        case: Case {
            institution: "H11010500001".parse().unwrap(),
            business: "filing.one".parse().unwrap(),
            original: due(original),
            reference: InsuredHash(1),
            ground: None,
            owed_by: None,
        },
    });
}

/// The core `b` is away from five past ten for an hour, on an ordinary day.
fn away_for_an_hour(settings: Settings) -> Bench {
    let mut bench = Bench::with(settings, "2022-08-11T10:00:00+08:00");
    bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    bench.settle(Outcome::Applied(answer("ok")));
    register(&mut bench, "2022-08-11T10:30:00+08:00");
    register(&mut bench, "2022-08-11T12:00:00+08:00");
    bench.set("2022-08-11T10:05:00+08:00");
    (0..3).for_each(|_| bench.probe("b", false));
    bench.set("2022-08-11T11:05:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    bench
}

fn confirm(bench: &mut Bench) -> Option<Reply> {
    let window = bench.machine.drafts(bench.now).remove(0).id;
    bench.order(Command::ConfirmOutage { window, ends_at: None })
}

#[test]
fn e10_an_hour_that_nobody_planned_moves_dates_when_it_is_confirmed_and_by_configuration_alone() {
    let mut bench = away_for_an_hour(with(rule(json!({"cause": "unplanned"}))));
    assert_eq!(date(&bench, "2022-08-11T10:30:00+08:00"), "2022-08-11T02:30:00Z", "nobody said so");
    let confirmed = confirm(&mut bench);
    let Some(Reply::Done(Done::Window(window))) = confirmed else { panic!("{confirmed:?}") };
    let told = window.deadlines.as_ref().unwrap();
    assert_eq!(told.restart_of, ["b".parse().unwrap()]);
    assert_eq!(date(&bench, "2022-08-11T10:30:00+08:00"), "2022-08-11T03:30:00Z");
    assert_eq!(date(&bench, "2022-08-11T12:00:00+08:00"), "2022-08-11T04:00:00Z", "not inside");
    let told = |change: &&Change| matches!(change, Change::DeadlineTold { .. });
    assert_eq!(bench.journal.iter().filter(told).count(), 1);

    // The rule of the configuration has thresholds of its own.
    let mut bench = away_for_an_hour(with(rule(json!({"stop_min_minutes": 61}))));
    confirm(&mut bench);
    assert_eq!(date(&bench, "2022-08-11T10:30:00+08:00"), "2022-08-11T02:30:00Z");
    // Without one, nothing is moved.
    let mut bench = away_for_an_hour(settings());
    confirm(&mut bench);
    assert_eq!(date(&bench, "2022-08-11T10:30:00+08:00"), "2022-08-11T02:30:00Z");
    // What goes to another part is not concerned, whatever the rule names.
    let mut elsewhere = rule(json!({}));
    elsewhere.business = vec!["other.*".to_owned().try_into().unwrap()];
    let mut bench = away_for_an_hour(with(elsewhere));
    let Some(Reply::Done(Done::Window(window))) = confirm(&mut bench) else { panic!() };
    assert_eq!(window.deadlines, None);
}

#[test]
fn a_rule_may_ask_for_a_stop_that_was_planned() {
    let mut stop = window(Disposition::Hold);
    let mut planned = rule(json!({"cause": "unplanned"}));
    (planned.rule, planned.restart_of) = (Rule::FirstFullWorkingDay, vec!["b".parse().unwrap()]);
    stop.deadlines = Some(planned);
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    let declared = bench.order(Command::DeclareWindow(Box::new(stop.clone())));
    assert!(matches!(declared, Some(Reply::Done(_))), "{declared:?}");
    assert_eq!(date(&bench, "2022-08-13"), "2022-08-13");
    stop.deadlines.as_mut().unwrap().only_if.cause = Some(Cause::Planned);
    stop.id = "other".parse().unwrap();
    bench.order(Command::DeclareWindow(Box::new(stop)));
    assert_eq!(date(&bench, "2022-08-13"), "2022-08-15");
}

/// As many open ones as there may be, and how one more is answered.
fn full(bench: &mut Bench, number: u128) -> Option<Reply> {
    bench.submit(submission(cell("b", "filing.one"), number, number))
}

#[test]
fn a_time_without_room_is_an_outage_that_moves_dates_once_a_person_confirms_it() {
    let mut settings = with(rule(json!({})));
    settings.limits.open_transactions_max = 2;
    let mut bench = Bench::with(settings.clone(), "2022-08-11T10:00:00+08:00");
    register(&mut bench, "2022-08-11T10:10:00+08:00");
    let until = at("2022-08-11T20:00:00+08:00");
    bench.order(Command::CloseGate { cells: upstream("b"), until });
    let held =
        [1, 2].map(|number| bench.accepted(submission(cell("b", "filing.one"), number, number)));
    bench.set("2022-08-11T10:05:00+08:00");
    let refused = full(&mut bench, 3);
    assert!(matches!(refused, Some(Reply::Invalid(Fault::Full(_)))), "{refused:?}");
    let before = bench.journal.len();
    for minute in 6..=15 {
        bench.set(&format!("2022-08-11T10:{minute:02}:00+08:00"));
        assert!(matches!(full(&mut bench, 4), Some(Reply::Invalid(Fault::Full(_)))));
    }
    let stopped = |change: &Change| matches!(change, Change::IntakeStopped(_));
    assert!(bench.journal[before..].iter().any(stopped), "a minute without a refusal ended it");

    // And refused within the next, it went on: it is one outage.
    bench.set("2022-08-11T10:15:30+08:00");
    let draft = &bench.machine.drafts(bench.now)[0];
    assert_eq!((draft.upstream.as_ref(), draft.began), (None, at("2022-08-11T10:05:00+08:00")));
    let early = confirm(&mut bench);
    assert!(matches!(early, Some(Reply::Invalid(Fault::WrongState { .. }))), "{early:?}");
    // A restart in between has seen nothing since: it looks for a minute again.
    let mut again = Machine::new(settings, Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| again.apply(Seq(0), &change));
    assert_eq!(again.drafts(bench.now), bench.machine.drafts(bench.now));

    let institution = || "H11010500001".parse().unwrap();
    for transaction in held {
        let (reply, reason) = (ReplyTo(77), "a slip".to_owned());
        let institution = institution();
        bench.step(Event::Withdraw { reply, institution, transaction, reason });
    }
    bench.set("2022-08-11T10:16:01+08:00");
    let draft = bench.machine.drafts(bench.now).remove(0);
    assert_eq!(draft.ended, Some(at("2022-08-11T10:15:00+08:00")), "nobody was refused since");
    let Some(Reply::Done(Done::Window(window))) = confirm(&mut bench) else { panic!() };
    assert_eq!((window.cause, &window.id.to_string()[..14]), (Cause::Unplanned, "outage-intake-"));
    assert_eq!(bench.machine.phase(&window, bench.now), Phase::Completed);
    assert_eq!(date(&bench, "2022-08-11T10:10:00+08:00"), "2022-08-11T02:20:00Z");
    assert!(bench.machine.drafts(bench.now).is_empty());
    bench.order(Command::OpenGate { cells: upstream("b") });
    let next = bench.accepted(submission(cell("b", "filing.one"), 5, 5));
    assert_eq!(bench.sent(), [next.0], "it closes nothing");
}

#[test]
fn a_moment_without_room_is_no_outage() {
    let mut bench = Bench::with(with(rule(json!({}))), "2022-08-11T10:00:00+08:00");
    bench.step(Event::NoRoom);
    bench.set("2022-08-11T10:00:30+08:00");
    bench.step(Event::NoRoom);
    bench.set("2022-08-11T10:05:00+08:00");
    assert!(bench.machine.drafts(bench.now).is_empty(), "half a minute");
    bench.step(Event::NoRoom);
    bench.set("2022-08-11T10:05:59+08:00");
    bench.step(Event::NoRoom);
    bench.set("2022-08-11T10:06:05+08:00");
    // Five minutes later it is another one.
    assert_eq!(bench.machine.drafts(bench.now)[0].began, at("2022-08-11T10:05:00+08:00"));
}

#[test]
fn e9_what_ends_within_a_day_of_the_end_and_waits_is_at_risk_until_it_is_sent() {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-14T10:00:00+08:00");
    let carrying = |number: u128, day: &str| Submission {
        deadline: Some(day.parse().unwrap()),
        ..submission(cell("b", "filing.one"), number, number)
    };
    // The stop is planned to end at six on the fifteenth.
    for number in 0..100 {
        bench.accepted(carrying(number, "2022-08-15"));
    }
    bench.accepted(carrying(100, "2022-08-16"));
    let risks = |bench: &Bench| {
        let found = bench.machine.dates_at_risk(bench.now);
        found.iter().map(|one| (one.holds.to_string(), one.open)).collect::<Vec<_>>()
    };
    assert_eq!(risks(&bench), [("2022-08-15".to_owned(), 100)]);
    let ends = at("2022-08-16T00:00:00+08:00");
    assert_eq!(bench.machine.deadlines(bench.now).at_risk, Some(ends), "the alert's number");
    bench.set("2022-08-15T06:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    let mut applied = 0;
    while applied < 101 {
        while !bench.out.is_empty() {
            bench.settle(Outcome::Applied(answer("ok")));
            applied += 1;
        }
        bench.now = bench.now.after(Duration::from_secs(1));
        bench.step(Event::Tick);
    }
    assert_eq!(risks(&bench), []);
    assert_eq!(bench.machine.deadlines(bench.now).at_risk, None);
}

#[test]
fn a_case_on_paper_that_ends_soon_is_at_risk_only_inside_a_stop() {
    let mut bench = Bench::with(settings(), "2022-08-11T10:00:00+08:00");
    register(&mut bench, "2022-08-11");
    assert!(bench.machine.dates_at_risk(bench.now).is_empty(), "nothing of it waits here");
}
