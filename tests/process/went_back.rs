//! A journal that goes on from an older copy, and one that is begun anew, before a core that has
//! seen newer ones: no number is given twice, and nobody is told of another's transaction.

use crate::rig::{Client, Daemon, Site, wait_for};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// Posts one transaction, waits until it is applied, and ends the daemon without warning.
fn pass_one(site: &Site, args: &[&str], key: &str) -> String {
    let daemon = site.start_with(args);
    let mut client = daemon.client(&site.submitters[0]);
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    let body = json!({
        "business": "settlement.outpatient", "operation": "advice", "channel": "system",
        "insured": key, "occurred_at": "2026-01-05T10:00:00+08:00",
        "amount": "12.50", "payload": { "subject": key },
    });
    let body = body.to_string();
    let answer = client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    daemon.settle(BOUND);
    let receipt = answer.json();
    let (id, number) = (receipt["id"].as_str().unwrap(), receipt["number"].as_str().unwrap());
    assert_eq!(status_of(&mut client, id), 200);
    assert_eq!(status_of(&mut client, number), 200, "its digits alone name it too");
    daemon.kill();
    id.to_owned()
}

fn status_of(client: &mut Client, id: &str) -> u16 {
    wait_for("the listings to have come to it", BOUND, || {
        let answer = client.get(&format!("/v1/transactions/{id}")).unwrap();
        (answer.status != 503).then_some(answer.status)
    })
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// That the core was sent each of these once, as different transactions, and that of the `lost`
/// ones nothing is said.
fn check(site: &Site, daemon: &Daemon, known: &[String], lost: &[String]) {
    let mut client = daemon.client(&site.submitters[0]);
    assert!(known.iter().all(|id| status_of(&mut client, id) == 200), "{known:?}");
    assert!(lost.iter().all(|id| status_of(&mut client, id) == 404), "{lost:?}");
    let calls = site.core.calls();
    let called = || calls.iter().filter_map(|call| call["transaction"].as_str());
    let all: BTreeSet<&str> = known.iter().chain(lost).map(String::as_str).collect();
    assert_eq!(all.len(), known.len() + lost.len(), "a number was given twice: {all:?}");
    assert_eq!(called().collect::<BTreeSet<_>>(), all);
    assert_eq!(called().count(), all.len(), "{calls:#?}");
}

#[test]
fn a_journal_that_goes_on_from_an_older_copy_gives_other_numbers() {
    let site = Site::new("");
    let kept = pass_one(&site, &[], "kept");
    let older = site.folder().join("older");
    copy(&site.data, &older);
    let lost = pass_one(&site, &[], "lost");
    fs::remove_dir_all(&site.data).unwrap();
    copy(&older, &site.data);
    let new = pass_one(&site, &[], "new");
    let places = [&lost, &new].map(|id| id[..16].to_owned());
    assert_eq!(places[0], places[1], "the same place in the journal, or this shows nothing");
    check(&site, &site.start(), &[kept, new], &[lost]);
}

#[test]
fn a_journal_that_is_begun_anew_gives_other_numbers() {
    let site = Site::new("");
    let lost = pass_one(&site, &[], "lost");
    fs::remove_dir_all(&site.data).unwrap();
    let new = pass_one(&site, &[], "new");
    check(&site, &site.start(), &[new], &[lost]);
}
