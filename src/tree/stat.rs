//! What one `statx` tells of a file-system object.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::base::timestamp::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: FileKind,
    /// Permission bits with set-uid, set-gid and sticky: `0o7777` at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    /// In bytes; that of directories means nothing.
    pub size: u64,
    pub inode: u64,
    /// Of the file system the object is on: major in the upper half, minor in the lower.
    pub device: u64,
    pub links: u32,
    /// Of 512 bytes, whatever the file system's own block size.
    pub blocks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

impl Stat {
    /// `name` in `directory`; a symbolic link itself, not what it points to.
    pub fn at(directory: impl AsFd, name: impl Arg) -> Result<Self, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Self::from_statx(&rustix::fs::statx(directory, name, flags, StatxFlags::BASIC_STATS)?)
    }

    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Self::from_statx(&rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?)
    }

    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// Device and inode: the same object under whatever name, as long as it lives.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    fn from_statx(raw: &Statx) -> Result<Self, Errno> {
        let (major, minor) = (raw.stx_rdev_major, raw.stx_rdev_minor);
        let kind = match FileType::from_raw_mode(u32::from(raw.stx_mode)) {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::CharacterDevice => FileKind::CharacterDevice { major, minor },
            FileType::BlockDevice => FileKind::BlockDevice { major, minor },
            FileType::Unknown => return Err(Errno::OPNOTSUPP),
        };
        Ok(Self {
            kind,
            mode: u32::from(raw.stx_mode) & 0o7777,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            mtime: timestamp(&raw.stx_mtime),
            ctime: timestamp(&raw.stx_ctime),
            size: raw.stx_size,
            inode: raw.stx_ino,
            device: u64::from(raw.stx_dev_major) << 32 | u64::from(raw.stx_dev_minor),
            links: raw.stx_nlink,
            blocks: raw.stx_blocks,
        })
    }
}

fn timestamp(raw: &StatxTimestamp) -> Timestamp {
    Timestamp::new(raw.tv_sec, raw.tv_nsec)
}
