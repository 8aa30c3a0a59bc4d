//! The three threads of the index, and what they share.
//!
//! A generation is a folder, a tail thread and a read thread. The supervisor starts one, watches
//! the pulses, and replaces it when there is trouble. A thread of an older generation notices
//! and ends; whatever it still says is ignored.

use super::fold::{Facts, Fold, Step, boil_down};
use super::packed::Checkpoint;
use super::store::{Pulse, Store, Trouble};
use super::{Options, SpawnThread, Status};
use crate::domain::ids::{InstitutionCode, Seq};
use crate::engine::change::Change;
use crate::engine::ports::{Indexed, JournalReader, ReadError};
use crate::telemetry::events;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Changes that are read in one go.
const SCAN_MAX: usize = 4096;
/// Steps that are kept in memory before they are written.
const FACTS_MAX: usize = 16_384;
/// Steps that wait for the tail: a second of intake at full speed and replay beside it.
const FRESH_MAX: usize = 131_072;
/// Quiet time after which what is known is written.
const QUIET: Duration = Duration::from_secs(1);
/// Batches between two requests to sled to write its buffers out. With more, what it had not
/// written yet held the journal's syncs up for 50 ms whenever the file system committed.
const BATCHES_PER_FLUSH: u32 = 1;
/// How long the tail rests between two readings. Well below the time that a question waits for
/// it; at a thousand commits a second, reading after each took 15 % of two cores.
const BREATH: Duration = Duration::from_millis(20);
/// Questions that may wait for the read thread.
const QUESTIONS_MAX: usize = 64;
/// Abandoned generations after which the index stays away: each may keep its memory.
const ABANDONED_MAX: u32 = 4;
/// The longest pause between two attempts to build, in looks of the supervisor.
const PAUSE_LOOKS_MAX: u32 = 256;

pub(super) type Question = Box<dyn FnOnce(&Store) -> Result<(), Trouble> + Send>;

/// How far the index is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) status: Status,
    pub(super) tailed: Seq,
    pub(super) rebuilds: u64,
}

/// The last changes of the journal, boiled down as they were committed, so that a tail which
/// keeps up need not read them from the files again. One that does not reads the journal.
#[derive(Default)]
struct Fresh {
    steps: Vec<(Seq, Step)>,
    /// The first change that is covered; meaningless while `next` is 0.
    first: Seq,
    /// The one after the last that is covered.
    next: Seq,
}

impl Fresh {
    fn take(&mut self, changes: &[(Seq, Change)]) {
        let (Some((first, _)), Some((last, _))) = (changes.first(), changes.last()) else { return };
        if *first != self.next || self.steps.len() >= FRESH_MAX {
            *self = Self { first: *first, ..Self::default() };
        }
        let steps = changes.iter();
        self.steps.extend(steps.filter_map(|(seq, change)| Some((*seq, boil_down(*seq, change)?))));
        self.next = last.next();
    }

    /// Everything after `taken`, where all of it is here: the steps and the last change.
    fn after(&mut self, taken: Seq) -> Option<(Vec<(Seq, Step)>, Seq)> {
        if self.next <= taken.next() || taken.next() < self.first {
            return None;
        }
        let mut steps = std::mem::take(&mut self.steps);
        steps.retain(|(seq, _)| *seq > taken);
        self.first = self.next;
        Some((steps, Seq(self.next.0 - 1)))
    }
}

struct Inner {
    progress: Progress,
    generation: u64,
    stopping: bool,
    /// Tail threads that have not ended.
    tails: u32,
    rung: bool,
    suspect: bool,
    questions: Option<SyncSender<Question>>,
    /// What was committed last, boiled down already.
    fresh: Fresh,
    /// Facts that grow, and facts that are being written.
    growing: Facts,
    writing: Option<Arc<Facts>>,
    trouble: Option<Trouble>,
}

/// What the threads and the askers share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) reader: Arc<dyn JournalReader>,
    spawn: SpawnThread,
    inner: Mutex<Inner>,
    /// Rung when the journal has grown, at trouble and at the end.
    bell: Condvar,
    /// Rung when the tail has moved.
    moved: Condvar,
    /// Rung at trouble and at the end, for the supervisor.
    alarm: Condvar,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        reader: Arc<dyn JournalReader>,
        spawn: SpawnThread,
    ) -> Self {
        let progress = Progress { status: Status::CatchingUp, tailed: Seq(0), rebuilds: 0 };
        let inner = Inner {
            progress,
            generation: 0,
            stopping: false,
            tails: 0,
            rung: false,
            suspect: false,
            questions: None,
            fresh: Fresh::default(),
            growing: Facts::default(),
            writing: None,
            trouble: None,
        };
        Self {
            options,
            reader,
            spawn,
            inner: Mutex::new(inner),
            bell: Condvar::new(),
            moved: Condvar::new(),
            alarm: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// The journal has grown by `changes`.
    pub(super) fn ring(&self, changes: &[(Seq, Change)]) {
        let mut inner = self.lock();
        inner.rung = true;
        inner.fresh.take(changes);
        drop(inner);
        self.bell.notify_all();
    }

    pub(super) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        inner.questions = None;
        drop(inner);
        self.bell.notify_all();
        self.alarm.notify_all();
    }

    /// Waits until what is known has been written, or for so long.
    pub(super) fn written(&self, limit: Duration) {
        let waited = self.moved.wait_timeout_while(self.lock(), limit, |inner| inner.tails > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The way to the read thread, unless it is known not to answer.
    pub(super) fn questions(&self) -> Option<(u64, SyncSender<Question>)> {
        let inner = self.lock();
        let questions = inner.questions.clone().filter(|_| !inner.suspect)?;
        Some((inner.generation, questions))
    }

    pub(super) fn suspect(&self, generation: u64) {
        let mut inner = self.lock();
        inner.suspect |= inner.generation == generation;
    }

    pub(super) fn answered(&self, generation: u64) {
        let mut inner = self.lock();
        inner.suspect &= inner.generation != generation;
    }

    /// Waits, for a bounded moment, until the tail has come to `end`. Does not wait while the
    /// index is far behind.
    pub(super) fn wait_for(&self, end: Seq) -> bool {
        let inner = self.lock();
        let patience = self.options.patience / 4;
        let behind = |inner: &mut Inner| {
            inner.progress.status == Status::Ready && inner.progress.tailed < end
        };
        let waited = self.moved.wait_timeout_while(inner, patience, behind);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.progress.tailed >= end
    }

    pub(super) fn known_outcome(&self, transaction: Seq) -> Option<Indexed> {
        let inner = self.lock();
        let writing = inner.writing.as_ref().and_then(|facts| facts.outcomes.get(&transaction));
        inner.growing.outcomes.get(&transaction).or(writing).copied()
    }

    pub(super) fn known_positions(&self, institution: &InstitutionCode, after: Seq) -> Vec<Seq> {
        let inner = self.lock();
        let writing = inner.writing.as_ref().and_then(|facts| facts.positions.get(institution));
        let growing = inner.growing.positions.get(institution);
        let both = writing.into_iter().chain(growing).flatten();
        both.copied().filter(|&position| position > after).collect()
    }

    /// Runs the life of a thread of `generation`; trouble, and a panic of our own, reach the
    /// supervisor.
    fn live(&self, generation: u64, life: impl FnOnce() -> Result<(), Trouble>) {
        let trouble = match catch_unwind(AssertUnwindSafe(life)) {
            Ok(Ok(())) => return,
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Panicked,
        };
        let mut inner = self.lock();
        if inner.generation == generation {
            inner.trouble.get_or_insert(trouble);
            drop(inner);
            self.alarm.notify_all();
        }
    }
}

/// One generation, as its supervisor sees it.
struct Generation {
    folder: PathBuf,
    tail: Arc<Pulse>,
    read: Arc<Pulse>,
    /// The calls that were going on at the last look, and for how many looks.
    seen: [(Option<u64>, u32); 2],
    opened: bool,
}

/// The supervisor's life.
pub(super) fn supervise(shared: &Arc<Shared>) {
    let mut number = tidy_folder(&shared.options.folder);
    let mut abandoned = 0;
    let mut pause = 1;
    let mut generation = begin(shared, number);
    loop {
        let trouble = match look(shared, &mut generation) {
            Look::Stop => return,
            Look::Well => {
                if shared.progress().status == Status::Ready {
                    pause = 1;
                }
                continue;
            }
            Look::Bad(trouble) => trouble,
        };
        abandoned += u32::from(trouble == Trouble::Hanging);
        events::index_lost(trouble.as_str());
        give_up(shared, &generation.folder, abandoned >= ABANDONED_MAX);
        if abandoned >= ABANDONED_MAX {
            events::index_away();
            return;
        }
        if !rest(shared, pause) {
            return;
        }
        pause = (pause * 2).min(PAUSE_LOOKS_MAX);
        number += 1;
        generation = begin(shared, number);
    }
}

enum Look {
    Well,
    Bad(Trouble),
    Stop,
}

/// Waits for one look's time or an alarm, then looks.
fn look(shared: &Shared, generation: &mut Generation) -> Look {
    let inner = shared.lock();
    let quiet = |inner: &mut Inner| !inner.stopping && inner.trouble.is_none();
    let waited = shared.alarm.wait_timeout_while(inner, shared.options.look_every, quiet);
    let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if inner.stopping {
        return Look::Stop;
    }
    if let Some(trouble) = inner.trouble.take() {
        return Look::Bad(trouble);
    }
    generation.opened |= inner.questions.is_some();
    drop(inner);
    for (pulse, (seen, looks)) in
        [&generation.tail, &generation.read].into_iter().zip(&mut generation.seen)
    {
        let inside = pulse.inside();
        *looks = if inside.is_some() && inside == *seen { *looks + 1 } else { 0 };
        *seen = inside;
        if *looks >= shared.options.hanging_looks {
            return Look::Bad(Trouble::Hanging);
        }
    }
    // sled goes on with open files when its folder is gone, and leaves nothing behind.
    if generation.opened && !generation.folder.join("db").exists() {
        return Look::Bad(Trouble::Deleted);
    }
    Look::Well
}

/// Leaves a generation behind: nobody asks it any more, its facts are void, its folder goes.
fn give_up(shared: &Shared, folder: &Path, for_good: bool) {
    let mut inner = shared.lock();
    inner.generation += 1;
    inner.questions = None;
    inner.suspect = false;
    inner.growing = Facts::default();
    inner.writing = None;
    inner.trouble = None;
    inner.progress.tailed = Seq(0);
    inner.progress.status = if for_good { Status::Away } else { Status::CatchingUp };
    inner.progress.rebuilds += u64::from(!for_good);
    drop(inner);
    shared.bell.notify_all();
    shared.moved.notify_all();
    remove(folder);
}

/// Lets a number of looks pass, so that trouble that comes back at once does not keep a core
/// busy. `false` at the end.
fn rest(shared: &Shared, looks: u32) -> bool {
    let inner = shared.lock();
    let time = shared.options.look_every * (looks - 1);
    let waited = shared.alarm.wait_timeout_while(inner, time, |inner| !inner.stopping);
    !waited.unwrap_or_else(PoisonError::into_inner).0.stopping
}

/// Removes all generations but the latest, whose number it returns.
fn tidy_folder(base: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(base) else { return 1 };
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    let latest = numbers.pop().unwrap_or(1);
    for number in numbers {
        remove(&base.join(number.to_string()));
    }
    latest
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "an old index cannot be removed, delete its folder"),
    }
}

/// Starts the tail thread of a new generation; it starts the read thread once it has opened.
fn begin(shared: &Arc<Shared>, number: u64) -> Generation {
    let folder = shared.options.folder.join(number.to_string());
    let generation = Generation {
        folder: folder.clone(),
        tail: Arc::default(),
        read: Arc::default(),
        seen: [(None, 0); 2],
        opened: false,
    };
    let id = shared.lock().generation;
    let (tail, read) = (Arc::clone(&generation.tail), Arc::clone(&generation.read));
    let owned = Arc::clone(shared);
    shared.lock().tails += 1;
    let life = move || {
        owned.live(id, || Tail::open(&owned, id, &folder, tail, read)?.run());
        owned.lock().tails -= 1;
        owned.moved.notify_all();
    };
    (shared.spawn)("index-tail", Box::new(life));
    generation
}

/// The tail thread: follows the journal.
struct Tail {
    shared: Arc<Shared>,
    generation: u64,
    store: Store,
    fold: Fold,
    checkpoint: Checkpoint,
    /// The last change that was in it when it was opened.
    opened_at: Seq,
    /// The last change that was taken in.
    taken: Seq,
    batches: u32,
}

impl Tail {
    fn open(
        shared: &Arc<Shared>,
        generation: u64,
        folder: &Path,
        pulse: Arc<Pulse>,
        read: Arc<Pulse>,
    ) -> Result<Self, Trouble> {
        let options = &shared.options;
        let (store, checkpoint, provisional) =
            Store::open(folder, options.cache_bytes, pulse, options.tripwire.clone())?;
        if checkpoint.up_to > shared.reader.last() {
            events::journal_behind_index(shared.reader.last(), checkpoint.up_to);
            return Err(Trouble::Damaged);
        }
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        let reading = store.for_thread(read);
        let reader_shared = Arc::clone(shared);
        let life = move || {
            // Moved inside: also the closing of the database is guarded.
            reader_shared
                .live(generation, move || answer(&reading, &asked).map(|()| drop(reading)));
        };
        (shared.spawn)("index-read", Box::new(life));
        let mut inner = shared.lock();
        if inner.generation == generation && !inner.stopping {
            inner.questions = Some(questions);
            inner.progress.tailed = checkpoint.up_to;
        }
        drop(inner);
        let shared = Arc::clone(shared);
        let (fold, taken) = (Fold { provisional }, checkpoint.up_to);
        let opened_at = taken;
        Ok(Self { shared, generation, store, fold, checkpoint, opened_at, taken, batches: 0 })
    }

    fn run(mut self) -> Result<(), Trouble> {
        loop {
            let (steps, up_to) = self.read();
            let caught_up = up_to >= self.shared.reader.last();
            let stuck = up_to == self.taken;
            if !self.take(steps, up_to, caught_up) {
                return Ok(());
            }
            let full = self.shared.lock().growing.steps >= FACTS_MAX;
            let wake = if caught_up || stuck { self.listen() } else { Wake::Rung };
            match wake {
                Wake::Rung if full => self.write()?,
                Wake::Rung => {}
                Wake::Quiet => self.write()?,
                Wake::Over => return Ok(()),
                Wake::Stop => {
                    self.write()?;
                    return self.store.flush();
                }
            }
        }
    }

    /// Reads on, a bounded number of changes. A damaged change is passed over: the journal's
    /// own recovery has already told the operator.
    fn read(&self) -> (Vec<(Seq, Step)>, Seq) {
        let mut steps = Vec::new();
        let mut seen = 0;
        let mut up_to = self.taken;
        if up_to >= self.shared.reader.last() {
            return (steps, up_to);
        }
        if let Some(fresh) = self.shared.lock().fresh.after(up_to) {
            return fresh;
        }
        let scanned = self.shared.reader.scan(self.taken.next(), &mut |seq, change| {
            if let Some(step) = boil_down(seq, &change) {
                steps.push((seq, step));
            }
            up_to = seq;
            seen += 1;
            if seen < SCAN_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match scanned {
            Ok(()) => {}
            Err(
                ReadError::Damaged { seq, .. } | ReadError::Missing(seq) | ReadError::Retired(seq),
            ) => {
                tracing::warn!(seq = seq.0, "the index passes over a change it cannot read");
                up_to = up_to.max(seq);
            }
            Err(ReadError::Io(error)) => {
                tracing::warn!(%error, "the index cannot read the journal, it tries again");
            }
        }
        (steps, up_to)
    }

    /// Makes what was read known to askers. `false` when this generation is over.
    fn take(&mut self, steps: Vec<(Seq, Step)>, up_to: Seq, caught_up: bool) -> bool {
        let mut facts = Facts::default();
        for (seq, step) in steps {
            if let Err(error) = self.fold.take(seq, step, &*self.shared.reader, &mut facts) {
                tracing::warn!(seq = seq.0, %error, "the index passes over a refusal");
            }
        }
        let mut inner = self.shared.lock();
        if inner.generation != self.generation {
            return false;
        }
        let growing = &mut inner.growing;
        growing.outcomes.extend(facts.outcomes);
        growing.provisional.extend(facts.provisional);
        growing.retired = growing.retired.max(facts.retired);
        growing.steps += facts.steps;
        for (institution, positions) in facts.positions {
            growing.positions.entry(institution).or_default().extend(positions);
        }
        self.taken = up_to;
        inner.progress.tailed = up_to;
        if caught_up && inner.progress.status == Status::CatchingUp {
            inner.progress.status = Status::Ready;
            let how = match (inner.progress.rebuilds, self.opened_at) {
                (0, Seq(0)) => "built",
                (0, _) => "opened",
                (_, _) => "rebuilt",
            };
            events::index_ready(up_to, how);
        }
        drop(inner);
        self.shared.moved.notify_all();
        true
    }

    /// Waits for the bell.
    fn listen(&self) -> Wake {
        let inner = self.shared.lock();
        let asleep = |inner: &mut Inner| {
            !inner.rung && !inner.stopping && inner.generation == self.generation
        };
        // A breath first: read in a few large pieces, not once for every commit.
        let on = |inner: &mut Inner| !inner.stopping && inner.generation == self.generation;
        let breath = self.shared.bell.wait_timeout_while(inner, BREATH, on);
        let (inner, _) = breath.unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.bell.wait_timeout_while(inner, QUIET, asleep);
        let (mut inner, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let wake = if inner.generation != self.generation {
            Wake::Over
        } else if inner.stopping {
            Wake::Stop
        } else if timeout.timed_out() {
            Wake::Quiet
        } else {
            Wake::Rung
        };
        inner.rung = false;
        wake
    }

    /// Writes what is known. Askers find the facts in memory until they are in the store.
    fn write(&mut self) -> Result<(), Trouble> {
        let facts = {
            let mut inner = self.shared.lock();
            if inner.generation != self.generation || self.taken == self.checkpoint.up_to {
                return Ok(());
            }
            let facts = Arc::new(std::mem::take(&mut inner.growing));
            inner.writing = Some(Arc::clone(&facts));
            facts
        };
        self.checkpoint = self.store.write(&facts, self.checkpoint, self.taken)?;
        if facts.retired > Seq(0) {
            let reader = &self.shared.reader;
            let stays = |transaction| reader.forwarded(transaction).is_some();
            self.checkpoint = self.store.retire(facts.retired, &stays, self.checkpoint)?;
        }
        let mut inner = self.shared.lock();
        if inner.generation == self.generation {
            inner.writing = None;
        }
        drop(inner);
        self.batches += 1;
        if self.batches.is_multiple_of(BATCHES_PER_FLUSH) {
            self.store.flush()?;
        }
        Ok(())
    }
}

enum Wake {
    Rung,
    Quiet,
    Stop,
    Over,
}

/// The read thread's life: answers until nobody can ask any more.
fn answer(store: &Store, asked: &Receiver<Question>) -> Result<(), Trouble> {
    loop {
        match asked.recv_timeout(QUIET) {
            Ok(question) => question(store)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
