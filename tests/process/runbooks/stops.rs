//! Scenes of planned stops: windows, gates, and a core that comes back early, late or wrong.

use super::page::Page;
use super::stage::Stage;
use crate::rig::after;
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A stop as its file has it: advices are held, requests become tickets, filings wait for a
/// person's word.
pub(super) fn rows() -> Value {
    json!({
        "notice": { "source": "the bureau", "published_at": "2026-01-05T10:00:00+08:00" },
        "policy": [
            { "clause": "1", "disposition": "hold",
              "cells": { "business": ["settlement.*"], "operation": ["advice"] } },
            { "clause": "1", "disposition": "pass_or_ticket", "advice": "charge_full",
              "cells": { "business": ["settlement.*"], "operation": ["request"] } },
            { "clause": "2", "disposition": "hold_for_release", "advice": "materials_taken",
              "cells": { "business": ["filing.*"] } },
            { "clause": "3", "disposition": "refuse", "advice": "come_back",
              "cells": { "business": ["service.*", "reimbursement.*"] } },
            { "clause": "not_in_notice", "disposition": "refuse", "advice": "come_back",
              "decided_because": "a refund can wait",
              "cells": { "business": ["settlement.*"], "operation": ["cancel"] } },
        ],
    })
}

/// Declares the window `move` over these instants from now.
pub(super) fn declare_over(stage: &Stage, restore_by: &str, from: Duration, to: Duration) {
    let mut body = rows();
    let more = json!({
        "id": "move", "reason": "the core is moved", "restore_by": restore_by,
        "starts_at": after(from).to_string(), "ends_at": after(to).to_string(),
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage.act("/admin/v1/windows", &body);
}

/// A window that is on, for so long.
pub(super) fn on(stage: &Stage, restore_by: &str, lasts: Duration) {
    declare_over(stage, restore_by, Duration::from_millis(300), lasts);
    stage.until_phase("move", "active");
}

fn window(stage: &Stage) -> Value {
    stage.look("/admin/v1/windows/move")
}

/// Writes the rows as the file that an operator has made.
fn file_of_rows(stage: &Stage, restore_by: &str) {
    let mut table = toml::Table::try_from(rows()).unwrap();
    table.insert("restore_by".to_owned(), restore_by.into());
    std::fs::write(stage.etc.join("move.toml"), table.to_string()).unwrap();
}

pub(super) fn declare(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    file_of_rows(&stage, "probes");
    assert_eq!(stage.look("/admin/v1/windows")["items"], json!([]));
    let mut shell = stage.open(page);
    shell.section("Steps");
    let declared = window(&stage);
    assert_eq!((&declared["phase"], &declared["author"]), (&json!("scheduled"), &json!("Li Na")));
    assert_eq!(declared["policy"].as_array().map(Vec::len), Some(5));
    let printed = shell.printed();
    assert!(printed.contains("\"disposition\":\"hold\""), "what a hospital is told: {printed}");
    file_of_rows(&stage, "signed");
    shell.section("To change it");
    let changed = window(&stage);
    assert_eq!((&changed["version"], &changed["restore_by"]), (&json!(2), &json!("signed")));
    assert_eq!(changed["starts_at"], declared["starts_at"], "the times stay");
    assert!(shell.printed().contains("/restore_by: probes -> signed"), "what was changed");
    shell.section("To take it back");
    assert_eq!(stage.phase("move"), "cancelled");
    shell.close();
}

pub(super) fn weekend(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    let from = Duration::from_secs(6);
    declare_over(&stage, "probes", from, Duration::from_secs(10));
    assert_eq!(stage.phase("move"), "scheduled");
    let before = stage.advice("before");
    stage.until("applied", 1);
    let mut shell = stage.open(page);
    shell.section("A week before");
    shell.section("Friday, two hours before");
    stage.until_phase("move", "active");
    stage.site.core.script_all(&json!({ "probe_fails": true }));
    let held = stage.advice("held");
    shell.section("At the stop");
    shell.section("Saturday and Sunday, every four hours");
    assert!(shell.printed().contains(&held), "the held one is shown");
    assert_eq!((stage.state(&held), stage.state(&before)), ("waiting".into(), "applied".into()));
    shell.section("Two hours before the planned end");
    stage.until_phase("move", "verifying");
    shell.section("At the planned end");
    assert!(shell.printed().contains("past its planned end and not proved back"));
    stage.site.core.script_all(&json!({}));
    stage.until("applied", 2);
    shell.section("While the backlog is sent");
    assert_eq!(stage.phase("move"), "replaying", "filings wait for their districts");
    shell.section("Monday, before going home");
    shell.close();
    stage.until_phase("move", "completed");
    assert_eq!((stage.effects("before"), stage.effects("held")), (1, 1));
    stage.balanced();
}

pub(super) fn extend(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    on(&stage, "signed", HOUR);
    let before = window(&stage);
    stage.play(page);
    let extended = window(&stage);
    assert_eq!((&extended["version"], &extended["phase"]), (&json!(2), &json!("active")));
    assert!(extended["ends_at"].as_str() > before["ends_at"].as_str(), "{extended}");
}

pub(super) fn end_early(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    on(&stage, "probes", HOUR);
    stage.advice("held");
    assert_eq!(stage.items("waiting"), 1);
    stage.play(page);
    stage.until_phase("move", "completed");
    stage.until("applied", 1);
    assert_eq!(stage.effects("held"), 1);
    stage.balanced();
}

pub(super) fn back_early(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    on(&stage, "signed", HOUR);
    stage.advice("held");
    let filing = stage.taken(3, "filing.out_of_area", "apply", "filing");
    assert_eq!(stage.items("waiting"), 2);
    stage.play(page);
    stage.until("applied", 1);
    assert_eq!((stage.effects("held"), stage.state(&filing).as_str()), (1, "waiting"));
    assert_eq!(stage.phase("move"), "active", "the rest stands as planned");
    stage.balanced();
}

pub(super) fn back_late(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    stage.site.core.script_all(&json!({ "probe_fails": true }));
    on(&stage, "probes", Duration::from_secs(4));
    let held = stage.advice("held");
    stage.until_phase("move", "verifying");
    let printed = stage.play(page);
    assert!(printed.contains("past its planned end and not proved back"), "{printed}");
    assert_eq!(stage.phase("move"), "active", "it is before its end again");
    let end: Timestamp = window(&stage)["ends_at"].as_str().unwrap().parse().unwrap();
    assert!(end > after(HOUR), "{end}");
    stage.site.core.script_all(&json!({}));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.state(&held), "waiting", "good probes before the new end open nothing");
    assert_eq!(stage.effects("held"), 0);
}

pub(super) fn answers_wrongly(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    let id = stage.advice("wrong");
    stage.until("applied", 1);
    stage.set("TRANSACTION", &id);
    let mut shell = stage.open(page);
    shell.section("Steps");
    let held = stage.advice("held");
    assert_eq!(stage.state(&held), "waiting");
    shell.rest();
    shell.close();
    stage.until("applied", 2);
    assert_eq!((stage.state(&held).as_str(), stage.effects("held")), ("applied", 1));
    assert_eq!(stage.look("/admin/v1/gates")["overrides"], json!([]));
}

pub(super) fn stuck(page: &Page) {
    let stage = Stage::new("");
    stage.start();
    let closing = json!({
        "cells": { "upstream": ["settlement"] }, "reason": "a drill",
        "until": after(HOUR).to_string(),
    });
    stage.act("/admin/v1/gates/close", &closing);
    stage.advice("held");
    assert_eq!(stage.items("waiting"), 1);
    let printed = stage.play(page);
    assert!(printed.contains("closed_by_operator") && printed.contains("a drill"), "{printed}");
    stage.until("applied", 1);
    assert_eq!(stage.effects("held"), 1);
    stage.balanced();
}
