//! The kernel's lock on a file: it goes with its holder, in whatever container that died. What the file says
//! about the holder is for messages only; no decision rests on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::base::clock::Clock;
use crate::base::timestamp::{self, Timestamp};
use crate::volume::error::VolumeError;

/// Pods of another user under one group have to be able to take it.
const MODE: u32 = 0o660;
const LONGEST_HOLDER: u64 = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// To read the data: backup, scrub.
    Shared,
    /// To change it: init, restore.
    Exclusive,
}

/// Who holds a lock, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is doing: `init`, `sidecar`, `restore`.
    pub mode: String,
    pub pod: String,
    pub host: String,
    #[serde(with = "timestamp::rfc3339")]
    pub since: Timestamp,
}

impl Holder {
    pub fn describe(holder: Option<&Self>) -> String {
        match holder {
            Some(Self { mode, pod, host, since }) => {
                format!("`{mode}` in {pod} on {host}, since {}", since.to_rfc3339())
            }
            None => "somebody who left no name (whoever shares it leaves none)".to_owned(),
        }
    }
}

/// Holds the lock until it is dropped. The descriptor is closed on exec, so a child never keeps it.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard {
    file: File,
    kind: LockKind,
}

impl LockGuard {
    pub fn kind(&self) -> LockKind {
        self.kind
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        // Whoever waits for shared holders should not be told of us. After a kill the name stays: see `holder`.
        if self.kind == LockKind::Exclusive {
            let _ = self.file.set_len(0);
        }
    }
}

/// Waits up to `wait`, telling `on_wait` once at first and again whenever the holder changes. `None` stands for
/// holders that share the lock, or did not leave their name.
pub(crate) fn acquire(
    path: &Path,
    kind: LockKind,
    who: &Holder,
    wait: Duration,
    clock: &dyn Clock,
    on_wait: &mut dyn FnMut(Option<&Holder>),
) -> Result<LockGuard, VolumeError> {
    let file = open(path).map_err(VolumeError::io("open the lock", path))?;
    let started = clock.elapsed();
    let mut told: Option<Option<Holder>> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        if try_lock(&file, kind).map_err(VolumeError::io("lock", path))? {
            let mut guard = LockGuard { file, kind };
            if kind == LockKind::Exclusive {
                // Without the name the lock holds as well: the file may be another user's, or the disk full.
                let _ = sign(&mut guard.file, who);
            }
            return Ok(guard);
        }
        let holder = holder(&file, kind).map_err(VolumeError::io("lock", path))?;
        let waited = clock.elapsed().saturating_sub(started);
        if waited >= wait {
            return Err(VolumeError::Locked { path: path.to_owned(), holder: holder.map(Box::new), waited });
        }
        if told.as_ref() != Some(&holder) {
            on_wait(holder.as_ref());
            told = Some(holder);
        }
        clock.sleep(pause.min(wait - waited));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The lock held exclusively, without a name; `None` when somebody has it.
pub(crate) fn acquire_at_once(path: &Path) -> Result<Option<LockGuard>, VolumeError> {
    let file = open(path).map_err(VolumeError::io("open the lock", path))?;
    let is_free = try_lock(&file, LockKind::Exclusive).map_err(VolumeError::io("lock", path))?;
    Ok(is_free.then_some(LockGuard { file, kind: LockKind::Exclusive }))
}

/// Whether somebody holds the lock exclusively. `Some(None)`: yes, but without a name.
pub(crate) fn held_by(path: &Path) -> Result<Option<Option<Holder>>, VolumeError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(VolumeError::io("open the lock", path)(error)),
    };
    if try_lock(&file, LockKind::Shared).map_err(VolumeError::io("lock", path))? {
        // Closing the file lets go of it at once.
        return Ok(None);
    }
    Ok(Some(read_holder(&file)))
}

/// Opened for writing where that is allowed, to leave the holder's name; a file opened for reading can be
/// locked just as well. Never unlinked: two processes could then hold "the" lock on two files.
fn open(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(path) {
        Ok(file) => {
            // The umask has taken bits away that other pods need.
            file.set_permissions(PermissionsExt::from_mode(MODE))?;
            return Ok(file);
        }
        Err(error) if may_exist(&error) => {}
        Err(error) => return Err(error),
    }
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if may_exist(&error) => File::open(path),
        opened => opened,
    }
}

fn may_exist(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), AlreadyExists | PermissionDenied | ReadOnlyFilesystem)
}

fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
    let operation = match kind {
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Who stands in the way. A name in the file counts only if the holder is an exclusive one: the name of a
/// holder that was killed stays behind, and shared ones leave none.
fn holder(file: &File, wanted: LockKind) -> io::Result<Option<Holder>> {
    if wanted == LockKind::Exclusive && try_lock(file, LockKind::Shared)? {
        flock(file, FlockOperation::Unlock)?;
        return Ok(None);
    }
    Ok(read_holder(file))
}

fn read_holder(mut file: &File) -> Option<Holder> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(LONGEST_HOLDER).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn sign(file: &mut File, who: &Holder) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(who)?;
    bytes.push(b'\n');
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    fn who(mode: &str) -> Holder {
        Holder { mode: mode.into(), pod: "wiki-0".into(), host: "node".into(), since: Timestamp::new(1, 0) }
    }

    fn take(path: &Path, kind: LockKind, mode: &str) -> Result<LockGuard, VolumeError> {
        let clock = ManualClock::at(Timestamp::default());
        acquire(path, kind, &who(mode), Duration::from_secs(2), &clock, &mut |_| ())
    }

    fn held_as(error: &VolumeError) -> Option<&Holder> {
        match error {
            VolumeError::Locked { holder, .. } => holder.as_deref(),
            _ => None,
        }
    }

    #[test]
    fn shared_ones_share_and_an_exclusive_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path, LockKind::Shared, "backup").unwrap();
        let second = take(&path, LockKind::Shared, "scrub").unwrap();
        let error = take(&path, LockKind::Exclusive, "init").unwrap_err();
        assert!(matches!(error, VolumeError::Locked { holder: None, .. }), "{error}");
        drop((first, second));
        let _only = take(&path, LockKind::Exclusive, "init").unwrap();
        for kind in [LockKind::Shared, LockKind::Exclusive] {
            let error = take(&path, kind, "other").unwrap_err();
            assert_eq!(held_as(&error), Some(&who("init")));
            assert!(error.to_string().contains("`init` in wiki-0 on node"), "{error}");
        }
    }

    #[test]
    fn a_name_left_behind_by_a_killed_holder_blames_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, serde_json::to_vec(&who("dead")).unwrap()).unwrap();
        let _shared = take(&path, LockKind::Shared, "backup").unwrap();
        let error = take(&path, LockKind::Exclusive, "init").unwrap_err();
        assert!(matches!(error, VolumeError::Locked { holder: None, .. }), "{error}");
    }

    #[test]
    fn the_waiting_is_told_once_for_each_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _held = take(&path, LockKind::Exclusive, "init").unwrap();
        let clock = ManualClock::at(Timestamp::default());
        let mut told = Vec::new();
        let mut on_wait = |holder: Option<&Holder>| told.push(holder.map(|holder| holder.mode.clone()));
        let wait = Duration::from_secs(5);
        acquire(&path, LockKind::Shared, &who("late"), wait, &clock, &mut on_wait).unwrap_err();
        assert_eq!(told, [Some("init".to_owned())]);
        assert_eq!(clock.elapsed(), wait);
    }

    #[test]
    fn another_thread_gets_it_when_the_guard_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = take(&path, LockKind::Exclusive, "first").unwrap();
        let clock = crate::base::clock::SystemClock::default();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let wait = Duration::from_secs(30);
                let mut on_wait = |holder: Option<&Holder>| sender.send(holder.cloned()).unwrap();
                acquire(&path, LockKind::Exclusive, &who("second"), wait, &clock, &mut on_wait).map(drop)
            });
            assert_eq!(receiver.recv().unwrap(), Some(who("first")));
            drop(held);
            waiter.join().unwrap().unwrap();
        });
        assert_eq!(held_by(&path).unwrap(), None);
    }

    #[test]
    fn looking_at_a_lock_neither_makes_nor_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidecar.lock");
        assert_eq!(held_by(&path).unwrap(), None);
        assert!(!path.exists());
        let held = take(&path, LockKind::Exclusive, "sidecar").unwrap();
        assert_eq!(held_by(&path).unwrap(), Some(Some(who("sidecar"))));
        drop(held);
        assert_eq!(held_by(&path).unwrap(), None);
        let _again = take(&path, LockKind::Exclusive, "sidecar").unwrap();
    }
}
