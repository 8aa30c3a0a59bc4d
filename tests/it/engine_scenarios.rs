//! The engine through one window: held, proved back, refused in a burst, opened, released;
//! tickets, replacements, dead letters and dates on the way.

use crate::engine_support::{NoRuns, answer, cell, found, settings, submission};
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::deadline::{DeadlineRule, Rule};
use holdover::domain::gate::Probe;
use holdover::domain::ids::Seq;
use holdover::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use holdover::domain::policy::{Advice, Disposition, Row};
use holdover::domain::state::State;
use holdover::domain::ticket::TicketState;
use holdover::domain::time::{Interval, Monotonic, Now, Timestamp};
use holdover::domain::window::{Cause, Notice, Phase, RestoreBy, Window};
use holdover::engine::change::Change;
use holdover::engine::event::{
    Command, Done, Event, Fault, Live, Order, Reply, ReplyTo, Submission,
};
use holdover::engine::explain::Asked;
use holdover::engine::machine::Machine;
use holdover::engine::settings::Settings;
use holdover::engine::step::{Decision, Effect, SendOrder};
use std::time::Duration;

pub(crate) struct Bench {
    pub(crate) machine: Machine,
    /// The true time.
    pub(crate) now: Timestamp,
    /// How far the wall clock is wrong, in milliseconds.
    pub(crate) ahead_ms: i64,
    pub(crate) out: Vec<SendOrder>,
    pub(crate) asks: Vec<Seq>,
    pub(crate) replies: Vec<(u64, Reply)>,
    pub(crate) journal: Vec<Change>,
    next: u64,
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Bench {
    fn new(now: &str) -> Self {
        Self::with(settings(), now)
    }

    pub(crate) fn with(settings: Settings, now: &str) -> Self {
        let machine = Machine::new(settings, Box::new(NoRuns));
        let (out, asks, replies) = (Vec::new(), Vec::new(), Vec::new());
        let journal = Vec::new();
        Self { machine, now: at(now), ahead_ms: 0, out, asks, replies, journal, next: 0 }
    }

    /// What the two clocks show.
    pub(crate) fn reads(&self) -> Now {
        let true_ms = self.now.as_millis();
        let monotonic = Monotonic(u64::try_from(true_ms).unwrap());
        Now { wall: Timestamp::from_millis(true_ms + self.ahead_ms), monotonic }
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut decision = Decision::default();
        self.machine.step(self.reads(), event, &mut decision);
        self.machine.dispatch(self.reads(), &mut decision);
        self.journal.extend(decision.changes.into_iter().map(|(_, change)| change));
        for effect in decision.effects {
            match effect {
                Effect::Send(order) => self.out.push(*order),
                Effect::Ask { transaction, .. } => self.asks.push(transaction),
                Effect::Reply(to, reply) => self.replies.push((to.0, reply)),
                Effect::GateTurned { .. } | Effect::BlobsLeft(_) => {}
            }
        }
        let books = self.machine.books();
        assert_eq!((books.difference(), books.amount_difference()), (0, 0));
    }

    pub(crate) fn set(&mut self, now: &str) {
        self.now = at(now);
        self.step(Event::Tick);
    }

    pub(crate) fn ask(&mut self, make: impl FnOnce(ReplyTo) -> Event) -> Option<Reply> {
        self.next += 1;
        self.step(make(ReplyTo(self.next)));
        self.answered(self.next)
    }

    fn answered(&self, token: u64) -> Option<Reply> {
        self.replies.iter().find(|(to, _)| *to == token).map(|(_, reply)| reply.clone())
    }

    pub(crate) fn submit(&mut self, submission: Submission) -> Option<Reply> {
        self.ask(|reply| Event::Submit(reply, Box::new(submission)))
    }

    pub(crate) fn accepted(&mut self, submission: Submission) -> Seq {
        match self.submit(submission) {
            Some(Reply::Accepted { transaction, duplicate: false, .. }) => transaction,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) fn order(&mut self, command: Command) -> Option<Reply> {
        let (by, reason) = ("operator".to_owned(), "because".to_owned());
        let order = Order { by, reason, command };
        self.ask(|reply| Event::Order(reply, Box::new(order)))
    }

    /// What would be done with a submission to `cell` at any instant, on a line that passes.
    pub(crate) fn decides(
        &self,
        cell: &Cell,
        instant: Timestamp,
    ) -> holdover::domain::window::Decision {
        let normal = Disposition::Pass;
        let asked = Asked { cell, normal, queued: true, credit: false };
        self.machine.explain(&asked, Some(instant), self.now).decision
    }

    pub(crate) fn settle(&mut self, outcome: Outcome<holdover::engine::ports::Answer>) -> Seq {
        let order = self.out.remove(0);
        let (transaction, attempt) = (order.transaction, order.attempt);
        self.step(Event::Settled { transaction, attempt, outcome });
        transaction
    }

    pub(crate) fn probe(&mut self, upstream: &str, good: bool) {
        let probe = Probe { began: self.reads().monotonic, good };
        self.step(Event::Probed { upstream: upstream.parse().unwrap(), probe });
    }

    pub(crate) fn state(&self, transaction: Seq) -> Option<State> {
        self.machine.transaction(transaction).map(|view| view.state)
    }

    pub(crate) fn sent(&self) -> Vec<u64> {
        self.out.iter().map(|order| order.transaction.0).collect()
    }
}

fn tickets(machine: &Machine) -> usize {
    let ticketed = found(machine, |one| one.state == State::Ticketed);
    ticketed.iter().filter(|view| machine.open_ticket(view.transaction).is_some()).count()
}

pub(crate) fn row(cells: Selector, disposition: Disposition) -> Row {
    Row {
        clause: "(二)1".to_owned(),
        cells,
        disposition: Some(disposition),
        advice: Advice::None,
        alternative: None,
        bring: Vec::new(),
        needs_report_file: false,
        starts_at: None,
        ends_at: None,
        decided_because: None,
    }
}

pub(crate) fn upstream(name: &str) -> Selector {
    Selector { upstream: vec![name.parse().unwrap()], ..Selector::default() }
}

pub(crate) fn window(disposition: Disposition) -> Window {
    let planned =
        Interval::new(at("2022-08-12T19:00:00+08:00"), at("2022-08-15T06:00:00+08:00")).unwrap();
    Window {
        id: "stop".parse().unwrap(),
        version: 0,
        zone: chrono_tz::Asia::Shanghai,
        planned,
        published: planned,
        told: Vec::new(),
        author: String::new(),
        reason: String::new(),
        changed_at: at("2022-08-09T10:00:00+08:00"),
        notice: Some(Notice {
            source: "the bureau".to_owned(),
            published_at: at("2022-08-09T10:00:00+08:00"),
            document: None,
            digest: None,
            clauses: Vec::new(),
        }),
        policy: vec![row(upstream("b"), disposition)],
        deadlines: Some(DeadlineRule {
            rule: Rule::FirstFullWorkingDay,
            clause: "(三)3".to_owned(),
            legal_basis: "the notice".to_owned(),
            business: vec!["filing.*".to_owned().try_into().unwrap()],
            restart_of: vec!["b".parse().unwrap()],
            ..serde_json::from_str(r#"{"rule":"none","clause":"","legal_basis":"","business":[]}"#)
                .unwrap()
        }),
        restore_by: RestoreBy::Probes,
        cause: Cause::Planned,
        cutoff_minutes: None,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    }
}

fn declared(disposition: Disposition) -> Bench {
    let mut bench = Bench::new("2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window(disposition))));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench
}

fn filing() -> Cell {
    cell("b", "filing.one")
}

#[test]
fn a_window_holds_until_probes_after_its_end_prove_the_core_back() {
    let mut bench = declared(Disposition::Hold);
    bench.set("2022-08-12T19:00:00+08:00");
    let held = bench.accepted(submission(filing(), 1, 1));
    for _ in 0..9 {
        bench.probe("b", true);
    }
    assert!(bench.sent().is_empty(), "good probes before the end prove nothing");
    bench.set("2022-08-15T06:00:01+08:00");
    assert!(bench.sent().is_empty(), "the clock alone opens nothing");
    bench.probe("b", false);
    bench.probe("b", true);
    bench.probe("b", true);
    assert!(bench.sent().is_empty());
    bench.probe("b", true);
    assert_eq!(bench.sent(), [held.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.state(held), None);
    assert_eq!(bench.machine.books().in_state(State::Applied).items, 1);
}

#[test]
fn good_probes_from_before_the_planned_end_are_no_part_of_the_proof() {
    // Down and up again before the end, and a part that is stopped only in some of its cells.
    for (live_beside, bad) in [(false, 3), (true, 0)] {
        let mut bench = declared(Disposition::Hold);
        if live_beside {
            let mut window = window(Disposition::Hold);
            let passes = Selector {
                business: vec!["filing.two".to_owned().try_into().unwrap()],
                ..upstream("b")
            };
            window.policy.push(row(passes, Disposition::Pass));
            bench.machine.apply(
                Seq(bench.machine.last().0 + 1),
                &holdover::engine::change::Change::WindowSet(std::sync::Arc::new(window)),
            );
        }
        bench.set("2022-08-12T19:00:00+08:00");
        let held = bench.accepted(submission(filing(), 1, 1));
        if live_beside {
            bench.accepted(submission(cell("b", "filing.two"), 2, 2));
            bench.settle(Outcome::Applied(answer("ok")));
        }
        for _ in 0..bad {
            bench.probe("b", false);
        }
        for _ in 0..9 {
            bench.probe("b", true);
        }
        bench.set("2022-08-15T06:00:00+08:00");
        bench.probe("b", true);
        bench.probe("b", true);
        assert!(bench.sent().is_empty(), "two good probes after the end are not three");
        bench.probe("b", true);
        assert_eq!(bench.sent(), [held.0]);
    }
}

#[test]
fn refusals_while_reopening_are_taken_back_by_a_burst_and_count_after_the_ramp() {
    let mut bench = declared(Disposition::Hold);
    bench.set("2022-08-12T19:00:00+08:00");
    let all: Vec<Seq> = (0..5).map(|n| bench.accepted(submission(filing(), n, n))).collect();
    bench.set("2022-08-15T06:00:01+08:00");
    for _ in 0..3 {
        bench.probe("b", true);
    }
    assert_eq!(bench.out.len(), 5);
    let refused = || Outcome::Refused { code: "not ready".to_owned(), answer: answer("no") };
    for _ in 0..3 {
        bench.settle(refused());
    }
    assert_eq!(bench.state(all[0]), Some(State::InFlight), "provisional");
    bench.settle(refused());
    assert_eq!(bench.state(all[0]), Some(State::Waiting), "the burst took it back");
    bench.settle(refused());
    for _ in 0..3 {
        bench.probe("b", true);
    }
    let mut refusals = 0;
    for second in 0..8 {
        while !bench.out.is_empty() {
            if refusals == 0 {
                refusals += 1;
                bench.settle(refused());
            } else {
                bench.settle(Outcome::Applied(answer("ok")));
            }
        }
        bench.set(&format!("2022-08-15T06:00:1{second}+08:00"));
    }
    assert_eq!(bench.machine.books().in_state(State::Refused).items, 0, "still provisional");
    bench.set("2022-08-15T06:02:00+08:00");
    assert_eq!(bench.machine.books().in_state(State::Refused).items, 1);
    assert_eq!(bench.machine.books().in_state(State::Applied).items, 4);
}

#[test]
fn cells_that_wait_for_a_person_go_district_by_district() {
    let mut bench = declared(Disposition::HoldForRelease);
    bench.set("2022-08-12T20:00:00+08:00");
    let mut west = filing();
    west.district = "110102".parse().unwrap();
    let (east_id, west_id) = (
        bench.accepted(submission(filing(), 1, 1)),
        bench.accepted(submission(west.clone(), 2, 2)),
    );
    let window = "stop".parse().unwrap();
    let proof = holdover::domain::window::Proof::Signed;
    bench.order(Command::Restore { window, cells: upstream("b"), ready_from: None, proof });
    assert!(bench.sent().is_empty(), "restored, not released");
    let window = &bench.machine.windows()[0].clone();
    assert_eq!(bench.machine.phase(window, bench.now), Phase::Replaying);
    for (district, expected) in [("110102", west_id), ("110101", east_id)] {
        let cells = Selector { district: vec![district.parse().unwrap()], ..Selector::default() };
        bench.order(Command::Release { window: "stop".parse().unwrap(), cells });
        assert_eq!(bench.sent(), [expected.0]);
        bench.settle(Outcome::Applied(answer("ok")));
    }
    // A third district, of which nothing came, is not back because of that.
    let (cells, name) = (Selector::default(), || "stop".parse().unwrap());
    for (release, phase) in [(false, Phase::Replaying), (true, Phase::Completed)] {
        let order = Command::Release { window: name(), cells: cells.clone() };
        assert!(!release || matches!(bench.order(order), Some(Reply::Done(_))));
        let window = &bench.machine.windows()[0].clone();
        assert_eq!(bench.machine.phase(window, bench.now), phase);
    }
    let over = bench.order(Command::Release { window: name(), cells });
    assert!(matches!(over, Some(Reply::Invalid(Fault::WindowCompleted(_)))), "{over:?}");
}

#[test]
fn what_policy_refuses_gets_a_number_the_new_date_and_nothing_else() {
    let mut bench = declared(Disposition::Refuse);
    bench.set("2022-08-13T10:00:00+08:00");
    let mut refused = submission(filing(), 1, 1);
    refused.deadline = Some("2022-08-13".parse().unwrap());
    let reply = bench.submit(refused.clone());
    let Some(Reply::TurnedAway { record, decision, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(decision.resume_at, Some(at("2022-08-15T06:00:00+08:00")));
    assert_eq!(record.deadline.as_ref().unwrap().to, "2022-08-15".parse().unwrap());
    assert_eq!(bench.machine.books().accepted().items, 0);
    bench.set("2022-08-15T06:00:00+08:00");
    for _ in 0..4 {
        bench.probe("b", true);
    }
    assert!(matches!(bench.submit(refused), Some(Reply::Accepted { .. })), "open again");
}

pub(crate) fn settlement(number: u128) -> Submission {
    let mut s = submission(cell("a", "settlement.outpatient"), number, number);
    s.line.normal = Disposition::PassOrTicket;
    s.line.self_contained = false;
    s.wait = Some(Duration::from_secs(10));
    s
}

#[test]
fn a_settlement_that_surely_failed_in_time_becomes_a_ticket_and_is_made_good_once() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    assert!(bench.submit(settlement(1)).is_none(), "the client waits");
    let busy = Outcome::Transient {
        reason: TransientReason::Busy,
        retry_after: Some(Duration::from_secs(60)),
    };
    let old = bench.settle(busy);
    let Some(Reply::Accepted { live: Some(Live::Ticketed), .. }) = bench.answered(1) else {
        panic!("{:?}", bench.replies)
    };
    assert_eq!(tickets(&bench.machine), 1);
    let mut again = settlement(2);
    again.replaces = Some(old);
    assert!(bench.submit(again.clone()).is_none());
    again.key_hash.0 = 3;
    let second = bench.submit(again);
    assert!(matches!(second, Some(Reply::Invalid(Fault::BeingReplaced))), "{second:?}");
    let closed = bench.ask(|reply| Event::CloseTicket {
        reply,
        institution: "H11010500001".parse().unwrap(),
        transaction: old,
        how: TicketState::Waived,
        by: "counter".to_owned(),
        reason: "gave up".to_owned(),
    });
    assert!(matches!(closed, Some(Reply::Invalid(Fault::BeingReplaced))), "{closed:?}");
    bench.settle(Outcome::Applied(answer("ok")));
    let books = bench.machine.books();
    assert_eq!(books.tickets(TicketState::Resettled).items, 1);
    assert_eq!(books.in_state(State::Superseded).items, 1);
    assert_eq!(tickets(&bench.machine), 0);
}

#[test]
fn a_lost_answer_is_asked_about_and_never_sent_again_blindly() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    bench.submit(settlement(1));
    let id = bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
    assert_eq!(bench.state(id), Some(State::InDoubt));
    bench.set("2022-08-12T20:00:10+08:00");
    let answered = bench.answered(1);
    assert!(
        matches!(answered, Some(Reply::Accepted { live: Some(Live::DoNotFinalise), .. })),
        "{answered:?}"
    );
    assert_eq!(bench.asks, [id]);
    bench.step(Event::Found { transaction: id, finding: Finding::NotFound { fenced: false } });
    assert_eq!(bench.state(id), Some(State::InDoubt), "too early to mean anything");
    assert!(bench.sent().is_empty());
    bench.set("2022-08-12T20:00:31+08:00");
    assert_eq!(bench.asks, [id, id]);
    bench.step(Event::Found { transaction: id, finding: Finding::NotFound { fenced: false } });
    assert_eq!(bench.state(id), Some(State::Ticketed), "surely not applied, and too late");
}

#[test]
fn nobody_is_told_that_a_core_is_asked_which_answers_no_questions() {
    let mut settings = settings();
    settings.upstreams.values_mut().for_each(|upstream| upstream.answers_questions = false);
    let mut bench = Bench::with(settings, "2022-08-12T20:00:00+08:00");
    bench.submit(settlement(1));
    let id = bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
    let refused = bench.order(Command::AskNow(id));
    assert!(matches!(refused, Some(Reply::Invalid(Fault::Invalid(_)))), "{refused:?}");
    assert!(bench.asks.is_empty());
}

#[test]
fn a_dead_letter_keeps_its_place_until_a_person_puts_it_back() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let first = bench.accepted(submission(filing(), 1, 1));
    let second = bench.accepted(submission(filing(), 2, 1));
    let other = bench.accepted(submission(filing(), 3, 2));
    let mut seconds = 0;
    while bench.state(first) != Some(State::DeadLettered) {
        while let Some(order) = bench.out.first() {
            let outcome = if order.transaction == first {
                Outcome::Transient { reason: TransientReason::Unavailable, retry_after: None }
            } else {
                Outcome::Applied(answer("ok"))
            };
            bench.settle(outcome);
        }
        seconds += 30;
        let now = bench.now.after(Duration::from_secs(30));
        bench.now = now;
        bench.step(Event::Tick);
        assert!(seconds < 600, "never given up");
    }
    assert_eq!(bench.state(other), None, "other keys go on");
    assert_eq!(bench.state(second), Some(State::Waiting));
    assert!(bench.sent().is_empty());
    bench.order(Command::Redrive(first));
    assert_eq!(bench.sent(), [first.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.sent(), [second.0]);
}

fn failed_by(reason: TransientReason) -> Outcome<holdover::engine::ports::Answer> {
    Outcome::Transient { reason, retry_after: None }
}

#[test]
fn a_damaged_record_is_given_up_at_once_and_says_why_also_after_a_restart() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let first = bench.accepted(submission(filing(), 1, 1));
    let second = bench.accepted(submission(filing(), 2, 1));
    bench.settle(failed_by(TransientReason::RecordDamaged));
    assert_eq!(bench.state(first), Some(State::DeadLettered), "it cannot heal by waiting");
    assert_eq!(bench.state(second), Some(State::Waiting), "it keeps its place");
    assert!(bench.sent().is_empty());
    let why = |bench: &Bench| bench.machine.transaction(first).unwrap().given_up_for;
    assert_eq!(why(&bench), Some(TransientReason::RecordDamaged));

    let mut again = Machine::new(settings(), Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| again.apply(Seq(0), &change));
    again.link_carried();
    bench.machine = again;
    assert_eq!(why(&bench), Some(TransientReason::RecordDamaged));
    bench.order(Command::Redrive(first));
    assert_eq!(why(&bench), None);
    assert_eq!(bench.sent(), [first.0]);
    bench.settle(failed_by(TransientReason::RecordDamaged));
    bench.order(Command::Skip(first));
    assert_eq!(bench.state(first), None);
    assert_eq!(bench.sent(), [second.0]);
}

#[test]
fn a_record_that_the_disk_does_not_give_is_tried_again_before_it_is_given_up() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let first = bench.accepted(submission(filing(), 1, 1));
    let mut tries = 0;
    while bench.state(first) != Some(State::DeadLettered) {
        if !bench.out.is_empty() {
            bench.settle(failed_by(TransientReason::RecordUnreadable));
            tries += 1;
        }
        bench.now = bench.now.after(Duration::from_secs(60));
        bench.step(Event::Tick);
        assert!(tries < 20, "never given up");
    }
    assert_eq!(tries, settings().retry.failures_max);
}

#[test]
fn a_settlement_whose_record_is_damaged_becomes_a_ticket_while_its_person_waits() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    assert!(bench.submit(settlement(1)).is_none(), "the client waits");
    let id = bench.settle(failed_by(TransientReason::RecordDamaged));
    assert_eq!(bench.state(id), Some(State::Ticketed));
    let answered = bench.answered(1);
    let ticketed = matches!(answered, Some(Reply::Accepted { live: Some(Live::Ticketed), .. }));
    assert!(ticketed, "{answered:?}");
}

#[test]
fn a_key_sent_again_gets_the_first_transaction_and_other_content_is_refused() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let first = bench.accepted(submission(filing(), 1, 1));
    let again = bench.submit(submission(filing(), 1, 1));
    let same = matches!(again, Some(Reply::Accepted { transaction, duplicate: true, .. }) if transaction == first);
    assert!(same, "{again:?}");
    let mut other = submission(filing(), 1, 1);
    other.fingerprint.0 = 8;
    assert!(
        matches!(bench.submit(other), Some(Reply::KeyReused { transaction }) if transaction == first)
    );
}

#[test]
fn a_date_once_told_is_never_moved_earlier() {
    let mut bench = declared(Disposition::Hold);
    bench.set("2022-08-15T06:00:01+08:00");
    let check = |bench: &mut Bench| {
        let reply = bench.ask(|reply| Event::CheckDeadline {
            reply,
            business: "filing.one".parse().unwrap(),
            original: "2022-08-14".parse().unwrap(),
        });
        match reply {
            Some(Reply::Deadline { computed, .. }) => computed.date.to_string(),
            other => panic!("{other:?}"),
        }
    };
    bench.accepted(submission(filing(), 1, 1));
    bench.now = at("2022-08-16T10:00:00+08:00");
    bench.step(Event::Tick);
    assert_eq!(check(&mut bench), "2022-08-17", "the stop overran its plan");
    let end = at("2022-08-15T06:00:00+08:00");
    let window = "stop".parse().unwrap();
    bench.order(Command::MoveWindowEnd { window, row: None, ends_at: end, if_version: None });
    assert_eq!(check(&mut bench), "2022-08-17");
}

/// The same machine, built from a snapshot of itself.
fn through_a_snapshot(bench: &Bench) -> Machine {
    let mut machine = Machine::new(settings(), Box::new(NoRuns));
    for change in bench.machine.snapshot() {
        machine.apply(Seq(0), &change);
    }
    machine.link_carried();
    machine
}

#[test]
fn a_replacement_keeps_its_place_through_a_snapshot() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let mut needs = submission(filing(), 1, 1);
    needs.line.needs_credential = true;
    let first = bench.accepted(needs);
    assert_eq!(bench.state(first), Some(State::ActionRequired));
    let second = bench.accepted(submission(filing(), 2, 1));
    let mut instead = submission(filing(), 3, 1);
    instead.replaces = Some(first);
    let third = bench.accepted(instead);
    assert_eq!(bench.sent(), [third.0], "it took the first one's place");
    bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
    let machine = through_a_snapshot(&bench);
    assert_eq!(machine.transaction(second).unwrap().behind, Some(third));
    assert_eq!(machine.transaction(third).unwrap().behind, None);
}

#[test]
fn a_not_found_counts_only_for_the_attempt_and_the_time_it_was_asked_about() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let id = bench.accepted(submission(filing(), 1, 1));
    bench.settle(Outcome::InDoubt(DoubtReason::Timeout));
    // Asked a moment before the settle time is over, answered after it.
    bench.set("2022-08-12T20:00:29+08:00");
    assert_eq!(bench.asks, [id]);
    bench.now = at("2022-08-12T20:00:32+08:00");
    bench.step(Event::Found { transaction: id, finding: Finding::NotFound { fenced: false } });
    assert_eq!(bench.state(id), Some(State::InDoubt), "the core looked too early");
    bench.step(Event::Tick);
    // A person resolves it; the next attempt is in doubt too, and then an old answer comes.
    assert_eq!(bench.asks.len(), 2);
    bench.order(Command::ResolveDoubt { transaction: id, verdict: State::Waiting });
    bench.settle(Outcome::InDoubt(DoubtReason::Cut));
    bench.step(Event::Found { transaction: id, finding: Finding::NotFound { fenced: true } });
    assert_eq!(bench.state(id), Some(State::InDoubt), "the fence was for the first attempt");
    assert!(bench.sent().is_empty());
}

#[test]
fn a_ticket_made_good_by_a_ticket_is_one_payment() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    for _ in 0..3 {
        bench.probe("a", false);
    }
    let ticketed = |bench: &mut Bench, number: u128, replaces: Option<Seq>| {
        let mut s = settlement(number);
        s.wait = None;
        s.replaces = replaces;
        bench.accepted(s)
    };
    let first = ticketed(&mut bench, 1, None);
    let second = ticketed(&mut bench, 2, Some(first));
    assert_eq!(tickets(&bench.machine), 2);
    for _ in 0..4 {
        bench.probe("a", true);
    }
    let mut last = settlement(3);
    last.replaces = Some(second);
    bench.submit(last);
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(tickets(&bench.machine), 0);
    assert_eq!(bench.machine.books().tickets(TicketState::Resettled).items, 2);
    assert_eq!(bench.machine.books().ticket_difference(), 0);
}

#[test]
fn what_depends_on_a_transaction_waits_for_the_one_in_its_place() {
    let mut bench = Bench::new("2022-08-12T20:00:00+08:00");
    let mut needs = submission(filing(), 1, 1);
    needs.line.needs_credential = true;
    let first = bench.accepted(needs);
    let mut dependent = submission(filing(), 2, 2);
    dependent.depends_on = Some(first);
    let dependent = bench.accepted(dependent);
    assert!(bench.sent().is_empty());
    let mut instead = submission(filing(), 3, 1);
    instead.replaces = Some(first);
    let instead = bench.accepted(instead);
    assert_eq!(bench.sent(), [instead.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.sent(), [dependent.0]);
    let mut late = submission(filing(), 4, 3);
    late.depends_on = Some(first);
    assert!(matches!(bench.submit(late), Some(Reply::Invalid(Fault::NotFound(_)))));
}

#[test]
fn b1_a_hold_of_59_hours_uses_no_attempt_and_shortens_no_timer() {
    held_until("2022-08-15T06:00:00+08:00");
}

#[test]
fn b8_a_hold_of_five_days_lets_nothing_expire() {
    held_until("2022-08-17T19:00:00+08:00");
}

fn held_until(end: &str) {
    let mut stop = window(Disposition::Hold);
    stop.planned.end = at(end);
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(stop)));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench.set("2022-08-12T19:00:00+08:00");
    for number in 0..100_000u128 {
        bench.machine.step(
            Now { wall: bench.now, monotonic: Monotonic(0) },
            Event::Submit(ReplyTo(0), Box::new(submission(filing(), number, number % 20_000))),
            &mut Decision::default(),
        );
    }
    let mut due = 0;
    while let Some(at) = bench.machine.next_due() {
        if at >= end.parse().unwrap() {
            break;
        }
        bench.now = at;
        bench.step(Event::Tick);
        due += 1;
        assert!(due < 1000, "something keeps coming due while everything is held");
    }
    bench.now = at(end).before(Duration::from_secs(1));
    bench.step(Event::Tick);
    assert!(bench.out.is_empty());
    let books = bench.machine.books();
    assert_eq!(books.in_state(State::Waiting).items, 100_000);
    let open = found(&bench.machine, |_| true);
    let tried = open.into_iter().find(|view| view.attempts > 0);
    assert!(tried.is_none(), "{tried:?}");
}

#[test]
fn b4_a_refusal_says_when_to_come_back_and_an_extension_changes_it() {
    let mut bench = declared(Disposition::Refuse);
    bench.set("2022-08-13T10:00:00+08:00");
    let told = |bench: &mut Bench, number: u128| match bench.submit(submission(
        filing(),
        number,
        number,
    )) {
        Some(Reply::TurnedAway { record, decision, number, .. }) => {
            assert_eq!(decision.row.as_ref().map(|row| row.clause.as_str()), Some("(二)1"));
            assert_eq!(record.row.as_ref().map(|row| row.window.as_str()), Some("stop"));
            (decision.resume_at.unwrap(), number)
        }
        other => panic!("{other:?}"),
    };
    let (first, number) = told(&mut bench, 1);
    assert_eq!(first, at("2022-08-15T06:00:00+08:00"));
    let (window, ends_at) = ("stop".parse().unwrap(), at("2022-08-15T12:00:00+08:00"));
    bench.order(Command::MoveWindowEnd { window, row: None, ends_at, if_version: Some(1) });
    let (second, next) = told(&mut bench, 2);
    assert_eq!(second, ends_at);
    assert!(number < next, "each refusal has a number of its own");
}

#[test]
fn a_refusal_found_by_asking_while_the_core_comes_up_is_provisional_too() {
    let mut bench = declared(Disposition::Hold);
    bench.set("2022-08-12T19:00:00+08:00");
    let all: Vec<Seq> = (0..4).map(|n| bench.accepted(submission(filing(), n, n))).collect();
    bench.set("2022-08-15T06:00:01+08:00");
    for _ in 0..3 {
        bench.probe("b", true);
    }
    for _ in 0..4 {
        bench.settle(Outcome::InDoubt(DoubtReason::Cut));
    }
    bench.set("2022-08-15T06:00:03+08:00");
    assert_eq!(bench.asks.len(), 4);
    for &transaction in &all {
        let finding = Finding::Refused { code: "not ready".to_owned(), answer: answer("no") };
        bench.step(Event::Found { transaction, finding });
    }
    for &transaction in &all {
        assert_eq!(bench.state(transaction), Some(State::Waiting), "the burst took it back");
    }
    assert_eq!(bench.machine.books().in_state(State::Refused).items, 0);
}

#[test]
fn only_exactly_what_was_closed_is_opened() {
    let mut bench = Bench::new("2022-08-12T10:00:00+08:00");
    let transaction = bench.accepted(submission(filing(), 1, 1));
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.state(transaction), None);
    let until = at("2022-08-12T20:00:00+08:00");
    let of = |pattern: &str| {
        let business = vec![pattern.to_owned().try_into().unwrap()];
        Selector { business, ..Selector::default() }
    };
    let (family, one) = (of("filing.*"), of("filing.one"));
    bench.order(Command::CloseGate { cells: family.clone(), until });
    for cells in [one, Selector::default()] {
        let other = bench.order(Command::OpenGate { cells });
        assert!(matches!(other, Some(Reply::Invalid(Fault::NotFound(_)))), "{other:?}");
        assert_eq!(bench.machine.overrides().len(), 1);
    }
    let same = bench.order(Command::OpenGate { cells: family });
    assert!(matches!(same, Some(Reply::Done(Done::Gates(_)))), "{same:?}");
    assert!(bench.machine.overrides().is_empty());
}

#[test]
fn a_name_that_nothing_has_is_told_and_closes_nothing() {
    let mut bench = Bench::new("2022-08-12T10:00:00+08:00");
    let until = at("2022-08-12T20:00:00+08:00");
    let upstream = Selector { upstream: vec!["bb".parse().unwrap()], ..Selector::default() };
    let business = vec!["filling.*".to_owned().try_into().unwrap()];
    let business = Selector { business, ..Selector::default() };
    let attributes = [("foo".to_owned(), vec!["bar".to_owned()])].into();
    let attribute = Selector { attributes, ..Selector::default() };
    for cells in [upstream, business, attribute] {
        let refused = bench.order(Command::CloseGate { cells, until });
        assert!(matches!(refused, Some(Reply::Invalid(Fault::Invalid(_)))), "{refused:?}");
    }
    assert!(bench.machine.overrides().is_empty());
}
