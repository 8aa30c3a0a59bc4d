//! What one person alone may not do: which orders they are, and how the second person agrees.

use crate::engine_scenarios::{Bench, at, row, settlement, upstream, window};
use crate::engine_support::{NoRuns, cell, settings, submission};
use crate::house::{House, NOW, Says, Shelf};
use holdover::admin::audit::{FILE_NAME, tail};
use holdover::domain::cell::Selector;
use holdover::domain::consent::Deed;
use holdover::domain::outcome::{DoubtReason, Outcome};
use holdover::domain::policy::Disposition;
use holdover::domain::revision::Revision;
use holdover::domain::state::State;
use holdover::domain::window::{Proof, Window};
use holdover::engine::event::{Command, Event, Fault, Order, Reply};
use holdover::engine::machine::Machine;
use holdover::engine::settings::Settings;
use holdover::engine::step::Decision;
use holdover::web::access::{Holder, NewKey, Scope, create};
use serde_json::{Value, json};
use std::sync::Arc;

fn guarded() -> Settings {
    Settings { two_persons_for: Deed::ALL.to_vec(), ..settings() }
}

/// A window over both parts: `a` is planned to be back a day earlier than `b`.
fn staged() -> Window {
    let mut stop = window(Disposition::Hold);
    let mut first = row(upstream("a"), Disposition::Hold);
    first.ends_at = Some(at("2022-08-14T06:00:00+08:00"));
    stop.policy = vec![first, row(upstream("b"), Disposition::Hold)];
    stop
}

fn revision(window: &Window) -> Revision {
    Revision {
        zone: window.zone,
        planned: window.planned,
        notice: window.notice.clone(),
        policy: window.policy.clone(),
        deadlines: window.deadlines.clone(),
        restore_by: window.restore_by,
        cutoff_minutes: window.cutoff_minutes,
    }
}

fn restore(part: &str) -> Command {
    let (window, cells) = ("stop".parse().unwrap(), upstream(part));
    Command::Restore { window, cells, ready_from: None, proof: Proof::Signed }
}

fn end(row: Option<u32>, ends_at: &str) -> Command {
    let (window, ends_at) = ("stop".parse().unwrap(), at(ends_at));
    Command::MoveWindowEnd { window, row, ends_at, if_version: None }
}

fn change(bench: &Bench, alter: impl FnOnce(&mut Revision)) -> Command {
    let mut to = revision(&bench.machine.windows()[0]);
    alter(&mut to);
    let window = "stop".parse().unwrap();
    Command::ChangeWindow { window, to: Box::new(to), if_version: None }
}

/// The deed for which an order needs a second person; `None` where it was carried out or refused
/// for another reason.
fn deed(bench: &mut Bench, command: Command) -> Option<Deed> {
    match bench.order(command) {
        Some(Reply::Invalid(Fault::TwoPersons(deed, _))) => Some(deed),
        _ => None,
    }
}

#[test]
fn an_order_needs_two_persons_where_it_lets_go_early_and_nowhere_else() {
    let mut bench = Bench::with(guarded(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(staged())));
    // Nothing of it has begun: planning it anew opens nothing.
    assert_eq!(deed(&mut bench, end(None, "2022-08-15T07:00:00+08:00")), None);
    assert_eq!(deed(&mut bench, end(None, "2022-08-15T06:00:00+08:00")), None);

    bench.set("2022-08-13T10:00:00+08:00");
    let early = Some(Deed::OpenEarly);
    assert_eq!(deed(&mut bench, restore("b")), early);
    let later = |ready: &str| {
        let (window, cells, ready_from) = ("stop".parse().unwrap(), upstream("b"), Some(at(ready)));
        Command::Restore { window, cells, ready_from, proof: Proof::Signed }
    };
    for ready in ["2022-08-15T05:59:00+08:00", "2022-08-15T07:00:00+08:00"] {
        assert_eq!(deed(&mut bench, later(ready)), early, "the end may still be put off");
    }
    assert_eq!(deed(&mut bench, end(None, "2022-08-14T20:00:00+08:00")), early);
    assert_eq!(deed(&mut bench, end(Some(0), "2022-08-13T20:00:00+08:00")), early);
    let ends_at = Some(at("2022-08-13T20:00:00+08:00"));
    let sooner = change(&bench, |to| to.policy[0].ends_at = ends_at);
    assert_eq!(deed(&mut bench, sooner), early);
    assert_eq!(deed(&mut bench, end(None, "2022-08-15T09:00:00+08:00")), None, "later is later");

    bench.set("2022-08-14T06:30:00+08:00");
    assert_eq!(deed(&mut bench, restore("a")), None, "its planned end has passed");
    assert_eq!(deed(&mut bench, restore("b")), early, "this one's has not");

    let until = at("2022-08-14T20:00:00+08:00");
    let cells = || upstream("a");
    assert_eq!(deed(&mut bench, Command::CloseGate { cells: cells(), until }), None);
    assert_eq!(deed(&mut bench, Command::OpenGate { cells: cells() }), early);
    let sooner = at("2022-08-14T07:00:00+08:00");
    assert_eq!(deed(&mut bench, Command::ExtendGate { cells: cells(), until: sooner }), early);
    assert_eq!(deed(&mut bench, Command::CloseGate { cells: cells(), until: sooner }), early);
    let later = at("2022-08-14T21:00:00+08:00");
    assert_eq!(deed(&mut bench, Command::ExtendGate { cells: cells(), until: later }), None);
    let other = Command::OpenGate { cells: Selector::default() };
    assert!(matches!(bench.order(other), Some(Reply::Invalid(Fault::NotFound(_)))));
}

#[test]
fn a_doubt_and_the_rule_of_a_published_window_need_two_persons() {
    let mut bench = Bench::with(guarded(), "2022-08-12T17:00:00+08:00");
    bench.submit(settlement(1));
    let transaction = bench.out[0].transaction;
    let verdict = |verdict| Command::ResolveDoubt { transaction, verdict };
    let reply = bench.order(verdict(State::Applied));
    assert!(matches!(reply, Some(Reply::Invalid(Fault::WrongState { .. }))), "{reply:?}");
    bench.settle(Outcome::InDoubt(DoubtReason::Cut));
    assert_eq!(deed(&mut bench, verdict(State::Applied)), Some(Deed::ResolveDoubt));

    let rule = |days: u32| {
        serde_json::from_value(json!({
            "rule": {"restore_plus_working_days": days}, "clause": "1",
            "legal_basis": "the notice's own words", "business": ["filing.one"],
            "restart_of": ["b"],
        }))
        .unwrap()
    };
    let mut stop = staged();
    stop.deadlines = Some(rule(7));
    let reply = bench.order(Command::DeclareWindow(Box::new(stop)));
    assert!(matches!(reply, Some(Reply::Done(_))), "{reply:?}");
    let shorter = change(&bench, |to| to.deadlines = Some(rule(5)));
    assert_eq!(deed(&mut bench, shorter), Some(Deed::ShortenDate));
    let taken_away = change(&bench, |to| to.deadlines = None);
    assert_eq!(deed(&mut bench, taken_away), Some(Deed::ShortenDate));
    // What its conditions look at may switch a rule off.
    let reworded = |to: &mut Revision| to.notice.as_mut().unwrap().source = "another".to_owned();
    let reply = change(&bench, reworded);
    assert_eq!(deed(&mut bench, reply), None, "it has none");
    let same = change(&bench, |to| to.cutoff_minutes = Some(10));
    assert_eq!(deed(&mut bench, same), None);
}

#[test]
fn what_another_agrees_to_is_carried_out_in_both_names_and_never_in_one() {
    let mut bench = Bench::with(guarded(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(staged())));
    bench.set("2022-08-13T10:00:00+08:00");
    let of = |by: &str| {
        let (by, reason) = (by.to_owned(), "proved".to_owned());
        let to = Box::new(Order { by, reason, command: restore("b") });
        Command::Agreed { to, seen: 1 }
    };
    // The bench orders as "operator".
    let alone = bench.order(of("operator"));
    assert!(matches!(alone, Some(Reply::Invalid(Fault::Invalid(_)))), "{alone:?}");
    assert_eq!(bench.machine.windows()[0].version, 1);
    assert!(matches!(bench.order(of("Li Na")), Some(Reply::Done(_))));
    let window = &bench.machine.windows()[0];
    assert_eq!((window.author.as_str(), window.reason.as_str()), ("Li Na and operator", "proved"));
    assert_eq!(window.restores[0].by, "Li Na and operator");
    let Some(Reply::Invalid(stale)) = bench.order(of("Wang Wei")) else { panic!() };
    assert_eq!(
        stale.to_string(),
        "what the proposal is about is not as it was when it was proposed, which does not allow this"
    );
    let twice = of("Li Na");
    let (by, reason) = ("Wang Wei".to_owned(), "proved".to_owned());
    let nested = Command::Agreed { to: Box::new(Order { by, reason, command: twice }), seen: 0 };
    let nested = bench.order(nested);
    assert!(matches!(nested, Some(Reply::Invalid(Fault::Invalid(_)))), "{nested:?}");
}

#[test]
fn nobody_needs_a_second_person_unless_that_is_set() {
    let mut bench = Bench::with(settings(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(staged())));
    bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    bench.set("2022-08-13T10:00:00+08:00");
    assert!(matches!(bench.order(restore("b")), Some(Reply::Done(_))));
}

fn operator(house: &House, name: &str, scopes: &[Scope]) -> String {
    let holder = Holder::Operator { name: name.to_owned() };
    let new = NewKey { holder, scopes: scopes.to_vec(), created_at: at(NOW), expires_at: None };
    create(&house.folder.path().join("keys.json"), new).unwrap()
}

/// Who did what with which outcome by the audit log, and the number of its third record.
fn acts(house: &House) -> (Vec<Value>, u64) {
    let log = tail(&house.folder.path().join(FILE_NAME), 100).unwrap();
    let acts = log.iter().map(|record| {
        let entry = &record.entry;
        json!([entry.actor, entry.action, entry.outcome])
    });
    (acts.collect(), log[2].seq)
}

#[tokio::test]
async fn g5_one_person_alone_cannot_open_early_with_any_key() {
    let shelf = Shelf::default();
    let machine = Machine::new(guarded(), Box::new(NoRuns));
    let (journal, reader) = (Box::new(shelf.clone()), Arc::new(shelf));
    let house = House::over(machine, Decision::default(), journal, reader, Says(Ok(None)));
    let all = [Scope::Read, Scope::Operate, Scope::Approve];
    let (li, again) = (house.operator.clone(), operator(&house, "Li Na", &all));
    let (wang, reader) = (operator(&house, "Wang Wei", &all), operator(&house, "Wu", &all[..2]));
    let stop = json!({
        "id": "stop", "starts_at": "2022-08-12T19:00:00+08:00",
        "ends_at": "2022-08-15T06:00:00+08:00", "restore_by": "signed",
        "notice": {"source": "the bureau", "published_at": "2022-08-09T10:00:00+08:00"},
        "policy": [{"clause": "1", "disposition": "hold"}], "reason": "the notice",
    });
    let (status, _, told) = house.send("POST", "/admin/v1/windows", &li, &stop).await;
    assert_eq!(status, 201, "{told}");

    let body = json!({"all": true, "reason": "the centre says that it is back"});
    let path = "/admin/v1/windows/stop/restore";
    let (status, _, told) = house.send("POST", path, &li, &body).await;
    assert_eq!((status, told["code"].as_str()), (409, Some("two_persons")), "{told}");
    let id = told["proposal"].as_u64().unwrap();
    let version = || async { house.get("/admin/v1/windows/stop", &li).await["version"].clone() };
    assert_eq!(version().await, 1, "nothing was done");
    // Given again, by whomever, it is the same proposal.
    for key in [&li, &again, &wang] {
        let (status, _, told) = house.send("POST", path, key, &body).await;
        assert_eq!((status, &told["proposal"]), (409, &json!(id)), "{told}");
        assert!(told["detail"].as_str().unwrap().contains(&format!("proposal {id}")), "{told}");
    }
    let listed = house.get("/admin/v1/proposals", &wang).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let (one, deed) = (&listed[0], "open_early");
    assert_eq!((&one["id"], &one["by"], &one["deed"]), (&json!(id), &json!("Li Na"), &json!(deed)));
    let status = house.get("/admin/v1/status", &wang).await;
    assert!(status["needs"].to_string().contains("proposal_waits"), "{status}");

    let path = format!("/admin/v1/proposals/{id}/approve");
    for key in [&li, &again] {
        assert_eq!(house.post(&path, key, json!({})).await.1, "two_persons", "the same person");
    }
    assert_eq!(house.post(&path, &reader, json!({})).await.0, 403, "it takes the scope approve");
    assert_eq!(version().await, 1);
    let (status, _, told) =
        house.send("POST", &path, &wang, &json!({"reason": "so they say"})).await;
    assert_eq!(status, 200, "{told}");
    let window = house.get("/admin/v1/windows/stop", &li).await;
    let author = &window["author"];
    assert_eq!((&window["version"], author), (&json!(2), &json!("Li Na and Wang Wei")));
    assert_eq!(window["phase"], "completed");
    assert_eq!(house.post(&path, &wang, json!({})).await.1, "not_found", "it is settled once");

    let (acts, proposed) = acts(&house);
    assert_eq!(
        acts[2..],
        [
            json!(["Li Na", "window.restore", "begun"]),
            json!(["Li Na", "window.restore", "proposed"]),
            json!(["Li Na", "window.restore", "begun"]),
            json!(["Li Na", "window.restore", "refused"]),
            json!(["Li Na", "window.restore", "begun"]),
            json!(["Li Na", "window.restore", "refused"]),
            json!(["Wang Wei", "window.restore", "begun"]),
            json!(["Wang Wei", "window.restore", "refused"]),
            json!(["Li Na", "proposal.approve", "begun"]),
            json!(["Li Na", "proposal.approve", "refused"]),
            json!(["Li Na", "proposal.approve", "begun"]),
            json!(["Li Na", "proposal.approve", "refused"]),
            json!(["Wang Wei", "proposal.approve", "begun"]),
            json!(["Wang Wei", "proposal.approve", "done"]),
        ]
    );
    assert_eq!(id, proposed);
    house.close();
}

#[tokio::test]
async fn a_proposal_that_is_rejected_does_nothing_and_says_who_turned_it_down() {
    let shelf = Shelf::default();
    let machine = Machine::new(guarded(), Box::new(NoRuns));
    let (journal, reader) = (Box::new(shelf.clone()), Arc::new(shelf));
    let house = House::over(machine, Decision::default(), journal, reader, Says(Ok(None)));
    let close = json!({"all": true, "until": "2022-08-13T12:00:00+08:00", "reason": "odd"});
    assert_eq!(house.send("POST", "/admin/v1/gates/close", &house.operator, &close).await.0, 200);
    let open = json!({"all": true});
    let (status, code, detail) = house.post("/admin/v1/gates/open", &house.operator, open).await;
    assert_eq!((status, code.as_str()), (409, "two_persons"));
    assert!(detail.contains("lapses in 1 h"), "{detail}");
    let listed = house.get("/admin/v1/proposals", &house.operator).await;
    let path = format!("/admin/v1/proposals/{}/reject", listed[0]["id"]);
    assert_eq!(house.post(&path, &house.operator, json!({})).await.0, 200);
    assert_eq!(house.get("/admin/v1/proposals", &house.operator).await, json!([]));
    assert_eq!(house.post(&path, &house.operator, json!({})).await.1, "not_found");
    let gates = house.get("/admin/v1/gates", &house.operator).await;
    assert_eq!(gates["overrides"].as_array().unwrap().len(), 1, "it is closed as before");
    house.close();
}

#[test]
fn a_clock_that_was_set_is_believed_by_two() {
    let mut settings = guarded();
    settings.limits.clock_jump_max = Some(std::time::Duration::from_secs(60));
    let mut bench = Bench::with(settings, "2022-08-12T17:00:00+08:00");
    bench.step(Event::Tick);
    bench.ahead_ms = 7_200_000;
    bench.step(Event::Tick);
    assert_eq!(deed(&mut bench, Command::TrustClock), Some(Deed::OpenEarly));
    bench.ahead_ms = -7_200_000;
    bench.step(Event::Tick);
    let early = deed(&mut bench, Command::TrustClock);
    assert_eq!(early, Some(Deed::OpenEarly), "by one that is behind the stop has not begun");
}

#[test]
fn a_district_that_nobody_came_from_is_opened_early_by_two_all_the_same() {
    let mut bench = Bench::with(guarded(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(staged())));
    bench.set("2022-08-13T10:00:00+08:00");
    let cells = Selector { district: vec!["110109".parse().unwrap()], ..upstream("b") };
    let window = "stop".parse().unwrap();
    let command = Command::Restore { window, cells, ready_from: None, proof: Proof::Signed };
    assert_eq!(deed(&mut bench, command), Some(Deed::OpenEarly));
}

#[test]
fn what_was_agreed_to_is_what_was_looked_at() {
    let mut bench = Bench::with(guarded(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(staged())));
    bench.set("2022-08-13T10:00:00+08:00");
    let Some(Reply::Invalid(Fault::TwoPersons(_, seen))) = bench.order(restore("b")) else {
        panic!("one person alone")
    };
    // A colleague puts the end off meanwhile, and for a reason.
    bench.order(end(None, "2022-08-15T12:00:00+08:00"));
    let (by, reason) = ("Li Na".to_owned(), "proved".to_owned());
    let to = Box::new(Order { by, reason, command: restore("b") });
    let agreed = bench.order(Command::Agreed { to, seen });
    assert!(matches!(agreed, Some(Reply::Invalid(Fault::WrongState { .. }))), "{agreed:?}");
    assert!(bench.machine.windows()[0].restores.is_empty());
}
