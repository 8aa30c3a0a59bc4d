//! Segments that leave a running daemon: what still waits is carried along through it all, what
//! is final goes to the archive, and the disk does not grow with what was.

use crate::damage::{flip_on_disk, place_of};
use crate::rig::{Answer, Client, Daemon, HOLDOVER, Site, wait_for};
use holdover::domain::ids::TransactionId;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(60);
/// Everything is old at once, and segments are small.
const CONFIG: &str = r#"
[journal]
segment_bytes = 262144
snapshot_every_records = 1000
forward_after = "0s"
retention = "0s"
"#;

fn submission(business: &str, number: usize) -> Value {
    json!({
        "business": business, "operation": "advice", "channel": "system",
        "insured": format!("p-{number}"), "occurred_at": "2026-01-05T10:00:00+08:00",
        "amount": "12.50", "payload": { "subject": number.to_string() },
    })
}

fn post(client: &mut Client, business: &str, number: usize) -> Answer {
    let key = format!("{business}-{number}");
    let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
    let body = submission(business, number).to_string();
    client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap()
}

fn post_batch(client: &mut Client, from: usize, count: usize) {
    let lines = (from..from + count).map(|number| {
        let mut line = submission("settlement.outpatient", number);
        line["idempotency_key"] = json!(format!("settlement.outpatient-{number}"));
        format!("{line}\n")
    });
    let body: String = lines.collect();
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = client.request("POST", "/v1/transactions/batch", &kind, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.text().lines().count(), count);
}

fn segments(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".segment")).count()
}

fn newest_snapshot(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".snapshot")).max()
}

fn intact(args: &[&str]) -> bool {
    let checked = Command::new(HOLDOVER).args(["journal", "verify"]).args(args).output().unwrap();
    checked.status.success()
}

/// Posts and applies until `more` segments have left.
fn let_leave(site: &Site, daemon: &Daemon, next: &mut usize, more: usize) {
    let archive = site.data.join("archive");
    let wanted = segments(&archive) + more;
    let mut client = daemon.client(&site.submitters[1]);
    wait_for("segments to leave", BOUND, || {
        post_batch(&mut client, *next, 250);
        *next += 250;
        (segments(&archive) >= wanted).then_some(())
    });
}

/// Each of `receipts` is told as applied to its submitter and to operators, after one effect.
fn applied_once(site: &Site, daemon: &Daemon, receipts: &[Value]) {
    let mut client = daemon.client(&site.submitters[0]);
    for receipt in receipts {
        let id = receipt["id"].as_str().unwrap();
        let told = wait_for("the index that knows its end", BOUND, || {
            let answer = client.get(&format!("/v1/transactions/{id}")).unwrap();
            (answer.status != 503).then(|| answer.json())
        });
        assert_eq!(told["state"], "applied", "{told}");
        let seen = daemon.look(&format!("/admin/v1/transactions/{id}"));
        assert_eq!(seen["state"], "applied", "{seen}");
        let effects = site.core.calls();
        let effects =
            effects.iter().filter(|call| call["transaction"] == id && call["kind"] == "effect");
        assert_eq!(effects.count(), 1);
    }
}

#[test]
fn what_waits_is_carried_along_while_everything_around_it_leaves() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    let cells = json!({ "business": ["settlement.inpatient"] });
    daemon.gates_of("close", &cells);
    let kept = |client: &mut Client| -> Vec<Value> {
        let post = |number| post(client, "settlement.inpatient", number);
        (0..3).map(post).map(|answer| answer.json()).collect()
    };
    let mut client = daemon.client(&site.submitters[0]);
    let receipts = kept(&mut client);
    let first = post(&mut client, "settlement.outpatient", 1_000_000).json();

    let mut next = 0;
    let_leave(&site, &daemon, &mut next, 3);
    assert_eq!(kept(&mut client), receipts, "repeats get the first receipts");
    let again = post(&mut client, "settlement.outpatient", 1_000_000).json();
    assert_ne!(again["id"], first["id"], "what has left is not known any more");
    let gone = client.get(&format!("/v1/transactions/{}", first["id"].as_str().unwrap())).unwrap();
    assert_eq!(gone.status, 404, "{}", gone.text());
    daemon.kill();

    std::fs::remove_dir_all(site.data.join("index")).unwrap();
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    assert_eq!(kept(&mut client), receipts, "also after a kill");
    let listed = wait_for("the index built anew", BOUND, || {
        let answer = client.get("/v1/transactions?limit=200").unwrap();
        (answer.status == 200).then(|| answer.json())
    });
    let listed: Vec<&Value> =
        listed["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    for receipt in &receipts {
        assert!(listed.contains(&&receipt["id"]), "{listed:?} lacks {}", receipt["id"]);
    }
    // They are carried along again, and then sent, each once: by a daemon that keeps what is
    // final, so that it can be asked how they ended.
    let_leave(&site, &daemon, &mut next, 3);
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    let keeping = site.folder().join("keeping.toml");
    std::fs::write(&keeping, "[journal]\nforward_after = \"30d\"\nretention = \"400d\"\n").unwrap();
    let mut command = site.serve(&[]);
    command.arg("--config").arg(&keeping);
    let daemon = site.run(command).unwrap();
    daemon.gates_of("open", &cells);
    daemon.settle(BOUND);
    applied_once(&site, &daemon, &receipts);
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    // Two more snapshots, and what is left of the rest is what they do not hold.
    for _ in 0..2 {
        let newest = newest_snapshot(&site.data);
        (0..4).for_each(|part| post_batch(&mut client, next + part * 250, 250));
        next += 1000;
        daemon.settle(BOUND);
        wait_for("a snapshot", BOUND, || (newest_snapshot(&site.data) > newest).then_some(()));
    }
    wait_for("the journal to shrink", BOUND, || (segments(&site.data) < 20).then_some(()));
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    assert!(intact(&[site.data.to_str().unwrap()]));
    let archive = site.data.join("archive");
    assert!(segments(&archive) >= 6);
    assert!(intact(&["--archive", archive.to_str().unwrap()]));
    assert!(!intact(&[archive.to_str().unwrap()]), "an archive is no journal");
}

#[test]
fn a_damaged_record_that_is_needed_keeps_its_segment_and_is_told_without_an_end() {
    let young = "[journal]\nsegment_bytes = 262144\nsnapshot_every_records = 1000\n";
    let site = Site::new(young);
    let daemon = site.start();
    daemon.gates_of("close", &json!({ "business": ["settlement.inpatient"] }));
    let mut client = daemon.client(&site.submitters[0]);
    let kept = post(&mut client, "settlement.inpatient", 0).json();
    let mut next = 0;
    let mut batches = daemon.client(&site.submitters[1]);
    while segments(&site.data) < 3 {
        post_batch(&mut batches, next, 250);
        next += 250;
    }
    wait_for("the rest to be applied, and the keys of what has ended", BOUND, || {
        let open = daemon.items("waiting") + daemon.items("in_flight");
        let names = std::fs::read_dir(&site.data).unwrap();
        let runs =
            names.filter(|e| e.as_ref().unwrap().path().extension() == Some("keys".as_ref()));
        (open == 1 && runs.count() + 1 == segments(&site.data)).then_some(())
    });
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    let id = kept["id"].as_str().unwrap();
    let (name, byte) = place_of(&site.data, id.parse::<TransactionId>().unwrap().seq());
    let file = site.data.join(&name);
    let sound = std::fs::read(&file).unwrap();
    flip_on_disk(&file, byte, 2);

    let old = site.folder().join("old.toml");
    std::fs::write(&old, CONFIG).unwrap();
    let mut command = site.serve(&[]);
    command.arg("--config").arg(&old);
    let daemon = site.run(command).unwrap();
    let mut batches = daemon.client(&site.submitters[1]);
    let told = "old segments stay until the file is restored";
    wait_for("the damage to be told", BOUND, || daemon.said().contains(told).then_some(()));
    // The work goes on; with each segment that ends it is looked at once more.
    let before = segments(&site.data);
    while segments(&site.data) < before + 4 {
        post_batch(&mut batches, next, 250);
        next += 250;
    }
    assert!(file.exists() && segments(&site.data.join("archive")) == 0);
    assert!(daemon.said().matches(told).count() <= segments(&site.data), "{}", daemon.said());
    assert!(!daemon.said().contains("a task failed"), "{}", daemon.said());

    std::fs::write(&file, sound).unwrap();
    let_leave(&site, &daemon, &mut next, 1);
    assert!(!file.exists());
    let again = post(&mut daemon.client(&site.submitters[0]), "settlement.inpatient", 0);
    assert_eq!(again.json(), kept);
}
