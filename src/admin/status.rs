//! `/admin/v1/status`: what needs a person first, and how everything stands.
//!
//! One look at the engine between two steps, and what the daemon watches beside it ([`Vitals`]). No
//! transaction is walked. Whatever needs a person is found here and nowhere else, by the measures
//! of the alerts (`dashboards/alerts.yml`), so that the screen, the service manager and an alert
//! never say different things of one state. An alert waits before it wakes anybody; a person who
//! looks is told at once, except where a short wait is what mends it.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::{
    BacklogOut, BooksOut, ClockOut, DamageOut, DiskOut, KafkaOut, LiveWindowOut, Need, NeedOut,
    NotOpenOut, ProposalOut, PublishedOut, ReplayOut, StatusOut, StatusPhase, WebhookOut,
};
use crate::domain::gate::{GateState, HealthPhase, Override};
use crate::domain::ids::{UpstreamName, WindowId};
use crate::domain::ledger::Books;
use crate::domain::money::format_fen;
use crate::domain::plain::{count, length};
use crate::domain::state::State as Standing;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::{Phase, RestoreBy, Window};
use crate::engine::clock::Doubt;
use crate::engine::machine::Machine;
use crate::engine::view::{AT_RISK_WITHIN, DraftView, GateView, ReplayView, UpstreamView};
use axum::Json;
use axum::extract::State as Extract;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a core may be away by itself (HoldoverCoreUnavailable).
const CORE_AWAY: Duration = Duration::from_secs(300);
/// How long something may be due while the backlog does not shrink (HoldoverOldestOverdue).
const OVERDUE: Duration = Duration::from_secs(900);
/// How long asking the core may take (HoldoverInDoubt).
const DOUBT_TAKES: Duration = Duration::from_secs(600);
/// How long Kafka may be away by itself (HoldoverKafkaIntakeAway).
const KAFKA_AWAY: Duration = Duration::from_secs(300);
/// How long somebody may not be told (HoldoverSubscriberNotTold).
const NOT_TOLD: Duration = Duration::from_secs(900);
/// What is due for as long is the backlog of a stop, not the next of the day.
const REPLAYING: Duration = Duration::from_secs(10);
/// A pace is told once it was watched for so long.
const WATCHED: Duration = Duration::from_secs(5);

/// What the daemon watches beside the engine, once a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vitals {
    /// Room for the data folder, once it was measured.
    pub disk: Option<DiskOut>,
    /// How quickly each upstream's backlog becomes smaller.
    pub paces: BTreeMap<UpstreamName, Pace>,
    /// Since when something has been in doubt.
    pub in_doubt_since: Option<Timestamp>,
    /// The intake from Kafka, where there is one.
    pub kafka: Option<KafkaOut>,
    /// What goes out to Kafka, where something does.
    pub published: Option<PublishedOut>,
    /// Who is told of stops, and how far that is.
    pub webhooks: Vec<WebhookOut>,
    /// Since when what the files say has been refused.
    pub config_refused_since: Option<Timestamp>,
}

/// How quickly a backlog becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// By how many a second; negative when it grows.
    pub per_second: f64,
    /// How long that was watched.
    pub over: Duration,
}

/// Copied out of the engine in one look.
struct Seen {
    at: Timestamp,
    books: Books,
    quarantined: bool,
    windows: Vec<(Arc<Window>, Phase)>,
    gates: Vec<GateView>,
    overrides: Vec<Override>,
    upstreams: Vec<UpstreamView>,
    replays: Vec<ReplayView>,
    drafts: Vec<DraftView>,
    oldest: (Option<Timestamp>, Option<Timestamp>),
    at_risk: Option<Timestamp>,
    open_max: u64,
    results_untold: u64,
    doubt: Option<Doubt>,
    calendar_lacks: Option<i32>,
}

impl Seen {
    fn of(machine: &Machine, at: Timestamp) -> Self {
        Self {
            at,
            books: machine.books().clone(),
            quarantined: machine.is_quarantined(),
            windows: machine.windows_and_phases(at),
            gates: machine.gates(at),
            overrides: machine.overrides().to_vec(),
            upstreams: machine.upstreams(at),
            replays: machine.replays(at),
            drafts: machine.drafts(at),
            oldest: machine.oldest(),
            at_risk: machine.deadlines(at).at_risk,
            open_max: machine.limits().open_transactions_max as u64,
            results_untold: machine.results_untold(),
            doubt: machine.clock_doubt(),
            calendar_lacks: machine.calendar_lacks(at),
        }
    }
}

/// What is known without the engine.
struct Beside {
    vitals: Vitals,
    not_ready: Vec<String>,
    damaged_records: u64,
    intake_difference: i128,
    audit_losses: usize,
    /// What no key is good for.
    lacks: Vec<String>,
    proposals: Vec<ProposalOut>,
    zone: Zone,
}

pub(super) async fn show(Extract(state): Extract<Arc<State>>) -> Result<Json<StatusOut>, Refusal> {
    stands(&state).await.map(Json).ok_or_else(Refusal::unavailable)
}

/// How everything stands now; `None` when the engine has ended.
pub async fn stands(state: &State) -> Option<StatusOut> {
    let seen = look::at(state, |machine, now| Seen::of(machine, now.wall)).await.ok()?;
    let lacks = state.keys.lacks(seen.at);
    let beside = Beside {
        vitals: (state.vitals)(),
        not_ready: (state.not_ready)(),
        damaged_records: (state.damage)().iter().map(DamageOut::records).sum(),
        intake_difference: (state.intake)().difference(),
        audit_losses: state.audit.losses(),
        lacks: lacks.iter().map(|lack| lack.scope.to_string()).collect(),
        proposals: state.proposals.list(seen.at),
        zone: state.zone,
    };
    Some(status(seen, beside))
}

fn status(seen: Seen, beside: Beside) -> StatusOut {
    let mut out = StatusOut {
        at: seen.at,
        headline: String::new(),
        needs: Vec::new(),
        ready: beside.not_ready.is_empty(),
        phase: StatusPhase::Open,
        windows: live_windows(&seen),
        books: books_out(&seen, &beside),
        gates_open: seen.gates.iter().filter(|gate| gate.state.lets_through()).count() as u64,
        gates_not_open: not_open(&seen, beside.zone),
        backlog: backlog(&seen, &beside.vitals),
        replays: replays(&seen, &beside.vitals),
        deadline_at_risk: seen.at_risk,
        disk: beside.vitals.disk,
        kafka: beside.vitals.kafka,
        published: beside.vitals.published,
        webhooks: beside.vitals.webhooks.clone(),
        clock: seen.doubt.map(ClockOut::from),
        not_ready: beside.not_ready.clone(),
    };
    out.phase = phase(&seen, &out);
    out.needs = needs(&seen, &beside, &out);
    out.headline = headline(&out);
    out
}

fn live_windows(seen: &Seen) -> Vec<LiveWindowOut> {
    let live = seen.windows.iter().filter_map(|(window, phase)| {
        let stretch = window.stretch();
        let phase = match phase {
            Phase::Scheduled => StatusPhase::Scheduled,
            Phase::Closing => StatusPhase::Closing,
            Phase::Active => StatusPhase::Active,
            Phase::Verifying => StatusPhase::Verifying,
            Phase::Overrun => StatusPhase::Overrun,
            Phase::Replaying => StatusPhase::Replaying,
            Phase::Completed | Phase::Cancelled => return None,
        };
        let to = match phase {
            StatusPhase::Scheduled | StatusPhase::Closing => stretch.start,
            StatusPhase::Open
            | StatusPhase::Active
            | StatusPhase::Verifying
            | StatusPhase::Overrun
            | StatusPhase::Replaying => stretch.end,
        };
        let waits = |gate: &&GateView| {
            gate.state == GateState::AwaitingRelease && gate.window.as_ref() == Some(&window.id)
        };
        Some(LiveWindowOut {
            id: window.id.clone(),
            phase,
            zone: window.zone,
            starts_at: stretch.start,
            ends_at: stretch.end,
            seconds_left: (to.as_millis().saturating_sub(seen.at.as_millis())).div_euclid(1000),
            restore_by: window.restore_by,
            awaiting_release: seen.gates.iter().filter(waits).map(|gate| gate.waiting).sum(),
        })
    });
    let mut live: Vec<_> = live.collect();
    live.sort_by_key(|window| (gravity(window.phase), window.starts_at));
    live
}

/// The gravest comes first.
const fn gravity(phase: StatusPhase) -> u8 {
    match phase {
        StatusPhase::Overrun => 0,
        StatusPhase::Active => 1,
        StatusPhase::Verifying => 2,
        StatusPhase::Replaying => 3,
        StatusPhase::Closing => 4,
        StatusPhase::Scheduled => 5,
        StatusPhase::Open => 6,
    }
}

fn phase(seen: &Seen, out: &StatusOut) -> StatusPhase {
    // They are sorted.
    let gravest = out.windows.first().map(|window| window.phase);
    let gravest = gravest.filter(|&phase| phase != StatusPhase::Scheduled);
    let reopening = seen.upstreams.iter().any(|u| u.health.phase == HealthPhase::Reopening);
    let due =
        |replay: &ReplayOut| replay.due_since.is_some_and(|at| seen.at.since(at) >= REPLAYING);
    let replaying = reopening || out.replays.iter().any(due);
    gravest.unwrap_or(if replaying { StatusPhase::Replaying } else { StatusPhase::Open })
}

fn books_out(seen: &Seen, beside: &Beside) -> BooksOut {
    // A number that does not fit is shown as the largest one, and is not zero.
    let whole = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
    let books = &seen.books;
    let differences = [
        books.difference(),
        books.amount_difference(),
        books.ticket_difference(),
        beside.intake_difference,
    ];
    BooksOut {
        balanced: !seen.quarantined && differences.iter().all(|&difference| difference == 0),
        proved: !seen.quarantined,
        difference: whole(books.difference()),
        amount_difference: format_fen(books.amount_difference()),
        tickets_difference: whole(books.ticket_difference()),
        damaged_records: beside.damaged_records,
    }
}

fn not_open(seen: &Seen, zone: Zone) -> Vec<NotOpenOut> {
    let mut groups: BTreeMap<(&UpstreamName, GateState, Option<&WindowId>), NotOpenOut> =
        BTreeMap::new();
    for gate in seen.gates.iter().filter(|gate| !gate.state.lets_through()) {
        let (upstream, window) = (&gate.cell.upstream, gate.window.as_ref());
        let group = groups.entry((upstream, gate.state, window)).or_insert_with(|| NotOpenOut {
            upstream: upstream.clone(),
            state: gate.state,
            window: gate.window.clone(),
            why: why(gate, seen, zone),
            cells: 0,
            waiting: 0,
        });
        group.cells += 1;
        group.waiting += gate.waiting;
    }
    groups.into_values().collect()
}

/// Why a gate is not open.
fn why(gate: &GateView, seen: &Seen, zone: Zone) -> String {
    let window = gate.window.as_ref().map_or("a window", WindowId::as_str);
    match gate.state {
        GateState::Open | GateState::Reopening => "open".to_owned(),
        GateState::Closing => format!("about to be stopped by {window}: long work waits"),
        GateState::ClosedByWindow => format!("stopped by {window}"),
        GateState::AwaitingRelease => format!("back after {window}, not released by a person yet"),
        GateState::Verifying => "not proved to be back yet".to_owned(),
        GateState::ClosedByProbe => "its probes are not answered".to_owned(),
        GateState::ClosedBySchedule => "outside its service hours".to_owned(),
        GateState::ClosedByClock => "the clock is not believed".to_owned(),
        GateState::ClosedByOperator => {
            let closing = seen.overrides.iter().filter(|o| o.cells.matches(&gate.cell));
            let last = closing.max_by_key(|closing| closing.until);
            last.map_or_else(
                || "closed by an operator".to_owned(),
                |closing| format!("closed by {} until {}", closing.by, closing.until.rfc3339(zone)),
            )
        }
    }
}

fn backlog(seen: &Seen, vitals: &Vitals) -> BacklogOut {
    let items = |state| seen.books.in_state(state).items;
    let sum = |of: fn(&ReplayView) -> u64| seen.replays.iter().map(of).sum();
    let in_doubt = items(Standing::InDoubt);
    BacklogOut {
        deliverable: sum(|replay| replay.remaining),
        deliverable_oldest: seen.oldest.0,
        held: sum(|replay| replay.held),
        held_oldest: seen.oldest.1,
        in_flight: items(Standing::InFlight),
        in_doubt,
        // What began since the last look has just begun.
        in_doubt_since: (in_doubt > 0).then(|| vitals.in_doubt_since.unwrap_or(seen.at)),
        dead_letters: items(Standing::DeadLettered),
        action_required: items(Standing::ActionRequired),
        open: seen.books.open_items() as u64,
        tickets_open: seen.books.tickets(TicketState::Open).items,
        limit: seen.open_max,
    }
}

fn replays(seen: &Seen, vitals: &Vitals) -> Vec<ReplayOut> {
    let waiting = seen.replays.iter().filter(|replay| replay.remaining > 0);
    let out = waiting.map(|replay| {
        let pace = vitals.paces.get(&replay.upstream).filter(|pace| pace.over >= WATCHED);
        ReplayOut {
            upstream: replay.upstream.clone(),
            remaining: replay.remaining,
            due_since: replay.due_since,
            pace_per_second: pace.map(|pace| pace.per_second),
            pace_over_seconds: pace.map(|pace| pace.over.as_secs()),
            eta_seconds: pace.and_then(|pace| eta(replay.remaining, pace.per_second)),
        }
    });
    out.collect()
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate in whole seconds, positive by the condition"
)]
fn eta(remaining: u64, per_second: f64) -> Option<u64> {
    (per_second > 0.0).then(|| (remaining as f64 / per_second).ceil() as u64)
}

/// Whether a disk has less than a tenth of its room left (HoldoverStoreSpaceLow).
const fn is_low(disk: DiskOut) -> bool {
    disk.free_bytes < disk.capacity_bytes / 10
}

/// What needs a person, the most urgent first.
fn needs(seen: &Seen, beside: &Beside, out: &StatusOut) -> Vec<NeedOut> {
    let mut found = Needs(Vec::new());
    of_the_store(&mut found, beside, out);
    of_time(&mut found, seen, out);
    of_delivery(&mut found, seen, out);
    of_results(&mut found, seen);
    found.0.sort_by_key(|need| need.code);
    found.0
}

struct Needs(Vec<NeedOut>);

impl Needs {
    fn add(&mut self, code: Need, what: impl Into<String>, next: impl Into<String>) {
        let page = code.alert().map(|alert| format!("runbooks/{alert}.md"));
        self.0.push(NeedOut { code, what: what.into(), next: next.into(), page });
    }
}

fn of_the_store(found: &mut Needs, beside: &Beside, out: &StatusOut) {
    let is = |reason: &str| beside.not_ready.iter().any(|known| known == reason);
    if is("poisoned") {
        let what = "the journal failed, nothing is acknowledged, the daemon ends";
        found.add(Need::Poisoned, what, "look after the disk before the daemon starts again");
    }
    if is("quarantined") {
        let what = "the journal is damaged and only looked at, nothing is taken or sent";
        found.add(Need::Quarantined, what, "holdover journal verify names the files to restore");
    } else if !out.books.balanced {
        let books = &out.books;
        let what = format!(
            "the books do not balance: difference {} items, {} yuan, {} tickets",
            books.difference, books.amount_difference, books.tickets_difference
        );
        found.add(Need::BooksUnbalanced, what, "holdover ledger check, then call the developers");
    }
    if is("disk_reserve") {
        let what = "nothing new is accepted: the disk has no more than its reserve";
        found.add(Need::DiskReserve, what, "make room on the data folder's disk");
    } else if out.disk.is_some_and(is_low) {
        found.add(
            Need::DiskLow,
            "less than a tenth of the disk is free",
            "make room, or extend it",
        );
    }
    if out.books.damaged_records > 0 && !is("quarantined") {
        let what = format!("{} records of the journal are damaged", out.books.damaged_records);
        found.add(Need::RecordsDamaged, what, "holdover journal verify names the files to restore");
    }
    if beside.audit_losses > 0 {
        let what = "lines of the audit log have gone missing";
        found.add(Need::AuditLost, what, "holdover audit verify says where; ask who removed them");
    }
    // HoldoverBacklogNearlyFull: nine tenths.
    if out.backlog.open > out.backlog.limit / 10 * 9 {
        let (open, limit) = (count(out.backlog.open), count(out.backlog.limit));
        let what = format!("{open} transactions are open, at {limit} no more are taken");
        found.add(Need::BacklogNearlyFull, what, "raise limits.open_transactions_max and reload");
    }
    if beside.vitals.config_refused_since.is_some() {
        let what = "the configuration that was read last is refused, the one before is in force";
        found.add(Need::ConfigRefused, what, "holdover check-config FILE --difference says why");
    }
    for one in &beside.proposals {
        let what = format!("{} proposes {} of {}", one.by, one.action, one.object);
        let next = format!("another person: holdover proposal approve {} …", one.id);
        found.add(Need::ProposalWaits, what, next);
    }
    for scope in &beside.lacks {
        let next = format!("holdover key create --scope {scope} …");
        found.add(Need::NoKey, format!("no API key may {scope}"), next);
    }
}

fn of_time(found: &mut Needs, seen: &Seen, out: &StatusOut) {
    if let Some(at) = seen.at_risk.filter(|&at| at.before(AT_RISK_WITHIN) < seen.at) {
        let what = match at.since(seen.at) {
            Duration::ZERO => "a deadline inside a stop has passed and was not moved".to_owned(),
            left => format!("a deadline inside a stop passes in {} and is not moved", length(left)),
        };
        found.add(Need::DeadlineAtRisk, what, "holdover deadline list, then the window's owner");
    }
    if let Some(year) = seen.calendar_lacks {
        let what = format!("the working days of {year} are not known, its dates cannot be told");
        found.add(Need::CalendarEnds, what, "holdover calendar check says what to add");
    }
    if let Some(doubt) = seen.doubt {
        let ahead = doubt.ahead_ms();
        let by = length(Duration::from_millis(ahead.unsigned_abs()));
        let to = if ahead > 0 { "ahead" } else { "behind" };
        let what = format!("the clock was set and is not believed: it is {by} {to}");
        found.add(Need::ClockDoubted, what, "set it right, or holdover gate trust-clock");
    }
    for window in &out.windows {
        let id = &window.id;
        let signed = window.restore_by == RestoreBy::Signed;
        let late = match window.phase {
            StatusPhase::Overrun => true,
            // Nobody but a person ends it.
            StatusPhase::Verifying => signed,
            StatusPhase::Open
            | StatusPhase::Scheduled
            | StatusPhase::Closing
            | StatusPhase::Active
            | StatusPhase::Replaying => false,
        };
        if late {
            let over = length(Duration::from_secs(window.seconds_left.unsigned_abs()));
            let what = format!("{id} is {over} past its planned end and not proved back");
            let next = format!("holdover window restore {id} …, or holdover window extend {id} …");
            found.add(Need::WindowOverrun, what, next);
        }
        if window.awaiting_release > 0 {
            let waiting = count(window.awaiting_release);
            let what = format!("{waiting} transactions of {id} wait for a person's release");
            found.add(Need::ReleaseAwaited, what, format!("holdover window release {id} …"));
        }
    }
}

fn of_delivery(found: &mut Needs, seen: &Seen, out: &StatusOut) {
    for upstream in &seen.upstreams {
        let name = &upstream.name;
        let away = seen.at.since(upstream.health.since);
        let planned = |gate: &NotOpenOut| {
            gate.upstream == *name
                && matches!(gate.state, GateState::ClosedByWindow | GateState::Verifying)
        };
        let down = upstream.health.phase == HealthPhase::Down && away >= CORE_AWAY;
        let stopped = seen.replays.iter().any(|replay| replay.upstream == *name && replay.stopped);
        if down && !stopped && !out.gates_not_open.iter().any(planned) {
            let what =
                format!("{name} has not answered for {}, and no window stops it", length(away));
            found.add(
                Need::CoreDown,
                what,
                format!("call whoever runs {name}; transactions are held"),
            );
        }
    }
    for draft in &seen.drafts {
        let id = &draft.id;
        let lasted = length(draft.ended.unwrap_or(seen.at).since(draft.began));
        let what = match (&draft.upstream, draft.ended) {
            (Some(name), None) => {
                format!("{name} has been away for {lasted}, and nobody planned it")
            }
            (Some(name), Some(_)) => format!("{name} was away for {lasted}, and nobody planned it"),
            // What stands against it is told by a need of its own.
            (None, None) => continue,
            (None, Some(_)) => format!("nothing could be taken in for {lasted}, for want of room"),
        };
        let next = format!("holdover window confirm {id} …, or let it lapse");
        found.add(Need::OutageUnconfirmed, what, next);
    }
    for replay in &out.replays {
        let due = replay.due_since.map(|at| seen.at.since(at)).unwrap_or_default();
        if due >= OVERDUE && replay.pace_per_second.is_some_and(|pace| pace <= 0.0) {
            let (name, due) = (&replay.upstream, length(due));
            let what = format!("{name}: due for {due}, and the backlog does not become smaller");
            found.add(Need::ReplayOverdue, what, "holdover transaction list, then ask the core");
        }
    }
    let backlog = &out.backlog;
    if backlog.dead_letters > 0 {
        let what = format!("dead letters, which block their keys: {}", count(backlog.dead_letters));
        found.add(Need::DeadLetters, what, "holdover dead-letter list");
    }
    if backlog.in_doubt_since.is_some_and(|since| seen.at.since(since) >= DOUBT_TAKES) {
        let (number, took) = (count(backlog.in_doubt), length(DOUBT_TAKES));
        let what = format!("{number} in doubt, and for {took} the core has not told of all");
        found.add(Need::InDoubt, what, "holdover in-doubt list");
    }
    let away = |since: Timestamp| Some(seen.at.since(since)).filter(|&away| away >= KAFKA_AWAY);
    if let Some(away) = out.kafka.and_then(|kafka| kafka.away_since).and_then(away) {
        let what = format!("nothing has been taken in from Kafka for {}", length(away));
        found.add(Need::KafkaAway, what, "the log says why (kafka_interrupted)");
    }
    let interrupted = out.published.and_then(|published| published.interrupted_since);
    if let Some(away) = interrupted.and_then(away) {
        let what = format!("nothing has been published to Kafka for {}", length(away));
        let next = "the log says why (kafka_publishing_interrupted)";
        found.add(Need::KafkaUnpublished, what, next);
    }
    for webhook in &out.webhooks {
        let late = webhook.waiting_since.map(|since| seen.at.since(since));
        let Some(late) = late.filter(|&late| late >= NOT_TOLD) else { continue };
        let (name, waiting) = (&webhook.name, count(webhook.waiting));
        let what = format!("{name} was not told for {}, announcements: {waiting}", length(late));
        let next = match webhook.disabled {
            true => "it answered 410; holdover reads its configuration again on a reload",
            false => "the log says why (webhook_not_told)",
        };
        found.add(Need::SubscriberNotTold, what, next);
    }
}

/// The duty to tell people what became of what they handed in.
fn of_results(found: &mut Needs, seen: &Seen) {
    if seen.results_untold > 0 {
        let number = count(seen.results_untold);
        let what = format!("pre-accepted results that the person was not told yet: {number}");
        let next = "holdover transaction list --untold, then holdover transaction told ID …";
        found.add(Need::ResultsUntold, what, next);
    }
}

/// All of it in one line, without times of day: it is read in any zone.
fn headline(out: &StatusOut) -> String {
    match out.needs.as_slice() {
        [] => format!("nothing needs a person; {}", goes_on(out)),
        [one] => format!("a person is needed: {}", one.what),
        [first, rest @ ..] => {
            format!("a person is needed: {} (and {} more)", first.what, rest.len())
        }
    }
}

fn goes_on(out: &StatusOut) -> String {
    let held = match out.backlog.held {
        0 => String::new(),
        held => format!(", {} held", count(held)),
    };
    match (out.phase, out.windows.first()) {
        (StatusPhase::Replaying, _) => {
            format!("replaying, {} left", count(out.backlog.deliverable))
        }
        (StatusPhase::Open | StatusPhase::Scheduled, _) | (_, None) => {
            format!("no stop is on{held}")
        }
        (phase, Some(window)) => format!("{} is {phase}{held}", window.id),
    }
}

#[cfg(test)]
mod tests;
