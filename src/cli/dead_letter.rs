//! `holdover dead-letter`: transactions given up after sure failures.

use super::Run;
use super::args::Reason;
use super::client::{query, segment};
use super::exit::{Exit, Failure};
use super::transaction::{PageArgs, brief, print, report};
use crate::admin::types::Because;
use crate::domain::ids::{InstitutionCode, TransactionId};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List dead letters
    List {
        /// Of one submitter
        #[arg(long, value_name = "CODE")]
        institution: Option<InstitutionCode>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Put a dead letter back, to be sent again in its place
    Redrive {
        /// Its transaction
        id: TransactionId,
        #[command(flatten)]
        reason: Reason,
    },
    /// Give a dead letter up for good and let its key go on
    Skip {
        /// Its transaction
        id: TransactionId,
        /// Go on
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List { institution, page } => {
                let path = query(
                    "/admin/v1/dead-letters",
                    &[
                        ("institution", institution.map(|i| i.to_string())),
                        ("limit", Some(page.limit.to_string())),
                        ("cursor", page.cursor),
                    ],
                );
                print(run, &run.client.get(&path).await?);
                Ok(Exit::Success)
            }
            Self::Redrive { id, reason } => act(run, id, "redrive", reason, "put back").await,
            Self::Skip { id, yes, reason } => {
                run.confirmed(yes, &brief(run, id).await?, "--yes")?;
                act(run, id, "skip", reason, "given up for good").await
            }
        }
    }
}

async fn act(
    run: &Run,
    id: TransactionId,
    verb: &str,
    reason: Reason,
    done: &str,
) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/dead-letters/{}/{verb}", segment(&id.to_string()));
    let body = Because { reason: reason.reason };
    report(run, &run.client.post(&path, &body, None).await?, done);
    Ok(Exit::Success)
}
