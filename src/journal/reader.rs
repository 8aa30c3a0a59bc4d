//! Reading what has been committed, beside the writer.
//!
//! A record is found by the nearest place in its segment's index and a walk from there. Every
//! record is checked before it is handed out; one that is damaged is an error, never a guess. Its
//! file is then opened anew for it each time: once a person has restored the file, it is read.

use super::files::{File, View};
use super::layout::{HEAD, HEAD_LENGTH, HEAD_MAGIC, Head, HeadKind};
use super::record::{self, Raw, Seen};
use super::segment::{Segment, Store};
use crate::domain::ids::Seq;
use crate::engine::change::Change;
use crate::engine::ports::{JournalReader, ReadError};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How much is read at once for one record, for a sorted batch, and for a scan.
const ONE: usize = 32 << 10;
const MANY: usize = 256 << 10;
const ALL: usize = 2 << 20;

/// The reader of a journal on files.
#[derive(Clone)]
pub(super) struct FileReader(pub(super) Arc<Store>);

/// What stands at a place in a segment.
enum Item {
    /// A record of this length.
    Record(usize),
    /// A head or a marker, to be passed over.
    Head,
    /// The end of the segment.
    End,
    /// Bytes that are neither.
    Damage,
}

fn item(bytes: &[u8]) -> Item {
    if bytes.starts_with(&HEAD_MAGIC) {
        return match Head::decode(bytes).map(|head| head.kind) {
            Some(HeadKind::Batch | HeadKind::Closed) => Item::Head,
            Some(HeadKind::Sealed) => Item::End,
            None => Item::Damage,
        };
    }
    match record::claimed_length(bytes) {
        Some(length) => Item::Record(length),
        None if bytes.is_empty() => Item::End,
        None => Item::Damage,
    }
}

fn unknown(problem: record::Malformed) -> ReadError {
    ReadError::Io(io::Error::new(io::ErrorKind::Unsupported, problem))
}

/// A walk through one segment.
struct Walk<'s> {
    store: &'s Store,
    segment: &'s Segment,
    next: Option<Seq>,
    view: View<'s>,
    at: u64,
    /// The sequence of the record that comes next, as far as it is known.
    seq: u64,
}

impl<'s> Walk<'s> {
    fn new(
        store: &'s Store,
        segment: &'s Segment,
        next: Option<Seq>,
        piece: usize,
    ) -> io::Result<Self> {
        Self::over(segment.file.as_ref(), store, segment, next, piece)
    }

    /// A walk through `file`, which is the segment's.
    fn over(
        file: &'s dyn File,
        store: &'s Store,
        segment: &'s Segment,
        next: Option<Seq>,
        piece: usize,
    ) -> io::Result<Self> {
        let view = View::new(file, piece)?;
        Ok(Self { store, segment, next, view, at: u64::MAX, seq: u64::MAX })
    }

    /// Goes to the nearest place before `seq`, unless the walk is between the two already.
    fn near(&mut self, seq: Seq) -> io::Result<()> {
        let (place_seq, place) = self.store.place(self.segment, self.next, seq)?;
        if self.seq > seq.0 || self.at < place {
            (self.seq, self.at) = (place_seq, place);
        }
        Ok(())
    }

    /// The record `seq`, which must not be behind the walk.
    fn record(&mut self, seq: Seq) -> Result<Raw<'_>, ReadError> {
        let length = loop {
            match item(self.view.from(self.at, HEAD)?) {
                Item::Head => self.at += HEAD_LENGTH,
                Item::Record(length) => {
                    let found = Raw::claimed_seq(self.view.from(self.at, HEAD)?);
                    if found == seq.0 {
                        break length;
                    }
                    if found != self.seq || found > seq.0 {
                        self.jump(seq)?;
                        continue;
                    }
                    self.at += length as u64;
                    self.seq = found + 1;
                }
                Item::End => return Err(self.damaged(seq)),
                Item::Damage => self.jump(seq)?,
            }
        };
        let at = self.at;
        let damaged = self.damaged(seq);
        self.at += length as u64;
        self.seq = seq.0 + 1;
        let bytes = self.view.from(at, length)?;
        Raw::at(bytes).filter(Raw::is_intact).ok_or(damaged)
    }

    /// Past bytes that are not what was written: on to the next known place before `seq`.
    fn jump(&mut self, seq: Seq) -> Result<(), ReadError> {
        match self.store.place_after(self.segment, self.next, self.at)? {
            Some((found, place)) if found <= seq.0 => {
                (self.seq, self.at) = (found, place);
                Ok(())
            }
            Some(_) | None => Err(self.damaged(seq)),
        }
    }

    fn damaged(&self, seq: Seq) -> ReadError {
        ReadError::Damaged { seq, file: self.segment.name.clone(), offset: self.at }
    }
}

impl FileReader {
    /// The segment of `seq`, which must not be beyond `last` nor known to be damaged.
    fn check(&self, seq: Seq, last: Seq) -> Result<(Arc<Segment>, Option<Seq>), ReadError> {
        if let Some(damage) = self.0.damage_at(seq) {
            return Err(damage);
        }
        if seq.0 == 0 || seq > last {
            return Err(ReadError::Missing(seq));
        }
        self.0.locate(seq).ok_or(ReadError::Retired(seq))
    }

    fn at(&self, seq: Seq, last: Seq) -> Result<Change, ReadError> {
        let read = self.check(seq, last).and_then(|(segment, next)| {
            let mut walk = Walk::new(&self.0, &segment, next, ONE)?;
            walk.near(seq)?;
            decode(seq, walk.record(seq)?)
        });
        match read {
            Err(damaged @ ReadError::Damaged { .. }) => self.anew(seq, damaged),
            read => read,
        }
    }

    /// What stands elsewhere now, or may have been restored, is read by itself.
    fn once_more(&self, seq: Seq, read: Result<Change, ReadError>) -> Result<Change, ReadError> {
        match read {
            Err(ReadError::Retired(_) | ReadError::Damaged { .. }) => self.read(seq),
            read => read,
        }
    }

    /// Reads a record that is damaged from its file as it is now.
    fn anew(&self, seq: Seq, damaged: ReadError) -> Result<Change, ReadError> {
        let Some((segment, next)) = self.0.locate(seq) else { return Err(damaged) };
        let Ok(file) = self.0.files.open(&segment.name) else { return Err(damaged) };
        let mut walk = Walk::over(file.as_ref(), &self.0, &segment, next, ONE)?;
        walk.near(seq)?;
        match walk.record(seq) {
            Ok(raw) => decode(seq, raw),
            Err(ReadError::Damaged { file, offset, .. }) => {
                self.0.note_damage(&file, offset, seq);
                Err(damaged)
            }
            Err(other) => Err(other),
        }
    }
}

fn decode(seq: Seq, raw: Raw<'_>) -> Result<Change, ReadError> {
    raw.change().map_err(unknown)?.ok_or(ReadError::Missing(seq))
}

impl JournalReader for FileReader {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        let last = self.last();
        match self.at(seq, last) {
            Err(gone @ (ReadError::Retired(_) | ReadError::Damaged { .. })) => {
                let Some(place) = self.0.forwarded(seq) else { return Err(gone) };
                match self.at(place, last)? {
                    Change::Forwarded { transaction, accepted, .. } if transaction == seq => {
                        Ok(Change::Accepted(accepted))
                    }
                    _ => Err(gone),
                }
            }
            read => read,
        }
    }

    fn forwarded(&self, transaction: Seq) -> Option<Seq> {
        self.0.forwarded(transaction)
    }

    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let last = self.last();
        let mut seen = Seen::default();
        let mut seq = from.max(self.0.first());
        while seq <= last {
            let (segment, next) = self.0.locate(seq).ok_or(ReadError::Missing(seq))?;
            let mut walk = Walk::new(&self.0, &segment, next, ALL)?;
            walk.near(seq)?;
            let end = next.unwrap_or(last.next()).min(last.next());
            let any_damage = self.0.damage_in(seq, Seq(end.0 - 1)).is_some();
            let mut skipped = false;
            while seq < end {
                if any_damage && self.0.damage_at(seq).is_some() {
                    seq = seq.next();
                    skipped = true;
                    continue;
                }
                if std::mem::take(&mut skipped) {
                    // The lengths in a damaged stretch lead nowhere; the index knows its end.
                    walk.near(seq)?;
                }
                let raw = walk.record(seq)?;
                if let Some(change) = raw.change_among(&mut seen).map_err(unknown)?
                    && visit(seq, change).is_break()
                {
                    return Ok(());
                }
                seq = seq.next();
            }
        }
        Ok(())
    }

    fn read_many(&self, seqs: &[Seq], visit: &mut dyn FnMut(Seq, Result<Change, ReadError>)) {
        // What is committed after this is not looked for: the walk may have read its place before.
        let last = self.last();
        let mut rest = seqs;
        while let Some(&first) = rest.first() {
            let (segment, next) = match self.check(first, last) {
                Ok(found) => found,
                Err(error) => {
                    visit(first, self.once_more(first, Err(error)));
                    rest = rest.get(1..).unwrap_or(&[]);
                    continue;
                }
            };
            // One walk serves the sequences that rise within one segment.
            let mut walk = match Walk::new(&self.0, &segment, next, MANY) {
                Ok(walk) => walk,
                Err(error) => {
                    visit(first, Err(error.into()));
                    rest = rest.get(1..).unwrap_or(&[]);
                    continue;
                }
            };
            let mut taken = 0;
            for &seq in rest {
                if seq < segment.first || next.is_some_and(|next| seq >= next) {
                    break;
                }
                let read = self.check(seq, last).and_then(|_| {
                    walk.near(seq)?;
                    decode(seq, walk.record(seq)?)
                });
                visit(seq, self.once_more(seq, read));
                taken += 1;
            }
            rest = rest.get(taken.max(1)..).unwrap_or(&[]);
        }
    }

    fn damaged_in(&self, from: Seq, to: Seq) -> Option<ReadError> {
        self.0.damage_in(from, to)
    }

    fn last(&self) -> Seq {
        self.0.last()
    }
}
