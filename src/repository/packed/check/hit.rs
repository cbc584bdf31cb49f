//! What damage takes down: the snapshots and paths that need the very frames that are bad, or the segment that cannot
//! be read.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::hash::Hash;
use crate::repository::packed::check::{KnownSegment, Survey};
use crate::repository::packed::frame::PackId;
use crate::repository::request::NAMED_PATHS;
use crate::repository::{Finding, RepositoryError};
use crate::snapshot::{RelativePath, SnapshotId};

#[derive(Debug, Default)]
pub struct Hit {
    pub snapshots: BTreeSet<SnapshotId>,
    pub paths: Paths,
}

/// The first paths in the order of the walk, and the number of all.
#[derive(Debug, Default)]
pub struct Paths {
    first: BTreeSet<RelativePath>,
    /// The same path is in many snapshots. A part of the hash is enough to count.
    seen: HashSet<u64>,
}

impl Paths {
    pub fn add(&mut self, path: &RelativePath) {
        if !self.seen.insert(Hash::of(path.as_bytes()).prefix()) {
            return;
        }
        self.first.insert(path.clone());
        if self.first.len() > NAMED_PATHS {
            self.first.pop_last();
        }
    }

    pub fn named(&self) -> (Vec<String>, u64) {
        (self.first.iter().map(ToString::to_string).collect(), self.seen.len() as u64)
    }
}

/// Each segment that refers to something bad is read once more, for the names.
pub fn of_packs(survey: &Survey<'_>) -> Result<BTreeMap<PackId, Hit>, RepositoryError> {
    let mut hits: BTreeMap<PackId, Hit> = BTreeMap::new();
    for known in survey.segments.values() {
        let hit = known.packs.iter().filter_map(|pack| survey.damaged.get(pack));
        if hit.into_iter().all(|damage| damage.bad.is_empty()) {
            continue;
        }
        let segment = match survey.load(known) {
            Ok(segment) => segment,
            // It was there a moment ago.
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        let bad: Vec<Option<PackId>> = segment
            .frames
            .iter()
            .map(|frame| {
                survey
                    .damaged
                    .get(&frame.pack)
                    .is_some_and(|damage| damage.bad.contains_key(&frame.offset))
                    .then_some(frame.pack)
            })
            .collect();
        for entry in &segment.entries {
            let mut packs: Vec<PackId> = entry
                .extents()
                .iter()
                .filter_map(|extent| bad.get(extent.frame as usize).copied().flatten())
                .collect();
            packs.sort_unstable();
            packs.dedup();
            for pack in packs {
                let hit = hits.entry(pack).or_default();
                hit.paths.add(&entry.path);
                hit.snapshots.extend(known.users.iter().cloned());
            }
        }
    }
    Ok(hits)
}

/// All that is named in a segment. If nobody knows its names any more, between which others they were.
pub fn of_segment(survey: &Survey<'_>, known: &KnownSegment, mut finding: Finding) -> Finding {
    if known.cached
        && let Ok(segment) = survey.load(known)
    {
        let mut paths = Paths::default();
        segment.entries.iter().for_each(|entry| paths.add(&entry.path));
        (finding.paths, finding.path_count) = paths.named();
        return finding;
    }
    finding.path_count = known.reference.entries;
    let Some(document) = known.users.last().and_then(|id| survey.documents.get(id)) else { return finding };
    let at = document.segments.iter().position(|segment| segment.id == known.reference.id);
    let neighbour = |at: Option<usize>| {
        let neighbour = survey.segments.get(&document.segments.get(at?)?.id)?;
        survey.load(neighbour).ok()
    };
    let before = neighbour(at.and_then(|at| at.checked_sub(1)));
    let behind = neighbour(at.map(|at| at + 1));
    finding.after = before.and_then(|segment| Some(segment.entries.last()?.path.to_string()));
    finding.before = behind.and_then(|segment| Some(segment.entries.first()?.path.to_string()));
    finding
}
