//! What is wrong with a window before it may be activated: silence about a line of the
//! catalogue, a decision without a reason, deadlines without a rule or a legal basis, a policy
//! without its notice, a contradiction of another window.
//!
//! Service hours are held to what a window's row is held to, and the standing rule for outages that
//! nobody planned to what its rule is held to.
//!
//! A window from a file and one from an operator pass the same review. It changes nothing and
//! decides no submission; that is `window`'s job.

use super::calendar::Calendar;
use super::catalogue::{AttributeKind, Catalogue, Line};
use super::cell::{Cell, Channel, Class};
use super::deadline::{DeadlineRule, Rule, effective};
use super::hours::ServiceHours;
use super::ids::{Business, District};
use super::policy::{Disposition, Row};
use super::time::{CivilDate, Interval, Timestamp};
use super::window::{Act, Cause, Proof, Window};
use crate::domain::cell::Selector;
use chrono::Datelike;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The clause of a row that a person decided because the notice is silent.
pub const NOT_IN_NOTICE: &str = "not_in_notice";
const DAY: Duration = Duration::from_secs(86_400);

super::cell::words!(
    /// What kind of mistake a window has. Most keep it from being in force; those from `begun` on
    /// are only told.
    FaultCode, "fault of a window", {
        /// Its planned end is in the past.
        Past = "past",
        /// It, or a row of it, does not end after it starts.
        ZeroLength = "zero_length",
        /// It lasts longer than `limits.window_length_max`.
        TooLong = "too_long",
        /// It, or a row of it, names a business, upstream or other word that there is not.
        NotInCatalogue = "not_in_catalogue",
        /// A row is undecided, or no row speaks of a line of the catalogue.
        Undecided = "undecided",
        /// Something that has to be said is missing: notice, clause, reason, legal basis.
        Unsaid = "unsaid",
        /// A row would keep what is never kept, or cannot be sent from what is kept.
        NotKept = "not_kept",
        /// The rule for deadlines makes no sense.
        WrongRule = "wrong_rule",
        /// A clause that the notice does not have, or that no row speaks of.
        WrongClause = "wrong_clause",
        /// Working days are needed for a year that has no calendar.
        NoCalendar = "no_calendar",
        /// It has begun, and this can be changed no longer.
        Fixed = "fixed",
        /// Its start is in the past.
        Begun = "begun",
        /// The notice was published after the stop began.
        LateNotice = "late_notice",
        /// No submission meets a row.
        Unmet = "unmet",
        /// Nothing is stopped.
        StopsNothing = "stops_nothing",
        /// A holiday lies in it.
        OverHoliday = "over_holiday",
        /// At the same time one window lets through what another stops.
        Contradicts = "contradicts",
        /// At the same time another window stops the same.
        Overlaps = "overlaps",
        /// More is expected to be kept than there is room for.
        OverCapacity = "over_capacity",
    }
);

/// One thing that is wrong with a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowFault {
    /// What kind of mistake it is.
    pub code: FaultCode,
    /// Where, below the window: `notice`, `row[3].disposition`.
    pub field: String,
    /// What is wrong and what to do.
    pub why: String,
    /// Whether the window may be activated all the same.
    pub is_warning: bool,
}

/// Everything that is wrong with `window` by itself. It may be activated when nothing but
/// warnings is left.
#[must_use]
pub fn review(window: &Window, catalogue: &Catalogue, calendar: &Calendar) -> Vec<WindowFault> {
    let mut faults = Faults(Vec::new());
    review_times(window, &mut faults);
    review_notice(window, &mut faults);
    review_clauses(window, &mut faults);
    for (index, row) in window.policy.iter().enumerate() {
        review_row(window, index, row, catalogue, &mut faults);
    }
    review_silence(window, catalogue, &mut faults);
    if let Some(rule) = &window.deadlines {
        review_deadlines(window, rule, catalogue, calendar, &mut faults);
    }
    faults.0
}

impl WindowFault {
    /// One that keeps the window from being in force.
    #[must_use]
    pub fn error(code: FaultCode, field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, field: field.into(), why: why.into(), is_warning: false }
    }

    /// One that is only told.
    #[must_use]
    pub fn warning(code: FaultCode, field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { code, field: field.into(), why: why.into(), is_warning: true }
    }
}

struct Faults(Vec<WindowFault>);

impl Faults {
    fn error(&mut self, code: FaultCode, field: impl Into<String>, why: impl Into<String>) {
        self.0.push(WindowFault::error(code, field, why));
    }

    fn warning(&mut self, code: FaultCode, field: impl Into<String>, why: impl Into<String>) {
        self.0.push(WindowFault::warning(code, field, why));
    }
}

fn review_times(window: &Window, faults: &mut Faults) {
    if window.planned.start >= window.planned.end {
        faults.error(FaultCode::ZeroLength, "ends_at", "must be after starts_at");
    }
    if window.author.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "author", "name who declares the window");
    }
    if window.reason.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "reason", "say why the window is declared");
    }
}

fn review_notice(window: &Window, faults: &mut Faults) {
    match &window.notice {
        None if window.policy.is_empty() || window.cause == Cause::Unplanned => {}
        None => {
            faults.error(
                FaultCode::Unsaid,
                "notice",
                "a policy needs the notice it rests on: source and published_at",
            );
        }
        Some(notice) => {
            if notice.source.trim().is_empty() {
                faults.error(
                    FaultCode::Unsaid,
                    "notice.source",
                    "say who published the notice, and where",
                );
            }
            if notice.published_at > window.planned.start {
                faults.warning(
                    FaultCode::LateNotice,
                    "notice.published_at",
                    "published after the stop began",
                );
            }
        }
    }
}

/// Where the notice's clauses are listed, rows and clauses must be about the same: a clause that
/// nobody wrote a row for is forgotten, a row of a clause that there is not is mistyped.
fn review_clauses(window: &Window, faults: &mut Faults) {
    let listed = window.notice.as_ref().map_or(&[][..], |notice| &notice.clauses);
    if listed.is_empty() {
        return;
    }
    let rows = window.policy.iter().map(|row| row.clause.as_str());
    let deadlines = window.deadlines.iter().map(|rule| rule.clause.as_str());
    let named: BTreeSet<&str> = rows.chain(deadlines).collect();
    let mut known = BTreeSet::from([NOT_IN_NOTICE]);
    for clause in listed {
        let clause = clause.as_str();
        if clause.trim().is_empty() {
            faults.error(FaultCode::Unsaid, "notice.clauses", "one of them is empty");
        } else if !known.insert(clause) {
            let why = format!("{clause} is listed twice, or is no clause");
            faults.error(FaultCode::WrongClause, "notice.clauses", why);
        } else if !named.contains(clause) {
            let why = format!("no row speaks of clause {clause}: write one, or leave it out");
            faults.error(FaultCode::WrongClause, "notice.clauses", why);
        }
    }
    let unknown = |clause: &str| {
        let clauses = listed.join(", ");
        format!("the notice has no clause {clause}; it has {clauses}, and {NOT_IN_NOTICE}")
    };
    for (index, row) in window.policy.iter().enumerate() {
        // One without a clause is told of where rows are.
        if !known.contains(row.clause.as_str()) && !row.clause.trim().is_empty() {
            let field = format!("row[{index}].clause");
            faults.error(FaultCode::WrongClause, field, unknown(&row.clause));
        }
    }
    let rule = window.deadlines.as_ref().map(|rule| rule.clause.as_str());
    if let Some(clause) = rule.filter(|clause| !known.contains(clause) && !clause.trim().is_empty())
    {
        faults.error(FaultCode::WrongClause, "deadlines.clause", unknown(clause));
    }
}

fn blank(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(|t| t.trim().is_empty())
}

fn review_row(
    window: &Window,
    index: usize,
    row: &Row,
    catalogue: &Catalogue,
    faults: &mut Faults,
) {
    let field = |name: &str| format!("row[{index}].{name}");
    if row.clause.trim().is_empty() {
        faults.error(
            FaultCode::Unsaid,
            field("clause"),
            "name the notice's clause, or not_in_notice",
        );
    }
    if row.disposition.is_none() {
        faults.error(
            FaultCode::Undecided,
            field("disposition"),
            "undecided: a person must choose a disposition",
        );
    } else if row.clause == NOT_IN_NOTICE && blank(&row.decided_because) {
        faults.error(
            FaultCode::Unsaid,
            field("decided_because"),
            "the notice is silent here: say why it was decided so",
        );
    }
    let stretch = window.interval_of(row);
    let own = row.starts_at.is_some() || row.ends_at.is_some();
    if own && stretch.start >= stretch.end {
        faults.error(FaultCode::ZeroLength, field("ends_at"), "must be after the row's start");
    }
    if row.advice == super::policy::Advice::GoElsewhere && blank(&row.alternative) {
        faults.error(FaultCode::Unsaid, field("alternative"), "go_elsewhere needs to say where");
    }
    for pattern in &row.cells.business {
        if !catalogue.lines.iter().any(|line| pattern.matches(&line.business)) {
            let name = String::from(pattern.clone());
            faults.error(
                FaultCode::NotInCatalogue,
                field("cells.business"),
                format!("no line of the catalogue is {name}"),
            );
        }
    }
    let Some(disposition) = row.disposition else { return };
    let meets = |line: &&Line| {
        let chosen = |cell: &Cell| window.row_for(cell).is_some_and(|(i, _)| i as usize == index);
        cells_of(line, &row.cells).iter().any(chosen)
    };
    let lines: Vec<&Line> = catalogue.lines.iter().filter(meets).collect();
    for line in &lines {
        review_line(line, disposition, &field("disposition"), faults);
    }
    if lines.is_empty() {
        faults.warning(
            FaultCode::Unmet,
            field("cells"),
            "no submission meets this row; others speak for its cells",
        );
    }
}

/// What a disposition asks of a line.
fn review_line(line: &Line, disposition: Disposition, field: &str, faults: &mut Faults) {
    let kept = match disposition {
        Disposition::Pass | Disposition::PassOrTicket | Disposition::Refuse => false,
        Disposition::PassOrHold
        | Disposition::Hold
        | Disposition::HoldForRelease
        | Disposition::PreAccept => true,
    };
    let name = line.name();
    if kept && !line.queued {
        faults.error(
            FaultCode::NotKept,
            field,
            format!("{name} is never kept, which {disposition} asks for"),
        );
    }
    if kept && disposition != Disposition::PassOrHold && !line.self_contained {
        let why = format!("{name} cannot be sent from stored bytes, which {disposition} asks for");
        faults.error(FaultCode::NotKept, field, why);
    }
}

/// Every line of the catalogue must meet a row that has been decided.
fn review_silence(window: &Window, catalogue: &Catalogue, faults: &mut Faults) {
    if window.policy.is_empty() {
        faults.error(
            FaultCode::Undecided,
            "row",
            "a window without rows says nothing; write one row per clause",
        );
        return;
    }
    for line in &catalogue.lines {
        let cells = cells_of(line, &Selector::default());
        let silent: Vec<&Cell> =
            cells.iter().filter(|cell| window.row_for(cell).is_none()).collect();
        let Some(first) = silent.first() else { continue };
        let why = format!(
            "no row speaks of {} from {} ({} of {} cases); decide it in a {NOT_IN_NOTICE} row",
            line.name(),
            describe(first),
            silent.len(),
            cells.len(),
        );
        faults.error(FaultCode::Undecided, "row", why);
    }
}

fn describe(cell: &Cell) -> String {
    let mut text = format!("{}/{}", cell.class, cell.channel);
    for (name, value) in &cell.attributes {
        text.push_str(&format!(", {name} = {value}"));
    }
    text
}

/// Everything that is wrong with the standing rule for outages that nobody planned. When one comes it
/// is held to what a window's rule is held to, and whoever confirms it at night cannot mend it then.
///
/// It knows no stop yet: one on the first day that the calendar knows stands for all. Its `restart_of`
/// is found afresh for each outage (`engine/outages.rs`).
#[must_use]
pub fn review_standing(
    rule: &DeadlineRule,
    catalogue: &Catalogue,
    calendar: &Calendar,
) -> Vec<WindowFault> {
    let mut faults = Faults(Vec::new());
    review_rule(rule, catalogue, &mut faults);
    if let Rule::FixedDate(_) = rule.rule {
        let why = "a rule for every outage to come cannot name one day";
        faults.error(FaultCode::WrongRule, "deadlines.rule", why);
    }
    review_businesses(rule, catalogue, &mut faults);
    if let Some(day) = calendar.years.first().and_then(|&y| CivilDate::from_ymd_opt(y, 1, 1))
        && let Some(stop) = Interval::new(start_of(day), start_of(day).after(DAY))
        && let Err(missing) = rule.moved(day.into(), &stop, chrono_tz::UTC, calendar)
    {
        let why = format!("{} leads from its first day out of the calendar: {missing}", rule.rule);
        faults.error(FaultCode::NoCalendar, "deadlines.rule", why);
    }
    faults.0
}

fn start_of(day: CivilDate) -> Timestamp {
    Timestamp::from_civil(day.into(), chrono_tz::UTC)
}

/// What a rule says of itself.
fn review_rule(rule: &DeadlineRule, catalogue: &Catalogue, faults: &mut Faults) {
    if rule.legal_basis.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "deadlines.legal_basis", "say what the rule rests on");
    }
    if rule.clause.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "deadlines.clause", "name the notice's clause");
    }
    if rule.business.is_empty() {
        faults.error(
            FaultCode::Unsaid,
            "deadlines.business",
            "name the businesses whose deadlines move",
        );
    }
    let mut wrong = |field: &str, why: String| faults.error(FaultCode::WrongRule, field, why);
    if matches!(rule.rule, Rule::RestorePlusWorkingDays(0) | Rule::RestorePlusDays(0)) {
        wrong("deadlines.rule", format!("{} must be at least 1", rule.rule));
    }
    if rule.day_ends_at.is_some_and(|end| end <= rule.opens_at) {
        wrong("deadlines.day_ends_at", "must be after opens_at".to_owned());
    }
    for name in &rule.restart_of {
        let known = catalogue
            .lines
            .iter()
            .any(|l| l.upstream == *name || l.upstream_for.values().any(|u| u == name));
        if !known {
            faults.error(
                FaultCode::NotInCatalogue,
                "deadlines.restart_of",
                format!("no line goes to an upstream {name}"),
            );
        }
    }
}

fn review_deadlines(
    window: &Window,
    rule: &DeadlineRule,
    catalogue: &Catalogue,
    calendar: &Calendar,
    faults: &mut Faults,
) {
    review_rule(rule, catalogue, faults);
    if let Rule::FixedDate(day) = rule.rule
        && day < window.planned.end.civil(window.zone).date()
    {
        let why = format!("{day} is before the planned end of the stop");
        faults.error(FaultCode::WrongRule, "deadlines.rule", why);
    }
    if rule.rule == Rule::None {
        return;
    }
    let businesses = review_businesses(rule, catalogue, faults);
    if rule.restart_of.is_empty() {
        faults.error(
            FaultCode::Unsaid,
            "deadlines.restart_of",
            "name the upstreams whose restart ends the stop for these deadlines",
        );
    }
    for year in [window.planned.start, window.planned.end].map(|at| at.civil(window.zone).year()) {
        if !calendar.years.contains(&year) {
            faults.error(
                FaultCode::NoCalendar,
                "deadlines",
                super::calendar::NoCalendar(year).to_string(),
            );
            return;
        }
    }
    review_reach(window, &businesses, calendar, faults);
}

/// The businesses that a rule names.
fn review_businesses<'a>(
    rule: &DeadlineRule,
    catalogue: &'a Catalogue,
    faults: &mut Faults,
) -> BTreeSet<&'a Business> {
    let mut businesses = BTreeSet::new();
    for pattern in &rule.business {
        let lines: Vec<&Line> =
            catalogue.lines.iter().filter(|line| pattern.matches(&line.business)).collect();
        if lines.is_empty() {
            let name = String::from(pattern.clone());
            faults.error(
                FaultCode::NotInCatalogue,
                "deadlines.business",
                format!("no line of the catalogue is {name}"),
            );
        }
        businesses.extend(lines.into_iter().map(|line| &line.business));
    }
    businesses
}

/// Whether the calendar reaches as far as the dates of a stop may move.
fn review_reach(
    window: &Window,
    businesses: &BTreeSet<&Business>,
    calendar: &Calendar,
    faults: &mut Faults,
) {
    // The last day that the stop takes away is the one that moves farthest.
    let mut over = window.clone();
    over.restores = vec![Act {
        cells: Selector::default(),
        at: window.planned.end,
        ready_from: None,
        by: String::new(),
        proof: Proof::Signed,
        reason: String::new(),
    }];
    let last = window.planned.end.civil(window.zone).date();
    for business in businesses {
        for day in [last.pred_opt().unwrap_or(last), last] {
            if let Err(missing) =
                effective(day.into(), business, [&over], calendar, window.planned.end)
            {
                faults.error(FaultCode::NoCalendar, "deadlines", missing.to_string());
                return;
            }
        }
    }
}

/// Everything that is wrong with service hours by themselves.
#[must_use]
pub fn review_hours(hours: &ServiceHours, catalogue: &Catalogue) -> Vec<WindowFault> {
    let mut faults = Faults(Vec::new());
    let row = &hours.row;
    if row.clause.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "clause", "name the clause that the hours rest on");
    }
    if hours.reason.trim().is_empty() {
        faults.error(FaultCode::Unsaid, "reason", "say why it is open at these times only");
    }
    if row.advice == super::policy::Advice::GoElsewhere && blank(&row.alternative) {
        faults.error(FaultCode::Unsaid, "alternative", "go_elsewhere needs to say where");
    }
    if let Some(unknown) = catalogue.unknown_in(&row.cells) {
        faults.error(FaultCode::NotInCatalogue, "cells", format!("there is no {unknown}"));
    }
    let meets = |line: &&Line| {
        // Districts and labels are the institutions', and no line says which there are.
        let near = each_place(&row.cells);
        let cells = near.iter().flat_map(|near| cells_of(line, near));
        cells.into_iter().any(|cell| row.cells.matches(&cell))
    };
    let lines: Vec<&Line> = catalogue.lines.iter().filter(meets).collect();
    for line in &lines {
        row.disposition.iter().for_each(|&d| review_line(line, d, "outside", &mut faults));
    }
    if lines.is_empty() {
        faults.error(FaultCode::NotInCatalogue, "cells", "no submission meets these cells");
    }
    faults.0
}

/// What two windows say at the same time of the same cells, where either stops them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Overlap {
    /// One lets through what the other stops.
    pub contradicting: Vec<String>,
    /// Both stop them; the stricter one holds.
    pub both_stop: Vec<String>,
}

/// How two windows overlap, line by line of the catalogue.
#[must_use]
pub fn overlap(one: &Window, other: &Window, catalogue: &Catalogue) -> Overlap {
    let mut found = Overlap::default();
    if one.cancelled_at.is_some() || other.cancelled_at.is_some() {
        return found;
    }
    let mut places: Vec<Selector> = Vec::new();
    for row in one.policy.iter().chain(&other.policy) {
        for place in each_place(&row.cells) {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    for line in &catalogue.lines {
        let (mut contradicts, mut stops) = (None, None);
        for cell in places.iter().flat_map(|near| cells_of(line, near)) {
            let (Some((_, a)), Some((_, b))) = (one.row_for(&cell), other.row_for(&cell)) else {
                continue;
            };
            let (Some(x), Some(y)) = (a.disposition, b.disposition) else { continue };
            if (x.passes() && y.passes()) || !one.interval_of(a).overlaps(&other.interval_of(b)) {
                continue;
            }
            let text = || {
                format!("{} from {}: {x} here, {y} in {}", line.name(), describe(&cell), other.id)
            };
            let kind = if x.passes() == y.passes() { &mut stops } else { &mut contradicts };
            kind.get_or_insert_with(text);
        }
        found.contradicting.extend(contradicts);
        found.both_stop.extend(stops);
    }
    found
}

/// The cells in which two windows contradict each other: at the same time one lets through what
/// the other stops. Two stops at once are no contradiction, the stricter one holds.
#[must_use]
pub fn contradictions(one: &Window, other: &Window, catalogue: &Catalogue) -> Vec<String> {
    overlap(one, other, catalogue).contradicting
}

/// Every cell of the catalogue that a row of `window` stops and nobody has let go (restored and,
/// where that is needed, released), whether or not a submission ever came for it. Where a row names
/// districts or labels, each stands for its
/// own cells; else one cell stands for all of them.
#[must_use]
pub fn unrestored(window: &Window, catalogue: &Catalogue) -> Vec<Cell> {
    let mut cells = Vec::new();
    for row in window.policy.iter().filter(|row| row.disposition.is_some_and(|d| !d.passes())) {
        let named = |line: &&Line| {
            let business = &row.cells.business;
            business.is_empty() || business.iter().any(|pattern| pattern.matches(&line.business))
        };
        for line in catalogue.lines.iter().filter(named) {
            for near in each_place(&row.cells) {
                let known = cells_of(line, &near).into_iter();
                cells.extend(known.filter(|cell| {
                    let own = window.row_for(cell).is_some_and(|(_, chosen)| chosen == row);
                    own && !window.is_let_go(cell)
                }));
            }
        }
    }
    cells
}

/// One selector for each district and label that `cells` names.
fn each_place(cells: &Selector) -> Vec<Selector> {
    let mut places = vec![Selector::default()];
    if !cells.district.is_empty() {
        let of = |d: &District| Selector { district: vec![d.clone()], ..Selector::default() };
        places = cells.district.iter().map(of).collect();
    }
    if !cells.label.is_empty() {
        let with = |place: &Selector| {
            let place = place.clone();
            cells.label.iter().map(move |l| Selector { label: vec![l.clone()], ..place.clone() })
        };
        places = places.iter().flat_map(with).collect();
    }
    places
}

/// Every cell of `line` that policy can tell apart without knowing the institutions, narrowed
/// to the district and labels that `near` names.
#[must_use]
pub fn cells_of(line: &Line, near: &Selector) -> Vec<Cell> {
    let Ok(anywhere) = "anywhere".parse::<District>() else { return Vec::new() };
    let district = near.district.first().cloned().unwrap_or(anywhere);
    let mut cells = Vec::new();
    for &class in &line.classes {
        for &channel in &line.channels {
            for attributes in attribute_sets(line) {
                cells.push(cell(line, class, channel, &district, near, attributes));
            }
        }
    }
    cells
}

fn cell(
    line: &Line,
    class: Class,
    channel: Channel,
    district: &District,
    near: &Selector,
    attributes: BTreeMap<String, String>,
) -> Cell {
    Cell {
        upstream: line.upstream(class).clone(),
        business: line.business.clone(),
        operation: line.operation,
        class,
        channel,
        district: district.clone(),
        labels: near.label.clone(),
        attributes,
    }
}

/// Every combination of the values that count for the cell; one that need not be given is also
/// left out.
#[must_use]
pub fn attribute_sets(line: &Line) -> Vec<BTreeMap<String, String>> {
    let mut sets = vec![BTreeMap::new()];
    for (name, attribute) in line.attributes.iter().filter(|(_, a)| a.in_cell) {
        let values: Vec<String> = match attribute.kind {
            AttributeKind::Boolean => vec!["true".to_owned(), "false".to_owned()],
            AttributeKind::Choice => attribute.choices.clone(),
            AttributeKind::Text | AttributeKind::Date | AttributeKind::List => Vec::new(),
        };
        let absent = if attribute.required { Vec::new() } else { sets.clone() };
        sets = sets
            .iter()
            .flat_map(|set| {
                values.iter().map(|value| {
                    let mut set = set.clone();
                    set.insert(name.clone(), value.clone());
                    set
                })
            })
            .chain(absent)
            .collect();
    }
    sets
}
