//! What the edges may see of the state: plain values, copied out while the engine stands still.

use crate::domain::calendar::NoCalendar;
use crate::domain::cell::{Cell, Selector};
use crate::domain::deadline::Computed;
use crate::domain::gate::{GateState, Health};
use crate::domain::ids::{Business, InstitutionCode, OrderingKey, Seq, UpstreamName, WindowId};
use crate::domain::money::Money;
use crate::domain::outcome::TransientReason;
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::term::Deadline;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Interval, Timestamp, Zone};
use crate::domain::window::Phase;
use crate::engine::change::Case;
use crate::engine::deadlines::Telling;
use std::sync::Arc;
use std::time::Duration;

/// A transaction that is not final, as the machine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionView {
    /// The transaction.
    pub transaction: Seq,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Arc<Cell>,
    /// Where it stands.
    pub state: State,
    /// Its ordering key.
    pub ordering_key: OrderingKey,
    /// Its amount.
    pub amount: Money,
    /// Attempts so far.
    pub attempts: u32,
    /// Sure failures in a row.
    pub failures: u32,
    /// When it may be tried or asked about next.
    pub not_before: Timestamp,
    /// Whether its gate is what keeps it.
    pub gate: GateState,
    /// The transaction of the same key that it waits behind.
    pub behind: Option<Seq>,
    /// The code of its provisional refusal.
    pub provisional: Option<String>,
    /// Of a dead letter: the failure that it was given up for, where that is known.
    pub given_up_for: Option<TransientReason>,
    /// When it was accepted.
    pub at: Timestamp,
    /// For a pre-accepted transaction: whether its result has been told. `None` for others.
    pub result_told: Option<bool>,
}

/// A pre-accepted transaction that is final and whose result has not been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The transaction.
    pub transaction: Seq,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Arc<Cell>,
    /// Where it ended.
    pub state: State,
    /// Its amount.
    pub amount: Money,
    /// How many attempts there were.
    pub attempts: u32,
    /// When it was accepted.
    pub at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

/// A ticket that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketView {
    /// The ticket.
    pub transaction: Seq,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// The cell of its transaction.
    pub cell: Arc<Cell>,
    /// Its amount.
    pub amount: Money,
    /// Where it stands.
    pub state: TicketState,
    /// The settlement that is on its way to replace it.
    pub replaced_by: Option<Seq>,
    /// When its transaction was accepted.
    pub at: Timestamp,
}

/// The gate of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateView {
    /// The cell.
    pub cell: Arc<Cell>,
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

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamView {
    /// Its name.
    pub name: UpstreamName,
    /// Its health.
    pub health: Health,
    /// Sends per second allowed now; `None` where only concurrency limits.
    pub rate: Option<u32>,
    /// Attempts that are out.
    pub in_flight: u64,
    /// How the latest probes went, the newest last.
    pub probes: Vec<bool>,
}

/// An outage that nobody planned and no person has settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftView {
    /// The name that its window would have.
    pub id: WindowId,
    /// The upstream; `None` where we had no room ourselves.
    pub upstream: Option<UpstreamName>,
    /// When it began.
    pub began: Timestamp,
    /// When the upstream was proved back; `None` while it is away.
    pub ended: Option<Timestamp>,
    /// Transactions of the upstream that wait.
    pub waiting: u64,
}

/// What waits for one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayView {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Transactions that wait behind an open gate.
    pub remaining: u64,
    /// Transactions that wait before a closed gate.
    pub held: u64,
    /// Since when the oldest that could go has been due; `None` while nothing could.
    pub due_since: Option<Timestamp>,
    /// Whether a window stops a part of it, and is not past its planned end.
    pub stopped: bool,
    /// Whether an outage of it waits to be confirmed as a window or dismissed.
    pub unconfirmed: bool,
}

/// How long before its end a date that a stop takes away needs a person. The alert
/// HoldoverDeadlineAtRisk means the same; a test compares them.
pub const AT_RISK_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How the deadlines stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadlinesView {
    /// Registered cases.
    pub registered: u64,
    /// When the next known date ends that lies in a stop of now and was not moved out of it, or that
    /// something waiting carries and is due within a day.
    pub at_risk: Option<Timestamp>,
}

/// A date with all that can be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DateExplained {
    /// As it holds.
    pub computed: Computed,
    /// How it came about, sentence by sentence.
    pub words: Vec<String>,
    /// What was told of it, in order.
    pub told: Vec<Telling>,
}

/// A known date that a stop takes away and that was not moved out of it, or that ends soon while
/// something that carries it is not at the core yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtRisk {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds.
    pub holds: Deadline,
    /// When that ends.
    pub ends_at: Timestamp,
    /// The window that takes it away; `None` where it only ends soon.
    pub window: Option<WindowId>,
    /// Cases that are registered for it.
    pub cases: u64,
    /// Transactions that carry it and are not final.
    pub open: u64,
}

/// What a change of a window would do to the known dates.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preview {
    /// The dates that would move.
    pub moves: Vec<Affected>,
    /// The dates that would be overtaken.
    pub inversions: Vec<Inversion>,
}

/// A date that would move.
#[derive(Debug, Clone, PartialEq)]
pub struct Affected {
    /// The business.
    pub business: Business,
    /// What was given.
    pub original: Deadline,
    /// What holds now.
    pub holds: Deadline,
    /// What would hold, and why.
    pub becomes: Computed,
    /// Cases that are registered for it.
    pub cases: u64,
    /// Transactions that carry it and are not final.
    pub open: u64,
}

/// Two dates of a business that would change places: given and effective of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inversion {
    /// The business.
    pub business: Business,
    /// The one that was given as the earlier.
    pub earlier: (Deadline, Deadline),
    /// The one that was given as the later.
    pub later: (Deadline, Deadline),
}

/// A registered deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineView {
    /// Its number.
    pub id: Seq,
    /// The case.
    pub case: Case,
    /// When it was registered.
    pub at: Timestamp,
}

/// One occurrence of a recurring stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OccurrenceView {
    /// From when to when the schedule plans it.
    pub planned: Interval,
    /// The window that was declared for it, and where that stands. What was ordered of it since
    /// stands in the window.
    pub declared: Option<(WindowId, Phase)>,
}

/// A recurring stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecurringView {
    /// Its name.
    pub name: WindowId,
    /// Its expression.
    pub cron: String,
    /// The days of each month on which that counts.
    pub days: Option<String>,
    /// The zone of its times.
    pub zone: Zone,
    /// How long each is planned to last.
    pub lasts: Duration,
    /// The next ones, in order.
    pub next: Vec<OccurrenceView>,
}

/// Service hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoursView {
    /// Their name.
    pub name: WindowId,
    /// The zone of their times.
    pub zone: Zone,
    /// Whether they are on.
    pub is_open: bool,
    /// The cells.
    pub cells: Selector,
    /// What is done with a submission outside them.
    pub outside: Option<Disposition>,
    /// What they rest on.
    pub clause: String,
    /// Why they are.
    pub reason: String,
    /// The next openings, in order.
    pub next: Vec<Interval>,
    /// Why no more of them can be told, where the calendar ends behind them.
    pub unknown: Option<NoCalendar>,
}
