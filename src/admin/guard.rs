//! Who is calling, and may they? Asked before anything of the body is read.
//!
//! The scope of a call is looked up in [`super::ROUTES`]; a path that is not there is refused,
//! so that a new route without a scope cannot be called at all.

use super::refusal::{Ours, Refusal};
use super::types::ZONE;
use super::{ROUTES, State};
use crate::web::access::{Principal, Scope};
use crate::web::problem::{Code, Problem};
use crate::web::server::REQUEST_ID;
use axum::extract::{ConnectInfo, MatchedPath, Request, State as Extract};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// The person who is calling.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The name that stands in the audit log.
    pub(super) name: String,
    /// The id of the key.
    pub(super) key_id: String,
    /// What the key may do.
    pub(super) scopes: Vec<Scope>,
    /// Where the request came from.
    pub(super) source: String,
    /// The request.
    pub(super) request_id: String,
    /// The version that the person saw, from `If-Match`.
    pub(super) seen_version: Option<u32>,
}

/// Lets a request through when its key names a person and has the scope.
pub(super) async fn check(
    Extract(state): Extract<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = text_of(request.headers(), REQUEST_ID.as_str()).unwrap_or("").to_owned();
    let caller = match identify(&state, &request, &request_id) {
        Ok(caller) => caller,
        Err(refusal) => return with_id(refusal.into_response(), &request_id),
    };
    request.extensions_mut().insert(caller);
    let mut response = with_id(next.run(request).await, &request_id);
    response.headers_mut().insert(ZONE, HeaderValue::from_static(state.zone.name()));
    response
}

fn with_id(mut response: Response, request_id: &str) -> Response {
    match response.extensions_mut().remove::<Ours>() {
        Some(ours) => ours.respond(request_id),
        None => response,
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn identify(state: &State, request: &Request, request_id: &str) -> Result<Caller, Refusal> {
    let headers = request.headers();
    let principal = text_of(headers, header::AUTHORIZATION.as_str())
        .and_then(|value| state.keys.bearer(value, state.clock.now().wall))
        .ok_or_else(Problem::unauthenticated)?;
    let scope = scope_of(request).ok_or_else(|| {
        Problem::new(Code::Forbidden, "this call has no scope and cannot be made")
    })?;
    let name = person(&principal)?;
    if !principal.may(scope) {
        return Err(Problem::forbidden(scope).into());
    }
    Ok(Caller {
        name: name.to_owned(),
        key_id: principal.key_id.clone(),
        scopes: principal.scopes.clone(),
        source: source_of(request),
        request_id: request_id.to_owned(),
        seen_version: seen_version(headers)?,
    })
}

fn person(principal: &Principal) -> Result<&str, Refusal> {
    principal.operator().ok_or_else(|| {
        Problem::new(Code::Forbidden, "only a key that names a person may operate").into()
    })
}

fn scope_of(request: &Request) -> Option<Scope> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let method = match request.method().as_str() {
        // The router answers HEAD by the handler of GET.
        "HEAD" => "GET",
        other => other,
    };
    ROUTES.iter().find(|r| r.path == path && r.method == method).map(|r| r.scope)
}

fn source_of(request: &Request) -> String {
    match request.extensions().get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(address)) => address.to_string(),
        None => "unknown".to_owned(),
    }
}

fn seen_version(headers: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse().ok();
    number.map(Some).ok_or_else(|| {
        Problem::new(Code::Malformed, "If-Match must be the version in quotes, such as \"3\"")
            .into()
    })
}
