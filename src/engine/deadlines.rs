//! Dates that somebody was told of: computed again when a stop changes, never moved earlier.

use super::change::{Case, Change};
use super::event::{Fault, Reply};
use super::machine::Machine;
use super::settings::sabotaged;
use super::step::Decision;
use super::view::DeadlineView;
use crate::domain::deadline::{self, Computed, Extension};
use crate::domain::ids::{Business, Seq};
use crate::domain::term::{Deadline, Ground};
use crate::domain::time::{CivilDate, Timestamp};

/// A move of a date that somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Telling {
    /// The move, from what was given.
    pub(super) extension: Extension,
    /// What caused the computation: `accepted`, `turned_away`, `check`, `window`, `overrun`.
    pub(super) cause: String,
    /// When.
    pub(super) at: Timestamp,
}

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

    /// Keeps a move told for a date, unless one as late or later was told before.
    pub(super) fn note_told(
        &mut self,
        business: &Business,
        extension: &Extension,
        cause: &str,
        at: Timestamp,
    ) {
        let told = self.dates.entry((business.clone(), extension.from)).or_default();
        if told.last().is_none_or(|old| old.extension.to < extension.to) {
            told.push(Telling { extension: extension.clone(), cause: cause.to_owned(), at });
        }
    }

    /// The move of a date that was told last, where any was.
    pub(super) fn told(&self, business: &Business, original: Deadline) -> Option<&Extension> {
        let told = self.dates.get(&(business.clone(), original))?;
        told.last().map(|telling| &telling.extension)
    }

    /// The last day of a term.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn ends(&self, ground: &Ground) -> Result<CivilDate, Fault> {
        Ok(ground.term.ends(ground.event, &self.settings.calendar)?)
    }

    /// A date as it holds at `now`: the later of what was told and what is computed.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn deadline(
        &self,
        business: &Business,
        original: Deadline,
        now: Timestamp,
    ) -> Result<Computed, Fault> {
        let windows = self.windows.iter().map(AsRef::as_ref);
        let mut computed = if sabotaged!(self.settings, SkipExtension) {
            Computed { original, date: original, is_final: true, moves: Vec::new() }
        } else {
            deadline::effective(original, business, windows, &self.settings.calendar, now)?
        };
        let told = self.told(business, original);
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
        original: Deadline,
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
        let known: Vec<(Business, Deadline)> = self.dates.keys().cloned().collect();
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
        let told = self.told(business, computed.original);
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
