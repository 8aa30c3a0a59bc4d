//! What a post says on the wire: path, headers and body, as a submitter's system would write it.

use super::kinds::Kind;
use super::population::Population;
use super::schedule::{Flaw, Post, Twist};
use crate::domain::attachment::Digest;
use crate::domain::money::format_fen;
use crate::domain::time::{Timestamp, Zone};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The zone of the notice.
pub const ZONE: Zone = chrono_tz::Asia::Shanghai;

/// How long a counter waits for the core's answer.
const WAIT_SECONDS: u32 = 30;

/// One request of a submitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The idempotency key; `None` where it was forgotten.
    pub key: Option<String>,
    /// For how many seconds the submitter waits for the core's answer.
    pub wait: Option<u32>,
    /// The body.
    pub body: String,
    /// The files that it names, which are uploaded first.
    pub files: Vec<Bytes>,
}

/// The request of `post`.
#[must_use]
pub fn request(post: &Post, city: &Population) -> Request {
    let flaw = match post.twist {
        Twist::Spoilt(flaw) => Some(flaw),
        Twist::Plain
        | Twist::Repeat(_)
        | Twist::KeyReused(_)
        | Twist::NotCovered
        | Twist::NoReportFile => None,
    };
    let mut body = submission(post, city);
    match flaw {
        Some(Flaw::UnknownField) => {
            body.insert("colour".to_owned(), json!("blue"));
        }
        Some(Flaw::BadAmount) => {
            body.insert("amount".to_owned(), json!("12.345"));
        }
        Some(Flaw::UnknownBusiness) => {
            body.insert("business".to_owned(), json!("settlement.veterinary"));
        }
        Some(Flaw::NoKey | Flaw::NotJson) | None => {}
    }
    let mut body = Value::Object(body).to_string();
    if flaw == Some(Flaw::NotJson) {
        body.truncate(body.len() / 2);
    }
    Request {
        key: (flaw != Some(Flaw::NoKey)).then(|| post.key.clone()),
        wait: post.kind.waits().then_some(WAIT_SECONDS),
        body,
        files: report_file(post).into_iter().collect(),
    }
}

/// The request that settles `original` again, in place of the transaction `replaces`, at `now`.
#[must_use]
pub fn resettlement(
    original: &Post,
    city: &Population,
    replaces: &str,
    key: String,
    now: Timestamp,
) -> Request {
    let mut body = submission(original, city);
    body.insert("replaces".to_owned(), json!(replaces));
    body.insert("occurred_at".to_owned(), json!(now.rfc3339(ZONE)));
    Request {
        key: Some(key),
        wait: original.kind.waits().then_some(WAIT_SECONDS),
        body: Value::Object(body).to_string(),
        files: report_file(original).into_iter().collect(),
    }
}

/// The bytes of a report file.
const REPORT_BYTES: usize = 52_311;

/// The report file (an xls) that `post` brings, where it has not forgotten it.
fn report_file(post: &Post) -> Option<Bytes> {
    if post.kind != Kind::SpecialCase || post.twist == Twist::NoReportFile {
        return None;
    }
    let mut file = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1".to_vec();
    file.extend_from_slice(format!("case {}", post.person).as_bytes());
    file.resize(REPORT_BYTES, 0);
    Some(file.into())
}

/// The digest of a file, as it is named.
#[must_use]
pub fn digest_of(file: &[u8]) -> Digest {
    let hash = ring::digest::digest(&ring::digest::SHA256, file);
    Digest::new(hash.as_ref().first_chunk().copied().unwrap_or_default())
}

/// The body that registers a case without a transaction.
#[must_use]
pub fn registration(business: &str, original: impl ToString, reference: &str) -> String {
    json!({
        "business": business,
        "original": original.to_string(),
        "reference": reference,
    })
    .to_string()
}

fn submission(post: &Post, city: &Population) -> Map<String, Value> {
    let (business, operation) = post.kind.line();
    let person = &city.people[post.person];
    let class = city.submitters[post.submitter].institution.class;
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    put("business", json!(business));
    put("operation", json!(operation.as_str()));
    put("insured", json!(person.resident));
    put("channel", json!(Kind::channel(class).as_str()));
    put("occurred_at", json!(post.occurred_at.rfc3339(ZONE)));
    if let Some(visit) = &post.visit {
        put("visit", json!(visit));
    }
    if let Some(amount) = post.amount {
        put("amount", json!(format_fen(i128::from(amount.fen()))));
    }
    if let Some(day) = post.covers_from {
        put("covers_from", json!(day.to_string()));
    }
    if let Some(deadline) = post.deadline {
        put("deadline", json!(deadline.to_string()));
    }
    if class == crate::domain::cell::Class::Hall {
        let handed_in = post.occurred_at.after(Duration::from_secs(120));
        put("received_from_person_at", json!(handed_in.rfc3339(ZONE)));
    }
    if post.kind.waits() {
        // What a card reader would hand over; it lives for one attempt.
        put("credential", json!(format!("pin-{:06}", post.person)));
    }
    let attributes = attributes(post, person.population);
    if !attributes.is_empty() {
        put("attributes", Value::Object(attributes));
    }
    if post.kind == Kind::SpecialCase {
        put("ground", json!(format!("special_case:SC-{}", post.person)));
        if let Some(file) = report_file(post) {
            let (digest, bytes) = (digest_of(&file).to_string(), file.len());
            put("attachments", json!([{"name": "report.xls", "digest": digest, "bytes": bytes}]));
        }
    }
    put("payload", json!({"line": post.kind.line().0, "case": post.key}));
    body
}

fn attributes(post: &Post, population: &str) -> Map<String, Value> {
    let mut attributes = Map::new();
    if let Some(day) = post.covers_from {
        attributes.insert("start_date".to_owned(), json!(day.to_string()));
    }
    if matches!(post.kind, Kind::Reimbursement | Kind::SpecialCase) {
        attributes.insert("population".to_owned(), json!(population));
        attributes.insert("fully_prepaid".to_owned(), json!(true));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::schedule::{AGENCY_BACK, Plan, Schedule, people_for};

    fn example() -> (Population, Schedule) {
        let city = Population::new(5, people_for(4_000)).unwrap();
        let plan = Plan { seed: 5, transactions: 4_000, agency_back: AGENCY_BACK };
        let schedule = Schedule::new(plan, &city);
        (city, schedule)
    }

    #[test]
    fn a_repeat_is_the_original_to_the_byte_but_for_the_clock_on_the_wall() {
        let (city, schedule) = example();
        for post in &schedule.posts {
            let Twist::Repeat(of) = post.twist else { continue };
            let original = &schedule.posts[of as usize];
            assert_eq!(request(post, &city), request(original, &city));
        }
    }

    #[test]
    fn a_reused_key_says_something_else() {
        let (city, schedule) = example();
        for post in &schedule.posts {
            let Twist::KeyReused(of) = post.twist else { continue };
            let (one, two) = (request(&schedule.posts[of as usize], &city), request(post, &city));
            assert_eq!(one.key, two.key);
            assert_ne!(one.body, two.body);
        }
    }

    #[test]
    fn every_flaw_shows() {
        let (city, schedule) = example();
        let mut seen = 0;
        for post in &schedule.posts {
            let Twist::Spoilt(flaw) = post.twist else { continue };
            let request = request(post, &city);
            let parsed: Option<Value> = serde_json::from_str(&request.body).ok();
            match flaw {
                Flaw::NotJson => assert!(parsed.is_none()),
                Flaw::NoKey => assert!(request.key.is_none()),
                Flaw::UnknownField => assert!(parsed.unwrap().get("colour").is_some()),
                Flaw::BadAmount => assert_eq!(parsed.unwrap()["amount"], "12.345"),
                Flaw::UnknownBusiness => {
                    assert_eq!(parsed.unwrap()["business"], "settlement.veterinary");
                }
            }
            seen += 1;
        }
        assert!(seen > 10);
    }

    #[test]
    fn a_special_case_brings_its_report_file_unless_it_forgot() {
        let (city, schedule) = example();
        for post in schedule.posts.iter().filter(|p| p.kind == Kind::SpecialCase) {
            let has_file = request(post, &city).body.contains("report.xls");
            assert_eq!(has_file, post.twist != Twist::NoReportFile);
        }
    }
}
