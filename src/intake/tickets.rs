//! The counter's open tickets, and closing one by hand.

use super::submit::{impersonal, posted};
use super::{Caller, Page, Shared, answer, ended};
use crate::domain::cell::Operation;
use crate::domain::ids::{Business, TicketId, TransactionId};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::Now;
use crate::engine::event::{Done, Reply, Sought};
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Glance, Search};
use crate::engine::view::TicketView;
use crate::web::problem::{self, Code, FieldError, Problem};
use axum::extract::{Path, Request, State as Taken};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

/// An open ticket.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Ticket {
    #[schema(value_type = String)]
    id: TicketId,
    /// The transaction that it belongs to.
    #[schema(value_type = String)]
    transaction: TransactionId,
    #[schema(value_type = String)]
    state: TicketState,
    #[schema(value_type = String)]
    business: Business,
    #[schema(value_type = String)]
    operation: Operation,
    #[schema(value_type = String)]
    amount: Money,
    /// When its transaction was accepted.
    accepted_at: String,
    /// The settlement that is on its way to make it good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    replaced_by: Option<TransactionId>,
}

/// A page of tickets, by acceptance.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Tickets {
    items: Vec<Ticket>,
    /// What `after` is for the next page; not there on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<TicketId>,
}

/// Lists the caller's open tickets.
#[utoipa::path(
    get,
    path = "/v1/tickets",
    operation_id = "listTickets",
    params(
        ("after" = Option<String>, Query, description = "Only those after this one"),
        ("limit" = Option<usize>, Query, description = "At most so many, 50 where not said"),
    ),
    responses((status = 200, description = "A page", body = Tickets)),
    security(("key" = []))
)]
pub(super) async fn list(
    Taken(state): Taken<Shared>,
    caller: Caller,
    Page { after, limit }: Page,
) -> Result<Response, Problem> {
    let institution = caller.reads()?.code.clone();
    let search = Search::new(after, limit, Among::In(State::Ticketed));
    let look = move |machine: &Machine, _: Now, search| {
        let is_own = |one: &Glance<'_>| *one.institution == institution;
        machine.search(search, is_own, |seq| machine.open_ticket(seq))
    };
    let found = state.engine.search(search, look).await.ok_or_else(answer::unavailable)?;
    let id = |seq| state.numbers.transaction(seq);
    let item = |view: TicketView| Ticket {
        id: id(view.transaction).into(),
        transaction: id(view.transaction),
        state: view.state,
        business: view.cell.business.clone(),
        operation: view.cell.operation,
        amount: view.amount,
        accepted_at: view.at.rfc3339(state.zone),
        replaced_by: view.replaced_by.map(id),
    };
    let items = found.items.into_iter().map(item).collect();
    let next = found.next.map(|seq| id(seq).into());
    answer::json_response(StatusCode::OK, &Tickets { items, next })
}

/// How a ticket is closed by hand.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseBody {
    /// `reimbursed_manually` or `waived`.
    how: String,
    /// Who at the counter closes it; 1 to 200 characters.
    by: String,
    /// Why; 1 to 200 characters, nothing about a person.
    reason: String,
}

/// A ticket as it stands now.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct Closed {
    #[schema(value_type = String)]
    id: TicketId,
    #[schema(value_type = String)]
    state: TicketState,
}

/// Closes a ticket by hand. A new settlement that names it in `replaces` closes it by itself.
#[utoipa::path(
    post,
    path = "/v1/tickets/{id}/close",
    operation_id = "closeTicket",
    params(("id" = String, Path, description = "The ticket")),
    request_body = CloseBody,
    responses(
        (status = 200, description = "Closed", body = Closed),
        (status = 404, description = "Not there, or not yours", body = problem::ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Closed already, or a replacement is on its way", body = problem::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("key" = []))
)]
pub(super) async fn close(
    Taken(state): Taken<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (institution, asked) = posted::<CloseBody>(&state, request).await?;
    let by_hand = [TicketState::ReimbursedManually, TicketState::Waived];
    let Some(how) = by_hand.into_iter().find(|how| how.as_str() == asked.how) else {
        let detail = "expected reimbursed_manually or waived".into();
        return Err(Problem::fields(vec![FieldError {
            pointer: "/how".to_owned(),
            detail,
            code: None,
        }]));
    };
    let (by, reason) = (impersonal(&asked.by, "/by")?, impersonal(&asked.reason, "/reason")?);
    let ticket = id.parse::<TicketId>().ok().and_then(|id| state.numbers.place(&id));
    let ticket = ticket.ok_or_else(|| Problem::not_found(Sought::Ticket))?;
    let code = institution.clone();
    let reply = state.engine.close_ticket(institution, ticket, how, by, reason).await;
    let reply = ended::or_wrong_state(&state, code, ticket, reply).await?;
    match reply {
        Reply::Done(Done::Ticket(seq, standing)) => {
            let id = state.numbers.ticket(seq);
            answer::json_response(StatusCode::OK, &Closed { id, state: standing })
        }
        Reply::Done(
            Done::Transaction(..)
            | Done::Window(_)
            | Done::Gates(_)
            | Done::Dates(_)
            | Done::Cases(_)
            | Done::Blob(_),
        ) => Err(Problem::new(Code::Internal, "the request met a defect; it is in our log")),
        other => Err(answer::problem_of(&state, other, state.clock.now().wall)),
    }
}
