//! `holdover deadline import`: cases from a file, CSV or xlsx, with a result for each row.
//!
//! The first row names the columns: `institution`, `business`, `reference`, and either `original`
//! or `term` and `event`; `owed_by` where somebody is to be named. The rows are sent a thousand at
//! a time. A case that is known is not registered again, so that a file that was cut off is simply
//! imported once more, and one that was imported before is found out by that.
//!
//! No value of the file is repeated in a message: a column in the wrong place may hold anything.

use super::Run;
use super::exit::{Exit, Failure};
use super::input;
use crate::admin::types::{CaseImported, CaseRow, CasesImported, IMPORT_ROWS_MAX, ImportCases};
use calamine::{Data, Reader};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Mistakes that are listed; the others are counted, and stand in the results.
const LISTED: usize = 20;
/// The columns a file may have.
const COLUMNS: [&str; 7] =
    ["institution", "business", "original", "term", "event", "owed_by", "reference"];

/// What is imported, and where the results go.
#[derive(Debug, clap::Args)]
pub(super) struct Import {
    /// A table of cases: .csv, .xlsx, .xls or .ods
    file: PathBuf,
    /// Write the result of each row as CSV to this file
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    #[command(flatten)]
    reason: super::args::Reason,
}

/// The outcome in numbers, and what is wrong.
#[derive(Debug, Default, Serialize)]
struct Summary {
    rows: usize,
    registered: usize,
    known_before: usize,
    wrong: usize,
    mistakes: Vec<Mistake>,
}

#[derive(Debug, Serialize)]
struct Mistake {
    /// The row of the file, its head being row 1.
    row: usize,
    field: Option<String>,
    why: String,
}

impl Import {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let rows = read(&self.file)?;
        let mut results = match &self.results {
            Some(path) => Some(Results::create(path)?),
            None => None,
        };
        let bar = progress(run, rows.len());
        let mut summary = Summary { rows: rows.len(), ..Summary::default() };
        for (number, chunk) in (0..).zip(rows.chunks(IMPORT_ROWS_MAX)) {
            let first = number * IMPORT_ROWS_MAX + 2;
            let body = ImportCases { rows: chunk.to_vec(), reason: self.reason.reason.clone() };
            let path = "/admin/v1/deadlines/import";
            let sent = run.client.post::<CasesImported>(path, &body, None).await;
            let answer = sent.inspect_err(|_| {
                bar.finish_and_clear();
                run.out.note(&format!(
                    "rows up to {} are registered; import the file once more: what is known is not \
                     registered again",
                    first - 1
                ));
            })?;
            for (row, result) in (first..).zip(&answer.rows) {
                summary.take(row, result);
                if let Some(results) = &mut results {
                    results.write(row, result)?;
                }
            }
            bar.inc(chunk.len() as u64);
        }
        bar.finish_and_clear();
        if let Some(results) = results {
            results.end()?;
        }
        run.out.data(&summary, || summary.in_words());
        if summary.rows > 0 && summary.known_before == summary.rows {
            run.out.note("every row was registered before: this file was imported already");
        }
        Ok(if summary.wrong == 0 { Exit::Success } else { Exit::NotReady })
    }
}

fn progress(run: &Run, rows: usize) -> ProgressBar {
    if !run.out.in_place || run.out.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} rows, {eta} left");
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

impl Summary {
    fn take(&mut self, row: usize, result: &CaseImported) {
        match (&result.id, result.duplicate) {
            (Some(_), false) => self.registered += 1,
            (Some(_), true) => self.known_before += 1,
            (None, _) => {
                self.wrong += 1;
                let why = result.why.clone().unwrap_or_default();
                self.mistakes.push(Mistake { row, field: result.field.clone(), why });
            }
        }
    }

    fn in_words(&self) -> String {
        let mut text = String::new();
        for Mistake { row, field, why } in self.mistakes.iter().take(LISTED) {
            let field = field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
            text.push_str(&format!("row {row}: {field}{why}\n"));
        }
        if self.mistakes.len() > LISTED {
            let more = self.mistakes.len() - LISTED;
            text.push_str(&format!("and {more} more: --results FILE, or --json\n"));
        }
        text + &format!(
            "rows {}: registered {}, known before {}, wrong {}\n",
            self.rows, self.registered, self.known_before, self.wrong
        )
    }
}

/// The results, row by row, for whoever goes through them.
struct Results(csv::Writer<std::fs::File>);

impl Results {
    fn create(path: &Path) -> Result<Self, Failure> {
        let writer = csv::Writer::from_path(path);
        let writer = writer.map_err(|error| unwritable(path, &error))?;
        let mut results = Self(writer);
        results.put(&["row", "deadline", "known_before", "effective", "field", "why"])?;
        Ok(results)
    }

    fn write(&mut self, row: usize, result: &CaseImported) -> Result<(), Failure> {
        let text = |value: Option<String>| value.unwrap_or_default();
        self.put(&[
            &row.to_string(),
            &text(result.id.as_ref().map(ToString::to_string)),
            if result.duplicate { "yes" } else { "no" },
            &text(result.effective.map(|date| date.to_string())),
            &text(result.field.clone()),
            &text(result.why.clone()),
        ])
    }

    fn put(&mut self, cells: &[&str; 6]) -> Result<(), Failure> {
        self.0
            .write_record(cells)
            .map_err(|error| Failure::local(Exit::Failure, format!("the results: {error}")))
    }

    fn end(mut self) -> Result<(), Failure> {
        self.0
            .flush()
            .map_err(|error| Failure::local(Exit::Failure, format!("the results: {error}")))
    }
}

fn unwritable(path: &Path, error: &csv::Error) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

/// Every row of the table.
fn read(path: &Path) -> Result<Vec<CaseRow>, Failure> {
    let is_csv = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    let table = if is_csv { read_csv(path)? } else { read_sheet(path)? };
    let mut table = table.into_iter();
    let head = table.next().unwrap_or_default();
    let columns = columns(path, &head)?;
    Ok(table.map(|cells| row(&columns, cells)).collect())
}

fn read_csv(path: &Path) -> Result<Vec<Vec<String>>, Failure> {
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(path);
    let unreadable = |error: csv::Error| {
        // What the library says of a record would show it.
        let place = error.position().map(|at| format!(" in line {}", at.line()));
        let what = match error.kind() {
            csv::ErrorKind::Io(error) => return input::wrong(path, error),
            csv::ErrorKind::Utf8 { .. } => "it is not UTF-8; save it as CSV UTF-8".to_owned(),
            _ => "it is not CSV".to_owned(),
        };
        Failure::usage(format!("{}{}: {what}", path.display(), place.unwrap_or_default()))
    };
    let mut reader = reader.map_err(unreadable)?;
    let records = reader.records().map(|record| {
        record.map(|record| record.iter().map(str::to_owned).collect()).map_err(unreadable)
    });
    records.collect()
}

/// The first sheet.
fn read_sheet(path: &Path) -> Result<Vec<Vec<String>>, Failure> {
    let unreadable = |what: String| {
        Failure::usage(format!("{}: {what}; expected .csv, .xlsx, .xls or .ods", path.display()))
    };
    let book = calamine::open_workbook_auto(path);
    let mut book = book.map_err(|error| unreadable(error.to_string()))?;
    let sheet =
        book.worksheet_range_at(0).ok_or_else(|| unreadable("it has no sheet".to_owned()))?;
    let sheet = sheet.map_err(|error| unreadable(error.to_string()))?;
    Ok(sheet.rows().map(|cells| cells.iter().map(cell).collect()).collect())
}

/// A cell as it would be written: a date as a day.
fn cell(data: &Data) -> String {
    match data {
        Data::DateTime(at) => {
            let (year, month, day, hour, minute, second, _) = at.to_ymd_hms_milli();
            match (hour, minute, second) {
                (0, 0, 0) => format!("{year:04}-{month:02}-{day:02}"),
                _ => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"),
            }
        }
        Data::Empty => String::new(),
        other => other.to_string(),
    }
}

/// For each column its name, as far as it is one of ours.
fn columns(path: &Path, head: &[String]) -> Result<Vec<Option<&'static str>>, Failure> {
    let name = |text: &String| {
        let text = text.trim_start_matches('\u{feff}').trim();
        COLUMNS.into_iter().find(|column| column.eq_ignore_ascii_case(text))
    };
    let found: Vec<_> = head.iter().map(name).collect();
    let has = |column: &str| found.contains(&Some(column));
    let missing: Vec<&str> =
        ["institution", "business", "reference"].into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() && (has("original") || has("event")) {
        return Ok(found);
    }
    Err(Failure::usage(format!(
        "{}: the first row must name the columns institution, business, reference, and either \
         original or term and event; owed_by may be there",
        path.display()
    )))
}

fn row(columns: &[Option<&'static str>], cells: Vec<String>) -> CaseRow {
    let mut row = CaseRow::default();
    for (column, text) in columns.iter().zip(cells) {
        let field = match *column {
            Some("institution") => &mut row.institution,
            Some("business") => &mut row.business,
            Some("original") => &mut row.original,
            Some("term") => &mut row.term,
            Some("event") => &mut row.event,
            Some("owed_by") => &mut row.owed_by,
            Some("reference") => &mut row.reference,
            Some(_) | None => continue,
        };
        text.trim().clone_into(field);
    }
    row
}
