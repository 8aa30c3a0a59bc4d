//! Where a transaction belongs: the cell that policy and gates are asked about.
//!
//! A record stores its cell, never a disposition: what is done with a cell changes with the
//! windows in force, the cell itself never does.

use super::ids::{Business, District, InstitutionCode, Label, UpstreamName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A text outside a closed set of words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} {word:?}, expected one of {allowed}")]
pub struct UnknownWord {
    /// Which set was meant.
    pub what: &'static str,
    /// The word that is not in it.
    pub word: String,
    /// The words of the set, separated by commas.
    pub allowed: String,
}

/// Makes an enum of words: text form, parser and list from one table.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every word of the set, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in the API, the CLI, metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::cell::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::domain::cell::UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.as_str() == text).ok_or_else(|| {
                    let allowed: Vec<&str> = Self::ALL.iter().map(|w| w.as_str()).collect();
                    $crate::domain::cell::UnknownWord {
                        what: $what, word: text.to_owned(), allowed: allowed.join(", "),
                    }
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::domain::cell::UnknownWord;
            fn try_from(text: String) -> Result<Self, $crate::domain::cell::UnknownWord> {
                text.parse()
            }
        }

        impl From<$name> for &'static str {
            fn from(word: $name) -> Self { word.as_str() }
        }
    };
}
pub(crate) use words;

words!(
    /// What is done to a business.
    Operation, "operation", {
        /// Ask the core to do it.
        Request = "request",
        /// Tell the core what was already done locally; repeated until acknowledged.
        Advice = "advice",
        /// A person's application.
        Apply = "apply",
        /// An agency handles an application.
        Handle = "handle",
        /// An agency reviews an application made on line.
        Review = "review",
        /// File afterwards for the time of a stop.
        Backfill = "backfill",
        /// Undo an earlier operation.
        Cancel = "cancel",
        /// Look something up; has no effect at the core.
        Query = "query",
    }
);

words!(
    /// Who submits, known from the credential.
    Class, "class", {
        /// A hospital.
        Hospital = "hospital",
        /// A pharmacy.
        Pharmacy = "pharmacy",
        /// A district's medical insurance agency acting in its own name.
        DistrictMedicalAgency = "district_medical_agency",
        /// A district's social insurance agency acting in its own name.
        SocialInsuranceAgency = "social_insurance_agency",
        /// An employer.
        Employer = "employer",
        /// An agency's counter acting for a person.
        Hall = "hall",
        /// An on-line service acting for a person.
        Portal = "portal",
    }
);

words!(
    /// The way a submission came in.
    Channel, "channel", {
        /// At a counter.
        Hall = "hall",
        /// On a web page.
        Online = "online",
        /// On a telephone.
        Mobile = "mobile",
        /// From a submitter's own system, without a person at the other end.
        System = "system",
    }
);

/// Everything policy and gates may distinguish about a transaction.
///
/// The number of distinct cells is bounded: every part comes from configuration or a closed set
/// (attributes count only where the catalogue marks them as part of the cell).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The core, or part of it, that the transaction goes to.
    pub upstream: UpstreamName,
    /// The line of the catalogue.
    pub business: Business,
    /// What is done to it.
    pub operation: Operation,
    /// The class of the submitter.
    pub class: Class,
    /// The channel it came through.
    pub channel: Channel,
    /// The submitter's district.
    pub district: District,
    /// The submitter's labels, sorted.
    pub labels: Vec<Label>,
    /// Attribute values that the catalogue marks as part of the cell, by name.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}.{}/{}/{}/{}",
            self.upstream, self.business, self.operation, self.class, self.channel, self.district
        )
    }
}

/// Which cells are meant. An empty list means any; every list that is not empty must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// Upstreams by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<UpstreamName>,
    /// Businesses: exact (`settlement.outpatient`) or a family (`settlement.*`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub business: Vec<BusinessPattern>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operation: Vec<Operation>,
    /// Classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class: Vec<Class>,
    /// Channels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channel: Vec<Channel>,
    /// Districts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub district: Vec<District>,
    /// Labels; one in common is enough.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label: Vec<Label>,
    /// Attribute values: for each name the values that match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Vec<String>>,
}

impl Selector {
    /// Whether `cell` is meant.
    #[must_use]
    pub fn matches(&self, cell: &Cell) -> bool {
        fn any<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        any(&self.upstream, &cell.upstream)
            && (self.business.is_empty() || self.business.iter().any(|p| p.matches(&cell.business)))
            && any(&self.operation, &cell.operation)
            && any(&self.class, &cell.class)
            && any(&self.channel, &cell.channel)
            && any(&self.district, &cell.district)
            && (self.label.is_empty() || self.label.iter().any(|l| cell.labels.contains(l)))
            && self.attributes.iter().all(|(name, values)| {
                cell.attributes.get(name).is_some_and(|value| values.contains(value))
            })
    }

    /// Whether a cell may be meant by both. A cell can have labels of either.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        fn meet<T: PartialEq>(one: &[T], other: &[T]) -> bool {
            one.is_empty() || other.is_empty() || one.iter().any(|value| other.contains(value))
        }
        let of_both = |one: &BusinessPattern| {
            other.business.iter().any(|two| one.covers(two) || two.covers(one))
        };
        let no_business = self.business.is_empty() || other.business.is_empty();
        meet(&self.upstream, &other.upstream)
            && (no_business || self.business.iter().any(of_both))
            && meet(&self.operation, &other.operation)
            && meet(&self.class, &other.class)
            && meet(&self.channel, &other.channel)
            && meet(&self.district, &other.district)
            && self.attributes.iter().all(|(name, values)| {
                other.attributes.get(name).is_none_or(|others| meet(values, others))
            })
    }

    /// Whether every cell that `other` means is meant by this selector too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
            wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(|x| wide.contains(x)))
        }
        let businesses = self.business.is_empty()
            || (!other.business.is_empty()
                && other.business.iter().all(|n| self.business.iter().any(|w| w.covers(n))));
        businesses
            && all(&self.upstream, &other.upstream)
            && all(&self.operation, &other.operation)
            && all(&self.class, &other.class)
            && all(&self.channel, &other.channel)
            && all(&self.district, &other.district)
            && all(&self.label, &other.label)
            && self.attributes.iter().all(|(name, values)| {
                other.attributes.get(name).is_some_and(|narrow| all(values, narrow))
            })
    }

    /// How narrow the selector is: the number of dimensions that it names, an exact business
    /// counting for more than a family. Where two rows match, the narrower one is meant.
    #[must_use]
    pub fn narrowness(&self) -> usize {
        let business = match self.business.as_slice() {
            [] => 0,
            list if list.iter().all(BusinessPattern::is_exact) => 2,
            _ => 1,
        };
        business
            + [
                self.upstream.is_empty(),
                self.operation.is_empty(),
                self.class.is_empty(),
                self.channel.is_empty(),
                self.district.is_empty(),
                self.label.is_empty(),
            ]
            .iter()
            .filter(|&&empty| !empty)
            .count()
            + self.attributes.len()
    }
}

/// One business, or a family of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BusinessPattern {
    /// This business only.
    Exact(Business),
    /// Every business whose name begins with these words and a dot.
    Family(Business),
}

impl BusinessPattern {
    /// Whether `business` is meant.
    #[must_use]
    pub fn matches(&self, business: &Business) -> bool {
        match self {
            Self::Exact(exact) => exact == business,
            Self::Family(family) => business
                .as_str()
                .strip_prefix(family.as_str())
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }

    /// Whether every business that `other` means is meant by this pattern too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exact(business)) => self.matches(business),
            (Self::Exact(_), Self::Family(_)) => false,
            (Self::Family(wide), Self::Family(narrow)) => wide == narrow || self.matches(narrow),
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

impl std::str::FromStr for BusinessPattern {
    type Err = super::ids::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix(".*") {
            Some(family) => Ok(Self::Family(family.parse()?)),
            None => Ok(Self::Exact(text.parse()?)),
        }
    }
}

impl TryFrom<String> for BusinessPattern {
    type Error = super::ids::InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<BusinessPattern> for String {
    fn from(pattern: BusinessPattern) -> Self {
        match pattern {
            BusinessPattern::Exact(business) => business.to_string(),
            BusinessPattern::Family(family) => format!("{family}.*"),
        }
    }
}

/// What a credential says about its holder; a body can never say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Institution {
    /// The institution's code.
    pub code: InstitutionCode,
    /// Its class.
    pub class: Class,
    /// Its district.
    pub district: District,
    /// Its labels, sorted.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Whether it opted in to settling on credit (`pass_or_hold`).
    #[serde(default)]
    pub credit: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(toml: &str) -> Selector {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn an_exact_business_is_narrower_than_a_family_and_a_family_than_none() {
        let widths: Vec<usize> = [
            "",
            "business = ['filing.*']",
            "business = ['filing.out_of_area']",
            "business = ['filing.out_of_area']\nclass = ['hall']",
            "business = ['filing.out_of_area']\nclass = ['hall']\nattributes = { a = ['1'] }",
        ]
        .map(|toml| selector(toml).narrowness())
        .to_vec();
        assert_eq!(widths, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_family_takes_in_what_follows_its_dot_only() {
        let family: BusinessPattern = "filing.*".to_owned().try_into().unwrap();
        for (name, matches) in
            [("filing.out_of_area", true), ("filing", false), ("filings.other", false)]
        {
            assert_eq!(family.matches(&name.parse().unwrap()), matches, "{name}");
        }
        assert_eq!(String::from(family), "filing.*");
        assert!(BusinessPattern::try_from("Filing.*".to_owned()).is_err());
    }

    #[test]
    fn a_selector_covers_another_when_every_cell_of_it_is_its_own() {
        for (wide, narrow, covers) in [
            ("", "class = ['hall']", true),
            ("class = ['hall']", "", false),
            ("class = ['hall', 'portal']", "class = ['hall']", true),
            ("class = ['hall']", "class = ['hall', 'portal']", false),
            ("upstream = ['agency']", "upstream = ['agency']\nclass = ['hall']", true),
            ("business = ['filing.*']", "business = ['filing.out_of_area']", true),
            ("business = ['filing.*']", "business = ['filing.*']", true),
            ("business = ['filing.out_of_area']", "business = ['filing.*']", false),
            ("business = ['filing.*']", "", false),
            ("attributes = { a = ['1', '2'] }", "attributes = { a = ['1'] }", true),
            ("attributes = { a = ['1'] }", "attributes = { b = ['1'] }", false),
        ] {
            assert_eq!(selector(wide).covers(&selector(narrow)), covers, "{wide} / {narrow}");
        }
    }

    #[test]
    fn every_word_can_be_read_back_and_a_foreign_one_names_the_set() {
        for &class in Class::ALL {
            assert_eq!(class.as_str().parse(), Ok(class));
        }
        let error = "doctor".parse::<Class>().unwrap_err();
        assert!(error.to_string().contains("hospital, pharmacy"), "{error}");
    }
}
