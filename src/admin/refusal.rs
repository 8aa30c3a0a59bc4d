//! How the operators' interface says no: the shared problem bodies, and the few codes that only
//! an operator can meet.
//!
//! A refusal never repeats what was sent.

use super::types::OperatorCode;
use crate::engine::event::Fault;
use crate::web::problem::{Code, FieldError, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::borrow::Cow;

/// A request that was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// For a reason that submitters can meet too.
    Shared(Box<Problem>),
    /// For a reason that only operators meet.
    Ours(Ours),
}

/// A refusal of ours, before it knows its request.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    code: OperatorCode,
    detail: Cow<'static, str>,
    pointer: Option<&'static str>,
}

impl Refusal {
    /// A wrong field.
    pub(super) fn field(pointer: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::fields(vec![FieldError { pointer: pointer.to_owned(), detail: detail.into() }])
            .into()
    }

    /// A refusal that only operators meet.
    pub(super) fn ours(code: OperatorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Ours(Ours { code, detail: detail.into(), pointer: None })
    }

    /// The same, naming the field.
    pub(super) fn ours_at(
        code: OperatorCode,
        pointer: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Ours(Ours { code, detail: detail.into(), pointer: Some(pointer) })
    }

    /// The engine has ended or cannot commit.
    pub(super) fn unavailable() -> Self {
        Problem::new(Code::Unavailable, "the engine is stopping or cannot write its journal").into()
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Shared(problem) => problem.code.as_str(),
            Self::Ours(ours) => ours.code.as_str(),
        }
    }

    /// Whether it is certain that nothing was changed.
    pub(super) fn is_certain(&self) -> bool {
        match self {
            Self::Shared(problem) => match problem.code {
                Code::Unavailable | Code::Internal => false,
                Code::Malformed
                | Code::Invalid
                | Code::CredentialInPayload
                | Code::IdempotencyKeyMissing
                | Code::IdempotencyKeyReused
                | Code::Unauthenticated
                | Code::Forbidden
                | Code::NotFound
                | Code::MethodNotAllowed
                | Code::RequestTimeout
                | Code::BodyTooLarge
                | Code::UnsupportedMediaType
                | Code::WrongState
                | Code::Changed
                | Code::VersionMissing
                | Code::BeingReplaced
                | Code::PolicyDemands
                | Code::NotCovered
                | Code::NoCalendar
                | Code::BusinessSuspended
                | Code::QuotaExceeded
                | Code::DiskReserve
                | Code::IndexUnavailable
                | Code::RecordDamaged
                | Code::Quarantined => true,
            },
            Self::Ours(_) => true,
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Shared(Box::new(problem))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        let code = match fault {
            Fault::NotFound(_) => Code::NotFound,
            Fault::WrongState { .. } => Code::WrongState,
            Fault::Changed { .. } => Code::Changed,
            Fault::BeingReplaced => Code::BeingReplaced,
            Fault::PolicyDemands(_) => Code::PolicyDemands,
            Fault::NotCovered(_) => Code::NotCovered,
            Fault::Invalid(_) => Code::Invalid,
            Fault::Full(_) => Code::DiskReserve,
            Fault::NoCalendar(_) => Code::NoCalendar,
            Fault::Quarantined => Code::Quarantined,
        };
        Problem::new(code, detail).into()
    }
}

const fn title_and_next(code: OperatorCode) -> (&'static str, &'static str) {
    use OperatorCode::{AuditUnavailable, CellsMissing, PersonalDataInText, ReasonMissing};
    match code {
        ReasonMissing => ("A reason is mandatory", "say why, in at most 500 characters"),
        PersonalDataInText => (
            "The text names a person",
            "leave identity numbers out; name the transaction, ticket or case instead",
        ),
        CellsMissing => {
            ("No cells are named", "name the cells, or set all to true where every cell is meant")
        }
        AuditUnavailable => (
            "The audit log cannot be written",
            "make room on the data folder's disk, restart the daemon, then look whether the act \
             is still needed",
        ),
    }
}

impl Ours {
    /// The response, naming the request.
    pub(super) fn respond(&self, request_id: &str) -> Response {
        let (title, next) = title_and_next(self.code);
        let status = self.code.status();
        let mut body = serde_json::json!({
            "type": format!("https://holdover.invalid/problems/{}", self.code),
            "code": self.code.as_str(),
            "title": title,
            "status": status,
            "detail": self.detail,
            "retryable": status == 503,
            "next": next,
            "request_id": request_id,
        });
        if let Some(pointer) = self.pointer {
            body["errors"] = serde_json::json!([{ "pointer": pointer, "detail": self.detail }]);
        }
        let mut response = Response::new(body.to_string().into());
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Shared(problem) => problem.into_response(),
            Self::Ours(ours) => {
                // The guard writes the body again with the request's id in it.
                let mut response = ours.respond("");
                response.extensions_mut().insert(ours);
                response
            }
        }
    }
}
