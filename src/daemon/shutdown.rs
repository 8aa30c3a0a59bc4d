//! Stopping in good order: five phases, each with a name and a share of the grace period.
//!
//! 1 readiness turns false, 2 intake finishes its requests, 3 attempts that are out finish and
//! none begins, 4 the last commit and the store is closed, 5 telemetry is flushed. A second
//! signal skips to phase 4. Attempts that are cut off stay in flight in the journal and become
//! in doubt at the next start.
//!
//! This is the order only: what each phase does is the composition's.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

crate::domain::cell::words!(
    /// A step of stopping.
    Phase, "shutdown phase", {
        /// Readiness turns false.
        NotReady = "not_ready",
        /// Intake takes nothing new and finishes.
        Intake = "intake",
        /// No new attempts; those that are out finish.
        Attempts = "attempts",
        /// The last commit; the store is closed.
        Store = "store",
        /// Logs and metrics are flushed.
        Telemetry = "telemetry",
    }
);

impl Phase {
    /// Its share of the grace period in percent. The store's is what the promises rest on: it
    /// is granted in full even after a second signal.
    const fn share(self) -> u32 {
        match self {
            Self::NotReady => 2,
            Self::Intake => 20,
            Self::Attempts => 48,
            Self::Store => 25,
            Self::Telemetry => 5,
        }
    }

    const fn may_be_skipped(self) -> bool {
        match self {
            Self::NotReady | Self::Intake | Self::Attempts => true,
            Self::Store | Self::Telemetry => false,
        }
    }
}

/// The state of stopping. Cheap to clone; may be asked to stop before the start, twice, or from
/// many places at once.
#[derive(Debug, Clone)]
pub struct Shutdown {
    grace: Duration,
    /// One token a phase, each the child of the next phase's: beginning a phase cancels the
    /// tokens of all phases before it.
    begun: [CancellationToken; Phase::ALL.len()],
    asked: CancellationToken,
    hurried: CancellationToken,
    cut_short: Arc<AtomicBool>,
}

impl Shutdown {
    /// Not stopping yet; `grace` is what all phases may take together.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        let telemetry = CancellationToken::new();
        let store = telemetry.child_token();
        let attempts = store.child_token();
        let intake = attempts.child_token();
        let not_ready = intake.child_token();
        Self {
            grace,
            begun: [not_ready, intake, attempts, store, telemetry],
            asked: CancellationToken::new(),
            hurried: CancellationToken::new(),
            cut_short: Arc::default(),
        }
    }

    /// The token that is cancelled when `phase` begins.
    #[must_use]
    pub fn token(&self, phase: Phase) -> CancellationToken {
        self.begun[phase as usize].clone()
    }

    /// Asks the daemon to stop; asked again, to hurry.
    pub fn ask(&self) {
        if self.asked.is_cancelled() {
            tracing::warn!("asked to stop again, skipping to the store");
            self.hurried.cancel();
        }
        self.asked.cancel();
    }

    /// Returns when the daemon has been asked to stop.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Whether the daemon has been asked to stop.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Whether a phase was cut short, so that the stop was not a clean one.
    #[must_use]
    pub fn was_forced(&self) -> bool {
        self.cut_short.load(Ordering::SeqCst)
    }

    /// Begins `phase` and does its work within its share of the grace period. `false` when the
    /// work was cut short, by the time or by a second signal.
    pub async fn phase(&self, phase: Phase, work: impl Future<Output = ()>) -> bool {
        let share = self.grace * phase.share() / 100;
        tracing::info!(phase = phase.as_str(), share_ms = share.as_millis(), "stopping");
        self.begun[phase as usize].cancel();
        let bounded = tokio::time::timeout(share, work);
        let finished = if phase.may_be_skipped() {
            matches!(self.hurried.run_until_cancelled(bounded).await, Some(Ok(())))
        } else {
            bounded.await.is_ok()
        };
        if !finished {
            tracing::warn!(phase = phase.as_str(), "the phase was cut short");
            self.cut_short.store(true, Ordering::SeqCst);
        }
        finished
    }

    /// Asks to stop at each SIGTERM and SIGINT, for as long as it runs.
    ///
    /// # Errors
    /// When the process may not listen to signals.
    pub async fn follow_signals(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            let more = tokio::select! {
                more = terminate.recv() => more,
                more = interrupt.recv() => more,
            };
            if more.is_none() {
                return Ok(());
            }
            self.ask();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_phases_are_the_whole_grace_period() {
        assert_eq!(Phase::ALL.iter().map(|p| p.share()).sum::<u32>(), 100);
    }

    #[tokio::test]
    async fn beginning_a_phase_begins_all_before_it_and_none_after() {
        let shutdown = Shutdown::new(Duration::from_secs(1));
        assert!(shutdown.phase(Phase::Attempts, async {}).await);
        let begun: Vec<bool> =
            Phase::ALL.iter().map(|&p| shutdown.token(p).is_cancelled()).collect();
        assert_eq!(begun, [true, true, true, false, false]);
        assert!(!shutdown.was_forced());
    }

    #[tokio::test]
    async fn a_second_request_skips_what_may_be_skipped_and_nothing_else() {
        let shutdown = Shutdown::new(Duration::from_secs(3600));
        shutdown.ask();
        shutdown.asked().await;
        assert!(shutdown.phase(Phase::NotReady, async {}).await);
        shutdown.ask();
        assert!(!shutdown.phase(Phase::Attempts, std::future::pending()).await);
        assert!(shutdown.phase(Phase::Store, tokio::task::yield_now()).await);
        assert!(shutdown.was_forced());
    }

    #[tokio::test]
    async fn a_phase_that_takes_too_long_is_cut_short() {
        let shutdown = Shutdown::new(Duration::from_millis(100));
        assert!(!shutdown.phase(Phase::Store, std::future::pending()).await);
        assert!(shutdown.was_forced());
    }
}
