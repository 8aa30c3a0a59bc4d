//! What a change means for the index: positions of accepted transactions, and their ends.
//!
//! Only ends are kept, since they never change again: one write a transaction. A refusal that
//! does not count yet is remembered until its upstream's refusals are decided.

use super::packed::Provisional;
use crate::domain::ids::{InstitutionCode, Seq, UpstreamName};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::engine::change::Change;
use crate::engine::ports::{Indexed, JournalReader, ReadError};
use crate::engine::subject::Brought;
use std::collections::BTreeMap;

/// A change, boiled down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Accepted {
        transaction: Seq,
        institution: InstitutionCode,
    },
    /// It moved without ending: an earlier provisional refusal is void.
    Moved {
        transaction: Seq,
    },
    RefusedProvisionally {
        transaction: Seq,
    },
    Ended {
        transaction: Seq,
        state: State,
        at: Timestamp,
    },
    /// What ended before this sequence may be forgotten.
    Retired {
        before: Seq,
    },
    Decided {
        upstream: UpstreamName,
        confirmed: bool,
        at: Timestamp,
    },
}

/// What the change `seq` means; `None` for nothing.
pub(super) fn boil_down(seq: Seq, change: &Change) -> Option<Step> {
    match change {
        Change::Accepted(accepted) => {
            Some(Step::Accepted { transaction: seq, institution: accepted.institution.clone() })
        }
        // Known already, unless the index is built anew from what is left of the journal.
        Change::Forwarded { transaction, accepted, .. } => Some(Step::Accepted {
            transaction: *transaction,
            institution: accepted.institution.clone(),
        }),
        Change::Retired { before, .. } => Some(Step::Retired { before: *before }),
        Change::ProvisionalDecided { upstream, confirmed, at } => {
            Some(Step::Decided { upstream: upstream.clone(), confirmed: *confirmed, at: *at })
        }
        other => {
            let (transaction, to) = other.brings()?;
            Some(match to {
                Brought::RefusedProvisionally => Step::RefusedProvisionally { transaction },
                Brought::To(state, at) if state.is_final() => {
                    Step::Ended { transaction, state, at }
                }
                Brought::To(..) | Brought::StillInDoubt => Step::Moved { transaction },
            })
        }
    }
}

/// What is known and not in the store yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) outcomes: BTreeMap<Seq, Indexed>,
    pub(super) positions: BTreeMap<InstitutionCode, Vec<Seq>>,
    /// Entries to write, or to remove.
    pub(super) provisional: BTreeMap<Seq, Option<Provisional>>,
    /// What ended before this may be forgotten.
    pub(super) retired: Seq,
    /// Steps that went into it; bounds it.
    pub(super) steps: usize,
}

/// The fold: steps in, facts out.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) provisional: BTreeMap<Seq, Provisional>,
}

impl Fold {
    /// Takes in the step of the change `seq`.
    pub(super) fn take(
        &mut self,
        seq: Seq,
        step: Step,
        reader: &dyn JournalReader,
        facts: &mut Facts,
    ) -> Result<(), ReadError> {
        facts.steps += 1;
        match step {
            Step::Accepted { transaction, institution } => {
                facts.positions.entry(institution).or_default().push(transaction);
            }
            Step::Retired { before } => facts.retired = facts.retired.max(before),
            Step::Moved { transaction } => self.forget(transaction, facts),
            Step::Ended { transaction, state, at } => {
                self.forget(transaction, facts);
                facts.outcomes.insert(transaction, Indexed { state, last: seq, at });
            }
            Step::RefusedProvisionally { transaction } => {
                if let Change::Accepted(accepted) = reader.read(transaction)? {
                    let upstream = accepted.cell.upstream.clone();
                    let entry = Provisional { refused: seq, upstream };
                    facts.provisional.insert(transaction, Some(entry.clone()));
                    self.provisional.insert(transaction, entry);
                }
            }
            Step::Decided { upstream, confirmed, at } => {
                let decided: Vec<(Seq, Seq)> = self
                    .provisional
                    .iter()
                    .filter(|(_, entry)| entry.upstream == upstream)
                    .map(|(&transaction, entry)| (transaction, entry.refused))
                    .collect();
                for (transaction, refused) in decided {
                    self.forget(transaction, facts);
                    if confirmed {
                        // The refusal itself: code and answer stand there.
                        let outcome = Indexed { state: State::Refused, last: refused, at };
                        facts.outcomes.insert(transaction, outcome);
                    }
                }
            }
        }
        Ok(())
    }

    fn forget(&mut self, transaction: Seq, facts: &mut Facts) {
        if self.provisional.remove(&transaction).is_some() {
            facts.provisional.insert(transaction, None);
        }
    }
}
