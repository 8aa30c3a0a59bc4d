//! What became of one attempt. Four ends, not two: *refused* and *unknown* are never mixed up.

use super::cell::words;
use std::time::Duration;

words!(
    /// Why an attempt surely did not take effect.
    TransientReason, "transient reason", {
        /// The connection could not be made.
        Unreachable = "unreachable",
        /// The core said it is too busy (429).
        Busy = "busy",
        /// The core said that it is not available (503 with its own body).
        Unavailable = "unavailable",
        /// The gate closed between decision and first byte; no byte was sent.
        GateClosed = "gate_closed",
        /// The daemon stopped before the first byte.
        Stopping = "stopping",
        /// Asked, and the core surely does not have it.
        NotFound = "not_found",
        /// A person found out that it was not applied.
        ByPerson = "by_person",
        /// The stored record is not what was written; no byte was sent. Waiting does not mend it.
        RecordDamaged = "record_damaged",
        /// The disk did not give the stored record; no byte was sent.
        RecordUnreadable = "record_unreadable",
        /// The core did not take a file that belongs to it; the transaction itself was not sent.
        AttachmentRefused = "attachment_refused",
    }
);

words!(
    /// Why nobody knows what became of an attempt.
    DoubtReason, "doubt reason", {
        /// No answer in time.
        Timeout = "timeout",
        /// The connection broke after the first byte was sent.
        Cut = "cut",
        /// The answer could not be read as one of the core's.
        Unreadable = "unreadable",
        /// The answer is one that the adapter does not list.
        Unlisted = "unlisted",
        /// The daemon stopped or died while it was out.
        Restart = "restart",
    }
);

/// What the adapter made of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<A> {
    /// The core applied it.
    Applied(A),
    /// The core said no.
    Refused {
        /// The core's own code, at most 64 characters, for grouping.
        code: String,
        /// Its answer.
        answer: A,
    },
    /// It surely did not take effect.
    Transient {
        /// Why it is sure.
        reason: TransientReason,
        /// What the core asked us to wait, if it did.
        retry_after: Option<Duration>,
    },
    /// Nobody knows.
    InDoubt(DoubtReason),
}

/// What the core said when it was asked about a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding<A> {
    /// It was applied.
    Applied(A),
    /// It was refused.
    Refused {
        /// The core's own code.
        code: String,
        /// Its answer.
        answer: A,
    },
    /// The core does not know it.
    NotFound {
        /// Whether the core promises never to apply it later.
        fenced: bool,
    },
    /// The question itself failed; nothing was learnt.
    NoAnswer,
}
