//! What the person in front of the demo sees while it runs: a bar on a terminal, plain lines
//! otherwise, nothing at all where only the final object is wanted.

use super::bodies::ZONE;
use super::schedule::{BEGINS, SLOT};
use crate::domain::time::Timestamp;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write, stderr, stdout};

/// Where lines go.
#[derive(Debug)]
pub struct Screen {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Screen {
    /// A screen for a run that lasts until `ends`; `quiet` keeps standard output free.
    #[must_use]
    pub fn new(quiet: bool, ends: Timestamp) -> Self {
        let slots = ends.since(BEGINS).as_secs() / SLOT.as_secs();
        let bar = (!quiet && stdout().is_terminal() && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(slots);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} %") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, quiet }
    }

    /// One line of the timeline.
    pub fn say(&self, at: Timestamp, what: &str) {
        let line = format!("{}  {what}", at.civil(ZONE).format("%a %d %b %H:%M"));
        match &self.bar {
            Some(bar) => bar.suspend(|| self.print(&line)),
            None => self.print(&line),
        }
    }

    /// The clock has reached `at`.
    pub fn reached(&self, at: Timestamp) {
        if let Some(bar) = &self.bar {
            bar.set_position(at.since(BEGINS).as_secs() / SLOT.as_secs());
            bar.set_message(at.civil(ZONE).format("%a %d %b %H:%M").to_string());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// A line without an instant.
    pub fn print(&self, line: &str) {
        if self.quiet {
            return;
        }
        // Nobody reads any more: the exit code still says how it went.
        drop(writeln!(stdout().lock(), "{line}"));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A run that was broken off leaves no half of a bar behind.
        self.finish();
    }
}
