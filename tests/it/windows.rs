//! Where a window stands, and what is still ordered of it: every part that it stops counts,
//! whether or not a transaction ever came for it.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{NoRuns, answer, cell, submission};
use crate::house::{House, Says, Shelf, house};
use holdover::domain::cell::{Operation, Selector};
use holdover::domain::gate::{GateState, HealthPhase};
use holdover::domain::ids::Seq;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::revision::Revision;
use holdover::domain::state::State;
use holdover::domain::window::{Phase, Proof, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Fault, Reply};
use holdover::engine::machine::Machine;
use holdover::engine::ports::IndexUnavailable;
use holdover::engine::step::Decision;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// After the declaration of `window`, before its start.
fn declared(window: Window) -> Bench {
    let mut bench = Bench::with(crate::engine_support::settings(), "2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window)));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench
}

fn phase(bench: &Bench) -> Phase {
    bench.machine.phase(&bench.machine.windows()[0], bench.now)
}

fn restore(bench: &mut Bench, cells: Selector) -> Option<Reply> {
    bench.order(Command::Restore {
        window: "stop".parse().unwrap(),
        cells,
        ready_from: None,
        proof: Proof::Signed,
    })
}

fn district(code: &str) -> Selector {
    Selector { district: vec![code.parse().unwrap()], ..Selector::default() }
}

#[test]
fn a_part_that_no_transaction_came_for_keeps_the_window_from_being_completed() {
    let mut bench = declared(window(Disposition::Hold));
    bench.set("2022-08-13T10:00:00+08:00");
    assert!(matches!(restore(&mut bench, upstream("a")), Some(Reply::Done(_))));
    assert_eq!(phase(&bench), Phase::Active, "the window stops b, which is not back");
    bench.set("2022-08-15T06:00:00+08:00");
    assert_eq!(phase(&bench), Phase::Verifying);
    for _ in 0..3 {
        bench.probe("b", true);
    }
    assert_eq!(phase(&bench), Phase::Completed);
}

#[test]
fn each_district_that_a_window_names_must_be_restored() {
    let mut stop = window(Disposition::Hold);
    stop.restore_by = RestoreBy::Signed;
    stop.policy = vec![row(Selector::default(), Disposition::Pass)];
    for code in ["110101", "110102"] {
        stop.policy.push(row(district(code), Disposition::Hold));
    }
    let mut bench = declared(stop);
    bench.set("2022-08-15T06:00:00+08:00");
    bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    restore(&mut bench, district("110101"));
    assert_eq!(phase(&bench), Phase::Verifying, "nothing came from the other district");
    restore(&mut bench, district("110102"));
    assert_eq!(phase(&bench), Phase::Completed);
}

#[test]
fn what_is_back_goes_on_from_when_it_is_ready() {
    let mut stop = window(Disposition::Hold);
    stop.restore_by = RestoreBy::Signed;
    let mut bench = declared(stop);
    bench.set("2022-08-15T06:00:00+08:00");
    let held = bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    let restored = |bench: &mut Bench, part, ready: &str| {
        let (window, ready_from) = ("stop".parse().unwrap(), Some(at(ready)));
        let (cells, proof) = (upstream(part), Proof::Signed);
        bench.order(Command::Restore { window, cells, ready_from, proof })
    };
    let far = restored(&mut bench, "b", "2023-08-15T06:00:00+08:00");
    assert!(matches!(far, Some(Reply::Invalid(Fault::Invalid(_)))), "{far:?}");
    assert!(matches!(restored(&mut bench, "a", "2022-08-15T05:00:00+08:00"), Some(Reply::Done(_))));
    assert_eq!(bench.machine.gate(&cell("b", "filing.one")), Some(GateState::Verifying));
    assert!(matches!(restored(&mut bench, "b", "2022-08-15T08:00:00+08:00"), Some(Reply::Done(_))));
    // It is known when it goes on: that is no overrun, and submitters are told the instant.
    bench.set("2022-08-15T07:59:59+08:00");
    assert_eq!(bench.sent(), [0; 0]);
    assert_eq!(phase(&bench), Phase::Active);
    let told = bench.decides(&cell("b", "filing.one"), bench.now);
    assert_eq!(told.resume_at, Some(at("2022-08-15T08:00:00+08:00")));
    bench.set("2022-08-15T08:00:00+08:00");
    assert_eq!(bench.sent(), [held.0]);
    assert_eq!(phase(&bench), Phase::Completed);
    let window = &bench.machine.windows()[0];
    let back = |part| window.restored_at(&cell(part, "filing.one")).unwrap();
    assert_eq!(back("a"), at("2022-08-15T06:00:00+08:00"), "none is ready before it is restored");
    assert_eq!(back("b"), at("2022-08-15T08:00:00+08:00"));
}

#[test]
fn what_is_ready_later_begins_its_ramp_then_and_is_not_over_before() {
    let mut stop = window(Disposition::Hold);
    stop.restore_by = RestoreBy::Signed;
    let mut bench = declared(stop);
    bench.set("2022-08-15T06:00:00+08:00");
    // Nothing has come for either part yet.
    let ready = at("2022-08-15T12:00:00+08:00");
    let (window, cells, proof) = ("stop".parse().unwrap(), Selector::default(), Proof::Signed);
    bench.order(Command::Restore { window, cells, ready_from: Some(ready), proof });
    assert_eq!(phase(&bench), Phase::Active, "nothing of it goes on yet");
    let health = |bench: &Bench| bench.machine.upstreams(bench.now)[1].health.phase;
    let before = health(&bench);
    bench.set("2022-08-15T11:59:59+08:00");
    assert_eq!((health(&bench), phase(&bench)), (before, Phase::Active));
    bench.set("2022-08-15T12:00:00+08:00");
    assert_eq!(health(&bench), HealthPhase::Reopening, "refusals are provisional now");
    assert_eq!(phase(&bench), Phase::Completed);
}

#[test]
fn good_probes_let_nothing_go_before_a_person_said_that_it_is_ready() {
    let mut stop = window(Disposition::Hold);
    stop.policy = vec![row(Selector::default(), Disposition::Pass)];
    stop.policy.extend(["110101", "110102"].map(|code| row(district(code), Disposition::Hold)));
    let mut bench = declared(stop);
    bench.set("2022-08-15T06:00:00+08:00");
    let of = |code: &str, number| {
        let mut it = cell("b", "filing.one");
        it.district = code.parse().unwrap();
        submission(it, number, number)
    };
    let (late, soon) = (bench.accepted(of("110101", 1)), bench.accepted(of("110102", 2)));
    let (window, ready_from) = ("stop".parse().unwrap(), Some(at("2022-08-15T08:00:00+08:00")));
    let (cells, proof) = (district("110101"), Proof::Signed);
    bench.order(Command::Restore { window, cells, ready_from, proof });
    for _ in 0..3 {
        bench.probe("b", true);
    }
    assert_eq!(bench.sent(), [soon.0]);
    assert_eq!(phase(&bench), Phase::Active, "one district goes on later");
    bench.set("2022-08-15T08:00:00+08:00");
    assert_eq!(bench.sent(), [soon.0, late.0]);
}

#[test]
fn a_core_that_is_away_when_it_should_be_ready_is_let_back_by_its_probes() {
    let mut stop = window(Disposition::Hold);
    stop.restore_by = RestoreBy::Signed;
    let mut bench = declared(stop);
    bench.set("2022-08-15T06:00:00+08:00");
    let held = bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    let ready_from = Some(at("2022-08-15T08:00:00+08:00"));
    let (window, cells, proof) = ("stop".parse().unwrap(), Selector::default(), Proof::Signed);
    bench.order(Command::Restore { window, cells, ready_from, proof });
    for _ in 0..3 {
        bench.probe("b", false);
    }
    bench.set("2022-08-15T08:00:00+08:00");
    assert_eq!(bench.sent(), [0; 0], "it is known to be away");
    for _ in 0..3 {
        bench.probe("b", true);
    }
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn a_part_whose_stop_is_still_to_come_keeps_the_window_active() {
    let mut stop = window(Disposition::Hold);
    stop.policy = vec![row(Selector::default(), Disposition::Pass)];
    for (code, starts, ends) in [("110101", 12, 13), ("110102", 14, 15)] {
        let mut part = row(district(code), Disposition::Hold);
        part.starts_at = Some(at(&format!("2022-08-{starts}T19:00:00+08:00")));
        part.ends_at = Some(at(&format!("2022-08-{ends}T06:00:00+08:00")));
        stop.policy.push(part);
    }
    let mut bench = declared(stop);
    bench.set("2022-08-13T06:10:00+08:00");
    restore(&mut bench, district("110101"));
    assert_eq!(phase(&bench), Phase::Active, "the second part stops tomorrow");
    let ends_at = at("2022-08-15T12:00:00+08:00");
    let extend = Command::MoveWindowEnd {
        window: "stop".parse().unwrap(),
        row: None,
        ends_at,
        if_version: None,
    };
    assert!(matches!(bench.order(extend), Some(Reply::Done(_))));
}

#[test]
fn a_window_that_is_over_takes_no_order_that_would_begin_it_again() {
    let mut bench = declared(window(Disposition::Hold));
    bench.set("2022-08-14T20:00:00+08:00");
    restore(&mut bench, upstream("b"));
    assert_eq!(phase(&bench), Phase::Completed);
    let over = |reply: Option<Reply>| {
        assert!(matches!(reply, Some(Reply::Invalid(Fault::WindowCompleted(_)))), "{reply:?}");
    };
    over(restore(&mut bench, upstream("b")));
    for ends_at in ["2022-08-14T20:30:00+08:00", "2022-08-16T06:00:00+08:00"] {
        let window = "stop".parse().unwrap();
        let ends_at = at(ends_at);
        over(bench.order(Command::MoveWindowEnd { window, row: None, ends_at, if_version: None }));
    }
    assert_eq!(bench.machine.windows()[0].version, 2, "nothing was changed");
}

#[tokio::test]
async fn over_http_a_completed_window_is_answered_409_and_what_to_do() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let key = house.operator.clone();
    let act = async |verb: &str, mut body: Value| {
        body["reason"] = json!("as agreed");
        let path = format!("/admin/v1/windows{verb}");
        let (status, _, told) = house.send("POST", &path, &key, &body).await;
        (status, told)
    };
    let stop = |id: &str| {
        json!({
            "id": id,
            "starts_at": "2022-08-13T10:00:00+08:00",
            "ends_at": "2022-08-15T06:00:00+08:00",
            "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
            "policy": [{"clause": "(二)1", "cells": {"upstream": ["b"]}, "disposition": "hold"}],
        })
    };
    let (status, told) = act("", stop("first")).await;
    assert_eq!(status, 201, "{told}");
    let (status, told) = act("/first/restore", json!({"cells": {"upstream": ["a"]}})).await;
    assert_eq!((status, &told["phase"]), (200, &json!("active")), "{told}");
    let (status, told) = act("/first/restore", json!({"cells": {"upstream": ["b"]}})).await;
    assert_eq!((status, &told["phase"]), (200, &json!("completed")), "{told}");
    let shown = house.get("/admin/v1/windows/first", &key).await;
    assert_eq!(shown["phase"], "completed");
    for (verb, body) in [
        ("restore", json!({"all": true})),
        ("end", json!({})),
        ("end", json!({"ends_at": "2022-08-16T06:00:00+08:00"})),
        ("extend", json!({"ends_at": "2022-08-16T06:00:00+08:00"})),
    ] {
        let (status, told) = act(&format!("/first/{verb}"), body).await;
        assert_eq!((status, &told["code"]), (409, &json!("window_completed")), "{verb}: {told}");
        assert_eq!(told["next"], "declare a new window for another stop");
    }
    assert_eq!(house.get("/admin/v1/windows/first", &key).await, shown, "nothing was changed");
    let log = house.get("/admin/v1/audit?limit=8", &key).await;
    let ends: Vec<&Value> = log["records"].as_array().unwrap().iter().skip(1).step_by(2).collect();
    let refused = |end: &&Value| end["outcome"] == "refused" && end["code"] == "window_completed";
    assert!(ends.len() == 4 && ends.iter().all(refused), "acts that were refused: {log}");
    assert_eq!(act("", stop("second")).await.0, 201);
}

fn changed(bench: &mut Bench, to: &Window, if_version: Option<u32>) -> Option<Reply> {
    let to = Box::new(Revision {
        zone: to.zone,
        planned: to.planned,
        notice: to.notice.clone(),
        policy: to.policy.clone(),
        deadlines: to.deadlines.clone(),
        restore_by: to.restore_by,
        cutoff_minutes: to.cutoff_minutes,
    });
    let window = "stop".parse().unwrap();
    bench.order(Command::ChangeWindow { window, to, if_version })
}

#[test]
fn a_window_that_is_changed_holds_by_what_it_says_now() {
    let mut bench = declared(window(Disposition::Hold));
    let filing = || cell("b", "filing.one");
    let mut to = window(Disposition::Refuse);
    to.planned.start = at("2022-08-12T18:00:00+08:00");
    assert!(matches!(changed(&mut bench, &to, Some(1)), Some(Reply::Done(_))));
    let stale = changed(&mut bench, &window(Disposition::Hold), Some(1));
    assert!(matches!(stale, Some(Reply::Invalid(Fault::Changed { current: 2 }))), "{stale:?}");
    let same = changed(&mut bench, &to, None);
    assert!(matches!(same, Some(Reply::Invalid(Fault::Invalid(_)))), "{same:?}");
    bench.set("2022-08-12T18:30:00+08:00");
    let turned = bench.submit(submission(filing(), 1, 1));
    assert!(matches!(turned, Some(Reply::TurnedAway { .. })), "an hour earlier: {turned:?}");
    // It takes submissions from now on, and lasts longer.
    to.policy[0].disposition = Some(Disposition::Hold);
    to.planned.end = at("2022-08-15T12:00:00+08:00");
    assert!(matches!(changed(&mut bench, &to, Some(2)), Some(Reply::Done(_))));
    bench.accepted(submission(filing(), 2, 2));
    to.policy[0].disposition = Some(Disposition::Pass);
    let opened = changed(&mut bench, &to, Some(3));
    assert!(matches!(opened, Some(Reply::Invalid(Fault::WrongWindow(_)))), "{opened:?}");
    bench.set("2022-08-15T06:30:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert!(bench.sent().is_empty(), "the old end proves nothing");
    bench.set("2022-08-15T12:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent().len(), 1);
    let over = changed(&mut bench, &window(Disposition::Hold), None);
    assert!(matches!(over, Some(Reply::Invalid(Fault::WindowCompleted(_)))), "{over:?}");
}

/// A house that knows a question beside its one filing.
fn house_that_is_asked() -> House {
    let mut settings = crate::engine_support::settings();
    let mut query = settings.catalogue.lines[0].clone();
    query.business = "service.query".parse().unwrap();
    (query.operation, query.queued) = (Operation::Query, false);
    settings.catalogue.lines.push(query);
    let (catalogue, shelf) = (settings.catalogue.clone(), Shelf::default());
    let machine = Machine::new(settings, Box::new(NoRuns));
    let journal = Box::new(shelf.clone());
    let says = Says(Err(IndexUnavailable));
    House::of(catalogue, machine, Decision::default(), journal, Arc::new(shelf), says)
}

#[tokio::test]
async fn b4_over_http_a_question_is_turned_away_until_an_end_that_may_move() {
    let house = house_that_is_asked();
    let stop = json!({
        "id": "upgrade",
        "starts_at": "2022-08-12T19:00:00+08:00",
        "ends_at": "2022-08-15T06:00:00+08:00",
        "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
        "policy": [{"clause": "(二)5", "cells": {"business": ["service.query"]},
            "disposition": "refuse", "advice": "come_back"},
            {"clause": "not_in_notice", "cells": {}, "disposition": "pass",
                "decided_because": "it says so"}],
    });
    let (status, code, why) = house.post("/admin/v1/windows", &house.operator, stop).await;
    assert_eq!(status, 201, "{code} {why}");
    // Four days and three midnights are one thing with one name, for both.
    for (path, key) in [("/admin/v1/windows", &house.operator), ("/v1/windows", &house.mine)] {
        let listed = house.get(path, key).await;
        let items = listed["items"].as_array().unwrap();
        let [one] = items.as_slice() else { panic!("{path}: {listed}") };
        let instant = |name: &str| at(one[name].as_str().unwrap());
        assert_eq!(one["id"], "upgrade");
        let length = instant("ends_at").since(instant("starts_at"));
        assert_eq!(length, Duration::from_secs(59 * 3600), "{path}: {listed}");
    }
    let ask = async |intent: &str| {
        let body = json!({
            "business": "service.query", "operation": "query", "insured": "person-1",
            "occurred_at": "2022-08-13T10:20:00+08:00", "payload": {"any": "question"},
        });
        let (status, headers, told) = house.submit(intent, &body).await;
        assert_eq!((status, &told["code"]), (409, &json!("business_suspended")), "{told}");
        assert_eq!(
            (&told["window"]["window"], &told["window"]["clause"]),
            (&json!("upgrade"), &json!("(二)5")),
            "{told}"
        );
        // The version that it names says so, and when and why somebody made it.
        let (version, place) = (&told["window"]["version"], &told["window"]["row"]);
        let path = format!("/admin/v1/windows/upgrade/versions/{version}");
        let window = house.get(&path, &house.operator).await;
        let row = &window["policy"][place.as_u64().unwrap() as usize];
        assert_eq!(
            (&row["clause"], &row["disposition"]),
            (&told["window"]["clause"], &json!("refuse")),
            "{window}"
        );
        let instant = |value: &Value| at(value.as_str().unwrap());
        assert_eq!(instant(&window["ends_at"]), instant(&told["resume_at"]));
        assert_eq!((&window["author"], &window["reason"]), (&json!("Li Na"), &json!("as agreed")));
        let seconds = headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
        (told, seconds)
    };
    let (told, seconds) = ask("first").await;
    assert_eq!(told["resume_at"], "2022-08-15T06:00:00+08:00");
    assert_eq!(seconds, 43 * 3600 + 1800, "from half past ten on Saturday");
    assert_eq!(
        told["message"]["zh"],
        format!(
            "该业务暂停办理；请在恢复后再来办理；预计2022年8月15日06:00恢复；编号{}。",
            told["refusal"].as_str().unwrap()
        )
    );
    let said = told["message"]["en"].as_str().unwrap();
    assert!(said.contains("the restart is planned for 2022-08-15 06:00"), "{said}");
    let later = json!({"ends_at": "2022-08-15T12:00:00+08:00"});
    let path = "/admin/v1/windows/upgrade/extend";
    assert_eq!(house.post(path, &house.operator, later).await.0, 200);
    let (told, seconds) = ask("second").await;
    assert_eq!(told["resume_at"], "2022-08-15T12:00:00+08:00");
    assert_eq!((seconds, &told["window"]["version"]), (49 * 3600 + 1800, &json!(2)), "{told}");
    let said = told["message"]["zh"].as_str().unwrap();
    assert!(said.contains("预计2022年8月15日12:00恢复"), "{said}");
    house.close();
}

#[test]
fn c12_a_stop_of_one_district_holds_that_district_and_nothing_else() {
    let mut stop = window(Disposition::Hold);
    stop.policy = vec![
        row(Selector::default(), Disposition::Pass),
        row(Selector { upstream: upstream("b").upstream, ..district("110102") }, Disposition::Hold),
    ];
    let mut bench = declared(stop);
    bench.set("2022-08-13T10:00:00+08:00");
    let of = |code: &str, on: &str| {
        let mut cell = cell(on, "filing.one");
        cell.district = code.parse().unwrap();
        cell
    };
    let held = bench.accepted(submission(of("110102", "b"), 1, 1));
    assert!(bench.sent().is_empty());
    for (number, (code, on)) in
        [("110101", "b"), ("110103", "b"), ("110102", "a")].into_iter().enumerate()
    {
        let number = number as u128 + 2;
        let passed = bench.accepted(submission(of(code, on), number, number));
        assert_eq!(bench.sent(), [passed.0], "{code} at {on} goes at once");
        bench.settle(Outcome::Applied(answer("ok")));
    }
    assert_eq!(bench.machine.gate(&of("110102", "b")), Some(GateState::ClosedByWindow));
    assert_eq!(bench.machine.gate(&of("110101", "b")), Some(GateState::Open));
    assert_eq!(bench.state(held), Some(State::Waiting));
}

#[test]
fn d16_in_one_window_some_go_by_themselves_and_some_wait_for_a_person() {
    let mut stop = window(Disposition::Hold);
    stop.policy = vec![
        row(upstream("a"), Disposition::Hold),
        row(upstream("b"), Disposition::HoldForRelease),
    ];
    let mut bench = declared(stop);
    bench.set("2022-08-13T10:00:00+08:00");
    let settlement = bench.accepted(submission(cell("a", "filing.one"), 1, 1));
    let agency = bench.accepted(submission(cell("b", "filing.one"), 2, 2));
    bench.set("2022-08-15T06:00:00+08:00");
    for _ in 0..2 {
        bench.probe("a", true);
        bench.probe("b", true);
    }
    assert!(bench.sent().is_empty(), "two good probes are not three");
    bench.probe("a", true);
    assert_eq!(bench.sent(), [settlement.0], "by itself");
    bench.settle(Outcome::Applied(answer("ok")));
    (0..9).for_each(|_| bench.probe("b", true));
    bench.set("2022-08-15T09:00:00+08:00");
    assert!(bench.sent().is_empty());
    let gate = bench.machine.gate(&cell("b", "filing.one"));
    assert_eq!((gate, phase(&bench)), (Some(GateState::AwaitingRelease), Phase::Replaying));
    bench.order(Command::Release { window: "stop".parse().unwrap(), cells: upstream("b") });
    assert_eq!((bench.sent(), phase(&bench)), (vec![agency.0], Phase::Completed));
    let act = bench.machine.windows()[0].releases[0].clone();
    assert_eq!((act.by.as_str(), act.reason.as_str()), ("operator", "because"));
}

#[test]
fn d16_a_row_that_ends_later_begins_its_replay_so_much_later_by_itself() {
    let mut stop = window(Disposition::Hold);
    let later = Selector { upstream: upstream("b").upstream, ..district("110102") };
    let mut later = row(later, Disposition::Hold);
    later.ends_at = Some(at("2022-08-15T08:00:00+08:00"));
    stop.policy.push(later);
    let mut bench = declared(stop);
    bench.set("2022-08-13T10:00:00+08:00");
    let first = bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    let mut delayed = cell("b", "filing.one");
    delayed.district = "110102".parse().unwrap();
    let delayed = bench.accepted(submission(delayed, 2, 2));
    bench.set("2022-08-15T06:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent(), [first.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    bench.set("2022-08-15T07:59:59+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert!(bench.sent().is_empty(), "what was proved before its own end does not count for it");
    bench.set("2022-08-15T08:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent(), [delayed.0]);
}

#[test]
fn nobody_closes_a_gate_for_longer_than_an_override_may_last() {
    let mut bench = declared(window(Disposition::Hold));
    let longest = bench.now.after(Duration::from_secs(7 * 24 * 3600));
    let longer = longest.after(Duration::from_millis(1));
    let cells = upstream("a");
    let close = |until| Command::CloseGate { cells: cells.clone(), until };
    let extend = |until| Command::ExtendGate { cells: cells.clone(), until };
    let refused = bench.order(close(longer));
    assert!(matches!(refused, Some(Reply::Invalid(Fault::Invalid(_)))), "{refused:?}");
    assert!(bench.machine.overrides().is_empty());
    assert!(matches!(bench.order(close(longest)), Some(Reply::Done(_))));
    let refused = bench.order(extend(longer));
    assert!(matches!(refused, Some(Reply::Invalid(Fault::Invalid(_)))), "{refused:?}");
    assert_eq!(bench.machine.overrides()[0].until, longest);
    bench.set("2022-08-12T17:00:01+08:00");
    assert!(matches!(bench.order(extend(longer)), Some(Reply::Done(_))), "renewed a second later");
}

#[test]
fn a_row_ends_and_is_proved_back_while_the_others_are_still_stopped() {
    let mut stop = window(Disposition::Hold);
    stop.policy = vec![row(Selector::default(), Disposition::Pass)];
    for code in ["110101", "110102"] {
        stop.policy.push(row(district(code), Disposition::Hold));
    }
    let mut bench = declared(stop);
    bench.set("2022-08-13T10:00:00+08:00");
    let first = bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    let mut other = cell("b", "filing.one");
    other.district = "110102".parse().unwrap();
    bench.accepted(submission(other, 2, 2));
    let end_row = |row, ends_at: &str| Command::MoveWindowEnd {
        window: "stop".parse().unwrap(),
        row: Some(row),
        ends_at: at(ends_at),
        if_version: None,
    };
    let unknown = bench.order(end_row(7, "2022-08-13T11:00:00+08:00"));
    assert!(matches!(unknown, Some(Reply::Invalid(Fault::Invalid(_)))), "{unknown:?}");
    let ended = bench.order(end_row(1, "2022-08-13T11:00:00+08:00"));
    assert!(matches!(ended, Some(Reply::Done(_))), "{ended:?}");
    bench.set("2022-08-13T11:00:00+08:00");
    assert!(bench.sent().is_empty(), "its end alone opens nothing");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent(), [first.0], "the second district is stopped until Monday");
    assert_eq!(phase(&bench), Phase::Active);
    bench.settle(Outcome::Applied(answer("ok")));
    // Longer again: what was proved at eleven does not count for a stop until noon.
    assert!(matches!(bench.order(end_row(1, "2022-08-13T12:00:00+08:00")), Some(Reply::Done(_))));
    let later = bench.accepted(submission(cell("b", "filing.one"), 3, 3));
    assert!(bench.sent().is_empty());
    bench.set("2022-08-13T12:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    assert_eq!(bench.sent(), [later.0]);
    let told = bench.machine.windows()[0].told_of(&"filing.one".parse().unwrap()).unwrap();
    assert_eq!(told.end, at("2022-08-15T06:00:00+08:00"), "what the public was told");
}

#[test]
fn every_version_is_known_and_outlives_a_snapshot() {
    let mut bench = declared(window(Disposition::Hold));
    let versions = |machine: &Machine| -> Vec<u32> {
        let id = "stop".parse().unwrap();
        machine.versions(&id).iter().map(|window| window.version).collect()
    };
    for minute in 0..300 {
        let ends_at = at("2022-08-15T07:00:00+08:00").after(Duration::from_secs(minute * 60));
        let window = "stop".parse().unwrap();
        let order = Command::MoveWindowEnd { window, row: None, ends_at, if_version: None };
        assert!(matches!(bench.order(order), Some(Reply::Done(_))));
    }
    bench.set("2022-08-13T10:00:00+08:00");
    restore(&mut bench, upstream("b"));
    assert_eq!(versions(&bench.machine), (1..=302).collect::<Vec<u32>>());
    let mut again = Machine::new(crate::engine_support::settings(), Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| again.apply(Seq(0), &change));
    assert_eq!(
        again.versions(&"stop".parse().unwrap()),
        bench.machine.versions(&"stop".parse().unwrap())
    );
    assert_eq!(again.windows(), bench.machine.windows());
}

#[tokio::test]
async fn over_http_a_window_is_changed_by_who_saw_it_and_every_version_is_told() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let key = house.operator.clone();
    let post = async |path: &str, mut body: Value| {
        body["reason"] = json!("as the second notice says");
        let path = format!("/admin/v1/windows{path}");
        let (status, _, told) = house.send("POST", &path, &key, &body).await;
        (status, told)
    };
    let stop = json!({
        "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
        "policy": [{"clause": "(二)1", "cells": {"upstream": ["b"]}, "disposition": "hold"}],
    });
    let mut first = stop.clone();
    first["id"] = json!("move");
    first["starts_at"] = json!("2022-08-20T19:00:00+08:00");
    first["ends_at"] = json!("2022-08-22T06:00:00+08:00");
    assert_eq!(post("", first).await.0, 201);
    let mut second = stop.clone();
    second["starts_at"] = json!("2022-08-21T19:00:00+08:00");
    second["policy"][0]["disposition"] = json!("refuse");
    let (status, told) = post("/move/change", second.clone()).await;
    assert_eq!((status, &told["version"]), (200, &json!(2)), "{told}");
    assert_eq!(told["starts_at"], "2022-08-21T11:00:00Z", "{told}");
    assert_eq!(told["published_starts_at"], "2022-08-20T11:00:00Z", "what was published stays");
    assert_eq!(told["ends_at"], "2022-08-21T22:00:00Z", "what was left out stays");
    let (status, told) = post("/move/change", second).await;
    assert_eq!((status, &told["code"]), (422, &json!("invalid")), "{told}");
    let mut wrong = stop.clone();
    wrong["policy"][0]["cells"] = json!({"business": ["filing.none"]});
    let (status, told) = post("/move/change", wrong).await;
    assert_eq!((status, &told["code"]), (422, &json!("invalid")), "the same review: {told}");
    let (status, told) =
        post("/move/extend", json!({"row": 3, "ends_at": "2022-08-23T06:00:00Z"})).await;
    assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!("/row")), "{told}");
    let (status, told) =
        post("/move/extend", json!({"row": 0, "ends_at": "2022-08-23T06:00:00Z"})).await;
    assert_eq!((status, &told["policy"][0]["ends_at"]), (200, &json!("2022-08-23T06:00:00Z")));
    assert_eq!(told["ends_at"], "2022-08-21T22:00:00Z", "the others end as planned");

    let seen = house.get("/admin/v1/windows/move/versions", &key).await;
    let items = seen["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert!(items[0].get("differences").is_none(), "nothing is before the first");
    let pointers = |item: &Value| -> Vec<String> {
        let list = item["differences"].as_array().unwrap().iter();
        list.map(|d| d["pointer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(pointers(&items[1]), ["/policy/0/disposition", "/starts_at"]);
    assert_eq!(pointers(&items[2]), ["/policy/0/ends_at"]);
    assert_eq!(items[2]["reason"], "as the second notice says");
    let one = house.get("/admin/v1/windows/move/versions/1", &key).await;
    assert_eq!((&one["policy"][0]["disposition"], one.get("since")), (&json!("hold"), None));
    let three = house.get("/admin/v1/windows/move/versions/3?since=1", &key).await;
    assert_eq!(three["since"], 1);
    assert_eq!(pointers(&three), ["/policy/0/disposition", "/policy/0/ends_at", "/starts_at"]);
    for (path, status) in [("/move/versions/9", 404), ("/move/versions/3?since=9", 422)] {
        let path = format!("/admin/v1/windows{path}");
        assert_eq!(house.send("GET", &path, &key, &Value::Null).await.0, status, "{path}");
    }
}

/// A window with a cutoff of ten minutes, before work that takes long or does not.
fn cutting_off(long: bool) -> Bench {
    let mut settings = crate::engine_support::settings();
    settings.catalogue.lines[0].long = long;
    let mut bench = Bench::with(settings, "2022-08-12T17:00:00+08:00");
    let mut stop = window(Disposition::Hold);
    stop.cutoff_minutes = Some(10);
    let reply = bench.order(Command::DeclareWindow(Box::new(stop)));
    assert!(matches!(reply, Some(Reply::Done(_))), "{reply:?}");
    bench
}

#[test]
fn long_work_is_not_begun_shortly_before_a_stop_and_what_was_begun_goes_on() {
    let mut bench = cutting_off(true);
    let filing = || cell("b", "filing.one");
    bench.set("2022-08-12T18:45:00+08:00");
    let behind = |first: Seq, number: u128| {
        let mut next = submission(cell("b", "filing.one"), number, number);
        next.depends_on = Some(first);
        next
    };
    let first = bench.accepted(submission(filing(), 1, 1));
    let slow = bench.accepted(submission(filing(), 2, 2));
    assert_eq!(bench.out[0].not_after, Some(at("2022-08-12T18:50:00+08:00")));
    let second = bench.accepted(behind(first, 3));
    let late = bench.accepted(behind(slow, 4));
    assert_eq!(bench.sent(), [first.0, slow.0]);
    bench.set("2022-08-12T18:50:00+08:00");
    assert_eq!(
        (bench.machine.gate(&filing()), phase(&bench)),
        (Some(GateState::Closing), Phase::Closing)
    );
    let view = bench.machine.gates(bench.now).remove(0);
    assert_eq!(view.window.unwrap().as_str(), "stop");
    let held = bench.accepted(submission(filing(), 5, 5));
    assert_eq!(bench.sent(), [first.0, slow.0], "nothing is begun any more");
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.sent(), [slow.0, second.0], "what was begun is finished");
    let order = &bench.out[1];
    assert_eq!((order.not_after, order.is_closed), (Some(at("2022-08-12T19:00:00+08:00")), false));
    let (gate, epoch) = (order.gate.clone(), order.epoch);
    assert_eq!(gate.load(std::sync::atomic::Ordering::SeqCst), epoch);
    bench.set("2022-08-12T19:00:00+08:00");
    assert_ne!(
        gate.load(std::sync::atomic::Ordering::SeqCst),
        epoch,
        "also that ends at the start"
    );
    assert_eq!(phase(&bench), Phase::Active);
    bench.settle(Outcome::Applied(answer("ok")));
    bench.settle(Outcome::Applied(answer("ok")));
    assert!(bench.sent().is_empty(), "the stop is on: {late}");
    bench.set("2022-08-15T06:00:00+08:00");
    (0..3).for_each(|_| bench.probe("b", true));
    let mut sent = bench.sent();
    sent.sort_unstable();
    assert_eq!(sent, [late.0, held.0], "all of it afterwards");
}

#[test]
fn short_work_goes_on_until_the_stop_and_a_later_start_opens_the_gate_again() {
    let mut bench = cutting_off(false);
    bench.set("2022-08-12T18:55:00+08:00");
    bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    assert_eq!(bench.sent().len(), 1);
    let mut bench = cutting_off(true);
    bench.set("2022-08-12T18:55:00+08:00");
    bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    assert!(bench.sent().is_empty());
    let mut to = window(Disposition::Hold);
    to.cutoff_minutes = Some(10);
    to.planned.start = at("2022-08-12T20:00:00+08:00");
    assert!(matches!(changed(&mut bench, &to, None), Some(Reply::Done(_))));
    assert_eq!((bench.sent().len(), phase(&bench)), (1, Phase::Scheduled));
}

#[test]
fn a_window_overruns_when_the_proof_takes_longer_than_it_should() {
    let mut bench = declared(window(Disposition::Hold));
    for (now, expected) in [
        ("2022-08-15T06:00:00+08:00", Phase::Verifying),
        ("2022-08-15T06:04:59+08:00", Phase::Verifying),
        ("2022-08-15T06:05:00+08:00", Phase::Overrun),
    ] {
        bench.set(now);
        assert_eq!(phase(&bench), expected, "{now}");
    }
    restore(&mut bench, upstream("b"));
    assert_eq!(phase(&bench), Phase::Completed);
}

#[test]
fn what_finishes_a_chain_leaves_room_for_whom_somebody_waits_for() {
    let mut settings = crate::engine_support::settings();
    settings.upstreams.values_mut().for_each(|upstream| upstream.concurrency = 1);
    let mut bench = Bench::with(settings, "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-13T10:00:00+08:00");
    let mut chained = Vec::new();
    for number in 1..=3 {
        let first = bench.accepted(submission(cell("a", "filing.one"), number, number));
        let mut next = submission(cell("b", "filing.one"), number + 10, number + 10);
        next.depends_on = Some(first);
        chained.push(bench.accepted(next));
        bench.settle(Outcome::Applied(answer("ok")));
    }
    assert!(bench.sent().is_empty(), "their own part is stopped");
    restore(&mut bench, upstream("b"));
    assert_eq!(bench.sent(), [chained[0].0]);
    let mut waited_for = submission(cell("b", "filing.one"), 20, 20);
    waited_for.wait = Some(Duration::from_secs(10));
    bench.submit(waited_for);
    let waited_for = bench.machine.last();
    bench.set("2022-08-13T10:00:01+08:00");
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.sent(), [waited_for.0]);
    bench.set("2022-08-13T10:00:02+08:00");
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.sent(), [chained[1].0]);
}
