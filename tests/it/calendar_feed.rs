//! The calendar feed, read back by a reader that knows nothing of the writer, over an engine
//! that really declares, moves and cancels windows.

use crate::engine_support::{NoRuns, settings};
use crate::intake_rig::{NOW, Rig, StillClock, at, limits, rig_before};
use axum::body::Body;
use axum::http::StatusCode;
use holdover::domain::cell::{Channel, Selector};
use holdover::domain::policy::{Advice, Disposition, Row};
use holdover::domain::revision::Revision;
use holdover::domain::time::{Interval, Monotonic, Now, Timestamp};
use holdover::domain::window::{Cause, Notice, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Order, Reply};
use holdover::engine::machine::Machine;
use holdover::engine::run::{Handle, Input};
use holdover::engine::step::{Decision, Effect};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

const FEED: &str = "/v1/windows.ics";
/// Before the windows of these tests.
const TODAY: &str = "2022-08-10T09:00:00+08:00";

/// Runs a real machine, without threads and without a journal.
async fn run(mut queue: mpsc::Receiver<Input>, now: Timestamp) {
    let mut machine = Machine::new(settings(), Box::new(NoRuns));
    let now = Now { wall: now, monotonic: Monotonic(0) };
    while let Some(input) = queue.recv().await {
        match input {
            Input::Event(make, to) => {
                let mut decision = Decision::default();
                let event = make(holdover::engine::event::ReplyTo(1));
                machine.step(now, event, &mut decision);
                let reply = decision.effects.into_iter().find_map(|effect| match effect {
                    Effect::Reply(_, reply) => Some(reply),
                    Effect::Send(_)
                    | Effect::Ask { .. }
                    | Effect::GateTurned { .. }
                    | Effect::BlobsLeft(_) => None,
                });
                drop(to.send(reply.unwrap()));
            }
            Input::Told(event) => machine.step(now, event, &mut Decision::default()),
            Input::Read(look) => look(&machine, now)(),
            Input::Close => break,
        }
    }
}

fn live() -> (Rig, Handle) {
    let (queue, inputs) = mpsc::channel(64);
    tokio::spawn(run(inputs, at(TODAY)));
    let engine = Handle::new(queue);
    let clock = Arc::new(StillClock(at(NOW)));
    (rig_before(engine.clone(), <_>::default(), <_>::default(), limits(), clock), engine)
}

async fn order(engine: &Handle, command: Command) -> u32 {
    let (by, reason) = ("operator".to_owned(), "because".to_owned());
    match engine.order(Order { by, reason, command }).await {
        Reply::Done(Done::Window(window)) => window.version,
        other => panic!("{other:?}"),
    }
}

fn row(clause: &str, ends_at: Option<&str>) -> Row {
    Row {
        clause: clause.to_owned(),
        cells: Selector { upstream: vec!["b".parse().unwrap()], ..Selector::default() },
        disposition: Some(Disposition::Hold),
        advice: Advice::DoNotFinalise,
        alternative: None,
        bring: Vec::new(),
        needs_report_file: false,
        starts_at: None,
        ends_at: ends_at.map(at),
        decided_because: None,
    }
}

/// A source with everything that must be escaped, and long enough in every script to be folded.
const SOURCE: &str = "北京市医疗保障局，转自报刊; a bureau, its \\paper\\\nand its second line, \
                      到此为止到此为止到此为止到此为止";

fn window(id: &str) -> Window {
    let at_the_hall = Selector { channel: vec![Channel::Hall], ..row("", None).cells };
    let planned =
        Interval::new(at("2022-08-12T19:00:00+08:00"), at("2022-08-15T06:00:00+08:00")).unwrap();
    Window {
        id: id.parse().unwrap(),
        version: 0,
        zone: chrono_tz::Asia::Shanghai,
        planned,
        published: planned,
        told: Vec::new(),
        author: String::new(),
        reason: String::new(),
        changed_at: at(TODAY),
        notice: Some(Notice {
            source: SOURCE.to_owned(),
            published_at: at("2022-08-09T10:00:00+08:00"),
            document: None,
            digest: None,
            clauses: Vec::new(),
        }),
        policy: vec![
            row("(二)1", None),
            row("(二)4", Some("2022-08-14T06:00:00+08:00")),
            Row { cells: at_the_hall, ..row("(二)2", None) },
            row("(二)1", None),
        ],
        deadlines: None,
        restore_by: RestoreBy::Signed,
        cause: Cause::Planned,
        cutoff_minutes: None,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    }
}

type Properties = BTreeMap<String, String>;

/// The events of a feed, each property by its name. Stricter than the standard: one object,
/// no property twice.
fn events(body: &[u8]) -> Vec<Properties> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let text = body.strip_suffix(b"\r\n").expect("the last line has its end");
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r') && line.len() <= 75, "{}", String::from_utf8_lossy(line));
        std::str::from_utf8(line).expect("no character is cut by a fold");
        match (line.strip_prefix(b" "), lines.last_mut()) {
            (Some(more), Some(last)) => last.extend(more),
            _ => lines.push(line.to_vec()),
        }
    }
    assert_eq!(body.split(|&byte| byte == b'\n').count(), count(body, b"\r\n") + 1, "CRLF alone");
    let lines: Vec<String> = lines.into_iter().map(|l| String::from_utf8(l).unwrap()).collect();
    assert_eq!(lines.first().map(String::as_str), Some("BEGIN:VCALENDAR"));
    assert_eq!(lines.last().map(String::as_str), Some("END:VCALENDAR"));
    let mut found = Vec::new();
    let mut open: Option<Properties> = None;
    for line in &lines[1..lines.len() - 1] {
        let (name, value) = line.split_once(':').unwrap();
        match (name, value) {
            ("BEGIN", "VEVENT") => assert!(open.replace(Properties::new()).is_none()),
            ("END", "VEVENT") => found.push(open.take().unwrap()),
            (name, value) => {
                if let Some(event) = &mut open {
                    let name = name.to_owned();
                    assert!(event.insert(name, value.to_owned()).is_none(), "{line} twice");
                }
            }
        }
    }
    assert!(open.is_none());
    found
}

fn count(body: &[u8], what: &[u8]) -> usize {
    body.windows(what.len()).filter(|part| *part == what).count()
}

fn unescaped(value: &str) -> String {
    let (mut out, mut chars) = (String::new(), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some(c @ ('\\' | ';' | ',')) => out.push(c),
                other => panic!("{other:?} behind a backslash"),
            },
            ';' | ',' => panic!("{c} stands unescaped in {value}"),
            c => out.push(c),
        }
    }
    out
}

async fn feed(rig: &Rig) -> Vec<Properties> {
    let answered = rig.get(FEED).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert_eq!(answered.headers["content-type"], "text/calendar; charset=utf-8");
    events(&answered.body)
}

#[tokio::test]
async fn each_stretch_of_a_window_is_an_event_with_the_words_of_its_notice() {
    let (rig, engine) = live();
    assert!(feed(&rig).await.is_empty());
    order(&engine, Command::DeclareWindow(Box::new(window("stop")))).await;
    let found = feed(&rig).await;
    assert_eq!(found.len(), 2, "three rows share their times, one has its own");
    let (whole, own) = (&found[0], &found[1]);
    assert_eq!(whole["UID"], "stop@holdover");
    assert_eq!(own["UID"], "stop.2@holdover");
    for event in &found {
        assert_eq!(event["DTSTAMP"], "20220810T010000Z");
        assert_eq!(event["DTSTART"], "20220812T110000Z");
        assert_eq!(event["SEQUENCE"], "1");
        assert_eq!(event["STATUS"], "CONFIRMED");
    }
    assert_eq!(whole["DTEND"], "20220814T220000Z");
    assert_eq!(own["DTEND"], "20220813T220000Z");
    assert_eq!(
        unescaped(&whole["SUMMARY"]),
        "计划停机：部分系统 / Planned stop stop: (二)1, (二)2"
    );
    let description = unescaped(&whole["DESCRIPTION"]);
    let said = "计划停机：部分系统，2022年8月12日19:00至2022年8月15日06:00。\nPlanned stop: part of \
                the system, from 2022-08-12 19:00 to 2022-08-15 06:00.\n";
    let description = description.strip_prefix(said).unwrap();
    let published = "published 2022-08-09T10:00:00+08:00";
    assert!(
        description.starts_with(&format!("{SOURCE}, {published}\n(二)1: hold")),
        "{description}"
    );
    // Of two rows that say the same one is told, and none in the form of the interface.
    let rows: Vec<&str> = description.lines().filter(|line| line.starts_with("(二)")).collect();
    assert_eq!(
        rows,
        [
            "(二)1: hold, counter: do_not_finalise; part of the system",
            "(二)2: hold, counter: do_not_finalise; part of the system, channel hall",
        ]
    );
}

#[tokio::test]
async fn a_stop_that_is_extended_or_cancelled_replaces_its_event() {
    let (rig, engine) = live();
    for id in ["first", "second"] {
        order(&engine, Command::DeclareWindow(Box::new(window(id)))).await;
    }
    let before = feed(&rig).await;
    let (window, ends_at) = ("first".parse().unwrap(), at("2022-08-16T00:00:00+08:00"));
    let moved = Command::MoveWindowEnd { window, row: None, ends_at, if_version: None };
    assert_eq!(order(&engine, moved).await, 2);
    let window = "second".parse().unwrap();
    assert_eq!(order(&engine, Command::CancelWindow { window, if_version: None }).await, 2);
    let after = feed(&rig).await;

    let uids = |found: &[Properties]| -> Vec<String> {
        found.iter().map(|event| event["UID"].clone()).collect()
    };
    assert_eq!(uids(&before), uids(&after));
    assert!(before.iter().all(|event| event["SEQUENCE"] == "1"));
    assert!(after.iter().all(|event| event["SEQUENCE"] == "2"));
    let column = |name: &str| -> Vec<&str> { after.iter().map(|e| e[name].as_str()).collect() };
    assert_eq!(column("STATUS"), ["CONFIRMED", "CONFIRMED", "CANCELLED", "CANCELLED"]);
    let ends = ["20220815T160000Z", "20220813T220000Z", "20220814T220000Z", "20220813T220000Z"];
    assert_eq!(column("DTEND"), ends);
}

#[tokio::test]
async fn a_stretch_that_a_change_takes_away_stays_in_the_feed_as_cancelled() {
    let (rig, engine) = live();
    let declared = window("stop");
    order(&engine, Command::DeclareWindow(Box::new(declared.clone()))).await;
    let change = |policy: Vec<Row>| Command::ChangeWindow {
        window: "stop".parse().unwrap(),
        to: Box::new(Revision {
            zone: declared.zone,
            planned: declared.planned,
            notice: declared.notice.clone(),
            policy,
            deadlines: None,
            restore_by: declared.restore_by,
            cutoff_minutes: None,
        }),
        if_version: None,
    };
    let told = async || -> Vec<(String, String, String)> {
        let of = |e: &Properties| (e["UID"].clone(), e["STATUS"].clone(), e["SEQUENCE"].clone());
        feed(&rig).await.iter().map(of).collect()
    };
    let event = |uid: &str, status: &str, sequence: &str| {
        (format!("{uid}@holdover"), status.to_owned(), sequence.to_owned())
    };
    // The row with times of its own has them no longer.
    let same = vec![row("(二)1", None), row("(二)4", None), row("(二)2", None)];
    assert_eq!(order(&engine, change(same)).await, 2);
    let gone = [event("stop", "CONFIRMED", "2"), event("stop.2", "CANCELLED", "2")];
    assert_eq!(told().await, gone);
    let cancelled = feed(&rig).await.remove(1);
    assert_eq!(cancelled["DTEND"], "20220813T220000Z", "as it was told");
    // And has some again.
    let end = Some("2022-08-14T12:00:00+08:00");
    let again = vec![row("(二)1", None), row("(二)4", end), row("(二)2", None)];
    assert_eq!(order(&engine, change(again)).await, 3);
    let back = [event("stop", "CONFIRMED", "3"), event("stop.2", "CONFIRMED", "3")];
    assert_eq!(told().await, back);
}

#[tokio::test]
async fn a_copy_at_hand_is_good_until_a_window_changes() {
    let (rig, engine) = live();
    order(&engine, Command::DeclareWindow(Box::new(window("stop")))).await;
    let tag = rig.get(FEED).await.headers["etag"].to_str().unwrap().to_owned();
    let ask = async |held: String| {
        let request = rig.request("GET", FEED).header("if-none-match", held);
        rig.send(request.body(Body::empty()).unwrap()).await
    };
    for held in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
        let answered = ask(held).await;
        assert_eq!(answered.status, StatusCode::NOT_MODIFIED);
        assert_eq!(answered.headers["etag"], tag.as_str());
        assert!(answered.body.is_empty());
    }
    assert_eq!(ask("\"other\"".to_owned()).await.status, StatusCode::OK);
    let window = "stop".parse().unwrap();
    order(&engine, Command::CancelWindow { window, if_version: None }).await;
    let answered = ask(tag.clone()).await;
    assert_eq!(answered.status, StatusCode::OK);
    assert_ne!(answered.headers["etag"], tag.as_str());
}

#[tokio::test]
async fn the_feed_asks_for_a_key_that_may_read() {
    let (rig, _engine) = live();
    let request = axum::http::Request::builder().uri(FEED).body(Body::empty()).unwrap();
    assert_eq!(rig.send(request).await.status, StatusCode::UNAUTHORIZED);
}

/// An event as another program reads it: UID, SEQUENCE, start and end in seconds, SUMMARY.
type Read = (String, u32, i64, i64, String);

fn by_icalendar(text: &str) -> Vec<Read> {
    use icalendar::{CalendarComponent, CalendarDateTime, Component, DatePerhapsTime};
    let seconds = |at: Option<DatePerhapsTime>| match at {
        Some(DatePerhapsTime::DateTime(CalendarDateTime::Utc(at))) => at.timestamp(),
        other => panic!("{other:?}"),
    };
    let calendar: icalendar::Calendar = text.parse().unwrap();
    let events = calendar.components.iter().filter_map(CalendarComponent::as_event);
    events
        .map(|event| {
            let summary = event.property_value("SUMMARY").unwrap().replace("\\,", ",");
            let sequence = event.get_sequence().unwrap();
            let (start, end) = (seconds(event.get_start()), seconds(event.get_end()));
            (event.get_uid().unwrap().to_owned(), sequence, start, end, summary)
        })
        .collect()
}

fn by_calcard(text: &str) -> Vec<Read> {
    use calcard::icalendar::{
        ICalendar, ICalendarComponentType, ICalendarProperty, ICalendarValue,
    };
    let calendar = ICalendar::parse(text).unwrap();
    let events = calendar.components.iter();
    let events = events.filter(|one| one.component_type == ICalendarComponentType::VEvent);
    events
        .map(|event| {
            let value = |name| event.property(&name).unwrap().values[0].clone();
            let seconds = |name| match value(name) {
                ICalendarValue::PartialDateTime(at) => at.to_timestamp().unwrap(),
                other => panic!("{other:?}"),
            };
            let text = |name| match value(name) {
                ICalendarValue::Text(text) => text,
                other => panic!("{other:?}"),
            };
            let sequence = match value(ICalendarProperty::Sequence) {
                ICalendarValue::Integer(number) => u32::try_from(number).unwrap(),
                other => panic!("{other:?}"),
            };
            (
                text(ICalendarProperty::Uid),
                sequence,
                seconds(ICalendarProperty::Dtstart),
                seconds(ICalendarProperty::Dtend),
                text(ICalendarProperty::Summary),
            )
        })
        .collect()
}

#[tokio::test]
async fn two_other_readers_find_the_same_instants_in_the_feed() {
    let (rig, engine) = live();
    order(&engine, Command::DeclareWindow(Box::new(window("stop")))).await;
    let (id, ends_at) = ("stop".parse().unwrap(), at("2022-08-16T00:00:00+08:00"));
    let moved = Command::MoveWindowEnd { window: id, row: None, ends_at, if_version: None };
    order(&engine, moved).await;
    let body = rig.get(FEED).await.body;
    let text = std::str::from_utf8(&body).unwrap();
    let seconds = |text: &str| at(text).as_millis() / 1000;
    let start = seconds("2022-08-12T19:00:00+08:00");
    let event = |uid: &str, end: &str, clauses: &str| -> Read {
        let summary = format!("计划停机：部分系统 / Planned stop stop: {clauses}");
        (format!("{uid}@holdover"), 2, start, seconds(end), summary)
    };
    let expected = [
        event("stop", "2022-08-16T00:00:00+08:00", "(二)1, (二)2"),
        event("stop.2", "2022-08-14T06:00:00+08:00", "(二)4"),
    ];
    assert_eq!(by_icalendar(text), expected);
    assert_eq!(by_calcard(text), expected);
}
