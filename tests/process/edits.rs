//! Windows edited at random while a load runs against the real daemon, over real time: declared,
//! changed, put off, ended early, cancelled, restored, gates closed and opened, and the daemon
//! killed in between. No effect begins while its gate is closed (P4), and no date inside a stop
//! expires because of it or is moved earlier once told (P5).
//!
//! The oracle knows what was ordered and when it was answered, and nothing of the daemon's state:
//! what a window stops is stopped from its start, or from the answer to the order that made it, to
//! the order that restores it. `HOLDOVER_EDITS` sets how many edits there are, `HOLDOVER_SEED` what
//! is drawn.

use crate::rig::{Client, Site};
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest that a test of this file may take.
const BOUND: Duration = Duration::from_secs(240);
/// How long a call that was begun before a window's start may take to the core's log: where a clock
/// closes a gate and not an order, nobody waits for what was begun.
const ON_ITS_WAY_MS: i64 = 700;
/// What is posted: the submitter's place, business, operation, upstream.
const PARTS: [(usize, &str, &str, &str); 2] = [
    (0, "settlement.outpatient", "advice", "settlement"),
    (4, "filing.out_of_area", "handle", "agency"),
];
/// The part whose windows move dates.
const DATED: usize = 1;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn text(ms: i64) -> String {
    Timestamp::from_millis(ms).to_string()
}

/// A stretch in which no effect of a part may arrive at the core.
#[derive(Debug)]
struct Closed {
    part: usize,
    by: String,
    from_ms: i64,
    to_ms: i64,
}

/// A window as it was ordered.
#[derive(Debug)]
struct Ordered {
    id: String,
    part: usize,
    starts_ms: i64,
    ends_ms: i64,
    /// The farthest that was ever told, and whether all of it counts: it was not cancelled.
    told: (i64, i64),
    /// When the last order about its start was answered.
    answered_ms: i64,
    restored_ms: Option<i64>,
}

impl Ordered {
    fn begun(&self, now: i64) -> bool {
        self.starts_ms <= now
    }
}

/// The orders, and what is known by their answers.
struct Editor<'a> {
    random: fastrand::Rng,
    daemon: &'a RwLock<Option<SocketAddr>>,
    operator: String,
    windows: Vec<Ordered>,
    /// By part: since when an operator's closing is answered.
    shut: BTreeMap<usize, i64>,
    closed: Vec<Closed>,
    done: BTreeMap<&'static str, u64>,
}

impl Editor<'_> {
    fn send(&self, path: &str, mut body: Value) -> (u16, Value) {
        body["reason"] = json!("an edit at random");
        let address = self.daemon.read().unwrap().expect("a daemon");
        let answer = Client::new(address, Some(&self.operator)).send("POST", path, &body).unwrap();
        (answer.status, answer.json())
    }

    /// An order that must be carried out; when it was answered.
    fn order(&mut self, what: &'static str, path: &str, body: Value) -> i64 {
        let (status, told) = self.send(path, body);
        assert!(matches!(status, 200 | 201), "{what}: {status} {told}");
        *self.done.entry(what).or_default() += 1;
        now_ms()
    }

    /// An order that only a window takes which has not begun; `None` where it came too late.
    fn order_before(&mut self, place: usize, what: &'static str, body: Value) -> Option<i64> {
        let path = format!("/admin/v1/windows/{}/{what}", self.windows[place].id);
        let (status, told) = self.send(&path, body);
        if status != 200 && self.windows[place].begun(now_ms()) {
            return None;
        }
        assert_eq!(status, 200, "{what}: {told}");
        *self.done.entry(what).or_default() += 1;
        Some(now_ms())
    }

    fn body(&self, part: usize, starts_ms: i64, ends_ms: i64) -> Value {
        let (_, business, operation, upstream) = PARTS[part];
        let mut body = json!({
            "starts_at": text(starts_ms), "ends_at": text(ends_ms), "restore_by": "signed",
            "notice": {"source": "a test", "published_at": "2022-08-09T10:00:00+08:00"},
            "policy": [
                {"clause": "1", "disposition": "hold",
                    "cells": {"business": [business], "operation": [operation]}},
                {"clause": "not_in_notice", "disposition": "pass",
                    "decided_because": "the rest goes on"},
            ],
        });
        if part == DATED {
            body["deadlines"] = json!({
                "rule": {"restore_plus_days": 1}, "clause": "1", "legal_basis": "a test",
                "business": [business], "restart_of": [upstream],
            });
        }
        body
    }

    fn declare(&mut self) {
        let part = self.random.usize(..PARTS.len());
        let starts_ms = now_ms() + self.random.i64(300..1_500);
        let ends_ms = starts_ms + self.random.i64(500..4_000);
        let id = format!("edit-{}", self.windows.len());
        let mut body = self.body(part, starts_ms, ends_ms);
        body["id"] = json!(id);
        let answered_ms = self.order("declare", "/admin/v1/windows", body);
        let told = (starts_ms, ends_ms);
        let (restored_ms, windows) = (None, &mut self.windows);
        windows.push(Ordered { id, part, starts_ms, ends_ms, told, answered_ms, restored_ms });
    }

    /// One that is not restored and has begun or not, whichever is asked for.
    fn pick(&mut self, begun: bool) -> Option<usize> {
        let now = now_ms();
        let fits = |w: &Ordered| match begun {
            true => w.begun(now),
            // Far enough ahead for the order to come before the start.
            false => now + 250 < w.starts_ms,
        };
        let known = self.windows.iter().enumerate();
        let open = known.filter(|(_, w)| w.restored_ms.is_none() && fits(w));
        let places: Vec<usize> = open.map(|(place, _)| place).collect();
        (!places.is_empty()).then(|| places[self.random.usize(..places.len())])
    }

    fn move_end(&mut self) {
        let begun = self.random.bool();
        let Some(place) = self.pick(begun) else { return };
        let (now, shift) = (now_ms(), self.random.i64(200..3_000));
        let window = &self.windows[place];
        let later = self.random.bool() || window.ends_ms - shift <= now.max(window.starts_ms) + 200;
        let (what, ends_ms) = match later {
            true => ("extend", window.ends_ms.max(now) + shift),
            false => ("end", window.ends_ms - shift),
        };
        let path = format!("/admin/v1/windows/{}/{what}", window.id);
        self.order(what, &path, json!({"ends_at": text(ends_ms)}));
        let window = &mut self.windows[place];
        window.ends_ms = ends_ms;
        window.told.1 = window.told.1.max(ends_ms);
    }

    fn change(&mut self) {
        let Some(place) = self.pick(false) else { return };
        let part = self.windows[place].part;
        let starts_ms = now_ms() + self.random.i64(300..1_500);
        let ends_ms = starts_ms + self.random.i64(500..4_000);
        let body = self.body(part, starts_ms, ends_ms);
        let Some(answered_ms) = self.order_before(place, "change", body) else { return };
        let window = &mut self.windows[place];
        (window.starts_ms, window.ends_ms, window.answered_ms) = (starts_ms, ends_ms, answered_ms);
        window.told = (window.told.0.min(starts_ms), window.told.1.max(ends_ms));
    }

    fn cancel(&mut self) {
        let Some(place) = self.pick(false) else { return };
        if self.order_before(place, "cancel", json!({})).is_none() {
            return;
        }
        // It closed nothing; what the public was told counts all the same.
        let window = &mut self.windows[place];
        (window.starts_ms, window.restored_ms) = (i64::MAX, Some(window.ends_ms));
    }

    fn restore(&mut self) {
        let Some(place) = self.pick(true) else { return };
        self.restore_at(place);
    }

    fn restore_at(&mut self, place: usize) {
        let path = format!("/admin/v1/windows/{}/restore", self.windows[place].id);
        let asked_ms = now_ms();
        self.order("restore", &path, json!({"all": true}));
        let window = &mut self.windows[place];
        window.restored_ms = Some(asked_ms);
        let by_clock = window.starts_ms + ON_ITS_WAY_MS;
        let from_ms = window.answered_ms.max(by_clock);
        let (part, by) = (window.part, window.id.clone());
        self.closed.push(Closed { part, by, from_ms, to_ms: asked_ms });
    }

    fn turn_gate(&mut self) {
        let part = self.random.usize(..PARTS.len());
        let cells = json!({"upstream": [PARTS[part].3]});
        match self.shut.remove(&part) {
            Some(from_ms) => {
                let to_ms = now_ms();
                self.order("open", "/admin/v1/gates/open", json!({"cells": cells}));
                self.closed.push(Closed { part, by: "operator".to_owned(), from_ms, to_ms });
            }
            None => {
                let body = json!({"cells": cells, "until": text(now_ms() + 600_000)});
                let answered_ms = self.order("close", "/admin/v1/gates/close", body);
                self.shut.insert(part, answered_ms);
            }
        }
    }

    fn edit(&mut self) {
        // Enough of them at a time to overlap, and not so many that nothing is ever open.
        let open = self.windows.iter().filter(|w| w.restored_ms.is_none()).count();
        match self.random.u8(..20) {
            0..=3 if open < 3 => self.declare(),
            0..=8 => self.move_end(),
            9..=10 => self.change(),
            11 => self.cancel(),
            12..=16 => self.restore(),
            _ => self.turn_gate(),
        }
        std::thread::sleep(Duration::from_millis(self.random.u64(5..120)));
    }

    /// Opens whatever is still closed, so that everything can be sent.
    fn finish(&mut self) {
        for part in self.shut.keys().copied().collect::<Vec<_>>() {
            let cells = json!({"upstream": [PARTS[part].3]});
            let (from_ms, to_ms) = (self.shut[&part], now_ms());
            self.order("open", "/admin/v1/gates/open", json!({"cells": cells}));
            self.closed.push(Closed { part, by: "operator".to_owned(), from_ms, to_ms });
        }
        for place in 0..self.windows.len() {
            if self.windows[place].restored_ms.is_none() {
                let left = self.windows[place].starts_ms - now_ms();
                std::thread::sleep(Duration::from_millis(u64::try_from(left + 5).unwrap_or(0)));
                self.restore_at(place);
            }
        }
    }
}

/// Posts for both parts as long as the load lasts, and repeats what a kill cut off.
fn load(site: &Site, daemon: &RwLock<Option<SocketAddr>>, over: &AtomicBool, posted: &AtomicU64) {
    let mut again = None;
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(3));
        let Some(address) = *daemon.read().unwrap() else { continue };
        let number = again.take().unwrap_or_else(|| posted.fetch_add(1, Ordering::SeqCst));
        let (place, business, operation, _) = PARTS[(number % 2) as usize];
        let submitter = &site.submitters[place];
        let mut body = json!({
            "business": business, "operation": operation, "insured": format!("p-{number}"),
            "channel": submitter.channel, "occurred_at": "2026-01-05T10:00:00+08:00",
            "payload": {"subject": number.to_string()},
        });
        if business.starts_with("settlement") {
            body["amount"] = json!("12.50");
        }
        let key = format!("edit-{number}");
        let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
        let body = body.to_string();
        let mut client = Client::new(address, Some(&submitter.key));
        match client.request("POST", "/v1/transactions", &headers, body.as_bytes()) {
            Ok(answer) => assert_eq!(answer.status, 202, "{}", answer.text()),
            Err(_) => again = Some(number),
        }
    }
}

/// Asks for dates as long as the load lasts: none may come to be earlier than it was told.
fn ask(
    operator: &str,
    admin: &RwLock<Option<SocketAddr>>,
    over: &AtomicBool,
) -> BTreeMap<i64, i64> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut told: BTreeMap<i64, i64> = BTreeMap::new();
    let mut asked: Vec<i64> = Vec::new();
    while !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(15));
        let Some(address) = *admin.read().unwrap() else { continue };
        // Instants around now, and those asked before once more.
        let original = match random.bool() && !asked.is_empty() {
            true => asked[random.usize(..asked.len())],
            false => now_ms() + random.i64(-1_000..4_000),
        };
        if let Some(now) = date(address, operator, original) {
            asked.push(original);
            let before = told.insert(original, now);
            assert!(before.is_none_or(|before| before <= now), "{original}: {before:?} then {now}");
        }
    }
    told
}

fn date(admin: SocketAddr, operator: &str, original: i64) -> Option<i64> {
    let (business, original) = (PARTS[DATED].1, text(original));
    let path = format!("/admin/v1/deadlines/check?business={business}&original={original}");
    let answer = Client::new(admin, Some(operator)).get(&path).ok()?;
    let told = answer.json();
    let effective = told["effective"].as_str().unwrap_or_else(|| panic!("{told}"));
    Some(effective.parse::<Timestamp>().unwrap().as_millis())
}

/// Every date once more: none is earlier than it was told, and none inside a stop stayed. How many
/// lie inside one.
fn dates_hold(
    admin: SocketAddr,
    operator: &str,
    told: &BTreeMap<i64, i64>,
    windows: &[Ordered],
) -> usize {
    let mut moved = 0;
    for (&original, &before) in told {
        let now = date(admin, operator, original).unwrap();
        assert!(before <= now, "{original} was told as {before} and is {now}");
        let of = |w: &&Ordered| w.part == DATED && w.told.0 < original && original <= w.told.1;
        if let Some(window) = windows.iter().find(of) {
            moved += 1;
            assert!(original < now, "{original} lies inside {window:?} and was not moved");
        }
    }
    moved
}

/// Runs edits against a daemon started with `args`; how many calls came while they must not.
fn edited(args: &[&str], edits: u64) -> (usize, Site) {
    let seed = from_environment("HOLDOVER_SEED", 20_220_812);
    let site = Site::new("[log]\nlevel = \"warn\"\n");
    let first = site.start_with(args);
    let (submitters, admin) =
        (RwLock::new(Some(first.submitters)), RwLock::new(Some(first.operators)));
    let mut running = Some(first);
    let (over, posted) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let random = fastrand::Rng::with_seed(seed);
    let mut editor = Editor {
        random,
        daemon: &admin,
        operator: site.operator.clone(),
        windows: Vec::new(),
        shut: BTreeMap::new(),
        closed: Vec::new(),
        done: BTreeMap::new(),
    };
    let told = std::thread::scope(|scope| {
        let end = EndOf(&over);
        for _ in 0..2 {
            scope.spawn(|| load(&site, &submitters, &over, &posted));
        }
        let asking = scope.spawn(|| ask(&site.operator, &admin, &over));
        for number in 0..edits {
            assert!(began.elapsed() < BOUND, "only {number} edits within {BOUND:?}");
            if number == edits / 3 || number == edits * 2 / 3 {
                (*submitters.write().unwrap(), *admin.write().unwrap()) = (None, None);
                running.take().unwrap().kill();
                let again = running.insert(site.start_with(args));
                *submitters.write().unwrap() = Some(again.submitters);
                *admin.write().unwrap() = Some(again.operators);
            }
            editor.edit();
        }
        editor.finish();
        drop(end);
        asking.join().unwrap()
    });
    let running = running.unwrap();
    running.settle(Duration::from_secs(60));
    let effects = effects(&site);
    let inside: Vec<_> = effects
        .iter()
        .filter_map(|&(part, at)| {
            let by = |c: &&Closed| c.part == part && c.from_ms < at && at < c.to_ms;
            editor.closed.iter().find(by).map(|closed| (at, closed))
        })
        .collect();
    for (at, closed) in inside.iter().take(5) {
        eprintln!("a call at {at} from {} to {}: {}", closed.from_ms, closed.to_ms, closed.by);
    }
    let long = editor.closed.iter().filter(|c| c.from_ms < c.to_ms).count();
    eprintln!(
        "{edits} edits (seed {seed}) in {:?}: {:?}; {} posted, {} effects, {long} closed stretches, \
         {} dates asked, {} calls while closed",
        began.elapsed(),
        editor.done,
        posted.load(Ordering::SeqCst),
        effects.len(),
        told.len(),
        inside.len()
    );
    let moved = dates_hold(running.operators, &site.operator, &told, &editor.windows);
    let applied = site.core.calls().iter().filter(|call| call["kind"] == "effect").count();
    assert_eq!(applied as u64, posted.load(Ordering::SeqCst), "everything took effect once");
    if args.is_empty() {
        assert!(long >= 10 && moved >= 10, "{long} stretches, {moved} dates inside");
    }
    (inside.len(), site)
}

/// Every effect of the core's log: which part it is of, and when it came.
fn effects(site: &Site) -> Vec<(usize, i64)> {
    let part = |call: &Value| PARTS.iter().position(|part| call["upstream"] == part.3).unwrap();
    let calls = site.core.calls().into_iter();
    let effects = calls.filter(|c| !["probe", "question"].contains(&c["kind"].as_str().unwrap()));
    effects.map(|call| (part(&call), call["instant_ms"].as_i64().unwrap())).collect()
}

/// Ends the load, also when an edit fails.
struct EndOf<'a>(&'a AtomicBool);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn p4_p5_windows_edited_at_random_under_load_send_nothing_while_closed_and_shrink_no_date() {
    let (inside, _) = edited(&[], from_environment("HOLDOVER_EDITS", 300));
    assert_eq!(inside, 0, "calls began while their gate was closed");
}

#[cfg(feature = "sabotage")]
#[test]
fn a_gate_that_is_ignored_under_edits_is_noticed() {
    let (inside, _) = edited(&["--sabotage", "ignore-gate"], 60);
    assert!(inside > 0);
}
