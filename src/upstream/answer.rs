//! What an HTTP core's answers mean: the one table, and nothing that touches a socket.
//!
//! The core speaks JSON objects with an `outcome`: `applied`, `refused` (with a `code`), and with
//! status 503 `unavailable`. Anything that is not in the table is in doubt; a new row is added
//! only where the core's owner promises that such an answer means *not applied*.

use crate::domain::attachment::Digest;
use crate::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use bytes::Bytes;
use chrono::DateTime;
use hyper::header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The header by which a core promises never to apply what it received of an id before the
/// question.
pub const FENCED: &str = "holdover-fenced";

/// The longest wait taken from a core: its mistake must not park a transaction for years.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);
const CODE_CHARS_MAX: usize = 64;
const BUSINESS_STATUS_CHARS_MAX: usize = 32;

/// How an exchange with a core ended, before anybody says what it means.
#[derive(Debug)]
pub enum Ended {
    /// No connection could be made, or it died before a byte of the request had left.
    NothingSent,
    /// The gate was found closed between connecting and the first byte.
    GateClosed,
    /// The daemon is stopping; nothing was sent.
    Stopping,
    /// A part of the request had left, and no whole answer came in time.
    TimedOut,
    /// A part of the request had left, and the connection ended before a whole answer came.
    Cut,
    /// What came was not HTTP, or was longer than allowed.
    Unreadable,
    /// A whole answer.
    Answered(Response<Bytes>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Applied,
    Refused,
    Unavailable,
}

#[derive(Deserialize)]
struct Body {
    outcome: Word,
    #[serde(default)]
    code: Option<String>,
}

/// Reads a JSON object; without the look at its first byte an array would pass for one.
fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    is_object.then(|| serde_json::from_slice(body).ok())?
}

/// The table. Rows are tried from the top; the last one takes everything that is not listed.
///
/// | What happened | Outcome |
/// |---|---|
/// | not connected, or dead before the first byte | transient, unreachable |
/// | gate closed before the first byte | transient, gate closed |
/// | stopping before the first byte | transient, stopping |
/// | no whole answer in time | in doubt, timeout |
/// | connection ended without a whole answer | in doubt, cut |
/// | not HTTP, or too long | in doubt, unreadable |
/// | 429 | transient, busy, with `Retry-After` |
/// | 503 with `application/problem+json`, or a body that says `unavailable` | transient, unavailable, with `Retry-After` |
/// | 2xx whose body says `applied` | applied |
/// | 2xx or 4xx whose body says `refused`, with a `code` | refused |
/// | any other 2xx (a maintenance page, broken JSON) | in doubt, unreadable |
/// | every other status | in doubt, unlisted |
#[must_use]
pub fn outcome(ended: Ended) -> Outcome<Bytes> {
    let response = match ended {
        Ended::NothingSent => return transient(TransientReason::Unreachable),
        Ended::GateClosed => return transient(TransientReason::GateClosed),
        Ended::Stopping => return transient(TransientReason::Stopping),
        Ended::TimedOut => return Outcome::InDoubt(DoubtReason::Timeout),
        Ended::Cut => return Outcome::InDoubt(DoubtReason::Cut),
        Ended::Unreadable => return Outcome::InDoubt(DoubtReason::Unreadable),
        Ended::Answered(response) => response,
    };
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = retry_after(response.headers());
        return Outcome::Transient { reason: TransientReason::Busy, retry_after };
    }
    let said = read::<Body>(response.body());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        let own = has_type(response.headers(), "application/problem+json")
            || matches!(said, Some(Body { outcome: Word::Unavailable, .. }));
        if own {
            let retry_after = retry_after(response.headers());
            return Outcome::Transient { reason: TransientReason::Unavailable, retry_after };
        }
        return Outcome::InDoubt(DoubtReason::Unlisted);
    }
    match said {
        Some(Body { outcome: Word::Applied, .. }) if status.is_success() => {
            Outcome::Applied(response.into_body())
        }
        Some(Body { outcome: Word::Refused, code: Some(code) })
            if (status.is_success() || status.is_client_error()) && !code.is_empty() =>
        {
            Outcome::Refused { code: shortened(&code), answer: response.into_body() }
        }
        Some(_) | None if status.is_success() => Outcome::InDoubt(DoubtReason::Unreadable),
        Some(_) | None => Outcome::InDoubt(DoubtReason::Unlisted),
    }
}

/// What the answer to a question teaches: *applied* and *refused* as in [`outcome`], *not found*
/// for a 404 that says nothing else and is not a web page (a page comes from something in front
/// of the core, which cannot know), and nothing for all else.
#[must_use]
pub fn finding(ended: Ended) -> Finding<Bytes> {
    let Ended::Answered(response) = ended else {
        return Finding::NoAnswer;
    };
    if response.status() == StatusCode::NOT_FOUND && read::<Body>(response.body()).is_none() {
        if has_type(response.headers(), "text/html") || response.body().starts_with(b"<") {
            return Finding::NoAnswer;
        }
        let fenced = response.headers().get(FENCED).is_some_and(|v| v.as_bytes() == b"true");
        return Finding::NotFound { fenced };
    }
    match outcome(Ended::Answered(response)) {
        Outcome::Applied(answer) => Finding::Applied(answer),
        Outcome::Refused { code, answer } => Finding::Refused { code, answer },
        Outcome::Transient { .. } | Outcome::InDoubt(_) => Finding::NoAnswer,
    }
}

/// The core's own word for the business status: the answer's `business_status`, where it has
/// one of at most 32 characters.
#[must_use]
pub fn business_status(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        business_status: Option<String>,
    }
    let status = read::<Status>(body)?.business_status?;
    let fits = !status.is_empty() && status.chars().count() <= BUSINESS_STATUS_CHARS_MAX;
    fits.then_some(status)
}

/// What a core's answer to a file means. It has it only where it says so itself: 2xx with the `digest`
/// that it found. Everything else is that the attempt surely was not applied, because its effect was
/// not begun; and sending the file again has none.
///
/// # Errors
/// What came of the attempt.
pub fn file_taken(ended: Ended, digest: &Digest) -> Result<(), Outcome<Bytes>> {
    #[derive(Deserialize)]
    struct Taken {
        digest: String,
    }
    let response = match ended {
        Ended::NothingSent | Ended::GateClosed | Ended::Stopping => return Err(outcome(ended)),
        Ended::TimedOut | Ended::Cut | Ended::Unreadable => {
            return Err(transient(TransientReason::AttachmentRefused));
        }
        Ended::Answered(response) => response,
    };
    let reason = match response.status() {
        status if status.is_success() => {
            let said = read::<Taken>(response.body()).and_then(|taken| taken.digest.parse().ok());
            if said == Some(*digest) {
                return Ok(());
            }
            TransientReason::AttachmentRefused
        }
        StatusCode::TOO_MANY_REQUESTS => TransientReason::Busy,
        StatusCode::SERVICE_UNAVAILABLE => TransientReason::Unavailable,
        _ => TransientReason::AttachmentRefused,
    };
    Err(Outcome::Transient { reason, retry_after: retry_after(response.headers()) })
}

pub(super) fn transient(reason: TransientReason) -> Outcome<Bytes> {
    Outcome::Transient { reason, retry_after: None }
}

fn shortened(code: &str) -> String {
    code.chars().take(CODE_CHARS_MAX).collect()
}

fn has_type(headers: &HeaderMap, expected: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
}

/// `Retry-After` in seconds or as a date. A date is measured from the answer's own `Date`, so
/// that the two clocks need not agree; without a `Date` it says nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = DateTime::parse_from_rfc2822(text).ok()?;
        let sent = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
        (until - sent).to_std().unwrap_or(Duration::ZERO)
    };
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&str, &str)], body: &str) -> Ended {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        Ended::Answered(response.body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
    }

    /// The outcome in one word and, after a space, what it carries.
    fn told(ended: Ended) -> String {
        match outcome(ended) {
            Outcome::Applied(_) => "applied".into(),
            Outcome::Refused { code, .. } => format!("refused {code}"),
            Outcome::Transient { reason, retry_after } => match retry_after {
                Some(wait) => format!("{reason} {}", wait.as_secs()),
                None => reason.to_string(),
            },
            Outcome::InDoubt(reason) => format!("doubt {reason}"),
        }
    }

    const PROBLEM: (&str, &str) = ("content-type", "application/problem+json; charset=utf-8");
    const HTML: (&str, &str) = ("content-type", "text/html");
    const PAGE: &str = "<html><body>maintenance</body></html>";

    #[test]
    fn every_row_of_the_table_has_its_outcome() {
        let applied = r#"{"outcome":"applied","reference":"7"}"#;
        let refused = r#"{"outcome":"refused","code":"E17"}"#;
        let wait = ("retry-after", "12");
        let rows = [
            (Ended::NothingSent, "unreachable"),
            (Ended::GateClosed, "gate_closed"),
            (Ended::Stopping, "stopping"),
            (Ended::TimedOut, "doubt timeout"),
            (Ended::Cut, "doubt cut"),
            (Ended::Unreadable, "doubt unreadable"),
            (answered(429, &[wait], PAGE), "busy 12"),
            (answered(429, &[], ""), "busy"),
            (answered(503, &[PROBLEM, wait], "{}"), "unavailable 12"),
            (answered(503, &[], r#"{"outcome":"unavailable"}"#), "unavailable"),
            (answered(503, &[HTML, wait], PAGE), "doubt unlisted"),
            (answered(503, &[], refused), "doubt unlisted"),
            (answered(503, &[], ""), "doubt unlisted"),
            (answered(200, &[], applied), "applied"),
            (answered(201, &[], applied), "applied"),
            (answered(200, &[], refused), "refused E17"),
            (answered(400, &[], refused), "refused E17"),
            (answered(422, &[], refused), "refused E17"),
            (answered(404, &[], refused), "refused E17"),
            (answered(422, &[], r#"{"outcome":"refused"}"#), "doubt unlisted"),
            (answered(200, &[], r#"{"outcome":"refused","code":""}"#), "doubt unreadable"),
            (answered(422, &[], applied), "doubt unlisted"),
            (answered(500, &[], applied), "doubt unlisted"),
            (answered(500, &[], refused), "doubt unlisted"),
            (answered(502, &[PROBLEM], "{}"), "doubt unlisted"),
            (answered(504, &[], ""), "doubt unlisted"),
            (answered(302, &[], applied), "doubt unlisted"),
            (answered(401, &[], ""), "doubt unlisted"),
            (answered(404, &[HTML], PAGE), "doubt unlisted"),
            (answered(200, &[HTML], PAGE), "doubt unreadable"),
            (answered(200, &[], r#"{"outcome":"applied""#), "doubt unreadable"),
            (answered(200, &[], r#"{"outcome":"done"}"#), "doubt unreadable"),
            (answered(200, &[], r#"{"outcome":"unavailable"}"#), "doubt unreadable"),
            (answered(200, &[], r#"["applied"]"#), "doubt unreadable"),
            (
                answered(200, &[], r#"{"outcome":"applied","outcome":"refused"}"#),
                "doubt unreadable",
            ),
            (answered(204, &[], ""), "doubt unreadable"),
        ];
        for (ended, expected) in rows {
            let shown = format!("{ended:?}");
            assert_eq!(told(ended), expected, "{shown}");
        }
    }

    #[test]
    fn retry_after_may_be_a_date_and_is_at_most_a_day() {
        let date = ("date", "Fri, 12 Aug 2022 11:00:00 GMT");
        let check = |headers: &[(&str, &str)], expected: &str| {
            assert_eq!(told(answered(429, headers, "")), expected, "{headers:?}");
        };
        check(&[("retry-after", "Fri, 12 Aug 2022 11:01:30 GMT"), date], "busy 90");
        check(&[("retry-after", "Fri, 12 Aug 2022 10:00:00 GMT"), date], "busy 0");
        check(&[("retry-after", "Fri, 12 Aug 2022 11:01:30 GMT")], "busy");
        check(&[("retry-after", "soon"), date], "busy");
        check(&[("retry-after", "999999999999")], "busy 86400");
    }

    #[test]
    fn a_refusal_code_is_cut_at_64_characters() {
        let body = format!(r#"{{"outcome":"refused","code":"{}"}}"#, "码".repeat(70));
        assert_eq!(told(answered(422, &[], &body)), format!("refused {}", "码".repeat(64)));
    }

    #[test]
    fn whatever_becomes_of_a_file_the_attempt_was_not_applied_unless_it_arrived() {
        let digest = Digest::new([7; 32]);
        let told = |ended| match file_taken(ended, &digest) {
            Ok(()) => "taken".to_owned(),
            Err(Outcome::Transient { reason, retry_after }) => {
                format!("{reason} {}", retry_after.map_or(0, |wait| wait.as_secs()))
            }
            Err(other) => format!("{other:?}"),
        };
        let wait = ("retry-after", "12");
        let mine = format!(r#"{{"digest":"{digest}","more":1}}"#);
        let other = format!(r#"{{"digest":"{}"}}"#, Digest::new([8; 32]));
        for (ended, expected) in [
            (answered(200, &[], &mine), "taken"),
            (answered(201, &[], &mine), "taken"),
            (answered(200, &[], &other), "attachment_refused 0"),
            (answered(200, &[HTML], PAGE), "attachment_refused 0"),
            (answered(204, &[], ""), "attachment_refused 0"),
            (answered(409, &[], &mine), "attachment_refused 0"),
            (answered(429, &[wait], ""), "busy 12"),
            (answered(503, &[HTML, wait], PAGE), "unavailable 12"),
            (answered(404, &[], ""), "attachment_refused 0"),
            (answered(422, &[], r#"{"outcome":"applied"}"#), "attachment_refused 0"),
            (answered(500, &[], ""), "attachment_refused 0"),
            (answered(302, &[], ""), "attachment_refused 0"),
            (Ended::TimedOut, "attachment_refused 0"),
            (Ended::Cut, "attachment_refused 0"),
            (Ended::Unreadable, "attachment_refused 0"),
            (Ended::NothingSent, "unreachable 0"),
            (Ended::GateClosed, "gate_closed 0"),
            (Ended::Stopping, "stopping 0"),
        ] {
            let shown = format!("{ended:?}");
            assert_eq!(told(ended), expected, "{shown}");
        }
    }

    #[test]
    fn a_question_learns_only_from_the_core_itself() {
        let not_found = |fenced| Finding::NotFound { fenced };
        let fence = ("holdover-fenced", "true");
        assert_eq!(finding(answered(404, &[], "")), not_found(false));
        assert_eq!(finding(answered(404, &[fence, PROBLEM], "{}")), not_found(true));
        assert_eq!(finding(answered(404, &[("holdover-fenced", "no")], "")), not_found(false));
        assert_eq!(finding(answered(404, &[HTML, fence], "gone")), Finding::NoAnswer);
        assert_eq!(finding(answered(404, &[fence], PAGE)), Finding::NoAnswer);
        let applied = r#"{"outcome":"applied"}"#;
        let answer = Bytes::from_static(applied.as_bytes());
        assert_eq!(finding(answered(200, &[], applied)), Finding::Applied(answer));
        let refused = r#"{"outcome":"refused","code":"E1"}"#;
        assert!(matches!(finding(answered(200, &[], refused)),
            Finding::Refused { code, .. } if code == "E1"));
        assert!(matches!(finding(answered(404, &[], refused)), Finding::Refused { .. }));
        for ended in [
            answered(404, &[], applied),
            Ended::NothingSent,
            Ended::Cut,
            Ended::TimedOut,
            answered(200, &[HTML], PAGE),
            answered(429, &[], ""),
            answered(503, &[PROBLEM], ""),
            answered(410, &[], ""),
        ] {
            assert_eq!(finding(ended), Finding::NoAnswer);
        }
    }

    #[test]
    fn the_business_status_is_taken_as_the_core_says_it() {
        let status = |body: &str| business_status(body.as_bytes());
        assert_eq!(
            status(r#"{"outcome":"applied","business_status":"审核通过"}"#),
            Some("审核通过".into())
        );
        assert_eq!(status(r#"{"outcome":"applied"}"#), None);
        assert_eq!(status(r#"{"business_status":7}"#), None);
        assert_eq!(status("<html>"), None);
        assert_eq!(status(r#"["审核通过"]"#), None);
        let long = format!(r#"{{"business_status":"{}"}}"#, "x".repeat(33));
        assert_eq!(status(&long), None);
    }
}
