//! What the engine needs from the world. Adapters implement these; the engine never names one.

use super::change::{Blob, Change, Private, Sealed};
use super::clock::Doubt;
use crate::domain::attachment::{Content, Digest};
use crate::domain::ids::{
    AttemptNo, BlobName, Fingerprint, IdempotencyKey, InstitutionCode, InsuredHash, KeyHash,
    OrderingKey, Seq, TransactionId,
};
use crate::domain::outcome::{Finding, Outcome};
use crate::domain::state::State;
use crate::domain::time::{Now, Timestamp};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

/// Why a commit failed. None of these was acknowledged to anybody.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// There was no room; nothing was written and the journal is intact.
    #[error("the journal's disk is full: {0}")]
    Full(std::io::Error),
    /// Another owner has taken over; this one must stop.
    #[error("another owner has taken the journal over")]
    Fenced,
    /// Nobody knows what is on the disk: the journal is poisoned and the process must exit.
    #[error("a write to the journal failed, its end is unknown until recovery: {0}")]
    Unknown(std::io::Error),
}

/// The truth: an append-only list of changes.
///
/// Contract: `append` returns `Ok` only when every change given, and everything before it, will
/// survive a power cut. After `Unknown` every further call returns `Unknown`. One owner only.
pub trait Journal: Send {
    /// Makes `changes` durable. Sequences are consecutive and continue the last call's.
    ///
    /// # Errors
    /// See [`AppendError`].
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError>;

    /// Writes the marker of a clean stop and closes.
    ///
    /// # Errors
    /// See [`AppendError`].
    fn close(self: Box<Self>) -> Result<(), AppendError>;
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such record.
    #[error("no record {0}")]
    Missing(Seq),
    /// The record was final for as long as records are kept, and left with its segment.
    #[error("record {0} has left the journal, look for it in the archive")]
    Retired(Seq),
    /// The record is damaged.
    #[error("record {seq} is damaged: {file} at byte {offset}")]
    Damaged {
        /// Its sequence.
        seq: Seq,
        /// The file.
        file: String,
        /// The byte offset in it.
        offset: u64,
    },
    /// The disk did not answer.
    #[error("the journal cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

/// Reads what has been committed. Cheap to share; safe beside the writer.
pub trait JournalReader: Send + Sync {
    /// The change `seq`; of a transaction that was forwarded, its accept record.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, seq: Seq) -> Result<Change, ReadError>;

    /// Visits the changes from `from`, or from the first that is left where that is later, to
    /// the last committed one, in order, until told to stop. Records that are known to be damaged
    /// are passed over: see [`JournalReader::damaged_in`].
    ///
    /// # Errors
    /// See [`ReadError`]; the visit ends there.
    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError>;

    /// Reads the changes `seqs`, best in rising order, and visits each with what came of it.
    fn read_many(&self, seqs: &[Seq], visit: &mut dyn FnMut(Seq, Result<Change, ReadError>)) {
        for &seq in seqs {
            visit(seq, self.read(seq));
        }
    }

    /// Where the accept record of `transaction` was written once more, if it was.
    fn forwarded(&self, transaction: Seq) -> Option<Seq> {
        let _ = transaction;
        None
    }

    /// The first record from `from` to `to` that a scan of them has passed over as damaged.
    fn damaged_in(&self, from: Seq, to: Seq) -> Option<ReadError> {
        let _ = (from, to);
        None
    }

    /// The last committed sequence; 0 when there is none.
    fn last(&self) -> Seq;
}

/// A state as it was written down: a list of changes, read one by one, because all of them
/// together may be larger than the state.
pub trait Snapshot: Send {
    /// Visits the changes in order.
    ///
    /// # Errors
    /// See [`ReadError`]; the visit ends there.
    fn visit(&self, visit: &mut dyn FnMut(&Change)) -> Result<(), ReadError>;
}

impl Snapshot for Vec<Change> {
    fn visit(&self, visit: &mut dyn FnMut(&Change)) -> Result<(), ReadError> {
        self.iter().for_each(visit);
        Ok(())
    }
}

/// A transaction found by its idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEntry {
    /// The transaction.
    pub transaction: Seq,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// Idempotency keys of sealed segments, in immutable sorted runs.
pub trait KeyRuns: Send {
    /// Looks a key up.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn find(&self, key: KeyHash) -> Result<Option<KeyEntry>, ReadError>;

    /// Every key up to and including this sequence is in the runs.
    fn covers(&self) -> Seq;
}

/// Where a transaction ended, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// Its final state.
    pub state: State,
    /// The change that ended it.
    pub last: Seq,
    /// When it ended.
    pub at: Timestamp,
}

/// Listings are being rebuilt, or cannot be read; the truth is not touched by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("listings are being rebuilt from the journal; ask again in a moment")]
pub struct IndexUnavailable;

/// What has been listed of the journal. It runs behind the journal and may be away; whatever is
/// not final is asked of the engine instead.
pub trait Listing: Send + Sync {
    /// Where `transaction` ended; `None` while no end of it has been listed.
    ///
    /// # Errors
    /// [`IndexUnavailable`].
    fn outcome(&self, transaction: Seq) -> Result<Option<Indexed>, IndexUnavailable>;

    /// The transactions of `institution` accepted after `after`, final or not, by acceptance;
    /// at most `limit`.
    ///
    /// # Errors
    /// [`IndexUnavailable`].
    fn of_institution(
        &self,
        institution: &InstitutionCode,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Seq>, IndexUnavailable>;
}

/// Keyed hashes and sealing. One object so that key material stays in one place.
pub trait Vault: Send + Sync {
    /// The hash of institution and idempotency key.
    fn key_hash(&self, institution: &InstitutionCode, key: &IdempotencyKey) -> KeyHash;
    /// The hash of a submission's content.
    fn fingerprint(&self, content: &[u8]) -> Fingerprint;
    /// The hash of institution, visit (else insured) and order group.
    fn ordering_key(
        &self,
        institution: &InstitutionCode,
        subject: &str,
        group: &str,
    ) -> OrderingKey;
    /// The name under which an institution's file is stored.
    fn blob_name(&self, institution: &InstitutionCode, digest: &Digest) -> BlobName;
    /// The hash of a reference to an insured person.
    fn insured(&self, insured: &str) -> InsuredHash;

    /// Seals a submission's private part with the institution's data key of the month of `at`.
    ///
    /// # Errors
    /// When the data key cannot be made durable.
    fn seal(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        private: &Private,
    ) -> Result<Sealed, SealError>;

    /// Opens what [`Vault::seal`] sealed.
    ///
    /// # Errors
    /// When the key is gone or the bytes were changed.
    fn open(&self, institution: &InstitutionCode, sealed: &Sealed) -> Result<Private, SealError>;

    /// Seals a core's answer.
    ///
    /// # Errors
    /// As [`Vault::seal`].
    fn seal_answer(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        answer: &[u8],
    ) -> Result<Sealed, SealError>;

    /// Opens what [`Vault::seal_answer`] sealed.
    ///
    /// # Errors
    /// As [`Vault::open`].
    fn open_answer(
        &self,
        institution: &InstitutionCode,
        sealed: &Sealed,
    ) -> Result<Bytes, SealError>;
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The data key has been destroyed or never was.
    #[error("data key {0} is not in the key file")]
    NoKey(u32),
    /// The bytes are not what was sealed.
    #[error("sealed bytes were changed, or the key is another one")]
    Damaged,
    /// A new data key could not be written.
    #[error("a new data key could not be written: {0}")]
    Io(#[from] std::io::Error),
}

/// Why a stored file cannot be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error("the file is missing")]
    Missing,
    /// It is not what was written.
    #[error("the file is damaged at byte {0}")]
    Damaged(u64),
    /// There is no room for it.
    #[error("the disk is full: {0}")]
    Full(std::io::Error),
    /// The disk did not answer, or no key could be had.
    #[error("the file cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
}

impl BlobError {
    /// Whether the file is lost, until a person restores it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Missing | Self::Damaged(_))
    }
}

impl From<SealError> for BlobError {
    fn from(error: SealError) -> Self {
        match error {
            // Its key was destroyed, which was to erase it.
            SealError::NoKey(_) => Self::Missing,
            SealError::Damaged => Self::Damaged(0),
            SealError::Io(error) => Self::Io(error),
        }
    }
}

/// The files that submissions name, sealed on the disk. Which of them are known is the engine's;
/// every call blocks.
pub trait Blobs: Send + Sync {
    /// Begins a file. Nothing has its name before [`BlobWriter::finish`]; where the writer is
    /// dropped, nothing is left.
    ///
    /// # Errors
    /// See [`BlobError`].
    fn create(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        name: BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Opens a file to be read.
    ///
    /// # Errors
    /// See [`BlobError`].
    fn open(&self, blob: &Blob) -> Result<Box<dyn BlobReader>, BlobError>;

    /// Puts files away that are known no longer. One that is not there has gone before.
    ///
    /// # Errors
    /// The disk's; what is left goes at the next start.
    fn leave(&self, files: &[(BlobName, u64)]) -> std::io::Result<()>;

    /// Removes a file that was never known.
    ///
    /// # Errors
    /// The disk's; what is left goes at the next start.
    fn discard(&self, file: (BlobName, u64)) -> std::io::Result<()>;

    /// Reads a file to its end, which proves that it is whole.
    ///
    /// # Errors
    /// See [`BlobError`].
    fn check(&self, blob: &Blob) -> Result<(), BlobError> {
        let (mut reader, mut bytes) = (self.open(blob)?, 0);
        while let Some(next) = reader.next()? {
            bytes += next.len() as u64;
        }
        if bytes == blob.bytes { Ok(()) } else { Err(BlobError::Damaged(0)) }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// See [`BlobError`].
    fn read(&self, blob: &Blob) -> Result<Bytes, BlobError> {
        let mut all = Vec::with_capacity(usize::try_from(blob.bytes).unwrap_or_default());
        let mut reader = self.open(blob)?;
        while let Some(bytes) = reader.next()? {
            all.extend_from_slice(&bytes);
        }
        if all.len() as u64 == blob.bytes { Ok(all.into()) } else { Err(BlobError::Damaged(0)) }
    }
}

/// A file that is being written.
pub trait BlobWriter: Send {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// See [`BlobError`]; the writer is of no further use then.
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError>;

    /// Makes the file durable and gives it its name; which file of that name it is.
    ///
    /// # Errors
    /// See [`BlobError`]; what is left, if anything, nobody knows, and goes at the next start.
    fn finish(self: Box<Self>) -> Result<u64, BlobError>;
}

/// A file that is being read.
pub trait BlobReader: Send {
    /// The next bytes; `None` after the last, which proves that the file is whole.
    ///
    /// # Errors
    /// See [`BlobError`].
    fn next(&mut self) -> Result<Option<Bytes>, BlobError>;
}

/// Reads a file when it is about to be sent.
pub type LoadBlob = Arc<dyn Fn() -> Later<'static, Result<Bytes, BlobError>> + Send + Sync>;

/// A file that goes to the core before its transaction. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Attached {
    /// Its digest.
    pub digest: Digest,
    /// What it is; `None` where it is not stored here, so that only its digest is told.
    pub content: Option<Content>,
    /// Reads it, where it is stored.
    pub load: Option<LoadBlob>,
}

/// What a core said, as plain bytes and as they are stored. `Debug` shows no body.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The body, for a client that waits. Never logged.
    pub body: Bytes,
    /// The body as journaled.
    pub sealed: Option<Sealed>,
    /// The core's own word for the business status.
    pub business_status: Option<String>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("bytes", &self.body.len())
            .field("business_status", &self.business_status)
            .finish_non_exhaustive()
    }
}

/// One effect-bearing call, fully made up. `Debug` shows neither credential nor payload.
#[derive(Clone)]
pub struct Call {
    /// The transaction.
    pub id: TransactionId,
    /// Which try it is.
    pub attempt: AttemptNo,
    /// Its submitter, within which the client's key is unique.
    pub institution: InstitutionCode,
    /// The cell, for the headers.
    pub cell: crate::domain::cell::Cell,
    /// The client's key.
    pub idempotency_key: IdempotencyKey,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When the business happened.
    pub occurred_at: Timestamp,
    /// When the person handed it in.
    pub received_from_person_at: Option<Timestamp>,
    /// The patient's credential; in memory for this one call only.
    pub credential: Option<Bytes>,
    /// The payload, byte for byte.
    pub payload: Bytes,
    /// The files that it names.
    pub attachments: Vec<Attached>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("cell", &self.cell)
            .finish_non_exhaustive()
    }
}

/// A boxed future, so that upstreams can be told apart at run time.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A core system or a part of it.
///
/// Contract: `send` answers `Transient` only where the adapter knows that nothing was applied.
/// Whatever it cannot tell is `InDoubt`. `may_start` is asked immediately before the first byte;
/// when it says no, nothing is sent and the outcome is `Transient(GateClosed)`.
pub trait Upstream: Send + Sync {
    /// Makes one effect-bearing call.
    fn send<'a>(
        &'a self,
        call: Call,
        may_start: &'a (dyn Fn() -> bool + Sync),
    ) -> Later<'a, Outcome<Bytes>>;

    /// Asks what became of a transaction. Has no effect.
    fn ask<'a>(&'a self, id: TransactionId) -> Later<'a, Finding<Bytes>>;

    /// Asks whether the core is there. Has no effect.
    fn probe(&self) -> Later<'_, bool>;
}

/// The only source of time.
pub trait Clock: Send + Sync {
    /// Both readings.
    fn now(&self) -> Now;
    /// Returns at or after `at` by the wall clock (also when a driven clock jumps past it), or
    /// when as much time has passed as was left, should the wall clock have been set back.
    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()>;
    /// Whether a driver moves this clock.
    fn is_virtual(&self) -> bool;
    /// What is wrong with the wall clock, as far as this one knows.
    fn doubt(&self) -> Option<Doubt> {
        None
    }
}
