//! Looking at transactions: one with its history, or a page of them.
//!
//! What is not final is asked of the engine; what is final is looked up in the listings and told
//! from the journal. Listings may run behind or be away, then the answer is 503: never a guess.

use super::answer::{self, CoreAnswer};
use super::receipt::Receipt;
use super::{Caller, Page, Query, Shared};
use crate::domain::cell::{Operation, words};
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, InstitutionCode, Seq, TransactionId};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Timestamp, Zone};
use crate::engine::change::{Accepted, Change, ResolvedBy, Sealed, Settlement};
use crate::engine::ports::{IndexUnavailable, Indexed, JournalReader, ReadError};
use crate::engine::view::TransactionView;
use crate::web::problem::{self, Code, Problem};
use axum::extract::{Path, Request, State as Taken};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::ops::ControlFlow;
use std::sync::Arc;

words!(
    /// What happened to a transaction.
    Happened, "event", {
        /// It was accepted.
        Accepted = "accepted",
        /// An attempt began.
        AttemptStarted = "attempt_started",
        /// The core applied it.
        Applied = "applied",
        /// The core refused it.
        Refused = "refused",
        /// An attempt surely had no effect.
        Transient = "transient",
        /// An attempt may have had its effect.
        InDoubt = "in_doubt",
        /// It became a ticket.
        Ticketed = "ticketed",
        /// Its ticket was closed.
        TicketClosed = "ticket_closed",
        /// It was taken back.
        Withdrawn = "withdrawn",
        /// It was given up after sure failures.
        DeadLettered = "dead_lettered",
        /// It was put back.
        Redriven = "redriven",
        /// It needs its submitter.
        ActionRequired = "action_required",
        /// Another took its place.
        Superseded = "superseded",
        /// Its result was told to the person.
        ResultTold = "result_told",
    }
);

/// One thing that happened.
#[derive(Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Event {
    /// When.
    at: String,
    /// What.
    #[schema(value_type = String)]
    event: Happened,
    /// The attempt, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Why, or the core's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A transaction with all that is known of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Detail<'a> {
    #[schema(value_type = String)]
    id: TransactionId,
    /// Where it stands.
    #[schema(value_type = String)]
    state: State,
    /// Whether that can still change.
    #[serde(rename = "final")]
    is_final: bool,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Attempts so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// What its gate says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    gate: Option<GateState>,
    /// The transaction of the same key that it waits behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    behind: Option<TransactionId>,
    /// For what was pre-accepted: whether the result has been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_told: Option<bool>,
    /// The core's own word for the business status.
    #[serde(skip_serializing_if = "Option::is_none")]
    business_status: Option<String>,
    /// The core's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    answer: Option<CoreAnswer<'a>>,
    /// What happened to it, in order.
    history: Vec<Event>,
    /// Whether that is everything. A history that spans too much of the journal is cut.
    history_complete: bool,
    /// The receipt.
    receipt: Receipt<'a>,
}

/// What the journal says of one transaction.
struct Told {
    record: Arc<Accepted>,
    history: Vec<Event>,
    complete: bool,
    answer: Option<Sealed>,
    business_status: Option<String>,
}

/// Shows one transaction.
#[utoipa::path(
    get,
    path = "/v1/transactions/{id}",
    operation_id = "showTransaction",
    params(("id" = String, Path, description = "The transaction or its ticket")),
    responses(
        (status = 200, description = "Where it stands", body = Detail<'static>),
        (status = 404, description = "Not there, or not yours", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn one(
    Taken(state): Taken<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let seq = super::own_partition(&state, &id)?;
    let look = move |machine: &crate::engine::machine::Machine, now: crate::domain::time::Now| {
        machine.transaction(seq, now.wall)
    };
    let live = state.engine.read(look).await.ok_or_else(answer::unavailable)?;
    if live.as_ref().is_some_and(|view| view.institution != institution) {
        return Err(Problem::not_found("transaction"));
    }
    let shared = Arc::clone(&state);
    let is_live = live.is_some();
    let (told, ended) = blocking(move || read(&shared, &institution, seq, is_live)).await??;
    let opened = match &told.answer {
        Some(sealed) => {
            let opened = state.vault.open_answer(&told.record.institution, sealed);
            Some(opened.map_err(|error| super::check::sealing(&error))?)
        }
        None => None,
    };
    let (zone, id) = (state.zone, |seq| TransactionId::new(state.partition, seq));
    let standing = match (&live, ended) {
        (Some(view), _) => view.state,
        (None, Some(ended)) => ended.state,
        // It ended, and the listings have not come to it yet: the journal may tell.
        (None, None) => told.final_state().ok_or_else(away)?,
    };
    let detail = Detail {
        id: id(seq),
        state: standing,
        is_final: standing.is_final(),
        ended_at: ended.filter(|_| live.is_none()).map(|ended| ended.at.rfc3339(zone)),
        attempts: live.as_ref().map(|view| view.attempts),
        gate: live.as_ref().map(|view| view.gate),
        behind: live.as_ref().and_then(|view| view.behind).map(id),
        result_told: live.as_ref().and_then(|view| view.result_told),
        business_status: told.business_status,
        answer: opened.as_deref().and_then(CoreAnswer::of),
        history: told.history,
        history_complete: told.complete,
        receipt: Receipt::of(id(seq), &told.record, zone),
    };
    answer::json_response(StatusCode::OK, &detail)
}

fn away() -> Problem {
    Problem::new(Code::IndexUnavailable, IndexUnavailable.to_string()).retry_after(2)
}

/// Reads what the journal and the listings say of `seq`. Blocks.
fn read(
    state: &Shared,
    institution: &InstitutionCode,
    seq: Seq,
    is_live: bool,
) -> Result<(Told, Option<Indexed>), Problem> {
    let unreadable = |error| match error {
        ReadError::Missing(_) => Problem::not_found("transaction"),
        ReadError::Damaged { .. } | ReadError::Io(_) => answer::unreadable(&error),
    };
    let Change::Accepted(record) = state.journal.read(seq).map_err(unreadable)? else {
        return Err(Problem::not_found("transaction"));
    };
    if record.institution != *institution {
        return Err(Problem::not_found("transaction"));
    }
    let ended = match state.listing.outcome(seq) {
        Ok(ended) => ended,
        Err(IndexUnavailable) if is_live => None,
        Err(IndexUnavailable) => return Err(away()),
    };
    let last = ended.map_or_else(|| state.journal.last(), |ended| ended.last);
    let bound = state.limits.history_records_max;
    let told = history(&*state.journal, record, seq, last, bound, state.zone);
    Ok((told.map_err(unreadable)?, ended))
}

/// What happened to `seq` until `last`, reading at most `bound` records of it and the last one.
fn history(
    journal: &dyn JournalReader,
    record: Arc<Accepted>,
    seq: Seq,
    last: Seq,
    bound: u64,
    zone: Zone,
) -> Result<Told, ReadError> {
    let end = Seq(last.0.min(seq.0.saturating_add(bound)));
    let complete = end == last;
    let at = record.at.rfc3339(zone);
    let first = Event { at, event: Happened::Accepted, attempt: None, reason: None };
    let mut told =
        Told { record, history: vec![first], complete, answer: None, business_status: None };
    if end > seq {
        journal.scan(seq.next(), &mut |place, change| {
            if place <= end {
                told.note(seq, change, zone);
            }
            if place < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    if !complete {
        told.note(seq, journal.read(last)?, zone);
    }
    Ok(told)
}

impl Told {
    fn push(&mut self, at: Timestamp, zone: Zone, event: Happened, reason: Option<String>) {
        self.history.push(Event { at: at.rfc3339(zone), event, attempt: None, reason });
    }

    fn note(&mut self, seq: Seq, change: Change, zone: Zone) {
        match change {
            Change::AttemptStarted { transaction, attempt, at } if transaction == seq => {
                self.push(at, zone, Happened::AttemptStarted, None);
                self.number(attempt.0);
            }
            Change::Settled { transaction, attempt, settlement, at } if transaction == seq => {
                self.settled(settlement, at, zone);
                self.number(attempt.0);
            }
            Change::Resolved { transaction, settlement, by, at, .. } if transaction == seq => {
                self.settled(settlement, at, zone);
                if by == ResolvedBy::Person
                    && let Some(event) = self.history.last_mut()
                {
                    event.reason.get_or_insert_with(|| "by_person".to_owned());
                }
            }
            Change::Ticketed { transaction, at } if transaction == seq => {
                self.push(at, zone, Happened::Ticketed, None);
            }
            Change::TicketClosed { transaction, how, at, .. } if transaction == seq => {
                self.push(at, zone, Happened::TicketClosed, Some(how.to_string()));
            }
            Change::Withdrawn { transaction, at, .. } if transaction == seq => {
                self.push(at, zone, Happened::Withdrawn, None);
            }
            Change::DeadLettered { transaction, reason, at } if transaction == seq => {
                self.push(at, zone, Happened::DeadLettered, Some(reason.to_string()));
            }
            Change::Redriven { transaction, at, .. } if transaction == seq => {
                self.push(at, zone, Happened::Redriven, None);
            }
            Change::ActionRequired { transaction, why, at } if transaction == seq => {
                self.push(at, zone, Happened::ActionRequired, Some(why));
            }
            Change::Superseded { transaction, at, .. } if transaction == seq => {
                self.push(at, zone, Happened::Superseded, None);
            }
            Change::ResultTold { transaction, how, at, .. } if transaction == seq => {
                self.push(at, zone, Happened::ResultTold, Some(how));
            }
            other => debug_assert!(!speaks_of(&other, seq), "a change of {seq} was not told"),
        }
    }

    /// Where it ended, as far as a complete history tells.
    fn final_state(&self) -> Option<State> {
        let ends = |event: &Event| match event.event {
            Happened::Applied => Some(State::Applied),
            Happened::Refused => Some(State::Refused),
            Happened::Withdrawn => Some(State::Withdrawn),
            Happened::Superseded => Some(State::Superseded),
            Happened::TicketClosed => {
                let resettled = event.reason.as_deref() == Some(TicketState::Resettled.as_str());
                Some(if resettled { State::Superseded } else { State::Withdrawn })
            }
            Happened::Accepted
            | Happened::AttemptStarted
            | Happened::Transient
            | Happened::InDoubt
            | Happened::Ticketed
            | Happened::DeadLettered
            | Happened::Redriven
            | Happened::ActionRequired
            | Happened::ResultTold => None,
        };
        self.history.iter().rev().find_map(ends).filter(|_| self.complete)
    }

    fn number(&mut self, attempt: u32) {
        if let Some(event) = self.history.last_mut() {
            event.attempt = Some(attempt);
        }
    }

    fn settled(&mut self, settlement: Settlement, at: Timestamp, zone: Zone) {
        match settlement {
            Settlement::Applied { answer, business_status } => {
                self.push(at, zone, Happened::Applied, None);
                (self.answer, self.business_status) = (answer, business_status);
            }
            Settlement::Refused { code, answer, provisional } => {
                let code = if provisional { format!("{code} (provisional)") } else { code };
                self.push(at, zone, Happened::Refused, Some(code));
                self.answer = answer;
            }
            Settlement::Transient { reason, .. } => {
                self.push(at, zone, Happened::Transient, Some(reason.to_string()));
            }
            Settlement::InDoubt { reason, .. } => {
                self.push(at, zone, Happened::InDoubt, Some(reason.to_string()));
            }
        }
    }
}

/// Whether `change` is one of `seq` that a history should tell.
fn speaks_of(change: &Change, seq: Seq) -> bool {
    match change {
        Change::AttemptStarted { transaction, .. }
        | Change::Settled { transaction, .. }
        | Change::Resolved { transaction, .. }
        | Change::Ticketed { transaction, .. }
        | Change::TicketClosed { transaction, .. }
        | Change::Withdrawn { transaction, .. }
        | Change::DeadLettered { transaction, .. }
        | Change::Redriven { transaction, .. }
        | Change::ActionRequired { transaction, .. }
        | Change::Superseded { transaction, .. }
        | Change::ResultTold { transaction, .. } => *transaction == seq,
        Change::Started { .. }
        | Change::Accepted(_)
        | Change::TurnedAway(_)
        | Change::StillInDoubt { .. }
        | Change::ProvisionalDecided { .. }
        | Change::WindowSet(_)
        | Change::OverridesSet(_)
        | Change::HealthSet { .. }
        | Change::DeadlineRegistered { .. }
        | Change::DeadlineTold { .. }
        | Change::Totals { .. }
        | Change::Carried(_)
        | Change::DeadlineCarried { .. } => false,
    }
}

/// One transaction of a page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Item {
    #[schema(value_type = String)]
    id: TransactionId,
    #[schema(value_type = String)]
    state: State,
    #[schema(value_type = String)]
    business: Business,
    #[schema(value_type = String)]
    operation: Operation,
    #[schema(value_type = String)]
    amount: Money,
    accepted_at: String,
}

/// A page of transactions, by acceptance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Items {
    items: Vec<Item>,
    /// What `after` is for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<TransactionId>,
}

/// Lists the caller's transactions by acceptance.
#[utoipa::path(
    get,
    path = "/v1/transactions",
    operation_id = "listTransactions",
    params(
        ("state" = Option<String>, Query, description = "Only those in this state"),
        ("after" = Option<String>, Query, description = "Only those accepted after this one"),
        ("limit" = Option<usize>, Query, description = "At most so many, 50 where not said"),
    ),
    responses((status = 200, description = "A page", body = Items)),
    security(("key" = []))
)]
pub(super) async fn list(
    Taken(state): Taken<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let (head, _) = request.into_parts();
    let (mut query, mut problems) = (Query::of(&head)?, Vec::new());
    let wanted =
        query.read("state", "expected a state", &mut problems, |text| text.parse::<State>().ok());
    let page = Page::read(&state, &mut query, &mut problems);
    query.end(problems)?;

    let items = page_of(&state, &institution, wanted, &page).await?;
    answer::json_response(StatusCode::OK, &items)
}

/// Transactions that are asked of the listings, and of the engine in one look, at a time.
const PAGE: usize = 200;
/// How often the listings are asked for one page of ours.
const PAGES_PER_REQUEST: usize = 25;

/// A page of what the listings know, each as it stands now.
///
/// The engine is never asked to search: with millions waiting it would stand still meanwhile.
async fn page_of(
    state: &Shared,
    institution: &InstitutionCode,
    wanted: Option<State>,
    page: &Page,
) -> Result<Items, Problem> {
    let id = |seq| TransactionId::new(state.partition, seq);
    let (mut items, mut from) = (Vec::new(), page.after);
    for _ in 0..PAGES_PER_REQUEST {
        let (shared, code) = (Arc::clone(state), institution.clone());
        let listed = blocking(move || shared.listing.of_institution(&code, from, PAGE)).await?;
        let listed = listed.map_err(|IndexUnavailable| away())?;
        let (is_last, seqs) = (listed.len() < PAGE, listed.clone());
        let live = state.engine.read(move |machine, now| {
            seqs.iter().map(|&seq| machine.transaction(seq, now.wall)).collect::<Vec<_>>()
        });
        let live = live.await.ok_or_else(answer::unavailable)?;
        let shared = Arc::clone(state);
        let rows = blocking(move || rows(&shared, listed, live, wanted)).await??;
        for (seq, row) in rows {
            if items.len() == page.limit {
                return Ok(Items { items, next: Some(id(from)) });
            }
            match row {
                Row::Shown(item) => items.push(item),
                Row::FilteredOut => {}
                // It has just ended: the page ends before it, the next one will have it.
                Row::NotListedYet if items.is_empty() => return Err(away()),
                Row::NotListedYet => return Ok(Items { items, next: Some(id(from)) }),
            }
            from = seq;
        }
        if is_last {
            return Ok(Items { items, next: None });
        }
    }
    Ok(Items { items, next: Some(id(from)) })
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_| Problem::new(Code::Internal, "the journal was not read"))
}

enum Row {
    Shown(Item),
    FilteredOut,
    NotListedYet,
}

/// Each of `listed` as it stands. Blocks.
fn rows(
    state: &Shared,
    listed: Vec<Seq>,
    live: Vec<Option<TransactionView>>,
    wanted: Option<State>,
) -> Result<Vec<(Seq, Row)>, Problem> {
    let row = |(seq, live): (Seq, Option<TransactionView>)| {
        let row = match live {
            Some(view) if wanted.is_some_and(|wanted| wanted != view.state) => Row::FilteredOut,
            Some(view) => {
                let id = TransactionId::new(state.partition, seq);
                Row::Shown(live_item(&view, id, state.zone))
            }
            None => final_row(state, seq, wanted)?,
        };
        Ok((seq, row))
    };
    listed.into_iter().zip(live).map(row).collect()
}

fn live_item(view: &TransactionView, id: TransactionId, zone: Zone) -> Item {
    Item {
        id,
        state: view.state,
        business: view.cell.business.clone(),
        operation: view.cell.operation,
        amount: view.amount,
        accepted_at: view.at.rfc3339(zone),
    }
}

fn final_row(state: &Shared, seq: Seq, wanted: Option<State>) -> Result<Row, Problem> {
    let ended = state.listing.outcome(seq).map_err(|IndexUnavailable| away())?;
    let Some(ended) = ended else { return Ok(Row::NotListedYet) };
    if wanted.is_some_and(|wanted| wanted != ended.state) {
        return Ok(Row::FilteredOut);
    }
    let record = match state.journal.read(seq) {
        Ok(Change::Accepted(record)) => record,
        // It has left the journal since.
        Ok(_) | Err(ReadError::Missing(_)) => return Ok(Row::FilteredOut),
        Err(error) => return Err(answer::unreadable(&error)),
    };
    Ok(Row::Shown(Item {
        id: TransactionId::new(state.partition, seq),
        state: ended.state,
        business: record.cell.business.clone(),
        operation: record.cell.operation,
        amount: record.amount,
        accepted_at: record.at.rfc3339(state.zone),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cell::{Cell, Channel, Class};
    use crate::domain::ids::{
        AttemptNo, Fingerprint, InsuredHash, KeyHash, OrderingKey, UpstreamName,
    };
    use crate::domain::outcome::{DoubtReason, TransientReason};
    use crate::domain::policy::{Advice, Disposition};
    use crate::engine::change;

    struct Listed(Vec<Change>);

    impl JournalReader for Listed {
        fn read(&self, seq: Seq) -> Result<Change, ReadError> {
            let place = usize::try_from(seq.0).unwrap() - 1;
            self.0.get(place).cloned().ok_or(ReadError::Missing(seq))
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

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn accepted() -> Arc<Accepted> {
        Arc::new(Accepted {
            at: at(0),
            institution: "H1".parse().unwrap(),
            cell: Cell {
                upstream: "centre".parse::<UpstreamName>().unwrap(),
                business: "a.b".parse().unwrap(),
                operation: Operation::Apply,
                class: Class::Hospital,
                channel: Channel::System,
                district: "110105".parse().unwrap(),
                labels: Vec::new(),
                attributes: std::collections::BTreeMap::new(),
            },
            ordering_key: OrderingKey(0),
            key_hash: KeyHash(0),
            fingerprint: Fingerprint(0),
            insured: InsuredHash(0),
            amount: Money::ZERO,
            occurred_at: at(0),
            received_from_person_at: None,
            deadline: None,
            replaces: None,
            depends_on: None,
            self_contained: true,
            needs_credential: false,
            ticket_after: None,
            told: change::Told {
                disposition: Disposition::Pass,
                advice: Advice::None,
                row: None,
                resume_at: None,
                alternative: None,
                bring: Vec::new(),
                deadline: None,
                deadline_final: false,
            },
            sealed: Sealed { algorithm: 1, key_id: 1, bytes: bytes::Bytes::new() },
        })
    }

    fn settled(seq: u64, attempt: u32, settlement: Settlement) -> Change {
        let (transaction, attempt) = (Seq(seq), AttemptNo(attempt));
        Change::Settled { transaction, attempt, settlement, at: at(2) }
    }

    fn started(seq: u64, attempt: u32) -> Change {
        let (transaction, attempt) = (Seq(seq), AttemptNo(attempt));
        Change::AttemptStarted { transaction, attempt, at: at(1) }
    }

    fn life() -> Listed {
        let applied = || Settlement::Applied { answer: None, business_status: Some("ok".into()) };
        let busy = Settlement::Transient { reason: TransientReason::Busy, not_before: at(3) };
        let doubt = Settlement::InDoubt { reason: DoubtReason::Cut, ask_at: at(4) };
        Listed(vec![
            Change::Accepted(accepted()),
            Change::Accepted(accepted()),
            started(1, 1),
            settled(1, 1, busy),
            settled(2, 1, applied()),
            started(1, 2),
            settled(1, 2, doubt),
            Change::Resolved {
                transaction: Seq(1),
                settlement: applied(),
                by: ResolvedBy::Person,
                person: Some("Li Wei".to_owned()),
                reason: None,
                at: at(9),
            },
        ])
    }

    fn told(bound: u64) -> Told {
        let journal = life();
        history(&journal, accepted(), Seq(1), journal.last(), bound, chrono_tz::UTC).unwrap()
    }

    #[test]
    fn a_history_tells_what_happened_to_its_own_transaction_in_order() {
        let told = told(100);
        let events: Vec<(&str, Option<u32>, Option<&str>)> = told
            .history
            .iter()
            .map(|e| (e.event.as_str(), e.attempt, e.reason.as_deref()))
            .collect();
        let expected = [
            ("accepted", None, None),
            ("attempt_started", Some(1), None),
            ("transient", Some(1), Some("busy")),
            ("attempt_started", Some(2), None),
            ("in_doubt", Some(2), Some("cut")),
            ("applied", None, Some("by_person")),
        ];
        assert_eq!(events, expected);
        assert!(told.complete);
        assert_eq!(told.business_status.as_deref(), Some("ok"));
        assert_eq!(told.final_state(), Some(State::Applied));
    }

    #[test]
    fn a_history_over_too_much_of_the_journal_is_cut_but_has_its_end() {
        let told = told(2);
        let events: Vec<&str> = told.history.iter().map(|e| e.event.as_str()).collect();
        assert_eq!(events, ["accepted", "attempt_started", "applied"]);
        assert!(!told.complete);
        assert_eq!(told.final_state(), None, "what was cut proves nothing");
    }
}
