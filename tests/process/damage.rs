//! One flipped bit in a data folder that the real daemon has written: what stood there is never
//! served as something else, never silently gone, and never an empty store.
//!
//! Most places are looked at inside this process, through the same opening and reading that the
//! daemon uses, over a copy of the folder in memory. A sample goes through the real binary.

use crate::history::{History, draw};
use crate::rig::{Daemon, HOLDOVER, Site};
use holdover::domain::ids::{Mark, Seq, TransactionId};
use holdover::domain::time::Timestamp;
use holdover::engine::change::Change;
use holdover::engine::recovery::{Found, recover};
use holdover::engine::settings::{Limits, Settings};
use holdover::journal::fault::FaultyDisk;
use holdover::journal::record::Raw;
use holdover::journal::{OpenError, Opened, Options, open_on};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const CONFIG: &str = "[journal]\nsegment_bytes = 65536\n[limits]\nsubmission_bytes_max = 16384\n";
const SETTLED: Duration = Duration::from_secs(30);
/// Every how many bytes a bit is flipped.
const STRIDE: u64 = 97;
/// Later than anything that was journaled.
const NOW: i64 = 4_000_000_000_000;
/// What is used may end with so many zeros: the high bytes of a number.
const EDGE: u64 = 16;

type Files = Vec<(String, Vec<u8>)>;

/// Transactions over several segments; what waits at the end is held by closed gates.
fn fill(site: &Site, daemon: &Daemon, history: &History, random: &mut fastrand::Rng) {
    let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
    for number in 0..120 {
        let mut intent = draw(random, &site.submitters, 40);
        while intent.body.contains("\"request\"") {
            intent = draw(random, &site.submitters, 40);
        }
        let note = format!("\"note\":\"{}", "y".repeat(1000));
        intent.body = intent.body.replace("\"note\":\"", &note);
        assert_eq!(history.post(&mut clients[intent.submitter], intent).unwrap().status, 202);
        if number == 80 {
            daemon.settle(SETTLED);
            daemon.gates("close");
        }
    }
    let count = |ending: &str| {
        journal_files(&site.data).iter().filter(|(name, _)| name.ends_with(ending)).count()
    };
    crate::rig::wait_for("the keys of every segment that has ended", SETTLED, || {
        (count(".keys") + 1 == count(".segment")).then_some(())
    });
}

/// The files of the journal, as the stopped daemon left them.
fn journal_files(data: &Path) -> Files {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let ours = [".segment", ".keys", ".snapshot"].iter().any(|ending| name.ends_with(ending));
        if ours {
            files.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
    files.sort();
    files
}

fn open(disk: &FaultyDisk, quarantine: bool) -> Result<Opened, OpenError> {
    let now = Timestamp::from_millis(NOW);
    let options = Options { segment_bytes: 65536, quarantine, ..Options::new(now, false) };
    open_on(Arc::new(disk.clone()), &options)
}

/// Every change that can be read.
fn changes(opened: &Opened) -> BTreeMap<Seq, Change> {
    let mut all = BTreeMap::new();
    let mut visit = |seq, change| {
        all.insert(seq, change);
        ControlFlow::Continue(())
    };
    opened.reader.scan(Seq(1), &mut visit).unwrap();
    all
}

/// What one flipped bit may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    /// Refused, with the file and a place at or before the bit.
    Refused,
    /// Served whole: nothing that counts stood there.
    Whole,
    /// Served without the last batch, which nothing vouches for.
    Cut,
}

/// Flips one bit and checks what opening makes of it.
fn flip(files: &Files, name: &str, byte: u64, bit: u64, whole: &BTreeMap<Seq, Change>) -> Became {
    let disk = FaultyDisk::holding(files);
    disk.flip(name, byte * 8 + bit);
    let place = format!("{name} at byte {byte}");
    match open(&disk, false) {
        Err(OpenError::Damaged { file, offset, first, .. }) => {
            assert_eq!(file, name, "{place}");
            assert!(offset <= byte, "{place}: told {offset}, which is behind it");
            assert!(first.0 > 0, "{place}");
            rest_is_served(&disk, &place, whole);
            Became::Refused
        }
        Err(OpenError::Missing { file } | OpenError::Newer { file, .. }) => {
            panic!("{place}: taken for another trouble of {file}")
        }
        Err(other) => panic!("{place}: {other}"),
        Ok(opened) => {
            let read = changes(&opened);
            assert!(!read.is_empty(), "{place}: an empty store");
            assert!(read.iter().all(|(seq, c)| whole.get(seq) == Some(c)), "{place}: served wrong");
            let last = *whole.keys().last().unwrap();
            if read.len() == whole.len() {
                return Became::Whole;
            }
            assert!(read.keys().zip(whole.keys()).all(|(a, b)| a == b), "{place}: not a prefix");
            assert!(opened.report.cut.is_some(), "{place}: lost without a word");
            assert!(opened.last < last, "{place}");
            Became::Cut
        }
    }
}

/// Quarantined, the rest is served, and what is lost is named.
fn rest_is_served(disk: &FaultyDisk, place: &str, whole: &BTreeMap<Seq, Change>) {
    let opened = open(disk, true).unwrap_or_else(|error| panic!("{place}: {error}"));
    let read = changes(&opened);
    assert!(!read.is_empty(), "{place}: an empty store");
    assert!(read.iter().all(|(seq, c)| whole.get(seq) == Some(c)), "{place}: served wrong");
    let lost: BTreeSet<u64> = whole.keys().filter(|s| !read.contains_key(s)).map(|s| s.0).collect();
    let named: BTreeSet<u64> =
        opened.report.damage.iter().flat_map(|d| d.first.0..d.first.0 + d.records).collect();
    assert!(lost.is_subset(&named), "{place}: lost {lost:?}, named {named:?}");
    assert!(lost.iter().all(|seq| opened.reader.read(Seq(*seq)).is_err()), "{place}");
    let found = Found {
        snapshot: opened.snapshot,
        replay_from: opened.replay_from,
        runs: opened.keys,
        epoch: opened.epoch,
        mark: Mark::default(),
        virtual_clock: false,
        quarantined: true,
        clock_accepted: None,
    };
    let now = Timestamp::from_millis(NOW);
    let (machine, decision) = recover(settings(), found, opened.reader.as_ref(), now).unwrap();
    assert!(decision.changes.is_empty() && decision.effects.is_empty(), "{place}");
    let books = machine.books();
    assert_eq!((books.difference(), books.amount_difference()), (0, 0), "{place}");
    let accepted = read.values().filter(|c| matches!(c, Change::Accepted(_))).count();
    assert_eq!(books.accepted().items, accepted as u64, "{place}");
}

/// The built-in settings, without upstreams: nothing is sent in quarantine.
fn settings() -> Settings {
    let nobody = |name| format!("[upstream.{name}]\nbase_url = \"http://127.0.0.1:1\"\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), crate::rig::UPSTREAMS.map(nobody).concat()).unwrap();
    let config = holdover::config::load(&[file.path()]).unwrap();
    Settings {
        limits: Limits {
            open_transactions_max: 1_000_000,
            institution_blob_bytes_max: 1 << 30,
            blobs_max: 1_000_000,
            unnamed_blob_after: Duration::from_secs(7 * 86_400),
            deadlines_max: 1000,
            commit_records_max: 4096,
            window_length_max: Duration::from_secs(60 * 24 * 3600),
            recurring_ahead: Duration::from_secs(7 * 24 * 3600),
            override_length_max: Duration::from_secs(7 * 24 * 3600),
            clock_jump_max: None,
        },
        partition: 0,
        zone: config.zone,
        calendar: config.calendar,
        catalogue: config.catalogue,
        recurring: config.recurring,
        service_hours: config.service_hours,
        outages: config.outages,
        retry: config.retry,
        two_persons_for: Vec::new(),
        upstreams: Default::default(),
        #[cfg(feature = "sabotage")]
        sabotage: None,
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_journal_is_refused_or_harmless() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let mut random = fastrand::Rng::with_seed(1);
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut random);
    daemon.kill();
    let files = journal_files(&site.data);
    let segments = files.iter().filter(|(name, _)| name.ends_with(".segment")).count();
    assert!(segments >= 3, "only {segments} segments");
    let whole = changes(&open(&FaultyDisk::holding(&files), false).unwrap());
    let used = |bytes: &[u8]| bytes.iter().rposition(|b| *b != 0).unwrap_or(0) as u64 + 1;
    let last_segment = files.iter().rfind(|(name, _)| name.ends_with(".segment")).unwrap();
    let mut counts: BTreeMap<(&str, Became), u32> = BTreeMap::new();
    for (name, bytes) in &files {
        let used = used(bytes);
        let mut byte = random.u64(..STRIDE);
        while byte < bytes.len() as u64 {
            let result = flip(&files, name, byte, random.u64(..8), &whole);
            let region = if !name.ends_with(".segment") {
                "keys"
            } else if byte >= used + EDGE {
                "preallocated"
            } else if byte >= used {
                "edge"
            } else if *name == last_segment.0 {
                "last segment"
            } else {
                "older segment"
            };
            *counts.entry((region, result)).or_default() += 1;
            byte += STRIDE;
        }
    }
    println!("{counts:?}");
    let count = |region, result| counts.get(&(region, result)).copied().unwrap_or_default();
    // In a segment that has ended every byte that was used is known to have been synced.
    assert!(count("older segment", Became::Refused) > 100);
    assert_eq!(count("older segment", Became::Whole), 0);
    assert_eq!(count("older segment", Became::Cut), 0);
    assert!(count("last segment", Became::Refused) > 0);
    assert_eq!(count("last segment", Became::Whole), 0);
    for result in [Became::Refused, Became::Cut] {
        assert_eq!(count("keys", result), 0, "keys are made again");
        assert_eq!(count("preallocated", result), 0, "nothing was there");
    }
    assert!(count("keys", Became::Whole) > 0 && count("preallocated", Became::Whole) > 0);
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

pub(crate) fn flip_on_disk(file: &Path, byte: u64, bit: u8) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[byte as usize] ^= 1 << bit;
    std::fs::write(file, bytes).unwrap();
}

/// Every file below `folder`, with its size.
fn all_files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(all_files(&entry.path()));
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

/// Where the last byte that is not zero stands.
fn used(file: &Path) -> u64 {
    std::fs::read(file).unwrap().iter().rposition(|b| *b != 0).unwrap_or(0) as u64 + 1
}

#[test]
fn a_damaged_segment_is_refused_by_name_and_quarantine_only_looks() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let mut random = fastrand::Rng::with_seed(2);
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut random);
    daemon.kill();
    let sound = site.folder().join("sound");
    copy(&site.data, &sound);
    let segments: Vec<_> = all_files(&sound)
        .into_iter()
        .filter(|(p, _)| p.extension().is_some_and(|e| e == "segment"))
        .collect();
    for round in 0..8 {
        let (segment, _) = &segments[round % (segments.len() - 1)];
        let name = segment.file_name().unwrap().to_str().unwrap();
        let target = site.data.join(name);
        let byte = random.u64(..used(segment));
        flip_on_disk(&target, byte, random.u8(..8));

        let Err(ended) = site.run(site.serve(&[])) else {
            panic!("{name} at byte {byte}: started on damage")
        };
        assert!(!ended.status.success());
        assert!(ended.said.contains(name), "{name} at byte {byte}: {}", ended.said);
        let told = ended.said.split("damaged at byte ").nth(1).and_then(|t| t.split(',').next());
        let told: u64 = told.unwrap_or_else(|| panic!("{}", ended.said)).parse().unwrap();
        assert!(told <= byte, "{name} at byte {byte}: {}", ended.said);

        let calls = site.core.calls().len();
        let daemon = site.start_with(&["--quarantine"]);
        only_looks(&site, &daemon, &history);
        assert_eq!(site.core.calls().len(), calls, "something was sent, asked or probed");
        daemon.terminate();
        assert!(daemon.ended(Duration::from_secs(10)).success());

        // Looking changed nothing that counts: the file comes back, and all is as it was.
        std::fs::copy(segment, &target).unwrap();
        let daemon = site.start();
        assert_eq!(daemon.items("accepted"), 120);
        daemon.kill();
    }
    let daemon = site.start();
    daemon.gates("open");
    history.prove(&site, &daemon, SETTLED);
}

/// Repeats get their receipts or 503, everything new gets 503, the books can be read.
fn only_looks(site: &Site, daemon: &Daemon, history: &History) {
    let ready = daemon.ready().unwrap();
    assert!(ready.status == 503 && ready.text().contains("quarantined"), "{}", ready.text());
    let (told, blocked) = history.repeat_all(site, daemon);
    assert!(told > 60, "{told} receipts told, {blocked} blocked");
    let mut random = fastrand::Rng::new();
    let intent = draw(&mut random, &site.submitters, 10);
    let answer = intent.post(&mut daemon.client(&site.submitters[intent.submitter])).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["code"], "quarantined", "{}", answer.text());
    let order = json!({ "all": true, "reason": "a test" });
    let answer = daemon.admin().send("POST", "/admin/v1/gates/open", &order).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.json()["next"].as_str().unwrap().contains("holdover journal verify"));
    let ledger = daemon.look("/admin/v1/ledger");
    assert_eq!(ledger["difference"], json!(0), "{ledger}");
    assert_eq!(ledger["balanced"], json!(false), "nobody can say: {ledger}");
    assert_eq!(ledger["unproved"]["code"], "books_unproved", "{ledger}");
    let metrics = crate::rig::wait_for("the books in the metrics", SETTLED, || {
        let text = daemon.admin().get("/metrics").unwrap().text();
        text.contains("holdover_ledger_imbalance_yuan NaN").then_some(text)
    });
    assert!(metrics.contains("holdover_ledger_imbalance_transactions NaN"), "{metrics}");
    let page: Value = daemon.look("/admin/v1/transactions");
    assert!(page["items"].is_array(), "{page}");
}

#[test]
fn a_missing_segment_is_named_and_the_books_of_what_is_left_prove_nothing() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let mut random = fastrand::Rng::with_seed(5);
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut random);
    assert_eq!(check_books(&site, &daemon).0, 0);
    daemon.kill();
    let files = journal_files(&site.data);
    let segments: Vec<&String> =
        files.iter().map(|(name, _)| name).filter(|name| name.ends_with(".segment")).collect();
    let first = |name: &str| name.split('.').next().unwrap().parse::<u64>().unwrap();
    let (name, next) = (segments[1], segments[2]);
    let aside = site.folder().join("aside");
    std::fs::rename(site.data.join(name), &aside).unwrap();
    let Err(ended) = site.run(site.serve(&[])) else { panic!("started without {name}") };
    assert!(ended.said.contains(&format!("{name} is missing")), "{}", ended.said);

    let daemon = site.start_with(&["--quarantine"]);
    only_looks(&site, &daemon, &history);
    let unproved = daemon.look("/admin/v1/ledger")["unproved"].clone();
    let place = &unproved["damage"][0];
    assert_eq!((&place["file"], &place["kind"]), (&json!(name), &json!("segment_missing")));
    let range = (place["seq_from"].as_u64().unwrap(), place["seq_to"].as_u64().unwrap());
    assert_eq!(range, (first(name), first(next) - 1));
    assert!(daemon.said().contains(&format!("records {} to {} are lost", range.0, range.1)));
    let (code, said) = check_books(&site, &daemon);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("CANNOT BE PROVED (books_unproved)") && said.contains(name), "{said}");
    assert!(!said.contains("balanced"), "{said}");
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(10)).success());
    let (code, said) = verify(&site);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(&format!("{name} at byte 0: the segment is missing")), "{said}");
    assert!(said.contains("what to do: restore this file"), "{said}");

    std::fs::rename(&aside, site.data.join(name)).unwrap();
    let daemon = site.start();
    assert_eq!(check_books(&site, &daemon).0, 0);
    daemon.gates("open");
    history.prove(&site, &daemon, SETTLED);
}

/// `holdover journal verify`: its exit code, and what it prints.
fn verify(site: &Site) -> (i32, String) {
    let output = Command::new(HOLDOVER).args(["journal", "verify"]).arg(&site.data).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), said)
}

/// `holdover ledger check`: its exit code, and what it prints.
fn check_books(site: &Site, daemon: &Daemon) -> (i32, String) {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, &site.operator).unwrap();
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &format!("http://{}", daemon.operators), "--key-file"]).arg(&key);
    let output = command.args(["ledger", "check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), said)
}

/// The segment that the record `seq` stands in, and the place of a byte in its middle.
pub(crate) fn place_of(data: &Path, seq: Seq) -> (String, u64) {
    for (name, bytes) in journal_files(data) {
        let numbered = |at: &usize| bytes.get(at + 20..at + 28) == Some(&seq.0.to_le_bytes());
        let whole = |at: usize| {
            let raw = Raw::at(&bytes[at..]).filter(|raw| raw.seq() == seq && raw.is_intact())?;
            Some(at + raw.length() / 2)
        };
        let found = (0..bytes.len()).filter(numbered).find_map(whole);
        if let Some(place) = found.filter(|_| name.ends_with(".segment")) {
            return (name, place as u64);
        }
    }
    panic!("there is no record {seq}")
}

#[test]
fn a_damaged_record_that_waits_becomes_a_dead_letter_and_is_applied_once_when_restored() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let mut random = fastrand::Rng::with_seed(4);
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut random);
    let waiting = daemon.look("/admin/v1/transactions?state=waiting&limit=1");
    let id = waiting["items"][0]["id"].as_str().unwrap().to_owned();
    // A stop in order, so that there is a snapshot and the next start does not read the segment.
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(10)).success());
    let seq = id.parse::<TransactionId>().unwrap().seq();
    let (name, byte) = place_of(&site.data, seq);
    assert!(journal_files(&site.data).iter().any(|(n, _)| n.ends_with(".segment") && *n > name));
    let sound = site.folder().join("sound.segment");
    std::fs::copy(site.data.join(&name), &sound).unwrap();
    flip_on_disk(&site.data.join(&name), byte, 3);
    let (code, said) = verify(&site);
    assert!(code == 5 && said.contains("a plain start serves"), "{said}");
    assert!(!said.contains("--quarantine"), "{said}");

    let daemon = site.start();
    daemon.gates("open");
    let dead = || daemon.look("/admin/v1/dead-letters")["items"].as_array().unwrap().clone();
    let given_up = || {
        let dead = dead();
        (dead.len() == 1).then(|| dead[0].clone())
    };
    let letter = crate::rig::wait_for("the dead letter", SETTLED, given_up);
    assert_eq!((&letter["id"], &letter["given_up_for"]), (&json!(id), &json!("record_damaged")));
    assert_eq!(letter["attempts"], 1, "{letter}");
    let shown = daemon.look(&format!("/admin/v1/transactions/{id}"));
    assert!(shown["damaged"].as_str().unwrap().contains(&name), "{shown}");
    assert_eq!(history.repeat_all(&site, &daemon), (119, 1), "receipts told, and not");
    let blocked = history.blocked(&site, &daemon);
    assert_eq!(blocked, [("record_damaged".to_owned(), Some("300".to_owned()))]);
    let order = json!({ "reason": "a test" });
    let path = format!("/admin/v1/dead-letters/{id}/redrive");
    let redrive = || assert_eq!(daemon.admin().send("POST", &path, &order).unwrap().status, 200);
    redrive();
    let again = || given_up().filter(|letter| letter["attempts"] == 2);
    crate::rig::wait_for("the dead letter again", SETTLED, again);
    // One line for what was found, and one for each attempt; none for those who asked.
    crate::rig::wait_for("the damage to be told", SETTLED, || {
        daemon.said().contains("records_damaged").then_some(())
    });
    let (code, said) = check_books(&site, &daemon);
    assert!(code == 5 && said.starts_with("balanced") && said.contains("DAMAGED: 1"), "{said}");
    assert_eq!(daemon.ready().unwrap().status, 200);
    let errors = daemon.said().matches("\"ERROR\"").count();
    assert_eq!(errors, 3, "{}", daemon.said());

    // Restored under its name, as a backup tool does: the daemon goes on with another file open.
    std::fs::rename(&sound, site.data.join(&name)).unwrap();
    redrive();
    daemon.settle(SETTLED);
    assert!(dead().is_empty());
    history.prove(&site, &daemon, SETTLED);
}

#[test]
fn a_list_goes_on_past_what_is_damaged_and_says_where_it_may_lack_something() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut fastrand::Rng::with_seed(4));
    let list = |daemon: &Daemon| {
        let mut client = daemon.client(&site.submitters[0]);
        crate::rig::wait_for("the list", SETTLED, || {
            let answer = client.get("/v1/transactions?limit=200").unwrap();
            (answer.status == 200).then(|| answer.json())
        })
    };
    let before = list(&daemon);
    let lost = before["items"][0].clone();
    assert_eq!(lost["state"], "applied");
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(10)).success());
    let seq = lost["id"].as_str().unwrap().parse::<TransactionId>().unwrap().seq();
    let (name, byte) = place_of(&site.data, seq);
    flip_on_disk(&site.data.join(&name), byte, 3);

    let daemon = site.start();
    let mut expected = before.clone();
    expected["items"][0] = json!({ "id": lost["id"], "state": "applied" });
    assert_eq!(list(&daemon), expected);
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(10)).success());

    for (snapshot, _) in journal_files(&site.data).iter().filter(|(n, _)| n.ends_with(".snapshot"))
    {
        std::fs::remove_file(site.data.join(snapshot)).unwrap();
    }
    let daemon = site.start_with(&["--quarantine"]);
    let looked_at = list(&daemon);
    assert_eq!(looked_at["incomplete"], true, "{looked_at}");
    assert!(
        looked_at["items"].as_array().unwrap().len() < before["items"].as_array().unwrap().len()
    );
}

#[test]
fn verify_misses_the_data_keys_that_no_start_does_without() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    let mut random = fastrand::Rng::with_seed(6);
    fill(&site, &daemon, &History::new(site.folder()), &mut random);
    daemon.kill();
    assert_eq!(verify(&site).0, 0);
    let keys = site.data.join("keys.sealed");
    flip_on_disk(&keys, 30, 0);
    let (code, said) = verify(&site);
    assert!(code == 5 && said.contains("keys.sealed at byte 8: the data keys"), "{said}");
    let Err(ended) = site.run(site.serve(&["--quarantine"])) else { panic!("started") };
    assert!(ended.said.contains("keys.sealed is damaged at byte 8"), "{}", ended.said);
    std::fs::remove_file(keys).unwrap();
    let (code, said) = verify(&site);
    assert!(code == 5 && said.contains("keys.sealed at byte 0: the data keys"), "{said}");
}

#[test]
fn what_can_be_made_again_is_made_again() {
    let site = Site::new(CONFIG);
    let history = History::new(site.folder());
    let mut random = fastrand::Rng::with_seed(3);
    let daemon = site.start();
    fill(&site, &daemon, &history, &mut random);
    // A stop in order, so that there is a snapshot.
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(10)).success());
    let sound = site.folder().join("sound");
    copy(&site.data, &sound);
    let again = |path: &Path| {
        let name = path.strip_prefix(&sound).unwrap().to_str().unwrap().to_owned();
        let made = name.ends_with(".keys") || name.ends_with(".snapshot");
        (made || name.starts_with("index/")).then_some(name)
    };
    let mut tried = BTreeMap::<String, u32>::new();
    for (path, size) in all_files(&sound) {
        let Some(name) = again(&path).filter(|_| size > 0) else { continue };
        for _ in 0..2 {
            std::fs::remove_dir_all(&site.data).unwrap();
            copy(&sound, &site.data);
            let byte = random.u64(..used(&path));
            flip_on_disk(&site.data.join(&name), byte, random.u8(..8));
            let daemon = site.start();
            assert_eq!(daemon.items("accepted"), 120, "{name} at byte {byte}");
            let (told, blocked) = history.repeat_all(&site, &daemon);
            assert_eq!((told, blocked), (120, 0), "{name} at byte {byte}");
            daemon.kill();
            let kind = name.split('/').next().unwrap().rsplit('.').next().unwrap().to_owned();
            *tried.entry(kind).or_default() += 1;
        }
    }
    println!("{tried:?}");
    for kind in ["keys", "snapshot", "index"] {
        assert!(tried.contains_key(kind), "no {kind} among {tried:?}");
    }
}
