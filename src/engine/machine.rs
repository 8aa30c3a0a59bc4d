//! The state of one partition, and its fold.
//!
//! `apply` is the only code that changes what is durable, and the only code recovery runs: the
//! state is whatever the changes say. `step` (in `step.rs`, `orders.rs`, `flow.rs`) decides
//! changes and applies them here. What is *not* folded stands under "this process only" below
//! and may be lost at any time without breaking a promise.

use super::blobs::Blobs;
use super::change::{Accepted, AuditHead, Carried, Case, Change, Facts, Settlement, Totals};
use super::clock::Watch;
use super::deadlines::Dated;
use super::event::ReplyTo;
use super::flow::Closing;
use super::live::{
    CHAINED, HAS_FILES, Live, LiveSet, NEEDS_CREDENTIAL, NOT_SELF_CONTAINED, PRE_ACCEPTED, READY,
    Slot, UNQUEUED,
};
use super::ports::{Answer, KeyEntry, KeyRuns};
use super::schedule::Plan;
use super::settings::{Settings, sabotaged};
use super::untold::UntoldResults;
use super::view::Untold;
use super::windows::Earlier;
use crate::domain::cell::Cell;
use crate::domain::forecast::Arrivals;
use crate::domain::gate::{GateState, Health, Outage, Override};
use crate::domain::ids::{Business, InstitutionCode, KeyHash, Seq, UpstreamName, WindowId};
use crate::domain::ledger::Books;
use crate::domain::numbers::Numbers;
use crate::domain::outcome::TransientReason;
use crate::domain::pacing::Pacer;
use crate::domain::state::{Move, State};
use crate::domain::term::Deadline;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A cell that has been seen, its gate, and its transactions that could go now.
pub(super) struct CellSlot {
    pub(super) cell: Arc<Cell>,
    pub(super) upstream: usize,
    pub(super) gate: GateState,
    /// When this process saw the gate open last, if it has.
    pub(super) opened_at: Option<Timestamp>,
    /// Rises with every closing; shared with dispatch, which compares it before the first byte.
    pub(super) epoch: Arc<AtomicU64>,
    /// Heads of their keys that somebody waits for, and the others.
    pub(super) live: VecDeque<Slot>,
    pub(super) backlog: VecDeque<Slot>,
    /// Heads of their keys that finish what another transaction began.
    pub(super) chained: VecDeque<Slot>,
    /// Heads of their keys whose turn came when no place for files was free.
    pub(super) filed: VecDeque<Slot>,
    /// Whether its work takes long, so that it is not begun shortly before a stop.
    pub(super) long: bool,
    /// Sends in a row of what somebody waits for.
    pub(super) live_in_a_row: u32,
    /// Whether the cell stands in its upstream's `turn`.
    pub(super) in_turn: bool,
    pub(super) waiting: u64,
    /// What came to wait here, oldest first, from the oldest that still waits; and what came
    /// back to waiting. So the oldest is known without looking at all of them.
    pub(super) came: VecDeque<Seq>,
    pub(super) came_back: BTreeSet<Seq>,
    /// What was accepted here lately, for forecasts.
    pub(super) arrivals: Arrivals,
    pub(super) out: u64,
}

/// How many of the latest probes are shown.
pub(super) const PROBES_SHOWN: usize = 20;

/// An upstream that has been seen.
pub(super) struct UpstreamSlot {
    pub(super) name: UpstreamName,
    pub(super) health: Health,
    pub(super) pacer: Pacer,
    pub(super) out: u64,
    /// Those of them that name files.
    pub(super) files_out: BTreeSet<Seq>,
    /// Cells with an open gate and something ready, in turn.
    pub(super) turn: VecDeque<u32>,
    /// When the latest good probes that count were, oldest first; as many as prove it back.
    pub(super) good: VecDeque<Timestamp>,
    /// How the latest probes went, the newest last; at most [`PROBES_SHOWN`].
    pub(super) probes: VecDeque<bool>,
    /// Refusals that count only when the gate has opened fully.
    pub(super) provisional: BTreeSet<Seq>,
}

impl UpstreamSlot {
    pub(super) fn new(name: UpstreamName, health: Health) -> Self {
        Self {
            name,
            health,
            pacer: Pacer::default(),
            out: 0,
            files_out: BTreeSet::new(),
            turn: VecDeque::new(),
            good: VecDeque::new(),
            probes: VecDeque::new(),
            provisional: BTreeSet::new(),
        }
    }
}

/// Something that becomes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A head may be tried again.
    Retry(Seq),
    /// The core may be asked about a doubtful transaction.
    Ask(Seq),
    /// A live attempt has been tried long enough for a ticket.
    Ticket(Seq),
    /// Somebody has waited long enough.
    WaitOver(Seq),
    /// Gates must be looked at again.
    Gates,
    /// Dates must be computed again.
    Deadlines,
    /// Whether there is room again must be looked at.
    Room,
}

/// Somebody who waits for the core's answer.
pub(super) struct Waiter {
    pub(super) reply: ReplyTo,
    pub(super) accepted: Option<Arc<Accepted>>,
}

/// What a live attempt needs that is not, or not yet, in the journal.
pub(super) struct AtHand {
    pub(super) accepted: Arc<Accepted>,
    pub(super) private: Arc<super::change::Private>,
    pub(super) credential: Option<Bytes>,
}

/// The state of one partition.
pub struct Machine {
    pub(super) settings: Settings,
    pub(super) next: Seq,
    /// The first sequence that has not left, or may not leave, the journal.
    pub(super) begins: Seq,
    pub(super) epoch: u64,
    pub(super) numbers: Numbers,
    pub(super) last_at: Timestamp,
    pub(super) books: Books,
    pub(super) turned_away: u64,
    /// The end of the audit log as it was noted last.
    pub(super) audit: Option<AuditHead>,
    pub(super) live: LiveSet,
    pub(super) blobs: Blobs,
    pub(super) cells: Vec<CellSlot>,
    pub(super) cell_ids: HashMap<Arc<Cell>, u32>,
    pub(super) institutions: Vec<InstitutionCode>,
    pub(super) institution_ids: HashMap<InstitutionCode, u32>,
    pub(super) upstreams: Vec<UpstreamSlot>,
    pub(super) windows: Vec<Arc<Window>>,
    pub(super) earlier: Earlier,
    /// For each window what it stops, as far as the catalogue tells, and nobody has restored.
    pub(super) unrestored: BTreeMap<WindowId, Vec<Cell>>,
    pub(super) overrides: Vec<Override>,
    /// When there was no room last, and until when.
    pub(super) intake: Option<Outage>,
    /// Dates that somebody was told of or waits for.
    pub(super) dates: BTreeMap<(Business, Deadline), Dated>,
    /// Those of them that a transaction carries which is not final.
    pub(super) dates_open: BTreeSet<(Business, Deadline)>,
    pub(super) registered: BTreeMap<Seq, super::view::DeadlineView>,
    /// The same cases, to know one that is registered again.
    pub(super) cases: HashMap<Case, Seq>,
    pub(super) ticketed: BTreeSet<Seq>,
    pub(super) dead: BTreeSet<Seq>,
    pub(super) doubtful: BTreeSet<Seq>,
    pub(super) untold: UntoldResults,
    /// Keys of records that no sealed run covers yet.
    pub(super) recent: HashMap<KeyHash, KeyEntry>,
    pub(super) runs: Box<dyn KeyRuns>,
    pub(super) keys_covered: Seq,
    pub(super) agenda: BTreeSet<(Timestamp, Due)>,
    /// Transactions that wait for another one to be applied.
    pub(super) dependents: HashMap<Seq, Vec<Seq>>,

    // This process only.
    /// Whether the wall clock is believed.
    pub(super) clock: Watch,
    pub(super) waiters: HashMap<Seq, Vec<Waiter>>,
    pub(super) at_hand: HashMap<Seq, AtHand>,
    pub(super) out: HashMap<Seq, u32>,
    /// Questions that are out: when each was asked, and after how many attempts.
    pub(super) asking: HashMap<Seq, (Timestamp, u16)>,
    pub(super) asked: HashMap<Seq, u32>,
    pub(super) answers: HashMap<Seq, Answer>,
    pub(super) closings: Vec<Closing>,
    pub(super) plan: Plan,
    pub(super) gates_dirty: bool,
    /// Whether this process has looked at the gates: what turns then, it has not seen turn.
    pub(super) gates_seen: bool,
    pub(super) dates_dirty: bool,
    pub(super) gates_next: Option<Timestamp>,
    /// When dates are computed again because a stop overruns.
    pub(super) overrun_at: Option<Timestamp>,
    /// When upstreams go on that a person has said to be ready later.
    pub(super) ready_at: BTreeSet<(Timestamp, usize)>,
    /// When somebody was turned away for want of room last.
    pub(super) refused_at: Option<Timestamp>,
    pub(super) stopping: bool,
    /// Records are lost: what is left is looked at, and nothing is decided.
    pub(super) quarantined: bool,
    pub(super) passed_over: u64,
    /// Since when cells have counted what was accepted.
    pub(super) watched_since: Option<Timestamp>,
    /// Moves into final states and dead letters since they were last taken, for metrics.
    pub(super) arrivals: Vec<(Seq, Arc<Cell>, State)>,
}

impl Machine {
    /// An empty partition.
    #[must_use]
    pub fn new(settings: Settings, runs: Box<dyn KeyRuns>) -> Self {
        let upstreams = settings
            .upstreams
            .keys()
            .map(|name| UpstreamSlot::new(name.clone(), Health::open(Timestamp::default())))
            .collect();
        let clock = Watch::new(settings.limits.clock_jump_max);
        Self {
            numbers: Numbers::new(settings.partition, Vec::new()),
            settings,
            clock,
            next: Seq(1),
            begins: Seq(1),
            epoch: 0,
            last_at: Timestamp::default(),
            books: Books::default(),
            turned_away: 0,
            audit: None,
            live: LiveSet::new(),
            blobs: Blobs::default(),
            cells: Vec::new(),
            cell_ids: HashMap::new(),
            institutions: Vec::new(),
            institution_ids: HashMap::new(),
            upstreams,
            windows: Vec::new(),
            earlier: Earlier::new(),
            unrestored: BTreeMap::new(),
            overrides: Vec::new(),
            intake: None,
            dates: BTreeMap::new(),
            dates_open: BTreeSet::new(),
            registered: BTreeMap::new(),
            cases: HashMap::new(),
            ticketed: BTreeSet::new(),
            dead: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            untold: UntoldResults::default(),
            recent: HashMap::new(),
            runs,
            keys_covered: Seq(0),
            agenda: BTreeSet::new(),
            dependents: HashMap::new(),
            waiters: HashMap::new(),
            at_hand: HashMap::new(),
            out: HashMap::new(),
            asking: HashMap::new(),
            asked: HashMap::new(),
            answers: HashMap::new(),
            closings: Vec::new(),
            plan: Plan::default(),
            gates_dirty: true,
            gates_seen: false,
            dates_dirty: false,
            gates_next: None,
            overrun_at: None,
            ready_at: BTreeSet::new(),
            refused_at: None,
            stopping: false,
            quarantined: false,
            passed_over: 0,
            watched_since: None,
            arrivals: Vec::new(),
        }
    }

    /// Folds one change into the state.
    ///
    /// # Panics
    /// When the change asks for a move that does not exist: the journal and the rules disagree,
    /// and going on could move money twice.
    pub fn apply(&mut self, seq: Seq, change: &Change) {
        // A snapshot holds what happened at other times; its totals say what time it was.
        if let Some(at) = change.at().filter(|_| seq > Seq(0)) {
            self.last_at = self.last_at.max(at);
        }
        if seq >= self.next {
            self.next = seq.next();
        }
        if self.quarantined && !self.fits(change) {
            return;
        }
        self.blobs.apply(seq, change);
        match change {
            Change::Started { epoch, mark, .. } => {
                self.epoch = self.epoch.max(*epoch);
                self.numbers.start(seq, *mark);
            }
            Change::Accepted(accepted) => self.apply_accepted(seq, accepted),
            Change::TurnedAway(record) => {
                self.turned_away += 1;
                // A part of the core that only ever turned work away must be restored too.
                self.intern_cell(&record.cell);
                if let Some(extension) = &record.deadline {
                    self.note_told(&record.cell.business, extension, "turned_away", record.at);
                }
            }
            Change::AttemptStarted { transaction, .. } => self.apply_started(*transaction),
            Change::Settled { transaction, settlement, at, .. } => {
                self.end_attempt(*transaction);
                let slot = self.slot(*transaction);
                self.apply_settlement(slot, settlement, *at);
            }
            Change::Resolved { transaction, settlement, at, .. } => {
                let slot = self.slot(*transaction);
                self.apply_settlement(slot, settlement, *at);
            }
            Change::StillInDoubt { transaction, ask_at } => {
                let slot = self.slot(*transaction);
                self.live.get_mut(slot).not_before = *ask_at;
                self.agenda.insert((*ask_at, Due::Ask(*transaction)));
            }
            Change::ProvisionalDecided { upstream, confirmed, at } => {
                self.apply_provisional(upstream, *confirmed, *at);
            }
            Change::Ticketed { transaction, .. } => self.apply_ticketed(*transaction),
            Change::TicketClosed { transaction, how, at, .. } => {
                let slot = self.slot(*transaction);
                let amount = self.live.get(slot).amount;
                let step =
                    if *how == TicketState::Resettled { Move::Supersede } else { Move::Withdraw };
                self.finish(slot, step, *at);
                self.books.close(*how, amount);
            }
            Change::Withdrawn { transaction, at, .. } => {
                let slot = self.slot(*transaction);
                self.finish(slot, Move::Withdraw, *at);
            }
            Change::DeadLettered { transaction, reason, .. } => {
                self.apply_dead_lettered(*transaction, *reason);
            }
            Change::Redriven { transaction, .. } => self.apply_redriven(*transaction),
            Change::ActionRequired { transaction, .. } => {
                let slot = self.slot(*transaction);
                self.shift(slot, Move::RequireAction);
            }
            Change::Superseded { transaction, by_transaction, at } => {
                self.apply_superseded(*transaction, *by_transaction, *at);
            }
            Change::ResultTold { transaction, .. } => self.untold.note_told(*transaction),
            Change::WindowSet(window) => self.apply_window(window),
            Change::OverridesSet(list) => {
                self.overrides.clone_from(list);
                self.gates_dirty = true;
            }
            Change::IntakeStopped(outage) => self.intake = Some(outage.clone()),
            Change::HealthSet { upstream, health } => {
                let index = self.upstream(upstream);
                self.upstreams[index].health = health.clone();
                self.gates_dirty = true;
            }
            Change::DeadlineRegistered { case, at } => self.apply_registered(seq, case, *at),
            Change::DeadlineTold { business, extension, cause, at, .. } => {
                self.note_told(business, extension, cause, *at);
            }
            Change::Forwarded { .. } | Change::BlobStored(_) | Change::BlobsRemoved { .. } => {}
            Change::Retired { before, .. } => self.begins = self.begins.max(*before),
            Change::ClockAccepted { at, .. } => self.set_time(*at),
            Change::AuditNoted { head, .. } => self.audit = Some(head.clone()),
            Change::Totals(totals) => self.apply_totals(totals),
            Change::Carried(carried) => carried.iter().for_each(|one| self.apply_carried(one)),
            Change::DeadlineCarried { id, registered } => {
                if let Change::DeadlineRegistered { case, at } = registered.as_ref() {
                    self.apply_registered(*id, case, *at);
                }
            }
        }
    }

    fn apply_totals(&mut self, totals: &Totals) {
        self.books = Books::from_entries(&totals.books).unwrap_or_default();
        // A wrong total asks for no more memory than the limit allows.
        self.live.reserve(self.books.open_items().min(self.settings.limits.open_transactions_max));
        self.turned_away = totals.turned_away;
        self.epoch = totals.epoch;
        self.numbers = Numbers::new(self.settings.partition, totals.starts.clone());
        self.last_at = totals.last_at;
        self.watched_since = Some(totals.last_at);
        self.next = totals.up_to.next();
    }

    fn apply_started(&mut self, transaction: Seq) {
        let slot = self.slot(transaction);
        self.shift(slot, Move::Start);
        let live = self.live.get_mut(slot);
        live.attempts = live.attempts.saturating_add(1);
        self.begin_attempt(slot);
    }

    fn apply_ticketed(&mut self, transaction: Seq) {
        let slot = self.slot(transaction);
        self.shift(slot, Move::Ticket);
        self.leave(slot);
        if !sabotaged!(self.settings, DropTicket) {
            self.books.issue(self.live.get(slot).amount);
        }
        self.ticketed.insert(transaction);
    }

    fn apply_dead_lettered(&mut self, transaction: Seq, reason: TransientReason) {
        let slot = self.slot(transaction);
        self.shift(slot, Move::GiveUp);
        self.dead.insert(transaction);
        self.live.extra_mut(slot).given_up_for = Some(reason);
    }

    fn apply_redriven(&mut self, transaction: Seq) {
        let slot = self.slot(transaction);
        self.shift(slot, Move::Redrive);
        self.dead.remove(&transaction);
        self.live.extra_mut(slot).given_up_for = None;
        let now = self.last_at;
        let live = self.live.get_mut(slot);
        (live.failures, live.not_before) = (0, now);
        self.wake(slot);
    }

    fn apply_superseded(&mut self, transaction: Seq, by_transaction: Seq, at: Timestamp) {
        // Whoever waited for the old one waits for the one in its place.
        for dependent in self.dependents.remove(&transaction).unwrap_or_default() {
            if let Some(slot) = self.live.find(dependent) {
                self.live.extra_mut(slot).depends_on = Some(by_transaction);
                self.dependents.entry(by_transaction).or_default().push(dependent);
            }
        }
        let slot = self.slot(transaction);
        self.finish(slot, Move::Supersede, at);
    }

    fn apply_accepted(&mut self, seq: Seq, accepted: &Arc<Accepted>) {
        if seq > self.keys_covered {
            let entry = KeyEntry { transaction: seq, fingerprint: accepted.fingerprint };
            self.recent.insert(accepted.key_hash, entry);
        }
        self.books.accept(accepted.amount);
        if let Some(extension) = &accepted.told.deadline {
            self.note_told(&accepted.cell.business, extension, "accepted", accepted.at);
        }
        let slot = self.enter(seq, &accepted.facts(), State::Waiting, accepted.at);
        self.watch(slot, accepted);
    }

    /// Puts a transaction among the live ones.
    fn enter(&mut self, seq: Seq, facts: &Facts, state: State, not_before: Timestamp) -> Slot {
        let cell = self.intern_cell(&facts.cell);
        let institution = self.intern_institution(&facts.institution);
        let mut flags = 0;
        for (flag, on) in [
            (NEEDS_CREDENTIAL, facts.needs_credential),
            (NOT_SELF_CONTAINED, !facts.self_contained),
            (PRE_ACCEPTED, facts.pre_accepted),
            (HAS_FILES, facts.has_files),
            (UNQUEUED, facts.cell.operation == crate::domain::cell::Operation::Query),
        ] {
            if on {
                flags |= flag;
            }
        }
        let place = facts
            .replaces
            .and_then(|old| self.live.find(old))
            .filter(|&old| self.live.get(old).state == State::ActionRequired);
        let live =
            Live::new(seq, facts.amount, facts.at, not_before, cell, institution, state, flags);
        let slot = self.live.insert(live, facts.ordering_key, place);
        if facts.deadline.is_some()
            || facts.replaces.is_some()
            || facts.depends_on.is_some()
            || facts.ticket_after.is_some()
        {
            let extra = self.live.extra_mut(slot);
            extra.deadline = facts.deadline;
            extra.replaces = facts.replaces;
            extra.depends_on = facts.depends_on;
            extra.ticket_after = facts.ticket_after;
        }
        if let Some(date) = facts.deadline {
            let key = (facts.cell.business.clone(), date.into());
            self.dates.entry(key.clone()).or_default().open += 1;
            self.dates_open.insert(key);
        }
        if let Some(old) = facts.replaces.and_then(|old| self.live.find(old)) {
            self.live.extra_mut(old).replaced_by = Some(seq);
        }
        if let Some(first) = facts.depends_on.filter(|&first| self.live.find(first).is_some()) {
            self.dependents.entry(first).or_default().push(seq);
        }
        if let Some(at) = facts.ticket_after {
            self.agenda.insert((at, Due::Ticket(seq)));
        }
        if facts.pre_accepted {
            self.untold.await_result(seq);
        }
        if state == State::Waiting {
            self.cells[cell as usize].waiting += 1;
            self.cells[cell as usize].came.push_back(seq);
            self.wake(slot);
        }
        slot
    }

    /// Ties what a snapshot's transactions say of one another, which may be entered in any order.
    pub fn link_carried(&mut self) {
        for (slot, extra) in self.live.extras() {
            let transaction = self.live.get(slot).transaction;
            if let Some(old) = extra.replaces.and_then(|old| self.live.find(old)) {
                self.live.extra_mut(old).replaced_by = Some(transaction);
            }
            let Some(first) = extra.depends_on else { continue };
            if self.live.find(first).is_none() {
                continue;
            }
            let waiting = self.dependents.entry(first).or_default();
            if !waiting.contains(&transaction) {
                waiting.push(transaction);
            }
            // Entered before what it waits for, it may stand among those that could go.
            self.live.get_mut(slot).flags &= !READY;
        }
    }

    fn apply_carried(&mut self, carried: &Carried) {
        if carried.state.is_final() {
            // Only a pre-accepted transaction whose result has not been told is carried on.
            let cell = self.intern_cell(&carried.facts.cell);
            let untold = Untold {
                transaction: carried.transaction,
                institution: carried.facts.institution.clone(),
                cell: self.cells[cell as usize].cell.clone(),
                state: carried.state,
                amount: carried.facts.amount,
                attempts: carried.attempts,
                at: carried.facts.at,
                ended_at: carried.ended_at.unwrap_or(carried.facts.at),
            };
            self.untold.note_final(untold);
            return;
        }
        let seq = carried.transaction;
        let slot = self.enter(seq, &carried.facts, carried.state, carried.not_before);
        let live = self.live.get_mut(slot);
        live.attempts = u16::try_from(carried.attempts).unwrap_or(u16::MAX);
        live.failures = u16::try_from(carried.failures).unwrap_or(u16::MAX);
        let (cell, since) = (live.cell, self.last_at);
        match carried.state {
            State::InDoubt => {
                self.live.extra_mut(slot).doubt_since = Some(since);
                self.doubtful.insert(seq);
                self.agenda.insert((carried.not_before, Due::Ask(seq)));
            }
            State::InFlight => match &carried.provisional {
                Some(code) => {
                    self.live.extra_mut(slot).provisional = Some(code.clone());
                    let upstream = self.cells[cell as usize].upstream;
                    self.upstreams[upstream].provisional.insert(seq);
                }
                None => self.begin_attempt(slot),
            },
            State::Ticketed => {
                self.ticketed.insert(seq);
            }
            State::DeadLettered => {
                self.dead.insert(seq);
                self.live.extra_mut(slot).given_up_for = carried.given_up_for;
            }
            State::Waiting
            | State::ActionRequired
            | State::Applied
            | State::Refused
            | State::Withdrawn
            | State::Superseded => {}
        }
    }

    fn apply_settlement(&mut self, slot: Slot, settlement: &Settlement, at: Timestamp) {
        let transaction = self.live.get(slot).transaction;
        self.doubtful.remove(&transaction);
        match settlement {
            Settlement::Applied { .. } => self.finish(slot, Move::Apply, at),
            Settlement::Refused { provisional: false, .. } => {
                self.finish(slot, Move::Refuse, at);
            }
            Settlement::Refused { code, provisional: true, .. } => {
                self.live.extra_mut(slot).provisional = Some(code.clone());
                let upstream = self.cells[self.live.get(slot).cell as usize].upstream;
                self.upstreams[upstream].provisional.insert(transaction);
            }
            Settlement::Transient { reason, not_before } => {
                self.shift(slot, Move::Return);
                let counts = match reason {
                    TransientReason::GateClosed | TransientReason::Stopping => false,
                    TransientReason::Unreachable
                    | TransientReason::Busy
                    | TransientReason::Unavailable
                    | TransientReason::NotFound
                    | TransientReason::ByPerson
                    | TransientReason::RecordDamaged
                    | TransientReason::RecordUnreadable
                    | TransientReason::AttachmentRefused => true,
                };
                let live = self.live.get_mut(slot);
                live.failures = live.failures.saturating_add(u16::from(counts));
                live.not_before = *not_before;
                self.wake(slot);
            }
            Settlement::InDoubt { ask_at, .. } => {
                self.shift(slot, Move::Doubt);
                self.live.get_mut(slot).not_before = *ask_at;
                self.live.extra_mut(slot).doubt_since = Some(at);
                self.doubtful.insert(transaction);
                self.agenda.insert((*ask_at, Due::Ask(transaction)));
            }
        }
    }

    fn apply_provisional(&mut self, upstream: &UpstreamName, confirmed: bool, at: Timestamp) {
        let index = self.upstream(upstream);
        for transaction in std::mem::take(&mut self.upstreams[index].provisional) {
            let slot = self.slot(transaction);
            self.live.extra_mut(slot).provisional = None;
            if confirmed {
                self.finish(slot, Move::Refuse, at);
            } else {
                self.shift(slot, Move::Return);
                self.live.get_mut(slot).not_before = self.last_at;
                self.wake(slot);
            }
        }
    }

    /// An attempt of the transaction at `slot` is out.
    fn begin_attempt(&mut self, slot: Slot) {
        let live = *self.live.get(slot);
        let cell = &mut self.cells[live.cell as usize];
        cell.out += 1;
        let upstream = &mut self.upstreams[cell.upstream];
        upstream.out += 1;
        if live.is(HAS_FILES) {
            upstream.files_out.insert(live.transaction);
        }
        self.out.insert(live.transaction, live.cell);
    }

    /// The attempt of `transaction` is no longer out.
    fn end_attempt(&mut self, transaction: Seq) {
        if let Some(cell) = self.out.remove(&transaction) {
            let cell = &mut self.cells[cell as usize];
            cell.out = cell.out.saturating_sub(1);
            let index = cell.upstream;
            let upstream = &mut self.upstreams[index];
            upstream.out = upstream.out.saturating_sub(1);
            if upstream.files_out.remove(&transaction) {
                self.place_is_free(index);
            }
        }
    }

    /// Moves a transaction and the books with it.
    fn shift(&mut self, slot: Slot, step: Move) {
        let live = *self.live.get(slot);
        #[expect(clippy::panic, reason = "an illegal move would move money; stop and recover")]
        let next = match self.live.shift(slot, step) {
            Ok(next) => next,
            Err(error) => panic!("transaction {}: {error}", live.transaction),
        };
        self.books.shift(live.state, next, live.amount);
        let cell = &mut self.cells[live.cell as usize];
        if live.state == State::Waiting {
            cell.waiting = cell.waiting.saturating_sub(1);
            cell.came_back.remove(&live.transaction);
            self.forget_who_left(live.cell);
            // Its entry in the ready queue is stale from now on, wherever it still stands.
            self.live.get_mut(slot).flags &= !READY;
            if step != Move::Start {
                // A credential is for the one live attempt and is kept for nothing else.
                self.at_hand.remove(&live.transaction);
            }
        }
        let cell = &mut self.cells[live.cell as usize];
        if next == State::Waiting {
            cell.waiting += 1;
            cell.came_back.insert(live.transaction);
        }
        if next.is_final() || next == State::DeadLettered {
            self.arrivals.push((live.transaction, cell.cell.clone(), next));
        }
    }

    /// Drops from the front of a cell's arrivals whoever waits no longer.
    fn forget_who_left(&mut self, cell: u32) {
        let cell = &mut self.cells[cell as usize];
        while let Some(&first) = cell.came.front() {
            let waits = self
                .live
                .find(first)
                .is_some_and(|slot| self.live.get(slot).state == State::Waiting);
            if waits {
                return;
            }
            cell.came.pop_front();
        }
    }

    /// Takes a transaction out of its key's order and wakes the next one.
    fn leave(&mut self, slot: Slot) {
        if let Some(next) = self.live.leave_chain(slot) {
            self.wake(next);
        }
    }

    /// Moves a transaction to its final state and forgets it.
    fn finish(&mut self, slot: Slot, step: Move, at: Timestamp) {
        self.shift(slot, step);
        let live = *self.live.get(slot);
        let transaction = live.transaction;
        if self.untold.contains(transaction) {
            self.untold.note_final(Untold {
                transaction,
                institution: self.institutions[live.institution as usize].clone(),
                cell: self.cells[live.cell as usize].cell.clone(),
                state: live.state,
                amount: live.amount,
                attempts: u32::from(live.attempts),
                at: live.at,
                ended_at: at,
            });
        }
        self.ticketed.remove(&transaction);
        self.dead.remove(&transaction);
        if let Some(extra) = self.live.extra(slot).cloned() {
            self.note_closed(live.cell, extra.deadline);
            // A replacement that did not come about leaves the ticket open for another one.
            if let Some(old) = extra.replaces.and_then(|old| self.live.find(old))
                && self.live.extra(old).is_some_and(|e| e.replaced_by == Some(transaction))
            {
                self.live.extra_mut(old).replaced_by = None;
            }
        }
        if let Some(next) = self.live.remove(slot) {
            self.wake(next);
        }
        for dependent in self.dependents.remove(&transaction).unwrap_or_default() {
            if let Some(slot) = self.live.find(dependent) {
                self.live.extra_mut(slot).depends_on = None;
                self.live.get_mut(slot).flags |= CHAINED;
                self.wake(slot);
            }
        }
    }

    pub(super) fn slot(&self, transaction: Seq) -> Slot {
        #[expect(clippy::panic, reason = "a change about nothing: stop and recover")]
        self.live
            .find(transaction)
            .unwrap_or_else(|| panic!("a change names {transaction}, which is not live"))
    }

    /// Forgets the keys that stand in sealed runs by now.
    pub fn forget_sealed_keys(&mut self) {
        let covered = self.runs.covers();
        if covered > self.keys_covered {
            self.keys_covered = covered;
            self.recent.retain(|_, entry| entry.transaction > covered);
        }
    }
}
