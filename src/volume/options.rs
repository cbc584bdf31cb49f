//! What a volume needs to be told: where the data is, where our own files are, whose it is. Knows no
//! configuration file and no environment.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const DEFAULT_KEEP: Duration = Duration::from_secs(7 * 86_400);
const DEFAULT_MIN_FREE_PERCENT: u8 = 10;
const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// The directory to protect; absolute.
    pub path: PathBuf,
    /// Where lock, marker, staging, quarantine and cache live; absolute, on the same file system. Either a
    /// direct child of `path` or outside it.
    pub state_dir: PathBuf,
    /// Which application's data this is; compared with the marker.
    pub identity: String,
    /// How long to wait for a lock before giving up.
    pub lock_wait: Duration,
    pub quarantine: QuarantineOptions,
    /// Directory names that do not count as data at the top of a mount point.
    pub ignorable: Vec<OsString>,
    /// Whether directories may be exchanged in one step where the file system can. Off: two renames under
    /// the journal, as on NFS.
    pub exchange: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineOptions {
    /// How long replaced data is kept.
    pub keep: Duration,
    /// The oldest quarantine goes before the file system has less free than this, but never the newest.
    pub min_free_percent: u8,
}

impl VolumeOptions {
    pub fn new(path: impl Into<PathBuf>, state_dir: impl Into<PathBuf>, identity: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            state_dir: state_dir.into(),
            identity: identity.into(),
            lock_wait: DEFAULT_LOCK_WAIT,
            quarantine: QuarantineOptions::default(),
            // What mkfs makes. Snapshot directories of file servers differ from site to site: an option.
            ignorable: vec![OsString::from("lost+found")],
            exchange: true,
        }
    }
}

impl Default for QuarantineOptions {
    fn default() -> Self {
        Self { keep: DEFAULT_KEEP, min_free_percent: DEFAULT_MIN_FREE_PERCENT }
    }
}
