//! The sections `retention` and `prune`: which snapshots stay, and how long what nothing refers to is kept.

use std::time::Duration;

use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::units::Span;
use crate::schedule::Zone;
use crate::snapshot::retention::{Policy, Rules};

/// The keys that the short form sets.
const RULES: [&str; 8] =
    ["last", "hourly", "daily", "weekly", "monthly", "yearly", "within", "keep_at_least"];
/// A pin names at least a day.
const SHORTEST_PIN: usize = 8;

/// Which snapshots stay when a prune runs. Without any rule nothing is forgotten. A rule keeps the newest snapshot of
/// each of its periods, until it has kept as many as it says. Short form, as text: `last=5,7d,4w,12m`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("type" = ["object", "string"]))]
pub struct RetentionConfig {
    /// So many of the newest.
    pub last: u32,
    /// So many hours in which there is a snapshot.
    pub hourly: u32,
    /// So many days.
    pub daily: u32,
    /// So many weeks, from Monday on.
    pub weekly: u32,
    /// So many months.
    pub monthly: u32,
    /// So many years.
    pub yearly: u32,
    /// All that are younger than this, counted back from the newest; 0s is no rule.
    pub within: Span,
    /// Never fewer than this many, whatever the rules say. Alone it is no rule.
    pub keep_at_least: u32,
    /// Snapshots that stay for ever, by name or by how their names begin: `20261121` is a day.
    pub pinned: Vec<String>,
    /// Where hours, days, weeks, months and years begin, such as `Europe/Berlin`.
    pub time_zone: String,
}

/// How what nothing refers to any more is deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PruneConfig {
    /// What nothing refers to is kept this long before it is deleted, so that restores under way can end.
    pub grace: Span,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            within: Span(Duration::ZERO),
            keep_at_least: 0,
            pinned: Vec::new(),
            time_zone: "UTC".to_owned(),
        }
    }
}

impl Default for PruneConfig {
    fn default() -> Self {
        Self { grace: Span(Duration::from_secs(24 * 3600)) }
    }
}

impl RetentionConfig {
    pub fn policy(&self) -> Policy {
        let rules = Rules {
            last: self.last,
            hourly: self.hourly,
            daily: self.daily,
            weekly: self.weekly,
            monthly: self.monthly,
            yearly: self.yearly,
            within: (!self.within.0.is_zero()).then_some(self.within.0),
            keep_at_least: self.keep_at_least,
        };
        // A zone that is none was refused before.
        Policy { rules, pinned: self.pinned.clone(), zone: self.time_zone.parse().unwrap_or(Tz::UTC) }
    }

    /// What is wrong with values that are well formed: the key below `retention`, and why.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if let Err(error) = self.time_zone.parse::<Zone>() {
            faults.push(("time_zone".to_owned(), error.to_string()));
        }
        for (number, pin) in self.pinned.iter().enumerate() {
            if pin.len() < SHORTEST_PIN {
                let message =
                    format!("`{pin}` pins more than a day; at least 8 characters of a name are expected");
                faults.push((format!("pinned[{number}]"), message));
            }
        }
        faults
    }
}

/// The keys and values that a short form stands for. All rules are among them: what it does not name is 0, wherever
/// else it was set.
pub fn from_short(text: &str) -> Result<Map<String, Value>, String> {
    let rules: Rules = text.parse()?;
    let within = Span(rules.within.unwrap_or_default()).to_string();
    let values = [
        rules.last.into(),
        rules.hourly.into(),
        rules.daily.into(),
        rules.weekly.into(),
        rules.monthly.into(),
        rules.yearly.into(),
        Value::from(within),
        rules.keep_at_least.into(),
    ];
    Ok(RULES.into_iter().map(str::to_owned).zip(values).collect())
}
