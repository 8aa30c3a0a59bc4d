//! When schedules come: beside another implementation, and beside plain arithmetic on days.

use crate::service_hours::hours;
use chrono::{DateTime, Datelike, Days, NaiveDate, Weekday};
use chrono_tz::Tz;
use croner::parser::CronParser;
use holdover::domain::schedule::Recurrence;
use holdover::domain::time::{Interval, Timestamp, Zone};
use std::collections::BTreeSet;

const EXPRESSIONS: [&str; 20] = [
    "0 2 * * *",
    "30 2 * * *",
    "7 2 * * 0",
    "30 1 * * 7",
    "0 3 * * sun",
    "0 0 * * *",
    "45 23 * * 5",
    "0 22 * * mon-fri",
    "15 1,13 * * *",
    "0 */6 * * *",
    "30 0-4/2 * * 6,0",
    "0 4 1 * *",
    "30 2 8-14 * *",
    "0 2 31 * *",
    "0 12 29 2 *",
    "0 6 1,15 jan,apr,jul,oct *",
    "20 5 * 3-5 *",
    "0 2-3 * 11 0",
    "30 * * * *",
    "59 23 31 12 *",
];

const ZONES: [Tz; 4] = [
    chrono_tz::America::New_York,
    chrono_tz::Europe::Berlin,
    chrono_tz::Asia::Shanghai,
    chrono_tz::Asia::Kolkata,
];

const OCCURRENCES: usize = 1000;

/// Where the two differ, all of it: an hour that is skipped has its occurrence with us also where
/// an expression names several hours, and one that is lived twice has it once.
const DIFFER: &str = "
    15 1,13 * * * | theirs 2026-11-01T01:15:00-05:00
    30 * * * * | ours 2026-03-08T03:00:00-04:00
    30 * * * * | ours 2026-03-29T03:00:00+02:00
    30 0-4/2 * * 6,0 | ours 2026-03-08T03:00:00-04:00
    30 0-4/2 * * 6,0 | ours 2026-03-29T03:00:00+02:00
    30 0-4/2 * * 6,0 | ours 2027-03-14T03:00:00-04:00
    30 0-4/2 * * 6,0 | ours 2027-03-28T03:00:00+02:00
    30 0-4/2 * * 6,0 | ours 2028-03-12T03:00:00-04:00
    30 0-4/2 * * 6,0 | ours 2028-03-26T03:00:00+02:00
    30 0-4/2 * * 6,0 | ours 2029-03-11T03:00:00-04:00
    30 0-4/2 * * 6,0 | ours 2029-03-25T03:00:00+02:00
    30 0-4/2 * * 6,0 | theirs 2026-10-25T02:30:00+01:00
    30 0-4/2 * * 6,0 | theirs 2027-10-31T02:30:00+01:00
    30 0-4/2 * * 6,0 | theirs 2028-10-29T02:30:00+01:00
";

fn recurrence(cron: &str, days: Option<&str>, zone: Zone) -> Recurrence {
    let days = days.map(|days| days.parse().unwrap());
    Recurrence { cron: cron.parse().unwrap(), days, zone }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn the_next_thousand_of_20_expressions_in_4_zones_are_those_of_another_implementation() {
    let from = at("2026-02-20T00:00:00Z");
    let mut differ = BTreeSet::new();
    let mut compared = 0;
    for text in EXPRESSIONS {
        for zone in ZONES {
            let one = recurrence(text, None, zone);
            let ours: BTreeSet<Timestamp> = one.after(from).take(OCCURRENCES).collect();
            let last = *ours.last().unwrap();
            let cron = CronParser::builder().build().parse(text).unwrap();
            let from = DateTime::from_timestamp_millis(from.as_millis()).unwrap();
            let theirs: BTreeSet<Timestamp> = cron
                .iter_after(from.with_timezone(&zone))
                .map(|found| Timestamp::from_millis(found.timestamp_millis()))
                .take_while(|found| *found <= last)
                .collect();
            compared += ours.len();
            let only_ours = ours.difference(&theirs).map(|found| ("ours", found));
            let only_theirs = theirs.difference(&ours).map(|found| ("theirs", found));
            differ.extend(
                only_ours
                    .chain(only_theirs)
                    .map(|(whose, found)| format!("{text} | {whose} {}", found.rfc3339(zone))),
            );
        }
    }
    // What comes once a year or less often has fewer than a thousand before 2101.
    assert!(compared > 60_000, "{compared}");
    let expected: BTreeSet<String> =
        DIFFER.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    assert_eq!(differ, expected);
}

/// Days from 2026-01-05 on for which `counts` says yes.
fn days(counts: impl Fn(NaiveDate) -> bool) -> impl Iterator<Item = NaiveDate> {
    let first = NaiveDate::from_ymd_opt(2026, 1, 5).unwrap();
    first.iter_days().filter(move |&day| counts(day))
}

fn is(day: NaiveDate, weekday: Weekday) -> bool {
    day.weekday() == weekday
}

/// Whether the day a week later is in another month.
fn is_last_week(day: NaiveDate) -> bool {
    (day + Days::new(7)).month() != day.month()
}

type Rule = (&'static str, Option<&'static str>, fn(NaiveDate) -> bool, &'static [(u32, u32)]);

/// The expression, the days beside it, which days those are by another reckoning, the times of day.
const RULES: [Rule; 15] = [
    ("0 2 * * *", None, |_| true, &[(2, 0)]),
    ("30 1,13 * * *", None, |_| true, &[(1, 30), (13, 30)]),
    ("0 2 * * 0", None, |d| is(d, Weekday::Sun), &[(2, 0)]),
    ("0 2 * * 7", None, |d| is(d, Weekday::Sun), &[(2, 0)]),
    ("15 22 * * 1-5", None, |d| d.weekday().number_from_monday() <= 5, &[(22, 15)]),
    ("15 22 * * sat,sun", None, |d| d.weekday().number_from_monday() > 5, &[(22, 15)]),
    ("0 0 1 * *", None, |d| d.day() == 1, &[(0, 0)]),
    ("0 0 * * *", Some("last"), |d| (d + Days::new(1)).day() == 1, &[(0, 0)]),
    ("0 3 31 * *", None, |d| d.day() == 31, &[(3, 0)]),
    ("0 3 1,15 * *", None, |d| [1, 15].contains(&d.day()), &[(3, 0)]),
    ("0 2 * * tue", Some("8..14"), |d| is(d, Weekday::Tue) && (d.day() - 1) / 7 == 1, &[(2, 0)]),
    ("0 2 * * mon", Some("1..7"), |d| is(d, Weekday::Mon) && (d.day() - 1) / 7 == 0, &[(2, 0)]),
    ("0 2 * * 5", Some("last-6..last"), |d| is(d, Weekday::Fri) && is_last_week(d), &[(2, 0)]),
    ("*/30 4 * 1-12/3 *", None, |d| (d.month() - 1).is_multiple_of(3), &[(4, 0), (4, 30)]),
    ("0 12 28 2 *", None, |d| d.month() == 2 && d.day() == 28, &[(12, 0)]),
];

type Hours = (&'static str, fn(NaiveDate) -> bool, u32, u32);

/// Days and weekdays of service hours, which days those are, and from which hour to which.
const HOURS: [Hours; 5] = [
    ("days = '4..last'", |d| d.day() >= 4, 6, 22),
    ("weekdays = 'mon-fri'", |d| d.weekday().number_from_monday() <= 5, 9, 17),
    ("days = '10'", |d| d.day() == 10, 0, 24),
    ("days = 'last-2..last'", |d| (d + Days::new(3)).month() != d.month(), 8, 12),
    ("days = '1..7'\nweekdays = '1'", |d| is(d, Weekday::Mon) && d.day() <= 7, 8, 9),
];

#[test]
fn c3_the_next_50_of_20_rules_are_those_of_a_reckoning_by_days() {
    // No clock is changed there.
    let zone = chrono_tz::Asia::Shanghai;
    let civil = |day: NaiveDate, hour: u32, minute: u32| {
        let midnight = day.and_hms_opt(0, 0, 0).unwrap();
        let after = chrono::TimeDelta::minutes(i64::from(hour * 60 + minute));
        Timestamp::from_millis((midnight + after).and_utc().timestamp_millis() - 8 * 3_600_000)
    };
    let from = at("2026-01-04T23:59:59+08:00");
    for (cron, beside, counts, times) in RULES {
        let found: Vec<Timestamp> = recurrence(cron, beside, zone).after(from).take(50).collect();
        let expected =
            days(counts).flat_map(|day| times.iter().map(move |&(h, m)| civil(day, h, m)));
        assert_eq!(found, expected.take(50).collect::<Vec<_>>(), "{cron} {beside:?}");
    }
    for (when, counts, opens, closes) in HOURS {
        let (from_hour, until) = (format!("{opens:02}:00"), format!("{closes:02}:00"));
        let one = hours(&format!("{when}\nfrom = '{from_hour}'\nuntil = '{until}'"));
        let found: Vec<Interval> = one.openings(from).take(50).collect();
        let expected = days(counts)
            .map(|day| Interval { start: civil(day, opens, 0), end: civil(day, closes, 0) });
        assert_eq!(found, expected.take(50).collect::<Vec<_>>(), "{when}");
    }
}
