//! The operators' interface against an engine that answers as it is told.
//!
//! The engine here is a queue: it records each event and gives one answer. What it cannot do is
//! show its state, so every look at it ends in 503; how views are shown is tested beside the
//! code that shows them.

use crate::intake_rig::HashVault;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use holdover::admin::audit::{Audit, FILE_NAME, Outcome, Record, tail, verify};
use holdover::admin::proposals::Proposals;
use holdover::admin::types::{IntakeCounters, TransactionDetail};
use holdover::admin::{ROUTES, Route, State, router};
use holdover::domain::cell::{Channel, Institution};
use holdover::domain::deadline::Computed;
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::state::State as Standing;
use holdover::domain::time::{Monotonic, Now, Timestamp};
use holdover::engine::clock::Doubt;
use holdover::engine::event::{Command, Done, Event, Fault, Order, Reply, ReplyTo, Sought};
use holdover::engine::ports::{Clock, Later};
use holdover::engine::run::{Handle, Input};
use holdover::web::access::{Holder, KeyFile, NewKey, Scope, create};
use holdover::web::body::BodyLimits;
use holdover::web::server::answer;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

const BOUND: Duration = Duration::from_secs(20);
const NOW: &str = "2022-08-13T02:00:00Z";

/// A clock that stands still, and what it is doubted for.
#[derive(Default)]
struct StillClock(Mutex<Option<Doubt>>);

impl Clock for StillClock {
    fn now(&self) -> Now {
        Now { wall: NOW.parse().unwrap(), monotonic: Monotonic(0) }
    }
    fn sleep_until(&self, _: Timestamp) -> Later<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    fn is_virtual(&self) -> bool {
        true
    }
    fn doubt(&self) -> Option<Doubt> {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct World {
    clock: Arc<StillClock>,
    folder: tempfile::TempDir,
    pub(crate) router: axum::Router,
    acts: TaskTracker,
    not_ready: Arc<Mutex<Vec<String>>>,
    queue: mpsc::Receiver<Input>,
}

pub(crate) fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let (tx, queue) = mpsc::channel(64);
    let not_ready = Arc::new(Mutex::new(Vec::new()));
    let acts = TaskTracker::new();
    let reasons = Arc::clone(&not_ready);
    let clock = Arc::<StillClock>::default();
    let state = State {
        engine: Handle::new(tx),
        clock: clock.clone(),
        keys: Arc::new(KeyFile::open(&folder.path().join("keys.json")).unwrap()),
        audit: Arc::new(Audit::open(folder.path()).unwrap()),
        history: Arc::new(|_, _| Ok(Vec::new())),
        vault: Arc::new(HashVault),
        numbers: Arc::default(),
        zone: "Asia/Shanghai".parse().unwrap(),
        proposals: Arc::new(Proposals::new(Duration::from_secs(3600))),
        body_limits: BodyLimits::default(),
        acts: acts.clone(),
        not_ready: Arc::new(move || reasons.lock().unwrap().clone()),
        intake: Arc::new(IntakeCounters::default),
        metrics: Arc::new(|| "holdover_up 1\n".to_owned()),
        vitals: Arc::new(Default::default),
        configuration: Arc::new(|| panic!("no configuration here")),
        damage: Arc::new(Vec::new),
    };
    World { router: router(state), folder, acts, not_ready, queue, clock }
}

impl World {
    fn key(&self, holder: Holder, scopes: &[Scope]) -> String {
        let created_at = "2022-08-01T00:00:00Z".parse().unwrap();
        let new = NewKey { holder, scopes: scopes.to_vec(), created_at, expires_at: None };
        create(&self.folder.path().join("keys.json"), new).unwrap()
    }

    pub(crate) fn operator(&self, scopes: &[Scope]) -> String {
        self.key(Holder::Operator { name: "Li Na".to_owned() }, scopes)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join(FILE_NAME)
    }

    fn records(&self) -> Vec<Record> {
        verify(&self.log(), None).unwrap();
        tail(&self.log(), 100).unwrap()
    }

    /// Makes the engine answer every event by `reply` from now on; what it got is kept.
    pub(crate) fn engine(
        &mut self,
        mut reply: impl FnMut(&Event) -> Reply + Send + 'static,
    ) -> Arc<Mutex<Vec<Event>>> {
        let (_, empty) = mpsc::channel(1);
        let mut queue = std::mem::replace(&mut self.queue, empty);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(input) = queue.recv().await {
                if let Input::Event(make, to) = input {
                    let event = make(ReplyTo(1));
                    let answer = reply(&event);
                    kept.lock().unwrap().push(event);
                    drop(to.send(answer));
                }
            }
        });
        seen
    }
}

fn request(method: &str, path: &str, key: Option<&str>, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    request.header("x-request-id", "req-1").body(body).unwrap()
}

async fn call(
    router: &axum::Router,
    method: &str,
    path: &str,
    key: Option<&str>,
    body: &Value,
) -> (StatusCode, Value) {
    let request = request(method, path, key, body);
    let response = tokio::time::timeout(BOUND, answer(router.clone(), request));
    let response = response.await.unwrap().unwrap();
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn path_of(route: &Route) -> String {
    let id = if route.path.contains("/windows/") {
        "stop".to_owned()
    } else if route.path.contains("/deadlines/") {
        Numbers::default().deadline(Seq(7)).to_string()
    } else {
        Numbers::default().transaction(Seq(7)).to_string()
    };
    route.path.replace("{id}", &id).replace("{version}", "1")
}

/// A body that lacks nothing but its reason.
fn body_of(route: &Route) -> Value {
    match route.path.rsplit('/').next().unwrap() {
        "windows" => json!({
            "id": "stop", "starts_at": "2022-08-13T03:00:00Z", "ends_at": "2022-08-14T22:00:00Z",
            "policy": [{"clause": "1", "disposition": "hold"}],
        }),
        "confirm" | "dismiss" => json!({}),
        "change" => json!({"policy": [{"clause": "1", "disposition": "hold"}]}),
        "extend" if route.path.contains("windows") => json!({"ends_at": "2022-08-16T00:00:00Z"}),
        "restore" | "release" | "open" => json!({"cells": {"upstream": ["agency"]}}),
        "close" | "extend" => {
            json!({"cells": {"upstream": ["agency"]}, "until": "2022-08-13T03:00:00Z"})
        }
        "told" => json!({"how": "telephone"}),
        "resolve" => json!({"verdict": "not_applied"}),
        "import" => json!({"rows": [{"institution": "H11010500001", "business": "filing.one",
            "original": "2022-08-13", "reference": "1"}]}),
        "approve" | "reject" | "apply" | "end" | "cancel" | "redrive" | "skip" | "ask"
        | "trust-clock" => json!({}),
        other => panic!("no body for {other}"),
    }
}

fn acts() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.is_act())
}

#[tokio::test]
async fn a_call_is_made_only_with_its_scope_and_only_by_a_person() {
    let mut world = world();
    world.engine(|_| Reply::Unavailable);
    let institution = Institution {
        code: "H11010100001".parse().unwrap(),
        class: "hospital".parse().unwrap(),
        district: "110101".parse().unwrap(),
        labels: Vec::new(),
        credit: false,
    };
    let submitter = Holder::Institution { institution, channels: vec![Channel::System] };
    let submitter = world.key(submitter, &[Scope::Submit, Scope::Read]);
    let scopes = [Scope::Read, Scope::Operate, Scope::Approve];
    let keys = scopes.map(|scope| (scope, world.operator(&[scope])));
    let mut needed = [0; 3];
    for route in ROUTES {
        let path = path_of(route);
        let body = if route.is_act() { json!({}) } else { Value::Null };
        let stranger = call(&world.router, route.method, &path, None, &body).await;
        assert_eq!(stranger.0, StatusCode::UNAUTHORIZED, "{route:?}");
        let other = call(&world.router, route.method, &path, Some(&submitter), &body).await;
        assert_eq!(other.0, StatusCode::FORBIDDEN, "{route:?}");
        for (index, (scope, key)) in keys.iter().enumerate() {
            let (status, body) = call(&world.router, route.method, &path, Some(key), &body).await;
            let may = *scope == route.scope;
            needed[index] += usize::from(may);
            assert_eq!(status == StatusCode::FORBIDDEN, !may, "{route:?} {scope} {body}");
            assert_ne!(status, StatusCode::NOT_FOUND, "{route:?} is not routed");
        }
    }
    assert_eq!(needed.iter().sum::<usize>(), ROUTES.len());
    assert_eq!(needed[2], 5, "restore, release, resolve, trust-clock and approve");
}

#[tokio::test]
async fn no_act_is_tried_without_a_reason_or_with_a_person_in_it() {
    let mut world = world();
    let seen = world.engine(|_| Reply::Unavailable);
    let key = world.operator(&[Scope::Operate, Scope::Approve]);
    let identity =
        holdover::domain::identity::synthetic_resident(110101, "1980-01-01".parse().unwrap(), 12);
    let long = "长".repeat(501);
    let named = format!("by {identity}");
    for route in acts() {
        let path = path_of(route);
        for (reason, code) in [
            (None, "reason_missing"),
            (Some("  \n"), "reason_missing"),
            (Some(long.as_str()), "reason_missing"),
            (Some(named.as_str()), "personal_data_in_text"),
        ] {
            let mut body = body_of(route);
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            let (status, answer) =
                call(&world.router, route.method, &path, Some(&key), &body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{route:?} {answer}");
            assert_eq!(answer["code"], code, "{route:?}");
            assert_eq!(answer["request_id"], "req-1");
            assert!(!answer.to_string().contains(&identity));
        }
    }
    assert!(seen.lock().unwrap().is_empty(), "the engine was given nothing");
    assert!(world.records().is_empty(), "nothing was begun");
}

#[tokio::test]
async fn an_act_is_on_the_disk_before_the_engine_hears_of_it_and_its_end_after() {
    let mut world = world();
    let log = world.log();
    let seen = world.engine(move |_| {
        let written = tail(&log, 10).unwrap();
        assert_eq!(written.last().unwrap().entry.outcome, Outcome::Begun);
        Reply::Done(Done::Transaction(Seq(7), Standing::Waiting))
    });
    let key = world.operator(&[Scope::Operate]);
    let id = Numbers::default().transaction(Seq(7));
    let path = format!("/admin/v1/dead-letters/{id}/redrive");
    let body = json!({"reason": " the core was mended "});
    let (status, answer) = call(&world.router, "POST", &path, Some(&key), &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!((&answer["id"], &answer["state"]), (&json!(id.to_string()), &json!("waiting")));

    let seen = seen.lock().unwrap();
    let Event::Order(_, order) = &seen[0] else { panic!("{seen:?}") };
    let Order { by, reason, command } = &**order;
    assert_eq!((by.as_str(), reason.as_str()), ("Li Na", "the core was mended"));
    assert!(matches!(command, Command::Redrive(Seq(7))));

    let records = world.records();
    assert_eq!(records.len(), 2);
    let (begun, done) = (&records[0].entry, &records[1].entry);
    assert_eq!((begun.outcome, done.outcome), (Outcome::Begun, Outcome::Done));
    assert_eq!((begun.of, done.of), (None, Some(1)));
    assert_eq!(begun.actor, "Li Na");
    assert_eq!(begun.action, "dead_letter.redrive");
    assert_eq!(begun.object, format!("transaction {id}"));
    assert_eq!(begun.request_id, "req-1");
    assert_eq!(begun.scopes, ["operate"]);
    assert_eq!(done.after["state"], "waiting");
    assert_eq!(answer["audit_head"]["hash"], json!(records[1].hash));
}

#[tokio::test]
async fn a_refused_act_and_one_of_unknown_end_are_written_down_as_such() {
    let mut world = world();
    let mut replies = vec![
        Reply::Unavailable,
        Reply::Invalid(Fault::Changed { current: 4 }),
        Reply::Invalid(Fault::WrongState { what: "transaction", state: "applied".to_owned() }),
        Reply::Invalid(Fault::NotFound(Sought::Transaction)),
    ];
    world.engine(move |_| replies.pop().unwrap());
    let key = world.operator(&[Scope::Approve]);
    let path = format!("/admin/v1/in-doubt/{}/resolve", Numbers::default().transaction(Seq(7)));
    let body = json!({"verdict": "applied", "reason": "told by the centre"});
    let mut met = Vec::new();
    for _ in 0..4 {
        let (status, answer) = call(&world.router, "POST", &path, Some(&key), &body).await;
        met.push((status.as_u16(), answer["code"].as_str().unwrap().to_owned()));
    }
    let met: Vec<(u16, &str)> = met.iter().map(|(s, c)| (*s, c.as_str())).collect();
    assert_eq!(
        met,
        [(404, "not_found"), (409, "wrong_state"), (412, "changed"), (503, "unavailable")]
    );
    let ends: Vec<(Outcome, Option<String>)> = world
        .records()
        .into_iter()
        .filter(|r| r.entry.outcome != Outcome::Begun)
        .map(|r| (r.entry.outcome, r.entry.code))
        .collect();
    assert_eq!(
        ends,
        [
            (Outcome::Refused, Some("not_found".to_owned())),
            (Outcome::Refused, Some("wrong_state".to_owned())),
            (Outcome::Refused, Some("changed".to_owned())),
            (Outcome::Unknown, Some("unavailable".to_owned())),
        ]
    );
}

#[tokio::test]
async fn a_closing_is_answered_when_the_engine_answers_and_ends_without_its_operator() {
    let mut world = world();
    let key = world.operator(&[Scope::Operate]);
    let body = json!({
        "cells": {"upstream": ["agency"]}, "until": "2022-08-13T03:00:00Z", "reason": "asked to",
    });
    let request = request("POST", "/admin/v1/gates/close", Some(&key), &body);
    let (hang_up, hung_up) = oneshot::channel::<()>();
    let router = world.router.clone();
    let operator = tokio::spawn(async move {
        tokio::select! {
            response = answer(router, request) => panic!("answered early: {response:?}"),
            _ = hung_up => {}
        }
    });
    let mut next = async || tokio::time::timeout(BOUND, world.queue.recv()).await.unwrap().unwrap();
    let Input::Told(Event::AuditNoted(head)) = next().await else { panic!("expected the note") };
    assert_eq!(head.records, 1, "the order is given when it is known what the log has of it");
    let Input::Event(make, reply) = next().await else { panic!("expected the order") };
    let Event::Order(_, order) = make(ReplyTo(1)) else { panic!("expected an order") };
    assert!(matches!(order.command, Command::CloseGate { .. }));
    drop(hang_up);
    operator.await.unwrap();
    assert_eq!(world.records().len(), 1);

    reply.send(Reply::Done(Done::Gates(Vec::new()))).unwrap();
    world.acts.close();
    tokio::time::timeout(BOUND, world.acts.wait()).await.unwrap();
    let summary = verify(&world.log(), None).unwrap();
    assert_eq!((summary.head.records, summary.unfinished.len()), (2, 0));
}

#[tokio::test]
async fn every_act_that_needs_no_look_reaches_the_engine_as_its_own_command() {
    let mut world = world();
    let seen = world.engine(|event| {
        let Event::Order(_, order) = event else { return Reply::Unavailable };
        Reply::Done(match &order.command {
            Command::DeclareWindow(window) => Done::Window(Arc::new((**window).clone())),
            Command::CloseGate { .. }
            | Command::ExtendGate { .. }
            | Command::OpenGate { .. }
            | Command::TrustClock => Done::Gates(Vec::new()),
            Command::TellDates => Done::Dates(0),
            Command::RegisterCases(_) => Done::Cases(Vec::new()),
            _ => Done::Transaction(Seq(7), Standing::Waiting),
        })
    });
    let key = world.operator(&[Scope::Operate, Scope::Approve]);
    let looks =
        |route: &&Route| route.path.contains("/windows/") || route.path.contains("/proposals/");
    for route in acts().filter(|route| !looks(route)) {
        let mut body = body_of(route);
        body["reason"] = json!("as agreed");
        let (status, answer) =
            call(&world.router, route.method, &path_of(route), Some(&key), &body).await;
        assert!(status.is_success(), "{route:?} {answer}");
        let last = seen.lock().unwrap().pop().unwrap();
        let Event::Order(_, order) = last else { panic!("{last:?}") };
        let name = format!("{:?}", order.command);
        let expected = match route.path.rsplit('/').next().unwrap() {
            "windows" => "DeclareWindow",
            "close" => "CloseGate",
            "extend" => "ExtendGate",
            "open" => "OpenGate",
            "trust-clock" => "TrustClock",
            "told" => "ResultTold",
            "redrive" => "Redrive",
            "skip" => "Skip",
            "ask" => "AskNow",
            "apply" => "TellDates",
            "import" => "RegisterCases",
            "resolve" => "ResolveDoubt",
            other => panic!("{other}"),
        };
        assert!(name.starts_with(expected), "{route:?} {name}");
    }
    assert_eq!(verify(&world.log(), None).unwrap().unfinished, [0u64; 0]);
}

#[tokio::test]
async fn a_window_can_be_declared_by_the_words_of_its_notice() {
    let mut world = world();
    let seen = world.engine(|event| {
        let Event::Order(_, order) = event else { return Reply::Unavailable };
        let Command::DeclareWindow(window) = &order.command else { return Reply::Unavailable };
        Reply::Done(Done::Window(Arc::new((**window).clone())))
    });
    let key = world.operator(&[Scope::Operate]);
    let body = json!({
        "id": "stop", "text": "8月12日19:00至8月15日6:00", "published": "2022-08-09",
        "policy": [{"clause": "1", "disposition": "hold"}], "reason": "the notice",
    });
    let (status, answer) =
        call(&world.router, "POST", "/admin/v1/windows", Some(&key), &body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["starts_at"], "2022-08-12T11:00:00Z");
    assert_eq!(answer["ends_at"], "2022-08-14T22:00:00Z");
    let seen = seen.lock().unwrap();
    let Event::Order(_, order) = &seen[0] else { panic!("{seen:?}") };
    let Command::DeclareWindow(window) = &order.command else { panic!("{order:?}") };
    assert_eq!((window.author.as_str(), window.zone.name()), ("Li Na", "Asia/Shanghai"));
}

#[tokio::test]
async fn a_body_is_refused_for_what_it_must_not_say_and_is_never_repeated() {
    let mut world = world();
    let seen = world.engine(|_| Reply::Unavailable);
    let key = world.operator(&[Scope::Operate]);
    let close = "/admin/v1/gates/close";
    let cells = json!({"upstream": ["agency"]});
    for (body, status, code) in [
        (json!({"cells": cells, "reason": "x", "author": "somebody-else"}), 422, "invalid"),
        (json!({"cells": cells, "reason": "x", "by": "somebody-else"}), 422, "invalid"),
        (json!({"cells": cells, "reason": "x"}), 422, "invalid"),
        (json!({"cells": cells, "reason": "x", "until": "somebody-else"}), 422, "invalid"),
        (json!({"cells": cells, "reason": "x", "until": "2022-08-13T01:00:00Z"}), 422, "invalid"),
        (json!({"reason": "x", "until": "2022-08-13T03:00:00Z"}), 422, "cells_missing"),
        (json!("somebody-else"), 422, "invalid"),
    ] {
        let (met, answer) = call(&world.router, "POST", close, Some(&key), &body).await;
        assert_eq!((met.as_u16(), &answer["code"]), (status, &json!(code)), "{body}");
        assert!(!answer.to_string().contains("somebody-else"), "{answer}");
    }
    let identity =
        holdover::domain::identity::synthetic_resident(110101, "1980-01-01".parse().unwrap(), 12);
    let mut window = body_of(&ROUTES[1]);
    window["reason"] = json!("the notice");
    window["policy"][0]["decided_because"] = json!(format!("as in the case of {identity}"));
    let (_, answer) = call(&world.router, "POST", "/admin/v1/windows", Some(&key), &window).await;
    assert_eq!(answer["code"], "personal_data_in_text");
    assert!(seen.lock().unwrap().is_empty());
    assert!(world.records().is_empty());
}

#[tokio::test]
async fn what_cannot_be_found_or_looked_at_says_so() {
    let mut world = world();
    world.engine(|event| {
        let Event::CheckDeadline { original, .. } = event else { return Reply::Unavailable };
        let date = "2022-08-16".parse().unwrap();
        let computed = Computed { original: *original, date, is_final: false, moves: Vec::new() };
        Reply::Deadline { id: None, duplicate: false, computed: Box::new(computed) }
    });
    let key = world.operator(&[Scope::Read, Scope::Operate]);
    let foreign = Numbers::new(3, Vec::new()).transaction(Seq(7));
    for (path, expected) in [
        ("/admin/v1/nothing".to_owned(), 404),
        (format!("/admin/v1/transactions/{foreign}"), 404),
        ("/admin/v1/transactions/txn_x".to_owned(), 404),
        ("/admin/v1/transactions?state=applied".to_owned(), 422),
        ("/admin/v1/transactions?limit=0".to_owned(), 422),
        ("/admin/v1/transactions?cursor=x".to_owned(), 422),
        ("/admin/v1/transactions?state=held".to_owned(), 422),
        ("/admin/v1/windows".to_owned(), 503),
        ("/admin/v1/ledger".to_owned(), 503),
        ("/admin/v1/audit".to_owned(), 200),
    ] {
        let (status, answer) = call(&world.router, "GET", &path, Some(&key), &Value::Null).await;
        assert_eq!(status.as_u16(), expected, "{path} {answer}");
    }
    let path = "/admin/v1/deadlines/check?business=filing.other&original=2022-08-13\
                &received=2022-08-16";
    let (status, answer) = call(&world.router, "GET", path, Some(&key), &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["effective"], "2022-08-16");
    assert_eq!((&answer["final"], &answer["in_time"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn readiness_names_its_reasons_missing_keys_and_a_clock_that_is_driven() {
    let world = world();
    let get = async |path: &str| call(&world.router, "GET", path, None, &Value::Null).await;
    let (status, text) = get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    let notes = "note: no_key_may_submit\nnote: no_key_may_operate\n";
    assert_eq!(text, format!("ready (virtual clock)\n{notes}"));
    world.operator(&[Scope::Operate]);
    let (_, text) = get("/readyz").await;
    assert_eq!(text, "ready (virtual clock)\nnote: no_key_may_submit\n");
    world.not_ready.lock().unwrap().push("the journal is poisoned".to_owned());
    let (status, body) = get("/readyz?verbose").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["reasons"][0], "the journal is poisoned");
    assert_eq!(body["notes"], json!(["no_key_may_submit"]));
    assert_eq!(body["clock"], "virtual");
    world.not_ready.lock().unwrap().clear();
    assert_eq!(get("/readyz?verbose").await.1.get("clock_doubt"), None);
    let (shows, expected) = ("2022-08-13T04:00:00Z", NOW);
    let doubt = Doubt { shows: shows.parse().unwrap(), expected: expected.parse().unwrap() };
    *world.clock.0.lock().unwrap() = Some(doubt);
    let (status, body) = get("/readyz?verbose").await;
    assert_eq!(status, StatusCode::OK, "submissions are taken durably all the same");
    assert_eq!(body["clock_doubt"], json!({ "shows": shows, "expected": expected }));
    let (status, text) = get("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.as_str().unwrap().contains("the clock is doubted"), "{text}");
    assert_eq!(get("/livez").await.0, StatusCode::OK);
    assert_eq!(get("/metrics").await.1, "holdover_up 1\n");
}

#[test]
fn a_detail_is_read_back_as_it_was_shown() {
    let text = json!({
        "id": Numbers::default().transaction(Seq(7)), "institution": "H11010100001",
        "cell": {
            "upstream": "agency", "business": "filing.other", "operation": "handle",
            "class": "hall", "channel": "hall", "district": "110101", "labels": [],
            "attributes": {},
        },
        "state": "applied", "amount": "1.00", "accepted_at": NOW, "attempts": 1, "failures": 0,
        "history": [{"record": 7, "at": NOW, "what": "accepted"}],
    });
    let detail: TransactionDetail = serde_json::from_value(text.clone()).unwrap();
    assert_eq!(serde_json::to_value(&detail).unwrap(), text);
}
