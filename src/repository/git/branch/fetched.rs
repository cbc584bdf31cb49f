//! Bare repositories in the cache that hold what was fetched, each for one question. Several processes may use one
//! cache: whoever reads or fills a directory holds a lock of the kernel on it, and only those that nobody holds go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::base::fs::{metadata_if_present, sync_dir, write_synced};
use crate::base::id::random_hex;

/// Kept beside those that are in use: a comparison needs two.
const KEPT: usize = 2;
const LOCK: &str = "volkeep.lock";
/// Says that everything that was asked for is there, and durable.
const DONE: &str = "done";

/// A directory, as long as this lives.
#[derive(Debug)]
pub struct Held {
    pub path: PathBuf,
    lock: File,
}

impl Held {
    /// The directory `name` if it is filled; else one to be filled, of that name or, where somebody else is at it, of
    /// another one. `true`: it is filled.
    pub fn open(fetched: &Path, name: &str) -> io::Result<(Self, bool)> {
        let path = fetched.join(name);
        if let Some(held) = Self::lock(&path, FlockOperation::NonBlockingLockExclusive)? {
            if path.join(DONE).exists() {
                flock(&held.lock, FlockOperation::LockShared)?;
                return Ok((held, true));
            }
            return Ok((held, false));
        }
        if let Some(held) = Self::lock(&path, FlockOperation::NonBlockingLockShared)?
            && path.join(DONE).exists()
        {
            return Ok((held, true));
        }
        let own = fetched.join(format!("{name}-{}", random_hex(4)?));
        match Self::lock(&own, FlockOperation::NonBlockingLockExclusive)? {
            Some(held) => Ok((held, false)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// `None`: somebody else has it.
    fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<Self>> {
        for _ in 0..8 {
            fs::create_dir_all(path)?;
            let file = path.join(LOCK);
            let lock = match File::options().write(true).create(true).truncate(false).open(&file) {
                Ok(lock) => lock,
                // Removed between the two steps.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if flock(&lock, operation).is_err() {
                return Ok(None);
            }
            // It may have been removed, and made anew by somebody else, before the lock was had.
            let ours = lock.metadata()?;
            let same = |now: fs::Metadata| (now.dev(), now.ino()) == (ours.dev(), ours.ino());
            if metadata_if_present(&file)?.is_some_and(same) {
                return Ok(Some(Self { path: path.to_owned(), lock }));
            }
        }
        Ok(None)
    }

    /// Whatever is in it but the lock goes.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            match path.is_dir() {
                true => fs::remove_dir_all(&path)?,
                false if path.ends_with(LOCK) => {}
                false => fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// Filled, durable, and for others to read as well.
    pub fn done(&self) -> io::Result<()> {
        let packs = self.path.join("objects/pack");
        for entry in fs::read_dir(&packs)? {
            File::open(entry?.path())?.sync_all()?;
        }
        sync_dir(&packs)?;
        write_synced(&self.path.join(DONE), b"", 0o600)?;
        sync_dir(&self.path)?;
        Ok(flock(&self.lock, FlockOperation::LockShared)?)
    }

    /// Under another name from now on, unless there is something of that name. It cannot be used any more as it is.
    pub fn rename(&self, name: &str) {
        let target = self.path.with_file_name(name);
        if fs::rename(&self.path, target).is_err() {
            self.spoil();
        }
    }

    /// Not to be used again: what is in it is damaged, or was of use once only.
    pub fn spoil(&self) {
        let _ = fs::remove_file(self.path.join(DONE));
    }
}

pub fn is_filled(fetched: &Path, name: &str) -> bool {
    fetched.join(name).join(DONE).exists()
}

/// Of those that nobody holds only the newest stay, and `keep` of them at the most.
fn remove_but(fetched: &Path, keep: usize) {
    let entries = fs::read_dir(fetched).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .map(|entry| (entry.metadata().and_then(|metadata| metadata.modified()).ok(), entry.path()))
        .collect();
    all.sort();
    let (done, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, path)| path.join(DONE).exists());
    let going = done.len().saturating_sub(keep);
    for (_, path) in done.into_iter().take(going).chain(rest) {
        if let Ok(Some(held)) = Held::lock(&path, FlockOperation::NonBlockingLockExclusive) {
            // Out of the way first: somebody could make a new lock in a directory that is about to go.
            let Ok(random) = random_hex(8) else { continue };
            let gone = fetched.join(format!("removed-{random}"));
            if fs::rename(&held.path, &gone).is_ok() {
                let _ = fs::remove_dir_all(&gone);
            }
        }
    }
}

pub fn make_room(fetched: &Path) {
    remove_but(fetched, KEPT - 1);
}

pub fn forget(fetched: &Path) {
    remove_but(fetched, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fetched: &Path, name: &str) -> Held {
        let (held, is_filled) = Held::open(fetched, name).unwrap();
        assert!(!is_filled);
        fs::create_dir_all(held.path.join("objects/pack")).unwrap();
        held.done().unwrap();
        held
    }

    #[test]
    fn what_is_held_stays_and_is_shared() {
        let dir = tempfile::tempdir().unwrap();
        let first = filled(dir.path(), "a");
        let (second, is_filled) = Held::open(dir.path(), "a").unwrap();
        assert!(is_filled && second.path == first.path);
        forget(dir.path());
        assert!(first.path.exists());
        drop((first, second));
        forget(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn who_comes_while_somebody_fills_it_fills_another() {
        let dir = tempfile::tempdir().unwrap();
        let (filling, _) = Held::open(dir.path(), "a").unwrap();
        let (other, is_filled) = Held::open(dir.path(), "a").unwrap();
        assert!(!is_filled && other.path != filling.path);
    }

    #[test]
    fn only_a_few_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            drop(filled(dir.path(), name));
        }
        make_room(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
