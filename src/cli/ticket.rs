//! `holdover ticket`: open tickets. They are closed by their submitters.

use super::Run;
use super::client::query;
use super::exit::{Exit, Failure};
use super::out::Table;
use super::transaction::{PageArgs, note_more};
use crate::admin::types::{Page, TicketOut};
use crate::domain::ids::{Business, InstitutionCode};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List open tickets
    List {
        /// Of one submitter
        #[arg(long, value_name = "CODE")]
        institution: Option<InstitutionCode>,
        /// Of one business
        #[arg(long, value_name = "BUSINESS")]
        business: Option<Business>,
        #[command(flatten)]
        page: PageArgs,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let Self::List { institution, business, page } = self;
        let path = query(
            "/admin/v1/tickets",
            &[
                ("institution", institution.map(|i| i.to_string())),
                ("business", business.map(|b| b.to_string())),
                ("limit", Some(page.limit.to_string())),
                ("cursor", page.cursor),
            ],
        );
        let page: Page<TicketOut> = run.client.get(&path).await?;
        run.out.table(&page, || {
            let headings = ["ticket", "state", "institution", "cell", "amount", "accepted"];
            let mut table = Table::new(&headings);
            for t in &page.items {
                table.row([
                    t.id.to_string(),
                    t.state.to_string(),
                    t.institution.to_string(),
                    t.cell.to_string(),
                    t.amount.to_string(),
                    t.accepted_at.to_string(),
                ]);
            }
            table
        });
        note_more(run, page.next_cursor.as_deref());
        Ok(Exit::Success)
    }
}
