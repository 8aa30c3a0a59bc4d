//! A stop in which settlement itself stops, and its businesses return one after the other.

use super::*;

const REQUESTS: [(&str, Class); 3] = [
    ("settlement.inpatient.request", Hospital),
    ("settlement.outpatient.request", Hospital),
    ("settlement.pharmacy.request", Pharmacy),
];

/// In the stop, with both parts of settlement away and one advice of each business held.
fn stopped() -> (Stop, [Seq; 3]) {
    let mut stop = Stop::of("settlement-in-turn", "2022-08-12T12:00:00+08:00");
    stop.probed("inpatient", "2022-08-12T20:00:00+08:00", false);
    stop.probed("settlement", "2022-08-12T20:00:00+08:00", false);
    let held = ["settlement.inpatient", "settlement.outpatient", "settlement.pharmacy"]
        .map(|business| stop.advice(business));
    assert_eq!(stop.bench.sent(), [0; 0]);
    (stop, held)
}

fn open(stop: &Stop) -> Vec<&'static str> {
    let open = |(name, class): &(&str, Class)| !stop.is_closed(name, *class, System);
    REQUESTS.into_iter().filter(open).map(|(name, _)| name).collect()
}

#[test]
fn held_advices_of_one_business_go_while_the_others_stay_held() {
    let (mut stop, [inpatient, outpatient, pharmacy]) = stopped();
    assert_eq!(open(&stop), [""; 0]);
    stop.probed("settlement", "2022-08-13T20:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0], "that is another part of the core");
    stop.probed("inpatient", "2022-08-13T20:00:00+08:00", true);
    assert_eq!(stop.done(), [inpatient]);
    assert_eq!(open(&stop), [REQUESTS[0].0]);

    stop.bench.set("2022-08-14T12:00:00+08:00");
    assert_eq!(stop.bench.sent(), [0; 0], "the clock opens nothing");
    stop.probed("settlement", "2022-08-14T12:00:00+08:00", true);
    assert_eq!(stop.done(), [outpatient], "the same part of the core, but not pharmacies");
    assert_eq!(stop.bench.state(pharmacy), Some(State::Waiting));
    assert_eq!(open(&stop), [REQUESTS[0].0, REQUESTS[1].0]);
    assert_eq!(stop.phase(), Phase::Active);

    stop.probed("settlement", "2022-08-15T06:00:00+08:00", true);
    assert_eq!(stop.done(), [pharmacy]);
    assert_eq!(open(&stop), REQUESTS.map(|(name, _)| name));
}

#[test]
fn a_word_that_names_one_business_lets_that_one_go_in_any_order() {
    let (mut stop, [inpatient, outpatient, pharmacy]) = stopped();
    for (now, business, expected) in [
        ("2022-08-13T10:00:00+08:00", "settlement.pharmacy", pharmacy),
        ("2022-08-13T11:00:00+08:00", "settlement.inpatient", inpatient),
        ("2022-08-13T12:00:00+08:00", "settlement.outpatient", outpatient),
    ] {
        stop.bench.set(now);
        assert_eq!(stop.bench.sent(), [0; 0]);
        stop.restore(businesses(&[business]));
        assert_eq!(stop.done(), [expected], "{business}");
    }
}

#[test]
fn settlement_that_stops_is_a_ticket_or_turned_away_and_never_tried() {
    let (mut stop, _) = stopped();
    let ticket = stop.from(REQUESTS[0].0, Hospital, System);
    assert_eq!(stop.bench.state(ticket), Some(State::Ticketed));
    for (name, class) in &REQUESTS[1..] {
        let made = stop.made(name, *class, System);
        let (_, decision) = stop.turned_away(made);
        assert_eq!(decision.advice, Advice::ChargeFull, "{name}");
    }
    assert_eq!(stop.bench.sent(), [0; 0]);
    // The agencies go on.
    let filed = stop.from("filing.out_of_area.apply", Hall, AtHall);
    assert_eq!(stop.done(), [filed]);
}
