//! A scrub: looks for files on the volume that have decayed, by the last snapshot, and on request brings their good
//! content back. The volume is only read, until there is something to repair.

mod find;
mod repair;

use std::path::PathBuf;

use serde::Serialize;

use crate::ops::error::Refusal;
use crate::ops::health::last_snapshot;
use crate::ops::{OpsError, Scope};
use crate::repository::Repository;
use crate::snapshot::SnapshotId;
use crate::snapshot::summary::PickError;
use crate::tree::Root;
use crate::volume::{Holder, Inspection, LockKind, Marker, State};
use find::{Damaged, Found, Part, Search};

/// Damaged files in a report.
const NAMED: usize = 100;

#[derive(Clone, Debug)]
pub struct ScrubOptions {
    pub percent: u8,
    /// Which part, for those who come again.
    pub turn: u64,
    /// Put good content in the place of what is damaged.
    pub repair: bool,
    /// Also while a sidecar is at work, whose app may have the file open.
    pub beside_app: bool,
    /// Say what would be repaired.
    pub dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Scrubbed {
    pub repository: String,
    pub snapshot: String,
    /// Files that were read and compared, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Changed since they were read for the snapshot, or not known to be unchanged: nothing can be said of them.
    pub passed_over: u64,
    /// Of parts that have their turn in other runs.
    pub left_out: u64,
    /// Damaged files; the list is cut, the count is not.
    pub damaged: Vec<Decayed>,
    pub damaged_count: u64,
    /// How many of these are good again.
    pub repaired: u64,
    /// Where the damaged ones are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<PathBuf>,
    /// Files that could not be looked at, and metadata that could not be set; the list is cut, the count is not.
    pub problems: Vec<String>,
    pub problem_count: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Decayed {
    pub path: String,
    pub reason: String,
    pub repaired: bool,
    /// Why it was not repaired, though that was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

pub fn run(scope: &Scope, options: &ScrubOptions) -> Result<Scrubbed, OpsError> {
    scope.first_repository()?;
    if options.repair && !options.dry_run {
        refuse_beside_app(scope, options)?;
    }
    scope.volume.prepare()?;
    let shared = scope.lock(LockKind::Shared, "scrub")?;
    let marker = marker_of(scope.volume.inspect()?)?;
    let (repository, id) = snapshot_of(scope, &marker)?;
    let root = Root::open(scope.volume.path()).map_err(crate::repository::RepositoryError::from)?;
    if let Ok(summary) = repository.summary(&id) {
        scope.progress.expect(summary.entries, summary.bytes);
    }
    let aside = scope.volume.swapped_out()?;
    let search = Search {
        root: &root,
        known: marker.knew_at(),
        part: Part::of(options.percent, options.turn),
        aside: &aside,
        cache: &scope.volume.cache_dir(),
        progress: &scope.progress,
        cancel: &scope.cancel,
    };
    let found = search.run(repository, &id)?;
    drop(shared);
    let mut scrubbed = report(repository, &id, &found);
    if options.repair && !options.dry_run && !found.damaged.is_empty() {
        mend(scope, options, repository, &id, &found, &mut scrubbed)?;
    }
    Ok(scrubbed)
}

/// Whoever has a damaged file open would go on reading and writing it where it is then: in quarantine.
fn refuse_beside_app(scope: &Scope, options: &ScrubOptions) -> Result<(), OpsError> {
    match scope.volume.sidecar_running()? {
        Some(holder) if !options.beside_app => {
            Err(OpsError::InUse { holder: Holder::describe(Some(&holder)) })
        }
        _ => Ok(()),
    }
}

/// Pure: whether the volume is one of which a snapshot says how it should be.
fn marker_of(inspection: Inspection) -> Result<Marker, OpsError> {
    match (inspection.state, inspection.marker) {
        (State::Mismatch { found, expected }, _) => Err(OpsError::Mismatch { found, expected }),
        (State::Interrupted { phase }, _) => {
            let snapshot = phase.target().map(|target| target.snapshot.clone()).unwrap_or_default();
            Err(OpsError::refused(Refusal::HalfRestored { snapshot }))
        }
        (_, Some(marker)) => Ok(marker),
        (_, None) => Err(OpsError::NeverStored),
    }
}

/// The snapshot that this volume last made or came from, where it is.
fn snapshot_of<'s>(scope: &'s Scope, marker: &Marker) -> Result<(&'s dyn Repository, SnapshotId), OpsError> {
    let (id, location) = last_snapshot(marker).ok_or(OpsError::NeverStored)?;
    let has_it = scope.repositories.iter().find(|repository| repository.location() == location);
    // Under another address, it may be the same one.
    let repository = match has_it {
        Some(repository) => repository,
        None => scope.first_repository()?,
    };
    let found = repository.identity()?;
    if found != scope.volume.identity() {
        let (location, expected) = (repository.location(), scope.volume.identity().to_owned());
        return Err(crate::repository::RepositoryError::Identity { location, found, expected }.into());
    }
    if !repository.names()?.contains(&id) {
        let source = PickError::Unknown(id.0);
        return Err(OpsError::Pick { location: repository.location(), source });
    }
    Ok((repository.as_ref(), id))
}

fn report(repository: &dyn Repository, id: &SnapshotId, found: &Found) -> Scrubbed {
    let decayed = |one: &Damaged| Decayed {
        path: one.path.to_string(),
        reason: one.reason.clone(),
        repaired: false,
        left: None,
    };
    Scrubbed {
        repository: repository.location(),
        snapshot: id.0.clone(),
        files: found.files,
        bytes: found.bytes,
        passed_over: found.passed_over,
        left_out: found.left_out,
        damaged: found.damaged.iter().take(NAMED).map(decayed).collect(),
        damaged_count: found.damaged_count,
        repaired: 0,
        quarantine: None,
        problems: found.unread.iter().take(NAMED).cloned().collect(),
        problem_count: found.unread_count,
    }
}

fn mend(
    scope: &Scope,
    options: &ScrubOptions,
    repository: &dyn Repository,
    id: &SnapshotId,
    found: &Found,
    scrubbed: &mut Scrubbed,
) -> Result<(), OpsError> {
    let _alone = scope.lock(LockKind::Exclusive, "scrub")?;
    // A sidecar may have come while the files were read.
    refuse_beside_app(scope, options)?;
    let marker = marker_of(scope.volume.inspect()?)?;
    // Others may have had the volume in between: what they have put aside is no more to be repaired, and what an `init`
    // has restored meanwhile is another tree, in which nothing is as it was found.
    if last_snapshot(&marker).map(|(last, _)| last) != Some(id.clone()) {
        return Err(OpsError::ChangedMeanwhile);
    }
    let aside = scope.volume.swapped_out()?;
    let repaired = repair::repair(scope, repository, (id, &marker), &found.damaged, &aside)?;
    scrubbed.repaired = found.damaged.iter().filter(|one| repaired.paths.contains(&one.path)).count() as u64;
    for (decayed, one) in scrubbed.damaged.iter_mut().zip(&found.damaged) {
        decayed.repaired = repaired.paths.contains(&one.path);
        decayed.left = repaired.reasons.get(&one.path).cloned();
    }
    scrubbed.problem_count += repaired.problems.len() as u64;
    scrubbed.problems.extend(repaired.problems);
    scrubbed.quarantine = repaired.quarantine;
    Ok(())
}
