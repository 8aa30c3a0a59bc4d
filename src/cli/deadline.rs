//! `holdover deadline`: registered cases, and any date on demand.

use super::Run;
use super::client::query;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use super::transaction::{ListArgs, note_more};
use crate::admin::types::{DeadlineChecked, DeadlineOut, Page};
use crate::domain::ids::Business;
use crate::domain::term::Deadline;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List registered deadlines with the date that holds
    List {
        /// Of one business
        #[arg(long, value_name = "BUSINESS")]
        business: Option<Business>,
        #[command(flatten)]
        of: ListArgs,
    },
    /// Ask for a date; what is answered counts as told and is never moved earlier
    Check {
        /// The business
        #[arg(long, value_name = "BUSINESS")]
        business: Business,
        /// When it was due: a day, or an instant such as 2022-08-13T17:00:00+08:00
        #[arg(long, value_name = "WHEN")]
        original: Deadline,
        /// When something was handed in, to be told whether it is in time
        #[arg(long, value_name = "WHEN")]
        received: Option<Deadline>,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List { business, of } => list(run, &of.path("deadlines", business)).await,
            Self::Check { business, original, received } => {
                check(run, business, original, received).await
            }
        }
    }
}

async fn list(run: &Run, path: &str) -> Result<Exit, Failure> {
    let page: Page<DeadlineOut> = run.client.get(path).await?;
    run.out.table(&page, || {
        let headings = ["deadline", "institution", "business", "original", "effective", "final"];
        let mut table = Table::new(&headings);
        for d in &page.items {
            let computed = d.computed.as_ref();
            table.row([
                d.id.to_string(),
                d.institution.to_string(),
                d.business.to_string(),
                d.original.to_string(),
                computed.map_or_else(|| "no calendar".to_owned(), |c| c.date.to_string()),
                computed.map_or_else(|| "-".to_owned(), |c| yes_or_no(c.is_final)),
            ]);
        }
        table
    });
    note_more(run, page.next_cursor.as_deref());
    Ok(Exit::Success)
}

async fn check(
    run: &Run,
    business: Business,
    original: Deadline,
    received: Option<Deadline>,
) -> Result<Exit, Failure> {
    let path = query(
        "/admin/v1/deadlines/check",
        &[
            ("business", Some(business.to_string())),
            ("original", Some(original.to_string())),
            ("received", received.map(|day| day.to_string())),
        ],
    );
    let answer: DeadlineChecked = run.client.get(&path).await?;
    run.out.data(&answer, || {
        let standing = if answer.is_final { "final" } else { "may still move later" };
        let mut text = format!("{} -> {} ({standing})\n", answer.original, answer.effective);
        for e in &answer.extensions {
            let rule = e.rule;
            let clause = plain(&e.clause);
            let window = &e.window;
            text.push_str(&format!(
                "  {} -> {} by {rule}, {clause}, window {window}\n",
                e.from, e.to
            ));
        }
        if let Some(in_time) = answer.in_time {
            text.push_str(&format!("in time: {}\n", yes_or_no(in_time)));
        }
        text
    });
    Ok(Exit::Success)
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
