//! One call to a subscriber: a connection, a request, the status of its answer.
//!
//! Plain HTTP, as everywhere in this product: where the way leaves the building, a proxy beside the
//! daemon speaks TLS. Redirects are not followed, and nothing of an answer's body is read.

use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderMap, Request, Uri};
use bytes::Bytes;
use chrono::DateTime;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a receiver may take to answer.
const ANSWER: Duration = Duration::from_secs(20);

/// What a receiver said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// The headers that go with a body.
pub(super) struct Signed<'a> {
    pub(super) id: &'a str,
    /// Seconds since the Unix epoch.
    pub(super) at: i64,
    pub(super) signature: String,
}

/// Sends `body` to `url`.
///
/// # Errors
/// In words, when there is no answer.
pub(super) async fn post(url: &Uri, signed: Signed<'_>, body: Vec<u8>) -> Result<Answer, String> {
    let authority = url.authority().ok_or("the address has no host")?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("holdover/", env!("CARGO_PKG_VERSION")))
        .header("webhook-id", signed.id)
        .header("webhook-timestamp", signed.at)
        .header("webhook-signature", signed.signature)
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let host = authority.host().trim_matches(['[', ']']);
    let port = authority.port_u16().unwrap_or(80);
    let stream = match timeout(CONNECT, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("it does not take the connection".to_owned()),
    };
    let exchange = async move {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(sender.send_request(request));
        let answer = tokio::select! {
            answer = &mut answered => answer,
            // It may have ended after the answer was read.
            _ = &mut connection => answered.await,
        };
        answer.map_err(|error| error.to_string())
    };
    match timeout(ANSWER, exchange).await {
        Ok(answer) => answer.map(|answer| Answer {
            status: answer.status().as_u16(),
            retry_after: retry_after(answer.headers()),
        }),
        Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

/// `Retry-After`: seconds, or a date, which counts from the answer's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTime::parse_from_rfc2822(text).ok();
    let from = date(headers.get("date")?.to_str().ok()?)?;
    (date(text)? - from).to_std().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let after = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("date", "Wed, 10 Aug 2022 01:00:00 GMT".parse().unwrap());
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers).map(|after| after.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Wed, 10 Aug 2022 01:02:30 GMT"), Some(150));
        assert_eq!(after("Wed, 10 Aug 2022 00:00:00 GMT"), None);
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
