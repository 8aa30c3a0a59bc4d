//! Tags and lengths: the smallest writer and reader that the bodies of records need.
//!
//! A field is a tag (one byte, 1 to 63), a length (LEB128) and that many bytes. A tag stands at
//! most once in a record; lists are one field of length-prefixed items. Integers drop their
//! leading zero bytes. What a field means is not known here.

use super::Malformed;
use std::cell::Cell as Mutable;

/// The number of tags that there can be.
const TAGS: usize = 64;

/// Writes fields to the end of a buffer.
pub(in crate::journal) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 128")]
    out.push(value as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = input.split_first().ok_or(Malformed("a length is cut off"))?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed("a length is too long"))
}

fn take_item<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length =
        usize::try_from(take_varint(input)?).map_err(|_| Malformed("a field is cut off"))?;
    let (value, rest) = input.split_at_checked(length).ok_or(Malformed("a field is cut off"))?;
    *input = rest;
    Ok(value)
}

/// A signed number as an unsigned one that is small when the number is near zero.
const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

impl Writer<'_> {
    pub(super) fn bytes(&mut self, tag: u8, value: &[u8]) {
        self.out.push(tag);
        varint(self.out, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, tag: u8, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    pub(super) fn opt_text(&mut self, tag: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.text(tag, value);
        }
    }

    pub(super) fn uint(&mut self, tag: u8, value: u64) {
        let bytes = value.to_le_bytes();
        let length = 8 - value.leading_zeros() as usize / 8;
        self.bytes(tag, bytes.get(..length).unwrap_or(&bytes));
    }

    pub(super) fn opt_uint(&mut self, tag: u8, value: Option<u64>) {
        if let Some(value) = value {
            self.uint(tag, value);
        }
    }

    pub(super) fn int(&mut self, tag: u8, value: i64) {
        self.uint(tag, zigzag(value));
    }

    pub(super) fn opt_int(&mut self, tag: u8, value: Option<i64>) {
        if let Some(value) = value {
            self.int(tag, value);
        }
    }

    pub(super) fn wide(&mut self, tag: u8, value: u128) {
        self.bytes(tag, &value.to_le_bytes());
    }

    /// Nothing is written for an empty list.
    pub(super) fn list<'v>(&mut self, tag: u8, items: impl Iterator<Item = &'v [u8]> + Clone) {
        let length: usize = items.clone().map(|item| item.len() + varint_length(item.len())).sum();
        if length == 0 {
            return;
        }
        self.out.push(tag);
        varint(self.out, length as u64);
        for item in items {
            varint(self.out, item.len() as u64);
            self.out.extend_from_slice(item);
        }
    }

    /// A value that is stored as JSON: rare ones only.
    pub(super) fn json<T: serde::Serialize>(&mut self, tag: u8, value: &T) {
        #[expect(clippy::expect_used, reason = "none of our types has a key that is no string")]
        let text = serde_json::to_vec(value).expect("our own values have a JSON form");
        self.bytes(tag, &text);
    }
}

const fn varint_length(value: usize) -> usize {
    let bits = (usize::BITS - value.leading_zeros()) as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// The fields of one record, by tag. Keeps count of which were asked for.
pub(in crate::journal) struct Fields<'a> {
    values: [&'a [u8]; TAGS],
    present: u64,
    asked: Mutable<u64>,
}

impl<'a> Fields<'a> {
    /// Splits a body into its fields. Tags that cannot be ours are dropped when `skippable`.
    pub(in crate::journal) fn parse(
        mut body: &'a [u8],
        skippable: bool,
    ) -> Result<Self, Malformed> {
        let mut fields = Self { values: [&[]; TAGS], present: 0, asked: Mutable::new(0) };
        while let Some((&tag, rest)) = body.split_first() {
            body = rest;
            let value = take_item(&mut body)?;
            let Some(place) = fields.values.get_mut(usize::from(tag)) else {
                if skippable {
                    continue;
                }
                return Err(Malformed("a field is of a newer version"));
            };
            if fields.present & (1 << tag) != 0 {
                return Err(Malformed("a field stands twice"));
            }
            fields.present |= 1 << tag;
            *place = value;
        }
        Ok(fields)
    }

    /// Refuses fields that nobody asked for, unless the record may be read in part.
    pub(super) fn finish(&self, skippable: bool) -> Result<(), Malformed> {
        if self.present & !self.asked.get() != 0 && !skippable {
            return Err(Malformed("a field is of a newer version"));
        }
        Ok(())
    }

    pub(super) fn opt_bytes(&self, tag: u8) -> Option<&'a [u8]> {
        self.asked.set(self.asked.get() | (1 << tag));
        if self.present & (1 << tag) == 0 {
            return None;
        }
        self.values.get(usize::from(tag)).copied()
    }

    pub(super) fn bytes(&self, tag: u8) -> Result<&'a [u8], Malformed> {
        self.opt_bytes(tag).ok_or(Malformed("a field is missing"))
    }

    pub(super) fn opt_text(&self, tag: u8) -> Result<Option<&'a str>, Malformed> {
        self.opt_bytes(tag).map(text).transpose()
    }

    pub(super) fn opt_string(&self, tag: u8) -> Result<Option<String>, Malformed> {
        Ok(self.opt_text(tag)?.map(str::to_owned))
    }

    pub(super) fn string(&self, tag: u8) -> Result<String, Malformed> {
        text(self.bytes(tag)?).map(str::to_owned)
    }

    /// A name with a parser that checks it.
    pub(super) fn name<T: std::str::FromStr>(&self, tag: u8) -> Result<T, Malformed> {
        text(self.bytes(tag)?)?.parse().map_err(|_| Malformed("a name breaks its rules"))
    }

    pub(super) fn opt_uint(&self, tag: u8) -> Result<Option<u64>, Malformed> {
        self.opt_bytes(tag).map(uint).transpose()
    }

    pub(super) fn uint(&self, tag: u8) -> Result<u64, Malformed> {
        uint(self.bytes(tag)?)
    }

    pub(super) fn short(&self, tag: u8) -> Result<u32, Malformed> {
        u32::try_from(self.uint(tag)?).map_err(|_| Malformed("a number is too large"))
    }

    /// A code of a closed set; 0, which no set uses, where it is too large for one.
    pub(super) fn code(&self, tag: u8) -> Result<u8, Malformed> {
        Ok(u8::try_from(self.uint(tag)?).unwrap_or(0))
    }

    pub(super) fn opt_code(&self, tag: u8) -> Result<Option<u8>, Malformed> {
        Ok(self.opt_uint(tag)?.map(|code| u8::try_from(code).unwrap_or(0)))
    }

    pub(super) fn opt_int(&self, tag: u8) -> Result<Option<i64>, Malformed> {
        Ok(self.opt_uint(tag)?.map(unzigzag))
    }

    pub(super) fn int(&self, tag: u8) -> Result<i64, Malformed> {
        self.uint(tag).map(unzigzag)
    }

    pub(super) fn wide(&self, tag: u8) -> Result<u128, Malformed> {
        self.bytes(tag)?
            .try_into()
            .map(u128::from_le_bytes)
            .map_err(|_| Malformed("a hash has the wrong length"))
    }

    /// The items of a list; none where the field is absent.
    pub(super) fn list(&self, tag: u8) -> Result<Vec<&'a [u8]>, Malformed> {
        let mut rest = self.opt_bytes(tag).unwrap_or(&[]);
        let mut items = Vec::new();
        while !rest.is_empty() {
            items.push(take_item(&mut rest)?);
        }
        Ok(items)
    }

    pub(super) fn opt_json<T: serde::de::DeserializeOwned>(
        &self,
        tag: u8,
    ) -> Result<Option<T>, Malformed> {
        self.opt_bytes(tag)
            .map(|bytes| {
                serde_json::from_slice(bytes).map_err(|_| Malformed("a stored value is unreadable"))
            })
            .transpose()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, tag: u8) -> Result<T, Malformed> {
        self.opt_json(tag)?.ok_or(Malformed("a field is missing"))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}

fn uint(bytes: &[u8]) -> Result<u64, Malformed> {
    let mut wide = [0u8; 8];
    wide.get_mut(..bytes.len()).ok_or(Malformed("a number is too large"))?.copy_from_slice(bytes);
    Ok(u64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists_survive_at_their_edges() {
        for value in [i64::MIN, -1, 0, 1, 127, 128, i64::MAX] {
            let mut out = Vec::new();
            Writer { out: &mut out }.int(7, value);
            assert_eq!(Fields::parse(&out, false).unwrap().int(7), Ok(value));
        }
        for length in [0usize, 1, 127, 128, 16_383, 16_384] {
            let items = [vec![1u8; length], vec![2u8; 3]];
            let mut out = Vec::new();
            Writer { out: &mut out }.list(9, items.iter().map(Vec::as_slice));
            let fields = Fields::parse(&out, false).unwrap();
            assert_eq!(
                fields.list(9).unwrap(),
                items.iter().map(Vec::as_slice).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused_unless_the_record_may_be_read_in_part() {
        let mut out = Vec::new();
        Writer { out: &mut out }.uint(1, 5);
        Writer { out: &mut out }.uint(60, 5);
        for skippable in [false, true] {
            let fields = Fields::parse(&out, skippable).unwrap();
            assert_eq!(fields.uint(1), Ok(5));
            assert_eq!(fields.finish(skippable).is_ok(), skippable);
        }
        Writer { out: &mut out }.uint(200, 5);
        assert!(Fields::parse(&out, false).is_err());
        assert!(Fields::parse(&out, true).is_ok());
    }
}
