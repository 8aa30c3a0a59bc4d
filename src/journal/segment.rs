//! Segments that are open, and what writer, readers and runs share about them.
//!
//! A segment is created under a temporary name with its zeros and its header, synced, renamed,
//! and its folder synced, so that a segment under its own name is always whole. Only then does
//! the one before get its mark of the end.

use super::files::{File, Files, Lock, zero};
use super::keys::{self, Keys, Run, Runs};
use super::layout::{Damage, HEAD_LENGTH, SegmentHeader, segment_name};
use super::scan::{Scan, Task, scan};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::ports::ReadError;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// The name of a segment that was made ahead of time.
pub(super) const SPARE: &str = "spare.tmp";

/// Places of records in a segment: every 64th, and the first one after each damage.
pub(super) type Index = Vec<(u64, u64)>;

/// A segment that is open.
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) first: Seq,
    /// The latest time journaled before it.
    pub(super) begun_at: Timestamp,
    pub(super) file: Box<dyn File>,
    /// `None` until somebody needs it: old segments are indexed when they are first read.
    index: RwLock<Option<Index>>,
}

impl Segment {
    pub(super) fn new(
        first: Seq,
        begun_at: Timestamp,
        file: Box<dyn File>,
        index: Option<Index>,
    ) -> Self {
        Self { name: segment_name(first), first, begun_at, file, index: RwLock::new(index) }
    }

    /// Adds places of records that have just been committed.
    pub(super) fn extend_index(&self, places: &[(u64, u64)]) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.get_or_insert_default().extend_from_slice(places);
    }
}

/// Keys of a sealed segment that are not in a run yet.
pub(super) struct Pending {
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) keys: Keys,
}

/// What was found damaged since the start.
#[derive(Default)]
pub(super) struct FoundDamage {
    /// Nobody has been told of it yet.
    untold: Vec<Damage>,
    /// Records that were found damaged when they were read, in segments that were sound before.
    noted: Vec<Damage>,
}

/// What writer, readers and runs share.
pub(super) struct Store {
    pub(super) files: Arc<dyn Files>,
    pub(super) partition: u16,
    pub(super) epoch: u64,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) last: AtomicU64,
    pub(super) damage: RwLock<Vec<Damage>>,
    /// What was found damaged since the start.
    pub(super) found: Mutex<FoundDamage>,
    /// Where accept records were written once more, by transaction.
    pub(super) moved: RwLock<HashMap<u64, u64>>,
    pub(super) runs: Runs,
    pub(super) pending: Mutex<Vec<Pending>>,
    pub(super) spare: Mutex<Option<Spare>>,
    /// How far the segment that is being written is full, in bytes.
    pub(super) filled: AtomicU64,
    pub(super) segment_bytes: u64,
    /// Records are lost: what is left is looked at, and nothing is written.
    pub(super) quarantined: bool,
    /// Kept for its end: the folder is free for another process when this goes.
    pub(super) _lock: Lock,
}

impl Store {
    pub(super) fn last(&self) -> Seq {
        Seq(self.last.load(Ordering::Acquire))
    }

    /// The first sequence that is here.
    pub(super) fn first(&self) -> Seq {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(Seq(1), |segment| segment.first)
    }

    /// Where the accept record of `transaction` was written once more, if it was.
    pub(super) fn forwarded(&self, transaction: Seq) -> Option<Seq> {
        let moved = self.moved.read().unwrap_or_else(PoisonError::into_inner);
        moved.get(&transaction.0).copied().map(Seq)
    }

    /// The segment that holds `seq`, and the first sequence of the one after it.
    pub(super) fn locate(&self, seq: Seq) -> Option<(Arc<Segment>, Option<Seq>)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.first <= seq);
        let segment = segments.get(after.checked_sub(1)?)?;
        Some((Arc::clone(segment), segments.get(after).map(|next| next.first)))
    }

    /// The damage that holds `seq`, as an error.
    pub(super) fn damage_at(&self, seq: Seq) -> Option<ReadError> {
        let damage = self.damage.read().unwrap_or_else(PoisonError::into_inner);
        let found = damage.iter().find(|damage| damage.hits(seq, seq))?;
        Some(ReadError::Damaged { seq, file: found.file.clone(), offset: found.offset })
    }

    /// The place of the nearest record at or before `seq` in `segment`, by its index.
    pub(super) fn place(
        &self,
        segment: &Segment,
        next: Option<Seq>,
        seq: Seq,
    ) -> io::Result<(u64, u64)> {
        self.with_index(segment, next, |index| {
            let after = index.partition_point(|(indexed, _)| *indexed <= seq.0);
            after.checked_sub(1).and_then(|at| index.get(at)).copied()
        })
        .map(|place| place.unwrap_or((segment.first.0, HEAD_LENGTH)))
    }

    /// The place of the first indexed record beyond `offset` in `segment`.
    pub(super) fn place_after(
        &self,
        segment: &Segment,
        next: Option<Seq>,
        offset: u64,
    ) -> io::Result<Option<(u64, u64)>> {
        self.with_index(segment, next, |index| {
            index.get(index.partition_point(|(_, at)| *at <= offset)).copied()
        })
    }

    fn with_index<T>(
        &self,
        segment: &Segment,
        next: Option<Seq>,
        look: impl FnOnce(&Index) -> T,
    ) -> io::Result<T> {
        let held = segment.index.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = held.as_ref() {
            return Ok(look(index));
        }
        drop(held);
        let found = self.scan(segment, next, false)?;
        let result = look(&found.index);
        let mut index = segment.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.is_none() {
            *index = Some(found.index);
            let lost = found.damage.into_iter().filter(|damage| damage.records > 0);
            let lost: Vec<Damage> = lost.collect();
            self.found().untold.extend(lost.iter().cloned());
            self.damage.write().unwrap_or_else(PoisonError::into_inner).extend(lost);
        }
        Ok(result)
    }

    fn found(&self) -> MutexGuard<'_, FoundDamage> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the record `first` was found damaged when it was read, where nobody knows yet.
    pub(super) fn note_damage(&self, file: &str, offset: u64, first: Seq) {
        let mut found = self.found();
        let known = found.noted.iter().any(|damage| damage.first == first);
        if self.damage_at(first).is_none() && !known {
            let damage = Damage::records(file, offset, first, first.next());
            found.noted.push(damage.clone());
            found.untold.push(damage);
        }
    }

    /// Everything that is known to be damaged, found at the start or since.
    pub(super) fn known_damage(&self) -> Vec<Damage> {
        let noted = self.found().noted.clone();
        let damage = self.damage.read().unwrap_or_else(PoisonError::into_inner);
        damage.iter().cloned().chain(noted).collect()
    }

    /// The first record from `from` to `to` that is known to be damaged, as an error.
    pub(super) fn damage_in(&self, from: Seq, to: Seq) -> Option<ReadError> {
        let damage = self.damage.read().unwrap_or_else(PoisonError::into_inner);
        let found = damage.iter().filter(|damage| damage.hits(from, to));
        let found = found.min_by_key(|damage| damage.first)?;
        let seq = found.first.max(from);
        Some(ReadError::Damaged { seq, file: found.file.clone(), offset: found.offset })
    }

    /// Reads a segment that nobody has read yet, and says what was found damaged since this was
    /// last called, by whom ever; `None` when all have been read and all has been said.
    pub(super) fn check_next(&self) -> io::Result<Option<Vec<Damage>>> {
        let unread = |segment: &&Arc<Segment>| {
            segment.index.read().unwrap_or_else(PoisonError::into_inner).is_none()
        };
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner).clone();
        let next = segments.iter().find(unread);
        if let Some(segment) = next {
            let after = segments.partition_point(|other| other.first <= segment.first);
            let next = segments.get(after).map(|next| next.first);
            self.with_index(segment, next, |_| ())?;
        }
        let untold = std::mem::take(&mut self.found().untold);
        Ok((next.is_some() || !untold.is_empty()).then_some(untold))
    }

    fn scan(&self, segment: &Segment, next: Option<Seq>, keys: bool) -> io::Result<Scan> {
        scan(&Task {
            file: segment.file.as_ref(),
            name: &segment.name,
            first: segment.first,
            floor: next.map_or(self.last(), |next| Seq(next.0 - 1)),
            keys,
            blobs: false,
        })
    }

    /// Makes the run of a sealed segment anew, from the segment.
    pub(super) fn rebuild_run(&self, first: Seq, last: Seq) -> Result<Run, ReadError> {
        let (segment, _) = self.locate(first).ok_or(ReadError::Missing(first))?;
        let mut found = self.scan(&segment, Some(last.next()), true)?;
        // A run that lacks the keys of damaged records would let them be used a second time.
        if let Some(damage) = found.damage.first() {
            let seq = damage.first;
            let (file, offset) = (damage.file.clone(), damage.offset);
            return Err(ReadError::Damaged { seq, file, offset });
        }
        Ok(keys::write(self.files.as_ref(), first, last, &mut found.keys)?)
    }

    /// Writes the runs that are due. They leave the list only when they are durable.
    pub(super) fn write_pending_runs(&self) -> io::Result<bool> {
        let mut any = false;
        loop {
            let next = self.pending.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut due) = next else { return Ok(any) };
            match keys::write(self.files.as_ref(), due.first, due.last, &mut due.keys) {
                Ok(run) => self.runs.add(run),
                Err(error) => {
                    self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(due);
                    return Err(error);
                }
            }
            any = true;
        }
    }
}

/// A file of zeros for a later segment, in the making. It is made a little faster than the
/// segment before it fills: all at once, its syncs held commits up for 55 ms.
pub(super) struct Spare {
    file: Box<dyn File>,
    zeroed: u64,
    bytes: u64,
}

/// How much of a spare is made before anything is written to the segment before it.
const LEAD: u64 = 1 << 20;

impl Spare {
    fn begin(files: &dyn Files, bytes: u64) -> io::Result<Self> {
        match files.unlink(SPARE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self { file: files.create(SPARE)?, zeroed: 0, bytes })
    }

    /// Zeroes on up to `to`; whether anything was to do. One that fails only takes room away,
    /// and goes.
    fn go_on(mut self, files: &dyn Files, to: u64) -> io::Result<(Self, bool)> {
        let to = to.min(self.bytes);
        if to <= self.zeroed {
            return Ok((self, false));
        }
        match zero(self.file.as_ref(), self.zeroed, to).and_then(|()| self.file.sync_data()) {
            Ok(()) => {
                self.zeroed = to;
                Ok((self, true))
            }
            Err(error) => {
                drop(self);
                files.unlink(SPARE)?;
                Err(error)
            }
        }
    }

    /// A whole file of at least `wanted` bytes: of what there is, or a new one.
    pub(super) fn whole(
        found: Option<Self>,
        files: &dyn Files,
        wanted: u64,
    ) -> io::Result<Box<dyn File>> {
        let spare = match found.filter(|spare| spare.bytes >= wanted) {
            Some(spare) => spare,
            None => Self::begin(files, wanted)?,
        };
        let bytes = spare.bytes;
        Ok(spare.go_on(files, bytes)?.0.file)
    }
}

impl Store {
    /// Makes as much of the spare as is due by how full the last segment is; whether anything was
    /// due. The writer that needs it meanwhile waits rather than make another one.
    pub(super) fn go_on_with_spare(&self) -> io::Result<bool> {
        let mut held = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files.as_ref();
        let spare = match held.take() {
            Some(spare) => spare,
            None => Spare::begin(files, self.segment_bytes)?,
        };
        let due = (self.filled.load(Ordering::Relaxed) / 2 * 3 + LEAD).next_multiple_of(LEAD / 4);
        let (spare, any) = spare.go_on(files, due)?;
        *held = Some(spare);
        Ok(any)
    }
}

/// Turns the spare into a segment. What fails before the rename leaves the journal as it was.
pub(super) fn name_spare(
    files: &dyn Files,
    spare: Box<dyn File>,
    header: &SegmentHeader,
) -> io::Result<Segment> {
    spare.write_at(&header.encode(), 0)?;
    spare.sync_data()?;
    files.rename(SPARE, &segment_name(header.first))?;
    files.sync_folder("")?;
    Ok(Segment::new(header.first, header.last_at, spare, Some(Index::new())))
}
