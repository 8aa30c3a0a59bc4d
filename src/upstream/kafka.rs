//! A core system that is spoken to over Kafka: requests to one topic, replies from another.
//!
//! ```text
//!  effect, question, probe ──► requests (key: the transaction) ──► core
//!                        waits for the reply of its correlation id
//!                 core ──► replies ──► whoever waits; nobody any more: passed over
//! ```
//!
//! A reply is read as the answer of an HTTP core is: it has a status and a body, and the table of
//! `answer` says what they mean. What the client has taken is on its way: where its delivery fails
//! or its reply does not come in time, the outcome is in doubt, for a broker may have it all the
//! same. A question goes the way of its request, behind it in the same partition, so a core that
//! answers in order says "not found" only of what will not come. Only where the client took
//! nothing was nothing sent. Patients' credentials never go this way: a topic is a disk.

use super::answer::{self, Ended};
use super::http::{ProbeExpect, contains};
use crate::domain::ids::{TransactionId, UpstreamName};
use crate::domain::outcome::{Finding, Outcome};
use crate::engine::ports::{Call, Later, Upstream};
use crate::kafka::{Connection, Watcher, text};
use bytes::Bytes;
use hyper::Response;
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// What tells a reply from the others: chosen by the asker, returned by the core.
pub const CORRELATION: &str = "holdover-correlation-id";
/// What is asked: `effect`, `question` or `probe`.
pub const KIND: &str = "holdover-kind";
/// The topic to which the reply goes.
pub const REPLY_TO: &str = "holdover-reply-to";
/// The transaction.
pub const TRANSACTION: &str = "holdover-transaction-id";
/// The status of a reply, as an HTTP core would have had it.
pub const STATUS: &str = "holdover-status";

/// How long brokers may take to say where a topic begins and ends.
const METADATA_WAIT: Duration = Duration::from_secs(10);

/// What is known about a core before the first call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Its name.
    pub name: UpstreamName,
    /// Where the brokers are.
    pub connection: Connection,
    /// The topic of requests.
    pub requests: String,
    /// The topic of replies. Others may read and write it too.
    pub replies: String,
    /// How long a reply may take.
    pub answer_timeout: Duration,
    /// Effect-bearing calls that may be out at the same time.
    pub concurrency: usize,
    /// Whether the core answers questions about a transaction at all.
    pub answers_questions: bool,
    /// What a good probe's reply looks like.
    pub probe_expect: ProbeExpect,
    /// The longest reply that is read.
    pub answer_bytes_max: usize,
}

/// A core behind topics. Works while [`KafkaUpstream::listen`] does.
pub struct KafkaUpstream {
    options: KafkaOptions,
    producer: FutureProducer<Watcher>,
    sends: Semaphore,
    questions: Semaphore,
    /// What correlation ids of this process begin with.
    process: String,
    asked: AtomicU64,
    waiting: Mutex<HashMap<String, oneshot::Sender<Response<Bytes>>>>,
    /// Whether replies are being read.
    listens: AtomicBool,
    /// The next reply of each partition, once it is known.
    positions: Mutex<HashMap<i32, i64>>,
}

impl fmt::Debug for KafkaUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaUpstream").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A question of ours that waits for its reply; forgets it when it goes away.
struct Waiting<'u> {
    upstream: &'u KafkaUpstream,
    correlation: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.upstream.waiting().remove(&self.correlation);
    }
}

impl KafkaUpstream {
    /// A core that nothing has been asked yet. No broker needs to be there.
    ///
    /// # Errors
    /// When the library refuses a setting.
    pub fn new(options: KafkaOptions) -> KafkaResult<Self> {
        let questions = options.concurrency.div_ceil(4).max(2);
        Ok(Self {
            // What has not arrived by then is in doubt, and had better not arrive later.
            producer: options.connection.producer(options.answer_timeout)?,
            sends: Semaphore::new(options.concurrency),
            questions: Semaphore::new(questions),
            process: format!("{:016x}", fastrand::u64(..)),
            asked: AtomicU64::new(0),
            waiting: Mutex::default(),
            listens: AtomicBool::new(false),
            positions: Mutex::default(),
            options,
        })
    }

    /// Reads replies for ever. Until it does, and again while it does not, nothing is sent.
    ///
    /// # Errors
    /// When the topic cannot be read; called again, it goes on where it was.
    pub async fn listen(self: Arc<Self>) -> Result<(), ListenError> {
        let consumer = self.options.connection.reader()?;
        let upstream = Arc::clone(&self);
        let looked = tokio::task::spawn_blocking(move || {
            let places = upstream.places(&consumer)?;
            consumer.assign(&places)?;
            Ok::<_, ListenError>(consumer)
        });
        let consumer = looked.await??;
        self.listens.store(true, Ordering::SeqCst);
        let ended = self.pass_replies(&consumer).await;
        self.listens.store(false, Ordering::SeqCst);
        Err(ended.into())
    }

    /// Where to read from: what was not read yet; at first, the end.
    fn places(
        &self,
        consumer: &StreamConsumer<Watcher>,
    ) -> Result<TopicPartitionList, ListenError> {
        let topic = &self.options.replies;
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_WAIT)?;
        let found = metadata.topics().iter().find(|found| found.error().is_none());
        let partitions = found.map_or(&[][..], |found| found.partitions());
        if partitions.is_empty() {
            return Err(ListenError::NoTopic(topic.clone()));
        }
        let mut places = TopicPartitionList::new();
        for partition in partitions {
            let number = partition.id();
            let known = self.positions().get(&number).copied();
            let next = match known {
                Some(next) => next,
                None => consumer.fetch_watermarks(topic, number, METADATA_WAIT)?.1,
            };
            self.positions().insert(number, next);
            places.add_partition_offset(topic, number, Offset::Offset(next))?;
        }
        Ok(places)
    }

    async fn pass_replies(&self, consumer: &StreamConsumer<Watcher>) -> KafkaError {
        loop {
            let reply = match consumer.recv().await {
                Ok(reply) => reply,
                Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure
                    | RDKafkaErrorCode::AllBrokersDown
                    | RDKafkaErrorCode::OperationTimedOut,
                )) => continue,
                Err(error) => return error,
            };
            self.positions().insert(reply.partition(), reply.offset() + 1);
            let Some(correlation) = header(&reply, CORRELATION) else { continue };
            let Some(asker) = self.waiting().remove(&correlation) else { continue };
            if let Some(response) = self.response(&reply) {
                // Whoever asked may have gone away.
                drop(asker.send(response));
            }
        }
    }

    /// A reply as an HTTP core would have answered. `None`: it cannot be read, and whoever asked
    /// learns that nobody knows.
    fn response(&self, reply: &BorrowedMessage<'_>) -> Option<Response<Bytes>> {
        let body = reply.payload().unwrap_or_default();
        let status: u16 = header(reply, STATUS)?.parse().ok()?;
        if body.len() > self.options.answer_bytes_max {
            return None;
        }
        let mut response = Response::builder().status(status);
        for header in reply.headers()?.iter().filter(|header| header.key != STATUS) {
            response = response.header(header.key, header.value.unwrap_or_default());
        }
        response.body(Bytes::copy_from_slice(body)).ok()
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Response<Bytes>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn positions(&self) -> MutexGuard<'_, HashMap<i32, i64>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request and its reply, handed to the client at most once.
    async fn exchange(
        &self,
        (kind, key): (&'static str, &str),
        headers: OwnedHeaders,
        payload: &[u8],
        may_start: &(dyn Fn() -> bool + Sync),
    ) -> Ended {
        if !self.listens.load(Ordering::SeqCst) {
            return Ended::NothingSent;
        }
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let correlation = format!("{}-{number}", self.process);
        let (tell, told) = oneshot::channel();
        self.waiting().insert(correlation.clone(), tell);
        let waiting = Waiting { upstream: self, correlation };
        let headers = headers
            .insert(text(KIND, kind))
            .insert(text(CORRELATION, &waiting.correlation))
            .insert(text(REPLY_TO, &self.options.replies));
        let record =
            FutureRecord::to(&self.options.requests).key(key).payload(payload).headers(headers);
        if !may_start() {
            return Ended::GateClosed;
        }
        let Ok(delivery) = self.producer.send_result(record) else { return Ended::NothingSent };
        let exchanged = async {
            match delivery.await {
                Ok(Ok(_)) => told.await.map_or(Ended::Unreadable, Ended::Answered),
                // A broker may have it all the same.
                Ok(Err(_)) | Err(_) => Ended::Cut,
            }
        };
        timeout(self.options.answer_timeout, exchanged).await.unwrap_or(Ended::TimedOut)
    }
}

/// Why replies are not read.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The brokers, or the way to them.
    #[error("replies of the core are not read: {0}")]
    Kafka(#[from] KafkaError),
    /// The topic is not there.
    #[error("the topic {0} does not exist or may not be read; create it")]
    NoTopic(String),
    /// A thread could not be had.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

fn header(record: &BorrowedMessage<'_>, name: &str) -> Option<String> {
    let headers = record.headers()?;
    let found = headers.iter().find(|header| header.key.eq_ignore_ascii_case(name))?;
    String::from_utf8(found.value?.to_vec()).ok()
}

fn headers_of(call: &Call) -> OwnedHeaders {
    super::call_headers(call)
        .into_iter()
        .fold(OwnedHeaders::new(), |headers, (name, value)| headers.insert(text(name, &value)))
}

impl Upstream for KafkaUpstream {
    fn send<'a>(
        &'a self,
        call: Call,
        may_start: &'a (dyn Fn() -> bool + Sync),
    ) -> Later<'a, Outcome<Bytes>> {
        Box::pin(async move {
            let id = call.id.to_string();
            let ended = match self.sends.acquire().await {
                Ok(_place) => {
                    let to = ("effect", id.as_str());
                    self.exchange(to, headers_of(&call), &call.payload, may_start).await
                }
                Err(_closed) => Ended::Stopping,
            };
            answer::outcome(ended)
        })
    }

    fn ask<'a>(&'a self, id: TransactionId) -> Later<'a, Finding<Bytes>> {
        Box::pin(async move {
            if !self.options.answers_questions {
                return Finding::NoAnswer;
            }
            let Ok(_place) = self.questions.acquire().await else {
                return Finding::NoAnswer;
            };
            let id = id.to_string();
            let headers = OwnedHeaders::new().insert(text(TRANSACTION, &id));
            answer::finding(self.exchange(("question", &id), headers, &[], &|| true).await)
        })
    }

    fn probe(&self) -> Later<'_, bool> {
        Box::pin(async move {
            let exchanged = self.exchange(("probe", "probe"), OwnedHeaders::new(), &[], &|| true);
            let Ended::Answered(response) = exchanged.await else { return false };
            let expect = &self.options.probe_expect;
            let said = |text: &String| contains(response.body(), text.as_bytes());
            response.status().as_u16() == expect.status && expect.body.as_ref().is_none_or(said)
        })
    }
}
