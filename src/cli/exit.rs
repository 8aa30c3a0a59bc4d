//! How a command ends: its exit code, and the failure behind it.

use crate::admin::types::OperatorCode;
use crate::web::problem::Code;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// The exit codes. Scripts rest on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Success = 0,
    /// It failed.
    Failure = 1,
    /// It was asked wrongly.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Its state, or somebody else's change, stands against it.
    Conflict = 4,
    /// The daemon cannot do it now, or a check is red.
    NotReady = 5,
    /// Policy or a missing scope forbids it.
    Refused = 6,
    /// The daemon cannot be reached.
    Unreachable = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The exit code that belongs to a problem's code; its HTTP status decides about codes that a
/// newer daemon may send.
#[must_use]
pub fn exit_of(code: &str, status: u16) -> Exit {
    if let Ok(code) = code.parse::<Code>() {
        return exit_of_shared(code);
    }
    if let Ok(code) = code.parse::<OperatorCode>() {
        return match code {
            OperatorCode::ReasonMissing | OperatorCode::CellsMissing => Exit::Usage,
            OperatorCode::PersonalDataInText | OperatorCode::TwoPersons => Exit::Refused,
            OperatorCode::WindowCompleted => Exit::Conflict,
            OperatorCode::AuditUnavailable => Exit::NotReady,
        };
    }
    match status {
        400 | 405 | 413 | 415 | 422 | 428 => Exit::Usage,
        401 | 403 => Exit::Refused,
        404 | 410 => Exit::NotFound,
        409 | 412 => Exit::Conflict,
        429 | 503 | 507 => Exit::NotReady,
        _ => Exit::Failure,
    }
}

fn exit_of_shared(code: Code) -> Exit {
    match code {
        Code::Malformed
        | Code::Invalid
        | Code::CredentialInPayload
        | Code::AttachmentNotStored
        | Code::IdempotencyKeyMissing
        | Code::MethodNotAllowed
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::VersionMissing
        | Code::NotCovered => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::IdempotencyKeyReused
        | Code::WrongState
        | Code::Changed
        | Code::BeingReplaced
        | Code::OpenTicket => Exit::Conflict,
        Code::QuotaExceeded
        | Code::DiskReserve
        | Code::IndexUnavailable
        | Code::Unavailable
        | Code::RecordDamaged
        | Code::Quarantined
        | Code::NoCalendar => Exit::NotReady,
        Code::Unauthenticated | Code::Forbidden | Code::PolicyDemands | Code::BusinessSuspended => {
            Exit::Refused
        }
        Code::RequestTimeout | Code::Internal => Exit::Failure,
    }
}

/// A problem body, as far as people need it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProblemBody {
    pub(super) code: String,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) status: u16,
    #[serde(default)]
    pub(super) detail: String,
    #[serde(default)]
    pub(super) next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
    /// The number of the proposal that the order waits as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) proposal: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<FieldBody>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FieldBody {
    pub(super) pointer: String,
    pub(super) detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The daemon said no.
    Problem(Box<ProblemBody>),
    /// It failed on this side.
    Local(Exit, String),
}

impl Failure {
    pub(super) fn local(exit: Exit, text: impl Into<String>) -> Self {
        Self::Local(exit, text.into())
    }

    /// Anything that failed here, told in its own words.
    pub(super) fn of(error: impl std::fmt::Display) -> Self {
        Self::local(Exit::Failure, error.to_string())
    }

    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::Local(Exit::Usage, text.into())
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Problem(problem) => exit_of(&problem.code, problem.status),
            Self::Local(exit, _) => *exit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ProblemBody;
    use serde_json::json;

    #[test]
    fn a_problem_is_passed_on_with_the_number_of_its_proposal() {
        let told = json!({
            "code": "two_persons", "title": "Another person is needed", "status": 409,
            "detail": "it waits as proposal 12", "next": "have another person look at it",
            "request_id": "1", "proposal": 12,
        });
        let body: ProblemBody = serde_json::from_value(told.clone()).unwrap();
        assert_eq!(serde_json::to_value(body).unwrap(), told);
    }
}
