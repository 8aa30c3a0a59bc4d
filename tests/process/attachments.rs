//! Files of a real daemon: a held reimbursement comes to the core with the very bytes that were handed
//! in, whatever happened between, and what was acknowledged survives a kill in the middle of uploads.

use crate::rig::{Answer, Client, Core, Daemon, HOLDOVER, Site, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(120);
const MIB: usize = 1 << 20;
const CONFIG: &str = r#"
[attachments]
bytes_max = 6291456
[upstream_default]
takes_attachments = true
answer_timeout = "20s"
connect_timeout = "1s"
settle_time = "21s"
"#;

fn pdf(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = b"%PDF-1.7\n".to_vec();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn digest(file: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, file);
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

fn put(client: &mut Client, file: &[u8]) -> std::io::Result<Answer> {
    let kind = [("Content-Type", "application/pdf")];
    client.request("PUT", &format!("/v1/attachments/{}", digest(file)), &kind, file)
}

fn apply(client: &mut Client, key: &str, files: &[Vec<u8>]) -> Answer {
    let named: Vec<Value> = files
        .iter()
        .zip(1..)
        .map(|(file, number)| {
            json!({"name": format!("{number}.pdf"), "digest": digest(file), "bytes": file.len()})
        })
        .collect();
    let body = json!({
        "business": "reimbursement.manual", "operation": "apply", "insured": format!("p-{key}"),
        "channel": "hall", "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "attributes": { "population": "employee", "fully_prepaid": true },
        "attachments": named, "payload": { "subject": key },
        "paper": [{ "kind": "invoices", "sheets": 20, "shelf": "B-17" }],
    });
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    client.request("POST", "/v1/transactions", &headers, body.to_string().as_bytes()).unwrap()
}

/// What the agencies' core has noted, digest and size.
fn at_the_core(core: &Core) -> BTreeMap<String, u64> {
    let (_, url) = core.upstreams.iter().find(|(name, _)| name == "agency").unwrap();
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let listed = Client::new(address, None).get("/attachments").unwrap().json();
    let of =
        |one: &Value| (one["digest"].as_str().unwrap().to_owned(), one["bytes"].as_u64().unwrap());
    listed.as_array().unwrap().iter().map(of).collect()
}

fn hall(site: &Site, daemon: &Daemon) -> Client {
    daemon.client(site.submitters.iter().find(|s| s.class == "hall").unwrap())
}

fn verify(site: &Site) -> Option<i32> {
    let folder = site.data.display().to_string();
    let checked = Command::new(HOLDOVER).args(["journal", "verify", &folder]).output().unwrap();
    checked.status.code()
}

#[test]
fn a_held_reimbursement_with_twenty_files_survives_a_kill_and_replays_with_identical_hashes() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    daemon.gates("close");
    let files: Vec<Vec<u8>> = (0..20).map(|seed| pdf(5 * MIB, seed)).collect();
    let mut client = hall(&site, &daemon);
    for file in &files {
        assert_eq!(put(&mut client, file).unwrap().status, 201);
    }
    let receipt = apply(&mut client, "held", &files);
    assert_eq!(receipt.status, 202, "{}", receipt.text());
    let id = receipt.json()["id"].as_str().unwrap().to_owned();
    daemon.kill();
    let daemon = site.start();
    let mut client = hall(&site, &daemon);
    let again = apply(&mut client, "held", &files);
    assert_eq!((again.status, &again.body), (202, &receipt.body));
    assert!(at_the_core(&site.core).is_empty(), "nothing goes while the gate is closed");
    for file in files.iter().step_by(7) {
        let back = client.get(&format!("/v1/attachments/{}", digest(file))).unwrap();
        assert!(back.status == 200 && back.body == *file);
    }
    daemon.gates("open");
    wait_for("the replay", BOUND, || (daemon.items("applied") == 1).then_some(()));
    let expected: BTreeMap<String, u64> =
        files.iter().map(|file| (digest(file), file.len() as u64)).collect();
    assert_eq!(at_the_core(&site.core), expected);
    let effects = site.core.calls().iter().filter(|call| call["kind"] == "effect").count();
    assert_eq!(effects, 1);
    // The paper is shown to its submitter and to operators.
    let shown = client.get(&format!("/v1/transactions/{id}")).unwrap().json();
    let paper = json!([{ "kind": "invoices", "sheets": 20, "shelf": "B-17" }]);
    assert_eq!(shown["paper"], paper);
    assert_eq!(daemon.look(&format!("/admin/v1/transactions/{id}"))["paper"], paper);
    daemon.kill();
    assert_eq!(verify(&site), Some(0));
}

#[test]
fn what_was_acknowledged_survives_kills_in_the_middle_of_uploads_and_nothing_else_is_seen() {
    let site = Site::new(CONFIG);
    let mut acknowledged: Vec<Vec<u8>> = Vec::new();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for round in 0..6u64 {
        let daemon = site.start();
        let count_told = AtomicUsize::new(0);
        let told: Vec<(Vec<u8>, bool)> = std::thread::scope(|scope| {
            let uploaders: Vec<_> = (0..4u64)
                .map(|number| {
                    let mut client = hall(&site, &daemon);
                    let count_told = &count_told;
                    scope.spawn(move || {
                        let mut told = Vec::new();
                        for count in 0.. {
                            let file = pdf(300_000, 1 + round * 10_000 + number * 1_000 + count);
                            let answer = put(&mut client, &file);
                            let is_over = answer.is_err();
                            let is_told = answer.is_ok_and(|answer| answer.status == 201);
                            count_told.fetch_add(usize::from(is_told), Ordering::SeqCst);
                            told.push((file, is_told));
                            if is_over {
                                return told;
                            }
                        }
                        told
                    })
                })
                .collect();
            // Four are under way at any time; somewhere among them it dies.
            let wanted = 3 + round as usize;
            wait_for("uploads", BOUND, || {
                (count_told.load(Ordering::SeqCst) >= wanted).then_some(())
            });
            daemon.kill();
            uploaders.into_iter().flat_map(|uploader| uploader.join().unwrap()).collect()
        });
        for (file, is_told) in told {
            if is_told {
                acknowledged.push(file.clone());
            }
            sent.push(file);
        }
    }
    assert!(acknowledged.len() > 12, "{}", acknowledged.len());
    let daemon = site.start();
    let mut client = hall(&site, &daemon);
    let mut seen = 0;
    for file in &sent {
        let back = client.get(&format!("/v1/attachments/{}", digest(file))).unwrap();
        match back.status {
            // Its answer may have been cut off; then it is whole all the same.
            200 => {
                assert!(back.body == *file);
                seen += 1;
            }
            404 => assert!(!acknowledged.contains(file)),
            other => panic!("{other}: {}", back.text()),
        }
    }
    let folder = std::fs::read_dir(site.data.join("blobs")).unwrap().count();
    assert_eq!(folder, seen, "what nobody knows has been put away");
    daemon.kill();
    assert_eq!(verify(&site), Some(0));
}

#[test]
fn a_core_that_takes_no_files_leaves_the_transaction_unapplied_until_it_does() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    let mut client = hall(&site, &daemon);
    let file = pdf(100_000, 5);
    site.core.script("agency", &json!({ "no_files": true }));
    assert_eq!(put(&mut client, &file).unwrap().status, 201);
    assert_eq!(apply(&mut client, "one", std::slice::from_ref(&file)).status, 202);
    wait_for("a try", BOUND, || {
        let list = daemon.look("/admin/v1/transactions");
        (list["items"][0]["attempts"].as_u64()? >= 1).then_some(())
    });
    assert_eq!(daemon.items("in_doubt"), 0);
    assert!(site.core.calls().iter().all(|call| call["kind"] == "probe"));
    site.core.script("agency", &json!({}));
    wait_for("the effect", BOUND, || (daemon.items("applied") == 1).then_some(()));
    assert_eq!(at_the_core(&site.core).len(), 1);
}

#[test]
fn a_damaged_file_makes_a_dead_letter_and_one_uploaded_again_lets_it_go() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    daemon.gates("close");
    let mut client = hall(&site, &daemon);
    let file = pdf(100_000, 5);
    assert_eq!(put(&mut client, &file).unwrap().status, 201);
    let receipt = apply(&mut client, "one", std::slice::from_ref(&file)).json();
    let stored = std::fs::read_dir(site.data.join("blobs")).unwrap().next().unwrap().unwrap();
    let mut bytes = std::fs::read(stored.path()).unwrap();
    bytes[70_000] ^= 4;
    std::fs::write(stored.path(), bytes).unwrap();
    daemon.gates("open");
    wait_for("the dead letter", BOUND, || (daemon.items("dead_lettered") == 1).then_some(()));
    assert!(at_the_core(&site.core).is_empty());
    let metrics = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    assert!(metrics.contains("holdover_attachments_damaged_total 1"), "told");
    assert!(daemon.said().contains("attachment_damaged"));
    assert_eq!(put(&mut client, &file).unwrap().status, 201);
    let path = format!("/admin/v1/dead-letters/{}/redrive", receipt["id"].as_str().unwrap());
    let redriven = daemon.admin().send("POST", &path, &json!({ "reason": "uploaded again" }));
    assert_eq!(redriven.unwrap().status, 200);
    wait_for("the effect", BOUND, || (daemon.items("applied") == 1).then_some(()));
    assert_eq!(at_the_core(&site.core).keys().collect::<Vec<_>>(), [&digest(&file)]);
}
