//! Jingmen 2021: a stop in three stages, a restart in two.

use super::*;

const ENROLMENT: (&str, Class, Channel) = ("service.enrolment.apply", Employer, System);
const FILING: (&str, Class, Channel) = ("filing.out_of_area.apply", Hall, AtHall);
const OUTPATIENT: (&str, Class, Channel) = ("settlement.outpatient.request", Hospital, System);
const INJURY: (&str, Class, Channel) =
    ("settlement.work_injury_outpatient.request", Hospital, System);
const INJURY_STAY: (&str, Class, Channel) =
    ("settlement.work_injury_inpatient.request", Hospital, System);

fn jingmen() -> Stop {
    Stop::of("jingmen-2021-11", "2021-11-25T12:00:00+08:00")
}

fn closed(stop: &Stop) -> Vec<&'static str> {
    [ENROLMENT, FILING, OUTPATIENT, INJURY, INJURY_STAY]
        .into_iter()
        .filter(|&(name, class, channel)| stop.is_closed(name, class, channel))
        .map(|(name, _, _)| name)
        .collect()
}

/// One advice of each kind, handed in while all of them are stopped.
fn held(stop: &mut Stop) -> [Seq; 3] {
    [
        "settlement.outpatient",
        "settlement.work_injury_outpatient",
        "settlement.work_injury_inpatient",
    ]
    .map(|business| stop.advice(business))
}

#[test]
fn each_stage_closes_its_own_part_with_its_first_instant() {
    let mut stop = jingmen();
    let first = &[ENROLMENT.0][..];
    let second = &[ENROLMENT.0, FILING.0][..];
    let third = &[ENROLMENT.0, FILING.0, OUTPATIENT.0, INJURY.0, INJURY_STAY.0][..];
    for (now, expected) in [
        ("2021-11-25T17:59:59.999+08:00", &[][..]),
        ("2021-11-25T18:00:00+08:00", first),
        ("2021-11-27T23:59:59.999+08:00", first),
        ("2021-11-28T00:00:00+08:00", second),
        ("2021-12-02T23:59:59.999+08:00", second),
        ("2021-12-03T00:00:00+08:00", third),
        ("2021-12-08T07:59:59.999+08:00", third),
        // The clock reaches both restarts and opens nothing.
        ("2021-12-08T08:00:00+08:00", third),
        ("2021-12-10T09:00:00+08:00", third),
    ] {
        stop.bench.set(now);
        assert_eq!(closed(&stop), expected, "{now}");
    }
    let said = |(name, class, channel)| {
        let (disposition, gate, clause) = stop.now(name, class, channel);
        assert_eq!((disposition, gate), (Disposition::Refuse, GateState::Verifying), "{name}");
        clause
    };
    assert_eq!([ENROLMENT, FILING, OUTPATIENT, INJURY_STAY].map(said), ["1", "2", "3", "4"]);
}

#[test]
fn who_is_turned_away_is_told_the_restart_of_the_own_part() {
    let mut stop = jingmen();
    stop.bench.set("2021-12-04T10:00:00+08:00");
    for ((name, class, channel), resume_at, advice) in [
        (ENROLMENT, "2021-12-08T08:00:00+08:00", Advice::ComeBack),
        (INJURY, "2021-12-08T08:00:00+08:00", Advice::ChargeFull),
        (INJURY_STAY, "2021-12-10T09:00:00+08:00", Advice::ChargeFull),
        (OUTPATIENT, "2021-12-10T09:00:00+08:00", Advice::ChargeFull),
        (FILING, "2021-12-10T09:00:00+08:00", Advice::ComeBack),
    ] {
        let made = stop.made(name, class, channel);
        let (_, decision) = stop.turned_away(made);
        assert_eq!((decision.resume_at, decision.advice), (Some(at(resume_at)), advice), "{name}");
    }
}

#[test]
fn nothing_is_sent_at_the_seams() {
    let mut stop = jingmen();
    // What is sent in the last second is told when its gate closes, what failed is not tried again.
    stop.bench.set("2021-12-02T23:59:59+08:00");
    let late = stop.advice("settlement.outpatient");
    assert_eq!(stop.bench.out[0].not_after, Some(at("2021-12-03T00:00:00+08:00")));
    let busy = Outcome::Transient {
        reason: TransientReason::Busy,
        retry_after: Some(Duration::from_secs(1)),
    };
    stop.bench.settle(busy);
    assert_eq!(stop.bench.state(late), Some(State::Waiting));
    stop.bench.set("2021-12-03T00:00:00+08:00");
    let held = held(&mut stop);
    for now in [
        "2021-12-03T00:00:01+08:00",
        "2021-12-08T07:59:59+08:00",
        "2021-12-08T08:00:00+08:00",
        "2021-12-08T08:00:01+08:00",
        "2021-12-10T08:59:59+08:00",
        "2021-12-10T09:00:00+08:00",
        "2021-12-10T09:00:01+08:00",
    ] {
        stop.bench.set(now);
        assert_eq!(stop.bench.sent(), [0; 0], "{now}");
    }
    for transaction in held.into_iter().chain([late]) {
        assert_eq!(stop.bench.state(transaction), Some(State::Waiting));
    }
}

#[test]
fn the_partial_restart_opens_its_part_and_nothing_else() {
    let mut stop = jingmen();
    stop.bench.set("2021-12-05T10:00:00+08:00");
    let [outpatient, injury, injury_stay] = held(&mut stop);
    // Both parts of the core answer before the partial restart; that proves nothing.
    stop.probed("social", "2021-12-08T07:59:00+08:00", true);
    stop.probed("settlement", "2021-12-08T07:59:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0]);
    stop.probed("settlement", "2021-12-08T08:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0], "medical insurance is not back");
    stop.probed("social", "2021-12-08T08:00:00+08:00", true);
    assert_eq!(stop.done(), [injury]);
    assert_eq!(closed(&stop), [FILING.0, OUTPATIENT.0, INJURY_STAY.0]);
    assert_eq!(stop.phase(), Phase::Active);
    // The rest of the same part of the core waits for its own end and its own proof.
    stop.bench.set("2021-12-10T09:00:00+08:00");
    assert_eq!(stop.bench.sent(), [0; 0]);
    stop.probed("social", "2021-12-10T09:00:00+08:00", true);
    assert_eq!(stop.done(), [injury_stay]);
    assert_eq!(closed(&stop), [FILING.0, OUTPATIENT.0]);
    assert_eq!(stop.phase(), Phase::Verifying);
    stop.probed("settlement", "2021-12-10T09:00:00+08:00", true);
    assert_eq!(stop.done(), [outpatient]);
    assert_eq!(closed(&stop), [FILING.0]);
    stop.probed("agency", "2021-12-10T09:00:00+08:00", true);
    stop.probed("portal", "2021-12-10T09:00:00+08:00", true);
    assert_eq!(closed(&stop), [""; 0]);
    assert_eq!(stop.phase(), Phase::Completed);
}

#[test]
fn a_signed_word_opens_what_it_names_and_leaves_inpatients_after_injuries_closed() {
    let mut stop = jingmen();
    stop.bench.set("2021-12-05T10:00:00+08:00");
    let [_, injury, injury_stay] = held(&mut stop);
    stop.bench.set("2021-12-08T08:00:00+08:00");
    stop.restore(businesses(&["service.enrolment", "settlement.work_injury_outpatient"]));
    assert_eq!(stop.done(), [injury]);
    assert_eq!(stop.bench.state(injury_stay), Some(State::Waiting));
    assert_eq!(closed(&stop), [FILING.0, OUTPATIENT.0, INJURY_STAY.0]);
    let transfer = ("service.relation_transfer.apply", Hall, AtHall);
    assert!(stop.is_closed(transfer.0, transfer.1, transfer.2), "its restart was not signed for");
}

#[test]
fn the_partial_restart_may_move_and_takes_nothing_else_along() {
    let mut stop = jingmen();
    stop.bench.set("2021-12-07T10:00:00+08:00");
    let injury = stop.advice("settlement.work_injury_outpatient");
    let cell = stop.cell("settlement.work_injury_outpatient.advice", Hospital, System);
    let window = stop.bench.machine.windows()[0].clone();
    let (row, _) = window.row_for(&cell).unwrap();
    let ends_at = at("2021-12-09T08:00:00+08:00");
    let moved = stop.bench.order(Command::MoveWindowEnd {
        window: window.id.clone(),
        row: Some(row),
        ends_at,
        if_version: Some(window.version),
    });
    assert!(matches!(moved, Some(Reply::Done(Done::Window(_)))), "{moved:?}");
    stop.probed("social", "2021-12-08T08:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0], "its own end was put off");
    assert!(!stop.is_closed(ENROLMENT.0, ENROLMENT.1, ENROLMENT.2), "that of enrolment was not");
    stop.probed("social", "2021-12-09T08:00:00+08:00", true);
    assert_eq!(stop.done(), [injury]);
}

#[test]
fn business_on_its_way_is_cleared_before_the_stop_of_settlement() {
    let mut stop = jingmen();
    let stay = ("settlement.inpatient.request", Hospital, System);
    let gate = |stop: &Stop| stop.now(stay.0, stay.1, stay.2).1;
    stop.bench.set("2021-12-02T19:59:59+08:00");
    assert_eq!(gate(&stop), GateState::Open);
    let begun = stop.from(stay.0, stay.1, stay.2);
    assert_eq!(stop.bench.sent(), [begun.0]);
    stop.bench.set("2021-12-02T20:00:00+08:00");
    assert_eq!(gate(&stop), GateState::Closing, "a discharge is not begun any more");
    assert!(!stop.is_closed(OUTPATIENT.0, OUTPATIENT.1, OUTPATIENT.2));
    // What was begun ends.
    assert_eq!(stop.done(), [begun]);
    let late = stop.from(stay.0, stay.1, stay.2);
    assert_eq!(stop.bench.sent(), [0; 0]);
    assert_eq!(stop.bench.state(late), Some(State::Ticketed));
    stop.bench.set("2021-12-03T00:00:00+08:00");
    assert_eq!(gate(&stop), GateState::ClosedByWindow);
    let in_flight = stop.bench.machine.books().in_state(State::InFlight).items;
    assert_eq!(in_flight, 0, "nothing is on its way");
}
