//! The file of API keys on the disk: its form, and the acts that change it.
//!
//! The file holds no secret, only the SHA-256 of each. It is replaced as a whole (written
//! beside, synced, renamed, directory synced), under a lock file, so that a reader never sees
//! half of it and two commands never undo each other.

use super::access::{Holder, Scope, new_key_text};
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What can go wrong with the file of API keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("the key file {path} cannot be used: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not in its form.
    #[error("the key file {path} is damaged: {why}; restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        why: String,
    },
    /// Others can read or write the file.
    #[error("the key file {0} can be read by others; set its mode to 0600")]
    TooOpen(PathBuf),
    /// There is no such key.
    #[error("there is no key {0}; see the list of keys")]
    Unknown(String),
    /// A spelling of a name that is known otherwise: where two persons are needed, one would
    /// count as two.
    #[error(
        "there is a key in force of an operator {0:?}, whose name differs only in case or spaces: \
         one person would count as two; spell it so for the same person, and give another person a \
         name that tells them apart"
    )]
    Alike(String),
    /// A key that would be good for nothing or for too much.
    #[error("{0}")]
    Invalid(&'static str),
}

/// One key, as the file has it. The secret is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Ten letters and digits; part of the key, not secret.
    pub id: String,
    /// SHA-256 of the secret, in hexadecimal.
    pub secret_sha256: String,
    /// What the key may do.
    pub scopes: Vec<Scope>,
    /// Whose it is.
    pub holder: Holder,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is no longer good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    keys: Vec<KeyRecord>,
}

/// The version of the file's form that this program writes and reads.
const VERSION: u32 = 1;

/// What a new key is made from.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose it will be.
    pub holder: Holder,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Now.
    pub created_at: Timestamp,
    /// From when on it is no longer good.
    pub expires_at: Option<Timestamp>,
}

/// Every key of the file, oldest first. A file that is not there has none.
///
/// # Errors
/// See [`Error`].
pub fn list(path: &Path) -> Result<Vec<KeyRecord>, Error> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(error)),
    };
    if file.metadata().map_err(io_error)?.permissions().mode() & 0o077 != 0 {
        return Err(Error::TooOpen(path.to_owned()));
    }
    let text = io::read_to_string(file).map_err(io_error)?;
    let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
    let document: Document = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
    if document.version != VERSION {
        return Err(damaged(format!("version {} is not known", document.version)));
    }
    Ok(document.keys)
}

/// Makes a key and puts it into the file. What is returned is the only copy of the key.
///
/// # Errors
/// See [`Error`]; then no key was made.
pub fn create(path: &Path, new: NewKey) -> Result<String, Error> {
    if new.scopes.is_empty() {
        return Err(Error::Invalid("a key needs at least one scope"));
    }
    new.holder.check(&new.scopes).map_err(Error::Invalid)?;
    change(path, |keys| {
        if let Some(known) = alike(keys, &new) {
            return Err(Error::Alike(known));
        }
        let taken = |id: &str| keys.iter().any(|key| key.id == id);
        let made = new_key_text(&taken).map_err(Error::Invalid)?;
        keys.push(KeyRecord {
            id: made.id,
            secret_sha256: made.secret_sha256,
            scopes: new.scopes,
            holder: new.holder,
            created_at: new.created_at,
            expires_at: new.expires_at,
            revoked_at: None,
        });
        Ok(made.text)
    })
}

/// The name of an operator with a key in force that is `new`'s but for case and spaces.
fn alike(keys: &[KeyRecord], new: &NewKey) -> Option<String> {
    let Holder::Operator { name } = &new.holder else { return None };
    let folded = |name: &str| name.split_whitespace().collect::<String>().to_lowercase();
    let in_force = |key: &&KeyRecord| {
        key.revoked_at.is_none() && key.expires_at.is_none_or(|at| new.created_at < at)
    };
    keys.iter().filter(in_force).find_map(|key| match &key.holder {
        Holder::Operator { name: known } if known != name && folded(known) == folded(name) => {
            Some(known.clone())
        }
        Holder::Operator { .. } | Holder::Institution { .. } => None,
    })
}

/// Makes a key useless from now on. Revoking twice keeps the first instant.
///
/// # Errors
/// See [`Error`].
pub fn revoke(path: &Path, id: &str, now: Timestamp) -> Result<(), Error> {
    change(path, |keys| {
        let key = keys.iter_mut().find(|key| key.id == id);
        let key = key.ok_or_else(|| Error::Unknown(id.to_owned()))?;
        key.revoked_at.get_or_insert(now);
        Ok(())
    })
}

fn change<T>(
    path: &Path,
    act: impl FnOnce(&mut Vec<KeyRecord>) -> Result<T, Error>,
) -> Result<T, Error> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let private = |options: &mut OpenOptions| options.write(true).create(true).mode(0o600).clone();
    let lock = private(OpenOptions::new().truncate(false)).open(beside(".lock"));
    // Released when the file is closed, at the latest by the end of the process.
    let lock = lock.and_then(|file| file.lock().map(|()| file)).map_err(io_error)?;

    let mut keys = list(path)?;
    let answer = act(&mut keys)?;
    let document = Document { version: VERSION, keys };
    let text = serde_json::to_vec_pretty(&document).map_err(|e| io_error(e.into()))?;
    let replace = || -> io::Result<()> {
        let new = beside(".new");
        let mut file = private(OpenOptions::new().truncate(true)).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    replace().map_err(io_error)?;
    drop(lock);
    Ok(answer)
}
