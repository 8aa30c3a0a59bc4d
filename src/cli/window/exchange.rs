//! `holdover window import` and `export`: stops from and for other programs.
//!
//! Each event of a calendar becomes a *draft file*, which is what `window declare` reads without its
//! rows: declaring it is refused until a person has given it some, so a calendar stops nothing. The
//! file is known by its event (UID and RECURRENCE-ID) and remembers its SEQUENCE: a higher one
//! moves its times and touches nothing else that a person has written there, the same one changes
//! nothing, and a cancelled event puts its file aside. An event that recurs (RRULE) is one draft, of
//! its first occurrence, that names the rule: recurring stops are declared by `[recurring]`, which a
//! person decides on.
//!
//! Times are instants (UTC), of a named zone (TZID is a name of the time zone database; a VTIMEZONE is
//! not read) or whole days, which begin at midnight in `--zone`. A window's days are days of its zone, so
//! an instant does not make it one of UTC: it is of `--zone`. Times without a zone are refused: a stop
//! must not depend on whose machine read it. Nothing is written unless the whole calendar is good.

use super::super::Run;
use super::super::args::zone;
use super::super::exit::{Exit, Failure};
use super::super::input;
use super::super::out::Table;
use super::get;
use crate::admin::types::WindowOut;
use crate::domain::deadline::DeadlineRule;
use crate::domain::ids::WindowId;
use crate::domain::policy::Row;
use crate::domain::time::{Timestamp, Zone};
use crate::domain::window::{Notice, RestoreBy};
use crate::web::ics::{self, Property, Wrong};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Import {
    /// The calendar (RFC 5545); - for standard input
    file: PathBuf,
    /// The folder of draft files; it is made where there is none
    #[arg(long, value_name = "FOLDER")]
    into: PathBuf,
    /// The zone of whole days and of instants (UTC); a time with a TZID keeps its own
    #[arg(long, value_name = "ZONE", default_value = "Asia/Shanghai", value_parser = zone)]
    zone: Zone,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Export {
    /// Its name
    id: WindowId,
    /// As a calendar (RFC 5545), with the identities of the feed
    #[arg(long, conflicts_with = "toml")]
    ics: bool,
    /// As the file that window declare reads, which is what is printed anyway
    #[arg(long)]
    toml: bool,
}

/// An event of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    uid: String,
    /// Which occurrence of the UID it replaces, where it is one's.
    occurrence: Option<String>,
    sequence: u64,
    summary: String,
    starts_at: Timestamp,
    ends_at: Timestamp,
    zone: Zone,
    rule: Option<String>,
    is_cancelled: bool,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Became {
    New,
    Updated,
    Unchanged,
    Lapsed,
}

#[derive(Debug, Serialize)]
struct Imported {
    id: WindowId,
    uid: String,
    sequence: u64,
    became: Became,
    file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

pub(super) fn import(run: &Run, args: &Import) -> Result<Exit, Failure> {
    let events = events(&input::text(&args.file)?, args.zone).map_err(|wrong| {
        let lines = wrong.iter().map(|one| format!("{}: {one}", args.file.display()));
        let next =
            "nothing was written; have the calendar corrected and import it again".to_owned();
        Failure::usage(lines.chain([next]).collect::<Vec<_>>().join("\n"))
    })?;
    if events.is_empty() {
        let file = args.file.display();
        return Err(Failure::usage(format!("{file}: has no VEVENT; is it a calendar, and whole?")));
    }
    let mut imported = Vec::new();
    for event in events {
        let one = keep(&args.into, event)
            .map_err(|error| Failure::usage(format!("{}: {error}", args.into.display())))?;
        imported.push(one);
    }
    run.out.table(&imported, || {
        let mut table = Table::new(&["DRAFT", "SEQUENCE", "BECAME", "FILE"]);
        for one in &imported {
            let became = format!("{:?}", one.became).to_lowercase();
            let file = one.file.display().to_string();
            table.row([one.id.to_string(), one.sequence.to_string(), became, file]);
        }
        table
    });
    for one in imported.iter().filter(|one| one.rule.is_some() && one.became != Became::Lapsed) {
        run.out.note(&format!(
            "{} recurs and is a draft of its first occurrence: to have all of them, write a \
             [recurring] section (config/recurring.example.toml)",
            one.id
        ));
    }
    run.out.note("a draft stops nothing: give it rows, then holdover window declare");
    Ok(Exit::Success)
}

/// The events of a calendar, or everything that is wrong with it.
fn events(text: &str, days_in: Zone) -> Result<Vec<Event>, Vec<Wrong>> {
    let properties = ics::properties(text).map_err(|wrong| vec![wrong])?;
    let (mut events, mut wrong) = (Vec::new(), Vec::new());
    let mut open: Vec<&Property> = Vec::new();
    let mut own: Vec<&Property> = Vec::new();
    let mut all_cancelled = false;
    for property in &properties {
        match property.name.as_str() {
            "BEGIN" => {
                if property.value.eq_ignore_ascii_case("VEVENT") {
                    own.clear();
                }
                open.push(property);
            }
            "END" => match open.pop() {
                Some(begin) if begin.value.eq_ignore_ascii_case(&property.value) => {
                    if begin.value.eq_ignore_ascii_case("VEVENT") {
                        match event(begin, &own, days_in) {
                            Ok(event) => events.push(event),
                            Err(why) => wrong.push(why),
                        }
                    }
                }
                Some(_) | None => wrong.push(property.wrong("ends what did not begin")),
            },
            name => match open.last().map(|begin| begin.value.to_ascii_uppercase()) {
                Some(of) if of == "VEVENT" => own.push(property),
                Some(of) if of == "VCALENDAR" && name == "METHOD" => {
                    all_cancelled = property.value.eq_ignore_ascii_case("CANCEL");
                }
                Some(_) => {}
                None => wrong.push(property.wrong("stands outside of BEGIN:VCALENDAR")),
            },
        }
    }
    wrong.extend(open.first().map(|begin| begin.wrong("has no END")));
    for event in &mut events {
        event.is_cancelled |= all_cancelled;
    }
    if wrong.is_empty() { Ok(events) } else { Err(wrong) }
}

fn event(begin: &Property, own: &[&Property], days_in: Zone) -> Result<Event, Wrong> {
    let find = |name: &str| own.iter().copied().find(|property| property.name == name);
    let need = |name: &str| {
        find(name).ok_or_else(|| Wrong {
            line: begin.line,
            property: name.to_owned(),
            why: "is missing from this event".to_owned(),
        })
    };
    let uid = need("UID")?.value.clone();
    let start = need("DTSTART")?;
    let (starts_at, zone, is_day) = instant(start, days_in)?;
    let ends_at = match (find("DTEND"), find("DURATION")) {
        (Some(end), _) => instant(end, days_in)?.0,
        (None, Some(lasts)) => {
            let lasts = duration(&lasts.value)
                .ok_or_else(|| lasts.wrong("expected a duration such as PT2H30M or P1D"))?;
            starts_at.after(lasts)
        }
        (None, None) if is_day => starts_at.after(Duration::from_secs(86_400)),
        (None, None) => return Err(start.wrong("needs a DTEND or a DURATION beside it")),
    };
    if ends_at <= starts_at {
        return Err(find("DTEND").unwrap_or(start).wrong("is not after DTSTART"));
    }
    let sequence = match find("SEQUENCE") {
        Some(said) => said.value.trim().parse().map_err(|_| said.wrong("expected a number"))?,
        None => 0,
    };
    let text = |name| find(name).map(|property| ics::unescaped(&property.value));
    Ok(Event {
        uid,
        occurrence: find("RECURRENCE-ID").map(|of| of.value.clone()),
        sequence,
        summary: text("SUMMARY").unwrap_or_default(),
        starts_at,
        ends_at,
        zone,
        rule: find("RRULE").map(|rule| rule.value.clone()),
        is_cancelled: find("STATUS").is_some_and(|s| s.value.eq_ignore_ascii_case("CANCELLED")),
    })
}

/// An instant, the zone that it is meant in, and whether it is a whole day.
fn instant(property: &Property, days_in: Zone) -> Result<(Timestamp, Zone, bool), Wrong> {
    let value = property.value.trim();
    let is_day = property.parameters.get("VALUE").is_some_and(|v| v.eq_ignore_ascii_case("DATE"));
    if is_day {
        let day = NaiveDate::parse_from_str(value, "%Y%m%d")
            .map_err(|_| property.wrong("expected a day as yyyymmdd"))?;
        let begins = Timestamp::from_civil(day.and_time(NaiveTime::MIN), days_in);
        return Ok((begins, days_in, true));
    }
    let civil = |text: &str| {
        NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S").map_err(|_| {
            property.wrong("expected a time as yyyymmddThhmmss, or VALUE=DATE and yyyymmdd")
        })
    };
    if let Some(utc) = value.strip_suffix(['Z', 'z']) {
        return Ok((Timestamp::from_civil(civil(utc)?, chrono_tz::UTC), days_in, false));
    }
    let said = civil(value)?;
    let Some(named) = property.parameters.get("TZID") else {
        let why = "has no zone: give it a TZID, or write it in UTC, with a Z at its end";
        return Err(property.wrong(why));
    };
    let zone: Zone = named.trim_start_matches('/').parse().map_err(|_| {
        let why = "is no name of the time zone database, such as Asia/Shanghai";
        property.wrong(format!("TZID {named} {why}"))
    })?;
    Ok((Timestamp::from_civil(said, zone), zone, false))
}

/// A duration such as `P1DT2H`, or `P2W`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim().trim_start_matches('+').strip_prefix('P')?;
    let (days, times) = text.split_once('T').unwrap_or((text, ""));
    let mut seconds = 0_u64;
    for (part, units) in
        [(days, &[('W', 604_800), ('D', 86_400)][..]), (times, &[('H', 3600), ('M', 60), ('S', 1)])]
    {
        let mut number = String::new();
        for c in part.chars() {
            if c.is_ascii_digit() {
                number.push(c);
                continue;
            }
            let unit = units.iter().find(|(name, _)| *name == c)?.1;
            seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
            number.clear();
        }
        if !number.is_empty() {
            return None;
        }
    }
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

impl Event {
    /// The name that its window would have: what of the UID may stand in a name, and a sum that
    /// tells it from others alike.
    fn id(&self) -> Option<WindowId> {
        let whole = format!("{}\n{}", self.uid, self.occurrence.as_deref().unwrap_or_default());
        let mut name = String::new();
        for c in self.uid.chars().take_while(|&c| c != '@').take(40) {
            match c.to_ascii_lowercase() {
                c if c.is_ascii_lowercase() || c.is_ascii_digit() => name.push(c),
                _ if name.is_empty() || name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        let name = name.trim_end_matches('-');
        let name = if name.is_empty() { "import" } else { name };
        format!("{name}-{:08x}", crc32c::crc32c(whole.as_bytes())).parse().ok()
    }

    /// The lines that an import writes, each with what it begins with.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let at = |at: Timestamp| quoted(&at.rfc3339(self.zone));
        let mut lines = vec![
            ("# uid = ", quoted(&self.uid)),
            ("# sequence = ", self.sequence.to_string()),
            ("# summary = ", quoted(&self.summary)),
        ];
        lines.extend(self.occurrence.iter().map(|of| ("# occurrence = ", quoted(of))));
        lines.extend(self.rule.iter().map(|rule| ("# rule = ", quoted(rule))));
        lines.extend([
            ("starts_at = ", at(self.starts_at)),
            ("ends_at = ", at(self.ends_at)),
            ("zone = ", quoted(self.zone.name())),
        ]);
        lines
    }

    fn fresh(&self, id: &WindowId) -> String {
        let mut text = format!(
            "# A draft of a stop, imported from a calendar. It stops nothing: give it rows ([[policy]], as\n\
             # config/window.example.toml has them), then declare it:\n\
             #     holdover window declare {id} --file {id}.toml --reason TEXT\n"
        );
        for (begin, value) in self.lines() {
            text.push_str(&format!("{begin}{value}\n"));
        }
        text.push_str("restore_by = \"signed\"\n");
        text
    }

    /// A draft file with the times of this event and everything else as it stands there.
    fn laid_over(&self, text: &str) -> String {
        let mut lines = self.lines();
        let mut out = String::with_capacity(text.len() + 64);
        // Behind the first table those words are its own.
        let mut is_head = true;
        for line in text.split_inclusive('\n') {
            is_head &= !line.trim_start().starts_with('[');
            let known = lines.iter().position(|(begin, _)| is_head && line.starts_with(begin));
            match known.map(|place| lines.remove(place)) {
                Some((begin, value)) => out.push_str(&format!("{begin}{value}\n")),
                None if is_head && line.starts_with("# rule = ") => {}
                None => out.push_str(line),
            }
        }
        let missing = lines.iter().map(|(begin, value)| format!("{begin}{value}\n"));
        missing.collect::<String>() + &out
    }
}

/// What a draft file says of its event.
fn known(text: &str) -> Option<(String, u64)> {
    let of = |begin: &str| text.lines().find_map(|line| line.strip_prefix(begin));
    Some((serde_json::from_str(of("# uid = ")?).ok()?, of("# sequence = ")?.trim().parse().ok()?))
}

/// Keeps an event in its draft file.
fn keep(folder: &Path, event: Event) -> io::Result<Imported> {
    let id = event.id().ok_or_else(|| io::Error::other("the UID gives no name"))?;
    let file = folder.join(format!("{id}.toml"));
    let aside = folder.join(format!("{id}.toml.lapsed"));
    let read = |path: &Path| match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (stands, lapsed) = (read(&file)?, read(&aside)?);
    let is_lapsed = stands.is_none() && lapsed.is_some();
    let before = stands.or(lapsed);
    let seen = match &before {
        Some(text) => match known(text) {
            Some((uid, sequence)) if uid == event.uid => Some(sequence),
            Some(_) | None => {
                let why = format!("{} is not the draft of {}", file.display(), event.uid);
                return Err(io::Error::other(why));
            }
        },
        None => None,
    };
    let text = before.as_ref().map_or_else(|| event.fresh(&id), |text| event.laid_over(text));
    let became = match (seen, event.is_cancelled) {
        (Some(seen), _) if event.sequence < seen => Became::Unchanged,
        (Some(seen), false) if event.sequence == seen => Became::Unchanged,
        (Some(_), true) if !is_lapsed => {
            write(&aside, &text)?;
            std::fs::remove_file(&file)?;
            Became::Lapsed
        }
        (_, true) => {
            write(&aside, &text)?;
            Became::Lapsed
        }
        (seen, false) => {
            write(&file, &text)?;
            if is_lapsed {
                std::fs::remove_file(&aside)?;
            }
            if seen.is_some() { Became::Updated } else { Became::New }
        }
    };
    let is_aside = became == Became::Lapsed || (became == Became::Unchanged && is_lapsed);
    let file = if is_aside { aside } else { file };
    let Event { uid, sequence, rule, .. } = event;
    Ok(Imported { id, uid, sequence, became, file, rule })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

/// A window as `window declare` reads it.
#[derive(Serialize)]
struct Declared<'w> {
    starts_at: String,
    ends_at: String,
    zone: &'w str,
    restore_by: RestoreBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    cutoff_minutes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<&'w Notice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadlines: Option<&'w DeadlineRule>,
    policy: &'w [Row],
}

pub(super) async fn export(run: &Run, args: &Export) -> Result<Exit, Failure> {
    let window = get(run, &args.id).await?;
    let text = if args.ics { calendar(&window) } else { declared(&window)? };
    run.out.data(&window, || text);
    Ok(Exit::Success)
}

fn declared(window: &WindowOut) -> Result<String, Failure> {
    let declared = Declared {
        starts_at: window.starts_at.rfc3339(window.zone),
        ends_at: window.ends_at.rfc3339(window.zone),
        zone: window.zone.name(),
        restore_by: window.restore_by,
        cutoff_minutes: window.cutoff_minutes,
        notice: window.notice.as_ref(),
        deadlines: window.deadlines.as_ref(),
        policy: &window.policy,
    };
    toml::to_string(&declared).map_err(Failure::of)
}

/// The events of the feed: one for each stretch, under the name of its first row.
fn calendar(window: &WindowOut) -> String {
    let mut out = String::new();
    let times = |row: &Row| (row.starts_at, row.ends_at);
    ics::line(&mut out, "BEGIN", "VCALENDAR");
    ics::line(&mut out, "VERSION", "2.0");
    ics::line(&mut out, "PRODID", "-//Holdover//Planned stops//EN");
    for (place, row) in window.policy.iter().enumerate() {
        let alike = || window.policy.iter().filter(|other| times(other) == times(row));
        if window.policy.iter().take(place).any(|earlier| times(earlier) == times(row)) {
            continue;
        }
        let of = if times(row) == (None, None) { String::new() } else { format!(".{}", place + 1) };
        let mut clauses: Vec<&str> = Vec::new();
        for row in alike() {
            if !clauses.contains(&row.clause.as_str()) {
                clauses.push(&row.clause);
            }
        }
        let (zh, en) = match window.cause.is_planned() {
            true => ("计划停机", "Planned stop"),
            false => ("故障停机", "Unplanned stop"),
        };
        let start = row.starts_at.unwrap_or(window.starts_at);
        let end = row.ends_at.unwrap_or(window.ends_at);
        let summary = format!("{zh} / {en} {}: {}", window.id, clauses.join(", "));
        let source = window.notice.as_ref().map_or("", |notice| notice.source.as_str());
        let is_cancelled = window.cancelled_at.is_some();
        for (name, value) in [
            ("BEGIN", "VEVENT".to_owned()),
            ("UID", format!("{}{of}@holdover", window.id)),
            ("SEQUENCE", window.version.to_string()),
            ("DTSTAMP", ics::instant(window.changed_at)),
            ("DTSTART", ics::instant(start)),
            ("DTEND", ics::instant(end)),
            ("STATUS", if is_cancelled { "CANCELLED" } else { "CONFIRMED" }.to_owned()),
            ("TRANSP", "TRANSPARENT".to_owned()),
            ("SUMMARY", ics::escaped(&summary)),
            ("DESCRIPTION", ics::escaped(source)),
            ("END", "VEVENT".to_owned()),
        ] {
            ics::line(&mut out, name, &value);
        }
    }
    ics::line(&mut out, "END", "VCALENDAR");
    out
}

#[cfg(test)]
mod tests;
