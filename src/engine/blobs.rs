//! Stored files: which there are, who names them, and when one may go.
//!
//! The machine knows names, sizes and places, never a byte of them. A file is durable on the disk
//! before the change that makes it known, and is removed from the disk only after the change that
//! forgets it is durable; both are steps, so a submission that names a file and the removal of that
//! file cannot cross. A crash between leaves a file that nobody knows, which the next start puts away.
//!
//! A file stays as long as a record that names it is in the journal: what is still needed of an old
//! segment is written once more into the newest, so the last record that names it leaves only when
//! everything that named it has been final for as long as things are kept. One that nothing names goes
//! when `unnamed_after` has passed since it was stored, or sent again.

use super::change::{Blob, Change};
use super::event::{AttachmentFault, Done, Fault, NamedFile, Reply, Submission};
use super::machine::Machine;
use super::step::{Decision, Effect};
use crate::domain::ids::{BlobName, InstitutionCode, Seq};
use crate::domain::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// Files that are looked at in one sweep: well below a millisecond.
const SWEEP: usize = 4096;

/// How much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobUse {
    /// Files.
    pub files: u64,
    /// Their bytes, before they were sealed.
    pub bytes: u64,
}

/// The files of all institutions. Bounded by `attachments.files_max`.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    known: BTreeMap<BlobName, Blob>,
    used: HashMap<InstitutionCode, BlobUse>,
    bytes: u64,
    /// How far the last sweep came. This process only.
    swept: Option<BlobName>,
}

impl Blobs {
    fn insert(&mut self, blob: Blob) {
        self.remove(blob.name);
        let used = self.used.entry(blob.institution.clone()).or_default();
        (used.files, used.bytes) = (used.files + 1, used.bytes + blob.bytes);
        self.bytes += blob.bytes;
        self.known.insert(blob.name, blob);
    }

    fn remove(&mut self, name: BlobName) {
        let Some(blob) = self.known.remove(&name) else { return };
        self.bytes -= blob.bytes;
        if let Some(used) = self.used.get_mut(&blob.institution) {
            (used.files, used.bytes) = (used.files - 1, used.bytes - blob.bytes);
            if used.files == 0 {
                self.used.remove(&blob.institution);
            }
        }
    }

    /// Folds what `change`, the record `seq`, says of files. Of every other change it says nothing.
    pub(super) fn apply(&mut self, seq: Seq, change: &Change) {
        if let Change::Accepted(accepted) | Change::Forwarded { accepted, .. } = change {
            for name in &accepted.blobs {
                if let Some(blob) = self.known.get_mut(name) {
                    blob.named = blob.named.max(Some(seq));
                }
            }
        } else if let Change::BlobStored(blob) = change {
            self.insert(blob.clone());
        } else if let Change::BlobsRemoved { names, .. } = change {
            names.iter().for_each(|name| self.remove(*name));
        }
    }

    /// Each as the change that stores it.
    pub(super) fn carried(&self) -> impl Iterator<Item = Change> + '_ {
        self.known.values().cloned().map(Change::BlobStored)
    }
}

impl Machine {
    /// The stored file of this name.
    #[must_use]
    pub fn blob(&self, name: BlobName) -> Option<&Blob> {
        self.blobs.known.get(&name)
    }

    /// Every stored file, by name.
    pub fn blobs(&self) -> impl Iterator<Item = &Blob> {
        self.blobs.known.values()
    }

    /// How much is stored for all institutions.
    #[must_use]
    pub fn blobs_used(&self) -> BlobUse {
        BlobUse { files: self.blobs.known.len() as u64, bytes: self.blobs.bytes }
    }

    /// Whether a file of `bytes` more may be stored for `institution`.
    ///
    /// # Errors
    /// [`Fault::Full`].
    pub fn may_store(&self, institution: &InstitutionCode, bytes: u64) -> Result<(), Fault> {
        let limits = &self.settings.limits;
        let used = self.blobs.used.get(institution).copied().unwrap_or_default();
        if used.bytes.saturating_add(bytes) > limits.institution_blob_bytes_max {
            return Err(Fault::Full("bytes of attachments of this institution"));
        }
        if self.blobs.known.len() as u64 >= limits.blobs_max {
            return Err(Fault::Full("attachments"));
        }
        Ok(())
    }

    /// Makes a file known that is durable by now. One of the same name is known already, unless
    /// this one is to `replace` just that. One that `replaces` itself came again: it is kept from now
    /// on, where it is known still.
    pub(super) fn store_blob(
        &mut self,
        mut blob: Blob,
        replaces: Option<u64>,
        now: Timestamp,
        out: &mut Decision,
    ) -> Reply {
        if self.stopping {
            return Reply::Unavailable;
        }
        let known = self.blob(blob.name).map(|known| (known.file, known.named));
        match known {
            Some((file, _)) if replaces != Some(file) => return Reply::Done(Done::Blob(false)),
            Some((file, named)) => {
                blob.named = named;
                if file != blob.file {
                    out.effects.push(Effect::BlobsLeft(vec![(blob.name, file)]));
                }
            }
            None if replaces == Some(blob.file) => return Reply::Done(Done::Blob(false)),
            None => {
                if let Err(full) = self.may_store(&blob.institution, blob.bytes) {
                    return Reply::Invalid(full);
                }
            }
        }
        blob.at = now;
        self.push(out, Change::BlobStored(blob));
        Reply::Done(Done::Blob(true))
    }

    /// Forgets some of what nothing names any more.
    pub(super) fn sweep_blobs(&mut self, now: Timestamp, out: &mut Decision) {
        let limits = &self.settings.limits;
        let unnamed = now.before(limits.unnamed_blob_after);
        let from = self.blobs.swept.map_or(Bound::Unbounded, Bound::Excluded);
        let stretch = self.blobs.known.range((from, Bound::Unbounded)).take(SWEEP);
        let (mut seen, mut leaving) = (0, Vec::new());
        for (name, blob) in stretch {
            (seen, self.blobs.swept) = (seen + 1, Some(*name));
            let is_named = blob.named.is_some_and(|named| named >= self.begins);
            if !is_named && blob.at <= unnamed {
                leaving.push((*name, blob.file));
            }
        }
        if seen < SWEEP {
            self.blobs.swept = None;
        }
        if !leaving.is_empty() {
            let names = leaving.iter().map(|(name, _)| *name).collect();
            self.push(out, Change::BlobsRemoved { names, at: now });
            out.effects.push(Effect::BlobsLeft(leaving));
        }
    }

    /// The stored files that `s` names. Where `all` must be stored, one that is not is a fault; one
    /// of another size or kind always is.
    pub(super) fn named_blobs(&self, s: &Submission, all: bool) -> Result<Vec<BlobName>, Fault> {
        let (mut names, mut faults) = (Vec::new(), Vec::new());
        for (place, named) in s.files.iter().enumerate() {
            let NamedFile { name, bytes, content } = named;
            let wrong = match self.blob(*name) {
                None if all => AttachmentFault::NotStored,
                None => continue,
                Some(blob) if blob.bytes != *bytes => AttachmentFault::OtherSize,
                Some(blob) if content.is_some_and(|content| content != blob.content) => {
                    AttachmentFault::OtherContent
                }
                Some(_) => {
                    if !names.contains(name) {
                        names.push(*name);
                    }
                    continue;
                }
            };
            faults.push((place, wrong));
        }
        if faults.is_empty() { Ok(names) } else { Err(Fault::Attachments(faults)) }
    }
}
