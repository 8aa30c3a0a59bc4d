//! What the service manager (systemd) is told, and how it knows that the daemon works.
//!
//! | When | Message |
//! |---|---|
//! | while the journal is recovered | `STATUS=` how far, `EXTEND_TIMEOUT_USEC=` only while it gets on |
//! | the listeners are bound | `READY=1`, at the moment of the ready line |
//! | every few seconds | `STATUS=` the head of `holdover status`, where it has changed |
//! | at half of `WATCHDOG_USEC` | `WATCHDOG=1`, only after the engine has answered |
//! | around a reload | `RELOADING=1`, then `READY=1` |
//! | a stop was asked for | `STOPPING=1` |
//!
//! Without a service manager nothing of this is sent. A message that cannot be sent stops nobody.

use super::clock::{Stopwatch, real_sleep};
use super::serve::Daemon;
use super::tasks::Kind;
use crate::admin;
use crate::domain::ids::Seq;
use crate::engine::change::Change;
use crate::engine::ports::{JournalReader, ReadError, Snapshot};
use crate::engine::run::Handle;
use sd_notify::NotifyState;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the words are looked at again.
const WORDS_EVERY: Duration = Duration::from_secs(5);
/// How often a recovery says how far it is.
const RECOVERY_EVERY: Duration = Duration::from_secs(1);
/// For how long after such a word the manager waits for the next one.
const RECOVERY_MORE_MICROS: u32 = 60_000_000;
/// Changes between two looks at the stopwatch: a few milliseconds of reading.
const LOOK_AFTER: u64 = 4096;

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// The configuration is read again.
pub(super) fn reloading() {
    tell(&[NotifyState::Reloading]);
}

/// It was read, and is in force or refused: the log says which.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// A stop was asked for.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: finishing what is under way")]);
}

/// A step of the start that cannot tell how far it is.
pub(super) fn starting(words: &str) {
    tell(&[NotifyState::Status(words)]);
}

/// Says how far a recovery is, and asks for more time as long as it gets on.
struct Progress {
    watch: Stopwatch,
    seen: u64,
}

impl Progress {
    fn begin() -> Self {
        Self { watch: Stopwatch::start(), seen: 0 }
    }

    /// One more change was read.
    fn beat(&mut self, words: impl FnOnce(u64) -> String) {
        self.seen += 1;
        if self.seen.is_multiple_of(LOOK_AFTER) && self.watch.elapsed() >= RECOVERY_EVERY {
            self.watch = Stopwatch::start();
            let more = NotifyState::ExtendTimeoutUsec(RECOVERY_MORE_MICROS);
            tell(&[NotifyState::Status(&words(self.seen)), more]);
        }
    }
}

/// A journal whose reading is told.
pub(super) struct Told<'j>(pub(super) &'j dyn JournalReader);

impl JournalReader for Told<'_> {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        self.0.read(seq)
    }

    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut progress = Progress::begin();
        let last = self.0.last();
        self.0.scan(from, &mut |seq, change| {
            progress.beat(|_| format!("reading the journal, {} %", percent(from, seq, last)));
            visit(seq, change)
        })
    }

    fn forwarded(&self, transaction: Seq) -> Option<Seq> {
        self.0.forwarded(transaction)
    }

    fn damaged_in(&self, from: Seq, to: Seq) -> Option<ReadError> {
        self.0.damaged_in(from, to)
    }

    fn last(&self) -> Seq {
        self.0.last()
    }
}

fn percent(from: Seq, at: Seq, last: Seq) -> u64 {
    let whole = last.0.saturating_sub(from.0).max(1);
    at.0.saturating_sub(from.0).saturating_mul(100) / whole
}

/// A snapshot whose reading is told; how long it is nobody knows before its end.
pub(super) struct ToldSnapshot(pub(super) Box<dyn Snapshot>);

impl Snapshot for ToldSnapshot {
    fn visit(&self, visit: &mut dyn FnMut(&Change)) -> Result<(), ReadError> {
        let mut progress = Progress::begin();
        self.0.visit(&mut |change| {
            progress.beat(|seen| format!("reading the snapshot, {seen} changes"));
            visit(change);
        })
    }
}

impl Daemon {
    /// Says that the daemon is ready, and how everything stands.
    pub(super) async fn manager_ready(&self, state: &admin::State) {
        if self.has_manager {
            let status = admin::status::stands(state).await;
            let words = status.map_or_else(String::new, |status| status.headline);
            tell(&[NotifyState::Ready, NotifyState::Status(&words)]);
        }
    }

    /// Keeps the words of the service manager up to date, and its watchdog quiet while the engine
    /// answers.
    pub(super) fn keep_the_manager_told(&self, state: &admin::State) {
        if !self.has_manager {
            return;
        }
        let state = state.clone();
        self.tasks.keep_running(Kind::Upkeep, "service-manager", move || {
            let state = state.clone();
            async move {
                let mut said = String::new();
                // It ends with the engine.
                while let Some(status) = admin::status::stands(&state).await {
                    if status.headline != said {
                        tell(&[NotifyState::Status(&status.headline)]);
                        said = status.headline;
                    }
                    real_sleep(WORDS_EVERY).await;
                }
            }
        });
        let Some(within) = sd_notify::watchdog_enabled() else { return };
        let (engine, reserve) = (self.engine.clone(), self.disk_reserve.clone());
        self.tasks.keep_running(Kind::Upkeep, "watchdog", move || {
            let (engine, reserve) = (engine.clone(), reserve.clone());
            async move {
                let waits = || reserve.load(Ordering::SeqCst);
                watchdog(within / 2, &engine, waits, || tell(&[NotifyState::Watchdog])).await;
            }
        });
    }
}

/// Pings each time that the engine has answered, which it does after a commit. While the disk has no
/// room it waits for some and cannot answer, and an end of the process would mend nothing.
async fn watchdog(
    every: Duration,
    engine: &Handle,
    waits_for_room: impl Fn() -> bool,
    ping: impl Fn(),
) {
    loop {
        match tokio::time::timeout(every, engine.read(|_, _| ())).await {
            Ok(Some(())) => {
                ping();
                real_sleep(every).await;
            }
            // It has ended; the daemon's own end tells how.
            Ok(None) => return,
            Err(_) if waits_for_room() => ping(),
            Err(_) => tracing::error!(
                code = "engine_stalled",
                "the engine has not answered for half of the watchdog's time"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const EVERY: Duration = Duration::from_millis(20);

    /// How many pings there are in `looks` times of a watchdog whose engine never answers.
    async fn pings(waits_for_room: bool, looks: u32) -> usize {
        let (queue, _kept) = tokio::sync::mpsc::channel(64);
        let pinged = AtomicUsize::new(0);
        let engine = Handle::new(queue);
        let ping = || {
            pinged.fetch_add(1, Ordering::SeqCst);
        };
        let watching = watchdog(EVERY, &engine, || waits_for_room, ping);
        drop(tokio::time::timeout(EVERY * looks, watching).await);
        pinged.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn an_engine_that_does_not_answer_stops_the_ping_unless_it_waits_for_room() {
        assert_eq!(pings(false, 10).await, 0);
        assert!(pings(true, 20).await > 1);
    }

    #[test]
    fn a_recovery_tells_how_far_it_is() {
        assert_eq!(percent(Seq(100), Seq(140), Seq(200)), 40);
        assert_eq!(percent(Seq(1), Seq(1), Seq(0)), 0);
    }
}
