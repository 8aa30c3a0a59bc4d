//! The outbox: what was ever to be told, in order, in one file, and how far each subscriber is.
//!
//! ```text
//!  crc32c of the rest, 8 hexadecimal digits · one space · JSON · end of line
//!  JSON: { first, place, told: [announcement, …] }
//! ```
//!
//! A line is what one look brought, with the place from which the next goes on. `first` is the
//! number of its first announcement; numbers rise by one, and a subscriber's place is the number
//! that it is told of next. The first line after a start replaces the file by a new one that holds
//! what is still kept, so nothing is ever written behind a torn end. Where a line is not what was
//! written, what stands before it counts and the look is done again: ids say what was told already.

use crate::domain::announcement::{About, Kind, Known, Subscription};
use crate::domain::ids::{Business, InstitutionCode, Seq, SubscriberName, UpstreamName, WindowId};
use crate::domain::time::Timestamp;
use crate::telemetry::events::webhooks as events;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long an announcement is kept for those that have not heard of it.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(90 * 86_400);
/// How many are kept beside those that a subscriber has yet to be told.
pub(super) const KEPT_MAX: usize = 10_000;

/// The file below the folder of announcements; places of subscribers stand beside it.
const FILE: &str = "outbox";

/// Why the outbox cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Something that is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// The same whenever and to whomever it is told.
    pub(super) id: String,
    pub(super) kind: Kind,
    /// When it happened, in the configured zone.
    pub(super) at: String,
    /// When it was worked out.
    pub(super) written_at: Timestamp,
    /// Whose deadline it is about; `None`: for everybody.
    pub(super) institution: Option<InstitutionCode>,
    pub(super) upstreams: Vec<UpstreamName>,
    pub(super) businesses: Vec<Business>,
    pub(super) data: Box<RawValue>,
}

impl Announcement {
    pub(super) fn about(&self) -> About<'_> {
        About {
            kind: self.kind,
            institution: self.institution.as_ref(),
            upstreams: &self.upstreams,
            businesses: &self.businesses,
        }
    }
}

/// From where the next look goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The time up to which everything is told.
    pub(super) until: Timestamp,
    /// The first change that was not looked at for a date that was told.
    pub(super) next: u64,
    /// What was told of windows last.
    pub(super) known: BTreeMap<WindowId, Known>,
    /// Nothing was ever told.
    pub(super) is_first: bool,
}

impl Place {
    pub(super) fn next(&self) -> Seq {
        Seq(self.next)
    }
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    first: u64,
    place: Place,
    told: Vec<T>,
}

/// What a subscriber has of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reached {
    next: u64,
}

/// The outbox, shared between who fills it and who tells.
pub struct Outbox {
    folder: PathBuf,
    /// Held for no longer than memory takes, because whoever answers callers takes it too.
    inner: Mutex<Inner>,
    /// Where the next line goes; `None` where the file is to be written anew first. Whoever writes
    /// holds it throughout, and takes `inner` only within.
    file: Mutex<Option<File>>,
    /// The number of the announcement that comes next.
    end: watch::Sender<u64>,
    /// How often the configuration was read again.
    reloads: watch::Sender<u64>,
}

struct Inner {
    /// The number of the oldest that is kept.
    first: u64,
    kept: VecDeque<Arc<Announcement>>,
    ids: HashSet<String>,
    place: Place,
    subscribers: BTreeMap<SubscriberName, u64>,
    /// Those of them that want no more for now: nothing is kept for them by number.
    disabled: BTreeSet<SubscriberName>,
}

impl Inner {
    fn end(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// The number that no subscriber has yet to be told anything before.
    fn passed(&self) -> u64 {
        let waits = self.subscribers.iter().filter(|(name, _)| !self.disabled.contains(*name));
        waits.map(|(_, &next)| next).min().unwrap_or_else(|| self.end())
    }
}

impl Outbox {
    /// Opens the outbox in `folder`. Where there is none yet, announcements begin now with the change
    /// `next`. Subscribers that are new begin with what is told from now on.
    ///
    /// # Errors
    /// When a file cannot be read, or a new subscriber's place cannot be written.
    pub fn open(
        folder: &Path,
        next: Seq,
        now: Timestamp,
        subscribers: impl Iterator<Item = SubscriberName>,
    ) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let failed = |source| OpenError { path: path.clone(), source };
        let mut inner = Inner {
            first: 1,
            kept: VecDeque::new(),
            ids: HashSet::new(),
            place: Place { until: now, next: next.0, known: BTreeMap::new(), is_first: true },
            subscribers: BTreeMap::new(),
            disabled: BTreeSet::new(),
        };
        match std::fs::read(&path) {
            Ok(bytes) => inner.read(&bytes, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        for name in subscribers {
            let reached = place_of(folder, &name);
            let begin = inner.begin(&reached).map_err(failed)?;
            inner.subscribers.insert(name, begin);
        }
        let (end, reloads) = (watch::Sender::new(inner.end()), watch::Sender::new(0));
        let (inner, file) = (Mutex::new(inner), Mutex::new(None));
        Ok(Self { folder: folder.to_owned(), inner, file, end, reloads })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self) -> Place {
        self.inner().place.clone()
    }

    /// The newest announcements that `keep` keeps, newest first.
    pub(super) fn newest(
        &self,
        most: usize,
        keep: impl Fn(&Announcement) -> bool,
    ) -> Vec<Arc<Announcement>> {
        let inner = self.inner();
        inner.kept.iter().rev().filter(|one| keep(one)).take(most).cloned().collect()
    }

    /// The announcement of `number`; of the oldest that is kept where that one has left.
    pub(super) fn from(&self, number: u64) -> Option<(u64, Arc<Announcement>)> {
        let inner = self.inner();
        let number = number.max(inner.first);
        let place = usize::try_from(number - inner.first).ok()?;
        inner.kept.get(place).map(|one| (number, one.clone()))
    }

    /// Tells whenever there are more.
    pub(super) fn grows(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Tells whenever the configuration was read again.
    pub(super) fn reloads(&self) -> watch::Receiver<u64> {
        self.reloads.subscribe()
    }

    /// The configuration was read again: whoever wanted no more is asked once more.
    pub fn reloaded(&self) {
        self.reloads.send_modify(|times| *times += 1);
    }

    /// Keeps what a look brought, and from where the next goes on. Durable when `told` is not empty,
    /// or `must`. Blocks.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is there.
    pub(super) fn commit(
        &self,
        place: Place,
        told: Vec<Announcement>,
        must: bool,
        now: Timestamp,
    ) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, told, before) = {
            let mut inner = self.inner();
            let fresh = told.into_iter().filter(|one| !inner.ids.contains(&one.id));
            let told: Vec<Arc<Announcement>> = fresh.map(Arc::new).collect();
            if told.is_empty() && !must {
                inner.place = place;
                return Ok(());
            }
            if inner.let_go(now) {
                *file = None;
            }
            match &*file {
                Some(_) => (inner.end(), told, Vec::new()),
                None => (inner.first, told, inner.kept.iter().cloned().collect()),
            }
        };
        let all = before.iter().chain(&told).map(AsRef::as_ref).collect();
        let line = checked(&Line { first, place: place.clone(), told: all })?;
        // After a failure the file is written anew: a second sync that succeeds proves nothing.
        *file = Some(match file.take() {
            Some(file) => append(file, &line)?,
            None => replace(&self.folder.join(FILE), &line)?,
        });
        let mut inner = self.inner();
        inner.place = place;
        inner.ids.extend(told.iter().map(|one| one.id.clone()));
        inner.kept.extend(told);
        let end = inner.end();
        drop(inner);
        self.end.send_replace(end);
        Ok(())
    }

    /// How many announcements `name` was not told yet that it hears of, and since when the oldest
    /// of them waits.
    pub(super) fn waiting_for(
        &self,
        name: &SubscriberName,
        subscription: &Subscription,
    ) -> (u64, Option<Timestamp>) {
        let inner = self.inner();
        let next = inner.subscribers.get(name).copied().unwrap_or_else(|| inner.end());
        let done = usize::try_from(next.saturating_sub(inner.first)).unwrap_or(usize::MAX);
        let hears = |one: &&Arc<Announcement>| subscription.hears_of(one.about());
        let mut waiting = inner.kept.iter().skip(done).filter(hears);
        let oldest = waiting.next().map(|one| one.written_at);
        (u64::from(oldest.is_some()) + waiting.count() as u64, oldest)
    }

    pub(super) fn reached(&self, name: &SubscriberName) -> u64 {
        let inner = self.inner();
        inner.subscribers.get(name).copied().unwrap_or_else(|| inner.end())
    }

    /// Keeps that everything before `next` was told to `name`. Durable where `must`. Blocks.
    ///
    /// # Errors
    /// When it cannot be written; it is known until the next start all the same.
    pub(super) fn reach(&self, name: &SubscriberName, next: u64, must: bool) -> io::Result<()> {
        self.inner().subscribers.insert(name.clone(), next);
        if !must {
            return Ok(());
        }
        let text = serde_json::to_vec(&Reached { next })?;
        replace(&place_of(&self.folder, name), &text).map(drop)
    }

    /// Whether `name` wants to be told more. For one that does not, no more is kept than the number
    /// that is kept in any case.
    pub(super) fn enable(&self, name: &SubscriberName, is: bool) {
        let mut inner = self.inner();
        if is {
            inner.disabled.remove(name);
        } else {
            inner.disabled.insert(name.clone());
        }
    }
}

impl Inner {
    /// Reads the lines of the file, up to the first that is not what was written.
    fn read(&mut self, bytes: &[u8], path: &Path) {
        let mut lines = bytes.split_inclusive(|&byte| byte == b'\n').peekable();
        while let Some(text) = lines.next() {
            let Some(line) = unchecked(text) else {
                // A torn end is what a crash leaves; anything else is damage.
                if lines.peek().is_some() || text.ends_with(b"\n") {
                    events::outbox_damaged(path);
                }
                break;
            };
            if self.kept.is_empty() {
                self.first = line.first;
            }
            self.place = line.place;
            self.ids.extend(line.told.iter().map(|one| one.id.clone()));
            self.kept.extend(line.told.into_iter().map(Arc::new));
        }
    }

    /// Where a subscriber goes on.
    fn begin(&self, path: &Path) -> io::Result<u64> {
        let stored = match std::fs::read(path) {
            Ok(stored) => stored,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let next = self.end();
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                replace(path, &serde_json::to_vec(&Reached { next })?)?;
                return Ok(next);
            }
            Err(error) => return Err(error),
        };
        match serde_json::from_slice::<Reached>(&stored) {
            Ok(Reached { next }) if next < self.first || self.end() < next => {
                events::subscriber_moved(path, next, self.first);
                Ok(self.first)
            }
            Ok(Reached { next }) => Ok(next),
            // Told twice is recognised by its id, not told is not.
            Err(_) => {
                events::subscriber_moved(path, 0, self.first);
                Ok(self.first)
            }
        }
    }

    /// Lets go of what has been kept for long enough, and of what is too much and nobody has yet to
    /// be told. Whether that is so much by now that the file is to be written anew.
    fn let_go(&mut self, now: Timestamp) -> bool {
        let passed = self.passed();
        let old = |one: &Arc<Announcement>| KEPT_FOR < now.since(one.written_at);
        let mut is_much = false;
        while self.kept.front().is_some_and(old)
            || (self.kept.len() > KEPT_MAX && self.first < passed)
        {
            if let Some(gone) = self.kept.pop_front() {
                self.ids.remove(&gone.id);
                self.first += 1;
                is_much |= self.first.is_multiple_of(KEPT_MAX as u64 / 4);
            }
        }
        is_much
    }
}

/// Where it is kept how far `name` is.
fn place_of(folder: &Path, name: &SubscriberName) -> PathBuf {
    folder.join(name.as_str()).with_extension("place")
}

fn checked(line: &Line<&Announcement>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(line)?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

fn unchecked(text: &[u8]) -> Option<Line<Announcement>> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    if sum == crc32c::crc32c(json.as_bytes()) { serde_json::from_str(json).ok() } else { None }
}

fn append(mut file: File, line: &[u8]) -> io::Result<File> {
    file.write_all(line)?;
    file.sync_data()?;
    Ok(file)
}

/// Replaces what stands at `path`, durably. The file, open at its end.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_added_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_660_000_000_000);

    fn one(id: &str) -> Announcement {
        Announcement {
            id: id.to_owned(),
            kind: Kind::Announced,
            at: AT.to_string(),
            written_at: AT,
            institution: None,
            upstreams: Vec::new(),
            businesses: Vec::new(),
            data: RawValue::from_string("{\"a\":1}".to_owned()).unwrap(),
        }
    }

    fn place(next: u64) -> Place {
        Place { until: AT, next, known: BTreeMap::new(), is_first: false }
    }

    fn open(folder: &Path, names: &[&str]) -> Outbox {
        let names = names.iter().map(|name| name.parse().unwrap());
        Outbox::open(folder, Seq(7), AT, names).unwrap()
    }

    fn told(outbox: &Outbox) -> Vec<String> {
        let newest = outbox.newest(usize::MAX, |_| true);
        newest.iter().rev().map(|one| one.id.clone()).collect()
    }

    fn tell(outbox: &Outbox, next: u64, ids: &[&str]) {
        outbox.commit(place(next), ids.iter().map(|id| one(id)).collect(), false, AT).unwrap();
    }

    #[test]
    fn what_was_told_and_its_place_are_there_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), &[]);
        assert!(outbox.place().is_first);
        assert_eq!(outbox.place().next(), Seq(7));
        tell(&outbox, 10, &["a", "b"]);
        tell(&outbox, 20, &["c"]);
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let first_line = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let outbox = open(folder.path(), &[]);
            let (expected, next): (&[&str], u64) = match cut {
                cut if cut == whole.len() => (&["a", "b", "c"], 20),
                cut if cut >= first_line => (&["a", "b"], 10),
                _ => (&[], 7),
            };
            assert_eq!(
                (told(&outbox), outbox.place().next),
                (expected.iter().map(ToString::to_string).collect(), next),
                "{cut}"
            );
        }
        // Behind a torn end nothing is written: the file is a new one.
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        tell(&open(folder.path(), &[]), 20, &["c"]);
        assert_eq!(told(&open(folder.path(), &[])), ["a", "b", "c"]);
    }

    #[test]
    fn an_id_is_told_once_and_a_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), &[]);
        tell(&outbox, 10, &["a"]);
        tell(&outbox, 11, &["a", "b"]);
        assert_eq!(told(&outbox), ["a", "b"]);
        let path = folder.path().join(FILE);
        let mut whole = std::fs::read(&path).unwrap();
        whole[20] ^= 1;
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(told(&open(folder.path(), &[])), [""; 0]);
    }

    #[test]
    fn a_subscriber_goes_on_where_it_was_and_a_new_one_begins_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let his: SubscriberName = "his".parse().unwrap();
        let outbox = open(folder.path(), &["his"]);
        tell(&outbox, 10, &["a", "b", "c"]);
        assert_eq!(outbox.reached(&his), 1);
        outbox.reach(&his, 2, true).unwrap();
        let outbox = open(folder.path(), &["his", "new"]);
        assert_eq!(outbox.reached(&his), 2);
        assert_eq!(outbox.from(2).unwrap().1.id, "b");
        assert_eq!(outbox.reached(&"new".parse().unwrap()), 4);
        assert!(outbox.from(4).is_none());
        // A place that is no place: from the oldest that is kept, because of nothing missed.
        std::fs::write(folder.path().join("his.place"), "{").unwrap();
        assert_eq!(open(folder.path(), &["his"]).reached(&his), 1);
    }

    #[test]
    fn what_is_too_much_is_kept_for_whoever_has_yet_to_be_told_it() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), &["his", "gone"]);
        let [his, gone] = ["his", "gone"].map(|name| name.parse::<SubscriberName>().unwrap());
        let many = (0..KEPT_MAX + 2_000).map(|n| one(&n.to_string())).collect();
        outbox.commit(place(10), many, false, AT).unwrap();
        tell(&outbox, 11, &["a"]);
        assert_eq!(outbox.from(1).unwrap().1.id, "0", "nobody was told it yet");
        outbox.reach(&his, 1_500, true).unwrap();
        tell(&outbox, 12, &["b"]);
        assert_eq!(outbox.from(1).unwrap().0, 1, "one of two was told it");
        outbox.enable(&gone, false);
        tell(&outbox, 13, &["c"]);
        assert_eq!(outbox.from(1).unwrap().0, 1_500, "the other wants no more");
        outbox.enable(&gone, true);
        assert_eq!(outbox.inner().passed(), 1, "and wants more again");
        for name in [&his, &gone] {
            outbox.reach(name, 12_000, true).unwrap();
        }
        tell(&outbox, 14, &["d"]);
        assert_eq!(outbox.from(1).unwrap().0, 2_004, "no fewer than so many are kept");
        let again = open(folder.path(), &["his", "gone"]);
        assert_eq!(again.inner().end(), outbox.inner().end());
        assert_eq!(again.reached(&his), 12_000);
        let later = AT.after(KEPT_FOR).after(Duration::from_secs(1));
        let new = Announcement { written_at: later, ..one("z") };
        outbox.commit(place(15), vec![new], false, later).unwrap();
        assert_eq!(told(&outbox), ["z"], "age counts for everybody");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that waits for threads, in bounded time")]
    fn a_disk_that_writes_slowly_keeps_nobody_from_reading() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let outbox = Arc::new(open(folder.path(), &["his"]));
        tell(&outbox, 10, &["a"]);
        let (mut reader, writer) = io::pipe().unwrap();
        *outbox.file.lock().unwrap() = Some(File::from(std::os::fd::OwnedFd::from(writer)));
        // More than a pipe holds.
        let data = RawValue::from_string(format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
        let writing = outbox.clone();
        let large = Announcement { data, ..one("b") };
        let writing = std::thread::spawn(move || writing.commit(place(11), vec![large], false, AT));
        reader.read_exact(&mut [0]).unwrap();
        let (said, hears) = std::sync::mpsc::channel();
        let reading = outbox.clone();
        std::thread::spawn(move || {
            let his = "his".parse().unwrap();
            reading.reach(&his, 2, false).unwrap();
            said.send((reading.place().next, reading.reached(&his), told(&reading))).unwrap();
        });
        let heard = hears.recv_timeout(Duration::from_secs(20));
        drop(reader);
        writing.join().unwrap().unwrap_err();
        assert_eq!(heard.unwrap(), (10, 2, vec!["a".to_owned()]), "as before the write");
        tell(&outbox, 12, &["c"]);
        assert_eq!(told(&open(folder.path(), &[])), ["a", "c"], "written anew after the failure");
    }

    #[test]
    fn files_that_are_written_beside_each_other_are_different_ones() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), &["outbox"]);
        // Nothing can be put where the subscriber's place is written first.
        std::fs::create_dir(folder.path().join("outbox.place.new")).unwrap();
        outbox.reach(&"outbox".parse().unwrap(), 1, true).unwrap_err();
        tell(&outbox, 10, &["a"]);
        assert_eq!(told(&open(folder.path(), &["outbox"])), ["a"]);
    }

    #[test]
    fn what_is_too_old_or_too_much_is_let_go_and_numbers_stay() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = open(folder.path(), &[]);
        tell(&outbox, 10, &["a", "b"]);
        let later = AT.after(KEPT_FOR).after(Duration::from_secs(1));
        let new = Announcement { written_at: later, ..one("c") };
        outbox.commit(place(11), vec![new], false, later).unwrap();
        assert_eq!(told(&outbox), ["c"]);
        assert_eq!(outbox.from(1).unwrap().0, 3, "the oldest that is kept");
        let many: Vec<_> = (0..KEPT_MAX + 5)
            .map(|n| Announcement { written_at: later, ..one(&n.to_string()) })
            .collect();
        outbox.commit(place(12), many, false, later).unwrap();
        outbox
            .commit(place(13), vec![Announcement { written_at: later, ..one("z") }], false, later)
            .unwrap();
        let again = open(folder.path(), &[]);
        assert_eq!(again.inner().end(), outbox.inner().end());
        assert!(again.from(u64::MAX).is_none());
    }
}
