//! What backups of every kind ask of a volume: whether a file held still, whether it changed, what could not be read.
//! Knows nothing of how anything is stored.

mod problems;
mod settle;
mod stat_row;

pub use problems::Problems;
pub use settle::settle;
pub use stat_row::StatRow;

use crate::snapshot::{Entry, Kind};
use crate::tree::{FileKind, Found, Stat};

/// Whether nothing was written between two looks, as far as times can tell.
pub fn is_same(before: &Stat, after: &Stat) -> bool {
    before.size == after.size && before.mtime == after.mtime && before.ctime == after.ctime
}

/// A directory whose attributes cannot be read.
pub fn bare_directory(found: &Found) -> Entry {
    Entry {
        path: found.path.clone(),
        kind: Kind::Directory,
        mode: found.stat.mode,
        uid: found.stat.uid,
        gid: found.stat.gid,
        mtime: found.stat.mtime,
        attributes: Vec::new(),
        hard_link: None,
    }
}

/// Whether what was found is what a restore of `entry` left, as far as a look tells.
pub fn is_as_restored(entry: &Entry, found: &Found) -> bool {
    let kind = match (&entry.kind, found.stat.kind) {
        (Kind::File { size, .. }, FileKind::File) => *size == found.stat.size,
        (Kind::File { .. }, _) | (_, FileKind::File) => false,
        _ => true,
    };
    kind && entry.mtime == found.stat.mtime
}
