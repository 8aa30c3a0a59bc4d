//! Rules, conditions and terms of deadlines, case by case.
//!
//! The table of the notice of August 2022, and what holds for any stops, is in `deadlines`.

use holdover::config;
use holdover::domain::calendar::{Calendar, NoCalendar};
use holdover::domain::cell::{Channel, Selector};
use holdover::domain::deadline::{Conditions, DeadlineRule, Rule, effective};
use holdover::domain::ids::Business;
use holdover::domain::term::{Deadline, Ground};
use holdover::domain::time::{CivilDate, Interval, Timestamp, Zone};
use holdover::domain::window::{Act, Proof, Window};
use std::path::Path;

const ZONE: Zone = chrono_tz::Asia::Shanghai;

fn day(text: &str) -> CivilDate {
    text.parse().unwrap()
}

fn due(text: &str) -> Deadline {
    text.parse().unwrap()
}

fn manual() -> Business {
    "reimbursement.manual".parse().unwrap()
}

fn calendar() -> Calendar {
    config::parse_calendar("cn.toml", config::CALENDAR).unwrap()
}

/// The window of the notice of August 2022 at another time, its agency path restored at its end.
fn stop(from: &str, to: &str, change: impl FnOnce(&mut DeadlineRule)) -> Window {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/beijing-2022-08.toml");
    let mut window = config::load(&[&file]).unwrap().windows.remove(0);
    let at = |text: &str| format!("{text}:00+08:00").parse::<Timestamp>().unwrap();
    window.planned = Interval::new(at(from), at(to)).unwrap();
    window.published = window.planned;
    window.restores.push(Act {
        cells: Selector { upstream: vec!["agency".parse().unwrap()], ..Selector::default() },
        at: at(to),
        ready_from: None,
        by: "duty officer".to_owned(),
        proof: Proof::Signed,
        reason: "the upgrade is finished".to_owned(),
    });
    change(window.deadlines.as_mut().unwrap());
    window
}

/// What `original` becomes when everything is long over.
fn moved(window: &Window, original: &str) -> String {
    let now = window.planned.end.after(std::time::Duration::from_secs(400 * 86_400));
    let answer = effective(due(original), &manual(), [window], &calendar(), now).unwrap();
    assert!(answer.is_final, "{original}: everything is over");
    answer.date.shown(ZONE)
}

#[test]
fn each_rule_moves_what_lies_inside_and_nothing_else() {
    // Friday 19:00 to Monday 06:00, before the National Day of 2025 (1 to 8 October; 28 September
    // and 11 October are worked).
    let (from, to) = ("2025-09-26T19:00", "2025-09-29T06:00");
    for (rule, of_26, of_28) in [
        (Rule::None, "2025-09-26", "2025-09-28"),
        (Rule::FirstFullWorkingDay, "2025-09-29", "2025-09-29"),
        (Rule::RestorePlusWorkingDays(2), "2025-10-09", "2025-10-09"),
        (Rule::RestorePlusDays(1), "2025-09-30", "2025-09-30"),
        // 1 October is no working day, nor is any up to the 8th.
        (Rule::RestorePlusDays(2), "2025-10-09", "2025-10-09"),
        // 59 hours after 24:00 is the 29th, after that of the 28th 11:00 on 1 October.
        (Rule::ShiftByOutage, "2025-09-29", "2025-10-09"),
        (Rule::FixedDate(day("2025-10-05")), "2025-10-05", "2025-10-05"),
    ] {
        let window = stop(from, to, |deadlines| deadlines.rule = rule);
        assert_eq!(moved(&window, "2025-09-26"), of_26, "{rule}");
        assert_eq!(moved(&window, "2025-09-28"), of_28, "{rule}");
        for outside in ["2025-09-25", "2025-09-29", "2025-10-03"] {
            assert_eq!(moved(&window, outside), outside, "{rule}: outside stays, as it was given");
        }
    }
}

#[test]
fn an_instant_keeps_its_time_of_day_and_is_inside_by_the_minute() {
    let (from, to) = ("2022-08-12T19:00", "2022-08-15T06:00");
    let first = stop(from, to, |deadlines| deadlines.rule = Rule::FirstFullWorkingDay);
    for (original, date) in [
        ("2022-08-12T19:00:00+08:00", "2022-08-12T19:00:00+08:00"),
        ("2022-08-12T19:00:01+08:00", "2022-08-15T19:00:01+08:00"),
        ("2022-08-13T17:00:00+08:00", "2022-08-15T17:00:00+08:00"),
        ("2022-08-15T06:00:00+08:00", "2022-08-15T06:00:00+08:00"),
        ("2022-08-15T06:00:01+08:00", "2022-08-15T06:00:01+08:00"),
    ] {
        assert_eq!(moved(&first, original), date);
    }
    let shift = stop(from, to, |deadlines| deadlines.rule = Rule::ShiftByOutage);
    assert_eq!(moved(&shift, "2022-08-14T10:00:00+08:00"), "2022-08-16T21:00:00+08:00");
    // 59 hours after Tuesday the 16th's... from a stop in mid-week: Friday 10:00 becomes Sunday
    // 21:00, and so Monday 21:00.
    let shift = stop("2022-08-18T19:00", "2022-08-21T06:00", |deadlines| {
        deadlines.rule = Rule::ShiftByOutage;
    });
    assert_eq!(moved(&shift, "2022-08-19T10:00:00+08:00"), "2022-08-22T10:00:00+08:00");
}

#[test]
fn e10_a_stop_that_was_announced_and_short_moves_nothing_by_configuration_alone() {
    let only_if = Conditions { stop_min_minutes: Some(240), ..Conditions::default() };
    let with = |from, to, only_if: &Conditions| {
        stop(from, to, |deadlines| deadlines.only_if = only_if.clone())
    };
    let three_hours = with("2022-08-12T22:00", "2022-08-13T01:00", &only_if);
    assert_eq!(moved(&three_hours, "2022-08-12"), "2022-08-12");
    let four_hours = with("2022-08-12T21:00", "2022-08-13T01:00", &only_if);
    assert_eq!(moved(&four_hours, "2022-08-12"), "2022-08-15");
    let any = with("2022-08-12T22:00", "2022-08-13T01:00", &Conditions::default());
    assert_eq!(moved(&any, "2022-08-12"), "2022-08-15", "off where nothing is said");

    // The notice was published on 9 August at 10:00.
    let published = stop("2022-08-12T19:00", "2022-08-15T06:00", |_| {}).notice.unwrap();
    assert_eq!(published.published_at.rfc3339(ZONE), "2022-08-09T09:00:00+08:00");
    let lead = |minutes| Conditions { notice_min_minutes: Some(minutes), ..Conditions::default() };
    let days = |count: u32| count * 24 * 60;
    for (condition, date) in [(lead(days(3)), "2022-08-15"), (lead(days(3) + 601), "2022-08-13")] {
        let window = with("2022-08-12T19:00", "2022-08-15T06:00", &condition);
        assert_eq!(moved(&window, "2022-08-13"), date, "{condition:?}");
    }
}

#[test]
fn a_stop_of_one_channel_moves_nothing_where_another_one_must_be_stopped_too() {
    let hall = Conditions { stopped_channels: vec![Channel::Hall], ..Conditions::default() };
    let mut window = stop("2022-08-12T19:00", "2022-08-15T06:00", |deadlines| {
        deadlines.only_if = hall;
    });
    assert_eq!(moved(&window, "2022-08-13"), "2022-08-15");
    for row in &mut window.policy {
        if row.cells.business.iter().any(|pattern| pattern.matches(&manual())) {
            row.cells.channel = vec![Channel::Online];
        }
    }
    window.restores[0].cells = Selector::default();
    assert_eq!(moved(&window, "2022-08-13"), "2022-08-13", "the hall is open");
}

#[test]
fn while_a_stop_lasts_a_date_that_it_may_yet_reach_is_not_final() {
    let mut window = stop("2022-08-12T22:00", "2022-08-13T01:00", |deadlines| {
        deadlines.only_if.stop_min_minutes = Some(240);
    });
    window.restores.clear();
    let ask = |now: &str| {
        let now = now.parse().unwrap();
        let answer = effective(due("2022-08-12"), &manual(), [&window], &calendar(), now).unwrap();
        (answer.date.to_string(), answer.is_final)
    };
    assert_eq!(ask("2022-08-13T01:59:59+08:00"), ("2022-08-12".to_owned(), false));
    assert_eq!(ask("2022-08-13T02:00:00+08:00"), ("2022-08-15".to_owned(), false));
}

#[test]
fn a_date_after_the_stop_goes_along_where_leapfrogging_is_off() {
    for (rule, last) in
        [(Rule::RestorePlusWorkingDays(5), "2022-08-22"), (Rule::ShiftByOutage, "2022-08-17")]
    {
        let window = |no_leapfrog| {
            stop("2022-08-12T19:00", "2022-08-15T06:00", |deadlines| {
                (deadlines.rule, deadlines.no_leapfrog) = (rule, no_leapfrog);
            })
        };
        assert_eq!(moved(&window(false), "2022-08-15"), "2022-08-15", "{rule}");
        for (original, date) in [
            ("2022-08-11", "2022-08-11"),
            ("2022-08-14", last),
            ("2022-08-15", last),
            ("2022-08-16", last),
            ("2022-08-23", "2022-08-23"),
        ] {
            assert_eq!(moved(&window(true), original), date, "{rule} {original}");
        }
        let originals = (9..=31).map(|d| format!("2022-08-{d:02}"));
        let all: Vec<String> = originals.map(|original| moved(&window(true), &original)).collect();
        assert!(all.is_sorted(), "{rule}: nobody is overtaken: {all:?}");
    }
}

/// `term` after `event`, as the calendar counts it.
fn ends(term: &str, event: &str) -> String {
    let ground = Ground { term: term.parse().unwrap(), event: day(event) };
    ground.term.ends(ground.event, &calendar()).unwrap().to_string()
}

#[test]
fn e1_forty_terms_end_where_they_were_counted_by_hand() {
    for (term, event, last) in [
        // Working days: the day of the event is not counted, make-up days are.
        ("working_days:5", "2025-03-31", "2025-04-08"),
        ("working_days:5", "2025-04-01", "2025-04-09"),
        ("working_days:5", "2025-09-26", "2025-10-10"),
        ("working_days:5", "2025-09-30", "2025-10-14"),
        ("working_days:5", "2025-10-10", "2025-10-16"),
        ("working_days:5", "2025-01-22", "2025-02-05"),
        ("working_days:5", "2026-02-12", "2026-02-26"),
        ("working_days:7", "2021-11-30", "2021-12-09"),
        ("working_days:1", "2026-02-13", "2026-02-14"),
        ("working_days:1", "2022-08-12", "2022-08-15"),
        // Days: a last day that is not worked moves to the next that is.
        ("days:1", "2022-08-11", "2022-08-12"),
        ("days:1", "2022-08-12", "2022-08-15"),
        ("days:2", "2022-08-12", "2022-08-15"),
        ("days:3", "2022-08-12", "2022-08-15"),
        ("days:60", "2022-08-01", "2022-09-30"),
        ("days:61", "2022-08-01", "2022-10-08"),
        ("days:30", "2025-09-01", "2025-10-09"),
        ("days:90", "2022-02-28", "2022-05-30"),
        ("days:365", "2024-02-29", "2025-02-28"),
        ("days:28", "2025-08-31", "2025-09-28"),
        // Months: the corresponding day, or the month's last.
        ("months:6", "2023-01-31", "2023-07-31"),
        ("months:6", "2023-08-31", "2024-02-29"),
        ("months:6", "2022-08-31", "2023-02-28"),
        ("months:1", "2022-01-31", "2022-02-28"),
        ("months:1", "2024-01-31", "2024-02-29"),
        ("months:1", "2022-07-13", "2022-08-15"),
        ("months:3", "2025-07-02", "2025-10-09"),
        ("months:12", "2024-02-29", "2025-02-28"),
        ("years:3", "2023-02-28", "2026-02-28"),
        ("years:1", "2025-05-06", "2026-05-06"),
        // The month's end.
        ("month_end", "2022-02-01", "2022-02-28"),
        ("month_end", "2024-02-10", "2024-02-29"),
        ("month_end", "2022-04-30", "2022-05-05"),
        ("month_end", "2022-12-31", "2023-01-03"),
        ("month_end", "2022-08-31", "2022-08-31"),
        // The first working days of a quarter: of this one while they last.
        ("first_working_days:5/1,4,7,10", "2025-04-01", "2025-04-08"),
        ("first_working_days:5/1,4,7,10", "2025-04-08", "2025-04-08"),
        ("first_working_days:5/1,4,7,10", "2025-04-09", "2025-07-07"),
        ("first_working_days:5/1,4,7,10", "2025-10-08", "2025-10-14"),
        ("first_working_days:5/1,4,7,10", "2025-12-20", "2026-01-08"),
        ("first_working_days:5/4", "2025-04-09", "2026-04-08"),
    ] {
        assert_eq!(ends(term, event), last, "{term} after {event}");
    }
    let beyond = Ground { term: "days:1".parse().unwrap(), event: day("2026-12-31") };
    assert_eq!(beyond.term.ends(beyond.event, &calendar()), Err(NoCalendar(2027)));
}

#[test]
fn s2_06_an_incomplete_application_is_answered_within_five_working_days_of_its_receipt() {
    for (received, latest) in
        [("2025-04-01", "2025-04-09"), ("2025-03-31", "2025-04-08"), ("2025-10-10", "2025-10-16")]
    {
        assert_eq!(ends("working_days:5", received), latest);
    }
}

#[test]
fn s2_09_those_that_passed_are_made_public_for_five_working_days() {
    // The first day is not counted (Civil Code, article 201).
    assert_eq!(ends("working_days:5", "2025-09-26"), "2025-10-10");
    assert_eq!(ends("working_days:5", "2025-01-22"), "2025-02-05");
}
