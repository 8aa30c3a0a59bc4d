//! What the simulated core knows: who was applied, how often, and what it does with a call.
//!
//! Pure but for the log: a call goes in with an instant, a verdict comes out. One map entry of
//! 32 bytes for each transaction, so that a million fit. By default **every** request that is
//! applied counts as an effect, repeats too: that is how a double effect shows.

use super::log::{Kind, Line, Log};
use super::script::Script;
use crate::domain::attachment::Digest;
use crate::domain::ids::TransactionId;
use crate::domain::time::Timestamp;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::Duration;

/// Files that one upstream notes.
const FILES_MAX: usize = 100_000;

/// A call as its headers tell it.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) transaction: Option<String>,
    pub(super) key: Option<String>,
    pub(super) institution: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) cell: Option<String>,
    pub(super) business: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) attempt: Option<String>,
    pub(super) repeat: Option<String>,
    pub(super) accepted_at: Option<String>,
    pub(super) occurred_at: Option<String>,
    pub(super) received_from_person_at: Option<String>,
}

/// What the caller gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Applied { seq: u64, business_status: Option<String> },
    Refused { code: String },
    Shed { status: u16, retry_after_seconds: Option<u64> },
    Page,
    NotFound { fenced: bool },
    Cut,
}

impl Verdict {
    /// The status of its answer; none for a cut connection.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Applied { .. } | Self::Page => Some(200),
            Self::Refused { .. } => Some(422),
            Self::Shed { status, .. } => Some(*status),
            Self::NotFound { .. } => Some(404),
            Self::Cut => None,
        }
    }
}

/// What is counted of one upstream. `effects - transactions` are the double effects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests that were applied.
    pub effects: u64,
    /// Distinct transactions that were applied.
    pub transactions: u64,
    /// Effects beyond the first of their transaction.
    pub double_effects: u64,
    /// Recognised repeats, which had no effect.
    pub repeats: u64,
    /// Refusals.
    pub refused: u64,
    /// 429, 503 and maintenance pages.
    pub shed: u64,
    /// Cut before they were applied, those that are applied later included.
    pub lost_before: u64,
    /// Applied, and their answer cut.
    pub lost_after: u64,
    /// Effects that came after their connection had been cut.
    pub late: u64,
    /// Questions.
    pub questions: u64,
    /// Probes.
    pub probes: u64,
    /// Distinct files that are kept, by digest and size.
    pub attachments: u64,
}

/// What is remembered of one transaction: `seq` is 0 as long as it was never applied.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    seq: u64,
    /// Its last refusal: a place in `codes`, from 1.
    code: u32,
}

/// A request that will be applied later.
struct Late {
    id: u128,
    intent: Option<u128>,
    request: Request,
}

/// One upstream.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) script: Script,
    pub(super) stats: Stats,
    known: HashMap<u128, Known>,
    /// By institution and idempotency key, where repeats are recognised.
    intents: HashMap<u128, u64>,
    codes: Vec<String>,
    /// The sizes of files, by digest; the bytes are thrown away.
    pub(super) files: BTreeMap<Digest, u64>,
}

/// The whole simulated core.
pub(super) struct Memory {
    pub(super) parts: Vec<Part>,
    recognise_repeats: bool,
    random: fastrand::Rng,
    seq: u64,
    /// Late applies by instant, then by arrival.
    agenda: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    late: HashMap<u64, Late>,
    late_count: u64,
    log: Option<Log>,
}

/// A transaction's identity in 128 bits: exact for our own ids, a hash for any other text.
fn identity(text: &str) -> u128 {
    if let Ok(id) = text.parse::<TransactionId>() {
        return id.to_bits();
    }
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, text).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    // The top bit keeps hashes apart from our own ids.
    (1 << 127) | (half(1) << 64) | half(2)
}

impl Memory {
    pub(super) fn new(
        names: Vec<String>,
        recognise_repeats: bool,
        seed: u64,
        log: Option<Log>,
    ) -> Self {
        let part = |name| Part {
            name,
            script: Script::default(),
            stats: Stats::default(),
            known: HashMap::new(),
            intents: HashMap::new(),
            codes: Vec::new(),
            files: BTreeMap::new(),
        };
        Self {
            parts: names.into_iter().map(part).collect(),
            recognise_repeats,
            random: fastrand::Rng::with_seed(seed),
            seq: 0,
            agenda: BinaryHeap::new(),
            late: HashMap::new(),
            late_count: 0,
            log,
        }
    }

    /// Whether lines are written; where not, nobody needs to look into payloads.
    pub(super) fn logs(&self) -> bool {
        self.log.is_some()
    }

    /// The earliest instant of a late apply.
    pub(super) fn due(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((at, number, _))) = self.agenda.peek() {
            if self.late.contains_key(number) {
                return Some(*at);
            }
            self.agenda.pop();
        }
        None
    }

    /// An effect-bearing request for part `index`.
    pub(super) fn submit(
        &mut self,
        index: usize,
        now: Timestamp,
        request: Request,
    ) -> io::Result<Verdict> {
        self.apply_late(now)?;
        let name = request.transaction.as_deref().or(request.key.as_deref()).unwrap_or_default();
        let id = identity(name);
        let intent = if self.recognise_repeats { request.intent() } else { None };
        let Self { parts, random, .. } = self;
        let part = &mut parts[index];
        if part.script.maintenance_page.falls(random) {
            return self.turn_away(index, now, &request, Verdict::Page);
        }
        if let Some(busy) = &mut part.script.busy
            && busy.chance.falls(random)
        {
            let shed = Verdict::Shed {
                status: busy.status,
                retry_after_seconds: busy.retry_after_seconds,
            };
            return self.turn_away(index, now, &request, shed);
        }
        let late_after = part.script.late_apply.as_mut().and_then(|late| {
            late.chance.falls(random).then(|| Duration::from_millis(late.after_ms))
        });
        if late_after.is_some() || part.script.lose_before.falls(random) {
            part.stats.lost_before += 1;
            self.write(index, now, &request, Kind::LostBefore, |line| line.answer_lost = true)?;
            if let Some(after) = late_after {
                self.late_count += 1;
                self.agenda.push(Reverse((now.after(after), self.late_count, index)));
                self.late.insert(self.late_count, Late { id, intent, request });
            }
            return Ok(Verdict::Cut);
        }
        if self.recognise_repeats
            && let Some(seq) = part.first(id, intent)
        {
            part.stats.repeats += 1;
            let business_status = part.script.business_status.clone();
            self.write(index, now, &request, Kind::Repeat, |line| line.status = Some(200))?;
            return Ok(Verdict::Applied { seq, business_status });
        }
        let business = request.business.as_deref().unwrap_or_default();
        if let Some(code) = part.script.refusal(business) {
            part.refuse(id, &code);
            self.write(index, now, &request, Kind::Refused, |line| {
                line.code = Some(&code);
                line.status = Some(422);
            })?;
            return Ok(Verdict::Refused { code });
        }
        let lost = part.script.lose_after.falls(random);
        part.stats.lost_after += u64::from(lost);
        let business_status = part.script.business_status.clone();
        let seq = self.apply(index, id, intent);
        self.write(index, now, &request, Kind::Effect, |line| {
            line.answer_lost = lost;
            line.seq = Some(seq);
            line.status = (!lost).then_some(200);
        })?;
        Ok(if lost { Verdict::Cut } else { Verdict::Applied { seq, business_status } })
    }

    /// A file for part `index`; whether there was room to note it.
    pub(super) fn file(&mut self, index: usize, digest: Digest, bytes: u64) -> bool {
        let part = &mut self.parts[index];
        if part.files.len() >= FILES_MAX && !part.files.contains_key(&digest) {
            return false;
        }
        part.files.insert(digest, bytes);
        part.stats.attachments = part.files.len() as u64;
        true
    }

    /// A question about a transaction.
    pub(super) fn question(
        &mut self,
        index: usize,
        now: Timestamp,
        transaction: &str,
    ) -> io::Result<Verdict> {
        self.apply_late(now)?;
        let id = identity(transaction);
        let part = &mut self.parts[index];
        part.stats.questions += 1;
        let known = part.known.get(&id).copied().unwrap_or_default();
        let verdict = if part.script.maintenance_page.is_certain() {
            Verdict::Page
        } else if known.seq > 0 {
            let business_status = part.script.business_status.clone();
            Verdict::Applied { seq: known.seq, business_status }
        } else if let Some(code) = part.code(known.code) {
            Verdict::Refused { code }
        } else {
            Verdict::NotFound { fenced: part.script.fenced }
        };
        if verdict == (Verdict::NotFound { fenced: true }) {
            // The promise: what was received so far is never applied.
            self.late.retain(|_, late| late.id != id);
        }
        // To a question a refusal is an answer like any other.
        let status = match &verdict {
            Verdict::Refused { .. } => Some(200),
            other => other.status(),
        };
        let request = Request { transaction: Some(transaction.to_owned()), ..Request::default() };
        self.write(index, now, &request, Kind::Question, |line| line.status = status)?;
        Ok(verdict)
    }

    /// A probe.
    pub(super) fn probe(&mut self, index: usize, now: Timestamp) -> io::Result<Verdict> {
        self.apply_late(now)?;
        let part = &mut self.parts[index];
        part.stats.probes += 1;
        let verdict = if part.script.maintenance_page.is_certain() {
            Verdict::Page
        } else if part.script.probe_fails {
            Verdict::Shed { status: 503, retry_after_seconds: None }
        } else {
            Verdict::Applied { seq: 0, business_status: None }
        };
        let status = verdict.status();
        let request = Request::default();
        self.write(index, now, &request, Kind::Probe, |line| line.status = status)?;
        Ok(verdict)
    }

    /// Applies what is due.
    pub(super) fn apply_late(&mut self, now: Timestamp) -> io::Result<()> {
        while self.due().is_some_and(|at| at <= now) {
            let Some(Reverse((at, number, index))) = self.agenda.pop() else { return Ok(()) };
            let Some(Late { id, intent, request }) = self.late.remove(&number) else { continue };
            let seq = self.apply(index, id, intent);
            self.parts[index].stats.late += 1;
            self.write(index, at, &request, Kind::Effect, |line| {
                line.answer_lost = true;
                line.late = true;
                line.seq = Some(seq);
            })?;
        }
        Ok(())
    }

    fn apply(&mut self, index: usize, id: u128, intent: Option<u128>) -> u64 {
        self.seq += 1;
        let seq = self.seq;
        let part = &mut self.parts[index];
        part.stats.effects += 1;
        if let Some(intent) = intent {
            part.intents.entry(intent).or_insert(seq);
        }
        match part.known.entry(id) {
            Slot::Occupied(known) if known.get().seq > 0 => part.stats.double_effects += 1,
            slot @ (Slot::Occupied(_) | Slot::Vacant(_)) => {
                slot.or_default().seq = seq;
                part.stats.transactions += 1;
            }
        }
        seq
    }

    fn turn_away(
        &mut self,
        index: usize,
        now: Timestamp,
        request: &Request,
        verdict: Verdict,
    ) -> io::Result<Verdict> {
        self.parts[index].stats.shed += 1;
        let status = verdict.status();
        self.write(index, now, request, Kind::Shed, |line| line.status = status)?;
        Ok(verdict)
    }

    fn write<'a>(
        &'a mut self,
        index: usize,
        now: Timestamp,
        request: &'a Request,
        kind: Kind,
        finish: impl FnOnce(&mut Line<'a>),
    ) -> io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let mut line = Line {
            instant_ms: now.as_millis(),
            instant: now,
            upstream: &self.parts[index].name,
            kind,
            transaction: request.transaction.as_deref(),
            key: request.key.as_deref(),
            subject: request.subject.as_deref(),
            cell: request.cell.as_deref(),
            business: request.business.as_deref(),
            operation: request.operation.as_deref(),
            attempt: request.attempt.as_deref(),
            repeat: request.repeat.as_deref(),
            accepted_at: request.accepted_at.as_deref(),
            occurred_at: request.occurred_at.as_deref(),
            received_from_person_at: request.received_from_person_at.as_deref(),
            answer_lost: false,
            late: false,
            seq: None,
            code: None,
            status: None,
        };
        finish(&mut line);
        log.write(&line)
    }
}

impl Request {
    /// What is to happen, whatever number it came under: of the same institution and key once.
    fn intent(&self) -> Option<u128> {
        let (institution, key) = (self.institution.as_deref()?, self.key.as_deref()?);
        Some(identity(&format!("{institution} {key}")))
    }
}

impl Part {
    /// Where it was applied first, under its id or for the same intent.
    fn first(&self, id: u128, intent: Option<u128>) -> Option<u64> {
        let by_id = self.known.get(&id).map(|known| known.seq).filter(|seq| *seq > 0);
        by_id.or_else(|| self.intents.get(&intent?).copied())
    }

    fn refuse(&mut self, id: u128, code: &str) {
        self.stats.refused += 1;
        let place = self.codes.iter().position(|known| known == code).unwrap_or_else(|| {
            self.codes.push(code.to_owned());
            self.codes.len() - 1
        });
        // Codes come from scripts that a person writes; there are never four billion.
        self.known.entry(id).or_default().code = u32::try_from(place + 1).unwrap_or(u32::MAX);
    }

    fn code(&self, place: u32) -> Option<String> {
        let index = usize::try_from(place).ok()?.checked_sub(1)?;
        self.codes.get(index).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(recognise: bool, script: &str) -> Memory {
        let mut memory = Memory::new(vec!["agency".into()], recognise, 1, None);
        memory.parts[0].script = serde_json::from_str(script).unwrap();
        memory
    }

    fn request(id: &str) -> Request {
        Request { transaction: Some(id.into()), key: Some("k".into()), ..Request::default() }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn every_applied_request_is_an_effect_unless_repeats_are_recognised() {
        for (recognise, effects, doubles, repeats) in [(false, 3, 1, 0), (true, 2, 0, 1)] {
            let mut memory = memory(recognise, "{}");
            for id in ["a", "b", "a"] {
                memory.submit(0, at(0), request(id)).unwrap();
            }
            let stats = &memory.parts[0].stats;
            assert_eq!(stats.transactions, 2);
            assert_eq!(
                (stats.effects, stats.double_effects, stats.repeats),
                (effects, doubles, repeats)
            );
        }
    }

    #[test]
    fn one_intent_under_two_numbers_is_a_repeat_within_its_institution() {
        let of = |id: &str, institution: &str| Request {
            institution: Some(institution.into()),
            ..request(id)
        };
        for (recognise, effects) in [(false, 3), (true, 2)] {
            let mut memory = memory(recognise, "{}");
            for (id, institution) in [("a", "H1"), ("b", "H1"), ("c", "H2")] {
                let verdict = memory.submit(0, at(0), of(id, institution)).unwrap();
                assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
            }
            assert_eq!(memory.parts[0].stats.effects, effects);
        }
    }

    #[test]
    fn a_late_apply_happens_after_a_not_found_unless_that_was_a_promise() {
        for (fenced, effects) in [(false, 1), (true, 0)] {
            let text = format!(r#"{{"fenced":{fenced},"late_apply":{{"after_ms":50,"next":1}}}}"#);
            let mut memory = memory(false, &text);
            assert_eq!(memory.submit(0, at(0), request("a")).unwrap(), Verdict::Cut);
            assert_eq!(memory.due(), Some(at(50)));
            assert_eq!(memory.question(0, at(49), "a").unwrap(), Verdict::NotFound { fenced });
            memory.apply_late(at(50)).unwrap();
            assert_eq!(memory.parts[0].stats.effects, effects);
            assert_eq!(memory.due(), None);
        }
    }

    #[test]
    fn a_refused_transaction_is_judged_afresh_when_it_comes_again() {
        let mut memory = memory(true, r#"{"refuse":[{"code":"E1","next":1}]}"#);
        let refused = Verdict::Refused { code: "E1".into() };
        assert_eq!(memory.submit(0, at(0), request("a")).unwrap(), refused);
        assert_eq!(memory.question(0, at(0), "a").unwrap(), refused);
        let applied = Verdict::Applied { seq: 1, business_status: None };
        assert_eq!(memory.submit(0, at(0), request("a")).unwrap(), applied);
        assert_eq!(memory.question(0, at(0), "a").unwrap(), applied);
    }

    #[test]
    fn an_entry_is_small_and_foreign_ids_do_not_meet_ours() {
        assert!(size_of::<(u128, Known)>() <= 32);
        let ours = "txn_0000000000000001";
        assert_eq!(identity(ours), 1);
        assert!(identity("1") >> 127 == 1);
        assert_ne!(identity("1"), identity("2"));
    }
}
