//! The history of one transaction: whole, and not looked for where there is none.

use crate::house::{Desk, House};
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::engine::change::Change;
use holdover::engine::ports::{JournalReader, ReadError};
use serde_json::Value;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts how often the journal is searched.
struct Counted {
    reader: Arc<dyn JournalReader>,
    scans: AtomicUsize,
}

impl JournalReader for Counted {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        self.reader.read(seq)
    }
    fn scan(
        &self,
        from: Seq,
        visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.scans.fetch_add(1, Ordering::SeqCst);
        self.reader.scan(from, visit)
    }
    fn last(&self) -> Seq {
        self.reader.last()
    }
}

/// What happened, by submitters' and operators' words, and how many searches that took.
async fn histories(house: &House, counted: &Counted, seq: Seq) -> ([Vec<String>; 2], usize) {
    let before = counted.scans.load(Ordering::SeqCst);
    let id = Numbers::default().transaction(seq);
    let told = |page: &Value, name: &str| -> Vec<String> {
        let events = page["history"].as_array().unwrap().iter();
        events.map(|event| event[name].as_str().unwrap().to_owned()).collect()
    };
    let submitters = house.get(&format!("/v1/transactions/{id}"), &house.mine).await;
    assert_eq!(submitters["history_complete"], true);
    let operators = house.get(&format!("/admin/v1/transactions/{id}"), &house.operator).await;
    for page in [&submitters, &operators] {
        assert_eq!(
            (&page["state"], page["id"].as_str()),
            (&"waiting".into(), Some(&*id.to_string()))
        );
    }
    let scans = counted.scans.load(Ordering::SeqCst) - before;
    ([told(&submitters, "event"), told(&operators, "what")], scans)
}

/// One that was tried, one that was not, and others behind them.
fn desk(folder: &std::path::Path) -> (Desk, Seq, Seq) {
    let mut desk = Desk::open(folder);
    let busy = Outcome::Transient { reason: TransientReason::Busy, retry_after: None };
    let tried = desk.tried(busy, |_| {});
    desk.close_gates();
    let waits = desk.accept(|_| {});
    for _ in 0..5 {
        desk.accept(|_| {});
    }
    (desk, tried, waits)
}

const TRIED: [&str; 3] = ["accepted", "attempt_started", "transient"];

#[tokio::test]
async fn one_that_was_never_tried_is_told_without_a_search() {
    let folder = tempfile::tempdir().unwrap();
    let (desk, tried, waits) = desk(folder.path());
    let counted =
        Arc::new(Counted { reader: desk.opened.reader.clone(), scans: AtomicUsize::new(0) });
    let house = desk.house_reading(counted.clone());
    let (told, scans) = histories(&house, &counted, waits).await;
    assert_eq!((told, scans), ([["accepted"]; 2].map(|told| told.map(str::to_owned).into()), 0));
    let (told, scans) = histories(&house, &counted, tried).await;
    assert_eq!((told, scans), ([TRIED; 2].map(|told| told.map(str::to_owned).into()), 2));
}

#[tokio::test]
async fn where_records_are_lost_the_journal_is_searched_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (mut desk, _, waits) = desk(folder.path());
    desk.machine.quarantine();
    let counted =
        Arc::new(Counted { reader: desk.opened.reader.clone(), scans: AtomicUsize::new(0) });
    let house = desk.house_reading(counted.clone());
    assert_eq!(histories(&house, &counted, waits).await.1, 2);
}
