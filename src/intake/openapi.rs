//! The API document, made from the handlers; a test holds it to the routes and to a golden file.

use super::{
    announce, answer, attachments, batch, bundle, calendar, deadlines, lookup, plan, receipt,
    submit, tickets,
};
use crate::web::problem;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// A submission. Unknown fields are refused. Only described here: `wire` and `check` read it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Submission)]
pub(super) struct SubmissionBody {
    /// A business of the catalogue.
    #[schema(example = "reimbursement.manual")]
    business: String,
    /// What is done to it.
    #[schema(example = "apply")]
    operation: String,
    /// The reference to the insured person; kept sealed.
    insured: String,
    /// The visit: what the order of several submissions hangs on, where there is one.
    visit: Option<String>,
    /// One of the key's channels; the only one where not said.
    channel: Option<String>,
    /// When the business happened, with its offset.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// When the person handed it in, with its offset.
    #[schema(format = DateTime)]
    received_from_person_at: Option<String>,
    /// A decimal with at most two places, not negative.
    #[schema(example = "1234.50")]
    amount: Option<String>,
    /// The person's deadline.
    #[schema(format = Date)]
    deadline: Option<String>,
    /// The ground of a special case, as your own records name it; kept sealed.
    ground: Option<String>,
    /// Attributes, typed by the catalogue.
    #[schema(value_type = Option<Object>)]
    attributes: Option<BTreeMap<String, String>>,
    /// Files, by digest; uploaded before (`PUT /v1/attachments/{digest}`), unless the business takes
    /// digests alone.
    attachments: Option<Vec<AttachmentBody>>,
    /// Paper that is kept at the counter; kept sealed.
    paper: Option<Vec<PaperBody>>,
    /// The transaction whose place it takes.
    replaces: Option<String>,
    /// The transaction that must be applied first.
    depends_on: Option<String>,
    /// For a backfill: the first day that it covers.
    #[schema(format = Date)]
    covers_from: Option<String>,
    /// The patient's credential for one live attempt; never stored.
    credential: Option<String>,
    /// Forwarded to the core byte for byte.
    #[schema(value_type = Object)]
    payload: String,
}

/// A submission with its own key.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BatchLine)]
pub(super) struct BatchLineBody {
    /// 1 to 128 visible ASCII characters.
    idempotency_key: String,
    #[serde(flatten)]
    submission: SubmissionBody,
}

/// A file, by digest.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Attachment)]
pub(super) struct AttachmentBody {
    /// Its name.
    name: String,
    /// `sha256:` and 64 hexadecimal digits.
    digest: String,
    /// Its size.
    bytes: u64,
}

/// Paper kept at the counter.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Paper)]
pub(super) struct PaperBody {
    /// What it is; 1 to 64 characters.
    kind: String,
    /// How many sheets, from 1.
    sheets: u32,
    /// The number of the shelf that it lies on; 1 to 64 characters.
    shelf: String,
}

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hk_live_…");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme.build()));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdover, for submitters",
        version = "1",
        description = "Submit settlements, filings and reimbursements; also while the core is away.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        submit::one,
        batch::submit,
        submit::withdraw,
        lookup::one,
        lookup::list,
        attachments::store,
        attachments::show,
        attachments::is_there,
        tickets::list,
        tickets::close,
        plan::policy,
        bundle::fetch,
        bundle::keys,
        plan::windows,
        announce::listing::list,
        calendar::feed,
        deadlines::register,
        deadlines::list,
        deadlines::check,
        document,
    ),
    components(schemas(
        problem::ProblemBody,
        receipt::Receipt<'static>,
        answer::Waited<'static>,
        batch::LineAnswer<'static>,
    )),
    modifiers(&BearerKey)
)]
struct Document;

/// The document as text.
#[must_use]
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let document = Document::openapi();
        let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
        text.push('\n');
        text
    })
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "document",
    responses((status = 200, description = "This document", content_type = "application/json"))
)]
pub(super) async fn document() -> Response {
    let mut response = Response::new(text().into());
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
