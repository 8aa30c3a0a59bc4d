//! Recurring stops in the engine: each occurrence is declared once, holds like any window, and is
//! neither lost nor taken back by a restart, a cancellation or a changed schedule.

use crate::engine_scenarios::{Bench, at, window};
use crate::engine_support::{cell, settings, submission};
use holdover::domain::cell::{Cell, Class, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::ids::Seq;
use holdover::domain::policy::Disposition;
use holdover::domain::recurring::Recurring;
use holdover::domain::schedule::Recurrence;
use holdover::domain::window::{Phase, Proof, RestoreBy};
use holdover::engine::change::Change;
use holdover::engine::event::{Command, Done, Event, Reply};
use holdover::engine::settings::Settings;
use holdover::engine::step::Decision;
use std::time::Duration;

/// What a new process makes of the state of an old one.
pub(crate) fn restarted(old: &Bench, settings: Settings, now: &str) -> Bench {
    let mut new = Bench::with(settings, now);
    for change in old.machine.snapshot() {
        new.machine.apply(Seq(0), &change);
    }
    new.machine.link_carried();
    let mut decision = Decision::default();
    new.machine.recovered(new.now, &mut decision);
    new.journal.extend(decision.changes.into_iter().map(|(_, change)| change));
    new
}

/// Every night at 23:00, for two hours, b is held.
pub(crate) fn nightly(cron: &str) -> Settings {
    let like = window(Disposition::Hold);
    let mut settings = settings();
    settings.recurring.push(Recurring {
        name: "nightly".parse().unwrap(),
        recurrence: Recurrence {
            cron: cron.parse().unwrap(),
            days: None,
            zone: chrono_tz::Asia::Shanghai,
        },
        lasts: Duration::from_secs(2 * 3600),
        author: "duty officer".to_owned(),
        reason: "backup".to_owned(),
        notice: like.notice,
        policy: like.policy,
        deadlines: None,
        restore_by: RestoreBy::Probes,
        cutoff_minutes: None,
    });
    settings.limits.recurring_ahead = Duration::from_secs(3 * 24 * 3600);
    settings
}

const AT_23: &str = "0 23 * * *";

fn begun(now: &str) -> Bench {
    let mut bench = Bench::with(nightly(AT_23), now);
    bench.step(Event::Tick);
    bench
}

fn filing() -> Cell {
    cell("b", "filing.one")
}

fn gate(bench: &Bench) -> Option<GateState> {
    bench.machine.gate(&filing())
}

/// The windows by name, and where each stands.
fn windows(bench: &Bench) -> Vec<(String, Phase)> {
    let windows = bench.machine.windows_and_phases(bench.now).into_iter();
    windows.map(|(window, phase)| (window.id.to_string(), phase)).collect()
}

fn names(bench: &Bench) -> Vec<String> {
    windows(bench).into_iter().map(|(name, _)| name).collect()
}

fn phase(bench: &Bench, name: &str) -> Phase {
    windows(bench).into_iter().find(|(known, _)| known == name).unwrap().1
}

/// The name of the stop of one night in August 2022.
fn night(day: u32) -> String {
    format!("nightly-202208{day:02}t1500z")
}

fn good_probes(bench: &mut Bench) {
    for _ in 0..3 {
        bench.probe("b", true);
    }
}

#[test]
fn each_occurrence_is_declared_once_when_it_is_near_enough() {
    let mut bench = begun("2022-08-10T12:00:00+08:00");
    assert_eq!(names(&bench), [night(10), night(11), night(12)]);
    let one = bench.machine.windows()[0].clone();
    assert_eq!(one.author, "schedule nightly (duty officer)");
    assert_eq!((one.planned.start, one.version), (at("2022-08-10T23:00:00+08:00"), 1));
    assert_eq!(one.planned.length(), Duration::from_secs(2 * 3600));
    // The next comes near at 23:00 today, and something is due then without anybody asking.
    assert_eq!(bench.machine.next_due(), Some(at("2022-08-10T23:00:00+08:00")));
    for now in ["2022-08-10T12:00:01+08:00", "2022-08-10T22:59:59+08:00"] {
        bench.set(now);
        assert_eq!(names(&bench).len(), 3, "{now}");
    }
    bench.set("2022-08-10T23:00:00+08:00");
    assert_eq!(names(&bench), [night(10), night(11), night(12), night(13)]);
    let set = bench.journal.iter().filter(|change| matches!(change, Change::WindowSet(_)));
    assert_eq!(set.count(), 4);
    let again = restarted(&bench, nightly(AT_23), "2022-08-10T23:30:00+08:00");
    assert!(!again.journal.iter().any(|change| matches!(change, Change::WindowSet(_))));
    assert_eq!(names(&again), names(&bench));
}

#[test]
fn an_occurrence_holds_and_is_proved_back_like_any_window() {
    let mut bench = begun("2022-08-10T22:59:59+08:00");
    let before = bench.accepted(submission(filing(), 1, 1));
    assert_eq!(bench.out[0].not_after, Some(at("2022-08-10T23:00:00+08:00")));
    bench.set("2022-08-10T23:00:00+08:00");
    let held = bench.accepted(submission(filing(), 2, 2));
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByWindow), vec![before.0]));
    good_probes(&mut bench);
    bench.set("2022-08-11T01:00:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::Verifying));
    assert_eq!(bench.sent().len(), 1);
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [before.0, held.0]);
    assert_eq!(phase(&bench, &night(10)), Phase::Completed);
    assert_eq!(phase(&bench, &night(11)), Phase::Scheduled);
}

#[test]
fn one_that_runs_when_the_daemon_comes_is_declared_and_one_that_is_over_is_not() {
    let mut bench = Bench::with(nightly(AT_23), "2022-08-11T00:30:00+08:00");
    let held = bench.accepted(submission(filing(), 1, 1));
    assert_eq!(gate(&bench), Some(GateState::ClosedByWindow), "since 23:00");
    assert!(bench.sent().is_empty() && bench.state(held).is_some());
    assert_eq!(names(&bench)[0], night(10));
    // Its planned end is the first instant at which it has passed.
    assert_eq!(names(&begun("2022-08-11T00:59:59.999+08:00"))[0], night(10));
    assert_eq!(names(&begun("2022-08-11T01:00:00+08:00"))[0], night(11));
}

#[test]
fn one_that_was_declared_lasts_until_it_is_proved_back_however_long_the_daemon_was_off() {
    let before = begun("2022-08-10T12:00:00+08:00");
    let mut bench = restarted(&before, nightly(AT_23), "2022-08-20T12:00:00+08:00");
    let held = bench.accepted(submission(filing(), 1, 1));
    assert_eq!(gate(&bench), Some(GateState::Verifying));
    for night in [10, 11, 12].map(night) {
        assert_eq!(phase(&bench, &night), Phase::Overrun, "{night}");
    }
    // Those from the 13th to the 19th were never declared: nothing was sent in their time.
    assert_eq!(names(&bench)[3..], [night(20), night(21), night(22)]);
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn a_cancelled_occurrence_stays_cancelled_and_the_others_stay() {
    let mut bench = begun("2022-08-10T12:00:00+08:00");
    let cancel = Command::CancelWindow { window: night(10).parse().unwrap(), if_version: None };
    assert!(matches!(bench.order(cancel), Some(Reply::Done(Done::Window(_)))));
    bench.set("2022-08-10T23:30:00+08:00");
    let sent = bench.accepted(submission(filing(), 1, 1));
    assert_eq!(bench.sent(), [sent.0]);
    let mut again = restarted(&bench, nightly(AT_23), "2022-08-10T23:40:00+08:00");
    again.set("2022-08-10T23:41:00+08:00");
    assert_eq!(phase(&again, &night(10)), Phase::Cancelled);
    assert_eq!(names(&again), [night(10), night(11), night(12), night(13)]);
    again.set("2022-08-11T23:00:00+08:00");
    again.accepted(submission(filing(), 2, 2));
    assert_eq!(gate(&again), Some(GateState::ClosedByWindow), "the next night is as planned");
}

#[test]
fn an_order_upon_one_occurrence_concerns_no_other() {
    let mut bench = begun("2022-08-10T12:00:00+08:00");
    let ends_at = at("2022-08-11T03:00:00+08:00");
    let window = night(10).parse().unwrap();
    let extend = Command::MoveWindowEnd { window, row: None, ends_at, if_version: None };
    assert!(matches!(bench.order(extend), Some(Reply::Done(Done::Window(_)))));
    bench.set("2022-08-11T02:59:59+08:00");
    bench.accepted(submission(filing(), 1, 1));
    assert_eq!(gate(&bench), Some(GateState::ClosedByWindow));
    bench.set("2022-08-11T03:00:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::Verifying));
    let next = bench.machine.windows()[1].clone();
    assert_eq!(next.planned.length(), Duration::from_secs(2 * 3600));
}

#[test]
fn a_changed_or_removed_schedule_takes_back_nothing_and_is_told() {
    let before = begun("2022-08-10T12:00:00+08:00");
    for (settings, new) in [(nightly("0 22 * * *"), 3), (settings(), 0)] {
        let bench = restarted(&before, settings, "2022-08-10T13:00:00+08:00");
        let left: Vec<String> =
            bench.machine.left_alone(bench.now).iter().map(|w| w.id.to_string()).collect();
        assert_eq!(left, [night(10), night(11), night(12)]);
        assert_eq!(names(&bench).len(), 3 + new);
    }
    let same = restarted(&before, nightly("0 23 * * 0-6"), "2022-08-10T13:00:00+08:00");
    assert!(same.machine.left_alone(same.now).is_empty(), "other words for the same times");
}

#[test]
fn beside_an_ordinary_window_the_stop_lasts_until_both_are_over() {
    let mut bench = begun("2022-08-12T17:00:00+08:00");
    let reply = bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
    bench.set("2022-08-12T20:00:00+08:00");
    let held = bench.accepted(submission(filing(), 1, 1));
    // The night of the 12th lies inside the stop; it is proved back in it and opens nothing.
    bench.set("2022-08-13T01:00:00+08:00");
    good_probes(&mut bench);
    assert_eq!((gate(&bench), bench.sent()), (Some(GateState::ClosedByWindow), Vec::new()));
    // That of the 14th ends before the stop does as well.
    bench.set("2022-08-15T06:00:00+08:00");
    assert!(bench.sent().is_empty());
    good_probes(&mut bench);
    assert_eq!(bench.sent(), [held.0]);
    let phases: Vec<Phase> = windows(&bench).into_iter().map(|(_, phase)| phase).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == Phase::Verifying).count(), 0);
}

#[test]
fn the_next_ones_are_shown_with_the_windows_that_stand_for_them() {
    let mut bench = begun("2022-08-10T12:00:00+08:00");
    bench.set("2022-08-11T00:30:00+08:00");
    let shown = bench.machine.recurring(bench.now, 5);
    let next: Vec<(bool, Option<Phase>)> = shown[0]
        .next
        .iter()
        .map(|one| {
            let declared = one.declared.as_ref().map(|(_, phase)| *phase);
            (one.planned.contains(bench.now), declared)
        })
        .collect();
    let scheduled = Some(Phase::Scheduled);
    let expected = [(true, Some(Phase::Active)), (false, scheduled), (false, scheduled)];
    assert_eq!(next[..3], expected);
    assert_eq!(next[4], (false, None), "not declared yet");
}

#[test]
fn whoever_asks_what_will_be_is_told_of_a_stop_that_is_not_declared_yet() {
    let bench = begun("2022-08-10T12:00:00+08:00");
    let ask = |time: &str| bench.decides(&filing(), at(time));
    let far = ask("2022-09-20T23:30:00+08:00");
    assert_eq!(far.disposition, Disposition::Hold);
    assert_eq!(far.row.unwrap().window.as_str(), "nightly-20220920t1500z");
    assert_eq!(far.resume_at, Some(at("2022-09-21T01:00:00+08:00")));
    for open in ["2022-09-20T22:59:59+08:00", "2022-09-21T01:00:00+08:00"] {
        assert_eq!(ask(open).disposition, Disposition::Pass, "{open}");
    }
    let past = ask("2022-07-20T23:30:00+08:00");
    assert_eq!(past.disposition, Disposition::Pass, "there was no such window");
}

#[test]
fn a_cell_that_is_met_late_is_stopped_by_a_window_that_was_over_for_all_others() {
    let mut bench = begun("2022-08-11T00:00:00+08:00");
    bench.accepted(submission(filing(), 1, 1));
    bench.set("2022-08-11T01:30:00+08:00");
    let hospitals = Selector { class: vec![Class::Hospital], ..Selector::default() };
    let window = night(10).parse().unwrap();
    bench.order(Command::Restore {
        window,
        cells: hospitals,
        ready_from: None,
        proof: Proof::Signed,
    });
    assert_eq!(phase(&bench, &night(10)), Phase::Completed);
    bench.set("2022-08-11T01:35:00+08:00");
    let pharmacy = Cell { class: Class::Pharmacy, ..filing() };
    let sent = bench.sent();
    bench.accepted(submission(pharmacy.clone(), 2, 2));
    assert_eq!(bench.machine.gate(&pharmacy), Some(GateState::Verifying));
    assert_eq!(bench.sent(), sent, "nobody has restored pharmacies");
}
