//! Validation: from the fields of the wire to a submission that the engine can decide on.
//!
//! Everything is checked here, also while the core is away, and everything that is wrong is
//! told at once, each with its pointer. Whether policy lets it in is not asked here: that is
//! decided inside the engine's step, under the windows of that instant.

use super::State;
use super::content::Content;
use super::wire::{self, Field, Forbidden, Wire};
use crate::domain::attachment::{Digest, Format, Kept};
use crate::domain::catalogue::{AttributeKind, Boundary, Line, SPECIAL_CASE};
use crate::domain::cell::{Cell, Channel, Class, Institution, Operation};
use crate::domain::ids::{IdempotencyKey, Seq};
use crate::domain::money::Money;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{Attachment, Paper, Private};
use crate::engine::event::{LineFacts, NamedFile, Submission};
use crate::engine::ports::SealError;
use crate::web::problem::{Code, FieldError, Problem};
use bytes::Bytes;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Who submits, when, and how long it would wait for the core's answer.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) institution: &'a Institution,
    pub(super) channels: &'a [Channel],
    pub(super) now: Timestamp,
    pub(super) wait: Option<Duration>,
}

/// The largest number of attachments.
const ATTACHMENTS_MAX: usize = 32;
/// The longest reference to a person, visit or ground, in characters.
const REFERENCE_CHARS_MAX: usize = 64;
/// The longest text attribute or name of an attachment, in characters.
const TEXT_CHARS_MAX: usize = 256;
/// The longest credential in bytes.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// Makes a submission of `body`. With `key` it came with a header; without, the body carries it.
pub(super) fn submission(
    state: &State,
    asking: Asking<'_>,
    key: Option<IdempotencyKey>,
    body: &Bytes,
) -> Result<Submission, Problem> {
    let wire = Wire::read(body)
        .map_err(|unreadable| Problem::new(Code::Malformed, unreadable.to_string()))?;
    let content = Check::new(state, asking, wire).content(key, body)?;
    seal(state, asking, content)
}

fn seal(state: &State, asking: Asking<'_>, content: Content<'_>) -> Result<Submission, Problem> {
    let (institution, vault) = (asking.institution, &state.vault);
    let code = &institution.code;
    let line = content.line;
    let sealed = vault.seal(code, asking.now, &content.private).map_err(|e| sealing(&e))?;
    Ok(Submission {
        ordering_key: vault.ordering_key(code, content.subject(), &line.order_group),
        key_hash: vault.key_hash(code, content.key()),
        fingerprint: vault.fingerprint(&content.canonical()),
        insured: vault.insured(&content.private.insured),
        institution: code.clone(),
        cell: cell(line, institution, content.channel, &content.private.attributes),
        amount: content.amount,
        occurred_at: content.occurred_at,
        received_from_person_at: content.received_from_person_at,
        deadline: content.deadline,
        replaces: content.replaces,
        depends_on: content.depends_on,
        covers_from: content.covers_from,
        has_report_file: !content.private.attachments.is_empty(),
        files: named_files(state, asking, &content),
        credit: institution.credit,
        line: LineFacts {
            normal: line.normal,
            self_contained: line.self_contained,
            needs_credential: line.needs_credential,
            queued: line.queued,
            live_limit: line.live_limit,
            files_stored: line.attachments.kept == Kept::Stored,
        },
        wait: asking.wait,
        credential: content.credential,
        private: Arc::new(content.private),
        sealed,
    })
}

/// The files that it names, as the engine looks for them.
fn named_files(state: &State, asking: Asking<'_>, content: &Content<'_>) -> Vec<NamedFile> {
    let code = &asking.institution.code;
    let named = content.private.attachments.iter().filter_map(|attachment| {
        let digest = attachment.digest.parse().ok()?;
        Some(NamedFile {
            name: state.vault.blob_name(code, &digest),
            bytes: attachment.bytes,
            content: Format::of_name(&attachment.name).map(Format::content),
        })
    });
    named.collect()
}

/// A failure of the vault, as the caller is told.
pub(super) fn sealing(error: &SealError) -> Problem {
    tracing::error!(%error, "the vault cannot seal or open");
    Problem::new(Code::Unavailable, "the content cannot be sealed now").retry_after(5)
}

/// The cell of a submission.
pub(super) fn cell(
    line: &Line,
    institution: &Institution,
    channel: Channel,
    attributes: &BTreeMap<String, String>,
) -> Cell {
    line.cell(institution.class, channel, &institution.district, &institution.labels, attributes)
}

struct Check<'a, 's> {
    state: &'s State,
    asking: Asking<'s>,
    wire: Wire<'a>,
    problems: Vec<FieldError>,
    credential_found: bool,
}

impl<'a, 's> Check<'a, 's> {
    fn new(state: &'s State, asking: Asking<'s>, mut wire: Wire<'a>) -> Self {
        let problems = std::mem::take(&mut wire.problems);
        Self { state, asking, wire, problems, credential_found: false }
    }

    fn wrong(&mut self, field: Field, detail: impl Into<Cow<'static, str>>) {
        self.wrong_at(field.pointer(), detail);
    }

    fn wrong_at(&mut self, pointer: String, detail: impl Into<Cow<'static, str>>) {
        self.problems.push(FieldError { pointer, detail: detail.into(), code: None });
    }

    fn content(
        mut self,
        key: Option<IdempotencyKey>,
        body: &Bytes,
    ) -> Result<Content<'s>, Problem> {
        let key = self.key(key);
        let line = self.line();
        let insured = self.required_reference(Field::Insured);
        let visit = self.reference(Field::Visit);
        let ground = self.reference(Field::Ground);
        let channel = self.channel(line);
        let occurred_at = self.instant(Field::OccurredAt);
        if occurred_at.is_none() && self.wire.get(Field::OccurredAt).is_none() {
            self.wrong(Field::OccurredAt, MISSING);
        }
        self.begun(line, occurred_at);
        let received_from_person_at = self.instant(Field::ReceivedFromPersonAt);
        let amount = self.amount(line);
        let deadline = self.day(Field::Deadline);
        let covers_from = self.covers_from(line);
        let replaces = self.transaction(Field::Replaces);
        let depends_on = self.transaction(Field::DependsOn);
        let attachments = self.attachments(line);
        let paper = self.paper();
        let attributes = self.attributes(line, ground.is_some(), occurred_at);
        let credential = self.credential();
        let payload = self.payload(body);
        let (problems, credential_found) = (self.problems, self.credential_found);
        let whole = (problems.is_empty(), key, line, insured, channel, occurred_at, payload);
        let (true, Some(key), Some(line), Some(insured), Some(channel), Some(at), Some(payload)) =
            whole
        else {
            let mut problem = Problem::fields(problems);
            if credential_found {
                let errors = std::mem::take(&mut problem.errors);
                problem = Problem::new(
                    Code::CredentialInPayload,
                    "the payload would be stored, and a credential must not be",
                );
                problem.errors = errors;
            }
            return Err(problem);
        };
        let private = Private {
            idempotency_key: key,
            insured,
            visit,
            ground,
            attributes,
            attachments,
            paper,
            payload,
        };
        Ok(Content {
            line,
            channel,
            occurred_at: at,
            received_from_person_at,
            amount: amount.unwrap_or(Money::ZERO),
            deadline,
            replaces,
            depends_on,
            covers_from,
            credential,
            private,
        })
    }

    fn key(&mut self, header: Option<IdempotencyKey>) -> Option<IdempotencyKey> {
        match (header, self.wire.get(Field::IdempotencyKey)) {
            (Some(key), None) => Some(key),
            (Some(key), Some(_)) => {
                let detail = "the key stands in the header Idempotency-Key, not in the body";
                self.wrong(Field::IdempotencyKey, detail);
                Some(key)
            }
            (None, None) => {
                self.wrong(Field::IdempotencyKey, MISSING);
                None
            }
            (None, Some(raw)) => {
                let key = wire::text_of(raw).and_then(|text| text.parse().ok());
                if key.is_none() {
                    self.wrong(Field::IdempotencyKey, KEY_FORM);
                }
                key
            }
        }
    }

    fn line(&mut self) -> Option<&'s Line> {
        let catalogue = &self.state.catalogue;
        let business = self.required_text(Field::Business);
        let operation = self.required_text(Field::Operation);
        let lines = || catalogue.lines.iter();
        let known =
            business.as_ref().map(|b| lines().any(|line| line.business.as_str() == b.as_ref()));
        if known == Some(false) {
            self.wrong(Field::Business, "the catalogue has no such business");
        }
        let operation = operation.and_then(|text| match text.parse::<Operation>() {
            Ok(operation) => Some(operation),
            Err(unknown) => {
                self.wrong(Field::Operation, format!("expected one of {}", unknown.allowed));
                None
            }
        })?;
        let business = business.filter(|_| known == Some(true))?;
        let line =
            lines().find(|l| l.operation == operation && l.business.as_str() == business.as_ref());
        let Some(line) = line else {
            self.wrong(Field::Operation, "the catalogue has no such operation of this business");
            return None;
        };
        let class: Class = self.asking.institution.class;
        if !line.classes.contains(&class) {
            self.wrong(Field::Operation, format!("not open to a submitter of class {class}"));
        }
        Some(line)
    }

    fn channel(&mut self, line: Option<&Line>) -> Option<Channel> {
        let own = self.asking.channels;
        let channel = match (self.wire.get(Field::Channel), own) {
            (None, [only]) => Some(*only),
            (None, _) => {
                self.wrong(Field::Channel, "the key has several channels; name one of them");
                None
            }
            (Some(raw), _) => {
                let named = wire::text_of(raw).and_then(|text| text.parse::<Channel>().ok());
                let named = named.filter(|channel| own.contains(channel));
                if named.is_none() {
                    self.wrong(Field::Channel, "expected one of the key's channels");
                }
                named
            }
        };
        if let (Some(channel), Some(line)) = (channel, line)
            && !line.channels.contains(&channel)
        {
            self.wrong(Field::Channel, format!("not open through the channel {channel}"));
        }
        channel
    }

    fn text(&mut self, field: Field) -> Option<Cow<'a, str>> {
        let text = wire::text_of(self.wire.get(field)?);
        if text.is_none() {
            self.wrong(field, "expected a text");
        }
        text
    }

    fn required_text(&mut self, field: Field) -> Option<Cow<'a, str>> {
        if self.wire.get(field).is_none() {
            self.wrong(field, MISSING);
        }
        self.text(field)
    }

    fn reference(&mut self, field: Field) -> Option<String> {
        let text = self.text(field)?;
        if !is_plain(&text, REFERENCE_CHARS_MAX) {
            self.wrong(field, "expected 1 to 64 characters, none of them a control character");
            return None;
        }
        Some(text.into_owned())
    }

    fn required_reference(&mut self, field: Field) -> Option<String> {
        if self.wire.get(field).is_none() {
            self.wrong(field, MISSING);
        }
        self.reference(field)
    }

    fn instant(&mut self, field: Field) -> Option<Timestamp> {
        let text = self.text(field)?;
        let Ok(at) = text.parse::<Timestamp>() else {
            self.wrong(field, "expected an instant with its offset: 2022-08-13T10:00:00+08:00");
            return None;
        };
        if at > self.asking.now.after(self.state.limits.clock_skew_max) {
            self.wrong(field, "lies in the future; check the sender's clock and offset");
        }
        Some(at)
    }

    /// Notes what happened before there was the business.
    fn begun(&mut self, line: Option<&Line>, occurred_at: Option<Timestamp>) {
        let from = line.and_then(|line| line.open_from);
        if let (Some(from), Some(at)) = (from, occurred_at)
            && at < from
        {
            let from = from.rfc3339(self.state.zone);
            self.wrong(Field::OccurredAt, format!("this business is open from {from} on"));
        }
    }

    fn day(&mut self, field: Field) -> Option<CivilDate> {
        let day = parse_day(&self.text(field)?);
        if day.is_none() {
            self.wrong(field, DAY_FORM);
        }
        day
    }

    fn covers_from(&mut self, line: Option<&Line>) -> Option<CivilDate> {
        let day = self.day(Field::CoversFrom);
        let is_backfill = line.map(|l| l.operation == Operation::Backfill);
        match (is_backfill, self.wire.get(Field::CoversFrom)) {
            (Some(true), None) => self.wrong(Field::CoversFrom, "missing: a backfill names it"),
            (Some(false), Some(_)) => self.wrong(Field::CoversFrom, "only a backfill has it"),
            (Some(_) | None, _) => {}
        }
        day
    }

    fn amount(&mut self, line: Option<&Line>) -> Option<Money> {
        if self.wire.get(Field::Amount).is_none() {
            if line.is_some_and(|l| l.needs_amount) {
                self.wrong(Field::Amount, MISSING);
            }
            return None;
        }
        let amount = self.text(Field::Amount)?.parse().ok();
        // What undoes is an operation of its own: a cancel names what it cancels.
        let amount = amount.filter(|&amount| Money::ZERO <= amount);
        if amount.is_none() {
            self.wrong(Field::Amount, "expected a decimal text such as \"1234.50\", not negative");
        }
        amount
    }

    fn transaction(&mut self, field: Field) -> Option<Seq> {
        let text = self.text(field)?;
        let ours = super::own_place(self.state, &text).ok();
        if ours.is_none() {
            self.wrong(field, "expected the id of one of your transactions");
        }
        ours
    }

    fn attachments(&mut self, line: Option<&Line>) -> Vec<Attachment> {
        let Some(raw) = self.wire.get(Field::Attachments) else {
            return Vec::new();
        };
        let Ok(list) = serde_json::from_str::<Vec<Attachment>>(raw.get()) else {
            self.wrong(Field::Attachments, "expected a list of objects of name, digest and bytes");
            return Vec::new();
        };
        if list.len() > ATTACHMENTS_MAX {
            self.wrong(Field::Attachments, format!("more than {ATTACHMENTS_MAX} attachments"));
        }
        for (place, attachment) in list.iter().enumerate() {
            if !is_plain(&attachment.name, TEXT_CHARS_MAX) {
                let detail = "expected 1 to 256 characters, none of them a control character";
                self.wrong_at(format!("/attachments/{place}/name"), detail);
            }
            if let Err(why) = attachment.digest.parse::<Digest>() {
                self.wrong_at(format!("/attachments/{place}/digest"), why.to_string());
            }
            let rules = line.map(|line| &line.attachments);
            if let Some(why) = rules.and_then(|r| r.problem(&attachment.name, attachment.bytes)) {
                let field = if why.contains("bytes") { "bytes" } else { "name" };
                self.wrong_at(format!("/attachments/{place}/{field}"), why);
            }
        }
        let sizes = list.iter().map(|attachment| attachment.bytes);
        if let Some(why) = line.and_then(|line| line.attachments.total_problem(sizes)) {
            self.wrong(Field::Attachments, why);
        }
        list
    }

    fn paper(&mut self) -> Vec<Paper> {
        let Some(raw) = self.wire.get(Field::Paper) else {
            return Vec::new();
        };
        let Ok(list) = serde_json::from_str::<Vec<Paper>>(raw.get()) else {
            self.wrong(Field::Paper, "expected a list of objects of kind, sheets and shelf");
            return Vec::new();
        };
        if list.len() > ATTACHMENTS_MAX {
            self.wrong(Field::Paper, format!("more than {ATTACHMENTS_MAX} kinds of paper"));
        }
        for (place, paper) in list.iter().enumerate() {
            for (field, text) in [("kind", &paper.kind), ("shelf", &paper.shelf)] {
                if !is_plain(text, REFERENCE_CHARS_MAX) {
                    let detail = "expected 1 to 64 characters, none of them a control character";
                    self.wrong_at(format!("/paper/{place}/{field}"), detail);
                }
            }
            if paper.sheets == 0 {
                self.wrong_at(format!("/paper/{place}/sheets"), "expected a number from 1");
            }
        }
        list
    }

    fn attributes(
        &mut self,
        line: Option<&Line>,
        has_ground: bool,
        occurred_at: Option<Timestamp>,
    ) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        let sent = match self.wire.get(Field::Attributes) {
            None => BTreeMap::new(),
            Some(raw) => match serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) {
                Ok(sent) => sent,
                Err(_) => {
                    self.wrong(Field::Attributes, "expected an object");
                    return values;
                }
            },
        };
        let Some(line) = line else { return values };
        for (name, raw) in sent {
            let value = match raw.get() {
                "null" => continue,
                "true" => Given::Boolean(true),
                "false" => Given::Boolean(false),
                json => match (wire::text_of(raw), serde_json::from_str::<Vec<String>>(json)) {
                    (Some(text), _) => Given::Text(text),
                    (None, Ok(items)) => Given::List(items),
                    (None, Err(_)) => Given::Other,
                },
            };
            let asked = occurred_at.map(|at| at.civil(self.state.zone).date());
            let value = attribute(line, &name, &value);
            let value = value.and_then(|value| far_enough(line, &name, value, asked));
            match value {
                Ok(value) => drop(values.insert(name, value)),
                Err(detail) => {
                    self.wrong_at(wire::pointer_to("/attributes", &name), detail);
                }
            }
        }
        if line.has_special_case() {
            let derived = has_ground.to_string();
            if values.insert(SPECIAL_CASE.to_owned(), derived.clone()).is_some_and(|v| v != derived)
            {
                let detail = "follows from the field ground, which names the special case: leave \
                              this out, and send ground where it is one";
                self.wrong_at(format!("/attributes/{SPECIAL_CASE}"), detail);
            }
        }
        for (name, _) in line.attributes.iter().filter(|(_, a)| a.required) {
            if !values.contains_key(name) && !self.named_wrong(name) {
                self.wrong_at(format!("/attributes/{name}"), MISSING);
            }
        }
        values
    }

    fn named_wrong(&self, attribute: &str) -> bool {
        let pointer = format!("/attributes/{attribute}");
        self.problems.iter().any(|p| p.pointer == pointer)
    }

    fn credential(&mut self) -> Option<Bytes> {
        let text = self.text(Field::Credential)?;
        if text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX {
            self.wrong(Field::Credential, "expected 1 to 4096 bytes");
            return None;
        }
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn payload(&mut self, body: &Bytes) -> Option<Bytes> {
        let Some(raw) = self.wire.get(Field::Payload) else {
            self.wrong(Field::Payload, MISSING);
            return None;
        };
        let (limits, catalogue) = (&self.state.limits, &self.state.catalogue);
        match wire::inspect(raw.get(), limits.json_depth_max, &catalogue.credential_fields) {
            Ok(()) => {}
            Err(Forbidden::TooDeep) => {
                self.wrong(Field::Payload, format!("deeper than {}", limits.json_depth_max));
            }
            Err(Forbidden::Credential(name)) => {
                self.credential_found = true;
                self.wrong(Field::Payload, format!("has the credential field {name}"));
            }
        }
        // A part of the body, uncopied.
        Some(body.slice_ref(raw.get().as_bytes()))
    }
}

const MISSING: &str = "missing";
const KEY_FORM: &str = "expected 1 to 128 visible ASCII characters";
const DAY_FORM: &str = "expected a day such as 2022-08-13";

/// A value of an attribute as it was given.
pub(super) enum Given<'a> {
    Boolean(bool),
    Text(Cow<'a, str>),
    List(Vec<String>),
    Other,
}

/// The stored form of an attribute's value, or what is wrong with it.
pub(super) fn attribute(
    line: &Line,
    name: &str,
    given: &Given<'_>,
) -> Result<String, Cow<'static, str>> {
    let Some(attribute) = line.attributes.get(name) else {
        return Err(Cow::Borrowed("this operation has no such attribute"));
    };
    match (attribute.kind, given) {
        (AttributeKind::Boolean, Given::Boolean(value)) => Ok(value.to_string()),
        (AttributeKind::Boolean, _) => Err(Cow::Borrowed("expected true or false")),
        (AttributeKind::Choice, Given::Text(text))
            if attribute.choices.iter().any(|c| c == text) =>
        {
            Ok(text.clone().into_owned())
        }
        (AttributeKind::Choice, _) => {
            Err(Cow::Owned(format!("expected one of {}", attribute.choices.join(", "))))
        }
        (AttributeKind::Text, Given::Text(text)) if is_plain(text, TEXT_CHARS_MAX) => {
            Ok(text.clone().into_owned())
        }
        (AttributeKind::Text, _) => Err(Cow::Borrowed("expected a text of 1 to 256 characters")),
        (AttributeKind::Date, Given::Text(text)) if parse_day(text).is_some() => {
            Ok(text.clone().into_owned())
        }
        (AttributeKind::Date, _) => Err(Cow::Borrowed(DAY_FORM)),
        (AttributeKind::List, given) => {
            let at_most = attribute.at_most.unwrap_or_default();
            let items = match given {
                Given::List(items) => is_list(items, at_most).then_some(items),
                Given::Boolean(_) | Given::Text(_) | Given::Other => None,
            };
            let stored = items.and_then(|items| serde_json::to_string(items).ok());
            stored.ok_or_else(|| {
                format!("expected a list of 1 to {at_most} different texts of 1 to 64 characters")
                    .into()
            })
        }
    }
}

fn is_list(items: &[String], at_most: usize) -> bool {
    let mut seen = BTreeSet::new();
    (1..=at_most).contains(&items.len())
        && items.iter().all(|item| is_plain(item, REFERENCE_CHARS_MAX) && seen.insert(item))
}

/// `value` where it is no date that lies too shortly before `asked`, the day of the request.
fn far_enough(
    line: &Line,
    name: &str,
    value: String,
    asked: Option<CivilDate>,
) -> Result<String, Cow<'static, str>> {
    let least = line.attributes.get(name).and_then(|attribute| attribute.least_ago.as_ref());
    let (Some(least), Some(asked), Some(day)) = (least, asked, parse_day(&value)) else {
        return Ok(value);
    };
    if least.is_met(day, asked) {
        return Ok(value);
    }
    let term = &least.term;
    Err(Cow::Owned(match least.boundary {
        Boundary::Allowed => format!("must lie {term} or longer before the day of occurred_at"),
        Boundary::Refused => format!("must lie longer than {term} before the day of occurred_at"),
    }))
}

/// A civil day in its one form, `yyyy-MM-dd`.
pub(super) fn parse_day(text: &str) -> Option<CivilDate> {
    let day: CivilDate = text.parse().ok()?;
    (text.len() == 10 && text == day.to_string()).then_some(day)
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    !text.trim().is_empty()
        && text.chars().count() <= chars_max
        && !text.chars().any(char::is_control)
}

/// The key of the intent from the header `Idempotency-Key`: a quoted text (RFC 8941) or bare.
pub(super) fn header_key(value: Option<&[u8]>) -> Result<IdempotencyKey, Problem> {
    let missing = |detail: &'static str| Problem::new(Code::IdempotencyKeyMissing, detail);
    let value = value.ok_or_else(|| missing("the header Idempotency-Key is missing"))?;
    let text = std::str::from_utf8(value).map_err(|_| missing(KEY_FORM))?.trim();
    let text = match text.strip_prefix('"') {
        None => Cow::Borrowed(text),
        Some(rest) => unquote(rest).ok_or_else(|| missing("the quotation does not end well"))?,
    };
    text.parse().map_err(|_| missing(KEY_FORM))
}

/// What stands before the closing quotation mark, which must be the end.
fn unquote(rest: &str) -> Option<Cow<'_, str>> {
    let inner = rest.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => plain.push(chars.next().filter(|c| matches!(c, '\\' | '"'))?),
            '"' => return None,
            _ => plain.push(c),
        }
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_quoted_or_bare() {
        for (value, key) in [
            ("abc-1", Some("abc-1")),
            ("\"abc-1\"", Some("abc-1")),
            (r#""a\"b\\c""#, Some(r#"a"b\c"#)),
            (r#""a"b""#, None),
            (r#""abc"#, None),
            (r#""a\b""#, None),
            ("\"\"", None),
            ("", None),
            ("a b", None),
        ] {
            let read = header_key(Some(value.as_bytes())).ok();
            assert_eq!(read.as_ref().map(IdempotencyKey::as_str), key, "{value}");
        }
        assert!(header_key(None).is_err());
        assert!(header_key(Some("x".repeat(129).as_bytes())).is_err());
    }

    #[test]
    fn a_day_has_one_form() {
        for text in ["2022-8-13", "2022-08-13 ", "20220813", "2022-02-30", "2022-08-13T00:00"] {
            assert_eq!(parse_day(text), None, "{text}");
        }
        assert!(parse_day("2024-02-29").is_some());
    }
}
