//! The computation of a date, in words, for whoever has to answer for it.
//!
//! Nothing is computed anew here: the moves are those of [`super::effective`], and each is set
//! beside the stop that caused it.

use super::{Computed, DeadlineRule, Stop, end_of, is_inside};
use crate::domain::ids::Business;
use crate::domain::term::Deadline;
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::Window;

/// How `computed` came about by `windows`, sentence by sentence; instants are seen in `zone`.
#[must_use]
pub fn in_words<'a>(
    computed: &Computed,
    business: &Business,
    windows: impl IntoIterator<Item = &'a Window>,
    now: Timestamp,
    zone: Zone,
) -> Vec<String> {
    let with_rule =
        windows.into_iter().filter_map(|window| Some((window, window.deadlines.as_ref()?)));
    let stops: Vec<(&Window, &DeadlineRule, Stop)> = with_rule
        .filter(|(_, rule)| rule.speaks_of(business))
        .map(|(window, rule)| (window, rule, window.stop_of(&rule.restart_of, business, now)))
        .collect();
    let first = computed.original;
    let mut words = vec![format!("{business} was due on {}.", first.shown(zone))];
    if stops.is_empty() {
        words.push(format!("No window has a rule for the deadlines of {business}."));
    }
    let mut due = first;
    for step in &computed.moves {
        let cause = stops.iter().find(|(window, ..)| window.id == step.window);
        match cause {
            Some((window, rule, stop)) => {
                words.push(why_it_moves(due, window, rule, *stop, now));
                words.push(format!(
                    "By {}, clause {}, it moves to {}: {}. Working days are those of {}.",
                    step.rule,
                    step.clause,
                    step.to.shown(zone),
                    rule.legal_basis,
                    step.calendar
                ));
            }
            // What was told once stands, whatever became of the window's rule since.
            None => words.push(format!(
                "{} was moved to {} by {}, clause {}, of {} version {}.",
                step.from.shown(zone),
                step.to.shown(zone),
                step.rule,
                step.clause,
                step.window,
                step.version
            )),
        }
        due = step.to;
    }
    words.extend(stops.iter().filter_map(|stop| why_it_stays(due, stop, business, now)));
    words.push(match computed.is_final {
        true => format!("{} is final by the stops that are known.", due.shown(zone)),
        false => format!("{} may still move later: a stop is not over.", due.shown(zone)),
    });
    words
}

fn why_it_moves(
    due: Deadline,
    window: &Window,
    rule: &DeadlineRule,
    stop: Stop,
    now: Timestamp,
) -> String {
    let end = end_of(due, window.zone, rule.day_ends_at);
    let side = match end <= stop.interval.end {
        true => "inside",
        false => "after, and would be overtaken by what lies inside,",
    };
    format!(
        "{} ends at {}, {side} {}.",
        due.shown(window.zone),
        end.rfc3339(window.zone),
        the_stop(window, stop, now)
    )
}

/// The stop with its times and what its end rests on.
fn the_stop(window: &Window, stop: Stop, now: Timestamp) -> String {
    let [from, to] = [stop.interval.start, stop.interval.end].map(|at| at.rfc3339(window.zone));
    let rests_on = if window.cancelled_at.is_some() {
        "as published; it was cancelled"
    } else if stop.is_final {
        "the later of its published end and the restart"
    } else if now < stop.interval.end {
        "as published; it is not over"
    } else {
        "now; nothing proves yet that it is over"
    };
    format!("the stop of {} version {} from {from} to {to} ({rests_on})", window.id, window.version)
}

/// Why a stop that holds `due` moves nothing.
fn why_it_stays(
    due: Deadline,
    (window, rule, stop): &(&Window, &DeadlineRule, Stop),
    business: &Business,
    now: Timestamp,
) -> Option<String> {
    let inside = is_inside(due, &stop.interval, window.zone, rule.day_ends_at);
    let unmet = rule.only_if.unmet(window, business, &stop.interval);
    let (true, Some(unmet)) = (inside, unmet) else { return None };
    Some(format!(
        "{} lies inside {}, which moves no date: {unmet}.",
        due.shown(window.zone),
        the_stop(window, *stop, now)
    ))
}
