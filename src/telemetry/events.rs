//! What happens, told once: each function writes the log line and the metrics of one event.
//!
//! Levels: error where data is at risk or a person must act, warn for the odd where nothing is
//! lost, info for changes of state that somebody asked for or must know of, debug by the batch,
//! trace by the transaction. Functions take identities, codes and counts; never a payload, a
//! reference to a person, a client's key, a core's answer or a text that somebody wrote.

pub mod kafka;
pub mod webhooks;

use super::metrics::{self, Line, Series, Which};
use crate::domain::cell::Cell;
use crate::domain::deadline::Extension;
use crate::domain::gate::{GateState, Turn};
use crate::domain::ids::{AttemptNo, InstitutionCode, Seq, TransactionId, UpstreamName};
use crate::domain::ledger::Books;
use crate::domain::outcome::{DoubtReason, Outcome, TransientReason};
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{Phase, Window};
use std::fmt::Display;
use std::time::Duration;

fn count(how: impl FnOnce(&'static Series)) {
    if let Some(series) = metrics::series() {
        how(series);
    }
}

fn count_line(cell: &Cell, which: impl FnOnce(&Line) -> &::metrics::Counter) {
    count(|series| which(series.line(cell)).increment(1));
}

/// Seconds since the Unix epoch; 0 for none.
#[expect(clippy::cast_precision_loss, reason = "milliseconds until the year 280000 are exact")]
pub(super) fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_millis() as f64 / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes below 2^53 are exact")]
fn number(value: u64) -> f64 {
    value as f64
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[expect(clippy::cast_precision_loss, reason = "anything but zero is an alarm, not a sum")]
fn difference(value: i128) -> f64 {
    value as f64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

// --- transactions ---

/// A transaction was accepted, durably.
pub fn accepted(id: TransactionId, institution: &InstitutionCode, cell: &Cell) {
    tracing::trace!(
        transaction_id = %id, %institution, business = %cell.business,
        operation = %cell.operation, "accepted"
    );
    count_line(cell, |line| &line.accepted);
}

/// A repeat was answered with the first receipt.
pub fn duplicate(id: TransactionId, cell: &Cell) {
    tracing::trace!(transaction_id = %id, "a repeat");
    count_line(cell, |line| &line.duplicates);
}

/// A submission was turned away by policy.
pub fn turned_away(institution: &InstitutionCode, cell: &Cell) {
    tracing::trace!(
        %institution, business = %cell.business, operation = %cell.operation, "turned away"
    );
    count_line(cell, |line| &line.turned_away);
}

/// A transaction came into a state where it stays, or where a person is needed.
pub fn arrived(id: TransactionId, cell: &Cell, state: State, now: Timestamp) {
    if matches!(state, State::Applied | State::Refused) {
        count(|series| series.upstream(&cell.upstream).progress.set(seconds(Some(now))));
    }
    match state {
        State::Applied => count_line(cell, |line| &line.applied),
        State::Refused => count_line(cell, |line| &line.refused),
        State::Withdrawn => count_line(cell, |line| &line.withdrawn),
        State::DeadLettered => {
            tracing::warn!(
                transaction_id = %id, business = %cell.business, operation = %cell.operation,
                "given up after sure failures, a person must redrive or skip it"
            );
            count_line(cell, |line| &line.dead_lettered);
            return;
        }
        State::Waiting
        | State::InFlight
        | State::InDoubt
        | State::ActionRequired
        | State::Ticketed
        | State::Superseded => {}
    }
    tracing::trace!(transaction_id = %id, state = state.as_str(), "arrived");
}

/// An attempt ended. `took` is from its first byte to its outcome.
pub fn attempt_settled<A>(
    id: TransactionId,
    attempt: AttemptNo,
    upstream: &UpstreamName,
    outcome: &Outcome<A>,
    took: Duration,
) {
    let attempt = attempt.0;
    let duration_ms = millis(took);
    count(|series| series.upstream(upstream).seconds.record(took.as_secs_f64()));
    match outcome {
        Outcome::Applied(_) => {
            tracing::trace!(
                transaction_id = %id, attempt, %upstream, duration_ms, outcome = "applied",
                "an attempt ended"
            );
            count(|series| series.upstream(upstream).applied.increment(1));
        }
        Outcome::Refused { code, .. } => {
            tracing::trace!(
                transaction_id = %id, attempt, %upstream, duration_ms, outcome = "refused", code,
                "an attempt ended"
            );
            count(|series| series.upstream(upstream).refused.increment(1));
        }
        Outcome::Transient { reason, .. } => {
            tracing::debug!(
                transaction_id = %id, attempt, %upstream, duration_ms, outcome = "transient",
                reason = reason.as_str(), "an attempt ended"
            );
            count(|series| {
                series.upstream(upstream).transient.increment(1);
                series.upstream(upstream).failures(*reason).increment(1);
            });
        }
        Outcome::InDoubt(reason) => in_doubt(id, attempt, upstream, *reason),
    }
}

/// Nobody knows what became of an attempt.
pub fn in_doubt(id: TransactionId, attempt: u32, upstream: &UpstreamName, reason: DoubtReason) {
    tracing::info!(
        transaction_id = %id, attempt, %upstream, outcome = "in_doubt", reason = reason.as_str(),
        "the outcome of an attempt is in doubt, the core will be asked"
    );
    count(|series| {
        let numbers = series.upstream(upstream);
        numbers.in_doubt.increment(1);
        numbers.doubts(reason).increment(1);
    });
}

/// An attempt was out when the process before this one ended.
pub fn cut_off(upstream: &UpstreamName) {
    count(|series| {
        let numbers = series.upstream(upstream);
        numbers.in_doubt.increment(1);
        numbers.doubts(DoubtReason::Restart).increment(1);
    });
}

/// An effect-bearing call began behind a closed gate: a defect of ours.
pub fn called_while_closed(id: TransactionId, upstream: &UpstreamName) {
    tracing::error!(transaction_id = %id, %upstream, "a call began behind a closed gate");
    count(|series| series.upstream(upstream).while_closed.increment(1));
}

// --- upstreams, gates, windows, deadlines ---

/// An upstream was probed.
pub fn probed(upstream: &UpstreamName, good: bool, now: Timestamp) {
    tracing::debug!(%upstream, good, "probed");
    count(|series| {
        let numbers = series.upstream(upstream);
        numbers.probe_success.set(flag(good));
        if good {
            numbers.probe_last.set(seconds(Some(now)));
        }
    });
}

/// The health of an upstream changed its phase.
pub fn health_turned(upstream: &UpstreamName, turn: Turn) {
    tracing::info!(
        %upstream, from = turn.from.as_str(), to = turn.to.as_str(), "an upstream turned"
    );
}

/// An operator closed, extended or reopened gates. Who and why stand in the audit log.
pub fn overrides_set(in_force: usize) {
    tracing::info!(count = in_force, "the operators' overrides of gates were set");
}

/// Nothing can be taken in for want of room, or something can again.
pub fn intake_stopped(began: Timestamp, ended: Option<Timestamp>) {
    match ended {
        None => tracing::warn!(%began, "nothing can be taken in for want of room"),
        Some(ended) => tracing::info!(%began, %ended, "there is room again"),
    }
}

/// A window was declared or changed. Who and why stand in the window and the audit log.
pub fn window_set(window: &Window) {
    tracing::info!(
        window = %window.id, version = window.version, "a window was set"
    );
}

/// A moved date was told.
pub fn deadline_told(extension: &Extension) {
    tracing::debug!(
        window = %extension.window, version = extension.version, from = %extension.from,
        to = %extension.to, "a moved deadline was told"
    );
    count(|series| series.extended(extension.rule).increment(1));
}

/// An entry was added to the audit log.
pub fn audited() {
    count(|series| series.audit.increment(1));
}

// --- start, store ---

/// What the recovery of the journal found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recovered {
    /// The last change.
    pub last: Seq,
    /// Transactions that are not final.
    pub live: u64,
    /// Attempts without an outcome, which are in doubt now.
    pub in_doubt: u64,
    /// Bytes of the unsynced tail that were cut.
    pub cut_bytes: u64,
    /// The journal is damaged and only looked at; how many changes were passed over.
    pub quarantined: Option<u64>,
    /// Whether the last stop was a clean one.
    pub clean: bool,
    /// When it was.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// The journal was recovered.
pub fn recovered(found: &Recovered) {
    tracing::info!(
        up_to = found.last.0,
        count = found.live,
        in_doubt = found.in_doubt,
        cut_bytes = found.cut_bytes,
        clean = found.clean,
        duration_ms = millis(found.took),
        "the journal was recovered"
    );
    count(|series| {
        series.started.set(seconds(Some(found.at)));
        series.started_clean.set(flag(found.clean));
    });
    if let Some(passed_over) = found.quarantined {
        tracing::error!(
            code = "quarantined",
            count = passed_over,
            "the journal is damaged and only looked at: nothing is sent, taken or written, and the \
            books cannot be proved; changes that rest on lost records were passed over"
        );
    }
}

/// The daemon owns its journal and serves.
pub fn started(epoch: u64, virtual_clock: bool) {
    let clock = if virtual_clock { "virtual" } else { "system" };
    tracing::info!(epoch, clock_kind = clock, "started");
}

/// A batch was made durable.
pub fn committed(changes: usize, sync: Duration) {
    tracing::debug!(batch = changes, duration_ms = millis(sync), "committed");
    count(|series| {
        series.batch.record(number(changes as u64));
        series.sync_seconds.record(sync.as_secs_f64());
    });
}

/// A write or a sync of the journal failed: nothing is acknowledged any more.
pub fn sync_failed(error: &dyn Display) {
    tracing::error!(
        %error, "the journal is poisoned, nothing is acknowledged, the daemon stops and recovers"
    );
    count(|series| {
        series.sync_errors.increment(1);
        series.read_only.set(1);
    });
}

/// The disk's reserve was reached, or there is room again.
pub fn store_read_only(read_only: bool) {
    if read_only {
        tracing::error!("the disk's reserve is reached, nothing is accepted until there is room");
    } else {
        tracing::info!("there is room again");
    }
    count(|series| series.read_only.set(flag(read_only)));
}

/// How much room there is, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// Taken by the data folder.
    pub used: u64,
    /// Free on its disk.
    pub free: u64,
    /// The disk's size.
    pub capacity: u64,
    /// Kept free for outcomes.
    pub reserve: u64,
}

/// The store was measured.
pub fn store_measured(room: Room) {
    count(|series| {
        series.store_bytes.set(number(room.used));
        series.store_free.set(number(room.free));
        series.store_capacity.set(number(room.capacity));
        series.store_reserve.set(number(room.reserve));
    });
}

/// Something that was synced is not what was written, or is missing; `what` says it in words,
/// `records` is how many are lost as far as anybody knows.
pub fn records_damaged(file: &str, offset: u64, what: &str, records: u64) {
    tracing::error!(
        code = "records_damaged",
        file,
        offset,
        why = what,
        count = records,
        "the journal is damaged: restore the file from a copy; until then what is lost is not \
        read, sent or answered"
    );
    count(|series| series.damaged.increment(number(records)));
}

/// A stored file, named by its place, could not be read. One that is missing or damaged is served and
/// sent to nobody.
pub fn attachment_unreadable(file: &str, error: &impl Display, is_damaged: bool) {
    if !is_damaged {
        tracing::error!(code = "attachment_unreadable", file, %error, "a file cannot be read");
        return;
    }
    tracing::error!(
        code = "attachment_damaged", file, %error,
        "restore the file in the folder blobs from a copy, or have its submitter upload it again; \
         then redrive what became a dead letter for it"
    );
    count(|series| series.blobs_damaged.increment(1));
}

/// A start compared the stored files with what is known of them.
pub fn attachments_settled(put_away: u64, missing: &[String]) {
    if put_away > 0 {
        tracing::info!(count = put_away, "files were put away that no record knows");
    }
    for file in missing {
        attachment_unreadable(file, &"the file is missing", true);
    }
}

/// Stored files that are known no longer were put away.
pub fn attachments_left(count: usize, left: std::io::Result<()>) {
    match left {
        Ok(()) => tracing::debug!(count, "files that nothing names were put away"),
        Err(error) => {
            tracing::warn!(count, %error, "files could not be put away; the next start does it");
        }
    }
}

/// A snapshot is not what was written. The one before it, or the segments, stand in for it.
pub fn snapshot_passed_over(file: &str, offset: u64) {
    tracing::error!(
        code = "snapshot_damaged",
        file,
        offset,
        "a snapshot is damaged and another one, or the segments, are read in its place; nothing is \
         lost by that, but look after the disk"
    );
}

/// A record that is needed and older than records are kept cannot be written once more.
pub fn needed_record_damaged(damaged: &impl Display) {
    tracing::error!(
        code = "record_damaged", error = %damaged,
        "old segments stay until the file is restored, or its transaction has ended"
    );
}

/// A transaction was not sent because its record could not be had.
pub fn record_not_loaded(transaction_id: TransactionId, reason: TransientReason, why: &str) {
    tracing::error!(
        code = reason.as_str(), %transaction_id, why,
        "the record cannot be read, nothing was sent: restore what is named; a dead letter then \
        goes on by holdover dead-letter redrive"
    );
}

/// Old segments have left the journal, which now begins with `begins`.
pub fn segments_left(segments: u64, bytes: u64, begins: Seq) {
    tracing::info!(segments, bytes, %begins, "old segments have left the journal");
}

/// No API key is good for `scope`. `what` says so, and what to do.
pub fn no_key(scope: &str, what: &impl Display) {
    tracing::warn!(code = "no_key", scope, "{what}");
}

// --- configuration ---

/// A configuration is in force, at the start or since it was read again.
pub fn config_taken(at: Timestamp) {
    count(|series| {
        series.config_reloaded.set(1);
        series.config_reloaded_at.set(seconds(Some(at)));
    });
}

/// A setting has another value from now on. A configuration holds no secret.
pub fn config_changed(key: &str, from: &str, to: &str) {
    tracing::info!(key, from, to, "a setting was taken over");
}

/// The configuration was read again and is in force; so many settings differ.
pub fn config_reloaded(changed: usize, at: Timestamp) {
    tracing::info!(count = changed, "the configuration was read again and is in force");
    config_taken(at);
}

/// One reason why a configuration that was read again is not taken over.
pub fn config_problem(key: &str, why: &impl Display) {
    tracing::error!(code = "config_refused", key, why = %why, "the configuration is not taken over");
}

/// A configuration that was read again is refused whole; the one before stays in force.
pub fn config_refused(problems: usize) {
    tracing::error!(
        code = "config_refused",
        count = problems,
        "nothing of the configuration was taken over, the one before stays in force; correct it \
        (holdover check-config FILE --difference) and reload again"
    );
    count(|series| series.config_reloaded.set(0));
}

// --- index ---

/// An index was given up and will be built anew. `reason` is one of
/// [`metrics::INDEX_REASONS`].
pub fn index_lost(reason: &'static str) {
    tracing::warn!(reason, "the index is given up and built anew from the journal");
    count(|series| {
        series.index_ready.set(0);
        if let Some(counter) = series.index_rebuilds(reason) {
            counter.increment(1);
        }
    });
}

/// The index knows of changes that the journal does not have. Only what was durable reaches the
/// index, so the journal has gone back: what was accepted after it is lost.
pub fn journal_behind_index(journal: Seq, index: Seq) {
    tracing::error!(
        code = "journal_behind_index",
        journal = journal.0,
        index = index.0,
        "the journal ends before what the index knows: it is an older copy, or another one; stop \
         the daemon and restore the newest journal, because what is missing was accepted, and \
         whoever sends it again is taken for a new one; this is told once, the index is built anew"
    );
}

/// The index has caught up with the journal. `reason` says where it came from: it was `opened`,
/// `built` where there was none, or `rebuilt` after it had been given up.
pub fn index_ready(up_to: Seq, reason: &'static str) {
    tracing::info!(up_to = up_to.0, reason, "the index is ready");
    count(|series| series.index_ready.set(1));
}

/// The index stays away: too many threads hang in it.
pub fn index_away() {
    tracing::error!("the index hangs again and again, listings stay away until the next start");
    count(|series| series.index_ready.set(0));
}

// --- requests ---

/// A request was answered. `route` is a template of the router.
pub fn http_answered(
    listener: &'static str,
    route: &str,
    method: &'static str,
    status: u16,
    took: Duration,
) {
    tracing::trace!(listener, route, method, status, duration_ms = millis(took), "answered");
    metrics::http(listener, route, method, status, took.as_secs_f64());
}

// --- the state, as it stands ---

/// What an upkeep copies out of the engine every few seconds.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The books.
    pub books: Books,
    /// Whether records are lost, so that the books cannot be proved.
    pub quarantined: bool,
    /// When the oldest transaction that could be sent was accepted.
    pub oldest_deliverable: Option<Timestamp>,
    /// When the oldest transaction behind a closed gate or a blocked key was accepted.
    pub oldest_blocked: Option<Timestamp>,
    /// When the oldest transaction in doubt was accepted.
    pub oldest_in_doubt: Option<Timestamp>,
    /// Ordering keys with something waiting behind a doubt, a dead letter or a needed action.
    pub keys_blocked: u64,
    /// Pre-accepted transactions that are final and not told.
    pub results_untold: u64,
    /// Attempts that are out, for each upstream.
    pub in_flight: Vec<(UpstreamName, u64)>,
    /// Each cell's upstream and gate.
    pub gates: Vec<(UpstreamName, GateState)>,
    /// The phase of each window, and from when to when it is planned.
    pub windows: Vec<(Phase, Interval)>,
    /// What waits for each upstream.
    pub replays: Vec<Replay>,
    /// Transactions that may be open.
    pub open_max: u64,
    /// Registered deadlines.
    pub deadlines: u64,
    /// How many attachments are stored, and their bytes.
    pub attachments: (u64, u64),
    /// When the next known deadline ends that a stop takes away.
    pub deadline_at_risk: Option<Timestamp>,
    /// How far the clock is ahead of where it should be, in milliseconds, while it is not
    /// believed.
    pub clock_jump_ms: Option<i64>,
}

/// What waits for one upstream.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Transactions before a closed gate.
    pub held: u64,
    /// Transactions behind an open one.
    pub remaining: u64,
    /// Since when the oldest that could go could go.
    pub due_since: Option<Timestamp>,
    /// Whether a window stops a part of it.
    pub stopped: bool,
    /// Whether an outage of it waits to be confirmed as a window or dismissed.
    pub unconfirmed: bool,
    /// Sends a second; `None` where only concurrency limits.
    pub rate: Option<u32>,
}

/// The audit log is open, and tells of this many losses.
pub fn audit_opened(losses: usize) {
    count(|series| series.audit_losses.set(number(losses as u64)));
}

/// The audit log is shorter than it was.
pub fn audit_lost(noted: u64, found: u64) {
    tracing::error!(
        code = "audit_lost",
        from = noted,
        to = found,
        "records of the audit log are missing, which the journal had noted: find out who removed \
         them, restore the file from a copy beside the new one"
    );
}

/// A person said what time it is, and time goes on from there.
pub fn clock_accepted(by: &str, at: Timestamp) {
    tracing::warn!(code = "clock_accepted", by, to = %at, "a person accepted the clock");
}

/// The clock is no longer believed, or is believed again. `ahead_ms` is how far it is ahead of
/// where it should be.
pub fn clock_turned(ahead_ms: Option<i64>) {
    match ahead_ms {
        Some(ahead_ms) => tracing::error!(
            code = "clock_jumped",
            ahead_ms,
            "the clock was set and is not believed, what windows closed stays closed until it is \
             set right or an operator accepts it"
        ),
        None => tracing::warn!(code = "clock_believed", "the clock is believed again"),
    }
}

/// Publishes how things stand, as the engine said it when the clock showed `at`. An imbalance of the
/// books is a defect of ours and said loudly.
pub fn stands(standing: &Standing, at: Timestamp) {
    let books = &standing.books;
    let (items, fen) = (books.difference(), books.amount_difference());
    if items != 0 || fen != 0 {
        tracing::error!(count = %items, fen = %fen, "the books do not balance");
    }
    count(|series| {
        let ahead = standing.clock_jump_ms.unwrap_or(0);
        series.clock_jump.set(difference(i128::from(ahead)) / 1000.0);
        // Where records are lost nobody knows the difference, and 0 would claim that it is none.
        let unknown = standing.quarantined.then_some(f64::NAN);
        series.imbalance.set(unknown.unwrap_or(difference(items)));
        series.imbalance_yuan.set(unknown.unwrap_or(difference(fen) / 100.0));
        series.imbalance_tickets.set(unknown.unwrap_or(difference(books.ticket_difference())));
        for &state in State::ALL {
            if let Some(gauge) = series.backlog(state) {
                gauge.set(number(books.in_state(state).items));
            }
        }
        series.dead_letters.set(number(books.in_state(State::DeadLettered).items));
        for &state in TicketState::ALL {
            series.tickets(state).set(number(books.tickets(state).items));
        }
        series.oldest_deliverable.set(seconds(standing.oldest_deliverable));
        series.oldest_blocked.set(seconds(standing.oldest_blocked));
        series.oldest_in_doubt.set(seconds(standing.oldest_in_doubt));
        series.keys_blocked.set(number(standing.keys_blocked));
        series.results_untold.set(number(standing.results_untold));
        series.backlog_limit.set(number(standing.open_max));
        series.registered.set(number(standing.deadlines));
        series.blob_files.set(number(standing.attachments.0));
        series.blob_bytes.set(number(standing.attachments.1));
        series.at_risk.set(seconds(standing.deadline_at_risk));
        series.heartbeat.set(seconds(Some(at)));
        windows_stand(series, &standing.windows);
        for (name, numbers) in series.upstreams() {
            let out = standing.in_flight.iter().find(|(upstream, _)| upstream == name);
            numbers.in_flight.set(number(out.map_or(0, |(_, out)| *out)));
            if let Some(replay) = standing.replays.iter().find(|replay| replay.upstream == *name) {
                numbers.held.set(number(replay.held));
                numbers.remaining.set(number(replay.remaining));
                numbers.due.set(seconds(replay.due_since));
                numbers.stopped.set(f64::from(u8::from(replay.stopped)));
                numbers.unconfirmed.set(f64::from(u8::from(replay.unconfirmed)));
                numbers.rate_limit.set(replay.rate.map_or(f64::INFINITY, f64::from));
            }
            for &state in GateState::ALL {
                let cells = standing.gates.iter().filter(|gate| gate.0 == *name && gate.1 == state);
                numbers.gates(state).set(number(cells.count() as u64));
            }
        }
    });
}

fn windows_stand(series: &Series, windows: &[(Phase, Interval)]) {
    for &phase in Phase::ALL {
        let here = windows.iter().filter(|(known, _)| *known == phase).count();
        series.windows(phase).set(number(here as u64));
    }
    let of = |phase| windows.iter().filter(move |(known, _)| *known == phase).map(|(_, at)| *at);
    let next = of(Phase::Scheduled).chain(of(Phase::Closing)).min_by_key(|at| at.start);
    let starts = |phase| of(phase).map(|at| at.start).min();
    let late = || of(Phase::Verifying).chain(of(Phase::Overrun));
    for (which, start, end) in [
        // Several may be active: everything is over when the last one is.
        (Which::Current, starts(Phase::Active), of(Phase::Active).map(|at| at.end).max()),
        (Which::Overrun, late().map(|at| at.start).min(), late().map(|at| at.end).min()),
        (Which::Next, next.map(|at| at.start), next.map(|at| at.end)),
    ] {
        let (start_gauge, end_gauge) = series.window(which);
        start_gauge.set(seconds(start));
        end_gauge.set(seconds(end));
    }
}
