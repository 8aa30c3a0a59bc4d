//! `/admin/v1/policy`: what would be done with a submission of any class, district and labels, and
//! why; by the function that decides real ones.

use super::State;
use super::look;
use super::refusal::Refusal;
use super::types::{HoursThenOut, OtherRowOut, PolicyOut};
use crate::domain::catalogue::{Catalogue, Line, SPECIAL_CASE};
use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::ids::{Business, District, Label};
use crate::domain::time::Timestamp;
use crate::engine::explain::{Asked, Explained};
use crate::web::problem::{Code, FieldError, Problem};
use axum::Json;
use axum::extract::{Query, State as Extract};
use axum::http::Uri;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is asked about, as far as it could be read without the catalogue. What else the query names
/// are attributes.
#[derive(Default)]
struct Question {
    business: Option<Business>,
    operation: Option<Operation>,
    class: Option<Class>,
    channel: Option<Channel>,
    district: Option<District>,
    labels: Vec<Label>,
    credit: Option<bool>,
    at: Option<Timestamp>,
    attributes: BTreeMap<String, String>,
    problems: Vec<FieldError>,
}

impl Question {
    fn read(uri: &Uri) -> Result<Self, Refusal> {
        let pairs: Query<Vec<(String, String)>> = Query::try_from_uri(uri)
            .map_err(|_| Refusal::field("", "the query string cannot be read"))?;
        let mut question = Self::default();
        for (name, value) in pairs.0 {
            question.take(name, value);
        }
        Ok(question)
    }

    fn take(&mut self, name: String, value: String) {
        // What is wrong is named, and never what was sent.
        let problem = match name.as_str() {
            "business" => once(&mut self.business, &value, "a business, such as filing.x"),
            "operation" => once(&mut self.operation, &value, "an operation"),
            "class" => once(&mut self.class, &value, "a class of submitters"),
            "channel" => once(&mut self.channel, &value, "a channel"),
            "district" => once(&mut self.district, &value, "a district"),
            "credit" => once(&mut self.credit, &value, "true or false"),
            "at" => once(&mut self.at, &value, "an instant with its offset"),
            "label" => {
                let label = value.parse();
                self.labels.extend(label.as_ref().ok().cloned());
                label.err().map(|_| "expected a label".to_owned())
            }
            _ => {
                let before = self.attributes.insert(name.clone(), value);
                before.map(|_| "is named twice".to_owned())
            }
        };
        if let Some(detail) = problem {
            let known = !self.attributes.contains_key(&name);
            let pointer = if known { format!("/{name}") } else { String::new() };
            self.problems.push(FieldError { pointer, detail: detail.into(), code: None });
        }
    }

    fn wrong(&mut self, name: &str, detail: impl Into<String>) {
        let (pointer, detail) = (format!("/{name}"), detail.into().into());
        self.problems.push(FieldError { pointer, detail, code: None });
    }

    /// The line, the class and the channel that are meant.
    fn line<'c>(&mut self, catalogue: &'c Catalogue) -> Option<(&'c Line, Class, Channel)> {
        for (name, given) in
            [("business", self.business.is_some()), ("operation", self.operation.is_some())]
        {
            if !given && !self.problems.iter().any(|p| p.pointer == format!("/{name}")) {
                self.wrong(name, "is missing");
            }
        }
        let (business, operation) = (self.business.as_ref()?, self.operation?);
        let Some(line) = catalogue.line(business, operation) else {
            let known = catalogue.knows(business);
            let (name, what) =
                if known { ("operation", "operation of it") } else { ("business", "business") };
            self.wrong(name, format!("the catalogue has no such {what}"));
            return None;
        };
        let class = self.class.or(only(&line.classes));
        let channel = self.channel.or(only(&line.channels));
        match class {
            None => self.wrong("class", "is missing; the line is open to several"),
            Some(class) if !line.classes.contains(&class) => {
                self.wrong("class", "the line is not open to this class");
            }
            Some(_) => {}
        }
        match channel {
            None => self.wrong("channel", "is missing; the line is open through several"),
            Some(channel) if !line.channels.contains(&channel) => {
                self.wrong("channel", "the line is not open through this channel");
            }
            Some(_) => {}
        }
        Some((line, class?, channel?))
    }
}

/// Puts what `value` says into `place`; in words what is wrong with it.
fn once<T: std::str::FromStr>(
    place: &mut Option<T>,
    value: &str,
    expected: &'static str,
) -> Option<String> {
    if place.is_some() {
        return Some("is named twice".to_owned());
    }
    *place = value.parse().ok();
    place.is_none().then(|| format!("expected {expected}"))
}

fn only<T: Copy>(list: &[T]) -> Option<T> {
    match list {
        [only] => Some(*only),
        _ => None,
    }
}

pub(super) async fn explain(
    Extract(state): Extract<Arc<State>>,
    uri: Uri,
) -> Result<Json<PolicyOut>, Refusal> {
    let question = Question::read(&uri)?;
    let answered = look::at(&state, move |machine, now| {
        let ask = |asked: &Asked<'_>, at| machine.explain(asked, at, now.wall);
        answer(question, machine.catalogue(), ask)
    });
    answered.await?.map(Json).map_err(|problems| Problem::fields(problems).into())
}

fn answer(
    mut question: Question,
    catalogue: &Catalogue,
    ask: impl FnOnce(&Asked<'_>, Option<Timestamp>) -> Explained,
) -> Result<PolicyOut, Vec<FieldError>> {
    let found = question.line(catalogue);
    let mut attributes = std::mem::take(&mut question.attributes);
    if let Some((line, ..)) = found {
        for (name, value) in &attributes {
            if let Err(why) = line.cell_value(name, value) {
                // The name may be anything.
                let known = line.attributes.contains_key(name);
                question.wrong(if known { name } else { "" }, why);
            }
        }
        if line.has_special_case() {
            attributes.entry(SPECIAL_CASE.to_owned()).or_insert_with(|| false.to_string());
        }
        for name in line.lacking(&attributes) {
            let why = "is missing, and policy may distinguish by it: --attribute NAME=VALUE";
            question.wrong(name, why);
        }
    }
    let Some((line, class, channel)) = found.filter(|_| question.problems.is_empty()) else {
        return Err(question.problems);
    };
    let anywhere = || "anywhere".parse::<District>().ok();
    let Some(district) = question.district.or_else(anywhere) else { return Err(Vec::new()) };
    question.labels.sort();
    question.labels.dedup();
    let cell = line.cell(class, channel, &district, &question.labels, &attributes);
    let asked = Asked {
        cell: &cell,
        normal: line.normal,
        queued: line.queued,
        credit: question.credit.unwrap_or(false),
    };
    let credit = asked.credit;
    let said = ask(&asked, question.at);
    Ok(PolicyOut {
        business: cell.business,
        operation: cell.operation,
        class,
        channel,
        district,
        labels: question.labels,
        attributes: cell.attributes,
        credit,
        upstream: cell.upstream,
        at: said.at,
        disposition: said.decision.disposition,
        counter_action: said.decision.advice,
        because: said.because,
        policy: said.decision.row,
        resume_at: said.decision.resume_at,
        resume_unknown: said.unknown.map(|_| Code::NoCalendar),
        alternative: said.decision.alternative,
        bring: said.decision.bring,
        needs_report_file: said.decision.needs_report_file,
        gate: said.gate,
        service_hours: said
            .hours
            .into_iter()
            .map(|one| HoursThenOut { name: one.name, open: one.is_open, until: one.until })
            .collect(),
        others: said
            .others
            .into_iter()
            .map(|one| OtherRowOut {
                policy: one.row,
                disposition: one.disposition,
                lost: one.lost,
            })
            .collect(),
    })
}
