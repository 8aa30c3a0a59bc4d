//! The conventions of the dashboards: one data source, job and instance in every query, a title, a
//! description and a unit on every panel, counters only inside rates, names that exist.

use super::{metric, names, rules, shipped};
use holdover::telemetry::metrics::Kind;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Each dashboard with the name of its file.
pub(super) fn boards() -> Vec<(String, Value)> {
    let files = std::fs::read_dir(shipped()).unwrap().map(|entry| entry.unwrap().path());
    let boards = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut found: Vec<(String, Value)> = boards
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Every query of a dashboard.
pub(super) fn queries(board: &Value) -> Vec<String> {
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Units of Grafana that are in use.
const UNITS: &[&str] =
    &["none", "short", "s", "bytes", "percentunit", "ops", "reqps", "dateTimeAsIso"];

fn board_problems(name: &str, board: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{name}: {what}"));
        }
    };
    must(board["uid"] == format!("holdover-{name}"), "the uid is that of the file");
    must(board["editable"] == false, "is not edited where it is shown");
    must(board["schemaVersion"].is_u64(), "has a schemaVersion");
    must(board.get("id").is_none(), "has no id, which is an installation's own");
    must(has_text(board, "title") && has_text(board, "description"), "title and description");
    let variables = board["templating"]["list"].as_array().cloned().unwrap_or_default();
    let variable = |wanted: &str| variables.iter().find(|v| v["name"] == wanted);
    must(variable("datasource").is_some_and(|v| v["type"] == "datasource"), "a data source");
    for (wanted, query) in [
        ("job", "label_values(holdover_build_info, job)"),
        ("instance", "label_values(holdover_build_info{job=~\"$job\"}, instance)"),
    ] {
        let holds = variable(wanted).is_some_and(|v| v["query"] == query && v["refresh"] == 2);
        must(holds, &format!("the variable {wanted}, read anew when the time range changes"));
    }
    let panels = board["panels"].as_array().cloned().unwrap_or_default();
    must(!panels.is_empty(), "has panels");
    problems.extend(overlapping(&panels).into_iter().map(|what| format!("{name}: {what}")));
    problems.extend(panels.iter().flat_map(|panel| panel_problems(name, panel)));
    problems
}

fn has_text(value: &Value, key: &str) -> bool {
    value[key].as_str().is_some_and(|text| !text.trim().is_empty())
}

/// Panels that lie on one another or beside the page.
fn overlapping(panels: &[Value]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut problems = Vec::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(99);
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        let mut cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        if x + w > 24 || !cells.all(|cell| taken.insert(cell)) {
            problems.push(format!("{} has no place of its own", panel["title"]));
        }
    }
    problems
}

fn panel_problems(board: &str, panel: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let title = panel["title"].as_str().unwrap_or_default();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            problems.push(format!("{board}, {title}: {what}"));
        }
    };
    must(has_text(panel, "title") && has_text(panel, "description"), "title and description");
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    must(panel["datasource"] == source, "the data source is the variable");
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
    must(UNITS.contains(&unit), "a unit that Grafana has");
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    must(!targets.is_empty(), "has a query");
    for target in &targets {
        must(target["datasource"] == source, "each query's data source is the variable");
        must(has_text(target, "legendFormat"), "each query has a legend");
    }
    for target in &targets {
        let query = target["expr"].as_str().unwrap_or_default();
        problems.extend(query_problems(query).iter().map(|p| format!("{board}, {title}: {p}")));
    }
    problems
}

/// What is wrong with a query of a dashboard.
fn query_problems(query: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let recorded = rules::recorded();
    let found = names(query);
    if found.is_empty() {
        problems.push(format!("names no metric: {query}"));
    }
    for (at, name) in found {
        let known = metric(name);
        if known.is_none() && !recorded.contains(name) {
            problems.push(format!("there is no {name}"));
        }
        let after = &query[at + name.len()..];
        let selector = after.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let (matchers, after) = selector.unwrap_or_default();
        for wanted in ["job=~\"$job\"", "instance=~\"$instance\""] {
            if !matchers.contains(wanted) {
                problems.push(format!("{name} without {wanted}"));
            }
        }
        let before = &query[..at];
        let rated = before.ends_with("rate(") || before.ends_with("increase(");
        if rated != after.starts_with("[$__rate_interval]") {
            problems.push(format!("{name}: rates go over $__rate_interval, and nothing else does"));
        }
        let counts = known.is_some_and(|m| m.kind != Kind::Gauge);
        if counts != rated {
            problems.push(format!("{name}: a counter is read as a rate, and a gauge is not"));
        }
    }
    problems
}

#[test]
fn dashboards_keep_the_conventions() {
    let boards = boards();
    let names: Vec<&str> = boards.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["deadlines", "kafka", "overview", "store", "window"]);
    let problems: Vec<String> =
        boards.iter().flat_map(|(name, board)| board_problems(name, board)).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_conventions_can_be_broken() {
    let (name, sound) = boards().remove(0);
    let breaks: [(&str, &str, Value); 10] = [
        ("/uid", "uid", json!("another")),
        ("/editable", "edited", json!(true)),
        ("/schemaVersion", "schemaVersion", json!(null)),
        ("/templating/list/1/refresh", "variable job", json!(1)),
        ("/panels/0/description", "description", json!(" ")),
        ("/panels/0/datasource/uid", "data source", json!("abc")),
        ("/panels/0/fieldConfig/defaults/unit", "unit", json!("parsecs")),
        ("/panels/0/targets", "query", json!([])),
        ("/panels/0/gridPos/x", "place of its own", json!(23)),
        ("/panels/0/targets/0/expr", "names no metric", json!("vector(1)")),
    ];
    for (place, what, value) in breaks {
        let mut board = sound.clone();
        *board.pointer_mut(place).unwrap() = value;
        let problems = board_problems(&name, &board);
        assert!(problems.iter().any(|p| p.contains(what)), "{place}: {problems:?}");
    }
    let both = "job=~\"$job\", instance=~\"$instance\"";
    for (query, what) in [
        (format!("holdover_nothing{{{both}}}"), "there is no holdover_nothing"),
        ("holdover_gates{job=~\"$job\"}".to_owned(), "without instance"),
        (format!("holdover_accepted_total{{{both}}}"), "read as a rate"),
        (format!("rate(holdover_accepted_total{{{both}}}[5m])"), "$__rate_interval"),
        (format!("rate(holdover_gates{{{both}}}[$__rate_interval])"), "a gauge is not"),
    ] {
        let problems = query_problems(&query);
        assert!(problems.iter().any(|p| p.contains(what)), "{query}: {problems:?}");
    }
    let good = format!("sum (rate(holdover_accepted_total{{{both}}}[$__rate_interval]))");
    assert_eq!(query_problems(&good), Vec::<String>::new());
}
