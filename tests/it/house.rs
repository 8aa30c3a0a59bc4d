//! Both interfaces over one real engine, for tests that need them together.

use crate::engine_support::{NoRuns, cell, settings, submission};
use crate::intake_rig::{
    HashVault, NoFiles, StillClock, announcements, at, bundles, institution, key_of,
};
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use holdover::admin;
use holdover::admin::audit::Audit;
use holdover::admin::proposals::Proposals;
use holdover::domain::attachment::Format;
use holdover::domain::catalogue::Catalogue;
use holdover::domain::cell::{Cell, Channel, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::ids::{BlobName, InstitutionCode, Mark, Seq, UpstreamName};
use holdover::domain::outcome::Outcome;
use holdover::domain::state::State;
use holdover::domain::time::{Monotonic, Now};
use holdover::engine::change::Change;
use holdover::engine::event::{Command, Event, Order, Reply, ReplyTo, Submission};
use holdover::engine::machine::Machine;
use holdover::engine::ports::{
    Answer, AppendError, IndexUnavailable, Indexed, Journal, JournalReader, Listing, ReadError,
};
use holdover::engine::recovery::{Found, recover};
use holdover::engine::run::{self, Handle, Outlet};
use holdover::engine::step::{Decision, Effect, SendOrder};
use holdover::intake;
use holdover::intake::tally::{Quota, Quotas};
use holdover::intake::transfers::Transfers;
use holdover::journal::{self, Opened, Options};
use holdover::web::access::{Holder, KeyFile, NewKey, Scope, create};
use holdover::web::body::BodyLimits;
use holdover::web::server::answer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A journal in memory, for its writer and its readers.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Vec<Change>>>);

impl Shelf {
    /// Puts a change at the end; where it stands.
    pub(crate) fn push(&self, change: Change) -> Seq {
        let mut changes = self.0.lock().unwrap();
        changes.push(change);
        Seq(changes.len() as u64)
    }
}

impl Journal for Shelf {
    fn append(&mut self, changes: &[(Seq, Change)]) -> Result<(), AppendError> {
        self.0.lock().unwrap().extend(changes.iter().map(|(_, change)| change.clone()));
        Ok(())
    }
    fn close(self: Box<Self>) -> Result<(), AppendError> {
        Ok(())
    }
}

impl JournalReader for Shelf {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        let place = usize::try_from(seq.0).unwrap().checked_sub(1);
        let changes = self.0.lock().unwrap();
        place.and_then(|place| changes.get(place)).cloned().ok_or(ReadError::Missing(seq))
    }
    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        for seq in from.0..=self.last().0 {
            if visit(Seq(seq), self.read(Seq(seq))?).is_break() {
                break;
            }
        }
        Ok(())
    }
    fn last(&self) -> Seq {
        Seq(self.0.lock().unwrap().len() as u64)
    }
}

/// What the listings answer to every question about an end.
#[derive(Clone, Copy)]
pub(crate) struct Says(pub(crate) Result<Option<Indexed>, IndexUnavailable>);

impl Listing for Says {
    fn outcome(&self, _: Seq) -> Result<Option<Indexed>, IndexUnavailable> {
        self.0
    }
    fn of_institution(
        &self,
        _: &InstitutionCode,
        _: Seq,
        _: usize,
    ) -> Result<Vec<Seq>, IndexUnavailable> {
        Err(IndexUnavailable)
    }
}

/// Sends nothing and tells nobody.
pub(crate) struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, _order: SendOrder) {}
    fn ask(&mut self, _of: Seq, _upstream: UpstreamName, _institution: InstitutionCode) {}
    fn blobs_left(&mut self, _files: Vec<(BlobName, u64)>) {}
    fn gate_turned(&mut self, _cell: &Cell, _to: GateState) {}
    fn arrived(&mut self, _transaction: Seq, _cell: &Cell, _state: State) {}
    fn committed(&mut self, _changes: &[(Seq, Change)]) {}
    fn disk_full(&mut self, _error: &AppendError) {}
}

/// Both interfaces over one engine.
pub(crate) struct House {
    submitters: axum::Router,
    operators: axum::Router,
    pub(crate) engine: Handle,
    pub(crate) mine: String,
    pub(crate) theirs: String,
    pub(crate) operator: String,
    pub(crate) folder: tempfile::TempDir,
    worker: JoinHandle<()>,
}

pub(crate) const NOW: &str = "2022-08-13T10:30:00+08:00";

/// A new one, all of whose gates are closed.
pub(crate) async fn house(says: Says) -> House {
    let (shelf, now) = (Shelf::default(), at(NOW));
    let machine = Machine::new(settings(), Box::new(NoRuns));
    let journal = Box::new(shelf.clone());
    let house = House::over(machine, Decision::default(), journal, Arc::new(shelf), says);
    let until = now.after(Duration::from_secs(3600));
    let command = Command::CloseGate { cells: Selector::default(), until };
    let (by, reason) = ("operator".to_owned(), "because".to_owned());
    let closed = house.engine.order(Order { by, reason, command }).await;
    assert!(matches!(closed, Reply::Done(_)), "{closed:?}");
    house
}

impl House {
    /// Over an engine in any state. `recovered` is what recovery decided.
    pub(crate) fn over(
        machine: Machine,
        recovered: Decision,
        journal: Box<dyn Journal>,
        reader: Arc<dyn JournalReader>,
        says: Says,
    ) -> Self {
        Self::of(settings().catalogue, machine, recovered, journal, reader, says)
    }

    /// The same over other businesses.
    pub(crate) fn of(
        catalogue: Catalogue,
        machine: Machine,
        recovered: Decision,
        journal: Box<dyn Journal>,
        reader: Arc<dyn JournalReader>,
        says: Says,
    ) -> Self {
        let (folder, now) = (tempfile::tempdir().unwrap(), at(NOW));
        let clock = Arc::new(StillClock(now));
        let parts = run::assemble(machine, recovered, journal, Box::new(Nowhere), clock.clone());
        let worker = parts.worker;
        // It ends when the last way into the engine is dropped.
        let worker = std::thread::spawn(move || worker.run().1.unwrap());
        let engine = parts.handle;
        let keys = folder.path().join("keys.json");
        let submitter = |code| {
            create(
                &keys,
                key_of(institution(code), &[Channel::System], &[Scope::Submit, Scope::Read]),
            )
            .unwrap()
        };
        let (mine, theirs) = (submitter("H11010500001"), submitter("H11010500002"));
        let holder = Holder::Operator { name: "Li Na".to_owned() };
        let scopes = vec![Scope::Read, Scope::Operate, Scope::Approve];
        let created_at = at("2022-08-01T00:00:00Z");
        let operator =
            create(&keys, NewKey { holder, scopes, created_at, expires_at: None }).unwrap();
        let keys = Arc::new(KeyFile::open(&keys).unwrap());
        let submitters = intake::router(Arc::new(intake::State {
            engine: engine.clone(),
            journal: reader.clone(),
            vault: Arc::new(HashVault),
            blobs: Arc::new(NoFiles),
            attachment_formats: Format::ALL.to_vec(),
            transfers: Transfers::default(),
            listing: Arc::new(says),
            catalogue: Arc::new(catalogue),
            keys: keys.clone(),
            clock: clock.clone(),
            numbers: Arc::default(),
            zone: chrono_tz::Asia::Shanghai,
            limits: intake::Limits::default(),
            disk_reserve: Arc::default(),
            tally: Arc::default(),
            bundles: bundles(),
            quotas: Quotas::new(Quota { per_second: 1_000_000, burst: 0 }),
            announcements: announcements(folder.path(), now),
        }));
        let operators = admin::router(admin::State {
            engine: engine.clone(),
            clock,
            keys,
            audit: Arc::new(Audit::open(folder.path()).unwrap()),
            vault: Arc::new(HashVault),
            history: admin::history::by_scan(reader),
            numbers: Arc::default(),
            zone: chrono_tz::Asia::Shanghai,
            proposals: Arc::new(Proposals::new(Duration::from_secs(3600))),
            body_limits: BodyLimits::default(),
            acts: tokio_util::task::TaskTracker::new(),
            not_ready: Arc::new(Vec::new),
            intake: Arc::new(admin::types::IntakeCounters::default),
            metrics: Arc::new(String::new),
            vitals: Arc::new(Default::default),
            configuration: Arc::new(|| panic!("no configuration here")),
            damage: Arc::new(Vec::new),
        });
        Self { submitters, operators, engine, mine, theirs, operator, folder, worker }
    }

    /// Ends the engine, so that its journal can be opened again.
    pub(crate) fn close(self) {
        drop((self.submitters, self.operators, self.engine));
        self.worker.join().unwrap();
    }

    pub(crate) async fn accepted(&self, submission: Submission) -> Seq {
        match self.engine.submit(submission).await {
            Reply::Accepted { transaction, .. } => transaction,
            other => panic!("{other:?}"),
        }
    }

    /// Status, code and detail of a post.
    pub(crate) async fn post(
        &self,
        path: &str,
        key: &str,
        mut body: Value,
    ) -> (u16, String, String) {
        body["reason"] = json!("as agreed");
        let (status, _, told) = self.send("POST", path, key, &body).await;
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        (status, text("code"), text("detail"))
    }

    /// What a look shows.
    pub(crate) async fn get(&self, path: &str, key: &str) -> Value {
        let (status, _, told) = self.send("GET", path, key, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {told}");
        told
    }

    /// Status, headers and body of what is no JSON.
    pub(crate) async fn text(&self, path: &str, key: &str) -> (u16, HeaderMap, String) {
        let request = Request::builder().uri(path).header("authorization", format!("Bearer {key}"));
        let request = request.body(Body::empty()).unwrap();
        let (head, body) = answer(self.submitters.clone(), request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Submits `body` under the key of the intent `intent`.
    pub(crate) async fn submit(&self, intent: &str, body: &Value) -> (u16, HeaderMap, Value) {
        self.send_as("POST", "/v1/transactions", &self.mine, Some(intent), body).await
    }

    /// Status, headers and body of the answer.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: &Value,
    ) -> (u16, HeaderMap, Value) {
        self.send_as(method, path, key, None, body).await
    }

    async fn send_as(
        &self,
        method: &str,
        path: &str,
        key: &str,
        intent: Option<&str>,
        body: &Value,
    ) -> (u16, HeaderMap, Value) {
        let of = if path.starts_with("/admin") { &self.operators } else { &self.submitters };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        if let Some(intent) = intent {
            request = request.header("idempotency-key", intent);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = request.body(body).unwrap();
        let (head, body) = answer(of.clone(), request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, serde_json::from_slice(&body).unwrap())
    }
}

/// An engine and its journal in files, stepped by hand.
pub(crate) struct Desk {
    pub(crate) machine: Machine,
    pub(crate) opened: Opened,
    decided: Decision,
    number: u128,
}

fn now() -> Now {
    Now { wall: at(NOW), monotonic: Monotonic(0) }
}

impl Desk {
    /// Opens the journal in `folder` and recovers what it holds.
    pub(crate) fn open(folder: &Path) -> Self {
        let options =
            Options { segment_bytes: 16 << 10, init: true, ..Options::new(at(NOW), true) };
        let mut opened = journal::open(folder, &options).unwrap();
        let found = Found {
            snapshot: std::mem::replace(&mut opened.snapshot, Box::new(Vec::new())),
            replay_from: opened.replay_from,
            runs: std::mem::replace(&mut opened.keys, Box::new(NoRuns)),
            epoch: opened.epoch,
            mark: Mark::default(),
            virtual_clock: true,
            quarantined: false,
            clock_accepted: None,
        };
        let (machine, decided) = recover(settings(), found, &*opened.reader, at(NOW)).unwrap();
        Self { machine, opened, decided, number: 0 }
    }

    /// Steps, commits, and says what is to be sent.
    pub(crate) fn step(&mut self, event: Event) -> Vec<SendOrder> {
        self.machine.step(now(), event, &mut self.decided);
        self.machine.dispatch(now(), &mut self.decided);
        let decided = std::mem::take(&mut self.decided);
        self.opened.journal.append(&decided.changes).unwrap();
        let send = |effect| if let Effect::Send(order) = effect { Some(*order) } else { None };
        decided.effects.into_iter().filter_map(send).collect()
    }

    /// Accepts one that only waits.
    pub(crate) fn accept(&mut self, change: impl FnOnce(&mut Submission)) -> Seq {
        let (transaction, sent) = self.submit(change);
        assert!(sent.is_empty(), "{transaction} was sent");
        transaction
    }

    /// Accepts one, has it sent, and lets the core say `outcome`.
    pub(crate) fn tried(
        &mut self,
        outcome: Outcome<Answer>,
        change: impl FnOnce(&mut Submission),
    ) -> Seq {
        let (transaction, sent) = self.submit(change);
        let attempt = sent[0].attempt;
        self.step(Event::Settled { transaction, attempt, outcome });
        transaction
    }

    fn submit(&mut self, change: impl FnOnce(&mut Submission)) -> (Seq, Vec<SendOrder>) {
        self.number += 1;
        let mut submission = submission(cell("a", "filing.one"), self.number, self.number);
        change(&mut submission);
        let sent = self.step(Event::Submit(ReplyTo(1), Box::new(submission)));
        let mut accepted = self.machine.last();
        while !matches!(self.opened.reader.read(accepted), Ok(Change::Accepted(_))) {
            accepted = Seq(accepted.0 - 1);
        }
        (accepted, sent)
    }

    pub(crate) fn withdraw(&mut self, transaction: Seq) {
        let institution = "H11010500001".parse().unwrap();
        let reason = "a slip".to_owned();
        self.step(Event::Withdraw { reply: ReplyTo(1), institution, transaction, reason });
    }

    pub(crate) fn order(&mut self, command: Command) {
        let (by, reason) = ("Li Na".to_owned(), "as agreed".to_owned());
        self.step(Event::Order(ReplyTo(1), Box::new(Order { by, reason, command })));
    }

    pub(crate) fn close_gates(&mut self) {
        let until = at(NOW).after(Duration::from_secs(3600));
        self.order(Command::CloseGate { cells: Selector::default(), until });
    }

    /// Lets it run, seen through both interfaces.
    pub(crate) fn house(self) -> House {
        let reader = self.opened.reader.clone();
        self.house_reading(reader)
    }

    /// The same, with another reader of its journal.
    pub(crate) fn house_reading(self, reader: Arc<dyn JournalReader>) -> House {
        House::over(self.machine, self.decided, self.opened.journal, reader, Says(Ok(None)))
    }
}
