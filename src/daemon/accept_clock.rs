//! A person's word about what time it is, given with a start that would else be refused.
//!
//! The machine's clock is further from the last journaled time than it may be: it is wrong now,
//! or was wrong then, or the daemon was off for long. Only a person can tell. The word is an
//! operator's act like any other: the person is named by a key, a reason is given, and the audit
//! log has it before the journal does. The time is said in full, so that a flag that was left in
//! a unit file, or copied out of a message, accepts no clock that shows another one.

use crate::admin::audit::{Audit, AuditError, Entry, Outcome};
use crate::admin::fault_in_reason;
use crate::config::Secret;
use crate::domain::time::Timestamp;
use crate::engine::change::AuditHead;
use crate::web::access::{KeyFile, Scope};
use anyhow::{Context, Result, anyhow, bail};
use std::path::Path;
use std::time::Duration;

/// How far the clock may be from the time that the person read off a watch.
const SAID_WITHIN: Duration = Duration::from_secs(600);

/// What a person says with a start.
#[derive(Debug, Clone)]
pub struct ClockWord {
    /// What time it is.
    pub says: Timestamp,
    /// The person's API key.
    pub key: Secret,
    /// Why the clock is believed.
    pub reason: String,
}

/// A word that has been checked.
#[derive(Debug, Clone)]
pub(super) struct Acceptance {
    entry: Entry,
    begun: u64,
}

impl ClockWord {
    /// Checks the word against a clock that shows `now`, where `last_at` was journaled last.
    ///
    /// # Errors
    /// Where the clock does not show what the person says, or the person may not say it.
    pub(super) fn check(
        &self,
        keys: &Path,
        now: Timestamp,
        last_at: Timestamp,
    ) -> Result<Acceptance> {
        let says = self.says;
        if now.since(says).max(says.since(now)) > SAID_WITHIN {
            bail!(
                "the clock says {now} and --accept-clock {says}: set the clock right first, or \
                 say what time it is now (clock_not_as_said)"
            );
        }
        if let Some((code, why)) = fault_in_reason(&self.reason) {
            bail!("--reason: {why} ({})", code.as_str());
        }
        let keys = KeyFile::open(keys).context("the API keys")?;
        let key = std::str::from_utf8(self.key.expose()).unwrap_or("");
        let principal = keys.verify(key.trim(), now).ok_or_else(|| {
            anyhow!("the key is not known or not good any more (unauthenticated)")
        })?;
        let by =
            principal.operator().filter(|_| principal.may(Scope::Approve)).ok_or_else(|| {
                anyhow!(
                    "to accept a clock takes an operator's key with the scope approve (forbidden)"
                )
            })?;
        let entry = Entry {
            at: now,
            actor: by.to_owned(),
            key: principal.key_id.clone(),
            scopes: principal.scopes.iter().map(ToString::to_string).collect(),
            source: "the start".to_owned(),
            action: "clock.accept".to_owned(),
            object: "the machine's clock".to_owned(),
            reason: self.reason.trim().to_owned(),
            before: serde_json::json!({ "journal": last_at }),
            after: serde_json::json!({ "clock": now }),
            request_id: String::new(),
            outcome: Outcome::Begun,
            code: None,
            of: None,
        };
        Ok(Acceptance { entry, begun: 0 })
    }
}

impl Acceptance {
    /// Who said it, and why.
    pub(super) fn by_and_reason(&self) -> (String, String) {
        (self.entry.actor.clone(), self.entry.reason.clone())
    }

    /// Writes down that it is about to be journaled.
    pub(super) fn begin(mut self, audit: &Audit) -> Result<Self, AuditError> {
        self.begun = audit.append(&self.entry)?.records;
        Ok(self)
    }

    /// Writes down that it has been journaled.
    pub(super) fn end(self, audit: &Audit) -> Result<AuditHead, AuditError> {
        let of = Some(self.begun);
        let before = serde_json::Value::Null;
        audit.append(&Entry { outcome: Outcome::Done, of, before, ..self.entry })
    }
}
