//! Closing, extending and reopening every gate again and again at full send rate.
//!
//! Between an operator's answer to a closing and the asking for the reopening no effect-bearing
//! call arrives at the core. Two witnesses: the core's log by its length at both moments (a line
//! is on it before its call is answered), and the instants in its lines, by the machine's clock
//! that all processes share.

use crate::rig::{Client, Daemon, Site, wait_for};
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest that a test of this file may take.
const BOUND: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Orders by one operator over one connection.
struct Operator(Client);

impl Operator {
    fn order(&mut self, act: &str, closed_for: Option<Duration>) -> Value {
        let mut body = json!({ "all": true, "reason": "drill of the gates" });
        if let Some(closed_for) = closed_for {
            let until = Timestamp::from_millis(now_ms()).after(closed_for);
            body["until"] = json!(until.to_string());
        }
        let path = format!("/admin/v1/gates/{act}");
        let answer = self.0.send("POST", &path, &body).unwrap();
        assert_eq!(answer.status, 200, "{act}: {}", answer.text());
        answer.json()
    }
}

/// From the answer to a closing to the asking for the reopening.
#[derive(Debug, Clone, Copy)]
struct Closed {
    from_ms: i64,
    to_ms: i64,
    /// The length of the core's log at both moments.
    from: u64,
    to: u64,
}

fn length(log: &Path) -> u64 {
    std::fs::metadata(log).unwrap().len()
}

/// An effect-bearing call of the core's log, with the place of its line's first byte.
struct Effect {
    at: u64,
    instant_ms: i64,
}

/// Every effect-bearing call; probes and questions are none.
fn effects(log: &Path) -> Vec<Effect> {
    let text = std::fs::read_to_string(log).unwrap();
    let mut at = 0;
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let call: Value = serde_json::from_str(line).unwrap();
        if !["probe", "question"].contains(&call["kind"].as_str().unwrap()) {
            found.push(Effect { at, instant_ms: call["instant_ms"].as_i64().unwrap() });
        }
        at += line.len() as u64;
    }
    found
}

/// The calls that arrived while their gate was closed.
fn violations(effects: &[Effect], closings: &[Closed]) -> usize {
    let inside = |effect: &&Effect| {
        closings.iter().any(|closed| {
            (closed.from..closed.to).contains(&effect.at)
                || (closed.from_ms < effect.instant_ms && effect.instant_ms < closed.to_ms)
        })
    };
    effects.iter().filter(inside).count()
}

/// How many times the gates were open and calls arrived.
fn open_times_with_calls(effects: &[Effect], closings: &[Closed]) -> usize {
    let between = |pair: &&[Closed]| {
        let first = effects.partition_point(|effect| effect.at < pair[0].to);
        effects.get(first).is_some_and(|effect| effect.at < pair[1].from)
    };
    closings.windows(2).filter(between).count()
}

fn submission(number: u32, live: bool) -> Value {
    let (business, operation) = match live {
        true => ("settlement.out_of_area", "request"),
        false => ("settlement.outpatient", "advice"),
    };
    json!({
        "business": business, "operation": operation, "insured": format!("p-{number}"),
        "channel": "system", "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "payload": { "subject": number.to_string() },
    })
}

fn post(client: &mut Client, number: u32, wait: Option<u32>) -> u16 {
    let key = format!("key-{number}");
    let prefer = format!("wait={}", wait.unwrap_or_default());
    let mut headers = vec![("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
    if wait.is_some() {
        headers.push(("Prefer", &prefer));
    }
    let body = submission(number, wait.is_some()).to_string();
    client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap().status
}

/// Submits a batch, so that the backlog is never empty.
fn post_batch(client: &mut Client, numbers: impl Iterator<Item = u32>) -> u16 {
    let lines = numbers.map(|number| {
        let mut line = submission(number, false);
        line["idempotency_key"] = json!(format!("key-{number}"));
        format!("{line}\n")
    });
    let body: String = lines.collect();
    let kind = [("Content-Type", "application/x-ndjson")];
    client.request("POST", "/v1/transactions/batch", &kind, body.as_bytes()).unwrap().status
}

/// Closes, extends and opens `rounds` times while submitters post; what the core saw, and when
/// the gates were closed.
fn drill(site: &Site, daemon: &Daemon, rounds: usize) -> (Vec<Effect>, Vec<Closed>) {
    let (ended, numbers) = (AtomicBool::new(false), AtomicU32::new(0));
    let log = &site.core.log;
    let mut closings = Vec::with_capacity(rounds);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let end = EndOfPosts(&ended);
        for place in 0..4 {
            let mut client = daemon.client(&site.submitters[place % 2]);
            let (ended, numbers) = (&ended, &numbers);
            scope.spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let status = match place {
                        0 if daemon.items("waiting") > 2_000 => {
                            std::thread::sleep(Duration::from_millis(20));
                            200
                        }
                        0 => {
                            let first = numbers.fetch_add(500, Ordering::SeqCst);
                            post_batch(&mut client, first..first + 500)
                        }
                        1 => post(&mut client, numbers.fetch_add(1, Ordering::SeqCst), None),
                        _ => post(&mut client, numbers.fetch_add(1, Ordering::SeqCst), Some(1)),
                    };
                    assert!(matches!(status, 200 | 202), "{status}");
                }
            });
        }
        wait_for("the first calls", Duration::from_secs(10), || {
            (length(log) > 10_000).then_some(())
        });
        let mut operator = Operator(daemon.admin());
        for round in 0..rounds {
            operator.order("close", Some(Duration::from_secs(600)));
            let (from_ms, from) = (now_ms(), length(log));
            operator.order("extend", Some(Duration::from_secs(900)));
            let (to_ms, to) = (now_ms(), length(log));
            closings.push(Closed { from_ms, to_ms, from, to });
            operator.order("open", None);
            assert!(began.elapsed() < BOUND, "only {round} rounds within {BOUND:?}");
        }
        drop(end);
    });
    eprintln!("{rounds} rounds in {:?}", began.elapsed());
    (effects(log), closings)
}

/// Ends the posters, also when the drill fails.
struct EndOfPosts<'a>(&'a AtomicBool);

impl Drop for EndOfPosts<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_call_arrives_between_the_answer_to_a_closing_and_the_reopening() {
    let site = Site::new("");
    let daemon = site.start();
    let (effects, closings) = drill(&site, &daemon, 1_000);
    let open = open_times_with_calls(&effects, &closings);
    eprintln!("{} calls, in {open} of the open times", effects.len());
    assert_eq!(violations(&effects, &closings), 0);
    assert_eq!(called_while_closed(&daemon), 0.0);
    assert!(open >= 900, "the gates were open {open} times with calls");
    assert!(effects.len() >= 5_000, "{} calls", effects.len());
}

/// How many calls the daemon itself says began behind a closed gate.
fn called_while_closed(daemon: &Daemon) -> f64 {
    let page = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    let name = "holdover_upstream_calls_while_closed_total{";
    let told = page.lines().filter(|line| line.starts_with(name));
    let numbers: Vec<f64> = told.map(|l| l.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(numbers.len() >= 3, "one for each upstream");
    numbers.iter().sum()
}

#[cfg(feature = "sabotage")]
#[test]
fn a_gate_that_is_ignored_is_noticed() {
    let site = Site::new("");
    let daemon = site.start_with(&["--sabotage", "ignore-gate"]);
    let (effects, closings) = drill(&site, &daemon, 20);
    assert!(violations(&effects, &closings) > 0);
    let told = called_while_closed(&daemon);
    assert!(told > 0.0, "by the daemon itself too");
    assert!(daemon.said().contains("a call began behind a closed gate"));
}

#[test]
fn a_closing_is_answered_when_what_was_begun_has_ended() {
    const SLOW: i64 = 300;
    let site = Site::new("");
    let daemon = site.start();
    let mut operator = Operator(daemon.admin());
    site.core.script_all(&json!({ "slow_ms": SLOW }));
    for round in 0..4 {
        let before = length(&site.core.log);
        std::thread::scope(|scope| {
            let mut client = daemon.client(&site.submitters[0]);
            let live = scope.spawn(move || post(&mut client, round, Some(5)));
            let arrived = wait_for("the call", Duration::from_secs(10), || {
                effects(&site.core.log).into_iter().find(|effect| effect.at >= before)
            });
            let closed = operator.order("close", Some(Duration::from_secs(60)));
            let answered = now_ms();
            let left = answered - arrived.instant_ms;
            assert!(left >= SLOW, "answered after {left} ms: {closed}");
            assert!(left < SLOW + 5_000, "answered after {left} ms");
            assert_eq!(live.join().unwrap(), 200);
        });
        operator.order("open", None);
    }
}

#[test]
fn a_closing_is_answered_when_what_was_begun_is_in_doubt() {
    let site = Site::new("");
    let daemon = site.start();
    // Slower than the answer timeout: the attempt ends in doubt, long before the core answers.
    site.core.script_all(&json!({ "slow_ms": 20_000 }));
    let mut client = daemon.client(&site.submitters[0]);
    assert_eq!(post(&mut client, 0, None), 202);
    wait_for("the call", Duration::from_secs(10), || effects(&site.core.log).pop());
    let began = Instant::now();
    Operator(daemon.admin()).order("close", Some(Duration::from_secs(60)));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(daemon.items("in_flight"), 0);
    assert_eq!(daemon.items("in_doubt"), 1);
}

/// The receipt of an advice posted under `key`, to the byte, and whether it is a repeat.
fn receipt(daemon: &Daemon, site: &Site, key: &str) -> (String, bool) {
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    let body = submission(7, false).to_string();
    let mut client = daemon.client(&site.submitters[0]);
    let answer = client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    (answer.text(), answer.header("idempotency-replayed").is_some())
}

/// Waits until the one cell that has been seen has this gate.
fn gate_is(daemon: &Daemon, wanted: &str) {
    wait_for(wanted, Duration::from_secs(10), || {
        let gates = daemon.look("/admin/v1/gates");
        (gates["gates"][0]["state"] == wanted).then_some(())
    });
}

#[test]
fn a_receipt_says_what_the_gate_was_and_says_it_again_after_a_kill() {
    let site = Site::new("");
    let mut daemon = site.start();
    let mut given = Vec::new();
    let mut posts = |daemon: &Daemon, key: &'static str, kept: bool| {
        let (receipt, repeat) = receipt(daemon, &site, key);
        assert!(!repeat);
        let told: Value = serde_json::from_str(&receipt).unwrap();
        let (zh, en) = (told["message"]["zh"].to_string(), told["message"]["en"].to_string());
        assert_eq!(zh.contains("已受理并保存，待该部分系统恢复后发送"), kept, "{zh}");
        assert_eq!(en.contains("Accepted and kept"), kept, "{en}");
        assert_eq!(en.contains("being sent"), !kept, "{en}");
        assert_eq!(told["fund_settled"], if kept { "false" } else { "unknown" }, "{told}");
        assert_eq!((&told["counter_action"], &told["invoice"]), (&json!("none"), &json!("none")));
        given.push((key, receipt));
    };
    posts(&daemon, "open", false);
    daemon.gates("close");
    posts(&daemon, "closed", true);
    daemon.gates("open");
    posts(&daemon, "opened", false);
    site.core.script_all(&json!({ "probe_fails": true }));
    gate_is(&daemon, "closed_by_probe");
    posts(&daemon, "away", true);
    daemon.kill();
    site.core.script_all(&json!({}));
    daemon = site.start();
    gate_is(&daemon, "open");
    for (key, told) in given {
        assert_eq!(receipt(&daemon, &site, key), (told, true), "{key}");
    }
}
