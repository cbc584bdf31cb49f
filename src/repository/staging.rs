//! What restores of every kind do with the directory they fill: see what an interrupted run left there, and link what
//! has several names. Knows nothing of where contents come from.

use std::collections::HashMap;
use std::io::Read;

use crate::base::hash::Hash;
use crate::repository::RepositoryError;
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, Kind, RelativePath};
use crate::tree::{Cursor, FileKind, Stat, TreeWriter, Walk, WalkOptions};

pub fn holds_something(writer: &TreeWriter) -> Result<bool, RepositoryError> {
    // The first is the root itself.
    match Walk::new(writer.root(), WalkOptions::default()).nth(1) {
        None => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(problem)) => Err(problem.error.into()),
    }
}

/// Whether a file from an interrupted run has the content of `entry`; then it also gets its metadata. Anything
/// doubtful is "no": it is written again.
pub fn is_whole(writer: &TreeWriter, cursor: &mut Cursor, entry: &Entry) -> bool {
    let Kind::File { size, hash, .. } = &entry.kind else { return false };
    let Ok(file) = writer.root().open_file(&entry.path) else { return false };
    if !Stat::of(&file).is_ok_and(|stat| stat.kind == FileKind::File && stat.size == *size) {
        return false;
    }
    // Was the run before ended by an error in writing out, memory has what the disk has not: what is read has to
    // come from the disk.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut file = std::fs::File::from(file);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => drop(hasher.update(buffer.get(..count).unwrap_or_default())),
            Err(_) => return false,
        }
    }
    Hash::finish(&hasher) == *hash && cursor.finish_file(entry).is_ok()
}

/// Which of several names is restored with the content, where not all of them are asked for.
#[derive(Debug, Default)]
pub struct LinkTargets {
    /// Groups whose first member is not asked for, and who stands in for it.
    unlinked: HashMap<RelativePath, RelativePath>,
}

impl LinkTargets {
    /// The entry as a link to a member that is restored with its content, unless it has to be that member.
    pub fn as_link(&mut self, selector: &Selector, entry: &Entry) -> Option<Entry> {
        let first = entry.hard_link.as_ref()?;
        let target = match selector.takes(first) {
            true => first.clone(),
            false => match self.unlinked.get(first) {
                Some(stand_in) => stand_in.clone(),
                None => {
                    self.unlinked.insert(first.clone(), entry.path.clone());
                    return None;
                }
            },
        };
        Some(Entry { hard_link: Some(target), ..entry.clone() })
    }
}

/// `resuming`: an interrupted run may have made it.
pub fn link(
    writer: &TreeWriter,
    cursor: &mut Cursor,
    entry: &Entry,
    resuming: bool,
) -> Result<(), RepositoryError> {
    let Some(first) = &entry.hard_link else { return Ok(()) };
    if resuming {
        let inode = |path: &RelativePath| writer.root().stat(path).map(|stat: Stat| stat.identity());
        match (inode(first), inode(&entry.path)) {
            (Ok(one), Ok(other)) if one == other => return Ok(()),
            _ => cursor.remove(&entry.path)?,
        }
    }
    Ok(cursor.hard_link(first, &entry.path)?)
}
