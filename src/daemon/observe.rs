//! What the daemon tells telemetry: durable changes, syncs, and how things stand.
//!
//! Nothing is decided here and nothing rests on it.

use super::clock::Stopwatch;
use crate::domain::cell::Cell;
use crate::domain::gate::{GateState, HealthPhase, Turn};
use crate::domain::ids::Seq;
use crate::domain::numbers::Numbers;
use crate::domain::outcome::DoubtReason;
use crate::domain::time::{Now, Timestamp};
use crate::engine::change::{Change, Settlement};
use crate::engine::machine::Machine;
use crate::engine::ports::{AppendError, Journal};
use crate::index::Index;
use crate::telemetry::events::{self, Replay, Standing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A journal whose commits are timed.
pub struct Timed(pub Box<dyn Journal>);

impl Journal for Timed {
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        let watch = Stopwatch::start();
        let appended = self.0.append(changes);
        match &appended {
            Ok(()) => events::committed(changes.len(), watch.elapsed()),
            Err(AppendError::Unknown(error)) => events::sync_failed(error),
            Err(AppendError::Full(_) | AppendError::Fenced) => {}
        }
        appended
    }

    fn close(self: Box<Self>) -> Result<(), AppendError> {
        self.0.close()
    }
}

/// Looks at what has become durable.
pub struct Observer {
    /// The numbers that transactions are told by.
    pub numbers: Arc<Numbers>,
    /// Follows the journal.
    pub index: Index,
    /// Set while nothing new may be taken for want of room.
    pub disk_reserve: Arc<AtomicBool>,
}

impl Observer {
    /// Changes became durable.
    pub fn committed(&self, changes: &[(Seq, Change)]) {
        self.index.committed(changes);
        for (seq, change) in changes {
            self.saw(*seq, change);
        }
    }

    /// The disk is full.
    pub fn disk_full(&self, error: &AppendError) {
        self.disk_reserve.store(true, Ordering::SeqCst);
        tracing::error!(code = "disk_full", %error, "nothing is acknowledged until there is room");
    }

    /// A gate turned.
    pub fn gate_turned(&self, cell: &Cell, to: GateState) {
        tracing::debug!(
            upstream = %cell.upstream, business = %cell.business, operation = %cell.operation,
            gate = to.as_str(), "a gate turned"
        );
    }

    fn saw(&self, seq: Seq, change: &Change) {
        match change {
            Change::Accepted(accepted) => {
                let id = self.numbers.transaction(seq);
                events::accepted(id, &accepted.institution, &accepted.cell);
            }
            Change::TurnedAway(record) => events::turned_away(&record.institution, &record.cell),
            Change::WindowSet(window) => events::window_set(window),
            Change::OverridesSet(list) => events::overrides_set(list.len()),
            Change::HealthSet { upstream, health } => {
                // The phase before is not part of the change; what counts is where it is now.
                let from = match health.phase {
                    HealthPhase::Open => HealthPhase::Reopening,
                    HealthPhase::Down => HealthPhase::Open,
                    HealthPhase::Verifying => HealthPhase::Down,
                    HealthPhase::Reopening => HealthPhase::Verifying,
                };
                events::health_turned(upstream, Turn { from, to: health.phase });
            }
            Change::DeadlineTold { extension, .. } => events::deadline_told(extension),
            Change::Settled { transaction, attempt, settlement, .. } => {
                let restarted =
                    matches!(settlement, Settlement::InDoubt { reason: DoubtReason::Restart, .. });
                if restarted {
                    let id = self.numbers.transaction(*transaction);
                    tracing::info!(
                        transaction_id = %id, attempt = attempt.0, reason = "restart",
                        "an attempt was cut off by the restart, the core will be asked"
                    );
                }
            }
            Change::Started { epoch, virtual_clock, .. } => events::started(*epoch, *virtual_clock),
            Change::ClockAccepted { by, at, .. } => events::clock_accepted(by, *at),
            Change::IntakeStopped(outage) => events::intake_stopped(outage.began, outage.ended),
            Change::AttemptStarted { .. }
            | Change::Resolved { .. }
            | Change::StillInDoubt { .. }
            | Change::Forwarded { .. }
            | Change::AuditNoted { .. }
            | Change::BlobStored(_)
            | Change::BlobsRemoved { .. }
            | Change::Retired { .. }
            | Change::ProvisionalDecided { .. }
            | Change::Ticketed { .. }
            | Change::TicketClosed { .. }
            | Change::Withdrawn { .. }
            | Change::DeadLettered { .. }
            | Change::Redriven { .. }
            | Change::ActionRequired { .. }
            | Change::Superseded { .. }
            | Change::ResultTold { .. }
            | Change::DeadlineRegistered { .. }
            | Change::Totals(_)
            | Change::Carried(_)
            | Change::DeadlineCarried { .. } => {}
        }
    }
}

/// How things stand, copied out of the engine.
#[must_use]
pub fn standing(machine: &Machine, now: Now) -> Standing {
    let (oldest_deliverable, oldest_blocked) = machine.oldest();
    let gates = machine.gates(now.wall);
    let windows = machine.windows_and_phases(now.wall).into_iter();
    let deadlines = machine.deadlines(now.wall);
    Standing {
        books: machine.books().clone(),
        quarantined: machine.is_quarantined(),
        oldest_deliverable,
        oldest_blocked,
        oldest_in_doubt: machine.oldest_in_doubt(),
        keys_blocked: machine.keys_blocked() as u64,
        results_untold: machine.results_untold(),
        in_flight: machine
            .upstreams(now.wall)
            .into_iter()
            .map(|upstream| (upstream.name, upstream.in_flight))
            .collect(),
        gates: gates.into_iter().map(|gate| (gate.cell.upstream.clone(), gate.state)).collect(),
        clock_jump_ms: machine.clock_doubt().map(|doubt| doubt.ahead_ms()),
        windows: windows.map(|(window, phase)| (phase, window.stretch())).collect(),
        replays: replays(machine, now.wall),
        open_max: machine.limits().open_transactions_max as u64,
        attachments: (machine.blobs_used().files, machine.blobs_used().bytes),
        deadlines: deadlines.registered,
        deadline_at_risk: deadlines.at_risk,
    }
}

fn replays(machine: &Machine, now: Timestamp) -> Vec<Replay> {
    let upstreams = machine.upstreams(now).into_iter();
    let views = machine.replays(now).into_iter().zip(upstreams);
    views
        .map(|(view, upstream)| Replay {
            upstream: view.upstream,
            held: view.held,
            remaining: view.remaining,
            due_since: view.due_since,
            stopped: view.stopped,
            unconfirmed: view.unconfirmed,
            rate: upstream.rate,
        })
        .collect()
}
