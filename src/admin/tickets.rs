//! `/admin/v1/tickets`: open tickets of every institution. They are closed by their submitters.

use super::State;
use super::look::{self, Wanted};
use super::refusal::Refusal;
use super::types::{Page, TicketOut};
use crate::domain::ids::{Business, InstitutionCode};
use crate::domain::state::State as Standing;
use crate::domain::time::Now;
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Glance};
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
    let search = wanted.search(Among::In(Standing::Ticketed));
    let look = move |machine: &Machine, _: Now, search| {
        let fits = |one: &Glance<'_>| {
            query.institution.as_ref().is_none_or(|code| code == one.institution)
                && query.business.as_ref().is_none_or(|business| *business == one.cell.business)
        };
        machine.search(search, fits, |seq| machine.open_ticket(seq))
    };
    let partition = state.partition;
    let show = |view| look::ticket_out(partition, view);
    look::page(&state, search, look, show).await
}
