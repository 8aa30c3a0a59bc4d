//! The writer: one batch, one write, one sync.
//!
//! It owns the end of the journal. Where a batch does not fit, the next segment is begun first;
//! a full disk shows there, before anything of the batch was written. Any other failure of a
//! write or a sync poisons the writer: what the disk holds is unknown until recovery, so it
//! never writes or syncs again.

use super::keys::{KeyRow, Keys};
use super::layout::{Damage, HEAD, HEAD_LENGTH, Head, HeadKind, SegmentHeader, VERSION};
use super::record::{self, Stamp};
use super::scan::STRIDE;
use super::segment::{Pending, Segment, Spare, Store, name_spare};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::change::Change;
use crate::engine::ports::{AppendError, Journal};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// The writer of a journal on files.
pub(super) struct FileJournal {
    pub(super) store: Arc<Store>,
    pub(super) segment: Arc<Segment>,
    /// Where the next batch goes, and the length that the segment was made with.
    pub(super) end: u64,
    pub(super) capacity: u64,
    /// The next sequence; everything before it is synced.
    pub(super) next: Seq,
    pub(super) last_at: Timestamp,
    pub(super) virtual_clock: bool,
    /// Keys of the segment that is being written.
    pub(super) keys: Keys,
    /// Whether runs and spares are left to [`Upkeep`].
    pub(super) background: bool,
    pub(super) buffer: Vec<u8>,
    pub(super) places: Vec<(u64, u64)>,
    pub(super) poisoned: bool,
}

/// The writer of a quarantined journal, which is only looked at: it takes nothing.
pub(super) struct Unwritten;

impl Journal for Unwritten {
    fn append(&mut self, _changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        Err(AppendError::Unknown(io::Error::other("a quarantined journal takes nothing")))
    }

    fn close(self: Box<Self>) -> Result<(), AppendError> {
        Ok(())
    }
}

/// The work beside the commits: runs of keys and segments made ahead of time.
///
/// Without it the writer does the same work itself, between two batches.
#[derive(Clone)]
pub struct Upkeep {
    pub(super) store: Arc<Store>,
}

impl Upkeep {
    /// Does what is due; `false` when nothing was. Blocks for as long as the disk needs.
    ///
    /// # Errors
    /// The disk's. Nothing is lost by one: what failed stays due.
    pub fn run_once(&self) -> io::Result<bool> {
        if self.store.quarantined {
            return Ok(false);
        }
        let written = self.store.write_pending_runs()?;
        Ok(self.store.go_on_with_spare()? || written)
    }

    /// Reads one of the segments that a snapshot made it unnecessary to read at the start, and
    /// says what was found damaged since this was last called, also by others; `None` when all
    /// have been read and there is nothing to say.
    ///
    /// # Errors
    /// The disk's.
    pub fn check_next(&self) -> io::Result<Option<Vec<Damage>>> {
        self.store.check_next()
    }

    /// Everything that is known to be damaged, found at the start or since.
    #[must_use]
    pub fn known_damage(&self) -> Vec<Damage> {
        self.store.known_damage()
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl FileJournal {
    fn poison(&mut self, error: io::Error) -> AppendError {
        self.poisoned = true;
        AppendError::Unknown(error)
    }

    fn head(&self, kind: HeadKind) -> Head {
        Head {
            kind,
            first: self.next,
            synced: Seq(self.next.0 - 1),
            epoch: self.store.epoch,
            length: 0,
            count: 0,
            partition: self.store.partition,
            segment: self.segment.first,
            last_at: self.last_at,
        }
    }

    fn mark(&mut self, kind: HeadKind) -> Result<(), AppendError> {
        let bytes = self.head(kind).encode();
        let file = &self.segment.file;
        let done = file.write_at(&bytes, self.end).and_then(|()| file.sync_data());
        done.map_err(|error| self.poison(error))?;
        self.end += HEAD_LENGTH;
        Ok(())
    }

    /// Begins the next segment, with room for a batch of `batch` bytes.
    fn roll(&mut self, batch: u64) -> Result<(), AppendError> {
        let least = batch + 4 * HEAD_LENGTH;
        let wanted = self.store.segment_bytes.max(least);
        // Held until the segment has its name: both sides make the spare under the same name.
        let store = Arc::clone(&self.store);
        let mut guard = store.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let made = Spare::whole(guard.take(), self.store.files.as_ref(), wanted);
        let spare = made.map_err(|error| {
            if is_full(&error) { AppendError::Full(error) } else { self.poison(error) }
        })?;
        let header = SegmentHeader {
            version: VERSION,
            partition: self.store.partition,
            first: self.next,
            epoch: self.store.epoch,
            last_at: self.last_at,
            virtual_clock: self.virtual_clock,
        };
        let capacity = spare.length().map_err(|error| self.poison(error))?;
        let named = name_spare(self.store.files.as_ref(), spare, &header);
        drop(guard);
        let segment = Arc::new(named.map_err(|error| self.poison(error))?);
        self.mark(HeadKind::Sealed)?;
        let keys = std::mem::take(&mut self.keys);
        let due = Pending { first: self.segment.first, last: Seq(self.next.0 - 1), keys };
        self.store.pending.lock().unwrap_or_else(PoisonError::into_inner).push(due);
        let mut segments = self.store.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.push(Arc::clone(&segment));
        drop(segments);
        self.segment = segment;
        self.end = HEAD_LENGTH;
        self.capacity = capacity;
        if !self.background {
            // A run that cannot be written now stays due: its keys are found in its segment
            // when the journal is opened, and until then the engine holds them.
            drop(self.store.write_pending_runs());
        }
        Ok(())
    }

    /// Encodes the batch behind room for its head; the time of its last change.
    fn encode(&mut self, changes: &[(Seq, Change)]) -> Timestamp {
        let stamp = Stamp { partition: self.store.partition, epoch: self.store.epoch };
        let mut last_at = self.last_at;
        self.buffer.clear();
        self.buffer.resize(HEAD, 0);
        self.places.clear();
        for (expected, (seq, change)) in (self.next.0..).zip(changes) {
            assert!(seq.0 == expected, "sequence {seq} does not continue the journal");
            self.places.push((seq.0, self.buffer.len() as u64));
            let at = record::encode(&mut self.buffer, stamp, *seq, change, last_at);
            // Time runs forward unless a person says what time it is.
            let set = matches!(change, Change::ClockAccepted { .. });
            last_at = if set { at } else { last_at.max(at) };
        }
        last_at
    }

    /// What readers may see from now on.
    fn publish(&mut self, changes: &[(Seq, Change)]) {
        let first = self.segment.first.0;
        let (places, end) = (&mut self.places, self.end);
        places.retain(|(seq, _)| (seq - first).is_multiple_of(STRIDE));
        places.iter_mut().for_each(|(_, at)| *at += end);
        self.segment.extend_index(places);
        for (seq, change) in changes {
            if let Change::Accepted(accepted) = change {
                self.keys.take(KeyRow::of(*seq, accepted), *seq);
            } else if let Change::Forwarded { transaction, accepted, .. } = change {
                self.keys.take(KeyRow::of(*transaction, accepted), *seq);
                let moved = &self.store.moved;
                let mut moved = moved.write().unwrap_or_else(PoisonError::into_inner);
                moved.insert(transaction.0, seq.0);
            }
        }
    }
}

impl Journal for FileJournal {
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Unknown(io::Error::other("an earlier write or sync failed")));
        }
        let Ok(count @ 1..) = u32::try_from(changes.len()) else {
            return Ok(());
        };
        let last_at = self.encode(changes);
        let length = self.buffer.len() as u64;
        // Room is kept for the two markers that may follow.
        if self.end + length + 2 * HEAD_LENGTH > self.capacity {
            self.roll(length)?;
        }
        self.last_at = last_at;
        let records = length - HEAD_LENGTH;
        let head = Head { length: records, count, ..self.head(HeadKind::Batch) };
        if let Some(place) = self.buffer.first_chunk_mut::<HEAD>() {
            *place = head.encode();
        }
        let file = &self.segment.file;
        let done = file.write_at(&self.buffer, self.end).and_then(|()| file.sync_data());
        done.map_err(|error| self.poison(error))?;
        self.publish(changes);
        self.end += length;
        self.store.filled.store(self.end, Ordering::Relaxed);
        self.next = Seq(self.next.0 + u64::from(count));
        self.store.last.store(self.next.0 - 1, Ordering::Release);
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Unknown(io::Error::other("an earlier write or sync failed")));
        }
        self.mark(HeadKind::Closed)
    }
}
