//! Files under way: how many at a time, how many of them of one institution, and what goes on to
//! its end although nobody waits for it any more. What a file is, is `attachments`'s.
//!
//! Whoever gets no place in time is told so and keeps nothing here. A file that is given back keeps
//! its place until the last of its bytes has gone to the kernel, however slow its reader is.

use crate::domain::ids::InstitutionCode;
use crate::web::problem::{Code, Problem};
use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

/// Files that arrive at a time, and of them those of one institution.
const UPLOADS: (usize, usize) = (64, 8);
/// Files that are given back at a time, each whole in memory, and of them those of one institution.
const DOWNLOADS: (usize, usize) = (8, 4);
/// How long a request waits for its place among those of its institution, and then among all.
const WAIT: Duration = Duration::from_secs(10);
/// Bytes that are handed to the connection at once.
const PIECE: usize = 1 << 16;

/// The files under way. One for the whole process.
#[derive(Debug, Clone)]
pub struct Transfers {
    up: Arc<Places>,
    down: Arc<Places>,
    tasks: TaskTracker,
}

impl Transfers {
    /// None yet. `tasks` runs what is finished although its client hung up; it is to be waited for
    /// at shutdown, before the engine goes.
    #[must_use]
    pub fn new(tasks: TaskTracker) -> Self {
        let places = |most| Arc::new(Places::new(most, WAIT));
        Self { up: places(UPLOADS), down: places(DOWNLOADS), tasks }
    }

    pub(super) async fn place_up(&self, of: &InstitutionCode) -> Result<Place, Problem> {
        self.up.take(of).await
    }

    pub(super) async fn place_down(&self, of: &InstitutionCode) -> Result<Place, Problem> {
        self.down.take(of).await
    }

    /// Runs `work` to its end, also where the caller goes away.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let lost = |_| Problem::new(Code::Internal, "the file could not be worked on");
        self.tasks.spawn(work).await.map_err(lost).flatten()
    }
}

impl Default for Transfers {
    fn default() -> Self {
        Self::new(TaskTracker::new())
    }
}

/// Places for files.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    of_one: usize,
    wait: Duration,
    /// Of each institution that has asked; they are those that have keys.
    own: Mutex<HashMap<InstitutionCode, Arc<Semaphore>>>,
}

impl Places {
    fn new((all, of_one): (usize, usize), wait: Duration) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), of_one, wait, own: Mutex::default() }
    }

    /// A place, first among the institution's own, so that no more of its requests than those wait
    /// before others.
    async fn take(&self, of: &InstitutionCode) -> Result<Place, Problem> {
        let own = {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            let made = || Arc::new(Semaphore::new(self.of_one));
            Arc::clone(own.entry(of.clone()).or_insert_with(made))
        };
        let Ok(Ok(own)) = tokio::time::timeout(self.wait, own.acquire_owned()).await else {
            let detail = "more files at a time than one institution may have under way";
            return Err(Problem::new(Code::QuotaExceeded, detail).retry_after(5));
        };
        let all = Arc::clone(&self.all).acquire_owned();
        let Ok(Ok(all)) = tokio::time::timeout(self.wait, all).await else {
            let detail = "as many files are under way as may be at a time";
            return Err(Problem::new(Code::Unavailable, detail).retry_after(5));
        };
        Ok(Place { _own: own, _all: all })
    }
}

/// A place of a file under way, as long as it lives.
#[derive(Debug)]
pub(super) struct Place {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// A file in memory. Every piece of it keeps the place, as every piece keeps the memory.
struct Kept {
    bytes: Bytes,
    _place: Place,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A file on its way out.
pub(super) struct Leaving(Bytes);

impl Leaving {
    pub(super) fn new(bytes: Bytes, place: Place) -> Self {
        Self(Bytes::from_owner(Kept { bytes, _place: place }))
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(PIECE);
        let piece = self.0.split_to(length);
        task::Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn places() -> Places {
        Places::new((3, 2), Duration::from_millis(20))
    }

    fn institution(number: u8) -> InstitutionCode {
        format!("H1101050000{number}").parse().unwrap()
    }

    #[tokio::test]
    async fn one_institution_has_its_share_and_nobody_waits_for_ever() {
        let (places, one, other) = (places(), institution(1), institution(2));
        let first = places.take(&one).await.unwrap();
        let _second = places.take(&one).await.unwrap();
        let refused = places.take(&one).await.unwrap_err();
        assert_eq!(refused.code, Code::QuotaExceeded);
        let _third = places.take(&other).await.unwrap();
        let refused = places.take(&other).await.unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        drop(first);
        places.take(&one).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_keeps_its_place_until_its_last_piece_has_gone() {
        let places = places();
        let place = places.take(&institution(1)).await.unwrap();
        let mut leaving = Leaving::new(Bytes::from(vec![7; 2 * PIECE + 1]), place);
        let mut last = None;
        for length in [PIECE, PIECE, 1] {
            assert!(!leaving.is_end_stream());
            let frame = leaving.frame().await.unwrap().unwrap();
            let piece = last.insert(frame.into_data().unwrap());
            assert_eq!(piece.len(), length);
        }
        assert!(leaving.is_end_stream() && leaving.frame().await.is_none());
        drop(leaving);
        assert_eq!(places.all.available_permits(), 2, "the last piece is not written yet");
        drop(last);
        assert_eq!(places.all.available_permits(), 3);
    }
}
