//! The catalogue: which businesses exist, what may be done to each, by whom, and how.
//!
//! It comes from configuration (`config/default.toml`); nothing in the code knows a business by
//! name. A *line* is one business and one operation.

use super::attachment::Rules;
use super::cell::{Cell, Channel, Class, Operation, Selector, words};
use super::ids::{Business, District, Label, UpstreamName};
use super::policy::Disposition;
use super::term::Term;
use super::time::{CivilDate, Timestamp, Zone};
use std::collections::BTreeMap;
use std::time::Duration;

words!(
    /// The type of an attribute's value.
    AttributeKind, "attribute type", {
        /// `true` or `false`.
        Boolean = "boolean",
        /// One of a list of words.
        Choice = "choice",
        /// A short text.
        Text = "text",
        /// A civil date, `yyyy-MM-dd`.
        Date = "date",
        /// Some short texts, none of them twice.
        List = "list",
    }
);

words!(
    /// Whether the day on which a term ends is one that is allowed already.
    Boundary, "boundary", {
        /// It is.
        Allowed = "allowed",
        /// It is not: only the next one is.
        Refused = "refused",
    }
);

words!(
    /// From when on what the core applied counts.
    TakesEffect, "effect", {
        /// At once.
        AtOnce = "at_once",
        /// From the day after on, worked or not.
        NextDay = "next_day",
    }
);

/// How long before a request a date must lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeastAgo {
    /// Days or months; counted by dates, whether they are worked or not.
    pub term: Term,
    /// What holds for a request on the very day on which the term ends.
    pub boundary: Boundary,
}

impl LeastAgo {
    /// Whether `day` lies far enough before a request on `asked`.
    #[must_use]
    pub fn is_met(&self, day: CivilDate, asked: CivilDate) -> bool {
        self.term.corresponding_day(day).is_some_and(|ends| match self.boundary {
            Boundary::Allowed => ends <= asked,
            Boundary::Refused => ends < asked,
        })
    }
}

/// The attribute that is not sent but follows from whether there is a ground.
pub const SPECIAL_CASE: &str = "special_case";

/// One typed attribute of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The type of its value.
    pub kind: AttributeKind,
    /// For `choice`: the words allowed.
    pub choices: Vec<String>,
    /// Whether a submission must carry it.
    pub required: bool,
    /// Whether policy and gates may distinguish by it. Only for `boolean` and `choice`.
    pub in_cell: bool,
    /// For `list`: how many there may be; always set there.
    pub at_most: Option<usize>,
    /// For `date`: how long before the request it must lie.
    pub least_ago: Option<LeastAgo>,
}

/// One business and one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The business.
    pub business: Business,
    /// The operation.
    pub operation: Operation,
    /// Its name for people, in Chinese and in English.
    pub title_zh: String,
    /// See `title_zh`.
    pub title_en: String,
    /// Who may submit it.
    pub classes: Vec<Class>,
    /// Through which channels.
    pub channels: Vec<Channel>,
    /// Where it goes.
    pub upstream: UpstreamName,
    /// Where it goes instead for some classes.
    pub upstream_for: BTreeMap<Class, UpstreamName>,
    /// Transactions of one visit (else person) and one order group keep their order.
    pub order_group: String,
    /// Whether stored bytes are enough to send it later.
    pub self_contained: bool,
    /// Whether a live attempt needs the patient's credential.
    pub needs_credential: bool,
    /// Whether it may be kept at all; `false` for questions, which are answered now or not.
    pub queued: bool,
    /// Whether it takes so long at the core that it is not begun shortly before a stop.
    pub long: bool,
    /// What is done with it on an ordinary day.
    pub normal: Disposition,
    /// How long a live attempt is tried before `pass_or_ticket` gives a ticket.
    pub live_limit: Duration,
    /// Whether an amount is mandatory.
    pub needs_amount: bool,
    /// The business had not begun before: what happened earlier is refused.
    pub open_from: Option<Timestamp>,
    /// From when on what the core applied counts.
    pub takes_effect: TakesEffect,
    /// What it takes of files.
    pub attachments: Rules,
    /// Its attributes, by name.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Line {
    /// Where a submission of `class` goes.
    #[must_use]
    pub fn upstream(&self, class: Class) -> &UpstreamName {
        self.upstream_for.get(&class).unwrap_or(&self.upstream)
    }

    /// The day from which on counts what was applied at `applied`, where that is not at once.
    #[must_use]
    pub fn effective_on(&self, applied: Timestamp, zone: Zone) -> Option<CivilDate> {
        match self.takes_effect {
            TakesEffect::AtOnce => None,
            TakesEffect::NextDay => applied.civil(zone).date().succ_opt(),
        }
    }

    /// The cell of a submission.
    #[must_use]
    pub fn cell(
        &self,
        class: Class,
        channel: Channel,
        district: &District,
        labels: &[Label],
        attributes: &BTreeMap<String, String>,
    ) -> Cell {
        let in_cell = |name: &String| self.attributes.get(name).is_some_and(|a| a.in_cell);
        let kept = attributes.iter().filter(|(name, _)| in_cell(name));
        Cell {
            upstream: self.upstream(class).clone(),
            business: self.business.clone(),
            operation: self.operation,
            class,
            channel,
            district: district.clone(),
            labels: labels.to_vec(),
            attributes: kept.map(|(name, value)| (name.clone(), value.clone())).collect(),
        }
    }

    /// Whether `value` is one that the attribute `name` may have within a cell.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn cell_value(&self, name: &str, value: &str) -> Result<(), String> {
        match self.attributes.get(name).filter(|attribute| attribute.in_cell) {
            None => Err("policy distinguishes by no such attribute of this line".to_owned()),
            Some(attribute) => match attribute.kind {
                AttributeKind::Boolean if !matches!(value, "true" | "false") => {
                    Err("expected true or false".to_owned())
                }
                AttributeKind::Choice if !attribute.choices.iter().any(|c| c == value) => {
                    Err(format!("expected one of {}", attribute.choices.join(", ")))
                }
                AttributeKind::Boolean
                | AttributeKind::Choice
                | AttributeKind::Text
                | AttributeKind::Date
                | AttributeKind::List => Ok(()),
            },
        }
    }

    /// The attributes of a cell that every submission says, or has said for it, and `given` lacks.
    /// [`SPECIAL_CASE`] is not one of them: it follows from the ground.
    pub fn lacking<'l>(
        &'l self,
        given: &'l BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'l str> {
        let needed = self.attributes.iter().filter(|(_, a)| a.required && a.in_cell);
        needed
            .map(|(name, _)| name.as_str())
            .filter(move |&name| name != SPECIAL_CASE && !given.contains_key(name))
    }

    /// Whether the line has [`SPECIAL_CASE`].
    #[must_use]
    pub fn has_special_case(&self) -> bool {
        self.attributes.get(SPECIAL_CASE).is_some_and(|a| a.kind == AttributeKind::Boolean)
    }

    /// The order group's business name for a ticket or log line: `business.operation`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.business, self.operation)
    }
}

/// Every line there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The lines.
    pub lines: Vec<Line>,
    /// Names of fields that hold a patient's credential; a payload with one is refused.
    pub credential_fields: Vec<String>,
}

impl Catalogue {
    /// The line of `business` and `operation`.
    #[must_use]
    pub fn line(&self, business: &Business, operation: Operation) -> Option<&Line> {
        self.lines.iter().find(|l| l.business == *business && l.operation == operation)
    }

    /// The first business or attribute in `cells` that no line has, in words: most likely a
    /// typing error, for such a selector means nothing.
    #[must_use]
    pub fn unknown_in(&self, cells: &Selector) -> Option<String> {
        let lines = || self.lines.iter();
        let known = |name: &String| lines().any(|line| line.attributes.contains_key(name));
        let business = cells.business.iter().find(|p| !lines().any(|l| p.matches(&l.business)));
        let business =
            business.map(|pattern| format!("business {}", String::from(pattern.clone())));
        let attribute = || cells.attributes.keys().find(|name| !known(name));
        business.or_else(|| attribute().map(|name| format!("attribute {name}")))
    }

    /// Whether any line has this business.
    #[must_use]
    pub fn knows(&self, business: &Business) -> bool {
        self.lines.iter().any(|l| l.business == *business)
    }
}
