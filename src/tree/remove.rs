//! Removes a tree by handles: no name is looked up twice by its path, so nothing outside can be hit, however
//! deep the tree and whoever renames in it meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::snapshot::RelativePath;
use crate::tree::TreeError;
use crate::tree::apply::handle_path;
use crate::tree::root::{PASS_DIRECTORY, READ_DIRECTORY, Root, open_name};
use crate::tree::stat::Stat;

const OPEN_LEVELS: usize = 64;
const READ_BUFFER: usize = 32 << 10;
const OWNER_ALL: u32 = 0o700;

struct Level {
    /// In the level above; empty for the first, which is not removed here.
    name: Vec<u8>,
    identity: (u64, u64),
    directory: Option<OwnedFd>,
    /// Subdirectories still to be removed.
    below: Vec<Vec<u8>>,
}

pub(crate) fn remove_tree(root: &Root, path: &RelativePath) -> Result<(), TreeError> {
    let failed = |error| root.error("remove", path, error);
    if path.is_root() {
        return empty(root.open_dir(path)?).map_err(failed);
    }
    let (parent, name) = match root.parent(path) {
        Err(error) if error.is_missing() => return Ok(()),
        other => other?,
    };
    match unlink(parent.as_fd(), name) {
        Ok(Unlinked::Gone) => return Ok(()),
        Ok(Unlinked::Directory) => {}
        Err(error) => return Err(failed(error)),
    }
    let directory = enter(parent.as_fd(), name).map_err(failed)?;
    empty(directory).and_then(|()| remove_directory(parent.as_fd(), name)).map_err(failed)
}

/// Removes all that is in `directory`.
fn empty(directory: OwnedFd) -> Result<(), Errno> {
    let mut levels = vec![level(Vec::new(), directory)?];
    while let Some(top) = levels.last_mut() {
        let directory = top.directory.as_ref().ok_or(Errno::STALE)?;
        if let Some(name) = top.below.pop() {
            let entered = match enter(directory.as_fd(), &name) {
                Ok(entered) => entered,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            levels.push(level(name, entered)?);
            if let Some(far) = levels.len().checked_sub(OPEN_LEVELS + 1)
                && let Some(level) = levels.get_mut(far)
            {
                level.directory = None;
            }
            continue;
        }
        let Some(done) = levels.pop() else { break };
        let Some(above) = levels.last_mut() else { break };
        if above.directory.is_none() {
            let child = done.directory.as_ref().ok_or(Errno::STALE)?;
            let reopened = open_name(child.as_fd(), b"..", READ_DIRECTORY)?;
            // Somebody moved the child: what is above it now is not ours to empty.
            if Stat::of(&reopened)?.identity() != above.identity {
                return Err(Errno::STALE);
            }
            above.directory = Some(reopened);
        }
        let directory = above.directory.as_ref().ok_or(Errno::STALE)?;
        remove_directory(directory.as_fd(), &done.name)?;
    }
    Ok(())
}

/// Removes what is not a directory at once.
fn level(name: Vec<u8>, directory: OwnedFd) -> Result<Level, Errno> {
    let identity = Stat::of(&directory)?.identity();
    let mut below = Vec::new();
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); READ_BUFFER];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && unlink(directory.as_fd(), name)? == Unlinked::Directory {
            below.push(name.to_vec());
        }
    }
    Ok(Level { name, identity, directory: Some(directory), below })
}

#[derive(PartialEq, Eq)]
enum Unlinked {
    Gone,
    Directory,
}

fn unlink(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Unlinked, Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::ISDIR) => Ok(Unlinked::Directory),
        // What POSIX has for "is a directory" is also what an immutable file gets.
        Err(Errno::PERM) if Stat::at(directory, name)?.is_directory() => Ok(Unlinked::Directory),
        Err(error) => Err(error),
    }
}

fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// A directory its owner may not list or change is opened up first: it is going away.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    if !rustix::process::geteuid().is_root() {
        let handle = open_name(parent, name, PASS_DIRECTORY)?;
        let mode = Stat::of(&handle)?.mode;
        if mode & OWNER_ALL != OWNER_ALL {
            // Refused if it is not ours; then opening it says so.
            let _ = rustix::fs::chmod(handle_path(handle.as_fd()), Mode::from_raw_mode(mode | OWNER_ALL));
        }
    }
    open_name(parent, name, READ_DIRECTORY | OFlags::CLOEXEC)
}
