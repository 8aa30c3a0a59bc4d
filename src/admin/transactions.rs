//! `/admin/v1/transactions`: find a transaction, see what happened to it, note that its result
//! was told.
//!
//! The list holds what is not final, ticketed ones included; a final one is found by its id. Asked
//! for what has not been told (`told=false`), it holds what was pre-accepted, final or not.
//! Nothing private is shown but the paper that is kept at a counter, for whoever must find it: payloads,
//! insured persons and core answers stay sealed.

use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::history::Unread;
use super::look::{self, Wanted};
use super::refusal::Refusal;
use super::text::{self, Reasoned};
use super::types::{
    Page, Paper, ResultTold, TransactionChanged, TransactionDetail, TransactionOut,
};
use super::{State, history};
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, District, InstitutionCode, Seq, UpstreamName};
use crate::domain::numbers::Numbers;
use crate::domain::state::State as Standing;
use crate::domain::time::Now;
use crate::engine::change::Change;
use crate::engine::event::{Command, Done, Sought};
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Glance};
use crate::engine::view::{TransactionView, Untold};
use crate::web::problem::Problem;
use axum::body::Body;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

type Shared = Extract<Arc<State>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    state: Option<Standing>,
    institution: Option<InstitutionCode>,
    upstream: Option<UpstreamName>,
    business: Option<Business>,
    district: Option<District>,
    gate: Option<GateState>,
    /// Whether a gate that lets nothing through keeps it.
    held: Option<bool>,
    /// For pre-accepted ones: whether the result has been told.
    told: Option<bool>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Query {
    fn keeps(&self, view: &Glance<'_>) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, is: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == is)
        }
        let shut = view.gate.is_some_and(|gate| !gate.lets_through());
        let held = view.state == Standing::Waiting && shut;
        fits(self.state.as_ref(), &view.state)
            && fits(self.institution.as_ref(), view.institution)
            && fits(self.upstream.as_ref(), &view.cell.upstream)
            && fits(self.business.as_ref(), &view.cell.business)
            && fits(self.district.as_ref(), &view.cell.district)
            && self.gate.is_none_or(|wanted| view.gate == Some(wanted))
            && fits(self.held.as_ref(), &held)
            && self.told.is_none_or(|told| view.result_told == Some(told))
    }

    /// The shortest list that has everything asked for.
    fn among(&self) -> Among {
        match (self.told, self.state) {
            (Some(false), _) => Among::Untold,
            (Some(true) | None, Some(standing)) => Among::In(standing),
            (Some(true) | None, None) => Among::Open,
        }
    }
}

pub(super) async fn list(
    Extract(state): Shared,
    uri: Uri,
) -> Result<Json<Page<TransactionOut>>, Refusal> {
    page(&state, look::query(&uri)?).await
}

/// The page of those that stand in `standing`.
pub(super) async fn list_in(
    state: &State,
    uri: &Uri,
    standing: Standing,
) -> Result<Json<Page<TransactionOut>>, Refusal> {
    let mut query: Query = look::query(uri)?;
    query.state = Some(standing);
    page(state, query).await
}

async fn page(state: &State, query: Query) -> Result<Json<Page<TransactionOut>>, Refusal> {
    if let Among::In(standing) = query.among()
        && standing.is_final()
    {
        let detail = format!(
            "{standing} is final; final transactions are found by their id, and with told=false"
        );
        return Err(Refusal::field("/state", detail));
    }
    let wanted = Wanted::new(state, query.cursor.as_deref(), query.limit)?;
    let search = wanted.search(query.among());
    let look = move |machine: &Machine, _: Now, search| {
        machine.search(search, |one| query.keeps(one), |seq| Known::of(machine, seq))
    };
    let numbers = Arc::clone(&state.numbers);
    look::page(state, search, look, |known: Known| known.shown(&numbers)).await
}

/// What the engine knows of a transaction that is not final, or not told.
enum Known {
    Open(TransactionView),
    Untold(Untold),
}

impl Known {
    fn of(machine: &Machine, seq: Seq) -> Option<Self> {
        let untold = || machine.untold(seq).cloned().map(Self::Untold);
        machine.transaction(seq).map(Self::Open).or_else(untold)
    }

    fn shown(self, numbers: &Numbers) -> TransactionOut {
        match self {
            Self::Open(view) => look::transaction_out(numbers, view),
            Self::Untold(untold) => look::untold_out(numbers, untold),
        }
    }
}

pub(super) async fn show(
    Extract(state): Shared,
    Path(id): Path<String>,
) -> Result<Json<TransactionDetail>, Refusal> {
    let seq = look::transaction(&state, &id)?;
    let look = move |machine: &Machine, _| (Known::of(machine, seq), machine.is_only_accepted(seq));
    let (known, is_only_accepted) = look::at(&state, look).await?;
    let known = known.map(|known| known.shown(&state.numbers));
    let changes = match (history::of(&state, seq, is_only_accepted).await, known.clone()) {
        (Ok(changes), _) => changes,
        // It is known all the same, and whoever is to decide on it must see it.
        (Err(Unread::Damaged(where_)), Some(transaction)) => {
            let (history, paper) = (Vec::new(), Vec::new());
            let damaged = Some(where_);
            return Ok(Json(TransactionDetail { transaction, history, paper, damaged }));
        }
        (Err(unread), _) => return Err(unread.into()),
    };
    let (told_by_journal, history) = history::fold(&state.numbers, seq, &changes)
        .ok_or_else(|| Problem::not_found(Sought::Transaction))?;
    let transaction = known.unwrap_or(told_by_journal);
    let paper = paper(&state, &changes);
    Ok(Json(TransactionDetail { transaction, history, paper, damaged: None }))
}

/// The paper that the accept record at the head of `changes` tells of; none where what is sealed in
/// it cannot be opened any more.
fn paper(state: &State, changes: &[(Seq, Change)]) -> Vec<Paper> {
    let Some((_, Change::Accepted(accepted))) = changes.first() else { return Vec::new() };
    match state.vault.open(&accepted.institution, &accepted.sealed) {
        Ok(private) => private
            .paper
            .into_iter()
            .map(|paper| Paper { kind: paper.kind, sheets: paper.sheets, shelf: paper.shelf })
            .collect(),
        Err(error) => {
            tracing::warn!(%error, "what is sealed of a transaction cannot be opened");
            Vec::new()
        }
    }
}

pub(super) async fn told(
    state: Shared,
    caller: Extension<Caller>,
    id: Path<String>,
    body: Body,
) -> Changed {
    let decide = |body: &ResultTold, transaction| {
        let how = body.how.to_string();
        (json!({ "told_by": how }), Command::ResultTold { transaction, how })
    };
    order(state, caller, id, body, "transaction.told", decide).await
}

/// The answer to an act upon one transaction.
pub(super) type Changed = Result<Json<TransactionChanged>, Refusal>;

/// Carries out an act upon the transaction of the path: what `decide` makes of the body.
pub(super) async fn order<B: Reasoned>(
    Extract(state): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
    action: &'static str,
    decide: impl FnOnce(&B, Seq) -> (Value, Command),
) -> Changed {
    let (body, reason) = text::read(&caller, body, state.body_limits).await?;
    let transaction = look::transaction(&state, &id)?;
    let (after, command) = decide(&body, transaction);
    let id = state.numbers.transaction(transaction);
    let before = match look::at(&state, move |m, _| m.transaction(transaction)).await {
        Ok(Some(view)) => json!({ "state": view.state, "attempts": view.attempts }),
        // Nothing to compare with: final, unknown, or the engine has ended. Its answer tells.
        Ok(None) | Err(_) => Value::Null,
    };
    let object = format!("transaction {id}");
    let act = Act { action, object, before, after, reason, command: Ok(command) };
    let (done, audit_head) = carry_out(&state, &caller, act).await?;
    match done {
        Done::Transaction(seq, standing) => Ok(Json(TransactionChanged {
            id: state.numbers.transaction(seq),
            state: standing,
            audit_head,
        })),
        Done::Window(_)
        | Done::Gates(_)
        | Done::Ticket(..)
        | Done::Dates(_)
        | Done::Cases(_)
        | Done::Blob(_) => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_lets_its_match_through_and_keeps_others_out() {
        let cell = json!({
            "upstream": "agency", "business": "filing.out_of_area", "operation": "handle",
            "class": "hall", "channel": "hall", "district": "110101", "labels": [],
            "attributes": {},
        });
        let one = Glance {
            state: Standing::Waiting,
            institution: &"H11010100001".parse().unwrap(),
            cell: &serde_json::from_value(cell).unwrap(),
            gate: Some(GateState::ClosedByWindow),
            result_told: Some(false),
        };
        for (query, keeps) in [
            ("", true),
            ("state=waiting", true),
            ("state=in_doubt", false),
            ("institution=H11010100001&district=110101", true),
            ("institution=H11010100002", false),
            ("upstream=agency&business=filing.out_of_area", true),
            ("upstream=portal", false),
            ("business=filing.other", false),
            ("district=110102", false),
            ("gate=closed_by_window&held=true&told=false", true),
            ("gate=open", false),
            ("held=false", false),
            ("told=true", false),
        ] {
            let uri: Uri = format!("/x?{query}").parse().unwrap();
            let parsed: Query = look::query(&uri).unwrap();
            assert_eq!(parsed.keeps(&one), keeps, "{query}");
        }
        assert!(look::query::<Query>(&"/x?colour=red".parse().unwrap()).is_err());
        assert!(look::query::<Query>(&"/x?state=held".parse().unwrap()).is_err());
    }
}
