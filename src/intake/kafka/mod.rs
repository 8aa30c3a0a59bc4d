//! The submitters' interface: topics of Kafka.
//!
//! ```text
//!  topic ─► envelope ─► check ─► engine (durable) ─► answer to TOPIC.answers ─► offset stored
//!                │                   │                       or
//!                └── wrong in itself ┴──────────────► TOPIC.dead-letters ─────► offset stored
//! ```
//!
//! The same submission as over HTTP, with the same checks, keys and receipts. Whose a record is
//! follows from its topic: the configuration names an API key for each, and its holder is the
//! submitter. An offset is stored only when what came of the record is durable here *and* its
//! answer is with the brokers, so a record that is read again is a repeat and gets the first
//! receipt. A record that can never be taken goes to the topic's dead letters and blocks nothing.
//!
//! A window is no reason to pause: records are taken in and held as they are over HTTP. Whatever
//! else goes wrong (no broker, no room on the disk, a rebalance in mid-work) ends the *session*;
//! the next one begins at the committed offsets. Quotas do not count here: the brokers have their
//! own, and a full disk stops the reading.
//!
//! What becomes of transactions later, and windows, is told by `publish`, to whoever reads its
//! topics and whichever way the submission came.

mod envelope;
mod news;
mod outgoing;
mod place;
pub mod publish;
mod session;

use super::Shared;
use super::submit::has_room;
use crate::kafka::Connection;
use crate::telemetry::events::kafka as events;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use envelope::{SPEC_VERSION, SUBMISSION};

/// The pause before the first new session after a trouble; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What is read, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the brokers are.
    pub connection: Connection,
    /// The consumer group.
    pub group: String,
    /// Each topic, and the id of the API key whose holder submits there.
    pub topics: BTreeMap<String, String>,
    /// What the name of a topic's answers ends in.
    pub answers_suffix: String,
    /// What the name of a topic's dead letters ends in.
    pub dead_letters_suffix: String,
    /// How long the group waits for us to ask for more.
    pub poll_interval_max: Duration,
}

impl Options {
    fn answers_of(&self, topic: &str) -> String {
        format!("{topic}{}", self.answers_suffix)
    }

    fn dead_letters_of(&self, topic: &str) -> String {
        format!("{topic}{}", self.dead_letters_suffix)
    }
}

/// Takes records in until `stop`, session after session.
pub async fn run(state: Shared, options: Options, stop: CancellationToken) {
    let now = state.clock.now().wall;
    for (topic, key) in &options.topics {
        if state.keys.holder(key, now).is_none() {
            events::key_lacking(topic, key);
        }
    }
    let mut pause = FIRST_PAUSE;
    let mut look = true;
    while !stop.is_cancelled() {
        let began = state.clock.now().monotonic;
        let Err(trouble) = session::run(&state, &options, &stop, look).await else { return };
        events::intake_interrupted(&trouble);
        // A lack of room says nothing of the topics.
        look = !matches!(trouble, session::Trouble::NotNow(_));
        // A session that worked for a while was no failed start, nor is a lack of room one.
        let worked = state.clock.now().monotonic.0.saturating_sub(began.0);
        let worked = Duration::from_millis(worked) > LONGEST_PAUSE;
        if worked || matches!(trouble, session::Trouble::NotNow(_)) {
            pause = FIRST_PAUSE;
        }
        rest(pause, &stop).await;
        while has_room(&state).is_err() && !stop.is_cancelled() {
            rest(FIRST_PAUSE, &stop).await;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits, but not beyond `stop`.
async fn rest(pause: Duration, stop: &CancellationToken) {
    // Either end is as good.
    drop(tokio::time::timeout(pause, stop.cancelled()).await);
}
