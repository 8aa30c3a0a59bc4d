//! P1: everything that was acknowledged is in the journal as it was acknowledged, and everything
//! in the journal has ended or waits for a reason that a person can name.

use super::Broken;
use super::journal::Recount;
use crate::domain::ids::{Fingerprint, InstitutionCode, RefusalNumber, TransactionId};
use crate::domain::money::Money;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;

/// A receipt that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub id: TransactionId,
    /// Who was given it.
    pub institution: InstitutionCode,
    /// The content's hash, as it stands on the receipt.
    pub fingerprint: Fingerprint,
    /// The amount that was submitted.
    pub amount: Money,
}

/// A refusal that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its number.
    pub number: RefusalNumber,
    /// Who was given it.
    pub institution: InstitutionCode,
}

/// P1 over the receipts.
#[must_use]
pub fn acknowledged(receipts: &[Receipt], refusals: &[Refusal], journal: &Recount) -> Vec<Broken> {
    let mut broken = Vec::new();
    for receipt in receipts {
        let what = match journal.kept(receipt.id) {
            None => "was acknowledged, but the journal has no record of it",
            Some(kept) if kept.fingerprint != receipt.fingerprint => {
                "stands in the journal with another fingerprint than on its receipt"
            }
            Some(kept) if kept.institution != receipt.institution => {
                "stands in the journal under another institution"
            }
            Some(kept) if kept.amount != receipt.amount => {
                "stands in the journal with another amount than was submitted"
            }
            Some(_) => continue,
        };
        broken.push(Broken::new("P1", receipt.id, what));
    }
    for refusal in refusals {
        let place = journal.numbers.place(&refusal.number);
        let kept = place.and_then(|place| journal.turned_away.get(&place));
        if kept.is_none_or(|kept| kept.institution != refusal.institution) {
            let what = "was given as a refusal number, but the journal has no such refusal";
            broken.push(Broken::new("P1", refusal.number, what));
        }
    }
    broken
}

/// P1 over the journal: at the end of the demo everything has ended, but for open tickets.
#[must_use]
pub fn ended(journal: &Recount) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (&seq, kept) in &journal.accepted {
        let open_ticket = kept.state == State::Ticketed && kept.ticket == Some(TicketState::Open);
        if !kept.state.is_final() && !open_ticket {
            let what = format!(
                "is {} at the end ({}, accepted {}), though nothing holds it any more",
                kept.state, kept.cell, kept.at
            );
            broken.push(Broken::new("P1", journal.numbers.transaction(seq), what));
        }
    }
    for &seq in &journal.orphans {
        let what = "is a record about a transaction that the journal never accepted";
        broken.push(Broken::new("P1", format!("record {seq}"), what));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::accepted;
    use super::*;
    use crate::domain::ids::Seq;
    use crate::domain::numbers::Numbers;

    fn journal() -> Recount {
        let mut journal = Recount::default();
        journal.read(Seq(1), accepted());
        journal
    }

    fn receipt() -> Receipt {
        Receipt {
            id: Numbers::default().transaction(Seq(1)),
            institution: "H11010100100".parse().unwrap(),
            fingerprint: Fingerprint(0xfeed),
            amount: Money::from_fen(100).unwrap(),
        }
    }

    #[test]
    fn a_receipt_without_its_record_is_found() {
        assert!(acknowledged(&[receipt()], &[], &journal()).is_empty());
        let lost = Receipt { id: Numbers::default().transaction(Seq(2)), ..receipt() };
        let other = Receipt { fingerprint: Fingerprint(1), ..receipt() };
        let dearer = Receipt { amount: Money::ZERO, ..receipt() };
        assert_eq!(acknowledged(&[lost, other, dearer], &[], &journal()).len(), 3);
    }

    #[test]
    fn a_refusal_number_without_its_record_is_found() {
        let refusal = Refusal {
            number: Numbers::default().refusal(Seq(1)),
            institution: "H11010100100".parse().unwrap(),
        };
        assert_eq!(acknowledged(&[], &[refusal], &journal()).len(), 1);
    }

    #[test]
    fn something_left_behind_is_found_but_an_open_ticket_is_not() {
        assert_eq!(ended(&journal()).len(), 1);
        let mut ticketed = journal();
        ticketed.read(
            Seq(2),
            crate::engine::change::Change::Ticketed {
                transaction: Seq(1),
                at: crate::domain::time::Timestamp::from_millis(5),
            },
        );
        assert!(ended(&ticketed).is_empty());
    }
}
