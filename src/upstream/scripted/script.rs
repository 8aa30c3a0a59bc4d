//! What a simulated upstream has been told to do: the JSON of `PUT /control/{upstream}`.
//!
//! A `PUT` replaces the whole script; what it leaves out is normal again, so `{}` heals. A
//! `next` counts down as it is used up, and `GET` shows what is left.

use serde::{Deserialize, Serialize};

/// How one upstream behaves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Its listener is closed and its connections are cut: connecting is refused.
    pub down: bool,
    /// Every answer comes this much later, in real time; what it tells of happened before.
    pub slow_ms: u64,
    /// Probes are answered 503.
    pub probe_fails: bool,
    /// Transactions that are refused; the first rule that fits counts.
    pub refuse: Vec<Refuse>,
    /// The connection is cut before the transaction is applied.
    pub lose_before: Chance,
    /// The transaction is applied, then the connection is cut.
    pub lose_after: Chance,
    /// The connection is cut, questions are answered "not found", and the transaction is
    /// applied later.
    pub late_apply: Option<LateApply>,
    /// Transactions are shed with 429 or 503.
    pub busy: Option<Busy>,
    /// 200 with a page in HTML; nothing is applied. Where it is certain, for questions and
    /// probes too.
    pub maintenance_page: Chance,
    /// Files are answered 404, as by a core that takes none.
    pub no_files: bool,
    /// "Not found" comes with the promise not to apply later what was received so far.
    pub fenced: bool,
    /// The `business_status` of what is applied.
    pub business_status: Option<String>,
}

/// Which transactions meet a behaviour: the next so many, and a share of the others.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Chance {
    /// The share, from 0 to 1, drawn with the seed.
    pub probability: f64,
    /// How many of the next are met for certain.
    pub next: u64,
}

impl Chance {
    /// Whether this transaction is met.
    pub(super) fn falls(&mut self, random: &mut fastrand::Rng) -> bool {
        if self.next > 0 {
            self.next -= 1;
            return true;
        }
        self.probability > 0.0 && random.f64() < self.probability
    }

    /// Whether every transaction is met.
    pub(super) fn is_certain(&self) -> bool {
        self.probability >= 1.0
    }

    fn is_valid(&self) -> bool {
        (0.0..=1.0).contains(&self.probability)
    }
}

/// A rule of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    /// Which business: a name, a family such as `filing.*`, or every one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub business: Option<String>,
    /// The code of the refusals.
    pub code: String,
    /// How many are refused before all is normal again; without end where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl Refuse {
    fn fits(&self, business: &str) -> bool {
        let Some(pattern) = &self.business else { return true };
        match pattern.strip_suffix(".*") {
            Some(family) => business.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')),
            None => pattern == business,
        }
    }
}

/// Losing a transaction that is applied later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LateApply {
    /// How much later, by the clock.
    pub after_ms: u64,
    /// Which ones.
    #[serde(flatten)]
    pub chance: Chance,
}

/// Shedding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Busy {
    /// 429 or 503.
    pub status: u16,
    /// What `Retry-After` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Which ones.
    #[serde(flatten)]
    pub chance: Chance,
}

impl Script {
    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let late = self.late_apply.as_ref().map(|late| late.chance);
        let busy = self.busy.as_ref().map(|busy| busy.chance);
        let chances = [self.lose_before, self.lose_after, self.maintenance_page];
        if chances.into_iter().chain(late).chain(busy).any(|chance| !chance.is_valid()) {
            return Some("a probability must lie between 0 and 1");
        }
        if self.busy.as_ref().is_some_and(|busy| busy.status != 429 && busy.status != 503) {
            return Some("busy.status must be 429 or 503");
        }
        if self.refuse.iter().any(|rule| rule.code.is_empty()) {
            return Some("refuse.code must not be empty");
        }
        None
    }

    /// The code with which `business` is refused now, if it is.
    pub(super) fn refusal(&mut self, business: &str) -> Option<String> {
        let rule =
            self.refuse.iter_mut().find(|rule| rule.fits(business) && rule.next != Some(0))?;
        if let Some(next) = &mut rule.next {
            *next -= 1;
        }
        Some(rule.code.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_script_is_normal_and_an_unknown_field_is_refused() {
        assert_eq!(serde_json::from_str::<Script>("{}").unwrap(), Script::default());
        assert!(serde_json::from_str::<Script>(r#"{"slow":1}"#).is_err());
        let text =
            r#"{"late_apply":{"after_ms":5,"next":2},"busy":{"status":429,"probability":1}}"#;
        let script: Script = serde_json::from_str(text).unwrap();
        assert_eq!(script.late_apply.as_ref().unwrap().chance.next, 2);
        assert!(script.busy.as_ref().unwrap().chance.is_certain());
        assert_eq!(script.problem(), None);
    }

    #[test]
    fn a_script_that_makes_no_sense_is_refused() {
        for text in [
            r#"{"lose_after":{"probability":1.5}}"#,
            r#"{"late_apply":{"after_ms":1,"probability":-1}}"#,
            r#"{"busy":{"status":500}}"#,
            r#"{"refuse":[{"code":""}]}"#,
        ] {
            assert!(serde_json::from_str::<Script>(text).unwrap().problem().is_some(), "{text}");
        }
    }

    #[test]
    fn a_burst_of_refusals_ends_and_names_its_business() {
        let text = r#"{"refuse":[{"business":"filing.*","code":"F","next":2},{"business":"a.b","code":"A"}]}"#;
        let mut script: Script = serde_json::from_str(text).unwrap();
        let mut refusal = |business| script.refusal(business);
        assert_eq!(refusal("filings.x"), None);
        assert_eq!(refusal("filing.x").as_deref(), Some("F"));
        assert_eq!(refusal("filing.y").as_deref(), Some("F"));
        assert_eq!(refusal("filing.x"), None);
        assert_eq!(refusal("a.b").as_deref(), Some("A"));
        assert_eq!(refusal("a.bc"), None);
    }

    #[test]
    fn the_next_ones_are_met_for_certain_and_the_rest_by_the_seed() {
        let draw = || {
            let mut random = fastrand::Rng::with_seed(7);
            let mut chance = Chance { probability: 0.3, next: 2 };
            (0..1000).map(|_| chance.falls(&mut random)).collect::<Vec<bool>>()
        };
        let falls = draw();
        assert_eq!(falls, draw());
        assert!(falls[0] && falls[1]);
        let met = falls.iter().filter(|&&met| met).count();
        assert!((200..400).contains(&met), "{met}");
    }
}
