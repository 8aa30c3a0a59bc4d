//! `holdover ledger`: the books, in items and in money.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{DamageOut, LedgerOut};
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
    /// Say whether the books balance; exit code 5 when they do not, or when nobody can say
    ///
    /// Exit code 5 also while records of the journal are known to be damaged: the sums stand, but
    /// what they rest on cannot be shown, and a check is green only when nobody has to act.
    Check,
}

impl Ledger {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let ledger: LedgerOut = run.client.get("/admin/v1/ledger").await?;
        match self.verb {
            None | Some(Verb::Show) => {
                run.out.table(&ledger, || table(&ledger));
                run.out.note(&verdict(&ledger));
                Ok(Exit::Success)
            }
            Some(Verb::Check) => {
                run.out.data(&ledger, || {
                    let verdict = verdict(&ledger);
                    if ledger.unproved.is_some() {
                        return verdict + "\n";
                    }
                    format!(
                        "{verdict}: difference {} items, {} yuan, {} posts\n{}",
                        item(&ledger, "difference"),
                        money(&ledger, "difference"),
                        ledger.intake_difference,
                        damaged(&ledger)
                    )
                });
                let green = ledger.balanced && ledger.damaged_records == 0;
                Ok(if green { Exit::Success } else { Exit::NotReady })
            }
        }
    }
}

/// What is known to be damaged although the books stand; nothing where all is sound.
fn damaged(ledger: &LedgerOut) -> String {
    match ledger.damaged_records {
        0 => String::new(),
        records => format!(
            "RECORDS DAMAGED: {records}\nwhat to do: stop the daemon, let holdover journal verify \
             name the files, restore them from a copy\n"
        ),
    }
}

/// Whether the books balance, in words; where nobody can say, why, and what to do.
fn verdict(ledger: &LedgerOut) -> String {
    let Some(unproved) = &ledger.unproved else {
        return if ledger.balanced { "balanced" } else { "NOT BALANCED" }.to_owned();
    };
    let mut text = format!(
        "CANNOT BE PROVED ({}): the journal is damaged, these are the sums of what is left ({} \
         changes were passed over)\n",
        plain(&unproved.code),
        unproved.passed_over
    );
    for DamageOut { file, offset, message, .. } in &unproved.damage {
        text += &format!("  {} at byte {offset}: {}\n", plain(file), plain(message));
    }
    text + "what to do: stop the daemon, restore these files from a copy, start it without \
            --quarantine"
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
