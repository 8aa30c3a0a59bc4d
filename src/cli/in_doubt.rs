//! `holdover in-doubt`: attempts that may or may not have taken effect.

use super::Run;
use super::args::Reason;
use super::client::{query, segment};
use super::exit::{Exit, Failure};
use super::transaction::{PageArgs, brief, print, report};
use crate::admin::types::{Because, Resolve, Verdict};
use crate::domain::ids::{InstitutionCode, TransactionId};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List doubtful transactions
    List {
        /// Of one submitter
        #[arg(long, value_name = "CODE")]
        institution: Option<InstitutionCode>,
        #[command(flatten)]
        page: PageArgs,
    },
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
                    "/admin/v1/in-doubt",
                    &[
                        ("institution", institution.map(|i| i.to_string())),
                        ("limit", Some(page.limit.to_string())),
                        ("cursor", page.cursor),
                    ],
                );
                print(run, &run.client.get(&path).await?);
                Ok(Exit::Success)
            }
            Self::Ask { id, reason } => {
                let path = format!("/admin/v1/in-doubt/{}/ask", segment(&id.to_string()));
                let body = Because { reason: reason.reason };
                report(run, &run.client.post(&path, &body, None).await?, "the core is asked");
                Ok(Exit::Success)
            }
            Self::Resolve { id, verdict, yes, reason } => {
                let touches = format!("{} becomes {verdict}", brief(run, id).await?);
                run.confirmed(yes, &touches, "--yes")?;
                let path = format!("/admin/v1/in-doubt/{}/resolve", segment(&id.to_string()));
                let body = Resolve { verdict, reason: reason.reason };
                report(run, &run.client.post(&path, &body, None).await?, "resolved");
                Ok(Exit::Success)
            }
        }
    }
}
