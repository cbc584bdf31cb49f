//! What can go wrong with a repository, told apart by whose fault it is.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::repository::Absent;
use crate::snapshot::SnapshotId;
use crate::store::StoreError;
use crate::tree::TreeError;

#[derive(Debug, Error)]
pub enum RepositoryError {
    #[error("{0}")]
    Absent(Absent),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something stored is not what was written: no retry helps.
    #[error("{object} in {location} is damaged: {reason}")]
    Damaged { location: String, object: String, reason: String },
    #[error("{object} in {location} is of format {found}; this program reads up to {known}")]
    Newer { location: String, object: String, found: u64, known: u64 },
    #[error("the repository at {location} belongs to `{found}`, not to `{expected}`")]
    Identity { location: String, found: String, expected: String },
    #[error("there is no snapshot {id} in {location}")]
    NoSnapshot { location: String, id: SnapshotId },
    /// Another writer took over: what this one was about to commit would never be seen, or would hide newer data.
    #[error("another writer ({by}) has taken over {location} with epoch {epoch}; nothing was committed")]
    Fenced { location: String, by: String, epoch: u64 },
    /// What was asked for is for the volume that writes there, and must not cut it off.
    #[error("{by} holds the lease of {location} (epoch {epoch})")]
    LeaseElsewhere { location: String, by: String, epoch: u64 },
    /// As `Fenced`, in the instant of the commit; and what was committed could not be taken back.
    #[error(
        "another writer took over {location} with epoch {epoch} while snapshot {id} was committed, and it cannot be \
         withdrawn: {source}"
    )]
    NotWithdrawn { location: String, id: SnapshotId, epoch: u64, source: Box<StoreError> },
    /// The server did not take what was pushed: nothing was changed there.
    #[error("{location} did not take the push: {reason}; nothing was committed")]
    Rejected { location: String, reason: String },
    /// Files that the host will not take, found out before anything was sent. The list is cut, the count is not.
    #[error("{count} files are larger than the {limit} bytes that {location} takes: {}", files.join(", "))]
    TooLarge { location: String, limit: u64, files: Vec<String>, count: u64 },
    /// Who answers is not known to be the right one: no secret was sent.
    #[error("the ssh server {host} {trouble}; its key is {fingerprint}")]
    HostKey { host: String, trouble: HostKeyTrouble, fingerprint: String },
    /// A guard of the caller does not want this snapshot to become the newest.
    #[error("refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("{operation} {}: {source}", path.display())]
    Local { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the file {path} does not match its hash in the snapshot")]
    Content { path: String },
    #[error("stopped before it was done")]
    Cancelled,
    /// A defect of ours or a thread that could not be started.
    #[error("a worker ended early: {0}")]
    Worker(String),
}

/// What is wrong with the key of an ssh server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKeyTrouble {
    /// No line of the known hosts names it.
    Unknown,
    /// There is a line with another key.
    Changed,
    Revoked,
}

impl fmt::Display for HostKeyTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "is not among the known hosts",
            Self::Changed => "has another key than the known hosts say",
            Self::Revoked => "has a key that the known hosts revoke",
        })
    }
}

impl RepositoryError {
    pub fn local(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Local { operation, path, source }
    }

    /// Whether the same call may succeed later without anybody mending anything.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.retryable(),
            _ => false,
        }
    }

    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Content { .. })
    }
}
