//! The books of the real daemon, read again and again while the core misbehaves, gates close and
//! open, and the daemon is killed in between: they balance whenever they are read.

use crate::rig::{Client, Daemon, Site, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(30);

/// A little of everything, all the time.
fn misbehaviour() -> Value {
    json!({
        "lose_before": { "probability": 0.05 }, "lose_after": { "probability": 0.05 },
        "maintenance_page": { "probability": 0.02 }, "fenced": true,
        "busy": { "status": 429, "retry_after_seconds": 0, "probability": 0.1 },
        "refuse": [{ "business": "settlement.inpatient", "code": "E7" }],
    })
}

/// Reads the books once. Every difference is zero, and every state is a known word.
fn read_books(admin: &mut Client, seen: &Mutex<BTreeSet<String>>) {
    let Ok(answer) = admin.get("/admin/v1/ledger") else { return };
    assert_eq!(answer.status, 200, "{}", answer.text());
    let books = answer.json();
    assert_eq!(books["difference"], 0, "{books}");
    assert_eq!(books["amount"]["difference"], "0.00", "{books}");
    const STATES: [&str; 10] = [
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
    ];
    let items = STATES.map(|state| books[state].as_i64().unwrap());
    assert_eq!(books["accepted"].as_i64().unwrap(), items.iter().sum::<i64>(), "{books}");
    let fen = |state: &str| {
        books["amount"][state].as_str().unwrap().replace('.', "").parse::<i64>().unwrap()
    };
    assert_eq!(fen("accepted"), STATES.iter().map(|state| fen(state)).sum::<i64>(), "{books}");
    let tickets = &books["tickets"];
    let closed = ["open", "resettled", "reimbursed_manually", "waived"];
    let sum: i64 = closed.iter().map(|state| tickets[*state].as_i64().unwrap()).sum();
    assert_eq!(tickets["issued"].as_i64().unwrap(), sum, "{books}");
    let mut seen = seen.lock().unwrap();
    seen.extend(STATES.iter().zip(items).filter(|(_, n)| *n > 0).map(|(s, _)| (*s).to_owned()));
}

fn post(client: &mut Client, number: u32) {
    let (business, operation) = match number % 3 {
        0 => ("settlement.outpatient", "advice"),
        1 => ("settlement.inpatient", "advice"),
        _ => ("settlement.out_of_area", "request"),
    };
    let body = json!({
        "business": business, "operation": operation, "insured": format!("p-{number}"),
        "channel": "system", "occurred_at": "2026-01-05T10:00:00+08:00",
        "amount": format!("{}.{:02}", number % 500, number % 100),
        "payload": { "subject": number.to_string() },
    });
    let key = format!("key-{number}");
    let headers = [
        ("Idempotency-Key", key.as_str()),
        ("Content-Type", "application/json"),
        ("Prefer", if number % 3 == 2 { "wait=1" } else { "respond-async" }),
    ];
    let body = body.to_string();
    // A kill cuts answers off.
    if let Ok(answer) = client.request("POST", "/v1/transactions", &headers, body.as_bytes()) {
        assert!(matches!(answer.status, 200 | 202 | 503), "{}", answer.text());
    }
}

/// Posts and reads the books for as long as `meanwhile` takes; how often they were read.
fn read_while(
    site: &Site,
    daemon: &Daemon,
    numbers: &AtomicU32,
    seen: &Mutex<BTreeSet<String>>,
    meanwhile: impl FnOnce(),
) -> u32 {
    let (ended, reads) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for place in 0..2 {
            let (mut client, ended) = (daemon.client(&site.submitters[place]), &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    post(&mut client, numbers.fetch_add(1, Ordering::SeqCst));
                }
            });
        }
        let reader = scope.spawn(|| {
            let mut admin = daemon.admin();
            while !ended.load(Ordering::SeqCst) {
                read_books(&mut admin, seen);
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        meanwhile();
        ended.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    reads.into_inner()
}

#[test]
fn the_books_balance_whenever_they_are_read() {
    let site = Site::new("[retry]\nfailures_max = 3\n");
    let (numbers, seen) = (AtomicU32::new(0), Mutex::new(BTreeSet::new()));
    site.core.script_all(&misbehaviour());
    let mut reads = 0;
    for round in 1..=3 {
        let daemon = site.start();
        reads += read_while(&site, &daemon, &numbers, &seen, || {
            for _ in 0..3 {
                let until = numbers.load(Ordering::SeqCst) + 60;
                daemon.gates("close");
                daemon.gates("open");
                wait_for("more posts", BOUND, || {
                    (numbers.load(Ordering::SeqCst) >= until).then_some(())
                });
            }
        });
        if round < 3 {
            daemon.kill();
            continue;
        }
        site.core.script_all(&json!({}));
        daemon.settle(BOUND);
        read_books(&mut daemon.admin(), &seen);
        assert_eq!(daemon.look("/admin/v1/ledger")["balanced"], true);
    }
    let seen = seen.into_inner().unwrap();
    for state in ["applied", "refused", "waiting", "in_doubt"] {
        assert!(seen.contains(state), "{state} was never seen: {seen:?}");
    }
    assert!(reads >= 50, "{reads} reads");
    eprintln!("{} posts, {reads} reads, states seen: {seen:?}", numbers.into_inner());
}
