//! Orders about transactions that have ended.
//!
//! The engine knows what is not final; of anything else it says that there is no such thing.
//! Whether there was one is told by the journal, so that an operator who comes too late hears of
//! a wrong state and not of a wrong number.

use super::State;
use super::history::{self, Unread};
use super::refusal::Refusal;
use crate::domain::ids::Seq;
use crate::engine::change::Change;
use crate::engine::event::{Command, Done, Fault};
use crate::web::problem::Code;

/// The transaction that an order is about, where it is about one.
pub(super) fn subject(command: &Command) -> Option<Seq> {
    match command {
        Command::Agreed { to, .. } => subject(&to.command),
        Command::Redrive(transaction)
        | Command::Skip(transaction)
        | Command::ResolveDoubt { transaction, .. }
        | Command::AskNow(transaction)
        | Command::ResultTold { transaction, .. } => Some(*transaction),
        Command::DeclareWindow(_)
        | Command::ChangeWindow { .. }
        | Command::MoveWindowEnd { .. }
        | Command::CancelWindow { .. }
        | Command::ConfirmOutage { .. }
        | Command::DismissOutage { .. }
        | Command::Restore { .. }
        | Command::Release { .. }
        | Command::CloseGate { .. }
        | Command::ExtendGate { .. }
        | Command::OpenGate { .. }
        | Command::TrustClock
        | Command::RegisterCases(_)
        | Command::TellDates => None,
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
    let changes = match history::of(state, transaction, false).await {
        Ok(changes) => changes,
        // It is not open; what became of it stands in a record that is damaged.
        Err(damaged @ Unread::Damaged(_)) => return Err(damaged.into()),
        // The engine's own word stands.
        Err(Unread::Failed) => return result,
    };
    if result.as_ref().is_err_and(Refusal::is_of_untold)
        && let Some(state) = changes.iter().find_map(|(_, change)| told(change))
    {
        return Err(Fault::WrongState { what: "the result", state }.into());
    }
    match history::fold(&state.numbers, transaction, &changes) {
        Some((ended, _)) => {
            let state = ended.state.to_string();
            Err(Fault::WrongState { what: "the transaction", state }.into())
        }
        None => result,
    }
}

/// That a result was told, how and by whom.
fn told(change: &Change) -> Option<String> {
    if let Change::ResultTold { how, by, .. } = change {
        Some(format!("noted as told already ({how}, by {by})"))
    } else {
        None
    }
}
