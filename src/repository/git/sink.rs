//! Where a backup puts its objects: into one pack, each once, and only what the repository has not got. Shared by all
//! threads of a backup.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::repository::RepositoryError;
use crate::repository::git::oid::{Kind, Oid};
use crate::repository::git::pack::{Pack, PackWriter, compress};

pub struct Sink<'a> {
    /// What the repository has.
    has: Box<dyn Fn(&Oid) -> bool + Send + Sync + 'a>,
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    writer: PackWriter,
    /// In the pack, or being written to it.
    here: HashSet<Oid>,
    /// Of a pack that was not pushed: to be taken from there.
    left_over: HashSet<Oid>,
    added_bytes: u64,
}

impl std::fmt::Debug for Sink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<'a> Sink<'a> {
    pub fn create(
        path: &Path,
        has: impl Fn(&Oid) -> bool + Send + Sync + 'a,
    ) -> Result<Self, RepositoryError> {
        let writer = PackWriter::create(path).map_err(RepositoryError::local("create", path))?;
        let inner = Inner { writer, here: HashSet::new(), left_over: HashSet::new(), added_bytes: 0 };
        Ok(Self { has: Box::new(has), path: path.to_owned(), inner: Mutex::new(inner) })
    }

    /// Content of the volume.
    pub fn put(&self, content: &[u8]) -> Result<Oid, RepositoryError> {
        let oid = Oid::of(Kind::Blob, content);
        self.put_named(oid, content)?;
        Ok(oid)
    }

    pub fn put_named(&self, oid: Oid, content: &[u8]) -> Result<(), RepositoryError> {
        if self.append(Kind::Blob, oid, content)? {
            self.lock().added_bytes += content.len() as u64;
        }
        Ok(())
    }

    /// What is said of the content: it does not count as such.
    pub fn put_own(&self, kind: Kind, content: &[u8]) -> Result<Oid, RepositoryError> {
        let oid = Oid::of(kind, content);
        self.append(kind, oid, content)?;
        Ok(oid)
    }

    /// Whether it was not there yet.
    fn append(&self, kind: Kind, oid: Oid, content: &[u8]) -> Result<bool, RepositoryError> {
        if (self.has)(&oid) || !self.lock().here.insert(oid) {
            return Ok(false);
        }
        // Not under the lock: this is what takes the time.
        let object = compress(kind, content).map_err(self.failed())?;
        self.lock().writer.append(oid, &object).map_err(self.failed())?;
        Ok(true)
    }

    /// A blob of exactly `size` bytes, piece by piece; all others wait meanwhile. `fill` gives its name, or `None` if
    /// there is nothing to be put after all.
    pub fn stream(
        &self,
        size: u64,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Option<Oid>, StreamError>,
    ) -> Result<(), StreamError> {
        let mut inner = self.lock();
        let Inner { writer, here, added_bytes, .. } = &mut *inner;
        writer.stream(Kind::Blob, size, |write| {
            let oid = fill(write)?.filter(|oid| !(self.has)(oid) && here.insert(*oid));
            *added_bytes += if oid.is_some() { size } else { 0 };
            Ok(oid)
        })
    }

    /// What an earlier run left in a pack of its own is taken from there.
    pub fn take_left_over(&self, oid: Oid) {
        if !(self.has)(&oid) {
            self.lock().left_over.insert(oid);
        }
    }

    /// `LeftOver` is the only error that is not final: once more without it will do.
    pub fn finish(self, left_over: Option<&Pack>) -> Result<Pack, FinishError> {
        let path = self.path;
        let failed = || RepositoryError::local("write", path.clone());
        let Inner { mut writer, here, left_over: wanted, .. } =
            self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = left_over {
            let wanted = wanted.difference(&here).copied().collect();
            writer.append_raw(pack, wanted).map_err(FinishError::LeftOver)?;
        }
        writer.finish().map_err(|error| FinishError::Other(failed()(error)))
    }

    /// Content, and bytes in the pack, so far.
    pub fn filled(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.added_bytes, inner.writer.length())
    }

    /// An error of the pack.
    pub fn error(&self, error: io::Error) -> RepositoryError {
        RepositoryError::local("write", self.path.clone())(error)
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> RepositoryError {
        RepositoryError::local("write", self.path.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub enum FinishError {
    /// The left-over pack is not what it should be.
    LeftOver(io::Error),
    Other(RepositoryError),
}

impl From<FinishError> for RepositoryError {
    fn from(error: FinishError) -> Self {
        match error {
            FinishError::LeftOver(source) => RepositoryError::local("use", "a left-over pack")(source),
            FinishError::Other(error) => error,
        }
    }
}

/// What can end a stream: the file that is read, or the pack that is written.
#[derive(Debug)]
pub enum StreamError {
    Source(String),
    Pack(io::Error),
    Cancelled,
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Pack(error)
    }
}
