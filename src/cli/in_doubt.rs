//! `holdover in-doubt`: attempts that may or may not have taken effect.

use super::Run;
use super::args::{Reason, Yes};
use super::exit::{Exit, Failure};
use super::transaction::{ListArgs, act, brief, list};
use crate::admin::types::{Because, Resolve, Verdict};
use crate::domain::ids::TransactionId;

const PLACE: &str = "in-doubt";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List doubtful transactions
    List(ListArgs),
    /// Ask the core now
    Ask {
        /// The transaction
        id: TransactionId,
        #[command(flatten)]
        reason: Reason,
    },
    /// Say what a person found out about it
    Resolve {
        /// The transaction
        id: TransactionId,
        /// What was found out: applied, refused or not_applied. After not_applied it is sent again
        #[arg(long, value_name = "VERDICT")]
        verdict: Verdict,
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
            Self::Ask { id, reason } => {
                let body = Because { reason: reason.reason };
                act(run, id, PLACE, "ask", &body, "the core is asked").await
            }
            Self::Resolve { id, verdict, yes, reason } => {
                let touches = format!("{} becomes {verdict}", brief(run, id).await?);
                run.confirmed(yes.yes, &touches, "--yes")?;
                let body = Resolve { verdict, reason: reason.reason };
                act(run, id, PLACE, "resolve", &body, "resolved").await
            }
        }
    }
}
