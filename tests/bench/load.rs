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
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    let keys = match &plan.keys {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("read {}", path.display()))?
            .lines()
            .map(str::to_owned)
            .collect(),
        None => Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, drive(plan, &keys))
}

async fn drive(plan: &Plan, keys: &[String]) -> Result<Measured> {
    let began = Instant::now();
    let measure_from = began + Duration::from_secs_f64(plan.warmup);
    let until = measure_from + Duration::from_secs_f64(plan.seconds);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let mut connections = Vec::new();
    for number in 0..plan.connections {
        let stream = TcpStream::connect(&plan.server).await.context("connect to the server")?;
        stream.set_nodelay(true)?;
        let connection = Connection {
            stream,
            input: Vec::with_capacity(16 * 1024),
            writer: Writer::new(keys, fastrand::u64(..)),
            plan: plan.clone(),
            tally: Rc::clone(&tally),
            measure_from,
            until,
        };
        connections.push(tokio::task::spawn_local(connection.run(number, began)));
    }
    for connection in connections {
        connection.await??;
    }
    let ended = Instant::now().min(until);
    let mut tally = tally.borrow_mut();
    tally.latencies_us.sort_unstable();
    let seconds = ended.saturating_duration_since(measure_from).as_secs_f64();
    Ok(Measured {
        accepted: tally.accepted,
        accepted_ever: tally.accepted_ever,
        errors: std::mem::take(&mut tally.errors),
        seconds,
        rate: if seconds > 0.0 { tally.accepted as f64 / seconds } else { 0.0 },
        p50_us: percentile(&tally.latencies_us, 0.5),
        p99_us: percentile(&tally.latencies_us, 0.99),
        p999_us: percentile(&tally.latencies_us, 0.999),
        max_us: tally.latencies_us.last().copied().unwrap_or(0),
    })
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    writer: Writer,
    plan: Plan,
    tally: Rc<RefCell<Tally>>,
    measure_from: Instant,
    until: Instant,
}

impl Connection {
    async fn run(mut self, number: usize, began: Instant) -> Result<()> {
        let lines = self.plan.batch.max(1);
        let gap = self.plan.rate.map(|r| Duration::from_secs_f64(self.plan.connections as f64 / r));
        let stagger = gap.unwrap_or_default().mul_f64(number as f64 / self.plan.connections as f64);
        let mut appointed = began + stagger;
        loop {
            let mut from = Instant::now();
            if let Some(gap) = gap {
                if from < appointed {
                    // The timer is coarse: its lateness is not the server's.
                    tokio::time::sleep_until(appointed.into()).await;
                    from = Instant::now();
                } else {
                    from = appointed;
                }
                appointed += gap;
            }
            let enough = self.plan.count.is_some_and(|n| self.tally.borrow().sent >= n);
            if enough || Instant::now() >= self.until {
                return Ok(());
            }
            self.tally.borrow_mut().sent += lines as u64;
            if lines == 1 {
                let request = self.writer.single();
                self.stream.write_all(request).await?;
            } else {
                let request = self.writer.batch(lines);
                self.stream.write_all(&request).await?;
            }
            let (status, accepted) = self.answer(lines).await?;
            self.count(status, accepted, lines as u64, from);
        }
    }

    fn count(&self, status: u16, accepted: u64, expected: u64, from: Instant) {
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.accepted_ever += accepted;
        if accepted != expected {
            *tally.errors.entry(status.to_string()).or_default() += expected - accepted;
        }
        if now >= self.measure_from && now < self.until {
            tally.accepted += accepted;
            let latency = now.saturating_duration_since(from).as_micros();
            tally.latencies_us.push(u32::try_from(latency).unwrap_or(u32::MAX));
        }
    }

    /// Reads one answer: its status, and how many transactions it accepts.
    async fn answer(&mut self, lines: usize) -> Result<(u16, u64)> {
        self.input.clear();
        let head_end = loop {
            if let Some(at) = find(&self.input, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.input[..head_end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|s| s.parse().ok()).context("a status line")?;
        let length = head
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
        match length {
            Some(length) => {
                while self.input.len() < head_end + length {
                    self.more().await?;
                }
            }
            None if head.contains("transfer-encoding: chunked") => {
                while !self.input.ends_with(b"\r\n0\r\n\r\n") {
                    self.more().await?;
                }
            }
            None => bail!("an answer without a length"),
        }
        if lines == 1 {
            return Ok((status, u64::from(status == 202)));
        }
        let body = String::from_utf8_lossy(&self.input[head_end..]);
        let accepted = body.lines().filter(|l| l.contains("\"txn_")).count() as u64;
        Ok((status, accepted.min(lines as u64)))
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server closed a connection");
        }
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}
