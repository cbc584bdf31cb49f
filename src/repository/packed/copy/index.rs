//! Content that the target has, by the hash of its frames. Small in memory, because it only remembers in which
//! segment or pack a frame is named; that is read again to be sure. Bounded: beyond the bound content is stored
//! twice, which costs space only.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::frame::{Frame, PackId, StoredPacks};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::segment::{Segment, SegmentRef};

/// About 20 bytes each: frames of about a TiB.
const MOST_ROWS: usize = 900_000;
/// Tables kept after use. Hits come in runs, as the walk goes.
const RECENT: usize = 4;

#[derive(Debug)]
pub struct Index<'a> {
    objects: &'a Objects,
    packs: StoredPacks,
    tables: Vec<Table>,
    /// From the beginning of a hash to a table and the frame's number in it. The latest table counts: it is where
    /// the frames around are named as well.
    rows: HashMap<u64, (u32, u32)>,
    recent: VecDeque<(u32, Arc<Vec<Frame>>)>,
    /// Placed in packs that are not safe yet.
    fresh: HashMap<Hash, Frame>,
    /// Segments of the target that were looked at, and whether all they need is there.
    looked_at: HashMap<Hash, bool>,
    /// Those to take in when the first content is asked for: a run that finds all segments never pays for it.
    pending: Vec<SegmentRef>,
}

#[derive(Clone, Debug)]
enum Table {
    Segment(SegmentRef),
    Pack(PackId),
}

impl<'a> Index<'a> {
    pub fn new(objects: &'a Objects, packs: StoredPacks) -> Self {
        Self {
            objects,
            packs,
            tables: Vec::new(),
            rows: HashMap::new(),
            recent: VecDeque::new(),
            fresh: HashMap::new(),
            looked_at: HashMap::new(),
            pending: Vec::new(),
        }
    }

    /// Segments of the target that probably name what will be asked for.
    pub fn expect(&mut self, segments: &[SegmentRef]) {
        self.pending.extend_from_slice(segments);
    }

    /// Takes in a segment of the target. Returns whether all the content it names is there.
    pub fn look_at(&mut self, segment: &SegmentRef) -> Result<bool, RepositoryError> {
        if let Some(whole) = self.looked_at.get(&segment.id) {
            return Ok(*whole);
        }
        let frames = usable(frames_of(self.objects, segment))?;
        let whole = frames.as_ref().is_some_and(|frames| frames.iter().all(|frame| self.packs.hold(frame)));
        if let Some(frames) = frames {
            self.add(Table::Segment(segment.clone()), Arc::new(frames));
        }
        self.looked_at.insert(segment.id, whole);
        Ok(whole)
    }

    /// A segment that this run wrote. The content it names may still be on its way.
    pub fn add_segment(&mut self, segment: &SegmentRef, frames: Vec<Frame>) {
        self.add(Table::Segment(segment.clone()), Arc::new(frames));
    }

    /// All content of a segment that this run wrote has arrived.
    pub fn trust(&mut self, segment: &SegmentRef) {
        self.looked_at.insert(segment.id, true);
    }

    /// A pack that is safe in the target.
    pub fn add_pack(&mut self, pack: PackId, size: u64, frames: &[Frame]) {
        self.packs.extend([(pack, size)]);
        for frame in frames {
            self.fresh.remove(&frame.hash);
        }
        self.add(Table::Pack(pack), Arc::new(frames.to_vec()));
    }

    /// A frame in a pack on its way.
    pub fn add_fresh(&mut self, frame: Frame) {
        self.fresh.insert(frame.hash, frame);
    }

    /// What was on its way and did not arrive is not there.
    pub fn forget_fresh(&mut self) {
        self.fresh.clear();
    }

    /// Where the content with this hash and length lies as a frame of its own, if it does.
    pub fn find(&mut self, hash: &Hash, plain: u32) -> Result<Option<Frame>, RepositoryError> {
        let found = match self.fresh.get(hash) {
            Some(frame) => Some(*frame),
            None => self.find_stored(hash)?.filter(|frame| self.packs.hold(frame)),
        };
        Ok(found.filter(|frame| frame.plain == plain))
    }

    fn find_stored(&mut self, hash: &Hash) -> Result<Option<Frame>, RepositoryError> {
        for segment in std::mem::take(&mut self.pending) {
            self.look_at(&segment)?;
        }
        let Some((table, number)) = self.rows.get(&hash.prefix()).copied() else { return Ok(None) };
        let frames = match self.recent.iter().find(|(known, _)| *known == table) {
            Some((_, frames)) => Arc::clone(frames),
            None => {
                let loaded = match self.tables.get(table as usize) {
                    Some(Table::Segment(segment)) => usable(frames_of(self.objects, segment))?,
                    Some(Table::Pack(pack)) => usable(self.objects.table(*pack))?.map(|(frames, _)| frames),
                    None => None,
                };
                // One that became unreadable is remembered as empty, or each frame would ask again.
                let frames = Arc::new(loaded.unwrap_or_default());
                self.keep(table, Arc::clone(&frames));
                frames
            }
        };
        Ok(frames.get(number as usize).filter(|frame| frame.hash == *hash).copied())
    }

    fn add(&mut self, table: Table, frames: Arc<Vec<Frame>>) {
        let number = u32::try_from(self.tables.len()).unwrap_or(u32::MAX);
        self.tables.push(table);
        for (at, frame) in (0u32..).zip(frames.iter()) {
            if self.rows.len() < MOST_ROWS || self.rows.contains_key(&frame.hash.prefix()) {
                self.rows.insert(frame.hash.prefix(), (number, at));
            }
        }
        self.keep(number, frames);
    }

    fn keep(&mut self, table: u32, frames: Arc<Vec<Frame>>) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((table, frames));
    }
}

/// The verified lines of a segment.
pub fn lines_of(objects: &Objects, segment: &SegmentRef) -> Result<Vec<u8>, RepositoryError> {
    objects.segment_lines(segment, &objects.stored_segment(segment)?)
}

pub fn frames_of(objects: &Objects, segment: &SegmentRef) -> Result<Vec<Frame>, RepositoryError> {
    Segment::frames_of(&lines_of(objects, segment)?)
        .map_err(|reason| objects.damaged(format!("{}/{}", keys::SEGMENTS, segment.id), reason))
}

/// Damage in the target hides what could be shared, and stops nothing: what is needed is stored anew.
fn usable<T>(read: Result<T, RepositoryError>) -> Result<Option<T>, RepositoryError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_damage() => {
            tracing::warn!(%error, "this part of the target cannot be used");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
