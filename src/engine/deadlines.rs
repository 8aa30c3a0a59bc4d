//! Dates that somebody was told of: computed again when a stop changes, never moved earlier.

use super::change::{Case, Change};
use super::event::{Fault, RegisteredCase, Reply};
use super::machine::Machine;
use super::settings::sabotaged;
use super::step::Decision;
use super::view::DeadlineView;
use super::view::{Affected, DateExplained, Inversion, Preview};
use crate::domain::calendar::Calendar;
use crate::domain::deadline::{self, Computed, Extension};
use crate::domain::ids::{Business, Seq};
use crate::domain::term::{Deadline, Ground};
use crate::domain::time::{CivilDate, Timestamp};
use crate::domain::window::Window;
use std::sync::Arc;

/// A move of a date that somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// The move, from what was given.
    pub extension: Extension,
    /// What caused the computation: `accepted`, `turned_away`, `check`, `window` (one was
    /// set, or lasts longer than planned), `apply`.
    pub cause: String,
    /// When.
    pub at: Timestamp,
}

/// A date that is known: why, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct Dated {
    /// The moves told, each later than the one before.
    pub(super) told: Vec<Telling>,
    /// Cases that are registered for it.
    pub(super) cases: u64,
    /// Transactions that carry it and are not final.
    pub(super) open: u64,
}

impl Dated {
    /// What was told last, of a date that was given as `original`.
    pub(super) fn holds(&self, original: Deadline) -> Deadline {
        self.told.last().map_or(original, |told| told.extension.to.max(original))
    }
}

/// The moves of a date as one: from the original to the date that holds, resting on the last
/// move. `None` where nothing moved it.
pub(super) fn as_one_move(computed: &Computed) -> Option<Extension> {
    let last = computed.moves.last()?;
    Some(Extension { from: computed.original, to: computed.date, ..last.clone() })
}

impl Machine {
    pub(super) fn apply_registered(&mut self, id: Seq, case: &Case, at: Timestamp) {
        self.dates.entry((case.business.clone(), case.original)).or_default().cases += 1;
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
        // Whoever is told of a mistake has registered nothing.
        if let Err(fault) = self.answerable(&business, original, now) {
            return Reply::Invalid(fault);
        }
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
        let told = &mut self.dates.entry((business.clone(), extension.from)).or_default().told;
        if told.last().is_none_or(|old| old.extension.to < extension.to) {
            told.push(Telling { extension: extension.clone(), cause: cause.to_owned(), at });
        }
    }

    /// A transaction that carried a deadline is final.
    pub(super) fn note_closed(&mut self, cell: u32, deadline: Option<CivilDate>) {
        let business = &self.cells[cell as usize].cell.business;
        let Some(day) = deadline else { return };
        let key = (business.clone(), day.into());
        let Some(known) = self.dates.get_mut(&key) else { return };
        known.open = known.open.saturating_sub(1);
        if known.open == 0 {
            self.dates_open.remove(&key);
        }
    }

    /// Registers cases one after the other; one that cannot be stops none of the others.
    pub(super) fn register_all(
        &mut self,
        cases: Vec<Case>,
        now: Timestamp,
        out: &mut Decision,
    ) -> Vec<Result<RegisteredCase, Fault>> {
        let mut one = |case| match self.register(case, now, out) {
            Reply::Deadline { id: Some(id), duplicate, computed } => {
                Ok(RegisteredCase { id, duplicate, computed })
            }
            Reply::Invalid(fault) => Err(fault),
            _ => Err(Fault::Invalid("the case cannot be registered".to_owned())),
        };
        cases.into_iter().map(&mut one).collect()
    }

    /// The move of a date that was told last, where any was.
    pub(super) fn told(&self, business: &Business, original: Deadline) -> Option<&Extension> {
        let known = self.dates.get(&(business.clone(), original))?;
        known.told.last().map(|telling| &telling.extension)
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
        self.deadline_by(self.windows.iter().map(AsRef::as_ref), business, original, now)
    }

    /// The same, if `windows` were those that are known.
    fn deadline_by<'w>(
        &self,
        windows: impl Iterator<Item = &'w Window>,
        business: &Business,
        original: Deadline,
        now: Timestamp,
    ) -> Result<Computed, Fault> {
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

    /// A date that can be answered: of a business that the catalogue has, within the calendar.
    fn answerable(
        &self,
        business: &Business,
        original: Deadline,
        now: Timestamp,
    ) -> Result<Computed, Fault> {
        if !self.settings.catalogue.knows(business) {
            return Err(Fault::Invalid(format!("the catalogue has no business {business}")));
        }
        self.deadline(business, original, now)
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
        match self.answerable(business, original, now) {
            Ok(computed) => {
                self.tell_if_later(business, &computed, "check", now, out);
                Reply::Deadline { id, duplicate: false, computed: Box::new(computed) }
            }
            Err(fault) => Reply::Invalid(fault),
        }
    }

    /// A registered case.
    #[must_use]
    pub fn registered(&self, id: Seq) -> Option<DeadlineView> {
        self.registered.get(&id).cloned()
    }

    /// How a date came about, in words, with everything that was told of it. Tells nobody
    /// anything.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn explain_date(
        &self,
        business: &Business,
        original: Deadline,
        now: Timestamp,
    ) -> Result<DateExplained, Fault> {
        let computed = self.deadline(business, original, now)?;
        let windows = self.windows.iter().map(AsRef::as_ref);
        let zone = self.settings.zone;
        let words = deadline::in_words(&computed, business, windows, now, zone);
        let known = self.dates.get(&(business.clone(), original));
        let told = known.map(|known| known.told.clone()).unwrap_or_default();
        Ok(DateExplained { computed, words, told })
    }

    /// What a date rests on, for whoever proves it without us: the windows whose rule speaks of it,
    /// as they were published and restored, and the days that are worked.
    #[must_use]
    pub fn evidence(&self, business: &Business) -> (Vec<Arc<Window>>, Calendar) {
        let speaks = |window: &&Arc<Window>| {
            let rule = window.deadlines.as_ref();
            rule.is_some_and(|rule| rule.speaks_of(business))
        };
        let windows = self.windows.iter().filter(speaks).cloned().collect();
        (windows, self.settings.calendar.clone())
    }

    /// Which known dates would move, and whom they concern, if `changed` took the place of the
    /// window of its name or came to those that are known.
    ///
    /// # Errors
    /// [`Fault::NoCalendar`] where the calendar does not reach.
    pub fn preview(&self, changed: &Window, now: Timestamp) -> Result<Preview, Fault> {
        let others = || self.windows.iter().map(AsRef::as_ref).filter(|w| w.id != changed.id);
        let mut preview = Preview::default();
        let mut farthest: Option<(&Business, Deadline, Deadline)> = None;
        for ((business, original), known) in &self.dates {
            let windows = others().chain([changed]);
            let becomes = self.deadline_by(windows, business, *original, now)?;
            let date = becomes.date;
            let overtakes = farthest.filter(|(of, earlier, far)| {
                *of == business && date < *far && earlier.is_day() == original.is_day()
            });
            if let Some((_, earlier, far)) = overtakes {
                preview.inversions.push(Inversion {
                    business: business.clone(),
                    earlier: (earlier, far),
                    later: (*original, date),
                });
            } else {
                farthest = Some((business, *original, date));
            }
            let holds = known.holds(*original);
            if holds < date {
                preview.moves.push(Affected {
                    business: business.clone(),
                    original: *original,
                    holds,
                    becomes,
                    cases: known.cases,
                    open: known.open,
                });
            }
        }
        Ok(preview)
    }

    /// Commits every move that is computed and was not told, and says how many those were.
    pub(super) fn apply_dates(&mut self, now: Timestamp, out: &mut Decision) -> u64 {
        let before = out.changes.len();
        self.tell_dates("apply", now, out);
        (out.changes.len() - before) as u64
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
