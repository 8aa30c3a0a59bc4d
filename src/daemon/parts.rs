//! The parts that the daemon is put together from, each made from the configuration.
//!
//! What runs, and in which order it starts and stops, is `serve`'s.

use super::accept_clock::Acceptance;
use super::clock::Stopwatch;
use super::serve::{PARTITION, ServeOptions};
use super::tasks::{Kind, Tasks};
use crate::admin::audit::{self, Audit};
use crate::config::{self, Config, Way};
use crate::domain::ids::{Mark, Seq, UpstreamName};
use crate::domain::time::Timestamp;
use crate::engine::change::{AuditHead, Change};
use crate::engine::machine::Machine;
use crate::engine::ports::{Clock, JournalReader, Upstream};
use crate::engine::recovery;
use crate::engine::settings::{Limits, Settings, UpstreamSettings};
use crate::engine::step::Decision;
use crate::index::Index;
use crate::intake::announce::{self, KeyError, Keys, Outbox};
use crate::intake::kafka::publish::{self, Audience};
use crate::intake::tally::Tally;
use crate::journal::seal::{FileVault, MasterKey};
use crate::journal::{self, Damage, OpenError};
use crate::kafka::Connection;
use crate::telemetry::metrics::{Known, Metrics};
use crate::telemetry::{LogFilter, events};
use crate::upstream::{
    FILES_AT_A_TIME, HttpOptions, HttpUpstream, KafkaOptions, KafkaUpstream, ProbeExpect,
};
use crate::web::sign::Signer;
use crate::{admin, intake, telemetry};
use anyhow::{Context, Result, anyhow, bail};
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sets log and metrics up.
pub(super) fn observe(config: &Config, virtual_clock: bool) -> Result<(Metrics, LogFilter)> {
    let format = match config.log.format {
        config::LogFormat::Json => telemetry::LogFormat::Json,
        config::LogFormat::Text => telemetry::LogFormat::Text,
    };
    let log = telemetry::init_logging(format, config.log.level.as_str(), virtual_clock)?;
    let lines = config.catalogue.lines.iter();
    let metrics = Metrics::install(&Known {
        lines: lines.map(|line| (line.business.clone(), line.operation)).collect(),
        upstreams: config.upstreams.keys().cloned().collect(),
        virtual_clock,
        calendar_ends: config.calendar.ends_at(config.zone).unwrap_or_default(),
        kafka_topics: config
            .intake_kafka
            .as_ref()
            .map_or(0, |kafka| u32::try_from(kafka.topics.len()).unwrap_or(u32::MAX)),
        subscribers: config.webhooks.keys().cloned().collect(),
    })?;
    Ok((metrics, log))
}

/// Takes submissions in from Kafka and publishes there, as far as either is configured, until
/// `stop`. What ends after that is published after the next start.
pub(super) fn speak_kafka(
    config: &Config,
    tasks: &Tasks,
    state: &intake::Shared,
    stop: &CancellationToken,
) {
    if let Some(options) = kafka_intake(config) {
        let working = intake::kafka::run(state.clone(), options, stop.clone());
        tasks.spawn(Kind::Intake, "kafka", working);
    }
    if let Some(options) = kafka_publishing(config) {
        let working = publish::run(state.clone(), options, stop.clone());
        tasks.spawn(Kind::Intake, "publishing", working);
    }
}

/// Opens what is told. Damaged records could not be followed: a quarantined daemon tells nobody.
pub(super) fn open_announcements(
    config: &Config,
    reader: &dyn JournalReader,
    clock: &dyn Clock,
    quarantined: bool,
) -> Result<Arc<Outbox>> {
    for (name, webhook) in &config.webhooks {
        // Said now rather than at the first stop.
        read_keys(&webhook.secret_file).with_context(|| format!("webhooks.{name}"))?;
    }
    let told = config.webhooks.keys().filter(|_| !quarantined).cloned();
    let folder = config.data.folder.join("announcements");
    let (next, now) = (reader.last().next(), clock.now().wall);
    let outbox = Outbox::open(&folder, next, now, told).context("the announcements")?;
    Ok(Arc::new(outbox))
}

fn read_keys(file: &std::path::Path) -> Result<Keys, KeyError> {
    let secret = config::Secret::read(file);
    let secret = secret.map_err(|error| KeyError::Unreadable(error.to_string()))?;
    Keys::parse(secret.expose())
}

/// Works out what is to be told, and tells it, until `stop`. What was not told by then is told
/// after the next start.
pub(super) fn announce(
    config: &Config,
    tasks: &Tasks,
    state: &intake::Shared,
    stop: &CancellationToken,
) {
    let wanted: BTreeMap<_, _> =
        config.webhooks.iter().map(|(name, w)| (name.clone(), w.subscription.clone())).collect();
    let (following, until) = (state.clone(), stop.clone());
    tasks.keep_running(Kind::Upkeep, "announcements", move || {
        announce::follow(following.clone(), wanted.clone(), until.clone())
    });
    for (name, webhook) in &config.webhooks {
        // It was read from the configuration, which has looked at it.
        let Ok(url) = webhook.url.parse() else { continue };
        let file = webhook.secret_file.clone();
        let to = announce::Subscriber {
            name: name.clone(),
            url,
            subscription: webhook.subscription.clone(),
            keys: Arc::new(move || read_keys(&file)),
        };
        let (state, stop) = (state.clone(), stop.clone());
        tasks.keep_running(Kind::Upkeep, "webhook", move || {
            announce::deliver(state.clone(), to.clone(), stop.clone())
        });
    }
}

/// What is read from Kafka, if anything is.
fn kafka_intake(config: &Config) -> Option<intake::kafka::Options> {
    let kafka = config.intake_kafka.as_ref()?;
    Some(intake::kafka::Options {
        connection: Connection { brokers: config.kafka_brokers.clone() },
        group: kafka.group.clone(),
        topics: kafka.topics.clone(),
        answers_suffix: kafka.answers_suffix.clone(),
        dead_letters_suffix: kafka.dead_letters_suffix.clone(),
        poll_interval_max: kafka.poll_interval_max,
    })
}

/// What is published to Kafka, if anything is.
fn kafka_publishing(config: &Config) -> Option<publish::Options> {
    let kafka = config.publish_kafka.as_ref()?;
    let results = kafka.results.iter().map(|(topic, whose)| {
        let audience = whose.clone().map_or(Audience::All, Audience::Institution);
        (topic.clone(), audience)
    });
    Some(publish::Options {
        connection: Connection { brokers: config.kafka_brokers.clone() },
        windows: kafka.windows.clone(),
        results: results.collect(),
        place: config.data.folder.join("published"),
    })
}

pub(super) fn open_journal(
    config: &Config,
    options: &ServeOptions,
    clock: &dyn Clock,
) -> Result<(journal::Opened, Option<Acceptance>)> {
    let opening = journal::Options {
        partition: PARTITION,
        segment_bytes: config.journal.segment_bytes,
        init: options.init,
        quarantine: options.quarantine,
        background_upkeep: true,
        #[cfg(feature = "sabotage")]
        fail_sync: options.sabotage_sync,
        back_max: config.data.clock_back_max,
        ahead_max: config.data.clock_ahead_max,
        ..journal::Options::new(clock.now().wall, clock.is_virtual())
    };
    let folder = &config.data.folder;
    let (opened, accepted) = match (journal::open(folder, &opening), &options.accept_clock) {
        (Err(OpenError::ClockApart { now, last_at }), Some(word)) => {
            let accepted = word.check(&config.data.api_keys_file, now, last_at)?;
            let opening = journal::Options { clock_accepted: true, ..opening };
            (journal::open(folder, &opening), Some(accepted))
        }
        (opened, word) => {
            if word.is_some() && opened.is_ok() {
                tracing::warn!("the clock agrees with the journal: leave --accept-clock out");
            }
            (opened, None)
        }
    };
    let opened = opened.with_context(|| {
        format!("the journal in {} cannot be opened", config.data.folder.display())
    })?;
    tracing::debug!(report = ?opened.report, "the journal was opened");
    Ok((opened, accepted))
}

/// Opens the audit log. What it lacks of what the journal `noted` is told, here and in the log
/// itself, and stops nobody: intake goes first, and whoever removed a log would have a way to
/// stop it.
pub(super) fn open_audit(
    config: &Config,
    noted: Option<&AuditHead>,
    quarantined: bool,
    now: Timestamp,
) -> Result<Arc<Audit>> {
    let folder = &config.data.folder;
    let path = folder.join(audit::FILE_NAME);
    let cut = noted.filter(|noted| noted.records > 0);
    let cut = match cut {
        Some(noted) => audit::is_cut(&path, noted).context("the audit log")?.then_some(noted),
        None => None,
    };
    let log = Arc::new(Audit::open(folder).context("the audit log")?);
    let mut losses = log.losses();
    if let Some(noted) = cut {
        events::audit_lost(noted.records, log.head().records);
        losses += 1;
        if !quarantined {
            audit::tell_loss(&log, noted, now)?;
        }
    }
    events::audit_opened(losses);
    Ok(log)
}

/// What this start marks the numbers with that it gives out.
pub(super) fn draw_mark() -> Result<Mark> {
    let mut bits = [0; 8];
    let drawn = SystemRandom::new().fill(&mut bits);
    drawn.map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(Mark::new(u64::from_le_bytes(bits)))
}

/// The vault, and who signs in its name.
pub(super) fn open_vault(config: &Config, last: Seq) -> Result<(Arc<FileVault>, Signer)> {
    let folder = &config.data.folder;
    // Keys made anew beside an old journal would open nothing and know no repeat.
    if last > Seq(0) && !folder.join("keys.sealed").exists() {
        bail!("keys.sealed is missing from the data folder, restore it");
    }
    let master = MasterKey::load_or_create(&config.data.master_key_file, folder)?;
    let signer = Signer::from_seed(&master.derived("policy signature"))?;
    Ok((Arc::new(FileVault::open(folder, &master)?), signer))
}

pub(super) fn settings(config: &Config, options: &ServeOptions) -> Settings {
    #[cfg(not(feature = "sabotage"))]
    let _ = options;
    Settings {
        partition: PARTITION,
        zone: config.zone,
        calendar: config.calendar.clone(),
        catalogue: config.catalogue.clone(),
        limits: Limits {
            open_transactions_max: size(config.limits.open_transactions_max),
            institution_blob_bytes_max: config.attachments.institution_bytes_max,
            blobs_max: config.attachments.files_max,
            unnamed_blob_after: config.attachments.unnamed_after,
            deadlines_max: size(u64::from(config.limits.deadlines_max)),
            commit_records_max: config.journal.commit_records_max as usize,
            window_length_max: config.limits.window_length_max,
            recurring_ahead: config.limits.recurring_ahead,
            override_length_max: config.limits.override_length_max,
            clock_jump_max: Some(config.data.clock_jump_max),
        },
        recurring: config.recurring.clone(),
        service_hours: config.service_hours.clone(),
        outages: config.outages.clone(),
        retry: config.retry.clone(),
        two_persons_for: config.approval.two_persons_for.clone(),
        upstreams: config
            .upstreams
            .iter()
            .map(|(name, upstream)| {
                let settings = UpstreamSettings {
                    health: upstream.health.clone(),
                    concurrency: upstream.concurrency,
                    files_at_a_time: upstream.takes_attachments.then_some(FILES_AT_A_TIME),
                    settle_time: upstream.settle_time,
                    answers_questions: upstream.answers_questions,
                };
                (name.clone(), settings)
            })
            .collect(),
        #[cfg(feature = "sabotage")]
        sabotage: options.sabotage,
    }
}

/// The cores, each by its name.
pub(super) type Upstreams = HashMap<UpstreamName, Arc<dyn Upstream>>;

/// Makes the cores. What reads replies from topics runs from now on.
pub(super) fn upstreams(config: &Config, tasks: &Tasks) -> Result<Upstreams> {
    let mut made = Upstreams::new();
    for (name, upstream) in &config.upstreams {
        let core: Arc<dyn Upstream> = match &upstream.way {
            Way::Http { base_url } => Arc::new(over_http(name, upstream, base_url)?),
            Way::Kafka { requests, replies } => {
                let topics = (requests.as_str(), replies.as_str());
                let core = over_kafka(name, upstream, topics, &config.kafka_brokers)?;
                let core = Arc::new(core);
                let listener = core.clone();
                tasks.keep_running(Kind::Upkeep, "replies", move || listener.clone().listen());
                core
            }
        };
        made.insert(name.clone(), core);
    }
    Ok(made)
}

fn over_http(
    name: &UpstreamName,
    upstream: &config::Upstream,
    base_url: &str,
) -> Result<HttpUpstream> {
    let http = HttpUpstream::new(HttpOptions {
        name: name.clone(),
        base_url: base_url.to_owned(),
        connect_timeout: upstream.connect_timeout,
        answer_timeout: upstream.answer_timeout,
        concurrency: usize::try_from(upstream.concurrency).unwrap_or(usize::MAX),
        settle_time: upstream.settle_time,
        answers_questions: upstream.answers_questions,
        probe_path: upstream.probe.path.clone(),
        probe_query: upstream.probe.query.clone().map(Into::into),
        probe_expect: probe_expect(upstream),
        answer_bytes_max: size(upstream.answer_bytes_max),
        takes_attachments: upstream.takes_attachments,
    });
    http.with_context(|| format!("upstream {name}"))
}

fn over_kafka(
    name: &UpstreamName,
    upstream: &config::Upstream,
    (requests, replies): (&str, &str),
    brokers: &[String],
) -> Result<KafkaUpstream> {
    let kafka = KafkaUpstream::new(KafkaOptions {
        name: name.clone(),
        connection: Connection { brokers: brokers.to_vec() },
        requests: requests.to_owned(),
        replies: replies.to_owned(),
        answer_timeout: upstream.answer_timeout,
        concurrency: usize::try_from(upstream.concurrency).unwrap_or(usize::MAX),
        answers_questions: upstream.answers_questions,
        probe_expect: probe_expect(upstream),
        answer_bytes_max: size(upstream.answer_bytes_max),
    });
    kafka.with_context(|| format!("upstream {name}"))
}

fn probe_expect(upstream: &config::Upstream) -> ProbeExpect {
    ProbeExpect { status: upstream.probe.status, body: upstream.probe.contains.clone() }
}

pub(super) fn start_index(
    config: &Config,
    reader: &Arc<dyn JournalReader>,
    tasks: &Tasks,
    quarantined: bool,
) -> Index {
    // What passes over lost records must not be taken for the whole when they are back.
    let apart = config.data.folder.join("index.quarantined");
    match std::fs::remove_dir_all(&apart) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the index of an earlier quarantine could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
    let folder = if quarantined { apart } else { config.data.folder.join("index") };
    let mut options = crate::index::Options::new(folder);
    options.cache_bytes = config.index.cache_bytes;
    let spawner = tasks.clone();
    let spawn: crate::index::SpawnThread =
        Arc::new(move |name, work| spawner.spawn_thread(Kind::Upkeep, name, work));
    Index::start(options, reader.clone(), &spawn)
}

/// What is damaged, as operators are shown it.
pub(super) fn damage_out(damage: &Damage) -> admin::types::DamageOut {
    let (from, to) = damage.lost().map_or((None, None), |(from, to)| (Some(from), to));
    admin::types::DamageOut {
        file: damage.file.clone(),
        offset: damage.offset,
        kind: damage.kind.to_string(),
        seq_from: from.map(|seq| seq.0),
        seq_to: to.map(|seq| seq.0),
        message: damage.message(),
    }
}

/// Tells what was found damaged, place by place.
pub(super) fn tell_damage(found: &[Damage]) {
    for damage in found {
        let records = if damage.lost().is_some() { damage.records.max(1) } else { 0 };
        telemetry::events::records_damaged(&damage.file, damage.offset, &damage.message(), records);
    }
}

/// Tells which snapshots another one stands in for.
pub(super) fn tell_skipped(skipped: &[Damage]) {
    skipped.iter().for_each(|damage| events::snapshot_passed_over(&damage.file, damage.offset));
}

pub(super) fn tell_recovered(
    report: &journal::RecoveryReport,
    last: Seq,
    machine: &Machine,
    recovered: &Decision,
    (at, took): (Timestamp, Duration),
) {
    let cut_off = recovered.changes.iter().filter_map(|(_, change)| match change {
        Change::Settled { transaction, .. } => machine.transaction(*transaction),
        _ => None,
    });
    let cut_off: Vec<_> = cut_off.collect();
    cut_off.iter().for_each(|view| events::cut_off(&view.cell.upstream));
    telemetry::events::recovered(&telemetry::events::Recovered {
        last,
        live: machine.size().0 as u64,
        in_doubt: cut_off.len() as u64,
        cut_bytes: report.cut.as_ref().map_or(0, |(_, tail)| tail.bytes),
        quarantined: machine.is_quarantined().then(|| machine.passed_over()),
        // Where a journal begins there was no stop.
        clean: report.closed_cleanly || last == Seq(0),
        at,
        took,
    });
}

pub(super) fn write_snapshot(
    snapshots: &journal::Snapshots,
    settings: Settings,
    reader: &dyn JournalReader,
    up_to: Seq,
) -> Result<()> {
    let machine = match snapshots.newest()? {
        Some((reached, stored)) => {
            recovery::fold(settings, &stored, reader, reached.next(), up_to)?
        }
        None => recovery::fold(settings, &Vec::new(), reader, Seq(1), up_to)?,
    };
    Ok(snapshots.write(up_to, machine.snapshot())?)
}

/// Counts and times what a listener answers, by the template of the route.
pub(super) fn observed(router: axum::Router, listener: &'static str) -> axum::Router {
    router.layer(axum::middleware::from_fn(
        move |request: axum::extract::Request, next: axum::middleware::Next| async move {
            let watch = Stopwatch::start();
            let route = request.extensions().get::<axum::extract::MatchedPath>().cloned();
            let method = match *request.method() {
                axum::http::Method::GET => "GET",
                axum::http::Method::POST => "POST",
                _ => "other",
            };
            let response = next.run(request).await;
            let route = route.as_ref().map_or("unmatched", |route| route.as_str());
            let status = response.status().as_u16();
            events::http_answered(listener, route, method, status, watch.elapsed());
            response
        },
    ))
}

pub(super) fn intake_counters(tally: &Tally) -> admin::types::IntakeCounters {
    let counted = tally.counted();
    admin::types::IntakeCounters {
        submitted: counted.accepted + counted.duplicates + counted.turned_away + counted.invalid,
        accepted: counted.accepted,
        duplicates: counted.duplicates,
        turned_away: counted.turned_away,
        invalid: counted.invalid,
    }
}

/// How much room there is for the data folder.
pub(super) fn room(folder: &std::path::Path, reserve: u64) -> std::io::Result<events::Room> {
    let free = journal::files::free_bytes(folder)?;
    let capacity = journal::files::capacity_bytes(folder)?;
    Ok(events::Room { used: used_bytes(folder)?, free, capacity, reserve })
}

/// The size of every file below `folder`.
fn used_bytes(folder: &std::path::Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let measured = entry.file_type().and_then(|kind| {
            if kind.is_dir() { used_bytes(&entry.path()) } else { Ok(entry.metadata()?.len()) }
        });
        match measured {
            Ok(bytes) => sum += bytes,
            // It went away while we looked.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
