//! What happens between Kafka and us: intake, answers, what is published.

use super::{count, number};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

crate::domain::cell::words!(
    /// What came of a record that was taken from Kafka.
    RecordOutcome, "outcome of a record", {
        /// A transaction, durable.
        Accepted = "accepted",
        /// A repeat, answered with the first receipt.
        Duplicate = "duplicate",
        /// Turned away by policy.
        TurnedAway = "turned_away",
        /// It can never be taken.
        DeadLettered = "dead_lettered",
    }
);

/// What came of a record is on its way to the brokers.
pub fn record(outcome: RecordOutcome) {
    count(|series| series.kafka.records(outcome).increment(1));
}

/// A record can never be taken; its dead letter says why. `code` is the problem's.
pub fn dead_letter(topic: &str, partition: i32, offset: i64, code: &str) {
    tracing::warn!(
        topic,
        partition,
        offset,
        code,
        "a record of kafka cannot be taken, it is a dead letter"
    );
}

/// So many records stand in the topics that are not done.
pub fn lags(records: u64) {
    LAG.store(records, Ordering::Relaxed);
    count(|series| series.kafka.lag.set(number(records)));
}

/// As they were told last: a gauge cannot be read back.
static LAG: AtomicU64 = AtomicU64::new(0);
static PARTITIONS: AtomicU64 = AtomicU64::new(0);
static UNPUBLISHED: AtomicU64 = AtomicU64::new(0);
static PUBLISHES: AtomicBool = AtomicBool::new(false);

/// How many partitions are being taken in, and how many records stand in the topics and are not
/// done.
#[must_use]
pub fn now() -> (u64, u64) {
    (PARTITIONS.load(Ordering::Relaxed), LAG.load(Ordering::Relaxed))
}

/// The partitions that are taken in have changed; there are `held` now.
pub fn rebalanced(held: usize) {
    tracing::info!(partitions = held, "the partitions that are taken in have changed");
    PARTITIONS.store(held as u64, Ordering::Relaxed);
    count(|series| {
        series.kafka.partitions.set(number(held as u64));
        series.kafka.rebalances.increment(1);
    });
}

/// A topic was looked at: its least safe partition has so many `replicas`, of which so many must
/// have what is written before it counts, where the brokers tell.
pub fn topic_seen(topic: &str, replicas: usize, in_sync_min: Option<usize>) {
    if replicas < REPLICAS_MIN || in_sync_min.is_some_and(|least| least < IN_SYNC_MIN) {
        tracing::warn!(
            topic,
            replicas,
            in_sync_min,
            "what stands only in this topic is as safe as one disk; give it {REPLICAS_MIN} \
            replicas and min.insync.replicas = {IN_SYNC_MIN}"
        );
    }
}

/// The replicas of a topic from which on one broker may fail while another is being looked after.
const REPLICAS_MIN: usize = 3;
/// The replicas that have what was confirmed, so that it outlives any one of them.
const IN_SYNC_MIN: usize = 2;

/// The API key on whose behalf a topic would be read is not good.
pub fn key_lacking(topic: &str, key: &str) {
    tracing::warn!(
        code = "no_key",
        topic,
        key,
        "the key that intake.kafka.topics names is not good, the topic's records become dead \
         letters; name a good one (holdover key list) and start again"
    );
}

/// The intake from Kafka ended before its time; it begins again at the committed offsets.
pub fn intake_interrupted(why: &impl Display) {
    tracing::warn!(
        code = "kafka_interrupted", error = %why,
        "nothing is taken in from kafka until the next try; nothing is lost by that"
    );
    count(|series| series.kafka.interruptions.increment(1));
}

crate::domain::cell::words!(
    /// What an event is about that is published to topics.
    Published, "published event", {
        /// What became of a transaction.
        Result = "result",
        /// A window, as it stands.
        Window = "window",
    }
);

/// So many events are with the brokers.
pub fn published(what: Published, records: u64) {
    count(|series| series.kafka.published(what).increment(records));
}

/// So many changes of the journal were not looked at yet for what is to be published.
pub fn unpublished(changes: u64) {
    UNPUBLISHED.store(changes, Ordering::Relaxed);
    count(|series| series.kafka.unpublished.set(number(changes)));
}

/// Brokers take what is to be published.
pub fn publishes() {
    PUBLISHES.store(true, Ordering::Relaxed);
}

/// How many changes were not looked at yet for what is to be published, and whether brokers take
/// it.
#[must_use]
pub fn published_now() -> (u64, bool) {
    (UNPUBLISHED.load(Ordering::Relaxed), PUBLISHES.load(Ordering::Relaxed))
}

/// Publishing was interrupted; it goes on where it stood.
pub fn publishing_interrupted(why: &impl Display) {
    tracing::warn!(
        code = "kafka_publishing_interrupted", error = %why,
        "nothing is published to kafka until the next try; nothing is lost by that"
    );
    PUBLISHES.store(false, Ordering::Relaxed);
    delivery_failed();
}

/// The accept record of a transaction cannot be read, so its result is not published.
pub fn news_unreadable(place: u64) {
    tracing::warn!(
        place,
        "the record of a transaction is damaged or has left the journal: its result is not \
        published, ask for it by its number"
    );
}

/// The place up to which everything was published does not fit the journal.
pub fn place_moved(place: u64, first: u64, last: u64, goes_on_at: u64) {
    tracing::warn!(
        place,
        first,
        last,
        goes_on_at,
        "what was published last is not where the journal is: the journal was restored from a \
        copy, or has let go of what was not published yet; publishing goes on, and whoever reads \
        the topics should ask for what they miss"
    );
}

/// The brokers have not confirmed an answer, a dead letter or an event; it is told once more.
pub fn delivery_failed() {
    count(|series| series.kafka.delivery_failures.increment(1));
}
