//! Who comes too late, submitter or operator, is told how the transaction stands; who names none
//! of their own is told nothing.

use crate::engine_support::{cell, submission};
use crate::house::{Says, house};
use holdover::admin;
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::time::Timestamp;
use holdover::engine::ports::{IndexUnavailable, Indexed};
use serde_json::json;

fn missing(answered: &(u16, String, String)) -> bool {
    (answered.0, answered.1.as_str()) == (404, "not_found")
}

fn too_late(answered: &(u16, String, String), word: &str) -> bool {
    let (status, code, detail) = answered;
    (*status, code.as_str()) == (409, "wrong_state") && detail.contains(word)
}

fn listings() -> [Says; 3] {
    let listed = Indexed { state: State::Withdrawn, last: Seq(3), at: Timestamp::default() };
    [Says(Ok(Some(listed))), Says(Ok(None)), Says(Err(IndexUnavailable))]
}

#[tokio::test]
async fn a_submitter_who_comes_too_late_is_told_the_state_and_a_stranger_nothing() {
    for says in listings() {
        let house = house(says).await;
        let seq = house.accepted(submission(cell("a", "filing.one"), 1, 1)).await;
        let path = format!("/v1/transactions/{}/withdraw", Numbers::default().transaction(seq));
        assert!(missing(&house.post(&path, &house.theirs, json!({})).await));
        assert_eq!(house.post(&path, &house.mine, json!({})).await.0, 200);
        let again = house.post(&path, &house.mine, json!({})).await;
        assert!(too_late(&again, "withdrawn"), "{again:?}");
        assert!(missing(&house.post(&path, &house.theirs, json!({})).await));
        for nothing in [1, 999] {
            let path = format!(
                "/v1/transactions/{}/withdraw",
                Numbers::default().transaction(Seq(nothing))
            );
            let answered = house.post(&path, &house.mine, json!({})).await;
            assert!(missing(&answered), "{nothing} {answered:?}");
        }

        let mut settlement = submission(cell("a", "settlement.outpatient"), 2, 2);
        settlement.line.normal = Disposition::PassOrTicket;
        let seq = house.accepted(settlement).await;
        let path = format!("/v1/tickets/{}/close", Numbers::default().ticket(seq));
        let how = || json!({"how": "waived", "by": "the counter"});
        assert!(missing(&house.post(&path, &house.theirs, how()).await));
        assert_eq!(house.post(&path, &house.mine, how()).await.0, 200);
        let again = house.post(&path, &house.mine, how()).await;
        assert!(too_late(&again, "withdrawn"), "{again:?}");
        assert!(missing(&house.post(&path, &house.theirs, how()).await));

        // One that waits has no ticket, and is there all the same.
        let seq = house.accepted(submission(cell("a", "filing.one"), 3, 3)).await;
        let path = format!("/v1/tickets/{}/close", Numbers::default().ticket(seq));
        let answered = house.post(&path, &house.mine, how()).await;
        assert!(too_late(&answered, "waiting"), "{answered:?}");
        assert!(missing(&house.post(&path, &house.theirs, how()).await));
    }
}

#[tokio::test]
async fn an_operator_who_comes_too_late_is_told_the_state() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let seq = house.accepted(submission(cell("a", "filing.one"), 1, 1)).await;
    let waits = house.accepted(submission(cell("a", "filing.one"), 2, 2)).await;
    let path = format!("/v1/transactions/{}/withdraw", Numbers::default().transaction(seq));
    assert_eq!(house.post(&path, &house.mine, json!({})).await.0, 200);
    let acts = [
        ("dead-letters", "redrive", json!({})),
        ("dead-letters", "skip", json!({})),
        ("in-doubt", "ask", json!({})),
        ("in-doubt", "resolve", json!({"verdict": "applied"})),
        ("transactions", "told", json!({"how": "telephone"})),
    ];
    for (noun, verb, body) in acts {
        let path = |seq| format!("/admin/v1/{noun}/{}/{verb}", Numbers::default().transaction(seq));
        let answered = house.post(&path(seq), &house.operator, body.clone()).await;
        assert!(too_late(&answered, "withdrawn"), "{verb} {answered:?}");
        let answered = house.post(&path(waits), &house.operator, body.clone()).await;
        assert!(too_late(&answered, "waiting"), "{verb} {answered:?}");
        let answered = house.post(&path(Seq(999)), &house.operator, body).await;
        assert!(missing(&answered), "{verb} {answered:?}");
    }
    let audited = std::fs::read_to_string(house.folder.path().join(admin::audit::FILE_NAME));
    let audited = audited.unwrap();
    assert_eq!(audited.matches("\"wrong_state\"").count(), 10, "as it was answered");
    assert_eq!(audited.matches("\"not_found\"").count(), 5);
}
