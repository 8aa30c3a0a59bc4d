//! A page of the runbooks as text: its fenced blocks, and the commands that a reader pastes.
//!
//! What a command does is not looked at here. Both test programs read the pages through this
//! file: one compares them with the code, the other runs them.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of all pages.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks")
}

/// One page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Its path below the folder, such as `procedures/disk-full.md`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// One fenced block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// What stands behind the opening fence.
    pub(crate) tag: String,
    /// The nearest heading above it.
    pub(crate) heading: String,
    /// The number of its first line of content, from 1.
    pub(crate) line: usize,
    pub(crate) lines: Vec<String>,
}

/// One command, with its continued lines.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) heading: String,
    pub(crate) line: usize,
    /// What a shell is given.
    pub(crate) text: String,
}

/// Every page there is, by path.
pub(crate) fn pages() -> Vec<Page> {
    let (root, mut open, mut found) = (folder(), vec![folder()], Vec::new());
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("the folder of the runbooks can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                let text = fs::read_to_string(&path).expect("a page can be read");
                let below = path.strip_prefix(&root).expect("a path below its root");
                found.push(Page { path: below.display().to_string(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Page {
    /// Its fenced blocks, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut heading) = (Vec::new(), String::new());
        let mut open: Option<Block> = None;
        for (number, line) in self.text.lines().enumerate() {
            // A block in a list is indented.
            let bare = line.trim_start();
            match (&mut open, bare.strip_prefix("```")) {
                (None, Some(tag)) => {
                    let (tag, heading) = (tag.to_owned(), heading.clone());
                    open = Some(Block { tag, heading, line: number + 2, lines: Vec::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(block), None) => block.lines.push(bare.to_owned()),
                (None, None) => {
                    if line.starts_with('#') {
                        heading = line.trim_start_matches('#').trim().to_owned();
                    }
                }
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path);
        blocks
    }

    /// Its commands, in order.
    pub(crate) fn commands(&self) -> Vec<Command> {
        let blocks = self.blocks();
        let consoles = blocks.iter().filter(|block| block.tag == "console");
        consoles.flat_map(|block| block.commands(&self.path)).collect()
    }
}

impl Block {
    /// The commands of a block tagged `console` on the page `path`.
    fn commands(&self, path: &str) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut goes_on = false;
        for (place, text) in self.lines.iter().enumerate() {
            let line = self.line + place;
            let wrong = |why: &str| -> ! { panic!("runbooks/{path}:{line}: {why}: {text}") };
            match (text.strip_prefix("$ "), text.strip_prefix("> "), commands.last_mut()) {
                (Some(new), None, _) if !goes_on => {
                    let heading = self.heading.clone();
                    commands.push(Command { heading, line, text: new.to_owned() });
                }
                (None, Some(more), Some(last)) if goes_on => {
                    last.text.push('\n');
                    last.text.push_str(more);
                }
                _ => wrong("neither a command nor the rest of one"),
            }
            goes_on = text.ends_with('\\');
        }
        assert!(!goes_on, "runbooks/{path}:{}: the last command goes on", self.line);
        commands
    }
}
