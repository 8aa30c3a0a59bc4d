//! The worklist of results that have not been told: complete through ends, snapshots and
//! restarts, and done with by telling alone.

use crate::engine_support::{answer, cell};
use crate::house::{Desk, House, NOW};
use crate::intake_rig::at;
use holdover::domain::ids::Seq;
use holdover::domain::money::Money;
use holdover::domain::numbers::Numbers;
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::state::State;
use holdover::engine::change::Change;
use holdover::engine::event::{Command, Submission};
use holdover::engine::ports::Answer;
use holdover::engine::search::{Among, Search};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;

fn applied() -> Outcome<Answer> {
    Outcome::Applied(answer("{}"))
}

fn refused() -> Outcome<Answer> {
    Outcome::Refused { code: "E1".to_owned(), answer: answer("{}") }
}

async fn ids(house: &House, query: &str) -> Vec<String> {
    let page = house.get(&format!("/admin/v1/transactions?{query}"), &house.operator).await;
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn worklist(house: &House) -> Vec<Value> {
    let page = house.get("/admin/v1/transactions?told=false", &house.operator).await;
    page["items"].as_array().unwrap().clone()
}

/// What of `status` is about the duty to tell.
fn untold_need(status: &Value) -> Value {
    let needs = status["needs"].as_array().unwrap().iter();
    needs.filter(|need| need["code"] == "results_untold").cloned().collect()
}

fn pre_accepted(submission: &mut Submission) {
    submission.line.normal = Disposition::PreAccept;
}

/// Every kind of it: applied, refused, taken back, told, waiting, and one that nobody must tell.
/// In a snapshot, and one more after it.
fn fill(folder: &Path) -> [Seq; 7] {
    let mut desk = Desk::open(folder);
    let paid = desk.tried(applied(), |s| {
        pre_accepted(s);
        s.amount = Money::from_fen(12_345).unwrap();
    });
    let no = desk.tried(refused(), |s| {
        pre_accepted(s);
        s.institution = "H11010500002".parse().unwrap();
    });
    let told = desk.tried(applied(), pre_accepted);
    desk.order(Command::ResultTold { transaction: told, how: "letter".to_owned() });
    let ordinary = desk.tried(applied(), |_| {});
    desk.close_gates();
    let mut elsewhere = || {
        desk.accept(|s| {
            pre_accepted(s);
            s.cell = cell("b", "filing.two");
        })
    };
    let (back, waits) = (elsewhere(), elsewhere());
    desk.withdraw(back);
    desk.opened.snapshots.write(desk.machine.last(), desk.machine.snapshot()).unwrap();
    let late = desk.accept(|s| {
        pre_accepted(s);
        s.amount = Money::from_fen(7).unwrap();
    });
    desk.withdraw(late);
    desk.opened.journal.close().unwrap();
    [paid, no, told, ordinary, back, waits, late]
}

#[tokio::test]
async fn a_result_stays_on_the_worklist_through_its_end_and_a_restart_until_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let [paid, no, told, ordinary, back, waits, late] = fill(folder.path());
    let house = Desk::open(folder.path()).house();
    let id = |seq| Numbers::default().transaction(seq).to_string();

    let list = worklist(&house).await;
    let rows: Vec<_> = list.iter().map(|t| (&t["id"], &t["state"], &t["amount"])).collect();
    let row = |seq, state, amount: &str| (json!(id(seq)), json!(state), json!(amount));
    let expected = [
        row(paid, "applied", "123.45"),
        row(no, "refused", "1.00"),
        row(back, "withdrawn", "1.00"),
        row(waits, "waiting", "1.00"),
        row(late, "withdrawn", "0.07"),
    ];
    assert_eq!(rows, expected.iter().map(|(a, b, c)| (a, b, c)).collect::<Vec<_>>());
    // A row says what its page says, and its page what the journal says.
    for row in &list {
        let path = format!("/admin/v1/transactions/{}", row["id"].as_str().unwrap());
        let mut page = house.get(&path, &house.operator).await;
        page.as_object_mut().unwrap().remove("history").unwrap();
        assert_eq!(&page, row);
        assert_eq!(row["ended_at"].is_null(), row["state"] == "waiting", "{row}");
        assert_eq!(
            (&row["accepted_at"], &row["result_told"]),
            (&list[0]["ended_at"], &json!(false))
        );
    }
    assert_eq!((&list[0]["attempts"], &list[2]["attempts"]), (&json!(1), &json!(0)));

    // The filters of the list hold for what is final too.
    for (query, expected) in [
        ("told=false&institution=H11010500002", vec![id(no)]),
        ("told=false&business=filing.two", vec![id(back), id(waits)]),
        ("told=false&upstream=a&state=withdrawn", vec![id(late)]),
        ("told=false&state=waiting", vec![id(waits)]),
        ("told=false&held=true", vec![id(waits)]),
        ("told=false&gate=closed_by_operator", vec![id(waits)]),
        ("told=false&district=110102", vec![]),
        ("told=true", vec![]),
        ("", vec![id(waits)]),
    ] {
        assert_eq!(ids(&house, query).await, expected, "{query}");
    }
    let first = house.get("/admin/v1/transactions?told=false&limit=3", &house.operator).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = ids(&house, &format!("told=false&limit=3&cursor={cursor}")).await;
    assert_eq!((first["items"].as_array().unwrap().len(), rest), (3, vec![id(waits), id(late)]));

    // Its submitter sees the same, of one that was told too.
    for (seq, expected) in
        [(paid, json!(false)), (told, json!(true)), (ordinary, Value::Null), (waits, json!(false))]
    {
        let shown = house.get(&format!("/v1/transactions/{}", id(seq)), &house.mine).await;
        assert_eq!(shown["result_told"], expected, "{shown}");
    }

    // Telling removes it, and that is remembered.
    let tell = |seq| format!("/admin/v1/transactions/{}/told", id(seq));
    let how = || json!({"how": "telephone"});
    let (status, ..) = house.post(&tell(no), &house.operator, how()).await;
    assert_eq!(status, 200);
    assert_eq!(ids(&house, "told=false&institution=H11010500002").await, Vec::<String>::new());
    assert_eq!(house.post(&tell(no), &house.operator, how()).await.1, "wrong_state");
    assert_eq!(house.post(&tell(waits), &house.operator, how()).await.1, "wrong_state");
    let shown = house.get(&format!("/admin/v1/transactions/{}", id(no)), &house.operator).await;
    assert_eq!((&shown["state"], &shown["result_told"]), (&json!("refused"), &json!(true)));
    assert!(shown["ended_at"].is_string());
    house.close();
    let house = Desk::open(folder.path()).house();
    assert_eq!(ids(&house, "told=false").await, [paid, back, waits, late].map(id));
}

#[tokio::test]
async fn whoever_is_still_to_be_told_is_a_duty_that_the_status_names_and_nobody_is_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let [_, no, _, ordinary, ..] = fill(folder.path());
    let house = Desk::open(folder.path()).house();
    let tell = |seq| format!("/admin/v1/transactions/{}/told", Numbers::default().transaction(seq));
    let how = || json!({"how": "telephone"});
    // One that still waits is not among them.
    let status = house.get("/admin/v1/status", &house.operator).await;
    let duty = json!([{
        "code": "results_untold",
        "what": "pre-accepted results that the person was not told yet: 4",
        "next": "holdover transaction list --untold, then holdover transaction told ID …",
    }]);
    assert_eq!(untold_need(&status), duty);
    assert_eq!(house.post(&tell(no), &house.operator, how()).await.0, 200);
    let status = house.get("/admin/v1/status", &house.operator).await;
    assert!(untold_need(&status)[0]["what"].as_str().unwrap().ends_with(": 3"), "{status}");
    let (_, code, again) = house.post(&tell(no), &house.operator, how()).await;
    assert_eq!(code, "wrong_state");
    assert_eq!(
        again,
        "the result is noted as told already (telephone, by Li Na), which does not allow this"
    );
    let of_nobody = house.post(&tell(ordinary), &house.operator, how()).await.2;
    assert_eq!(of_nobody, "the transaction is applied, which does not allow this");
    house.close();
    let desk = Desk::open(folder.path());
    assert_eq!(desk.machine.results_untold(), 3, "counted anew after a restart");
}

#[test]
fn a_look_at_the_worklist_is_as_short_as_any() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(folder.path());
    desk.close_gates();
    let first = desk.accept(pre_accepted);
    let Change::Accepted(record) = desk.opened.reader.read(first).unwrap() else { panic!() };
    let mut machine = desk.machine;
    for seq in (first.0 + 100..).step_by(2).take(50_000) {
        machine.apply(Seq(seq), &Change::Accepted(record.clone()));
        let (by, reason) = ("submitter".to_owned(), "because".to_owned());
        let change = Change::Withdrawn { transaction: Seq(seq), by, reason, at: at(NOW) };
        machine.apply(Seq(seq + 1), &change);
    }
    let (mut search, mut looks) = (Search::new(Seq(0), 10, Among::Untold), 1);
    let found = loop {
        match machine.search(search, |one| one.state == State::Refused, Some) {
            ControlFlow::Break(found) => break found,
            ControlFlow::Continue(more) => search = more,
        }
        looks += 1;
    };
    assert_eq!((found.items, found.next, looks), (vec![], None, 3));
}
