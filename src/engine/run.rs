//! The engine at work: the queue of events, the step thread, the commit thread.

use super::event::{Event, Order, Reply, ReplyTo, Submission};
use super::machine::Machine;
use crate::domain::ids::{Business, InstitutionCode, InsuredHash, Seq};
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Now};
use tokio::sync::{mpsc, oneshot};

/// What reaches the step thread.
pub enum Input {
    /// Something happened; `Sender` is where its answer goes.
    Event(Box<dyn FnOnce(ReplyTo) -> Event + Send>, oneshot::Sender<Reply>),
    /// Something happened that nobody waits for.
    Told(Event),
    /// Somebody wants to look at the state.
    Read(Box<dyn FnOnce(&Machine, Now) + Send>),
}

/// The way into the engine. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Input>,
}

impl Handle {
    /// The way into the engine that reads `queue`.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Input>) -> Self {
        Self { queue }
    }

    async fn ask(&self, make: impl FnOnce(ReplyTo) -> Event + Send + 'static) -> Reply {
        let (tx, rx) = oneshot::channel();
        if self.queue.send(Input::Event(Box::new(make), tx)).await.is_err() {
            return Reply::Unavailable;
        }
        rx.await.unwrap_or(Reply::Unavailable)
    }

    /// Submits a transaction. Answered when everything the answer rests on is durable; with
    /// `wait` set, at the latest when that much time has passed.
    pub async fn submit(&self, submission: Submission) -> Reply {
        self.ask(|reply| Event::Submit(reply, Box::new(submission))).await
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

    /// Registers a case that has no transaction yet.
    pub async fn register_deadline(
        &self,
        institution: InstitutionCode,
        business: Business,
        original: CivilDate,
        reference: InsuredHash,
    ) -> Reply {
        self.ask(move |reply| Event::RegisterDeadline {
            reply,
            institution,
            business,
            original,
            reference,
        })
        .await
    }

    /// Asks for a date; what is answered counts as told.
    pub async fn check_deadline(&self, business: Business, original: CivilDate) -> Reply {
        self.ask(move |reply| Event::CheckDeadline { reply, business, original }).await
    }

    /// Tells the engine of something that nobody waits for.
    pub async fn tell(&self, event: Event) {
        // A closed queue means that the engine has ended; its supervisor reports that.
        drop(self.queue.send(Input::Told(event)).await);
    }

    /// Looks at the state between two steps. `None` when the engine has ended.
    pub async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Machine, Now) -> T + Send + 'static,
    ) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        let look = Box::new(move |machine: &Machine, now: Now| {
            // The asker may have gone away.
            drop(tx.send(look(machine, now)));
        });
        self.queue.send(Input::Read(look)).await.ok()?;
        rx.await.ok()
    }
}
