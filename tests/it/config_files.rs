//! Configuration files: the shipped ones are good, and each kind of mistake is told.

use holdover::config::{self, Problem, Severity};
use holdover::domain::time::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn the_shipped_files_have_no_problem() {
    for file in ["config/beijing-2022-08.toml", "config/production.example.toml"] {
        match config::load(&[&root().join(file)]) {
            Ok(config) => assert_eq!(report(&config::check(&config)), "", "{file}"),
            Err(problems) => panic!("{file}:\n{}", report(&problems)),
        }
    }
}

#[test]
fn the_businesses_of_the_portal_are_good_beside_the_addresses_of_a_core() {
    let files = ["tests/fixtures/config/base.toml", "config/beijing-portal.toml"];
    let config = config::load(&files.map(|file| root().join(file)).each_ref().map(AsRef::as_ref));
    let config = config.unwrap_or_else(|problems| panic!("{}", report(&problems)));
    assert_eq!(report(&config::check(&config)), "");
}

#[test]
fn the_example_of_what_recurs_is_good_and_shows_what_comes_in_local_time_and_utc() {
    let files = ["tests/fixtures/config/base.toml", "config/recurring.example.toml"];
    let config = config::load(&files.map(|file| root().join(file)).each_ref().map(AsRef::as_ref));
    let config = config.unwrap_or_else(|problems| panic!("{}", report(&problems)));
    assert_eq!(report(&config::check(&config)), "");
    let now: Timestamp = "2026-01-03T15:30:00Z".parse().unwrap();
    let shown = config::render(&config, now);
    let expected = "\
# recurring weekly: 0 2 * * sun, days 8..14 (Asia/Shanghai), 2h each
#   closes 2026-01-11T02:00:00+08:00 (2026-01-10T18:00:00Z)
#   opens  2026-01-11T04:00:00+08:00 (2026-01-10T20:00:00Z) once proved
#   closes 2026-02-08T02:00:00+08:00 (2026-02-07T18:00:00Z)
#   opens  2026-02-08T04:00:00+08:00 (2026-02-07T20:00:00Z) once proved
#   closes 2026-03-08T02:00:00+08:00 (2026-03-07T18:00:00Z)
#   opens  2026-03-08T04:00:00+08:00 (2026-03-07T20:00:00Z) once proved
# service hours online-services: closed now
#   opens  2026-01-04T06:00:00+08:00 (2026-01-03T22:00:00Z)
#   closes 2026-01-04T22:00:00+08:00 (2026-01-04T14:00:00Z)
#   opens  2026-01-05T06:00:00+08:00 (2026-01-04T22:00:00Z)
#   closes 2026-01-05T22:00:00+08:00 (2026-01-05T14:00:00Z)
#   opens  2026-01-06T06:00:00+08:00 (2026-01-05T22:00:00Z)
#   closes 2026-01-06T22:00:00+08:00 (2026-01-06T14:00:00Z)
# service hours transfers: closed now
#   opens  2026-01-04T09:00:00+08:00 (2026-01-04T01:00:00Z)
#   closes 2026-01-04T17:00:00+08:00 (2026-01-04T09:00:00Z)
#   opens  2026-01-05T09:00:00+08:00 (2026-01-05T01:00:00Z)
#   closes 2026-01-05T17:00:00+08:00 (2026-01-05T09:00:00Z)
#   opens  2026-01-06T09:00:00+08:00 (2026-01-06T01:00:00Z)
#   closes 2026-01-06T17:00:00+08:00 (2026-01-06T09:00:00Z)
";
    assert!(shown.starts_with(expected), "{}", &shown[..expected.len()]);
    // The last openings of the last year that is known.
    let now: Timestamp = "2026-10-12T18:00:00+08:00".parse().unwrap();
    let last = "# service hours transfers: closed now\n\
                #   opens  2026-10-13T09:00:00+08:00 (2026-10-13T01:00:00Z)\n\
                #   closes 2026-10-13T17:00:00+08:00 (2026-10-13T09:00:00Z)\n\
                #   then unknown: the calendar has no data for 2027; add the year to the calendar \
                file\n";
    assert!(config::render(&config, now).contains(last), "{}", config::render(&config, now));
}

#[test]
fn the_defaults_lack_nothing_but_the_addresses() {
    let problems = config::parse(&[]).unwrap_err();
    assert_eq!(
        report(&problems),
        "error: upstream.agency.base_url: is missing\n\
         error: upstream.portal.base_url: is missing\n\
         error: upstream.settlement.base_url: is missing\n"
    );
}

/// Each file under `bad/` holds one mistake (one of them several). It is laid over a good file:
/// the stop of August 2022 where its name begins with `window`, the example of what recurs where it
/// begins with `recurring` or `hours`, else the least there can be.
/// `UPDATE_EXPECTED=1` writes the reports anew.
#[test]
fn every_mistake_is_reported_with_its_place_and_what_is_allowed() {
    let folder = root().join("tests/fixtures/config/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 40, "only {} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
        let mut below = read("tests/fixtures/config/base.toml");
        if name.starts_with("window") {
            below = read("config/beijing-2022-08.toml");
        } else if name.starts_with("recurring") || name.starts_with("hours") {
            below += &read("config/recurring.example.toml");
        }
        let text = fs::read_to_string(file).unwrap();
        let given = match config::parse(&[("below", &below), ("bad.toml", &text)]) {
            Ok(_) => "no problem\n".to_owned(),
            Err(problems) => report(&problems),
        };
        let expected = file.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &given).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if given != expected || given == "no problem\n" {
            wrong.push(format!("{name}\n--- given\n{given}--- expected\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn s1_15_a_late_publication_is_a_warning_and_forbids_nothing() {
    let shipped = fs::read_to_string(root().join("config/beijing-2022-08.toml")).unwrap();
    let late = "window.beijing-2022-08.notice.published_at = \"2022-08-13T09:00:00+08:00\"";
    let config = config::parse(&[("shipped", &shipped), ("late", late)]).unwrap();
    let problems = config::check(&config);
    assert_eq!(problems.len(), 1, "{}", report(&problems));
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(problems[0].key, "window.beijing-2022-08.notice.published_at");
}

#[test]
fn a_file_is_laid_over_the_defaults_key_by_key() {
    let base = fs::read_to_string(root().join("tests/fixtures/config/base.toml")).unwrap();
    let plain = config::parse(&[("base", &base)]).unwrap();
    let over = "upstream_default.concurrency = 7\n\
                upstream.agency.concurrency = 9\n\
                retry.longest = \"2m\"\n\
                catalogue.line.\"service.online.request\".live_limit = \"1s\"";
    let config = config::parse(&[("base", &base), ("over", over)]).unwrap();
    let concurrency: Vec<(&str, u32)> =
        config.upstreams.iter().map(|(name, u)| (name.as_str(), u.concurrency)).collect();
    assert_eq!(concurrency, [("agency", 9), ("portal", 7), ("settlement", 7)]);
    assert_eq!(config.retry.longest, Duration::from_secs(120));
    assert_eq!(config.retry.first, plain.retry.first);
    assert_eq!(config.catalogue.lines.len(), plain.catalogue.lines.len());
    let changed: Vec<String> = config
        .catalogue
        .lines
        .iter()
        .zip(&plain.catalogue.lines)
        .filter(|(now, before)| now != before)
        .map(|(now, _)| now.name())
        .collect();
    assert_eq!(changed, ["service.online.request"]);
}

#[test]
fn paths_of_key_files_are_joined_to_the_data_folder_unless_they_are_absolute() {
    let base = fs::read_to_string(root().join("tests/fixtures/config/base.toml")).unwrap();
    let over = "data.folder = \"/srv/holdover\"\ndata.master_key_file = \"/etc/holdover/key\"";
    let config = config::parse(&[("base", &base), ("over", over)]).unwrap();
    assert_eq!(config.data.api_keys_file, Path::new("/srv/holdover/api-keys.json"));
    assert_eq!(config.data.master_key_file, Path::new("/etc/holdover/key"));
}

#[test]
fn what_is_shown_names_the_next_windows_in_both_zones_and_can_be_read_again() {
    let config = config::load(&[&root().join("config/beijing-2022-08.toml")]).unwrap();
    let before: Timestamp = "2022-08-10T00:00:00Z".parse().unwrap();
    let shown = config::render(&config, before);
    assert!(
        shown.starts_with(
            "# window beijing-2022-08\n\
             #   closes 2022-08-12T19:00:00+08:00 (2022-08-12T11:00:00Z)\n\
             #   opens  2022-08-15T06:00:00+08:00 (2022-08-14T22:00:00Z) once proved\n"
        ),
        "{}",
        &shown[..300]
    );
    let again = config::parse(&[("shown", &shown)]).unwrap();
    assert_eq!(config::render(&again, before), shown);
    let after: Timestamp = "2022-09-01T00:00:00Z".parse().unwrap();
    assert!(config::render(&config, after).starts_with("# no window is planned\n"));
}
