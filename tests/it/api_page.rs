//! `API.md` against what is served: every call is on the page with the scope that it needs, and
//! the page has no other.

use crate::admin_http::world;
use crate::intake_rig::{Script, institution, key_of, rig};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use holdover::admin::ROUTES;
use holdover::admin::types::OperatorCode;
use holdover::domain::cell::Channel;
use holdover::domain::outcome::{DoubtReason, TransientReason};
use holdover::domain::policy::{Advice, Disposition};
use holdover::domain::review::FaultCode;
use holdover::web::access::{Scope, create};
use holdover::web::problem::Code;
use holdover::web::server::answer;

const PAGE: &str = include_str!("../../API.md");

/// Method, path, scope and meaning of every row whose path begins with one of `under`, in order.
fn rows(under: &[&str]) -> Vec<[&'static str; 4]> {
    let row = |line: &'static str| -> Option<[&str; 4]> {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let cells: [&str; 4] = cells.collect::<Vec<_>>().try_into().ok()?;
        let path = cells[1].strip_prefix('`')?.strip_suffix('`')?;
        under
            .iter()
            .any(|under| path.starts_with(under))
            .then_some([cells[0], path, cells[2], cells[3]])
    };
    let mut rows: Vec<_> = PAGE.lines().filter_map(row).collect();
    rows.sort_unstable();
    assert!(!rows.is_empty() && rows.iter().all(|[.., meaning]| meaning.len() > 10));
    rows
}

async fn status(router: &Router, method: &str, path: &str, key: Option<&str>) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path.replace("{id}", "nothing"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    let request = request.body(Body::empty()).unwrap();
    answer(router.clone(), request).await.unwrap_or_else(|e| match e {}).status()
}

#[test]
fn every_call_of_operators_is_on_the_page_with_its_scope() {
    let mut served: Vec<[&str; 3]> =
        ROUTES.iter().map(|route| [route.method, route.path, route.scope.as_str()]).collect();
    served.sort_unstable();
    let told: Vec<[&str; 3]> = rows(&["/admin/"])
        .into_iter()
        .map(|[method, path, scope, _]| [method, path, scope])
        .collect();
    assert_eq!(told, served);
}

#[test]
fn every_word_and_code_that_an_answer_may_have_is_on_a_page() {
    fn words<T: Copy + Into<&'static str>>(all: &[T]) -> Vec<&'static str> {
        all.iter().map(|&word| word.into()).collect()
    }
    let core = include_str!("../../CORE.md");
    let codes = [words(Code::ALL), words(OperatorCode::ALL)].concat();
    let policy = [words(Disposition::ALL), words(Advice::ALL), words(FaultCode::ALL)].concat();
    let reasons = [words(TransientReason::ALL), words(DoubtReason::ALL)].concat();
    for (page, expected) in [(PAGE, codes), (PAGE, policy), (core, reasons)] {
        for word in expected {
            assert!(page.contains(&format!("`{word}`")), "{word}");
        }
    }
    for &code in Code::ALL {
        let status = code.facts().status.to_string();
        let row = PAGE.lines().find(|line| {
            line.starts_with("| ") && line.split(" | ").next().unwrap().contains(&status)
        });
        assert!(row.unwrap().contains(&format!("`{code}`")), "{code} is not under {status}");
    }
}

#[tokio::test]
async fn every_call_of_submitters_is_on_the_page_with_its_scope() {
    let document: serde_json::Value =
        serde_json::from_str(holdover::intake::openapi::text()).unwrap();
    let mut served = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        served.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
    }
    served.sort_unstable();
    let rows = rows(&["/v1/", "/openapi"]);
    let told: Vec<(String, String)> =
        rows.iter().map(|[method, path, ..]| (method.to_string(), path.to_string())).collect();
    assert_eq!(told, served);

    let rig = rig(Script::Stopping);
    let key_with = |scope| {
        let new = key_of(institution("H11010500001"), &[Channel::System], &[scope]);
        (scope, create(&rig.keys, new).unwrap())
    };
    let keys = [Scope::Submit, Scope::Read].map(key_with);
    for [method, path, needed, _] in rows.into_iter().filter(|row| row[2] != "none") {
        for (scope, key) in &keys {
            let refused = status(&rig.router, method, path, Some(key)).await;
            let refused = refused == StatusCode::FORBIDDEN;
            assert_eq!(refused, scope.as_str() != needed, "{method} {path} with {scope}");
        }
    }
}

#[tokio::test]
async fn what_the_page_says_needs_no_key_needs_none_and_all_else_does() {
    let (rig, world) = (rig(Script::Stopping), world());
    for [method, path, scope, _] in rows(&["/"]) {
        let submitters = path.starts_with("/v1/") || path.starts_with("/openapi");
        let router = if submitters { &rig.router } else { &world.router };
        let answered = status(router, method, path, None).await;
        let open = answered == StatusCode::OK;
        assert_eq!(open, scope == "none", "{method} {path}: {answered}");
        assert!(open || answered == StatusCode::UNAUTHORIZED, "{method} {path}: {answered}");
    }
}

/// Every setting of `table` that is a length of time, by its path.
fn lengths(path: &str, table: &toml::Table, found: &mut Vec<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            toml::Value::Table(inner) => lengths(&path, inner, found),
            toml::Value::String(text) => {
                let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
                let unit = &text[number.len()..];
                if number.parse::<u32>().is_ok() && ["ms", "s", "m", "h", "d"].contains(&unit) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn b8_every_time_of_the_configuration_is_said_to_stop_or_to_run_in_a_stop() {
    let table: toml::Table = holdover::config::DEFAULTS.parse().unwrap();
    let mut known = Vec::new();
    lengths("", &table, &mut known);
    let section = PAGE.split("## Timers in a stop").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut told = Vec::new();
    for line in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (settings, rest) = line.split_once(" | ").unwrap();
        let word = rest.split(" | ").next().unwrap();
        assert!(["runs", "stops"].contains(&word), "{line}");
        told.extend(settings.split(", ").map(|name| name.trim_matches('`').to_owned()));
    }
    known.sort();
    told.sort();
    assert_eq!(told, known);
}
