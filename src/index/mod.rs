//! The index: ends and listings of transactions, in sled, always behind the journal.
//!
//! ```text
//!  journal ──scan──► tail thread ──► facts in memory ──batch + checkpoint──► sled
//!     ▲  rings the bell   │                 │                                 ▲
//!  commit                 └─ what it did ───┼─► Listing ──bounded request──► read thread
//!                            supervisor ◄───┴── pulses of both threads
//! ```
//!
//! Nothing here is the truth. Nobody waits for the tail; a query waits a bounded moment. When
//! sled is damaged, panics, hangs or is deleted, the supervisor says so, leaves that generation
//! behind, removes its folder and builds the next one from the journal. A thread that hangs
//! inside sled cannot be ended: it is abandoned with its generation, and after a few of those
//! the index stays away until the daemon is started anew.
//!
//! Ends never change, so one that is found is right even in the middle of a rebuild; a listing
//! of an institution is given only once the index has caught up.

mod fold;
mod packed;
mod retire;
mod store;
mod worker;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "sabotage"))]
pub use store::Sabotage;
pub use store::Tripwire;

use crate::domain::ids::{InstitutionCode, Seq};
use crate::engine::change::Change;
use crate::engine::ports::{IndexUnavailable, Indexed, JournalReader, Listing};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use store::{Store, Trouble};
use worker::Shared;

/// Starts a supervised thread. The daemon's task list does; nothing here spawns by itself.
pub type SpawnThread = Arc<dyn Fn(&'static str, Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Positions that one listing returns at most.
const LISTED_MAX: usize = 10_000;

crate::domain::cell::words!(
    /// What the index is doing.
    Status, "index status", {
        /// Reading the journal to where it ends.
        CatchingUp = "catching_up",
        /// At the journal's end or a moment behind.
        Ready = "ready",
        /// Given up until the next start: too many threads hang in it.
        Away = "away",
    }
);

/// How the index works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder. Everything in it may be deleted at any time.
    pub folder: PathBuf,
    /// Memory that sled may use for its cache.
    pub cache_bytes: u64,
    /// How long a query waits for the read thread, and for the tail to be where the journal is.
    pub patience: Duration,
    /// How often the supervisor looks.
    pub look_every: Duration,
    /// A call that is still going on after so many looks hangs.
    pub hanging_looks: u32,
    /// Lets tests make sled misbehave.
    pub tripwire: Tripwire,
}

impl Options {
    /// The usual way of working in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            cache_bytes: 64 << 20,
            patience: Duration::from_millis(200),
            look_every: Duration::from_millis(250),
            hanging_looks: 80,
            tripwire: Tripwire::default(),
        }
    }
}

/// The index. Cheap to clone.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Index {
    /// Starts the index over `reader`. Returns at once; it opens and catches up by itself.
    #[must_use]
    pub fn start(options: Options, reader: Arc<dyn JournalReader>, spawn: &SpawnThread) -> Self {
        let shared = Arc::new(Shared::new(options, reader, Arc::clone(spawn)));
        let supervised = Arc::clone(&shared);
        spawn("index", Box::new(move || worker::supervise(&supervised)));
        Self { shared }
    }

    /// Says that the journal has grown by `changes`, which are durable. Never blocks for longer
    /// than it takes to note them down.
    pub fn committed(&self, changes: &[(Seq, Change)]) {
        self.shared.ring(changes);
    }

    /// Writes what is known and ends the threads. Waits for the writing at most a second: what
    /// is missing is read from the journal at the next start.
    pub fn stop(&self) {
        self.shared.stop();
        self.shared.written(Duration::from_secs(1));
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.progress().status
    }

    /// The last change that it knows.
    #[must_use]
    pub fn up_to(&self) -> Seq {
        self.shared.progress().tailed
    }

    /// How often it was built anew since the start.
    #[must_use]
    pub fn rebuilds(&self) -> u64 {
        self.shared.progress().rebuilds
    }

    /// Has the read thread do `look`, and waits for it no longer than patience allows.
    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, IndexUnavailable> {
        let Some((generation, questions)) = self.shared.questions() else {
            return Err(IndexUnavailable);
        };
        let (answer, answered): (SyncSender<T>, _) = sync_channel(1);
        let shared = Arc::clone(&self.shared);
        let question = Box::new(move |store: &Store| {
            let found = look(store)?;
            shared.answered(generation);
            // Whoever asked may have lost patience.
            drop(answer.send(found));
            Ok(())
        });
        questions.try_send(question).map_err(|_| IndexUnavailable)?;
        answered.recv_timeout(self.shared.options.patience).map_err(|_| {
            // Nobody else is kept waiting until the read thread has answered again.
            self.shared.suspect(generation);
            IndexUnavailable
        })
    }
}

impl Listing for Index {
    fn outcome(&self, transaction: Seq) -> Result<Option<Indexed>, IndexUnavailable> {
        let end = self.shared.reader.last();
        if transaction > end {
            return Ok(None);
        }
        let caught_up = self.shared.wait_for(end);
        // The facts in memory first: they leave it only after they are in the store.
        if let Some(outcome) = self.shared.known_outcome(transaction) {
            return Ok(Some(outcome));
        }
        match self.ask(move |store| store.outcome(transaction))? {
            Some(outcome) => Ok(Some(outcome)),
            None if caught_up => Ok(None),
            None => Err(IndexUnavailable),
        }
    }

    fn of_institution(
        &self,
        institution: &InstitutionCode,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Seq>, IndexUnavailable> {
        let limit = limit.min(LISTED_MAX);
        self.shared.wait_for(self.shared.reader.last());
        if self.status() != Status::Ready {
            return Err(IndexUnavailable);
        }
        let mut found = self.shared.known_positions(institution, after);
        let wanted = institution.clone();
        found.extend(self.ask(move |store| store.of_institution(&wanted, after, limit))?);
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }
}
