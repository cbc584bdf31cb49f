//! The content of lost frames from the tree that was backed up. Nothing is believed: what is read counts only if it has
//! the hash that a manifest names. Must not know packs.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::frame::Frame;
use crate::snapshot::RelativePath;
use crate::tree::{EntryReader, FileKind, Root, Stat};

/// Where a file, as a manifest knows it, has parts of a frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub path: RelativePath,
    /// Of a file that is all in one piece: it can be told apart from all others of the frame.
    pub whole: Option<Hash>,
    /// Offset in the file, offset in the frame, length.
    pub parts: Vec<(u64, u32, u32)>,
}

/// A frame that is to be had again.
#[derive(Clone, Debug)]
pub struct WantedFrame {
    pub frame: Frame,
    pub sources: BTreeSet<Source>,
}

/// Rebuilds frames from the tree below a directory.
#[derive(Debug)]
pub struct Live(Root);

impl Live {
    pub fn open(root: &Path) -> Result<Self, RepositoryError> {
        Ok(Self(Root::open(root)?))
    }

    /// The decoded bytes, if the tree still has all of them.
    pub fn frame(&self, wanted: &WantedFrame) -> Option<Vec<u8>> {
        let mut reader = EntryReader::new(&self.0);
        let mut content = Content::new(&wanted.frame);
        // Small files share a frame. Each is known by its own hash, so those that changed since leave a gap.
        for source in wanted.sources.iter().filter(|source| source.whole.is_some()) {
            if !content.has_all(source) {
                content.add(&mut reader, source);
            }
        }
        if let Some(plain) = content.is_whole(&wanted.frame) {
            return Some(plain);
        }
        // One that is cut in chunks is known only when the frame is whole.
        wanted.sources.iter().filter(|source| source.whole.is_none()).find_map(|source| {
            let mut content = content.clone();
            content.add(&mut reader, source);
            content.is_whole(&wanted.frame)
        })
    }
}

#[derive(Clone)]
struct Content {
    plain: Vec<u8>,
    /// From, to.
    have: BTreeSet<(u32, u32)>,
}

impl Content {
    fn new(frame: &Frame) -> Self {
        Self { plain: vec![0; frame.plain as usize], have: BTreeSet::new() }
    }

    fn has_all(&self, source: &Source) -> bool {
        source
            .parts
            .iter()
            .all(|(_, skip, length)| self.have.contains(&(*skip, skip.saturating_add(*length))))
    }

    /// Leaves all as it was where the file is not what it should be.
    fn add(&mut self, reader: &mut EntryReader<'_>, source: &Source) {
        let Ok(file) = reader.open(&source.path) else { return };
        if !Stat::of(&file).is_ok_and(|stat| stat.kind == FileKind::File) {
            return;
        }
        for (offset, skip, length) in &source.parts {
            let mut bytes = vec![0; *length as usize];
            if file.read_exact_at(&mut bytes, *offset).is_err()
                || source.whole.is_some_and(|hash| Hash::of(&bytes) != hash)
            {
                return;
            }
            let (from, to) = (*skip as usize, *skip as usize + bytes.len());
            if let Some(place) = self.plain.get_mut(from..to) {
                place.copy_from_slice(&bytes);
                self.have.insert((*skip, skip.saturating_add(*length)));
            }
        }
    }

    fn is_whole(&self, frame: &Frame) -> Option<Vec<u8>> {
        let mut end = 0;
        for (from, to) in &self.have {
            if *from > end {
                return None;
            }
            end = end.max(*to);
        }
        (end == frame.plain && Hash::of(&self.plain) == frame.hash).then(|| self.plain.clone())
    }
}
