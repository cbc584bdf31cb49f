//! Whether a tree that was restored is what the manifest says: nothing missing, nothing more, every byte by its hash,
//! and the metadata. Must not know what is concluded from it.

use std::iter::Peekable;
use std::ops::ControlFlow;
use std::path::Path;

use crate::base::cancel::Cancel;
use crate::ops::OpsError;
use crate::ops::content::hash_of;
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::{Entry, Kind, RelativePath, SnapshotId};
use crate::tree::{EntryReader, Found, Root, TreeError, Walk, WalkOptions};

/// Lines of one kind that are kept; the counts go on.
const NAMED: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    pub entries: u64,
    /// Contents that were read and found right, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// What is not as the snapshot says.
    pub differences: Lines,
    /// The same, of owner, mode, time, attributes and links alone.
    pub metadata: Lines,
    /// Of those that are missing: devices and the like, which only root can make.
    pub not_made: u64,
    /// Files that this user cannot read back.
    pub closed: u64,
}

/// Some of the lines, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub named: Vec<String>,
    pub count: u64,
}

impl Lines {
    fn add(&mut self, path: &RelativePath, what: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            let path = if path.is_root() { ".".to_owned() } else { path.to_string() };
            self.named.push(format!("{path} {what}"));
        }
    }
}

/// Reads every file of the tree. Memory does not grow with it.
pub(super) fn compare(
    repository: &dyn Repository,
    id: &SnapshotId,
    tree: &Path,
    cancel: &Cancel,
) -> Result<Compared, OpsError> {
    let root = Root::open(tree).map_err(RepositoryError::from)?;
    let mut comparison = Comparison {
        root: &root,
        reader: EntryReader::new(&root),
        walk: Walk::new(&root, WalkOptions::default()).map(|found| found.map_err(|p| p.error)).peekable(),
        cancel,
        compared: Compared::default(),
        failure: None,
    };
    repository.entries(id, &mut |entry| match comparison.expect(&entry) {
        Ok(true) => ControlFlow::Continue(()),
        Ok(false) => ControlFlow::Break(()),
        Err(error) => {
            comparison.failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled.into());
    }
    if let Some(error) = comparison.failure {
        return Err(RepositoryError::from(error).into());
    }
    comparison.finish().map_err(|error| RepositoryError::from(error).into())
}

type TreeResult<T> = Result<T, TreeError>;

struct Comparison<'t, W: Iterator<Item = TreeResult<Found>>> {
    root: &'t Root,
    reader: EntryReader<'t>,
    /// In the order of the manifest.
    walk: Peekable<W>,
    cancel: &'t Cancel,
    compared: Compared,
    failure: Option<TreeError>,
}

impl<W: Iterator<Item = TreeResult<Found>>> Comparison<'_, W> {
    /// Whether to go on.
    fn expect(&mut self, entry: &Entry) -> TreeResult<bool> {
        loop {
            if self.cancel.is_cancelled() {
                return Ok(false);
            }
            let is_next = match self.walk.peek() {
                Some(Ok(found)) => found.path <= entry.path,
                Some(Err(_)) => true,
                None => false,
            };
            if !is_next {
                self.missing(entry);
                return Ok(true);
            }
            let Some(found) = self.walk.next().transpose()? else { return Ok(true) };
            if found.path == entry.path {
                self.pair(entry, &found)?;
                return Ok(true);
            }
            self.compared.differences.add(&found.path, "is not in the snapshot");
        }
    }

    fn finish(mut self) -> TreeResult<Compared> {
        while let Some(found) = self.walk.next().transpose()? {
            self.compared.differences.add(&found.path, "is not in the snapshot");
        }
        Ok(self.compared)
    }

    fn missing(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => {
                self.compared.not_made += 1;
                self.compared.metadata.add(&entry.path, "could not be made here");
            }
            _ => self.compared.differences.add(&entry.path, "is missing"),
        }
    }

    /// A plain user owns what he restored, and may not be able to read what its mode keeps from its owner.
    fn pair(&mut self, entry: &Entry, found: &Found) -> TreeResult<()> {
        self.compared.entries += 1;
        match self.content(entry, found) {
            Ok(restored) => self.metadata(entry, &restored),
            Err(TreeError::Denied { .. }) => {
                self.compared.closed += 1;
                self.compared.metadata.add(&entry.path, "cannot be read back by this user");
            }
            Err(error) => return Err(error),
        }
        self.link(entry, found)
    }

    /// What was restored, all but its content, which was compared.
    fn content(&mut self, entry: &Entry, found: &Found) -> TreeResult<Entry> {
        let restored = self.reader.entry(found)?;
        match (&entry.kind, &restored.kind) {
            (Kind::File { size, .. }, Kind::File { size: found_size, .. }) if size != found_size => {
                let what = format!("has {found_size} bytes instead of {size}");
                self.compared.differences.add(&entry.path, &what);
            }
            (Kind::File { hash, .. }, Kind::File { .. }) => {
                let file = self.reader.open(&entry.path)?;
                let read = hash_of(file, self.cancel).map_err(|source| TreeError::Io {
                    doing: "read",
                    path: entry.path.below(self.root.path()),
                    source,
                })?;
                match read {
                    // Told to stop: whoever asked for it sees that.
                    None => {}
                    Some((read, bytes)) if read == *hash => {
                        self.compared.files += 1;
                        self.compared.bytes += bytes;
                    }
                    Some(_) => {
                        self.compared.differences.add(&entry.path, "has other content than in the snapshot");
                    }
                }
            }
            (expected, restored) if expected == restored => {}
            (expected, restored) => {
                let what = match expected.word() == restored.word() {
                    true => format!("is another {}", expected.word()),
                    false => format!("is a {} instead of a {}", restored.word(), expected.word()),
                };
                self.compared.differences.add(&entry.path, &what);
            }
        }
        Ok(restored)
    }

    fn metadata(&mut self, entry: &Entry, restored: &Entry) {
        let metadata = &mut self.compared.metadata;
        if (entry.uid, entry.gid) != (restored.uid, restored.gid) {
            metadata.add(&entry.path, "has another owner");
        }
        // Those of links mean nothing.
        if entry.mode != restored.mode && !matches!(entry.kind, Kind::Symlink { .. }) {
            metadata.add(&entry.path, "has another mode");
        }
        if entry.mtime != restored.mtime {
            metadata.add(&entry.path, "has another time");
        }
        if entry.attributes != restored.attributes {
            metadata.add(&entry.path, "has other attributes");
        }
    }

    fn link(&mut self, entry: &Entry, found: &Found) -> TreeResult<()> {
        if let Some(first) = &entry.hard_link
            && self.root.stat(first)?.identity() != found.stat.identity()
        {
            self.compared.metadata.add(&entry.path, &format!("is not the same file as {first}"));
        }
        Ok(())
    }
}
