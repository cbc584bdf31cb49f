//! Schedules and time zones as values of the configuration, checked when they are read. Must not know jobs.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::schedule::{Schedule, ScheduleError, Zone};

/// When a job runs: cron with 5 fields or 6 (seconds first), `@hourly`, `@daily` and the like, `@every 15m`, or times
/// of day such as `03:00` or `03:00,15:00`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct ScheduleText(Schedule);

/// A place of the time zone database, such as `Europe/Berlin`. The default is UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct TimeZone(pub Zone);

impl ScheduleText {
    /// The instants, where the clock hangs that is meant.
    pub fn in_zone(&self, zone: TimeZone) -> Schedule {
        self.0.clone().in_zone(zone.0)
    }
}

impl FromStr for ScheduleText {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        // Whether a schedule makes sense is the same in all zones.
        Schedule::parse(text, Zone::UTC).map(Self)
    }
}

impl fmt::Display for ScheduleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self(Zone::UTC)
    }
}

impl FromStr for TimeZone {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! serde_as_text {
    ($($name:ident, $expected:literal);*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;

                impl de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(de::Error::custom)
                    }
                }

                deserializer.deserialize_str(Text)
            }
        }
    )*};
}

serde_as_text!(
    ScheduleText, "a schedule in quotes, such as \"*/15 * * * *\", \"@hourly\", \"@every 15m\" or \"03:00\"";
    TimeZone, "a time zone such as Europe/Berlin"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::timestamp::Timestamp;

    /// As the jobs have it.
    #[derive(Debug, Serialize, Deserialize)]
    struct Job {
        schedule: ScheduleText,
        #[serde(default)]
        time_zone: TimeZone,
    }

    fn read(yaml: &str) -> Result<Job, String> {
        // The way a file takes: as plain values first.
        let value: serde_json::Value = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn values_read_back_as_written() {
        for (yaml, json) in [
            ("schedule: 03:00", r#"{"schedule":"03:00","time_zone":"UTC"}"#),
            (
                "schedule: \"*/15 * * * *\"\ntime_zone: Europe/Berlin",
                r#"{"schedule":"*/15 * * * *","time_zone":"Europe/Berlin"}"#,
            ),
            ("schedule: \"@every 1h30m\"", r#"{"schedule":"@every 1h30m","time_zone":"UTC"}"#),
            ("schedule: 0 3 * * MON", r#"{"schedule":"0 3 * * MON","time_zone":"UTC"}"#),
        ] {
            let job = read(yaml).unwrap();
            assert_eq!(serde_json::to_string(&job).unwrap(), json);
            assert_eq!(read(json).unwrap().schedule, job.schedule);
        }
    }

    #[test]
    fn what_cannot_be_is_refused_when_it_is_read() {
        for (yaml, expected) in [
            ("schedule: 0 25 * * *", "hour `25`: 25 is more than 23"),
            ("schedule: 15", "a schedule in quotes, such as"),
            ("schedule: \"\"", "the schedule is empty"),
            ("schedule: 03:00\ntime_zone: Europe/Belin", "did you mean `Europe/Berlin`?"),
            ("schedule: 03:00\ntime_zone: 1", "a time zone such as Europe/Berlin"),
        ] {
            let message = read(yaml).unwrap_err();
            assert!(message.contains(expected), "{yaml}: {message}");
        }
    }

    #[test]
    fn the_same_text_means_another_instant_elsewhere() {
        let schedule: ScheduleText = "03:00".parse().unwrap();
        let next =
            |zone: &str| schedule.in_zone(zone.parse().unwrap()).next_after(Timestamp::default()).unwrap();
        assert_eq!(next("UTC").seconds, 3 * 3600);
        assert_eq!(next("Europe/Berlin").seconds, 2 * 3600);
        assert_eq!(TimeZone::default().to_string(), "UTC");
    }
}
