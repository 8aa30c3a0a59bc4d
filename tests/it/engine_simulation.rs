//! The engine against a simulated world: seeded clients, a core that loses answers, overrides,
//! crashes at any commit; in every other world stops that recur and service hours too. The oracle keeps its own books and knows nothing of the
//! engine's structures.
//!
//! A failing seed prints the command that repeats it.

use crate::engine_support::{NoRuns, answer, cell, found, settings, submission};
use crate::recurring::nightly;
use crate::service_hours::hours;
use holdover::domain::cell::Selector;
use holdover::domain::gate::Probe;
use holdover::domain::ids::{AttemptNo, OrderingKey, Seq, UpstreamName, WindowId};
use holdover::domain::money::Money;
use holdover::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::time::{Monotonic, Now, Timestamp};
use holdover::engine::change::Change;
use holdover::engine::event::{Command, Done, Event, Order, Reply, ReplyTo};
use holdover::engine::machine::Machine;
use holdover::engine::settings::Settings;
use holdover::engine::step::{Decision, Effect, SendOrder};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Every hour from :04 to :07 `b` is stopped, and `filing.two` is open from 17:02 to 17:09 only.
fn scheduled() -> Settings {
    let mut settings = nightly("4 * * * *");
    settings.recurring[0].lasts = Duration::from_secs(180);
    settings.limits.recurring_ahead = Duration::from_secs(2 * 3600);
    let mut open = hours("from = '17:02'\nuntil = '17:09'");
    let business = "filing.two".to_owned().try_into().unwrap();
    open.row.cells = Selector { business: vec![business], ..Selector::default() };
    settings.service_hours.push(open);
    settings
}

/// The world around one machine.
struct World {
    rng: fastrand::Rng,
    settings: Settings,
    now: Timestamp,
    machine: Machine,
    /// Everything that is durable.
    journal: Vec<(Seq, Change)>,
    /// Attempts under way at the core.
    out: Vec<SendOrder>,
    asks: Vec<(Seq, UpstreamName)>,
    /// What the core did, in order.
    effects: Vec<Seq>,
    applied: HashSet<Seq>,
    /// Receipts that clients hold: key hash → transaction.
    receipts: HashMap<u128, Seq>,
    keys: HashMap<Seq, u128>,
    down: bool,
    /// Whether the process may die. Not while the world quiets down: what only a restart can
    /// set going again is stuck.
    crashing: bool,
    /// The operator was told that the gates of `b` are closed, until then.
    closed_until: Option<Timestamp>,
    closing: Option<(ReplyTo, Timestamp)>,
    next_reply: u64,
    submitted: u64,
    crashes: u32,
    clocks_accepted: u32,
    doubts: u32,
    sent: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = if seed.is_multiple_of(2) { settings() } else { scheduled() };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            machine: Machine::new(settings.clone(), Box::new(NoRuns)),
            settings,
            now: "2022-08-12T17:00:00+08:00".parse().unwrap(),
            journal: Vec::new(),
            out: Vec::new(),
            asks: Vec::new(),
            effects: Vec::new(),
            applied: HashSet::new(),
            receipts: HashMap::new(),
            keys: HashMap::new(),
            down: false,
            crashing: true,
            closed_until: None,
            closing: None,
            next_reply: 0,
            submitted: 0,
            crashes: 0,
            clocks_accepted: 0,
            doubts: 0,
            sent: 0,
        }
    }

    fn reply(&mut self) -> ReplyTo {
        self.next_reply += 1;
        ReplyTo(self.next_reply)
    }

    fn step(&mut self, event: Event) {
        let mut decision = Decision::default();
        let now = Now { wall: self.now, monotonic: Monotonic(0) };
        self.machine.step(now, event, &mut decision);
        self.machine.dispatch(Now { wall: self.now, monotonic: Monotonic(0) }, &mut decision);
        // One in forty commits never reaches the disk: the process dies there.
        if self.crashing && self.rng.u32(..40) == 0 {
            let kept = self.rng.usize(..=decision.changes.len());
            // A torn batch leaves a prefix; nothing of it was answered.
            self.journal.extend(decision.changes.into_iter().take(kept));
            self.crash();
            return;
        }
        self.journal.extend(decision.changes);
        self.perform(decision.effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(order) => {
                    self.sent += 1;
                    let closed = self.closed_until.is_some_and(|until| self.now < until);
                    assert!(
                        !(closed && order.cell.upstream.as_str() == "b"),
                        "a send began while its gate was closed"
                    );
                    assert!(
                        self.settings.recurring.is_empty() || self.allowed(&order),
                        "a send began at {} behind a gate that its schedule has closed",
                        self.now
                    );
                    self.out.push(*order);
                }
                Effect::Ask { transaction, upstream, .. } => {
                    self.asks.push((transaction, upstream))
                }
                Effect::Reply(_, Reply::Accepted { transaction, accepted: Some(a), .. }) => {
                    self.receipts.insert(a.key_hash.0, transaction);
                    self.keys.insert(transaction, a.ordering_key.0);
                }
                Effect::Reply(_, Reply::Accepted { .. }) => {}
                Effect::Reply(to, Reply::Done(Done::Gates(_))) => {
                    if let Some((_, until)) = self.closing.take_if(|(reply, _)| *reply == to) {
                        self.closed_until = Some(until);
                        assert!(
                            !self.out.iter().any(|o| o.cell.upstream.as_str() == "b"),
                            "the close was answered while a send was out"
                        );
                    }
                }
                Effect::Reply(..) | Effect::GateTurned { .. } | Effect::BlobsLeft(_) => {}
            }
        }
        assert_eq!(self.machine.books().difference(), 0);
        assert_eq!(self.machine.books().amount_difference(), 0);
    }

    /// The minute of the day, reckoned by hand.
    fn minute(&self) -> i64 {
        (self.now.as_millis().div_euclid(60_000) + 8 * 60).rem_euclid(24 * 60)
    }

    fn is_service_hour(&self) -> bool {
        (17 * 60 + 2..17 * 60 + 9).contains(&self.minute())
    }

    /// Whether the schedules of [`scheduled`] let a send begin now.
    fn allowed(&self, order: &SendOrder) -> bool {
        let stopped = order.cell.upstream.as_str() == "b" && (4..7).contains(&(self.minute() % 60));
        let closed = order.cell.business.as_str() == "filing.two" && !self.is_service_hour();
        !stopped && !closed
    }

    fn crash(&mut self) {
        self.crashes += 1;
        // Calls that are on the wire may still be applied by the core.
        for order in std::mem::take(&mut self.out) {
            if self.rng.bool() {
                self.apply(order.transaction);
            }
        }
        self.asks.clear();
        let mut machine = Machine::new(self.settings.clone(), Box::new(NoRuns));
        // Half of the restarts begin from a snapshot of the same history.
        if self.rng.bool() {
            let mut first = Machine::new(self.settings.clone(), Box::new(NoRuns));
            let cut = self.rng.usize(..=self.journal.len());
            for (seq, change) in &self.journal[..cut] {
                first.apply(*seq, change);
            }
            for change in first.snapshot() {
                machine.apply(Seq(0), &change);
            }
            machine.link_carried();
            for (seq, change) in &self.journal[cut..] {
                machine.apply(*seq, change);
            }
            let mut whole = Machine::new(self.settings.clone(), Box::new(NoRuns));
            for (seq, change) in &self.journal {
                whole.apply(*seq, change);
            }
            assert_eq!(machine.books(), whole.books(), "snapshot and history disagree");
            let views = |m: &Machine| {
                found(m, |_| true)
                    .into_iter()
                    .map(|v| {
                        let times = (v.at, v.not_before);
                        (v.transaction, v.state, v.attempts, v.failures, v.behind, times)
                    })
                    .collect::<Vec<_>>()
            };
            assert_eq!(views(&machine), views(&whole), "snapshot and history disagree");
            machine = whole;
        } else {
            for (seq, change) in &self.journal {
                machine.apply(*seq, change);
            }
        }
        self.machine = machine;
        if self.rng.u32(..6) == 0 {
            self.start_with_another_clock();
        }
        let mut decision = Decision::default();
        self.machine.recovered(self.now, &mut decision);
        self.journal.extend(decision.changes);
        self.perform(decision.effects);
    }

    /// The clock of the machine is a year off, or is set right after it was.
    fn start_with_another_clock(&mut self) {
        self.clocks_accepted += 1;
        let year = Duration::from_secs(400 * 86_400);
        self.now = if self.rng.bool() { self.now.after(year) } else { self.now.before(year) };
        let (by, reason) = ("operator".to_owned(), "test".to_owned());
        let accepted = Change::ClockAccepted { by, reason, at: self.now };
        let seq = self.machine.last().next();
        self.machine.apply(seq, &accepted);
        self.journal.push((seq, accepted));
    }

    fn apply(&mut self, transaction: Seq) {
        assert!(self.applied.insert(transaction), "{transaction} took effect twice");
        self.effects.push(transaction);
    }

    fn submit(&mut self, number: u128) {
        let business = self.rng.u8(..3);
        let cell = match business {
            0 => cell("a", "settlement.outpatient"),
            1 => cell("b", "filing.one"),
            _ => cell("b", "filing.two"),
        };
        let subject = u128::from(self.rng.u8(..20));
        let mut submission = submission(cell, number, subject);
        submission.amount = Money::from_fen(self.rng.i64(1..10_000)).unwrap();
        submission.occurred_at = self.now;
        submission.ordering_key = OrderingKey((subject << 64) | u128::from(business));
        if business == 0 {
            submission.line.normal = Disposition::PassOrTicket;
            submission.line.self_contained = false;
            submission.wait = Some(Duration::from_secs(10));
        }
        self.submitted += 1;
        let reply = self.reply();
        self.step(Event::Submit(reply, Box::new(submission)));
    }

    /// Lets the core end one call.
    fn end_one_call(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let order = self.out.swap_remove(self.rng.usize(..self.out.len()));
        let gate_closed = order.gate.load(Ordering::SeqCst) != order.epoch
            || order.not_after.is_some_and(|at| at <= self.now);
        let dice = self.rng.u8(..100);
        let outcome = if gate_closed {
            Outcome::Transient { reason: TransientReason::GateClosed, retry_after: None }
        } else if self.down {
            Outcome::Transient { reason: TransientReason::Unreachable, retry_after: None }
        } else if dice < 70 {
            self.apply(order.transaction);
            Outcome::Applied(answer("ok"))
        } else if dice < 78 {
            Outcome::Refused { code: "no".to_owned(), answer: answer("no") }
        } else if dice < 86 {
            Outcome::Transient { reason: TransientReason::Busy, retry_after: None }
        } else {
            self.doubts += 1;
            if dice < 93 {
                self.apply(order.transaction);
            }
            Outcome::InDoubt(DoubtReason::Timeout)
        };
        let (transaction, attempt): (Seq, AttemptNo) = (order.transaction, order.attempt);
        self.step(Event::Settled { transaction, attempt, outcome });
    }

    fn answer_one_question(&mut self) {
        if self.asks.is_empty() {
            return;
        }
        let (transaction, _) = self.asks.swap_remove(self.rng.usize(..self.asks.len()));
        let finding = if self.down || self.rng.u8(..4) == 0 {
            Finding::NoAnswer
        } else if self.applied.contains(&transaction) {
            Finding::Applied(answer("ok"))
        } else {
            Finding::NotFound { fenced: false }
        };
        self.step(Event::Found { transaction, finding });
    }

    fn order(&mut self, command: Command) {
        if let Command::OpenGate { .. } = &command {
            (self.closed_until, self.closing) = (None, None);
        }
        let reply = self.reply();
        if let Command::CloseGate { until, .. } = &command {
            self.closing = Some((reply, *until));
        }
        let order = Order { by: "operator".to_owned(), reason: "test".to_owned(), command };
        self.step(Event::Order(reply, Box::new(order)));
    }

    fn pass_time(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.step(Event::Tick);
    }

    fn act(&mut self, number: u128) {
        match self.rng.u8(..100) {
            0..=39 => self.submit(number),
            40..=69 => self.end_one_call(),
            70..=79 => self.answer_one_question(),
            80..=89 => {
                let seconds = self.rng.u64(1..20);
                self.pass_time(seconds);
            }
            90..=91 => {
                let cells =
                    Selector { upstream: vec!["b".parse().unwrap()], ..Selector::default() };
                let until = self.now.after(Duration::from_secs(300));
                self.order(Command::CloseGate { cells, until });
            }
            92..=93 => {
                let cells =
                    Selector { upstream: vec!["b".parse().unwrap()], ..Selector::default() };
                self.order(Command::OpenGate { cells });
            }
            94..=96 => {
                let probe = Probe { began: Monotonic(0), good: !self.down };
                for name in ["a", "b"] {
                    let upstream = name.parse().unwrap();
                    self.step(Event::Probed { upstream, probe });
                }
            }
            97 => self.down = self.rng.u8(..4) == 0,
            _ => {
                for view in found(&self.machine, |one| one.state == State::DeadLettered) {
                    self.order(Command::Redrive(view.transaction));
                }
            }
        }
    }

    /// The core is well, nobody submits: everything must end.
    fn quiet_down(&mut self) {
        (self.down, self.crashing) = (false, false);
        for _ in 0..2_000 {
            let cells = Selector { upstream: vec!["b".parse().unwrap()], ..Selector::default() };
            if !self.machine.overrides().is_empty() {
                self.order(Command::OpenGate { cells });
            }
            for name in ["a", "b"] {
                let upstream = name.parse().unwrap();
                let probe = Probe { began: Monotonic(0), good: true };
                self.step(Event::Probed { upstream, probe });
            }
            while !self.out.is_empty() {
                self.end_one_call();
            }
            while !self.asks.is_empty() {
                self.answer_one_question();
            }
            for view in found(&self.machine, |one| one.state == State::DeadLettered) {
                self.order(Command::Redrive(view.transaction));
            }
            // By schedule a business may stay closed until the next day.
            let closed = !self.settings.recurring.is_empty() && !self.is_service_hour();
            self.pass_time(if closed { 300 } else { 7 });
            let open = found(&self.machine, |one| one.state != State::Ticketed);
            if open.is_empty() {
                return;
            }
        }
        let left = found(&self.machine, |one| one.state != State::Ticketed);
        panic!("not everything ended: {:#?}", left.iter().take(5).collect::<Vec<_>>());
    }

    fn check(&self) {
        // P1: whoever holds a receipt finds its accept in the journal.
        let accepted: HashSet<Seq> = self
            .journal
            .iter()
            .filter(|(_, change)| matches!(change, Change::Accepted(_)))
            .map(|(seq, _)| *seq)
            .collect();
        for transaction in self.receipts.values() {
            assert!(accepted.contains(transaction), "receipt of {transaction} is lost");
        }
        // A start is declared once, whatever happened in between.
        let declared = self.journal.iter().filter_map(|(_, change)| match change {
            Change::WindowSet(window) if window.version == 1 => Some(window.id.clone()),
            _ => None,
        });
        let declared: Vec<WindowId> = declared.collect();
        let names: HashSet<&WindowId> = declared.iter().collect();
        assert_eq!(names.len(), declared.len(), "a stop was declared twice");
        assert_eq!(names.is_empty(), self.settings.recurring.is_empty());
        // P2 is asserted in `apply`. The engine must know of every effect.
        let books = self.machine.books();
        assert_eq!(books.in_state(State::Applied).items, self.applied.len() as u64);
        // P6: a ticket for every ticketed transaction.
        let ticketed = self.journal.iter().filter(|(_, c)| matches!(c, Change::Ticketed { .. }));
        assert_eq!(books.tickets_issued(), ticketed.count() as u64);
        // P3: per key, effects in the order of acceptance (tickets take no part in it).
        let mut last: HashMap<u128, Seq> = HashMap::new();
        let keys: HashMap<Seq, u128> = self
            .journal
            .iter()
            .filter_map(|(seq, change)| match change {
                Change::Accepted(a) => Some((*seq, a.ordering_key.0)),
                _ => None,
            })
            .collect();
        for transaction in &self.effects {
            let before = last.insert(keys[transaction], *transaction);
            assert!(before.is_none_or(|b| b < *transaction), "{transaction} came out of order");
        }
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for number in 0..600 {
        world.act(number);
    }
    world.quiet_down();
    world.check();
    world
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order_in_any_seeded_world() {
    let only: Option<u64> = std::env::var("HOLDOVER_SEED").ok().and_then(|s| s.parse().ok());
    let seeds: Vec<u64> = only.map_or_else(|| (0..200).collect(), |seed| vec![seed]);
    let (mut crashes, mut clocks, mut doubts, mut sent) = (0, 0, 0, 0);
    for seed in seeds {
        println!(
            "seed {seed}: repeat with HOLDOVER_SEED={seed} cargo test --test it engine_simulation"
        );
        let world = run(seed);
        crashes += world.crashes;
        clocks += world.clocks_accepted;
        doubts += world.doubts;
        sent += world.sent;
        assert!(world.submitted > 0);
    }
    // The faults really happened.
    let faults = [crashes, clocks, doubts, sent];
    assert!(faults.iter().all(|count| *count > 0), "{faults:?}");
}

/// The oracle must be able to fail: each of these breaks one promise, and some seed shows it.
#[cfg(feature = "sabotage")]
#[test]
fn the_oracle_notices_every_broken_promise() {
    use holdover::engine::settings::Sabotage;
    for sabotage in [
        Sabotage::ResendWithoutAsking,
        Sabotage::IgnoreKeyOrder,
        Sabotage::IgnoreGate,
        Sabotage::DropTicket,
    ] {
        crate::engine_support::SABOTAGE.set(Some(sabotage));
        let noticed = (0..50).any(|seed| std::panic::catch_unwind(|| run(seed)).is_err());
        crate::engine_support::SABOTAGE.set(None);
        assert!(noticed, "{sabotage:?} went unnoticed");
    }
}
