//! The command line as scripts and people meet it: its words, its streams, its exit codes.
//!
//! The binary is run against the real operators' interface on a free port, behind which an
//! engine answers every order the same way.

use crate::admin_http::{World, world};
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use clap::{ArgAction, Command};
use holdover::admin::types::OperatorCode;
use holdover::cli::{Exit, command, exit_of};
use holdover::domain::ids::Seq;
use holdover::domain::numbers::Numbers;
use holdover::domain::state::State as Standing;
use holdover::engine::event::{Done, Event, Fault, Reply};
use holdover::web::access::Scope;
use holdover::web::problem::Code;
use holdover::web::server::{ServerLimits, serve};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(20);

/// Every verb means the same under every noun.
const VERBS: &[&str] = &[
    "apply",
    "approve",
    "ask",
    "at-risk",
    "cancel",
    "change",
    "check",
    "close",
    "confirm",
    "create",
    "declare",
    "diff",
    "dismiss",
    "end",
    "evidence",
    "explain",
    "export",
    "extend",
    "forecast",
    "import",
    "list",
    "open",
    "preview",
    "redrive",
    "reject",
    "release",
    "resolve",
    "restore",
    "revoke",
    "show",
    "skip",
    "tail",
    "told",
    "trust-clock",
    "verify",
];

fn walk(command: &Command, path: &str, visit: &mut dyn FnMut(&Command, &str)) {
    visit(command, path);
    for inner in command.get_subcommands() {
        walk(inner, &format!("{path} {}", inner.get_name()), visit);
    }
}

#[test]
fn the_tree_is_a_noun_then_a_known_verb() {
    command().debug_assert();
    let mut verbs = BTreeSet::new();
    walk(&command(), "holdover", &mut |command, path| {
        let depth = path.split(' ').count();
        assert!(depth <= 3, "{path}");
        assert!(command.get_about().is_some(), "{path} does not say what it does");
        if depth == 3 {
            verbs.insert(command.get_name().to_owned());
        }
    });
    let known: BTreeSet<String> = VERBS.iter().map(|verb| (*verb).to_owned()).collect();
    assert_eq!(verbs, known);
}

/// What lets transactions be sent, stops them or ends something for good.
const CONFIRMED: &[(&str, &str)] = &[
    ("holdover dead-letter redrive", "yes"),
    ("holdover dead-letter skip", "yes"),
    ("holdover gate close", "yes"),
    ("holdover gate extend", "yes"),
    ("holdover gate open", "yes"),
    ("holdover gate trust-clock", "yes"),
    ("holdover in-doubt resolve", "yes"),
    ("holdover key revoke", "confirm"),
    ("holdover proposal approve", "yes"),
    ("holdover window cancel", "confirm"),
    ("holdover window change", "confirm"),
    ("holdover window end", "confirm"),
    ("holdover window release", "confirm"),
    ("holdover window restore", "confirm"),
];

/// What plans, puts off, asks or notes.
const UNCONFIRMED: &[&str] = &[
    "holdover deadline apply",
    "holdover deadline import",
    "holdover in-doubt ask",
    "holdover proposal reject",
    "holdover transaction told",
    "holdover window confirm",
    "holdover window declare",
    "holdover window dismiss",
    "holdover window extend",
];

#[test]
fn every_act_asks_for_a_word_or_is_known_to_need_none() {
    let (mut confirmed, mut others) = (BTreeSet::new(), BTreeSet::new());
    walk(&command(), "holdover", &mut |command, path| {
        let find = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
        if let Some(flag) = find("yes").or(find("confirm")) {
            assert!(flag.get_short().is_none(), "{path}");
            confirmed.insert((path.to_owned(), flag.get_id().to_string()));
        } else if find("reason").is_some() && path != "holdover serve" {
            others.insert(path.to_owned());
        }
    });
    let owned = |pair: &(&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
    assert_eq!(confirmed, CONFIRMED.iter().map(owned).collect());
    assert_eq!(others, UNCONFIRMED.iter().map(|&path| path.to_owned()).collect());
}

#[test]
fn the_help_of_every_noun_begins_with_examples_that_can_be_typed() {
    let mut examples = Vec::new();
    walk(&command(), "holdover", &mut |command, path| {
        let help = command.clone().term_width(0).render_help().to_string();
        if path.split(' ').count() == 2 {
            assert!(help.starts_with("Example"), "{path}: {help}");
        }
        let whole = help.replace("\\\n", " ");
        let typed = whole.lines().filter_map(|line| line.strip_prefix("  holdover "));
        examples.extend(typed.map(str::to_owned));
    });
    assert!(examples.len() > command().get_subcommands().count());
    for example in examples {
        // What stands in quotation marks is one word.
        let quoted = example.split('"').enumerate();
        let words = quoted.flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        let parsed = command().try_get_matches_from(["holdover"].into_iter().chain(words));
        assert!(parsed.is_ok(), "holdover {example}: {}", parsed.unwrap_err());
    }
}

#[test]
fn no_secret_is_ever_the_value_of_an_argument() {
    walk(&command(), "holdover", &mut |command, path| {
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str().to_lowercase();
            let secret = ["token", "password", "secret", "credential"];
            let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            let is_secret = secret.iter().any(|word| name.contains(word)) || name == "key";
            assert!(!(is_secret && takes_value), "{path} {name}");
        }
    });
}

#[test]
fn every_problem_has_its_exit_code() {
    for (code, status, exit) in [
        ("invalid", 422, Exit::Usage),
        ("reason_missing", 422, Exit::Usage),
        ("not_found", 404, Exit::NotFound),
        ("wrong_state", 409, Exit::Conflict),
        ("window_completed", 409, Exit::Conflict),
        ("changed", 412, Exit::Conflict),
        ("unavailable", 503, Exit::NotReady),
        ("audit_unavailable", 503, Exit::NotReady),
        ("forbidden", 403, Exit::Refused),
        ("unauthenticated", 401, Exit::Refused),
        ("business_suspended", 409, Exit::Refused),
        ("personal_data_in_text", 422, Exit::Refused),
        ("internal", 500, Exit::Failure),
        ("of_a_newer_daemon", 404, Exit::NotFound),
        ("of_a_newer_daemon", 409, Exit::Conflict),
        ("of_a_newer_daemon", 500, Exit::Failure),
    ] {
        assert_eq!(exit_of(code, status), exit, "{code}");
    }
    let codes = Code::ALL.iter().map(|c| (c.as_str(), c.facts().status));
    for (code, status) in codes.chain(OperatorCode::ALL.iter().map(|c| (c.as_str(), c.status()))) {
        assert_ne!(exit_of(code, status), Exit::Success, "{code}");
        assert_ne!(exit_of(code, status), Exit::Unreachable, "{code}");
    }
    let numbers = [
        Exit::Success,
        Exit::Failure,
        Exit::Usage,
        Exit::NotFound,
        Exit::Conflict,
        Exit::NotReady,
        Exit::Refused,
        Exit::Unreachable,
    ];
    assert_eq!(numbers.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 7]);
}

/// Runs the binary without anything of our own environment that it listens to.
async fn holdover(args: &[&str]) -> Output {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdover"))
        .args(args)
        .env_remove("HOLDOVER_ADMIN")
        .env_remove("HOLDOVER_KEY_FILE")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(BOUND, output).await.unwrap().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

struct Served {
    world: World,
    admin: String,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn served(reply: impl FnMut(&Event) -> Reply + Send + 'static) -> Served {
    let mut world = world();
    world.engine(reply);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let source = async |mut request: Request, next: Next| {
        let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(address));
        next.run(request).await
    };
    let router = world.router.clone().layer(from_fn(source));
    tokio::spawn(serve(listener, router, ServerLimits::default(), stop.clone()));
    Served { world, admin, stop }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn help_comes_with_examples_and_a_wrong_word_with_a_suggestion() {
    for args in [&[][..], &["--help"]] {
        let output = holdover(args).await;
        let text = out(&output) + &err(&output);
        assert!(text.contains("Examples:") && text.contains("Exit codes:"), "{text}");
    }
    let output = holdover(&["windwo", "list"]).await;
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("window") && out(&output).is_empty());
}

#[tokio::test]
async fn a_daemon_that_is_not_there_and_a_key_that_is_not_given_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let key = write(folder.path(), "key", "hk_live_x\n");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = holdover(&["window", "list", "--admin", &admin, "--key-file", &key]).await;
    assert_eq!(code(&output), 7, "{}", err(&output));
    assert_eq!(code(&holdover(&["window", "list", "--admin", &admin]).await), 2);
    assert_eq!(code(&holdover(&["window", "list", "--admin", "x", "--key-file", &key]).await), 2);
}

#[tokio::test]
async fn an_act_says_what_changed_its_id_and_what_comes_next() {
    let mut replies = vec![
        Reply::Invalid(Fault::WrongState { what: "transaction", state: "waiting".to_owned() }),
        Reply::Done(Done::Transaction(Seq(7), Standing::Waiting)),
        Reply::Done(Done::Transaction(Seq(7), Standing::Waiting)),
    ];
    let served = served(move |_| replies.pop().unwrap_or(Reply::Unavailable)).await;
    let folder = tempfile::tempdir().unwrap();
    let key = served.world.operator(&[Scope::Operate, Scope::Read]);
    let key = write(folder.path(), "key", &format!("{key}\n"));
    let id = Numbers::default().transaction(Seq(7)).to_string();
    let to = ["--admin", &served.admin, "--key-file", &key];
    let ask = ["in-doubt", "ask", &id, "--reason", "the core was mended"];

    let output = holdover(&[&ask[..], &to].concat()).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), format!("{id} is waiting: the core is asked\n"));
    assert!(err(&output).contains(&format!("next: holdover transaction show {id}")));
    assert!(!out(&output).contains('\x1b') && !err(&output).contains('\x1b'));

    let output = holdover(&[&ask[..], &to, &["--json"]].concat()).await;
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["id"], id.as_str());

    let output = holdover(&[&ask[..], &to].concat()).await;
    assert_eq!((code(&output), out(&output)), (4, String::new()));
    assert!(err(&output).contains("(wrong_state)"), "{}", err(&output));

    let output = holdover(&[&ask[..3], &["--reason", " "], &to].concat()).await;
    assert_eq!(code(&output), 2, "{}", err(&output));
    assert!(err(&output).contains("(reason_missing)"));

    let resolve = ["in-doubt", "resolve", &id, "--verdict", "applied", "--yes", "--reason", "x"];
    let output = holdover(&[&resolve[..], &to].concat()).await;
    assert_eq!(code(&output), 5, "the engine cannot be looked at: {}", err(&output));

    let output = holdover(&[&["audit", "tail", "--json"][..], &to].concat()).await;
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["head"]["records"], 6);
    assert_eq!(log["records"][0]["source"], "127.0.0.1:9");
    let head = log["head"]["hash"].as_str().unwrap();
    let file = served.world.log();
    let verify = ["audit", "verify", file.to_str().unwrap()];
    assert_eq!(code(&holdover(&[&verify[..], &["--head", head]].concat()).await), 0);
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = write(folder.path(), "copy", &text.replacen("Li Na", "Li Nb", 1));
    let output = holdover(&["audit", "verify", &changed]).await;
    assert_eq!(code(&output), 5);
    assert!(out(&output).starts_with("NOT INTACT: line 1:"), "{}", out(&output));
}

#[tokio::test]
async fn a_window_is_declared_from_a_file_of_rows_and_the_words_of_a_notice() {
    let served = served(|event| {
        let Event::Order(_, order) = event else { return Reply::Unavailable };
        match &order.command {
            holdover::engine::event::Command::DeclareWindow(window) => {
                Reply::Done(Done::Window(std::sync::Arc::new((**window).clone())))
            }
            _ => Reply::Unavailable,
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let key = write(folder.path(), "key", &served.world.operator(&[Scope::Operate]));
    let rows = "[[policy]]\nclause = \"(二)1\"\ndisposition = \"hold\"\n\
                ends_at = 2022-08-15T08:00:00+08:00\n[policy.cells]\nupstream = [\"agency\"]\n";
    let rows = write(folder.path(), "rows.toml", rows);
    let common = ["--file", &rows, "--reason", "the notice", "--json"];
    let to = ["--admin", &served.admin, "--key-file", &key];
    let by_words = ["--text", "8月12日19:00至8月15日6:00", "--published", "2022-08-09"];
    let by_instants =
        ["--starts-at", "2022-08-12T19:00+08:00", "--ends-at", "2022-08-15T06:00+08:00"];
    for when in [&by_words[..], &by_instants[..]] {
        let args = [&["window", "declare", "stop"][..], &common, &to, when].concat();
        let output = holdover(&args).await;
        assert_eq!(code(&output), 0, "{}", err(&output));
        let window: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(window["starts_at"], "2022-08-12T11:00:00Z");
        assert_eq!(window["ends_at"], "2022-08-14T22:00:00Z");
        assert_eq!(window["policy"][0]["ends_at"], "2022-08-15T00:00:00Z");
        assert_eq!(window["author"], "Li Na");
        assert!(err(&output).contains("next: holdover window show stop"));
    }
}

#[tokio::test]
async fn keys_are_made_once_listed_without_their_secret_and_revoked_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api-keys.json");
    let file = ["--keys", file.to_str().unwrap()];
    let make = ["key", "create", "--operator", "Li Na", "--scope", "read", "--scope", "operate"];
    let output = holdover(&[&make[..], &file].concat()).await;
    assert_eq!(code(&output), 0, "{}", err(&output));
    let key = out(&output).trim().to_owned();
    assert!(key.starts_with("hk_live_") && !err(&output).contains(&key));
    let id = key["hk_live_".len()..].split('_').next().unwrap().to_owned();
    let hospital = [
        "key",
        "create",
        "--institution",
        "H11010100001",
        "--class",
        "hospital",
        "--district",
        "110101",
        "--channel",
        "system",
        "--scope",
        "submit",
    ];
    assert_eq!(code(&holdover(&[&hospital[..], &file].concat()).await), 0);
    assert_eq!(code(&holdover(&[&hospital[..6], &file, &["--scope", "read"]].concat()).await), 2);

    let output = holdover(&[&["key", "list", "--json"][..], &file].concat()).await;
    let listed = out(&output);
    assert!(listed.contains(&id) && listed.contains("H11010100001"));
    let secret = key.split('_').nth(3).unwrap();
    assert!(!listed.contains(secret) && !listed.contains("secret"), "{listed}");

    let revoke = ["key", "revoke", &id];
    let output = holdover(&[&revoke[..], &file].concat()).await;
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains(&format!("--confirm {id}")), "{}", err(&output));
    assert_eq!(code(&holdover(&[&revoke[..], &file, &["--confirm", &id]].concat()).await), 0);
    let unknown = ["key", "revoke", "0000000000", "--confirm", "0000000000"];
    assert_eq!(code(&holdover(&[&unknown[..], &file].concat()).await), 3);
}
