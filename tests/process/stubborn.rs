//! What must not stop the daemon, and what must not keep it from stopping: bodies that are no
//! submissions, and calls that hang.

use crate::history::{History, draw};
use crate::rig::{Client, Site};
use serde_json::json;
use std::time::{Duration, Instant};

/// No answer may take longer, whatever was sent.
const STALL: Duration = Duration::from_secs(1);

#[test]
fn a_stop_with_calls_that_hang_takes_seconds_and_the_next_start_settles_them() {
    let site = Site::new(
        "[listen]\ngrace = \"8s\"\n\
         [upstream_default]\nanswer_timeout = \"60s\"\nsettle_time = \"61s\"\n",
    );
    site.core.script_all(&json!({ "slow_ms": 120_000 }));
    let history = History::new(site.folder());
    let daemon = site.start();
    let mut random = fastrand::Rng::with_seed(9);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let mut intent = draw(&mut random, &site.submitters, 1_000_000);
            while !intent.body.contains("\"out_of_area\"") && intent.wait.is_none() {
                intent = draw(&mut random, &site.submitters, 1_000_000);
            }
            intent.wait = Some(60);
            let mut client = daemon.client(&site.submitters[intent.submitter]);
            let history = &history;
            // Whether it is answered or cut off, the history knows.
            scope.spawn(move || drop(history.post(&mut client, intent)));
        }
        for _ in 0..20 {
            let mut intent = draw(&mut random, &site.submitters, 1_000_000);
            intent.wait = None;
            let mut client = daemon.client(&site.submitters[intent.submitter]);
            assert_eq!(history.post(&mut client, intent).unwrap().status, 202);
        }
        crate::rig::wait_for("calls that hang", Duration::from_secs(10), || {
            (daemon.items("in_flight") >= 20).then_some(())
        });
        let began = Instant::now();
        daemon.terminate();
        // The whole of it, also where every call hangs: nothing waits for the service manager to kill.
        let status = daemon.ended(Duration::from_secs(8));
        println!("stopped with {status} after {:?}", began.elapsed());
        assert!(status.success(), "a stop that was asked for is no failure: {status}");
    });
    let in_flight = daemon.said();
    assert!(in_flight.contains("stopping"), "{in_flight}");
    drop(daemon);
    site.core.script_all(&json!({}));
    let daemon = site.start();
    let proof = history.prove(&site, &daemon, Duration::from_secs(20));
    println!("{:?} {proof:?}", history.totals());
    assert!(proof.in_doubt >= 20, "{proof:?}");
}

/// A body that is hardly a submission.
fn poison(random: &mut fastrand::Rng, good: &str) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    let place = |random: &mut fastrand::Rng, bytes: &[u8]| random.usize(..bytes.len());
    match random.u8(..10) {
        0 => (0..random.usize(..600)).map(|_| random.u8(..)).collect(),
        1 => {
            bytes.truncate(place(random, &bytes));
            bytes
        }
        2 => {
            for _ in 0..random.usize(1..8) {
                let at = place(random, &bytes);
                bytes[at] ^= 1 << random.u8(..8);
            }
            bytes
        }
        3 => {
            let (open, close) = if random.bool() { ("[", "]") } else { ("{\"a\":", "}") };
            let depth = random.usize(1..20_000);
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            good.replace("{\"note\"", &format!("{{\"deep\":{deep},\"note\"")).into_bytes()
        }
        4 => {
            let at = place(random, &bytes);
            let odd: [&[u8]; 8] =
                [b"\0", b"\xff", b"\xc3", b"\\ud800", b"1e999", b"-0", b"\"", b"\xf0\x9f\x92\x8a"];
            let odd = odd[random.usize(..odd.len())];
            bytes.splice(at..at, odd.iter().copied());
            bytes
        }
        5 => {
            let fields = ["amount", "insured", "occurred_at", "channel", "business", "operation"];
            let values = [
                "null",
                "[]",
                "{}",
                "1e400",
                "-1",
                "\"\"",
                "99999999999999999999",
                "true",
                "\"9999-12-31T23:59:60+99:99\"",
                "\"999999999999999999.99\"",
                "\"\\u0000\"",
            ];
            let mut body: serde_json::Value = serde_json::from_str(good).unwrap();
            body[fields[random.usize(..fields.len())]] = json!("@");
            let value = values[random.usize(..values.len())];
            body.to_string().replace("\"@\"", value).into_bytes()
        }
        6 => {
            let long = "长".repeat(random.usize(1..30_000));
            good.replace("person-", &long).into_bytes()
        }
        7 => {
            let extra =
                ["depends_on", "replaces", "deadline", "attributes", "attachments", "visit"];
            let name = extra[random.usize(..extra.len())];
            let value = ["\"x\"", "[1]", "{\"a\":{}}", "0", "\"9999-99-99\"", "[[[[]]]]"];
            let value = value[random.usize(..value.len())];
            good.replacen('{', &format!("{{\"{name}\":{value},"), 1).into_bytes()
        }
        8 => [good.as_bytes(), good.as_bytes()].concat(),
        _ => {
            let from = place(random, &bytes);
            let until = random.usize(from..bytes.len());
            let part = bytes[from..until].to_vec();
            let at = place(random, &bytes);
            bytes.splice(at..at, part);
            bytes
        }
    }
}

#[test]
fn no_body_stops_the_daemon_or_holds_others_up() {
    let bodies = std::env::var("HOLDOVER_FUZZ").map_or(4000, |text| text.parse::<u32>().unwrap());
    let site = Site::new("[log]\nlevel = \"info\"\n");
    let history = History::new(site.folder());
    let daemon = site.start();
    let mut slowest = Duration::ZERO;
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let mut random = fastrand::Rng::with_seed(100_000);
    let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
    let mut canary: Vec<Client> = site.submitters.iter().map(|s| daemon.client(s)).collect();
    let kind = ("Content-Type", "application/json");
    for number in 0..bodies {
        let good = draw(&mut random, &site.submitters, 50);
        let body = poison(&mut random, &good.body);
        let headers = [("Idempotency-Key", good.key.as_str()), kind];
        let client = &mut clients[good.submitter];
        let began = Instant::now();
        let answer = client.request("POST", "/v1/transactions", &headers, &body).unwrap();
        let took = began.elapsed();
        slowest = slowest.max(took);
        assert!(took < STALL, "{took:?} for {:?}", String::from_utf8_lossy(&body));
        assert!(answer.status < 500, "{} for {:?}", answer.text(), String::from_utf8_lossy(&body));
        *statuses.entry(answer.status).or_default() += 1;
        if number % 20 == 0 {
            let mut intent = draw(&mut random, &site.submitters, 1_000_000);
            intent.wait = None;
            let began = Instant::now();
            let client = &mut canary[intent.submitter];
            assert_eq!(history.post(client, intent).unwrap().status, 202);
            let took = began.elapsed();
            assert!(took < STALL, "a good submission took {took:?}");
        }
    }
    println!("{statuses:?}, the slowest took {slowest:?}");
    daemon.settle(Duration::from_secs(30));
    let ledger = daemon.look("/admin/v1/ledger");
    assert_eq!(ledger["difference"], json!(0), "{ledger}");
    assert_eq!(ledger["amount"]["difference"], json!("0.00"), "{ledger}");
    assert!(statuses.get(&422).is_some_and(|n| *n > 100) && statuses.contains_key(&400));
    assert!(!daemon.said().contains("panicked"), "{}", daemon.said());
}
