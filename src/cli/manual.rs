//! `holdover completions` and `holdover man`: what a shell and `man` know of the command line, made
//! from the same definitions as its help. No copy of it stands in the repository.
//!
//! The examples of a noun, which its help begins with, are a section of its page.

use super::exit::{Exit, Failure};
use super::out::Out;
use crate::daemon::clock::SystemClock;
use crate::domain::time::Zone;
use clap::Command;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The shells that completions are made for.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Prints what a shell needs to complete a command line.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = shell())]
    shell: Shell,
}

/// Prints the manual page, or writes all of them.
#[derive(Debug, clap::Args)]
pub(super) struct Manual {
    /// The folder to write every page into, such as /usr/local/share/man/man1; without it the first
    /// page goes to standard output
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

fn shell() -> impl TypedValueParser<Value = Shell> {
    PossibleValuesParser::new(SHELLS).try_map(|text| text.parse())
}

/// `holdover completions`: to standard output.
pub(super) fn completions(out: &Out, args: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "holdover", &mut script);
    let script = String::from_utf8(script).map_err(Failure::of)?;
    out.data(&json!({ "script": script }), || script.clone());
    Ok(Exit::Success)
}

/// `holdover man`: the pages.
pub(super) fn manual(out: &Out, args: &Manual) -> Result<Exit, Failure> {
    let mut root = super::command().disable_help_subcommand(true);
    root.build();
    let Some(folder) = &args.folder else {
        let page = page(&root).map_err(Failure::of)?;
        out.data(&json!({ "page": page }), || page.clone());
        return Ok(Exit::Success);
    };
    let mut written = Vec::new();
    write_all(&root, folder, &mut written)
        .map_err(|error| Failure::of(format!("{}: {error}", folder.display())))?;
    out.data(&json!({ "pages": written }), || {
        written.iter().map(|path| format!("{}\n", path.display())).collect()
    });
    Ok(Exit::Success)
}

fn write_all(command: &Command, folder: &Path, written: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let path = folder.join(Man::new(command.clone()).get_filename());
    std::fs::write(&path, page(command)?)?;
    written.push(path);
    command
        .get_subcommands()
        .filter(|c| !c.is_hide_set())
        .try_for_each(|inner| write_all(inner, folder, written))
}

fn page(command: &Command) -> std::io::Result<String> {
    // The day on which the page is made: without one a page has no well-formed title.
    let today = SystemClock::wall().civil(Zone::UTC).date();
    let source = format!("holdover {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).manual("Holdover").source(source).date(today.to_string());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let page = String::from_utf8(page).map_err(std::io::Error::other)?;
    // An empty line is a break of its own.
    let mut page = page.replace(".br\n\n.br\n", ".br\n");
    let more = command.get_before_help().or(command.get_after_help());
    page += &sections(&more.map(ToString::to_string).unwrap_or_default());
    Ok(page)
}

/// The examples of a help as sections that `man` leaves as they are. A line that is not indented and
/// ends in a colon begins a section; where none has, the text goes on from the section before.
fn sections(help: &str) -> String {
    let mut text = String::new();
    for line in help.lines() {
        match line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            Some(heading) => {
                let end = if text.is_empty() { "" } else { ".fi\n" };
                text += &format!("{end}.SH {}\n.nf\n", heading.to_uppercase());
            }
            None => text += &format!("{}\n", escaped(line)),
        }
    }
    if text.is_empty() { text } else { text + ".fi\n" }
}

/// A line that means itself: no character of it steers the page.
fn escaped(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        Some(_) | None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_stands_on_the_page_as_it_is() {
        assert_eq!(
            sections("Examples:\n  holdover a --b \\\n.c\n\nExit codes:\n  0"),
            ".SH EXAMPLES\n.nf\n  holdover a \\-\\-b \\e\n\\&.c\n\n.fi\n.SH EXIT CODES\n.nf\n  0\n.fi\n"
        );
        assert_eq!(sections(""), "");
    }
}
