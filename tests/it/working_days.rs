//! The working days that come with the program: beside another calendar, day by day; the papers
//! they rest on; and the mistakes of a file of them. What the command line says of them is here too.

use chrono::Datelike;
use holdover::cli::Exit;
use holdover::config::{self, Problem, Severity};
use holdover::domain::calendar::{Calendar, is_weekend};
use holdover::domain::time::{CivilDate, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn built_in() -> Calendar {
    config::built_in_calendar().unwrap()
}

fn day(text: &str) -> CivilDate {
    text.parse().unwrap()
}

fn days_of(year: i32) -> impl Iterator<Item = CivilDate> {
    let first = CivilDate::from_ymd_opt(year, 1, 1).unwrap();
    first.iter_days().take_while(move |day| day.year() == year)
}

/// Every day of the years that are known, by a calendar that others keep. `None` where nobody asked
/// for what has to be installed.
fn by_another_calendar() -> Option<BTreeMap<CivilDate, bool>> {
    let asked = std::env::var("HOLDOVER_SERVERS").is_ok_and(|value| value == "1");
    if !asked {
        eprintln!("left out: HOLDOVER_SERVERS=1 asks for Python and its package chinesecalendar");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = Command::new("python3").args(["-c", "import venv, ensurepip"]).output();
    if !python.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: there is no Python 3 here to ask another calendar");
        return None;
    }
    let output = Command::new(root.join("tests/calendar/days")).args(["2019", "2026"]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tests/calendar/days: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let (date, word) = line.split_once(' ').unwrap();
        assert!(matches!(word, "worked" | "free"), "{line}");
        (day(date), word == "worked")
    };
    Some(lines.lines().map(read).collect())
}

#[test]
fn e3_every_day_from_2019_to_2026_is_that_of_a_calendar_that_others_keep() {
    let Some(theirs) = by_another_calendar() else { return };
    let ours = built_in();
    let days: Vec<CivilDate> = (2019..=2026).flat_map(days_of).collect();
    assert_eq!(days.len(), 2922);
    let differ =
        days.iter().filter(|day| ours.is_working_day(**day).ok() != theirs.get(day).copied());
    assert_eq!(differ.collect::<Vec<_>>(), Vec::<&CivilDate>::new());
    // Of the year before the first the papers name a few days.
    assert_eq!(theirs.len(), days.len());
}

#[test]
fn the_working_days_of_2019_to_2026_count_as_published() {
    let calendar = built_in();
    assert_eq!(calendar.years, (2019..=2026).collect::<Vec<_>>());
    for (from, n, to) in [
        ("2025-03-31", 5, "2025-04-08"),
        ("2025-04-01", 5, "2025-04-09"),
        ("2025-09-26", 5, "2025-10-10"),
        ("2025-09-30", 5, "2025-10-14"),
        ("2025-10-10", 5, "2025-10-16"),
        ("2025-01-22", 5, "2025-02-05"),
        ("2026-02-12", 5, "2026-02-26"),
        ("2021-11-30", 7, "2021-12-09"),
        // The first day off of 2023 lies in 2022, and that of 2024 in 2023.
        ("2022-12-30", 1, "2023-01-03"),
        ("2023-12-29", 1, "2024-01-02"),
        // A stop from 2020-12-28 to 2021-01-01.
        ("2020-12-31", 1, "2021-01-04"),
        // The Spring Festival that was prolonged, and the days of May that were added.
        ("2020-01-23", 1, "2020-02-03"),
        ("2019-04-30", 1, "2019-05-05"),
    ] {
        assert_eq!(calendar.nth_working_day_after(day(from), n), Ok(day(to)), "{from} + {n}");
    }
    for (text, worked) in [
        ("2025-01-26", true),
        ("2025-02-08", true),
        ("2025-10-11", true),
        ("2026-01-04", true),
        ("2026-02-28", true),
        ("2026-09-20", true),
        ("2022-12-31", false),
        ("2023-01-02", false),
        ("2024-02-09", true),
        ("2020-02-01", false),
        ("2019-05-01", false),
        ("2019-04-28", true),
    ] {
        assert_eq!(calendar.is_working_day(day(text)), Ok(worked), "{text}");
    }
    // 250 working days in most years; the count would show a range that slipped.
    let worked = |year| days_of(year).filter(|&d| calendar.is_working_day(d) == Ok(true)).count();
    assert_eq!(
        (2019..=2026).map(worked).collect::<Vec<_>>(),
        [250, 249, 250, 249, 249, 251, 248, 248]
    );
    assert!(calendar.is_working_day(day("2027-01-04")).is_err());
    assert!(calendar.is_working_day(day("2018-12-31")).is_err(), "a few days are no year");
}

#[test]
fn every_exception_knows_its_paper_and_is_one() {
    let calendar = built_in();
    for (date, exception) in &calendar.exceptions {
        let paper = &exception.paper;
        assert!(calendar.papers.contains(paper), "{date}");
        let years = [date.year(), date.year() + 1];
        assert!(years.contains(&paper.year), "{date}: {}", paper.document);
        assert!(paper.published < *date, "{date}: known only afterwards");
        assert!(paper.document.starts_with("国办发明电〔"), "{}", paper.document);
        // A holiday may fall on a weekend; what is worked on a working day is none.
        assert!(!exception.is_worked || is_weekend(*date), "{date}");
    }
    let of = |text: &str| calendar.exceptions[&day(text)].paper.document.as_str();
    assert_eq!(of("2020-01-30"), "国办发明电〔2019〕16号");
    assert_eq!(of("2020-02-01"), "国办发明电〔2020〕1号");
    assert_eq!(of("2019-05-01"), "国办发明电〔2019〕3号");
    assert_eq!(of("2022-12-31"), "国办发明电〔2022〕16号");
    assert_eq!(calendar.papers.len(), 10);
}

fn report(text: &str) -> String {
    let problems = config::parse_calendar("x.toml", text).unwrap_err();
    assert!(problems.iter().all(|problem| problem.severity == Severity::Error));
    problems.iter().map(|problem: &Problem| format!("{problem}\n")).collect()
}

#[test]
fn a_calendar_tells_its_own_mistakes() {
    let text = "version = \"x\"\n[[paper]]\nyear = 2030\ndocument = \"d\"\n\
                published = \"2029-11-01\"\nholidays = [\"2030-01-01..2029-12-01\", \"soon\"]\n\
                workdays = [\"2030-01-05\", \"2030-01-05\"]\ncolour = 1\n";
    assert_eq!(report(text).lines().count(), 4, "{}", report(text));
    let paper = |year: i32, document: &str, amends: &str, days: &str| {
        format!(
            "[[paper]]\nyear = {year}\ndocument = \"{document}\"\npublished = \"2029-11-01\"\n\
             {amends}\nholidays = [{days}]\nworkdays = []\n"
        )
    };
    let with = |papers: &[String]| format!("version = \"x\"\n{}", papers.concat());
    let first = paper(2030, "one", "", "\"2030-01-01\"");
    for (papers, says) in [
        (vec![], "paper: there is none"),
        (vec![first.clone(), paper(2032, "b", "", "")], "there is none for 2031, between others"),
        (vec![first.clone(), paper(2030, "b", "", "")], "name the one that it changes as amends"),
        (vec![first.clone(), paper(2030, "b", "amends = \"two\"", "")], "has this number"),
        (vec![first.clone(), paper(2031, "b", "amends = \"one\"", "")], "no paper for 2031"),
        (vec![first.clone(), paper(2031, "b", "", "\"2030-01-01\"")], "is named twice"),
    ] {
        let said = report(&with(&papers));
        assert!(said.contains(says), "{said} does not say {says}");
    }
    let amended =
        with(&[first, paper(2030, "b", "amends = \"one\"", "\"2030-01-01..2030-01-02\"")]);
    let calendar = config::parse_calendar("x.toml", &amended).unwrap();
    assert_eq!(calendar.exceptions[&day("2030-01-01")].paper.document, "b");
}

#[test]
fn check_config_warns_from_december_on_and_names_the_file() {
    let base = include_str!("../fixtures/config/base.toml");
    let config = config::parse(&[("base", base)]).unwrap();
    let lack = |now: &str| {
        let now: Timestamp = now.parse().unwrap();
        config::calendar_lack(&config, now).map(|problem| {
            assert_eq!(problem.severity, Severity::Warning);
            problem.to_string()
        })
    };
    assert_eq!(lack("2026-11-30T23:59:59+08:00"), None);
    let told = lack("2026-12-01T00:00:00+08:00").unwrap();
    assert!(told.contains("no working days for 2027: copy config/calendars/cn.toml"), "{told}");
    assert!(lack("2027-01-01T00:00:00+08:00").unwrap().contains("for 2027"));
}

fn holdover(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdover"));
    let Output { status, stdout, stderr } = command.arg("calendar").args(args).output().unwrap();
    let [out, said] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code().unwrap(), out, said)
}

#[test]
fn the_command_shows_the_days_with_their_papers_and_says_what_is_missing() {
    let (code, out, said) = holdover(&["show", "2020"]);
    assert_eq!((code, said.as_str()), (0, "config/calendars/cn.toml, version cn-2026.2\n"));
    let line = "2020-01-31 Fri  2020-02-02 Sun  holiday  国办发明电〔2020〕1号   2020-01-27";
    assert!(out.lines().any(|known| known == line), "{out}");
    let (_, whole, _) = holdover(&["show", "--json"]);
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(whole["days"].as_array().unwrap().len(), built_in().exceptions.len());
    assert_eq!(whole["papers"][1]["amends"], "国办发明电〔2018〕15号");
    assert_eq!(holdover(&["show", "2030"]).0, Exit::NotReady as i32);

    for (today, code) in
        [("2026-11-30", 0), ("2026-12-01", 5), ("2027-02-01", 5), ("2018-06-01", 5)]
    {
        let (ended, out, said) = holdover(&["check", "--today", today]);
        assert_eq!(ended, code, "{today}: {out}{said}");
        assert_eq!(out.starts_with("good: working days are known for 2019 to 2026"), code == 0);
        assert_eq!(said.contains("what to do: copy config/calendars/cn.toml"), code == 5, "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ours.toml");
    let year = "[[paper]]\nyear = 2027\ndocument = \"a test\"\npublished = \"2026-11-20\"\n\
                holidays = [\"2027-01-01\"]\nworkdays = []\n";
    std::fs::write(&file, format!("{}{year}", config::CALENDAR)).unwrap();
    let name = file.to_str().unwrap();
    assert_eq!(holdover(&["check", "--file", name, "--today", "2026-12-01"]).0, 0);
    let (code, _, said) = holdover(&["check", "--file", name, "--today", "2027-12-01"]);
    assert_eq!(code, 5);
    assert!(said.contains(&format!("add a [[paper]] for 2028 to {name}")), "{said}");
    assert_eq!(holdover(&["check", "--file", "no-such-file"]).0, 3);
    let base = include_str!("../fixtures/config/base.toml");
    let config = folder.path().join("holdover.toml");
    std::fs::write(&config, format!("{base}\n[calendar]\nfile = \"{name}\"\n")).unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(holdover(&["check", "--config", config, "--today", "2026-12-01"]).0, 0);
}
