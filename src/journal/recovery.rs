//! Opening a data folder: what is there, whether it may be used, and where the journal ends.
//!
//! Nothing in the folder is changed before every check has passed, nor at all where records are
//! lost and the rest is only looked at. Else the unsynced tail is
//! overwritten with zeros, and what is kept of the last batch is written and synced once more:
//! a sync that failed before a crash may have left it in memory only.

use super::files::{Files, View, zero};
use super::keys::{FileKeys, Run, Runs};
use super::layout::{
    Damage, DamageKind, HEAD, HEAD_LENGTH, Head, HeadKind, SegmentHeader, VERSION, number,
    segment_name,
};
use super::reader::FileReader;
use super::retire::Retirement;
use super::scan::{Scan, Task, scan};
use super::segment::{Segment, Spare, Store, name_spare};
use super::snapshot::{self, Loaded, Snapshots, Stored};
use super::writer::{FileJournal, Unwritten, Upkeep};
use super::{OpenError, Opened, Options, RecoveryReport};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};

/// A segment as it was found.
struct Found {
    segment: Segment,
    header: Option<SegmentHeader>,
    scan: Option<Scan>,
    run: Option<Run>,
}

/// The folder as it was found.
struct Survey {
    names: Vec<String>,
    segments: Vec<Found>,
    snapshot: Option<Loaded>,
    report: RecoveryReport,
    epoch: u64,
    /// What the newest segment says; a snapshot holds nothing that no segment knows.
    last_at: Option<Timestamp>,
    /// The first sequence that has not left.
    begins: Seq,
    /// The last segment but one lost its mark of the end to a crash.
    unmarked: bool,
    /// Whole files that are missing, or snapshots that nothing stands in for.
    absent: Vec<Damage>,
}

/// Opens the journal in `files`. See [`super::open`].
///
/// # Errors
/// See [`OpenError`].
pub fn open_on(files: Arc<dyn Files>, options: &Options) -> Result<Opened, OpenError> {
    let lock = files.lock()?.ok_or(OpenError::Locked)?;
    let names = files.list("")?;
    let any = |ending| names.iter().any(|name| number(name, ending).is_some());
    // A snapshot alone can be looked at.
    let has_journal = any(".segment") || options.quarantine && any(".snapshot");
    if !has_journal {
        begin(files.as_ref(), &names, options)?;
    }
    let survey = survey(files.as_ref(), options)?;
    check(&survey, options)?;
    if survey.report.damage.is_empty() {
        finish(files, survey, options, lock)
    } else {
        Ok(look(files, survey, options, lock))
    }
}

/// Begins a journal in a folder that has none.
fn begin(files: &dyn Files, names: &[String], options: &Options) -> Result<(), OpenError> {
    let left = names
        .iter()
        .find(|name| number(name, ".snapshot").is_some() || number(name, ".keys").is_some());
    if left.is_some() {
        return Err(OpenError::Missing { file: segment_name(Seq(1)) });
    }
    if !options.init {
        return Err(OpenError::NoJournal);
    }
    let spare = Spare::whole(None, files, options.segment_bytes.max(4 * HEAD_LENGTH))?;
    let header = SegmentHeader {
        version: VERSION,
        partition: options.partition,
        first: Seq(1),
        epoch: 0,
        last_at: Timestamp::from_millis(i64::MIN),
        virtual_clock: options.virtual_clock,
    };
    name_spare(files, spare, &header)?;
    Ok(())
}

fn survey(files: &dyn Files, options: &Options) -> Result<Survey, OpenError> {
    let names = files.list("")?;
    let mut firsts: Vec<Seq> = names.iter().filter_map(|n| number(n, ".segment")).collect();
    firsts.sort_unstable();
    let mut survey = Survey {
        names,
        segments: Vec::new(),
        snapshot: None,
        report: RecoveryReport::default(),
        epoch: 0,
        last_at: None,
        begins: Seq(1),
        unmarked: false,
        absent: Vec::new(),
    };
    for up_to in snapshot::list(files)?.into_iter().rev() {
        match snapshot::load(files, up_to)? {
            Ok(loaded) => {
                survey.epoch = loaded.epoch;
                survey.begins = loaded.begins;
                survey.snapshot = Some(loaded);
                break;
            }
            Err(damage) => survey.report.snapshots_skipped.push(damage),
        }
    }
    let up_to = survey.snapshot.as_ref().map_or(Seq(0), |loaded| loaded.up_to);
    for (place, &first) in firsts.iter().enumerate() {
        let next = firsts.get(place + 1).copied();
        survey.look_at(files, options, first, next, up_to)?;
    }
    if survey.segments.is_empty()
        && survey.snapshot.is_none()
        && let Some(damage) = survey.report.snapshots_skipped.first().cloned()
    {
        // There is nothing left to look at.
        let Damage { file, offset, first, records, .. } = damage;
        return Err(OpenError::Damaged { file, offset, first, records });
    }
    survey.check_beginning();
    survey.check_chain();
    let absent = std::mem::take(&mut survey.absent);
    survey.report.damage.splice(0..0, absent);
    Ok(survey)
}

impl Survey {
    /// The first sequence that no snapshot holds.
    fn held(&self) -> Seq {
        self.snapshot.as_ref().map_or(Seq(1), |loaded| loaded.up_to.next())
    }

    /// The first segments may be away only where the journal says so, and where a snapshot
    /// holds what they held.
    fn check_beginning(&mut self) {
        let (begins, held) = (self.begins, self.held());
        let Some(first) = self.segments.first().map(|found| found.segment.first) else {
            // Only snapshots are left, and what came after the newest is lost too.
            self.lose_before(held);
            self.absent.push(Damage::missing(held, None));
            return;
        };
        if first > begins || first > held {
            self.lose_before(first);
        }
    }

    /// Everything before `next` that should be here is lost: by the snapshot that is damaged, or
    /// with the segments that are missing.
    fn lose_before(&mut self, next: Seq) {
        let held = self.held();
        let missing = Damage::missing(self.begins.min(held), Some(next));
        let (first, records) = (missing.first, missing.records);
        let snapshot = self.report.snapshots_skipped.first().filter(|_| held < next).cloned();
        let damage = snapshot.map(|snapshot| Damage { first, records, ..snapshot });
        self.absent.push(damage.unwrap_or(missing));
    }

    fn look_at(
        &mut self,
        files: &dyn Files,
        options: &Options,
        first: Seq,
        next: Option<Seq>,
        up_to: Seq,
    ) -> Result<(), OpenError> {
        let name = segment_name(first);
        let file = files.open(&name)?;
        let mut head = [0; HEAD];
        file.read_at(&mut head, 0)?;
        let header = SegmentHeader::decode(&head);
        let damage = Damage::frame(&name, 0, first);
        match &header {
            Some(header) if header.version != VERSION => {
                return Err(OpenError::Newer { file: name, offset: 12 });
            }
            Some(header) if header.partition != options.partition => {
                return Err(OpenError::Partition { file: name, found: header.partition });
            }
            Some(header) if header.first == first => {
                self.epoch = self.epoch.max(header.epoch);
                self.last_at = known(header.last_at).or(self.last_at);
                if header.virtual_clock != options.virtual_clock {
                    return Err(OpenError::OtherClock { driven: header.virtual_clock });
                }
            }
            Some(_) | None => self.report.damage.push(damage),
        }
        let run =
            Run::open(files, first)?.filter(|run| next.is_some_and(|next| run.last.next() == next));
        let replayed = next.is_none_or(|next| next > up_to.next());
        let scanned = replayed || options.check_everything || run.is_none();
        let scan = if scanned {
            let floor = next.map_or(up_to, |next| Seq(next.0 - 1));
            let keys = run.is_none();
            let task = Task { file: file.as_ref(), name: &name, first, floor, keys, blobs: false };
            Some(scan(&task)?)
        } else {
            None
        };
        let mut index = None;
        if let Some(scan) = &scan {
            self.epoch = self.epoch.max(scan.epoch);
            self.last_at = scan.last_at.and_then(known).or(self.last_at);
            self.begins = self.begins.max(scan.begins);
            self.report.damage.extend(scan.damage.iter().cloned());
            self.report.records += scan.records;
            index = Some(scan.index.clone());
        }
        self.report.segments += 1;
        let begun_at = header.map_or(Timestamp::from_millis(i64::MIN), |header| header.last_at);
        let segment = Segment::new(first, begun_at, file, index);
        self.segments.push(Found { segment, header, scan, run });
        Ok(())
    }

    /// Whether the last of several segments holds nothing yet.
    fn last_is_empty(&self) -> bool {
        let last = self.segments.last().and_then(|found| found.scan.as_ref());
        self.segments.len() > 1
            && last.is_some_and(|scan| scan.end == HEAD_LENGTH && scan.damage.is_empty())
    }

    /// Every segment must end where the next begins; the last one must not have ended.
    fn check_chain(&mut self) {
        let count = self.segments.len();
        for place in 0..count {
            let (Some(found), next) = (self.segments.get(place), self.segments.get(place + 1))
            else {
                continue;
            };
            let Some(scan) = &found.scan else { continue };
            let Some(next) = next else {
                if scan.sealed {
                    self.absent.push(Damage::missing(Seq(scan.next), None));
                }
                continue;
            };
            if scan.sealed {
                if scan.next < next.segment.first.0 {
                    let next = Some(next.segment.first);
                    self.absent.push(Damage::missing(Seq(scan.next), next));
                }
                continue;
            }
            // The next segment is durable before this one gets its mark, so a crash between the
            // two leaves the mark missing and the next segment empty. Else the mark was damaged.
            if place + 2 == count && self.last_is_empty() && scan.damage.is_empty() {
                self.unmarked = true;
            } else if scan.damage.is_empty() {
                let mark = Damage::frame(&found.segment.name, scan.end, Seq(scan.next));
                self.report.damage.push(mark);
            }
        }
    }
}

fn check(survey: &Survey, options: &Options) -> Result<(), OpenError> {
    for found in &survey.segments {
        let Some(scan) = &found.scan else { continue };
        if let Some(offset) = scan.newer {
            return Err(OpenError::Newer { file: found.segment.name.clone(), offset });
        }
        if let Some(driven) = scan.virtual_clock
            && driven != options.virtual_clock
        {
            return Err(OpenError::OtherClock { driven });
        }
    }
    if let Some(first) = survey.report.damage.first()
        && !options.quarantine
    {
        let file = first.file.clone();
        let records = survey.report.damage.iter().map(|damage| damage.records).sum();
        return Err(match first.kind {
            DamageKind::SegmentMissing => OpenError::Missing { file },
            DamageKind::Records
            | DamageKind::Frame
            | DamageKind::Snapshot
            | DamageKind::Keys
            | DamageKind::DataKeys
            | DamageKind::Attachment => {
                OpenError::Damaged { file, offset: first.offset, first: first.first, records }
            }
        });
    }
    // What is only looked at is looked at by any clock.
    if let Some(last_at) = survey.last_at
        && survey.report.damage.is_empty()
        && !options.clock_accepted
    {
        let now = options.now;
        if now < last_at.before(options.back_max) || last_at.after(options.ahead_max) < now {
            return Err(OpenError::ClockApart { now, last_at });
        }
    }
    Ok(())
}

/// A journaled time, where anything had been journaled.
fn known(last_at: Timestamp) -> Option<Timestamp> {
    Some(last_at).filter(|at| at.as_millis() != i64::MIN)
}

/// Mends the end of a segment on the disk: zeros for the tail, and the last batch or marker
/// once more.
fn mend_end(segment: &Segment, scan: &Scan) -> io::Result<()> {
    let file = segment.file.as_ref();
    let mut touched = false;
    if let Some(tail) = scan.tail {
        zero(file, tail.offset, tail.offset + tail.bytes)?;
        touched = true;
    }
    if scan.latest < scan.end {
        let length = usize::try_from(scan.end - scan.latest).unwrap_or(usize::MAX);
        let kept = View::new(file, length)?.from(scan.latest, length)?.to_vec();
        file.write_at(kept.get(..length).unwrap_or(&kept), scan.latest)?;
        touched = true;
    }
    if touched { file.sync_data() } else { Ok(()) }
}

/// Writes the mark that a crash kept from the end of the last segment but one.
fn mend_mark(found: &Found, epoch: u64, partition: u16) -> io::Result<()> {
    let Some(scan) = &found.scan else { return Ok(()) };
    let mark = Head {
        kind: HeadKind::Sealed,
        first: Seq(scan.next),
        synced: Seq(scan.next - 1),
        epoch,
        length: 0,
        count: 0,
        partition,
        segment: found.segment.first,
        last_at: scan.last_at.unwrap_or(Timestamp::from_millis(i64::MIN)),
    };
    found.segment.file.write_at(&mark.encode(), scan.end)?;
    found.segment.file.sync_data()
}

/// Removes what a crash left half made, or half gone.
fn tidy_up(files: &dyn Files, survey: &Survey, last: Seq) -> io::Result<()> {
    let begins = survey.segments.first().map_or(last, |found| found.segment.first);
    for name in &survey.names {
        // A run goes after its segment, so a crash between the two leaves it behind.
        if name.ends_with(".tmp") || number(name, ".keys").is_some_and(|first| first < begins) {
            files.unlink(name)?;
        }
    }
    Ok(())
}

/// The sealed segments with their runs, made anew where they were not whole, and where accept
/// records were forwarded to.
#[expect(clippy::type_complexity, reason = "three things that are found in one walk")]
fn runs_of(
    files: &dyn Files,
    sealed: Vec<Found>,
    last: Seq,
    report: &mut RecoveryReport,
) -> io::Result<(Vec<Arc<Segment>>, Runs, HashMap<u64, u64>)> {
    let (mut segments, runs, mut moved) = (Vec::new(), Runs::default(), HashMap::new());
    let mut found = sealed.into_iter().peekable();
    while let Some(one) = found.next() {
        let next = found.peek().map_or(last, |next| next.segment.first);
        let first = one.segment.first;
        segments.push(Arc::new(one.segment));
        if let Some(run) = one.run {
            moved.extend(run.moved.iter().copied());
            runs.add(run);
            continue;
        }
        let mut keys = one.scan.map(|scan| scan.keys).unwrap_or_default();
        moved.extend(keys.moved.iter().copied());
        runs.add(super::keys::write(files, first, Seq(next.0 - 1), &mut keys)?);
        report.runs_rebuilt.push(first);
    }
    Ok((segments, runs, moved))
}

/// Mends the end of the last segment but one where the last has nothing yet: its mark may be
/// missing, or its sync may have failed before the crash.
fn mend_last_but_one(survey: &Survey, epoch: u64, partition: u16) -> io::Result<()> {
    if survey.last_is_empty()
        && let Some(found) = survey.segments.get(survey.segments.len().saturating_sub(2))
        && let Some(scan) = &found.scan
    {
        if survey.unmarked {
            return mend_mark(found, epoch, partition);
        }
        if scan.sealed {
            return mend_end(&found.segment, scan);
        }
    }
    Ok(())
}

/// What is left of a damaged journal, to be looked at.
fn look(
    files: Arc<dyn Files>,
    mut survey: Survey,
    options: &Options,
    lock: super::files::Lock,
) -> Opened {
    let last = survey.segments.last().and_then(|found| found.scan.as_ref());
    let last = Seq(last.map_or(0, |scan| scan.next - 1));
    let (mut segments, runs, mut moved) = (Vec::new(), Runs::default(), HashMap::new());
    for found in std::mem::take(&mut survey.segments) {
        segments.push(Arc::new(found.segment));
        // Keys that stand in no run are found in the records.
        if let Some(run) = found.run {
            moved.extend(run.moved.iter().copied());
            runs.add(run);
        } else if let Some(scan) = found.scan {
            moved.extend(scan.keys.moved);
        }
    }
    let epoch = survey.epoch + 1;
    let (partition, virtual_clock) = (options.partition, options.virtual_clock);
    let store = Arc::new(Store {
        files: Arc::clone(&files),
        partition,
        epoch,
        segments: RwLock::new(segments),
        last: AtomicU64::new(last.0),
        damage: RwLock::new(survey.report.damage.clone()),
        found: Mutex::default(),
        moved: RwLock::new(moved),
        runs,
        pending: Mutex::default(),
        spare: Mutex::default(),
        filled: AtomicU64::new(0),
        segment_bytes: options.segment_bytes,
        quarantined: true,
        _lock: lock,
    });
    let up_to = survey.snapshot.map_or(Seq(0), |loaded| loaded.up_to);
    Opened {
        journal: Box::new(Unwritten),
        reader: Arc::new(FileReader(Arc::clone(&store))),
        keys: Box::new(FileKeys(Arc::clone(&store))),
        upkeep: Upkeep { store: Arc::clone(&store) },
        retirement: Retirement { store },
        snapshot: Box::new(Stored { files: Arc::clone(&files), up_to }),
        snapshots: Snapshots { files, partition, epoch, virtual_clock },
        replay_from: up_to.next(),
        last: last.max(up_to),
        epoch,
        last_at: survey.last_at.filter(|at| at.as_millis() != i64::MIN),
        report: survey.report,
    }
}

fn finish(
    files: Arc<dyn Files>,
    mut survey: Survey,
    options: &Options,
    lock: super::files::Lock,
) -> Result<Opened, OpenError> {
    // Names too may have been seen before they were durable.
    files.sync_folder("")?;
    let epoch = survey.epoch + 1;
    mend_last_but_one(&survey, epoch, options.partition)?;
    let Some(mut last) = survey.segments.pop() else {
        return Err(OpenError::Missing { file: segment_name(Seq(1)) });
    };
    let scan = last.scan.take().unwrap_or_default();
    mend_end(&last.segment, &scan)?;
    survey.report.cut = scan.tail.map(|tail| (last.segment.name.clone(), tail));
    survey.report.closed_cleanly = scan.closed;
    tidy_up(files.as_ref(), &survey, last.segment.first)?;
    let last_at = survey.last_at.unwrap_or(Timestamp::from_millis(i64::MIN));
    let sealed = std::mem::take(&mut survey.segments);
    let (mut segments, runs, mut moved) =
        runs_of(files.as_ref(), sealed, last.segment.first, &mut survey.report)?;
    moved.extend(scan.keys.moved.iter().copied());
    let capacity = last.segment.file.length()?;
    let segment = Arc::new(last.segment);
    segments.push(Arc::clone(&segment));
    let store = Arc::new(Store {
        files: Arc::clone(&files),
        partition: options.partition,
        epoch,
        segments: RwLock::new(segments),
        last: AtomicU64::new(scan.next - 1),
        damage: RwLock::default(),
        found: Mutex::default(),
        moved: RwLock::new(moved),
        runs,
        pending: Mutex::default(),
        spare: Mutex::default(),
        filled: AtomicU64::new(scan.end),
        segment_bytes: options.segment_bytes.max(4 * HEAD_LENGTH),
        quarantined: false,
        _lock: lock,
    });
    let virtual_clock = last.header.map_or(options.virtual_clock, |header| header.virtual_clock);
    let journal = FileJournal {
        store: Arc::clone(&store),
        segment,
        end: scan.end,
        capacity,
        next: Seq(scan.next),
        last_at,
        virtual_clock,
        keys: scan.keys,
        background: options.background_upkeep,
        buffer: Vec::new(),
        places: Vec::new(),
        poisoned: false,
    };
    let up_to = survey.snapshot.map_or(Seq(0), |loaded| loaded.up_to);
    Ok(Opened {
        journal: Box::new(journal),
        reader: Arc::new(FileReader(Arc::clone(&store))),
        keys: Box::new(FileKeys(Arc::clone(&store))),
        upkeep: Upkeep { store: Arc::clone(&store) },
        retirement: Retirement { store },
        snapshot: Box::new(Stored { files: Arc::clone(&files), up_to }),
        snapshots: Snapshots { files, partition: options.partition, epoch, virtual_clock },
        replay_from: up_to.next(),
        last: Seq(scan.next - 1),
        epoch,
        last_at: survey.last_at,
        report: survey.report,
    })
}
