//! Whole objects of a packed repository, verified on the way in: what is read here either is what was written
//! or is reported as damaged. The place where encryption wraps and unwraps.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::hash::Hash;
use crate::base::sealed::{self, SealError};
use crate::repository::packed::codec::{Codec, Encoder};
use crate::repository::packed::frame::{Frame, PackId};
use crate::repository::packed::keys;
use crate::repository::packed::pack::{self, TRAILER};
use crate::repository::packed::segment::{LONGEST_SEGMENT, Segment, SegmentRef};
use crate::repository::{Epoch, RepositoryError};
use crate::store::{Key, ObjectStore, Put, StoreError};

/// Most tables are shorter, so one request usually brings trailer and table.
const TAIL_GUESS: u64 = 16 << 10;

const LINES_AT_ONCE: usize = 64 << 10;

/// A segment as it is to be stored.
#[derive(Debug)]
pub struct EncodedLines {
    /// Of the decoded lines.
    pub id: Hash,
    /// Bytes of the decoded lines.
    pub size: u64,
    pub stored: Vec<u8>,
}

struct Counted {
    hasher: blake3::Hasher,
    size: u64,
    encoder: Encoder,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.encoder.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub struct Objects {
    pub store: Arc<dyn ObjectStore>,
    pub codec: Codec,
    pub level: i32,
}

impl Objects {
    pub fn location(&self) -> String {
        self.store.location()
    }

    pub fn damaged(&self, object: impl Into<String>, reason: impl Into<String>) -> RepositoryError {
        RepositoryError::Damaged { location: self.location(), object: object.into(), reason: reason.into() }
    }

    /// A missing object that something refers to is damage, not absence.
    pub fn needed<T>(&self, key: &Key, result: Result<T, StoreError>) -> Result<T, RepositoryError> {
        match result {
            Err(StoreError::NotFound { .. }) => Err(self.damaged(key.as_str(), "it is missing")),
            Err(error @ StoreError::ShortRead { .. }) => Err(self.damaged(key.as_str(), error.to_string())),
            other => Ok(other?),
        }
    }

    /// The object as it is; nothing is verified yet.
    pub fn stored_segment(&self, segment: &SegmentRef) -> Result<Vec<u8>, RepositoryError> {
        let key = keys::segment(&segment.id)?;
        self.needed(&key, self.store.get(&key))
    }

    pub fn segment_lines(&self, segment: &SegmentRef, stored: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        self.decode_segment(segment, stored)
            .map_err(|reason| self.damaged(format!("{}/{}", keys::SEGMENTS, segment.id), reason))
    }

    pub fn decode_segment(&self, segment: &SegmentRef, stored: &[u8]) -> Result<Vec<u8>, String> {
        if segment.size > LONGEST_SEGMENT {
            return Err(format!(
                "the snapshot says that it has {} bytes, more than any segment",
                segment.size
            ));
        }
        let length = usize::try_from(segment.size).map_err(|error| error.to_string())?;
        let lines =
            self.codec.decode(stored, length).map_err(|error| format!("it does not decode: {error}"))?;
        if Hash::of(&lines) == segment.id {
            Ok(lines)
        } else {
            Err("its content does not match its name".to_owned())
        }
    }

    pub fn parse_segment(&self, segment: &SegmentRef, lines: &[u8]) -> Result<Segment, RepositoryError> {
        Segment::from_lines(lines)
            .map_err(|reason| self.damaged(format!("{}/{}", keys::SEGMENTS, segment.id), reason))
    }

    /// The decoded bytes of one frame, from bytes that begin at its offset.
    pub fn decode_frame(&self, frame: &Frame, stored: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let plain = self.decode_unverified(frame, stored)?;
        self.verify_frame(frame, &plain)?;
        Ok(plain)
    }

    pub fn verify_frame(&self, frame: &Frame, plain: &[u8]) -> Result<(), RepositoryError> {
        if Hash::of(plain) == frame.hash {
            return Ok(());
        }
        let object = format!("{}/{}", keys::PACKS, frame.pack);
        Err(self.damaged(object, format!("the frame at {} does not match its hash", frame.offset)))
    }

    /// For callers that verify every piece they take by a hash of its own.
    pub fn decode_unverified(&self, frame: &Frame, stored: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let object = || format!("{}/{}", keys::PACKS, frame.pack);
        self.codec.decode(stored, frame.plain as usize).map_err(|error| {
            self.damaged(object(), format!("the frame at {} does not decode: {error}", frame.offset))
        })
    }

    pub fn fetch(&self, pack: PackId, offset: u64, length: u64) -> Result<Vec<u8>, RepositoryError> {
        let key = keys::pack(pack)?;
        self.needed(&key, self.store.get_range(&key, offset, length))
    }

    /// Into `bytes`, whose room is used again.
    pub fn fetch_into(
        &self,
        pack: PackId,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), RepositoryError> {
        let key = keys::pack(pack)?;
        self.needed(&key, self.store.get_range_into(&key, offset, length, bytes))
    }

    pub fn frame_bytes(&self, frame: &Frame) -> Result<Vec<u8>, RepositoryError> {
        let stored = self.fetch(frame.pack, frame.offset, u64::from(frame.stored))?;
        self.decode_frame(frame, &stored)
    }

    /// The frames that the pack's own table of contents names, and the pack's size.
    pub fn table(&self, id: PackId) -> Result<(Vec<Frame>, u64), RepositoryError> {
        let key = keys::pack(id)?;
        let size = self.needed(&key, self.store.size(&key))?;
        Ok((self.table_of(id, size)?, size))
    }

    /// The same of a pack of `size` bytes.
    pub fn table_of(&self, id: PackId, size: u64) -> Result<Vec<Frame>, RepositoryError> {
        let key = keys::pack(id)?;
        let damaged = |reason: &str| self.damaged(key.as_str(), reason);
        let (before, after) = self.codec.wrapping();
        let tail_length = size.min(TAIL_GUESS);
        let mut tail = self.fetch(id, size - tail_length, tail_length)?;
        let end = tail.len().checked_sub(after).ok_or_else(|| damaged("it is cut"))?;
        let trailer = end.checked_sub(TRAILER).and_then(|from| tail.get(from..end));
        let length =
            trailer.and_then(pack::table_length).ok_or_else(|| damaged("its end is not that of a pack"))?;
        let wanted = (length + TRAILER + after + before) as u64;
        let data_end = size.checked_sub(wanted).ok_or_else(|| damaged("its table of contents is cut"))?;
        if wanted > tail_length {
            tail = self.fetch(id, data_end, wanted)?;
        }
        let from = tail.len() - (length + TRAILER + after);
        let table = tail.get(from..from + length).unwrap_or_default();
        pack::read_table(id, table, data_end).map_err(|reason| damaged(&reason))
    }

    pub fn put_segment(&self, id: &Hash, stored: &Bytes) -> Result<(), RepositoryError> {
        Ok(self.store.put(&keys::segment(id)?, stored)?)
    }

    /// Entry by entry through the compressor: a segment's lines are several times what is stored of them, and are
    /// never held as a whole.
    pub fn encode_segment(&self, segment: Segment, epoch: Epoch) -> Result<EncodedLines, RepositoryError> {
        let failed = |error: io::Error| RepositoryError::Worker(format!("compressing: {error}"));
        let encoder = self.codec.encoder(self.level).map_err(failed)?;
        let counted = Counted { hasher: blake3::Hasher::new(), size: 0, encoder };
        // Lines are written in many small pieces.
        let mut lines = io::BufWriter::with_capacity(LINES_AT_ONCE, counted);
        segment.write_lines(epoch, &mut lines).map_err(failed)?;
        let Counted { hasher, size, encoder } =
            lines.into_inner().map_err(|error| failed(error.into_error()))?;
        let mut stored = encoder.finish().map_err(failed)?;
        // It may wait for its turn to be uploaded.
        stored.shrink_to_fit();
        Ok(EncodedLines { id: Hash::finish(&hasher), size, stored })
    }

    pub fn encode(&self, plain: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        self.codec
            .encode(self.level, plain)
            .map_err(|error| RepositoryError::Worker(format!("compressing: {error}")))
    }

    pub fn put_new(&self, key: &Key, bytes: &Bytes) -> Result<Put, RepositoryError> {
        Ok(self.store.put_if_absent(key, bytes)?)
    }

    pub fn open_sealed<T: serde::de::DeserializeOwned>(
        &self,
        key: &Key,
        bytes: &[u8],
        known: u64,
    ) -> Result<T, RepositoryError> {
        sealed::open(bytes, known).map_err(|error| match error {
            SealError::Newer { found, known } => RepositoryError::Newer {
                location: self.location(),
                object: key.as_str().to_owned(),
                found,
                known,
            },
            other => self.damaged(key.as_str(), other.to_string()),
        })
    }
}
