//! A core system that is spoken to over HTTP/1: `POST {base}/transactions` for effects,
//! `GET {base}/transactions/{id}` for questions, `GET {base}{probe_path}` (or a POST of a query) for
//! probes, and, before the effect that names them, `PUT {base}/attachments/{digest}` for files, which
//! have none.
//!
//! A call that has files waits for one of few places for these first. A call takes one of
//! `concurrency` places, gets a connection (an idle one that the core has
//! not closed, else a new one), asks `may_start`, and only then writes. When the connection
//! turns out dead before the kernel took a byte, the next one is tried; once a byte has left,
//! there is no second try here. What an answer means stands in `answer`. Only plain `http` is
//! spoken; TLS to a core is ended by a proxy beside it. Time limits are those of sockets and
//! run in real time.

use super::answer::{self, Ended};
use super::connection::{Broken, Connection, Pool};
use crate::domain::attachment::Content;
use crate::domain::ids::{TransactionId, UpstreamName};
use crate::domain::outcome::{Finding, Outcome, TransientReason};
use crate::engine::ports::{BlobError, Call, Later, Upstream};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use std::fmt;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Dead idle connections that one call may meet before it opens a connection of its own.
const IDLE_TRIES_MAX: u32 = 3;
/// Attempts that send files at a time, because each has one in memory.
pub const FILES_AT_A_TIME: usize = 4;

/// What is known about a core before the first call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// Its name.
    pub name: UpstreamName,
    /// `http://host[:port][/path]`, without a query.
    pub base_url: String,
    /// How long making a connection may take, the name's resolution included.
    pub connect_timeout: Duration,
    /// How long a whole answer may take, from the first byte of the request.
    pub answer_timeout: Duration,
    /// Effect-bearing calls that may be out at the same time.
    pub concurrency: usize,
    /// How long after an attempt's end a "not found" without a fence says nothing.
    pub settle_time: Duration,
    /// Whether the core answers questions about a transaction at all.
    pub answers_questions: bool,
    /// The path of the probe, after the base, such as `/health`.
    pub probe_path: String,
    /// The query that is posted as a probe; `None` to fetch the page.
    pub probe_query: Option<Bytes>,
    /// What a good probe looks like.
    pub probe_expect: ProbeExpect,
    /// The longest answer that is read.
    pub answer_bytes_max: usize,
    /// Whether the core is sent the files that a transaction names.
    pub takes_attachments: bool,
}

/// What a good probe looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeExpect {
    /// The status.
    pub status: u16,
    /// A text that the body must contain, where a page with the right status would not do.
    pub body: Option<String>,
}

/// Why an upstream cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base URL is not one.
    #[error("upstream {name}: base url {url:?} is not http://host[:port][/path]: {why}")]
    BaseUrl {
        /// The upstream.
        name: UpstreamName,
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another option cannot be used.
    #[error("upstream {name}: {option} {why}")]
    Option {
        /// The upstream.
        name: UpstreamName,
        /// Which option.
        option: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// An HTTP core.
pub struct HttpUpstream {
    options: HttpOptions,
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: String,
    post: Uri,
    probe: Uri,
    sends: Semaphore,
    questions: Semaphore,
    files: Semaphore,
    pool: Pool,
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUpstream").field("options", &self.options).finish_non_exhaustive()
    }
}

impl HttpUpstream {
    /// An upstream that has not connected yet.
    ///
    /// # Errors
    /// When the base URL or another option cannot be used.
    pub fn new(options: HttpOptions) -> Result<Self, Error> {
        let bad_url =
            |why| Error::BaseUrl { name: options.name.clone(), url: options.base_url.clone(), why };
        let bad = |option, why| Error::Option { name: options.name.clone(), option, why };
        let base: Uri = options.base_url.parse().map_err(|_| bad_url("it cannot be parsed"))?;
        match base.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(bad_url("https is not spoken here, put a TLS proxy beside the daemon"));
            }
            Some(_) | None => return Err(bad_url("it must begin with http://")),
        }
        let authority = base.authority().ok_or_else(|| bad_url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad_url("it must not contain a user or password"));
        }
        if base.query().is_some() {
            return Err(bad_url("it must not have a query"));
        }
        if options.concurrency == 0 || options.concurrency > Semaphore::MAX_PERMITS {
            return Err(bad("concurrency", "must be at least 1"));
        }
        if !options.probe_path.starts_with('/') {
            return Err(bad("probe_path", "must begin with '/'"));
        }
        let path = base.path().trim_end_matches('/').to_owned();
        let post =
            format!("{path}/transactions").parse().map_err(|_| bad_url("its path is bad"))?;
        let probe = format!("{path}{}", options.probe_path)
            .parse()
            .map_err(|_| bad("probe_path", "is not a path"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let host_header = HeaderValue::from_str(authority.as_str())
            .map_err(|_| bad_url("its host cannot stand in a header"))?;
        let port = authority.port_u16().unwrap_or(80);
        let questions = options.concurrency.div_ceil(4);
        Ok(Self {
            host,
            port,
            host_header,
            path,
            post,
            probe,
            sends: Semaphore::new(options.concurrency),
            questions: Semaphore::new(questions),
            files: Semaphore::new(FILES_AT_A_TIME),
            pool: Pool::new(options.concurrency + questions),
            options,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &UpstreamName {
        &self.options.name
    }

    /// How long after an attempt's end a "not found" without a fence says nothing.
    #[must_use]
    pub fn settle_time(&self) -> Duration {
        self.options.settle_time
    }

    /// Whether the core answers questions about a transaction at all.
    #[must_use]
    pub fn answers_questions(&self) -> bool {
        self.options.answers_questions
    }

    /// Starts no further call: those that have no place yet end as stopping, those that are out
    /// go on. Questions and probes are still asked.
    pub fn stop(&self) {
        self.files.close();
        self.sends.close();
    }

    /// One exchange, written at most once. `make` is called again only when a connection died
    /// before a byte of the request had left.
    async fn exchange(
        &self,
        make: impl Fn() -> Request<Full<Bytes>>,
        may_start: &(dyn Fn() -> bool + Sync),
    ) -> Ended {
        let mut idle_tries = 0;
        loop {
            let idle = if idle_tries < IDLE_TRIES_MAX { self.pool.take() } else { None };
            let was_idle = idle.is_some();
            idle_tries += 1;
            let mut connection = match idle {
                Some(connection) => connection,
                None => match self.connect().await {
                    Some(connection) => connection,
                    None => return Ended::NothingSent,
                },
            };
            let request = make();
            if !may_start() {
                self.pool.put(connection).await;
                return Ended::GateClosed;
            }
            let exchanged = connection.exchange(request, self.options.answer_bytes_max);
            match timeout(self.options.answer_timeout, exchanged).await {
                Ok(Ok(response)) => {
                    self.pool.put(connection).await;
                    return Ended::Answered(response);
                }
                Err(_) | Ok(Err(_)) if !connection.wrote() => {
                    if !was_idle {
                        return Ended::NothingSent;
                    }
                }
                Err(_) => return Ended::TimedOut,
                Ok(Err(Broken::Cut)) => return Ended::Cut,
                Ok(Err(Broken::Garbled | Broken::TooLarge)) => return Ended::Unreadable,
            }
        }
    }

    async fn connect(&self) -> Option<Connection> {
        let opened = Connection::open(&self.host, self.port);
        timeout(self.options.connect_timeout, opened).await.ok()?.ok()
    }

    fn request(&self, method: Method, uri: Uri, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        request.headers_mut().insert(HOST, self.host_header.clone());
        request
    }

    fn post(&self, call: &Call) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, self.post.clone(), call.payload.clone());
        write_headers(request.headers_mut(), call);
        request
    }
}

impl HttpUpstream {
    /// Whether files of `call` go before it.
    fn has_files(&self, call: &Call) -> bool {
        self.options.takes_attachments && call.attachments.iter().any(|file| file.load.is_some())
    }

    /// Sends the files that `call` names. Where one does not arrive, what came of the whole attempt:
    /// surely not applied, because its effect was not begun.
    async fn put_files(
        &self,
        call: &Call,
        may_start: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Outcome<Bytes>> {
        for file in &call.attachments {
            let Some(load) = &file.load else { continue };
            if !may_start() {
                return Err(answer::outcome(Ended::GateClosed));
            }
            let bytes = load().await.map_err(|error| match error {
                BlobError::Missing | BlobError::Damaged(_) => {
                    answer::transient(TransientReason::RecordDamaged)
                }
                BlobError::Full(_) | BlobError::Io(_) => {
                    answer::transient(TransientReason::RecordUnreadable)
                }
            })?;
            let path = format!("{}/attachments/{}", self.path, file.digest);
            let Ok(uri) = path.parse::<Uri>() else {
                return Err(answer::transient(TransientReason::AttachmentRefused));
            };
            let kind = file.content.map_or("application/octet-stream", Content::media_type);
            let make = || {
                let mut request = self.request(Method::PUT, uri.clone(), bytes.clone());
                request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                request
            };
            answer::file_taken(self.exchange(make, may_start).await, &file.digest)?;
        }
        Ok(())
    }
}

fn write_headers(headers: &mut HeaderMap, call: &Call) {
    headers.reserve(16);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in super::call_headers(call) {
        headers.insert(HeaderName::from_static(name), header_value(value));
    }
    if let Some(credential) = &call.credential {
        let mut value = header_value(percent_encoded(credential));
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static("holdover-credential"), value);
    }
}

#[expect(clippy::expect_used, reason = "the types of the identities leave no other text")]
fn header_value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .expect("every text is visible ASCII: identities by their types, the credential encoded")
}

/// The credential as it travels: every byte that is not visible ASCII, and `%`, as `%XX`.
fn percent_encoded(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    text
}

impl Upstream for HttpUpstream {
    fn send<'a>(
        &'a self,
        call: Call,
        may_start: &'a (dyn Fn() -> bool + Sync),
    ) -> Later<'a, Outcome<Bytes>> {
        Box::pin(async move {
            let stopping = || answer::outcome(Ended::Stopping);
            // Before the other place: what waits behind files must not keep others from the core.
            let files = match self.has_files(&call) {
                true => match self.files.acquire().await {
                    Ok(files) => Some(files),
                    Err(_) => return stopping(),
                },
                false => None,
            };
            let Ok(_place) = self.sends.acquire().await else { return stopping() };
            if let Some(_files) = files
                && let Err(outcome) = self.put_files(&call, may_start).await
            {
                return outcome;
            }
            answer::outcome(self.exchange(|| self.post(&call), may_start).await)
        })
    }

    fn ask<'a>(&'a self, id: TransactionId) -> Later<'a, Finding<Bytes>> {
        Box::pin(async move {
            if !self.options.answers_questions {
                return Finding::NoAnswer;
            }
            let Ok(uri) = format!("{}/transactions/{id}", self.path).parse::<Uri>() else {
                return Finding::NoAnswer;
            };
            let Ok(_place) = self.questions.acquire().await else {
                return Finding::NoAnswer;
            };
            let make = || self.request(Method::GET, uri.clone(), Bytes::new());
            answer::finding(self.exchange(make, &|| true).await)
        })
    }

    fn probe(&self) -> Later<'_, bool> {
        Box::pin(async move {
            let make = || {
                let uri = self.probe.clone();
                let Some(query) = self.options.probe_query.clone() else {
                    return self.request(Method::GET, uri, Bytes::new());
                };
                let mut request = self.request(Method::POST, uri, query);
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().insert(CONTENT_TYPE, json);
                request
            };
            let Ended::Answered(response) = self.exchange(make, &|| true).await else {
                return false;
            };
            let expect = &self.options.probe_expect;
            let said = |text: &String| contains(response.body(), text.as_bytes());
            response.status().as_u16() == expect.status && expect.body.as_ref().is_none_or(said)
        })
    }
}

pub(super) fn contains(body: &[u8], part: &[u8]) -> bool {
    part.is_empty() || body.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(base_url: &str) -> HttpOptions {
        HttpOptions {
            name: "settlement".parse().unwrap(),
            base_url: base_url.into(),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(1),
            concurrency: 4,
            settle_time: Duration::from_secs(1),
            answers_questions: true,
            probe_path: "/health".into(),
            probe_query: None,
            probe_expect: ProbeExpect { status: 200, body: None },
            answer_bytes_max: 1024,
            takes_attachments: false,
        }
    }

    #[test]
    fn a_base_url_that_cannot_be_spoken_to_is_refused_with_its_reason() {
        for (url, why) in [
            ("https://core.example", "TLS proxy"),
            ("ftp://core.example", "must begin with http://"),
            ("core.example/path", "http://"),
            ("/path", "must begin with http://"),
            ("http://user:secret@core.example", "user or password"),
            ("http://core.example/a?b=c", "query"),
            ("http://", "parsed"),
        ] {
            let error = HttpUpstream::new(options(url)).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
        let none = HttpOptions { concurrency: 0, ..options("http://core.example") };
        assert!(HttpUpstream::new(none).is_err());
        let path = HttpOptions { probe_path: "health".into(), ..options("http://core.example") };
        assert!(HttpUpstream::new(path).is_err());
    }

    #[test]
    fn a_base_path_stands_before_every_path() {
        let upstream = HttpUpstream::new(options("http://[::1]:8080/core/v1/")).unwrap();
        assert_eq!(upstream.post.to_string(), "/core/v1/transactions");
        assert_eq!(upstream.probe.to_string(), "/core/v1/health");
        assert_eq!((upstream.host.as_str(), upstream.port), ("::1", 8080));
        let plain = HttpUpstream::new(options("http://core.example")).unwrap();
        assert_eq!(plain.post.to_string(), "/transactions");
        assert_eq!(plain.port, 80);
    }

    #[test]
    fn a_credential_travels_as_visible_ascii() {
        assert_eq!(percent_encoded("a%b\r\n密".as_bytes()), "a%25b%0D%0A%E5%AF%86");
    }
}
