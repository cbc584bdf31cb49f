//! A pack: frames one after another, then a table of contents that the codec's plain decoder does not show.
//! Builds packs in memory and reads their tables; knows no store.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::base::hash::Hash;
use crate::base::large::LargeBuffer;
use crate::base::sealed::SealError;
use crate::repository::packed::codec::Codec;
use crate::repository::packed::frame::{Frame, LONGEST_FRAME, PackId};

/// The table is followed by its length as 8 decimal digits and this word, both hidden with it: a reader
/// fetches the last bytes first.
const TRAILER_WORD: &[u8; 8] = b"VOLKEEP1";
pub const TRAILER: usize = 16;
/// A row of the table takes about 110 bytes; with this many the table fits into one gzip extra field.
const MOST_FRAMES: usize = 450;

const TABLE_FORMAT: u64 = 1;

/// `[offset, stored, plain, hash]` a frame, in order.
#[derive(Debug, Serialize, Deserialize)]
struct Table {
    pack: PackId,
    frames: Vec<(u64, u32, u32, Hash)>,
}

#[derive(Debug)]
pub struct PackBuilder {
    id: PackId,
    bytes: LargeBuffer,
    frames: Vec<Frame>,
}

impl PackBuilder {
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(Self { id: PackId::random()?, bytes: LargeBuffer::new(capacity)?, frames: Vec::new() })
    }

    /// For a pack that is made again under its own name.
    pub fn again(id: PackId, capacity: usize) -> io::Result<Self> {
        Ok(Self { id, bytes: LargeBuffer::new(capacity)?, frames: Vec::new() })
    }

    pub fn add(&mut self, stored: &[u8], plain: u32, hash: Hash) -> io::Result<Frame> {
        let length = u32::try_from(stored.len()).map_err(io::Error::other)?;
        let frame = Frame { pack: self.id, offset: self.bytes.len() as u64, stored: length, plain, hash };
        self.bytes.extend(stored)?;
        self.frames.push(frame);
        Ok(frame)
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of its frames so far.
    pub fn filled(&self) -> usize {
        self.bytes.len()
    }

    /// Whether another frame of `stored` bytes should go into the next pack.
    pub fn is_full(&self, stored: usize, target: usize) -> bool {
        !self.is_empty() && (self.bytes.len() + stored > target || self.frames.len() >= MOST_FRAMES)
    }

    pub fn finish(mut self, codec: Codec) -> io::Result<FinishedPack> {
        let rows = self.frames.iter().map(|f| (f.offset, f.stored, f.plain, f.hash)).collect();
        let table = Table { pack: self.id, frames: rows };
        let value = serde_json::to_vec(&table)?;
        self.bytes.extend(&codec.hide(&with_trailer(seal_compact(&value)))?)?;
        Ok(FinishedPack { id: self.id, bytes: self.bytes.into(), frames: self.frames })
    }
}

#[derive(Debug)]
pub struct FinishedPack {
    pub id: PackId,
    pub bytes: Bytes,
    pub frames: Vec<Frame>,
}

/// The length of the table, from the last [`TRAILER`] bytes before the codec's own end.
pub fn table_length(trailer: &[u8]) -> Option<usize> {
    let digits = trailer.strip_suffix(TRAILER_WORD)?;
    if digits.len() != 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The frames of pack `id`, from the bytes of its table. Frames must lie one after another below `limit`.
pub fn read_table(id: PackId, table: &[u8], limit: u64) -> Result<Vec<Frame>, String> {
    let table: Table = open_compact(table)?;
    if table.pack != id {
        return Err(format!("its table of contents is that of pack {}", table.pack));
    }
    let mut end = 0u64;
    let mut frames = Vec::with_capacity(table.frames.len());
    for (offset, stored, plain, hash) in table.frames {
        let frame = Frame { pack: id, offset, stored, plain, hash };
        if offset != end || plain > LONGEST_FRAME || frame.end() > limit {
            return Err("its table of contents names impossible frames".to_owned());
        }
        end = frame.end();
        frames.push(frame);
    }
    Ok(frames)
}

/// Format, checksum and content on one line each: cheaper than a sealed document, and `head` shows it.
pub fn seal_compact(value: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{TABLE_FORMAT}\n{}\n", Hash::of(value)).into_bytes();
    bytes.extend(value);
    bytes
}

pub fn with_trailer(mut table: Vec<u8>) -> Vec<u8> {
    table.extend(format!("{:08}", table.len()).bytes());
    table.extend(TRAILER_WORD);
    table
}

fn open_compact(bytes: &[u8]) -> Result<Table, String> {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut next = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let (Some(format), Some(hash), Some(value)) = (next(), next(), next()) else {
        return Err("its table of contents is cut".to_owned());
    };
    if Some(Hash::of(value.as_bytes())) != Hash::from_hex(hash) {
        return Err("its table of contents does not match its checksum".to_owned());
    }
    match format.parse::<u64>() {
        Ok(found) if found > TABLE_FORMAT => {
            return Err(SealError::Newer { found, known: TABLE_FORMAT }.to_string());
        }
        Ok(_) => {}
        Err(_) => return Err("its table of contents has no format".to_owned()),
    }
    serde_json::from_str(value).map_err(|error| SealError::Fields(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn built(codec: Codec) -> (FinishedPack, Vec<u8>) {
        let mut builder = PackBuilder::new(0).unwrap();
        let mut content = Vec::new();
        for part in [&b"first "[..], b"second ", &[0u8; 5000]] {
            let stored = codec.encode(1, part).unwrap();
            builder.add(&stored, part.len() as u32, Hash::of(part)).unwrap();
            content.extend_from_slice(part);
        }
        (builder.finish(codec).unwrap(), content)
    }

    fn table_of(pack: &FinishedPack, codec: Codec) -> Vec<u8> {
        let end = pack.bytes.len() - codec.wrapping().1;
        let length = table_length(&pack.bytes[end - TRAILER..end]).unwrap();
        pack.bytes[end - TRAILER - length..end - TRAILER].to_vec()
    }

    #[test]
    fn plain_tools_decode_a_pack() {
        for (codec, tool) in [(Codec::Zstd, ["zstd", "-dcq"]), (Codec::Gzip, ["gzip", "-dc"])] {
            let (pack, content) = built(codec);
            let mut child = Command::new(tool[0])
                .arg(tool[1])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(&pack.bytes).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            assert_eq!(output.stdout, content, "{codec:?}");
        }
    }

    #[test]
    fn the_table_is_found_and_read_back() {
        for codec in [Codec::Zstd, Codec::Gzip, Codec::None] {
            let (pack, _) = built(codec);
            let table = table_of(&pack, codec);
            assert_eq!(read_table(pack.id, &table, pack.bytes.len() as u64).unwrap(), pack.frames);
            assert!(read_table(PackId::random().unwrap(), &table, 1 << 20).is_err());
            assert!(read_table(pack.id, &table, 10).is_err(), "frames beyond the end");
        }
    }

    #[test]
    fn a_table_with_any_flipped_bit_is_refused() {
        let (pack, _) = built(Codec::Zstd);
        let table = table_of(&pack, Codec::Zstd);
        for at in 0..table.len() {
            for bit in 0..8 {
                let mut damaged = table.clone();
                damaged[at] ^= 1 << bit;
                match read_table(pack.id, &damaged, 1 << 20) {
                    Err(_) => {}
                    // The format's own digit is not covered: 1 may turn into 0, which is older.
                    Ok(frames) => assert!(at == 0 && frames == pack.frames),
                }
            }
        }
    }

    #[test]
    fn a_full_table_fits_into_a_gzip_member() {
        let mut builder = PackBuilder::new(0).unwrap();
        for number in 0..MOST_FRAMES {
            let hash = Hash::of(&number.to_le_bytes());
            builder.frames.push(Frame {
                pack: builder.id,
                offset: u64::MAX >> 20,
                stored: u32::MAX,
                plain: u32::MAX,
                hash,
            });
        }
        assert!(builder.is_full(0, usize::MAX));
        builder.finish(Codec::Gzip).unwrap();
    }
}
