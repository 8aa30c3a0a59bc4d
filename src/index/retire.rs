//! What becomes of the index when segments leave the journal.
//!
//! Ends and positions of transactions that have left are forgotten, those of forwarded ones
//! stay. In an index that is built anew from what is left of a journal, forwarded transactions
//! come out of order: their positions are put where they belong.

use super::packed::{
    BLOCK, BLOCK_PREFIX, CHECKPOINT_KEY, Checkpoint, POSITIONS_PREFIX, block_key, decode_block,
    decode_positions, encode_block, encode_positions, institution_of, number_of, open,
};
use super::store::{Collected, Store, Trouble};
use crate::domain::ids::{InstitutionCode, Seq};
use std::collections::BTreeMap;

/// Values changed in one batch.
const BATCH: usize = 1024;

/// Chunks of one institution that positions out of order went into.
#[derive(Default)]
pub(super) struct Strays {
    /// By their first position, with the check sum of the stored value, where one is stored.
    pub(super) chunks: BTreeMap<Seq, (Vec<Seq>, Option<u32>)>,
}

impl Strays {
    /// Puts `position` where it belongs, unless it is there. `last` is the last chunk.
    pub(super) fn place(
        &mut self,
        store: &Store,
        institution: &InstitutionCode,
        position: Seq,
        last: &mut Vec<Seq>,
    ) -> Result<(), Trouble> {
        if last.first().is_some_and(|&first| first <= position) {
            insert(last, position);
            return Ok(());
        }
        let (stored, sum) =
            store.positions_before(institution, Seq(position.0.saturating_add(1)))?;
        let held = self.chunks.range(..=position).next_back().map(|(&first, _)| first);
        let first = match (stored.first().copied(), held) {
            (Some(stored), held) if held.is_none_or(|held| held < stored) => Some(stored),
            (_, held) => held,
        };
        let Some(first) = first else {
            self.chunks.insert(position, (vec![position], None));
            return Ok(());
        };
        let (chunk, _) = self.chunks.entry(first).or_insert_with(|| (stored, sum));
        insert(chunk, position);
        Ok(())
    }
}

fn insert(chunk: &mut Vec<Seq>, position: Seq) {
    if let Err(place) = chunk.binary_search(&position) {
        chunk.insert(place, position);
    }
}

impl Store {
    /// Forgets the transactions before `before`, unless they stay.
    pub(super) fn retire(
        &self,
        before: Seq,
        stays: &dyn Fn(Seq) -> bool,
        checkpoint: Checkpoint,
    ) -> Result<Checkpoint, Trouble> {
        let stays = |transaction: &Seq| *transaction >= before || stays(*transaction);
        let blocks = BLOCK_PREFIX.to_vec()..block_key(before.0.div_ceil(BLOCK));
        let checkpoint = self.rewrite(blocks, checkpoint, |key, body, batch, old| {
            let block = number_of(key)?;
            let mut outcomes = decode_block(block, body)?;
            let known = outcomes.len();
            outcomes.retain(|transaction, _| stays(transaction));
            if outcomes.is_empty() {
                batch.remove(Some(old), key);
            } else if outcomes.len() < known {
                batch.replace(Some(old), encode_block(block, &outcomes));
            }
            Ok(())
        })?;
        let end = POSITIONS_PREFIX.iter().map(|byte| byte + 1).collect();
        let positions = POSITIONS_PREFIX.to_vec()..end;
        self.rewrite(positions, checkpoint, |key, body, batch, old| {
            let first = Seq(number_of(key)?);
            if first >= before {
                return Ok(());
            }
            let mut chunk = decode_positions(first, body)?;
            let known = chunk.len();
            chunk.retain(stays);
            if chunk.len() == known {
                return Ok(());
            }
            let mut old = Some(old);
            if chunk.first() != Some(&first) {
                batch.remove(old.take(), key);
            }
            if !chunk.is_empty() {
                batch.replace(old, encode_positions(&institution_of(key)?, &chunk));
            }
            Ok(())
        })
    }

    /// Visits the values of `keys`, and applies in batches what is made of them.
    fn rewrite(
        &self,
        keys: std::ops::Range<Vec<u8>>,
        mut checkpoint: Checkpoint,
        change: impl Fn(&[u8], &[u8], &mut Collected, u32) -> Result<(), Trouble>,
    ) -> Result<Checkpoint, Trouble> {
        let mut next = keys.start;
        loop {
            let mut batch = Collected { batch: sled::Batch::default(), sum: checkpoint.sum };
            let mut values = self.db.range(next.clone()..keys.end.clone());
            let mut seen = 0;
            while seen < BATCH {
                let Some((key, value)) = self.guard(|| values.next().transpose())? else { break };
                let (body, sum) = open(&key, &value)?;
                change(&key, body, &mut batch, sum)?;
                // The smallest key beyond this one.
                next = [&key[..], &[0]].concat();
                seen += 1;
            }
            checkpoint.sum = batch.sum;
            batch.batch.insert(CHECKPOINT_KEY, checkpoint.encode());
            self.guard(|| self.db.apply_batch(batch.batch))?;
            if seen < BATCH {
                return Ok(checkpoint);
            }
        }
    }
}
