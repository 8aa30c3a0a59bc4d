//! The demo: three days of a real stop in about a minute, on the real daemon.
//!
//! ```text
//!  population ─► schedule ─┐                    ┌─► evidence ─► proof ─► report
//!  script (the plot) ──────┼─► driver, counters ┘
//!  run (the stage) ────────┘      │
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

use crate::daemon::tasks::Tasks;
use crate::domain::ids::UpstreamName;
use crate::domain::state::State;
use crate::domain::time::{Timestamp, Zone};
use anyhow::{Context, bail};
use proof::Broken;
use proof::calls::{self, Effects};
use proof::dates::{Stop, Telling};
use report::{Date, Report};
use run::{Run, Setting};
use schedule::{AGENCY_BACK, BEGINS, PLANNED_END, Plan, STOPS};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
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
    #[arg(long, default_value_t = 20_000, value_name = "N")]
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
/// a promise was broken, or the run could not be completed.
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
    ExitCode::FAILURE
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
    let tasks = Tasks::new(tokio::runtime::Handle::current(), CancellationToken::new());
    let setting = Setting {
        plan: Plan {
            seed: args.seed,
            transactions: args.transactions,
            agency_back: args.restore_at,
        },
        folder: folder.path.clone(),
        #[cfg(feature = "sabotage")]
        sabotage: args.sabotage.clone(),
        #[cfg(not(feature = "sabotage"))]
        sabotage: None,
        quiet: json,
    };
    let mut run = Run::set_up(setting, &tasks).await?;
    let played = run.play().await;
    if let Err(error) = played {
        run.screen.finish();
        return Err(error);
    }
    let told = run.ledger().await?;
    processes::stop(&mut run.daemon).await?;
    prove(&run, &told)
}

fn prove(run: &Run, told: &crate::admin::types::LedgerOut) -> anyhow::Result<Report> {
    let ends = run.schedule.ends;
    let journal = evidence::journal(&run.config.data.folder, ends)?;
    let logs = evidence::logs(run, &journal)?;
    let (clients, receipts, refusals) = evidence::clients(run);
    let ledger = evidence::ledger(told)?;
    let window = run.config.windows.first().context("the settings declare no window")?;
    let mut restored: BTreeMap<UpstreamName, Timestamp> = BTreeMap::new();
    for (name, upstream) in &run.config.upstreams {
        let needed = upstream.health.good_needed;
        let end = window.published.end;
        if let Some(at) = evidence::restored_at(name, end, needed, &run.acts, &logs) {
            restored.insert(name.clone(), at);
        }
    }
    let agency: UpstreamName = "agency".parse()?;
    let agency_back = restored.get(&agency).copied();
    let back_of = |post: &schedule::Post| {
        // What the notice says is claimed only while every part was surely stopped.
        let earliest = restored.values().copied().min().unwrap_or(PLANNED_END);
        if post.kind.said().disposition.passes() { earliest.min(PLANNED_END) } else { earliest }
    };
    let dates = window.deadlines.as_ref().context("the window moves no deadlines")?;
    let stop = Stop {
        starts: window.published.start,
        published_end: window.published.end,
        restored: agency_back.unwrap_or(ends),
        rule: dates.rule,
        opens_at: dates.opens_at,
        day_ends_at: dates.day_ends_at,
    };
    let mut sums = Effects::default();
    let closures = evidence::closures(window, &restored, &run.acts);
    let keys = evidence::ordering(run, &journal);
    let kept = proof::kept::acknowledged(&receipts, &refusals, &journal);
    let once = calls::once(&logs.calls, &mut sums);
    let in_order = calls::in_order(&logs.calls, &keys, &mut sums);
    let closed = calls::not_while_closed(&logs.calls, &closures, &mut sums);
    let cut_off = evidence::cut_off(run);
    let broken = proof::gather(vec![
        kept,
        proof::kept::ended(&journal),
        once,
        in_order,
        closed,
        proof::dates::moved(&stop, &tellings(run, &journal)),
        proof::books::balance(&clients, &ledger, &journal, sums.effects, cut_off),
        proof::notice::followed(&run.answers, &run.posts, &run.city, back_of),
        plot_was_played(run, &journal),
    ]);
    let held = |id: crate::domain::ids::Seq| {
        journal
            .accepted
            .get(&id)
            .is_some_and(|kept| !kept.disposition.passes() && kept.state == State::Applied)
    };
    let replayed = journal.accepted.keys().filter(|&&seq| held(seq)).count();
    let doubted = journal.accepted.values().filter(|kept| kept.doubted).count();
    Ok(Report {
        scenario: scenario(run.schedule.agency_back),
        starts_at: window.published.start,
        ends_at: window.published.end,
        restored_at: agency_back,
        clients,
        held_peak: run.held_peak,
        replayed: u64::try_from(replayed)?,
        kills: run.kills,
        in_doubt_seen: u64::try_from(doubted)?,
        ledger,
        effects: sums,
        policy: proof::notice::used(&run.answers, &run.posts, &run.city),
        deadlines: registered(run),
        deadline_clause: dates.clause.clone(),
        broken,
    })
}

fn scenario(agency_back: Timestamp) -> &'static str {
    if agency_back < PLANNED_END {
        "early"
    } else if agency_back > AGENCY_BACK {
        "slipped"
    } else {
        "on_time"
    }
}

/// What the clients were told, and what the journal says that somebody was told.
fn tellings(run: &Run, journal: &proof::journal::Recount) -> Vec<Telling> {
    let by_journal = journal.told.iter().map(|told| Telling {
        about: format!("{} (journal)", told.business),
        original: told.original,
        told: told.to,
        at: told.at,
    });
    let mut clients = run.tellings.clone();
    clients.sort_by_key(|telling| telling.at);
    clients.into_iter().chain(by_journal).collect()
}

fn registered(run: &Run) -> Vec<Date> {
    run.registered
        .values()
        .map(|case| Date {
            original: case.original,
            effective: case.effective,
            rule: case.rule.clone().unwrap_or_else(|| "none".to_owned()),
            extended: case.original < case.effective,
        })
        .collect()
}

/// Whether the run met what it set out to meet: without kills, doubts and tickets nothing would
/// have been proved.
fn plot_was_played(run: &Run, journal: &proof::journal::Recount) -> Vec<Broken> {
    let doubted = journal.accepted.values().any(|kept| kept.doubted);
    let ticketed = journal.accepted.values().any(|kept| kept.ticket.is_some());
    [
        (run.kills >= 2, "the daemon was not killed twice"),
        (doubted, "no transaction was ever in doubt"),
        (ticketed, "no settlement became a ticket"),
        (run.registered.len() == run.schedule.registrations.len(), "a registered case is missing"),
        (BEGINS < run.schedule.ends, "the schedule is empty"),
    ]
    .into_iter()
    .filter(|(met, _)| !met)
    .map(|(_, what)| Broken::new("plot", "demo", what))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_without_an_offset_is_meant_in_beijing() {
        assert_eq!(instant("2022-08-15T07:10"), Ok(AGENCY_BACK));
        assert_eq!(instant("2022-08-14T23:10:00Z"), Ok(AGENCY_BACK));
        assert!(instant("tomorrow").is_err());
    }

    #[test]
    fn the_scenario_is_named_after_the_restart() {
        assert_eq!(scenario(AGENCY_BACK), "on_time");
        assert_eq!(scenario(instant("2022-08-16T10:00").unwrap()), "slipped");
        assert_eq!(scenario(instant("2022-08-14T20:00").unwrap()), "early");
    }
}
