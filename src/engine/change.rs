//! Changes: everything that is ever written to the journal, in the engine's words.
//!
//! The journal encodes them in its own shape (`journal/record.rs`). The state of the engine is
//! the fold of all changes in order. A snapshot is a shorter list of changes with the same fold.

use crate::domain::attachment::Content;
use crate::domain::cell::Cell;
use crate::domain::deadline::Extension;
use crate::domain::gate::{Health, Outage, Override};
use crate::domain::ids::{
    AttemptNo, BlobName, Business, Fingerprint, IdempotencyKey, InstitutionCode, InsuredHash,
    KeyHash, Mark, OrderingKey, Seq, UpstreamName, WindowId,
};
use crate::domain::ledger::Entry;
use crate::domain::money::Money;
use crate::domain::outcome::{DoubtReason, TransientReason};
use crate::domain::policy::{Advice, Disposition, RowRef};
use crate::domain::state::State;
use crate::domain::term::{Deadline, Ground, OwedBy};
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Timestamp};
use crate::domain::window::Window;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Bytes that only the holder of the data key can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The sealing algorithm: 1 is AES-256-GCM with a 96-bit nonce in front of the ciphertext.
    pub algorithm: u8,
    /// The data key (one per institution and month).
    pub key_id: u32,
    /// Nonce, ciphertext and tag.
    pub bytes: Bytes,
}

/// What a submission says that is nobody else's business; stored only sealed. `Debug` shows
/// nothing of it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Private {
    /// The client's key, as it was sent.
    pub idempotency_key: IdempotencyKey,
    /// The reference to the insured person.
    pub insured: String,
    /// The visit.
    pub visit: Option<String>,
    /// The ground of a special case.
    pub ground: Option<String>,
    /// The typed attributes.
    pub attributes: std::collections::BTreeMap<String, String>,
    /// The attachments.
    pub attachments: Vec<Attachment>,
    /// Paper kept at the counter. Older records have not said it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paper: Vec<Paper>,
    /// The payload, byte for byte as it came. Not part of the JSON form.
    #[serde(skip)]
    pub payload: Bytes,
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Private").finish_non_exhaustive()
    }
}

/// A file that belongs to a submission, by digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Its size.
    pub bytes: u64,
}

/// Paper that is kept at the counter for a case.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paper {
    /// What it is.
    pub kind: String,
    /// How many sheets.
    pub sheets: u32,
    /// The number of the shelf that it lies on.
    pub shelf: String,
}

/// A file that is stored for an institution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub name: BlobName,
    /// Which file of that name: one that was uploaded again, or removed and uploaded, is another.
    pub file: u64,
    /// Whose it is.
    pub institution: InstitutionCode,
    /// Its size.
    pub bytes: u64,
    /// What its first bytes show it to be.
    pub content: Content,
    /// When it was stored.
    pub at: Timestamp,
    /// The last record that names it, if any does.
    pub named: Option<Seq>,
}

impl Blob {
    /// The name of its file in the folder of stored files.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(self.name, self.file)
    }
}

/// The name, in the folder of stored files, of `file` of `name`.
#[must_use]
pub fn file_name(name: BlobName, file: u64) -> String {
    format!("{:032x}-{file:016x}", name.0)
}

/// What the receipt said; with the rest of [`Accepted`] it rebuilds the receipt to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The disposition at acceptance.
    pub disposition: Disposition,
    /// What the counter was told.
    pub advice: Advice,
    /// The row that decided, where a window spoke.
    pub row: Option<RowRef>,
    /// When the stop was planned to be over.
    pub resume_at: Option<Timestamp>,
    /// Where to go instead.
    pub alternative: Option<String>,
    /// What to bring or keep.
    pub bring: Vec<String>,
    /// The date that held for the deadline the submission carried.
    pub deadline: Option<Extension>,
    /// Whether that date was final.
    pub deadline_final: bool,
    /// Whether it was told as kept, although policy lets it through: its gate was not open.
    pub kept: bool,
    /// The window that had stopped its business when it happened, and is over.
    pub incurred_in: Option<WindowId>,
}

/// A transaction, as accepted. Its identity is the sequence of this change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// The submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Arc<Cell>,
    /// Its ordering key.
    pub ordering_key: OrderingKey,
    /// The hash of institution and idempotency key.
    pub key_hash: KeyHash,
    /// The hash of its content.
    pub fingerprint: Fingerprint,
    /// The hash of the insured person's reference.
    pub insured: InsuredHash,
    /// Its amount; zero where the business has none.
    pub amount: Money,
    /// When the business happened.
    pub occurred_at: Timestamp,
    /// When the person handed it in.
    pub received_from_person_at: Option<Timestamp>,
    /// The deadline that it carries: a claim, not an authority.
    pub deadline: Option<CivilDate>,
    /// The transaction whose place it takes.
    pub replaces: Option<Seq>,
    /// The transaction that must be applied first.
    pub depends_on: Option<Seq>,
    /// Whether stored bytes are enough to send it later.
    pub self_contained: bool,
    /// Whether sending it later needs a credential that is not stored.
    pub needs_credential: bool,
    /// Whether it falls to a ticket when it surely cannot be sent, and until when it is tried.
    pub ticket_after: Option<Timestamp>,
    /// The stored files that it names.
    pub blobs: Vec<BlobName>,
    /// What its receipt said.
    pub told: Told,
    /// Everything private.
    pub sealed: Sealed,
}

/// A submission turned away by policy: the number is the sequence of this change. It holds no
/// payload and nothing about a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// When.
    pub at: Timestamp,
    /// The submitter.
    pub institution: InstitutionCode,
    /// The cell it would have had.
    pub cell: Cell,
    /// The amount it spoke of.
    pub amount: Money,
    /// The row that refused.
    pub row: Option<RowRef>,
    /// When it may come back.
    pub resume_at: Option<Timestamp>,
    /// The deadline that it carried, as moved.
    pub deadline: Option<Extension>,
}

/// The end of an attempt, as journaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The core applied it.
    Applied {
        /// The core's answer.
        answer: Option<Sealed>,
        /// The core's own word for the business status, at most 32 characters.
        business_status: Option<String>,
    },
    /// The core refused it.
    Refused {
        /// The core's code.
        code: String,
        /// The core's answer.
        answer: Option<Sealed>,
        /// Whether it counts only once the gate has opened fully.
        provisional: bool,
    },
    /// It surely did not take effect.
    Transient {
        /// Why it is sure.
        reason: TransientReason,
        /// When it may be tried again.
        not_before: Timestamp,
    },
    /// Nobody knows.
    InDoubt {
        /// Why.
        reason: DoubtReason,
        /// When the core may be asked about it.
        ask_at: Timestamp,
    },
}

/// How a doubt was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolvedBy {
    /// The core was asked.
    Asking,
    /// A named person found out.
    Person,
}

/// The end of the audit log: what was in it once must be in it for ever.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditHead {
    /// How many records there are.
    pub records: u64,
    /// The hash of the last one.
    pub hash: String,
}

/// One change of the engine's state. The instant it happened at is part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A daemon began to own the journal.
    Started {
        /// Rises by one with each start.
        epoch: u64,
        /// Of the numbers that it gives out.
        mark: Mark,
        /// Whether its clock is a driver's.
        virtual_clock: bool,
        /// When.
        at: Timestamp,
    },
    /// A transaction was accepted.
    Accepted(Arc<Accepted>),
    /// A submission was turned away by policy.
    TurnedAway(Arc<TurnedAway>),
    /// An attempt is about to be made.
    AttemptStarted {
        /// The transaction.
        transaction: Seq,
        /// The attempt.
        attempt: AttemptNo,
        /// When.
        at: Timestamp,
    },
    /// An attempt ended.
    Settled {
        /// The transaction.
        transaction: Seq,
        /// The attempt.
        attempt: AttemptNo,
        /// How.
        settlement: Settlement,
        /// When.
        at: Timestamp,
    },
    /// A doubt was resolved. `settlement` is never `InDoubt`.
    Resolved {
        /// The transaction.
        transaction: Seq,
        /// What turned out.
        settlement: Settlement,
        /// How it was found out.
        by: ResolvedBy,
        /// The person, where one did.
        person: Option<String>,
        /// Why, where a person did.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A doubt could not be resolved yet; it will be asked again.
    StillInDoubt {
        /// The transaction.
        transaction: Seq,
        /// When to ask next.
        ask_at: Timestamp,
    },
    /// The provisional refusals of an upstream count now (`true`), or are taken back (`false`).
    ProvisionalDecided {
        /// The upstream.
        upstream: UpstreamName,
        /// Whether they count.
        confirmed: bool,
        /// When.
        at: Timestamp,
    },
    /// A transaction surely did not happen and the person paid.
    Ticketed {
        /// The transaction, which is also the ticket.
        transaction: Seq,
        /// When.
        at: Timestamp,
    },
    /// A ticket was closed.
    TicketClosed {
        /// The ticket.
        transaction: Seq,
        /// How; never `Open`.
        how: TicketState,
        /// The settlement that made it good.
        by_transaction: Option<Seq>,
        /// The person who closed it.
        person: Option<String>,
        /// Why.
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A transaction was taken back, or a dead letter skipped.
    Withdrawn {
        /// The transaction.
        transaction: Seq,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// Given up after sure failures.
    DeadLettered {
        /// The transaction.
        transaction: Seq,
        /// The last failure.
        reason: TransientReason,
        /// When.
        at: Timestamp,
    },
    /// A dead letter was put back.
    Redriven {
        /// The transaction.
        transaction: Seq,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// A transaction needs its submitter.
    ActionRequired {
        /// The transaction.
        transaction: Seq,
        /// What for: `credential` or `dependency`.
        why: String,
        /// When.
        at: Timestamp,
    },
    /// A transaction that needed its submitter was given up for another one.
    Superseded {
        /// The transaction.
        transaction: Seq,
        /// The one that took its place.
        by_transaction: Seq,
        /// When.
        at: Timestamp,
    },
    /// The result of a pre-accepted transaction was told to the person.
    ResultTold {
        /// The transaction.
        transaction: Seq,
        /// How: `telephone`, `in_person`, `letter`, `message`.
        how: String,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// A window was declared or changed: its whole new version.
    WindowSet(Arc<Window>),
    /// An operator closed or reopened gates: the whole new list of overrides.
    OverridesSet(Vec<Override>),
    /// The health of an upstream changed its phase.
    HealthSet {
        /// The upstream.
        upstream: UpstreamName,
        /// Its health.
        health: Health,
    },
    /// Nothing could be taken in for want of room: since when, and until when.
    IntakeStopped(Outage),
    /// A case without a transaction was registered; its number is the sequence of this change.
    DeadlineRegistered {
        /// The case.
        case: Case,
        /// When.
        at: Timestamp,
    },
    /// A date was told: from now on it is never moved earlier.
    DeadlineTold {
        /// The business.
        business: Business,
        /// What was given.
        original: Deadline,
        /// The move to the date told.
        extension: Extension,
        /// What caused the computation, for instance `window_set` or `check`.
        cause: String,
        /// When.
        at: Timestamp,
    },
    /// A transaction that is still needed, once more: the segment that holds its accept record
    /// is about to leave. Changes nothing but where it is read.
    Forwarded {
        /// The transaction.
        transaction: Seq,
        /// Its accept record.
        accepted: Arc<Accepted>,
        /// When it was written once more.
        at: Timestamp,
    },
    /// Segments may leave the journal, because nothing in them is needed any more.
    Retired {
        /// The first sequence that stays.
        before: Seq,
        /// When.
        at: Timestamp,
    },
    /// A person said that it is `at`: time goes on from there, also where that is earlier.
    ClockAccepted {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// What time it is.
        at: Timestamp,
    },
    /// The audit log was durable up to here.
    AuditNoted {
        /// Its end.
        head: AuditHead,
        /// When it was noted.
        at: Timestamp,
    },
    /// A file was stored; one of the same name is replaced.
    BlobStored(Blob),
    /// Stored files were removed that nothing names any more.
    BlobsRemoved {
        /// Their names.
        names: Vec<BlobName>,
        /// When.
        at: Timestamp,
    },

    // What follows stands only in snapshots.
    /// The counters of a snapshot.
    Totals(Box<Totals>),
    /// Transactions that were not final when the snapshot was taken, or whose result was not told.
    Carried(Vec<Carried>),
    /// A registered deadline, in a snapshot.
    DeadlineCarried {
        /// Its number.
        id: Seq,
        /// The change that registered it.
        registered: Box<Change>,
    },
}

impl Change {
    /// The instant that a change happened at, where it carries one. Never before that of an
    /// earlier change, unless a clock was accepted between them: that sets the time by itself.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Accepted(accepted) => Some(accepted.at),
            Self::TurnedAway(record) => Some(record.at),
            Self::WindowSet(window) => Some(window.changed_at),
            Self::HealthSet { health, .. } => Some(health.since),
            Self::Started { at, .. }
            | Self::AttemptStarted { at, .. }
            | Self::Settled { at, .. }
            | Self::Resolved { at, .. }
            | Self::ProvisionalDecided { at, .. }
            | Self::Ticketed { at, .. }
            | Self::TicketClosed { at, .. }
            | Self::Withdrawn { at, .. }
            | Self::DeadLettered { at, .. }
            | Self::Redriven { at, .. }
            | Self::ActionRequired { at, .. }
            | Self::Superseded { at, .. }
            | Self::ResultTold { at, .. }
            | Self::DeadlineRegistered { at, .. }
            | Self::DeadlineTold { at, .. }
            | Self::Forwarded { at, .. }
            | Self::Retired { at, .. }
            | Self::BlobsRemoved { at, .. }
            | Self::AuditNoted { at, .. } => Some(*at),
            Self::BlobStored(blob) => Some(blob.at),
            Self::StillInDoubt { .. }
            | Self::ClockAccepted { .. }
            | Self::OverridesSet(_)
            | Self::IntakeStopped(_)
            | Self::Totals(_)
            | Self::Carried(_)
            | Self::DeadlineCarried { .. } => None,
        }
    }
}

/// The counters of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// The books, see `Books::to_entries`.
    pub books: Vec<Entry>,
    /// Submissions turned away, ever.
    pub turned_away: u64,
    /// The latest epoch.
    pub epoch: u64,
    /// All starts, see `Numbers::starts`.
    pub starts: Vec<(Seq, Mark)>,
    /// The latest journaled instant.
    pub last_at: Timestamp,
    /// The highest sequence folded in.
    pub up_to: Seq,
}

/// A transaction in a snapshot: what the machine keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// The transaction.
    pub transaction: Seq,
    /// Its facts; `told` and `sealed` are left behind in its accept record.
    pub facts: Facts,
    /// Where it stands.
    pub state: State,
    /// Attempts so far.
    pub attempts: u32,
    /// Sure failures in a row.
    pub failures: u32,
    /// When it may be tried or asked about next.
    pub not_before: Timestamp,
    /// The code of its provisional refusal, if it has one.
    pub provisional: Option<String>,
    /// When it ended, where only its result has not been told yet.
    pub ended_at: Option<Timestamp>,
    /// The failure that it was given up for; none where it is no dead letter.
    pub given_up_for: Option<TransientReason>,
}

/// A case that has no transaction: what makes it this one and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Case {
    /// Who registers it.
    pub institution: InstitutionCode,
    /// The business.
    pub business: Business,
    /// When it is due.
    pub original: Deadline,
    /// A reference of the registrant's, hashed with the same key as insured persons.
    pub reference: InsuredHash,
    /// What `original` follows from, where it was not given.
    pub ground: Option<Ground>,
    /// Who has to act, where that was said.
    pub owed_by: Option<OwedBy>,
}

/// What the machine keeps of an accepted transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Arc<Cell>,
    /// Its ordering key.
    pub ordering_key: OrderingKey,
    /// Its amount.
    pub amount: Money,
    /// The deadline that it carries.
    pub deadline: Option<CivilDate>,
    /// See [`Accepted::replaces`].
    pub replaces: Option<Seq>,
    /// See [`Accepted::depends_on`].
    pub depends_on: Option<Seq>,
    /// See [`Accepted::self_contained`].
    pub self_contained: bool,
    /// See [`Accepted::needs_credential`].
    pub needs_credential: bool,
    /// See [`Accepted::ticket_after`].
    pub ticket_after: Option<Timestamp>,
    /// Whether it was pre-accepted, so that its result must be told.
    pub pre_accepted: bool,
    /// Whether it names stored files.
    pub has_files: bool,
    /// When it was accepted.
    pub at: Timestamp,
}

impl Accepted {
    /// Whether its result must be told to the person.
    #[must_use]
    pub fn is_pre_accepted(&self) -> bool {
        self.told.disposition == Disposition::PreAccept
    }

    /// What the machine keeps of it.
    #[must_use]
    pub fn facts(&self) -> Facts {
        Facts {
            institution: self.institution.clone(),
            cell: self.cell.clone(),
            ordering_key: self.ordering_key,
            amount: self.amount,
            deadline: self.deadline,
            replaces: self.replaces,
            depends_on: self.depends_on,
            self_contained: self.self_contained,
            needs_credential: self.needs_credential,
            ticket_after: self.ticket_after,
            pre_accepted: self.is_pre_accepted(),
            has_files: !self.blobs.is_empty(),
            at: self.at,
        }
    }
}

#[cfg(test)]
impl Accepted {
    /// An application over 0.00 that is held, for the tests of whoever reads changes.
    pub(crate) fn sample() -> Self {
        let cell = serde_json::json!({
            "upstream": "agency", "business": "filing.out_of_area", "operation": "apply",
            "class": "hall", "channel": "hall", "district": "110101", "labels": [],
            "attributes": {},
        });
        Self {
            at: Timestamp::default(),
            institution: "H11010100001".parse().unwrap(),
            cell: Arc::new(serde_json::from_value(cell).unwrap()),
            ordering_key: OrderingKey(1),
            key_hash: KeyHash(1),
            fingerprint: Fingerprint(1),
            insured: InsuredHash(1),
            amount: Money::ZERO,
            occurred_at: Timestamp::default(),
            received_from_person_at: None,
            deadline: None,
            replaces: None,
            depends_on: None,
            self_contained: true,
            needs_credential: false,
            ticket_after: None,
            blobs: Vec::new(),
            told: Told {
                disposition: Disposition::Hold,
                advice: Advice::None,
                row: None,
                resume_at: None,
                alternative: None,
                bring: Vec::new(),
                deadline: None,
                deadline_final: false,
                kept: false,
                incurred_in: None,
            },
            sealed: Sealed { algorithm: 1, key_id: 1, bytes: bytes::Bytes::new() },
        }
    }
}
