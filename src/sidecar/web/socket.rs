//! The socket beside the marker, by which commands on the same machine reach the sidecar. Its path may be longer
//! than a socket's address can be, so it is named by way of the open directory.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::base::fs::{remove_if_present, temporary_beside};

pub const NAME: &str = "sidecar.sock";

/// The owner and the group of the volume's files: who may change the data anyway.
const MODE: u32 = 0o660;

/// The socket file; it goes with this value unless another sidecar has put its own there.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: u64,
}

/// Takes the place of a socket that is there already: whoever holds the lock of the sidecar owns the name. Must be
/// called within a runtime.
pub fn bind(state_dir: &Path) -> io::Result<(UnixListener, Socket)> {
    let path = state_dir.join(NAME);
    let temporary = temporary_beside(&path)?;
    let bound = bind_as(&temporary).and_then(|listener| {
        // Nobody finds it under its own name before the mode is right, and there is never none.
        std::fs::set_permissions(&temporary, Permissions::from_mode(MODE))?;
        let inode = std::fs::symlink_metadata(&temporary)?.ino();
        std::fs::rename(&temporary, &path)?;
        Ok((listener, Socket { path, inode }))
    });
    if bound.is_err() {
        // The first error is the one that matters.
        let _ = remove_if_present(&temporary);
    }
    bound
}

pub fn connect(state_dir: &Path) -> io::Result<UnixStream> {
    let directory = File::open(state_dir)?;
    UnixStream::connect(through(&directory).join(NAME))
}

fn bind_as(path: &Path) -> io::Result<UnixListener> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let directory = File::open(parent)?;
    UnixListener::bind(through(&directory).join(name))
}

fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = remove_if_present(&self.path) {
            tracing::debug!(%error, "cannot remove {}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use super::*;

    fn within_runtime<T>(work: impl FnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        work()
    }

    #[test]
    fn a_path_longer_than_an_address_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a".repeat(100)).join("b".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        within_runtime(|| {
            let (_listener, socket) = bind(&deep).unwrap();
            connect(&deep).unwrap();
            let metadata = std::fs::symlink_metadata(deep.join(NAME)).unwrap();
            assert!(metadata.file_type().is_socket());
            assert_eq!(metadata.permissions().mode() & 0o777, MODE);
            drop(socket);
            assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0, "nothing is left behind");
        });
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_newer_one_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(NAME)).unwrap());
        assert_eq!(connect(dir.path()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        within_runtime(|| {
            let (_first, of_first) = bind(dir.path()).unwrap();
            connect(dir.path()).unwrap();
            let (_second, _of_second) = bind(dir.path()).unwrap();
            drop(of_first);
            connect(dir.path()).unwrap();
        });
    }
}
