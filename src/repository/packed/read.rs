//! Entries with their content in walk order, for exports: one reader, each frame decoded once while files
//! share it.

use std::io::{self, Read};
use std::sync::Arc;

use crate::base::hash::Hash;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::frame::Frame;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::Segment;
use crate::repository::packed::{Packed, document, parent};
use crate::repository::{EntrySink, RepositoryError};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, Extent, Kind, SnapshotId};
use crate::tree::holes::data_between;

pub(super) fn run(
    packed: &Packed,
    id: &SnapshotId,
    selector: &Selector,
    sink: &mut EntrySink<'_>,
) -> Result<(), RepositoryError> {
    let (descriptor, objects) = packed.open()?;
    let document = document::read(&objects, &descriptor.id, id)?;
    let mut last: Option<(Frame, Arc<Vec<u8>>)> = None;
    for reference in &document.segments {
        let segment = parent::load(&objects, &Cache::default(), reference)?;
        for entry in &segment.entries {
            let on_the_way = entry.is_directory() && selector.leads(&entry.path);
            if !on_the_way && !selector.takes(&entry.path) {
                continue;
            }
            let mut content = Content::new(&objects, &segment, entry, &mut last);
            sink(entry, &mut content)?;
            if let Some(error) = content.failure {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// A decoded frame, and from where to where it is still to be read.
type Open = (Arc<Vec<u8>>, usize, usize);

/// The bytes of one file, holes as zeros. Its own errors are kept, because `io::Error` would hide their kind.
struct Content<'a> {
    objects: &'a Objects,
    frames: &'a [Frame],
    extents: std::slice::Iter<'a, Extent>,
    data: std::vec::IntoIter<(u64, u64)>,
    /// The run of data that is being read: where it is and how much is left.
    run: Option<(u64, u64)>,
    extent: Option<Open>,
    last: &'a mut Option<(Frame, Arc<Vec<u8>>)>,
    position: u64,
    size: u64,
    hasher: blake3::Hasher,
    expected: Option<Hash>,
    path: String,
    failure: Option<RepositoryError>,
}

impl<'a> Content<'a> {
    fn new(
        objects: &'a Objects,
        segment: &'a Segment,
        entry: &'a Entry,
        last: &'a mut Option<(Frame, Arc<Vec<u8>>)>,
    ) -> Self {
        let (data, expected) = match &entry.kind {
            Kind::File { size, holes, hash, .. } => (data_between(holes, *size), Some(*hash)),
            _ => (Vec::new(), None),
        };
        Self {
            objects,
            frames: &segment.frames,
            extents: entry.extents().iter(),
            data: data.into_iter(),
            run: None,
            extent: None,
            last,
            position: 0,
            size: entry.size(),
            hasher: blake3::Hasher::new(),
            expected,
            path: entry.path.to_string(),
            failure: None,
        }
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, RepositoryError> {
        if self.run.is_none_or(|(_, left)| left == 0) {
            self.run = self.data.next();
        }
        let (start, left) = self.run.unwrap_or((self.size, 0));
        if self.position < start {
            let zeros = usize::try_from(start - self.position).unwrap_or(usize::MAX).min(buffer.len());
            buffer.iter_mut().take(zeros).for_each(|byte| *byte = 0);
            return Ok(zeros);
        }
        if self.extent.as_ref().is_none_or(|(_, from, to)| from == to) {
            self.extent = self.next_extent()?;
        }
        let Some((bytes, from, to)) = &mut self.extent else { return Ok(0) };
        let count = (*to - *from).min(buffer.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        for (target, source) in buffer.iter_mut().zip(bytes.iter().skip(*from).take(count)) {
            *target = *source;
        }
        *from += count;
        self.run = Some((start + count as u64, left - count as u64));
        Ok(count)
    }

    fn next_extent(&mut self) -> Result<Option<Open>, RepositoryError> {
        let Some(extent) = self.extents.next() else { return Ok(None) };
        let Some(frame) = self.frames.get(extent.frame as usize) else { return Ok(None) };
        let bytes = match self.last.as_ref() {
            Some((same, bytes)) if same == frame => Arc::clone(bytes),
            _ => {
                let bytes = Arc::new(self.objects.frame_bytes(frame)?);
                *self.last = Some((*frame, Arc::clone(&bytes)));
                bytes
            }
        };
        let from = extent.skip as usize;
        Ok(Some((bytes, from, from + extent.length as usize)))
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.expected.is_none() {
            return Ok(0);
        }
        if self.position == self.size {
            let whole = self.expected == Some(Hash::finish(&self.hasher));
            if whole {
                return Ok(0);
            }
            self.failure = Some(RepositoryError::Content { path: self.path.clone() });
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the content does not match its hash"));
        }
        match self.step(buffer) {
            Ok(0) => {
                self.failure = Some(RepositoryError::Content { path: self.path.clone() });
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.hasher.update(buffer.get(..count).unwrap_or_default());
                self.position += count as u64;
                Ok(count)
            }
            Err(error) => {
                let reason = error.to_string();
                self.failure = Some(error);
                Err(io::Error::other(reason))
            }
        }
    }
}
