//! A simulated disk for tests: it keeps what was synced apart from what was only written, and
//! on a power cut loses, tears or reorders the rest.
//!
//! Every write, sync and change of a name is counted; the disk can stop at the n-th of them
//! (everything after it fails, as after a kill), fail the n-th sync once, or be full. After a
//! failed sync the pages count as clean: they can be read, and never reach the disk.

use super::files::{File, Files, Lock};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a power cut does to the writes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Nothing of them is left.
    Lost,
    /// Everything is left, as when only the process died.
    Kept,
    /// The first ones are left, the last of those in part.
    Torn(u64),
    /// Any of them, and any 512-byte sector of them, may be left without the ones before.
    Reordered(u64),
}

/// What the disk does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Stops at this operation (1 is the first), which does not happen any more.
    pub stop_at: Option<u64>,
    /// Fails this sync (1 is the first) with EIO, once, and forgets what it should have synced.
    pub fail_sync: Option<u64>,
    /// The bytes that all files together may have.
    pub capacity: Option<u64>,
}

#[derive(Default)]
struct Node {
    durable: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

#[derive(Default)]
struct Inner {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
    operations: u64,
    syncs: u64,
    locked: bool,
    generation: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

struct FaultyFile {
    disk: FaultyDisk,
    node: usize,
    generation: u64,
}

struct Unlock(FaultyDisk, u64);

impl Drop for Unlock {
    fn drop(&mut self) {
        let mut inner = self.0.inner();
        if inner.generation == self.1 {
            inner.locked = false;
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the simulated disk has stopped")
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.faults.stop_at {
            Some(at) if self.operations >= at => Err(stopped()),
            _ => Ok(()),
        }
    }

    fn step_sync(&mut self) -> io::Result<bool> {
        self.step()?;
        self.syncs += 1;
        Ok(self.faults.fail_sync != Some(self.syncs))
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> u64 {
        self.names.values().filter_map(|&n| self.nodes.get(n)).map(|n| n.seen.len() as u64).sum()
    }
}

fn overwrite(into: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let end = at.saturating_add(bytes.len());
    if into.len() < end {
        into.resize(end, 0);
    }
    if let Some(place) = into.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

impl FaultyDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what goes wrong from now on; counting begins anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut inner = self.inner();
        inner.faults = faults;
        inner.operations = 0;
        inner.syncs = 0;
    }

    /// Writes, syncs and changes of names since the faults were set, and the syncs among them.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.operations, inner.syncs)
    }

    /// The process ends, and the power too unless `cut` is [`Cut::Kept`]; `names` says whether
    /// names that were not synced survive. The disk works again afterwards.
    pub fn crash(&self, cut: Cut, names: bool) {
        let mut inner = self.inner();
        inner.faults = Faults::default();
        inner.locked = false;
        inner.generation += 1;
        if cut == Cut::Kept {
            return;
        }
        for (number, node) in inner.nodes.iter_mut().enumerate() {
            let unsynced = std::mem::take(&mut node.unsynced);
            match cut {
                Cut::Lost | Cut::Kept => {}
                Cut::Torn(seed) => torn(&mut node.durable, &unsynced, seed ^ number as u64),
                Cut::Reordered(seed) => {
                    reordered(&mut node.durable, &unsynced, seed ^ number as u64);
                }
            }
            node.seen.clone_from(&node.durable);
        }
        if !names {
            inner.names = inner.durable_names.clone();
        }
        inner.durable_names = inner.names.clone();
    }

    /// Flips one bit of a file, on the disk and in memory.
    pub fn flip(&self, name: &str, bit: u64) {
        let mut inner = self.inner();
        let Ok(number) = inner.find(name) else { return };
        if let Some(node) = inner.nodes.get_mut(number) {
            let byte = usize::try_from(bit / 8).unwrap_or(usize::MAX);
            for bytes in [&mut node.durable, &mut node.seen] {
                if let Some(byte) = bytes.get_mut(byte) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Removes a file as if it had never been.
    pub fn remove(&self, name: &str) {
        let mut inner = self.inner();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }

    /// Every name with the bytes that can be read under it.
    #[must_use]
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.inner();
        let bytes = |n: &usize| inner.nodes.get(*n).map(|n| n.seen.clone()).unwrap_or_default();
        inner.names.iter().map(|(name, n)| (name.clone(), bytes(n))).collect()
    }

    /// A disk that holds these files, all synced.
    #[must_use]
    pub fn holding(files: &[(String, Vec<u8>)]) -> Self {
        let mut inner = Inner::default();
        for (name, bytes) in files {
            inner.names.insert(name.clone(), inner.nodes.len());
            inner.nodes.push(Node {
                durable: bytes.clone(),
                seen: bytes.clone(),
                unsynced: Vec::new(),
            });
        }
        inner.durable_names = inner.names.clone();
        Self(Arc::new(Mutex::new(inner)))
    }
}

fn torn(durable: &mut Vec<u8>, unsynced: &[(u64, Vec<u8>)], seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let whole = dice.usize(..=unsynced.len());
    for (index, (at, bytes)) in unsynced.iter().enumerate() {
        if index < whole {
            overwrite(durable, *at, bytes);
        } else if index == whole {
            let part = dice.usize(..=bytes.len());
            overwrite(durable, *at, bytes.get(..part).unwrap_or(bytes));
        }
    }
}

fn reordered(durable: &mut Vec<u8>, unsynced: &[(u64, Vec<u8>)], seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    for (at, bytes) in unsynced {
        for (sector, piece) in bytes.chunks(512).enumerate() {
            if dice.bool() {
                overwrite(durable, at + 512 * sector as u64, piece);
            }
        }
    }
}

impl FaultyFile {
    fn with<T>(&self, act: impl FnOnce(&mut Inner, usize) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.disk.inner();
        if inner.generation != self.generation {
            return Err(stopped());
        }
        act(&mut inner, self.node)
    }
}

impl File for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|inner, number| {
            inner.step()?;
            let used = inner.used();
            let capacity = inner.faults.capacity;
            let Some(node) = inner.nodes.get_mut(number) else { return Err(stopped()) };
            let grown = (offset + bytes.len() as u64).saturating_sub(node.seen.len() as u64);
            if grown > 0 && capacity.is_some_and(|capacity| used + grown > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            overwrite(&mut node.seen, offset, bytes);
            node.unsynced.push((offset, bytes.to_vec()));
            Ok(())
        })
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|inner, number| {
            let seen = inner.nodes.get(number).map_or(&[][..], |node| &node.seen);
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(seen.len());
            let rest = seen.get(from..).unwrap_or(&[]);
            let length = rest.len().min(into.len());
            if let (Some(to), Some(bytes)) = (into.get_mut(..length), rest.get(..length)) {
                to.copy_from_slice(bytes);
            }
            Ok(length)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|inner, number| {
            let works = inner.step_sync()?;
            let Some(node) = inner.nodes.get_mut(number) else { return Err(stopped()) };
            let unsynced = std::mem::take(&mut node.unsynced);
            if !works {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
            for (at, bytes) in unsynced {
                overwrite(&mut node.durable, at, &bytes);
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|inner, number| {
            Ok(inner.nodes.get(number).map_or(0, |node| node.seen.len() as u64))
        })
    }
}

impl Files for FaultyDisk {
    fn lock(&self) -> io::Result<Option<Lock>> {
        let mut inner = self.inner();
        if inner.locked {
            return Ok(None);
        }
        inner.locked = true;
        Ok(Some(Box::new(Unlock(self.clone(), inner.generation))))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let names = self.inner().names.keys().cloned().collect::<Vec<_>>();
        Ok(names
            .iter()
            .filter_map(|name| match name.rsplit_once('/') {
                Some((inside, rest)) if inside == folder => Some(rest.to_owned()),
                None if folder.is_empty() => Some(name.clone()),
                _ => None,
            })
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut inner = self.inner();
        inner.step()?;
        if inner.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = inner.nodes.len();
        inner.nodes.push(Node::default());
        inner.names.insert(name.to_owned(), node);
        let generation = inner.generation;
        drop(inner);
        Ok(Box::new(FaultyFile { disk: self.clone(), node, generation }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let inner = self.inner();
        let (node, generation) = (inner.find(name)?, inner.generation);
        drop(inner);
        Ok(Box::new(FaultyFile { disk: self.clone(), node, generation }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        let node = inner.find(from)?;
        inner.names.remove(from);
        inner.names.insert(to.to_owned(), node);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.step()?;
        inner.find(name)?;
        inner.names.remove(name);
        Ok(())
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        self.inner().step()
    }

    /// Names of other folders stay as unsure as they were.
    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut inner = self.inner();
        if !inner.step_sync()? {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        let within = |name: &str| name.rsplit_once('/').map_or("", |(inside, _)| inside) == folder;
        let mut durable = std::mem::take(&mut inner.durable_names);
        durable.retain(|name, _| !within(name));
        let synced = inner.names.iter().filter(|(name, _)| within(name));
        durable.extend(synced.map(|(name, node)| (name.clone(), *node)));
        inner.durable_names = durable;
        Ok(())
    }
}
