//! A store in a directory: an object is a file. Written under a temporary name and renamed, so that a crash
//! leaves the old object or the new one and at worst a temporary file, which `sweep` removes.

mod walk;
mod write;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rustix::io::{pread, retry_on_intr};

use crate::base::fs::{metadata_if_present, remove_if_present, sync_file_system, sync_parent, write_atomic};
use crate::base::timestamp::Timestamp;
use crate::store::{Container, Key, ObjectStore, Obstacle, Presence, Put, Replace, StoreError, Visit, key};

/// Before the umask: backups are for the owner, and for a group that watches over them.
const FILE_MODE: u32 = 0o640;
const DIRECTORY_MODE: u32 = 0o750;

#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    /// Directories below the root that this process made or synced into their parents. A directory found is
    /// not enough: whoever made it may have died before the sync.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalStore {
    /// Nothing is touched. `root` should be absolute: it is looked up anew at each call.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), durable: Mutex::default() }
    }

    /// Removes temporary files older than a day, which writers that died left behind; `now` is the time of
    /// the clock the file system goes by. Gives their number.
    pub fn sweep(&self, now: Timestamp) -> Result<u64, StoreError> {
        walk::sweep(&self.root, now).map_err(|error| self.trouble(error))
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Runs `write` with the directories of `key` in place. They are made anew once if they vanish meanwhile.
    fn write<T>(&self, key: &Key, write: impl Fn(&Path) -> io::Result<T>) -> Result<T, StoreError> {
        let path = self.path(key);
        let mut outcome = self.ready_directories(key).and_then(|()| write(&path));
        if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).clear();
            outcome = self.ready_directories(key).and_then(|()| write(&path));
        }
        outcome.map_err(|error| match error.kind() {
            // Only the root is left to be missing: it is never made here, for it may be a disk that is not
            // mounted.
            io::ErrorKind::NotFound => self.unreachable("there is no such directory"),
            _ => self.trouble_with(key, error),
        })
    }

    fn ready_directories(&self, key: &Key) -> io::Result<()> {
        let mut path = self.root.clone();
        for component in key.directory().split('/').filter(|component| !component.is_empty()) {
            path.push(component);
            if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(&path) {
                continue;
            }
            write::ensure_directory(&path)?;
            self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        }
        Ok(())
    }

    /// The object's file and its size.
    fn open(&self, key: &Key) -> Result<(File, u64), StoreError> {
        let file = File::open(self.path(key)).map_err(|error| self.looking(key, error))?;
        let metadata = file.metadata().map_err(|error| self.looking(key, error))?;
        if !metadata.is_file() {
            return Err(StoreError::NotFound { key: key.clone() });
        }
        Ok((file, metadata.len()))
    }

    /// An error while looking for an object. "Not there" is believed only while the root is there.
    fn looking(&self, key: &Key, error: io::Error) -> StoreError {
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return self.trouble_with(key, error);
        }
        match self.presence() {
            Ok(Presence::Present) => StoreError::NotFound { key: key.clone() },
            Ok(Presence::Absent) => self.unreachable("there is no such directory"),
            Err(error) => error,
        }
    }

    fn trouble(&self, error: io::Error) -> StoreError {
        StoreError::from_io(self.location(), error)
    }

    fn trouble_with(&self, key: &Key, error: io::Error) -> StoreError {
        StoreError::from_io(self.path(key).display().to_string(), error)
    }

    fn unreachable(&self, reason: &str) -> StoreError {
        let (location, reason) = (self.location(), reason.to_owned());
        StoreError::Unreachable { location, reason, obstacle: Obstacle::Container }
    }
}

impl ObjectStore for LocalStore {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn container(&self) -> Container {
        Container::Directory
    }

    fn presence(&self) -> Result<Presence, StoreError> {
        // Opened, not only looked at: a directory that may not be read is no use.
        match std::fs::read_dir(&self.root) {
            Ok(_) => Ok(Presence::Present),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Absent),
            Err(error) => Err(self.trouble(error)),
        }
    }

    fn create(&self) -> Result<(), StoreError> {
        match write::ensure_directories(&self.root) {
            // The parent of a mount point may be closed to us, and then its directory entry can not be synced
            // alone.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match self.presence()? {
                Presence::Present => sync_file_system(&self.root),
                Presence::Absent => Err(error),
            },
            done => done,
        }
        .map_err(|error| self.trouble(error))
    }

    fn list(&self, prefix: &str, each: Visit<'_>) -> Result<(), StoreError> {
        let prefix = key::prefix(prefix)?;
        if self.presence()? == Presence::Absent {
            return Err(self.unreachable("there is no such directory"));
        }
        walk::list(&self.root, prefix.as_ref(), each)
    }

    fn size(&self, key: &Key) -> Result<u64, StoreError> {
        let metadata = std::fs::metadata(self.path(key)).map_err(|error| self.looking(key, error))?;
        if !metadata.is_file() {
            return Err(StoreError::NotFound { key: key.clone() });
        }
        Ok(metadata.len())
    }

    fn get(&self, key: &Key) -> Result<Vec<u8>, StoreError> {
        let (mut file, size) = self.open(key)?;
        let mut bytes = Vec::new();
        reserve(&mut bytes, size).map_err(|error| self.trouble_with(key, error))?;
        file.read_to_end(&mut bytes).map_err(|error| self.trouble_with(key, error))?;
        let found = bytes.len() as u64;
        if found < size {
            return Err(StoreError::ShortRead { key: key.clone(), expected: size, found });
        }
        Ok(bytes)
    }

    fn get_range(&self, key: &Key, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.get_range_into(key, offset, length, &mut bytes)?;
        Ok(bytes)
    }

    fn get_range_into(
        &self,
        key: &Key,
        offset: u64,
        length: u64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let (file, size) = self.open(key)?;
        let expected = offset.saturating_add(length);
        // Looked at first: a wrong length must not become a huge allocation.
        if expected > size {
            return Err(StoreError::ShortRead { key: key.clone(), expected, found: size });
        }
        resize(bytes, length).map_err(|error| self.trouble_with(key, error))?;
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let at = offset + read as u64;
            let count = retry_on_intr(|| pread(&file, &mut *rest, at))
                .map_err(|errno| self.trouble_with(key, errno.into()))?;
            if count == 0 {
                return Err(StoreError::ShortRead { key: key.clone(), expected, found: at });
            }
            read += count;
        }
        Ok(())
    }

    fn put(&self, key: &Key, bytes: &Bytes) -> Result<(), StoreError> {
        self.write(key, |path| write_atomic(path, bytes, FILE_MODE))
    }

    fn put_if_absent(&self, key: &Key, bytes: &Bytes) -> Result<Put, StoreError> {
        self.write(key, |path| write::write_if_absent(&self.root, path, bytes))
    }

    /// Those who replace take turns by a lock on the root, which ends with its holder.
    fn replace(&self, key: &Key, expected: &Bytes, bytes: &Bytes) -> Result<Replace, StoreError> {
        let Some(_turn) = write::turn(&self.root).map_err(|error| self.looking(key, error))? else {
            return Ok(Replace::Unsupported);
        };
        match self.get(key) {
            Ok(present) if present == *expected => self.put(key, bytes).map(|()| Replace::Done),
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::ShortRead { .. }) => Ok(Replace::Changed),
            Err(error) => Err(error),
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        let present = metadata_if_present(&path).and_then(|found| match found {
            Some(metadata) if !metadata.is_dir() => {
                // Durable, so that what is deleted next is not gone first after a power cut.
                remove_if_present(&path).and_then(|()| sync_parent(&path)).map(|()| true)
            }
            _ => Ok(false),
        });
        match present {
            Ok(true) => Ok(()),
            Ok(false) if self.presence()? == Presence::Absent => {
                Err(self.unreachable("there is no such directory"))
            }
            Ok(false) => Ok(()),
            Err(error) => match self.looking(key, error) {
                StoreError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    fn tidy(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.sweep(now)
    }
}

/// What is there already is left as it is: it will be written over.
fn resize(bytes: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(length.saturating_sub(bytes.len()))?;
    bytes.resize(length, 0);
    Ok(())
}

fn reserve(bytes: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    Ok(bytes.try_reserve_exact(length)?)
}

#[cfg(test)]
mod tests;
