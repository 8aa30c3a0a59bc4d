//! `/admin/v1/deadlines/import`: cases of any institution's, row by row.
//!
//! Each row is judged by itself, so that one with a mistake stops none of the others. A case is
//! known by what it says, so that the same rows again register nothing anew: a file that was cut
//! off is sent once more from its beginning. What is answered repeats nothing of a row, because a
//! column in the wrong place may hold anything, a person's number too.

use super::State;
use super::act::{Act, carry_out, unexpected};
use super::guard::Caller;
use super::look;
use super::refusal::Refusal;
use super::text;
use super::types::{CaseImported, CaseRow, CasesImported, IMPORT_ROWS_MAX, ImportCases};
use crate::domain::identity::contains_identity_number;
use crate::domain::ids::{Business, InstitutionCode};
use crate::domain::term::{OwedBy, Said};
use crate::engine::change::Case;
use crate::engine::event::{Command, Done};
use axum::body::Body;
use axum::extract::State as Extract;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

/// What is wrong with a row: the field, and what is expected there.
type Wrong = (&'static str, String);

pub(super) async fn import(
    Extract(state): Extract<Arc<State>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Json<CasesImported>, Refusal> {
    let (body, reason): (ImportCases, _) = text::read(&caller, body, state.body_limits).await?;
    if body.rows.is_empty() || body.rows.len() > IMPORT_ROWS_MAX {
        return Err(Refusal::field("/rows", format!("expected 1 to {IMPORT_ROWS_MAX} rows")));
    }
    let count = body.rows.len();
    let mut read = Vec::with_capacity(count);
    for row in &body.rows {
        read.push(case(&state, row).await?);
    }
    let cases: Vec<Case> = read.iter().filter_map(|row| row.as_ref().ok().cloned()).collect();
    let act = Act {
        action: "deadlines.import",
        object: format!("{count} rows"),
        before: Value::Null,
        after: json!({ "rows": count, "readable": cases.len() }),
        reason,
        command: Ok(Command::RegisterCases(cases)),
    };
    let (done, audit_head) = carry_out(&state, &caller, act).await?;
    let Done::Cases(cases) = done else { return Err(unexpected()) };
    let mut cases = cases.into_iter();
    let rows = read.into_iter().map(|row| match row {
        Err((field, why)) => CaseImported {
            field: Some(field.to_owned()),
            why: Some(why),
            ..CaseImported::default()
        },
        Ok(_) => match cases.next() {
            Some(Ok(case)) => CaseImported {
                id: Some(state.numbers.deadline(case.id)),
                duplicate: case.duplicate,
                effective: Some(case.computed.date),
                ..CaseImported::default()
            },
            Some(Err(fault)) => {
                CaseImported { why: Some(fault.to_string()), ..CaseImported::default() }
            }
            None => CaseImported::default(),
        },
    });
    Ok(Json(CasesImported { rows: rows.collect(), audit_head }))
}

/// The case that a row speaks of.
async fn case(state: &State, row: &CaseRow) -> Result<Result<Case, Wrong>, Refusal> {
    let (institution, business, due, owed_by) = match read(row) {
        Ok(read) => read,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let (original, ground) = match due {
        Said::Given(original) => (original, None),
        Said::After(ground) => {
            let asked = ground.clone();
            match look::at(state, move |machine, _| machine.ends(&asked)).await? {
                Ok(day) => (day.into(), Some(ground)),
                Err(fault) => return Ok(Err(("event", fault.to_string()))),
            }
        }
    };
    let reference = state.vault.insured(row.reference.trim());
    Ok(Ok(Case { institution, business, original, reference, ground, owed_by }))
}

type Read = (InstitutionCode, Business, Said, Option<OwedBy>);

fn read(row: &CaseRow) -> Result<Read, Wrong> {
    let expected = |field: &'static str, what: &str| (field, format!("expected {what}"));
    let code = Some(row.institution.trim()).filter(|code| !contains_identity_number(code));
    let institution = code.and_then(|code| code.parse().ok());
    let institution = institution
        .ok_or_else(|| expected("institution", "an institution's code, such as H11010500001"))?;
    let business = row.business.trim().parse();
    let business = business.map_err(|_| expected("business", "a business of the catalogue"))?;
    let [original, term, event] = [&row.original, &row.term, &row.event]
        .map(|text| Some(text.trim()).filter(|text| !text.is_empty()));
    let said = Said::read(original, term, event);
    let due = said.map_err(|wrong| wrong.into_iter().next().unwrap_or_default())?;
    let owed_by = match row.owed_by.trim() {
        "" => None,
        word => {
            let what = "applicant, institution, agency, or nothing";
            Some(word.parse().map_err(|_| expected("owed_by", what))?)
        }
    };
    let reference = row.reference.trim();
    let is_plain =
        (1..=200).contains(&reference.chars().count()) && !reference.chars().any(char::is_control);
    if !is_plain {
        return Err(expected("reference", "1 to 200 characters, none of them a control character"));
    }
    Ok((institution, business, due, owed_by))
}
