//! A record that rots in a segment which the start did not read: it is told once, never served,
//! never folded into a snapshot, and read again as soon as its file has been restored.

use crate::engine_support::settings;
use crate::journal_conformance::{change, options};
use holdover::domain::ids::Seq;
use holdover::engine::change::Change;
use holdover::engine::ports::ReadError;
use holdover::engine::recovery::fold;
use holdover::journal::fault::FaultyDisk;
use holdover::journal::record::Raw;
use holdover::journal::sample::{self, Dice};
use holdover::journal::{self, Opened, Options};
use std::ops::ControlFlow;
use std::sync::Arc;

fn open(disk: &FaultyDisk) -> Opened {
    let small = Options { segment_bytes: 8 << 10, ..options() };
    journal::open_on(Arc::new(disk.clone()), &small).unwrap()
}

/// Sixty changes over several segments, and a snapshot of them all.
fn write(disk: &FaultyDisk, change: impl Fn(&mut Dice) -> Change) -> Vec<(Seq, Change)> {
    let mut dice = Dice::new(41);
    let all: Vec<(Seq, Change)> = (1..=60).map(|seq| (Seq(seq), change(&mut dice))).collect();
    let mut opened = open(disk);
    for one in &all {
        opened.journal.append(std::slice::from_ref(one)).unwrap();
    }
    opened.snapshots.write(Seq(60), std::iter::empty()).unwrap();
    opened.journal.close().unwrap();
    all
}

/// File, first record and number of records of everything that is told.
fn told(opened: &Opened) -> Vec<(String, Seq, u64)> {
    let mut all = Vec::new();
    while let Some(found) = opened.upkeep.check_next().unwrap() {
        all.extend(found.into_iter().map(|damage| (damage.file, damage.first, damage.records)));
    }
    all
}

#[test]
fn a_record_that_rots_is_told_once_and_read_again_when_its_file_is_restored() {
    let disk = FaultyDisk::new();
    let all = write(&disk, change);
    let name = "00000000000000000001.segment";
    let (_, bytes) = disk.contents().into_iter().find(|(file, _)| file == name).unwrap();
    let whole =
        |at: usize| Raw::at(&bytes[at..]).filter(|raw| raw.seq() == Seq(3) && raw.is_intact());
    let middle = |at: usize| whole(at).map(|raw| at + raw.length() / 2);
    let bit = (0..bytes.len()).find_map(middle).unwrap() as u64 * 8;
    disk.flip(name, bit);
    let opened = open(&disk);
    let reader = opened.reader.as_ref();
    let many = || {
        let mut read = Vec::new();
        reader.read_many(&[Seq(2), Seq(3), Seq(4)], &mut |seq, change| {
            read.push((seq, change.ok()));
        });
        read
    };
    for _ in 0..3 {
        assert!(matches!(reader.read(Seq(3)), Err(ReadError::Damaged { seq: Seq(3), .. })));
        let expected = [(Seq(2), Some(all[1].1.clone())), (Seq(3), None)];
        assert!(many()[..2] == expected && many()[2].1.as_ref() == Some(&all[3].1));
    }
    let expected = [(name.to_owned(), Seq(3), 1)];
    assert_eq!(told(&opened), expected, "whoever comes upon it first, it is told");
    assert_eq!(told(&opened), [], "and told once");

    let mut scanned = 0;
    reader
        .scan(Seq(1), &mut |_, _| {
            scanned += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(scanned, 59, "passed over");
    assert!(reader.damaged_in(Seq(1), Seq(60)).is_some());
    assert!(reader.damaged_in(Seq(4), Seq(60)).is_none());

    disk.flip(name, bit);
    assert!(reader.read(Seq(3)).unwrap() == all[2].1, "restored in its place");
    assert!(many()[1].1.as_ref() == Some(&all[2].1));
}

#[test]
fn a_snapshot_is_never_folded_from_a_stretch_with_a_damaged_record() {
    let disk = FaultyDisk::new();
    // Nothing that rests on anything else.
    write(&disk, |dice| sample::change(dice, 3));
    let opened = open(&disk);
    let fold = |opened: &Opened| {
        let reader = opened.reader.as_ref();
        fold(settings(), &Vec::<Change>::new(), reader, Seq(1), Seq(60)).map(|_| ())
    };
    fold(&opened).unwrap();
    drop(opened);
    disk.flip("00000000000000000001.segment", 300 * 8);
    let opened = open(&disk);
    assert!(matches!(fold(&opened), Err(ReadError::Damaged { .. })));
}
