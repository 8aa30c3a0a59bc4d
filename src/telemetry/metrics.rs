//! Every metric: its name, help, labels and buckets, and the only place that records one.
//!
//! Labels come from closed sets (states, reasons, the catalogue's lines, the configured
//! upstreams, route templates); never a transaction, an institution, a person or an error text.
//! Every combination that is known at the start begins at zero. `events.rs` decides when
//! something is counted, this file only how.

#![expect(clippy::disallowed_macros, reason = "this file is where metrics are recorded")]

use super::events::kafka::{Published, RecordOutcome};
use super::events::webhooks::CallOutcome;
use crate::domain::cell::{Cell, Operation, words};
use crate::domain::deadline::Rule;
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, SubscriberName, UpstreamName};
use crate::domain::outcome::{DoubtReason, TransientReason};
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use crate::domain::window::Phase;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often a value fell under each bound.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

/// Seconds of an HTTP request; contains the 1 s that accepting is promised in.
const HTTP_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds of a call to an upstream; contains the 5 s that a core is given.
const CALL_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of a sync: 0.1 ms to 10 s.
const SYNC_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Changes in one commit.
const BATCH_CHANGES: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

const LINE: &[&str] = &["business", "operation"];
const UPSTREAM: &[&str] = &["upstream"];
const SUBSCRIBER: &[&str] = &["subscriber"];

macro_rules! catalogue {
    ($($ident:ident $kind:expr, $name:literal, $labels:expr, $help:literal;)+) => {
        $(const $ident: &str = $name;)+
        /// Every metric there is.
        pub const CATALOGUE: &[Metric] = &[
            $(Metric { name: $name, kind: $kind, help: $help, labels: $labels },)+
        ];
    };
}

catalogue! {
    BUILD_INFO Kind::Gauge, "holdover_build_info", &["version", "commit", "rustc"],
        "Always 1; the labels name the build";
    VIRTUAL_CLOCK Kind::Gauge, "holdover_virtual_clock", &[],
        "1 while the daemon's clock is moved by a driver";
    CLOCK_JUMP Kind::Gauge, "holdover_clock_jump_seconds", &[],
        "How far the clock is ahead of where it should be (behind: negative); 0 while it is believed";
    STARTED Kind::Gauge, "holdover_start_timestamp_seconds", &[], "When this process recovered its journal";
    STARTED_CLEAN Kind::Gauge, "holdover_start_clean", &[],
        "1 when the stop before this start was in good order, or there was none";
    HEARTBEAT Kind::Gauge, "holdover_engine_heartbeat_timestamp_seconds", &[],
        "When the engine last answered a look at it, which it does after a commit";
    CONFIG_RELOADED Kind::Gauge, "holdover_config_last_reload_successful", &[],
        "1 when the configuration was in force after it was last read, 0 when it was refused";
    CONFIG_RELOADED_AT Kind::Gauge, "holdover_config_last_reload_success_timestamp_seconds", &[],
        "When a configuration was last taken over, the start included";
    CALENDAR_END Kind::Gauge, "holdover_calendar_end_timestamp_seconds", &[],
        "When the last year ends whose working days are known";
    AUDIT_LOSSES Kind::Gauge, "holdover_audit_losses", &[],
        "Times that the audit log was found shorter than the journal had noted, by the log itself";
    HTTP_REQUESTS Kind::Counter, "holdover_http_requests_total",
        &["listener", "route", "method", "code"], "Requests answered, by class of status code";
    HTTP_SECONDS_NAME Kind::Histogram(HTTP_SECONDS), "holdover_http_request_duration_seconds",
        &["listener", "route", "method"], "Time from a request's head to its answer";
    ACCEPTED Kind::Counter, "holdover_accepted_total", LINE, "Transactions accepted, durably";
    APPLIED Kind::Counter, "holdover_applied_total", LINE, "Transactions that a core applied";
    REFUSED Kind::Counter, "holdover_refused_total", LINE, "Transactions that a core refused";
    TURNED_AWAY Kind::Counter, "holdover_turned_away_total", LINE,
        "Submissions turned away by policy";
    DEAD_LETTERED Kind::Counter, "holdover_dead_lettered_total", LINE,
        "Transactions given up after sure failures";
    WITHDRAWN Kind::Counter, "holdover_withdrawn_total", LINE, "Transactions taken back or skipped";
    DUPLICATES Kind::Counter, "holdover_duplicates_total", LINE,
        "Repeats answered with the first receipt";
    BACKLOG Kind::Gauge, "holdover_backlog_transactions", &["state"],
        "Accepted transactions that are not final";
    BACKLOG_OLDEST Kind::Gauge, "holdover_backlog_oldest_timestamp_seconds", &["class"],
        "When the oldest waiting transaction was accepted; 0 when none waits";
    BACKLOG_LIMIT Kind::Gauge, "holdover_backlog_limit_transactions", &[],
        "Transactions that may be open at a time; beyond that submissions are answered 507";
    HELD Kind::Gauge, "holdover_held_transactions", UPSTREAM,
        "Transactions that wait before a closed gate";
    REMAINING Kind::Gauge, "holdover_replay_remaining_transactions", UPSTREAM,
        "Transactions that wait behind an open gate";
    DUE Kind::Gauge, "holdover_replay_due_timestamp_seconds", UPSTREAM,
        "Since when the oldest transaction that could go could go, its acceptance or the opening of its gate; 0 when none could";
    PROGRESS Kind::Gauge, "holdover_replay_last_progress_timestamp_seconds", UPSTREAM,
        "When a transaction was last applied or refused; 0 for not since the start";
    RATE_LIMIT Kind::Gauge, "holdover_upstream_rate_limit_per_second", UPSTREAM,
        "Sends that pacing allows now; infinite where only concurrency limits";
    IN_FLIGHT Kind::Gauge, "holdover_in_flight_transactions", UPSTREAM, "Attempts that are out";
    IMBALANCE Kind::Gauge, "holdover_ledger_imbalance_transactions", &[],
        "Accepted less the sum over all states; anything but 0 is a defect; not a number while the journal is quarantined";
    IMBALANCE_YUAN Kind::Gauge, "holdover_ledger_imbalance_yuan", &[],
        "The same in money";
    IMBALANCE_TICKETS Kind::Gauge, "holdover_ledger_imbalance_tickets", &[],
        "Tickets issued less the sum over where they stand; anything but 0 is a defect; not a number while the journal is quarantined";
    WINDOW_STATE Kind::Gauge, "holdover_window_state", &["state"],
        "Windows in each phase of their life";
    WINDOW_START Kind::Gauge, "holdover_window_start_timestamp_seconds", &["which"],
        "Planned start of the active windows, of those that overrun, of the next; 0 when there is none";
    WINDOW_END Kind::Gauge, "holdover_window_end_timestamp_seconds", &["which"],
        "Planned end of the same: the latest of the active, the earliest of those that overrun; 0 when there is none";
    UNCONFIRMED Kind::Gauge, "holdover_outage_unconfirmed", UPSTREAM,
        "1 while an outage of the upstream that nobody planned waits to be confirmed as a window or dismissed";
    STOPPED Kind::Gauge, "holdover_upstream_stopped", UPSTREAM,
        "1 while a window stops a part of it and is not past its planned end";
    GATES Kind::Gauge, "holdover_gates", &["upstream", "state"], "Cells by the state of their gate";
    CALLS Kind::Counter, "holdover_upstream_calls_total", &["upstream", "outcome"],
        "Attempts that ended, by outcome";
    CALL_SECONDS_NAME Kind::Histogram(CALL_SECONDS), "holdover_upstream_call_duration_seconds",
        UPSTREAM, "Time of an attempt from its first byte to its outcome";
    CALLS_WHILE_CLOSED Kind::Counter, "holdover_upstream_calls_while_closed_total", UPSTREAM,
        "Effect-bearing calls begun behind a closed gate; anything but 0 is a defect";
    PROBE_SUCCESS Kind::Gauge, "holdover_upstream_probe_success", UPSTREAM,
        "1 when the last probe was good";
    PROBE_LAST Kind::Gauge, "holdover_upstream_probe_last_success_timestamp_seconds", UPSTREAM,
        "When a probe was good last; 0 for never";
    FAILURES Kind::Counter, "holdover_sure_failures_total", &["upstream", "reason"],
        "Attempts that surely did not take effect; most are made again";
    DOUBTS Kind::Counter, "holdover_doubts_total", &["upstream", "reason"],
        "Attempts whose outcome was not known";
    KEYS_BLOCKED Kind::Gauge, "holdover_keys_blocked", &[],
        "Ordering keys with something waiting behind a doubt, a dead letter or a needed action";
    DEAD_LETTERS Kind::Gauge, "holdover_dead_letters", &[], "Dead letters that wait for a person";
    RESULTS_UNTOLD Kind::Gauge, "holdover_results_untold", &[],
        "Pre-accepted transactions that are final and whose result was not noted as told to the person";
    EXTENDED Kind::Counter, "holdover_deadlines_extended_total", &["rule"],
        "Moves of deadlines that were told";
    REGISTERED Kind::Gauge, "holdover_deadlines_registered", &[], "Registered deadlines";
    AT_RISK Kind::Gauge, "holdover_deadline_at_risk_timestamp_seconds", &[],
        "When the next known deadline ends that lies in a stop and was not moved out of it, or that something waiting carries and is due within a day; 0 when there is none";
    TICKETS Kind::Gauge, "holdover_tickets", &["state"], "Tickets ever issued, by where they stand";
    IN_DOUBT_OLDEST Kind::Gauge, "holdover_in_doubt_oldest_timestamp_seconds", &[],
        "When the oldest transaction in doubt was accepted; 0 when none is";
    SYNC_SECONDS_NAME Kind::Histogram(SYNC_SECONDS), "holdover_store_sync_duration_seconds", &[],
        "Time of one sync of the journal";
    BATCH Kind::Histogram(BATCH_CHANGES), "holdover_store_batch_changes", &[],
        "Changes made durable by one commit";
    SYNC_ERRORS Kind::Counter, "holdover_store_sync_errors_total", &[],
        "Writes or syncs of the journal that failed";
    STORE_BYTES Kind::Gauge, "holdover_store_bytes", &[], "Size of the data folder";
    STORE_FREE Kind::Gauge, "holdover_store_free_bytes", &[], "Free space on the data folder's disk";
    STORE_CAPACITY Kind::Gauge, "holdover_store_capacity_bytes", &[], "Size of the data folder's disk";
    STORE_RESERVE Kind::Gauge, "holdover_store_reserve_bytes", &[],
        "Free space below which nothing new is accepted";
    DAMAGED Kind::Gauge, "holdover_store_damaged_records", &[],
        "Records that were found damaged since the start";
    BLOB_FILES Kind::Gauge, "holdover_attachments_files", &[], "Attachments that are kept";
    BLOB_BYTES Kind::Gauge, "holdover_attachments_bytes", &[],
        "Size of the attachments that are kept, before they were sealed";
    BLOBS_DAMAGED Kind::Counter, "holdover_attachments_damaged_total", &[],
        "Attachments that were found missing or damaged when somebody needed them";
    READ_ONLY Kind::Gauge, "holdover_store_read_only", &[],
        "1 while nothing is accepted for lack of disk or after a failed sync";
    AUDIT Kind::Counter, "holdover_audit_entries_total", &[], "Entries of the audit log";
    LOGS Kind::Counter, "holdover_log_messages_total", &["level"], "Log lines by level";
    INDEX_REBUILDS Kind::Counter, "holdover_index_rebuilds_total", &["reason"],
        "Indexes given up and built anew";
    INDEX_READY Kind::Gauge, "holdover_index_ready", &[], "1 while listings are answered";
    KAFKA_RECORDS Kind::Counter, "holdover_kafka_records_total", &["outcome"],
        "Records taken from Kafka, by what came of them";
    KAFKA_LAG Kind::Gauge, "holdover_kafka_consumer_lag_records", &[],
        "Records that stand in the topics and are not done";
    KAFKA_TOPICS Kind::Gauge, "holdover_kafka_intake_topics", &[],
        "Topics that are to be taken in; 0 without Kafka";
    KAFKA_PARTITIONS Kind::Gauge, "holdover_kafka_assigned_partitions", &[],
        "Partitions that are being taken in";
    KAFKA_REBALANCES Kind::Counter, "holdover_kafka_rebalances_total", &[],
        "Changes of which partitions are taken in";
    KAFKA_INTERRUPTIONS Kind::Counter, "holdover_kafka_intake_interruptions_total", &[],
        "Times that the intake from Kafka ended before its time and began again";
    KAFKA_DELIVERY_FAILURES Kind::Counter, "holdover_kafka_delivery_failures_total", &[],
        "Answers, dead letters and events that the brokers did not confirm";
    KAFKA_PUBLISHED Kind::Counter, "holdover_kafka_published_records_total", &["event"],
        "Results and windows that were published to topics";
    KAFKA_UNPUBLISHED Kind::Gauge, "holdover_kafka_unpublished_changes", &[],
        "Changes that were not looked at yet for what is to be published";
    WEBHOOK_CALLS Kind::Counter, "holdover_webhook_calls_total", &["subscriber", "outcome"],
        "Announcements that a subscriber was called with, by what came of it";
    WEBHOOK_WAITING Kind::Gauge, "holdover_webhook_waiting_announcements", SUBSCRIBER,
        "Announcements that a subscriber was not told yet";
    WEBHOOK_OLDEST Kind::Gauge, "holdover_webhook_oldest_timestamp_seconds", SUBSCRIBER,
        "Since when the oldest of them waits; 0 when none does";
    WEBHOOK_DISABLED Kind::Gauge, "holdover_webhook_disabled", SUBSCRIBER,
        "1 while a subscriber is told nothing because it has answered 410";
}

/// Why an index is given up, as a label.
pub const INDEX_REASONS: &[&str] = &["damaged", "panicked", "hanging", "deleted"];
words!(
    /// Which windows a time is about.
    Which, "choice of windows", {
        /// Those that are active.
        Current = "current",
        /// Those past their planned end that are not restored yet.
        Overrun = "overrun",
        /// The next one that is to come.
        Next = "next",
    }
);

const OUTCOMES: &[&str] = &["applied", "refused", "transient", "in_doubt"];
const RULES: &[&str] = &[
    "none",
    "first_full_working_day",
    "restore_plus_working_days",
    "shift_by_outage",
    "restore_plus_days",
    "fixed_date",
];
pub(super) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// The label of a line that is not in the catalogue any more.
const OTHER: &str = "other";

/// The counters of one line of the catalogue.
pub(super) struct Line {
    pub(super) accepted: Counter,
    pub(super) applied: Counter,
    pub(super) refused: Counter,
    pub(super) turned_away: Counter,
    pub(super) dead_lettered: Counter,
    pub(super) withdrawn: Counter,
    pub(super) duplicates: Counter,
}

impl Line {
    fn new(business: &str, operation: &'static str) -> Self {
        let of = |name| counter!(name, "business" => business.to_owned(), "operation" => operation);
        Self {
            accepted: of(ACCEPTED),
            applied: of(APPLIED),
            refused: of(REFUSED),
            turned_away: of(TURNED_AWAY),
            dead_lettered: of(DEAD_LETTERED),
            withdrawn: of(WITHDRAWN),
            duplicates: of(DUPLICATES),
        }
    }
}

/// The numbers of one upstream.
pub(super) struct Upstream {
    pub(super) in_flight: Gauge,
    pub(super) held: Gauge,
    pub(super) remaining: Gauge,
    pub(super) due: Gauge,
    pub(super) stopped: Gauge,
    /// Whether an outage of it waits for a person's word.
    pub(super) unconfirmed: Gauge,
    pub(super) progress: Gauge,
    pub(super) rate_limit: Gauge,
    gates: Vec<Gauge>,
    pub(super) applied: Counter,
    pub(super) refused: Counter,
    pub(super) transient: Counter,
    pub(super) in_doubt: Counter,
    pub(super) seconds: Histogram,
    pub(super) while_closed: Counter,
    pub(super) probe_success: Gauge,
    pub(super) probe_last: Gauge,
    failures: Vec<Counter>,
    doubts: Vec<Counter>,
}

impl Upstream {
    fn new(name: &str) -> Self {
        let name = name.to_owned();
        let plain = |metric| gauge!(metric, "upstream" => name.clone());
        let ended = |outcome| counter!(CALLS, "upstream" => name.clone(), "outcome" => outcome);
        let [applied, refused, transient, in_doubt] =
            [OUTCOMES[0], OUTCOMES[1], OUTCOMES[2], OUTCOMES[3]].map(ended);
        let failure = |r: &TransientReason| counter!(FAILURES, "upstream" => name.clone(), "reason" => r.as_str());
        let doubt =
            |r: &DoubtReason| counter!(DOUBTS, "upstream" => name.clone(), "reason" => r.as_str());
        let gate = |s: &GateState| gauge!(GATES, "upstream" => name.clone(), "state" => s.as_str());
        Self {
            in_flight: plain(IN_FLIGHT),
            held: plain(HELD),
            remaining: plain(REMAINING),
            due: plain(DUE),
            stopped: plain(STOPPED),
            unconfirmed: plain(UNCONFIRMED),
            progress: plain(PROGRESS),
            rate_limit: plain(RATE_LIMIT),
            gates: GateState::ALL.iter().map(gate).collect(),
            applied,
            refused,
            transient,
            in_doubt,
            seconds: histogram!(CALL_SECONDS_NAME, "upstream" => name.clone()),
            while_closed: counter!(CALLS_WHILE_CLOSED, "upstream" => name.clone()),
            probe_success: plain(PROBE_SUCCESS),
            probe_last: plain(PROBE_LAST),
            failures: TransientReason::ALL.iter().map(failure).collect(),
            doubts: DoubtReason::ALL.iter().map(doubt).collect(),
        }
    }

    pub(super) fn gates(&self, state: GateState) -> &Gauge {
        &self.gates[state as usize]
    }

    pub(super) fn failures(&self, reason: TransientReason) -> &Counter {
        &self.failures[reason as usize]
    }

    pub(super) fn doubts(&self, reason: DoubtReason) -> &Counter {
        &self.doubts[reason as usize]
    }
}

/// A handle to every series that is known at the start.
pub(super) struct Series {
    lines: HashMap<(Business, Operation), Line>,
    other_line: Line,
    upstreams: HashMap<UpstreamName, Upstream>,
    other_upstream: Upstream,
    backlog: Vec<Gauge>,
    pub(super) oldest_deliverable: Gauge,
    pub(super) oldest_blocked: Gauge,
    pub(super) oldest_in_doubt: Gauge,
    pub(super) clock_jump: Gauge,
    pub(super) started: Gauge,
    pub(super) started_clean: Gauge,
    pub(super) heartbeat: Gauge,
    pub(super) config_reloaded: Gauge,
    pub(super) config_reloaded_at: Gauge,
    pub(super) backlog_limit: Gauge,
    pub(super) imbalance: Gauge,
    pub(super) imbalance_yuan: Gauge,
    pub(super) imbalance_tickets: Gauge,
    windows: Vec<Gauge>,
    window_start: Vec<Gauge>,
    window_end: Vec<Gauge>,
    pub(super) registered: Gauge,
    pub(super) at_risk: Gauge,
    pub(super) keys_blocked: Gauge,
    pub(super) dead_letters: Gauge,
    pub(super) results_untold: Gauge,
    extended: Vec<Counter>,
    tickets: Vec<Gauge>,
    pub(super) sync_seconds: Histogram,
    pub(super) batch: Histogram,
    pub(super) sync_errors: Counter,
    pub(super) store_bytes: Gauge,
    pub(super) store_free: Gauge,
    pub(super) store_capacity: Gauge,
    pub(super) store_reserve: Gauge,
    pub(super) damaged: Gauge,
    pub(super) blob_files: Gauge,
    pub(super) blob_bytes: Gauge,
    pub(super) blobs_damaged: Counter,
    pub(super) read_only: Gauge,
    pub(super) audit: Counter,
    pub(super) audit_losses: Gauge,
    logs: Vec<Counter>,
    index_rebuilds: Vec<Counter>,
    pub(super) index_ready: Gauge,
    pub(super) kafka: KafkaSeries,
    subscribers: HashMap<SubscriberName, SubscriberSeries>,
}

impl Series {
    fn new(known: &Known) -> Self {
        gauge!(
            BUILD_INFO,
            "version" => env!("CARGO_PKG_VERSION"),
            "commit" => option_env!("HOLDOVER_COMMIT").unwrap_or("unknown"),
            "rustc" => env!("CARGO_PKG_RUST_VERSION"),
        )
        .set(1);
        gauge!(VIRTUAL_CLOCK).set(f64::from(u8::from(known.virtual_clock)));
        let line = |(business, operation): &(Business, Operation)| {
            let series = Line::new(business.as_str(), operation.as_str());
            ((business.clone(), *operation), series)
        };
        let upstream = |name: &UpstreamName| (name.clone(), Upstream::new(name.as_str()));
        let subscriber =
            |name: &SubscriberName| (name.clone(), SubscriberSeries::new(name.as_str()));
        let index_ready = gauge!(INDEX_READY);
        index_ready.set(0);
        gauge!(CALENDAR_END).set(super::events::seconds(Some(known.calendar_ends)));
        gauge!(KAFKA_TOPICS).set(f64::from(known.kafka_topics));
        Self {
            lines: known.lines.iter().map(line).collect(),
            other_line: Line::new(OTHER, OTHER),
            upstreams: known.upstreams.iter().map(upstream).collect(),
            other_upstream: Upstream::new(OTHER),
            backlog: each_state(|state| gauge!(BACKLOG, "state" => state)),
            oldest_deliverable: gauge!(BACKLOG_OLDEST, "class" => "deliverable"),
            oldest_blocked: gauge!(BACKLOG_OLDEST, "class" => "blocked"),
            oldest_in_doubt: gauge!(IN_DOUBT_OLDEST),
            clock_jump: gauge!(CLOCK_JUMP),
            started: gauge!(STARTED),
            started_clean: gauge!(STARTED_CLEAN),
            heartbeat: gauge!(HEARTBEAT),
            config_reloaded: gauge!(CONFIG_RELOADED),
            config_reloaded_at: gauge!(CONFIG_RELOADED_AT),
            backlog_limit: gauge!(BACKLOG_LIMIT),
            imbalance: gauge!(IMBALANCE),
            imbalance_yuan: gauge!(IMBALANCE_YUAN),
            imbalance_tickets: gauge!(IMBALANCE_TICKETS),
            window_start: each_which(|which| gauge!(WINDOW_START, "which" => which)),
            window_end: each_which(|which| gauge!(WINDOW_END, "which" => which)),
            registered: gauge!(REGISTERED),
            at_risk: gauge!(AT_RISK),
            windows: each(
                Phase::ALL.iter().map(|p| p.as_str()),
                |state| gauge!(WINDOW_STATE, "state" => state),
            ),
            keys_blocked: gauge!(KEYS_BLOCKED),
            dead_letters: gauge!(DEAD_LETTERS),
            results_untold: gauge!(RESULTS_UNTOLD),
            extended: each(RULES.iter().copied(), |rule| counter!(EXTENDED, "rule" => rule)),
            tickets: each(
                TicketState::ALL.iter().map(|t| t.as_str()),
                |state| gauge!(TICKETS, "state" => state),
            ),
            sync_seconds: histogram!(SYNC_SECONDS_NAME),
            batch: histogram!(BATCH),
            sync_errors: counter!(SYNC_ERRORS),
            store_bytes: gauge!(STORE_BYTES),
            store_free: gauge!(STORE_FREE),
            store_capacity: gauge!(STORE_CAPACITY),
            store_reserve: gauge!(STORE_RESERVE),
            damaged: gauge!(DAMAGED),
            blob_files: gauge!(BLOB_FILES),
            blob_bytes: gauge!(BLOB_BYTES),
            blobs_damaged: counter!(BLOBS_DAMAGED),
            read_only: gauge!(READ_ONLY),
            audit: counter!(AUDIT),
            audit_losses: gauge!(AUDIT_LOSSES),
            logs: each(LEVELS.into_iter(), |level| counter!(LOGS, "level" => level)),
            index_rebuilds: each(
                INDEX_REASONS.iter().copied(),
                |reason| counter!(INDEX_REBUILDS, "reason" => reason),
            ),
            index_ready,
            kafka: KafkaSeries::new(),
            subscribers: known.subscribers.iter().map(subscriber).collect(),
        }
    }

    pub(super) fn line(&self, cell: &Cell) -> &Line {
        // The map's key owns its name; cloning one only counts a reference.
        let key = (cell.business.clone(), cell.operation);
        self.lines.get(&key).unwrap_or(&self.other_line)
    }

    pub(super) fn upstream(&self, name: &UpstreamName) -> &Upstream {
        self.upstreams.get(name).unwrap_or(&self.other_upstream)
    }

    /// `None` for one that was not configured at the start.
    pub(super) fn subscriber(&self, name: &SubscriberName) -> Option<&SubscriberSeries> {
        self.subscribers.get(name)
    }

    pub(super) fn upstreams(&self) -> impl Iterator<Item = (&UpstreamName, &Upstream)> {
        self.upstreams.iter()
    }

    /// `None` for a final state: it is not part of the backlog.
    pub(super) fn backlog(&self, state: State) -> Option<&Gauge> {
        let position = State::ALL.iter().filter(|s| !s.is_final()).position(|&s| s == state);
        self.backlog.get(position?)
    }

    pub(super) fn windows(&self, phase: Phase) -> &Gauge {
        &self.windows[phase as usize]
    }

    /// The planned start and end of the windows that `which` means.
    pub(super) fn window(&self, which: Which) -> (&Gauge, &Gauge) {
        (&self.window_start[which as usize], &self.window_end[which as usize])
    }

    pub(super) fn tickets(&self, state: TicketState) -> &Gauge {
        &self.tickets[state as usize]
    }

    pub(super) fn extended(&self, rule: Rule) -> &Counter {
        &self.extended[match rule {
            Rule::None => 0,
            Rule::FirstFullWorkingDay => 1,
            Rule::RestorePlusWorkingDays(_) => 2,
            Rule::ShiftByOutage => 3,
            Rule::RestorePlusDays(_) => 4,
            Rule::FixedDate(_) => 5,
        }]
    }

    /// `level` is a place in [`LEVELS`].
    pub(super) fn logs(&self, level: usize) -> Option<&Counter> {
        self.logs.get(level)
    }

    pub(super) fn index_rebuilds(&self, reason: &str) -> Option<&Counter> {
        self.index_rebuilds.get(INDEX_REASONS.iter().position(|&known| known == reason)?)
    }
}

fn each<T>(words: impl Iterator<Item = &'static str>, make: impl Fn(&'static str) -> T) -> Vec<T> {
    words.map(make).collect()
}

fn each_which<T>(make: impl Fn(&'static str) -> T) -> Vec<T> {
    each(Which::ALL.iter().map(|which| which.as_str()), make)
}

fn each_state<T>(make: impl Fn(&'static str) -> T) -> Vec<T> {
    each(State::ALL.iter().filter(|s| !s.is_final()).map(|s| s.as_str()), make)
}

/// What is known at the start: the label values that begin at zero.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The lines of the catalogue.
    pub lines: Vec<(Business, Operation)>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamName>,
    /// Whether a driver moves the clock.
    pub virtual_clock: bool,
    /// When the last year ends whose working days are known.
    pub calendar_ends: Timestamp,
    /// How many topics of Kafka are to be taken in.
    pub kafka_topics: u32,
    /// Who is told of stops.
    pub subscribers: Vec<SubscriberName>,
}

static SERIES: OnceLock<Series> = OnceLock::new();

/// The series, once metrics have been installed; before that nothing is counted.
pub(super) fn series() -> Option<&'static Series> {
    SERIES.get()
}

/// The way to what was recorded. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Why metrics could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A histogram has no buckets.
    #[error("a histogram has no bounds: {0}")]
    Buckets(#[from] BuildError),
    /// There is one recorder a process.
    #[error("metrics are installed already, install them once")]
    Twice,
}

impl Metrics {
    /// Installs the recorder of this process. Call it once, before anything is counted.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn install(known: &Known) -> Result<Self, Error> {
        let recorder = recorder()?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| Error::Twice)?;
        describe();
        SERIES.set(Series::new(known)).map_err(|_| Error::Twice)?;
        Ok(Self { handle })
    }

    /// Everything that was recorded, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves what was observed into the buckets. To be called every few seconds: between two
    /// calls every observation is kept by itself.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in CATALOGUE {
        if let Kind::Histogram(bounds) = metric.kind {
            let matcher = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, bounds)?;
        }
    }
    Ok(builder.build_recorder())
}

fn describe() {
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

/// Counts a request. `route` is a template, never a path; `status` is cut to its class.
pub(super) fn http(
    listener: &'static str,
    route: &str,
    method: &'static str,
    status: u16,
    seconds: f64,
) {
    if series().is_none() {
        return;
    }
    let code = match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => OTHER,
    };
    let asked = |known: &&HttpSeries| {
        (known.listener, known.method, known.code) == (listener, method, code)
    };
    let routes = HTTP.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = routes.get(route).and_then(|all| all.iter().find(asked)) {
        known.requests.increment(1);
        known.seconds.record(seconds);
        return;
    }
    drop(routes);
    let name = route.to_owned();
    let requests = counter!(
        HTTP_REQUESTS,
        "listener" => listener, "route" => name.clone(), "method" => method, "code" => code,
    );
    let duration = histogram!(
        HTTP_SECONDS_NAME, "listener" => listener, "route" => name, "method" => method,
    );
    requests.increment(1);
    duration.record(seconds);
    let mut routes = HTTP.write().unwrap_or_else(PoisonError::into_inner);
    let known = HttpSeries { listener, method, code, requests, seconds: duration };
    routes.entry(route.to_owned()).or_default().push(known);
}

/// The series of Kafka.
pub(super) struct KafkaSeries {
    records: Vec<Counter>,
    pub(super) lag: Gauge,
    pub(super) partitions: Gauge,
    pub(super) rebalances: Counter,
    pub(super) interruptions: Counter,
    pub(super) delivery_failures: Counter,
    published: Vec<Counter>,
    pub(super) unpublished: Gauge,
}

impl KafkaSeries {
    fn new() -> Self {
        Self {
            records: each(
                RecordOutcome::ALL.iter().map(|o| o.as_str()),
                |outcome| counter!(KAFKA_RECORDS, "outcome" => outcome),
            ),
            lag: gauge!(KAFKA_LAG),
            partitions: gauge!(KAFKA_PARTITIONS),
            rebalances: counter!(KAFKA_REBALANCES),
            interruptions: counter!(KAFKA_INTERRUPTIONS),
            delivery_failures: counter!(KAFKA_DELIVERY_FAILURES),
            published: each(
                Published::ALL.iter().map(|what| what.as_str()),
                |what| counter!(KAFKA_PUBLISHED, "event" => what),
            ),
            unpublished: gauge!(KAFKA_UNPUBLISHED),
        }
    }

    pub(super) fn published(&self, what: Published) -> &Counter {
        &self.published[what as usize]
    }

    pub(super) fn records(&self, outcome: RecordOutcome) -> &Counter {
        &self.records[outcome as usize]
    }
}

/// The series of one subscriber.
pub(super) struct SubscriberSeries {
    calls: Vec<Counter>,
    pub(super) waiting: Gauge,
    pub(super) oldest: Gauge,
    pub(super) disabled: Gauge,
}

impl SubscriberSeries {
    fn new(name: &str) -> Self {
        let plain = |metric| gauge!(metric, "subscriber" => name.to_owned());
        let outcome = |outcome| counter!(WEBHOOK_CALLS, "subscriber" => name.to_owned(), "outcome" => outcome);
        Self {
            calls: each(CallOutcome::ALL.iter().map(|o| o.as_str()), outcome),
            waiting: plain(WEBHOOK_WAITING),
            oldest: plain(WEBHOOK_OLDEST),
            disabled: plain(WEBHOOK_DISABLED),
        }
    }

    pub(super) fn calls(&self, outcome: CallOutcome) -> &Counter {
        &self.calls[outcome as usize]
    }
}

/// The series of requests, by route. Looked up by its labels, a series costs several
/// allocations for each request.
static HTTP: LazyLock<RwLock<HashMap<String, Vec<HttpSeries>>>> = LazyLock::new(RwLock::default);

/// One of them. As many as there are templates, methods and classes of status.
struct HttpSeries {
    listener: &'static str,
    method: &'static str,
    code: &'static str,
    requests: Counter,
    seconds: Histogram,
}
