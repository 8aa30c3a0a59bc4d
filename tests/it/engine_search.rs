//! Pages of what is not final, found in several looks while transactions come and go.

use crate::engine_support::{NoRuns, cell, found, settings, submission};
use holdover::domain::ids::{InstitutionCode, KeyHash, OrderingKey, Seq};
use holdover::domain::outcome::TransientReason;
use holdover::domain::state::State;
use holdover::domain::time::Timestamp;
use holdover::engine::change::{Accepted, Change, Told};
use holdover::engine::machine::Machine;
use holdover::engine::search::{Among, Found, Glance, Search};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

/// More than one look can touch.
const MANY: u64 = 120_000;

struct Hall {
    machine: Machine,
    next: u64,
    open: BTreeSet<Seq>,
}

fn at() -> Timestamp {
    "2022-08-13T10:00:00+08:00".parse().unwrap()
}

fn institution(number: u64) -> InstitutionCode {
    format!("H{number:011}").parse().unwrap()
}

impl Hall {
    /// `many` transactions, `apart` records from each other, the first being `first`.
    fn new(many: u64, first: u64, apart: u64) -> Self {
        let machine = Machine::new(settings(), Box::new(NoRuns));
        let mut hall = Self { machine, next: first, open: BTreeSet::new() };
        for _ in 0..many {
            hall.accept();
            hall.next += apart - 1;
        }
        hall
    }

    fn accept(&mut self) -> Seq {
        let seq = Seq(self.next);
        let s = submission(cell("a", "filing.one"), seq.0.into(), 0);
        let told = Told {
            disposition: s.line.normal,
            advice: holdover::domain::policy::Advice::None,
            row: None,
            resume_at: None,
            alternative: None,
            bring: Vec::new(),
            deadline: None,
            deadline_final: false,
            kept: false,
            incurred_in: None,
        };
        let record = Accepted {
            at: at(),
            institution: institution(seq.0 % 7),
            cell: s.cell.into(),
            ordering_key: OrderingKey(u128::from(seq.0) << 64),
            key_hash: KeyHash(seq.0.into()),
            fingerprint: s.fingerprint,
            insured: s.insured,
            amount: s.amount,
            occurred_at: s.occurred_at,
            received_from_person_at: None,
            deadline: None,
            replaces: None,
            depends_on: None,
            self_contained: true,
            needs_credential: false,
            ticket_after: None,
            blobs: Vec::new(),
            told,
            sealed: s.sealed,
        };
        self.machine.apply(seq, &Change::Accepted(Arc::new(record)));
        self.open.insert(seq);
        self.next += 1;
        seq
    }

    fn withdraw(&mut self, transaction: Seq) {
        let (by, reason) = ("submitter".to_owned(), "because".to_owned());
        let change = Change::Withdrawn { transaction, by, reason, at: at() };
        self.machine.apply(Seq(self.next), &change);
        self.next += 1;
        self.open.remove(&transaction);
    }

    fn give_up(&mut self, transaction: Seq) {
        let change = Change::DeadLettered { transaction, reason: TransientReason::Busy, at: at() };
        self.machine.apply(Seq(self.next), &change);
        self.next += 1;
    }

    /// One page, with what `meanwhile` does to the hall between two looks; and the looks it took.
    fn page(
        &mut self,
        mut search: Search,
        keep: impl Fn(&Glance<'_>) -> bool,
        mut meanwhile: impl FnMut(&mut Self),
    ) -> (Found<Seq>, usize) {
        let mut looks = 1;
        loop {
            match self.machine.search(search, &keep, Some) {
                ControlFlow::Break(found) => return (found, looks),
                ControlFlow::Continue(more) => search = more,
            }
            looks += 1;
            meanwhile(self);
        }
    }
}

fn everything(_: &Glance<'_>) -> bool {
    true
}

#[test]
fn pages_hold_everything_once_in_order_and_end() {
    // One after another, with some records between, and far apart.
    for (many, first, apart) in [(1_000, 1, 1), (1_000, 1, 3), (1_000, 5_000_000, 4_000)] {
        let mut hall = Hall::new(many, first, apart);
        let (mut after, mut seen) = (Seq(0), Vec::new());
        loop {
            let (page, _) = hall.page(Search::new(after, 300, Among::Open), everything, |_| {});
            assert!(page.items.len() == 300 || page.next.is_none());
            assert_eq!(page.next, page.items.last().copied().filter(|_| page.next.is_some()));
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(seen, Vec::from_iter(hall.open.clone()), "{apart} apart");
    }
}

#[test]
fn a_page_is_full_exactly_and_says_that_nothing_follows() {
    let mut hall = Hall::new(10, 1, 1);
    let (page, _) = hall.page(Search::new(Seq(0), 10, Among::Open), everything, |_| {});
    assert_eq!((page.items.len(), page.next), (10, None));
    let (page, _) = hall.page(Search::new(Seq(0), 9, Among::Open), everything, |_| {});
    assert_eq!((page.items.len(), page.next), (9, Some(Seq(9))));
    let (page, _) = hall.page(Search::new(Seq(10), 9, Among::Open), everything, |_| {});
    assert_eq!((page.items.len(), page.next), (0, None));
}

/// Where numbers are dense they are walked, where they are far apart the places are.
#[test]
fn what_stays_is_found_once_while_others_come_and_go() {
    for apart in [1, 50] {
        let mut hall = Hall::new(MANY, 1, apart);
        let of_one = |one: &Glance<'_>| *one.institution == institution(3);
        let start: BTreeSet<Seq> = hall.open.clone();
        let (mut after, mut seen, mut looks, mut pages) = (Seq(0), Vec::new(), 0, 0);
        loop {
            let begun_at = Seq(hall.next);
            // Some leave in front of and behind the place that the search has come to, and new
            // ones take their places.
            let mut turn = 0;
            let meanwhile = |hall: &mut Hall| {
                turn += 1;
                let picked: Vec<Seq> = hall.open.iter().copied().skip(turn).step_by(911).collect();
                for seq in picked {
                    hall.withdraw(seq);
                    hall.accept();
                }
            };
            let search = Search::new(after, 10_000, Among::Open);
            let (page, took) = hall.page(search, of_one, meanwhile);
            (looks, pages) = (looks + took, pages + 1);
            assert!(page.items.len() <= 10_000);
            assert!(page.items.iter().all(|&seq| seq < begun_at), "it came while we looked");
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert!(pages > 1 && looks > pages, "{looks} looks leave no time to come and go");
        assert!(seen.is_sorted_by(|a, b| a < b), "in order, none twice");
        let seen: BTreeSet<Seq> = seen.into_iter().collect();
        let stayed = hall.open.intersection(&start).filter(|seq| seq.0 % 7 == 3).copied();
        let missing: Vec<Seq> = stayed.filter(|seq| !seen.contains(seq)).collect();
        assert!(missing.is_empty(), "{apart} apart: {missing:?}");
    }
}

#[test]
fn what_ends_before_the_page_is_shown_is_left_out_without_ending_the_list() {
    let mut hall = Hall::new(MANY, 1, 1);
    let rare = |one: &Glance<'_>| *one.institution == institution(3);
    let first_and_last = |hall: &mut Hall| {
        if hall.open.contains(&Seq(3)) {
            hall.withdraw(Seq(3));
        }
    };
    let search = Search::new(Seq(0), 10_000, Among::Open);
    let mut search = Some(search);
    let page = loop {
        let machine = &hall.machine;
        let show = |seq| machine.transaction(seq);
        match machine.search(search.take().unwrap(), rare, show) {
            ControlFlow::Break(page) => break page,
            ControlFlow::Continue(more) => search = Some(more),
        }
        first_and_last(&mut hall);
    };
    assert_eq!(page.items.len(), 9_999);
    assert_eq!(page.next, Some(Seq(3 + 7 * 9_999)));
}

#[test]
fn a_state_that_people_work_through_is_found_in_one_look_among_many() {
    let mut hall = Hall::new(MANY, 1, 1);
    let dead = [Seq(70), Seq(60_000), Seq(119_999)];
    for seq in dead {
        hall.give_up(seq);
    }
    let is_dead = |one: &Glance<'_>| one.state == State::DeadLettered;
    let search = Search::new(Seq(70), 10, Among::In(State::DeadLettered));
    let (page, looks) = hall.page(search, is_dead, |_| {});
    assert_eq!((page.items, looks), (dead[1..].to_vec(), 1));
    // Without that word every one must be looked at.
    let (page, looks) = hall.page(Search::new(Seq(0), 10, Among::Open), is_dead, |_| {});
    assert_eq!(page.items, dead);
    assert!(looks > 2);
    assert_eq!(found(&hall.machine, is_dead).len(), 3);
}

/// Prints how long looks take; the measurement behind the bound of one look.
#[test]
#[ignore = "a measurement, run by hand"]
fn how_long_one_look_takes() {
    for apart in [1, 50] {
        let hall = Hall::new(1_000_000, 1, apart);
        let (mut search, mut took) = (Search::new(Seq(0), 100, Among::Open), Vec::new());
        loop {
            let begun = Instant::now();
            let look = hall.machine.search(search, |one| one.state == State::InFlight, Some);
            took.push(begun.elapsed());
            match look {
                ControlFlow::Break(_) => break,
                ControlFlow::Continue(more) => search = more,
            }
        }
        took.sort_unstable();
        let (middle, longest) = (took[took.len() / 2], took[took.len() - 1]);
        println!("{apart} apart: {} looks, half took {middle:?}, all {longest:?}", took.len());
    }
}
