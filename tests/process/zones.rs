//! Instants are the same wherever the process runs, whatever a clock shows twice, and whoever
//! tells them. All on a driven clock, in the year of the stop.

use crate::rig::{Daemon, HOLDOVER, Site};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;

fn policy() -> Value {
    json!([
        { "clause": "1", "disposition": "hold", "cells": { "business": ["filing.*"] } },
        { "clause": "not_in_notice", "disposition": "pass", "decided_because": "not stopped" },
    ])
}

fn declare(daemon: &Daemon, mut window: Value) -> (u16, Value) {
    window["reason"] = json!("as the notice says");
    window["policy"] = policy();
    let published = "2022-03-01T10:00:00+08:00";
    window["notice"] = json!({ "source": "the bureau", "published_at": published });
    let answer = daemon.admin().send("POST", "/admin/v1/windows", &window).unwrap();
    (answer.status, answer.json())
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no instant: {value}")).parse().unwrap()
}

/// What the command line prints.
fn printed(site: &Site, daemon: &Daemon, args: &[&str]) -> String {
    let key = site.folder().join("operator.key");
    std::fs::write(&key, &site.operator).unwrap();
    let url = format!("http://{}", daemon.operators);
    let mut command = Command::new(HOLDOVER);
    // The zone of whoever looks is no zone of a window's.
    command.env("TZ", "America/New_York");
    command.args(["--admin", &url, "--key-file"]).arg(&key).args(args);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Every word of `text` that is an instant.
fn instants(text: &str) -> Vec<Timestamp> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

struct Driven {
    runtime: tokio::runtime::Runtime,
    clock: ClockServer,
}

fn driven(start: &str) -> Driven {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    let clock = runtime.block_on(ClockServer::bind(start.parse().unwrap(), &tasks)).unwrap();
    Driven { runtime, clock }
}

#[test]
fn c1_words_and_files_mean_the_same_instants_in_every_zone_of_the_machine() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["tests/fixtures/config/base.toml", "config/beijing-2022-08.toml"];
    let Driven { runtime, clock } = driven("2022-08-09T10:00:00+08:00");
    let site = Site::new("");
    let mut checked = Vec::new();
    for (number, zone) in
        ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati"].into_iter().enumerate()
    {
        let mut check = Command::new(HOLDOVER);
        check.env("TZ", zone).arg("check-config").args(files.map(|file| root.join(file)));
        let out = check.output().unwrap();
        assert!(out.status.success(), "{zone}: {out:?}");
        checked.push(String::from_utf8(out.stdout).unwrap());
        let mut serve = site.serve(&["--clock", &clock.addr().to_string()]);
        serve.env("TZ", zone);
        let daemon = site.run(serve).unwrap();
        let text = "定于8月12日19：00至8月15日6：00进行系统升级";
        let id = format!("by-words-{number}");
        let stop = json!({ "id": id, "text": text, "published": "2022-08-09" });
        let (status, told) = declare(&daemon, stop);
        assert_eq!(status, 201, "{told}");
        let [starts_at, ends_at] = ["starts_at", "ends_at"].map(|name| instant(&told[name]));
        assert_eq!(starts_at.to_string(), "2022-08-12T11:00:00Z", "{zone}");
        assert_eq!(ends_at.since(starts_at).as_secs(), 59 * 3600, "{zone}");
        let shown = printed(&site, &daemon, &["window", "show", &id]);
        assert!(shown.contains("2022-08-12T19:00:00+08:00"), "{zone}: {shown}");
        daemon.terminate();
        assert!(daemon.ended(std::time::Duration::from_secs(20)).success());
    }
    assert!(checked[0].contains("starts_at = \"2022-08-12T19:00:00+08:00\""));
    assert!(checked.iter().all(|text| *text == checked[0]), "the same in every zone");
    drop(runtime);
}

#[test]
fn c4_a_stop_over_a_change_of_the_clock_is_the_same_for_list_api_and_command_line() {
    let Driven { runtime, clock } = driven("2022-03-01T10:00:00+08:00");
    let site = Site::new("[limits]\nwindow_length_max = \"60d\"\n");
    let daemon = site.start_with(&["--clock", &clock.addr().to_string()]);
    let hospital = &site.submitters[0];
    // Over the hour that is skipped, and from half past two to half past two an hour later.
    for (id, starts_at, ends_at, minutes) in [
        ("gap", "2022-03-27T01:30:00+01:00", "2022-03-27T03:30:00+02:00", 60),
        ("fold", "2022-10-30T02:30:00+02:00", "2022-10-30T02:30:00+01:00", 60),
    ] {
        let stop = json!({
            "id": id, "zone": "Europe/Berlin", "starts_at": starts_at, "ends_at": ends_at,
        });
        let (status, told) = declare(&daemon, stop);
        assert_eq!(status, 201, "{told}");
        let expected: [Timestamp; 2] = [starts_at, ends_at].map(|text| text.parse().unwrap());
        assert_eq!(expected[1].since(expected[0]).as_secs(), minutes * 60);
        let of = |window: &Value| ["starts_at", "ends_at"].map(|name| instant(&window[name]));
        let in_list = |list: &Value| {
            let items = list["items"].as_array().unwrap();
            of(items.iter().find(|window| window["id"] == id).unwrap())
        };
        assert_eq!(of(&told), expected, "{told}");
        assert_eq!(of(&daemon.look(&format!("/admin/v1/windows/{id}"))), expected);
        assert_eq!(in_list(&daemon.look("/admin/v1/windows")), expected);
        let submitters = daemon.client(hospital).get("/v1/windows").unwrap().json();
        assert_eq!(in_list(&submitters), expected, "{submitters}");
        let listed = printed(&site, &daemon, &["window", "list"]);
        let line = listed.lines().find(|line| line.starts_with(id)).unwrap();
        assert_eq!(instants(line)[..2], expected, "{line}");
        let shown = printed(&site, &daemon, &["window", "show", id]);
        assert!(expected.iter().all(|at| instants(&shown).contains(at)), "{shown}");
        assert!(shown.contains(starts_at) && shown.contains(ends_at), "with its offset: {shown}");
    }
    // Words have no offset: what they leave open is refused.
    let words = json!({
        "id": "words", "zone": "Europe/Berlin", "published": "2022-10-01",
        "text": "10月30日2：30至10月30日6：00",
    });
    let (status, told) = declare(&daemon, words);
    assert_eq!((status, &told["errors"][0]["pointer"]), (422, &json!("/text")), "{told}");
    let why = told["errors"][0]["detail"].as_str().unwrap();
    assert!(why.contains("give both times as instants"), "{why}");
    drop(runtime);
}
