//! Arguments that several verbs share: instants, reasons, selectors of cells.

use super::exit::Failure;
use crate::admin::types::GateOut;
use crate::domain::cell::{BusinessPattern, Channel, Class, Operation, Selector, UnknownWord};
use crate::domain::ids::{District, Label, UpstreamName};
use crate::domain::time::{NO_ZONE, Timestamp, Zone};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::str::FromStr;

/// Reads an instant with its offset; seconds may be left out.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let whole = text.parse::<Timestamp>();
    // 2022-08-12T19:00+08:00: sixteen characters, then the offset.
    let padded = || match (text.get(..16), text.get(16..)) {
        (Some(minutes), Some(offset)) => format!("{minutes}:00{offset}").parse::<Timestamp>(),
        (Some(_) | None, _) => Err(crate::domain::time::InvalidInstant),
    };
    whole.or_else(|_| padded()).map_err(|error| error.to_string())
}

/// Reads the name of a zone.
pub(super) fn zone(text: &str) -> Result<Zone, String> {
    text.parse().map_err(|_| NO_ZONE.to_owned())
}

/// Reads one of `words`, which the help lists.
pub(super) fn one_of<T>(words: &'static [T]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Into<&'static str> + FromStr<Err = UnknownWord> + Send + Sync + 'static,
{
    let words = words.iter().map(|&word| -> &'static str { word.into() });
    PossibleValuesParser::new(words).try_map(|text| text.parse())
}

/// Why something is done. Goes into the audit log.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reason {
    /// Why; written into the audit log. No names or identity numbers of insured persons
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: String,
}

/// The word that an act asks for which lets something be sent, stops it or ends it for good.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Yes {
    /// Go on; without it only what would be touched is said
    #[arg(long)]
    pub(super) yes: bool,
}

/// Which cells are meant. Each option may be repeated; all that are given must match.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Cells {
    /// Upstreams by name
    #[arg(long, value_name = "NAME")]
    upstream: Vec<UpstreamName>,
    /// Businesses: one (settlement.outpatient) or a family (settlement.*)
    #[arg(long, value_name = "BUSINESS", value_parser = pattern)]
    business: Vec<BusinessPattern>,
    /// Operations
    #[arg(long, value_name = "OPERATION", value_parser = one_of(Operation::ALL))]
    operation: Vec<Operation>,
    /// Classes of submitters
    #[arg(long, value_name = "CLASS", value_parser = one_of(Class::ALL))]
    class: Vec<Class>,
    /// Channels
    #[arg(long, value_name = "CHANNEL", value_parser = one_of(Channel::ALL))]
    channel: Vec<Channel>,
    /// Districts
    #[arg(long, value_name = "DISTRICT")]
    district: Vec<District>,
    /// Labels of institutions
    #[arg(long, value_name = "LABEL")]
    label: Vec<Label>,
    /// Values of attributes
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    attribute: Vec<(String, String)>,
    /// Every cell there is
    #[arg(long)]
    all: bool,
}

fn pattern(text: &str) -> Result<BusinessPattern, String> {
    BusinessPattern::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Cells {
    /// The selector, and whether every cell is meant.
    pub(super) fn selector(self) -> Result<(Selector, bool), Failure> {
        let mut selector = Selector {
            upstream: self.upstream,
            business: self.business,
            operation: self.operation,
            class: self.class,
            channel: self.channel,
            district: self.district,
            label: self.label,
            attributes: std::collections::BTreeMap::new(),
        };
        for (name, value) in self.attribute {
            selector.attributes.entry(name).or_default().push(value);
        }
        match (selector == Selector::default(), self.all) {
            (true, false) => Err(Failure::usage(
                "name the cells (--upstream, --business, --district and so on), or say --all",
            )),
            (false, true) => Err(Failure::usage("--all does not go with a choice of cells")),
            (true, true) | (false, false) => Ok((selector, self.all)),
        }
    }
}

/// What an act upon `selector` touches, in one line.
pub(super) fn touched(selector: &Selector, gates: &[GateOut]) -> String {
    let meant: Vec<&GateOut> = gates.iter().filter(|g| selector.matches(&g.cell)).collect();
    let waiting: u64 = meant.iter().map(|g| g.waiting).sum();
    let in_flight: u64 = meant.iter().map(|g| g.in_flight).sum();
    let words = serde_json::to_string(selector).unwrap_or_default();
    let cells = if *selector == Selector::default() { "every cell" } else { words.as_str() };
    format!(
        "{cells}: {} cells seen so far, {waiting} transactions waiting, {in_flight} being sent",
        meant.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_left_out_of_an_instant_but_not_its_offset() {
        let expected = "2022-08-12T19:00:00+08:00".parse();
        for text in ["2022-08-12T19:00+08:00", "2022-08-12T19:00:00+08:00", "2022-08-12T11:00Z"] {
            assert_eq!(instant(text).ok(), expected.clone().ok(), "{text}");
        }
        for text in ["2022-08-12T19:00", "2022-08-12", "19:00", "", "2022-08-12T19:0键+08:00"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_cells_are_never_every_cell_by_accident() {
        assert!(Cells::default().selector().is_err());
        let all = Cells { all: true, ..Cells::default() };
        assert_eq!(all.selector().unwrap(), (Selector::default(), true));
    }
}
