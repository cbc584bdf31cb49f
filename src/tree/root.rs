//! The directory a tree hangs from, held open. Everything below is reached from its handle, name by name or
//! by `openat2`, so that neither `..` nor a symbolic link can lead out of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::snapshot::RelativePath;
use crate::tree::TreeError;
use crate::tree::stat::{FileKind, Stat};

#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// Cleared once the kernel (too old) or a system call filter refuses `openat2`.
    has_openat2: AtomicBool,
}

/// To read a directory's names.
pub(crate) const READ_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// To reach what is in a directory; needs no permission to list it.
pub(crate) const PASS_DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `NONBLOCK`: a fifo that took the place of a file must not hang the reader.
pub(crate) const READ_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

impl Root {
    /// `path` itself may be a symbolic link to the directory.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let flags = READ_DIRECTORY.difference(OFlags::NOFOLLOW);
        let directory = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|error| TreeError::new("open", path.to_owned(), error))?;
        Ok(Self { directory, path: path.to_owned(), has_openat2: AtomicBool::new(true) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// A regular file's content is the caller's to check for: whatever is there is opened, without blocking
    /// and, where the kernel allows it, without touching its access time.
    pub fn open_file(&self, path: &RelativePath) -> Result<OwnedFd, TreeError> {
        without_access_time(READ_FILE, |flags| self.open_below(path, flags))
            .map_err(|error| self.error("open", path, error))
    }

    pub fn open_dir(&self, path: &RelativePath) -> Result<OwnedFd, TreeError> {
        without_access_time(READ_DIRECTORY, |flags| self.open_below(path, flags))
            .map_err(|error| self.error("open", path, error))
    }

    /// The directory `path` is in, good for `…at` calls only, and the name in it: `.` for the root.
    pub fn parent<'p>(&self, path: &'p RelativePath) -> Result<(OwnedFd, &'p [u8]), TreeError> {
        let parent = path.parent().unwrap_or_default();
        let directory =
            self.open_below(&parent, PASS_DIRECTORY).map_err(|error| self.error("reach", &parent, error))?;
        Ok((directory, if path.is_root() { b"." } else { path.name() }))
    }

    /// No symbolic link is followed.
    pub fn stat(&self, path: &RelativePath) -> Result<Stat, TreeError> {
        let (directory, name) = self.parent(path)?;
        Stat::at(&directory, name).map_err(|error| self.error("stat", path, error))
    }

    pub(crate) fn error(
        &self,
        doing: &'static str,
        path: &RelativePath,
        error: impl Into<std::io::Error>,
    ) -> TreeError {
        TreeError::new(doing, path.below(&self.path), error)
    }

    pub(crate) fn open_below(&self, path: &RelativePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_root() {
            return rustix::fs::openat(&self.directory, c".", flags, Mode::empty());
        }
        if self.has_openat2.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match rustix::fs::openat2(&self.directory, path.as_bytes(), flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS) => self.has_openat2.store(false, Ordering::Relaxed),
                // PERM may be a system call filter, AGAIN a race with a rename; NAMETOOLONG is a deep tree;
                // NOTDIR may be a symbolic link where a directory was asked for, which has its own error.
                Err(Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG | Errno::NOTDIR) => {}
                other => return other,
            }
        }
        self.open_by_name(path, flags)
    }

    fn open_by_name(&self, path: &RelativePath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut names = path.components().peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(name) = names.next() {
            let directory = at.as_ref().map_or(self.directory.as_fd(), AsFd::as_fd);
            let flags = if names.peek().is_some() { PASS_DIRECTORY } else { flags | OFlags::NOFOLLOW };
            let opened = open_name(directory, name, flags)?;
            at = Some(opened);
        }
        at.ok_or(Errno::NOENT)
    }
}

/// Like `openat`, but a symbolic link is `LOOP` also where a directory was asked for.
pub(crate) fn open_name(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOTDIR) if Stat::at(directory, name).is_ok_and(|stat| stat.kind == FileKind::Symlink) => {
            Err(Errno::LOOP)
        }
        other => other,
    }
}

/// Only the owner and root may leave the access time alone; for anybody else it is asked again without.
pub(crate) fn without_access_time(
    flags: OFlags,
    open: impl Fn(OFlags) -> Result<OwnedFd, Errno>,
) -> Result<OwnedFd, Errno> {
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }
}

/// The last directory something was done in: neighbours cost one `openat` together. For one thread; the
/// directories on the way must not be renamed meanwhile.
#[derive(Debug, Default)]
pub(crate) struct LastParent {
    path: RelativePath,
    directory: Option<OwnedFd>,
}

impl LastParent {
    /// As [`Root::parent`].
    pub(crate) fn of<'s, 'p>(
        &'s mut self,
        root: &'s Root,
        path: &'p RelativePath,
    ) -> Result<(BorrowedFd<'s>, &'p [u8]), TreeError> {
        let bytes = path.as_bytes();
        let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let same = self.path.as_bytes() == bytes.get(..end).unwrap_or_default();
        if !same || self.directory.is_none() {
            self.directory = None;
            self.path = path.parent().unwrap_or_default();
            self.directory = Some(
                root.open_below(&self.path, PASS_DIRECTORY)
                    .map_err(|error| root.error("reach", &self.path, error))?,
            );
        }
        let directory = self.directory.as_ref().map_or(root.fd(), AsFd::as_fd);
        Ok((directory, if path.is_root() { b"." } else { path.name() }))
    }

    pub(crate) fn forget(&mut self) {
        self.directory = None;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    #[test]
    fn no_link_leads_out_with_openat2_or_without() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("real/deep")).unwrap();
        std::fs::write(dir.path().join("secret"), b"s").unwrap();
        std::fs::write(tree.join("real/file"), b"f").unwrap();
        symlink(dir.path(), tree.join("out")).unwrap();
        symlink("real", tree.join("inside")).unwrap();
        symlink("../secret", tree.join("link")).unwrap();
        let root = Root::open(&tree).unwrap();
        for has_openat2 in [true, false] {
            root.has_openat2.store(has_openat2, Ordering::Relaxed);
            for text in ["out/secret", "inside/file", "link", "out"] {
                let error = root.open_file(&path(text)).unwrap_err();
                assert!(matches!(error, TreeError::Escape { .. }), "{text}: {error}");
            }
            for text in ["out", "inside", "inside/deep"] {
                let error = root.open_dir(&path(text)).unwrap_err();
                assert!(matches!(error, TreeError::Escape { .. }), "{text}: {error}");
            }
            assert!(root.open_dir(&path("missing/x")).unwrap_err().is_missing());
            root.open_file(&path("real/file")).unwrap();
            root.open_dir(&path("real/deep")).unwrap();
            assert_eq!(root.parent(&path("real/file")).unwrap().1, b"file");
            assert_eq!(root.stat(&path("link")).unwrap().kind, FileKind::Symlink);
            assert!(root.stat(&RelativePath::root()).unwrap().is_directory());
        }
    }

    #[test]
    fn a_fifo_does_not_hang_the_reader() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        rustix::fs::mknodat(root.fd(), "fifo", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        root.open_file(&path("fifo")).unwrap();
    }
}
