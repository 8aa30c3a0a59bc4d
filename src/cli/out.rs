//! What is printed: data to standard output, words to standard error.

use super::exit::Failure;
use serde::Serialize;
use std::io::{Write, stderr, stdout};

/// How to print.
pub(super) struct Out {
    /// Data as one JSON value.
    pub(super) json: bool,
    /// Whether headings may be bold.
    pub(super) color: bool,
    /// Whether a screen can be written over.
    pub(super) in_place: bool,
}

/// Rows under headings, aligned for people.
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    fn render(&self, color: bool) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|h| width(h)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for (cell, widest) in cells.zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', widest - width(cell) + 2));
            }
            text.trim_end().to_owned()
        };
        let heading = line(&mut self.headings.iter().copied());
        let mut text = if color { format!("\x1b[1m{heading}\x1b[0m\n") } else { heading + "\n" };
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

/// Columns that a text takes: Chinese characters and full-width signs take two.
pub(super) fn width(text: &str) -> usize {
    // Between Hangul and the signs of Chinese stand punctuation and symbols, which take one.
    let wide = |c| matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{ffe6}');
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// A text from the daemon without the characters that steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Out {
    /// Prints `value` as JSON, or as the text that `human` makes of it.
    /// `false` where nobody reads it any more.
    pub(super) fn data<T: Serialize>(&self, value: &T, human: impl FnOnce() -> String) -> bool {
        let text = if self.json {
            serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
        } else {
            human()
        };
        self.show(&text)
    }

    /// Prints `text` as it is; `false` where nobody reads it any more, which is no failure.
    pub(super) fn show(&self, text: &str) -> bool {
        let mut out = stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }

    /// Prints `value` as JSON, or the table that `human` makes of it and a line of summary.
    pub(super) fn table<T: Serialize>(&self, value: &T, human: impl FnOnce() -> Table) {
        self.tables(value, || [human()]);
    }

    /// The same with several tables; one without rows is left out.
    pub(super) fn tables<T: Serialize, const N: usize>(
        &self,
        value: &T,
        human: impl FnOnce() -> [Table; N],
    ) {
        self.data(value, || {
            let tables = human().into_iter().filter(|table| table.len() > 0);
            let texts: Vec<String> = tables.map(|table| table.render(self.color)).collect();
            if texts.is_empty() {
                self.note("nothing to list");
            }
            texts.join("\n")
        });
    }

    /// Says something to the person at the terminal.
    pub(super) fn note(&self, text: &str) {
        drop(writeln!(stderr().lock(), "{text}"));
    }

    /// Says what to do after a change.
    pub(super) fn next(&self, command: &str) {
        self.note(&format!("next: {command}"));
    }

    /// Says why the command failed.
    pub(super) fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Problem(problem) if self.json => {
                self.note(&serde_json::to_string(problem).unwrap_or_default());
            }
            Failure::Problem(problem) => {
                self.note(&format!("error: {} ({})", plain(&problem.detail), plain(&problem.code)));
                for field in &problem.errors {
                    let code = field.code.as_ref().map(|code| format!(" ({})", plain(code)));
                    let (pointer, detail) = (plain(&field.pointer), plain(&field.detail));
                    self.note(&format!("  {pointer}: {detail}{}", code.unwrap_or_default()));
                }
                if !problem.next.is_empty() {
                    self.note(&format!("what to do: {}", plain(&problem.next)));
                }
                if let Some(id) = &problem.request_id {
                    self.note(&format!("request: {}", plain(id)));
                }
            }
            Failure::Local(_, text) => self.note(&format!("error: {text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_under_chinese_texts() {
        let mut table = Table::new(&["clause", "state"]);
        table.row(["(二)1".to_owned(), "hold".to_owned()]);
        table.row(["not_in_notice".to_owned(), "refuse".to_owned()]);
        assert_eq!(
            table.render(false),
            "clause         state\n(二)1          hold\nnot_in_notice  refuse\n"
        );
        assert!(table.render(true).starts_with("\x1b[1mclause"));
    }

    #[test]
    fn what_a_daemon_sends_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a [2Jb c");
    }
}
