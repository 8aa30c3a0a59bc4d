//! The loop that serves HTTP/1.1 connections: limits, request ids, panics, an orderly stop.
//!
//! ```text
//!  accept ─► task per connection ─► request id ─► router ─► problem body with the id
//!     │            └── cut: idle, slow head, reader that does not read
//!     └── stop: no new connections; requests under way finish; after `grace` they are cut
//! ```
//!
//! A slow body is the reader's affair (`body`). Nothing of a request is logged but its id,
//! method, matched path and status, and only at debug level.

use super::problem::{Code, Problem};
use crate::domain::identity::contains_identity_number;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

/// What a listener allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at a time; more wait in the kernel's queue.
    pub connections_max: usize,
    /// From the end of one request (or the connection's begin) to the end of the next head.
    pub head_timeout: Duration,
    /// How long a client may refuse to take bytes.
    pub write_timeout: Duration,
    /// Bytes of one request's head.
    pub head_bytes_max: usize,
    /// After a stop: how long requests under way may take to finish.
    pub grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            head_bytes_max: 16 * 1024,
            grace: Duration::from_secs(10),
        }
    }
}

/// Connections that may wait to be taken. Of 256 that came at once, the usual 128 made up to 86
/// wait a second for their second try; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Listens on `address`.
///
/// # Errors
/// When the address is not ours or is taken.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every request under way was answered.
    Clean,
    /// This many connections were cut.
    Cut(usize),
}

/// Serves `router` until `stop`, then finishes what is under way, within `limits.grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    stop: CancellationToken,
) -> Stopped {
    let http = Arc::new(builder(limits));
    let closing = Arc::new(Closing::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept(), if connections.len() < limits.connections_max => {
                match accepted {
                    Ok(from) => {
                        let serving = connection(
                            from, router.clone(), Arc::clone(&http), limits, Arc::clone(&closing),
                        );
                        connections.spawn(serving);
                    }
                    Err(error) => pause_after(&error, &stop).await,
                }
            }
        }
    }
    drop(listener);
    closing.flag.store(true, Ordering::Release);
    closing.token.cancel();
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(limits.grace, all_ended).await.is_ok() {
        return Stopped::Clean;
    }
    let cut = connections.len();
    connections.shutdown().await;
    Stopped::Cut(cut)
}

/// Says once to every connection that it is to end. The flag is what they read at each turn:
/// polling the token would take its lock each time.
#[derive(Default)]
struct Closing {
    flag: AtomicBool,
    token: CancellationToken,
}

/// The largest read buffer of one connection.
const READ_BUFFER_BYTES_MAX: usize = 128 * 1024;

fn builder(limits: ServerLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes_max)
        // hyper's own limit of 100 headers stays: setting one costs an allocation a request.
        .max_buf_size(READ_BUFFER_BYTES_MAX.max(limits.head_bytes_max));
    http
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(panicked = error.is_panic(), "a connection's task ended badly");
    }
}

/// Waits a moment where accepting failed for want of something that others must give back
/// first, such as file descriptors.
async fn pause_after(error: &io::Error, stop: &CancellationToken) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "a connection could not be accepted");
    // Either end of the wait is fine.
    drop(tokio::time::timeout(Duration::from_millis(100), stop.cancelled()).await);
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    http: Arc<http1::Builder>,
    limits: ServerLimits,
    closing: Arc<Closing>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it began");
        return;
    }
    let stream = CutIdleWriter { stream, limit: limits.write_timeout, stuck: None };
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        // The audit log says where an act came from.
        request.extensions_mut().insert(ConnectInfo(peer));
        answer(router.clone(), request)
    });
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut asked_to_close = pin!(closing.token.cancelled());
    let (mut registered, mut told) = (false, false);
    let ended = poll_fn(|cx| {
        if !told {
            // The first poll leaves this task's waker behind; afterwards the flag is enough.
            let now = if registered {
                closing.flag.load(Ordering::Acquire)
            } else {
                registered = true;
                asked_to_close.as_mut().poll(cx).is_ready()
            };
            if now {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
        serving.as_mut().poll(cx)
    });
    if let Err(error) = ended.await {
        tracing::debug!(timeout = error.is_timeout(), "a connection was cut");
    }
}

/// The header that carries the request's id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the client's own where it is sane, else one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    fn of(request: &Request) -> Self {
        let sane = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=64).contains(&bytes.len())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
                // It stands in the log and in the audit log.
                && !value.to_str().is_ok_and(contains_identity_number)
        };
        match request.headers().get(REQUEST_ID).filter(sane) {
            Some(theirs) => Self(theirs.clone()),
            None => Self::fresh(),
        }
    }

    fn fresh() -> Self {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let mut random = fastrand::u64(..);
        let mut text = *b"req_000000000000";
        for place in &mut text[4..] {
            *place = DIGITS[usize::try_from(random % 32).unwrap_or(0)];
            random /= 32;
        }
        Self(HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req_0")))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // The server loop has put it there.
        Ok(parts.headers.get(REQUEST_ID).map_or_else(Self::fresh, |value| Self(value.clone())))
    }
}

/// One request through the router, with all that every answer has.
pub async fn answer(mut router: Router, mut request: Request) -> Result<Response, Infallible> {
    let id = RequestId::of(&request);
    request.headers_mut().insert(REQUEST_ID, id.0.clone());
    let mut response = match CatchPanic(router.call(request)).await {
        Some(Ok(response)) => response,
        Some(Err(never)) => match never {},
        None => {
            tracing::error!(request_id = id.as_str(), "a handler panicked");
            Problem::new(Code::Internal, "the request met a defect; it is in our log")
                .respond(id.as_str())
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        tracing::debug!(request_id = id.as_str(), code = %problem.code, "refused");
        let allow = response.headers_mut().remove(axum::http::header::ALLOW);
        response = Arc::unwrap_or_clone(problem).respond(id.as_str());
        if let Some(allow) = allow {
            response.headers_mut().insert(axum::http::header::ALLOW, allow);
        }
    }
    response.headers_mut().insert(REQUEST_ID, id.0);
    Ok(response)
}

/// Ends in `None` where the future inside panicked.
struct CatchPanic<F>(F);

impl<F: Future + Unpin> Future for CatchPanic<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = Pin::new(&mut self.0);
        // After a panic the future is dropped and never polled again.
        match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    }
}

type Alarm = Pin<Box<tokio::time::Timeout<std::future::Pending<()>>>>;

/// A stream whose writes fail once the other side has taken nothing for `limit`.
struct CutIdleWriter {
    stream: TcpStream,
    limit: Duration,
    stuck: Option<Alarm>,
}

impl CutIdleWriter {
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stuck = None;
            return poll;
        }
        let limit = self.limit;
        let alarm = self
            .stuck
            .get_or_insert_with(|| Box::pin(tokio::time::timeout(limit, std::future::pending())));
        match alarm.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl AsyncRead for CutIdleWriter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for CutIdleWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
