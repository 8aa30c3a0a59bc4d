//! The notice of August 2022: every row of its policy table and the rules around it, asked of
//! the shipped `config/beijing-2022-08.toml`.

use holdover::config::{self, Config};
use holdover::domain::catalogue::Line;
use holdover::domain::cell::{Cell, Channel, Class, Operation, Selector};
use holdover::domain::ids::WindowId;
use holdover::domain::policy::{Advice, Disposition, Row};
use holdover::domain::review::{NOT_IN_NOTICE, cells_of, review};
use holdover::domain::time::{Interval, Timestamp};
use holdover::domain::window::{self, Act, Decision, Lock, Phase, Proof, Window};
use std::collections::BTreeSet;
use std::path::Path;

const INSIDE: &str = "2022-08-13T10:00:00+08:00";

pub(crate) fn shipped() -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/beijing-2022-08.toml");
    config::load(&[&file]).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn line<'a>(config: &'a Config, name: &str) -> &'a Line {
    config.catalogue.lines.iter().find(|line| line.name() == name).unwrap()
}

/// A cell of the line `name`, submitted by `class` over `channel`.
fn cell(config: &Config, name: &str, class: Class, channel: Channel) -> Cell {
    let line = line(config, name);
    assert!(line.classes.contains(&class), "{class} never submits {name}");
    assert!(line.channels.contains(&channel), "{name} never comes over {channel}");
    Cell {
        upstream: line.upstream(class).clone(),
        business: line.business.clone(),
        operation: line.operation,
        class,
        channel,
        district: "110105".parse().unwrap(),
        labels: Vec::new(),
        attributes: Default::default(),
    }
}

fn with(mut cell: Cell, attributes: &[(&str, &str)]) -> Cell {
    for (name, value) in attributes {
        cell.attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    cell
}

fn decide(config: &Config, cell: &Cell, now: &str) -> Decision {
    decide_in(config, &config.windows, cell, now)
}

fn decide_in(config: &Config, windows: &[Window], cell: &Cell, now: &str) -> Decision {
    let line = config.catalogue.line(&cell.business, cell.operation).unwrap();
    window::decide(windows, cell, line.normal, at(now))
}

fn act(cells: Selector, when: &str) -> Act {
    Act {
        cells,
        at: at(when),
        ready_from: None,
        by: "duty officer".to_owned(),
        proof: Proof::Signed,
        reason: "the upgrade is finished".to_owned(),
    }
}

fn upstream(name: &str) -> Selector {
    Selector { upstream: vec![name.parse().unwrap()], ..Selector::default() }
}

fn restored(mut config: Config, cells: Selector, when: &str) -> Config {
    config.windows[0].restores.push(act(cells, when));
    config
}

use Advice::{ChargeFull, ComeBack, Credit, GoElsewhere, KeepOriginals, MaterialsTaken};
use Channel::{Hall as AtHall, Mobile, Online, System};
use Class::{
    DistrictMedicalAgency, Employer, Hall, Hospital, Pharmacy, Portal, SocialInsuranceAgency,
};
use Disposition::{Hold, HoldForRelease, Pass, PassOrTicket, PreAccept, Refuse};

/// One row: clause, line, class, channel, attributes, disposition, advice.
type Expected = (
    &'static str,
    &'static str,
    Class,
    Channel,
    &'static [(&'static str, &'static str)],
    Disposition,
    Advice,
);

const EMPLOYEE: &[(&str, &str)] = &[("population", "employee"), ("fully_prepaid", "true")];
const MATERNITY: &[(&str, &str)] = &[("population", "maternity"), ("fully_prepaid", "true")];
const RESIDENT: &[(&str, &str)] = &[("population", "resident"), ("fully_prepaid", "true")];
const LAND: &[(&str, &str)] = &[("population", "land_requisition"), ("fully_prepaid", "true")];
const OTHER: &[(&str, &str)] = &[("population", "other"), ("fully_prepaid", "true")];
const PARTLY: &[(&str, &str)] = &[("population", "employee"), ("fully_prepaid", "false")];
const SPECIAL: &[(&str, &str)] =
    &[("population", "resident"), ("fully_prepaid", "true"), ("special_case", "true")];
const SPECIAL_PARTLY: &[(&str, &str)] =
    &[("population", "resident"), ("fully_prepaid", "false"), ("special_case", "true")];

#[rustfmt::skip]
const TABLE: &[Expected] = &[
    ("(一)", "settlement.outpatient.request", Hospital, System, &[], PassOrTicket, ChargeFull),
    ("(一)", "settlement.inpatient.request", Hospital, System, &[], PassOrTicket, ChargeFull),
    ("(一)", "settlement.pharmacy.request", Pharmacy, System, &[], PassOrTicket, ChargeFull),
    ("(一)", "settlement.outpatient.advice", Hospital, System, &[], Hold, Advice::None),
    ("(一)", "settlement.inpatient.advice", Hospital, System, &[], Hold, Advice::None),
    ("(一)", "settlement.pharmacy.advice", Pharmacy, System, &[], Hold, Advice::None),
    ("(二)1", "filing.special_disease_out_of_area.apply", Hall, AtHall, &[], HoldForRelease, MaterialsTaken),
    ("(二)1", "filing.special_disease_out_of_area.handle", DistrictMedicalAgency, System, &[], Refuse, ComeBack),
    ("(二)2", "filing.out_of_area.apply", Hall, AtHall, &[], HoldForRelease, MaterialsTaken),
    ("(二)2", "filing.out_of_area.apply", Portal, Online, &[], HoldForRelease, MaterialsTaken),
    ("(二)2", "filing.out_of_area.handle", DistrictMedicalAgency, System, &[], Refuse, ComeBack),
    ("(二)2", "filing.out_of_area.handle", SocialInsuranceAgency, System, &[], Refuse, ComeBack),
    ("(二)2", "filing.out_of_area.review", DistrictMedicalAgency, System, &[], Refuse, ComeBack),
    ("(二)2", "filing.out_of_area.review", SocialInsuranceAgency, System, &[], Refuse, ComeBack),
    ("(二)", "filing.special_disease_out_of_area.backfill", Hall, AtHall, &[], Refuse, ComeBack),
    ("(二)", "filing.special_disease_out_of_area.backfill", Portal, Online, &[], Refuse, ComeBack),
    ("(二)", "filing.out_of_area.backfill", Hall, AtHall, &[], Refuse, ComeBack),
    ("(二)", "filing.out_of_area.backfill", Portal, Mobile, &[], Refuse, ComeBack),
    ("(三)1", "reimbursement.manual.apply", Hall, AtHall, EMPLOYEE, Refuse, KeepOriginals),
    ("(三)1", "reimbursement.manual.apply", Employer, System, MATERNITY, Refuse, KeepOriginals),
    ("(三)1", "reimbursement.manual.apply", Portal, Online, RESIDENT, Refuse, KeepOriginals),
    ("(三)1", "reimbursement.manual.apply", Hall, AtHall, LAND, Refuse, KeepOriginals),
    ("(三)2", "reimbursement.manual.apply", Hall, AtHall, SPECIAL, PreAccept, MaterialsTaken),
    // A special case on line is none: only the counter pre-accepts.
    ("(三)1", "reimbursement.manual.apply", Portal, Online, SPECIAL, Refuse, KeepOriginals),
    ("(三)1", "reimbursement.manual.apply", Hall, Online, SPECIAL, Refuse, KeepOriginals),
    ("(四)", "filing.outpatient_special_disease.apply", DistrictMedicalAgency, System, &[], Refuse, GoElsewhere),
    ("(四)", "filing.outpatient_special_disease.handle", DistrictMedicalAgency, System, &[], Refuse, GoElsewhere),
    ("(四)", "filing.outpatient_special_disease.apply", Hall, AtHall, &[], Refuse, GoElsewhere),
    ("(四)", "filing.outpatient_special_disease.apply", Hospital, System, &[], Pass, Advice::None),
    ("(四)", "filing.outpatient_special_disease.handle", Hospital, System, &[], Pass, Advice::None),
    ("(五)", "service.account_transfer.request", Portal, Online, &[], Refuse, ComeBack),
    ("(五)", "service.account_transfer.request", Hall, AtHall, &[], Refuse, ComeBack),
    ("(五)", "service.query.query", Portal, Online, &[], Refuse, ComeBack),
    ("(五)", "service.query.query", Portal, Mobile, &[], Refuse, ComeBack),
    // Not in the notice; a person decided.
    (NOT_IN_NOTICE, "settlement.out_of_area.request", Hospital, System, &[], Refuse, ChargeFull),
    (NOT_IN_NOTICE, "settlement.out_of_area.cancel", Hospital, System, &[], Refuse, ComeBack),
    (NOT_IN_NOTICE, "settlement.outpatient.cancel", Hospital, System, &[], Refuse, ComeBack),
    (NOT_IN_NOTICE, "settlement.inpatient.cancel", Hospital, System, &[], Refuse, ComeBack),
    (NOT_IN_NOTICE, "settlement.pharmacy.cancel", Pharmacy, System, &[], Refuse, ComeBack),
    (NOT_IN_NOTICE, "settlement.outpatient.request", Hospital, Mobile, &[], Refuse, ChargeFull),
    (NOT_IN_NOTICE, "settlement.pharmacy.request", Pharmacy, Mobile, &[], Refuse, ChargeFull),
    (NOT_IN_NOTICE, "reimbursement.manual.apply", Hall, AtHall, PARTLY, Refuse, KeepOriginals),
    (NOT_IN_NOTICE, "reimbursement.manual.apply", Hall, AtHall, SPECIAL_PARTLY, Refuse, KeepOriginals),
    (NOT_IN_NOTICE, "reimbursement.manual.apply", Hall, AtHall, OTHER, Refuse, KeepOriginals),
    (NOT_IN_NOTICE, "service.online.request", Portal, Online, &[], Refuse, ComeBack),
];

#[test]
fn section_6_4_every_row_of_the_notice_says_what_the_table_says() {
    let config = shipped();
    let mut rows_met = BTreeSet::new();
    for &(clause, name, class, channel, attributes, disposition, advice) in TABLE {
        let cell = with(cell(&config, name, class, channel), attributes);
        let shown = format!("{clause} {name} {class}/{channel} {attributes:?}");
        let decision = decide(&config, &cell, INSIDE);
        let row = decision.row.expect(&shown);
        assert_eq!((decision.disposition, decision.advice), (disposition, advice), "{shown}");
        assert_eq!((row.clause.as_str(), row.version), (clause, 1), "{shown}");
        assert_eq!(decision.resume_at, Some(at("2022-08-15T06:00:00+08:00")), "{shown}");
        rows_met.insert(row.row);
    }
    // The row of credit needs a label; it has a test of its own.
    let rows = config.windows[0].policy.len();
    assert_eq!(rows_met.len(), rows - 1, "rows that the table forgot");
}

#[test]
fn section_6_4_the_table_asks_about_every_line_of_the_catalogue() {
    let config = shipped();
    let asked: BTreeSet<&str> = TABLE.iter().map(|row| row.1).collect();
    for line in &config.catalogue.lines {
        assert!(asked.contains(line.name().as_str()), "{}", line.name());
    }
}

#[test]
fn section_6_4_credit_is_for_institutions_that_asked_for_it() {
    let config = shipped();
    let mut cell = cell(&config, "settlement.inpatient.request", Hospital, System);
    cell.labels = vec!["credit".parse().unwrap()];
    let decision = decide(&config, &cell, INSIDE);
    assert_eq!((decision.disposition, decision.advice), (Disposition::PassOrHold, Credit));
    assert_eq!(decision.row.unwrap().clause, NOT_IN_NOTICE);
    // Mobile payment stays refused for them as well.
    let mut mobile = self::cell(&config, "settlement.outpatient.request", Hospital, Mobile);
    mobile.labels = vec!["credit".parse().unwrap()];
    assert_eq!(decide(&config, &mobile, INSIDE).disposition, Refuse);
}

#[test]
fn section_6_4_a_pharmacy_never_files_special_outpatients() {
    let config = shipped();
    for name in
        ["filing.outpatient_special_disease.apply", "filing.outpatient_special_disease.handle"]
    {
        assert!(!line(&config, name).classes.contains(&Pharmacy));
    }
}

#[test]
fn section_6_4_pre_acceptance_needs_the_report_file_and_refusals_name_what_to_keep() {
    let config = shipped();
    let special = with(cell(&config, "reimbursement.manual.apply", Hall, AtHall), SPECIAL);
    assert!(decide(&config, &special, INSIDE).needs_report_file);
    let plain = with(cell(&config, "reimbursement.manual.apply", Hall, AtHall), EMPLOYEE);
    let refused = decide(&config, &plain, INSIDE);
    assert!(!refused.needs_report_file);
    assert!(!refused.bring.is_empty());
    let filing =
        cell(&config, "filing.outpatient_special_disease.apply", DistrictMedicalAgency, System);
    assert!(decide(&config, &filing, INSIDE).alternative.is_some());
}

#[test]
fn s1_02_the_stop_begins_with_its_first_instant_and_ends_before_its_last() {
    let config = shipped();
    let cell = cell(&config, "service.account_transfer.request", Portal, Online);
    for (now, disposition, lock) in [
        ("2022-08-12T18:59:59+08:00", Pass, None),
        ("2022-08-12T18:59:59.999+08:00", Pass, None),
        ("2022-08-12T19:00:00+08:00", Refuse, Some(Lock::Stopped)),
        ("2022-08-15T05:59:59+08:00", Refuse, Some(Lock::Stopped)),
        ("2022-08-15T06:00:00+08:00", Refuse, Some(Lock::Verifying)),
    ] {
        assert_eq!(decide(&config, &cell, now).disposition, disposition, "{now}");
        assert_eq!(config.windows[0].lock(&cell, at(now)), lock, "{now}");
    }
    assert_eq!(
        config.windows[0].closes_at(&cell, at("2022-08-12T18:00:00+08:00")),
        Some(at("2022-08-12T19:00:00+08:00"))
    );
    assert_eq!(config.windows[0].closes_at(&cell, at("2022-08-12T19:00:00+08:00")), None);
}

#[test]
fn s1_03_the_clock_restores_nothing_and_a_signed_word_restores_at_once() {
    let config = shipped();
    let cell = cell(&config, "filing.out_of_area.review", DistrictMedicalAgency, System);
    let late = decide(&config, &cell, "2022-08-15T06:00:01+08:00");
    assert_eq!(late.disposition, Refuse);
    assert_eq!(late.resume_at, None, "an end that has passed is no time to come back at");
    let early = restored(shipped(), upstream("agency"), "2022-08-15T05:10:00+08:00");
    let window = &early.windows[0];
    assert_eq!(window.lock(&cell, at("2022-08-15T05:09:59+08:00")), Some(Lock::Stopped));
    assert_eq!(window.lock(&cell, at("2022-08-15T05:10:00+08:00")), None);
    assert_eq!(decide(&early, &cell, "2022-08-15T05:10:00+08:00").disposition, Pass);
    // Another part of the core is still away.
    let other = self::cell(&early, "service.query.query", Portal, Online);
    assert_eq!(window.lock(&other, at("2022-08-15T05:10:00+08:00")), Some(Lock::Stopped));
}

#[test]
fn s1_03_a_restore_from_before_the_stop_proves_nothing() {
    let config = restored(shipped(), Selector::default(), "2022-08-12T18:00:00+08:00");
    let cell = cell(&config, "service.query.query", Portal, Online);
    assert_eq!(config.windows[0].lock(&cell, at(INSIDE)), Some(Lock::Stopped));
    assert_eq!(decide(&config, &cell, INSIDE).disposition, Refuse);
}

#[test]
fn s1_04_settlement_of_the_local_insured_is_not_refused_because_of_the_stop() {
    let config = shipped();
    for (name, class) in [
        ("settlement.outpatient.request", Hospital),
        ("settlement.inpatient.request", Hospital),
        ("settlement.pharmacy.request", Pharmacy),
    ] {
        let cell = cell(&config, name, class, System);
        assert!(decide(&config, &cell, INSIDE).disposition.passes(), "{name}");
        assert_eq!(config.windows[0].lock(&cell, at(INSIDE)), None, "{name}");
    }
}

#[test]
fn s1_05_a_settlement_that_surely_failed_becomes_a_ticket_in_and_after_the_stop() {
    let config = shipped();
    let cell = cell(&config, "settlement.outpatient.request", Hospital, System);
    let inside = decide(&config, &cell, INSIDE);
    assert_eq!((inside.disposition, inside.advice), (PassOrTicket, ChargeFull));
    assert!(!inside.bring.is_empty());
    let after = decide(&config, &cell, "2022-08-15T06:00:00+08:00");
    assert_eq!((after.disposition, after.row), (PassOrTicket, None));
    // No term is invented for it.
    let rule = config.windows[0].deadlines.as_ref().unwrap();
    assert!(!rule.business.iter().any(|p| p.matches(&cell.business)));
}

#[test]
fn s1_06_applications_stay_open_and_wait_for_restart_and_release_per_district() {
    let config = shipped();
    let here = cell(&config, "filing.special_disease_out_of_area.apply", Hall, AtHall);
    let now = "2022-08-13T09:00:00+08:00";
    assert_eq!(decide(&config, &here, now).disposition, HoldForRelease);
    let handled =
        cell(&config, "filing.special_disease_out_of_area.handle", DistrictMedicalAgency, System);
    assert_eq!(decide(&config, &handled, now).disposition, Refuse);

    let mut config = restored(shipped(), upstream("agency"), "2022-08-15T07:10:00+08:00");
    let after = at("2022-08-15T08:00:00+08:00");
    assert_eq!(config.windows[0].lock(&here, after), Some(Lock::AwaitingRelease));
    config.windows[0].releases.push(act(
        Selector { district: vec!["110105".parse().unwrap()], ..Selector::default() },
        "2022-08-15T08:00:00+08:00",
    ));
    let mut there = here.clone();
    there.district = "110108".parse().unwrap();
    assert_eq!(config.windows[0].lock(&here, after), None);
    assert_eq!(config.windows[0].lock(&there, after), Some(Lock::AwaitingRelease));
    // A hold without release goes on by itself.
    let handled = config.windows[0].lock(&handled, after);
    assert_eq!(handled, None);
}

#[test]
fn s1_07_backfills_are_taken_after_the_restart() {
    for name in ["filing.special_disease_out_of_area.backfill", "filing.out_of_area.backfill"] {
        let config = restored(shipped(), upstream("agency"), "2022-08-15T07:10:00+08:00");
        let cell = cell(&config, name, Hall, AtHall);
        let before = decide(&config, &cell, "2022-08-15T07:09:59+08:00");
        assert_eq!((before.disposition, before.advice), (Refuse, ComeBack), "{name}");
        let after = decide(&config, &cell, "2022-08-15T07:10:00+08:00");
        assert_eq!((after.disposition, after.row), (Pass, None), "{name}");
        assert_eq!(config.windows[0].lock(&cell, at("2022-08-15T07:10:00+08:00")), None);
    }
}

#[test]
fn s1_07_a_backfill_is_covered_from_the_day_of_the_stop_to_the_day_of_the_restart() {
    let covered = |restored_at: &str, day: &str, now: &str| {
        let config = restored(shipped(), upstream("agency"), restored_at);
        let cell = cell(&config, "filing.out_of_area.backfill", Hall, AtHall);
        config.windows[0].covers_day(day.parse().unwrap(), &cell, at(now))
    };
    let after = "2022-08-20T10:00:00+08:00";
    for (restored_at, day, expected) in [
        ("2022-08-15T07:10:00+08:00", "2022-08-11", false),
        ("2022-08-15T07:10:00+08:00", "2022-08-12", true),
        ("2022-08-15T07:10:00+08:00", "2022-08-13", true),
        ("2022-08-15T07:10:00+08:00", "2022-08-15", true),
        ("2022-08-15T07:10:00+08:00", "2022-08-16", false),
        ("2022-08-16T10:00:00+08:00", "2022-08-16", true),
        ("2022-08-16T10:00:00+08:00", "2022-08-17", false),
        ("2022-08-14T20:00:00+08:00", "2022-08-15", true),
    ] {
        assert_eq!(covered(restored_at, day, after), expected, "{restored_at} {day}");
    }
    // While the restart is still to come, the stop reaches to this day.
    let slipping = ("2022-08-16T10:00:00+08:00", "2022-08-16T09:00:00+08:00");
    assert!(covered(slipping.0, "2022-08-16", slipping.1));
    assert!(!covered(slipping.0, "2022-08-17", slipping.1));
}

#[test]
fn of_two_rows_that_are_equally_narrow_the_earlier_one_speaks() {
    let config = shipped();
    let mut window = config.windows[0].clone();
    let cell = cell(&config, "service.account_transfer.request", Portal, Online);
    let (index, row) = window.row_for(&cell).unwrap();
    let later = Row { disposition: Some(Pass), ..row.clone() };
    window.policy.push(later);
    assert_eq!(window.row_for(&cell).unwrap().0, index);
    window.policy.swap(index as usize, config.windows[0].policy.len());
    assert_eq!(window.row_for(&cell).unwrap().1.disposition, Some(Pass));
}

#[test]
fn s1_08_on_line_applications_are_taken_and_reviews_are_put_off_for_both_agencies() {
    let config = shipped();
    let apply = cell(&config, "filing.out_of_area.apply", Portal, Online);
    let decision = decide(&config, &apply, "2022-08-14T23:00:00+08:00");
    assert_eq!(decision.disposition, HoldForRelease);
    for class in [DistrictMedicalAgency, SocialInsuranceAgency] {
        let review = cell(&config, "filing.out_of_area.review", class, System);
        let decision = decide(&config, &review, "2022-08-14T23:05:00+08:00");
        assert_eq!((decision.disposition, decision.advice), (Refuse, ComeBack), "{class}");
    }
}

#[test]
fn s1_09_every_named_group_is_refused_with_the_time_of_the_restart() {
    let config = shipped();
    for attributes in [EMPLOYEE, MATERNITY, RESIDENT, LAND] {
        for (class, channel) in [(Hall, AtHall), (Employer, System), (Portal, Mobile)] {
            let cell =
                with(cell(&config, "reimbursement.manual.apply", class, channel), attributes);
            let decision = decide(&config, &cell, INSIDE);
            assert_eq!(decision.disposition, Refuse, "{attributes:?}");
            assert_eq!(decision.row.unwrap().clause, "(三)1", "{attributes:?}");
            assert_eq!(decision.resume_at, Some(config.windows[0].planned.end));
        }
    }
    let partly = with(cell(&config, "reimbursement.manual.apply", Hall, AtHall), PARTLY);
    assert_eq!(decide(&config, &partly, INSIDE).row.unwrap().clause, NOT_IN_NOTICE);
}

#[test]
fn s1_10_special_cases_are_pre_accepted_at_the_hall_only_and_with_the_file() {
    let config = shipped();
    let hall = with(cell(&config, "reimbursement.manual.apply", Hall, AtHall), SPECIAL);
    let decision = decide(&config, &hall, INSIDE);
    assert_eq!((decision.disposition, decision.needs_report_file), (PreAccept, true));
    let portal = with(cell(&config, "reimbursement.manual.apply", Portal, Online), SPECIAL);
    assert_eq!(decide(&config, &portal, INSIDE).disposition, Refuse);
    // After the restart a named person lets it go.
    let config = restored(config, upstream("agency"), "2022-08-15T07:10:00+08:00");
    let after = at("2022-08-15T07:10:00+08:00");
    assert_eq!(config.windows[0].lock(&hall, after), Some(Lock::AwaitingRelease));
}

#[test]
fn s1_13_special_outpatient_filing_goes_on_at_hospitals_and_stops_at_agencies() {
    let config = shipped();
    let name = "filing.outpatient_special_disease.apply";
    let hospital = cell(&config, name, Hospital, System);
    assert_eq!(decide(&config, &hospital, INSIDE).disposition, Pass);
    assert_eq!(config.windows[0].lock(&hospital, at(INSIDE)), None);
    assert_eq!(hospital.upstream.as_str(), "settlement", "its path is not the one that stops");
    let agency = cell(&config, name, DistrictMedicalAgency, System);
    assert_eq!(decide(&config, &agency, INSIDE).advice, GoElsewhere);
    assert_eq!(config.windows[0].lock(&agency, at(INSIDE)), Some(Lock::Stopped));
}

#[test]
fn s1_14_queries_and_transfers_are_refused_with_a_time_and_never_queued() {
    let config = shipped();
    for name in ["service.query.query", "service.account_transfer.request"] {
        let cell = cell(&config, name, Portal, Mobile);
        let decision = decide(&config, &cell, INSIDE);
        assert_eq!(decision.disposition, Refuse, "{name}");
        assert_eq!(decision.resume_at, Some(at("2022-08-15T06:00:00+08:00")), "{name}");
    }
    assert!(!line(&config, "service.query.query").queued);
}

#[test]
fn s1_15_a_policy_without_its_notice_is_refused() {
    let mut config = shipped();
    config.windows[0].notice = None;
    let faults = review(&config.windows[0], &config.catalogue, &config.calendar);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].field == "notice" && !faults[0].is_warning);
}

#[test]
fn taking_away_any_row_leaves_a_line_undecided() {
    let config = shipped();
    for index in 0..config.windows[0].policy.len() {
        let mut window = config.windows[0].clone();
        let row = window.policy.remove(index);
        // What a narrower row leaves behind falls to the wider one.
        let falls_back = row.cells.label.len() == 1
            || row.clause == "(三)2"
            || row.cells.channel == [Channel::Mobile];
        let faults = review(&window, &config.catalogue, &config.calendar);
        assert_eq!(faults.is_empty(), falls_back, "without {} {:?}", row.clause, row.cells);
    }
}

#[test]
fn clauses_that_are_listed_and_rows_must_be_about_the_same() {
    let config = shipped();
    let told = |change: &dyn Fn(&mut Window)| -> Vec<(String, String)> {
        let mut window = config.windows[0].clone();
        let clauses = ["(一)", "(二)", "(二)1", "(二)2", "(三)1", "(三)2", "(三)3", "(四)", "(五)"];
        window.notice.as_mut().unwrap().clauses = clauses.map(str::to_owned).into();
        change(&mut window);
        let faults = review(&window, &config.catalogue, &config.calendar);
        assert!(faults.iter().all(|fault| !fault.is_warning));
        faults.into_iter().map(|fault| (fault.field, fault.why)).collect()
    };
    let list = |window: &mut Window, clause: &str| {
        window.notice.as_mut().unwrap().clauses.push(clause.to_owned());
    };
    assert_eq!(told(&|_| {}), []);
    let one = |change: &dyn Fn(&mut Window), field: &str, says: &str| {
        let faults = told(change);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].0 == field && faults[0].1.contains(says), "{faults:?}");
    };
    one(&|w| list(w, "(六)"), "notice.clauses", "no row speaks of clause (六)");
    one(&|w| list(w, "(五)"), "notice.clauses", "(五) is listed twice");
    one(&|w| list(w, " "), "notice.clauses", "is empty");
    one(&|w| list(w, NOT_IN_NOTICE), "notice.clauses", "or is no clause");
    one(
        &|w| w.notice.as_mut().unwrap().clauses.retain(|clause| clause != "(三)3"),
        "deadlines.clause",
        "the notice has no clause (三)3; it has (一), (二)",
    );
    // One of two rows of a clause is mistyped; of an only one the clause is forgotten too.
    let place = |clause: &str| config.windows[0].policy.iter().position(|r| r.clause == clause);
    let (fourth, pre_accepted) = (place("(四)").unwrap(), place("(三)2").unwrap());
    let field = format!("row[{fourth}].clause");
    one(&|w| w.policy[fourth].clause = "(4)".to_owned(), &field, "no clause (4)");
    let both = told(&|w| w.policy[pre_accepted].clause = "(三)4".to_owned());
    let fields: Vec<&str> = both.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(fields, ["notice.clauses", &format!("row[{pre_accepted}].clause")]);
}

fn second(config: &Config, id: &str, from: &str, to: &str, disposition: Disposition) -> Window {
    let planned = Interval::new(at(from), at(to)).unwrap();
    let mut window = config.windows[0].clone();
    window.id = id.parse::<WindowId>().unwrap();
    (window.planned, window.published) = (planned, planned);
    window.deadlines = None;
    window.policy = vec![Row {
        clause: "一".to_owned(),
        cells: Selector::default(),
        disposition: Some(disposition),
        advice: Advice::None,
        alternative: None,
        bring: Vec::new(),
        needs_report_file: false,
        starts_at: None,
        ends_at: None,
        decided_because: None,
    }];
    window
}

#[test]
fn where_windows_overlap_the_strictest_answer_holds_whatever_their_order() {
    let config = shipped();
    let from = "2022-08-13T00:00:00+08:00";
    let to = "2022-08-16T00:00:00+08:00";
    let apply = cell(&config, "filing.out_of_area.apply", Portal, Online);
    let review = cell(&config, "filing.out_of_area.review", DistrictMedicalAgency, System);
    for (disposition, of_apply, resumes) in [
        (Pass, HoldForRelease, "2022-08-15T06:00:00+08:00"),
        (Hold, HoldForRelease, to),
        (Refuse, Refuse, to),
    ] {
        let more = second(&config, "second", from, to, disposition);
        let mut both = vec![config.windows[0].clone(), more];
        for _ in 0..2 {
            let decision = decide_in(&config, &both, &apply, INSIDE);
            assert_eq!(decision.disposition, of_apply);
            assert_eq!(decision.resume_at, Some(at(resumes)), "{disposition}");
            assert_eq!(decide_in(&config, &both, &review, INSIDE).disposition, Refuse);
            both.reverse();
        }
    }
}

#[test]
fn adjacent_windows_leave_no_instant_open_between_them() {
    let config = shipped();
    let edge = "2022-08-15T06:00:00+08:00";
    let next = second(&config, "next", edge, "2022-08-16T06:00:00+08:00", Hold);
    let both = [config.windows[0].clone(), next];
    let cell = cell(&config, "service.online.request", Portal, Online);
    for ms in -3..=3 {
        let now = Timestamp::from_millis(at(edge).as_millis() + ms);
        let (name, lock) = window::lock(&both, &cell, now).unwrap();
        assert_eq!(name.as_str(), "beijing-2022-08");
        assert_eq!(lock, if ms < 0 { Lock::Stopped } else { Lock::Verifying });
    }
    // Restoring the first does not open what the second stops.
    let mut both = both;
    both[0].restores.push(act(Selector::default(), edge));
    let (name, lock) = window::lock(&both, &cell, at(edge)).unwrap();
    assert_eq!((name.as_str(), lock), ("next", Lock::Stopped));
}

#[test]
fn a_row_may_stop_earlier_and_end_later_than_its_window() {
    let mut config = shipped();
    let window = &mut config.windows[0];
    let index =
        window.policy.iter().position(|row| row.cells.operation == [Operation::Advice]).unwrap();
    window.policy[index].starts_at = Some(at("2022-08-12T12:00:00+08:00"));
    window.policy[index].ends_at = Some(at("2022-08-15T12:00:00+08:00"));
    let advice = cell(&config, "settlement.inpatient.advice", Hospital, System);
    let window = &config.windows[0];
    for (now, lock) in [
        ("2022-08-12T11:59:59+08:00", None),
        ("2022-08-12T12:00:00+08:00", Some(Lock::Stopped)),
        ("2022-08-15T06:00:00+08:00", Some(Lock::Stopped)),
        ("2022-08-15T12:00:00+08:00", Some(Lock::Verifying)),
    ] {
        assert_eq!(window.lock(&advice, at(now)), lock, "{now}");
    }
    assert_eq!(
        window.closes_at(&advice, at("2022-08-01T00:00:00Z")),
        Some(at("2022-08-12T12:00:00+08:00"))
    );
    let mut edges = Vec::new();
    let mut now = at("2022-08-01T00:00:00Z");
    while let Some(edge) = window.next_edge(now) {
        edges.push(edge.rfc3339(window.zone));
        now = edge;
    }
    assert_eq!(
        edges,
        [
            "2022-08-12T12:00:00+08:00",
            "2022-08-12T19:00:00+08:00",
            "2022-08-15T06:00:00+08:00",
            "2022-08-15T12:00:00+08:00"
        ]
    );
}

#[test]
fn a_window_goes_through_its_phases_as_its_cells_do() {
    let config = shipped();
    let cells: Vec<Cell> = config
        .catalogue
        .lines
        .iter()
        .flat_map(|line| cells_of(line, &Selector::default()))
        .collect();
    let phase = |window: &Window, now: &str| window.phase(&cells, at(now));
    let mut window = config.windows[0].clone();
    assert_eq!(phase(&window, "2022-08-12T18:59:59+08:00"), Phase::Scheduled);
    assert_eq!(phase(&window, "2022-08-12T19:00:00+08:00"), Phase::Active);
    assert_eq!(phase(&window, "2022-08-15T06:00:00+08:00"), Phase::Verifying);
    // Also where nothing has been submitted yet.
    assert_eq!(window.phase([], at("2022-08-15T06:00:00+08:00")), Phase::Verifying);
    window.restores.push(act(upstream("portal"), "2022-08-15T06:05:00+08:00"));
    window.restores.push(act(upstream("settlement"), "2022-08-15T06:05:00+08:00"));
    assert_eq!(phase(&window, "2022-08-15T06:30:00+08:00"), Phase::Overrun);
    window.restores.push(act(upstream("agency"), "2022-08-15T07:10:00+08:00"));
    assert_eq!(phase(&window, "2022-08-15T07:10:00+08:00"), Phase::Replaying);
    window.releases.push(act(Selector::default(), "2022-08-15T08:00:00+08:00"));
    assert_eq!(phase(&window, "2022-08-15T08:00:00+08:00"), Phase::Completed);

    let mut part = config.windows[0].clone();
    part.restores.push(act(upstream("portal"), "2022-08-13T06:05:00+08:00"));
    assert_eq!(phase(&part, INSIDE), Phase::Active, "one part back is not all of it");
    let mut cancelled = config.windows[0].clone();
    cancelled.cancelled_at = Some(at("2022-08-10T00:00:00Z"));
    assert_eq!(phase(&cancelled, INSIDE), Phase::Cancelled);
    let cell = cell(&config, "service.query.query", Portal, Online);
    assert_eq!(cancelled.lock(&cell, at(INSIDE)), None);
    assert_eq!(decide_in(&config, &[cancelled], &cell, INSIDE).disposition, Pass);
}
