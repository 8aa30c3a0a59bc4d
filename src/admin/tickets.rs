//! `/admin/v1/tickets`: open tickets of every institution. They are closed by their submitters.

use super::State;
use super::look::{self, Of};
use super::refusal::Refusal;
use super::types::{Page, TicketOut};
use crate::domain::state::State as Standing;
use crate::domain::time::Now;
use crate::engine::machine::Machine;
use crate::engine::search::{Among, Glance};
use axum::Json;
use axum::extract::State as Extract;
use axum::http::Uri;
use std::sync::Arc;

pub(super) async fn list(
    Extract(state): Extract<Arc<State>>,
    uri: Uri,
) -> Result<Json<Page<TicketOut>>, Refusal> {
    let of: Of = look::query(&uri)?;
    let search = of.wanted(&state)?.search(Among::In(Standing::Ticketed));
    let look = move |machine: &Machine, _: Now, search| {
        let fits = |one: &Glance<'_>| of.fits(one.institution, &one.cell.business);
        machine.search(search, fits, |seq| machine.open_ticket(seq))
    };
    let numbers = Arc::clone(&state.numbers);
    let show = |view| look::ticket_out(&numbers, view);
    look::page(&state, search, look, show).await
}
