//! What callers ask of a repository and what they are told afterwards: plain data.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::repository::Epoch;
use crate::snapshot::selector::Selector;
use crate::snapshot::{SnapshotId, Summary};
use crate::tree::{Excludes, WalkOptions};

/// How much of the machine may be used.
#[derive(Clone, Debug)]
pub struct Workers {
    /// Threads that hash, compress and decode.
    pub threads: usize,
    /// Requests to the store at once.
    pub connections: usize,
    /// Bytes of content and objects held at once, all threads together.
    pub memory: u64,
}

/// Who writes: kept in leases and snapshots.
#[derive(Clone, Debug)]
pub struct Writer {
    pub volume_id: String,
    pub identity: String,
    pub host: String,
}

/// What a snapshot would hold, for guards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    /// Without holes.
    pub data_bytes: u64,
}

/// Looks at what is about to be committed and at the newest snapshot; `Err` holds the reason to refuse.
pub type Guard<'a> = &'a (dyn Fn(&Totals, Option<&Summary>) -> Result<(), String> + Sync);

pub struct BackupRequest<'a> {
    /// The directory whose content becomes the snapshot.
    pub root: &'a Path,
    pub walk: WalkOptions,
    /// Where what speeds up the next backup is kept.
    pub cache: &'a Path,
    pub writer: &'a Writer,
    /// The last lease this volume is known to have had.
    pub epoch: Option<Epoch>,
    /// Take the lease even from a volume that took it after this one had it.
    pub take_over: bool,
    pub workers: &'a Workers,
    /// Files cut at fixed places instead of by content: databases that write in place.
    pub fixed_chunks: &'a Excludes,
    /// How often a file that changes while it is read is read again.
    pub read_retries: u32,
    pub guard: Guard<'a>,
    /// Only find out what would be stored.
    pub dry_run: bool,
    pub clock: &'a Arc<dyn Clock>,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
}

impl fmt::Debug for BackupRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupRequest")
            .field("root", &self.root)
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct BackupReport {
    /// `None` after a dry run.
    pub snapshot: Option<Summary>,
    /// The lease it was written under; 0 for a dry run.
    pub epoch: Epoch,
    pub totals: Totals,
    /// Files whose content was read, and the bytes of it.
    pub files_read: u64,
    pub bytes_read: u64,
    /// Content new to the repository, before compression.
    pub added_bytes: u64,
    /// Everything written to the repository.
    pub stored_bytes: u64,
    /// Those of them that hold what was stored before: stored anew, so that packs which are mostly dead can go.
    pub moved_bytes: u64,
    pub problems: Vec<String>,
    pub problem_count: u64,
}

#[derive(Debug)]
pub struct RestoreRequest<'a> {
    /// An existing directory; what it holds is taken for the rest of an interrupted run of the same restore.
    pub target: &'a Path,
    pub selector: &'a Selector,
    pub cache: Option<&'a Path>,
    pub workers: &'a Workers,
    pub progress: &'a Progress,
    pub cancel: &'a Cancel,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct RestoreReport {
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    /// Files found whole from an interrupted run.
    pub reused_files: u64,
    pub fetched_bytes: u64,
    /// Metadata that could not be set, by name; the list is cut, the count is not.
    pub problems: Vec<String>,
    pub problem_count: u64,
}

#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// Which part of the packs to read in full: 0 reads structure only, 100 everything.
    pub verify_percent: u8,
    /// Which of the parts, counted on from call to call: after 100 divided by the percentage, rounded up, every
    /// pack that was there all the time has been read once. `None`: packs spread evenly, the same each time.
    pub verify_turn: Option<u64>,
    /// Where a volume keeps what it remembers of the repository, which may name what cannot be read there.
    pub cache: Option<PathBuf>,
    pub workers: Workers,
    pub cancel: Cancel,
    pub progress: Progress,
}

/// Paths that a finding names. All of them are counted.
pub const NAMED_PATHS: usize = 10_000;

/// Something that is not as it was written, and what that takes down. Without snapshots it takes down nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub object: String,
    pub reason: String,
    /// All snapshots that need what is bad.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotId>,
    /// The paths that need what is bad, in the order of the walk: the first [`NAMED_PATHS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How many paths there are. Where the list that names them is what is bad, how many entries it had.
    #[serde(skip_serializing_if = "is_zero")]
    pub path_count: u64,
    /// Where the names are not known: they come after this path, if there is one before them,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// and before this one, if there is one behind them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

impl Finding {
    pub fn of(object: String, reason: String, snapshots: Vec<SnapshotId>) -> Self {
        Self { object, reason, snapshots, ..Self::default() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    pub snapshots: u64,
    pub segments: u64,
    pub packs: u64,
    pub verified_packs: u64,
    pub verified_bytes: u64,
    /// The snapshots that nothing bad was found in, from old to new.
    pub whole: Vec<SnapshotId>,
    pub findings: Vec<Finding>,
}
