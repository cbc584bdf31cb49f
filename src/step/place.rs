//! Puts a file into the volume at once: readers see the old one or the new one, whole. What is right already is not
//! touched. Everything is reached by handles from the volume's root, and no link is followed.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

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

/// Where a file is to be, and whose it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) to: &'a RelativePath,
    pub(super) mode: u32,
    /// `None`: whoever owns it.
    pub(super) owner: Option<(u32, u32)>,
}

/// A file as it is to be.
pub(super) struct Wanted<'a> {
    pub(super) place: Place<'a>,
    pub(super) content: &'a [u8],
}

/// A file on its way, under another name.
pub(super) struct Draft<'a> {
    place: Place<'a>,
    directory: OwnedFd,
    temporary: String,
    volume: PathBuf,
}

impl Wanted<'_> {
    /// Whether nothing is to be done. Looks only.
    pub(super) fn is_there(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        let directory = match root.parent(self.place.to) {
            Ok((directory, _)) => directory,
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        match Stat::at(&directory, temporary_name(self.place.to).as_str()) {
            Ok(_) => Ok(false),
            Err(Errno::NOENT) => self.is_right(&root),
            Err(error) => Err(self.place.error(volume, "look beside", error).into()),
        }
    }

    /// Whether anything had to be changed. Only one may do it at a time; what one that died left is removed.
    pub(super) fn put(&self, volume: &Path) -> Result<bool, Trouble> {
        let root = Root::open(volume)?;
        let draft = self.place.draft(&root)?;
        if self.is_right(&root)? {
            return Ok(false);
        }
        let mut file = draft.open()?;
        let written = file.write_all(self.content).map_err(|error| draft.failed("write", error));
        draft.finish(written.map(|()| file))?;
        Ok(true)
    }

    fn is_right(&self, root: &Root) -> Result<bool, Trouble> {
        match self.place.stat(root)? {
            Some(stat) if stat.size == self.content.len() as u64 && self.place.fits(&stat) => {}
            _ => return Ok(false),
        }
        let Some(file) = self.place.open(root)? else { return Ok(false) };
        let mut found = Vec::new();
        let read = file.take(self.content.len() as u64 + 1).read_to_end(&mut found);
        read.map_err(|error| TreeError::new("read", self.place.to.below(root.path()), error))?;
        Ok(found == self.content)
    }
}

impl<'a> Place<'a> {
    /// Of the file that is there; anything else of that name is an error.
    pub(super) fn stat(&self, root: &Root) -> Result<Option<Stat>, Trouble> {
        match root.stat(self.to) {
            Ok(stat) if stat.kind == FileKind::File => Ok(Some(stat)),
            Ok(_) => Err(Trouble::NoFile { path: self.to.below(root.path()) }),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Mode and owner.
    pub(super) fn fits(&self, stat: &Stat) -> bool {
        stat.mode & PERMISSIONS == self.mode && self.owner.is_none_or(|owner| owner == (stat.uid, stat.gid))
    }

    /// `None`: something else has taken its place meanwhile.
    pub(super) fn open(&self, root: &Root) -> Result<Option<File>, Trouble> {
        let file = File::from(root.open_file(self.to)?);
        let stat = Stat::of(&file).map_err(|error| self.error(root.path(), "read", error))?;
        Ok((stat.kind == FileKind::File).then_some(file))
    }

    /// Makes what is missing on the way, and removes what one that died left. Only one may do it at a time.
    pub(super) fn draft(self, root: &Root) -> Result<Draft<'a>, Trouble> {
        self.make_directories(root)?;
        let directory = root.open_dir(&self.to.parent().unwrap_or_default())?;
        let temporary = temporary_name(self.to);
        match rustix::fs::unlinkat(&directory, temporary.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(self.error(root.path(), "remove what was left beside", error).into()),
        }
        Ok(Draft { place: self, directory, temporary, volume: root.path().to_owned() })
    }

    /// Missing directories get their owner before they get their name: a death in between leaves none that is
    /// another's.
    pub(super) fn make_directories(&self, root: &Root) -> Result<(), Trouble> {
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

impl Draft<'_> {
    pub(super) fn open(&self) -> Result<File, Trouble> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, self.temporary.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|error| self.failed("write", error.into()))
    }

    /// Makes it the file that readers see, or, if it did not become whole, removes it.
    pub(super) fn finish(&self, written: Result<File, Trouble>) -> Result<(), Trouble> {
        let placed = written.and_then(|file| self.place(file));
        if placed.is_err() {
            self.abandon();
        }
        placed?;
        rustix::fs::fsync(&self.directory).map_err(|error| self.failed("sync the directory of", error.into()))
    }

    pub(super) fn abandon(&self) {
        // If it stays, the next run removes it.
        let _ = rustix::fs::unlinkat(&self.directory, self.temporary.as_str(), AtFlags::empty());
    }

    fn place(&self, file: File) -> Result<(), Trouble> {
        let complete = || -> std::io::Result<()> {
            self.place.give(&file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(self.place.mode))?;
            file.sync_all()
        };
        complete().map_err(|error| self.failed("write", error))?;
        let (directory, name) = (&self.directory, self.place.to.name());
        rustix::fs::renameat(directory, self.temporary.as_str(), directory, name)
            .map_err(|error| self.failed("replace", error.into()))
    }

    pub(super) fn failed(&self, doing: &'static str, error: std::io::Error) -> Trouble {
        TreeError::new(doing, self.place.to.below(&self.volume), error).into()
    }
}

/// Always the same for the same path, so that what a run left that died is found by the next.
pub(super) fn temporary_name(path: &RelativePath) -> String {
    let hash = Hash::of(path.as_bytes()).to_hex();
    format!("{TEMPORARY_PREFIX}volkeep-{}", hash.get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn wanted<'a>(to: &'a RelativePath, content: &'a str) -> Wanted<'a> {
        Wanted { place: Place { to, mode: 0o640, owner: None }, content: content.as_bytes() }
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
        let place = Place { to: &to, mode: 0o600, owner: None };
        assert!(Wanted { place, content: b"b" }.put(dir.path()).unwrap());
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
