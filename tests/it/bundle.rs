//! The policy ahead as a signed bundle: it says what the question says, and nobody else can say it.

use crate::engine_scenarios::{at, window};
use crate::engine_support::{NoRuns, settings};
use crate::house::{House, NOW, Says, Shelf};
use axum::http::header;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdover::domain::gate::Probe;
use holdover::domain::policy::Disposition;
use holdover::domain::time::Timestamp;
use holdover::domain::time::{Monotonic, Now};
use holdover::engine::event::{Command, Event, Order, ReplyTo};
use holdover::engine::machine::Machine;
use holdover::engine::step::Decision;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A house in which a window over both parts is on, and one more is to come.
fn house() -> House {
    let mut machine = Machine::new(settings(), Box::new(NoRuns));
    let mut decided = Decision::default();
    let mut later = window(Disposition::Refuse);
    later.id = "later".parse().unwrap();
    later.planned.start = at("2022-08-16T19:00:00+08:00");
    later.planned.end = at("2022-08-17T06:00:00+08:00");
    let now = Now { wall: at("2022-08-12T17:00:00+08:00"), monotonic: Monotonic(0) };
    for one in [window(Disposition::Hold), later] {
        let command = Command::DeclareWindow(Box::new(one));
        let (by, reason) = ("operator".to_owned(), "the notice".to_owned());
        let order = Box::new(Order { by, reason, command });
        machine.step(now, Event::Order(ReplyTo(1), order), &mut decided);
    }
    // A core that is away without a plan is no part of what is planned.
    for _ in 0..3 {
        let probe = Probe { began: Monotonic(0), good: false };
        let upstream = "b".parse().unwrap();
        machine.step(now, Event::Probed { upstream, probe }, &mut decided);
    }
    let shelf = Shelf::default();
    for (_, change) in &decided.changes {
        shelf.push(change.clone());
    }
    decided.effects.clear();
    decided.changes.clear();
    House::over(machine, decided, Box::new(shelf.clone()), Arc::new(shelf), Says(Ok(None)))
}

/// Whether the text is signed by the key, and what it says.
fn verified(text: &str, key: &[u8]) -> Option<Value> {
    let (signed, signature) = text.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(&ED25519, key).verify(signed.as_bytes(), &signature).ok()?;
    let (header, payload) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &"holdover-policy+jws".into()));
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[tokio::test]
async fn what_the_bundle_says_of_any_instant_is_what_the_question_answers() {
    let house = house();
    let keys = house.get("/v1/policy/keys", &house.mine).await;
    let key = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
    let (status, headers, text) = house.text("/v1/policy/bundle", &house.mine).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(headers[header::CONTENT_TYPE], "application/jose");
    let bundle = verified(&text, &key).unwrap();

    assert_eq!(bundle["institution"], "H11010500001");
    assert_eq!(bundle["expires_at"], "2022-08-14T10:30:00+08:00");
    let ids: Vec<&Value> = bundle["windows"].as_array().unwrap().iter().map(|w| &w["id"]).collect();
    assert_eq!(ids, ["stop", "later"]);
    let mut asked = 0;
    for kind in bundle["policy"].as_array().unwrap() {
        let spans = kind["spans"].as_array().unwrap();
        assert!(spans.len() >= 3, "held, open, refused: {kind}");
        let instant = |span: &Value, name: &str| -> Timestamp {
            span[name].as_str().unwrap().parse().unwrap()
        };
        assert_eq!(instant(&spans[0], "from"), at(NOW));
        for pair in spans.windows(2) {
            assert_eq!(pair[0]["until"], pair[1]["from"], "no gap");
        }
        for span in spans {
            let (from, until) = (instant(span, "from"), instant(span, "until"));
            for at in [from.after(Duration::from_millis(1)), until.before(Duration::from_secs(1))] {
                let of = |name: &str| kind[name].as_str().unwrap().to_owned();
                let path = format!(
                    "/v1/policy?business={}&operation={}&channel={}&at={at}",
                    of("business"),
                    of("operation"),
                    of("channel")
                );
                let answer = house.get(&path, &house.mine).await;
                for name in ["disposition", "counter_action", "because", "resume_at", "policy"] {
                    assert_eq!(span[name], answer[name], "{name} at {at}: {span} {answer}");
                }
                asked += 1;
            }
        }
    }
    assert!(asked >= 6, "{asked}");

    // A flipped letter anywhere, another key: not ours.
    for place in (0..text.len()).step_by(97) {
        let mut other = text.clone().into_bytes();
        other[place] = if other[place] == b'A' { b'B' } else { b'A' };
        let other = String::from_utf8(other).unwrap();
        assert!(other == text || verified(&other, &key).is_none(), "at {place}");
    }
    assert!(verified(&text, &[1; 32]).is_none());
    house.close();
}
