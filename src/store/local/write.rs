//! The writing half of the local store: durable directories, and files that are created but never replaced.
//! Knows paths, no keys.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::{Errno, retry_on_intr};

use super::{DIRECTORY_MODE, FILE_MODE};
use crate::base::fs::{metadata_if_present, remove_if_present, sync_parent, temporary_beside, write_synced};
use crate::store::Put;

/// Makes `path` unless it is there; in both cases its name survives a power cut. The parent must exist.
pub(super) fn ensure_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) if !std::fs::metadata(path)?.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
        _ => {}
    }
    sync_parent(path)
}

/// As `ensure_directory`, with all parents.
pub(super) fn ensure_directories(path: &Path) -> io::Result<()> {
    match ensure_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).ok_or(error)?;
            ensure_directories(parent)?;
            ensure_directory(path)
        }
        done => done,
    }
}

/// Writes `bytes` as `path` unless something is there. Of many racing writers one is told `Created`; readers
/// never see a part. `root` is where writers meet on file systems that offer nothing better.
pub(super) fn write_if_absent(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<Put> {
    // Saves the writing only; what decides comes at the end.
    if metadata_if_present(path)?.is_some() {
        // Whoever created it may not have come to this, and we are about to rely on it.
        sync_parent(path)?;
        return Ok(Put::Exists);
    }
    let temporary = temporary_beside(path)?;
    let placed = write_synced(&temporary, bytes, FILE_MODE).and_then(|()| place(root, &temporary, path));
    if !matches!(placed, Ok(Placed::Moved)) {
        // Left over it does no harm, and is swept later.
        let _ = remove_if_present(&temporary);
    }
    let placed = placed?;
    sync_parent(path)?;
    Ok(if placed == Placed::Lost { Put::Exists } else { Put::Created })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// The temporary name is gone.
    Moved,
    /// The file has both names.
    Linked,
    /// Somebody else was first.
    Lost,
}

/// Tries the ways from the best to the last; each says `None` where the file system does not offer it.
fn place(root: &Path, temporary: &Path, path: &Path) -> io::Result<Placed> {
    if let Some(placed) = rename_new(temporary, path)? {
        return Ok(placed);
    }
    if let Some(placed) = link_new(temporary, path)? {
        return Ok(placed);
    }
    rename_locked(root, temporary, path)
}

pub(super) fn rename_new(temporary: &Path, path: &Path) -> io::Result<Option<Placed>> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Some(Placed::Moved)),
        Err(Errno::EXIST) => Ok(Some(Placed::Lost)),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn link_new(temporary: &Path, path: &Path) -> io::Result<Option<Placed>> {
    let Err(error) = std::fs::hard_link(temporary, path) else {
        return Ok(Some(Placed::Linked));
    };
    match Errno::from_io_error(&error) {
        // A network file system may have lost the answer and asked again: then the existing file is ours.
        Some(Errno::EXIST) if std::fs::symlink_metadata(temporary)?.nlink() > 1 => Ok(Some(Placed::Linked)),
        Some(Errno::EXIST) => Ok(Some(Placed::Lost)),
        Some(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK) => Ok(None),
        _ => Err(error),
    }
}

/// Writers take turns by a lock on the root, which ends with its holder. Where even locks are missing this
/// fails: better than two writers who both believe they were first.
pub(super) fn rename_locked(root: &Path, temporary: &Path, path: &Path) -> io::Result<Placed> {
    let Some(_turn) = turn(root)? else { return Err(Errno::OPNOTSUPP.into()) };
    if metadata_if_present(path)?.is_some() {
        return Ok(Placed::Lost);
    }
    std::fs::rename(temporary, path)?;
    Ok(Placed::Moved)
}

/// Waits until no other writer has the lock on `root`; `None` where the file system has no locks.
pub(super) fn turn(root: &Path) -> io::Result<Option<File>> {
    let turn = File::open(root)?;
    match retry_on_intr(|| flock(&turn, FlockOperation::LockExclusive)) {
        Ok(()) => Ok(Some(turn)),
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
