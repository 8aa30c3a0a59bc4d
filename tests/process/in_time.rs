//! E7: what a person handed in during a stop counts by that day, however late it is replayed. The
//! core is told so, and so is whoever looks, up to the page that can be handed out.

use crate::rig::{Daemon, HOLDOVER, Site, wait_for};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(20);

fn declare(daemon: &Daemon) {
    let window = json!({
        "id": "stop", "reason": "as the notice says", "restore_by": "probes",
        "starts_at": "2022-08-12T19:00:00+08:00", "ends_at": "2022-08-15T06:00:00+08:00",
        "notice": { "source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00" },
        "policy": [
            { "clause": "(三)1", "disposition": "hold", "cells": { "upstream": ["agency"] } },
            { "clause": "not_in_notice", "disposition": "pass", "decided_because": "not stopped" },
        ],
        "deadlines": {
            "rule": "first_full_working_day", "clause": "(三)3", "legal_basis": "the notice",
            "business": ["reimbursement.manual"], "restart_of": ["agency"],
        },
    });
    let answer = daemon.admin().send("POST", "/admin/v1/windows", &window).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
}

/// Hands in an application that is due on the Saturday of the stop.
fn apply(daemon: &Daemon, site: &Site, key: &str, received_at: &str) -> Value {
    let hall = &site.submitters[3];
    let body = json!({
        "business": "reimbursement.manual", "operation": "apply", "insured": key,
        "channel": "hall", "occurred_at": "2022-07-01T10:00:00+08:00",
        "received_from_person_at": received_at, "amount": "1234.50", "deadline": "2022-08-13",
        "attributes": { "population": "employee", "fully_prepaid": true },
        "payload": { "subject": key },
    });
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    let body = body.to_string();
    let mut client = daemon.client(hall);
    let answer = client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()
}

fn shown(daemon: &Daemon, site: &Site, receipt: &Value) -> Value {
    let path = format!("/v1/transactions/{}", receipt["id"].as_str().unwrap());
    let mut client = daemon.client(&site.submitters[3]);
    // Of one that has just ended the listings may not know yet.
    let answer = wait_for("its status", BOUND, || {
        Some(client.get(&path).unwrap()).filter(|answer| answer.status != 503)
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The page for a date, with the day on which something was handed in.
fn certificate(site: &Site, daemon: &Daemon, received: &str) -> String {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, &site.operator).unwrap();
    let url = format!("http://{}", daemon.operators);
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &url, "--key-file"]).arg(&key);
    command.args(["deadline", "check", "--certificate", "--business", "reimbursement.manual"]);
    command.args(["--original", "2022-08-13", "--received", received]);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn e7_what_was_handed_in_in_the_stop_is_in_time_when_it_is_replayed_days_later() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let start = "2022-08-12T17:00:00+08:00".parse().unwrap();
    let clock = runtime.block_on(ClockServer::bind(start, &tasks)).unwrap();
    let jump = |to: &str| runtime.block_on(clock.jump_to(to.parse().unwrap()));
    let address = clock.addr().to_string();
    let site = Site::with_core("", &["--clock", &address]);
    let daemon = site.start_with(&["--clock", &address]);
    declare(&daemon);

    jump("2022-08-13T10:30:00+08:00");
    let receipt = apply(&daemon, &site, "person-1", "2022-08-13T10:20:00+08:00");
    assert_eq!(receipt["deadline"]["effective"], "2022-08-15", "{receipt}");
    // It lasts a day longer, and with it the date that was told.
    let longer = json!({ "ends_at": "2022-08-16T06:00:00+08:00", "reason": "not ready" });
    let path = "/admin/v1/windows/stop/extend";
    assert_eq!(daemon.admin().send("POST", path, &longer).unwrap().status, 200);
    let before = shown(&daemon, &site, &receipt);
    assert_eq!(before["receipt"]["deadline"]["effective"], "2022-08-15", "as it held then");
    let holds = json!({
        "original": "2022-08-13", "effective": "2022-08-16", "final": false, "in_time": true,
        "rule": "first_full_working_day", "clause": "(三)3", "window": "stop",
    });
    assert_eq!(before["deadline"], holds, "as it holds now");

    jump("2022-08-16T06:00:00+08:00");
    wait_for("the replay", BOUND, || (daemon.items("applied") == 1).then_some(()));
    let calls = site.core.calls();
    let sent: Vec<&Value> = calls.iter().filter(|call| call["kind"] == "effect").collect();
    let [sent] = sent.as_slice() else { panic!("once: {sent:?}") };
    let instant = |name: &str| sent[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(instant("received_from_person_at"), at("2022-08-13T10:20:00+08:00"), "{sent}");
    assert_eq!(instant("accepted_at").since(at("2022-08-13T10:30:00+08:00")).as_secs() / 60, 0);
    assert!(instant("instant") >= at("2022-08-16T06:00:00+08:00"), "{sent}");
    let after = shown(&daemon, &site, &receipt);
    assert_eq!(after["deadline"]["in_time"], json!(true), "{after}");
    assert_eq!((&after["state"], &after["deadline"]["final"]), (&json!("applied"), &json!(true)));

    // Whoever comes after that day is too late, and the status says that too.
    jump("2022-08-17T10:00:00+08:00");
    let late = apply(&daemon, &site, "person-2", "2022-08-17T09:50:00+08:00");
    assert_eq!(shown(&daemon, &site, &late)["deadline"]["in_time"], json!(false));
    let page = certificate(&site, &daemon, "2022-08-13");
    let head = "CERTIFICATE OF A DEADLINE\n\nbusiness:   reimbursement.manual\n\
                given as:   2022-08-13\nholds:      2022-08-16 (final)\n\
                handed in:  2022-08-13: in time\n\nHow it was computed\n\n";
    assert!(page.starts_with(head), "{page}");
    for words in ["inside the stop of stop version", "clause (三)3, it moves to 2022-08-16"] {
        assert!(page.contains(words), "{words} is missing:\n{page}");
    }
    assert!(page.lines().count() <= 60 && page.lines().all(|line| !line.contains("person-")));
    assert!(certificate(&site, &daemon, "2022-08-17").contains("handed in:  2022-08-17: too late"));
}
