//! `holdover policy`: what would be done with a submission at an instant, and why.

use super::Run;
use super::args::{instant, one_of};
use super::client::query;
use super::exit::{Exit, Failure};
use super::out::plain;
use crate::admin::types::{OtherRowOut, PolicyOut};
use crate::domain::cell::{Channel, Class};
use crate::domain::ids::{District, Label};
use crate::domain::policy::RowRef;
use crate::domain::time::Timestamp;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Say what would be done with a submission, by which row, and what else speaks of it
    Explain(Box<Explain>),
}

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// A line of the catalogue, such as reimbursement.manual/apply
    #[arg(value_name = "BUSINESS/OPERATION", value_parser = line)]
    line: (String, String),
    /// Who submits; may be left out where the line is open to one class only
    #[arg(long, value_name = "CLASS", value_parser = one_of(Class::ALL))]
    class: Option<Class>,
    /// Through which channel; may be left out where the line has one only
    #[arg(long, value_name = "CHANNEL", value_parser = one_of(Channel::ALL))]
    channel: Option<Channel>,
    /// From which district; left out: one that no row names
    #[arg(long, value_name = "DISTRICT")]
    district: Option<District>,
    /// With which labels
    #[arg(long, value_name = "LABEL")]
    label: Vec<Label>,
    /// Attributes of the submission that policy distinguishes by
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::args::pair)]
    attribute: Vec<(String, String)>,
    /// As of an institution that opted in to settling on credit
    #[arg(long)]
    credit: bool,
    /// The instant; now where it is left out
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
}

fn line(text: &str) -> Result<(String, String), String> {
    let (business, operation) = text.split_once('/').ok_or("expected BUSINESS/OPERATION")?;
    Ok((business.to_owned(), operation.to_owned()))
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::Explain(args) => explain(run, *args).await,
        }
    }
}

async fn explain(run: &Run, args: Explain) -> Result<Exit, Failure> {
    let mut pairs = vec![
        ("business", Some(args.line.0)),
        ("operation", Some(args.line.1)),
        ("class", args.class.map(|class| class.to_string())),
        ("channel", args.channel.map(|channel| channel.to_string())),
        ("district", args.district.map(|district| district.to_string())),
        ("credit", args.credit.then(|| true.to_string())),
        ("at", args.at.map(|at| at.to_string())),
    ];
    pairs.extend(args.label.iter().map(|label| ("label", Some(label.to_string()))));
    let named = args.attribute.iter();
    pairs.extend(named.map(|(name, value)| (name.as_str(), Some(value.clone()))));
    let answer: PolicyOut = run.client.get(&query("/admin/v1/policy", &pairs)).await?;
    run.out.data(&answer, || told(run, &answer));
    Ok(Exit::Success)
}

fn told(run: &Run, answer: &PolicyOut) -> String {
    let mut text = format!(
        "{}/{} from {}/{} at {}\n{}, counter: {}\n",
        answer.business,
        answer.operation,
        answer.class,
        answer.channel,
        run.client.shown(answer.at),
        answer.disposition,
        answer.counter_action
    );
    let mut line = |name: &str, says: String| text.push_str(&format!("{name:<10}{says}\n"));
    let by = answer.policy.as_ref().map_or_else(|| "no row".to_owned(), place);
    line("because", format!("{}: {by}", answer.because));
    match (answer.resume_at, answer.resume_unknown) {
        (Some(at), _) => line("back", run.client.shown(at)),
        (None, Some(code)) => line("back", format!("nobody knows when ({code})")),
        (None, None) => {}
    }
    if let Some(gate) = answer.gate {
        line("gate", gate.to_string());
    }
    for one in &answer.service_hours {
        let state = if one.open { "open" } else { "closed" };
        let until = one.until.map(|at| format!(" until {}", run.client.shown(at)));
        line("hours", format!("{}: {state}{}", one.name, until.unwrap_or_default()));
    }
    if let Some(elsewhere) = &answer.alternative {
        line("instead", plain(elsewhere));
    }
    if !answer.bring.is_empty() {
        line("bring", plain(&answer.bring.join(", ")));
    }
    if answer.needs_report_file {
        line("needs", "a report file".to_owned());
    }
    for other in &answer.others {
        line("also", also(other));
    }
    text
}

/// A row, as people name it.
fn place(row: &RowRef) -> String {
    let clause = plain(&row.clause);
    if row.is_of_hours() {
        return format!("service hours {}, clause {clause}", row.window);
    }
    format!("row {} of {} (version {}), clause {clause}", row.row, row.window, row.version)
}

fn also(other: &OtherRowOut) -> String {
    let says = other.disposition.map_or("undecided", |disposition| disposition.as_str());
    format!("{}: {says} ({})", place(&other.policy), other.lost)
}
