//! `holdover window`: planned stops of the core.

use super::Run;
use super::args::{Cells, Reason, instant, touched};
use super::client::segment;
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{
    Because, DeclareWindow, ForCells, GateOut, GatesOut, MoveEnd, ScheduleOut, StretchOut,
    WindowChanged, WindowOut, WindowsOut,
};
use crate::domain::gate::GateState;
use crate::domain::ids::WindowId;
use crate::domain::policy::Row;
use crate::domain::time::{CivilDate, Timestamp, Zone};
use crate::domain::window::Phase;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List every window with its phase, and what comes by schedule, in local time and in UTC
    List {
        /// How many occurrences and openings of each schedule, up to 50
        #[arg(long, value_name = "COUNT", default_value_t = 3)]
        next: usize,
    },
    /// Show one window, row by row
    Show {
        /// Its name
        id: WindowId,
    },
    /// Say whether any window needs a person; exit code 5 when one is past its end, not proved back
    Check,
    /// Declare a window from a file of policy rows
    Declare(Box<Declare>),
    /// Move the planned end later
    Extend {
        /// Its name
        id: WindowId,
        /// The new planned end, such as 2022-08-15T12:00+08:00
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Timestamp,
        #[command(flatten)]
        reason: Reason,
    },
    /// Move the planned end earlier, to now where no instant is given
    End {
        /// Its name
        id: WindowId,
        /// The new planned end
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        at: Option<Timestamp>,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        reason: Reason,
    },
    /// Take back a window that has not begun
    Cancel {
        /// Its name
        id: WindowId,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        reason: Reason,
    },
    /// Certify that cells of the core are back
    Restore(Box<Act>),
    /// Let cells go that wait for a named person
    Release(Box<Act>),
}

#[derive(Debug, clap::Args)]
pub(super) struct Confirm {
    /// The window's name once more
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Act {
    /// The window's name
    id: WindowId,
    #[command(flatten)]
    cells: Cells,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, clap::Args)]
pub(super) struct Declare {
    /// Its name: lower-case letters, digits and -
    id: WindowId,
    /// Its policy rows, and notice and deadlines where it has them: TOML, or JSON where the name
    /// ends in .json; - reads TOML from standard input
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Its start, such as 2022-08-12T19:00+08:00
    #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "ends_at")]
    starts_at: Option<Timestamp>,
    /// Its planned end
    #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "starts_at")]
    ends_at: Option<Timestamp>,
    /// The sentence of the notice that names the stop, instead of instants
    #[arg(long, value_name = "SENTENCE", conflicts_with = "starts_at", requires = "published")]
    text: Option<String>,
    /// The day on which the notice was published, which gives the sentence its year
    #[arg(long, value_name = "DATE", requires = "text")]
    published: Option<CivilDate>,
    /// The zone its times are meant in, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE")]
    zone: Option<Zone>,
    #[command(flatten)]
    reason: Reason,
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List { next } => list(run, next).await,
            Self::Show { id } => {
                let window = get(run, &id).await?;
                run.out.data(&window, || describe(&window));
                Ok(Exit::Success)
            }
            Self::Check => check(run).await,
            Self::Declare(declare) => self::declare(run, *declare).await,
            Self::Extend { id, until, reason } => {
                let seen = get(run, &id).await?;
                let body = MoveEnd { ends_at: Some(until), reason: reason.reason };
                // A restore is an act of its own, which a later end does not take back.
                let done = if seen.restores.is_empty() {
                    "extended"
                } else {
                    "extended; what was restored of it stays open (holdover gate close closes it)"
                };
                act(run, &seen, "extend", &body, done).await
            }
            Self::End { id, at, confirm, reason } => {
                let seen = get(run, &id).await?;
                confirm.check(run, &seen, &brief(&seen))?;
                let body = MoveEnd { ends_at: at, reason: reason.reason };
                act(run, &seen, "end", &body, "ended early").await
            }
            Self::Cancel { id, confirm, reason } => {
                let seen = get(run, &id).await?;
                confirm.check(run, &seen, &brief(&seen))?;
                let body = Because { reason: reason.reason };
                act(run, &seen, "cancel", &body, "cancelled").await
            }
            Self::Restore(args) => upon_cells(run, *args, "restore", "restored").await,
            Self::Release(args) => upon_cells(run, *args, "release", "released").await,
        }
    }
}

impl Confirm {
    fn check(&self, run: &Run, seen: &WindowOut, touches: &str) -> Result<(), Failure> {
        run.confirmed_by_name(self.confirm.as_deref(), seen.id.as_str(), touches)
    }
}

async fn get(run: &Run, id: &WindowId) -> Result<WindowOut, Failure> {
    run.client.get(&format!("/admin/v1/windows/{}", segment(id.as_str()))).await
}

async fn list(run: &Run, next: usize) -> Result<Exit, Failure> {
    let seen: WindowsOut = run.client.get(&format!("/admin/v1/windows?next={next}")).await?;
    run.out.tables(&seen, || {
        let mut table = Table::new(&["window", "version", "phase", "starts", "ends", "author"]);
        for w in &seen.items {
            table.row([
                w.id.to_string(),
                w.version.to_string(),
                w.phase.to_string(),
                w.starts_at.rfc3339(w.zone),
                w.ends_at.rfc3339(w.zone),
                plain(&w.author),
            ]);
        }
        [table, coming(&seen.schedule)]
    });
    for one in &seen.schedule.service_hours {
        if let Some(year) = one.unknown_from_year {
            run.out.note(&format!(
                "{}: later openings are not known, the calendar has no working days for {year} \
                 (no_calendar)",
                one.name
            ));
            run.out.next("holdover calendar check");
        }
    }
    for left in &seen.schedule.left_alone {
        run.out.note(&format!(
            "{left} was declared by a schedule that would not declare it now; it stands until \
             somebody cancels it"
        ));
        run.out.next(&format!("holdover window cancel {left} …"));
    }
    Ok(Exit::Success)
}

/// What comes by schedule, row by row.
fn coming(schedule: &ScheduleOut) -> Table {
    let mut table = Table::new(&["schedule", "plans", "from", "to", "in UTC", "window"]);
    let mut row = |name: &WindowId, plans: &str, when: &StretchOut, window: String| {
        table.row([
            name.to_string(),
            plans.to_owned(),
            plain(&when.starts_at_local),
            plain(&when.ends_at_local),
            format!("{} to {}", when.starts_at, when.ends_at),
            window,
        ]);
    };
    for one in &schedule.recurring {
        for occurrence in &one.next {
            let declared = occurrence.window.as_ref().zip(occurrence.phase);
            let window = declared.map(|(window, phase)| format!("{window} ({phase})"));
            let window = window.unwrap_or_else(|| "not declared yet".to_owned());
            row(&one.name, "a stop", &occurrence.planned, window);
        }
    }
    for one in &schedule.service_hours {
        for opening in &one.next {
            row(&one.name, "open", opening, "-".to_owned());
        }
    }
    table
}

async fn check(run: &Run) -> Result<Exit, Failure> {
    let page: WindowsOut = run.client.get("/admin/v1/windows?next=0").await?;
    let red = |w: &&WindowOut| w.phase == Phase::Verifying;
    let overdue: Vec<&WindowOut> = page.items.iter().filter(red).collect();
    run.out.data(&json!({ "green": overdue.is_empty(), "overdue": overdue }), || {
        let line =
            |w: &WindowOut| format!("{}: past its planned end and not proved back\n", brief(w));
        if overdue.is_empty() {
            return format!("no window needs a person; known: {}\n", page.items.len());
        }
        overdue.iter().map(|w| line(w)).collect()
    });
    match overdue.first() {
        None => Ok(Exit::Success),
        Some(first) => {
            run.out.next(&format!(
                "holdover window restore {} …, or holdover window extend {} …",
                first.id, first.id
            ));
            Ok(Exit::NotReady)
        }
    }
}

async fn declare(run: &Run, args: Declare) -> Result<Exit, Failure> {
    let mut body = read(&args.file)?;
    let Some(fields) = body.as_object_mut() else {
        return Err(Failure::usage("the file holds no table"));
    };
    let given = [
        ("id", Some(json!(args.id))),
        ("starts_at", args.starts_at.map(|at| json!(at))),
        ("ends_at", args.ends_at.map(|at| json!(at))),
        ("text", args.text.map(|text| json!(text))),
        ("published", args.published.map(|day| json!(day))),
        ("zone", args.zone.map(|zone| json!(zone))),
        ("reason", Some(json!(args.reason.reason))),
    ];
    for (name, value) in given {
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    let body: DeclareWindow = serde_json::from_value(body)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.file.display())))?;
    let changed: WindowChanged = run.client.post("/admin/v1/windows", &body, None).await?;
    report(run, &changed, "declared");
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| wrong(error.to_string()))?;
    if path.extension().is_some_and(|e| e == "json") {
        return serde_json::from_str(&text).map_err(|error| wrong(error.to_string()));
    }
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    Ok(from_toml(toml::Value::Table(table)))
}

/// TOML knows instants without quotes; in JSON they are texts.
fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(yes) => json!(yes),
        toml::Value::Datetime(at) => json!(at.to_string()),
        toml::Value::Array(list) => list.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => {
            table.into_iter().map(|(name, value)| (name, from_toml(value))).collect()
        }
    }
}

async fn act(
    run: &Run,
    seen: &WindowOut,
    verb: &str,
    body: &impl serde::Serialize,
    done: &str,
) -> Result<Exit, Failure> {
    let path = format!("/admin/v1/windows/{}/{verb}", segment(seen.id.as_str()));
    let changed: WindowChanged = run.client.post(&path, body, Some(seen.version)).await?;
    report(run, &changed, done);
    Ok(Exit::Success)
}

async fn upon_cells(run: &Run, args: Act, verb: &str, done: &str) -> Result<Exit, Failure> {
    let (cells, all) = args.cells.selector()?;
    let seen = get(run, &args.id).await?;
    let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
    let touches = format!("{}; {}", brief(&seen), touched(&cells, &gates.gates));
    args.confirm.check(run, &seen, &touches)?;
    let done = if all { done.to_owned() } else { format!("{done} in part") };
    let body = ForCells { cells, all, reason: args.reason.reason };
    act(run, &seen, verb, &body, &done).await?;
    // It has taken effect, whether or not the gates can be looked at now.
    let gates: Option<GatesOut> = run.client.get("/admin/v1/gates").await.ok();
    if let Some(text) = gates.and_then(|gates| awaiting_release(&seen, &gates)) {
        run.out.note(&text);
        run.out.next(&format!("holdover window release {} …", seen.id));
    }
    Ok(Exit::Success)
}

/// What still waits for a named person's release, by districts; nothing where no gate does.
fn awaiting_release(window: &WindowOut, gates: &GatesOut) -> Option<String> {
    let waits = |g: &&GateOut| {
        g.state == GateState::AwaitingRelease && g.window.as_ref() == Some(&window.id)
    };
    let waiting: Vec<&GateOut> = gates.gates.iter().filter(waits).collect();
    let transactions: u64 = waiting.iter().map(|gate| gate.waiting).sum();
    let districts = waiting.iter().map(|gate| gate.cell.district.to_string());
    let districts: BTreeSet<String> = districts.collect();
    (!districts.is_empty()).then(|| {
        let districts = districts.into_iter().collect::<Vec<_>>().join(", ");
        format!(
            "{transactions} transactions still wait for a release, in the districts {districts}"
        )
    })
}

fn report(run: &Run, changed: &WindowChanged, done: &str) {
    let window = &changed.window;
    run.out.data(changed, || format!("{}: {done}\n", brief(window)));
    let head = &changed.audit_head;
    run.out.note(&format!("audit record {}, head {}", head.records, head.hash));
    run.out.next(&format!("holdover window show {}", window.id));
}

fn brief(window: &WindowOut) -> String {
    format!(
        "window {} (version {}, {}, {} to {})",
        window.id,
        window.version,
        window.phase,
        window.starts_at.rfc3339(window.zone),
        window.ends_at.rfc3339(window.zone)
    )
}

fn describe(window: &WindowOut) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{name:<12} {}\n", plain(value)));
    };
    line("window", window.id.as_str());
    let changed_at = window.changed_at.rfc3339(window.zone);
    line("version", &format!("{} by {} at {changed_at}", window.version, window.author));
    let of_last_change = if window.version == 1 { "reason" } else { "last reason" };
    line(of_last_change, &window.reason);
    line("phase", window.phase.as_str());
    line("starts", &window.starts_at.rfc3339(window.zone));
    line("ends", &window.ends_at.rfc3339(window.zone));
    if let Some(notice) = &window.notice {
        line("notice", &notice.source);
    }
    if let Some(rule) = &window.deadlines {
        let rule = serde_json::to_string(&rule.rule).unwrap_or_default();
        line("deadlines", &rule);
    }
    for row in &window.policy {
        line("row", &row_line(row));
    }
    let acts = [("restored", &window.restores), ("released", &window.releases)];
    for (name, acts) in acts {
        for act in acts {
            let cells = serde_json::to_string(&act.cells).unwrap_or_default();
            let at = act.at.rfc3339(window.zone);
            line(name, &format!("{at} by {}: {cells} ({})", act.by, act.reason));
        }
    }
    text
}

fn row_line(row: &Row) -> String {
    let disposition = row.disposition.map_or("undecided", |d| d.as_str());
    let cells = serde_json::to_string(&row.cells).unwrap_or_default();
    format!("{} {disposition} {cells}", row.clause)
}
