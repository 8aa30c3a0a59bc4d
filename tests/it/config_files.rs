//! Configuration files: the shipped ones are good, and each kind of mistake is told.

use holdover::config::{self, Problem, Severity};
use holdover::domain::time::CivilDate;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn report(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

#[test]
fn the_shipped_files_have_no_problem() {
    for file in ["config/beijing-2022-08.toml", "config/production.example.toml"] {
        match config::load(&[&root().join(file)]) {
            Ok(config) => assert_eq!(report(&config::check(&config)), "", "{file}"),
            Err(problems) => panic!("{file}:\n{}", report(&problems)),
        }
    }
}
