//! Amounts of money: whole fen, so that sums are exact.
//!
//! The national interface allows sixteen digits, two of them decimals (`N16,2`), which fits an
//! `i64` of fen 900 times over; a general decimal type would be larger and no more exact.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount in fen (1/100 yuan). Parsed from a decimal string, never from a binary float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

/// The largest amount the interface can carry: 14 digits before the point.
const MAX_FEN: i64 = 9_999_999_999_999_999;

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a decimal amount such as \"1234.50\": at most 14 digits and 2 decimals")]
pub struct InvalidMoney;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The amount of `fen`, if it is within the interface's range.
    #[must_use]
    pub fn from_fen(fen: i64) -> Option<Self> {
        (-MAX_FEN..=MAX_FEN).contains(&fen).then_some(Self(fen))
    }

    /// The amount in fen.
    #[must_use]
    pub fn fen(self) -> i64 {
        self.0
    }
}

/// Shows a sum of fen as yuan with two decimals; for totals, which may exceed one amount.
#[must_use]
pub fn format_fen(fen: i128) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    format!("{sign}{}.{:02}", fen / 100, fen % 100)
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_fen(i128::from(self.0)))
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, InvalidMoney> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, cents) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str, max: usize| {
            (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        if !plain(whole, 14) || !plain(cents, 2) {
            return Err(InvalidMoney);
        }
        let yuan: i64 = whole.parse().map_err(|_| InvalidMoney)?;
        let mut fen: i64 = cents.parse().map_err(|_| InvalidMoney)?;
        if cents.len() == 1 {
            fen *= 10;
        }
        let total = yuan * 100 + fen;
        Ok(Self(if negative { -total } else { total }))
    }
}

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimal_strings_with_at_most_two_places() {
        for (text, fen) in [("0", 0), ("1234.50", 123_450), ("1234.5", 123_450), ("-0.01", -1)] {
            assert_eq!(text.parse::<Money>().unwrap().fen(), fen, "{text}");
        }
        let largest: Money = "99999999999999.99".parse().unwrap();
        assert_eq!(largest.to_string(), "99999999999999.99");
        for text in ["", "1.005", "1e3", "100000000000000", ".5", "5.", "+1", "1,000", "１"] {
            assert!(text.parse::<Money>().is_err(), "{text}");
        }
    }
}
