//! Other notices than that of August 2022: each a file of `tests/fixtures/notices`, read by the
//! loader, declared to the machine, and asked for what its rows say.
//!
//! What a file made up beyond its notice stands in its head. The notice of August 2022 itself is in
//! `notice_policy`.

mod in_turn;
mod jingmen;
mod others;

use crate::engine_scenarios::{Bench, at};
use crate::engine_support::{answer, settings, submission};
use bytes::Bytes;
use holdover::config::{self, Config};
use holdover::domain::catalogue::Line;
use holdover::domain::cell::{Cell, Channel, Class, Selector};
use holdover::domain::deadline::Computed;
use holdover::domain::gate::GateState;
use holdover::domain::ids::Seq;
use holdover::domain::outcome::{Outcome, TransientReason};
use holdover::domain::policy::{Advice, Disposition};
use holdover::domain::state::State;
use holdover::domain::ticket::TicketState;
use holdover::domain::window::{Decision, Phase, Proof};
use holdover::engine::change::TurnedAway;
use holdover::engine::event::{Command, Done, Event, Fault, Reply, Submission};
use holdover::engine::explain::Asked;
use holdover::engine::settings::Settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use Channel::{Hall as AtHall, Mobile, Online, System};
use Class::{Employer, Hall, Hospital, Pharmacy, Portal};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/notices")
}

fn notice(name: &str) -> Config {
    let file = folder().join(name).with_extension("toml");
    config::load(&[&file]).unwrap_or_else(|problems| {
        let told: String = problems.iter().map(|p| format!("{p}\n")).collect();
        panic!("{name}:\n{told}")
    })
}

fn line<'a>(config: &'a Config, name: &str) -> &'a Line {
    let found = config.catalogue.lines.iter().find(|line| line.name() == name);
    found.unwrap_or_else(|| panic!("no line {name}"))
}

/// The machine with the window of one notice declared, and what is handed in to it.
struct Stop {
    config: Config,
    bench: Bench,
    number: u128,
}

impl Stop {
    /// Declared at `now`, before it begins.
    fn of(name: &str, now: &str) -> Self {
        let config = notice(name);
        let plain = settings();
        let one = plain.upstreams.values().next().unwrap().clone();
        let upstreams = config.upstreams.keys().map(|name| (name.clone(), one.clone())).collect();
        let settings = Settings {
            zone: config.zone,
            calendar: config.calendar.clone(),
            catalogue: config.catalogue.clone(),
            upstreams,
            ..plain
        };
        let mut bench = Bench::with(settings, now);
        let declared = bench.order(Command::DeclareWindow(Box::new(config.windows[0].clone())));
        assert!(matches!(declared, Some(Reply::Done(Done::Window(_)))), "{declared:?}");
        Self { config, bench, number: 0 }
    }

    fn cell(&self, name: &str, class: Class, channel: Channel) -> Cell {
        let line = line(&self.config, name);
        assert!(line.classes.contains(&class), "{class} never submits {name}");
        assert!(line.channels.contains(&channel), "{name} never comes over {channel}");
        line.cell(class, channel, &"110101".parse().unwrap(), &[], &Default::default())
    }

    /// One of a person of its own, for whom nobody waits.
    fn made(&mut self, name: &str, class: Class, channel: Channel) -> Submission {
        self.number += 1;
        let mut made = submission(self.cell(name, class, channel), self.number, self.number);
        let line = line(&self.config, name);
        made.line.normal = line.normal;
        made.line.self_contained = line.self_contained;
        made.line.needs_credential = line.needs_credential;
        made.line.queued = line.queued;
        made.credential = line.needs_credential.then(|| Bytes::from_static(b"card"));
        made.occurred_at = self.bench.now;
        made
    }

    fn from(&mut self, name: &str, class: Class, channel: Channel) -> Seq {
        let made = self.made(name, class, channel);
        self.bench.accepted(made)
    }

    fn advice(&mut self, business: &str) -> Seq {
        let class = if business == "settlement.pharmacy" { Pharmacy } else { Hospital };
        self.from(&format!("{business}.advice"), class, System)
    }

    fn turned_away(&mut self, made: Submission) -> (Arc<TurnedAway>, Box<Decision>) {
        match self.bench.submit(made) {
            Some(Reply::TurnedAway { record, decision, .. }) => (record, decision),
            other => panic!("not turned away: {other:?}"),
        }
    }

    /// What is done now with `name`, how its gate stands, and by which clause.
    fn now(&self, name: &str, class: Class, channel: Channel) -> (Disposition, GateState, String) {
        self.now_in(&self.cell(name, class, channel), name)
    }

    fn now_in(&self, cell: &Cell, name: &str) -> (Disposition, GateState, String) {
        let line = line(&self.config, name);
        let asked = Asked { cell, normal: line.normal, queued: line.queued, credit: false };
        let told = self.bench.machine.explain(&asked, None, self.bench.now);
        let clause = told.decision.row.map(|row| row.clause).unwrap_or_default();
        (told.decision.disposition, told.gate.unwrap(), clause)
    }

    fn is_closed(&self, name: &str, class: Class, channel: Channel) -> bool {
        !self.now(name, class, channel).1.lets_through()
    }

    /// Three probes of one part at `now`, which are enough either way.
    fn probed(&mut self, upstream: &str, now: &str, good: bool) {
        self.bench.set(now);
        for _ in 0..3 {
            self.bench.probe(upstream, good);
        }
    }

    fn restore(&mut self, cells: Selector) {
        let window = self.config.windows[0].id.clone();
        let told = self.bench.order(Command::Restore {
            window,
            cells,
            ready_from: None,
            proof: Proof::Signed,
        });
        assert!(matches!(told, Some(Reply::Done(Done::Window(_)))), "{told:?}");
    }

    fn phase(&self) -> Phase {
        self.bench.machine.phase(&self.bench.machine.windows()[0], self.bench.now)
    }

    /// What the core is asked to do now; it does all of it.
    fn done(&mut self) -> Vec<Seq> {
        let mut done = Vec::new();
        while !self.bench.out.is_empty() {
            done.push(self.bench.settle(Outcome::Applied(answer("ok"))));
        }
        done
    }

    fn due(&mut self, business: &str, original: &str) -> Computed {
        let (business, original) = (business.parse().unwrap(), original.parse().unwrap());
        match self.bench.ask(|reply| Event::CheckDeadline { reply, business, original }) {
            Some(Reply::Deadline { computed, .. }) => *computed,
            other => panic!("{other:?}"),
        }
    }

    fn moved(&mut self, business: &str, original: &str) -> (String, bool) {
        let computed = self.due(business, original);
        (computed.date.to_string(), computed.is_final)
    }
}

fn businesses(names: &[&str]) -> Selector {
    let business = names.iter().map(|name| (*name).to_owned().try_into().unwrap()).collect();
    Selector { business, ..Selector::default() }
}

#[test]
fn every_notice_is_read_without_an_error_or_a_warning() {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 6, "only {} files", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let config = notice(name);
        let told: Vec<String> = config::check(&config).iter().map(ToString::to_string).collect();
        assert_eq!(told, [""; 0], "{name}");
        assert_eq!(config.windows.len(), 1, "{name}");
        assert_eq!(config.windows[0].id.as_str(), name, "a file is named like its window");
        let clauses = &config.windows[0].notice.as_ref().unwrap().clauses;
        assert!(!clauses.is_empty(), "{name}: without its clauses one could be forgotten");
        let head: String = fs::read_to_string(&file)
            .unwrap()
            .lines()
            .map_while(|line| line.strip_prefix('#'))
            .collect();
        assert!(head.contains("Made up for the test"), "{name}: what is not the notice's?");
    }
}

#[test]
fn every_row_of_a_notice_rests_on_a_clause_or_says_why_a_person_decided() {
    for file in fs::read_dir(folder()).unwrap() {
        let file = file.unwrap().path();
        let config = notice(file.file_stem().unwrap().to_str().unwrap());
        for (index, row) in config.windows[0].policy.iter().enumerate() {
            let decided = row.decided_because.is_some();
            assert_eq!(row.clause == "not_in_notice", decided, "{} {index}", file.display());
        }
    }
}
