//! Reading a request's body: at most so many bytes, in at most so much time.
//!
//! Handlers read bodies only after they know who is calling, so that a stranger cannot fill
//! the memory. A body that arrives in one piece is not copied.

use super::problem::{Code, Problem};
use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Limited};
use std::time::Duration;

/// How much of a body is taken, and how long it may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// The largest body in bytes.
    pub bytes_max: usize,
    /// From the first look at the body to its last byte.
    pub timeout: Duration,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, timeout: Duration::from_secs(15) }
    }
}

/// The whole body.
///
/// # Errors
/// 413 where it is too large, 408 where it is too slow, 400 where the connection broke.
pub async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    use axum::body::HttpBody as _;
    let declared = body.size_hint().lower();
    if usize::try_from(declared).unwrap_or(usize::MAX) > limits.bytes_max {
        return Err(too_large(limits.bytes_max));
    }
    let whole = Limited::new(body, limits.bytes_max).collect();
    match tokio::time::timeout(limits.timeout, whole).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(too_large(limits.bytes_max))
        }
        Ok(Err(_)) => Err(Problem::new(Code::Malformed, "the body ended before its time")),
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body took longer than {} s", limits.timeout.as_secs()),
        )),
    }
}

/// The answer to a body that has more than `bytes_max`.
#[must_use]
pub fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body has more than {bytes_max} bytes"))
}
