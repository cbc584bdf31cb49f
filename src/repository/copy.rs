//! What callers ask of a copy between two repositories and what they are told: a trait, because which way is
//! open depends on the kinds of both, and plain data.

use std::fmt::Debug;

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::base::timestamp::{self, Timestamp};
use crate::repository::{Finding, Repository, RepositoryError, Workers};
use crate::snapshot::SnapshotId;

/// A way from one repository to another. Copies keep time, volume, host and problems of the original, say where
/// they come from, and never look newer than what they are copies of.
pub trait Route: Send + Sync + Debug {
    fn from(&self) -> &dyn Repository;

    fn to(&self) -> &dyn Repository;

    /// What a copy would do. A target that is absent counts as empty. Reads manifests, writes nothing.
    fn plan(&self, request: &CopyRequest<'_>) -> Result<CopyPlan, RepositoryError>;

    /// Copies what the target does not have, oldest first. Each snapshot is there whole or not at all; those that
    /// were there before an error stay and are reported beside it.
    fn copy(&self, request: &CopyRequest<'_>) -> Result<CopyReport, RepositoryError>;
}

/// Which snapshots of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chosen {
    #[default]
    All,
    /// So many of the newest.
    Last(usize),
    Named(Vec<SnapshotId>),
}

#[derive(Debug)]
pub struct CopyRequest<'a> {
    pub chosen: &'a Chosen,
    pub workers: &'a Workers,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct CopyPlan {
    pub snapshots: Vec<PlannedCopy>,
    /// Chosen snapshots that the target has.
    pub present: u64,
    /// Chosen snapshots that cannot be copied.
    pub failed: Vec<Finding>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlannedCopy {
    /// Its name in the source.
    pub snapshot: SnapshotId,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub host: String,
    pub files: u64,
    pub bytes: u64,
    /// Stored content that has to be read for it at most, beyond that of the snapshots before it.
    pub read_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct CopyReport {
    pub copied: Vec<CopiedSnapshot>,
    pub present: u64,
    /// Those that could not be copied because something of them is damaged; the others were.
    pub failed: Vec<Finding>,
    /// Why the run ended before it was done.
    #[serde(skip)]
    pub stopped: Option<RepositoryError>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CopiedSnapshot {
    /// Its name in the source, and in the target.
    pub snapshot: SnapshotId,
    pub copy: SnapshotId,
    #[serde(with = "timestamp::rfc3339")]
    pub time: Timestamp,
    pub files: u64,
    pub bytes: u64,
    /// Content read from the source's packs, as it is stored there.
    pub read_bytes: u64,
    /// Content new to the target, before compression.
    pub added_bytes: u64,
    /// Everything written to the target.
    pub stored_bytes: u64,
}
