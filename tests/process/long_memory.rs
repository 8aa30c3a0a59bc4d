//! A2: an idempotency key is remembered for longer than any window, across restarts.
//!
//! The daemon runs on a driven clock, so that 45 days pass in a moment.

use crate::rig::{Client, Site, wait_for};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn body(amount: &str) -> serde_json::Value {
    json!({
        "business": "settlement.outpatient", "operation": "advice", "insured": "person-1",
        "visit": "visit-1", "occurred_at": "2022-08-12T16:00:00+08:00", "amount": amount,
        "payload": {"n": 1},
    })
}

fn post(client: &mut Client, amount: &str) -> (u16, Vec<u8>) {
    let text = serde_json::to_vec(&body(amount)).unwrap();
    let headers = [("Idempotency-Key", "\"remember-me\""), ("Content-Type", "application/json")];
    let answer = client.request("POST", "/v1/transactions", &headers, &text).unwrap();
    (answer.status, answer.body)
}

#[test]
fn a2_the_same_key_45_days_and_a_kill_later_gets_the_first_receipt() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let start = "2022-08-12T17:00:00+08:00".parse().unwrap();
    let clock = runtime.block_on(ClockServer::bind(start, &tasks)).unwrap();
    let address = clock.addr().to_string();
    let site = Site::new("[data]\nclock_ahead_max = \"60d\"\n");
    let submitter = site.submitters[0].clone();

    let daemon = site.start_with(&["--clock", &address]);
    let first = post(&mut daemon.client(&submitter), "12.50");
    assert_eq!(first.0, 202);
    daemon.settle(Duration::from_secs(20));
    runtime.block_on(clock.jump_to("2022-09-26T17:00:00+08:00".parse().unwrap()));
    let again = post(&mut daemon.client(&submitter), "12.50");
    assert_eq!(again, first, "45 days later");
    daemon.kill();

    let daemon = site.start_with(&["--clock", &address]);
    let after_kill = wait_for("an answer after the restart", Duration::from_secs(20), || {
        Some(post(&mut daemon.client(&submitter), "12.50")).filter(|(status, _)| *status != 503)
    });
    assert_eq!(after_kill, first, "and after a kill");
    let other = post(&mut daemon.client(&submitter), "13.50");
    assert_eq!(other.0, 422, "{}", String::from_utf8_lossy(&other.1));
}
