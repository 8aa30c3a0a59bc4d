//! The port through which the journal touches a disk, and the real disk behind it.
//!
//! A [`Files`] is one folder. Names are relative to it. The other implementation is
//! [`super::fault`], which loses what was not synced. Nothing else in the journal opens a file.

use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An open file. Reads and writes name their place, so that readers and the writer share it.
pub trait File: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The disk's; how much was written is unknown then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Reads into `into` from `offset`; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// The disk's.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns when the file's bytes and length would survive a power cut.
    ///
    /// # Errors
    /// The disk's. After an error nobody knows what is on it, also when a later call succeeds.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// The disk's.
    fn length(&self) -> io::Result<u64>;
}

/// Held as long as this process owns the folder.
pub type Lock = Box<dyn std::any::Any + Send + Sync>;

/// A folder.
pub trait Files: Send + Sync {
    /// Takes the folder for this process; `None` when another one has it.
    ///
    /// # Errors
    /// The disk's.
    fn lock(&self) -> io::Result<Option<Lock>>;

    /// The names in the folder, or in a folder inside it; none where that is absent.
    ///
    /// # Errors
    /// The disk's.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Creates a file that must not exist yet, readable by its owner only.
    ///
    /// # Errors
    /// The disk's.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// The disk's.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// # Errors
    /// The disk's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name.
    ///
    /// # Errors
    /// The disk's.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// Makes a folder inside this one, where there is none.
    ///
    /// # Errors
    /// The disk's.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    /// Returns when the names in the folder, or in a folder inside it, would survive a power
    /// cut.
    ///
    /// # Errors
    /// The disk's.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

/// A folder on the real disk.
#[derive(Debug, Clone)]
pub struct RealFiles {
    root: PathBuf,
}

struct RealFile(std::fs::File);

impl File for RealFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

impl RealFiles {
    /// The folder `root`, which must exist.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Creates the folder, readable by its owner only, and makes its name durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn create_folder(root: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        let parent = root.parent().filter(|p| !p.as_os_str().is_empty());
        std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Files for RealFiles {
    fn lock(&self) -> io::Result<Option<Lock>> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.is_empty() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(RealFile(file.open(self.path(name))?)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        Ok(Box::new(RealFile(options.read(true).write(true).open(self.path(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(folder))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::File::open(self.path(folder))?.sync_all()
    }
}

/// The bytes that an unprivileged process may still write to the disk that holds `folder`.
///
/// # Errors
/// The disk's.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The size of the disk that holds `folder`.
///
/// # Errors
/// The disk's.
pub fn capacity_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// Fills `file` with zeros from `from` to `to`, in pieces, most of them synced as it goes: one
/// sync of a whole segment would hold up every commit behind it (300 ms were seen).
///
/// # Errors
/// The disk's.
pub(super) fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 1 << 18] = [0; 1 << 18];
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(ZEROS.get(..piece).unwrap_or(&ZEROS), at)?;
        at += piece as u64;
        if at.is_multiple_of(SYNC_EVERY) {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// How much of a new segment is zeroed between two syncs.
const SYNC_EVERY: u64 = 1 << 18;

/// A stretch of a file held in memory, moved along as it is read.
pub(super) struct View<'f> {
    file: &'f dyn File,
    bytes: Vec<u8>,
    start: u64,
    piece: usize,
    length: u64,
}

impl<'f> View<'f> {
    /// A view of `file` that reads `piece` bytes at a time.
    pub(super) fn new(file: &'f dyn File, piece: usize) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, bytes: Vec::new(), start: 0, piece, length })
    }

    /// The length of the file when the view was made.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Everything in memory from `at` on: at least `least` bytes, fewer only at the end.
    pub(super) fn from(&mut self, at: u64, least: usize) -> io::Result<&[u8]> {
        let within = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let held = within.and_then(|skip| self.bytes.get(skip..)).map_or(0, <[u8]>::len);
        if held < least {
            let wanted = usize::try_from(self.length.saturating_sub(at))
                .unwrap_or(usize::MAX)
                .min(least.max(self.piece));
            if held < wanted {
                self.bytes.resize(wanted, 0);
                let read = self.file.read_at(&mut self.bytes, at)?;
                self.bytes.truncate(read);
                self.start = at;
                return Ok(&self.bytes);
            }
        }
        Ok(within.and_then(|skip| self.bytes.get(skip..)).unwrap_or(&[]))
    }
}
