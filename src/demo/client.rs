//! The HTTP client of the demo: submitters, operators, and the cores' control.
//!
//! A post is sent again, with its key, until it is answered: a connection that a kill cut off
//! says nothing, and 429, 503 and 507 say "later". Everything else is an answer. Pauses between
//! tries are real time: they are the client's patience, not part of the story.

use super::bodies::{Request, digest_of};
use crate::daemon::clock::{Stopwatch, real_sleep};
use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// The longest that one try may take, in real time.
const TRY_MAX: Duration = Duration::from_secs(30);
/// The longest that a client goes on trying, in real time.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two tries, in real time.
const PAUSE: Duration = Duration::from_millis(25);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; null where there was none that is JSON.
    pub body: Value,
    /// Tries before this one that were cut off.
    pub cut_off: u32,
    /// Tries before this one that were put off.
    pub put_off: u32,
}

/// Keep-alive connections to everybody. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

/// Where a post goes and who sends it.
#[derive(Debug, Clone, Copy)]
pub struct Door<'a> {
    /// The base URL.
    pub base: &'a str,
    /// The API key.
    pub key: &'a str,
}

impl Http {
    /// A client.
    #[must_use]
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(128)
            // A request that met a dying connection is ours to repeat, so that it is counted.
            .retry_canceled_requests(false)
            .build(connector);
        Self(client)
    }

    /// One try. An error means that nobody knows what became of it.
    async fn once(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = hyper::Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body))?;
        let talk = async {
            let response = self.0.request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        tokio::time::timeout(TRY_MAX, talk).await.context("no answer in time")?
    }

    /// Uploads a file until it is stored.
    ///
    /// # Errors
    /// When nobody stores it within the client's patience.
    async fn upload(&self, door: Door<'_>, file: &Bytes) -> anyhow::Result<()> {
        let url = format!("{}/v1/attachments/{}", door.base, digest_of(file));
        let headers = [("authorization", format!("Bearer {}", door.key))];
        let patience = Stopwatch::start();
        loop {
            match self.once(Method::PUT, &url, &headers, file.clone()).await {
                Ok((status, _)) if status.is_success() => return Ok(()),
                Ok((status, _)) if !is_later(status) => bail!("a file was answered {status}"),
                Ok(_) | Err(_) if patience.elapsed() > PATIENCE => {
                    bail!("a file was not stored within {} s", PATIENCE.as_secs());
                }
                Ok(_) | Err(_) => real_sleep(PAUSE).await,
            }
        }
    }

    /// Posts a submission until it is answered; the files that it names first.
    ///
    /// # Errors
    /// When nobody answers within the client's patience.
    pub async fn post(
        &self,
        door: Door<'_>,
        path: &str,
        request: &Request,
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", door.base);
        let mut headers = vec![
            ("authorization", format!("Bearer {}", door.key)),
            ("content-type", "application/json".to_owned()),
        ];
        if let Some(key) = &request.key {
            headers.push(("idempotency-key", key.clone()));
        }
        if let Some(wait) = request.wait {
            headers.push(("prefer", format!("wait={wait}")));
        }
        for file in &request.files {
            self.upload(door, file).await?;
        }
        let body = Bytes::from(request.body.clone());
        let patience = Stopwatch::start();
        let (mut cut_off, mut put_off) = (0, 0);
        loop {
            match self.once(Method::POST, &url, &headers, body.clone()).await {
                Ok((status, body)) if !is_later(status) => {
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    return Ok(Answer { status, body, cut_off, put_off });
                }
                Ok(_) => put_off += 1,
                Err(_) => cut_off += 1,
            }
            if patience.elapsed() > PATIENCE {
                bail!("{path} was not answered within {} s", PATIENCE.as_secs());
            }
            real_sleep(PAUSE).await;
        }
    }

    /// Asks, and reads the answer as `T`.
    ///
    /// # Errors
    /// When nobody answers, or with anything but success, or in another shape.
    pub async fn get<T: DeserializeOwned>(&self, door: Door<'_>, path: &str) -> anyhow::Result<T> {
        let url = format!("{}{path}", door.base);
        let headers = [("authorization", format!("Bearer {}", door.key))];
        let patience = Stopwatch::start();
        loop {
            match self.once(Method::GET, &url, &headers, Bytes::new()).await {
                Ok((status, body)) if status.is_success() => {
                    return serde_json::from_slice(&body)
                        .with_context(|| format!("{path} answered in another shape"));
                }
                Ok((status, _)) if !is_later(status) => bail!("{path} answered {status}"),
                Ok(_) | Err(_) if patience.elapsed() > PATIENCE => {
                    bail!("{path} was not answered within {} s", PATIENCE.as_secs());
                }
                Ok(_) | Err(_) => real_sleep(PAUSE).await,
            }
        }
    }

    /// Gives an operator's order, once. The inner error is the daemon's refusal.
    ///
    /// # Errors
    /// When nobody answers, or in another shape.
    pub async fn order(
        &self,
        door: Door<'_>,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> anyhow::Result<Result<Value, String>> {
        let url = format!("{}{path}", door.base);
        let headers = [
            ("authorization", format!("Bearer {}", door.key)),
            ("content-type", "application/json".to_owned()),
        ];
        let body = Bytes::from(serde_json::to_vec(body)?);
        let (status, body) = self.once(Method::POST, &url, &headers, body).await?;
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Ok(Err(format!("answered {status}: {text}")));
        }
        let value = serde_json::from_slice(&body);
        value.map(Ok).with_context(|| format!("{path} answered {text}"))
    }

    /// Tells a simulated core what to do.
    ///
    /// # Errors
    /// When it does not obey.
    pub async fn control(&self, url: &str, script: &(impl Serialize + Sync)) -> anyhow::Result<()> {
        let body = Bytes::from(serde_json::to_vec(script)?);
        let headers = [("content-type", "application/json".to_owned())];
        let (status, body) = self.once(Method::PUT, url, &headers, body).await?;
        if !status.is_success() {
            bail!("{url} answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(())
    }

    /// Looks at something that needs no key; `None` where nobody answers with success.
    pub async fn look(&self, url: &str) -> Option<Value> {
        let (status, body) = self.once(Method::GET, url, &[], Bytes::new()).await.ok()?;
        status.is_success().then(|| serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the answer says: not now, try again.
fn is_later(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INSUFFICIENT_STORAGE
    )
}
