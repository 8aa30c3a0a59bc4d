//! One HTTP/1 connection to a core, and the idle ones that are kept for the next call.
//!
//! The connection is driven by the call that uses it, on the caller's own task: a request is
//! written in the same poll in which it is handed over, and a call that is given up drops its
//! connection. `Wire` remembers whether a byte of the current request has left, which is what
//! tells *surely not sent* from *in doubt*. A connection is never shared and a request never
//! repeated here.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection as Driver, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Room for the head of an answer; a longer one cannot be read.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The socket, shared between hyper, which reads and writes, and us, who watch.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    /// Whether the kernel has taken a byte of the request in hand.
    wrote: AtomicBool,
}

/// What hyper reads from and writes to.
#[derive(Debug)]
struct Socket(Arc<Wire>);

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Socket {
    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match write(&self.0.stream) {
                Ok(count) => {
                    if count > 0 {
                        self.0.wrote.store(true, Ordering::Relaxed);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the socket closes it; nobody waits for a half-closed one.
        Poll::Ready(Ok(()))
    }
}

/// Why an exchange brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The connection ended, or could not be written.
    Cut,
    /// What came was not HTTP.
    Garbled,
    /// The answer's body was longer than allowed.
    TooLarge,
}

impl From<hyper::Error> for Broken {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() { Self::Garbled } else { Self::Cut }
    }
}

/// A connected socket that speaks HTTP/1, used by one call at a time.
pub(super) struct Connection {
    wire: Arc<Wire>,
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Box<Driver<TokioIo<Socket>, Full<Bytes>>>>,
}

impl Connection {
    /// Connects to `host` (a name or an address) and `port`. Sends nothing.
    ///
    /// # Errors
    /// When the name cannot be resolved or the connection cannot be made.
    pub(super) async fn open(host: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let wire = Arc::new(Wire { stream, wrote: AtomicBool::new(false) });
        let socket = TokioIo::new(Socket(Arc::clone(&wire)));
        let (sender, driver) = Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(socket)
            .await
            .map_err(io::Error::other)?;
        Ok(Self { wire, sender, driver: Some(Box::new(driver)) })
    }

    /// Whether the other side has neither closed an idle connection nor said anything on it.
    /// Asks the kernel, because the runtime may not have looked yet.
    fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::<u8>::uninit()];
        match socket2::SockRef::from(&self.wire.stream).peek(&mut byte) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Whether a byte of the last exchange's request has left.
    pub(super) fn wrote(&self) -> bool {
        self.wire.wrote.load(Ordering::Relaxed)
    }

    /// Sends `request` and reads the whole answer, at most `bytes_max` of body.
    ///
    /// # Errors
    /// See [`Broken`]; the connection is of no further use then.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Broken> {
        self.wire.wrote.store(false, Ordering::Relaxed);
        let sent = self.sender.send_request(request);
        let (head, body) = drive(&mut self.driver, sent).await?.into_parts();
        let body = drive(&mut self.driver, collect(body, bytes_max)).await?;
        Ok(Response::from_parts(head, body))
    }

    /// Whether the connection may carry another request.
    async fn is_reusable(&mut self) -> bool {
        // One look is enough: an answer that has been read to its end leaves a connection that
        // is free at once, or one that the core wants closed.
        drive(&mut self.driver, std::future::ready(())).await;
        self.driver.is_some() && self.sender.is_ready()
    }
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Broken> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(Broken::TooLarge);
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(Broken::TooLarge);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Runs `future` to its end while the connection is driven beside it.
async fn drive<F: Future>(
    driver: &mut Option<Box<Driver<TokioIo<Socket>, Full<Bytes>>>>,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let ended = driver.as_mut().is_some_and(|driver| Pin::new(driver).poll(cx).is_ready());
        if ended {
            *driver = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}

/// Connections that wait for their next call; the youngest is used first.
pub(super) struct Pool {
    idle: Mutex<Vec<Connection>>,
    idle_max: usize,
}

impl Pool {
    pub(super) fn new(idle_max: usize) -> Self {
        Self { idle: Mutex::new(Vec::new()), idle_max }
    }

    /// A connection that the core has not closed, if there is one.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let found = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if found.is_quiet() {
                return Some(found);
            }
        }
    }

    /// Keeps a connection whose answer has been read to its end, or that was never used.
    pub(super) async fn put(&self, mut connection: Connection) {
        if !connection.is_reusable().await {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }
}
