//! The duty to tell: pre-accepted transactions whose result has not been told to the person.
//!
//! One is here from its acceptance until somebody notes that it was told. How many of them are
//! final is counted as they come and go: monitoring asks every second.

use super::view::Untold;
use crate::domain::ids::Seq;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Every pre-accepted transaction that is not told, by its number.
#[derive(Debug, Default)]
pub(super) struct UntoldResults {
    /// What is left of those that are final.
    by_number: BTreeMap<Seq, Option<Box<Untold>>>,
    finals: u64,
}

impl UntoldResults {
    /// A pre-accepted transaction has come.
    pub(super) fn await_result(&mut self, transaction: Seq) {
        self.by_number.insert(transaction, None);
    }

    /// The result of one is there, and the person is to be told.
    pub(super) fn note_final(&mut self, untold: Untold) {
        let before = self.by_number.insert(untold.transaction, Some(Box::new(untold)));
        self.finals += u64::from(!matches!(before, Some(Some(_))));
    }

    /// The person was told.
    pub(super) fn note_told(&mut self, transaction: Seq) {
        self.finals -= u64::from(matches!(self.by_number.remove(&transaction), Some(Some(_))));
    }

    /// Whether the result of `transaction` is still to be told, final or not.
    pub(super) fn contains(&self, transaction: Seq) -> bool {
        self.by_number.contains_key(&transaction)
    }

    /// The result of `transaction`, where it is final and not told.
    pub(super) fn get(&self, transaction: Seq) -> Option<&Untold> {
        self.by_number.get(&transaction)?.as_deref()
    }

    /// The numbers in `range`, final or not.
    pub(super) fn numbers(&self, range: impl RangeBounds<Seq>) -> impl Iterator<Item = Seq> + '_ {
        self.by_number.range(range).map(|(&transaction, _)| transaction)
    }

    /// Those that are final.
    pub(super) fn finals(&self) -> impl Iterator<Item = &Untold> {
        self.by_number.values().flatten().map(AsRef::as_ref)
    }

    /// How many are final.
    pub(super) const fn finals_count(&self) -> u64 {
        self.finals
    }
}
