//! Verbs that are processes of their own rather than a question to a daemon: `serve`, `demo`,
//! `simulate-core`, `check-config`, `journal verify`.

use super::exit::{Exit, Failure};
use super::out::Out;
use super::serve::ServeArgs;
use crate::config::{self, Severity};
use crate::daemon::clock::SystemClock;
use crate::daemon::driven::{DrivenClock, Due, DueSource};
use crate::daemon::serve::{self, ServeOptions};
use crate::daemon::shutdown::{Phase, Shutdown};
use crate::daemon::tasks::{Kind, Tasks};
use crate::engine::ports::Clock;
use crate::upstream::scripted::{self, SimulateCore};
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the journal on disk holds.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum Journal {
    /// Check every record of a stopped daemon's journal
    Verify {
        /// The data folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Checks a configuration.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CheckConfig {
    /// Configuration files, each laid over the one before and all over the defaults
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The simulated core, on the machine's clock or a driver's.
#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    options: SimulateCore,
    /// Run on the clock of a driver at this address
    #[arg(long, value_name = "ADDRESS")]
    clock: Option<SocketAddr>,
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::local(Exit::Failure, error.to_string())
}

/// `holdover serve`: until it is told to stop.
pub(super) fn serve(args: ServeArgs) -> Result<Exit, Failure> {
    let files: Vec<&std::path::Path> = args.config.iter().map(PathBuf::as_path).collect();
    let mut config =
        serve::load(&files).map_err(|problems| Failure::local(Exit::Usage, problems))?;
    if let Some(data) = args.data {
        config.set_folder(data);
    }
    config.listen.submitters = args.listen.unwrap_or(config.listen.submitters);
    config.listen.operators = args.admin_listen.unwrap_or(config.listen.operators);
    let options = ServeOptions {
        clock: args.clock,
        quarantine: args.quarantine,
        init: args.init,
        #[cfg(feature = "sabotage")]
        sabotage: args.sabotage,
    };
    serve::run(config, options).map_err(|error| failed(format!("{error:#}")))?;
    Ok(Exit::Success)
}

/// `holdover check-config`: the problems, or what is in force.
pub(super) fn check(out: &Out, args: &CheckConfig) -> Result<Exit, Failure> {
    let files: Vec<&std::path::Path> = args.files.iter().map(PathBuf::as_path).collect();
    let (problems, shown) = match config::load(&files) {
        Ok(config) => {
            let problems = config::check(&config);
            let wrong = problems.iter().any(|p| p.severity == Severity::Error);
            let shown = (!wrong).then(|| config::render(&config, SystemClock::wall()));
            (problems, shown)
        }
        Err(problems) => (problems, None),
    };
    let listed: Vec<_> = problems
        .iter()
        .map(|p| {
            let severity = match p.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            json!({ "severity": severity, "key": p.key, "value": p.value, "why": p.why })
        })
        .collect();
    let good = shown.is_some();
    out.data(&json!({ "good": good, "problems": listed, "effective": shown }), || {
        let lines: String = problems.iter().map(|p| format!("{p}\n")).collect();
        lines + shown.as_deref().unwrap_or_default()
    });
    Ok(if good { Exit::Success } else { Exit::NotReady })
}

/// `holdover simulate-core`: until it is told to stop.
pub(super) async fn simulate(args: Simulate) -> Result<Exit, Failure> {
    let shutdown = Shutdown::new(Duration::from_secs(2));
    let runtime = tokio::runtime::Handle::current();
    let tasks = Tasks::new(runtime, shutdown.token(Phase::Store));
    tasks.spawn(Kind::Upkeep, "signals", shutdown.clone().follow_signals());
    let due = DueSource::later();
    let clock: Arc<dyn Clock> = match args.clock {
        None => Arc::new(SystemClock::new()),
        Some(driver) => {
            Arc::new(DrivenClock::connect(driver, due.clone(), &tasks).await.map_err(failed)?)
        }
    };
    let simulated = scripted::Simulated::bind(args.options, clock).map_err(failed)?;
    let next_due = simulated.next_due();
    due.set(Arc::new(move || {
        let due = Due { busy: false, next_due_ms: next_due() };
        Box::pin(std::future::ready(due))
    }));
    scripted::announce(&simulated).map_err(failed)?;
    let stop = shutdown.token(Phase::NotReady);
    let ended = simulated.serve(stop);
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => ended.map_err(failed)?,
        () = shutdown.asked() => {
            shutdown.phase(Phase::NotReady, async {}).await;
            ended.await.map_err(failed)?;
        }
    }
    Ok(Exit::Success)
}

/// `holdover journal verify`: what each file holds.
pub(super) fn verify(out: &Out, verb: &Journal) -> Result<Exit, Failure> {
    let Journal::Verify { folder } = verb;
    let report = crate::journal::verify::verify(folder).map_err(failed)?;
    let damage = |damage: &crate::journal::Damage| format!("{damage:?}");
    let files: Vec<_> = report
        .files
        .iter()
        .map(|file| {
            json!({
                "file": file.file, "kind": format!("{:?}", file.kind).to_lowercase(),
                "bytes": file.bytes, "records": file.records,
                "synced_up_to": file.synced_up_to.map(|seq| seq.0),
                "damage": file.damage.iter().map(damage).collect::<Vec<_>>(),
                "unsynced_tail": file.tail.as_ref().map(|tail| format!("{tail:?}")),
            })
        })
        .collect();
    let intact = report.is_intact();
    let data = json!({
        "intact": intact, "last": report.last.0, "missing": report.missing,
        "records": report.by_kind, "files": files,
    });
    out.data(&data, || {
        let mut text = String::new();
        for file in &files {
            text += &format!(
                "{:<28} {:>8} records {:>12} bytes  {}\n",
                file["file"].as_str().unwrap_or_default(),
                file["records"],
                file["bytes"],
                if file["damage"].as_array().is_none_or(Vec::is_empty) {
                    "intact"
                } else {
                    "damaged"
                },
            );
        }
        for name in &report.missing {
            text += &format!("{name} is missing\n");
        }
        text + &format!(
            "last record {}: {}\n",
            report.last,
            if intact { "intact" } else { "DAMAGED" }
        )
    });
    Ok(if intact { Exit::Success } else { Exit::NotReady })
}
