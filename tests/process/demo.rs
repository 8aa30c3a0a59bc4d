//! The demo of the real binary: the three ways the stop can end, one run for each promise that is
//! broken on purpose, and what a run leaves behind that is broken off.
//!
//! The runs are smaller than the one a person watches, and go two at a time.

use crate::rig::{HOLDOVER, signal, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Posts of a run: enough for every row of the notice, every trouble and every key's order.
const TRANSACTIONS: &str = "2500";
/// No run takes longer, also on a machine that is busy.
const RUN_MAX: Duration = Duration::from_secs(300);
/// Runs at a time; each is five processes.
const AT_A_TIME: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ONE_IS_OVER: Condvar = Condvar::new();

/// A place among the runs, given back when it is dropped.
struct Turn;

impl Turn {
    fn take() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_A_TIME {
            running = ONE_IS_OVER.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ONE_IS_OVER.notify_one();
    }
}

/// One run, and what it printed.
fn demo(arguments: &[&str]) -> (Output, Value) {
    let _turn = Turn::take();
    let child = Command::new(HOLDOVER)
        .args(["demo", "--json"])
        .args(if arguments.contains(&"--transactions") {
            &[][..]
        } else {
            &["--transactions", TRANSACTIONS]
        })
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    // The demo bounds itself; this says so when it does not.
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < RUN_MAX, "{arguments:?} took {:?}", began.elapsed());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "one object and nothing else: {text} {errors}");
    let report = serde_json::from_str(&text).unwrap();
    (output, report)
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn sorted<const N: usize>(mut names: [&str; N]) -> Vec<&str> {
    names.sort_unstable();
    names.to_vec()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

/// Every key of the object, at every depth, and nothing beside them.
fn has_the_agreed_shape(report: &Value) {
    assert_eq!(
        keys(report),
        sorted([
            "scenario",
            "window",
            "submitted",
            "accepted",
            "duplicates",
            "turned_away",
            "invalid",
            "held_peak",
            "replayed",
            "kills",
            "in_doubt_seen",
            "ledger",
            "tickets",
            "upstream",
            "policy",
            "deadlines",
            "broken_promises",
        ])
    );
    assert_eq!(keys(&report["window"]), ["ends_at", "restored_at", "starts_at"]);
    let columns = [
        "accepted",
        "applied",
        "refused",
        "withdrawn",
        "superseded",
        "dead_lettered",
        "waiting",
        "in_flight",
        "in_doubt",
        "action_required",
        "ticketed",
        "difference",
    ];
    let mut ledger = keys(&report["ledger"]);
    ledger.retain(|&key| key != "amount");
    assert_eq!(ledger, sorted(columns));
    let amount = &report["ledger"]["amount"];
    assert_eq!(keys(amount), sorted(columns));
    for column in columns {
        let text = amount[column].as_str().unwrap();
        let fraction = text.split_once('.').unwrap().1;
        assert_eq!(fraction.len(), 2, "{column} is {text}");
        assert!(text.parse::<f64>().is_ok(), "{column} is {text}");
    }
    assert_eq!(
        keys(&report["tickets"]),
        sorted(["issued", "open", "resettled", "reimbursed_manually", "waived"])
    );
    assert_eq!(
        keys(&report["upstream"]),
        sorted(["effects", "double_effects", "order_violations", "calls_while_closed"])
    );
    for row in report["policy"].as_array().unwrap() {
        let expected =
            ["clause", "business", "operation", "class", "channel", "disposition", "count"];
        assert_eq!(keys(row), sorted(expected));
    }
    for date in report["deadlines"].as_array().unwrap() {
        assert_eq!(keys(date), sorted(["original", "effective", "rule", "extended"]));
    }
}

/// What every run that keeps its promises shows.
fn kept_every_promise(report: &Value) {
    has_the_agreed_shape(report);
    assert_eq!(report["broken_promises"], Value::Array(Vec::new()));
    let n = |pointer: &str| number(report, pointer);
    assert_eq!(
        n("/submitted"),
        n("/accepted") + n("/duplicates") + n("/turned_away") + n("/invalid")
    );
    assert!(n("/kills") >= 2 && n("/in_doubt_seen") > 0 && n("/replayed") > 0, "{report}");
    assert!(n("/held_peak") > 0 && n("/duplicates") > 0 && n("/invalid") > 0, "{report}");
    for zero in [
        "/ledger/difference",
        "/ledger/waiting",
        "/ledger/in_flight",
        "/ledger/in_doubt",
        "/ledger/dead_lettered",
        "/ledger/action_required",
        "/upstream/double_effects",
        "/upstream/order_violations",
        "/upstream/calls_while_closed",
    ] {
        assert_eq!(n(zero), 0, "{zero}");
    }
    assert_eq!(report["ledger"]["amount"]["difference"], "0.00");
    assert_eq!(n("/ledger/accepted"), n("/accepted"));
    assert_eq!(n("/upstream/effects"), n("/ledger/applied"));
    let tickets = ["open", "resettled", "reimbursed_manually", "waived"];
    let sum: i64 = tickets.iter().map(|state| n(&format!("/tickets/{state}"))).sum();
    assert_eq!(n("/tickets/issued"), sum);
    assert_eq!(n("/tickets/open"), n("/ledger/ticketed"));
    assert!(n("/tickets/resettled") > 0);
    assert_eq!(report["window"]["starts_at"], "2022-08-12T19:00:00+08:00");
    assert_eq!(report["window"]["ends_at"], "2022-08-15T06:00:00+08:00");
    // Every clause of the notice was met, and what it does not name was decided.
    let clauses: std::collections::BTreeSet<&str> = report["policy"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["clause"].as_str().unwrap())
        .collect();
    for clause in ["(一)", "(二)1", "(二)2", "(三)1", "(三)2", "not_in_notice"] {
        assert!(clauses.contains(clause), "{clause} is not among {clauses:?}");
    }
}

/// The registered date `original` as it holds at the end, for everybody who has it.
fn date_of<'a>(report: &'a Value, original: &str) -> &'a str {
    let cases = report["deadlines"].as_array().unwrap();
    assert_eq!(cases.len(), 200);
    let mut dates: Vec<&str> = cases
        .iter()
        .filter(|case| case["original"] == original)
        .map(|case| {
            assert_eq!(case["extended"], Value::Bool(case["effective"] != case["original"]));
            case["effective"].as_str().unwrap()
        })
        .collect();
    dates.dedup();
    assert_eq!(dates.len(), 1, "{original} became {dates:?}");
    dates[0]
}

/// Whether the agency was let back within minutes after `at`, and not before.
fn back_soon_after(report: &Value, at: &str) -> bool {
    let told = report["window"]["restored_at"].as_str().unwrap();
    let told = chrono::DateTime::parse_from_rfc3339(told).unwrap();
    let at = chrono::DateTime::parse_from_rfc3339(at).unwrap();
    (chrono::TimeDelta::zero()..chrono::TimeDelta::minutes(6)).contains(&(told - at))
}

#[test]
fn the_stop_of_august_2022_is_played_and_every_promise_is_kept() {
    let (output, report) = demo(&[]);
    assert!(output.status.success(), "{report}");
    kept_every_promise(&report);
    assert_eq!(report["scenario"], "on_time");
    // Three good probes, a minute apart, from 07:10 on: the proof cannot stand before 07:12.
    assert!(back_soon_after(&report, "2022-08-15T07:12:00+08:00"), "{}", report["window"]);
    assert_eq!(date_of(&report, "2022-08-11"), "2022-08-11");
    for inside in ["2022-08-12", "2022-08-13", "2022-08-14"] {
        assert_eq!(date_of(&report, inside), "2022-08-15");
    }
}

#[test]
fn a_restart_that_slips_by_a_day_holds_longer_and_moves_more_dates() {
    let (output, report) = demo(&["--restore-at", "2022-08-16T10:00"]);
    assert!(output.status.success(), "{report}");
    kept_every_promise(&report);
    assert_eq!(report["scenario"], "slipped");
    assert!(back_soon_after(&report, "2022-08-16T10:02:00+08:00"), "{}", report["window"]);
    assert_eq!(date_of(&report, "2022-08-11"), "2022-08-11");
    // The agencies opened at nine, before the core was back: the first full day is the next.
    assert_eq!(date_of(&report, "2022-08-15"), "2022-08-17");
}

#[test]
fn an_early_restart_that_is_signed_for_lets_go_early_and_shrinks_no_date() {
    // Enough for a burst: most of the agency's backlog waits for releases that come later.
    let (output, report) = demo(&["--restore-at", "2022-08-14T20:00", "--transactions", "9000"]);
    assert!(output.status.success(), "{report}");
    kept_every_promise(&report);
    assert_eq!(report["scenario"], "early");
    assert!(back_soon_after(&report, "2022-08-14T20:00:00+08:00"), "{}", report["window"]);
    for inside in ["2022-08-12", "2022-08-13", "2022-08-14"] {
        assert_eq!(date_of(&report, inside), "2022-08-15");
    }
}

#[test]
fn a_run_says_nothing_of_success_on_the_page_without_having_proved_it() {
    let output =
        Command::new(HOLDOVER).args(["demo", "--restore-at", "2022-08-12T20:00"]).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("--restore-at must lie between"), "{errors}");
}

/// No process outlives the end of its demo for longer.
const GONE_MAX: Duration = Duration::from_secs(30);

/// A demo that is in the middle of its stop, with everything that it writes in `temporary`.
fn in_the_middle(temporary: &Path) -> Child {
    let mut demo = Command::new(HOLDOVER)
        .args(["demo", "--transactions", TRANSACTIONS])
        .env("TMPDIR", temporary)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let begins = lines.find(|line| line.as_ref().unwrap().contains("the stop begins"));
    assert!(begins.is_some(), "the demo ended before its stop began");
    let at_work = at_work_in(temporary);
    assert_eq!(at_work.len(), 4, "a daemon and three cores: {at_work:?}");
    demo
}

/// The processes that were told to work on something in `folder`.
fn at_work_in(folder: &Path) -> Vec<u32> {
    let named = folder.as_os_str().as_bytes();
    let of = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        command.windows(named.len()).any(|part| part == named).then_some(pid)
    };
    std::fs::read_dir("/proc").unwrap().filter_map(of).collect()
}

#[test]
fn a_demo_that_a_signal_ends_leaves_no_process_and_no_folder() {
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let _turn = Turn::take();
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = in_the_middle(temporary.path());
        signal(demo.id(), name);
        let ended = wait_for("the end of the demo", GONE_MAX, || demo.try_wait().unwrap());
        assert_eq!(ended.code(), Some(code), "{name}");
        assert!(at_work_in(temporary.path()).is_empty(), "{name}");
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{name}");
        let said = String::from_utf8(demo.wait_with_output().unwrap().stderr).unwrap();
        assert!(said.contains("interrupted before the end"), "{name}: {said}");
    }
}

#[test]
fn the_processes_of_a_demo_that_was_killed_stop_by_themselves() {
    let _turn = Turn::take();
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = in_the_middle(temporary.path());
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_for("the end of the demo's processes", GONE_MAX, || {
        at_work_in(temporary.path()).is_empty().then_some(())
    });
}

/// A run with one promise broken on purpose must fail and name that promise.
#[cfg(feature = "sabotage")]
fn breaks(sabotage: &str, promise: &str) {
    let (output, report) = demo(&["--sabotage", sabotage]);
    has_the_agreed_shape(&report);
    assert!(!output.status.success(), "{sabotage} went unnoticed");
    let broken = report["broken_promises"].as_array().unwrap();
    let named = broken.iter().filter(|broken| broken["promise"] == promise).count();
    assert!(named > 0, "{sabotage} did not break {promise}: {broken:?}");
}

#[cfg(feature = "sabotage")]
#[test]
fn p1_an_acknowledgement_before_the_write_is_found_out() {
    breaks("ack-early", "P1");
}

#[cfg(feature = "sabotage")]
#[test]
fn p2_sending_again_without_asking_is_found_out() {
    breaks("resend-without-asking", "P2");
}

#[cfg(feature = "sabotage")]
#[test]
fn p3_overtaking_within_a_key_is_found_out() {
    breaks("ignore-key-order", "P3");
}

#[cfg(feature = "sabotage")]
#[test]
fn p4_sending_through_a_closed_gate_is_found_out() {
    breaks("ignore-gate", "P4");
}

#[cfg(feature = "sabotage")]
#[test]
fn p5_a_date_that_was_not_moved_is_found_out() {
    breaks("skip-extension", "P5");
}

#[cfg(feature = "sabotage")]
#[test]
fn p6_a_ticket_that_was_dropped_is_found_out() {
    breaks("drop-ticket", "P6");
}
