//! Submitting over HTTP: validation, receipts, repeats, refusals, batches, whose is what.

use crate::intake_rig::{Answered, NOW, Script, at, body, institution, key_of, rig};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use holdover::domain::cell::Channel;
use holdover::engine::event::{Fault, Live, Sought};
use holdover::engine::ports::Answer;
use holdover::web::access::{Scope, create};
use holdover::web::server::{ServerLimits, serve};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const ACCEPT: Script = Script::Accept(None);

#[tokio::test]
async fn a_submission_is_accepted_with_a_receipt_and_a_place() {
    let rig = rig(ACCEPT);
    let answered = rig.submit("k-1", body(|_| {})).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{:?}", answered.body);
    let receipt = answered.json();
    assert_eq!(receipt["id"], "txn_0000000000010000");
    assert_eq!(receipt["number"], "0000-0000-0001-0000");
    assert_eq!(answered.headers["location"], "/v1/transactions/txn_0000000000010000");
    assert_eq!(receipt["accepted_at"], "2022-08-13T10:30:00+08:00");
    assert_eq!(receipt["fund_settled"], "false");
    assert_eq!(receipt["policy"]["clause"], "(二)4");
    assert_eq!(receipt["resume_at"], "2022-08-15T06:00:00+08:00");
    assert_eq!(receipt["deadline"]["original"], "2022-08-13");
    assert!(receipt["message"]["zh"].as_str().unwrap().contains("2022年8月15日06:00"));
    assert!(receipt["message"]["en"].as_str().unwrap().contains("2022-08-15 06:00"));
    for field in ["counter_action", "invoice", "ticket", "resettle", "bring", "alternative"] {
        assert!(receipt.get(field).is_some(), "{field}");
    }
    assert_eq!(receipt["needs_credential"], false);
    assert!(!answered.headers.contains_key("idempotency-replayed"));
}

#[tokio::test]
async fn the_engine_gets_exactly_what_was_sent() {
    let rig = rig(ACCEPT);
    let payload = "{ \"b\" :1.10,\"a\":[ 1e2,\"\\u4e2d\" ]}";
    let sent = body(|b| b["payload"] = json!("PAYLOAD")).replace("\"PAYLOAD\"", payload);
    assert_eq!(rig.submit("\"k-1\"", sent).await.status, StatusCode::ACCEPTED);
    let seen = rig.seen.lock().unwrap();
    let submission = &seen[0];
    assert_eq!(submission.private.payload, payload.as_bytes());
    assert_eq!(submission.private.idempotency_key.as_str(), "k-1");
    assert_eq!(submission.amount.fen(), 123_450);
    let attributes: Vec<(&str, &str)> =
        submission.cell.attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let expected =
        [("fully_prepaid", "true"), ("population", "employee"), ("special_case", "false")];
    assert_eq!(attributes, expected);
    assert_eq!(submission.cell.channel, Channel::System);
    assert_eq!(submission.wait, None);
}

#[tokio::test]
async fn only_attributes_of_the_cell_and_the_presence_of_a_ground_reach_it() {
    let rig = rig(ACCEPT);
    let sent = body(|b| {
        b["ground"] = json!("special_case:SC-12");
        b["attributes"]["remark"] = json!("by post");
        b["attributes"]["born"] = json!("1990-01-02");
    });
    assert_eq!(rig.submit("k-1", sent).await.status, StatusCode::ACCEPTED);
    let seen = rig.seen.lock().unwrap();
    assert_eq!(seen[0].cell.attributes["special_case"], "true");
    assert!(!seen[0].cell.attributes.contains_key("remark"));
    assert!(!seen[0].cell.attributes.contains_key("born"));
    assert_eq!(seen[0].private.attributes["born"], "1990-01-02");
}

#[tokio::test]
async fn a_repeat_gets_the_first_receipt_to_the_byte() {
    let rig = rig(ACCEPT);
    let first = rig.submit("k-1", body(|_| {})).await;
    let again = rig.submit("k-1", body(|_| {})).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(first.body, again.body);
    assert_eq!(again.headers["idempotency-replayed"], "true");
}

type Change = fn(&mut Value, u32);

#[tokio::test]
async fn each_field_and_the_payloads_bytes_are_part_of_the_intent_but_not_the_credential() {
    let rig = rig(ACCEPT);
    rig.submit("k-1", body(|_| {})).await;
    let other = "txn_0000000000090000";
    let changes: [(&str, Value); 13] = [
        ("insured", json!("person-2")),
        ("visit", json!("v-1")),
        ("occurred_at", json!("2022-08-13T10:00:01+08:00")),
        ("received_from_person_at", json!(null)),
        ("amount", json!("1234.51")),
        ("deadline", json!("2022-08-14")),
        ("ground", json!("special_case:SC-12")),
        ("attributes", json!({"population": "resident", "fully_prepaid": true})),
        (
            "attachments",
            json!([{"name": "a", "bytes": 1,
            "digest": format!("sha256:{}", "0".repeat(64))}]),
        ),
        ("replaces", json!(other)),
        ("depends_on", json!(other)),
        ("payload", json!({"any": "json"})),
        ("payload", json!([])),
    ];
    for (field, value) in changes {
        let answered = rig.submit("k-1", body(|b| b[field] = value)).await;
        assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert_eq!(answered.code(), "idempotency_key_reused", "{field}: {:?}", answered.body);
    }
    // A ground also shows in an attribute, and only a backfill has a first day.
    for (key, change) in [
        ("k-2", (|b: &mut Value, n| b["ground"] = json!(format!("special_case:{n}"))) as Change),
        ("k-3", |b, n| {
            b["business"] = json!("filing.out_of_area");
            b["operation"] = json!("backfill");
            b["attributes"] = json!({});
            b["covers_from"] = json!(format!("2022-08-{n}"));
        }),
    ] {
        let first = rig.submit(key, body(|b| change(b, 12))).await;
        assert_eq!(first.status, StatusCode::ACCEPTED, "{:?}", first.body);
        let other = rig.submit(key, body(|b| change(b, 13))).await;
        assert_eq!(other.code(), "idempotency_key_reused", "{key}");
    }
    let spaced = body(|_| {}).replace("{\"any\":\"JSON\"}", "{\"any\": \"JSON\"}");
    assert_eq!(rig.submit("k-1", spaced).await.code(), "idempotency_key_reused");
    let same = body(|b| {
        b["credential"] = json!("token-1");
        b["amount"] = json!("1234.5");
        b["occurred_at"] = json!("2022-08-13T02:00:00Z");
        b["visit"] = json!(null);
        b["channel"] = json!("system");
    });
    assert_eq!(rig.submit("k-1", same).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn all_wrong_fields_are_told_at_once() {
    let rig = rig(ACCEPT);
    let sent = body(|b| {
        b["insured"] = json!("");
        b["channel"] = json!("hall");
        b["occurred_at"] = json!("2022-08-13 10:00");
        b["received_from_person_at"] = json!("2022-08-13T12:00:00+08:00");
        b["amount"] = json!(12.5);
        b["deadline"] = json!("2022-8-13");
        b["attributes"] = json!({"population": "other", "special_case": true, "colour": "red"});
        b["attachments"] = json!([{"name": "a", "digest": "md5:1", "bytes": 1}]);
        b["replaces"] = json!("txn_1");
        b["covers_from"] = json!("2022-08-13");
        b["surprise"] = json!(1);
    });
    let answered = rig.submit("k-1", sent).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.code(), "invalid");
    assert_eq!(answered.headers["content-type"], "application/problem+json");
    let mut pointers = answered.pointers();
    pointers.sort();
    let expected = [
        "/amount",
        "/attachments/0/digest",
        "/attributes/colour",
        "/attributes/fully_prepaid",
        "/attributes/population",
        "/attributes/special_case",
        "/channel",
        "/covers_from",
        "/deadline",
        "/insured",
        "/occurred_at",
        "/received_from_person_at",
        "/replaces",
        "/surprise",
    ];
    assert_eq!(pointers, expected);
    assert!(rig.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_missing_is_told_at_once() {
    let rig = rig(ACCEPT);
    let mut pointers = rig.submit("k-1", "{}").await.pointers();
    pointers.sort();
    assert_eq!(pointers, ["/business", "/insured", "/occurred_at", "/operation", "/payload"]);
    let settlement = body(|b| {
        b["business"] = json!("settlement.outpatient");
        b["operation"] = json!("request");
        b["amount"] = json!(null);
        b["attributes"] = json!(null);
    });
    assert_eq!(rig.submit("k-1", settlement).await.pointers(), ["/amount"]);
    let negative = body(|b| b["amount"] = json!("-0.01"));
    assert_eq!(rig.submit("k-1", negative).await.pointers(), ["/amount"]);
    let backfill = body(|b| {
        b["business"] = json!("filing.out_of_area");
        b["operation"] = json!("backfill");
        b["attributes"] = json!({});
    });
    assert_eq!(rig.submit("k-1", backfill).await.pointers(), ["/covers_from"]);
}

#[tokio::test]
async fn a_line_is_open_to_its_classes_and_channels_only() {
    let rig = rig(ACCEPT);
    let employer = body(|b| {
        b["business"] = json!("filing.employer");
        b["attributes"] = json!({});
    });
    assert_eq!(rig.submit("k-1", employer).await.pointers(), ["/operation"]);
    let holder = institution("H11010500002");
    let several = [Channel::Hall, Channel::Online];
    let key = create(&rig.keys, key_of(holder, &several, &[Scope::Submit])).unwrap();
    let rig = crate::intake_rig::Rig { key, ..rig };
    assert_eq!(rig.submit("k-1", body(|_| {})).await.pointers(), ["/channel"]);
    let online = rig.submit("k-1", body(|b| b["channel"] = json!("online"))).await;
    assert_eq!(online.pointers(), ["/channel"]);
    let hall = rig.submit("k-1", body(|b| b["channel"] = json!("hall"))).await;
    assert_eq!(hall.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_credential_in_the_payload_is_refused_and_elsewhere_goes_to_memory_only() {
    let rig = rig(ACCEPT);
    let sent = body(|b| b["payload"] = json!({"a": [{"MDTRT_cert_no": "1"}]}));
    let answered = rig.submit("k-1", sent).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.code(), "credential_in_payload");
    assert_eq!(answered.pointers(), ["/payload"]);
    let sent = body(|b| b["credential"] = json!("secret-token"));
    rig.submit("k-2", sent).await;
    let seen = rig.seen.lock().unwrap();
    assert_eq!(seen[0].credential.as_deref(), Some(&b"secret-token"[..]));
    assert!(!format!("{:?}", seen[0]).contains("secret-token"));
    assert!(!format!("{:?}", seen[0]).contains("person-1"));
}

#[tokio::test]
async fn a_missing_or_bad_idempotency_key_is_a_400() {
    let rig = rig(ACCEPT);
    for key in [None, Some("a b"), Some("\"open")] {
        let mut request = rig.request("POST", "/v1/transactions");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answered = rig.send(request.body(body(|_| {}).into()).unwrap()).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST);
        assert_eq!(answered.code(), "idempotency_key_missing");
    }
    let inside = rig.submit("k-1", body(|b| b["idempotency_key"] = json!("k-2"))).await;
    assert_eq!(inside.pointers(), ["/idempotency_key"]);
}

#[tokio::test]
async fn bodies_that_cannot_be_read_or_are_too_large_are_refused() {
    let rig = rig(ACCEPT);
    for sent in ["", "[]", "{\"business\":", "\u{feff}{}"] {
        assert_eq!(rig.submit("k-1", sent).await.status, StatusCode::BAD_REQUEST, "{sent}");
    }
    let large = body(|b| b["payload"] = json!("x".repeat(1 << 20)));
    assert_eq!(rig.submit("k-1", large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let request = rig.request("POST", "/v1/transactions").header("content-type", "text/plain");
    let request = request.header("idempotency-key", "k").body(body(|_| {}).into()).unwrap();
    assert_eq!(rig.send(request).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn somebody_who_waits_gets_what_came_of_it() {
    let core = || Answer {
        body: Bytes::from_static(b"{ \"code\" : 0 }"),
        sealed: None,
        business_status: None,
    };
    let cases = [
        (Live::Applied { answer: core(), at: at(NOW) }, "applied", "true", "charge_split"),
        (Live::Refused { code: "E1".into(), answer: core() }, "refused", "false", "none"),
        (Live::Ticketed, "ticketed", "false", "charge_full"),
        (Live::DoNotFinalise, "do_not_finalise", "unknown", "do_not_finalise"),
        (Live::Waiting, "waiting", "unknown", "none"),
    ];
    for (live, outcome, fund_settled, action) in cases {
        let rig = rig(Script::Accept(Some(live)));
        let sent = body(|b| {
            b["business"] = json!("settlement.outpatient");
            b["operation"] = json!("request");
            b["attributes"] = json!({});
        });
        let plain = rig.submit("k-1", sent.clone()).await;
        assert_eq!(plain.status, StatusCode::ACCEPTED);
        let request = rig
            .request("POST", "/v1/transactions")
            .header("idempotency-key", "k-1")
            .header("prefer", "wait=5");
        let waited = rig.send(request.body(sent.into()).unwrap()).await;
        assert_eq!(waited.status, StatusCode::OK);
        let answer = waited.json();
        assert_eq!(answer["receipt"], plain.json());
        assert_eq!(answer["outcome"], outcome);
        assert_eq!(answer["fund_settled"], fund_settled);
        assert_eq!(answer["counter_action"], action);
        let ticket = (outcome == "ticketed").then_some("tkt_0000000000010000");
        assert_eq!(answer["ticket"].as_str(), ticket);
        if outcome == "applied" {
            let text = String::from_utf8(waited.body.to_vec()).unwrap();
            assert!(text.contains("\"answer\":{ \"code\" : 0 }"), "{text}");
        }
    }
}

#[tokio::test]
async fn who_is_turned_away_gets_number_time_and_both_languages() {
    let rig = rig(Script::TurnAway);
    let answered = rig.submit("k-1", body(|_| {})).await;
    assert_eq!(answered.status, StatusCode::CONFLICT);
    let problem = answered.json();
    assert_eq!(problem["code"], "business_suspended");
    assert_eq!(problem["type"], "https://holdover.invalid/problems/business_suspended");
    assert_eq!(problem["refusal"], "ref_00000000002D0000");
    assert_eq!(problem["resume_at"], "2022-08-15T06:00:00+08:00");
    assert_eq!(problem["window"]["window"], "beijing-2022-08");
    assert_eq!(problem["retryable"], true);
    assert!(problem["message"]["zh"].as_str().unwrap().contains("ref_00000000002D0000"));
    assert!(problem["message"]["en"].as_str().unwrap().contains("2022-08-15 06:00"));
    let until_restart = (43 * 3600 + 30 * 60).to_string();
    assert_eq!(answered.headers["retry-after"], until_restart.as_str());
    assert_eq!(problem["request_id"], answered.headers["x-request-id"].to_str().unwrap());
}

#[tokio::test]
async fn faults_and_our_own_inability_have_their_statuses() {
    let state = || "applied".to_owned();
    for (fault, status, code) in [
        (Fault::NotFound(Sought::Transaction), 404, "not_found"),
        (Fault::WrongState { what: "it", state: state() }, 409, "wrong_state"),
        (Fault::Changed { current: 2 }, 412, "changed"),
        (Fault::BeingReplaced, 409, "being_replaced"),
        (Fault::OpenTicket, 409, "open_ticket"),
        (Fault::PolicyDemands("a report file must be attached"), 422, "policy_demands"),
        (Fault::NotCovered("2022-08-11".parse().unwrap()), 422, "not_covered"),
        (Fault::Invalid("no".to_owned()), 422, "invalid"),
    ] {
        let rig = rig(Script::Fault(fault));
        let answered = rig.submit("k-1", body(|_| {})).await;
        assert_eq!((answered.status.as_u16(), answered.code().as_str()), (status, code));
    }
    let stopping = rig(Script::Stopping);
    let answered = stopping.submit("k-1", body(|_| {})).await;
    assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answered.headers.contains_key("retry-after"));
    let full = rig(ACCEPT);
    full.disk_reserve.store(true, Ordering::Relaxed);
    assert_eq!(full.submit("k-1", body(|_| {})).await.status, StatusCode::INSUFFICIENT_STORAGE);
    assert!(full.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_a_good_key_and_scope_nothing_is_done() {
    let rig = rig(ACCEPT);
    let bare = Request::builder().method("POST").uri("/v1/transactions");
    let answered = rig.send(bare.body(Body::empty()).unwrap()).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    assert!(answered.headers.contains_key("www-authenticate"));
    let reader =
        create(&rig.keys, key_of(institution("H1"), &[Channel::System], &[Scope::Read])).unwrap();
    let rig = crate::intake_rig::Rig { key: reader, ..rig };
    let answered = rig.submit("k-1", body(|_| {})).await;
    assert_eq!((answered.status, answered.code().as_str()), (StatusCode::FORBIDDEN, "forbidden"));
}

#[tokio::test]
async fn a_batch_answers_each_line_in_order() {
    let rig = rig(ACCEPT);
    let mut lines: Vec<String> =
        (1..=20).map(|n| body(|b| b["idempotency_key"] = json!(format!("k-{n}")))).collect();
    lines[3] = "{\"nonsense\"".to_owned();
    lines[7] = body(|_| {});
    lines[11] = lines[0].clone();
    // An empty line counts, so that a submitter finds the lines of its own file.
    lines.insert(5, " ".to_owned());
    let request = rig
        .request("POST", "/v1/transactions/batch")
        .header("content-type", "application/x-ndjson");
    let answered = rig.send(request.body(lines.join("\n").into()).unwrap()).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!(answered.headers["content-type"], "application/x-ndjson");
    let text = String::from_utf8(answered.body.to_vec()).unwrap();
    let answers: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), 20);
    for (place, answer) in answers.iter().enumerate() {
        assert_eq!(answer["line"], if place < 5 { place + 1 } else { place + 2 });
        let status = match place {
            3 => 400,
            7 => 422,
            _ => 202,
        };
        assert_eq!(answer["status"], status, "{answer}");
    }
    assert_eq!(answers[11]["receipt"], answers[0]["receipt"]);
    assert_eq!(answers[11]["replayed"], true);
    assert!(answers[7]["problem"]["request_id"].is_string());
    let ids: Vec<&str> = answers.iter().filter_map(|a| a["receipt"]["id"].as_str()).collect();
    assert_eq!(ids.len(), 18);

    let single = rig.submit("k-1", body(|_| {})).await;
    assert_eq!(single.json(), answers[0]["receipt"], "the same intent by either way");
}

#[tokio::test]
async fn listings_that_are_away_are_said_to_be_away_and_foreign_numbers_are_unknown() {
    let rig = rig(ACCEPT);
    let answered = rig.get("/v1/transactions").await;
    assert_eq!(answered.code(), "index_unavailable");
    assert!(answered.headers.contains_key("retry-after"));
    for path in ["/v1/transactions/txn_0020000000000001", "/v1/transactions/110101199003070011"] {
        assert_eq!(rig.get(path).await.status, StatusCode::NOT_FOUND);
    }
    for path in ["/v1/transactions?state=held", "/v1/transactions?limit=0", "/v1/tickets?x=1"] {
        assert_eq!(rig.get(path).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
    let check = "/v1/deadlines/check?business=nothing&original=2022-08-33&received=now";
    assert_eq!(rig.get(check).await.pointers(), ["/business", "/original", "/received"]);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let rig = rig(ACCEPT);
    let answered = rig.get("/v1/nothing").await;
    assert_eq!((answered.status, answered.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let put = rig.request("PUT", "/v1/transactions").body(Body::empty()).unwrap();
    let answered = rig.send(put).await;
    assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answered.code(), "method_not_allowed");
    assert!(answered.headers.contains_key("allow"));
}

/// A made-up identity number with a good check digit.
const CANARY: &str = "110101199003070011";

async fn every_error_with_the_canary(rig: &crate::intake_rig::Rig) -> Vec<Answered> {
    let fields = [
        "business",
        "operation",
        "insured",
        "visit",
        "channel",
        "occurred_at",
        "deadline",
        "received_from_person_at",
        "amount",
        "ground",
        "attributes",
        "attachments",
        "replaces",
        "depends_on",
        "covers_from",
        "credential",
        "payload",
        CANARY,
    ];
    let mut all = Vec::new();
    for field in fields {
        for value in [
            json!(CANARY),
            json!({CANARY: CANARY}),
            json!([CANARY]),
            json!([{"name": CANARY, "digest": CANARY, "bytes": CANARY}]),
            json!({"population": CANARY, "born": CANARY, "card_password": CANARY}),
            json!(CANARY.repeat(100)),
        ] {
            let sent = body(|b| b[field] = value.clone());
            let line = body(|b| {
                b["idempotency_key"] = json!(format!("{CANARY} {CANARY}"));
                b[field] = value;
            });
            all.push(rig.submit("k-1", sent).await);
            let request = rig.request("POST", "/v1/transactions/batch");
            all.push(rig.send(request.body(line.into()).unwrap()).await);
        }
    }
    for sent in [format!("{{\"a\":{CANARY}x"), format!("\"{CANARY}\""), CANARY.to_owned()] {
        all.push(rig.submit("k-1", sent.clone()).await);
        for path in [
            "/v1/transactions/txn_0000000000010000/withdraw".to_owned(),
            "/v1/tickets/tkt_0000000000010000/close".to_owned(),
            "/v1/deadlines".to_owned(),
            format!("/v1/tickets/{CANARY}/close"),
        ] {
            let request = rig.request("POST", &path).body(sent.clone().into()).unwrap();
            all.push(rig.send(request).await);
            let wrong = json!({CANARY: CANARY, "reason": CANARY, "business": CANARY}).to_string();
            let request = rig.request("POST", &path).body(wrong.into()).unwrap();
            all.push(rig.send(request).await);
        }
    }
    for path in [
        format!("/v1/transactions/{CANARY}"),
        format!("/v1/transactions?state={CANARY}&after={CANARY}&limit={CANARY}&{CANARY}={CANARY}"),
        format!("/v1/policy?business={CANARY}&operation={CANARY}&at={CANARY}&{CANARY}=1"),
        format!("/v1/deadlines/check?business={CANARY}&original={CANARY}&received={CANARY}"),
        format!("/{CANARY}"),
    ] {
        all.push(rig.get(&path).await);
    }
    all
}

#[tokio::test]
async fn an_identity_number_in_any_place_never_comes_back_in_an_error() {
    let rig = rig(Script::TurnAway);
    let all = every_error_with_the_canary(&rig).await;
    assert!(all.len() > 200);
    for answered in all {
        let text = String::from_utf8_lossy(&answered.body);
        assert!(!text.contains(CANARY), "{text}");
        assert!(!format!("{:?}", answered.headers).contains(CANARY));
        assert!(answered.status.as_u16() >= 400 || text.contains("\"problem\""), "{text}");
    }
}

/// Posts a good submission with these heads over a connection of its own; status and body.
async fn over_a_socket(address: std::net::SocketAddr, heads: &[(&str, &str)]) -> (u16, Value) {
    let sent = body(|_| {});
    let mut text = format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        sent.len()
    );
    for (name, value) in heads {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("\r\n{sent}"));
    let answered = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answered = String::new();
        stream.read_to_string(&mut answered).await.unwrap();
        answered
    };
    let answered = tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    let (head, body) = answered.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn two_keys_of_the_intent_or_of_the_caller_are_refused_and_nothing_is_accepted() {
    let rig = rig(ACCEPT);
    let mut other = institution("H11010500002");
    other.district = "110101".parse().unwrap();
    let other = create(&rig.keys, key_of(other, &[Channel::System], &[Scope::Submit])).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let limits = ServerLimits::default();
    let served = tokio::spawn(serve(listener, rig.router.clone(), limits, stop.clone()));
    let (mine, theirs) = (format!("Bearer {}", rig.key), format!("Bearer {other}"));
    let (mine, theirs) = (("Authorization", mine.as_str()), ("authorization", theirs.as_str()));
    let (one, two) = (("Idempotency-Key", "k-1"), ("idempotency-key", "k-2"));
    for (heads, status, code) in [
        (vec![mine, one, two], 400, "idempotency_key_missing"),
        (vec![mine, one, one], 400, "idempotency_key_missing"),
        (vec![mine, theirs, one], 401, "unauthenticated"),
        (vec![theirs, mine, one], 401, "unauthenticated"),
        (vec![mine, mine, one], 401, "unauthenticated"),
    ] {
        let answered = over_a_socket(address, &heads).await;
        assert_eq!((answered.0, &answered.1["code"]), (status, &json!(code)), "{}", answered.1);
    }
    assert!(rig.seen.lock().unwrap().is_empty(), "the engine has seen none of them");
    let (status, receipt) = over_a_socket(address, &[mine, one]).await;
    assert_eq!(status, 202, "{receipt}");
    stop.cancel();
    served.await.unwrap();
}
