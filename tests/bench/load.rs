//! The load generator: many connections, one thread, hand-made HTTP/1.1.
//!
//! Closed loop: every connection sends its next request when it has the answer. With a rate,
//! requests have an appointed time each, and a connection that is behind counts its latency from
//! the appointed time, so that a stall is not hidden by the requests that it kept from being
//! sent. Anything but the expected status is an error, never a success.
//!
//! It runs as a process of its own, so that its memory and its time are not the driver's.

use crate::submission::Writer;
use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long answers may be missing after the end.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The longest wait for readiness between two looks at the clock.
const IDLE: Duration = Duration::from_millis(100);

/// What to send, to whom, for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Plan {
    /// The server, as host:port.
    #[arg(long)]
    pub(crate) server: String,
    /// A file with one API key a line; none for a server that asks for none.
    #[arg(long)]
    pub(crate) keys: Option<PathBuf>,
    /// Connections.
    #[arg(long, default_value_t = 256)]
    pub(crate) connections: usize,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warmup: f64,
    /// Seconds of the measurement; an end by count comes first where both are given.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Transactions after which it ends, warm-up included.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Requests per second over all connections; closed loop without.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Submissions a request; more than 1 sends batches.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Transactions accepted during the measurement.
    pub(crate) accepted: u64,
    /// Transactions accepted in all, warm-up included.
    pub(crate) accepted_ever: u64,
    /// Answers by status that were not what was expected.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Seconds of the measurement.
    pub(crate) seconds: f64,
    /// Transactions a second.
    pub(crate) rate: f64,
    /// Latency of a request.
    pub(crate) p50_us: u32,
    /// Latency of a request.
    pub(crate) p99_us: u32,
    /// Latency of a request.
    pub(crate) p999_us: u32,
    /// Latency of a request.
    pub(crate) max_us: u32,
}

#[derive(Default)]
struct Tally {
    sent: u64,
    accepted: u64,
    accepted_ever: u64,
    errors: BTreeMap<String, u64>,
    latencies_us: Vec<u32>,
}

/// The value at `share` of a sorted list.
pub(crate) fn percentile(sorted: &[u32], share: f64) -> u32 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Runs the plan on this thread.
pub(crate) fn run(plan: &Plan) -> Result<Measured> {
    let keys: Rc<[String]> = match &plan.keys {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("read {}", path.display()))?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => Rc::new([]),
    };
    let mut generator = Generator::connect(plan, &keys)?;
    generator.run()?;
    Ok(generator.measured())
}

/// All connections, driven by readiness. Lean on purpose: two system calls a request.
struct Generator {
    poll: Poll,
    connections: Vec<Connection>,
    /// Connections that wait for their appointed time, the earliest first.
    appointments: BinaryHeap<Reverse<(Instant, usize)>>,
    lines: usize,
    gap: Option<Duration>,
    count: u64,
    measure_from: Instant,
    until: Instant,
    ended: Instant,
    tally: Tally,
}

struct Connection {
    stream: TcpStream,
    writer: Writer,
    /// What could not be written yet.
    output: Vec<u8>,
    input: Vec<u8>,
    filled: usize,
    /// When the request that is out was due.
    due: Instant,
    /// Whether a request is out.
    busy: bool,
    /// With a rate: when the next request is due.
    appointed: Instant,
}

impl Generator {
    fn connect(plan: &Plan, keys: &Rc<[String]>) -> Result<Self> {
        let poll = Poll::new()?;
        let lines = plan.batch.max(1);
        let address = plan.server.parse().context("the server as host:port")?;
        let mut connections = Vec::new();
        for number in 0..plan.connections {
            let mut stream = TcpStream::connect(address)?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(number), interest)?;
            connections.push(Connection {
                stream,
                writer: Writer::new(Rc::clone(keys), fastrand::u64(..)),
                output: Vec::new(),
                input: vec![0; if lines == 1 { 8 << 10 } else { 4 << 20 }],
                filled: 0,
                due: Instant::now(),
                busy: false,
                appointed: Instant::now(),
            });
        }
        let began = Instant::now();
        let measure_from = began + Duration::from_secs_f64(plan.warmup);
        let until = measure_from + Duration::from_secs_f64(plan.seconds);
        let per_connection = plan.connections as f64 * lines as f64;
        Ok(Self {
            poll,
            connections,
            appointments: BinaryHeap::new(),
            lines,
            gap: plan.rate.map(|rate| Duration::from_secs_f64(per_connection / rate)),
            count: plan.count.unwrap_or(u64::MAX),
            measure_from,
            until,
            ended: until,
            tally: Tally::default(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let began = Instant::now();
        for number in 0..self.connections.len() {
            self.connections[number].stream.set_nodelay(true)?;
            let share = number as f64 / self.connections.len() as f64;
            let first = began + self.gap.unwrap_or_default().mul_f64(share);
            self.connections[number].appointed = first;
            self.appointments.push(Reverse((first, number)));
        }
        let mut events = Events::with_capacity(1024);
        let mut now = Instant::now();
        // What is out at the end is waited for, so that nothing is cut off half-sent.
        while !self.over(now) || self.connections.iter().any(|c| c.busy) {
            if now > self.until + ANSWER_LIMIT {
                bail!("answers are missing {ANSWER_LIMIT:?} after the end");
            }
            while let Some(Reverse((at, number))) = self.appointments.peek().copied() {
                if at > now || self.over(now) {
                    break;
                }
                self.appointments.pop();
                self.send(number, now)?;
            }
            let next = self.appointments.peek().map(|Reverse((at, _))| *at);
            let timeout = next.map_or(IDLE, |at| at.saturating_duration_since(now).min(IDLE));
            self.poll.poll(&mut events, Some(timeout))?;
            now = Instant::now();
            for event in &events {
                let number = event.token().0;
                if event.is_writable() && !self.connections[number].output.is_empty() {
                    self.connections[number].flush()?;
                }
                if self.connections[number].busy {
                    self.receive(number)?;
                }
            }
        }
        self.ended = now.min(self.until);
        Ok(())
    }

    fn over(&self, now: Instant) -> bool {
        now >= self.until || self.tally.sent >= self.count
    }

    fn send(&mut self, number: usize, due: Instant) -> Result<()> {
        self.tally.sent += self.lines as u64;
        let connection = &mut self.connections[number];
        connection.due = due;
        connection.busy = true;
        connection.filled = 0;
        if self.lines == 1 {
            let request = connection.writer.single();
            let written = write_some(&mut connection.stream, request)?;
            connection.output.extend_from_slice(&request[written..]);
            return Ok(());
        }
        connection.output = connection.writer.batch(self.lines);
        connection.flush()
    }

    /// Reads what has come; when the answer is whole, counts it and sends the next request.
    fn receive(&mut self, number: usize) -> Result<()> {
        loop {
            let connection = &mut self.connections[number];
            if connection.filled == connection.input.len() {
                bail!("an answer larger than {} bytes", connection.filled);
            }
            match connection.stream.read(&mut connection.input[connection.filled..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(read) => connection.filled += read,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e).context("read an answer"),
            }
            if let Some((status, accepted)) =
                answer(&connection.input[..connection.filled], self.lines)?
            {
                connection.busy = false;
                let due = connection.due;
                let now = Instant::now();
                self.count_answer(status, accepted, due, now);
                return self.next(number, now);
            }
        }
    }

    fn next(&mut self, number: usize, now: Instant) -> Result<()> {
        if self.over(now) {
            return Ok(());
        }
        let Some(gap) = self.gap else { return self.send(number, now) };
        let connection = &mut self.connections[number];
        connection.appointed += gap;
        let appointed = connection.appointed;
        if appointed > now {
            // The timer is coarse: its lateness is not the server's.
            self.appointments.push(Reverse((appointed, number)));
            return Ok(());
        }
        self.send(number, appointed)
    }

    fn count_answer(&mut self, status: u16, accepted: u64, due: Instant, now: Instant) {
        let tally = &mut self.tally;
        tally.accepted_ever += accepted;
        let expected = self.lines as u64;
        if accepted != expected {
            *tally.errors.entry(status.to_string()).or_default() += expected - accepted;
        }
        if now >= self.measure_from && now < self.until {
            tally.accepted += accepted;
            let latency = now.saturating_duration_since(due).as_micros();
            tally.latencies_us.push(u32::try_from(latency).unwrap_or(u32::MAX));
        }
    }

    fn measured(mut self) -> Measured {
        self.tally.latencies_us.sort_unstable();
        let seconds = self.ended.saturating_duration_since(self.measure_from).as_secs_f64();
        let latencies = &self.tally.latencies_us;
        Measured {
            accepted: self.tally.accepted,
            accepted_ever: self.tally.accepted_ever,
            errors: self.tally.errors,
            seconds,
            rate: if seconds > 0.0 { self.tally.accepted as f64 / seconds } else { 0.0 },
            p50_us: percentile(latencies, 0.5),
            p99_us: percentile(latencies, 0.99),
            p999_us: percentile(latencies, 0.999),
            max_us: latencies.last().copied().unwrap_or(0),
        }
    }
}

impl Connection {
    fn flush(&mut self) -> Result<()> {
        while !self.output.is_empty() {
            let written = write_some(&mut self.stream, &self.output)?;
            if written == 0 {
                return Ok(());
            }
            self.output.drain(..written);
        }
        Ok(())
    }
}

/// Writes what goes without waiting. A connection that is still being made takes nothing.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> Result<usize> {
    match stream.write(bytes) {
        Ok(written) => Ok(written),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => Ok(0),
        Err(e) => Err(e).context("send a request"),
    }
}

/// The status of a whole answer, and how many transactions it accepts; `None` when more is to
/// come.
fn answer(bytes: &[u8], lines: usize) -> Result<Option<(u16, u64)>> {
    let Some(head_end) = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let (head, body) = bytes.split_at(head_end);
    let status = head.get(9..12).and_then(|s| std::str::from_utf8(s).ok()?.parse().ok());
    let status: u16 = status.context("an answer without a status line")?;
    let complete = match header(head, "content-length") {
        Some(length) => body.len() >= length.parse::<usize>().context("a content length")?,
        None if header(head, "transfer-encoding").is_some() => body.ends_with(b"\r\n0\r\n\r\n"),
        None => bail!("an answer without a length"),
    };
    if !complete {
        return Ok(None);
    }
    if lines == 1 {
        return Ok(Some((status, u64::from(status == 202))));
    }
    let accepted = String::from_utf8_lossy(body).lines().filter(|l| l.contains("\"txn_")).count();
    Ok(Some((status, (accepted as u64).min(lines as u64))))
}

/// The value of a header, its name in any case.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|&b| b == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b": ")?.strip_suffix(b"\r")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value).ok())?
    })
}
