//! Forgets snapshots by policy and deletes what nothing refers to any more, in every repository.

use std::time::Duration;

use serde::Serialize;

use crate::ops::error::Refusal;
use crate::ops::reach::probe_ours;
use crate::ops::{OpsError, Scope};
use crate::repository::{Absent, Presence, PruneReport, PruneRequest, Repository};
use crate::snapshot::retention::Policy;
use crate::volume::{Marker, State};

#[derive(Clone, Debug)]
pub struct PruneOptions {
    /// Which snapshots stay. Without rules nothing is forgotten, and what nothing refers to is deleted all the same.
    pub policy: Policy,
    /// How long what nothing refers to is kept before it is deleted.
    pub grace: Duration,
    /// Only find out what would be done.
    pub dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Pruned {
    pub repository: String,
    #[serde(flatten)]
    pub report: PruneReport,
}

/// The reports of all repositories. Fails only when all did; failures of some are `OpsError::Partly`, with the
/// others done. Waits for a backup of this volume that is running, as long as the volume's locks are waited for.
pub fn run(scope: &Scope, options: &PruneOptions) -> Result<(Vec<Pruned>, Option<OpsError>), OpsError> {
    scope.first_repository()?;
    scope.beside_no_backup("prune", options.dry_run, may_prune, |marker| each(scope, options, marker))
}

/// Pure: whether the volume is in a state in which older snapshots are surely not needed.
fn may_prune(state: &State, marker: Option<Marker>) -> Result<Marker, OpsError> {
    match (state, marker) {
        (State::Mismatch { found, expected }, _) => {
            Err(OpsError::Mismatch { found: found.clone(), expected: expected.clone() })
        }
        // The journal holds a snapshot that must still be there when it is read again.
        (State::Interrupted { phase }, _) => {
            let snapshot = phase.target().map(|target| target.snapshot.clone()).unwrap_or_default();
            Err(OpsError::refused(Refusal::HalfRestored { snapshot }))
        }
        // Nobody knows yet since when, and whether the newest snapshots have it too.
        (_, Some(Marker { damage: Some(damage), .. })) => {
            Err(OpsError::refused(Refusal::Damaged { repair: damage.repair.is_some() }))
        }
        (_, Some(marker)) => match marker.distrusted {
            // The newest data is bad: whoever wants it back needs one of the older snapshots.
            Some(snapshot) => {
                let findings = "found by the last init".to_owned();
                Err(OpsError::refused(Refusal::SnapshotFailsChecks { snapshot, findings }))
            }
            None => Ok(marker),
        },
        (_, None) => Err(OpsError::refused(Refusal::NeverBackedUp)),
    }
}

fn each(
    scope: &Scope,
    options: &PruneOptions,
    marker: Option<&Marker>,
) -> Result<(Vec<Pruned>, Option<OpsError>), OpsError> {
    let mut pruned = Vec::new();
    let mut failures = Vec::new();
    for repository in &scope.repositories {
        match one(scope, options, repository.as_ref(), marker) {
            Ok(report) => {
                if !options.dry_run
                    && let Err(error) = note(scope, repository.as_ref(), report.epoch)
                {
                    tracing::error!(%error, "pruned, and the volume could not note its new lease");
                    failures.push(error);
                }
                pruned.push(Pruned { repository: repository.location(), report });
            }
            Err(error) => {
                tracing::error!(%error, repository = repository.location(), "prune failed");
                failures.push(error);
            }
        }
    }
    OpsError::sum_up(pruned, failures, scope.repositories.len())
}

fn one(
    scope: &Scope,
    options: &PruneOptions,
    repository: &dyn Repository,
    marker: Option<&Marker>,
) -> Result<PruneReport, OpsError> {
    if let Presence::Absent(missing) = probe_ours(scope, repository)? {
        let place = Absent { location: repository.location(), missing };
        return Err(OpsError::RepositoryAbsent { places: vec![place] });
    }
    let writer = scope.writer_or_nobody(marker);
    let request = PruneRequest {
        policy: &options.policy,
        grace: options.grace,
        writer: &writer,
        cache: &scope.volume.cache_dir(),
        dry_run: options.dry_run,
        workers: &scope.workers,
        progress: &scope.progress,
        cancel: &scope.cancel,
    };
    Ok(repository.prune(&request)?)
}

/// The marker is read again: a job beside this one may have written it.
pub(super) fn note(scope: &Scope, repository: &dyn Repository, epoch: u64) -> Result<(), OpsError> {
    let Some(mut marker) = scope.volume.read_marker()? else { return Ok(()) };
    marker.note_lease(&repository.location(), epoch);
    Ok(scope.volume.write_marker(&marker, scope.clock.as_ref())?)
}
