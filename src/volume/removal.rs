//! Deletes trees that are ours: staging of a restore that is over, quarantine that has expired. Never follows
//! a link and never enters another mount, which a quarantined tree may still have inside.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::base::fs::{TEMPORARY_PREFIX, temporary_beside};
use crate::base::fs::{metadata_if_present, sync_parent};
use crate::volume::moving::is_mount_point;

/// Removes `path` and all below it; no error if it is absent. What it is called goes first, in one step, so
/// that a crash never leaves a half-deleted tree under a name that stands for a whole one.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let Some(metadata) = metadata_if_present(path)? else {
        return Ok(());
    };
    let doomed = temporary_beside(path)?;
    std::fs::rename(path, &doomed)?;
    sync_parent(path)?;
    remove(&doomed, &metadata)
}

/// Finishes what a killed `remove_tree` left in `directory`.
pub(crate) fn remove_leftover_trees(directory: &Path) -> io::Result<u64> {
    let mut removed = 0;
    if metadata_if_present(directory)?.is_none() {
        return Ok(removed);
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            remove(&entry.path(), &entry.metadata()?)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if !metadata.is_dir() {
        return std::fs::remove_file(path);
    }
    // A restored directory may be read-only, which stops everybody but root.
    if metadata.permissions().mode() & 0o700 != 0o700 {
        std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let (child, found) = (entry.path(), entry.metadata()?);
        if is_mount_point(&child, &found, metadata)? {
            return Err(io::Error::new(
                io::ErrorKind::CrossesDevices,
                format!("{} is a mount point", child.display()),
            ));
        }
        remove(&child, &found)?;
    }
    std::fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_removed_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, doomed) = (dir.path().join("kept"), dir.path().join("doomed"));
        std::fs::create_dir_all(doomed.join("a/b")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "kept").unwrap();
        std::os::unix::fs::symlink(&kept, doomed.join("a/link")).unwrap();
        std::fs::set_permissions(doomed.join("a/b"), Permissions::from_mode(0o000)).unwrap();
        remove_tree(&doomed).unwrap();
        assert_eq!(std::fs::read(kept.join("file")).unwrap(), b"kept");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        remove_tree(&doomed).unwrap();
    }

    #[test]
    fn a_removal_that_was_killed_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join(".tmp-tree.0123/a")).unwrap();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        assert_eq!(remove_leftover_trees(dir.path()).unwrap(), 1);
        assert!(dir.path().join("tree").exists());
    }
}
