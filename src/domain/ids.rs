//! Identities: every one a type of its own, made only by a parser that checks it.
//!
//! A number that Holdover gives out (transaction, ticket, refusal, registered deadline) is the
//! place of a record in the journal, partition and sequence, with the mark of the start that wrote
//! it. It is written in Crockford's base 32 so that it sorts by age and can be read over the
//! telephone. Which mark belongs to which sequence is known to `numbers`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A text that is not the identity it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct InvalidId {
    /// Which identity was expected, for instance `transaction id`.
    pub what: &'static str,
    /// What is wrong with the text.
    pub why: &'static str,
}

/// The number of a record in its partition's journal: 1 for the first, rising by 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The record after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What tells the numbers of one start from those of any other start that began at the same place:
/// 20 random bits, drawn at each start of a daemon. So no two histories of a journal (one that went
/// on, and one that began again from an older copy) give a number twice, but for one in a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mark(u32);

impl Mark {
    const BITS: u32 = 20;

    /// The mark of these bits; those above the twentieth are left out.
    #[must_use]
    pub fn new(bits: u64) -> Self {
        Self(u32::try_from(bits & ((1 << Self::BITS) - 1)).unwrap_or_default())
    }

    /// The mark as a number below 2^20.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 16;
/// Sequences have room for six years of 100,000 records in each second.
const SEQ_BITS: u32 = 44;

/// Where a record stands, and which start wrote it: what a number is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    partition: u16,
    seq: Seq,
    mark: Mark,
}

impl Place {
    /// 16 bits of partition, 44 of sequence, 20 of mark.
    fn to_bits(self) -> u128 {
        let seq = u128::from(self.seq.0) & ((1 << SEQ_BITS) - 1);
        (u128::from(self.partition) << (SEQ_BITS + Mark::BITS))
            | (seq << Mark::BITS)
            | u128::from(self.mark.0)
    }

    fn digits(self) -> [u8; DIGITS] {
        let mut text = [b'0'; DIGITS];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            let index = usize::try_from((self.to_bits() >> (5 * place)) & 31).unwrap_or(0);
            *digit = ALPHABET[index];
        }
        text
    }

    /// Reads the digits, also in groups and as somebody may have written them down.
    fn read(text: &str) -> Option<Self> {
        let (mut value, mut digits) = (0u128, 0);
        for byte in text.bytes().filter(|byte| *byte != b'-') {
            let byte = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            value = (value << 5) | ALPHABET.iter().position(|&a| a == byte)? as u128;
            digits += 1;
            if digits > DIGITS {
                return None;
            }
        }
        if digits < DIGITS {
            return None;
        }
        Some(Self {
            partition: u16::try_from(value >> (SEQ_BITS + Mark::BITS)).ok()?,
            seq: Seq(u64::try_from((value >> Mark::BITS) & ((1 << SEQ_BITS) - 1)).ok()?),
            mark: Mark::new(u64::try_from(value & u128::from(u64::MAX)).ok()?),
        })
    }
}

/// A number that Holdover gives out.
pub trait Number: Sized {
    /// The number of the record `seq` in `partition`, written by the start that has `mark`.
    fn new(partition: u16, seq: Seq, mark: Mark) -> Self;

    /// The journal partition that holds the record, the record's sequence there, and the mark of
    /// the start that wrote it.
    fn parts(&self) -> (u16, Seq, Mark);
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Place);

        impl $name {
            /// The record's sequence in its partition's journal.
            #[must_use]
            pub fn seq(&self) -> Seq {
                self.0.seq
            }

            /// Its digits alone, in groups of four: for paper and the telephone.
            #[must_use]
            pub fn spoken(&self) -> String {
                let digits = self.0.digits();
                let groups = digits.chunks(4).map(String::from_utf8_lossy);
                groups.collect::<Vec<_>>().join("-")
            }

            /// The identity as a number below 2^80.
            #[must_use]
            pub fn to_bits(self) -> u128 {
                self.0.to_bits()
            }
        }

        impl Number for $name {
            fn new(partition: u16, seq: Seq, mark: Mark) -> Self {
                Self(Place { partition, seq, mark })
            }
            fn parts(&self) -> (u16, Seq, Mark) {
                (self.0.partition, self.0.seq, self.0.mark)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&self.0.digits()).unwrap_or_default())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let digits = text.strip_prefix($prefix).unwrap_or(text);
                Place::read(digits).map(Self).ok_or(InvalidId {
                    what: $what,
                    why: concat!("expected ", $prefix, " and 16 letters or digits, or those alone"),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

number!(
    /// A transaction: the place of its accept record.
    TransactionId, "txn_", "transaction id"
);
number!(
    /// A ticket. It shares its place with the transaction that it belongs to.
    TicketId, "tkt_", "ticket id"
);
number!(
    /// A refusal by policy: the place of its record.
    RefusalNumber, "ref_", "refusal number"
);
number!(
    /// A registered deadline: the place of its record.
    DeadlineId, "dln_", "deadline id"
);

impl From<TransactionId> for TicketId {
    fn from(id: TransactionId) -> Self {
        Self(id.0)
    }
}

impl From<TicketId> for TransactionId {
    fn from(id: TicketId) -> Self {
        Self(id.0)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $allowed:expr, $why:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let allowed: fn(u8) -> bool = $allowed;
                if text.is_empty() || text.len() > $max || !text.bytes().all(allowed) {
                    return Err(InvalidId { what: $what, why: $why });
                }
                Ok(Self(Arc::from(text)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The code of a submitting institution, pharmacy, agency or employer.
    ///
    /// Medical institutions use `H` or `P` and eleven digits; agencies have no such rule, so
    /// the type allows 1 to 32 upper-case letters, digits and `-`.
    InstitutionCode, "institution code", 32,
    |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-',
    "expected 1 to 32 upper-case letters, digits or '-'"
);
name!(
    /// A client's identity of its intent: same key, same transaction. 1 to 128 visible ASCII bytes.
    IdempotencyKey, "idempotency key", 128, |b| b.is_ascii_graphic(),
    "expected 1 to 128 visible ASCII characters"
);
name!(
    /// The name of a window, chosen by whoever declares it.
    WindowId, "window id", 64,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-',
    "expected 1 to 64 lower-case letters, digits or '-'"
);
name!(
    /// The name of an upstream: one core system or a part of it.
    UpstreamName, "upstream name", 32,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_',
    "expected 1 to 32 lower-case letters, digits, '-' or '_'"
);
name!(
    /// The name of whoever is told of stops and of moved deadlines.
    SubscriberName, "subscriber name", 32,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_',
    "expected 1 to 32 lower-case letters, digits, '-' or '_'"
);
name!(
    /// A line of the catalogue, such as `filing.out_of_area`.
    Business, "business", 64,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'_',
    "expected 1 to 64 lower-case letters, digits, '.' or '_'"
);
name!(
    /// A district: six digits of GB/T 2260, or a name where there is no code (`kaifaqu`).
    District, "district", 32,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-',
    "expected a six-digit code or a lower-case name"
);
name!(
    /// A label that an institution carries, for instance `tcm`.
    Label, "label", 32,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_',
    "expected 1 to 32 lower-case letters, digits, '-' or '_'"
);

/// The number of a try at the core, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AttemptNo(pub u32);

/// A keyed hash (HMAC-SHA-256 cut to 128 bits) of institution and idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

/// A keyed hash of what a submission means: its typed fields and its payload's bytes. 64 bits:
/// it is only ever compared under an equal [`KeyHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// A keyed hash (cut to 128 bits) of institution and digest: the name of a stored file. Equal files
/// of two institutions have two names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(pub u128);

/// A keyed hash of institution, visit (else insured person) and order group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderingKey(pub u128);

/// A keyed hash of the reference to an insured person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InsuredHash(pub u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip_and_sort_by_age() {
        let mark = |n: u64| Mark::new(u64::MAX - n);
        let ids: Vec<TransactionId> = [1, 31, 32, (1 << SEQ_BITS) - 1]
            .map(|n| TransactionId::new(7, Seq(n), mark(n)))
            .to_vec();
        let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert!(texts.is_sorted());
        for (id, text) in ids.iter().zip(&texts) {
            assert_eq!(text.parse(), Ok(*id));
        }
        assert!("txn_short".parse::<TransactionId>().is_err());
        assert!(texts[0].replace("txn_", "tkt_").parse::<TransactionId>().is_err());
        for text in [ids[0].spoken(), ids[0].spoken().to_lowercase().replace('0', "o")] {
            assert_eq!(text.parse(), Ok(ids[0]));
            assert!(format!("{text}0").parse::<TransactionId>().is_err());
            assert!(text[1..].parse::<TransactionId>().is_err());
        }
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        assert!("a b".parse::<IdempotencyKey>().is_err());
        assert!("键".parse::<IdempotencyKey>().is_err());
        assert!("x".repeat(129).parse::<IdempotencyKey>().is_err());
        assert!("x".repeat(128).parse::<IdempotencyKey>().is_ok());
    }
}
