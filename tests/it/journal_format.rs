//! Stored bytes: damage by region, missing files, other clocks, older snapshots, old formats.

use crate::journal_conformance::{change, options};
use holdover::domain::ids::{Mark, Seq};
use holdover::domain::time::Timestamp;
use holdover::engine::change::Change;
use holdover::engine::ports::ReadError;
use holdover::journal::fault::FaultyDisk;
use holdover::journal::files::RealFiles;
use holdover::journal::sample::{self, Dice};
use holdover::journal::verify::{FileKind, verify_on};
use holdover::journal::{self, Damage, DamageKind, OpenError, Opened, Options};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

type Contents = Vec<(String, Vec<u8>)>;

fn open(disk: &FaultyDisk, options: &Options) -> Result<Opened, OpenError> {
    journal::open_on(Arc::new(disk.clone()), options)
}

fn recovered(opened: &Opened) -> Vec<(Seq, Change)> {
    let mut all = Vec::new();
    opened
        .reader
        .scan(Seq(1), &mut |seq, change| {
            all.push((seq, change));
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// A small folder: `count` changes, one batch each, not closed. What it holds, and the files.
fn small(count: u64) -> (Vec<(Seq, Change)>, Contents) {
    let disk = FaultyDisk::new();
    let mut opened = open(&disk, &Options { segment_bytes: 8 << 10, ..options() }).unwrap();
    let mut dice = Dice::new(21);
    let all: Vec<(Seq, Change)> = (1..=count).map(|seq| (Seq(seq), change(&mut dice))).collect();
    for one in &all {
        opened.journal.append(std::slice::from_ref(one)).unwrap();
    }
    drop(opened);
    (all, disk.contents())
}

fn named<'a>(files: &'a Contents, ending: &str) -> Vec<&'a (String, Vec<u8>)> {
    files.iter().filter(|(name, _)| name.ends_with(ending)).collect()
}

/// Where the last batch of the last segment begins, and where it ends.
fn last_batch(bytes: &[u8]) -> (usize, usize) {
    let start = bytes.windows(4).rposition(|window| window == b"HLDb").unwrap();
    let length = u64::from_le_bytes(bytes[start + 32..start + 40].try_into().unwrap());
    (start, start + 64 + length as usize)
}

#[test]
fn a_flipped_bit_anywhere_is_refused_cut_mended_or_harmless_and_never_served() {
    let (all, files) = small(60);
    let strict = Options { segment_bytes: 8 << 10, init: false, ..options() };
    let quarantined = Options { quarantine: true, ..strict.clone() };
    let segments = named(&files, ".segment");
    assert!(segments.len() >= 3 && named(&files, ".keys").len() >= 2);
    let last = &segments[segments.len() - 1];
    let (last_start, last_end) = last_batch(&last.1);
    let mut refused = 0;
    for (name, bytes) in &files {
        let step = if name == &last.0 { 5 } else { 11 };
        let is_zero_behind_the_end = |at: usize| {
            name.ends_with(".segment")
                && bytes[at..].iter().all(|&b| b == 0)
                && bytes[..at].iter().rposition(|&b| b != 0).is_some_and(|last| at > last + 2)
        };
        for at in (0..bytes.len()).step_by(step) {
            let disk = FaultyDisk::holding(&files);
            disk.flip(name, at as u64 * 8 + (at as u64 % 8));
            let what = format!("{name} at {at}");
            let is_behind_the_last = name == &last.0 && last_end <= at;
            if name.ends_with(".keys") || is_behind_the_last || is_zero_behind_the_end(at) {
                // Made anew from the segment; never written.
                assert!(recovered(&open(&disk, &strict).unwrap()) == all, "{what}");
            } else if name == &last.0 && (last_start..last_end).contains(&at) {
                // Nothing proves that the very last batch was synced.
                let opened = open(&disk, &strict).unwrap();
                assert!(recovered(&opened) == all[..all.len() - 1], "{what}");
                assert!(opened.report.cut.is_some(), "{what}");
            } else {
                refused += 1;
                match open(&disk, &strict).err() {
                    Some(OpenError::Damaged { file, offset, .. }) => {
                        assert_eq!(&file, name, "{what}");
                        assert!(offset <= at as u64, "{what}: {offset}");
                    }
                    other => panic!("{what}: {other:?}"),
                }
                let opened = open(&disk, &quarantined).unwrap();
                check_quarantined(&opened, &all, &what);
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

/// Everything that is not listed as damaged is served as it was written; the rest is not.
fn check_quarantined(opened: &Opened, all: &[(Seq, Change)], what: &str) {
    let found = recovered(opened);
    let lost: u64 = opened.report.damage.iter().map(|damage| damage.records).sum();
    assert!(lost <= 1, "{what}: {:?}", opened.report.damage);
    assert_eq!(found.len() as u64 + lost, all.len() as u64, "{what}");
    for (seq, change) in all {
        match opened.reader.read(*seq) {
            Ok(read) => assert!(&read == change, "{what}: {seq}"),
            Err(ReadError::Damaged { seq: named, .. }) => {
                assert_eq!(named, *seq, "{what}");
                assert!(!found.iter().any(|(other, _)| other == seq), "{what}");
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

#[test]
fn damage_to_the_last_batch_is_seen_after_a_clean_stop() {
    let (all, files) = small(10);
    let disk = FaultyDisk::holding(&files);
    let strict = Options { segment_bytes: 8 << 10, init: false, ..options() };
    open(&disk, &strict).unwrap().journal.close().unwrap();
    let (name, bytes) =
        disk.contents().into_iter().rfind(|(n, _)| n.ends_with(".segment")).unwrap();
    let (start, end) = last_batch(&bytes);
    disk.flip(&name, (start + 80) as u64 * 8);
    assert!(end > start + 80);
    assert!(matches!(open(&disk, &strict).err(), Some(OpenError::Damaged { .. })));
    let quarantine = Options { quarantine: true, ..strict };
    assert!(recovered(&open(&disk, &quarantine).unwrap()) == all[..9]);
}

#[test]
fn a_missing_file_is_never_an_empty_store() {
    let (all, files) = small(60);
    let normal = Options { segment_bytes: 8 << 10, ..options() };
    for (name, _) in &files {
        let disk = FaultyDisk::holding(&files);
        disk.remove(name);
        let opened = open(&disk, &normal);
        if name.ends_with(".segment") {
            match opened.err() {
                Some(OpenError::Missing { file }) => assert_eq!(&file, name),
                other => panic!("{name}: {other:?}"),
            }
        } else {
            assert!(recovered(&opened.unwrap()) == all, "{name}");
        }
    }
    let disk = FaultyDisk::holding(&files);
    named(&files, ".segment").iter().for_each(|(name, _)| disk.remove(name));
    assert!(matches!(open(&disk, &normal).err(), Some(OpenError::Missing { .. })));
}

fn lost(opened: &Opened) -> Vec<(DamageKind, String, Seq, Option<Seq>)> {
    let lost = |d: &Damage| d.lost().map(|(from, to)| (d.kind, d.file.clone(), from, to));
    opened.report.damage.iter().filter_map(lost).collect()
}

/// Opens what is left, checks that everything is served but what is named, and that nothing in
/// the folder has been changed; what is named.
fn look_at_the_rest(
    disk: &FaultyDisk,
    all: &[(Seq, Change)],
) -> Vec<(DamageKind, String, Seq, Option<Seq>)> {
    let quarantine = Options { quarantine: true, init: false, ..options() };
    let before = disk.contents();
    let mut opened = open(disk, &quarantine).unwrap();
    let named = lost(&opened);
    let is_lost = |seq: Seq| {
        named.iter().any(|(_, _, from, to)| *from <= seq && to.is_none_or(|to| seq <= to))
    };
    let rest: Vec<(Seq, Change)> = all.iter().filter(|(seq, _)| !is_lost(*seq)).cloned().collect();
    assert!(recovered(&opened) == rest, "{named:?}");
    for (seq, change) in all {
        match opened.reader.read(*seq) {
            Ok(read) => assert!(!is_lost(*seq) && read == *change, "{seq}: {named:?}"),
            Err(ReadError::Damaged { file, .. }) => {
                assert!(is_lost(*seq) && named.iter().any(|one| one.1 == file), "{seq}: {named:?}");
            }
            Err(other) => panic!("{seq}: {other}"),
        }
    }
    let next = opened.last.next();
    let started = Change::Started {
        epoch: 9,
        mark: Mark::default(),
        virtual_clock: false,
        at: Timestamp::default(),
    };
    assert!(opened.journal.append(&[(next, started)]).is_err());
    opened.upkeep.run_once().unwrap();
    opened.journal.close().unwrap();
    assert!(disk.contents() == before, "looking changed something");
    named
}

#[test]
fn quarantined_the_rest_of_missing_segments_is_served_and_what_is_lost_is_named() {
    let (all, files) = small(120);
    let segments = named(&files, ".segment");
    assert!(segments.len() >= 5);
    let first = |name: &str| Seq(name.split('.').next().unwrap().parse().unwrap());
    for (place, (name, _)) in segments.iter().enumerate() {
        let disk = FaultyDisk::holding(&files);
        disk.remove(name);
        let last = segments.get(place + 1).map(|(next, _)| Seq(first(next).0 - 1));
        let expected = (DamageKind::SegmentMissing, name.clone(), first(name), last);
        assert_eq!(look_at_the_rest(&disk, &all), [expected]);
    }
    // Several, and damage in what is left.
    let disk = FaultyDisk::holding(&files);
    disk.remove(&segments[1].0);
    disk.remove(&segments[3].0);
    disk.flip(&segments[2].0, 1000 * 8);
    let named = look_at_the_rest(&disk, &all);
    let kinds: Vec<DamageKind> = named.iter().map(|one| one.0).collect();
    use DamageKind::{Records, SegmentMissing};
    assert_eq!(kinds, [SegmentMissing, SegmentMissing, Records], "{named:?}");
    // With nothing left there is nothing to look at.
    let disk = FaultyDisk::holding(&files);
    segments.iter().for_each(|(name, _)| disk.remove(name));
    let quarantine = Options { quarantine: true, init: false, ..options() };
    assert!(matches!(open(&disk, &quarantine).err(), Some(OpenError::Missing { .. })));
}

#[test]
fn quarantined_what_is_left_without_snapshots_is_served_and_what_they_held_is_named() {
    let (mut all, files) = small(60);
    let segments = named(&files, ".segment");
    let first = |name: &str| Seq(name.split('.').next().unwrap().parse().unwrap());
    let begins = first(&segments[2].0);
    let disk = FaultyDisk::holding(&files);
    let mut opened = open(&disk, &Options { segment_bytes: 8 << 10, ..options() }).unwrap();
    let at = Timestamp::from_millis(1_700_000_000_000);
    let retired = Change::Retired { before: begins, at };
    all.push((Seq(61), retired.clone()));
    opened.journal.append(&all[60..]).unwrap();
    for up_to in [50, 60] {
        opened.snapshots.write(Seq(up_to), std::iter::once(retired.clone())).unwrap();
    }
    drop(opened);
    segments[..2].iter().for_each(|(name, _)| disk.remove(name));
    let strict = Options { init: false, ..options() };
    let rest = &all[begins.0 as usize - 1..];
    assert!(recovered(&open(&disk, &strict).unwrap()) == rest, "they left in order");
    let files = disk.contents();
    let snapshots = named(&files, ".snapshot");
    assert_eq!(snapshots.len(), 2);
    let gone = Some(Seq(begins.0 - 1));

    for (name, bytes) in &snapshots {
        disk.flip(name, bytes.len() as u64 * 4);
    }
    assert!(matches!(open(&disk, &strict).err(), Some(OpenError::Damaged { .. })));
    let newest = snapshots[1].0.clone();
    assert_eq!(look_at_the_rest(&disk, &all), [(DamageKind::Snapshot, newest, Seq(1), gone)]);

    snapshots.iter().for_each(|(name, _)| disk.remove(name));
    assert!(matches!(open(&disk, &strict).err(), Some(OpenError::Missing { .. })));
    let missing = "00000000000000000001.segment".to_owned();
    let expected = (DamageKind::SegmentMissing, missing, Seq(1), gone);
    assert_eq!(look_at_the_rest(&disk, &all), [expected]);

    // Snapshots alone: the state can be looked at, no record can.
    let disk = FaultyDisk::holding(&files);
    segments.iter().for_each(|(name, _)| disk.remove(name));
    let opened = open(&disk, &Options { quarantine: true, ..strict.clone() }).unwrap();
    assert_eq!((snapshot_of(&opened).len(), opened.last), (1, Seq(60)));
    let ranges: Vec<_> = lost(&opened).into_iter().map(|(_, _, from, to)| (from, to)).collect();
    assert_eq!(ranges, [(begins, Some(Seq(60))), (Seq(61), None)]);
    assert!(recovered(&opened).is_empty());
    drop(opened);
    assert!(matches!(open(&disk, &strict).err(), Some(OpenError::Missing { .. })));
    // Not even they.
    for (name, bytes) in &snapshots {
        disk.flip(name, bytes.len() as u64 * 4);
    }
    let quarantine = Options { quarantine: true, ..strict };
    assert!(matches!(open(&disk, &quarantine).err(), Some(OpenError::Damaged { .. })));
}

#[test]
fn a_truncated_segment_is_refused_or_loses_only_its_unsynced_end() {
    let (all, files) = small(60);
    let strict = Options { segment_bytes: 8 << 10, init: false, ..options() };
    for (name, bytes) in named(&files, ".segment") {
        let is_last = name == &named(&files, ".segment").last().unwrap().0;
        for length in (0..bytes.len()).step_by(509) {
            let mut cut = files.clone();
            cut.iter_mut().find(|(n, _)| n == name).unwrap().1.truncate(length);
            match open(&FaultyDisk::holding(&cut), &strict) {
                Ok(opened) => {
                    let found = recovered(&opened);
                    assert!(all.starts_with(&found), "{name} {length}");
                    assert!(is_last || found.len() == all.len(), "{name} {length}");
                }
                Err(OpenError::Damaged { file, .. }) => assert_eq!(&file, name),
                Err(other) => panic!("{name} {length}: {other}"),
            }
        }
    }
}

#[test]
fn a_folder_without_a_journal_and_one_that_is_absent_need_permission_to_begin_one() {
    let folder = tempfile::tempdir().unwrap();
    let careful = Options { init: false, ..options() };
    let absent = folder.path().join("data");
    for place in [folder.path(), &absent] {
        let refused = journal::open(place, &careful).err();
        assert!(matches!(refused, Some(OpenError::NoJournal)), "{refused:?}");
        assert!(!absent.exists(), "nothing was made");
    }
    journal::open(&absent, &Options { init: true, ..options() }).unwrap();
    journal::open(&absent, &careful).unwrap();
}

#[test]
fn another_clock_and_a_clock_far_from_the_journal_are_refused() {
    let (_, files) = small(5);
    let driven = Options { virtual_clock: true, ..options() };
    let refused = open(&FaultyDisk::holding(&files), &driven).err();
    assert!(matches!(refused, Some(OpenError::OtherClock { driven: false })));

    let disk = FaultyDisk::new();
    let at = Timestamp::from_millis(2_000_000_000_000);
    let started = Change::Started { epoch: 1, mark: Mark::default(), virtual_clock: false, at };
    open(&disk, &options()).unwrap().journal.append(&[(Seq(1), started)]).unwrap();
    let (back_max, ahead_max) = (Duration::from_secs(5), Duration::from_secs(3600));
    let with = |now| Options { now, back_max, ahead_max, ..options() };
    let behind = with(at.before(Duration::from_millis(5_001)));
    assert!(matches!(open(&disk, &behind).err(), Some(OpenError::ClockApart { .. })));
    let ahead = with(at.after(ahead_max).after(Duration::from_millis(1)));
    assert!(matches!(open(&disk, &ahead).err(), Some(OpenError::ClockApart { .. })));
    for now in [at.before(back_max), at.after(ahead_max)] {
        assert_eq!(open(&disk, &with(now)).unwrap().last_at, Some(at));
    }
}

#[test]
fn a_clock_that_a_person_accepted_is_the_one_that_counts_from_then_on() {
    let disk = FaultyDisk::new();
    let right = Timestamp::from_millis(1_700_000_000_000);
    let wrong = right.after(Duration::from_secs(400 * 86_400));
    let far = Duration::from_secs(3600);
    let with =
        |now| Options { now, back_max: far, ahead_max: far, segment_bytes: 8 << 10, ..options() };
    let write = |opened: &mut Opened, from: u64, at: Timestamp| {
        for seq in from..from + 300 {
            let ticketed = Change::Ticketed { transaction: Seq(1), at };
            opened.journal.append(&[(Seq(seq), ticketed)]).unwrap();
        }
    };
    // Several segments are written by the wrong clock, and a snapshot.
    let mut opened = open(&disk, &with(wrong)).unwrap();
    write(&mut opened, 1, wrong);
    let ended =
        Change::Started { epoch: 1, mark: Mark::default(), virtual_clock: false, at: wrong };
    opened.snapshots.write(Seq(250), [ended].into_iter()).unwrap();
    drop(opened);
    assert!(named(&disk.contents(), ".segment").len() > 2);
    assert!(matches!(open(&disk, &with(right)).err(), Some(OpenError::ClockApart { .. })));

    // A crash before the word is journaled leaves everything as it was.
    let accepting = Options { clock_accepted: true, ..with(right) };
    drop(open(&disk, &accepting).unwrap());
    assert!(matches!(open(&disk, &with(right)).err(), Some(OpenError::ClockApart { .. })));

    let mut opened = open(&disk, &accepting).unwrap();
    let (by, reason) = ("li.na".to_owned(), "the battery was changed".to_owned());
    let accepted = Change::ClockAccepted { by, reason, at: right };
    opened.journal.append(&[(Seq(301), accepted.clone())]).unwrap();
    assert!(opened.reader.read(Seq(301)).unwrap() == accepted);
    drop(opened);
    assert!(matches!(open(&disk, &with(wrong)).err(), Some(OpenError::ClockApart { .. })));
    let mut opened = open(&disk, &with(right)).unwrap();
    assert_eq!(opened.last_at, Some(right));
    let later = right.after(Duration::from_secs(60));
    write(&mut opened, 302, later);
    drop(opened);
    open(&disk, &with(right)).unwrap().journal.close().unwrap();
    assert_eq!(open(&disk, &with(right)).unwrap().last_at, Some(later));
}

#[test]
fn the_newest_intact_snapshot_is_used_and_the_journal_alone_without_one() {
    let disk = FaultyDisk::new();
    let mut opened = open(&disk, &options()).unwrap();
    let mut dice = Dice::new(31);
    let all: Vec<(Seq, Change)> = (1..=30).map(|seq| (Seq(seq), change(&mut dice))).collect();
    opened.journal.append(&all).unwrap();
    let state = |number: u64| {
        let mut dice = Dice::new(number);
        [22, 23, 23, 24, 17].map(|kind| sample::change(&mut dice, kind)).to_vec()
    };
    for up_to in [10, 20, 30] {
        opened.snapshots.write(Seq(up_to), state(up_to).into_iter()).unwrap();
    }
    drop(opened);
    let files = disk.contents();
    let snapshots = named(&files, ".snapshot");
    assert_eq!(snapshots.len(), 2, "only the two newest are kept");
    for (broken, replay_from) in [(0, 31), (1, 21), (2, 1)] {
        let disk = FaultyDisk::holding(&files);
        for (name, bytes) in snapshots.iter().rev().take(broken) {
            disk.flip(name, bytes.len() as u64 * 4);
        }
        let later = Options { back_max: Duration::from_secs(u64::MAX / 1000), ..options() };
        let opened = open(&disk, &later).unwrap();
        assert_eq!(opened.replay_from, Seq(replay_from));
        assert_eq!(opened.report.snapshots_skipped.len(), broken);
        let expected = if replay_from == 1 { Vec::new() } else { state(replay_from - 1) };
        assert!(snapshot_of(&opened) == expected);
        assert!(recovered(&opened) == all);
    }
}

#[test]
fn a_journal_that_ends_before_its_snapshot_is_refused() {
    let (_, files) = small(3);
    let disk = FaultyDisk::holding(&files);
    let opened = open(&disk, &options()).unwrap();
    opened.snapshots.write(Seq(5), std::iter::empty()).unwrap();
    drop(opened);
    let refused = open(&disk, &options()).err();
    assert!(
        matches!(refused, Some(OpenError::Damaged { first: Seq(4), records: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn verify_names_what_is_damaged_and_changes_nothing() {
    let (all, files) = small(60);
    let disk = FaultyDisk::holding(&files);
    let report = verify_on(&disk, false).unwrap();
    assert!(report.is_intact() && report.last == Seq(60));
    let segments = report.files.iter().filter(|file| file.kind == FileKind::Segment);
    assert_eq!(segments.map(|file| file.records).sum::<u64>(), 60);
    let accepted = all.iter().filter(|(_, c)| matches!(c, Change::Accepted(_))).count() as u64;
    assert_eq!(report.by_kind.get("accepted"), Some(&accepted));
    let name = &files.iter().find(|(name, _)| name.ends_with(".segment")).unwrap().0;
    disk.flip(name, 500 * 8);
    let before = disk.contents();
    let report = verify_on(&disk, false).unwrap();
    let damaged: Vec<&str> =
        report.files.iter().filter(|f| !f.damage.is_empty()).map(|f| f.file.as_str()).collect();
    assert_eq!(damaged, [name.as_str()]);
    assert!(!report.is_intact());
    assert!(disk.contents() == before);
    let open = open(&FaultyDisk::holding(&files), &options()).unwrap();
    drop(open);
}

/// What the fixture holds: two runs of a daemon, the first one closed, and a snapshot.
fn snapshot_of(opened: &Opened) -> Vec<Change> {
    let mut found = Vec::new();
    opened.snapshot.visit(&mut |change| found.push(change.clone())).unwrap();
    found
}

fn fixture_changes() -> Vec<(Seq, Change)> {
    let mut dice = Dice::new(2022);
    let kinds = (1..=21).chain(std::iter::repeat_n(2, 20)).chain([25, 26]);
    (1..).map(Seq).zip(kinds.map(|kind| sample::change(&mut dice, kind))).collect()
}

fn fixture_state() -> Vec<Change> {
    let mut dice = Dice::new(2023);
    [22, 23, 24, 17, 23].map(|kind| sample::change(&mut dice, kind)).to_vec()
}

fn fixture_options() -> Options {
    Options { segment_bytes: 8 << 10, init: true, ..options() }
}

fn fixture_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/format-1")
}

#[test]
fn a_folder_of_format_1_opens_as_it_was_written() {
    let source = fixture_folder();
    let (first, second) = (&fixture_changes()[..25], &fixture_changes()[25..]);
    if std::env::var_os("HOLDOVER_WRITE_FIXTURE").is_some() {
        std::fs::remove_dir_all(&source).ok();
        let mut opened = journal::open(&source, &fixture_options()).unwrap();
        first.chunks(4).for_each(|batch| opened.journal.append(batch).unwrap());
        opened.journal.close().unwrap();
        drop(opened.reader);
        drop(opened.keys);
        drop((opened.upkeep, opened.retirement, opened.snapshots));
        let mut opened = journal::open(&source, &fixture_options()).unwrap();
        second.chunks(5).for_each(|batch| opened.journal.append(batch).unwrap());
        opened.snapshots.write(Seq(20), fixture_state().into_iter()).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert!(verify_on(&RealFiles::new(copy.path()), false).unwrap().is_intact());
    let opened = journal::open(copy.path(), &Options { init: false, ..fixture_options() }).unwrap();
    // The totals of the snapshot say 7.
    assert_eq!((opened.epoch, opened.last, opened.replay_from), (8, Seq(43), Seq(21)));
    assert!(opened.report.runs_rebuilt.is_empty() && opened.report.snapshots_skipped.is_empty());
    assert!(recovered(&opened) == fixture_changes());
    assert!(snapshot_of(&opened) == fixture_state());
    // Its damage list is empty also when everything is read.
    drop(opened);
    let everything = Options { check_everything: true, init: false, ..fixture_options() };
    journal::open(copy.path(), &everything).unwrap();
}

#[test]
fn damage_to_a_segment_that_a_snapshot_covers_is_seen_when_it_is_read() {
    let (all, files) = small(60);
    let disk = FaultyDisk::holding(&files);
    let normal = Options { segment_bytes: 8 << 10, init: false, ..options() };
    let opened = open(&disk, &normal).unwrap();
    opened.snapshots.write(Seq(60), std::iter::empty()).unwrap();
    drop(opened);
    let (name, _) = named(&files, ".segment")[0];
    disk.flip(name, 400 * 8);
    let opened = open(&disk, &normal).unwrap();
    assert_eq!((opened.replay_from, opened.last), (Seq(61), Seq(60)));
    let (mut damaged, mut seen) = (0, Vec::new());
    let wanted: Vec<Seq> = all.iter().map(|(seq, _)| *seq).collect();
    opened.reader.read_many(&wanted, &mut |seq, read| seen.push((seq, read)));
    for ((seq, change), (_, many)) in all.iter().zip(seen) {
        for read in [opened.reader.read(*seq), many] {
            match read {
                Ok(read) => assert!(&read == change, "{seq}"),
                Err(ReadError::Damaged { file, .. }) => {
                    assert_eq!(&file, name);
                    damaged += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert_eq!(damaged, 2, "one record, by both ways");
    drop(opened);
    let everything = Options { check_everything: true, ..normal };
    assert!(matches!(open(&disk, &everything).err(), Some(OpenError::Damaged { .. })));
}

#[test]
fn rot_that_comes_while_the_journal_is_open_is_never_served() {
    let (all, files) = small(10);
    let disk = FaultyDisk::holding(&files);
    let opened = open(&disk, &Options { segment_bytes: 8 << 10, ..options() }).unwrap();
    // The last byte of the fields of record 1, which its batch's head gives the length of.
    let length = u64::from_le_bytes(files[0].1[64 + 32..64 + 40].try_into().unwrap());
    disk.flip(&files[0].0, (128 + length - 1) * 8);
    assert!(matches!(opened.reader.read(Seq(1)), Err(ReadError::Damaged { seq: Seq(1), .. })));
    let scanned = opened.reader.scan(Seq(1), &mut |_, _| ControlFlow::Continue(()));
    assert!(matches!(scanned, Err(ReadError::Damaged { seq: Seq(1), .. })));
    assert!(opened.reader.read(Seq(2)).unwrap() == all[1].1);
}

#[test]
fn a_key_in_a_damaged_run_of_a_damaged_segment_is_never_unknown() {
    let (all, files) = small(60);
    let disk = FaultyDisk::holding(&files);
    let normal = Options { segment_bytes: 8 << 10, init: false, ..options() };
    let opened = open(&disk, &normal).unwrap();
    opened.snapshots.write(Seq(60), std::iter::empty()).unwrap();
    drop(opened);
    let (segment, _) = named(&files, ".segment")[0];
    let (run, _) = named(&files, ".keys")[0];
    disk.flip(segment, 400 * 8);
    disk.flip(run, 200 * 8);
    let opened = open(&disk, &normal).unwrap();
    let covers = opened.keys.covers();
    let mut refused = 0;
    for (seq, change) in all.iter().take_while(|(seq, _)| *seq <= covers) {
        let Change::Accepted(accepted) = change else { continue };
        match opened.keys.find(accepted.key_hash) {
            Ok(found) => assert_eq!(found.map(|entry| entry.transaction), Some(*seq)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
    // And the segment is named before anybody asks for what is in it.
    let mut damaged = Vec::new();
    while let Some(found) = opened.upkeep.check_next().unwrap() {
        damaged.extend(found);
    }
    assert_eq!(damaged.len(), 1);
    assert_eq!(&damaged[0].file, segment);
}
