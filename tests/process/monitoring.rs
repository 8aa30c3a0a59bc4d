//! H4: what is shipped for Prometheus and Grafana, against a real daemon: one short window at
//! ordinary speed, with everything in it that a dashboard shows, Kafka included, is scraped by a
//! real Prometheus,
//! and every query of every dashboard finds something in it.
//!
//! The conventions of the files are looked at in the in-process tests. The programs are asked for
//! by `HOLDOVER_SERVERS=1`, as `tests/run` does; without it this is left out and says so.

use crate::kafka;
use crate::rig::{Client, Daemon, HOLDOVER, Site, Submitter, wait_for};
use holdover::domain::time::{Timestamp, Zone};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BOUND: Duration = Duration::from_secs(40);

/// Sure failures end soon, the agency answers no question and takes five a second.
const CONFIG: &str = r#"
[retry]
failures_max = 2

[upstream_default]
probe_interval = "1s"
probe_timeout = "1s"
answer_timeout = "2s"
settle_time = "3s"

[upstream.agency]
answers_questions = false
steady_per_second = 5
ramp_from_per_second = 5
"#;

/// Filings are held, transfers turned away, all else goes on; the day ends inside the stop.
const WINDOW: &str = r#"
restore_by = "probes"

[notice]
source = "the authority's notice of a move"
published_at = "2026-01-05T10:00:00+08:00"

[deadlines]
rule = "shift_by_outage"
clause = "2"
legal_basis = "clause 2 of the notice"
business = ["reimbursement.manual"]
restart_of = ["agency"]
# At any hour of the day: it ends after it has begun.
opens_at = "00:00:00"
day_ends_at = "@TIME@"

[[policy]]
clause = "1"
disposition = "hold"
cells = { business = ["filing.*"] }

[[policy]]
clause = "1"
disposition = "refuse"
cells = { business = ["service.account_transfer"] }

[[policy]]
clause = "not_in_notice"
disposition = "pass"
decided_because = "the notice names filings only"
cells = { business = ["settlement.*", "reimbursement.*", "service.*"] }
"#;

/// What must be 0 all the time, and must be there.
const STAYS_ZERO: [&str; 14] = [
    "holdover_ledger_imbalance_",
    "holdover_store_damaged_records",
    "holdover_audit_losses",
    "holdover_clock_jump_seconds",
    "holdover_store_read_only",
    "holdover_upstream_calls_while_closed_total",
    "holdover_store_sync_errors_total",
    "holdover_index_rebuilds_total",
    "holdover_virtual_clock",
    "holdover_kafka_delivery_failures_total",
    "holdover_kafka_intake_interruptions_total",
    "holdover_deadline_at_risk_timestamp_seconds",
    "job_instance:holdover_submissions_failed:ratio_rate5m",
    "job_instance:holdover_submissions_failed:ratio_rate1h",
];

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name)
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(now.as_millis() as i64)
}

/// A Prometheus that scrapes one daemon every second; it is killed when this goes away.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// Starts with the shipped example, but for the addresses and the pace.
    fn start(folder: &Path, target: &str) -> Self {
        let example = std::fs::read_to_string(shipped("prometheus.example.yml")).unwrap();
        let config = example
            .replace("127.0.0.1:8481", target)
            .replace(": 15s", ": 1s")
            .replace("[alerts.yml]", &format!("[{}]", shipped("alerts.yml").display()));
        // Nobody is told of anything.
        let (config, _) = config.split_once("\nalerting:").unwrap();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus was asked for: {error}"));
        let log = BufReader::new(child.stderr.take().unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut address = String::new();
            for line in log.lines().map_while(Result::ok) {
                if let Some((_, listening)) = line.split_once("msg=\"Listening on\" address=") {
                    listening.clone_into(&mut address);
                } else if line.contains("Server is ready") {
                    // The test may have given up.
                    drop(tell.send(address.clone()));
                }
            }
        });
        let address = told.recv_timeout(BOUND);
        if address.is_err() {
            child.kill().unwrap();
        }
        Self { child, address: address.unwrap() }
    }

    /// Asks its API. By HTTP/1.0, so that the answer ends where the connection does.
    fn ask(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// Every number that a query gave from `from` until now, second by second.
    fn numbers(&self, query: &str, from: Timestamp) -> Vec<f64> {
        let seconds = |at: Timestamp| at.as_millis() / 1000;
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (from, to) = (seconds(from), seconds(now()));
        let path = format!("query_range?step=1&start={from}&end={to}&query={query}");
        let series = self.ask(&path)["result"].as_array().unwrap().clone();
        let samples = series.iter().flat_map(|one| one["values"].as_array().unwrap().clone());
        samples.map(|sample| sample[1].as_str().unwrap().parse().unwrap()).collect()
    }

    fn until(&self, query: &str, from: Timestamp) {
        wait_for(query, BOUND, || {
            self.numbers(query, from).iter().any(|&n| n != 0.0).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An institution that submits.
struct Counter<'a> {
    client: Client,
    submitter: &'a Submitter,
    number: u32,
}

impl<'a> Counter<'a> {
    fn new(daemon: &Daemon, submitter: &'a Submitter) -> Self {
        Self { client: daemon.client(submitter), submitter, number: 0 }
    }

    /// Submits; the status and the id, where there is one.
    fn post(&mut self, business: &str, operation: &str, more: &Value) -> (u16, String) {
        self.number += 1;
        let mut body = json!({
            "business": business, "operation": operation, "channel": self.submitter.channel,
            "insured": format!("p-{}", self.number), "occurred_at": "2026-01-05T10:00:00+08:00",
            "payload": { "subject": self.number.to_string() },
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.send(&body)
    }

    /// Sends a body under the key of the latest number.
    fn send(&mut self, body: &Value) -> (u16, String) {
        let key = format!("{}-{}", self.submitter.code, self.number);
        let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/json")];
        let body = body.to_string();
        let answer = self.client.request("POST", "/v1/transactions", &headers, body.as_bytes());
        let answer = answer.unwrap();
        let told = answer.json();
        let id = told.pointer("/receipt/id").or_else(|| told.get("id")).and_then(Value::as_str);
        assert!(matches!(answer.status, 200 | 202 | 409), "{}", answer.text());
        (answer.status, id.unwrap_or_default().to_owned())
    }
}

/// What is 0 again in the moment between two scrapes, or happens before the first one, as long as
/// nothing is away.
const EITHER: [&str; 3] = [
    "holdover_kafka_consumer_lag_records",
    "holdover_kafka_unpublished_changes",
    "holdover_kafka_rebalances_total",
];

fn money() -> Value {
    json!({ "amount": "12.50" })
}

/// Waits until so many stand in a state.
fn until_items(daemon: &Daemon, state: &str, items: i64) {
    wait_for(&format!("{items} {state}"), BOUND, || (daemon.items(state) == items).then_some(()));
}

/// One of everything that happens on an ordinary bad day.
fn bad_day(site: &Site, daemon: &Daemon) {
    let mut hospital = Counter::new(daemon, &site.submitters[0]);
    site.core.script("settlement", &json!({ "slow_ms": 600 }));
    for _ in 0..30 {
        hospital.post("settlement.outpatient", "advice", &money());
        std::thread::sleep(Duration::from_millis(100));
    }
    let body = json!({
        "business": "settlement.outpatient", "operation": "advice", "channel": "system",
        "insured": "p-30", "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "payload": { "subject": "30" },
    });
    hospital.send(&body);
    site.core.script("settlement", &json!({ "refuse": [{ "code": "E7", "next": 1 }] }));
    hospital.post("settlement.inpatient", "advice", &money());
    until_items(daemon, "refused", 1);
    site.core.script("settlement", &json!({ "busy": { "status": 503, "probability": 1.0 } }));
    hospital.post("settlement.outpatient", "advice", &money());
    until_items(daemon, "dead_lettered", 1);
    hospital.post("settlement.out_of_area", "request", &money());
    until_items(daemon, "ticketed", 1);
    site.core.script("settlement", &json!({}));
    site.core.script("agency", &json!({ "lose_after": { "next": 1 } }));
    Counter::new(daemon, &site.submitters[3]).post("filing.out_of_area", "apply", &json!({}));
    until_items(daemon, "in_doubt", 1);
}

/// Declares a window that begins in a moment and lasts for some seconds; its planned end.
fn declare(site: &Site, daemon: &Daemon, prometheus: &Prometheus) -> Timestamp {
    let (start, end) = (now().after(Duration::from_secs(4)), now().after(Duration::from_secs(14)));
    let inside = start.after(Duration::from_secs(5)).civil(Zone::Asia__Shanghai);
    let file = site.folder().join("window.toml");
    let text = WINDOW.replace("@TIME@", &inside.format("%H:%M:%S").to_string());
    std::fs::write(&file, text).unwrap();
    let key = site.folder().join("operator.key");
    std::fs::write(&key, &site.operator).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private).unwrap();
    let declared = Command::new(HOLDOVER)
        .args(["--admin", &format!("http://{}", daemon.operators), "--key-file"])
        .arg(&key)
        .args(["window", "declare", "move", "--reason", "a move", "--file"])
        .arg(&file)
        .args(["--starts-at", &start.to_string(), "--ends-at", &end.to_string()])
        .output()
        .unwrap();
    assert!(declared.status.success(), "{}", String::from_utf8_lossy(&declared.stderr));
    let begun = now();
    prometheus.until("holdover_window_end_timestamp_seconds{which=\"next\"}", begun);
    prometheus.until("holdover_window_state{state=\"active\"}", begun);
    let mut hall = Counter::new(daemon, &site.submitters[3]);
    hall.number = 1000;
    let date = inside.date().to_string();
    let case = json!({ "business": "reimbursement.manual", "original": date, "reference": "c" });
    let told = hall.client.send("POST", "/v1/deadlines", &case).unwrap();
    assert_eq!(told.status, 201, "{}", told.text());
    assert_ne!(told.json()["effective"], json!(date), "the day ends inside: {}", told.text());
    end
}

/// The stop: things are held, turned away, taken back; the core comes back late.
fn stop(site: &Site, daemon: &Daemon, prometheus: &Prometheus) {
    let end = declare(site, daemon, prometheus);
    let from = now();
    let mut hall = Counter::new(daemon, &site.submitters[3]);
    hall.number = 2000;
    site.core.script("agency", &json!({ "probe_fails": true }));
    let (_, first) = hall.post("filing.special_disease_out_of_area", "apply", &json!({}));
    hall.post("filing.out_of_area", "apply", &json!({ "depends_on": first }));
    let held: Vec<String> =
        (0..20).map(|_| hall.post("filing.out_of_area", "apply", &json!({})).1).collect();
    let turned_away = hall.post("service.account_transfer", "request", &money());
    assert_eq!(turned_away.0, 409);
    let path = format!("/v1/transactions/{}/withdraw", held[19]);
    let taken_back = hall.client.send("POST", &path, &json!({ "reason": "a mistake" })).unwrap();
    assert_eq!(taken_back.status, 200, "{}", taken_back.text());
    prometheus.until("holdover_held_transactions > 20", from);
    assert!(now() < end, "this machine is too slow for the window");
    prometheus.until("holdover_window_end_timestamp_seconds{which=\"overrun\"}", from);
    prometheus
        .until("time() - (holdover_window_end_timestamp_seconds{which=\"overrun\"} > 0) > 1", from);
    // The first filing is refused, so that the one that depends on it needs its submitter.
    let refuse = json!([{ "business": "filing.special_disease_out_of_area", "code": "E8" }]);
    site.core.script("agency", &json!({ "refuse": refuse, "slow_ms": 200 }));
    until_items(daemon, "waiting", 0);
    until_items(daemon, "action_required", 1);
}

/// Every query of every dashboard, as Grafana would send it, and where it stands.
fn queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in ["overview", "window", "deadlines", "store", "kafka"] {
        let text = std::fs::read_to_string(shipped(&format!("{name}.json"))).unwrap();
        let board: Value = serde_json::from_str(&text).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                let query = query.replace("$job", "holdover").replace("$instance", ".+");
                let query = query.replace("$__rate_interval", "15s");
                let place = format!("{name}, {}", panel["title"].as_str().unwrap());
                found.push((place, query));
            }
        }
    }
    found
}

/// What is wrong with the numbers of a query.
fn problem(query: &str, numbers: &[f64]) -> Option<&'static str> {
    let stays_zero = STAYS_ZERO.iter().any(|name| query.contains(name));
    if numbers.is_empty() {
        Some("nothing")
    } else if EITHER.iter().any(|name| query.contains(name)) {
        None
    } else if stays_zero && numbers.iter().any(|&n| n != 0.0) {
        Some("not 0 all the time")
    } else if !stays_zero && !numbers.iter().any(|&n| n.is_finite() && n != 0.0) {
        Some("0 all the time")
    } else {
        None
    }
}

/// The scrape itself: as `promtool` wants it, and small.
fn scrape(daemon: &Daemon) {
    let page = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 3000, "{series} series");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool was asked for: {error}"));
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let found = check.wait_with_output().unwrap();
    let said = [found.stdout, found.stderr].concat();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&said));
    eprintln!("{series} series");
}

/// Prometheus evaluates every rule without a complaint, and what it says is what was written.
fn rules_work(prometheus: &Prometheus) {
    let groups = prometheus.ask("rules")["groups"].as_array().unwrap().clone();
    let rules: Vec<Value> =
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    assert!(rules.len() > 30);
    for rule in &rules {
        assert_eq!((&rule["health"], rule.get("lastError")), (&json!("ok"), None), "{rule}");
    }
    let alerts = prometheus.ask("alerts")["alerts"].to_string();
    assert!(alerts.contains("https://docs.example/holdover/runbooks/Watchdog.md"), "{alerts}");
    assert!(!alerts.contains("error expanding"), "{alerts}");
}

#[test]
fn every_dashboard_query_finds_what_a_real_window_leaves() {
    let Some(stage) = kafka::Stage::new(CONFIG) else { return };
    let site = &stage.site;
    let daemon = site.start();
    let began = now();
    let prometheus = Prometheus::start(site.folder(), &daemon.operators.to_string());
    prometheus.until("up{job=\"holdover\"}", began);
    stage.one_of_each(&daemon);
    bad_day(site, &daemon);
    stop(site, &daemon, &prometheus);
    // What has happened last has been scraped.
    let end = now();
    prometheus.until("holdover_backlog_transactions{state=\"action_required\"}", end);
    scrape(&daemon);
    rules_work(&prometheus);
    prometheus.until("ALERTS{alertname=\"HoldoverWindowActive\"}", began);
    let queries = queries();
    assert!(queries.len() > 60, "{} queries", queries.len());
    let problems: Vec<String> = queries
        .iter()
        .filter_map(|(place, query)| {
            let found = problem(query, &prometheus.numbers(query, began))?;
            Some(format!("{place}: {found}: {query}"))
        })
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    assert_eq!(daemon.look("/admin/v1/ledger")["balanced"], true);
    eprintln!("{} queries in {:?}", queries.len(), now().since(began));
}

/// The value of a series of `/metrics`.
fn value(daemon: &Daemon, series: &str) -> f64 {
    let page = Client::new(daemon.operators, None).get("/metrics").unwrap().text();
    let line = page.lines().find(|line| line.starts_with(&format!("{series} ")));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

#[test]
fn a_start_says_whether_the_stop_before_was_in_good_order_and_what_it_cut_off() {
    let cut_off = "holdover_doubts_total{upstream=\"settlement\",reason=\"restart\"}";
    let state = |daemon: &Daemon| (value(daemon, "holdover_start_clean"), value(daemon, cut_off));
    let site = Site::new("");
    let daemon = site.start();
    assert_eq!(state(&daemon), (1.0, 0.0), "nothing was before");
    site.core.script("settlement", &json!({ "slow_ms": 900 }));
    Counter::new(&daemon, &site.submitters[0]).post("settlement.outpatient", "advice", &money());
    until_items(&daemon, "in_flight", 1);
    daemon.kill();
    site.core.script("settlement", &json!({}));
    let daemon = site.start();
    assert_eq!(state(&daemon), (0.0, 1.0));
    assert!(value(&daemon, "holdover_start_timestamp_seconds") > 1_600_000_000.0);
    daemon.settle(BOUND);
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    assert_eq!(state(&site.start()), (1.0, 0.0));
}

#[test]
fn a_query_without_data_is_noticed() {
    let sound = ("holdover_dead_letters", [0.0, f64::NAN, 1.0]);
    assert_eq!(problem(sound.0, &sound.1), None);
    assert_eq!(problem("holdover_dead_letters", &[]), Some("nothing"));
    let idle = [0.0, f64::NAN, f64::INFINITY];
    assert_eq!(problem("holdover_dead_letters", &idle), Some("0 all the time"));
    assert_eq!(problem("holdover_audit_losses", &[0.0]), None);
    assert_eq!(problem("holdover_audit_losses", &[0.0, 1.0]), Some("not 0 all the time"));
    assert_eq!(problem("holdover_audit_losses", &[]), Some("nothing"));
}
