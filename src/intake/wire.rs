//! The shape of a submission on the wire: which fields there are, and one pass over the JSON.
//!
//! Every field is captured where it stands in the body, uncopied; `check` reads the values. So
//! all problems are found at once, unknown fields are named, and the payload stays byte for byte
//! as it came. Nothing that was sent is repeated in a problem: a name of a field is shown only
//! where it cannot be anything but a name.

use crate::domain::cell::words;
use crate::web::problem::FieldError;
use memchr::memchr2;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

words!(
    /// A field of a submission.
    Field, "field", {
        /// The key of the intent; stands in lines of a batch only.
        IdempotencyKey = "idempotency_key",
        /// The business.
        Business = "business",
        /// What is done to it.
        Operation = "operation",
        /// The reference to the insured person.
        Insured = "insured",
        /// The visit.
        Visit = "visit",
        /// The channel.
        Channel = "channel",
        /// When the business happened.
        OccurredAt = "occurred_at",
        /// When the person handed it in.
        ReceivedFromPersonAt = "received_from_person_at",
        /// The amount.
        Amount = "amount",
        /// The deadline that it carries.
        Deadline = "deadline",
        /// The ground of a special case.
        Ground = "ground",
        /// The typed attributes.
        Attributes = "attributes",
        /// The attachments.
        Attachments = "attachments",
        /// The paper kept at the counter.
        Paper = "paper",
        /// The transaction whose place it takes.
        Replaces = "replaces",
        /// The transaction that must be applied first.
        DependsOn = "depends_on",
        /// For a backfill: the first day that it covers.
        CoversFrom = "covers_from",
        /// The patient's credential.
        Credential = "credential",
        /// The payload.
        Payload = "payload",
    }
);

impl Field {
    pub(super) fn pointer(self) -> String {
        format!("/{self}")
    }
}

/// A submission whose fields have been found and not looked at yet.
pub(super) struct Wire<'a> {
    fields: [Option<&'a RawValue>; Field::ALL.len()],
    /// Fields that are unknown or stand twice.
    pub(super) problems: Vec<FieldError>,
}

/// Why a body is no submission at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is no JSON.
    #[error("the body is not JSON: line {line}, column {column}")]
    NotJson {
        /// Where, from 1.
        line: usize,
        /// See `line`.
        column: usize,
    },
    /// It is JSON, but no object.
    #[error("the body must be a JSON object")]
    NoObject,
}

impl From<&serde_json::Error> for Unreadable {
    fn from(error: &serde_json::Error) -> Self {
        // The library's own words may repeat a value.
        match error.classify() {
            serde_json::error::Category::Data => Self::NoObject,
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => {
                Self::NotJson { line: error.line(), column: error.column() }
            }
        }
    }
}

impl<'a> Wire<'a> {
    /// Finds the fields of `body`.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        let mut wire = Self { fields: [None; Field::ALL.len()], problems: Vec::new() };
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = Fields(&mut wire).deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| Unreadable::from(&error))?;
        Ok(wire)
    }

    /// The value of `field`; `null` counts as not there.
    pub(super) fn get(&self, field: Field) -> Option<&'a RawValue> {
        self.fields[field as usize].filter(|raw| raw.get() != "null")
    }
}

struct Fields<'w, 'a>(&'w mut Wire<'a>);

impl<'a> DeserializeSeed<'a> for Fields<'_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Fields<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key_seed(Name)? {
            let known = match name {
                Ok(field) => field,
                Err(pointer) => {
                    map.next_value::<IgnoredAny>()?;
                    let detail = Cow::Borrowed("unknown field; see /openapi.json for the fields");
                    self.0.problems.push(FieldError { pointer, detail, code: None });
                    continue;
                }
            };
            let value = map.next_value::<&'a RawValue>()?;
            if self.0.fields[known as usize].replace(value).is_some() {
                let detail = Cow::Borrowed("stands twice");
                self.0.problems.push(FieldError { pointer: known.pointer(), detail, code: None });
            }
        }
        Ok(())
    }
}

/// Reads a field's name: the field, or a pointer that is safe to show.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Result<Field, String>;

    fn deserialize<D: serde::Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Result<Field, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        let known = Field::ALL.iter().copied().find(|field| field.as_str() == name);
        Ok(known.ok_or_else(|| pointer_to("", name)))
    }
}

/// A pointer to the member `name` of what `parent` points to; to the parent itself where the
/// name might be more than a name.
pub(super) fn pointer_to(parent: &str, name: &str) -> String {
    let harmless = name.len() <= 40
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && !name.starts_with('_');
    if harmless { format!("{parent}/{name}") } else { parent.to_owned() }
}

/// What must not stand in a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forbidden<'n> {
    /// Objects and lists stand deeper in each other than allowed.
    TooDeep,
    /// A field of a patient's credential.
    Credential(&'n str),
}

/// Looks through the payload `json`, which is known to be JSON: how deep it goes, and whether
/// any object in it has a field of `credential_fields`, in whatever case or escape.
pub(super) fn inspect<'n>(
    json: &str,
    depth_max: usize,
    credential_fields: &'n [String],
) -> Result<(), Forbidden<'n>> {
    let bytes = json.as_bytes();
    let (mut at, mut depth) = (0usize, 0usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return Err(Forbidden::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let (end, escaped) = string_end(bytes, at + 1);
                let rest = bytes.get(end + 1..).unwrap_or_default();
                if rest.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':') {
                    let raw = json.get(at..=end).unwrap_or_default();
                    if let Some(name) = credential_named(raw, escaped, credential_fields) {
                        return Err(Forbidden::Credential(name));
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The place of the quotation mark that ends the string, and whether it has escapes.
fn string_end(bytes: &[u8], start: usize) -> (usize, bool) {
    let (mut at, mut escaped) = (start, false);
    while let Some(rest) = bytes.get(at..) {
        match memchr2(b'"', b'\\', rest) {
            Some(found) if rest.get(found) == Some(&b'\\') => {
                escaped = true;
                at += found + 2;
            }
            Some(found) => return (at + found, escaped),
            None => break,
        }
    }
    (bytes.len(), escaped)
}

fn credential_named<'n>(raw: &str, escaped: bool, names: &'n [String]) -> Option<&'n str> {
    let name = if escaped {
        Cow::Owned(serde_json::from_str::<String>(raw).ok()?)
    } else {
        Cow::Borrowed(raw.get(1..raw.len() - 1)?)
    };
    names.iter().map(String::as_str).find(|n| n.eq_ignore_ascii_case(&name))
}

/// The text of a JSON string; `None` where the value is no string.
pub(super) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(json).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unknown_or_repeated_field_is_named_at_once() {
        let body = br#"{"business":"a","colour":1,"business":"b","110101199003070011":2}"#;
        let wire = Wire::read(body).map_err(|e| e.to_string()).unwrap();
        let pointers: Vec<&str> = wire.problems.iter().map(|p| p.pointer.as_str()).collect();
        assert_eq!(pointers, ["/colour", "/business", ""]);
        assert_eq!(wire.get(Field::Business).map(RawValue::get), Some(r#""b""#));
    }

    #[test]
    fn what_is_no_object_is_unreadable_and_not_repeated() {
        for body in ["", "{", "[1]", "\"110101199003070011\"", "{}{}", "{\"a\":\u{1}}", "12"] {
            let Err(error) = Wire::read(body.as_bytes()) else { panic!("{body} was read") };
            assert!(!error.to_string().contains("110101199003070011"), "{error}");
        }
        assert!(Wire::read(b"{\"payload\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_credential_is_found_at_any_depth_in_any_spelling() {
        let names = ["mdtrt_cert_no".to_owned(), "card_password".to_owned()];
        for (json, found) in [
            (r#"{"a":[{"b":{"mdtrt_cert_no":"1"}}]}"#, Some("mdtrt_cert_no")),
            (r#"{"MDTRT_CERT_NO" : 1}"#, Some("mdtrt_cert_no")),
            (r#"{"mdtrt_cert_n\u006f":1}"#, Some("mdtrt_cert_no")),
            (r#"{"a":"mdtrt_cert_no"}"#, None),
            (r#"["mdtrt_cert_no","card_password"]"#, None),
            (r#"{"a":"\"mdtrt_cert_no\":1"}"#, None),
            (r#"{"a\\":1,"card_password":"x"}"#, Some("card_password")),
            (r#""card_password""#, None),
        ] {
            let expected = found.map_or(Ok(()), |name| Err(Forbidden::Credential(name)));
            assert_eq!(inspect(json, 32, &names), expected, "{json}");
        }
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        assert_eq!(inspect(r#"[[["[[[["]]]"#, 3, &[]), Ok(()));
        assert_eq!(inspect("[[[[]]]]", 3, &[]), Err(Forbidden::TooDeep));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(inspect(&deep, 32, &[]), Err(Forbidden::TooDeep));
        let body = format!(r#"{{"payload":{deep}}}"#);
        assert!(Wire::read(body.as_bytes()).is_ok(), "captured without recursion");
    }
}
