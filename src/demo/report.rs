//! What is told at the end: one object for programs, a page for people, both from one value.

use super::bodies::ZONE;
use super::proof::Broken;
use super::proof::books::{Counter, Ledger};
use super::proof::calls::Effects;
use super::proof::notice::Used;
use crate::domain::money::format_fen;
use crate::domain::state::State;
use crate::domain::ticket::TicketState;
use crate::domain::time::{CivilDate, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A registered date, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Date {
    /// The date given.
    pub original: CivilDate,
    /// The date that holds.
    pub effective: CivilDate,
    /// The rule that moved it; `none` where nothing did.
    pub rule: String,
    /// Whether it was moved.
    pub extended: bool,
}

/// Everything that is told.
#[derive(Debug, Clone)]
pub struct Report {
    /// `on_time`, `slipped` or `early`.
    pub scenario: &'static str,
    /// The published start.
    pub starts_at: Timestamp,
    /// The published end.
    pub ends_at: Timestamp,
    /// When the agency path was let back.
    pub restored_at: Option<Timestamp>,
    /// What the clients counted.
    pub clients: Counter,
    /// The most that ever waited during the stop.
    pub held_peak: u64,
    /// Transactions that were held and took effect afterwards.
    pub replayed: u64,
    /// Daemons killed.
    pub kills: usize,
    /// Transactions that were ever in doubt.
    pub in_doubt_seen: u64,
    /// The books.
    pub ledger: Ledger,
    /// What the cores' logs say.
    pub effects: Effects,
    /// The rows of the notice, as they were used.
    pub policy: Vec<Used>,
    /// The registered dates.
    pub deadlines: Vec<Date>,
    /// The clause that dates rest on.
    pub deadline_clause: String,
    /// What did not hold.
    pub broken: Vec<Broken>,
}

/// The order in which the books are told.
const COLUMNS: [&str; 11] = [
    "accepted",
    "applied",
    "refused",
    "withdrawn",
    "superseded",
    "dead_lettered",
    "waiting",
    "in_flight",
    "in_doubt",
    "action_required",
    "ticketed",
];

impl Report {
    /// The one object for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let at = |at: Timestamp| at.rfc3339(ZONE);
        let mut ledger = Map::new();
        let mut amount = Map::new();
        for column in COLUMNS {
            let (items, fen) = self.column(column);
            ledger.insert(column.to_owned(), number(items));
            amount.insert(column.to_owned(), json!(format_fen(fen)));
        }
        let (items, fen) = self.ledger.difference();
        ledger.insert("difference".to_owned(), number(items));
        amount.insert("difference".to_owned(), json!(format_fen(fen)));
        ledger.insert("amount".to_owned(), Value::Object(amount));
        let mut tickets = Map::new();
        tickets.insert("issued".to_owned(), number(self.ledger.tickets_issued()));
        for state in TicketState::ALL {
            tickets.insert(state.to_string(), number(self.tickets(*state)));
        }
        json!({
            "scenario": self.scenario,
            "window": {
                "starts_at": at(self.starts_at),
                "ends_at": at(self.ends_at),
                "restored_at": self.restored_at.map(at),
            },
            "submitted": self.clients.submitted,
            "accepted": self.clients.accepted,
            "duplicates": self.clients.duplicates,
            "turned_away": self.clients.turned_away,
            "invalid": self.clients.invalid,
            "held_peak": self.held_peak,
            "replayed": self.replayed,
            "kills": self.kills,
            "in_doubt_seen": self.in_doubt_seen,
            "ledger": ledger,
            "tickets": tickets,
            "upstream": {
                "effects": self.effects.effects,
                "double_effects": self.effects.double,
                "order_violations": self.effects.out_of_order,
                "calls_while_closed": self.effects.while_closed,
            },
            "policy": self.policy,
            "deadlines": self.deadlines,
            "broken_promises": self.broken,
        })
    }

    fn column(&self, name: &str) -> (i128, i128) {
        self.ledger.states.get(name).copied().unwrap_or_default()
    }

    fn tickets(&self, state: TicketState) -> i128 {
        self.ledger.tickets.get(state.as_str()).map_or(0, |column| column.0)
    }

    /// The page for people.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        if self.write_page(&mut page).is_err() {
            page.push_str("(the report was cut short)\n");
        }
        page
    }

    fn write_page(&self, page: &mut String) -> std::fmt::Result {
        let at = |at: Timestamp| at.civil(ZONE).format("%Y-%m-%d %H:%M").to_string();
        writeln!(page, "\nThe stop ({})", self.scenario)?;
        writeln!(page, "  published  {} to {}", at(self.starts_at), at(self.ends_at))?;
        let back = self.restored_at.map_or_else(|| "never".to_owned(), at);
        writeln!(page, "  agency back {back}")?;
        let c = &self.clients;
        writeln!(
            page,
            "\nAnswered posts\n  {} = {} accepted + {} duplicates + {} turned away + {} invalid",
            c.submitted, c.accepted, c.duplicates, c.turned_away, c.invalid
        )?;
        writeln!(
            page,
            "  held at most {}, replayed {}, in doubt {} in all, daemon killed {} times",
            self.held_peak, self.replayed, self.in_doubt_seen, self.kills
        )?;
        writeln!(page, "\nWhat the notice did, row by row")?;
        for used in &self.policy {
            writeln!(
                page,
                "  {:<14} {:<48} {:<24} {:<7} {:<16} {:>6}",
                used.clause,
                format!("{}.{}", used.business, used.operation),
                used.class,
                used.channel,
                used.disposition,
                used.count
            )?;
        }
        self.write_dates(page)?;
        self.write_books(page)?;
        self.write_proof(page)
    }

    fn write_dates(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\nDates registered for manual reimbursement")?;
        let mut seen: std::collections::BTreeMap<_, u32> = std::collections::BTreeMap::new();
        for date in &self.deadlines {
            *seen.entry((date.original, date.effective, date.rule.as_str())).or_default() += 1;
        }
        for ((original, effective, rule), count) in seen {
            if original == effective {
                writeln!(page, "  {original}  stays        {count:>4} cases")?;
            } else {
                let clause = &self.deadline_clause;
                writeln!(
                    page,
                    "  {original} -> {effective} {count:>4} cases, by {rule}, clause {clause}"
                )?;
            }
        }
        Ok(())
    }

    fn write_books(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "\nThe books")?;
        for column in COLUMNS {
            let (items, fen) = self.column(column);
            if items != 0 || column == "accepted" {
                writeln!(page, "  {column:<16} {items:>8}  {:>18}", format_fen(fen))?;
            }
        }
        let (items, fen) = self.ledger.difference();
        writeln!(page, "  {:<16} {items:>8}  {:>18}", "difference", format_fen(fen))?;
        write!(page, "  tickets: {} issued", self.ledger.tickets_issued())?;
        for state in TicketState::ALL {
            write!(page, ", {} {state}", self.tickets(*state))?;
        }
        writeln!(page)
    }

    fn write_proof(&self, page: &mut String) -> std::fmt::Result {
        let e = &self.effects;
        let applied = self.column(State::Applied.as_str()).0;
        let proofs = [
            (
                "P1",
                format!("every one of {} receipts stands in the journal", self.clients.accepted),
            ),
            ("P2", format!("{} effects for {applied} applied, {} twice", e.effects, e.double)),
            ("P3", format!("{} effects out of the order of their key", e.out_of_order)),
            ("P4", format!("{} calls while their gate was closed", e.while_closed)),
            ("P5", "no date inside the stop ran out, none that was told moved earlier".to_owned()),
            ("P6", "receipts, journal and cores give the same books".to_owned()),
            ("notice", "every answer is the one that the notice gives".to_owned()),
        ];
        writeln!(page, "\nRecounted from the receipts, the journal and the cores' logs")?;
        for (promise, proved) in proofs {
            let held = !self.broken.iter().any(|broken| broken.promise == promise);
            let mark = if held { "held  " } else { "BROKEN" };
            writeln!(page, "  {promise:<7} {mark} {proved}")?;
        }
        for broken in &self.broken {
            writeln!(page, "    {}: {} {}", broken.promise, broken.id, broken.what)?;
        }
        Ok(())
    }
}

/// A count as a JSON number; it fits, because it counts what was posted.
fn number(count: i128) -> Value {
    i64::try_from(count).map_or_else(|_| json!(count.to_string()), |count| json!(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut ledger = Ledger::default();
        ledger.states.insert("accepted", (3, 500));
        ledger.states.insert("applied", (2, 300));
        ledger.states.insert("ticketed", (1, 200));
        ledger.tickets.insert("open", (1, 200));
        Report {
            scenario: "on_time",
            starts_at: crate::demo::schedule::STOPS,
            ends_at: crate::demo::schedule::PLANNED_END,
            restored_at: None,
            clients: Counter { submitted: 3, accepted: 3, ..Counter::default() },
            held_peak: 1,
            replayed: 1,
            kills: 2,
            in_doubt_seen: 1,
            ledger,
            effects: Effects { effects: 2, ..Effects::default() },
            policy: Vec::new(),
            deadlines: Vec::new(),
            deadline_clause: "(三)3".to_owned(),
            broken: vec![Broken::new("P2", "txn_x", "took effect 2 times at the core")],
        }
    }

    #[test]
    fn the_object_has_the_keys_that_were_agreed() {
        let json = report().json();
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let mut expected = vec![
            "scenario",
            "window",
            "submitted",
            "accepted",
            "duplicates",
            "turned_away",
            "invalid",
            "held_peak",
            "replayed",
            "kills",
            "in_doubt_seen",
            "ledger",
            "tickets",
            "upstream",
            "policy",
            "deadlines",
            "broken_promises",
        ];
        expected.sort_unstable();
        let mut got = keys(&json);
        got.sort_unstable();
        assert_eq!(got, expected);
        let mut columns: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
        columns.push("difference".to_owned());
        columns.sort_unstable();
        let mut amount = keys(&json["ledger"]["amount"]);
        amount.sort_unstable();
        assert_eq!(amount, columns);
        assert_eq!(json["ledger"]["amount"]["applied"], "3.00");
        assert_eq!(json["ledger"]["difference"], 0);
        assert_eq!(json["tickets"]["issued"], 1);
        assert_eq!(json["window"]["starts_at"], "2022-08-12T19:00:00+08:00");
    }

    #[test]
    fn the_page_says_which_promise_broke() {
        let page = report().page();
        assert!(page.contains("P2      BROKEN"), "{page}");
        assert!(page.contains("P3      held"), "{page}");
        assert!(page.contains("txn_x took effect 2 times"), "{page}");
    }
}
