//! How much of each pack is needed, by the newest snapshot and by all: added up from the extents of segments, each
//! piece counted once however many snapshots have it. 16 bytes a frame, and 12 for each version of a small file.

use std::collections::HashMap;

use crate::repository::packed::backup::movable;
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::segment::Segment;

/// Who needs something: the newest snapshot counts before older ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    #[default]
    Nobody,
    Older,
    Newest,
}

#[derive(Debug, Default)]
pub struct Usage {
    packs: HashMap<PackId, PackUse>,
    /// Of frames that are not taken whole: bundles of small files.
    parts: HashMap<(PackId, u32), Vec<Part>>,
}

#[derive(Debug, Default)]
struct PackUse {
    /// By offset.
    frames: Vec<FrameUse>,
    /// Something in it cannot be stored anew by a backup, or cannot be told.
    stuck: bool,
}

#[derive(Debug)]
struct FrameUse {
    offset: u32,
    stored: u32,
    plain: u32,
    /// Of the frame as a whole.
    whole: Need,
}

/// A file in a bundle.
#[derive(Debug)]
struct Part {
    skip: u32,
    length: u32,
    need: Need,
}

/// What one segment takes of the frames in its table.
#[derive(Debug)]
pub struct Taken {
    pub frames: Vec<Frame>,
    /// Frame number, skip, length.
    pieces: Vec<(u32, u32, u32)>,
    /// Packs of which it takes something that no backup stores anew.
    stuck: Vec<PackId>,
}

/// How much of a pack is needed, in bytes as they are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub needed: u64,
    pub needed_by_newest: u64,
    /// Frames of which anything is needed.
    pub frames: u64,
    pub stuck: bool,
}

impl Taken {
    pub fn of(frames: Vec<Frame>, lines: &[u8]) -> Self {
        let (mut pieces, mut stuck) = (Vec::new(), Vec::new());
        let read = Segment::each_content(lines, |content| {
            let small = movable::is_small(content.size, content.holes.is_empty());
            for extent in &content.extents {
                pieces.push((extent.frame, extent.skip, extent.length));
                let frame = frames.get(extent.frame as usize);
                stuck.extend(
                    frame
                        .filter(|frame| !movable::may_move(small, frame, extent.skip, extent.length))
                        .map(|frame| frame.pack),
                );
            }
        });
        if read.is_err() {
            // Whoever restores it will say so. What it takes is not known, so nothing is moved for its sake.
            stuck = frames.iter().map(|frame| frame.pack).collect();
        }
        Self { frames, pieces, stuck }
    }
}

impl Usage {
    pub fn add(&mut self, taken: &Taken, need: Need) {
        for pack in &taken.stuck {
            self.packs.entry(*pack).or_default().stuck = true;
        }
        for (number, skip, length) in &taken.pieces {
            let Some(frame) = taken.frames.get(*number as usize) else { continue };
            let pack = self.packs.entry(frame.pack).or_default();
            let Ok(offset) = u32::try_from(frame.offset) else {
                pack.stuck = true;
                continue;
            };
            let of_frame = pack.frame(offset, frame);
            if *skip == 0 && *length == frame.plain {
                of_frame.whole = of_frame.whole.max(need);
                continue;
            }
            let parts = self.parts.entry((frame.pack, offset)).or_default();
            match parts.binary_search_by_key(skip, |part| part.skip) {
                Ok(at) => {
                    if let Some(part) = parts.get_mut(at) {
                        part.length = part.length.max(*length);
                        part.need = part.need.max(need);
                    }
                }
                Err(at) => parts.insert(at, Part { skip: *skip, length: *length, need }),
            }
        }
    }

    pub fn standing(&self, id: PackId) -> Standing {
        let Some(pack) = self.packs.get(&id) else { return Standing::default() };
        let mut standing = Standing { stuck: pack.stuck, ..Standing::default() };
        for frame in &pack.frames {
            let parts = self.parts.get(&(id, frame.offset)).map(Vec::as_slice).unwrap_or_default();
            standing.frames += 1;
            standing.needed += frame.needed(parts, Need::Older);
            standing.needed_by_newest += frame.needed(parts, Need::Newest);
        }
        standing
    }
}

impl PackUse {
    fn frame(&mut self, offset: u32, frame: &Frame) -> &mut FrameUse {
        let at = match self.frames.binary_search_by_key(&offset, |frame| frame.offset) {
            Ok(at) => at,
            Err(at) => {
                let (stored, plain) = (frame.stored, frame.plain);
                self.frames.insert(at, FrameUse { offset, stored, plain, whole: Need::Nobody });
                at
            }
        };
        &mut self.frames[at]
    }
}

impl FrameUse {
    /// The share of the frame that is needed at least so much.
    fn needed(&self, parts: &[Part], need: Need) -> u64 {
        let stored = u64::from(self.stored);
        if self.whole >= need {
            return stored;
        }
        let plain = u64::from(self.plain.max(1));
        let taken: u64 =
            parts.iter().filter(|part| part.need >= need).map(|part| u64::from(part.length)).sum();
        stored * taken.min(plain) / plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::Hash;

    fn frame(pack: PackId, offset: u64, plain: u32) -> Frame {
        Frame { pack, offset, stored: plain / 2, plain, hash: Hash::of(b"f") }
    }

    #[test]
    fn each_piece_counts_once_and_the_newest_before_older_ones() {
        let pack = PackId::random().unwrap();
        let frames = vec![frame(pack, 0, 1000), frame(pack, 500, 400), frame(pack, 700, 100)];
        let taken = |pieces: &[(u32, u32, u32)]| Taken {
            frames: frames.clone(),
            pieces: pieces.to_vec(),
            stuck: Vec::new(),
        };
        let mut usage = Usage::default();
        usage.add(&taken(&[(0, 0, 100), (0, 300, 100), (1, 0, 400)]), Need::Older);
        usage.add(&taken(&[(0, 0, 100), (0, 600, 200)]), Need::Older);
        let standing = usage.standing(pack);
        assert_eq!((standing.needed, standing.needed_by_newest, standing.frames), (200 + 200, 0, 2));
        for _ in 0..2 {
            usage.add(&taken(&[(0, 300, 100), (1, 0, 400)]), Need::Newest);
        }
        usage.add(&taken(&[(0, 300, 100)]), Need::Older);
        let standing = usage.standing(pack);
        assert_eq!((standing.needed, standing.needed_by_newest), (400, 50 + 200));
        assert!(!standing.stuck);
        assert_eq!(usage.standing(PackId::random().unwrap()), Standing::default());
    }

    #[test]
    fn what_no_backup_can_store_anew_is_told() {
        let pack = PackId::random().unwrap();
        let read = |rows: &str| {
            let mut usage = Usage::default();
            let lines = format!("header\n{rows}\n");
            usage.add(&Taken::of(vec![frame(pack, 0, 1000)], lines.as_bytes()), Need::Newest);
            usage.standing(pack)
        };
        let small = read(r#"{"p":"a","t":"f","s":100,"x":[[0,7,100]]}"#);
        assert_eq!((small.needed, small.stuck), (50, false));
        // The tail of a large file that is as a small one.
        assert!(read(r#"{"p":"a","t":"f","s":10000000,"x":[[0,7,100]]}"#).stuck);
        assert!(read(r#"{"p":"a","t":"f","s":100,"ho":[[0,1]],"x":[[0,7,100]]}"#).stuck);
        assert!(!read(r#"{"p":"a","t":"f","s":10000000,"x":[[0,0,1000]]}"#).stuck);
        assert!(read("{\"p\":\"a\",").stuck);
    }

    #[test]
    fn nothing_that_a_segment_says_overflows() {
        let pack = PackId::random().unwrap();
        let forged = Frame { pack, offset: u64::MAX, stored: u32::MAX, plain: 0, hash: Hash::of(b"") };
        let near = Frame { offset: 0, ..forged };
        let mut usage = Usage::default();
        let pieces = vec![(0, 0, u32::MAX), (1, 1, u32::MAX), (1, 2, u32::MAX), (9, 0, 1)];
        usage.add(&Taken { frames: vec![forged, near], pieces, stuck: Vec::new() }, Need::Newest);
        assert!(usage.standing(pack).stuck);
    }
}
