//! Tasks and threads: the only place that spawns, so that none can fail unseen.
//!
//! What the end of a task means is a property of its kind:
//!
//! | kind | on an error or a panic | at shutdown |
//! |---|---|---|
//! | engine, store | the daemon stops | last to stop, must finish |
//! | intake | the daemon stops | first to stop, finishes its requests |
//! | attempt | its caller is told, who makes it an event | finishes within the grace period |
//! | probe, upkeep | logged, started again after a growing pause | aborted |
//!
//! Cancellation is not here: tokens are values that a task is given (`shutdown.rs`).

use super::clock::real_sleep;
use std::any::Any;
use std::fmt::{self, Display};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first pause before a probe or an upkeep is started again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

crate::domain::cell::words!(
    /// What a task is for; it decides what its failure means.
    Kind, "task kind", {
        /// What wakes the engine.
        Engine = "engine",
        /// The engine's thread: it owns the end of the journal.
        Store = "store",
        /// Listeners and connections.
        Intake = "intake",
        /// One call to an upstream.
        Attempt = "attempt",
        /// Asking an upstream whether it is there.
        Probe = "probe",
        /// Everything periodic that loses nothing when it is late.
        Upkeep = "upkeep",
    }
);

impl Kind {
    /// Whether the daemon cannot go on without it.
    #[must_use]
    pub const fn is_vital(self) -> bool {
        match self {
            Self::Engine | Self::Store | Self::Intake => true,
            Self::Attempt | Self::Probe | Self::Upkeep => false,
        }
    }
}

/// How a task ended, where that matters.
pub trait Ending {
    /// What went wrong, if anything did.
    fn failure(self) -> Option<String>;
}

impl Ending for () {
    fn failure(self) -> Option<String> {
        None
    }
}

// An endless loop has the type `!`, which cannot be written here yet but can be reached as what a
// function returns. Without this every such task would need a line that is never run.
impl Ending for <fn() -> ! as Returns>::Value {
    fn failure(self) -> Option<String> {
        self
    }
}

/// What a function pointer returns; only there to reach `!`.
#[doc(hidden)]
pub trait Returns {
    /// The type it returns.
    type Value;
}

impl<T> Returns for fn() -> T {
    type Value = T;
}

impl<E: Display> Ending for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// The failure of a task that the daemon cannot go on without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} task {name} failed: {why}")]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: &'static str,
    /// What went wrong.
    pub why: String,
}

/// Tasks were still running when the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{left} {kind} tasks had not ended in time")]
pub struct StillRunning {
    /// Their kind.
    pub kind: Kind,
    /// How many.
    pub left: usize,
}

/// Spawns and supervises. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    trackers: [TaskTracker; Kind::ALL.len()],
    upkeep_over: CancellationToken,
    failed: watch::Sender<Option<Failure>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = Kind::ALL.iter().map(|&kind| (kind.as_str(), self.running(kind)));
        f.debug_map().entries(running).finish()
    }
}

/// The niceness of what goes on beside the requests.
const BESIDE: i32 = 10;
/// The niceness of what has all the time in the world.
pub(super) const LAST: i32 = 19;

/// Lets the threads that somebody waits for go before this one. Where the kernel does not allow
/// it, all threads are equal, which is slower and not wrong.
pub(super) fn stand_back(niceness: i32) {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), niceness) {
        tracing::debug!(%error, "a background thread keeps its priority");
    }
}

impl Tasks {
    /// Spawns on `runtime`. Probes and upkeep end when `upkeep_over` is cancelled.
    #[must_use]
    pub fn new(runtime: Handle, upkeep_over: CancellationToken) -> Self {
        let (failed, _) = watch::channel(None);
        let trackers = std::array::from_fn(|_| TaskTracker::new());
        Self { inner: Arc::new(Inner { runtime, trackers, upkeep_over, failed }) }
    }

    /// Runs `future` once. A failure of a vital kind stops the daemon, of another kind is
    /// logged. Use [`Tasks::keep_running`] for what must start again and
    /// [`Tasks::spawn_attempt`] where somebody must learn of a panic.
    pub fn spawn<F>(&self, kind: Kind, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Ending,
    {
        let tasks = self.clone();
        self.track(kind, async move {
            if let Some(why) = tasks.guard(kind, future).await {
                tasks.report(Failure { kind, name, why });
            }
        });
    }

    /// Runs an attempt. `on_panic` is called when it panics, so that its transaction can become
    /// in doubt.
    pub fn spawn_attempt<F>(
        &self,
        name: &'static str,
        future: F,
        on_panic: impl FnOnce() + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.track(Kind::Attempt, async move {
            if let Some(why) = tasks.guard(Kind::Attempt, future).await {
                tasks.report(Failure { kind: Kind::Attempt, name, why });
                on_panic();
            }
        });
    }

    /// Runs what `make` makes, and makes it again after a growing pause whenever it fails or
    /// panics. Ends when it ends well or when upkeep is over.
    pub fn keep_running<M, F>(&self, kind: Kind, name: &'static str, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future + Send + 'static,
        F::Output: Ending,
    {
        let tasks = self.clone();
        self.track(kind, async move {
            let mut pause = FIRST_PAUSE;
            while let Some(why) = tasks.guard(kind, make()).await {
                tasks.report(Failure { kind, name, why });
                let over = tasks.inner.upkeep_over.cancelled();
                tokio::select! {
                    () = over => return,
                    () = real_sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                }
            }
        });
    }

    /// Runs `work` on a thread of its own. A failure means the same as a task's.
    pub fn spawn_thread<T, W>(&self, kind: Kind, name: &'static str, work: W)
    where
        T: Ending,
        W: FnOnce() -> T + Send + 'static,
    {
        let tasks = self.clone();
        let token = self.inner.trackers[kind as usize].token();
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if kind == Kind::Upkeep {
                stand_back(BESIDE);
            }
            let why = match catch_unwind(AssertUnwindSafe(work)) {
                Ok(ending) => ending.failure(),
                Err(panic) => Some(panic_text(panic.as_ref())),
            };
            if let Some(why) = why {
                tasks.report(Failure { kind, name, why });
            }
            drop(token);
        });
        if let Err(error) = started {
            self.report(Failure { kind, name, why: format!("no thread could be had: {error}") });
        }
    }

    /// The first failure of a vital task. Never returns when there is none.
    pub async fn failed(&self) -> Failure {
        let mut failed = self.inner.failed.subscribe();
        loop {
            if let Some(failure) = failed.borrow_and_update().clone() {
                return failure;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How many tasks of `kind` run.
    #[must_use]
    pub fn running(&self, kind: Kind) -> usize {
        self.inner.trackers[kind as usize].len()
    }

    /// Waits until every task of `kind` has ended, at most `bound` of real time. More may be
    /// spawned afterwards.
    ///
    /// # Errors
    /// [`StillRunning`] when the time was up first.
    pub async fn finish(&self, kind: Kind, bound: Duration) -> Result<(), StillRunning> {
        let tracker = &self.inner.trackers[kind as usize];
        // `wait` ends only on a closed tracker; the two belong together.
        tracker.close();
        let ended = tokio::time::timeout(bound, tracker.wait()).await;
        let left = tracker.len();
        tracker.reopen();
        ended.map_err(|_| StillRunning { kind, left })
    }

    fn track(&self, kind: Kind, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.inner.trackers[kind as usize].spawn_on(future, &self.inner.runtime));
    }

    /// Runs `future` to its end; what went wrong, if anything did.
    async fn guard<F>(&self, kind: Kind, future: F) -> Option<String>
    where
        F: Future,
        F::Output: Ending,
    {
        let guarded = Guarded(Box::pin(future));
        let ended = if matches!(kind, Kind::Probe | Kind::Upkeep) {
            self.inner.upkeep_over.run_until_cancelled(guarded).await?
        } else {
            guarded.await
        };
        match ended {
            Ok(ending) => ending.failure(),
            Err(panic) => Some(panic),
        }
    }

    fn report(&self, failure: Failure) {
        let Failure { kind, name, why } = &failure;
        if kind.is_vital() {
            tracing::error!(kind = kind.as_str(), task = name, why, "a task failed, stopping");
            self.inner.failed.send_if_modified(|first| {
                let is_first = first.is_none();
                if is_first {
                    *first = Some(failure.clone());
                }
                is_first
            });
        } else {
            tracing::error!(kind = kind.as_str(), task = name, why, "a task failed");
        }
    }
}

/// A future whose panic is an answer.
struct Guarded<F>(Pin<Box<F>>);

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A future that panicked is never polled again: the caller drops it.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_text(panic.as_ref()))),
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::time::timeout;

    const BOUND: Duration = Duration::from_secs(10);

    fn tasks() -> Tasks {
        Tasks::new(Handle::current(), CancellationToken::new())
    }

    async fn fails() -> Result<(), &'static str> {
        Err("no more")
    }

    #[tokio::test]
    async fn an_error_of_a_vital_task_is_a_failure_of_the_daemon() {
        let tasks = tasks();
        tasks.spawn(Kind::Attempt, "unimportant", fails());
        tasks.spawn(Kind::Engine, "step", fails());
        let failure = timeout(BOUND, tasks.failed()).await.unwrap();
        assert_eq!((failure.name, failure.why.as_str()), ("step", "no more"));
    }

    #[tokio::test]
    async fn a_panic_of_a_task_or_a_thread_is_noticed() {
        let tasks = tasks();
        tasks.spawn(Kind::Intake, "listener", async { panic!("as planned") });
        assert_eq!(timeout(BOUND, tasks.failed()).await.unwrap().why, "panicked: as planned");
        let others = self::tasks();
        others.spawn_thread(Kind::Store, "commit", || panic!("as planned"));
        assert_eq!(timeout(BOUND, others.failed()).await.unwrap().name, "commit");
    }

    #[tokio::test]
    async fn the_caller_of_an_attempt_learns_of_its_panic() {
        let tasks = tasks();
        let (told, learns) = tokio::sync::oneshot::channel();
        tasks.spawn_attempt("send", async { panic!("as planned") }, || told.send(()).unwrap());
        timeout(BOUND, learns).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_failing_probe_is_started_again_and_never_stops_the_daemon() {
        let tasks = tasks();
        let runs = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&runs);
        tasks.keep_running(Kind::Probe, "probe", move || {
            let run = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(run > 0, "the first run panics");
                if run == 1 { Err("the second fails") } else { Ok(()) }
            }
        });
        tasks.finish(Kind::Probe, BOUND).await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert!(tasks.inner.failed.borrow().is_none());
    }

    #[tokio::test]
    async fn finishing_is_bounded_and_upkeep_is_aborted_when_it_is_over() {
        let over = CancellationToken::new();
        let tasks = Tasks::new(Handle::current(), over.clone());
        tasks.spawn(Kind::Upkeep, "sweeper", std::future::pending::<()>());
        let early = tasks.finish(Kind::Upkeep, Duration::from_millis(10)).await;
        assert_eq!(early, Err(StillRunning { kind: Kind::Upkeep, left: 1 }));
        over.cancel();
        tasks.finish(Kind::Upkeep, BOUND).await.unwrap();
    }
}
