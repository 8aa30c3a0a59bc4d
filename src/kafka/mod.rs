//! Connections to Kafka: the settings under which nothing is lost, and what their clients tell.
//!
//! Every client of this program is made here, so that the safe settings stand in one place and
//! none can be switched off by a configuration. What is read and written is the affair of those
//! who use it (`intake::kafka`). Nothing here is the truth: offsets say how far a topic was
//! taken in, and a record that comes twice is found by its idempotency key.

use crate::telemetry::events::kafka as events;
use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Header;
use rdkafka::producer::FutureProducer;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::HashMap;
use std::time::Duration;

/// Kilobytes that a consumer may hold ahead of us. The library's own default is 64 MiB for each
/// client; at some kilobytes a record this is thousands of records, which is enough.
const READ_AHEAD_KBYTES: u32 = 16 * 1024;
/// Messages that a producer may hold; far more than we ever have under way.
const PRODUCER_QUEUE: u32 = 10_000;

/// How long brokers may take to say which topics there are, and how they are kept.
const TOPICS_WAIT: Duration = Duration::from_secs(10);

/// Why topics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The brokers, or the way to them.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// A topic is not there.
    #[error("the topic {0} does not exist or may not be used; create it, or correct its name")]
    Missing(String),
    /// A thread could not be had.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Where the brokers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `host:port` of some of them; the others are learned.
    pub brokers: Vec<String>,
}

impl Connection {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "holdover")
            .set("allow.auto.create.topics", "false")
            .set("socket.keepalive.enable", "true")
            // A broker that stands still is given up after this, and its partitions are looked for
            // elsewhere. The library's own 60 s would be a minute without answers.
            .set("socket.timeout.ms", "10000")
            .set("statistics.interval.ms", "5000")
            .set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// The one member of `group`, which says nothing of its progress by itself: an offset is stored by
    /// whoever has made durable what came of the record, and what is stored is committed every
    /// few seconds and at the end. A new group begins at the oldest record.
    ///
    /// `poll_interval_max` is how long the group waits for a member that does not ask.
    ///
    /// # Errors
    /// When the library refuses a setting.
    pub fn consumer(
        &self,
        group: &str,
        poll_interval_max: Duration,
    ) -> KafkaResult<StreamConsumer<Watcher>> {
        let poll_ms = poll_interval_max.as_millis();
        let mut config = self.config();
        config
            .set("group.id", group)
            // A member that comes back under its name has its partitions at once; one without
            // is waited for until its session is over (45 s).
            .set("group.instance.id", group)
            .set("enable.auto.commit", "true")
            // What is read twice after a kill. The library's own 5 s would be more of it.
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("isolation.level", "read_committed")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", READ_AHEAD_KBYTES.to_string())
            .set("max.poll.interval.ms", poll_ms.to_string())
            // The library refuses a session that is longer than the poll interval.
            .set("session.timeout.ms", poll_ms.min(45_000).to_string());
        config.create_with_context(Watcher { is_of_intake: true })
    }

    /// A reader that belongs to no group and says nothing of its progress: it is told where to
    /// read.
    ///
    /// # Errors
    /// When the library refuses a setting.
    pub fn reader(&self) -> KafkaResult<StreamConsumer<Watcher>> {
        let mut config = self.config();
        config
            // The library wants a name; nothing is ever committed under it.
            .set("group.id", "holdover-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("check.crcs", "true")
            .set("queued.max.messages.kbytes", READ_AHEAD_KBYTES.to_string());
        config.create_with_context(Watcher { is_of_intake: false })
    }

    /// A producer whose retries neither repeat nor reorder, and whose successes are those of all
    /// replicas in sync. After `delivery_max` it gives a record up; whether the brokers have it
    /// is not known then.
    ///
    /// # Errors
    /// When the library refuses a setting.
    pub fn producer(&self, delivery_max: Duration) -> KafkaResult<FutureProducer<Watcher>> {
        let mut config = self.config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .set("linger.ms", "2")
            .set("queue.buffering.max.messages", PRODUCER_QUEUE.to_string())
            .set("delivery.timeout.ms", delivery_max.as_millis().to_string());
        config.create_with_context(Watcher { is_of_intake: false })
    }

    /// Looks whether every one of `topics` is there, and says which are kept less safely than what
    /// is told through them deserves.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub async fn look_at(&self, topics: Vec<String>) -> Result<(), TopicError> {
        let admin: AdminClient<Watcher> =
            self.config().create_with_context(Watcher { is_of_intake: false })?;
        let asked = topics.clone();
        let (admin, replicas) = tokio::task::spawn_blocking(move || {
            let replicas = replicas_of(&admin, &asked);
            (admin, replicas)
        })
        .await?;
        let replicas = replicas?;
        let named: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(TOPICS_WAIT));
        let kept = admin.describe_configs(&named, &options).await;
        // Whoever may not ask is told of the replicas alone.
        let kept = kept.unwrap_or_default().into_iter().filter_map(Result::ok);
        let in_sync: HashMap<_, usize> = kept
            .filter_map(|topic| {
                let least = topic.get("min.insync.replicas")?.value.as_deref()?.parse().ok()?;
                match topic.specifier {
                    OwnedResourceSpecifier::Topic(name) => Some((name, least)),
                    OwnedResourceSpecifier::Group(_) | OwnedResourceSpecifier::Broker(_) => None,
                }
            })
            .collect();
        for (name, replicas) in topics.iter().zip(replicas) {
            events::topic_seen(name, replicas, in_sync.get(name).copied());
        }
        Ok(())
    }
}

/// The replicas of the least safe partition of each topic. Blocks.
fn replicas_of(admin: &AdminClient<Watcher>, topics: &[String]) -> Result<Vec<usize>, TopicError> {
    let replicas = |name: &String| {
        let metadata = admin.inner().fetch_metadata(Some(name), TOPICS_WAIT)?;
        let found = metadata.topics().iter().find(|found| found.name() == name);
        let found = found.filter(|found| found.error().is_none());
        let found = found.ok_or_else(|| TopicError::Missing(name.clone()))?;
        Ok(found.partitions().iter().map(|p| p.replicas().len()).min().unwrap_or(0))
    };
    topics.iter().map(replicas).collect()
}

/// Hears what a client tells of itself, and passes it on to log and metrics.
#[derive(Debug, Clone, Copy)]
pub struct Watcher {
    /// Whether it is the client whose backlog is watched.
    is_of_intake: bool,
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, text, "the kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(facility, text, "the kafka client");
            }
        }
    }

    fn stats(&self, statistics: Statistics) {
        if self.is_of_intake {
            events::lags(lag(&statistics));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "the kafka client has lost a broker, it goes on trying");
    }
}

impl ConsumerContext for Watcher {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let held = consumer.assignment().map_or(0, |held| held.count());
        if let Rebalance::Error(error) = rebalance {
            tracing::warn!(%error, "the group could not be joined");
        }
        events::rebalanced(held);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        match result {
            Ok(())
            | Err(KafkaError::ConsumerCommit(rdkafka::error::RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::warn!(
                %error, "offsets were not committed; the records would come again, and be known"
            ),
        }
    }
}

/// Records that stand in the topics behind the last one that was committed.
fn lag(statistics: &Statistics) -> u64 {
    let topics = statistics.topics.values();
    let partitions = topics.flat_map(|topic| topic.partitions.values());
    partitions.filter_map(|partition| u64::try_from(partition.consumer_lag).ok()).sum()
}

/// A header whose value is a text.
#[must_use]
pub fn text<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}
