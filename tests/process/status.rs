//! `holdover status` against a real daemon: its exit codes, its one document, and its watching.

use crate::rig::{Client, Daemon, HOLDOVER, Site, signal, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

fn command(site: &Site, daemon: &Daemon, args: &[&str]) -> Command {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, site.operator.as_bytes()).unwrap();
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &format!("http://{}", daemon.operators), "--key-file"]);
    command.arg(key).arg("status").args(args).stdin(Stdio::null());
    command
}

fn ended(mut command: Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [out, said] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code().unwrap(), out, said)
}

fn file(client: &mut Client, number: u32) {
    let body = json!({
        "business": "filing.out_of_area", "operation": "apply", "insured": format!("p-{number}"),
        "channel": "hall", "occurred_at": "2026-01-05T10:00:00+08:00", "payload": {},
    });
    let key = format!("key-{number}");
    let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
    let body = body.to_string();
    let answer = client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

/// The document, and how the command ended.
fn status(site: &Site, daemon: &Daemon) -> (i32, Value) {
    let (code, out, said) = ended(command(site, daemon, &["--json"]));
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{said}")))
}

#[test]
fn the_exit_code_says_whether_anything_needs_a_person() {
    let site = Site::new("[retry]\nfailures_max = 2\n");
    let daemon = site.start();
    let mut hall = daemon.client(&site.submitters[3]);
    wait_for("the first measure", BOUND, || {
        status(&site, &daemon).1["disk"].is_object().then_some(())
    });
    let (code, quiet) = status(&site, &daemon);
    assert_eq!((code, &quiet["needs"]), (0, &json!([])), "{quiet}");

    daemon.gates("close");
    file(&mut hall, 1);
    let (code, held) = status(&site, &daemon);
    assert_eq!((code, &held["backlog"]["held"]), (0, &json!(1)), "a held one needs nobody");
    let gate = &held["gates_not_open"][0];
    assert_eq!((&gate["state"], &gate["waiting"]), (&json!("closed_by_operator"), &json!(1)));
    assert!(gate["why"].as_str().unwrap().starts_with("closed by Li Na until "), "{gate}");

    site.core.script("agency", &json!({ "busy": { "status": 503, "probability": 1.0 } }));
    daemon.gates("open");
    wait_for("a dead letter", BOUND, || (daemon.items("dead_lettered") == 1).then_some(()));
    let (code, out, _) = ended(command(&site, &daemon, &[]));
    assert_eq!(code, 5, "{out}");
    let mut lines = out.lines();
    assert!(lines.next().unwrap().starts_with("A PERSON IS NEEDED  "), "{out}");
    assert_eq!(lines.next(), Some("1. dead letters, which block their keys: 1"));
    assert_eq!(lines.next(), Some("   holdover dead-letter list"));
    assert!(out.lines().count() <= 24 && !out.contains('\x1b'), "{out}");
    let (code, dead) = status(&site, &daemon);
    assert_eq!((code, &dead["needs"][0]["code"]), (5, &json!("dead_letters")));
    assert_eq!(dead["needs"][0]["page"], "runbooks/HoldoverDeadLetters.md");

    let gone = command(&site, &daemon, &[]);
    daemon.kill();
    let (code, out, said) = ended(gone);
    assert_eq!((code, out.as_str()), (7, ""), "{said}");
    assert!(said.contains("runbooks/procedures/holdover-down.md"), "{said}");
}

#[test]
fn nothing_is_published_while_there_is_no_broker_and_the_status_says_so() {
    // Nobody listens there: nothing but the system may take a port below 1024.
    let config = "[kafka]\nbrokers = [\"127.0.0.1:9\"]\n[publish.kafka]\nwindows = \"windows\"\n";
    let site = Site::new(config);
    let daemon = site.start();
    let published = wait_for("the first measure", BOUND, || {
        let published = status(&site, &daemon).1["published"].clone();
        published.is_object().then_some(published)
    });
    assert!(published["interrupted_since"].is_string(), "{published}");
    let (_, out, _) = ended(command(&site, &daemon, &[]));
    assert!(out.contains("\nkafka     NOTHING PUBLISHED for "), "{out}");
    daemon.terminate();
    let ended = daemon.ended(Duration::from_secs(5));
    assert!(ended.success(), "{ended}: {}", daemon.said());
}

#[test]
fn watching_on_a_pipe_prints_one_block_after_the_other_until_it_is_interrupted() {
    let site = Site::new("");
    let daemon = site.start();
    let mut child =
        command(&site, &daemon, &["--watch", "1"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut blocks = 0;
    while blocks < 2 {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended after {blocks} blocks");
        assert!(!line.contains('\x1b'), "{line}");
        blocks += usize::from(line == "\n");
    }
    signal(child.id(), "-INT");
    let status = wait_for("the end of the watch", BOUND, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}
