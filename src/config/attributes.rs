//! The parts of a catalogue line that say what a submission may carry: its typed attributes, and
//! from when on there is the business at all.
//!
//! What an attribute may be held to goes by its type; a key that means nothing for the type is an
//! error, never left unread. The values themselves are checked where submissions come in.

use super::raw::Reader;
use crate::domain::catalogue::{Attribute, AttributeKind, Boundary, LeastAgo};
use crate::domain::term::Term;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

/// The largest `at_most` of a list.
const AT_MOST_MAX: usize = 100;

/// The attributes of a line, by name.
pub(super) fn read_attributes(r: &mut Reader<'_>) -> BTreeMap<String, Attribute> {
    let sections = r.sections("attributes").into_iter();
    sections.filter_map(|(name, a)| Some((name, read_attribute(a)?))).collect()
}

fn read_attribute(mut a: Reader<'_>) -> Option<Attribute> {
    let kind: Option<AttributeKind> = a.parsed("kind");
    let choices: Vec<String> = a.list_if_given("choices");
    let required = a.has("required") && a.flag("required");
    let in_cell = a.has("in_cell") && a.flag("in_cell");
    let at_most = a.has("at_most").then(|| a.number("at_most", 1..=AT_MOST_MAX));
    let least_ago = read_least_ago(&mut a, kind);
    if (kind == Some(AttributeKind::Choice)) == choices.is_empty() {
        a.error("choices", None, "a choice needs its words, and only a choice has them");
    }
    if kind.is_some() && (kind == Some(AttributeKind::List)) != at_most.is_some() {
        a.error("at_most", None, "a list says how many it may have, and only a list does");
    }
    let distinct = matches!(kind, Some(AttributeKind::Boolean | AttributeKind::Choice) | None);
    if in_cell && !distinct {
        let why = "a text, a date or a list has too many values to tell cells apart";
        a.error("in_cell", Some("true".to_owned()), why);
    }
    // They are asked for above only where they are given.
    a.expect(&["required", "in_cell", "at_most", "least_ago", "boundary"]);
    a.finish();
    Some(Attribute { kind: kind?, choices, required, in_cell, at_most, least_ago })
}

fn read_least_ago(a: &mut Reader<'_>, kind: Option<AttributeKind>) -> Option<LeastAgo> {
    if !a.has("least_ago") {
        if a.has("boundary") {
            let _: Option<Boundary> = a.parsed("boundary");
            a.error("boundary", None, "speaks of the day on which least_ago ends; name that too");
        }
        return None;
    }
    let term: Option<Term> = a.parsed("least_ago");
    let boundary = if a.has("boundary") { a.parsed("boundary") } else { Some(Boundary::Allowed) };
    if !matches!(kind, Some(AttributeKind::Date) | None) {
        a.error("least_ago", None, "only a date lies so long before a request");
    }
    if term.as_ref().is_some_and(|term| !matches!(term, Term::Days(_) | Term::Months(_))) {
        let shown = term.as_ref().map(|term| format!("\"{term}\""));
        a.error("least_ago", shown, "expected days:60, months:3 or years:3");
    }
    Some(LeastAgo { term: term?, boundary: boundary? })
}

/// From when on there is the business; empty: from ever.
pub(super) fn read_open_from(r: &mut Reader<'_>) -> Option<Timestamp> {
    let text = r.text("open_from");
    if text.is_empty() {
        return None;
    }
    let read = text.parse();
    if let Err(why) = &read {
        r.error("open_from", Some(format!("{text:?}")), why);
    }
    read.ok()
}
