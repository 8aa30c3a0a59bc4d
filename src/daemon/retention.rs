//! Lets old segments leave the journal, so that the disk holds what is live and what is recent.
//!
//! Two ages decide. A segment older than `forward_after` has what is still needed of it written
//! once more, into the newest segment; what remains in it is final from then on at the latest.
//! A segment older than that by `retention` leaves: everything accepted in it has been final for
//! at least as long as `retention`, or stands elsewhere. Keys of repeats leave with it.
//!
//! A record that is still needed and damaged cannot be written once more: it is told, and its segment
//! stays, with all behind it, until the file is restored or a person skips the dead letter.
//!
//! The engine journals both steps; the files are moved by `journal::Retirement`. What the
//! journal itself needs before a segment may go is that one's business.

use crate::domain::ids::Seq;
use crate::engine::change::Change;
use crate::engine::event::Event;
use crate::engine::ports::{JournalReader, ReadError};
use crate::engine::run::Handle;
use crate::journal::{Left, Retirement};
use crate::telemetry::events;
use anyhow::{Context, Result, anyhow, bail};
use std::sync::Arc;
use std::time::Duration;

/// Places of live transactions looked at in one go on the engine's thread: well below a millisecond.
const LOOK_AT: u32 = 16_384;
/// Records forwarded before their commit is waited for. Bounds the payloads in memory.
const FORWARD_AT_ONCE: usize = 128;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    pub(super) forward_after: Duration,
    pub(super) retention: Duration,
    pub(super) archive: bool,
}

/// The work of letting segments leave. What it remembers is found out again after a restart.
pub(super) struct Retention {
    pub(super) ages: Ages,
    pub(super) retirement: Retirement,
    pub(super) reader: Arc<dyn JournalReader>,
    pub(super) engine: Handle,
    /// How far nothing is needed any more where it stood, and the last record that was forwarded
    /// for that; oldest first. A segment may leave when runs hold the keys up to that record.
    pub(super) forwarded: Vec<(Seq, Seq)>,
    /// How far was looked at for what is needed.
    pub(super) looked_at: Seq,
}

impl Retention {
    /// Does what is due.
    pub(super) async fn run_once(&mut self) -> Result<()> {
        // The engine's time: a clock that has jumped must let nothing go.
        let now = self.engine.read(|_, now| now.wall).await;
        let now = now.ok_or_else(|| anyhow!("the engine has ended"))?;
        let old = now.before(self.ages.forward_after);
        let due = self.retirement.older_than(old);
        if self.forwarded.is_empty() || due > self.looked_at {
            let damaged = self.forward(due).await?;
            self.looked_at = due;
            let clear = damaged.map_or(due, |first| first.min(due));
            self.forwarded.push((clear, self.retirement.last_forwarded()));
        }
        let covered = self.retirement.keys_covered();
        let safe = self.forwarded.iter().rposition(|(_, reach)| *reach <= covered);
        let safe = safe.map_or(Seq(0), |place| {
            self.forwarded.drain(..place);
            self.forwarded[0].0
        });
        let leaving = self.retirement.older_than(old.before(self.ages.retention));
        let retirement = self.retirement.clone();
        let behind = tokio::task::spawn_blocking(move || retirement.behind_snapshots()).await??;
        let before = leaving.min(safe).min(behind);
        if before > self.begins().await? {
            self.engine.tell(Event::Retire { before }).await;
        }
        // Also what a crash kept from leaving. Answered after the commit.
        let begins = self.begins().await?;
        let (retirement, archive) = (self.retirement.clone(), self.ages.archive);
        let left =
            tokio::task::spawn_blocking(move || retirement.retire(begins, archive)).await??;
        if left != Left::default() {
            events::segments_left(left.segments, left.bytes, begins);
        }
        Ok(())
    }

    async fn begins(&self) -> Result<Seq> {
        let begins = self.engine.read(|machine, _| machine.begins()).await;
        begins.ok_or_else(|| anyhow!("the engine has ended"))
    }

    /// Has every record before `before` that is still needed written once more, but for those
    /// that are damaged; where the first of them stands.
    async fn forward(&self, before: Seq) -> Result<Option<Seq>> {
        let mut next = Some(0);
        let mut damaged = None;
        while let Some(from) = next {
            let needed = self
                .engine
                .read(move |machine, _| machine.needed_before(before, from, LOOK_AT))
                .await;
            let (needed, rest) = needed.ok_or_else(|| anyhow!("the engine has ended"))?;
            let mut needed: Vec<Seq> = needed
                .into_iter()
                .filter(|&seq| self.reader.forwarded(seq).is_none_or(|place| place < before))
                .collect();
            needed.sort_unstable();
            for group in needed.chunks(FORWARD_AT_ONCE) {
                self.forward_these(group.to_vec(), &mut damaged).await?;
            }
            next = rest;
        }
        Ok(damaged)
    }

    async fn forward_these(&self, transactions: Vec<Seq>, damaged: &mut Option<Seq>) -> Result<()> {
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::with_capacity(transactions.len());
            reader.read_many(&transactions, &mut |seq, change| read.push((seq, change)));
            read
        });
        for (transaction, change) in read.await? {
            if let Err(error @ ReadError::Damaged { .. }) = &change {
                let place = self.reader.forwarded(transaction).unwrap_or(transaction);
                *damaged = Some(damaged.map_or(place, |first| first.min(place)));
                events::needed_record_damaged(error);
                continue;
            }
            let change = change.context("a record that is still needed cannot be forwarded")?;
            let Change::Accepted(accepted) = change else {
                bail!("record {transaction} is needed and is no accept record");
            };
            self.engine.tell(Event::Forward { transaction, accepted }).await;
        }
        self.begins().await.map(drop)
    }
}
