//! A segment: a run of manifest entries with the frames that hold their content, as lines of JSON. The first
//! line is the header, every other one an entry. Reading trusts nothing.

use std::io;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::base::hash::Hash;
use crate::base::large::LargeBuffer;
use crate::repository::Epoch;
use crate::repository::packed::frame::{Frame, LONGEST_FRAME, PackId};
use crate::snapshot::{Entry, Extent};

/// Bytes of one decoded segment: about ten times what 75,000 entries with long names take.
pub const LONGEST_SEGMENT: u64 = 512 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Extents of the entries count into this table.
    pub frames: Vec<Frame>,
    pub entries: Vec<Entry>,
}

/// What a snapshot keeps of each of its segments. `id` is the BLAKE3 of the decoded lines, so equal runs of
/// entries are one object, whatever compressed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    pub id: Hash,
    pub entries: u64,
    /// Bytes of the decoded lines.
    pub size: u64,
}

/// The keys of an entry that say where its content lies.
#[derive(Debug, Deserialize)]
pub struct FileContent {
    #[serde(default, rename = "s")]
    pub size: u64,
    #[serde(default, rename = "ho")]
    pub holes: Vec<IgnoredAny>,
    #[serde(default, rename = "x")]
    pub extents: Vec<Extent>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    segment: u64,
    /// The lease it was written under. Nothing is read out of it: it makes sure that no name is used again for
    /// something written after a prune, which may still be deleting what had that name. `prune` has the reasoning.
    #[serde(default, skip_serializing_if = "is_zero")]
    epoch: Epoch,
    packs: Vec<PackId>,
    /// `[pack, offset, stored, plain, hash]`
    frames: Vec<(u32, u64, u32, u32, Hash)>,
}

const SEGMENT_FORMAT: u64 = 1;
/// What a frame takes in the header as a rule: a buffer that has to grow is copied.
const FRAME_ROW: usize = 110;

impl Segment {
    /// Each entry is let go as soon as it is written, so that memory never holds all of them twice.
    pub fn write_lines(self, epoch: Epoch, lines: &mut impl io::Write) -> io::Result<()> {
        write_header(&self.frames, epoch, lines)?;
        self.entries.into_iter().try_for_each(|entry| entry.write_line(lines))
    }

    pub fn into_lines(self, epoch: Epoch) -> io::Result<Vec<u8>> {
        let mut lines = Vec::new();
        self.write_lines(epoch, &mut lines)?;
        Ok(lines)
    }

    /// The segment in `lines`; `Err` says what is wrong with them.
    pub fn from_lines(lines: &[u8]) -> Result<Self, String> {
        let body = lines.strip_suffix(b"\n").ok_or("it is cut")?;
        let mut rows = body.split(|byte| *byte == b'\n');
        let frames = read_header(rows.next().unwrap_or_default())?;
        let mut entries: Vec<Entry> = Vec::with_capacity(lines.len() / 256);
        for row in rows {
            entries.push(serde_json::from_slice(row).map_err(|error| error.to_string())?);
        }
        let segment = Self { frames, entries };
        segment.check()?;
        Ok(segment)
    }

    /// The frames alone, which say what content a segment needs.
    pub fn frames_of(lines: &[u8]) -> Result<Vec<Frame>, String> {
        let frames = read_header(lines.split(|byte| *byte == b'\n').next().unwrap_or_default())?;
        frames.iter().try_for_each(check_frame)?;
        Ok(frames)
    }

    /// What of its frames each file takes, with nothing else of the entries looked at: a few times cheaper than reading
    /// the segment.
    pub fn each_content(lines: &[u8], mut each: impl FnMut(&FileContent)) -> Result<(), String> {
        let body = lines.strip_suffix(b"\n").ok_or("it is cut")?;
        for row in body.split(|byte| *byte == b'\n').skip(1) {
            let content: FileContent = serde_json::from_slice(row).map_err(|error| error.to_string())?;
            if !content.extents.is_empty() {
                each(&content);
            }
        }
        Ok(())
    }

    /// The same entries over content that lies elsewhere: `frames` are those of `lines`, number by number.
    pub fn with_frames(lines: &[u8], frames: &[Frame], epoch: Epoch) -> io::Result<LargeBuffer> {
        let body = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
        let body = lines.get(body..).unwrap_or_default();
        let mut moved = LargeBuffer::new(body.len() + frames.len() * FRAME_ROW)?;
        write_header(frames, epoch, &mut moved)?;
        moved.extend(body)?;
        Ok(moved)
    }

    /// What a reader insists on. A writer asks as well, before it stores: a segment that nobody can read would
    /// make the newest snapshot worthless.
    pub fn check(&self) -> Result<(), String> {
        for frame in &self.frames {
            check_frame(frame)?;
        }
        for (entry, next) in self.entries.iter().zip(self.entries.iter().skip(1)) {
            if next.path <= entry.path {
                return Err(format!("the entry {:?} is out of order", next.path));
            }
        }
        for entry in &self.entries {
            entry.check()?;
            check_extents(entry, &self.frames)?;
        }
        Ok(())
    }
}

/// The first line with its line feed.
fn write_header(frames: &[Frame], epoch: Epoch, lines: &mut impl io::Write) -> io::Result<()> {
    let mut packs: Vec<PackId> = Vec::new();
    let mut rows = Vec::with_capacity(frames.len());
    for frame in frames {
        // Neighbouring frames mostly share their pack, and a segment has few packs: a search from the back.
        let at = packs.iter().rposition(|pack| *pack == frame.pack).unwrap_or_else(|| {
            packs.push(frame.pack);
            packs.len() - 1
        });
        rows.push((
            u32::try_from(at).unwrap_or(u32::MAX),
            frame.offset,
            frame.stored,
            frame.plain,
            frame.hash,
        ));
    }
    serde_json::to_writer(&mut *lines, &Header { segment: SEGMENT_FORMAT, epoch, packs, frames: rows })?;
    lines.write_all(b"\n")
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks")]
fn is_zero(epoch: &Epoch) -> bool {
    *epoch == 0
}

fn read_header(line: &[u8]) -> Result<Vec<Frame>, String> {
    let header: Header = serde_json::from_slice(line).map_err(|error| format!("its header: {error}"))?;
    if header.segment > SEGMENT_FORMAT {
        return Err(format!("it is of format {}; this program reads up to {SEGMENT_FORMAT}", header.segment));
    }
    header.frames.iter().map(|row| frame(&header.packs, *row)).collect()
}

fn frame(packs: &[PackId], row: (u32, u64, u32, u32, Hash)) -> Result<Frame, String> {
    let (pack, offset, stored, plain, hash) = row;
    let pack = *packs.get(pack as usize).ok_or("a frame names a pack that is not listed")?;
    Ok(Frame { pack, offset, stored, plain, hash })
}

fn check_frame(frame: &Frame) -> Result<(), String> {
    let longest_end = u64::MAX >> 8;
    if frame.plain > LONGEST_FRAME || frame.stored > LONGEST_FRAME + (1 << 20) || frame.end() > longest_end {
        return Err(format!("a frame of pack {} has an impossible place or length", frame.pack));
    }
    Ok(())
}

fn check_extents(entry: &Entry, frames: &[Frame]) -> Result<(), String> {
    for extent in entry.extents() {
        let inside = frames.get(extent.frame as usize).is_some_and(|frame| {
            extent.skip.checked_add(extent.length).is_some_and(|end| end <= frame.plain)
        });
        if !inside || extent.length == 0 {
            return Err(format!("the file {:?} names content outside its frame", entry.path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::timestamp::Timestamp;
    use crate::snapshot::{Extent, Kind, RelativePath};
    use proptest::prelude::*;

    fn sample() -> Segment {
        let pack = PackId::random().unwrap();
        let frame = Frame { pack, offset: 0, stored: 10, plain: 100, hash: Hash::of(b"f") };
        let entry = |path: &str, kind| Entry {
            path: RelativePath::new(path).unwrap(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::new(1, 2),
            attributes: Vec::new(),
            hard_link: None,
        };
        let extents = vec![Extent { frame: 0, skip: 40, length: 60 }];
        let file = Kind::File { size: 60, hash: Hash::of(b"c"), holes: Vec::new(), extents };
        Segment { frames: vec![frame], entries: vec![entry("", Kind::Directory), entry("a", file)] }
    }

    #[test]
    fn lines_read_back_as_written() {
        let segment = sample();
        let lines = segment.clone().into_lines(1).unwrap();
        assert_eq!(Segment::from_lines(&lines).unwrap(), segment);
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 3);
        let mut contents = Vec::new();
        Segment::each_content(&lines, |content| {
            contents.push((content.size, content.holes.len(), content.extents.clone()));
        })
        .unwrap();
        assert_eq!(contents, [(60, 0, segment.entries[1].extents().to_vec())]);
    }

    #[test]
    fn entries_keep_their_lines_when_their_content_moves() {
        let segment = sample();
        let lines = segment.clone().into_lines(1).unwrap();
        assert_eq!(Segment::frames_of(&lines).unwrap(), segment.frames);
        let frames: Vec<Frame> = segment
            .frames
            .iter()
            .map(|frame| Frame { pack: PackId::random().unwrap(), offset: 7, ..*frame })
            .collect();
        let moved = Segment::with_frames(&lines, &frames, 2).unwrap();
        assert_eq!(Segment::from_lines(&moved).unwrap(), Segment { frames, entries: segment.entries });
    }

    #[test]
    fn manifests_made_to_harm_are_refused() {
        let lines = String::from_utf8(sample().into_lines(1).unwrap()).unwrap();
        for (from, to) in [
            ("\"p\":\"a\"", "\"p\":\"../a\""),
            ("\"p\":\"a\"", "\"p\":\"/a\""),
            ("\"p\":\"a\"", "\"p\":\"a/../../b\""),
            ("\"p\":\"a\"", "\"p\":\"\""),
            ("[0,40,60]", "[0,41,60]"),
            ("[0,40,60]", "[1,40,60]"),
            ("[0,40,60]", "[0,4294967295,60]"),
            ("[0,0,10,100,", "[0,0,10,4294967295,"),
            ("[0,0,10,100,", "[7,0,10,100,"),
            ("\"segment\":1", "\"segment\":2"),
        ] {
            assert!(lines.contains(from), "{from}");
            assert!(Segment::from_lines(lines.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(at in 0usize..400, with in proptest::collection::vec(any::<u8>(), 0..8)) {
            let mut lines = sample().into_lines(1).unwrap();
            let at = at.min(lines.len());
            let end = (at + with.len()).min(lines.len());
            lines.splice(at..end, with);
            let _ = Segment::from_lines(&lines);
        }
    }
}
