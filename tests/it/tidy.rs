//! The house rules, as a test: the direction of imports, what the pure parts may not name,
//! dead files, file heads, sizes, statements that assert nothing, words that do not belong here.
//!
//! Every rule is a function from a file to the list of its problems, so that it can be shown a
//! bad sample: the tests at the end do that. The rules read text (`text`), not syntax trees. What
//! the compiler or clippy can check is not checked here.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use text::{
    closing, code_of, crate_paths, declared_modules, functions, line_of, without_tests, words,
};

/// What each folder of `src` may import from the others. A longer path allows that module alone.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("engine", &["domain", "telemetry"]),
    ("telemetry", &["domain"]),
    ("web", &["domain", "engine", "telemetry"]),
    ("journal", &["domain", "engine", "telemetry"]),
    ("index", &["domain", "engine", "telemetry"]),
    ("upstream", &["domain", "engine", "telemetry", "web", "kafka"]),
    ("kafka", &["telemetry"]),
    ("intake", &["domain", "engine", "telemetry", "web", "kafka"]),
    ("admin", &["domain", "engine", "telemetry", "web"]),
    ("config", &["domain", "engine"]),
    // It starts processes and speaks HTTP to them; the journal it only reads, as evidence.
    (
        "demo",
        &["domain", "engine", "upstream", "daemon", "admin::types", "config", "web", "journal"],
    ),
    ("cli", &["domain", "admin::types", "config", "daemon", "demo", "web"]),
    (
        "daemon",
        &[
            "domain",
            "engine",
            "telemetry",
            "web",
            "journal",
            "index",
            "upstream",
            "intake",
            "admin",
            "config",
            "kafka",
        ],
    ),
];

/// Single files that may import more than their folder, and why.
const LAYER_EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    ("src/cli/journal.rs", &["journal", "engine"], "reads a stopped daemon's files"),
    (
        "src/cli/audit.rs",
        &["admin::audit", "journal::verify"],
        "reads a stopped daemon's audit log, and what its journal notes of it",
    ),
    ("src/cli/simulate_core.rs", &["upstream"], "starts the simulated core"),
    ("src/main.rs", &["cli"], "hands everything to the command line"),
];

/// The files that decide without knowing where they run.
const PURE: &[&str] = &[
    "src/domain/",
    "src/engine/machine.rs",
    "src/engine/machine/",
    "src/engine/change.rs",
    "src/engine/event.rs",
    "src/engine/view.rs",
];

/// What a pure file may not name.
const IMPURE: &[&str] =
    &["tokio", "tracing", "rand", "fastrand", "Instant", "SystemTime", "metrics", "axum", "sled"];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 80;

/// Files and functions over the limits: path, function or `""`, lines allowed, reason. The list
/// may only shrink: an entry that is no longer needed, or allows more than it must, is a failure.
const LARGE: &[(&str, &str, usize, &str)] =
    &[("src/engine/machine.rs", "apply", 97, "the fold, read as a table: one arm for each change")];

/// Words that say where or by what the files were made, or that were left for later. In pieces,
/// so that this file does not contain them.
fn forbidden_words() -> Vec<String> {
    [
        ["/ho", "me/"],
        ["/ro", "ot/"],
        ["/Us", "ers/"],
        ["/wo", "rk/"],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["ai assis", "tant"],
        ["assis", "tant"],
        ["cla", "ude"],
        ["anth", "ropic"],
        ["chat", "gpt"],
        ["language mo", "del"],
        ["sub-ag", "ent"],
        ["subag", "ent"],
        ["this ses", "sion"],
        ["earlier ses", "sion"],
        ["work", "tree"],
    ]
    .iter()
    .map(|parts| parts.concat())
    .collect()
}

/// A file of the repository.
pub(crate) struct File {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Every text file of the repository but the lock file.
pub(crate) fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).expect("a folder can be read") {
            let entry = entry.expect("a folder entry can be read");
            let path = folder.join(entry.file_name());
            let name = path.to_str().expect("file names are UTF-8").to_owned();
            if entry.file_type().expect("has a type").is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if name != "Cargo.lock" && name != ".git" {
                // Binary fixtures are not text and have no rules here.
                if let Ok(text) = fs::read_to_string(root.join(&path)) {
                    found.push(File { path: name, text });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Rule 1: who may import whom.
fn layer_problems(file: &File) -> Vec<String> {
    let Some(inside) = file.path.strip_prefix("src/") else { return Vec::new() };
    let Some((folder, rest)) = inside.split_once('/') else { return Vec::new() };
    let extra = LAYER_EXCEPTIONS.iter().find(|e| e.0 == file.path).map_or(&[][..], |e| e.1);
    let Some((_, allowed)) = LAYERS.iter().find(|l| l.0 == folder) else {
        return vec![format!("{}: the folder {folder} is not in the layer matrix", file.path)];
    };
    let is_mod = usize::from(rest.ends_with("mod.rs"));
    let module_depth = rest.split('/').count() + 1 - is_mod;
    let code = without_tests(&code_of(&file.text));
    crate_paths(&code, module_depth)
        .into_iter()
        .filter(|(_, path)| {
            let may = |to: &&str| path == *to || path.starts_with(&format!("{to}::"));
            !may(&folder) && !allowed.iter().any(may) && !extra.iter().any(may)
        })
        .map(|(line, path)| format!("{}:{line}: {folder} may not use {path}", file.path))
        .collect()
}

/// Rule 2: the deciding parts know no runtime, no log, no randomness and no clock.
fn purity_problems(file: &File) -> Vec<String> {
    if !PURE.iter().any(|p| file.path.starts_with(p)) {
        return Vec::new();
    }
    let code = without_tests(&code_of(&file.text));
    let named = IMPURE.iter().flat_map(|word| words(&code, word).map(move |at| (at, *word)));
    let clocks = ["::now()", ".upcoming("]
        .into_iter()
        .flat_map(|call| code.match_indices(call).map(move |(at, _)| (at, call)));
    named
        .chain(clocks)
        .map(|(at, what)| format!("{}:{}: {what} in a pure file", file.path, line_of(&code, at)))
        .collect()
}

/// Rule 3: files that no root reaches.
fn unreachable(files: &[File], roots: &[String]) -> Vec<String> {
    let all: BTreeMap<&str, &File> =
        files.iter().filter(|f| f.is_rust()).map(|f| (f.path.as_str(), f)).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<String> = roots.to_vec();
    while let Some(path) = open.pop() {
        let Some(file) = all.get(path.as_str()) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let is_root = roots.contains(&path) || name == "mod.rs";
        let below =
            if is_root { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() };
        for module in declared_modules(&code_of(&file.text)) {
            open.push(format!("{below}/{module}.rs"));
            open.push(format!("{below}/{module}/mod.rs"));
        }
    }
    all.keys()
        .filter(|path| !reached.contains(**path))
        .map(|path| format!("{path}: no `mod` reaches it from a root in Cargo.toml"))
        .collect()
}

/// The roots that Cargo.toml names by `path = "….rs"`.
fn roots(cargo_toml: &str) -> Vec<String> {
    cargo_toml
        .lines()
        .filter_map(|l| l.strip_prefix("path = \"")?.strip_suffix('"'))
        .map(str::to_owned)
        .collect()
}

/// Rule 4: a file begins by saying what it is for.
fn head_problems(file: &File) -> Vec<String> {
    if file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}:1: the first line is not a `//!` that says what the file is for", file.path)]
}

/// Rule 5: a `matches!` whose answer is thrown away asserts nothing; an ignored test has a reason.
fn idle_statement_problems(file: &File) -> Vec<String> {
    let code = code_of(&file.text);
    let mut problems = Vec::new();
    for (at, found) in code.match_indices("matches!(") {
        let begins_a_statement =
            code[..at].trim_end().chars().next_back().is_none_or(|c| ";{}".contains(c));
        let end = closing(&code, at + found.len() - 1);
        if begins_a_statement && code[end..].trim_start().starts_with(';') {
            problems.push(format!(
                "{}:{}: the answer of `matches!` is thrown away; use `assert!`",
                file.path,
                line_of(&code, at)
            ));
        }
    }
    for (at, _) in code.match_indices("#[ignore]") {
        problems.push(format!(
            "{}:{}: say why: `#[ignore = \"…\"]`",
            file.path,
            line_of(&code, at)
        ));
    }
    problems
}

/// Rule 6: sizes; `large` lists the exceptions.
fn size_problems(file: &File, large: &[(&str, &str, usize, &str)]) -> Vec<String> {
    let mut sizes = vec![(String::new(), 1, file.text.lines().count(), FILE_LINES_MAX)];
    for (name, line, lines) in functions(&code_of(&file.text)) {
        sizes.push((name, line, lines, FUNCTION_LINES_MAX));
    }
    let mut problems = Vec::new();
    for (name, line, lines, max) in &sizes {
        let allowed = large.iter().find(|l| l.0 == file.path && l.1 == name).map_or(*max, |l| l.2);
        if *lines > allowed {
            let what = if name.is_empty() { "the file" } else { name };
            problems.push(format!(
                "{}:{line}: {what} has {lines} lines, allowed are {allowed}",
                file.path
            ));
        }
    }
    for (path, name, allowed, _) in large.iter().filter(|l| l.0 == file.path) {
        let largest = sizes.iter().filter(|s| s.0 == *name).map(|s| s.2).max().unwrap_or(0);
        if largest < *allowed {
            problems.push(format!(
                "{path}: the exception for `{name}` allows {allowed} lines, it has {largest}: \
                 lower or remove it"
            ));
        }
    }
    problems
}

/// Rule 7: the repository speaks of the product alone.
fn word_problems(file: &File) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        for word in forbidden_words() {
            // Words in capitals are markers; in small letters they are ordinary words.
            let hit = if word.chars().all(|c| c.is_ascii_uppercase()) {
                line.contains(&word)
            } else {
                lower.contains(&word.to_lowercase())
            };
            if hit {
                problems.push(format!("{}:{}: contains {word:?}", file.path, number + 1));
            }
        }
    }
    problems
}

/// Rule 8: every key of the default configuration has a comment above it or behind it.
fn undocumented_keys(toml: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut documented = false;
    let mut inside_value = 0usize;
    for (number, line) in toml.lines().enumerate() {
        let trimmed = line.trim();
        if inside_value > 0 || (!trimmed.starts_with('#') && trimmed.contains('=')) {
            let opens = trimmed.matches(['[', '{']).count();
            let closes = trimmed.matches([']', '}']).count();
            if inside_value == 0 && !documented && !trimmed.contains(" # ") {
                problems.push(format!("config/default.toml:{}: no comment says why", number + 1));
            }
            inside_value = (inside_value + opens).saturating_sub(closes);
            documented = false;
        } else {
            documented = trimmed.starts_with('#');
        }
    }
    problems
}

fn check(rule: impl Fn(&File) -> Vec<String>) {
    let problems: Vec<String> =
        repository().iter().filter(|f| f.is_rust()).flat_map(rule).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn imports_point_towards_the_domain() {
    check(layer_problems);
}

#[test]
fn what_decides_knows_no_runtime_and_no_clock() {
    check(purity_problems);
}

#[test]
fn no_source_file_is_dead() {
    let files = repository();
    let cargo = files.iter().find(|f| f.path == "Cargo.toml").expect("there is a Cargo.toml");
    let dead = unreachable(&files, &roots(&cargo.text));
    assert!(dead.is_empty(), "\n{}\n", dead.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    check(head_problems);
}

#[test]
fn no_assertion_is_thrown_away_and_no_test_ignored_without_a_reason() {
    check(idle_statement_problems);
}

#[test]
fn files_and_functions_stay_small() {
    check(|file| size_problems(file, LARGE));
    let files = repository();
    for (path, ..) in LARGE {
        assert!(files.iter().any(|f| f.path == *path), "{path} is gone: remove its exception");
    }
}

#[test]
fn the_repository_speaks_of_the_product_alone() {
    let problems: Vec<String> = repository().iter().flat_map(word_problems).collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_default_says_why() {
    let files = repository();
    let embeds = |line: &str| line.contains("include_str!") && line.contains("default.toml");
    let embedded = files.iter().any(|f| f.path.starts_with("src/") && f.text.lines().any(embeds));
    let file = files.iter().find(|f| f.path == "config/default.toml");
    assert!(file.is_some() || !embedded, "the sources embed config/default.toml: it is missing");
    let problems = file.map(|f| undocumented_keys(&f.text)).unwrap_or_default();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Each rule is shown something bad, and something good that looks alike.
mod the_rules_can_fail {
    use super::*;

    #[track_caller]
    fn finds(problems: &[String], expected: &[&str]) {
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, part) in problems.iter().zip(expected) {
            assert!(problem.contains(part), "{problem} should say {part}");
        }
    }

    #[test]
    fn layers() {
        let sample = "use crate::{domain::ids::Seq, journal::{writer, reader}};\n\
                      // use crate::web\n\
                      fn f() { crate::cli::run() }\n\
                      fn g() { super::super::daemon::start() }\n\
                      #[cfg(test)]\nmod tests { use crate::index::Catalogue; }\n";
        let file = File::new("src/engine/machine.rs", sample);
        finds(
            &layer_problems(&file),
            &[
                ":1: engine may not use journal::writer",
                ":1: engine may not use journal::reader",
                ":3: engine may not use cli::run",
                ":4: engine may not use daemon::start",
            ],
        );
        let deeper = File::new("src/engine/dispatch/gate.rs", "use super::super::ports::Clock;");
        finds(&layer_problems(&deeper), &[]);
        let types = "use crate::admin::types::Gate; use crate::admin::server::Server;";
        finds(&layer_problems(&File::new("src/cli/gate.rs", types)), &["admin::server"]);
        finds(&layer_problems(&File::new("src/queue/mod.rs", "")), &["not in the layer matrix"]);
    }

    #[test]
    fn purity() {
        let sample = "// tokio\nuse tokio::time;\nlet a = Utc::now();\nlet operand = now;\n";
        finds(
            &purity_problems(&File::new("src/domain/time.rs", sample)),
            &[":2: tokio", ":3: ::now()"],
        );
        finds(&purity_problems(&File::new("src/engine/run.rs", sample)), &[]);
    }

    #[test]
    fn reachability() {
        let files = [
            File::new("src/lib.rs", "pub mod a;\n// mod c;\n"),
            File::new("src/a/mod.rs", "mod b; #[cfg(test)] mod tests {}"),
            File::new("src/a/b.rs", "mod d;"),
            File::new("src/a/b/d.rs", ""),
            File::new("src/c.rs", ""),
        ];
        let cargo = "[lib]\npath = \"src/lib.rs\"\n";
        finds(&unreachable(&files, &roots(cargo)), &["src/c.rs"]);
    }

    #[test]
    fn heads() {
        finds(&head_problems(&File::new("a.rs", "use std::fs;\n//! Late.\n")), &[":1:"]);
        finds(&head_problems(&File::new("a.rs", "//! In time.\n")), &[]);
    }

    #[test]
    fn idle_statements() {
        let bad = "fn t() {\n    matches!(x, Some(_));\n}\n#[ignore]\nfn u() {}\n";
        finds(&idle_statement_problems(&File::new("a.rs", bad)), &[":2:", ":4:"]);
        let good = "fn t() -> bool {\n assert!(matches!(x, 1)); let y = matches!(x, 2);\n\
                    matches!(x, 3)\n}\n#[ignore = \"needs a broker\"]\nfn u() {}\n// matches!(x);\n";
        finds(&idle_statement_problems(&File::new("a.rs", good)), &[]);
    }

    #[test]
    fn sizes() {
        let long = format!("fn long(a: [u8; 3]) {{\n{}}}\n", "    step();\n".repeat(80));
        let file = File::new("a.rs", &long);
        finds(&size_problems(&file, &[]), &["long has 82 lines"]);
        finds(&size_problems(&file, &[("a.rs", "long", 82, "why")]), &[]);
        finds(&size_problems(&file, &[("a.rs", "long", 90, "why")]), &["lower or remove"]);
        finds(
            &size_problems(&file, &[("a.rs", "", 800, "why"), ("a.rs", "long", 82, "")]),
            &["lower or remove"],
        );
        finds(&size_problems(&File::new("b.rs", &"\n".repeat(801)), &[]), &["has 801 lines"]);
        let declared = "trait T { fn a(&self); fn b(&self) -> u8 { 1 } }";
        assert_eq!(functions(declared), [("b".to_owned(), 1, 1)]);
    }

    #[test]
    fn words_that_do_not_belong_here() {
        let path = ["see /ro", "ot/notes"].concat();
        let marker = [" // FIX", "ME later"].concat();
        let text = format!("{path}\nfine{marker}\nthe whole picture\n");
        finds(&word_problems(&File::new("README.md", &text)), &["README.md:1", "README.md:2"]);
    }

    #[test]
    fn undocumented_configuration() {
        let toml =
            "# Why.\na = 1\nb = 2\nc = 3 # why\n[t]\nlist = [\n  \"x = y\",\n]\n\n# Why.\nd = 4\n";
        finds(&undocumented_keys(toml), &[":3:", ":6:"]);
    }
}
