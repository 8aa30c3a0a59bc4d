//! D1: what was held is replayed per ordering key in the order in which it was submitted, also
//! when the core fails now and then and the daemon is killed on the way.
//!
//! `HOLDOVER_RECORDS` sets the number of records, a hundred for each ordering key;
//! `tests/process/order --records N` sets it. The proof rests on the core's log alone: each
//! record carries its key and its place in it, so the log is read once, line by line.

use crate::rig::{Client, Daemon, Site, Submitter, wait_for};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

/// Clients that post at the same time; a key belongs to one of them.
const CLIENTS: usize = 4;
const RECORDS_PER_KEY: usize = 100;
/// Lines of one batch, at most.
const LINES_MAX: usize = 10_000;
const KILLS: usize = 3;

/// Small segments where there is little, so that kills meet several.
const CONFIG: &str = "[journal]\nsegment_bytes = 4194304\n[log]\nlevel = \"warn\"\n";

fn records() -> usize {
    std::env::var("HOLDOVER_RECORDS").map_or(6000, |text| text.parse().unwrap())
}

/// Long enough for a machine with other work.
fn bound(records: usize) -> Duration {
    Duration::from_secs(60) + Duration::from_millis(5) * u32::try_from(records).unwrap()
}

/// Place `place` of key `key`, as one line of a batch.
pub(crate) fn line(key: usize, place: u32) -> String {
    let line = json!({
        "idempotency_key": format!("order-{key}-{place}"),
        "business": "settlement.outpatient", "operation": "advice", "channel": "system",
        "insured": format!("person-{key}"), "visit": format!("visit-{key}"),
        "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "payload": { "subject": format!("{key}/{place}") },
    });
    format!("{line}\n")
}

/// Posts `records` records of every key that is `first` modulo [`CLIENTS`], the keys mixed by
/// chance, one batch after the other.
fn post(client: &mut Client, first: usize, keys: usize, records: usize) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(first as u64);
    let own: Vec<usize> = (first..keys).step_by(CLIENTS).collect();
    let mut places = vec![0; keys];
    // Where there is little, several batches all the same.
    let lines_max = LINES_MAX.min(records.div_ceil(5));
    let mut left = records;
    while left > 0 {
        let count = left.min(lines_max);
        let lines = (0..count).map(|_| {
            let key = own[random.usize(..own.len())];
            places[key] += 1;
            line(key, places[key])
        });
        post_batch(client, &lines.collect::<String>(), count);
        left -= count;
    }
    places
}

fn post_batch(client: &mut Client, body: &str, count: usize) {
    let kind = [("Content-Type", "application/x-ndjson")];
    let answer = client.request("POST", "/v1/transactions/batch", &kind, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert_eq!(text.lines().count(), count);
    for line in text.lines() {
        assert!(line.contains("\"status\":202"), "{line}");
    }
}

/// Posts everything and gives the number of records of each key.
fn post_all(daemon: &Daemon, submitters: &[Submitter], keys: usize, records: usize) -> Vec<u32> {
    let places = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = daemon.client(&submitters[number % 2]);
                let share = records / CLIENTS + usize::from(number < records % CLIENTS);
                scope.spawn(move || post(&mut client, number, keys, share))
            })
            .collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect::<Vec<_>>()
    });
    (0..keys).map(|key| places[key % CLIENTS][key]).collect()
}

/// What the proof needs of a line of the core's log.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    transaction: Option<Cow<'a, str>>,
    answer_lost: bool,
    seq: Option<u64>,
}

/// What the log has counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) effects: u64,
    shed: u64,
    pub(crate) lost_before: u64,
    pub(crate) lost_after: u64,
    pub(crate) questions: u64,
    /// A transaction whose answer was lost after it had taken effect.
    doubtful: Option<String>,
}

/// Reads the log once. Each effect is the next of its key: none is missing, none comes twice,
/// none comes before its turn. Otherwise says which was not.
pub(crate) fn in_submit_order(log: &Path, submitted: &[u32]) -> Result<Counts, String> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(log).unwrap());
    let mut counts = Counts::default();
    let mut done = vec![0_u32; submitted.len()];
    let mut text = String::new();
    while reader.read_line(&mut text).unwrap() > 0 {
        let call: Call<'_> = serde_json::from_str(&text).unwrap();
        match &*call.kind {
            "effect" => {
                counts.effects += 1;
                assert_eq!(call.seq, Some(counts.effects), "the log itself is out of order");
                let (key, place) = call.subject.as_ref().unwrap().split_once('/').unwrap();
                let (key, place): (usize, u32) = (key.parse().unwrap(), place.parse().unwrap());
                done[key] += 1;
                if place != done[key] {
                    return Err(format!("key {key}: out of its turn, or twice: {text}"));
                }
                if call.answer_lost {
                    counts.lost_after += 1;
                    counts.doubtful = call.transaction.map(Cow::into_owned);
                }
            }
            "shed" => counts.shed += 1,
            "lost_before" => counts.lost_before += 1,
            "question" => counts.questions += 1,
            "probe" => {}
            other => panic!("unexpected at the core: {other}: {text}"),
        }
        text.clear();
    }
    match (0..done.len()).find(|key| done[*key] != submitted[*key]) {
        Some(key) => Err(format!("key {key}: {} of {} effects", done[key], submitted[key])),
        None => Ok(counts),
    }
}

/// Closes every gate, posts everything, and opens the gates to a core that answers one call in
/// twenty badly. Gives the number of records of each key.
#[expect(clippy::print_stdout, reason = "a run at full size is watched")]
fn hold_and_release(site: &Site, daemon: &Daemon, keys: usize, records: usize) -> Vec<u32> {
    daemon.gates("close");
    let began = Instant::now();
    let submitted = post_all(daemon, &site.submitters, keys, records);
    println!("posted in {:.1?}", began.elapsed());
    assert_eq!(daemon.items("waiting"), records as i64, "something did not wait");
    site.core.script_all(&json!({
        "busy": { "status": 503, "probability": 0.03 },
        "lose_before": { "probability": 0.01 },
        "lose_after": { "probability": 0.01 },
    }));
    daemon.gates("open");
    submitted
}

#[test]
fn d1_per_key_effects_come_in_submit_order_through_failures_and_kills() {
    let records = records();
    let keys = records.div_ceil(RECORDS_PER_KEY).max(CLIENTS);
    let bound = bound(records);
    let site = Site::new(CONFIG);
    let mut daemon = site.start();
    let submitted = hold_and_release(&site, &daemon, keys, records);
    let began = Instant::now();
    let mut killed_at = Vec::new();
    for kill in 1..=KILLS {
        let wanted = (records * kill / (KILLS + 1)) as i64;
        let applied = wait_for("the replay to come so far", bound, || {
            Some(daemon.items("applied")).filter(|applied| *applied >= wanted)
        });
        assert!(applied < records as i64, "the replay was over before kill {kill}");
        daemon.kill();
        killed_at.push(applied);
        daemon = site.start();
    }
    daemon.settle(bound);
    let replayed = began.elapsed();

    let ledger = daemon.look("/admin/v1/ledger");
    assert_eq!(ledger["accepted"], json!(records), "{ledger}");
    assert_eq!(ledger["applied"], json!(records), "{ledger}");
    assert_eq!(ledger["difference"], json!(0), "{ledger}");
    let counts = in_submit_order(&site.core.log, &submitted).unwrap();
    let failures = counts.shed + counts.lost_before + counts.lost_after;
    let calls = counts.effects + counts.shed + counts.lost_before;
    println!(
        "{records} records, {keys} keys, {failures} failures in {calls} calls, killed at \
         {killed_at:?}; replayed in {replayed:.1?}; {counts:?}"
    );
    assert_eq!(killed_at.len(), KILLS);
    assert!(counts.shed > 0 && counts.lost_before > 0, "{counts:?}");
    assert!(failures * 100 >= calls * 3, "too few failures: {counts:?}");
    let doubtful = counts.doubtful.expect("no answer was lost after an effect");
    let detail = daemon.look(&format!("/admin/v1/transactions/{doubtful}"));
    let history = detail["history"].as_array().unwrap();
    assert!(history.iter().any(|step| step["what"] == "in_doubt"), "{detail}");
}

#[cfg(feature = "sabotage")]
#[test]
fn d1_a_replay_that_ignores_the_order_of_keys_is_noticed() {
    let site = Site::new(CONFIG);
    let daemon = site.start_with(&["--sabotage", "ignore-key-order"]);
    let submitted = hold_and_release(&site, &daemon, 20, 2000);
    daemon.settle(bound(2000));
    let found = in_submit_order(&site.core.log, &submitted).unwrap_err();
    assert!(found.contains("out of its turn"), "{found}");
}
