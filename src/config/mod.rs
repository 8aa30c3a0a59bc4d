//! Configuration: files laid over the embedded defaults, read in one go, every problem told.
//!
//! `raw` is the files as they are, `model` is complete and valid, `read` stands between them,
//! `check` holds the rules about windows, `planned` is recurring stops and service hours, `webhooks` who is told,
//! `difference` is what sets two of them apart. Nothing here starts, opens or connects anything.

mod attachments;
mod attributes;
mod check;
mod difference;
mod model;
mod planned;
mod raw;
mod read;
mod secret;
mod webhooks;

pub use check::{calendar_lack, check, how_to_add, render};
pub use difference::{Changed, Takes, difference};
pub use model::{
    Config, Data, Index, Institutions, IntakeKafka, Journal, Limits, Listen, Log, LogFormat,
    LogLevel, Probe, PublishKafka, Upstream, Way, Webhook,
};
pub use read::{built_in_calendar, parse_calendar};
pub use secret::{Secret, SecretError};

use std::fmt;
use std::path::Path;

/// The defaults; every key is there, with its unit and why.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
/// The built-in working days.
pub const CALENDAR: &str = include_str!("../../config/calendars/cn.toml");

/// Whether a problem forbids the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It is worth a look.
    Warning,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a key path, or `file:line` where the file cannot be read at all.
    pub key: String,
    /// The value that stands there, where it may be shown.
    pub value: Option<String>,
    /// What is wrong, and what is allowed.
    pub why: String,
    /// How bad it is.
    pub severity: Severity,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Reads the configuration: the defaults, and each file laid over what came before.
///
/// # Errors
/// Every problem there is, when one of them is an error. What is left of a good configuration,
/// the warnings, is told by [`check`].
pub fn load(paths: &[&Path]) -> Result<Config, Vec<Problem>> {
    let mut texts = Vec::new();
    let mut unreadable = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => texts.push((name, text)),
            Err(error) => unreadable.push(Problem {
                key: name,
                value: None,
                why: format!("cannot be read: {error}"),
                severity: Severity::Error,
            }),
        }
    }
    if !unreadable.is_empty() {
        return Err(unreadable);
    }
    let texts: Vec<(&str, &str)> =
        texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    parse(&texts)
}

/// As [`load`], from texts with their names.
///
/// # Errors
/// See [`load`].
pub fn parse(texts: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    let config = read::read(texts)?;
    let problems = check(&config);
    if problems.iter().any(|p| p.severity == Severity::Error) { Err(problems) } else { Ok(config) }
}
