//! Writes a pack and its index, object by object, into files of this machine. Objects are whole, never deltas: a git
//! server finds those when it tidies up. Knows nothing of what the objects are.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::fs::{FlockOperation, flock};
use sha1::{Digest, Sha1};

use crate::repository::git::oid::{Kind, Oid};

/// Higher is hardly smaller and much slower; packs are made smaller where they are kept.
const LEVEL: u32 = 1;
const HEADER: u64 = 12;
const SIGNATURE: &[u8; 4] = b"PACK";

/// How packs are named that are being written, which git takes for left over as well.
pub const UNFINISHED: &str = "tmp_volkeep_";

/// An object, compressed and ready to be appended.
#[derive(Debug)]
pub struct Packed {
    bytes: Vec<u8>,
    crc: u32,
}

#[derive(Debug)]
pub struct PackWriter {
    file: BufWriter<File>,
    path: PathBuf,
    length: u64,
    objects: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    oid: Oid,
    offset: u64,
    crc: u32,
}

/// A pack that is complete. Its bytes are on the way to the disk; `sync` makes them durable.
#[derive(Debug)]
pub struct Pack {
    pub path: PathBuf,
    /// SHA-1 of its content, which names it.
    pub name: Oid,
    pub length: u64,
    objects: Vec<Place>,
    /// Keeps it from being taken for left over.
    _held: Option<File>,
}

/// Removes what was left in `directory` by processes that are dead.
pub fn remove_abandoned(directory: &Path) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()) {
            continue;
        }
        let dead = File::open(entry.path())
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok());
        if dead {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

pub fn compress(kind: Kind, content: &[u8]) -> io::Result<Packed> {
    let mut bytes = Vec::with_capacity(content.len() / 2 + 32);
    header(kind, content.len() as u64, &mut bytes);
    let mut encoder = ZlibEncoder::new(bytes, Compression::new(LEVEL));
    encoder.write_all(content)?;
    let bytes = encoder.finish()?;
    Ok(Packed { crc: crc32fast::hash(&bytes), bytes })
}

/// Kind and size: three bits of the one and four of the other, then seven of the other a byte.
fn header(kind: Kind, size: u64, bytes: &mut Vec<u8>) {
    let number = match kind {
        Kind::Commit => 1u8,
        Kind::Tree => 2,
        Kind::Blob => 3,
    };
    let mut rest = size >> 4;
    let more = |rest: u64| if rest > 0 { 0x80 } else { 0 };
    bytes.push(more(rest) | number << 4 | (size & 0xf) as u8);
    while rest > 0 {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        bytes.push(more(rest) | low);
    }
}

impl PackWriter {
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        // As long as this process lives: so others know a pack that nobody will finish.
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut file = BufWriter::with_capacity(256 << 10, file);
        // The number of objects is put in at the end.
        file.write_all(&[0; HEADER as usize])?;
        Ok(Self { file, path: path.to_owned(), length: HEADER, objects: Vec::new() })
    }

    /// So far, with everything around the objects.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn append(&mut self, oid: Oid, object: &Packed) -> io::Result<()> {
        self.file.write_all(&object.bytes)?;
        self.objects.push(Place { oid, offset: self.length, crc: object.crc });
        self.length += object.bytes.len() as u64;
        Ok(())
    }

    /// Reads an object of exactly `size` bytes piece by piece. `fill` gives the next piece, empty at the end, and its
    /// name when all were given; `None` is "not this one": then nothing was appended.
    pub fn stream<E: From<io::Error>>(
        &mut self,
        kind: Kind,
        size: u64,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Option<Oid>, E>,
    ) -> Result<(), E> {
        let start = self.length;
        let mut head = Vec::new();
        header(kind, size, &mut head);
        let mut counted = Counted { inner: &mut self.file, crc: crc32fast::Hasher::new(), length: 0 };
        counted.write_all(&head)?;
        let mut encoder = ZlibEncoder::new(counted, Compression::new(LEVEL));
        let outcome = fill(&mut |piece| encoder.write_all(piece));
        let counted = encoder.finish()?;
        let (crc, length) = (counted.crc.finalize(), counted.length);
        match outcome {
            Ok(Some(oid)) => {
                self.objects.push(Place { oid, offset: start, crc });
                self.length += length;
                Ok(())
            }
            other => {
                self.file.seek(SeekFrom::Start(start))?;
                other.map(|_| ())
            }
        }
    }

    /// Objects that another pack holds already compressed are taken over as they are. An error if one is missing or
    /// damaged.
    pub fn append_raw(&mut self, from: &Pack, mut wanted: HashSet<Oid>) -> io::Result<()> {
        let source = File::open(&from.path)?;
        for (object, length) in from.spans() {
            if !wanted.remove(&object.oid) {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            source.read_exact_at(&mut bytes, object.offset)?;
            if crc32fast::hash(&bytes) != object.crc {
                let place = from.path.display();
                return Err(io::Error::other(format!("the object {} in {place} is damaged", object.oid)));
            }
            self.append(object.oid, &Packed { bytes, crc: object.crc })?;
        }
        match wanted.iter().next() {
            None => Ok(()),
            Some(oid) => Err(io::Error::other(format!("{} has no object {oid}", from.path.display()))),
        }
    }

    /// Puts in what is known only now, and the checksum of all.
    pub fn finish(self) -> io::Result<Pack> {
        let Self { file, path, length, mut objects } = self;
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        // What a piece that was not taken left behind the end.
        file.set_len(length)?;
        let count = u32::try_from(objects.len())
            .map_err(|_| io::Error::other("more objects than a pack can hold"))?;
        let mut head = SIGNATURE.to_vec();
        head.extend(2u32.to_be_bytes());
        head.extend(count.to_be_bytes());
        file.write_all_at(&head, 0)?;
        file.seek(SeekFrom::Start(0))?;
        let mut hasher = Sha1::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hasher.update(buffer.get(..count).unwrap_or_default()),
            }
        }
        let name = Oid(hasher.finalize().into());
        file.seek(SeekFrom::End(0))?;
        file.write_all(&name.0)?;
        objects.sort_unstable();
        Ok(Pack { path, name, length: length + 20, objects, _held: Some(file) })
    }
}

impl Pack {
    /// A pack that was finished before, by its index. `None`: they do not belong together, or one is damaged.
    pub fn reopen(path: &Path, index: &[u8]) -> Option<Self> {
        let (body, checksum) = index.split_at_checked(index.len().checked_sub(20)?)?;
        let found: [u8; 20] = Sha1::digest(body).into();
        let (head, body) = body.split_at_checked(8 + 256 * 4)?;
        let count = u32::from_be_bytes(head.last_chunk().copied()?) as usize;
        let (names, body) = body.split_at_checked(count.checked_mul(20)?)?;
        let (crcs, body) = body.split_at_checked(count.checked_mul(4)?)?;
        let (offsets, body) = body.split_at_checked(count.checked_mul(4)?)?;
        let (long, name) = body.split_at_checked(body.len().checked_sub(20)?)?;
        let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
        let place = |((oid, crc), offset): ((&[u8], &[u8]), &[u8])| {
            let offset = match number(offset)? {
                far if far >= 1 << 31 => {
                    let at = (far & !(1 << 31)) as usize * 8;
                    u64::from_be_bytes(long.get(at..at + 8)?.try_into().ok()?)
                }
                near => u64::from(near),
            };
            Some(Place { oid: Oid::from_bytes(oid)?, offset, crc: number(crc)? })
        };
        let places = names.chunks_exact(20).zip(crcs.chunks_exact(4)).zip(offsets.chunks_exact(4)).map(place);
        let objects = places.collect::<Option<Vec<_>>>()?;
        let length = std::fs::metadata(path).ok()?.len();
        (found == checksum && length > 20).then(|| Self {
            path: path.to_owned(),
            name: Oid::from_bytes(name).unwrap_or_default(),
            length,
            objects,
            _held: None,
        })
    }

    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// The index of the second version, as every git reads it.
    pub fn index(&self) -> Vec<u8> {
        let mut bytes = vec![0xff, b't', b'O', b'c', 0, 0, 0, 2];
        let mut count = 0usize;
        for first in 0..=255u8 {
            count += self.objects.iter().skip(count).take_while(|object| object.oid.0[0] == first).count();
            bytes.extend((count as u32).to_be_bytes());
        }
        self.objects.iter().for_each(|object| bytes.extend(object.oid.0));
        self.objects.iter().for_each(|object| bytes.extend(object.crc.to_be_bytes()));
        // Offsets with the highest bit set are places in a table of long ones.
        let mut long = Vec::new();
        for object in &self.objects {
            let short = u32::try_from(object.offset).ok().filter(|offset| *offset < 1 << 31);
            bytes.extend(
                short
                    .unwrap_or_else(|| {
                        long.push(object.offset);
                        1 << 31 | (long.len() - 1) as u32
                    })
                    .to_be_bytes(),
            );
        }
        long.iter().for_each(|offset| bytes.extend(offset.to_be_bytes()));
        bytes.extend(self.name.0);
        let checksum: [u8; 20] = Sha1::digest(&bytes).into();
        bytes.extend(checksum);
        bytes
    }

    /// Each object with the bytes it takes, in the order of the file.
    fn spans(&self) -> Vec<(Place, u64)> {
        let mut ordered = self.objects.clone();
        ordered.sort_unstable_by_key(|object| object.offset);
        let ends =
            ordered.iter().skip(1).map(|next| next.offset).chain([self.length - 20]).collect::<Vec<_>>();
        ordered
            .into_iter()
            .zip(ends)
            .map(|(object, end)| (object, end.saturating_sub(object.offset)))
            .collect()
    }
}

struct Counted<'a> {
    inner: &'a mut BufWriter<File>,
    crc: crc32fast::Hasher,
    length: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.crc.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// By the real git, which knows what a pack is.
    fn verify(path: &Path) -> String {
        let output = Command::new("git").arg("verify-pack").arg("-v").arg(path).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn install(pack: &Pack) -> PathBuf {
        let index = pack.path.with_extension("idx");
        std::fs::write(&index, pack.index()).unwrap();
        index
    }

    #[test]
    fn git_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = PackWriter::create(&dir.path().join("a.pack")).unwrap();
        let contents = [&b""[..], b"short", &[7; 100_000]];
        for content in contents {
            writer.append(Oid::of(Kind::Blob, content), &compress(Kind::Blob, content).unwrap()).unwrap();
        }
        let refused = writer.stream::<io::Error>(Kind::Blob, 9, |write| write(b"four").map(|()| None));
        refused.unwrap();
        let streamed = Oid::of(Kind::Blob, b"four more");
        let taken = writer.stream::<io::Error>(Kind::Blob, 9, |write| {
            write(b"four")?;
            write(b" more")?;
            Ok(Some(streamed))
        });
        taken.unwrap();
        let pack = writer.finish().unwrap();
        let listed = verify(&install(&pack));
        for content in contents {
            assert!(
                listed.contains(&format!("{} blob   {} ", Oid::of(Kind::Blob, content), content.len())),
                "{listed}"
            );
        }
        assert!(listed.contains(&format!("{streamed} blob   9 ")), "{listed}");

        let again = Pack::reopen(&pack.path, &pack.index()).unwrap();
        assert_eq!((again.name, again.length, &again.objects), (pack.name, pack.length, &pack.objects));
        assert!(Pack::reopen(&pack.path, &pack.index()[1..]).is_none());
        let mut second = PackWriter::create(&dir.path().join("b.pack")).unwrap();
        assert!(second.append_raw(&pack, HashSet::from([streamed, Oid([7; 20])])).is_err());
        let mut second = PackWriter::create(&dir.path().join("c.pack")).unwrap();
        second.append_raw(&pack, HashSet::from([streamed])).unwrap();
        assert_eq!(
            verify(&install(&second.finish().unwrap())).lines().filter(|line| line.contains("blob")).count(),
            1
        );
    }

    #[test]
    fn a_pack_without_objects_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let pack = PackWriter::create(&dir.path().join("a.pack")).unwrap().finish().unwrap();
        verify(&install(&pack));
    }
}
