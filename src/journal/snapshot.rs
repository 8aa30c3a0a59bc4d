//! Snapshots: the live state as a shorter list of changes, in the very form of records.
//!
//! ```text
//!   header 64 B (a segment's header; its first sequence is the last one folded in)
//!   record │ record │ …            numbered from 1
//!   mark 64 B (the mark of the end of a segment; its count is the number of records)
//! ```
//!
//! A snapshot gets its name only when it is durable. The two newest are kept: the older one is
//! what recovery falls back to.

use super::files::{Files, RealFiles, View};
use super::layout::{
    Damage, DamageKind, HEAD, HEAD_LENGTH, Head, HeadKind, SegmentHeader, VERSION, number,
    snapshot_name,
};
use super::record::{self, Raw, Seen, Stamp};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::change::Change;
use crate::engine::ports::{ReadError, Snapshot};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

const PIECE: usize = 1 << 20;
const KEPT: usize = 2;
/// Changes that are handed to the visitor at a time, and how many such pieces may wait for it.
const PIECE_CHANGES: usize = 4;
const PIECES_AHEAD: usize = 4;

/// Writes snapshots into the data folder of one journal. Runs beside the writer.
#[derive(Clone)]
pub struct Snapshots {
    pub(super) files: Arc<dyn Files>,
    pub(super) partition: u16,
    pub(super) epoch: u64,
    pub(super) virtual_clock: bool,
}

/// A snapshot that is intact.
pub(super) struct Loaded {
    pub(super) up_to: Seq,
    pub(super) count: usize,
    pub(super) epoch: u64,
    /// The first sequence that had not left the journal.
    pub(super) begins: Seq,
}

/// Writes a snapshot into the data folder `folder` of a journal of partition 0.
///
/// # Errors
/// The disk's; the snapshots before stay as they are.
pub fn write_snapshot(
    folder: &Path,
    up_to: Seq,
    changes: impl Iterator<Item = Change>,
) -> io::Result<()> {
    let files = Arc::new(RealFiles::new(folder));
    Snapshots { files, partition: 0, epoch: 0, virtual_clock: false }.write(up_to, changes)
}

impl Snapshots {
    /// Writes the state after `up_to`, which must be committed, and makes it durable. Then the
    /// snapshots before the previous one go.
    ///
    /// # Errors
    /// The disk's; the snapshots before stay as they are.
    pub fn write(&self, up_to: Seq, changes: impl Iterator<Item = Change>) -> io::Result<()> {
        let name = snapshot_name(up_to);
        let temporary = format!("{name}.tmp");
        match self.files.unlink(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = self.files.create(&temporary)?;
        let header = SegmentHeader {
            version: VERSION,
            partition: self.partition,
            first: up_to,
            epoch: self.epoch,
            last_at: Timestamp::default(),
            virtual_clock: self.virtual_clock,
        };
        let stamp = Stamp { partition: self.partition, epoch: self.epoch };
        let mut buffer = header.encode().to_vec();
        let (mut at, mut count) = (0u64, 0u32);
        let mut last_at = Timestamp::default();
        for change in changes {
            count = count.checked_add(1).ok_or_else(|| io::Error::other("too many changes"))?;
            let seq = Seq(u64::from(count));
            last_at = record::encode(&mut buffer, stamp, seq, &change, last_at).max(last_at);
            if buffer.len() >= PIECE {
                file.write_at(&buffer, at)?;
                // A gigabyte that is written back at once would stand before every commit.
                file.sync_data()?;
                at += buffer.len() as u64;
                buffer.clear();
            }
        }
        let mark = Head {
            kind: HeadKind::Sealed,
            first: up_to.next(),
            synced: up_to,
            epoch: self.epoch,
            length: at + buffer.len() as u64 - HEAD_LENGTH,
            count,
            partition: self.partition,
            segment: up_to,
            last_at,
        };
        buffer.extend_from_slice(&mark.encode());
        file.write_at(&buffer, at)?;
        file.sync_data()?;
        self.files.rename(&temporary, &name)?;
        self.files.sync_folder("")?;
        self.drop_old()
    }

    /// The newest intact snapshot and the sequence that it reaches.
    ///
    /// # Errors
    /// The disk's.
    pub fn newest(&self) -> io::Result<Option<(Seq, Stored)>> {
        for up_to in list(self.files.as_ref())?.into_iter().rev() {
            if load(self.files.as_ref(), up_to)?.is_ok() {
                return Ok(Some((up_to, Stored { files: Arc::clone(&self.files), up_to })));
            }
        }
        Ok(None)
    }

    fn drop_old(&self) -> io::Result<()> {
        let found = list(self.files.as_ref())?;
        for old in found.iter().rev().skip(KEPT) {
            self.files.unlink(&snapshot_name(*old))?;
        }
        if found.len() > KEPT { self.files.sync_folder("") } else { Ok(()) }
    }
}

/// The snapshots there are, oldest first.
pub(super) fn list(files: &dyn Files) -> io::Result<Vec<Seq>> {
    let mut found: Vec<Seq> =
        files.list("")?.iter().filter_map(|name| number(name, ".snapshot")).collect();
    found.sort_unstable();
    Ok(found)
}

/// A snapshot that was found intact, to be read; of sequence 0, where there is none: nothing.
///
/// Reading and decoding have a thread of their own, which ends with the visit: of ten million
/// changes they take as long as what the visitor does with them.
pub struct Stored {
    pub(super) files: Arc<dyn Files>,
    pub(super) up_to: Seq,
}

impl Snapshot for Stored {
    fn visit(&self, visit: &mut dyn FnMut(&Change)) -> Result<(), ReadError> {
        if self.up_to == Seq(0) {
            return Ok(());
        }
        let (out, ahead) = sync_channel(PIECES_AHEAD);
        let read = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("snapshot-read".to_owned());
            let reading = thread.spawn_scoped(scope, move || self.hand_over(&out))?;
            for changes in ahead {
                changes.iter().for_each(&mut *visit);
            }
            reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        read?.map(drop).map_err(|Damage { file, offset, .. }| ReadError::Damaged {
            seq: self.up_to,
            file,
            offset,
        })
    }
}

impl Stored {
    /// Reads the changes and hands them over in pieces, in order.
    fn hand_over(&self, out: &SyncSender<Vec<Change>>) -> io::Result<Result<Loaded, Damage>> {
        let mut seen = Seen::default();
        let mut changes = Vec::with_capacity(PIECE_CHANGES);
        let read = read(self.files.as_ref(), self.up_to, &mut |raw| {
            let Ok(Some(change)) = raw.change_among(&mut seen) else { return false };
            changes.push(change);
            // Nobody takes them any more only where the visitor has panicked.
            changes.len() < PIECE_CHANGES || out.send(std::mem::take(&mut changes)).is_ok()
        });
        drop(out.send(changes));
        read
    }
}

fn damaged(up_to: Seq, offset: u64) -> Damage {
    Damage::whole(DamageKind::Snapshot, snapshot_name(up_to), offset, Seq(1))
}

/// Checks the snapshot of `up_to`; where it is not what was written, the place.
pub(super) fn load(files: &dyn Files, up_to: Seq) -> io::Result<Result<Loaded, Damage>> {
    read(files, up_to, &mut |_| true)
}

/// Reads the snapshot of `up_to`, and has each record looked at; where it is not what was written, the place.
pub(super) fn read(
    files: &dyn Files,
    up_to: Seq,
    look: &mut dyn FnMut(Raw<'_>) -> bool,
) -> io::Result<Result<Loaded, Damage>> {
    let file = files.open(&snapshot_name(up_to))?;
    let mut view = View::new(file.as_ref(), PIECE)?;
    let broken = |offset| Ok(Err(damaged(up_to, offset)));
    let header = SegmentHeader::decode(view.from(0, HEAD)?)
        .filter(|header| header.first == up_to && header.version == VERSION);
    let Some(header) = header else { return broken(0) };
    let mut loaded = Loaded { up_to, count: 0, epoch: header.epoch, begins: Seq(1) };
    let mut at = HEAD_LENGTH;
    loop {
        if let Some(mark) = Head::decode(view.from(at, HEAD)?) {
            let fits = mark.length == at - HEAD_LENGTH && mark.segment == up_to;
            if !fits || mark.count as usize != loaded.count {
                return broken(at);
            }
            return Ok(Ok(loaded));
        }
        let Some(length) = record::claimed_length(view.from(at, record::HEADER)?) else {
            return broken(at);
        };
        let Some(raw) = Raw::at(view.from(at, length)?).filter(Raw::is_intact) else {
            return broken(at);
        };
        if raw.seq().0 != loaded.count as u64 + 1 || !look(raw) {
            return broken(at);
        }
        if raw.is_totals()
            && let Ok(Some(Change::Totals(totals))) = raw.change()
        {
            loaded.epoch = loaded.epoch.max(totals.epoch);
        } else if raw.is_retired()
            && let Ok(Some(Change::Retired { before, .. })) = raw.change()
        {
            loaded.begins = loaded.begins.max(before);
        }
        loaded.count += 1;
        at += length as u64;
    }
}
