//! Puts the good content from the repository in the place of damaged files. What is damaged is looked at once more with
//! the volume locked, and kept in quarantine. Must not know how damage is found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::ops::bring::{Size, check_space};
use crate::ops::content::hash_of;
use crate::ops::scrub::find::Damaged;
use crate::ops::{OpsError, Scope};
use crate::repository::{Repository, RepositoryError, RestoreRequest};
use crate::snapshot::selector::Selector;
use crate::snapshot::{Entry, Kind, RelativePath, SnapshotId};
use crate::tree::{FileKind, Root, Stat};
use crate::volume::{Marker, Swap};

/// What became of the damaged files.
#[derive(Debug, Default)]
pub(super) struct Repaired {
    /// Those that are good again.
    pub paths: HashSet<RelativePath>,
    /// Why others are not.
    pub reasons: HashMap<RelativePath, String>,
    /// Where the damaged ones are now.
    pub quarantine: Option<PathBuf>,
    /// Metadata that could not be set.
    pub problems: Vec<String>,
}

impl Repaired {
    fn leave(&mut self, damaged: Option<&Vec<&Damaged>>, reason: &str) {
        for one in damaged.into_iter().flatten() {
            self.reasons.insert(one.path.clone(), reason.to_owned());
        }
    }
}

/// Called with the volume's lock held exclusively.
pub(super) fn repair(
    scope: &Scope,
    repository: &dyn Repository,
    (id, marker): (&SnapshotId, &Marker),
    damaged: &[Damaged],
    aside: &HashSet<(u64, u64)>,
) -> Result<Repaired, OpsError> {
    let root = Root::open(scope.volume.path()).map_err(RepositoryError::from)?;
    let mut repaired = Repaired::default();
    let mut groups = groups(repository, id, damaged)?;
    let wanted: HashMap<&RelativePath, Vec<&Damaged>> = by_first(damaged);
    let mut seen: HashMap<RelativePath, Stat> = HashMap::new();
    groups.retain(|first, members| {
        match still_damaged(&root, members, wanted.get(first), aside, scope, &mut seen) {
            Ok(()) => true,
            Err(reason) => {
                repaired.leave(wanted.get(first), &reason);
                false
            }
        }
    });
    if groups.is_empty() {
        return Ok(repaired);
    }
    let bytes = groups.values().filter_map(|members| members.first()).map(Entry::size).sum();
    let entries = groups.values().map(|members| members.len() as u64).sum();
    check_space(scope.state_dir(), "the repair", Size { bytes, entries }, 0)?;
    let swap = scope.volume.begin_swap(marker, scope.clock.as_ref())?;
    let prepared = prepare(scope, repository, id, &groups, &swap);
    let mut moved = 0;
    let done = prepared.and_then(|problems| {
        repaired.problems = problems;
        let aside = Root::open(&swap.data).map_err(RepositoryError::from)?;
        for (first, members) in &groups {
            if scope.cancel.is_cancelled() {
                return Err(RepositoryError::Cancelled.into());
            }
            let mut is_ours = true;
            for entry in members {
                scope.volume.swap_in(&swap, &entry.path)?;
                moved += 1;
                // Somebody who has been writing while the good content was fetched has made it good, or at least his own.
                let before = seen.get(&entry.path);
                let now = aside.stat(&entry.path).map_err(RepositoryError::from)?;
                if before.is_none_or(|before| (before.size, before.mtime) != (now.size, now.mtime)) {
                    scope.volume.swap_in(&swap, &entry.path)?;
                    moved -= 1;
                    is_ours = false;
                }
            }
            match is_ours {
                true => repaired.paths.extend(members.iter().map(|entry| entry.path.clone())),
                false => repaired.leave(wanted.get(first), "it was changed meanwhile"),
            }
        }
        Ok(())
    });
    if moved == 0 {
        scope.volume.give_up_swap(&swap)?;
    } else {
        scope.volume.finish_swap(&swap)?;
        tracing::warn!(files = moved, quarantine = %swap.path.display(), "damaged files were replaced");
        repaired.quarantine = Some(swap.path);
    }
    done.map(|()| repaired)
}

fn by_first(damaged: &[Damaged]) -> HashMap<&RelativePath, Vec<&Damaged>> {
    let mut all: HashMap<&RelativePath, Vec<&Damaged>> = HashMap::new();
    for one in damaged {
        all.entry(&one.first).or_default().push(one);
    }
    all
}

/// The entries of the damaged files, each with all its names, under the first of them.
fn groups(
    repository: &dyn Repository,
    id: &SnapshotId,
    damaged: &[Damaged],
) -> Result<BTreeMap<RelativePath, Vec<Entry>>, OpsError> {
    let wanted: HashSet<&RelativePath> = damaged.iter().map(|one| &one.first).collect();
    let mut groups: BTreeMap<RelativePath, Vec<Entry>> = BTreeMap::new();
    repository.entries(id, &mut |entry| {
        let first = entry.hard_link.as_ref().unwrap_or(&entry.path);
        if wanted.contains(first) {
            groups.entry(first.clone()).or_default().push(entry);
        }
        ControlFlow::Continue(())
    })?;
    Ok(groups)
}

/// Whether nobody has changed the file since it was found damaged, under any of its names, and all its names are known;
/// else why nothing is done.
fn still_damaged(
    root: &Root,
    members: &[Entry],
    found: Option<&Vec<&Damaged>>,
    aside: &HashSet<(u64, u64)>,
    scope: &Scope,
    seen: &mut HashMap<RelativePath, Stat>,
) -> Result<(), String> {
    let mut names: HashMap<(u64, u64), (u64, Stat)> = HashMap::new();
    let mut is_damaged = false;
    for one in found.into_iter().flatten() {
        if !one.sure {
            return Err(
                "what the volume remembers does not say for certain that nobody has touched it".to_owned()
            );
        }
        if root.stat(&one.path).map_err(|error| error.to_string())? != one.stat {
            return Err(format!("{} was changed meanwhile", one.path));
        }
    }
    for entry in members {
        let stat = root.stat(&entry.path).map_err(|error| error.to_string())?;
        if stat.kind != FileKind::File || stat.mtime != entry.mtime {
            return Err(format!("{} was changed meanwhile", entry.path));
        }
        if !names.contains_key(&stat.identity()) {
            is_damaged |= !is_good(root, entry, scope)?;
        }
        seen.insert(entry.path.clone(), stat.clone());
        names.entry(stat.identity()).or_insert((0, stat)).0 += 1;
    }
    if scope.cancel.is_cancelled() {
        return Err("it was stopped before".to_owned());
    }
    if !is_damaged {
        return Err("it is good now; look at the memory and the disk of this machine".to_owned());
    }
    for (inode, (count, stat)) in &names {
        // A repair that was cut off has one of its names in quarantine.
        if u64::from(stat.links) != *count && !aside.contains(inode) {
            return Err("it has other names, which are not in the snapshot".to_owned());
        }
    }
    Ok(())
}

/// An unreadable one is not.
fn is_good(root: &Root, entry: &Entry, scope: &Scope) -> Result<bool, String> {
    let Kind::File { hash, .. } = &entry.kind else { return Ok(true) };
    let file = File::from(root.open_file(&entry.path).map_err(|error| error.to_string())?);
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    Ok(matches!(hash_of(&file, &scope.cancel), Ok(Some((read, _))) if read == *hash))
}

/// Brings the good content into quarantine, reads it back, and makes it durable: nothing of the volume has been touched.
fn prepare(
    scope: &Scope,
    repository: &dyn Repository,
    id: &SnapshotId,
    groups: &BTreeMap<RelativePath, Vec<Entry>>,
    swap: &Swap,
) -> Result<Vec<String>, OpsError> {
    let paths = groups.values().flatten().map(|entry| entry.path.clone()).collect();
    let selector = Selector::paths(paths);
    let report = repository.restore(
        id,
        &RestoreRequest {
            target: &swap.data,
            selector: &selector,
            cache: None,
            workers: &scope.workers,
            progress: &scope.progress,
            cancel: &scope.cancel,
        },
    )?;
    scope.volume.finish_swap(swap)?;
    let root = Root::open(&swap.data).map_err(RepositoryError::from)?;
    for entry in groups.values().flatten() {
        let is_good = is_good(&root, entry, scope).map_err(|reason| OpsError::Io {
            doing: "read back",
            path: entry.path.below(&swap.data),
            source: std::io::Error::other(reason),
        })?;
        if scope.cancel.is_cancelled() {
            return Err(RepositoryError::Cancelled.into());
        }
        if !is_good {
            return Err(RepositoryError::Content { path: entry.path.to_string() }.into());
        }
    }
    Ok(report.problems)
}
