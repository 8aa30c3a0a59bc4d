//! Zhongshan 2020, Xinxiang 2021, Fuzhou 2019 and Changzhou 2012.

use super::*;
use holdover::engine::change::Change;

fn zhongshan() -> Stop {
    let mut stop = Stop::of("zhongshan-2020-12", "2020-12-28T12:00:00+08:00");
    stop.probed("settlement", "2020-12-28T20:00:00+08:00", false);
    stop
}

/// Settled anew in place of `old`, while the core is there.
fn settled_again(stop: &mut Stop, name: &str, old: Seq) {
    let mut again = stop.made(name, Hospital, System);
    again.replaces = Some(old);
    let new = stop.bench.accepted(again);
    assert_eq!(stop.done(), [new]);
}

#[test]
fn zhongshan_outpatients_pay_and_are_settled_again_by_their_hospital() {
    let mut stop = zhongshan();
    let name = "settlement.outpatient.request";
    assert_eq!(stop.now(name, Hospital, System).2, "1");
    let made = stop.made(name, Hospital, System);
    let Some(Reply::Accepted { transaction, accepted: Some(accepted), .. }) =
        stop.bench.submit(made)
    else {
        panic!("not accepted")
    };
    assert_eq!(accepted.told.advice, Advice::ChargeFull);
    assert_eq!(accepted.told.bring, ["self-pay invoice", "social-security card"]);
    assert_eq!(stop.bench.state(transaction), Some(State::Ticketed));
    stop.probed("settlement", "2021-01-01T00:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0], "a ticket is never sent by itself");
    settled_again(&mut stop, name, transaction);
    assert_eq!(stop.bench.machine.books().tickets(TicketState::Resettled).items, 1);
    assert_eq!(stop.bench.machine.books().tickets(TicketState::Open).items, 0);
}

/// A row that lets things through closes no gate, and the notice knows no core that still answers.
#[test]
fn zhongshan_a_core_that_still_answers_is_used_until_an_operator_closes_its_gate() {
    let mut stop = Stop::of("zhongshan-2020-12", "2020-12-28T12:00:00+08:00");
    let name = "settlement.outpatient.request";
    stop.bench.set("2020-12-28T20:00:00+08:00");
    let settled = stop.from(name, Hospital, System);
    assert_eq!(stop.done(), [settled]);
    let (cells, until) = (businesses(&["settlement.*"]), at("2021-01-01T00:00:00+08:00"));
    stop.bench.order(Command::CloseGate { cells, until });
    let paid = stop.from(name, Hospital, System);
    assert_eq!(stop.bench.state(paid), Some(State::Ticketed));
    assert_eq!(stop.bench.sent(), [0; 0]);
}

#[test]
fn zhongshan_inpatients_leave_on_credit_where_the_hospital_opted_in() {
    let mut stop = zhongshan();
    let name = "settlement.inpatient.request";
    let mut made = stop.made(name, Hospital, System);
    made.credit = true;
    let Some(Reply::Accepted { transaction, accepted: Some(accepted), .. }) =
        stop.bench.submit(made)
    else {
        panic!("not accepted")
    };
    assert_eq!(accepted.told.disposition, Disposition::PassOrHold);
    assert_eq!(accepted.told.advice, Advice::Credit);
    assert_eq!(stop.bench.state(transaction), Some(State::Waiting));
    let other = stop.from(name, Hospital, System);
    assert_eq!(stop.bench.state(other), Some(State::Ticketed), "no credit was agreed on");
    // The card is gone, so that the hospital itself settles the discharge after the restart.
    stop.probed("settlement", "2021-01-01T00:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0]);
    assert_eq!(stop.bench.state(transaction), Some(State::ActionRequired));
    settled_again(&mut stop, name, transaction);
    assert_eq!(stop.bench.state(transaction), None);
}

#[test]
fn zhongshan_pharmacies_sell_for_cash_and_leave_nothing_to_settle() {
    let mut stop = zhongshan();
    let made = stop.made("settlement.pharmacy.request", Pharmacy, System);
    let (record, decision) = stop.turned_away(made);
    assert_eq!(decision.advice, Advice::ChargeFull);
    assert_eq!(record.row.as_ref().unwrap().clause, "3");
    assert_eq!(decision.resume_at, Some(at("2021-01-01T00:00:00+08:00")));
    assert_eq!(stop.bench.machine.books().tickets(TicketState::Open).items, 0);
    stop.probed("settlement", "2021-01-01T00:00:00+08:00", true);
    let sold = stop.from("settlement.pharmacy.request", Pharmacy, System);
    assert_eq!(stop.done(), [sold]);
}

#[test]
fn zhongshan_on_line_applications_are_pre_accepted_and_counters_send_away() {
    let mut stop = zhongshan();
    for (name, class, channel) in [
        ("filing.out_of_area.apply", Portal, Online),
        ("reimbursement.manual.apply", Portal, Mobile),
        ("service.online.request", Employer, Online),
    ] {
        let (disposition, _, clause) = stop.now(name, class, channel);
        assert_eq!((disposition, clause.as_str()), (Disposition::PreAccept, "4"), "{name}");
    }
    for (name, class, channel) in [
        ("filing.out_of_area.apply", Hall, AtHall),
        ("reimbursement.manual.apply", Hall, AtHall),
        ("service.query.query", Portal, Online),
    ] {
        assert_eq!(stop.now(name, class, channel).0, Disposition::Refuse, "{name}");
    }
    let taken = stop.from("filing.out_of_area.apply", Portal, Online);
    stop.probed("portal", "2021-01-01T00:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [0; 0], "accepted it is when a person lets it go");
    let (window, cells) = (stop.config.windows[0].id.clone(), Selector::default());
    stop.bench.order(Command::Release { window, cells });
    assert_eq!(stop.done(), [taken]);
    let untold = stop.bench.machine.untold(taken);
    assert!(untold.is_some(), "open until its result was told");
}

#[test]
fn zhongshan_hospitals_backfill_after_the_restart_for_days_of_the_stop() {
    let mut stop = zhongshan();
    let names = [
        "filing.admission.backfill",
        "settlement.discharge.backfill",
        "settlement.fee_upload.backfill",
        "filing.outpatient_special_disease.backfill",
    ];
    for name in names {
        let made = stop.made(name, Hospital, System);
        let (record, _) = stop.turned_away(made);
        assert_eq!(record.row.as_ref().unwrap().clause, "5", "{name}");
    }
    stop.probed("settlement", "2021-01-01T00:10:00+08:00", true);
    for name in names {
        for (day, covered) in [
            ("2020-12-27", false),
            ("2020-12-28", true),
            ("2021-01-01", true),
            ("2021-01-02", false),
        ] {
            // The core is let back slowly.
            stop.bench.now = stop.bench.now.after(Duration::from_secs(1));
            let mut made = stop.made(name, Hospital, System);
            made.covers_from = Some(day.parse().unwrap());
            match stop.bench.submit(made) {
                Some(Reply::Accepted { transaction, .. }) if covered => {
                    assert_eq!(stop.done(), [transaction]);
                }
                Some(Reply::Invalid(Fault::NotCovered(_))) if !covered => {}
                other => panic!("{name} {day}: {other:?}"),
            }
        }
    }
}

#[test]
fn xinxiang_transfers_are_filed_within_seven_working_days_after_the_restart() {
    let mut stop = Stop::of("xinxiang-2021-11", "2021-11-24T12:00:00+08:00");
    stop.bench.set("2021-11-26T10:00:00+08:00");
    let mut made = stop.made("filing.out_of_area.apply", Hall, AtHall);
    made.deadline = Some("2021-11-26".parse().unwrap());
    let (record, decision) = stop.turned_away(made);
    assert_eq!(decision.resume_at, Some(at("2021-11-30T08:00:00+08:00")));
    let extension = record.deadline.as_ref().unwrap();
    assert_eq!((extension.to.to_string(), extension.clause.as_str()), ("2021-12-09".into(), "1"));
    let admitted = stop.made("settlement.out_of_area.request", Hospital, System);
    assert_eq!(stop.turned_away(admitted).1.advice, Advice::ChargeFull);

    let filing = "filing.out_of_area";
    assert_eq!(stop.moved(filing, "2021-11-26"), ("2021-12-09".to_owned(), false));
    for upstream in ["agency", "portal"] {
        stop.probed(upstream, "2021-11-30T08:00:00+08:00", true);
    }
    for (original, date) in [
        ("2021-11-23", "2021-11-23"),
        ("2021-11-24", "2021-12-09"),
        ("2021-11-29", "2021-12-09"),
        ("2021-11-30", "2021-11-30"),
        ("2021-12-01", "2021-12-01"),
    ] {
        assert_eq!(stop.moved(filing, original), (date.to_owned(), true), "{original}");
    }
    assert_eq!(stop.moved("reimbursement.manual", "2021-11-26").0, "2021-11-26", "not named");
}

#[test]
fn xinxiang_a_restart_a_day_late_gives_everybody_a_working_day_more() {
    let mut stop = Stop::of("xinxiang-2021-11", "2021-11-24T12:00:00+08:00");
    stop.probed("agency", "2021-11-30T08:00:00+08:00", true);
    stop.bench.set("2021-12-01T09:00:00+08:00");
    let filing = "filing.out_of_area";
    assert_eq!(stop.moved(filing, "2021-11-26"), ("2021-12-10".to_owned(), false));
    stop.probed("portal", "2021-12-01T10:00:00+08:00", true);
    assert_eq!(stop.moved(filing, "2021-11-26"), ("2021-12-10".to_owned(), true));
    // The last day of the stop is now inside, too.
    assert_eq!(stop.moved(filing, "2021-11-30").0, "2021-12-10");
}

#[test]
fn xinxiang_special_outpatients_elsewhere_pay_and_keep_their_papers() {
    let mut stop = Stop::of("xinxiang-2021-11", "2021-11-24T12:00:00+08:00");
    stop.bench.set("2021-11-26T10:00:00+08:00");
    let made = stop.made("settlement.special_outpatient_out_of_area.request", Hospital, System);
    let (record, decision) = stop.turned_away(made);
    assert_eq!(record.row.as_ref().unwrap().clause, "2");
    assert_eq!(decision.advice, Advice::ChargeFull);
    assert_eq!(decision.bring, ["original invoices", "prescriptions"]);
}

#[test]
fn fuzhou_costs_of_the_rollover_are_settled_by_the_day_that_the_notice_names() {
    let mut stop = Stop::of("fuzhou-2019-01", "2018-12-31T12:00:00+08:00");
    stop.bench.set("2019-01-01T10:00:00+08:00");
    let manual = "reimbursement.manual";
    assert_eq!(stop.moved(manual, "2019-01-01").0, "2019-01-31");
    let emergency = stop.made("settlement.outpatient.request", Hospital, System);
    let (_, decision) = stop.turned_away(emergency);
    assert_eq!(decision.advice, Advice::ChargeFull);
    assert_eq!(decision.bring.len(), 4, "the papers that the notice lists");
    // A late restart does not move the day.
    for upstream in ["agency", "portal"] {
        stop.probed(upstream, "2019-01-04T10:00:00+08:00", true);
    }
    for (original, date) in [
        ("2018-12-31", "2018-12-31"),
        ("2019-01-01", "2019-01-31"),
        ("2019-01-02", "2019-01-31"),
        ("2019-01-03", "2019-01-31"),
        ("2019-01-04", "2019-01-04"),
        ("2019-02-01", "2019-02-01"),
    ] {
        assert_eq!(stop.moved(manual, original), (date.to_owned(), true), "{original}");
    }
}

#[test]
fn fuzhou_what_happened_in_the_old_year_is_reported_with_the_time_at_which_it_happened() {
    let mut stop = Stop::of("fuzhou-2019-01", "2018-12-31T12:00:00+08:00");
    let happened = at("2018-12-31T23:50:00+08:00");
    stop.bench.set("2019-01-01T00:10:00+08:00");
    let mut made = stop.made("settlement.outpatient.advice", Hospital, System);
    made.occurred_at = happened;
    let held = stop.bench.accepted(made);
    stop.probed("settlement", "2019-01-03T00:00:00+08:00", true);
    assert_eq!(stop.bench.sent(), [held.0]);
    // What is sent is read from this record.
    let record = stop.bench.journal.iter().find_map(|change| match change {
        Change::Accepted(accepted) => Some(accepted.clone()),
        _ => None,
    });
    assert_eq!(record.unwrap().occurred_at, happened);
}

fn changzhou() -> Stop {
    Stop::of("changzhou-2012-06", "2012-06-20T12:00:00+08:00")
}

#[test]
fn changzhou_the_drill_is_one_stop_of_six_hours_over_midnight() {
    let mut stop = changzhou();
    assert_eq!(stop.config.windows[0].planned.length(), Duration::from_secs(6 * 3600));
    let transfer = ("service.account_transfer.request", Hall, AtHall);
    for (now, expected) in [
        ("2012-06-20T21:59:59.999+08:00", GateState::Open),
        ("2012-06-20T22:00:00+08:00", GateState::ClosedByWindow),
        ("2012-06-20T23:59:59.999+08:00", GateState::ClosedByWindow),
        ("2012-06-21T00:00:00+08:00", GateState::ClosedByWindow),
        ("2012-06-21T03:59:59.999+08:00", GateState::ClosedByWindow),
        ("2012-06-21T04:00:00+08:00", GateState::Verifying),
    ] {
        stop.bench.set(now);
        assert_eq!(stop.now(transfer.0, transfer.1, transfer.2).1, expected, "{now}");
    }
    assert_eq!(
        stop.moved("reimbursement.manual", "2012-06-20").0,
        "2012-06-20",
        "no rule is stated"
    );
}

#[test]
fn changzhou_who_paid_cash_is_settled_again_at_the_same_hospital_only() {
    let mut stop = changzhou();
    stop.probed("settlement", "2012-06-20T22:00:00+08:00", false);
    stop.bench.set("2012-06-20T23:59:00+08:00");
    let name = "settlement.outpatient.request";
    let paid = stop.from(name, Hospital, System);
    assert_eq!(stop.bench.state(paid), Some(State::Ticketed));
    stop.probed("settlement", "2012-06-21T04:00:00+08:00", true);
    let mut elsewhere = stop.made(name, Hospital, System);
    elsewhere.institution = "H11010500002".parse().unwrap();
    elsewhere.replaces = Some(paid);
    let refused = stop.bench.submit(elsewhere);
    assert!(matches!(refused, Some(Reply::Invalid(Fault::NotFound(_)))), "{refused:?}");
    settled_again(&mut stop, name, paid);
    assert_eq!(stop.bench.machine.books().tickets(TicketState::Resettled).items, 1);
}

#[test]
fn changzhou_a_hospital_that_keeps_cards_is_told_so() {
    let mut stop = changzhou();
    stop.probed("settlement", "2012-06-20T22:00:00+08:00", false);
    let name = "settlement.outpatient.request";
    for (label, clause, advice, bring) in [
        (None, "1", Advice::ChargeFull, &["invoice", "social-security card"][..]),
        (Some("keeps_cards"), "2", Advice::KeepOriginals, &["the slip for the card that was left"]),
    ] {
        let mut made = stop.made(name, Hospital, System);
        made.cell.labels.extend(label.map(|label| label.parse().unwrap()));
        let Some(Reply::Accepted { transaction, accepted: Some(accepted), .. }) =
            stop.bench.submit(made)
        else {
            panic!("not accepted")
        };
        let told = &accepted.told;
        assert_eq!(told.row.as_ref().unwrap().clause, clause);
        assert_eq!(told.advice, advice);
        assert_eq!(told.bring, bring);
        assert_eq!(stop.bench.state(transaction), Some(State::Ticketed));
    }
}
