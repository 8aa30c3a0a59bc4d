//! `holdover proposal`: orders that one person alone may not give, and the second person's word.

use super::Run;
use super::args::{Reason, Yes};
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{Because, ProposalOut, ProposalSettled};

const PATH: &str = "/admin/v1/proposals";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List what waits for a second person
    List,
    /// Agree to what another person has proposed; it is carried out at once, in both names
    Approve {
        /// Its number
        id: u64,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Turn a proposal down, or take your own back
    Reject {
        /// Its number
        id: u64,
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List => {
                let out: Vec<ProposalOut> = run.client.get(PATH).await?;
                run.out.table(&out, || {
                    let mut table =
                        Table::new(&["number", "deed", "order", "by", "reason", "lapses"]);
                    for one in &out {
                        table.row([
                            one.id.to_string(),
                            one.deed.to_string(),
                            brief(one),
                            plain(&one.by),
                            plain(&one.reason),
                            run.client.shown(one.lapses_at),
                        ]);
                    }
                    table
                });
                if let Some(first) = out.first() {
                    run.out.next(&format!("holdover proposal approve {} …", first.id));
                }
                Ok(Exit::Success)
            }
            Self::Approve { id, yes, reason } => {
                let waiting: Vec<ProposalOut> = run.client.get(PATH).await?;
                // Where there is none of that number the daemon says so, and what to do.
                if let Some(one) = waiting.iter().find(|one| one.id == id) {
                    let touches = format!("{}, proposed by {}", brief(one), plain(&one.by));
                    run.confirmed(yes.yes, &touches, "--yes")?;
                }
                settle(run, id, "approve", reason).await
            }
            Self::Reject { id, reason } => settle(run, id, "reject", reason).await,
        }
    }
}

fn brief(one: &ProposalOut) -> String {
    let order = if one.order.is_null() { String::new() } else { format!(" {}", one.order) };
    plain(&format!("{} of {}{order}", one.action, one.object))
}

async fn settle(run: &Run, id: u64, verb: &str, reason: Reason) -> Result<Exit, Failure> {
    let body = Because { reason: reason.reason };
    let settled: ProposalSettled =
        run.client.post(&format!("{PATH}/{id}/{verb}"), &body, None).await?;
    run.out.data(&settled, || match verb {
        "approve" => format!("proposal {id} is carried out: {}\n", settled.result),
        _ => format!("proposal {id} is rejected, nothing was done\n"),
    });
    let head = &settled.audit_head;
    run.out.note(&format!("audit record {}, head {}", head.records, head.hash));
    run.out.next("holdover status");
    Ok(Exit::Success)
}
