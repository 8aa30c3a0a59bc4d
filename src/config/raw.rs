//! The files as they are: merged tables, and a reader that takes them apart key by key.
//!
//! The reader notes every problem (wrong type, out of range, unknown key, missing key) with its
//! key path and goes on, so that one run tells all of them. What it returns after a problem is
//! only good for finding more problems: nothing is built when there was one.

use super::{Problem, Severity};
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;
use toml::{Table, Value};

/// Where problems are noted.
#[derive(Default)]
pub(super) struct Notes(RefCell<Vec<Problem>>);

impl Notes {
    pub(super) fn error(&self, key: impl Into<String>, value: Option<String>, why: impl Display) {
        let problem =
            Problem { key: key.into(), value, why: why.to_string(), severity: Severity::Error };
        // One mistake in a default is met once for everything that falls back on it.
        let mut problems = self.0.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// Reads one file's text. Instants and times of day may stand with or without quotation marks.
pub(super) fn parse(name: &str, text: &str, notes: &Notes) -> Table {
    match text.parse::<Table>() {
        Ok(mut table) => {
            table.iter_mut().for_each(|(_, value)| quote(value));
            table
        }
        Err(error) => {
            let line = error.span().map_or(0, |s| text[..s.start].matches('\n').count() + 1);
            notes.error(format!("{name}:{line}"), None, error.message().trim());
            Table::new()
        }
    }
}

fn quote(value: &mut Value) {
    match value {
        Value::Datetime(at) => *value = Value::String(at.to_string()),
        Value::Array(items) => items.iter_mut().for_each(quote),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| quote(value)),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {}
    }
}

/// Lays `upper` over `lower`: tables are merged, everything else is replaced.
pub(super) fn lay_over(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// Takes one table apart.
pub(super) struct Reader<'a> {
    path: String,
    table: Table,
    /// Where values come from that the table lacks, and its path.
    fallback: Option<(String, Table)>,
    asked: Vec<&'static str>,
    notes: &'a Notes,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &str, table: Table, notes: &'a Notes) -> Self {
        Self { path: path.to_owned(), table, fallback: None, asked: Vec::new(), notes }
    }

    /// Values that the table lacks come from `fallback`.
    pub(super) fn falling_back(mut self, path: &str, fallback: Table) -> Self {
        self.fallback = Some((path.to_owned(), fallback));
        self
    }

    pub(super) fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Takes a value out, with the path it came from.
    fn take(&mut self, key: &'static str) -> Option<(String, Value)> {
        self.asked.push(key);
        if let Some(value) = self.table.remove(key) {
            return Some((self.key(key), value));
        }
        let (path, fallback) = self.fallback.as_mut()?;
        let value = fallback.remove(key)?;
        Some((format!("{path}.{key}"), value))
    }

    fn need(&mut self, key: &'static str) -> Option<(String, Value)> {
        let found = self.take(key);
        if found.is_none() {
            self.notes.error(self.key(key), None, "is missing");
        }
        found
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.asked.join(", ");
        for key in self.table.keys() {
            self.notes.error(self.key(key), None, format!("unknown key, expected one of {known}"));
        }
        if let Some((path, fallback)) = &self.fallback {
            for key in fallback.keys().filter(|key| !self.asked.contains(&key.as_str())) {
                let key = format!("{path}.{key}");
                self.notes.error(key, None, format!("unknown key, expected one of {known}"));
            }
        }
    }

    fn wrong(&self, key: &str, value: &Value, expected: impl Display) {
        self.notes.error(key, Some(show(value)), format!("expected {expected}"));
    }

    pub(super) fn error(&self, key: &str, value: Option<String>, why: impl Display) {
        self.notes.error(self.key(key), value, why);
    }

    pub(super) fn text(&mut self, key: &'static str) -> String {
        match self.need(key) {
            Some((_, Value::String(text))) => text,
            Some((path, other)) => {
                self.wrong(&path, &other, "a text");
                String::new()
            }
            None => String::new(),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        match self.need(key) {
            Some((_, Value::Boolean(flag))) => flag,
            Some((path, other)) => {
                self.wrong(&path, &other, "true or false");
                false
            }
            None => false,
        }
    }

    /// A whole number in a range.
    pub(super) fn number<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + Display + TryFrom<i64>,
    {
        let Some((path, value)) = self.need(key) else { return *range.start() };
        let number = value.as_integer().and_then(|n| T::try_from(n).ok());
        number.filter(|n| range.contains(n)).unwrap_or_else(|| {
            let (from, to) = (range.start(), range.end());
            self.wrong(&path, &value, format!("a whole number from {from} to {to}"));
            *range.start()
        })
    }

    /// A duration in a range.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some((path, value)) = self.need(key) else { return *range.start() };
        let duration = value.as_str().and_then(parse_duration);
        duration.filter(|d| range.contains(d)).unwrap_or_else(|| {
            let (from, to) = (show_duration(*range.start()), show_duration(*range.end()));
            self.wrong(&path, &value, format!("a duration from {from} to {to}, such as \"30s\""));
            *range.start()
        })
    }

    /// Anything that has a text form.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: Display,
    {
        let (path, value) = self.need(key)?;
        self.parse_value(&path, &value)
    }

    fn parse_value<T: FromStr>(&self, path: &str, value: &Value) -> Option<T>
    where
        T::Err: Display,
    {
        let Some(text) = value.as_str() else {
            self.wrong(path, value, "a text");
            return None;
        };
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                self.notes.error(path, Some(show(value)), why);
                None
            }
        }
    }

    /// A list of things that have a text form.
    pub(super) fn list<T: FromStr>(&mut self, key: &'static str) -> Vec<T>
    where
        T::Err: Display,
    {
        let Some((path, value)) = self.need(key) else { return Vec::new() };
        let Value::Array(items) = &value else {
            self.wrong(&path, &value, "a list");
            return Vec::new();
        };
        let parse = |(index, item)| self.parse_value(&format!("{path}[{index}]"), item);
        items.iter().enumerate().filter_map(parse).collect()
    }

    /// As [`Reader::list`], empty where it is left out.
    pub(super) fn list_if_given<T: FromStr>(&mut self, key: &'static str) -> Vec<T>
    where
        T::Err: Display,
    {
        self.table.entry(key).or_insert_with(|| Value::Array(Vec::new()));
        self.list(key)
    }

    /// A table below; empty where there is none.
    pub(super) fn section(&mut self, key: &'static str) -> Reader<'a> {
        let (path, table) = match self.take(key) {
            Some((path, Value::Table(table))) => (path, table),
            Some((path, other)) => {
                self.wrong(&path, &other, "a table");
                (path, Table::new())
            }
            None => (self.key(key), Table::new()),
        };
        Reader::new(&path, table, self.notes)
    }

    /// A table below, as it is.
    pub(super) fn table(&mut self, key: &'static str) -> (String, Table) {
        let section = self.section(key);
        (section.path, section.table)
    }

    /// The named tables below `key`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<(String, Reader<'a>)> {
        let section = self.section(key);
        let mut found = Vec::new();
        for (name, value) in section.table {
            let shown = if name.contains('.') { format!("\"{name}\"") } else { name.clone() };
            let path = format!("{}.{shown}", section.path);
            match value {
                Value::Table(table) => found.push((name, Reader::new(&path, table, self.notes))),
                other => self.wrong(&path, &other, "a table"),
            }
        }
        found
    }

    /// Every text of this table, by its name.
    pub(super) fn texts(&mut self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, value) in std::mem::take(&mut self.table) {
            match value {
                Value::String(text) => found.push((name, text)),
                other => self.wrong(&self.key(&name), &other, "a text"),
            }
        }
        found
    }

    /// The tables listed under `key`.
    pub(super) fn rows(&mut self, key: &'static str) -> Vec<Reader<'a>> {
        let Some((path, value)) = self.take(key) else { return Vec::new() };
        let Value::Array(items) = value else {
            self.wrong(&path, &value, "a list of tables");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::Table(table) => found.push(Reader::new(&path, table, self.notes)),
                other => self.wrong(&path, &other, "a table"),
            }
        }
        found
    }

    /// The whole rest as one value of the domain, which refuses unknown keys itself.
    pub(super) fn whole<T: DeserializeOwned>(self) -> Option<T> {
        match Value::Table(self.table).try_into() {
            Ok(value) => Some(value),
            Err(error) => {
                self.notes.error(self.path, None, error.message().trim());
                None
            }
        }
    }

    /// Marks keys as known that were not asked for because they may be left out.
    pub(super) fn expect(&mut self, keys: &[&'static str]) {
        self.asked.extend(keys.iter().filter(|key| !self.asked.contains(key)).collect::<Vec<_>>());
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }
}

/// `500ms`, `30s`, `15m`, `12h`, `400d`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(Duration::from_millis(number.checked_mul(*millis)?))
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The shortest way to write a duration.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |&&(_, unit): &&(&str, u64)| millis > 0 && millis.is_multiple_of(unit);
    let (name, unit) = UNITS.iter().find(fits).unwrap_or(&UNITS[3]);
    format!("{}{name}", millis / unit)
}

/// A value as it stands in a file, cut where it is long.
fn show(value: &Value) -> String {
    let text = value.to_string().replace('\n', " ");
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_written_in_the_largest_that_fits() {
        for (text, millis, shown) in [
            ("500ms", 500, "500ms"),
            ("1000ms", 1_000, "1s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("24h", 86_400_000, "1d"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(duration), shown, "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "5w",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn tables_merge_and_everything_else_is_replaced() {
        let mut lower: Table = "a = 1\n[t]\nx = [1, 2]\ny = 2".parse().unwrap();
        lay_over(&mut lower, "[t]\nx = [3]\nz = 4".parse().unwrap());
        let expected: Table = "a = 1\n[t]\nx = [3]\ny = 2\nz = 4".parse().unwrap();
        assert_eq!(lower, expected);
    }

    #[test]
    fn instants_may_stand_without_quotation_marks() {
        let notes = Notes::default();
        let table = parse("x", "at = 2022-08-12T19:00:00+08:00\nopens = 09:00:00", &notes);
        assert_eq!(table["at"].as_str(), Some("2022-08-12T19:00:00+08:00"));
        assert_eq!(table["opens"].as_str(), Some("09:00:00"));
        assert!(notes.into_problems().is_empty());
    }
}
