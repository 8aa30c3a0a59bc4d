//! Sealing: what is private is stored so that only the holder of the master key can read it.
//!
//! One data key per institution and month seals payloads and answers with AES-256-GCM. Data
//! keys stand in `keys.sealed`, wrapped by the master key, and are durable before their first
//! use. Destroying one erases everything that it sealed. The keyed hashes that the engine
//! compares (keys, fingerprints, insured persons) have keys of their own, made from the master
//! key, and never change.
//!
//! ```text
//!   keys.sealed   │HOLDVALT│ entry │ entry │ …
//!   entry         0     4     8      12      16       20   21        21+n              +60
//!                 │ len │ crc │ kind │ key id │ month │ n  │ code (n) │ nonce 12, wrapped 48 │
//!   kind          1: a data key; 2: the data key with this id is destroyed (nothing wrapped)
//! ```
//!
//! The wrapped bytes of a destroyed key are overwritten with zeros. The master key stays
//! outside the data folder: whoever has only the one or the other can read nothing.

use super::files::{File, Files, RealFiles};
use crate::domain::attachment::Digest;
use crate::domain::ids::{
    BlobName, Fingerprint, IdempotencyKey, InstitutionCode, InsuredHash, KeyHash, OrderingKey,
};
use crate::domain::time::Timestamp;
use crate::engine::change::{Private, Sealed};
use crate::engine::ports::{SealError, Vault};
use bytes::Bytes;
use chrono::Datelike;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The number of the only sealing algorithm: AES-256-GCM, a random 96-bit nonce in front.
pub const AES_256_GCM_RANDOM_NONCE: u8 = 1;

pub(super) const NAME: &str = "keys.sealed";
const MAGIC: [u8; 8] = *b"HOLDVALT";
const KEY: usize = 32;
const WRAPPED: usize = NONCE_LEN + KEY + 16;
const FIXED: usize = 21;
const KIND_KEY: u32 = 1;
const KIND_DESTROYED: u32 = 2;
/// What is sealed, as part of what is authenticated: an answer never opens as a payload.
const PRIVATE: u8 = b'p';
const ANSWER: u8 = b'a';
const FILE: u8 = b'f';

/// Why the keys could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The master key is not the one that wrapped the data keys.
    #[error("the master key does not fit the data keys in {NAME}")]
    WrongMasterKey,
    /// The master key's file is not one.
    #[error("the master key file must hold exactly 32 bytes")]
    BadMasterKey,
    /// There are data keys, and no master key that could open them.
    #[error("the master key file is missing, restore it: without it {NAME} cannot be read")]
    MasterKeyMissing,
    /// The file of data keys is not what was written.
    #[error("{NAME} is damaged at byte {0}, restore it from a copy")]
    Damaged(u64),
    /// The disk did not answer.
    #[error("the keys cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The master key. Its bytes are in no error, log or debug text.
pub struct MasterKey([u8; KEY]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(bytes)
    }

    /// A secret of 32 bytes that is good for the one thing that `label` names.
    #[must_use]
    pub fn derived(&self, label: &str) -> [u8; KEY] {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        let tag = hmac::sign(&root, format!("holdover {label} 1").as_bytes());
        let mut bytes = [0; KEY];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Reads the master key; makes one, readable by its owner only and durable, where the file
    /// is absent and `data_folder` holds no data keys yet.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub fn load_or_create(path: &Path, data_folder: &Path) -> Result<Self, VaultError> {
        match std::fs::read(path) {
            Ok(bytes) => {
                return bytes.try_into().map(Self).map_err(|_| VaultError::BadMasterKey);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            Err(_) => {}
        }
        if data_folder.join(NAME).try_exists()? {
            return Err(VaultError::MasterKeyMissing);
        }
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let name = path.file_name().ok_or(VaultError::BadMasterKey)?.to_string_lossy();
        let key: [u8; KEY] = random(&SystemRandom::new())?;
        super::keys::replace(&RealFiles::new(folder), &name, &key)?;
        Ok(Self(key))
    }
}

fn random<const N: usize>(source: &SystemRandom) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.fill(&mut bytes).map_err(|_| io::Error::other("no randomness from the system"))?;
    Ok(bytes)
}

struct DataKey {
    id: u32,
    key: LessSafeKey,
}

#[derive(Default)]
struct Keys {
    by_month: HashMap<(InstitutionCode, u32), Arc<DataKey>>,
    by_id: HashMap<u32, Arc<DataKey>>,
    /// Where each key stands in the file: its wrapped bytes.
    places: HashMap<u32, u64>,
    last_id: u32,
}

/// The end of the key file, owned by one thread at a time.
struct Writer {
    file: Box<dyn File>,
    end: u64,
    poisoned: bool,
}

/// The vault on files.
pub struct FileVault {
    keys: RwLock<Keys>,
    writer: Mutex<Writer>,
    wrap: LessSafeKey,
    random: SystemRandom,
    key_hash: hmac::Key,
    fingerprint: hmac::Key,
    ordering: hmac::Key,
    insured: hmac::Key,
    blob: hmac::Key,
}

fn aes(bytes: &[u8]) -> Result<LessSafeKey, io::Error> {
    UnboundKey::new(&AES_256_GCM, bytes)
        .map(LessSafeKey::new)
        .map_err(|_| io::Error::other("a key of the wrong length"))
}

/// The month of an instant: years times twelve plus months, by the calendar of UTC.
fn month(at: Timestamp) -> u32 {
    let date = at.civil(chrono_tz::UTC).date();
    u32::try_from(date.year()).unwrap_or(0) * 12 + date.month0()
}

fn half(tag: &hmac::Tag) -> u128 {
    u128::from_le_bytes(tag.as_ref().first_chunk().copied().unwrap_or_default())
}

/// Parts with their lengths in front, so that no two lists of parts look alike.
fn sum(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    context.sign()
}

/// One entry of the key file.
struct Entry {
    kind: u32,
    id: u32,
    month: u32,
    code: Vec<u8>,
    wrapped: Vec<u8>,
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let length = FIXED + self.code.len() + WRAPPED;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for value in [self.kind, self.id, self.month] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.push(u8::try_from(self.code.len()).unwrap_or(0));
        bytes.extend_from_slice(&self.code);
        bytes.extend_from_slice(&self.wrapped);
        bytes.resize(length, 0);
        let crc = Self::crc(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn crc(bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..])
    }

    /// The entry at the start of `bytes`, its length, and whether its sum is right.
    fn decode(bytes: &[u8]) -> Option<(Self, usize, bool)> {
        let word =
            |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|chunk| u32::from_le_bytes(*chunk));
        let code_length = usize::from(*bytes.get(20)?);
        let length = FIXED + code_length + WRAPPED;
        if word(0)? as usize != length {
            return None;
        }
        let whole = bytes.get(..length)?;
        let (code, wrapped) = whole.get(FIXED..)?.split_at_checked(code_length)?;
        let intact = word(4)? == Self::crc(whole);
        let entry = Self {
            kind: word(8)?,
            id: word(12)?,
            month: word(16)?,
            code: code.to_vec(),
            wrapped: wrapped.to_vec(),
        };
        Some((entry, length, intact))
    }

    /// What authenticates the wrapped key.
    fn context(&self) -> Vec<u8> {
        let mut bytes = self.code.clone();
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.month.to_le_bytes());
        bytes
    }
}

fn seal_with(
    key: &LessSafeKey,
    source: &SystemRandom,
    context: &[u8],
    mut plain: Vec<u8>,
) -> io::Result<Vec<u8>> {
    // `plain` begins with room for the nonce.
    let nonce: [u8; NONCE_LEN] = random(source)?;
    let (front, body) = plain.split_at_mut(NONCE_LEN);
    front.copy_from_slice(&nonce);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), body)
        .map_err(|_| io::Error::other("too long to seal"))?;
    plain.extend_from_slice(tag.as_ref());
    Ok(plain)
}

/// `None` where the bytes are not what was sealed with this key and context.
fn open_with(key: &LessSafeKey, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut body = body.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(context), &mut body).ok()?.len();
    body.truncate(length);
    Some(body)
}

impl FileVault {
    /// Opens the vault of a data folder, which must exist.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub fn open(data_folder: &Path, master: &MasterKey) -> Result<Self, VaultError> {
        Self::open_on(&RealFiles::new(data_folder), master)
    }

    /// Opens the vault in `files`.
    ///
    /// # Errors
    /// See [`VaultError`].
    pub fn open_on(files: &dyn Files, master: &MasterKey) -> Result<Self, VaultError> {
        let hash = |label| hmac::Key::new(hmac::HMAC_SHA256, &master.derived(label));
        let wrap = aes(&master.derived("wrap"))?;
        if !files.list("")?.iter().any(|name| name == NAME) {
            super::keys::replace(files, NAME, &MAGIC)?;
        }
        let file = files.open(NAME)?;
        let (keys, end) = load(file.as_ref(), &wrap)?;
        Ok(Self {
            keys: RwLock::new(keys),
            writer: Mutex::new(Writer { file, end, poisoned: false }),
            wrap,
            random: SystemRandom::new(),
            key_hash: hash("key"),
            fingerprint: hash("fingerprint"),
            ordering: hash("ordering"),
            insured: hash("insured"),
            blob: hash("blob"),
        })
    }

    /// The data keys there are.
    #[must_use]
    pub fn key_ids(&self) -> Vec<u32> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<u32> = keys.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Destroys a data key: what it sealed can never be opened again.
    ///
    /// # Errors
    /// [`SealError::NoKey`], or the disk's; then the key may or may not be gone after a restart.
    pub fn destroy(&self, id: u32) -> Result<(), SealError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let place = *keys.places.get(&id).ok_or(SealError::NoKey(id))?;
        let gone =
            Entry { kind: KIND_DESTROYED, id, month: 0, code: Vec::new(), wrapped: Vec::new() };
        // First the word that it is destroyed, so that its zeros are never taken for damage.
        writer.append(&gone.encode())?;
        writer.overwrite(place, &[0; WRAPPED])?;
        keys.places.remove(&id);
        keys.by_id.remove(&id);
        keys.by_month.retain(|_, key| key.id != id);
        Ok(())
    }

    fn data_key(&self, institution: &InstitutionCode, at: Timestamp) -> io::Result<Arc<DataKey>> {
        let slot = (institution.clone(), month(at));
        let held = |keys: &Keys| keys.by_month.get(&slot).cloned();
        if let Some(key) = held(&self.keys.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(key);
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let last_id = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = held(&keys) {
                return Ok(key);
            }
            keys.last_id
        };
        let id = last_id.checked_add(1).ok_or_else(|| io::Error::other("no key ids are left"))?;
        let bytes: [u8; KEY] = random(&self.random)?;
        let code = institution.as_str().as_bytes().to_vec();
        let mut entry = Entry { kind: KIND_KEY, id, month: slot.1, code, wrapped: Vec::new() };
        let mut plain = vec![0; NONCE_LEN];
        plain.extend_from_slice(&bytes);
        entry.wrapped = seal_with(&self.wrap, &self.random, &entry.context(), plain)?;
        let place = writer.end + (FIXED + entry.code.len()) as u64;
        writer.append(&entry.encode())?;
        let key = Arc::new(DataKey { id, key: aes(&bytes)? });
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.last_id = id;
        keys.places.insert(id, place);
        keys.by_id.insert(id, Arc::clone(&key));
        keys.by_month.insert(slot, Arc::clone(&key));
        Ok(key)
    }

    /// The number of the data key that a file of `institution` is sealed with at `at`.
    pub(super) fn chunk_key(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
    ) -> Result<u32, SealError> {
        Ok(self.data_key(institution, at)?.id)
    }

    /// A number that nobody can foresee.
    pub(super) fn draw(&self) -> io::Result<u64> {
        random(&self.random).map(u64::from_le_bytes)
    }

    fn key_of(&self, id: u32) -> Result<Arc<DataKey>, SealError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.by_id.get(&id).cloned().ok_or(SealError::NoKey(id))
    }

    /// Seals a part of a file of `institution` with data key `id`; `place` says which part of which.
    pub(super) fn seal_chunk(
        &self,
        institution: &InstitutionCode,
        id: u32,
        place: &[u8],
        plain: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut context = context(institution, id, FILE);
        context.extend_from_slice(place);
        let mut bytes = Vec::with_capacity(NONCE_LEN + plain.len() + 16);
        bytes.resize(NONCE_LEN, 0);
        bytes.extend_from_slice(plain);
        Ok(seal_with(&self.key_of(id)?.key, &self.random, &context, bytes)?)
    }

    /// Opens what [`FileVault::seal_chunk`] sealed; `None` where it is not that.
    pub(super) fn open_chunk(
        &self,
        institution: &InstitutionCode,
        id: u32,
        place: &[u8],
        sealed: &[u8],
    ) -> Option<Bytes> {
        let mut context = context(institution, id, FILE);
        context.extend_from_slice(place);
        open_with(&self.key_of(id).ok()?.key, &context, sealed).map(Bytes::from)
    }

    fn seal_bytes(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        what: u8,
        plain: Vec<u8>,
    ) -> Result<Sealed, SealError> {
        let key = self.data_key(institution, at)?;
        let sealed = seal_with(&key.key, &self.random, &context(institution, key.id, what), plain)?;
        let algorithm = AES_256_GCM_RANDOM_NONCE;
        Ok(Sealed { algorithm, key_id: key.id, bytes: Bytes::from(sealed) })
    }

    fn open_bytes(
        &self,
        institution: &InstitutionCode,
        what: u8,
        sealed: &Sealed,
    ) -> Result<Bytes, SealError> {
        let key = self.key_of(sealed.key_id)?;
        if sealed.algorithm != AES_256_GCM_RANDOM_NONCE {
            return Err(SealError::Damaged);
        }
        open_with(&key.key, &context(institution, key.id, what), &sealed.bytes)
            .map(Bytes::from)
            .ok_or(SealError::Damaged)
    }
}

fn context(institution: &InstitutionCode, id: u32, what: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend_from_slice(institution.as_str().as_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.push(what);
    bytes
}

impl Writer {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.overwrite(self.end, bytes)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("an earlier write to the key file failed"));
        }
        let done = self.file.write_at(bytes, at).and_then(|()| self.file.sync_data());
        self.poisoned = done.is_err();
        done
    }
}

/// Whether bytes that are no entry were one. An entry is used only after its sync, so one that
/// is cut off has sealed nothing; one that is there in full, or that others follow, may have.
fn was_written(rest: &[u8]) -> bool {
    let claimed = rest.first_chunk::<4>().map(|chunk| u32::from_le_bytes(*chunk) as usize);
    let implied = rest.get(20).map(|length| FIXED + usize::from(*length) + WRAPPED);
    let in_full = [claimed, implied].contains(&Some(rest.len()));
    let is_entry = |at| rest.get(at..).and_then(Entry::decode).is_some_and(|(_, _, intact)| intact);
    in_full || (1..rest.len()).any(is_entry)
}

/// Reads the key file: the keys, and where the next entry goes.
/// The length of the file of data keys, and where it is damaged, as far as that can be told
/// without the master key: at 0 where it is missing.
pub(super) fn check(files: &dyn Files) -> io::Result<(u64, Option<u64>)> {
    let file = match files.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, Some(0))),
        Err(error) => return Err(io::Error::new(error.kind(), format!("{NAME}: {error}"))),
    };
    match entries(file.as_ref()) {
        Ok(_) => Ok((file.length()?, None)),
        Err(VaultError::Damaged(at)) => Ok((file.length()?, Some(at))),
        Err(VaultError::Io(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The keys that were written and not destroyed, each with its place.
struct Entries {
    live: Vec<(usize, Entry)>,
    last_id: u32,
    end: usize,
}

fn entries(file: &dyn File) -> Result<Entries, VaultError> {
    let mut bytes = vec![0; usize::try_from(file.length()?).unwrap_or(0)];
    file.read_at(&mut bytes, 0)?;
    if !bytes.starts_with(&MAGIC) {
        return Err(VaultError::Damaged(0));
    }
    let mut entries = Vec::new();
    let mut at = MAGIC.len();
    while let Some((entry, length, intact)) = bytes.get(at..).and_then(Entry::decode) {
        entries.push((at, entry, intact));
        at += length;
    }
    if was_written(bytes.get(at..).unwrap_or(&[])) {
        return Err(VaultError::Damaged(at as u64));
    }
    let destroyed: HashSet<u32> = entries
        .iter()
        .filter(|(_, entry, intact)| *intact && entry.kind == KIND_DESTROYED)
        .map(|(_, entry, _)| entry.id)
        .collect();
    let (mut live, mut last_id) = (Vec::new(), 0);
    for (place, entry, intact) in entries {
        last_id = last_id.max(entry.id);
        if entry.kind == KIND_DESTROYED || destroyed.contains(&entry.id) {
            continue;
        }
        let unwritten =
            place + FIXED + entry.code.len() + WRAPPED == at && entry.wrapped.ends_with(&[0; 16]);
        if !intact && unwritten {
            at = place;
            break;
        }
        if !intact || entry.kind != KIND_KEY {
            return Err(VaultError::Damaged(place as u64));
        }
        live.push((place, entry));
    }
    Ok(Entries { live, last_id, end: at })
}

fn load(file: &dyn File, wrap: &LessSafeKey) -> Result<(Keys, u64), VaultError> {
    let Entries { live, last_id, end } = entries(file)?;
    let mut keys = Keys { last_id, ..Keys::default() };
    for (place, entry) in live {
        let plain =
            open_with(wrap, &entry.context(), &entry.wrapped).ok_or(VaultError::WrongMasterKey)?;
        let key = Arc::new(DataKey { id: entry.id, key: aes(&plain)? });
        let code = std::str::from_utf8(&entry.code).ok().and_then(|code| code.parse().ok());
        let institution: InstitutionCode = code.ok_or(VaultError::Damaged(place as u64))?;
        keys.places.insert(entry.id, (place + FIXED + entry.code.len()) as u64);
        keys.by_id.insert(entry.id, Arc::clone(&key));
        keys.by_month.insert((institution, entry.month), key);
    }
    Ok((keys, end as u64))
}

impl Vault for FileVault {
    fn key_hash(&self, institution: &InstitutionCode, key: &IdempotencyKey) -> KeyHash {
        let parts = [institution.as_str().as_bytes(), key.as_str().as_bytes()];
        KeyHash(half(&sum(&self.key_hash, &parts)))
    }

    fn fingerprint(&self, content: &[u8]) -> Fingerprint {
        #[expect(clippy::cast_possible_truncation, reason = "64 bits are what is kept")]
        let short = half(&sum(&self.fingerprint, &[content])) as u64;
        Fingerprint(short)
    }

    fn ordering_key(
        &self,
        institution: &InstitutionCode,
        subject: &str,
        group: &str,
    ) -> OrderingKey {
        let parts = [institution.as_str().as_bytes(), subject.as_bytes(), group.as_bytes()];
        OrderingKey(half(&sum(&self.ordering, &parts)))
    }

    fn blob_name(&self, institution: &InstitutionCode, digest: &Digest) -> BlobName {
        let parts: [&[u8]; 2] = [institution.as_str().as_bytes(), digest.bytes()];
        BlobName(half(&sum(&self.blob, &parts)))
    }

    fn insured(&self, insured: &str) -> InsuredHash {
        InsuredHash(half(&sum(&self.insured, &[insured.as_bytes()])))
    }

    fn seal(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        private: &Private,
    ) -> Result<Sealed, SealError> {
        let mut plain = Vec::with_capacity(512 + private.payload.len());
        plain.resize(NONCE_LEN + 4, 0);
        serde_json::to_writer(&mut plain, private).map_err(io::Error::from)?;
        let head = u32::try_from(plain.len() - NONCE_LEN - 4).unwrap_or(u32::MAX);
        plain[NONCE_LEN..NONCE_LEN + 4].copy_from_slice(&head.to_le_bytes());
        plain.extend_from_slice(&private.payload);
        self.seal_bytes(institution, at, PRIVATE, plain)
    }

    fn open(&self, institution: &InstitutionCode, sealed: &Sealed) -> Result<Private, SealError> {
        let plain = self.open_bytes(institution, PRIVATE, sealed)?;
        let length = plain.first_chunk::<4>().map(|chunk| u32::from_le_bytes(*chunk) as usize);
        let end = length.and_then(|length| length.checked_add(4)).ok_or(SealError::Damaged)?;
        let head = plain.get(4..end).ok_or(SealError::Damaged)?;
        let mut private: Private = serde_json::from_slice(head).map_err(|_| SealError::Damaged)?;
        private.payload = plain.slice(end..);
        Ok(private)
    }

    fn seal_answer(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        answer: &[u8],
    ) -> Result<Sealed, SealError> {
        let mut plain = Vec::with_capacity(NONCE_LEN + answer.len() + 16);
        plain.resize(NONCE_LEN, 0);
        plain.extend_from_slice(answer);
        self.seal_bytes(institution, at, ANSWER, plain)
    }

    fn open_answer(
        &self,
        institution: &InstitutionCode,
        sealed: &Sealed,
    ) -> Result<Bytes, SealError> {
        self.open_bytes(institution, ANSWER, sealed)
    }
}

#[cfg(test)]
mod tests;
