//! The real disk with one sync that fails, to see from outside what the daemon makes of it.
//!
//! What was written to that file since its last sync is lost then, as on a disk that drops the
//! pages it could not write. Only in a build with fault injection; [`super::fault`] is the
//! simulated disk for tests inside one process.

use super::files::{File, Files, Lock, RealFiles};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts the syncs of all files and of the folder, except of what holds nothing yet: a spare
/// segment that cannot be synced is thrown away and made again.
#[derive(Clone)]
struct Syncs {
    done: Arc<AtomicU64>,
    failing: u64,
}

impl Syncs {
    fn next_fails(&self) -> bool {
        self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.failing
    }
}

/// A folder on the real disk, one of whose syncs fails.
pub(super) struct FailingFiles {
    real: RealFiles,
    syncs: Syncs,
}

struct FailingFile {
    real: Box<dyn File>,
    syncs: Syncs,
    /// Offset and length of what was written since the last sync, and whether it was only zeros.
    unsynced: Mutex<(Vec<(u64, usize)>, bool)>,
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

impl FailingFiles {
    /// The sync `failing` (1 is the first) fails.
    pub(super) fn new(real: RealFiles, failing: u64) -> Self {
        Self { real, syncs: Syncs { done: Arc::default(), failing } }
    }

    fn wrap(&self, real: Box<dyn File>) -> Box<dyn File> {
        Box::new(FailingFile {
            real,
            syncs: self.syncs.clone(),
            unsynced: Mutex::new((Vec::new(), true)),
        })
    }
}

impl File for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.0.push((offset, bytes.len()));
        unsynced.1 &= bytes.iter().all(|&byte| byte == 0);
        self.real.write_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.real.read_at(into, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let (lost, empty) = std::mem::replace(&mut *unsynced, (Vec::new(), true));
        if empty || !self.syncs.next_fails() {
            return self.real.sync_data();
        }
        for (offset, length) in lost {
            self.real.write_at(&vec![0; length], offset)?;
        }
        Err(failed())
    }

    fn length(&self) -> io::Result<u64> {
        self.real.length()
    }
}

impl Files for FailingFiles {
    fn lock(&self) -> io::Result<Option<Lock>> {
        self.real.lock()
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.real.list(folder)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(self.real.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(self.wrap(self.real.open(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.real.unlink(name)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.real.create_folder(folder)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        if self.syncs.next_fails() { Err(failed()) } else { self.real.sync_folder(folder) }
    }
}
