//! `holdover journal verify`: reads every byte of a stopped daemon's journal.
//!
//! Exit codes: 0 intact, 5 damaged, 4 a daemon has the folder, 3 there is no such folder, 1 the
//! disk did not answer. `--json` prints one object; scripts may rest on
//!
//! ```text
//!   intact   whether a start would accept it and lose nothing that was synced
//!   first    the first record that is here
//!   last     the last record that a start would recover
//!   records  how many intact records there are, by what they say
//!   damage   file, offset, kind, seq_from, seq_to, message, next, covered (by a snapshot, so
//!            that a start serves without): one entry for each place.
//!            seq_from and seq_to are the records that are lost, the last one included; both are
//!            null where none is, and seq_to alone where nobody knows how many
//!   files    file, kind, bytes, records, synced_up_to, intact, unsynced_tail (offset, bytes)
//! ```

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::journal::verify::{FileReport, VerifyReport};
use crate::journal::{Damage, OpenError};
use serde_json::{Value, json};
use std::path::PathBuf;

/// What the journal on disk holds.
#[derive(Debug, Clone, clap::Subcommand)]
pub(super) enum Journal {
    /// Check every record of a stopped daemon's journal; exit code 5 when it is damaged
    Verify {
        /// The data folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// It is an archive of segments that have left a journal
        #[arg(long)]
        archive: bool,
    },
}

/// `holdover journal verify`: what each file holds, and what is damaged.
pub(super) fn verify(out: &Out, verb: &Journal) -> Result<Exit, Failure> {
    let Journal::Verify { folder, archive } = verb;
    let report = crate::journal::verify::verify(folder, *archive).map_err(unread)?;
    out.data(&shape(&report), || text(&report));
    Ok(if report.is_intact() { Exit::Success } else { Exit::NotReady })
}

fn unread(error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::Locked => Exit::Conflict,
        OpenError::NoJournal => Exit::NotFound,
        OpenError::Io(io) if io.kind() == std::io::ErrorKind::NotFound => Exit::NotFound,
        OpenError::Io(_)
        | OpenError::Missing { .. }
        | OpenError::Damaged { .. }
        | OpenError::Newer { .. }
        | OpenError::Partition { .. }
        | OpenError::OtherClock { .. }
        | OpenError::ClockApart { .. } => Exit::Failure,
    };
    Failure::local(exit, error.to_string())
}

fn shape(report: &VerifyReport) -> Value {
    let damage = |damage: &Damage| {
        let (from, to) = damage.lost().map_or((None, None), |(from, to)| (Some(from), to));
        json!({
            "file": damage.file, "offset": damage.offset, "kind": damage.kind,
            "seq_from": from.map(|seq| seq.0), "seq_to": to.map(|seq| seq.0),
            "message": damage.message(), "next": damage.next(),
            "covered": damage.covered,
        })
    };
    let file = |file: &FileReport| {
        let tail = file.tail.map(|tail| json!({ "offset": tail.offset, "bytes": tail.bytes }));
        json!({
            "file": file.file, "kind": file.kind, "bytes": file.bytes, "records": file.records,
            "synced_up_to": file.synced_up_to.map(|seq| seq.0),
            "intact": file.damage.is_empty(), "unsynced_tail": tail,
        })
    };
    json!({
        "intact": report.is_intact(), "first": report.first.0, "last": report.last.0,
        "records": report.by_kind,
        "damage": report.damage().map(damage).collect::<Vec<_>>(),
        "files": report.files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn text(report: &VerifyReport) -> String {
    let mut text = String::new();
    for FileReport { file, bytes, records, damage, tail, .. } in &report.files {
        let word = if damage.is_empty() { "intact" } else { "DAMAGED" };
        text += &format!("{file:<29} {records:>8} records {bytes:>12} bytes  {word}\n");
        if let Some(tail) = tail {
            text += &format!(
                "  from byte {} on {} bytes were never synced: the next start cuts them\n",
                tail.offset, tail.bytes
            );
        }
    }
    for damage in report.damage() {
        let Damage { file, offset, .. } = damage;
        text += &format!("{file} at byte {offset}: {}\n", damage.message());
        text += &format!("  what to do: {}\n", damage.next());
    }
    let word = if report.is_intact() { "intact" } else { "DAMAGED" };
    text + &format!("last record {}: {word}\n", report.last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Seq;
    use crate::journal::verify::FileKind;
    use crate::journal::{DamageKind, Tail};

    fn report() -> VerifyReport {
        let damage = |kind, file: &str, offset, first, records| {
            let (file, first) = (file.to_owned(), Seq(first));
            Damage { kind, file, offset, first, records, covered: false }
        };
        let file = |name: &str, kind, damage, tail| FileReport {
            file: name.to_owned(),
            kind,
            bytes: 65_536,
            records: 90,
            synced_up_to: (kind == FileKind::Segment).then_some(Seq(100)),
            damage,
            tail,
        };
        let one = "00000000000000000001.segment";
        let lost = damage(DamageKind::Records, one, 5000, 8, 3);
        let tail = Some(Tail { offset: 700, bytes: 44 });
        let keys = "00000000000000000001.keys";
        let broken = vec![damage(DamageKind::Keys, keys, 0, 1, 0)];
        VerifyReport {
            files: vec![
                file(one, FileKind::Segment, vec![lost], None),
                file("00000000000000000301.segment", FileKind::Segment, Vec::new(), tail),
                file(keys, FileKind::Keys, broken, None),
            ],
            missing: vec![
                damage(DamageKind::SegmentMissing, "00000000000000000101.segment", 0, 101, 200),
                damage(DamageKind::SegmentMissing, "00000000000000000401.segment", 0, 401, 0),
            ],
            first: Seq(1),
            begins: Seq(1),
            last: Seq(400),
            held: Seq(0),
            by_kind: [("accepted", 180)].into(),
        }
    }

    #[test]
    fn the_json_has_the_fields_that_scripts_rest_on() {
        let shape = shape(&report());
        let places: Vec<Value> = shape["damage"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| json!([d["file"], d["offset"], d["kind"], d["seq_from"], d["seq_to"]]))
            .collect();
        let expected = json!([
            ["00000000000000000101.segment", 0, "segment_missing", 101, 300],
            ["00000000000000000401.segment", 0, "segment_missing", 401, null],
            ["00000000000000000001.segment", 5000, "records", 8, 10],
            ["00000000000000000001.keys", 0, "keys", null, null],
        ]);
        assert_eq!(json!(places), expected);
        let said = shape["damage"][2]["message"].as_str().unwrap();
        assert_eq!(said, "records are not what was written: records 8 to 10 are lost");
        assert!(shape["damage"][2]["next"].as_str().unwrap().starts_with("restore this file"));
        assert_eq!((&shape["intact"], &shape["last"]), (&json!(false), &json!(400)));
        assert_eq!(
            shape["files"][1],
            json!({
                "file": "00000000000000000301.segment", "kind": "segment", "bytes": 65_536,
                "records": 90, "synced_up_to": 100, "intact": true,
                "unsynced_tail": { "offset": 700, "bytes": 44 },
            })
        );
    }

    #[test]
    fn the_text_names_file_offset_damage_and_what_to_do() {
        let text = text(&report());
        let expected = "\
00000000000000000001.segment        90 records        65536 bytes  DAMAGED
00000000000000000301.segment        90 records        65536 bytes  intact
  from byte 700 on 44 bytes were never synced: the next start cuts them
00000000000000000001.keys           90 records        65536 bytes  DAMAGED
00000000000000000101.segment at byte 0: the segment is missing: records 101 to 300 are lost
  what to do: restore this file and those that are missing behind it, from a copy or, where they \
had left the journal, from archive/; without them, serve --quarantine lets the rest be looked at
00000000000000000401.segment at byte 0: the segment is missing: every record from 401 on is lost
  what to do: restore this file and those that are missing behind it, from a copy or, where they \
had left the journal, from archive/; without them, serve --quarantine lets the rest be looked at
00000000000000000001.segment at byte 5000: records are not what was written: records 8 to 10 are \
lost
  what to do: restore this file from a copy; without one, serve --quarantine lets the intact rest \
be looked at
00000000000000000001.keys at byte 0: the run of keys is not what was written: no record is lost
  what to do: nothing: the next start makes it again from its segment
last record 400: DAMAGED
";
        assert_eq!(text, expected);
    }
}
