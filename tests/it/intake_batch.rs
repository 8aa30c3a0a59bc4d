//! Batches whose lines arrive bit by bit, break off, or are too many.

use crate::intake_rig::{Answered, Rig, Script, body, limits, rig, rig_within};
use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::Bytes;
use holdover::intake::Limits;
use holdover::web::body::BodyLimits;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

const BOUND: Duration = Duration::from_secs(20);

/// A body that is written while it is read.
struct Fed(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

fn line(number: usize) -> String {
    body(|b| b["idempotency_key"] = json!(format!("k-{number}"))) + "\n"
}

async fn send(rig: &Rig, body: Body) -> Answered {
    let request = rig
        .request("POST", "/v1/transactions/batch")
        .header("content-type", "application/x-ndjson");
    tokio::time::timeout(BOUND, rig.send(request.body(body).unwrap())).await.unwrap()
}

/// The answers of the lines, which must be numbered from 1.
fn answers(answered: &Answered) -> Vec<Value> {
    assert_eq!(answered.status, StatusCode::OK);
    let text = std::str::from_utf8(&answered.body).unwrap();
    let answers: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(answers.iter().zip(1..).all(|(answer, line)| answer["line"] == line), "{text}");
    answers
}

fn statuses(answered: &Answered) -> Vec<u64> {
    answers(answered).iter().map(|answer| answer["status"].as_u64().unwrap()).collect()
}

async fn reached_the_engine(rig: &Rig, many: usize) {
    let reached = async {
        while rig.seen.lock().unwrap().len() < many {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, reached).await.unwrap();
}

#[tokio::test]
async fn lines_are_submitted_while_others_are_still_to_come() {
    let rig = rig(Script::Accept(None));
    let (feed, fed) = mpsc::channel(1);
    let sender = async {
        // More than one window, in pieces that are no lines.
        let whole: String = (0..10).map(line).collect();
        let (first, rest) = whole.split_at(line(0).len() * 7 + 20);
        for piece in first.as_bytes().chunks(100) {
            feed.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        reached_the_engine(&rig, 7).await;
        assert_eq!(rig.seen.lock().unwrap().len(), 7, "half a line is no line");
        feed.send(Ok(Bytes::copy_from_slice(rest.as_bytes()))).await.unwrap();
        drop(feed);
    };
    let (answered, ()) = tokio::join!(send(&rig, Body::new(Fed(fed))), sender);
    assert_eq!(statuses(&answered), [202; 10]);
    let keys: Vec<String> = rig
        .seen
        .lock()
        .unwrap()
        .iter()
        .map(|submission| submission.private.idempotency_key.as_str().to_owned())
        .collect();
    assert_eq!(keys, (0..10).map(|n| format!("k-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_answered_as_far_as_it_came() {
    let broken = || Err(io::Error::from(io::ErrorKind::ConnectionReset));
    let begun = Bytes::from(line(1) + &line(2) + &line(3)[..50]);
    for (pieces, expected) in [
        (vec![Ok(begun), broken()], Some([202, 202, 400].as_slice())),
        (vec![Ok(Bytes::from_static(b"{\"idem")), broken()], None),
    ] {
        let rig = rig(Script::Accept(None));
        let (feed, fed) = mpsc::channel(2);
        for piece in pieces {
            feed.try_send(piece).unwrap();
        }
        let answered = send(&rig, Body::new(Fed(fed))).await;
        match expected {
            Some(expected) => {
                assert_eq!(statuses(&answered), expected);
                let last = &answers(&answered)[2];
                assert_eq!(last["problem"]["code"], "malformed");
                assert_eq!(rig.seen.lock().unwrap().len(), 2, "half a line is no submission");
            }
            None => assert_eq!(answered.status, StatusCode::BAD_REQUEST),
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_sending_is_cut_and_told_what_was_taken() {
    let batch = BodyLimits { timeout: Duration::from_millis(200), ..limits().batch };
    let rig = rig_within(Script::Accept(None), Limits { batch, ..limits() });
    let (feed, fed) = mpsc::channel(1);
    feed.try_send(Ok(Bytes::from(line(1)))).unwrap();
    let answered = send(&rig, Body::new(Fed(fed))).await;
    assert_eq!(statuses(&answered), [202, 408]);
    drop(feed);
}

#[tokio::test]
async fn lines_beyond_the_limit_are_one_answer_and_no_submission() {
    let rig = rig(Script::Accept(None));
    let most = limits().batch_lines_max;
    let lines = "x\n".repeat(most) + &line(1) + &line(2);
    let statuses = statuses(&send(&rig, lines.into()).await);
    assert_eq!(statuses.len(), most + 1);
    assert!(statuses[..most].iter().all(|&status| status == 400));
    assert_eq!(statuses[most], 413);
    assert!(rig.seen.lock().unwrap().is_empty());
}

/// A submission of `bytes` in all.
fn sized(bytes: usize, change: impl Fn(&mut Value)) -> String {
    let with = |payload: String| {
        body(|b| {
            change(b);
            b["payload"] = json!(payload);
        })
    };
    with("x".repeat(bytes - with(String::new()).len()))
}

#[tokio::test]
async fn a_submission_may_have_as_many_bytes_as_the_limit_says_and_not_one_more() {
    let most = 2000;
    let limits = Limits { body: BodyLimits { bytes_max: most, ..limits().body }, ..limits() };
    for (bytes, status) in [(most, 202), (most + 1, 413)] {
        let told = |body: &Value| {
            let detail = body["detail"].as_str().unwrap_or_default();
            assert_eq!(detail.contains("more than 2000 bytes"), status == 413, "{bytes}: {body}");
        };
        let rig = rig_within(Script::Accept(None), limits);
        let whole = sized(bytes, |_| ());
        let (feed, streamed) = mpsc::channel(1);
        feed.try_send(Ok(Bytes::from(whole.clone()))).unwrap();
        drop(feed);
        for (key, sent) in [("whole", whole.into()), ("streamed", Body::new(Fed(streamed)))] {
            let answered = rig.submit(key, sent).await;
            assert_eq!(answered.status, status, "{key}, {bytes} bytes");
            told(&answered.json());
        }
        let line = sized(bytes, |b| b["idempotency_key"] = json!("line"));
        let answered = send(&rig, (line + "\n").into()).await;
        assert_eq!(statuses(&answered), [u64::from(status)]);
        told(&answers(&answered)[0]["problem"]);
    }
}

#[tokio::test]
async fn a_line_or_body_that_is_too_long_is_refused() {
    let rig = rig(Script::Accept(None));
    let long = line(2).replace("JSON", &"x".repeat(1 << 20));
    let answered = send(&rig, (line(1) + &long + &line(3)).into()).await;
    assert_eq!(statuses(&answered), [202, 413, 202]);
    let declared = "x".repeat(limits().batch.bytes_max + 1);
    assert_eq!(send(&rig, declared.into()).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(rig.seen.lock().unwrap().len(), 2);
}
