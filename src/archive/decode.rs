//! The bytes of a tar stream out of whatever it is compressed with, and whose fault it is when they end. A
//! compressed stream that does not end properly is an error even behind the last byte of the tar in it.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::read::MultiGzDecoder;

use crate::archive::ArchiveError;

const BUFFER: usize = 128 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The last three bytes of a skippable zstd frame's magic; the first is `0x50` to `0x5f`.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Counts what it gives out, and never gives out more than `limit` bytes.
pub(super) struct Decoded<'r> {
    stream: Box<dyn Read + 'r>,
    source_failed: Arc<AtomicBool>,
    position: u64,
    limit: u64,
}

impl<'r> Decoded<'r> {
    pub(super) fn open(mut reader: impl Read + 'r, limit: u64) -> Result<Self, ArchiveError> {
        let mut magic = Vec::with_capacity(4);
        reader.by_ref().take(4).read_to_end(&mut magic).map_err(ArchiveError::Read)?;
        let source_failed = Arc::new(AtomicBool::new(false));
        let whole = Cursor::new(magic.clone()).chain(reader);
        let source =
            BufReader::with_capacity(BUFFER, Source { inner: whole, failed: Arc::clone(&source_failed) });
        let is_zstd = magic == ZSTD
            || (magic.get(1..) == Some(&ZSTD_SKIPPABLE[..])
                && magic.first().is_some_and(|byte| byte >> 4 == 5));
        let stream: Box<dyn Read + 'r> = if magic.starts_with(&GZIP) {
            Box::new(MultiGzDecoder::new(source))
        } else if is_zstd {
            Box::new(zstd::stream::read::Decoder::with_buffer(source).map_err(ArchiveError::Read)?)
        } else {
            Box::new(source)
        };
        Ok(Self { stream, source_failed, position: 0, limit })
    }

    /// 0 at the proper end only.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        loop {
            match self.stream.read(buffer) {
                Ok(length) => {
                    self.position = self.position.saturating_add(length as u64);
                    if self.position > self.limit {
                        return Err(ArchiveError::TooLarge { limit: self.limit, unit: "bytes" });
                    }
                    return Ok(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.judge(error)),
            }
        }
    }

    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => return Err(ArchiveError::Truncated { position: self.position }),
                length => filled += length,
            }
        }
        Ok(())
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { position: self.position, reason: reason.into() }
    }

    fn judge(&self, error: io::Error) -> ArchiveError {
        let position = self.position;
        if self.source_failed.load(Ordering::Relaxed) {
            ArchiveError::Read(error)
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            ArchiveError::Truncated { position }
        } else {
            ArchiveError::Damaged { position, reason: error.to_string() }
        }
    }
}

/// Remembers that an error came from here and not from the decoder around it.
struct Source<R> {
    inner: R,
    failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        if result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}
