//! `holdover check-config`: every problem of a configuration, or what is in force.

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::config::{self, Data, Problem, Severity};
use crate::daemon::clock::SystemClock;
use crate::web::access::KeyFile;
use serde_json::json;
use std::path::{Component, PathBuf};

/// Checks a configuration.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct CheckConfig {
    /// Configuration files, each laid over the one before and all over the defaults
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What stands against calling a daemon with the API keys of `data`, as they are now. Never an
/// error of the configuration.
fn about_keys(data: &Data) -> Vec<Problem> {
    let file = once_started(data);
    let whys: Vec<String> = match KeyFile::open(&file) {
        Ok(keys) => keys.lacks(SystemClock::wall()).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    };
    let problem = |why| Problem {
        key: "data.api_keys_file".to_owned(),
        value: None,
        why,
        severity: Severity::Warning,
    };
    whys.into_iter().map(problem).collect()
}

/// Where the key file is once the daemon has made its folder: until then a `..` behind the folder
/// leads nowhere.
fn once_started(data: &Data) -> PathBuf {
    if data.folder.exists() {
        return data.api_keys_file.clone();
    }
    let mut file = PathBuf::new();
    for part in data.api_keys_file.components() {
        match (part, file.components().next_back()) {
            (Component::ParentDir, Some(Component::Normal(_))) => {
                file.pop();
            }
            (part, _) => file.push(part),
        }
    }
    file
}

/// `holdover check-config`: the problems, or what is in force.
pub(super) fn check(out: &Out, args: &CheckConfig) -> Result<Exit, Failure> {
    let files: Vec<&std::path::Path> = args.files.iter().map(PathBuf::as_path).collect();
    let (problems, shown) = match config::load(&files) {
        Ok(config) => {
            let mut problems = config::check(&config);
            problems.extend(about_keys(&config.data));
            let wrong = problems.iter().any(|p| p.severity == Severity::Error);
            let shown = (!wrong).then(|| config::render(&config, SystemClock::wall()));
            (problems, shown)
        }
        Err(problems) => (problems, None),
    };
    let listed: Vec<_> = problems
        .iter()
        .map(|p| {
            let severity = match p.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            json!({ "severity": severity, "key": p.key, "value": p.value, "why": p.why })
        })
        .collect();
    let good = shown.is_some();
    if !out.json {
        // Seen also where what is in force goes to a file.
        problems.iter().for_each(|problem| out.note(&problem.to_string()));
    }
    out.data(&json!({ "good": good, "problems": listed, "effective": shown }), || {
        shown.clone().unwrap_or_default()
    });
    Ok(if good { Exit::Success } else { Exit::NotReady })
}
