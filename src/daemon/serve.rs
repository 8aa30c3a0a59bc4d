//! The composition: puts the parts together, runs them, and stops them in good order.
//!
//! Start: lock and open the journal, recover, commit what recovery decided, bind the listeners,
//! say that we are ready. Stop: readiness, intake, attempts, store, in that order.
//!
//! No rule of the product lives here; only here is anything constructed.

use super::accept_clock::{Acceptance, ClockWord};
use super::attachments;
use super::clock::{Stopwatch, real_sleep};
use super::dispatch::{Dispatch, DispatchOutlet};
use super::driven::{self, Due, DueSource};
use super::observe::{Observer, Timed};
use super::parts::{
    announce, damage_out, draw_mark, intake_counters, observe, observed, open_announcements,
    open_audit, open_journal, settings, size, speak_kafka, start_index, tell_damage,
    tell_recovered, tell_skipped, upstreams,
};
use super::reload::InForce;
use super::service_manager::{self, Told, ToldSnapshot};
use super::shutdown::{Phase, Shutdown};
use super::tasks::{Kind, Tasks};
use super::vitals::Watch;
use crate::admin;
use crate::admin::audit::Audit;
use crate::admin::proposals::Proposals;
use crate::config::{self, Config};
use crate::domain::gate::Probe;
use crate::domain::ids::UpstreamName;
use crate::domain::numbers::Numbers;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::engine::event::{Command, Event, Order, Reply};
use crate::engine::machine::Machine;
use crate::engine::ports::{Clock, JournalReader, Upstream, Vault};
use crate::engine::recovery::{self, Found};
use crate::engine::run::{self, Handle, Pulse};
use crate::index::Index;
use crate::intake;
use crate::intake::announce::Outbox;
use crate::intake::bundle::Bundles;
use crate::intake::tally::Tally;
use crate::intake::transfers::Transfers;
use crate::journal::{self, BlobStore, Opened};
use crate::telemetry::events;
use crate::telemetry::metrics::Metrics;
use crate::web::access::KeyFile;
use crate::web::body::BodyLimits;
use crate::web::server::{self, ServerLimits};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Ways to break one promise each.
#[cfg(feature = "sabotage")]
pub use crate::engine::settings::Sabotage;

/// The journal partition of an embedded daemon.
pub(super) const PARTITION: u16 = 0;

/// What `holdover serve` is told besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The driver whose clock is followed. `None`: the machine's own clock.
    pub clock: Option<SocketAddr>,
    /// Serve what is intact of a damaged journal.
    pub quarantine: bool,
    /// Begin a journal where the folder is absent or has none.
    pub init: bool,
    /// A service manager wants to be told.
    pub service_manager: bool,
    /// A person's word that the clock is right, for a start that needs one.
    pub accept_clock: Option<ClockWord>,
    /// The one promise to break.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<Sabotage>,
    /// The sync of the journal that fails.
    #[cfg(feature = "sabotage")]
    pub sabotage_sync: Option<u64>,
}

/// Where the configuration is read from, at the start and at each reload.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Files, each laid over the one before and all over the defaults.
    pub files: Vec<PathBuf>,
    /// The data folder, instead of the configured one.
    pub data: Option<PathBuf>,
    /// Where submitters are served, instead of the configured address.
    pub listen: Option<SocketAddr>,
    /// Where operators are served, instead of the configured address.
    pub admin_listen: Option<SocketAddr>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// Every problem, where there is one.
    pub fn read(&self) -> Result<Config, Vec<config::Problem>> {
        let files: Vec<&std::path::Path> = self.files.iter().map(PathBuf::as_path).collect();
        let mut config = config::load(&files)?;
        if let Some(data) = &self.data {
            config.set_folder(data.clone());
        }
        config.listen.submitters = self.listen.unwrap_or(config.listen.submitters);
        config.listen.operators = self.admin_listen.unwrap_or(config.listen.operators);
        Ok(config)
    }
}

/// Runs the daemon until it is told to stop. `config` is what was read from `source`.
///
/// # Errors
/// When it cannot start, or when a vital part failed while it ran.
pub fn run(config: Config, source: Source, options: ServeOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let shutdown = Shutdown::new(config.listen.grace);
    let ended = runtime.block_on(serve(config, source, options, shutdown));
    // Whatever is still running has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// The parts that stay for as long as the daemon runs.
pub(super) struct Daemon {
    /// The configuration of the start: what of it may change is asked of `in_force`.
    pub(super) config: Arc<Config>,
    pub(super) in_force: Arc<InForce>,
    /// Whether a service manager wants to be told.
    pub(super) has_manager: bool,
    pub(super) clock: Arc<dyn Clock>,
    /// The same clock as the engine believes it.
    pub(super) believed: Arc<dyn Clock>,
    pub(super) tasks: Tasks,
    pub(super) shutdown: Shutdown,
    pub(super) engine: Handle,
    pub(super) numbers: Arc<Numbers>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) reader: Arc<dyn JournalReader>,
    pub(super) vault: Arc<dyn Vault>,
    bundles: Arc<Bundles>,
    pub(super) blobs: Arc<BlobStore>,
    pub(super) index: Index,
    pub(super) disk_reserve: Arc<AtomicBool>,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) quarantined: bool,
    /// Does the journal's upkeep, and knows what of it is damaged.
    pub(super) upkeep: journal::Upkeep,
    pub(super) upstreams: HashMap<UpstreamName, Arc<dyn Upstream>>,
    pub(super) metrics: Metrics,
    pub(super) tally: Arc<Tally>,
    /// What people are told of.
    pub(super) announcements: Arc<Outbox>,
    /// What is watched beside the engine.
    pub(super) watch: Arc<Watch>,
    /// When each upstream is probed next, in milliseconds; 0 while a probe is under way.
    pub(super) probes: HashMap<UpstreamName, Arc<AtomicI64>>,
}

async fn serve(
    config: Config,
    source: Source,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Result<()> {
    // From here on a hang-up is a reload, also one that comes before there is anything to reload.
    let hang_ups = signal(SignalKind::hangup())?;
    let tasks = Tasks::new(tokio::runtime::Handle::current(), shutdown.token(Phase::Store));
    tasks.spawn(Kind::Upkeep, "signals", shutdown.clone().follow_signals());
    let due = DueSource::later();
    let clock = driven::clock(options.clock, &due, &tasks, &shutdown).await;
    let clock = clock.context("the driver of the clock cannot be reached")?;
    let (metrics, log) = observe(&config, clock.is_virtual())?;
    service_manager::starting("opening the journal");
    let (opened, accepted) = open_journal(&config, &options, clock.as_ref())?;
    let kept = attachments::open(&config, opened.last)?;
    let (upkeep, retirement) = (opened.upkeep.clone(), opened.retirement.clone());
    let (snapshots, reader) = (opened.snapshots.clone(), opened.reader.clone());
    let folding = settings(&config, &options);
    let started = start_engine(&config, &options, (opened, accepted), &kept, &clock, &tasks)?;
    let audit = started.audit;
    end_acceptance(started.accepted, &audit, &started.engine).await?;
    let topics = config.intake_kafka.as_ref().map_or(0, |kafka| kafka.topics.len());
    let watch = Arc::new(Watch::new(topics, config.publish_kafka.is_some()));
    let config = Arc::new(config);
    let daemon = Daemon {
        has_manager: options.service_manager,
        in_force: Arc::new(InForce::new(source, options, log, config.clone(), clock.now().wall)),
        announcements: open_announcements(&config, &*reader, &*clock, started.quarantined)?,
        config,
        clock,
        believed: started.clock,
        tasks,
        shutdown,
        engine: started.engine,
        numbers: started.numbers,
        pulse: started.pulse,
        reader,
        vault: kept.vault,
        bundles: kept.bundles,
        blobs: kept.blobs,
        index: started.index,
        disk_reserve: started.disk_reserve,
        ready: Arc::new(AtomicBool::new(false)),
        quarantined: started.quarantined,
        upkeep,
        probes: started.upstreams.keys().map(|name| (name.clone(), Arc::default())).collect(),
        upstreams: started.upstreams,
        metrics,
        tally: Arc::default(),
        watch,
    };
    daemon.keep_time(started.due);
    if !daemon.quarantined {
        daemon.keep_probing();
    }
    daemon.keep_the_disk();
    if !daemon.quarantined {
        daemon.keep_snapshots(snapshots.clone(), folding);
        daemon.keep_retention(retirement);
        daemon.keep_the_attachments();
        daemon.declare_configured_windows().await?;
    }
    let acts = TaskTracker::new();
    daemon.listen(&acts, audit).await?;
    daemon.answer_driver(&due);
    daemon.keep_reloading(hang_ups);
    let ended = daemon.until_stopped().await;
    let clean = daemon.stop(&acts).await;
    let ended = ended.and_then(|()| match daemon.pulse.is_poisoned() {
        true => Err(anyhow!("the last commit failed")),
        false => Ok(()),
    });
    // What lacks records must never become the truth.
    if ended.is_ok() && clean && !daemon.quarantined {
        keep_last_state(&snapshots, &started.final_state);
    }
    ended
}

/// Writes the state after a stop in good order, so that the next start has little to fold.
fn keep_last_state(
    snapshots: &journal::Snapshots,
    final_state: &std::sync::mpsc::Receiver<Machine>,
) {
    if let Ok(machine) = final_state.try_recv()
        && let Err(error) = snapshots.write(machine.last(), machine.snapshot())
    {
        tracing::warn!(%error, "no snapshot was written, the next start takes longer");
    }
}

/// Writes into the audit log that a word about the clock has taken effect.
async fn end_acceptance(
    accepted: Option<Acceptance>,
    audit: &Audit,
    engine: &Handle,
) -> Result<()> {
    if let Some(accepted) = accepted
        // Answered after the commit that holds the word.
        && engine.read(|_, _| ()).await.is_some()
    {
        let head = accepted.end(audit)?;
        engine.tell(Event::AuditNoted(head)).await;
    }
    Ok(())
}

/// The engine at work, and what was made for it.
struct Started {
    engine: Handle,
    numbers: Arc<Numbers>,
    pulse: Arc<Pulse>,
    due: watch::Receiver<Option<Timestamp>>,
    clock: Arc<dyn Clock>,
    index: Index,
    disk_reserve: Arc<AtomicBool>,
    upstreams: HashMap<UpstreamName, Arc<dyn Upstream>>,
    /// The last state, once the engine's thread has ended.
    final_state: std::sync::mpsc::Receiver<Machine>,
    /// Records are lost: what is left is only looked at.
    quarantined: bool,
    audit: Arc<Audit>,
    /// A word about the clock whose end the audit log does not have yet.
    accepted: Option<Acceptance>,
}

/// Recovers the state and puts the engine on its two threads.
fn start_engine(
    config: &Config,
    options: &ServeOptions,
    (opened, accepted): (Opened, Option<Acceptance>),
    attachments::Kept { vault, blobs, .. }: &attachments::Kept,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Started> {
    let watch = Stopwatch::start();
    let found = Found {
        snapshot: Box::new(ToldSnapshot(opened.snapshot)),
        replay_from: opened.replay_from,
        runs: opened.keys,
        epoch: opened.epoch,
        mark: draw_mark()?,
        virtual_clock: clock.is_virtual(),
        quarantined: !opened.report.damage.is_empty(),
        clock_accepted: accepted.as_ref().map(Acceptance::by_and_reason),
    };
    let now = clock.now().wall;
    let (mut machine, mut recovered) =
        recovery::recover(settings(config, options), found, &Told(opened.reader.as_ref()), now)
            .context("the journal cannot be read to its end")?;
    tell_recovered(&opened.report, opened.last, &machine, &recovered, (now, watch.elapsed()));
    let quarantined = machine.is_quarantined();
    tell_damage(&opened.report.damage);
    attachments::settle(blobs, &machine)?;
    tell_skipped(&opened.report.snapshots_skipped);
    let audit = open_audit(config, machine.audit_noted(), quarantined, now)?;
    // Before the commit that it is about.
    let accepted = accepted.map(|word| word.begin(&audit)).transpose()?;
    machine.begin_audit(audit.head(), &mut recovered);
    let (index, upstreams) =
        (start_index(config, &opened.reader, tasks, quarantined), upstreams(config, tasks)?);
    let disk_reserve = Arc::new(AtomicBool::new(false));
    let numbers = Arc::new(machine.numbers());
    let observer = Observer {
        numbers: numbers.clone(),
        index: index.clone(),
        disk_reserve: disk_reserve.clone(),
    };
    let dispatch = Arc::new(Dispatch {
        numbers: numbers.clone(),
        upstreams: upstreams.clone(),
        reader: opened.reader.clone(),
        blobs: blobs.clone(),
        vault: vault.clone(),
        clock: clock.clone(),
        tasks: tasks.clone(),
        engine: OnceLock::new(),
        observer,
    });
    let outlet = Box::new(DispatchOutlet(dispatch.clone()));
    let journal = Box::new(Timed(opened.journal));
    let parts = run::assemble(machine, recovered, journal, outlet, clock.clone());
    drop(dispatch.engine.set(parts.handle.clone()));
    let worker = parts.worker;
    let (last_state, final_state) = std::sync::mpsc::sync_channel(1);
    tasks.spawn_thread(Kind::Store, "engine", move || {
        let (machine, ended) = worker.run();
        // The receiver is gone only when the start failed halfway.
        drop(last_state.send(machine));
        ended
    });
    let (engine, pulse, due, clock) = (parts.handle, parts.pulse, parts.due, parts.clock);
    Ok(Started {
        engine,
        numbers,
        pulse,
        due,
        clock,
        index,
        disk_reserve,
        upstreams,
        final_state,
        quarantined,
        audit,
        accepted,
    })
}

impl Daemon {
    /// Wakes the engine when something becomes due.
    fn keep_time(&self, mut due: watch::Receiver<Option<Timestamp>>) {
        let (clock, engine) = (self.clock.clone(), self.engine.clone());
        self.tasks.spawn(Kind::Engine, "agenda", async move {
            // What recovery left ready is begun at once.
            engine.tell(Event::Tick).await;
            loop {
                let next = *due.borrow_and_update();
                let woken = async {
                    match next {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = due.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                    () = woken => {
                        engine.tell(Event::Tick).await;
                        // The engine says what is next once it has looked.
                        if due.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
    }

    fn keep_probing(&self) {
        for (name, upstream) in &self.upstreams {
            if !self.config.upstreams.contains_key(name) {
                continue;
            }
            let in_force = self.in_force.clone();
            let Some(board) = self.probes.get(name).cloned() else { continue };
            let (name, upstream) = (name.clone(), upstream.clone());
            let (clock, engine) = (self.clock.clone(), self.engine.clone());
            self.tasks.keep_running(Kind::Probe, "probe", move || {
                let (name, upstream) = (name.clone(), upstream.clone());
                let (clock, engine, board) = (clock.clone(), engine.clone(), board.clone());
                let in_force = in_force.clone();
                async move {
                    let mut bad_in_a_row = 0u32;
                    // What names an upstream changes with a restart only.
                    while let Some(probing) = in_force.probing(&name) {
                        board.store(0, Ordering::SeqCst);
                        let began = clock.now();
                        let good = tokio::time::timeout(probing.timeout, upstream.probe()).await;
                        let good = good.unwrap_or(false);
                        bad_in_a_row = if good { 0 } else { bad_in_a_row.saturating_add(1) };
                        let next = began.wall.after(probing.pause(bad_in_a_row));
                        events::probed(&name, good, clock.now().wall);
                        let probe = Probe { began: began.monotonic, good };
                        engine.tell(Event::Probed { upstream: name.clone(), probe }).await;
                        board.store(next.as_millis(), Ordering::SeqCst);
                        clock.sleep_until(next).await;
                    }
                }
            });
        }
    }

    /// Declares the windows of the configuration that the journal does not know yet.
    async fn declare_configured_windows(&self) -> Result<()> {
        let known = self
            .engine
            .read(|machine, _| machine.windows())
            .await
            .ok_or_else(|| anyhow!("the engine has ended"))?;
        let now = self.clock.now().wall;
        for window in &self.config.windows {
            let id = &window.id;
            if let Some(declared) = known.iter().find(|w| w.id == *id) {
                if !declared.says_the_same_as(window) {
                    let version = declared.version;
                    tracing::warn!(
                        window = %id, version, "the configured window differs from the one that \
                        was declared, which stays; change it with `holdover window`"
                    );
                }
                continue;
            }
            if window.planned.end <= now {
                tracing::warn!(window = %id, "the configured window is over and is not declared");
                continue;
            }
            self.declare(window.clone()).await?;
        }
        let left = self.engine.read(|machine, now| machine.left_alone(now.wall)).await;
        for window in left.unwrap_or_default() {
            tracing::warn!(
                window = %window.id, "a schedule that has changed or is gone has declared this \
                window, which stays; take it back with `holdover window cancel`"
            );
        }
        Ok(())
    }

    async fn declare(&self, window: Window) -> Result<()> {
        let id = window.id.clone();
        let order = Order {
            by: "configuration".to_owned(),
            reason: window.reason.clone(),
            command: Command::DeclareWindow(Box::new(window)),
        };
        match self.engine.order(order).await {
            Reply::Done(_) => {
                tracing::info!(window = %id, "declared the configured window");
                Ok(())
            }
            Reply::Invalid(fault) => bail!("window {id} of the configuration: {fault}"),
            Reply::Accepted { .. }
            | Reply::KeyReused { .. }
            | Reply::TurnedAway { .. }
            | Reply::Deadline { .. }
            | Reply::Unavailable => bail!("window {id} could not be declared"),
        }
    }

    async fn listen(&self, acts: &TaskTracker, audit: Arc<Audit>) -> Result<()> {
        let config = &self.config;
        let keys = KeyFile::open(&config.data.api_keys_file).context("the API keys")?;
        for lack in keys.lacks(self.clock.now().wall) {
            events::no_key(lack.scope.as_str(), &lack);
        }
        let keys = Arc::new(keys);
        let limits = ServerLimits {
            connections_max: usize::try_from(config.listen.connections_max).unwrap_or(usize::MAX),
            head_timeout: config.listen.head_timeout,
            write_timeout: config.listen.write_timeout,
            grace: config.listen.grace,
            ..ServerLimits::default()
        };
        let submitters = bind(config.listen.submitters)?;
        let operators = bind(config.listen.operators)?;
        let addresses = (submitters.local_addr()?, operators.local_addr()?);
        let shared = Arc::new(self.intake_state(keys.clone(), acts));
        let intake = observed(intake::router(shared.clone()), "submitters");
        let state = self.admin_state(keys, acts, audit);
        let admin = observed(admin::router(state.clone()), "operators");
        let stop = self.shutdown.token(Phase::Intake);
        if !self.quarantined {
            speak_kafka(config, &self.tasks, &shared, &stop);
            announce(config, &self.tasks, &shared, &stop);
        }
        // Operators may look until the very end; they can do nothing any more by then.
        let end = self.shutdown.token(Phase::Store);
        self.tasks.spawn(Kind::Intake, "submitters", async move {
            let stopped = server::serve(submitters, intake, limits, stop).await;
            tracing::info!(?stopped, "submitters are no longer served");
        });
        self.tasks.spawn(Kind::Upkeep, "operators", async move {
            let stopped = server::serve(operators, admin, limits, end).await;
            tracing::info!(?stopped, "operators are no longer served");
        });
        // Before the line that says so.
        self.ready.store(true, Ordering::SeqCst);
        say_ready(addresses.0, addresses.1)?;
        self.manager_ready(&state).await;
        self.keep_the_manager_told(&state);
        Ok(())
    }

    fn intake_state(&self, keys: Arc<KeyFile>, acts: &TaskTracker) -> intake::State {
        let limits = &self.config.limits;
        let timeout = self.config.listen.body_timeout;
        intake::State {
            engine: self.engine.clone(),
            journal: self.reader.clone(),
            vault: self.vault.clone(),
            blobs: self.blobs.clone(),
            attachment_formats: self.config.attachments.formats.clone(),
            transfers: Transfers::new(acts.clone()),
            listing: Arc::new(self.index.clone()),
            catalogue: Arc::new(self.config.catalogue.clone()),
            keys,
            clock: self.believed.clone(),
            numbers: self.numbers.clone(),
            zone: self.config.zone,
            limits: intake::Limits {
                body: BodyLimits { bytes_max: size(limits.submission_bytes_max), timeout },
                batch: BodyLimits { bytes_max: size(limits.batch_bytes_max), timeout },
                attachment: BodyLimits {
                    bytes_max: size(self.config.attachments.bytes_max),
                    timeout: self.config.attachments.upload_timeout,
                },
                batch_lines_max: usize::try_from(limits.batch_lines_max).unwrap_or(usize::MAX),
                wait_max: self.config.listen.wait_max,
                ..intake::Limits::default()
            },
            disk_reserve: self.disk_reserve.clone(),
            tally: self.tally.clone(),
            bundles: self.bundles.clone(),
            quotas: self.in_force.quotas.clone(),
            announcements: self.announcements.clone(),
        }
    }

    fn admin_state(
        &self,
        keys: Arc<KeyFile>,
        acts: &TaskTracker,
        audit: Arc<Audit>,
    ) -> admin::State {
        let (pulse, ready) = (self.pulse.clone(), self.ready.clone());
        let (shutdown, reserve) = (self.shutdown.clone(), self.disk_reserve.clone());
        let (metrics, tally) = (self.metrics.clone(), self.tally.clone());
        let (quarantined, upkeep) = (self.quarantined, self.upkeep.clone());
        let (watch, in_force) = (self.watch.clone(), self.in_force.clone());
        let shown = self.in_force.clone();
        let not_ready = move || {
            let reasons = [
                (pulse.is_poisoned(), "poisoned"),
                (!ready.load(Ordering::SeqCst), "starting"),
                (shutdown.is_asked(), "stopping"),
                (reserve.load(Ordering::SeqCst), "disk_reserve"),
                (quarantined, "quarantined"),
            ];
            reasons.iter().filter(|(is, _)| *is).map(|(_, why)| (*why).to_owned()).collect()
        };
        admin::State {
            engine: self.engine.clone(),
            clock: self.believed.clone(),
            keys,
            audit,
            history: admin::history::by_scan(self.reader.clone()),
            vault: self.vault.clone(),
            numbers: self.numbers.clone(),
            zone: self.config.zone,
            proposals: Arc::new(Proposals::new(self.config.approval.proposals_wait)),
            body_limits: BodyLimits::default(),
            acts: acts.clone(),
            not_ready: Arc::new(not_ready),
            intake: Arc::new(move || intake_counters(&tally)),
            metrics: Arc::new(move || metrics.render()),
            vitals: Arc::new(move || admin::status::Vitals {
                config_refused_since: in_force.refused_since(),
                ..watch.vitals()
            }),
            configuration: Arc::new(move || shown.shown()),
            damage: Arc::new(move || upkeep.known_damage().iter().map(damage_out).collect()),
        }
    }

    /// Tells the driver of a virtual clock what is under way and what is due.
    fn answer_driver(&self, due: &DueSource) {
        let (pulse, clock) = (self.pulse.clone(), self.clock.clone());
        let probes: Vec<_> = self.probes.values().cloned().collect();
        due.set(Arc::new(move || {
            let mut next = pulse.next_due();
            let mut probing = false;
            for probe in &probes {
                match probe.load(Ordering::SeqCst) {
                    0 => probing = true,
                    ms => {
                        let at = Timestamp::from_millis(ms);
                        next = Some(next.map_or(at, |known| known.min(at)));
                    }
                }
            }
            let now = clock.now().wall;
            let answer = if probing || pulse.is_busy() || next.is_some_and(|at| at <= now) {
                Due::BUSY
            } else {
                Due::idle_until(next)
            };
            Box::pin(std::future::ready(answer))
        }));
    }

    /// Reads the configuration again at each hang-up.
    fn keep_reloading(&self, mut hang_ups: tokio::signal::unix::Signal) {
        let (in_force, engine) = (self.in_force.clone(), self.engine.clone());
        let (clock, quarantined) = (self.believed.clone(), self.quarantined);
        let announcements = self.announcements.clone();
        self.tasks.spawn(Kind::Upkeep, "reload", async move {
            while hang_ups.recv().await.is_some() {
                service_manager::reloading();
                in_force.reload(&engine, clock.as_ref(), quarantined).await;
                announcements.reloaded();
                service_manager::reloaded();
            }
        });
    }

    async fn until_stopped(&self) -> Result<()> {
        tokio::select! {
            () = self.shutdown.asked() => Ok(()),
            failure = self.tasks.failed() => {
                tracing::error!(code = "vital_part_failed", %failure, "stopping");
                Err(anyhow!("{failure}"))
            }
        }
    }

    /// Stops in order; `true` when nothing was cut short.
    async fn stop(&self, acts: &TaskTracker) -> bool {
        let grace = self.config.listen.grace;
        let s = &self.shutdown;
        service_manager::stopping();
        s.phase(Phase::NotReady, async {
            self.ready.store(false, Ordering::SeqCst);
            // Half of its share: whoever asks for readiness sees it before the listeners go.
            real_sleep(grace / 100).await;
        })
        .await;
        s.phase(Phase::Intake, async {
            told(self.tasks.finish(Kind::Intake, grace).await);
            acts.close();
            acts.wait().await;
        })
        .await;
        s.phase(Phase::Attempts, async {
            self.engine.tell(Event::Stop).await;
            told(self.tasks.finish(Kind::Attempt, grace).await);
        })
        .await;
        let closed = s
            .phase(Phase::Store, async {
                self.engine.close().await;
                told(self.tasks.finish(Kind::Store, grace).await);
                self.index.stop();
            })
            .await;
        closed && !self.pulse.is_poisoned()
    }
}

/// Tells what was still running when its time was up.
fn told(finished: Result<(), super::tasks::StillRunning>) {
    if let Err(still) = finished {
        tracing::warn!(%still, "cut short");
    }
}

fn bind(addr: SocketAddr) -> Result<TcpListener> {
    server::listen(addr).with_context(|| format!("{addr} cannot be listened on"))
}

/// One line on standard output for whoever started us: where we listen.
#[expect(clippy::print_stdout, reason = "the ready line is data for the starting process")]
fn say_ready(submitters: SocketAddr, operators: SocketAddr) -> Result<()> {
    let line = serde_json::json!({
        "ready": true,
        "submitters": format!("http://{submitters}"),
        "operators": format!("http://{operators}"),
    });
    println!("{line}");
    tracing::info!(%submitters, %operators, "ready");
    Ok(())
}
