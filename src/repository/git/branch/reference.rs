//! Moves a branch of a repository on this machine, under the lock that git and everything else takes for that: a file
//! beside it. Git's own way leaves that file for ever when it is killed in between; here it is known again.

// Git's rule is that whoever creates `<branch>.lock` may change `<branch>`. It does not say how to tell a lock whose
// holder was killed. Ours says `volkeep` inside, and its holder keeps a lock of the kernel on the open file: where the
// kernel gives that to us, the holder is dead, and the file may go. The new value is in a file of its own, which is
// renamed over the branch while the lock is there. A lock that says anything else is git's, and is left alone.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::base::fs::{TEMPORARY_PREFIX, metadata_if_present, write_atomic};
use crate::repository::git::oid::Oid;

const MARK: &[u8] = b"volkeep\n";
/// Others may come and go between a look and a step.
const ATTEMPTS: u32 = 16;

#[derive(Debug)]
pub enum NotMoved {
    /// Somebody has the lock.
    Locked,
    /// The branch is at another commit.
    Elsewhere,
    Io(io::Error),
}

impl From<io::Error> for NotMoved {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// `file` is where the branch is kept, and `read` says what it is at, wherever that is written. Durable when it
/// returns.
pub fn advance(
    file: &Path,
    from: Option<Oid>,
    to: Oid,
    read: impl FnOnce() -> io::Result<Option<Oid>>,
) -> Result<(), NotMoved> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let _lock = Lock::take(file)?;
    if read()? != from {
        return Err(NotMoved::Elsewhere);
    }
    sweep(file);
    Ok(write_atomic(file, format!("{to}\n").as_bytes(), 0o644)?)
}

/// Given back when this is dropped.
struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    fn take(file: &Path) -> Result<Self, NotMoved> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..ATTEMPTS {
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(mut held) => {
                    // Nobody else asks for it unless it says that it is ours, which it does not yet.
                    flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
                    held.write_all(MARK)?;
                    return Ok(Self { path, _held: held });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_abandoned(&path)?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(NotMoved::Locked)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Killed before it said whose it is, a lock of ours is empty; git's is never empty for longer than a moment.
fn remove_abandoned(path: &Path) -> Result<(), NotMoved> {
    let mut open = match File::open(path) {
        Ok(open) => open,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if flock(&open, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(NotMoved::Locked);
    }
    let mut said = Vec::new();
    Read::by_ref(&mut open).take(64).read_to_end(&mut said)?;
    if !MARK.starts_with(&said) || (said.is_empty() && !is_old(&open)?) {
        return Err(NotMoved::Locked);
    }
    // Another one may have removed it and made its own meanwhile.
    let same = metadata_if_present(path)?.is_some_and(|now| {
        open.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (now.dev(), now.ino()))
    });
    if same {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn is_old(file: &File) -> io::Result<bool> {
    const OLD: std::time::Duration = std::time::Duration::from_secs(60);
    Ok(file.metadata()?.modified()?.elapsed().is_ok_and(|age| age > OLD))
}

/// What a run that was killed left of a value it wrote. Nobody else writes any while we have the lock.
fn sweep(file: &Path) {
    let Some((directory, name)) = file.parent().zip(file.file_name()) else { return };
    let mut prefix = TEMPORARY_PREFIX.as_bytes().to_vec();
    prefix.extend(name.as_encoded_bytes());
    prefix.push(b'.');
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Oid = Oid([1; 20]);
    const TWO: Oid = Oid([2; 20]);

    fn at(file: &Path) -> io::Result<Option<Oid>> {
        Ok(fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()))
    }

    #[test]
    fn a_branch_moves_from_where_it_is_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("refs/heads/a/b");
        advance(&file, None, ONE, || at(&file)).unwrap();
        assert!(matches!(advance(&file, None, TWO, || at(&file)), Err(NotMoved::Elsewhere)));
        assert!(matches!(advance(&file, Some(TWO), ONE, || at(&file)), Err(NotMoved::Elsewhere)));
        advance(&file, Some(ONE), TWO, || at(&file)).unwrap();
        assert_eq!(at(&file).unwrap(), Some(TWO));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn a_lock_of_the_dead_is_taken_and_one_of_the_living_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (file, lock) = (dir.path().join("main"), dir.path().join("main.lock"));
        fs::write(&lock, MARK).unwrap();
        let held = File::open(&lock).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        assert!(matches!(advance(&file, None, ONE, || at(&file)), Err(NotMoved::Locked)));
        drop(held);
        advance(&file, None, ONE, || at(&file)).unwrap();
        // Git's own.
        for content in ["", "0101010101010101010101010101010101010101\n"] {
            fs::write(&lock, content).unwrap();
            assert!(matches!(advance(&file, Some(ONE), TWO, || at(&file)), Err(NotMoved::Locked)));
            assert!(lock.exists());
        }
    }
}
