//! Which bytes of which packs a segment's files need, in requests of a good size. Pure.

use std::collections::HashMap;

use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::segment::Segment;
use crate::snapshot::Kind;
use crate::tree::holes::data_between;

/// Where a piece of a decoded frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The entry's number in its segment.
    pub entry: usize,
    pub file_offset: u64,
    pub skip: u32,
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameUse {
    pub frame: Frame,
    pub uses: Vec<Use>,
}

/// One request: neighbouring frames of one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub pack: PackId,
    pub offset: u64,
    pub length: u64,
    pub frames: Vec<FrameUse>,
}

/// Bytes that nobody needs but that are cheaper to fetch than to skip by another request.
const GAP: u64 = 128 << 10;

/// The requests for the content of the entries `wanted`, none longer than `longest` unless one frame is.
pub fn ranges(segment: &Segment, wanted: impl Iterator<Item = usize>, longest: u64) -> Vec<Range> {
    let mut uses: HashMap<u32, Vec<Use>> = HashMap::new();
    for entry in wanted {
        for (frame, piece) in placed(segment, entry) {
            uses.entry(frame).or_default().push(piece);
        }
    }
    let mut frames: Vec<FrameUse> = uses
        .into_iter()
        .filter_map(|(number, uses)| Some(FrameUse { frame: *segment.frames.get(number as usize)?, uses }))
        .collect();
    // In the order of the packs' first use, which is that of the walk, then by place.
    let mut order: HashMap<PackId, usize> = HashMap::new();
    for frame in &segment.frames {
        let next = order.len();
        order.entry(frame.pack).or_insert(next);
    }
    frames.sort_unstable_by_key(|used| (order.get(&used.frame.pack).copied(), used.frame.offset));
    let mut ranges: Vec<Range> = Vec::new();
    for used in frames {
        let frame = used.frame;
        if let Some(last) = ranges.last_mut()
            && last.pack == frame.pack
            && frame.offset <= last.offset.saturating_add(last.length).saturating_add(GAP)
            && frame.end().saturating_sub(last.offset) <= longest
        {
            last.length = last.length.max(frame.end().saturating_sub(last.offset));
            last.frames.push(used);
        } else {
            let (pack, offset, length) = (frame.pack, frame.offset, u64::from(frame.stored));
            ranges.push(Range { pack, offset, length, frames: vec![used] });
        }
    }
    ranges
}

/// The pieces of an entry with their places in the file, around its holes.
pub fn placed(segment: &Segment, number: usize) -> Vec<(u32, Use)> {
    let Some(Kind::File { size, holes, extents, .. }) = segment.entries.get(number).map(|entry| &entry.kind)
    else {
        return Vec::new();
    };
    let mut placed = Vec::with_capacity(extents.len());
    let mut runs = data_between(holes, *size).into_iter();
    let mut run = runs.next();
    for extent in extents {
        let mut skip = extent.skip;
        let mut left = extent.length;
        while left > 0 {
            let Some((offset, length)) = run else { break };
            let part = u32::try_from(length).unwrap_or(u32::MAX).min(left);
            placed.push((extent.frame, Use { entry: number, file_offset: offset, skip, length: part }));
            skip += part;
            left -= part;
            run = match length - u64::from(part) {
                0 => runs.next(),
                rest => Some((offset + u64::from(part), rest)),
            };
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::Hash;
    use crate::base::timestamp::Timestamp;
    use crate::snapshot::{Entry, Extent, Hole, RelativePath};

    fn file(name: &str, size: u64, holes: Vec<Hole>, extents: Vec<(u32, u32, u32)>) -> Entry {
        let extents = extents.into_iter().map(Extent::from).collect();
        Entry {
            path: RelativePath::new(name).unwrap(),
            kind: Kind::File { size, hash: Hash::of(b""), holes, extents },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            attributes: Vec::new(),
            hard_link: None,
        }
    }

    fn segment(entries: Vec<Entry>, frames: &[(u64, u32)]) -> Segment {
        let pack = PackId::parse(&"a".repeat(32)).unwrap();
        let frame =
            |&(offset, stored): &(u64, u32)| Frame { pack, offset, stored, plain: 100, hash: Hash::of(b"") };
        Segment { frames: frames.iter().map(frame).collect(), entries }
    }

    #[test]
    fn neighbours_are_fetched_together_up_to_the_limit() {
        let entries = (0..4).map(|n| file(&n.to_string(), 100, vec![], vec![(n, 0, 100)])).collect();
        let segment = segment(entries, &[(0, 50), (50, 50), (100, 50), (1 << 30, 50)]);
        let all = ranges(&segment, 0..4, 100);
        let found: Vec<_> =
            all.iter().map(|range| (range.offset, range.length, range.frames.len())).collect();
        assert_eq!(found, [(0, 100, 2), (100, 50, 1), (1 << 30, 50, 1)]);
        let some = ranges(&segment, [0, 2].into_iter(), 1000);
        assert_eq!((some.len(), some[0].length), (1, 150), "a small gap is fetched");
    }

    #[test]
    fn pieces_go_around_holes() {
        let holes = vec![Hole { offset: 0, length: 10 }, Hole { offset: 30, length: 5 }];
        let segment = segment(vec![file("f", 75, holes, vec![(0, 5, 20), (1, 0, 40)])], &[(0, 50), (50, 50)]);
        let placed: Vec<_> =
            placed(&segment, 0).iter().map(|(frame, u)| (*frame, u.file_offset, u.skip, u.length)).collect();
        assert_eq!(placed, [(0, 10, 5, 20), (1, 35, 0, 40)]);
    }
}
