//! Files over HTTP, with a real engine, a real journal and real files.

use crate::engine_support::{NoRuns, settings};
use crate::house::Says;
use crate::intake_rig::{StillClock, announcements, at, bundles, institution, key_of};
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use holdover::domain::attachment::{Format, Rules};
use holdover::domain::cell::{Cell, Channel};
use holdover::domain::gate::GateState;
use holdover::domain::ids::{BlobName, InstitutionCode, Mark, Seq, UpstreamName};
use holdover::domain::state::State;
use holdover::domain::time::Timestamp;
use holdover::engine::change::{Blob, Change};
use holdover::engine::ports::{AppendError, BlobError, BlobReader, BlobWriter, Blobs};
use holdover::engine::recovery::{Found, recover};
use holdover::engine::run::{self, Handle, Outlet};
use holdover::engine::step::SendOrder;
use holdover::engine::stored;
use holdover::intake::tally::{Quota, Quotas};
use holdover::intake::transfers::Transfers;
use holdover::intake::{self, Limits};
use holdover::journal::files::RealFiles;
use holdover::journal::seal::{FileVault, MasterKey};
use holdover::journal::verify::verify;
use holdover::journal::{self, BlobStore, Options};
use holdover::web::access::{KeyFile, Scope, create};
use holdover::web::body::BodyLimits;
use holdover::web::server::answer;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

const NOW: &str = "2022-08-11T10:30:00+08:00";
const MINE: &str = "H11010500001";
const K: usize = 1024;

/// Puts files away, and nothing else.
struct Away(Arc<BlobStore>);

impl Outlet for Away {
    fn send(&mut self, _: SendOrder) {}
    fn ask(&mut self, _: Seq, _: UpstreamName, _: InstitutionCode) {}
    fn blobs_left(&mut self, files: Vec<(BlobName, u64)>) {
        self.0.leave(&files).unwrap();
    }
    fn gate_turned(&mut self, _: &Cell, _: GateState) {}
    fn arrived(&mut self, _: Seq, _: &Cell, _: State) {}
    fn committed(&mut self, _: &[(Seq, Change)]) {}
    fn disk_full(&mut self, _: &AppendError) {}
}

/// Real files on a disk that takes this many milliseconds to make one durable.
struct Slow(Arc<BlobStore>, Arc<AtomicU64>);

struct SlowWriter(Box<dyn BlobWriter>, Arc<AtomicU64>);

impl Blobs for Slow {
    fn create(
        &self,
        institution: &InstitutionCode,
        at: Timestamp,
        name: BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        let writer = self.0.create(institution, at, name)?;
        Ok(Box::new(SlowWriter(writer, self.1.clone())))
    }

    fn open(&self, blob: &Blob) -> Result<Box<dyn BlobReader>, BlobError> {
        self.0.open(blob)
    }

    fn leave(&self, files: &[(BlobName, u64)]) -> std::io::Result<()> {
        self.0.leave(files)
    }

    fn discard(&self, file: (BlobName, u64)) -> std::io::Result<()> {
        self.0.discard(file)
    }
}

impl BlobWriter for SlowWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.0.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<u64, BlobError> {
        std::thread::sleep(Duration::from_millis(self.1.load(Ordering::SeqCst)));
        self.0.finish()
    }
}

/// The submitters' interface over a data folder.
struct Site {
    router: axum::Router,
    engine: Handle,
    reserve: Arc<AtomicBool>,
    sync_takes: Arc<AtomicU64>,
    mine: String,
    theirs: String,
    folder: PathBuf,
    worker: std::thread::JoinHandle<()>,
}

impl Site {
    fn open(folder: &Path, rules: Rules) -> Self {
        Self::open_at(folder, rules, at(NOW))
    }

    fn open_at(folder: &Path, rules: Rules, now: Timestamp) -> Self {
        let data = folder.join("data");
        let options = Options { init: true, ..Options::new(now, true) };
        let opened = journal::open(&data, &options).unwrap();
        let vault = FileVault::open(&data, &MasterKey::from_bytes([9; 32])).unwrap();
        let vault = Arc::new(vault);
        let files = Arc::new(RealFiles::new(&data));
        let blobs = Arc::new(BlobStore::new(files, vault.clone(), false));
        let mut settings = settings();
        settings.catalogue.lines[0].attachments = rules;
        settings.limits.institution_blob_bytes_max = 300 * K as u64;
        let catalogue = Arc::new(settings.catalogue.clone());
        let found = Found {
            snapshot: opened.snapshot,
            replay_from: opened.replay_from,
            runs: Box::new(NoRuns),
            epoch: opened.epoch,
            mark: Mark::default(),
            virtual_clock: true,
            quarantined: false,
            clock_accepted: None,
        };
        let (machine, decided) = recover(settings, found, &*opened.reader, now).unwrap();
        let known: BTreeSet<_> = machine.blobs().map(|blob| (blob.name, blob.file)).collect();
        blobs.prepare().unwrap();
        blobs.settle(&known).unwrap();
        let clock = Arc::new(StillClock(now));
        let outlet = Box::new(Away(blobs.clone()));
        let parts = run::assemble(machine, decided, opened.journal, outlet, clock.clone());
        let worker = parts.worker;
        let worker = std::thread::spawn(move || worker.run().1.unwrap());
        let keys = folder.join(format!("keys-{}.json", opened.epoch));
        let scopes = [Scope::Submit, Scope::Read];
        let submitter =
            |code| create(&keys, key_of(institution(code), &[Channel::System], &scopes)).unwrap();
        let (mine, theirs) = (submitter(MINE), submitter("H11010500002"));
        let (reserve, sync_takes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let attachment = BodyLimits { bytes_max: 250 * K, timeout: Duration::from_secs(10) };
        let engine = parts.handle.clone();
        let router = intake::router(Arc::new(intake::State {
            engine: parts.handle,
            journal: opened.reader,
            vault,
            blobs: Arc::new(Slow(blobs, sync_takes.clone())),
            attachment_formats: vec![Format::Jpg, Format::Png, Format::Pdf, Format::Xls],
            transfers: Transfers::default(),
            bundles: bundles(),
            announcements: announcements(folder, now),
            listing: Arc::new(Says(Ok(None))),
            catalogue,
            keys: Arc::new(KeyFile::open(&keys).unwrap()),
            clock,
            numbers: Arc::default(),
            zone: chrono_tz::Asia::Shanghai,
            limits: Limits { attachment, ..Limits::default() },
            disk_reserve: reserve.clone(),
            tally: Arc::default(),
            quotas: Quotas::new(Quota { per_second: 1_000_000, burst: 0 }),
        }));
        Self { router, engine, reserve, sync_takes, mine, theirs, folder: data, worker }
    }

    /// Ends the engine, so that the folder can be opened again.
    fn close(self) {
        drop((self.router, self.engine));
        self.worker.join().unwrap();
    }

    async fn send(&self, request: Request<Body>) -> (u16, HeaderMap, Bytes) {
        let (head, body) = answer(self.router.clone(), request).await.unwrap().into_parts();
        (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes())
    }

    async fn ask(
        &self,
        method: &str,
        digest: &str,
        key: &str,
        body: impl Into<Body>,
    ) -> (u16, HeaderMap, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/attachments/{digest}"))
            .header("authorization", format!("Bearer {key}"));
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Status and code of an upload of ours.
    async fn put(&self, file: &[u8]) -> (u16, String) {
        self.put_as(&digest(file), None, file.to_vec()).await
    }

    async fn put_as(
        &self,
        digest: &str,
        kind: Option<&str>,
        body: impl Into<Body>,
    ) -> (u16, String) {
        let mut request = Request::builder()
            .method("PUT")
            .uri(format!("/v1/attachments/{digest}"))
            .header("authorization", format!("Bearer {}", self.mine));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let (status, _, body) = self.send(request.body(body.into()).unwrap()).await;
        let told: Value = serde_json::from_slice(&body).unwrap();
        (status, told["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Status, code, and the pointers of what is wrong.
    async fn submit(&self, key: &str, files: &[(&str, &str, usize)]) -> (u16, String, Vec<String>) {
        let files: Vec<Value> = files
            .iter()
            .map(|(name, digest, bytes)| json!({"name": name, "digest": digest, "bytes": bytes}))
            .collect();
        let body = json!({
            "business": "filing.one", "operation": "apply", "insured": "person-1",
            "occurred_at": NOW, "attachments": files, "payload": {},
        });
        let request = Request::builder()
            .method("POST")
            .uri("/v1/transactions")
            .header("authorization", format!("Bearer {}", self.mine))
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        let body = self.send(request.body(Body::from(body.to_string())).unwrap()).await;
        let (status, told) = (body.0, serde_json::from_slice::<Value>(&body.2).unwrap());
        let errors = told["errors"].as_array().cloned().unwrap_or_default();
        let pointers = errors.iter().map(|e| e["pointer"].as_str().unwrap().to_owned());
        (status, told["code"].as_str().unwrap_or_default().to_owned(), pointers.collect())
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.join("blobs")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

fn digest(file: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, file);
    let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}

fn file(first: &[u8], length: usize, seed: u8) -> Vec<u8> {
    let mut bytes = first.to_vec();
    bytes.extend((bytes.len()..length).map(|at| (at as u8).wrapping_mul(seed).wrapping_add(seed)));
    bytes
}

fn pdf(length: usize, seed: u8) -> Vec<u8> {
    file(b"%PDF-1.7\n", length, seed)
}

fn jpg(length: usize, seed: u8) -> Vec<u8> {
    file(b"\xFF\xD8\xFF\xE0\0\x10JFIF", length, seed)
}

fn site() -> (tempfile::TempDir, Site) {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path(), Rules::stored());
    (folder, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_file_is_its_institutions_and_stored_once() {
    let (_folder, site) = site();
    let report = pdf(150 * K, 3);
    let name = digest(&report);
    let (status, headers, told) = site.ask("PUT", &name, &site.mine, report.clone()).await;
    assert_eq!(
        (status, headers["location"].as_bytes()),
        (201, format!("/v1/attachments/{name}").as_bytes())
    );
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&told["digest"], &told["bytes"]), (&json!(name), &json!(report.len())));
    let stored = site.files();
    assert_eq!(stored.len(), 1);
    let written = std::fs::metadata(&stored[0]).unwrap().modified().unwrap();
    assert_eq!(site.put(&report).await, (200, String::new()));
    assert_eq!(site.files(), stored);
    assert_eq!(std::fs::metadata(&stored[0]).unwrap().modified().unwrap(), written);
    let (status, headers, body) = site.ask("GET", &name, &site.mine, Body::empty()).await;
    assert_eq!((status, &body[..]), (200, &report[..]));
    assert_eq!(headers["content-type"], "application/pdf");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    let (status, headers, body) = site.ask("HEAD", &name, &site.mine, Body::empty()).await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(headers["content-length"], report.len().to_string());
    // Nobody else's, also where they know its digest; and theirs is another.
    for method in ["GET", "HEAD"] {
        assert_eq!(site.ask(method, &name, &site.theirs, Body::empty()).await.0, 404, "{method}");
    }
    assert_eq!(site.ask("PUT", &name, &site.theirs, report).await.0, 201);
    assert_eq!(site.files().len(), 2);
    assert_eq!(site.ask("GET", &digest(b"other"), &site.mine, Body::empty()).await.0, 404);
    assert_eq!(site.ask("GET", &name, "hk_live_no_no", Body::empty()).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_02_what_is_not_as_it_says_or_of_no_format_that_is_taken_leaves_nothing() {
    let (_folder, site) = site();
    let (good, gif) = (pdf(9 * K, 1), file(b"GIF89a", 9 * K, 1));
    let invalid = (422, "invalid".to_owned());
    let type_of = (415, "unsupported_media_type".to_owned());
    assert_eq!(site.put_as(&digest(b"else"), None, good.clone()).await, invalid);
    assert_eq!(site.put_as("sha256:12", None, good.clone()).await, invalid);
    assert_eq!(site.put(&gif).await, type_of);
    assert_eq!(site.put(b"").await, type_of);
    assert_eq!(site.put_as(&digest(&good), Some("image/png"), good.clone()).await, type_of);
    assert_eq!(site.put_as(&digest(&good), Some("text/html"), good.clone()).await, type_of);
    let doc = file(b"PK\x03\x04", K, 1);
    assert_eq!(site.put(&doc).await, type_of, "docx is not among what this site takes");
    // What to do next is about files, not about bodies.
    for (sent, detail, next) in [
        (&gif[..], "is none of", "of one of these formats"),
        (b"", "is empty", "the bytes of the file"),
        (&pdf(250 * K + 1, 1), "256000 bytes", "attachments.bytes_max"),
    ] {
        let (_, _, told) = site.ask("PUT", &digest(sent), &site.mine, sent.to_vec()).await;
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert!(told["detail"].as_str().unwrap().contains(detail), "{told}");
        assert!(told["next"].as_str().unwrap().contains(next), "{told}");
    }
    let large = pdf(250 * K + 1, 1);
    assert_eq!(site.put(&large).await, (413, "body_too_large".to_owned()));
    // Its length is not said before.
    let (status, code) = site.put_as(&digest(&large), None, unsaid(large.clone(), false)).await;
    assert_eq!((status, code.as_str()), (413, "body_too_large"));
    // Cut off after more than one piece was written.
    let cut = unsaid(pdf(249 * K, 1), true);
    let (status, code) = site.put_as(&digest(&good), None, cut).await;
    assert_eq!((status, code.as_str()), (400, "malformed"));
    assert_eq!(site.files(), Vec::<PathBuf>::new());
    assert_eq!(site.ask("GET", &digest(&good), &site.mine, Body::empty()).await.0, 404);
    for kind in ["application/pdf", "Application/PDF; x=y", "application/octet-stream"] {
        let (status, _) = site.put_as(&digest(&good), Some(kind), good.clone()).await;
        assert!([200, 201].contains(&status), "{kind}");
    }
}

/// A body in pieces of unsaid length, cut off at the end where that is asked for.
struct Pieces(Bytes, bool);

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let length = self.0.len().min(9_000);
        let piece = self.0.split_to(length);
        Poll::Ready(match (piece.is_empty(), self.1) {
            (false, _) => Some(Ok(Frame::data(piece))),
            (true, true) => Some(Err(std::io::ErrorKind::ConnectionReset.into())),
            (true, false) => None,
        })
    }
}

/// A body whose length is not said before.
fn unsaid(file: Vec<u8>, is_cut: bool) -> Body {
    Body::new(Pieces(file.into(), is_cut))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_names_what_is_stored_and_is_told_what_is_not() {
    let (_folder, site) = site();
    let (one, two) = (pdf(9 * K, 1), jpg(9 * K, 2));
    let (first, second) = (digest(&one), digest(&two));
    let refused = site.submit("k1", &[("a.pdf", &first, 9 * K), ("b.jpg", &second, 9 * K)]).await;
    let both = vec!["/attachments/0/digest".to_owned(), "/attachments/1/digest".to_owned()];
    assert_eq!(refused, (422, "attachment_not_stored".to_owned(), both));
    assert_eq!(site.put(&one).await.0, 201);
    // Somebody else's is not ours.
    assert_eq!(site.ask("PUT", &second, &site.theirs, two.clone()).await.0, 201);
    let refused = site.submit("k1", &[("a.pdf", &first, 9 * K), ("b.jpg", &second, 9 * K)]).await;
    assert_eq!(refused.2, ["/attachments/1/digest"]);
    assert_eq!(site.put(&two).await.0, 201);
    let refused = site.submit("k1", &[("a.pdf", &first, 9 * K + 1)]).await;
    assert_eq!(refused, (422, "invalid".to_owned(), vec!["/attachments/0/bytes".to_owned()]));
    let refused = site.submit("k1", &[("a.png", &first, 9 * K)]).await;
    assert_eq!(refused, (422, "invalid".to_owned(), vec!["/attachments/0/name".to_owned()]));
    let refused = site.submit("k1", &[("a.gif", &first, 9 * K)]).await;
    assert_eq!(refused.2, ["/attachments/0/name"]);
    let both = [("a.PDF", first.as_str(), 9 * K), ("b.JPG", second.as_str(), 9 * K)];
    assert_eq!(site.submit("k1", &both).await.0, 202);
    assert_eq!(site.submit("k1", &both).await.0, 202, "a repeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_42_a_business_holds_its_pictures_to_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let rules = Rules {
        formats: vec![Format::Pdf, Format::Jpg, Format::Png],
        picture_bytes_min: 120 * K as u64,
        picture_bytes_max: 200 * K as u64,
        total_bytes_max: 240 * K as u64,
        ..Rules::stored()
    };
    let site = Site::open(folder.path(), rules);
    let (small, fits, large) = (jpg(119 * K, 1), jpg(120 * K, 1), jpg(201 * K, 1));
    for (file, bytes, place) in [
        (&small, 119 * K, Some("/attachments/0/bytes")),
        (&large, 201 * K, Some("/attachments/0/bytes")),
    ] {
        let (status, code, at) = site.submit("k", &[("a.jpg", &digest(file), bytes)]).await;
        assert_eq!((status, code.as_str()), (422, "invalid"));
        assert_eq!(at.first().map(String::as_str), place, "{bytes}");
    }
    assert_eq!(site.put(&fits).await.0, 201);
    let name = digest(&fits);
    let one = ("a.jpg", name.as_str(), 120 * K);
    assert_eq!(site.submit("k", &[one, one, one]).await.2, ["/attachments"]);
    assert_eq!(site.submit("k", &[one, one]).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_takes_digests_alone_asks_for_no_file() {
    use holdover::domain::attachment::Kept;
    let folder = tempfile::tempdir().unwrap();
    let rules = Rules { kept: Kept::Digests, ..Rules::stored() };
    let site = Site::open(folder.path(), rules);
    let name = digest(b"anything");
    assert_eq!(site.submit("k1", &[("report.of.any.kind", &name, 1)]).await.0, 202);
    // One that is stored all the same is what it says.
    assert_eq!(site.put(&pdf(9 * K, 1)).await.0, 201);
    let refused = site.submit("k2", &[("a", &digest(&pdf(9 * K, 1)), 1)]).await;
    assert_eq!(refused.2, ["/attachments/0/bytes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_survive_a_restart_and_what_nobody_was_told_of_does_not() {
    let (folder, site) = site();
    let kept = pdf(200 * K, 5);
    assert_eq!(site.put(&kept).await.0, 201);
    let stored = site.files();
    site.close();
    // As a kill between the name and the answer leaves it.
    let unknown = stored[0].with_file_name(format!("{:032x}-{:016x}", 5, 7));
    std::fs::copy(&stored[0], &unknown).unwrap();
    std::fs::write(unknown.with_extension("tmp"), b"half of it").unwrap();
    let site = Site::open(folder.path(), Rules::stored());
    assert_eq!(site.files(), stored);
    let (status, _, body) = site.ask("GET", &digest(&kept), &site.mine, Body::empty()).await;
    assert_eq!((status, body), (200, Bytes::from(kept)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_again_is_kept_from_then_on() {
    let (folder, site) = site();
    let report = pdf(9 * K, 1);
    assert_eq!(site.put(&report).await.0, 201);
    let stored = site.files();
    site.close();
    let later = at("2022-08-17T10:30:00+08:00");
    let site = Site::open_at(folder.path(), Rules::stored(), later);
    let (status, _, told) = site.ask("PUT", &digest(&report), &site.mine, report.clone()).await;
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((status, &told["stored_at"]), (200, &json!("2022-08-17T10:30:00+08:00")), "{told}");
    assert_eq!(site.files(), stored, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_told_and_never_served_and_an_upload_replaces_it() {
    let (folder, site) = site();
    let kept = pdf(200 * K, 5);
    let name = digest(&kept);
    assert_eq!(site.put(&kept).await.0, 201);
    assert_eq!(site.submit("k1", &[("a.pdf", &name, kept.len())]).await.0, 202);
    let stored = site.files();
    let mut bytes = std::fs::read(&stored[0]).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&stored[0], bytes).unwrap();
    let (status, _, told) = site.ask("GET", &name, &site.mine, Body::empty()).await;
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((status, &told["code"]), (503, &json!("record_damaged")));
    site.close();
    let report = verify(&folder.path().join("data"), false).unwrap();
    let damage: Vec<_> = report.damage().map(|d| (d.kind.as_str(), d.offset > 0)).collect();
    assert_eq!(damage, [("attachment", true)]);
    let site = Site::open(folder.path(), Rules::stored());
    assert_eq!(site.put(&kept).await, (201, String::new()));
    assert_eq!(site.files().len(), 1);
    assert_ne!(site.files(), stored);
    let (status, _, body) = site.ask("GET", &name, &site.mine, Body::empty()).await;
    assert_eq!((status, body), (200, Bytes::from(kept.clone())));
    // One that is missing altogether is told as well, and what it held can come again.
    std::fs::remove_file(&site.files()[0]).unwrap();
    assert_eq!(site.ask("GET", &name, &site.mine, Body::empty()).await.0, 503);
    site.close();
    let report = verify(&folder.path().join("data"), false).unwrap();
    assert_eq!(report.damage().count(), 1);
    let site = Site::open(folder.path(), Rules::stored());
    assert_eq!(site.put(&kept).await, (201, String::new()));
    site.close();
    assert!(verify(&folder.path().join("data"), false).unwrap().is_intact());
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_so_many_bytes_of_an_institution_and_none_within_the_reserve() {
    let (_folder, site) = site();
    let full = (507, "disk_reserve".to_owned());
    site.reserve.store(true, Ordering::SeqCst);
    assert_eq!(site.put(&pdf(9 * K, 1)).await, full);
    site.reserve.store(false, Ordering::SeqCst);
    assert_eq!(site.put(&pdf(200 * K, 1)).await.0, 201);
    assert_eq!(site.put(&pdf(101 * K, 2)).await, full);
    // Its length is not said before: what is decided in the end counts.
    let late = pdf(101 * K, 2);
    let answered = site.put_as(&digest(&late), None, unsaid(late.clone(), false)).await;
    assert_eq!(answered, full);
    assert_eq!(site.files().len(), 1, "what was not taken is not kept");
    assert_eq!(site.put(&pdf(100 * K, 3)).await.0, 201);
    assert_eq!(site.put(&pdf(K, 4)).await, full);
    assert_eq!(site.put(&pdf(200 * K, 1)).await.0, 200, "what is there needs no room");
    assert_eq!(site.files().len(), 2);
    let other = site.ask("PUT", &digest(&pdf(200 * K, 1)), &site.theirs, pdf(200 * K, 1)).await;
    assert_eq!(other.0, 201, "others have room of their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_no_file_that_nobody_counts() {
    let (_folder, site) = site();
    let sent: Vec<_> = (1..=40).map(|seed| pdf(2 * K, seed)).collect();
    for (wait, file) in (0..).zip(&sent) {
        let name = digest(file);
        // Dropped wherever it is by then, the last ten while the disk makes them durable.
        site.sync_takes.store(if wait < 30 { 0 } else { 100 }, Ordering::SeqCst);
        let put = site.ask("PUT", &name, &site.mine, file.clone());
        drop(tokio::time::timeout(Duration::from_millis(wait), put).await);
    }
    site.sync_takes.store(0, Ordering::SeqCst);
    for _ in 0..200 {
        let mut known = 0;
        for file in &sent {
            let (status, ..) = site.ask("HEAD", &digest(file), &site.mine, Body::empty()).await;
            known += usize::from(status == 200);
        }
        if site.files().len() == known {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a file stays that nobody counts: {:?}", site.files());
}

/// Files of which each is replaced just before it is opened, so often.
struct Moving {
    engine: Handle,
    bytes: Bytes,
    left: AtomicUsize,
}

impl Blobs for Moving {
    fn create(
        &self,
        _: &InstitutionCode,
        _: Timestamp,
        _: BlobName,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        Err(BlobError::Missing)
    }

    fn open(&self, blob: &Blob) -> Result<Box<dyn BlobReader>, BlobError> {
        if self.left.load(Ordering::SeqCst) == 0 {
            return Ok(Box::new(Whole(Some(self.bytes.clone()))));
        }
        self.left.fetch_sub(1, Ordering::SeqCst);
        let next = Blob { file: blob.file.wrapping_add(1), ..blob.clone() };
        let stored = self.engine.store_blob(next, Some(blob.file));
        tokio::runtime::Handle::current().block_on(stored);
        Err(BlobError::Missing)
    }

    fn leave(&self, _: &[(BlobName, u64)]) -> std::io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: (BlobName, u64)) -> std::io::Result<()> {
        Ok(())
    }
}

struct Whole(Option<Bytes>);

impl BlobReader for Whole {
    fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        Ok(self.0.take())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_replaced_before_it_was_opened_is_read_where_it_lies_now() {
    let (_folder, site) = site();
    let report = pdf(9 * K, 1);
    assert_eq!(site.put(&report).await.0, 201);
    let stored = site.engine.read(|machine, _| machine.blobs().next().cloned()).await;
    let name = stored.unwrap().unwrap().name;
    let bytes = Bytes::from(report);
    for (moves, is_read) in [(0, true), (1, true), (2, false)] {
        let left = AtomicUsize::new(moves);
        let moving = Moving { engine: site.engine.clone(), bytes: bytes.clone(), left };
        let moving: Arc<dyn Blobs> = Arc::new(moving);
        match stored::read(&site.engine, &moving, name).await {
            Ok(Some((_, read))) => assert!(is_read && read == bytes, "{moves}"),
            Err(BlobError::Missing) => assert!(!is_read, "{moves}"),
            _ => panic!("{moves}"),
        }
    }
    let nothing: Arc<dyn Blobs> =
        Arc::new(Moving { engine: site.engine.clone(), bytes, left: AtomicUsize::new(0) });
    assert!(stored::read(&site.engine, &nothing, BlobName(1)).await.unwrap().is_none());
}
