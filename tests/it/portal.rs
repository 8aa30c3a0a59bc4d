//! The self-service businesses of the portal: what may be submitted by config/beijing-portal.toml,
//! and what each refusal names.

use crate::engine_scenarios::Bench;
use crate::engine_support::{answer, cell, settings, submission};
use crate::house::{House, Says, Shelf};
use crate::intake_rig::{Answered, Front, Rig, Script, at, institution, rig_of};
use crate::service_hours::{declare, stop};
use holdover::config::{self, Config};
use holdover::domain::cell::{Cell, Channel, Class, Institution, Operation};
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::outcome::Outcome;
use holdover::engine::event::{Live, Reply};
use holdover::engine::step::Decision;
use serde_json::{Value, json};
use std::sync::Arc;

fn portal_over(more: &str) -> Config {
    let base = include_str!("../fixtures/config/base.toml");
    let portal = include_str!("../../config/beijing-portal.toml");
    match config::parse(&[("base", base), ("portal", portal), ("more", more)]) {
        Ok(config) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn rig(more: &str, class: Class, channel: Channel, now: &str) -> Rig {
    let holder = Institution { class, ..institution("H11010500001") };
    let front = Front { catalogue: portal_over(more).catalogue, holder, channel };
    rig_of(front, Script::Accept(None), at(now))
}

/// A person's change of institutions, with these attributes in place of good ones.
async fn change(rig: &Rig, key: &str, occurred_at: &str, attributes: Value) -> Answered {
    let mut good = json!({"entry": "wechat_mp", "insutype": "310", "institutions": ["H1", "H2"]});
    good.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let body = json!({
        "business": "service.designated_institutions", "operation": "request",
        "insured": "person-1", "occurred_at": occurred_at, "attributes": good, "payload": {},
    });
    rig.submit(key, body.to_string()).await
}

/// An application of `day`, with these attributes beside a good applicant.
async fn apply(day: &str, more: &str, attributes: Value) -> Answered {
    let at_noon = format!("{day}T12:00:00+08:00");
    let rig = rig(more, Class::DistrictMedicalAgency, Channel::System, &at_noon);
    let mut good = json!({"applicant": "village_clinic"});
    good.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let body = json!({
        "business": "service.designation", "operation": "apply", "insured": "clinic-1",
        "occurred_at": at_noon, "attributes": good, "payload": {},
    });
    rig.submit("k", body.to_string()).await
}

/// What is said of the only thing that is wrong.
fn refused(answered: &Answered, pointer: &str) -> String {
    assert_eq!((answered.status.as_u16(), answered.pointers()), (422, vec![pointer.to_owned()]));
    answered.json()["errors"][0]["detail"].as_str().unwrap().to_owned()
}

const OCTOBER: &str = "2021-10-12T09:00:00+08:00";

fn online() -> Rig {
    rig("", Class::Portal, Channel::Online, OCTOBER)
}

const CHANGE: &str = "service.designated_institutions";

fn asked(business: &str) -> Cell {
    Cell { operation: Operation::Request, ..cell("b", business) }
}

/// An engine with the portal's hours, whose core for them is "b".
fn bench(now: &str) -> Bench {
    let mut settings = settings();
    settings.calendar.years.push(2021);
    settings.service_hours = portal_over("").service_hours;
    Bench::with(settings, now)
}

/// What is shown of `transaction`, from the journal of `bench`.
async fn shown(bench: Bench, transaction: Seq) -> Value {
    let shelf = Shelf::default();
    for change in bench.journal {
        shelf.push(change);
    }
    let (journal, reader) = (Box::new(shelf.clone()), Arc::new(shelf));
    let (catalogue, recovered) = (portal_over("").catalogue, Decision::default());
    let says = Says(Ok(None));
    let house = House::of(catalogue, bench.machine, recovered, journal, reader, says);
    let id = Numbers::default().transaction(transaction);
    house.get(&format!("/v1/transactions/{id}"), &house.mine).await
}

#[tokio::test]
async fn s0_04_a_change_counts_from_the_day_after_its_success_on() {
    for (success, effective) in [
        ("2021-10-12T09:00:00+08:00", "2021-10-13"),
        ("2021-10-31T21:00:00+08:00", "2021-11-01"),
        ("2021-12-31T21:59:59+08:00", "2022-01-01"),
        ("2021-12-31T06:00:00+08:00", "2022-01-01"),
    ] {
        let mut bench = bench(success);
        let transaction = bench.accepted(submission(asked(CHANGE), 1, 1));
        assert_eq!(bench.sent(), [transaction.0], "{success}");
        bench.settle(Outcome::Applied(answer("ok")));
        let shown = shown(bench, transaction).await;
        assert_eq!(
            (&shown["state"], &shown["effective_on"]),
            (&json!("applied"), &json!(effective))
        );

        // Told at once to who waits, by the instant of the end and not by that of the answer.
        let live = Live::Applied { answer: answer("ok"), at: at(success) };
        let holder = Institution { class: Class::Portal, ..institution("H11010500001") };
        let catalogue = portal_over("").catalogue;
        let front = Front { catalogue, holder, channel: Channel::Online };
        let rig = rig_of(front, Script::Accept(Some(live)), at("2022-01-09T00:00:00+08:00"));
        let body = json!({
            "business": CHANGE, "operation": "request", "insured": "person-1",
            "occurred_at": success, "payload": {},
            "attributes": {"entry": "wechat_mp", "insutype": "310", "institutions": ["H1"]},
        });
        let request = rig.request("POST", "/v1/transactions").header("idempotency-key", "k");
        let request = request.header("prefer", "wait=5").body(body.to_string().into()).unwrap();
        let waited = rig.send(request).await.json();
        assert_eq!(
            (&waited["outcome"], &waited["effective_on"]),
            (&json!("applied"), &json!(effective)),
        );
        assert_eq!(waited["receipt"]["effective_on"], Value::Null, "a receipt never changes");
    }
    // Not before it has succeeded, and not where nothing is said of it.
    let mut waits = bench("2021-10-12T09:00:00+08:00");
    let transaction = waits.accepted(submission(asked(CHANGE), 1, 1));
    let shown_waiting = shown(waits, transaction).await;
    assert_eq!(
        (&shown_waiting["state"], &shown_waiting["effective_on"]),
        (&json!("in_flight"), &Value::Null)
    );
    let mut other = bench("2021-10-12T09:00:00+08:00");
    let transaction = other.accepted(submission(asked("service.online"), 1, 1));
    other.settle(Outcome::Applied(answer("ok")));
    let shown_other = shown(other, transaction).await;
    assert_eq!(
        (&shown_other["state"], &shown_other["effective_on"]),
        (&json!("applied"), &Value::Null)
    );
}

#[tokio::test]
async fn s0_05_what_is_replayed_later_counts_from_the_day_after_the_replay_on() {
    let mut bench = bench("2021-10-31T21:00:00+08:00");
    declare(&mut bench, stop("2021-10-31T21:30:00", "2021-11-01T06:00:00"));
    bench.set("2021-10-31T21:50:00+08:00");
    let Some(Reply::Accepted { transaction, accepted: Some(accepted), .. }) =
        bench.submit(submission(asked(CHANGE), 1, 1))
    else {
        panic!("not accepted")
    };
    let opening = at("2021-11-04T06:00:00+08:00");
    assert_eq!(accepted.told.resume_at, Some(opening), "the submitter is told");
    bench.set("2021-11-01T06:00:00+08:00");
    for _ in 0..3 {
        bench.probe("b", true);
    }
    bench.set("2021-11-04T05:59:59.999+08:00");
    assert!(bench.sent().is_empty());
    bench.set("2021-11-04T06:00:00+08:00");
    assert_eq!(bench.sent(), [transaction.0]);
    bench.settle(Outcome::Applied(answer("ok")));
    let shown = shown(bench, transaction).await;
    assert_eq!(
        (&shown["state"], &shown["effective_on"]),
        (&json!("applied"), &json!("2021-11-05"))
    );
    assert_eq!(shown["receipt"]["resume_at"], "2021-11-04T06:00:00+08:00");
}

#[tokio::test]
async fn s0_06_a_person_chooses_four_institutions_at_most() {
    let rig = online();
    let chosen = |count: usize| {
        let codes: Vec<String> = (0..count).map(|n| format!("H{n}")).collect();
        json!({"institutions": codes})
    };
    for count in [1, 4] {
        let answered = change(&rig, &format!("k{count}"), OCTOBER, chosen(count)).await;
        assert_eq!(answered.status, 202, "{count}");
    }
    let stored = rig.seen.lock().unwrap()[1].private.attributes["institutions"].clone();
    assert_eq!(stored, r#"["H0","H1","H2","H3"]"#, "in the order of the choice");
    let expected = "expected a list of 1 to 4 different texts of 1 to 64 characters";
    for wrong in [
        chosen(5),
        chosen(0),
        json!({"institutions": ["H1", "H1"]}),
        json!({"institutions": "H1"}),
        json!({"institutions": ["H1", 2]}),
        json!({"institutions": [""]}),
        json!({"institutions": {"0": "H1"}}),
    ] {
        let answered = change(&rig, "wrong", OCTOBER, wrong).await;
        assert_eq!(refused(&answered, "/attributes/institutions"), expected);
    }
    // The other reading: five places.
    let five = "[catalogue.line.'service.designated_institutions.request'.attributes.institutions]\n\
                at_most = 5";
    let rig = self::rig(five, Class::Portal, Channel::Online, OCTOBER);
    assert_eq!(change(&rig, "k", OCTOBER, chosen(5)).await.status, 202);
    assert_eq!(change(&rig, "l", OCTOBER, chosen(6)).await.status, 422);
}

#[tokio::test]
async fn s0_10_it_comes_by_one_of_two_portals_or_by_the_employer() {
    let rig = online();
    for entry in ["wechat_mp", "si_portal"] {
        let answered = change(&rig, entry, OCTOBER, json!({"entry": entry})).await;
        assert_eq!(answered.status, 202, "{entry}");
    }
    for entry in ["employer", "kiosk"] {
        let answered = change(&rig, entry, OCTOBER, json!({"entry": entry})).await;
        let said = refused(&answered, "/attributes/entry");
        assert_eq!(said, "expected one of wechat_mp, si_portal", "{entry}");
    }
    let employer = self::rig("", Class::Employer, Channel::System, OCTOBER);
    let mut body = json!({
        "business": "service.designated_institutions_by_employer", "operation": "request",
        "insured": "person-1", "occurred_at": "2021-09-30T09:00:00+08:00", "payload": {},
        "attributes": {"entry": "employer", "insutype": "310", "institutions": ["H1"]},
    });
    let answered = employer.submit("k", body.to_string()).await;
    assert_eq!(answered.status, 202, "it was there before self-service");
    body["attributes"]["entry"] = json!("wechat_mp");
    let answered = employer.submit("l", body.to_string()).await;
    assert_eq!(refused(&answered, "/attributes/entry"), "expected one of employer");
}

#[tokio::test]
async fn s0_11_self_service_began_on_4_october_2021_at_06_00() {
    let rig = online();
    for (time, is_taken) in [
        ("2021-10-03T12:00:00+08:00", false),
        ("2021-10-04T05:59:59.999+08:00", false),
        ("2021-10-04T06:00:00+08:00", true),
        ("2021-10-03T22:00:00Z", true),
    ] {
        let answered = change(&rig, time, time, json!({})).await;
        if is_taken {
            assert_eq!(answered.status, 202, "{time}");
        } else {
            let expected = "this business is open from 2021-10-04T06:00:00+08:00 on";
            assert_eq!(refused(&answered, "/occurred_at"), expected, "{time}");
        }
    }
}

#[tokio::test]
async fn s0_12_it_is_open_to_employees_and_residents() {
    let rig = online();
    for insutype in ["310", "390"] {
        let answered = change(&rig, insutype, OCTOBER, json!({"insutype": insutype})).await;
        assert_eq!(answered.status, 202, "{insutype}");
    }
    for insutype in [json!("510"), json!("340"), json!(310)] {
        let answered = change(&rig, "k", OCTOBER, json!({"insutype": insutype})).await;
        let said = refused(&answered, "/attributes/insutype");
        assert_eq!(said, "expected one of 310, 390", "{insutype}");
    }
    let answered = change(&rig, "k", OCTOBER, json!({"insutype": null})).await;
    assert_eq!(refused(&answered, "/attributes/insutype"), "missing");
}

#[tokio::test]
async fn s2_01_only_institutions_of_primary_care_apply() {
    for applicant in [
        "community_health_centre",
        "community_health_station",
        "township_health_centre",
        "village_clinic",
    ] {
        let answered = apply("2025-04-01", "", json!({"applicant": applicant})).await;
        assert_eq!(answered.status, 202, "{applicant}");
    }
    let answered = apply("2025-04-01", "", json!({"applicant": "general_hospital"})).await;
    let said = refused(&answered, "/attributes/applicant");
    assert!(said.starts_with("expected one of community_health_centre"), "{said}");
}

#[tokio::test]
async fn s2_11_false_data_bars_a_new_application_for_three_years() {
    let found = json!({"false_data_found_on": "2025-05-06"});
    for day in ["2025-05-06", "2028-04-01", "2028-05-05"] {
        let said = refused(&apply(day, "", found.clone()).await, "/attributes/false_data_found_on");
        assert_eq!(said, "must lie years:3 or longer before the day of occurred_at", "{day}");
    }
    for day in ["2028-05-06", "2028-07-03"] {
        assert_eq!(apply(day, "", found.clone()).await.status, 202, "{day}");
    }
    // The other reading: the corresponding day is not free yet.
    let key = "catalogue.line.'service.designation.apply'.attributes.false_data_found_on";
    let refuse = format!("[{key}]\nboundary = 'refused'");
    let answered = apply("2028-05-06", &refuse, found.clone()).await;
    let said = refused(&answered, "/attributes/false_data_found_on");
    assert_eq!(said, "must lie longer than years:3 before the day of occurred_at");
    assert_eq!(apply("2028-05-07", &refuse, found).await.status, 202);
}

#[tokio::test]
async fn s2_12_no_penalty_within_three_months_and_no_bad_record_within_three_years() {
    for (name, day, is_taken) in [
        ("penalty_on", "2025-01-02", false),
        ("penalty_on", "2025-01-01", true),
        ("penalty_on", "2024-12-31", true),
        // A day that has not come, or none at all.
        ("penalty_on", "2025-04-02", false),
        ("penalty_on", "2024-11-31", false),
        ("bad_credit_on", "2022-04-02", false),
        ("bad_credit_on", "2022-04-01", true),
    ] {
        let answered = apply("2025-04-01", "", json!({name: day})).await;
        assert_eq!(answered.status, if is_taken { 202 } else { 422 }, "{name} {day}");
        if !is_taken {
            refused(&answered, &format!("/attributes/{name}"));
        }
    }
    // Three months after 30 November the month has no such day: its last counts.
    for (day, status) in [("2025-02-27", 422), ("2025-02-28", 202)] {
        let answered = apply(day, "", json!({"penalty_on": "2024-11-30"})).await;
        assert_eq!(answered.status, status, "{day}");
    }
    // What is told names the term, and never the day that was sent.
    let answered = apply("2025-04-01", "", json!({"penalty_on": "2025-01-02"})).await;
    let said = refused(&answered, "/attributes/penalty_on");
    assert_eq!(said, "must lie months:3 or longer before the day of occurred_at");
}

#[test]
fn s2_02_s0_01_the_file_has_the_published_hours() {
    let config = portal_over("");
    let hours = |name: &str| {
        config.service_hours.iter().find(|hours| hours.name.as_str() == name).unwrap().clone()
    };
    let open = |name: &str, time: &str| hours(name).is_open(at(&format!("{time}+08:00")));
    for (time, is_open) in [
        ("2021-10-03T12:00:00", false),
        ("2021-10-04T05:59:59", false),
        ("2021-10-04T06:00:00", true),
        ("2021-10-31T21:59:59", true),
        ("2021-10-31T22:00:00", false),
    ] {
        assert_eq!(open("designated-institutions", time), is_open, "{time}");
    }
    for (time, is_open) in [
        ("2025-04-08T23:59:59", true),
        ("2025-04-09T00:00:00", false),
        ("2025-10-08T12:00:00", false),
        ("2025-10-11T00:00:00", true),
    ] {
        assert_eq!(open("designation", time), is_open, "{time}");
    }
}
