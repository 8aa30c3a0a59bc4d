//! The simulated core's log: one line of JSON for each call, on the file before it is answered.
//!
//! The log is the evidence that the proofs of the demo count from, so it is written without a
//! buffer of its own and a line that cannot be written stops the core.

use crate::domain::time::Timestamp;
use serde::{Serialize, Serializer};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// It was applied.
    Effect,
    /// It was recognised and got its first answer again.
    Repeat,
    /// It was refused.
    Refused,
    /// It was turned away: 429, 503 or a maintenance page.
    Shed,
    /// Its connection was cut before it was applied.
    LostBefore,
    /// A question.
    Question,
    /// A probe.
    Probe,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    pub(super) instant_ms: i64,
    pub(super) instant: Timestamp,
    pub(super) upstream: &'a str,
    pub(super) kind: Kind,
    pub(super) transaction: Option<&'a str>,
    pub(super) key: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    pub(super) cell: Option<&'a str>,
    pub(super) business: Option<&'a str>,
    pub(super) operation: Option<&'a str>,
    #[serde(serialize_with = "number")]
    pub(super) attempt: Option<&'a str>,
    #[serde(serialize_with = "truth")]
    pub(super) repeat: Option<&'a str>,
    pub(super) accepted_at: Option<&'a str>,
    pub(super) occurred_at: Option<&'a str>,
    pub(super) received_from_person_at: Option<&'a str>,
    pub(super) answer_lost: bool,
    /// Applied after its loss had been noticed.
    pub(super) late: bool,
    /// The place of an effect among all effects of this core, from 1.
    pub(super) seq: Option<u64>,
    pub(super) code: Option<&'a str>,
    /// The status of the answer; none where there was no answer.
    pub(super) status: Option<u16>,
}

fn number<S: Serializer>(text: &Option<&str>, s: S) -> Result<S::Ok, S::Error> {
    text.and_then(|text| text.parse::<u32>().ok()).serialize(s)
}

fn truth<S: Serializer>(text: &Option<&str>, s: S) -> Result<S::Ok, S::Error> {
    text.and_then(|text| text.parse::<bool>().ok()).serialize(s)
}

/// The file, opened to append.
pub(super) struct Log {
    file: File,
    line: Vec<u8>,
}

impl Log {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, line: Vec::with_capacity(1024) })
    }

    pub(super) fn write(&mut self, line: &Line<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)?;
        self.line.push(b'\n');
        self.file.write_all(&self.line)
    }
}
