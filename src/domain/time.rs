//! Instants, civil dates, zones and half-open intervals. Nothing here asks what time it is.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An IANA time zone, such as `Asia/Shanghai`.
pub type Zone = chrono_tz::Tz;
/// What whoever named no zone is told.
pub const NO_ZONE: &str = "expected a name of the time zone database, such as Asia/Shanghai";
/// A day of the civil calendar, without a zone.
pub type CivilDate = NaiveDate;

/// An instant on the wall clock, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `ms` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved by `by` into the future, stopping at the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant moved by `by` into the past.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this instant is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The civil date and time of day in `zone`.
    #[must_use]
    pub fn civil(self, zone: Zone) -> NaiveDateTime {
        self.utc().with_timezone(&zone).naive_local()
    }

    /// The instant of a civil date and time in `zone`: the earlier one where the clock shows it
    /// twice, the first instant after the gap where it never shows it.
    #[must_use]
    pub fn from_civil(at: NaiveDateTime, zone: Zone) -> Self {
        let shown = zone.from_local_datetime(&at).earliest();
        let after_gap = || chrono_tz::GapInfo::new(&at, &zone).and_then(|gap| gap.end);
        let found = shown.or_else(after_gap).map(|found| found.timestamp_millis());
        Self(found.unwrap_or(at.and_utc().timestamp_millis()))
    }

    /// The instant of a civil date and time in `zone`, where its clock shows it just once.
    #[must_use]
    pub fn from_civil_once(at: NaiveDateTime, zone: Zone) -> Option<Self> {
        let shown = zone.from_local_datetime(&at).single()?;
        Some(Self(shown.timestamp_millis()))
    }

    /// RFC 3339 with the zone's offset, to the second (milliseconds only when there are any).
    #[must_use]
    pub fn rfc3339(self, zone: Zone) -> String {
        self.utc().with_timezone(&zone).to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }

    fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

/// A text that is no RFC 3339 instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an instant with its offset, such as 2022-08-13T10:00:00+08:00")]
pub struct InvalidInstant;

impl FromStr for Timestamp {
    type Err = InvalidInstant;

    fn from_str(text: &str) -> Result<Self, InvalidInstant> {
        DateTime::parse_from_rfc3339(text)
            .map(|at| Self(at.timestamp_millis()))
            .map_err(|_| InvalidInstant)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A reading of the monotonic clock, in milliseconds since the process began. Never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// This reading moved by `by` into the future.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read together. Wall time for schedules and deadlines, monotonic time for
/// timeouts and pacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock.
    pub monotonic: Monotonic,
}

/// A half-open stretch of time: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// The first instant inside.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Interval {
    /// `[start, end)`, or `None` when it would be empty or run backwards.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// Whether `at` lies inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether the two share an instant.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// How long it lasts.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn c1_the_notice_window_is_59_hours_in_every_zone() {
        let stop =
            Interval::new(at("2022-08-12T19:00:00+08:00"), at("2022-08-14T22:00:00Z")).unwrap();
        assert_eq!(stop.length(), Duration::from_secs(59 * 3600));
        assert!(stop.contains(stop.start) && !stop.contains(stop.end));
    }

    #[test]
    fn a_civil_time_in_a_gap_is_the_first_instant_after_it() {
        let zone = chrono_tz::America::New_York;
        let gap = "2025-03-09T02:30:00".parse().unwrap();
        assert_eq!(Timestamp::from_civil(gap, zone), at("2025-03-09T03:00:00-04:00"));
        let odd = "2025-03-09T02:07:00".parse().unwrap();
        assert_eq!(Timestamp::from_civil(odd, zone), at("2025-03-09T03:00:00-04:00"));
        let fold = "2025-11-02T01:30:00".parse().unwrap();
        assert_eq!(Timestamp::from_civil(fold, zone), at("2025-11-02T01:30:00-04:00"));
    }

    #[test]
    fn a_gap_may_be_half_an_hour_or_a_whole_day_long() {
        for (zone, civil, first) in [
            (chrono_tz::Australia::Lord_Howe, "2025-10-05T02:10:00", "2025-10-05T02:30:00+11:00"),
            (chrono_tz::Pacific::Apia, "2011-12-30T12:00:00", "2011-12-31T00:00:00+14:00"),
            (chrono_tz::America::Santiago, "2025-09-07T00:20:00", "2025-09-07T01:00:00-03:00"),
        ] {
            assert_eq!(Timestamp::from_civil(civil.parse().unwrap(), zone), at(first), "{civil}");
        }
    }

    #[test]
    fn an_instant_prints_in_its_zone() {
        let shown = at("2022-08-14T22:00:00Z").rfc3339(chrono_tz::Asia::Shanghai);
        assert_eq!(shown, "2022-08-15T06:00:00+08:00");
    }
}
