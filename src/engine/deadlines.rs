//! Dates that somebody was told of: computed again when a stop changes, never moved earlier.

use super::change::{Case, Change};
use super::event::{Fault, Reply};
use super::machine::Machine;
use super::settings::sabotaged;
use super::step::Decision;
use super::view::DeadlineView;
use crate::domain::deadline::{self, Computed, Extension};
use crate::domain::ids::{Business, Seq};
use crate::domain::time::{CivilDate, Timestamp};

/// The moves of a date as one: from the original to the date that holds, resting on the last
/// move. `None` where nothing moved it.
pub(super) fn as_one_move(computed: &Computed) -> Option<Extension> {
    let last = computed.moves.last()?;
    Some(Extension { from: computed.original, to: computed.date, ..last.clone() })
}

impl Machine {
    pub(super) fn apply_registered(&mut self, id: Seq, case: &Case, at: Timestamp) {
        self.dates.entry((case.business.clone(), case.original)).or_default();
        self.dates_dirty = true;
        self.registered.insert(id, DeadlineView { id, case: case.clone(), at });
        self.cases.entry(case.clone()).or_insert(id);
    }

    /// Registers a case, or finds that it is: who lost the answer asks again.
    pub(super) fn register(&mut self, case: Case, now: Timestamp, out: &mut Decision) -> Reply {
        let known = self.cases.get(&case).copied();
        if known.is_none() && self.registered.len() >= self.settings.limits.deadlines_max {
            return Reply::Invalid(Fault::Full("registered deadlines"));
        }
        let (business, original) = (case.business.clone(), case.original);
        let id = match known {
            Some(id) => id,
            None => self.push(out, Change::DeadlineRegistered { case, at: now }),
        };
        let mut answer = self.date_answer(Some(id), &business, original, now, out);
        if let Reply::Deadline { duplicate, .. } = &mut answer {
            *duplicate = known.is_some();
        }
        answer
    }

    /// Keeps the latest move told for a date; an earlier one never replaces a later one.
    pub(super) fn note_told(&mut self, business: &Business, extension: &Extension) {
        let told = self.dates.entry((business.clone(), extension.from)).or_default();
        if told.as_ref().is_none_or(|old| old.to < extension.to) {
            *told = Some(extension.clone());
        }
    }

    /// A date as it holds at `now`: the later of what was told and what is computed.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn deadline(
        &self,
        business: &Business,
        original: CivilDate,
        now: Timestamp,
    ) -> Result<Computed, Fault> {
        let windows = self.windows.iter().map(AsRef::as_ref);
        let mut computed = if sabotaged!(self.settings, SkipExtension) {
            Computed { original, date: original, is_final: true, moves: Vec::new() }
        } else {
            deadline::effective(original, business, windows, &self.settings.calendar, now)?
        };
        let told = self.dates.get(&(business.clone(), original)).and_then(Option::as_ref);
        if let Some(told) = told.filter(|told| computed.date < told.to) {
            computed.date = told.to;
            computed.moves = vec![told.clone()];
        }
        Ok(computed)
    }

    /// Answers a date, and remembers that it was told.
    pub(super) fn date_answer(
        &mut self,
        id: Option<Seq>,
        business: &Business,
        original: CivilDate,
        now: Timestamp,
        out: &mut Decision,
    ) -> Reply {
        if !self.settings.catalogue.knows(business) {
            return Reply::Invalid(Fault::Invalid(format!(
                "the catalogue has no business {business}"
            )));
        }
        match self.deadline(business, original, now) {
            Ok(computed) => {
                self.tell_if_later(business, &computed, "check", now, out);
                Reply::Deadline { id, duplicate: false, computed: Box::new(computed) }
            }
            Err(fault) => Reply::Invalid(fault),
        }
    }

    /// Computes every known date again and commits the moves that are new.
    pub(super) fn tell_dates(&mut self, cause: &str, now: Timestamp, out: &mut Decision) {
        let known: Vec<(Business, CivilDate)> = self.dates.keys().cloned().collect();
        for (business, original) in known {
            // A year without calendar data was refused when the window was declared.
            if let Ok(computed) = self.deadline(&business, original, now) {
                self.tell_if_later(&business, &computed, cause, now, out);
            }
        }
    }

    fn tell_if_later(
        &mut self,
        business: &Business,
        computed: &Computed,
        cause: &str,
        now: Timestamp,
        out: &mut Decision,
    ) {
        let Some(extension) = as_one_move(computed) else { return };
        let told = self.dates.get(&(business.clone(), computed.original)).and_then(Option::as_ref);
        if told.is_none_or(|told| told.to < extension.to) {
            self.push(
                out,
                Change::DeadlineTold {
                    business: business.clone(),
                    original: computed.original,
                    extension,
                    cause: cause.to_owned(),
                    at: now,
                },
            );
        }
    }
}
