//! Records: one change as bytes, format version 1.
//!
//! The header is of fixed size and holds what recovery needs without understanding the body;
//! the body is fields (`record/tlv.rs`), one set of tags for all types (`record/change.rs`).
//! Sealed bytes stand in the body; how they are sealed, and with which key, in the header.
//!
//! ```text
//!   0    4    8   9   10    11   12        14      16     20       28          36       44
//!   ├────┼────┼───┼───┼─────┼────┼─────────┼───────┼──────┼────────┼───────────┼────────┼──────
//!   │len │crc │ver│typ│flags│seal│partition│ zero  │key id│sequence│owner epoch│  time  │fields
//! ```
//!
//! `len` counts the whole record. `crc` is CRC32C over everything but itself. Flag bit 0: an
//! older reader may skip the record, or the fields in it, that it does not know.

mod carried;
mod change;
mod codes;
mod decode;
pub(super) mod tlv;

use super::keys::KeyRow;
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::change::Change;
pub(super) use decode::Seen;
use tlv::{Fields, Writer};

/// The version of the format that is written.
pub const FORMAT: u8 = 1;
/// The bytes of a record's header.
pub const HEADER: usize = 44;
/// No record is longer: a length above this is damage, not a length.
pub const LONGEST: usize = 64 << 20;
/// The flag of a record that an older reader may skip.
pub const SKIPPABLE: u8 = 1;

/// Bytes that are whole (their sum is right) and still make no record that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What all records of one owner share.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The journal partition.
    pub partition: u16,
    /// The owner's epoch.
    pub epoch: u64,
}

/// A record whose header could be read; its sum has not been checked yet.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    bytes: &'a [u8],
}

fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).copied().unwrap_or([0; N])
}

/// The length that a record's first bytes claim, where it can be one.
#[must_use]
pub fn claimed_length(head: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*head.first_chunk::<4>()?) as usize;
    (HEADER..=LONGEST).contains(&length).then_some(length)
}

impl<'a> Raw<'a> {
    /// The record at the start of `bytes`; `None` where there are too few of them.
    #[must_use]
    pub fn at(bytes: &'a [u8]) -> Option<Self> {
        let length = claimed_length(bytes)?;
        Some(Self { bytes: bytes.get(..length)? })
    }

    /// The length of the whole record.
    #[must_use]
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the stored sum fits the stored bytes.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        u32::from_le_bytes(get(self.bytes, 4)) == sum(self.bytes)
    }

    /// Its sequence.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq(u64::from_le_bytes(get(self.bytes, 20)))
    }

    /// The epoch of the owner that wrote it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        u64::from_le_bytes(get(self.bytes, 28))
    }

    /// The wall time it carries.
    #[must_use]
    pub fn at_time(&self) -> Timestamp {
        Timestamp::from_millis(i64::from_le_bytes(get(self.bytes, 36)))
    }

    /// The partition it belongs to.
    #[must_use]
    pub fn partition(&self) -> u16 {
        u16::from_le_bytes(get(self.bytes, 12))
    }

    /// The version of the format that it was written in.
    #[must_use]
    pub fn format(&self) -> u8 {
        get::<1>(self.bytes, 8)[0]
    }

    /// The sequence that the first bytes of a header claim, before anything is checked.
    pub(super) fn claimed_seq(head: &[u8]) -> u64 {
        u64::from_le_bytes(get(head, 20))
    }

    /// Whether it says that a daemon began to own the journal.
    pub(super) fn is_started(&self) -> bool {
        self.kind() == change::STARTED
    }

    /// Its type's number.
    #[must_use]
    pub fn kind(&self) -> u8 {
        get::<1>(self.bytes, 9)[0]
    }

    /// The change that it holds; `None` when it is of a type that may be skipped.
    ///
    /// # Errors
    /// [`Malformed`] when it is of a newer format, or not what any version of us wrote.
    pub fn change(&self) -> Result<Option<Change>, Malformed> {
        self.change_among(&mut Seen::default())
    }

    /// The same on a walk through many records, which has `seen` those before.
    pub(super) fn change_among(&self, seen: &mut Seen) -> Result<Option<Change>, Malformed> {
        if self.format() != FORMAT {
            return Err(Malformed("the record is of a newer format, a newer version can read it"));
        }
        let skippable = get::<1>(self.bytes, 10)[0] & SKIPPABLE != 0;
        let fields = Fields::parse(self.bytes.get(HEADER..).unwrap_or(&[]), skippable)?;
        let seal = Seal {
            algorithm: get::<1>(self.bytes, 11)[0],
            key_id: u32::from_le_bytes(get(self.bytes, 16)),
        };
        match decode::decode(self.kind(), self.at_time(), seal, &fields, seen)? {
            Some(change) => {
                fields.finish(skippable)?;
                Ok(Some(change))
            }
            None if skippable => Ok(None),
            None => Err(Malformed("the record's type is unknown, a newer version can read it")),
        }
    }

    /// The key of the intent in a record that holds an accepted transaction, without decoding
    /// the rest. Its sequence is the transaction's, also where that was forwarded.
    pub(super) fn key(&self) -> Option<KeyRow> {
        let kind = self.kind();
        if kind != change::ACCEPTED && kind != change::FORWARDED {
            return None;
        }
        let fields = Fields::parse(self.bytes.get(HEADER..)?, true).ok()?;
        let transaction =
            if kind == change::ACCEPTED { self.seq() } else { change::transaction_of(&fields)? };
        change::key_of(&fields, transaction)
    }

    /// Whether it holds the counters of a snapshot.
    pub(super) fn is_totals(&self) -> bool {
        self.kind() == change::TOTALS
    }

    /// Whether it stores or removes files.
    pub(super) fn is_about_blobs(&self) -> bool {
        matches!(self.kind(), change::BLOB_STORED | change::BLOBS_REMOVED)
    }

    /// Whether it notes the end of the audit log.
    pub(super) fn is_audit_noted(&self) -> bool {
        self.kind() == change::AUDIT_NOTED
    }

    /// Whether it says that segments may leave.
    pub(super) fn is_retired(&self) -> bool {
        self.kind() == change::RETIRED
    }
}

/// What the records of a kind say, in words; `unknown` where no kind has the number.
#[must_use]
pub fn kind_name(kind: u8) -> &'static str {
    change::KIND_NAMES.get(usize::from(kind)).copied().unwrap_or("unknown")
}

/// How the sealed bytes of a record are sealed; zero where it has none.
#[derive(Debug, Clone, Copy, Default)]
struct Seal {
    algorithm: u8,
    key_id: u32,
}

fn sum(record: &[u8]) -> u32 {
    let (length, rest) = record.split_at(4.min(record.len()));
    crc32c::crc32c_append(crc32c::crc32c(length), rest.get(4..).unwrap_or(&[]))
}

/// Appends the record of `change` to `out`. `fallback` is the time of changes that carry none.
///
/// Returns the time that the record carries.
pub fn encode(
    out: &mut Vec<u8>,
    stamp: Stamp,
    seq: Seq,
    change: &Change,
    fallback: Timestamp,
) -> Timestamp {
    let start = out.len();
    let at = change::time_of(change).unwrap_or(fallback);
    let seal = change::seal_of(change);
    let mut head = [0u8; HEADER];
    head[8] = FORMAT;
    head[9] = change::kind_of(change);
    head[11] = seal.algorithm;
    head[12..14].copy_from_slice(&stamp.partition.to_le_bytes());
    head[16..20].copy_from_slice(&seal.key_id.to_le_bytes());
    head[20..28].copy_from_slice(&seq.0.to_le_bytes());
    head[28..36].copy_from_slice(&stamp.epoch.to_le_bytes());
    head[36..44].copy_from_slice(&at.as_millis().to_le_bytes());
    out.extend_from_slice(&head);
    change::encode(&mut Writer { out }, change);
    finish(out, start);
    at
}

/// Enters length and sum into the record that begins at `start` and ends with the buffer.
fn finish(out: &mut [u8], start: usize) {
    let Some(record) = out.get_mut(start..) else { return };
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    if let Some(place) = record.get_mut(..4) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let crc = sum(record);
    if let Some(place) = record.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests;
