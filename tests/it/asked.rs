//! Asking the policy: that a question just before a submission is answered as the submission is,
//! which row wins and why others lose, other instants than now, and the words of notices.

use crate::engine_scenarios::{Bench, at};
use crate::engine_support::{settings, submission};
use holdover::config::{self, Config};
use holdover::domain::catalogue::{AttributeKind, Line, SPECIAL_CASE};
use holdover::domain::cell::{Cell, Channel, Class, Selector};
use holdover::domain::gate::GateState;
use holdover::domain::ids::{Label, UpstreamName, WindowId};
use holdover::domain::policy::{Advice, Disposition, RowRef};
use holdover::domain::time::{Interval, Timestamp};
use holdover::domain::window::{Proof, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Event, Reply, Submission};
use holdover::engine::explain::{Asked, Because, Explained, Lost};
use holdover::engine::settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The stop of August 2022, a stop that recurs, and service hours, by days and by working days.
fn configured() -> Config {
    let texts = [
        ("beijing", include_str!("../../config/beijing-2022-08.toml")),
        ("recurring", include_str!("../../config/recurring.example.toml")),
    ];
    config::parse(&texts).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn settings_of(config: &Config) -> Settings {
    let like = settings();
    let upstream = like.upstreams.values().next().unwrap().clone();
    Settings {
        catalogue: config.catalogue.clone(),
        calendar: config.calendar.clone(),
        recurring: config.recurring.clone(),
        service_hours: config.service_hours.clone(),
        upstreams: config.upstreams.keys().map(|n| (n.clone(), upstream.clone())).collect(),
        ..like
    }
}

fn declared(config: &Config, now: &str) -> Bench {
    let mut bench = Bench::with(settings_of(config), now);
    for window in &config.windows {
        declare(&mut bench, window.clone());
    }
    bench
}

fn declare(bench: &mut Bench, window: Window) {
    let reply = bench.order(Command::DeclareWindow(Box::new(window)));
    assert!(matches!(reply, Some(Reply::Done(Done::Window(_)))), "{reply:?}");
}

fn line<'c>(config: &'c Config, name: &str) -> &'c Line {
    config.catalogue.lines.iter().find(|line| line.name() == name).unwrap()
}

/// A cell of a line, from one district, with these attributes.
fn cell(line: &Line, class: Class, channel: Channel, attributes: &[(&str, &str)]) -> Cell {
    let pairs = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    line.cell(class, channel, &"110105".parse().unwrap(), &[], &pairs.collect())
}

fn asked<'c>(line: &Line, cell: &'c Cell, credit: bool) -> Asked<'c> {
    Asked { cell, normal: line.normal, queued: line.queued, credit }
}

fn explain(bench: &Bench, line: &Line, cell: &Cell, instant: &str) -> Explained {
    bench.machine.explain(&asked(line, cell, false), Some(at(instant)), bench.now)
}

/// Why each other row lost, by window and place.
fn losers(explained: &Explained) -> BTreeMap<(String, u32), Lost> {
    let place = |row: &RowRef| (row.window.to_string(), row.row);
    explained.others.iter().map(|other| (place(&other.row), other.lost)).collect()
}

/// What a submission was told.
#[derive(Debug, PartialEq)]
struct Answer {
    disposition: Disposition,
    advice: Advice,
    row: Option<RowRef>,
    resume_at: Option<Timestamp>,
}

fn answered(reply: Option<Reply>) -> Answer {
    match reply {
        Some(Reply::Accepted { accepted: Some(record), .. }) => Answer {
            disposition: record.told.disposition,
            advice: record.told.advice,
            row: record.told.row.clone(),
            resume_at: record.told.resume_at,
        },
        Some(Reply::TurnedAway { record, decision, .. }) => Answer {
            disposition: decision.disposition,
            advice: decision.advice,
            row: record.row.clone(),
            resume_at: record.resume_at,
        },
        other => panic!("neither taken nor turned away: {other:?}"),
    }
}

/// Submissions, and what happens between them, by a seed.
struct World {
    config: Config,
    rng: fastrand::Rng,
    bench: Bench,
    declared: u32,
}

impl World {
    fn one<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.rng.usize(..list.len())].clone()
    }

    fn upstream(&mut self) -> UpstreamName {
        let names: Vec<UpstreamName> = self.config.upstreams.keys().cloned().collect();
        self.one(&names)
    }

    fn cells_of_upstream(&mut self) -> Selector {
        Selector { upstream: vec![self.upstream()], ..Selector::default() }
    }

    /// Time goes on, sometimes without the engine being told before it is asked.
    fn pass_time(&mut self) {
        self.bench.now = self.bench.now.after(Duration::from_secs(self.rng.u64(..3600)));
        if self.rng.bool() {
            self.bench.step(Event::Tick);
        }
    }

    /// What an operator does, whether or not it is allowed just now, or what probes find.
    fn happen(&mut self) {
        let cells = self.cells_of_upstream();
        let until = self.bench.now.after(Duration::from_secs(self.rng.u64(60..7200)));
        let known = self.bench.machine.windows_and_phases(self.bench.now);
        let window: WindowId = self.one(&known).0.id.clone();
        match self.rng.u32(..8) {
            0 => drop(self.bench.order(Command::CloseGate { cells, until })),
            1 => drop(self.bench.order(Command::OpenGate { cells })),
            2 => {
                let proof = Proof::Signed;
                drop(self.bench.order(Command::Restore { window, cells, ready_from: None, proof }));
            }
            3 => drop(self.bench.order(Command::Release { window, cells })),
            4 => {
                let ends_at = until;
                let moved = Command::MoveWindowEnd { window, ends_at, row: None, if_version: None };
                drop(self.bench.order(moved));
            }
            // Enough to overlap, and no more: every gate asks each of them.
            5 if self.declared < 12 => {
                self.declared += 1;
                let mut stop = self.config.windows[0].clone();
                stop.id = format!("stop-{}", self.declared).parse().unwrap();
                let start = self.bench.now.after(Duration::from_secs(600));
                stop.planned =
                    Interval::new(start, start.after(Duration::from_secs(5400))).unwrap();
                (stop.deadlines, stop.restore_by) = (None, RestoreBy::Probes);
                for row in &mut stop.policy {
                    (row.starts_at, row.ends_at) = (None, None);
                    let stops = row.disposition == Some(Disposition::Hold) && self.rng.bool();
                    row.disposition =
                        if stops { Some(Disposition::HoldForRelease) } else { row.disposition };
                }
                drop(self.bench.order(Command::DeclareWindow(Box::new(stop))));
            }
            _ => {
                let (name, good) = (self.upstream(), self.rng.bool());
                for _ in 0..3 {
                    self.bench.now = self.bench.now.after(Duration::from_secs(5));
                    self.bench.probe(name.as_str(), good);
                }
            }
        }
    }

    /// A submission that intake would let through.
    fn submission(&mut self, number: u128) -> Submission {
        let lines = self.config.catalogue.lines.clone();
        let line = self.one(&lines);
        let (class, channel) = (self.one(&line.classes), self.one(&line.channels));
        let mut attributes = BTreeMap::new();
        for (name, attribute) in line.attributes.iter().filter(|(_, a)| a.in_cell) {
            let values = match attribute.kind {
                AttributeKind::Boolean => vec!["true".to_owned(), "false".to_owned()],
                AttributeKind::Choice => attribute.choices.clone(),
                AttributeKind::Text | AttributeKind::Date | AttributeKind::List => continue,
            };
            if attribute.required || name == SPECIAL_CASE || self.rng.bool() {
                attributes.insert(name.clone(), self.one(&values));
            }
        }
        let district = self.one(&["110105", "110101"]).parse().unwrap();
        let labels: [&[&str]; 3] = [&[], &["tertiary"], &["credit"]];
        let labels: Vec<Label> = self.one(&labels).iter().map(|l| l.parse().unwrap()).collect();
        let cell = line.cell(class, channel, &district, &labels, &attributes);
        let mut one = submission(cell, number, number);
        one.line.normal = line.normal;
        one.line.queued = line.queued;
        one.line.self_contained = line.self_contained;
        one.line.needs_credential = line.needs_credential;
        (one.credit, one.has_report_file) = (self.rng.bool(), true);
        one
    }
}

#[test]
fn b7_10000_submissions_are_told_what_the_question_just_before_was_answered() {
    let config = configured();
    let bench = declared(&config, "2022-08-11T09:00:00+08:00");
    let rng = fastrand::Rng::with_seed(20_220_812);
    let mut world = World { config, rng, bench, declared: 0 };
    let (mut reasons, mut dispositions) = (BTreeSet::new(), BTreeSet::new());
    let (mut gates, mut lost) = (BTreeSet::new(), BTreeSet::new());
    for number in 1..=10_000u128 {
        match world.rng.u32(..30) {
            0 => world.happen(),
            1..8 => world.pass_time(),
            _ => {}
        }
        let submission = world.submission(number);
        let asked = Asked {
            cell: &submission.cell,
            normal: submission.line.normal,
            queued: submission.line.queued,
            credit: submission.credit,
        };
        let now = world.bench.now;
        let said = world.bench.machine.explain(&asked, None, now);
        if number % 16 == 0 {
            assert_eq!(said, world.bench.machine.explain(&asked, Some(now), now), "{number}");
        }
        let expected = Answer {
            disposition: said.decision.disposition,
            advice: said.decision.advice,
            row: said.decision.row.clone(),
            resume_at: said.decision.resume_at,
        };
        let cell = submission.cell.clone();
        let told = answered(world.bench.submit(submission));
        assert_eq!(told, expected, "{number} at {now}: {cell} {:?}", cell.attributes);
        // A ramp may have ended between the question and the step, which decides nothing.
        let gate = world.bench.machine.gate(&cell);
        let passes = |gate: Option<GateState>| gate.map(GateState::lets_through);
        assert_eq!(passes(gate), passes(said.gate), "{number} at {now}: {cell}");
        reasons.insert(said.because);
        dispositions.insert(said.decision.disposition);
        gates.extend(gate.map(|gate| gate.to_string()));
        lost.extend(said.others.iter().map(|other| other.lost));
    }
    // The cases are worth their number.
    assert_eq!(reasons, Because::ALL.iter().copied().collect(), "{reasons:?}");
    assert!(dispositions.len() >= 6 && gates.len() >= 6, "{dispositions:?} {gates:?}");
    assert!(lost.len() >= 5, "{lost:?}");
}

#[test]
fn the_narrowest_row_counts_and_the_others_say_why_they_do_not() {
    let config = configured();
    let bench = declared(&config, "2022-08-11T09:00:00+08:00");
    let line = line(&config, "reimbursement.manual.apply");
    let inside = "2022-08-13T10:00:00+08:00";
    let prepaid = [("population", "resident"), ("fully_prepaid", "true"), (SPECIAL_CASE, "true")];
    let special = cell(line, Class::Hall, Channel::Hall, &prepaid);
    let said = explain(&bench, line, &special, inside);
    assert_eq!(
        (said.decision.disposition, said.because),
        (Disposition::PreAccept, Because::Window)
    );
    assert_eq!(said.gate, None, "nobody knows how a gate will stand");
    let rows = &config.windows[0].policy;
    let speaking: Vec<u32> =
        (0u32..).zip(rows).filter(|(_, row)| row.cells.matches(&special)).map(|(i, _)| i).collect();
    let lost = losers(&said);
    assert!(speaking.len() > 1, "several rows speak of it");
    assert_eq!(lost.len(), speaking.len() - 1);
    assert!(lost.values().all(|&why| why == Lost::NarrowerRow), "{lost:?}");

    // As narrow: the earlier row. Before the stop no row of it is asked.
    let mut twice = config.windows[0].clone();
    let chosen = said.decision.row.as_ref().unwrap().row;
    let mut copy = twice.policy[chosen as usize].clone();
    copy.disposition = Some(Disposition::Refuse);
    twice.policy.push(copy);
    twice.id = "twice".parse().unwrap();
    let mut other = Bench::with(settings_of(&config), "2022-08-11T09:00:00+08:00");
    declare(&mut other, twice);
    let said = explain(&other, line, &special, inside);
    assert_eq!(said.decision.row.as_ref().unwrap().row, chosen);
    let last = u32::try_from(rows.len()).unwrap();
    assert_eq!(losers(&said)[&("twice".to_owned(), last)], Lost::EarlierRow);
    let before = explain(&other, line, &special, "2022-08-12T18:59:59+08:00");
    assert_eq!((before.because, before.others.len()), (Because::OrdinaryDay, 0));

    // Two windows at once: the stricter one, of equals the one that was declared first.
    let mut hold = config.windows[0].clone();
    hold.id = "later".parse().unwrap();
    let mut bench = declared(&config, "2022-08-11T09:00:00+08:00");
    declare(&mut bench, hold.clone());
    let said = explain(&bench, line, &special, inside);
    assert_eq!(losers(&said)[&("later".to_owned(), chosen)], Lost::FirstOfEquals);
    let mut refuse = hold;
    refuse.id = "stricter".parse().unwrap();
    refuse.policy[chosen as usize].disposition = Some(Disposition::Refuse);
    declare(&mut bench, refuse);
    let said = explain(&bench, line, &special, inside);
    assert_eq!(said.decision.row.as_ref().unwrap().window.as_str(), "stricter");
    assert_eq!(losers(&said)[&("later".to_owned(), chosen)], Lost::Stricter);
}

#[test]
fn any_instant_can_be_asked_about_by_the_windows_as_they_are_known_now() {
    let config = configured();
    let mut bench = declared(&config, "2022-08-11T09:00:00+08:00");
    let advice = line(&config, "settlement.outpatient.advice");
    let settled = cell(advice, Class::Hospital, Channel::System, &[]);
    let ask = |bench: &Bench, instant: &str| explain(bench, advice, &settled, instant);
    let ahead = ask(&bench, "2022-08-12T19:00:00+08:00");
    let row = ahead.decision.row.unwrap();
    assert_eq!((row.window.as_str(), row.version), ("beijing-2022-08", 1));
    assert_eq!(ahead.decision.resume_at, Some(at("2022-08-15T06:00:00+08:00")));
    // A row's own version moves with its window, also for what has been.
    bench.set("2022-08-13T10:00:00+08:00");
    let ends_at = at("2022-08-15T12:00:00+08:00");
    let window: WindowId = "beijing-2022-08".parse().unwrap();
    let moved = Command::MoveWindowEnd { window, ends_at, row: None, if_version: Some(1) };
    assert!(matches!(bench.order(moved), Some(Reply::Done(Done::Window(_)))));
    let past = ask(&bench, "2022-08-12T20:00:00+08:00");
    assert_eq!(past.decision.row.unwrap().version, 2);
    assert_eq!(past.decision.resume_at, Some(ends_at));
    let now = bench.machine.explain(&asked(advice, &settled, false), None, bench.now);
    assert_eq!((now.at, now.gate), (bench.now, Some(GateState::ClosedByWindow)));

    // A stop that nobody has restored is not taken to be over because its end was planned.
    let overrun = ask(&bench, "2022-12-12T10:00:00+08:00");
    assert_eq!(overrun.decision.row.unwrap().window.as_str(), "beijing-2022-08");
    assert_eq!(overrun.decision.resume_at, None);

    // A stop that recurs, months before anybody declares it, and service hours then.
    let bench = Bench::with(settings_of(&config), "2022-08-11T09:00:00+08:00");
    let later = ask(&bench, "2022-12-11T03:00:00+08:00");
    let row = later.decision.row.unwrap();
    assert_eq!(row.window.as_str(), "weekly-20221210t1800z");
    assert_eq!(later.decision.disposition, Disposition::Hold);
    let transfer = line(&config, "service.account_transfer.request");
    let asked_for = cell(transfer, transfer.classes[0], transfer.channels[0], &[]);
    let closed = explain(&bench, transfer, &asked_for, "2022-12-20T10:00:00+08:00");
    assert_eq!(closed.because, Because::ServiceHours);
    // New Year's Day of 2023 was kept on Monday the 2nd.
    let opens = Some(at("2023-01-03T09:00:00+08:00"));
    assert_eq!((closed.decision.resume_at, closed.hours[0].until), (opens, opens));
    assert!(!closed.hours[0].is_open);
    let open = explain(&bench, transfer, &asked_for, "2023-01-03T10:00:00+08:00");
    assert_eq!((open.because, open.others[0].lost), (Because::OrdinaryDay, Lost::WithinHours));
    let unknown = explain(&bench, transfer, &asked_for, "2027-01-05T10:00:00+08:00");
    assert_eq!(unknown.decision.resume_at, None);
    assert_eq!(unknown.unknown.map(|missing| missing.0), Some(2027));
}

#[test]
fn what_cannot_be_kept_is_refused_by_its_gate_and_credit_by_who_asks() {
    let config = configured();
    let mut bench = declared(&config, "2022-08-11T09:00:00+08:00");
    let query = line(&config, "service.query.query");
    let asking = cell(query, query.classes[0], query.channels[0], &[]);
    let upstream = vec![asking.upstream.clone()];
    let cells = Selector { upstream, ..Selector::default() };
    let until = at("2022-08-11T12:00:00+08:00");
    drop(bench.order(Command::CloseGate { cells, until }));
    let said = bench.machine.explain(&asked(query, &asking, false), None, bench.now);
    assert_eq!(
        (said.decision.disposition, said.because),
        (Disposition::Refuse, Because::GateClosed)
    );
    assert_eq!(said.gate, Some(GateState::ClosedByOperator));
    let after = explain(&bench, query, &asking, "2022-08-11T12:00:00+08:00");
    assert_eq!((after.decision.disposition, after.gate), (query.normal, None));

    let request = line(&config, "settlement.inpatient.request");
    let patient = cell(request, Class::Hospital, Channel::System, &[]);
    let normal = Disposition::PassOrHold;
    let with = |credit| Asked { cell: &patient, normal, queued: true, credit };
    let said = |credit| bench.machine.explain(&with(credit), None, bench.now);
    assert_eq!(said(true).decision.disposition, Disposition::PassOrHold);
    assert_eq!(said(true).because, Because::OrdinaryDay);
    let without = said(false);
    assert_eq!(
        (without.decision.disposition, without.because),
        (Disposition::PassOrTicket, Because::NoCredit)
    );
}

#[test]
fn every_word_of_notices_has_its_disposition_and_advice_on_the_page() {
    const WORDS: [&str; 13] = [
        "ACCEPT_APPLICATION_DEFER_REVIEW",
        "CANCEL_AND_REUPLOAD",
        "DISCHARGE_ON_CREDIT",
        "FINISH_BEFORE_CUTOFF",
        "HOLD_AND_REPLAY",
        "PAPER_THEN_BACKFILL",
        "PRE_DISPENSE",
        "PRE_RECEIVE",
        "PROCEED",
        "REFUSE_UNTIL_RESTORE",
        "REIMBURSE_AT_HOME",
        "RETAIN_CREDENTIAL",
        "SELF_PAY_THEN_SETTLE",
    ];
    let page = include_str!("../../API.md");
    let section = page.split("\n## ").find(|part| part.starts_with("What notices say\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut words = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let bare = |cell: &str| cell.trim_matches(['`', ' ', '|']).to_owned();
        let [word, _, disposition, advice, how] = cells.as_slice() else { panic!("{row}") };
        assert!(bare(disposition).parse::<Disposition>().is_ok(), "{row}");
        assert!(bare(advice).parse::<Advice>().is_ok(), "{row}");
        assert!(how.len() > 10 && words.insert(bare(word)), "{row}");
    }
    assert_eq!(words, WORDS.map(str::to_owned).into());
    let order = page.split("\n## ").find(|part| part.starts_with("Which row counts\n")).unwrap();
    for word in Lost::ALL.iter().map(|w| w.as_str()).chain(Because::ALL.iter().map(|w| w.as_str()))
    {
        assert!(order.contains(&format!("`{word}`")), "{word}");
    }
}
