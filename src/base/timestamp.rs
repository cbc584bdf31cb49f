//! A point in time to the nanosecond. As file time it is written `seconds.nanoseconds` (as `stat -c %.Y`
//! prints it, from 1970 on); for people it is RFC 3339 in UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Local, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Nanoseconds always count forward from `seconds`, also before 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl Timestamp {
    pub const fn new(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds }
    }

    pub fn plus(self, duration: Duration) -> Self {
        let nanoseconds = self.nanoseconds + duration.subsec_nanos();
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            seconds: self
                .seconds
                .saturating_add(seconds)
                .saturating_add(i64::from(nanoseconds / 1_000_000_000)),
            nanoseconds: nanoseconds % 1_000_000_000,
        }
    }

    /// Zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let nanoseconds = self.as_nanoseconds().saturating_sub(earlier.as_nanoseconds());
        Duration::from_nanos(u64::try_from(nanoseconds.max(0)).unwrap_or(u64::MAX))
    }

    fn as_nanoseconds(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }

    /// `2026-11-20T23:30:26Z`, with a fraction where there is one.
    pub fn to_rfc3339(self) -> String {
        match self.to_utc() {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            None => self.to_string(),
        }
    }

    /// `20261120T233026.123Z`: sorts as the times do, to the millisecond, fit for names.
    pub fn to_compact(self) -> String {
        match self.to_utc() {
            Some(time) => time.format("%Y%m%dT%H%M%S%.3fZ").to_string(),
            None => self.to_string(),
        }
    }

    /// The reverse of [`Timestamp::to_compact`].
    pub fn parse_compact(text: &str) -> Option<Self> {
        let naive = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%S%.3fZ").ok()?;
        Some(Self::from_utc(naive.and_utc()))
    }

    /// Only what can be written again: RFC 3339 has years of four digits, also after the shift to UTC.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
        (0..=9999).contains(&time.year()).then(|| Self::from_utc(time))
    }

    /// What a person types: RFC 3339, `2026-11-20 23:30[:26]`, `2026-11-20` (its last instant), in the local
    /// time zone where none is given, or `@seconds`.
    pub fn parse_human(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_prefix('@') {
            return Self::parse(number);
        }
        if let Some(time) = Self::parse_rfc3339(text) {
            return Some(time);
        }
        let naive = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| {
                let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
                Some(date.and_time(NaiveTime::from_hms_nano_opt(23, 59, 59, 999_999_999)?))
            })?;
        Local.from_local_datetime(&naive).latest().map(|time| Self::from_utc(time.with_timezone(&Utc)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
        Some(Self { seconds: seconds.parse().ok()?, nanoseconds })
    }

    fn to_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.seconds, self.nanoseconds)
    }

    fn from_utc(time: DateTime<Utc>) -> Self {
        Self { seconds: time.timestamp(), nanoseconds: time.timestamp_subsec_nanos().min(999_999_999) }
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::default().plus(after),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self::new(-whole, 0),
                    nanoseconds => Self::new(-whole - 1, 1_000_000_000 - nanoseconds),
                }
            }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.seconds, self.nanoseconds)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`seconds.nanoseconds`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// For `#[serde(with = "…")]`: RFC 3339, where people read the file.
pub mod rfc3339 {
    use super::{Deserialize, Deserializer, Serializer, Timestamp, de};

    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.to_rfc3339())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &"a time as in RFC 3339"))
    }
}

/// As `rfc3339`, or nothing.
pub mod optional_rfc3339 {
    use serde::Serialize;

    use super::{Deserialize, Deserializer, Serializer, Timestamp, rfc3339};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Text(#[serde(with = "rfc3339")] Timestamp);

    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(Text).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        let time = Timestamp::from(UNIX_EPOCH - Duration::from_nanos(1));
        assert_eq!(time, Timestamp::new(-1, 999_999_999));
        let text = serde_json::to_string(&time).unwrap();
        assert_eq!(text, "\"-1.999999999\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), time);
    }

    #[test]
    fn people_write_times_in_several_ways() {
        let expected = Timestamp::new(1_795_217_400, 0);
        for text in ["2026-11-20T23:30:00Z", "2026-11-21T00:30:00+01:00", "@1795217400"] {
            assert_eq!(Timestamp::parse_human(text), Some(expected), "{text}");
        }
        assert!(Timestamp::parse_human("2026-11-20 23:30").is_some());
        assert!(Timestamp::parse_human("yesterday").is_none());
    }

    /// A time that was read must be readable when it is written again, or the file it is in is lost.
    #[test]
    fn years_beyond_four_digits_are_refused() {
        for text in ["9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+00:01"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "2016-12-31T23:59:60Z"] {
            let time = Timestamp::parse_rfc3339(text).unwrap();
            assert_eq!(Timestamp::parse_rfc3339(&time.to_rfc3339()), Some(time), "{text}");
        }
    }

    #[test]
    fn compact_names_sort_as_times_do() {
        let (earlier, later) = (Timestamp::new(1_000_000_000, 0), Timestamp::new(1_000_000_001, 0));
        assert_eq!(earlier.to_compact(), "20010909T014640.000Z");
        assert_eq!(Timestamp::parse_compact("20010909T014640.000Z"), Some(earlier));
        assert!(earlier.to_compact() < later.to_compact());
        assert_eq!(later.since(earlier), Duration::from_secs(1));
        assert_eq!(earlier.since(later), Duration::ZERO);
    }
}
