//! `/admin/v1/tickets`: open tickets of every institution. They are closed by their submitters.

use super::State;
use super::look::{self, Wanted};
use super::refusal::Refusal;
use super::types::{Page, TicketOut};
use crate::domain::ids::{Business, InstitutionCode};
use axum::Json;
use axum::extract::State as Extract;
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    institution: Option<InstitutionCode>,
    business: Option<Business>,
    cursor: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    uri: Uri,
) -> Result<Json<Page<TicketOut>>, Refusal> {
    let query: Query = look::query(&uri)?;
    let wanted = Wanted::new(&state, query.cursor.as_deref(), query.limit)?;
    let tickets = look::at(&state, move |machine, _| {
        let mut tickets = machine.tickets(query.institution.as_ref());
        tickets.retain(|t| query.business.as_ref().is_none_or(|b| *b == t.cell.business));
        tickets
    })
    .await?;
    let partition = state.partition;
    Ok(Json(wanted.page_of_all(
        &state,
        tickets,
        |view| view.transaction,
        |view| look::ticket_out(partition, view),
    )))
}
