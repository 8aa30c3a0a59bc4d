//! Service hours: when they are on, what a submission outside them is told, and that gates close
//! and open by them without a person, beside windows, clocks that are set and restarts.

use crate::engine_scenarios::{Bench, at, row, upstream, window};
use crate::engine_support::{answer, cell, settings, submission};
use crate::recurring::restarted;
use holdover::config;
use holdover::domain::calendar::NoCalendar;
use holdover::domain::cell::{Cell, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::hours::ServiceHours;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::{Advice, Disposition};
use holdover::domain::time::{Interval, Timestamp};
use holdover::domain::window::{Decision, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Fault, Reply};
use holdover::engine::settings::Settings;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Service hours as a configuration has them, in the configuration's zone.
pub(crate) fn hours(lines: &str) -> ServiceHours {
    let base = include_str!("../fixtures/config/base.toml");
    let text = format!(
        "[service_hours.office]\noutside = 'hold'\nclause = '1'\nreason = 'as published'\n{lines}\n\
         [service_hours.office.cells]\nbusiness = ['filing.out_of_area']\n"
    );
    match config::parse(&[("base", base), ("hours", &text)]) {
        Ok(config) => config.service_hours.into_iter().next().unwrap(),
        Err(problems) => panic!("{problems:?}"),
    }
}

/// The change of a designated institution: day 4 to the end of the month, 06:00 to 22:00.
fn change_of_institution() -> ServiceHours {
    hours("days = '4..last'\nfrom = '06:00'\nuntil = '22:00'")
}

fn check(one: &ServiceHours, table: &[(&str, Option<&str>)]) {
    for (asked, next) in table {
        let instant = at(&format!("{asked}+08:00"));
        assert_eq!(one.is_open(instant), next.is_none(), "{asked}");
        let opening = one.opening(instant).unwrap();
        match next {
            None => assert!(opening.contains(instant), "{asked}"),
            Some(next) => assert_eq!(opening.start, at(&format!("{next}+08:00")), "{asked}"),
        }
    }
}

#[test]
fn s0_01_the_change_is_open_from_day_4_to_the_last_of_each_month() {
    check(
        &change_of_institution(),
        &[
            ("2021-10-03T12:00:00", Some("2021-10-04T06:00:00")),
            ("2021-10-31T12:00:00", None),
            ("2021-11-01T12:00:00", Some("2021-11-04T06:00:00")),
            ("2024-02-29T12:00:00", None),
            ("2023-02-28T12:00:00", None),
        ],
    );
}

#[test]
fn s0_02_it_is_open_from_06_00_until_22_00_which_is_closed() {
    check(
        &change_of_institution(),
        &[
            ("2021-10-12T05:59:59", Some("2021-10-12T06:00:00")),
            ("2021-10-12T06:00:00", None),
            ("2021-10-12T21:59:59", None),
            ("2021-10-12T22:00:00", Some("2021-10-13T06:00:00")),
        ],
    );
    let last = at("2021-10-12T21:59:59.999+08:00");
    assert!(change_of_institution().is_open(last));
    assert_eq!(change_of_institution().closes_at(last), Some(at("2021-10-12T22:00:00+08:00")));
}

#[test]
fn s0_03_both_conditions_hold_together() {
    check(
        &change_of_institution(),
        &[
            ("2021-10-04T05:00:00", Some("2021-10-04T06:00:00")),
            ("2021-10-31T23:00:00", Some("2021-11-04T06:00:00")),
        ],
    );
}

#[test]
fn days_without_a_break_are_one_opening_and_each_change_of_the_clock_is_read_one_way() {
    let whole = hours("days = '4..last'\nfrom = '00:00'\nuntil = '24:00'");
    let month = whole.opening(at("2026-02-01T12:00:00+08:00")).unwrap();
    let expected = ("2026-02-04T00:00:00+08:00", "2026-03-01T00:00:00+08:00");
    assert_eq!(month, Interval { start: at(expected.0), end: at(expected.1) });
    for (from, until, day, opens, closes) in [
        // The hour from 02:00 is skipped.
        ("02:30", "22:00", "2026-03-08", "03:00:00-04", "22:00:00-04"),
        ("01:00", "02:30", "2026-03-08", "01:00:00-05", "03:00:00-04"),
        // The hour from 01:00 is lived twice: the first of the two counts.
        ("01:30", "22:00", "2026-11-01", "01:30:00-04", "22:00:00-05"),
        ("00:30", "01:30", "2026-11-01", "00:30:00-04", "01:30:00-04"),
    ] {
        let zone = "zone = 'America/New_York'";
        let one = hours(&format!("{zone}\nfrom = '{from}'\nuntil = '{until}'"));
        let opening = one.opening(at(&format!("{day}T00:00:00-05:00"))).unwrap();
        let shown = [opening.start, opening.end].map(|at| at.rfc3339(one.zone));
        assert_eq!(shown, [opens, closes].map(|time| format!("{day}T{time}:00")), "{from} {until}");
    }
    // An opening that lies in the gap altogether is none.
    let lost = hours("zone = 'America/New_York'\nfrom = '02:10'\nuntil = '02:50'");
    let next = lost.opening(at("2026-03-08T00:00:00-05:00")).unwrap();
    assert_eq!(next.start, at("2026-03-09T02:10:00-04:00"));
}

/// The first five working days of each quarter, in the hours of an office.
fn quarterly() -> ServiceHours {
    hours("months = '1,4,7,10'\nworking_days = '1..5'\nfrom = '09:00'\nuntil = '17:00'")
}

/// The days on which `one` opens from `from` on, as far as that is known.
fn opens_on(one: &ServiceHours, from: &str, count: usize) -> Vec<String> {
    let from = at(&format!("{from}T00:00:00+08:00"));
    let starts = one.openings(from).map(|opening| opening.start.rfc3339(one.zone));
    starts.take(count).map(|start| start[..10].to_owned()).collect()
}

#[test]
fn s2_02_it_is_open_on_the_first_5_working_days_of_a_quarter() {
    let one = quarterly();
    for (from, days) in [
        ("2025-04-01", ["2025-04-01", "2025-04-02", "2025-04-03", "2025-04-07", "2025-04-08"]),
        ("2025-07-01", ["2025-07-01", "2025-07-02", "2025-07-03", "2025-07-04", "2025-07-07"]),
        ("2025-10-01", ["2025-10-09", "2025-10-10", "2025-10-11", "2025-10-13", "2025-10-14"]),
        ("2026-01-01", ["2026-01-04", "2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"]),
        ("2026-04-01", ["2026-04-01", "2026-04-02", "2026-04-03", "2026-04-07", "2026-04-08"]),
    ] {
        assert_eq!(opens_on(&one, from, 5), days);
    }
    check(
        &one,
        &[
            ("2025-04-08T16:59:59", None),
            ("2025-04-08T17:00:00", Some("2025-07-01T09:00:00")),
            ("2025-04-09T10:00:00", Some("2025-07-01T09:00:00")),
            ("2025-10-08T10:00:00", Some("2025-10-09T09:00:00")),
            ("2025-10-11T10:00:00", None),
            ("2025-10-12T10:00:00", Some("2025-10-13T09:00:00")),
            ("2026-01-04T10:00:00", None),
        ],
    );
}

#[test]
fn the_end_of_a_month_is_counted_in_days_or_in_working_days() {
    let last = |lines: &str| hours(&format!("{lines}\nfrom = '09:00'\nuntil = '17:00'"));
    let days = opens_on(&last("days = 'last-1..last'"), "2026-02-01", 3);
    assert_eq!(days, ["2026-02-27", "2026-02-28", "2026-03-30"]);
    // 28 February 2026 is a Saturday that is worked; 31 May a Sunday that is not.
    let worked = opens_on(&last("working_days = 'last-1..last'"), "2026-02-01", 4);
    assert_eq!(worked, ["2026-02-27", "2026-02-28", "2026-03-30", "2026-03-31"]);
    let may = opens_on(&last("working_days = 'last'\nmonths = 'may'"), "2026-01-01", 1);
    assert_eq!(may, ["2026-05-29"]);
    // Beside each other all of them hold: the second Tuesday, if it is worked and a tenth day at most.
    let all = "days = '1..10'\nweekdays = 'tue'\nworking_days = '4..last'";
    assert_eq!(opens_on(&last(all), "2026-02-01", 2), ["2026-02-10", "2026-03-10"]);
}

#[test]
fn hours_over_midnight_belong_to_the_day_on_which_they_begin() {
    let night = hours("weekdays = 'mon-fri'\nfrom = '22:00'\nuntil = '06:00'");
    check(
        &night,
        &[
            ("2026-01-05T05:59:59", Some("2026-01-05T22:00:00")),
            ("2026-01-05T21:59:59", Some("2026-01-05T22:00:00")),
            ("2026-01-05T22:00:00", None),
            ("2026-01-06T00:00:00", None),
            ("2026-01-06T05:59:59", None),
            ("2026-01-06T06:00:00", Some("2026-01-06T22:00:00")),
            // The night of Friday ends on Saturday.
            ("2026-01-10T05:59:59", None),
            ("2026-01-10T22:00:00", Some("2026-01-12T22:00:00")),
        ],
    );
    let inside = at("2026-01-06T03:00:00+08:00");
    assert_eq!(night.closes_at(inside), Some(at("2026-01-06T06:00:00+08:00")));
    assert_eq!(night.opening(inside).unwrap().start, at("2026-01-05T22:00:00+08:00"));
    assert!(night.is_open_throughout(at("2026-01-05T23:00:00+08:00"), inside));
    assert!(!night.is_open_throughout(inside, at("2026-01-06T23:00:00+08:00")));
    // The night on which the clock is put forward, and the one on which it is put back.
    let abroad = hours("zone = 'America/New_York'\nfrom = '23:00'\nuntil = '02:30'");
    for (day, closes) in [("2026-03-07", "08T03:00:00-04:00"), ("2026-10-31", "01T02:30:00-05:00")]
    {
        let opening = abroad.opening(at(&format!("{day}T23:30:00-05:00"))).unwrap();
        assert!(opening.end.rfc3339(abroad.zone).ends_with(closes), "{}", opening.end);
    }
}

#[test]
fn in_a_year_without_working_days_it_is_closed_and_nobody_is_told_a_guess() {
    let one = quarterly();
    let known = at("2026-10-13T12:00:00+08:00");
    assert!(one.is_open(known));
    // 2027-01-04 is a Monday and may be a working day.
    for closed in ["2026-10-15T10:00:00", "2027-01-04T10:00:00", "2028-07-03T10:00:00"] {
        let instant = at(&format!("{closed}+08:00"));
        assert!(!one.is_open(instant), "{closed}");
        assert_eq!((one.opening(instant), one.next_edge(instant)), (None, None), "{closed}");
    }
    let after = |text: &str| one.unknown_after(at(&format!("{text}+08:00")));
    assert_eq!(after("2026-01-01T00:00:00"), Some(NoCalendar(2027)));
    assert_eq!(after("2028-07-03T10:00:00"), Some(NoCalendar(2028)));
    // Of these months it knows without a calendar that they are closed.
    assert_eq!(after("2018-11-01T10:00:00"), Some(NoCalendar(2027)));
    assert_eq!(after("2018-10-01T10:00:00"), Some(NoCalendar(2018)));
    // The next opening that is known, in 2019, need not be the next one.
    assert_eq!(one.opening(at("2018-10-01T10:00:00+08:00")), None);
    assert_eq!(change_of_institution().unknown_after(known), None);
    // What is asked early on the first day that is known looks back no further.
    let all = hours("working_days = '1..last'\nfrom = '09:00'\nuntil = '17:00'");
    let opens = all.opening(at("2019-01-01T00:30:00+08:00")).unwrap().start;
    assert_eq!(opens, at("2019-01-02T09:00:00+08:00"));

    let mut refused =
        Bench::with(with(quarterly(), Disposition::Refuse), "2026-10-15T10:00:00+08:00");
    let Some(Reply::TurnedAway { record, unknown, .. }) =
        refused.submit(submission(change(), 1, 1))
    else {
        panic!("not turned away")
    };
    assert_eq!((record.resume_at, unknown), (None, Some(NoCalendar(2027))));
    assert_eq!(record.row.as_ref().unwrap().window.as_str(), "office");
    let mut held = Bench::with(with(quarterly(), Disposition::Hold), "2027-01-04T10:00:00+08:00");
    held.accepted(submission(change(), 1, 1));
    assert_eq!(gate(&held), Some(GateState::ClosedBySchedule));
    held.set("2027-01-05T10:00:00+08:00");
    assert!(held.sent().is_empty(), "nothing is sent on a day that nobody knows");
    let shown = &held.machine.service_hours(held.now, 2)[0];
    assert_eq!((shown.next.len(), shown.unknown), (0, Some(NoCalendar(2027))));
    let known = &held.machine.service_hours(at("2026-10-10T00:00:00+08:00"), 2)[0];
    assert_eq!((known.next.len(), known.unknown), (2, None));
}

fn change() -> Cell {
    cell("b", "filing.one")
}

/// The change of institution for a cell of the engine's tests.
fn with(mut one: ServiceHours, outside: Disposition) -> Settings {
    one.row.disposition = Some(outside);
    one.row.cells = Selector {
        business: vec!["filing.one".to_owned().try_into().unwrap()],
        ..Selector::default()
    };
    let mut settings = settings();
    settings.calendar.years.push(2021);
    settings.service_hours.push(one);
    settings
}

fn bench(outside: Disposition, now: &str) -> Bench {
    Bench::with(with(change_of_institution(), outside), &format!("{now}+08:00"))
}

fn gate(bench: &Bench) -> Option<GateState> {
    bench.machine.gate(&change())
}

pub(crate) fn stop(from: &str, until: &str) -> Window {
    let mut stop = window(Disposition::Hold);
    let times = [from, until].map(|time| at(&format!("{time}+08:00")));
    stop.planned = Interval::new(times[0], times[1]).unwrap();
    (stop.deadlines, stop.restore_by) = (None, RestoreBy::Probes);
    stop.policy = vec![row(upstream("b"), Disposition::Hold)];
    stop
}

pub(crate) fn declare(bench: &mut Bench, stop: Window) {
    let reply = bench.order(Command::DeclareWindow(Box::new(stop)));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
}

#[test]
fn what_waits_at_the_closing_goes_at_the_opening_without_a_person() {
    let mut bench = bench(Disposition::Hold, "2021-10-12T21:59:59");
    let first = bench.accepted(submission(change(), 1, 1));
    // The next of the same key waits behind it.
    let second = bench.accepted(submission(change(), 2, 1));
    assert_eq!(bench.sent(), [first.0]);
    let closing = at("2021-10-12T22:00:00+08:00");
    assert_eq!(bench.out[0].not_after, Some(closing), "no first byte from the closing on");
    let epoch = bench.out[0].gate.clone();
    assert_eq!(bench.machine.next_due(), Some(closing));
    bench.set("2021-10-12T22:00:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::ClosedBySchedule));
    assert_eq!(epoch.load(Ordering::SeqCst), bench.out[0].epoch + 1, "no send is begun any more");
    // What was under way ends as it does; the next of its key stays.
    bench.settle(Outcome::Applied(answer("ok")));
    let late = bench.accepted(submission(change(), 3, 3));
    for _ in 0..5 {
        bench.probe("b", true);
    }
    bench.set("2021-10-13T05:59:59.999+08:00");
    assert!(bench.sent().is_empty());
    assert_eq!(bench.machine.next_due(), Some(at("2021-10-13T06:00:00+08:00")));
    bench.set("2021-10-13T06:00:00+08:00");
    assert_eq!(bench.sent(), [second.0, late.0]);
    assert_eq!(bench.out[0].not_after, Some(at("2021-10-13T22:00:00+08:00")));
    let other = bench.accepted(submission(cell("b", "filing.two"), 4, 4));
    assert!(bench.sent().contains(&other.0), "other businesses have no hours");
}

#[test]
fn outside_the_hours_a_submission_is_told_the_next_opening() {
    let mut held = bench(Disposition::Hold, "2021-10-31T22:00:00");
    let Some(Reply::Accepted { accepted: Some(accepted), .. }) =
        held.submit(submission(change(), 1, 1))
    else {
        panic!("not accepted")
    };
    let told = &accepted.told;
    let opening = Some(at("2021-11-04T06:00:00+08:00"));
    assert_eq!((told.disposition, told.resume_at), (Disposition::Hold, opening));
    let row = told.row.as_ref().unwrap();
    assert_eq!((row.window.as_str(), row.version, row.clause.as_str()), ("office", 0, "1"));

    let mut refused = bench(Disposition::Refuse, "2021-10-31T22:00:00");
    let Some(Reply::TurnedAway { record, decision, .. }) =
        refused.submit(submission(change(), 1, 1))
    else {
        panic!("not turned away")
    };
    assert_eq!(record.resume_at, opening);
    assert_eq!((decision.disposition, decision.advice), (Disposition::Refuse, Advice::None));
    assert_eq!(refused.machine.turned_away(), 1);
    // Any instant can be asked about.
    let normal = Disposition::Pass;
    let ask = |bench: &Bench, time: &str| -> Decision {
        bench.decides(&change(), at(&format!("{time}+08:00")))
    };
    assert_eq!(ask(&refused, "2021-11-04T06:00:00").disposition, normal);
    let later = ask(&refused, "2021-11-04T22:00:00");
    assert_eq!(later.resume_at, Some(at("2021-11-05T06:00:00+08:00")));
}

#[test]
fn s0_05_what_is_replayed_after_a_stop_waits_for_the_next_opening_and_is_told_so() {
    let mut bench = bench(Disposition::Refuse, "2021-10-31T21:00:00");
    declare(&mut bench, stop("2021-10-31T21:30:00", "2021-11-01T06:00:00"));
    bench.set("2021-10-31T21:50:00+08:00");
    let Some(Reply::Accepted { transaction, accepted: Some(accepted), .. }) =
        bench.submit(submission(change(), 1, 1))
    else {
        panic!("not accepted")
    };
    let opening = at("2021-11-04T06:00:00+08:00");
    assert_eq!(accepted.told.resume_at, Some(opening), "the stop ends outside the hours");
    bench.set("2021-11-01T06:00:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::Verifying));
    for _ in 0..3 {
        bench.probe("b", true);
    }
    assert_eq!(gate(&bench), Some(GateState::ClosedBySchedule), "the core is back, not the hours");
    bench.set("2021-11-01T06:10:00+08:00");
    bench.set("2021-11-04T05:59:59+08:00");
    assert!(bench.sent().is_empty());
    bench.set("2021-11-04T06:00:00+08:00");
    assert_eq!(bench.sent(), [transaction.0]);
}

#[test]
fn a_stop_over_the_opening_keeps_the_gate_closed_and_no_send_slips_through_the_seam() {
    for (from, until) in [
        // Over the opening; right up to it; over the closing and the night.
        ("2021-10-13T05:00:00", "2021-10-13T07:00:00"),
        ("2021-10-12T23:00:00", "2021-10-13T06:00:00"),
        ("2021-10-12T21:00:00", "2021-10-13T06:00:00"),
    ] {
        let mut bench = bench(Disposition::Hold, "2021-10-12T20:00:00");
        declare(&mut bench, stop(from, until));
        bench.set("2021-10-12T22:30:00+08:00");
        let held = bench.accepted(submission(change(), 1, 1));
        for time in ["05:59:59.999", "06:00:00"] {
            bench.set(&format!("2021-10-13T{time}+08:00"));
            assert!(bench.sent().is_empty(), "{from} {time}");
        }
        bench.set(&format!("{until}+08:00"));
        assert_eq!(gate(&bench), Some(GateState::Verifying), "{from}: the plan opens nothing");
        for _ in 0..3 {
            bench.probe("b", true);
        }
        assert_eq!(bench.sent(), [held.0], "{from}");
    }
}

#[test]
fn the_stricter_of_window_and_hours_decides_and_an_overrun_promises_no_opening() {
    let mut bench = bench(Disposition::Refuse, "2021-10-12T20:00:00");
    declare(&mut bench, stop("2021-10-12T21:00:00", "2021-10-13T05:00:00"));
    let ask = |time: &str| bench.decides(&change(), at(time));
    let both = ask("2021-10-12T23:00:00+08:00");
    let opening = Some(at("2021-10-13T06:00:00+08:00"));
    assert_eq!((both.disposition, both.resume_at), (Disposition::Refuse, opening));
    assert_eq!(both.row.unwrap().window.as_str(), "office");
    let window_only = ask("2021-10-12T21:30:00+08:00");
    assert_eq!((window_only.disposition, window_only.resume_at), (Disposition::Hold, opening));
    let overrun = ask("2021-10-13T05:30:00+08:00");
    assert_eq!((overrun.disposition, overrun.resume_at), (Disposition::Refuse, None));
}

#[test]
fn while_the_clock_is_doubted_a_cell_is_open_only_if_it_is_by_both_times_and_between() {
    for (now, ahead_hours, state) in [
        ("2021-10-12T21:00:00", 2, GateState::ClosedBySchedule),
        ("2021-10-13T05:00:00", 2, GateState::ClosedBySchedule),
        ("2021-10-12T12:00:00", 2, GateState::Open),
        ("2021-10-13T07:00:00", -2, GateState::ClosedBySchedule),
        // Open by both times, with a night in between.
        ("2021-10-12T12:00:00", 24, GateState::ClosedBySchedule),
    ] {
        let mut settings = with(change_of_institution(), Disposition::Hold);
        settings.limits.clock_jump_max = Some(Duration::from_secs(60));
        let mut bench = Bench::with(settings, &format!("{now}+08:00"));
        bench.step(holdover::engine::event::Event::Tick);
        bench.ahead_ms = ahead_hours * 3_600_000;
        bench.accepted(submission(change(), 1, 1));
        assert_eq!(gate(&bench), Some(state), "{now} {ahead_hours}");
        assert_eq!(bench.sent().is_empty(), state != GateState::Open, "{now} {ahead_hours}");
    }
}

#[test]
fn a_restart_in_the_night_sends_nothing_before_the_opening() {
    let mut before = bench(Disposition::Hold, "2021-10-12T21:59:00");
    let out = before.accepted(submission(change(), 1, 1));
    before.set("2021-10-12T22:00:00+08:00");
    let held = before.accepted(submission(change(), 2, 2));
    let settings = with(change_of_institution(), Disposition::Hold);
    let mut bench = restarted(&before, settings.clone(), "2021-10-12T23:00:00+08:00");
    assert_eq!(gate(&bench), Some(GateState::ClosedBySchedule));
    bench.set("2021-10-13T05:59:59+08:00");
    assert!(bench.sent().is_empty());
    assert_eq!(bench.asks, [out], "what was cut off is asked about, which has no effect");
    // Off over the opening: it goes at the start.
    let mut bench = restarted(&before, settings, "2021-10-13T09:00:00+08:00");
    bench.set("2021-10-13T09:00:01+08:00");
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn an_operator_cannot_open_what_the_schedule_has_closed() {
    let mut bench = bench(Disposition::Hold, "2021-10-12T22:00:00");
    bench.accepted(submission(change(), 1, 1));
    let reply = bench.order(Command::OpenGate { cells: Selector::default() });
    assert!(matches!(reply, Some(Reply::Invalid(Fault::NotFound(_)))), "{reply:?}");
    let view = &bench.machine.gates(bench.now)[0];
    assert_eq!((view.state, &view.window), (GateState::ClosedBySchedule, &None));
    let shown = &bench.machine.service_hours(bench.now, 2)[0];
    let starts: Vec<Timestamp> = shown.next.iter().map(|opening| opening.start).collect();
    assert!(!shown.is_open);
    assert_eq!(starts, [at("2021-10-13T06:00:00+08:00"), at("2021-10-14T06:00:00+08:00")]);
}
