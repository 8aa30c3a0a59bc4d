//! The state as a list of changes, for snapshots: the shortest one with the same fold.
//!
//! Writing and reading the list is the journal's business.

use super::change::{Carried, Change, Facts, Totals};
use super::live::{HAS_FILES, NEEDS_CREDENTIAL, NOT_SELF_CONTAINED, PRE_ACCEPTED, Slot};
use super::machine::Machine;
use super::view::Untold;
use crate::domain::ids::{OrderingKey, Seq};
use crate::domain::time::Timestamp;

/// Transactions in one change: enough that what they share counts little.
const AT_ONCE: usize = 1024;

impl Machine {
    /// The state as the shortest list of changes with the same fold. They are made as they are
    /// taken: all of them together are several times as large as the state.
    pub fn snapshot(&self) -> impl Iterator<Item = Change> + '_ {
        let mut slots: Vec<Slot> = self.live.slots().collect();
        slots.sort_unstable_by_key(|&slot| self.live.get(slot).transaction);
        // A key's transactions stand together in their order, which is not always that of their
        // numbers: one that replaces another has its place.
        let live = slots.into_iter().flat_map(|slot| self.live.chain_from(slot));
        let live = live.map(|slot| self.carried(slot));
        let untold = self.untold.finals().map(carried_untold);
        let mut carried = live.chain(untold).peekable();
        let carried = std::iter::from_fn(move || {
            carried.peek()?;
            Some(Change::Carried(carried.by_ref().take(AT_ONCE).collect()))
        });
        self.but_for_transactions().into_iter().chain(self.blobs.carried()).chain(carried)
    }

    fn but_for_transactions(&self) -> Vec<Change> {
        let up_to = Seq(self.next.0 - 1);
        let mut changes = vec![Change::Totals(Box::new(Totals {
            books: self.books.to_entries(),
            turned_away: self.turned_away,
            epoch: self.epoch,
            starts: self.numbers.starts().to_vec(),
            last_at: self.last_at,
            up_to,
        }))];
        if self.begins > Seq(1) {
            changes.push(Change::Retired { before: self.begins, at: self.last_at });
        }
        let noted = self.audit.iter().cloned();
        changes.extend(noted.map(|head| Change::AuditNoted { head, at: self.last_at }));
        changes.extend(self.windows_carried());
        changes.push(Change::OverridesSet(self.overrides.clone()));
        changes.extend(
            self.upstreams
                .iter()
                .map(|u| Change::HealthSet { upstream: u.name.clone(), health: u.health.clone() }),
        );
        changes.extend(self.intake.iter().cloned().map(Change::IntakeStopped));
        changes.extend(self.registered.values().map(|d| Change::DeadlineCarried {
            id: d.id,
            registered: Box::new(Change::DeadlineRegistered { case: d.case.clone(), at: d.at }),
        }));
        changes.extend(self.dates.iter().flat_map(|((business, original), known)| {
            known.told.iter().map(|telling| Change::DeadlineTold {
                business: business.clone(),
                original: *original,
                extension: telling.extension.clone(),
                cause: telling.cause.clone(),
                at: telling.at,
            })
        }));
        changes
    }

    fn carried(&self, slot: Slot) -> Carried {
        let live = self.live.get(slot);
        let extra = self.live.extra(slot).cloned().unwrap_or_default();
        Carried {
            transaction: live.transaction,
            facts: Facts {
                institution: self.institutions[live.institution as usize].clone(),
                cell: self.cells[live.cell as usize].cell.clone(),
                ordering_key: self.live.ordering_key(slot),
                amount: live.amount,
                deadline: extra.deadline,
                replaces: extra.replaces,
                depends_on: extra.depends_on,
                self_contained: !live.is(NOT_SELF_CONTAINED),
                needs_credential: live.is(NEEDS_CREDENTIAL),
                ticket_after: extra.ticket_after,
                pre_accepted: live.is(PRE_ACCEPTED) && self.untold.contains(live.transaction),
                has_files: live.is(HAS_FILES),
                at: live.at,
            },
            state: live.state,
            attempts: u32::from(live.attempts),
            failures: u32::from(live.failures),
            not_before: live.not_before,
            provisional: extra.provisional,
            ended_at: None,
            given_up_for: extra.given_up_for,
        }
    }
}

fn carried_untold(untold: &Untold) -> Carried {
    Carried {
        transaction: untold.transaction,
        facts: Facts {
            institution: untold.institution.clone(),
            cell: untold.cell.clone(),
            ordering_key: OrderingKey(0),
            amount: untold.amount,
            deadline: None,
            replaces: None,
            depends_on: None,
            self_contained: true,
            needs_credential: false,
            ticket_after: None,
            pre_accepted: true,
            has_files: false,
            at: untold.at,
        },
        state: untold.state,
        attempts: untold.attempts,
        failures: 0,
        not_before: Timestamp::default(),
        provisional: None,
        ended_at: Some(untold.ended_at),
        given_up_for: None,
    }
}
