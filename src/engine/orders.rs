//! What operators order: windows, restores, releases, gates, dead letters, doubts.
//!
//! Every order is one or more changes. Author and reason come with the order; the engine adds
//! version, instant and what was published.

use super::change::{Change, ResolvedBy};
use super::event::{Command, Done, Fault, Order, Reply, ReplyTo, Sought};
use super::machine::{Due, Machine};
use super::ports::Answer;
use super::step::{Decision, Effect};
use crate::domain::cell::{Cell, Selector};
use crate::domain::gate::Override;
use crate::domain::ids::{Seq, WindowId};
use crate::domain::outcome::{Outcome, TransientReason};
use crate::domain::plan_review::too_long;
use crate::domain::review::{WindowFault, review};
use crate::domain::revision::Revision;
use crate::domain::state::State;
use crate::domain::time::{Interval, Timestamp};
use crate::domain::window::{Act, Phase, Proof, Window};
use bytes::Bytes;
use std::sync::Arc;

/// Overrides that may be in force at once; each is looked at for every cell.
const OVERRIDES_MAX: usize = 256;

impl Machine {
    pub(super) fn order(&mut self, reply: ReplyTo, o: Order, now: Timestamp, out: &mut Decision) {
        let o = match self.consented(o, now) {
            Ok(order) => order,
            Err(fault) => {
                out.effects.push(Effect::Reply(reply, Reply::Invalid(fault)));
                return;
            }
        };
        if let Command::Restore { cells, .. }
        | Command::Release { cells, .. }
        | Command::CloseGate { cells, .. } = &o.command
            && let Some(unknown) = self.unknown_in(cells)
        {
            let fault = Fault::Invalid(format!("there is no {unknown}, see the configuration"));
            out.effects.push(Effect::Reply(reply, Reply::Invalid(fault)));
            return;
        }
        let done = match o.command.clone() {
            Command::DeclareWindow(window) => self.declare(*window, &o, now, out),
            Command::ChangeWindow { window, to, if_version } => {
                self.change(&window, &to, if_version, &o, now, out)
            }
            Command::MoveWindowEnd { window, row, ends_at, if_version } => {
                self.move_end(&window, (row, ends_at), if_version, &o, now, out)
            }
            Command::CancelWindow { window, if_version } => {
                self.cancel(&window, if_version, &o, now, out)
            }
            Command::ConfirmOutage { window, ends_at } => {
                self.confirm(&window, ends_at, &o, now, out)
            }
            Command::DismissOutage { window } => self.dismiss(&window, now, out),
            Command::Restore { window, cells, ready_from, proof } => {
                self.restore(&window, cells, (ready_from, proof), &o, now, out)
            }
            Command::Agreed { .. } => Err(Fault::Invalid("it was agreed to already".to_owned())),
            Command::Release { window, cells } => self.release(&window, cells, &o, now, out),
            Command::CloseGate { cells, until } => {
                self.close_gate(reply, &o, (cells, until), now, out);
                return;
            }
            Command::ExtendGate { cells, until } => self.extend_gate(&cells, until, now, out),
            Command::OpenGate { cells } => self.open_gate(&cells, now, out),
            Command::TrustClock => {
                self.trust_clock(reply, o, out);
                return;
            }
            Command::RegisterCases(cases) => Ok(Done::Cases(self.register_all(cases, now, out))),
            Command::TellDates => Ok(Done::Dates(self.apply_dates(now, out))),
            Command::Redrive(transaction) => self.redrive(transaction, &o, now, out),
            Command::Skip(transaction) => self.skip(transaction, &o, now, out),
            Command::ResolveDoubt { transaction, verdict } => {
                self.decide_doubt(transaction, verdict, &o, now, out)
            }
            Command::AskNow(transaction) => self.ask_now(transaction, now, out),
            Command::ResultTold { transaction, how } => {
                self.result_told(transaction, how, &o, now, out)
            }
        };
        self.refresh_gates(now, out);
        self.run_agenda(now, out);
        match done {
            Err(fault) => out.effects.push(Effect::Reply(reply, Reply::Invalid(fault))),
            // A window may have closed gates just now: the answer waits for the sends begun
            // before.
            Ok(Done::Window(window)) => {
                let id = window.id.clone();
                let closed: Vec<Arc<Cell>> = self
                    .cells
                    .iter()
                    .filter(|c| window.lock(&c.cell, now).is_some())
                    .map(|c| c.cell.clone())
                    .collect();
                let window = self.windows.iter().find(|w| w.id == id).cloned().unwrap_or(window);
                let is_closed = |cell: &Cell| closed.iter().any(|c| **c == *cell);
                self.when_quiet(reply, Done::Window(window), &is_closed, out);
            }
            Ok(done) => out.effects.push(Effect::Reply(reply, Reply::Done(done))),
        }
    }

    fn declare(
        &mut self,
        mut window: Window,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        if self.windows.iter().any(|w| w.id == window.id) {
            let state = "declared already".to_owned();
            return Err(Fault::WrongState { what: "the window", state });
        }
        window.version = 1;
        window.author.clone_from(&o.by);
        window.reason.clone_from(&o.reason);
        window.changed_at = now;
        window.published = window.planned;
        window.told = Vec::new();
        window.cancelled_at = None;
        window.restores = Vec::new();
        window.releases = Vec::new();
        without_errors(self.faults_of(&window, now))?;
        Ok(self.set_window(window, out))
    }

    /// Whether a window may be in force as it is.
    fn passes_review(&self, window: &Window) -> Result<(), Fault> {
        let mut faults = review(window, &self.settings.catalogue, &self.settings.calendar);
        faults.extend(too_long(window, self.settings.limits.window_length_max));
        without_errors(faults)
    }

    pub(super) fn set_window(&mut self, window: Window, out: &mut Decision) -> Done {
        let window = Arc::new(window);
        self.push(out, Change::WindowSet(window.clone()));
        Done::Window(window)
    }

    /// The next version of a window, made by `o`.
    fn next_version(
        &self,
        id: &WindowId,
        if_version: Option<u32>,
        o: &Order,
        now: Timestamp,
    ) -> Result<Window, Fault> {
        let known =
            self.windows.iter().find(|w| w.id == *id).ok_or(Fault::NotFound(Sought::Window))?;
        if if_version.is_some_and(|seen| seen != known.version) {
            return Err(Fault::Changed { current: known.version });
        }
        if known.cancelled_at.is_some() {
            let state = "cancelled".to_owned();
            return Err(Fault::WrongState { what: "the window", state });
        }
        let mut next = (**known).clone();
        next.version += 1;
        next.author.clone_from(&o.by);
        next.reason.clone_from(&o.reason);
        next.changed_at = now;
        Ok(next)
    }

    /// A window that is over stays what it was: what stops later is another stop, with a notice,
    /// deadlines and a proof of its own.
    fn not_over(&self, window: &Window, now: Timestamp) -> Result<(), Fault> {
        match self.phase(window, now) {
            Phase::Completed => Err(Fault::WindowCompleted(window.id.clone())),
            Phase::Scheduled
            | Phase::Closing
            | Phase::Active
            | Phase::Verifying
            | Phase::Overrun
            | Phase::Replaying
            | Phase::Cancelled => Ok(()),
        }
    }

    /// Whether there is anything to let go: it has begun and is not over.
    fn is_on(&self, window: &Window, now: Timestamp) -> Result<(), Fault> {
        if now < window.stretch().start {
            let state = "not begun; cancel it or move it".to_owned();
            return Err(Fault::WrongState { what: "the window", state });
        }
        self.not_over(window, now)
    }

    fn change(
        &mut self,
        id: &WindowId,
        to: &Revision,
        if_version: Option<u32>,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let known = self.next_version(id, if_version, o, now)?;
        self.not_over(&known, now)?;
        let next = known.revised(to, now).map_err(Fault::WrongWindow)?;
        if next == known {
            return Err(Fault::Invalid("it says all of this already".to_owned()));
        }
        self.passes_review(&next)?;
        Ok(self.set_window(next, out))
    }

    fn move_end(
        &mut self,
        id: &WindowId,
        (row, ends_at): (Option<u32>, Timestamp),
        if_version: Option<u32>,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut next = self.next_version(id, if_version, o, now)?;
        self.not_over(&next, now)?;
        match row {
            Some(index) => {
                let moved = next.with_row_end(index, ends_at, now);
                next = moved.ok_or_else(|| Fault::Invalid(format!("there is no row {index}")))?;
            }
            None => {
                next.planned = Interval::new(next.planned.start, ends_at)
                    .ok_or_else(|| Fault::Invalid("the new end is not after the start".into()))?;
                next.published.end = next.published.end.max(ends_at);
                next.forget_disproved(now);
            }
        }
        self.passes_review(&next)?;
        Ok(self.set_window(next, out))
    }

    fn cancel(
        &mut self,
        id: &WindowId,
        if_version: Option<u32>,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut next = self.next_version(id, if_version, o, now)?;
        let begins = next.policy.iter().map(|row| next.interval_of(row).start).min();
        if begins.is_some_and(|start| start <= now) {
            let state = "running; end it or restore its parts".to_owned();
            return Err(Fault::WrongState { what: "the window", state });
        }
        next.cancelled_at = Some(now);
        Ok(self.set_window(next, out))
    }

    fn restore(
        &mut self,
        id: &WindowId,
        cells: Selector,
        (ready_from, proof): (Option<Timestamp>, Proof),
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut next = self.next_version(id, None, o, now)?;
        let longest = self.settings.limits.window_length_max;
        if ready_from.is_some_and(|from| longest < from.since(now)) {
            let why = "ready_from is further away than a window may last (window_length_max)";
            return Err(Fault::Invalid(why.to_owned()));
        }
        let ready_from = ready_from.filter(|from| now < *from);
        self.is_on(&next, now)?;
        let by = o.by.clone();
        let reason = o.reason.clone();
        next.restores.push(Act { cells: cells.clone(), at: now, ready_from, by, proof, reason });
        let done = self.set_window(next, out);
        // What is ready later goes on then (`reopen_ready`).
        for index in (0..self.upstreams.len()).filter(|_| ready_from.is_none()) {
            let named = self.cells.iter().any(|c| c.upstream == index && cells.matches(&c.cell));
            if named {
                self.reopen(index, now, out);
            }
        }
        Ok(done)
    }

    fn release(
        &mut self,
        id: &WindowId,
        cells: Selector,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut next = self.next_version(id, None, o, now)?;
        self.is_on(&next, now)?;
        let (by, reason, proof) = (o.by.clone(), o.reason.clone(), Proof::Signed);
        next.releases.push(Act { cells, at: now, ready_from: None, by, proof, reason });
        Ok(self.set_window(next, out))
    }

    fn close_gate(
        &mut self,
        reply: ReplyTo,
        o: &Order,
        (cells, until): (Selector, Timestamp),
        now: Timestamp,
        out: &mut Decision,
    ) {
        let mut list = self.overrides_in_force(now);
        list.retain(|known| known.cells != cells);
        let fault = if until <= now {
            Some(Fault::Invalid("the end is not in the future".to_owned()))
        } else if until.since(now) > self.settings.limits.override_length_max {
            Some(Fault::Invalid("the end is further away than an override may last".to_owned()))
        } else if list.len() >= OVERRIDES_MAX {
            Some(Fault::Invalid("there are 256 overrides already".to_owned()))
        } else {
            None
        };
        if let Some(fault) = fault {
            out.effects.push(Effect::Reply(reply, Reply::Invalid(fault)));
            return;
        }
        let (by, reason) = (o.by.clone(), o.reason.clone());
        list.push(Override { cells: cells.clone(), by, reason, since: now, until });
        self.push(out, Change::OverridesSet(list));
        self.refresh_gates(now, out);
        let done = Done::Gates(self.gates_of(&cells));
        self.when_quiet(reply, done, &|cell| cells.matches(cell), out);
    }

    fn overrides_in_force(&self, now: Timestamp) -> Vec<Override> {
        let (early, _) = self.readings(now);
        self.overrides.iter().filter(|o| early < o.until).cloned().collect()
    }

    pub(super) fn gates_of(&self, cells: &Selector) -> Vec<(Cell, crate::domain::gate::GateState)> {
        self.cells
            .iter()
            .filter(|c| cells.matches(&c.cell))
            .map(|c| ((*c.cell).clone(), c.gate))
            .collect()
    }

    fn extend_gate(
        &mut self,
        cells: &Selector,
        until: Timestamp,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut list = self.overrides_in_force(now);
        let found = list.iter_mut().find(|known| known.cells == *cells);
        let known = found.ok_or(Fault::NotFound(Sought::Closing))?;
        if until <= now || until.since(now) > self.settings.limits.override_length_max {
            let why = "the end is past, or further away than an override may last";
            return Err(Fault::Invalid(why.to_owned()));
        }
        known.until = until;
        self.push(out, Change::OverridesSet(list));
        self.refresh_gates(now, out);
        Ok(Done::Gates(self.gates_of(cells)))
    }

    /// The first name in `cells` that nothing has.
    fn unknown_in(&self, cells: &Selector) -> Option<String> {
        let upstreams = &self.settings.upstreams;
        let upstream = cells.upstream.iter().find(|name| !upstreams.contains_key(*name));
        let upstream = upstream.map(|name| format!("upstream {name}"));
        upstream.or_else(|| self.settings.catalogue.unknown_in(cells))
    }

    fn open_gate(
        &mut self,
        cells: &Selector,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        let mut list = self.overrides_in_force(now);
        let before = list.len();
        // Exactly what was closed: a colleague's closing of other cells is not ours to open.
        list.retain(|known| known.cells != *cells);
        if list.len() == before {
            return Err(Fault::NotFound(Sought::Closing));
        }
        self.push(out, Change::OverridesSet(list));
        self.refresh_gates(now, out);
        Ok(Done::Gates(self.gates_of(cells)))
    }

    /// The state of a live transaction, where it is the one asked for.
    fn in_state(&self, transaction: Seq, wanted: State) -> Result<(), Fault> {
        // A final one is there to be seen, but nothing can be ordered of it.
        let found = self.live.find(transaction);
        let slot = found.ok_or(Fault::NotFound(Sought::OpenTransaction))?;
        let state = self.live.get(slot).state;
        if state == wanted {
            return Ok(());
        }
        Err(Fault::WrongState { what: "the transaction", state: state.to_string() })
    }

    fn redrive(
        &mut self,
        transaction: Seq,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        self.in_state(transaction, State::DeadLettered)?;
        let (by, reason) = (o.by.clone(), o.reason.clone());
        self.push(out, Change::Redriven { transaction, by, reason, at: now });
        Ok(Done::Transaction(transaction, State::Waiting))
    }

    fn skip(
        &mut self,
        transaction: Seq,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        self.in_state(transaction, State::DeadLettered)?;
        let dependents = self.dependents.get(&transaction).cloned().unwrap_or_default();
        let (by, reason) = (o.by.clone(), o.reason.clone());
        self.push(out, Change::Withdrawn { transaction, by, reason, at: now });
        self.orphan(&dependents, now, out);
        Ok(Done::Transaction(transaction, State::Withdrawn))
    }

    fn decide_doubt(
        &mut self,
        transaction: Seq,
        verdict: State,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        self.in_state(transaction, State::InDoubt)?;
        let answer = Answer { body: Bytes::new(), sealed: None, business_status: None };
        let outcome = match verdict {
            State::Applied => Outcome::Applied(answer),
            State::Refused => Outcome::Refused { code: "by_person".to_owned(), answer },
            State::Waiting => {
                Outcome::Transient { reason: TransientReason::ByPerson, retry_after: None }
            }
            State::InFlight
            | State::InDoubt
            | State::ActionRequired
            | State::DeadLettered
            | State::Ticketed
            | State::Withdrawn
            | State::Superseded => {
                return Err(Fault::Invalid(
                    "a doubt ends as applied, refused or waiting (not applied)".to_owned(),
                ));
            }
        };
        let who = (ResolvedBy::Person, Some(o.by.clone()), Some(o.reason.clone()));
        self.resolve(transaction, outcome, who, now, out);
        let state = self.live.find(transaction).map_or(verdict, |slot| self.live.get(slot).state);
        Ok(Done::Transaction(transaction, state))
    }

    fn ask_now(
        &mut self,
        transaction: Seq,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        self.in_state(transaction, State::InDoubt)?;
        if self.live.find(transaction).is_some_and(|slot| !self.answers(slot)) {
            let why = "this core answers no questions (answers_questions): find out what became of \
                       it there, and say so with `holdover in-doubt resolve`";
            return Err(Fault::Invalid(why.to_owned()));
        }
        self.push(out, Change::StillInDoubt { transaction, ask_at: now });
        self.agenda.insert((now, Due::Ask(transaction)));
        Ok(Done::Transaction(transaction, State::InDoubt))
    }

    fn result_told(
        &mut self,
        transaction: Seq,
        how: String,
        o: &Order,
        now: Timestamp,
        out: &mut Decision,
    ) -> Result<Done, Fault> {
        if let Some(slot) = self.live.find(transaction) {
            let state = self.live.get(slot).state;
            return Err(Fault::WrongState { what: "the transaction", state: state.to_string() });
        }
        let untold = self.untold(transaction);
        let untold = untold.ok_or(Fault::NotFound(Sought::UntoldResult));
        let state = untold?.state;
        self.push(out, Change::ResultTold { transaction, how, by: o.by.clone(), at: now });
        Ok(Done::Transaction(transaction, state))
    }
}

/// Nothing but warnings may be left.
pub(super) fn without_errors(faults: Vec<WindowFault>) -> Result<(), Fault> {
    let errors: Vec<_> = faults.into_iter().filter(|fault| !fault.is_warning).collect();
    if errors.is_empty() { Ok(()) } else { Err(Fault::WrongWindow(errors)) }
}
