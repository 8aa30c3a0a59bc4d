//! `holdover status`: one screen for a person at three in the morning.
//!
//! At most 24 lines of 80 columns, in words: what needs a person comes first, with what to do,
//! then how everything stands. What does not fit is counted, never left out in silence. What is
//! shown was computed by the daemon (`admin::status`); here it is only laid out.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::{plain, width};
use crate::admin::types::{
    BacklogOut, BooksOut, KafkaOut, LiveWindowOut, NotOpenOut, PublishedOut, ReplayOut, StatusOut,
    StatusPhase, WebhookOut,
};
use crate::domain::plain::{count, length, size};
use crate::domain::time::{Timestamp, Zone};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The columns of a screen.
const COLUMNS: usize = 80;
/// How long a daemon that works may take to say how things stand.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// The things that need a person which have room, each with what to do.
const NEEDS_SHOWN: usize = 3;
/// The lines that stops and gates have.
const LINES_OF_MANY: usize = 3;
/// The lines that replays have.
const LINES_OF_REPLAYS: usize = 2;
/// The columns of the words at the left.
const LABEL: usize = 10;

/// What is shown, and how often.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Show it anew every so many seconds, in place on a terminal, until Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
}

impl Status {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self.watch {
            None => once(run).await,
            Some(seconds) => watch(run, Duration::from_secs(seconds)).await,
        }
    }
}

async fn once(run: &Run) -> Result<Exit, Failure> {
    let status = look(run).await?;
    run.out.data(&status, || screen(&status, run.client.zone(), run.out.color));
    Ok(if status.needs.is_empty() { Exit::Success } else { Exit::NotReady })
}

async fn look(run: &Run) -> Result<StatusOut, Failure> {
    match run.client.get_within("/admin/v1/status", LOOK_MAX).await {
        Err(Failure::Local(Exit::Unreachable, why)) => Err(Failure::local(
            Exit::Unreachable,
            format!(
                "{why}\nwhat to do: see whether it runs (systemctl status holdover); \
                 runbooks/procedures/holdover-down.md goes on from there. What it has acknowledged \
                 is kept; nothing is taken or sent while it is away"
            ),
        )),
        other => other,
    }
}

/// Shows it again and again. A daemon that is away is said and looked for again: a restart is what
/// somebody may be watching for.
async fn watch(run: &Run, every: Duration) -> Result<Exit, Failure> {
    // From here on an interrupt is not the end of the process but of this loop.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(Failure::of)?;
    loop {
        let looked = tokio::select! {
            looked = look(run) => looked,
            _ = interrupts.recv() => return Ok(Exit::Success),
        };
        match looked {
            Ok(status) => {
                let text = || screen(&status, run.client.zone(), run.out.color);
                let is_read = match run.out.in_place && !run.out.json {
                    true => run.out.show(&in_place(&text())),
                    false => run.out.data(&status, || text() + "\n"),
                };
                if !is_read {
                    return Ok(Exit::Success);
                }
            }
            Err(failure) if failure.exit() == Exit::Unreachable => {
                if run.out.in_place && !run.out.json {
                    run.out.show(&in_place(""));
                }
                run.out.failure(&failure);
            }
            Err(failure) => return Err(failure),
        }
        // The pause, unless somebody ends it.
        if tokio::time::timeout(every, interrupts.recv()).await.is_ok() {
            return Ok(Exit::Success);
        }
    }
}

/// A screen that is written over the one before: from the corner, each line and what is below
/// cleared.
fn in_place(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}\x1b[K\n"));
    format!("\x1b[H{}\x1b[J", lines.collect::<String>())
}

/// The whole screen.
fn screen(status: &StatusOut, zone: Zone, color: bool) -> String {
    let mut lines = needs(status, zone);
    if color && let Some(first) = lines.first_mut() {
        *first = format!("\x1b[1m{first}\x1b[0m");
    }
    let mut rows = |label: &str, texts: Vec<String>| {
        for (place, text) in texts.into_iter().enumerate() {
            let label = if place == 0 { label } else { "" };
            lines.push(fitted(&format!("{label:<LABEL$}{}", plain(&text))));
        }
    };
    let at = status.at;
    rows("stops", stops(status));
    rows("books", vec![books(&status.books)]);
    rows("gates", gates(status));
    rows("backlog", backlog(&status.backlog, at));
    rows("replay", replays(&status.replays));
    rows("deadline", vec![deadline(status.deadline_at_risk, at, zone)]);
    rows(
        "disk",
        status
            .disk
            .iter()
            .map(|disk| {
                let [free, of, used, reserve] =
                    [disk.free_bytes, disk.capacity_bytes, disk.used_bytes, disk.reserve_bytes]
                        .map(size);
                format!("{free} of {of} free, {used} taken here; nothing new below {reserve}")
            })
            .collect(),
    );
    let taken_in = status.kafka.iter().map(|kafka| about_kafka(kafka, at));
    let published = status.published.iter().map(|published| about_published(published, at));
    rows("kafka", taken_in.chain(published).collect());
    rows("told", status.webhooks.iter().map(|webhook| about_webhook(webhook, at)).collect());
    rows("intake", vec![intake(status)]);
    lines.into_iter().map(|line| line + "\n").collect()
}

fn needs(status: &StatusOut, zone: Zone) -> Vec<String> {
    let at = format!("{} {}", status.at.civil(zone).format("%Y-%m-%d %H:%M:%S"), zone.name());
    let head = match status.needs.len() {
        0 => "NOTHING NEEDS A PERSON".to_owned(),
        1 => "A PERSON IS NEEDED".to_owned(),
        number => format!("A PERSON IS NEEDED: {number} THINGS"),
    };
    let space = COLUMNS.saturating_sub(width(&head) + width(&at)).max(1);
    let mut lines = vec![format!("{head}{}{at}", " ".repeat(space))];
    for (number, need) in (1..).zip(status.needs.iter().take(NEEDS_SHOWN)) {
        lines.push(fitted(&format!("{number}. {}", plain(&need.what))));
        lines.push(fitted(&format!("   {}", plain(&need.next))));
    }
    match status.needs.len().saturating_sub(NEEDS_SHOWN) {
        0 => {}
        more => lines.push(format!("   and {more} more: holdover status --json")),
    }
    lines
}

fn stops(status: &StatusOut) -> Vec<String> {
    let lines = status.windows.iter().map(stop);
    let mut lines: Vec<String> = lines.collect();
    if matches!(status.phase, StatusPhase::Open | StatusPhase::Replaying)
        && status.windows.iter().all(|window| window.phase == StatusPhase::Scheduled)
    {
        let now = if status.phase == StatusPhase::Open { "open" } else { "replaying" };
        lines.insert(0, format!("{now}: no stop is on"));
    }
    at_most(lines, LINES_OF_MANY, "holdover window list")
}

fn stop(window: &LiveWindowOut) -> String {
    let times = [window.starts_at, window.ends_at];
    let [from, to] = times.map(|at| at.civil(window.zone).format("%m-%d %H:%M"));
    let left = length(Duration::from_secs(window.seconds_left.unsigned_abs()));
    let left = match (window.phase, window.seconds_left) {
        (StatusPhase::Scheduled | StatusPhase::Closing, _) => format!("begins in {left}"),
        (_, ..0) => format!("{left} over"),
        (_, 0..) => format!("{left} left"),
    };
    format!("{}: {}, {from} to {to}, {left}", window.id, window.phase)
}

fn books(books: &BooksOut) -> String {
    let differences = format!(
        "difference {} items, {} yuan, {} tickets",
        books.difference, books.amount_difference, books.tickets_difference
    );
    match (books.proved, books.balanced, books.damaged_records) {
        (false, ..) => "CANNOT BE PROVED: records of the journal are lost".to_owned(),
        (true, false, _) => format!("DO NOT BALANCE: {differences}"),
        (true, true, 0) => format!("balanced: {differences}"),
        (true, true, damaged) => format!("balanced, but {damaged} RECORDS ARE DAMAGED"),
    }
}

fn gates(status: &StatusOut) -> Vec<String> {
    let open = count(status.gates_open);
    let lines = status.gates_not_open.iter().map(gate).collect::<Vec<_>>();
    let first = match (lines.is_empty(), status.gates_open) {
        (true, 0) => "no cell has been seen yet".to_owned(),
        (true, _) => format!("all {open} cells open"),
        (false, _) => format!("{open} cells open; not open:"),
    };
    let mut all = vec![first];
    all.extend(lines);
    at_most(all, LINES_OF_MANY, "holdover gate list")
}

fn gate(gate: &NotOpenOut) -> String {
    let (cells, waiting) = (count(gate.cells), count(gate.waiting));
    format!("{}: {}; cells {cells}, waiting {waiting}", gate.upstream, gate.why)
}

fn backlog(backlog: &BacklogOut, now: Timestamp) -> Vec<String> {
    let since = |at: Option<Timestamp>| {
        at.map_or_else(String::new, |at| format!(" (oldest {})", length(now.since(at))))
    };
    vec![
        format!(
            "{} can go{}; {} held at closed gates{}",
            count(backlog.deliverable),
            since(backlog.deliverable_oldest),
            count(backlog.held),
            since(backlog.held_oldest)
        ),
        format!(
            "in flight {}, in doubt {}, dead letters {}, for submitters {}, tickets {}",
            count(backlog.in_flight),
            count(backlog.in_doubt),
            count(backlog.dead_letters),
            count(backlog.action_required),
            count(backlog.tickets_open)
        ),
    ]
}

fn replays(replays: &[ReplayOut]) -> Vec<String> {
    if replays.is_empty() {
        return vec!["nothing waits behind an open gate".to_owned()];
    }
    at_most(replays.iter().map(replay).collect(), LINES_OF_REPLAYS, "holdover status --json")
}

/// How long it takes, and by which measure.
fn replay(replay: &ReplayOut) -> String {
    let head = format!("{}: {} left", replay.upstream, count(replay.remaining));
    let (Some(pace), Some(over)) = (replay.pace_per_second, replay.pace_over_seconds) else {
        return format!("{head}, its pace is not known yet");
    };
    let over = length(Duration::from_secs(over));
    match replay.eta_seconds {
        Some(eta) => {
            let eta = length(Duration::from_secs(eta));
            format!("{head}, {eta} at {pace:.1}/s (net, over the last {over})")
        }
        None => format!("{head}, no fewer over the last {over}"),
    }
}

fn deadline(at_risk: Option<Timestamp>, now: Timestamp, zone: Zone) -> String {
    let Some(at) = at_risk else { return "none at risk".to_owned() };
    let when = at.civil(zone).format("%m-%d %H:%M");
    match at.since(now) {
        Duration::ZERO => format!("one in a stop passed at {when} and was not moved"),
        left => format!("one in a stop ends {when}, in {}, and is not moved", length(left)),
    }
}

fn about_kafka(kafka: &KafkaOut, now: Timestamp) -> String {
    let (topics, lag) = (count(kafka.topics), count(kafka.lag_records));
    match kafka.away_since {
        Some(since) => {
            format!("NOTHING TAKEN IN for {}, topics {topics}", length(now.since(since)))
        }
        None => {
            let partitions = count(kafka.partitions);
            format!("topics {topics}, partitions {partitions}, records not done {lag}")
        }
    }
}

fn about_published(published: &PublishedOut, now: Timestamp) -> String {
    let left = count(published.unpublished_changes);
    match published.interrupted_since {
        Some(since) => {
            format!("NOTHING PUBLISHED for {}, changes to go {left}", length(now.since(since)))
        }
        None => format!("published, changes to go {left}"),
    }
}

fn about_webhook(webhook: &WebhookOut, now: Timestamp) -> String {
    let (name, waiting) = (&webhook.name, count(webhook.waiting));
    match (webhook.disabled, webhook.waiting_since) {
        (true, _) => format!("{name} WANTS NO MORE (410), announcements that wait: {waiting}"),
        (false, Some(since)) => {
            format!("{name}, announcements that wait: {waiting}, for {}", length(now.since(since)))
        }
        (false, None) => format!("{name}, of everything"),
    }
}

fn intake(status: &StatusOut) -> String {
    if status.ready {
        return "submissions are taken".to_owned();
    }
    format!("NO SUBMISSION IS TAKEN: {}", status.not_ready.join(", "))
}

/// As many lines as there is room for; of the others, how many, and where they are.
fn at_most(mut lines: Vec<String>, most: usize, where_else: &str) -> Vec<String> {
    if lines.len() > most {
        let more = lines.len() + 1 - most;
        lines.truncate(most - 1);
        lines.push(format!("and {more} more: {where_else}"));
    }
    lines
}

/// A line that fits on the screen; one that was cut ends in an ellipsis.
fn fitted(line: &str) -> String {
    if width(line) <= COLUMNS {
        return line.to_owned();
    }
    let mut kept = String::new();
    for c in line.chars() {
        if width(&kept) + width(c.encode_utf8(&mut [0; 4])) > COLUMNS - 1 {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}

#[cfg(test)]
mod tests;
