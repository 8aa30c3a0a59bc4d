//! Wishes about transactions that have ended.
//!
//! The engine knows what is not final; of anything else it says that there is no such thing.
//! Whether there was one of the caller's is told by the listings and the journal, so that who
//! comes too late hears of a wrong state and not of a wrong number. Of a foreign one nothing is
//! ever told.

use super::history::history;
use super::{Shared, answer};
use crate::domain::ids::{InstitutionCode, Seq};
use crate::domain::state::State;
use crate::engine::change::Change;
use crate::engine::event::{Fault, Reply};
use crate::engine::ports::{IndexUnavailable, ReadError};
use crate::web::problem::{Code, Problem};
use std::sync::Arc;

/// What the engine answered to a wish about `transaction`: where it knows none, the state of the
/// one that the institution had.
pub(super) async fn or_wrong_state(
    state: &Shared,
    institution: InstitutionCode,
    transaction: Seq,
    reply: Reply,
) -> Result<Reply, Problem> {
    if !matches!(reply, Reply::Invalid(Fault::NotFound(_))) {
        return Ok(reply);
    }
    let live = state.engine.read(move |machine, _| machine.transaction(transaction)).await;
    let live = live.ok_or_else(answer::unavailable)?;
    let standing = match live {
        Some(view) => Some(view.state).filter(|_| view.institution == institution),
        None => {
            let shared = Arc::clone(state);
            let read = move || ended(&shared, &institution, transaction);
            let read = tokio::task::spawn_blocking(read).await;
            read.map_err(|_| Problem::new(Code::Internal, "the journal was not read"))??
        }
    };
    Ok(match standing {
        Some(standing) => {
            let state = standing.to_string();
            Reply::Invalid(Fault::WrongState { what: "the transaction", state })
        }
        None => reply,
    })
}

/// Where a transaction of `institution` ended; `None` where it has none of that number. Blocks.
fn ended(
    state: &Shared,
    institution: &InstitutionCode,
    transaction: Seq,
) -> Result<Option<State>, Problem> {
    let record = match state.journal.read(transaction) {
        Ok(Change::Accepted(record)) if record.institution == *institution => record,
        Ok(_) | Err(ReadError::Missing(_)) => return Ok(None),
        Err(error) => return Err(answer::unreadable(&error)),
    };
    if let Ok(Some(listed)) = state.listing.outcome(transaction) {
        return Ok(Some(listed.state));
    }
    // The listings are away, or have not come to its end yet.
    let bound = state.limits.history_records_max;
    let journal = &*state.journal;
    let told = history(journal, record, transaction, journal.last(), bound, state.zone);
    let told = told.map_err(|error| answer::unreadable(&error))?;
    let away = || Problem::new(Code::IndexUnavailable, IndexUnavailable.to_string()).retry_after(2);
    told.final_state().map(Some).ok_or_else(away)
}
