//! The simulated core's ear on Kafka: requests of one upstream from a topic, replies to the topic
//! that each request names.
//!
//! What it does with them is `memory`'s, as over HTTP; a connection that would be cut is a reply
//! that is never written. While it is told to be down it
//! reads nothing, and what was sent meanwhile is found afterwards: so are requests in a topic.
//! Records are answered in their order, so a slow core is slow for everybody.

use super::memory::{Request, Verdict};
use super::serve::{Answered, Shared, answer, respond_to_probe};
use crate::kafka::{Connection, Watcher};
use bytes::Bytes;
use http_body_util::BodyExt;
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the core is up again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a reply may take to its topic.
const DELIVERY_MAX: Duration = Duration::from_secs(60);

/// One upstream's topic.
pub(super) struct Bus {
    index: usize,
    consumer: StreamConsumer<Watcher>,
    producer: FutureProducer<Watcher>,
}

impl Bus {
    /// Reads `topic` for the upstream at `index`, named `name`.
    pub(super) fn new(
        (index, name): (usize, &str),
        topic: &str,
        connection: &Connection,
    ) -> KafkaResult<Self> {
        let group = format!("simulated-core-{name}");
        let consumer = connection.consumer(&group, Duration::from_secs(300))?;
        consumer.subscribe(&[topic])?;
        Ok(Self { index, consumer, producer: connection.producer(DELIVERY_MAX)? })
    }

    /// Answers until it is dropped. A broker that goes away comes back.
    pub(super) async fn keep(self, shared: Arc<Shared>) {
        loop {
            let Ok(record) = self.consumer.recv().await else {
                // Not in a tight circle while every broker is away.
                drop(tokio::time::timeout(LOOK_AGAIN, std::future::pending::<()>()).await);
                continue;
            };
            let record = record.detach();
            while shared.memory().parts[self.index].script.down {
                drop(tokio::time::timeout(LOOK_AGAIN, std::future::pending::<()>()).await);
            }
            if let Err(error) = self.answer(&shared, &record).await {
                tracing::warn!(%error, "a reply was not written");
            }
            // What could not be stored is read once more.
            drop(self.consumer.store_offset(record.topic(), record.partition(), record.offset()));
        }
    }

    async fn answer(&self, shared: &Arc<Shared>, record: &OwnedMessage) -> KafkaResult<()> {
        let now = shared.now();
        let get = |name: &str| header(record, name);
        let id = get("holdover-transaction-id");
        let kind = get("holdover-kind");
        let verdict = match (kind.as_deref(), &id) {
            (Some("effect"), _) => {
                let request = request(shared, record);
                let verdict = shared.memory().submit(self.index, now, request);
                verdict.map(|verdict| (verdict, false))
            }
            (Some("question"), Some(id)) => {
                let verdict = shared.memory().question(self.index, now, id);
                verdict.map(|verdict| (verdict, true))
            }
            (Some("probe"), _) => {
                let verdict = shared.memory().probe(self.index, now);
                verdict.map(|verdict| (verdict, true))
            }
            // Nobody could read an answer to that.
            (_, _) => return Ok(()),
        };
        let Some((verdict, is_question)) = shared.or_stop(verdict) else { return Ok(()) };
        if verdict == Verdict::Cut {
            shared.late_planned();
        }
        shared.be_slow(self.index).await;
        let is_probe = kind.as_deref() == Some("probe");
        let answered = match verdict {
            Verdict::Applied { .. } if is_probe => Ok(respond_to_probe()),
            other => answer(other, is_question),
        };
        self.reply(record, answered).await
    }

    async fn reply(&self, record: &OwnedMessage, answered: Answered) -> KafkaResult<()> {
        let get = |name: &str| header(record, name);
        let (Ok(response), Some(correlation), Some(to)) =
            (answered, get("holdover-correlation-id"), get("holdover-reply-to"))
        else {
            return Ok(());
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_or_else(|e| match e {}, |body| body.to_bytes());
        let status = head.status.as_str();
        let mut headers = OwnedHeaders::new()
            .insert(Header { key: "holdover-correlation-id", value: Some(&correlation) })
            .insert(Header { key: "holdover-status", value: Some(status) });
        for (name, value) in &head.headers {
            headers = headers.insert(Header { key: name.as_str(), value: Some(value.as_bytes()) });
        }
        let mut out = FutureRecord::to(&to).payload(body.as_ref()).headers(headers);
        if let Some(key) = record.key() {
            out = out.key(key);
        }
        // Nobody waits for its delivery: a reply that does not arrive is a lost one.
        drop(self.producer.send_result(out).map_err(|(error, _)| error)?);
        Ok(())
    }
}

fn header(record: &OwnedMessage, name: &str) -> Option<String> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    String::from_utf8(found.value?.to_vec()).ok()
}

/// The headers as far as they are needed: all of them only where they are logged.
fn request(shared: &Shared, record: &OwnedMessage) -> Request {
    let body = || Bytes::copy_from_slice(record.payload().unwrap_or_default());
    shared.read_request(|name| header(record, name), body)
}
