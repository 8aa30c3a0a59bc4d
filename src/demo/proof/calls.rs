//! P2, P3 and P4 from the cores' own logs: nothing twice, nothing out of order, nothing while a
//! gate was closed.

use super::Broken;
use crate::domain::cell::{Cell, Selector};
use crate::domain::ids::TransactionId;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

/// One effect-bearing call, as a core saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreCall {
    /// When it arrived.
    pub at: Timestamp,
    /// The transaction.
    pub id: TransactionId,
    /// Its cell, as far as the headers tell it.
    pub cell: Cell,
    /// Whether the core applied it: an effect.
    pub applied: bool,
}

/// A stretch in which no call of some cells may start: from the published start to the acts that
/// let them go.
#[derive(Debug, Clone)]
pub struct Closure {
    /// The cells.
    pub cells: Selector,
    /// The cells that a narrower row speaks of instead.
    pub except: Vec<Selector>,
    /// The published start.
    pub from: Timestamp,
    /// The acts that end it, in order: whichever comes first and matches the call's cell.
    pub ends: Vec<(Selector, Timestamp)>,
    /// The clause.
    pub clause: String,
}

impl Closure {
    fn forbids(&self, call: &CoreCall) -> bool {
        let meant = self.cells.matches(&call.cell)
            && !self.except.iter().any(|narrower| narrower.matches(&call.cell));
        let let_go =
            self.ends.iter().filter(|(cells, _)| cells.matches(&call.cell)).map(|&(_, at)| at);
        meant && self.from <= call.at && let_go.min().is_none_or(|end| call.at < end)
    }
}

/// What the logs say about effects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Effects in all.
    pub effects: u64,
    /// Effects beyond the first of a transaction.
    pub double: u64,
    /// Effects that came before one that was accepted earlier.
    pub out_of_order: u64,
    /// Effect-bearing calls in a closed cell.
    pub while_closed: u64,
}

/// P2: at most one effect per transaction.
#[must_use]
pub fn once(calls: &[CoreCall], sums: &mut Effects) -> Vec<Broken> {
    let mut effects: BTreeMap<TransactionId, u64> = BTreeMap::new();
    for call in calls.iter().filter(|c| c.applied) {
        *effects.entry(call.id).or_default() += 1;
        sums.effects += 1;
    }
    let twice = effects.into_iter().filter(|&(_, count)| count > 1);
    twice
        .map(|(id, count)| {
            sums.double += count - 1;
            Broken::new("P2", id, format!("took effect {count} times at the core"))
        })
        .collect()
}

/// P3: per ordering key, effects in the order of acceptance. `keys` tells the ordering key of
/// each transaction, and `None` for one that took another's place and waits behind nobody; calls
/// stand in the order in which one core saw them.
#[must_use]
pub fn in_order<K: Ord>(
    calls: &[CoreCall],
    keys: &BTreeMap<TransactionId, Option<K>>,
    sums: &mut Effects,
) -> Vec<Broken> {
    let mut latest: BTreeMap<&K, TransactionId> = BTreeMap::new();
    let mut broken = Vec::new();
    for call in calls.iter().filter(|c| c.applied) {
        let Some(key) = keys.get(&call.id) else {
            let what = "took effect, but neither a client nor the journal knows of it";
            broken.push(Broken::new("P3", call.id, what));
            sums.out_of_order += 1;
            continue;
        };
        let Some(key) = key else { continue };
        let before = latest.entry(key).or_insert(call.id);
        if call.id < *before {
            let what = format!("took effect after {before}, which was accepted later");
            broken.push(Broken::new("P3", call.id, what));
            sums.out_of_order += 1;
        } else {
            *before = call.id;
        }
    }
    broken
}

/// P4: no effect-bearing call in a closed cell.
#[must_use]
pub fn not_while_closed(
    calls: &[CoreCall],
    closures: &[Closure],
    sums: &mut Effects,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    for call in calls {
        if let Some(closed) = closures.iter().find(|closure| closure.forbids(call)) {
            sums.while_closed += 1;
            let what = format!(
                "a call reached the core at {} in {}, which clause {} keeps closed",
                call.at, call.cell, closed.clause
            );
            broken.push(Broken::new("P4", call.id, what));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cell::{Channel, Class, Operation};
    use crate::domain::ids::Seq;
    use crate::domain::numbers::Numbers;

    fn id(seq: u64) -> TransactionId {
        Numbers::default().transaction(Seq(seq))
    }

    fn cell(district: &str) -> Cell {
        Cell {
            upstream: "agency".parse().unwrap(),
            business: "filing.out_of_area".parse().unwrap(),
            operation: Operation::Apply,
            class: Class::Hall,
            channel: Channel::Hall,
            district: district.parse().unwrap(),
            labels: Vec::new(),
            attributes: BTreeMap::new(),
        }
    }

    fn call(seq: u64, at: i64) -> CoreCall {
        CoreCall {
            at: Timestamp::from_millis(at),
            id: id(seq),
            cell: cell("110101"),
            applied: true,
        }
    }

    #[test]
    fn a_second_effect_of_one_transaction_is_found() {
        let mut sums = Effects::default();
        let refused = CoreCall { applied: false, ..call(2, 9) };
        let broken = once(&[call(1, 5), call(2, 6), call(1, 7), refused], &mut sums);
        assert_eq!(broken.len(), 1);
        assert_eq!((broken[0].promise, broken[0].id.as_str()), ("P2", &*id(1).to_string()));
        assert_eq!((sums.effects, sums.double), (3, 1));
    }

    #[test]
    fn an_effect_before_its_elder_of_the_same_key_is_found() {
        let keys = BTreeMap::from(
            [(1, Some("a")), (2, Some("b")), (3, Some("a")), (4, Some("b")), (5, None)]
                .map(|(seq, key)| (id(seq), key)),
        );
        let mut sums = Effects::default();
        let good = [call(5, 0), call(2, 1), call(1, 2), call(3, 3), call(4, 4)];
        assert!(in_order(&good, &keys, &mut sums).is_empty());
        let bad = [call(3, 1), call(2, 2), call(1, 3), call(4, 4)];
        let broken = in_order(&bad, &keys, &mut sums);
        assert_eq!(broken.iter().map(|b| b.id.clone()).collect::<Vec<_>>(), [id(1).to_string()]);
        assert_eq!(sums.out_of_order, 1);
    }

    #[test]
    fn an_effect_that_nobody_submitted_is_found() {
        let mut sums = Effects::default();
        let keys = BTreeMap::from([(id(1), Some("a"))]);
        assert_eq!(in_order(&[call(9, 1)], &keys, &mut sums).len(), 1);
    }

    #[test]
    fn a_call_between_the_published_start_and_the_act_of_its_district_is_found() {
        let act = |district: &str| Selector {
            district: vec![district.parse().unwrap()],
            ..Selector::default()
        };
        let closure = Closure {
            cells: Selector::default(),
            except: vec![act("110108")],
            from: Timestamp::from_millis(100),
            ends: vec![
                (act("110101"), Timestamp::from_millis(200)),
                (act("110105"), Timestamp::from_millis(300)),
            ],
            clause: "(二)2".to_owned(),
        };
        let at = |at: i64, district: &str| CoreCall { cell: cell(district), ..call(1, at) };
        let fine = [at(99, "110101"), at(200, "110101"), at(300, "110105"), at(150, "110108")];
        let mut sums = Effects::default();
        assert!(not_while_closed(&fine, std::slice::from_ref(&closure), &mut sums).is_empty());
        let early = [at(100, "110101"), at(199, "110101"), at(299, "110105"), at(900, "110107")];
        let refused: Vec<CoreCall> =
            early.into_iter().map(|c| CoreCall { applied: false, ..c }).collect();
        assert_eq!(not_while_closed(&refused, &[closure], &mut sums).len(), 4);
        assert_eq!(sums.while_closed, 4);
    }
}
