//! Renames that never overwrite, and where a thing is mounted. Knows neither marker nor layout.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags, renameat_with, statx};
use rustix::io::Errno;

use crate::base::fs::metadata_if_present;

/// Gives `from` the free name `to`; `AlreadyExists` if it is not free.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(error) if unsupported(error) => {
            // NFS and some others. We hold the volume's lock, so nobody of ours comes in between.
            match metadata_if_present(to)? {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => std::fs::rename(from, to),
            }
        }
        other => Ok(other?),
    }
}

/// Swaps two directories in one step. `Ok(false)`: the file system cannot, and nothing has changed.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<bool> {
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(error) if unsupported(error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Where something is mounted, as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    device: (u32, u32),
    /// Told since Linux 5.8: two mounts of one file system are two mounts, and nothing is renamed between.
    id: Option<u64>,
    /// Whether the thing itself is a mount point.
    is_root: Option<bool>,
}

impl Mount {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let found =
            statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
        let known = found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
        Ok(Self {
            device: (found.stx_dev_major, found.stx_dev_minor),
            id: (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id),
            is_root: known.then(|| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        })
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.device == other.device
            && match (self.id, other.id) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.is_root == Some(true)
    }
}

/// Whether `path`, an entry of a directory in `parent`, is a mount point. Old kernels do not tell; then a
/// directory of another device is one. (A file's device proves nothing: overlay file systems make it up.)
pub(crate) fn is_mount_point(path: &Path, metadata: &Metadata, parent: &Metadata) -> io::Result<bool> {
    Ok(match Mount::of(path)?.is_root {
        Some(told) => told,
        None => metadata.is_dir() && metadata.dev() != parent.dev(),
    })
}

/// The device numbers are not compared: they change with every mount, inode numbers do not.
pub(crate) fn inode_if_present(path: &Path) -> io::Result<Option<u64>> {
    Ok(metadata_if_present(path)?.map(|metadata| metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "a").unwrap();
        std::fs::write(&b, "b").unwrap();
        assert_eq!(rename_new(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&b).unwrap(), b"b");
        rename_new(&a, &dir.path().join("c")).unwrap();
        assert!(!a.exists());
    }

    #[test]
    fn a_mount_point_is_told_from_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let of = |path: &Path| {
            let metadata = std::fs::symlink_metadata(path).unwrap();
            is_mount_point(path, &metadata, &std::fs::metadata(path.parent().unwrap()).unwrap()).unwrap()
        };
        assert!(!of(dir.path()));
        assert!(of(Path::new("/proc")));
        let (here, there) = (Mount::of(dir.path()).unwrap(), Mount::of(Path::new("/proc")).unwrap());
        assert!(here.same(&here) && !here.same(&there) && there.is_root());
    }
}
