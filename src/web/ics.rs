//! iCalendar (RFC 5545), as far as the feed, `window export` and `window import` need it: content lines, their folding
//! and escapes, instants.
//!
//! Written by hand: it is a dozen properties, three escapes and folding, and a mistake in a calendar
//! has to be told by its line and property. The crates that read iCalendar give neither, and those
//! that write it bring random identities and leave the choice of every property to the caller all the
//! same. Two of them read our feed in the tests.

use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

/// Octets of a line, its end not counted.
pub const LINE_OCTETS_MAX: usize = 75;

/// In UTC, to the second: `20220812T110000Z`.
#[must_use]
pub fn instant(at: Timestamp) -> String {
    at.civil(chrono_tz::UTC).format("%Y%m%dT%H%M%SZ").to_string()
}

/// A text as a property's value.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // Other control characters have no place in a text.
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A property's value as the text that it stands for.
#[must_use]
pub fn unescaped(value: &str) -> String {
    let (mut out, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(c) => out.push(c),
                None => {}
            },
            (c, false) => out.push(c),
        }
    }
    out
}

/// Writes a property, folded: no line has more than 75 octets, and no character is cut.
pub fn line(out: &mut String, name: &str, value: &str) {
    let mut octets = 0;
    for c in name.chars().chain([':']).chain(value.chars()) {
        if octets + c.len_utf8() > LINE_OCTETS_MAX {
            out.push_str("\r\n ");
            octets = 1;
        }
        out.push(c);
        octets += c.len_utf8();
    }
    out.push_str("\r\n");
}

/// A property as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// The number of its first line, from 1.
    pub line: usize,
    /// Its name, in upper case.
    pub name: String,
    /// Its parameters, by name in upper case, without quotation marks.
    pub parameters: BTreeMap<String, String>,
    /// Its value, as it stands there.
    pub value: String,
}

/// What is wrong with a calendar: the line, the property, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, {property}: {why}")]
pub struct Wrong {
    /// The number of the line, from 1.
    pub line: usize,
    /// The property.
    pub property: String,
    /// What is wrong, and what is expected.
    pub why: String,
}

impl Property {
    /// This property is wrong.
    #[must_use]
    pub fn wrong(&self, why: impl Into<String>) -> Wrong {
        Wrong { line: self.line, property: self.name.clone(), why: why.into() }
    }

    fn read(line: usize, text: &str) -> Result<Self, Wrong> {
        let no_property = |why: &str| Wrong {
            line,
            property: text.chars().take(40).collect(),
            why: why.to_owned(),
        };
        // The colon that ends name and parameters is the first outside of quotation marks.
        let mut is_quoted = false;
        let colon = text.char_indices().find(|(_, c)| {
            is_quoted ^= *c == '"';
            *c == ':' && !is_quoted
        });
        let (head, value) = colon
            .map(|(at, _)| (&text[..at], &text[at + 1..]))
            .ok_or_else(|| no_property("expected NAME:VALUE"))?;
        let mut parts = Vec::new();
        let mut from = 0;
        is_quoted = false;
        for (at, c) in head.char_indices() {
            is_quoted ^= c == '"';
            if c == ';' && !is_quoted {
                parts.push(&head[from..at]);
                from = at + 1;
            }
        }
        parts.push(&head[from..]);
        let mut parts = parts.into_iter();
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(no_property("expected the name of a property"));
        }
        let mut parameters = BTreeMap::new();
        for part in parts {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| no_property("expected parameters as ;NAME=VALUE"))?;
            parameters.insert(key.to_ascii_uppercase(), value.trim_matches('"').to_owned());
        }
        let (name, value) = (name.to_ascii_uppercase(), value.to_owned());
        Ok(Self { line, name, parameters, value })
    }
}

/// Reads the properties of a calendar, unfolded. Lines may end in CRLF or in LF alone.
///
/// # Errors
/// The first line that is no property.
pub fn properties(text: &str) -> Result<Vec<Property>, Wrong> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut unfolded: Vec<(usize, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match (line.strip_prefix([' ', '\t']), unfolded.last_mut()) {
            (Some(more), Some((_, last))) => last.push_str(more),
            _ if line.is_empty() => {}
            _ => unfolded.push((number, line.to_owned())),
        }
    }
    unfolded.iter().map(|(number, line)| Property::read(*number, line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_however_it_is_folded() {
        for text in [
            "short",
            "北京市医疗保障局：停机期间费用结算暂停办理，恢复时间另行通知，请参保人员保留单据",
            "a; b, c \\ d\nsecond line — 与第二行，混合 text with 汉字 in every place 到此为止",
            "𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷𠮷",
        ] {
            for shift in 0..4 {
                let text = "x".repeat(shift) + text;
                let mut out = String::new();
                line(&mut out, "SUMMARY", &escaped(&text));
                for line in out.split("\r\n") {
                    assert!(line.len() <= LINE_OCTETS_MAX, "{line}");
                }
                let read = properties(&out).unwrap();
                assert_eq!(read.len(), 1);
                assert_eq!(unescaped(&read[0].value), text);
            }
        }
    }

    #[test]
    fn names_parameters_and_values_are_told_apart() {
        let text = "BEGIN:VEVENT\r\ndtstart;TZID=\"Asia/Shang\r\n hai\";X-A=b:20220812T190000\n\
                    URL:http://x/;a=b:c\n";
        let read = properties(text).unwrap();
        assert_eq!(read.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(read[1].name, "DTSTART");
        assert_eq!(read[1].parameters["TZID"], "Asia/Shanghai");
        assert_eq!(read[1].value, "20220812T190000");
        assert_eq!(read[2].value, "http://x/;a=b:c");
        let wrong = |text: &str| properties(text).unwrap_err().to_string();
        assert_eq!(wrong("A:b\nno property\n"), "line 2, no property: expected NAME:VALUE");
        assert_eq!(wrong("A b:c"), "line 1, A b:c: expected the name of a property");
        assert_eq!(wrong("A;b:c"), "line 1, A;b:c: expected parameters as ;NAME=VALUE");
    }
}
