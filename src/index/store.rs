//! The sled database of one generation of the index, and everything that sled may do wrong.
//!
//! Every call is guarded: a panic becomes a [`Trouble`], and a [`Pulse`] shows from outside that
//! a call has not come back. At the opening every value is read and the sum of the check sums is
//! compared with the checkpoint's, so that a database that has lost a part of itself is found
//! out before it answers anything. `flush` is called rarely and nothing relies on it: whatever
//! is missing after a crash is read from the journal again.

use super::fold::Facts;
use super::packed::{
    BLOCK, CHECKPOINT_KEY, Checkpoint, Damaged, POSITIONS_MAX, PROVISIONAL_PREFIX, Provisional,
    block_key, decode_block, decode_positions, encode_block, encode_positions, number_of, open,
    positions_key, positions_prefix, provisional_key,
};
use super::retire::Strays;
use crate::domain::ids::{InstitutionCode, Seq};
use crate::engine::ports::Indexed;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why the database of a generation cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("damaged")]
    Damaged,
    #[error("panicked")]
    Panicked,
    #[error("hanging")]
    Hanging,
    #[error("deleted")]
    Deleted,
}

impl Trouble {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Panicked => "panicked",
            Self::Hanging => "hanging",
            Self::Deleted => "deleted",
        }
    }
}

impl From<Damaged> for Trouble {
    fn from(damaged: Damaged) -> Self {
        tracing::warn!(error = %damaged, "the index is damaged");
        Self::Damaged
    }
}

/// Whether a thread is inside a call: odd while it is. Two looks at the same odd number show a
/// call that lasted in between, without any clock.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// The number of the call that is going on.
    pub(super) fn inside(&self) -> Option<u64> {
        let beat = self.0.load(Ordering::SeqCst);
        (beat % 2 == 1).then_some(beat)
    }

    /// Runs one call of sled.
    pub(super) fn guard<T>(
        &self,
        tripwire: &Tripwire,
        call: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, Trouble> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            tripwire.step();
            call()
        }));
        self.0.fetch_add(1, Ordering::SeqCst);
        match ended {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the index cannot be read or written");
                Err(Trouble::Damaged)
            }
            Err(_) => Err(Trouble::Panicked),
        }
    }
}

/// Lets tests make a call panic or hang. Nothing at all in an ordinary build.
#[derive(Debug, Clone, Default)]
pub struct Tripwire {
    #[cfg(any(test, feature = "sabotage"))]
    armed: Arc<std::sync::Mutex<Option<Sabotage>>>,
}

/// What the next call of sled does instead.
#[cfg(any(test, feature = "sabotage"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// It panics.
    Panic,
    /// It never comes back.
    Hang,
}

impl Tripwire {
    /// Makes the next call misbehave.
    #[cfg(any(test, feature = "sabotage"))]
    pub fn arm(&self, sabotage: Sabotage) {
        *self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(sabotage);
    }

    #[cfg(any(test, feature = "sabotage"))]
    fn step(&self) {
        let armed = self.armed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match armed {
            None => {}
            Some(Sabotage::Panic) => panic!("sabotage"),
            Some(Sabotage::Hang) => loop {
                std::thread::park();
            },
        }
    }

    #[cfg(not(any(test, feature = "sabotage")))]
    #[expect(clippy::unused_self, reason = "the same call as in a build with sabotage")]
    fn step(&self) {}
}

/// An open database. Each thread has its own, with its own pulse.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: sled::Db,
    pulse: Arc<Pulse>,
    tripwire: Tripwire,
}

impl Store {
    /// Opens `folder` and verifies all of it.
    pub(super) fn open(
        folder: &Path,
        cache_bytes: u64,
        pulse: Arc<Pulse>,
        tripwire: Tripwire,
    ) -> Result<(Self, Checkpoint, BTreeMap<Seq, Provisional>), Trouble> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None)
            .mode(sled::Mode::LowSpace);
        let db = pulse.guard(&tripwire, || config.open())?;
        let store = Self { db, pulse, tripwire };
        let checkpoint = match store.get(CHECKPOINT_KEY)? {
            Some(value) => Checkpoint::decode(&value)?,
            None => Checkpoint::default(),
        };
        let provisional = store.verify(checkpoint)?;
        Ok((store, checkpoint, provisional))
    }

    /// The same database for another thread.
    pub(super) fn for_thread(&self, pulse: Arc<Pulse>) -> Self {
        Self { pulse, ..self.clone() }
    }

    fn verify(&self, checkpoint: Checkpoint) -> Result<BTreeMap<Seq, Provisional>, Trouble> {
        let mut sum = 0u64;
        let mut provisional = BTreeMap::new();
        let mut all = self.db.iter();
        while let Some((key, value)) = self.guard(|| all.next().transpose())? {
            if *key == *CHECKPOINT_KEY {
                continue;
            }
            let (body, check) = open(&key, &value)?;
            sum = sum.wrapping_add(u64::from(check));
            if key.starts_with(PROVISIONAL_PREFIX) {
                provisional.insert(Seq(number_of(&key)?), Provisional::decode(body)?);
            }
        }
        if sum != checkpoint.sum {
            return Err(Damaged("values are missing or left over").into());
        }
        Ok(provisional)
    }

    /// Writes `facts` and the checkpoint in one batch.
    pub(super) fn write(
        &self,
        facts: &Facts,
        before: Checkpoint,
        up_to: Seq,
    ) -> Result<Checkpoint, Trouble> {
        let mut batch = Collected { batch: sled::Batch::default(), sum: before.sum };
        let mut rest = facts.outcomes.iter().peekable();
        while let Some((first, _)) = rest.peek() {
            let block = first.0 / BLOCK;
            let (mut outcomes, old) = self.block(block)?;
            while let Some((&seq, &outcome)) = rest.next_if(|(seq, _)| seq.0 / BLOCK == block) {
                outcomes.insert(seq, outcome);
            }
            batch.replace(old, encode_block(block, &outcomes));
        }
        for (institution, positions) in &facts.positions {
            let (mut chunk, mut old) = self.last_positions(institution)?;
            let mut strays = Strays::default();
            for &position in positions {
                if chunk.last().is_some_and(|&last| position <= last) {
                    strays.place(self, institution, position, &mut chunk)?;
                    continue;
                }
                if chunk.len() == POSITIONS_MAX {
                    batch.replace(old.take(), encode_positions(institution, &chunk));
                    chunk.clear();
                }
                chunk.push(position);
            }
            if !chunk.is_empty() {
                batch.replace(old, encode_positions(institution, &chunk));
            }
            for (chunk, old) in strays.chunks.into_values() {
                batch.replace(old, encode_positions(institution, &chunk));
            }
        }
        for (&transaction, entry) in &facts.provisional {
            let key = provisional_key(transaction);
            let old = self.value(&key)?.map(|(_, check)| check);
            match entry {
                Some(entry) => batch.replace(old, entry.encode(transaction)),
                None => batch.remove(old, &key),
            }
        }
        let checkpoint = Checkpoint { up_to, sum: batch.sum };
        batch.batch.insert(CHECKPOINT_KEY, checkpoint.encode());
        self.guard(|| self.db.apply_batch(batch.batch))?;
        Ok(checkpoint)
    }

    /// Asks sled to write out what it has in memory.
    pub(super) fn flush(&self) -> Result<(), Trouble> {
        self.guard(|| self.db.flush()).map(drop)
    }

    pub(super) fn outcome(&self, transaction: Seq) -> Result<Option<Indexed>, Trouble> {
        Ok(self.block(transaction.0 / BLOCK)?.0.get(&transaction).copied())
    }

    pub(super) fn of_institution(
        &self,
        institution: &InstitutionCode,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Seq>, Trouble> {
        let prefix = positions_prefix(institution);
        // The last chunk that begins at or before `after` may reach beyond it.
        let beyond = positions_key(institution, Seq(after.0.saturating_add(1)));
        let before = self.guard(|| self.db.get_lt(&beyond))?;
        let start = match before {
            Some((key, _)) if key.starts_with(&prefix) => key.to_vec(),
            Some(_) | None => prefix.clone(),
        };
        let mut found = Vec::new();
        let mut chunks = self.db.range(start..);
        while found.len() < limit {
            let Some((key, value)) = self.guard(|| chunks.next().transpose())? else { break };
            if !key.starts_with(&prefix) {
                break;
            }
            let first = Seq(number_of(&key)?);
            let chunk = decode_positions(first, open(&key, &value)?.0)?;
            found.extend(chunk.into_iter().filter(|&position| position > after));
        }
        found.truncate(limit);
        Ok(found)
    }

    fn block(&self, block: u64) -> Result<(BTreeMap<Seq, Indexed>, Option<u32>), Trouble> {
        match self.value(&block_key(block))? {
            Some((body, check)) => Ok((decode_block(block, &body)?, Some(check))),
            None => Ok((BTreeMap::new(), None)),
        }
    }

    fn last_positions(
        &self,
        institution: &InstitutionCode,
    ) -> Result<(Vec<Seq>, Option<u32>), Trouble> {
        self.positions_before(institution, Seq(u64::MAX))
    }

    /// The last chunk that begins before `end`; nothing where there is none.
    pub(super) fn positions_before(
        &self,
        institution: &InstitutionCode,
        end: Seq,
    ) -> Result<(Vec<Seq>, Option<u32>), Trouble> {
        let prefix = positions_prefix(institution);
        let beyond = positions_key(institution, end);
        match self.guard(|| self.db.get_lt(&beyond))? {
            Some((key, value)) if key.starts_with(&prefix) => {
                let (body, check) = open(&key, &value)?;
                Ok((decode_positions(Seq(number_of(&key)?), body)?, Some(check)))
            }
            Some(_) | None => Ok((Vec::new(), None)),
        }
    }

    fn value(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Trouble> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        let (body, check) = open(key, &value)?;
        Ok(Some((body.to_vec(), check)))
    }

    fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, Trouble> {
        self.guard(|| self.db.get(key))
    }

    pub(super) fn guard<T>(&self, call: impl FnOnce() -> sled::Result<T>) -> Result<T, Trouble> {
        self.pulse.guard(&self.tripwire, call)
    }
}

/// A batch in the making, and the sum of the check sums that will hold after it.
pub(super) struct Collected {
    pub(super) batch: sled::Batch,
    pub(super) sum: u64,
}

impl Collected {
    pub(super) fn replace(
        &mut self,
        old: Option<u32>,
        (key, value, check): (Vec<u8>, Vec<u8>, u32),
    ) {
        self.sum = self.sum.wrapping_sub(old.map_or(0, u64::from)).wrapping_add(u64::from(check));
        self.batch.insert(key, value);
    }

    pub(super) fn remove(&mut self, old: Option<u32>, key: &[u8]) {
        self.sum = self.sum.wrapping_sub(old.map_or(0, u64::from));
        self.batch.remove(key);
    }
}
