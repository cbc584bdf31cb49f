//! From file-system objects to manifest entries: all but the content of files, which the caller reads.

use std::fs::File;
use std::os::fd::AsFd;

use crate::base::bytes_text::BytesText;
use crate::base::hash::Hash;
use crate::snapshot::{Entry, Kind, RelativePath};
use crate::tree::TreeError;
use crate::tree::attributes;
use crate::tree::root::{LastParent, open_name};
use crate::tree::root::{READ_FILE, Root, without_access_time};
use crate::tree::stat::FileKind;
use crate::tree::walk::Found;

/// For one thread: it keeps the last directory open, so that neighbours are reached in one call.
#[derive(Debug)]
pub struct EntryReader<'r> {
    root: &'r Root,
    parent: LastParent,
}

impl<'r> EntryReader<'r> {
    pub fn new(root: &'r Root) -> Self {
        Self { root, parent: LastParent::default() }
    }

    /// The whole entry of anything but a regular file; of that, all but hash, holes and extents, which are
    /// left empty. `hard_link` is the caller's to find out.
    pub fn entry(&mut self, found: &Found) -> Result<Entry, TreeError> {
        let path = &found.path;
        let (directory, name) = self.parent.of(self.root, path)?;
        let kind = match found.stat.kind {
            FileKind::Symlink => Kind::Symlink {
                target: BytesText(
                    rustix::fs::readlinkat(directory, name, Vec::new())
                        .map_err(|error| self.root.error("read the link", path, error))?
                        .into_bytes(),
                ),
            },
            FileKind::File => without_content(found.stat.size),
            FileKind::Directory => Kind::Directory,
            FileKind::Fifo => Kind::Fifo,
            FileKind::Socket => Kind::Socket,
            FileKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            FileKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        };
        let attributes = attributes::read_at(directory, name)
            .map_err(|error| self.root.error("read the attributes of", path, error))?;
        Ok(entry(found, kind, attributes))
    }

    /// As [`Root::open_file`]: the caller compares its [`Stat`](crate::tree::Stat) with the one found.
    pub fn open(&mut self, path: &RelativePath) -> Result<File, TreeError> {
        let (directory, name) = self.parent.of(self.root, path)?;
        without_access_time(READ_FILE, |flags| open_name(directory, name, flags))
            .map(File::from)
            .map_err(|error| self.root.error("open", path, error))
    }

    /// [`EntryReader::entry`] of a regular file that is open.
    pub fn file_entry(&self, found: &Found, file: impl AsFd) -> Result<Entry, TreeError> {
        let attributes = attributes::read(file)
            .map_err(|error| self.root.error("read the attributes of", &found.path, error))?;
        Ok(entry(found, without_content(found.stat.size), attributes))
    }
}

fn without_content(size: u64) -> Kind {
    Kind::File { size, hash: Hash([0; 32]), holes: Vec::new(), extents: Vec::new() }
}

fn entry(found: &Found, kind: Kind, attributes: Vec<crate::snapshot::Attribute>) -> Entry {
    Entry {
        path: found.path.clone(),
        kind,
        mode: found.stat.mode,
        uid: found.stat.uid,
        gid: found.stat.gid,
        mtime: found.stat.mtime,
        attributes,
        hard_link: None,
    }
}
