//! Segments that leave: what is needed stays readable, whatever happens on the way.

use crate::journal_conformance::{change, options};
use holdover::domain::ids::Seq;
use holdover::domain::time::Timestamp;
use holdover::engine::change::{Accepted, Change};
use holdover::engine::ports::{JournalReader, ReadError};
use holdover::journal::fault::{Cut, Faults, FaultyDisk};
use holdover::journal::sample::{self, Dice};
use holdover::journal::verify::verify_on;
use holdover::journal::{self, OpenError, Opened};
use std::ops::ControlFlow;
use std::sync::Arc;

fn open(disk: &FaultyDisk) -> Result<Opened, OpenError> {
    journal::open_on(Arc::new(disk.clone()), &options())
}

fn scan(reader: &dyn JournalReader) -> Vec<(Seq, Change)> {
    let mut all = Vec::new();
    reader
        .scan(Seq(1), &mut |seq, change| {
            all.push((seq, change));
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// What was appended, and how far it was acknowledged.
struct Written {
    all: Vec<Change>,
    acknowledged: usize,
}

impl Written {
    fn append(&mut self, opened: &mut Opened, changes: Vec<Change>) -> Option<()> {
        let numbered: Vec<(Seq, Change)> =
            (self.all.len() as u64 + 1..).map(Seq).zip(changes.iter().cloned()).collect();
        self.all.extend(changes);
        opened.journal.append(&numbered).ok()?;
        self.acknowledged = self.all.len();
        Some(())
    }

    /// Appends until another segment has been begun, twice.
    fn fill(&mut self, opened: &mut Opened, dice: &mut Dice) -> Option<()> {
        let before = opened.keys.covers();
        let mut covered = [before; 2];
        while covered[0] == before || covered[1] == covered[0] {
            let batch = (0..4).map(|_| change(dice)).collect();
            self.append(opened, batch)?;
            let now = opened.keys.covers();
            if covered[0] == before {
                covered = [now; 2];
            } else {
                covered[1] = now;
            }
        }
        Some(())
    }

    fn accepted(&self, seq: Seq) -> Option<&Arc<Accepted>> {
        match &self.all[seq.0 as usize - 1] {
            Change::Accepted(accepted) => Some(accepted),
            _ => None,
        }
    }
}

/// Journals, forwards three transactions of the first segments, and lets those leave. The two
/// operation counts are from where to where the leaving went.
fn play(disk: &FaultyDisk) -> (Written, Vec<Seq>, Option<(Seq, u64)>) {
    let mut written = Written { all: Vec::new(), acknowledged: 0 };
    let mut kept = Vec::new();
    let left = leave(disk, &mut written, &mut kept);
    (written, kept, left)
}

fn leave(disk: &FaultyDisk, written: &mut Written, kept: &mut Vec<Seq>) -> Option<(Seq, u64)> {
    let mut dice = Dice::new(5);
    let mut opened = open(disk).ok()?;
    for _ in 0..3 {
        written.fill(&mut opened, &mut dice)?;
    }
    let before = opened.retirement.older_than(Timestamp::from_millis(i64::MAX));
    let at = Timestamp::from_millis(1_700_000_000_000);
    *kept = (1..before.0)
        .map(Seq)
        .filter(|seq| written.accepted(*seq).is_some())
        .step_by(7)
        .take(3)
        .collect();
    assert_eq!(kept.len(), 3);
    for &transaction in kept.iter() {
        let accepted = Arc::clone(written.accepted(transaction).unwrap());
        written.append(&mut opened, vec![Change::Forwarded { transaction, accepted, at }])?;
    }
    let reach = opened.retirement.last_forwarded();
    assert_eq!(reach, opened.reader.last());
    assert!(opened.retirement.keys_covered() < reach, "the keys are in no run yet");
    written.fill(&mut opened, &mut dice)?;
    assert!(opened.retirement.keys_covered() >= reach);
    assert_eq!(opened.retirement.behind_snapshots().ok()?, Seq(1), "there is no snapshot yet");
    for _ in 0..2 {
        let state = (0..5).map(|_| sample::change(&mut dice, 23)).collect::<Vec<_>>();
        opened.snapshots.write(opened.reader.last(), state.into_iter()).ok()?;
        written.append(&mut opened, vec![change(&mut dice)])?;
    }
    assert!(opened.retirement.behind_snapshots().ok()? >= before);
    let (began, _) = disk.counted();
    written.append(&mut opened, vec![Change::Retired { before, at }])?;
    let left = opened.retirement.retire(before, true).ok()?;
    assert!(left.segments >= 3, "{left:?}");
    written.append(&mut opened, vec![change(&mut dice)])?;
    opened.journal.close().ok()?;
    Some((before, began))
}

/// What is in the journal and in its archive, together.
fn everything(disk: &FaultyDisk, opened: &Opened) -> Vec<Change> {
    let archive: Vec<_> = disk
        .contents()
        .into_iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix("archive/")?.to_owned(), bytes)))
        .collect();
    let rest = scan(opened.reader.as_ref());
    if archive.is_empty() {
        return rest.into_iter().map(|(_, change)| change).collect();
    }
    let report = verify_on(&FaultyDisk::holding(&archive), true).unwrap();
    assert!(report.is_intact(), "{report:?}");
    assert_eq!(report.first, Seq(1));
    // A second journal, of the archive and the rest, holds everything again.
    let mut files: Vec<_> =
        disk.contents().into_iter().filter(|(name, _)| !name.contains('/')).collect();
    files.retain(|(name, _)| !archive.iter().any(|(archived, _)| archived == name));
    files.extend(archive);
    let whole = open(&FaultyDisk::holding(&files)).unwrap();
    scan(whole.reader.as_ref()).into_iter().map(|(_, change)| change).collect()
}

fn check(disk: &FaultyDisk, written: &Written, kept: &[Seq], what: &str) {
    let opened = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = opened.reader.last().0 as usize;
    assert!(last >= written.acknowledged, "{what}: {last} of {}", written.acknowledged);
    let found = scan(opened.reader.as_ref());
    let begins = found.first().map_or(1, |(seq, _)| seq.0);
    for (expected, (seq, change)) in (begins..).zip(&found) {
        assert!(seq.0 == expected && *change == written.all[expected as usize - 1], "{what}");
    }
    for &seq in kept.iter().filter(|seq| seq.0 as usize <= last) {
        let accepted = written.accepted(seq).unwrap();
        assert!(opened.reader.read(seq).unwrap() == Change::Accepted(Arc::clone(accepted)));
        let entry = opened.keys.find(accepted.key_hash).unwrap();
        if opened.keys.covers() >= seq {
            assert_eq!(entry.map(|entry| entry.transaction), Some(seq), "{what}");
        }
    }
    // What the crash kept from leaving leaves now, and all of it is still somewhere.
    let retired = found.iter().rev().find_map(|(_, change)| match change {
        Change::Retired { before, .. } => Some(*before),
        _ => None,
    });
    if let Some(before) = retired {
        opened.retirement.retire(before, true).unwrap();
        let first = scan(opened.reader.as_ref())[0].0;
        assert_eq!(first, before, "{what}");
    }
    let everything = everything(disk, &opened);
    assert!(everything == written.all[..last], "{what}: {} of {last}", everything.len());
}

#[test]
fn what_has_left_is_in_the_archive_and_what_is_needed_is_still_here() {
    let disk = FaultyDisk::new();
    let (written, kept, left) = play(&disk);
    let (before, _) = left.unwrap();
    check(&disk, &written, &kept, "in good order");
    let opened = open(&disk).unwrap();
    let gone = (1..before.0).map(Seq).find(|seq| !kept.contains(seq)).unwrap();
    assert!(opened.retirement.last_forwarded() > before, "known after a restart too");
    let error = opened.reader.read(gone).unwrap_err();
    assert!(matches!(error, ReadError::Retired(seq) if seq == gone), "{error}");
    let mut read = Vec::new();
    opened.reader.read_many(&[gone, kept[0], before], &mut |seq, change| {
        read.push((seq, change.is_ok()));
    });
    assert_eq!(read, [(gone, false), (kept[0], true), (before, true)]);
    // Its key is forgotten with it, a forwarded one is known.
    let forgotten = (1..before.0).map(Seq).filter(|seq| !kept.contains(seq));
    for seq in forgotten {
        if let Some(accepted) = written.accepted(seq) {
            assert_eq!(opened.keys.find(accepted.key_hash).unwrap(), None);
        }
    }
    drop(opened);
    assert!(verify_on(&disk, false).unwrap().is_intact());
}

#[test]
fn a_crash_at_any_point_of_leaving_loses_nothing() {
    let disk = FaultyDisk::new();
    disk.set_faults(Faults::default());
    let (_, began) = play(&disk).2.unwrap();
    let (operations, _) = disk.counted();
    assert!(operations - began > 12, "{began} to {operations}");
    for stop in began + 1..=operations {
        for (cut, names) in [(Cut::Kept, true), (Cut::Lost, true), (Cut::Lost, false)] {
            let disk = FaultyDisk::new();
            disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
            let (written, kept, _) = play(&disk);
            disk.crash(cut, names);
            check(&disk, &written, &kept, &format!("stop {stop}, {cut:?}, {names}"));
        }
    }
}

#[test]
fn a_first_segment_that_no_record_let_go_is_missed() {
    let disk = FaultyDisk::new();
    let (before, _) = play(&disk).2.unwrap();
    disk.remove(&format!("{:020}.segment", before.0));
    let missing = open(&disk).err().unwrap();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    assert!(!verify_on(&disk, false).unwrap().is_intact());
}

#[test]
fn without_an_intact_snapshot_a_journal_that_lost_its_beginning_does_not_open() {
    let disk = FaultyDisk::new();
    play(&disk).2.unwrap();
    let snapshots: Vec<String> = disk
        .contents()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".snapshot"))
        .collect();
    assert_eq!(snapshots.len(), 2);
    disk.flip(&snapshots[1], 999);
    drop(open(&disk).unwrap());
    disk.flip(&snapshots[0], 999);
    let damaged = open(&disk).err().unwrap();
    assert!(matches!(&damaged, OpenError::Damaged { file, .. } if file.ends_with(".snapshot")));
}

#[test]
fn a_segment_that_could_not_leave_leaves_at_the_next_try_and_none_before_it() {
    // Which sync of the leaving fails: none, then each of them.
    for failing in 1..=12 {
        let disk = FaultyDisk::new();
        let mut written = Written { all: Vec::new(), acknowledged: 0 };
        let mut dice = Dice::new(9);
        let mut opened = open(&disk).unwrap();
        for _ in 0..3 {
            written.fill(&mut opened, &mut dice).unwrap();
        }
        for _ in 0..2 {
            opened.snapshots.write(opened.reader.last(), std::iter::empty()).unwrap();
            written.append(&mut opened, vec![change(&mut dice)]).unwrap();
        }
        let before = opened.retirement.older_than(Timestamp::from_millis(i64::MAX));
        let at = Timestamp::from_millis(1_700_000_000_000);
        written.append(&mut opened, vec![Change::Retired { before, at }]).unwrap();
        disk.set_faults(Faults { fail_sync: Some(failing), ..Faults::default() });
        assert!(opened.retirement.retire(before, true).is_err(), "sync {failing}");
        disk.set_faults(Faults::default());
        opened.retirement.retire(before, true).unwrap();
        assert_eq!(scan(opened.reader.as_ref())[0].0, before, "sync {failing}");
        drop(opened);
        check(&disk, &written, &[], &format!("sync {failing}"));
    }
}
