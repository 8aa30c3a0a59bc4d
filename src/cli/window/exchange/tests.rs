//! Calendars in every form that is taken, each mistake by its line, and what an import makes of a
//! folder.

use super::*;
use crate::admin::types::DeclareWindow;

const SHANGHAI: Zone = chrono_tz::Asia::Shanghai;

fn calendar_of(events: &[&str]) -> String {
    let events: String =
        events.iter().map(|own| format!("BEGIN:VEVENT\r\n{own}\r\nEND:VEVENT\r\n")).collect();
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n")
}

fn one(own: &str) -> Result<Event, Vec<String>> {
    match events(&calendar_of(&[own]), SHANGHAI) {
        Ok(mut events) => Ok(events.remove(0)),
        Err(wrong) => Err(wrong.iter().map(ToString::to_string).collect()),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn times_are_taken_in_utc_in_a_named_zone_and_as_whole_days() {
    for (own, from, to, zone) in [
        (
            "DTSTART:20220812T110000Z\r\nDTEND:20220814T220000Z",
            "2022-08-12T19:00:00+08:00",
            "2022-08-15T06:00:00+08:00",
            "Asia/Shanghai",
        ),
        (
            "DTSTART;TZID=Asia/Shanghai:20220812T190000\r\nDURATION:P2DT11H",
            "2022-08-12T19:00:00+08:00",
            "2022-08-15T06:00:00+08:00",
            "Asia/Shanghai",
        ),
        (
            "DTSTART;TZID=\"Europe/Berlin\":20220812T130000\r\nDTEND;TZID=Asia/Shanghai:20220812T200000",
            "2022-08-12T19:00:00+08:00",
            "2022-08-12T20:00:00+08:00",
            "Europe/Berlin",
        ),
        (
            "DTSTART;VALUE=DATE:20220812\r\nDTEND;VALUE=DATE:20220814",
            "2022-08-12T00:00:00+08:00",
            "2022-08-14T00:00:00+08:00",
            "Asia/Shanghai",
        ),
        (
            "DTSTART;VALUE=DATE:20220812",
            "2022-08-12T00:00:00+08:00",
            "2022-08-13T00:00:00+08:00",
            "Asia/Shanghai",
        ),
    ] {
        let event = one(&format!("UID:a\r\n{own}")).unwrap_or_else(|e| panic!("{own}: {e:?}"));
        assert_eq!((event.starts_at, event.ends_at), (at(from), at(to)), "{own}");
        assert_eq!(event.zone.name(), zone);
    }
}

#[test]
fn a_mistake_is_told_by_its_line_and_its_property() {
    let start = "UID:a\r\nDTSTART:20220812T110000Z";
    let no_zone = "has no zone: give it a TZID, or write it in UTC, with a Z at its end";
    for (own, expected) in [
        ("UID:a\r\nDTSTART:20220812T190000".to_owned(), format!("line 5, DTSTART: {no_zone}")),
        (
            "UID:a\r\nDTSTART;TZID=China Standard Time:20220812T190000".to_owned(),
            "line 5, DTSTART: TZID China Standard Time is no name of the time zone database, such \
             as Asia/Shanghai"
                .to_owned(),
        ),
        (start.to_owned(), "line 5, DTSTART: needs a DTEND or a DURATION beside it".to_owned()),
        (
            format!("{start}\r\nDTEND:20220812T110000Z"),
            "line 6, DTEND: is not after DTSTART".to_owned(),
        ),
        (
            format!("{start}\r\nDURATION:2H"),
            "line 6, DURATION: expected a duration such as PT2H30M or P1D".to_owned(),
        ),
        (
            format!("{start}\r\nDTEND:2022-08-13"),
            "line 6, DTEND: expected a time as yyyymmddThhmmss, or VALUE=DATE and yyyymmdd"
                .to_owned(),
        ),
        (
            format!("{start}\r\nDTEND;VALUE=DATE:2022-08-13"),
            "line 6, DTEND: expected a day as yyyymmdd".to_owned(),
        ),
        (
            "DTSTART:20220812T110000Z".to_owned(),
            "line 3, UID: is missing from this event".to_owned(),
        ),
        (
            format!("{start}\r\nDURATION:PT1H\r\nSEQUENCE:x"),
            "line 7, SEQUENCE: expected a number".to_owned(),
        ),
    ] {
        assert_eq!(one(&own), Err(vec![expected]), "{own}");
    }
    let cut = events("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\n", SHANGHAI).unwrap_err();
    assert_eq!(cut[0].to_string(), "line 1, BEGIN: has no END");
}

#[test]
fn durations_are_read_in_every_unit() {
    let seconds = |text| duration(text).map(|d| d.as_secs());
    assert_eq!(seconds("P2W"), Some(1_209_600));
    assert_eq!(seconds("P1DT2H3M4S"), Some(93_784));
    assert_eq!(seconds("+PT90M"), Some(5400));
    for wrong in ["", "P", "1D", "PT", "P1H", "PT1D", "PT5", "-PT5M", "P99999999999999999999D"] {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}

fn stop(sequence: u32, end: &str, more: &str) -> Event {
    let own = format!(
        "UID:Move 42@bureau.example\r\nSEQUENCE:{sequence}\r\nSUMMARY:停机\\, 第一次\r\n\
         DTSTART;TZID=Asia/Shanghai:20220812T190000\r\nDTEND;TZID=Asia/Shanghai:{end}{more}\r\n\
         BEGIN:VALARM\r\nTRIGGER:-PT1H\r\nSUMMARY:an alarm\r\nEND:VALARM"
    );
    one(&own).unwrap()
}

#[test]
fn a_draft_moves_with_a_higher_sequence_and_keeps_what_a_person_has_written() {
    let folder = tempfile::tempdir().unwrap();
    let first = keep(folder.path(), stop(1, "20220815T060000", "")).unwrap();
    assert_eq!(first.became, Became::New);
    assert!(first.id.as_str().starts_with("move-42-"), "{}", first.id);
    let file = first.file.clone();
    let draft = std::fs::read_to_string(&file).unwrap();
    // It has no rows, so it is no window yet.
    let table = |text: &str| {
        let mut table: toml::Table = text.parse().unwrap();
        table.insert("id".to_owned(), first.id.as_str().into());
        serde_json::to_value(table).unwrap()
    };
    let refused = serde_json::from_value::<DeclareWindow>(table(&draft)).unwrap_err();
    assert!(refused.to_string().contains("missing field `policy`"), "{refused}");
    let rows = "\n# decided on Monday\n[[policy]]\nclause = \"1\"\ndisposition = \"hold\"\nends_at = \
                \"2022-08-14T06:00:00+08:00\"\n";
    std::fs::write(&file, draft.clone() + rows).unwrap();

    let again = keep(folder.path(), stop(1, "20220816T060000", "")).unwrap();
    assert_eq!(again.became, Became::Unchanged, "the same sequence");
    assert_eq!(
        keep(folder.path(), stop(0, "20220816T060000", "")).unwrap().became,
        Became::Unchanged
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), draft.clone() + rows);

    let moved = keep(folder.path(), stop(2, "20220816T060000", "")).unwrap();
    assert_eq!((moved.became, &moved.file), (Became::Updated, &file));
    let text = std::fs::read_to_string(&file).unwrap();
    let expected = draft
        .replace("sequence = 1", "sequence = 2")
        .replace("2022-08-15T06:00:00+08:00", "2022-08-16T06:00:00+08:00");
    assert_eq!(text, expected + rows, "the row's own end is its own");
    let window: DeclareWindow = serde_json::from_value(table(&text)).unwrap();
    assert_eq!(window.ends_at, Some(at("2022-08-16T06:00:00+08:00")));
    assert_eq!(window.policy.len(), 1);

    // Taken back, however often, and on again.
    let cancelled = "\r\nSTATUS:CANCELLED";
    for _ in 0..2 {
        let gone = keep(folder.path(), stop(3, "20220816T060000", cancelled)).unwrap();
        assert_eq!(gone.became, Became::Lapsed);
        assert!(!file.exists() && gone.file.exists());
    }
    assert_eq!(
        keep(folder.path(), stop(2, "20220816T060000", "")).unwrap().became,
        Became::Unchanged
    );
    assert!(!file.exists());
    assert_eq!(
        keep(folder.path(), stop(4, "20220817T060000", "")).unwrap().became,
        Became::Updated
    );
    assert!(std::fs::read_to_string(&file).unwrap().ends_with(rows));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_recurs_is_one_draft_that_names_its_rule() {
    let folder = tempfile::tempdir().unwrap();
    let weekly = stop(1, "20220812T210000", "\r\nRRULE:FREQ=WEEKLY;BYDAY=FR;COUNT=10");
    let kept = keep(folder.path(), weekly).unwrap();
    let text = std::fs::read_to_string(&kept.file).unwrap();
    assert!(text.contains("\n# rule = \"FREQ=WEEKLY;BYDAY=FR;COUNT=10\"\n"), "{text}");
    assert!(text.contains("\nstarts_at = \"2022-08-12T19:00:00+08:00\"\n"), "{text}");
    // One occurrence that was moved is a draft of its own.
    let own = "\r\nRECURRENCE-ID;TZID=Asia/Shanghai:20220819T190000";
    let other = keep(folder.path(), stop(1, "20220812T220000", own)).unwrap();
    assert_eq!(other.became, Became::New);
    assert_ne!(other.id, kept.id);
}

#[test]
fn what_is_exported_is_declared_and_imported_again_with_the_same_times() {
    let exported: WindowOut = serde_json::from_value(serde_json::json!({
        "id": "stop", "version": 3, "phase": "scheduled", "zone": "Asia/Shanghai",
        "starts_at": "2022-08-12T19:00:00+08:00", "ends_at": "2022-08-15T06:00:00+08:00",
        "published_starts_at": "2022-08-12T19:00:00+08:00",
        "published_ends_at": "2022-08-15T06:00:00+08:00", "next_edge_at": null,
        "author": "Li Na", "reason": "as agreed", "changed_at": "2022-08-10T09:00:00+08:00",
        "cancelled_at": null, "restore_by": "probes",
        "notice": {"source": "北京市医疗保障局", "published_at": "2022-08-09T10:00:00+08:00"},
        "deadlines": {"rule": "first_full_working_day", "clause": "3", "legal_basis": "the notice",
            "business": ["filing.*"], "restart_of": ["agency"]},
        "policy": [
            {"clause": "1", "cells": {"upstream": ["agency"]}, "disposition": "hold"},
            {"clause": "2", "cells": {"business": ["filing.*"]}, "disposition": "pre_accept",
                "ends_at": "2022-08-14T06:00:00+08:00"},
            {"clause": "3", "cells": {"upstream": ["portal"]}, "disposition": "hold"},
            {"clause": "1", "cells": {"upstream": ["portal"]}, "disposition": "hold"},
        ],
        "restores": [], "releases": [],
    }))
    .unwrap();
    let text = declared(&exported).unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    table.insert("id".to_owned(), "stop".into());
    let again: DeclareWindow =
        serde_json::from_value(serde_json::to_value(table).unwrap()).unwrap();
    assert_eq!(again.policy, exported.policy);
    assert_eq!(again.notice, exported.notice);
    assert_eq!(again.deadlines, exported.deadlines);
    assert_eq!(again.restore_by, exported.restore_by);
    let times = (again.starts_at, again.ends_at, again.zone);
    assert_eq!(times, (Some(exported.starts_at), Some(exported.ends_at), Some(SHANGHAI)));

    let written = calendar(&exported);
    let summaries: Vec<&str> =
        written.lines().filter_map(|line| line.strip_prefix("SUMMARY:")).collect();
    let expected = ["1\\, 3", "2"].map(|of| format!("计划停机 / Planned stop stop: {of}"));
    assert_eq!(summaries, expected, "each clause once");
    let read = events(&written, SHANGHAI).unwrap();
    let told: Vec<_> =
        read.iter().map(|e| (e.uid.as_str(), e.sequence, e.starts_at, e.ends_at)).collect();
    let starts_at = exported.starts_at;
    assert_eq!(
        told,
        [
            ("stop@holdover", 3, starts_at, exported.ends_at),
            ("stop.2@holdover", 3, starts_at, at("2022-08-14T06:00:00+08:00")),
        ]
    );
}
