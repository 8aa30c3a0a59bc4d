//! Problem bodies (RFC 9457): the one form in which either listener says no.
//!
//! The codes are a closed list; one table says for each its status, its title, whether the same
//! request may succeed later, and what a submitter does next (what an operator does next stands
//! in `admin::refusal`). A detail never repeats what was sent: an
//! identity number in a wrong field must not come back in an error, where it would be logged.

use crate::domain::cell::words;
use crate::domain::deadline::{Computed, Extension};
use crate::domain::ids::WindowId;
use crate::domain::policy::RowRef;
use crate::domain::term::Deadline;
use crate::engine::event::Sought;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

words!(
    /// Why a request was not carried out.
    Code, "problem code", {
        /// The body cannot be read.
        Malformed = "malformed",
        /// A field is wrong.
        Invalid = "invalid",
        /// A patient's credential stands where it would be stored.
        CredentialInPayload = "credential_in_payload",
        /// The key of the intent is missing or not in its form.
        IdempotencyKeyMissing = "idempotency_key_missing",
        /// The key of the intent was used for something else.
        IdempotencyKeyReused = "idempotency_key_reused",
        /// No key, or none that is good.
        Unauthenticated = "unauthenticated",
        /// The key does not have the scope.
        Forbidden = "forbidden",
        /// There is no such thing, or it is not the caller's.
        NotFound = "not_found",
        /// The path does not know this method.
        MethodNotAllowed = "method_not_allowed",
        /// The body came too slowly.
        RequestTimeout = "request_timeout",
        /// The body is too large.
        BodyTooLarge = "body_too_large",
        /// The body is of the wrong type.
        UnsupportedMediaType = "unsupported_media_type",
        /// It is in a state that does not allow this.
        WrongState = "wrong_state",
        /// It was changed in between.
        Changed = "changed",
        /// The version that was seen must be named.
        VersionMissing = "version_missing",
        /// A replacement is on its way.
        BeingReplaced = "being_replaced",
        /// What it would cancel may be a ticket that is open.
        OpenTicket = "open_ticket",
        /// Policy demands something that is missing.
        PolicyDemands = "policy_demands",
        /// A file that is named is not stored.
        AttachmentNotStored = "attachment_not_stored",
        /// The day is not covered by any stop.
        NotCovered = "not_covered",
        /// The calendar does not reach the year.
        NoCalendar = "no_calendar",
        /// Policy turns this business away for now.
        BusinessSuspended = "business_suspended",
        /// Too many requests.
        QuotaExceeded = "quota_exceeded",
        /// The disk's reserve has been reached.
        DiskReserve = "disk_reserve",
        /// Listings are being rebuilt.
        IndexUnavailable = "index_unavailable",
        /// We cannot take it now.
        Unavailable = "unavailable",
        /// The record of this transaction is damaged.
        RecordDamaged = "record_damaged",
        /// Records are damaged: nothing is decided until they are back.
        Quarantined = "quarantined",
        /// We have a defect.
        Internal = "internal",
    }
);

const ASK_WHEN_RESTORED: &str = "do not send it under a new key, the transaction is known; ask \
    again, with the same key, when the operators have restored the record";
const UPLOAD_THEN_SEND: &str =
    "upload each file that is named in errors, then send it again with the same key";
const SEND_WHEN_RESTORED: &str =
    "send it again with the same key when the operators have restored the records";

/// What is always the same about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeFacts {
    /// The HTTP status.
    pub status: u16,
    /// The title.
    pub title: &'static str,
    /// Whether the very same request may succeed later.
    pub retryable: bool,
    /// What a submitter does next.
    pub next: &'static str,
}

impl Code {
    /// The table: what is always the same about this code.
    #[must_use]
    pub const fn facts(self) -> CodeFacts {
        let (status, title, retryable, next) = match self {
            Self::Malformed => (400, "The request cannot be read", false, "correct the request"),
            Self::Invalid => (422, "Some fields are wrong", false, "correct what is named"),
            Self::CredentialInPayload => (
                422,
                "A credential stands in the payload",
                false,
                "take the credential out of the payload and send it in the field credential",
            ),
            Self::IdempotencyKeyMissing => (
                400,
                "The idempotency key is missing or malformed",
                false,
                "send an Idempotency-Key of 1 to 128 visible ASCII characters",
            ),
            Self::IdempotencyKeyReused => (
                422,
                "The idempotency key was used for other content",
                false,
                "send the first content again, or use a new key for a new intent",
            ),
            Self::Unauthenticated => {
                (401, "No valid API key", false, "send Authorization: Bearer with a valid key")
            }
            Self::Forbidden => (403, "The key may not do this", false, "use a key with the scope"),
            Self::NotFound => (404, "There is no such thing", false, "check the address"),
            Self::MethodNotAllowed => {
                (405, "The path does not know this method", false, "see the header Allow")
            }
            Self::RequestTimeout => (408, "The request came too slowly", true, "send it again"),
            Self::BodyTooLarge => (413, "The body is too large", false, "send less at once"),
            Self::UnsupportedMediaType => {
                (415, "The body is of the wrong type", false, "set Content-Type as documented")
            }
            Self::WrongState => {
                (409, "Its state does not allow this", false, "read it again, then decide")
            }
            Self::Changed => {
                (412, "It was changed in between", false, "read it again, then decide")
            }
            Self::VersionMissing => {
                (428, "The version seen must be named", false, "send If-Match with the version")
            }
            Self::BeingReplaced => {
                (409, "A replacement is on its way", true, "wait until the replacement has ended")
            }
            Self::OpenTicket => (409, "A ticket is open", false, "close or resettle it first"),
            Self::PolicyDemands => {
                (422, "Policy demands something more", false, "add what is missing")
            }
            Self::AttachmentNotStored => {
                (422, "A named file is not stored", false, UPLOAD_THEN_SEND)
            }
            Self::NotCovered => (422, "No stop covers this day", false, "check the day"),
            Self::NoCalendar => {
                (422, "The calendar does not know the year", false, "tell the operator")
            }
            Self::BusinessSuspended => (
                409,
                "This business is suspended",
                true,
                "tell the person the date and the refusal number, and come back then",
            ),
            Self::QuotaExceeded => (429, "Too many requests", true, "wait as Retry-After says"),
            Self::DiskReserve => {
                (507, "No room for new transactions", true, "send it again with the same key")
            }
            Self::IndexUnavailable => {
                (503, "Listings are being rebuilt", true, "ask again as Retry-After says")
            }
            Self::Unavailable => {
                (503, "Not available now", true, "send it again with the same key")
            }
            Self::RecordDamaged => (503, "The stored record is damaged", true, ASK_WHEN_RESTORED),
            Self::Quarantined => (503, "Stored records are damaged", true, SEND_WHEN_RESTORED),
            Self::Internal => (500, "Something failed here", true, "send it again, same key"),
        };
        CodeFacts { status, title, retryable, next }
    }
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where it is (RFC 6901).
    pub pointer: String,
    /// What is wrong with it. Never repeats the value.
    pub detail: Cow<'static, str>,
    /// What kind of mistake it is, where it has a word of its own: in windows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub code: Option<&'static str>,
}

/// One sentence in two languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Message {
    /// In Chinese.
    pub zh: String,
    /// In English.
    pub en: String,
}

/// The row of a notice that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PolicyMention {
    /// The window, or the service hours.
    #[schema(value_type = String)]
    pub window: WindowId,
    /// The window's version when it was decided; 0 for service hours, which have none.
    pub version: u32,
    /// The row's place in the notice's table, from 0.
    pub row: u32,
    /// The notice's clause.
    pub clause: String,
}

impl From<&RowRef> for PolicyMention {
    fn from(row: &RowRef) -> Self {
        let RowRef { window, version, row, clause } = row.clone();
        Self { window, version, row, clause }
    }
}

/// A deadline as it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DeadlineMention {
    /// The date given.
    #[schema(value_type = String)]
    pub original: Deadline,
    /// The date that holds.
    #[schema(value_type = String)]
    pub effective: Deadline,
    /// Whether it can no longer move because of the stops known now.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The rule that moved it; none where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The clause that the rule rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// The window that moved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub window: Option<WindowId>,
}

impl DeadlineMention {
    /// A date that one window moved.
    #[must_use]
    pub fn moved(extension: &Extension, is_final: bool) -> Self {
        Self {
            original: extension.from,
            effective: extension.to,
            is_final,
            rule: Some(extension.rule.to_string()),
            clause: Some(extension.clause.clone()),
            window: Some(extension.window.clone()),
        }
    }

    /// A date with all its moves; the last one is named.
    #[must_use]
    pub fn computed(computed: &Computed) -> Self {
        let last = computed.moves.last();
        Self {
            original: computed.original,
            effective: computed.date,
            is_final: computed.is_final,
            rule: last.map(|m| m.rule.to_string()),
            clause: last.map(|m| m.clause.clone()),
            window: last.map(|m| m.window.clone()),
        }
    }
}

/// A problem. Its fields are those of [`ProblemBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<ProblemBody>);

impl Deref for Problem {
    type Target = ProblemBody;

    fn deref(&self) -> &ProblemBody {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut ProblemBody {
        &mut self.0
    }
}

/// A problem's body. `request_id` is filled in by the server loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Stable address of this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code.
    #[schema(value_type = String)]
    pub code: Code,
    /// The title of the kind.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: Cow<'static, str>,
    /// Whether the very same request may succeed later.
    pub retryable: bool,
    /// What to do next.
    pub next: &'static str,
    /// The request, as it stands in our log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The wrong fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// When the business is planned to be back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_at: Option<String>,
    /// Why there is no `resume_at`: `no_calendar` where the business is open on working days of a
    /// year whose working days are not known.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_unknown: Option<Code>,
    /// The refusal's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The row that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<PolicyMention>,
    /// The person's deadline as it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DeadlineMention>,
    /// What the person may be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// What was named and is not there.
    #[serde(skip)]
    pub sought: Option<Sought>,
    /// Seconds for the header `Retry-After`.
    #[serde(skip)]
    pub retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let CodeFacts { status, title, retryable, next } = code.facts();
        Self(Box::new(ProblemBody {
            kind: format!("https://holdover.invalid/problems/{code}"),
            code,
            title,
            status,
            detail: detail.into(),
            retryable,
            next,
            request_id: None,
            errors: Vec::new(),
            resume_at: None,
            resume_unknown: None,
            refusal: None,
            window: None,
            deadline: None,
            message: None,
            sought: None,
            retry_after_seconds: None,
        }))
    }

    /// Wrong fields, all of them at once.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let count = errors.len();
        let detail = format!("{count} field{} wrong", if count == 1 { " is" } else { "s are" });
        let mut problem = Self::new(Code::Invalid, detail);
        problem.errors = errors;
        problem
    }

    /// The same, with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// A caller without a good key.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "the request carries no valid API key")
    }

    /// A key that lacks a scope.
    #[must_use]
    pub fn forbidden(scope: super::access::Scope) -> Self {
        Self::new(Code::Forbidden, format!("the key does not have the scope {scope}"))
    }

    /// Nothing of that name, or nothing of the caller's.
    #[must_use]
    pub fn not_found(sought: Sought) -> Self {
        let mut problem = Self::new(Code::NotFound, format!("there is no {sought}"));
        problem.sought = Some(sought);
        problem.next = match sought {
            Sought::Transaction | Sought::OpenTransaction | Sought::UntoldResult => {
                "check the number; GET /v1/transactions lists those of your institution"
            }
            Sought::OpenDependency => {
                "check the number; where that one has been applied, leave depends_on out"
            }
            Sought::Ticket | Sought::OpenTicket => {
                "check the number; GET /v1/tickets lists those of your institution"
            }
            Sought::Window | Sought::Version | Sought::Draft => {
                "check the name; GET /v1/windows lists what is planned"
            }
            Sought::Deadline => "check the number; GET /v1/deadlines lists what is registered",
            Sought::Attachment => "upload it with PUT /v1/attachments/ and its digest",
            Sought::Closing => "name exactly the cells that were closed",
            Sought::Proposal => "have it proposed again",
        };
        problem
    }

    /// The response, naming the request.
    #[must_use]
    pub fn respond(mut self, request_id: &str) -> Response {
        self.request_id = Some(request_id.to_owned());
        self.render()
    }

    fn render(&self) -> Response {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.code == Code::Unauthenticated {
            let realm = HeaderValue::from_static("Bearer realm=\"holdover\"");
            headers.insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The response. The server loop writes the body again with the request's id in it.
    fn into_response(self) -> Response {
        let mut response = self.render();
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

/// Gives a router problem bodies for unknown paths and wrong methods.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(
    router: axum::Router<S>,
) -> axum::Router<S> {
    router
        .fallback(|| async { Problem::new(Code::NotFound, "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Code::MethodNotAllowed, "the path does not know this method")
        })
}
