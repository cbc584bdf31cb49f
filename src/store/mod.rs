//! The byte seam under a packed repository: named objects, written whole, in a directory, a bucket or memory.
//! Calls block; callers bring their own threads. Must not know what the objects mean.

pub mod error;
pub mod faulty;
pub mod key;
pub mod limit;
pub mod local;
pub mod memory;
pub mod options;
pub mod retry;
#[cfg(feature = "s3")]
pub mod s3;

use std::fmt::{self, Debug};

use bytes::Bytes;

use crate::base::timestamp::Timestamp;

pub use error::{Denial, Obstacle, StoreError};
pub use faulty::FaultyStore;
pub use key::Key;
pub use limit::LimitStore;
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use options::{StoreOptions, wrap};
pub use retry::RetryStore;
#[cfg(feature = "s3")]
pub use s3::{S3Options, S3Store};

/// What every implementation promises is written here and held to by one conformance suite.
///
/// A store whose container is gone (`presence` says `Absent`) answers every call but `presence` and `create`
/// with `Unreachable`: a disk that is not mounted must not look like an empty repository.
pub trait ObjectStore: Send + Sync + Debug {
    /// Where it is, for messages. Never holds a secret.
    fn location(&self) -> String;

    /// What the objects are kept in.
    fn container(&self) -> Container;

    /// Whether the directory or bucket is there and may be read. Trouble while looking is an error.
    fn presence(&self) -> Result<Presence, StoreError>;

    /// Makes the container durably, with its parents. Fine if it is there.
    fn create(&self) -> Result<(), StoreError>;

    /// Calls `each` for every object below `prefix`, at any depth, sorted by the bytes of the key. A prefix is
    /// a directory, with or without the last slash; empty is everything; one that is not there holds nothing.
    /// An error from `each` ends the listing and is returned. Objects that come or go meanwhile may be missed,
    /// and files whose names are no keys (temporary ones above all) are never shown.
    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError>;

    /// In bytes.
    fn size(&self, key: &Key) -> Result<u64, StoreError>;

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError>;

    /// Exactly `length` bytes from `offset`, or `ShortRead` when the object ends before.
    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError>;

    /// As `get_range`, into `bytes`: what it held is gone, and its room is used again. Who reads a lot by many
    /// threads brings their buffers along: freed by one thread and taken anew by another, memory would grow far
    /// beyond what is in use. After an error it may hold anything.
    fn get_range_into(
        &self,
        key: &Key,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        *bytes = self.get_range(key, offset, length)?;
        Ok(())
    }

    /// Readers see the old object or the new one, never a part; after the return the new one is durable. After
    /// an error it is the old or the new one. A key must not also be a directory of other keys.
    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError>;

    /// As `put`, but never replaces: of all who race for one key exactly one is told `Created`.
    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError>;

    /// As `put`, but only in place of an object whose whole content is `expected`: of all who race to replace
    /// the same content exactly one is told `Done`. Says nothing about those who `put` or `delete` meanwhile.
    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError>;

    /// Fine if it is not there.
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// As `delete` for each, in as few requests as the store takes. After an error some may be gone.
    fn delete_many(&self, keys: &[Key]) -> Result<(), StoreError> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// Removes what writers that died left behind, by the store's own means, and gives its number. `now` is the
    /// time of the clock the store goes by. Never touches an object.
    fn tidy(&self, _now: Timestamp) -> Result<u64, StoreError> {
        Ok(0)
    }
}

/// What `list` hands each object to.
pub type Visit<'a> = &'a mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>;

/// What a store keeps its objects in, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Directory,
    Bucket,
    GitRepository,
    /// A git repository without any branch.
    EmptyGitRepository,
    /// A branch that nothing but other programs or people committed to.
    GitBranch,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::Bucket => "bucket",
            Self::GitRepository => "git repository",
            Self::EmptyGitRepository => "empty git repository",
            Self::GitBranch => "branch",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is no directory or bucket by that name.
    Absent,
    /// The container is there, maybe empty.
    Present,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Created,
    /// Another object has that key; it was left as it is.
    Exists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    Done,
    /// The object is gone or has another content; it was left as it is.
    Changed,
    /// The store cannot compare and replace in one step. Nothing was done.
    Unsupported,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub key: Key,
    /// In bytes.
    pub size: u64,
    /// By the clock of the store, which may differ from ours.
    pub modified: Timestamp,
}
