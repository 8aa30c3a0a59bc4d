//! What is wrong with a window is told by a word that stands, before anything is declared; and what
//! it is expected to keep, by what came in.

use crate::engine_scenarios::at;
use crate::engine_support::{NoRuns, cell, exception, settings, submission};
use crate::house::{House, NOW, Says, Shelf};
use holdover::domain::cell::Selector;
use holdover::domain::review::FaultCode;
use holdover::engine::event::{Command, Order};
use holdover::engine::machine::Machine;
use holdover::engine::ports::IndexUnavailable;
use holdover::engine::step::Decision;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A daemon with a holiday, room for two hundred transactions, and one that has come in.
async fn house() -> House {
    let mut settings = settings();
    settings.limits.open_transactions_max = 200;
    settings.calendar.exceptions.insert("2022-09-12".parse().unwrap(), exception(false));
    let shelf = Shelf::default();
    let machine = Machine::new(settings, Box::new(NoRuns));
    let journal = Box::new(shelf.clone());
    let says = Says(Err(IndexUnavailable));
    let house = House::over(machine, Decision::default(), journal, Arc::new(shelf), says);
    // What is on its way would be waited for by each act that closes its gate.
    let (cells, until) = (Selector::default(), at(NOW).after(Duration::from_secs(3600)));
    let command = Command::CloseGate { cells, until };
    let (by, reason) = ("operator".to_owned(), "because".to_owned());
    house.engine.order(Order { by, reason, command }).await;
    house.accepted(submission(cell("b", "filing.one"), 1, 1)).await;
    house
}

/// A window of one hour with which nothing is wrong.
fn good() -> Value {
    json!({
        "id": "trial", "reason": "as the notice says",
        "starts_at": "2022-08-20T19:00:00+08:00", "ends_at": "2022-08-20T20:00:00+08:00",
        "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
        "policy": [{"clause": "(二)1", "cells": {"upstream": ["b"]}, "disposition": "hold"}],
        "deadlines": {
            "rule": "first_full_working_day", "clause": "3", "legal_basis": "the notice",
            "business": ["filing.*"], "restart_of": ["b"],
        },
    })
}

fn set(body: &mut Value, starts_at: &str, ends_at: &str) {
    body["starts_at"] = json!(format!("{starts_at}T19:00:00+08:00"));
    body["ends_at"] = json!(format!("{ends_at}T20:00:00+08:00"));
}

type Change = fn(&mut Value);

/// What is made of a good window, and every word that is said of it then; those after `/` only warn.
const BAD: &[(Change, &str)] = &[
    (|b| set(b, "2022-08-10", "2022-08-11"), "past"),
    (|b| b["ends_at"] = b["starts_at"].clone(), "zero_length"),
    (|b| set(b, "2022-08-21", "2022-08-20"), "zero_length"),
    (|b| b["policy"][0]["ends_at"] = json!("2022-08-20T18:00:00+08:00"), "zero_length"),
    (|b| set(b, "2022-09-20", "2022-12-01"), "too_long / over_capacity"),
    (
        |b| b["policy"][0]["cells"] = json!({"business": ["filing.none"]}),
        "not_in_catalogue undecided / unmet",
    ),
    (|b| b["deadlines"]["restart_of"] = json!(["z"]), "not_in_catalogue"),
    (|b| b["policy"][0]["disposition"] = Value::Null, "undecided / stops_nothing"),
    (|b| b["policy"] = json!([]), "undecided"),
    (|b| b["policy"][0]["cells"] = json!({"class": ["pharmacy"]}), "undecided / unmet"),
    (|b| b["policy"][0]["clause"] = json!(" "), "unsaid"),
    (|b| b["policy"][0]["clause"] = json!("not_in_notice"), "unsaid"),
    (|b| b["policy"][0]["advice"] = json!("go_elsewhere"), "unsaid"),
    (|b| b["notice"] = Value::Null, "unsaid"),
    (|b| b["deadlines"]["legal_basis"] = json!(""), "unsaid"),
    (|b| b["deadlines"]["rule"] = json!({"restore_plus_working_days": 0}), "wrong_rule"),
    (|b| b["notice"]["clauses"] = json!(["(九)"]), "wrong_clause"),
    (|b| set(b, "2023-02-01", "2023-02-01"), "no_calendar"),
    (
        |b| {
            set(b, "2023-02-01", "2023-02-01");
            b["deadlines"] = Value::Null;
        },
        "/ no_calendar",
    ),
    (|b| set(b, "2022-08-13", "2022-08-13"), "/ overlaps"),
    (|b| b["starts_at"] = json!("2022-08-20T18:30:00+08:00"), "/"),
    (
        |b| {
            set(b, "2022-08-13", "2022-08-13");
            b["starts_at"] = json!("2022-08-13T08:00:00+08:00");
        },
        "/ begun overlaps over_capacity",
    ),
    (|b| b["notice"]["published_at"] = json!("2022-08-21T10:00:00+08:00"), "/ late_notice"),
    (|b| b["policy"][0]["disposition"] = json!("pass"), "/ stops_nothing"),
    (|b| set(b, "2022-09-12", "2022-09-12"), "/ over_holiday"),
    (
        |b| {
            set(b, "2022-08-13", "2022-08-13");
            b["policy"][0]["disposition"] = json!("pass");
        },
        "/ contradicts stops_nothing",
    ),
    (|b| set(b, "2022-08-20", "2022-08-21"), "/ over_capacity"),
    (|b| b["cutoff_minutes"] = json!(2000), "too_long / unmet"),
    (|b| b["cutoff_minutes"] = json!(20), "/ unmet"),
];

#[tokio::test]
async fn bad_windows_are_refused_or_warned_of_by_their_words_and_nothing_is_changed() {
    let house = house().await;
    let key = house.operator.clone();
    let mut other = good();
    other["id"] = json!("other");
    set(&mut other, "2022-08-13", "2022-08-13");
    assert_eq!(house.send("POST", "/admin/v1/windows", &key, &other).await.0, 201);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (change, expected) in BAD {
        let mut body = good();
        change(&mut body);
        let path = "/admin/v1/windows?dry_run=true";
        let (status, _, told) = house.send("POST", path, &key, &body).await;
        assert_eq!(status, 200, "{expected}: {told}");
        let codes = |warning: bool| -> BTreeSet<String> {
            let faults = told["faults"].as_array().unwrap().iter();
            let faults = faults.filter(|fault| fault["warning"] == warning);
            faults.map(|fault| fault["code"].as_str().unwrap().to_owned()).collect()
        };
        let (errors, warnings) = expected.split_once('/').unwrap_or((expected, ""));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let wanted: (BTreeSet<String>, BTreeSet<String>) = (words(errors), words(warnings));
        assert_eq!((codes(false), codes(true)), wanted, "{expected}: {told}");
        assert_eq!(told["refused"], json!(!errors.trim().is_empty()), "{expected}");
        let pointers = told["faults"].as_array().unwrap().iter().all(|fault| {
            fault["pointer"].as_str().unwrap().starts_with('/') && !fault["detail"].is_null()
        });
        assert!(pointers, "{told}");
        seen.extend(wanted.0.into_iter().chain(wanted.1));
        // What is refused on trial is refused in earnest, by the same words.
        if !errors.trim().is_empty() {
            let (status, _, told) = house.send("POST", "/admin/v1/windows", &key, &body).await;
            assert_eq!((status, &told["code"]), (422, &json!("invalid")), "{expected}: {told}");
            let said: BTreeSet<&str> = told["errors"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|e| e["code"].as_str())
                .collect();
            assert_eq!(said, errors.split_whitespace().collect(), "{expected}: {told}");
        }
    }
    assert!(BAD.len() >= 20);
    let every: BTreeSet<String> = FaultCode::ALL.iter().map(ToString::to_string).collect();
    let elsewhere = ["fixed", "not_kept"].map(str::to_owned);
    assert_eq!(seen, every.into_iter().filter(|code| !elsewhere.contains(code)).collect());
    let windows = house.get("/admin/v1/windows", &key).await;
    assert_eq!(windows["items"].as_array().map(Vec::len), Some(1), "nothing was declared");
    let log = house.get("/admin/v1/audit?limit=100", &key).await;
    let records = log["records"].as_array().unwrap();
    let refused = BAD.iter().filter(|(_, word)| !word.split('/').next().unwrap().trim().is_empty());
    assert_eq!(records.len(), 2 + 2 * refused.count(), "a trial is no act: {log}");
}

#[tokio::test]
async fn a_forecast_is_what_came_in_times_the_hours_that_it_is_kept() {
    let house = house().await;
    let key = house.operator.clone();
    let path = "/admin/v1/windows?dry_run=true";
    let (_, _, told) = house.send("POST", path, &key, &good()).await;
    let forecast = &told["forecast"];
    assert_eq!(forecast["watched_seconds"], 60, "one came in just now, of a minute at least");
    assert_eq!(forecast["watched_since"], at(NOW).before(Duration::from_secs(1800)).to_string());
    assert_eq!(forecast["transactions"], 60, "one a minute for an hour: {forecast}");
    assert_eq!(forecast["bytes"], 60 * (1024 + 6), "and six sealed bytes each");
    assert_eq!((&forecast["open"], &forecast["open_max"]), (&json!(1), &json!(200)));
    assert_eq!(forecast["fits"], Value::Null, "the disk was not measured");
    assert_eq!(forecast["upstreams"][0]["per_second"], 200);
    assert_eq!(forecast["replay_seconds"], 5, "5t + 1.625t² = 60");
    let (status, _, told) = house.send("POST", "/admin/v1/windows", &key, &good()).await;
    assert_eq!((status, told.get("warnings")), (201, None), "{told}");
    assert_eq!(&house.get("/admin/v1/windows/trial/forecast", &key).await, forecast);
    // What is let through is not kept.
    let mut passing = good();
    passing["id"] = json!("passing");
    passing["policy"][0]["disposition"] = json!("pass");
    let (_, _, told) = house.send("POST", path, &key, &passing).await;
    assert_eq!((&told["forecast"]["transactions"], &told["refused"]), (&json!(0), &json!(false)));
    let (status, _, told) = house.send("POST", path, &key, &good()).await;
    assert_eq!((status, &told["code"]), (409, &json!("wrong_state")), "{told}");
}

#[tokio::test]
async fn a_change_is_tried_with_what_it_would_say_otherwise() {
    let house = house().await;
    let key = house.operator.clone();
    let mut running = good();
    set(&mut running, "2022-08-13", "2022-08-13");
    running["starts_at"] = json!("2022-08-13T10:00:00+08:00");
    let (status, _, told) = house.send("POST", "/admin/v1/windows", &key, &running).await;
    assert_eq!((status, &told["warnings"][0]["code"]), (201, &json!("begun")), "{told}");
    let mut to = running;
    to.as_object_mut().unwrap().remove("id");
    to["ends_at"] = json!("2022-08-13T21:00:00+08:00");
    let path = "/admin/v1/windows/trial/change?dry_run=true";
    let (status, _, told) = house.send("POST", path, &key, &to).await;
    assert_eq!((status, &told["refused"]), (200, &json!(false)), "{told}");
    let pointers: Vec<&str> = told["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/ends_at", "/published_ends_at"]);
    to["policy"][0]["disposition"] = json!("pass");
    let (_, _, told) = house.send("POST", path, &key, &to).await;
    assert_eq!((&told["refused"], &told["faults"][0]["code"]), (&json!(true), &json!("fixed")));
    assert_eq!(told["faults"][0]["pointer"], "/policy/0/disposition");
    assert_eq!(house.get("/admin/v1/windows/trial", &key).await["version"], 1);
}
