//! The simulated core's listeners: one for each upstream, one for its control API (`bus` is the
//! way over Kafka).
//!
//! *Down* is real: the listener is closed, its port is kept by a socket that does not listen,
//! and open connections are cut, so that a caller meets a refused connection. Every task
//! belongs to a set that `Simulated::serve` owns and ends with it. Pauses of `slow_ms` are a
//! property of sockets and run in real time; late applies follow the clock.

use super::bus::Bus;
use super::log::Log;
use super::memory::{Memory, Request, Verdict};
use super::script::Script;
use super::{Error, Ready, SimulateCore};
use crate::domain::attachment::Digest;
use crate::domain::time::Timestamp;
use crate::engine::ports::Clock;
use crate::kafka::Connection;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
const LISTEN_BACKLOG: u32 = 1024;
const PAGE: &str = "<!doctype html><html><body>system maintenance</body></html>";

/// A connection is cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("cut as told")]
pub(super) struct Cut;

pub(super) type Answered = Result<Response<Full<Bytes>>, Cut>;

/// What every task of the core shares.
pub(super) struct Shared {
    memory: Mutex<Memory>,
    clock: Arc<dyn Clock>,
    /// A late apply has been planned.
    planned: Notify,
    /// Why the core must stop.
    broken: Mutex<Option<io::Error>>,
    stop: CancellationToken,
}

impl Shared {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log that cannot be written is no evidence: the core stops.
    pub(super) fn or_stop<T>(&self, result: io::Result<T>) -> Option<T> {
        result
            .map_err(|error| {
                self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                self.stop.cancel();
            })
            .ok()
    }
}

/// An order to a listener: close or open, and whom to tell.
struct Turn {
    down: bool,
    done: oneshot::Sender<io::Result<()>>,
}

/// A simulated core whose listeners are open.
pub struct Simulated {
    shared: Arc<Shared>,
    ready: Ready,
    doors: Vec<Door>,
    buses: Vec<Bus>,
    turns: BTreeMap<String, (usize, mpsc::Sender<Turn>)>,
    control: TcpListener,
}

/// Answers when the next late apply is due, in milliseconds since the Unix epoch.
pub(super) type NextDue = Arc<dyn Fn() -> Option<i64> + Send + Sync>;

impl Simulated {
    /// Tells a driver of the clock when something becomes due here.
    #[must_use]
    pub fn next_due(&self) -> NextDue {
        let shared = Arc::clone(&self.shared);
        Arc::new(move || shared.memory().due().map(|at| at.as_millis()))
    }

    /// Opens the listeners and the log. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bind(options: SimulateCore, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        check(&options)?;
        let log = match &options.log {
            Some(path) => Some(Log::open(path).map_err(Error::Log)?),
            None => None,
        };
        let (control, control_at) = listen("the control api", options.control)?;
        let mut doors = Vec::new();
        let mut turns = BTreeMap::new();
        let mut upstreams = BTreeMap::new();
        for (index, name) in options.upstreams.iter().enumerate() {
            let told = options.listen.iter().find(|listen| listen.upstream == *name);
            let wanted = told.map_or(SocketAddr::from(([127, 0, 0, 1], 0)), |l| l.address);
            let (listener, address) = listen(name.as_str(), wanted)?;
            let (sender, receiver) = mpsc::channel(1);
            doors.push(Door { index, address, way: Way::Open(listener), turns: receiver });
            turns.insert(name.to_string(), (index, sender));
            upstreams.insert(name.to_string(), format!("http://{address}"));
        }
        let buses = buses(&options)?;
        let names = options.upstreams.iter().map(ToString::to_string).collect();
        let memory = Memory::new(names, options.recognise_repeats, options.seed, log);
        let shared = Shared {
            memory: Mutex::new(memory),
            clock,
            planned: Notify::new(),
            broken: Mutex::new(None),
            stop: CancellationToken::new(),
        };
        let ready = Ready { ready: true, upstreams, control: format!("http://{control_at}") };
        Ok(Self { shared: Arc::new(shared), ready, doors, buses, turns, control })
    }

    /// Where everything listens.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// [`Error::Log`] when the log cannot be written any more.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { shared, doors, buses, turns, control, ready: _ } = self;
        let mut tasks = JoinSet::new();
        for bus in buses {
            tasks.spawn(bus.keep(Arc::clone(&shared)));
        }
        for door in doors {
            tasks.spawn(door.keep(Arc::clone(&shared)));
        }
        tasks.spawn(keep_control(control, Arc::new(turns), Arc::clone(&shared)));
        tasks.spawn(apply_late(Arc::clone(&shared)));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = shared.stop.cancelled() => {}
        }
        tasks.shutdown().await;
        let broken = shared.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        broken.map_or(Ok(()), |error| Err(Error::Log(error)))
    }
}

fn check(options: &SimulateCore) -> Result<(), Error> {
    let mut names: Vec<&str> = options.upstreams.iter().map(|name| name.as_str()).collect();
    names.sort_unstable();
    if names.contains(&"stats") {
        return Err(Error::Options("an upstream cannot be named stats".into()));
    }
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::Options(format!("upstream {} is given twice", twice[0])));
    }
    match options.listen.iter().find(|listen| !options.upstreams.contains(&listen.upstream)) {
        Some(listen) => {
            let text = format!("--listen names {}, which no --upstream does", listen.upstream);
            Err(Error::Options(text))
        }
        None => Ok(()),
    }
}

/// The upstreams that are spoken to over Kafka as well.
fn buses(options: &SimulateCore) -> Result<Vec<Bus>, Error> {
    let connection = Connection { brokers: options.kafka.clone() };
    let mut buses = Vec::new();
    for told in &options.topics {
        let place = options.upstreams.iter().position(|name| *name == told.upstream);
        let Some(index) = place else {
            let text = format!("--topic names {}, which no --upstream does", told.upstream);
            return Err(Error::Options(text));
        };
        let named = (index, told.upstream.as_str());
        let bus = Bus::new(named, &told.topic, &connection);
        buses.push(bus.map_err(|error| Error::Options(format!("--kafka: {error}")))?);
    }
    Ok(buses)
}

/// A socket that has its port and does not listen: connecting to it is refused.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(what: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    reserve(address)
        .and_then(|socket| socket.listen(LISTEN_BACKLOG))
        .and_then(|listener| listener.local_addr().map(|at| (listener, at)))
        .map_err(|source| Error::Listen { what: what.to_owned(), address, source })
}

/// Whether an upstream can be connected to.
enum Way {
    Open(TcpListener),
    /// Closed; the port is kept where that was possible.
    Closed(Option<TcpSocket>),
}

/// The listener of one upstream.
struct Door {
    index: usize,
    address: SocketAddr,
    way: Way,
    turns: mpsc::Receiver<Turn>,
}

impl Door {
    async fn keep(mut self, shared: Arc<Shared>) {
        let mut visits = JoinSet::new();
        loop {
            tokio::select! {
                Some(turn) = self.turns.recv() => {
                    let result = self.turn(turn.down, &mut visits).await;
                    // The asker may have gone away.
                    drop(turn.done.send(result));
                }
                stream = accept(&self.way) => {
                    let (shared, index) = (Arc::clone(&shared), self.index);
                    visits.spawn(serve_one(stream, move |request| {
                        visit(Arc::clone(&shared), index, request)
                    }));
                }
                Some(_) = visits.join_next() => {}
            }
        }
    }

    async fn turn(&mut self, down: bool, visits: &mut JoinSet<()>) -> io::Result<()> {
        match (&mut self.way, down) {
            (Way::Open(_), true) => {
                self.way = Way::Closed(None);
                visits.shutdown().await;
                self.way = Way::Closed(Some(reserve(self.address)?));
            }
            (Way::Closed(kept), false) => {
                let socket = match kept.take() {
                    Some(socket) => socket,
                    None => reserve(self.address)?,
                };
                self.way = Way::Open(socket.listen(LISTEN_BACKLOG)?);
            }
            (Way::Open(_), false) | (Way::Closed(_), true) => {}
        }
        Ok(())
    }
}

async fn accept(way: &Way) -> TcpStream {
    match way {
        Way::Open(listener) => loop {
            // A visitor that has already left again is not our trouble.
            if let Ok((stream, _)) = listener.accept().await {
                return stream;
            }
            tokio::task::yield_now().await;
        },
        Way::Closed(_) => std::future::pending().await,
    }
}

async fn serve_one<F, R>(stream: TcpStream, handle: F)
where
    F: Fn(hyper::Request<Incoming>) -> R + Send + 'static,
    R: Future<Output = Answered> + Send + 'static,
{
    // A visitor that goes away, or that we cut, is no error of ours.
    drop(stream.set_nodelay(true));
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(handle))
            .await,
    );
}

async fn apply_late(shared: Arc<Shared>) {
    loop {
        let due = shared.memory().due();
        let clock = &shared.clock;
        let wait: Pin<Box<dyn Future<Output = ()> + Send + '_>> = match due {
            Some(at) => clock.sleep_until(at),
            None => Box::pin(std::future::pending()),
        };
        tokio::select! {
            () = wait => {}
            () = shared.planned.notified() => {}
        }
        let now = clock.now().wall;
        let applied = shared.memory().apply_late(now);
        if shared.or_stop(applied).is_none() {
            return;
        }
    }
}

/// One request to an upstream.
async fn visit(shared: Arc<Shared>, index: usize, request: hyper::Request<Incoming>) -> Answered {
    let path = request.uri().path();
    let verdict = if request.method() == Method::POST && path == "/transactions" {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return Err(Cut);
        };
        let body = body.to_bytes();
        let request = shared.read_request(|name| text(&head.headers, name), || body.clone());
        let now = shared.clock.now().wall;
        let verdict = shared.memory().submit(index, now, request);
        verdict.map(|verdict| (verdict, false))
    } else if request.method() == Method::GET && path == "/health" {
        let now = shared.clock.now().wall;
        let verdict = shared.memory().probe(index, now);
        match shared.or_stop(verdict).ok_or(Cut)? {
            Verdict::Applied { .. } => {
                return Ok(respond_to_probe());
            }
            other => Ok((other, true)),
        }
    } else if let (&Method::PUT, Some(digest)) =
        (request.method(), path.strip_prefix("/attachments/"))
    {
        let digest = digest.parse::<Digest>();
        return put_file(&shared, index, digest.ok(), request.into_body()).await;
    } else if (request.method(), path) == (&Method::GET, "/attachments") {
        let files = json!(listed(&shared.memory().parts[index].files));
        return Ok(json_answer(StatusCode::OK, &files));
    } else if let (&Method::GET, Some(id)) = (request.method(), path.strip_prefix("/transactions/"))
    {
        let now = shared.clock.now().wall;
        let verdict = shared.memory().question(index, now, id);
        verdict.map(|verdict| (verdict, true))
    } else {
        return Ok(problem(StatusCode::NOT_FOUND, "no such path"));
    };
    let (verdict, is_question) = shared.or_stop(verdict).ok_or(Cut)?;
    if verdict == Verdict::Cut {
        shared.late_planned();
    }
    shared.be_slow(index).await;
    answer(verdict, is_question)
}

/// A file: hashed, compared with the digest in its path, and noted by digest and size.
async fn put_file(
    shared: &Shared,
    index: usize,
    digest: Option<Digest>,
    body: Incoming,
) -> Answered {
    let Some(digest) = digest else { return Ok(problem(StatusCode::BAD_REQUEST, "no digest")) };
    let Ok(body) = Limited::new(body, FILE_BYTES_MAX).collect().await else {
        return Err(Cut);
    };
    let body = body.to_bytes();
    let script = shared.memory().parts[index].script.clone();
    if script.no_files {
        return Ok(problem(StatusCode::NOT_FOUND, "no such path"));
    }
    if script.maintenance_page.is_certain() {
        return answer(Verdict::Page, false);
    }
    if ring::digest::digest(&ring::digest::SHA256, &body).as_ref() != digest.bytes() {
        return Ok(problem(StatusCode::UNPROCESSABLE_ENTITY, "another digest"));
    }
    if !shared.memory().file(index, digest, body.len() as u64) {
        return Ok(problem(StatusCode::INSUFFICIENT_STORAGE, "no room for more files"));
    }
    let taken = json!({"digest": digest.to_string(), "bytes": body.len()});
    Ok(json_answer(StatusCode::OK, &taken))
}

fn listed(files: &BTreeMap<Digest, u64>) -> Vec<serde_json::Value> {
    let shown =
        |(digest, bytes): (&Digest, &u64)| json!({"digest": digest.to_string(), "bytes": bytes});
    files.iter().map(shown).collect()
}

impl Shared {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// Something may have to be applied later.
    pub(super) fn late_planned(&self) {
        self.planned.notify_one();
    }

    /// Takes its time, where an upstream was told to.
    pub(super) async fn be_slow(&self, index: usize) {
        let slow_ms = self.memory().parts[index].script.slow_ms;
        if slow_ms > 0 {
            // Real time on purpose; nothing ever completes the inner future.
            let pause = timeout(Duration::from_millis(slow_ms), std::future::pending::<()>()).await;
            debug_assert!(pause.is_err());
        }
    }

    /// A request, from what `get` finds under the name of a header and from its `body`: all of it
    /// only where it is logged.
    pub(super) fn read_request(
        &self,
        get: impl Fn(&str) -> Option<String>,
        body: impl Fn() -> Bytes,
    ) -> Request {
        let needed = Request {
            transaction: get("holdover-transaction-id"),
            key: get("idempotency-key"),
            institution: get("holdover-institution"),
            business: get("holdover-business"),
            ..Request::default()
        };
        if !self.memory().logs() {
            return needed;
        }
        Request {
            subject: get("holdover-subject").or_else(|| subject(&body())),
            cell: get("holdover-cell"),
            operation: get("holdover-operation"),
            attempt: get("holdover-attempt"),
            repeat: get("holdover-repeat"),
            accepted_at: get("holdover-accepted-at"),
            occurred_at: get("holdover-occurred-at"),
            received_from_person_at: get("holdover-received-from-person-at"),
            ..needed
        }
    }
}

/// What the order is by, where the payload has a `subject`.
fn subject(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Payload {
        subject: Option<String>,
    }
    serde_json::from_slice::<Payload>(body).ok()?.subject
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn answer(verdict: Verdict, is_question: bool) -> Answered {
    Ok(match verdict {
        Verdict::Cut => return Err(Cut),
        Verdict::Applied { seq, business_status } => {
            let mut body = json!({"outcome": "applied", "reference": format!("core-{seq}")});
            if let Some(status) = business_status {
                body["business_status"] = status.into();
            }
            json_answer(StatusCode::OK, &body)
        }
        Verdict::Refused { code } => {
            let status =
                if is_question { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
            json_answer(status, &json!({"outcome": "refused", "code": code}))
        }
        Verdict::Shed { status, retry_after_seconds } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            let mut response = problem(status, "try again later");
            if let Some(seconds) = retry_after_seconds {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
        Verdict::Page => typed(StatusCode::OK, "text/html", Bytes::from_static(PAGE.as_bytes())),
        Verdict::NotFound { fenced } => {
            let mut response = problem(StatusCode::NOT_FOUND, "no such transaction");
            if fenced {
                let yes = HeaderValue::from_static("true");
                response.headers_mut().insert("holdover-fenced", yes);
            }
            response
        }
    })
}

/// The answer to a probe that finds everything well.
pub(super) fn respond_to_probe() -> Response<Full<Bytes>> {
    json_answer(StatusCode::OK, &json!({"up": true}))
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    typed(status, "application/json", Bytes::from(body.to_string()))
}

fn problem(status: StatusCode, title: &str) -> Response<Full<Bytes>> {
    let body = json!({"title": title, "status": status.as_u16()});
    typed(status, "application/problem+json", Bytes::from(body.to_string()))
}

type Turns = BTreeMap<String, (usize, mpsc::Sender<Turn>)>;

async fn keep_control(listener: TcpListener, turns: Arc<Turns>, shared: Arc<Shared>) {
    let way = Way::Open(listener);
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&way) => {
                let (shared, turns) = (Arc::clone(&shared), Arc::clone(&turns));
                visits.spawn(serve_one(stream, move |request| {
                    control(Arc::clone(&shared), Arc::clone(&turns), request)
                }));
            }
            Some(_) = visits.join_next() => {}
        }
    }
}

/// One request to the control API.
async fn control(
    shared: Arc<Shared>,
    turns: Arc<Turns>,
    request: hyper::Request<Incoming>,
) -> Answered {
    let (head, body) = request.into_parts();
    let name = head.uri.path().strip_prefix("/control/").unwrap_or_default();
    if name == "stats" && head.method == Method::GET {
        return Ok(json_answer(StatusCode::OK, &stats(&mut shared.memory())));
    }
    let Some((index, turn)) = turns.get(name) else {
        return Ok(problem(StatusCode::NOT_FOUND, "no such upstream"));
    };
    if head.method == Method::PUT {
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return Err(Cut);
        };
        let script: Script = match serde_json::from_slice(&body.to_bytes()) {
            Ok(script) => script,
            Err(error) => return Ok(problem(StatusCode::BAD_REQUEST, &error.to_string())),
        };
        if let Some(text) = script.problem() {
            return Ok(problem(StatusCode::BAD_REQUEST, text));
        }
        let down = script.down;
        shared.memory().parts[*index].script = script;
        let (done, turned) = oneshot::channel();
        if turn.send(Turn { down, done }).await.is_err() {
            return Err(Cut);
        }
        if let Err(error) = turned.await.map_err(|_| Cut)? {
            return Ok(problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()));
        }
    } else if head.method != Method::GET {
        return Ok(problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or PUT"));
    }
    let script = json!(shared.memory().parts[*index].script);
    Ok(json_answer(StatusCode::OK, &script))
}

fn stats(memory: &mut Memory) -> serde_json::Value {
    let due = memory.due();
    let upstreams: BTreeMap<&str, _> =
        memory.parts.iter().map(|part| (part.name.as_str(), &part.stats)).collect();
    json!({"upstreams": upstreams, "due": due, "due_ms": due.map(|at| at.as_millis())})
}
