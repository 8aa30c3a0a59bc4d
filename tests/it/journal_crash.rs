//! Crashes at every write and every sync, and what is there afterwards.

use crate::journal_conformance::{change, options};
use holdover::domain::ids::Seq;
use holdover::engine::change::Change;
use holdover::engine::ports::AppendError;
use holdover::journal::fault::{Cut, Faults, FaultyDisk};
use holdover::journal::sample::Dice;
use holdover::journal::{self, OpenError, Opened};
use std::ops::ControlFlow;
use std::sync::Arc;

fn open(disk: &FaultyDisk) -> Result<Opened, OpenError> {
    journal::open_on(Arc::new(disk.clone()), &options())
}

fn recovered(opened: &Opened) -> Vec<Change> {
    let mut all = Vec::new();
    opened
        .reader
        .scan(Seq(1), &mut |_, change| {
            all.push(change);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// The script: 200 changes in batches, with a snapshot and a restart on the way.
struct Script {
    batches: Vec<Vec<Change>>,
}

impl Script {
    fn new() -> Self {
        let mut dice = Dice::new(11);
        let mut left = 200;
        let mut batches = Vec::new();
        while left > 0 {
            let size = (dice.below(6) + 1).min(left);
            batches.push((0..size).map(|_| change(&mut dice)).collect());
            left -= size;
        }
        Self { batches }
    }

    fn submitted(&self) -> Vec<Change> {
        self.batches.concat()
    }

    /// Plays the script until something fails; how many changes were acknowledged.
    fn play(&self, disk: &FaultyDisk) -> usize {
        let mut acknowledged = 0;
        let half = self.batches.len() / 2;
        for part in [&self.batches[..half], &self.batches[half..]] {
            let Ok(mut opened) = open(disk) else { return acknowledged };
            for (number, batch) in part.iter().enumerate() {
                let numbered: Vec<(Seq, Change)> =
                    (opened.last.0 + 1..).map(Seq).zip(batch.iter().cloned()).collect();
                if opened.journal.append(&numbered).is_err() {
                    let again = opened.journal.append(&numbered);
                    assert!(matches!(again, Err(AppendError::Unknown(_))), "not poisoned");
                    return acknowledged;
                }
                opened.last.0 += batch.len() as u64;
                acknowledged += batch.len();
                if number == half / 2 {
                    let state = batch.iter().cloned();
                    if opened.snapshots.write(opened.last, state).is_err() {
                        return acknowledged;
                    }
                }
            }
            if opened.journal.close().is_err() {
                return acknowledged;
            }
        }
        acknowledged
    }
}

/// Checks the promise after a crash, and that the journal goes on from there.
fn check(disk: &FaultyDisk, submitted: &[Change], acknowledged: usize, what: &str) {
    let mut opened = match open(disk) {
        Ok(opened) => opened,
        Err(error) => panic!("{what}: {error}"),
    };
    let found = recovered(&opened);
    assert!(found.len() >= acknowledged, "{what}: {} of {acknowledged}", found.len());
    assert!(submitted.starts_with(&found), "{what}: not a prefix");
    assert_eq!(opened.last.0, found.len() as u64, "{what}");
    let covers = opened.keys.covers();
    for (seq, change) in (1..).map(Seq).zip(&found).take_while(|(seq, _)| *seq <= covers) {
        if let Change::Accepted(accepted) = change {
            let entry = opened.keys.find(accepted.key_hash).unwrap();
            assert_eq!(entry.map(|e| e.transaction), Some(seq), "{what}");
        }
    }
    let more = change(&mut Dice::new(99));
    opened.journal.append(&[(Seq(found.len() as u64 + 1), more.clone())]).unwrap();
    drop(opened);
    // What was recovered is durable now, whatever was wrong before.
    disk.crash(Cut::Lost, false);
    let again = recovered(&open(disk).unwrap());
    assert!(again[..found.len()] == found[..] && again[found.len()..] == [more], "{what}");
}

#[test]
fn after_a_stop_at_any_write_or_sync_everything_acknowledged_is_there_and_it_is_a_prefix() {
    let script = Script::new();
    let submitted = script.submitted();
    let disk = FaultyDisk::new();
    disk.set_faults(Faults::default());
    assert_eq!(script.play(&disk), submitted.len());
    let (operations, _) = disk.counted();
    assert!(operations > 150, "{operations}");
    for stop in 1..=operations {
        let seed = stop * 7;
        let cuts =
            [Cut::Lost, Cut::Kept, Cut::Torn(seed), Cut::Torn(seed + 1), Cut::Reordered(seed)];
        for (cut, names) in cuts.into_iter().flat_map(|cut| [(cut, true), (cut, false)]) {
            let disk = FaultyDisk::new();
            disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
            let acknowledged = script.play(&disk);
            disk.crash(cut, names);
            check(&disk, &submitted, acknowledged, &format!("stop {stop}, {cut:?}, {names}"));
        }
    }
}

#[test]
fn a_sync_that_fails_once_acknowledges_nothing_poisons_and_recovers() {
    let script = Script::new();
    let submitted = script.submitted();
    let disk = FaultyDisk::new();
    disk.set_faults(Faults::default());
    script.play(&disk);
    let (_, syncs) = disk.counted();
    for fail in 1..=syncs {
        // Power stays on first, so recovery reads pages that never reached the disk.
        for cut in [Cut::Kept, Cut::Lost] {
            let disk = FaultyDisk::new();
            disk.set_faults(Faults { fail_sync: Some(fail), ..Faults::default() });
            let acknowledged = script.play(&disk);
            disk.crash(cut, true);
            check(&disk, &submitted, acknowledged, &format!("sync {fail}, {cut:?}"));
        }
    }
}

#[test]
fn a_full_disk_refuses_the_batch_and_leaves_the_journal_as_it_was() {
    let disk = FaultyDisk::new();
    let mut opened = open(&disk).unwrap();
    let capacity: u64 = disk.contents().iter().map(|(_, bytes)| bytes.len() as u64).sum();
    disk.set_faults(Faults { capacity: Some(capacity + 1_000), ..Faults::default() });
    let mut dice = Dice::new(12);
    let mut all = Vec::new();
    let refused = loop {
        let change = change(&mut dice);
        match opened.journal.append(&[(Seq(all.len() as u64 + 1), change.clone())]) {
            Ok(()) => all.push(change),
            Err(AppendError::Full(_)) => break change,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(all.len() > 10);
    assert!(recovered(&opened) == all);
    let again = opened.journal.append(&[(Seq(all.len() as u64 + 1), refused.clone())]);
    assert!(matches!(again, Err(AppendError::Full(_))));
    disk.set_faults(Faults::default());
    opened.journal.append(&[(Seq(all.len() as u64 + 1), refused.clone())]).unwrap();
    all.push(refused);
    drop(opened);
    assert!(recovered(&open(&disk).unwrap()) == all);
}

#[test]
fn a_second_owner_is_refused_before_it_touches_anything() {
    let disk = FaultyDisk::new();
    let first = open(&disk).unwrap();
    disk.set_faults(Faults::default());
    assert!(matches!(open(&disk).err(), Some(OpenError::Locked)));
    assert_eq!(disk.counted(), (0, 0));
    drop(first);
    open(&disk).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let first = journal::open(folder.path(), &options()).unwrap();
    assert!(matches!(journal::open(folder.path(), &options()).err(), Some(OpenError::Locked)));
    drop(first);
    journal::open(folder.path(), &options()).unwrap();
}

#[test]
fn the_epoch_of_the_owner_rises_with_each_start() {
    let disk = FaultyDisk::new();
    let mut dice = Dice::new(13);
    for epoch in 1..5 {
        let mut opened = open(&disk).unwrap();
        assert_eq!(opened.epoch, epoch);
        opened.journal.append(&[(Seq(epoch), change(&mut dice))]).unwrap();
    }
}
