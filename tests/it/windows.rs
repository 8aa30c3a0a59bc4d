//! Where a window stands, and what is still ordered of it: every part that it stops counts,
//! whether or not a transaction ever came for it.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{cell, submission};
use crate::house::{Says, house};
use holdover::domain::cell::Selector;
use holdover::domain::policy::Disposition;
use holdover::domain::window::{Phase, Proof, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Fault, Reply};
use holdover::engine::ports::IndexUnavailable;
use serde_json::{Value, json};

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
    bench.order(Command::Restore { window: "stop".parse().unwrap(), cells, proof: Proof::Signed })
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
    let extend =
        Command::MoveWindowEnd { window: "stop".parse().unwrap(), ends_at, if_version: None };
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
        over(bench.order(Command::MoveWindowEnd { window, ends_at, if_version: None }));
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
