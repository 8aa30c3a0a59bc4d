//! The bytes of the index: few, packed values whose keys follow the positions of the journal.
//!
//! ```text
//!  key                                       value
//!  c                                         format u8, up to u64, sum u64
//!  o  block u64 (position / 256)             per outcome: position % 256 u8, state u8,
//!                                            varint(last - position), varint(zigzag ms delta)
//!  i  institution 00 first position u64      the later positions as varint deltas, ≤ 64 in all
//!  p  position u64                           position u64 of the refusal, upstream's name
//! ```
//!
//! Numbers in keys are big-endian so that they sort, in values little-endian. Every value ends
//! in the CRC-32C of its key and body, so that a value in a wrong place is found out too. The
//! layout may change at will: a file of another format is removed and built anew.

use crate::domain::ids::{InstitutionCode, Seq, UpstreamName};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::engine::ports::Indexed;
use std::collections::BTreeMap;

/// Rises whenever the layout changes.
const FORMAT: u8 = 1;
/// Outcomes whose positions share the block are stored together.
pub(super) const BLOCK: u64 = 256;
/// Positions of one institution that are stored together. Whoever adds one writes all of them
/// again: with 256, the index wrote four times as much, and the journal's syncs waited for it.
pub(super) const POSITIONS_MAX: usize = 64;

/// A value that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored value is damaged: {0}")]
pub(super) struct Damaged(pub(super) &'static str);

pub(super) const CHECKPOINT_KEY: &[u8] = b"c";

pub(super) fn block_key(block: u64) -> Vec<u8> {
    [BLOCK_PREFIX, &block.to_be_bytes()].concat()
}

pub(super) const BLOCK_PREFIX: &[u8] = b"o";
pub(super) const POSITIONS_PREFIX: &[u8] = b"i";

/// The institution in the key of positions.
pub(super) fn institution_of(key: &[u8]) -> Result<InstitutionCode, Damaged> {
    let name = key.strip_prefix(POSITIONS_PREFIX).and_then(|rest| rest.split_last_chunk::<9>());
    let name = name.and_then(|(name, _)| std::str::from_utf8(name).ok());
    name.and_then(|name| name.parse().ok()).ok_or(Damaged("no institution in a key"))
}

pub(super) fn positions_prefix(institution: &InstitutionCode) -> Vec<u8> {
    [POSITIONS_PREFIX, institution.as_str().as_bytes(), &[0]].concat()
}

pub(super) fn positions_key(institution: &InstitutionCode, first: Seq) -> Vec<u8> {
    [positions_prefix(institution).as_slice(), &first.0.to_be_bytes()].concat()
}

pub(super) fn provisional_key(transaction: Seq) -> Vec<u8> {
    [b"p".as_slice(), &transaction.0.to_be_bytes()].concat()
}

pub(super) const PROVISIONAL_PREFIX: &[u8] = b"p";

/// The number that a key ends in.
pub(super) fn number_of(key: &[u8]) -> Result<u64, Damaged> {
    let digits = key.last_chunk::<8>().ok_or(Damaged("a key is too short"))?;
    Ok(u64::from_be_bytes(*digits))
}

/// The check sum that `value` of `key` ends in.
fn check_sum(key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), body)
}

/// Ends a value with its check sum, which is returned too.
fn close(key: &[u8], mut body: Vec<u8>) -> (Vec<u8>, u32) {
    let sum = check_sum(key, &body);
    body.extend_from_slice(&sum.to_le_bytes());
    (body, sum)
}

/// The body of a value, and its check sum, which has been verified.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<(&'a [u8], u32), Damaged> {
    let (body, sum) = value.split_last_chunk::<4>().ok_or(Damaged("a value is too short"))?;
    let sum = u32::from_le_bytes(*sum);
    if check_sum(key, body) != sum {
        return Err(Damaged("a check sum is wrong"));
    }
    Ok((body, sum))
}

/// How far the index has come, and the sum of the check sums of all other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) up_to: Seq,
    pub(super) sum: u64,
}

impl Checkpoint {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut body = vec![FORMAT];
        body.extend_from_slice(&self.up_to.0.to_le_bytes());
        body.extend_from_slice(&self.sum.to_le_bytes());
        close(CHECKPOINT_KEY, body).0
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, Damaged> {
        let (body, _) = open(CHECKPOINT_KEY, value)?;
        let mut bytes = Bytes(body);
        if bytes.byte()? != FORMAT {
            return Err(Damaged("another format"));
        }
        Ok(Self { up_to: Seq(bytes.number()?), sum: bytes.number()? })
    }
}

/// The outcomes of one block.
pub(super) fn encode_block(
    block: u64,
    outcomes: &BTreeMap<Seq, Indexed>,
) -> (Vec<u8>, Vec<u8>, u32) {
    let mut body = Vec::with_capacity(outcomes.len() * 8);
    let mut before = 0;
    for (transaction, outcome) in outcomes {
        body.push(u8::try_from(transaction.0 % BLOCK).unwrap_or_default());
        body.push(outcome.state as u8);
        put_varint(&mut body, outcome.last.0.wrapping_sub(transaction.0));
        let at = outcome.at.as_millis();
        put_varint(&mut body, zigzag(at.wrapping_sub(before)));
        before = at;
    }
    let key = block_key(block);
    let (value, sum) = close(&key, body);
    (key, value, sum)
}

pub(super) fn decode_block(block: u64, body: &[u8]) -> Result<BTreeMap<Seq, Indexed>, Damaged> {
    let mut bytes = Bytes(body);
    let mut outcomes = BTreeMap::new();
    let mut before = 0i64;
    while !bytes.0.is_empty() {
        let transaction = Seq(block.wrapping_mul(BLOCK).wrapping_add(u64::from(bytes.byte()?)));
        let state = usize::from(bytes.byte()?);
        let state = *State::ALL.get(state).ok_or(Damaged("an unknown state"))?;
        let last = Seq(transaction.0.wrapping_add(bytes.varint()?));
        before = before.wrapping_add(unzigzag(bytes.varint()?));
        let outcome = Indexed { state, last, at: Timestamp::from_millis(before) };
        outcomes.insert(transaction, outcome);
    }
    Ok(outcomes)
}

/// Positions of one institution, in order; not empty.
pub(super) fn encode_positions(
    institution: &InstitutionCode,
    positions: &[Seq],
) -> (Vec<u8>, Vec<u8>, u32) {
    let first = positions.first().copied().unwrap_or_default();
    let mut body = Vec::with_capacity(positions.len() * 2);
    let mut before = first.0;
    for position in positions.iter().skip(1) {
        put_varint(&mut body, position.0.wrapping_sub(before));
        before = position.0;
    }
    let key = positions_key(institution, first);
    let (value, sum) = close(&key, body);
    (key, value, sum)
}

pub(super) fn decode_positions(first: Seq, body: &[u8]) -> Result<Vec<Seq>, Damaged> {
    let mut bytes = Bytes(body);
    let mut positions = vec![first];
    let mut before = first.0;
    while !bytes.0.is_empty() {
        before = before.wrapping_add(bytes.varint()?);
        positions.push(Seq(before));
    }
    Ok(positions)
}

/// A refusal that does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Provisional {
    /// The change that holds the refusal.
    pub(super) refused: Seq,
    pub(super) upstream: UpstreamName,
}

impl Provisional {
    pub(super) fn encode(&self, transaction: Seq) -> (Vec<u8>, Vec<u8>, u32) {
        let key = provisional_key(transaction);
        let mut body = self.refused.0.to_le_bytes().to_vec();
        body.extend_from_slice(self.upstream.as_str().as_bytes());
        let (value, sum) = close(&key, body);
        (key, value, sum)
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, Damaged> {
        let mut bytes = Bytes(body);
        let refused = Seq(bytes.number()?);
        let upstream = std::str::from_utf8(bytes.0).ok().and_then(|name| name.parse().ok());
        Ok(Self { refused, upstream: upstream.ok_or(Damaged("no name of an upstream"))? })
    }
}

fn zigzag(value: i64) -> u64 {
    value.wrapping_shl(1).cast_unsigned() ^ (value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn put_varint(body: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        body.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    body.push(value.to_le_bytes()[0]);
}

/// What is left to read of a body.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Result<u8, Damaged> {
        let (&byte, rest) = self.0.split_first().ok_or(Damaged("a body ends early"))?;
        self.0 = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let (number, rest) = self.0.split_first_chunk().ok_or(Damaged("a body ends early"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*number))
    }

    fn varint(&mut self) -> Result<u64, Damaged> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged("a number is too long"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcome(state: State, last: u64, at: i64) -> Indexed {
        Indexed { state, last: Seq(last), at: Timestamp::from_millis(at) }
    }

    proptest! {
        #[test]
        fn a_block_survives_a_round_trip(
            block in 0..u64::MAX / BLOCK,
            list in prop::collection::btree_map(
                0..BLOCK, (0..State::ALL.len(), any::<u64>(), any::<i64>()), 0..40),
        ) {
            let outcomes: BTreeMap<Seq, Indexed> = list
                .into_iter()
                .map(|(n, (s, last, at))| (Seq(block * BLOCK + n), outcome(State::ALL[s], last, at)))
                .collect();
            let (key, value, _) = encode_block(block, &outcomes);
            prop_assert_eq!(decode_block(block, open(&key, &value).unwrap().0).unwrap(), outcomes);
        }

        #[test]
        fn positions_survive_a_round_trip(list in prop::collection::btree_set(any::<u64>(), 1..99)) {
            let positions: Vec<Seq> = list.into_iter().map(Seq).collect();
            let (key, value, _) = encode_positions(&"H1".parse().unwrap(), &positions);
            let first = Seq(number_of(&key).unwrap());
            let body = open(&key, &value).unwrap().0;
            prop_assert_eq!(decode_positions(first, body).unwrap(), positions);
        }

        #[test]
        fn a_changed_bit_is_found_out(bit in 0..21 * 8usize) {
            let mut value = Checkpoint { up_to: Seq(77), sum: 99 }.encode();
            prop_assert_eq!(Checkpoint::decode(&value).unwrap().up_to, Seq(77));
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Checkpoint::decode(&value).is_err());
        }
    }

    #[test]
    fn a_value_under_another_key_is_damaged() {
        let outcomes = BTreeMap::from([(Seq(1), outcome(State::Applied, 2, 3))]);
        let (_, value, _) = encode_block(0, &outcomes);
        assert!(open(&block_key(1), &value).is_err());
    }

    #[test]
    fn an_ordinary_block_stays_far_from_the_limit_of_a_value() {
        let at = 1_660_000_000_000;
        let outcomes: BTreeMap<Seq, Indexed> = (0..BLOCK)
            .map(|n| (Seq(n), outcome(State::Applied, n + 90_000, at + n.cast_signed() * 40)))
            .collect();
        let (_, value, _) = encode_block(0, &outcomes);
        assert!(value.len() < 2_000, "{} bytes", value.len());
    }
}
