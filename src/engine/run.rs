//! The engine at work: the queue of inputs, and the one thread that takes them from it.
//!
//! ```text
//!  queue ─► step each, then dispatch ─► append, with one sync ─► answers, sends, questions ─┐
//!    ▲                                                                                     │
//!    └──────────── what was queued meanwhile shares the next sync ◄────────────────────────┘
//! ```
//!
//! Answers to reads wait for the sync like all others, so that nobody sees a state that a crash
//! could take back.

use super::change::{Blob, Case, Change};
use super::clock::BelievedClock;
use super::event::{Event, Order, Reply, ReplyTo, Submission};
use super::machine::Machine;
use super::ports::{AppendError, Clock, Journal};
use super::settings::sabotaged;
use super::step::{Decision, Effect, SendOrder};
use crate::domain::cell::Cell;
use crate::domain::gate::GateState;
use crate::domain::ids::{BlobName, Business, InstitutionCode, Seq, UpstreamName};
use crate::domain::state::State;
use crate::domain::term::Deadline;
use crate::domain::ticket::TicketState;
use crate::domain::time::{Now, Timestamp};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Inputs that share one sync, at most.
const BATCH_INPUTS: u64 = 1024;
/// Keeps the thread, which has nothing better to do, from spinning.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, waiting for disk space")]
fn pause() {
    std::thread::sleep(FULL_RETRY);
}

/// Long enough to be killed in, short enough for a whole run.
#[expect(clippy::disallowed_methods, reason = "only for a promise that is broken on purpose")]
fn pause_briefly() {
    std::thread::sleep(Duration::from_millis(10));
}

/// How soon a full disk is tried again.
const FULL_RETRY: Duration = Duration::from_millis(500);

type Delivery = Box<dyn FnOnce() + Send>;
type Look = Box<dyn FnOnce(&Machine, Now) -> Delivery + Send>;

/// What reaches the engine's thread.
pub enum Input {
    /// Something happened; `Sender` is where its answer goes.
    Event(Box<dyn FnOnce(ReplyTo) -> Event + Send>, oneshot::Sender<Reply>),
    /// Something happened that nobody waits for.
    Told(Event),
    /// Somebody wants to look at the state; what it returns is called after the commit.
    Read(Look),
    /// Nothing more will be taken in after this.
    Close,
}

/// Where effects go. Called by the engine's thread only, after the commit; must not block.
pub trait Outlet: Send {
    /// Makes an attempt.
    fn send(&mut self, order: SendOrder);
    /// Asks about a transaction.
    fn ask(&mut self, transaction: Seq, upstream: UpstreamName, institution: InstitutionCode);
    /// Stored files are known no longer: puts them away.
    fn blobs_left(&mut self, files: Vec<(BlobName, u64)>);
    /// A gate turned.
    fn gate_turned(&mut self, cell: &Cell, to: GateState);
    /// A transaction came into a final state, or became a dead letter.
    fn arrived(&mut self, transaction: Seq, cell: &Cell, state: State);
    /// Changes became durable.
    fn committed(&mut self, changes: &[(Seq, Change)]);
    /// The disk is full; the commit is tried again until there is room.
    fn disk_full(&mut self, error: &AppendError);
}

/// What others may know of the engine at any time without asking it.
#[derive(Debug, Default)]
pub struct Pulse {
    entered: AtomicU64,
    left: AtomicU64,
    out: AtomicBool,
    next_due: AtomicI64,
    poisoned: AtomicBool,
}

impl Pulse {
    /// Whether anything is under way: inputs, commits, attempts or questions.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.entered.load(Ordering::SeqCst) != self.left.load(Ordering::SeqCst)
            || self.out.load(Ordering::SeqCst)
    }

    /// When something becomes due, if anything does.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        match self.next_due.load(Ordering::SeqCst) {
            0 => None,
            ms => Some(Timestamp::from_millis(ms)),
        }
    }

    /// Whether a commit failed: nothing is acknowledged any more.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }
}

/// Decided together, committed together.
#[derive(Default)]
struct Batch {
    changes: Vec<(Seq, Change)>,
    performances: Vec<Performance>,
    inputs: u64,
}

enum Performance {
    Answer(oneshot::Sender<Reply>, Reply),
    Deliver(Delivery),
    Send(Box<SendOrder>),
    Ask(Seq, UpstreamName, InstitutionCode),
    BlobsLeft(Vec<(BlobName, u64)>),
    GateTurned(Arc<Cell>, GateState),
    Arrived(Seq, Arc<Cell>, State),
}

/// The thread of the engine: owns the state and the end of the journal.
pub struct Worker {
    machine: Machine,
    journal: Box<dyn Journal>,
    outlet: Box<dyn Outlet>,
    queue: mpsc::Receiver<Input>,
    clock: Arc<dyn Clock>,
    pulse: Arc<Pulse>,
    due: watch::Sender<Option<Timestamp>>,
    replies: HashMap<u64, oneshot::Sender<Reply>>,
    next_reply: u64,
    /// Decided and not committed yet.
    batch: Batch,
    closing: bool,
}

/// The engine in its parts, ready to be put on its thread.
pub struct Parts {
    /// Runs on a thread of its own.
    pub worker: Worker,
    /// The way in.
    pub handle: Handle,
    /// What others may know.
    pub pulse: Arc<Pulse>,
    /// When something becomes due next; whoever watches it sends [`Event::Tick`] then.
    pub due: watch::Receiver<Option<Timestamp>>,
    /// The clock as the engine believes it.
    pub clock: Arc<BelievedClock>,
}

/// Inputs that may wait for the engine's thread. More than the connections that are served, so that
/// a full queue means overload and not a burst.
pub const QUEUE: usize = 4096;

/// Puts an engine together. `recovered` is what recovery decided and has not committed yet.
#[must_use]
pub fn assemble(
    mut machine: Machine,
    recovered: Decision,
    journal: Box<dyn Journal>,
    outlet: Box<dyn Outlet>,
    clock: Arc<dyn Clock>,
) -> Parts {
    if clock.is_virtual() {
        machine.follow_driver();
    }
    let (queue_in, queue) = mpsc::channel(QUEUE);
    let (due_in, due) = watch::channel(None);
    let pulse = Arc::new(Pulse::default());
    let believed = Arc::new(machine.believed(clock.clone()));
    let mut worker = Worker {
        machine,
        journal,
        outlet,
        queue,
        clock,
        pulse: pulse.clone(),
        due: due_in,
        replies: HashMap::new(),
        next_reply: 0,
        batch: Batch::default(),
        closing: false,
    };
    worker.take_up(recovered);
    let handle = Handle { queue: queue_in, pulse: pulse.clone() };
    Parts { worker, handle, pulse, due, clock: believed }
}

impl Worker {
    /// Steps and commits until [`Handle::close`], then closes the journal. Returns the last
    /// state, which is committed where the result is good.
    ///
    /// # Errors
    /// The first failed commit. Nothing that rested on it was answered; the process must exit.
    pub fn run(mut self) -> (Machine, Result<(), AppendError>) {
        let worked = self.work();
        let Self { machine, journal, pulse, .. } = self;
        let ended = worked.and_then(|()| journal.close());
        pulse.poisoned.fetch_or(ended.is_err(), Ordering::SeqCst);
        (machine, ended)
    }

    fn work(&mut self) -> Result<(), AppendError> {
        self.commit()?;
        while let Some(first) = self.queue.blocking_recv() {
            let mut decision = Decision::default();
            let mut next = Some(first);
            while let Some(input) = next {
                self.batch.inputs += 1;
                self.take(input, &mut decision);
                let more = self.batch.inputs < BATCH_INPUTS
                    && decision.changes.len() < self.machine.settings.limits.commit_records_max;
                next = if more { self.queue.try_recv().ok() } else { None };
            }
            let now = self.clock.now();
            self.machine.dispatch(now, &mut decision);
            self.machine.forget_sealed_keys();
            self.take_up(decision);
            self.commit()?;
            if self.closing {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, input: Input, out: &mut Decision) {
        let now = self.clock.now();
        match input {
            Input::Event(make, sender) => {
                self.next_reply += 1;
                self.replies.insert(self.next_reply, sender);
                let event = make(ReplyTo(self.next_reply));
                self.machine.step(now, event, out);
            }
            Input::Told(event) => self.machine.step(now, event, out),
            Input::Read(look) => {
                // Whoever looks sees the state at the machine's time.
                let now = Now { wall: self.machine.time_at(now), ..now };
                let delivery = look(&self.machine, now);
                self.batch.performances.push(Performance::Deliver(delivery));
            }
            Input::Close => self.closing = true,
        }
    }

    /// Makes a decision part of the batch.
    fn take_up(&mut self, decision: Decision) {
        let performances = &mut self.batch.performances;
        for effect in decision.effects {
            match effect {
                Effect::Reply(ReplyTo(token), reply) => {
                    if let Some(sender) = self.replies.remove(&token) {
                        performances.push(Performance::Answer(sender, reply));
                    }
                }
                Effect::Send(order) => performances.push(Performance::Send(order)),
                Effect::Ask { transaction, upstream, institution } => {
                    performances.push(Performance::Ask(transaction, upstream, institution));
                }
                Effect::BlobsLeft(files) => performances.push(Performance::BlobsLeft(files)),
                Effect::GateTurned { cell, to } => {
                    performances.push(Performance::GateTurned(cell, to));
                }
            }
        }
        let arrivals = self.machine.take_arrivals().into_iter();
        performances.extend(arrivals.map(|(seq, cell, to)| Performance::Arrived(seq, cell, to)));
        self.batch.changes.extend(decision.changes);
        self.pulse.out.store(self.machine.is_busy(), Ordering::SeqCst);
        let due = self.machine.next_due();
        self.pulse.next_due.store(due.map_or(0, Timestamp::as_millis), Ordering::SeqCst);
        self.due.send_if_modified(|known| std::mem::replace(known, due) != due);
    }

    /// Makes the batch durable, then performs it.
    fn commit(&mut self) -> Result<(), AppendError> {
        let mut batch = std::mem::take(&mut self.batch);
        if sabotaged!(self.machine.settings, AckEarly) {
            self.perform(std::mem::take(&mut batch.performances));
            pause_briefly();
        }
        if !batch.changes.is_empty() {
            self.append(&batch.changes)?;
            self.outlet.committed(&batch.changes);
        }
        self.perform(batch.performances);
        self.pulse.left.fetch_add(batch.inputs, Ordering::SeqCst);
        Ok(())
    }

    /// Makes changes durable. A full disk is waited for: nothing was written, nothing is
    /// answered, and the state already holds the changes.
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        loop {
            match self.journal.append(changes) {
                Err(full @ AppendError::Full(_)) => self.outlet.disk_full(&full),
                other => return other,
            }
            pause();
        }
    }

    fn perform(&mut self, performances: Vec<Performance>) {
        for performance in performances {
            match performance {
                // A client that has gone away will ask again with its key.
                Performance::Answer(sender, reply) => drop(sender.send(reply)),
                Performance::Deliver(delivery) => delivery(),
                Performance::Send(order) => self.outlet.send(*order),
                Performance::Ask(transaction, upstream, institution) => {
                    self.outlet.ask(transaction, upstream, institution);
                }
                Performance::BlobsLeft(files) => self.outlet.blobs_left(files),
                Performance::GateTurned(cell, to) => self.outlet.gate_turned(&cell, to),
                Performance::Arrived(transaction, cell, state) => {
                    self.outlet.arrived(transaction, &cell, state);
                }
            }
        }
    }
}

/// A question that is in the engine's queue: ends in its reply. Dropping it takes nothing back.
pub struct Asked(Option<oneshot::Receiver<Reply>>);

impl Future for Asked {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match &mut self.0 {
            Some(reply) => Pin::new(reply).poll(cx).map(|r| r.unwrap_or(Reply::Unavailable)),
            None => Poll::Ready(Reply::Unavailable),
        }
    }
}

/// The way into the engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Input>,
    pulse: Arc<Pulse>,
}

impl Handle {
    /// The way into the engine that reads `queue`.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Input>) -> Self {
        Self { queue, pulse: Arc::new(Pulse::default()) }
    }

    async fn enter(&self, input: Input) -> bool {
        self.pulse.entered.fetch_add(1, Ordering::SeqCst);
        let sent = self.queue.send(input).await.is_ok();
        if !sent {
            self.pulse.left.fetch_add(1, Ordering::SeqCst);
        }
        sent
    }

    async fn begin(&self, make: impl FnOnce(ReplyTo) -> Event + Send + 'static) -> Asked {
        let (tx, rx) = oneshot::channel();
        let entered = self.enter(Input::Event(Box::new(make), tx)).await;
        Asked(entered.then_some(rx))
    }

    async fn ask(&self, make: impl FnOnce(ReplyTo) -> Event + Send + 'static) -> Reply {
        self.begin(make).await.await
    }

    /// Puts a submission into the engine's queue, waiting for room there; its reply comes apart,
    /// so that whoever has many of them can have many under way. See [`Handle::submit`].
    pub async fn begin_submit(&self, submission: Submission) -> Asked {
        self.begin(|reply| Event::Submit(reply, Box::new(submission))).await
    }

    /// Submits a transaction. Answered when everything the answer rests on is durable; with
    /// `wait` set, at the latest when that much time has passed.
    pub async fn submit(&self, submission: Submission) -> Reply {
        self.begin_submit(submission).await.await
    }

    /// Gives an operator's order.
    pub async fn order(&self, order: Order) -> Reply {
        self.ask(|reply| Event::Order(reply, Box::new(order))).await
    }

    /// Takes a waiting transaction back.
    pub async fn withdraw(
        &self,
        institution: InstitutionCode,
        transaction: Seq,
        reason: String,
    ) -> Reply {
        self.ask(move |reply| Event::Withdraw { reply, institution, transaction, reason }).await
    }

    /// Closes a ticket by hand.
    pub async fn close_ticket(
        &self,
        institution: InstitutionCode,
        transaction: Seq,
        how: TicketState,
        by: String,
        reason: String,
    ) -> Reply {
        self.ask(move |reply| Event::CloseTicket {
            reply,
            institution,
            transaction,
            how,
            by,
            reason,
        })
        .await
    }

    /// Makes a stored file known; see [`Event::StoreBlob`].
    pub async fn store_blob(&self, blob: Blob, replaces: Option<u64>) -> Reply {
        self.ask(move |reply| Event::StoreBlob { reply, blob, replaces }).await
    }

    /// Has a stored file kept from now on, as if it had come now; `Done::Blob(false)` where that is
    /// stored no more.
    pub async fn renew_blob(&self, blob: Blob) -> Reply {
        let itself = Some(blob.file);
        self.store_blob(blob, itself).await
    }

    /// Registers a case that has no transaction yet; of one that is registered, finds it.
    pub async fn register_deadline(&self, case: Case) -> Reply {
        self.ask(move |reply| Event::RegisterDeadline { reply, case }).await
    }

    /// Asks for a date; what is answered counts as told.
    pub async fn check_deadline(&self, business: Business, original: Deadline) -> Reply {
        self.ask(move |reply| Event::CheckDeadline { reply, business, original }).await
    }

    /// Tells the engine of something that nobody waits for.
    pub async fn tell(&self, event: Event) {
        // A closed queue means that the engine has ended; its supervisor reports that.
        self.enter(Input::Told(event)).await;
    }

    /// Ends the engine's thread after what is queued. What comes later is answered as unavailable.
    pub async fn close(&self) {
        self.enter(Input::Close).await;
    }

    /// Looks at the state between two steps. `None` when the engine has ended.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Machine, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        let look: Look = Box::new(move |machine: &Machine, now: Now| {
            let seen = look(machine, now);
            // The asker may have gone away.
            Box::new(move || drop(tx.send(seen)))
        });
        if !self.enter(Input::Read(look)).await {
            return None;
        }
        rx.await.ok()
    }
}
