//! What can happen to the engine, and what it answers.

use super::adjust::Adjustable;
use super::change::{Accepted, AuditHead, Blob, Case, Private, TurnedAway};
use super::ports::Answer;
use crate::domain::attachment::Content;
use crate::domain::cell::{Cell, Selector};
use crate::domain::consent::Deed;
use crate::domain::deadline::Computed;
use crate::domain::gate::{GateState, Probe};
use crate::domain::ids::{
    AttemptNo, BlobName, Business, Fingerprint, InstitutionCode, InsuredHash, KeyHash, OrderingKey,
    Seq, UpstreamName, WindowId,
};
use crate::domain::money::Money;
use crate::domain::outcome::{Finding, Outcome};
use crate::domain::policy::Disposition;
use crate::domain::review::WindowFault;
use crate::domain::revision::Revision;
use crate::domain::state::State;
use crate::domain::term::Deadline;
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Timestamp};
use crate::domain::window::{Proof, Window};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where an answer goes. Given out by `run`; the machine only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyTo(pub u64);

/// A submission that has been authenticated, validated and sealed. `Debug` shows neither the
/// credential nor anything private.
#[derive(Clone)]
pub struct Submission {
    /// The submitter.
    pub institution: InstitutionCode,
    /// The cell.
    pub cell: Cell,
    /// The ordering key.
    pub ordering_key: OrderingKey,
    /// The hash of institution and idempotency key.
    pub key_hash: KeyHash,
    /// The hash of the content.
    pub fingerprint: Fingerprint,
    /// The hash of the insured person's reference.
    pub insured: InsuredHash,
    /// The amount; zero where the business has none.
    pub amount: Money,
    /// When the business happened.
    pub occurred_at: Timestamp,
    /// When the person handed it in.
    pub received_from_person_at: Option<Timestamp>,
    /// The deadline that it carries.
    pub deadline: Option<CivilDate>,
    /// The transaction whose place it takes.
    pub replaces: Option<Seq>,
    /// The transaction that must be applied first.
    pub depends_on: Option<Seq>,
    /// For a backfill: the first day that it covers.
    pub covers_from: Option<CivilDate>,
    /// Whether it carries a report file.
    pub has_report_file: bool,
    /// The files that it names, in order.
    pub files: Vec<NamedFile>,
    /// Whether the institution opted in to credit.
    pub credit: bool,
    /// What the catalogue's line says.
    pub line: LineFacts,
    /// Whether somebody waits for the core's answer, and for how long at most.
    pub wait: Option<Duration>,
    /// The patient's credential for the one live attempt. Never stored.
    pub credential: Option<Bytes>,
    /// The private part in the clear, for a live attempt without a look into the journal.
    pub private: Arc<Private>,
    /// The private part as it is stored.
    pub sealed: super::change::Sealed,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission")
            .field("institution", &self.institution)
            .field("cell", &self.cell)
            .field("amount", &self.amount)
            .field("occurred_at", &self.occurred_at)
            .field("deadline", &self.deadline)
            .field("replaces", &self.replaces)
            .field("depends_on", &self.depends_on)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// A file that a submission names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedFile {
    /// Its name, if it is stored.
    pub name: BlobName,
    /// The size that the submission says.
    pub bytes: u64,
    /// What the end of its name says that it is.
    pub content: Option<Content>,
}

/// What is wrong with a file that a submission names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachmentFault {
    /// It is not stored.
    NotStored,
    /// What is stored has another size.
    OtherSize,
    /// What is stored is of another kind than its name says.
    OtherContent,
}

/// What a submission takes from its line of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineFacts {
    /// See `Line::normal`.
    pub normal: Disposition,
    /// See `Line::self_contained`.
    pub self_contained: bool,
    /// See `Line::needs_credential`.
    pub needs_credential: bool,
    /// See `Line::queued`.
    pub queued: bool,
    /// See `Line::live_limit`.
    pub live_limit: Duration,
    /// Whether the files that it names must be stored.
    pub files_stored: bool,
}

/// An operator's command. The author comes from the credential, the reason from the operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What.
    pub command: Command,
}

/// What an operator can order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// What another person has proposed and the one who orders this agrees to.
    Agreed {
        /// What was proposed.
        to: Box<Order>,
        /// How that stood which it is about.
        seen: u64,
    },
    /// Declare a window. `version`, `author`, `reason`, `changed_at` and `published` are set by
    /// the engine.
    DeclareWindow(Box<Window>),
    /// Give a window a new whole, as far as it can still be changed.
    ChangeWindow {
        /// The window.
        window: WindowId,
        /// What it is to say.
        to: Box<Revision>,
        /// The version that the operator saw.
        if_version: Option<u32>,
    },
    /// Move a window's planned end, or that of one row; later is an extension, earlier ends it
    /// early.
    MoveWindowEnd {
        /// The window.
        window: WindowId,
        /// The row's place, from 0, where only that is meant.
        row: Option<u32>,
        /// The new planned end.
        ends_at: Timestamp,
        /// The version that the operator saw.
        if_version: Option<u32>,
    },
    /// Take back a window that has not begun.
    CancelWindow {
        /// The window.
        window: WindowId,
        /// The version that the operator saw.
        if_version: Option<u32>,
    },
    /// Make a window of an outage that nobody planned.
    ConfirmOutage {
        /// The draft.
        window: WindowId,
        /// When it is expected to be over, where somebody knows.
        ends_at: Option<Timestamp>,
    },
    /// Say that an outage is no window.
    DismissOutage {
        /// The draft.
        window: WindowId,
    },
    /// Certify that cells are back.
    Restore {
        /// The window.
        window: WindowId,
        /// The cells.
        cells: Selector,
        /// From when on they may go, where that is later than now.
        ready_from: Option<Timestamp>,
        /// What it rests on.
        proof: Proof,
    },
    /// Let cells go that wait for a named person.
    Release {
        /// The window.
        window: WindowId,
        /// The cells.
        cells: Selector,
    },
    /// Close gates; answered when every send begun before has ended or is in doubt.
    CloseGate {
        /// The cells.
        cells: Selector,
        /// Until when at the latest.
        until: Timestamp,
    },
    /// Move the end of an override.
    ExtendGate {
        /// Exactly the cells that were closed.
        cells: Selector,
        /// The new end.
        until: Timestamp,
    },
    /// Take an override back.
    OpenGate {
        /// Exactly the cells that were closed.
        cells: Selector,
    },
    /// Believe the clock as it is, after it was set.
    TrustClock,
    /// Tell every known date that is computed and was not told.
    TellDates,
    /// Register cases that have no transaction.
    RegisterCases(Vec<Case>),
    /// Put a dead letter back.
    Redrive(Seq),
    /// Skip a dead letter for good.
    Skip(Seq),
    /// Say what became of a doubtful transaction.
    ResolveDoubt {
        /// The transaction.
        transaction: Seq,
        /// What the person found out: `Applied`, `Refused`, or `Waiting` for not applied.
        verdict: State,
    },
    /// Ask the core now about a doubtful transaction.
    AskNow(Seq),
    /// Say that the result of a pre-accepted transaction was told.
    ResultTold {
        /// The transaction.
        transaction: Seq,
        /// How.
        how: String,
    },
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A submission came in.
    Submit(ReplyTo, Box<Submission>),
    /// An attempt ended.
    Settled {
        /// The transaction.
        transaction: Seq,
        /// The attempt.
        attempt: AttemptNo,
        /// How.
        outcome: Outcome<Answer>,
    },
    /// The core was asked.
    Found {
        /// The transaction.
        transaction: Seq,
        /// What it said.
        finding: Finding<Answer>,
    },
    /// An upstream was probed.
    Probed {
        /// The upstream.
        upstream: UpstreamName,
        /// When, and how it went.
        probe: Probe,
    },
    /// An operator ordered something.
    Order(ReplyTo, Box<Order>),
    /// A submitter takes a transaction back.
    Withdraw {
        /// Where the answer goes.
        reply: ReplyTo,
        /// The submitter.
        institution: InstitutionCode,
        /// The transaction.
        transaction: Seq,
        /// Why.
        reason: String,
    },
    /// A submitter closes a ticket by hand.
    CloseTicket {
        /// Where the answer goes.
        reply: ReplyTo,
        /// The submitter.
        institution: InstitutionCode,
        /// The ticket.
        transaction: Seq,
        /// `ReimbursedManually` or `Waived`.
        how: TicketState,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A case is registered; once for ever, however often it is said.
    RegisterDeadline {
        /// Where the answer goes.
        reply: ReplyTo,
        /// The case.
        case: Case,
    },
    /// The accept record of a transaction that is still needed is about to leave the journal.
    Forward {
        /// The transaction.
        transaction: Seq,
        /// Its accept record.
        accepted: Arc<Accepted>,
    },
    /// Everything before this sequence may leave the journal: it is old enough, and what is
    /// still needed of it has been forwarded.
    Retire {
        /// The first sequence that stays.
        before: Seq,
    },
    /// Somebody asks for a date; the answer counts as told.
    CheckDeadline {
        /// Where the answer goes.
        reply: ReplyTo,
        /// The business.
        business: Business,
        /// What was given.
        original: Deadline,
    },
    /// A file is durable and not known yet, or came again.
    StoreBlob {
        /// Where the answer goes.
        reply: ReplyTo,
        /// The file; `at` and `named` are set by the engine.
        blob: Blob,
        /// The file of the same name that it is to replace, because that is damaged; itself, where
        /// it came again and its time is to begin anew.
        replaces: Option<u64>,
    },
    /// Time to forget stored files that nothing names any more.
    SweepBlobs,
    /// The audit log is durable up to here.
    AuditNoted(AuditHead),
    /// Submissions are turned away because the disk has no more than its reserve.
    NoRoom,
    /// Some settings are others from now on.
    Adjusted(Box<Adjustable>),
    /// Time has passed.
    Tick,
    /// The process is stopping: no attempt may start any more.
    Stop,
}

/// What the engine answers. Sent only after everything it rests on is durable.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Accepted, or a repeat of something accepted; the receipt is built from the record.
    Accepted {
        /// The transaction.
        transaction: Seq,
        /// The record, at hand when this very call made it.
        accepted: Option<Arc<Accepted>>,
        /// Whether it is a repeat.
        duplicate: bool,
        /// What came of a live attempt, for somebody who waited.
        live: Option<Live>,
    },
    /// The key is known with other content.
    KeyReused {
        /// The transaction that has the key.
        transaction: Seq,
    },
    /// Turned away by policy.
    TurnedAway {
        /// The refusal's number.
        number: Seq,
        /// The record.
        record: Arc<TurnedAway>,
        /// What the decision said.
        decision: Box<crate::domain::window::Decision>,
        /// Why nobody can say when it is open again, where the calendar is the reason.
        unknown: Option<crate::domain::calendar::NoCalendar>,
    },
    /// Refused because of what it says; nothing was journaled.
    Invalid(Fault),
    /// An order was carried out.
    Done(Done),
    /// A deadline, as it holds.
    Deadline {
        /// Its number, where it was registered.
        id: Option<Seq>,
        /// Whether it had been registered before.
        duplicate: bool,
        /// The date.
        computed: Box<Computed>,
    },
    /// The engine cannot take it: it is stopping or its journal is poisoned.
    Unavailable,
}

/// What came of a live attempt within the time that somebody waited.
#[derive(Debug, Clone)]
pub enum Live {
    /// The core applied it.
    Applied {
        /// Its answer.
        answer: Answer,
        /// When that was written down.
        at: Timestamp,
    },
    /// Refused, with the core's code and answer.
    Refused {
        /// The core's code.
        code: String,
        /// Its answer.
        answer: Answer,
    },
    /// It surely did not happen; there is a ticket.
    Ticketed,
    /// Nobody knows yet: the counter must not finalise.
    DoNotFinalise,
    /// It is kept and will be sent later.
    Waiting,
}

/// An order that was carried out.
#[derive(Debug, Clone)]
pub enum Done {
    /// A window, as it stands now.
    Window(Arc<Window>),
    /// Gates, as they stand now.
    Gates(Vec<(Cell, GateState)>),
    /// A transaction, as it stands now.
    Transaction(Seq, State),
    /// A ticket, as it stands now.
    Ticket(Seq, TicketState),
    /// So many dates were told.
    Dates(u64),
    /// Whether this file is the one that is stored now; one of its name was before, where not.
    Blob(bool),
    /// Of each case, in order, its number, whether it was known, and its date.
    Cases(Vec<Result<RegisteredCase, Fault>>),
}

/// A case that is registered.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredCase {
    /// Its number.
    pub id: Seq,
    /// Whether it was registered before.
    pub duplicate: bool,
    /// Its date, as it holds.
    pub computed: Box<Computed>,
}

/// What somebody named and what is not there, or not theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// A transaction.
    Transaction,
    /// A transaction that is not final.
    OpenTransaction,
    /// A transaction to wait for.
    OpenDependency,
    /// A pre-accepted transaction whose result has not been told.
    UntoldResult,
    /// A ticket.
    Ticket,
    /// A ticket that is open.
    OpenTicket,
    /// A window.
    Window,
    /// A version of a window.
    Version,
    /// An outage that may be confirmed as a window.
    Draft,
    /// An operator's closing of gates.
    Closing,
    /// A registered deadline.
    Deadline,
    /// A proposal that waits for a second person.
    Proposal,
    /// A stored file.
    Attachment,
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transaction => "transaction of that name",
            Self::OpenTransaction => "open transaction of that name",
            Self::OpenDependency => "transaction of that name that is still open",
            Self::UntoldResult => "pre-accepted transaction of that name with an untold result",
            Self::Ticket => "ticket of that name",
            Self::OpenTicket => "open ticket of that name",
            Self::Window => "window of that name",
            Self::Draft => "draft of that name",
            Self::Version => "version of that number that is still known",
            Self::Closing => "override of exactly these cells",
            Self::Deadline => "registered deadline of that name",
            Self::Proposal => "proposal of that number that still waits",
            Self::Attachment => "attachment of that digest",
        })
    }
}

/// Why a request was refused for what it says. Each has a stable code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is no such thing, or it is not the asker's.
    #[error("there is no {0}")]
    NotFound(Sought),
    /// It is not in a state that allows this.
    #[error("{what} is {state}, which does not allow this")]
    WrongState {
        /// What.
        what: &'static str,
        /// Its state.
        state: String,
    },
    /// The window is over.
    #[error("window {0} is completed: everything that it stopped is back")]
    WindowCompleted(WindowId),
    /// Somebody changed it in between.
    #[error("it has been changed since: version {current} now")]
    Changed {
        /// The version now.
        current: u32,
    },
    /// A replacement is on its way.
    #[error("a replacement is already on its way")]
    BeingReplaced,
    /// What it would cancel may be a ticket, which never took effect.
    #[error(
        "a ticket of the same visit or person is open, and what became a ticket never took effect: \
         close or resettle it, then cancel what has been applied"
    )]
    OpenTicket,
    /// Files that it names are not as it says; by their places.
    #[error("{} of the attachments cannot be taken", .0.len())]
    Attachments(Vec<(usize, AttachmentFault)>),
    /// The submission lacks something that policy demands.
    #[error("{0}")]
    PolicyDemands(&'static str),
    /// The day is outside what the notice covers.
    #[error("{0} is not covered by any stop")]
    NotCovered(CivilDate),
    /// A value makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A window may not be in force as it is; everything that is wrong with it.
    #[error("the window cannot be in force: {} mistakes", .0.len())]
    WrongWindow(Vec<WindowFault>),
    /// There is no room for more of them.
    #[error("there are too many {0} already")]
    Full(&'static str),
    /// One person alone may not do it. With how that stands which it is about.
    #[error("{0} needs two persons")]
    TwoPersons(Deed, u64),
    /// Records of the journal are lost; nothing is decided until they are back.
    #[error("records of the journal are damaged: it is served to be looked at, and nothing else")]
    Quarantined,
    /// The calendar does not know the year.
    #[error(transparent)]
    NoCalendar(#[from] crate::domain::calendar::NoCalendar),
}
