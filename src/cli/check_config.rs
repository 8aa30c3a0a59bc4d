//! `holdover check-config`: every problem of a configuration, or what it says; or, asked of a running
//! daemon, what of it is not in force there.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::{Out, plain};
use crate::admin::types::{ConfigOut, ConfigProblemOut};
use crate::config::{self, Changed, Data, Problem, Severity, Takes};
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
    /// Print what differs from the configuration that the daemon runs on, key by key, and whether a
    /// reload or a restart brings it
    #[arg(long)]
    difference: bool,
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

/// `holdover check-config`: the problems, or what would be in force, or what of it is not.
pub(super) async fn check(run: &Run, args: &CheckConfig) -> Result<Exit, Failure> {
    if args.difference { differs(run, args).await } else { alone(&run.out, args) }
}

async fn differs(run: &Run, args: &CheckConfig) -> Result<Exit, Failure> {
    let files: Vec<&std::path::Path> = args.files.iter().map(PathBuf::as_path).collect();
    let config = match config::load(&files) {
        Ok(config) => config,
        Err(problems) => {
            problems.iter().for_each(|problem| run.out.note(&problem.to_string()));
            let text = "the files are wrong, a reload would refuse them";
            return Err(Failure::local(Exit::NotReady, text));
        }
    };
    let running: ConfigOut = run.client.get("/admin/v1/configuration").await?;
    if let Some(at) = running.refused_at {
        run.out.note(&format!("a reload was refused at {}:", run.client.shown(at)));
        for ConfigProblemOut { key, why, .. } in &running.problems {
            run.out.note(&format!("  {}: {}", plain(key), plain(why)));
        }
    }
    let effective = serde_json::from_value(running.effective).map_err(Failure::of)?;
    let changed = config::difference(&effective, config.effective());
    run.out.data(&changed, || changed.iter().map(line).collect());
    let (exit, words) = match changed.iter().map(|one| one.takes).max() {
        None => (Exit::Success, "nothing differs from what the daemon runs on"),
        Some(Takes::Reload) => {
            (Exit::Success, "a reload brings all of it: systemctl reload holdover, or SIGHUP")
        }
        Some(Takes::Restart) => {
            (Exit::NotReady, "a reload would be refused: restart the daemon to bring all of it")
        }
    };
    run.out.note(words);
    Ok(exit)
}

fn line(one: &Changed) -> String {
    let shown = |value: &Option<String>| value.as_ref().map_or_else(|| "none".into(), |v| plain(v));
    let (old, new) = (shown(&one.old), shown(&one.new));
    format!("{}: {old} -> {new} ({})\n", plain(&one.key), one.takes)
}

fn alone(out: &Out, args: &CheckConfig) -> Result<Exit, Failure> {
    let files: Vec<&std::path::Path> = args.files.iter().map(PathBuf::as_path).collect();
    let (problems, shown) = match config::load(&files) {
        Ok(config) => {
            let mut problems = config::check(&config);
            problems.extend(about_keys(&config.data));
            problems.extend(config::calendar_lack(&config, SystemClock::wall()));
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
