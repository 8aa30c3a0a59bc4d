//! One step: an event in, changes and effects out.
//!
//! The step decides with the state as it is, pushes changes (each is applied at once, so the
//! next decision in the same batch sees it) and lists effects. Nothing is performed here.

use super::change::{Accepted, Change, Private, ResolvedBy, Settlement, Told, TurnedAway};
use super::event::{Event, Fault, Live as LiveAnswer, Reply, ReplyTo, Sought, Submission};
use super::explain::{Asked, Disposed};
use super::live::UNQUEUED;
use super::machine::{AtHand, Due, Machine, Waiter};
use super::ports::Answer;
use super::settings::sabotaged;
use crate::domain::cell::{Cell, Operation};
use crate::domain::gate::{GateState, HealthPhase};
use crate::domain::ids::{AttemptNo, BlobName, InstitutionCode, Seq, UpstreamName};
use crate::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Now, Timestamp};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// How soon a doubtful transaction is asked about first: an answer may only be late.
const FIRST_QUESTION: Duration = Duration::from_secs(1);
/// Recently accepted transactions whose private part stays at hand for their first attempt.
const AT_HAND_MAX: usize = 4096;

/// What a step, or a batch of steps, decided.
#[derive(Default)]
pub struct Decision {
    /// To be made durable, in order.
    pub changes: Vec<(Seq, Change)>,
    /// To be performed after that, in order.
    pub effects: Vec<Effect>,
}

/// Something that leaves the engine.
pub enum Effect {
    /// An answer.
    Reply(ReplyTo, Reply),
    /// An attempt.
    Send(Box<SendOrder>),
    /// A question.
    Ask {
        /// The transaction.
        transaction: Seq,
        /// Whom to ask.
        upstream: UpstreamName,
        /// Whose data key seals the answer.
        institution: InstitutionCode,
    },
    /// Stored files that are known no longer, to be put away.
    BlobsLeft(Vec<(BlobName, u64)>),
    /// A gate turned; for logs and metrics.
    GateTurned {
        /// Its cell.
        cell: Arc<Cell>,
        /// What it is now.
        to: GateState,
    },
}

/// One attempt to be made. Its start is durable when this is seen.
pub struct SendOrder {
    /// The transaction.
    pub transaction: Seq,
    /// Which try it is.
    pub attempt: AttemptNo,
    /// Its submitter.
    pub institution: InstitutionCode,
    /// Its cell.
    pub cell: Arc<Cell>,
    /// The gate's epoch, as it changes.
    pub gate: Arc<AtomicU64>,
    /// The gate's epoch when this was decided; nothing is sent when they differ.
    pub epoch: u64,
    /// The gate that was kept let it through, and the facts do not: a defect, to be told.
    pub is_closed: bool,
    /// The gate is known to close then; nothing is sent from then on.
    pub not_after: Option<Timestamp>,
    /// The record, the private part and the credential, where they are still at hand.
    pub at_hand: Option<(Arc<Accepted>, Arc<Private>, Option<Bytes>)>,
}

impl Machine {
    /// Decides a change, which is applied at once.
    pub(super) fn push(&mut self, out: &mut Decision, change: Change) -> Seq {
        let seq = self.next;
        self.apply(seq, &change);
        out.changes.push((seq, change));
        seq
    }

    /// Takes in one event at `now`.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Decision) {
        if self.quarantined {
            return self.look_only(event, out);
        }
        let at = self.read_clock(now);
        self.last_at = at;
        self.run_agenda(at, out);
        match event {
            Event::Submit(reply, submission) => self.submit(reply, *submission, at, out),
            Event::Settled { transaction, attempt, outcome } => {
                self.settled(transaction, attempt, outcome, at, out);
            }
            Event::Found { transaction, finding } => self.found(transaction, finding, at, out),
            Event::Probed { upstream, probe } => {
                let index = self.upstream(&upstream);
                self.probed(index, probe, at, out);
            }
            Event::Order(reply, order) => self.order(reply, *order, at, out),
            Event::Withdraw { reply, institution, transaction, reason } => {
                let answer = self.withdraw(&institution, transaction, reason, at, out);
                out.effects.push(Effect::Reply(reply, answer));
            }
            Event::CloseTicket { reply, institution, transaction, how, by, reason } => {
                let answer =
                    self.close_ticket(&institution, transaction, how, (by, reason), at, out);
                out.effects.push(Effect::Reply(reply, answer));
            }
            Event::RegisterDeadline { reply, case } => {
                let answer = self.register(case, at, out);
                out.effects.push(Effect::Reply(reply, answer));
            }
            Event::CheckDeadline { reply, business, original } => {
                let answer = self.date_answer(None, &business, original, at, out);
                out.effects.push(Effect::Reply(reply, answer));
            }
            Event::Forward { transaction, accepted } => {
                if self.needs_record(transaction) {
                    self.push(out, Change::Forwarded { transaction, accepted, at });
                }
            }
            Event::Retire { before } => {
                if before > self.begins {
                    self.push(out, Change::Retired { before, at });
                }
            }
            Event::StoreBlob { reply, blob, replaces } => {
                let answer = self.store_blob(blob, replaces, at, out);
                out.effects.push(Effect::Reply(reply, answer));
            }
            Event::SweepBlobs => self.sweep_blobs(at, out),
            Event::AuditNoted(head) => self.note_audit(head, at, out),
            Event::NoRoom => self.no_room(at, out),
            Event::Adjusted(settings) => self.adjust(*settings, at, out),
            Event::Tick => {}
            Event::Stop => {
                self.stopping = true;
                // Whoever waits for a core hears that it was kept, while there is somebody to say so.
                let waiting: Vec<Seq> = self.waiters.keys().copied().collect();
                waiting.into_iter().for_each(|transaction| self.wait_over(transaction, out));
            }
        }
        // An order may have set the time.
        self.refresh_gates(self.last_at, out);
    }

    fn submit(&mut self, reply: ReplyTo, s: Submission, now: Timestamp, out: &mut Decision) {
        let answer = match self.known(&s) {
            Some(answer) => {
                self.wait_with_first(reply, &s, answer, now, out);
                return;
            }
            None => self.admit(reply, s, now, out),
        };
        if let Some(answer) = answer {
            out.effects.push(Effect::Reply(reply, answer));
        }
    }

    /// A repeat waits for the same outcome as the first, where it asked to.
    fn wait_with_first(
        &mut self,
        reply: ReplyTo,
        s: &Submission,
        answer: Reply,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let transaction = match &answer {
            Reply::Accepted { transaction, .. } => *transaction,
            Reply::KeyReused { .. }
            | Reply::TurnedAway { .. }
            | Reply::Invalid(_)
            | Reply::Done(_)
            | Reply::Deadline { .. }
            | Reply::Unavailable => {
                out.effects.push(Effect::Reply(reply, answer));
                return;
            }
        };
        if let (Some(wait), true) = (s.wait, self.waiters.contains_key(&transaction)) {
            let waiters = self.waiters.entry(transaction).or_default();
            waiters.push(Waiter { reply, accepted: None });
            self.agenda.insert((now.after(wait), Due::WaitOver(transaction)));
        } else {
            out.effects.push(Effect::Reply(reply, answer));
        }
    }

    /// The answer for a key that is known.
    pub(super) fn known(&self, s: &Submission) -> Option<Reply> {
        let found = match self.recent.get(&s.key_hash) {
            Some(entry) => Some(*entry),
            // An unreadable run must never lead to a second acceptance.
            None => match self.runs.find(s.key_hash) {
                Ok(found) => found,
                Err(_) => return Some(Reply::Unavailable),
            },
        }?;
        Some(if found.fingerprint == s.fingerprint {
            Reply::Accepted {
                transaction: found.transaction,
                accepted: None,
                duplicate: true,
                live: None,
            }
        } else {
            Reply::KeyReused { transaction: found.transaction }
        })
    }

    /// Decides a new submission. `None` when the answer comes later.
    fn admit(
        &mut self,
        reply: ReplyTo,
        s: Submission,
        now: Timestamp,
        out: &mut Decision,
    ) -> Option<Reply> {
        if self.stopping {
            return Some(Reply::Unavailable);
        }
        if self.live.len() >= self.settings.limits.open_transactions_max {
            self.no_room(now, out);
            return Some(Reply::Invalid(Fault::Full("open transactions")));
        }
        if let Err(fault) = self.check_links(&s) {
            return Some(Reply::Invalid(fault));
        }
        let cell = self.intern_cell(&s.cell);
        let gate = self.cells[cell as usize].gate;
        let asked =
            Asked { cell: &s.cell, normal: s.line.normal, queued: s.line.queued, credit: s.credit };
        let Disposed { decision, unknown, .. } = self.dispose(self.in_play(), &asked, gate, now);
        let (date, is_final) = match s.deadline {
            Some(original) => match self.deadline(&s.cell.business, original.into(), now) {
                Ok(computed) => (super::deadlines::as_one_move(&computed), computed.is_final),
                Err(fault) => return Some(Reply::Invalid(fault)),
            },
            None => (None, true),
        };
        if decision.disposition == Disposition::Refuse {
            let record = Arc::new(TurnedAway {
                at: now,
                institution: s.institution,
                cell: s.cell,
                amount: s.amount,
                row: decision.row.clone(),
                resume_at: decision.resume_at,
                deadline: date,
            });
            let number = self.push(out, Change::TurnedAway(record.clone()));
            let decision = Box::new(decision);
            return Some(Reply::TurnedAway { number, record, decision, unknown });
        }
        if decision.disposition == Disposition::PreAccept
            && decision.needs_report_file
            && !s.has_report_file
        {
            return Some(Reply::Invalid(Fault::PolicyDemands(
                "a pre-accepted case needs its report file among the attachments",
            )));
        }
        let all_stored = s.line.files_stored
            || (decision.disposition == Disposition::PreAccept && decision.needs_report_file);
        let blobs = match self.named_blobs(&s, all_stored) {
            Ok(blobs) => blobs,
            Err(fault) => return Some(Reply::Invalid(fault)),
        };
        let told = Told {
            disposition: decision.disposition,
            advice: decision.advice,
            row: decision.row,
            resume_at: decision.resume_at,
            alternative: decision.alternative,
            bring: decision.bring,
            deadline: date,
            deadline_final: is_final,
            kept: is_kept(decision.disposition, gate, s.wait.is_some()),
            incurred_in: self.incurred_in(&s.cell, s.occurred_at, now),
        };
        self.accept(reply, s, (told, blobs), cell, now, out)
    }

    fn accept(
        &mut self,
        reply: ReplyTo,
        s: Submission,
        (told, blobs): (Told, Vec<BlobName>),
        cell: u32,
        now: Timestamp,
        out: &mut Decision,
    ) -> Option<Reply> {
        let tickets = told.disposition == Disposition::PassOrTicket;
        let gate = self.cells[cell as usize].gate;
        // What is not tried at all is a ticket from the beginning.
        let tried_for = if told.kept { Duration::ZERO } else { s.line.live_limit };
        let accepted = Arc::new(Accepted {
            at: now,
            institution: s.institution,
            cell: self.cells[cell as usize].cell.clone(),
            ordering_key: s.ordering_key,
            key_hash: s.key_hash,
            fingerprint: s.fingerprint,
            insured: s.insured,
            amount: s.amount,
            occurred_at: s.occurred_at,
            received_from_person_at: s.received_from_person_at,
            deadline: s.deadline,
            replaces: s.replaces,
            depends_on: s.depends_on,
            self_contained: s.line.self_contained,
            needs_credential: s.line.needs_credential,
            ticket_after: tickets.then(|| now.after(tried_for)),
            blobs,
            told,
            sealed: s.sealed,
        });
        // Known before the change, so that it joins the lane of those somebody waits for.
        let live_wait = s.wait.filter(|_| gate.lets_through());
        if live_wait.is_some() {
            let waiter = Waiter { reply, accepted: Some(accepted.clone()) };
            self.waiters.entry(self.next).or_default().push(waiter);
        }
        let transaction = self.push(out, Change::Accepted(accepted.clone()));
        self.replace_action_required(transaction, s.replaces, now, out);
        let receipt = Reply::Accepted {
            transaction,
            accepted: Some(accepted.clone()),
            duplicate: false,
            live: None,
        };
        if tickets && !gate.lets_through() {
            if s.wait.is_some() {
                let waiter = Waiter { reply, accepted: Some(accepted) };
                self.waiters.entry(transaction).or_default().push(waiter);
            }
            self.ticket(transaction, now, out);
            return s.wait.is_none().then_some(receipt);
        }
        if gate.lets_through() && (s.credential.is_some() || self.at_hand.len() < AT_HAND_MAX) {
            let at_hand =
                AtHand { accepted: accepted.clone(), private: s.private, credential: s.credential };
            self.at_hand.insert(transaction, at_hand);
        }
        match s.wait {
            Some(wait) if live_wait.is_some() => {
                self.agenda.insert((now.after(wait), Due::WaitOver(transaction)));
                None
            }
            Some(_) => Some(Reply::Accepted {
                transaction,
                accepted: Some(accepted),
                duplicate: false,
                live: Some(LiveAnswer::Waiting),
            }),
            None => Some(receipt),
        }
    }

    /// What a submission points at must exist, be its submitter's, and be free.
    fn check_links(&self, s: &Submission) -> Result<(), Fault> {
        if let Some(old) = s.replaces {
            let slot = self.own(&s.institution, old).ok_or(Fault::NotFound(Sought::Transaction))?;
            let state = self.live.get(slot).state;
            if !matches!(state, State::Ticketed | State::ActionRequired) {
                let state = state.to_string();
                return Err(Fault::WrongState { what: "the transaction to replace", state });
            }
            if self.live.extra(slot).is_some_and(|e| e.replaced_by.is_some()) {
                return Err(Fault::BeingReplaced);
            }
        }
        if let Some(first) = s.depends_on
            && self.own(&s.institution, first).is_none()
        {
            // One that has been applied needs no waiting for; of any other nothing may be hoped.
            return Err(Fault::NotFound(Sought::OpenDependency));
        }
        if s.cell.operation == Operation::Cancel && self.live.has_outside(s.ordering_key) {
            return Err(Fault::OpenTicket);
        }
        if let Some(day) = s.covers_from {
            let covered = self.windows.iter().any(|w| w.covers_day(day, &s.cell, self.last_at));
            if !covered {
                return Err(Fault::NotCovered(day));
            }
        }
        Ok(())
    }

    /// A transaction that needed its submitter gives way to the one that replaces it.
    fn replace_action_required(
        &mut self,
        transaction: Seq,
        replaces: Option<Seq>,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let Some(old) = replaces else { return };
        let gives_way = self
            .live
            .find(old)
            .is_some_and(|slot| self.live.get(slot).state == State::ActionRequired);
        if gives_way {
            let change =
                Change::Superseded { transaction: old, by_transaction: transaction, at: now };
            self.push(out, change);
        }
    }

    fn settled(
        &mut self,
        transaction: Seq,
        attempt: AttemptNo,
        outcome: Outcome<Answer>,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let Some(slot) = self.live.find(transaction) else { return };
        let live = *self.live.get(slot);
        let current = live.state == State::InFlight
            && u32::from(live.attempts) == attempt.0
            && self.out.contains_key(&transaction);
        if !current {
            return;
        }
        let upstream = self.cells[live.cell as usize].upstream;
        let phase = self.upstreams[upstream].health.phase;
        // Only an upstream that is fully open may refuse for good.
        let unproved = phase != HealthPhase::Open;
        let mut outcome = outcome;
        if sabotaged!(self.settings, ResendWithoutAsking) && matches!(outcome, Outcome::InDoubt(_))
        {
            outcome =
                Outcome::Transient { reason: TransientReason::Unavailable, retry_after: None };
        }
        let settlement = match &outcome {
            Outcome::Applied(answer) => Settlement::Applied {
                answer: answer.sealed.clone(),
                business_status: answer.business_status.clone(),
            },
            Outcome::Refused { code, answer } => Settlement::Refused {
                code: code.clone(),
                answer: answer.sealed.clone(),
                provisional: unproved,
            },
            Outcome::Transient { reason, retry_after } => {
                self.transient(transaction, *reason, *retry_after, now)
            }
            Outcome::InDoubt(reason) => {
                Settlement::InDoubt { reason: *reason, ask_at: now.after(FIRST_QUESTION) }
            }
        };
        let weighs = matches!(&outcome, Outcome::Applied(_) | Outcome::Refused { .. });
        let links = self.links(slot);
        self.push(out, Change::Settled { transaction, attempt, settlement, at: now });
        self.attempt_ended(transaction, out);
        self.after_end(transaction, outcome, unproved, links, now, out);
        if unproved && weighs {
            self.weigh_refusal(transaction, upstream, now, out);
        }
    }

    /// What must be looked at when a transaction ends: what it replaces, and what waits for it.
    fn links(&self, slot: super::live::Slot) -> (Option<Seq>, Vec<Seq>) {
        let transaction = self.live.get(slot).transaction;
        let replaces = self.live.extra(slot).and_then(|e| e.replaces);
        (replaces, self.dependents.get(&transaction).cloned().unwrap_or_default())
    }

    fn after_end(
        &mut self,
        transaction: Seq,
        outcome: Outcome<Answer>,
        provisional: bool,
        (replaces, dependents): (Option<Seq>, Vec<Seq>),
        now: Timestamp,
        out: &mut Decision,
    ) {
        match outcome {
            Outcome::Applied(answer) => {
                self.resettle(replaces, transaction, now, out);
                let live = LiveAnswer::Applied { answer, at: now };
                self.answer_waiters(transaction, &live, out);
            }
            Outcome::Refused { answer, .. } if provisional => {
                if self.waiters.contains_key(&transaction) {
                    self.answers.insert(transaction, answer);
                }
            }
            Outcome::Refused { code, answer } => {
                self.orphan(&dependents, now, out);
                self.answer_waiters(transaction, &LiveAnswer::Refused { code, answer }, out);
            }
            Outcome::Transient { reason, .. } => {
                self.after_failure(transaction, reason, now, out);
            }
            Outcome::InDoubt(_) => {
                let unqueued = self
                    .live
                    .find(transaction)
                    .is_some_and(|slot| self.live.get(slot).is(UNQUEUED));
                if unqueued {
                    self.answer_waiters(transaction, &LiveAnswer::DoNotFinalise, out);
                }
            }
        }
    }

    /// The ticket that `transaction` makes good, if it does.
    fn resettle(
        &mut self,
        replaces: Option<Seq>,
        transaction: Seq,
        now: Timestamp,
        out: &mut Decision,
    ) {
        for ticket in self.tickets_behind(replaces) {
            let closed = Change::TicketClosed {
                transaction: ticket,
                how: TicketState::Resettled,
                by_transaction: Some(transaction),
                person: None,
                reason: None,
                at: now,
            };
            self.push(out, closed);
        }
    }

    /// The open ticket `first`, and those that it was itself meant to make good: one payment,
    /// however many tries.
    fn tickets_behind(&self, first: Option<Seq>) -> Vec<Seq> {
        let mut found = Vec::new();
        let mut next = first;
        while let Some(ticket) = next.filter(|ticket| self.ticketed.contains(ticket)) {
            found.push(ticket);
            let slot = self.live.find(ticket);
            next = slot.and_then(|slot| self.live.extra(slot)).and_then(|e| e.replaces);
        }
        found
    }

    /// Counts refusals while an upstream is coming back; a burst of one code closes it again.
    fn weigh_refusal(
        &mut self,
        transaction: Seq,
        index: usize,
        now: Timestamp,
        out: &mut Decision,
    ) {
        if self.upstreams[index].health.phase != HealthPhase::Reopening {
            // The gate has closed while this one was out: its refusal is taken back with the rest.
            self.decide_provisional(index, false, now, out);
            return;
        }
        let name = self.upstreams[index].name.clone();
        let Some(settings) = self.settings.upstreams.get(&name).cloned() else { return };
        let code = self
            .live
            .find(transaction)
            .and_then(|slot| self.live.extra(slot))
            .and_then(|e| e.provisional.clone());
        let mut health = self.upstreams[index].health.clone();
        let turn = health.settled(code.as_deref(), &settings.health, now);
        if turn.is_some() {
            self.push(out, Change::HealthSet { upstream: name, health });
            self.decide_provisional(index, false, now, out);
        } else {
            self.upstreams[index].health = health;
        }
    }

    fn found(
        &mut self,
        transaction: Seq,
        finding: Finding<Answer>,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let Some((asked_at, attempts)) = self.asking.remove(&transaction) else { return };
        let Some(slot) = self.live.find(transaction) else { return };
        let live = *self.live.get(slot);
        if live.state != State::InDoubt {
            return;
        }
        if live.attempts != attempts {
            // The question was about an earlier attempt; its answer says nothing of this one.
            self.push(out, Change::StillInDoubt { transaction, ask_at: now });
            return;
        }
        let upstream = &self.upstreams[self.cells[live.cell as usize].upstream];
        let settle_time =
            self.settings.upstreams.get(&upstream.name).map_or(Duration::MAX, |u| u.settle_time);
        let since = self.live.extra(slot).and_then(|e| e.doubt_since).unwrap_or(now);
        let settles_at = since.after(settle_time);
        let outcome = match finding {
            Finding::Applied(answer) => Outcome::Applied(answer),
            Finding::Refused { code, answer } => Outcome::Refused { code, answer },
            // What counts is when the core looked, which was not before the question was asked.
            Finding::NotFound { fenced } if fenced || settles_at <= asked_at => {
                Outcome::Transient { reason: TransientReason::NotFound, retry_after: None }
            }
            Finding::NotFound { .. } => {
                let ask_at = settles_at.max(now);
                self.push(out, Change::StillInDoubt { transaction, ask_at });
                return;
            }
            Finding::NoAnswer => {
                let asked = self.asked.entry(transaction).or_default();
                *asked = asked.saturating_add(1);
                let delay = self.settings.retry.delay(*asked, None, u32::MAX);
                self.push(out, Change::StillInDoubt { transaction, ask_at: now.after(delay) });
                return;
            }
        };
        self.resolve(transaction, outcome, (ResolvedBy::Asking, None, None), now, out);
    }

    /// Ends a doubt.
    pub(super) fn resolve(
        &mut self,
        transaction: Seq,
        outcome: Outcome<Answer>,
        (by, person, reason): (ResolvedBy, Option<String>, Option<String>),
        now: Timestamp,
        out: &mut Decision,
    ) {
        let slot = self.slot(transaction);
        let upstream = self.cells[self.live.get(slot).cell as usize].upstream;
        // A core that is coming up may have refused everything: told late, it counts no more
        // than told at once. What a person found out counts.
        let unproved = by == ResolvedBy::Asking
            && self.upstreams[upstream].health.phase != HealthPhase::Open
            && matches!(&outcome, Outcome::Refused { .. });
        let settlement = match &outcome {
            Outcome::Applied(answer) => Settlement::Applied {
                answer: answer.sealed.clone(),
                business_status: answer.business_status.clone(),
            },
            Outcome::Refused { code, answer } => Settlement::Refused {
                code: code.clone(),
                answer: answer.sealed.clone(),
                provisional: unproved,
            },
            Outcome::Transient { .. } => {
                Settlement::Transient { reason: TransientReason::NotFound, not_before: now }
            }
            Outcome::InDoubt(_) => return,
        };
        let links = self.links(slot);
        self.asked.remove(&transaction);
        self.push(out, Change::Resolved { transaction, settlement, by, person, reason, at: now });
        self.after_end(transaction, outcome, unproved, links, now, out);
        if unproved {
            self.weigh_refusal(transaction, upstream, now, out);
        }
    }

    /// After recovery: attempts without an outcome are in doubt, and what needed this very
    /// process is taken care of.
    pub fn recovered(&mut self, now: Timestamp, out: &mut Decision) {
        self.last_at = self.last_at.max(now);
        let now = self.last_at;
        let mut lost: Vec<Seq> = self.out.keys().copied().collect();
        lost.sort_unstable();
        for transaction in lost {
            let slot = self.slot(transaction);
            let attempt = AttemptNo(u32::from(self.live.get(slot).attempts));
            let ask_at = now.after(FIRST_QUESTION);
            let settlement = Settlement::InDoubt { reason: DoubtReason::Restart, ask_at };
            self.push(out, Change::Settled { transaction, attempt, settlement, at: now });
        }
        let mut waiting: Vec<Seq> = self
            .live
            .slots()
            .filter(|&slot| {
                let live = self.live.get(slot);
                live.state == State::Waiting && live.is(super::live::NEEDS_CREDENTIAL | UNQUEUED)
            })
            .map(|slot| self.live.get(slot).transaction)
            .collect();
        waiting.sort_unstable();
        for transaction in waiting {
            self.after_failure(transaction, TransientReason::Stopping, now, out);
        }
        for upstream in &mut self.upstreams {
            upstream.health.forget_probes();
        }
        self.look_for_room(now, out);
        self.gates_dirty = true;
        self.dates_dirty = true;
        self.run_agenda(now, out);
    }

    fn withdraw(
        &mut self,
        institution: &InstitutionCode,
        transaction: Seq,
        reason: String,
        now: Timestamp,
        out: &mut Decision,
    ) -> Reply {
        let Some(slot) = self.own(institution, transaction) else {
            return Reply::Invalid(Fault::NotFound(Sought::Transaction));
        };
        let state = self.live.get(slot).state;
        if !matches!(state, State::Waiting | State::ActionRequired) {
            let state = state.to_string();
            return Reply::Invalid(Fault::WrongState { what: "the transaction", state });
        }
        let (_, dependents) = self.links(slot);
        let by = institution.to_string();
        self.push(out, Change::Withdrawn { transaction, by, reason, at: now });
        self.orphan(&dependents, now, out);
        Reply::Done(super::event::Done::Transaction(transaction, State::Withdrawn))
    }

    fn close_ticket(
        &mut self,
        institution: &InstitutionCode,
        transaction: Seq,
        how: TicketState,
        (by, reason): (String, String),
        now: Timestamp,
        out: &mut Decision,
    ) -> Reply {
        let Some(slot) = self
            .own(institution, transaction)
            .filter(|&slot| self.live.get(slot).state == State::Ticketed)
        else {
            return Reply::Invalid(Fault::NotFound(Sought::OpenTicket));
        };
        if self.live.extra(slot).is_some_and(|e| e.replaced_by.is_some()) {
            return Reply::Invalid(Fault::BeingReplaced);
        }
        if !matches!(how, TicketState::ReimbursedManually | TicketState::Waived) {
            return Reply::Invalid(Fault::Invalid(format!("a ticket is not closed as {how}")));
        }
        for ticket in self.tickets_behind(Some(transaction)) {
            let dependents = self.dependents.get(&ticket).cloned().unwrap_or_default();
            let closed = Change::TicketClosed {
                transaction: ticket,
                how,
                by_transaction: None,
                person: Some(by.clone()),
                reason: Some(reason.clone()),
                at: now,
            };
            self.push(out, closed);
            self.orphan(&dependents, now, out);
        }
        Reply::Done(super::event::Done::Ticket(transaction, how))
    }

    /// The place of a live transaction that belongs to `institution`.
    fn own(&self, institution: &InstitutionCode, transaction: Seq) -> Option<super::live::Slot> {
        let slot = self.live.find(transaction)?;
        let owner = &self.institutions[self.live.get(slot).institution as usize];
        (owner == institution).then_some(slot)
    }
}

/// Whether a submission that policy lets through is kept all the same: its gate is closed, or
/// opens so slowly that only what cannot wait is tried at once.
fn is_kept(disposition: Disposition, gate: GateState, waited_for: bool) -> bool {
    let at_once = match gate {
        GateState::Open => true,
        GateState::Reopening => waited_for || disposition == Disposition::PassOrTicket,
        GateState::Closing
        | GateState::ClosedByWindow
        | GateState::AwaitingRelease
        | GateState::ClosedByOperator
        | GateState::ClosedByProbe
        | GateState::ClosedBySchedule
        | GateState::ClosedByClock
        | GateState::Verifying => false,
    };
    disposition.passes() && !at_once
}
