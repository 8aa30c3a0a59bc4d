//! Identity numbers: residents (GB 11643), organisations (GB 32100) and medical institutions.
//!
//! Only the form is checked here: length, characters, date, check digit. Whether such a person
//! or organisation exists is not known. A resident's number is personal data: its type prints a
//! placeholder, and [`contains_identity_number`] finds one in a text that must hold none.

use super::time::CivilDate;
use chrono::Datelike;
use std::fmt;
use std::str::FromStr;

const LENGTH: usize = 18;
const RESIDENT_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const RESIDENT_CHECK: &[u8; 11] = b"10X98765432";
const CREDIT_ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
const CREDIT_WEIGHTS: [usize; 17] =
    [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];

/// Why a text is no such number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// The old fifteen-digit form; whether it is taken is for policy to say.
    #[error("a fifteen-digit number is the old form, give the eighteen-character one")]
    OldForm,
    /// Not eighteen characters.
    #[error("expected 18 characters")]
    Length,
    /// A character that cannot stand where it does.
    #[error("unexpected character at position {0}")]
    Character(usize),
    /// The eight digits of the birth are no date.
    #[error("positions 7 to 14 are no date")]
    Date,
    /// The last character does not fit the others.
    #[error("the check character does not fit")]
    CheckDigit,
}

/// A resident's identity number with a valid date and check digit.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResidentNumber(String);

impl ResidentNumber {
    /// The number, its last letter in upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The date of birth.
    #[must_use]
    pub fn birth(&self) -> Option<CivilDate> {
        birth_in(self.0.as_bytes())
    }

    /// Whether the third digit of the serial is odd, which means male.
    #[must_use]
    pub fn is_male(&self) -> bool {
        self.0.as_bytes()[16] % 2 == 1
    }
}

impl fmt::Debug for ResidentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResidentNumber(hidden)")
    }
}

impl FromStr for ResidentNumber {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let text = text.to_ascii_uppercase();
        let bytes = text.as_bytes();
        if bytes.len() == 15 && bytes.iter().all(u8::is_ascii_digit) {
            return Err(InvalidIdentity::OldForm);
        }
        if bytes.len() != LENGTH {
            return Err(InvalidIdentity::Length);
        }
        if let Some(wrong) = bytes[..17].iter().position(|b| !b.is_ascii_digit()) {
            return Err(InvalidIdentity::Character(wrong + 1));
        }
        if !bytes[17].is_ascii_digit() && bytes[17] != b'X' {
            return Err(InvalidIdentity::Character(LENGTH));
        }
        birth_in(bytes).ok_or(InvalidIdentity::Date)?;
        if bytes[17] != resident_check(&bytes[..17]) {
            return Err(InvalidIdentity::CheckDigit);
        }
        Ok(Self(text))
    }
}

fn birth_in(number: &[u8]) -> Option<CivilDate> {
    let part = |from: usize, to: usize| -> Option<u32> {
        std::str::from_utf8(number.get(from..to)?).ok()?.parse().ok()
    };
    let year = i32::try_from(part(6, 10)?).ok().filter(|year| (1800..2200).contains(year))?;
    CivilDate::from_ymd_opt(year, part(10, 12)?, part(12, 14)?)
}

fn resident_check(first: &[u8]) -> u8 {
    let sum: u32 =
        first.iter().zip(RESIDENT_WEIGHTS).map(|(b, weight)| u32::from(b - b'0') * weight).sum();
    RESIDENT_CHECK[(sum % 11) as usize]
}

/// Makes a valid number of a person who does not exist, for tests and demonstrations.
///
/// `region` is taken modulo a million and `serial` modulo a thousand.
#[must_use]
pub fn synthetic_resident(region: u32, birth: CivilDate, serial: u16) -> String {
    let year = birth.year().clamp(1800, 2199);
    let mut number = format!(
        "{:06}{year:04}{:02}{:02}{:03}",
        region % 1_000_000,
        birth.month(),
        birth.day(),
        serial % 1000
    );
    let check = resident_check(number.as_bytes());
    number.push(check as char);
    number
}

/// Whether eighteen characters in a row anywhere in `text` are a resident's number. Full-width
/// digits count as digits.
#[must_use]
pub fn contains_identity_number(text: &str) -> bool {
    let narrow: Vec<u8> = text
        .chars()
        .map(|c| match c {
            '０'..='９' => {
                u8::try_from(u32::from(c) - u32::from('０')).map_or(b' ', |d| b'0' + d)
            }
            'Ｘ' | 'ｘ' => b'X',
            _ => u8::try_from(c).unwrap_or(b' '),
        })
        .collect();
    narrow
        .windows(LENGTH)
        .any(|run| std::str::from_utf8(run).is_ok_and(|run| run.parse::<ResidentNumber>().is_ok()))
}

/// A unified social credit code with a valid check character.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnifiedCreditCode(String);

impl UnifiedCreditCode {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UnifiedCreditCode {
    type Err = InvalidIdentity;

    /// Codes whose check character does not fit are known to be in use: a caller that cannot
    /// have them replaced warns on [`InvalidIdentity::CheckDigit`] instead of refusing.
    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let bytes = text.as_bytes();
        if bytes.len() != LENGTH {
            return Err(InvalidIdentity::Length);
        }
        let mut sum = 0;
        let mut last = 0;
        for (index, byte) in bytes.iter().enumerate() {
            let value = CREDIT_ALPHABET
                .iter()
                .position(|a| a == byte)
                .filter(|_| !(2..8).contains(&index) || byte.is_ascii_digit())
                .ok_or(InvalidIdentity::Character(index + 1))?;
            match CREDIT_WEIGHTS.get(index) {
                Some(weight) => sum += value * weight,
                None => last = value,
            }
        }
        // The outer remainder makes 31 into 0, which the alphabet has no character for.
        if last != (31 - sum % 31) % 31 {
            return Err(InvalidIdentity::CheckDigit);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Whether `text` has the form of a designated institution's code: `H` (medical) or `P`
/// (pharmacy) and eleven digits.
#[must_use]
pub fn is_designated_institution(text: &str) -> bool {
    text.strip_prefix(['H', 'P'])
        .is_some_and(|rest| rest.len() == 11 && rest.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn residents_numbers_are_checked_in_every_part() {
        for valid in [
            "11010519491231002X",
            "440524188001010014",
            "110101199001010015",
            "11010119900101004X",
            "810000199001010019",
            "830000199001010012",
        ] {
            assert!(valid.parse::<ResidentNumber>().is_ok(), "{valid}");
        }
        for (invalid, why) in [
            ("110101199001010010", InvalidIdentity::CheckDigit),
            ("110101199002300010", InvalidIdentity::Date),
            ("110101900101001", InvalidIdentity::OldForm),
            ("11010119900101001", InvalidIdentity::Length),
            ("1101011990010100151", InvalidIdentity::Length),
            ("11010119900101X015", InvalidIdentity::Character(15)),
            ("11010119900101001Y", InvalidIdentity::Character(18)),
        ] {
            assert_eq!(invalid.parse::<ResidentNumber>(), Err(why), "{invalid}");
        }
    }

    #[test]
    fn a_lower_case_x_is_put_right_and_the_parts_can_be_read() {
        let number: ResidentNumber = "11010519491231002x".parse().unwrap();
        assert_eq!(number.as_str(), "11010519491231002X");
        assert_eq!(number.birth(), CivilDate::from_ymd_opt(1949, 12, 31));
        assert!(!number.is_male());
        assert!(!format!("{number:?}").contains("1949"));
    }

    #[test]
    fn synthetic_people_pass_the_check() {
        let birth = CivilDate::from_ymd_opt(1990, 1, 1).unwrap();
        assert_eq!(synthetic_resident(110_101, birth, 1), "110101199001010015");
        for serial in 0..1000 {
            let number = synthetic_resident(110_105, birth, serial);
            assert!(number.parse::<ResidentNumber>().is_ok(), "{number}");
        }
    }

    #[test]
    fn an_identity_number_is_found_anywhere_in_a_text() {
        for hit in [
            "110101199001010015",
            "the patient 11010119900101004x asked",
            "患者110101199001010015来电",
            "no.１１０１０１１９９００１０１００１５",
            "9110101199001010015",
        ] {
            assert!(contains_identity_number(hit), "{hit}");
        }
        for miss in
            ["", "restored by the duty officer", "110101199001010010", "11010119900101001 5"]
        {
            assert!(!contains_identity_number(miss), "{miss}");
        }
    }

    #[test]
    fn credit_codes_are_checked_also_where_the_remainder_is_zero() {
        for valid in
            ["91350100M000100Y43", "12110000000000000K", "52110101MJ0000000N", "911101050000000110"]
        {
            assert!(valid.parse::<UnifiedCreditCode>().is_ok(), "{valid}");
        }
        for (invalid, why) in [
            ("91350211M0000XUF46", InvalidIdentity::CheckDigit),
            ("91350100M000100Y4", InvalidIdentity::Length),
            ("91350100I000100Y43", InvalidIdentity::Character(9)),
            ("9135A100M000100Y43", InvalidIdentity::Character(5)),
            ("91350100m000100Y43", InvalidIdentity::Character(9)),
        ] {
            assert_eq!(invalid.parse::<UnifiedCreditCode>(), Err(why), "{invalid}");
        }
    }

    #[test]
    fn designated_institutions_have_a_letter_and_eleven_digits() {
        for valid in ["H44200100001", "H41130200002", "P33052200003"] {
            assert!(is_designated_institution(valid), "{valid}");
        }
        for invalid in ["H001", "P001", "X44200100001", "H4420010000A", "H442001000011", ""] {
            assert!(!is_designated_institution(invalid), "{invalid}");
        }
    }
}
