//! The bytes around records: the header of a segment, the head of a batch, the two markers,
//! and the names of files. Nothing here reads or writes a disk.

use crate::domain::cell::words;
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;

/// The bytes of a segment's header, and of a batch's head, and of a marker.
pub(super) const HEAD: usize = 64;
/// The same, as a distance in a file.
pub(super) const HEAD_LENGTH: u64 = HEAD as u64;
/// The version of segments, snapshots and runs that is written.
pub(super) const VERSION: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"HOLDSEGM";
/// What every head in a segment begins with.
pub(super) const HEAD_MAGIC: [u8; 3] = *b"HLD";

fn get<const N: usize>(bytes: &[u8; HEAD], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

fn put(bytes: &mut [u8; HEAD], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// What a header says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) version: u16,
    pub(super) partition: u16,
    pub(super) first: Seq,
    pub(super) epoch: u64,
    /// The latest time journaled before the segment.
    pub(super) last_at: Timestamp,
    pub(super) virtual_clock: bool,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        put(&mut bytes, 0, &SEGMENT_MAGIC);
        put(&mut bytes, 12, &self.version.to_le_bytes());
        put(&mut bytes, 14, &self.partition.to_le_bytes());
        put(&mut bytes, 16, &self.first.0.to_le_bytes());
        put(&mut bytes, 24, &self.epoch.to_le_bytes());
        put(&mut bytes, 32, &self.last_at.as_millis().to_le_bytes());
        put(&mut bytes, 40, &u32::from(self.virtual_clock).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[12..]);
        put(&mut bytes, 8, &crc.to_le_bytes());
        bytes
    }

    /// `None` where these bytes are no header, or a damaged one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEAD>()?;
        let crc = u32::from_le_bytes(get(bytes, 8));
        if get(bytes, 0) != SEGMENT_MAGIC || crc != crc32c::crc32c(&bytes[12..]) {
            return None;
        }
        Some(Self {
            version: u16::from_le_bytes(get(bytes, 12)),
            partition: u16::from_le_bytes(get(bytes, 14)),
            first: Seq(u64::from_le_bytes(get(bytes, 16))),
            epoch: u64::from_le_bytes(get(bytes, 24)),
            last_at: Timestamp::from_millis(i64::from_le_bytes(get(bytes, 32))),
            virtual_clock: u32::from_le_bytes(get(bytes, 40)) & 1 != 0,
        })
    }
}

/// What stands behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    /// A batch of records.
    Batch,
    /// Nothing: the journal was closed here, everything before is synced.
    Closed,
    /// Nothing: the segment ends here, everything before is synced, the next segment exists.
    Sealed,
}

/// The head of a batch, or a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: HeadKind,
    /// The first sequence behind it; for a marker the next that there will be.
    pub(super) first: Seq,
    /// Everything up to here was synced before this head was written.
    pub(super) synced: Seq,
    pub(super) epoch: u64,
    /// The bytes of the records behind it.
    pub(super) length: u64,
    pub(super) count: u32,
    pub(super) partition: u16,
    /// The first sequence of the segment that it belongs to.
    pub(super) segment: Seq,
    /// The latest time journaled, with this batch.
    pub(super) last_at: Timestamp,
}

impl Head {
    pub(super) fn encode(&self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        put(&mut bytes, 0, &HEAD_MAGIC);
        bytes[3] = match self.kind {
            HeadKind::Batch => b'b',
            HeadKind::Closed => b'c',
            HeadKind::Sealed => b's',
        };
        put(&mut bytes, 8, &self.first.0.to_le_bytes());
        put(&mut bytes, 16, &self.synced.0.to_le_bytes());
        put(&mut bytes, 24, &self.epoch.to_le_bytes());
        put(&mut bytes, 32, &self.length.to_le_bytes());
        put(&mut bytes, 40, &self.count.to_le_bytes());
        put(&mut bytes, 44, &self.partition.to_le_bytes());
        put(&mut bytes, 48, &self.segment.0.to_le_bytes());
        put(&mut bytes, 56, &self.last_at.as_millis().to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// `None` where these bytes are no head, or a damaged one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEAD>()?;
        let kind = match bytes {
            [b'H', b'L', b'D', b'b', ..] => HeadKind::Batch,
            [b'H', b'L', b'D', b'c', ..] => HeadKind::Closed,
            [b'H', b'L', b'D', b's', ..] => HeadKind::Sealed,
            _ => return None,
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..]);
        if crc != u32::from_le_bytes(get(bytes, 4)) {
            return None;
        }
        Some(Self {
            kind,
            first: Seq(u64::from_le_bytes(get(bytes, 8))),
            synced: Seq(u64::from_le_bytes(get(bytes, 16))),
            epoch: u64::from_le_bytes(get(bytes, 24)),
            length: u64::from_le_bytes(get(bytes, 32)),
            count: u32::from_le_bytes(get(bytes, 40)),
            partition: u16::from_le_bytes(get(bytes, 44)),
            segment: Seq(u64::from_le_bytes(get(bytes, 48))),
            last_at: Timestamp::from_millis(i64::from_le_bytes(get(bytes, 56))),
        })
    }
}

/// The name of the segment that begins with `first`.
pub(super) fn segment_name(first: Seq) -> String {
    format!("{:020}.segment", first.0)
}

/// The name of the run of keys of the segment that begins with `first`.
pub(super) fn run_name(first: Seq) -> String {
    format!("{:020}.keys", first.0)
}

/// The name of the snapshot of everything up to `up_to`.
pub(super) fn snapshot_name(up_to: Seq) -> String {
    format!("{:020}.snapshot", up_to.0)
}

/// The number in a name that ends like this.
pub(super) fn number(name: &str, ending: &str) -> Option<Seq> {
    let digits = name.strip_suffix(ending)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Seq)).flatten()
}

words!(
    /// What is damaged.
    DamageKind, "damage", {
        /// Records are not what was written.
        Records = "records",
        /// What stands around records is not what was written: a header, a head, a mark.
        Frame = "frame",
        /// A segment is missing.
        SegmentMissing = "segment_missing",
        /// A snapshot is not what was written.
        Snapshot = "snapshot",
        /// A run of keys is not what was written.
        Keys = "keys",
        /// The data keys are missing, or not what was written.
        DataKeys = "data_keys",
        /// A stored file is missing, or not what was written.
        Attachment = "attachment",
    }
);

/// A stretch of a file whose bytes are not what was written and synced there, or a whole file
/// that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is damaged.
    pub kind: DamageKind,
    /// The file, within the data folder.
    pub file: String,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The first sequence that cannot be read.
    pub first: Seq,
    /// How many sequences from there on cannot be read. 0: no record is lost, only what stands
    /// around them; of a missing segment with nothing behind it: nobody knows how many.
    pub records: u64,
    /// Whether a start does without what stood here, because a snapshot covers it.
    pub covered: bool,
}

impl Damage {
    /// Records from `first` to before `next` that are not what was written at `offset` of `file`.
    pub(super) fn records(file: &str, offset: u64, first: Seq, next: Seq) -> Self {
        let (kind, file) = (DamageKind::Records, file.to_owned());
        Self { kind, file, offset, first, records: next.0 - first.0, covered: false }
    }

    /// What stands around records, at `offset` of `file`, before `first`.
    pub(super) fn frame(file: &str, offset: u64, first: Seq) -> Self {
        Self::whole(DamageKind::Frame, file.to_owned(), offset, first)
    }

    /// The segment that begins with `first`, and all up to `next` where that is known.
    pub(super) fn missing(first: Seq, next: Option<Seq>) -> Self {
        let (kind, file) = (DamageKind::SegmentMissing, segment_name(first));
        let records = next.map_or(0, |next| next.0.saturating_sub(first.0));
        Self { records, ..Self::whole(kind, file, 0, first) }
    }

    /// Damage at `offset` of `file` that loses no record by itself.
    pub(super) fn whole(kind: DamageKind, file: String, offset: u64, first: Seq) -> Self {
        Self { kind, file, offset, first, records: 0, covered: false }
    }

    /// The sequences that cannot be read, from the first to the last; `None` where none is lost.
    /// The last is `None` where nobody knows it.
    #[must_use]
    pub fn lost(&self) -> Option<(Seq, Option<Seq>)> {
        match (self.kind, self.records) {
            (DamageKind::SegmentMissing, 0) => Some((self.first, None)),
            (_, 0) => None,
            (_, records) => Some((self.first, Some(Seq(self.first.0 + records - 1)))),
        }
    }

    /// What it is, in one sentence.
    #[must_use]
    pub fn message(&self) -> String {
        let lost = match self.lost() {
            Some((first, Some(last))) if first == last => format!("record {first} is lost"),
            Some((first, Some(last))) => format!("records {first} to {last} are lost"),
            Some((first, None)) => format!("every record from {first} on is lost"),
            None if self.kind == DamageKind::Snapshot => {
                "what it held must come from the segments before it".to_owned()
            }
            None if self.kind == DamageKind::DataKeys => {
                "nothing that is sealed can be opened".to_owned()
            }
            None if self.kind == DamageKind::Attachment => {
                "what names it cannot be sent".to_owned()
            }
            None => "no record is lost".to_owned(),
        };
        let what = match self.kind {
            DamageKind::Records => "records are not what was written",
            DamageKind::Frame => "what stands around the records is not what was written",
            DamageKind::SegmentMissing => "the segment is missing",
            DamageKind::Snapshot => "the snapshot is not what was written",
            DamageKind::Keys => "the run of keys is not what was written",
            DamageKind::DataKeys => "the data keys are missing or not what was written",
            DamageKind::Attachment => "the attachment is missing or not what was written",
        };
        format!("{what}: {lost}")
    }

    /// What a person does about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        match self.kind {
            DamageKind::Records | DamageKind::Frame if self.covered => {
                "restore this file from a copy; a plain start serves without it, because a snapshot \
                 covers these records: what waits among them becomes a dead letter, the rest is \
                 only never shown"
            }
            DamageKind::Records | DamageKind::Frame => {
                "restore this file from a copy; without one, serve --quarantine lets the intact \
                 rest be looked at"
            }
            DamageKind::SegmentMissing => {
                "restore this file and those that are missing behind it, from a copy or, where they \
                 had left the journal, from archive/; without them, serve --quarantine lets the \
                 rest be looked at"
            }
            DamageKind::Snapshot => {
                "restore this file from a copy; where the segments before it are here, or come back \
                 from archive/, the next start does without it"
            }
            DamageKind::Keys => "nothing: the next start makes it again from its segment",
            DamageKind::DataKeys => "restore this file from a copy; without it nothing starts",
            DamageKind::Attachment => {
                "restore this file from a copy, or have its submitter upload it again; then redrive \
                 what became a dead letter for it"
            }
        }
    }

    /// Whether any sequence from `from` to `to` is lost.
    pub(super) fn hits(&self, from: Seq, to: Seq) -> bool {
        let lost = self.lost();
        lost.is_some_and(|(first, last)| first <= to && last.is_none_or(|last| from <= last))
    }
}
