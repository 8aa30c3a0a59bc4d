//! What clients sent and were told, written down as it happens, and the one proof that every
//! topic ends with: nothing acknowledged is lost, nothing took effect twice, per ordering key
//! effects came in the order of acceptance, the books balance.
//!
//! The proof rests on three sources: the receipts that clients hold (this history), the daemon's
//! answers over HTTP, and the core's own log. It looks at no file of the daemon.

use crate::rig::{Answer, Client, Daemon, Site, Submitter};
use holdover::domain::ids::TransactionId;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// One submission: what is sent, and sent again, byte for byte.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    /// The place of its submitter in [`Site::submitters`].
    pub(crate) submitter: usize,
    pub(crate) key: String,
    pub(crate) body: String,
    /// Seconds of `Prefer: wait`.
    pub(crate) wait: Option<u32>,
    /// What its order is by: institution, person and order group. Stands in the payload too, so
    /// that the core's log has it.
    pub(crate) subject: String,
    /// In fen.
    pub(crate) amount: i64,
}

impl Intent {
    /// Sends it once.
    pub(crate) fn post(&self, client: &mut Client) -> io::Result<Answer> {
        self.post_with(client, self.wait)
    }

    /// Sends it once, waiting as `wait` says.
    fn post_with(&self, client: &mut Client, wait: Option<u32>) -> io::Result<Answer> {
        let prefer = wait.map(|seconds| format!("wait={seconds}"));
        let mut headers =
            vec![("Idempotency-Key", self.key.as_str()), ("Content-Type", "application/json")];
        headers.extend(prefer.as_deref().map(|prefer| ("Prefer", prefer)));
        client.request("POST", "/v1/transactions", &headers, self.body.as_bytes())
    }
}

/// What is done with a business: its class of submitter, its line, and its order group.
const LINES: [(&str, &str, &str, &str); 8] = [
    ("hospital", "settlement.outpatient", "advice", "settlement.outpatient.advice"),
    ("hospital", "settlement.inpatient", "advice", "settlement.inpatient.advice"),
    ("hospital", "settlement.outpatient", "request", "settlement.outpatient"),
    ("hospital", "settlement.out_of_area", "request", "settlement.out_of_area"),
    ("pharmacy", "settlement.pharmacy", "advice", "settlement.pharmacy.advice"),
    ("pharmacy", "settlement.pharmacy", "request", "settlement.pharmacy"),
    ("hall", "filing.out_of_area", "apply", "filing.out_of_area.apply"),
    ("district_medical_agency", "filing.out_of_area", "handle", "filing.out_of_area.handle"),
];

/// Draws a submission; `people` bounds how many ordering keys there are.
pub(crate) fn draw(random: &mut fastrand::Rng, submitters: &[Submitter], people: u32) -> Intent {
    let submitter = random.usize(..submitters.len());
    let from = &submitters[submitter];
    let lines: Vec<_> = LINES.iter().filter(|line| line.0 == from.class).collect();
    let (_, business, operation, group) = lines[random.usize(..lines.len())];
    let person = format!("person-{:06}", random.u32(..people));
    let subject = format!("{}/{person}/{group}", from.code);
    let settles = business.starts_with("settlement.");
    let amount = if settles { random.i64(1..100_000) } else { 0 };
    let mut body = json!({
        "business": business, "operation": operation, "insured": person,
        "channel": from.channel, "occurred_at": "2026-01-05T10:00:00+08:00",
        "payload": { "subject": subject, "note": "x".repeat(random.usize(..300)) },
    });
    if settles {
        body["amount"] = json!(format!("{}.{:02}", amount / 100, amount % 100));
    }
    let live = *operation == "request";
    if live && *business != "settlement.out_of_area" {
        body["credential"] = json!("voucher-of-a-test");
    }
    let wait = (live && random.u8(..4) > 0).then(|| random.u32(1..3));
    let key = format!("{:032x}", random.u128(..));
    Intent { submitter, key, body: body.to_string(), wait, subject, amount }
}

/// What a client knows of one submission.
#[derive(Debug, Clone)]
struct Known {
    intent: Intent,
    invoked: usize,
    /// Its receipt as it came, and when it came.
    receipt: Option<(Vec<u8>, usize)>,
    cut_off: u32,
    /// The last status that was no receipt.
    turned: Option<u16>,
}

struct Inner {
    file: File,
    lines: usize,
    known: Vec<Known>,
}

/// The history of all clients. Lines are appended and never changed.
pub(crate) struct History(Mutex<Inner>);

/// What the history has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) invoked: usize,
    pub(crate) acknowledged: usize,
    /// Submissions whose answer was cut off at least once.
    pub(crate) unknown: usize,
    /// Submissions that were answered with something else than a receipt.
    pub(crate) turned: usize,
}

fn hash(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The receipt in an acknowledgement: the body of 202, a part of the body of 200.
fn receipt_in(answer: &Answer) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Waited<'a> {
        #[serde(borrow)]
        receipt: &'a RawValue,
    }
    match answer.status {
        202 => Some(answer.body.clone()),
        200 => {
            let waited: Waited<'_> = serde_json::from_slice(&answer.body).unwrap();
            Some(waited.receipt.get().as_bytes().to_vec())
        }
        _ => None,
    }
}

fn id_in(receipt: &[u8]) -> String {
    let receipt: Value = serde_json::from_slice(receipt).unwrap();
    receipt["id"].as_str().unwrap().to_owned()
}

/// The place in the journal, from the number that a receipt carries.
fn seq_in(receipt: &[u8]) -> u64 {
    let receipt: Value = serde_json::from_slice(receipt).unwrap();
    receipt["number"].as_str().unwrap().parse::<TransactionId>().unwrap().seq().0
}

impl History {
    /// A new history beside the site's data.
    pub(crate) fn new(folder: &Path) -> Self {
        let file = File::options()
            .create_new(true)
            .append(true)
            .open(folder.join("history.ndjson"))
            .unwrap();
        Self(Mutex::new(Inner { file, lines: 0, known: Vec::new() }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Sends `intent` once and writes down what came of it.
    pub(crate) fn post(&self, client: &mut Client, intent: Intent) -> io::Result<Answer> {
        let number = self.begin(intent);
        self.attempt(client, number)
    }

    /// Sends the submission `number` (once more) and writes down what came of it.
    pub(crate) fn attempt(&self, client: &mut Client, number: usize) -> io::Result<Answer> {
        let intent = self.inner().known[number].intent.clone();
        let answer = intent.post(client);
        self.told(number, &answer);
        answer
    }

    /// Writes down that `intent` is about to be sent, and gives it a number.
    pub(crate) fn begin(&self, intent: Intent) -> usize {
        let mut inner = self.inner();
        let number = inner.known.len();
        let line = json!({
            "t": "invoke", "n": number, "key": intent.key, "wait": intent.wait,
            "body": hash(intent.body.as_bytes()),
        });
        let invoked = inner.write(&line);
        inner.known.push(Known { intent, invoked, receipt: None, cut_off: 0, turned: None });
        number
    }

    fn told(&self, number: usize, answer: &io::Result<Answer>) {
        let mut inner = self.inner();
        match answer {
            Err(_) => {
                inner.write(&json!({ "t": "unknown", "n": number }));
                inner.known[number].cut_off += 1;
            }
            Ok(answer) => match receipt_in(answer) {
                Some(receipt) => {
                    let line = json!({ "t": "ok", "n": number, "receipt": hash(&receipt),
                        "id": id_in(&receipt) });
                    let at = inner.write(&line);
                    let known = &mut inner.known[number];
                    if let Some((first, _)) = &known.receipt {
                        assert_eq!(*first, receipt, "a repeat got another receipt");
                    }
                    known.receipt.get_or_insert((receipt, at));
                }
                None => {
                    inner.write(&json!({ "t": "turned", "n": number, "status": answer.status }));
                    inner.known[number].turned = Some(answer.status);
                }
            },
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let inner = self.inner();
        let count = |what: fn(&Known) -> bool| inner.known.iter().filter(|k| what(k)).count();
        Totals {
            invoked: inner.known.len(),
            acknowledged: count(|known| known.receipt.is_some()),
            unknown: count(|known| known.cut_off > 0),
            turned: count(|known| known.turned.is_some()),
        }
    }

    /// Sends again what was cut off or put off, until it is answered with a receipt: whether it
    /// had been kept or not, it counts once from now on.
    pub(crate) fn repeat_unanswered(&self, site: &Site, daemon: &Daemon) {
        let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
        let open: Vec<(usize, usize)> = {
            let inner = self.inner();
            let open = inner.known.iter().enumerate().filter(|(_, k)| k.receipt.is_none());
            open.map(|(number, known)| (number, known.intent.submitter)).collect()
        };
        for (number, submitter) in open {
            let answer = self.attempt(&mut clients[submitter], number).unwrap();
            assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        }
    }

    /// The proof. The daemon runs; the core works. First everything unanswered is sent again
    /// and everything settles; then each source is held against the others.
    pub(crate) fn prove(&self, site: &Site, daemon: &Daemon, bound: Duration) -> Proof {
        self.repeat_unanswered(site, daemon);
        daemon.settle(bound);
        self.every_receipt_is_found_again(site, daemon);
        let known = self.inner().known.clone();
        let effects = effects_of(site);
        let in_doubt = states_fit(daemon, &known, &effects);
        in_order(&known, &effects);
        let ledger = daemon.look("/admin/v1/ledger");
        let amount: i64 = known.iter().map(|k| k.intent.amount).sum();
        assert_eq!(ledger["accepted"], json!(known.len()), "{ledger}");
        assert_eq!(ledger["amount"]["accepted"], json!(fen(amount)), "{ledger}");
        assert_eq!(ledger["difference"], json!(0), "{ledger}");
        assert_eq!(ledger["amount"]["difference"], json!("0.00"), "{ledger}");
        assert_eq!(ledger["applied"], json!(effects.len()), "{ledger}");
        Proof { effects: effects.len(), in_doubt }
    }

    /// Sends everything acknowledged once more. Each gets its receipt, byte for byte, or 503: how
    /// many got which.
    pub(crate) fn repeat_all(&self, site: &Site, daemon: &Daemon) -> (usize, usize) {
        let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
        let (mut told, mut blocked) = (0, 0);
        for known in &self.inner().known {
            let Some((receipt, _)) = &known.receipt else { continue };
            let intent = &known.intent;
            let again = intent.post_with(&mut clients[intent.submitter], None).unwrap();
            if again.status == 503 {
                blocked += 1;
                continue;
            }
            assert_eq!(again.status, 202, "{}", again.text());
            assert_eq!(again.body, *receipt, "another receipt for {}", intent.key);
            told += 1;
        }
        (told, blocked)
    }

    /// Sends everything acknowledged once more: the code and the `Retry-After` of each that does
    /// not get its receipt.
    pub(crate) fn blocked(&self, site: &Site, daemon: &Daemon) -> Vec<(String, Option<String>)> {
        let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
        let mut post = |known: &Known| {
            let intent = &known.intent;
            let answer = intent.post_with(&mut clients[intent.submitter], None).unwrap();
            let code = answer.json()["code"].as_str().map(str::to_owned)?;
            Some((code, answer.header("retry-after").map(str::to_owned)))
        };
        self.inner().known.iter().filter_map(&mut post).collect()
    }

    /// Every receipt is told again, byte for byte.
    fn every_receipt_is_found_again(&self, site: &Site, daemon: &Daemon) {
        let mut clients: Vec<_> = site.submitters.iter().map(|s| daemon.client(s)).collect();
        for known in &self.inner().known {
            let intent = &known.intent;
            let again = intent.post_with(&mut clients[intent.submitter], None).unwrap();
            assert_eq!(again.status, 202, "{}", again.text());
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.text());
            let (receipt, _) = known.receipt.as_ref().unwrap();
            assert_eq!(again.body, *receipt, "another receipt for {}", intent.key);
        }
    }
}

impl Inner {
    fn write(&mut self, line: &Value) -> usize {
        writeln!(self.file, "{line}").unwrap();
        self.lines += 1;
        self.lines
    }
}

/// What the proof has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) effects: usize,
    /// Transactions that were in doubt at least once.
    pub(crate) in_doubt: usize,
}

fn fen(fen: i64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

/// Each effect's transaction and subject, in the order of the core. No transaction has two.
fn effects_of(site: &Site) -> Vec<(String, String)> {
    let mut calls: Vec<Value> =
        site.core.calls().into_iter().filter(|call| call["kind"] == "effect").collect();
    calls.sort_by_key(|call| call["seq"].as_u64());
    let text = |call: &Value, name: &str| call[name].as_str().unwrap().to_owned();
    let effects: Vec<_> =
        calls.iter().map(|call| (text(call, "transaction"), text(call, "subject"))).collect();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (transaction, _) in &effects {
        *counts.entry(transaction).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "took effect more than once: {twice:?}");
    effects
}

/// Per ordering key, acceptance follows what clients saw, and effects follow acceptance.
fn in_order(known: &[Known], effects: &[(String, String)]) {
    let mut places: HashMap<String, u64> = HashMap::new();
    let mut by_subject: HashMap<&str, Vec<(u64, usize, usize)>> = HashMap::new();
    for known in known {
        let (receipt, told) = known.receipt.as_ref().unwrap();
        let seq = seq_in(receipt);
        let before = places.insert(id_in(receipt), seq);
        assert_eq!(before, None, "two keys have one transaction");
        let entry = (seq, known.invoked, *told);
        by_subject.entry(&known.intent.subject).or_default().push(entry);
    }
    for (subject, accepted) in &mut by_subject {
        accepted.sort_unstable();
        let mut told_latest = usize::MAX;
        for &(seq, invoked, told) in accepted.iter().rev() {
            assert!(invoked < told_latest, "{subject}: {seq} was accepted before its turn");
            told_latest = told_latest.min(told);
        }
    }
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (transaction, subject) in effects {
        let seq = *places.get(transaction).expect("an effect of a transaction nobody submitted");
        let before = last.insert(subject, seq).unwrap_or_default();
        assert!(before < seq, "{subject}: {transaction} took effect after its turn");
    }
}

/// What the daemon calls applied has its effect, and nothing else has one. How many of the
/// transactions have been in doubt.
fn states_fit(daemon: &Daemon, known: &[Known], effects: &[(String, String)]) -> usize {
    let applied: HashSet<&str> = effects.iter().map(|(transaction, _)| &**transaction).collect();
    let mut admin = daemon.admin();
    let mut in_doubt = 0;
    for known in known {
        let (receipt, _) = known.receipt.as_ref().unwrap();
        let id = id_in(receipt);
        let answer = admin.get(&format!("/admin/v1/transactions/{id}")).unwrap();
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        let detail = answer.json();
        assert_eq!(detail["state"] == "applied", applied.contains(id.as_str()), "{detail}");
        let history = detail["history"].as_array().unwrap();
        in_doubt += usize::from(history.iter().any(|step| step["what"] == "in_doubt"));
    }
    in_doubt
}
