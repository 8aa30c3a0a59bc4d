//! Stored files: what submissions name, sealed, beside the journal.
//!
//! ```text
//!   blobs/NAME-FILE        a whole file: NAME is the keyed hash of institution and digest, FILE tells
//!                          apart files of one name, both in hexadecimal digits
//!   blobs/NAME-FILE.tmp    being written; removed at the next start
//!   archive/blobs/…        files that have left, as they were
//!
//!   file    │ header 48 │ chunk │ chunk │ … the last one is marked
//!   header  │HOLDBLOB│crc 4│version 2│algorithm 1│0│key id 4│0 4│NAME 16│FILE 8│
//!   chunk   │length 4, its top bit set in the last│crc 4│nonce 12, ciphertext, tag 16│
//! ```
//!
//! Numbers are little-endian; sums are CRC32C, a chunk's over NAME, FILE, its number and all of it but
//! the sum. Each chunk is sealed with the institution's data key of the month (AES-256-GCM) and
//! authenticated with institution, NAME, FILE, its number and whether it is the last, so that one that
//! was cut off, moved or taken from elsewhere does not open. The sums let `verify` find rot without
//! the master key.
//!
//! A file has its name only when it is whole and synced, and is known (`engine::blobs`) only after
//! that; what has a name and is not known is put away at the next start. Names are read at a start,
//! contents never. Nothing here decides what stays.

use super::files::{File, Files};
use super::layout::{Damage, DamageKind};
use super::retire::ARCHIVE;
use super::seal::{AES_256_GCM_RANDOM_NONCE, FileVault};
use crate::domain::ids::{BlobName, InstitutionCode, Seq};
use crate::domain::time::Timestamp;
use crate::engine::change::{Blob, Change, file_name};
use crate::engine::ports::{BlobError, BlobReader, BlobWriter, Blobs};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// The folder, inside the data folder.
pub(super) const FOLDER: &str = "blobs";
const MAGIC: [u8; 8] = *b"HOLDBLOB";
const VERSION: u16 = 1;
const HEADER: usize = 48;
const CHUNK_HEAD: usize = 8;
/// The plain bytes of a chunk; the last may have fewer.
const CHUNK: usize = 1 << 16;
/// Nonce and tag.
const SEAL_BYTES: usize = 12 + 16;
/// The bit of a chunk's length that marks the last.
const LAST: u32 = 1 << 31;

/// Which file: a name, and which one of that name.
type Place = (BlobName, u64);

fn path((name, file): Place) -> String {
    format!("{FOLDER}/{}", file_name(name, file))
}

/// The place that a name in the folder says.
fn place_of(name: &str) -> Option<Place> {
    let (name, file) = name.split_once('-')?;
    if name.len() != 32 || file.len() != 16 {
        return None;
    }
    let name = u128::from_str_radix(name, 16).ok()?;
    Some((BlobName(name), u64::from_str_radix(file, 16).ok()?))
}

/// The files on a disk.
pub struct BlobStore {
    files: Arc<dyn Files>,
    vault: Arc<FileVault>,
    archive: bool,
}

/// What a start found in the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Files that nobody knows, and temporary ones, that were put away.
    pub put_away: u64,
    /// Files that are known and not there.
    pub missing: Vec<(BlobName, u64)>,
}

impl BlobStore {
    /// The store in the data folder `files`. Files that leave go to the archive, or are removed.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, vault: Arc<FileVault>, archive: bool) -> Self {
        Self { files, vault, archive }
    }

    /// Makes the folder, where it is absent. To be called before anything is stored.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(&self) -> io::Result<()> {
        self.files.create_folder(FOLDER)?;
        self.files.sync_folder("")
    }

    /// Compares the folder with what is `known`: puts away what is not, and tells what is missing.
    /// To be called before anything is stored. Reads names alone.
    ///
    /// # Errors
    /// The disk's.
    pub fn settle(&self, known: &BTreeSet<(BlobName, u64)>) -> io::Result<Settled> {
        let mut settled = Settled::default();
        let (mut found, mut strangers) = (BTreeSet::new(), Vec::new());
        for name in self.files.list(FOLDER)? {
            match place_of(&name) {
                Some(place) if known.contains(&place) => drop(found.insert(place)),
                Some(place) => strangers.push(place),
                None if name.ends_with(".tmp") => {
                    self.files.unlink(&format!("{FOLDER}/{name}"))?;
                    settled.put_away += 1;
                }
                // Somebody else's: it is none of ours to remove.
                None => {}
            }
        }
        settled.put_away += strangers.len() as u64;
        self.leave(&strangers)?;
        settled.missing = known.difference(&found).copied().collect();
        Ok(settled)
    }
}

/// What every sum and seal of a file begins with.
fn file_context((name, file): Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80);
    bytes.extend_from_slice(&name.0.to_le_bytes());
    bytes.extend_from_slice(&file.to_le_bytes());
    bytes
}

fn chunk_crc(place: Place, number: u64, length: u32, sealed: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&file_context(place));
    crc = crc32c::crc32c_append(crc, &number.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &length.to_le_bytes());
    crc32c::crc32c_append(crc, sealed)
}

/// What a chunk is authenticated with, besides the institution and the key.
fn chunk_context(place: Place, number: u64, is_last: bool) -> Vec<u8> {
    let mut bytes = file_context(place);
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.push(u8::from(is_last));
    bytes
}

fn header(place: Place, key_id: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
    bytes[14] = AES_256_GCM_RANDOM_NONCE;
    bytes[16..20].copy_from_slice(&key_id.to_le_bytes());
    bytes[24..].copy_from_slice(&file_context(place));
    let crc = crc32c::crc32c(&bytes[12..]);
    bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The data key of the file whose header this is; `None` where it is not that of `place`.
fn key_id_of(bytes: &[u8; HEADER], place: Place) -> Option<u32> {
    let key_id = u32::from_le_bytes(*bytes.get(16..)?.first_chunk()?);
    (*bytes == header(place, key_id)).then_some(key_id)
}

fn write_error(error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full(error),
        _ => BlobError::Io(error),
    }
}

struct Writer {
    store: Arc<dyn Files>,
    vault: Arc<FileVault>,
    institution: InstitutionCode,
    place: Place,
    key_id: u32,
    file: Box<dyn File>,
    end: u64,
    number: u64,
    held: Vec<u8>,
    is_done: bool,
}

impl Writer {
    fn temporary(&self) -> String {
        format!("{}.tmp", path(self.place))
    }

    fn put(&mut self, is_last: bool) -> Result<(), BlobError> {
        let context = chunk_context(self.place, self.number, is_last);
        let plain = std::mem::take(&mut self.held);
        let sealed = self.vault.seal_chunk(&self.institution, self.key_id, &context, &plain)?;
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        let length = if is_last { length | LAST } else { length };
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + sealed.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        let crc = chunk_crc(self.place, self.number, length, &sealed);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&sealed);
        self.file.write_at(&bytes, self.end).map_err(write_error)?;
        self.end += bytes.len() as u64;
        self.number += 1;
        Ok(())
    }
}

impl BlobWriter for Writer {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), BlobError> {
        while !bytes.is_empty() {
            // A full chunk is put only when something follows it: the last one is marked.
            if self.held.len() == CHUNK {
                self.put(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.held.len()));
            self.held.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<u64, BlobError> {
        self.put(true)?;
        self.file.sync_data().map_err(write_error)?;
        self.store.rename(&self.temporary(), &path(self.place)).map_err(write_error)?;
        self.is_done = true;
        self.store.sync_folder(FOLDER).map_err(write_error)?;
        Ok(self.place.1)
    }
}

impl Drop for Writer {
    /// Only a safety net: what is left is removed at the next start.
    fn drop(&mut self) {
        if !self.is_done {
            drop(self.store.unlink(&self.temporary()));
        }
    }
}

/// Walks through the chunks of a file.
struct Chunks {
    file: Box<dyn File>,
    place: Place,
    length: u64,
    at: u64,
    number: u64,
    is_over: bool,
}

/// A chunk as it is stored, and whether it is the last.
type Chunk = (Vec<u8>, bool);

impl Chunks {
    /// The chunks of `file`, and its data key.
    fn new(file: Box<dyn File>, place: Place) -> io::Result<Result<(Self, u32), u64>> {
        let mut head = [0; HEADER];
        let length = file.length()?;
        file.read_at(&mut head, 0)?;
        let Some(key_id) = key_id_of(&head, place) else { return Ok(Err(0)) };
        let chunks = Self { file, place, length, at: HEADER as u64, number: 0, is_over: false };
        Ok(Ok((chunks, key_id)))
    }

    /// The next one; `None` after the last. The inner error is where the file is damaged.
    fn next(&mut self) -> io::Result<Result<Option<Chunk>, u64>> {
        let at = self.at;
        if self.is_over {
            // Nothing may follow the last.
            return Ok(if at == self.length { Ok(None) } else { Err(at) });
        }
        let mut head = [0; CHUNK_HEAD];
        if self.file.read_at(&mut head, at)? < CHUNK_HEAD {
            return Ok(Err(at));
        }
        let word = |from: usize| head.get(from..)?.first_chunk().map(|b| u32::from_le_bytes(*b));
        let (Some(length), Some(crc)) = (word(0), word(4)) else { return Ok(Err(at)) };
        let bytes = (length & !LAST) as usize;
        if !(SEAL_BYTES..=CHUNK + SEAL_BYTES).contains(&bytes) {
            return Ok(Err(at));
        }
        let mut sealed = vec![0; bytes];
        let read = self.file.read_at(&mut sealed, at + CHUNK_HEAD as u64)?;
        if read < bytes || chunk_crc(self.place, self.number, length, &sealed) != crc {
            return Ok(Err(at));
        }
        self.at += (CHUNK_HEAD + bytes) as u64;
        self.number += 1;
        self.is_over = length & LAST != 0;
        Ok(Ok(Some((sealed, self.is_over))))
    }
}

struct Reader {
    vault: Arc<FileVault>,
    institution: InstitutionCode,
    key_id: u32,
    chunks: Chunks,
}

impl BlobReader for Reader {
    fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let (at, number) = (self.chunks.at, self.chunks.number);
        let chunk = self.chunks.next()?.map_err(BlobError::Damaged)?;
        let Some((sealed, is_last)) = chunk else { return Ok(None) };
        let context = chunk_context(self.chunks.place, number, is_last);
        let plain = self.vault.open_chunk(&self.institution, self.key_id, &context, &sealed);
        plain.map(Some).ok_or(BlobError::Damaged(at))
    }
}

impl Blobs for BlobStore {
    fn create(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        name: BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let key_id = self.vault.chunk_key(institution, at)?;
        let place = (name, self.vault.draw()?);
        let file = self.files.create(&format!("{}.tmp", path(place))).map_err(write_error)?;
        let mut writer = Box::new(Writer {
            store: Arc::clone(&self.files),
            vault: Arc::clone(&self.vault),
            institution: institution.clone(),
            place,
            key_id,
            file,
            end: 0,
            number: 0,
            held: Vec::new(),
            is_done: false,
        });
        writer.file.write_at(&header(place, key_id), 0).map_err(write_error)?;
        writer.end = HEADER as u64;
        Ok(writer)
    }

    fn open(&self, blob: &Blob) -> Result<Box<dyn BlobReader>, BlobError> {
        let place = (blob.name, blob.file);
        let file = match self.files.open(&path(place)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(BlobError::Missing);
            }
            file => file?,
        };
        let (chunks, key_id) = Chunks::new(file, place)?.map_err(BlobError::Damaged)?;
        let (vault, institution) = (Arc::clone(&self.vault), blob.institution.clone());
        Ok(Box::new(Reader { vault, institution, key_id, chunks }))
    }

    fn discard(&self, file: (BlobName, u64)) -> io::Result<()> {
        self.files.unlink(&path(file))?;
        self.files.sync_folder(FOLDER)
    }

    fn leave(&self, files: &[(BlobName, u64)]) -> io::Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let archive = format!("{ARCHIVE}/{FOLDER}");
        if self.archive {
            self.files.create_folder(ARCHIVE)?;
            self.files.create_folder(&archive)?;
            self.files.sync_folder("")?;
            self.files.sync_folder(ARCHIVE)?;
        }
        for &place in files {
            let from = path(place);
            let moved = if self.archive {
                self.files.rename(&from, &format!("{ARCHIVE}/{from}"))
            } else {
                self.files.unlink(&from)
            };
            match moved {
                // It went in an earlier try.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                moved => moved?,
            }
        }
        // The new names before the old ones, so that no cut of the power takes both.
        if self.archive {
            self.files.sync_folder(&archive)?;
        }
        self.files.sync_folder(FOLDER)
    }
}

/// Which files a journal says that there are, as its changes are read one after the other.
#[derive(Debug, Default)]
pub(super) struct Expected(BTreeMap<BlobName, u64>);

impl Expected {
    pub(super) fn take(&mut self, change: &Change) {
        if let Change::BlobStored(blob) = change {
            self.0.insert(blob.name, blob.file);
        } else if let Change::BlobsRemoved { names, .. } = change {
            for name in names {
                self.0.remove(name);
            }
        }
    }
}

/// Of a file: its name in the folder, its bytes, and where it is damaged.
pub(super) type Checked = (String, u64, Option<Damage>);

/// Checks every file in the folder by its sums, and that each that is `expected` is there.
pub(super) fn check(files: &dyn Files, expected: &Expected) -> io::Result<Vec<Checked>> {
    let mut checked = Vec::new();
    let mut found: Vec<Place> =
        files.list(FOLDER)?.iter().filter_map(|name| place_of(name)).collect();
    found.sort_unstable();
    for &place in &found {
        let name = path(place);
        let file = files.open(&name)?;
        let bytes = file.length()?;
        let damage = first_damage(file, place)?.map(|at| damaged(&name, at));
        checked.push((name, bytes, damage));
    }
    let missing = expected.0.iter().map(|(name, file)| (*name, *file));
    for place in missing.filter(|place| found.binary_search(place).is_err()) {
        let name = path(place);
        checked.push((name.clone(), 0, Some(damaged(&name, 0))));
    }
    Ok(checked)
}

fn damaged(name: &str, at: u64) -> Damage {
    Damage::whole(DamageKind::Attachment, name.to_owned(), at, Seq(0))
}

fn first_damage(file: Box<dyn File>, place: Place) -> io::Result<Option<u64>> {
    let (mut chunks, _) = match Chunks::new(file, place)? {
        Ok(chunks) => chunks,
        Err(at) => return Ok(Some(at)),
    };
    loop {
        match chunks.next()? {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(at) => return Ok(Some(at)),
        }
    }
}

#[cfg(test)]
mod tests;
