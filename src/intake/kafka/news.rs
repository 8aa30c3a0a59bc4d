//! What is news, and how it is put: results of transactions, and windows as they stand.
//!
//! News of a transaction is every state that lasts: the four final ones, and the three that wait
//! for somebody (its submitter, the counter, an operator). A refusal that does not count yet is
//! none until it does. An event holds nothing of a person and not the core's answer: a topic is a
//! disk, and who may read it is decided elsewhere; `GET /v1/transactions/{id}` has both.

use super::outgoing::cloud_event;
use super::place::Place;
use crate::domain::cell::{Channel, Operation};
use crate::domain::ids::{Business, Seq, TransactionId, UpstreamName};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::window::{Phase, Window};
use crate::engine::change::{Accepted, Change, Settlement};
use crate::engine::ports::{JournalReader, ReadError};
use crate::engine::subject::Brought;
use crate::intake::{self, answer, plan};
use crate::kafka::text;
use crate::telemetry::events::kafka as events;
use crate::web::problem::Problem;
use rdkafka::message::OwnedHeaders;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The type of the event that has a result.
const RESULT: &str = "holdover.transaction.result";
/// The type of the event that has a window.
const WINDOW: &str = "holdover.window";
/// Changes that are read in one go, and the most of them that may be news.
const SCAN_MAX: u64 = 8_192;
const NEWS_MAX: usize = 1_024;

/// What a stretch of the journal has of news.
pub(super) struct Batch {
    pub(super) results: Vec<Outcome>,
    /// Windows that were declared or changed.
    pub(super) windows: Vec<Arc<Window>>,
    /// Where to read on once all of it is published.
    pub(super) place: Place,
    /// Whether the journal ends there.
    pub(super) is_all: bool,
}

/// A state that a transaction has come to.
pub(super) struct Outcome {
    transaction: Seq,
    change: Seq,
    state: State,
    at: Timestamp,
    reason: Option<String>,
    business_status: Option<String>,
    pub(super) record: Arc<Accepted>,
}

/// The same before its accept record was read.
struct Came {
    transaction: Seq,
    change: Seq,
    state: State,
    at: Timestamp,
    /// The change that says why, where that is an earlier one.
    said_in: Option<Seq>,
    why: Why,
}

#[derive(Default)]
struct Why {
    reason: Option<String>,
    business_status: Option<String>,
}

/// Whether submitters are told.
fn is_news(state: State) -> bool {
    match state {
        State::Waiting | State::InFlight | State::InDoubt => false,
        State::ActionRequired
        | State::DeadLettered
        | State::Ticketed
        | State::Applied
        | State::Refused
        | State::Withdrawn
        | State::Superseded => true,
    }
}

/// What a change says of why.
fn why(change: &Change) -> Why {
    let (mut reason, mut business_status) = (None, None);
    match change {
        Change::Settled { settlement, .. } | Change::Resolved { settlement, .. } => {
            match settlement {
                Settlement::Applied { business_status: said, .. } => {
                    business_status.clone_from(said);
                }
                Settlement::Refused { code, .. } => reason = Some(code.clone()),
                Settlement::Transient { .. } | Settlement::InDoubt { .. } => {}
            }
        }
        Change::DeadLettered { reason: said, .. } => reason = Some(said.to_string()),
        Change::ActionRequired { why, .. } => reason = Some(why.clone()),
        Change::TicketClosed { how, .. } => reason = Some(how.to_string()),
        _ => {}
    }
    Why { reason, business_status }
}

/// Reads on at `place`. Blocks.
pub(super) fn read(
    journal: &dyn JournalReader,
    mut place: Place,
    wants_results: bool,
) -> Result<Batch, ReadError> {
    let last = journal.last();
    let end = Seq(last.0.min(place.next.0.saturating_add(SCAN_MAX - 1)));
    let (mut seen, mut windows) = (Vec::new(), Vec::new());
    let mut next = place.next;
    if place.next <= end {
        journal.scan(place.next, &mut |seq, change| {
            if seq > end || seen.len() >= NEWS_MAX {
                return ControlFlow::Break(());
            }
            next = seq.next();
            match change {
                Change::WindowSet(window) => windows.push(window),
                change if !wants_results => drop(change),
                change @ Change::ProvisionalDecided { .. } => seen.push((seq, change)),
                change => {
                    if change.brings().is_some() {
                        seen.push((seq, change));
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        // Records at the end that are damaged were passed over.
        if seen.len() < NEWS_MAX {
            next = end.next();
        }
    }
    let mut came = Vec::new();
    for (seq, change) in &seen {
        take(journal, *seq, change, &mut place.provisional, &mut came)?;
    }
    place.next = next;
    let results = with_records(journal, came)?;
    Ok(Batch { results, windows, is_all: place.next > last, place })
}

/// Notes what a change brings.
fn take(
    journal: &dyn JournalReader,
    seq: Seq,
    change: &Change,
    provisional: &mut BTreeMap<Seq, Seq>,
    came: &mut Vec<Came>,
) -> Result<(), ReadError> {
    if let Change::ProvisionalDecided { upstream, confirmed, at } = change {
        for (transaction, refused) in decided(journal, upstream, provisional)? {
            if *confirmed {
                let (said_in, why) = (Some(refused), Why::default());
                let (change, state) = (seq, State::Refused);
                came.push(Came { transaction, change, state, at: *at, said_in, why });
            }
        }
        return Ok(());
    }
    match change.brings() {
        Some((transaction, Brought::RefusedProvisionally)) => {
            provisional.insert(transaction, seq);
        }
        Some((transaction, Brought::To(state, at))) => {
            provisional.remove(&transaction);
            if is_news(state) {
                let why = why(change);
                came.push(Came { transaction, change: seq, state, at, said_in: None, why });
            }
        }
        Some((_, Brought::StillInDoubt)) | None => {}
    }
    Ok(())
}

/// Takes out what `upstream` has refused and has decided about now.
fn decided(
    journal: &dyn JournalReader,
    upstream: &UpstreamName,
    provisional: &mut BTreeMap<Seq, Seq>,
) -> Result<Vec<(Seq, Seq)>, ReadError> {
    let mut out = Vec::new();
    for (&transaction, &refused) in &*provisional {
        match journal.read(transaction) {
            Ok(Change::Accepted(record)) if record.cell.upstream == *upstream => {
                out.push((transaction, refused));
            }
            Err(error @ ReadError::Io(_)) => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    for (transaction, _) in &out {
        provisional.remove(transaction);
    }
    Ok(out)
}

/// Reads the accept record of each. What has none that can be read is left out, and said so.
fn with_records(journal: &dyn JournalReader, came: Vec<Came>) -> Result<Vec<Outcome>, ReadError> {
    let mut wanted: Vec<Seq> = came.iter().map(|one| one.transaction).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut records = BTreeMap::new();
    let mut failed = None;
    journal.read_many(&wanted, &mut |seq, read| match read {
        Ok(Change::Accepted(record)) => {
            records.insert(seq, record);
        }
        Err(error @ ReadError::Io(_)) => failed = Some(error),
        Ok(_) | Err(_) => events::news_unreadable(seq.0),
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let mut out = Vec::with_capacity(came.len());
    for one in came {
        let Some(record) = records.get(&one.transaction) else { continue };
        let Why { reason, business_status } = match one.said_in {
            Some(place) => match journal.read(place) {
                Ok(change) => why(&change),
                Err(error @ ReadError::Io(_)) => return Err(error),
                Err(_) => Why::default(),
            },
            None => one.why,
        };
        out.push(Outcome {
            transaction: one.transaction,
            change: one.change,
            state: one.state,
            at: one.at,
            reason,
            business_status,
            record: record.clone(),
        });
    }
    Ok(out)
}

/// An event, ready to be sent.
pub(super) struct Event {
    kind: &'static str,
    id: String,
    subject: String,
    time: String,
    /// The record's key.
    pub(super) key: String,
    /// The record's value.
    pub(super) body: Vec<u8>,
}

impl Event {
    pub(super) fn headers(&self) -> OwnedHeaders {
        cloud_event(self.kind, &self.id, "application/json")
            .insert(text("ce_subject", &self.subject))
            .insert(text("ce_time", &self.time))
    }
}

/// The value of a result.
#[derive(Serialize)]
struct Body<'a> {
    id: TransactionId,
    /// The same for paper and the telephone.
    number: String,
    state: State,
    #[serde(rename = "final")]
    is_final: bool,
    at: String,
    business: &'a Business,
    operation: Operation,
    channel: Channel,
    amount: Money,
    accepted_at: String,
    fingerprint: String,
    /// The core's code of a refusal, the last failure, what is missing, or how a ticket was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// The core's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    business_status: Option<&'a str>,
}

impl Outcome {
    /// The event. The same one whenever it is made.
    pub(super) fn event(&self, state: &intake::State) -> Result<Event, Problem> {
        let id = state.numbers.transaction(self.transaction);
        let at = self.at.rfc3339(state.zone);
        let body = answer::json(&Body {
            id,
            number: id.spoken(),
            state: self.state,
            is_final: self.state.is_final(),
            at: at.clone(),
            business: &self.record.cell.business,
            operation: self.record.cell.operation,
            channel: self.record.cell.channel,
            amount: self.record.amount,
            accepted_at: self.record.at.rfc3339(state.zone),
            fingerprint: format!("{:016x}", self.record.fingerprint.0),
            reason: self.reason.as_deref(),
            business_status: self.business_status.as_deref(),
        })?;
        Ok(Event {
            kind: RESULT,
            id: format!("{id}.{}", self.change.0),
            subject: id.to_string(),
            time: at,
            key: format!("{:032x}", self.record.ordering_key.0),
            body,
        })
    }
}

/// The windows that are not over.
pub(super) async fn standing_windows(state: &intake::State) -> Result<Vec<Arc<Window>>, Problem> {
    let seen = state.engine.read(|machine, now| machine.windows_and_phases(now.wall));
    let windows = seen.await.ok_or_else(answer::unavailable)?.into_iter();
    Ok(windows.filter(|(_, phase)| !is_over(*phase)).map(|(window, _)| window).collect())
}

fn is_over(phase: Phase) -> bool {
    match phase {
        Phase::Scheduled
        | Phase::Closing
        | Phase::Active
        | Phase::Verifying
        | Phase::Overrun
        | Phase::Replaying => false,
        Phase::Completed | Phase::Cancelled => true,
    }
}

/// The events of versions of windows, each with the phase that it is in now.
pub(super) async fn windows(
    state: &intake::State,
    versions: &[Arc<Window>],
) -> Result<Vec<Event>, Problem> {
    let seen = state.engine.read(|machine, now| machine.windows_and_phases(now.wall));
    let phases: BTreeMap<_, _> = seen
        .await
        .ok_or_else(answer::unavailable)?
        .into_iter()
        .map(|(window, phase)| (window.id.clone(), phase))
        .collect();
    let event = |window: &Arc<Window>| {
        // One that is gone was over.
        let phase = phases.get(&window.id).copied().unwrap_or(Phase::Completed);
        Ok(Event {
            kind: WINDOW,
            id: format!("{}.{}", window.id, window.version),
            subject: window.id.to_string(),
            time: window.changed_at.rfc3339(state.zone),
            key: window.id.to_string(),
            body: answer::json(&plan::planned(window, phase))?,
        })
    };
    versions.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AttemptNo;
    use crate::domain::outcome::TransientReason;

    /// A journal of changes from 1 on.
    struct Listed(Vec<Change>);

    impl JournalReader for Listed {
        fn read(&self, seq: Seq) -> Result<Change, ReadError> {
            let place = usize::try_from(seq.0).unwrap().checked_sub(1);
            let found = place.and_then(|place| self.0.get(place));
            found.cloned().ok_or(ReadError::Missing(seq))
        }
        fn scan(
            &self,
            from: Seq,
            visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
        ) -> Result<(), ReadError> {
            for seq in from.0..=self.last().0 {
                if visit(Seq(seq), self.read(Seq(seq))?).is_break() {
                    break;
                }
            }
            Ok(())
        }
        fn last(&self) -> Seq {
            Seq(self.0.len() as u64)
        }
    }

    const AT: Timestamp = Timestamp::from_millis(1_000);

    fn accepted() -> Change {
        Change::Accepted(Arc::new(Accepted::sample()))
    }

    fn settled(of: u64, settlement: Settlement) -> Change {
        Change::Settled { transaction: Seq(of), attempt: AttemptNo(1), settlement, at: AT }
    }

    fn refused(of: u64, provisional: bool) -> Change {
        settled(of, Settlement::Refused { code: format!("R{of}"), answer: None, provisional })
    }

    fn decided(upstream: &str, confirmed: bool) -> Change {
        Change::ProvisionalDecided { upstream: upstream.parse().unwrap(), confirmed, at: AT }
    }

    /// What is news from `next` on, as `transaction state reason`, and where to read on.
    fn news(journal: &Listed, place: Place) -> (Vec<String>, Place) {
        let batch = read(journal, place, true).unwrap();
        let lines = batch.results.iter().map(|o| {
            format!("{} {} {}", o.transaction.0, o.state, o.reason.as_deref().unwrap_or("-"))
        });
        (lines.collect(), batch.place)
    }

    #[test]
    fn states_that_last_are_news_and_those_that_pass_are_not() {
        let applied = Settlement::Applied { answer: None, business_status: Some("ok".into()) };
        let busy = Settlement::Transient { reason: TransientReason::Busy, not_before: AT };
        let given_up = TransientReason::Busy;
        let journal = Listed(vec![
            accepted(),
            accepted(),
            accepted(),
            settled(1, busy),
            settled(1, applied),
            refused(2, false),
            Change::DeadLettered { transaction: Seq(3), reason: given_up, at: AT },
            Change::Redriven { transaction: Seq(3), by: "p".into(), reason: "r".into(), at: AT },
            Change::ActionRequired { transaction: Seq(3), why: "credential".into(), at: AT },
        ]);
        let (lines, place) = news(&journal, Place::at(Seq(1)));
        assert_eq!(
            lines,
            ["1 applied -", "2 refused R2", "3 dead_lettered busy", "3 action_required credential"]
        );
        assert_eq!(place, Place::at(Seq(10)));
        assert_eq!(news(&journal, place).0, [""; 0]);
        assert_eq!(news(&journal, Place::at(Seq(7))).0.len(), 2, "from the place on");
    }

    #[test]
    fn a_refusal_is_news_once_it_counts_also_when_publishing_began_anew_in_between() {
        let mut journal = Listed(vec![accepted(), accepted(), refused(1, true), refused(2, true)]);
        let (lines, place) = news(&journal, Place::at(Seq(1)));
        assert_eq!(lines, [""; 0]);
        let busy = Settlement::Transient { reason: TransientReason::Busy, not_before: AT };
        journal.0.extend([settled(2, busy), decided("portal", true)]);
        let (lines, place) = news(&journal, place);
        assert_eq!(lines, [""; 0], "another upstream's");
        journal.0.push(decided("agency", true));
        let (lines, place) = news(&journal, place);
        assert_eq!(lines, ["1 refused R1"], "the second had moved on");
        assert_eq!(place.provisional.len(), 0);
    }

    #[test]
    fn refusals_that_are_taken_back_never_were_news() {
        let journal = Listed(vec![accepted(), refused(1, true), decided("agency", false)]);
        let (lines, place) = news(&journal, Place::at(Seq(1)));
        assert_eq!((lines.len(), place.provisional.len()), (0, 0));
    }

    #[test]
    fn a_long_stretch_comes_in_parts_that_leave_nothing_out() {
        let mut changes = vec![accepted()];
        let many = NEWS_MAX + 10;
        changes.extend((0..many).map(|_| refused(1, false)));
        let journal = Listed(changes);
        let first = read(&journal, Place::at(Seq(1)), true).unwrap();
        assert!(!first.is_all);
        let second = read(&journal, first.place, true).unwrap();
        assert!(second.is_all);
        assert_eq!(first.results.len() + second.results.len(), many);
    }
}
