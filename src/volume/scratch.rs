//! Scratch space in which a snapshot is restored to be looked at: a directory of our own, in the state directory or
//! elsewhere, for one drill at a time. Nothing in it is a truth: what a killed drill left is removed by the next one.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::base::clock::Clock;
use crate::base::fs::metadata_if_present;
use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::lock::{self, Holder, LockGuard, LockKind};
use crate::volume::quarantine;
use crate::volume::removal::{remove_leftover_trees, remove_tree};

const TREE: &str = "tree";
/// How the name begins where the directory is somebody else's.
const ELSEWHERE: &str = "volkeep-drill-";

/// Held until it is dropped; what is in it stays until `remove`.
#[derive(Debug)]
#[must_use = "what is in it is to be removed"]
pub struct Scratch {
    directory: PathBuf,
    _alone: LockGuard,
}

impl Volume {
    /// Where the scratch space would be: in this directory, or in the state directory.
    pub fn scratch_place(&self, elsewhere: Option<&Path>) -> PathBuf {
        match elsewhere {
            Some(directory) => directory.join(format!("{ELSEWHERE}{}", self.options.identity)),
            None => self.places.drill(),
        }
    }

    /// An empty scratch space. What a drill before this one left is removed. Another drill of this volume is waited for
    /// as for other locks. `elsewhere` has to be there.
    pub fn scratch(
        &self,
        elsewhere: Option<&Path>,
        who: &Holder,
        clock: &dyn Clock,
    ) -> Result<Scratch, VolumeError> {
        let (lock, wait) = (self.places.drill_lock(), self.options.lock_wait);
        let alone = lock::acquire(&lock, LockKind::Exclusive, who, wait, clock, &mut |holder| {
            tracing::info!(holder = Holder::describe(holder), "waiting for another drill");
        })?;
        let directory = self.scratch_place(elsewhere);
        match elsewhere {
            Some(_) => make_apart(&directory)?,
            None => {
                quarantine::make_directory(&directory).map_err(VolumeError::io("create", &directory))?;
            }
        }
        let scratch = Scratch { directory, _alone: alone };
        scratch.clear()?;
        Ok(scratch)
    }

    /// What a drill that was killed left in the state directory makes way for data. Nothing while a drill is at work.
    pub(crate) fn drop_left_scratch(&self) -> Result<bool, VolumeError> {
        let directory = self.places.drill();
        if metadata_if_present(&directory).map_err(VolumeError::io("look at", &directory))?.is_none() {
            return Ok(false);
        }
        let Some(alone) = lock::acquire_at_once(&self.places.drill_lock())? else { return Ok(false) };
        Scratch { directory, _alone: alone }.remove()?;
        Ok(true)
    }
}

impl Scratch {
    /// Our own, for nobody else to enter; on the file system that is to have room.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the snapshot goes: an empty directory.
    pub fn tree(&self) -> PathBuf {
        self.directory.join(TREE)
    }

    /// Empty again.
    pub fn clear(&self) -> Result<(), VolumeError> {
        self.empty()?;
        let tree = self.tree();
        std::fs::DirBuilder::new().mode(0o700).create(&tree).map_err(VolumeError::io("create", &tree))
    }

    pub fn remove(self) -> Result<(), VolumeError> {
        self.empty()?;
        std::fs::remove_dir(&self.directory).map_err(VolumeError::io("remove", &self.directory))
    }

    fn empty(&self) -> Result<(), VolumeError> {
        let tree = self.tree();
        remove_leftover_trees(&self.directory).map_err(VolumeError::io("clear", &self.directory))?;
        remove_tree(&tree).map_err(VolumeError::io("remove", &tree))
    }
}

/// In a directory that others may write to, such as `/tmp`, somebody may have put something under our name: a link that
/// leads to what is not ours to remove, or a directory in which he could read what is restored.
fn make_apart(path: &Path) -> Result<(), VolumeError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(VolumeError::io("create", path)(error)),
    }
    let found = std::fs::symlink_metadata(path).map_err(VolumeError::io("look at", path))?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    match found.is_dir() && ours {
        true => Ok(()),
        false => Err(VolumeError::NotOurs { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::volume::VolumeOptions;

    fn who() -> Holder {
        Holder { mode: "drill".into(), pod: "p".into(), host: "h".into(), since: Timestamp::default() }
    }

    fn volume(root: &Path) -> Volume {
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::create_dir_all(root.join("state")).unwrap();
        let mut options = VolumeOptions::new(root.join("data"), root.join("state"), "app");
        options.lock_wait = std::time::Duration::ZERO;
        Volume::new(options).unwrap()
    }

    #[test]
    fn it_is_for_one_at_a_time_and_empty_at_first() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, clock) = (volume(dir.path()), ManualClock::at(Timestamp::default()));
        let left = dir.path().join("state/drill/tree/left");
        std::fs::create_dir_all(&left).unwrap();
        std::fs::create_dir_all(dir.path().join("state/drill/.tmp-tree.0/x")).unwrap();
        let scratch = volume.scratch(None, &who(), &clock).unwrap();
        assert_eq!(std::fs::read_dir(scratch.directory()).unwrap().count(), 1);
        assert!(scratch.tree().is_dir() && !left.exists());
        assert!(matches!(volume.scratch(None, &who(), &clock), Err(VolumeError::Locked { .. })));
        assert!(!volume.drop_left_scratch().unwrap(), "it is in use");
        scratch.remove().unwrap();
        assert!(!dir.path().join("state/drill").exists());
        std::fs::create_dir_all(&left).unwrap();
        assert!(volume.drop_left_scratch().unwrap() && !dir.path().join("state/drill").exists());
        assert!(!volume.drop_left_scratch().unwrap());
    }

    #[test]
    fn what_somebody_put_under_our_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (volume, clock) = (volume(dir.path()), ManualClock::at(Timestamp::default()));
        let (elsewhere, kept) = (dir.path().join("elsewhere"), dir.path().join("kept"));
        std::fs::create_dir_all(kept.join("tree")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&kept, elsewhere.join("volkeep-drill-app")).unwrap();
        let refused = volume.scratch(Some(&elsewhere), &who(), &clock);
        assert!(matches!(refused, Err(VolumeError::NotOurs { .. })), "{refused:?}");
        assert!(kept.join("tree").exists());
        let missing = volume.scratch(Some(&dir.path().join("missing")), &who(), &clock);
        assert!(matches!(missing, Err(VolumeError::Io { .. })), "{missing:?}");
    }
}
