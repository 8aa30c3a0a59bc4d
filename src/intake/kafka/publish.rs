//! Publishing: what became of transactions, and windows as they stand, told to topics.
//!
//! ```text
//!  journal ──read on──► news ──► topics of results, topic of windows ──delivered──► place
//! ```
//!
//! The journal is followed behind the engine, so nobody waits for a broker. The *place* says up to
//! where everything is with the brokers; it is written after the deliveries, so what is published
//! comes at least once, under the same event id when it comes again, and in the order of its key.
//! Where there is no place yet, publishing begins at the journal's end, with the windows that are
//! not over. Any trouble is waited out,
//! and then it goes on at the place.
//!
//! What is news, and how it is put, is `news`'s.

use super::news::{self, Batch};
use super::place::{Place, PlaceError};
use crate::domain::ids::{InstitutionCode, Seq};
use crate::domain::window::Window;
use crate::engine::ports::ReadError;
use crate::intake::Shared;
use crate::kafka::{Connection, TopicError, Watcher};
use crate::telemetry::events::kafka::{self as events, Published};
use crate::web::problem::Problem;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long an event may take to its topic, brokers that are away included; then it is told once
/// more.
const DELIVERY_MAX: Duration = Duration::from_secs(120);
/// Records that are with the client at a time.
const UNDER_WAY_MAX: usize = 2_000;
/// How long what is under way may take at the end.
const END_WAIT: Duration = Duration::from_secs(1);
/// How often it is looked whether the journal has grown.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the place is written where there is always something to publish. What lies between
/// is published again after a kill.
const PLACE_EVERY: Duration = Duration::from_secs(1);

/// Whose results go to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Everybody's.
    All,
    /// Those of one institution.
    Institution(InstitutionCode),
}

impl Audience {
    fn hears_of(&self, institution: &InstitutionCode) -> bool {
        match self {
            Self::All => true,
            Self::Institution(code) => code == institution,
        }
    }
}

/// What is published, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the brokers are.
    pub connection: Connection,
    /// The topic of windows, where they are published.
    pub windows: Option<String>,
    /// The topics of results.
    pub results: BTreeMap<String, Audience>,
    /// The file of the place.
    pub place: PathBuf,
}

/// Why publishing was interrupted.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Topics(#[from] TopicError),
    #[error("an event was not delivered: {0}")]
    NotDelivered(KafkaError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Problem),
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Publishes until `stop`.
pub async fn run(state: Shared, options: Options, stop: CancellationToken) {
    // What happens from here on is published, however long it takes until there is a broker.
    let first = Place::at(state.journal.last().next());
    let path = options.place.clone();
    let begun = tokio::task::spawn_blocking(move || first.begin(&path)).await;
    if let Ok(Err(trouble)) = &begun {
        events::publishing_interrupted(trouble);
    }
    let mut pause = super::FIRST_PAUSE;
    while !stop.is_cancelled() {
        let began = state.clock.now().monotonic;
        let Err(trouble) = follow(&state, &options, &stop).await else { return };
        events::publishing_interrupted(&trouble);
        let worked = state.clock.now().monotonic.0.saturating_sub(began.0);
        if Duration::from_millis(worked) > super::LONGEST_PAUSE {
            pause = super::FIRST_PAUSE;
        }
        super::rest(pause, &stop).await;
        pause = (pause * 2).min(super::LONGEST_PAUSE);
    }
}

async fn follow(
    state: &Shared,
    options: &Options,
    stop: &CancellationToken,
) -> Result<(), Trouble> {
    if let Some(place) = read(options).await? {
        events::unpublished(state.journal.last().next().0.saturating_sub(place.next.0));
    }
    let publisher =
        Publisher { state, options, producer: options.connection.producer(DELIVERY_MAX)? };
    let mut place = tokio::select! {
        place = publisher.begin() => place?,
        () = stop.cancelled() => return Ok(()),
    };
    events::publishes();
    let ended = {
        let mut working = pin!(publisher.work(&mut place, stop));
        tokio::select! {
            ended = &mut working => ended,
            // What is not confirmed by then is told once more after the next start.
            () = stop.cancelled() => {
                tokio::time::timeout(END_WAIT, working).await.unwrap_or(Ok(()))
            }
        }
    };
    // Also after a trouble: what was delivered need not come again.
    let written = write(options, &place).await;
    let producer = publisher.producer;
    tokio::task::spawn_blocking(move || drop(producer)).await?;
    ended.and(written)
}

async fn read(options: &Options) -> Result<Option<Place>, Trouble> {
    let path = options.place.clone();
    Ok(tokio::task::spawn_blocking(move || Place::read(&path)).await??)
}

async fn write(options: &Options, place: &Place) -> Result<(), Trouble> {
    let (path, place) = (options.place.clone(), place.clone());
    Ok(tokio::task::spawn_blocking(move || place.write(&path)).await??)
}

struct Publisher<'s> {
    state: &'s Shared,
    options: &'s Options,
    producer: FutureProducer<Watcher>,
}

impl Publisher<'_> {
    /// Where to go on.
    async fn begin(&self) -> Result<Place, Trouble> {
        let topics = self.options.results.keys().chain(&self.options.windows).cloned();
        self.options.connection.look_at(topics.collect()).await?;
        let known = read(self.options).await?;
        let last = self.state.journal.last();
        let mut place = known.unwrap_or_else(|| Place::at(last.next()));
        if place.is_new {
            let standing = news::standing_windows(self.state).await?;
            self.publish_windows(&standing).await?;
            place.is_new = false;
        }
        let first = self.state.engine.read(|machine, _| machine.begins()).await;
        let first = first.ok_or_else(crate::intake::answer::unavailable)?;
        let goes_on_at = place.next.clamp(first.min(last.next()), last.next());
        if goes_on_at != place.next {
            events::place_moved(place.next.0, first.0, last.0, goes_on_at.0);
            place.next = goes_on_at;
        }
        Ok(place)
    }

    async fn work(&self, place: &mut Place, stop: &CancellationToken) -> Result<(), Trouble> {
        let mut written = place.next;
        let mut due = self.state.clock.now().monotonic.0;
        while !stop.is_cancelled() {
            let (state, from) = (self.state.clone(), place.clone());
            let wants_results = !self.options.results.is_empty();
            let read = tokio::task::spawn_blocking(move || {
                news::read(&*state.journal, from, wants_results)
            });
            let batch = read.await??;
            events::unpublished(self.state.journal.last().next().0 - place.next.0);
            let is_all = batch.is_all;
            self.publish(&batch).await?;
            *place = batch.place;
            events::unpublished(self.state.journal.last().next().0 - place.next.0);
            let now = self.state.clock.now().monotonic.0;
            if place.next != written && (is_all || now >= due) {
                write(self.options, place).await?;
                written = place.next;
                due = now + u64::try_from(PLACE_EVERY.as_millis()).unwrap_or(u64::MAX);
            }
            if is_all {
                self.wait_beyond(place.next, stop).await;
            }
        }
        Ok(())
    }

    /// Waits until the journal has grown to `next`, or until `stop`.
    async fn wait_beyond(&self, next: Seq, stop: &CancellationToken) {
        while self.state.journal.last() < next && !stop.is_cancelled() {
            super::rest(LOOK_EVERY, stop).await;
        }
    }

    /// Sends a batch, and returns when all of it is with the brokers.
    async fn publish(&self, batch: &Batch) -> Result<(), Trouble> {
        let mut under_way = Vec::new();
        let mut sent = 0;
        for result in &batch.results {
            let event = result.event(self.state)?;
            for (topic, audience) in &self.options.results {
                if audience.hears_of(&result.record.institution) {
                    under_way.push(self.send(topic, &event)?);
                    sent += 1;
                }
            }
            if under_way.len() >= UNDER_WAY_MAX {
                all_delivered(std::mem::take(&mut under_way)).await?;
            }
        }
        all_delivered(std::mem::take(&mut under_way)).await?;
        events::published(Published::Result, sent);
        self.publish_windows(&batch.windows).await
    }

    async fn publish_windows(&self, windows: &[Arc<Window>]) -> Result<(), Trouble> {
        let (Some(topic), false) = (&self.options.windows, windows.is_empty()) else {
            return Ok(());
        };
        let events = news::windows(self.state, windows).await?;
        let sent: Result<Vec<_>, _> = events.iter().map(|event| self.send(topic, event)).collect();
        all_delivered(sent?).await?;
        events::published(Published::Window, events.len() as u64);
        Ok(())
    }

    fn send(&self, topic: &str, event: &news::Event) -> Result<DeliveryFuture, KafkaError> {
        let record = FutureRecord::to(topic).key(&event.key).payload(&event.body);
        let record = record.headers(event.headers());
        self.producer.send_result(record).map_err(|(error, _)| error)
    }
}

async fn all_delivered(under_way: Vec<DeliveryFuture>) -> Result<(), Trouble> {
    for delivery in under_way {
        match delivery.await {
            Ok(Ok(_)) => {}
            Ok(Err((error, _))) => return Err(Trouble::NotDelivered(error)),
            Err(_) => return Err(Trouble::NotDelivered(KafkaError::Canceled)),
        }
    }
    Ok(())
}
