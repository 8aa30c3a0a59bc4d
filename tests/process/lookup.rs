//! F1: the state of any record is told by its id, and its receipt by the client's own key, however
//! many records there are.
//!
//! `HOLDOVER_RECORDS` sets the number of records; `tests/process/lookup --records N` sets it.
//! Answers are timed and the times printed always. Only where the number was asked for must they
//! be quick as well: an ordinary run proves that they are right.

use crate::rig::{Client, Daemon, Site};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Clients that post at the same time.
const CLIENTS: usize = 4;
/// Lines of one batch, at most.
const LINES_MAX: usize = 10_000;
/// Records that are applied before the gates close.
const APPLIED_MAX: usize = 5000;
/// Lookups by id; a tenth is of what was applied.
const BY_ID: usize = 1000;
/// Lookups by the client's own key.
const BY_KEY: usize = 200;
/// What 99 of 100 answers must not take longer than.
const QUICK: Duration = Duration::from_millis(50);

fn asked_for() -> Option<usize> {
    std::env::var("HOLDOVER_RECORDS").ok().map(|text| text.parse().unwrap())
}

fn key(number: usize) -> String {
    format!("lookup-{number}")
}

/// The submission `number`; no two have the same amount until there are many.
fn submission(number: usize) -> Value {
    let fen = 1 + number % 10_000_000;
    json!({
        "business": "settlement.outpatient", "operation": "advice", "channel": "system",
        "insured": format!("person-{}", number / 10), "visit": format!("visit-{}", number / 5),
        "occurred_at": "2026-01-05T10:00:00+08:00",
        "amount": format!("{}.{:02}", fen / 100, fen % 100),
        "payload": { "subject": number.to_string() },
    })
}

/// The receipts of the numbers that will be looked up, as they came.
type Receipts = BTreeMap<usize, Box<RawValue>>;

#[derive(Deserialize)]
struct LineAnswer {
    status: u16,
    receipt: Option<Box<RawValue>>,
}

/// Posts the numbers as one batch and keeps the receipts of those in `sample`.
fn post_batch(client: &mut Client, numbers: &[usize], sample: &BTreeSet<usize>) -> Receipts {
    let lines = numbers.iter().map(|number| {
        let mut line = submission(*number);
        line["idempotency_key"] = json!(key(*number));
        format!("{line}\n")
    });
    let body: String = lines.collect();
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = client.request("POST", "/v1/transactions/batch", &kind, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert_eq!(text.lines().count(), numbers.len());
    let mut receipts = Receipts::new();
    for (number, line) in numbers.iter().zip(text.lines()) {
        let answer: LineAnswer = serde_json::from_str(line).unwrap();
        assert_eq!(answer.status, 202, "{line}");
        if sample.contains(number) {
            receipts.insert(*number, answer.receipt.unwrap());
        }
    }
    receipts
}

/// Posts the numbers of `range` from several clients.
fn post(
    site: &Site,
    daemon: &Daemon,
    range: std::ops::Range<usize>,
    sample: &BTreeSet<usize>,
) -> Receipts {
    std::thread::scope(|scope| {
        let posts: Vec<_> = (0..CLIENTS)
            .map(|first| {
                let mut client = daemon.client(&site.submitters[0]);
                let mut own = range.clone().skip(first).step_by(CLIENTS);
                scope.spawn(move || {
                    let mut receipts = Receipts::new();
                    loop {
                        let numbers: Vec<usize> = own.by_ref().take(LINES_MAX).collect();
                        if numbers.is_empty() {
                            return receipts;
                        }
                        receipts.append(&mut post_batch(&mut client, &numbers, sample));
                    }
                })
            })
            .collect();
        posts.into_iter().flat_map(|post| post.join().unwrap()).collect()
    })
}

fn timed<T>(times: &mut Vec<Duration>, what: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = what();
    times.push(began.elapsed());
    done
}

/// The time that 99 of 100 do not exceed, after printing it.
#[expect(clippy::print_stdout, reason = "the times are what this is run for")]
fn p99(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    let (half, most, slowest) = (at(50), at(99), at(100));
    println!("{} {what}: p50 {half:.2?}, p99 {most:.2?}, at most {slowest:.2?}", times.len());
    most
}

#[test]
fn f1_every_record_is_found_by_its_id_and_by_its_own_key() {
    let asked_for = asked_for();
    let records = asked_for.unwrap_or(20_000);
    let applied = APPLIED_MAX.min(records / 10);
    assert!(applied >= BY_ID / 10, "too few records to look up");
    let mut random = fastrand::Rng::with_seed(1);
    let mut sample: Vec<usize> = random.choose_multiple(0..applied, BY_ID / 10);
    sample.extend(random.choose_multiple(applied..records, BY_ID - BY_ID / 10));
    let wanted: BTreeSet<usize> = sample.iter().copied().collect();

    let site = Site::new("[log]\nlevel = \"warn\"\n");
    let daemon = site.start();
    let began = Instant::now();
    let mut receipts = post(&site, &daemon, 0..applied, &wanted);
    daemon.settle(Duration::from_secs(60));
    daemon.gates("close");
    receipts.append(&mut post(&site, &daemon, applied..records, &wanted));
    println!("{records} records, {applied} of them applied, after {:.1?}", began.elapsed());
    assert_eq!(daemon.items("applied"), applied as i64);
    assert_eq!(daemon.items("waiting"), (records - applied) as i64);
    assert_eq!(receipts.len(), BY_ID);

    let mut client = daemon.client(&site.submitters[0]);
    let (mut by_id, mut by_key) = (Vec::new(), Vec::new());
    random.shuffle(&mut sample);
    for number in &sample {
        let receipt: Value = serde_json::from_str(receipts[number].get()).unwrap();
        let id = receipt["id"].as_str().unwrap();
        let path = format!("/v1/transactions/{id}");
        let answer = timed(&mut by_id, || client.get(&path).unwrap());
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        let state = if *number < applied { "applied" } else { "waiting" };
        assert_eq!((&told["id"], &told["state"]), (&json!(id), &json!(state)), "{told}");
        assert_eq!(told["receipt"], receipt, "{told}");
    }
    random.shuffle(&mut sample);
    for number in &sample[..BY_KEY] {
        let key = key(*number);
        let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
        let body = submission(*number).to_string();
        let mut post = || client.request("POST", "/v1/transactions", &headers, body.as_bytes());
        let answer = timed(&mut by_key, || post().unwrap());
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert_eq!(answer.header("idempotency-replayed"), Some("true"), "{}", answer.text());
        assert_eq!(answer.text(), receipts[number].get(), "another receipt for {key}");
    }
    assert_eq!(daemon.items("accepted"), records as i64, "a lookup was taken for a submission");
    let slowest = p99("lookups by id", by_id).max(p99("lookups by key", by_key));
    if asked_for.is_some() {
        assert!(slowest < QUICK, "lookups took {slowest:?}");
    }
}
