//! The alert and recording rules: what each alert says, that their names exist, that `promtool`
//! finds nothing in them, that their tests pass, and that no rule could be taken away unnoticed.
//!
//! A rule is read as text: it begins at its `- alert:` or `- record:` and ends before the next one.

use super::{asked_for, dashboards, metric, names, read, run, shipped};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One rule of `alerts.yml`.
pub(super) struct Rule {
    /// The alert's name; of a recording rule, that of its series.
    pub(super) name: String,
    pub(super) is_alert: bool,
    pub(super) expression: String,
    /// Its lines, the first being at this place of the file.
    begins: usize,
    lines: Vec<String>,
}

impl Rule {
    /// The value of a key that stands on one line.
    fn value(&self, key: &str) -> Option<&str> {
        let values = self.lines.iter().filter_map(|line| line.trim().strip_prefix(key));
        values.filter_map(|rest| rest.strip_prefix(": ")).next().map(|v| v.trim_matches('"'))
    }

    /// The labels that it gives.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let after = self.lines.iter().skip_while(|line| line.trim() != "labels:").skip(1);
        let labels = after.take_while(|line| line.starts_with("          "));
        labels
            .filter_map(|line| line.trim().split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect()
    }
}

/// Every rule.
pub(super) fn rules() -> Vec<Rule> {
    let mut found: Vec<Rule> = Vec::new();
    let mut inside = false;
    for (number, line) in read("alerts.yml").lines().enumerate() {
        let begins = [("      - alert: ", true), ("      - record: ", false)];
        let begun = begins.iter().find_map(|(begin, alert)| {
            line.strip_prefix(begin).map(|name| (name.to_owned(), *alert))
        });
        if let Some((name, is_alert)) = begun {
            inside = true;
            let (expression, lines) = (String::new(), vec![line.to_owned()]);
            found.push(Rule { name, is_alert, expression, begins: number, lines });
        } else if line.starts_with("        ") && inside {
            found.last_mut().unwrap().lines.push(line.to_owned());
        } else {
            inside = false;
        }
    }
    for rule in &mut found {
        let from = rule.lines.iter().skip_while(|line| !line.starts_with("        expr:"));
        let deeper =
            |line: &&String| line.starts_with("        expr:") || line.starts_with("          ");
        rule.expression = from.take_while(deeper).cloned().collect::<Vec<_>>().join("\n");
        assert!(!rule.expression.is_empty(), "{} has no expression", rule.name);
    }
    found
}

/// The series that recording rules make.
pub(super) fn recorded() -> BTreeSet<String> {
    rules().into_iter().filter(|rule| !rule.is_alert).map(|rule| rule.name).collect()
}

/// Alerts that a planned stop explains.
const EXPECTED_IN_WINDOW: [&str; 2] = ["HoldoverCoreSlow", "HoldoverCoreUnavailable"];

#[test]
fn every_alert_says_what_to_do_and_where_to_look() {
    let boards: BTreeSet<String> =
        dashboards::boards().into_iter().map(|(name, _)| format!("holdover-{name}")).collect();
    let mut expected = BTreeSet::new();
    let alerts: Vec<Rule> = rules().into_iter().filter(|rule| rule.is_alert).collect();
    assert!(alerts.len() > 20, "the alerts are read");
    for alert in &alerts {
        let name = alert.name.as_str();
        assert!(name.starts_with("Holdover") || name == "Watchdog", "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
        for text in ["summary", "description"] {
            assert!(alert.value(text).is_some_and(|said| said.len() > 10), "{name}: {text}");
        }
        let page = format!("{{{{ $externalLabels.holdover_docs }}}}/runbooks/{name}.md");
        assert_eq!(alert.value("runbook_url"), Some(page.as_str()), "{name}");
        let board = alert.value("dashboard_url").and_then(|url| {
            url.strip_prefix("{{ $externalLabels.grafana }}/d/").map(str::to_owned)
        });
        assert!(board.is_some_and(|uid| boards.contains(&uid)), "{name}: dashboard_url");
        let labels = alert.labels();
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: severity");
        if labels.contains_key("expected_in_window") {
            assert_eq!(labels["expected_in_window"], "true", "{name}");
            expected.insert(name);
        }
    }
    assert_eq!(expected, BTreeSet::from(EXPECTED_IN_WINDOW), "what a window explains");
}

#[test]
fn rules_name_only_what_there_is() {
    let (recorded, mut used) = (recorded(), BTreeSet::new());
    for rule in rules() {
        for (_, name) in names(&rule.expression) {
            assert!(metric(name).is_some() || recorded.contains(name), "{}: {name}", rule.name);
            used.insert(name.to_owned());
        }
    }
    assert!(recorded.is_subset(&used), "every recorded series is used by an alert");
}

const TESTS: [&str; 3] = ["alerts_test.yml", "alerts_budget_test.yml", "alerts_long_test.yml"];

#[test]
fn every_alert_has_a_test_that_fires_and_all_others_stay_quiet_in_it() {
    // Each check names everything that fires, so that each is a quiet test of all others.
    let tests: String = TESTS.iter().map(|name| read(name)).collect();
    let checks = tests.matches("expr: *firing").count() + tests.matches("expr: &firing").count();
    assert!(checks >= 20, "{checks} checks");
    for alert in rules().iter().filter(|rule| rule.is_alert && rule.name != "Watchdog") {
        let severity = &alert.labels()["severity"];
        let fires = format!("alertname=\"{}\", severity=\"{severity}\"", alert.name);
        assert!(tests.contains(&fires), "no test fires {}", alert.name);
    }
    assert!(tests.contains("exp_samples: *only_watchdog"), "some moments are quiet");
}

#[test]
fn promtool_finds_nothing() {
    if !asked_for() {
        return;
    }
    for (program, args) in [
        ("promtool", &["check", "rules", "--lint=all", "--lint-fatal", "alerts.yml"][..]),
        ("promtool", &["check", "config", "prometheus.example.yml"]),
        ("promtool", &["test", "rules", TESTS[0], TESTS[1], TESTS[2]]),
    ] {
        let (content, said) = run(program, args);
        assert!(content, "{program} {args:?}: {said}");
    }
}

/// Whether the tests pass without one rule. The long ones only where the short ones do.
fn pass_without(rule: &Rule, folder: &std::path::Path) -> bool {
    let text = read("alerts.yml");
    let taken = rule.begins..rule.begins + rule.lines.len();
    let kept = text.lines().enumerate().filter(|(number, _)| !taken.contains(number));
    let kept: Vec<&str> = kept.map(|(_, line)| line).collect();
    std::fs::write(folder.join("alerts.yml"), kept.join("\n") + "\n").unwrap();
    TESTS.iter().all(|name| {
        std::fs::copy(shipped().join(name), folder.join(name)).unwrap();
        let path = folder.join(name);
        let (passed, said) = run("promtool", &["test", "rules", path.to_str().unwrap()]);
        // The rules themselves are well formed without it; only a check may fail.
        assert!(passed || said.contains("exp"), "{}: {said}", rule.name);
        passed
    })
}

#[test]
fn no_rule_can_be_taken_away_unnoticed() {
    if !asked_for() {
        return;
    }
    let (rules, next, unnoticed) = (rules(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let folder = tempfile::tempdir().unwrap();
                while let Some(rule) = rules.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if pass_without(rule, folder.path()) {
                        unnoticed.lock().unwrap().push(rule.name.clone());
                    }
                }
            });
        }
    });
    assert_eq!(unnoticed.into_inner().unwrap(), Vec::<String>::new());
}
