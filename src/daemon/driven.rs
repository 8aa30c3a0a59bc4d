//! A clock that a driver moves: one virtual time for several processes.
//!
//! ```text
//!  driver process                                a driven process (a daemon, a core)
//!  ClockServer ──── {"wall_us":…} at each jump ──► DrivenClock ── now() without a round trip
//!      ▲      ◄──── {"at_ms":…} when it is there ──┘   │
//!      └── {"ask":"due"} ──► {"busy":…,"next_due_ms":…}└── sleepers wake when passed
//! ```
//!
//! Virtual time is an anchor, plus real time, plus an offset that only grows. A client keeps the
//! largest offset that it has been told, corrected by its own monotonic clock: it is never ahead
//! of the driver, is behind by no more than a message's way, and never goes backwards. Both
//! readings jump together. One line of JSON a message; a client speaks only when spoken to.
//!
//! A client whose driver is gone goes on at the pace of real time, and its process stops in good
//! order ([`clock`]): a driver that was killed leaves nobody behind. For demonstrations and tests:
//! a daemon with a driven clock says so.

use super::clock::{Stopwatch, SystemClock, real_sleep};
use super::shutdown::Shutdown;
use super::tasks::{Kind, Tasks};
use crate::domain::time::{Monotonic, Now, Timestamp};
use crate::engine::ports::{Clock, Later};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// No message is longer.
const LINE_BYTES_MAX: u64 = 256;
/// A client that does not answer for so long (real time) is cut off.
const PATIENCE: Duration = Duration::from_secs(30);
/// Questions that may wait for one client. The driver asks one at a time.
const QUESTIONS_MAX: usize = 16;
/// How long the driver lets real time pass when somebody is busy.
const BUSY_PAUSE: Duration = Duration::from_micros(500);
/// The longest sleep between two looks at the clock.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// What a driven process has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Whether it works on something right now, so that time must not jump.
    pub busy: bool,
    /// When something is due next, in milliseconds since the Unix epoch; `None` for nothing.
    pub next_due_ms: Option<i64>,
}

impl Due {
    /// At work.
    pub const BUSY: Self = Self { busy: true, next_due_ms: None };

    /// Idle until `next`.
    #[must_use]
    pub fn idle_until(next: Option<Timestamp>) -> Self {
        Self { busy: false, next_due_ms: next.map(Timestamp::as_millis) }
    }
}

/// Answers the driver's question. It may look into the engine, which takes a moment.
pub type DueFn = Arc<dyn Fn() -> Later<'static, Due> + Send + Sync>;

/// Where a client's answer comes from. A process connects before it has anything to ask: until
/// [`DueSource::set`] it answers that it is busy. Cheap to clone.
#[derive(Clone, Default)]
pub struct DueSource(Arc<OnceLock<DueFn>>);

impl DueSource {
    /// Answers busy until it is set.
    #[must_use]
    pub fn later() -> Self {
        Self::default()
    }

    /// Answers what `ask` returns at once.
    #[must_use]
    pub fn from_fn(ask: impl Fn() -> Due + Send + Sync + 'static) -> Self {
        let source = Self::default();
        source.set(Arc::new(move || {
            let due = ask();
            Box::pin(std::future::ready(due))
        }));
        source
    }

    /// Answers from now on what `ask` says. Only the first call counts.
    pub fn set(&self, ask: DueFn) {
        drop(self.0.set(ask));
    }

    async fn ask(&self) -> Due {
        match self.0.get() {
            Some(ask) => ask().await,
            None => Due::BUSY,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum ToClient {
    Now { wall_us: i64 },
    Ask { ask: Question },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    Due,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum ToDriver {
    At { at_ms: i64 },
    Due(Due),
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a message of the driven clock")
}

/// Reads one message; `None` at the end of the stream.
async fn receive<T: for<'de> Deserialize<'de>>(
    stream: &mut (impl AsyncBufRead + Unpin + Send),
) -> io::Result<Option<T>> {
    let mut line = String::new();
    if stream.take(LINE_BYTES_MAX).read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    if !line.ends_with('\n') {
        return Err(unreadable());
    }
    serde_json::from_str(&line).map(Some).map_err(|_| unreadable())
}

async fn send(
    stream: &mut (impl AsyncWriteExt + Unpin + Send),
    message: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

fn micros(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1000)
}

fn timestamp(us: i64) -> Timestamp {
    Timestamp::from_millis(us.div_euclid(1000))
}

/// Virtual time in one process: real time plus an offset that only grows.
#[derive(Debug)]
struct VirtualTime {
    real: Stopwatch,
    offset_us: AtomicI64,
    /// The wall reading at which the monotonic reading is zero.
    zero_us: i64,
    jumps: watch::Sender<()>,
}

impl VirtualTime {
    fn starting_at(wall_us: i64) -> Self {
        let real = Stopwatch::start();
        let offset_us = AtomicI64::new(wall_us.saturating_sub(real.micros()));
        let (jumps, _) = watch::channel(());
        Self { real, offset_us, zero_us: wall_us, jumps }
    }

    fn wall_us(&self) -> i64 {
        // The offset first: a jump in between then makes the reading late, never early.
        let offset = self.offset_us.load(Ordering::SeqCst);
        offset.saturating_add(self.real.micros())
    }

    /// Moves to `wall_us` unless that is in the past.
    fn advance_to(&self, wall_us: i64) {
        let offset = wall_us.saturating_sub(self.real.micros());
        if self.offset_us.fetch_max(offset, Ordering::SeqCst) < offset {
            self.jumps.send_replace(());
        }
    }

    fn now(&self) -> Now {
        let wall_us = self.wall_us();
        let passed = wall_us.saturating_sub(self.zero_us) / 1000;
        Now {
            wall: timestamp(wall_us),
            monotonic: Monotonic(u64::try_from(passed).unwrap_or_default()),
        }
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut jumps = self.jumps.subscribe();
        loop {
            let left = micros(at).saturating_sub(self.wall_us());
            let Ok(left) = u64::try_from(left) else { return };
            if left == 0 {
                return;
            }
            let left = Duration::from_micros(left).min(LOOK_AGAIN);
            tokio::select! {
                // The sender lives as long as `self`, so this cannot fail.
                _ = jumps.changed() => {}
                () = real_sleep(left) => {}
            }
        }
    }
}

/// The clock of a driven process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DrivenClock {
    time: Arc<VirtualTime>,
    gone: CancellationToken,
}

impl DrivenClock {
    /// Follows the driver at `addr`. Returns when the first reading is there.
    ///
    /// # Errors
    /// When there is no driver at `addr`, or something else answers.
    pub async fn connect(addr: SocketAddr, due: DueSource, tasks: &Tasks) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let first = tokio::time::timeout(PATIENCE, receive(&mut reader)).await;
        let Ok(Ok(Some(ToClient::Now { wall_us }))) = first else {
            return Err(unreadable());
        };
        let time = Arc::new(VirtualTime::starting_at(wall_us));
        send(&mut writer, &ToDriver::At { at_ms: time.now().wall.as_millis() }).await?;
        let clock = Self { time, gone: CancellationToken::new() };
        let follower = clock.clone();
        tasks.spawn(Kind::Upkeep, "driven-clock", async move {
            let _gone = follower.gone.clone().drop_guard();
            follower.follow(reader, writer, due).await
        });
        Ok(clock)
    }

    async fn follow(
        &self,
        mut reader: impl AsyncBufRead + Unpin + Send,
        mut writer: impl AsyncWriteExt + Unpin + Send,
        due: DueSource,
    ) -> io::Result<()> {
        while let Some(message) = receive(&mut reader).await? {
            let answer = match message {
                ToClient::Now { wall_us } => {
                    self.time.advance_to(wall_us);
                    ToDriver::At { at_ms: self.time.now().wall.as_millis() }
                }
                ToClient::Ask { ask: Question::Due } => ToDriver::Due(due.ask().await),
            };
            send(&mut writer, &answer).await?;
        }
        Ok(())
    }

    /// Returns when the driver is gone. Time then goes on at the pace of real time.
    pub async fn driver_gone(&self) {
        self.gone.cancelled().await;
    }
}

impl Clock for DrivenClock {
    fn now(&self) -> Now {
        self.time.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()> {
        Box::pin(self.time.sleep_until(at))
    }

    fn is_virtual(&self) -> bool {
        true
    }
}

/// The clock of a process: the machine's own, or that of `driver`, with which the process ends.
///
/// # Errors
/// When the driver cannot be reached.
pub async fn clock(
    driver: Option<SocketAddr>,
    due: &DueSource,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> io::Result<Arc<dyn Clock>> {
    let Some(driver) = driver else { return Ok(Arc::new(SystemClock::new())) };
    let clock = DrivenClock::connect(driver, due.clone(), tasks).await?;
    let (followed, shutdown) = (clock.clone(), shutdown.clone());
    tasks.spawn(Kind::Upkeep, "driver-gone", async move {
        followed.driver_gone().await;
        // The end of a stop cuts the connection too, and is no second request.
        if !shutdown.is_asked() {
            tracing::warn!("the driver of the clock is gone, stopping");
            shutdown.ask();
        }
    });
    Ok(Arc::new(clock))
}

/// The driver's side: owns virtual time and serves it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClockServer {
    addr: SocketAddr,
    shared: Arc<Served>,
}

#[derive(Debug)]
struct Served {
    time: VirtualTime,
    clients: Mutex<BTreeMap<u64, mpsc::Sender<Asked>>>,
    next_client: AtomicU64,
    expected: AtomicUsize,
}

type Asked = (ToClient, oneshot::Sender<ToDriver>);

impl ClockServer {
    /// Serves virtual time, which is `start` now, on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn bind(start: Timestamp, tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let shared = Arc::new(Served {
            time: VirtualTime::starting_at(micros(start)),
            clients: Mutex::default(),
            next_client: AtomicU64::new(0),
            expected: AtomicUsize::new(0),
        });
        let server = Self { addr: listener.local_addr()?, shared };
        let (accepting, spawner) = (server.clone(), tasks.clone());
        tasks.spawn(Kind::Upkeep, "clock-server", async move {
            loop {
                let (stream, _) = listener.accept().await?;
                let serving = accepting.clone();
                spawner.spawn(Kind::Upkeep, "clock-client", async move {
                    // A client that was killed is no failure of ours.
                    drop(serving.serve(stream).await);
                });
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            io::Result::Ok(())
        });
        Ok(server)
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many clients follow.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.lock().len()
    }

    /// From now on time does not jump by itself while fewer than `clients` follow, so that a
    /// process that was killed misses nothing while it starts again.
    pub fn expect_clients(&self, clients: usize) {
        self.shared.expected.store(clients, Ordering::SeqCst);
    }

    /// Jumps to `at`, unless that is in the past. Returns when every client is there.
    pub async fn jump_to(&self, at: Timestamp) {
        self.shared.time.advance_to(micros(at));
        let now = ToClient::Now { wall_us: self.shared.time.wall_us() };
        self.ask_all(now).await;
    }

    /// Asks every client what it has before it. A client that is gone is left out.
    pub async fn ask_due(&self) -> Vec<Due> {
        let answers = self.ask_all(ToClient::Ask { ask: Question::Due }).await;
        answers
            .into_iter()
            .filter_map(|answer| match answer {
                ToDriver::Due(due) => Some(due),
                ToDriver::At { .. } => None,
            })
            .collect()
    }

    /// Who keeps time from passing, in words.
    pub async fn who_is_awaited(&self) -> String {
        let dues = self.ask_due().await;
        let expected = self.shared.expected.load(Ordering::SeqCst);
        let now = self.shared.time.now().wall;
        let each = dues.iter().map(|due| match due.next_due_ms.map(Timestamp::from_millis) {
            _ if due.busy => "busy".to_owned(),
            Some(at) if at <= now => format!("behind, due since {at}"),
            Some(at) => format!("idle until {at}"),
            None => "idle".to_owned(),
        });
        let each: Vec<String> = each.collect();
        format!("{} of {expected} processes follow, in order: {}", dues.len(), each.join(", "))
    }

    /// Lets time pass until `until`: jumps whenever nobody is busy, twice in a row, to what is
    /// due next, so that no appointment of any client is skipped. Somebody who is busy for ever
    /// makes it wait for ever: give it a bound.
    pub async fn advance_when_idle(&self, until: Timestamp) {
        let mut idle_before = false;
        while self.shared.time.now().wall < until {
            let dues = self.ask_due().await;
            let all_here = dues.len() >= self.shared.expected.load(Ordering::SeqCst);
            if !all_here || dues.iter().any(|due| due.busy) {
                idle_before = false;
                real_sleep(BUSY_PAUSE).await;
                continue;
            }
            if !std::mem::replace(&mut idle_before, true) {
                continue;
            }
            idle_before = false;
            let next = dues.iter().filter_map(|due| due.next_due_ms).min();
            let target = next.map_or(until, Timestamp::from_millis).min(until);
            if target > self.shared.time.now().wall {
                self.jump_to(target).await;
            } else {
                // Due now: its owner is about to wake, or was not told of a jump, because whoever
                // made it did not wait for its end.
                self.jump_to(self.shared.time.now().wall).await;
                real_sleep(BUSY_PAUSE).await;
            }
        }
    }

    /// One client after another, in the order in which they came: where a server joined before
    /// its callers, it is never behind them, and logs no call as earlier than it was made.
    async fn ask_all(&self, message: ToClient) -> Vec<ToDriver> {
        let clients: Vec<_> = self.lock().values().cloned().collect();
        let mut received = Vec::with_capacity(clients.len());
        for client in clients {
            let (tx, rx) = oneshot::channel();
            if client.send((message, tx)).await.is_ok() {
                // An error means that the client is gone.
                received.extend(rx.await.ok());
            }
        }
        received
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let id = self.shared.next_client.fetch_add(1, Ordering::SeqCst);
        let (tx, mut questions) = mpsc::channel(QUESTIONS_MAX);
        // Listed before it is told the time: whatever jumps after the reading reaches it too.
        self.lock().insert(id, tx);
        let _listed = Listed { server: self, id };
        let now = ToClient::Now { wall_us: self.shared.time.wall_us() };
        exchange(&mut reader, &mut writer, now).await?;
        loop {
            let (message, answer) = tokio::select! {
                question = questions.recv() => match question {
                    Some(question) => question,
                    None => return Ok(()),
                },
                // A client speaks only when spoken to: it has hung up.
                _ = reader.fill_buf() => return Ok(()),
            };
            let said = exchange(&mut reader, &mut writer, message).await?;
            if answer.send(said).is_err() {
                tracing::trace!("whoever asked the clock's client has gone away");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Asked>>> {
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ClockServer {
    fn now(&self) -> Now {
        self.shared.time.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Later<'_, ()> {
        Box::pin(self.shared.time.sleep_until(at))
    }

    fn is_virtual(&self) -> bool {
        true
    }
}

/// Takes a client off the list when its connection ends, however it ends.
struct Listed<'a> {
    server: &'a ClockServer,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.server.lock().remove(&self.id);
    }
}

async fn exchange(
    reader: &mut (impl AsyncBufRead + Unpin + Send),
    writer: &mut (impl AsyncWriteExt + Unpin + Send),
    message: ToClient,
) -> io::Result<ToDriver> {
    let talk = async {
        send(writer, &message).await?;
        receive(reader).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    tokio::time::timeout(PATIENCE, talk).await?
}
