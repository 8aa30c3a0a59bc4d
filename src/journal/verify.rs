//! Verifying a data folder whose daemon is stopped: every byte is read, nothing is changed.

use super::OpenError;
use super::blobs::{self, Expected};
use super::files::{File, Files, RealFiles};
use super::keys::Run;
use super::layout::{
    Damage, DamageKind, HEAD, HEAD_LENGTH, SegmentHeader, VERSION, number, run_name, segment_name,
    snapshot_name,
};
use super::record::kind_name;
use super::scan::{Scan, Tail, Task, scan};
use super::seal;
use super::snapshot::{self, Stored};
use crate::domain::cell::words;
use crate::domain::ids::Seq;
use crate::engine::change::{AuditHead, Change};
use crate::engine::ports::Snapshot;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

words!(
    /// What a file is.
    FileKind, "kind of file", {
        /// A segment.
        Segment = "segment",
        /// A run of idempotency keys; can be made anew from its segment.
        Keys = "keys",
        /// A snapshot; the journal alone can do without.
        Snapshot = "snapshot",
        /// The data keys, which open what is sealed.
        DataKeys = "data_keys",
        /// A file that a submission names.
        Attachment = "attachment",
    }
);

/// What was found in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its name in the data folder.
    pub file: String,
    /// What it is.
    pub kind: FileKind,
    /// Its length.
    pub bytes: u64,
    /// The intact records, or keys' runs: 0.
    pub records: u64,
    /// Everything up to here is known to have been synced; segments only.
    pub synced_up_to: Option<Seq>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// An unsynced tail, which the next start cuts; the last segment only.
    pub tail: Option<Tail>,
}

/// What was found in a data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// File by file: segments, runs, snapshots.
    pub files: Vec<FileReport>,
    /// Segments that are missing.
    pub missing: Vec<Damage>,
    /// The first sequence that is here.
    pub first: Seq,
    /// The first sequence that must be here, by what the journal says.
    pub begins: Seq,
    /// The last sequence that a start would recover.
    pub last: Seq,
    /// The last sequence that the newest intact snapshot covers.
    pub held: Seq,
    /// Intact records by what they say.
    pub by_kind: BTreeMap<&'static str, u64>,
}

impl VerifyReport {
    /// Everything that is damaged: missing segments first, then file by file.
    pub fn damage(&self) -> impl Iterator<Item = &Damage> {
        self.missing.iter().chain(self.files.iter().flat_map(|file| &file.damage))
    }

    /// Whether a start would accept the folder and lose nothing that was synced.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.damage().next().is_none()
    }
}

/// Reads every file of the journal in `folder`, or of an archive of segments that have left one.
///
/// # Errors
/// [`OpenError::Locked`] while a daemon has it, [`OpenError::Io`] when the disk does not answer.
pub fn verify(folder: &Path, archive: bool) -> Result<VerifyReport, OpenError> {
    let files = RealFiles::new(folder);
    let mut report = verify_on(&files, archive)?;
    let holds_records = report.last > Seq(0) || report.held > Seq(0);
    if holds_records && !archive {
        let (bytes, damaged) = seal::check(&files)?;
        let name = seal::NAME.to_owned();
        let damage = |at| Damage::whole(DamageKind::DataKeys, name.clone(), at, Seq(1));
        report.files.push(FileReport {
            damage: damaged.map(damage).into_iter().collect(),
            file: name,
            kind: FileKind::DataKeys,
            bytes,
            records: 0,
            synced_up_to: None,
            tail: None,
        });
    }
    Ok(report)
}

/// Reads every file of the journal, or the archive, in `files`, without the data keys beside it.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(files: &dyn Files, archive: bool) -> Result<VerifyReport, OpenError> {
    // Kept to the end, so that no daemon starts meanwhile.
    let _lock = files.lock()?.ok_or(OpenError::Locked)?;
    let mut report = VerifyReport::default();
    let names = files.list("")?;
    let numbers = |ending: &str| {
        let mut found: Vec<Seq> = names.iter().filter_map(|name| number(name, ending)).collect();
        found.sort_unstable();
        found
    };
    let snapshots = numbers(".snapshot");
    let firsts = numbers(".segment");
    let floor = snapshots.last().copied().unwrap_or_default();
    let (mut begins, mut files_said) = (Seq(1), Expected::default());
    for &up_to in &snapshots {
        // What an intact snapshot says of stored files takes the place of what one before it said.
        let mut said = Expected::default();
        let loaded = snapshot::read(files, up_to, &mut |raw| {
            if raw.is_about_blobs()
                && let Ok(Some(change)) = raw.change()
            {
                said.take(&change);
            }
            true
        });
        if let Ok(loaded) = loaded? {
            begins = begins.max(loaded.begins);
            report.held = up_to;
            files_said = said;
        }
    }
    report.begins = begins;
    report.first = firsts.first().copied().unwrap_or(begins);
    let mut expected = report.first;
    for (place, &first) in firsts.iter().enumerate() {
        if first > expected {
            report.missing.push(Damage::missing(expected, Some(first)));
        }
        let next = firsts.get(place + 1).copied();
        expected = report.segment(files, first, next, floor, (archive, &mut files_said))?;
    }
    // The first segments may have left a journal that says so; an archive begins anywhere.
    if !archive && (firsts.is_empty() || report.first > report.begins) {
        let next = firsts.first().copied();
        report.missing.insert(0, Damage::missing(report.begins, next));
    }
    report.last = Seq(expected.0 - 1);
    for first in numbers(".keys") {
        report.run(files, first)?;
    }
    report.attachments(files, &files_said)?;
    for up_to in snapshots {
        let name = snapshot_name(up_to);
        let bytes = files.open(&name)?.length()?;
        let (records, damage) = match snapshot::load(files, up_to)? {
            Ok(loaded) => (loaded.count as u64, Vec::new()),
            Err(damage) => (0, vec![damage]),
        };
        let kind = FileKind::Snapshot;
        let (synced_up_to, tail) = (None, None);
        report.files.push(FileReport {
            file: name,
            kind,
            bytes,
            records,
            synced_up_to,
            damage,
            tail,
        });
    }
    Ok(report)
}

/// The end of the audit log as the journal in `folder` noted it last; `None` where it never did,
/// or where there is no journal. Reads only, also beside a running daemon: what it writes
/// meanwhile is seen or not.
///
/// # Errors
/// When the disk does not answer.
pub fn noted_audit(folder: &Path) -> io::Result<Option<AuditHead>> {
    let files: Arc<dyn Files> = Arc::new(RealFiles::new(folder));
    let names = match files.list("") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        names => names?,
    };
    let mut newest = None;
    for up_to in snapshot::list(files.as_ref())?.into_iter().rev() {
        if snapshot::load(files.as_ref(), up_to)?.is_ok() {
            newest = Some(Stored { files: Arc::clone(&files), up_to });
            break;
        }
    }
    let reached = newest.as_ref().map_or(Seq(0), |stored| stored.up_to);
    let mut firsts: Vec<Seq> = names.iter().filter_map(|name| number(name, ".segment")).collect();
    firsts.sort_unstable();
    for first in firsts.into_iter().rev() {
        let name = segment_name(first);
        let file = files.open(&name)?;
        let (file, floor) = (file.as_ref(), Seq(0));
        let task = Task { file, name: &name, first, floor, keys: false, blobs: false };
        if let Some(head) = scan(&task)?.audit {
            return Ok(Some(head));
        }
        if first <= reached.next() {
            break;
        }
    }
    let mut noted = None;
    if let Some(stored) = newest {
        let read = stored.visit(&mut |change| {
            if let Change::AuditNoted { head, .. } = change {
                noted = Some(head.clone());
            }
        });
        read.map_err(io::Error::other)?;
    }
    Ok(noted)
}

impl VerifyReport {
    /// Verifies a segment; the sequence that the next one must begin with.
    fn segment(
        &mut self,
        files: &dyn Files,
        first: Seq,
        next: Option<Seq>,
        snapshot: Seq,
        (archive, blobs): (bool, &mut Expected),
    ) -> io::Result<Seq> {
        let name = segment_name(first);
        let file = files.open(&name)?;
        let floor = next.map_or(snapshot, |next| Seq(next.0 - 1));
        let (keys, file_) = (false, file.as_ref());
        let task = Task { file: file_, name: &name, first, floor, keys, blobs: !archive };
        let found = scan(&task)?;
        for change in &found.blobs {
            blobs.take(change);
        }
        self.begins = self.begins.max(found.begins);
        let mut damage = Vec::new();
        if !header_is_intact(file.as_ref(), first)? {
            damage.push(Damage::frame(&name, 0, first));
        }
        // As a start decides which segments it reads: `recovery` looks at each header, and at
        // nothing else where a snapshot covers the records and a run has the keys.
        let covered = next.is_some_and(|next| next <= self.held.next())
            && Run::open(files, first)?.is_some_and(|run| Some(run.last.next()) == next);
        damage.extend(found.damage.iter().map(|damage| Damage { covered, ..damage.clone() }));
        for (kind, &count) in (0..).zip(found.by_kind()).filter(|(_, count)| **count > 0) {
            *self.by_kind.entry(kind_name(kind)).or_default() += count;
        }
        if next.is_none() && found.sealed && !archive {
            self.missing.push(Damage::missing(Seq(found.next), None));
        }
        let Scan { records, synced, tail, next: end, .. } = found;
        let synced_up_to = Some(Seq(synced));
        let bytes = file.length()?;
        let kind = FileKind::Segment;
        self.files.push(FileReport {
            file: name,
            kind,
            bytes,
            records,
            synced_up_to,
            damage,
            tail: tail.filter(|_| next.is_none()),
        });
        Ok(Seq(end))
    }

    fn attachments(&mut self, files: &dyn Files, said: &Expected) -> io::Result<()> {
        for (file, bytes, damage) in blobs::check(files, said)? {
            self.files.push(FileReport {
                file,
                kind: FileKind::Attachment,
                bytes,
                records: 0,
                synced_up_to: None,
                damage: damage.into_iter().collect(),
                tail: None,
            });
        }
        Ok(())
    }

    fn run(&mut self, files: &dyn Files, first: Seq) -> io::Result<()> {
        let file = run_name(first);
        let intact = match Run::open(files, first)? {
            Some(run) => run.is_intact()?,
            None => false,
        };
        let broken = Damage::whole(DamageKind::Keys, file.clone(), 0, first);
        self.files.push(FileReport {
            bytes: files.open(&file)?.length()?,
            file,
            kind: FileKind::Keys,
            records: 0,
            synced_up_to: None,
            damage: if intact { Vec::new() } else { vec![broken] },
            tail: None,
        });
        Ok(())
    }
}

fn header_is_intact(file: &dyn File, first: Seq) -> io::Result<bool> {
    let mut bytes = [0; HEAD];
    let read = file.read_at(&mut bytes, 0)? as u64;
    let header = SegmentHeader::decode(&bytes);
    Ok(read == HEAD_LENGTH && header.is_some_and(|h| h.first == first && h.version == VERSION))
}
