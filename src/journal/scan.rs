//! Reading a segment from end to end and telling damage from an unsynced tail.
//!
//! A batch counts when its head and every record in it are intact; a batch that is torn counts
//! for nothing, so what is decided together is recovered together. Where the next batch is not
//! intact, what follows decides: a later head that says "synced" of the missing sequence proves
//! damage; without one the rest is the tail that no one was promised.

use super::files::{File, View};
use super::keys::Keys;
use super::layout::{Damage, HEAD, HEAD_LENGTH, HEAD_MAGIC, Head, HeadKind};
use super::record::{self, FORMAT, Raw};
use crate::domain::ids::Seq;
use crate::domain::time::Timestamp;
use crate::engine::change::{AuditHead, Change};
use std::io;

/// How many bytes are read at once.
const PIECE: usize = 4 << 20;
/// Every how many records the index holds a place.
pub(super) const STRIDE: u64 = 64;

/// The unsynced rest of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where it begins.
    pub offset: u64,
    /// How many bytes there are up to the last that is not zero.
    pub bytes: u64,
}

/// What to look for in a segment.
pub(super) struct Task<'a> {
    pub(super) file: &'a dyn File,
    pub(super) name: &'a str,
    pub(super) first: Seq,
    /// Everything up to here is known to have been synced, from elsewhere.
    pub(super) floor: Seq,
    /// Whether to collect the keys of accept records.
    pub(super) keys: bool,
    /// Whether to collect what is said of stored files.
    pub(super) blobs: bool,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where the next batch goes.
    pub(super) end: u64,
    /// The next sequence.
    pub(super) next: u64,
    /// The highest sequence that is known to have been synced.
    pub(super) synced: u64,
    /// Where the last batch or marker begins: the one whose sync nobody has vouched for.
    pub(super) latest: u64,
    pub(super) sealed: bool,
    pub(super) closed: bool,
    pub(super) records: u64,
    pub(super) batches: u64,
    pub(super) damage: Vec<Damage>,
    pub(super) tail: Option<Tail>,
    pub(super) index: Vec<(u64, u64)>,
    pub(super) keys: Keys,
    /// The first sequence that stays, where a record in it says that earlier ones may leave.
    pub(super) begins: Seq,
    /// The end of the audit log as it is noted last in it.
    pub(super) audit: Option<AuditHead>,
    /// The changes in it that store or remove files, in order; where they were asked for.
    pub(super) blobs: Vec<Change>,
    pub(super) last_at: Option<Timestamp>,
    pub(super) epoch: u64,
    pub(super) virtual_clock: Option<bool>,
    /// Where a record of a newer format stands.
    pub(super) newer: Option<u64>,
    by_kind: [u64; 32],
    index_next: bool,
}

/// Scans a segment.
pub(super) fn scan(task: &Task<'_>) -> io::Result<Scan> {
    let mut view = View::new(task.file, PIECE)?;
    let mut found = Scan {
        end: HEAD_LENGTH,
        latest: HEAD_LENGTH,
        next: task.first.0,
        synced: task.floor.0,
        ..Scan::default()
    };
    while !found.sealed {
        if found.take_next(task, &mut view)? {
            continue;
        }
        let at = found.end;
        let (next_head, last_byte) = find_head(task, &mut view, at, found.next)?;
        if next_head.is_some() || found.synced >= found.next {
            let end = next_head.as_ref().map_or(view.length(), |(offset, _)| *offset);
            let limit = next_head.as_ref().map_or(found.synced + 1, |(_, head)| head.first.0);
            found.salvage(task, &mut view, end, limit)?;
            found.latest = found.end;
            if next_head.is_none() {
                break;
            }
        } else {
            found.tail = last_byte.map(|last| Tail { offset: at, bytes: last + 1 - at });
            break;
        }
    }
    Ok(found)
}

impl Scan {
    /// How many records of each kind there are, by the kinds' numbers.
    pub(super) fn by_kind(&self) -> &[u64] {
        &self.by_kind
    }

    /// Takes the intact batch or marker at `end`; `false` where there is none.
    fn take_next(&mut self, task: &Task<'_>, view: &mut View<'_>) -> io::Result<bool> {
        let at = self.end;
        let Some(head) = Head::decode(view.from(at, HEAD)?) else { return Ok(false) };
        let fits = at + HEAD_LENGTH + head.length <= view.length();
        if head.segment != task.first || head.first.0 != self.next || !fits {
            return Ok(false);
        }
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let records = view.from(at + HEAD_LENGTH, length)?.get(..length).unwrap_or(&[]);
        if head.kind == HeadKind::Batch && !batch_is_intact(&head, records) {
            return Ok(false);
        }
        self.synced = self.synced.max(head.synced.0);
        self.epoch = self.epoch.max(head.epoch);
        self.closed = head.kind == HeadKind::Closed;
        self.sealed = head.kind == HeadKind::Sealed;
        self.end = at + HEAD_LENGTH + head.length;
        self.latest = at;
        if head.kind == HeadKind::Batch {
            self.batches += 1;
            let mut offset = 0usize;
            while let Some(raw) = records.get(offset..).and_then(Raw::at) {
                self.take(task, raw, at + HEAD_LENGTH + offset as u64);
                offset += raw.length();
            }
        }
        // The writer's word, which may be earlier than that of the batch before.
        self.last_at = Some(head.last_at);
        Ok(true)
    }

    fn take(&mut self, task: &Task<'_>, raw: Raw<'_>, offset: u64) {
        let seq = raw.seq().0;
        if self.index_next || (seq - task.first.0).is_multiple_of(STRIDE) {
            self.index.push((seq, offset));
            self.index_next = false;
        }
        self.next = seq + 1;
        self.records += 1;
        if let Some(count) = self.by_kind.get_mut(usize::from(raw.kind())) {
            *count += 1;
        }
        self.epoch = self.epoch.max(raw.epoch());
        self.last_at = self.last_at.max(Some(raw.at_time()));
        if raw.format() != FORMAT {
            self.newer.get_or_insert(offset);
        } else if raw.is_started()
            && let Ok(Some(Change::Started { virtual_clock, .. })) = raw.change()
        {
            self.virtual_clock = Some(virtual_clock);
        } else if raw.is_retired()
            && let Ok(Some(Change::Retired { before, .. })) = raw.change()
        {
            self.begins = self.begins.max(before);
        } else if raw.is_audit_noted()
            && let Ok(Some(Change::AuditNoted { head, .. })) = raw.change()
        {
            self.audit = Some(head);
        } else if task.blobs
            && raw.is_about_blobs()
            && let Ok(Some(change)) = raw.change()
        {
            self.blobs.push(change);
        }
        if task.keys
            && let Some(row) = raw.key()
        {
            self.keys.take(row, Seq(seq));
        }
    }

    /// Takes every intact record between `end` and `limit_offset` whose sequence is below
    /// `limit`, in order, and lists what is missing as damaged.
    fn salvage(
        &mut self,
        task: &Task<'_>,
        view: &mut View<'_>,
        limit_offset: u64,
        limit: u64,
    ) -> io::Result<()> {
        let start = self.end;
        let mut bad_from = start;
        let mut lost_any = false;
        let mut at = start;
        while at < limit_offset && self.next < limit {
            let bytes = view.from(at, record::HEADER)?;
            let length = match record::claimed_length(bytes) {
                Some(length) if at + length as u64 <= limit_offset => length,
                _ => {
                    at += 1;
                    continue;
                }
            };
            let seq = Raw::claimed_seq(bytes);
            if !(self.next..limit).contains(&seq) {
                at += 1;
                continue;
            }
            let raw = Raw::at(view.from(at, length)?).filter(Raw::is_intact);
            let Some(raw) = raw else {
                at += 1;
                continue;
            };
            if seq > self.next {
                self.lose(task, bad_from, seq);
                lost_any = true;
            }
            self.index_next = true;
            self.take(task, raw, at);
            at += length as u64;
            bad_from = at;
        }
        if self.next < limit {
            self.lose(task, bad_from, limit);
        } else if !lost_any {
            self.damage.push(Damage::frame(task.name, start, Seq(self.next)));
        }
        self.index_next = true;
        self.next = limit;
        self.end = limit_offset;
        Ok(())
    }

    fn lose(&mut self, task: &Task<'_>, offset: u64, next_good: u64) {
        let lost = Damage::records(task.name, offset, Seq(self.next), Seq(next_good));
        self.damage.push(lost);
    }
}

fn batch_is_intact(head: &Head, records: &[u8]) -> bool {
    let (mut offset, mut count) = (0usize, 0u32);
    while offset < records.len() {
        let Some(raw) = records.get(offset..).and_then(Raw::at) else { return false };
        let expected = head.first.0 + u64::from(count);
        if raw.seq().0 != expected || !raw.is_intact() {
            return false;
        }
        offset += raw.length();
        count += 1;
    }
    count == head.count && count > 0
}

/// The next head with its place, and the last byte that is not zero.
type Ahead = (Option<(u64, Head)>, Option<u64>);

/// The next head after `from` that proves `seq`, or what stood before it, to have been synced;
/// else the last byte that is not zero.
fn find_head(task: &Task<'_>, view: &mut View<'_>, from: u64, seq: u64) -> io::Result<Ahead> {
    let mut last_byte = None;
    let mut at = from;
    while at < view.length() {
        let bytes = view.from(at, HEAD)?;
        if bytes.is_empty() {
            break;
        }
        if bytes.iter().any(|&b| b != 0) {
            let last = bytes.iter().rposition(|&b| b != 0).unwrap_or(0);
            last_byte = Some(at + last as u64);
            for (index, window) in bytes.windows(HEAD).enumerate() {
                if !window.starts_with(&HEAD_MAGIC) || at + index as u64 == from {
                    continue;
                }
                let proves = |h: &Head| {
                    h.segment == task.first
                        && (h.first.0 == seq || (h.first.0 > seq && h.synced.0 >= seq))
                };
                let head = Head::decode(window).filter(proves);
                if let Some(head) = head {
                    return Ok((Some((at + index as u64, head)), None));
                }
            }
        }
        // The last bytes are seen again: a head may lie across the edge.
        let step = bytes.len().saturating_sub(HEAD - 1).max(1) as u64;
        if at + bytes.len() as u64 >= view.length() {
            break;
        }
        at += step;
    }
    Ok((None, last_byte))
}
