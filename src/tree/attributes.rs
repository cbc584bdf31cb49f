//! Extended attributes, POSIX ACLs and file capabilities among them, read and written as raw bytes. Knows how
//! to reach them of every kind of object without following a link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::base::bytes_text::BytesText;
use crate::snapshot::Attribute;

/// Made up by the kernel, or bound to the machine: they would be refused or wrong anywhere else.
/// - `security.selinux`: a label of this node's policy and of this container; a new file gets its own.
/// - `security.evm`: a signature by a key that does not leave the machine.
/// - `system.nfs4_acl` and its parts, `system.cifs_acl`, `system.smb3_acl`, `system.ntfs_…`: views of what
///   the server or the mode says.
/// - `btrfs.`, `ceph.`, `lustre.`, `gluster.`: layout and properties of that file system.
const NOT_KEPT: [&[u8]; 11] = [
    b"security.selinux",
    b"security.evm",
    b"system.nfs4_",
    b"system.cifs_",
    b"system.smb3_",
    b"system.ntfs_",
    b"btrfs.",
    b"ceph.",
    b"lustre.",
    b"glusterfs.",
    b"trusted.glusterfs.",
];

/// The kernel's own limits are 64 KiB for a list and for a value; most are tiny.
const FIRST_TRY: usize = 512;
const TRIES: usize = 8;

/// One file-system object, as the calls for extended attributes want it.
#[derive(Debug)]
pub(crate) enum Object<'f> {
    /// A file or directory that is open for more than its path.
    Open(BorrowedFd<'f>),
    /// Through `/proc/self/fd`: the only way to a symbolic link, a device, or a name in a directory.
    Named(PathBuf),
}

/// Of an open file or directory, sorted by name. A file system without them has none.
pub fn read(fd: impl AsFd) -> Result<Vec<Attribute>, Errno> {
    Object::Open(fd.as_fd()).read()
}

/// Of `name` in `directory`; a symbolic link's own.
pub fn read_at(directory: impl AsFd, name: &[u8]) -> Result<Vec<Attribute>, Errno> {
    Object::named(directory.as_fd(), name).read()
}

impl<'f> Object<'f> {
    pub(crate) fn named(directory: BorrowedFd<'_>, name: &[u8]) -> Self {
        let name = BytesText::from(name);
        Self::Named(PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name.as_os_str()))
    }

    pub(crate) fn read(&self) -> Result<Vec<Attribute>, Errno> {
        let mut attributes = Vec::new();
        for name in self.names()? {
            match grow(|buffer| self.get(&name, buffer)) {
                Ok(value) => attributes.push(Attribute { name: BytesText(name), value: BytesText(value) }),
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                Err(error) => return Err(error),
            }
        }
        attributes.sort_unstable();
        Ok(attributes)
    }

    /// Those that are kept; the usual answer, none, takes one call.
    pub(crate) fn names(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let list = match grow(|buffer| self.list(buffer)) {
            Ok(list) => list,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(list
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty() && is_kept(name))
            .map(<[u8]>::to_vec)
            .collect())
    }

    pub(crate) fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(path) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
        }
    }

    pub(crate) fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        let removed = match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Named(path) => rustix::fs::lremovexattr(path, name),
        };
        if removed == Err(Errno::NODATA) { Ok(()) } else { removed }
    }

    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Named(path) => rustix::fs::llistxattr(path, buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
            Self::Named(path) => rustix::fs::lgetxattr(path, name, buffer),
        }
    }
}

pub(crate) fn is_kept(name: &[u8]) -> bool {
    !NOT_KEPT.iter().any(|prefix| name.starts_with(prefix))
}

/// Calls with more room until the answer fits, which may grow between two calls.
fn grow(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0u8; FIRST_TRY];
    match call(&mut small) {
        Ok(length) => return Ok(small.get(..length).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut buffer = Vec::new();
    for doubling in 1..=TRIES {
        buffer.resize(FIRST_TRY << doubling, 0);
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_size_and_bytes_come_back_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("f")).unwrap();
        assert_eq!(read(&file).unwrap(), []);
        let object = Object::Open(file.as_fd());
        let large = vec![7u8; 3000];
        object.set(b"user.b", &large).unwrap();
        object.set(b"user.a", b"\x00\xff").unwrap();
        object.set(b"user.empty", b"").unwrap();
        let attributes = read(&file).unwrap();
        let expected = [(&b"user.a"[..], &b"\x00\xff"[..]), (b"user.b", &large), (b"user.empty", b"")];
        assert_eq!(
            attributes,
            expected.map(|(name, value)| Attribute { name: name.into(), value: value.into() })
        );
        let directory = std::fs::File::open(dir.path()).unwrap();
        assert_eq!(read_at(&directory, b"f").unwrap(), attributes);
        object.remove(b"user.b").unwrap();
        object.remove(b"user.b").unwrap();
        assert_eq!(read(&file).unwrap().len(), 2);
    }

    #[test]
    fn what_belongs_to_the_machine_is_not_kept() {
        assert!(!is_kept(b"security.selinux") && !is_kept(b"btrfs.compression"));
        assert!(is_kept(b"security.capability") && is_kept(b"system.posix_acl_access"));
    }
}
