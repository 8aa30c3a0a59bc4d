//! The audit log: who did what to the daemon, when, from where and why.
//!
//! One NDJSON file, `audit.log`, only ever appended to. Each line carries the SHA-256 of itself
//! and of the line before it:
//!
//! ```text
//! {"seq":1, …,"prev_hash":"000…000","hash":"a1…"}     hash = SHA-256 of the line's bytes up
//! {"seq":2, …,"prev_hash":"a1…","hash":"b2…"}                to and without `,"hash":`
//! ```
//!
//! so that an edited, deleted, inserted or reordered line is named by [`verify`]. Cutting whole
//! lines off the end, or all of them with the file, leaves a shorter but intact chain: it is seen
//! against a head that was noted elsewhere. The journal notes it after every line, never before
//! the line is durable, so that a crash leaves the log longer than what is noted and never shorter.
//! Every act shows it too, for whoever trusts neither file.
//!
//! What is lost is lost: a start says so, goes on, and the next line tells of the loss
//! ([`tell_loss`]), so that the log itself never looks whole again.
//!
//! Invariant: [`Audit::append`] returns `Ok` only when the line will survive a power cut; an act
//! is begun only after that. After one failed write nothing more is written.

use crate::domain::time::Timestamp;
use crate::engine::change::AuditHead;
use crate::telemetry::events;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file's name in the data folder.
pub const FILE_NAME: &str = "audit.log";

/// The `prev_hash` of the first line.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The most records that [`Audit::tail`] gives at once.
pub const TAIL_MAX: usize = 500;

/// How far back from the end [`Audit::tail`] looks, in bytes.
const TAIL_BYTES_MAX: u64 = 4 << 20;

const HASH_FIELD: &str = ",\"hash\":\"";

crate::domain::cell::words!(
    /// What a record says about its act.
    Outcome, "audit outcome", {
        /// It is about to be tried.
        Begun = "begun",
        /// It took effect.
        Done = "done",
        /// It changed nothing yet: it waits for a second person.
        Proposed = "proposed",
        /// It was turned down and changed nothing.
        Refused = "refused",
        /// It was tried and nobody told us whether it took effect.
        Unknown = "unknown",
    }
);

/// What is written down; number, chain and hash are added by [`Audit::append`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The person, from the credential.
    pub actor: String,
    /// The credential's public id.
    pub key: String,
    /// What the credential allows.
    pub scopes: Vec<String>,
    /// The address that the request came from.
    pub source: String,
    /// What was done, as `noun.verb`.
    pub action: String,
    /// What it was done to.
    pub object: String,
    /// Why.
    pub reason: String,
    /// The object before, in short.
    pub before: serde_json::Value,
    /// The object as ordered (`begun`) or as it became (`done`), in short.
    pub after: serde_json::Value,
    /// The request.
    pub request_id: String,
    /// How it stands.
    pub outcome: Outcome,
    /// The problem's code, where it was refused.
    pub code: Option<String>,
    /// The record that began it, in a record that ends it.
    pub of: Option<u64>,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1 for the first, rising by 1.
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub entry: Entry,
    /// The hash of the line before; [`NO_HASH`] for the first.
    pub prev_hash: String,
    /// The hash of this line.
    pub hash: String,
}

/// What [`verify`] found in an intact log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its end.
    pub head: AuditHead,
    /// Acts that were begun and whose end was never written, by the number of their record.
    pub unfinished: Vec<u64>,
    /// Bytes after the last whole line: a write that was cut off before it was promised.
    pub torn_bytes: u64,
    /// The lines that tell of lost ones before them.
    #[serde(default)]
    pub losses: Vec<Loss>,
}

/// A line that tells of lost ones before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The line, which is also the number of its record.
    pub line: u64,
    /// When the loss was found.
    pub at: Timestamp,
}

/// The first line that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of the audit log is not what was written: {why}; restore the file from a copy, or put it aside under another name: the daemon then begins a new one that tells of the loss"
)]
pub struct Bad {
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Why a log could not be opened, read or verified.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk did not do as told.
    #[error("the audit log at {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// It has been changed.
    #[error(transparent)]
    Bad(#[from] Bad),
    /// An earlier write failed, so that nobody knows where the file ends.
    #[error("an earlier write to the audit log failed; restart the daemon to go on")]
    Poisoned,
}

/// The action of a record that tells of lost ones.
const LOST: &str = "audit.lost";

/// The log, open for appending. One owner only.
pub struct Audit {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    head: AuditHead,
    losses: usize,
    poisoned: bool,
}

impl Audit {
    /// Opens the log in `folder`, making it where there is none, and checks the whole chain. A
    /// torn tail is cut off: nothing that was promised is in it.
    ///
    /// # Errors
    /// [`AuditError::Bad`] where the log was changed; the file is left as it is.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        let path = folder.join(FILE_NAME);
        let io = |source| AuditError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let summary = check(&bytes, None)?;
        if summary.torn_bytes > 0 {
            let whole = (bytes.len() as u64).saturating_sub(summary.torn_bytes);
            file.set_len(whole).map_err(io)?;
        }
        // Also an old file: a crash may have come between its creation and the directory's sync.
        file.sync_all().map_err(io)?;
        File::open(folder).and_then(|dir| dir.sync_all()).map_err(io)?;
        let losses = summary.losses.len();
        let inner = Inner { file, head: summary.head, losses, poisoned: false };
        Ok(Self { path, inner: Mutex::new(inner) })
    }

    /// Makes `entry` durable and gives its place in the chain. Blocks for one disk sync.
    ///
    /// # Errors
    /// When it could not be made durable; from then on every call fails.
    pub fn append(&self, entry: &Entry) -> Result<AuditHead, AuditError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.poisoned {
            return Err(AuditError::Poisoned);
        }
        let io = |source| AuditError::Io { path: self.path.clone(), source };
        let seq = inner.head.records + 1;
        let (line, hash) = render(seq, entry, &inner.head.hash).map_err(io)?;
        inner.poisoned = true;
        inner.file.write_all(&line).map_err(io)?;
        inner.file.sync_data().map_err(io)?;
        inner.poisoned = false;
        inner.head = AuditHead { records: seq, hash };
        inner.losses += usize::from(entry.action == LOST);
        events::audited();
        Ok(inner.head.clone())
    }

    /// How many of its records tell of lost ones.
    #[must_use]
    pub fn losses(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).losses
    }

    /// The end of the chain.
    #[must_use]
    pub fn head(&self) -> AuditHead {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).head.clone()
    }

    /// Whether a write has failed, so that no act can be begun.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).poisoned
    }

    /// The last records, oldest first; at most `limit` and at most [`TAIL_MAX`].
    ///
    /// # Errors
    /// When the file cannot be read, or holds a line that is no record.
    pub fn tail(&self, limit: usize) -> Result<Vec<Record>, AuditError> {
        tail(&self.path, limit)
    }
}

/// The last records of the log at `path`, oldest first; at most `limit` and at most [`TAIL_MAX`].
///
/// # Errors
/// When the file cannot be read, or holds a line that is no record.
pub fn tail(path: &Path, limit: usize) -> Result<Vec<Record>, AuditError> {
    let io = |source| AuditError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let from = size.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(from)).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').unwrap_or(0);
    let mut lines: Vec<&[u8]> =
        bytes[..whole].split(|&b| b == b'\n').filter(|l| !l.is_empty()).collect();
    if from > 0 && !lines.is_empty() {
        lines.remove(0);
    }
    let keep = lines.len().saturating_sub(limit.min(TAIL_MAX));
    lines[keep..]
        .iter()
        .map(|line| {
            serde_json::from_slice(line)
                .map_err(|e| io(std::io::Error::new(std::io::ErrorKind::InvalidData, e)))
        })
        .collect()
}

/// Checks the log at `path` from its first line to its last, and that the head `noted` earlier,
/// if one is given, is still in the chain. Reads only; works beside a running daemon.
///
/// # Errors
/// [`AuditError::Bad`] names the first line that is not what was written.
pub fn verify(path: &Path, noted: Option<&str>) -> Result<Summary, AuditError> {
    let bytes =
        std::fs::read(path).map_err(|source| AuditError::Io { path: path.to_owned(), source })?;
    Ok(check(&bytes, noted)?)
}

/// Whether the log at `path` lacks something of what was `noted` of it, and does not tell of
/// that loss either. A log that is not there has nothing.
///
/// # Errors
/// [`AuditError::Bad`] where a line is not what was written.
pub fn is_cut(path: &Path, noted: &AuditHead) -> Result<bool, AuditError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|source| AuditError::Io { path: path.to_owned(), source })?,
    };
    let told = serde_json::to_value(noted).unwrap_or_default();
    let mut found = noted.records == 0;
    walk(&bytes, &mut |record| {
        found |= record.hash == noted.hash;
        found |= record.entry.action == LOST && record.entry.before == told;
    })?;
    Ok(!found)
}

/// Writes down that the log lacks something of what was `noted` of it.
///
/// # Errors
/// As [`Audit::append`].
pub fn tell_loss(audit: &Audit, noted: &AuditHead, at: Timestamp) -> Result<AuditHead, AuditError> {
    audit.append(&Entry {
        at,
        actor: "holdover".to_owned(),
        key: String::new(),
        scopes: Vec::new(),
        source: "the start".to_owned(),
        action: LOST.to_owned(),
        object: "the audit log".to_owned(),
        reason: "the log ends before what the journal noted of it".to_owned(),
        before: serde_json::to_value(noted).unwrap_or_default(),
        after: serde_json::to_value(audit.head()).unwrap_or_default(),
        request_id: String::new(),
        outcome: Outcome::Done,
        code: None,
        of: None,
    })
}

fn render(seq: u64, entry: &Entry, prev_hash: &str) -> std::io::Result<(Vec<u8>, String)> {
    let body = Body { seq, entry, prev_hash };
    let mut line = serde_json::to_vec(&body)?;
    // The closing brace moves behind the hash.
    line.pop();
    let hash = hex(&line);
    line.extend_from_slice(HASH_FIELD.as_bytes());
    line.extend_from_slice(hash.as_bytes());
    line.extend_from_slice(b"\"}\n");
    Ok((line, hash))
}

#[derive(Serialize)]
struct Body<'a> {
    seq: u64,
    #[serde(flatten)]
    entry: &'a Entry,
    prev_hash: &'a str,
}

fn hex(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn check(bytes: &[u8], noted: Option<&str>) -> Result<Summary, Bad> {
    let mut seen_noted = noted.is_none_or(|hash| hash == NO_HASH);
    let summary = walk(bytes, &mut |record| seen_noted |= noted == Some(record.hash.as_str()))?;
    if !seen_noted {
        let why = "the noted head is not in the chain: lines were cut off here, or all after some \
                   earlier one were written anew";
        return Err(Bad { line: summary.head.records + 1, why: why.to_owned() });
    }
    Ok(summary)
}

/// Checks the chain, and shows each record.
fn walk(bytes: &[u8], look: &mut dyn FnMut(&Record)) -> Result<Summary, Bad> {
    let mut summary = Summary {
        head: AuditHead { records: 0, hash: NO_HASH.to_owned() },
        unfinished: Vec::new(),
        torn_bytes: 0,
        losses: Vec::new(),
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let after = end.map_or(&rest[rest.len()..], |at| &rest[at + 1..]);
        // A line without its end, or one with zero bytes at the very end of the file, is what a
        // power cut leaves of a write that was never promised.
        if end.is_none() || (after.is_empty() && line.contains(&0)) {
            summary.torn_bytes = rest.len() as u64;
            break;
        }
        let record = check_line(line, &summary.head)
            .map_err(|why| Bad { line: summary.head.records + 1, why })?;
        look(&record);
        if record.entry.action == LOST {
            summary.losses.push(Loss { line: record.seq, at: record.entry.at });
        }
        match (record.entry.outcome, record.entry.of) {
            (Outcome::Begun, _) => summary.unfinished.push(record.seq),
            (Outcome::Done | Outcome::Proposed | Outcome::Refused | Outcome::Unknown, of) => {
                summary.unfinished.retain(|&begun| Some(begun) != of);
            }
        }
        summary.head = AuditHead { records: record.seq, hash: record.hash };
        rest = after;
    }
    Ok(summary)
}

fn check_line(line: &[u8], head: &AuditHead) -> Result<Record, String> {
    let record: Record = serde_json::from_slice(line).map_err(|e| format!("no record: {e}"))?;
    let tail = format!("{HASH_FIELD}{}\"}}", record.hash);
    let Some(body) = line.strip_suffix(tail.as_bytes()) else {
        return Err("its hash is not its last field".to_owned());
    };
    if record.seq != head.records + 1 {
        return Err(format!("expected record {}, found {}", head.records + 1, record.seq));
    }
    if record.prev_hash != head.hash {
        return Err("it does not follow the line before it".to_owned());
    }
    if hex(body) != record.hash {
        return Err("its content does not match its hash".to_owned());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_one_failed_write_nothing_more_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, b"").unwrap();
        let head = AuditHead { records: 0, hash: NO_HASH.to_owned() };
        // Opened for reading only: the write is refused by the kernel.
        let file = File::open(&path).unwrap();
        let audit = Audit {
            path: path.clone(),
            inner: Mutex::new(Inner { file, head, losses: 0, poisoned: false }),
        };
        let entry = Entry {
            at: Timestamp::from_millis(0),
            actor: "li.na".to_owned(),
            key: String::new(),
            scopes: Vec::new(),
            source: String::new(),
            action: "gate.close".to_owned(),
            object: String::new(),
            reason: "why".to_owned(),
            before: serde_json::Value::Null,
            after: serde_json::Value::Null,
            request_id: String::new(),
            outcome: Outcome::Begun,
            code: None,
            of: None,
        };
        assert!(matches!(audit.append(&entry), Err(AuditError::Io { .. })));
        assert!(audit.is_poisoned());
        let writable = OpenOptions::new().append(true).open(&path).unwrap();
        audit.inner.lock().unwrap().file = writable;
        assert!(matches!(audit.append(&entry), Err(AuditError::Poisoned)));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert_eq!(audit.head().records, 0);
    }
}
