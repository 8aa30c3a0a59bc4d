//! From the merged files to the model: types, ranges, and the rules between keys.

use super::attachments::{read_attachments, read_rules};
use super::attributes::{read_attributes, read_open_from};
use super::model::{
    Approval, Config, Data, Index, Institutions, IntakeKafka, Journal, Limits, Listen, Log,
    LogFormat, LogLevel, Probe, PublishKafka, Upstream, Way,
};
use super::planned::{read_hours, read_recurring};
use super::raw::{Notes, Reader, lay_over, parse, show_duration};
use super::webhooks::read_webhooks;
use super::{CALENDAR, DEFAULTS, Problem};
use crate::domain::calendar::{Calendar, Exception, Paper};
use crate::domain::catalogue::{Catalogue, Line, TakesEffect};
use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::gate::{HealthPolicy, OutagePolicy};
use crate::domain::ids::{Business, UpstreamName, WindowId};
use crate::domain::policy::{Disposition, Row};
use crate::domain::retry::RetryPolicy;
use crate::domain::time::{CivilDate, Interval, NO_ZONE, Timestamp, Zone};
use crate::domain::window::{Cause, RestoreBy, Window};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::Table;

/// What our own lack of room is named by (`engine/outages.rs`).
const INTAKE: &str = "intake";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Reads the defaults with `texts` laid over them.
pub(super) fn read(texts: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    let notes = Notes::default();
    let mut merged = parse("config/default.toml", DEFAULTS, &notes);
    for (name, text) in texts {
        let table = parse(name, text, &notes);
        lay_over(&mut merged, table);
    }
    // What such a file would have said is not known: nothing else can be told of it.
    if !notes.is_empty() {
        return Err(notes.into_problems());
    }
    let config = read_all(merged, &notes);
    let problems = notes.into_problems();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => Err(problems),
    }
}

fn read_all(merged: Table, notes: &Notes) -> Option<Config> {
    let effective = merged.clone();
    let mut root = Reader::new("", merged, notes);
    let zone = read_zone(&mut root);
    let listen = read_listen(root.section("listen"));
    let data = read_data(root.section("data"));
    let limits = read_limits(root.section("limits"));
    let journal = read_journal(root.section("journal"));
    let mut index = root.section("index");
    let cache_bytes = index.number("cache_bytes", MIB..=64 * GIB);
    index.finish();
    let institutions = read_institutions(root.section("institutions"));
    let attachments = read_attachments(root.section("attachments"));
    let (kafka_brokers, intake_kafka) = read_kafka(&mut root);
    let publish_kafka = read_publishing(&mut root, &kafka_brokers, intake_kafka.as_ref());
    let retry = read_retry(root.section("retry"));
    let outages = read_outages(root.section("unplanned"));
    let approval = read_approval(root.section("approval"));
    let (fallback_path, fallback) = root.table("upstream_default");
    let mut upstreams = BTreeMap::new();
    for (name, reader) in root.sections("upstream") {
        let reader = reader.falling_back(&fallback_path, fallback.clone());
        if let Some(upstream) = read_upstream(&name, reader, &kafka_brokers) {
            upstreams.insert(upstream.name.clone(), upstream);
        }
    }
    let catalogue = read_catalogue(root.section("catalogue"), &upstreams);
    let webhooks = read_webhooks(&mut root, &data, &upstreams, &catalogue);
    let calendar = read_calendar(root.section("calendar"), notes);
    let mut windows: Vec<Window> = root
        .sections("window")
        .into_iter()
        .filter_map(|(name, reader)| read_window(&name, reader, zone?, &limits))
        .collect();
    windows.sort_by_key(|w| (w.planned.start, w.planned.end));
    let recurring = root.sections("recurring").into_iter();
    let recurring = recurring.filter_map(|(name, r)| read_recurring(&name, r, zone, &limits));
    let recurring = recurring.collect();
    let service_hours = root.sections("service_hours").into_iter();
    let shared = calendar.clone().map(Arc::new);
    let service_hours =
        service_hours.filter_map(|(name, r)| read_hours(&name, r, zone, shared.as_ref())).collect();
    let mut log = root.section("log");
    let log_level: Option<LogLevel> = log.parsed("level");
    let log_format: Option<LogFormat> = log.parsed("format");
    log.finish();
    root.finish();
    Some(Config {
        zone: zone?,
        listen,
        data,
        journal,
        index: Index { cache_bytes },
        limits,
        institutions,
        attachments,
        kafka_brokers,
        intake_kafka,
        publish_kafka,
        webhooks,
        retry,
        outages,
        approval,
        upstreams,
        catalogue,
        calendar: calendar?,
        windows,
        recurring,
        service_hours,
        log: Log { level: log_level?, format: log_format? },
        effective,
    })
}

pub(super) fn read_zone(r: &mut Reader<'_>) -> Option<Zone> {
    let name = r.text("zone");
    let zone = name.parse();
    if zone.is_err() {
        r.error("zone", Some(format!("{name:?}")), NO_ZONE);
    }
    zone.ok()
}

fn read_listen(mut r: Reader<'_>) -> Listen {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = Listen {
        submitters: r.parsed("submitters").unwrap_or(nowhere),
        operators: r.parsed("operators").unwrap_or(nowhere),
        connections_max: r.number("connections_max", 1..=1_000_000),
        head_timeout: r.duration("head_timeout", SECOND..=10 * MINUTE),
        write_timeout: r.duration("write_timeout", SECOND..=10 * MINUTE),
        body_timeout: r.duration("body_timeout", SECOND..=10 * MINUTE),
        wait_max: r.duration("wait_max", SECOND..=10 * MINUTE),
        grace: r.duration("grace", SECOND..=10 * MINUTE),
    };
    if listen.submitters == listen.operators && listen.submitters.port() != 0 {
        let shown = Some(format!("\"{}\"", listen.operators));
        r.error("operators", shown, "must differ from listen.submitters");
    }
    r.finish();
    listen
}

fn read_data(mut r: Reader<'_>) -> Data {
    let folder = PathBuf::from(r.text("folder"));
    if folder.as_os_str().is_empty() {
        r.error("folder", Some("\"\"".to_owned()), "expected a folder");
    }
    let data = Data {
        api_keys_file: folder.join(r.text("api_keys_file")),
        master_key_file: folder.join(r.text("master_key_file")),
        disk_reserve_bytes: r.number("disk_reserve_bytes", MIB..=GIB * 1024),
        clock_back_max: r.duration("clock_back_max", Duration::ZERO..=DAY),
        clock_ahead_max: r.duration("clock_ahead_max", DAY..=3660 * DAY),
        clock_jump_max: r.duration("clock_jump_max", SECOND..=HOUR),
        folder,
    };
    if data.api_keys_file == data.master_key_file {
        r.error("master_key_file", None, "must differ from data.api_keys_file");
    }
    r.finish();
    data
}

fn read_limits(mut r: Reader<'_>) -> Limits {
    let limits = Limits {
        submission_bytes_max: r.number("submission_bytes_max", KIB..=16 * MIB),
        batch_lines_max: r.number("batch_lines_max", 1..=1_000_000),
        batch_bytes_max: r.number("batch_bytes_max", KIB..=4 * GIB),
        open_transactions_max: r.number("open_transactions_max", 1..=1_000_000_000),
        deadlines_max: r.number("deadlines_max", 1..=100_000_000),
        window_length_max: r.duration("window_length_max", HOUR..=3660 * DAY),
        recurring_ahead: r.duration("recurring_ahead", DAY..=60 * DAY),
        override_length_max: r.duration("override_length_max", MINUTE..=366 * DAY),
    };
    if limits.batch_bytes_max < limits.submission_bytes_max {
        let shown = Some(limits.batch_bytes_max.to_string());
        r.error("batch_bytes_max", shown, "must not be below limits.submission_bytes_max");
    }
    r.finish();
    limits
}

fn read_journal(mut r: Reader<'_>) -> Journal {
    let journal = Journal {
        segment_bytes: r.number("segment_bytes", 64 * KIB..=4 * GIB),
        commit_records_max: r.number("commit_records_max", 1..=65_536),
        snapshot_every_records: r.number("snapshot_every_records", 1_000..=1_000_000_000),
        forward_after: r.duration("forward_after", Duration::ZERO..=366 * DAY),
        retention: r.duration("retention", Duration::ZERO..=3660 * DAY),
        archive: r.flag("archive"),
    };
    r.finish();
    journal
}

fn read_institutions(mut r: Reader<'_>) -> Institutions {
    let institutions = Institutions {
        requests_per_second: r.number("requests_per_second", 1..=1_000_000),
        burst_requests: r.number("burst_requests", 1..=10_000_000),
    };
    if institutions.burst_requests < institutions.requests_per_second {
        let shown = Some(institutions.burst_requests.to_string());
        r.error("burst_requests", shown, "must not be below institutions.requests_per_second");
    }
    r.finish();
    institutions
}

fn read_outages(mut r: Reader<'_>) -> OutagePolicy {
    let outages = OutagePolicy {
        proposed_after: r.duration("proposed_after", 10 * SECOND..=DAY),
        lapses_after: r.duration("lapses_after", MINUTE..=7 * DAY),
        deadlines: r.has("deadlines").then(|| r.section("deadlines").whole()).flatten(),
    };
    r.expect(&["deadlines"]);
    r.finish();
    outages
}

fn read_approval(mut r: Reader<'_>) -> Approval {
    let approval = Approval {
        two_persons_for: r.list("two_persons_for"),
        proposals_wait: r.duration("proposals_wait", MINUTE..=DAY),
    };
    r.finish();
    approval
}

fn read_retry(mut r: Reader<'_>) -> RetryPolicy {
    let retry = RetryPolicy {
        first: r.duration("first", MS..=HOUR),
        longest: r.duration("longest", MS..=DAY),
        failures_max: r.number("failures_max", 1..=1_000),
    };
    if retry.first > retry.longest {
        let shown = Some(format!("\"{}\"", show_duration(retry.longest)));
        r.error("longest", shown, "must not be below retry.first");
    }
    r.finish();
    retry
}

fn read_kafka(root: &mut Reader<'_>) -> (Vec<String>, Option<IntakeKafka>) {
    let mut kafka = root.section("kafka");
    let brokers: Vec<String> = kafka.list("brokers");
    for broker in &brokers {
        let port = broker.rsplit_once(':').and_then(|(host, port)| {
            port.parse::<u16>().ok().filter(|&port| port > 0 && !host.is_empty())
        });
        if port.is_none() || broker.contains([',', '/', ' ']) {
            kafka.error("brokers", Some(format!("{broker:?}")), "expected host:port");
        }
    }
    kafka.finish();
    let mut intake = root.section("intake");
    let mut r = intake.section("kafka");
    let mut named = r.section("topics");
    let topics: BTreeMap<String, String> = named.texts().into_iter().collect();
    let read = IntakeKafka {
        group: r.text("group"),
        answers_suffix: r.text("answers_suffix"),
        dead_letters_suffix: r.text("dead_letters_suffix"),
        poll_interval_max: r.duration("poll_interval_max", SECOND..=DAY),
        topics,
    };
    check_kafka(&r, &named, &read);
    if !read.topics.is_empty() && brokers.is_empty() {
        named.error("", None, "topics need kafka.brokers");
    }
    r.finish();
    intake.finish();
    let read = (!read.topics.is_empty()).then_some(read);
    (brokers, read)
}

fn check_kafka(r: &Reader<'_>, named: &Reader<'_>, read: &IntakeKafka) {
    if read.group.is_empty() {
        r.error("group", Some("\"\"".to_owned()), "expected a name");
    }
    let (answers, letters) = (&read.answers_suffix, &read.dead_letters_suffix);
    for (key, suffix) in [("answers_suffix", answers), ("dead_letters_suffix", letters)] {
        if suffix.is_empty() || !is_topic(suffix) {
            r.error(key, Some(format!("{suffix:?}")), "expected letters, digits, '.', '_' or '-'");
        }
    }
    if answers == letters {
        let why = "must differ from intake.kafka.answers_suffix";
        r.error("dead_letters_suffix", Some(format!("{letters:?}")), why);
    }
    let longest = 249usize.saturating_sub(answers.len().max(letters.len()));
    for topic in read.topics.keys() {
        let shown = Some(format!("{topic:?}"));
        if topic.is_empty() || topic.len() > longest || !is_topic(topic) {
            let why = format!("expected 1 to {longest} letters, digits, '.', '_' or '-'");
            named.error("", shown, why);
        } else if read.topics.contains_key(&format!("{topic}{answers}"))
            || read.topics.contains_key(&format!("{topic}{letters}"))
        {
            named.error("", shown, "its answers or dead letters would be read as submissions");
        }
    }
}

fn read_publishing(
    root: &mut Reader<'_>,
    brokers: &[String],
    intake: Option<&IntakeKafka>,
) -> Option<PublishKafka> {
    let mut publish = root.section("publish");
    let mut r = publish.section("kafka");
    let mut named = r.section("results");
    let windows = r.text("windows");
    let mut results = BTreeMap::new();
    let check = |r: &Reader<'_>, key: &str, topic: &str| {
        let shown = Some(format!("{topic:?}"));
        if topic.is_empty() || topic.len() > 249 || !is_topic(topic) {
            r.error(key, shown, "expected 1 to 249 letters, digits, '.', '_' or '-'");
        } else if intake.is_some_and(|intake| intake.topics.contains_key(topic)) {
            r.error(key, shown, "is read as submissions (intake.kafka.topics); name another one");
        }
    };
    for (topic, whose) in named.texts() {
        check(&named, "", &topic);
        match whose.as_str() {
            "*" => drop(results.insert(topic, None)),
            code => match code.parse() {
                Ok(code) => drop(results.insert(topic, Some(code))),
                Err(why) => {
                    let why = format!("{why}, or \"*\" for everybody's");
                    named.error(&topic, Some(format!("{code:?}")), why);
                }
            },
        }
    }
    if !windows.is_empty() {
        check(&r, "windows", &windows);
    }
    let read = PublishKafka { windows: (!windows.is_empty()).then_some(windows), results };
    let publishes = read.windows.is_some() || !read.results.is_empty();
    if publishes && brokers.is_empty() {
        r.error("", None, "publishing needs kafka.brokers");
    }
    r.finish();
    publish.finish();
    publishes.then_some(read)
}

fn is_topic(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn read_upstream(name: &str, mut r: Reader<'_>, brokers: &[String]) -> Option<Upstream> {
    let parsed: Result<UpstreamName, _> = name.parse();
    if let Err(why) = &parsed {
        r.error("", Some(format!("\"{name}\"")), why);
    }
    if name == INTAKE {
        r.error("", None, "this name is kept for our own intake");
    }
    let way = read_way(&mut r, brokers);
    let contains = r.text("probe_contains");
    let query = r.text("probe_query");
    if !query.is_empty() && serde_json::from_str::<serde_json::Value>(&query).is_err() {
        r.error("probe_query", None, "expected JSON, such as '{\"query\": \"state\"}'");
    }
    let steady: u32 = r.number("steady_per_second", 0..=1_000_000);
    let upstream = Upstream {
        name: parsed.ok()?,
        way,
        connect_timeout: r.duration("connect_timeout", 10 * MS..=5 * MINUTE),
        answer_timeout: r.duration("answer_timeout", 10 * MS..=30 * MINUTE),
        concurrency: r.number("concurrency", 1..=10_000),
        settle_time: r.duration("settle_time", MS..=7 * DAY),
        answers_questions: r.flag("answers_questions"),
        takes_attachments: r.flag("takes_attachments"),
        answer_bytes_max: r.number("answer_bytes_max", KIB..=64 * MIB),
        probe: Probe {
            path: r.text("probe_path"),
            status: r.number("probe_status", 200..=599),
            query: (!query.is_empty()).then_some(query),
            contains: (!contains.is_empty()).then_some(contains),
            timeout: r.duration("probe_timeout", 10 * MS..=HOUR),
        },
        health: HealthPolicy {
            probe_interval: r.duration("probe_interval", 10 * MS..=HOUR),
            good_needed: r.number("good_needed", 1..=1_000),
            bad_needed: r.number("bad_needed", 1..=1_000),
            ramp: r.duration("ramp", Duration::ZERO..=DAY),
            ramp_from: r.number("ramp_from_per_second", 1..=1_000_000),
            steady: (steady > 0).then_some(steady),
            burst: r.number("burst_refusals", 2..=1_000),
        },
    };
    check_upstream(&r, &upstream);
    r.finish();
    Some(upstream)
}

/// Over HTTP, unless topics are named.
fn read_way(r: &mut Reader<'_>, brokers: &[String]) -> Way {
    let [requests, replies] = ["kafka_requests", "kafka_replies"].map(|key| r.text(key));
    let is_kafka = !requests.is_empty() || !replies.is_empty();
    let given = r.has("base_url");
    let base_url = if given || !is_kafka { r.text("base_url") } else { String::new() };
    if !is_kafka {
        if given {
            check_url(r, "base_url", &base_url);
        }
        return Way::Http { base_url };
    }
    for (key, topic) in [("kafka_requests", &requests), ("kafka_replies", &replies)] {
        if topic.is_empty() || topic.len() > 249 || !is_topic(topic) {
            let why = "expected 1 to 249 letters, digits, '.', '_' or '-'";
            r.error(key, Some(format!("{topic:?}")), why);
        }
    }
    if requests == replies {
        r.error("kafka_replies", Some(format!("{replies:?}")), "must differ from kafka_requests");
    }
    if brokers.is_empty() {
        r.error("kafka_requests", Some(format!("{requests:?}")), "needs kafka.brokers");
    }
    if !base_url.is_empty() {
        let why = "a core is spoken to over HTTP or over Kafka; leave one out";
        r.error("base_url", Some(format!("{base_url:?}")), why);
    }
    r.expect(&["base_url"]);
    Way::Kafka { requests, replies }
}

pub(super) fn check_url(r: &Reader<'_>, key: &str, url: &str) {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if url.starts_with("https://") {
        let why = "TLS is a proxy's work: name the http:// address of one beside the daemon";
        r.error(key, Some(format!("{url:?}")), why);
    } else if host.contains('@') {
        let why = "an address must not carry a password; use a network that needs none";
        r.error(key, Some("\"***\"".to_owned()), why);
    } else if host.is_empty() || url.contains(['?', '#', ' ']) {
        r.error(key, Some(format!("{url:?}")), "expected http://host[:port][/path]");
    }
}

fn check_upstream(r: &Reader<'_>, u: &Upstream) {
    let quoted = |d: Duration| Some(format!("\"{}\"", show_duration(d)));
    if u.takes_attachments && matches!(u.way, Way::Kafka { .. }) {
        let why = "over Kafka digests go alone, in a header; leave it out";
        r.error("takes_attachments", Some("true".to_owned()), why);
    }
    if u.connect_timeout > u.answer_timeout {
        r.error("connect_timeout", quoted(u.connect_timeout), "must not be above answer_timeout");
    }
    if u.settle_time <= u.answer_timeout {
        r.error("settle_time", quoted(u.settle_time), "must be above answer_timeout");
    }
    if u.probe.timeout > u.health.probe_interval {
        r.error("probe_timeout", quoted(u.probe.timeout), "must not be above probe_interval");
    }
    if !u.probe.path.starts_with('/') {
        r.error("probe_path", Some(format!("{:?}", u.probe.path)), "must begin with /");
    }
    if u.health.steady.is_some_and(|steady| u.health.ramp_from > steady) {
        let why = "must not be above steady_per_second";
        r.error("ramp_from_per_second", Some(u.health.ramp_from.to_string()), why);
    }
}

fn read_catalogue(mut r: Reader<'_>, upstreams: &BTreeMap<UpstreamName, Upstream>) -> Catalogue {
    let credential_fields = r.list("credential_fields");
    let (fallback_path, fallback) = r.table("line_default");
    let mut lines = Vec::new();
    for (name, reader) in r.sections("line") {
        let reader = reader.falling_back(&fallback_path, fallback.clone());
        lines.extend(read_line(&name, reader, upstreams));
    }
    if lines.is_empty() {
        r.error("line", None, "the catalogue has no line");
    }
    r.finish();
    Catalogue { lines, credential_fields }
}

fn read_line(
    name: &str,
    mut r: Reader<'_>,
    upstreams: &BTreeMap<UpstreamName, Upstream>,
) -> Option<Line> {
    let halves = name.rsplit_once('.').and_then(|(business, operation)| {
        Some((business.parse::<Business>().ok()?, operation.parse::<Operation>().ok()?))
    });
    if halves.is_none() {
        r.error("", None, "expected a business, a dot and an operation, such as filing.x.apply");
    }
    let classes: Vec<Class> = r.list("classes");
    let channels: Vec<Channel> = r.list("channels");
    let upstream: Option<UpstreamName> = r.parsed("upstream");
    let normal: Option<Disposition> = r.parsed("normal");
    let takes_effect: Option<TakesEffect> = r.parsed("takes_effect");
    let group = r.text("order_group");
    let mut upstream_for = BTreeMap::new();
    let (path, table) = r.table("upstream_for");
    for (class, value) in table {
        let class = class.parse::<Class>();
        let to = value.as_str().and_then(|text| text.parse::<UpstreamName>().ok());
        match (class, to) {
            (Ok(class), Some(to)) if classes.contains(&class) => {
                upstream_for.insert(class, to);
            }
            (Ok(class), Some(_)) => {
                r.error(
                    "upstream_for",
                    Some(class.to_string()),
                    "is not one of the line's classes",
                );
            }
            (Err(why), _) => r.error("upstream_for", None, why),
            (Ok(_), None) => r.error("upstream_for", None, format!("{path}: expected an upstream")),
        }
    }
    let attributes = read_attributes(&mut r);
    let attachments = read_rules(&mut r);
    let mut line = Line {
        title_zh: r.text("title_zh"),
        title_en: r.text("title_en"),
        self_contained: r.flag("self_contained"),
        needs_credential: r.flag("needs_credential"),
        queued: r.flag("queued"),
        long: r.flag("long"),
        live_limit: r.duration("live_limit", 100 * MS..=30 * MINUTE),
        needs_amount: r.flag("needs_amount"),
        open_from: read_open_from(&mut r),
        takes_effect: takes_effect?,
        business: halves.as_ref()?.0.clone(),
        operation: halves.as_ref()?.1,
        classes,
        channels,
        upstream: upstream?,
        upstream_for,
        order_group: group,
        normal: normal?,
        attachments: attachments?,
        attributes,
    };
    if line.order_group.is_empty() {
        line.order_group = line.name();
    }
    check_line(&r, &line, upstreams);
    r.finish();
    Some(line)
}

fn check_line(r: &Reader<'_>, line: &Line, upstreams: &BTreeMap<UpstreamName, Upstream>) {
    if line.classes.is_empty() {
        r.error("classes", Some("[]".to_owned()), "name who may submit it");
    }
    if line.channels.is_empty() {
        r.error("channels", Some("[]".to_owned()), "name a channel");
    }
    let targets = std::iter::once(("upstream", &line.upstream))
        .chain(line.upstream_for.values().map(|name| ("upstream_for", name)));
    for (key, name) in targets {
        let shown = Some(format!("\"{name}\""));
        match upstreams.get(name).map(|upstream| &upstream.way) {
            None => r.error(key, shown, "there is no such upstream"),
            Some(Way::Kafka { .. }) if line.needs_credential => {
                let why = "is spoken to over Kafka, where a patient's credential must not go";
                r.error(key, shown, why);
            }
            Some(Way::Http { .. } | Way::Kafka { .. }) => {}
        }
    }
    if !line.normal.passes() {
        let why = "expected pass, pass_or_ticket or pass_or_hold: only a window stops a line";
        r.error("normal", Some(format!("\"{}\"", line.normal)), why);
    }
    if line.operation == Operation::Query && line.queued {
        r.error("queued", Some("true".to_owned()), "a query is answered now or not, never kept");
    }
    if line.operation == Operation::Advice && !line.self_contained {
        let why = "an advice is repeated from its stored bytes";
        r.error("self_contained", Some("false".to_owned()), why);
    }
}

fn read_calendar(mut r: Reader<'_>, notes: &Notes) -> Option<Calendar> {
    let file = r.text("file");
    r.finish();
    if file.is_empty() {
        return calendar_of(BUILT_IN, CALENDAR, notes);
    }
    match std::fs::read_to_string(&file) {
        Ok(text) => calendar_of(&file, &text, notes),
        Err(error) => {
            let why = format!("cannot be read: {error}");
            notes.error("calendar.file", Some(format!("{file:?}")), why);
            None
        }
    }
}

/// Where the built-in working days stand in the sources.
pub(super) const BUILT_IN: &str = "config/calendars/cn.toml";

/// The built-in working days.
///
/// # Errors
/// None in a program that passed its tests.
pub fn built_in_calendar() -> Result<Calendar, Vec<Problem>> {
    parse_calendar(BUILT_IN, CALENDAR)
}

/// Reads a file of working days.
///
/// # Errors
/// Every problem that it has.
pub fn parse_calendar(name: &str, text: &str) -> Result<Calendar, Vec<Problem>> {
    let notes = Notes::default();
    let calendar = calendar_of(name, text, &notes);
    let problems = notes.into_problems();
    calendar.filter(|_| problems.is_empty()).ok_or(problems)
}

fn calendar_of(name: &str, text: &str, notes: &Notes) -> Option<Calendar> {
    let table = parse(name, text, notes);
    let mut r = Reader::new(name, table, notes);
    let mut calendar = Calendar {
        version: r.text("version"),
        file: name.to_owned(),
        years: Vec::new(),
        papers: Vec::new(),
        exceptions: BTreeMap::new(),
    };
    for paper in r.rows("paper") {
        read_paper(paper, &mut calendar);
    }
    calendar.years.sort_unstable();
    // Counting must not run from one year into a hole before another one.
    let gap = calendar.years.windows(2).find(|pair| pair[0] + 1 < pair[1]);
    match gap.map(|pair| pair[0] + 1) {
        Some(year) => r.error("paper", None, format!("there is none for {year}, between others")),
        None if calendar.years.is_empty() => r.error("paper", None, "there is none"),
        None => {}
    }
    r.finish();
    Some(calendar)
}

/// Reads one paper and lays its days over those of the paper that it amends.
fn read_paper(mut r: Reader<'_>, calendar: &mut Calendar) {
    let year: i32 = r.number("year", 1949..=2200);
    let document = r.text("document");
    if document.is_empty() {
        r.error("document", None, "name the paper that the days rest on");
    }
    let published: Option<CivilDate> = r.parsed("published");
    let amends = r.has("amends").then(|| r.text("amends"));
    r.expect(&["amends"]);
    let of_year = |paper: &&Arc<Paper>| paper.year == year;
    match &amends {
        Some(named) => {
            let known = calendar.papers.iter().filter(of_year).any(|p| p.document == *named);
            if !known {
                let why = format!("no paper for {year} above it has this number");
                r.error("amends", Some(format!("{named:?}")), why);
            }
        }
        None if calendar.papers.iter().any(|paper| paper.year == year) => {
            let why = "there is a paper for this year already; name the one that it changes as \
                       amends";
            r.error("year", Some(year.to_string()), why);
        }
        None => calendar.years.push(year),
    }
    let paper =
        Arc::new(Paper { year, document, published: published.unwrap_or_default(), amends });
    for (key, is_worked) in [("holidays", false), ("workdays", true)] {
        for range in r.list::<String>(key) {
            let Some(days) = days_of(&range) else {
                let why = "expected yyyy-mm-dd or yyyy-mm-dd..yyyy-mm-dd, at most 31 days";
                r.error(key, Some(format!("{range:?}")), why);
                continue;
            };
            for day in days {
                let exception = Exception { is_worked, paper: paper.clone() };
                let before = calendar.exceptions.insert(day, exception);
                let changed = |old: &Exception| paper.amends.as_ref() == Some(&old.paper.document);
                if before.is_some_and(|old| !changed(&old)) {
                    r.error(key, Some(day.to_string()), "is named twice");
                }
            }
        }
    }
    calendar.papers.push(paper);
    r.finish();
}

fn days_of(range: &str) -> Option<Vec<CivilDate>> {
    let (first, last) = range.split_once("..").unwrap_or((range, range));
    let (first, last): (CivilDate, CivilDate) = (first.parse().ok()?, last.parse().ok()?);
    let days: Vec<CivilDate> = first.iter_days().take_while(|&day| day <= last).take(32).collect();
    (1..=31).contains(&days.len()).then_some(days)
}

fn read_window(name: &str, mut r: Reader<'_>, zone: Zone, limits: &Limits) -> Option<Window> {
    let id: Result<WindowId, _> = name.parse();
    if let Err(why) = &id {
        r.error("", None, why);
    }
    let zone = if r.has("zone") { read_zone(&mut r) } else { Some(zone) };
    let starts_at: Option<Timestamp> = r.parsed("starts_at");
    let ends_at: Option<Timestamp> = r.parsed("ends_at");
    let restore_by: Option<RestoreBy> = r.parsed("restore_by");
    let cutoff_minutes = read_cutoff(&mut r);
    let notice = r.has("notice").then(|| r.section("notice").whole());
    let deadlines = r.has("deadlines").then(|| r.section("deadlines").whole());
    let rows = r.rows("row");
    let count = rows.len();
    let policy: Vec<Row> = rows.into_iter().filter_map(Reader::whole).collect();
    let (author, reason) = (r.text("author"), r.text("reason"));
    r.expect(&["zone", "cutoff_minutes", "notice", "deadlines"]);
    let planned = Interval { start: starts_at?, end: ends_at? };
    if planned.length() > limits.window_length_max {
        let why = format!("lasts longer than {}", show_duration(limits.window_length_max));
        r.error("ends_at", None, format!("{why} (limits.window_length_max)"));
    }
    r.finish();
    let complete = policy.len() == count;
    let (notice, deadlines) = match (notice, deadlines) {
        (Some(None), _) | (_, Some(None)) => return None,
        (notice, deadlines) => (notice.flatten(), deadlines.flatten()),
    };
    let window = Window {
        id: id.ok()?,
        version: 1,
        zone: zone?,
        planned,
        published: planned,
        told: Vec::new(),
        author,
        reason,
        changed_at: published_at(notice.as_ref()).unwrap_or(planned.start),
        notice,
        policy,
        deadlines,
        restore_by: restore_by?,
        cause: Cause::Planned,
        cutoff_minutes,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    };
    complete.then_some(window)
}

/// For how many minutes before a stop long work is not begun, where that is said.
pub(super) fn read_cutoff(r: &mut Reader<'_>) -> Option<u32> {
    r.has("cutoff_minutes").then(|| r.number("cutoff_minutes", 1..=24 * 60))
}

fn published_at(notice: Option<&crate::domain::window::Notice>) -> Option<Timestamp> {
    notice.map(|n| n.published_at)
}
