//! `holdover deadline`: registered cases, and any date on demand.

use super::Run;
use super::args::{Reason, instant};
use super::client::query;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use super::transaction::{ListArgs, note_more};
use crate::admin::types::{
    Because, DeadlineChecked, DeadlineEvidence, DeadlineExplained, DeadlineOut, DeadlinesApplied,
    DeadlinesAtRisk, DeadlinesPreview, Page,
};
use crate::domain::ids::{Business, DeadlineId, WindowId};
use crate::domain::term::Deadline;
use crate::domain::time::Timestamp;

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
        /// Print a page that can be handed out, with the computation in words
        #[arg(long)]
        certificate: bool,
    },
    /// Show one registered deadline
    Show {
        /// Its number
        id: DeadlineId,
    },
    /// Say in words how a date came about; tells nobody anything
    Explain {
        /// The business
        #[arg(long, value_name = "BUSINESS")]
        business: Business,
        /// When it was due
        #[arg(long, value_name = "WHEN")]
        original: Deadline,
    },
    /// Print what a date rests on, as JSON, for whoever proves it without Holdover
    Evidence {
        /// The business
        #[arg(long, value_name = "BUSINESS")]
        business: Business,
        /// When it was due
        #[arg(long, value_name = "WHEN")]
        original: Deadline,
    },
    /// List known dates that a stop takes away and that were not moved, or that end within a day
    /// while something that carries them waits; exit code 5 when there are
    AtRisk,
    /// Show which known dates a window moves, or would with another end; changes nothing
    Preview {
        /// The window
        window: WindowId,
        /// The end that it would have
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Option<Timestamp>,
    },
    /// Register the cases of a table, row by row; the same table again registers nothing twice
    Import(super::import::Import),
    /// Tell every date that is computed and was not told; done by itself when a window changes
    Apply {
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List { business, of } => list(run, &of.path("deadlines", business)).await,
            Self::Check { business, original, received, certificate: false } => {
                check(run, business, original, received).await
            }
            Self::Check { business, original, received, certificate: true } => {
                certificate(run, business, original, received).await
            }
            Self::Show { id } => show(run, id).await,
            Self::Explain { business, original } => explain(run, business, original).await,
            Self::Evidence { business, original } => {
                let path = of_date("/admin/v1/deadlines/evidence", &business, original);
                let found: DeadlineEvidence = run.client.get(&path).await?;
                // It is for a program in any case.
                let text = serde_json::to_string_pretty(&found).unwrap_or_default();
                run.out.data(&found, || text + "\n");
                Ok(Exit::Success)
            }
            Self::AtRisk => at_risk(run).await,
            Self::Preview { window, until } => preview(run, &window, until).await,
            Self::Import(import) => import.run(run).await,
            Self::Apply { reason } => {
                let body = Because { reason: reason.reason };
                let path = "/admin/v1/deadlines/apply";
                let done: DeadlinesApplied = run.client.post(path, &body, None).await?;
                run.out.data(&done, || format!("dates told: {}\n", done.told));
                Ok(Exit::Success)
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

async fn show(run: &Run, id: DeadlineId) -> Result<Exit, Failure> {
    let found: DeadlineOut = run.client.get(&format!("/admin/v1/deadlines/{id}")).await?;
    run.out.data(&found, || {
        let zone = run.client.zone();
        let mut text = format!(
            "{}: {} of {}, due on {}\nregistered at {}\n",
            found.id,
            found.business,
            found.institution,
            found.original.shown(zone),
            run.client.shown(found.registered_at)
        );
        if let Some(ground) = &found.ground {
            text.push_str(&format!("{} after {}\n", ground.term, ground.event));
        }
        if let Some(owed_by) = found.owed_by {
            text.push_str(&format!("owed by the {owed_by}\n"));
        }
        match &found.computed {
            Some(computed) => text.push_str(&format!(
                "holds: {} ({})\n",
                computed.date.shown(zone),
                standing(computed.is_final)
            )),
            None => text.push_str("holds: unknown, the calendar does not reach\n"),
        }
        text
    });
    run.out.next(&format!(
        "holdover deadline explain --business {} --original {}",
        found.business, found.original
    ));
    Ok(Exit::Success)
}

async fn explained(
    run: &Run,
    business: &Business,
    original: Deadline,
) -> Result<DeadlineExplained, Failure> {
    run.client.get(&of_date("/admin/v1/deadlines/explain", business, original)).await
}

fn of_date(path: &str, business: &Business, original: Deadline) -> String {
    let pairs =
        [("business", Some(business.to_string())), ("original", Some(original.to_string()))];
    query(path, &pairs)
}

async fn explain(run: &Run, business: Business, original: Deadline) -> Result<Exit, Failure> {
    let answer = explained(run, &business, original).await?;
    run.out.data(&answer, || in_words(run, &answer));
    Ok(Exit::Success)
}

fn in_words(run: &Run, answer: &DeadlineExplained) -> String {
    let mut lines: Vec<String> = answer.words.iter().map(|sentence| plain(sentence)).collect();
    let zone = run.client.zone();
    lines.extend(answer.told.iter().map(|told| {
        format!(
            "Told at {}: {} (cause: {}, {} version {}).",
            run.client.shown(told.at),
            told.extension.to.shown(zone),
            plain(&told.cause),
            told.extension.window,
            told.extension.version
        )
    }));
    if answer.told.is_empty() {
        lines.push("Nobody was told of a move yet.".to_owned());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

async fn at_risk(run: &Run) -> Result<Exit, Failure> {
    let found: DeadlinesAtRisk = run.client.get("/admin/v1/deadlines/at-risk").await?;
    let zone = run.client.zone();
    run.out.table(&found, || {
        let headings = ["ends", "business", "original", "holds", "window", "cases", "transactions"];
        let mut table = Table::new(&headings);
        for risk in &found.items {
            table.row([
                run.client.shown(risk.ends_at),
                risk.business.to_string(),
                risk.original.shown(zone),
                risk.effective.shown(zone),
                risk.window.as_ref().map_or("ends soon".to_owned(), ToString::to_string),
                risk.cases.to_string(),
                risk.transactions.to_string(),
            ]);
        }
        table
    });
    if found.items.is_empty() {
        run.out.note("no known date is taken away by a stop without being moved");
        return Ok(Exit::Success);
    }
    run.out.next("holdover window show WINDOW, and give it a rule for its deadlines");
    Ok(Exit::NotReady)
}

async fn preview(run: &Run, window: &WindowId, until: Option<Timestamp>) -> Result<Exit, Failure> {
    let until = until.map(|at| at.to_string());
    let pairs = [("window", Some(window.to_string())), ("ends_at", until)];
    let found: DeadlinesPreview =
        run.client.get(&query("/admin/v1/deadlines/preview", &pairs)).await?;
    let zone = run.client.zone();
    run.out.table(&found, || {
        let headings =
            ["business", "original", "holds", "becomes", "rule", "cases", "transactions"];
        let mut table = Table::new(&headings);
        for one in &found.moves {
            let rule = one.extensions.last().map(|last| last.rule.to_string());
            table.row([
                one.business.to_string(),
                one.original.shown(zone),
                one.holds.shown(zone),
                one.becomes.shown(zone),
                rule.unwrap_or_default(),
                one.cases.to_string(),
                one.transactions.to_string(),
            ]);
        }
        table
    });
    for one in &found.inversions {
        run.out.note(&format!(
            "overtaken: {} of {} becomes {}, after {} which was given as later and becomes {}; \
             no_leapfrog = true lifts it",
            one.earlier.shown(zone),
            one.business,
            one.earlier_becomes.shown(zone),
            one.later.shown(zone),
            one.later_becomes.shown(zone)
        ));
    }
    run.out.note(&format!(
        "dates: {}, registered cases: {}, transactions: {}",
        found.moves.len(),
        found.cases,
        found.transactions
    ));
    Ok(Exit::Success)
}

/// A page that can be handed out. The date was told by that, so it holds.
async fn certificate(
    run: &Run,
    business: Business,
    original: Deadline,
    received: Option<Deadline>,
) -> Result<Exit, Failure> {
    let answer = checked(run, &business, original, received).await?;
    let explained = explained(run, &business, original).await?;
    run.out.data(&answer, || {
        let zone = run.client.zone();
        let mut page = format!(
            "CERTIFICATE OF A DEADLINE\n\nbusiness:   {business}\ngiven as:   {}\nholds:      {} \
             ({})\n",
            original.shown(zone),
            answer.effective.shown(zone),
            standing(answer.is_final)
        );
        if let (Some(received), Some(in_time)) = (received, answer.in_time) {
            let words = if in_time { "in time" } else { "too late" };
            page.push_str(&format!("handed in:  {}: {words}\n", received.shown(zone)));
        }
        page.push_str("\nHow it was computed\n\n");
        page + &in_words(run, &explained)
    });
    Ok(Exit::Success)
}

fn standing(is_final: bool) -> &'static str {
    if is_final { "final" } else { "may still move later" }
}

async fn checked(
    run: &Run,
    business: &Business,
    original: Deadline,
    received: Option<Deadline>,
) -> Result<DeadlineChecked, Failure> {
    let path = query(
        "/admin/v1/deadlines/check",
        &[
            ("business", Some(business.to_string())),
            ("original", Some(original.to_string())),
            ("received", received.map(|day| day.to_string())),
        ],
    );
    run.client.get(&path).await
}

async fn check(
    run: &Run,
    business: Business,
    original: Deadline,
    received: Option<Deadline>,
) -> Result<Exit, Failure> {
    let answer = checked(run, &business, original, received).await?;
    run.out.data(&answer, || {
        let standing = standing(answer.is_final);
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
