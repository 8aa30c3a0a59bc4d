//! One session of the intake from Kafka: a consumer, a producer, and the records under way.
//!
//! Records are submitted in the order of their partition, many at a time, but never two of one
//! ordering key: what the engine cannot take now must not be overtaken by what stands behind it.
//! Replies, answers and offsets go in the order in which the records came, so a stored offset
//! says that everything before it is done. Any trouble ends the session, and with it everything
//! that is not stored.

use super::Options;
use super::envelope;
use super::outgoing::Outgoing;
use crate::domain::ids::OrderingKey;
use crate::domain::time::Timestamp;
use crate::engine::event::{Reply, Submission};
use crate::engine::run::Asked;
use crate::intake::answer::{self, Answered};
use crate::intake::check::{self, Asking};
use crate::intake::submit::has_room;
use crate::intake::{Caller, Shared};
use crate::kafka::{TopicError, Watcher};
use crate::telemetry::events::kafka as events;
use crate::web::access::Scope;
use crate::web::problem::{Code, Problem};
use bytes::Bytes;
use rdkafka::Message;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::producer::{DeliveryFuture, FutureProducer};
use std::collections::{HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Records under way at a time: enough for one commit to hold hundreds of them.
const WINDOW: usize = 512;
/// How long an answer may take to its topic, brokers that are away included; then the session
/// ends, and the record is read once more.
const DELIVERY_MAX: Duration = Duration::from_secs(120);
/// How long what is under way may take at the end.
const END_WAIT: Duration = Duration::from_secs(4);

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The brokers, or the way to them.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// The topics are not as they must be.
    #[error(transparent)]
    Topics(#[from] TopicError),
    /// The engine takes nothing now.
    #[error("nothing can be taken in now ({}): {}", .0.code, .0.detail)]
    NotNow(Box<Problem>),
    /// An answer or a dead letter did not arrive, or nobody knows.
    #[error("an answer was not delivered: {0}")]
    NotDelivered(KafkaError),
    /// What was under way took too long at the end.
    #[error("what was under way had not ended in time")]
    Slow,
    /// A thread could not be had.
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// Works until `stop`; `look` first whether the topics are as they must be.
pub(super) async fn run(
    state: &Shared,
    options: &Options,
    stop: &CancellationToken,
    look: bool,
) -> Result<(), Trouble> {
    let connection = &options.connection;
    let consumer = connection.consumer(&options.group, options.poll_interval_max)?;
    let producer = connection.producer(DELIVERY_MAX)?;
    let each =
        |topic: &String| [topic.clone(), options.answers_of(topic), options.dead_letters_of(topic)];
    if look {
        connection.look_at(options.topics.keys().flat_map(each).collect()).await?;
    }
    let names: Vec<&str> = options.topics.keys().map(String::as_str).collect();
    consumer.subscribe(&names)?;
    let mut session = Session {
        state,
        options,
        consumer,
        producer,
        asked: VecDeque::new(),
        keys: HashSet::new(),
        parked: None,
        delivering: VecDeque::new(),
    };
    let mut ended = session.work(stop).await;
    if ended.is_ok() {
        let finished = tokio::time::timeout(END_WAIT, session.finish()).await;
        ended = finished.unwrap_or(Err(Trouble::Slow));
    }
    events::rebalanced(0);
    let Session { consumer, producer, .. } = session;
    // Leaving the group commits what is stored, and may wait for a broker.
    tokio::task::spawn_blocking(move || drop((consumer, producer))).await?;
    ended
}

/// A record that was taken and has no answer yet.
struct Taken {
    record: OwnedMessage,
    at: Timestamp,
    key: Option<OrderingKey>,
    step: Step,
}

enum Step {
    /// It is in the engine.
    Asked(Asked),
    /// It never came there.
    Judged(Problem),
}

struct Session<'s> {
    state: &'s Shared,
    options: &'s Options,
    consumer: StreamConsumer<Watcher>,
    producer: FutureProducer<Watcher>,
    asked: VecDeque<Taken>,
    /// The ordering keys of what is in `asked`.
    keys: HashSet<OrderingKey>,
    /// A record whose key is under way. Nothing is read while there is one.
    parked: Option<(OwnedMessage, Timestamp, Submission)>,
    delivering: VecDeque<(OwnedMessage, DeliveryFuture)>,
}

impl Session<'_> {
    async fn work(&mut self, stop: &CancellationToken) -> Result<(), Trouble> {
        loop {
            let has_place = self.parked.is_none()
                && self.asked.len() < WINDOW
                && self.delivering.len() < WINDOW;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                (taken, reply) = first_reply(&mut self.asked) => self.tell(taken, reply).await?,
                delivered = first_delivered(&mut self.delivering) => self.store(delivered)?,
                record = next_record(&self.consumer), if has_place => {
                    if let Some(record) = record? {
                        self.take(record).await?;
                    }
                }
            }
            self.unpark().await;
        }
    }

    /// Ends what is under way, and begins nothing.
    async fn finish(&mut self) -> Result<(), Trouble> {
        while !self.asked.is_empty() || !self.delivering.is_empty() {
            tokio::select! {
                biased;
                (taken, reply) = first_reply(&mut self.asked) => self.tell(taken, reply).await?,
                delivered = first_delivered(&mut self.delivering) => self.store(delivered)?,
            }
        }
        Ok(())
    }

    async fn take(&mut self, record: OwnedMessage) -> Result<(), Trouble> {
        has_room(self.state).map_err(|problem| Trouble::NotNow(Box::new(problem)))?;
        let at = self.state.clock.now().wall;
        match self.judge(&record, at) {
            Ok(submission) if self.keys.contains(&submission.ordering_key) => {
                self.parked = Some((record, at, submission));
            }
            Ok(submission) => self.ask(record, at, submission).await,
            Err(problem) => {
                let step = Step::Judged(problem);
                self.asked.push_back(Taken { record, at, key: None, step });
            }
        }
        Ok(())
    }

    async fn ask(&mut self, record: OwnedMessage, at: Timestamp, submission: Submission) {
        let key = submission.ordering_key;
        self.keys.insert(key);
        let step = Step::Asked(self.state.engine.begin_submit(submission).await);
        self.asked.push_back(Taken { record, at, key: Some(key), step });
    }

    async fn unpark(&mut self) {
        let free =
            |(_, _, parked): &mut (_, _, Submission)| !self.keys.contains(&parked.ordering_key);
        if let Some((record, at, submission)) = self.parked.take_if(free) {
            self.ask(record, at, submission).await;
        }
    }

    /// The submission that a record holds.
    fn judge(&self, record: &OwnedMessage, now: Timestamp) -> Result<Submission, Problem> {
        let key = self.options.topics.get(record.topic());
        let holder = key.and_then(|id| self.state.keys.holder(id, now));
        let holder = holder.ok_or_else(|| {
            let detail = "the API key that intake.kafka names for this topic is not good";
            Problem::new(Code::Unauthenticated, detail)
        })?;
        let caller = Caller(holder);
        let (institution, channels) = caller.with(Scope::Submit)?;
        let Some(value) = record.payload() else {
            return Err(Problem::new(Code::Malformed, "the record has no value"));
        };
        let largest = self.state.limits.body.bytes_max;
        if value.len() > largest {
            let detail = format!("the record has more than {largest} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        let headers: Vec<(&str, &[u8])> = record.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|h| (h.key, h.value.unwrap_or_default())).collect()
        });
        let opened = envelope::open(&headers, &Bytes::copy_from_slice(value))?;
        let asking = Asking { institution, channels, now, wait: None };
        check::submission(self.state, asking, opened.key, &opened.body)
    }

    /// Sends the answer to a record, or its dead letter.
    async fn tell(&mut self, taken: Taken, reply: Result<Reply, Problem>) -> Result<(), Trouble> {
        if let Some(key) = &taken.key {
            self.keys.remove(key);
        }
        let answered = match reply {
            Ok(reply) => answer::of(self.state, reply, taken.at).await,
            Err(problem) => Answered::Problem(problem),
        };
        let told = Outgoing::of(self.state, self.options, &taken.record, &answered);
        let told = told.map_err(|problem| Trouble::NotNow(Box::new(problem)))?;
        self.state.tally.count(&answered);
        let sent = told.send(&self.producer, &taken.record)?;
        self.delivering.push_back((taken.record, sent));
        Ok(())
    }

    /// Says that a record is done, once its answer is with the brokers.
    fn store(&self, (record, sent): (OwnedMessage, Result<(), KafkaError>)) -> Result<(), Trouble> {
        if let Err(error) = sent {
            events::delivery_failed();
            return Err(Trouble::NotDelivered(error));
        }
        Ok(self.consumer.store_offset(record.topic(), record.partition(), record.offset())?)
    }
}

/// The next record. `None`: a broker is away, which the client mends by itself.
async fn next_record(
    consumer: &StreamConsumer<Watcher>,
) -> Result<Option<OwnedMessage>, KafkaError> {
    match consumer.recv().await {
        Ok(record) => Ok(Some(record.detach())),
        Err(KafkaError::MessageConsumption(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut,
        )) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the reply to the first record; for ever where there is none. Loses nothing when it is
/// dropped.
async fn first_reply(asked: &mut VecDeque<Taken>) -> (Taken, Result<Reply, Problem>) {
    poll_fn(|cx| {
        let Some(first) = asked.front_mut() else { return Poll::Pending };
        let reply = match &mut first.step {
            Step::Asked(reply) => ready!(Pin::new(reply).poll(cx)),
            Step::Judged(problem) => {
                let problem = problem.clone();
                return asked.pop_front().map_or(Poll::Pending, |t| Poll::Ready((t, Err(problem))));
            }
        };
        asked.pop_front().map_or(Poll::Pending, |taken| Poll::Ready((taken, Ok(reply))))
    })
    .await
}

/// Waits until the first answer has arrived; for ever where there is none. Loses nothing when it
/// is dropped.
async fn first_delivered(
    delivering: &mut VecDeque<(OwnedMessage, DeliveryFuture)>,
) -> (OwnedMessage, Result<(), KafkaError>) {
    poll_fn(|cx| {
        let Some((_, sent)) = delivering.front_mut() else { return Poll::Pending };
        let sent = match ready!(Pin::new(sent).poll(cx)) {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        };
        delivering.pop_front().map_or(Poll::Pending, |(record, _)| Poll::Ready((record, sent)))
    })
    .await
}
