//! Stored files in the engine: who may name one, how long one stays, and that what is folded from the
//! journal or from a snapshot is the same.

use crate::engine_scenarios::{Bench, row, upstream, window};
use crate::engine_support::{NoRuns, answer, cell, settings, submission};
use holdover::domain::attachment::Content;
use holdover::domain::ids::{BlobName, Seq};
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::domain::policy::Disposition;
use holdover::domain::time::Timestamp;
use holdover::domain::window::Proof;
use holdover::engine::change::{Blob, Change};
use holdover::engine::event::{
    AttachmentFault, Command, Done, Event, Fault, NamedFile, Reply, Submission,
};
use holdover::engine::machine::Machine;
use std::sync::Arc;
use std::time::Duration;

const BEFORE: &str = "2022-08-11T10:00:00+08:00";

fn bench() -> Bench {
    Bench::with(settings(), BEFORE)
}

fn blob(name: u128, file: u64) -> Blob {
    Blob {
        name: BlobName(name),
        file,
        institution: "H11010500001".parse().unwrap(),
        bytes: 100,
        content: Content::Pdf,
        at: Timestamp::default(),
        named: None,
    }
}

fn store(bench: &mut Bench, blob: Blob, replaces: Option<u64>) -> Reply {
    bench.ask(|reply| Event::StoreBlob { reply, blob, replaces }).unwrap()
}

fn stored(bench: &mut Bench, name: u128) {
    assert!(matches!(store(bench, blob(name, 1), None), Reply::Done(Done::Blob(true))));
}

/// A submission that names these.
fn naming(number: u128, names: &[u128]) -> Submission {
    let file =
        |name: &u128| NamedFile { name: BlobName(*name), bytes: 100, content: Some(Content::Pdf) };
    let files = names.iter().map(file).collect();
    Submission { files, ..submission(cell("b", "filing.one"), number, number) }
}

fn knows(bench: &Bench, name: u128) -> bool {
    bench.machine.blob(BlobName(name)).is_some()
}

fn sweep_after(bench: &mut Bench, wait: Duration) {
    bench.now = bench.now.after(wait);
    bench.step(Event::SweepBlobs);
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn one_that_is_named_must_be_stored_unless_the_line_takes_digests_alone() {
    let mut bench = bench();
    stored(&mut bench, 1);
    match bench.submit(naming(1, &[1, 2])) {
        Some(Reply::Invalid(Fault::Attachments(faults))) => {
            assert_eq!(faults, [(1, AttachmentFault::NotStored)]);
        }
        other => panic!("{other:?}"),
    }
    let mut alone = naming(1, &[1, 2]);
    alone.line.files_stored = false;
    let transaction = bench.accepted(alone);
    let accepted = bench.journal.iter().rev().find_map(|change| match change {
        Change::Accepted(record) => Some(record),
        _ => None,
    });
    let record = accepted.unwrap();
    assert_eq!(record.blobs, [BlobName(1)], "what is stored is named in the record");
    assert_eq!(bench.machine.blob(BlobName(1)).unwrap().named, Some(transaction));
}

#[test]
fn a_window_that_asks_for_the_report_file_asks_for_it_stored_on_any_line() {
    let mut bench = bench();
    let mut stop = window(Disposition::PreAccept);
    stop.policy = vec![row(upstream("b"), Disposition::PreAccept)];
    stop.policy[0].needs_report_file = true;
    bench.order(Command::DeclareWindow(Box::new(stop)));
    bench.set("2022-08-13T10:00:00+08:00");
    let mut alone = naming(1, &[1]);
    (alone.line.files_stored, alone.has_report_file) = (false, true);
    match bench.submit(alone.clone()) {
        Some(Reply::Invalid(Fault::Attachments(faults))) => {
            assert_eq!(faults, [(0, AttachmentFault::NotStored)]);
        }
        other => panic!("{other:?}"),
    }
    stored(&mut bench, 1);
    bench.accepted(alone);
    let mut none = naming(2, &[]);
    none.line.files_stored = false;
    let refused = bench.submit(none);
    assert!(matches!(refused, Some(Reply::Invalid(Fault::PolicyDemands(_)))), "{refused:?}");
}

#[test]
fn one_that_nothing_names_goes_after_its_time_and_one_that_is_named_stays() {
    let mut bench = bench();
    (1..=3).for_each(|name| stored(&mut bench, name));
    let transaction = bench.accepted(naming(1, &[2]));
    bench.settle(Outcome::Applied(crate::engine_support::answer("{}")));
    assert_eq!(bench.state(transaction), None, "it is final");
    sweep_after(&mut bench, 7 * DAY - Duration::from_secs(1));
    assert!((1..=3).all(|name| knows(&bench, name)));
    // Named at the last moment: the removal is a step, and so is the submission.
    bench.accepted(naming(2, &[3]));
    sweep_after(&mut bench, Duration::from_secs(1));
    assert_eq!([1, 2, 3].map(|name| knows(&bench, name)), [false, true, true]);
    let refused = bench.submit(naming(3, &[1]));
    assert!(matches!(refused, Some(Reply::Invalid(Fault::Attachments(_)))));
    sweep_after(&mut bench, 400 * DAY);
    assert!(knows(&bench, 2), "its record is in the journal");
    let used = bench.machine.blobs_used();
    assert_eq!((used.files, used.bytes), (2, 200));
}

#[test]
fn one_goes_when_the_last_record_that_names_it_has_left_the_journal() {
    let mut settings = settings();
    settings.limits.unnamed_blob_after = DAY;
    let mut bench = Bench::with(settings, BEFORE);
    (1..=2).for_each(|name| stored(&mut bench, name));
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-13T10:00:00+08:00");
    let held = bench.accepted(naming(1, &[1]));
    let record = bench.journal.iter().rev().find_map(|change| match change {
        Change::Accepted(record) => Some(Arc::clone(record)),
        _ => None,
    });
    bench.accepted(naming(2, &[2]));
    let accepted = record.unwrap();
    bench.step(Event::Forward { transaction: held, accepted });
    let forwarded = bench.machine.last();
    bench.step(Event::Retire { before: forwarded });
    bench.step(Event::SweepBlobs);
    assert_eq!([1, 2].map(|name| knows(&bench, name)), [true, false]);
    bench.step(Event::Retire { before: forwarded.next() });
    bench.step(Event::SweepBlobs);
    assert!(!knows(&bench, 1));
}

#[test]
fn one_that_came_again_has_its_whole_time_from_then() {
    let mut bench = bench();
    (1..=3).for_each(|name| stored(&mut bench, name));
    bench.accepted(naming(1, &[2]));
    bench.settle(Outcome::Applied(crate::engine_support::answer("{}")));
    let after = bench.machine.last().next();
    let again = |bench: &mut Bench, name| match store(bench, blob(name, 1), Some(1)) {
        Reply::Done(Done::Blob(renewed)) => renewed,
        other => panic!("{other:?}"),
    };
    sweep_after(&mut bench, 7 * DAY - Duration::from_secs(1));
    bench.step(Event::Retire { before: after });
    let named = bench.machine.blob(BlobName(2)).unwrap().named;
    assert!([1, 2].map(|name| again(&mut bench, name)).into_iter().all(|renewed| renewed));
    assert_eq!(bench.machine.blob(BlobName(2)).unwrap().named, named);
    assert_eq!(bench.machine.blobs_used().files, 3);
    // Neither its age nor that its last record has left takes it.
    sweep_after(&mut bench, Duration::from_secs(1));
    assert_eq!([1, 2, 3].map(|name| knows(&bench, name)), [true, true, false]);
    assert!(!again(&mut bench, 3), "what has left cannot be kept");
    assert!(!knows(&bench, 3));
    sweep_after(&mut bench, 7 * DAY - Duration::from_secs(2));
    assert_eq!([1, 2].map(|name| knows(&bench, name)), [true, true]);
    sweep_after(&mut bench, Duration::from_secs(1));
    assert_eq!([1, 2].map(|name| knows(&bench, name)), [false, false]);
}

#[test]
fn the_same_is_stored_once_and_only_the_damaged_one_is_replaced() {
    let mut bench = bench();
    stored(&mut bench, 1);
    assert!(matches!(store(&mut bench, blob(1, 2), None), Reply::Done(Done::Blob(false))));
    assert!(matches!(store(&mut bench, blob(1, 2), Some(9)), Reply::Done(Done::Blob(false))));
    let transaction = bench.accepted(naming(1, &[1]));
    assert!(matches!(store(&mut bench, blob(1, 2), Some(1)), Reply::Done(Done::Blob(true))));
    let known = bench.machine.blob(BlobName(1)).unwrap();
    assert_eq!((known.file, known.named), (2, Some(transaction)), "who names it still does");
    assert_eq!(bench.machine.blobs_used().files, 1);
}

#[test]
fn there_is_an_end_to_what_is_stored() {
    let mut settings = settings();
    settings.limits.institution_blob_bytes_max = 250;
    settings.limits.blobs_max = 3;
    let mut bench = Bench::with(settings, BEFORE);
    (1..=2).for_each(|name| stored(&mut bench, name));
    assert!(matches!(store(&mut bench, blob(3, 1), None), Reply::Invalid(Fault::Full(_))));
    let theirs = |name| Blob { institution: "H11010500002".parse().unwrap(), ..blob(name, 1) };
    assert!(matches!(store(&mut bench, theirs(3), None), Reply::Done(Done::Blob(true))));
    assert!(matches!(store(&mut bench, theirs(4), None), Reply::Invalid(Fault::Full(_))));
}

#[test]
fn a_snapshot_and_the_journal_fold_to_the_same_files() {
    let mut bench = bench();
    (1..=4).for_each(|name| stored(&mut bench, name));
    bench.accepted(naming(1, &[2, 3]));
    store(&mut bench, blob(3, 7), Some(1));
    sweep_after(&mut bench, 8 * DAY);
    let of = |machine: &Machine| machine.blobs().cloned().collect::<Vec<_>>();
    let expected = of(&bench.machine);
    assert_eq!(expected.iter().map(|blob| blob.name.0).collect::<Vec<_>>(), [2, 3]);
    let mut again = Machine::new(settings(), Box::new(crate::engine_support::NoRuns));
    for (seq, change) in (1..).map(Seq).zip(&bench.journal) {
        again.apply(seq, change);
    }
    assert_eq!(of(&again), expected);
    let mut from_snapshot = Machine::new(settings(), Box::new(crate::engine_support::NoRuns));
    bench.machine.snapshot().for_each(|change| from_snapshot.apply(Seq(0), &change));
    assert_eq!(of(&from_snapshot), expected);
    assert_eq!(from_snapshot.blobs_used(), bench.machine.blobs_used());
}

#[test]
fn what_waits_for_a_place_for_files_keeps_none_of_the_others() {
    let mut settings = settings();
    let health = &mut settings.upstreams.get_mut(&"b".parse().unwrap()).unwrap().health;
    (health.ramp_from, health.burst) = (200, 200);
    let mut bench = Bench::with(settings.clone(), BEFORE);
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-12T20:00:00+08:00");
    (1..=5).for_each(|name| stored(&mut bench, name));
    let filed: Vec<Seq> = (1..=5).map(|n| bench.accepted(naming(n, &[n]))).collect();
    let plain = |n| submission(cell("b", "filing.one"), n, n);
    let plain: Vec<Seq> = (11..=20).map(|n| bench.accepted(plain(n))).collect();
    // What names files is known after a snapshot too.
    let mut again = Machine::new(settings, Box::new(NoRuns));
    bench.machine.snapshot().for_each(|change| again.apply(Seq(0), &change));
    bench.machine = again;

    let (window, cells) = ("stop".parse().unwrap(), upstream("b"));
    bench.order(Command::Restore { window, cells, ready_from: None, proof: Proof::Signed });
    let sent = |bench: &Bench| bench.out.iter().map(|o| o.transaction).collect::<Vec<_>>();
    let others = &plain[..6];
    assert_eq!(sent(&bench), [&filed[..2], others].concat(), "8 at once, 2 of them with files");

    // A place of the others goes to the others, one for files to the first that waits for it, also
    // where the attempt failed or the core went away meanwhile.
    let others = bench.out.split_off(2);
    let mut place = bench.out.split_off(1);
    bench.settle(Outcome::Transient { reason: TransientReason::Unreachable, retry_after: None });
    assert_eq!(sent(&bench), [filed[2]]);
    bench.out = others;
    bench.settle(Outcome::Applied(answer("ok")));
    assert_eq!(bench.out.last().unwrap().transaction, plain[6]);
    bench.out.append(&mut place);
    let mut order = Vec::new();
    while !bench.out.is_empty() {
        order.push(bench.settle(Outcome::Applied(answer("ok"))));
        let with_files = bench.out.iter().filter(|o| filed.contains(&o.transaction)).count();
        assert!(with_files <= 2, "{with_files} with files are out");
    }
    assert!(filed[3..].iter().chain(&plain[6..]).all(|one| order.contains(one)), "{order:?}");
}
