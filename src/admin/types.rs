//! The bodies of `/admin/v1`, shared by the daemon and the command line.
//!
//! Requests refuse unknown fields and never name an author: that comes from the credential.
//! Answers are plain copies of what the engine shows; nothing here decides anything. Instants
//! are RFC 3339 with an offset, amounts are decimal strings.

mod deadlines;
mod forecast;
mod policy;
mod status;
mod versions;
mod windows;

pub use deadlines::{
    CaseImported, CaseRow, CasesImported, DaysOut, DeadlineChecked, DeadlineEvidence,
    DeadlineExplained, DeadlineOut, DeadlineRisk, DeadlinesApplied, DeadlinesAtRisk,
    DeadlinesPreview, IMPORT_ROWS_MAX, ImportCases, InversionOut, MoveOut, ToldOut,
};
pub use forecast::{FaultOut, ForecastOut, ReplayForecastOut, WindowChecked};
pub use policy::{HoursThenOut, OtherRowOut, PolicyOut};
pub use status::{
    BacklogOut, BooksOut, DiskOut, KafkaOut, LiveWindowOut, Need, NeedOut, NotOpenOut,
    PublishedOut, ReplayOut, StatusOut, StatusPhase, WebhookOut,
};
pub use versions::{VersionOut, VersionShown, VersionsOut};
pub use windows::{
    ChangeWindow, ConfirmOutage, DeclareWindow, DraftDismissed, DraftOut, MoveEnd, WindowOut,
};

use super::audit::Record;
use crate::domain::cell::{Cell, Selector};
use crate::domain::consent::Deed;
use crate::domain::gate::{GateState, HealthPhase, Override};
use crate::domain::ids::{InstitutionCode, TicketId, TransactionId, UpstreamName, WindowId};
use crate::domain::money::Money;
use crate::domain::outcome::TransientReason;
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Interval, Timestamp, Zone};
use crate::domain::window::Phase;
use crate::engine::change::AuditHead;
use crate::engine::clock::Doubt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The header that names the configured zone in every answer, for whoever shows times to people.
pub const ZONE: &str = "holdover-zone";

/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 500;

/// The most items on one page of a list.
pub const PAGE_ITEMS_MAX: usize = 500;

crate::domain::cell::words!(
    /// Why an operator's request was not carried out, beyond the codes that submitters share.
    OperatorCode, "operator's problem code", {
        /// There is no reason, or it is too long.
        ReasonMissing = "reason_missing",
        /// A text for people holds an identity number.
        PersonalDataInText = "personal_data_in_text",
        /// No cell is named and `all` is not set.
        CellsMissing = "cells_missing",
        /// The window is over: everything that it stopped is back.
        WindowCompleted = "window_completed",
        /// One person alone may not do it.
        TwoPersons = "two_persons",
        /// The audit log cannot be written, so nothing is begun.
        AuditUnavailable = "audit_unavailable",
    }
);

impl OperatorCode {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::ReasonMissing | Self::PersonalDataInText | Self::CellsMissing => 422,
            Self::WindowCompleted | Self::TwoPersons => 409,
            Self::AuditUnavailable => 503,
        }
    }
}

crate::domain::cell::words!(
    /// What a person found out about a doubtful transaction.
    Verdict, "verdict", {
        /// The core applied it.
        Applied = "applied",
        /// The core refused it.
        Refused = "refused",
        /// The core never had it, and never will have this attempt.
        NotApplied = "not_applied",
    }
);

crate::domain::cell::words!(
    /// How a person was told a result.
    ToldBy, "way of telling", {
        /// By telephone.
        Telephone = "telephone",
        /// At the counter.
        InPerson = "in_person",
        /// By letter.
        Letter = "letter",
        /// By message.
        Message = "message",
    }
);

/// An act that needs nothing but a reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An order that waits for a second person.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProposalOut {
    /// Its number: that of the record in the audit log that began it.
    pub id: u64,
    /// What it would do that one person alone may not.
    pub deed: Deed,
    /// What was ordered, as `noun.verb`.
    pub action: String,
    /// What of.
    pub object: String,
    /// What was ordered, in short.
    pub order: serde_json::Value,
    /// Who proposed it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub proposed_at: Timestamp,
    /// When it is forgotten unless somebody agrees.
    pub lapses_at: Timestamp,
}

/// A proposal was approved and carried out, or rejected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProposalSettled {
    /// Its number.
    pub id: u64,
    /// What came of it, in short; nothing where it was rejected.
    pub result: serde_json::Value,
    /// The end of the audit log.
    pub audit_head: AuditHead,
}

/// Certifies that cells are back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreCells {
    /// The cells.
    #[serde(default)]
    pub cells: Selector,
    /// Says that an empty selector, which matches every cell, is meant.
    #[serde(default)]
    pub all: bool,
    /// From when on they may go, where that is later than now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_from: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An act upon cells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForCells {
    /// The cells.
    #[serde(default)]
    pub cells: Selector,
    /// Says that an empty selector, which matches every cell, is meant.
    #[serde(default)]
    pub all: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Closes gates, or moves the end of a closing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseGates {
    /// The cells.
    #[serde(default)]
    pub cells: Selector,
    /// Says that an empty selector, which matches every cell, is meant.
    #[serde(default)]
    pub all: bool,
    /// Until when at the latest. Mandatory.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Says what became of a doubtful transaction.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    /// What the person found out.
    pub verdict: Verdict,
    /// Why, and from whom it is known.
    #[serde(default)]
    pub reason: String,
}

/// Says that the result of a pre-accepted transaction was told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultTold {
    /// How.
    pub how: ToldBy,
    /// A note; whose word it is.
    #[serde(default)]
    pub reason: String,
}

/// The most occurrences or openings that are shown of each schedule.
pub const NEXT_MAX: usize = 50;

/// Every window, and what comes by schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowsOut {
    /// The windows.
    pub items: Vec<WindowOut>,
    /// Outages that nobody planned, to be confirmed as windows or dismissed.
    #[serde(default)]
    pub drafts: Vec<DraftOut>,
    /// What comes by schedule.
    pub schedule: ScheduleOut,
}

/// What comes by schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleOut {
    /// The recurring stops.
    pub recurring: Vec<RecurringOut>,
    /// The service hours.
    pub service_hours: Vec<HoursOut>,
    /// Windows still to come that were declared by a schedule which would not declare them now,
    /// because it was changed or removed. They stand until somebody cancels them.
    pub left_alone: Vec<WindowId>,
}

/// A recurring stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecurringOut {
    /// Its name.
    pub name: WindowId,
    /// Its expression.
    pub cron: String,
    /// The days of each month on which that counts; all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// The zone of its times.
    pub zone: Zone,
    /// How long each is planned to last.
    pub lasts_seconds: u64,
    /// The next ones, one that runs included.
    pub next: Vec<OccurrenceOut>,
}

/// From when to when something is planned, in UTC and in its own zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StretchOut {
    /// Its first instant.
    pub starts_at: Timestamp,
    /// The same, in its zone.
    pub starts_at_local: String,
    /// The first instant after it.
    pub ends_at: Timestamp,
    /// The same, in its zone.
    pub ends_at_local: String,
}

impl StretchOut {
    /// `stretch` in UTC and in `zone`.
    #[must_use]
    pub fn new(stretch: Interval, zone: Zone) -> Self {
        Self {
            starts_at: stretch.start,
            starts_at_local: stretch.start.rfc3339(zone),
            ends_at: stretch.end,
            ends_at_local: stretch.end.rfc3339(zone),
        }
    }
}

/// One occurrence of a recurring stop, as its schedule plans it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceOut {
    /// From when to when.
    #[serde(flatten)]
    pub planned: StretchOut,
    /// The window that was declared for it, which is what counts; absent before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowId>,
    /// Where that window stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
}

/// Service hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoursOut {
    /// Their name.
    pub name: WindowId,
    /// The zone of their times.
    pub zone: Zone,
    /// Whether they are on.
    pub open: bool,
    /// The cells that are closed outside them.
    pub cells: Selector,
    /// What is done with a submission outside them.
    pub outside: Option<Disposition>,
    /// What they rest on.
    pub clause: String,
    /// Why they are.
    pub reason: String,
    /// The next openings, one that runs included.
    pub next: Vec<StretchOut>,
    /// The year whose working days are not known, where fewer openings than were asked for can be
    /// told because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_from_year: Option<i32>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Asks for the page after this one; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The gate of one cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateOut {
    /// The cell.
    pub cell: Cell,
    /// Whether effects may start.
    pub state: GateState,
    /// The window that closes it.
    pub window: Option<WindowId>,
    /// Transactions of this cell that wait.
    pub waiting: u64,
    /// Attempts of this cell that are out.
    pub in_flight: u64,
    /// Rises with every closing.
    pub epoch: u64,
}

/// Every gate and every operator's closing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatesOut {
    /// The gates of every cell that has been seen.
    pub gates: Vec<GateOut>,
    /// Closings by operators that are in force.
    pub overrides: Vec<Override>,
    /// What is wrong with the clock; absent while it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockOut>,
}

/// A clock that was set, so that nobody knows whether a stop is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOut {
    /// What it shows.
    pub shows: Timestamp,
    /// What it should show, by the time that has passed; the daemon goes by this.
    pub expected: Timestamp,
}

impl From<Doubt> for ClockOut {
    fn from(doubt: Doubt) -> Self {
        Self { shows: doubt.shows, expected: doubt.expected }
    }
}

/// Gates right after an act upon them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatesChanged {
    /// How many cells that have been seen are concerned.
    pub cells: u64,
    /// How they stand, by state.
    pub states: BTreeMap<GateState, u64>,
    /// How each stands.
    pub gates: Vec<CellGate>,
    /// The head of the audit log after this act.
    pub audit_head: AuditHead,
}

/// One cell and its gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellGate {
    /// The cell.
    pub cell: Cell,
    /// Whether effects may start.
    pub state: GateState,
}

/// A transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransactionOut {
    /// Its identity.
    pub id: TransactionId,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Cell,
    /// Where it stands.
    pub state: State,
    /// Its amount.
    pub amount: Money,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// Sure failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// When it may be tried or asked about next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Its gate; absent once it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateState>,
    /// The transaction of the same key that it waits behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<TransactionId>,
    /// The code of its refusal, where that counts only once the gate has opened fully.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisional: Option<String>,
    /// Of a dead letter: the failure that it was given up for. `record_damaged` is cured only by
    /// restoring the journal file that the log names; then redrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up_for: Option<TransientReason>,
    /// For a pre-accepted one: whether its result has been told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_told: Option<bool>,
    /// When it ended; absent while it is not final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// A transaction with everything that happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransactionDetail {
    /// The transaction.
    #[serde(flatten)]
    pub transaction: TransactionOut,
    /// What happened to it, oldest first.
    pub history: Vec<Step>,
    /// The paper that is kept at the counter for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paper: Vec<Paper>,
    /// Where its record is damaged: the file to restore. Its history cannot be told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// Paper that is kept at the counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paper {
    /// What it is.
    pub kind: String,
    /// How many sheets.
    pub sheets: u32,
    /// The number of the shelf that it lies on.
    pub shelf: String,
}

/// One thing that happened to a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The number of the record.
    pub record: u64,
    /// When; absent for what carries no instant of its own.
    pub at: Option<Timestamp>,
    /// What, in one word.
    pub what: String,
    /// More about it: attempt, code, reason, person.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// A transaction right after an act upon it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransactionChanged {
    /// Its identity.
    pub id: TransactionId,
    /// Where it stands.
    pub state: State,
    /// The head of the audit log after this act.
    pub audit_head: AuditHead,
}

/// A ticket that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TicketOut {
    /// Its identity.
    pub id: TicketId,
    /// The transaction it belongs to.
    pub transaction: TransactionId,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// The cell of its transaction.
    pub cell: Cell,
    /// Its amount.
    pub amount: Money,
    /// Where it stands.
    pub state: TicketState,
    /// The settlement that is on its way to replace it.
    pub replaced_by: Option<TransactionId>,
    /// When its transaction was accepted.
    pub accepted_at: Timestamp,
}

/// What submitters were answered since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntakeCounters {
    /// Posts that were answered.
    pub submitted: u64,
    /// Newly accepted.
    pub accepted: u64,
    /// Answered with an earlier receipt.
    pub duplicates: u64,
    /// Turned away by policy.
    pub turned_away: u64,
    /// Refused because of what they said.
    pub invalid: u64,
}

impl IntakeCounters {
    /// Answered posts less the sum of their answers. Zero unless we have a defect.
    #[must_use]
    pub fn difference(&self) -> i128 {
        let answered = [self.accepted, self.duplicates, self.turned_away, self.invalid];
        i128::from(self.submitted) - answered.iter().map(|&n| i128::from(n)).sum::<i128>()
    }
}

/// The books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerOut {
    /// Accepted, each state, and `difference`, in items.
    #[serde(flatten)]
    pub items: BTreeMap<String, i64>,
    /// The same, in money.
    pub amount: BTreeMap<String, String>,
    /// Tickets: `issued` and each ticket state, in items.
    pub tickets: BTreeMap<String, u64>,
    /// The same, in money, without `issued`.
    pub tickets_amount: BTreeMap<String, String>,
    /// Submissions turned away by policy, ever.
    pub turned_away_ever: u64,
    /// What submitters were answered since the process began.
    pub intake: IntakeCounters,
    /// `intake.submitted` less its parts.
    pub intake_difference: i64,
    /// Whether every difference is zero, and known to be.
    pub balanced: bool,
    /// Why nobody can say whether the books balance; absent where it can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproved: Option<Unproved>,
    /// How many records of the journal are known to be damaged. The books were summed before, and
    /// stand; a person restores the files that `holdover journal verify` names.
    #[serde(default)]
    pub damaged_records: u64,
    /// The instant of the books.
    pub at: Timestamp,
}

/// The code of [`Unproved`].
pub const BOOKS_UNPROVED: &str = "books_unproved";

/// Records of the journal are lost: the books are of what is left, and prove nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproved {
    /// [`BOOKS_UNPROVED`].
    pub code: String,
    /// Changes that are there and could not be counted, because what they rest on is lost.
    pub passed_over: u64,
    /// What is damaged, place by place.
    pub damage: Vec<DamageOut>,
}

/// One damaged place of the journal, as `holdover journal verify` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageOut {
    /// The file, within the data folder.
    pub file: String,
    /// Where the damage begins in it, in bytes.
    pub offset: u64,
    /// What is damaged.
    pub kind: String,
    /// The first record that is lost; absent where none is.
    pub seq_from: Option<u64>,
    /// The last one; absent where none is lost, or where nobody knows how many.
    pub seq_to: Option<u64>,
    /// The same in a sentence.
    pub message: String,
}

impl DamageOut {
    /// How many records are known to be lost here.
    pub(in crate::admin) fn records(&self) -> u64 {
        let range = self.seq_from.zip(self.seq_to);
        range.map_or(0, |(from, to)| (to + 1).saturating_sub(from))
    }
}

/// One upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamOut {
    /// Its name.
    pub name: UpstreamName,
    /// The phase of its health.
    pub phase: HealthPhase,
    /// When the phase began.
    pub since: Timestamp,
    /// Good probes in a row.
    pub good: u32,
    /// Bad probes in a row.
    pub bad: u32,
    /// Sends per second allowed now; absent where only concurrency limits.
    pub rate: Option<u32>,
    /// Attempts that are out.
    pub in_flight: u64,
    /// How the latest probes went, the newest last: `+` good, `-` bad. At most 20.
    #[serde(default)]
    pub probes: String,
}

/// The configuration that is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigOut {
    /// When it was taken over.
    pub in_force_since: Timestamp,
    /// When another one was refused since; absent where the last that was read is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Timestamp>,
    /// Why that one was refused.
    pub problems: Vec<ConfigProblemOut>,
    /// The defaults with the files laid over them; without what the command line of the daemon
    /// said instead. It holds no secret: the files that do are named.
    pub effective: serde_json::Value,
}

/// One reason why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProblemOut {
    /// The key, or `file:line` where a file cannot be read at all; empty where it is no key's.
    pub key: String,
    /// The value that stands there, where it may be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is wrong.
    pub why: String,
}

/// The end of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditOut {
    /// Its head.
    pub head: AuditHead,
    /// The last records, oldest first.
    pub records: Vec<Record>,
}

/// A window right after an act upon it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowChanged {
    /// The window.
    #[serde(flatten)]
    pub window: WindowOut,
    /// What is odd about it, and was no reason to refuse it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<FaultOut>,
    /// The head of the audit log after this act.
    pub audit_head: AuditHead,
}

/// Whether the daemon can take submissions durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadyOut {
    /// Whether it can.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What a person should see to, ready or not.
    pub notes: Vec<String>,
    /// Whose clock it runs on: `real` or `virtual`.
    pub clock: String,
    /// What time the daemon goes by.
    pub now: Timestamp,
    /// What is wrong with the clock; absent while it is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_doubt: Option<ClockOut>,
    /// The head of the audit log.
    pub audit_head: AuditHead,
}
