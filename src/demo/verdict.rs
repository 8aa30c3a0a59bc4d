//! Puts the proofs together once everything has stopped: what the clients hold, what the journal
//! says, what the cores logged, and the run's own findings become one report.
//!
//! A run that ended early is judged too, by everything that must hold at any moment; what only
//! the end can show is then left out, and the report says that the run was cut short.

use super::evidence;
use super::proof::books::Ledger;
use super::proof::calls::{self, Effects};
use super::proof::dates::{self, Stop, Telling};
use super::proof::journal::Recount;
use super::proof::{self, Broken, books, kept, notice};
use super::report::{Date, Report};
use super::run::Run;
use super::schedule::{AGENCY_BACK, PLANNED_END, Post};
use super::script::put_off_to;
use crate::admin::types::LedgerOut;
use crate::domain::ids::UpstreamName;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::engine::ports::Clock;
use anyhow::Context;
use std::collections::BTreeMap;

/// Judges a run whose daemon has stopped; `told` is the last look at its books.
///
/// # Errors
/// When the journal or a log cannot be read at all.
pub(super) fn prove(run: &Run, told: Option<LedgerOut>) -> anyhow::Result<Report> {
    let now = run.schedule.ends.max(run.clock.now().wall);
    let copy = run.folder.join("journal-copy");
    let (journal, damaged) = evidence::journal(&run.config.data.folder, &copy, now)?;
    let logs = evidence::logs(run, &journal)?;
    let (clients, receipts, refusals) = evidence::clients(run);
    let ledger = match &told {
        Some(told) => evidence::ledger(told)?,
        // The daemon could not be asked, which is a finding of its own.
        None => Ledger::recounted(&journal),
    };
    let window = run.config.windows.first().context("the settings declare no window")?;
    let restored = restored(run, window, &logs);
    let agency: UpstreamName = "agency".parse()?;
    let agency_back = restored.get(&agency).copied();
    let stop = stop(run, window, agency_back)?;
    let back_of = |post: &Post| {
        // What the notice says is claimed only while every part was surely stopped.
        let earliest = restored.values().copied().min().unwrap_or(PLANNED_END);
        if post.kind.said().disposition.passes() { earliest.min(PLANNED_END) } else { earliest }
    };
    let mut sums = Effects::default();
    let closures = evidence::closures(window, &restored, &run.acts);
    let keys = evidence::ordering(run, &journal);
    let once = calls::once(&logs.calls, &mut sums);
    let in_order = calls::in_order(&logs.calls, &keys, &mut sums);
    let closed = calls::not_while_closed(&logs.calls, &closures, &mut sums);
    let spare = books::Spare { cut_off: evidence::cut_off(run), unanswered: run.unanswered };
    let mut findings = vec![
        damaged,
        logs.contradictions,
        kept::acknowledged(&receipts, &refusals, &journal),
        once,
        in_order,
        closed,
        dates::moved(&stop, &tellings(run, &journal)),
        after_the_extension(run, &stop),
        books::balance(&clients, &ledger, &journal, sums.effects, spare, run.completed),
        notice::followed(&run.answers, &run.posts, &run.city, back_of),
        run.findings.clone(),
    ];
    if run.completed {
        findings.push(kept::ended(&journal));
        findings.push(plot_was_played(run, &journal));
    }
    let held = |kept: &&proof::journal::Recorded| {
        !kept.disposition.passes() && kept.state == State::Applied
    };
    let replayed = journal.accepted.values().filter(held).count();
    let doubted = journal.accepted.values().filter(|kept| kept.doubted).count();
    Ok(Report {
        scenario: scenario(run.schedule.agency_back),
        starts_at: window.published.start,
        ends_at: window.published.end,
        restored_at: agency_back,
        clients,
        held_peak: run.held_peak,
        replayed: u64::try_from(replayed)?,
        kills: run.kills.len(),
        in_doubt_seen: u64::try_from(doubted)?,
        ledger,
        effects: sums,
        policy: notice::used(&run.answers, &run.posts, &run.city),
        deadlines: registered(run),
        deadline_clause: window
            .deadlines
            .as_ref()
            .map(|dates| dates.clause.clone())
            .unwrap_or_default(),
        broken: proof::gather(findings),
    })
}

/// When each part was let back, where it was.
fn restored(
    run: &Run,
    window: &Window,
    logs: &evidence::Logs,
) -> BTreeMap<UpstreamName, Timestamp> {
    let end = window.published.end;
    run.config
        .upstreams
        .iter()
        .filter_map(|(name, upstream)| {
            let acts = (&run.acts[..], &run.kills[..]);
            let at = evidence::restored_at(name, end, &upstream.health, acts, logs)?;
            Some((name.clone(), at))
        })
        .collect()
}

/// The stop, as far as dates depend on it.
fn stop(run: &Run, window: &Window, agency_back: Option<Timestamp>) -> anyhow::Result<Stop> {
    let dates = window.deadlines.as_ref().context("the window moves no deadlines")?;
    let published_end = window.published.end;
    // A part that is not back at the end of the whole story stops until then; a run that was cut
    // short claims no more than was published.
    let never = if run.completed { run.schedule.ends } else { published_end };
    Ok(Stop {
        starts: window.published.start,
        published_end,
        restored: agency_back.unwrap_or(never),
        rule: dates.rule,
        opens_at: dates.opens_at,
        day_ends_at: dates.day_ends_at,
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

/// Whether the dates that clients were told went along when the end was put off.
fn after_the_extension(run: &Run, stop: &Stop) -> Vec<Broken> {
    let Some((at, ends_at)) = run.extended else { return Vec::new() };
    let put_off = Stop { published_end: ends_at, restored: ends_at, ..*stop };
    dates::followed(&put_off, &run.tellings, at, run.schedule.agency_back)
}

/// What the clients were told, and what the journal says that somebody was told.
fn tellings(run: &Run, journal: &Recount) -> Vec<Telling> {
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
fn plot_was_played(run: &Run, journal: &Recount) -> Vec<Broken> {
    let doubted = journal.accepted.values().any(|kept| kept.doubted);
    let ticketed = journal.accepted.values().any(|kept| kept.ticket.is_some());
    [
        (run.kills.len() >= 2, "the daemon was not killed twice"),
        (doubted, "no transaction was ever in doubt"),
        (ticketed, "no settlement became a ticket"),
        (run.registered.len() == run.schedule.registrations.len(), "a registered case is missing"),
        (journal.taken_back > 0, "no burst of refusals closed the agency's gate again"),
        (run.unanswered == 0, "a post stayed without an answer"),
        (
            run.extended.is_some() == put_off_to(run.schedule.agency_back).is_some(),
            "a late agency was not put off",
        ),
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
    fn the_scenario_is_named_after_the_restart() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(scenario(AGENCY_BACK), "on_time");
        assert_eq!(scenario(at("2022-08-16T10:00:00+08:00")), "slipped");
        assert_eq!(scenario(at("2022-08-14T20:00:00+08:00")), "early");
    }
}
