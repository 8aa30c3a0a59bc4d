//! Dispatch: makes the attempts and asks the questions that the engine has committed.
//!
//! One task an attempt; the engine's concurrency limit per upstream bounds their number. Nothing
//! is decided here: an outcome goes back to the engine as an event, whatever it is. A task that
//! panics leaves its transaction in doubt.

use super::clock::Stopwatch;
use super::observe::Observer;
use super::tasks::{Kind, Tasks};
use crate::domain::attachment::Format;
use crate::domain::cell::Cell;
use crate::domain::gate::GateState;
use crate::domain::ids::{AttemptNo, BlobName, InstitutionCode, Seq, TransactionId, UpstreamName};
use crate::domain::numbers::Numbers;
use crate::domain::outcome::{DoubtReason, Finding, Outcome, TransientReason};
use crate::domain::state::State;
use crate::engine::change::{Accepted, Change, Private};
use crate::engine::event::Event;
use crate::engine::ports::{
    Answer, AppendError, Attached, BlobError, Blobs, Call, Clock, JournalReader, LoadBlob,
    ReadError, SealError, Upstream, Vault,
};
use crate::engine::run::{Handle, Outlet};
use crate::engine::step::SendOrder;
use crate::engine::stored;
use crate::telemetry::events;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What every attempt needs.
pub struct Dispatch {
    /// The numbers that the cores know transactions by.
    pub numbers: Arc<Numbers>,
    /// The upstreams.
    pub upstreams: HashMap<UpstreamName, Arc<dyn Upstream>>,
    /// Where records are read from.
    pub reader: Arc<dyn JournalReader>,
    /// The files that transactions name.
    pub blobs: Arc<dyn Blobs>,
    /// Opens what was stored sealed, and seals answers.
    pub vault: Arc<dyn Vault>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Runs the attempts.
    pub tasks: Tasks,
    /// The way back to the engine; set when it has been put together.
    pub engine: OnceLock<Handle>,
    /// Told of everything that has become durable.
    pub observer: Observer,
}

/// The engine's outlet: hands every effect to a task.
pub struct DispatchOutlet(pub Arc<Dispatch>);

impl Outlet for DispatchOutlet {
    fn send(&mut self, order: SendOrder) {
        let dispatch = self.0.clone();
        let (transaction, attempt) = (order.transaction, order.attempt);
        let lost = self.0.clone();
        self.0.tasks.spawn_attempt(
            "attempt",
            async move { dispatch.attempt(order).await },
            move || lost.report_lost(transaction, attempt),
        );
    }

    fn ask(&mut self, transaction: Seq, upstream: UpstreamName, institution: InstitutionCode) {
        let dispatch = self.0.clone();
        let lost = self.0.clone();
        self.0.tasks.spawn_attempt(
            "question",
            async move { dispatch.question(transaction, &upstream, &institution).await },
            move || lost.tell(Event::Found { transaction, finding: Finding::NoAnswer }),
        );
    }

    fn blobs_left(&mut self, files: Vec<(BlobName, u64)>) {
        let dispatch = self.0.clone();
        // What is left for any reason goes at the next start.
        self.0.tasks.spawn(Kind::Upkeep, "blobs-left", async move {
            let (blobs, count) = (dispatch.blobs.clone(), files.len());
            let left = tokio::task::spawn_blocking(move || blobs.leave(&files)).await;
            events::attachments_left(count, left.map_err(io::Error::other).flatten());
        });
    }

    fn gate_turned(&mut self, cell: &Cell, to: GateState) {
        self.0.observer.gate_turned(cell, to);
    }

    fn arrived(&mut self, transaction: Seq, cell: &Cell, state: State) {
        events::arrived(self.0.id(transaction), cell, state, self.0.clock.now().wall);
    }

    fn committed(&mut self, changes: &[(Seq, Change)]) {
        self.0.observer.committed(changes);
    }

    fn disk_full(&mut self, error: &AppendError) {
        self.0.observer.disk_full(error);
    }
}

impl Dispatch {
    async fn attempt(&self, order: SendOrder) {
        let (transaction, attempt) = (order.transaction, order.attempt);
        let institution = order.institution.clone();
        let name = order.cell.upstream.clone();
        let watch = Stopwatch::start();
        let outcome = self.make(order).await;
        events::attempt_settled(self.id(transaction), attempt, &name, &outcome, watch.elapsed());
        let outcome = self.seal_outcome(&institution, outcome);
        self.report(Event::Settled { transaction, attempt, outcome }).await;
    }

    async fn make(&self, order: SendOrder) -> Outcome<Bytes> {
        let Some(upstream) = self.upstreams.get(&order.cell.upstream) else {
            return transient(TransientReason::Unreachable);
        };
        let (accepted, private, credential) = match order.at_hand {
            Some(at_hand) => at_hand,
            None => match self.load(order.transaction) {
                Ok((accepted, private)) => (accepted, Arc::new(private), None),
                Err(Unloaded { reason, why }) => {
                    events::record_not_loaded(self.id(order.transaction), reason, &why);
                    return transient(reason);
                }
            },
        };
        let call = Call {
            id: self.id(order.transaction),
            attempt: order.attempt,
            institution: order.institution.clone(),
            cell: (*order.cell).clone(),
            idempotency_key: private.idempotency_key.clone(),
            accepted_at: accepted.at,
            occurred_at: accepted.occurred_at,
            received_from_person_at: accepted.received_from_person_at,
            credential,
            payload: private.payload.clone(),
            attachments: self.attached(&accepted, &private),
        };
        let may_start = || {
            order.gate.load(Ordering::SeqCst) == order.epoch
                && order.not_after.is_none_or(|at| self.clock.now().wall < at)
        };
        let outcome = upstream.send(call, &may_start).await;
        if order.is_closed && was_begun(&outcome) {
            events::called_while_closed(self.id(order.transaction), &order.cell.upstream);
        }
        outcome
    }

    /// The files that a transaction names, each once, to be read when they are sent.
    fn attached(&self, accepted: &Accepted, private: &Private) -> Vec<Attached> {
        let mut attached: Vec<Attached> = Vec::new();
        for named in &private.attachments {
            let Ok(digest) = named.digest.parse() else { continue };
            if attached.iter().any(|one| one.digest == digest) {
                continue;
            }
            let name = self.vault.blob_name(&accepted.institution, &digest);
            let content = Format::of_name(&named.name).map(Format::content);
            let load = accepted.blobs.contains(&name).then(|| self.loader(name));
            attached.push(Attached { digest, content, load });
        }
        attached
    }

    fn loader(&self, name: BlobName) -> LoadBlob {
        let (engine, blobs) = (self.engine.get().cloned(), self.blobs.clone());
        Arc::new(move || {
            let (engine, blobs) = (engine.clone(), blobs.clone());
            Box::pin(async move {
                let engine = engine.ok_or_else(|| io::Error::other("there is no engine yet"))?;
                let read = stored::read(&engine, &blobs, name).await?;
                read.map(|(_, bytes)| bytes).ok_or(BlobError::Missing)
            })
        })
    }

    /// The record and the private part of an accepted transaction. The read is of pages that
    /// were written lately, or of a sequential replay; it is not worth a thread change.
    fn load(&self, transaction: Seq) -> Result<(Arc<Accepted>, Private), Unloaded> {
        let Change::Accepted(accepted) = self.reader.read(transaction)? else {
            let why = format!("record {transaction} is no accepted transaction");
            return Err(Unloaded { reason: TransientReason::RecordDamaged, why });
        };
        let private = self.vault.open(&accepted.institution, &accepted.sealed)?;
        Ok((accepted, private))
    }

    async fn question(
        &self,
        transaction: Seq,
        upstream: &UpstreamName,
        institution: &InstitutionCode,
    ) {
        let finding = match self.upstreams.get(upstream) {
            Some(upstream) => upstream.ask(self.id(transaction)).await,
            None => Finding::NoAnswer,
        };
        let finding = match finding {
            Finding::Applied(body) => Finding::Applied(self.answer(institution, body)),
            Finding::Refused { code, answer } => {
                Finding::Refused { code, answer: self.answer(institution, answer) }
            }
            Finding::NotFound { fenced } => Finding::NotFound { fenced },
            Finding::NoAnswer => Finding::NoAnswer,
        };
        self.report(Event::Found { transaction, finding }).await;
    }

    fn seal_outcome(
        &self,
        institution: &InstitutionCode,
        outcome: Outcome<Bytes>,
    ) -> Outcome<Answer> {
        match outcome {
            Outcome::Applied(body) => Outcome::Applied(self.answer(institution, body)),
            Outcome::Refused { code, answer } => {
                Outcome::Refused { code, answer: self.answer(institution, answer) }
            }
            Outcome::Transient { reason, retry_after } => {
                Outcome::Transient { reason, retry_after }
            }
            Outcome::InDoubt(reason) => Outcome::InDoubt(reason),
        }
    }

    /// The core's answer as it is kept. One that cannot be sealed is not stored: the outcome
    /// counts, the text is lost, and the log says so.
    fn answer(&self, institution: &InstitutionCode, body: Bytes) -> Answer {
        let sealed = self
            .vault
            .seal_answer(institution, self.clock.now().wall, &body)
            .inspect_err(|error| tracing::error!(%error, "an answer could not be sealed"))
            .ok();
        let business_status = crate::upstream::business_status(&body);
        Answer { body, sealed, business_status }
    }

    fn id(&self, transaction: Seq) -> TransactionId {
        self.numbers.transaction(transaction)
    }

    async fn report(&self, event: Event) {
        if let Some(engine) = self.engine.get() {
            engine.tell(event).await;
        }
    }

    fn report_lost(self: Arc<Self>, transaction: Seq, attempt: AttemptNo) {
        let outcome = Outcome::InDoubt(DoubtReason::Restart);
        self.tell(Event::Settled { transaction, attempt, outcome });
    }

    fn tell(self: Arc<Self>, event: Event) {
        let dispatch = self.clone();
        self.tasks.spawn(Kind::Attempt, "report", async move { dispatch.report(event).await });
    }
}

/// A record that could not be had, so that nothing was sent.
struct Unloaded {
    reason: TransientReason,
    why: String,
}

impl From<ReadError> for Unloaded {
    fn from(error: ReadError) -> Self {
        let reason = match &error {
            ReadError::Missing(_) | ReadError::Retired(_) | ReadError::Damaged { .. } => {
                TransientReason::RecordDamaged
            }
            ReadError::Io(_) => TransientReason::RecordUnreadable,
        };
        Self { reason, why: error.to_string() }
    }
}

impl From<SealError> for Unloaded {
    fn from(error: SealError) -> Self {
        let reason = match &error {
            SealError::NoKey(_) | SealError::Damaged => TransientReason::RecordDamaged,
            SealError::Io(_) => TransientReason::RecordUnreadable,
        };
        Self { reason, why: error.to_string() }
    }
}

fn transient<A>(reason: TransientReason) -> Outcome<A> {
    Outcome::Transient { reason, retry_after: None }
}

/// Whether a byte may have left.
fn was_begun<A>(outcome: &Outcome<A>) -> bool {
    let Outcome::Transient { reason, .. } = outcome else { return true };
    !matches!(
        reason,
        TransientReason::GateClosed | TransientReason::Stopping | TransientReason::Unreachable
    )
}
