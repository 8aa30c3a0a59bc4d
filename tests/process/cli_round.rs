//! One round of an operator's work against a real daemon, with nothing but the command line:
//! windows, gates, dead letters, doubts, tickets, books, audit and journal, and every exit code
//! that scripts rest on.

use crate::rig::{Client, Daemon, HOLDOVER, Site, Submitter, after, wait_for};
use holdover::daemon::driven::ClockServer;
use holdover::daemon::tasks::Tasks;
use holdover::domain::identity::synthetic_resident;
use holdover::domain::time::CivilDate;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(20);

/// Sure failures end soon, doubts stay until somebody acts, and the agency answers no question.
const CONFIG: &str = r#"
[retry]
failures_max = 2

[upstream.settlement]
settle_time = "1h"

[upstream.agency]
answers_questions = false
"#;

/// Filings wait for a person's word, everything else goes on.
const POLICY: &str = r#"
[notice]
source = "the authority's notice of a move"
published_at = "2026-01-05T10:00:00+08:00"

[[policy]]
clause = "1"
disposition = "hold_for_release"
cells = { business = ["filing.*"] }

[[policy]]
clause = "not_in_notice"
disposition = "pass"
decided_because = "the notice names filings only"
cells = { business = ["settlement.*", "reimbursement.*", "service.*"] }
"#;

/// The command line of one person.
struct Cli {
    admin: String,
    key_file: PathBuf,
}

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    said: String,
}

impl Cli {
    fn new(site: &Site, daemon: &Daemon, name: &str, key: &str) -> Self {
        let key_file = site.folder().join(name);
        std::fs::write(&key_file, key).unwrap();
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self { admin: format!("http://{}", daemon.operators), key_file }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(HOLDOVER);
        command.args(["--json", "--admin", &self.admin, "--key-file"]).arg(&self.key_file);
        let output = command.args(args).output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            said: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command prints and says for people.
    fn tells(&self, args: &[&str]) -> String {
        let mut command = Command::new(HOLDOVER);
        command.args(["--admin", &self.admin, "--key-file"]).arg(&self.key_file);
        let output = command.args(args).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Runs a command that must end with `code`; what it printed.
    fn ends(&self, code: i32, args: &[&str]) -> Value {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "{args:?}: {}{}", ended.out, ended.said);
        serde_json::from_str(&ended.out).unwrap_or(Value::Null)
    }

    fn does(&self, args: &[&str]) -> Value {
        let printed = self.ends(0, args);
        assert!(!printed.is_null(), "{args:?} printed no JSON");
        printed
    }

    /// Runs a command that must fail with `code` and say something with `word` in it.
    fn fails(&self, code: i32, word: &str, args: &[&str]) {
        let ended = self.run(args);
        assert_eq!(ended.code, code, "{args:?}: {}{}", ended.out, ended.said);
        assert!(ended.said.contains(word), "{args:?}: {}", ended.said);
    }

    fn state(&self, id: &str) -> String {
        let shown = self.does(&["transaction", "show", id]);
        let state = shown.pointer("/transaction/state").or_else(|| shown.get("state"));
        state.and_then(Value::as_str).unwrap_or_else(|| panic!("no state: {shown}")).to_owned()
    }

    fn until(&self, id: &str, state: &str) {
        wait_for(&format!("{id} {state}"), BOUND, || (self.state(id) == state).then_some(()));
    }

    fn ids(&self, args: &[&str]) -> Vec<String> {
        let page = self.does(args);
        let items = page["items"].as_array().unwrap_or_else(|| panic!("no page: {page}"));
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Submits as an institution's system does; the operator's part is the command line's.
struct Counter<'a> {
    client: Client,
    submitter: &'a Submitter,
    number: u32,
}

impl Counter<'_> {
    fn post(&mut self, business: &str, operation: &str, wait: Option<u32>) -> String {
        self.number += 1;
        let mut body = json!({
            "business": business, "operation": operation, "channel": self.submitter.channel,
            "insured": format!("p-{}", self.number), "occurred_at": "2026-01-05T10:00:00+08:00",
            "payload": { "subject": self.number.to_string() },
        });
        if business.starts_with("settlement.") {
            body["amount"] = json!("12.50");
        }
        let key = format!("key-{}", self.number);
        let wait = format!("wait={}", wait.unwrap_or_default());
        let headers = [
            ("Idempotency-Key", key.as_str()),
            ("Content-Type", "application/json"),
            ("Prefer", &wait),
        ];
        let body = body.to_string();
        let answer = self.client.request("POST", "/v1/transactions", &headers, body.as_bytes());
        let answer = answer.unwrap();
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text());
        let answer = answer.json();
        let id = answer.pointer("/receipt/id").or_else(|| answer.get("id"));
        id.and_then(Value::as_str).unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
    }
}

fn counter<'a>(daemon: &Daemon, submitter: &'a Submitter) -> Counter<'a> {
    Counter { client: daemon.client(submitter), submitter, number: 0 }
}

/// Changes the window `move`, which is on, and reads what was changed.
fn change_round(cli: &Cli, file: &str, start: &str, end: &str) {
    let because = ["--reason", "the second notice says so"];
    let later = after(Duration::from_secs(7200)).to_string();
    let change = ["window", "change", "move", "--file", file];
    let times = ["--starts-at", start, "--ends-at", end];
    cli.fails(2, "--confirm move", &[change.as_slice(), &times, &because].concat());
    let confirmed = ["--confirm", "move"];
    let changed = cli.does(&[change.as_slice(), &times, &confirmed, &because].concat());
    assert_eq!(changed["version"], 3, "{changed}");
    let told = cli.tells(&["window", "diff", "move"]);
    assert!(told.contains("version 3 by Li Na") && told.contains("  /ends_at: "), "{told}");
    // As `window show` has them: with the zone's own offset.
    let instants = |text: &str| text.matches("+08:00").count();
    assert!(instants(&told) >= 5 && !told.contains('Z'), "{told}");
    assert_eq!(cli.does(&["window", "diff", "move", "--from", "1"])["since"], 1);
    assert_eq!(cli.does(&["window", "show", "move", "--version", "1"])["version"], 1);
    let row = ["--row", "0", "--until", &later, "--reason", "filings take longer"];
    let extended = cli.does(&[["window", "extend", "move"].as_slice(), &row].concat());
    assert_eq!(extended["version"], 4, "{extended}");
    let ended = ["--row", "0", "--at", end, "--confirm", "move", "--reason", "it takes longer"];
    cli.does(&[["window", "end", "move"].as_slice(), &ended].concat());
    let forecast = cli.does(&["window", "forecast", "move"]);
    assert!(forecast["open_max"].as_u64() > Some(0), "{forecast}");
    let tried = ["window", "forecast", "trial", "--file", file];
    assert!(cli.does(&[tried.as_slice(), &times].concat())["transactions"].is_u64());
    let tried = cli.tells(
        &[["window", "declare", "trial", "--dry-run", "--file", file].as_slice(), &times, &because]
            .concat(),
    );
    assert!(tried.contains("(overlaps)") && tried.contains("it would be in force"), "{tried}");
    cli.fails(3, "holdover window list", &["window", "confirm", "nobody", "--reason", "a drill"]);
    // The row ends with the others again.
    let changed = cli.does(&[change.as_slice(), &times, &confirmed, &because].concat());
    assert!(changed["policy"][0].get("ends_at").is_none(), "{changed}");
}

/// Declares a window that keeps filings for a person's word, and takes it through its life.
fn window_round(site: &Site, daemon: &Daemon, cli: &Cli) {
    let policy = site.folder().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    let file = policy.to_str().unwrap();
    let because = ["--reason", "the core is moved"];
    let (start, end) = (after(Duration::from_secs(1)), after(Duration::from_secs(3600)));
    let (start, end) = (start.to_string(), end.to_string());
    let times = ["--starts-at", &start, "--ends-at", &end];
    let declare = ["window", "declare", "move", "--file", file];
    let declared = cli.does(&[declare.as_slice(), &times, &because].concat());
    assert_eq!(declared["version"], 1, "{declared}");
    assert_eq!(declared["author"], "Li Na", "{declared}");
    cli.fails(4, "", &[declare.as_slice(), &times, &because].concat());
    let wrong = site.folder().join("wrong.toml");
    std::fs::write(&wrong, POLICY.replace("filing.*", "filing.none")).unwrap();
    let wrong = ["window", "declare", "wrong", "--file", wrong.to_str().unwrap()];
    let told = cli.tells(&[wrong.as_slice(), &times, &because].concat());
    let places = told.lines().filter(|line| line.starts_with("  /policy"));
    assert!(places.count() > 2, "one mistake a line: {told}");

    wait_for("the window", BOUND, || {
        let shown = cli.does(&["window", "show", "move"]);
        (shown["phase"] == "active").then_some(())
    });
    let mut hall = counter(daemon, &site.submitters[3]);
    let held: Vec<String> =
        (0..3).map(|_| hall.post("filing.out_of_area", "apply", None)).collect();
    assert_eq!(cli.ids(&["transaction", "list", "--held"]), held);
    let gates = cli.does(&["gate", "list"]);
    assert_eq!(gates["gates"][0]["window"], "move", "{gates}");
    assert_eq!(cli.does(&["window", "list"])["items"][0]["id"], "move");

    let later = after(Duration::from_secs(7200)).to_string();
    let extended =
        cli.does(&["window", "extend", "move", "--until", &later, "--reason", "it takes longer"]);
    assert_eq!(extended["version"], 2, "{extended}");
    cli.does(&["window", "check"]);
    let told = cli.tells(&["window", "check"]);
    assert_eq!(told, "no window needs a person; known: 1\n");
    let told = cli.tells(&["window", "show", "move"]);
    assert!(told.contains("last reason  it takes longer\n"), "{told}");
    change_round(cli, file, &start, &end);
    let done = ["--reason", "the core is back"];
    cli.fails(2, "--confirm move", &[["window", "end", "move"].as_slice(), &done].concat());
    let confirmed = ["--confirm", "move"];
    cli.does(&[["window", "end", "move"].as_slice(), &confirmed, &done].concat());
    cli.ends(5, &["window", "check"]);
    cli.fails(4, "", &[["window", "cancel", "move"].as_slice(), &confirmed, &done].concat());
    let agency = ["--upstream", "agency", "--confirm", "move"];
    let told = cli.tells(&[["window", "restore", "move"].as_slice(), &agency, &done].concat());
    let waits = "3 transactions still wait for a release, in the districts 110101";
    assert!(told.contains(waits), "{told}");
    assert!(told.contains("next: holdover window release move"), "{told}");
    assert!(held.iter().all(|id| cli.state(id) == "waiting"), "nobody released them yet");
    let district = ["--district", "110101", "--confirm", "move"];
    cli.does(&[["window", "release", "move"].as_slice(), &district, &done].concat());
    held.iter().for_each(|id| cli.until(id, "applied"));
    let told = cli.tells(&["window", "show", "move"]);
    assert!(told.contains("(the core is back)"), "{told}");
    let told = cli.tells(&["transaction", "show", &held[0]]);
    assert!(told.contains("+08:00 accepted"), "in the configured zone: {told}");
    assert!(!told.contains("Z "), "{told}");

    // The notice's own sentence, thirty days from now.
    let day = |days: u64| {
        let at = after(Duration::from_secs(days * 86_400));
        at.to_string()[..10].parse::<CivilDate>().unwrap()
    };
    let (first, last) = (day(30), day(32));
    let sentence =
        format!("{}19：00至{}6：00", first.format("%-m月%-d日"), last.format("%-m月%-d日"));
    let published = day(26).to_string();
    let words = ["--text", &sentence, "--published", &published];
    let declare = ["window", "declare", "later", "--file", file];
    let later = cli.does(&[declare.as_slice(), &words, &because].concat());
    assert_eq!(later["phase"], "scheduled", "{later}");
    let confirmed = ["--confirm", "later"];
    cli.does(&[["window", "cancel", "later"].as_slice(), &confirmed, &because].concat());
    cli.fails(3, "holdover window list", &["window", "show", "nobody"]);
}

fn gate_round(site: &Site, daemon: &Daemon, cli: &Cli) {
    let until = after(Duration::from_secs(600)).to_string();
    let longer = after(Duration::from_secs(900)).to_string();
    let settlement = ["--upstream", "settlement", "--reason", "a drill"];
    let close = ["gate", "close", "--until", &until];
    cli.fails(2, "--yes", &[close.as_slice(), &settlement].concat());
    cli.does(&[close.as_slice(), &settlement, &["--yes"]].concat());
    let mut hospital = counter(daemon, &site.submitters[0]);
    hospital.number = 100;
    let held = hospital.post("settlement.outpatient", "advice", None);
    assert_eq!(cli.ids(&["transaction", "list", "--held"]), std::slice::from_ref(&held));
    let extend = ["gate", "extend", "--until", &longer];
    cli.fails(2, "--yes", &[extend.as_slice(), &settlement].concat());
    cli.does(&[extend.as_slice(), &["--yes"], &settlement].concat());
    let told = cli.tells(&["gate", "list"]);
    assert!(told.contains("closed by Li Na until") && told.contains("+08:00: "), "{told}");
    let closings = cli.does(&["gate", "list"]);
    assert_eq!(closings["overrides"][0]["by"], "Li Na", "{closings}");
    cli.does(&[["gate", "open", "--yes"].as_slice(), &settlement].concat());
    cli.until(&held, "applied");
    // Nothing is closed any more that could be opened.
    cli.fails(3, "override", &[extend.as_slice(), &["--yes"], &settlement].concat());
}

fn dead_letter_round(site: &Site, daemon: &Daemon, cli: &Cli) {
    let mut hospital = counter(daemon, &site.submitters[0]);
    hospital.number = 200;
    site.core.script("settlement", &json!({ "busy": { "status": 503, "probability": 1.0 } }));
    let (one, two) = (
        hospital.post("settlement.outpatient", "advice", None),
        hospital.post("settlement.outpatient", "advice", None),
    );
    cli.until(&one, "dead_lettered");
    cli.until(&two, "dead_lettered");
    assert_eq!(cli.ids(&["dead-letter", "list"]), [one.clone(), two.clone()]);
    let ticketed = hospital.post("settlement.out_of_area", "request", Some(4));
    cli.until(&ticketed, "ticketed");
    let tickets = cli.does(&["ticket", "list"]);
    assert_eq!(tickets["items"][0]["transaction"], ticketed, "{tickets}");
    site.core.script("settlement", &json!({}));
    let because = ["--reason", "the core is well again"];
    cli.fails(2, "--yes", &[["dead-letter", "redrive", &one].as_slice(), &because].concat());
    cli.does(&[["dead-letter", "redrive", "--yes", &one].as_slice(), &because].concat());
    cli.until(&one, "applied");
    cli.fails(2, "--yes", &[["dead-letter", "skip", &two].as_slice(), &because].concat());
    cli.does(&[["dead-letter", "skip", "--yes", &two].as_slice(), &because].concat());
    assert_eq!(cli.state(&two), "withdrawn");
    let redrive = ["dead-letter", "redrive", "--yes", &two];
    cli.fails(4, "is withdrawn", &[redrive.as_slice(), &because].concat());
}

fn doubt_round(site: &Site, daemon: &Daemon, cli: &Cli) {
    let mut hospital = counter(daemon, &site.submitters[0]);
    hospital.number = 300;
    site.core.script("settlement", &json!({ "maintenance_page": { "next": 1 } }));
    let asked = hospital.post("settlement.outpatient", "advice", None);
    cli.until(&asked, "in_doubt");
    site.core.script("agency", &json!({ "lose_after": { "next": 1 } }));
    let mut hall = counter(daemon, &site.submitters[3]);
    hall.number = 300;
    let lost = hall.post("filing.out_of_area", "apply", None);
    cli.until(&lost, "in_doubt");
    assert_eq!(cli.ids(&["in-doubt", "list"]), [asked.clone(), lost.clone()]);
    let because = ["--reason", "the core's operator looked it up"];
    // A "not found" this early proves nothing.
    cli.does(&[["in-doubt", "ask", &asked].as_slice(), &because].concat());
    assert_eq!(cli.state(&asked), "in_doubt");
    let resolve = |id, verdict| ["in-doubt", "resolve", id, "--verdict", verdict];
    cli.fails(2, "--yes", &[resolve(&asked, "not_applied").as_slice(), &because].concat());
    let yes = ["--yes"];
    cli.does(&[resolve(&asked, "not_applied").as_slice(), &because, &yes].concat());
    cli.until(&asked, "applied");
    cli.does(&[resolve(&lost, "applied").as_slice(), &because, &yes].concat());
    assert_eq!(cli.state(&lost), "applied");
    cli.fails(4, "is applied", &[resolve(&lost, "refused").as_slice(), &because, &yes].concat());
    assert_eq!(cli.ids(&["in-doubt", "list"]), [""; 0]);
}

fn refusals(site: &Site, daemon: &Daemon, cli: &Cli) {
    let key = Command::new(HOLDOVER)
        .args(["key", "create", "--operator", "Wang Fang", "--scope", "read", "--keys"])
        .arg(site.folder().join("keys.json"))
        .output()
        .unwrap();
    let key = String::from_utf8(key.stdout).unwrap();
    let reader = Cli::new(site, daemon, "reader.key", key.trim());
    // The daemon notices a new key within a second.
    wait_for("the new key", BOUND, || (reader.run(&["ledger"]).code == 0).then_some(()));
    let until = after(Duration::from_secs(600)).to_string();
    let close = ["gate", "close", "--all", "--yes", "--until", &until, "--reason"];
    reader.fails(6, "forbidden", &[close.as_slice(), &["a drill"]].concat());
    let nobody = Cli::new(site, daemon, "nobody.key", "hk_nobody");
    assert!(matches!(nobody.run(&["ledger"]).code, 2 | 6));
    let person = synthetic_resident(110_101, CivilDate::from_ymd_opt(1990, 3, 7).unwrap(), 78);
    let reason = format!("{person} asked");
    cli.fails(6, "personal_data_in_text", &[close.as_slice(), &[&reason]].concat());
    cli.fails(2, "reason_missing", &[close.as_slice(), &[" "]].concat());
    cli.fails(3, "not_found", &["transaction", "show", "txn_00000000000zzzzz"]);
    cli.fails(4, "is believed", &["gate", "trust-clock", "--yes", "--reason", "it is right"]);
    cli.fails(2, "", &["transaction", "show", "nothing"]);
}

fn books_and_log(site: &Site, cli: &Cli) -> String {
    let books = cli.does(&["ledger", "check"]);
    assert_eq!((&books["balanced"], &books["difference"]), (&json!(true), &json!(0)), "{books}");
    assert_eq!(books["amount"]["difference"], "0.00", "{books}");
    let tail = cli.does(&["audit", "tail", "--limit", "500"]);
    let head = tail["head"]["hash"].as_str().unwrap().to_owned();
    let acts: Vec<&str> =
        tail["records"].as_array().unwrap().iter().map(|r| r["action"].as_str().unwrap()).collect();
    for act in [
        "window.declare",
        "window.extend",
        "window.end",
        "window.restore",
        "window.release",
        "window.cancel",
        "gate.close",
        "gate.extend",
        "gate.open",
        "dead_letter.redrive",
        "dead_letter.skip",
        "in_doubt.ask",
        "in_doubt.resolve",
    ] {
        assert!(acts.contains(&act), "{act} is not among {acts:?}");
    }
    for record in tail["records"].as_array().unwrap() {
        assert!(record["source"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        assert_eq!(record["actor"], "Li Na", "{record}");
    }
    let log = site.data.join("audit.log");
    let verified = cli.does(&["audit", "verify", log.to_str().unwrap(), "--head", &head]);
    assert_eq!(verified["intact"], true, "{verified}");
    head
}

/// An edited line and a missing line are named.
fn damaged_logs(site: &Site, cli: &Cli, head: &str) {
    let log = site.data.join("audit.log");
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let copy = site.folder().join("copy.log");
    let path = copy.to_str().unwrap();
    let check = |text: String, line: Option<u64>| {
        std::fs::write(&copy, text).unwrap();
        let verdict = cli.ends(5, &["audit", "verify", path, "--head", head]);
        assert_eq!(verdict["intact"], false);
        if let Some(line) = line {
            assert_eq!(verdict["line"], line, "{verdict}");
        }
    };
    check(text.replacen("the core is moved", "the core is gone!", 1), Some(1));
    check([&lines[..4], &lines[5..]].concat().concat(), Some(5));
    check(lines[..lines.len() - 1].concat(), None);
    cli.fails(3, "", &["audit", "verify", "/nowhere/audit.log"]);
}

fn configurations(folder: &Path, cli: &Cli) {
    let good = folder.join("holdover.toml");
    let found = cli.does(&["check-config", good.to_str().unwrap()]);
    assert_eq!(found["problems"], json!([]), "{found}");
    let bad = folder.join("bad.toml");
    std::fs::write(&bad, "[limits]\nsubmission_bytes_max = -1\n").unwrap();
    let found = cli.ends(5, &["check-config", bad.to_str().unwrap()]);
    assert_eq!(found["good"], false, "{found}");
    let first = folder.join("first.toml");
    let not_yet = folder.join("not-yet").display().to_string();
    let data = format!("[data]\nfolder = \"{not_yet}\"\napi_keys_file = \"../keys.json\"\n");
    std::fs::write(&first, data).unwrap();
    let found = cli.does(&["check-config", good.to_str().unwrap(), first.to_str().unwrap()]);
    assert_eq!(found["problems"], json!([]), "beside a folder that is not there yet: {found}");
    let closed = folder.join("closed.toml");
    std::fs::write(&closed, "[data]\napi_keys_file = \"nobody.json\"\n").unwrap();
    let found = cli.does(&["check-config", good.to_str().unwrap(), closed.to_str().unwrap()]);
    for (place, scope) in ["submit", "operate"].into_iter().enumerate() {
        let problem = &found["problems"][place];
        assert_eq!(problem["severity"], "warning", "{found}");
        let why = problem["why"].as_str().unwrap();
        assert!(
            why.contains(&format!("nobody may {scope}")) && why.contains("key create"),
            "{why}"
        );
    }
}

#[test]
fn the_example_of_a_window_is_declared_as_it_stands() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let tasks = Tasks::new(runtime.handle().clone(), CancellationToken::new());
    // A week before: the calendar of the example's year must be known for ever.
    let start = "2026-06-08T09:00:00+08:00".parse().unwrap();
    let clock = runtime.block_on(ClockServer::bind(start, &tasks)).unwrap();
    let site = Site::new("");
    let daemon = site.start_with(&["--clock", &clock.addr().to_string()]);
    let cli = Cli::new(&site, &daemon, "operator.key", &site.operator);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/window.example.toml");
    let because = ["--reason", "the agency moves to new machines"];
    let declare = ["window", "declare", "move-2026-06", "--file", example];
    let declared = cli.does(&[declare.as_slice(), &because].concat());
    assert_eq!(declared["phase"], "scheduled", "{declared}");
    let shown = cli.does(&["window", "show", "move-2026-06"]);
    assert_eq!(shown["policy"].as_array().map(Vec::len), Some(7), "{shown}");
    assert_eq!(shown["deadlines"]["rule"], "first_full_working_day", "{shown}");
    assert_eq!(shown["restore_by"], "probes", "{shown}");
}

#[test]
fn a_daemon_that_nobody_can_call_says_so_and_what_to_do() {
    let site = Site::new("[data]\napi_keys_file = \"nobody.json\"\n");
    let daemon = site.start();
    let ready = daemon.ready().unwrap();
    let said = wait_for("the warnings", BOUND, || {
        let said = daemon.said();
        ["submit", "operate"]
            .iter()
            .all(|s| said.contains(&format!("nobody may {s}")))
            .then_some(said)
    });
    for scope in ["submit", "operate"] {
        assert!(ready.text().contains(&format!("note: no_key_may_{scope}")), "{}", ready.text());
    }
    assert!(said.contains("holdover key create --keys"), "{said}");
    assert_eq!(ready.status, 200);
}

#[test]
fn an_operator_gets_by_with_the_command_line_alone() {
    let site = Site::new(CONFIG);
    let daemon = site.start();
    let cli = Cli::new(&site, &daemon, "operator.key", &site.operator);
    window_round(&site, &daemon, &cli);
    gate_round(&site, &daemon, &cli);
    dead_letter_round(&site, &daemon, &cli);
    doubt_round(&site, &daemon, &cli);
    refusals(&site, &daemon, &cli);
    let head = books_and_log(&site, &cli);
    let data = site.data.to_str().unwrap();
    cli.fails(4, "", &["journal", "verify", data]);
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    cli.fails(7, "", &["ledger"]);
    cli.fails(3, "", &["journal", "verify", "/nowhere"]);
    let journal = cli.does(&["journal", "verify", data]);
    assert_eq!(journal["intact"], true, "{journal}");
    damaged_logs(&site, &cli, &head);
    configurations(site.folder(), &cli);
}
