//! The index under everything that sled may do wrong, over a journal in memory.

use super::*;
use crate::domain::cell::{Cell, Channel, Class, Operation};
use crate::domain::ids::{AttemptNo, Fingerprint, InsuredHash, KeyHash, OrderingKey};
use crate::domain::money::Money;
use crate::domain::policy::{Advice, Disposition};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::engine::change::{Accepted, Sealed, Settlement, Told};
use crate::engine::ports::ReadError;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, mpsc};

/// Waits until `condition` holds, at most for so many tries.
fn until(what: &str, condition: impl Fn() -> bool) {
    let (_kept, never) = mpsc::sync_channel::<()>(1);
    for _ in 0..6000 {
        if condition() {
            return;
        }
        assert!(never.recv_timeout(Duration::from_millis(5)).is_err());
    }
    panic!("not in time: {what}");
}

/// A journal in memory; what stands before the second number has left.
#[derive(Default)]
struct Memory(Mutex<Vec<Change>>, std::sync::atomic::AtomicU64);

impl Memory {
    fn push(&self, change: Change) -> Seq {
        let mut changes = self.0.lock().unwrap();
        changes.push(change);
        Seq(changes.len() as u64)
    }
}

impl JournalReader for Memory {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        let changes = self.0.lock().unwrap();
        let index = usize::try_from(seq.0).unwrap().wrapping_sub(1);
        changes.get(index).cloned().ok_or(ReadError::Missing(seq))
    }

    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let begins = self.1.load(std::sync::atomic::Ordering::SeqCst);
        for seq in from.0.max(begins)..=self.last().0 {
            if visit(Seq(seq), self.read(Seq(seq))?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn forwarded(&self, transaction: Seq) -> Option<Seq> {
        let changes = self.0.lock().unwrap();
        let place = changes.iter().rposition(|change| {
            matches!(change, Change::Forwarded { transaction: seq, .. } if *seq == transaction)
        });
        place.map(|place| Seq(place as u64 + 1))
    }

    fn last(&self) -> Seq {
        Seq(self.0.lock().unwrap().len() as u64)
    }
}

fn institution(number: u64) -> InstitutionCode {
    format!("H{number:05}").parse().unwrap()
}

fn accepted(number: u64) -> Change {
    Change::Accepted(Arc::new(Accepted {
        at: Timestamp::from_millis(1_660_000_000_000),
        institution: institution(number),
        cell: Cell {
            upstream: "agency".parse().unwrap(),
            business: "filing.out_of_area".parse().unwrap(),
            operation: Operation::Apply,
            class: Class::Hospital,
            channel: Channel::System,
            district: "110101".parse().unwrap(),
            labels: Vec::new(),
            attributes: BTreeMap::new(),
        },
        ordering_key: OrderingKey(1),
        key_hash: KeyHash(2),
        fingerprint: Fingerprint(3),
        insured: InsuredHash(4),
        amount: Money::default(),
        occurred_at: Timestamp::default(),
        received_from_person_at: None,
        deadline: None,
        replaces: None,
        depends_on: None,
        self_contained: true,
        needs_credential: false,
        ticket_after: None,
        told: Told {
            disposition: Disposition::Hold,
            advice: Advice::None,
            row: None,
            resume_at: None,
            alternative: None,
            bring: Vec::new(),
            deadline: None,
            deadline_final: false,
            kept: false,
        },
        sealed: Sealed { algorithm: 1, key_id: 1, bytes: bytes::Bytes::new() },
    }))
}

fn settled(transaction: Seq, settlement: Settlement) -> Change {
    let at = Timestamp::from_millis(1_660_000_500_000);
    Change::Settled { transaction, attempt: AttemptNo(1), settlement, at }
}

fn applied(transaction: Seq) -> Change {
    settled(transaction, Settlement::Applied { answer: None, business_status: None })
}

fn refused(transaction: Seq, provisional: bool) -> Change {
    settled(transaction, Settlement::Refused { code: "full".to_owned(), answer: None, provisional })
}

/// An index over a journal of 3,000 transactions of seven institutions, two thirds of them
/// applied, and what every query must return.
struct World {
    journal: Arc<Memory>,
    index: Index,
    options: Options,
    ends: BTreeMap<Seq, Option<Seq>>,
    listed: BTreeMap<u64, Vec<Seq>>,
    threads: Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
}

impl World {
    fn new(folder: &Path) -> Self {
        let journal = Arc::new(Memory::default());
        let mut ends = BTreeMap::new();
        let mut listed: BTreeMap<u64, Vec<Seq>> = BTreeMap::new();
        for n in 0..3000 {
            let transaction = journal.push(accepted(n % 7));
            listed.entry(n % 7).or_default().push(transaction);
            let end = (n % 3 != 0).then(|| journal.push(applied(transaction)));
            ends.insert(transaction, end);
        }
        let options = Options {
            look_every: Duration::from_millis(5),
            hanging_looks: 200,
            patience: Duration::from_secs(3),
            ..Options::new(folder.to_owned())
        };
        let threads = Arc::default();
        let index = start(&options, &journal, &threads);
        Self { journal, index, options, ends, listed, threads }
    }

    /// Ends the index, waits for its threads, and starts it again after `meanwhile`.
    fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        // All its threads have been started by then.
        self.ready();
        self.index.stop();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        until("the threads end", || threads.iter().all(std::thread::JoinHandle::is_finished));
        meanwhile(&self.options.folder);
        self.index = start(&self.options, &self.journal, &self.threads);
    }

    fn ready(&self) {
        until("the index is ready", || {
            self.index.status() == Status::Ready && self.index.up_to() == self.journal.last()
        });
    }

    /// Compares every query with what it must return.
    fn check(&self) {
        self.ready();
        for (&transaction, &end) in &self.ends {
            let outcome = self.index.outcome(transaction).expect("the index answers");
            let expected = end.map(|last| (State::Applied, last));
            assert_eq!(outcome.map(|o| (o.state, o.last)), expected, "{transaction}");
        }
        for (&number, positions) in &self.listed {
            let mut found = Vec::new();
            loop {
                let after = found.last().copied().unwrap_or_default();
                let page = self.index.of_institution(&institution(number), after, 100).unwrap();
                if page.is_empty() {
                    break;
                }
                found.extend(page);
            }
            assert_eq!(&found, positions);
        }
        assert_eq!(self.index.of_institution(&institution(99), Seq(0), 10), Ok(Vec::new()));
        assert_eq!(self.index.outcome(self.journal.last().next()), Ok(None));
    }

    /// Lets the threads write all they know to sled.
    fn written(&mut self) {
        self.restart(|_| {});
        self.ready();
        assert_eq!(self.index.rebuilds(), 0);
    }
}

fn start(
    options: &Options,
    journal: &Arc<Memory>,
    threads: &Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
) -> Index {
    let kept = Arc::clone(threads);
    #[expect(clippy::disallowed_methods, reason = "the test stands in for the task list")]
    let spawn: SpawnThread = Arc::new(move |_, work| {
        kept.lock().unwrap().push(std::thread::spawn(work));
    });
    Index::start(options.clone(), Arc::clone(journal) as Arc<dyn JournalReader>, &spawn)
}

impl Drop for World {
    fn drop(&mut self) {
        self.index.stop();
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn queries_are_right_before_and_after_a_restart_without_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.check();
    world.written();
    world.check();
}

#[test]
fn what_has_left_the_journal_is_forgotten_and_what_was_forwarded_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.written();
    let half = Seq(world.journal.last().0 / 2);
    let before = *world.ends.range(half..).next().unwrap().0;
    let at = Timestamp::from_millis(1_660_000_600_000);
    // Of the old ones every 50th stays, in an order of its own.
    let stays = |transaction: Seq| transaction >= before || transaction.0 % 50 == 1;
    let forwarded: Vec<Seq> =
        world.ends.keys().copied().filter(|&seq| seq < before && stays(seq)).rev().collect();
    assert!(forwarded.len() > 5);
    for (round, &transaction) in forwarded.iter().enumerate() {
        let Change::Accepted(accepted) = world.journal.read(transaction).unwrap() else { panic!() };
        world.journal.push(Change::Forwarded { transaction, accepted, at });
        let new = world.journal.push(self::accepted(round as u64 % 7));
        world.listed.entry(round as u64 % 7).or_default().push(new);
        world.ends.insert(new, None);
    }
    world.journal.push(Change::Retired { before, at });
    world.index.committed(&[]);
    world.journal.1.store(before.0, std::sync::atomic::Ordering::SeqCst);
    world.listed.values_mut().for_each(|listed| listed.retain(|&seq| stays(seq)));
    // An end is forgotten with its transaction.
    let gone = |(seq, end): (&Seq, &Option<Seq>)| (*seq, end.filter(|_| stays(*seq)));
    world.ends = world.ends.iter().map(gone).collect();
    world.written();
    world.check();
    // Built anew from what is left, only the ends that left are unknown.
    world.restart(|folder| std::fs::remove_dir_all(folder).unwrap());
    let left = |(seq, end): (&Seq, &Option<Seq>)| (*seq, end.filter(|end| *end >= before));
    world.ends = world.ends.iter().map(left).collect();
    world.check();
}

#[test]
fn what_is_committed_now_is_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.ready();
    for n in 0..200 {
        let transaction = world.journal.push(accepted(50));
        world.index.committed(&[]);
        assert_eq!(world.index.outcome(transaction), Ok(None));
        let last = world.journal.push(applied(transaction));
        world.index.committed(&[]);
        assert_eq!(world.index.outcome(transaction).unwrap().unwrap().last, last);
        let listed = world.index.of_institution(&institution(50), Seq(0), 1000).unwrap();
        assert_eq!(listed.len(), n + 1);
    }
}

#[test]
fn what_is_handed_over_as_it_is_committed_is_what_would_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let mut random = fastrand::Rng::with_seed(5);
    for n in 0..3000 {
        let accepted = accepted(n % 7);
        let transaction = world.journal.push(accepted.clone());
        let mut changes = vec![(transaction, accepted)];
        let mut end = None;
        if n % 3 != 0 {
            let change = applied(transaction);
            let last = world.journal.push(change.clone());
            changes.push((last, change));
            end = Some(last);
        }
        // Some are only rung for, so that the tail has to read its way to what follows.
        let told = if random.u8(..8) == 0 { &[][..] } else { &changes[..] };
        world.index.committed(told);
        world.listed.entry(n % 7).or_default().push(transaction);
        world.ends.insert(transaction, end);
    }
    world.check();
    world.written();
    world.check();
}

#[test]
fn a_provisional_refusal_is_an_end_only_once_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    let [one, two] = [0, 1].map(|_| world.journal.push(accepted(1)));
    let first = world.journal.push(refused(one, true));
    world.journal.push(refused(two, true));
    world.journal.push(Change::AttemptStarted {
        transaction: two,
        attempt: AttemptNo(2),
        at: Timestamp::default(),
    });
    world.index.committed(&[]);
    world.written();
    assert_eq!(world.index.outcome(one), Ok(None));
    world.journal.push(Change::ProvisionalDecided {
        upstream: "agency".parse().unwrap(),
        confirmed: true,
        at: Timestamp::default(),
    });
    world.index.committed(&[]);
    world.written();
    let outcome = world.index.outcome(one).unwrap().unwrap();
    assert_eq!((outcome.state, outcome.last), (State::Refused, first));
    assert_eq!(world.index.outcome(two), Ok(None), "it was tried again since");
}

#[test]
fn a_deleted_index_is_rebuilt_at_the_start_and_at_work() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.written();
    world.restart(|folder| std::fs::remove_dir_all(folder).unwrap());
    world.check();
    std::fs::remove_dir_all(folder.path()).unwrap();
    until("the loss is noticed", || world.index.rebuilds() == 1);
    world.check();
    world.written();
}

#[test]
fn random_bytes_in_any_file_are_found_out_and_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut world = World::new(folder.path());
    let mut rebuilt = 0;
    for round in 0..12 {
        world.written();
        world.restart(|folder| {
            for file in files_below(folder) {
                let mut bytes = std::fs::read(&file).unwrap();
                if bytes.is_empty() {
                    continue;
                }
                // A part of the file, or all of it.
                let from = if round % 4 == 0 { 0 } else { random.usize(..bytes.len()) };
                let to = if round % 4 == 0 { bytes.len() } else { (from + 64).min(bytes.len()) };
                random.fill(&mut bytes[from..to]);
                std::fs::write(&file, bytes).unwrap();
            }
        });
        world.check();
        rebuilt += world.index.rebuilds();
    }
    assert!(rebuilt >= 3, "{rebuilt}");
}

#[test]
fn random_bytes_under_the_feet_of_a_running_index_change_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.written();
    for file in files_below(folder.path()) {
        let mut bytes = std::fs::read(&file).unwrap();
        fastrand::Rng::with_seed(3).fill(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    }
    until("every query is answered", || {
        world.ends.keys().all(|&transaction| world.index.outcome(transaction).is_ok())
    });
    world.check();
    world.restart(|_| {});
    world.check();
}

#[test]
fn a_panic_inside_sled_is_answered_with_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.written();
    for round in 1..=3 {
        world.options.tripwire.arm(Sabotage::Panic);
        // Whichever thread makes the next call meets it.
        drop(world.index.of_institution(&institution(1), Seq(0), 10));
        until("the panic is noticed", || world.index.rebuilds() == round);
        world.check();
    }
}

#[test]
fn a_hanging_sled_keeps_nobody_waiting_and_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.options.patience = Duration::from_millis(500);
    world.written();
    world.options.tripwire.arm(Sabotage::Hang);
    assert_eq!(world.index.of_institution(&institution(1), Seq(0), 10), Err(IndexUnavailable));
    until("the hanging is noticed", || world.index.rebuilds() == 1);
    world.check();
}

#[test]
fn too_many_hanging_threads_keep_the_index_away_and_the_journal_is_still_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.options.patience = Duration::from_millis(50);
    world.options.hanging_looks = 20;
    world.written();
    until("it is given up", || {
        world.options.tripwire.arm(Sabotage::Hang);
        drop(world.index.of_institution(&institution(1), Seq(0), 10));
        world.index.status() == Status::Away
    });
    assert_eq!(world.index.outcome(Seq(1)), Err(IndexUnavailable));
    world.index.committed(&[]);
    assert!(world.journal.read(Seq(1)).is_ok());
}

#[test]
fn an_index_ahead_of_its_journal_belongs_to_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(folder.path());
    world.written();
    let journal = Arc::clone(&world.journal);
    world.restart(|_| journal.0.lock().unwrap().truncate(10));
    until("it is rebuilt", || world.index.rebuilds() == 1);
    world.ready();
    assert_eq!(world.index.up_to(), Seq(10));
}
