//! Time zones by name, and the way between instants and what the clock on the wall shows. Must not know
//! expressions.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};

use crate::schedule::error::ScheduleError;

/// A place of the time zone database, such as `Europe/Berlin`. The rules are part of the program, so that images
/// without a database know them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// What a time on the wall means. Instants are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wall {
    Once(i64),
    /// The clock was put back: it shows this time twice, first at the earlier instant.
    Twice(i64, i64),
    /// The clock was put forward over this time; `at` is the first instant afterwards, when it shows `shows`.
    Skipped {
        at: i64,
        shows: NaiveDateTime,
    },
    /// Beyond what the database says.
    Unknown,
}

/// No zone has a name as long; what is longer is not compared with all of them.
const LONGEST_NAME: usize = 64;

impl Zone {
    pub const UTC: Self = Self(Tz::UTC);

    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// What the clock on the wall shows. None outside of the calendar.
    pub(super) fn wall(self, instant: i64) -> Option<NaiveDateTime> {
        let utc = DateTime::from_timestamp(instant, 0)?.naive_utc();
        utc.checked_add_offset(self.0.offset_from_utc_datetime(&utc).fix())
    }

    pub(super) fn meaning(self, wall: NaiveDateTime) -> Wall {
        match self.0.from_local_datetime(&wall) {
            LocalResult::Single(time) => Wall::Once(time.timestamp()),
            LocalResult::Ambiguous(one, other) => {
                let (one, other) = (one.timestamp(), other.timestamp());
                Wall::Twice(one.min(other), one.max(other))
            }
            LocalResult::None => match GapInfo::new(&wall, &self.0).and_then(|gap| gap.end) {
                Some(end) => Wall::Skipped { at: end.timestamp(), shows: end.naive_local() },
                None => Wall::Unknown,
            },
        }
    }

    /// If `instant` is in the first pass of hours that the clock shows twice: when the second pass begins.
    pub(super) fn second_pass(self, instant: i64) -> Option<i64> {
        let Wall::Twice(earlier, later) = self.meaning(self.wall(instant)?) else { return None };
        if instant >= later {
            return None;
        }
        // The clock is put back somewhere between the two. They are at most a day apart: 17 steps.
        let offset = |at: i64| Some(self.wall(at)?.and_utc().timestamp() - at);
        let before = offset(earlier)?;
        let (mut low, mut high) = (earlier, later);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match offset(middle)? == before {
                true => low = middle,
                false => high = middle,
            }
        }
        Some(high)
    }
}

impl FromStr for Zone {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        text.parse()
            .map(Self)
            .map_err(|_| ScheduleError::Zone { text: text.to_owned(), way_out: way_out(text) })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn way_out(text: &str) -> String {
    match nearest(text) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "name a place such as `Europe/Berlin`, or `UTC`".to_owned(),
    }
}

/// The name that is probably meant: by its whole, or by the town alone.
fn nearest(text: &str) -> Option<&'static str> {
    if text.len() > LONGEST_NAME {
        return None;
    }
    let word = text.trim().to_ascii_lowercase().replace(' ', "_");
    // Short words are near to anything: `CEST` is not `CET`.
    let bound = if word.len() < 6 { 0 } else { (word.len() / 4).min(3) };
    let distance = |name: &str| {
        let name = name.to_ascii_lowercase();
        let town = name.rsplit('/').next().filter(|town| *town == word).map(|_| 0);
        town.unwrap_or(usize::MAX).min(strsim::osa_distance(&word, &name))
    };
    TZ_VARIANTS
        .iter()
        .map(|zone| (distance(zone.name()), zone.name()))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, name)| (*distance, name.len()))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_zone_gets_the_nearest_name() {
        for (text, name) in [
            ("Europe/Belin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/New York", "America/New_York"),
            ("America/NewYork", "America/New_York"),
            ("utc", "UTC"),
        ] {
            let message = text.parse::<Zone>().unwrap_err().to_string();
            assert_eq!(message, format!("time zone `{text}` is not known; did you mean `{name}`?"));
        }
        for text in ["", "CEST", "+02:00", "the moon"] {
            let message = text.parse::<Zone>().unwrap_err().to_string();
            assert!(message.contains("name a place such as `Europe/Berlin`"), "{message}");
        }
        assert_eq!("Asia/Kolkata".parse::<Zone>().unwrap().to_string(), "Asia/Kolkata");
    }

    #[test]
    fn hours_that_are_shown_twice_have_a_second_pass() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        // 2024-10-27: 03:00 is put back to 02:00 at 01:00 UTC.
        let change = 1_729_990_800;
        assert_eq!(berlin.second_pass(change - 3601), None);
        assert_eq!(berlin.second_pass(change - 3600), Some(change));
        assert_eq!(berlin.second_pass(change - 1), Some(change));
        assert_eq!(berlin.second_pass(change), None);
    }
}
