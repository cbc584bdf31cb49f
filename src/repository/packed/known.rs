//! Content that need not be stored again: that of this run, of the parent snapshot, and of packs which an
//! interrupted run left. Bounded: beyond the bound content is stored twice, which costs space only.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use crate::base::hash::Hash;
use crate::repository::packed::cache::{Cache, UploadedPack};
use crate::repository::packed::frame::{Frame, PackId, Piece, StoredPacks};
use crate::repository::packed::objects::Objects;
use crate::repository::packed::parent::{load, pieces};
use crate::repository::packed::segment::{Segment, SegmentRef};
use crate::snapshot::Kind;

/// About 50 bytes each.
const MOST_OF_RUN: usize = 100_000;
/// 16 bytes each.
const MOST_OF_PARENT: usize = 1_000_000;

#[derive(Debug)]
pub struct Known<'a> {
    run: RwLock<RunIndex>,
    parent: ParentIndex<'a>,
}

/// Many small files share a frame, so a piece is kept as its frame's number, skip and length.
#[derive(Debug, Default)]
struct RunIndex {
    frames: Vec<Frame>,
    pieces: HashMap<Hash, (u32, u32, u32)>,
}

impl RunIndex {
    fn find(&self, hash: &Hash) -> Option<Piece> {
        let (number, skip, length) = *self.pieces.get(hash)?;
        Some(Piece { frame: *self.frames.get(number as usize)?, skip, length })
    }

    fn add(&mut self, hash: Hash, piece: Piece) {
        if self.pieces.len() >= MOST_OF_RUN {
            return;
        }
        if self.frames.last() != Some(&piece.frame) {
            self.frames.push(piece.frame);
        }
        let number = u32::try_from(self.frames.len() - 1).unwrap_or(u32::MAX);
        self.pieces.insert(hash, (number, piece.skip, piece.length));
    }
}

impl<'a> Known<'a> {
    pub fn new(
        objects: &'a Objects,
        cache: &'a Cache,
        parent: &'a [SegmentRef],
        packs: &'a StoredPacks,
        emptied: &'a HashSet<PackId>,
    ) -> Self {
        Self {
            run: RwLock::default(),
            parent: ParentIndex {
                objects,
                cache,
                segments: parent,
                packs,
                emptied,
                rows: OnceLock::new(),
                last: Mutex::new(None),
            },
        }
    }

    /// Where content with this hash and length lies, if it does.
    pub fn find(&self, hash: &Hash, length: u32) -> Option<Piece> {
        let of_run = self.run.read().unwrap_or_else(PoisonError::into_inner).find(hash);
        of_run.or_else(|| self.parent.find(hash)).filter(|piece| piece.length == length)
    }

    pub fn add(&self, hash: Hash, piece: Piece) {
        self.run.write().unwrap_or_else(PoisonError::into_inner).add(hash, piece);
    }

    pub fn add_uploaded(&self, pack: &UploadedPack) {
        for row in &pack.frames {
            let (offset, stored, plain, hash) = (row.offset, row.stored, row.plain, row.hash);
            let frame = Frame { pack: pack.pack, offset, stored, plain, hash };
            self.add(hash, frame.whole());
            for (hash, skip, length) in &row.files {
                self.add(*hash, Piece { frame, skip: *skip, length: *length });
            }
        }
    }
}

/// Finds renamed and copied content in the parent. Built when the first new content turns up, so a run without
/// any never pays for it.
#[derive(Debug)]
struct ParentIndex<'a> {
    objects: &'a Objects,
    cache: &'a Cache,
    segments: &'a [SegmentRef],
    /// Those that are there.
    packs: &'a StoredPacks,
    /// Those that nothing new is to refer to.
    emptied: &'a HashSet<PackId>,
    rows: OnceLock<Vec<IndexRow>>,
    /// Hits come in runs, as a renamed directory does.
    last: Mutex<Option<(u32, Segment)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct IndexRow {
    prefix: u64,
    segment: u32,
    /// An entry's number, or a frame's with the highest bit set.
    number: u32,
}

const IS_FRAME: u32 = 1 << 31;

impl ParentIndex<'_> {
    fn find(&self, hash: &Hash) -> Option<Piece> {
        let rows = self.rows.get_or_init(|| self.build());
        let from = rows.partition_point(|row| row.prefix < hash.prefix());
        let mut same = rows.iter().skip(from).take_while(|row| row.prefix == hash.prefix());
        let usable =
            |piece: &Piece| self.packs.hold(&piece.frame) && !self.emptied.contains(&piece.frame.pack);
        same.find_map(|row| self.look(row, hash).filter(usable))
    }

    fn build(&self) -> Vec<IndexRow> {
        let mut rows = Vec::new();
        for (number, reference) in (0u32..).zip(self.segments) {
            // A segment that cannot be read hides what could be shared; whether that is an error is decided by
            // the merge, which reads it as well.
            let Ok(segment) = load(self.objects, self.cache, reference) else { continue };
            let frames = (0u32..).zip(&segment.frames).map(|(at, frame)| (frame.hash, at | IS_FRAME));
            let files = (0u32..).zip(&segment.entries).filter_map(|(at, entry)| match &entry.kind {
                Kind::File { hash, extents, .. } if extents.len() == 1 => Some((*hash, at)),
                _ => None,
            });
            let found = frames.chain(files).map(|(hash, at)| IndexRow {
                prefix: hash.prefix(),
                segment: number,
                number: at,
            });
            rows.extend(found.take(MOST_OF_PARENT.saturating_sub(rows.len())));
        }
        rows.sort_unstable();
        rows
    }

    fn look(&self, row: &IndexRow, wanted: &Hash) -> Option<Piece> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(number, _)| *number != row.segment) {
            let reference = self.segments.get(row.segment as usize)?;
            *last = Some((row.segment, load(self.objects, self.cache, reference).ok()?));
        }
        let (_, segment) = last.as_ref()?;
        if row.number & IS_FRAME != 0 {
            let frame = segment.frames.get((row.number & !IS_FRAME) as usize)?;
            return (frame.hash == *wanted).then(|| frame.whole());
        }
        match &segment.entries.get(row.number as usize)?.kind {
            Kind::File { hash, extents, holes, .. } if hash == wanted && holes.is_empty() => {
                pieces(extents, &segment.frames).first().copied()
            }
            _ => None,
        }
    }
}
