//! Outages that nobody planned: held at once, proposed as a window, confirmed, dismissed, or lapsed.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{NoRuns, answer, cell, settings, submission};
use crate::house::{House, Says, Shelf};
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::gate::{GateState, Probe};
use holdover::domain::ids::Seq;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::time::Monotonic;
use holdover::domain::window::{Cause, Phase, Proof};
use holdover::engine::event::{Command, Done, Event, Fault, Reply, Sought};
use holdover::engine::machine::Machine;
use holdover::engine::ports::IndexUnavailable;
use holdover::engine::step::Decision;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn filing() -> Cell {
    cell("b", "filing.one")
}

/// A core that answered at ten, and failed from five seconds past on; what was held since.
fn away() -> (Bench, Seq) {
    let mut bench = Bench::with(settings(), "2022-08-11T10:00:00+08:00");
    bench.accepted(submission(filing(), 1, 1));
    bench.settle(Outcome::Applied(answer("ok")));
    for second in ["05", "10", "15"] {
        bench.set(&format!("2022-08-11T10:00:{second}+08:00"));
        bench.probe("b", false);
    }
    assert_eq!(bench.machine.gate(&filing()), Some(GateState::ClosedByProbe));
    let held = bench.accepted(submission(filing(), 2, 2));
    assert!(bench.sent().is_empty(), "held ten seconds after the first bad probe");
    (bench, held)
}

fn drafts(bench: &Bench) -> Vec<String> {
    bench.machine.drafts(bench.now).into_iter().map(|draft| draft.id.to_string()).collect()
}

const DRAFT: &str = "outage-b-20220811-0200";

fn confirm(bench: &mut Bench, ends_at: Option<&str>) -> Option<Reply> {
    let (window, ends_at) = (DRAFT.parse().unwrap(), ends_at.map(at));
    bench.order(Command::ConfirmOutage { window, ends_at })
}

fn good_probes(bench: &mut Bench) {
    (0..3).for_each(|_| bench.probe("b", true));
}

#[test]
fn an_outage_of_a_minute_is_proposed_and_confirmed_it_is_a_window_from_its_beginning() {
    let (mut bench, held) = away();
    bench.set("2022-08-11T10:01:04+08:00");
    assert!(drafts(&bench).is_empty(), "not for every hiccup");
    bench.set("2022-08-11T10:01:05+08:00");
    assert_eq!(drafts(&bench), [DRAFT]);
    let draft = bench.machine.drafts(bench.now).remove(0);
    assert_eq!((draft.began, draft.waiting), (at("2022-08-11T10:00:05+08:00"), 1));
    // It is as durable as the upstream's health.
    let mut again = Machine::new(settings(), Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| again.apply(Seq(0), &change));
    assert_eq!(again.drafts(bench.now), [draft]);

    let past = confirm(&mut bench, Some("2022-08-11T10:01:00+08:00"));
    assert!(matches!(past, Some(Reply::Invalid(Fault::Invalid(_)))), "{past:?}");
    let confirmed = confirm(&mut bench, Some("2022-08-11T11:00:00+08:00"));
    let Some(Reply::Done(Done::Window(window))) = confirmed else { panic!("{confirmed:?}") };
    assert_eq!(
        (window.cause, window.version, window.author.as_str()),
        (Cause::Unplanned, 1, "operator")
    );
    assert_eq!(window.published.start, at("2022-08-11T10:00:05+08:00"), "when the failure began");
    assert_eq!(bench.machine.gate(&filing()), Some(GateState::Verifying));
    assert_eq!(bench.machine.phase(&window, bench.now), Phase::Active);
    assert!(drafts(&bench).is_empty());
    let twice = confirm(&mut bench, None);
    assert!(matches!(twice, Some(Reply::Invalid(Fault::NotFound(Sought::Draft)))), "{twice:?}");
    // It comes back sooner than expected, by its probes, and the expected end holds nobody up.
    bench.set("2022-08-11T10:20:00+08:00");
    bench.probe("b", false);
    assert!(bench.sent().is_empty());
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
    let window = bench.machine.windows().remove(0);
    assert_eq!((window.version, bench.machine.phase(&window, bench.now)), (2, Phase::Completed));
    assert!(drafts(&bench).is_empty());
}

#[test]
fn an_outage_of_a_part_that_nobody_came_for_is_proposed_all_the_same() {
    let mut bench = Bench::with(settings(), "2022-08-11T10:00:00+08:00");
    for second in ["05", "10", "15"] {
        bench.set(&format!("2022-08-11T10:00:{second}+08:00"));
        bench.probe("b", false);
    }
    bench.set("2022-08-11T10:01:05+08:00");
    assert_eq!(drafts(&bench), [DRAFT]);
    assert_eq!(bench.machine.drafts(bench.now)[0].waiting, 0);
    let mut stop = window(Disposition::Hold);
    stop.planned.start = at("2022-08-11T10:02:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(stop)));
    bench.set("2022-08-11T10:03:00+08:00");
    assert!(drafts(&bench).is_empty(), "a window stops all of it now");
}

#[test]
fn an_outage_that_is_over_can_still_be_confirmed_and_closes_nothing() {
    let (mut bench, held) = away();
    bench.set("2022-08-11T10:30:00+08:00");
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    bench.set("2022-08-11T10:44:59+08:00");
    assert_eq!(drafts(&bench), [DRAFT]);
    let confirmed = confirm(&mut bench, None);
    let Some(Reply::Done(Done::Window(window))) = confirmed else { panic!("{confirmed:?}") };
    assert_eq!(window.planned.end, at("2022-08-11T10:30:00+08:00"));
    assert_eq!(bench.machine.phase(&window, bench.now), Phase::Completed);
    let next = bench.accepted(submission(filing(), 3, 3));
    assert_eq!(bench.sent(), [next.0]);
}

#[test]
fn a_draft_lapses_when_the_core_has_been_back_for_long_or_a_person_dismisses_it() {
    let (mut bench, _) = away();
    bench.set("2022-08-11T10:30:00+08:00");
    good_probes(&mut bench);
    // Down again while it reopens: one outage, not two.
    bench.set("2022-08-11T10:30:10+08:00");
    (0..3).for_each(|_| bench.probe("b", false));
    bench.set("2022-08-11T10:40:00+08:00");
    assert_eq!(drafts(&bench), [DRAFT]);
    good_probes(&mut bench);
    bench.set("2022-08-11T10:54:59+08:00");
    assert_eq!(drafts(&bench), [DRAFT]);
    bench.set("2022-08-11T10:55:00+08:00");
    assert!(drafts(&bench).is_empty(), "a quarter of an hour after it was back");
    let late = confirm(&mut bench, None);
    assert!(matches!(late, Some(Reply::Invalid(Fault::NotFound(Sought::Draft)))), "{late:?}");
    // The next one is another.
    bench.probe("b", true);
    bench.set("2022-08-11T12:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", false));
    bench.set("2022-08-11T12:02:00+08:00");
    let next = drafts(&bench);
    assert_eq!(next, ["outage-b-20220811-0400"]);
    let dismissed = bench.order(Command::DismissOutage { window: next[0].parse().unwrap() });
    assert!(matches!(dismissed, Some(Reply::Done(Done::Gates(_)))), "{dismissed:?}");
    assert!(drafts(&bench).is_empty());
    assert_eq!(bench.machine.gate(&filing()), Some(GateState::ClosedByProbe), "nothing opens");
    assert!(bench.machine.windows().is_empty());
}

#[test]
fn what_a_window_stops_is_no_unplanned_outage_before_or_after_its_end() {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.accepted(submission(filing(), 1, 1));
    bench.settle(Outcome::Applied(answer("ok")));
    bench.set("2022-08-12T19:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", false));
    for now in ["2022-08-13T10:00:00+08:00", "2022-08-15T06:10:00+08:00"] {
        bench.set(now);
        assert!(drafts(&bench).is_empty(), "{now}");
    }
    let (window, cells) = ("stop".parse().unwrap(), Selector::default());
    bench.order(Command::Restore { window, cells, ready_from: None, proof: Proof::Signed });
    bench.set("2022-08-15T06:12:00+08:00");
    assert!(drafts(&bench).is_empty());
}

#[test]
fn a_part_that_a_window_lets_through_may_be_away_beside_it() {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    let mut stop = window(Disposition::Hold);
    let other = Selector { district: vec!["110102".parse().unwrap()], ..upstream("b") };
    stop.policy = vec![row(Selector::default(), Disposition::Pass), row(other, Disposition::Hold)];
    bench.order(Command::DeclareWindow(Box::new(stop)));
    bench.set("2022-08-13T10:00:00+08:00");
    bench.accepted(submission(filing(), 1, 1));
    (0..3).for_each(|_| bench.probe("b", false));
    bench.set("2022-08-13T10:01:00+08:00");
    assert_eq!(drafts(&bench), ["outage-b-20220813-0200"]);
}

#[tokio::test]
async fn over_http_a_draft_is_listed_needs_a_person_and_is_settled_once() {
    let mut settings = settings();
    settings.outages.proposed_after = Duration::ZERO;
    let shelf = Shelf::default();
    let machine = Machine::new(settings, Box::new(NoRuns));
    let journal = Box::new(shelf.clone());
    let says = Says(Err(IndexUnavailable));
    let house = House::over(machine, Decision::default(), journal, Arc::new(shelf), says);
    let key = house.operator.clone();
    let fail = async || {
        for began in 0..3 {
            let probe = Probe { began: Monotonic(began), good: false };
            house.engine.tell(Event::Probed { upstream: "b".parse().unwrap(), probe }).await;
        }
    };
    fail().await;
    house.accepted(submission(filing(), 1, 1)).await;
    let listed = house.get("/admin/v1/windows", &key).await;
    let draft = &listed["drafts"][0];
    assert_eq!((&draft["upstream"], &draft["waiting"]), (&json!("b"), &json!(1)), "{listed}");
    let status = house.get("/admin/v1/status", &key).await;
    let need =
        status["needs"].as_array().unwrap().iter().find(|n| n["code"] == "outage_unconfirmed");
    assert_eq!(need.unwrap()["page"], "runbooks/HoldoverOutageUnconfirmed.md", "{status}");
    let path = format!("/admin/v1/windows/{}", draft["id"].as_str().unwrap());
    let post = async |verb: &str, body: Value| {
        let (status, _, told) = house.send("POST", &format!("{path}/{verb}"), &key, &body).await;
        (status, told)
    };
    let (status, told) = post("confirm", json!({})).await;
    assert_eq!((status, &told["code"]), (422, &json!("reason_missing")), "{told}");
    let because = json!({"reason": "its operators say so", "ends_at": "2022-08-13T12:00:00+08:00"});
    let (status, told) = post("confirm", because.clone()).await;
    assert_eq!(
        (status, &told["cause"], &told["phase"]),
        (201, &json!("unplanned"), &json!("active")),
        "{told}"
    );
    assert_eq!(told["starts_at"], draft["began_at"]);
    for (verb, body) in [("confirm", because), ("dismiss", json!({"reason": "it was nothing"}))] {
        let (status, told) = post(verb, body).await;
        assert_eq!((status, &told["code"]), (404, &json!("not_found")), "{verb}: {told}");
    }
    // A rule for deadlines that comes later moves nobody's date earlier.
    let window = house.get(&path, &key).await;
    let rule = json!({
        "rule": "shift_by_outage", "clause": "1", "legal_basis": "the bureau's notice",
        "business": ["filing.*"], "restart_of": ["b"],
    });
    let change = json!({
        "policy": window["policy"], "deadlines": rule, "restore_by": "probes",
        "reason": "the bureau has said so",
    });
    let (status, told) = post("change", change).await;
    assert_eq!((status, &told["deadlines"]["rule"]), (200, &json!("shift_by_outage")), "{told}");
}
