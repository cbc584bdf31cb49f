//! What a restore could not bring back without being at fault: owners when not root, attributes the file
//! system has not got. Counted in full, named in part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::snapshot::RelativePath;

/// Lines kept; the counts go on.
const NAMED: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    Owner,
    Mode,
    Attribute,
    Time,
    Device,
    /// The object as a whole, such as a socket in an archive.
    Entry,
}

/// Shared by all workers of a restore.
#[derive(Debug, Default)]
pub struct Problems(Mutex<Collected>);

#[derive(Debug, Default)]
struct Collected {
    counts: BTreeMap<Aspect, u64>,
    lines: Vec<String>,
}

impl Problems {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&self, aspect: Aspect, path: &RelativePath, reason: impl fmt::Display) {
        let mut collected = self.collected();
        *collected.counts.entry(aspect).or_default() += 1;
        if collected.lines.len() < NAMED {
            collected.lines.push(format!("{path}: {aspect} not restored: {reason}"));
        }
    }

    pub fn total(&self) -> u64 {
        self.collected().counts.values().sum()
    }

    /// Only what occurred.
    pub fn counts(&self) -> BTreeMap<Aspect, u64> {
        self.collected().counts.clone()
    }

    pub fn count(&self, aspect: Aspect) -> u64 {
        self.collected().counts.get(&aspect).copied().unwrap_or(0)
    }

    /// The first hundred, in the order they occurred.
    pub fn lines(&self) -> Vec<String> {
        self.collected().lines.clone()
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        // A worker that panicked in between leaves counts that are at worst one short.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Attribute => "attribute",
            Self::Time => "time",
            Self::Device => "device",
            Self::Entry => "entry",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_goes_on_when_the_names_end() {
        let problems = Problems::new();
        let path = RelativePath::new("a/b").unwrap();
        for _ in 0..NAMED + 5 {
            problems.add(Aspect::Owner, &path, "not permitted");
        }
        problems.add(Aspect::Mode, &path, "not permitted");
        assert_eq!(problems.total(), NAMED as u64 + 6);
        assert_eq!(problems.count(Aspect::Owner), NAMED as u64 + 5);
        assert_eq!(problems.lines().len(), NAMED);
        assert_eq!(problems.lines()[0], "a/b: owner not restored: not permitted");
    }
}
