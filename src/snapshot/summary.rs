//! What is known of a snapshot without its manifest, and how snapshots are named and picked.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::timestamp::{self, Timestamp};

/// `<utc>-<id>`, such as `20261120T233026.123Z-4be1f00d12345678`: sorts by time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub String);

/// Where a snapshot was first made: kept by every copy, and by copies of copies, so that each repository knows
/// what it has already.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CopiedFrom {
    /// The id of the repository.
    pub repository: String,
    pub snapshot: SnapshotId,
}

/// The totals count what a restore makes: `bytes` are those of file contents, holes included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: SnapshotId,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub volume_id: String,
    /// Under which lease it was written: the larger, the later, whatever the clocks say. 0 for a copy: no lease of
    /// this repository says when it was made.
    #[serde(default)]
    pub epoch: u64,
    pub identity: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<CopiedFrom>,
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    /// Without holes: what a restore takes on disk.
    pub data_bytes: u64,
    /// Bytes of content that were new to the repository, and what they took there.
    pub added_bytes: u64,
    pub stored_bytes: u64,
    /// Paths that could not be read or kept changing, with the reason; the list is cut, the count is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    #[serde(default)]
    pub problem_count: u64,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PickError {
    #[error("the repository has no snapshot")]
    None,
    #[error("no snapshot is named `{0}`")]
    Unknown(String),
    #[error("`{0}` is the beginning of several snapshot names")]
    Ambiguous(String),
    #[error("no snapshot is as old as {0}")]
    NoneBefore(String),
}

/// Which snapshot somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Wanted {
    #[default]
    Latest,
    /// The whole name, or the beginning of the name or of the part behind the time.
    Named(String),
    /// The newest that is not younger.
    At(Timestamp),
}

impl Wanted {
    /// The names in question, the one that is wanted most first. `names` are sorted from old to new.
    pub fn candidates<'a>(&self, names: &'a [SnapshotId]) -> Result<Vec<&'a SnapshotId>, PickError> {
        let newest_first = names.iter().rev();
        let found: Vec<&SnapshotId> = match self {
            Self::Latest => newest_first.collect(),
            // A name without a time has it inside.
            Self::At(time) => {
                newest_first.filter(|id| id.time().is_none_or(|of_name| of_name <= *time)).collect()
            }
            Self::Named(text) => newest_first.filter(|id| id.answers_to(text)).collect(),
        };
        match self {
            Self::Named(text) if found.len() > 1 => Err(PickError::Ambiguous(text.clone())),
            _ if found.is_empty() => Err(self.missing()),
            _ => Ok(found),
        }
    }

    /// Whether a snapshot of that time, as it says itself, may be taken.
    pub fn allows(&self, summary: &Summary) -> bool {
        match self {
            Self::At(time) => summary.time <= *time,
            Self::Latest | Self::Named(_) => true,
        }
    }

    pub fn missing(&self) -> PickError {
        match self {
            Self::Latest => PickError::None,
            Self::At(time) => PickError::NoneBefore(time.to_rfc3339()),
            Self::Named(text) => PickError::Unknown(text.clone()),
        }
    }
}

impl SnapshotId {
    /// The time in the name, to the millisecond.
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::parse_compact(self.0.split_once('-')?.0)
    }

    fn answers_to(&self, text: &str) -> bool {
        !text.is_empty()
            && (self.0.starts_with(text)
                || self.0.split_once('-').is_some_and(|(_, id)| id.starts_with(text)))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_picked_by_age_time_and_name() {
        let all = ["19700101T000010Z-aa11", "19700101T000020Z-aa22"].map(|id| SnapshotId(id.into()));
        let picked = |wanted: Wanted| {
            wanted.candidates(&all).map(|found| found.iter().map(|id| id.time().unwrap().seconds).collect())
        };
        assert_eq!(picked(Wanted::Latest), Ok(vec![20, 10]));
        assert_eq!(picked(Wanted::At(Timestamp::new(19, 0))), Ok(vec![10]));
        assert!(matches!(picked(Wanted::At(Timestamp::new(9, 0))), Err(PickError::NoneBefore(_))));
        assert_eq!(picked(Wanted::Named("aa2".into())), Ok(vec![20]));
        assert_eq!(picked(Wanted::Named("19700101T000010Z".into())), Ok(vec![10]));
        assert_eq!(picked(Wanted::Named("aa".into())), Err(PickError::Ambiguous("aa".into())));
        assert_eq!(picked(Wanted::Named("b".into())), Err(PickError::Unknown("b".into())));
        assert_eq!(Wanted::Latest.candidates(&[]), Err(PickError::None));
    }
}
