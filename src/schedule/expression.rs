//! A schedule as it is written in a configuration, and the instants it names. Must not know jobs, nor what has run.

use std::fmt;
use std::time::Duration;

use chrono::NaiveDate;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::base::timestamp::Timestamp;
use crate::base::units::Span;
use crate::schedule::error::ScheduleError;
use crate::schedule::zone::Zone;
use crate::schedule::{fields, jitter, repeat};

/// When something runs. Reads as it was written.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    zone: Zone,
    rhythm: Rhythm,
}

#[derive(Clone, Debug)]
enum Rhythm {
    /// Times on the wall that are named one by one. Several expressions for several times of day.
    Fixed(Vec<Cron>),
    /// Times on the wall that go on and on.
    Repeating(Box<Cron>),
    /// Nanoseconds, whatever the wall says.
    Every { period: i128, phase: i128 },
}

const NAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

const SECOND: i128 = 1_000_000_000;
/// Ten years: what is asked for less often is a mistake.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

impl Schedule {
    /// Cron with 5 fields or 6 (seconds first), `@hourly` and the like, `@every 15m`, `03:00` or `03:00,15:30`.
    /// `zone` is where the clock hangs that is meant.
    pub fn parse(text: &str, zone: Zone) -> Result<Self, ScheduleError> {
        let trimmed = text.trim();
        let rhythm = if trimmed.is_empty() {
            return Err(ScheduleError::Empty);
        } else if let Some(name) = trimmed.strip_prefix('@') {
            named(trimmed, name)?
        } else if trimmed.contains(':') {
            times_of_day(trimmed)?
        } else {
            cron(trimmed, trimmed)?
        };
        Ok(Self { text: trimmed.to_owned(), zone, rhythm })
    }

    /// The same text where the clock shows another time.
    pub fn in_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// What the schedule depends on: a run was missed only if it was already scheduled this way.
    pub fn fingerprint(&self) -> String {
        format!("{} {}", self.zone, self.text)
    }

    /// The same schedule as one job of one volume has it: an interval counts from a start of the job's own, which
    /// spreads a fleet over the whole interval. Times on the wall are what they are.
    pub fn of_job(mut self, identity: &str, job: &str) -> Self {
        if let Rhythm::Every { period, phase } = &mut self.rhythm {
            let most = Duration::from_nanos(u64::try_from(*period).unwrap_or(u64::MAX));
            // Whole seconds are easier to read in a log.
            *phase = i128::from(jitter::delay(identity, job, most).as_secs()) * SECOND;
        }
        self
    }

    /// The first instant after `after`. None beyond the year 4999.
    ///
    /// An interval counts from 1970, not from the last run or the start of the process: neither a restart nor lost
    /// state moves it, and a process that restarts all the time still runs its jobs.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rhythm {
            Rhythm::Fixed(crons) => {
                crons.iter().filter_map(|cron| repeat::next_fixed(cron, self.zone, after.seconds)).min()
            }
            Rhythm::Repeating(cron) => repeat::next_repeating(cron, self.zone, after.seconds),
            Rhythm::Every { period, phase } => return next_multiple(*period, *phase, after),
        }
        .map(|seconds| Timestamp::new(seconds, 0))
    }

    /// The latest instant after `after` and not after `until`, and whether it is the only one. Costs the same
    /// whether one instant lies between them or a million.
    pub fn latest_between(&self, after: Timestamp, until: Timestamp) -> Option<Passed> {
        let is_there = |next: &Timestamp| *next <= until;
        let first = self.next_after(after).filter(is_there)?;
        let Some(second) = self.next_after(first).filter(is_there) else {
            return Some(Passed { first, latest: first });
        };
        // Something follows on each instant before the latest, and nothing on those from it on.
        let (mut low, mut high) = (second.seconds.saturating_sub(1), until.seconds.saturating_add(1));
        while high.saturating_sub(low) > 1 {
            let middle = i64::midpoint(low, high);
            match self.next_after(Timestamp::new(middle, 0)).filter(is_there) {
                Some(_) => low = middle,
                None => high = middle,
            }
        }
        // Intervals need not fall on whole seconds, but are at least as long as one: at most two are left.
        let mut latest = self.next_after(Timestamp::new(low, 0)).filter(is_there).unwrap_or(second);
        while let Some(next) = self.next_after(latest).filter(is_there) {
            latest = next;
        }
        Some(Passed { first, latest })
    }
}

/// Instants that have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub first: Timestamp,
    pub latest: Timestamp,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for Schedule {}

fn named(text: &str, name: &str) -> Result<Rhythm, ScheduleError> {
    let (word, rest) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
    if word.eq_ignore_ascii_case("every") {
        return every(text, rest.trim());
    }
    if let Some((_, expression)) = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
        return cron(text, expression);
    }
    let lower = text.to_ascii_lowercase();
    let way_out = match lower.as_str() {
        "@reboot" | "@start" | "@startup" => {
            "a start is no instant; to make up for runs missed while down, set `catch_up` on the job".to_owned()
        }
        _ => match NAMES.iter().map(|(known, _)| (strsim::osa_distance(&lower, known), known)).min() {
            Some((distance, known)) if distance <= 2 => format!("did you mean `{known}`?"),
            _ => "there are `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually` and \
                  `@every 15m`"
                .to_owned(),
        },
    };
    Err(ScheduleError::Name { text: text.to_owned(), way_out })
}

fn every(text: &str, length: &str) -> Result<Rhythm, ScheduleError> {
    let refuse = |cause: String| ScheduleError::Interval { text: text.to_owned(), cause };
    let Span(period) = length.parse().map_err(refuse)?;
    if period < Duration::from_secs(1) {
        return Err(refuse(format!("`{length}` is too short")));
    }
    if period > LONGEST {
        return Err(refuse(format!("`{length}` is more than ten years")));
    }
    Ok(Rhythm::Every { period: i128::try_from(period.as_nanos()).unwrap_or(i128::MAX), phase: 0 })
}

fn times_of_day(text: &str) -> Result<Rhythm, ScheduleError> {
    let mut crons = Vec::new();
    for value in text.split(',').map(str::trim) {
        let number = |digits: &str, most: u8| {
            let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u8>().ok().filter(|number| plain && *number <= most)
        };
        let time = value.split_once(':').filter(|(_, minutes)| minutes.len() == 2);
        let Some((Some(hour), Some(minute))) =
            time.map(|(hour, minute)| (number(hour, 23), number(minute, 59)))
        else {
            return Err(ScheduleError::TimeOfDay { text: text.to_owned(), value: value.to_owned() });
        };
        crons.push(compile(text, &format!("0 {minute} {hour} * * *"))?);
    }
    Ok(Rhythm::Fixed(crons))
}

fn cron(text: &str, expression: &str) -> Result<Rhythm, ScheduleError> {
    let checked = fields::check(expression)?;
    let cron = compile(text, &checked.pattern)?;
    // 28 years in a row have every kind of year: each weekday to begin with, with and without a 29 February. Without an
    // end, `croner` would look at three thousand.
    let probe = compile(text, &format!("{} 2000-2030", checked.pattern))?;
    let start = NaiveDate::from_ymd_opt(2000, 1, 1).and_then(|date| date.and_hms_opt(0, 0, 0));
    if start.is_none_or(|start| probe.find_next_occurrence(&start, true).is_err()) {
        return Err(ScheduleError::Never { text: text.to_owned(), day: checked.day, month: checked.month });
    }
    Ok(match checked.repeats {
        true => Rhythm::Repeating(Box::new(cron)),
        false => Rhythm::Fixed(vec![cron]),
    })
}

/// `pattern` has six fields, or seven with the year.
fn compile(text: &str, pattern: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Optional).build();
    parser.parse(pattern).map_err(|error| ScheduleError::Field {
        text: text.to_owned(),
        field: "expression",
        value: pattern.to_owned(),
        cause: error.to_string(),
        way_out: "write it in a simpler way".to_owned(),
    })
}

fn next_multiple(period: i128, phase: i128, after: Timestamp) -> Option<Timestamp> {
    let after = i128::from(after.seconds.max(repeat::FIRST)) * SECOND + i128::from(after.nanoseconds);
    let count = (after - phase).div_euclid(period) + 1;
    let next = phase + count * period;
    // As for expressions: a time that cannot be written down helps nobody.
    let seconds = i64::try_from(next.div_euclid(SECOND)).ok().filter(|seconds| *seconds < repeat::LAST)?;
    Some(Timestamp::new(seconds, u32::try_from(next.rem_euclid(SECOND)).ok()?))
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
