//! The simulated core, told over its control API and met by the adapter.

use super::{ask, bounded, call, call_of, hurry, send, upstream};
use holdover::domain::time::{Monotonic, Now, Timestamp};
use holdover::engine::ports::{Clock, Later, Upstream};
use holdover::upstream::HttpUpstream;
use holdover::upstream::scripted::{Listen, SimulateCore, Simulated};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A clock that a test moves by hand; it begins at 2022-08-12T11:00:00Z.
#[derive(Clone)]
struct ByHand(watch::Sender<i64>);

const START: i64 = 1_660_302_000_000;

impl ByHand {
    fn new() -> Self {
        Self(watch::Sender::new(START))
    }

    fn move_by(&self, ms: i64) {
        self.0.send_modify(|now| *now += ms);
    }
}

impl Clock for ByHand {
    fn now(&self) -> Now {
        Now { wall: Timestamp::from_millis(*self.0.borrow()), monotonic: Monotonic(0) }
    }

    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()> {
        Box::pin(async move {
            let mut moved = self.0.subscribe();
            moved.wait_for(|now| *now >= at.as_millis()).await.expect("the sender is ours");
        })
    }

    fn is_virtual(&self) -> bool {
        true
    }
}

/// A core with two upstreams, `agency` and `settlement`.
struct Core {
    clock: ByHand,
    agency: HttpUpstream,
    agency_url: String,
    settlement: HttpUpstream,
    control: String,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

fn plain() -> SimulateCore {
    SimulateCore {
        upstreams: vec!["agency".parse().unwrap(), "settlement".parse().unwrap()],
        listen: Vec::new(),
        control: "127.0.0.1:0".parse().unwrap(),
        log: None,
        no_log: true,
        recognise_repeats: false,
        seed: 1,
        kafka: Vec::new(),
        topics: Vec::new(),
    }
}

impl Core {
    fn start(options: SimulateCore) -> Self {
        let clock = ByHand::new();
        let simulated = Simulated::bind(options, Arc::new(clock.clone())).unwrap();
        let ready = simulated.ready().clone();
        assert!(ready.ready);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { simulated.serve(stop).await.unwrap() });
        Self {
            clock,
            agency: upstream(&ready.upstreams["agency"]),
            agency_url: ready.upstreams["agency"].clone(),
            settlement: upstream(&ready.upstreams["settlement"]),
            control: ready.control.trim_start_matches("http://").to_owned(),
            shutdown,
            running,
        }
    }

    /// One call of the control API: its status and its JSON.
    async fn control(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.control).await.unwrap();
        let request = format!(
            "{method} /control/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn tell(&self, upstream: &str, script: Value) {
        let (status, answer) = self.control("PUT", upstream, &script.to_string()).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn stats(&self, upstream: &str) -> Value {
        self.control("GET", "stats", "").await.1["upstreams"][upstream].clone()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn two_upstreams_apply_apart_and_are_told_apart() {
    bounded(async {
        let core = Core::start(plain());
        core.tell("agency", json!({"refuse": [{"code": "CLOSED"}]})).await;
        assert_eq!(send(&core.agency, call(1)).await, "refused CLOSED");
        assert_eq!(send(&core.settlement, call(2)).await, "applied");
        assert_eq!(ask(&core.agency, 1).await, "refused CLOSED");
        assert_eq!(ask(&core.agency, 2).await, "not found");
        assert_eq!(ask(&core.settlement, 2).await, "applied");
        assert!(core.agency.probe().await && core.settlement.probe().await);
        let agency = core.stats("agency").await;
        assert_eq!([&agency["refused"], &agency["questions"], &agency["probes"]], [1, 2, 1]);
        assert_eq!(core.stats("settlement").await["effects"], 1);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn repeats_are_double_effects_unless_they_are_recognised() {
    bounded(async {
        for (recognise_repeats, doubles, repeats) in [(false, 1, 0), (true, 0, 1)] {
            let core = Core::start(SimulateCore { recognise_repeats, ..plain() });
            for attempt in 1..=2 {
                let call = call_of(7, attempt, "settlement.outpatient");
                assert_eq!(send(&core.agency, call).await, "applied");
            }
            let stats = core.stats("agency").await;
            assert_eq!([&stats["double_effects"], &stats["repeats"]], [doubles, repeats]);
            assert_eq!(stats["transactions"], 1);
            core.stop().await;
        }
    })
    .await;
}

#[tokio::test]
async fn down_is_a_refused_connection_on_a_port_that_comes_back() {
    bounded(async {
        let core = Core::start(plain());
        assert_eq!(send(&core.agency, call(1)).await, "applied");
        for round in 0..20 {
            core.tell("agency", json!({"down": true})).await;
            assert_eq!(send(&core.agency, call(2)).await, "unreachable");
            assert!(!core.agency.probe().await);
            assert_eq!(send(&core.settlement, call(100 + round)).await, "applied");
            core.tell("agency", json!({})).await;
            assert!(core.agency.probe().await);
        }
        assert_eq!(send(&core.agency, call(2)).await, "applied");
        assert_eq!(core.stats("agency").await["effects"], 2);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_core_is_in_doubt_though_it_applied() {
    bounded(async {
        let core = Core::start(plain());
        core.tell("agency", json!({"slow_ms": 10})).await;
        assert_eq!(send(&core.agency, call(1)).await, "applied");
        core.tell("agency", json!({"slow_ms": 60_000})).await;
        let hurried = hurry(&core.agency_url);
        assert_eq!(send(&hurried, call(2)).await, "doubt timeout");
        core.tell("agency", json!({})).await;
        assert_eq!(ask(&core.agency, 2).await, "applied");
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn lost_before_is_not_found_and_lost_after_is_applied() {
    bounded(async {
        let core = Core::start(plain());
        core.tell("agency", json!({"lose_before": {"next": 1}, "lose_after": {"next": 1}})).await;
        assert_eq!(send(&core.agency, call(1)).await, "doubt cut");
        assert_eq!(send(&core.agency, call(2)).await, "doubt cut");
        assert_eq!(send(&core.agency, call(3)).await, "applied");
        assert_eq!(ask(&core.agency, 1).await, "not found");
        assert_eq!(ask(&core.agency, 2).await, "applied");
        let stats = core.stats("agency").await;
        assert_eq!([&stats["lost_before"], &stats["lost_after"], &stats["effects"]], [1, 1, 2]);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_lost_request_is_applied_late_after_a_not_found() {
    bounded(async {
        let core = Core::start(plain());
        core.tell("agency", json!({"late_apply": {"after_ms": 5000, "next": 2}})).await;
        assert_eq!(send(&core.agency, call(1)).await, "doubt cut");
        assert_eq!(ask(&core.agency, 1).await, "not found");
        let (_, stats) = core.control("GET", "stats", "").await;
        assert_eq!(stats["due_ms"], START + 5000);
        assert_eq!(stats["due"], "2022-08-12T11:00:05Z");
        core.clock.move_by(4999);
        assert_eq!(ask(&core.agency, 1).await, "not found");
        core.clock.move_by(1);
        // Nobody asks: the clock alone brings it about.
        while core.stats("agency").await["effects"] != 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask(&core.agency, 1).await, "applied");
        assert_eq!(core.stats("agency").await["late"], 1);
        // With the promise, what was received before the question never comes.
        core.tell("agency", json!({"fenced": true, "late_apply": {"after_ms": 5, "next": 1}}))
            .await;
        assert_eq!(send(&core.agency, call(2)).await, "doubt cut");
        assert_eq!(ask(&core.agency, 2).await, "not found fenced");
        core.clock.move_by(6);
        assert_eq!(core.control("GET", "stats", "").await.1["due"], Value::Null);
        assert_eq!(ask(&core.agency, 2).await, "not found fenced");
        assert_eq!(send(&core.agency, call(2)).await, "applied");
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_busy_core_sheds_and_says_when_to_come_again() {
    bounded(async {
        let core = Core::start(plain());
        let busy = json!({"busy": {"status": 429, "retry_after_seconds": 9, "next": 1}});
        core.tell("agency", busy).await;
        assert_eq!(send(&core.agency, call(1)).await, "busy 9");
        assert_eq!(send(&core.agency, call(1)).await, "applied");
        core.tell("agency", json!({"busy": {"status": 503, "probability": 1.0}})).await;
        assert_eq!(send(&core.agency, call(2)).await, "unavailable");
        let stats = core.stats("agency").await;
        assert_eq!([&stats["shed"], &stats["effects"]], [2, 1]);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_maintenance_page_teaches_nothing_and_fails_the_probe() {
    bounded(async {
        let core = Core::start(plain());
        core.tell("agency", json!({"maintenance_page": {"probability": 1.0}})).await;
        assert_eq!(send(&core.agency, call(1)).await, "doubt unreadable");
        assert_eq!(ask(&core.agency, 1).await, "no answer");
        assert!(!core.agency.probe().await);
        core.tell("agency", json!({"probe_fails": true})).await;
        assert!(!core.agency.probe().await);
        assert_eq!(ask(&core.agency, 1).await, "not found");
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn refusals_come_by_business_or_in_bursts_and_leave_no_effect() {
    bounded(async {
        let core = Core::start(plain());
        let refuse = json!([{"business": "filing.*", "code": "F1"}, {"code": "BURST", "next": 2}]);
        core.tell("agency", json!({"refuse": refuse, "business_status": "审核通过"})).await;
        let filing = |seq| call_of(seq, 1, "filing.out_of_area");
        assert_eq!(send(&core.agency, filing(1)).await, "refused F1");
        assert_eq!(send(&core.agency, call(2)).await, "refused BURST");
        assert_eq!(send(&core.agency, call(3)).await, "refused BURST");
        assert_eq!(send(&core.agency, filing(4)).await, "refused F1");
        let holdover::domain::outcome::Outcome::Applied(body) =
            core.agency.send(call(2), &|| true).await
        else {
            panic!("the burst is over");
        };
        let status = holdover::upstream::business_status(&body);
        assert_eq!(status.as_deref(), Some("审核通过"));
        let (_, script) = core.control("GET", "agency", "").await;
        assert_eq!(script["refuse"][1]["next"], 0);
        let stats = core.stats("agency").await;
        assert_eq!([&stats["refused"], &stats["effects"]], [4, 1]);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_control_api_refuses_what_it_does_not_understand() {
    bounded(async {
        let core = Core::start(plain());
        for (method, path, body, expected) in [
            ("PUT", "agency", r#"{"slow": 1}"#, 400),
            ("PUT", "agency", r#"{"busy": {"status": 200}}"#, 400),
            ("PUT", "portal", "{}", 404),
            ("GET", "portal", "", 404),
            ("DELETE", "agency", "", 405),
            ("GET", "agency", "", 200),
        ] {
            let (status, answer) = core.control(method, path, body).await;
            assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        }
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn every_call_is_a_line_of_the_log_before_it_is_answered() {
    bounded(async {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("core.ndjson");
        let core = Core::start(SimulateCore { log: Some(log.clone()), no_log: false, ..plain() });
        core.tell("agency", json!({"lose_after": {"next": 1}})).await;
        send(&core.agency, call(1)).await;
        assert_eq!(lines(&log).len(), 1);
        core.clock.move_by(1500);
        let mut second = call_of(2, 2, "filing.out_of_area");
        second.received_from_person_at = Some(Timestamp::from_millis(START));
        send(&core.settlement, second).await;
        ask(&core.agency, 1).await;
        core.agency.probe().await;
        core.tell("agency", json!({"refuse": [{"code": "E1"}]})).await;
        send(&core.agency, call(3)).await;
        core.tell("agency", json!({"busy": {"status": 429, "next": 1}})).await;
        send(&core.agency, call(4)).await;
        core.tell("agency", json!({"late_apply": {"after_ms": 10, "next": 1}})).await;
        send(&core.agency, call(5)).await;
        core.clock.move_by(10);
        ask(&core.agency, 5).await;
        let lines = lines(&log);
        let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
        let expected = [
            "effect",
            "effect",
            "question",
            "probe",
            "refused",
            "shed",
            "lost_before",
            "effect",
            "question",
        ];
        assert_eq!(kinds, expected);
        let first = json!({
            "instant_ms": START, "instant": "2022-08-12T11:00:00Z", "upstream": "agency",
            "kind": "effect", "transaction": super::id(1).to_string(), "key": "key-1",
            "subject": "visit-1", "cell": call(1).cell.to_string(),
            "business": "settlement.outpatient", "operation": "request", "attempt": 1,
            "repeat": false, "accepted_at": "2022-08-12T11:00:00Z",
            "occurred_at": "2022-08-12T10:59:59Z", "received_from_person_at": null,
            "answer_lost": true, "late": false, "seq": 1, "code": null, "status": null,
        });
        assert_eq!(lines[0], first);
        assert_eq!(lines[1]["instant"], "2022-08-12T11:00:01.500Z");
        assert_eq!(lines[1]["received_from_person_at"], "2022-08-12T11:00:00Z");
        assert_eq!([&lines[1]["attempt"], &lines[1]["seq"]], [2, 2]);
        assert_eq!(lines[1]["repeat"], true);
        assert_eq!(lines[4]["code"], "E1");
        assert_eq!(lines[5]["status"], 429);
        assert_eq!(lines[7]["late"], true);
        assert_eq!(lines[7]["instant_ms"], START + 1510);
        core.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_the_core() {
    bounded(async {
        let options = SimulateCore { log: Some("/dev/full".into()), no_log: false, ..plain() };
        let simulated = Simulated::bind(options, Arc::new(ByHand::new())).unwrap();
        let agency = upstream(&simulated.ready().upstreams["agency"]);
        let running = tokio::spawn(simulated.serve(CancellationToken::new()));
        assert_eq!(send(&agency, call(1)).await, "doubt cut");
        let error = running.await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the log cannot be written"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let bind = |options| Simulated::bind(options, Arc::new(ByHand::new())).err().unwrap();
    let name = |text: &str| text.parse().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let twice = SimulateCore { upstreams: vec![name("a"), name("a")], ..plain() };
    assert_eq!(bind(twice).to_string(), "upstream a is given twice");
    let stats = SimulateCore { upstreams: vec![name("stats")], ..plain() };
    assert_eq!(bind(stats).to_string(), "an upstream cannot be named stats");
    let listen = vec![Listen { upstream: name("portal"), address }];
    let unknown = SimulateCore { listen, ..plain() };
    assert_eq!(bind(unknown).to_string(), "--listen names portal, which no --upstream does");
    let taken = std::net::TcpListener::bind(address).unwrap();
    let control = taken.local_addr().unwrap();
    let error = bind(SimulateCore { control, ..plain() }).to_string();
    assert!(error.starts_with("the control api cannot listen on 127.0.0.1:"), "{error}");
}

/// Prints how many calls a second the adapter makes and the simulated core answers, without and
/// with a log. Run it alone, optimised:
/// `cargo test --release --test it -- --ignored --nocapture calls_a_second`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; its number depends on the machine"]
async fn calls_a_second() {
    const CALLS: u64 = 200_000;
    const LANES: u64 = 32;
    let folder = tempfile::tempdir().unwrap();
    for log in [None, Some(folder.path().join("core.ndjson"))] {
        let logged = if log.is_some() { "with a log" } else { "without a log" };
        let core = Arc::new(Core::start(SimulateCore { no_log: log.is_none(), log, ..plain() }));
        let started = std::time::Instant::now();
        let mut lanes = tokio::task::JoinSet::new();
        for lane in 0..LANES {
            let core = Arc::clone(&core);
            lanes.spawn(async move {
                for turn in 0..CALLS / LANES {
                    let told = send(&core.agency, call(lane * CALLS + turn)).await;
                    assert_eq!(told, "applied");
                }
            });
        }
        while let Some(ended) = lanes.join_next().await {
            ended.unwrap();
        }
        let rate = u128::from(CALLS) * 1_000_000 / started.elapsed().as_micros();
        println!("{rate} calls a second {logged}, core and adapter in one process");
        assert_eq!(core.stats("agency").await["effects"], CALLS);
    }
}
