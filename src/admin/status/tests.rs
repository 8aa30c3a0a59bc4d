//! What is said of each state, and what of it needs a person.

use super::*;
use crate::domain::cell::{Cell, Selector};
use crate::domain::gate::Health;
use crate::domain::time::Interval;
use crate::domain::window::{Cause, PROOF_TAKES};

const NOW: &str = "2022-08-15T06:10:00+08:00";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn quiet() -> Seen {
    let health = Health {
        phase: HealthPhase::Open,
        since: at("2022-08-01T00:00:00+08:00"),
        good: 0,
        bad: 0,
        counted: None,
        refusals: None,
        failing_since: None,
        outage: None,
    };
    let name: UpstreamName = "agency".parse().unwrap();
    Seen {
        at: at(NOW),
        books: Books::default(),
        quarantined: false,
        windows: Vec::new(),
        gates: Vec::new(),
        drafts: Vec::new(),
        overrides: Vec::new(),
        upstreams: vec![UpstreamView {
            name: name.clone(),
            health,
            rate: None,
            in_flight: 0,
            probes: Vec::new(),
        }],
        replays: vec![ReplayView {
            upstream: name,
            remaining: 0,
            held: 0,
            due_since: None,
            stopped: false,
            unconfirmed: false,
        }],
        oldest: (None, None),
        at_risk: None,
        open_max: 100,
        results_untold: 0,
        doubt: None,
        calendar_lacks: None,
    }
}

fn beside() -> Beside {
    Beside {
        proposals: Vec::new(),
        vitals: Vitals::default(),
        not_ready: Vec::new(),
        damaged_records: 0,
        intake_difference: 0,
        audit_losses: 0,
        lacks: Vec::new(),
        zone: chrono_tz::Asia::Shanghai,
    }
}

fn window(restore_by: RestoreBy) -> Window {
    let planned =
        Interval::new(at("2022-08-12T19:00:00+08:00"), at("2022-08-15T06:00:00+08:00")).unwrap();
    Window {
        id: "stop".parse().unwrap(),
        version: 1,
        zone: chrono_tz::Asia::Shanghai,
        planned,
        published: planned,
        told: Vec::new(),
        author: "Li Na".to_owned(),
        reason: "why".to_owned(),
        changed_at: planned.start,
        notice: None,
        policy: Vec::new(),
        deadlines: None,
        restore_by,
        cause: Cause::Planned,
        cutoff_minutes: None,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
    }
}

fn gate(state: GateState, waiting: u64) -> GateView {
    let cell: Cell = serde_json::from_value(serde_json::json!({
        "upstream": "agency", "business": "filing.out_of_area", "operation": "apply",
        "class": "hall", "channel": "hall", "district": "110101", "labels": [], "attributes": {},
    }))
    .unwrap();
    let window = Some("stop".parse().unwrap());
    GateView { cell: Arc::new(cell), state, window, waiting, in_flight: 0, epoch: 0 }
}

fn codes(seen: Seen, beside: Beside) -> Vec<Need> {
    status(seen, beside).needs.into_iter().map(|need| need.code).collect()
}

/// What is needed after `change` of a quiet day.
fn seen(change: impl FnOnce(&mut Seen)) -> Vec<Need> {
    let mut quiet = quiet();
    change(&mut quiet);
    codes(quiet, beside())
}

fn known(change: impl FnOnce(&mut Beside)) -> Vec<Need> {
    let mut around = beside();
    change(&mut around);
    codes(quiet(), around)
}

#[test]
fn a_quiet_day_needs_nobody() {
    let out = status(quiet(), beside());
    assert_eq!(out.needs, []);
    assert_eq!((out.phase, out.ready, out.books.balanced), (StatusPhase::Open, true, true));
    assert_eq!(out.headline, "nothing needs a person; no stop is on");
    let text = serde_json::to_string(&out).unwrap();
    assert_eq!(serde_json::from_str::<StatusOut>(&text).unwrap(), out);
}

#[test]
fn what_stands_against_taking_submissions_needs_a_person_but_not_a_start_or_a_stop() {
    let reason = |word: &str| known(|b| b.not_ready = vec![word.to_owned()]);
    assert_eq!(reason("starting"), []);
    assert_eq!(reason("stopping"), []);
    assert_eq!(reason("poisoned"), [Need::Poisoned]);
    assert_eq!(reason("disk_reserve"), [Need::DiskReserve]);
    assert_eq!(reason("quarantined"), [Need::Quarantined]);
}

#[test]
fn books_that_do_not_balance_and_damage_come_first() {
    let mut off = quiet();
    off.books.accept("1.00".parse().unwrap());
    off.books.shift(Standing::Applied, Standing::Withdrawn, "1.00".parse().unwrap());
    assert_eq!(codes(off, beside()), [], "a shift keeps the sum");
    assert_eq!(known(|b| b.intake_difference = 1), [Need::BooksUnbalanced]);
    assert_eq!(known(|b| b.damaged_records = 1), [Need::RecordsDamaged]);
    assert_eq!(known(|b| b.audit_losses = 1), [Need::AuditLost]);
    let refused = known(|b| b.vitals.config_refused_since = Some(at(NOW)));
    assert_eq!(refused, [Need::ConfigRefused]);
    let lacks = known(|b| b.lacks = vec!["submit".to_owned()]);
    assert_eq!(lacks, [Need::NoKey]);
    let quarantined = seen(|s| s.quarantined = true);
    assert_eq!(quarantined, [Need::BooksUnbalanced]);
    let both = known(|b| {
        b.audit_losses = 1;
        b.intake_difference = 1;
    });
    assert_eq!(both, [Need::BooksUnbalanced, Need::AuditLost]);
}

#[test]
fn a_deadline_at_risk_needs_a_person_when_its_alert_fires() {
    let now = at(NOW);
    let risk = |in_time: Duration| seen(|s| s.at_risk = Some(now.after(in_time)));
    assert_eq!(risk(AT_RISK_WITHIN), []);
    assert_eq!(risk(AT_RISK_WITHIN - Duration::from_millis(1)), [Need::DeadlineAtRisk]);
    assert_eq!(risk(Duration::ZERO), [Need::DeadlineAtRisk]);
    let out = |at_risk| status(Seen { at_risk, ..quiet() }, beside());
    let later = now.after(AT_RISK_WITHIN * 2);
    assert_eq!(out(Some(later)).deadline_at_risk, Some(later), "it is shown long before");
}

#[test]
fn a_year_without_working_days_needs_a_person_last_of_all() {
    let lacking = seen(|s| s.calendar_lacks = Some(2027));
    assert_eq!(lacking, [Need::CalendarEnds]);
    let mut dead = quiet();
    dead.calendar_lacks = Some(2027);
    let mut around = beside();
    around.lacks = vec!["submit".to_owned()];
    let out = status(dead, around);
    let needs: Vec<Need> = out.needs.iter().map(|need| need.code).collect();
    assert_eq!(needs, [Need::NoKey, Need::CalendarEnds]);
    assert!(out.needs[1].what.starts_with("the working days of 2027 are not known"));
}

#[test]
fn a_stop_that_is_over_by_plan_needs_whoever_signs_at_once_and_others_after_five_minutes() {
    let late = |restore_by, minutes: u64| {
        let window = window(restore_by);
        let mut late = quiet();
        late.at = window.planned.end.after(Duration::from_secs(minutes * 60));
        let phase = if minutes < 5 { Phase::Verifying } else { Phase::Overrun };
        late.windows = vec![(Arc::new(window), phase)];
        let out = status(late, beside());
        (out.phase, out.needs.iter().map(|need| need.code).collect::<Vec<_>>())
    };
    assert_eq!(late(RestoreBy::Probes, 4), (StatusPhase::Verifying, vec![]));
    let signed = late(RestoreBy::Signed, 4);
    assert_eq!(signed, (StatusPhase::Verifying, vec![Need::WindowOverrun]));
    let probes = late(RestoreBy::Probes, 5);
    assert_eq!(probes, (StatusPhase::Overrun, vec![Need::WindowOverrun]));
}

#[test]
fn windows_are_told_by_gravity_with_what_is_left_of_them() {
    let (mut first, mut second) = (window(RestoreBy::Probes), window(RestoreBy::Probes));
    first.id = "later".parse().unwrap();
    first.planned.start = at("2022-08-16T06:10:00+08:00");
    first.planned.end = at("2022-08-17T06:10:00+08:00");
    second.planned.end = at("2022-08-15T07:10:00+08:00");
    let mut two = quiet();
    two.windows = vec![(Arc::new(first), Phase::Scheduled), (Arc::new(second), Phase::Active)];
    two.gates = vec![gate(GateState::ClosedByWindow, 3), gate(GateState::ClosedByWindow, 4)];
    two.replays[0].held = 7;
    let out = status(two, beside());
    let windows: Vec<_> =
        out.windows.iter().map(|w| (w.id.as_str(), w.phase, w.seconds_left)).collect();
    assert_eq!(
        windows,
        [("stop", StatusPhase::Active, 3600), ("later", StatusPhase::Scheduled, 86_400)]
    );
    assert_eq!(out.headline, "nothing needs a person; stop is active, 7 held");
    let closed = &out.gates_not_open;
    assert_eq!((closed.len(), closed[0].cells, closed[0].waiting), (1, 2, 7));
    assert_eq!(closed[0].why, "stopped by stop");
}

#[test]
fn a_release_is_asked_for_where_something_waits_for_it() {
    let back = |waiting| {
        let mut back = quiet();
        back.windows = vec![(Arc::new(window(RestoreBy::Signed)), Phase::Replaying)];
        back.gates = vec![gate(GateState::AwaitingRelease, waiting)];
        codes(back, beside())
    };
    assert_eq!(back(0), []);
    assert_eq!(back(2), [Need::ReleaseAwaited]);
}

#[test]
fn a_result_that_the_person_was_not_told_needs_a_person() {
    let out = status(Seen { results_untold: 1_200, ..quiet() }, beside());
    assert_eq!(out.needs.iter().map(|need| need.code).collect::<Vec<_>>(), [Need::ResultsUntold]);
    assert_eq!(out.needs[0].what, "pre-accepted results that the person was not told yet: 1,200");
}

#[test]
fn a_core_that_is_away_needs_a_person_unless_a_window_stops_it() {
    let away = |seconds: u64, state: Option<GateState>| {
        seen(|s| {
            s.upstreams[0].health.phase = HealthPhase::Down;
            s.upstreams[0].health.since = s.at.before(Duration::from_secs(seconds));
            s.gates = state.map(|state| gate(state, 1)).into_iter().collect();
        })
    };
    assert_eq!(away(299, Some(GateState::ClosedByProbe)), []);
    assert_eq!(away(300, Some(GateState::ClosedByProbe)), [Need::CoreDown]);
    assert_eq!(away(300, Some(GateState::ClosedByWindow)), []);
    assert_eq!(away(300, None), [Need::CoreDown]);
    let unseen = seen(|s| {
        s.upstreams[0].health.phase = HealthPhase::Down;
        s.replays[0].stopped = true;
    });
    assert_eq!(unseen, [], "stopped, and nothing has come for it yet");
}

#[test]
fn a_replay_says_when_it_is_done_and_needs_a_person_where_it_does_not_get_on() {
    let replay = |per_second, seconds, due: u64| {
        let mut busy = quiet();
        busy.replays[0].remaining = 120;
        busy.replays[0].due_since = Some(busy.at.before(Duration::from_secs(due)));
        let mut around = beside();
        let pace = Pace { per_second, over: Duration::from_secs(seconds) };
        around.vitals.paces.insert("agency".parse().unwrap(), pace);
        let out = status(busy, around);
        let needs: Vec<Need> = out.needs.iter().map(|need| need.code).collect();
        (out.replays[0].eta_seconds, needs, out.headline)
    };
    let going = "nothing needs a person; replaying, 120 left".to_owned();
    assert_eq!(replay(0.5, 60, 900), (Some(240), vec![], going.clone()));
    assert_eq!(replay(0.5, 4, 10), (None, vec![], going.clone()), "too soon to say");
    assert_eq!(replay(0.0, 60, 899), (None, vec![], going));
    assert_eq!(replay(0.0, 60, 900).1, [Need::ReplayOverdue]);
    assert_eq!(replay(-2.0, 60, 900).1, [Need::ReplayOverdue]);
    assert_eq!(replay(1.0, 60, 9).2, "nothing needs a person; no stop is on");
}

#[test]
fn what_was_given_up_needs_a_person_at_once_and_what_is_in_doubt_after_a_while() {
    let mut dead = quiet();
    dead.books.accept("1.00".parse().unwrap());
    dead.books.shift(Standing::Waiting, Standing::DeadLettered, "1.00".parse().unwrap());
    assert_eq!(codes(dead, beside()), [Need::DeadLetters]);
    let doubt = |seconds: u64| {
        let mut doubtful = quiet();
        doubtful.books.accept("1.00".parse().unwrap());
        doubtful.books.shift(Standing::Waiting, Standing::InDoubt, "1.00".parse().unwrap());
        let mut around = beside();
        around.vitals.in_doubt_since = Some(doubtful.at.before(Duration::from_secs(seconds)));
        codes(doubtful, around)
    };
    assert_eq!(doubt(599), []);
    assert_eq!(doubt(600), [Need::InDoubt]);
}

#[test]
fn room_and_kafka_need_a_person_by_the_measures_of_their_alerts() {
    let disk = |free_bytes| {
        known(|b| {
            let (used_bytes, capacity_bytes, reserve_bytes) = (1, 1000, 1);
            b.vitals.disk = Some(DiskOut { used_bytes, free_bytes, capacity_bytes, reserve_bytes });
        })
    };
    assert_eq!((disk(100), disk(99)), (vec![], vec![Need::DiskLow]));
    let kafka = |seconds: u64| {
        known(|b| {
            let away_since = Some(at(NOW).before(Duration::from_secs(seconds)));
            let kafka = KafkaOut { topics: 1, partitions: 0, lag_records: 0, away_since };
            b.vitals.kafka = Some(kafka);
        })
    };
    assert_eq!((kafka(299), kafka(300)), (vec![], vec![Need::KafkaAway]));
    let published = |seconds: u64| {
        known(|b| {
            let interrupted_since = Some(at(NOW).before(Duration::from_secs(seconds)));
            b.vitals.published = Some(PublishedOut { unpublished_changes: 1, interrupted_since });
        })
    };
    assert_eq!((published(299), published(300)), (vec![], vec![Need::KafkaUnpublished]));
    let webhook = |seconds: u64, disabled| {
        known(|b| {
            let waiting_since = Some(at(NOW).before(Duration::from_secs(seconds)));
            let name = "his".parse().unwrap();
            b.vitals.webhooks = vec![WebhookOut { name, waiting: 1, waiting_since, disabled }];
        })
    };
    assert_eq!((webhook(899, true), webhook(900, false)), (vec![], vec![Need::SubscriberNotTold]));
    let full =
        |open: u64| seen(|s| (0..open).for_each(|_| s.books.accept("1.00".parse().unwrap())));
    assert_eq!((full(90), full(91)), (vec![], vec![Need::BacklogNearlyFull]));
}

#[test]
fn an_operators_closing_says_whose_it_is_and_until_when() {
    let mut closed = quiet();
    closed.gates = vec![gate(GateState::ClosedByOperator, 0)];
    closed.overrides = vec![Override {
        cells: Selector::default(),
        by: "Li Na".to_owned(),
        reason: "why".to_owned(),
        since: closed.at,
        until: at("2022-08-15T09:00:00+08:00"),
    }];
    let out = status(closed, beside());
    assert_eq!(out.gates_not_open[0].why, "closed by Li Na until 2022-08-15T09:00:00+08:00");
    assert_eq!(out.needs, []);
}

#[test]
fn each_measure_is_that_of_its_alert() {
    let rules = include_str!("../../../dashboards/alerts.yml");
    let rule = |name: &str| {
        let head = format!("- alert: {name}\n");
        let after = rules.split(&head).nth(1).unwrap_or_else(|| panic!("no alert {name}"));
        after.split("- alert:").next().unwrap().to_owned()
    };
    for &need in Need::ALL {
        need.alert().map(rule);
    }
    for (alert, measure) in [
        ("HoldoverDeadlineAtRisk", format!("- time() < {}\n", AT_RISK_WITHIN.as_secs())),
        ("HoldoverWindowOverrun", format!(">= {}\n", PROOF_TAKES.as_secs())),
        ("HoldoverCoreUnavailable", format!("for: {}m\n", CORE_AWAY.as_secs() / 60)),
        ("HoldoverOldestOverdue", format!(">= {})", OVERDUE.as_secs())),
        ("HoldoverInDoubt", format!("for: {}m\n", DOUBT_TAKES.as_secs() / 60)),
        ("HoldoverKafkaIntakeAway", format!("for: {}m\n", KAFKA_AWAY.as_secs() / 60)),
        // The month of December.
        ("HoldoverCalendarEnds", "- time() <= 31 * 86400\n".to_owned()),
        ("HoldoverStoreSpaceLow", "capacity_bytes < 0.1\n".to_owned()),
        ("HoldoverBacklogNearlyFull", "> 0.9\n".to_owned()),
    ] {
        assert!(rule(alert).contains(&measure), "{alert}: {measure}");
    }
}

#[test]
fn the_page_has_every_field_and_no_other() {
    fn names(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                found.extend(object.keys().cloned());
                object.values().for_each(|value| names(value, found));
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let mut full = quiet();
    full.windows = vec![(Arc::new(window(RestoreBy::Signed)), Phase::Verifying)];
    full.gates = vec![gate(GateState::Verifying, 1)];
    full.replays[0].remaining = 1;
    full.doubt = Some(Doubt { shows: full.at, expected: full.at });
    let mut around = beside();
    let (used_bytes, free_bytes, capacity_bytes, reserve_bytes) = (0, 1, 1, 0);
    around.vitals.disk = Some(DiskOut { used_bytes, free_bytes, capacity_bytes, reserve_bytes });
    let (topics, partitions, lag_records) = (1, 0, 0);
    around.vitals.kafka = Some(KafkaOut { topics, partitions, lag_records, away_since: None });
    let (unpublished_changes, interrupted_since) = (0, None);
    around.vitals.published = Some(PublishedOut { unpublished_changes, interrupted_since });
    let (name, waiting) = ("his".parse().unwrap(), 0);
    around.vitals.webhooks =
        vec![WebhookOut { name, waiting, waiting_since: None, disabled: false }];
    let mut served = std::collections::BTreeSet::new();
    names(&serde_json::to_value(status(full, around)).unwrap(), &mut served);

    let page = include_str!("../../../API.md");
    let section = page.split("\n## ").find(|section| section.starts_with("Status\n")).unwrap();
    for name in &served {
        assert!(section.contains(&format!("`{name}`")), "{name} is not on the page");
    }
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    for name in rows.filter_map(|row| row.split(" |").next()).flat_map(|cell| cell.split(", ")) {
        let name = name.trim_matches('`');
        assert!(served.contains(name), "{name} is not served");
    }
}
