//! What is shipped for Prometheus, Alertmanager and Grafana in the folder `dashboards`: read here
//! as text and JSON, and held to the metrics that there are.
//!
//! `dashboards` looks at the dashboards, `rules` at the alerts and at what `promtool` says of them,
//! `inhibition` asks a real Alertmanager. Whether a real daemon's numbers fill the dashboards is
//! for the process tests.

mod dashboards;
mod inhibition;
mod rules;

use holdover::telemetry::metrics::{CATALOGUE, Kind, Metric};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder.
fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped().join(name)).unwrap()
}

/// Whether the programs of Prometheus and Alertmanager were asked for, as `tests/run` does. A test
/// that needs them says so where it is left out; where they were asked for, a missing one fails.
fn asked_for() -> bool {
    let asked = std::env::var("HOLDOVER_SERVERS").is_ok_and(|value| value == "1");
    if !asked {
        eprintln!("left out: HOLDOVER_SERVERS=1 asks for promtool, amtool and their servers");
    }
    asked
}

/// Runs a program in the folder and says whether it was content, and what it wrote.
fn run(program: &str, args: &[&str]) -> (bool, String) {
    let command = Command::new(program).args(args).current_dir(shipped()).output();
    let output = command.unwrap_or_else(|error| panic!("{program} was asked for: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The metric that a name in a query stands for; a histogram has three names.
pub(crate) fn metric(name: &str) -> Option<&'static Metric> {
    let by_name = |name: &str| CATALOGUE.iter().find(|metric| metric.name == name);
    by_name(name).or_else(|| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))?;
        by_name(base).filter(|metric| matches!(metric.kind, Kind::Histogram(_)))
    })
}

/// The names in a query that a metric or a recording rule of ours could have, each with its place.
pub(crate) fn names(query: &str) -> Vec<(usize, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = query[at..].find(part).map(|next| at + next) {
        at = query[begin..].find(|c| !part(c)).map_or(query.len(), |length| begin + length);
        let name = &query[begin..at];
        if name.starts_with("holdover_") || name.starts_with("job_instance:") {
            found.push((begin, name));
        }
    }
    found
}

/// The name of every alert.
pub(crate) fn alert_names() -> BTreeSet<String> {
    rules::rules().into_iter().filter(|rule| rule.is_alert).map(|rule| rule.name).collect()
}

/// The series that recording rules make.
pub(crate) fn recorded() -> BTreeSet<String> {
    rules::recorded()
}

/// The metrics that a query names.
fn metrics_of(query: &str) -> BTreeSet<&'static str> {
    names(query).into_iter().filter_map(|(_, name)| metric(name)).map(|m| m.name).collect()
}

/// Metrics that no dashboard and no alert uses, and why they are exposed all the same.
const FOR_THE_ASKING: &[(&str, &str)] = &[
    ("holdover_attachments_bytes", "what of the data folder's size is files, for who clears it up"),
    ("holdover_attachments_files", "how near attachments.files_max is"),
    (
        "holdover_config_last_reload_success_timestamp_seconds",
        "when what is in force was read, for who compares it with the files",
    ),
    ("holdover_http_request_duration_seconds", "per route: looked at when one route is slow"),
    ("holdover_results_untold", "a duty of days, which the status names: it wakes nobody at night"),
    ("holdover_webhook_calls_total", "tells a refusing receiver from one that is away"),
    ("holdover_webhook_disabled", "the status says it by name, and the alert fires all the same"),
    ("holdover_webhook_waiting_announcements", "how many; the alert goes by how long"),
];

#[test]
fn every_metric_is_used_or_listed_as_for_the_asking() {
    let mut used = BTreeSet::new();
    for (_, board) in dashboards::boards() {
        used.extend(dashboards::queries(&board).iter().flat_map(|query| metrics_of(query)));
    }
    used.extend(rules::rules().iter().flat_map(|rule| metrics_of(&rule.expression)));
    let unused: BTreeSet<&str> =
        CATALOGUE.iter().map(|metric| metric.name).filter(|name| !used.contains(name)).collect();
    let listed: BTreeSet<&str> = FOR_THE_ASKING.iter().map(|(name, _)| *name).collect();
    assert_eq!(unused, listed);
}
