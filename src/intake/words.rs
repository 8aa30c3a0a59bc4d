//! Stops in plain words, Chinese and English: what stops, and from when to when. Announcements and
//! the calendar feed say it alike.
//!
//! What stops is said by the titles of the catalogue's lines that the rows speak of. A row that
//! only some districts, channels or people fall under counts for its line: the sentence tells whom
//! to look closer, the rows themselves are beside it.

use super::receipt::say_when;
use crate::domain::catalogue::{Catalogue, Line};
use crate::domain::cell::Selector;
use crate::domain::policy::Row;
use crate::domain::time::{Interval, Timestamp, Zone};
use crate::web::problem::Message;

/// Titles that a sentence names; of more it says how many.
const TITLES_MAX: usize = 4;

/// The lines that a row speaks of.
pub(super) fn lines_of<'c>(
    row: &'c Row,
    catalogue: &'c Catalogue,
) -> impl Iterator<Item = &'c Line> {
    catalogue.lines.iter().filter(|line| is_meant(line, &row.cells))
}

/// Whether `cells` chooses anything of a line.
pub(super) fn is_meant(line: &Line, cells: &Selector) -> bool {
    let mut upstreams = std::iter::once(&line.upstream).chain(line.upstream_for.values());
    (cells.upstream.is_empty() || upstreams.any(|name| cells.upstream.contains(name)))
        && (cells.business.is_empty()
            || cells.business.iter().any(|pattern| pattern.matches(&line.business)))
        && (cells.operation.is_empty() || cells.operation.contains(&line.operation))
}

/// What stops, as far as `rows` stop anything: titles of lines.
pub(super) fn scope<'r>(rows: impl Iterator<Item = &'r Row>, catalogue: &Catalogue) -> Message {
    titles(stopped(rows).flat_map(|row| lines_of(row, catalogue)))
}

/// The rows that stop anything. One that nobody has decided about may.
pub(super) fn stopped<'r>(rows: impl Iterator<Item = &'r Row>) -> impl Iterator<Item = &'r Row> {
    rows.filter(|row| row.disposition.is_none_or(|said| !said.passes()))
}

/// What a row speaks of, in English: titles of lines, and to whom and where it is limited.
pub(super) fn of_row(row: &Row, catalogue: &Catalogue) -> String {
    let cells = &row.cells;
    let mut said = titles(lines_of(row, catalogue)).en;
    let joined = |words: Vec<String>| words.join(" or ");
    for (what, named) in [
        ("class", joined(cells.class.iter().map(ToString::to_string).collect())),
        ("channel", joined(cells.channel.iter().map(ToString::to_string).collect())),
        ("district", joined(cells.district.iter().map(ToString::to_string).collect())),
        ("label", joined(cells.label.iter().map(ToString::to_string).collect())),
    ] {
        if !named.is_empty() {
            said.push_str(&format!(", {what} {named}"));
        }
    }
    for (name, values) in &cells.attributes {
        said.push_str(&format!(", {name} {}", joined(values.clone())));
    }
    said
}

/// Lines by their titles, each title once.
pub(super) fn titles<'l>(lines: impl Iterator<Item = &'l Line>) -> Message {
    let mut titles: Vec<(&str, &str)> = Vec::new();
    for line in lines {
        let title = (line.title_zh.as_str(), line.title_en.as_str());
        if !title.0.is_empty() && !title.1.is_empty() && !titles.contains(&title) {
            titles.push(title);
        }
    }
    if titles.is_empty() {
        return Message { zh: "部分系统".to_owned(), en: "part of the system".to_owned() };
    }
    let more = titles.len().saturating_sub(TITLES_MAX);
    titles.truncate(TITLES_MAX);
    let (zh, en): (Vec<&str>, Vec<&str>) = titles.into_iter().unzip();
    let (mut zh, mut en) = (zh.join("、"), en.join(", "));
    if more > 0 {
        zh.push_str(&format!("等{}项业务", TITLES_MAX + more));
        en.push_str(&format!(" and {more} more"));
    }
    Message { zh, en }
}

/// An instant, as people say it.
pub(super) fn when(at: Timestamp, zone: Zone) -> Message {
    let (mut zh, mut en) = (String::new(), String::new());
    say_when(at.civil(zone), &mut zh, &mut en);
    Message { zh, en }
}

/// From when to when.
pub(super) fn stretch(of: Interval, zone: Zone) -> Message {
    let (start, end) = (when(of.start, zone), when(of.end, zone));
    Message {
        zh: format!("{}至{}", start.zh, end.zh),
        en: format!("from {} to {}", start.en, end.en),
    }
}
