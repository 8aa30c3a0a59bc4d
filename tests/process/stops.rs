//! Stops, planned and not, before a real daemon with a real clock: what is in flight when one begins,
//! how soon one is noticed that nobody planned, and what a counter is told while a core drops calls.

use crate::rig::{Answer, Daemon, Site, Submitter, after, wait_for};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(60);

/// Posts one of its own person's, waiting so many seconds where it says so.
fn post(
    daemon: &Daemon,
    by: &Submitter,
    line: (&str, &str),
    key: &str,
    wait: Option<u32>,
) -> Answer {
    let (business, operation) = line;
    let mut body = json!({
        "business": business, "operation": operation, "channel": by.channel,
        "insured": key.split('/').next().unwrap(), "occurred_at": "2026-01-05T10:00:00+08:00",
        "payload": { "subject": key },
    });
    if business.starts_with("settlement.") {
        body["amount"] = json!("12.50");
    }
    if operation == "request" {
        body["credential"] = json!("voucher-of-a-test");
    }
    let prefer = format!("wait={}", wait.unwrap_or_default());
    let mut headers = vec![("Idempotency-Key", key), ("Content-Type", "application/json")];
    headers.extend(wait.map(|_| ("Prefer", prefer.as_str())));
    let body = body.to_string();
    daemon.client(by).request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap()
}

const ADVICE: (&str, &str) = ("settlement.outpatient", "advice");

/// Reports a settlement afterwards; its transaction.
fn advise(daemon: &Daemon, site: &Site, key: &str) -> String {
    let answer = post(daemon, &site.submitters[0], ADVICE, key, None);
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// What became of each transaction's calls, in order, by the core's own log.
fn calls_by_transaction(site: &Site) -> HashMap<String, Vec<String>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for call in site.core.calls() {
        let Some(transaction) = call["transaction"].as_str() else { continue };
        let kind = call["kind"].as_str().unwrap().to_owned();
        found.entry(transaction.to_owned()).or_default().push(kind);
    }
    found
}

fn declare(daemon: &Daemon, starts_in: Duration, ends_in: Duration) {
    let window = json!({
        "id": "stop", "reason": "the core is moved", "restore_by": "probes",
        "starts_at": after(starts_in).to_string(), "ends_at": after(ends_in).to_string(),
        "notice": { "source": "the bureau", "published_at": "2026-01-05T10:00:00+08:00" },
        "policy": [
            { "clause": "1", "disposition": "hold",
              "cells": { "business": ["settlement.*"], "operation": ["advice"] } },
            { "clause": "not_in_notice", "disposition": "pass", "decided_because": "not stopped" },
        ],
    });
    let answer = daemon.admin().send("POST", "/admin/v1/windows", &window).unwrap();
    assert_eq!(answer.status / 100, 2, "{}", answer.text());
}

fn phase(daemon: &Daemon) -> String {
    daemon.look("/admin/v1/windows/stop")["phase"].as_str().unwrap().to_owned()
}

#[test]
fn b10_what_a_stop_meets_in_flight_settles_or_is_asked_about_before_anything_is_sent_again() {
    let site = Site::new("[upstream_default]\nanswer_timeout = \"7s\"\nsettle_time = \"8s\"\n");
    let daemon = site.start();
    // The core applies them all; ten are never answered, forty are when the stop is on.
    site.core.script("settlement", &json!({ "slow_ms": 120_000 }));
    let silent: Vec<String> =
        (0..10).map(|n| advise(&daemon, &site, &format!("silent-{n}"))).collect();
    let logged = |count: usize| {
        wait_for("calls at the core", BOUND, || {
            (calls_by_transaction(&site).len() == count).then_some(())
        });
    };
    logged(10);
    site.core.script("settlement", &json!({ "slow_ms": 4000 }));
    let slow: Vec<String> = (0..40).map(|n| advise(&daemon, &site, &format!("slow-{n}"))).collect();
    logged(50);
    declare(&daemon, Duration::from_millis(200), Duration::from_secs(12));
    wait_for("the stop", BOUND, || (phase(&daemon) == "active").then_some(()));
    assert_eq!(daemon.items("in_flight"), 50, "all of them are out when it begins");
    let in_the_stop = site.core.calls().len();
    // Behind one of the ten, of the same person.
    let behind = advise(&daemon, &site, "silent-0/second");

    wait_for("the forty", BOUND, || (daemon.items("applied") == 40).then_some(()));
    assert_eq!((phase(&daemon).as_str(), daemon.items("in_flight")), ("active", 10));
    wait_for("the doubt", BOUND, || (daemon.items("in_doubt") == 10).then_some(()));
    assert_eq!(phase(&daemon), "active", "the answer timeout ends in the stop");
    // Questions find nobody until the stop is over.
    site.core.script("settlement", &json!({ "down": true }));
    wait_for("the planned end", BOUND, || (phase(&daemon) != "active").then_some(()));
    let sent = |call: &Value| call["kind"] == "effect" || call["kind"] == "repeat";
    let calls = site.core.calls();
    assert!(!calls[in_the_stop..].iter().any(sent), "nothing was begun in the stop");
    assert_eq!(daemon.items("waiting"), 1, "it waits behind the doubt");
    site.core.script("settlement", &json!({}));
    daemon.settle(BOUND);
    assert_eq!((phase(&daemon).as_str(), daemon.items("applied")), ("completed", 51));

    let calls = calls_by_transaction(&site);
    for transaction in &slow {
        assert_eq!(calls[transaction], ["effect"]);
    }
    for transaction in &silent {
        let [first, questions @ ..] = calls[transaction].as_slice() else { panic!("{calls:?}") };
        assert_eq!(first, "effect");
        assert!(!questions.is_empty() && questions.iter().all(|kind| kind == "question"));
    }
    assert_eq!((calls[&behind].as_slice(), calls.len()), (&["effect".to_owned()][..], 51));
    let mut order = site.core.calls().into_iter().filter_map(|call| {
        let of = call["transaction"].as_str()?;
        (of == silent[0] || of == behind).then(|| call["kind"].as_str().unwrap().to_owned())
    });
    assert_eq!(order.next_back().as_deref(), Some("effect"), "sent after the question");
}

/// The lines of the built-in configuration with these keys.
fn built_in(keys: &[&str]) -> String {
    let lines = include_str!("../../config/default.toml").lines();
    let named = |line: &&str| keys.iter().any(|key| line.starts_with(&format!("{key} = ")));
    let found: Vec<&str> = lines.filter(named).collect();
    assert_eq!(found.len(), keys.len(), "{found:?}");
    found.join("\n")
}

/// The state of the gate of a business.
fn gate(daemon: &Daemon, business: &str) -> String {
    let gates = daemon.look("/admin/v1/gates")["gates"].as_array().unwrap().clone();
    let own = gates.iter().find(|gate| gate["cell"]["business"] == business).unwrap();
    own["state"].as_str().unwrap().to_owned()
}

fn probes(site: &Site, upstream: &str) -> usize {
    let calls = site.core.calls();
    calls.iter().filter(|call| call["kind"] == "probe" && call["upstream"] == upstream).count()
}

#[test]
fn b6_a_core_that_dies_is_held_within_ten_seconds_and_confirmed_as_a_stop() {
    let probing = built_in(&["probe_interval", "probe_timeout", "bad_needed", "good_needed"]);
    let retry = built_in(&["first", "longest", "failures_max"]);
    let site = Site::new(&format!("[upstream_default]\n{probing}\n[retry]\n{retry}\n"));
    let daemon = site.start();
    let hall = &site.submitters[3];
    let mut expected = vec![advise(&daemon, &site, "before")];
    let filed = post(&daemon, hall, ("filing.out_of_area", "apply"), "filed", None);
    assert_eq!(filed.status, 202, "{}", filed.text());
    daemon.settle(BOUND);
    // One sheds everything. The other hangs, and does so just after it was found well.
    let good = probes(&site, "agency");
    wait_for("the next probe", BOUND, || (probes(&site, "agency") > good).then_some(()));
    let died = Instant::now();
    site.core.script("agency", &json!({ "probe_fails": true, "slow_ms": 600_000 }));
    let shed = json!({ "status": 503, "probability": 1.0 });
    site.core.script("settlement", &json!({ "probe_fails": true, "busy": shed }));
    let probed = probes(&site, "settlement");
    expected.extend((0..10).map(|n| advise(&daemon, &site, &format!("at-once-{n}"))));
    let mut took = BTreeMap::new();
    for business in ["settlement.outpatient", "filing.out_of_area"] {
        wait_for("a closed gate", BOUND, || {
            (gate(&daemon, business) == "closed_by_probe").then_some(())
        });
        took.insert(business, died.elapsed());
    }
    println!("held after {took:?}");
    assert!(took.values().all(|time| *time <= Duration::from_secs(10)), "{took:?}");

    let effects_and_shed = || -> usize {
        let calls = calls_by_transaction(&site);
        calls.values().flatten().filter(|kind| *kind == "shed" || *kind == "effect").count()
    };
    let tried = calls_by_transaction(&site);
    // The first try and what a growing delay leaves of the time until it was held.
    assert!(tried.values().all(|calls| calls.len() <= 8), "{tried:?}");
    let before = effects_and_shed();
    expected.extend((0..10).map(|n| advise(&daemon, &site, &format!("held-{n}"))));
    let drafts = wait_for("drafts", Duration::from_secs(90), || {
        let listed = daemon.look("/admin/v1/windows")["drafts"].as_array().unwrap().clone();
        (listed.len() == 2).then_some(listed)
    });
    assert!(died.elapsed() >= Duration::from_secs(60), "not for every hiccup");
    assert_eq!(effects_and_shed(), before, "nobody tries while it is held");
    let probes_since = probes(&site, "settlement") - probed;
    let most = died.elapsed().as_secs() / 5 + 4;
    assert!(probes_since as u64 <= most, "{probes_since} probes in {:?}", died.elapsed());

    let draft = drafts.iter().find(|draft| draft["upstream"] == "settlement").unwrap();
    let path = format!("/admin/v1/windows/{}/confirm", draft["id"].as_str().unwrap());
    // An hour is only expected: it is over as soon as its probes are good.
    let ends_at = after(Duration::from_secs(3600)).to_string();
    let because = json!({ "reason": "its operators say so", "ends_at": ends_at });
    let confirmed = daemon.admin().send("POST", &path, &because).unwrap();
    assert_eq!(confirmed.status, 201, "{}", confirmed.text());
    let window = confirmed.json();
    assert_eq!((&window["cause"], &window["version"]), (&json!("unplanned"), &json!(1)));
    assert_eq!(window["starts_at"], draft["began_at"]);
    assert_eq!(gate(&daemon, "settlement.outpatient"), "verifying");
    let listed = daemon.look("/admin/v1/windows");
    assert_eq!(
        (&listed["items"][0]["id"], listed["drafts"].as_array().unwrap().len()),
        (&draft["id"], 1),
        "a window like any other"
    );
    site.core.script_all(&json!({}));
    daemon.settle(BOUND);
    let calls = calls_by_transaction(&site);
    for transaction in &expected {
        let effects = calls[transaction].iter().filter(|kind| *kind == "effect").count();
        assert_eq!(effects, 1, "{transaction}: {:?}", calls[transaction]);
    }
}

/// Forty settlements at each of eight counters: the transaction, what was told, and after how long.
fn settle_at_counters(site: &Site, daemon: &Daemon, wait: u32) -> Vec<(String, Value, Duration)> {
    let request = ("settlement.outpatient", "request");
    std::thread::scope(|scope| {
        let counters: Vec<_> = (0..8)
            .map(|counter| {
                scope.spawn(move || {
                    let one = |n: u32| {
                        let (key, began) = (format!("{counter}-{n}"), Instant::now());
                        let by = &site.submitters[counter % 2];
                        let answer = post(daemon, by, request, &key, Some(wait));
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        let told = answer.json();
                        let id = told["receipt"]["id"].as_str().unwrap().to_owned();
                        (id, told, began.elapsed())
                    };
                    (0..40).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        counters.into_iter().flat_map(|counter| counter.join().unwrap()).collect()
    })
}

#[test]
fn b5_while_a_core_drops_calls_every_counter_is_told_in_time_what_it_may_do() {
    const WAIT: u32 = 1;
    // Beyond what it asked to wait for; the machine may be busy.
    const PATIENCE: Duration = Duration::from_secs(3);
    let site = Site::new("");
    let daemon = site.start();
    // Three of ten: shed, cut before they take effect, and cut afterwards.
    let tenth = json!({ "probability": 0.1 });
    site.core.script("settlement", &json!({
        "busy": { "status": 503, "probability": 0.1 }, "lose_before": tenth, "lose_after": tenth,
    }));
    let told = settle_at_counters(&site, &daemon, WAIT);
    site.core.script("settlement", &json!({}));
    daemon.settle(BOUND);

    let calls = calls_by_transaction(&site);
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (place, (id, told, took)) in told.iter().enumerate() {
        let bound = Duration::from_secs(WAIT.into()) + PATIENCE;
        assert!(*took <= bound, "{id} was answered after {took:?}");
        let by = &site.submitters[place / 40 % 2];
        let shown = daemon.client(by).get(&format!("/v1/transactions/{id}")).unwrap().json();
        let (outcome, state) =
            (told["outcome"].as_str().unwrap(), shown["state"].as_str().unwrap());
        let effects = calls[id].iter().filter(|kind| *kind == "effect").count();
        match outcome {
            "applied" => {
                assert_eq!((&told["fund_settled"], state), (&json!("true"), "applied"), "{told}");
            }
            "ticketed" => {
                assert_eq!((&told["fund_settled"], state), (&json!("false"), "ticketed"), "{told}");
                assert_eq!(told["counter_action"], "charge_full", "{told}");
            }
            "do_not_finalise" => {
                assert_eq!(told["fund_settled"], "unknown", "{told}");
                assert_eq!(told["counter_action"], "do_not_finalise", "{told}");
            }
            other => panic!("{other} is nothing that a counter can go by: {told}"),
        }
        match state {
            "applied" => assert_eq!(effects, 1, "{id}: {:?}", calls[id]),
            "ticketed" => assert_eq!(effects, 0, "a ticket says surely not: {:?}", calls[id]),
            other => panic!("{id} is {other} in the end"),
        }
        *counted.entry((outcome.to_owned(), state.to_owned())).or_default() += 1;
    }
    println!("told, and in the end: {counted:?}");
    let among = |outcome: &str, state: &str| counted.get(&(outcome.to_owned(), state.to_owned()));
    for (outcome, state) in [
        ("applied", "applied"),
        ("ticketed", "ticketed"),
        ("do_not_finalise", "applied"),
        ("do_not_finalise", "ticketed"),
    ] {
        assert!(among(outcome, state).is_some_and(|count| *count > 5), "{counted:?}");
    }
    let ledger = daemon.look("/admin/v1/ledger");
    assert_eq!(
        (&ledger["difference"], &ledger["amount"]["difference"]),
        (&json!(0), &json!("0.00"))
    );
    assert_eq!(daemon.items("applied") + daemon.items("ticketed"), 320, "{ledger}");
}
