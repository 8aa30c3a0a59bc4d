//! `holdover calendar`: the working days that are known, each with the paper it rests on, and
//! whether every year that is needed is there.
//!
//! It reads the configuration's file of working days itself and asks no daemon, so that a new file
//! can be looked at before anybody restarts for it.

use super::Run;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::config::{self, Problem};
use crate::daemon::clock::SystemClock;
use crate::domain::calendar::{Calendar, Exception, Paper};
use crate::domain::time::{CivilDate, Zone};
use chrono::Datelike;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where people mean dates unless a configuration says otherwise.
const ZONE: Zone = chrono_tz::Asia::Shanghai;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Print the holidays and make-up workdays with their papers
    Show {
        /// This year only
        #[arg(value_name = "YEAR")]
        year: Option<i32>,
        #[command(flatten)]
        source: Source,
    },
    /// Say whether the present year is known and, from 1 December on, the next; exit code 5 when not
    Check {
        /// The day to say it for; today where it is left out
        #[arg(long, value_name = "DATE")]
        today: Option<CivilDate>,
        #[command(flatten)]
        source: Source,
    },
}

/// Which working days are meant; without either those that are built in.
#[derive(Debug, clap::Args)]
pub(super) struct Source {
    /// Configuration files, as of serve, whose calendar is meant
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// A file of working days
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl Source {
    /// The working days, and the zone in which days are meant.
    fn read(&self, run: &Run) -> Result<(Calendar, Zone), Failure> {
        let wrong = |problems: Vec<Problem>| {
            problems.iter().for_each(|problem| run.out.note(&problem.to_string()));
            Failure::local(Exit::NotReady, "the working days cannot be read")
        };
        if !self.config.is_empty() {
            let files: Vec<&Path> = self.config.iter().map(PathBuf::as_path).collect();
            let config = config::load(&files).map_err(wrong)?;
            return Ok((config.calendar, config.zone));
        }
        let calendar = match &self.file {
            None => config::built_in_calendar(),
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let missing = error.kind() == std::io::ErrorKind::NotFound;
                    let exit = if missing { Exit::NotFound } else { Exit::Failure };
                    Failure::local(exit, format!("{name}: {error}"))
                })?;
                config::parse_calendar(&name, &text)
            }
        };
        calendar.map(|calendar| (calendar, ZONE)).map_err(wrong)
    }
}

impl Verb {
    pub(super) fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::Show { year, source } => show(run, &source.read(run)?.0, year),
            Self::Check { today, source } => {
                let (calendar, zone) = source.read(run)?;
                let today = today.unwrap_or_else(|| SystemClock::wall().civil(zone).date());
                Ok(check(run, &calendar, today))
            }
        }
    }
}

fn show(run: &Run, calendar: &Calendar, year: Option<i32>) -> Result<Exit, Failure> {
    if let Some(year) = year.filter(|year| !calendar.years.contains(year)) {
        let text = format!("{}: no data for {year}", calendar.file);
        return Err(Failure::local(Exit::NotReady, text));
    }
    let meant = |(day, _): &(&CivilDate, &Exception)| year.is_none_or(|year| day.year() == year);
    let days: Vec<_> = calendar.exceptions.iter().filter(meant).collect();
    let paper = |paper: &Paper| {
        json!({
            "year": paper.year, "document": paper.document, "published": paper.published,
            "amends": paper.amends,
        })
    };
    let listed = days.iter().map(|(day, exception)| {
        json!({
            "date": day, "weekday": weekday(**day), "worked": exception.is_worked,
            "paper": exception.paper.document,
        })
    });
    let shown = json!({
        "version": calendar.version, "file": calendar.file, "years": calendar.years,
        "papers": calendar.papers.iter().map(|one| paper(one)).collect::<Vec<_>>(),
        "days": listed.collect::<Vec<Value>>(),
    });
    run.out.table(&shown, || {
        let mut table = Table::new(&["from", "to", "", "paper", "published"]);
        for (first, last, exception) in stretches(&days) {
            let kind = if exception.is_worked { "worked" } else { "holiday" };
            let on = |day: CivilDate| format!("{day} {}", weekday(day));
            let paper = &exception.paper;
            table.row([
                on(first),
                on(last),
                kind.to_owned(),
                plain(&paper.document),
                paper.published.to_string(),
            ]);
        }
        table
    });
    run.out.note(&format!("{}, version {}", plain(&calendar.file), plain(&calendar.version)));
    Ok(Exit::Success)
}

/// Days that follow upon each other and rest on one paper as one stretch.
fn stretches<'c>(
    days: &[(&CivilDate, &'c Exception)],
) -> Vec<(CivilDate, CivilDate, &'c Exception)> {
    let mut found: Vec<(CivilDate, CivilDate, &Exception)> = Vec::new();
    for (day, exception) in days {
        match found.last_mut() {
            Some((_, last, before))
                if last.succ_opt() == Some(**day)
                    && before.is_worked == exception.is_worked
                    && Arc::ptr_eq(&before.paper, &exception.paper) =>
            {
                *last = **day;
            }
            _ => found.push((**day, **day, exception)),
        }
    }
    found
}

fn weekday(day: CivilDate) -> String {
    day.weekday().to_string()
}

fn check(run: &Run, calendar: &Calendar, today: CivilDate) -> Exit {
    let lacks = calendar.lacks(today);
    let next = lacks.map(|year| config::how_to_add(calendar, year));
    let value = json!({
        "today": today, "version": calendar.version, "file": calendar.file,
        "years": calendar.years, "lacks": lacks, "next": next,
    });
    let known = || match (calendar.years.first(), calendar.years.last()) {
        (Some(first), Some(last)) => format!("{first} to {last}"),
        _ => "no year".to_owned(),
    };
    let verdict = match lacks {
        None => "good".to_owned(),
        Some(year) => format!("LACKS {year}"),
    };
    run.out.data(&value, || {
        format!("{verdict}: working days are known for {} ({})\n", known(), calendar.version)
    });
    if let Some(next) = next {
        run.out.note(&format!("what to do: {next}"));
        return Exit::NotReady;
    }
    Exit::Success
}
