//! Which snapshots a policy keeps, and why: pure arithmetic on names and times. Must not know where snapshots
//! live, nor whether one can be read.

// Buckets are those of restic. Snapshots are looked at from new to old. Each rule keeps the newest snapshot of each
// of its periods (hour, day, week by ISO, month, year; of `last`: each snapshot) until it has kept as many as it
// says; periods without a snapshot do not count. As long as a rule has not kept as many, it keeps the oldest
// snapshot as well, so that history grows back as far as it goes. `within` keeps what is younger than that,
// measured from the newest snapshot, not from now: when backups stop, nothing is lost by waiting.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, TimeZone, Timelike};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use crate::base::timestamp::{self, Timestamp};
use crate::snapshot::SnapshotId;

const HOUR: u64 = 3_600;
/// How the short form looks, for messages.
const EXAMPLE: &str = "last=5,7d,4w,12m (h, d, w, m and y are hours, days, weeks, months and years)";

/// How many snapshots are kept of each kind. All zero: nothing is ever forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The newest ones.
    pub last: u32,
    /// The newest of each hour, day, week, month, year in which there is one.
    pub hourly: u32,
    pub daily: u32,
    pub weekly: u32,
    pub monthly: u32,
    pub yearly: u32,
    /// All that are younger than this, counted back from the newest.
    pub within: Option<Duration>,
    /// Never fewer than this many, whatever the other rules say. Alone it is no policy.
    pub keep_at_least: u32,
}

#[derive(Clone, Debug)]
pub struct Policy {
    pub rules: Rules,
    /// Names, or how names begin.
    pub pinned: Vec<String>,
    /// Where hours, days, weeks, months and years begin.
    pub zone: Tz,
}

impl Default for Policy {
    /// Nothing is forgotten.
    fn default() -> Self {
        Self { rules: Rules::default(), pinned: Vec::new(), zone: Tz::UTC }
    }
}

/// A snapshot to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: SnapshotId,
    pub time: Timestamp,
    /// Kept whatever the rules say, and as if it were not there for them.
    pub held: Option<Reason>,
}

/// Why a snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No rule says that anything is to be forgotten.
    NoPolicy,
    Newest,
    /// The newest of which everything is there.
    NewestGood,
    Pinned,
    Last,
    Within,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
    /// The oldest there is, for a rule that has not kept as many as it may.
    Oldest,
    AtLeast,
    /// Whether what it refers to is there cannot be told, so a person has to decide.
    Damaged,
    /// Its writer may still take it back, so nothing may rest on it yet.
    Unsettled,
    /// There is no newer one of which everything is there.
    NoNewerGood,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub id: SnapshotId,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub keep: bool,
    /// Empty for those that are not kept.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    pub fn keep_for(&mut self, reason: Reason) {
        self.keep = true;
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

/// A verdict on each, from old to new. At least one is kept if there is one, and always the newest.
pub fn decide(policy: &Policy, candidates: &[Candidate]) -> Vec<Verdict> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    let mut verdicts: Vec<Verdict> = sorted
        .iter()
        .map(|one| Verdict { id: one.id.clone(), time: one.time, keep: false, reasons: Vec::new() })
        .collect();
    let judged: Vec<usize> =
        (0..sorted.len()).filter(|at| sorted.get(*at).is_some_and(|one| one.held.is_none())).collect();
    for (verdict, one) in verdicts.iter_mut().zip(&sorted) {
        if let Some(reason) = one.held {
            verdict.keep_for(reason);
        }
        if policy.pinned.iter().any(|pin| one.id.0.starts_with(pin.as_str())) {
            verdict.keep_for(Reason::Pinned);
        }
    }
    if policy.rules.is_empty() {
        verdicts.iter_mut().for_each(|verdict| verdict.keep_for(Reason::NoPolicy));
    } else {
        apply(policy, &judged, &mut verdicts);
    }
    // Held ones do not count: the newest that rules may look at stays as well.
    for newest in [Some(&0), judged.first()].into_iter().flatten() {
        if let Some(verdict) = verdicts.get_mut(*newest) {
            verdict.keep_for(Reason::Newest);
        }
    }
    let missing = (policy.rules.keep_at_least as usize)
        .saturating_sub(judged.iter().filter(|at| verdicts.get(**at).is_some_and(|one| one.keep)).count());
    for verdict in verdicts.iter_mut().filter(|verdict| !verdict.keep).take(missing) {
        verdict.keep_for(Reason::AtLeast);
    }
    verdicts.reverse();
    verdicts
}

/// Pins that no snapshot has: most likely mistyped.
pub fn unknown_pins<'p>(policy: &'p Policy, candidates: &[Candidate]) -> Vec<&'p str> {
    let known = |pin: &&str| !candidates.iter().any(|one| one.id.0.starts_with(*pin));
    policy.pinned.iter().map(String::as_str).filter(known).collect()
}

/// `judged` are the places in `verdicts` to look at, from new to old.
fn apply(policy: &Policy, judged: &[usize], verdicts: &mut [Verdict]) {
    let rules = &policy.rules;
    let mut buckets: Vec<Bucket> = [
        (rules.last, Reason::Last),
        (rules.hourly, Reason::Hourly),
        (rules.daily, Reason::Daily),
        (rules.weekly, Reason::Weekly),
        (rules.monthly, Reason::Monthly),
        (rules.yearly, Reason::Yearly),
    ]
    .into_iter()
    .map(|(left, reason)| Bucket { left, reason, last: None })
    .collect();
    let newest = judged.first().and_then(|at| verdicts.get(*at)).map(|verdict| verdict.time);
    for (number, at) in judged.iter().enumerate() {
        let Some(verdict) = verdicts.get_mut(*at) else { continue };
        let (time, oldest) = (verdict.time, number + 1 == judged.len());
        if rules.within.zip(newest).is_some_and(|(within, newest)| newest.since(time) < within) {
            verdict.keep_for(Reason::Within);
        }
        for bucket in &mut buckets {
            if let Some(reason) = bucket.take(period(policy.zone, bucket.reason, time, number), oldest) {
                verdict.keep_for(reason);
            }
        }
    }
}

struct Bucket {
    left: u32,
    reason: Reason,
    last: Option<i64>,
}

impl Bucket {
    fn take(&mut self, period: i64, oldest: bool) -> Option<Reason> {
        let new = self.last != Some(period);
        if self.left == 0 || !(new || oldest) {
            return None;
        }
        self.left -= 1;
        self.last = Some(period);
        Some(if new { self.reason } else { Reason::Oldest })
    }
}

/// A number that all snapshots of one period have in common.
fn period(zone: Tz, kind: Reason, time: Timestamp, number: usize) -> i64 {
    // Times beyond what calendars know are a period each.
    let Some(utc) = DateTime::from_timestamp(time.seconds, time.nanoseconds) else { return time.seconds };
    let local = zone.from_utc_datetime(&utc.naive_utc());
    let (year, month) = (i64::from(local.year()), i64::from(local.month()));
    let day = (year * 100 + month) * 100 + i64::from(local.day());
    match kind {
        Reason::Hourly => day * 100 + i64::from(local.hour()),
        Reason::Daily => day,
        Reason::Weekly => {
            let week = local.iso_week();
            i64::from(week.year()) * 100 + i64::from(week.week())
        }
        Reason::Monthly => year * 100 + month,
        Reason::Yearly => year,
        _ => i64::try_from(number).unwrap_or(i64::MAX),
    }
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts.iter().all(|count| *count == 0) && self.within.is_none()
    }

    /// Returns the full name of the rule.
    fn set(&mut self, key: &str, value: &str) -> Result<&'static str, String> {
        let (name, field) = match key {
            "within" => {
                self.within = Some(span(value)?);
                return Ok("within");
            }
            "last" => ("last", &mut self.last),
            "h" | "hourly" => ("hourly", &mut self.hourly),
            "d" | "daily" => ("daily", &mut self.daily),
            "w" | "weekly" => ("weekly", &mut self.weekly),
            "m" | "monthly" => ("monthly", &mut self.monthly),
            "y" | "yearly" => ("yearly", &mut self.yearly),
            "keep_at_least" => ("keep_at_least", &mut self.keep_at_least),
            other => return Err(format!("`{other}` is no rule")),
        };
        *field = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
        Ok(name)
    }
}

/// The short form: parts between commas, each `key=count` (`last`, `hourly`, `daily`, `weekly`, `monthly`, `yearly`,
/// `keep_at_least`), `within=` with a time, or a count with one of `h d w m y`.
impl FromStr for Rules {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let refuse = |why: String| format!("`{part}` in `{text}`: {why}; write it as in {EXAMPLE}");
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (key.trim(), value.trim()),
                None => {
                    let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                    let (count, unit) = part.split_at(digits);
                    if count.is_empty() || unit.len() != 1 {
                        return Err(refuse(
                            "a count and a letter, or a key and a value, are expected".into(),
                        ));
                    }
                    (unit, count)
                }
            };
            let name = rules.set(key, value).map_err(refuse)?;
            if seen.contains(&name) {
                return Err(refuse("it is there twice".into()));
            }
            seen.push(name);
        }
        Ok(rules)
    }
}

/// `36h`, `30d`, `8w`. Shorter units would be mistaken: `m` is a month beside it.
fn span(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a time such as 36h, 30d or 8w");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (count, unit) = text.split_at(digits);
    let hours = match unit {
        "h" => 1,
        "d" => 24,
        "w" => 7 * 24,
        _ => return Err(refuse()),
    };
    let count: u64 = count.parse().map_err(|_| refuse())?;
    count.checked_mul(hours * HOUR).map(Duration::from_secs).ok_or_else(refuse)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPolicy => "no retention is configured",
            Self::Newest => "the newest",
            Self::NewestGood => "the newest that is whole",
            Self::Pinned => "pinned",
            Self::Last => "last",
            Self::Within => "within",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Oldest => "the oldest",
            Self::AtLeast => "keep_at_least",
            Self::Damaged => "damaged: a person has to decide",
            Self::Unsettled => "its writer may not have ended yet",
            Self::NoNewerGood => "no newer one is known to be whole",
        })
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
