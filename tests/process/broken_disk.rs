//! A disk that fails under the real daemon: a sync that fails, and space that runs out.

use crate::history::{History, draw};
#[cfg(feature = "sabotage")]
use crate::rig::Client;
use crate::rig::{Site, wait_for};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SETTLED: Duration = Duration::from_secs(60);

#[test]
#[cfg(feature = "sabotage")]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_next_start_recovers() {
    // The syncs of the start and of the first spare segment are over by then.
    for failing in ["40", "41", "57", "90"] {
        let site = Site::new("[journal]\nsegment_bytes = 8388608\n");
        let history = History::new(site.folder());
        let daemon = site.start_with(&["--sabotage-sync", failing]);
        let operators = daemon.operators;
        let (over, not_ready) = (AtomicBool::new(false), AtomicBool::new(false));
        let status = std::thread::scope(|scope| {
            for client in 0..8 {
                let (site, history, daemon, over) = (&site, &history, &daemon, &over);
                let mut clients: Vec<_> =
                    site.submitters.iter().map(|s| daemon.client(s)).collect();
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(client);
                    while !over.load(Ordering::SeqCst) {
                        let mut intent = draw(&mut random, &site.submitters, 100);
                        intent.wait = None;
                        let client = &mut clients[intent.submitter];
                        match history.post(client, intent) {
                            // Whoever was cut off or turned away finds nobody better there.
                            Ok(answer) if answer.status == 202 => {}
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(_) => std::thread::sleep(Duration::from_millis(5)),
                        }
                    }
                });
            }
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let answer = Client::new(operators, None).get("/readyz");
                    if answer.is_ok_and(|a| a.status == 503 && a.text().contains("poisoned")) {
                        not_ready.store(true, Ordering::SeqCst);
                    }
                }
            });
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                daemon.ended(Duration::from_secs(20))
            }));
            over.store(true, Ordering::SeqCst);
            ended.unwrap()
        });
        assert!(!status.success(), "the daemon ended as if all were well");
        assert!(not_ready.load(Ordering::SeqCst), "readiness did not say poisoned");
        let totals = history.totals();
        assert!(totals.acknowledged > 0 && totals.unknown + totals.turned > 0, "{totals:?}");
        drop(daemon);
        let daemon = site.start();
        history.prove(&site, &daemon, SETTLED);
        println!("sync {failing}: {totals:?}");
    }
}

/// A file system of its own; gone with this.
pub(crate) struct Mount(std::path::PathBuf);

impl Mount {
    /// `None` where this process may not mount.
    pub(crate) fn new(folder: &std::path::Path, size: &str) -> Option<Self> {
        std::fs::create_dir(folder).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder)
            .output()
            .ok()?;
        mounted.status.success().then(|| Self(folder.to_owned()))
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let done = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_turns_submissions_away_and_replays_what_waits() {
    let site =
        Site::new("[journal]\nsegment_bytes = 1048576\n[data]\ndisk_reserve_bytes = 8388608\n");
    let Some(mount) = Mount::new(&site.data, "32m") else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let history = History::new(site.folder());
    let daemon = site.start_with(&["--init"]);
    let mut random = fastrand::Rng::with_seed(507);
    let hospital = &site.submitters[..1];
    let mut client = daemon.client(&hospital[0]);
    let mut post = || {
        let mut intent = draw(&mut random, hospital, 1_000_000);
        while !intent.body.contains("\"advice\"") {
            intent = draw(&mut random, hospital, 1_000_000);
        }
        intent.body =
            intent.body.replace("\"note\":\"", &format!("\"note\":\"{}", "y".repeat(9000)));
        history.post(&mut client, intent).unwrap()
    };
    assert_eq!(post().status, 202);
    daemon.settle(SETTLED);
    daemon.gates("close");
    let mut taken = 1;
    let full = loop {
        let answer = post();
        if answer.status != 202 {
            break answer;
        }
        taken += 1;
        assert!(taken < 10_000, "the disk never filled");
    };
    assert_eq!(full.status, 507, "{}", full.text());
    assert_eq!(full.header("content-type"), Some("application/problem+json"));
    assert_eq!(full.json()["code"], "disk_reserve");
    let ready = daemon.ready().unwrap();
    assert!(ready.status == 503 && ready.text().contains("disk_reserve"), "{}", ready.text());
    assert_eq!(daemon.items("waiting"), taken - 1);

    daemon.gates("open");
    daemon.settle(SETTLED);
    assert_eq!(daemon.items("applied"), taken);
    assert_eq!(post().status, 507, "the reserve was given away");

    mount.resize("96m");
    wait_for("room for submissions", Duration::from_secs(10), || {
        (post().status == 202).then_some(())
    });
    assert_eq!(daemon.ready().unwrap().status, 200);
    let proof = history.prove(&site, &daemon, SETTLED);
    println!("{taken} taken before the disk was full; {:?} {proof:?}", history.totals());
    daemon.kill();
    let daemon = site.start();
    history.prove(&site, &daemon, SETTLED);
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_and_goes_on_when_there_is_room() {
    let site =
        Site::new("[journal]\nsegment_bytes = 1048576\n[data]\ndisk_reserve_bytes = 1048576\n");
    let Some(mount) = Mount::new(&site.data, "24m") else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let history = History::new(site.folder());
    let daemon = site.start_with(&["--init"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (site, history, over, daemon) = (&site, &history, &over, &daemon);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(client);
                let mut clients: Vec<_> =
                    site.submitters.iter().map(|s| daemon.client(s)).collect();
                while !over.load(Ordering::SeqCst) {
                    let mut intent = draw(&mut random, &site.submitters, 1000);
                    intent.wait = None;
                    let note = format!("\"note\":\"{}", "y".repeat(20_000));
                    intent.body = intent.body.replace("\"note\":\"", &note);
                    let client = &mut clients[intent.submitter];
                    let status = history.post(client, intent).unwrap().status;
                    assert!(matches!(status, 202 | 507), "{status}");
                }
            });
        }
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for("first acknowledgements", SETTLED, || {
                (history.totals().acknowledged > 50).then_some(())
            });
            // Somebody else takes all there is, faster than anybody looks.
            let filler = vec![0u8; 1 << 16];
            let mut file = std::fs::File::create(mount.0.join("filler")).unwrap();
            while std::io::Write::write_all(&mut file, &filler).is_ok() {}
            wait_for("submissions to be turned away", SETTLED, || {
                let ready = daemon.ready().unwrap();
                (ready.status == 503).then_some(())
            });
            let before = history.totals().acknowledged;
            std::fs::remove_file(mount.0.join("filler")).unwrap();
            mount.resize("192m");
            wait_for("acknowledgements again", SETTLED, || {
                (history.totals().acknowledged > before + 50).then_some(())
            });
        }));
        over.store(true, Ordering::SeqCst);
        run.unwrap();
    });
    let proof = history.prove(&site, &daemon, SETTLED);
    println!("{:?} {proof:?}", history.totals());
}
