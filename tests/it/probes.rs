//! Proof by probes spans time: within one process and across a restart.

use crate::engine_scenarios::{Bench, at, window};
use crate::engine_support::{NoRuns, cell, settings, submission};
use holdover::domain::gate::{GateState, HealthPhase};
use holdover::domain::ids::{Mark, Seq};
use holdover::domain::policy::Disposition;
use holdover::engine::change::Change;
use holdover::engine::event::Command;
use holdover::engine::ports::{JournalReader, ReadError};
use holdover::engine::recovery::{Found, recover};
use holdover::engine::settings::Settings;
use std::ops::ControlFlow;
use std::time::Duration;

/// A journal with nothing after its snapshot.
struct NothingAfter(Seq);

impl JournalReader for NothingAfter {
    fn read(&self, seq: Seq) -> Result<Change, ReadError> {
        Err(ReadError::Missing(seq))
    }
    fn scan(
        &self,
        _from: Seq,
        _visit: &mut dyn FnMut(Seq, Change) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        Ok(())
    }
    fn last(&self) -> Seq {
        self.0
    }
}

/// Probes a minute apart, three of them good for a proof.
fn a_minute_apart() -> Settings {
    let mut settings = settings();
    for upstream in settings.upstreams.values_mut() {
        upstream.health.probe_interval = Duration::from_secs(60);
    }
    settings
}

/// What the next process reads of `change`: health is stored as JSON, without what counts for
/// one process only.
fn stored(change: Change) -> Change {
    match change {
        Change::HealthSet { upstream, health } => {
            let text = serde_json::to_string(&health).unwrap();
            Change::HealthSet { upstream, health: serde_json::from_str(&text).unwrap() }
        }
        other => other,
    }
}

/// The process is killed, and another one begins at once.
fn restart(bench: &mut Bench) {
    let last = bench.machine.last();
    let found = Found {
        snapshot: Box::new(bench.machine.snapshot().map(stored).collect::<Vec<Change>>()),
        replay_from: last.next(),
        runs: Box::new(NoRuns),
        epoch: 2,
        mark: Mark::default(),
        virtual_clock: false,
        quarantined: false,
        clock_accepted: None,
    };
    let recovered = recover(a_minute_apart(), found, &NothingAfter(last), bench.now);
    bench.machine = recovered.unwrap().0;
}

/// A good probe of the stopped part at `time` of the day after.
fn good_at(bench: &mut Bench, time: &str) -> Option<GateState> {
    bench.now = at(&format!("2022-08-15T{time}+08:00"));
    bench.probe("b", true);
    bench.machine.gate(&cell("b", "filing.one"))
}

/// Past the planned end, with one transaction held.
fn past_the_end() -> (Bench, Seq) {
    let mut bench = Bench::with(a_minute_apart(), "2022-08-12T17:00:00+08:00");
    bench.order(Command::DeclareWindow(Box::new(window(Disposition::Hold))));
    bench.set("2022-08-12T20:00:00+08:00");
    let held = bench.accepted(submission(cell("b", "filing.one"), 1, 1));
    bench.set("2022-08-15T06:00:00+08:00");
    (bench, held)
}

#[test]
fn good_probes_close_together_prove_no_more_than_one() {
    let (mut bench, held) = past_the_end();
    for time in ["06:10:00", "06:10:01", "06:10:02", "06:10:53"] {
        assert_eq!(good_at(&mut bench, time), Some(GateState::Verifying), "{time}");
    }
    assert_eq!(good_at(&mut bench, "06:11:00"), Some(GateState::Verifying));
    assert!(bench.sent().is_empty());
    assert_eq!(good_at(&mut bench, "06:12:00"), Some(GateState::Reopening));
    assert_eq!(bench.sent(), [held.0]);
}

#[test]
fn a_restart_probes_at_once_and_shortens_no_proof() {
    for (before, after) in [
        (&["06:10:00", "06:11:00"][..], ["06:11:04", "06:12:04", "06:13:04"]),
        (&["06:10:00"], ["06:10:01", "06:11:01", "06:12:01"]),
    ] {
        let (mut bench, held) = past_the_end();
        for time in before {
            good_at(&mut bench, time);
        }
        restart(&mut bench);
        assert_eq!(good_at(&mut bench, after[0]), Some(GateState::Verifying));
        assert_eq!(good_at(&mut bench, after[1]), Some(GateState::Verifying));
        assert!(bench.sent().is_empty());
        assert_eq!(good_at(&mut bench, after[2]), Some(GateState::Reopening));
        assert_eq!(bench.sent(), [held.0]);
    }
}

#[test]
fn a_part_that_went_away_unplanned_is_proved_as_slowly_across_a_restart() {
    let mut bench = Bench::with(a_minute_apart(), "2022-08-12T17:00:00+08:00");
    for _ in 0..3 {
        bench.probe("b", false);
    }
    let phase = |bench: &Bench| {
        let upstreams = bench.machine.upstreams(bench.now);
        upstreams.iter().find(|u| u.name.as_str() == "b").map(|u| u.health.phase).unwrap()
    };
    assert_eq!(phase(&bench), HealthPhase::Down);
    // The first good probe is journaled with the turn that it brings.
    good_at(&mut bench, "06:10:00");
    restart(&mut bench);
    for time in ["06:10:04", "06:11:04"] {
        good_at(&mut bench, time);
        assert_eq!(phase(&bench), HealthPhase::Verifying, "{time}");
    }
    good_at(&mut bench, "06:12:04");
    assert_eq!(phase(&bench), HealthPhase::Reopening);
}
