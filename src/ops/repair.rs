//! Mends every repository from the volume that is backed up there.

use serde::Serialize;

use crate::ops::error::Refusal;
use crate::ops::prune::note;
use crate::ops::{OpsError, Scope};
use crate::repository::{RepairReport, RepairRequest, Repository};
use crate::volume::{Marker, State};

#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// Of the packs, in full.
    pub verify_percent: u8,
    /// Only find out what would be done.
    pub dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Repaired {
    pub repository: String,
    #[serde(flatten)]
    pub report: RepairReport,
}

/// The reports of all repositories. Fails only when all did; failures of some are `OpsError::Partly`, with the
/// others done. Waits for a backup of this volume that is running, as long as the volume's locks are waited for.
pub fn run(scope: &Scope, options: RepairOptions) -> Result<(Vec<Repaired>, Option<OpsError>), OpsError> {
    scope.first_repository()?;
    scope.beside_no_backup("repair", options.dry_run, may_repair, |marker| each(scope, options, marker))
}

/// Pure: whether snapshots may be given up for what the volume has.
fn may_repair(state: &State, marker: Option<Marker>) -> Result<Marker, OpsError> {
    match (state, marker) {
        (State::Mismatch { found, expected }, _) => {
            Err(OpsError::Mismatch { found: found.clone(), expected: expected.clone() })
        }
        // The snapshot that is being restored must still be there when the restore goes on.
        (State::Interrupted { phase }, _) => {
            let snapshot = phase.target().map(|target| target.snapshot.clone()).unwrap_or_default();
            Err(OpsError::refused(Refusal::HalfRestored { snapshot }))
        }
        (_, None) => Err(OpsError::refused(Refusal::NeverBackedUp)),
        // An init that comes next would restore an older snapshot, and nobody would have asked for that.
        (State::Empty, Some(_)) => Err(OpsError::refused(Refusal::NothingToMendFrom)),
        (_, Some(marker)) => Ok(marker),
    }
}

fn each(
    scope: &Scope,
    options: RepairOptions,
    marker: Option<&Marker>,
) -> Result<(Vec<Repaired>, Option<OpsError>), OpsError> {
    let mut repaired = Vec::new();
    let mut failures = Vec::new();
    for repository in &scope.repositories {
        match one(scope, options, repository.as_ref(), marker) {
            Ok(report) => {
                if report.epoch > 0
                    && let Err(error) = note(scope, repository.as_ref(), report.epoch)
                {
                    tracing::error!(%error, "repaired, and the volume could not note its new lease");
                    failures.push(error);
                }
                repaired.push(Repaired { repository: repository.location(), report });
            }
            Err(error) => {
                tracing::error!(%error, repository = repository.location(), "repair failed");
                failures.push(error);
            }
        }
    }
    OpsError::sum_up(repaired, failures, scope.repositories.len())
}

fn one(
    scope: &Scope,
    options: RepairOptions,
    repository: &dyn Repository,
    marker: Option<&Marker>,
) -> Result<RepairReport, OpsError> {
    let writer = scope.writer_or_nobody(marker);
    let request = RepairRequest {
        root: scope.volume.path(),
        cache: &scope.volume.cache_dir(),
        writer: &writer,
        epoch: marker.and_then(|marker| marker.epoch_in(&repository.location())),
        verify_percent: options.verify_percent,
        dry_run: options.dry_run,
        workers: &scope.workers,
        progress: &scope.progress,
        cancel: &scope.cancel,
    };
    Ok(repository.repair(&request)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_volume_with_data_and_a_record_gives_up_snapshots() {
        let refused = |state: &State| match may_repair(state, None) {
            Err(OpsError::Refused { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&State::Healthy), Refusal::NeverBackedUp);
        assert_eq!(refused(&State::Empty), Refusal::NeverBackedUp);
        let mismatch = State::Mismatch { found: "a".to_owned(), expected: "b".to_owned() };
        assert!(matches!(may_repair(&mismatch, None), Err(OpsError::Mismatch { .. })));
    }
}
