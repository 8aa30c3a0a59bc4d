//! The audit log is cut at its end, or removed: told by `audit verify`, at the start, by a metric
//! and by the log itself; and a daemon that was killed between two writes cries no wolf.

use crate::rig::{Client, Daemon, HOLDOVER, Site};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// The exit code and what is said in JSON.
fn verify(log: &Path) -> (Option<i32>, Value) {
    let out = Command::new(HOLDOVER).args(["audit", "verify", "--json"]).arg(log).output().unwrap();
    (out.status.code(), serde_json::from_slice(&out.stdout).unwrap_or_default())
}

fn losses(daemon: &Daemon) -> String {
    let metrics = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    let line = metrics.lines().find(|line| line.starts_with("holdover_audit_losses "));
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

/// Two acts, and the journal has noted the last line of them.
fn act(daemon: &Daemon) {
    daemon.gates("close");
    daemon.gates("open");
    // Answered after the commit of what was told before.
    daemon.look("/admin/v1/gates");
}

fn actions(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap();
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| record(line)["action"].as_str().unwrap().to_owned()).collect()
}

fn cut_the_last_line(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap();
    let kept: Vec<&str> = text.lines().collect();
    let kept: String = kept[..kept.len() - 1].iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(log, kept).unwrap();
}

#[test]
fn a_log_that_was_cut_or_removed_is_told_and_never_begun_anew_in_silence() {
    let site = Site::new("");
    let log: PathBuf = site.data.join("audit.log");
    let daemon = site.start();
    act(&daemon);
    assert_eq!(verify(&log).0, Some(0), "beside a running daemon too");
    daemon.kill();
    let before = std::fs::read(&log).unwrap();
    let daemon = site.start();
    assert!(!daemon.said().contains("audit_lost") && losses(&daemon) == "0");
    assert_eq!(std::fs::read(&log).unwrap(), before, "nothing is told of a kill");
    act(&daemon);
    daemon.kill();

    cut_the_last_line(&log);
    let (code, said) = verify(&log);
    assert_eq!((code, &said["intact"], &said["line"]), (Some(5), &false.into(), &8.into()));
    let daemon = site.start();
    assert!(daemon.said().contains("audit_lost") && losses(&daemon) == "1");
    assert_eq!(actions(&log).last().unwrap(), "audit.lost");
    let (code, said) = verify(&log);
    let lost = &said["summary"]["losses"];
    assert_eq!((code, lost.as_array().unwrap().len(), &lost[0]["line"]), (Some(0), 1, &8.into()));
    let out = Command::new(HOLDOVER).args(["audit", "verify"]).arg(&log).output().unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let at = lost[0]["at"].as_str().unwrap();
    assert!(said.ends_with(&format!("losses that it tells of: 1 (line 8 of {at})\n")), "{said}");
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());

    // After a clean stop the note may stand in the snapshot only.
    std::fs::remove_file(&log).unwrap();
    assert_eq!(verify(&log).0, Some(5), "a log that must be there");
    let daemon = site.start();
    assert!(daemon.said().contains("audit_lost") && losses(&daemon) == "1");
    assert_eq!(actions(&log), ["audit.lost"]);
    act(&daemon);
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    let daemon = site.start();
    assert!(!daemon.said().contains("code\":\"audit_lost"), "told once");
    assert_eq!((losses(&daemon).as_str(), actions(&log).len()), ("1", 5));
}
