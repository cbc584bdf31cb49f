//! Writes the manifest of a new snapshot: collects entries in walk order, cuts them into segments at
//! content-defined paths, and stores each segment once the content of its last file has found its place.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use crate::base::hash::Hash;
use crate::repository::packed::cache::Cache;
use crate::repository::packed::frame::{Frame, PackId, Piece};
use crate::repository::packed::objects::{EncodedLines, Objects};
use crate::repository::packed::parent::Place;
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::repository::scan::StatRow;
use crate::repository::{Epoch, RepositoryError};
use crate::snapshot::{Entry, Extent, Kind, RelativePath};

/// Between these a segment ends at a path whose hash says so, so that an insertion moves no cut behind the
/// next one.
const FEWEST: usize = 10_000;
const MOST: usize = 25_000;
/// One path in so many may end a segment.
const CUT_ONE_IN: u64 = 6_000;

/// Where an entry waits for its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    segment: u64,
    entry: usize,
}

/// Takes a segment to be stored: its name, and its bytes as they are stored. It is stored, or the whole run
/// fails, before the snapshot is.
pub type StoreSegment<'a> = Box<dyn FnMut(Hash, Bytes) -> Result<(), RepositoryError> + 'a>;

pub struct ManifestWriter<'a> {
    objects: &'a Objects,
    cache: &'a Cache,
    parent: &'a [SegmentRef],
    /// The segments that the repository holds: an equal one is not stored again.
    present: &'a HashSet<Hash>,
    /// The directories above the last entry: an entry without its directory could not be restored.
    above: Vec<RelativePath>,
    /// `None`: nothing is to be stored.
    store: Option<StoreSegment<'a>>,
    /// The last one is being filled; those before wait for content.
    open: VecDeque<OpenSegment>,
    /// The number of the first of them.
    first: u64,
    done: Vec<SegmentRef>,
    stored_bytes: u64,
    epoch: Epoch,
}

#[derive(Debug, Default)]
struct OpenSegment {
    entries: Vec<Entry>,
    /// The places of files that vanished before they were read.
    dropped: HashSet<usize>,
    stats: Vec<StatRow>,
    frames: Vec<Frame>,
    places: HashMap<(PackId, u64), u32>,
    pending: usize,
    /// The frame numbers of one parent segment in this one's table.
    translated: Option<(usize, Vec<Option<u32>>)>,
    verbatim: Verbatim,
}

/// Whether all entries so far are, unchanged and in place, those of one segment of the parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verbatim {
    #[default]
    Empty,
    Of(usize),
    No,
}

impl<'a> ManifestWriter<'a> {
    pub fn new(
        objects: &'a Objects,
        cache: &'a Cache,
        parent: &'a [SegmentRef],
        present: &'a HashSet<Hash>,
        store: Option<StoreSegment<'a>>,
        epoch: Epoch,
    ) -> Self {
        Self {
            objects,
            cache,
            parent,
            present,
            above: Vec::new(),
            store,
            open: VecDeque::from([OpenSegment::default()]),
            first: 0,
            done: Vec::new(),
            stored_bytes: 0,
            epoch,
        }
    }

    /// An entry that is as it was in the parent, with the frame table its extents count into.
    pub fn push_unchanged(
        &mut self,
        mut entry: Entry,
        stat: StatRow,
        place: Place,
        frames: &[Frame],
    ) -> Result<(), RepositoryError> {
        let segment = self.last();
        let position = segment.entries.len();
        segment.verbatim = match segment.verbatim {
            Verbatim::Empty if place.position == 0 => Verbatim::Of(place.segment),
            Verbatim::Of(same) if same == place.segment && place.position == position => Verbatim::Of(same),
            _ => Verbatim::No,
        };
        if let Kind::File { extents, .. } = &mut entry.kind {
            segment.translate(extents, place.segment, frames);
        }
        self.push(entry, stat).map(|_| ())
    }

    /// An entry that needs no content.
    pub fn push_changed(&mut self, entry: Entry, stat: StatRow) -> Result<(), RepositoryError> {
        self.last().verbatim = Verbatim::No;
        self.push(entry, stat).map(|_| ())
    }

    /// A file whose content comes later, by [`ManifestWriter::fill`] or [`ManifestWriter::drop_entry`].
    pub fn push_pending(&mut self, path: &RelativePath) -> Result<Slot, RepositoryError> {
        let placeholder = Entry {
            path: path.clone(),
            kind: Kind::Fifo,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Default::default(),
            attributes: Vec::new(),
            hard_link: None,
        };
        let segment = self.last();
        segment.verbatim = Verbatim::No;
        segment.pending += 1;
        self.push(placeholder, StatRow::default())
    }

    /// Completes a pending file. The extents of `entry` are made from `pieces`.
    pub fn fill(
        &mut self,
        slot: Slot,
        mut entry: Entry,
        pieces: &[Piece],
        stat: StatRow,
    ) -> Result<(), RepositoryError> {
        if let Some(segment) = self.segment(slot) {
            if let Kind::File { extents, .. } = &mut entry.kind {
                *extents = pieces.iter().map(|piece| segment.extent(piece)).collect();
            }
            segment.set(slot.entry, entry, stat);
        }
        self.write_complete()
    }

    pub fn drop_entry(&mut self, slot: Slot) -> Result<(), RepositoryError> {
        if let Some(segment) = self.segment(slot) {
            segment.dropped.insert(slot.entry);
            segment.pending = segment.pending.saturating_sub(1);
        }
        self.write_complete()
    }

    /// How many finished segments wait for content.
    pub fn waiting(&self) -> usize {
        self.open.len() - 1
    }

    /// All segments in order, and the bytes stored for them.
    pub fn finish(mut self) -> Result<(Vec<SegmentRef>, u64), RepositoryError> {
        self.open.push_back(OpenSegment::default());
        self.write_complete()?;
        if self.waiting() > 0 {
            return Err(RepositoryError::Worker("the content of a file never arrived".to_owned()));
        }
        Ok((self.done, self.stored_bytes))
    }

    fn push(&mut self, entry: Entry, stat: StatRow) -> Result<Slot, RepositoryError> {
        self.check_above(&entry)?;
        let cuts = is_cut(&entry.path);
        let number = self.first + self.open.len() as u64 - 1;
        let segment = self.last();
        segment.entries.push(entry);
        segment.stats.push(stat);
        let length = segment.entries.len();
        let slot = Slot { segment: number, entry: length - 1 };
        if (length >= FEWEST && cuts) || length >= MOST {
            self.open.push_back(OpenSegment::default());
            self.write_complete()?;
        }
        Ok(slot)
    }

    fn check_above(&mut self, entry: &Entry) -> Result<(), RepositoryError> {
        while self.above.last().is_some_and(|directory| !entry.path.starts_with(directory)) {
            self.above.pop();
        }
        if self.above.last().map(RelativePath::as_bytes) != entry.path.parent_bytes() {
            return Err(RepositoryError::Worker(format!(
                "the entry {} came without its directory",
                entry.path
            )));
        }
        if entry.is_directory() {
            self.above.push(entry.path.clone());
        }
        Ok(())
    }

    fn last(&mut self) -> &mut OpenSegment {
        if self.open.is_empty() {
            self.open.push_back(OpenSegment::default());
        }
        let last = self.open.len() - 1;
        &mut self.open[last]
    }

    fn segment(&mut self, slot: Slot) -> Option<&mut OpenSegment> {
        let at = usize::try_from(slot.segment.checked_sub(self.first)?).ok()?;
        self.open.get_mut(at)
    }

    fn write_complete(&mut self) -> Result<(), RepositoryError> {
        while self.open.len() > 1 && self.open.front().is_some_and(|segment| segment.pending == 0) {
            if let Some(segment) = self.open.pop_front() {
                self.first += 1;
                self.write(segment)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, segment: OpenSegment) -> Result<(), RepositoryError> {
        if let Verbatim::Of(number) = segment.verbatim
            && let Some(same) = self.parent.get(number)
            && same.entries == segment.entries.len() as u64
            && self.present.contains(&same.id)
        {
            self.done.push(same.clone());
            return Ok(());
        }
        let (stats, segment) = segment.finish();
        if segment.entries.is_empty() {
            return Ok(());
        }
        segment
            .check()
            .map_err(|why| RepositoryError::Worker(format!("a manifest nobody could read: {why}")))?;
        let entries = segment.entries.len() as u64;
        let EncodedLines { id, size, stored } = self.objects.encode_segment(segment, self.epoch)?;
        let reference = SegmentRef { id, entries, size };
        if let Some(store) = &mut self.store {
            let (present, cached) =
                (self.present.contains(&reference.id), self.cache.segment(&reference).is_some());
            if !present || !cached {
                let stored = Bytes::from(stored);
                if !cached {
                    self.cache.keep_segment(&reference.id, &stored);
                }
                if !present {
                    self.stored_bytes += stored.len() as u64;
                    store(reference.id, stored)?;
                }
            }
            self.cache.keep_stats(&reference.id, &stats);
        }
        self.done.push(reference);
        Ok(())
    }
}

impl OpenSegment {
    fn set(&mut self, at: usize, entry: Entry, stat: StatRow) {
        if let (Some(place), Some(row)) = (self.entries.get_mut(at), self.stats.get_mut(at)) {
            *place = entry;
            *row = stat;
            self.pending = self.pending.saturating_sub(1);
        }
    }

    fn extent(&mut self, piece: &Piece) -> Extent {
        Extent { frame: self.number(&piece.frame), skip: piece.skip, length: piece.length }
    }

    fn number(&mut self, frame: &Frame) -> u32 {
        *self.places.entry((frame.pack, frame.offset)).or_insert_with(|| {
            self.frames.push(*frame);
            u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn translate(&mut self, extents: &mut [Extent], parent: usize, table: &[Frame]) {
        let mut numbers = match self.translated.take() {
            Some((same, numbers)) if same == parent => numbers,
            _ => vec![None; table.len()],
        };
        for extent in extents {
            let at = extent.frame as usize;
            if let (Some(number), Some(frame)) = (numbers.get_mut(at), table.get(at)) {
                extent.frame = *number.get_or_insert_with(|| self.number(frame));
            }
        }
        self.translated = Some((parent, numbers));
    }

    /// Frames are numbered by first use, whatever order their content arrived in: the same entries always
    /// make the same bytes, and so the same segment.
    fn finish(self) -> (Vec<StatRow>, Segment) {
        let Self { mut entries, mut stats, frames: table, dropped, .. } = self;
        if !dropped.is_empty() {
            let mut at = 0..entries.len();
            entries.retain(|_| at.next().is_some_and(|at| !dropped.contains(&at)));
            let mut at = 0..stats.len();
            stats.retain(|_| at.next().is_some_and(|at| !dropped.contains(&at)));
        }
        let mut frames = Vec::with_capacity(table.len());
        let mut numbers: Vec<Option<u32>> = vec![None; table.len()];
        for entry in &mut entries {
            let Kind::File { extents, .. } = &mut entry.kind else { continue };
            for extent in extents {
                let at = extent.frame as usize;
                if let (Some(number), Some(frame)) = (numbers.get_mut(at), table.get(at)) {
                    extent.frame = *number.get_or_insert_with(|| {
                        frames.push(*frame);
                        u32::try_from(frames.len() - 1).unwrap_or(u32::MAX)
                    });
                }
            }
        }
        (stats, Segment { frames, entries })
    }
}

/// FNV-1a: the same on every machine and in every version, which a cut must be.
fn is_cut(path: &RelativePath) -> bool {
    let hash = path
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    // The low bits of FNV-1a are its weak ones.
    (hash >> 32) % CUT_ONE_IN == 0
}
