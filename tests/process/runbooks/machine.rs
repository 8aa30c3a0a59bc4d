//! Scenes of the machine itself: keys, disk, index, journal, programs, clocks, brokers.

use super::page::Page;
use super::stage::{BOUND, Stage, program};
use super::stops::HOUR;
use crate::broken_disk::Mount;
use crate::broker::Broker;
use crate::damage::flip_on_disk;
use crate::rig::{Client, HOLDOVER, after, wait_for};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The id in the text of an API key.
fn key_id(key: &str) -> &str {
    key.split('_').nth(2).unwrap()
}

pub(super) fn rotate_keys(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    let old = stage.site.submitters[0].clone();
    let first = stage.advice("first");
    stage.set("KEY", key_id(&old.key));
    stage.play(page);
    let refused = stage.client(0).get("/v1/windows").unwrap();
    assert_eq!(refused.status, 401, "{}", refused.text());
    let new = fs::read_to_string(stage.root.join(format!("{}.new-key", old.code))).unwrap();
    let mut client = Client::new(stage.submitters, Some(new.trim()));
    let same = client.get(&format!("/v1/transactions/{first}")).unwrap();
    assert_eq!(same.status, 200, "the new key is the same institution: {}", same.text());
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests must see what is left out")]
pub(super) fn disk_full(page: &Page) {
    let mut stage =
        Stage::new("[journal]\nsegment_bytes = 1048576\n[data]\ndisk_reserve_bytes = 8388608\n");
    let Some(_mount) = Mount::new(&stage.data, "24m") else {
        eprintln!("left out: mounting a small file system needs root");
        return;
    };
    stage.start();
    let before = stage.advice("before");
    stage.until("applied", 1);
    let archive = stage.data.join("archive");
    fs::create_dir(&archive).unwrap();
    for name in ["00000000000000000001.segment", "00000000000000000101.segment"] {
        fs::write(archive.join(name), vec![7_u8; 7 << 20]).unwrap();
    }
    let full = || stage.submit(0, "settlement.outpatient", "advice", "turned", &json!({}));
    wait_for("no room", BOUND, || (full().status == 507).then_some(()));
    let archives = stage.root.join("archives");
    stage.set("ARCHIVES", archives.to_str().unwrap());
    let printed = stage.play(page);
    assert!(printed.contains("disk_reserve"), "{printed}");
    assert!(archives.join("00000000000000000101.segment").exists());
    stage.advice("turned");
    stage.until("applied", 2);
    assert_eq!((stage.effects("before"), stage.effects("turned")), (1, 1));
    assert_eq!(stage.state(&before), "applied");
    stage.balanced();
}

pub(super) fn damaged_index(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    let before = stage.advice("before");
    stage.until("applied", 1);
    let books = stage.items("accepted");
    stage.play(page);
    let aside = fs::read_dir(&stage.data).unwrap().flatten();
    let aside = aside.filter(|e| e.file_name().to_string_lossy().starts_with("index.put-aside-"));
    assert_eq!(aside.count(), 1);
    wait_for("the listing", BOUND, || {
        let one = stage.client(0).get(&format!("/v1/transactions/{before}")).unwrap();
        (one.status == 200 && one.json()["state"] == "applied").then_some(())
    });
    assert_eq!(stage.items("accepted"), books);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "segment")).collect();
    found.sort();
    found
}

pub(super) fn damaged_journal(page: &Page) {
    let mut stage =
        Stage::new("[journal]\nsegment_bytes = 65536\n[limits]\nsubmission_bytes_max = 16384\n");
    stage.start();
    let close = json!({ "all": true, "reason": "a drill", "until": after(HOUR).to_string() });
    stage.act("/admin/v1/gates/close", &close);
    for number in 0..100 {
        let payload = json!({ "subject": number.to_string(), "note": "y".repeat(2000) });
        let more = json!({ "payload": payload });
        let subject = number.to_string();
        let answer = stage.submit(0, "settlement.outpatient", "advice", &subject, &more);
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    // After a stop in good order a start would not read what its snapshot covers.
    stage.kill();
    let all = segments(&stage.data);
    assert!(all.len() > 2, "{all:?}");
    let sound = stage.root.join("copy");
    copy(&stage.data, &sound);
    flip_on_disk(&all[0], 20_000, 3);
    assert!(!stage.systemctl("start"), "it started on damage");
    let kept = stage.root.join("kept");
    stage.set("COPY", sound.to_str().unwrap());
    stage.set("KEPT", kept.to_str().unwrap());
    let calls = stage.site.core.calls().len();
    let mut shell = stage.open(page);
    shell.section("Steps");
    let printed = shell.printed();
    let name = all[0].file_name().unwrap().to_str().unwrap();
    assert!(printed.contains(&format!("{name} at byte")), "{printed}");
    assert!(printed.contains("quarantine"), "{printed}");
    shell.rest();
    shell.close();
    assert!(kept.join("as-it-was").join(name).exists());
    assert_eq!(stage.items("waiting"), 100, "all that was acknowledged is back");
    let effects = stage.site.core.calls().into_iter().skip(calls);
    assert_eq!(effects.filter(|call| call["kind"] != "probe").count(), 0, "nothing was sent");
    stage.balanced();
}

pub(super) fn restore(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    let close = json!({ "all": true, "reason": "a drill", "until": after(HOUR).to_string() });
    stage.act("/admin/v1/gates/close", &close);
    let kept = ["one", "two"].map(|subject| stage.advice(subject));
    let bundle = stage.root.join("bundle");
    stage.set("BUNDLE", bundle.to_str().unwrap());
    let mut shell = stage.open(page);
    shell.section("On the old machine");
    // The other machine has nothing at these places.
    fs::rename(&stage.data, stage.root.join("old-data")).unwrap();
    fs::rename(&stage.etc, stage.root.join("old-etc")).unwrap();
    fs::rename(&stage.keys, stage.root.join("old-keys")).unwrap();
    shell.section("On the new machine");
    shell.section("How to know it worked");
    shell.close();
    assert_eq!(stage.items("waiting"), 2);
    let repeat = stage.submit(0, "settlement.outpatient", "advice", "one", &json!({}));
    assert_eq!(repeat.json()["id"], json!(kept[0]), "the first receipt: {}", repeat.text());
    stage.act("/admin/v1/gates/open", &json!({ "all": true, "reason": "a drill" }));
    stage.until("applied", 2);
    assert_eq!((stage.effects("one"), stage.effects("two")), (1, 1));

    // The sign of a copy that is too old: a head that was noted later is not in it.
    let head = stage.look("/admin/v1/audit")["head"]["hash"].as_str().unwrap().to_owned();
    let verify = |log: PathBuf| {
        let mut command = Command::new(HOLDOVER);
        command.args(["audit", "verify"]).arg(log).args(["--head", &head]);
        command.output().unwrap().status.success()
    };
    assert!(verify(stage.data.join("audit.log")));
    assert!(!verify(stage.root.join("old-data/audit.log")), "an older log has no later head");
}

pub(super) fn upgrade(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    stage.advice("before");
    stage.until("applied", 1);
    let (new, before) = (stage.root.join("new"), stage.root.join("before"));
    fs::create_dir(&new).unwrap();
    fs::copy(HOLDOVER, new.join("holdover")).unwrap();
    stage.set("NEW", new.join("holdover").to_str().unwrap());
    stage.set("BEFORE", before.to_str().unwrap());
    let program = stage.root.join("bin/holdover");
    let mut shell = stage.open(page);
    shell.section("Steps");
    assert!(!program.is_symlink(), "the program was exchanged");
    stage.advice("between");
    stage.until("applied", 2);
    shell.rest();
    shell.close();
    assert!(program.is_symlink(), "the old program is back");
    assert!(!segments(&before.join("data")).is_empty());
    assert_eq!(stage.items("applied"), 2, "what came in between is there after going back");
    stage.balanced();
}

pub(super) fn change_configuration(page: &Page) {
    let limit = |most: u32| format!("[limits]\nopen_transactions_max = {most}\n");
    let stage = Stage::new(&limit(1));
    stage.start();
    let close = json!({ "all": true, "reason": "a drill", "until": after(HOUR).to_string() });
    stage.act("/admin/v1/gates/close", &close);
    stage.advice("one");
    let more = |subject: &str| {
        stage.submit(0, "settlement.outpatient", "advice", subject, &json!({})).status
    };
    assert_eq!(more("two"), 507, "there is no room");
    let mut shell = stage.open(page);
    shell.section("Write it");
    stage.write_config(&limit(3));
    shell.section("Check it");
    assert!(shell.printed().contains("open_transactions_max: 1 -> 3 (reload)"), "a difference");
    assert_eq!(more("two"), 507, "looking changes nothing");
    shell.section("Take it over");
    assert_eq!(more("two"), 202, "there is room without a restart");
    shell.section("Take it back");
    assert_eq!(more("three"), 507);
    shell.rest();
    shell.close();
    assert_eq!(stage.items("waiting"), 2);
    stage.balanced();
}

pub(super) fn clock_wrong(page: &Page) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let clock =
        |at: &str| runtime.block_on(ClockServer::bind(at.parse().unwrap(), &tasks)).unwrap();
    let (then, now) = ("2022-08-12T17:00:00+08:00", "2023-08-12T17:00:00+08:00");
    let (first, second) = (clock(then), clock(now));
    let stage = Stage::new("");
    // The machine's clock, for its daemon and for whoever asks for the date.
    let set = |clock: &ClockServer, at: &str| {
        fs::write(stage.root.join("clock"), clock.addr().to_string()).unwrap();
        fs::write(stage.root.join("now"), at).unwrap();
    };
    let root = stage.root.display();
    let bin = stage.root.join("bin");
    fs::remove_file(bin.join("date")).unwrap();
    fs::remove_file(bin.join("holdover")).unwrap();
    let shebang = "#!/bin/bash\nPATH=/usr/bin:/bin\n";
    let date = format!("{shebang}exec date -d \"$(cat '{root}/now')\" \"$@\"\n");
    program(&bin.join("date"), &date);
    let serve = format!(
        "{shebang}if [ \"$1\" = serve ]; then set -- \"$@\" --clock \"$(cat '{root}/clock')\"; fi\n\
         exec '{HOLDOVER}' \"$@\"\n"
    );
    program(&bin.join("holdover"), &serve);

    set(&first, then);
    stage.start();
    let occurred = json!({ "occurred_at": "2022-08-12T16:00:00+08:00" });
    let taken = stage.submit(0, "settlement.outpatient", "advice", "before", &occurred);
    assert_eq!(taken.status, 202, "{}", taken.text());
    stage.until("applied", 1);
    let mut shell = stage.open(page);
    shell.section("While it runs");
    stage.stop();
    set(&second, now);
    assert!(!stage.systemctl("start"), "a year later it starts without a word");
    shell.section("When it does not start");
    assert!(shell.printed().contains("clock_apart"), "{}", shell.printed());
    shell.rest();
    assert!(shell.printed().contains("clock.accept"), "{}", shell.printed());
    shell.close();
    assert_eq!(stage.items("applied"), 1);
    stage.balanced();
}

/// Writes an advice to the hospital's topic.
fn send(broker: &Broker, subject: &str) {
    let producer: BaseProducer = broker.client().create().unwrap();
    let value = json!({
        "idempotency_key": subject, "business": "settlement.outpatient", "operation": "advice",
        "channel": "system", "insured": subject, "amount": "12.50",
        "occurred_at": "2026-01-05T10:00:00+08:00", "payload": { "subject": subject },
    });
    let value = value.to_string();
    producer.send(BaseRecord::to("his.one").key(subject).payload(&value)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

pub(super) fn kafka_lost(page: &Page) {
    let Some(mut broker) = Broker::start() else { return };
    let topics = ["his.one", "his.one.answers", "his.one.dead-letters"];
    broker.topics(&topics, 3);
    let stage = Stage::new("");
    let id = key_id(&stage.site.submitters[0].key);
    let address = broker.address();
    stage.write_config(&format!(
        "[kafka]\nbrokers = [\"{address}\"]\n[intake.kafka.topics]\n\"his.one\" = \"{id}\"\n"
    ));
    stage.start();
    let taken = |stage: &Stage, count: i64| {
        wait_for("the records are taken in", Duration::from_secs(60), || {
            (stage.items("accepted") >= count).then_some(())
        });
    };
    send(&broker, "one");
    taken(&stage, 1);
    broker.kill();
    let mut shell = stage.open(page);
    shell.section("Steps");
    // Over HTTP meanwhile; once more over Kafka afterwards, with the same key.
    stage.advice("two");
    broker.start_again();
    broker.remove_topics(&topics);
    broker.topics(&topics, 3);
    shell.section("The topics are gone");
    send(&broker, "one");
    send(&broker, "two");
    send(&broker, "three");
    taken(&stage, 3);
    shell.section("How to know it worked");
    shell.close();
    stage.until("applied", 3);
    for subject in ["one", "two", "three"] {
        assert_eq!(stage.effects(subject), 1, "{subject}");
    }
    stage.balanced();
}
