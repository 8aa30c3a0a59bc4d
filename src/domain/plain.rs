//! Lengths of time, counts and sizes as people read them.
//!
//! For people only: what machines read has plain numbers with their unit in the name.

use std::time::Duration;

/// A length of time in its two largest units, such as `2 d 3 h`, `12 min` or `45 s`.
#[must_use]
pub fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        (..) => format!("{days} d {hours} h"),
    }
}

/// A count with a comma after each three digits.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in the unit in which it has at most three digits before the point.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mut whole = bytes;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    let mut tenths = 0;
    for larger in units {
        if whole < 1000 {
            break;
        }
        (whole, tenths, unit) = (whole / 1000, whole / 100 % 10, larger);
    }
    // A tenth says something about small numbers only.
    if whole < 10 && unit != "B" {
        format!("{whole}.{tenths} {unit}")
    } else {
        format!("{whole} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3600, "1 h"),
            (3 * 3600 + 5 * 60 + 9, "3 h 5 min"),
            (86_400 + 59 * 60, "1 d"),
            (59 * 3600, "2 d 11 h"),
        ] {
            assert_eq!(length(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn counts_and_sizes_are_cut_into_threes() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 999, 1000, 268_435_456, 9_940_000_000, 212_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "268 MB", "9.9 GB", "212 GB"]);
    }
}
