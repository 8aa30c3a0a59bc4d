//! The index of the real daemon, deleted and damaged: listings come back, the log says so, and
//! intake notices nothing.

use crate::rig::{Answer, Client, Daemon, Site, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(20);

fn submission(number: usize) -> Value {
    json!({
        "business": "settlement.outpatient", "operation": "advice", "channel": "system",
        "insured": format!("p-{number}"), "occurred_at": "2026-01-05T10:00:00+08:00",
        "amount": "12.50", "payload": { "subject": number.to_string() },
    })
}

fn post(client: &mut Client, number: usize) -> Answer {
    let key = format!("key-{number}");
    let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
    let body = submission(number).to_string();
    client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap()
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// Every transaction of the submitter, page by page; `None` while the index is away.
fn listing(client: &mut Client) -> Option<Vec<Value>> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let answer = client.get(&format!("/v1/transactions?limit=200{after}")).unwrap();
        if answer.status == 503 {
            assert_eq!(answer.json()["code"], "index_unavailable");
            return None;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Some(all),
        }
    }
}

fn states(listing: &[Value]) -> Vec<(String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    listing.iter().map(|item| (text(item, "id"), text(item, "state"))).collect()
}

/// Waits for the whole listing, with `ids` applied in it.
fn listed(client: &mut Client, ids: &[String]) -> Vec<Value> {
    let expected: Vec<_> = ids.iter().map(|id| (id.clone(), "applied".to_owned())).collect();
    wait_for("the whole listing", BOUND, || {
        listing(client).filter(|listing| {
            let mut found = states(listing);
            found.sort();
            found == expected
        })
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let below = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() { files(&path) } else { vec![path] }
    };
    entries.flat_map(below).collect()
}

/// Overwrites every file of the index with random bytes; how many there were.
fn spoil(data: &Path) -> usize {
    let mut random = fastrand::Rng::with_seed(11);
    let files = files(&data.join("index"));
    for file in &files {
        let mut bytes = std::fs::read(file).unwrap();
        random.fill(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }
    files.len()
}

/// The reasons in the lines that say that the index is ready.
fn ready_reasons(daemon: &Daemon) -> Vec<String> {
    let lines = daemon.said();
    let ready = lines.lines().filter(|line| line.contains("the index is ready"));
    ready
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let reason = line.get("reason").or_else(|| line["fields"].get("reason"));
            reason.and_then(Value::as_str).unwrap().to_owned()
        })
        .collect()
}

fn stop(daemon: Daemon) {
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
}

/// A stopped site with some finals, their ids in order, and the listing as it was.
fn with_finals(count: usize) -> (Site, Vec<String>, Vec<Value>) {
    let site = Site::new("");
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    let mut ids: Vec<String> = (0..count).map(|number| id(&post(&mut client, number))).collect();
    ids.sort();
    daemon.settle(BOUND);
    let before = listed(&mut client, &ids);
    stop(daemon);
    (site, ids, before)
}

#[test]
fn a_deleted_index_comes_back_from_the_journal() {
    let (site, ids, before) = with_finals(450);
    std::fs::remove_dir_all(site.data.join("index")).unwrap();
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    assert_eq!(listed(&mut client, &ids), before);
    assert_eq!(ready_reasons(&daemon), ["built"]);
    for id in &ids[..10] {
        let one = client.get(&format!("/v1/transactions/{id}")).unwrap();
        assert_eq!((one.status, &one.json()["state"]), (200, &json!("applied")));
    }
    stop(daemon);
    // What was built is opened the next time.
    let daemon = site.start();
    assert_eq!(listed(&mut daemon.client(&site.submitters[0]), &ids), before);
    assert_eq!(ready_reasons(&daemon), ["opened"]);
}

#[test]
fn an_index_of_random_bytes_is_rebuilt_while_intake_goes_on() {
    let (site, mut ids, before) = with_finals(450);
    assert!(spoil(&site.data) >= 2);
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    let slowest = (450..550).map(|number| {
        let began = Instant::now();
        ids.push(id(&post(&mut client, number)));
        began.elapsed()
    });
    let slowest = slowest.max().unwrap();
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    daemon.settle(BOUND);
    ids.sort();
    let after = listed(&mut client, &ids);
    assert!(before.iter().all(|item| after.contains(item)));
    let said = daemon.said();
    assert!(said.contains("the index is given up and built anew from the journal"), "{said}");
    assert_eq!(ready_reasons(&daemon), ["rebuilt"]);
    let metrics = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    let rebuilds = metrics.lines().filter(|line| line.starts_with("holdover_index_rebuilds_total"));
    let rebuilds: f64 =
        rebuilds.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!(rebuilds >= 1.0, "{metrics}");
}

#[test]
fn an_index_that_goes_away_under_a_running_daemon_is_rebuilt() {
    let (site, mut ids, _) = with_finals(200);
    let daemon = site.start();
    let mut client = daemon.client(&site.submitters[0]);
    listed(&mut client, &ids);
    std::fs::remove_dir_all(site.data.join("index")).unwrap();
    for number in 200..300 {
        ids.push(id(&post(&mut client, number)));
    }
    wait_for("word of the rebuilding", BOUND, || {
        ready_reasons(&daemon).contains(&"rebuilt".to_owned()).then_some(())
    });
    daemon.settle(BOUND);
    ids.sort();
    listed(&mut client, &ids);
    stop(daemon);
}
