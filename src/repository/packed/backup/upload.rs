//! Fills packs and uploads them, and segments, beside the work that fills the next. Each pack that is safe is
//! noted in the cache, so that a run after a crash finds it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::repository::packed::backup::refresh::Refresher;
use crate::repository::packed::backup::stream::Stream;
use crate::repository::packed::cache::{Cache, UploadedFrame, UploadedPack};
use crate::repository::packed::frame::{Frame, LONGEST_FRAME};
use crate::repository::packed::keys;
use crate::repository::packed::objects::Objects;
use crate::repository::packed::pack::{FinishedPack, PackBuilder};

/// The size packs aim at, and the smallest that a tight memory limit makes of it.
const PACK: u64 = 32 << 20;
const SMALLEST_PACK: u64 = 4 << 20;
const MOST_UPLOADERS: u64 = 4;

/// How the memory is used for packs: some are under way while the next is filled, and all together may take
/// three eighths: the manifest, the compressors and what is read come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Bytes of a pack.
    pub pack: usize,
    pub uploaders: usize,
}

impl Shares {
    pub fn of(memory: u64, connections: usize) -> Self {
        let connections = (connections as u64).clamp(1, MOST_UPLOADERS);
        // Three uploaders where memory is tight: more of them would make packs small.
        let share = memory / 8 * 3;
        let pack = (share / (connections.min(3) + 1)).clamp(SMALLEST_PACK, PACK);
        let uploaders = (share / pack).saturating_sub(1).clamp(1, connections);
        Self { pack: pack as usize, uploaders: uploaders as usize }
    }
}

/// For the table of contents: growing a full buffer would copy it and hold both.
const TABLE_ROOM: usize = 128 << 10;

#[derive(Debug)]
pub enum Upload {
    Pack {
        pack: FinishedPack,
        /// Whole small files in each frame, by its number.
        files: HashMap<usize, Vec<(Hash, u32, u32)>>,
    },
    Segment {
        id: Hash,
        stored: Bytes,
    },
}

/// Takes frames in order and hands full packs over.
#[derive(Debug)]
pub struct Packer<'a> {
    objects: &'a Objects,
    target: usize,
    builder: Option<PackBuilder>,
    files: HashMap<usize, Vec<(Hash, u32, u32)>>,
    frames: usize,
    uploads: Sender<Upload>,
    pub stored_bytes: u64,
    pub added_bytes: u64,
}

impl<'a> Packer<'a> {
    pub fn new(objects: &'a Objects, target: usize, uploads: Sender<Upload>) -> Self {
        Self {
            objects,
            target,
            builder: None,
            files: HashMap::new(),
            frames: 0,
            uploads,
            stored_bytes: 0,
            added_bytes: 0,
        }
    }

    /// `stored` is the frame with the content of `plain` bytes and that hash, as the codec makes it; `files` are
    /// the whole small files in it.
    pub fn add(
        &mut self,
        stored: &[u8],
        plain: u32,
        hash: Hash,
        files: Vec<(Hash, u32, u32)>,
    ) -> Result<Frame, RepositoryError> {
        if self.builder.as_ref().is_some_and(|builder| builder.is_full(stored.len(), self.target)) {
            self.flush()?;
        }
        let failed = |error: std::io::Error| RepositoryError::Worker(error.to_string());
        if plain > LONGEST_FRAME {
            return Err(RepositoryError::Worker(format!("a frame of {plain} bytes could not be read back")));
        }
        let builder = match &mut self.builder {
            Some(builder) => builder,
            empty => empty.insert(PackBuilder::new(self.target + TABLE_ROOM).map_err(failed)?),
        };
        let placed = builder.add(stored, plain, hash).map_err(failed)?;
        self.files.insert(self.frames, files);
        self.frames += 1;
        self.added_bytes += u64::from(plain);
        Ok(placed)
    }

    /// Bytes of frames in the pack that is being filled.
    fn filled(&self) -> usize {
        self.builder.as_ref().map_or(0, PackBuilder::filled)
    }

    pub fn flush(&mut self) -> Result<(), RepositoryError> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        self.frames = 0;
        let files = std::mem::take(&mut self.files);
        let pack =
            builder.finish(self.objects.codec).map_err(|error| RepositoryError::Worker(error.to_string()))?;
        self.stored_bytes += pack.bytes.len() as u64;
        self.uploads
            .send(Upload::Pack { pack, files })
            .map_err(|_| RepositoryError::Worker("uploading has ended".to_owned()))
    }
}

/// One packer for each kind of content. All packs that are being filled take no more memory than one that is full.
#[derive(Debug)]
pub struct Packers<'a> {
    often: Packer<'a>,
    seldom: Packer<'a>,
    moved: Packer<'a>,
    target: usize,
}

/// By a whole run, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// New to the repository, before compression.
    pub added_bytes: u64,
    /// Of all packs, and of those with what moved.
    pub stored_bytes: u64,
    pub moved_bytes: u64,
}

impl<'a> Packers<'a> {
    pub fn new(objects: &'a Objects, target: usize, uploads: &Sender<Upload>) -> Self {
        let one = || Packer::new(objects, target, uploads.clone());
        Self { often: one(), seldom: one(), moved: one(), target }
    }

    /// As [`Packer::add`].
    pub fn add(
        &mut self,
        stream: Stream,
        stored: &[u8],
        plain: u32,
        hash: Hash,
        files: Vec<(Hash, u32, u32)>,
    ) -> Result<Frame, RepositoryError> {
        while self.filled() > 0 && self.filled() + stored.len() > self.target {
            self.flush_fullest()?;
        }
        self.of(stream).add(stored, plain, hash, files)
    }

    pub fn flush(&mut self) -> Result<(), RepositoryError> {
        Stream::ALL.into_iter().try_for_each(|stream| self.of(stream).flush())
    }

    pub fn written(&self) -> Written {
        Written {
            added_bytes: self.often.added_bytes + self.seldom.added_bytes,
            stored_bytes: self.often.stored_bytes + self.seldom.stored_bytes + self.moved.stored_bytes,
            moved_bytes: self.moved.stored_bytes,
        }
    }

    fn of(&mut self, stream: Stream) -> &mut Packer<'a> {
        match stream {
            Stream::Often => &mut self.often,
            Stream::Seldom => &mut self.seldom,
            Stream::Moved => &mut self.moved,
        }
    }

    fn filled(&self) -> usize {
        self.often.filled() + self.seldom.filled() + self.moved.filled()
    }

    fn flush_fullest(&mut self) -> Result<(), RepositoryError> {
        let all = [&mut self.often, &mut self.seldom, &mut self.moved];
        all.into_iter().max_by_key(|packer| packer.filled()).map_or(Ok(()), Packer::flush)
    }
}

/// Uploads until there is nothing more or something failed; the first failure is kept in `failure`. Without a
/// lease to refresh it is a dry run, and nothing is uploaded.
pub fn upload(
    objects: &Objects,
    cache: &Cache,
    refresher: Option<&Refresher<'_>>,
    uploads: &Receiver<Upload>,
    failure: &Mutex<Option<RepositoryError>>,
) {
    for upload in uploads {
        // What stops the run is that no uploader is left to receive, so all of them go when one has failed.
        if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let Some(refresher) = refresher else { continue };
        let done = refresher.refresh_if_due().and_then(|()| match upload {
            Upload::Pack { pack, files } => upload_pack(objects, cache, &pack, files),
            Upload::Segment { id, stored } => objects.put_segment(&id, &stored),
        });
        if let Err(error) = done {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            return;
        }
    }
}

fn upload_pack(
    objects: &Objects,
    cache: &Cache,
    pack: &FinishedPack,
    mut files: HashMap<usize, Vec<(Hash, u32, u32)>>,
) -> Result<(), RepositoryError> {
    objects.store.put(&keys::pack(pack.id)?, &pack.bytes)?;
    let frames = pack
        .frames
        .iter()
        .enumerate()
        .map(|(number, frame)| UploadedFrame {
            offset: frame.offset,
            stored: frame.stored,
            plain: frame.plain,
            hash: frame.hash,
            files: files.remove(&number).unwrap_or_default(),
        })
        .collect();
    cache.note_uploaded(&UploadedPack { pack: pack.id, size: pack.bytes.len() as u64, frames });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_uploaders_share_three_eighths_of_the_memory() {
        let mib = 1 << 20;
        let of = |memory: u64, connections| {
            let Shares { pack, uploaders } = Shares::of(memory * mib, connections);
            (pack as u64 / mib, uploaders)
        };
        assert_eq!(of(64, 16), (6, 3));
        assert_eq!(of(64, 1), (12, 1));
        assert_eq!(of(128, 16), (12, 3));
        assert_eq!(of(1024, 16), (32, 4));
        assert_eq!(of(16, 16), (4, 1));
        assert_eq!(of(0, 0), (4, 1));
        for memory in 16..2048 {
            for connections in 1..8 {
                let (pack, uploaders) = of(memory, connections);
                assert!(pack * (uploaders as u64 + 1) <= (memory * 3 / 8).max(8));
            }
        }
    }
}
