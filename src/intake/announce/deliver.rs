//! Telling one subscriber: in order, one at a time, until it has said 2xx.
//!
//! Whatever else it says, or says nothing, is tried again after a growing pause with jitter, and not
//! before it wants to be asked (`Retry-After`). Nothing is given up and nothing overtaken.

use super::super::Shared;
use super::outbox::Announcement;
use super::post::{self, Signed};
use super::sign::{KeyError, Keys};
use crate::domain::announcement::{Kind, Subscription};
use crate::domain::ids::SubscriberName;
use crate::domain::time::Timestamp;
use crate::telemetry::events::webhooks as events;
use axum::http::Uri;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The pause after the first failure; it doubles up to the longest. A receiver that was away for a
/// night is told within the longest pause after it is back.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// The longest that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Somebody who is told.
#[derive(Clone)]
pub struct Subscriber {
    /// Its name in the configuration.
    pub name: SubscriberName,
    /// Where it is told.
    pub url: Uri,
    /// What it is told.
    pub subscription: Subscription,
    /// Reads its secrets, which may be others at the next call.
    pub keys: Arc<dyn Fn() -> Result<Keys, KeyError> + Send + Sync>,
}

/// The body of a call.
#[derive(Serialize)]
struct Body<'a> {
    r#type: Kind,
    timestamp: &'a str,
    data: &'a RawValue,
}

/// What came of a call.
enum Came {
    Told,
    /// It wants no more.
    Gone,
    Not {
        why: String,
        pause: Option<Duration>,
    },
}

/// Tells `to` everything that it wants to hear, until `stop`.
pub async fn deliver(state: Shared, to: Subscriber, stop: CancellationToken) {
    let outbox = &state.announcements;
    let mut grows = outbox.grows();
    let mut reloads = outbox.reloads();
    let mut failures = 0;
    while !stop.is_cancelled() {
        grows.mark_unchanged();
        reloads.mark_unchanged();
        let next = outbox.reached(&to.name);
        let Some((number, announcement)) = outbox.from(next) else {
            tokio::select! {
                grown = grows.changed() => if grown.is_err() { return },
                () = stop.cancelled() => return,
            }
            continue;
        };
        if next < number {
            events::let_go(&to.name, number - next);
        }
        if !to.subscription.hears_of(announcement.about()) {
            reach(&state, &to.name, number + 1, false).await;
            continue;
        }
        let came = tokio::select! {
            came = call(&to, &announcement, state.clock.now().wall) => came,
            // It is told once more after the next start, under the same id.
            () = stop.cancelled() => return,
        };
        match came {
            Came::Told => {
                failures = 0;
                events::told(&to.name);
                reach(&state, &to.name, number + 1, true).await;
            }
            Came::Gone => {
                events::disabled(&to.name);
                outbox.enable(&to.name, false);
                tokio::select! {
                    read = reloads.changed() => if read.is_err() { return },
                    () = stop.cancelled() => return,
                }
                outbox.enable(&to.name, true);
                events::enabled(&to.name);
            }
            Came::Not { why, pause } => {
                let pause = pause.unwrap_or(Duration::ZERO).max(backoff(failures));
                failures = failures.saturating_add(1);
                events::not_told(&to.name, &why, pause);
                let until = state.clock.now().wall.after(pause);
                tokio::select! {
                    () = state.clock.sleep_until(until) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

async fn reach(state: &Shared, name: &SubscriberName, next: u64, must: bool) {
    let (outbox, of) = (state.announcements.clone(), name.clone());
    let written = tokio::task::spawn_blocking(move || outbox.reach(&of, next, must)).await;
    let written = written.map_err(std::io::Error::other).flatten();
    if let Err(error) = written {
        events::place_unwritten(name, &error);
    }
}

/// Between three quarters of the pause and all of it, so that two do not always come together.
fn backoff(failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    whole.mul_f64(0.75 + 0.25 * fastrand::f64())
}

async fn call(to: &Subscriber, announcement: &Announcement, now: Timestamp) -> Came {
    let not = |why: String| Came::Not { why, pause: None };
    let Announcement { id, kind, at, data, .. } = announcement;
    let body = match serde_json::to_vec(&Body { r#type: *kind, timestamp: at, data }) {
        Ok(body) => body,
        Err(error) => return not(error.to_string()),
    };
    let read = to.keys.clone();
    let keys = match tokio::task::spawn_blocking(move || read()).await {
        Ok(Ok(keys)) => keys,
        Ok(Err(error)) => return not(error.to_string()),
        Err(error) => return not(error.to_string()),
    };
    let at = now.as_millis().div_euclid(1000);
    let signed = Signed { id, at, signature: keys.sign(id, at, &body) };
    match post::post(&to.url, signed, body).await {
        Ok(answer) if (200..300).contains(&answer.status) => Came::Told,
        Ok(answer) if answer.status == 410 => Came::Gone,
        Ok(answer) => Came::Not {
            why: format!("it answered {}", answer.status),
            pause: answer.retry_after.map(|after| after.min(RETRY_AFTER_MAX)),
        },
        Err(why) => not(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        for (failures, seconds) in [(0, 5.0), (1, 10.0), (3, 40.0), (8, 900.0), (40, 900.0)] {
            let pause = backoff(failures).as_secs_f64();
            assert!((0.75 * seconds..=seconds).contains(&pause), "{failures}: {pause}");
        }
    }
}
