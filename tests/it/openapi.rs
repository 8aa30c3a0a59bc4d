//! The API document: equal to its golden file, and about the routes there are.

use std::collections::BTreeSet;

/// Set to write the golden file anew.
const UPDATE: &str = "UPDATE_GOLDEN";

fn document() -> serde_json::Value {
    serde_json::from_str(holdover::intake::openapi::text()).unwrap()
}

#[test]
fn the_document_equals_its_golden_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi.json");
    let text = holdover::intake::openapi::text();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == text, "the API changed; review, then run again with {UPDATE}=1");
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let documented: BTreeSet<String> =
        document["paths"].as_object().unwrap().keys().cloned().collect();
    let served: BTreeSet<String> =
        holdover::intake::paths().into_iter().map(str::to_owned).collect();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn every_documented_method_is_served() {
    use crate::intake_rig::{Script, rig};
    use axum::body::Body;
    let rig = rig(Script::Stopping);
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            let asked = path.replace("{id}", "nothing");
            let request = rig.request(&method.to_uppercase(), &asked).body(Body::empty());
            let answered = rig.send(request.unwrap()).await;
            let served = answered.status != axum::http::StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(served, item.get(method).is_some(), "{method} {path}");
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    fn references<'a>(value: &'a serde_json::Value, found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(object) => {
                found.extend(object.get("$ref").and_then(|r| r.as_str()));
                object.values().for_each(|v| references(v, found));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|v| references(v, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}
