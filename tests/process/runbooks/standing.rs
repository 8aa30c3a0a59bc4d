//! The standing scene of the pages of alerts and error codes: a night in which everything there is
//! to look at is there. Their commands change nothing, and that is proved at the end.

use super::page::Page;
use super::stage::{BOUND, Stage};
use super::stops::{HOUR, on};
use super::transactions::{ticket_of, ticketed};
use crate::rig::wait_for;
use serde_json::{Value, json};
use std::sync::Mutex;

/// How many pages are read at the same time.
const READERS: usize = 4;

/// What is given up soon stays so, and the agency answers no question.
const CONFIG: &str = "[upstream.agency]\nanswers_questions = false\n";

/// The day of a case that somebody registered.
const DAY: &str = "2026-12-01";

fn night() -> Stage {
    let mut stage = Stage::new(CONFIG);
    stage.start();
    let busy = json!({ "busy": { "status": 503, "probability": 1.0 } });
    stage.site.core.script("settlement", &busy);
    stage.advice("given-up");
    let ticketed = ticketed(&stage, "paid-in-full");
    stage.until("dead_lettered", 1);
    stage.site.core.script("settlement", &json!({}));
    stage.site.core.script("agency", &json!({ "lose_after": { "next": 1 } }));
    let doubt = stage.taken(3, "filing.out_of_area", "apply", "doubt");
    stage.until("in_doubt", 1);
    let case = json!({ "business": "reimbursement.manual", "original": DAY, "reference": "c" });
    let case = stage.client(3).send("POST", "/v1/deadlines", &case).unwrap();
    assert_eq!(case.status, 201, "{}", case.text());
    on(&stage, "probes", HOUR);
    stage.advice("held");
    assert_eq!(stage.items("waiting"), 1);
    let ticket = ticket_of(&stage, &ticketed);
    let key = stage.site.submitters[0].key.split('_').nth(2).unwrap().to_owned();
    for (name, value) in
        [("TRANSACTION", doubt.as_str()), ("TICKET", &ticket), ("DEADLINE", DAY), ("KEY", &key)]
    {
        stage.set(name, value);
    }
    wait_for("the listings", BOUND, || {
        let listed = stage.client(0).get("/v1/transactions").unwrap();
        (listed.status == 200).then_some(())
    });
    stage
}

/// Everything that a command could change.
fn standing(stage: &Stage) -> Value {
    let mut books = stage.look("/admin/v1/ledger");
    for clocked in ["at", "intake"] {
        books.as_object_mut().unwrap().remove(clocked);
    }
    json!({
        "acts": stage.look("/admin/v1/audit")["head"], "books": books,
        "windows": stage.look("/admin/v1/windows?next=0"),
        "closings": stage.look("/admin/v1/gates")["overrides"],
        "cases": stage.look("/admin/v1/deadlines"),
        "keys": std::fs::read_to_string(&stage.keys).unwrap(),
        "config": std::fs::read_to_string(&stage.config).unwrap(),
    })
}

pub(super) fn play(pages: &[Page]) {
    let stage = night();
    let before = standing(&stage);
    let left = Mutex::new(pages.iter().filter(|page| !page.commands().is_empty()));
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(page) = next else { return };
                    let read = std::panic::AssertUnwindSafe(|| stage.play(page));
                    if let Err(why) = std::panic::catch_unwind(read) {
                        let why = why.downcast_ref::<String>().cloned();
                        failures.lock().unwrap().push(why.unwrap_or_else(|| page.path.clone()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} pages:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(standing(&stage), before, "a page of an alert or a code has changed something");
    stage.balanced();
}
