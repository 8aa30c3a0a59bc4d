//! What people write: reasons, and the bodies that carry them.
//!
//! The one place where a text is checked for identity numbers, and the one place where the
//! words of a notice become instants.

use super::guard::Caller;
use super::refusal::Refusal;
use super::types::{
    Because, ChangeWindow, CloseGates, ConfirmOutage, DeclareWindow, ForCells, ImportCases,
    MoveEnd, OperatorCode, REASON_CHARS_MAX, Resolve, RestoreCells, ResultTold,
};
use crate::domain::identity::contains_identity_number;
use crate::domain::notice::parse_stop;
use crate::domain::time::{CivilDate, Interval, Zone};
use crate::web::body::{self, BodyLimits};
use crate::web::problem::{Code, Problem};
use axum::body::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a reason may not be written down, if it may not.
#[must_use]
pub fn fault_in_reason(text: &str) -> Option<(OperatorCode, &'static str)> {
    let text = text.trim();
    if !(1..=REASON_CHARS_MAX).contains(&text.chars().count()) {
        return Some((OperatorCode::ReasonMissing, "expected 1 to 500 characters"));
    }
    contains_identity_number(text)
        .then_some((OperatorCode::PersonalDataInText, "it contains an identity number"))
}

/// A reason that may be written down. There is no act without one.
#[derive(Debug, Clone)]
pub(super) struct Reason(String);

impl Reason {
    /// Checks what an operator gave as the reason.
    pub(super) fn check(text: &str) -> Result<Self, Refusal> {
        match fault_in_reason(text) {
            Some((code, why)) => Err(Refusal::ours_at(code, "/reason", why)),
            None => Ok(Self(text.trim().to_owned())),
        }
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Refuses a body in which any text holds an identity number.
pub(super) fn no_personal_data<T: Serialize>(body: &T) -> Result<(), Refusal> {
    let text = serde_json::to_string(body)
        .map_err(|_| Problem::new(Code::Internal, "the body could not be looked through"))?;
    if contains_identity_number(&text) {
        return Err(Refusal::ours(
            OperatorCode::PersonalDataInText,
            "a text in the body contains an identity number",
        ));
    }
    Ok(())
}

/// The stop that the sentence `text` of a notice published on `published` speaks of.
pub(super) fn stop(text: &str, published: CivilDate, zone: Zone) -> Result<Interval, Refusal> {
    parse_stop(text, published, zone).map_err(|error| Refusal::field("/text", error.to_string()))
}

/// A body that says why.
pub(super) trait Reasoned: DeserializeOwned {
    /// What it says.
    fn reason(&self) -> &str;
}

macro_rules! reasoned {
    ($($body:ty),+) => {
        $(impl Reasoned for $body {
            fn reason(&self) -> &str {
                &self.reason
            }
        })+
    };
}

reasoned!(
    Because,
    ChangeWindow,
    CloseGates,
    ConfirmOutage,
    DeclareWindow,
    ForCells,
    ImportCases,
    MoveEnd,
    Resolve,
    RestoreCells,
    ResultTold
);

/// Reads a JSON body and checks its reason. An absent body counts as an empty object, so that a
/// missing reason is what is complained about.
pub(super) async fn read<T: Reasoned>(
    _caller: &Caller,
    body: Body,
    limits: BodyLimits,
) -> Result<(T, Reason), Refusal> {
    let bytes = body::read(body, limits).await?;
    let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
    let body: T = serde_json::from_slice(bytes).map_err(|error| explain(&error))?;
    let reason = Reason::check(body.reason())?;
    Ok((body, reason))
}

/// Says where a body is wrong without repeating it.
fn explain(error: &serde_json::Error) -> Refusal {
    let place = format!("line {}, column {}", error.line(), error.column());
    if !error.is_data() {
        return Problem::new(Code::Malformed, format!("the body is no JSON, see {place}")).into();
    }
    let said = error.to_string();
    // The name of a missing field is ours; anything else serde says may quote what was sent.
    let detail = match said.strip_prefix("missing field `").and_then(|s| s.split_once('`')) {
        Some((field, _)) => format!("the field {field} is missing"),
        None => format!("an unknown field, or a value of the wrong kind, at {place}"),
    };
    Refusal::field("", detail)
}
