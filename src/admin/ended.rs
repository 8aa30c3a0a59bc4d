//! Orders about transactions that have ended.
//!
//! The engine knows what is not final; of anything else it says that there is no such thing.
//! Whether there was one is told by the journal, so that an operator who comes too late hears of
//! a wrong state and not of a wrong number.

use super::refusal::Refusal;
use super::{State, history};
use crate::domain::ids::{Seq, TransactionId};
use crate::domain::state::State as Standing;
use crate::engine::event::{Command, Done, Fault};
use crate::web::problem::Code;
use std::sync::Arc;

/// The transaction that an order is about, where it is about one.
pub(super) fn subject(command: &Command) -> Option<Seq> {
    match command {
        Command::Redrive(transaction)
        | Command::Skip(transaction)
        | Command::ResolveDoubt { transaction, .. }
        | Command::AskNow(transaction)
        | Command::ResultTold { transaction, .. } => Some(*transaction),
        Command::DeclareWindow(_)
        | Command::MoveWindowEnd { .. }
        | Command::CancelWindow { .. }
        | Command::Restore { .. }
        | Command::Release { .. }
        | Command::CloseGate { .. }
        | Command::ExtendGate { .. }
        | Command::OpenGate { .. }
        | Command::TrustClock => None,
    }
}

/// What came of an order about `transaction`: where the engine knows none, the state of the one
/// there was.
pub(super) async fn or_wrong_state(
    state: &State,
    transaction: Option<Seq>,
    result: Result<Done, Refusal>,
) -> Result<Done, Refusal> {
    let not_found = |refusal: &Refusal| refusal.code() == Code::NotFound.as_str();
    let Some(transaction) = transaction.filter(|_| result.as_ref().is_err_and(not_found)) else {
        return result;
    };
    match standing(state, transaction).await {
        Some(standing) => {
            let state = standing.to_string();
            Err(Fault::WrongState { what: "the transaction", state }.into())
        }
        None => result,
    }
}

async fn standing(state: &State, transaction: Seq) -> Option<Standing> {
    let find = Arc::clone(&state.history);
    let found = tokio::task::spawn_blocking(move || find(transaction, false)).await;
    match found {
        Ok(Ok(changes)) => {
            history::fold(state.partition, transaction, &changes).map(|(told, _)| told.state)
        }
        Ok(Err(error)) => {
            let id = TransactionId::new(state.partition, transaction);
            tracing::error!(%error, transaction_id = %id, "its history cannot be read");
            None
        }
        // The read panicked or the runtime is going down; the engine's own word stands.
        Err(_) => None,
    }
}
