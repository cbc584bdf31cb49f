//! Objects that stand whole in a pack, read straight from its file, piece by piece. Deltas and objects outside of packs
//! are none of them: those are for git's own library, which also judges what is damaged.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::{Decompress, FlushDecompress, Status};

use crate::repository::git::oid::{Kind, Oid};

/// Of an object on its way, compressed and not.
const INPUT: u64 = 64 << 10;
const PIECE: u64 = 256 << 10;

/// The packs of a repository as they were when it was opened. One that is replaced meanwhile can be read on.
#[derive(Debug, Default)]
pub struct Packs(Vec<Pack>);

#[derive(Debug)]
struct Pack {
    file: File,
    length: u64,
    /// The whole file, of version 2.
    index: Vec<u8>,
    count: usize,
}

/// An object, and where its content begins.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    pub kind: Kind,
    pub size: u64,
    pack: &'p Pack,
    offset: u64,
}

/// What unpacking needs, to be used again and again.
#[derive(Debug)]
pub struct Unpacker(RefCell<Buffers>);

#[derive(Debug)]
struct Buffers {
    state: Decompress,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Packs {
    /// Of a bare repository. A pack that cannot be read is as good as none.
    pub fn open(repository: &Path) -> Self {
        let Ok(names) = fs::read_dir(repository.join("objects/pack")) else { return Self::default() };
        let indexes = names.flatten().map(|entry| entry.path());
        let indexes = indexes.filter(|path| path.extension().is_some_and(|extension| extension == "idx"));
        Self(indexes.filter_map(|path| Pack::open(&path)).collect())
    }

    pub fn find(&self, oid: Oid) -> Option<Place<'_>> {
        self.0.iter().find_map(|pack| pack.place(pack.offset(oid)?))
    }
}

impl Pack {
    fn open(index: &Path) -> Option<Self> {
        let file = File::open(index.with_extension("pack")).ok()?;
        let index = fs::read(index).ok()?;
        let length = file.metadata().ok()?.len();
        let whole = index.starts_with(b"\xfftOc\0\0\0\x02");
        let count = number(&index, 8 + 255 * 4)? as usize;
        whole.then_some(Self { file, length, index, count })
    }

    /// Of an object in the file.
    fn offset(&self, oid: Oid) -> Option<u64> {
        let first = usize::from(*oid.0.first()?);
        let mut low = if first == 0 { 0 } else { number(&self.index, 8 + (first - 1) * 4)? as usize };
        let mut high = number(&self.index, 8 + first * 4)? as usize;
        let names = 8 + 256 * 4;
        while low < high {
            let middle = low + (high - low) / 2;
            let at = names + middle * 20;
            match self.index.get(at..at + 20)?.cmp(&oid.0) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    // Behind the names and their checksums.
                    let offsets = names + self.count * 24;
                    let short = number(&self.index, offsets + middle * 4)?;
                    if short >> 31 == 0 {
                        return Some(u64::from(short));
                    }
                    let long = offsets + self.count * 4 + (short & !(1 << 31)) as usize * 8;
                    return Some(
                        u64::from(number(&self.index, long)?) << 32
                            | u64::from(number(&self.index, long + 4)?),
                    );
                }
            }
        }
        None
    }

    /// `None`: it is a delta.
    fn place(&self, offset: u64) -> Option<Place<'_>> {
        let mut head = [0; 16];
        let count = self.file.read_at(&mut head, offset).ok()?;
        let mut bytes = head.get(..count)?.iter();
        let mut byte = *bytes.next()?;
        let kind = match byte >> 4 & 7 {
            1 => Kind::Commit,
            2 => Kind::Tree,
            3 => Kind::Blob,
            _ => return None,
        };
        let (mut size, mut shift, mut length) = (u64::from(byte & 15), 4, 1);
        while byte & 0x80 != 0 {
            byte = *bytes.next()?;
            size |= u64::from(byte & 0x7f).checked_shl(shift)?;
            (shift, length) = (shift + 7, length + 1);
        }
        Some(Place { kind, size, pack: self, offset: offset + length })
    }
}

impl Unpacker {
    pub fn new() -> Self {
        Self(RefCell::new(Buffers { state: Decompress::new(true), input: Vec::new(), output: Vec::new() }))
    }

    /// Gives the content to `take`, and fails unless it has the size it is to have.
    pub fn pieces<E: From<io::Error>>(
        &self,
        place: Place<'_>,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Place { size, pack, mut offset, .. } = place;
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let buffers = &mut *self.0.borrow_mut();
        let Buffers { state, input, output } = buffers;
        state.reset(true);
        // One byte more than there should be, to see that there is none.
        output.resize(PIECE.min(size + 1) as usize, 0);
        loop {
            let (read, written) = (state.total_in(), state.total_out());
            // What cannot be compressed becomes a little larger.
            let room = INPUT.min(size - size.min(written) + 256).min(pack.length.saturating_sub(offset));
            input.resize(room as usize, 0);
            pack.file.read_exact_at(input, offset)?;
            let status = state.decompress(input, output, FlushDecompress::None).map_err(|_| damaged())?;
            let (read, written) = (state.total_in() - read, (state.total_out() - written) as usize);
            offset += read;
            if state.total_out() > size {
                return Err(damaged().into());
            }
            take(output.get(..written).unwrap_or_default())?;
            match status {
                Status::StreamEnd if state.total_out() == size => return Ok(()),
                Status::StreamEnd => return Err(damaged().into()),
                _ if read == 0 && written == 0 => return Err(damaged().into()),
                _ => {}
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::git::pack::{PackWriter, compress};

    fn contents() -> Vec<Vec<u8>> {
        let noise: Vec<u8> = (0..700_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        vec![Vec::new(), b"short".to_vec(), vec![7; 3 << 20], noise[..262_144].to_vec(), noise]
    }

    /// A repository with one pack, which is named.
    fn repository(directory: &Path) -> std::path::PathBuf {
        let packs = directory.join("objects/pack");
        fs::create_dir_all(&packs).unwrap();
        let mut writer = PackWriter::create(&packs.join("pack-1.pack")).unwrap();
        for content in contents() {
            let object = compress(Kind::Blob, &content).unwrap();
            writer.append(Oid::of(Kind::Blob, &content), &object).unwrap();
        }
        let pack = writer.finish().unwrap();
        fs::write(packs.join("pack-1.idx"), pack.index()).unwrap();
        packs.join("pack-1.pack")
    }

    fn read(packs: &Packs, unpacker: &Unpacker, oid: Oid) -> io::Result<Vec<u8>> {
        let place = packs.find(oid).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = Vec::new();
        unpacker.pieces::<io::Error>(place, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    #[test]
    fn what_is_in_a_pack_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        repository(dir.path());
        let (packs, unpacker) = (Packs::open(dir.path()), Unpacker::new());
        for content in contents() {
            let oid = Oid::of(Kind::Blob, &content);
            assert_eq!(packs.find(oid).unwrap().size, content.len() as u64);
            assert!(read(&packs, &unpacker, oid).unwrap() == content, "{} bytes", content.len());
        }
        assert!(packs.find(Oid::of(Kind::Blob, b"elsewhere")).is_none());
        assert!(Packs::open(&dir.path().join("nowhere")).find(Oid::ZERO).is_none());
    }

    #[test]
    fn damage_ends_in_an_error_or_in_other_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = repository(dir.path());
        let bytes = fs::read(&path).unwrap();
        let unpacker = Unpacker::new();
        for at in (0..bytes.len()).step_by(bytes.len() / 40).chain(0..40) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            fs::write(&path, damaged).unwrap();
            let packs = Packs::open(dir.path());
            for content in contents() {
                let _ = read(&packs, &unpacker, Oid::of(Kind::Blob, &content));
            }
            fs::write(&path, &bytes[..at]).unwrap();
            let _ = read(&Packs::open(dir.path()), &unpacker, Oid::of(Kind::Blob, &contents()[4]));
        }
        let index = path.with_extension("idx");
        let whole = fs::read(&index).unwrap();
        for end in 0..whole.len() {
            fs::write(&index, &whole[..end]).unwrap();
            let _ = Packs::open(dir.path()).find(Oid::of(Kind::Blob, b"short"));
        }
    }
}
