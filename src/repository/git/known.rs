//! What a volume remembers of the commit it knows last: each entry with what it looked like on the disk, and the names
//! of all objects. A backup compares with it instead of reading. May vanish or be damaged at any time: then it costs
//! time, never correctness.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::base::timestamp::Timestamp;
use crate::repository::git::object::Mode;
use crate::repository::git::oid::Oid;
use crate::repository::scan::StatRow;
use crate::snapshot::RelativePath;
use crate::tree::{FileKind, Found};

const MAGIC: &[u8; 8] = b"VKGIT01\n";
/// No path or line of an entry comes near it; damage might.
const LONGEST: u32 = 16 << 20;
const BUFFER: usize = 256 << 10;

/// An entry as it was, and its line in the manifest, which is used again as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub path: RelativePath,
    pub stat: StatRow,
    pub mtime: Timestamp,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub kind: FileKind,
    /// Of what stands in the git tree: files and symlinks.
    pub content: Option<(Mode, Oid)>,
    pub hard_link: Option<RelativePath>,
    /// Bytes of the content without holes.
    pub data_bytes: u64,
    pub line: Vec<u8>,
}

impl Row {
    /// Every change to content or metadata moves the change time, which no program can set.
    pub fn is_unchanged(&self, found: &Found) -> bool {
        let stat = &found.stat;
        self.stat.trusted
            && self.stat.inode == stat.inode
            && self.stat.ctime == stat.ctime
            && self.mtime == stat.mtime
            && (self.mode, self.uid, self.gid) == (stat.mode, stat.uid, stat.gid)
            && self.kind == stat.kind
            && (self.kind != FileKind::File || self.size == stat.size)
    }
}

/// A file of rows: a magic number, the rows, a row of length zero, the names of other objects with their number, the
/// name of the tree, and a checksum, which was right when it was opened.
#[derive(Clone, Debug)]
pub struct Rows {
    path: PathBuf,
    pub tree: Oid,
    /// Blobs, trees, everything that is there.
    pub objects: HashSet<Oid>,
}

#[derive(Debug)]
pub struct RowReader {
    file: BufReader<File>,
    next: Option<Row>,
}

#[derive(Debug)]
pub struct RowWriter {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Rows {
    /// `None`: not there, or not whole.
    pub fn open(path: &Path) -> Option<Self> {
        let mut bytes = BufReader::with_capacity(BUFFER, File::open(path).ok()?);
        let length = fs::metadata(path).ok()?.len().checked_sub(32)?;
        let mut hasher = blake3::Hasher::new();
        let mut body = Hashing { inner: (&mut bytes).take(length), hasher: &mut hasher };
        if read_array(&mut body).ok()? != *MAGIC {
            return None;
        }
        let mut objects = HashSet::new();
        while let Some(row) = read_row(&mut body).ok()? {
            objects.extend(row.content.map(|(_, oid)| oid));
        }
        for _ in 0..read_u64(&mut body).ok()? {
            objects.insert(read_oid(&mut body).ok()?);
        }
        let tree = read_oid(&mut body).ok()?;
        objects.insert(tree);
        let rest = io::copy(&mut body, &mut io::sink()).ok()?;
        let checksum: [u8; 32] = read_array(&mut bytes).ok()?;
        (rest == 0 && checksum == *hasher.finalize().as_bytes()).then(|| Self {
            path: path.to_owned(),
            tree,
            objects,
        })
    }

    /// In the order of the walk.
    pub fn read(&self) -> io::Result<RowReader> {
        let mut file = BufReader::with_capacity(BUFFER, File::open(&self.path)?);
        let _: [u8; 8] = read_array(&mut file)?;
        let next = read_row(&mut file)?;
        Ok(RowReader { file, next })
    }
}

impl RowReader {
    pub fn next(&mut self) -> io::Result<Option<Row>> {
        let row = self.next.take();
        if row.is_some() {
            self.next = read_row(&mut self.file)?;
        }
        Ok(row)
    }

    /// The row of `path`; those before it are passed over.
    pub fn find(&mut self, path: &RelativePath) -> io::Result<Option<Row>> {
        while let Some(next) = &self.next {
            match next.path.cmp(path) {
                std::cmp::Ordering::Less => drop(self.next()?),
                std::cmp::Ordering::Equal => return self.next(),
                std::cmp::Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl RowWriter {
    /// Into a file beside `path`, which `finish` puts in its place.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(BUFFER, File::create(path.with_extension("part"))?);
        let mut writer =
            Self { file, hasher: blake3::Hasher::new(), path: path.to_owned(), buffer: MAGIC.to_vec() };
        writer.put()?;
        Ok(writer)
    }

    pub fn push(&mut self, row: &Row) -> io::Result<()> {
        encode(row, &mut self.buffer);
        self.put()
    }

    /// Not synced: what a power cut leaves is found out by the checksum.
    pub fn finish(mut self, tree: Oid, others: &[Oid]) -> io::Result<()> {
        self.buffer.extend(0u32.to_le_bytes());
        self.buffer.extend((others.len() as u64).to_le_bytes());
        others.iter().for_each(|oid| self.buffer.extend(oid.0));
        self.buffer.extend(tree.0);
        self.put()?;
        self.file.write_all(self.hasher.finalize().as_bytes())?;
        self.file.flush()?;
        fs::rename(self.path.with_extension("part"), &self.path)
    }

    fn put(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

struct Hashing<'a, R> {
    inner: R,
    hasher: &'a mut blake3::Hasher,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn encode(row: &Row, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(row.stat.inode.to_le_bytes());
    time(row.stat.ctime, bytes);
    bytes.push(u8::from(row.stat.trusted));
    time(row.mtime, bytes);
    bytes.extend(row.size.to_le_bytes());
    bytes.extend(row.data_bytes.to_le_bytes());
    for number in [row.mode, row.uid, row.gid] {
        bytes.extend(number.to_le_bytes());
    }
    let (kind, major, minor) = match row.kind {
        FileKind::File => (0u8, 0, 0),
        FileKind::Directory => (1, 0, 0),
        FileKind::Symlink => (2, 0, 0),
        FileKind::Fifo => (3, 0, 0),
        FileKind::Socket => (4, 0, 0),
        FileKind::CharacterDevice { major, minor } => (5, major, minor),
        FileKind::BlockDevice { major, minor } => (6, major, minor),
    };
    bytes.push(kind);
    bytes.extend(major.to_le_bytes());
    bytes.extend(minor.to_le_bytes());
    let (mode, oid) = match row.content {
        None => (0u8, Oid::ZERO),
        Some((Mode::Executable, oid)) => (2, oid),
        Some((Mode::Symlink, oid)) => (3, oid),
        Some((_, oid)) => (1, oid),
    };
    bytes.push(mode);
    bytes.extend(oid.0);
    let link = row.hard_link.as_ref().map(RelativePath::as_bytes).unwrap_or_default();
    for text in [row.path.as_bytes(), link, &row.line] {
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text);
    }
    let length = ((bytes.len() - start - 4) as u32).to_le_bytes();
    bytes.splice(start..start + 4, length);
}

fn time(time: Timestamp, bytes: &mut Vec<u8>) {
    bytes.extend(time.seconds.to_le_bytes());
    bytes.extend(time.nanoseconds.to_le_bytes());
}

/// `None` at the end of the rows.
fn read_row(from: &mut impl Read) -> io::Result<Option<Row>> {
    let length = read_u32(from)?;
    if length == 0 {
        return Ok(None);
    }
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    let from = &mut body.as_slice();
    let stat = StatRow { inode: read_u64(from)?, ctime: read_time(from)?, trusted: read_u8(from)? == 1 };
    let (mtime, size, data_bytes) = (read_time(from)?, read_u64(from)?, read_u64(from)?);
    let (mode, uid, gid) = (read_u32(from)?, read_u32(from)?, read_u32(from)?);
    let (kind, major, minor) = (read_u8(from)?, read_u32(from)?, read_u32(from)?);
    let kind = match kind {
        0 => FileKind::File,
        1 => FileKind::Directory,
        2 => FileKind::Symlink,
        3 => FileKind::Fifo,
        4 => FileKind::Socket,
        5 => FileKind::CharacterDevice { major, minor },
        _ => FileKind::BlockDevice { major, minor },
    };
    let (git_mode, oid) = (read_u8(from)?, read_oid(from)?);
    let content = match git_mode {
        0 => None,
        2 => Some((Mode::Executable, oid)),
        3 => Some((Mode::Symlink, oid)),
        _ => Some((Mode::File, oid)),
    };
    let path = RelativePath::new(read_text(from)?).map_err(io::Error::other)?;
    let link = RelativePath::new(read_text(from)?).map_err(io::Error::other)?;
    let hard_link = (!link.is_root()).then_some(link);
    let line = read_text(from)?;
    Ok(Some(Row { path, stat, mtime, size, mode, uid, gid, kind, content, hard_link, data_bytes, line }))
}

fn read_text(from: &mut &[u8]) -> io::Result<Vec<u8>> {
    let length = read_u32(from)? as usize;
    let (text, rest) = from.split_at_checked(length).ok_or(io::ErrorKind::InvalidData)?;
    *from = rest;
    Ok(text.to_vec())
}

fn read_array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_u8(from: &mut impl Read) -> io::Result<u8> {
    Ok(u8::from_le_bytes(read_array(from)?))
}

fn read_u32(from: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_le_bytes(read_array(from)?))
}

fn read_u64(from: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(read_array(from)?))
}

fn read_time(from: &mut impl Read) -> io::Result<Timestamp> {
    Ok(Timestamp::new(i64::from_le_bytes(read_array(from)?), read_u32(from)?))
}

fn read_oid(from: &mut impl Read) -> io::Result<Oid> {
    Ok(Oid(read_array(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, kind: FileKind, content: Option<(Mode, Oid)>) -> Row {
        Row {
            path: RelativePath::new(path).unwrap(),
            stat: StatRow { inode: 7, ctime: Timestamp::new(-3, 9), trusted: true },
            mtime: Timestamp::new(4, 5),
            size: 1 << 40,
            mode: 0o4755,
            uid: 1,
            gid: 2,
            kind,
            content,
            hard_link: (path == "b").then(|| RelativePath::new("a").unwrap()),
            data_bytes: 12,
            line: b"{}\n".to_vec(),
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("", FileKind::Directory, None),
            row("a", FileKind::File, Some((Mode::Executable, Oid([1; 20])))),
            row("b", FileKind::Symlink, Some((Mode::Symlink, Oid([2; 20])))),
            row("c", FileKind::BlockDevice { major: 3, minor: 4 }, None),
        ]
    }

    fn written(dir: &Path) -> PathBuf {
        let mut writer = RowWriter::create(&dir.join("rows")).unwrap();
        rows().iter().for_each(|row| writer.push(row).unwrap());
        writer.finish(Oid([9; 20]), &[Oid([8; 20])]).unwrap();
        assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
        dir.join("rows")
    }

    #[test]
    fn rows_read_back_and_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let file = Rows::open(&path).unwrap();
        assert_eq!(file.tree, Oid([9; 20]));
        assert_eq!(file.objects, [1, 2, 8, 9].map(|n| Oid([n; 20])).into());
        let mut reader = file.read().unwrap();
        let mut all = Vec::new();
        while let Some(row) = reader.next().unwrap() {
            all.push(row);
        }
        assert_eq!(all, rows());
        let mut reader = file.read().unwrap();
        let mut found = |path: &str| reader.find(&RelativePath::new(path).unwrap()).unwrap().is_some();
        assert_eq!([found("a"), found("aa"), found("b"), found("d")], [true, false, true, false]);
    }

    #[test]
    fn damaged_rows_are_forgotten_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert!(Rows::open(&path).is_none(), "byte {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(Rows::open(&path).is_none(), "cut at {at}");
        }
    }
}
