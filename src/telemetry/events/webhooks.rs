//! What happens between those who are told of stops and us.

use super::{count, flag, number, seconds};
use crate::domain::ids::SubscriberName;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

crate::domain::cell::words!(
    /// What came of a call to a subscriber.
    CallOutcome, "outcome of a call", {
        /// It took it.
        Told = "told",
        /// It did not, or did not answer.
        NotTold = "not_told",
        /// It wants no more (410).
        Gone = "gone",
    }
);

/// How a subscriber stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stands {
    /// Announcements that it has not been told.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub since: Option<Timestamp>,
    /// Whether it has said that it wants no more.
    pub is_disabled: bool,
}

/// As it was told last: a gauge cannot be read back. As many as are configured.
static STANDS: Mutex<BTreeMap<SubscriberName, Stands>> = Mutex::new(BTreeMap::new());

fn change(name: &SubscriberName, how: impl FnOnce(&mut Stands)) -> Stands {
    let mut all = STANDS.lock().unwrap_or_else(PoisonError::into_inner);
    let stands = all.entry(name.clone()).or_default();
    how(stands);
    *stands
}

/// How each subscriber stands.
#[must_use]
pub fn now() -> BTreeMap<SubscriberName, Stands> {
    STANDS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn called(name: &SubscriberName, outcome: CallOutcome) {
    count(|series| {
        if let Some(subscriber) = series.subscriber(name) {
            subscriber.calls(outcome).increment(1);
        }
    });
}

/// A subscriber has taken an announcement.
pub fn told(name: &SubscriberName) {
    tracing::debug!(subscriber = %name, "an announcement was told");
    called(name, CallOutcome::Told);
}

/// A subscriber has not taken an announcement; it is told again after `pause`.
pub fn not_told(name: &SubscriberName, why: &impl Display, pause: Duration) {
    tracing::warn!(
        code = "webhook_not_told", subscriber = %name, error = %why,
        retry_after_ms = super::millis(pause),
        "a subscriber was not told; it is tried again, and what comes later waits behind it"
    );
    called(name, CallOutcome::NotTold);
}

/// A subscriber wants no more.
pub fn disabled(name: &SubscriberName) {
    tracing::warn!(
        code = "webhook_gone", subscriber = %name,
        "a subscriber answers 410 and is told nothing more until the configuration is read again \
        or the daemon starts anew; what waits for it is kept"
    );
    called(name, CallOutcome::Gone);
    disable(name, true);
}

/// A subscriber that wanted no more is asked again.
pub fn enabled(name: &SubscriberName) {
    tracing::info!(subscriber = %name, "a subscriber is told again, as the configuration was read");
    disable(name, false);
}

fn disable(name: &SubscriberName, is: bool) {
    change(name, |stands| stands.is_disabled = is);
    count(|series| {
        if let Some(subscriber) = series.subscriber(name) {
            subscriber.disabled.set(flag(is));
        }
    });
}

/// So many announcements wait for a subscriber, the oldest of them `since` then.
pub fn waits(name: &SubscriberName, since: Option<Timestamp>, waiting: u64) {
    change(name, |stands| (stands.waiting, stands.since) = (waiting, since));
    count(|series| {
        if let Some(subscriber) = series.subscriber(name) {
            subscriber.oldest.set(seconds(since));
            subscriber.waiting.set(number(waiting));
        }
    });
}

/// Announcements were let go of that a subscriber was not told.
pub fn let_go(name: &SubscriberName, count: u64) {
    tracing::error!(
        code = "webhook_let_go", subscriber = %name, count,
        "a subscriber was away for longer than announcements are kept: it goes on with the oldest \
        that is left, and should ask for what it missed"
    );
}

/// How far a subscriber is cannot be written.
pub fn place_unwritten(name: &SubscriberName, why: &impl Display) {
    tracing::warn!(
        code = "webhook_place", subscriber = %name, error = %why,
        "how far a subscriber was told cannot be written: after a start it is told some again, \
        under the same ids"
    );
}

/// How far a subscriber was told is not known any more, or does not fit.
pub fn subscriber_moved(file: &Path, next: u64, first: u64) {
    tracing::warn!(
        code = "webhook_place", file = %file.display(), from = next, to = first,
        "how far a subscriber was told does not fit what is kept: it is told from the oldest on, \
        under the same ids"
    );
}

/// The file of announcements is not what was written.
pub fn outbox_damaged(file: &Path) {
    tracing::error!(
        code = "outbox_damaged", file = %file.display(),
        "the file of announcements is damaged: what stands before the damage counts, and what \
        came after is worked out anew, as far as it can be, under the same ids"
    );
}

/// Announcements were not worked out; it is tried again at once.
pub fn announcing_interrupted(why: &impl Display) {
    tracing::warn!(
        code = "announcing_interrupted", error = %why,
        "announcements wait until the next look; none is lost by that"
    );
}
