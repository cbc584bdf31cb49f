//! Finds files whose content is not that of the last snapshot though nobody has touched them since. Reads from the disk,
//! not from memory, and changes nothing.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use crate::base::cancel::Cancel;
use crate::base::hash::Hash;
use crate::base::progress::Progress;
use crate::base::timestamp::Timestamp;
use crate::ops::OpsError;
use crate::ops::content::hash_of;
use crate::repository::scan::StatRow;
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::{Entry, Kind, RelativePath, SnapshotId};
use crate::tree::{FileKind, Root, Stat, TreeError};

/// Where nothing tells what a file looked like when it was read, it has to have been left alone for so long before the
/// snapshot was made.
const QUIET: Duration = Duration::from_secs(60);
/// Damaged files that are kept track of; the count goes on.
pub(super) const NAMED: usize = 1_000;

/// One of `of` parts of all files, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub number: u64,
    pub of: u64,
}

/// Files of the snapshot, by what became of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Read to the end, and good or not.
    pub files: u64,
    pub bytes: u64,
    /// Touched since the snapshot or shortly before it, or gone: the app's business.
    pub passed_over: u64,
    /// Of other parts.
    pub left_out: u64,
    pub damaged: Vec<Damaged>,
    pub damaged_count: u64,
    /// Could not be looked at, with the reason; the list is cut, the count is not.
    pub unread: Vec<String>,
    pub unread_count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    pub path: RelativePath,
    /// The name with which the content is restored, of several.
    pub first: RelativePath,
    pub reason: String,
    /// As it was found.
    pub stat: Stat,
    /// Surely nobody has touched it since it was read for the snapshot, or restored from it.
    pub sure: bool,
}

pub(super) struct Search<'s> {
    pub root: &'s Root,
    /// When the volume was last known to be as the snapshot says.
    pub known: Timestamp,
    pub part: Option<Part>,
    /// Inodes that were put aside as damaged: one that is still here was so before a repair that was cut off.
    pub aside: &'s HashSet<(u64, u64)>,
    /// Of the volume: what its files looked like.
    pub cache: &'s Path,
    pub progress: &'s Progress,
    pub cancel: &'s Cancel,
}

impl Search<'_> {
    pub(super) fn run(&self, repository: &dyn Repository, id: &SnapshotId) -> Result<Found, OpsError> {
        let mut found = Found::default();
        let mut known = HashMap::new();
        repository.entries_as_seen(id, self.cache, &mut |entry, row| {
            if self.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            self.progress.add(1, entry.size());
            self.one(&entry, row, &mut found, &mut known);
            ControlFlow::Continue(())
        })?;
        match self.cancel.is_cancelled() {
            true => Err(RepositoryError::Cancelled.into()),
            false => Ok(found),
        }
    }

    /// `known`: what was said of inodes that have several names.
    fn one(
        &self,
        entry: &Entry,
        row: Option<StatRow>,
        found: &mut Found,
        known: &mut HashMap<(u64, u64), Verdict>,
    ) {
        let Kind::File { size, hash, .. } = &entry.kind else { return };
        let first = entry.hard_link.as_ref().unwrap_or(&entry.path);
        if self.part.is_some_and(|part| !part.takes(first)) {
            found.left_out += 1;
            return;
        }
        let stat = self.root.stat(&entry.path);
        let verdict = match &stat {
            Ok(stat) if !self.is_untouched(entry, row, stat) => Verdict::Touched,
            Ok(stat) => match known.get(&stat.identity()).filter(|_| stat.links > 1) {
                Some(verdict) => verdict.clone(),
                None => {
                    let verdict = self.judge(entry, stat, *size, *hash);
                    if stat.links > 1 {
                        known.insert(stat.identity(), verdict.clone());
                    }
                    if let Verdict::Good | Verdict::Damaged(_) = verdict {
                        found.bytes += stat.size;
                    }
                    verdict
                }
            },
            Err(error) => of_error(error),
        };
        match (verdict, stat) {
            (Verdict::Good, _) => found.files += 1,
            (Verdict::Touched, _) => found.passed_over += 1,
            (Verdict::Damaged(reason), Ok(stat)) => {
                found.files += 1;
                found.damaged_count += 1;
                tracing::error!(path = %entry.path, reason, "damaged");
                if found.damaged.len() < NAMED {
                    let (path, first) = (entry.path.clone(), first.clone());
                    let sure = row.is_some_and(|row| row.trusted) || self.aside.contains(&stat.identity());
                    found.damaged.push(Damaged { path, first, reason, stat, sure });
                }
            }
            (Verdict::Damaged(reason) | Verdict::Unread(reason), _) => {
                found.unread_count += 1;
                if found.unread.len() < NAMED {
                    found.unread.push(format!("{}: {reason}", entry.path));
                }
            }
        }
    }

    /// The change time is the kernel's: no program can set it, and real damage does not move it. Whoever writes to a file
    /// and sets its other times back is seen by it.
    fn is_untouched(&self, entry: &Entry, row: Option<StatRow>, stat: &Stat) -> bool {
        if stat.kind != FileKind::File || stat.mtime != entry.mtime {
            return false;
        }
        let as_seen = match row {
            Some(row) => row.trusted && (row.inode, row.ctime) == (stat.inode, stat.ctime),
            None => stat.ctime.plus(QUIET) <= self.known,
        };
        as_seen || self.aside.contains(&stat.identity())
    }

    fn judge(&self, entry: &Entry, before: &Stat, size: u64, hash: Hash) -> Verdict {
        let file = match self.root.open_file(&entry.path) {
            Ok(file) => File::from(file),
            Err(error) => return of_error(&error),
        };
        match Stat::of(&file) {
            Ok(stat) if stat == *before => {}
            Ok(_) => return Verdict::Touched,
            Err(error) => return of_errno(error),
        }
        if before.size != size {
            let found = before.size;
            return Verdict::Damaged(format!(
                "it has {found} bytes instead of {size}, and its times are unchanged"
            ));
        }
        // What the memory has may be better than what the disk has. And it is not filled with what nobody asked for.
        let forget = || {
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        };
        forget();
        let read = hash_of(&file, self.cancel);
        forget();
        let after = Stat::of(&file);
        match (read, after) {
            (Err(error), _) => match Errno::from_io_error(&error) {
                Some(errno) => of_errno(errno),
                None => Verdict::Unread(error.to_string()),
            },
            (_, Err(error)) => of_errno(error),
            // Written to meanwhile, or told to stop.
            (Ok(None), _) => Verdict::Touched,
            (Ok(_), Ok(after)) if is_other(before, &after) => Verdict::Touched,
            (Ok(Some((read, _))), Ok(_)) if read == hash => Verdict::Good,
            (Ok(Some(_)), Ok(_)) => Verdict::Damaged(
                "its content is not that of the snapshot, and its times are unchanged".to_owned(),
            ),
        }
    }
}

#[derive(Clone, Debug)]
enum Verdict {
    Good,
    Touched,
    Damaged(String),
    Unread(String),
}

impl Part {
    /// Part number `turn`, counted on for ever, where each has `percent`. `None`: all is one part.
    pub(super) fn of(percent: u8, turn: u64) -> Option<Self> {
        let of = 100u64.div_ceil(u64::from(percent.clamp(1, 100)));
        (of > 1).then(|| Self { number: turn % of, of })
    }

    fn takes(self, path: &RelativePath) -> bool {
        Hash::of(path.as_bytes()).prefix() % self.of == self.number
    }
}

fn is_other(before: &Stat, after: &Stat) -> bool {
    (before.size, before.mtime, before.ctime) != (after.size, after.mtime, after.ctime)
}

fn of_error(error: &TreeError) -> Verdict {
    match error {
        TreeError::Missing { .. } | TreeError::Escape { .. } => Verdict::Touched,
        TreeError::Io { source, .. } => match Errno::from_io_error(source) {
            Some(errno) => of_errno(errno),
            None => Verdict::Unread(error.to_string()),
        },
        _ => Verdict::Unread(error.to_string()),
    }
}

/// The disk, or the file system's own checksum, says that the content is lost.
fn of_errno(error: Errno) -> Verdict {
    match error {
        Errno::IO | Errno::BADMSG | Errno::UCLEAN => Verdict::Damaged(format!("it cannot be read: {error}")),
        Errno::NOENT | Errno::NOTDIR => Verdict::Touched,
        _ => Verdict::Unread(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_turn_once() {
        assert_eq!(Part::of(100, 7), None);
        for percent in [1u8, 5, 30, 50, 99] {
            let turns = 100u64.div_ceil(u64::from(percent));
            for name in 0..50 {
                let path = RelativePath::new(format!("dir/{name}")).unwrap();
                let taken =
                    (10..10 + turns).filter(|turn| Part::of(percent, *turn).unwrap().takes(&path)).count();
                assert_eq!(taken, 1, "{percent} {name}");
            }
        }
    }
}
