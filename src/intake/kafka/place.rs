//! The place: up to where everything is published. A small file beside the journal that is
//! replaced as a whole.
//!
//! It also holds the refusals that do not count yet, so that they can be told once they do.

use crate::domain::ids::Seq;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Why a place cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// The disk's.
    #[error("the place of what is published cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error(
        "{0} is not what was written; remove it to go on at the journal's end, or restore it to \
         go on where it was"
    )]
    Damaged(String),
}

/// Up to where everything is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The first change that was not looked at.
    pub(super) next: Seq,
    /// Transactions with a refusal that does not count yet, and the change that holds it.
    pub(super) provisional: BTreeMap<Seq, Seq>,
    /// Whether nothing was published yet: the windows that are not over are to be told first.
    pub(super) is_new: bool,
}

/// How it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    next: u64,
    provisional: Vec<(u64, u64)>,
    is_new: bool,
}

impl Place {
    pub(super) fn at(next: Seq) -> Self {
        Self { next, provisional: BTreeMap::new(), is_new: true }
    }

    /// Writes this place where there is none yet.
    pub(super) fn begin(&self, path: &Path) -> Result<(), PlaceError> {
        match path.try_exists()? {
            true => Ok(()),
            false => self.write(path),
        }
    }

    /// Reads the place; `None` where there is none yet.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, PlaceError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stored: Stored = serde_json::from_slice(&text)
            .map_err(|_| PlaceError::Damaged(path.display().to_string()))?;
        let provisional = stored.provisional.into_iter().map(|(of, by)| (Seq(of), Seq(by)));
        Ok(Some(Self {
            next: Seq(stored.next),
            provisional: provisional.collect(),
            is_new: stored.is_new,
        }))
    }

    /// Replaces what stands at `path`, durably.
    pub(super) fn write(&self, path: &Path) -> Result<(), PlaceError> {
        let provisional = self.provisional.iter().map(|(of, by)| (of.0, by.0)).collect();
        let stored = Stored { next: self.next.0, provisional, is_new: self.is_new };
        let text = serde_json::to_vec(&stored).map_err(io::Error::from)?;
        let beside = path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_a_damaged_one_is_not_taken_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        assert_eq!(Place::read(&path).unwrap(), None);
        let mut place = Place::at(Seq(77));
        place.begin(&path).unwrap();
        Place::at(Seq(99)).begin(&path).unwrap();
        assert_eq!(Place::read(&path).unwrap(), Some(place.clone()), "it begins once");
        place.is_new = false;
        place.provisional.insert(Seq(3), Seq(9));
        place.write(&path).unwrap();
        assert_eq!(Place::read(&path).unwrap(), Some(place.clone()));
        place.next = Seq(78);
        place.write(&path).unwrap();
        assert_eq!(Place::read(&path).unwrap(), Some(place));
        std::fs::write(&path, "{\"next\":").unwrap();
        assert!(matches!(Place::read(&path), Err(PlaceError::Damaged(_))));
    }
}
