//! The manifest of an earlier snapshot, read segment by segment in walk order: from the local cache where it
//! is whole, else from the store.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;

use crate::repository::RepositoryError;
use crate::repository::packed::backup::movable;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::frame::{Frame, PackId, Piece, StoredPacks};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::repository::scan::StatRow;
use crate::snapshot::{Entry, Extent, Kind, RelativePath};

/// A segment through the cache: what had to be fetched is kept there.
pub fn load(objects: &Objects, cache: &Cache, segment: &SegmentRef) -> Result<Segment, RepositoryError> {
    parse(objects, cache, segment, fetch(objects, cache, segment)?)
}

/// A segment as it is stored, not looked at yet.
#[derive(Debug)]
pub enum Stored {
    Cached(Vec<u8>),
    Fetched(Vec<u8>),
}

pub fn fetch(objects: &Objects, cache: &Cache, segment: &SegmentRef) -> Result<Stored, RepositoryError> {
    match cache.segment(segment) {
        Some(bytes) => Ok(Stored::Cached(bytes)),
        None => Ok(Stored::Fetched(objects.stored_segment(segment)?)),
    }
}

pub fn parse(
    objects: &Objects,
    cache: &Cache,
    segment: &SegmentRef,
    stored: Stored,
) -> Result<Segment, RepositoryError> {
    let fetched = match stored {
        Stored::Fetched(bytes) => bytes,
        Stored::Cached(bytes) => {
            if let Ok(lines) = objects.decode_segment(segment, &bytes)
                && let Ok(parsed) = Segment::from_lines(&lines)
            {
                return Ok(parsed);
            }
            objects.stored_segment(segment)?
        }
    };
    let lines = objects.segment_lines(segment, &fetched)?;
    // It has the hash it should have, so the bytes as they came are as good as bytes encoded anew.
    cache.keep_segment(&segment.id, &fetched);
    drop(fetched);
    objects.parse_segment(segment, &lines)
}

/// Calls `each` with one segment after another, in the order of `segments`. The next one is fetched meanwhile,
/// and held as it is stored: on a store with latency nobody waits for it.
pub fn each_segment<'s>(
    objects: &Objects,
    cache: &Cache,
    segments: impl Iterator<Item = &'s SegmentRef> + Send,
    mut each: impl FnMut(Segment) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    // Without room: one is held by whoever fetches, until it is asked for.
    let (sender, receiver) = bounded(0);
    thread::scope(|scope| {
        scope.spawn(move || {
            for segment in segments {
                let stored = fetch(objects, cache, segment);
                let last = stored.is_err();
                if sender.send((segment, stored)).is_err() || last {
                    return;
                }
            }
        });
        // Leaving drops the receiver, and whoever fetches stops after the request under way.
        for (segment, stored) in receiver {
            each(parse(objects, cache, segment, stored?)?)?;
        }
        Ok(())
    })
}

/// What the parent has at a path.
#[derive(Debug)]
pub struct Former {
    pub entry: Entry,
    /// `None` where the volume's cache does not know: then the entry proves nothing without reading.
    pub stat: Option<StatRow>,
    pub place: Place,
    /// Some of its content lies in a pack that is to be emptied, and can be stored anew.
    pub moves: bool,
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
    emptied: &'a HashSet<PackId>,
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
        emptied: &'a HashSet<PackId>,
    ) -> Self {
        Self {
            objects,
            cache,
            segments,
            packs,
            emptied,
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
                    let moves = self.moves(&entry);
                    return Ok(Some(Former { entry, stat, place, moves }));
                }
            }
        }
    }

    /// The frame table of the segment the last hit came from.
    pub fn frames(&self) -> &Arc<Vec<Frame>> {
        &self.frames
    }

    fn moves(&self, entry: &Entry) -> bool {
        let Kind::File { size, holes, extents, .. } = &entry.kind else { return false };
        let small = movable::is_small(*size, holes.is_empty());
        !self.emptied.is_empty()
            && extents.iter().any(|extent| {
                self.frames.get(extent.frame as usize).is_some_and(|frame| {
                    self.emptied.contains(&frame.pack)
                        && movable::may_move(small, frame, extent.skip, extent.length)
                })
            })
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
