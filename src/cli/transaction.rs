//! `holdover transaction`: find transactions, see what happened to one.

use super::Run;
use super::args::Reason;
use super::client::{query, segment};
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{
    Page, ResultTold, ToldBy, TransactionChanged, TransactionDetail, TransactionOut,
};
use crate::domain::gate::GateState;
use crate::domain::ids::{Business, District, InstitutionCode, TransactionId, UpstreamName};
use crate::domain::outcome::TransientReason;
use crate::domain::state::State;
use serde::Serialize;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List transactions that are not final; with --untold those whose result is to be told
    List(Box<Filter>),
    /// Show one transaction and everything that happened to it
    Show {
        /// Its id
        id: TransactionId,
    },
    /// Note that the result of a pre-accepted transaction was told to the person
    Told {
        /// Its id
        id: TransactionId,
        /// How: telephone, in_person, letter or message
        #[arg(long, value_name = "WAY")]
        how: ToldBy,
        #[command(flatten)]
        reason: Reason,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Where it stands, such as waiting or in_doubt
    #[arg(long, value_name = "STATE")]
    state: Option<State>,
    /// Its submitter
    #[arg(long, value_name = "CODE")]
    institution: Option<InstitutionCode>,
    /// Its upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<UpstreamName>,
    /// Its business
    #[arg(long, value_name = "BUSINESS")]
    business: Option<Business>,
    /// Its district
    #[arg(long, value_name = "DISTRICT")]
    district: Option<District>,
    /// How its gate stands, such as closed_by_window
    #[arg(long, value_name = "GATE")]
    gate: Option<GateState>,
    /// Only what a gate keeps
    #[arg(long)]
    held: bool,
    /// Pre-accepted ones whose result has not been told, final or not
    #[arg(long)]
    untold: bool,
    #[command(flatten)]
    page: PageArgs,
}

/// Which part of a list.
#[derive(Debug, clap::Args)]
struct PageArgs {
    /// Items on a page, 1 to 500
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
    /// Where the page before ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// Whose, and which part of a list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Of one institution
    #[arg(long, value_name = "CODE")]
    institution: Option<InstitutionCode>,
    #[command(flatten)]
    page: PageArgs,
}

impl ListArgs {
    /// The path of that part of the list `place`.
    pub(super) fn path(self, place: &str, business: Option<Business>) -> String {
        query(
            &format!("/admin/v1/{place}"),
            &[
                ("institution", self.institution.map(|i| i.to_string())),
                ("business", business.map(|b| b.to_string())),
                ("limit", Some(self.page.limit.to_string())),
                ("cursor", self.page.cursor),
            ],
        )
    }
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List(filter) => {
                let path = query(
                    "/admin/v1/transactions",
                    &[
                        ("state", filter.state.map(|s| s.to_string())),
                        ("institution", filter.institution.map(|i| i.to_string())),
                        ("upstream", filter.upstream.map(|u| u.to_string())),
                        ("business", filter.business.map(|b| b.to_string())),
                        ("district", filter.district.map(|d| d.to_string())),
                        ("gate", filter.gate.map(|g| g.to_string())),
                        ("held", filter.held.then(|| "true".to_owned())),
                        ("told", filter.untold.then(|| "false".to_owned())),
                        ("limit", Some(filter.page.limit.to_string())),
                        ("cursor", filter.page.cursor),
                    ],
                );
                list(run, &path).await
            }
            Self::Show { id } => show(run, id).await,
            Self::Told { id, how, reason } => {
                let body = ResultTold { how, reason: reason.reason };
                act(run, id, "transactions", "told", &body, "its result is noted as told").await
            }
        }
    }
}

/// Acts upon one transaction and prints what became of it.
pub(super) async fn act(
    run: &Run,
    id: TransactionId,
    place: &str,
    verb: &str,
    body: &impl Serialize,
    done: &str,
) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/{place}/{}/{verb}", segment(&id.to_string()));
    report(run, &run.client.post(&path, body, None).await?, done);
    Ok(Exit::Success)
}

/// Prints the page of transactions at `path`.
pub(super) async fn list(run: &Run, path: &str) -> Result<Exit, Failure> {
    let page: Page<TransactionOut> = run.client.get(path).await?;
    run.out.table(&page, || {
        let mut table = Table::new(&[
            "transaction",
            "state",
            "gate",
            "cell",
            "institution",
            "amount",
            "accepted",
            "behind",
            "given up for",
        ]);
        for t in &page.items {
            table.row([
                t.id.to_string(),
                t.state.to_string(),
                t.gate.map_or("-", GateState::as_str).to_owned(),
                t.cell.to_string(),
                t.institution.to_string(),
                t.amount.to_string(),
                run.client.shown(t.accepted_at),
                t.behind.map_or_else(|| "-".to_owned(), |id| id.to_string()),
                t.given_up_for.map_or("-", TransientReason::as_str).to_owned(),
            ]);
        }
        table
    });
    note_more(run, page.next_cursor.as_deref());
    Ok(Exit::Success)
}

/// Says how to go on where a list has more pages.
pub(super) fn note_more(run: &Run, next_cursor: Option<&str>) {
    if let Some(cursor) = next_cursor {
        run.out.note(&format!("there is more: --cursor {}", plain(cursor)));
    }
}

fn report(run: &Run, changed: &TransactionChanged, done: &str) {
    run.out.data(changed, || format!("{} is {}: {done}\n", changed.id, changed.state));
    let head = &changed.audit_head;
    run.out.note(&format!("audit record {}, head {}", head.records, head.hash));
    run.out.next(&format!("holdover transaction show {}", changed.id));
}

/// One transaction in one line, for a person who is about to decide on it.
pub(super) async fn brief(run: &Run, id: TransactionId) -> Result<String, Failure> {
    let t = get(run, id).await?.transaction;
    Ok(format!(
        "{} ({}, {}, {}, amount {}, {} attempts)",
        t.id, t.state, t.cell, t.institution, t.amount, t.attempts
    ))
}

async fn get(run: &Run, id: TransactionId) -> Result<TransactionDetail, Failure> {
    run.client.get(&format!("/admin/v1/transactions/{}", segment(&id.to_string()))).await
}

async fn show(run: &Run, id: TransactionId) -> Result<Exit, Failure> {
    let detail = get(run, id).await?;
    run.out.data(&detail, || {
        let t = &detail.transaction;
        let mut text = String::new();
        let gate = t.gate.map_or("-", GateState::as_str);
        let lines = [
            ("transaction", t.id.to_string()),
            ("state", t.state.to_string()),
            ("gate", gate.to_owned()),
            ("cell", t.cell.to_string()),
            ("institution", t.institution.to_string()),
            ("amount", t.amount.to_string()),
            ("attempts", t.attempts.to_string()),
            ("given up for", t.given_up_for.map_or("-", TransientReason::as_str).to_owned()),
        ];
        for (name, value) in lines {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
        if let Some(damage) = &detail.damaged {
            text.push_str(&format!("{:<12} {}\n", "damaged", plain(damage)));
        }
        for paper in &detail.paper {
            let (kind, shelf) = (plain(&paper.kind), plain(&paper.shelf));
            let sheets = paper.sheets;
            text.push_str(&format!("{:<12} {kind}, {sheets} sheets, shelf {shelf}\n", "paper"));
        }
        for step in &detail.history {
            let at = step.at.map_or_else(|| "-".to_owned(), |at| run.client.shown(at));
            let value = |v: &str| v.parse().map_or_else(|_| plain(v), |at| run.client.shown(at));
            let details: Vec<String> =
                step.details.iter().map(|(k, v)| format!("{k}={}", value(v))).collect();
            let what = plain(&step.what);
            text.push_str(&format!("{at:<29} {what} {}\n", details.join(" ")));
        }
        text
    });
    Ok(Exit::Success)
}
