//! `holdover ledger`: the books, in items and in money.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::Table;
use crate::admin::types::LedgerOut;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;

#[derive(Debug, clap::Args)]
pub(super) struct Ledger {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Print the books
    Show,
    /// Say whether the books balance; exit code 5 when they do not
    Check,
}

impl Ledger {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let ledger: LedgerOut = run.client.get("/admin/v1/ledger").await?;
        match self.verb {
            None | Some(Verb::Show) => {
                run.out.table(&ledger, || table(&ledger));
                run.out.note(if ledger.balanced { "balanced" } else { "NOT BALANCED" });
                Ok(Exit::Success)
            }
            Some(Verb::Check) => {
                run.out.data(&ledger, || {
                    let word = if ledger.balanced { "balanced" } else { "NOT BALANCED" };
                    format!(
                        "{word}: difference {} items, {} yuan, {} posts\n",
                        item(&ledger, "difference"),
                        money(&ledger, "difference"),
                        ledger.intake_difference
                    )
                });
                Ok(if ledger.balanced { Exit::Success } else { Exit::NotReady })
            }
        }
    }
}

fn item(ledger: &LedgerOut, name: &str) -> String {
    ledger.items.get(name).map_or_else(|| "?".to_owned(), ToString::to_string)
}

fn money(ledger: &LedgerOut, name: &str) -> String {
    ledger.amount.get(name).cloned().unwrap_or_else(|| "?".to_owned())
}

fn table(ledger: &LedgerOut) -> Table {
    let mut table = Table::new(&["", "items", "amount"]);
    let states = State::ALL.iter().map(|s| s.as_str());
    for name in ["accepted"].into_iter().chain(states).chain(["difference"]) {
        table.row([name.to_owned(), item(ledger, name), money(ledger, name)]);
    }
    let tickets = TicketState::ALL.iter().map(|s| s.as_str());
    for name in ["issued"].into_iter().chain(tickets) {
        let count = ledger.tickets.get(name).map_or_else(|| "?".to_owned(), ToString::to_string);
        let amount = ledger.tickets_amount.get(name).cloned().unwrap_or_default();
        table.row([format!("tickets {name}"), count, amount]);
    }
    let intake = &ledger.intake;
    for (name, count) in [
        ("submitted since start", intake.submitted),
        ("duplicates since start", intake.duplicates),
        ("turned away since start", intake.turned_away),
        ("invalid since start", intake.invalid),
        ("turned away ever", ledger.turned_away_ever),
    ] {
        table.row([name.to_owned(), count.to_string(), String::new()]);
    }
    table
}
