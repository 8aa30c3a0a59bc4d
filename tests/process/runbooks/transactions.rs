//! Scenes of single transactions: given up, in doubt, ticketed, and gone another way.

use super::page::Page;
use super::stage::{BOUND, Stage};
use crate::rig::{Client, wait_for};
use serde_json::{Value, json};

pub(super) fn redrive(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    stage.site.core.script("settlement", &json!({ "busy": { "status": 503, "probability": 1.0 } }));
    let letters = ["one", "two", "three"].map(|subject| stage.advice(subject));
    stage.until("dead_lettered", 3);
    stage.set("TRANSACTION", &letters[1]);
    stage.site.core.script("settlement", &json!({}));
    stage.play(page);
    stage.until("applied", 3);
    for subject in ["one", "two", "three"] {
        assert_eq!(stage.effects(subject), 1, "{subject}");
    }
    stage.balanced();
}

pub(super) fn in_doubt(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    // Applied, the answer lost, and whoever asks (at first a second later) gets a page for people.
    stage.site.core.script("settlement", &json!({ "lose_after": { "next": 1 } }));
    let doubt = stage.advice("doubt");
    wait_for("the loss", BOUND, || (stage.effects("doubt") == 1).then_some(()));
    stage.site.core.script("settlement", &json!({ "maintenance_page": { "probability": 1.0 } }));
    stage.until("in_doubt", 1);
    stage.set("TRANSACTION", &doubt);
    stage.play(page);
    assert_eq!(stage.state(&doubt), "applied");
    assert_eq!(stage.effects("doubt"), 1);
    stage.balanced();
}

/// A settlement that surely did not happen; its id.
pub(super) fn ticketed(stage: &Stage, subject: &str) -> String {
    let id = stage.taken(0, "settlement.out_of_area", "request", subject);
    wait_for("a ticket", BOUND, || (stage.state(&id) == "ticketed").then_some(()));
    id
}

/// The number of the open ticket of a transaction.
pub(super) fn ticket_of(stage: &Stage, id: &str) -> String {
    let tickets = stage.look("/admin/v1/tickets");
    let items = tickets["items"].as_array().unwrap();
    let ticket = items.iter().find(|item| item["transaction"] == id);
    ticket.unwrap_or_else(|| panic!("no ticket: {tickets}"))["id"].as_str().unwrap().to_owned()
}

pub(super) fn tickets(page: &Page) {
    let mut stage = Stage::new("");
    stage.start();
    stage.site.core.script("settlement", &json!({ "busy": { "status": 503, "probability": 1.0 } }));
    let (comes_back, by_hand) = (ticketed(&stage, "person-1"), ticketed(&stage, "person-2"));
    stage.site.core.script("settlement", &json!({}));
    let ticket = ticket_of(&stage, &by_hand);
    stage.set("TICKET", &ticket);
    let replaces = json!({ "replaces": comes_back });
    let again = stage.submit(0, "settlement.out_of_area", "request", "person-1-again", &replaces);
    assert_eq!(again.status, 202, "{}", again.text());
    stage.until("superseded", 1);
    let printed = stage.play(page);
    assert!(printed.contains(&ticket), "{printed}");
    let books = stage.look("/admin/v1/ledger");
    let tickets = &books["tickets"];
    assert_eq!(
        [
            &tickets["issued"],
            &tickets["open"],
            &tickets["resettled"],
            &tickets["reimbursed_manually"]
        ],
        [&json!(2), &json!(0), &json!(1), &json!(1)],
        "{books}"
    );
    assert_eq!(stage.effects("person-1-again"), 1);
    assert_eq!(stage.effects("person-1") + stage.effects("person-2"), 0);
    stage.balanced();
}

/// What an institution sends straight to the core, and hands in afterwards under the same key.
fn on_paper(subject: &str) -> Value {
    json!({
        "business": "settlement.outpatient", "operation": "advice", "insured": subject,
        "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
        "payload": { "subject": subject },
    })
}

pub(super) fn holdover_down(page: &Page) {
    let stage = Stage::with("", &["--recognise-repeats"]);
    stage.start();
    let busy = json!({ "busy": { "status": 503, "probability": 1.0 } });
    stage.site.core.script("settlement", &busy);
    let paid = ticketed(&stage, "paid-in-full");
    stage.site.core.script("settlement", &json!({}));
    let hold = json!({ "all": true, "reason": "so that it is not sent before the end",
        "until": crate::rig::after(super::stops::HOUR).to_string() });
    stage.act("/admin/v1/gates/close", &hold);
    let acknowledged = stage.advice("acknowledged");
    stage.kill();

    let mut shell = stage.open(page);
    shell.section("Why is it down");
    assert!(shell.printed().contains("inactive"), "{}", shell.printed());
    // Straight to the core, as the page says: over the institution's own line.
    let mut body = on_paper("paper-0001");
    body["replaces"] = json!(paid);
    std::fs::write(stage.root.join("paper-0001.json"), body.to_string()).unwrap();
    let url = stage.site.core.upstreams.iter().find(|(name, _)| name == "settlement");
    let address = url.unwrap().1.strip_prefix("http://").unwrap().parse().unwrap();
    let headers = [
        ("Idempotency-Key", "paper-0001"),
        ("Holdover-Institution", stage.site.submitters[0].code.as_str()),
        ("Content-Type", "application/json"),
    ];
    let mut line = Client::new(address, None);
    let payload = body["payload"].to_string();
    let answer = line.request("POST", "/transactions", &headers, payload.as_bytes()).unwrap();
    assert_eq!(answer.json()["outcome"], "applied", "{}", answer.text());
    assert_eq!(stage.effects("paper-0001"), 1);

    shell.section("Start it again");
    // What has a receipt, and what is repeated with its key, is one transaction.
    let repeat = stage.submit(0, "settlement.outpatient", "advice", "acknowledged", &json!({}));
    assert_eq!(repeat.json()["id"], json!(acknowledged), "{}", repeat.text());
    let open = json!({ "all": true, "reason": "the end of the drill" });
    stage.act("/admin/v1/gates/open", &open);
    shell.section("On paper: it rejoins as an advice");
    shell.close();
    stage.until("applied", 2);
    assert_eq!(stage.effects("acknowledged"), 1);
    let calls = stage.site.core.calls();
    let of =
        |kind: &str| calls.iter().filter(|c| c["kind"] == kind && c["key"] == "paper-0001").count();
    assert_eq!((of("effect"), of("repeat")), (1, 1), "{calls:#?}");
    // Handed in twice: the first receipt, and nothing more is sent.
    let key = [("Idempotency-Key", "paper-0001"), ("Content-Type", "application/json")];
    let body = body.to_string();
    let twice = stage.client(0).request("POST", "/v1/transactions", &key, body.as_bytes()).unwrap();
    assert_eq!(twice.status, 202, "{}", twice.text());
    assert_eq!(stage.items("accepted"), 3);
    let tickets = &stage.look("/admin/v1/ledger")["tickets"];
    assert_eq!((&tickets["open"], &tickets["resettled"]), (&json!(0), &json!(1)), "{tickets}");
    stage.balanced();
}
