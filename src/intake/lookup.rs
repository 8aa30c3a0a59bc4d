//! Looking at transactions: one with its history, or a page of them.
//!
//! What is not final is asked of the engine; what is final is looked up in the listings and told
//! from the journal. Listings may run behind or be away, then the answer is 503: never a guess.

use super::answer::{self, CoreAnswer};
use super::history::{Event, Told, history};
use super::receipt::Receipt;
use super::{Caller, Page, Query, Shared};
use crate::domain::cell::Operation;
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, InstitutionCode, Seq, TransactionId};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::term::Deadline;
use crate::domain::time::{Now, Zone};
use crate::engine::change::{Accepted, Change, Paper};
use crate::engine::event::Sought;
use crate::engine::machine::Machine;
use crate::engine::ports::{IndexUnavailable, Indexed, ReadError};
use crate::engine::view::TransactionView;
use crate::web::problem::{self, Code, DeadlineMention, Problem};
use axum::extract::{Path, Request, State as Taken};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;

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
    /// The day from which on it counts, where it was applied and does not count at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_on: Option<String>,
    /// The person's deadline as it holds now. How it held at the acceptance stands in the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<DeadlineNow>,
    /// Why that is not known though it carries one: `no_calendar` where the working days of a year
    /// are not.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_unknown: Option<Code>,
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
    /// The paper that is kept at the counter for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<super::openapi::PaperBody>, required = false)]
    paper: Vec<Paper>,
    /// What happened to it, in order.
    history: Vec<Event>,
    /// Whether that is everything. A history that spans too much of the journal is cut.
    history_complete: bool,
    /// The receipt.
    receipt: Receipt<'a>,
}

/// A deadline as it holds, and whether it was met.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct DeadlineNow {
    #[serde(flatten)]
    date: DeadlineMention,
    /// Whether it was in time: by when the person handed it in, or by its acceptance where nobody
    /// said. When it is sent does not matter.
    in_time: bool,
}

/// The deadline that `record` carries, as the engine knows it now, or why it does not.
async fn deadline_now(
    state: &Shared,
    record: &Accepted,
) -> Result<(Option<DeadlineNow>, Option<Code>), Problem> {
    let Some(original) = record.deadline else { return Ok((None, None)) };
    let business = record.cell.business.clone();
    let look =
        move |machine: &Machine, now: Now| machine.deadline(&business, original.into(), now.wall);
    let computed = state.engine.read(look).await.ok_or_else(answer::unavailable)?;
    // Its state is told all the same.
    let Ok(computed) = computed else { return Ok((None, Some(Code::NoCalendar))) };
    let handed_in = Deadline::Moment(record.received_from_person_at.unwrap_or(record.at));
    let in_time = computed.date.is_met_by(handed_in, state.zone);
    Ok((Some(DeadlineNow { date: DeadlineMention::computed(&computed), in_time }), None))
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
    let seq = super::own_place(&state, &id)?;
    let look = move |machine: &Machine, _: Now| {
        let live = machine.transaction(seq);
        let story = match &live {
            Some(_) if machine.is_only_accepted(seq) => Story::Begun,
            Some(_) => Story::GoesOn,
            None => Story::Ended,
        };
        (live, story, machine.untold(seq).is_some())
    };
    let (live, story, untold) = state.engine.read(look).await.ok_or_else(answer::unavailable)?;
    if live.as_ref().is_some_and(|view| view.institution != institution) {
        return Err(Problem::not_found(Sought::Transaction));
    }
    let shared = Arc::clone(&state);
    let (told, ended) = blocking(move || read(&shared, &institution, seq, story)).await??;
    let opened = match &told.answer {
        Some(sealed) => {
            let opened = state.vault.open_answer(&told.record.institution, sealed);
            Some(opened.map_err(|error| super::check::sealing(&error))?)
        }
        None => None,
    };
    let (zone, id) = (state.zone, |seq| state.numbers.transaction(seq));
    let standing = match (&live, ended) {
        (Some(view), _) => view.state,
        (None, Some(ended)) => ended.state,
        // It ended, and the listings have not come to it yet: the journal may tell.
        (None, None) => told.final_state().ok_or_else(away)?,
    };
    let (deadline, deadline_unknown) = deadline_now(&state, &told.record).await?;
    let applied_at = told.applied_at.filter(|_| standing == State::Applied);
    let detail = Detail {
        id: id(seq),
        state: standing,
        is_final: standing.is_final(),
        ended_at: ended.filter(|_| live.is_none()).map(|ended| ended.at.rfc3339(zone)),
        effective_on: applied_at.and_then(|at| answer::effective_on(&state, &told.record, at)),
        deadline,
        deadline_unknown,
        attempts: live.as_ref().map(|view| view.attempts),
        gate: live.as_ref().map(|view| view.gate),
        behind: live.as_ref().and_then(|view| view.behind).map(id),
        result_told: match &live {
            Some(view) => view.result_told,
            None => told.record.is_pre_accepted().then_some(!untold),
        },
        business_status: told.business_status,
        answer: opened.as_deref().and_then(CoreAnswer::of),
        paper: paper(&state, &told.record),
        history: told.history,
        history_complete: told.complete,
        receipt: Receipt::of(id(seq), &told.record, zone),
    };
    answer::json_response(StatusCode::OK, &detail)
}

/// The paper that a record tells of; none where what is sealed in it cannot be opened any more.
fn paper(state: &Shared, record: &Accepted) -> Vec<Paper> {
    match state.vault.open(&record.institution, &record.sealed) {
        Ok(private) => private.paper,
        Err(error) => {
            tracing::warn!(%error, "what is sealed of a transaction cannot be opened");
            Vec::new()
        }
    }
}

fn away() -> Problem {
    Problem::new(Code::IndexUnavailable, IndexUnavailable.to_string()).retry_after(2)
}

/// What the engine knows of the history of a transaction.
#[derive(Clone, Copy)]
enum Story {
    /// It was accepted, and that is all.
    Begun,
    /// It may have gone on, and has not ended.
    GoesOn,
    /// It has ended, if it ever began.
    Ended,
}

/// Reads what the journal and the listings say of `seq`. Blocks.
fn read(
    state: &Shared,
    institution: &InstitutionCode,
    seq: Seq,
    story: Story,
) -> Result<(Told, Option<Indexed>), Problem> {
    let unreadable = |error| answer::unreadable(&error);
    let Change::Accepted(record) = state.journal.read(seq).map_err(unreadable)? else {
        return Err(Problem::not_found(Sought::Transaction));
    };
    if record.institution != *institution {
        return Err(Problem::not_found(Sought::Transaction));
    }
    let ended = match story {
        Story::Begun => None,
        Story::GoesOn => state.listing.outcome(seq).unwrap_or(None),
        Story::Ended => state.listing.outcome(seq).map_err(|IndexUnavailable| away())?,
    };
    let last = match (story, ended) {
        (Story::Begun, _) => seq,
        (Story::GoesOn | Story::Ended, Some(ended)) => ended.last,
        (Story::GoesOn | Story::Ended, None) => state.journal.last(),
    };
    let bound = state.limits.history_records_max;
    let told = history(&*state.journal, record, seq, last, bound, state.zone);
    Ok((told.map_err(unreadable)?, ended))
}

/// One transaction of a page.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Item {
    #[schema(value_type = String)]
    id: TransactionId,
    #[schema(value_type = String)]
    state: State,
    /// From its record, like the rest; none of it is there where that is damaged on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    business: Option<Business>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    operation: Option<Operation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<String>,
}

/// A page of transactions, by acceptance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Items {
    items: Vec<Item>,
    /// What `after` is for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<TransactionId>,
    /// There may be more than is listed: records of the journal are lost, and until they are
    /// restored it is only looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    incomplete: bool,
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
    let id = |seq| state.numbers.transaction(seq);
    let (mut items, mut from, mut incomplete) = (Vec::new(), page.after, false);
    for _ in 0..PAGES_PER_REQUEST {
        let (shared, code) = (Arc::clone(state), institution.clone());
        let listed = blocking(move || shared.listing.of_institution(&code, from, PAGE)).await?;
        let listed = listed.map_err(|IndexUnavailable| away())?;
        let (is_last, seqs) = (listed.len() < PAGE, listed.clone());
        let reading = state.engine.read(move |machine, _| {
            let live = seqs.iter().map(|&seq| machine.transaction(seq)).collect::<Vec<_>>();
            (live, machine.is_quarantined())
        });
        let live;
        (live, incomplete) = reading.await.ok_or_else(answer::unavailable)?;
        let shared = Arc::clone(state);
        let rows = blocking(move || rows(&shared, listed, live, wanted)).await??;
        for (seq, row) in rows {
            if items.len() == page.limit {
                return Ok(Items { items, next: Some(id(from)), incomplete });
            }
            match row {
                Row::Shown(item) => items.push(item),
                Row::FilteredOut => {}
                // It has just ended: the page ends before it, the next one will have it.
                Row::NotListedYet if items.is_empty() => return Err(away()),
                Row::NotListedYet => return Ok(Items { items, next: Some(id(from)), incomplete }),
            }
            from = seq;
        }
        if is_last {
            return Ok(Items { items, next: None, incomplete });
        }
    }
    Ok(Items { items, next: Some(id(from)), incomplete })
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
                let id = state.numbers.transaction(seq);
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
        business: Some(view.cell.business.clone()),
        operation: Some(view.cell.operation),
        amount: Some(view.amount),
        accepted_at: Some(view.at.rfc3339(zone)),
    }
}

fn final_row(state: &Shared, seq: Seq, wanted: Option<State>) -> Result<Row, Problem> {
    let ended = state.listing.outcome(seq).map_err(|IndexUnavailable| away())?;
    let Some(ended) = ended else { return Ok(Row::NotListedYet) };
    if wanted.is_some_and(|wanted| wanted != ended.state) {
        return Ok(Row::FilteredOut);
    }
    let record = match state.journal.read(seq) {
        Ok(Change::Accepted(record)) => Some(record),
        // One that is damaged must not keep the others from being listed.
        Err(ReadError::Damaged { .. }) => None,
        // It has left the journal since.
        Ok(_) | Err(ReadError::Missing(_) | ReadError::Retired(_)) => return Ok(Row::FilteredOut),
        Err(error) => return Err(answer::unreadable(&error)),
    };
    Ok(Row::Shown(Item {
        id: state.numbers.transaction(seq),
        state: ended.state,
        business: record.as_ref().map(|r| r.cell.business.clone()),
        operation: record.as_ref().map(|r| r.cell.operation),
        amount: record.as_ref().map(|r| r.amount),
        accepted_at: record.as_ref().map(|r| r.at.rfc3339(state.zone)),
    }))
}
