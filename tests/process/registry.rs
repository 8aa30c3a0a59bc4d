//! Cases without a transaction, imported from files.

use crate::rig::{Daemon, HOLDOVER, Site};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Exit code and summary of an import.
fn import(site: &Site, daemon: &Daemon, file: &Path, more: &[&str]) -> (i32, Value, String) {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, site.operator.as_bytes()).unwrap();
    let output = Command::new(HOLDOVER)
        .args(["--admin", &format!("http://{}", daemon.operators), "--json", "--key-file"])
        .arg(key)
        .args(["deadline", "import", "--reason", "cases on paper"])
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), summary, said)
}

fn numbers(summary: &Value) -> [u64; 4] {
    ["rows", "registered", "known_before", "wrong"].map(|name| summary[name].as_u64().unwrap())
}

const HEAD: &str = "institution,business,original,reference\n";
/// As many as a city's agencies would hand in; a thousandth of them is wrong.
const ROWS: u32 = 100_000;

fn line(text: &mut String, number: u32) {
    let day = number % 28 + 1;
    match number % 1000 {
        // A person's number in the wrong column is never repeated.
        17 => writeln!(text, "110101199001010015,reimbursement.manual,2022-09-{day:02},c{number}"),
        _ => writeln!(text, "H11010100001,reimbursement.manual,2022-09-{day:02},c{number}"),
    }
    .unwrap();
}

#[test]
fn a06_a_table_that_was_cut_off_is_imported_once_more_and_nothing_is_registered_twice() {
    let site = Site::new("");
    let daemon = site.start();
    let (cut, whole) = (site.folder().join("cut.csv"), site.folder().join("whole.csv"));
    let mut text = HEAD.to_owned();
    (0..ROWS * 6 / 10).for_each(|number| line(&mut text, number));
    std::fs::write(&cut, &text).unwrap();
    (ROWS * 6 / 10..ROWS).for_each(|number| line(&mut text, number));
    std::fs::write(&whole, &text).unwrap();

    let (code, summary, said) = import(&site, &daemon, &cut, &[]);
    assert_eq!((code, numbers(&summary)), (5, [60_000, 59_940, 0, 60]), "{said}");
    let results = site.folder().join("results.csv");
    let more = ["--results", results.to_str().unwrap()];
    let (code, summary, said) = import(&site, &daemon, &whole, &more);
    assert_eq!((code, numbers(&summary)), (5, [100_000, 39_960, 59_940, 100]), "{said}");
    let mistake = &summary["mistakes"][0];
    assert_eq!((&mistake["row"], &mistake["field"]), (&19.into(), &"institution".into()));
    let all = std::fs::read_to_string(&results).unwrap();
    assert_eq!(all.lines().count(), 100_001);
    let wrong: Vec<&str> = all.lines().filter(|line| line.contains(",institution,")).collect();
    assert_eq!(wrong.len(), 100, "each row that is wrong");
    assert!(wrong.iter().all(|line| !line.ends_with(',')), "each says why: {}", wrong[0]);
    for text in [&all, &said, &summary.to_string(), &daemon.said()] {
        assert!(!text.contains("110101199001010015"), "what a row says is repeated");
    }
    let (_, summary, said) = import(&site, &daemon, &whole, &[]);
    assert_eq!(numbers(&summary), [100_000, 0, 99_900, 100]);
    assert!(!said.contains("already"), "a hundred rows are wrong: {said}");
}

#[test]
fn a_sheet_is_imported_like_a_table_and_a_second_time_it_is_known() {
    let site = Site::new("");
    let daemon = site.start();
    let sheet = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases.xlsx");
    let (code, summary, said) = import(&site, &daemon, &sheet, &[]);
    assert_eq!((code, numbers(&summary)), (5, [3, 2, 0, 1]), "{said}");
    assert!(!summary.to_string().contains("11010119"), "{summary}");
    let known = daemon.look("/admin/v1/deadlines");
    assert_eq!(known["items"][0]["original"], "2022-08-13", "a cell that holds a date: {known}");
    assert_eq!(known["items"][0]["owed_by"], "applicant");

    let table = site.folder().join("two.csv");
    std::fs::write(&table, format!("{HEAD}H11010100001,reimbursement.manual,2022-08-14,case 2\n"))
        .unwrap();
    let (code, summary, said) = import(&site, &daemon, &table, &[]);
    assert_eq!((code, numbers(&summary)), (0, [1, 0, 1, 0]));
    assert!(said.contains("this file was imported already"), "{said}");

    for (name, text, expected) in [
        ("head.csv", "business,original\n", "the first row must name the columns"),
        ("empty.csv", "", "the first row must name the columns"),
        ("latin.csv", "institution,business,original,reference\nH\u{e9}", "expected"),
        ("no.xlsx", "no sheet", "expected .csv, .xlsx, .xls or .ods"),
    ] {
        let file = site.folder().join(name);
        std::fs::write(&file, text).unwrap();
        let (code, _, said) = import(&site, &daemon, &file, &[]);
        if name != "latin.csv" {
            assert_eq!(code, 2, "{name}: {said}");
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}
