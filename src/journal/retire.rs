//! Old segments leave: whole, to the archive beside the journal or away for good.
//!
//! ```text
//!   old enough ─► what is still needed is forwarded ─► Retired{before} is journaled ─► retire
//!   (older_than)  (new records, by the engine)         (by the engine)                 (files move)
//! ```
//!
//! Who decides what is old enough, and drives these steps, is the daemon. This file knows what
//! the journal itself needs of a segment: two snapshots behind it, so that one may be damaged,
//! and runs for every key that was forwarded, because its own run leaves with it. A crash at any
//! point leaves segments that are still here; leaving is done again.

use super::files::Files;
use super::layout::{run_name, segment_name};
use super::segment::Store;
use super::snapshot;
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use std::io;
use std::sync::{Arc, PoisonError};

/// The folder, inside the journal's, that segments leave for.
pub(super) const ARCHIVE: &str = "archive";

/// Lets old segments leave. Cheap to clone; runs beside the writer.
#[derive(Clone)]
pub struct Retirement {
    pub(super) store: Arc<Store>,
}

/// What has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Segments.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Retirement {
    /// The first sequence of the oldest segment that holds, or may hold, something journaled at
    /// or after `instant`. The segment that is being written is never older than that.
    #[must_use]
    pub fn older_than(&self, instant: Timestamp) -> Seq {
        let segments = self.store.segments.read().unwrap_or_else(PoisonError::into_inner);
        let mut oldest = segments.first().map_or(Seq(1), |segment| segment.first);
        for next in segments.iter().skip(1).take_while(|next| next.begun_at < instant) {
            oldest = next.first;
        }
        oldest
    }

    /// Every key up to here stands in a run: what was forwarded by then keeps its key when its
    /// old segment leaves.
    #[must_use]
    pub fn keys_covered(&self) -> Seq {
        self.store.runs.covers(self.store.first())
    }

    /// The last record that holds a forwarded transaction, also one that has ended since or was
    /// forwarded before a restart: its key must stand in a run before its old segment leaves.
    #[must_use]
    pub fn last_forwarded(&self) -> Seq {
        let moved = self.store.moved.read().unwrap_or_else(PoisonError::into_inner);
        Seq(moved.values().copied().max().unwrap_or(0))
    }

    /// How far segments may leave so that two snapshots still hold what was in them.
    ///
    /// # Errors
    /// The disk's.
    pub fn behind_snapshots(&self) -> io::Result<Seq> {
        let snapshots = snapshot::list(self.store.files.as_ref())?;
        Ok(match snapshots.as_slice() {
            [.., older, _] => older.next(),
            _ => self.store.first(),
        })
    }

    /// Moves every segment that ends before `before` to the archive, or removes it; its run of
    /// keys goes. Durable segment by segment, oldest first.
    ///
    /// # Errors
    /// The disk's; what has not left by then is still here.
    pub fn retire(&self, before: Seq, archive: bool) -> io::Result<Left> {
        let files = self.store.files.as_ref();
        let mut left = Left::default();
        while let Some((first, next)) = self.oldest(before) {
            // The file first: where that fails it is tried again, and none behind it goes before.
            leave(files, first, archive)?;
            let mut segments = self.store.segments.write().unwrap_or_else(PoisonError::into_inner);
            let segment = segments.remove(0);
            drop(segments);
            self.store.runs.retire(next);
            let mut damage = self.store.damage.write().unwrap_or_else(PoisonError::into_inner);
            damage.retain(|damage| damage.file != segment.name);
            drop(damage);
            left.bytes += segment.file.length()?;
            left.segments += 1;
        }
        if left.segments > 0 {
            let first = self.store.first();
            let mut moved = self.store.moved.write().unwrap_or_else(PoisonError::into_inner);
            moved.retain(|_, place| *place >= first.0);
        }
        Ok(left)
    }

    /// The oldest segment, where it ends before `before`, and what begins the one after it.
    fn oldest(&self, before: Seq) -> Option<(Seq, Seq)> {
        let segments = self.store.segments.read().unwrap_or_else(PoisonError::into_inner);
        let (first, next) = (segments.first()?.first, segments.get(1)?.first);
        (next <= before).then_some((first, next))
    }
}

fn leave(files: &dyn Files, first: Seq, archive: bool) -> io::Result<()> {
    let name = segment_name(first);
    if archive {
        files.create_folder(ARCHIVE)?;
        files.sync_folder("")?;
        gone(files.rename(&name, &format!("{ARCHIVE}/{name}")))?;
        // The new name before the old one, so that no cut of the power takes both.
        files.sync_folder(ARCHIVE)?;
    } else {
        gone(files.unlink(&name))?;
    }
    files.sync_folder("")?;
    gone(files.unlink(&run_name(first)))?;
    files.sync_folder("")
}

/// What is not there any more went in an earlier try.
fn gone(moved: io::Result<()>) -> io::Result<()> {
    match moved {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
