//! What every journal does, whatever it stands on: files, memory, a simulated disk.

use holdover::domain::ids::{KeyHash, Seq};
use holdover::domain::time::Timestamp;
use holdover::engine::change::Change;
use holdover::engine::ports::{Journal, JournalReader, KeyRuns, ReadError};
use holdover::journal::fault::FaultyDisk;
use holdover::journal::memory::MemoryJournal;
use holdover::journal::sample::{self, Dice};
use holdover::journal::{self, Options};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A journal that is open.
struct Open {
    journal: Box<dyn Journal>,
    reader: Arc<dyn JournalReader>,
    keys: Box<dyn KeyRuns>,
}

pub(crate) fn options() -> Options {
    let now = Timestamp::from_millis(2_100_000_000_000);
    Options { segment_bytes: 16 << 10, init: true, ..Options::new(now, false) }
}

/// A change of any kind that a running engine writes.
pub(crate) fn change(dice: &mut Dice) -> Change {
    let kind = [2, 2, 2, 4, 5, 9, 3, 17, 20][dice.below(9) as usize];
    sample::change(dice, kind)
}

fn from_files(opened: journal::Opened) -> Open {
    Open { journal: opened.journal, reader: opened.reader, keys: opened.keys }
}

/// Runs a test on every kind of journal. `open` may be called again after the last was dropped.
fn on_each(test: impl Fn(&dyn Fn() -> Open)) {
    let memory = MemoryJournal::new();
    test(&|| Open {
        journal: Box::new(memory.clone()),
        reader: Arc::new(memory.clone()),
        keys: Box::new(memory.clone()),
    });
    let disk = FaultyDisk::new();
    test(&|| from_files(journal::open_on(Arc::new(disk.clone()), &options()).unwrap()));
    let folder = tempfile::tempdir().unwrap();
    test(&|| from_files(journal::open(folder.path(), &options()).unwrap()));
}

fn batch(dice: &mut Dice, from: u64, count: u64) -> Vec<(Seq, Change)> {
    (from..from + count).map(|seq| (Seq(seq), change(dice))).collect()
}

fn fill(open: &mut Open, dice: &mut Dice, count: u64) -> Vec<(Seq, Change)> {
    let mut all = Vec::new();
    let mut next = open.reader.last().0 + 1;
    let end = next + count;
    while next < end {
        let size = (dice.below(20) + 1).min(end - next);
        let changes = batch(dice, next, size);
        open.journal.append(&changes).unwrap();
        next += size;
        all.extend(changes);
    }
    all
}

fn scan(reader: &dyn JournalReader, from: u64) -> Vec<(Seq, Change)> {
    let mut all = Vec::new();
    reader
        .scan(Seq(from), &mut |seq, change| {
            all.push((seq, change));
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

#[test]
fn what_was_appended_is_read_back_one_by_one_in_batches_and_in_a_scan() {
    on_each(|open| {
        let mut open = open();
        let mut dice = Dice::new(1);
        assert_eq!(open.reader.last(), Seq(0));
        let all = fill(&mut open, &mut dice, 300);
        assert_eq!(open.reader.last(), Seq(300));
        assert!(scan(open.reader.as_ref(), 1) == all);
        assert!(scan(open.reader.as_ref(), 251) == all[250..]);
        for (seq, change) in &all {
            assert!(&open.reader.read(*seq).unwrap() == change, "{seq}");
        }
        let wanted: Vec<Seq> = [1, 2, 3, 64, 65, 66, 130, 299, 300, 301, 5].map(Seq).to_vec();
        let mut seen = Vec::new();
        open.reader.read_many(&wanted, &mut |seq, read| {
            match read {
                Ok(change) => assert!(change == all[seq.0 as usize - 1].1, "{seq}"),
                Err(error) => assert!(matches!(error, ReadError::Missing(Seq(301))), "{error}"),
            }
            seen.push(seq);
        });
        assert_eq!(seen, wanted);
    });
}

#[test]
fn a_sequence_that_was_never_given_is_missing() {
    on_each(|open| {
        let mut open = open();
        fill(&mut open, &mut Dice::new(2), 5);
        for seq in [Seq(0), Seq(6), Seq(u64::MAX)] {
            let error = open.reader.read(seq).unwrap_err();
            assert!(matches!(error, ReadError::Missing(missing) if missing == seq), "{error}");
        }
    });
}

#[test]
fn a_scan_stops_when_it_is_told_to() {
    on_each(|open| {
        let mut open = open();
        fill(&mut open, &mut Dice::new(3), 50);
        let mut seen = 0;
        open.reader
            .scan(Seq(1), &mut |_, _| {
                seen += 1;
                if seen == 7 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!(seen, 7);
    });
}

#[test]
fn everything_is_there_after_a_clean_stop_and_after_none() {
    on_each(|reopen| {
        let mut dice = Dice::new(4);
        let mut all = Vec::new();
        for round in 0..6 {
            let mut open = reopen();
            assert!(scan(open.reader.as_ref(), 1) == all, "round {round}");
            all.extend(fill(&mut open, &mut dice, 60));
            if round % 2 == 0 {
                open.journal.close().unwrap();
            }
        }
    });
}

#[test]
fn a_key_is_found_with_its_fingerprint_as_far_as_the_runs_reach() {
    on_each(|reopen| {
        let mut dice = Dice::new(5);
        let mut open = reopen();
        let mut all = fill(&mut open, &mut dice, 400);
        for _ in 0..2 {
            let covers = open.keys.covers();
            assert!(covers.0 > 100, "{covers}");
            for (seq, change) in all.iter().filter(|(seq, _)| *seq <= covers) {
                if let Change::Accepted(accepted) = change {
                    let found = open.keys.find(accepted.key_hash).unwrap().unwrap();
                    assert_eq!(found.transaction, *seq);
                    assert_eq!(found.fingerprint, accepted.fingerprint);
                }
            }
            assert_eq!(open.keys.find(KeyHash(7)).unwrap(), None);
            drop(open);
            open = reopen();
            all.extend(fill(&mut open, &mut dice, 100));
        }
    });
}

#[test]
fn a_batch_larger_than_a_segment_is_one_batch() {
    on_each(|reopen| {
        let mut dice = Dice::new(6);
        let mut open = reopen();
        let changes = batch(&mut dice, 1, 2_000);
        open.journal.append(&changes).unwrap();
        open.journal.append(&[]).unwrap();
        let more = batch(&mut dice, 2_001, 3);
        open.journal.append(&more).unwrap();
        drop(open);
        assert!(scan(reopen().reader.as_ref(), 1) == [changes, more].concat());
    });
}

#[test]
fn a_reader_sees_what_is_committed_while_it_is_held() {
    on_each(|open| {
        let mut open = open();
        let reader = Arc::clone(&open.reader);
        let mut dice = Dice::new(7);
        for seq in 1..200 {
            let changes = batch(&mut dice, seq, 1);
            open.journal.append(&changes).unwrap();
            assert_eq!(reader.last(), Seq(seq));
            assert!(reader.read(Seq(seq)).unwrap() == changes[0].1);
        }
    });
}

#[test]
fn upkeep_writes_the_runs_and_makes_the_next_segment_ahead_of_time() {
    let disk = FaultyDisk::new();
    let background = Options { background_upkeep: true, ..options() };
    let mut opened = journal::open_on(Arc::new(disk.clone()), &background).unwrap();
    let mut dice = Dice::new(8);
    assert!(opened.upkeep.run_once().unwrap());
    assert!(!opened.upkeep.run_once().unwrap());
    assert!(disk.contents().iter().any(|(name, _)| name == "spare.tmp"));
    let mut all = Vec::new();
    for round in 0..4 {
        let from = all.len() as u64;
        for seq in from + 1..=from + 60 {
            let changes = batch(&mut dice, seq, 1);
            opened.journal.append(&changes).unwrap();
            all.extend(changes);
        }
        if round == 2 {
            assert_eq!(opened.keys.covers(), Seq(0), "nobody has written a run yet");
            assert!(opened.upkeep.run_once().unwrap());
        }
    }
    let covers = opened.keys.covers();
    assert!(covers > Seq(0));
    for (seq, change) in all.iter().filter(|(seq, _)| *seq <= covers) {
        if let Change::Accepted(accepted) = change {
            let found = opened.keys.find(accepted.key_hash).unwrap();
            assert_eq!(found.map(|entry| entry.transaction), Some(*seq));
        }
    }
    drop(opened);
    let opened = journal::open_on(Arc::new(disk.clone()), &background).unwrap();
    assert!(scan(opened.reader.as_ref(), 1) == all);
    assert!(!disk.contents().iter().any(|(name, _)| name.ends_with(".tmp")));
}
