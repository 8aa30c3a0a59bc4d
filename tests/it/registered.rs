//! A case without a transaction is registered once, however often its registrant says so.

use crate::house::{Desk, House};
use holdover::domain::ids::Seq;
use holdover::engine::change::Change;
use holdover::engine::event::Event;
use serde_json::{Value, json};
use std::path::Path;

fn case(original: &str, reference: &str) -> Value {
    json!({"business": "filing.one", "original": original, "reference": reference})
}

/// The number given, and whether it is said to be a repeat.
async fn register(house: &House, key: &str, case: &Value) -> (String, bool) {
    let (status, headers, told) = house.send("POST", "/v1/deadlines", key, case).await;
    assert_eq!(status, 201, "{told}");
    assert_eq!(told["original"], case["original"]);
    (told["id"].as_str().unwrap().to_owned(), headers.contains_key("idempotency-replayed"))
}

async fn listed(house: &House, key: &str) -> Vec<Value> {
    let page = house.get("/v1/deadlines", key).await;
    page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

/// Writes down the state of a stopped daemon, so that the next start rests on it.
fn write_snapshot(folder: &Path) {
    let mut desk = Desk::open(folder);
    desk.step(Event::Tick);
    desk.opened.snapshots.write(desk.machine.last(), desk.machine.snapshot()).unwrap();
}

#[tokio::test]
async fn a_case_that_is_registered_again_gets_its_first_number_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let house = Desk::open(folder.path()).house();
    let first = case("2022-08-13", "case 1");
    let (number, repeat) = register(&house, &house.mine, &first).await;
    assert!(!repeat);
    assert_eq!(register(&house, &house.mine, &first).await, (number.clone(), true));
    // Whatever tells cases apart makes another one of it.
    let mut others = Vec::new();
    for other in [case("2022-08-14", "case 1"), case("2022-08-13", "case 2")] {
        others.push(register(&house, &house.mine, &other).await);
    }
    let theirs = register(&house, &house.theirs, &first).await;
    others.push(theirs);
    assert!(others.iter().all(|(other, repeat)| *other != number && !repeat), "{others:?}");
    house.close();

    // Read from the journal, then from a snapshot of it.
    for _ in 0..2 {
        let house = Desk::open(folder.path()).house();
        assert_eq!(register(&house, &house.mine, &first).await, (number.clone(), true));
        let expected = [&number, &others[0].0, &others[1].0].map(|id| json!(id));
        assert_eq!(listed(&house, &house.mine).await, expected);
        assert_eq!(listed(&house, &house.theirs).await, [json!(others[2].0)]);
        house.close();
        write_snapshot(folder.path());
    }
    let records = registrations(folder.path());
    assert_eq!(records, 4, "a repeat writes nothing");
}

fn registrations(folder: &Path) -> usize {
    let desk = Desk::open(folder);
    let mut count = 0;
    let mut note = |_: Seq, change| {
        count += usize::from(matches!(change, Change::DeadlineRegistered { .. }));
        std::ops::ControlFlow::Continue(())
    };
    desk.opened.reader.scan(Seq(1), &mut note).unwrap();
    count
}

#[tokio::test]
async fn a_repeat_is_answered_where_there_is_no_room_for_more_cases() {
    let folder = tempfile::tempdir().unwrap();
    let house = Desk::open(folder.path()).house();
    let first = case("2022-08-13", "0");
    let (number, _) = register(&house, &house.mine, &first).await;
    // As many as the settings of these tests allow.
    for reference in 1..1000 {
        register(&house, &house.mine, &case("2022-08-13", &reference.to_string())).await;
    }
    let one_more = case("2022-08-13", "one more");
    let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &one_more).await;
    assert_eq!((status, &told["code"]), (507, &json!("disk_reserve")));
    assert_eq!(register(&house, &house.mine, &first).await, (number, true));
}

#[tokio::test]
async fn a_case_that_lacks_a_field_is_told_which() {
    let folder = tempfile::tempdir().unwrap();
    let house = Desk::open(folder.path()).house();
    for field in ["business", "reference"] {
        let mut lacking = case("2022-08-13", "case 1");
        lacking.as_object_mut().unwrap().remove(field).unwrap();
        let (status, _, told) = house.send("POST", "/v1/deadlines", &house.mine, &lacking).await;
        assert_eq!((status, &told["code"]), (422, &json!("invalid")));
        let errors = json!([{ "pointer": format!("/{field}"), "detail": "missing" }]);
        assert_eq!(told["errors"], errors, "{told}");
    }
}
