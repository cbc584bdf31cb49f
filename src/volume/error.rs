//! What can go wrong with a volume, told by whose fault it is. Nothing here is a state of the volume: an error
//! means that we could not or would not look any further.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::base::sealed::SealError;
use crate::volume::lock::Holder;

#[derive(Debug, Error)]
pub enum VolumeError {
    /// The configuration is wrong; trying again does not help.
    #[error("{0}")]
    Options(String),
    #[error("{} does not exist (is the volume mounted?)", path.display())]
    Missing { path: PathBuf },
    #[error("{} is not a directory", path.display())]
    NotADirectory { path: PathBuf },
    #[error(
        "{} is not in the same mount of the same file system as {}, so nothing can be renamed between them",
        state_dir.display(), path.display()
    )]
    OtherFileSystem { path: PathBuf, state_dir: PathBuf },
    #[error(
        "{} is a mount point of its own and cannot be renamed; put the state directory directly into it",
        path.display()
    )]
    OwnMount { path: PathBuf },
    /// Nothing has been moved yet.
    #[error("{} is a mount point inside the volume: it can be neither moved nor replaced", path.display())]
    MountInside { path: PathBuf },
    #[error("{} is on a read-only file system", path.display())]
    ReadOnly { path: PathBuf },
    /// Worth a later try.
    #[error("{} is still locked after {} s by {}", path.display(), waited.as_secs(), Holder::describe(holder.as_deref()))]
    Locked { path: PathBuf, holder: Option<Box<Holder>>, waited: Duration },
    /// For a person to judge: the data may be good.
    #[error("the marker {} is damaged: {reason}", path.display())]
    MarkerDamaged { path: PathBuf, reason: SealError },
    #[error(
        "the marker {} was written by a newer volkeep (format {found}, this one knows {known})",
        path.display()
    )]
    MarkerNewer { path: PathBuf, found: u64, known: u64 },
    /// A caller's order of steps is wrong, or somebody else has moved the volume on in between.
    #[error("the volume is in phase `{found}`, which does not allow to {wanted}")]
    Phase { found: String, wanted: &'static str },
    #[error("{} already holds data", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{} is there and not ours alone", path.display())]
    NotOurs { path: PathBuf },
    /// Nothing has been changed.
    #[error("the file system of {} cannot exchange two names in one step", path.display())]
    NoExchange { path: PathBuf },
    #[error("the restored tree {} is gone, although the journal says that it is complete", path.display())]
    StagingMissing { path: PathBuf },
    /// For a person to judge: going on could replace the wrong tree.
    #[error("the journal does not tell which of {} and {} is the restored tree", path.display(), staging.display())]
    JournalUnclear { path: PathBuf, staging: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl VolumeError {
    /// For `map_err`: `doing` completes "cannot … <path>".
    pub(crate) fn io<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |error| {
            let source = error.into();
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
                _ => Self::Io { doing, path, source },
            }
        }
    }
}
