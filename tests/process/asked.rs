//! Asking the policy of a real daemon: submitters, operators and the command line are answered what
//! the submission just after is told.

use crate::rig::{Answer, Daemon, HOLDOVER, Site, Submitter, after, wait_for};
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

fn declare(daemon: &Daemon) {
    let window = json!({
        "id": "stop", "reason": "the core is moved", "restore_by": "signed",
        "starts_at": after(Duration::from_millis(300)).to_string(),
        "ends_at": after(Duration::from_secs(3600)).to_string(),
        "notice": { "source": "the bureau", "published_at": "2026-01-05T10:00:00+08:00" },
        "policy": [
            { "clause": "1", "disposition": "hold", "cells": { "business": ["filing.*"] } },
            { "clause": "2", "disposition": "refuse", "advice": "come_back",
              "cells": { "business": ["settlement.*"], "operation": ["cancel"] } },
            { "clause": "not_in_notice", "disposition": "pass", "decided_because": "not stopped" },
        ],
    });
    let answer = daemon.admin().send("POST", "/admin/v1/windows", &window).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.text());
    wait_for("the stop", BOUND, || {
        let window = daemon.look("/admin/v1/windows/stop");
        (window["phase"] == "active").then_some(())
    });
}

fn submit(daemon: &Daemon, who: &Submitter, business: &str, operation: &str) -> Answer {
    let body = json!({
        "business": business, "operation": operation, "insured": "person-1",
        "channel": who.channel, "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "1.00",
        "payload": {},
    });
    let headers = [("Idempotency-Key", operation), ("Content-Type", "application/json")];
    let body = body.to_string();
    daemon.client(who).request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap()
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no instant: {value}")).parse().unwrap()
}

/// Both answers to the question what `who` would be told, now.
fn asked(daemon: &Daemon, who: &Submitter, business: &str, operation: &str) -> [Value; 2] {
    let line = format!("business={business}&operation={operation}&channel={}", who.channel);
    let own = daemon.client(who).get(&format!("/v1/policy?{line}")).unwrap();
    assert_eq!(own.status, 200, "{}", own.text());
    let of = format!("/admin/v1/policy?{line}&class={}&district=110101", who.class);
    let (own, operators) = (own.json(), daemon.look(&of));
    for field in ["disposition", "counter_action", "because", "policy", "gate", "others"] {
        assert_eq!(own[field], operators[field], "{field}");
    }
    assert_eq!(instant(&own["resume_at"]), instant(&operators["resume_at"]));
    [own, operators]
}

fn explain(site: &Site, daemon: &Daemon, args: &[&str]) -> (i32, String) {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, site.operator.as_bytes()).unwrap();
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &format!("http://{}", daemon.operators), "--key-file"]).arg(key);
    let output = command.args(["policy", "explain"]).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
}

#[test]
fn a_question_is_answered_as_the_submission_after_it() {
    let site = Site::new("");
    let daemon = site.start();
    declare(&daemon);
    let (hospital, hall) = (&site.submitters[0], &site.submitters[3]);

    let [own, _] = asked(&daemon, hall, "filing.out_of_area", "apply");
    assert_eq!((&own["because"], &own["gate"]), (&json!("window"), &json!("closed_by_window")));
    assert_eq!(own["others"][0]["lost"], "narrower_row");
    let receipt = submit(&daemon, hall, "filing.out_of_area", "apply");
    assert_eq!(receipt.status, 202, "{}", receipt.text());
    let receipt = receipt.json();
    for field in ["disposition", "counter_action", "policy", "resume_at"] {
        assert_eq!(receipt[field], own[field], "{field}");
    }

    let [own, _] = asked(&daemon, hospital, "settlement.outpatient", "cancel");
    let refusal = submit(&daemon, hospital, "settlement.outpatient", "cancel");
    assert_eq!(refusal.status, 409, "{}", refusal.text());
    let refusal = refusal.json();
    assert_eq!((&refusal["window"], &refusal["resume_at"]), (&own["policy"], &own["resume_at"]));
    assert_eq!((&own["disposition"], &own["policy"]["version"]), (&json!("refuse"), &json!(1)));

    let of = ["filing.out_of_area/apply", "--class", "hall", "--channel", "hall"];
    let (code, said) = explain(&site, &daemon, &of);
    assert_eq!(code, 0, "{said}");
    for text in [
        "filing.out_of_area/apply from hall/hall at ",
        "\nhold, counter: none\n",
        "\nbecause   window: row 0 of stop (version 1), clause 1\n",
        "\ngate      closed_by_window\n",
        "\nalso      row 2 of stop (version 1), clause not_in_notice: pass (narrower_row)\n",
    ] {
        assert!(said.contains(text), "{text:?} is missing:\n{said}");
    }
    let (code, said) = explain(&site, &daemon, &[&of[..], &["--at", "2020-01-05T10:00Z"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\npass, counter: none\nbecause   ordinary_day: no row\n"), "{said}");
    for wrong in [
        &["filing.out_of_area/apply"][..],
        &["filing.nothing/apply"],
        &["filing.out_of_area/cancel", "--class", "hall", "--channel", "hall"],
        &["filing.out_of_area/apply", "--class", "pharmacy", "--channel", "hall"],
        &["filing.out_of_area/apply", "--class", "hall", "--channel", "system"],
        &["filing.out_of_area/apply", "--class", "hall", "--channel", "hall", "--attribute", "a=b"],
        &["reimbursement.manual/apply", "--class", "hall", "--channel", "hall"],
    ] {
        let (code, said) = explain(&site, &daemon, wrong);
        assert_eq!(code, 2, "{wrong:?}: {said}");
    }
}
