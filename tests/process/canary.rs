//! A planted credential and a planted identity number, through every endpoint and every way of
//! going wrong, at the most verbose log level: afterwards neither stands anywhere in clear.
//!
//! What is searched: every file of the data folder after a clean stop, the key files, the
//! daemon's log, `/metrics`, and all that was answered. The credential may be nowhere; the
//! number may be only where it is sealed. Both are searched as they are and in the forms that
//! programs give to texts. What people write into free-text reasons is refused where it holds
//! an identity number; nobody can tell a credential from a word there, so it is not planted.

use crate::rig::{Answer, Client, Site};
use holdover::domain::identity::synthetic_resident;
use holdover::domain::time::CivilDate;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The credential. Its signs look different in every encoding.
const SECRET: &str = "Zq7-canary/9+x=Kw\"4%u";

fn identity() -> String {
    synthetic_resident(110_101, CivilDate::from_ymd_opt(1990, 3, 7).unwrap(), 78)
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let one = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(one).collect()
}

/// What base64 makes of `bytes` at the three places where they may stand, without the signs
/// that depend on what stands around them.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> Vec<String> {
    let sextets = |shift: usize| {
        let bits: Vec<u8> = std::iter::repeat_n(0, shift * 8)
            .chain(bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)))
            .collect();
        let whole = bits.chunks_exact(6).map(|six| six.iter().fold(0, |n, bit| n << 1 | bit));
        let text: String = whole.map(|n| char::from(alphabet[usize::from(n)])).collect();
        text[(shift * 8).div_ceil(6)..].to_owned()
    };
    (0..3).map(sextets).collect()
}

/// Every form in which `text` may stand somewhere.
fn forms(text: &str) -> Vec<Vec<u8>> {
    const PLAIN: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let json = serde_json::to_string(text).unwrap();
    let inner = json.trim_matches('"').to_owned();
    let twice = serde_json::to_string(&inner).unwrap();
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    let bytes: Vec<String> = text.bytes().map(|b| b.to_string()).collect();
    let percent = percent_encoded(text);
    let mut forms = vec![
        text.to_owned(),
        inner,
        twice[1..twice.len() - 1].to_owned(),
        percent.to_lowercase(),
        percent,
        hex.to_uppercase(),
        hex,
        text.to_lowercase(),
        text.chars().rev().collect(),
        bytes.join(", "),
        format!("{text:?}").trim_matches('"').to_owned(),
    ];
    forms.extend([PLAIN, URL].iter().flat_map(|alphabet| base64(text.as_bytes(), alphabet)));
    let wide = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    forms.into_iter().map(String::into_bytes).chain([wide]).collect()
}

/// The first form of `text` in `bytes`.
fn found(text: &str, bytes: &[u8]) -> Option<String> {
    let stands = |form: &Vec<u8>| bytes.windows(form.len()).any(|window| window == form);
    forms(text).iter().find(|form| stands(form)).map(|f| String::from_utf8_lossy(f).into_owned())
}

/// Who asks, and what came back.
struct Asker {
    clients: Vec<Client>,
    answers: Vec<(String, Answer)>,
}

impl Asker {
    fn ask(&mut self, who: usize, line: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = self.clients[who].request(method, path, headers, body.as_bytes());
        // A head or a body that is too large may be cut off.
        let Ok(answer) = answer else { return 0 };
        let status = answer.status;
        self.answers.push((format!("{line} {headers:?} {body:.300}"), answer));
        status
    }

    fn json(&mut self, who: usize, line: &str, body: &Value) -> u16 {
        self.ask(who, line, &[("Content-Type", "application/json")], &body.to_string())
    }
}

const HOSPITAL: usize = 0;
const HALL: usize = 1;
const OPERATOR: usize = 2;

fn settlement() -> Value {
    json!({
        "business": "settlement.outpatient", "operation": "request", "insured": identity(),
        "visit": format!("v-{}", identity()), "channel": "system", "credential": SECRET,
        "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "payload": { "psn": identity(), "note": SECRET, "deep": [{ "id": identity() }] },
    })
}

/// A file that holds both.
fn scan() -> String {
    format!("%PDF-1.7\n{} {SECRET}\n", identity()).repeat(30)
}

fn digest_of(file: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, file.as_bytes());
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

fn reimbursement() -> Value {
    json!({
        "business": "reimbursement.manual", "operation": "apply", "insured": identity(),
        "channel": "hall", "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "ground": format!("special_case:{}", identity()),
        "attributes": { "population": "employee", "fully_prepaid": true },
        "attachments": [{
            "name": format!("{} {SECRET}.pdf", identity()),
            "digest": digest_of(&scan()), "bytes": scan().len(),
        }],
        "paper": [{ "kind": identity(), "sheets": 2, "shelf": SECRET }],
        "payload": { "psn": identity(), "note": SECRET },
    })
}

/// Submissions that are wrong in one place each, with `plant` in that place.
fn spoilt(plant: &str) -> Vec<String> {
    const FIELDS: [&str; 19] = [
        "idempotency_key",
        "business",
        "operation",
        "insured",
        "visit",
        "channel",
        "occurred_at",
        "received_from_person_at",
        "amount",
        "deadline",
        "ground",
        "attributes",
        "attachments",
        "paper",
        "replaces",
        "depends_on",
        "covers_from",
        "credential",
        "payload",
    ];
    let long = format!("{plant}{}", "x".repeat(300));
    let values = [
        json!(plant),
        json!(long),
        json!({ plant: plant }),
        json!([plant]),
        json!(null),
        json!({ "name": plant, "population": plant, "start_date": plant }),
        json!([{ "name": plant, "digest": plant, "bytes": plant }]),
        json!({ "password": plant, "ecToken": { "pin": plant } }),
    ];
    let mut bodies = Vec::new();
    for base in [settlement(), reimbursement()] {
        for field in FIELDS {
            for value in &values {
                let mut body = base.clone();
                body[field] = value.clone();
                bodies.push(body.to_string());
            }
        }
        let mut body = base.clone();
        body[plant] = json!(plant);
        bodies.push(body.to_string());
        // The same field twice, and JSON that ends, or goes wrong, right behind the plant.
        let whole = base.to_string();
        let quoted = json!(plant).to_string();
        bodies.push(format!("{{\"insured\":{quoted},{}", &whole[1..]));
        bodies.push(format!("{{\"insured\":{quoted}"));
        bodies.push(format!("{{{quoted}:{quoted},}}"));
        bodies.push(format!("{} {plant}", whole));
        bodies.push(format!("{{\"amount\":{plant}}}"));
        bodies.push(quoted);
        bodies.push(plant.to_owned());
    }
    bodies
}

/// Submissions, good and bad, one at a time and as lines.
fn plant_in_submissions(asker: &mut Asker, plant: &str) {
    let json = ("Content-Type", "application/json");
    let upload = format!("PUT /v1/attachments/{}", digest_of(&scan()));
    let stored = asker.ask(HALL, &upload, &[("Content-Type", "application/pdf")], &scan());
    assert!([200, 201].contains(&stored), "{stored}");
    let other = format!("%PDF-1.7\n{plant}");
    asker.ask(HALL, &upload, &[("Content-Type", plant)], &other);
    asker.ask(HALL, &upload, &[], &other);
    let mut lines = String::new();
    for (number, body) in spoilt(plant).iter().enumerate() {
        let key = format!("{plant}-{number}");
        let who = if number % 2 == 0 { HOSPITAL } else { HALL };
        asker.ask(who, "POST /v1/transactions", &[json, ("Idempotency-Key", &key)], body);
        lines += &format!("{}\n", body.replace('\n', " "));
    }
    for line in [settlement(), reimbursement()] {
        let mut line = line;
        line["idempotency_key"] = json!(format!("{plant}-line"));
        lines += &format!("{line}\n");
    }
    let kind = [("Content-Type", "application/x-ndjson")];
    asker.ask(HOSPITAL, "POST /v1/transactions/batch", &kind, &lines);
    asker.ask(HALL, "POST /v1/transactions/batch", &kind, &lines);
    let long = format!("{{\"payload\":\"{}\"}}", plant.repeat(100_000));
    asker.ask(HOSPITAL, "POST /v1/transactions", &[json, ("Idempotency-Key", "k-long")], &long);
    // Another content under a used key.
    let mut other = settlement();
    other["visit"] = json!(plant);
    let key = format!("{plant}-reused");
    for body in [settlement(), other] {
        let headers = [json, ("Idempotency-Key", key.as_str())];
        asker.ask(HOSPITAL, "POST /v1/transactions", &headers, &body.to_string());
    }
}

fn plant_in_headers(asker: &mut Asker, plant: &str) {
    let (bearer, wait) = (format!("Bearer {plant}"), format!("wait={plant}"));
    let (spaced, long) = (format!("{plant} {plant}"), plant.repeat(40));
    let huge = plant.repeat(2_000);
    for (name, value) in [
        ("X-Request-Id", plant),
        ("X-Request-Id", "abc-DEF"),
        ("X-Request-Id", &spaced),
        ("Idempotency-Key", plant),
        ("Idempotency-Key", &spaced),
        ("Idempotency-Key", &long),
        ("Prefer", &wait),
        ("Prefer", plant),
        ("Content-Type", plant),
        ("Authorization", &bearer),
        ("Authorization", plant),
        ("User-Agent", plant),
        ("Accept", plant),
        ("Cookie", plant),
        ("traceparent", plant),
        ("If-Match", plant),
        ("Referer", plant),
        ("Expect", plant),
        ("X-Anything", &huge),
    ] {
        for (who, line) in [
            (HOSPITAL, "POST /v1/transactions"),
            (HOSPITAL, "POST /v1/transactions/batch"),
            (HOSPITAL, "GET /v1/transactions"),
            (OPERATOR, "GET /admin/v1/ledger"),
            (OPERATOR, "POST /admin/v1/gates/close"),
            (OPERATOR, "GET /metrics"),
        ] {
            let body =
                if line.starts_with("POST") { settlement().to_string() } else { String::new() };
            asker.ask(who, line, &[(name, value)], &body);
        }
    }
}

fn plant_in_paths(asker: &mut Asker, plant: &str) {
    let plant = percent_encoded(plant);
    for path in [
        "/@",
        "/v1/@",
        "/v1/transactions/@",
        "/v1/transactions/@/withdraw",
        "/v1/tickets/@/close",
        "/v1/transactions?@=1",
        "/v1/transactions?cursor=@&state=@",
        "/v1/transactions?limit=@",
        "/v1/transactions?key=@&insured=@&institution=@",
        "/v1/attachments/@",
        "/v1/tickets?after=@",
        "/v1/policy?at=@",
        "/v1/policy?business=@&operation=@&class=@",
        "/v1/deadlines?cursor=@",
        "/v1/windows?@",
        "/v1/deadlines/check?business=@&original=@&received=@",
        "/openapi.json?@",
        "/v1/deadlines/check?business=reimbursement.manual&original=2026-01-05&received=@",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let line = format!("{method} {}", path.replace('@', &plant));
            asker.json(
                HOSPITAL,
                &line,
                &json!({ "reason": "because", "how": "waived", "by": "x" }),
            );
        }
    }
    for path in [
        "/@",
        "/admin/v1/@",
        "/admin/v1/windows/@",
        "/admin/v1/windows/@/extend",
        "/readyz?@",
        "/admin/v1/windows/@/restore",
        "/admin/v1/transactions/@",
        "/admin/v1/dead-letters/@/skip",
        "/admin/v1/in-doubt/@/ask",
        "/admin/v1/in-doubt/@/resolve",
        "/admin/v1/transactions?@=@",
        "/admin/v1/transactions?state=@&institution=@",
        "/admin/v1/audit?limit=@",
        "/admin/v1/policy?business=@&operation=@&class=@&@=@",
        "/admin/v1/policy?business=filing.out_of_area&operation=apply&class=hall&channel=hall&@=@",
        "/metrics?@",
        "/admin/v1/transactions/@/told",
        "/admin/v1/deadlines/check?business=@&original=@",
        "/admin/v1/tickets?cursor=@",
        "/admin/v1/deadlines?institution=@",
        "/livez/@",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let line = format!("{method} {}", path.replace('@', &plant));
            asker.json(OPERATOR, &line, &json!({ "reason": "a drill" }));
        }
    }
}

/// The small bodies: deadlines, withdrawals, tickets, and everything an operator sends.
fn plant_in_small_bodies(asker: &mut Asker, plant: &str) {
    let deadline = json!({
        "business": "reimbursement.manual", "original": "2026-09-01", "reference": plant,
    });
    asker.json(HALL, "POST /v1/deadlines", &deadline);
    let nobody = format!("txn_{:016}", 1);
    let paths = [
        (HALL, "/v1/deadlines".to_owned()),
        (HOSPITAL, format!("/v1/transactions/{nobody}/withdraw")),
        (HOSPITAL, format!("/v1/tickets/{}/close", nobody.replace("txn", "tkt"))),
        (OPERATOR, "/admin/v1/windows".to_owned()),
        (OPERATOR, "/admin/v1/gates/close".to_owned()),
        (OPERATOR, "/admin/v1/gates/open".to_owned()),
        (OPERATOR, format!("/admin/v1/in-doubt/{nobody}/resolve")),
        (OPERATOR, format!("/admin/v1/transactions/{nobody}/told")),
    ];
    for (who, path) in paths {
        for body in [
            json!({ plant: plant }),
            json!([plant]),
            json!(plant),
            json!({ "reason": "a drill", "how": plant, "verdict": plant, "until": plant, "all": plant }),
            json!({ "business": plant, "original": plant, "reference": plant }),
            json!({ "reason": "a drill", "cells": { "business": [plant], plant: [plant] } }),
            json!({ "id": plant, "starts_at": plant, "policy": plant, "reason": "a drill" }),
        ] {
            asker.json(who, &format!("POST {path}"), &body);
        }
        let torn = format!("{{\"reason\":{}", json!(plant));
        asker.ask(who, &format!("POST {path}"), &[("Content-Type", "application/json")], &torn);
    }
}

/// Free texts, which may say anything but an identity number.
fn refuse_in_reasons(asker: &mut Asker) {
    let reason = format!("the person {} asked", identity());
    let nobody = format!("txn_{:016}", 1);
    let mut must = |who, path: &str, body: Value| {
        let status = asker.json(who, &format!("POST {path}"), &body);
        let (_, answer) = asker.answers.last().unwrap();
        assert_eq!(status, 422, "{path}: {}", answer.text());
        assert!(answer.text().contains("identity number"), "{path}: {}", answer.text());
    };
    must(HOSPITAL, &format!("/v1/transactions/{nobody}/withdraw"), json!({ "reason": reason }));
    let ticket = format!("/v1/tickets/{}/close", nobody.replace("txn", "tkt"));
    must(HOSPITAL, &ticket, json!({ "how": "waived", "by": reason, "reason": "paid" }));
    must(HOSPITAL, &ticket, json!({ "how": "waived", "by": "Ma Li", "reason": reason }));
    let until = "2099-01-01T00:00:00Z";
    must(
        OPERATOR,
        "/admin/v1/gates/close",
        json!({ "all": true, "until": until, "reason": reason }),
    );
    must(OPERATOR, "/admin/v1/gates/open", json!({ "all": true, "reason": reason }));
    for verb in ["extend", "end", "cancel", "restore", "release"] {
        let path = format!("/admin/v1/windows/a-window/{verb}");
        must(OPERATOR, &path, json!({ "reason": reason }));
    }
    must(OPERATOR, &format!("/admin/v1/dead-letters/{nobody}/skip"), json!({ "reason": reason }));
    must(
        OPERATOR,
        &format!("/admin/v1/dead-letters/{nobody}/redrive"),
        json!({ "reason": reason }),
    );
    must(OPERATOR, &format!("/admin/v1/in-doubt/{nobody}/ask"), json!({ "reason": reason }));
    let resolve = json!({ "verdict": "applied", "reason": reason });
    must(OPERATOR, &format!("/admin/v1/in-doubt/{nobody}/resolve"), resolve);
    let told = json!({ "how": "letter", "reason": reason });
    must(OPERATOR, &format!("/admin/v1/transactions/{nobody}/told"), told);
}

/// Live requests with the credential, whatever the core does to them.
fn meet_the_core(site: &Site, asker: &mut Asker) {
    let mut applied = 0;
    for (number, script) in [
        json!({}),
        json!({ "lose_after": { "next": 1 } }),
        json!({ "lose_before": { "next": 1 } }),
        json!({ "maintenance_page": { "next": 1 } }),
        json!({ "busy": { "status": 503, "next": 1 } }),
        json!({ "refuse": [{ "code": "E1", "next": 1 }] }),
        json!({ "late_apply": { "after_ms": 300, "next": 1 } }),
        json!({ "down": true }),
        json!({}),
    ]
    .into_iter()
    .enumerate()
    {
        site.core.script_all(&script);
        let key = format!("{}-{number}-live", identity());
        let headers =
            [("Content-Type", "application/json"), ("Idempotency-Key", &key), ("Prefer", "wait=4")];
        let mut body = settlement();
        body["visit"] = json!(format!("v-{number}"));
        let status = asker.ask(HOSPITAL, "POST /v1/transactions", &headers, &body.to_string());
        assert!(matches!(status, 200 | 202), "{script}: {status}");
        applied += usize::from(asker.answers.last().unwrap().1.text().contains("\"applied\""));
    }
    assert!(applied > 0, "the core never received the credential");
    site.core.script_all(&json!({}));
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let below = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() { files(&path) } else { vec![path] }
    };
    entries.flat_map(below).collect()
}

#[test]
fn a_planted_credential_and_identity_number_are_found_nowhere_in_clear() {
    let site = Site::new("[log]\nlevel = \"trace\"\n");
    let daemon = site.start();
    let clients = vec![
        daemon.client(&site.submitters[0]),
        daemon.client(&site.submitters[3]),
        daemon.admin(),
    ];
    let mut asker = Asker { clients, answers: Vec::new() };
    meet_the_core(&site, &mut asker);
    for plant in [SECRET, &identity()] {
        plant_in_submissions(&mut asker, plant);
        plant_in_headers(&mut asker, plant);
        plant_in_paths(&mut asker, plant);
        plant_in_small_bodies(&mut asker, plant);
    }
    refuse_in_reasons(&mut asker);
    let metrics = Client::new(daemon.operators, None).get("/metrics").unwrap();
    assert_eq!(metrics.status, 200);
    asker.answers.push(("metrics".to_owned(), metrics));
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(30)).success());

    let mut hits = Vec::new();
    for (request, answer) in &asker.answers {
        for text in [SECRET, &identity()] {
            let headers = format!("{:?}", answer.headers);
            let all = [answer.body.as_slice(), headers.as_bytes()];
            if let Some(form) = all.iter().find_map(|bytes| found(text, bytes)) {
                hits.push(format!("answer {} to {request}: {form}", answer.status));
            }
        }
    }
    let mut places = files(&site.data);
    let there = |ending: &str| places.iter().any(|path| path.to_string_lossy().ends_with(ending));
    for ending in [".segment", ".snapshot", "audit.log", "keys.sealed", "/db"] {
        assert!(there(ending), "no {ending} in {places:?}");
    }
    places.extend([site.folder().join("keys.json"), site.folder().join("master.key")]);
    places.push(daemon.errors.clone());
    assert!(daemon.said().contains("TRACE"), "the log is not verbose");
    for place in places {
        let bytes = std::fs::read(&place).unwrap();
        for text in [SECRET, &identity()] {
            if let Some(form) = found(text, &bytes) {
                hits.push(format!("{}: {form}", place.display()));
            }
        }
    }
    let kinds = |range: std::ops::Range<u16>| {
        asker.answers.iter().filter(|(_, answer)| range.contains(&answer.status)).count()
    };
    eprintln!(
        "{} answers: {} good, {} refused",
        asker.answers.len(),
        kinds(200..300),
        kinds(400..500)
    );
    assert_eq!(kinds(500..600), 0);
    assert!(kinds(200..300) > 30 && kinds(400..500) > 500);
    assert!(hits.is_empty(), "{} hits:\n{}", hits.len(), hits.join("\n"));
}

#[test]
fn the_search_finds_each_form_it_looks_for() {
    for text in [SECRET, &identity()] {
        for form in forms(text) {
            assert!(found(text, &[b"before ".as_slice(), &form, b" after"].concat()).is_some());
        }
        assert_eq!(found(text, &text.as_bytes()[1..]), None);
    }
    // Known values, so that the encoders are held to something but themselves.
    let plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    assert_eq!(base64(b"light work.", plain)[0], "bGlnaHQgd29yay");
    assert_eq!(percent_encoded("a/b+c"), "a%2Fb%2Bc");
}
