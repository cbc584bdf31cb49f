//! Reads a large blob out of a pack piece by piece, where it is stored whole: git's library would have all of it in
//! memory. Knows the index of the second version and nothing of what the blob is.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::bufread::ZlibDecoder;

use crate::repository::git::oid::Oid;

const MAGIC: [u8; 8] = [0xff, b't', b'O', b'c', 0, 0, 0, 2];
const FANOUT: u64 = 8;
const NAMES: u64 = FANOUT + 256 * 4;
const BLOB: u8 = 3;

/// The content of a blob, and its size.
pub struct BlobReader {
    pub size: u64,
    content: io::Take<ZlibDecoder<BufReader<File>>>,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer)
    }
}

/// `None`: it is in none of the packs, or as a delta only. What is odd about a pack is not this one's business to say.
pub fn open(packs: &Path, oid: Oid) -> io::Result<Option<BlobReader>> {
    for entry in fs::read_dir(packs)? {
        let index = entry?.path();
        if index.extension().is_none_or(|extension| extension != "idx") {
            continue;
        }
        if let Some(offset) = offset_of(&File::open(&index)?, oid)?
            && let Some(reader) = blob_at(File::open(index.with_extension("pack"))?, offset)?
        {
            return Ok(Some(reader));
        }
    }
    Ok(None)
}

fn offset_of(index: &File, oid: Oid) -> io::Result<Option<u64>> {
    if read_at::<8>(index, 0)? != MAGIC {
        return Ok(None);
    }
    let number = |at: u64| Ok::<_, io::Error>(u64::from(u32::from_be_bytes(read_at(index, at)?)));
    let first = u64::from(oid.0.first().copied().unwrap_or(0));
    let mut low = if first == 0 { 0 } else { number(FANOUT + (first - 1) * 4)? };
    let mut high = number(FANOUT + first * 4)?;
    let count = number(FANOUT + 255 * 4)?;
    while low < high {
        let middle = low + (high - low) / 2;
        match Oid(read_at(index, NAMES + middle * 20)?).cmp(&oid) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                // Behind the names are the checksums, then the offsets, then those that are too long for four bytes.
                let offsets = NAMES + count * 24;
                let offset = number(offsets + middle * 4)?;
                return Ok(Some(match offset & 1 << 31 {
                    0 => offset,
                    _ => u64::from_be_bytes(read_at(index, offsets + count * 4 + (offset & !(1 << 31)) * 8)?),
                }));
            }
        }
    }
    Ok(None)
}

fn blob_at(mut pack: File, offset: u64) -> io::Result<Option<BlobReader>> {
    pack.seek(SeekFrom::Start(offset))?;
    let mut pack = BufReader::with_capacity(64 << 10, pack);
    let mut byte = read_byte(&mut pack)?;
    let (kind, mut size, mut shift) = (byte >> 4 & 7, u64::from(byte & 0xf), 4);
    while byte & 0x80 != 0 {
        byte = read_byte(&mut pack)?;
        size |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(io::ErrorKind::InvalidData)?;
        shift += 7;
    }
    if kind != BLOB {
        return Ok(None);
    }
    // One byte more than it should have would be noticed.
    let content = ZlibDecoder::new(pack).take(size.saturating_add(1));
    Ok(Some(BlobReader { size, content }))
}

fn read_byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(u8::from_le_bytes(byte))
}

fn read_at<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::git::oid::Kind;
    use crate::repository::git::pack::{PackWriter, compress};

    #[test]
    fn blobs_are_found_and_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::create(&dir.path().join("a.pack")).unwrap();
        let contents: Vec<Vec<u8>> = (0..600u32).map(|n| n.to_be_bytes().repeat(n as usize)).collect();
        for content in &contents {
            let oid = Oid::of(Kind::Blob, content);
            writer.append(oid, &compress(Kind::Blob, content).unwrap()).unwrap();
        }
        let tree = Oid::of(Kind::Tree, b"");
        writer.append(tree, &compress(Kind::Tree, b"").unwrap()).unwrap();
        let pack = writer.finish().unwrap();
        fs::write(dir.path().join("a.idx"), pack.index()).unwrap();
        for content in &contents {
            let mut reader = open(dir.path(), Oid::of(Kind::Blob, content)).unwrap().unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == *content && reader.size == content.len() as u64);
        }
        assert!(open(dir.path(), tree).unwrap().is_none(), "no blob");
        assert!(open(dir.path(), Oid([5; 20])).unwrap().is_none());
    }
}
