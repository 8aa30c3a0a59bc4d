//! The content of a submission after validation, and its canonical form.
//!
//! The canonical form is what the fingerprint is made of: the same intent gives the same bytes
//! whether it came by HTTP or as a line of a batch. Version 1:
//!
//! ```text
//!  0x01 | field | field | …        field: 0x00                        not there
//!                                         0x01 | length u32 LE | bytes
//!  order: business operation channel insured visit occurred_at received_from_person_at amount
//!         deadline ground attributes(count, name, value …) attachments(count, name, digest,
//!         bytes …) replaces depends_on covers_from payload paper(kind, sheets, shelf …; nothing where
//!         there is none)
//! ```
//!
//! Instants are milliseconds, amounts fen, days `yyyy-MM-dd`, numbers their sequence: eight
//! bytes, little end first. The credential is no part of it: a repeat may bring a fresh one.

use crate::domain::catalogue::Line;
use crate::domain::cell::Channel;
use crate::domain::ids::{IdempotencyKey, Seq};
use crate::domain::money::Money;
use crate::domain::time::{CivilDate, Timestamp};
use crate::engine::change::{Attachment, Paper, Private};
use bytes::Bytes;

/// A submission that has been validated.
pub(super) struct Content<'c> {
    pub(super) line: &'c Line,
    pub(super) channel: Channel,
    pub(super) occurred_at: Timestamp,
    pub(super) received_from_person_at: Option<Timestamp>,
    pub(super) amount: Money,
    pub(super) deadline: Option<CivilDate>,
    pub(super) replaces: Option<Seq>,
    pub(super) depends_on: Option<Seq>,
    pub(super) covers_from: Option<CivilDate>,
    pub(super) credential: Option<Bytes>,
    pub(super) private: Private,
}

/// The version of the canonical form.
const VERSION: u8 = 1;

impl Content<'_> {
    /// What the fingerprint is made of.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let private = &self.private;
        let mut form = Form(Vec::with_capacity(512 + private.payload.len()));
        form.0.push(VERSION);
        form.text(self.line.business.as_str());
        form.text(self.line.operation.as_str());
        form.text(self.channel.as_str());
        form.text(&private.insured);
        form.maybe(private.visit.as_deref().map(str::as_bytes));
        form.bytes(&self.occurred_at.as_millis().to_le_bytes());
        form.maybe(self.received_from_person_at.map(|at| at.as_millis().to_le_bytes()));
        form.bytes(&self.amount.fen().to_le_bytes());
        form.maybe(self.deadline.map(|day| day.to_string()));
        form.maybe(private.ground.as_deref().map(str::as_bytes));
        form.bytes(&(private.attributes.len() as u64).to_le_bytes());
        for (name, value) in &private.attributes {
            form.text(name);
            form.text(value);
        }
        form.bytes(&(private.attachments.len() as u64).to_le_bytes());
        for Attachment { name, digest, bytes } in &private.attachments {
            form.text(name);
            form.text(digest);
            form.bytes(&bytes.to_le_bytes());
        }
        form.maybe(self.replaces.map(|seq| seq.0.to_le_bytes()));
        form.maybe(self.depends_on.map(|seq| seq.0.to_le_bytes()));
        form.maybe(self.covers_from.map(|day| day.to_string()));
        form.bytes(&private.payload);
        // Younger than the rest: a submission without it is what it always was.
        for Paper { kind, sheets, shelf } in &private.paper {
            form.text(kind);
            form.bytes(&sheets.to_le_bytes());
            form.text(shelf);
        }
        form.0
    }

    /// What the order of this submission hangs on: its visit, else its person.
    pub(super) fn subject(&self) -> &str {
        self.private.visit.as_deref().unwrap_or(&self.private.insured)
    }

    /// The key of the intent.
    pub(super) fn key(&self) -> &IdempotencyKey {
        &self.private.idempotency_key
    }
}

struct Form(Vec<u8>);

impl Form {
    fn bytes(&mut self, value: &[u8]) {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.0.push(1);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn maybe(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.bytes(value.as_ref()),
            None => self.0.push(0),
        }
    }
}
