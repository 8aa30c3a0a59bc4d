//! What a planned stop keeps quiet: a real Alertmanager with the shipped configuration is given
//! every alert that there is, and asked which of them it inhibits.

use super::rules::rules;
use super::{asked_for, run, shipped};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that Alertmanager may take for anything.
const BOUND: Duration = Duration::from_secs(30);

/// An Alertmanager that runs; it is killed when this goes away.
struct Alertmanager {
    child: Child,
    url: String,
    /// Where it keeps its state.
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("prometheus-alertmanager")
            .arg("--config.file=alertmanager.example.yml")
            .arg(format!("--storage.path={}", folder.path().display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="])
            .current_dir(shipped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus-alertmanager was asked for: {error}"));
        let (tell, told) = std::sync::mpsc::channel();
        let log = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") else {
                    continue;
                };
                // The test may have given up.
                drop(tell.send(address.to_owned()));
            }
        });
        let address = told.recv_timeout(BOUND);
        if address.is_err() {
            child.kill().unwrap();
        }
        Self { child, url: format!("http://{}", address.unwrap()), _folder: folder }
    }

    fn ask(&self, args: &[&str]) -> String {
        let url = format!("--alertmanager.url={}", self.url);
        let (content, said) = run("amtool", &[&[url.as_str()], args].concat());
        assert!(content, "{args:?}: {said}");
        said
    }

    fn add(&self, name: &str, labels: &[String], end: Option<&str>) {
        let named = format!("alertname={name}");
        let end = end.map(|end| format!("--end={end}"));
        let mut args = vec!["alert", "add", &named];
        args.extend(labels.iter().map(String::as_str));
        args.extend(end.as_deref());
        self.ask(&args);
    }

    /// Name, instance and upstream of the alerts that are in one condition.
    fn alerts(&self, condition: &str) -> BTreeSet<[String; 3]> {
        let said = self.ask(&["alert", "query", condition, "-o", "json"]);
        let alerts: Vec<Value> = serde_json::from_str(&said).unwrap();
        let label = |alert: &Value, name: &str| alert["labels"][name].as_str().unwrap().to_owned();
        alerts.iter().map(|a| ["alertname", "instance", "upstream"].map(|l| label(a, l))).collect()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_active_window_keeps_the_expected_quiet_and_nothing_else() {
    if !asked_for() {
        return;
    }
    let manager = Alertmanager::start();
    let mut expected = BTreeSet::new();
    for alert in rules().into_iter().filter(|rule| rule.is_alert) {
        let labels = alert.labels();
        let is_expected = labels.contains_key("expected_in_window");
        // One daemon has an active window for one of two upstreams, the other has none.
        let places = [("stopped", "agency"), ("stopped", "settlement"), ("working", "agency")];
        for (place, (instance, upstream)) in places.into_iter().enumerate() {
            if alert.name == "HoldoverWindowActive" && place > 0 {
                continue;
            }
            let mut all: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            all.extend(["job=holdover".to_owned(), format!("instance={instance}")]);
            all.push(format!("upstream={upstream}"));
            manager.add(&alert.name, &all, None);
            if is_expected && place == 0 {
                expected.insert([&alert.name, instance, upstream].map(str::to_owned));
            }
        }
    }
    assert!(!expected.is_empty());
    assert_eq!(manager.alerts("--inhibited"), expected);
    let active = manager.alerts("--active");
    for told in ["HoldoverDeadlineAtRisk agency", "HoldoverCoreUnavailable settlement"] {
        let (name, upstream) = told.split_once(' ').unwrap();
        assert!(active.contains(&[name, "stopped", upstream].map(str::to_owned)), "{active:?}");
    }
    assert!(active.is_disjoint(&expected), "{active:?}");

    // When the window is over, everything is told.
    let over = ["severity=info", "job=holdover", "instance=stopped", "upstream=agency"];
    let over = over.map(str::to_owned);
    manager.add("HoldoverWindowActive", &over, Some("2022-08-15T06:00:00+08:00"));
    let began = Instant::now();
    while !manager.alerts("--inhibited").is_empty() {
        assert!(began.elapsed() < BOUND, "still inhibited");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn each_alert_goes_to_its_receiver() {
    if !asked_for() {
        return;
    }
    let (content, said) = run("amtool", &["check-config", "alertmanager.example.yml"]);
    assert!(content, "{said}");
    for (alert, receiver) in [
        (&["alertname=Watchdog", "severity=info"][..], "deadman"),
        (&["alertname=HoldoverLedgerImbalance", "severity=critical"], "pager"),
        (&["alertname=HoldoverInDoubt", "severity=warning"], "duty"),
        (&["alertname=HoldoverWindowActive", "severity=info"], "nobody"),
    ] {
        let verify = format!("--verify.receivers={receiver}");
        let test =
            ["config", "routes", "test", "--config.file=alertmanager.example.yml", verify.as_str()];
        let (content, said) = run("amtool", &[&test[..], alert].concat());
        assert!(content, "{alert:?}: {said}");
    }
}
