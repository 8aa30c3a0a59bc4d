//! Killing the real daemon under load, again and again: nothing acknowledged is lost, nothing
//! takes effect twice, and one key stays one transaction.
//!
//! `HOLDOVER_ROUNDS` sets the number of kills, `HOLDOVER_SEED` what is drawn by chance;
//! `tests/process/kill_loop --rounds N` sets both.

use crate::history::{History, draw};
use crate::rig::{Answer, Client, Daemon, Site, Submitter};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, RwLock};
use std::time::{Duration, Instant};

/// How many clients post at the same time.
const CLIENTS: u64 = 16;
/// How many people they post for: few enough that many wait behind each other.
const PEOPLE: u32 = 400;

/// Small segments, so that kills meet their beginnings and ends too.
const CONFIG: &str = "[journal]\nsegment_bytes = 1048576\n[log]\nlevel = \"warn\"\n";

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// What the clients share: where the daemon is, if it runs.
struct Load<'a> {
    history: &'a History,
    submitters: &'a [Submitter],
    daemon: RwLock<Option<SocketAddr>>,
    over: AtomicBool,
}

impl Load<'_> {
    /// One client: posts for whom it likes, as long as the load lasts. What was cut off it
    /// sends again at once, or leaves to the end.
    fn post(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients: Vec<Client> = Vec::new();
        let mut connected = None;
        let mut again = None;
        while !self.over.load(Ordering::SeqCst) {
            let address = *self.daemon.read().unwrap();
            std::thread::sleep(Duration::from_millis(random.u64(1..30)));
            let Some(address) = address else { continue };
            if connected != Some(address) {
                let client = |s: &Submitter| Client::new(address, Some(&s.key));
                clients = self.submitters.iter().map(client).collect();
                connected = Some(address);
            }
            let (number, submitter) = again.take().unwrap_or_else(|| {
                let intent = draw(&mut random, self.submitters, PEOPLE);
                let submitter = intent.submitter;
                (self.history.begin(intent), submitter)
            });
            match self.history.attempt(&mut clients[submitter], number) {
                Ok(answer) => assert!(matches!(answer.status, 200 | 202), "{}", answer.text()),
                Err(_) => again = random.bool().then_some((number, submitter)),
            }
        }
    }
}

/// Ends the load also when the test fails, so that its clients end too.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn kills_under_load_lose_nothing_and_double_nothing() {
    let rounds = from_environment("HOLDOVER_ROUNDS", 100);
    let seed = from_environment("HOLDOVER_SEED", 20_220_812);
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new(CONFIG);
    let flaky = serde_json::json!({
        "slow_ms": 5,
        "lose_before": { "probability": 0.02 },
        "lose_after": { "probability": 0.02 },
        "refuse": [{ "business": "settlement.inpatient", "code": "E1", "next": 20 }],
    });
    site.core.script_all(&flaky);
    let history = History::new(site.folder());
    let load = Load {
        history: &history,
        submitters: &site.submitters,
        daemon: RwLock::default(),
        over: AtomicBool::new(false),
    };
    let mut starts = Vec::new();
    let start = |starts: &mut Vec<Duration>| {
        let began = Instant::now();
        let daemon = site.start();
        starts.push(began.elapsed());
        daemon
    };
    std::thread::scope(|scope| {
        let _end = EndOf(&load.over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (load, seed) = (&load, seed ^ (number + 1));
                scope.spawn(move || load.post(seed))
            })
            .collect();
        for _ in 0..rounds {
            let daemon = start(&mut starts);
            *load.daemon.write().unwrap() = Some(daemon.submitters);
            std::thread::sleep(Duration::from_millis(random.u64(20..350)));
            daemon.kill();
            *load.daemon.write().unwrap() = None;
            if clients.iter().any(|client| client.is_finished()) {
                break;
            }
        }
    });
    site.core.script_all(&serde_json::json!({}));
    let daemon = start(&mut starts);
    let proof = history.prove(&site, &daemon, Duration::from_secs(60));
    let totals = history.totals();
    let (slowest, sum) = (starts.iter().max().unwrap(), starts.iter().sum::<Duration>());
    println!(
        "seed {seed}: {} kills, {totals:?}, {proof:?}; a start took {:?}, at most {slowest:?}",
        starts.len() - 1,
        sum / starts.len() as u32,
    );
    assert_eq!(starts.len() as u64, rounds + 1);
    assert!(totals.acknowledged > 0, "nothing was acknowledged");
    assert!(totals.unknown > 0, "no kill cut a client off");
    assert!(proof.in_doubt > 0, "no kill met an attempt");
    assert_eq!(totals.turned, 0, "a submission was turned away");
}

/// Posts one key from 64 connections at the same moment.
fn post_together(
    daemon: &Daemon,
    submitter: &Submitter,
    intent: &crate::history::Intent,
    during: impl FnOnce(),
) -> Vec<std::io::Result<Answer>> {
    let gate = Barrier::new(65);
    std::thread::scope(|scope| {
        let posts: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = daemon.client(submitter);
                    gate.wait();
                    intent.post(&mut client)
                })
            })
            .collect();
        gate.wait();
        during();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    })
}

/// The one receipt of all answers that came.
fn one_receipt(answers: &[std::io::Result<Answer>]) -> Option<Vec<u8>> {
    let mut receipts = answers.iter().flatten().map(|answer| {
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.body.clone()
    });
    let first = receipts.next()?;
    assert!(receipts.all(|receipt| receipt == first), "receipts of one key differ");
    Some(first)
}

#[test]
fn sixty_four_posts_of_one_key_are_one_transaction_also_after_a_kill() {
    let site = Site::new(CONFIG);
    let hospital = &site.submitters[0];
    let mut random = fastrand::Rng::with_seed(64);
    let mut intent = draw(&mut random, &site.submitters[..1], 1);
    intent.wait = None;
    let mut other = intent.clone();
    other.body = other.body.replace("person-", "another-");
    assert_ne!(other.body, intent.body);
    let reused = |daemon: &Daemon| {
        let answer = other.post(&mut daemon.client(hospital)).unwrap();
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(answer.json()["code"], "idempotency_key_reused");
    };

    let daemon = site.start();
    let answers = post_together(&daemon, hospital, &intent, || {});
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let receipt = one_receipt(&answers).unwrap();
    let replayed = |a: &Answer| a.header("idempotency-replayed") == Some("true");
    let first = answers.iter().flatten().filter(|answer| !replayed(answer)).count();
    assert_eq!(first, 1, "not exactly one answer was the first");
    reused(&daemon);
    assert_eq!(daemon.items("accepted"), 1);
    daemon.kill();

    let daemon = site.start();
    let answers = post_together(&daemon, hospital, &intent, || {});
    assert_eq!(one_receipt(&answers), Some(receipt));
    assert!(answers.iter().flatten().all(replayed), "a repeat was taken for the first");
    reused(&daemon);
    assert_eq!(daemon.items("accepted"), 1);
}

#[test]
fn a_kill_amid_sixty_four_posts_of_one_key_leaves_one_transaction() {
    let site = Site::new(CONFIG);
    let hospital = &site.submitters[0];
    let mut random = fastrand::Rng::with_seed(65);
    let (mut cut_off, mut told) = (0, 0);
    for round in 1..=10 {
        let mut intent = draw(&mut random, &site.submitters[..1], 1000);
        intent.wait = None;
        let daemon = site.start();
        let pause = Duration::from_micros(random.u64(..8000));
        let pid = daemon.pid();
        let answers = post_together(&daemon, hospital, &intent, || {
            std::thread::sleep(pause);
            let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.unwrap().success());
        });
        drop(daemon);
        let before = one_receipt(&answers);
        cut_off += answers.iter().filter(|answer| answer.is_err()).count();
        told += answers.iter().filter(|answer| answer.is_ok()).count();
        let daemon = site.start();
        let after = one_receipt(&post_together(&daemon, hospital, &intent, || {})).unwrap();
        assert!(before.is_none_or(|before| before == after), "another receipt after the kill");
        assert_eq!(daemon.items("accepted"), round);
        daemon.kill();
    }
    println!("{cut_off} cut off, {told} told");
    assert!(cut_off > 0, "no kill cut a client off");
}
