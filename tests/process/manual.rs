//! Completions and manual pages as shells and `man` read them.

use crate::rig::{HOLDOVER, may_use};
use std::process::Command;

fn made(args: &[&str]) -> String {
    let output = Command::new(HOLDOVER).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_reads_its_completions_and_each_shell_knows_the_nouns() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = made(&["completions", shell]);
        for noun in ["status", "window", "dead-letter", "check-config"] {
            assert!(script.contains(noun), "{shell}: {noun}");
        }
        std::fs::write(folder.path().join(shell), script).unwrap();
    }
    let read = Command::new("bash").arg("-n").arg(folder.path().join("bash")).output().unwrap();
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
    // What it offers, as bash asks for it.
    let asks = "source \"$0\"; COMP_WORDS=(holdover stat); COMP_CWORD=1; \
                _holdover holdover stat holdover; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let offered =
        Command::new("bash").args(["-c", asks]).arg(folder.path().join("bash")).output().unwrap();
    assert_eq!(String::from_utf8(offered.stdout).unwrap(), "status\n");
}

#[test]
fn every_command_has_a_page_with_its_examples_that_man_has_nothing_against() {
    let folder = tempfile::tempdir().unwrap();
    let written = made(&["man", folder.path().to_str().unwrap()]);
    let pages: Vec<&str> = written.lines().collect();
    assert!(pages.len() > 40, "{written}");
    let status = std::fs::read_to_string(folder.path().join("holdover-status.1")).unwrap();
    assert!(status.contains("\n.SH EXAMPLES\n.nf\n  holdover status\n"), "{status}");
    let first = std::fs::read_to_string(folder.path().join("holdover.1")).unwrap();
    assert_eq!(first, made(&["man"]));
    assert!(first.contains("\n.SH EXIT CODES\n"), "{first}");
    // Left out where nobody brings the program; `tests/run` does.
    if may_use("mandoc") {
        let mut lint = Command::new("mandoc");
        let lint = lint.args(["-T", "lint", "-W", "warning"]).args(&pages).output().unwrap();
        let said = String::from_utf8(lint.stdout).unwrap();
        assert!(lint.status.success() && said.is_empty(), "{said}");
    }
}
