//! The tree of a commit: the data as it is, and beside it what git does not hold, in lines of text. Takes entries in
//! the order of the walk and keeps only the directories that it is in.

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::git::name;
use crate::repository::git::object::{Mode, TreeEntry, encode_tree};
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::sink::Sink;
use crate::snapshot::RelativePath;

pub const DESCRIPTOR: &[u8] = b"repository.json";
pub const MANIFEST: &[u8] = b"manifest";
/// Of what is below `.volkeep`.
pub const FORMAT: u64 = 1;
const README: &[u8] = b"README";

/// A segment of the manifest ends before a path whose hash ends in so many zero bits: about every 32nd. So a change
/// moves the ends of its own segment only, and all others are shared with the commit before.
const SEGMENT_MASK: u64 = 0x1f;
/// However the hashes fall.
const LONGEST_SEGMENT: usize = 2_000;

const README_TEXT: &str = "\
The files beside this directory are the data. What git does not hold (owners, exact modes, times, empty directories,
attributes, hard links, devices) is in the lines of the files below `manifest`: each is a JSON object for a path, with

  p path  t type  m mode  u user  g group  mt time of change  s size  h BLAKE3 of the content  o its name in git
  ho holes  to target of a link  ma, mi numbers of a device  xa attributes  hl the first of several hard links

Names that git treats specially begin with `%` here, such as `%.git`; in the manifest they are as they were.
Written by volkeep. Files may be changed by hand and committed; lines for them need no change.
";

pub struct Layout<'s, 'a> {
    sink: &'s Sink<'a>,
    open: Vec<Directory>,
    segment: Vec<u8>,
    lines: usize,
    segment_name: Vec<u8>,
    segments: Vec<TreeEntry>,
    /// Trees and what is not data.
    others: Vec<Oid>,
}

struct Directory {
    path: RelativePath,
    entries: Vec<TreeEntry>,
}

impl<'s, 'a> Layout<'s, 'a> {
    pub fn new(sink: &'s Sink<'a>) -> Self {
        Self {
            sink,
            open: vec![Directory { path: RelativePath::root(), entries: Vec::new() }],
            segment: Vec::new(),
            lines: 0,
            segment_name: Vec::new(),
            segments: Vec::new(),
            others: Vec::new(),
        }
    }

    /// `line` is the entry's in the manifest. `content` is what stands in the tree.
    pub fn push(
        &mut self,
        path: &RelativePath,
        is_directory: bool,
        content: Option<(Mode, Oid)>,
        line: &[u8],
    ) -> Result<(), RepositoryError> {
        self.line(path, line)?;
        if path.is_root() {
            return Ok(());
        }
        let parent = path.parent_bytes().unwrap_or_default();
        while self.open.last().is_some_and(|open| open.path.as_bytes() != parent && !open.path.is_root()) {
            self.close()?;
        }
        if is_directory {
            self.open.push(Directory { path: path.clone(), entries: Vec::new() });
        } else if let (Some((mode, oid)), Some(open)) = (content, self.open.last_mut()) {
            open.entries.push(TreeEntry { mode, name: name::encode(path.name()).into_owned(), oid });
        }
        Ok(())
    }

    /// The whole tree, and the names of all that is in it besides the data.
    pub fn finish(mut self, identity: &str) -> Result<(Oid, Vec<Oid>), RepositoryError> {
        while self.open.len() > 1 {
            self.close()?;
        }
        self.end_segment()?;
        let mut segments = std::mem::take(&mut self.segments);
        let manifest = self.tree(&mut segments)?;
        let own = self.own(identity, Some(manifest))?;
        let mut root = self.open.pop().map(|open| open.entries).unwrap_or_default();
        root.push(own);
        let root = self.tree(&mut root)?;
        Ok((root, self.others))
    }

    /// The directory of volkeep. Without a manifest it says only that this is a repository of `identity`.
    fn own(&mut self, identity: &str, manifest: Option<Oid>) -> Result<TreeEntry, RepositoryError> {
        let mut entries =
            vec![self.blob(DESCRIPTOR, &descriptor(identity))?, self.blob(README, README_TEXT.as_bytes())?];
        entries.extend(manifest.map(|oid| TreeEntry { mode: Mode::Tree, name: MANIFEST.to_vec(), oid }));
        let oid = self.tree(&mut entries)?;
        Ok(TreeEntry { mode: Mode::Tree, name: name::OWN.to_vec(), oid })
    }

    /// Empty directories are in the manifest only: git holds none.
    fn close(&mut self) -> Result<(), RepositoryError> {
        let Some(Directory { path, mut entries }) = self.open.pop() else { return Ok(()) };
        if entries.is_empty() {
            return Ok(());
        }
        let oid = self.tree(&mut entries)?;
        if let Some(above) = self.open.last_mut() {
            let name = name::encode(path.name()).into_owned();
            above.entries.push(TreeEntry { mode: Mode::Tree, name, oid });
        }
        Ok(())
    }

    fn line(&mut self, path: &RelativePath, line: &[u8]) -> Result<(), RepositoryError> {
        let hash = Hash::of(path.as_bytes());
        if self.lines >= LONGEST_SEGMENT || (self.lines > 0 && hash.prefix() & SEGMENT_MASK == 0) {
            self.end_segment()?;
        }
        if self.lines == 0 {
            self.segment_name = hash.to_hex().into_bytes();
            self.segment_name.truncate(16);
        }
        self.segment.extend(line);
        self.lines += 1;
        Ok(())
    }

    fn end_segment(&mut self) -> Result<(), RepositoryError> {
        if self.lines > 0 {
            let name = std::mem::take(&mut self.segment_name);
            let bytes = std::mem::take(&mut self.segment);
            let entry = self.blob(&name, &bytes)?;
            self.segments.push(entry);
            self.lines = 0;
        }
        Ok(())
    }

    fn blob(&mut self, name: &[u8], bytes: &[u8]) -> Result<TreeEntry, RepositoryError> {
        let oid = self.sink.put_own(Kind::Blob, bytes)?;
        self.others.push(oid);
        Ok(TreeEntry { mode: Mode::File, name: name.to_vec(), oid })
    }

    fn tree(&mut self, entries: &mut [TreeEntry]) -> Result<Oid, RepositoryError> {
        let oid = self.sink.put_own(Kind::Tree, &encode_tree(entries))?;
        self.others.push(oid);
        Ok(oid)
    }
}

/// The tree of a branch that has data of others, or none, and becomes a repository.
pub fn adopted(sink: &Sink<'_>, identity: &str, mut entries: Vec<TreeEntry>) -> Result<Oid, RepositoryError> {
    let mut layout = Layout::new(sink);
    entries.push(layout.own(identity, None)?);
    layout.tree(&mut entries)
}

pub fn descriptor(identity: &str) -> Vec<u8> {
    let mut text = serde_json::json!({ "format": FORMAT, "identity": identity }).to_string();
    text.push('\n');
    text.into_bytes()
}

/// The format that the descriptor of a tree names. `None`: it is no descriptor.
pub fn format_of(descriptor: &[u8]) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(descriptor).ok()?.get("format")?.as_u64()
}
