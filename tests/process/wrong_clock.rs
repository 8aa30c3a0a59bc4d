//! A start with a clock that is a year wrong: refused before anything is written, accepted on a
//! person's signed word only, and taken back the same way.

use crate::rig::{Daemon, HOLDOVER, Site};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(20);
const TODAY: &str = "2022-08-12T17:00:00+08:00";
const NEXT_YEAR: &str = "2023-08-12T17:00:00+08:00";

fn post(site: &Site, daemon: &Daemon, key: &str) -> u16 {
    let body = json!({
        "business": "settlement.outpatient", "operation": "advice", "insured": "person-1",
        "visit": key, "occurred_at": "2022-08-12T16:00:00+08:00", "amount": "12.50",
        "payload": {"n": 1},
    });
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    let mut client = daemon.client(&site.submitters[0]);
    let body = body.to_string();
    client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap().status
}

fn key_file(site: &Site, name: &str, key: &str) -> PathBuf {
    let path = site.folder().join(name);
    std::fs::write(&path, key).unwrap();
    path
}

/// What stands in the files of the journal and the audit log.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn verified(site: &Site, args: &[&str]) -> Value {
    let out = Command::new(HOLDOVER).args(args).arg("--json").output().unwrap();
    assert!(out.status.success(), "{args:?} of {}: {out:?}", site.folder().display());
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_year_wrong_is_refused_accepted_by_a_signed_word_and_taken_back() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let clock =
        |start: &str| runtime.block_on(ClockServer::bind(start.parse().unwrap(), &tasks)).unwrap();
    let (right, wrong) = (clock(TODAY), clock(NEXT_YEAR));
    let (right, wrong) = (right.addr().to_string(), wrong.addr().to_string());
    let site = Site::new("");
    let operator = key_file(&site, "operator.key", &site.operator);
    let hospital = key_file(&site, "hospital.key", &site.submitters[0].key);
    let (operator, hospital) = (operator.to_str().unwrap(), hospital.to_str().unwrap());
    let start = |args: &[String]| {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        site.run(site.serve(&args))
    };
    let with = |clock: &str, word: Option<(&str, &str)>| {
        let mut args = vec!["--clock".to_owned(), clock.to_owned()];
        if let Some((time, key)) = word {
            args.extend(["--accept-clock", time, "--reason", "a new battery"].map(str::to_owned));
            args.extend(["--key-file", key].map(str::to_owned));
        }
        args
    };
    let refused = |args: &[String], code: &str| {
        let before = contents(&site.data);
        let ended = start(args).map(|_| ()).unwrap_err();
        assert!(!ended.status.success() && ended.said.contains(code), "{code}: {ended:?}");
        assert!(contents(&site.data) == before, "{code}: the folder was changed");
    };

    let daemon = start(&with(&right, None)).unwrap();
    site.core.script_all(&json!({ "busy": { "status": 503, "probability": 1.0 } }));
    assert_eq!(post(&site, &daemon, "first"), 202);
    daemon.kill();

    refused(&with(&wrong, None), "clock_apart");
    refused(&with(&wrong, Some((TODAY, operator))), "clock_not_as_said");
    refused(&with(&wrong, Some((NEXT_YEAR, hospital))), "forbidden");
    // A person makes a mistake.
    let daemon = start(&with(&wrong, Some((NEXT_YEAR, operator)))).unwrap();
    assert_eq!(post(&site, &daemon, "second"), 202);
    daemon.kill();

    refused(&with(&right, None), "clock_apart");
    let daemon = start(&with(&right, Some((TODAY, operator)))).unwrap();
    site.core.script_all(&json!({}));
    daemon.settle(BOUND);
    assert_eq!(daemon.items("applied"), 2, "neither waits for next year");
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());

    // The word was needed once. Where it is not needed it is passed over.
    for word in [None, Some((NEXT_YEAR, operator))] {
        start(&with(&right, word)).unwrap().kill();
    }
    let records = &verified(&site, &["journal", "verify", site.data.to_str().unwrap()])["records"];
    assert_eq!(records["clock_accepted"], 2, "{records}");
    let log = std::fs::read_to_string(site.data.join("audit.log")).unwrap();
    let acts: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = acts
        .iter()
        .map(|act| (act["action"].as_str(), act["actor"].as_str(), act["outcome"].as_str()))
        .collect();
    let act = |outcome| (Some("clock.accept"), Some("Li Na"), Some(outcome));
    assert_eq!(told, [act("begun"), act("done"), act("begun"), act("done")]);
    let log = site.data.join("audit.log");
    let summary = &verified(&site, &["audit", "verify", log.to_str().unwrap()])["summary"];
    assert_eq!(summary["unfinished"], json!([]));
}
