//! A person at a terminal: one shell for a page, given its commands in their order.
//!
//! The shell has nothing on its path but the programs that a runbook may use, keeps its variables
//! from block to block, and ends at the first command that fails. Whatever it has started and not
//! stopped ends with it.

use super::page::{Command as Typed, Page};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that one command may take.
const COMMAND_MAX: Duration = Duration::from_secs(40);

/// A shell that plays one page.
pub(super) struct Shell {
    page: String,
    child: Child,
    typed: Option<ChildStdin>,
    /// What it printed, with a mark before each command.
    out: PathBuf,
    left: VecDeque<Typed>,
    number: usize,
}

impl Shell {
    /// Opens a shell with these variables alone.
    pub(super) fn open(page: &Page, folder: &Path, variables: &[(String, String)]) -> Self {
        let out = folder.join(format!("{}.out", page.path.replace('/', "-")));
        let printed = File::create(&out).unwrap();
        let mut command = Command::new("/bin/bash");
        command.args(["--noprofile", "--norc", "-euo", "pipefail", "-s"]);
        command.env_clear().envs(variables.iter().cloned()).current_dir(folder);
        command.stdin(Stdio::piped()).stdout(printed.try_clone().unwrap()).stderr(printed);
        let mut child = command.process_group(0).spawn().unwrap();
        let typed = child.stdin.take();
        let left: VecDeque<Typed> = page.commands().into();
        assert!(!left.is_empty(), "runbooks/{} has no command", page.path);
        Self { page: page.path.clone(), child, typed, out, left, number: 0 }
    }

    /// Runs the next commands of the page, which stand under `heading`.
    pub(super) fn section(&mut self, heading: &str) {
        let next = self.left.front().map(|command| command.heading.as_str());
        assert_eq!(next, Some(heading), "runbooks/{}: the section to come", self.page);
        while self.left.front().is_some_and(|command| command.heading == heading) {
            self.step();
        }
    }

    /// Runs the commands that are left.
    pub(super) fn rest(&mut self) {
        while !self.left.is_empty() {
            self.step();
        }
    }

    /// Everything that was printed since the page was opened.
    pub(super) fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap()).into_owned()
    }

    /// Runs one command and waits until it has ended.
    fn step(&mut self) {
        let Some(Typed { line, text, .. }) = self.left.pop_front() else { return };
        self.number += 1;
        let before = self.printed().len();
        let done = format!("\u{1}done {}", self.number);
        let script = format!("{text}\nprintf '\\001done %s\\n' {}\n", self.number);
        let typed = self.typed.as_mut().unwrap();
        // A shell that has ended says why below.
        drop(typed.write_all(script.as_bytes()));
        let began = Instant::now();
        loop {
            let printed = self.printed();
            let new = printed.get(before..).unwrap_or_default();
            if new.contains(&done) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            let late = began.elapsed() > COMMAND_MAX;
            assert!(
                ended.is_none() && !late,
                "runbooks/{}:{line}: {}\n$ {text}\n{}",
                self.page,
                ended.map_or("does not end".to_owned(), |status| status.to_string()),
                self.printed().get(before..).unwrap_or_default(),
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// That the whole page was run.
    pub(super) fn close(self) {
        let left = self.left.iter().map(|command| command.line).collect::<Vec<_>>();
        assert!(left.is_empty(), "runbooks/{}: lines {left:?} were not run", self.page);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The group is the shell's own: itself and what it started.
        let group = format!("-{}", self.child.id());
        let mut kill = Command::new("kill");
        kill.args(["-KILL", "--", &group]).stderr(Stdio::null());
        drop(kill.status());
        drop(self.child.wait());
    }
}
