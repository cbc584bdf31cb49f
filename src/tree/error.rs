//! What can go wrong with a tree, told apart by what the reader of the message can do about it. Only made
//! from errno values; knows no policy.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum TreeError {
    /// Blocks, inodes and quotas alike: the kernel has one answer for the first two.
    #[error("cannot {doing} {}: the file system is full (space, inodes or quota)", path.display())]
    Full { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: the file system is read-only", path.display())]
    ReadOnly { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: permission denied", path.display())]
    Denied { doing: &'static str, path: PathBuf },
    /// A symbolic link stands where a directory was expected: following it could leave the tree.
    #[error("cannot {doing} {}: a symbolic link is in the way", path.display())]
    Escape { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: it does not exist", path.display())]
    Missing { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: it exists already", path.display())]
    Exists { doing: &'static str, path: PathBuf },
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
}

impl TreeError {
    pub(crate) fn new(doing: &'static str, path: PathBuf, error: impl Into<io::Error>) -> Self {
        let source = error.into();
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { doing, path },
            Some(Errno::ROFS) => Self::ReadOnly { doing, path },
            Some(Errno::PERM | Errno::ACCESS) => Self::Denied { doing, path },
            Some(Errno::LOOP | Errno::XDEV) => Self::Escape { doing, path },
            Some(Errno::NOENT) => Self::Missing { doing, path },
            Some(Errno::EXIST) => Self::Exists { doing, path },
            _ => Self::Io { doing, path, source },
        }
    }

    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// The same call may well succeed later without anybody's doing: nothing here is like that but an I/O
    /// error of a network file system.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(
            Errno::from_io_error(source),
            Some(Errno::IO | Errno::STALE | Errno::TIMEDOUT | Errno::AGAIN)
        ))
    }
}
