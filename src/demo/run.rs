//! One run of the demo as it stands: who plays, what the clients hold, what operators did.
//!
//! Setting the stage and taking it down are here; `driver` walks the clock over it, `counters`
//! does what people do afterwards.

use super::answers::Answered;
use super::client::{Door, Http};
use super::population::{Population, Submitter};
use super::processes::{self, Core, Stage, free_address};
use super::proof::Broken;
use super::proof::dates::Telling;
use super::schedule::{BEGINS, Plan, Post, Schedule, people_for};
use super::screen::Screen;
use super::script::UPSTREAMS;
use crate::admin::types::LedgerOut;
use crate::config::{self, Config};
use crate::daemon::driven::ClockServer;
use crate::daemon::tasks::Tasks;
use crate::domain::cell::Selector;
use crate::domain::ids::DeadlineId;
use crate::domain::time::{CivilDate, Timestamp};
use crate::web::access::{self, Holder, NewKey, Scope};
use anyhow::{Context, anyhow};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Child;

/// The notice as configuration; built in, so that the demo needs no files.
pub(super) const NOTICE: &str = include_str!("../../config/beijing-2022-08.toml");
/// The window that it declares.
pub(super) const WINDOW: &str = "beijing-2022-08";

/// How often a core is probed: slower than by default, because three days pass in a minute.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// The person who releases filings and certifies restarts.
const OPERATOR: &str = "Zhao Lei";

/// A restore or a release, as the driver gave it.
#[derive(Debug, Clone)]
pub struct Act {
    /// The cells.
    pub cells: Selector,
    /// When it was given.
    pub at: Timestamp,
    /// Whether it was a release.
    pub is_release: bool,
}

/// A registered case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its number.
    pub id: DeadlineId,
    /// The date given.
    pub original: CivilDate,
    /// The date that holds, as last told.
    pub effective: CivilDate,
    /// The rule that moved it.
    pub rule: Option<String>,
}

/// The run.
pub struct Run {
    /// The people and institutions.
    pub city: Population,
    /// What was planned.
    pub schedule: Schedule,
    /// The posts: those that were planned, then those that followed from answers.
    pub posts: Vec<Post>,
    /// What the clients hold.
    pub answers: Vec<Answered>,
    /// Dates told, in order.
    pub tellings: Vec<Telling>,
    /// Registered cases, in order.
    pub registered: BTreeMap<DeadlineId, Registered>,
    /// What operators did.
    pub acts: Vec<Act>,
    /// When the agency's end was put off while the stop was on, and until when.
    pub extended: Option<(Timestamp, Timestamp)>,
    /// When daemons were killed.
    pub kills: Vec<Timestamp>,
    /// Posts that stayed without an answer.
    pub unanswered: u64,
    /// What should not have happened on the way.
    pub findings: Vec<Broken>,
    /// Whether the run came to its end.
    pub completed: bool,
    /// The most that ever waited.
    pub held_peak: u64,
    /// The settings, read as the daemon reads them.
    pub config: Config,
    /// Keep-alive connections.
    pub http: Http,
    /// The clock.
    pub clock: ClockServer,
    /// The cores, in the order of their names in the plot.
    pub cores: Vec<Core>,
    /// What shows the run.
    pub screen: Screen,
    /// The demo's folder.
    pub folder: PathBuf,
    stage: Stage,
    keys: Vec<String>,
    operator: String,
    config_file: PathBuf,
    submitters: String,
    operators: String,
    /// The daemon.
    pub daemon: Child,
}

/// What a run is set up from.
pub struct Setting {
    /// How large it is, and how it plays.
    pub plan: Plan,
    /// The demo's folder.
    pub folder: PathBuf,
    /// The promise to break, in a build for tests.
    pub sabotage: Option<String>,
    /// Whether standard output is kept free.
    pub quiet: bool,
}

impl Run {
    /// Sets the stage: keys, cores, daemon.
    ///
    /// # Errors
    /// When something cannot be started.
    pub async fn set_up(setting: Setting, tasks: &Tasks) -> anyhow::Result<Self> {
        let Setting { plan, folder, sabotage, quiet } = setting;
        let city = Population::new(plan.seed, people_for(plan.transactions))?;
        let schedule = Schedule::new(plan, &city);
        let screen = Screen::new(quiet, schedule.ends);
        let clock = ClockServer::bind(BEGINS, tasks).await.context("the clock has no port")?;
        let program = std::env::current_exe().context("this program cannot find itself")?;
        let stage = Stage { program, folder: folder.clone(), clock: clock.addr(), sabotage };
        let mut cores = Vec::new();
        for (name, seed) in UPSTREAMS.into_iter().zip(plan.seed..) {
            cores.push(stage.start_core(name, seed).await?);
        }
        let (submitters, operators) = (free_address()?, free_address()?);
        let text = settings(&folder, submitters, operators, &cores)?;
        let config_file = folder.join("demo.toml");
        std::fs::write(&config_file, &text)?;
        let config =
            config::parse(&[("demo.toml", &text)]).map_err(|problems| unreadable(&problems))?;
        let keys = city
            .submitters
            .iter()
            .map(|submitter| submitter_key(&config.data.api_keys_file, submitter))
            .collect::<anyhow::Result<Vec<String>>>()?;
        let operator = operator_key(&config.data.api_keys_file)?;
        let http = Http::new();
        let operators = format!("http://{operators}");
        let daemon = stage.start_daemon(&config_file, &operators, &http, &["--init"]).await?;
        clock.expect_clients(cores.len() + 1);
        let posts = schedule.posts.clone();
        Ok(Self {
            city,
            schedule,
            posts,
            answers: Vec::new(),
            tellings: Vec::new(),
            registered: BTreeMap::new(),
            acts: Vec::new(),
            extended: None,
            kills: Vec::new(),
            unanswered: 0,
            findings: Vec::new(),
            completed: false,
            held_peak: 0,
            config,
            http,
            clock,
            cores,
            screen,
            folder,
            stage,
            keys,
            operator,
            config_file,
            submitters: format!("http://{submitters}"),
            operators,
            daemon,
        })
    }

    /// Starts the daemon again after a kill.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let stage = &self.stage;
        self.daemon =
            stage.start_daemon(&self.config_file, &self.operators, &self.http, &[]).await?;
        Ok(())
    }

    /// The last look at the daemon's books, then its end. What cannot be had is a finding; a
    /// daemon that does not stop is killed, so that its journal can be read.
    pub async fn take_down(&mut self) -> Option<LedgerOut> {
        let told = match self.ledger().await {
            Ok(told) => Some(told),
            Err(error) => {
                self.finding("ledger", format!("{error:#}"));
                None
            }
        };
        if let Err(error) = processes::stop(&mut self.daemon).await {
            self.finding("daemon", format!("{error:#}"));
            // It may have ended by itself.
            drop(processes::kill(&mut self.daemon).await);
        }
        told
    }

    /// The door of the submitter at `place`.
    #[must_use]
    pub fn submitter(&self, place: usize) -> Door<'_> {
        Door { base: &self.submitters, key: &self.keys[place] }
    }

    /// The operator's door.
    #[must_use]
    pub fn operator(&self) -> Door<'_> {
        Door { base: &self.operators, key: &self.operator }
    }

    /// The core that stands in for `upstream`.
    ///
    /// # Errors
    /// When there is none.
    pub fn core(&self, upstream: &str) -> anyhow::Result<&Core> {
        self.cores
            .iter()
            .find(|core| core.name == upstream)
            .with_context(|| format!("no core stands in for {upstream}"))
    }
}

fn unreadable(problems: &[config::Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow!("the demo's settings are not valid:\n{}", lines.join("\n"))
}

/// The notice's settings with the demo's own laid over them.
fn settings(
    folder: &Path,
    submitters: SocketAddr,
    operators: SocketAddr,
    cores: &[Core],
) -> anyhow::Result<String> {
    let text = |text: String| toml::Value::String(text);
    let path = |path: PathBuf| text(path.display().to_string());
    let mut settings: toml::Table = NOTICE.parse()?;
    let mut set = |at: &[&str], value: toml::Value| {
        let Some((last, tables)) = at.split_last() else { return };
        let mut table = &mut settings;
        for name in tables {
            let inner = table
                .entry((*name).to_owned())
                .or_insert_with(|| toml::Value::Table(toml::Table::new()));
            let toml::Value::Table(inner) = inner else { return };
            table = inner;
        }
        table.insert((*last).to_owned(), value);
    };
    set(&["listen", "submitters"], text(submitters.to_string()));
    set(&["listen", "operators"], text(operators.to_string()));
    set(&["data", "folder"], path(folder.join("data")));
    set(&["data", "api_keys_file"], path(folder.join("api-keys.json")));
    set(&["log", "level"], text("warn".to_owned()));
    // Fifty institutions do in a minute what they did in three days.
    set(&["institutions", "requests_per_second"], toml::Value::Integer(100_000));
    set(&["institutions", "burst_requests"], toml::Value::Integer(100_000));
    set(&["upstream_default", "probe_interval"], text(format!("{}s", PROBE_INTERVAL.as_secs())));
    for core in cores {
        set(&["upstream", &core.name, "base_url"], text(core.base_url.clone()));
    }
    // Report files go to the agencies' core.
    set(&["upstream", "agency", "takes_attachments"], toml::Value::Boolean(true));
    // Long enough for the first district's release to fall into it.
    set(&["upstream", "agency", "ramp"], text("20m".to_owned()));
    set(&["upstream", "agency", "ramp_from_per_second"], toml::Value::Integer(20));
    Ok(toml::to_string(&settings)?)
}

fn submitter_key(path: &Path, submitter: &Submitter) -> anyhow::Result<String> {
    let holder = Holder::Institution {
        institution: submitter.institution.clone(),
        channels: submitter.channels.clone(),
    };
    new_key(path, holder, vec![Scope::Submit, Scope::Read])
}

fn operator_key(path: &Path) -> anyhow::Result<String> {
    let holder = Holder::Operator { name: OPERATOR.to_owned() };
    new_key(path, holder, vec![Scope::Read, Scope::Operate, Scope::Approve])
}

fn new_key(path: &Path, holder: Holder, scopes: Vec<Scope>) -> anyhow::Result<String> {
    let new = NewKey { holder, scopes, created_at: BEGINS, expires_at: None };
    Ok(access::create(path, new)?)
}
