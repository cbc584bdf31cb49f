//! The manifest of an earlier snapshot, read segment by segment in walk order: from the local cache where it
//! is whole, else from the store.

use std::sync::Arc;

use crate::repository::RepositoryError;
use crate::repository::packed::cache::{Cache, StatRow};
use crate::repository::packed::frame::{Frame, Piece, StoredPacks};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::snapshot::{Entry, Extent, RelativePath};

/// A segment through the cache: what had to be fetched is kept there.
pub fn load(objects: &Objects, cache: &Cache, segment: &SegmentRef) -> Result<Segment, RepositoryError> {
    if let Some(stored) = cache.segment(segment)
        && let Ok(lines) = objects.decode_segment(segment, &stored)
        && let Ok(parsed) = Segment::from_lines(&lines)
    {
        return Ok(parsed);
    }
    let lines = objects.segment_lines(segment)?;
    let parsed = objects.parse_segment(segment, &lines)?;
    cache.keep_segment(&segment.id, &objects.encode(&lines)?);
    Ok(parsed)
}

/// What the parent has at a path.
#[derive(Debug)]
pub struct Former {
    pub entry: Entry,
    /// `None` where the volume's cache does not know: then the entry proves nothing without reading.
    pub stat: Option<StatRow>,
    pub place: Place,
}

/// Where an entry stands in the parent, so that an unchanged run of them is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Counts the parent's segments.
    pub segment: usize,
    pub position: usize,
}

/// A merge partner: paths must be asked for in rising order.
#[derive(Debug)]
pub struct ParentReader<'a> {
    objects: &'a Objects,
    cache: &'a Cache,
    segments: &'a [SegmentRef],
    /// Those that are there: content in any other is as good as changed.
    packs: &'a StoredPacks,
    next: usize,
    entries: std::iter::Enumerate<std::vec::IntoIter<Entry>>,
    waiting: Option<(usize, Entry)>,
    stats: Option<Vec<StatRow>>,
    frames: Arc<Vec<Frame>>,
}

impl<'a> ParentReader<'a> {
    pub fn new(
        objects: &'a Objects,
        cache: &'a Cache,
        segments: &'a [SegmentRef],
        packs: &'a StoredPacks,
    ) -> Self {
        Self {
            objects,
            cache,
            segments,
            packs,
            next: 0,
            entries: Vec::new().into_iter().enumerate(),
            waiting: None,
            stats: None,
            frames: Arc::default(),
        }
    }

    pub fn find(&mut self, path: &RelativePath) -> Result<Option<Former>, RepositoryError> {
        loop {
            let Some((position, entry)) = self.waiting.take().or_else(|| self.entries.next()) else {
                if self.advance()? {
                    continue;
                }
                return Ok(None);
            };
            match entry.path.cmp(path) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Greater => {
                    self.waiting = Some((position, entry));
                    return Ok(None);
                }
                std::cmp::Ordering::Equal => {
                    let stored = entry.extents().iter().all(|extent| {
                        self.frames.get(extent.frame as usize).is_some_and(|f| self.packs.hold(f))
                    });
                    if !stored {
                        return Ok(None);
                    }
                    let stat = self.stats.as_ref().and_then(|rows| rows.get(position)).copied();
                    let place = Place { segment: self.next - 1, position };
                    return Ok(Some(Former { entry, stat, place }));
                }
            }
        }
    }

    /// The frame table of the segment the last hit came from.
    pub fn frames(&self) -> &Arc<Vec<Frame>> {
        &self.frames
    }

    fn advance(&mut self) -> Result<bool, RepositoryError> {
        let Some(reference) = self.segments.get(self.next) else { return Ok(false) };
        self.next += 1;
        let segment = match load(self.objects, self.cache, reference) {
            Err(error) if error.is_damage() => {
                // Its files count as new: they are read and stored again, which is what they need.
                tracing::warn!(%error, "a part of the last snapshot cannot be used");
                Segment::default()
            }
            other => other?,
        };
        self.stats = self.cache.stats(reference);
        self.frames = Arc::new(segment.frames);
        self.entries = segment.entries.into_iter().enumerate();
        Ok(true)
    }
}

/// The pieces that extents stand for. Extents were checked against their table when the segment was read.
pub fn pieces(extents: &[Extent], frames: &[Frame]) -> Vec<Piece> {
    extents
        .iter()
        .filter_map(|extent| {
            let frame = *frames.get(extent.frame as usize)?;
            Some(Piece { frame, skip: extent.skip, length: extent.length })
        })
        .collect()
}
