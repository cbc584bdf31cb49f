//! What tells a file that was changed from one that was not, beside what its entry holds.

use crate::base::timestamp::Timestamp;
use crate::snapshot::{Entry, Kind};
use crate::tree::{FileKind, Found};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatRow {
    pub inode: u64,
    pub ctime: Timestamp,
    /// False when the times were too near to the reading to prove anything.
    pub trusted: bool,
}

impl StatRow {
    /// Whether what was found is what `entry` says. Every change to content or metadata moves the change time, which
    /// no program can set.
    pub fn is_unchanged(&self, entry: &Entry, found: &Found) -> bool {
        let stat = &found.stat;
        self.trusted
            && self.inode == stat.inode
            && self.ctime == stat.ctime
            && entry.mtime == stat.mtime
            && (entry.mode, entry.uid, entry.gid) == (stat.mode, stat.uid, stat.gid)
            && match (&entry.kind, stat.kind) {
                (Kind::File { size, .. }, FileKind::File) => *size == stat.size,
                (Kind::Directory, FileKind::Directory)
                | (Kind::Symlink { .. }, FileKind::Symlink)
                | (Kind::Fifo, FileKind::Fifo)
                | (Kind::Socket, FileKind::Socket) => true,
                (
                    Kind::CharacterDevice { major, minor },
                    FileKind::CharacterDevice { major: a, minor: b },
                )
                | (Kind::BlockDevice { major, minor }, FileKind::BlockDevice { major: a, minor: b }) => {
                    (*major, *minor) == (a, b)
                }
                _ => false,
            }
    }
}
