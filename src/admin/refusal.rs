//! How the operators' interface says no: the shared problem bodies, and the few codes that only
//! an operator can meet.
//!
//! A refusal never repeats what was sent.

use super::types::OperatorCode;
use crate::domain::review::WindowFault;
use crate::engine::event::{Fault, Sought};
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
    proposal: Option<u64>,
}

impl Refusal {
    /// A wrong field.
    pub(super) fn field(pointer: &str, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem::fields(vec![FieldError {
            pointer: pointer.to_owned(),
            detail: detail.into(),
            code: None,
        }])
        .into()
    }

    /// A refusal that only operators meet.
    pub(super) fn ours(code: OperatorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Ours(Ours { code, detail: detail.into(), pointer: None, proposal: None })
    }

    /// The same, naming the field.
    pub(super) fn ours_at(
        code: OperatorCode,
        pointer: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Ours(Ours { code, detail: detail.into(), pointer: Some(pointer), proposal: None })
    }

    /// Nothing was done: the order waits as `proposal` for a second person.
    pub(super) fn proposed(proposal: u64, detail: String) -> Self {
        let (code, detail) = (OperatorCode::TwoPersons, detail.into());
        Self::Ours(Ours { code, detail, pointer: None, proposal: Some(proposal) })
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

    /// Whether it is for how that stands which it is about, rather than for what a body says.
    pub(super) fn is_of_state(&self) -> bool {
        match self {
            Self::Shared(problem) => problem.code == Code::Changed,
            Self::Ours(ours) => ours.code == OperatorCode::WindowCompleted,
        }
    }

    /// Whether it says that no result of that number is to be told.
    pub(super) fn is_of_untold(&self) -> bool {
        match self {
            Self::Shared(problem) => problem.sought == Some(Sought::UntoldResult),
            Self::Ours(_) => false,
        }
    }

    /// The proposal that the order waits as, where it does.
    pub(super) fn proposal(&self) -> Option<u64> {
        match self {
            Self::Shared(_) => None,
            Self::Ours(ours) => ours.proposal,
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
                | Code::AttachmentNotStored
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
                | Code::OpenTicket
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
    fn from(mut problem: Problem) -> Self {
        problem.next = match problem.sought {
            Some(sought) => how_to_find(sought),
            None => next_for_operators(problem.code),
        };
        Self::Shared(Box::new(problem))
    }
}

const fn how_to_find(sought: Sought) -> &'static str {
    match sought {
        Sought::Transaction | Sought::OpenTransaction | Sought::OpenDependency => {
            "check the number; holdover transaction list shows what is open, and what has ended is \
             found by its number alone"
        }
        Sought::UntoldResult => {
            "nothing was noted; holdover transaction list --untold shows whose result is not told"
        }
        Sought::Ticket | Sought::OpenTicket => {
            "check the number; holdover ticket list shows the open tickets"
        }
        Sought::Window => "check the name; holdover window list shows every window there is",
        Sought::Deadline => "check the number; holdover deadline list shows what is registered",
        Sought::Draft => {
            "it has lapsed, or was confirmed or dismissed: holdover window list shows drafts and windows"
        }
        Sought::Version => "check the number; holdover window diff shows every version of a window",
        Sought::Proposal => {
            "it was approved or rejected, has lapsed, or a restart has forgotten it: holdover \
             proposal list shows what waits; have it proposed again"
        }
        Sought::Attachment => "only its submitter finds it, by its digest",
        Sought::Closing => {
            "nothing was changed; name exactly the cells that were closed: holdover gate list shows \
             every closing"
        }
    }
}

/// What an operator does next: with an order at hand, and often at night.
const fn next_for_operators(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => {
            "use an operator's key that is in force: name its file by --key-file or \
             HOLDOVER_KEY_FILE; holdover key list shows the keys there are"
        }
        Code::Forbidden => {
            "nothing was done; have it done by somebody whose key has the scope, or make a key \
             that has it: holdover key create"
        }
        Code::WrongState => {
            "nothing was done; look at it again: somebody was faster, or it needs another order"
        }
        Code::Changed => {
            "nothing was done; look at it as it is now, then decide again, naming that version"
        }
        Code::NoCalendar => {
            "give the daemon a calendar that has the year: the key file of [calendar] in the \
             configuration names it; then restart"
        }
        Code::DiskReserve => "make room on the disk of the data folder",
        Code::Unavailable => {
            "the daemon is stopping or cannot write its journal, and an order may have taken \
             effect: see /readyz and the log, and once it is ready holdover audit tail, before it \
             is given again"
        }
        Code::RecordDamaged => {
            "restore the file that is named from a copy; the daemon then reads it without a \
             restart, and a dead letter goes on by holdover dead-letter redrive"
        }
        Code::Quarantined => {
            "nothing was done, and no order is taken while records are missing: stop the daemon, \
             restore the files that holdover journal verify names, start it without --quarantine, \
             then give the order again"
        }
        Code::Internal => {
            "see the log under the number of the request; where this was an order, see by \
             holdover audit tail and by looking whether it took effect before it is given again"
        }
        Code::Malformed
        | Code::Invalid
        | Code::CredentialInPayload
        | Code::AttachmentNotStored
        | Code::IdempotencyKeyMissing
        | Code::IdempotencyKeyReused
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::RequestTimeout
        | Code::BodyTooLarge
        | Code::UnsupportedMediaType
        | Code::VersionMissing
        | Code::BeingReplaced
        | Code::OpenTicket
        | Code::PolicyDemands
        | Code::NotCovered
        | Code::BusinessSuspended
        | Code::QuotaExceeded
        | Code::IndexUnavailable => code.facts().next,
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let detail = fault.to_string();
        let code = match fault {
            Fault::NotFound(sought) => return Problem::not_found(sought).into(),
            Fault::WindowCompleted(_) => return Self::ours(OperatorCode::WindowCompleted, detail),
            Fault::TwoPersons(..) => return Self::ours(OperatorCode::TwoPersons, detail),
            Fault::WrongWindow(faults) => {
                return Problem::fields(faults.into_iter().map(field_of).collect()).into();
            }
            Fault::WrongState { .. } => Code::WrongState,
            Fault::Changed { .. } => Code::Changed,
            Fault::BeingReplaced => Code::BeingReplaced,
            Fault::OpenTicket => Code::OpenTicket,
            Fault::PolicyDemands(_) => Code::PolicyDemands,
            Fault::Attachments(_) => Code::AttachmentNotStored,
            Fault::NotCovered(_) => Code::NotCovered,
            Fault::Invalid(_) => Code::Invalid,
            Fault::Full(_) => Code::DiskReserve,
            Fault::NoCalendar(_) => Code::NoCalendar,
            Fault::Quarantined => Code::Quarantined,
        };
        Problem::new(code, detail).into()
    }
}

/// The place in a body that declares a window, of a fault's.
pub(super) fn pointer(field: &str) -> String {
    let path = field.replace(['[', '.'], "/").replace(']', "");
    match path.strip_prefix("row") {
        Some(rest) => format!("/policy{rest}"),
        None => format!("/{path}"),
    }
}

/// A fault of a window as the place in the body that declared it.
fn field_of(fault: WindowFault) -> FieldError {
    let code = Some(fault.code.as_str());
    FieldError { pointer: pointer(&fault.field), detail: fault.why.into(), code }
}

const fn title_and_next(code: OperatorCode) -> (&'static str, &'static str) {
    use OperatorCode::{
        AuditUnavailable, CellsMissing, PersonalDataInText, ReasonMissing, TwoPersons,
        WindowCompleted,
    };
    match code {
        ReasonMissing => ("A reason is mandatory", "say why, in at most 500 characters"),
        PersonalDataInText => (
            "The text names a person",
            "leave identity numbers out; name the transaction, ticket or case instead",
        ),
        CellsMissing => {
            ("No cells are named", "name the cells, or set all to true where every cell is meant")
        }
        TwoPersons => (
            "Another person is needed",
            "nothing was done yet: have another person look at it by holdover proposal list and \
             agree by holdover proposal approve",
        ),
        WindowCompleted => ("The window is over", "declare a new window for another stop"),
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
        if let Some(proposal) = self.proposal {
            body["proposal"] = proposal.into();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::review::FaultCode;

    fn next_of(refusal: Refusal) -> &'static str {
        match refusal {
            Refusal::Shared(problem) => problem.next,
            Refusal::Ours(ours) => title_and_next(ours.code).1,
        }
    }

    #[test]
    fn every_mistake_of_a_window_names_its_place_in_the_body() {
        let fault = |field: &str| WindowFault::error(FaultCode::Undecided, field, "why");
        let faults = ["row[3].cells.business", "row", "notice.source", "ends_at"].map(fault);
        let Refusal::Shared(problem) = Fault::WrongWindow(faults.into()).into() else { panic!() };
        let places: Vec<&str> = problem.errors.iter().map(|e| e.pointer.as_str()).collect();
        assert!(problem.errors.iter().all(|e| e.code == Some("undecided")));
        assert_eq!(places, ["/policy/3/cells/business", "/policy", "/notice/source", "/ends_at"]);
    }

    #[test]
    fn an_operator_is_told_what_an_operator_can_do() {
        let unknown = next_of(Fault::NotFound(Sought::Window).into());
        assert!(unknown.contains("holdover window list"), "{unknown}");
        let seen = next_of(Problem::not_found(Sought::Window).into());
        assert_eq!(unknown, seen);
        let quarantined = next_of(Fault::Quarantined.into());
        assert!(quarantined.contains("holdover journal verify"), "{quarantined}");
        for &code in Code::ALL {
            let next = next_of(Problem::new(code, "a test").into());
            let submitters = [
                Code::IdempotencyKeyMissing,
                Code::IdempotencyKeyReused,
                Code::CredentialInPayload,
                Code::AttachmentNotStored,
                Code::BusinessSuspended,
            ];
            let theirs = next.contains("same key") || next.contains("the operator");
            assert!(!theirs || submitters.contains(&code), "{code}: {next}");
        }
    }
}
