//! Which numbers one history of a partition's journal has given out.
//!
//! A number is a place in the journal and the mark of the start that wrote it. A journal that is
//! begun anew, or goes on from an older copy, comes to the same places again; its starts have other
//! marks, so that it gives other numbers, and does not know those of the history that was lost.

use super::ids::{DeadlineId, Mark, Number, RefusalNumber, Seq, TicketId, TransactionId};

/// The marks of a partition's starts, and so its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    partition: u16,
    /// Each start's first sequence and mark, rising.
    starts: Vec<(Seq, Mark)>,
}

impl Numbers {
    /// The numbers of a partition that was begun by the `starts`: the first sequence of each and
    /// its mark, rising. What stands before the first of them has the mark 0.
    #[must_use]
    pub fn new(partition: u16, starts: Vec<(Seq, Mark)>) -> Self {
        Self { partition, starts }
    }

    /// Notes that from `first` on records are written by the start that has `mark`.
    pub fn start(&mut self, first: Seq, mark: Mark) {
        self.starts.push((first, mark));
    }

    /// All starts: the first sequence of each and its mark, rising.
    #[must_use]
    pub fn starts(&self) -> &[(Seq, Mark)] {
        &self.starts
    }

    /// The id of the transaction that was accepted at `seq`.
    #[must_use]
    pub fn transaction(&self, seq: Seq) -> TransactionId {
        self.number(seq)
    }

    /// The id of the ticket of the transaction that was accepted at `seq`.
    #[must_use]
    pub fn ticket(&self, seq: Seq) -> TicketId {
        self.number(seq)
    }

    /// The number of the refusal by policy at `seq`.
    #[must_use]
    pub fn refusal(&self, seq: Seq) -> RefusalNumber {
        self.number(seq)
    }

    /// The id of the deadline that was registered at `seq`.
    #[must_use]
    pub fn deadline(&self, seq: Seq) -> DeadlineId {
        self.number(seq)
    }

    /// The place of `number`; `None` where this history has not given it out.
    #[must_use]
    pub fn place(&self, number: &impl Number) -> Option<Seq> {
        let (partition, seq, mark) = number.parts();
        (partition == self.partition && mark == self.mark(seq)).then_some(seq)
    }

    fn number<N: Number>(&self, seq: Seq) -> N {
        N::new(self.partition, seq, self.mark(seq))
    }

    fn mark(&self, seq: Seq) -> Mark {
        let later = self.starts.partition_point(|(first, _)| *first <= seq);
        self.starts[..later].last().map_or(Mark::default(), |(_, mark)| *mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_another_history_is_unknown() {
        let began = (Seq(1), Mark::new(7));
        let went_on = Numbers::new(0, vec![began, (Seq(10), Mark::new(8))]);
        let went_back = Numbers::new(0, vec![began, (Seq(10), Mark::new(9))]);
        for seq in [Seq(1), Seq(9)] {
            assert_eq!(went_back.place(&went_on.transaction(seq)), Some(seq));
        }
        for seq in [Seq(10), Seq(1 << 40)] {
            assert_eq!(went_on.place(&went_on.refusal(seq)), Some(seq));
            assert_eq!(went_back.place(&went_on.refusal(seq)), None);
            assert_ne!(went_back.deadline(seq), went_on.deadline(seq));
        }
        assert_eq!(Numbers::new(1, vec![began]).place(&went_on.ticket(Seq(1))), None);
    }

    #[test]
    fn what_stands_before_every_start_has_the_mark_0() {
        let mut numbers = Numbers::new(0, Vec::new());
        let before = numbers.transaction(Seq(3));
        numbers.start(Seq(4), Mark::new(1));
        assert_eq!(numbers.place(&before), Some(Seq(3)));
        assert_eq!(before.parts().2, Mark::default());
    }
}
