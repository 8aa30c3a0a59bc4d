//! The runbooks as text: that every alert and every error code has its page and every page is
//! found, that pages keep their form, and that what they name exists.
//!
//! That their commands do what a page says is for the process tests, which run them.

pub(crate) mod page;

use crate::monitoring::{alert_names, metric, names, recorded};
use crate::tidy::repository;
use clap::Command;
use holdover::admin::types::OperatorCode;
use holdover::cli::command;
use holdover::telemetry::metrics::CATALOGUE;
use holdover::web::problem::Code;
use page::{Page, folder, pages};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The index of all pages.
const INDEX: &str = "README.md";
/// The headings of a page of an alert or a code.
const OF_A_SIGNAL: [&str; 4] = ["Meaning", "Impact", "Diagnosis", "Mitigation"];
/// The headings of a procedure.
const OF_A_PROCEDURE: [&str; 5] =
    ["When to use it", "What is at risk", "Steps", "How to know it worked", "When to call someone"];
/// The most lines of a page that is read at night.
const LINES_MAX: usize = 90;
/// A plan of four days is no page of one hour.
const LONGER: [(&str, usize); 1] = [("procedures/weekend-hour-by-hour.md", 131)];

fn stem(page: &Page) -> &str {
    let name = page.path.rsplit('/').next().unwrap_or_default();
    name.trim_end_matches(".md")
}

fn is_procedure(page: &Page) -> bool {
    page.path.starts_with("procedures/")
}

/// The pages of alerts and of codes.
fn signals() -> Vec<Page> {
    pages().into_iter().filter(|page| page.path != INDEX && !is_procedure(page)).collect()
}

/// The lines outside of fenced blocks, with their numbers.
fn prose(page: &Page) -> Vec<(usize, &str)> {
    let mut inside = false;
    let lines = page.text.lines().enumerate().map(|(number, line)| (number + 1, line));
    let told = |(_, line): &(usize, &str)| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    lines.filter(told).collect()
}

/// What stands between single backquotes.
fn inline_code(page: &Page) -> Vec<String> {
    // A span may go over the end of a line.
    let text = prose(page).into_iter().map(|(_, line)| line).collect::<Vec<_>>().join(" ");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn headings(page: &Page, level: &str) -> Vec<String> {
    let lines = prose(page).into_iter();
    lines
        .filter_map(|(_, line)| line.strip_prefix(level)?.strip_prefix(' '))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let there = pages().into_iter().filter(|p| !p.path.contains('/') && p.path != INDEX);
    assert_eq!(there.map(|page| stem(&page).to_owned()).collect::<BTreeSet<_>>(), alert_names());
}

#[test]
fn every_error_code_has_a_page_and_every_page_a_code() {
    let operators = OperatorCode::ALL.iter().map(|code| code.as_str());
    let codes = Code::ALL.iter().map(|code| code.as_str()).chain(operators);
    let there = pages().into_iter().filter(|page| page.path.starts_with("errors/"));
    assert_eq!(
        there.map(|page| stem(&page).to_owned()).collect::<BTreeSet<_>>(),
        codes.map(str::to_owned).collect()
    );
}

/// The codes that the program writes to its log, as they stand in its source.
fn log_codes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in repository().iter().filter(|file| file.path.starts_with("src/")) {
        let after = file.text.split("code = \"").skip(1);
        found.extend(after.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
    }
    found
}

#[test]
fn every_code_of_the_log_stands_in_the_index_or_has_a_page() {
    let codes = log_codes();
    assert!(codes.contains("config_refused") && codes.len() > 10, "{codes:?}");
    let pages = pages();
    let index = &pages.iter().find(|page| page.path == INDEX).unwrap().text;
    let told = |code: &String| {
        index.contains(&format!("`{code}`"))
            || pages.iter().any(|page| page.path == format!("errors/{code}.md"))
    };
    let missing: Vec<String> = codes.into_iter().filter(|code| !told(code)).collect();
    none(&missing);
}

#[test]
fn pages_keep_their_form() {
    let mut problems = Vec::new();
    for page in pages().iter().filter(|page| page.path != INDEX) {
        let form: &[&str] = if is_procedure(page) { &OF_A_PROCEDURE } else { &OF_A_SIGNAL };
        let found = headings(page, "##");
        if found != form {
            problems.push(format!("{}: the headings are {found:?}", page.path));
        }
        let title = headings(page, "#");
        if title.len() != 1 || (!is_procedure(page) && title != [stem(page)]) {
            problems.push(format!("{}: the title is {title:?}", page.path));
        }
        let longer = LONGER.iter().find(|(path, _)| *path == page.path);
        let (lines, most) = (page.text.lines().count(), longer.map_or(LINES_MAX, |(_, max)| *max));
        if lines > most {
            problems.push(format!("{}: {lines} lines", page.path));
        }
        for block in page.blocks() {
            if block.tag != "console" && block.tag != "promql" {
                problems.push(format!("{}:{}: a block of {:?}", page.path, block.line, block.tag));
            }
        }
        for (number, line) in prose(page) {
            if line.trim_start().starts_with("$ ") {
                problems.push(format!("{}:{number}: a command outside a block", page.path));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_metric_that_a_page_names_exists() {
    let recorded = recorded();
    let exists = |name: &str| metric(name).is_some() || recorded.contains(name);
    let mut problems = Vec::new();
    for page in pages() {
        let mut exact = inline_code(&page);
        for block in page.blocks() {
            if block.tag == "promql" {
                exact.push(block.lines.join("\n"));
                continue;
            }
            // What is looked for may be the beginning of several names.
            for line in &block.lines {
                let begins = |name: &str| CATALOGUE.iter().any(|m| m.name.starts_with(name));
                let unknown = names(line).into_iter().filter(|(_, n)| !begins(n) && !exists(n));
                problems.extend(unknown.map(|(_, name)| format!("{}: {name}", page.path)));
            }
        }
        for text in exact {
            let unknown = names(&text).into_iter().filter(|(_, name)| !exists(name));
            problems.extend(unknown.map(|(_, name)| format!("{}: {name}", page.path)));
        }
    }
    none(&problems);
}

#[test]
fn no_key_stands_on_a_command_line() {
    // Whoever may list processes would read it there; a file or a pipe shows it to nobody.
    let shown = |text: &str| text.contains("-H \"Auth") || text.contains("-H 'Auth");
    assert!(shown("curl -H \"Authorization: Bearer x\""));
    let told: Vec<String> = pages()
        .iter()
        .flat_map(|page| page.commands().into_iter().map(|c| (page.path.clone(), c)))
        .filter(|(_, typed)| shown(&typed.text))
        .map(|(path, typed)| format!("{path}:{}", typed.line))
        .collect();
    none(&told);
}

/// The targets of the links of a page, as they stand there.
fn links(page: &Page) -> Vec<String> {
    let text = prose(page).into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// A heading as a link names it.
fn anchor(heading: &str) -> String {
    let kept =
        heading.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// `target` as seen from the page at `from`, below the folder of the runbooks.
fn resolved(from: &str, target: &str) -> PathBuf {
    let mut path = Path::new(from).parent().map(Path::to_owned).unwrap_or_default();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            other => path.push(other),
        }
    }
    path
}

#[test]
fn every_link_leads_somewhere_and_every_page_is_found_from_the_index() {
    let pages = pages();
    let mut problems = Vec::new();
    let (mut open, mut reached) = (vec![INDEX.to_owned()], BTreeSet::new());
    while let Some(path) = open.pop() {
        if !reached.insert(path.clone()) {
            continue;
        }
        let page = pages.iter().find(|page| page.path == path).expect("a page that was linked");
        for target in links(page) {
            let (file, part) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let to = if file.is_empty() {
                path.clone()
            } else {
                resolved(&path, file).display().to_string()
            };
            let found = pages.iter().find(|page| page.path == to);
            let Some(found) = found else {
                if !folder().join(&to).exists() {
                    problems.push(format!("{path}: {target} leads nowhere"));
                }
                continue;
            };
            let all = ["#", "##", "###"].iter().flat_map(|level| headings(found, level));
            if !part.is_empty() && !all.map(|heading| anchor(&heading)).any(|a| a == part) {
                problems.push(format!("{path}: {target} has no such part"));
            }
            open.push(to);
        }
    }
    let lost = pages.iter().filter(|page| !reached.contains(&page.path));
    problems.extend(lost.map(|page| format!("{}: no way leads there", page.path)));
    none(&problems);
}

/// What is wrong with a mention of the program, such as `holdover window extend --until`.
fn mention_problem(tree: &Command, text: &str) -> Option<String> {
    let mut words = text.split_whitespace().peekable();
    if words.next() != Some("holdover") {
        return None;
    }
    let mut at = tree;
    while let Some(word) = words.peek().filter(|word| !word.starts_with('-')) {
        let plain = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        match at.find_subcommand(word) {
            Some(inner) => at = inner,
            None if plain && at.has_subcommands() => return Some(format!("{text}: no {word}")),
            None => break,
        }
        words.next();
    }
    let known = |flag: &str| {
        let name = flag.trim_start_matches("--");
        let here = at.get_arguments().chain(tree.get_arguments());
        here.into_iter().any(|arg| arg.get_long() == Some(name))
            || name == "help"
            || name == "version"
    };
    let flags = words.filter(|word| word.starts_with("--"));
    let mut unknown = flags.filter(|flag| !known(flag.split('=').next().unwrap_or(flag)));
    unknown.next().map(|flag| format!("{text}: no {flag}"))
}

#[test]
fn every_command_that_a_page_names_exists() {
    let tree = command();
    let mut problems = Vec::new();
    for page in pages() {
        let found = inline_code(&page).into_iter().filter_map(|text| mention_problem(&tree, &text));
        problems.extend(found.map(|problem| format!("{}: {problem}", page.path)));
    }
    none(&problems);
}

#[test]
fn a_wrong_mention_is_found() {
    let tree = command();
    let problem = |text: &str| mention_problem(&tree, text);
    assert!(problem("holdover window lengthen").is_some_and(|p| p.ends_with("no lengthen")));
    assert!(problem("holdover windows").is_some());
    assert!(problem("holdover window extend --to").is_some_and(|p| p.ends_with("no --to")));
    for good in [
        "holdover window extend --until",
        "holdover window list",
        "holdover",
        "df -h",
        "holdover window show ID",
        "holdover serve --quarantine",
        "holdover --version",
    ] {
        assert_eq!(problem(good), None);
    }
}

/// The first words of the simple commands of a line of shell.
fn simple_commands(text: &str) -> Vec<Vec<String>> {
    let mut joined = text.replace("\\\n", " ");
    // A value is no command.
    while let Some((before, rest)) = joined.split_once("${") {
        let Some((_, after)) = rest.split_once('}') else { break };
        joined = format!("{before}value{after}");
    }
    let parts = joined.split(['|', ';', '(', ')', '{', '}']).flat_map(|part| part.split("&&"));
    let words = |part: &str| {
        let words = part.split_whitespace().map(str::to_owned);
        let mut words: Vec<String> = words.collect();
        while words
            .first()
            .is_some_and(|word| ["do", "done", "then", "if", "!", "until"].contains(&word.as_str()))
        {
            words.remove(0);
        }
        words
    };
    parts.map(words).filter(|words| !words.is_empty()).collect()
}

/// Whether a simple command only looks.
fn only_looks(words: &[String]) -> bool {
    let all: Vec<&str> = words.iter().map(String::as_str).collect();
    let reads = [
        "list",
        "show",
        "check",
        "verify",
        "tail",
        "at-risk",
        "status",
        "ledger",
        "check-config",
        "--version",
        "--help",
    ];
    match all.as_slice() {
        ["holdover", rest @ ..] => {
            let said = rest.iter().filter(|word| !word.starts_with('-') || **word == "--version");
            let verbs: Vec<&str> = said.take(2).copied().collect();
            // A date that is asked for counts as told.
            verbs != ["deadline", "check"] && verbs.iter().any(|verb| reads.contains(verb))
        }
        ["curl", rest @ ..] => {
            let sends = ["-X", "-d", "--data", "-T", "-F", "-o", "-O"];
            rest.contains(&"--get")
                || rest.contains(&"-G")
                || !rest.iter().any(|word| sends.contains(word))
        }
        ["systemctl", verb, ..] => ["status", "is-active", "show"].contains(verb),
        [
            "journalctl" | "df" | "du" | "ls" | "date" | "cat" | "grep" | "true" | "sha256sum"
            | "export",
            ..,
        ] => true,
        // A variable that the page sets itself.
        [first, ..] => first
            .split_once('=')
            .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')),
        [] => true,
    }
}

#[test]
fn pages_of_alerts_and_codes_only_look() {
    let mut problems = Vec::new();
    for page in signals() {
        let commands = page.commands();
        let looks = commands.iter().any(|command| command.heading == "Diagnosis");
        if !looks {
            problems.push(format!("{}: nothing to look at under Diagnosis", page.path));
        }
        for typed in commands {
            // What stands in quotation marks is no command of its own, but for a substitution.
            let mut plain = String::new();
            for (place, part) in typed.text.split('\'').enumerate() {
                plain += if place % 2 == 0 { part } else { "quoted" };
            }
            let acts = simple_commands(&plain).into_iter().filter(|words| !only_looks(words));
            problems.extend(
                acts.map(|words| format!("{}:{}: {}", page.path, typed.line, words.join(" "))),
            );
        }
    }
    none(&problems);
}

#[test]
fn what_acts_is_told_from_what_looks() {
    let looks = |text: &str| simple_commands(text).iter().all(|words| only_looks(words));
    for good in [
        "holdover window list | grep move",
        "curl -s URL | grep x || true",
        "holdover --json ledger",
        "df -h",
        "systemctl status holdover",
        "NAME=value",
    ] {
        assert!(looks(good), "{good}");
    }
    for bad in [
        "holdover gate close --all",
        "curl -X POST URL",
        "holdover window list && rm x",
        "systemctl restart holdover",
        "holdover deadline check --business x",
        "mv a b",
    ] {
        assert!(!looks(bad), "{bad}");
    }
}

#[test]
fn commands_have_no_fixed_dates_and_only_variables_that_are_explained() {
    let index = pages().into_iter().find(|page| page.path == INDEX).expect("an index");
    let explained: BTreeSet<String> = index
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('|').map(|(names, _)| names))
        .flat_map(|names| names.split(", ").map(|n| n.trim().trim_matches('`').to_owned()))
        .collect();
    assert!(explained.contains("WINDOW"), "the table of variables: {explained:?}");
    let mut problems = Vec::new();
    for page in pages() {
        let mut set: BTreeSet<String> = ["HOME", "PATH"].map(str::to_owned).into();
        for typed in page.commands() {
            let at = format!("{}:{}", page.path, typed.line);
            let text = typed.text.as_bytes();
            let dated = text.windows(5).any(|w| {
                w.starts_with(b"20") && w[2..4].iter().all(u8::is_ascii_digit) && w[4] == b'-'
            });
            if dated {
                problems.push(format!("{at}: a fixed date"));
            }
            set.extend(
                typed
                    .text
                    .split_whitespace()
                    .filter_map(|word| word.split_once('='))
                    .map(|(n, _)| n.to_owned()),
            );
            if let Some(rest) = typed.text.strip_prefix("for ") {
                set.extend(rest.split_whitespace().next().map(str::to_owned));
            }
            for part in typed.text.split('$').skip(1) {
                let name: String = part
                    .trim_start_matches('{')
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if !name.is_empty() && !explained.contains(&name) && !set.contains(&name) {
                    problems.push(format!("{at}: nobody says what ${name} is"));
                }
            }
        }
    }
    none(&problems);
}
