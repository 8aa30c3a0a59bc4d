//! SIGHUP: a good configuration takes effect, a bad one or one that needs a restart changes nothing
//! and is told with its keys.

use crate::rig::{Daemon, HOLDOVER, Site, signal, wait_for};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// Filings are taken at no time of a day that comes: closed from now on.
const CLOSED: &str = r#"
[retry]
first = "20ms"

[institutions]
requests_per_second = 1
burst_requests = 1

[log]
level = "debug"

[service_hours.filings]
days = "1"
from = "03:00"
until = "03:01"
outside = "hold"
clause = "1"
reason = "a test"
[service_hours.filings.cells]
business = ["filing.*"]
"#;

/// The lines of the log that name `code`.
fn told(daemon: &Daemon, code: &str) -> Vec<Value> {
    let said = daemon.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["code"] == code).collect()
}

fn metric(daemon: &Daemon, name: &str) -> f64 {
    let text = daemon.admin().get("/metrics").unwrap().text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const SUCCESSFUL: &str = "holdover_config_last_reload_successful";
const AT: &str = "holdover_config_last_reload_success_timestamp_seconds";

/// Writes what is laid over the site's configuration, and reloads it.
fn reload(site: &Site, daemon: &Daemon, config: &str) {
    std::fs::write(site.folder().join("extra.toml"), config).unwrap();
    signal(daemon.pid(), "-HUP");
}

fn configuration(daemon: &Daemon) -> Value {
    daemon.look("/admin/v1/configuration")
}

/// What `check-config --difference` prints.
fn difference(site: &Site, daemon: &Daemon) -> (String, String) {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, site.operator.as_bytes()).unwrap();
    let mut command = Command::new(HOLDOVER);
    command.args(["--admin", &format!("http://{}", daemon.operators), "--key-file"]).arg(key);
    command.args(["check-config", "--difference"]);
    command.args(["holdover.toml", "extra.toml"].map(|name| site.folder().join(name)));
    let output = command.output().unwrap();
    let [out, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    let refused = said.contains("a reload would be refused");
    assert_eq!(output.status.code(), Some(if refused { 5 } else { 0 }), "{out}{said}");
    (out, said)
}

fn policy(site: &Site, daemon: &Daemon) -> String {
    let path = "/v1/policy?business=filing.out_of_area&operation=apply&channel=hall";
    let answer = daemon.client(&site.submitters[3]).get(path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["disposition"].as_str().unwrap().to_owned()
}

#[test]
fn what_can_change_takes_effect_and_is_told_key_by_key() {
    let site = Site::new("");
    let daemon = site.start();
    assert_eq!((metric(&daemon, SUCCESSFUL), policy(&site, &daemon).as_str()), (1.0, "pass"));
    let began = metric(&daemon, AT);
    assert!(began > 1.0e9);
    std::fs::write(site.folder().join("extra.toml"), CLOSED).unwrap();
    let (out, said) = difference(&site, &daemon);
    assert!(out.contains("retry.first: \"10ms\" -> \"20ms\" (reload)\n"), "{out}");
    assert!(out.contains("service_hours.filings.clause: none -> \"1\" (reload)\n"), "{out}");
    assert!(said.contains("a reload brings all of it"), "{said}");

    reload(&site, &daemon, CLOSED);
    wait_for("the reload", BOUND, || (metric(&daemon, AT) > began).then_some(()));
    assert_eq!(policy(&site, &daemon), "hold");
    assert_eq!(configuration(&daemon)["effective"]["retry"]["first"], "20ms");
    assert_eq!(difference(&site, &daemon).0, "");
    let said = daemon.said();
    assert!(said.contains("\"key\":\"retry.first\""), "{said}");
    wait_for("a line of the new level", BOUND, || daemon.said().contains("DEBUG").then_some(()));
    let mut hall = daemon.client(&site.submitters[3]);
    let headers = [("Idempotency-Key", "none"), ("Content-Type", "application/json")];
    let asks =
        (0..20).map(|_| hall.request("POST", "/v1/transactions", &headers, b"{}").unwrap().status);
    assert!(asks.filter(|&status| status == 429).count() > 10, "the new quota counts");

    // And back.
    let closed = metric(&daemon, AT);
    reload(&site, &daemon, "");
    wait_for("the reload", BOUND, || (metric(&daemon, AT) > closed).then_some(()));
    assert_eq!(policy(&site, &daemon), "pass");
}

#[test]
fn what_is_wrong_or_needs_a_restart_changes_nothing_and_is_told_with_its_keys() {
    let site = Site::new("");
    let daemon = site.start();
    let before = configuration(&daemon);
    let began = metric(&daemon, AT);
    let wrong = format!("{CLOSED}\n[upstream_default]\nbad_needed = 0\nprobes = 3\n");
    reload(&site, &daemon, &wrong);
    wait_for("the refusal", BOUND, || (metric(&daemon, SUCCESSFUL) == 0.0).then_some(()));
    let keys = |lines: &[Value]| -> Vec<String> {
        lines.iter().filter_map(|line| Some(line["key"].as_str()?.to_owned())).collect()
    };
    let lines = told(&daemon, "config_refused");
    let told_keys = keys(&lines);
    assert!(told_keys.iter().any(|key| key.ends_with("bad_needed")), "{lines:?}");
    assert!(told_keys.iter().any(|key| key.ends_with("probes")), "{lines:?}");
    let shown = configuration(&daemon);
    assert_eq!(shown["effective"], before["effective"]);
    assert_eq!(policy(&site, &daemon), "pass", "nothing is half in force");
    assert_eq!(metric(&daemon, AT), began);
    assert!(shown["problems"].as_array().unwrap().len() >= 2, "{shown}");
    let needs = &daemon.look("/admin/v1/status")["needs"];
    assert!(needs.to_string().contains("config_refused"), "{needs}");

    reload(&site, &daemon, "");
    wait_for("the correction", BOUND, || (metric(&daemon, SUCCESSFUL) == 1.0).then_some(()));
    assert_eq!(configuration(&daemon).get("refused_at"), None);

    let restart =
        format!("{CLOSED}\n[upstream.agency]\nconcurrency = 3\n[listen]\ngrace = \"9s\"\n");
    reload(&site, &daemon, &restart);
    wait_for("the second refusal", BOUND, || (metric(&daemon, SUCCESSFUL) == 0.0).then_some(()));
    let told_keys = keys(&told(&daemon, "config_refused")[lines.len()..]);
    assert_eq!(told_keys, ["listen.grace", "upstream.agency.concurrency"]);
    assert_eq!(policy(&site, &daemon), "pass", "nothing is half in force");
    let (out, said) = difference(&site, &daemon);
    assert!(out.contains("upstream.agency.concurrency: none -> 3 (restart)\n"), "{out}");
    assert!(said.contains("a reload would be refused"), "{said}");
    assert_eq!(daemon.items("waiting"), json!(0));
}
