//! The metrics of this process: the golden list of names, zeros at the start, true histograms,
//! and what each event does to the numbers and says in the log.

use holdover::domain::cell::{Cell, Channel, Class, Operation};
use holdover::domain::deadline::{Extension, Rule};
use holdover::domain::gate::{GateState, HealthPhase, Turn};
use holdover::domain::ids::{AttemptNo, Business, InstitutionCode, Seq, UpstreamName};
use holdover::domain::ledger::Books;
use holdover::domain::money::Money;
use holdover::domain::numbers::Numbers;
use holdover::domain::outcome::{DoubtReason, Outcome, TransientReason};
use holdover::domain::state::State;
use holdover::domain::time::{Interval, Timestamp};
use holdover::domain::window::{Cause, Phase, RestoreBy, Window};
use holdover::telemetry::FIELDS;
use holdover::telemetry::events::{self, Recovered, Replay, Room, Standing, webhooks};
use holdover::telemetry::metrics::{CATALOGUE, INDEX_REASONS, Kind, Known, Metrics};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics.txt");

/// Name, kind and labels of every metric, a line each.
fn listed() -> String {
    let mut lines: Vec<String> = CATALOGUE
        .iter()
        .map(|metric| {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            format!("{} {kind} {}", metric.name, metric.labels.join(",")).trim_end().to_owned()
        })
        .collect();
    lines.sort();
    lines.join("\n") + "\n"
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the switch that rewrites golden files")]
fn the_names_of_metrics_are_those_of_the_golden_list() {
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::write(GOLDEN, listed()).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap();
    assert_eq!(listed(), golden, "set UPDATE_GOLDEN=1 to accept the new list");
}

#[test]
fn names_keep_the_conventions() {
    for metric in CATALOGUE {
        let name = metric.name;
        assert!(name.starts_with("holdover_") && !name.contains("__"), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert!(!name.ends_with("_age_seconds") && !name.ends_with("_count"), "{name}");
        assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{name}");
        for label in metric.labels {
            assert!(!["institution", "transaction", "key", "error", "path"].contains(label));
        }
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
        }
    }
    let bounds = |wanted: &str| {
        CATALOGUE.iter().find(|m| m.name == wanted).map(|m| match m.kind {
            Kind::Histogram(bounds) => bounds.to_vec(),
            Kind::Counter | Kind::Gauge => Vec::new(),
        })
    };
    let sync = bounds("holdover_store_sync_duration_seconds").unwrap();
    assert_eq!((sync.first(), sync.last()), (Some(&0.0001), Some(&10.0)));
    assert!(bounds("holdover_http_request_duration_seconds").unwrap().contains(&1.0));
    assert!(bounds("holdover_upstream_call_duration_seconds").unwrap().contains(&5.0));
}

fn cell() -> Cell {
    Cell {
        upstream: "agency".parse().unwrap(),
        business: "filing.out_of_area".parse().unwrap(),
        operation: Operation::Apply,
        class: Class::Hospital,
        channel: Channel::System,
        district: "110101".parse().unwrap(),
        labels: Vec::new(),
        attributes: BTreeMap::new(),
    }
}

fn agency() -> UpstreamName {
    "agency".parse().unwrap()
}

fn window() -> Window {
    let [start, end] = [0, 1000].map(Timestamp::from_millis);
    let planned = Interval { start, end };
    Window {
        id: "stop".parse().unwrap(),
        version: 1,
        zone: "Asia/Shanghai".parse().unwrap(),
        planned,
        published: planned,
        told: Vec::new(),
        author: "somebody".to_owned(),
        reason: "a text that somebody wrote".to_owned(),
        changed_at: start,
        notice: None,
        policy: Vec::new(),
        deadlines: None,
        restore_by: RestoreBy::Signed,
        cause: Cause::Planned,
        cutoff_minutes: None,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    }
}

/// Collects the names of all fields that are logged.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeSet<&'static str>>>);

struct Collect<'a>(&'a mut BTreeSet<&'static str>);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, _: &dyn Debug) {
        self.0.insert(field.name());
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Names {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut Collect(&mut self.0.lock().unwrap()));
    }
}

fn transactions(at: Timestamp) {
    let (cell, code) = (cell(), "H00001".parse().unwrap());
    let id = Numbers::default().transaction(Seq(7));
    events::accepted(id, &code, &cell);
    events::duplicate(id, &cell);
    events::turned_away(&code, &cell);
    for &state in State::ALL {
        events::arrived(id, &cell, state, at);
    }
    let outcomes = [
        Outcome::Applied(()),
        Outcome::Refused { code: "full".to_owned(), answer: () },
        Outcome::Transient { reason: TransientReason::Busy, retry_after: None },
        Outcome::InDoubt(DoubtReason::Cut),
    ];
    for outcome in &outcomes {
        events::attempt_settled(id, AttemptNo(1), &agency(), outcome, Duration::from_millis(3));
    }
    events::called_while_closed(id, &agency());
    events::probed(&agency(), true, at);
    events::http_answered("submit", "/v1/transactions/{id}", "GET", 404, Duration::from_millis(1));
}

fn the_rest() {
    let turn = Turn { from: HealthPhase::Open, to: HealthPhase::Down };
    events::health_turned(&agency(), turn);
    events::overrides_set(1);
    events::window_set(&window());
    events::deadline_told(&Extension {
        from: "2022-08-13".parse().unwrap(),
        to: "2022-08-15".parse().unwrap(),
        rule: Rule::RestorePlusWorkingDays(2),
        clause: "(一)".to_owned(),
        window: "stop".parse().unwrap(),
        version: 1,
        calendar: "cn-2022".to_owned(),
    });
    events::audited();
    events::audit_opened(1);
    events::audit_lost(5, 0);
    events::clock_accepted("somebody", Timestamp::default());
    let at = Timestamp::from_millis(1_660_000_000_000);
    events::recovered(&Recovered { quarantined: Some(1), clean: true, at, ..Recovered::default() });
    events::started(3, true);
    events::committed(5, Duration::from_millis(2));
    events::sync_failed(&"no such device");
    events::store_read_only(true);
    events::store_read_only(false);
    events::store_measured(Room { used: 1000, free: 2000, capacity: 3000, reserve: 500 });
    for reason in INDEX_REASONS {
        events::index_lost(reason);
    }
    events::index_away();
    events::clock_turned(Some(-7_200_000));
    events::clock_turned(None);
    events::index_ready(Seq(4), "rebuilt");
    let mut books = Books::default();
    books.accept(Money::default());
    let standing = Standing {
        books,
        oldest_blocked: Some(Timestamp::from_millis(1_660_000_000_500)),
        in_flight: vec![(agency(), 3)],
        gates: vec![(agency(), GateState::Verifying), (agency(), GateState::Verifying)],
        windows: vec![
            (Phase::Active, hours(0, 4)),
            (Phase::Active, hours(1, 9)),
            (Phase::Verifying, hours(-3, -1)),
            (Phase::Overrun, hours(-3, -2)),
            (Phase::Scheduled, hours(50, 51)),
            (Phase::Scheduled, hours(40, 60)),
            (Phase::Completed, hours(-90, 90)),
        ],
        replays: vec![Replay {
            upstream: agency(),
            held: 4,
            remaining: 5,
            due_since: Some(at),
            stopped: true,
            unconfirmed: true,
            rate: None,
        }],
        open_max: 100,
        results_untold: 8,
        deadlines: 6,
        deadline_at_risk: Some(at),
        clock_jump_ms: Some(-7_200_000),
        ..Standing::default()
    };
    events::stands(&standing, at);
    events::cut_off(&agency());
}

fn announcements() {
    let insurer = "insurer".parse().unwrap();
    let file = Path::new("outbox");
    webhooks::told(&insurer);
    webhooks::not_told(&insurer, &"it answered 500", Duration::from_secs(5));
    webhooks::enabled(&insurer);
    webhooks::disabled(&insurer);
    webhooks::waits(&insurer, Some(Timestamp::from_millis(1_660_000_000_000)), 3);
    webhooks::let_go(&insurer, 2);
    webhooks::place_unwritten(&insurer, &"no room");
    webhooks::subscriber_moved(file, 7, 9);
    webhooks::outbox_damaged(file);
    webhooks::announcing_interrupted(&"no room");
    assert!(webhooks::now()[&insurer].is_disabled);
}

/// Every line of the built-in catalogue.
fn catalogue() -> Vec<(Business, Operation)> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/beijing-2022-08.toml");
    let lines = holdover::config::load(&[Path::new(file)]).unwrap().catalogue.lines;
    lines.into_iter().map(|line| (line.business, line.operation)).collect()
}

/// Ten thousand institutions of every class, each with every business, and every route of both
/// listeners with every class of answer.
fn crowd() {
    let lines = catalogue();
    for number in 0..10_000 {
        let code: InstitutionCode = format!("H{:011}", number).parse().unwrap();
        let (business, operation) = lines[number % lines.len()].clone();
        let cell = Cell {
            business,
            operation,
            district: format!("1101{:02}", number % 100).parse().unwrap(),
            class: Class::ALL[number % Class::ALL.len()],
            ..cell()
        };
        let id = Numbers::default().transaction(Seq(number as u64 + 1));
        events::accepted(id, &code, &cell);
        events::turned_away(&code, &cell);
        for &state in State::ALL {
            events::arrived(id, &cell, state, Timestamp::default());
        }
    }
    let page: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/openapi.json")).unwrap();
    for (route, methods) in page["paths"].as_object().unwrap() {
        let listener = if route.starts_with("/v1/") { "submit" } else { "operate" };
        for method in methods.as_object().unwrap().keys() {
            let method = if method == "get" { "GET" } else { "POST" };
            for status in [200, 400, 500] {
                events::http_answered(listener, route, method, status, Duration::ZERO);
            }
        }
    }
}

/// From and to so many hours after an instant.
fn hours(from: i64, to: i64) -> Interval {
    let at = |hours| Timestamp::from_millis(1_660_000_000_000 + hours * 3_600_000);
    Interval { start: at(from), end: at(to) }
}

/// The value of a series, by its whole name with labels as they are rendered.
fn value(rendered: &str, series: &str) -> Option<f64> {
    let line = rendered
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// What the events of this test leave behind.
const TOLD: &[(&str, f64)] = &[
    ("holdover_upstream_calls_total{upstream=\"agency\",outcome=\"in_doubt\"}", 2.0),
    ("holdover_doubts_total{upstream=\"agency\",reason=\"restart\"}", 1.0),
    ("holdover_doubts_total{upstream=\"agency\",reason=\"cut\"}", 1.0),
    ("holdover_sure_failures_total{upstream=\"agency\",reason=\"busy\"}", 1.0),
    ("holdover_upstream_calls_while_closed_total{upstream=\"agency\"}", 1.0),
    ("holdover_deadlines_extended_total{rule=\"restore_plus_working_days\"}", 1.0),
    ("holdover_gates{upstream=\"agency\",state=\"verifying\"}", 2.0),
    ("holdover_in_flight_transactions{upstream=\"agency\"}", 3.0),
    ("holdover_backlog_transactions{state=\"waiting\"}", 1.0),
    ("holdover_backlog_oldest_timestamp_seconds{class=\"blocked\"}", 1_660_000_000.5),
    ("holdover_window_state{state=\"active\"}", 2.0),
    ("holdover_window_start_timestamp_seconds{which=\"current\"}", 1_660_000_000.0),
    ("holdover_window_end_timestamp_seconds{which=\"current\"}", 1_660_032_400.0),
    ("holdover_window_start_timestamp_seconds{which=\"overrun\"}", 1_659_989_200.0),
    ("holdover_window_end_timestamp_seconds{which=\"overrun\"}", 1_659_992_800.0),
    ("holdover_window_start_timestamp_seconds{which=\"next\"}", 1_660_144_000.0),
    ("holdover_window_end_timestamp_seconds{which=\"next\"}", 1_660_216_000.0),
    ("holdover_held_transactions{upstream=\"agency\"}", 4.0),
    ("holdover_upstream_stopped{upstream=\"agency\"}", 1.0),
    ("holdover_outage_unconfirmed{upstream=\"agency\"}", 1.0),
    ("holdover_replay_remaining_transactions{upstream=\"agency\"}", 5.0),
    ("holdover_replay_due_timestamp_seconds{upstream=\"agency\"}", 1_660_000_000.0),
    ("holdover_replay_due_timestamp_seconds{upstream=\"portal\"}", 0.0),
    ("holdover_replay_last_progress_timestamp_seconds{upstream=\"agency\"}", 1_660_000_000.0),
    ("holdover_upstream_rate_limit_per_second{upstream=\"agency\"}", f64::INFINITY),
    ("holdover_backlog_limit_transactions", 100.0),
    ("holdover_results_untold", 8.0),
    ("holdover_deadlines_registered", 6.0),
    ("holdover_deadline_at_risk_timestamp_seconds", 1_660_000_000.0),
    ("holdover_engine_heartbeat_timestamp_seconds", 1_660_000_000.0),
    ("holdover_start_timestamp_seconds", 1_660_000_000.0),
    ("holdover_start_clean", 1.0),
    ("holdover_ledger_imbalance_tickets", 0.0),
    ("holdover_store_capacity_bytes", 3000.0),
    ("holdover_store_reserve_bytes", 500.0),
    ("holdover_ledger_imbalance_transactions", 0.0),
    ("holdover_virtual_clock", 1.0),
    ("holdover_calendar_end_timestamp_seconds", 1_798_732_800.0),
    ("holdover_clock_jump_seconds", -7200.0),
    ("holdover_store_sync_duration_seconds_bucket{le=\"0.0025\"}", 1.0),
    ("holdover_store_sync_errors_total", 1.0),
    ("holdover_index_rebuilds_total{reason=\"hanging\"}", 1.0),
    ("holdover_index_ready", 1.0),
    ("holdover_webhook_calls_total{subscriber=\"insurer\",outcome=\"told\"}", 1.0),
    ("holdover_webhook_calls_total{subscriber=\"insurer\",outcome=\"not_told\"}", 1.0),
    ("holdover_webhook_calls_total{subscriber=\"insurer\",outcome=\"gone\"}", 1.0),
    ("holdover_webhook_waiting_announcements{subscriber=\"insurer\"}", 3.0),
    ("holdover_webhook_oldest_timestamp_seconds{subscriber=\"insurer\"}", 1_660_000_000.0),
    ("holdover_webhook_disabled{subscriber=\"insurer\"}", 1.0),
];

// One test: a process has one recorder.
#[test]
fn every_event_is_counted_and_logged_with_known_names() {
    let known = Known {
        lines: catalogue(),
        upstreams: ["settlement", "agency", "portal"].map(|name| name.parse().unwrap()).into(),
        virtual_clock: true,
        calendar_ends: "2027-01-01T00:00:00+08:00".parse().unwrap(),
        kafka_topics: 2,
        subscribers: vec!["insurer".parse().unwrap()],
    };
    let metrics = Metrics::install(&known).unwrap();
    assert!(Metrics::install(&known).is_err());
    let line = "{business=\"filing.out_of_area\",operation=\"apply\"}";

    let fresh = metrics.render();
    assert_eq!(value(&fresh, &format!("holdover_accepted_total{line}")), Some(0.0));
    assert_eq!(
        value(&fresh, "holdover_sure_failures_total{upstream=\"portal\",reason=\"busy\"}"),
        Some(0.0)
    );

    let names = Names::default();
    let subscriber = tracing_subscriber::registry().with(names.clone());
    tracing::subscriber::with_default(subscriber, || {
        transactions(Timestamp::from_millis(1_660_000_000_000));
        the_rest();
        announcements();
    });
    let logged = names.0.lock().unwrap().clone();
    let unknown: Vec<_> =
        logged.iter().filter(|n| **n != "message" && !FIELDS.contains(n)).collect();
    assert!(logged.contains("transaction_id") && unknown.is_empty(), "{unknown:?}");

    metrics.upkeep();
    let rendered = metrics.render();
    for counted in ["accepted", "applied", "refused", "turned_away", "dead_lettered", "withdrawn"] {
        let series = format!("holdover_{counted}_total{line}");
        assert_eq!(value(&rendered, &series), Some(1.0), "{series}");
    }
    for &(series, expected) in TOLD {
        assert_eq!(value(&rendered, series), Some(expected), "{series}");
    }

    crowd();
    let series = metrics.render().lines().filter(|line| !line.starts_with('#')).count();
    assert!(series < 3000, "{series} series with ten thousand institutions");

    assert!(!rendered.contains("quantile="), "histograms, not summaries");
    assert!(!rendered.contains("H00001"), "no label names an institution");
    for metric in CATALOGUE {
        assert!(rendered.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
        let shown: Vec<&str> = rendered
            .lines()
            .filter(|l| l.starts_with(metric.name) && l[metric.name.len()..].contains(' '))
            .collect();
        assert!(!shown.is_empty(), "{} is never recorded", metric.name);
    }
}

/// Every source file outside telemetry, and the events themselves.
fn sources(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("telemetry") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_event_is_told_by_somebody() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut told = String::new();
    sources(&src, &mut told);
    let events =
        ["telemetry/events.rs", "telemetry/events/kafka.rs", "telemetry/events/webhooks.rs"];
    let events = events.map(|file| std::fs::read_to_string(src.join(file)).unwrap()).concat();
    let names = events.lines().filter_map(|line| line.strip_prefix("pub fn "));
    let names: Vec<&str> = names.filter_map(|rest| rest.split(['(', '<']).next()).collect();
    assert!(names.len() > 30, "{names:?}");
    let inside = |name: &str| events.matches(&format!(" {name}(")).count() > 1;
    let untold = names.into_iter().filter(|&name| {
        let calls = [format!("events::{name}("), format!("metrics::{name}(")];
        !calls.iter().any(|call| told.contains(call)) && !inside(name)
    });
    assert_eq!(untold.collect::<Vec<_>>(), [""; 0]);
}
