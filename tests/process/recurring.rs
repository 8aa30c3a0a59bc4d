//! A night with a real daemon on a driven clock: a recurring stop and service hours hold and let
//! go by themselves, over a kill in the middle.

use crate::rig::{Answer, Daemon, HOLDOVER, Site, Submitter, wait_for};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(20);

/// The second Sunday of the month from 02:00 to 04:00, and halls from 06:00 to 22:00.
const CONFIG: &str = r#"
[recurring.weekly]
cron = "0 2 * * sun"
days = "8..14"
lasts = "2h"
restore_by = "probes"
author = "operations"
reason = "maintenance"

[recurring.weekly.notice]
source = "the bureau"
published_at = "2025-12-01T10:00:00+08:00"

[[recurring.weekly.row]]
clause = "1"
disposition = "hold"
cells = { business = ["settlement.*"], operation = ["advice"] }

[[recurring.weekly.row]]
clause = "not_in_notice"
disposition = "pass"
decided_because = "only what is told afterwards can wait"

[service_hours.halls]
from = "06:00"
until = "22:00"
outside = "hold"
clause = "guide, 3"
reason = "the halls' hours"
cells = { business = ["filing.out_of_area"], class = ["hall"] }
"#;

const WINDOW: &str = "weekly-20260110t1800z";

fn post(daemon: &Daemon, by: &Submitter, key: &str) -> Answer {
    let (business, operation) = match by.class {
        "hall" => ("filing.out_of_area", "apply"),
        _ => ("settlement.outpatient", "advice"),
    };
    let mut body = json!({
        "business": business, "operation": operation, "insured": key, "channel": by.channel,
        "occurred_at": "2026-01-10T21:00:00+08:00", "payload": {},
    });
    if by.class == "hospital" {
        body["amount"] = json!("12.50");
    }
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    let body = body.to_string();
    let sent = daemon.client(by).request("POST", "/v1/transactions", &headers, body.as_bytes());
    let answer = sent.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer
}

/// The state of each gate, by business.
fn gates(daemon: &Daemon) -> Vec<(String, String)> {
    let gates = daemon.look("/admin/v1/gates")["gates"].as_array().unwrap().clone();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mut states: Vec<_> =
        gates.iter().map(|gate| (word(&gate["cell"]["business"]), word(&gate["state"]))).collect();
    states.sort();
    states
}

fn windows(daemon: &Daemon) -> Vec<(String, String)> {
    let items = daemon.look("/admin/v1/windows")["items"].as_array().unwrap().clone();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    items.iter().map(|window| (word(&window["id"]), word(&window["phase"]))).collect()
}

/// What a person at the command line sees.
fn listed(site: &Site, daemon: &Daemon) -> String {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, &site.operator).unwrap();
    let url = format!("http://{}", daemon.operators);
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &url, "--key-file"]).arg(&key).args(["window", "list", "--next", "2"]);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn a_recurring_stop_and_service_hours_hold_and_let_go_over_a_kill() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let start = "2026-01-10T21:30:00+08:00".parse().unwrap();
    let clock = runtime.block_on(ClockServer::bind(start, &tasks)).unwrap();
    let jump = |to: &str| runtime.block_on(clock.jump_to(to.parse().unwrap()));
    let address = clock.addr().to_string();
    let site = Site::new(CONFIG);
    let (hospital, hall) = (&site.submitters[0], &site.submitters[3]);

    let daemon = site.start_with(&["--clock", &address]);
    assert_eq!(windows(&daemon), [(WINDOW.to_owned(), "scheduled".to_owned())]);
    let shown = listed(&site, &daemon);
    for text in [
        WINDOW,
        "2026-01-11T02:00:00+08:00",
        "2026-01-10T18:00:00Z to 2026-01-10T20:00:00Z",
        "2026-02-08T02:00:00+08:00",
        "not declared yet",
        "2026-01-11T06:00:00+08:00",
        "2026-01-10T22:00:00Z to 2026-01-11T14:00:00Z",
    ] {
        assert!(shown.contains(text), "{text} is missing:\n{shown}");
    }

    jump("2026-01-10T22:00:00+08:00");
    let told = post(&daemon, hall, "at-night").json();
    assert_eq!(told["policy"]["window"], "halls", "{told}");
    assert_eq!(told["resume_at"], "2026-01-11T06:00:00+08:00", "{told}");
    jump("2026-01-11T02:00:00+08:00");
    post(&daemon, hospital, "in-the-stop");
    let closed = |business: &str, state: &str| (business.to_owned(), state.to_owned());
    let both = [
        closed("filing.out_of_area", "closed_by_schedule"),
        closed("settlement.outpatient", "closed_by_window"),
    ];
    assert_eq!(gates(&daemon), both);
    daemon.kill();

    jump("2026-01-11T03:00:00+08:00");
    let daemon = site.start_with(&["--clock", &address]);
    assert_eq!(windows(&daemon), [(WINDOW.to_owned(), "active".to_owned())], "declared once");
    assert_eq!((gates(&daemon), daemon.items("waiting")), (both.to_vec(), 2));

    jump("2026-01-11T04:00:00+08:00");
    wait_for("the end of the stop", BOUND, || (daemon.items("applied") == 1).then_some(()));
    assert_eq!(windows(&daemon), [(WINDOW.to_owned(), "completed".to_owned())]);
    jump("2026-01-11T05:59:50+08:00");
    assert_eq!(gates(&daemon)[0], both[0]);
    assert_eq!(daemon.items("waiting"), 1, "the halls are closed");
    jump("2026-01-11T06:00:00+08:00");
    daemon.settle(BOUND);
    assert_eq!(daemon.items("applied"), 2);
    let effect = |call: &&Value| !["probe", "question"].contains(&call["kind"].as_str().unwrap());
    let calls = site.core.calls();
    assert_eq!(calls.iter().filter(effect).count(), 2, "each once: {calls:?}");
}
