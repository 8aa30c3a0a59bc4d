//! `holdover window`: planned stops of the core.

mod exchange;
mod trial;

use super::Run;
use super::args::{Cells, Reason, instant, touched, zone};
use super::client::segment;
use super::exit::{Exit, Failure};
use super::input;
use super::out::{Table, plain};
use crate::admin::types::{
    Because, ChangeWindow, ConfirmOutage, DeclareWindow, DraftDismissed, DraftOut, GateOut,
    GatesOut, MoveEnd, RestoreCells, ScheduleOut, StretchOut, VersionOut, VersionShown,
    VersionsOut, WindowChanged, WindowOut, WindowsOut,
};
use crate::domain::difference::Difference;
use crate::domain::gate::GateState;
use crate::domain::ids::WindowId;
use crate::domain::policy::Row;
use crate::domain::time::{CivilDate, Timestamp, Zone};
use crate::domain::window::Phase;
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
        /// As it was in this version
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
    },
    /// List the versions of a window: who, when, why, and what each changed; or compare two
    Diff {
        /// Its name
        id: WindowId,
        /// Compare with this version; the one before --to where it is left out
        #[arg(long, value_name = "NUMBER")]
        from: Option<u32>,
        /// Compare this version; the one in force where it is left out
        #[arg(long, value_name = "NUMBER")]
        to: Option<u32>,
    },
    /// Say whether any window needs a person; exit code 5 when one is past its end, not proved back
    Check,
    /// Say what a window is expected to keep by what came in lately, whether it fits, and how long
    /// the replay takes; exit code 5 when it does not fit
    Forecast {
        /// Its name
        id: WindowId,
        /// Of a window that this file would declare, instead of one that is known
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Its start, where the file has none
        #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "file")]
        starts_at: Option<Timestamp>,
        /// Its planned end, where the file has none
        #[arg(long, value_name = "INSTANT", value_parser = instant, requires = "file")]
        ends_at: Option<Timestamp>,
    },
    /// Declare a window from a file of policy rows
    Declare(Box<Declare>),
    /// Give a window a new whole from a file, as far as it can still be changed; the times stay as
    /// planned where neither the file nor an option says others
    Change(Box<Change>),
    /// Make a draft file of each event of a calendar, for window declare once it has rows; asks no
    /// daemon
    Import(exchange::Import),
    /// Print a window as the file that window declare reads, or as a calendar
    Export(exchange::Export),
    /// Move the planned end later, of the window or of one row
    Extend {
        /// Its name
        id: WindowId,
        /// Only the row at this place, from 0, as window show numbers them
        #[arg(long, value_name = "PLACE")]
        row: Option<u32>,
        /// The new planned end, such as 2022-08-15T12:00+08:00
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Timestamp,
        #[command(flatten)]
        reason: Reason,
    },
    /// Move the planned end earlier, to now where no instant is given, of the window or of one row
    End {
        /// Its name
        id: WindowId,
        /// Only the row at this place, from 0, as window show numbers them
        #[arg(long, value_name = "PLACE")]
        row: Option<u32>,
        /// The new planned end
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        at: Option<Timestamp>,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        reason: Reason,
    },
    /// Make a window of an outage that nobody planned, from when it began
    Confirm {
        /// The draft's name, as window list shows it
        id: WindowId,
        /// When it is expected to be over, where somebody knows
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Option<Timestamp>,
        #[command(flatten)]
        reason: Reason,
    },
    /// Say that an outage is no window; its draft goes away
    Dismiss {
        /// The draft's name
        id: WindowId,
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
    Restore(Box<Restore>),
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
pub(super) struct Restore {
    #[command(flatten)]
    act: Act,
    /// From when on they may go, where that is later than now; such as 2022-08-15T09:00+08:00
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    ready_from: Option<Timestamp>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Declare {
    /// Its name: lower-case letters, digits and -
    id: WindowId,
    #[command(flatten)]
    stop: Stop,
    /// Say what is wrong with it and what it is expected to keep, and declare nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, clap::Args)]
pub(super) struct Change {
    /// Its name
    id: WindowId,
    #[command(flatten)]
    stop: Stop,
    /// Say what would be others and what is wrong with it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reason: Reason,
}

/// What a window is to say.
#[derive(Debug, clap::Args)]
pub(super) struct Stop {
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
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<Zone>,
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::List { next } => list(run, next).await,
            Self::Show { id, version: Some(version) } => {
                let seen: VersionShown = run.client.get(&path_of(&id, version, None)).await?;
                run.out.data(&seen, || describe(&seen.window));
                Ok(Exit::Success)
            }
            Self::Diff { id, from, to } => diff(run, &id, from, to).await,
            Self::Show { id, version: None } => {
                let window = get(run, &id).await?;
                run.out.data(&window, || describe(&window));
                Ok(Exit::Success)
            }
            Self::Check => check(run).await,
            Self::Forecast { id, file, starts_at, ends_at } => {
                let body = file.map(|file| {
                    let reason = Reason { reason: "a forecast".to_owned() };
                    let (text, published, zone) = (None, None, None);
                    let stop = Stop { file, starts_at, ends_at, text, published, zone };
                    stop.body::<DeclareWindow>(Some(&id), &reason)
                });
                trial::forecast(run, &id, body.transpose()?).await
            }
            Self::Declare(declare) => self::declare(run, *declare).await,
            Self::Change(change) => self::change(run, *change).await,
            Self::Import(args) => exchange::import(run, &args),
            Self::Export(args) => exchange::export(run, &args).await,
            Self::Extend { id, row, until, reason } => {
                let seen = get(run, &id).await?;
                let body = MoveEnd { ends_at: Some(until), row, reason: reason.reason };
                // A restore is an act of its own, which a later end does not take back.
                let done = if seen.restores.is_empty() {
                    "extended"
                } else {
                    "extended; what was restored of it stays open (holdover gate close closes it)"
                };
                act(run, &seen, "extend", &body, done).await
            }
            Self::End { id, row, at, confirm, reason } => {
                let seen = get(run, &id).await?;
                confirm.check(run, &seen, &brief(&seen))?;
                let body = MoveEnd { ends_at: at, row, reason: reason.reason };
                act(run, &seen, "end", &body, "ended early").await
            }
            Self::Confirm { id, until, reason } => {
                let path = format!("/admin/v1/windows/{}/confirm", segment(id.as_str()));
                let body = ConfirmOutage { ends_at: until, reason: reason.reason };
                let changed: WindowChanged = run.client.post(&path, &body, None).await?;
                report(run, &changed, "confirmed");
                Ok(Exit::Success)
            }
            Self::Dismiss { id, reason } => {
                let path = format!("/admin/v1/windows/{}/dismiss", segment(id.as_str()));
                let body = Because { reason: reason.reason };
                let dismissed: DraftDismissed = run.client.post(&path, &body, None).await?;
                run.out.data(&dismissed, || format!("{}: dismissed\n", dismissed.id));
                Ok(Exit::Success)
            }
            Self::Cancel { id, confirm, reason } => {
                let seen = get(run, &id).await?;
                confirm.check(run, &seen, &brief(&seen))?;
                let body = Because { reason: reason.reason };
                act(run, &seen, "cancel", &body, "cancelled").await
            }
            Self::Restore(args) => {
                upon_cells(run, args.act, args.ready_from, ("restore", "restored")).await
            }
            Self::Release(args) => upon_cells(run, *args, None, ("release", "released")).await,
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

fn path_of(id: &WindowId, version: u32, since: Option<u32>) -> String {
    let id = segment(id.as_str());
    let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
    format!("/admin/v1/windows/{id}/versions/{version}{query}")
}

async fn diff(
    run: &Run,
    id: &WindowId,
    from: Option<u32>,
    to: Option<u32>,
) -> Result<Exit, Failure> {
    let WindowOut { zone, version: newest, .. } = get(run, id).await?;
    if from.is_none() && to.is_none() {
        let path = format!("/admin/v1/windows/{}/versions", segment(id.as_str()));
        let seen: VersionsOut = run.client.get(&path).await?;
        run.out.data(&seen, || {
            let text = |v: &VersionOut| {
                let at = v.changed_at.rfc3339(zone);
                let by = format!("version {} by {} at {at}: {}", v.version, v.author, v.reason);
                format!(
                    "{}\n{}",
                    plain(&by),
                    lines(v.differences.as_deref().unwrap_or_default(), zone)
                )
            };
            seen.items.iter().map(text).collect()
        });
        return Ok(Exit::Success);
    }
    let to = to.unwrap_or(newest);
    let seen: VersionShown = run.client.get(&path_of(id, to, from)).await?;
    run.out.data(&seen, || {
        let since = seen.since.map_or("nothing before it".to_owned(), |v| format!("version {v}"));
        let differences = seen.differences.as_deref().unwrap_or_default();
        format!("version {to} of {id}, compared with {since}\n{}", lines(differences, zone))
    });
    Ok(Exit::Success)
}

/// Differences, each on a line of its own, their instants in `zone`.
fn lines(differences: &[Difference], zone: Zone) -> String {
    let side = |value: &Option<Value>| match value.as_ref().map(|value| in_zone(value, zone)) {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    let line = |d: &Difference| {
        let text = format!("{}: {} -> {}", d.pointer, side(&d.from), side(&d.to));
        format!("  {}\n", plain(&text))
    };
    differences.iter().map(line).collect()
}

/// A value with its instants in `zone`.
fn in_zone(value: &Value, zone: Zone) -> Value {
    match value {
        Value::String(text) => {
            let at = text.parse::<Timestamp>();
            at.map_or_else(|_| value.clone(), |at| Value::String(at.rfc3339(zone)))
        }
        Value::Array(items) => items.iter().map(|item| in_zone(item, zone)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), in_zone(value, zone))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
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
        [table, drafts(&seen.drafts, run.client.zone()), coming(&seen.schedule)]
    });
    if let Some(draft) = seen.drafts.first() {
        run.out.next(&format!(
            "holdover window confirm {} …, or holdover window dismiss {} …",
            draft.id, draft.id
        ));
    }
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

/// Outages that nobody planned.
fn drafts(drafts: &[DraftOut], zone: Zone) -> Table {
    let mut table = Table::new(&["draft", "away", "since", "until", "waiting"]);
    for draft in drafts {
        table.row([
            draft.id.to_string(),
            draft.upstream.as_ref().map_or("our own intake".to_owned(), ToString::to_string),
            draft.began_at.rfc3339(zone),
            draft.ended_at.map_or("now".to_owned(), |at| at.rfc3339(zone)),
            draft.waiting.to_string(),
        ]);
    }
    table
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
    let red = |w: &&WindowOut| matches!(w.phase, Phase::Verifying | Phase::Overrun);
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
    let body: DeclareWindow = args.stop.body(Some(&args.id), &args.reason)?;
    if args.dry_run {
        return trial::trial(run, "/admin/v1/windows", &body).await;
    }
    let changed: WindowChanged = run.client.post("/admin/v1/windows", &body, None).await?;
    report(run, &changed, "declared");
    Ok(Exit::Success)
}

impl Stop {
    /// The body that the file and the options make.
    fn body<T: serde::de::DeserializeOwned>(
        &self,
        id: Option<&WindowId>,
        reason: &Reason,
    ) -> Result<T, Failure> {
        let mut body = read(&self.file)?;
        let Some(fields) = body.as_object_mut() else {
            return Err(Failure::usage("the file holds no table"));
        };
        let given = [
            ("id", id.map(|id| json!(id))),
            ("starts_at", self.starts_at.map(|at| json!(at))),
            ("ends_at", self.ends_at.map(|at| json!(at))),
            ("text", self.text.as_ref().map(|text| json!(text))),
            ("published", self.published.map(|day| json!(day))),
            ("zone", self.zone.map(|zone| json!(zone))),
            ("reason", Some(json!(reason.reason))),
        ];
        for (name, value) in given {
            fields.extend(value.map(|value| (name.to_owned(), value)));
        }
        let file = self.file.display();
        if !fields.contains_key("policy") {
            return Err(Failure::usage(format!(
                "{file}: has no rows, so it stops nothing: give it [[policy]] sections, as \
                 config/window.example.toml has them"
            )));
        }
        serde_json::from_value(body).map_err(|error| {
            let next = "config/window.example.toml explains every key";
            Failure::usage(format!("{file}: {error}; {next}"))
        })
    }
}

async fn change(run: &Run, args: Change) -> Result<Exit, Failure> {
    let body: ChangeWindow = args.stop.body(None, &args.reason)?;
    let path = format!("/admin/v1/windows/{}/change", segment(args.id.as_str()));
    if args.dry_run {
        return trial::trial(run, &path, &body).await;
    }
    let seen = get(run, &args.id).await?;
    if args.confirm.confirm.is_none() {
        let checked = trial::checked(run, &path, &body).await?;
        run.out.note(trial::text(&checked, run.client.zone()).trim_end());
    }
    args.confirm.check(run, &seen, &brief(&seen))?;
    act(run, &seen, "change", &body, "changed").await
}

fn read(path: &Path) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = input::text(path)?;
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

async fn upon_cells(
    run: &Run,
    args: Act,
    ready_from: Option<Timestamp>,
    (verb, done): (&str, &str),
) -> Result<Exit, Failure> {
    let (cells, all) = args.cells.selector()?;
    let seen = get(run, &args.id).await?;
    let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
    let touches = format!("{}; {}", brief(&seen), touched(&cells, &gates.gates));
    args.confirm.check(run, &seen, &touches)?;
    let done = if all { done.to_owned() } else { format!("{done} in part") };
    // A release has no ready_from, and is the same body without it.
    let body = RestoreCells { cells, all, ready_from, reason: args.reason.reason };
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
    for warning in &changed.warnings {
        run.out.note(trial::fault_line(warning).trim_end());
    }
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
    if let Some(minutes) = window.cutoff_minutes {
        line("cutoff", &format!("{minutes} min before it, long work is not begun any more"));
    }
    if let Some(notice) = &window.notice {
        line("notice", &notice.source);
    }
    if let Some(rule) = &window.deadlines {
        let rule = serde_json::to_string(&rule.rule).unwrap_or_default();
        line("deadlines", &rule);
    }
    for (place, row) in window.policy.iter().enumerate() {
        line(&format!("row {place}"), &row_line(row, window.zone));
    }
    for told in &window.told {
        let cells = serde_json::to_string(&told.cells).unwrap_or_default();
        let [from, to] = [told.stretch.start, told.stretch.end].map(|at| at.rfc3339(window.zone));
        line("told before", &format!("{from} to {to}: {cells}"));
    }
    let acts = [("restored", &window.restores), ("released", &window.releases)];
    for (name, acts) in acts {
        for act in acts {
            let cells = serde_json::to_string(&act.cells).unwrap_or_default();
            let at = act.at.rfc3339(window.zone);
            let ready = act.ready_from.map(|from| format!(", ready {}", from.rfc3339(window.zone)));
            let ready = ready.unwrap_or_default();
            line(name, &format!("{at} by {}{ready}: {cells} ({})", act.by, act.reason));
        }
    }
    text
}

fn row_line(row: &Row, zone: Zone) -> String {
    let disposition = row.disposition.map_or("undecided", |d| d.as_str());
    let cells = serde_json::to_string(&row.cells).unwrap_or_default();
    let mut text = format!("{} {disposition} {cells}", row.clause);
    for (name, at) in [("from", row.starts_at), ("to", row.ends_at)] {
        text.extend(at.map(|at| format!(" {name} {}", at.rfc3339(zone))));
    }
    text
}
