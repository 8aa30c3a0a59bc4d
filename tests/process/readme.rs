//! The README's blocks for trying it, run one after the other as they stand, in one shell that ends
//! at the first command that fails. Ports, the program and the years of the calendar are this
//! machine's and this test's; nothing else is changed.
//!
//! The blocks that need more than this program (a service, a broker, a Prometheus) are not run here.

use crate::broker::free_ports;
use crate::rig::{HOLDOVER, endless_calendar};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The fenced blocks between two headings.
fn blocks(text: &str, from: &str, to: &str) -> Vec<String> {
    let (_, after) = text.split_once(from).unwrap();
    let (chapter, _) = after.split_once(to).unwrap();
    let parts = chapter.split("```sh\n").skip(1);
    parts.map(|part| part.split_once("```").unwrap().0.to_owned()).collect()
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "README.md no longer says {from}");
    text.replace(from, to)
}

#[test]
fn the_blocks_for_trying_it_work_one_after_the_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = blocks(&readme, "\n## Run it yourself\n", "\nCompletions and manual pages");
    assert!(blocks.len() >= 7, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    for name in ["config", "runbooks"] {
        symlink(root.join(name), folder.path().join(name)).unwrap();
    }
    let calendar = folder.path().join("calendar.toml");
    fs::write(&calendar, endless_calendar()).unwrap();

    let mut script = blocks.join("\n");
    script = replaced(&script, "cargo build --release && H=target/release/holdover", "H=$HOLDOVER");
    let years = format!("[calendar]\nfile = \"{}\"\n[data]\nfolder = ", calendar.display());
    script = replaced(&script, "[data]\nfolder = ", &years);
    script = replaced(
        &script,
        "\n[upstream.settlement]\n",
        "\n[listen]\nsubmitters = \
        \"127.0.0.1:8480\"\noperators = \"127.0.0.1:8481\"\n[upstream.settlement]\n",
    );
    for (said, free) in [8480, 8481, 9001, 9002, 9003].into_iter().zip(free_ports(5)) {
        script = replaced(&script, &format!("127.0.0.1:{said}"), &format!("127.0.0.1:{free}"));
        if said == 8481 {
            script.insert_str(0, &format!("export HOLDOVER_ADMIN=http://127.0.0.1:{free}\n"));
        }
    }
    // Whatever goes wrong, what it has started ends with it.
    let script = format!(
        "set -eEuo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n\
         trap 'echo \"line $LINENO: $BASH_COMMAND\" >&2' ERR\n{script}"
    );
    let output = Command::new("timeout")
        .args(["--kill-after", "5", "120", "bash", "-c", &script])
        .current_dir(folder.path())
        .env("HOLDOVER", HOLDOVER)
        .env_remove("HOLDOVER_KEY_FILE")
        .process_group(0)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{printed}\n{said}", output.status);
    let receipt = "\"disposition\":\"pass\"";
    for expected in [receipt, "(may still move later)", "registered 1,", "cancelled", "BECAME"] {
        assert!(printed.contains(expected), "{expected} is not in\n{printed}\n{said}");
    }
}
