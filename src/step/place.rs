//! Puts a file into the volume at once: readers see the old one or the new one, whole. What is right already is not
//! touched. Everything is reached by handles from the volume's root, and no link is followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::error::Trouble;
use crate::base::fs::TEMPORARY_PREFIX;
use crate::base::hash::Hash;
use crate::snapshot::RelativePath;
use crate::tree::{FileKind, Root, Stat, TreeError};

const PERMISSIONS: u32 = 0o7777;
/// Of directories that are made on the way.
const DIRECTORY_MODE: u32 = 0o755;

/// A file as it is to be.
pub(super) struct Wanted<'a> {
    pub(super) to: &'a RelativePath,
    pub(super) content: &'a [u8],
    pub(super) mode: u32,
    /// `None`: whoever owns it.
    pub(super) owner: Option<(u32, u32)>,
}

impl Wanted<'_> {
    /// Whether nothing is to be done. Looks only.
    pub(super) fn is_there(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        let directory = match root.parent(self.to) {
            Ok((directory, _)) => directory,
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match Stat::at(&directory, temporary_name(self.to).as_str()) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => self.is_right(&root),
            Err(error) => Err(self.error(volume, "look beside", error).into()),
        }
    }

    /// Whether anything had to be changed. Only one may do it at a time; what one that died left is removed.
    pub(super) fn put(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        self.make_directories(&root)?;
        let parent = self.to.parent().unwrap_or_default();
        let directory = root.open_dir(&parent)?;
        let temporary = temporary_name(self.to);
        let fail = |doing| move |error: Errno| Trouble::from(self.error(volume, doing, error));
        match rustix::fs::unlinkat(&directory, temporary.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fail("remove what was left beside")(error)),
        }
        if self.is_right(&root)? {
            return Ok(false);
        }
        let written = self
            .write(&directory, &temporary)
            .map_err(|error| Trouble::from(TreeError::new("write", self.to.below(volume), error)))
            .and_then(|()| {
                rustix::fs::renameat(&directory, temporary.as_str(), &directory, self.to.name())
                    .map_err(fail("replace"))
            });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&directory, temporary.as_str(), AtFlags::empty());
        }
        written?;
        rustix::fs::fsync(&directory).map_err(fail("sync the directory of"))?;
        Ok(true)
    }

    fn is_right(&self, root: &Root) -> Result<bool, Trouble> {
        let stat = match root.stat(self.to) {
            Ok(stat) => stat,
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if stat.kind != FileKind::File {
            return Err(Trouble::NoFile { path: self.to.below(root.path()) });
        }
        let same = stat.size == self.content.len() as u64
            && stat.mode & PERMISSIONS == self.mode
            && self.owner.is_none_or(|owner| owner == (stat.uid, stat.gid));
        if !same {
            return Ok(false);
        }
        let file = File::from(root.open_file(self.to)?);
        // Another file may have taken its place.
        let fail = |error| Trouble::from(TreeError::new("read", self.to.below(root.path()), error));
        if Stat::of(&file).map_err(|error| fail(error.into()))?.kind != FileKind::File {
            return Ok(false);
        }
        let mut found = Vec::new();
        file.take(self.content.len() as u64 + 1).read_to_end(&mut found).map_err(fail)?;
        Ok(found == self.content)
    }

    /// Missing directories get their owner before they get their name: a death in between leaves none that is
    /// another's.
    fn make_directories(&self, root: &Root) -> Result<(), Trouble> {
        let mut missing = Vec::new();
        let mut at = self.to.parent().unwrap_or_default();
        while !at.is_root() {
            match root.open_dir(&at) {
                Ok(_) => break,
                Err(error) if error.is_missing() => missing.push(at.clone()),
                Err(error) => return Err(error.into()),
            }
            at = at.parent().unwrap_or_default();
        }
        for path in missing.iter().rev() {
            let parent = root.open_dir(&path.parent().unwrap_or_default())?;
            self.make_directory(&parent, path)
                .map_err(|error| TreeError::new("make the directory", path.below(root.path()), error))?;
        }
        Ok(())
    }

    fn make_directory(&self, parent: &OwnedFd, path: &RelativePath) -> std::io::Result<()> {
        let temporary = temporary_name(path);
        match rustix::fs::unlinkat(parent, temporary.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        rustix::fs::mkdirat(parent, temporary.as_str(), Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(parent, temporary.as_str(), flags, Mode::empty())?;
        self.give(&made)?;
        // A group that is inherited by what is made in the volume goes on being inherited.
        let inherited = Stat::of(&made)?.mode & 0o2000;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(DIRECTORY_MODE | inherited))?;
        rustix::fs::fsync(&made)?;
        rustix::fs::renameat(parent, temporary.as_str(), parent, path.name())?;
        Ok(rustix::fs::fsync(parent)?)
    }

    fn write(&self, directory: &OwnedFd, temporary: &str) -> std::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(directory, temporary, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(self.content)?;
        self.give(&file)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
        file.sync_all()
    }

    fn give(&self, to: impl AsFd) -> std::io::Result<()> {
        match self.owner {
            Some((uid, gid)) => {
                Ok(rustix::fs::fchown(to, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
            }
            None => Ok(()),
        }
    }

    fn error(&self, volume: &Path, doing: &'static str, error: Errno) -> TreeError {
        TreeError::new(doing, self.to.below(volume), error)
    }
}

/// Always the same for the same path, so that what a run left that died is found by the next.
fn temporary_name(path: &RelativePath) -> String {
    let hash = Hash::of(path.as_bytes()).to_hex();
    format!("{TEMPORARY_PREFIX}volkeep-{}", hash.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn wanted<'a>(to: &'a RelativePath, content: &'a str) -> Wanted<'a> {
        Wanted { to, content: content.as_bytes(), mode: 0o640, owner: None }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    #[test]
    fn what_is_right_is_not_touched_and_anything_else_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let to = path("conf/deep/rack.properties");
        let file = dir.path().join("conf/deep/rack.properties");
        assert!(!wanted(&to, "a").is_there(dir.path()).unwrap());
        assert!(wanted(&to, "a").put(dir.path()).unwrap());
        let before = std::fs::metadata(&file).unwrap();
        assert_eq!(before.mode() & 0o7777, 0o640);
        assert_eq!(std::fs::metadata(dir.path().join("conf")).unwrap().mode() & 0o7777, 0o755);
        assert!(wanted(&to, "a").is_there(dir.path()).unwrap());
        assert!(!wanted(&to, "a").put(dir.path()).unwrap());
        let after = std::fs::metadata(&file).unwrap();
        assert_eq!(
            (before.ino(), before.ctime(), before.ctime_nsec()),
            (after.ino(), after.ctime(), after.ctime_nsec())
        );
        assert!(wanted(&to, "b").put(dir.path()).unwrap());
        assert!(Wanted { mode: 0o600, ..wanted(&to, "b") }.put(dir.path()).unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"b");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_run_left_that_died_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let to = path("rack");
        wanted(&to, "a").put(dir.path()).unwrap();
        std::fs::write(dir.path().join(temporary_name(&to)), "half").unwrap();
        assert!(!wanted(&to, "a").is_there(dir.path()).unwrap());
        assert!(!wanted(&to, "a").put(dir.path()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_link_is_followed_and_nothing_but_a_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir_all(volume.join("directory")).unwrap();
        symlink(dir.path(), volume.join("out")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        symlink("../secret", volume.join("link")).unwrap();
        for (to, escape) in [("out/a", true), ("out/b/c", true), ("link", false), ("directory", false)] {
            let error = wanted(&path(to), "x").put(&volume).unwrap_err();
            match escape {
                true => assert!(matches!(error, Trouble::Tree(TreeError::Escape { .. })), "{to}: {error}"),
                false => assert!(matches!(error, Trouble::NoFile { .. }), "{to}: {error}"),
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"s");
    }
}
