//! Looking: query strings, cursors, and copies of what the engine shows.

use super::State;
use super::refusal::Refusal;
use super::types::{GateOut, Page, TicketOut, TransactionOut, UpstreamOut};
use crate::domain::ids::{Business, InstitutionCode, Seq, TransactionId};
use crate::domain::numbers::Numbers;
use crate::domain::time::Now;
use crate::engine::event::Sought;
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Found, Search};
use crate::engine::view::{GateView, TicketView, TransactionView, Untold, UpstreamView};
use crate::web::problem::Problem;
use axum::Json;
use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::ops::ControlFlow;

/// How many items a page has where the query names no number.
const PAGE_ITEMS: usize = 100;

/// Looks at the state between two steps.
pub(super) async fn at<T: Send + 'static>(
    state: &State,
    look: impl FnOnce(&Machine, Now) -> T + Send + 'static,
) -> Result<T, Refusal> {
    state.engine.read(look).await.ok_or_else(Refusal::unavailable)
}

/// Reads the query string.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Refusal> {
    // What the parser says may quote what was sent.
    Query::try_from_uri(uri).map(|Query(query)| query).map_err(|_| {
        Refusal::field("", "the query string has an unknown or repeated name, or a wrong value")
    })
}

/// The transaction that a path names.
pub(super) fn transaction(state: &State, text: &str) -> Result<Seq, Refusal> {
    text.parse::<TransactionId>()
        .ok()
        .and_then(|id| state.numbers.place(&id))
        .ok_or_else(|| Problem::not_found(Sought::Transaction).into())
}

/// The query of a listing that is cut down by submitter and business.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    institution: Option<InstitutionCode>,
    business: Option<Business>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Of {
    /// What of a page was asked for.
    pub(super) fn wanted(&self, state: &State) -> Result<Wanted, Refusal> {
        Wanted::new(state, self.cursor.as_deref(), self.limit)
    }

    /// Whether something of `institution` and `business` belongs into the listing.
    pub(super) fn fits(&self, institution: &InstitutionCode, business: &Business) -> bool {
        self.institution.as_ref().is_none_or(|code| code == institution)
            && self.business.as_ref().is_none_or(|wanted| wanted == business)
    }
}

/// What of a page was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Only what comes after this.
    pub(super) after: Seq,
    /// At most so many.
    pub(super) limit: usize,
}

impl Wanted {
    /// From the query's `cursor` and `limit`.
    pub(super) fn new(
        state: &State,
        cursor: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Self, Refusal> {
        let after = match cursor {
            None => Seq(0),
            Some(text) => transaction(state, text)
                .map_err(|_| Refusal::field("/cursor", "this is no cursor of this list"))?,
        };
        let limit = limit.unwrap_or(PAGE_ITEMS);
        if !(1..=super::types::PAGE_ITEMS_MAX).contains(&limit) {
            return Err(Refusal::field("/limit", "expected 1 to 500"));
        }
        Ok(Self { after, limit })
    }

    /// The search for it.
    pub(super) fn search(self, among: Among) -> Search {
        Search::new(self.after, self.limit, among)
    }
}

/// The page that `search` finds.
pub(super) async fn page<V: Send + 'static, T>(
    state: &State,
    search: Search,
    look: impl Fn(&Machine, Now, Search) -> ControlFlow<Found<V>, Search> + Send + Sync + 'static,
    show: impl FnMut(V) -> T,
) -> Result<Json<Page<T>>, Refusal> {
    let found = state.engine.search(search, look).await.ok_or_else(Refusal::unavailable)?;
    let next_cursor = found.next.map(|seq| state.numbers.transaction(seq).to_string());
    Ok(Json(Page { items: found.items.into_iter().map(show).collect(), next_cursor }))
}

pub(super) fn transaction_out(numbers: &Numbers, view: TransactionView) -> TransactionOut {
    TransactionOut {
        id: numbers.transaction(view.transaction),
        institution: view.institution,
        cell: (*view.cell).clone(),
        state: view.state,
        amount: view.amount,
        accepted_at: view.at,
        attempts: view.attempts,
        failures: view.failures,
        not_before: Some(view.not_before),
        gate: Some(view.gate),
        behind: view.behind.map(|seq| numbers.transaction(seq)),
        provisional: view.provisional,
        given_up_for: view.given_up_for,
        result_told: view.result_told,
        ended_at: None,
    }
}

/// What is final and not told.
pub(super) fn untold_out(numbers: &Numbers, untold: Untold) -> TransactionOut {
    TransactionOut {
        id: numbers.transaction(untold.transaction),
        institution: untold.institution,
        cell: (*untold.cell).clone(),
        state: untold.state,
        amount: untold.amount,
        accepted_at: untold.at,
        attempts: untold.attempts,
        failures: 0,
        not_before: None,
        gate: None,
        behind: None,
        provisional: None,
        given_up_for: None,
        result_told: Some(false),
        ended_at: Some(untold.ended_at),
    }
}

pub(super) fn ticket_out(numbers: &Numbers, view: TicketView) -> TicketOut {
    let transaction = numbers.transaction(view.transaction);
    TicketOut {
        id: transaction.into(),
        transaction,
        institution: view.institution,
        cell: (*view.cell).clone(),
        amount: view.amount,
        state: view.state,
        replaced_by: view.replaced_by.map(|seq| numbers.transaction(seq)),
        accepted_at: view.at,
    }
}

pub(super) fn gate_out(view: GateView) -> GateOut {
    GateOut {
        cell: (*view.cell).clone(),
        state: view.state,
        window: view.window,
        waiting: view.waiting,
        in_flight: view.in_flight,
        epoch: view.epoch,
    }
}

pub(super) fn upstream_out(view: UpstreamView) -> UpstreamOut {
    UpstreamOut {
        name: view.name,
        phase: view.health.phase,
        since: view.health.since,
        good: view.health.good,
        bad: view.health.bad,
        rate: view.rate,
        in_flight: view.in_flight,
        probes: view.probes.iter().map(|good| if *good { '+' } else { '-' }).collect(),
    }
}
