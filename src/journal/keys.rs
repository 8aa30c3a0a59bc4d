//! Runs of idempotency keys: one immutable sorted file for each sealed segment.
//!
//! ```text
//!   header 64 B │ block 4096 B │ block │ … │ filter │ moved
//!   block:  127 × (key hash 16 · sequence 8 · fingerprint 8) │ zeros │ count 4 │ crc 4
//!   moved:  transaction 8 · sequence 8, for each accept record that was forwarded into the segment
//! ```
//!
//! The filter (sixteen bits a key, seven probes in one line of 64 bytes) and what moved are held in
//! memory, the blocks are not. A run can be rebuilt from its segment, so damage to one is mended and
//! never refuses a start. It goes with its segment: keys expire whole runs at a time.

use super::files::{File, Files};
use super::layout::{HEAD, HEAD_LENGTH, VERSION, run_name};
use super::segment::Store;
use crate::domain::ids::{Fingerprint, KeyHash, Seq};
use crate::engine::change::Accepted;
use crate::engine::ports::{KeyEntry, KeyRuns, ReadError};
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

const MAGIC: [u8; 8] = *b"HOLDKEYS";
const ROW: usize = 32;
const BLOCK: usize = 4096;
const ROWS: usize = 127;
const PROBES: u32 = 7;
/// The bytes of a filter that are read as one.
const LINE: usize = 64;
/// The bytes of a filter for each key: a run of 110,000 keys that has not the one
/// looked for is read once in 993 times (20 million random keys).
const FILTER_BYTES: usize = 2;

/// A key as it stands in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyRow {
    pub(super) key: u128,
    pub(super) seq: u64,
    pub(super) fingerprint: u64,
}

impl KeyRow {
    pub(super) fn of(transaction: Seq, accepted: &Accepted) -> Self {
        let (key, fingerprint) = (accepted.key_hash.0, accepted.fingerprint.0);
        Self { key, seq: transaction.0, fingerprint }
    }
}

/// One run, open.
pub(super) struct Run {
    file: Box<dyn File>,
    pub(super) first: Seq,
    pub(super) last: Seq,
    blocks: u64,
    filter: Vec<u8>,
    /// Transactions that were forwarded into the segment, and where to.
    pub(super) moved: Vec<(u64, u64)>,
}

/// The keys of a segment, and the transactions forwarded into it.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    pub(super) rows: Vec<KeyRow>,
    pub(super) moved: Vec<(u64, u64)>,
}

impl Keys {
    /// Takes the key of the record at `place` in.
    pub(super) fn take(&mut self, row: KeyRow, place: Seq) {
        self.rows.push(row);
        if row.seq != place.0 {
            self.moved.push((row.seq, place.0));
        }
    }
}

/// A run is not what was written.
#[derive(Debug)]
struct Broken(u64);

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    u64::from_le_bytes(chunk.copied().unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    u32::from_le_bytes(chunk.copied().unwrap_or_default())
}

fn row_at(block: &[u8], index: usize) -> KeyRow {
    let at = index * ROW;
    KeyRow {
        key: u128::from(u64_at(block, at)) | (u128::from(u64_at(block, at + 8)) << 64),
        seq: u64_at(block, at + 16),
        fingerprint: u64_at(block, at + 24),
    }
}

/// The line of a filter in which the bits of a key are, of so many lines. One line is one read
/// from memory: a new key is looked for in the filter of every run.
fn line_of(key: u128, lines: u64) -> usize {
    usize::try_from(((key >> 64) * u128::from(lines)) >> 64).unwrap_or(usize::MAX)
}

/// The bits of a key in its line. The key is a keyed hash itself, so its halves are good enough.
fn probes(key: u128) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |i| usize::try_from((key >> (9 * i)) & 511).unwrap_or(0))
}

fn set(filter: &mut [u8], key: u128) {
    let lines = (filter.len() / LINE) as u64;
    let Some(line) = filter.chunks_exact_mut(LINE).nth(line_of(key, lines)) else { return };
    for bit in probes(key) {
        if let Some(byte) = line.get_mut(bit / 8) {
            *byte |= 1 << (bit % 8);
        }
    }
}

/// Whether a run with this filter may have the key.
fn may_have(filter: &[u8], key: u128) -> bool {
    let lines = (filter.len() / LINE) as u64;
    let line = filter.chunks_exact(LINE).nth(line_of(key, lines)).unwrap_or_default();
    probes(key).all(|bit| line.get(bit / 8).is_none_or(|byte| byte & (1 << (bit % 8)) != 0))
}

/// Writes the run of the segment `first..=last` and makes it durable, name and all.
pub(super) fn write(files: &dyn Files, first: Seq, last: Seq, keys: &mut Keys) -> io::Result<Run> {
    let rows = &mut keys.rows;
    rows.sort_unstable();
    let mut filter = vec![0; (rows.len() * FILTER_BYTES).next_multiple_of(LINE).max(LINE)];
    let mut bytes = vec![0u8; HEAD];
    for chunk in rows.chunks(ROWS) {
        let mut block = Vec::with_capacity(BLOCK);
        for row in chunk {
            block.extend_from_slice(&row.key.to_le_bytes());
            block.extend_from_slice(&row.seq.to_le_bytes());
            block.extend_from_slice(&row.fingerprint.to_le_bytes());
            set(&mut filter, row.key);
        }
        block.resize(BLOCK - 8, 0);
        block.extend_from_slice(&u32::try_from(chunk.len()).unwrap_or(0).to_le_bytes());
        block.extend_from_slice(&crc32c::crc32c(&block).to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    let blocks = rows.chunks(ROWS).len() as u64;
    bytes.extend_from_slice(&filter);
    let moved: Vec<u8> =
        keys.moved.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()]).flatten().collect();
    bytes.extend_from_slice(&moved);
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&[0; 2]);
    for value in [first.0, last.0, blocks, filter.len() as u64 * 8] {
        head.extend_from_slice(&value.to_le_bytes());
    }
    head.extend_from_slice(&crc32c::crc32c(&filter).to_le_bytes());
    head.extend_from_slice(&(keys.moved.len() as u64).to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&moved).to_le_bytes());
    bytes.splice(..HEAD, MAGIC.into_iter().chain(crc32c::crc32c(&head).to_le_bytes()).chain(head));
    let name = run_name(first);
    replace(files, &name, &bytes)?;
    let moved = keys.moved.clone();
    Ok(Run { file: files.open(&name)?, first, last, blocks, filter, moved })
}

/// Writes a whole file under a temporary name, syncs it and gives it its name.
pub(super) fn replace(files: &dyn Files, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    match files.unlink(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = files.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    files.rename(&temporary, name)?;
    files.sync_folder("")
}

impl Run {
    /// Opens the run of the segment `first`; `None` where it is missing or not intact.
    pub(super) fn open(files: &dyn Files, first: Seq) -> io::Result<Option<Self>> {
        let file = match files.open(&run_name(first)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut head = [0; HEAD];
        let read = file.read_at(&mut head, 0)?;
        let stored = u32_at(&head, 8);
        let whole = read == HEAD && head.starts_with(&MAGIC);
        if !whole || stored != crc32c::crc32c(&head[12..]) || head[12..14] != VERSION.to_le_bytes()
        {
            return Ok(None);
        }
        let (blocks, bits) = (u64_at(&head, 32), u64_at(&head, 40));
        let filter_crc = u32_at(&head, 48);
        let (moved_count, moved_crc) = (u64_at(&head, 52), u32_at(&head, 60));
        let filter_at = HEAD_LENGTH.saturating_add(blocks.saturating_mul(BLOCK as u64));
        let moved_at = filter_at.saturating_add(bits / 8);
        let length = moved_at.saturating_add(moved_count.saturating_mul(16));
        if u64_at(&head, 16) != first.0 || file.length()? != length {
            return Ok(None);
        }
        let mut filter = vec![0; usize::try_from(bits / 8).unwrap_or(0)];
        file.read_at(&mut filter, filter_at)?;
        let mut bytes = vec![0; usize::try_from(length - moved_at).unwrap_or(0)];
        file.read_at(&mut bytes, moved_at)?;
        if crc32c::crc32c(&filter) != filter_crc || crc32c::crc32c(&bytes) != moved_crc {
            return Ok(None);
        }
        let moved = bytes.chunks(16).map(|pair| (u64_at(pair, 0), u64_at(pair, 8))).collect();
        Ok(Some(Self { file, first, last: Seq(u64_at(&head, 24)), blocks, filter, moved }))
    }

    /// Whether every block is intact.
    pub(super) fn is_intact(&self) -> io::Result<bool> {
        for block in 0..self.blocks {
            if self.block(block)?.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn block(&self, number: u64) -> io::Result<Result<(Vec<u8>, usize), Broken>> {
        let at = HEAD_LENGTH + number * BLOCK as u64;
        let mut block = vec![0; BLOCK];
        let read = self.file.read_at(&mut block, at)?;
        let (body, crc) = block.split_at(BLOCK - 4);
        let count = usize::try_from(u64_at(&block, BLOCK - 8) & 0xffff_ffff).unwrap_or(0);
        let intact = read == BLOCK && crc == crc32c::crc32c(body).to_le_bytes();
        if !intact || count == 0 || count > ROWS {
            return Ok(Err(Broken(at)));
        }
        Ok(Ok((block, count)))
    }

    fn find(&self, key: u128) -> io::Result<Result<Option<KeyRow>, Broken>> {
        if !may_have(&self.filter, key) {
            return Ok(Ok(None));
        }
        // Keys are hashes, so evenly spread: where one stands is known but for a block or two.
        let mut at = u64::try_from(((key >> 64) * u128::from(self.blocks)) >> 64).unwrap_or(0);
        let (mut low, mut high) = (0, self.blocks);
        while low < high {
            let (block, count) = match self.block(at)? {
                Ok(block) => block,
                Err(broken) => return Ok(Err(broken)),
            };
            if key < row_at(&block, 0).key {
                high = at;
                at = high.saturating_sub(1);
            } else if key > row_at(&block, count - 1).key {
                low = at + 1;
                at = low;
            } else {
                // The same key twice in one segment: the later transaction is meant.
                let rows = (0..count).map(|index| row_at(&block, index));
                return Ok(Ok(rows.rev().find(|row| row.key == key)));
            }
        }
        Ok(Ok(None))
    }
}

/// The runs there are, in the order of their segments.
#[derive(Default)]
pub(super) struct Runs {
    runs: RwLock<Arc<Vec<Arc<Run>>>>,
}

impl Runs {
    pub(super) fn add(&self, run: Run) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        let runs = Arc::make_mut(&mut *runs);
        runs.retain(|other| other.first != run.first);
        let place = runs.partition_point(|other| other.first < run.first);
        runs.insert(place, Arc::new(run));
    }

    fn all(&self) -> Arc<Vec<Arc<Run>>> {
        Arc::clone(&self.runs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The end of the unbroken row of runs from `first`, where the journal begins, on.
    pub(super) fn covers(&self, first: Seq) -> Seq {
        let runs = self.runs.read().unwrap_or_else(PoisonError::into_inner);
        runs.iter().fold(
            Seq(first.0 - 1),
            |up_to, run| {
                if run.first == up_to.next() { run.last } else { up_to }
            },
        )
    }

    /// Forgets the runs of segments that have left.
    pub(super) fn retire(&self, before: Seq) {
        let mut runs = self.runs.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut *runs).retain(|run| run.first >= before);
    }
}

/// The port over all runs of a journal.
pub(super) struct FileKeys(pub(super) Arc<Store>);

impl KeyRuns for FileKeys {
    fn find(&self, key: KeyHash) -> Result<Option<KeyEntry>, ReadError> {
        for run in self.0.runs.all().iter().rev() {
            let found = match run.find(key.0)? {
                Ok(found) => found,
                Err(Broken(offset)) if self.0.quarantined => {
                    let file = run_name(run.first);
                    return Err(ReadError::Damaged { seq: run.first, file, offset });
                }
                Err(Broken(offset)) => {
                    let mended = self.0.rebuild_run(run.first, run.last)?;
                    match mended.find(key.0)? {
                        Ok(found) => {
                            self.0.runs.add(mended);
                            found
                        }
                        Err(Broken(_)) => {
                            let file = run_name(run.first);
                            return Err(ReadError::Damaged { seq: run.first, file, offset });
                        }
                    }
                }
            };
            if let Some(row) = found {
                let fingerprint = Fingerprint(row.fingerprint);
                return Ok(Some(KeyEntry { transaction: Seq(row.seq), fingerprint }));
            }
        }
        Ok(None)
    }

    fn covers(&self) -> Seq {
        self.0.runs.covers(self.0.first())
    }
}
