//! Copies a tree within one machine, with all its metadata, its holes and its hard links. Blocks are shared where the
//! file system can, else the kernel copies, else we do. Holds no rule about what is copied, or why.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{copy_file_range, ioctl_ficlone};
use rustix::io::Errno;

use crate::base::cancel::Cancel;
use crate::snapshot::{Entry, RelativePath};
use crate::tree::TreeError;
use crate::tree::holes::{data_ranges, may_have_holes};
use crate::tree::metadata::EntryReader;
use crate::tree::problems::Aspect;
use crate::tree::root::Root;
use crate::tree::stat::{FileKind, Stat};
use crate::tree::walk::{Found, Walk, WalkOptions};
use crate::tree::write::{Cursor, FileSink, TreeWriter};

/// Between two looks at the wish to stop.
const PIECE: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;

/// Into an empty directory, whose own metadata becomes that of the root. What cannot be read is an error: a copy with
/// less in it would be none. What cannot be set is among the writer's problems. Nothing is synced. `false`: told to
/// stop.
pub fn copy(from: &Root, options: WalkOptions, to: &TreeWriter, cancel: &Cancel) -> Result<bool, TreeError> {
    Copying::new(from, to, cancel).all(options)
}

struct Copying<'c> {
    from: &'c Root,
    to: &'c TreeWriter,
    cancel: &'c Cancel,
    reader: EntryReader<'c>,
    cursor: Cursor,
    /// Directories around what is copied now: what is made in them moves their times, and may be more than their mode
    /// allows.
    unfinished: Vec<Entry>,
    /// The first name of what has several.
    linked: HashMap<(u64, u64), RelativePath>,
    can_clone: bool,
    kernel_copies: bool,
}

impl<'c> Copying<'c> {
    fn new(from: &'c Root, to: &'c TreeWriter, cancel: &'c Cancel) -> Self {
        Self {
            from,
            to,
            cancel,
            reader: EntryReader::new(from),
            cursor: to.cursor(),
            unfinished: Vec::new(),
            linked: HashMap::new(),
            can_clone: true,
            kernel_copies: true,
        }
    }

    fn all(&mut self, options: WalkOptions) -> Result<bool, TreeError> {
        for found in Walk::new(self.from, options) {
            let found = found.map_err(|problem| problem.error)?;
            self.finish_directories_before(Some(&found.path))?;
            if self.cancel.is_cancelled() || !self.one(&found)? {
                return Ok(false);
            }
        }
        self.finish_directories_before(None)?;
        Ok(true)
    }

    fn one(&mut self, found: &Found) -> Result<bool, TreeError> {
        if found.stat.is_directory() {
            if found.mount_point && !found.path.is_root() {
                let reason = "another file system is mounted here, and is not part of the copy";
                self.to.problems().add(Aspect::Entry, &found.path, reason);
            }
            self.cursor.directory(&found.path)?;
            self.unfinished.push(self.reader.entry(found)?);
            return Ok(true);
        }
        if let Some(first) = self.linked.get(&found.stat.identity()) {
            self.cursor.hard_link(first, &found.path)?;
            return Ok(true);
        }
        let whole = match found.stat.kind {
            FileKind::File => self.file(found)?,
            _ => {
                if !self.cursor.make(&self.reader.entry(found)?)? {
                    return Ok(true);
                }
                true
            }
        };
        if found.stat.links > 1 {
            self.linked.insert(found.stat.identity(), found.path.clone());
        }
        Ok(whole)
    }

    fn file(&mut self, found: &Found) -> Result<bool, TreeError> {
        let path = &found.path;
        let source = self.reader.open(path)?;
        let before = self.stat(&source, path)?;
        if before.kind != FileKind::File || before.identity() != found.stat.identity() {
            return Err(self.changed(path));
        }
        let entry = self.reader.file_entry(&Found { stat: before.clone(), ..found.clone() }, &source)?;
        let sink = self.cursor.file(path)?;
        if !self.content(&source, &sink, &before)? {
            return Ok(false);
        }
        let after = self.stat(&source, path)?;
        if (after.size, after.mtime) != (before.size, before.mtime) {
            return Err(self.changed(path));
        }
        sink.finish(&entry)?;
        Ok(true)
    }

    fn content(&mut self, source: &File, sink: &FileSink, stat: &Stat) -> Result<bool, TreeError> {
        if self.can_clone && stat.size > 0 {
            match ioctl_ficlone(sink.file(), source) {
                Ok(()) => return Ok(true),
                // Whatever the reason, there are other ways; if it was a broken disk, these say so as well.
                Err(_) => self.can_clone = false,
            }
        }
        let ranges = match may_have_holes(stat) {
            true => data_ranges(source, stat.size).map_err(|error| self.error(sink.path(), error))?,
            false => vec![(0, stat.size)],
        };
        for (offset, length) in ranges {
            if !self.range(source, sink, offset, offset.saturating_add(length))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn range(&mut self, source: &File, sink: &FileSink, mut at: u64, end: u64) -> Result<bool, TreeError> {
        while at < end {
            if self.cancel.is_cancelled() {
                return Ok(false);
            }
            let wanted = (end - at).min(PIECE);
            let copied = match self.kernel_copies {
                true => match by_kernel(source, sink.file(), at, wanted) {
                    Ok(copied) => copied,
                    Err(Errno::INTR) => continue,
                    // Full, or unreadable: another way would not help.
                    Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::FBIG)) => {
                        return Err(self.error(sink.path(), error));
                    }
                    Err(_) => {
                        self.kernel_copies = false;
                        continue;
                    }
                },
                false => self.by_hand(source, sink, at, wanted)?,
            };
            if copied == 0 {
                // The file has become shorter, which is noticed when it is looked at again.
                break;
            }
            at += copied;
        }
        Ok(true)
    }

    fn by_hand(&self, source: &File, sink: &FileSink, at: u64, wanted: u64) -> Result<u64, TreeError> {
        let mut buffer = vec![0; BUFFER.min(usize::try_from(wanted).unwrap_or(BUFFER))];
        loop {
            match source.read_at(&mut buffer, at) {
                Ok(count) => {
                    sink.write_at(at, buffer.get(..count).unwrap_or_default())?;
                    return Ok(count as u64);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.from.error("read", sink.path(), error)),
            }
        }
    }

    /// Those that `next` is not in; all of them when there is no next.
    fn finish_directories_before(&mut self, next: Option<&RelativePath>) -> Result<(), TreeError> {
        while let Some(entry) =
            self.unfinished.pop_if(|entry| next.is_none_or(|next| !next.starts_with(&entry.path)))
        {
            self.cursor.finish_directory(&entry)?;
        }
        Ok(())
    }

    fn stat(&self, file: &File, path: &RelativePath) -> Result<Stat, TreeError> {
        Stat::of(file).map_err(|error| self.from.error("stat", path, error))
    }

    fn changed(&self, path: &RelativePath) -> TreeError {
        self.from.error("copy", path, std::io::Error::other("somebody changed it meanwhile"))
    }

    fn error(&self, path: &RelativePath, error: Errno) -> TreeError {
        self.from.error("copy", path, error)
    }
}

fn by_kernel(source: &File, target: &File, at: u64, wanted: u64) -> Result<u64, Errno> {
    let (mut from, mut to) = (at, at);
    let length = usize::try_from(wanted).unwrap_or(usize::MAX);
    let copied = copy_file_range(source, Some(&mut from), target, Some(&mut to), length)?;
    Ok(copied as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::*;

    /// A file with a hole that is larger than one piece, one with two names, and a directory that nobody may write.
    fn fill(at: &Path) {
        let sparse = File::create(at.join("sparse")).unwrap();
        sparse.write_all_at(&[1; 5000], 0).unwrap();
        sparse.write_all_at(&[2; 5000], 40 << 20).unwrap();
        sparse.set_len(60 << 20).unwrap();
        std::fs::create_dir(at.join("closed")).unwrap();
        std::fs::write(at.join("closed/page"), vec![7; 3 * BUFFER + 1]).unwrap();
        std::fs::hard_link(at.join("closed/page"), at.join("other name")).unwrap();
        std::fs::set_permissions(at.join("closed"), PermissionsExt::from_mode(0o500)).unwrap();
    }

    fn copied(ways: [bool; 2], cancel: &Cancel) -> (tempfile::TempDir, bool) {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        fill(&from);
        let (from, to) = (Root::open(&from).unwrap(), TreeWriter::open(&to).unwrap());
        let mut copying = Copying::new(&from, &to, cancel);
        [copying.can_clone, copying.kernel_copies] = ways;
        let whole = copying.all(WalkOptions::default()).unwrap();
        assert_eq!(to.problems().total(), 0);
        (directory, whole)
    }

    #[test]
    fn every_way_to_copy_gives_the_same() {
        for ways in [[true, true], [false, true], [false, false]] {
            let (directory, whole) = copied(ways, &Cancel::new());
            assert!(whole);
            let of = |name: &str| {
                let path = |tree: &str| directory.path().join(tree).join(name);
                let content = |tree: &str| std::fs::read(path(tree)).unwrap();
                assert!(content("from") == content("to"), "{name} by {ways:?}");
                let metadata = |tree: &str| std::fs::metadata(path(tree)).unwrap();
                let (from, to) = (metadata("from"), metadata("to"));
                assert_eq!(
                    (from.mtime_nsec(), from.mode()),
                    (to.mtime_nsec(), to.mode()),
                    "{name} by {ways:?}"
                );
                (from, to)
            };
            let (from, to) = of("sparse");
            assert!(to.blocks() <= from.blocks() + 64, "{} blocks by {ways:?}", to.blocks());
            let (page, other) = (of("closed/page").1, of("other name").1);
            assert_eq!((page.ino(), page.nlink()), (other.ino(), 2), "{ways:?}");
            let mode = std::fs::metadata(directory.path().join("to/closed")).unwrap().mode();
            assert_eq!(mode & 0o777, 0o500);
            std::fs::set_permissions(directory.path().join("to/closed"), PermissionsExt::from_mode(0o700))
                .unwrap();
            std::fs::set_permissions(directory.path().join("from/closed"), PermissionsExt::from_mode(0o700))
                .unwrap();
        }
    }

    #[test]
    fn a_copy_that_is_told_to_stop_says_so() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(!copied([true, true], &cancel).1);
    }
}
