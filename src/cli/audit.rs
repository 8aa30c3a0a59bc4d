//! `holdover audit`: the log of operators' acts. `verify` reads the file itself, so that it works
//! on a stopped daemon and on a copy.

use super::Run;
use super::client::query;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::audit::{AuditError, Loss, is_cut, verify};
use crate::admin::types::AuditOut;
use crate::journal::verify::noted_audit;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Check the chain of the log from its first line to its last; names the first bad line
    ///
    /// Exit code 5 when a line was changed, or lines are missing that the journal or --head know.
    /// Losses that the log itself tells of are counted, and stay green: they were told when they
    /// were found.
    Verify {
        /// The log
        #[arg(value_name = "FILE", default_value = "data/audit.log")]
        file: PathBuf,
        /// A head hash that was noted earlier, besides what the journal in the same folder notes
        #[arg(long, value_name = "HASH")]
        head: Option<String>,
    },
    /// Show the last records, and the head to be noted elsewhere
    Tail {
        /// How many records, at most 500
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        limit: usize,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::Verify { file, head } => check(run, &file, head.as_deref()),
            Self::Tail { limit } => tail(run, limit).await,
        }
    }
}

fn check(run: &Run, file: &Path, head: Option<&str>) -> Result<Exit, Failure> {
    // First: the log may grow meanwhile, and is never behind what the journal noted.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let noted = noted_audit(folder.unwrap_or(Path::new("."))).map_err(|error| {
        Failure::of(format!("what the journal noted of the audit log cannot be read: {error}"))
    })?;
    let cut = noted.as_ref().map(|noted| is_cut(file, noted)).transpose();
    if let (Some(noted), Ok(Some(true))) = (&noted, &cut) {
        let why = format!(
            "the journal noted {} records and head {}: lines were cut off, or the log was removed",
            noted.records, noted.hash
        );
        let line = verify(file, None).map_or(1, |summary| summary.head.records + 1);
        run.out.data(&json!({ "intact": false, "line": line, "why": why }), || {
            format!("NOT INTACT: line {line}: {why}\n")
        });
        return Ok(Exit::NotReady);
    }
    match verify(file, head) {
        Ok(summary) => {
            run.out.data(&json!({ "intact": true, "summary": summary }), || {
                let (head, told) = (&summary.head, told(&summary.losses));
                format!("intact: {} records, head {}\n{told}", head.records, head.hash)
            });
            if !summary.unfinished.is_empty() {
                let numbers: Vec<String> =
                    summary.unfinished.iter().map(ToString::to_string).collect();
                run.out.note(&format!("acts without a known end: {}", numbers.join(", ")));
            }
            if summary.torn_bytes > 0 {
                run.out.note(&format!(
                    "{} bytes at the end are of a write that was cut off before it was promised",
                    summary.torn_bytes
                ));
            }
            if head.is_none() && noted.is_none() {
                run.out.note(
                    "no journal beside it notes its end: without --head a log whose last lines \
                     were cut off looks intact",
                );
            }
            Ok(Exit::Success)
        }
        Err(AuditError::Bad(bad)) => {
            run.out.data(&json!({ "intact": false, "line": bad.line, "why": bad.why }), || {
                format!("NOT INTACT: line {}: {}\n", bad.line, bad.why)
            });
            Ok(Exit::NotReady)
        }
        Err(AuditError::Io { path, source }) => {
            let missing = source.kind() == std::io::ErrorKind::NotFound;
            let exit = if missing { Exit::NotFound } else { Exit::Failure };
            Err(Failure::local(exit, format!("{}: {source}", path.display())))
        }
        Err(error @ AuditError::Poisoned) => Err(Failure::local(Exit::Failure, error.to_string())),
    }
}

/// What the log tells of its own losses. They do not make it red: a person was told when each was
/// found, and no act can bring the lines back.
fn told(losses: &[Loss]) -> String {
    if losses.is_empty() {
        return String::new();
    }
    let places: Vec<String> =
        losses.iter().map(|loss| format!("line {} of {}", loss.line, loss.at)).collect();
    format!("losses that it tells of: {} ({})\n", losses.len(), places.join(", "))
}

async fn tail(run: &Run, limit: usize) -> Result<Exit, Failure> {
    let path = query("/admin/v1/audit", &[("limit", Some(limit.to_string()))]);
    let log: AuditOut = run.client.get(&path).await?;
    run.out.table(&log, || {
        let headings = ["record", "at", "actor", "action", "object", "outcome", "reason"];
        let mut table = Table::new(&headings);
        for record in &log.records {
            let entry = &record.entry;
            let code = entry.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
            table.row([
                record.seq.to_string(),
                run.client.shown(entry.at),
                plain(&entry.actor),
                plain(&entry.action),
                plain(&entry.object),
                format!("{}{}", entry.outcome, plain(&code)),
                plain(&entry.reason),
            ]);
        }
        table
    });
    run.out.note(&format!("head {} after {} records", log.head.hash, log.head.records));
    run.out.next("holdover audit verify FILE --head HASH");
    Ok(Exit::Success)
}
