//! A small HTTP client for the daemon's operators' listener: one request, one connection.
//!
//! The key comes from a file or from standard input, never from an argument, and is sent to no
//! other address than the one that was given. Redirects are not followed.

use super::exit::{Exit, Failure, ProblemBody};
use super::input;
use crate::admin::types::ZONE;
use crate::domain::time::{Timestamp, Zone};
use axum::http::{Method, Request, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a look may take. An act has no limit: closing a gate waits for calls to the core.
const LOOK: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The longest key file that is read.
const KEY_BYTES_MAX: u64 = 4096;

pub(super) struct Client {
    base: String,
    key_file: Option<PathBuf>,
    /// The zone that the daemon is configured with, once it has answered.
    zone: Cell<Zone>,
}

impl Client {
    pub(super) fn new(base: String, key_file: Option<PathBuf>) -> Self {
        Self { base, key_file, zone: Cell::new(Zone::UTC) }
    }

    /// The zone in which people are shown times.
    pub(super) fn zone(&self) -> Zone {
        self.zone.get()
    }

    /// An instant as people are shown it: in the daemon's zone, with its offset.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        at.rfc3339(self.zone.get())
    }

    /// Looks at `path`, which begins with `/`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.get_within(path, LOOK).await
    }

    /// The same, but within `limit`.
    pub(super) async fn get_within<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<T, Failure> {
        let exchange = self.exchange(Method::GET, path, None, None);
        match timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Orders an act. `seen_version` is the version of a window that the decision rests on.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        seen_version: Option<u32>,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Failure::local(Exit::Failure, format!("the body: {e}")))?;
        self.exchange(Method::POST, path, Some(body.into()), seen_version).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        seen_version: Option<u32>,
    ) -> Result<T, Failure> {
        let authority = self.authority()?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &authority)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key()?));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(version) = seen_version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|_| Failure::usage("the key, the path or the address has odd characters"))?;
        let (status, zone, bytes) = self.send(&authority, request).await?;
        self.zone.set(zone.unwrap_or(self.zone.get()));
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).map_err(|_| {
                let text = "the answer is not what this version expects; compare the versions of \
                            daemon and command line";
                Failure::local(Exit::Failure, text)
            });
        }
        let mut problem: ProblemBody = serde_json::from_slice(&bytes).map_err(|_| {
            self.unreachable(&format!("it answered {status}, but not as a daemon does"))
        })?;
        problem.status = status;
        Err(Failure::Problem(Box::new(problem)))
    }

    async fn send(
        &self,
        authority: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Option<Zone>, Bytes), Failure> {
        let stream = match timeout(CONNECT, TcpStream::connect(authority)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&error.to_string())),
            Err(_) => return Err(self.unreachable("it does not take the connection")),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let zone = response.headers().get(ZONE);
            let zone = zone.and_then(|zone| zone.to_str().ok()?.parse().ok());
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, zone, body.map_err(|e| e.to_string())?.to_bytes()))
        };
        // The connection ends when the exchange has let go of its sender.
        let (answer, ended) = tokio::join!(exchange, connection);
        drop(ended);
        answer.map_err(|error: String| {
            let text = format!(
                "{error}; where this was an act, look at holdover audit tail before repeating it"
            );
            self.unreachable(&text)
        })
    }

    fn authority(&self) -> Result<String, Failure> {
        let wrong = || {
            Failure::usage("expected --admin as http://HOST:PORT, such as http://127.0.0.1:8481")
        };
        let uri: Uri = self.base.parse().map_err(|_| wrong())?;
        let plain = uri.scheme_str() == Some("http")
            && uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
        let authority = uri.authority().filter(|a| plain && a.port().is_some());
        let authority = authority.filter(|a| !a.as_str().contains('@'));
        authority.map(ToString::to_string).ok_or_else(wrong)
    }

    /// The operator's key.
    pub(super) fn key(&self) -> Result<String, Failure> {
        let Some(path) = &self.key_file else {
            return Err(Failure::usage(
                "an operator's key is needed: name its file by --key-file or HOLDOVER_KEY_FILE; \
                 make one with holdover key create",
            ));
        };
        let mut text = String::new();
        let read = if path == Path::new("-") {
            std::io::stdin().lock().take(KEY_BYTES_MAX).read_to_string(&mut text)
        } else {
            std::fs::File::open(path)
                .and_then(|file| file.take(KEY_BYTES_MAX).read_to_string(&mut text))
        };
        match read {
            Ok(_) => Ok(text.trim().to_owned()),
            Err(error) => Err(input::wrong(path, &error)),
        }
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::local(Exit::Unreachable, format!("the daemon at {}: {why}", self.base))
    }
}

/// Makes a query string; pairs without a value are left out.
pub(super) fn query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut text = path.to_owned();
    let given = pairs.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (index, (name, value)) in given.enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&segment(value));
    }
    text
}

/// A text as one part of a path or query.
pub(super) fn segment(text: &str) -> String {
    let mut safe = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            safe.push_str(&format!("%{byte:02X}"));
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_never_left_by_what_an_operator_types() {
        assert_eq!(segment("../gates?x=1"), "..%2Fgates%3Fx%3D1");
        let pairs = [("a", None), ("b", Some("x&y".to_owned())), ("c", Some("1".to_owned()))];
        assert_eq!(query("/p", &pairs), "/p?b=x%26y&c=1");
    }

    #[test]
    fn only_a_plain_address_is_taken() {
        let of = |base: &str| Client::new(base.to_owned(), None).authority().ok();
        assert_eq!(of("http://127.0.0.1:8481"), Some("127.0.0.1:8481".to_owned()));
        assert_eq!(of("http://127.0.0.1:8481/"), Some("127.0.0.1:8481".to_owned()));
        for wrong in ["127.0.0.1:8481", "https://x:1", "http://x", "http://u@x:1", "http://x:1/y"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
