//! What may go now: gates, attempts, and the agenda of things that become due. Whose turn it is, and how
//! fast an upstream is sent, is `turns`'.
//!
//! A cell's gate is computed from windows, overrides, service hours and the upstream's health, and
//! kept until one of them changes or the next planned edge passes. Closing raises the cell's epoch at
//! once, before anything is durable: closing early is always safe.

use super::change::{Change, Settlement};
use super::event::{Done, Live as LiveAnswer, Reply, ReplyTo};
use super::live::{CHAINED, NEEDS_CREDENTIAL, Slot, UNQUEUED};
use super::machine::{Due, Machine, PROBES_SHOWN};
use super::settings::sabotaged;
use super::step::{Decision, Effect, SendOrder};
use crate::domain::cell::{Cell, Operation, Selector};
use crate::domain::gate::{GateState, HealthPhase, Probe};
use crate::domain::ids::{AttemptNo, Seq};
use crate::domain::outcome::TransientReason;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::window::{self, Act, Lock, Proof, RestoreBy, Window};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often dates are computed again while a stop overruns its plan.
const OVERRUN_CHECK: Duration = Duration::from_secs(3600);

/// An operator who waits until the sends of a closed gate have ended.
pub(super) struct Closing {
    reply: ReplyTo,
    done: Done,
    out: HashSet<Seq>,
}

impl Machine {
    /// What the gate of cell `id` is at `now`.
    pub(super) fn gate_of(&self, id: u32, now: Timestamp) -> GateState {
        if sabotaged!(self.settings, IgnoreGate) {
            return GateState::Open;
        }
        self.gate_of_slot(id, now)
    }

    /// The same, computed from what is known and nothing that was kept.
    fn gate_of_slot(&self, id: u32, now: Timestamp) -> GateState {
        let slot = &self.cells[id as usize];
        let phase = self.upstreams[slot.upstream].health.phase;
        self.gate_by_facts(self.windows_in_play(), (&slot.cell, slot.long), phase, now)
    }

    /// What `windows` and everything else make of the gate of `cell`, whose work is `long` or not and whose upstream
    /// is in `phase`.
    pub(super) fn gate_by_facts(
        &self,
        windows: &[Arc<Window>],
        (cell, long): (&Cell, bool),
        phase: HealthPhase,
        now: Timestamp,
    ) -> GateState {
        // While the clock is not believed, a closing holds if either time says so.
        let (early, late) = self.readings(now);
        if self.overrides.iter().any(|o| o.closes(cell, early, late)) {
            return GateState::ClosedByOperator;
        }
        if let Some(closed) = self.gate_by_windows(windows, cell, now) {
            return closed;
        }
        if !self.is_in_service(cell, now) {
            return GateState::ClosedBySchedule;
        }
        match phase {
            HealthPhase::Open | HealthPhase::Reopening
                if self.closing_by(cell, long, now).is_some() =>
            {
                GateState::Closing
            }
            HealthPhase::Open => GateState::Open,
            HealthPhase::Down => GateState::ClosedByProbe,
            HealthPhase::Verifying => GateState::Verifying,
            HealthPhase::Reopening => GateState::Reopening,
        }
    }

    /// Looks at every gate again where something may have changed.
    pub(super) fn refresh_gates(&mut self, now: Timestamp, out: &mut Decision) {
        if !self.gates_dirty && self.gates_next.is_none_or(|at| now < at) {
            return;
        }
        self.gates_dirty = false;
        self.sort_windows(now);
        for id in 0..self.cells.len() {
            let id32 = u32::try_from(id).unwrap_or(u32::MAX);
            let (was, is) = (self.cells[id].gate, self.gate_of(id32, now));
            if was == is {
                continue;
            }
            self.cells[id].gate = is;
            // What was let finish so far must be decided anew behind a gate that lets nothing.
            let closes = was.lets_finish() && !is.lets_through();
            match (closes, is.lets_through()) {
                (true, _) => _ = self.cells[id].epoch.fetch_add(1, Ordering::SeqCst),
                (false, true) if !was.lets_through() && self.gates_seen => {
                    self.cells[id].opened_at = Some(now)
                }
                (false, _) => {}
            }
            out.effects.push(Effect::GateTurned { cell: self.cells[id].cell.clone(), to: is });
            self.take_turn(id32);
        }
        self.gates_seen = true;
        self.gates_next = self.next_gate_edge(now);
        if let Some(at) = self.gates_next {
            self.agenda.insert((at, Due::Gates));
        }
        self.prove_or_wait(now, out);
        self.dates_dirty = true;
    }

    /// At a window's planned end: begins to count probes afresh for upstreams that are wholly
    /// stopped, so that what was good before the end proves nothing.
    fn prove_or_wait(&mut self, now: Timestamp, out: &mut Decision) {
        for index in 0..self.upstreams.len() {
            let mut cells = self.cells.iter().filter(|c| c.upstream == index).peekable();
            let wholly_stopped = cells.peek().is_some()
                && cells.all(|c| {
                    matches!(window::lock(self.in_play(), &c.cell, now), Some((_, Lock::Verifying)))
                });
            let upstream = &self.upstreams[index];
            if wholly_stopped && upstream.health.phase == HealthPhase::Open {
                let mut health = upstream.health.clone();
                health.turn(HealthPhase::Verifying, now);
                let upstream = upstream.name.clone();
                self.push(out, Change::HealthSet { upstream, health });
                // Gates of the cells are closed by the window anyway; nothing else changes.
                self.gates_dirty = false;
            }
        }
    }

    pub(super) fn start(&mut self, slot: Slot, now: Timestamp, out: &mut Decision) {
        let live = *self.live.get(slot);
        let transaction = live.transaction;
        let at_hand = self.at_hand.remove(&transaction);
        let has_credential = at_hand.as_ref().is_some_and(|h| h.credential.is_some());
        if live.is(NEEDS_CREDENTIAL) && !has_credential {
            self.cannot_be_sent(slot, now, out);
            return;
        }
        assert!(
            self.live.is_head(slot) || sabotaged!(self.settings, IgnoreKeyOrder),
            "transaction {transaction} would overtake its key"
        );
        let attempt = AttemptNo(u32::from(live.attempts) + 1);
        self.push(out, Change::AttemptStarted { transaction, attempt, at: now });
        let cell = &self.cells[live.cell as usize];
        let gate = self.gate_of_slot(live.cell, now);
        let may = gate.lets_through() || (live.is(CHAINED) && gate.lets_finish());
        let closes_at = self.closes_by_plan(live.cell, now);
        out.effects.push(Effect::Send(Box::new(SendOrder {
            transaction,
            attempt,
            institution: self.institutions[live.institution as usize].clone(),
            cell: cell.cell.clone(),
            gate: cell.epoch.clone(),
            epoch: cell.epoch.load(Ordering::SeqCst),
            is_closed: !may,
            // Compared with the wall clock, which may stand elsewhere or be set right meanwhile.
            not_after: closes_at.map(|at| at.min(self.on_the_wall(at))),
            at_hand: at_hand.map(|h| (h.accepted, h.private, h.credential)),
        })));
    }

    /// What needs its submitter's credential and no longer has it.
    pub(super) fn cannot_be_sent(&mut self, slot: Slot, now: Timestamp, out: &mut Decision) {
        let transaction = self.live.get(slot).transaction;
        if self.live.extra(slot).is_some_and(|e| e.ticket_after.is_some()) {
            self.ticket(transaction, now, out);
        } else {
            let why = "credential".to_owned();
            self.push(out, Change::ActionRequired { transaction, why, at: now });
            self.answer_waiters(transaction, &LiveAnswer::Waiting, out);
        }
    }

    /// Gives a ticket and tells whoever waits.
    ///
    /// A cancel that waited behind it has nothing to undo now, and must not undo the resettlement,
    /// which is another intent: what becomes of it is its submitter's word.
    pub(super) fn ticket(&mut self, transaction: Seq, now: Timestamp, out: &mut Decision) {
        let cancels = self.cancels_behind(transaction);
        self.push(out, Change::Ticketed { transaction, at: now });
        self.at_hand.remove(&transaction);
        self.answer_waiters(transaction, &LiveAnswer::Ticketed, out);
        self.orphan(&cancels, now, out);
    }

    fn cancels_behind(&self, transaction: Seq) -> Vec<Seq> {
        let behind = self.live.find(transaction).into_iter();
        let behind = behind.flat_map(|slot| self.live.followers(slot));
        let behind = behind.map(|slot| self.live.get(slot));
        let is_cancel = |id: u32| self.cells[id as usize].cell.operation == Operation::Cancel;
        behind.filter(|live| is_cancel(live.cell)).map(|live| live.transaction).collect()
    }

    /// Does whatever has become due.
    pub(super) fn run_agenda(&mut self, now: Timestamp, out: &mut Decision) {
        self.declare_recurring(now, out);
        self.reopen_ready(now, out);
        self.refresh_gates(now, out);
        while let Some(&(at, due)) = self.agenda.first() {
            if at > now {
                break;
            }
            self.agenda.remove(&(at, due));
            match due {
                Due::Retry(transaction) => {
                    if let Some(slot) = self.live.find(transaction) {
                        self.last_at = self.last_at.max(now);
                        self.wake(slot);
                    }
                }
                Due::Ask(transaction) => self.ask(transaction, now, out),
                Due::Ticket(transaction) => self.ticket_due(transaction, now, out),
                Due::WaitOver(transaction) => self.wait_over(transaction, out),
                Due::Gates => {}
                Due::Deadlines => self.dates_dirty = true,
                Due::Room => self.look_for_room(now, out),
            }
        }
        for index in 0..self.upstreams.len() {
            self.tick_health(index, now, out);
        }
        self.refresh_gates(now, out);
        if self.dates_dirty {
            self.dates_dirty = false;
            self.tell_dates("window", now, out);
            let overrun = self.windows.iter().any(|w| self.overruns(w, now));
            if overrun && self.overrun_at.is_none_or(|at| at <= now) {
                let at = now.after(OVERRUN_CHECK);
                self.overrun_at = Some(at);
                self.agenda.insert((at, Due::Deadlines));
            }
        }
    }

    fn overruns(&self, window: &window::Window, now: Timestamp) -> bool {
        let Some(rule) = &window.deadlines else { return false };
        window.planned.start <= now
            && self.dates.keys().any(|(business, _)| {
                rule.business.iter().any(|pattern| pattern.matches(business)) && {
                    let stop = window.stop_of(&rule.restart_of, business, now);
                    !stop.is_final && stop.interval.end <= now
                }
            })
    }

    fn tick_health(&mut self, index: usize, now: Timestamp, out: &mut Decision) {
        let upstream = &self.upstreams[index];
        let Some(settings) = self.settings.upstreams.get(&upstream.name) else { return };
        if upstream.health.phase != HealthPhase::Reopening {
            return;
        }
        let mut health = upstream.health.clone();
        let name = upstream.name.clone();
        if health.tick(&settings.health, now).is_some() {
            self.push(out, Change::HealthSet { upstream: name.clone(), health });
            self.decide_provisional(index, true, now, out);
        } else {
            self.agenda.insert((health.since.after(settings.health.ramp), Due::Gates));
        }
    }

    /// Lets the provisional refusals of an upstream count, or takes them back.
    pub(super) fn decide_provisional(
        &mut self,
        index: usize,
        confirmed: bool,
        now: Timestamp,
        out: &mut Decision,
    ) {
        if self.upstreams[index].provisional.is_empty() {
            return;
        }
        let members: Vec<Seq> = self.upstreams[index].provisional.iter().copied().collect();
        let mut dependents = Vec::new();
        if confirmed {
            for transaction in &members {
                dependents.extend(self.dependents.get(transaction).cloned().unwrap_or_default());
            }
        }
        let codes: Vec<Option<String>> = members
            .iter()
            .map(|&t| {
                let slot = self.live.find(t)?;
                self.live.extra(slot).and_then(|e| e.provisional.clone())
            })
            .collect();
        let upstream = self.upstreams[index].name.clone();
        self.push(out, Change::ProvisionalDecided { upstream, confirmed, at: now });
        if !confirmed {
            self.refresh_gates(now, out);
            for transaction in members {
                self.answers.remove(&transaction);
                // A ticket's limit may have passed while the refusal was in the balance.
                self.after_failure(transaction, TransientReason::GateClosed, now, out);
            }
        } else {
            for (transaction, code) in members.into_iter().zip(codes) {
                if let Some(answer) = self.answers.remove(&transaction) {
                    let code = code.unwrap_or_default();
                    self.answer_waiters(transaction, &LiveAnswer::Refused { code, answer }, out);
                }
            }
            self.orphan(&dependents, now, out);
        }
    }

    /// Transactions whose dependency will never be applied need their submitter.
    pub(super) fn orphan(&mut self, dependents: &[Seq], now: Timestamp, out: &mut Decision) {
        for &transaction in dependents {
            let waits = self
                .live
                .find(transaction)
                .is_some_and(|slot| self.live.get(slot).state == State::Waiting);
            if waits {
                let why = "dependency".to_owned();
                self.push(out, Change::ActionRequired { transaction, why, at: now });
            }
        }
    }

    fn ask(&mut self, transaction: Seq, now: Timestamp, out: &mut Decision) {
        let Some(slot) = self.live.find(transaction) else { return };
        let live = *self.live.get(slot);
        let answered = self.live.extra(slot).is_some_and(|e| e.provisional.is_some());
        if live.state != State::InDoubt || live.not_before > now || answered {
            return;
        }
        if self.answers(slot) && !self.asking.contains_key(&transaction) {
            let upstream = &self.upstreams[self.cells[live.cell as usize].upstream];
            self.asking.insert(transaction, (now, live.attempts));
            out.effects.push(Effect::Ask {
                transaction,
                upstream: upstream.name.clone(),
                institution: self.institutions[live.institution as usize].clone(),
            });
        }
    }

    /// Whether the core of the transaction in `slot` can be asked about it.
    pub(super) fn answers(&self, slot: Slot) -> bool {
        let upstream = &self.upstreams[self.cells[self.live.get(slot).cell as usize].upstream];
        let settings = self.settings.upstreams.get(&upstream.name);
        settings.is_some_and(|settings| settings.answers_questions)
    }

    fn ticket_due(&mut self, transaction: Seq, now: Timestamp, out: &mut Decision) {
        let Some(slot) = self.live.find(transaction) else { return };
        if self.live.get(slot).state == State::Waiting {
            self.ticket(transaction, now, out);
        }
    }

    pub(super) fn wait_over(&mut self, transaction: Seq, out: &mut Decision) {
        let state = self.live.find(transaction).map(|slot| self.live.get(slot).state);
        let answer = match state {
            Some(State::Waiting | State::ActionRequired | State::DeadLettered) => {
                LiveAnswer::Waiting
            }
            Some(State::Ticketed) => LiveAnswer::Ticketed,
            Some(
                State::InFlight
                | State::InDoubt
                | State::Applied
                | State::Refused
                | State::Withdrawn
                | State::Superseded,
            )
            | None => LiveAnswer::DoNotFinalise,
        };
        self.answer_waiters(transaction, &answer, out);
    }

    /// Answers everybody who waits for `transaction`.
    pub(super) fn answer_waiters(
        &mut self,
        transaction: Seq,
        live: &LiveAnswer,
        out: &mut Decision,
    ) {
        for waiter in self.waiters.remove(&transaction).unwrap_or_default() {
            let duplicate = waiter.accepted.is_none();
            out.effects.push(Effect::Reply(
                waiter.reply,
                Reply::Accepted {
                    transaction,
                    accepted: waiter.accepted,
                    duplicate,
                    live: Some(live.clone()),
                },
            ));
        }
    }

    /// Takes in one probe.
    pub(super) fn probed(
        &mut self,
        index: usize,
        probe: Probe,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let name = self.upstreams[index].name.clone();
        let Some(settings) = self.settings.upstreams.get(&name).cloned() else { return };
        let cells: Vec<Arc<Cell>> =
            self.cells.iter().filter(|c| c.upstream == index).map(|c| c.cell.clone()).collect();
        let lock_of =
            |cell: &Arc<Cell>| window::lock(self.in_play(), cell, now).map(|(_, lock)| lock);
        let locks: Vec<Option<Lock>> = cells.iter().map(lock_of).collect();
        let stopped = |l: &Option<Lock>| matches!(l, Some(Lock::Stopped | Lock::Verifying));
        let wholly_stopped = !locks.is_empty() && locks.iter().all(stopped);
        let needed = settings.health.good_needed as usize;
        let mut health = self.upstreams[index].health.clone();
        let shown = &mut self.upstreams[index].probes;
        shown.push_back(probe.good);
        if shown.len() > PROBES_SHOWN {
            shown.pop_front();
        }
        let run = &mut self.upstreams[index].good;
        if !probe.good {
            run.clear();
        } else if health.counts(probe, &settings.health) {
            run.push_back(now);
            while run.len() > needed {
                run.pop_front();
            }
        }
        let proved_since = run.front().copied().filter(|_| run.len() >= needed);
        let turn = health.probed(probe, !wholly_stopped, &settings.health, now);
        let fell = turn.is_some_and(|t| t.from == HealthPhase::Reopening);
        if turn.is_some() {
            self.push(out, Change::HealthSet { upstream: name.clone(), health: health.clone() });
        } else {
            // Counting probes is no state that must survive: after a restart it begins again.
            self.upstreams[index].health = health.clone();
        }
        if fell {
            self.decide_provisional(index, false, now, out);
        }
        if let Some(since) = proved_since {
            self.restore_by_probes(index, since, now, out);
        }
    }

    /// N good probes in a row, the first of them at `since`, are proof for every part that can be
    /// proved from then on, where the window allows it. A part that no transaction has
    /// touched yet counts like the others: the catalogue says which there are.
    fn restore_by_probes(
        &mut self,
        index: usize,
        since: Timestamp,
        now: Timestamp,
        out: &mut Decision,
    ) {
        if self.clock_doubt().is_some() {
            // Whether the planned end has passed is just what nobody knows.
            return;
        }
        let name = self.upstreams[index].name.clone();
        for window in self.windows_in_play().to_vec() {
            let unseen = self.unrestored.get(&window.id).into_iter().flatten();
            let mut waiting = self
                .cells
                .iter()
                .map(|slot| slot.cell.as_ref())
                .chain(unseen)
                .filter(|cell| cell.upstream == name)
                .filter(|cell| window.lock(cell, now) == Some(Lock::Verifying))
                .filter_map(|cell| window.row_for(cell))
                .map(|(_, row)| window.provable_from(window.interval_of(row)))
                .peekable();
            let proved = waiting.peek().is_some() && waiting.all(|from| from <= since);
            if !proved || window.restore_by != RestoreBy::Probes {
                continue;
            }
            let mut next = (*window).clone();
            next.version += 1;
            next.changed_at = now;
            next.author = "probes".to_owned();
            next.reason = "the core answered its probes".to_owned();
            next.restores.push(Act {
                cells: Selector { upstream: vec![name.clone()], ..Default::default() },
                at: now,
                ready_from: None,
                by: "probes".to_owned(),
                proof: Proof::Probes,
                reason: "good probes in a row".to_owned(),
            });
            self.push(out, Change::WindowSet(Arc::new(next)));
            self.reopen(index, now, out);
        }
    }

    /// Begins the ramp of an upstream that has been proved back.
    pub(super) fn reopen(&mut self, index: usize, now: Timestamp, out: &mut Decision) {
        let upstream = &self.upstreams[index];
        let mut health = upstream.health.clone();
        if health.turn(HealthPhase::Reopening, now).is_some() {
            // It was away for the window that is restored, whoever declared it.
            health.outage = None;
            let upstream = upstream.name.clone();
            self.push(out, Change::HealthSet { upstream, health });
        }
    }

    /// Answers an operator when every attempt in the closed cells has ended or is in doubt.
    pub(super) fn when_quiet(
        &mut self,
        reply: ReplyTo,
        done: Done,
        closed: &dyn Fn(&crate::domain::cell::Cell) -> bool,
        out: &mut Decision,
    ) {
        let still_out = self
            .out
            .iter()
            .filter(|(_, cell)| closed(&self.cells[**cell as usize].cell))
            .map(|(transaction, _)| *transaction)
            .collect::<HashSet<Seq>>();
        if still_out.is_empty() {
            out.effects.push(Effect::Reply(reply, Reply::Done(done)));
        } else {
            self.closings.push(Closing { reply, done, out: still_out });
        }
    }

    /// An attempt has ended: somebody may have waited for the silence.
    pub(super) fn attempt_ended(&mut self, transaction: Seq, out: &mut Decision) {
        let mut quiet = Vec::new();
        self.closings.retain_mut(|closing| {
            closing.out.remove(&transaction);
            let is_quiet = closing.out.is_empty();
            if is_quiet {
                quiet.push((closing.reply, closing.done.clone()));
            }
            !is_quiet
        });
        for (reply, done) in quiet {
            out.effects.push(Effect::Reply(reply, Reply::Done(done)));
        }
    }

    /// What to do after a sure failure: ticket, give up, drop, or wait for the next try.
    pub(super) fn after_failure(
        &mut self,
        transaction: Seq,
        reason: TransientReason,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let Some(slot) = self.live.find(transaction) else { return };
        let live = *self.live.get(slot);
        if live.state != State::Waiting {
            return;
        }
        let ticket_after = self.live.extra(slot).and_then(|e| e.ticket_after);
        let gate_open = self.cells[live.cell as usize].gate.lets_through();
        // Only a person mends a record; trying again would fail again.
        let hopeless = reason == TransientReason::RecordDamaged;
        if let Some(limit) = ticket_after {
            let too_late = now >= limit || live.not_before >= limit;
            if too_late || !gate_open || live.is(NEEDS_CREDENTIAL) || hopeless {
                self.ticket(transaction, now, out);
            }
        } else if live.is(UNQUEUED) {
            self.push(
                out,
                Change::Withdrawn {
                    transaction,
                    by: "holdover".to_owned(),
                    reason: "a question is answered now or not at all".to_owned(),
                    at: now,
                },
            );
            self.answer_waiters(transaction, &LiveAnswer::Waiting, out);
        } else if live.is(NEEDS_CREDENTIAL) {
            self.cannot_be_sent(slot, now, out);
        } else if hopeless || u32::from(live.failures) >= self.settings.retry.failures_max {
            self.push(out, Change::DeadLettered { transaction, reason, at: now });
            self.answer_waiters(transaction, &LiveAnswer::Waiting, out);
        }
    }

    /// The settlement of a sure failure: when to try again.
    pub(super) fn transient(
        &self,
        transaction: Seq,
        reason: TransientReason,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Settlement {
        let live = self.live.find(transaction).map(|slot| *self.live.get(slot));
        let failures = live.map_or(0, |l| u32::from(l.failures));
        let delay = match reason {
            TransientReason::GateClosed | TransientReason::Stopping => Duration::ZERO,
            TransientReason::Unreachable
            | TransientReason::Busy
            | TransientReason::Unavailable
            | TransientReason::NotFound
            | TransientReason::ByPerson
            | TransientReason::RecordDamaged
            | TransientReason::RecordUnreadable
            | TransientReason::AttachmentRefused => {
                let random = jitter(transaction, failures);
                self.settings.retry.delay(failures + 1, retry_after, random)
            }
        };
        Settlement::Transient { reason, not_before: now.after(delay) }
    }

    /// When, by the wall clock, something becomes due next, if anything does.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let first = self.agenda.first().filter(|_| !self.quarantined);
        first.map(|(at, _)| self.on_the_wall(*at))
    }

    /// Whether attempts or questions are out.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.out.is_empty() || !self.asking.is_empty()
    }
}

/// A number spread evenly over its range, the same for the same transaction and try: the step
/// stays a function of its arguments, and the spread over many transactions is what counts.
fn jitter(transaction: Seq, failures: u32) -> u32 {
    let mixed = (transaction.0 ^ (u64::from(failures) << 48))
        .wrapping_add(0x9E37_79B9_7F4A_7C15)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
    u32::try_from((mixed ^ (mixed >> 29)) >> 32).unwrap_or(u32::MAX)
}
