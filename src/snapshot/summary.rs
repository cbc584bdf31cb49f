//! What is known of a snapshot without its manifest, and how snapshots are named and picked.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::timestamp::{self, Timestamp};

/// `<utc>-<id>`, such as `20261120T233026.123Z-4be1f00d12345678`: sorts by time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub String);

/// The totals count what a restore makes: `bytes` are those of file contents, holes included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub id: SnapshotId,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub volume_id: String,
    /// Under which lease it was written: the larger, the later, whatever the clocks say.
    #[serde(default)]
    pub epoch: u64,
    pub identity: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotId>,
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
    /// `all` is sorted from old to new.
    pub fn pick<'a>(&self, all: &'a [Summary]) -> Result<&'a Summary, PickError> {
        match self {
            Self::Latest => all.last().ok_or(PickError::None),
            Self::At(time) => all
                .iter()
                .rfind(|summary| summary.time <= *time)
                .ok_or_else(|| PickError::NoneBefore(time.to_rfc3339())),
            Self::Named(text) => {
                let mut hits = all.iter().filter(|summary| summary.id.answers_to(text));
                match (hits.next(), hits.next()) {
                    (Some(only), None) => Ok(only),
                    (None, _) => Err(PickError::Unknown(text.clone())),
                    _ => Err(PickError::Ambiguous(text.clone())),
                }
            }
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

    fn summary(id: &str, seconds: i64) -> Summary {
        Summary {
            id: SnapshotId(id.into()),
            time: Timestamp::new(seconds, 0),
            volume_id: String::new(),
            epoch: 0,
            identity: String::new(),
            host: String::new(),
            parent: None,
            entries: 0,
            files: 0,
            bytes: 0,
            data_bytes: 0,
            added_bytes: 0,
            stored_bytes: 0,
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    #[test]
    fn snapshots_are_picked_by_age_time_and_name() {
        let all = [summary("19700101T000010Z-aa11", 10), summary("19700101T000020Z-aa22", 20)];
        let picked = |wanted: Wanted| wanted.pick(&all).map(|summary| summary.time.seconds);
        assert_eq!(picked(Wanted::Latest), Ok(20));
        assert_eq!(picked(Wanted::At(Timestamp::new(19, 0))), Ok(10));
        assert!(matches!(picked(Wanted::At(Timestamp::new(9, 0))), Err(PickError::NoneBefore(_))));
        assert_eq!(picked(Wanted::Named("aa2".into())), Ok(20));
        assert_eq!(picked(Wanted::Named("19700101T000010Z".into())), Ok(10));
        assert_eq!(picked(Wanted::Named("aa".into())), Err(PickError::Ambiguous("aa".into())));
        assert_eq!(picked(Wanted::Named("b".into())), Err(PickError::Unknown("b".into())));
        assert_eq!(Wanted::Latest.pick(&[]), Err(PickError::None));
    }
}
