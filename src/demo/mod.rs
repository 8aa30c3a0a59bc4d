//! The demo: three days of a real stop in about a minute, on the real daemon.
//!
//! ```text
//!  population ─► schedule ─┐                    ┌─► evidence ─► proof ─► report
//!  script (the plot) ──────┼─► driver, counters ┘
//!  run (the stage) ────────┘      │                  (verdict gathers the proofs)
//!          starts `serve` and `simulate-core` as processes, owns their clock
//! ```
//!
//! Like the command line, the demo talks HTTP to a daemon that it does not know from inside.
//! What it proves in the end is recounted from receipts, journal and the cores' own logs. No
//! rule of the product lives here, and nothing that the product needs.

pub mod answers;
pub mod bodies;
pub mod client;
mod counters;
mod driver;
pub mod evidence;
pub mod kinds;
pub mod population;
mod processes;
pub mod proof;
pub mod report;
mod run;
pub mod schedule;
mod screen;
pub mod script;
mod verdict;

use crate::daemon::tasks::Tasks;
use crate::domain::time::{Timestamp, Zone};
use anyhow::{Context, bail};
use report::Report;
use run::{Run, Setting};
use schedule::{PLANNED_END, Plan, STOPS};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The latest restart that the demo plays: its own arithmetic of dates ends with the month.
const LATEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Options of the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// When the agency path comes back, in Beijing time: after the published end it slips,
    /// before it is early and an operator signs for it
    #[arg(long, value_name = "INSTANT", value_parser = instant, default_value = "2022-08-15T07:10")]
    pub restore_at: Timestamp,
    /// The seed: the same seed, the same people and posts
    #[arg(long, default_value_t = 20_220_812)]
    pub seed: u64,
    /// Ordinary posts, at least
    #[arg(long, default_value_t = 22_000, value_name = "N")]
    pub transactions: usize,
    /// Keep everything in this folder, which must be empty or not there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Break a promise, to see it noticed
    #[cfg(feature = "sabotage")]
    #[arg(long, hide = true, value_name = "NAME")]
    pub sabotage: Option<String>,
}

/// Reads an instant with its offset, or a civil time of Beijing without one.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    const ZONE: Zone = chrono_tz::Asia::Shanghai;
    ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
        .iter()
        .find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok())
        .map(|civil| Timestamp::from_civil(civil, ZONE))
        .ok_or_else(|| "expected an instant such as 2022-08-16T10:00".to_owned())
}

/// Plays the demo; with `json` nothing but the final object goes to standard output. Fails when
/// a promise was broken, or the run could not be completed: the object then says where it ended.
/// A signal ends it without an object.
#[must_use]
pub fn run(args: DemoArgs, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let report = runtime.block_on(play(args, json));
    runtime.shutdown_timeout(Duration::from_secs(1));
    let report = match report {
        Ok(report) => report,
        Err(error) => return failed(&error),
    };
    let text = if json { format!("{}\n", report.json()) } else { report.page() };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    if written.is_err() || !report.broken.is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // Nobody may be listening; the exit code says it too.
    drop(writeln!(std::io::stderr().lock(), "holdover demo: {error:#}"));
    error.downcast_ref().map_or(ExitCode::FAILURE, Interrupted::exit)
}

/// A signal asked the demo to end before it was over.
#[derive(Debug, thiserror::Error)]
#[error("interrupted before the end, so nothing was proved; nothing of it runs any more")]
struct Interrupted(SignalKind);

impl Interrupted {
    /// Returns with the first such signal.
    async fn comes() -> anyhow::Error {
        tokio::select! {
            came = Self::by(SignalKind::interrupt()) => came,
            came = Self::by(SignalKind::terminate()) => came,
            came = Self::by(SignalKind::hangup()) => came,
        }
    }

    async fn by(kind: SignalKind) -> anyhow::Error {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
                Self(kind).into()
            }
            Err(error) => anyhow::Error::new(error).context("signals cannot be listened to"),
        }
    }

    /// The exit code by which shells tell the signal.
    fn exit(&self) -> ExitCode {
        u8::try_from(128 + self.0.as_raw_value()).map_or(ExitCode::FAILURE, ExitCode::from)
    }
}

/// The folder of a run; removed at the end unless somebody wants to keep it.
struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    fn new(keep: Option<PathBuf>) -> anyhow::Result<Self> {
        let kept = keep.is_some();
        let path = keep.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("holdover-demo-{}", std::process::id()))
        });
        std::fs::create_dir_all(&path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))?;
        if std::fs::read_dir(&path)?.next().is_some() {
            bail!("the folder {} is not empty; name another one", path.display());
        }
        // The daemon may run elsewhere one day; a relative path must not mean two places.
        Ok(Self { path: path.canonicalize()?, kept })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is left to the system's own clearing of temporary files.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

async fn play(args: DemoArgs, json: bool) -> anyhow::Result<Report> {
    let earliest = STOPS.after(Duration::from_secs(12 * 3600));
    if args.restore_at < earliest || PLANNED_END.after(LATEST) < args.restore_at {
        bail!("--restore-at must lie between {earliest} and {}", PLANNED_END.after(LATEST));
    }
    let folder = Folder::new(args.keep.clone())?;
    let ended = tokio::select! {
        biased;
        interrupted = Interrupted::comes() => Err(interrupted),
        proved = prove(&args, folder.path.clone(), json) => proved,
    };
    // Whoever still runs was killed just now; the folder is removed when nobody writes there.
    processes::all_gone().await;
    ended
}

async fn prove(args: &DemoArgs, folder: PathBuf, json: bool) -> anyhow::Result<Report> {
    let tasks = Tasks::new(tokio::runtime::Handle::current(), CancellationToken::new());
    let setting = Setting {
        plan: Plan {
            seed: args.seed,
            transactions: args.transactions,
            agency_back: args.restore_at,
        },
        folder,
        #[cfg(feature = "sabotage")]
        sabotage: args.sabotage.clone(),
        #[cfg(not(feature = "sabotage"))]
        sabotage: None,
        quiet: json,
    };
    let mut run = Run::set_up(setting, &tasks).await?;
    run.play().await;
    let told = run.take_down().await;
    verdict::prove(&run, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedule::AGENCY_BACK;

    #[test]
    fn an_instant_without_an_offset_is_meant_in_beijing() {
        assert_eq!(instant("2022-08-15T07:10"), Ok(AGENCY_BACK));
        assert_eq!(instant("2022-08-14T23:10:00Z"), Ok(AGENCY_BACK));
        assert!(instant("tomorrow").is_err());
    }
}
