//! `holdover journal verify`: reads every byte of a stopped daemon's journal.

use super::exit::{Exit, Failure};
use super::out::Out;
use serde_json::json;
use std::path::PathBuf;

/// What the journal on disk holds.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum Journal {
    /// Check every record of a stopped daemon's journal
    Verify {
        /// The data folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// It is an archive of segments that have left a journal
        #[arg(long)]
        archive: bool,
    },
}

/// `holdover journal verify`: what each file holds.
pub(super) fn verify(out: &Out, verb: &Journal) -> Result<Exit, Failure> {
    let Journal::Verify { folder, archive } = verb;
    let report = crate::journal::verify::verify(folder, *archive).map_err(Failure::of)?;
    let damage = |damage: &crate::journal::Damage| format!("{damage:?}");
    let files: Vec<_> = report
        .files
        .iter()
        .map(|file| {
            json!({
                "file": file.file, "kind": format!("{:?}", file.kind).to_lowercase(),
                "bytes": file.bytes, "records": file.records,
                "synced_up_to": file.synced_up_to.map(|seq| seq.0),
                "damage": file.damage.iter().map(damage).collect::<Vec<_>>(),
                "unsynced_tail": file.tail.as_ref().map(|tail| format!("{tail:?}")),
            })
        })
        .collect();
    let intact = report.is_intact();
    let data = json!({
        "intact": intact, "first": report.first.0, "last": report.last.0, "missing": report.missing,
        "records": report.by_kind, "files": files,
    });
    out.data(&data, || {
        let mut text = String::new();
        for file in &files {
            text += &format!(
                "{:<28} {:>8} records {:>12} bytes  {}\n",
                file["file"].as_str().unwrap_or_default(),
                file["records"],
                file["bytes"],
                if file["damage"].as_array().is_none_or(Vec::is_empty) {
                    "intact"
                } else {
                    "damaged"
                },
            );
        }
        for name in &report.missing {
            text += &format!("{name} is missing\n");
        }
        text + &format!(
            "last record {}: {}\n",
            report.last,
            if intact { "intact" } else { "DAMAGED" }
        )
    });
    Ok(if intact { Exit::Success } else { Exit::NotReady })
}
