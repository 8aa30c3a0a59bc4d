//! `holdover ticket`: open tickets. They are closed by their submitters.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::Table;
use super::transaction::{ListArgs, note_more};
use crate::admin::types::{Page, TicketOut};
use crate::domain::ids::Business;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List open tickets
    List {
        /// Of one business
        #[arg(long, value_name = "BUSINESS")]
        business: Option<Business>,
        #[command(flatten)]
        of: ListArgs,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let Self::List { business, of } = self;
        let page: Page<TicketOut> = run.client.get(&of.path("tickets", business)).await?;
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
                    run.client.shown(t.accepted_at),
                ]);
            }
            table
        });
        note_more(run, page.next_cursor.as_deref());
        Ok(Exit::Success)
    }
}
