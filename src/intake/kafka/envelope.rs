//! What a record holds: the submission's body, and the key of its intent.
//!
//! Three forms are read, told apart by their headers:
//!
//! ```text
//!  plain JSON               value = submission        key: header idempotency-key, else the field
//!  CloudEvents, binary      ce_* headers, value = submission     key: ce_idempotencykey, else ce_id
//!  CloudEvents, structured  content-type application/cloudevents+json, data = submission
//!                                                     key: idempotencykey, else id
//! ```
//!
//! Pure: what Kafka's client hands over is taken apart by `session`. Whose the record is does not
//! stand in it; the topic says so.

use crate::domain::ids::IdempotencyKey;
use crate::intake::check;
use crate::web::problem::{Code, Problem};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The only type of event that is a submission.
pub const SUBMISSION: &str = "holdover.transaction.submission";
/// The version of CloudEvents that is spoken.
pub const SPEC_VERSION: &str = "1.0";

/// The headers of a record, in their order.
pub(super) type Headers<'a> = [(&'a str, &'a [u8])];

/// A record, opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope {
    /// The key, where it stands beside the body.
    pub(super) key: Option<IdempotencyKey>,
    /// The submission as it was sent.
    pub(super) body: Bytes,
}

/// The attributes of an event in structured form. Others may stand beside them.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    idempotencykey: Option<Cow<'a, str>>,
    #[serde(borrow)]
    datacontenttype: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Opens a record.
///
/// # Errors
/// What is wrong with its form; what is wrong with the submission is found later.
pub(super) fn open(headers: &Headers<'_>, value: &Bytes) -> Result<Envelope, Problem> {
    let kind = text(headers, "content-type")?.unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/cloudevents+json") {
        return structured(value);
    }
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(unsupported());
    }
    match text(headers, "ce_specversion")? {
        Some(version) => binary(version, headers, value),
        None => {
            let key = find(headers, "idempotency-key")?;
            let key = key.map(|key| check::header_key(Some(key))).transpose()?;
            Ok(Envelope { key, body: value.clone() })
        }
    }
}

fn binary(version: &str, headers: &Headers<'_>, value: &Bytes) -> Result<Envelope, Problem> {
    let attribute = |name: &'static str| {
        text(headers, name)?.ok_or_else(|| malformed(format!("the header {name} is missing")))
    };
    let (id, kind) = (attribute("ce_id")?, attribute("ce_type")?);
    is_submission(version, kind, id, attribute("ce_source")?)?;
    let key = text(headers, "ce_idempotencykey")?.unwrap_or(id);
    Ok(Envelope { key: Some(check::header_key(Some(key.as_bytes()))?), body: value.clone() })
}

fn structured(value: &Bytes) -> Result<Envelope, Problem> {
    let event: Event<'_> = serde_json::from_slice(value).map_err(|error| {
        // The library's own words may repeat a value.
        let (line, column) = (error.line(), error.column());
        malformed(format!("not a CloudEvent of version 1.0: line {line}, column {column}"))
    })?;
    is_submission(&event.specversion, &event.kind, &event.id, &event.source)?;
    let kind = event.datacontenttype.as_deref().unwrap_or("application/json");
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(unsupported());
    }
    let data = event.data.ok_or_else(|| malformed("the event has no JSON in its field data"))?;
    let key = event.idempotencykey.as_ref().unwrap_or(&event.id);
    let key = check::header_key(Some(key.as_bytes()))?;
    Ok(Envelope { key: Some(key), body: value.slice_ref(data.get().as_bytes()) })
}

fn is_submission(version: &str, kind: &str, id: &str, source: &str) -> Result<(), Problem> {
    if version != SPEC_VERSION {
        return Err(malformed("the event is not of CloudEvents 1.0"));
    }
    if kind != SUBMISSION {
        return Err(malformed(format!("the event is not of the type {SUBMISSION}")));
    }
    if id.is_empty() || source.is_empty() {
        return Err(malformed("the event's id or source is empty"));
    }
    Ok(())
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::Malformed, detail)
}

fn unsupported() -> Problem {
    let detail = "expected application/json or application/cloudevents+json";
    Problem::new(Code::UnsupportedMediaType, detail)
}

/// The value of the header `name`, which may stand once, in any case of letters.
fn find<'a>(headers: &Headers<'a>, name: &str) -> Result<Option<&'a [u8]>, Problem> {
    let mut found = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| *value);
    match found.next() {
        None => Ok(first),
        Some(_) => Err(malformed(format!("the header {name} stands twice"))),
    }
}

fn text<'a>(headers: &Headers<'a>, name: &str) -> Result<Option<&'a str>, Problem> {
    let value = find(headers, name)?.map(std::str::from_utf8).transpose();
    value.map_err(|_| malformed(format!("the header {name} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{ "business":"x" }"#;

    fn opened(headers: &[(&str, &str)], value: &str) -> Result<(Option<String>, String), Code> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        let value = Bytes::copy_from_slice(value.as_bytes());
        let opened = open(&headers, &value).map_err(|problem| problem.code)?;
        let body = String::from_utf8(opened.body.to_vec()).unwrap();
        Ok((opened.key.map(|key| key.as_str().to_owned()), body))
    }

    fn event(more: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"e-1","source":"/his","type":"{SUBMISSION}"{more}}}"#)
    }

    const BINARY: [(&str, &str); 4] = [
        ("ce_specversion", "1.0"),
        ("ce_id", "e-1"),
        ("ce_source", "/his"),
        ("ce_type", SUBMISSION),
    ];

    #[test]
    fn a_plain_record_is_the_submission_and_its_key_may_stand_in_a_header() {
        assert_eq!(opened(&[], BODY), Ok((None, BODY.into())));
        let headers = [("Idempotency-Key", "\"k-1\""), ("Content-Type", "application/json; x=y")];
        assert_eq!(opened(&headers, BODY), Ok((Some("k-1".into()), BODY.into())));
        let twice = [("idempotency-key", "a"), ("IDEMPOTENCY-KEY", "a")];
        assert_eq!(opened(&twice, BODY), Err(Code::Malformed));
        assert_eq!(opened(&[("idempotency-key", "")], BODY), Err(Code::IdempotencyKeyMissing));
        assert_eq!(opened(&[("content-type", "text/xml")], BODY), Err(Code::UnsupportedMediaType));
    }

    #[test]
    fn an_event_in_binary_form_has_its_attributes_in_headers() {
        assert_eq!(opened(&BINARY, BODY), Ok((Some("e-1".into()), BODY.into())));
        let own = [&BINARY[..], &[("ce_idempotencykey", "k-2")]].concat();
        assert_eq!(opened(&own, BODY), Ok((Some("k-2".into()), BODY.into())));
        for place in 0..4 {
            let mut other = BINARY;
            other[place].1 = "";
            let code = opened(&other, BODY).unwrap_err();
            assert_eq!(code, Code::Malformed, "{}", BINARY[place].0);
        }
        assert_eq!(opened(&BINARY[..3], BODY), Err(Code::Malformed), "no type");
    }

    #[test]
    fn an_event_in_structured_form_keeps_the_bytes_of_its_data() {
        let headers = [("content-type", "application/cloudevents+json; charset=utf-8")];
        let with = |more: &str| opened(&headers, &event(more));
        let data = format!(r#","unknown":1,"data":{BODY}"#);
        assert_eq!(with(&data), Ok((Some("e-1".into()), BODY.into())));
        let own = format!(r#"{data},"idempotencykey":"k-3""#);
        assert_eq!(with(&own), Ok((Some("k-3".into()), BODY.into())));
        assert_eq!(with(""), Err(Code::Malformed), "no data");
        assert_eq!(with(r#","data_base64":"e30=""#), Err(Code::Malformed));
        let other = format!(r#"{data},"datacontenttype":"text/xml""#);
        assert_eq!(with(&other), Err(Code::UnsupportedMediaType));
        assert_eq!(opened(&headers, "{"), Err(Code::Malformed));
    }
}
