//! What operators are told of dates: explained, previewed, at risk, applied.

use crate::engine_scenarios::{at, window};
use crate::house::{Desk, House, Says, house};
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::policy::Disposition;
use holdover::domain::time::Interval;
use holdover::engine::change::Change;
use holdover::engine::ports::IndexUnavailable;
use serde_json::{Value, json};
use std::sync::Arc;

fn stop(id: &str, ends_at: &str, rule: &Value) -> Value {
    json!({
        "id": id,
        "starts_at": "2022-08-12T19:00:00+08:00",
        "ends_at": ends_at,
        "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
        "policy": [{"clause": "(三)1", "cells": {"upstream": ["b"]}, "disposition": "hold"}],
        "deadlines": rule,
    })
}

fn rule(rule: &Value) -> Value {
    json!({
        "rule": rule, "clause": "(三)3", "legal_basis": "the notice's own words",
        "business": ["filing.one"], "restart_of": ["b"],
    })
}

async fn register(house: &House, body: Value) -> Value {
    let mut case = json!({"business": "filing.one", "reference": "case 1"});
    case.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &case).await;
    assert_eq!(status, 201, "{told}");
    told
}

async fn look(house: &House, path: &str) -> Value {
    house.get(&format!("/admin/v1/deadlines/{path}"), &house.operator).await
}

fn words(answer: &Value) -> Vec<&str> {
    answer["words"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_date_is_explained_from_what_was_given_to_what_was_told() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let case = register(&house, json!({"original": "2022-08-13", "owed_by": "applicant"})).await;
    assert_eq!((&case["effective"], &case["owed_by"]), (&json!("2022-08-13"), &json!("applicant")));
    let path = "explain?business=filing.one&original=2022-08-13";
    let before = look(&house, path).await;
    assert_eq!(
        words(&before),
        [
            "filing.one was due on 2022-08-13.",
            "No window has a rule for the deadlines of filing.one.",
            "2022-08-13 is final by the stops that are known.",
        ]
    );
    assert_eq!(before["told"], json!([]));

    let body = stop("long", "2022-08-15T06:00:00+08:00", &rule(&json!("first_full_working_day")));
    let (status, code, why) = house.post("/admin/v1/windows", &house.operator, body).await;
    assert_eq!(status, 201, "{code} {why}");
    let answer = look(&house, path).await;
    assert_eq!(
        words(&answer),
        [
            "filing.one was due on 2022-08-13.",
            "2022-08-13 ends at 2022-08-14T00:00:00+08:00, inside the stop of long version 1 from \
             2022-08-12T19:00:00+08:00 to 2022-08-15T06:00:00+08:00 (as published; it is not over).",
            "By first_full_working_day, clause (三)3, it moves to 2022-08-15: the notice's own \
             words. Working days are those of test.",
            "2022-08-15 may still move later: a stop is not over.",
        ]
    );
    let told = &answer["told"][0];
    assert_eq!((&told["cause"], &told["to"]), (&json!("window"), &json!("2022-08-15")));
    assert_eq!((&told["window"], &told["version"]), (&json!("long"), &json!(1)));
    let id = case["id"].as_str().unwrap();
    let shown = look(&house, id).await;
    assert_eq!(shown["computed"]["date"], "2022-08-15");
    let (status, ..) =
        house.send("GET", "/admin/v1/deadlines/D-0", &house.operator, &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn whoever_owes_what_is_due_is_named_with_it() {
    let house = house(Says(Err(IndexUnavailable))).await;
    for (who, original) in
        [("applicant", "2022-08-13"), ("institution", "2022-08-14"), ("agency", "2022-08-15")]
    {
        let case = register(&house, json!({"original": original, "owed_by": who})).await;
        assert_eq!(case["owed_by"], who);
        let shown = look(&house, case["id"].as_str().unwrap()).await;
        assert_eq!(shown["owed_by"], who, "{shown}");
        let listed = house.get("/v1/deadlines", &house.mine).await;
        let mine = listed["items"].as_array().unwrap().iter().find(|one| one["id"] == case["id"]);
        assert_eq!(mine.unwrap()["owed_by"], who, "{listed}");
    }
    let nobody = json!({
        "business": "filing.one", "reference": "4", "original": "2022-08-13", "owed_by": "nobody",
    });
    let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &nobody).await;
    assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!("/owed_by")), "{told}");
}

#[tokio::test]
async fn a_stop_that_is_too_short_says_why_it_moves_nothing() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let mut only_long = rule(&json!("first_full_working_day"));
    only_long["only_if"] = json!({"stop_min_minutes": 6000});
    let body = stop("short", "2022-08-15T06:00:00+08:00", &only_long);
    house.post("/admin/v1/windows", &house.operator, body).await;
    let answer = look(&house, "explain?business=filing.one&original=2022-08-13").await;
    let last = words(&answer)[1];
    assert!(
        last.ends_with("which moves no date: it lasts 3540 minutes, at least 6000 are needed."),
        "{last}"
    );
    assert_eq!((&answer["effective"], &answer["final"]), (&json!("2022-08-13"), &json!(false)));
}

#[tokio::test]
async fn e6_what_is_previewed_is_what_is_told_and_a_second_time_nothing_is() {
    let house = house(Says(Err(IndexUnavailable))).await;
    for (original, reference) in [
        ("2022-08-11", "1"),
        ("2022-08-13", "2"),
        ("2022-08-13", "3"),
        ("2022-08-15", "4"),
        ("2022-08-16", "5"),
    ] {
        register(&house, json!({"original": original, "reference": reference})).await;
    }
    let five = rule(&json!({"restore_plus_working_days": 5}));
    let body = stop("long", "2022-08-15T06:00:00+08:00", &five);
    assert_eq!(house.post("/admin/v1/windows", &house.operator, body).await.0, 201);
    let nothing = look(&house, "preview?window=long").await;
    assert_eq!((&nothing["moves"], &nothing["cases"]), (&json!([]), &json!(0)), "all is told");
    let inversions = json!([
        {"business": "filing.one", "earlier": "2022-08-13", "earlier_becomes": "2022-08-22",
            "later": "2022-08-15", "later_becomes": "2022-08-15"},
        {"business": "filing.one", "earlier": "2022-08-13", "earlier_becomes": "2022-08-22",
            "later": "2022-08-16", "later_becomes": "2022-08-16"},
    ]);
    assert_eq!(nothing["inversions"], inversions);

    let ends_at = "2022-08-16T06:00:00%2B08:00";
    let later = look(&house, &format!("preview?window=long&ends_at={ends_at}")).await;
    let moves: Vec<(&str, &str, &Value)> = later["moves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let [original, becomes] = ["original", "becomes"].map(|f| one[f].as_str().unwrap());
            (original, becomes, &one["cases"])
        })
        .collect();
    let expected =
        [("2022-08-13", "2022-08-23", &json!(2)), ("2022-08-15", "2022-08-23", &json!(1))];
    assert_eq!(moves, expected);
    assert_eq!(later["cases"], 3);
    let numbers = async || -> Vec<(String, Value)> {
        let listed = house.get("/v1/deadlines", &house.mine).await;
        let items = listed["items"].as_array().unwrap().iter();
        let number = |item: &Value| item["id"].as_str().unwrap().to_owned();
        items.map(|item| (number(item), item["effective"].clone())).collect()
    };
    let before = numbers().await;
    let body = json!({"ends_at": "2022-08-16T06:00:00+08:00"});
    assert_eq!(house.post("/admin/v1/windows/long/extend", &house.operator, body).await.0, 200);
    let mut told = 0;
    for ((number, held), (same, holds)) in before.iter().zip(&numbers().await) {
        let shown = look(&house, number).await;
        assert_eq!((number, &shown["computed"]["date"]), (same, holds));
        let original = shown["computed"]["original"].as_str().unwrap();
        let foreseen = expected.iter().find(|(of, ..)| *of == original);
        let becomes = foreseen.map_or(held, |_| holds);
        assert_eq!(becomes, holds, "{number} moves only where that was previewed");
        assert!(foreseen.is_none_or(|(_, becomes, _)| holds == becomes), "{number}: {holds}");
        told += u64::from(held != holds);
    }
    assert_eq!((before.len(), &later["cases"]), (5, &json!(told)), "as many as were previewed");
    for (original, becomes, _) in expected {
        let path = format!("explain?business=filing.one&original={original}");
        let answer = look(&house, &path).await;
        assert_eq!(answer["told"].as_array().unwrap().last().unwrap()["to"], becomes);
    }
    let (status, _, told) = house
        .send(
            "POST",
            "/admin/v1/deadlines/apply",
            &house.operator,
            &json!({"reason": "to be sure"}),
        )
        .await;
    assert_eq!((status, &told["told"]), (200, &json!(0)), "{told}");
    assert_eq!(look(&house, "preview?window=long").await["moves"], json!([]));
    let (status, code, _) = house.post("/admin/v1/deadlines/apply", &house.mine, json!({})).await;
    assert_eq!((status, code.as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn e9_dates_that_a_stop_takes_away_without_a_rule_are_listed_with_whom_they_concern() {
    let house = house(Says(Err(IndexUnavailable))).await;
    for (original, reference) in [("2022-08-14", "1"), ("2022-08-13", "2"), ("2022-08-15", "3")] {
        register(&house, json!({"original": original, "reference": reference})).await;
    }
    assert_eq!(look(&house, "at-risk").await["items"], json!([]));
    let body = stop("long", "2022-08-15T06:00:00+08:00", &Value::Null);
    assert_eq!(house.post("/admin/v1/windows", &house.operator, body).await.0, 201);
    let found = look(&house, "at-risk").await;
    let items = found["items"].as_array().unwrap();
    let ends = |item: &Value| item["ends_at"].as_str().unwrap().to_owned();
    assert_eq!(
        items.iter().map(ends).collect::<Vec<_>>(),
        ["2022-08-13T16:00:00Z", "2022-08-14T16:00:00Z"]
    );
    assert_eq!((&items[0]["cases"], &items[0]["window"]), (&json!(1), &json!("long")));
}

#[tokio::test]
async fn a_row_that_is_told_to_be_wrong_has_registered_nothing() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let row = |business: &str, original: &str| {
        json!({"institution": "H11010500001", "business": business, "original": original,
            "reference": "1"})
    };
    let body = json!({
        "rows": [row("filing.none", "2022-08-13"), row("filing.one", "2022-8-13"),
            row("filing.one", "2022-08-13")],
        "reason": "cases on paper",
    });
    let path = "/admin/v1/deadlines/import";
    let (status, _, told) = house.send("POST", path, &house.operator, &body).await;
    assert_eq!(status, 200, "{told}");
    let rows = told["rows"].as_array().unwrap();
    assert!(rows[0]["why"].is_string() && rows[1]["field"] == "original", "{told}");
    assert_eq!((&rows[2]["effective"], &rows[0]["id"]), (&json!("2022-08-13"), &Value::Null));
    let known = house.get("/admin/v1/deadlines", &house.operator).await;
    assert_eq!(known["items"].as_array().map(Vec::len), Some(1), "{known}");
}

#[tokio::test]
async fn a_case_is_registered_by_its_event_and_by_an_instant() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let by_event = json!({"term": "working_days:5", "event": "2022-08-12"});
    let told = register(&house, by_event).await;
    assert_eq!(
        (&told["original"], &told["effective"]),
        (&json!("2022-08-19"), &json!("2022-08-19"))
    );
    assert_eq!((&told["term"], &told["event"]), (&json!("working_days:5"), &json!("2022-08-12")));
    let told = register(&house, json!({"original": "2022-08-13T17:00:00+08:00"})).await;
    assert_eq!(told["original"], "2022-08-13T09:00:00Z");
    let page = house.get("/v1/deadlines", &house.mine).await;
    assert_eq!(page["items"][0]["term"], "working_days:5");

    let check = "/v1/deadlines/check?business=filing.one&term=month_end&event=2022-08-01\
                 &received=2022-08-31";
    let told = house.get(check, &house.mine).await;
    assert_eq!((&told["original"], &told["in_time"]), (&json!("2022-08-31"), &json!(true)));

    for (body, pointers) in [
        (json!({"original": "2022-8-13"}), vec!["/original"]),
        (json!({}), vec!["/original"]),
        (json!({"original": "2022-08-13", "term": "days:1"}), vec!["/original"]),
        (json!({"term": "days:1"}), vec!["/event"]),
        (json!({"term": "days:0", "event": "x"}), vec!["/term", "/event"]),
        (json!({"original": "2022-08-13", "owed_by": "nobody"}), vec!["/owed_by"]),
        (json!({"business": "nothing", "event": "2022-08-13"}), vec!["/business", "/original"]),
    ] {
        let mut case = json!({"business": "filing.one", "reference": "case 1"});
        case.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &case).await;
        assert_eq!(status, 422, "{told}");
        let found = told["errors"].as_array().unwrap().iter();
        let found: Vec<&str> = found.map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers, "{body}");
    }
    let beyond = json!({"business": "filing.one", "reference": "r", "term": "days:9",
        "event": "2022-12-30"});
    let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &beyond).await;
    assert_eq!((status, &told["code"]), (422, &json!("no_calendar")), "{told}");
}

/// A window that was declared under a calendar that knew the year.
#[tokio::test]
async fn what_carries_a_date_is_shown_with_the_reason_why_the_date_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(folder.path());
    desk.close_gates();
    let seq = desk.accept(|s| s.deadline = Some("2022-12-31".parse().unwrap()));
    let mut stop = window(Disposition::Hold);
    stop.planned =
        Interval::new(at("2022-12-30T19:00:00+08:00"), at("2023-01-03T06:00:00+08:00")).unwrap();
    stop.published = stop.planned;
    let mut moves = rule(&json!("first_full_working_day"));
    moves["restart_of"] = json!(["a"]);
    stop.deadlines = serde_json::from_value(moves).unwrap();
    desk.machine.apply(Seq(0), &Change::WindowSet(Arc::new(stop)));
    let house = desk.house();
    let id = Numbers::default().transaction(seq);
    let shown = house.get(&format!("/v1/transactions/{id}"), &house.mine).await;
    assert_eq!((&shown["state"], &shown["deadline"]), (&json!("waiting"), &Value::Null), "{shown}");
    assert_eq!(shown["deadline_unknown"], json!("no_calendar"), "{shown}");
}

/// What the script that is handed out with the evidence counts; `None` without Python.
fn counted_by_script(evidence: &Value) -> Option<String> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks/prove-a-date.py");
    let child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let asked = std::env::var("HOLDOVER_SERVERS").is_ok_and(|value| value == "1");
    let Ok(mut child) = child else {
        assert!(!asked, "there is no python3 here");
        eprintln!("left out: there is no python3 here to count a date with");
        return None;
    };
    child.stdin.take().unwrap().write_all(evidence.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[tokio::test]
async fn e5_a_date_is_proved_from_raw_inputs_by_a_script_that_knows_nothing_of_us() {
    for (rule_of, original, expected) in [
        (json!("first_full_working_day"), "2022-08-13", "2022-08-15"),
        (json!({"restore_plus_working_days": 7}), "2022-08-13", "2022-08-24"),
        (json!({"restore_plus_days": 5}), "2022-08-14", "2022-08-22"),
        (json!({"fixed_date": "2022-08-31"}), "2022-08-13", "2022-08-31"),
        (json!({"restore_plus_working_days": 7}), "2022-08-16", "2022-08-16"),
    ] {
        let house = house(Says(Err(IndexUnavailable))).await;
        register(&house, json!({"original": original})).await;
        let body = stop("long", "2022-08-15T06:00:00+08:00", &rule(&rule_of));
        assert_eq!(house.post("/admin/v1/windows", &house.operator, body).await.0, 201);
        let path = format!("evidence?business=filing.one&original={original}");
        let evidence = look(&house, &path).await;
        assert_eq!(evidence["effective"], expected, "{rule_of}");
        assert_eq!(evidence["windows"][0]["author"], "Li Na", "by whom");
        let told = evidence["told"].as_array().unwrap();
        assert_eq!(told.len(), usize::from(original != expected));
        if let Some(counted) = counted_by_script(&evidence) {
            assert_eq!(counted, expected, "{rule_of}");
        }
        house.close();
    }
    // Each window is asked about the date as it stood before any of them.
    let house = house(Says(Err(IndexUnavailable))).await;
    register(&house, json!({"original": "2022-08-13"})).await;
    for (name, of) in [
        ("one", json!("first_full_working_day")),
        ("two", json!({"restore_plus_working_days": 7})),
        ("three", json!({"restore_plus_days": 1})),
    ] {
        let body = stop(name, "2022-08-15T06:00:00+08:00", &rule(&of));
        assert_eq!(house.post("/admin/v1/windows", &house.operator, body).await.0, 201);
    }
    let evidence = look(&house, "evidence?business=filing.one&original=2022-08-13").await;
    assert_eq!(evidence["effective"], "2022-08-24");
    if let Some(counted) = counted_by_script(&evidence) {
        assert_eq!(counted, "2022-08-24");
    }
}
