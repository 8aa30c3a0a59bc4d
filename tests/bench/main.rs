//! The benchmark: measures Holdover, its reference and its peers side by side in one run, on one
//! disk, and prints the ratios with their targets. Started by `tests/bench/run`.
//!
//! What cannot be measured says why in its row; no number is ever made up or carried over from
//! an earlier run. Absolute figures belong to the machine that they are printed with.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::let_underscore_must_use,
    reason = "a measuring program: it prints, reads the machine's clock, and rounds"
)]

mod daemon;
mod disk;
mod load;
mod peers;
mod process;
mod report;
mod submission;

use anyhow::{Context, Result, anyhow};
use clap::{Parser, Subcommand};
use daemon::{BATCH_LINES, Site, load as run_load};
use load::{Measured, Plan};
use process::Running;
use report::{Row, Target, short, table};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use submission::{BODY_BYTES, Writer};

/// Measures Holdover beside its reference and its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The whole benchmark.
    Run(Settings),
    /// Only the load generator; prints what it measured as JSON.
    Load(Plan),
}

#[derive(clap::Args)]
struct Settings {
    /// The sizes of the target table; takes hours and some 60 GB of disk.
    #[arg(long)]
    full: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Rounds of what is compared with something; the median ratio counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the measured data live: a disk, not memory.
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// The programs that were built, with `holdover` among them.
    #[arg(long, default_value = "target/release")]
    built: PathBuf,
    /// Where the result goes as JSON.
    #[arg(long, default_value = "target/bench.json")]
    out: PathBuf,
    /// Transactions to replay.
    #[arg(long)]
    replay: Option<u64>,
    /// Waiting transactions at the first and at the second reading of memory.
    #[arg(long)]
    waiting: Option<u64>,
}

impl Settings {
    fn replay(&self) -> u64 {
        self.replay.unwrap_or(if self.full { 1_000_000 } else { 100_000 })
    }

    fn waiting(&self) -> (u64, u64) {
        let most = self.waiting.unwrap_or(if self.full { 10_000_000 } else { 1_000_000 });
        (most / 10, most)
    }
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Verb::Load(plan) => println!("{}", serde_json::to_string(&load::run(&plan)?)?),
        Verb::Run(settings) => run(&settings)?,
    }
    Ok(())
}

/// One round of everything that is compared with something else, each just after the other, so
/// that a machine that is busy for a while is busy for both.
struct Round {
    reference: Result<f64>,
    redis: Result<f64>,
    raw: Result<f64>,
    sync: Result<(u32, u32)>,
    ours: Result<Ours>,
}

/// What Holdover did in a round.
struct Ours {
    peak: Measured,
    half: Measured,
    batch: f64,
}

fn run(settings: &Settings) -> Result<()> {
    let scratch =
        tempfile::Builder::new().prefix("holdover-bench-").tempdir_in(&settings.folder)?;
    // The database server runs as a user of its own and must get through to its folder.
    std::fs::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let folder = scratch.path();
    println!("{}\n", machine());

    let rounds = rounds(settings, folder);
    say("postgresql");
    let postgres = peers::postgres(folder, settings.seconds);
    let mut rows = ratios(&rounds, &postgres);
    say("replaying");
    rows.extend(replaying(settings, folder));
    say("with a backlog");
    rows.extend(backlog(settings, folder));
    rows.sort_by_key(|row| row.row);

    println!("\n{}", table(&rows));
    let document = serde_json::json!({
        "machine": machine(),
        "seconds": settings.seconds,
        "baselines": baselines(&rounds, &postgres),
        "rows": rows,
    });
    std::fs::write(&settings.out, serde_json::to_vec_pretty(&document)?)
        .with_context(|| format!("write {}", settings.out.display()))?;
    println!("written to {}", settings.out.display());
    Ok(())
}

/// What the peers and the disk did in each round.
fn baselines(rounds: &[Round], postgres: &Result<(f64, usize)>) -> serde_json::Value {
    let show = |outcome: Result<f64>| match outcome {
        Ok(value) => serde_json::json!(value),
        Err(error) => serde_json::json!(format!("not measured: {error:#}")),
    };
    let each = |pick: fn(&Round) -> Result<f64>| -> Vec<serde_json::Value> {
        rounds.iter().map(|round| show(pick(round))).collect()
    };
    serde_json::json!({
        "reference_per_second": each(|r| copied(&r.reference)),
        "redis_per_second": each(|r| copied(&r.redis)),
        "append_fdatasync_lines_per_second": each(|r| copied(&r.raw)),
        "fdatasync_p99_us": each(|r| copied(&r.sync).map(|s| f64::from(s.1))),
        "holdover_per_second": each(|r| Ok(r.ours.as_ref().map_err(again)?.peak.rate)),
        "postgresql_per_second": show(copied(postgres).map(|p| p.0)),
    })
}

fn say(what: &str) {
    println!("… {what}");
}

/// The machine that the absolute figures belong to.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let name = cpu.lines().find_map(|l| l.strip_prefix("model name\t: ")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    format!("{cores} cores of {name}, {} GB, Linux {}", kib >> 20, kernel.trim())
}

/// The reference server at 256 connections: requests a second.
fn reference(settings: &Settings) -> Result<f64> {
    let program = settings.built.join("examples/bench_reference");
    let (server, address) = Running::start_and_read("reference", &mut Command::new(program))?;
    let plan = Plan {
        server: address,
        keys: None,
        connections: 256,
        warmup: 2.0,
        seconds: settings.seconds,
        count: None,
        rate: None,
        batch: 1,
    };
    let measured = run_load(&plan)?;
    server.kill()?;
    Ok(measured.rate)
}

/// All rounds, on one daemon whose core is away.
fn rounds(settings: &Settings, folder: &Path) -> Vec<Round> {
    let start = || -> Result<(Site, Running)> {
        let site = Site::new(&settings.built.join("holdover"), &folder.join("accept"))?;
        let (daemon, _) = site.start()?;
        Ok((site, daemon))
    };
    let started = start();
    let time = Duration::from_secs_f64(settings.seconds);
    let lines = Writer::new([].into(), 1).batch(BATCH_LINES);
    let mut rounds = Vec::new();
    for number in 1..=settings.rounds {
        say(&format!(
            "round {number} of {}: accepting, and what it is compared with",
            settings.rounds
        ));
        rounds.push(Round {
            reference: reference(settings),
            ours: started.as_ref().map_err(again).and_then(|(site, _)| accept(settings, site)),
            raw: disk::append_and_sync(folder, &lines, time).map(|rate| rate * BATCH_LINES as f64),
            sync: disk::sync_latency_us(folder, 64 * BODY_BYTES, time),
            redis: peers::redis(folder, 256, settings.seconds),
        });
    }
    if let Ok((_, daemon)) = started {
        let stopped =
            daemon.stop("-TERM").and_then(|()| Ok(std::fs::remove_dir_all(folder.join("accept"))?));
        if let Err(error) = stopped {
            say(&format!("after accepting: {error:#}"));
        }
    }
    rounds
}

/// Accepting: the peak, half of it, batches.
fn accept(settings: &Settings, site: &Site) -> Result<Ours> {
    let peak = run_load(&site.plan(settings.seconds))?;
    let half = Plan { rate: Some(peak.rate / 2.0), ..site.plan(settings.seconds) };
    let half = run_load(&half)?;
    let batches = Plan { connections: 8, batch: BATCH_LINES, ..site.plan(settings.seconds) };
    Ok(Ours { peak, half, batch: run_load(&batches)?.rate })
}

/// An error once more, for a second reader.
fn again(error: &anyhow::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

/// What was measured, once more, for a second reader.
fn copied<T: Copy>(outcome: &Result<T>) -> Result<T> {
    outcome.as_ref().copied().map_err(again)
}

/// The round with the median ratio; one round that failed is a failure of the row.
fn median(
    rounds: &[Round],
    ratio: impl Fn(&Round) -> Result<(f64, String)>,
) -> Result<(f64, String)> {
    let mut all = rounds.iter().map(ratio).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let middle = all.len() / 2;
    all.into_iter().nth(middle).context("there was no round")
}

/// Accepting ÷ a peer.
fn over(ours: &Result<Ours>, peer: Result<f64>, name: &str) -> Result<(f64, String)> {
    let peer = peer?;
    let said = format!("{name} {}/s", short(peer));
    let rate = ours.as_ref().map_err(again).with_context(|| said.clone())?.peak.rate;
    Ok((rate / peer, format!("{}/s; {said}", short(rate))))
}

fn batch_ratio(round: &Round) -> Result<(f64, String)> {
    let raw = copied(&round.raw)?;
    let said = format!("append and fdatasync {} lines/s", short(raw));
    let batch = round.ours.as_ref().map_err(again).with_context(|| said.clone())?.batch;
    Ok((batch / raw, format!("{} lines/s; {said}", short(batch))))
}

fn latency_ratio(round: &Round) -> Result<(f64, String)> {
    let (median, p99) = copied(&round.sync)?;
    let said = format!("fdatasync p50 {median} µs, p99 {p99} µs");
    let half = &round.ours.as_ref().map_err(again).with_context(|| said.clone())?.half;
    let ours = format!("p50 {} µs, p99 {} µs at {}/s", half.p50_us, half.p99_us, short(half.rate));
    Ok((f64::from(half.p99_us) / f64::from(p99.max(1)), format!("{ours}; {said}")))
}

fn ratios(rounds: &[Round], postgres: &Result<(f64, usize)>) -> Vec<Row> {
    let sql = |round: &Round| {
        let (rate, connections) = copied(postgres)?;
        let name = format!("PostgreSQL, best with {connections} connections,");
        over(&round.ours, Ok(rate), &name)
    };
    let least = |first, then| Some((Target::AtLeast(first), Target::AtLeast(then)));
    let most = |first, then| Some((Target::AtMost(first), Target::AtMost(then)));
    vec![
        Row::new("b", "durable accept, 256 connections ÷ reference server", "", least(0.5, 0.65))
            .with(median(rounds, |r| over(&r.ours, copied(&r.reference), "reference"))),
        Row::new("c", "the same ÷ Redis Streams, appendfsync always", "", least(0.6, 1.0))
            .with(median(rounds, |r| over(&r.ours, copied(&r.redis), "Redis"))),
        Row::new("d", "the same ÷ PostgreSQL, single rows, unique key", "", least(2.0, 4.0))
            .with(median(rounds, sql)),
        Row::new("e", "batch accept ÷ raw append and fdatasync", "", least(0.2, 0.5))
            .with(median(rounds, batch_ratio)),
        Row::new("f", "accept p99 at half of peak ÷ fdatasync p99", "", most(10.0, 5.0))
            .with(median(rounds, latency_ratio)),
    ]
}

/// Replay of a backlog to a local core, and the disk afterwards.
fn replaying(settings: &Settings, folder: &Path) -> Vec<Row> {
    let count = settings.replay();
    let measure = || -> Result<(f64, [u64; 3])> {
        let site = Site::new(&settings.built.join("holdover"), &folder.join("replay"))?;
        let (daemon, _) = site.start()?;
        let before = site.disk_bytes()?;
        site.fill(count)?;
        let core = site.start_core()?;
        let rate = site.replay_rate(Duration::from_secs(60 + count / 200))?;
        let replayed = site.disk_bytes()?;
        core.kill()?;
        daemon.stop("-TERM")?;
        // A clean stop writes a snapshot, and two of them must hold what leaves.
        site.start_past_retention()?.stop("-TERM")?;
        let daemon = site.start_past_retention()?;
        let after = site.settled_disk_bytes()?;
        daemon.stop("-TERM")?;
        std::fs::remove_dir_all(folder.join("replay"))?;
        Ok((rate, [before, replayed, after]))
    };
    let measured = measure();
    let rate = measured
        .as_ref()
        .map(|m| (m.0, format!("{} transactions, a key each", short(count as f64))))
        .map_err(again);
    let disk = match &measured {
        Ok((_, [before, replayed, after])) => Ok((
            *after as f64 / *before as f64,
            format!(
                "before {} MB, right after the replay {} MB, past retention {} MB",
                before >> 20,
                replayed >> 20,
                after >> 20
            ),
        )),
        Err(error) => Err(again(error)),
    };
    let targets = Some((Target::AtLeast(8000.0), Target::AtLeast(25_000.0)));
    vec![
        Row::new("g", "replay to a local core, unpaced", "/s", targets).with(rate),
        Row::new(
            "k",
            "disk after hold, replay and retention ÷ before",
            "",
            Some((Target::AtMost(2.0), Target::AtMost(1.2))),
        )
        .with(disk),
    ]
}

/// Memory, accept rate and restart with many waiting transactions.
fn backlog(settings: &Settings, folder: &Path) -> Vec<Row> {
    let (few, many) = settings.waiting();
    let mut memory = Err(anyhow!("an earlier measurement of this run failed"));
    let mut present = Err(anyhow!("an earlier measurement of this run failed"));
    let mut deleted = Err(anyhow!("an earlier measurement of this run failed"));
    let mut rate = Err(anyhow!("an earlier measurement of this run failed"));
    let mut tail = Err(anyhow!("an earlier measurement of this run failed"));
    let mut measure = || -> Result<()> {
        let site = Site::new(&settings.built.join("holdover"), &folder.join("backlog"))?;
        let (daemon, _) = site.start()?;
        site.fill(few)?;
        daemon.settle()?;
        let without = run_load(&site.plan(settings.seconds))?;
        let ((low, _), low_count) = (daemon.resident_bytes()?, site.open_count()?);
        site.fill(many.saturating_sub(low_count))?;
        let during = run_load(&site.plan(settings.seconds))?;
        daemon.settle()?;
        let with = run_load(&site.plan(settings.seconds))?;
        // Memory that a snapshot took goes back with the requests that come after it.
        let ((high, most), high_count) = (daemon.resident_bytes()?, site.open_count()?);
        let each = high.saturating_sub(low) as f64 / high_count.saturating_sub(low_count) as f64;
        let size = format!("{} to {} waiting", short(low_count as f64), short(high_count as f64));
        memory = Ok((
            each,
            format!(
                "{size}: {} to {} MB, {} MB while a snapshot is made",
                low >> 20,
                high >> 20,
                most >> 20
            ),
        ));
        rate = Ok((
            with.rate / without.rate,
            format!(
                "{}/s with {} waiting, {}/s at first; {}/s right after the filling",
                short(with.rate),
                short(high_count as f64),
                short(without.rate),
                short(during.rate)
            ),
        ));
        tail = Ok((
            f64::from(without.p99_us) / f64::from(with.p99_us.max(1)),
            format!("p99 {} µs at first, {} µs with the backlog", without.p99_us, with.p99_us),
        ));
        let waiting = format!("{} waiting, no finals", short(site.open_count()? as f64));
        daemon.kill()?;
        let (daemon, took) = site.start()?;
        present = Ok((took.as_secs_f64(), waiting.clone()));
        daemon.kill()?;
        site.delete_index()?;
        let (daemon, took) = site.start()?;
        deleted = Ok((took.as_secs_f64(), waiting));
        daemon.stop("-TERM")?;
        std::fs::remove_dir_all(folder.join("backlog"))?;
        Ok(())
    };
    let ended = measure();
    let or_why = |outcome: Result<(f64, String)>| match (outcome, &ended) {
        (Err(_), Err(why)) => Err(again(why)),
        (outcome, _) => outcome,
    };
    let most = |first, then| Some((Target::AtMost(first), Target::AtMost(then)));
    let least = Some((Target::AtLeast(0.9), Target::AtLeast(0.97)));
    vec![
        Row::new("h", "memory per waiting transaction", "B", most(150.0, 80.0))
            .with(or_why(memory)),
        Row::new("i1", "ready after kill -9, index present", "s", most(15.0, 3.0))
            .with(or_why(present)),
        Row::new("i2", "ready after kill -9, index deleted", "s", most(300.0, 60.0))
            .with(or_why(deleted)),
        Row::new("j1", "accept rate with a backlog ÷ without", "", least).with(or_why(rate)),
        Row::new("j2", "accept p99 without a backlog ÷ with", "", least).with(or_why(tail)),
    ]
}
