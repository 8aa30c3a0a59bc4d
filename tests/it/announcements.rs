//! Announcements, over a real engine and real receivers on loopback, with a clock that is moved by
//! hand: one call for each moment and version, in order, signed so that another implementation
//! agrees, through failures, a crash between the call and its place, and two secrets.

use crate::engine_scenarios::{at, upstream, window};
use crate::engine_support::{NoRuns, settings};
use crate::house::{Nowhere, Says, Shelf};
use crate::intake_rig::{HashVault, NoFiles, bundles, institution, key_of};
use axum::body::{Body, Bytes};
use axum::extract::State as Taken;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use holdover::domain::announcement::{Kind, Subscription};
use holdover::domain::cell::{Channel, Selector};
use holdover::domain::ids::{InsuredHash, SubscriberName};
use holdover::domain::policy::Disposition;
use holdover::domain::time::{Interval, Monotonic, Now, Timestamp};
use holdover::domain::window::{Proof, Window};
use holdover::engine::change::Case;
use holdover::engine::event::{Command, Order, Reply};
use holdover::engine::machine::Machine;
use holdover::engine::ports::{Clock, Later};
use holdover::engine::run;
use holdover::engine::step::Decision;
use holdover::intake;
use holdover::intake::announce::{Keys, Outbox, Subscriber, deliver, follow};
use holdover::intake::tally::{Quota, Quotas};
use holdover::intake::transfers::Transfers;
use holdover::web::access::{KeyFile, Scope, create};
use holdover::web::server::answer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";
const MINE: &str = "H11010500001";

/// A clock that is moved by hand, and wakes whoever waits for it.
struct Moved(watch::Sender<Timestamp>);

impl Moved {
    fn set(&self, to: &str) {
        self.0.send_replace(at(to));
    }
    fn forward(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.after(by));
    }
}

impl Clock for Moved {
    fn now(&self) -> Now {
        Now { wall: *self.0.borrow(), monotonic: Monotonic(0) }
    }
    fn sleep_until(&self, until: Timestamp) -> Later<'_, ()> {
        let mut moves = self.0.subscribe();
        Box::pin(async move { drop(moves.wait_for(|now| until <= *now).await) })
    }
    fn is_virtual(&self) -> bool {
        true
    }
}

/// A call as it came.
#[derive(Clone)]
struct Call {
    headers: HeaderMap,
    body: Bytes,
    /// What it was answered.
    status: u16,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
    fn id(&self) -> &str {
        self.header("webhook-id")
    }
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A status, and a `Retry-After`.
type Said = (u16, Option<&'static str>);

/// Somebody who is told, and says what the script says; 204 where that has ended.
#[derive(Clone)]
struct Receiver {
    url: String,
    script: Arc<Mutex<VecDeque<Said>>>,
    calls: Arc<watch::Sender<Vec<Call>>>,
}

impl Receiver {
    async fn new(script: &[Said]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(script.iter().copied().collect()));
        let receiver = Self { url, script, calls: Arc::new(watch::Sender::new(Vec::new())) };
        let router = axum::Router::new()
            .route("/hook", axum::routing::post(Self::take))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    async fn take(Taken(this): Taken<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let (status, after) = this.script.lock().unwrap().pop_front().unwrap_or((204, None));
        this.calls.send_modify(|calls| calls.push(Call { headers, body, status }));
        let mut response = StatusCode::from_u16(status).unwrap().into_response();
        if status == 302 {
            response.headers_mut().insert("location", this.url.parse().unwrap());
        }
        if let Some(after) = after {
            response.headers_mut().insert("retry-after", after.parse().unwrap());
        }
        response
    }

    /// Every call, once there are so many.
    async fn calls(&self, count: usize) -> Vec<Call> {
        let mut calls = self.calls.subscribe();
        let many = calls.wait_for(|calls| calls.len() >= count);
        match tokio::time::timeout(Duration::from_secs(30), many).await {
            Ok(calls) => calls.unwrap().clone(),
            Err(_) => panic!("{count} calls expected: {:?}", ids(&self.calls.borrow())),
        }
    }
}

/// Moves the clock on until there are so many calls: a pause begins only after its call has ended.
async fn on_until(world: &World, receiver: &Receiver, count: usize) {
    let mut calls = receiver.calls.subscribe();
    for _ in 0..1000 {
        world.clock.forward(Duration::from_secs(10));
        let many = calls.wait_for(|calls| calls.len() >= count);
        if tokio::time::timeout(Duration::from_millis(20), many).await.is_ok() {
            return;
        }
    }
    panic!("{count} calls expected");
}

fn ids(calls: &[Call]) -> Vec<String> {
    calls.iter().map(|call| call.id().to_owned()).collect()
}

/// An engine with a clock of its own; whoever tells can be stopped and begun again beside it.
struct World {
    clock: Arc<Moved>,
    engine: run::Handle,
    journal: Shelf,
    keys: Arc<KeyFile>,
    key: String,
    folder: tempfile::TempDir,
    telling: Option<(CancellationToken, Vec<JoinHandle<()>>, intake::Shared)>,
}

fn all() -> Subscription {
    Subscription {
        kinds: Kind::ALL.to_vec(),
        institution: None,
        upstreams: Vec::new(),
        businesses: Vec::new(),
    }
}

fn subscriber(name: &str, to: &Receiver, subscription: Subscription, secrets: &str) -> Subscriber {
    let secrets = secrets.to_owned();
    Subscriber {
        name: name.parse().unwrap(),
        url: to.url.parse().unwrap(),
        subscription,
        keys: Arc::new(move || Keys::parse(secrets.as_bytes())),
    }
}

impl World {
    fn new(now: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moved(watch::Sender::new(at(now))));
        let journal = Shelf::default();
        let machine = Machine::new(settings(), Box::new(NoRuns));
        let parts = run::assemble(
            machine,
            Decision::default(),
            Box::new(journal.clone()),
            Box::new(Nowhere),
            clock.clone(),
        );
        let worker = parts.worker;
        // It ends with the last way into the engine.
        std::thread::spawn(move || drop(worker.run()));
        let keys = folder.path().join("keys.json");
        let scopes = [Scope::Submit, Scope::Read];
        let key = create(&keys, key_of(institution(MINE), &[Channel::System], &scopes)).unwrap();
        let keys = Arc::new(KeyFile::open(&keys).unwrap());
        Self { clock, engine: parts.handle, journal, keys, key, folder, telling: None }
    }

    fn outbox(&self) -> std::path::PathBuf {
        self.folder.path().join("announcements")
    }

    /// Begins to tell, as a daemon does at its start.
    fn tell(&mut self, subscribers: Vec<Subscriber>) {
        use holdover::engine::ports::JournalReader;
        let names = subscribers.iter().map(|to| to.name.clone());
        let (next, now) = (self.journal.last().next(), self.clock.now().wall);
        let outbox = Outbox::open(&self.outbox(), next, now, names).unwrap();
        let state: intake::Shared = Arc::new(intake::State {
            engine: self.engine.clone(),
            journal: Arc::new(self.journal.clone()),
            vault: Arc::new(HashVault),
            blobs: Arc::new(NoFiles),
            attachment_formats: Vec::new(),
            transfers: Transfers::default(),
            bundles: bundles(),
            listing: Arc::new(Says(Ok(None))),
            catalogue: Arc::new(settings().catalogue),
            keys: self.keys.clone(),
            clock: self.clock.clone(),
            numbers: Arc::default(),
            zone: chrono_tz::Asia::Shanghai,
            limits: intake::Limits::default(),
            disk_reserve: Arc::default(),
            tally: Arc::default(),
            quotas: Quotas::new(Quota { per_second: 1_000_000, burst: 0 }),
            announcements: Arc::new(outbox),
        });
        let stop = CancellationToken::new();
        let wanted: BTreeMap<SubscriberName, Subscription> =
            subscribers.iter().map(|to| (to.name.clone(), to.subscription.clone())).collect();
        let mut tasks = vec![tokio::spawn(follow(state.clone(), wanted, stop.clone()))];
        for to in subscribers {
            tasks.push(tokio::spawn(deliver(state.clone(), to, stop.clone())));
        }
        self.telling = Some((stop, tasks, state));
    }

    /// Waits until everything before the announcement `next` is known to have been told to `name`.
    async fn reached(&self, name: &str, next: u64) {
        let place = self.outbox().join(name).with_extension("place");
        let expected = format!("{{\"next\":{next}}}");
        for _ in 0..3000 {
            if std::fs::read_to_string(&place).unwrap() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} has not reached {next}");
    }

    /// Ends the telling wherever it is, as a kill does.
    async fn kill(&mut self) {
        let (_, tasks, state) = self.telling.take().unwrap();
        for task in tasks {
            task.abort();
            drop(task.await);
        }
        drop(state);
    }

    fn state(&self) -> intake::Shared {
        self.telling.as_ref().unwrap().2.clone()
    }

    async fn order(&self, command: Command) -> Reply {
        let (by, reason) = ("operator".to_owned(), "because".to_owned());
        let reply = self.engine.order(Order { by, reason, command }).await;
        assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
        reply
    }

    async fn declare(&self, window: Window) {
        self.order(Command::DeclareWindow(Box::new(window))).await;
    }

    async fn restore(&self) {
        let (window, cells) = ("stop".parse().unwrap(), upstream("b"));
        self.order(Command::Restore { window, cells, ready_from: None, proof: Proof::Signed })
            .await;
    }

    async fn get(&self, path: &str) -> Value {
        let request = Request::get(path).header("authorization", format!("Bearer {}", self.key));
        let request = request.body(Body::empty()).unwrap();
        let response = answer(intake::router(self.state()), request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

/// Of 12 August 19:00 to 15 August 06:00, as the fixtures have it.
fn stop() -> Window {
    Window { deadlines: None, ..window(Disposition::Hold) }
}

#[tokio::test]
async fn a_whole_life_is_told_once_a_moment_and_version_in_order_and_signed() {
    let mut world = World::new("2022-08-08T09:00:00+08:00");
    let receiver = Receiver::new(&[]).await;
    world.tell(vec![subscriber("all", &receiver, all(), &format!("{OLD}\n{NEW}\n"))]);
    world.declare(stop()).await;
    receiver.calls(1).await;
    for (now, count) in [("2022-08-09T19:00:00+08:00", 2), ("2022-08-11T19:00:00+08:00", 3)] {
        world.clock.set(now);
        receiver.calls(count).await;
    }
    let window = "stop".parse().unwrap();
    let ends_at = at("2022-08-15T08:00:00+08:00");
    world.order(Command::MoveWindowEnd { window, row: None, ends_at, if_version: None }).await;
    receiver.calls(4).await;
    for (now, count) in [("2022-08-12T18:00:00+08:00", 5), ("2022-08-12T19:00:00+08:00", 6)] {
        world.clock.set(now);
        receiver.calls(count).await;
    }
    world.clock.set("2022-08-15T08:01:00+08:00");
    world.restore().await;
    receiver.calls(7).await;
    // Nothing else comes before what is declared next.
    let planned = ["2022-08-20T19:00:00+08:00", "2022-08-21T06:00:00+08:00"].map(at);
    let planned = Interval::new(planned[0], planned[1]).unwrap();
    let other = Window { id: "other".parse().unwrap(), planned, published: planned, ..stop() };
    world.declare(other).await;
    receiver.calls(8).await;
    let window = "other".parse().unwrap();
    world.order(Command::CancelWindow { window, if_version: None }).await;
    let calls = receiver.calls(9).await;
    assert_eq!(
        ids(&calls),
        [
            "window_stop_1_announced",
            "window_stop_1_reminder-72",
            "window_stop_1_reminder-24",
            "window_stop_2_changed",
            "window_stop_2_reminder-1",
            "window_stop_2_started",
            "window_stop_3_ended",
            "window_other_1_announced",
            "window_other_2_cancelled",
        ]
    );
    for call in &calls {
        verified(call, &[OLD, NEW]);
    }
    let first = calls[0].json();
    assert_eq!(first["type"], "window.announced");
    assert_eq!(first["timestamp"], "2022-08-08T09:00:00+08:00");
    assert_eq!(
        first["data"]["message"]["zh"],
        "停机预告：备案计划于2022年8月12日19:00至2022年8月15日06:00停止办理。"
    );
    assert_eq!(first["data"]["window"]["id"], "stop");
    let changed = calls[3].json();
    assert_eq!(changed["data"]["before"]["ends_at"], "2022-08-15T06:00:00+08:00");
    assert_eq!(changed["data"]["window"]["ends_at"], "2022-08-15T08:00:00+08:00");
    assert_eq!(calls[4].json()["data"]["hours_before"], 1);
    // The same for whoever asks: newest first.
    let told = world.get("/v1/announcements?limit=2").await;
    let told: Vec<&str> =
        told["items"].as_array().unwrap().iter().map(|i| i["id"].as_str().unwrap()).collect();
    assert_eq!(told, ["window_other_2_cancelled", "window_other_1_announced"]);
}

/// Of two districts the first is handled again later: who is told so is told where and when.
#[tokio::test]
async fn a_restored_part_is_told_with_its_districts_and_its_time() {
    let mut world = World::new("2022-08-15T05:00:00+08:00");
    let receiver = Receiver::new(&[]).await;
    world.tell(vec![subscriber("all", &receiver, all(), &format!("{OLD}\n"))]);
    world.declare(stop()).await;
    world.clock.set("2022-08-15T07:00:00+08:00");
    let district = vec!["110105".parse().unwrap()];
    let cells = Selector { district, ..Selector::default() };
    for ready_from in [Some(at("2022-08-15T09:30:00+08:00")), None] {
        let (window, cells) = ("stop".parse().unwrap(), cells.clone());
        world.order(Command::Restore { window, cells, ready_from, proof: Proof::Signed }).await;
    }
    let calls = receiver.calls(3).await;
    let [later, now] = [&calls[1], &calls[2]].map(Call::json);
    assert_eq!(
        (&later["type"], &later["data"]["message"]["en"]),
        (
            &json!("window.restored"),
            &json!(
                "Part of what was stopped is handled again from 2022-08-15 09:30: filing (110105)."
            )
        )
    );
    assert_eq!(
        later["data"]["restored"],
        json!([{"cells": {"district": ["110105"]}, "ready_from": "2022-08-15T09:30:00+08:00"}])
    );
    assert_eq!(now["data"]["message"]["zh"], "部分恢复：停机期间停办的备案（110105）已恢复办理。");
    assert_eq!(now["data"]["restored"], json!([{"cells": {"district": ["110105"]}}]));
}

#[tokio::test]
async fn what_waits_for_a_release_is_told_as_handled_again_when_it_is_released() {
    let mut world = World::new("2022-08-15T05:00:00+08:00");
    let receiver = Receiver::new(&[]).await;
    world.tell(vec![subscriber("all", &receiver, all(), &format!("{OLD}\n"))]);
    let stop = Window { deadlines: None, ..window(Disposition::HoldForRelease) };
    world.declare(stop).await;
    world.clock.set("2022-08-15T07:00:00+08:00");
    world.restore().await;
    receiver.calls(2).await;
    for districts in [vec!["110105".parse().unwrap()], Vec::new()] {
        let cells = Selector { district: districts, ..Selector::default() };
        world.order(Command::Release { window: "stop".parse().unwrap(), cells }).await;
    }
    let calls = receiver.calls(4).await;
    let told = calls.iter().skip(1).map(|call| {
        let told = call.json();
        json!([told["type"], told["data"]["message"]["en"]])
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            json!([
                "window.restored",
                "The system is back, and what a person has to release waits: filing."
            ]),
            json!([
                "window.restored",
                "Part of what was stopped is handled again: filing (110105)."
            ]),
            json!(["window.ended", "The stop is over: filing is handled again."]),
        ]
    );
}

/// Checks that the reference library signs the call alike with each secret, and nothing else so.
/// (Its own check knows no other time than the machine's.)
fn verified(call: &Call, secrets: &[&str]) {
    let given: Vec<&str> = call.header("webhook-signature").split(' ').collect();
    let at: i64 = call.header("webhook-timestamp").parse().unwrap();
    let sign = |secret: &str, id: &str, at: i64, body: &[u8]| {
        Webhook::new(secret).unwrap().sign(id, at, body).unwrap()
    };
    let expected: Vec<String> =
        secrets.iter().map(|secret| sign(secret, call.id(), at, &call.body)).collect();
    assert_eq!(given, expected);
    let mut flipped = call.body.to_vec();
    flipped[10] ^= 1;
    for other in [
        sign(secrets[0], call.id(), at, &flipped),
        sign(secrets[0], call.id(), at + 1, &call.body),
        sign(secrets[0], "window_stop_9_started", at, &call.body),
        sign("whsec_c3RyYW5nZXJzdHJhbmdlcnN0cmFuZ2Vy", call.id(), at, &call.body),
    ] {
        assert!(!given.contains(&other.as_str()));
    }
}

#[tokio::test]
async fn a_receiver_that_is_away_for_two_days_loses_nothing_and_keeps_the_order() {
    let mut world = World::new("2022-08-10T19:00:00+08:00");
    // 302 is no success; 503 asks for an hour.
    let script = [(500, None), (302, None), (503, Some("3600"))];
    let receiver = Receiver::new(&script).await;
    let steady = Receiver::new(&[]).await;
    world.tell(vec![
        subscriber("away", &receiver, all(), OLD),
        subscriber("steady", &steady, all(), OLD),
    ]);
    world.declare(stop()).await;
    receiver.calls(1).await;
    // Paused on the given clock: nothing comes by itself, and what is due comes in order.
    for count in 2..=4 {
        on_until(&world, &receiver, count).await;
    }
    world.clock.set("2022-08-11T19:00:00+08:00");
    let calls = receiver.calls(5).await;
    let at = |call: &Call| call.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(at(&calls[3]) - at(&calls[2]) >= 3600, "it wanted to be left alone for an hour");
    assert_eq!(
        ids(&calls),
        [
            "window_stop_1_announced",
            "window_stop_1_announced",
            "window_stop_1_announced",
            "window_stop_1_announced",
            "window_stop_1_reminder-24"
        ]
    );
    assert!(calls[..4].iter().all(|call| call.body == calls[0].body), "the same bytes");
    assert_eq!(calls.iter().map(|call| call.status).collect::<Vec<_>>(), [500, 302, 503, 204, 204]);
    // Now it does not answer at all: two days, and the stop with them.
    receiver.script.lock().unwrap().extend([(503, None); 200]);
    world.clock.set("2022-08-12T18:00:00+08:00");
    receiver.calls(6).await;
    world.clock.set("2022-08-12T19:00:00+08:00");
    steady.calls(4).await;
    world.clock.set("2022-08-14T19:00:00+08:00");
    world.restore().await;
    steady.calls(5).await;
    world.reached("steady", 6).await;
    // A restart in the middle of it changes nothing.
    world.kill().await;
    receiver.script.lock().unwrap().clear();
    world.tell(vec![
        subscriber("away", &receiver, all(), OLD),
        subscriber("steady", &steady, all(), OLD),
    ]);
    let mut all = receiver.calls.subscribe();
    let ended = all.wait_for(|calls| {
        calls.iter().any(|call| call.status == 204 && call.id() == "window_stop_2_ended")
    });
    let mut calls =
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap().unwrap().clone();
    calls.retain(|call| call.status == 204);
    let expected = [
        "window_stop_1_announced",
        "window_stop_1_reminder-24",
        "window_stop_1_reminder-1",
        "window_stop_1_started",
        "window_stop_2_ended",
    ];
    assert_eq!(ids(&calls), expected);
    assert_eq!(ids(&steady.calls(5).await), expected, "nothing twice where nothing failed");
}

#[tokio::test]
async fn a_crash_between_the_call_and_its_place_tells_once_more_under_the_same_id() {
    let mut world = World::new("2022-08-10T19:00:00+08:00");
    let receiver = Receiver::new(&[]).await;
    let to = || vec![subscriber("all", &receiver, all(), OLD)];
    world.tell(to());
    let place = world.outbox().join("all.place");
    let before = std::fs::read(&place).unwrap();
    world.declare(stop()).await;
    receiver.calls(1).await;
    world.reached("all", 2).await;
    world.kill().await;
    std::fs::write(&place, before).unwrap();
    world.tell(to());
    let calls = receiver.calls(2).await;
    assert_eq!(ids(&calls), ["window_stop_1_announced"; 2]);
    assert_eq!(calls[0].body, calls[1].body);
    // A crash after it tells nothing again.
    world.clock.set("2022-08-11T19:00:00+08:00");
    receiver.calls(3).await;
    world.reached("all", 3).await;
    world.kill().await;
    world.tell(to());
    world.clock.set("2022-08-12T18:00:00+08:00");
    let calls = receiver.calls(4).await;
    assert_eq!(ids(&calls[2..]), ["window_stop_1_reminder-24", "window_stop_1_reminder-1"]);
}

#[tokio::test]
async fn what_came_due_while_the_daemon_was_down_is_told_unless_the_stop_has_begun() {
    for (back, expected) in [
        ("2022-08-12T18:30:00+08:00", vec!["1_reminder-24", "1_reminder-1"]),
        ("2022-08-12T19:30:00+08:00", vec!["1_started"]),
    ] {
        let mut world = World::new("2022-08-10T19:00:00+08:00");
        let receiver = Receiver::new(&[]).await;
        let to = || vec![subscriber("all", &receiver, all(), OLD)];
        world.tell(to());
        world.declare(stop()).await;
        receiver.calls(1).await;
        world.reached("all", 2).await;
        world.kill().await;
        world.clock.set(back);
        world.tell(to());
        receiver.calls(1 + expected.len()).await;
        let planned = ["2022-09-20T19:00:00+08:00", "2022-09-21T06:00:00+08:00"].map(at);
        let planned = Interval::new(planned[0], planned[1]).unwrap();
        let next = Window { id: "next".parse().unwrap(), planned, published: planned, ..stop() };
        world.declare(next).await;
        let calls = receiver.calls(2 + expected.len()).await;
        let told: Vec<String> = ids(&calls[1..]);
        let mut all: Vec<String> = expected.iter().map(|id| format!("window_stop_{id}")).collect();
        all.push("window_next_1_announced".to_owned());
        assert_eq!(told, all, "{back}");
    }
}

#[tokio::test]
async fn a_stop_that_was_declared_between_a_clock_set_back_and_the_next_look_is_told() {
    let mut world = World::new("2022-08-10T19:00:00+08:00");
    let receiver = Receiver::new(&[]).await;
    let to = || vec![subscriber("all", &receiver, all(), OLD)];
    world.tell(to());
    for _ in 0..3000 {
        if world.outbox().join("outbox").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.kill().await;
    world.clock.set("2022-08-10T18:00:00+08:00");
    world.declare(stop()).await;
    world.clock.set("2022-08-10T18:30:00+08:00");
    world.tell(to());
    let calls = receiver.calls(1).await;
    assert_eq!(calls[0].id(), "window_stop_1_announced");
    assert_eq!(calls[0].json()["timestamp"], "2022-08-10T18:00:00+08:00");
}

#[tokio::test]
async fn one_that_answers_410_is_left_alone_until_the_configuration_is_read_again() {
    let mut world = World::new("2022-08-10T19:00:00+08:00");
    let receiver = Receiver::new(&[(410, None)]).await;
    let steady = Receiver::new(&[]).await;
    world.tell(vec![
        subscriber("gone", &receiver, all(), OLD),
        subscriber("steady", &steady, all(), OLD),
    ]);
    world.declare(stop()).await;
    receiver.calls(1).await;
    world.clock.set("2022-08-11T19:00:00+08:00");
    steady.calls(2).await;
    assert_eq!(receiver.calls.borrow().len(), 1);
    world.state().announcements.reloaded();
    let calls = receiver.calls(3).await;
    let told = ["window_stop_1_announced", "window_stop_1_announced", "window_stop_1_reminder-24"];
    assert_eq!(ids(&calls), told, "what waited was kept");
}

#[tokio::test]
async fn a_moved_deadline_is_told_once_to_whose_case_it_is() {
    let mut world = World::new("2022-08-10T19:00:00+08:00");
    let (mine, theirs, stops) =
        (Receiver::new(&[]).await, Receiver::new(&[]).await, Receiver::new(&[]).await);
    let of = |code: &str| Subscription {
        kinds: vec![Kind::Extended],
        institution: Some(code.parse().unwrap()),
        ..all()
    };
    world.tell(vec![
        subscriber("mine", &mine, of(MINE), OLD),
        subscriber("theirs", &theirs, of("H11010500002"), OLD),
        subscriber("stops", &stops, all(), OLD),
    ]);
    let case = |code: &str, original: &str, reference| Case {
        institution: code.parse().unwrap(),
        business: "filing.one".parse().unwrap(),
        original: original.parse().unwrap(),
        reference: InsuredHash(reference),
        ground: None,
        owed_by: None,
    };
    for (code, original, reference) in [
        (MINE, "2022-08-13", 1),
        (MINE, "2022-08-13", 2),
        (MINE, "2022-09-01", 3),
        ("H11010500002", "2022-08-14", 4),
    ] {
        let reply = world.engine.register_deadline(case(code, original, reference)).await;
        assert!(matches!(reply, Reply::Deadline { .. }), "{reply:?}");
    }
    world.declare(window(Disposition::Hold)).await;
    let (mine, theirs) = (mine.calls(1).await, theirs.calls(1).await);
    assert_eq!(ids(&stops.calls(1).await), ["window_stop_1_announced"]);
    let told = mine[0].json();
    assert_eq!(told["type"], "deadline.extended");
    let data = &told["data"];
    assert_eq!(
        (&data["original"], &data["business"]),
        (&"2022-08-13".into(), &"filing.one".into())
    );
    assert_eq!(data["cases"].as_array().unwrap().len(), 2);
    assert_eq!(theirs[0].json()["data"]["original"], "2022-08-14");
    assert!(mine[0].id().ends_with(MINE) && !mine[0].id().contains('.'));
    // Equal to what whoever asks is answered.
    let listed = world.get("/v1/deadlines").await;
    for item in listed["items"].as_array().unwrap() {
        if item["original"] == "2022-08-13" {
            assert_eq!(item["effective"], data["effective"]);
            assert!(data["cases"].as_array().unwrap().contains(&item["id"]));
        }
    }
    asked_in_every_way(&world).await;
    let own = world.get("/v1/announcements").await;
    let own = own["items"].as_array().unwrap();
    assert_eq!(own.len(), 2, "theirs is not shown");
    // Moved on by a longer stop: one more, and nobody else's.
    let window = "stop".parse().unwrap();
    let ends_at = at("2022-08-17T06:00:00+08:00");
    world.order(Command::MoveWindowEnd { window, row: None, ends_at, if_version: None }).await;
    let own = wait_for_announcements(&world, 4).await;
    let effective: Vec<&str> = own
        .iter()
        .filter(|one| one["type"] == "deadline.extended")
        .map(|one| one["data"]["effective"].as_str().unwrap())
        .collect();
    assert_eq!(effective.len(), 2);
    assert!(effective[1] < effective[0], "newest first: {effective:?}");
}

/// Of three cases, two of which the stop has moved: by record, business, original and window.
async fn asked_in_every_way(world: &World) {
    let ids = async |query: &str| {
        let listed = world.get(&format!("/v1/deadlines{query}")).await;
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].clone()).collect::<Vec<_>>()
    };
    let every = ids("").await;
    assert_eq!(every.len(), 3);
    assert_eq!(ids(&format!("?id={}", every[2].as_str().unwrap())).await, every[2..]);
    assert_eq!(ids("?business=filing.one").await, every);
    assert_eq!(ids("?original=2022-08-13").await, every[..2]);
    assert_eq!(ids("?window=stop").await, every[..2], "the third is no date of the stop");
    assert_eq!(ids("?window=other").await, [Value::Null; 0]);
}

async fn wait_for_announcements(world: &World, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let told = world.get("/v1/announcements").await;
        let items = told["items"].as_array().unwrap().clone();
        if items.len() >= count {
            return items;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} announcements expected");
}
