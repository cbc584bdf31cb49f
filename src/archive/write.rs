//! Writes snapshot entries as a PAX archive that GNU tar and its like read, with all that the format can hold.

use std::fmt;
use std::io::{self, Read, Write};

use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use crate::archive::pax::{push, push_attribute, time_text};
use crate::archive::{ArchiveError, BLOCK};
use crate::snapshot::{Entry, Hole, Kind, RelativePath};
use crate::tree::holes::data_between;

/// What other tools pad to: twenty blocks.
const RECORD: u64 = 20 * BLOCK as u64;
const BUFFER: usize = 256 << 10;
/// The most a name takes in a header without an extended one.
const HEADER_NAME: usize = 100;
/// The largest number of eleven octal digits.
const OCTAL_LIMIT: u64 = 0o777_7777_7777;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Tar,
    /// 0 to 9.
    TarGz(u32),
    /// 1 to 22, or 0 for the codec's own default.
    TarZstd(i32),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    pub entries: u64,
    pub files: u64,
    /// Of content; holes do not count.
    pub bytes: u64,
    /// Sockets: the format has no place for them, and the program behind one makes it anew.
    pub skipped: Vec<RelativePath>,
}

/// Without `finish` the archive is not whole, and readers say so.
pub struct ArchiveWriter<W: Write> {
    output: Output<W>,
    written: u64,
    buffer: Vec<u8>,
    report: WriteReport,
}

enum Output<W: Write> {
    Tar(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(write: W, codec: Codec) -> Result<Self, ArchiveError> {
        let output = match codec {
            Codec::Tar => Output::Tar(write),
            Codec::TarGz(level) => {
                Output::Gzip(GzEncoder::new(write, flate2::Compression::new(level.min(9))))
            }
            Codec::TarZstd(level) => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(write, level).map_err(ArchiveError::Write)?;
                encoder.include_checksum(true).map_err(ArchiveError::Write)?;
                Output::Zstd(encoder)
            }
        };
        Ok(Self { output, written: 0, buffer: vec![0; BUFFER], report: WriteReport::default() })
    }

    /// `content` is that of a regular file from its first byte to its last, holes as zeros; it is not read for
    /// anything else. An entry with `hard_link` becomes a link to that path, which must have come before.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let mut header = Header::new_ustar();
        let mut records = Vec::new();
        let mut name = entry.path.as_bytes().to_vec();
        let mut size = 0;
        let mut map = None;
        match &entry.kind {
            Kind::Socket => {
                self.report.skipped.push(entry.path.clone());
                return Ok(());
            }
            _ if entry.hard_link.is_some() => {
                header.set_entry_type(EntryType::Link);
                let first = entry.hard_link.as_ref().map(RelativePath::as_bytes).unwrap_or_default();
                set_link(&mut header, &mut records, first);
            }
            Kind::File { size: whole, holes, .. } => {
                header.set_entry_type(EntryType::Regular);
                size = *whole;
                if !holes.is_empty() {
                    let (text, data) = sparse_map(holes, *whole);
                    push(&mut records, b"GNU.sparse.major", b"1");
                    push(&mut records, b"GNU.sparse.minor", b"0");
                    push(&mut records, b"GNU.sparse.name", &name);
                    push(&mut records, b"GNU.sparse.realsize", whole.to_string().as_bytes());
                    size = data.iter().map(|(_, length)| length).sum::<u64>() + text.len() as u64;
                    map = Some((text, data));
                }
            }
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                name = if name.is_empty() { b"./".to_vec() } else { [&name[..], b"/"].concat() };
            }
            Kind::Symlink { target } => {
                header.set_entry_type(EntryType::Symlink);
                set_link(&mut header, &mut records, target.as_bytes());
            }
            Kind::Fifo => header.set_entry_type(EntryType::Fifo),
            Kind::CharacterDevice { major, minor } => {
                header.set_entry_type(EntryType::Char);
                set_device(&mut header, *major, *minor)?;
            }
            Kind::BlockDevice { major, minor } => {
                header.set_entry_type(EntryType::Block);
                set_device(&mut header, *major, *minor)?;
            }
        }
        set_name(&mut header, &mut records, &name);
        set_numbers(&mut header, &mut records, entry, size);
        for attribute in &entry.attributes {
            push_attribute(&mut records, attribute);
        }
        self.extended_header(&records)?;
        header.set_cksum();
        self.write(header.as_bytes())?;
        if header.entry_type() == EntryType::Regular {
            match map {
                Some((text, data)) => {
                    self.write(&text)?;
                    self.sparse_content(entry, &data, content)?;
                }
                None => self.copy(entry, size, content)?,
            }
            self.report.files += 1;
        }
        self.pad(BLOCK as u64)?;
        self.report.entries += 1;
        Ok(())
    }

    /// Ends the archive and the compression. The caller flushes and syncs what it gets back.
    pub fn finish(mut self) -> Result<(W, WriteReport), ArchiveError> {
        self.write(&[0; 2 * BLOCK])?;
        self.pad(RECORD)?;
        let inner = match self.output {
            Output::Tar(inner) => Ok(inner),
            Output::Gzip(encoder) => encoder.finish(),
            Output::Zstd(encoder) => encoder.finish(),
        };
        Ok((inner.map_err(ArchiveError::Write)?, self.report))
    }

    fn extended_header(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        if records.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        copy_field(&mut header, 0, b"PaxHeader");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        self.write(header.as_bytes())?;
        self.write(records)?;
        self.pad(BLOCK as u64)
    }

    fn sparse_content(
        &mut self,
        entry: &Entry,
        data: &[(u64, u64)],
        content: &mut dyn Read,
    ) -> Result<(), ArchiveError> {
        let mut at = 0;
        for (offset, length) in data {
            let hole = offset.saturating_sub(at);
            let skipped = io::copy(&mut content.take(hole), &mut io::sink());
            let failed = |source| ArchiveError::Content { path: entry.path.clone(), source };
            if skipped.map_err(failed)? < hole {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            self.copy(entry, *length, content)?;
            at = offset.saturating_add(*length);
        }
        Ok(())
    }

    /// Exactly `length` bytes: the header has promised them.
    fn copy(&mut self, entry: &Entry, length: u64, content: &mut dyn Read) -> Result<(), ArchiveError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let failed = |source| ArchiveError::Content { path: entry.path.clone(), source };
            let read = match content.read(buffer.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            self.write(buffer.get(..read).unwrap_or_default())?;
            left = left.saturating_sub(read as u64);
        }
        self.buffer = buffer;
        self.report.bytes += length;
        Ok(())
    }

    fn pad(&mut self, unit: u64) -> Result<(), ArchiveError> {
        let mut left = usize::try_from(self.written.wrapping_neg() % unit).unwrap_or(0);
        let zeros = [0u8; BLOCK];
        while left > 0 {
            let length = left.min(BLOCK);
            self.write(zeros.get(..length).unwrap_or_default())?;
            left -= length;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        let written = match &mut self.output {
            Output::Tar(output) => output.write_all(bytes),
            Output::Gzip(output) => output.write_all(bytes),
            Output::Zstd(output) => output.write_all(bytes),
        };
        self.written = self.written.wrapping_add(bytes.len() as u64);
        written.map_err(ArchiveError::Write)
    }
}

impl<W: Write> fmt::Debug for ArchiveWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveWriter").field("written", &self.written).finish_non_exhaustive()
    }
}

fn set_name(header: &mut Header, records: &mut Vec<u8>, name: &[u8]) {
    copy_field(header, 0, name);
    if name.len() > HEADER_NAME {
        push_path(records, b"path", name);
    }
}

fn set_link(header: &mut Header, records: &mut Vec<u8>, target: &[u8]) {
    copy_field(header, 157, target);
    if target.len() > HEADER_NAME {
        push_path(records, b"linkpath", target);
    }
}

fn push_path(records: &mut Vec<u8>, key: &[u8], path: &[u8]) {
    if std::str::from_utf8(path).is_err() {
        push(records, b"hdrcharset", b"BINARY");
    }
    push(records, key, path);
}

/// As much as fits into the hundred bytes there.
fn copy_field(header: &mut Header, at: usize, bytes: &[u8]) {
    let length = bytes.len().min(HEADER_NAME);
    if let (Some(field), Some(bytes)) = (header.as_mut_bytes().get_mut(at..at + length), bytes.get(..length))
    {
        field.copy_from_slice(bytes);
    }
}

fn set_numbers(header: &mut Header, records: &mut Vec<u8>, entry: &Entry, size: u64) {
    header.set_mode(entry.mode & 0o7777);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_size(size);
    if size > OCTAL_LIMIT {
        push(records, b"size", size.to_string().as_bytes());
    }
    let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_LIMIT);
    header.set_mtime(seconds.unwrap_or(0));
    if seconds.is_none() || entry.mtime.nanoseconds != 0 {
        push(records, b"mtime", time_text(entry.mtime).as_bytes());
    }
}

fn set_device(header: &mut Header, major: u32, minor: u32) -> Result<(), ArchiveError> {
    header.set_device_major(major).map_err(ArchiveError::Write)?;
    header.set_device_minor(minor).map_err(ArchiveError::Write)
}

/// The map as text, padded to a block, and the runs of data it names.
fn sparse_map(holes: &[Hole], size: u64) -> (Vec<u8>, Vec<(u64, u64)>) {
    let data = data_between(holes, size);
    // A hole at the end shows only by a last run of nothing.
    let end = data.last().map_or(0, |(offset, length)| offset.saturating_add(*length));
    let last = (end < size).then_some((size, 0));
    let runs = data.iter().copied().chain(last);
    let mut text = format!("{}\n", runs.clone().count());
    for (offset, length) in runs {
        text.push_str(&format!("{offset}\n{length}\n"));
    }
    let mut text = text.into_bytes();
    text.resize(text.len().next_multiple_of(BLOCK), 0);
    (text, data)
}
