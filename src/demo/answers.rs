//! What the clients hold: every answer, read as a submitter's system reads it.

use super::client::Answer;
use crate::domain::ids::{Fingerprint, RefusalNumber, TransactionId};
use crate::domain::time::{CivilDate, Timestamp};
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

/// A receipt, as far as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The transaction.
    pub id: TransactionId,
    /// The content's hash.
    pub fingerprint: Fingerprint,
    /// What is done with it.
    pub disposition: String,
    /// The clause of the row that decided; `None` where no window spoke.
    pub clause: Option<String>,
    /// The person's date, as it was told.
    pub deadline: Option<Deadline>,
    /// Everything on it, so that repeats can be compared.
    pub whole: Value,
}

/// A date, as a client is told it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Deadline {
    /// The date given.
    pub original: CivilDate,
    /// The date that holds.
    pub effective: CivilDate,
    /// Whether it can no longer move.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// The rule that moved it.
    #[serde(default)]
    pub rule: Option<String>,
    /// The clause it rests on.
    #[serde(default)]
    pub clause: Option<String>,
}

/// What a post came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Acknowledged; with the outcome of a live attempt where the client waited.
    Accepted {
        /// The receipt.
        receipt: Box<Receipt>,
        /// `applied`, `refused`, `ticketed`, `do_not_finalise`, `waiting`.
        outcome: Option<String>,
    },
    /// Turned away by policy.
    TurnedAway {
        /// The refusal's number.
        number: RefusalNumber,
        /// The clause of the row that refused.
        clause: Option<String>,
        /// The person's date, as it was told.
        deadline: Option<Deadline>,
    },
    /// Refused because of what it said.
    Invalid {
        /// The problem's code.
        code: String,
    },
}

/// One answered post.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The post, by its place in the schedule.
    pub post: u32,
    /// When it was first sent.
    pub sent_at: Timestamp,
    /// When it was answered.
    pub answered_at: Timestamp,
    /// What it came to.
    pub told: Told,
    /// Tries that were cut off before.
    pub cut_off: u32,
    /// Tries that were put off before.
    pub put_off: u32,
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

fn deadline(value: &Value) -> Option<Deadline> {
    value.get("deadline").and_then(|d| serde_json::from_value(d.clone()).ok())
}

/// Reads the answer to a submission.
///
/// # Errors
/// When it is none of the answers that the interface describes.
pub fn read(answer: &Answer) -> anyhow::Result<Told> {
    let body = &answer.body;
    match answer.status.as_u16() {
        200 => {
            let receipt = body.get("receipt").context("an answer of 200 has no receipt")?;
            let outcome = text(body, "/outcome");
            Ok(Told::Accepted { receipt: Box::new(read_receipt(receipt)?), outcome })
        }
        202 => Ok(Told::Accepted { receipt: Box::new(read_receipt(body)?), outcome: None }),
        409 if text(body, "/code").as_deref() == Some("business_suspended") => {
            let number = text(body, "/refusal").context("a refusal has no number")?;
            Ok(Told::TurnedAway {
                number: number.parse()?,
                clause: text(body, "/window/clause"),
                deadline: deadline(body),
            })
        }
        400..=499 => {
            let code = text(body, "/code").context("a problem has no code")?;
            Ok(Told::Invalid { code })
        }
        status => bail!("a submission was answered {status}: {body}"),
    }
}

fn read_receipt(body: &Value) -> anyhow::Result<Receipt> {
    let id = text(body, "/id").context("a receipt has no id")?;
    let fingerprint = text(body, "/fingerprint").context("a receipt has no fingerprint")?;
    let fingerprint = u64::from_str_radix(&fingerprint, 16)
        .context("a receipt's fingerprint is not hexadecimal")?;
    Ok(Receipt {
        id: id.parse()?,
        fingerprint: Fingerprint(fingerprint),
        disposition: text(body, "/disposition").context("a receipt has no disposition")?,
        clause: text(body, "/policy/clause"),
        deadline: deadline(body),
        whole: body.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;
    use serde_json::json;

    fn answer(status: u16, body: Value) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, body, cut_off: 0, put_off: 0 }
    }

    fn receipt() -> Value {
        json!({
            "id": "txn_0000000000070000", "fingerprint": "00000000deadbeef",
            "disposition": "hold", "policy": {"clause": "(一)", "version": 1},
            "deadline": {"original": "2022-08-13", "effective": "2022-08-15", "final": false},
        })
    }

    #[test]
    fn receipts_are_read_alone_and_inside_an_outcome() {
        let alone = read(&answer(202, receipt())).unwrap();
        let Told::Accepted { receipt: held, outcome: None } = &alone else { panic!("{alone:?}") };
        assert_eq!((held.fingerprint, held.id.seq().0), (Fingerprint(0xdead_beef), 7));
        assert_eq!(held.clause.as_deref(), Some("(一)"));
        assert_eq!(held.deadline.as_ref().map(|d| d.is_final), Some(false));
        let waited = json!({"receipt": receipt(), "outcome": "ticketed"});
        let waited = read(&answer(200, waited)).unwrap();
        assert!(matches!(waited, Told::Accepted { outcome: Some(o), .. } if o == "ticketed"));
    }

    #[test]
    fn a_refusal_by_policy_is_told_from_other_conflicts() {
        let refused = json!({
            "code": "business_suspended", "refusal": "ref_0000000000090000",
            "window": {"clause": "(三)1"},
        });
        let told = read(&answer(409, refused)).unwrap();
        assert!(matches!(told, Told::TurnedAway { clause: Some(c), .. } if c == "(三)1"));
        let other = read(&answer(409, json!({"code": "being_replaced"}))).unwrap();
        assert_eq!(other, Told::Invalid { code: "being_replaced".to_owned() });
    }

    #[test]
    fn an_answer_that_fits_nothing_is_an_error() {
        assert!(read(&answer(202, json!({}))).is_err());
        assert!(read(&answer(500, json!({"code": "internal"}))).is_err());
    }
}
