//! The journal: the truth about every transaction, on files.
//!
//! What is acknowledged is in here, synced, before anybody hears of it; everything else that
//! Holdover stores can be thrown away and made again from here. This module owns the bytes. It
//! knows changes (`engine::change`), not what they mean.
//!
//! # The folder
//!
//! ```text
//!   lock                            held (flock) by the process that owns the folder
//!   00000000000000000001.segment    records 1 to 131072, ended by its mark
//!   00000000000000000001.keys       the idempotency keys in it, sorted, with a filter
//!   00000000000000131073.segment    the segment that is being written
//!   00000000000000100000.snapshot   the live state after record 100000
//!   archive/                        segments and files that have left, as they were
//!   blobs/                          the files that submissions name, sealed (`blobs`)
//!   keys.sealed                     the data keys, wrapped by the master key (`seal`)
//!   *.tmp                           being made; removed at the next start
//! ```
//!
//! # The bytes
//!
//! All numbers are little-endian. Sums are CRC32C over everything in their structure but
//! themselves.
//!
//! ```text
//! segment   │ header 64 │ head 64 │ record │ record │ head 64 │ record │ … │ zeros           │
//!                        ╰────── batch ─────────────╯╰──── batch ─────╯     preallocated
//!
//! header    0         8     12      14          16       24      32        40          44
//!           │HOLDSEGM │ crc │version│ partition │ first  │ epoch │ last at │ 1: virtual│ zero │
//!                                                 sequence                    clock
//!
//! head      0      3      4     8        16         24      32       40     44          48        56
//!           │ HLD  │ kind │ crc │ first  │ synced   │ epoch │ length │count │ partition │ segment │ last at │
//!                   b batch      sequence  up to               of the records            first
//!                   c closed                                                             sequence
//!                   s sealed
//!
//! record    44 bytes of header, then fields: see `record`.
//! ```
//!
//! # The promises, and what they rest on
//!
//! - A batch is one write and one `fdatasync` into space that was zeroed and synced before, so
//!   that a sync touches no metadata and a torn end is recognisable.
//! - *Synced up to* stands in every head: the last sequence synced before this head was written.
//!   A missing or damaged record at or below the highest such number is damage, and so is a file
//!   that is missing: the journal does not open, or, quarantined, serves the rest, names what is
//!   lost and changes nothing in the folder. Above it stands the unsynced tail, which is cut, with everything behind its first hole.
//! - A segment leaves only when a record says that it may, when two snapshots hold its state and
//!   runs hold the keys of what was forwarded out of it. So a first segment that is missing is
//!   noticed too.
//! - A batch counts as a whole or not at all.
//! - A segment has its name only when it is whole; the one before is marked as ended only when
//!   its successor's name is durable. So a missing segment is noticed, also the last one, and a
//!   folder without segments is never an empty store: `Options::init` says that it is new.
//! - After the first failed write or sync nothing is written or synced any more.
//!
//! # Limits
//!
//! Damage to the very last synced batch cannot be told from an unsynced tail unless the journal
//! was closed cleanly or something was appended after it. One disk can detect rot, not mend it.
//! Old segments that a snapshot covers are not read at a start (`Options::check_everything`
//! does); their damage shows when they are read, and in `verify`.

#![warn(missing_docs)]

mod blobs;
#[cfg(feature = "sabotage")]
mod failing;
pub mod fault;
pub mod files;
mod keys;
mod layout;
pub mod memory;
mod reader;
pub mod record;
mod recovery;
mod retire;
pub mod sample;
mod scan;
pub mod seal;
mod segment;
mod snapshot;
pub mod verify;
mod writer;

use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::ports::{Journal, JournalReader, KeyRuns, Snapshot};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use blobs::{BlobStore, Settled};
pub use layout::{Damage, DamageKind};
pub use recovery::open_on;
pub use retire::{Left, Retirement};
pub use scan::Tail;
pub use snapshot::{Snapshots, Stored, write_snapshot};
pub use writer::Upkeep;

/// How a journal is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The partition that the journal is of.
    pub partition: u16,
    /// The size that new segments are made with.
    pub segment_bytes: u64,
    /// Whether a journal may be begun where the folder is absent or has none.
    pub init: bool,
    /// Whether to serve what is intact of a damaged journal.
    pub quarantine: bool,
    /// Whether to read old segments too that a snapshot makes unnecessary.
    pub check_everything: bool,
    /// Whether [`Upkeep`] is called regularly, so that the writer need not do its work.
    pub background_upkeep: bool,
    /// The wall time.
    pub now: Timestamp,
    /// How far `now` may be below the last journaled time.
    pub back_max: Duration,
    /// How far `now` may be above it.
    pub ahead_max: Duration,
    /// Whether a person has said that `now` is right, however far it is.
    pub clock_accepted: bool,
    /// Whether a driver moves the clock.
    pub virtual_clock: bool,
    /// The sync (1 is the first) that fails with EIO, once.
    #[cfg(feature = "sabotage")]
    pub fail_sync: Option<u64>,
}

impl Options {
    /// Partition 0, segments of 256 MiB, five seconds back, nothing permitted.
    #[must_use]
    pub fn new(now: Timestamp, virtual_clock: bool) -> Self {
        Self {
            partition: 0,
            segment_bytes: 256 << 20,
            init: false,
            quarantine: false,
            check_everything: false,
            background_upkeep: false,
            now,
            back_max: Duration::from_secs(5),
            ahead_max: Duration::MAX,
            clock_accepted: false,
            virtual_clock,
            #[cfg(feature = "sabotage")]
            fail_sync: None,
        }
    }
}

/// A journal that was opened.
pub struct Opened {
    /// The writer.
    pub journal: Box<dyn Journal>,
    /// The reader.
    pub reader: Arc<dyn JournalReader>,
    /// The keys of sealed segments.
    pub keys: Box<dyn KeyRuns>,
    /// The work beside the commits.
    pub upkeep: Upkeep,
    /// Lets old segments leave.
    pub retirement: Retirement,
    /// The writer of snapshots.
    pub snapshots: Snapshots,
    /// The newest intact snapshot; empty without one.
    pub snapshot: Box<dyn Snapshot>,
    /// The first sequence that the snapshot does not hold.
    pub replay_from: Seq,
    /// The last committed sequence; 0 when there is none.
    pub last: Seq,
    /// This owner's epoch: one more than any before.
    pub epoch: u64,
    /// The latest journaled time.
    pub last_at: Option<Timestamp>,
    /// What was found.
    pub report: RecoveryReport,
}

/// What opening found. To be logged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The unsynced tail that was cut, and the file that it was cut from.
    pub cut: Option<(String, Tail)>,
    /// What is damaged; anything only when quarantined.
    pub damage: Vec<Damage>,
    /// Snapshots that are damaged; an older one, or the journal alone, was used.
    pub snapshots_skipped: Vec<Damage>,
    /// First sequences of the segments whose runs of keys had to be made anew.
    pub runs_rebuilt: Vec<Seq>,
    /// How many segments there are.
    pub segments: u64,
    /// How many records were checked.
    pub records: u64,
    /// Whether the journal was closed in order.
    pub closed_cleanly: bool,
}

/// Why a journal was not opened. Nothing in the folder was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns the folder.
    #[error("another process has this data folder open, stop it first")]
    Locked,
    /// There is no journal, and none may be begun.
    #[error(
        "there is no journal here: if this is the first start, begin one with --init; if it is not, its disk is not mounted or data.folder, which counts from the working directory, names another place: beginning anew would know nothing of what was accepted there (no_journal)"
    )]
    NoJournal,
    /// A file that must be there is not.
    #[error(
        "{file} is missing from the data folder: restore it, or start with --quarantine to look at the rest"
    )]
    Missing {
        /// The file.
        file: String,
    },
    /// Something that was synced is not what was written.
    #[error(
        "{file} is damaged at byte {offset}, {records} records are lost from {first} on: restore the file, or start with --quarantine to look at the rest"
    )]
    Damaged {
        /// The file of the first damage.
        file: String,
        /// Where it begins.
        offset: u64,
        /// The first sequence that it hits.
        first: Seq,
        /// How many sequences are lost in all files.
        records: u64,
    },
    /// A newer version wrote it.
    #[error("{file} has a newer format at byte {offset}, use the version that wrote it")]
    Newer {
        /// The file.
        file: String,
        /// Where.
        offset: u64,
    },
    /// It belongs to another partition.
    #[error("{file} belongs to partition {found}, not to this one")]
    Partition {
        /// The file.
        file: String,
        /// Its partition.
        found: u16,
    },
    /// A driven clock must not touch what the real clock wrote, and the reverse.
    #[error("the data folder was written by {} clock, refusing to mix the two", if *driven { "a virtual" } else { "the real" })]
    OtherClock {
        /// Whether the folder's clock is a driver's.
        driven: bool,
    },
    /// The wall clock is further from what was journaled than it may be.
    #[error(
        "the clock says {now}, the journal was last written at {last_at}, which is too far apart: set the clock right and start again; if it is right as it is, look at a watch and start with --accept-clock TIME --reason TEXT and an operator's key (clock_apart)"
    )]
    ClockApart {
        /// The wall time.
        now: Timestamp,
        /// The latest journaled time.
        last_at: Timestamp,
    },
    /// The disk did not answer.
    #[error("the data folder cannot be used: {0}")]
    Io(#[from] std::io::Error),
}

/// Opens the journal in `folder`. Where there is none, [`Options::init`] says that the folder
/// may be created and a journal begun: a disk that is not mounted must not look like a first
/// start.
///
/// # Errors
/// See [`OpenError`].
pub fn open(folder: &Path, options: &Options) -> Result<Opened, OpenError> {
    if !folder.try_exists()? {
        if !options.init {
            return Err(OpenError::NoJournal);
        }
        files::RealFiles::create_folder(folder)?;
    }
    let real = files::RealFiles::new(folder);
    #[cfg(feature = "sabotage")]
    if let Some(sync) = options.fail_sync {
        return open_on(Arc::new(failing::FailingFiles::new(real, sync)), options);
    }
    open_on(Arc::new(real), options)
}
