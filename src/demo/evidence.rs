//! Gathers what the proofs compare: the clients' answers as counts, the journal by a scan of its
//! files, the cores by their logs. Reads only; the daemon has stopped before.

use super::answers::Told;
use super::proof::Broken;
use super::proof::books::{Column, Counter, Ledger};
use super::proof::calls::{Closure, CoreCall};
use super::proof::journal::Recount;
use super::proof::kept::{Receipt, Refusal};
use super::run::{Act, Run};
use super::schedule::Post;
use crate::admin::types::LedgerOut;
use crate::domain::cell::{Cell, Selector};
use crate::domain::gate::HealthPolicy;
use crate::domain::ids::{Seq, TransactionId, UpstreamName};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::engine::ports::JournalReader;
use crate::journal;
use anyhow::{Context, anyhow};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

/// What the clients hold, counted.
#[must_use]
pub fn clients(run: &Run) -> (Counter, Vec<Receipt>, Vec<Refusal>) {
    let mut counter = Counter::default();
    let mut receipts: BTreeMap<(usize, &str), Receipt> = BTreeMap::new();
    let mut tickets = std::collections::BTreeSet::new();
    let mut refusals = Vec::new();
    for answered in &run.answers {
        counter.submitted += 1;
        let post = &run.posts[answered.post as usize];
        let institution = run.city.submitters[post.submitter].institution.code.clone();
        match &answered.told {
            Told::Accepted { receipt, outcome } => {
                if outcome.as_deref() == Some("ticketed") {
                    tickets.insert(receipt.id);
                }
                let held = Receipt {
                    id: receipt.id,
                    institution,
                    fingerprint: receipt.fingerprint,
                    amount: amount_of(post),
                };
                // The same key twice is a repeat, also where the first answer was cut off.
                let first = receipts.insert((post.submitter, &post.key), held).is_none();
                counter.accepted += u64::from(first);
                counter.duplicates += u64::from(!first);
                if first {
                    counter.accepted_fen += i128::from(amount_of(post).fen());
                }
            }
            Told::TurnedAway { number, .. } => {
                counter.turned_away += 1;
                refusals.push(Refusal { number: *number, institution });
            }
            Told::Invalid { .. } => counter.invalid += 1,
        }
    }
    counter.tickets = u64::try_from(tickets.len()).unwrap_or(u64::MAX);
    (counter, receipts.into_values().collect(), refusals)
}

fn amount_of(post: &Post) -> Money {
    post.amount.unwrap_or(Money::ZERO)
}

/// Posts that were sent more than once because a connection was cut.
#[must_use]
pub fn cut_off(run: &Run) -> u64 {
    run.answers.iter().map(|answered| u64::from(answered.cut_off)).sum()
}

/// The journal in `folder`, recounted record by record from a copy, so that looking changes
/// nothing; and what a reading of the very bytes finds wrong with it.
///
/// # Errors
/// When it cannot be copied or read.
pub fn journal(
    folder: &Path,
    copy: &Path,
    now: Timestamp,
) -> anyhow::Result<(Recount, Vec<Broken>)> {
    let verified = journal::verify::verify(folder, false)
        .with_context(|| format!("the journal in {} cannot be read", folder.display()))?;
    let damaged = verified.damage().map(|damage| {
        let what = format!("at offset {}: {}", damage.offset, damage.message());
        Broken::new("P1", &damage.file, what)
    });
    let broken: Vec<Broken> = damaged.collect();
    copy_files(folder, copy).with_context(|| format!("{} cannot be copied", folder.display()))?;
    let mut recount = Recount::default();
    // Where something is damaged, the intact rest is recounted.
    let read = read_copy(copy, now, !broken.is_empty(), &mut recount);
    // The copy is only ours; what stays behind goes with the demo's folder.
    drop(std::fs::remove_dir_all(copy));
    read?;
    Ok((recount, broken))
}

fn read_copy(
    copy: &Path,
    now: Timestamp,
    quarantine: bool,
    recount: &mut Recount,
) -> anyhow::Result<()> {
    let options = journal::Options { quarantine, ..journal::Options::new(now, true) };
    let opened = journal::open(copy, &options).context("the journal cannot be opened")?;
    scan(&*opened.reader, recount)
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn scan(reader: &dyn JournalReader, recount: &mut Recount) -> anyhow::Result<()> {
    reader.scan(Seq(1), &mut |seq, change| {
        recount.read(seq, change);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

/// One line of a core's log, as far as the proofs need it.
#[derive(Debug, Clone, Deserialize)]
struct Line {
    instant_ms: i64,
    upstream: UpstreamName,
    kind: String,
    transaction: Option<TransactionId>,
    business: Option<String>,
    operation: Option<String>,
    status: Option<u16>,
}

/// What the logs of all cores say.
#[derive(Debug, Default)]
pub struct Logs {
    /// Effect-bearing calls, core by core, in the order in which each saw them.
    pub calls: Vec<CoreCall>,
    /// For each core when its probes were answered, and whether well.
    pub probes: BTreeMap<UpstreamName, Vec<(Timestamp, bool)>>,
    /// Calls that the journal has as something else.
    pub contradictions: Vec<Broken>,
}

/// Reads the cores' logs. The cell of a call is completed from the journal, which must agree
/// with what the log itself says of it.
///
/// # Errors
/// When a log cannot be read.
pub fn logs(run: &Run, journal: &Recount) -> anyhow::Result<Logs> {
    let mut logs = Logs::default();
    for core in &run.cores {
        let file = File::open(&core.log)
            .with_context(|| format!("the log {} cannot be read", core.log.display()))?;
        for line in BufReader::new(file).lines() {
            let line: Line = serde_json::from_str(&line?)
                .with_context(|| format!("the log {} has another shape", core.log.display()))?;
            take(&mut logs, line, journal)?;
        }
    }
    Ok(logs)
}

fn take(logs: &mut Logs, line: Line, journal: &Recount) -> anyhow::Result<()> {
    let at = Timestamp::from_millis(line.instant_ms);
    match line.kind.as_str() {
        "probe" => {
            let good = line.status == Some(200);
            logs.probes.entry(line.upstream).or_default().push((at, good));
        }
        "question" => {}
        kind => {
            let id = line.transaction.context("a call in a core's log names no transaction")?;
            let (cell, agrees) = cell_of(&line, id, journal)?;
            if !agrees {
                let (business, operation) = (line.business, line.operation);
                let what = format!(
                    "reached the core as {}.{}, which the journal does not have under this number",
                    business.unwrap_or_default(),
                    operation.unwrap_or_default()
                );
                logs.contradictions.push(Broken::new("P1", id, what));
            }
            logs.calls.push(CoreCall { at, id, cell, applied: kind == "effect" });
        }
    }
    Ok(())
}

/// The cell of a call, and whether the journal has it like that.
fn cell_of(line: &Line, id: TransactionId, journal: &Recount) -> anyhow::Result<(Cell, bool)> {
    let business = line.business.as_deref().unwrap_or_default();
    let operation = line.operation.as_deref().unwrap_or_default();
    let kept = journal.kept(id).filter(|kept| {
        kept.cell.upstream == line.upstream
            && kept.cell.business.as_str() == business
            && kept.cell.operation.as_str() == operation
    });
    Ok(match kept {
        Some(kept) => (kept.cell.clone(), true),
        // What the journal lost keeps what its call said about it; nobody else knows more.
        None => (
            Cell {
                upstream: line.upstream.clone(),
                business: business.parse()?,
                operation: operation.parse().map_err(|e| anyhow!("{e}"))?,
                class: crate::domain::cell::Class::Hospital,
                channel: crate::domain::cell::Channel::System,
                district: "unknown".parse()?,
                labels: Vec::new(),
                attributes: BTreeMap::new(),
            },
            false,
        ),
    })
}

/// When `upstream` was let back: by the signed act that the driver gave, else by as many good
/// probes in a row as `policy` needs, all of them as far apart as it says, after the published
/// end and by one daemon: what a daemon has counted when it is killed is lost.
#[must_use]
pub fn restored_at(
    upstream: &UpstreamName,
    published_end: Timestamp,
    policy: &HealthPolicy,
    (acts, kills): (&[Act], &[Timestamp]),
    logs: &Logs,
) -> Option<Timestamp> {
    let signed = acts
        .iter()
        .filter(|act| !act.is_release && act.cells.upstream.contains(upstream))
        .map(|act| act.at)
        .min();
    let (mut good_in_a_row, mut counted, mut kills_before) = (0, None::<Timestamp>, 0);
    let mut proved = None;
    let probes = logs.probes.get(upstream).map_or(&[][..], Vec::as_slice);
    for &(at, good) in probes.iter().filter(|(at, _)| published_end <= *at) {
        let kills_by_now = kills.iter().filter(|killed| **killed <= at).count();
        if std::mem::replace(&mut kills_before, kills_by_now) != kills_by_now {
            (good_in_a_row, counted) = (0, None);
        }
        if !good {
            (good_in_a_row, counted) = (0, None);
        } else if counted.is_none_or(|last| last.after(policy.apart()) <= at) {
            (good_in_a_row, counted) = (good_in_a_row + 1, Some(at));
        }
        if good_in_a_row >= policy.good_needed {
            proved = Some(at);
            break;
        }
    }
    match (signed, proved) {
        (Some(signed), Some(proved)) => Some(signed.min(proved)),
        (one, other) => one.or(other),
    }
}

/// The stretches in which the notice and the operators' acts forbid every call.
#[must_use]
pub fn closures(
    window: &Window,
    restored: &BTreeMap<UpstreamName, Timestamp>,
    acts: &[Act],
) -> Vec<Closure> {
    let mut closures = Vec::new();
    for row in &window.policy {
        let Some(disposition) = row.disposition.filter(|d| !d.passes()) else { continue };
        let narrower =
            |other: &&crate::domain::policy::Row| other.cells.narrowness() > row.cells.narrowness();
        let restores = restored.iter().map(|(upstream, &at)| {
            let cells = Selector { upstream: vec![upstream.clone()], ..Selector::default() };
            (cells, at)
        });
        let ends = if disposition.needs_release() {
            let releases = acts.iter().filter(|act| act.is_release);
            let both = releases.flat_map(|release| {
                restored.iter().map(|(upstream, &back)| {
                    let upstream = vec![upstream.clone()];
                    let cells = Selector { upstream, ..release.cells.clone() };
                    (cells, release.at.max(back))
                })
            });
            both.collect()
        } else {
            restores.collect()
        };
        closures.push(Closure {
            cells: row.cells.clone(),
            except: window.policy.iter().filter(narrower).map(|r| r.cells.clone()).collect(),
            from: row.starts_at.unwrap_or(window.published.start),
            ends,
            clause: row.clause.clone(),
        });
    }
    closures
}

/// The ordering key of every transaction, by our own reading: institution, visit else person,
/// order group. `None` for what took another's place.
#[must_use]
pub fn ordering(run: &Run, journal: &Recount) -> BTreeMap<TransactionId, Option<String>> {
    let mut keys = BTreeMap::new();
    for answered in &run.answers {
        let Told::Accepted { receipt, .. } = &answered.told else { continue };
        let post = &run.posts[answered.post as usize];
        let (business, operation) = post.kind.line();
        let line = run
            .config
            .catalogue
            .lines
            .iter()
            .find(|line| line.business.as_str() == business && line.operation == operation);
        let group = match line.map(|line| line.order_group.as_str()) {
            None | Some("") => format!("{business}.{operation}"),
            Some(group) => group.to_owned(),
        };
        let subject = post.visit.as_deref().unwrap_or(&run.city.people[post.person].resident);
        let takes_a_place = journal.kept(receipt.id).is_some_and(|kept| kept.replaces.is_some());
        let key = (!takes_a_place).then(|| format!("{}|{subject}|{group}", post.submitter));
        keys.entry(receipt.id).or_insert(key);
    }
    keys
}

/// The daemon's books, as its ledger told them.
///
/// # Errors
/// When an amount is no amount.
pub fn ledger(told: &LedgerOut) -> anyhow::Result<Ledger> {
    let mut states = Column::new();
    let columns = State::ALL.iter().map(|s| s.as_str()).chain(["accepted"]);
    for name in columns {
        let items = told.items.get(name).copied().unwrap_or(0);
        states.insert(name, (i128::from(items), fen(told.amount.get(name))?));
    }
    let mut tickets = Column::new();
    for state in TicketState::ALL {
        let name = state.as_str();
        let items = told.tickets.get(name).copied().unwrap_or(0);
        tickets.insert(name, (i128::from(items), fen(told.tickets_amount.get(name))?));
    }
    Ok(Ledger { states, tickets })
}

/// Sums may exceed one amount, so they are read as plain decimals.
fn fen(text: Option<&String>) -> anyhow::Result<i128> {
    let Some(text) = text else { return Ok(0) };
    let (whole, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = format!("{whole}{cents}");
    digits.parse().with_context(|| format!("the ledger has the amount {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_part_is_back_by_its_probes_after_the_end_or_by_a_signature_before() {
        let agency: UpstreamName = "agency".parse().unwrap();
        let mut logs = Logs::default();
        let probes = [(80, true), (90, true), (100, true), (110, false)].into_iter().chain([
            (120, true),
            (130, true),
            (140, true),
        ]);
        let probes = probes.map(|(ms, good)| (at(ms), good)).collect();
        logs.probes.insert(agency.clone(), probes);
        let by = |good_needed, acts: &[Act], kills: &[Timestamp]| {
            let policy = every(10, good_needed);
            restored_at(&agency, at(100), &policy, (acts, kills), &logs)
        };
        assert_eq!(by(3, &[], &[]), Some(at(140)));
        assert_eq!(by(2, &[], &[at(125)]), Some(at(140)), "the killed daemon had counted one");
        let cells = Selector { upstream: vec![agency.clone()], ..Selector::default() };
        let signed = Act { cells, at: at(50), is_release: false };
        assert_eq!(by(3, &[signed], &[]), Some(at(50)));
        assert_eq!(by(4, &[], &[]), None);
    }

    #[test]
    fn good_probes_at_one_moment_are_one_proof() {
        let agency: UpstreamName = "agency".parse().unwrap();
        let mut logs = Logs::default();
        let probes = [100, 108, 109, 118, 119].map(|ms| (at(ms), true));
        logs.probes.insert(agency.clone(), probes.to_vec());
        let by = |needed| restored_at(&agency, at(100), &every(10, needed), (&[], &[]), &logs);
        assert_eq!(
            [by(1), by(2), by(3), by(4)],
            [Some(at(100)), Some(at(109)), Some(at(118)), None]
        );
    }

    fn every(interval_ms: u64, good_needed: u32) -> HealthPolicy {
        HealthPolicy {
            probe_interval: Duration::from_millis(interval_ms),
            good_needed,
            bad_needed: 3,
            ramp: Duration::ZERO,
            ramp_from: 1,
            steady: None,
            burst: 1,
        }
    }

    #[test]
    fn sums_of_money_are_read_to_the_fen() {
        assert_eq!(fen(Some(&"1234.05".to_owned())).unwrap(), 123_405);
        assert_eq!(fen(None).unwrap(), 0);
        assert!(fen(Some(&"much".to_owned())).is_err());
    }
}
