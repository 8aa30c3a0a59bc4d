//! What the daemon watches beside the engine, once a second, for whoever asks how things stand.
//!
//! An engine knows how many wait; how quickly they become fewer, and since when something has been
//! as it is, takes two looks. Nothing is decided here.

use crate::admin::status::{Pace, Vitals};
use crate::admin::types::{DiskOut, KafkaOut, PublishedOut, WebhookOut};
use crate::domain::ids::{SubscriberName, UpstreamName};
use crate::domain::state::State;
use crate::domain::time::{Monotonic, Now, Timestamp};
use crate::telemetry::events::{Room, Standing, kafka as events, webhooks};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a pace is watched: a minute evens out batches, and shows a change soon.
const WATCHED: Duration = Duration::from_secs(60);

/// What was seen so far.
pub(super) struct Watch {
    kafka_topics: u64,
    is_published: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    vitals: Vitals,
    /// At most one a second of the last minute, for each upstream.
    samples: BTreeMap<UpstreamName, VecDeque<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Monotonic,
    remaining: u64,
    held: u64,
}

impl Watch {
    /// `kafka_topics` are taken in; `is_published` says whether something goes out to topics.
    pub(super) fn new(kafka_topics: usize, is_published: bool) -> Self {
        Self { kafka_topics: kafka_topics as u64, is_published, inner: Mutex::default() }
    }

    /// Takes a look: the room, how things stand, and when.
    pub(super) fn look(&self, room: Room, standing: &Standing, now: Now) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { vitals, samples } = &mut *inner;
        vitals.disk = Some(DiskOut {
            used_bytes: room.used,
            free_bytes: room.free,
            capacity_bytes: room.capacity,
            reserve_bytes: room.reserve,
        });
        let doubtful = standing.books.in_state(State::InDoubt).items > 0;
        vitals.in_doubt_since = since(vitals.in_doubt_since, doubtful, now.wall);
        let before = vitals.kafka.and_then(|kafka| kafka.away_since);
        vitals.kafka = (self.kafka_topics > 0).then(|| {
            let (partitions, lag_records) = events::now();
            let away_since = since(before, partitions == 0, now.wall);
            KafkaOut { topics: self.kafka_topics, partitions, lag_records, away_since }
        });
        let before = vitals.published.and_then(|published| published.interrupted_since);
        vitals.published = self.is_published.then(|| {
            let (unpublished_changes, publishes) = events::published_now();
            let interrupted_since = since(before, !publishes, now.wall);
            PublishedOut { unpublished_changes, interrupted_since }
        });
        let webhook = |(name, stands): (SubscriberName, webhooks::Stands)| WebhookOut {
            name,
            waiting: stands.waiting,
            waiting_since: stands.since,
            disabled: stands.is_disabled,
        };
        vitals.webhooks = webhooks::now().into_iter().map(webhook).collect();
        for replay in &standing.replays {
            let (remaining, held) = (replay.remaining, replay.held);
            let kept = samples.entry(replay.upstream.clone()).or_default();
            sample(kept, Sample { at: now.monotonic, remaining, held });
            match pace(kept) {
                Some(pace) => drop(vitals.paces.insert(replay.upstream.clone(), pace)),
                None => drop(vitals.paces.remove(&replay.upstream)),
            }
        }
    }

    /// What was seen last.
    pub(super) fn vitals(&self) -> Vitals {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).vitals.clone()
    }
}

/// Since when it has been so, given since when it had been at the look before.
fn since(known: Option<Timestamp>, is: bool, now: Timestamp) -> Option<Timestamp> {
    is.then(|| known.unwrap_or(now))
}

/// Adds a sample. Where a gate opened, what was held came to what remains: that is no pace, and
/// the watching begins anew.
fn sample(kept: &mut VecDeque<Sample>, new: Sample) {
    if kept.back().is_some_and(|last| new.held < last.held) {
        kept.clear();
    }
    let old = |sample: &Sample| sample.at.after(WATCHED) < new.at;
    while kept.front().is_some_and(old) {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn pace(kept: &VecDeque<Sample>) -> Option<Pace> {
    let (first, last) = (kept.front()?, kept.back()?);
    let over = Duration::from_millis(last.at.0.checked_sub(first.at.0).filter(|&ms| ms > 0)?);
    let fewer = first.remaining as f64 - last.remaining as f64;
    Some(Pace { per_second: fewer / over.as_secs_f64(), over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(looks: &[(u64, u64, u64)]) -> Option<Pace> {
        let mut kept = VecDeque::new();
        for &(seconds, remaining, held) in looks {
            sample(&mut kept, Sample { at: Monotonic(seconds * 1000), remaining, held });
        }
        pace(&kept)
    }

    #[test]
    fn a_pace_is_that_of_the_last_minute_and_begins_anew_where_a_gate_opened() {
        let of =
            |per_second, seconds| Some(Pace { per_second, over: Duration::from_secs(seconds) });
        assert_eq!(watched(&[]), None);
        assert_eq!(watched(&[(0, 9, 0)]), None);
        assert_eq!(watched(&[(0, 100, 0), (10, 80, 0)]), of(2.0, 10));
        assert_eq!(watched(&[(0, 100, 0), (10, 130, 0)]), of(-3.0, 10), "it grows");
        assert_eq!(watched(&[(0, 900, 0), (30, 400, 0), (90, 100, 0)]), of(5.0, 60));
        assert_eq!(watched(&[(0, 0, 50), (1, 50, 0)]), None, "these came from behind the gate");
        assert_eq!(watched(&[(0, 0, 50), (1, 50, 0), (11, 40, 0)]), of(1.0, 10));
    }

    #[test]
    fn what_stays_as_it_is_keeps_its_beginning() {
        let [early, late] = [1, 2].map(Timestamp::from_millis);
        assert_eq!(since(None, true, late), Some(late));
        assert_eq!(since(Some(early), true, late), Some(early));
        assert_eq!(since(Some(early), false, late), None);
    }
}
