//! A submitters' interface with everything behind it played: an engine that answers from a
//! script, a journal in memory, a vault that hashes and does not seal.

use crate::house::Shelf;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use holdover::domain::attachment::{Digest, Format, Kept, Rules};
use holdover::domain::catalogue::{Attribute, AttributeKind, Catalogue, Line, TakesEffect};
use holdover::domain::cell::{Channel, Class, Institution, Operation};
use holdover::domain::ids::{
    BlobName, Fingerprint, IdempotencyKey, InstitutionCode, InsuredHash, KeyHash, OrderingKey, Seq,
};
use holdover::domain::policy::{Advice, Disposition, RowRef};
use holdover::domain::time::{Now, Timestamp};
use holdover::domain::window::Decision;
use holdover::engine::change::{Accepted, Blob, Change, Private, Sealed, Told, TurnedAway};
use holdover::engine::event::{Event, Fault, Live, Reply, Submission};
use holdover::engine::ports::{
    BlobError, BlobReader, BlobWriter, Blobs, Clock, IndexUnavailable, Indexed, Later, Listing,
    SealError, Vault,
};
use holdover::engine::run::{Handle, Input};
use holdover::intake::announce::Outbox;
use holdover::intake::bundle::Bundles;
use holdover::intake::tally::{Quota, Quotas};
use holdover::intake::transfers::Transfers;
use holdover::intake::{Limits, State, router};
use holdover::web::access::{Holder, KeyFile, NewKey, Scope, create};
use holdover::web::server::answer;
use holdover::web::sign::Signer;
use http_body_util::BodyExt;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A clock that stands still.
pub(crate) struct StillClock(pub(crate) Timestamp);

impl Clock for StillClock {
    fn now(&self) -> Now {
        Now { wall: self.0, ..Now::default() }
    }
    fn sleep_until(&self, _: Timestamp) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn is_virtual(&self) -> bool {
        true
    }
}

/// Hashes; what it seals is nowhere.
pub(crate) struct HashVault;

fn hash(parts: &[&[u8]]) -> u128 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    u128::from_le_bytes(context.finish().as_ref()[..16].try_into().unwrap())
}

impl Vault for HashVault {
    fn key_hash(&self, institution: &InstitutionCode, key: &IdempotencyKey) -> KeyHash {
        KeyHash(hash(&[institution.as_str().as_bytes(), key.as_str().as_bytes()]))
    }
    fn fingerprint(&self, content: &[u8]) -> Fingerprint {
        Fingerprint((hash(&[content]) >> 64) as u64)
    }
    fn ordering_key(&self, code: &InstitutionCode, subject: &str, group: &str) -> OrderingKey {
        OrderingKey(hash(&[code.as_str().as_bytes(), subject.as_bytes(), group.as_bytes()]))
    }
    fn blob_name(&self, code: &InstitutionCode, digest: &Digest) -> BlobName {
        BlobName(hash(&[code.as_str().as_bytes(), digest.bytes()]))
    }
    fn insured(&self, insured: &str) -> InsuredHash {
        InsuredHash(hash(&[insured.as_bytes()]))
    }
    fn seal(&self, _: &InstitutionCode, _: Timestamp, _: &Private) -> Result<Sealed, SealError> {
        Ok(Sealed { algorithm: 1, key_id: 1, bytes: Bytes::new() })
    }
    fn open(&self, _: &InstitutionCode, _: &Sealed) -> Result<Private, SealError> {
        Err(SealError::Damaged)
    }
    fn seal_answer(
        &self,
        _: &InstitutionCode,
        _: Timestamp,
        _: &[u8],
    ) -> Result<Sealed, SealError> {
        Err(SealError::Damaged)
    }
    fn open_answer(&self, _: &InstitutionCode, _: &Sealed) -> Result<Bytes, SealError> {
        Err(SealError::Damaged)
    }
}

/// A disk that does not answer.
pub(crate) struct NoFiles;

impl Blobs for NoFiles {
    fn create(
        &self,
        _: &InstitutionCode,
        _: Timestamp,
        _: BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        Err(BlobError::Io(std::io::Error::other("no disk")))
    }
    fn open(&self, _: &Blob) -> Result<Box<dyn BlobReader>, BlobError> {
        Err(BlobError::Missing)
    }
    fn discard(&self, _: (BlobName, u64)) -> std::io::Result<()> {
        Ok(())
    }
    fn leave(&self, _: &[(BlobName, u64)]) -> std::io::Result<()> {
        Ok(())
    }
}

/// Listings that are being rebuilt.
pub(crate) struct NoListing;

impl Listing for NoListing {
    fn outcome(&self, _: Seq) -> Result<Option<Indexed>, IndexUnavailable> {
        Err(IndexUnavailable)
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

/// What the played engine does with what reaches it.
#[derive(Clone)]
pub(crate) enum Script {
    /// Accepts, with repeats by key and fingerprint; answers this to who waits.
    Accept(Option<Live>),
    /// Turns away.
    TurnAway,
    /// Finds a fault.
    Fault(Fault),
    /// Is stopping.
    Stopping,
}

pub(crate) type Seen = Arc<Mutex<Vec<Submission>>>;

fn told(submission: &Submission) -> Told {
    Told {
        disposition: submission.line.normal,
        advice: Advice::None,
        row: Some(row()),
        resume_at: Some(at("2022-08-15T06:00:00+08:00")),
        alternative: None,
        bring: vec!["materials".to_owned()],
        deadline: None,
        deadline_final: false,
        kept: false,
        incurred_in: None,
    }
}

fn row() -> RowRef {
    RowRef {
        window: "beijing-2022-08".parse().unwrap(),
        version: 1,
        row: 4,
        clause: "(二)4".to_owned(),
    }
}

fn accept(submission: &Submission, now: Timestamp) -> Accepted {
    Accepted {
        at: now,
        institution: submission.institution.clone(),
        cell: submission.cell.clone().into(),
        ordering_key: submission.ordering_key,
        key_hash: submission.key_hash,
        fingerprint: submission.fingerprint,
        insured: submission.insured,
        amount: submission.amount,
        occurred_at: submission.occurred_at,
        received_from_person_at: submission.received_from_person_at,
        deadline: submission.deadline,
        replaces: submission.replaces,
        depends_on: submission.depends_on,
        self_contained: submission.line.self_contained,
        needs_credential: submission.line.needs_credential,
        ticket_after: (submission.line.normal == Disposition::PassOrTicket)
            .then(|| now.after(submission.line.live_limit)),
        blobs: submission.files.iter().map(|file| file.name).collect(),
        told: told(submission),
        sealed: submission.sealed.clone(),
    }
}

async fn play(
    mut queue: mpsc::Receiver<Input>,
    script: Script,
    journal: Shelf,
    seen: Seen,
    now: Timestamp,
) {
    let mut keys: HashMap<KeyHash, (Seq, Fingerprint)> = HashMap::new();
    while let Some(input) = queue.recv().await {
        let Input::Event(make, reply) = input else { continue };
        let event = make(holdover::engine::event::ReplyTo(1));
        let answer = match (script.clone(), event) {
            (Script::Stopping, _) => Reply::Unavailable,
            (Script::Fault(fault), _) => Reply::Invalid(fault),
            (Script::Accept(live), Event::Submit(_, submission)) => {
                seen.lock().unwrap().push((*submission).clone());
                let live = live.filter(|_| submission.wait.is_some());
                match keys.get(&submission.key_hash) {
                    Some((seq, print)) if *print == submission.fingerprint => {
                        Reply::Accepted { transaction: *seq, accepted: None, duplicate: true, live }
                    }
                    Some((seq, _)) => Reply::KeyReused { transaction: *seq },
                    None => {
                        let record = Arc::new(accept(&submission, now));
                        let seq = journal.push(Change::Accepted(Arc::clone(&record)));
                        keys.insert(submission.key_hash, (seq, submission.fingerprint));
                        let accepted = Some(record);
                        Reply::Accepted { transaction: seq, accepted, duplicate: false, live }
                    }
                }
            }
            (Script::TurnAway, Event::Submit(_, submission)) => turn_away(&submission, now),
            (_, other) => panic!("the script has no answer to {other:?}"),
        };
        drop(reply.send(answer));
    }
}

fn turn_away(submission: &Submission, now: Timestamp) -> Reply {
    let resume_at = Some(at("2022-08-15T06:00:00+08:00"));
    let record = TurnedAway {
        at: now,
        institution: submission.institution.clone(),
        cell: submission.cell.clone(),
        amount: submission.amount,
        row: Some(row()),
        resume_at,
        deadline: None,
    };
    let decision = Decision {
        disposition: Disposition::Refuse,
        advice: Advice::ComeBack,
        row: Some(row()),
        resume_at,
        alternative: None,
        bring: Vec::new(),
        needs_report_file: false,
    };
    let decision = Box::new(decision);
    Reply::TurnedAway { number: Seq(77), record: Arc::new(record), decision, unknown: None }
}

fn attribute(kind: AttributeKind, choices: &[&str], required: bool) -> Attribute {
    Attribute {
        kind,
        choices: choices.iter().map(ToString::to_string).collect(),
        required,
        in_cell: matches!(kind, AttributeKind::Boolean | AttributeKind::Choice),
        at_most: None,
        least_ago: None,
    }
}

fn line(business: &str, operation: Operation) -> Line {
    Line {
        business: business.parse().unwrap(),
        operation,
        title_zh: String::new(),
        title_en: String::new(),
        classes: vec![Class::Hospital, Class::Hall],
        channels: vec![Channel::Hall, Channel::System],
        upstream: "centre".parse().unwrap(),
        upstream_for: BTreeMap::new(),
        order_group: business.to_owned(),
        self_contained: true,
        needs_credential: false,
        queued: true,
        long: false,
        normal: Disposition::Pass,
        live_limit: Duration::from_secs(20),
        needs_amount: false,
        open_from: None,
        takes_effect: TakesEffect::AtOnce,
        attachments: Rules { kept: Kept::Digests, ..Rules::stored() },
        attributes: BTreeMap::new(),
    }
}

pub(crate) fn catalogue() -> Catalogue {
    let settlement = Line {
        normal: Disposition::PassOrTicket,
        needs_amount: true,
        needs_credential: true,
        ..line("settlement.outpatient", Operation::Request)
    };
    let attributes = [
        ("population", attribute(AttributeKind::Choice, &["employee", "resident"], true)),
        ("fully_prepaid", attribute(AttributeKind::Boolean, &[], true)),
        ("special_case", attribute(AttributeKind::Boolean, &[], false)),
        ("remark", attribute(AttributeKind::Text, &[], false)),
        ("born", attribute(AttributeKind::Date, &[], false)),
    ];
    let manual = Line {
        normal: Disposition::Hold,
        attributes: attributes.map(|(name, a)| (name.to_owned(), a)).into(),
        ..line("reimbursement.manual", Operation::Apply)
    };
    let agency_only =
        Line { classes: vec![Class::Employer], ..line("filing.employer", Operation::Apply) };
    let backfill = line("filing.out_of_area", Operation::Backfill);
    Catalogue {
        lines: vec![settlement, manual, agency_only, backfill],
        credential_fields: vec!["mdtrt_cert_no".to_owned(), "card_password".to_owned()],
    }
}

/// Everything.
pub(crate) struct Rig {
    pub(crate) router: axum::Router,
    pub(crate) key: String,
    pub(crate) seen: Seen,
    pub(crate) disk_reserve: Arc<AtomicBool>,
    pub(crate) keys: std::path::PathBuf,
    pub(crate) _folder: tempfile::TempDir,
}

pub(crate) fn institution(code: &str) -> Institution {
    Institution {
        code: code.parse().unwrap(),
        class: Class::Hospital,
        district: "110105".parse().unwrap(),
        labels: Vec::new(),
        credit: false,
    }
}

pub(crate) fn key_of(institution: Institution, channels: &[Channel], scopes: &[Scope]) -> NewKey {
    NewKey {
        holder: Holder::Institution { institution, channels: channels.to_vec() },
        scopes: scopes.to_vec(),
        created_at: at("2022-08-01T00:00:00Z"),
        expires_at: None,
    }
}

/// A rig whose engine plays `script`. Must be made inside a runtime.
pub(crate) fn rig(script: Script) -> Rig {
    rig_within(script, limits())
}

/// What a rig allows: batches have a small window.
pub(crate) fn limits() -> Limits {
    Limits { batch_window: 4, ..Limits::default() }
}

/// The same, with other limits.
pub(crate) fn rig_within(script: Script, limits: Limits) -> Rig {
    let (journal, seen) = <(Shelf, Seen)>::default();
    let (queue, inputs) = mpsc::channel(1024);
    tokio::spawn(play(inputs, script, journal.clone(), Arc::clone(&seen), at(NOW)));
    let clock = Arc::new(StillClock(at(NOW)));
    rig_before(Handle::new(queue), journal, seen, limits, clock)
}

/// What the rig's clock says.
pub(crate) const NOW: &str = "2022-08-13T10:30:00+08:00";

/// Of which businesses a rig knows, and who holds its key.
pub(crate) struct Front {
    pub(crate) catalogue: Catalogue,
    pub(crate) holder: Institution,
    pub(crate) channel: Channel,
}

/// A rig of another front at another time.
pub(crate) fn rig_of(front: Front, script: Script, now: Timestamp) -> Rig {
    let (journal, seen) = <(Shelf, Seen)>::default();
    let (queue, inputs) = mpsc::channel(1024);
    tokio::spawn(play(inputs, script, journal.clone(), Arc::clone(&seen), now));
    let clock = Arc::new(StillClock(now));
    rig_behind(front, Handle::new(queue), journal, seen, limits(), clock)
}

/// A rig before any engine.
pub(crate) fn rig_before(
    engine: Handle,
    journal: Shelf,
    seen: Seen,
    limits: Limits,
    clock: Arc<dyn Clock>,
) -> Rig {
    let holder = institution("H11010500001");
    let front = Front { catalogue: catalogue(), holder, channel: Channel::System };
    rig_behind(front, engine, journal, seen, limits, clock)
}

fn rig_behind(
    front: Front,
    engine: Handle,
    journal: Shelf,
    seen: Seen,
    limits: Limits,
    clock: Arc<dyn Clock>,
) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.json");
    let scopes = [Scope::Submit, Scope::Read];
    let key = create(&keys, key_of(front.holder, &[front.channel], &scopes)).unwrap();
    let disk_reserve = Arc::<AtomicBool>::default();
    let router = router(Arc::new(State {
        engine,
        journal: Arc::new(journal),
        vault: Arc::new(HashVault),
        blobs: Arc::new(NoFiles),
        attachment_formats: Format::ALL.to_vec(),
        transfers: Transfers::default(),
        listing: Arc::new(NoListing),
        catalogue: Arc::new(front.catalogue),
        keys: Arc::new(KeyFile::open(&keys).unwrap()),
        clock,
        numbers: Arc::default(),
        zone: chrono_tz::Asia::Shanghai,
        limits,
        disk_reserve: Arc::clone(&disk_reserve),
        tally: Arc::default(),
        bundles: bundles(),
        quotas: Quotas::new(Quota { per_second: 1_000_000, burst: 0 }),
        announcements: announcements(folder.path(), at(NOW)),
    }));
    Rig { router, key, seen, disk_reserve, keys, _folder: folder }
}

/// Signs with a key that is no secret.
pub(crate) fn bundles() -> Arc<Bundles> {
    Arc::new(Bundles::new(Signer::from_seed(&[7; 32]).unwrap()))
}

/// Nothing was ever told.
pub(crate) fn announcements(folder: &std::path::Path, now: Timestamp) -> Arc<Outbox> {
    let folder = folder.join("announcements");
    Arc::new(Outbox::open(&folder, Seq(1), now, std::iter::empty()).unwrap())
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_owned()
    }

    pub(crate) fn pointers(&self) -> Vec<String> {
        let json = self.json();
        let errors = json["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

impl Rig {
    pub(crate) async fn send(&self, request: Request<Body>) -> Answered {
        let response = answer(self.router.clone(), request).await.unwrap_or_else(|e| match e {});
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered { status: head.status, headers: head.headers, body }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let bearer = format!("Bearer {}", self.key);
        Request::builder().method(method).uri(path).header("authorization", bearer)
    }

    /// Submits `body` under the key of the intent `key`.
    pub(crate) async fn submit(&self, key: &str, body: impl Into<Body>) -> Answered {
        let request = self
            .request("POST", "/v1/transactions")
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }
}

/// A good submission, with `change` made to it.
pub(crate) fn body(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut body = serde_json::json!({
        "business": "reimbursement.manual", "operation": "apply", "insured": "person-1",
        "occurred_at": "2022-08-13T10:00:00+08:00",
        "received_from_person_at": "2022-08-13T10:20:00+08:00",
        "amount": "1234.50", "deadline": "2022-08-13",
        "attributes": {"population": "employee", "fully_prepaid": true},
        "payload": {"any": "JSON"},
    });
    change(&mut body);
    body.to_string()
}
