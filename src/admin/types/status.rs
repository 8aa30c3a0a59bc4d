//! The body of `GET /admin/v1/status`: what needs a person first, then how everything stands.
//!
//! One answer for the command line, the service manager and whatever else shows it: the words of
//! [`StatusOut::headline`] and of [`NeedOut::what`] are made once, by the daemon. Nothing in it
//! names an insured person or a transaction.

use super::ClockOut;
use crate::domain::cell::words;
use crate::domain::gate::GateState;
use crate::domain::ids::{SubscriberName, UpstreamName, WindowId};
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::RestoreBy;
use serde::{Deserialize, Serialize};

words!(
    /// What a person has to see to, the most urgent first.
    Need, "need", {
        /// The journal failed: nothing is acknowledged, the daemon is about to end.
        Poisoned = "poisoned",
        /// The journal is damaged and only looked at.
        Quarantined = "quarantined",
        /// Nothing new is taken for want of room.
        DiskReserve = "disk_reserve",
        /// The books do not balance.
        BooksUnbalanced = "books_unbalanced",
        /// Records of the journal are damaged.
        RecordsDamaged = "records_damaged",
        /// A deadline is about to pass that lies in a stop, or that something waiting carries.
        DeadlineAtRisk = "deadline_at_risk",
        /// The clock was set and is not believed.
        ClockDoubted = "clock_doubted",
        /// Lines of the audit log are missing.
        AuditLost = "audit_lost",
        /// A core does not answer, and no window stops it.
        CoreDown = "core_down",
        /// An outage that nobody planned waits to be confirmed as a window or dismissed.
        OutageUnconfirmed = "outage_unconfirmed",
        /// An order waits for a second person.
        ProposalWaits = "proposal_waits",
        /// Something could go and does not.
        ReplayOverdue = "replay_overdue",
        /// A window is past its planned end and not proved back.
        WindowOverrun = "window_overrun",
        /// What is back waits for a named person's word.
        ReleaseAwaited = "release_awaited",
        /// Few more transactions can be taken.
        BacklogNearlyFull = "backlog_nearly_full",
        /// Nothing is taken in from Kafka.
        KafkaAway = "kafka_away",
        /// Brokers do not take what is to be published.
        KafkaUnpublished = "kafka_unpublished",
        /// Somebody who is to be told of stops has not been told for a while.
        SubscriberNotTold = "subscriber_not_told",
        /// Transactions were given up.
        DeadLetters = "dead_letters",
        /// Nobody has told for a while what became of some.
        InDoubt = "in_doubt",
        /// Results of pre-accepted transactions were not told to the person.
        ResultsUntold = "results_untold",
        /// Little room is left on the disk.
        DiskLow = "disk_low",
        /// No key is good for submitting, or for operating.
        NoKey = "no_key",
        /// What was read last of the configuration is refused.
        ConfigRefused = "config_refused",
        /// The working days of a year are missing that must be known by now.
        CalendarEnds = "calendar_ends",
    }
);

impl Need {
    /// The alert that tells of the same, whose page under `runbooks/` says what to do.
    #[must_use]
    pub const fn alert(self) -> Option<&'static str> {
        match self {
            Self::Poisoned => Some("HoldoverStoreSyncError"),
            Self::Quarantined | Self::BooksUnbalanced => Some("HoldoverLedgerImbalance"),
            Self::DiskReserve => Some("HoldoverStoreReadOnly"),
            Self::RecordsDamaged => Some("HoldoverDamagedRecords"),
            Self::DeadlineAtRisk => Some("HoldoverDeadlineAtRisk"),
            Self::ClockDoubted => Some("HoldoverClockJump"),
            Self::AuditLost => Some("HoldoverAuditLosses"),
            Self::CoreDown => Some("HoldoverCoreUnavailable"),
            Self::OutageUnconfirmed => Some("HoldoverOutageUnconfirmed"),
            Self::ReplayOverdue => Some("HoldoverOldestOverdue"),
            Self::WindowOverrun => Some("HoldoverWindowOverrun"),
            Self::BacklogNearlyFull => Some("HoldoverBacklogNearlyFull"),
            Self::KafkaAway => Some("HoldoverKafkaIntakeAway"),
            Self::KafkaUnpublished => Some("HoldoverKafkaDeliveryFailures"),
            Self::SubscriberNotTold => Some("HoldoverSubscriberNotTold"),
            Self::DeadLetters => Some("HoldoverDeadLetters"),
            Self::InDoubt => Some("HoldoverInDoubt"),
            Self::DiskLow => Some("HoldoverStoreSpaceLow"),
            Self::ConfigRefused => Some("HoldoverConfigReloadFailed"),
            Self::CalendarEnds => Some("HoldoverCalendarEnds"),
            Self::ReleaseAwaited | Self::ProposalWaits | Self::ResultsUntold | Self::NoKey => None,
        }
    }
}

words!(
    /// Where a window stands, or where all of it stands.
    StatusPhase, "phase", {
        /// No stop is on.
        Open = "open",
        /// Its start is still to come.
        Scheduled = "scheduled",
        /// Its start is so near that long work is not begun any more.
        Closing = "closing",
        /// Between start and planned end.
        Active = "active",
        /// Past its planned end, waiting for proof that its parts are back.
        Verifying = "verifying",
        /// Past its planned end for longer than proof takes.
        Overrun = "overrun",
        /// Back; what was kept is being sent, or waits for a named person's word.
        Replaying = "replaying",
    }
);

/// How things stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusOut {
    /// The instant it was computed for.
    pub at: Timestamp,
    /// All of it in one line.
    pub headline: String,
    /// What a person has to see to, the most urgent first; empty when nothing does.
    pub needs: Vec<NeedOut>,
    /// Whether submissions can be taken durably.
    pub ready: bool,
    /// Why not, in the words of `/readyz`.
    pub not_ready: Vec<String>,
    /// Where all of it stands: the gravest phase of any window.
    pub phase: StatusPhase,
    /// Every window that is not over, the gravest first.
    pub windows: Vec<LiveWindowOut>,
    /// Whether the books balance.
    pub books: BooksOut,
    /// Cells whose gate is open; one at a rising rate counts.
    pub gates_open: u64,
    /// The others, by upstream, state and window.
    pub gates_not_open: Vec<NotOpenOut>,
    /// What is accepted and not final.
    pub backlog: BacklogOut,
    /// Each upstream for which something waits behind an open gate.
    pub replays: Vec<ReplayOut>,
    /// When the next known deadline ends that lies in a stop and was not moved out of it, or that
    /// something waiting carries and is due within a day. The same
    /// as `holdover_deadline_at_risk_timestamp_seconds`.
    pub deadline_at_risk: Option<Timestamp>,
    /// Room for the data folder; absent in the first second.
    pub disk: Option<DiskOut>,
    /// The intake from Kafka; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaOut>,
    /// What is published to Kafka; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<PublishedOut>,
    /// Who is told of stops, by name; absent where nobody is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookOut>,
    /// What is wrong with the clock; absent while it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockOut>,
}

/// Something that a person has to see to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeedOut {
    /// What, as a word.
    pub code: Need,
    /// The same in a sentence without a full stop.
    pub what: String,
    /// What to do first.
    pub next: String,
    /// The page that says more, within the folder of the product's documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

/// A window that is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveWindowOut {
    /// Its name.
    pub id: WindowId,
    /// Where it stands.
    pub phase: StatusPhase,
    /// The zone that its times are meant in.
    pub zone: Zone,
    /// Its earliest planned start, single rows included.
    pub starts_at: Timestamp,
    /// Its latest planned end, single rows included.
    pub ends_at: Timestamp,
    /// Seconds to its start while it is scheduled, else to its planned end; negative past that.
    pub seconds_left: i64,
    /// How its parts are proved to be back.
    pub restore_by: RestoreBy,
    /// Transactions that wait for a named person's release.
    pub awaiting_release: u64,
}

/// Whether the books balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BooksOut {
    /// Whether every difference is zero, and known to be.
    pub balanced: bool,
    /// Whether that is known: not while records of the journal are lost.
    pub proved: bool,
    /// Accepted less the sum over all states, in items.
    pub difference: i64,
    /// The same in yuan.
    pub amount_difference: String,
    /// Tickets issued less the sum over where they stand.
    pub tickets_difference: i64,
    /// Records of the journal that are known to be damaged.
    pub damaged_records: u64,
}

/// Gates that are not open, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotOpenOut {
    /// The upstream.
    pub upstream: UpstreamName,
    /// The state.
    pub state: GateState,
    /// The window that closes them.
    pub window: Option<WindowId>,
    /// Why, in words.
    pub why: String,
    /// How many cells.
    pub cells: u64,
    /// Transactions that wait there.
    pub waiting: u64,
}

/// What is accepted and not final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BacklogOut {
    /// Waiting behind an open gate.
    pub deliverable: u64,
    /// When the oldest of them was accepted.
    pub deliverable_oldest: Option<Timestamp>,
    /// Waiting before a closed gate.
    pub held: u64,
    /// When the oldest of them was accepted.
    pub held_oldest: Option<Timestamp>,
    /// Attempts that are out.
    pub in_flight: u64,
    /// Nobody knows what became of them.
    pub in_doubt: u64,
    /// Since when there have been such; `None` while there are none.
    pub in_doubt_since: Option<Timestamp>,
    /// Given up after sure failures.
    pub dead_letters: u64,
    /// Need their submitter.
    pub action_required: u64,
    /// Tickets that are open.
    pub tickets_open: u64,
    /// All that is not final.
    pub open: u64,
    /// What may be open at most.
    pub limit: u64,
}

/// What waits behind an upstream's open gates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplayOut {
    /// The upstream.
    pub upstream: UpstreamName,
    /// How many wait.
    pub remaining: u64,
    /// Since when the oldest that could go has been due.
    pub due_since: Option<Timestamp>,
    /// By how many a second they become fewer, what comes anew counted; negative when they become
    /// more. `None` while that has not been watched for long enough.
    pub pace_per_second: Option<f64>,
    /// How long that was watched.
    pub pace_over_seconds: Option<u64>,
    /// `remaining` divided by the pace: when it is done if nothing changes. `None` where nothing
    /// can be said.
    pub eta_seconds: Option<u64>,
}

/// Room for the data folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskOut {
    /// Taken by the data folder.
    pub used_bytes: u64,
    /// Free on its disk.
    pub free_bytes: u64,
    /// The disk's size.
    pub capacity_bytes: u64,
    /// Free space below which nothing new is accepted.
    pub reserve_bytes: u64,
}

/// The intake from Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaOut {
    /// Topics that are to be taken in.
    pub topics: u64,
    /// Partitions that are being taken in.
    pub partitions: u64,
    /// Records that stand in the topics and are not done.
    pub lag_records: u64,
    /// Since when no partition has been taken in.
    pub away_since: Option<Timestamp>,
}

/// What is published to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedOut {
    /// Changes of the journal that were not looked at yet for what is to be published.
    pub unpublished_changes: u64,
    /// Since when nothing has been published, because brokers do not take it.
    pub interrupted_since: Option<Timestamp>,
}

/// Somebody who is told of stops and of moved deadlines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookOut {
    /// Its name.
    pub name: SubscriberName,
    /// Announcements that it was not told yet.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Timestamp>,
    /// Whether it has answered 410 and is told nothing more.
    pub disabled: bool,
}
