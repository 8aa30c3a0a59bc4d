//! `holdover dead-letter`: transactions given up after sure failures.

use super::Run;
use super::args::{Reason, Yes};
use super::exit::{Exit, Failure};
use super::transaction::{ListArgs, act, brief, list};
use crate::admin::types::Because;
use crate::domain::ids::TransactionId;

const PLACE: &str = "dead-letters";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List dead letters
    List(ListArgs),
    /// Put a dead letter back, to be sent again in its place
    Redrive {
        /// Its transaction
        id: TransactionId,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Give a dead letter up for good and let its key go on
    Skip {
        /// Its transaction
        id: TransactionId,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List(of) => list(run, &of.path(PLACE, None)).await,
            Self::Redrive { id, yes, reason } => {
                run.confirmed(yes.yes, &brief(run, id).await?, "--yes")?;
                let body = Because { reason: reason.reason };
                act(run, id, PLACE, "redrive", &body, "put back").await
            }
            Self::Skip { id, yes, reason } => {
                run.confirmed(yes.yes, &brief(run, id).await?, "--yes")?;
                let body = Because { reason: reason.reason };
                act(run, id, PLACE, "skip", &body, "given up for good").await
            }
        }
    }
}
