//! Deadlines: the table of the notice of August 2022, and what must hold for any stops at all.

use chrono::NaiveTime;
use holdover::config;
use holdover::domain::calendar::{Calendar, NoCalendar};
use holdover::domain::cell::Selector;
use holdover::domain::deadline::{Computed, Rule, effective, is_inside};
use holdover::domain::ids::Business;
use holdover::domain::policy::Disposition;
use holdover::domain::term::Deadline;
use holdover::domain::time::{CivilDate, Interval, Timestamp};
use holdover::domain::window::{Act, Proof, Window};
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;

const END: &str = "2022-08-15T06:00:00+08:00";
const FIRST: Rule = Rule::FirstFullWorkingDay;
const PLUS_5: Rule = Rule::RestorePlusWorkingDays(5);
const SHIFT: Rule = Rule::ShiftByOutage;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

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

/// The window of the notice with another rule.
fn window(rule: Rule) -> Window {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/beijing-2022-08.toml");
    let mut window = config::load(&[&file]).unwrap().windows.remove(0);
    window.deadlines.as_mut().unwrap().rule = rule;
    window
}

fn act(cells: Selector, when: &str) -> Act {
    Act {
        cells,
        at: at(when),
        ready_from: None,
        by: "duty officer".to_owned(),
        proof: Proof::Signed,
        reason: "the upgrade is finished".to_owned(),
    }
}

fn agency() -> Selector {
    Selector { upstream: vec!["agency".parse().unwrap()], ..Selector::default() }
}

fn computed(window: &Window, original: &str, now: &str) -> Computed {
    effective(day(original).into(), &manual(), [window], &calendar(), at(now)).unwrap()
}

/// Asks for `original` long after the agency path was restored at `restored`.
fn moved(mut window: Window, restored: &str, original: &str) -> String {
    window.restores.push(act(agency(), restored));
    let answer = computed(&window, original, "2022-12-01T00:00:00+08:00");
    assert!(answer.is_final, "{original}: everything is over");
    answer.date.to_string()
}

/// One row of the table: the three rules, each with its date.
fn row(restored: &str, original: &str, closes_at: Option<&str>, dates: [&str; 3]) {
    for (rule, date) in [FIRST, PLUS_5, SHIFT].into_iter().zip(dates) {
        let mut window = window(rule);
        let rule_of = window.deadlines.as_mut().unwrap();
        rule_of.day_ends_at = closes_at.map(|text| text.parse::<NaiveTime>().unwrap());
        assert_eq!(moved(window, restored, original), date, "{rule:?}");
    }
}

#[test]
fn s1_12_1_a_deadline_before_the_stop_stays() {
    row(END, "2022-08-11", None, ["2022-08-11", "2022-08-11", "2022-08-11"]);
}

#[test]
fn s1_12_2_the_day_of_the_stop_ends_at_24_00_and_so_lies_inside() {
    row(END, "2022-08-12", None, ["2022-08-15", "2022-08-22", "2022-08-15"]);
}

#[test]
fn s1_12_3_where_a_cited_rule_closes_at_17_00_the_day_of_the_stop_lies_outside() {
    row(END, "2022-08-12", Some("17:00:00"), ["2022-08-12", "2022-08-12", "2022-08-12"]);
}

#[test]
fn s1_12_4_the_saturday_inside_moves() {
    row(END, "2022-08-13", None, ["2022-08-15", "2022-08-22", "2022-08-16"]);
}

#[test]
fn s1_12_5_the_sunday_inside_moves() {
    row(END, "2022-08-14", None, ["2022-08-15", "2022-08-22", "2022-08-17"]);
}

#[test]
fn s1_12_6_the_day_of_the_restart_ends_after_it_and_stays() {
    row(END, "2022-08-15", None, ["2022-08-15", "2022-08-15", "2022-08-15"]);
}

#[test]
fn s1_12_7_a_restart_that_slips_to_07_10_changes_no_date() {
    row(
        "2022-08-15T07:10:00+08:00",
        "2022-08-14",
        None,
        ["2022-08-15", "2022-08-22", "2022-08-17"],
    );
}

#[test]
fn s1_12_8_a_restart_that_slips_by_a_day_takes_the_next_day_in() {
    row(
        "2022-08-16T10:00:00+08:00",
        "2022-08-15",
        None,
        ["2022-08-17", "2022-08-23", "2022-08-19"],
    );
}

#[test]
fn s1_12_9_an_early_restart_takes_back_nothing_that_was_published() {
    row(
        "2022-08-14T20:00:00+08:00",
        "2022-08-14",
        None,
        ["2022-08-15", "2022-08-22", "2022-08-17"],
    );
}

#[test]
fn s1_11_the_rule_moves_only_what_it_names_and_says_on_what_it_rests() {
    let mut stop = window(FIRST);
    stop.restores.push(act(agency(), "2022-08-15T07:10:00+08:00"));
    let answer = computed(&stop, "2022-08-13", "2022-08-16T00:00:00+08:00");
    let [only] = answer.moves.as_slice() else { panic!("{:?}", answer.moves) };
    assert_eq!((only.from, only.to), (due("2022-08-13"), due("2022-08-15")));
    assert_eq!((only.clause.as_str(), only.rule), ("(三)3", FIRST));
    assert_eq!((only.window.as_str(), only.version), ("beijing-2022-08", 1));
    assert_eq!(only.calendar, "cn-2026.2");
    let other = "filing.out_of_area".parse().unwrap();
    let stays = effective(day("2022-08-13").into(), &other, [&stop], &calendar(), at(END)).unwrap();
    assert_eq!((stays.date, stays.moves.len()), (due("2022-08-13"), 0));
    let stays = computed(&window(Rule::None), "2022-08-13", END);
    assert_eq!((stays.date, stays.is_final), (due("2022-08-13"), true));
}

#[test]
fn a_date_told_before_the_restart_is_not_final_and_only_grows() {
    let mut stop = window(FIRST);
    let mut last = due("2022-08-14");
    for (now, date) in [
        ("2022-08-10T00:00:00+08:00", "2022-08-15"),
        ("2022-08-13T10:00:00+08:00", "2022-08-15"),
        ("2022-08-15T07:00:00+08:00", "2022-08-15"),
        ("2022-08-15T09:00:00+08:00", "2022-08-15"),
        ("2022-08-15T09:00:01+08:00", "2022-08-16"),
        ("2022-08-19T12:00:00+08:00", "2022-08-22"),
    ] {
        let answer = computed(&stop, "2022-08-14", now);
        assert_eq!(answer.date, due(date), "{now}");
        assert!(!answer.is_final && answer.date >= last, "{now}");
        last = answer.date;
    }
    // A later date is not final either: the stop may still reach it. An earlier one is.
    assert!(!computed(&stop, "2022-08-20", "2022-08-13T10:00:00+08:00").is_final);
    assert!(computed(&stop, "2022-08-11", "2022-08-13T10:00:00+08:00").is_final);
    // Restored before the published end: final when that has passed.
    stop.restores.push(act(agency(), "2022-08-14T20:00:00+08:00"));
    assert!(!computed(&stop, "2022-08-14", "2022-08-15T05:59:59+08:00").is_final);
    assert!(computed(&stop, "2022-08-14", END).is_final);
}

#[test]
fn only_a_restore_of_the_businesss_own_part_of_the_core_ends_its_stop() {
    let late = "2022-08-16T12:00:00+08:00";
    let district = || Selector { district: vec!["110105".parse().unwrap()], ..agency() };
    let business = |name: &str| Selector {
        business: vec![name.to_owned().try_into().unwrap()],
        ..Selector::default()
    };
    let portal = Selector { upstream: vec!["portal".parse().unwrap()], ..Selector::default() };
    for (cells, ends) in [
        (portal, false),
        (district(), false),
        (business("filing.*"), false),
        (agency(), true),
        (business("reimbursement.manual"), true),
        (business("reimbursement.*"), true),
        (Selector::default(), true),
    ] {
        let mut stop = window(FIRST);
        stop.restores.push(act(cells.clone(), "2022-08-15T07:00:00+08:00"));
        let answer = computed(&stop, "2022-08-14", late);
        assert_eq!(answer.is_final, ends, "{cells:?}");
        assert_eq!(answer.date, due(if ends { "2022-08-15" } else { "2022-08-17" }), "{cells:?}");
    }
    // An act from before the stop proves nothing.
    let mut stop = window(FIRST);
    stop.restores.push(act(agency(), "2022-08-12T08:00:00+08:00"));
    assert!(!computed(&stop, "2022-08-14", late).is_final);
}

#[test]
fn cancelling_takes_back_nothing_that_was_published() {
    let mut stop = window(FIRST);
    stop.cancelled_at = Some(at("2022-08-11T00:00:00+08:00"));
    let answer = computed(&stop, "2022-08-14", "2022-08-11T00:00:00+08:00");
    assert_eq!((answer.date, answer.is_final), (due("2022-08-15"), true));
}

#[test]
fn an_extended_window_counts_with_its_published_end_and_a_shortened_one_too() {
    let mut stop = window(FIRST);
    stop.planned.end = at("2022-08-17T06:00:00+08:00");
    stop.published.end = stop.planned.end;
    assert_eq!(computed(&stop, "2022-08-15", END).date, due("2022-08-17"));
    stop.planned.end = at("2022-08-14T06:00:00+08:00");
    assert_eq!(computed(&stop, "2022-08-15", END).date, due("2022-08-17"));
}

#[test]
fn a_business_that_stops_longer_than_its_window_counts_with_its_own_stretch() {
    let mut stop = window(FIRST);
    for row in &mut stop.policy {
        if row.cells.business.iter().any(|p| p.matches(&manual())) {
            row.starts_at = Some(at("2022-08-11T12:00:00+08:00"));
            row.ends_at = Some(at("2022-08-16T06:00:00+08:00"));
        }
    }
    assert_eq!(computed(&stop, "2022-08-11", END).date, due("2022-08-16"));
    assert_eq!(computed(&stop, "2022-08-15", END).date, due("2022-08-16"));
}

#[test]
fn a_date_moved_into_another_stop_moves_again() {
    let mut first = window(FIRST);
    first.restores.push(act(agency(), END));
    let mut second = window(PLUS_5);
    second.id = "second".parse().unwrap();
    second.planned =
        Interval::new(at("2022-08-15T20:00:00+08:00"), at("2022-08-17T06:00:00+08:00")).unwrap();
    second.published = second.planned;
    second.restores.push(act(agency(), "2022-08-17T06:00:00+08:00"));
    for order in [[&first, &second], [&second, &first]] {
        let now = at("2022-09-01T00:00:00+08:00");
        let answer =
            effective(day("2022-08-13").into(), &manual(), order, &calendar(), now).unwrap();
        let steps: Vec<String> =
            answer.moves.iter().map(|m| format!("{} {} {}", m.window, m.from, m.to)).collect();
        assert_eq!(
            steps,
            ["beijing-2022-08 2022-08-13 2022-08-15", "second 2022-08-15 2022-08-24"]
        );
        assert!(answer.is_final);
    }
}

#[test]
fn holidays_and_make_up_days_count_for_the_new_date() {
    let mut stop = window(FIRST);
    let planned =
        Interval::new(at("2022-09-29T19:00:00+08:00"), at("2022-10-01T06:00:00+08:00")).unwrap();
    (stop.planned, stop.published) = (planned, planned);
    assert_eq!(moved(stop.clone(), "2022-10-01T06:00:00+08:00", "2022-09-30"), "2022-10-08");
    stop.deadlines.as_mut().unwrap().rule = Rule::RestorePlusWorkingDays(3);
    assert_eq!(moved(stop, "2022-10-01T06:00:00+08:00", "2022-09-30"), "2022-10-10");
}

#[test]
fn a_year_without_working_days_is_an_error_and_never_a_guess() {
    let mut stop = window(FIRST);
    let planned =
        Interval::new(at("2026-12-31T19:00:00+08:00"), at("2027-01-02T06:00:00+08:00")).unwrap();
    (stop.planned, stop.published) = (planned, planned);
    let now = at("2026-12-31T20:00:00+08:00");
    let answer = effective(day("2026-12-31").into(), &manual(), [&stop], &calendar(), now);
    assert_eq!(answer, Err(NoCalendar(2027)));
    for rule in [SHIFT, Rule::RestorePlusDays(1), Rule::FixedDate(day("2027-01-31"))] {
        stop.deadlines.as_mut().unwrap().rule = rule;
        let answer = effective(day("2026-12-31").into(), &manual(), [&stop], &calendar(), now);
        match rule {
            // A day that is named stands as it is.
            Rule::FixedDate(fixed) => assert_eq!(answer.unwrap().date, fixed.into()),
            _ => assert_eq!(answer, Err(NoCalendar(2027)), "{rule}"),
        }
    }
}

#[test]
fn a_shift_that_ends_at_midnight_stays_on_the_day_that_ends_there() {
    let mut stop = window(SHIFT);
    let planned =
        Interval::new(at("2022-08-09T12:00:00+08:00"), at("2022-08-10T12:00:00+08:00")).unwrap();
    (stop.planned, stop.published) = (planned, planned);
    assert_eq!(moved(stop, "2022-08-10T12:00:00+08:00", "2022-08-09"), "2022-08-10");
}

#[test]
fn a_day_lies_inside_when_its_last_usable_instant_does() {
    let zone = chrono_tz::Asia::Shanghai;
    let stop = Interval::new(at("2022-08-12T19:00:00+08:00"), at(END)).unwrap();
    let close = |text: &str| Some(text.parse::<NaiveTime>().unwrap());
    for (date, closes_at, inside) in [
        ("2022-08-11", None, false),
        ("2022-08-12", None, true),
        ("2022-08-12", close("19:00:00"), false),
        ("2022-08-12", close("19:00:01"), true),
        ("2022-08-14", None, true),
        ("2022-08-15", None, false),
        ("2022-08-15", close("06:00:00"), true),
        ("2022-08-15", close("06:00:01"), false),
    ] {
        assert_eq!(
            is_inside(day(date).into(), &stop, zone, closes_at),
            inside,
            "{date} {closes_at:?}"
        );
    }
}

/// A window around `start` (hours after 2022-08-01) of so many hours, restarted so many hours
/// after its end, if it was.
fn any_window() -> impl Strategy<Value = (Rule, u32, u32, Option<i32>)> {
    let rule =
        prop_oneof![Just(FIRST), (1u32..9).prop_map(Rule::RestorePlusWorkingDays), Just(SHIFT)];
    (rule, 0u32..700, 1u32..120, proptest::option::of(-20i32..100))
}

fn build(
    base: &Window,
    index: usize,
    (rule, start, length, restart): (Rule, u32, u32, Option<i32>),
) -> Window {
    let hours = |n: u32| Duration::from_secs(3600 * u64::from(n));
    let mut window = base.clone();
    window.id = format!("w{index}").parse().unwrap();
    window.deadlines.as_mut().unwrap().rule = rule;
    let start = at("2022-08-01T00:00:00+08:00").after(hours(start));
    let end = start.after(hours(length));
    window.planned = Interval::new(start, end).unwrap();
    window.published = window.planned;
    if let Some(offset) = restart {
        let restored = if offset < 0 {
            end.before(hours(offset.unsigned_abs()))
        } else {
            end.after(hours(offset.unsigned_abs()))
        };
        let mut proof = act(agency(), END);
        proof.at = restored.max(start);
        window.restores.push(proof);
    }
    window
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_date_never_moves_back_leaves_every_stop_and_more_windows_never_shorten_it(
        stops in proptest::collection::vec(any_window(), 1..5),
        original in 0u64..40,
        now in 0u32..1200,
    ) {
        let base = base_window();
        let windows: Vec<Window> =
            stops.into_iter().enumerate().map(|(i, stop)| build(base, i, stop)).collect();
        let original = day("2022-07-28") + chrono::Days::new(original);
        let now = at("2022-08-01T00:00:00+08:00")
            .after(Duration::from_secs(3600 * u64::from(now)));
        let ask = |windows: &[Window], now| {
            effective(original.into(), &manual(), windows, base_calendar(), now).unwrap()
        };
        let answer = ask(&windows, now);
        let original = Deadline::Day(original);
        prop_assert!(answer.date >= original);
        for window in &windows {
            let rule = window.deadlines.as_ref().unwrap();
            let stop = window.stop_of(&rule.restart_of, &manual(), now);
            prop_assert!(!is_inside(answer.date, &stop.interval, window.zone, None));
        }
        let mut from = original;
        for step in &answer.moves {
            prop_assert!(step.from == from && step.to > from);
            from = step.to;
        }
        prop_assert_eq!(from, answer.date);
        // Order does not matter, less says less, and time only adds.
        let mut reversed = windows.clone();
        reversed.reverse();
        prop_assert_eq!(ask(&reversed, now).date, answer.date);
        prop_assert!(ask(&windows[1..], now).date <= answer.date);
        let later = ask(&windows, now.after(Duration::from_secs(3600 * 30)));
        if answer.is_final {
            prop_assert_eq!(later.date, answer.date);
        }
        // Asking again for the date that came out changes nothing.
        let again = effective(answer.date, &manual(), &windows, base_calendar(), now).unwrap();
        prop_assert_eq!(again.date, answer.date);
    }
}

fn base_window() -> &'static Window {
    static BASE: std::sync::OnceLock<Window> = std::sync::OnceLock::new();
    BASE.get_or_init(|| window(FIRST))
}

fn base_calendar() -> &'static Calendar {
    static BASE: std::sync::OnceLock<Calendar> = std::sync::OnceLock::new();
    BASE.get_or_init(calendar)
}

#[test]
fn the_rows_that_stop_manual_reimbursement_are_those_of_the_third_clause() {
    let stop = window(FIRST);
    let clauses: Vec<&str> = stop
        .policy
        .iter()
        .filter(|row| row.cells.business.iter().any(|p| p.matches(&manual())))
        .filter(|row| row.disposition != Some(Disposition::Pass))
        .map(|row| row.clause.as_str())
        .collect();
    assert_eq!(clauses, ["(三)1", "(三)2", "not_in_notice", "not_in_notice"]);
}

/// `HOLDOVER_WAITING` sets how many wait; the time that the step takes is printed, not judged.
#[test]
fn however_many_wait_they_are_extended_by_one_event_for_each_date_in_the_step_of_the_extension() {
    use crate::engine_scenarios::{Bench, window};
    use crate::engine_support::{cell, settings, submission};
    use holdover::domain::policy::Disposition;
    use holdover::engine::change::Change;
    use holdover::engine::event::{Command, Event, ReplyTo, Submission};
    use holdover::engine::step::Decision;

    let waiting: u128 =
        std::env::var("HOLDOVER_WAITING").map_or(50_000, |text| text.parse().unwrap());
    let mut settings = settings();
    settings.limits.open_transactions_max = usize::MAX;
    let mut bench = Bench::with(settings, "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-13T10:00:00+08:00");
    for number in 0..waiting {
        let day = format!("2022-08-{}", 13 + number % 5).parse().unwrap();
        let one = Submission {
            deadline: Some(day),
            ..submission(cell("b", "filing.one"), number, number)
        };
        let now = bench.reads();
        let event = Event::Submit(ReplyTo(0), Box::new(one));
        bench.machine.step(now, event, &mut Decision::default());
    }
    let mut decided = Decision::default();
    let (by, reason) = ("operator".to_owned(), "it takes longer".to_owned());
    let command = Command::MoveWindowEnd {
        window: "stop".parse().unwrap(),
        row: None,
        ends_at: "2022-08-17T12:00:00+08:00".parse().unwrap(),
        if_version: None,
    };
    let order = Box::new(holdover::engine::event::Order { by, reason, command });
    let began = std::time::Instant::now();
    let now = bench.reads();
    bench.machine.step(now, Event::Order(ReplyTo(1), order), &mut decided);
    let took = began.elapsed();
    let told = decided.changes.iter().filter(|(_, c)| matches!(c, Change::DeadlineTold { .. }));
    let set = decided.changes.iter().filter(|(_, c)| matches!(c, Change::WindowSet(_)));
    let counted = (told.count(), set.count(), decided.changes.len());
    eprintln!("{waiting} waiting: {counted:?} changes in {took:?}");
    // The thirteenth and fourteenth once more, the fifteenth and sixteenth for the first time.
    assert_eq!(counted, (4, 1, 5));
}
