//! Who comes too late, submitter or operator, is told how the transaction stands; who names none
//! of their own is told nothing.

use crate::engine_support::{NoRuns, cell, settings, submission};
use crate::intake_rig::{HashVault, StillClock, at, catalogue, institution, key_of};
use axum::body::Body;
use axum::http::Request;
use holdover::admin;
use holdover::admin::audit::Audit;
use holdover::domain::cell::{Cell, Channel, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::ids::{InstitutionCode, Seq, TicketId, TransactionId, UpstreamName};
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::domain::time::Timestamp;
use holdover::engine::change::Change;
use holdover::engine::event::{Command, Order, Reply, Submission};
use holdover::engine::machine::Machine;
use holdover::engine::ports::{
    AppendError, IndexUnavailable, Indexed, Journal, JournalReader, Listing, ReadError,
};
use holdover::engine::run::{self, Handle, Outlet};
use holdover::engine::step::{Decision, SendOrder};
use holdover::intake;
use holdover::intake::tally::{Quota, Quotas};
use holdover::web::access::{Holder, KeyFile, NewKey, Scope, create};
use holdover::web::body::BodyLimits;
use holdover::web::server::answer;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A journal in memory, for its writer and its readers.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Change>>>);

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
struct Says(Result<Option<Indexed>, IndexUnavailable>);

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

struct Nowhere;

impl Outlet for Nowhere {
    fn send(&mut self, _order: SendOrder) {}
    fn ask(&mut self, _of: Seq, _upstream: UpstreamName, _institution: InstitutionCode) {}
    fn gate_turned(&mut self, _cell: &Cell, _to: GateState) {}
    fn arrived(&mut self, _transaction: Seq, _cell: &Cell, _state: State) {}
    fn committed(&mut self, _changes: &[(Seq, Change)]) {}
    fn disk_full(&mut self, _error: &AppendError) {}
}

/// Both interfaces over one engine whose gates are all closed.
struct House {
    submitters: axum::Router,
    operators: axum::Router,
    engine: Handle,
    mine: String,
    theirs: String,
    operator: String,
    folder: tempfile::TempDir,
}

const NOW: &str = "2022-08-13T10:30:00+08:00";

async fn house(says: Says) -> House {
    let (folder, now, shelf) = (tempfile::tempdir().unwrap(), at(NOW), Shelf::default());
    let machine = Machine::new(settings(), Box::new(NoRuns));
    let (journal, outlet) = (Box::new(shelf.clone()), Box::new(Nowhere));
    let clock = Arc::new(StillClock(now));
    let parts = run::assemble(machine, Decision::default(), journal, outlet, clock.clone());
    let worker = parts.worker;
    // It ends when the last way into the engine is dropped.
    std::thread::spawn(move || worker.run().1.unwrap());
    let engine = parts.handle;
    let keys = folder.path().join("keys.json");
    let submitter = |code| {
        create(&keys, key_of(institution(code), &[Channel::System], &[Scope::Submit])).unwrap()
    };
    let (mine, theirs) = (submitter("H11010500001"), submitter("H11010500002"));
    let holder = Holder::Operator { name: "Li Na".to_owned() };
    let scopes = vec![Scope::Operate, Scope::Approve];
    let created_at = at("2022-08-01T00:00:00Z");
    let operator = create(&keys, NewKey { holder, scopes, created_at, expires_at: None }).unwrap();
    let keys = Arc::new(KeyFile::open(&keys).unwrap());
    let submitters = intake::router(intake::State {
        engine: engine.clone(),
        journal: Arc::new(shelf.clone()),
        vault: Arc::new(HashVault),
        listing: Arc::new(says),
        catalogue: Arc::new(catalogue()),
        keys: keys.clone(),
        clock: clock.clone(),
        partition: 0,
        zone: chrono_tz::Asia::Shanghai,
        limits: intake::Limits::default(),
        disk_reserve: Arc::default(),
        tally: Arc::default(),
        quotas: Quotas::new(Quota { per_second: 1_000_000, burst: 0 }),
    });
    let operators = admin::router(admin::State {
        engine: engine.clone(),
        clock,
        keys,
        audit: Arc::new(Audit::open(folder.path()).unwrap()),
        history: admin::history::by_scan(Arc::new(shelf)),
        partition: 0,
        zone: chrono_tz::Asia::Shanghai,
        body_limits: BodyLimits::default(),
        acts: tokio_util::task::TaskTracker::new(),
        not_ready: Arc::new(Vec::new),
        intake: Arc::new(admin::types::IntakeCounters::default),
        metrics: Arc::new(String::new),
        damage: Arc::new([]),
    });
    let until = now.after(Duration::from_secs(3600));
    let command = Command::CloseGate { cells: Selector::default(), until };
    let (by, reason) = ("operator".to_owned(), "because".to_owned());
    let closed = engine.order(Order { by, reason, command }).await;
    assert!(matches!(closed, Reply::Done(_)), "{closed:?}");
    House { submitters, operators, engine, mine, theirs, operator, folder }
}

impl House {
    async fn accepted(&self, submission: Submission) -> Seq {
        match self.engine.submit(submission).await {
            Reply::Accepted { transaction, .. } => transaction,
            other => panic!("{other:?}"),
        }
    }

    /// Status, code and detail of a post.
    async fn post(&self, path: &str, key: &str, mut body: Value) -> (u16, String, String) {
        body["reason"] = json!("as agreed");
        let of = if path.starts_with("/admin") { &self.operators } else { &self.submitters };
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (head, body) = answer(of.clone(), request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let told: Value = serde_json::from_slice(&body).unwrap();
        let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
        (head.status.as_u16(), text("code"), text("detail"))
    }
}

fn missing(answered: &(u16, String, String)) -> bool {
    (answered.0, answered.1.as_str()) == (404, "not_found")
}

fn too_late(answered: &(u16, String, String), word: &str) -> bool {
    let (status, code, detail) = answered;
    (*status, code.as_str()) == (409, "wrong_state") && detail.contains(word)
}

fn listings() -> [Says; 3] {
    let listed = Indexed { state: State::Withdrawn, last: Seq(3), at: Timestamp::default() };
    [Says(Ok(Some(listed))), Says(Ok(None)), Says(Err(IndexUnavailable))]
}

#[tokio::test]
async fn a_submitter_who_comes_too_late_is_told_the_state_and_a_stranger_nothing() {
    for says in listings() {
        let house = house(says).await;
        let seq = house.accepted(submission(cell("a", "filing.one"), 1, 1)).await;
        let path = format!("/v1/transactions/{}/withdraw", TransactionId::new(0, seq));
        assert!(missing(&house.post(&path, &house.theirs, json!({})).await));
        assert_eq!(house.post(&path, &house.mine, json!({})).await.0, 200);
        let again = house.post(&path, &house.mine, json!({})).await;
        assert!(too_late(&again, "withdrawn"), "{again:?}");
        assert!(missing(&house.post(&path, &house.theirs, json!({})).await));
        for nothing in [1, 999] {
            let path = format!("/v1/transactions/{}/withdraw", TransactionId::new(0, Seq(nothing)));
            let answered = house.post(&path, &house.mine, json!({})).await;
            assert!(missing(&answered), "{nothing} {answered:?}");
        }

        let mut settlement = submission(cell("a", "settlement.outpatient"), 2, 2);
        settlement.line.normal = Disposition::PassOrTicket;
        let seq = house.accepted(settlement).await;
        let path = format!("/v1/tickets/{}/close", TicketId::new(0, seq));
        let how = || json!({"how": "waived", "by": "the counter"});
        assert!(missing(&house.post(&path, &house.theirs, how()).await));
        assert_eq!(house.post(&path, &house.mine, how()).await.0, 200);
        let again = house.post(&path, &house.mine, how()).await;
        assert!(too_late(&again, "withdrawn"), "{again:?}");
        assert!(missing(&house.post(&path, &house.theirs, how()).await));

        // One that waits has no ticket, and is there all the same.
        let seq = house.accepted(submission(cell("a", "filing.one"), 3, 3)).await;
        let path = format!("/v1/tickets/{}/close", TicketId::new(0, seq));
        let answered = house.post(&path, &house.mine, how()).await;
        assert!(too_late(&answered, "waiting"), "{answered:?}");
        assert!(missing(&house.post(&path, &house.theirs, how()).await));
    }
}

#[tokio::test]
async fn an_operator_who_comes_too_late_is_told_the_state() {
    let house = house(Says(Err(IndexUnavailable))).await;
    let seq = house.accepted(submission(cell("a", "filing.one"), 1, 1)).await;
    let waits = house.accepted(submission(cell("a", "filing.one"), 2, 2)).await;
    let path = format!("/v1/transactions/{}/withdraw", TransactionId::new(0, seq));
    assert_eq!(house.post(&path, &house.mine, json!({})).await.0, 200);
    let acts = [
        ("dead-letters", "redrive", json!({})),
        ("dead-letters", "skip", json!({})),
        ("in-doubt", "ask", json!({})),
        ("in-doubt", "resolve", json!({"verdict": "applied"})),
        ("transactions", "told", json!({"how": "telephone"})),
    ];
    for (noun, verb, body) in acts {
        let path = |seq| format!("/admin/v1/{noun}/{}/{verb}", TransactionId::new(0, seq));
        let answered = house.post(&path(seq), &house.operator, body.clone()).await;
        assert!(too_late(&answered, "withdrawn"), "{verb} {answered:?}");
        let answered = house.post(&path(waits), &house.operator, body.clone()).await;
        assert!(too_late(&answered, "waiting"), "{verb} {answered:?}");
        let answered = house.post(&path(Seq(999)), &house.operator, body).await;
        assert!(missing(&answered), "{verb} {answered:?}");
    }
    let audited = std::fs::read_to_string(house.folder.path().join(admin::audit::FILE_NAME));
    let audited = audited.unwrap();
    assert_eq!(audited.matches("\"wrong_state\"").count(), 10, "as it was answered");
    assert_eq!(audited.matches("\"not_found\"").count(), 5);
}
