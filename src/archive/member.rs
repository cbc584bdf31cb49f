//! The members of a tar stream, one after another: headers of all common dialects (old, ustar, PAX, GNU) put
//! together into one description, and the content behind them. Decides nothing about where they go.

use tar::Header;

use crate::archive::decode::Decoded;
use crate::archive::pax::Pax;
use crate::archive::sparse::{MOST_RUNS, Run, runs};
use crate::archive::{ArchiveError, BLOCK};
use crate::base::bytes_text::BytesText;
use crate::base::timestamp::Timestamp;
use crate::snapshot::Attribute;

/// Extended headers hold names, link targets and attributes; nothing real comes near.
const LONGEST_EXTENSION: u64 = 8 << 20;

pub(super) struct Members<'r> {
    input: Decoded<'r>,
    /// Of the current member, not yet read.
    remaining: u64,
    padding: u64,
    /// From global extended headers.
    global: Pax,
    has_begun: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    /// As written in the archive.
    pub(super) name: Vec<u8>,
    pub(super) kind: MemberKind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) attributes: Vec<Attribute>,
    pub(super) has_text_acl: bool,
}

#[derive(Debug)]
pub(super) enum MemberKind {
    /// The content follows, the data of all runs without the gaps between them.
    File {
        size: u64,
        runs: Vec<Run>,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
}

/// Extended headers in front of a member.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    is_any: bool,
}

impl<'r> Members<'r> {
    pub(super) fn new(input: Decoded<'r>) -> Self {
        Self { input, remaining: 0, padding: 0, global: Pax::default(), has_begun: false }
    }

    /// Passes over what is left of the current member. `None` only at a proper end: behind the end-of-archive
    /// block, and behind all that the compression still had to check.
    pub(super) fn next(&mut self) -> Result<Option<Member>, ArchiveError> {
        self.pass_over()?;
        let mut extensions = Extensions { pax: self.global.clone(), ..Extensions::default() };
        loop {
            let Some(header) = self.header()? else {
                if extensions.is_any {
                    return Err(self.input.damaged("an extended header without a member"));
                }
                self.drain()?;
                return Ok(None);
            };
            let size = self.size_of(&header)?;
            match header.as_bytes().get(156) {
                Some(b'x' | b'X') => {
                    let records = self.extension(size)?;
                    extensions.pax.read(&records).map_err(|reason| self.input.damaged(reason))?;
                    extensions.is_any = true;
                }
                Some(b'g') => {
                    let records = self.extension(size)?;
                    self.global.read(&records).map_err(|reason| self.input.damaged(reason))?;
                    extensions.pax.read(&records).map_err(|reason| self.input.damaged(reason))?;
                }
                Some(b'L') => {
                    extensions.long_name = Some(until_nul(self.extension(size)?));
                    extensions.is_any = true;
                }
                Some(b'K') => {
                    extensions.long_link = Some(until_nul(self.extension(size)?));
                    extensions.is_any = true;
                }
                // The name of the whole volume.
                Some(b'V') => {
                    self.begin_content(size);
                    self.pass_over()?;
                }
                _ => return self.member(&header, size, extensions).map(Some),
            }
        }
    }

    /// Fills `buffer` with content of the current member.
    pub(super) fn read_content(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        match self.remaining.checked_sub(buffer.len() as u64) {
            Some(remaining) => self.remaining = remaining,
            None => return Err(self.input.damaged("a sparse map that asks for more data than there is")),
        }
        self.input.read_exact(buffer)
    }

    fn member(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Member, ArchiveError> {
        let Extensions { pax, long_name, long_link, .. } = extensions;
        let stored = pax.size.unwrap_or(size);
        let name = pax
            .sparse
            .name
            .clone()
            .or_else(|| pax.path.clone())
            .or(long_name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = pax
            .link_path
            .clone()
            .or(long_link)
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let flag = header.as_bytes().get(156).copied().unwrap_or(0);
        let kind = match flag {
            b'0' | 0 | b'7' if name.ends_with(b"/") => MemberKind::Directory,
            b'0' | 0 | b'7' => {
                self.begin_content(stored);
                self.file(stored, &pax)?
            }
            b'S' => {
                let (numbers, real_size) = self.old_sparse_map(header)?;
                self.begin_content(stored);
                let runs = runs(&numbers, stored, real_size);
                let runs = runs.ok_or_else(|| self.input.damaged("a sparse map that does not fit"))?;
                MemberKind::File { size: real_size, runs }
            }
            b'1' => MemberKind::HardLink(link),
            b'2' => MemberKind::Symlink(link),
            // `D`: GNU's incremental archives; the list of names in it is of no use here.
            b'5' | b'D' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            b'3' | b'4' => {
                let (major, minor) = self.device(header)?;
                if flag == b'3' {
                    MemberKind::CharacterDevice { major, minor }
                } else {
                    MemberKind::BlockDevice { major, minor }
                }
            }
            other => {
                return Err(ArchiveError::Unsupported {
                    member: BytesText(name),
                    reason: format!("type `{}` is not known", char::from(other).escape_default()),
                });
            }
        };
        // Directories and hard links have a size in some archives, but no data behind it; these have.
        if matches!(kind, MemberKind::Directory) && flag != b'5' {
            self.begin_content(stored);
        }
        Ok(Member {
            name,
            kind,
            mode: self.field(header, 100, 8)?.unwrap_or(0) as u32 & 0o7777,
            uid: self.id(pax.uid, header, 108)?,
            gid: self.id(pax.gid, header, 116)?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => Timestamp::new(self.field(header, 136, 12)?.unwrap_or(0), 0),
            },
            attributes: pax.attributes,
            has_text_acl: pax.has_text_acl,
        })
    }

    fn file(&mut self, stored: u64, pax: &Pax) -> Result<MemberKind, ArchiveError> {
        let sparse = &pax.sparse;
        let numbers = if sparse.is_inline {
            self.inline_sparse_map()?
        } else if let Some(numbers) = &sparse.numbers {
            numbers.clone()
        } else {
            return Ok(MemberKind::File { size: stored, runs: vec![Run { offset: 0, length: stored }] });
        };
        let size = sparse.real_size.ok_or_else(|| self.input.damaged("a sparse file without a size"))?;
        let runs = runs(&numbers, self.remaining, size);
        let runs = runs.ok_or_else(|| self.input.damaged("a sparse map that does not fit"))?;
        Ok(MemberKind::File { size, runs })
    }

    /// Sparse format 1.0: decimal lines at the beginning of the content, padded to a block.
    fn inline_sparse_map(&mut self) -> Result<Vec<u64>, ArchiveError> {
        let mut numbers = Vec::new();
        let mut wanted: Option<usize> = None;
        let mut number: u64 = 0;
        let mut block = [0u8; BLOCK];
        while wanted != Some(numbers.len()) {
            self.read_content(&mut block)?;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let next = number.checked_mul(10).and_then(|n| n.checked_add(u64::from(byte - b'0')));
                        number = next.ok_or_else(|| self.input.damaged("a number too large"))?;
                    }
                    b'\n' if wanted.is_none() => {
                        let runs = usize::try_from(number).ok().filter(|runs| *runs <= MOST_RUNS);
                        wanted = Some(runs.ok_or_else(|| self.input.damaged("too many holes"))? * 2);
                        number = 0;
                    }
                    b'\n' => {
                        numbers.push(number);
                        number = 0;
                    }
                    _ => return Err(self.input.damaged("a malformed sparse map")),
                }
                if wanted == Some(numbers.len()) {
                    break;
                }
            }
        }
        Ok(numbers)
    }

    /// GNU's own header: four runs in it, more in blocks behind it.
    fn old_sparse_map(&mut self, header: &Header) -> Result<(Vec<u64>, u64), ArchiveError> {
        let mut numbers = Vec::new();
        let real_size = self.unsigned(header.as_bytes(), 483, 12)?;
        self.old_sparse_runs(header.as_bytes(), 386, 4, &mut numbers)?;
        let mut is_extended = header.as_bytes().get(482).is_some_and(|flag| *flag != 0);
        while is_extended {
            let mut block = [0u8; BLOCK];
            self.input.read_exact(&mut block)?;
            self.old_sparse_runs(&block, 0, 21, &mut numbers)?;
            is_extended = block.get(504).is_some_and(|flag| *flag != 0);
        }
        Ok((numbers, real_size))
    }

    fn old_sparse_runs(
        &self,
        block: &[u8; BLOCK],
        start: usize,
        count: usize,
        numbers: &mut Vec<u64>,
    ) -> Result<(), ArchiveError> {
        for at in (start..).step_by(24).take(count) {
            if block.get(at).is_some_and(|byte| *byte == 0) {
                break;
            }
            numbers.push(self.unsigned(block, at, 12)?);
            numbers.push(self.unsigned(block, at + 12, 12)?);
            if numbers.len() > 2 * MOST_RUNS {
                return Err(self.input.damaged("too many holes"));
            }
        }
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let read = self.input.read_exact(header.as_mut_bytes());
        if !self.has_begun && matches!(read, Err(ArchiveError::Truncated { .. })) {
            return Err(ArchiveError::NotAnArchive);
        }
        read?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let stored = self.field(&header, 148, 8);
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (at, byte) in header.as_bytes().iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            // Some very old archivers summed up signed characters.
            signed += i64::from(byte.cast_signed());
        }
        if !matches!(stored, Ok(Some(sum)) if sum == unsigned || sum == signed) {
            return Err(if self.has_begun {
                self.input.damaged("a header whose checksum is wrong")
            } else {
                ArchiveError::NotAnArchive
            });
        }
        self.has_begun = true;
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > LONGEST_EXTENSION {
            return Err(self.input.damaged(format!("an extended header of {size} bytes")));
        }
        self.begin_content(size);
        let mut records = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read_content(&mut records)?;
        self.pass_over()?;
        Ok(records)
    }

    fn begin_content(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn pass_over(&mut self) -> Result<(), ArchiveError> {
        let mut left = u128::from(self.remaining) + u128::from(self.padding);
        (self.remaining, self.padding) = (0, 0);
        let mut buffer = [0u8; 16 << 10];
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.input.read_exact(buffer.get_mut(..length).unwrap_or_default())?;
            left -= length as u128;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0u8; 16 << 10];
        while self.input.read(&mut buffer)? > 0 {}
        Ok(())
    }

    fn size_of(&self, header: &Header) -> Result<u64, ArchiveError> {
        self.unsigned(header.as_bytes(), 124, 12)
    }

    fn device(&self, header: &Header) -> Result<(u32, u32), ArchiveError> {
        let number = |at| -> Result<u32, ArchiveError> {
            u32::try_from(self.unsigned(header.as_bytes(), at, 8)?)
                .map_err(|_| self.input.damaged("a device number too large"))
        };
        Ok((number(329)?, number(337)?))
    }

    fn id(&self, extended: Option<u64>, header: &Header, at: usize) -> Result<u32, ArchiveError> {
        let id = match extended {
            Some(id) => id,
            None => self.unsigned(header.as_bytes(), at, 8)?,
        };
        u32::try_from(id).map_err(|_| self.input.damaged("an owner number too large"))
    }

    fn unsigned(&self, block: &[u8; BLOCK], at: usize, length: usize) -> Result<u64, ArchiveError> {
        let number = numeric(block.get(at..at + length).unwrap_or_default());
        match number.map(|number| u64::try_from(number.unwrap_or(0))) {
            Some(Ok(number)) => Ok(number),
            _ => Err(self.input.damaged("a malformed number in a header")),
        }
    }

    fn field(&self, header: &Header, at: usize, length: usize) -> Result<Option<i64>, ArchiveError> {
        numeric(header.as_bytes().get(at..at + length).unwrap_or_default())
            .ok_or_else(|| self.input.damaged("a malformed number in a header"))
    }
}

/// Octal text, or GNU's binary form with the first bit set, two's complement. An empty field is no number.
#[allow(clippy::option_option, reason = "the outer is an error, the inner an empty field")]
fn numeric(field: &[u8]) -> Option<Option<i64>> {
    if let Some(first) = field.first().filter(|first| **first & 0x80 != 0) {
        let sign = if first & 0x40 == 0 { 0 } else { -1 };
        let head = i128::from(first & 0x7f) - if sign == 0 { 0 } else { 0x80 };
        let number = field.iter().skip(1).try_fold(head, |number, byte| {
            number.checked_mul(256).map(|number| number + i128::from(*byte))
        })?;
        return i64::try_from(number).ok().map(Some);
    }
    let text = field.split(|byte| *byte == 0).next()?.trim_ascii();
    if text.is_empty() {
        return Some(None);
    }
    text.iter()
        .try_fold(0i64, |number, byte| match byte {
            b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
            _ => None,
        })
        .map(Some)
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        assert_eq!(numeric(b"0000644\0"), Some(Some(0o644)));
        assert_eq!(numeric(b"   644 \0"), Some(Some(0o644)));
        assert_eq!(numeric(b"\0\0\0\0\0\0\0\0"), Some(None));
        assert_eq!(numeric(b"\x80\0\0\0\0\0\x01\0"), Some(Some(256)));
        assert_eq!(numeric(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(Some(-2)));
        assert_eq!(numeric(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(Some(-2)));
        assert_eq!(numeric(b"12x4567\0"), None);
    }
}
