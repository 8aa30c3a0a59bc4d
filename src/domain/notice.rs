//! Reading the stop out of a notice's own words: `8月12日19：00至8月15日6：00`.
//!
//! A notice names no year; it is the one that puts the stop next to the day of publication. What
//! this small reader is not sure of it refuses: a person then gives the times as instants. So it
//! does with a time that the zone's clock shows twice or never when it is changed. It knows
//! nothing of policies and clauses.

use super::time::{CivilDate, Interval, Timestamp, Zone};
use chrono::{Datelike, NaiveDateTime, NaiveTime, TimeDelta};

/// Why no stop could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// No stretch of time was found.
    #[error("no stop found, expected words such as 8月12日19：00至8月15日6：00")]
    NotFound,
    /// More than one was found.
    #[error("the text names more than one stretch of time, give only the one that is meant")]
    Ambiguous,
    /// A date or a time that does not exist.
    #[error("{0} is not a date and time that exists")]
    Impossible(String),
    /// A time that the zone's clock shows twice, or skips.
    #[error(
        "the clock of {1} is changed then and shows {0} twice or never: give both times as instants"
    )]
    NotOnce(NaiveDateTime, Zone),
    /// The end is not after the start.
    #[error("the stop ends before it begins")]
    Backwards,
}

/// How long before the publication a stop may have begun; beyond that the next year is meant.
const LOOKS_BACK: TimeDelta = TimeDelta::days(60);

/// Reads the only stop in `text`, published on `published`, its times meant in `zone`.
///
/// # Errors
/// [`NoticeError`] where there is none, more than one, or one that cannot be.
pub fn parse_stop(text: &str, published: CivilDate, zone: Zone) -> Result<Interval, NoticeError> {
    let chars: Vec<char> = text.chars().map(narrow).filter(|c| !c.is_whitespace()).collect();
    let mut found: Option<(Moment, Moment)> = None;
    let mut at = 0;
    while at < chars.len() {
        let Some((stop, next)) = stretch(&chars, at) else {
            at += 1;
            continue;
        };
        if found.as_ref().is_some_and(|earlier| *earlier != stop) {
            return Err(NoticeError::Ambiguous);
        }
        found = Some(stop);
        at = next;
    }
    let (start, end) = found.ok_or(NoticeError::NotFound)?;
    let begins = start.near(published)?;
    let year = end.year.unwrap_or_else(|| begins.year());
    let mut ends = end.in_year(year)?;
    if ends <= begins && end.year.is_none() && end.month < start.month {
        ends = end.in_year(year + 1)?;
    }
    let instant = |at| Timestamp::from_civil_once(at, zone).ok_or(NoticeError::NotOnce(at, zone));
    Interval::new(instant(begins)?, instant(ends)?).ok_or(NoticeError::Backwards)
}

/// A date and time as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    year: Option<i32>,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
}

impl Moment {
    fn in_year(self, year: i32) -> Result<NaiveDateTime, NoticeError> {
        let Self { month, day, hour, minute, .. } = self;
        let impossible =
            || NoticeError::Impossible(format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}"));
        let date = CivilDate::from_ymd_opt(year, month, day).ok_or_else(impossible)?;
        if (hour, minute) == (24, 0) {
            return date.succ_opt().map(|d| d.and_time(NaiveTime::MIN)).ok_or_else(impossible);
        }
        date.and_hms_opt(hour, minute, 0).ok_or_else(impossible)
    }

    /// In the year that it names, else in the one that puts it near the publication.
    fn near(self, published: CivilDate) -> Result<NaiveDateTime, NoticeError> {
        if let Some(year) = self.year {
            return self.in_year(year);
        }
        let from = published.and_time(NaiveTime::MIN) - LOOKS_BACK;
        let this = published.year();
        [this - 1, this, this + 1]
            .into_iter()
            .filter_map(|year| self.in_year(year).ok())
            .find(|&at| from <= at)
            .map_or_else(|| self.in_year(this), Ok)
    }
}

fn narrow(c: char) -> char {
    match c {
        '０'..='９' => u32::from(c).checked_sub(0xFEE0).and_then(char::from_u32).unwrap_or(c),
        '：' | '∶' => ':',
        '（' => '(',
        '）' => ')',
        '－' | '—' | '–' | '～' | '~' => '-',
        _ => c,
    }
}

/// A start, a word for "until", and an end, from `at` on; and where it is over.
fn stretch(chars: &[char], at: usize) -> Option<((Moment, Moment), usize)> {
    // A date does not begin in the middle of a number.
    if at > 0 && chars[at - 1].is_ascii_digit() {
        return None;
    }
    let mut reader = Reader { chars, at };
    let year = reader.number_before('年').and_then(|year| i32::try_from(year).ok());
    let month = reader.number_before('月')?;
    let day = reader.day()?;
    let (hour, minute) = reader.time()?;
    let start = Moment { year, month, day, hour, minute };
    if !reader.takes("至") && !reader.takes("到") {
        reader.takes("-").then_some(())?;
        while reader.takes("-") {}
    }
    let year = reader.number_before('年').and_then(|year| i32::try_from(year).ok());
    // An end may leave out what it has in common with the start.
    let month = reader.number_before('月').unwrap_or(month);
    let day = reader.day().unwrap_or(day);
    let (hour, minute) = reader.time()?;
    Some(((start, Moment { year: year.or(start.year), month, day, hour, minute }), reader.at))
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn takes(&mut self, word: &str) -> bool {
        let length = word.chars().count();
        let here = self.chars.get(self.at..self.at + length);
        let taken = here.is_some_and(|here| here.iter().copied().eq(word.chars()));
        self.at += if taken { length } else { 0 };
        taken
    }

    fn number(&mut self) -> Option<u32> {
        let digits: String =
            self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).take(4).collect();
        let number = digits.parse().ok()?;
        self.at += digits.len();
        Some(number)
    }

    /// A number that `unit` follows; takes nothing where there is none.
    fn number_before(&mut self, unit: char) -> Option<u32> {
        let begin = self.at;
        let number = self.number().filter(|_| self.takes(unit.encode_utf8(&mut [0; 4])));
        if number.is_none() {
            self.at = begin;
        }
        number
    }

    /// A day, with the weekday in brackets that may follow it.
    fn day(&mut self) -> Option<u32> {
        let day = self.number_before('日')?;
        if self.chars.get(self.at) == Some(&'(') {
            let length = self.chars[self.at..].iter().position(|&c| c == ')')?;
            self.at += length + 1;
        }
        Some(day)
    }

    /// `19:00`, `19时`, `19点30分`, with the part of the day that may stand before it.
    fn time(&mut self) -> Option<(u32, u32)> {
        let afternoon = ["下午", "晚上", "晚"].iter().any(|word| self.takes(word));
        let morning = !afternoon && ["凌晨", "早上", "上午"].iter().any(|word| self.takes(word));
        let hour = self.number()?;
        let minute = if self.takes(":") {
            self.number()?
        } else if self.takes("时") || self.takes("点") {
            if self.takes("半") { 30 } else { self.number_before('分').unwrap_or(0) }
        } else {
            return None;
        };
        match hour {
            1..=11 if afternoon => Some((hour + 12, minute)),
            // "晚12点" and "上午14时" can be meant in more than one way.
            12 if afternoon => None,
            13.. if morning => None,
            _ => Some((hour, minute)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Asia::Shanghai;

    fn read(text: &str, published: &str) -> Result<String, NoticeError> {
        parse_stop(text, published.parse().unwrap(), Shanghai)
            .map(|stop| format!("{} {}", stop.start, stop.end))
    }

    const STOP: &str = "2022-08-12T11:00:00Z 2022-08-14T22:00:00Z";

    #[test]
    fn s1_01_the_stop_of_the_notice_is_read_in_every_spelling() {
        for text in [
            "8月12日19：00至8月15日6：00",
            "定于8月12日19：00 至 8月15日6：00进行系统升级。",
            "8月12日19:00-8月15日06:00",
            "8 月 12 日 19 时至 8 月 15 日 6 时",
            "8月12日19点到15日6点",
            "８月１２日１９：００至８月１５日６：００",
            "2022年8月12日（星期五）19时00分至2022年8月15日（星期一）6时00分",
            "8月12日晚7点至8月15日早上6点",
        ] {
            assert_eq!(read(text, "2022-08-09"), Ok(STOP.to_owned()), "{text}");
        }
        let stop =
            parse_stop("8月12日19：00至8月15日6：00", "2022-08-09".parse().unwrap(), Shanghai);
        assert_eq!(stop.unwrap().length().as_secs(), 59 * 3600);
    }

    #[test]
    fn s1_01_the_year_rolls_over_with_the_publication() {
        assert_eq!(
            read("1月2日19：00至1月3日6：00", "2022-12-30"),
            Ok("2023-01-02T11:00:00Z 2023-01-02T22:00:00Z".to_owned())
        );
        assert_eq!(
            read("12月31日20：00至1月2日0：00", "2022-12-30"),
            Ok("2022-12-31T12:00:00Z 2023-01-01T16:00:00Z".to_owned())
        );
        // Published after the stop began, and long before it.
        assert_eq!(read("8月12日19：00至8月15日6：00", "2022-08-13"), Ok(STOP.to_owned()));
        assert_eq!(read("8月12日19：00至8月15日6：00", "2022-01-04"), Ok(STOP.to_owned()));
        assert_eq!(
            read("12月31日20：00至1月2日0：00", "2023-01-01"),
            Ok("2022-12-31T12:00:00Z 2023-01-01T16:00:00Z".to_owned())
        );
    }

    #[test]
    fn an_end_may_leave_out_the_day_and_may_be_at_24_00() {
        assert_eq!(
            read("8月12日19：00至24：00", "2022-08-09"),
            Ok("2022-08-12T11:00:00Z 2022-08-12T16:00:00Z".to_owned())
        );
    }

    #[test]
    fn c4_a_time_that_the_clock_shows_twice_or_never_is_refused() {
        let zone = chrono_tz::Europe::Berlin;
        let read = |text: &str| parse_stop(text, "2022-03-01".parse().unwrap(), zone);
        for (text, odd) in [
            ("3月27日2：30至3月27日6：00", "2022-03-27T02:30:00"),
            ("3月26日19：00至3月27日2：00", "2022-03-27T02:00:00"),
            ("10月30日2：59至10月30日6：00", "2022-10-30T02:59:00"),
            ("10月29日19：00至10月30日2：00", "2022-10-30T02:00:00"),
        ] {
            assert_eq!(read(text), Err(NoticeError::NotOnce(odd.parse().unwrap(), zone)), "{text}");
        }
        // Beside them the words are plain, and the stop is as long as it is.
        for (text, minutes) in
            [("3月27日1：59至3月27日3：00", 1), ("10月30日1：59至10月30日3：00", 121)]
        {
            assert_eq!(read(text).unwrap().length().as_secs(), minutes * 60, "{text}");
        }
    }

    #[test]
    fn what_is_not_sure_is_refused() {
        for (text, why) in [
            ("系统将升级", NoticeError::NotFound),
            ("8月12日19：00起停机", NoticeError::NotFound),
            ("8月12日至8月15日", NoticeError::NotFound),
            ("8月12日晚12点至8月15日6点", NoticeError::NotFound),
            ("8月12日19：00至8月15日6：00，9月1日1：00至9月2日1：00", NoticeError::Ambiguous),
            ("8月15日6：00至8月12日19：00", NoticeError::Backwards),
            ("2月30日6：00至3月1日19：00", NoticeError::Impossible("2022-02-30 06:00".to_owned())),
            ("8月12日25：00至8月15日6：00", NoticeError::Impossible("2022-08-12 25:00".to_owned())),
        ] {
            assert_eq!(read(text, "2022-08-09"), Err(why), "{text}");
        }
    }
}
