//! A journal in memory, for tests. It keeps the ports' contracts and nothing after the process.

use crate::domain::ids::{KeyHash, Seq};
use crate::engine::change::Change;
use crate::engine::ports::{AppendError, Journal, JournalReader, KeyEntry, KeyRuns, ReadError};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Inner {
    changes: Vec<Change>,
    keys: HashMap<KeyHash, KeyEntry>,
    failing: bool,
    poisoned: bool,
}

/// All three ports over one list of changes. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryJournal(Arc<Mutex<Inner>>);

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next append fails as after a failed sync, and every one after it.
    pub fn fail_next(&self) {
        self.inner().failing = true;
    }

    /// Everything appended so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.inner().changes.clone()
    }

    /// The journal after a restart: the same changes, a writer that works.
    #[must_use]
    pub fn reopened(&self) -> Self {
        let inner = self.inner();
        let (changes, keys) = (inner.changes.clone(), inner.keys.clone());
        Self(Arc::new(Mutex::new(Inner { changes, keys, failing: false, poisoned: false })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(seq: Seq) -> usize {
    usize::try_from(seq.0.wrapping_sub(1)).unwrap_or(usize::MAX)
}

impl Journal for MemoryJournal {
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        let mut inner = self.inner();
        inner.poisoned |= std::mem::take(&mut inner.failing);
        if inner.poisoned {
            return Err(AppendError::Unknown(std::io::Error::other("told to fail")));
        }
        for (seq, change) in changes {
            let expected = inner.changes.len() as u64 + 1;
            assert!(seq.0 == expected, "sequence {seq} does not continue the journal");
            if let Change::Accepted(accepted) = change {
                let entry = KeyEntry { transaction: *seq, fingerprint: accepted.fingerprint };
                inner.keys.insert(accepted.key_hash, entry);
            }
            inner.changes.push(change.clone());
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), AppendError> {
        Ok(())
    }
}

impl JournalReader for MemoryJournal {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        self.inner().changes.get(place(seq)).cloned().ok_or(ReadError::Missing(seq))
    }

    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut seq = Seq(from.0.max(1));
        let last = self.last();
        while seq <= last {
            if visit(seq, self.read(seq)?).is_break() {
                break;
            }
            seq = seq.next();
        }
        Ok(())
    }

    fn last(&self) -> Seq {
        Seq(self.inner().changes.len() as u64)
    }
}

impl KeyRuns for MemoryJournal {
    fn find(&self, key: KeyHash) -> Result<Option<KeyEntry>, ReadError> {
        Ok(self.inner().keys.get(&key).copied())
    }

    fn covers(&self) -> Seq {
        self.last()
    }
}
