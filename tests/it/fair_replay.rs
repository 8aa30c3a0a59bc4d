//! A rate that is too low for everybody: the backlog and those who wait at a counter share it,
//! and so do the cells.

use crate::engine_scenarios::{Bench, window};
use crate::engine_support::{answer, cell, settings, submission};
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::ids::Seq;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::window::Proof;
use holdover::engine::event::{Command, Event, ReplyTo};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

fn filing() -> Cell {
    cell("b", "filing.one")
}

/// Lets the core answer until nothing is out; what was sent, in order.
fn sent_and_applied(bench: &mut Bench) -> Vec<Seq> {
    let mut sent = Vec::new();
    while !bench.out.is_empty() {
        sent.push(bench.settle(Outcome::Applied(answer("ok"))));
    }
    sent
}

fn after(bench: &mut Bench, ms: u64) {
    bench.now = bench.now.after(Duration::from_millis(ms));
    bench.step(Event::Tick);
}

#[test]
fn a_backlog_moves_beside_live_traffic_that_alone_is_more_than_the_rate() {
    const BACKLOG: u128 = 1000;
    let mut bench = Bench::with(settings(), "2022-08-12T18:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-12T20:00:00+08:00");
    let mut key_of: HashMap<Seq, u128> = HashMap::new();
    let mut waiting: BTreeSet<Seq> = BTreeSet::new();
    for number in 0..BACKLOG {
        let seq = bench.accepted(submission(filing(), number, number));
        key_of.insert(seq, number);
        waiting.insert(seq);
    }
    let (window, cells) = ("stop".parse().unwrap(), Selector::default());
    bench.order(Command::Restore { window, cells, ready_from: None, proof: Proof::Signed });

    // 250 a second, of which every fifth is of a person who stands in the backlog; the rate
    // rises from 5 to 200 a second within a minute.
    let (mut live, mut old, mut seconds) = (0, 0, 0);
    let mut last_of: HashMap<u128, Seq> = HashMap::new();
    let mut number = BACKLOG;
    while !waiting.is_empty() {
        seconds += 1;
        assert!(seconds <= 60, "{} of the backlog still wait", waiting.len());
        for _ in 0..250 {
            number += 1;
            let subject = if number.is_multiple_of(5) { number % BACKLOG } else { number };
            let mut s = submission(filing(), number, subject);
            s.wait = Some(Duration::from_secs(10));
            key_of.insert(Seq(bench.machine.last().0 + 1), subject);
            bench.step(Event::Submit(ReplyTo(1), Box::new(s)));
            bench.replies.clear();
        }
        for seq in sent_and_applied(&mut bench) {
            let key = key_of[&seq];
            assert!(last_of.insert(key, seq) < Some(seq), "{key} was overtaken");
            if waiting.remove(&seq) { old += 1 } else { live += 1 }
        }
        after(&mut bench, 1000);
    }
    assert!(live >= 2 * old, "{live} live, {old} of the backlog");
}

#[test]
fn cells_of_one_upstream_share_a_rate_that_is_reached_every_second() {
    let mut settings = settings();
    let upstream = "b".parse().unwrap();
    settings.upstreams.get_mut(&upstream).unwrap().health.steady = Some(1);
    let mut bench = Bench::with(settings, "2022-08-12T18:00:00+08:00");
    let mut sent: HashMap<String, u32> = HashMap::new();
    for number in 0..20 {
        bench.accepted(submission(filing(), number, number));
        bench.accepted(submission(cell("b", "filing.two"), 100 + number, 100 + number));
    }
    for _ in 0..10 {
        let businesses: Vec<String> =
            bench.out.iter().map(|order| order.cell.business.to_string()).collect();
        for business in businesses {
            *sent.entry(business).or_default() += 1;
        }
        sent_and_applied(&mut bench);
        after(&mut bench, 1000);
    }
    assert_eq!(sent.values().copied().collect::<Vec<_>>(), [5, 5], "{sent:?}");
}

#[test]
fn a_rate_that_is_reached_does_not_use_up_anybodys_share() {
    let mut settings = settings();
    let upstream = "b".parse().unwrap();
    settings.upstreams.get_mut(&upstream).unwrap().health.steady = Some(1);
    // Looked at again and again while nothing may be sent any more.
    for looks in 0..8 {
        let mut bench = Bench::with(settings.clone(), "2022-08-12T18:00:00+08:00");
        let until = bench.now.after(Duration::from_secs(60));
        let cells = Selector::default();
        bench.order(Command::CloseGate { cells: cells.clone(), until });
        let old: Vec<Seq> = (0..50).map(|n| bench.accepted(submission(filing(), n, n))).collect();
        bench.order(Command::OpenGate { cells });
        sent_and_applied(&mut bench);
        for number in 0..60 {
            let mut s = submission(filing(), 1000 + number, 1000 + number);
            s.wait = Some(Duration::from_secs(60));
            bench.step(Event::Submit(ReplyTo(2), Box::new(s)));
        }
        let mut sent = Vec::new();
        for _ in 0..16 {
            after(&mut bench, 1000);
            sent.extend(sent_and_applied(&mut bench));
            for _ in 0..looks {
                bench.step(Event::Tick);
            }
        }
        let of_the_backlog = sent.iter().filter(|seq| old.contains(seq)).count();
        assert_eq!((sent.len(), of_the_backlog), (16, 4), "{looks} looks");
    }
}
