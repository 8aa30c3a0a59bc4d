//! API keys: who is calling, and what they may do.
//!
//! A key reads `hk_live_<id>_<secret>_<checksum>`: ten letters or digits that name it, 32 that
//! are secret, and a CRC-32C over all that stands before, so that a mistyped or scanned text is
//! told from a key without a look at the file. The file (`keyfile`) has only the SHA-256 of the
//! secret: 190 random bits need no slow hash. Comparison takes the same time wherever two
//! hashes differ.
//!
//! [`KeyFile::verify`] is on the path of every request: it reads a table in memory and looks at
//! the file again at most once a second, or when it meets an id that it does not know.

use super::keyfile::{self, Error, KeyRecord};
use crate::domain::cell::{Channel, Institution, words};
use crate::domain::time::Timestamp;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use keyfile::{NewKey, create, list, revoke};

words!(
    /// What a key may do.
    Scope, "scope", {
        /// Submit transactions, withdraw them, close tickets, register deadlines.
        Submit = "submit",
        /// Look.
        Read = "read",
        /// Declare windows, close gates, restore, release, redrive.
        Operate = "operate",
        /// Give the second consent where two persons are needed.
        Approve = "approve",
    }
);

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A submitter.
    Institution {
        /// What the engine is told about it.
        institution: Institution,
        /// The channels that it may name, the only one being the default.
        channels: Vec<Channel>,
    },
    /// A person who operates Holdover.
    Operator {
        /// The name that stands in the audit log.
        name: String,
    },
}

impl Holder {
    /// Whether a key of this holder with `scopes` makes sense.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, scopes: &[Scope]) -> Result<(), &'static str> {
        let has = |scope| scopes.contains(&scope);
        match self {
            Self::Institution { channels, .. } if channels.is_empty() => {
                Err("an institution's key needs at least one channel")
            }
            Self::Institution { .. } if has(Scope::Operate) || has(Scope::Approve) => {
                Err("an institution's key has the scopes submit and read only")
            }
            Self::Operator { name } if name.trim().is_empty() => {
                Err("an operator's key names a person")
            }
            Self::Operator { .. } if has(Scope::Submit) => {
                Err("an operator's key cannot submit; make a key for an institution")
            }
            Self::Institution { .. } | Self::Operator { .. } => Ok(()),
        }
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The id of the key.
    pub key_id: String,
    /// Whose it is.
    pub holder: Holder,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// Whether the key has `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The submitter and its channels, where the key is an institution's.
    #[must_use]
    pub fn institution(&self) -> Option<(&Institution, &[Channel])> {
        match &self.holder {
            Holder::Institution { institution, channels } => Some((institution, channels)),
            Holder::Operator { .. } => None,
        }
    }

    /// The person, where the key is an operator's.
    #[must_use]
    pub fn operator(&self) -> Option<&str> {
        match &self.holder {
            Holder::Operator { name } => Some(name),
            Holder::Institution { .. } => None,
        }
    }
}

const PREFIX: &str = "hk_live_";
const ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 8;
const BASE32: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that has just been made.
pub(super) struct MadeKey {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) secret_sha256: String,
}

fn draw(alphabet: &[u8], length: usize) -> Result<String, &'static str> {
    let random = SystemRandom::new();
    let mut text = String::with_capacity(length);
    // Bytes at or above the largest multiple of the alphabet's size would favour its beginning.
    let fair = 256 - 256 % alphabet.len();
    let mut bytes = [0u8; 64];
    while text.len() < length {
        random.fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
        let digits = bytes.iter().map(|&b| usize::from(b)).filter(|&b| b < fair);
        text.extend(
            digits.map(|b| char::from(alphabet[b % alphabet.len()])).take(length - text.len()),
        );
    }
    Ok(text)
}

pub(super) fn new_key_text(taken: &dyn Fn(&str) -> bool) -> Result<MadeKey, &'static str> {
    let mut id = draw(BASE32, ID_LENGTH)?;
    while taken(&id) {
        id = draw(BASE32, ID_LENGTH)?;
    }
    let secret = draw(BASE62, SECRET_LENGTH)?;
    let body = format!("{PREFIX}{id}_{secret}");
    let text = format!("{body}_{:08x}", crc32c::crc32c(body.as_bytes()));
    let mut secret_sha256 = String::with_capacity(64);
    for byte in digest(&SHA256, secret.as_bytes()).as_ref() {
        secret_sha256.push_str(&format!("{byte:02x}"));
    }
    Ok(MadeKey { id, text, secret_sha256 })
}

/// The id and the secret of a text in a key's form with the right checksum.
fn parse(presented: &str) -> Option<(&str, &str)> {
    let total = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + 1 + CHECKSUM_LENGTH;
    if presented.len() != total || !presented.is_ascii() {
        return None;
    }
    let (body, checksum) = presented.split_at(total - CHECKSUM_LENGTH - 1);
    let told = u32::from_str_radix(checksum.strip_prefix('_')?, 16).ok()?;
    if crc32c::crc32c(body.as_bytes()) != told {
        return None;
    }
    let (id, secret) = body.strip_prefix(PREFIX)?.split_at(ID_LENGTH);
    Some((id, secret.strip_prefix('_')?))
}

/// No key is good for something that a daemon is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What nobody may do.
    pub scope: Scope,
    file: PathBuf,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scope, file) = (self.scope, self.file.display());
        write!(
            f,
            "nobody may {scope}: no good key in {file} has that scope; \
             make one with `holdover key create --keys {file} --scope {scope} …`"
        )
    }
}

struct Entry {
    secret_sha256: [u8; 32],
    expires_at: Option<Timestamp>,
    principal: Arc<Principal>,
}

impl Entry {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The table has no key of that id.
struct Unknown;

type Table = HashMap<String, Entry>;

/// What tells one state of the file from another.
type Mark = Option<(u64, i64, i64, u64)>;

/// The keys of a file, in memory.
pub struct KeyFile {
    path: PathBuf,
    table: RwLock<Table>,
    seen: Mutex<Mark>,
    looked_at: AtomicI64,
}

impl KeyFile {
    /// Reads the keys. A file that is not there yet has none.
    ///
    /// # Errors
    /// Where the file is there but cannot be read, is damaged, or is open to others.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mark = mark(path);
        let table = load(path)?;
        Ok(Self {
            path: path.to_owned(),
            table: RwLock::new(table),
            seen: Mutex::new(mark),
            looked_at: AtomicI64::new(i64::MIN),
        })
    }

    /// Who holds the key `presented`, if it is good at `now`.
    #[must_use]
    pub fn verify(&self, presented: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let (id, secret) = parse(presented)?;
        self.look_again_at_times(now);
        self.find(id, secret, now).unwrap_or_else(|Unknown| {
            // One look at the file's metadata; its content is read only when that has changed.
            self.look_again();
            self.find(id, secret, now).unwrap_or(None)
        })
    }

    /// Who holds the key named `id`, if it is good at `now`: for what was authenticated in another
    /// way, and is only looked up here.
    #[must_use]
    pub fn holder(&self, id: &str, now: Timestamp) -> Option<Arc<Principal>> {
        self.look_again_at_times(now);
        let table = self.read();
        let entry = table.get(id).filter(|entry| !entry.is_expired(now))?;
        Some(Arc::clone(&entry.principal))
    }

    fn find(
        &self,
        id: &str,
        secret: &str,
        now: Timestamp,
    ) -> Result<Option<Arc<Principal>>, Unknown> {
        let table = self.read();
        let entry = table.get(id).ok_or(Unknown)?;
        let hash = digest(&SHA256, secret.as_bytes());
        let same = same_bytes(hash.as_ref(), &entry.secret_sha256);
        Ok((same && !entry.is_expired(now)).then(|| Arc::clone(&entry.principal)))
    }

    /// Who is named by the value of an `Authorization` header.
    #[must_use]
    pub fn bearer(&self, header: &str, now: Timestamp) -> Option<Arc<Principal>> {
        let (scheme, key) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        self.verify(key.trim(), now)
    }

    /// What no key of the file is good for at `now`; a look at the file is part of it.
    #[must_use]
    pub fn lacks(&self, now: Timestamp) -> Vec<Lack> {
        self.look_again();
        let table = self.read();
        let may = |scope: Scope| {
            let mut good = table.values().filter(|key| !key.is_expired(now));
            good.any(|key| key.principal.may(scope))
        };
        let lacking = [Scope::Submit, Scope::Operate].into_iter().filter(|&scope| !may(scope));
        lacking.map(|scope| Lack { scope, file: self.path.clone() }).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the file at most once a second; also when the clock was set back, so that a
    /// revocation never waits for long.
    fn look_again_at_times(&self, now: Timestamp) {
        let second = now.as_millis().div_euclid(1000);
        if self.looked_at.load(Ordering::Relaxed) != second
            && self.looked_at.swap(second, Ordering::Relaxed) != second
        {
            self.look_again();
        }
    }

    fn look_again(&self) {
        let now_there = mark(&self.path);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now_there {
            return;
        }
        match load(&self.path) {
            Ok(table) => {
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
            }
            // Keys that were good stay good: a half-copied file must not lock everybody out.
            Err(error) => tracing::error!(%error, "the key file was not read again"),
        }
        *seen = now_there;
    }
}

fn mark(path: &Path) -> Mark {
    let there = std::fs::metadata(path).ok()?;
    Some((there.ino(), there.mtime(), there.mtime_nsec(), there.len()))
}

fn load(path: &Path) -> Result<Table, Error> {
    let damaged = |key: &KeyRecord| Error::Damaged {
        path: path.to_owned(),
        why: format!("the hash of key {} is not 64 hexadecimal digits", key.id),
    };
    let mut table = Table::new();
    for mut key in keyfile::list(path)? {
        let secret_sha256 = unhex(&key.secret_sha256).ok_or_else(|| damaged(&key))?;
        if key.revoked_at.is_some() {
            continue;
        }
        if let Holder::Institution { institution, .. } = &mut key.holder {
            // Cells are compared by their labels, so these have one order.
            institution.labels.sort_unstable();
            institution.labels.dedup();
        }
        let principal =
            Principal { key_id: key.id.clone(), holder: key.holder, scopes: key.scopes };
        let principal = Arc::new(principal);
        let entry = Entry { secret_sha256, expires_at: key.expires_at, principal };
        table.insert(key.id, entry);
    }
    Ok(table)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Compares without stopping at the first difference.
fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0u8, |sum, (a, b)| sum | (a ^ b));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_key_is_no_key() {
        let key = new_key_text(&|_| false).unwrap();
        assert_eq!(parse(&key.text).map(|(id, _)| id), Some(key.id.as_str()));
        for place in 0..key.text.len() {
            let mut typo = key.text.clone().into_bytes();
            typo[place] = if typo[place] == b'x' { b'y' } else { b'x' };
            assert_eq!(parse(std::str::from_utf8(&typo).unwrap()), None, "at {place}");
        }
        assert_eq!(parse(&key.text[1..]), None);
        assert_eq!(parse("hk_live_"), None);
        assert_eq!(parse("键键键键键键键键键键键键键键键键键键键键"), None);
    }

    #[test]
    fn hashes_compare_by_every_byte() {
        let hash: [u8; 32] = unhex(&"ab".repeat(32)).unwrap();
        assert!(same_bytes(&hash, &[0xab; 32]));
        for place in 0..32 {
            let mut other = hash;
            other[place] ^= 1;
            assert!(!same_bytes(&hash, &other));
        }
        assert!(!same_bytes(&hash, &hash[..31]));
        assert!(unhex("zz").is_none());
    }
}
