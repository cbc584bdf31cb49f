//! A backup by hand or by schedule: into every repository, behind the guards that keep a broken volume from
//! replacing good snapshots.

use serde::Serialize;

use crate::ops::error::{Refusal, findings_line};
use crate::ops::health::examine;
use crate::ops::reach::{find_newer, probe_ours};
use crate::ops::scope::Terms;
use crate::ops::{OpsError, Scope};
use crate::repository::{Absent, BackupReport, Epoch, Presence, Repository, RepositoryError, Totals};
use crate::snapshot::Summary;
use crate::volume::{CheckSpec, Inspection, LastBackup, Level, LockKind, Marker, Phase, State};

#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// The quick ones are run before each backup: what they find is not stored.
    pub checks: Vec<CheckSpec>,
    /// A backup is refused that has lost more than this of the bytes or files of the one before.
    pub max_shrink_percent: u8,
    pub allow_empty: bool,
    /// Told once, by hand: this time the volume may have shrunk.
    pub allow_shrink: bool,
    pub create_repository: bool,
    /// Another volume's later snapshot is no reason to refuse.
    pub keep_stale: bool,
    pub dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    pub repository: String,
    #[serde(flatten)]
    pub report: BackupReport,
}

/// The reports of all repositories. Fails only when all did; failures of some are `OpsError::Partly`, with the
/// others done.
pub fn run(scope: &Scope, options: &BackupOptions) -> Result<(Vec<Stored>, Option<OpsError>), OpsError> {
    scope.first_repository()?;
    scope.volume.prepare()?;
    adopt_if_new(scope, options)?;
    let _alone = scope.backup_lock()?;
    let _lock = scope.lock(LockKind::Shared, "backup")?;
    let Inspection { state, marker, .. } = scope.volume.inspect()?;
    let marker = match (&state, marker) {
        // What would be adopted, for a plan.
        (State::Foreign, None) if options.dry_run => Some(scope.volume.new_marker(scope.clock.as_ref())?),
        (_, marker) => marker,
    };
    let mut marker = may_back_up(&state, marker, options)?;
    refuse_damage(scope, options, Some(&marker), Level::Quick)?;
    let mut stored = Vec::new();
    let mut failures = Vec::new();
    for repository in &scope.repositories {
        match one(scope, options, repository.as_ref(), &marker) {
            Ok(report) => {
                if let Some(summary) = &report.snapshot
                    && let Err(error) = note(
                        scope,
                        &mut marker,
                        repository.as_ref(),
                        (summary, report.epoch),
                        stored.is_empty(),
                    )
                {
                    tracing::error!(%error, "the backup is stored, and the volume could not note it");
                    failures.push(error);
                }
                stored.push(Stored { repository: repository.location(), report });
            }
            Err(error) => {
                tracing::error!(%error, repository = repository.location(), "backup failed");
                failures.push(error);
            }
        }
    }
    OpsError::sum_up(stored, failures, scope.repositories.len())
}

/// Pure: whether the volume is in a state that deserves to become the newest snapshot.
fn may_back_up(state: &State, marker: Option<Marker>, options: &BackupOptions) -> Result<Marker, OpsError> {
    match (state, marker) {
        (State::Mismatch { found, expected }, _) => {
            Err(OpsError::Mismatch { found: found.clone(), expected: expected.clone() })
        }
        (State::Interrupted { phase }, _) => {
            let snapshot = phase.target().map(|target| target.snapshot.clone()).unwrap_or_default();
            Err(OpsError::refused(Refusal::HalfRestored { snapshot }))
        }
        (State::Empty, marker) => match marker {
            Some(marker) if options.allow_empty && marker.phase == Phase::Ready => Ok(marker),
            _ => Err(OpsError::refused(Refusal::EmptyVolume)),
        },
        (_, Some(marker)) if marker.distrusted.is_some() => {
            let snapshot = marker.distrusted.unwrap_or_default();
            let findings = "found by the last init".to_owned();
            Err(OpsError::refused(Refusal::SnapshotFailsChecks { snapshot, findings }))
        }
        // Quick checks may pass on what a repair has left half done.
        (_, Some(Marker { damage: Some(damage), .. })) => {
            Err(OpsError::refused(Refusal::Damaged { repair: damage.repair.is_some() }))
        }
        (_, Some(marker)) => Ok(marker),
        (_, None) => Err(OpsError::refused(Refusal::Foreign)),
    }
}

/// The first backup of data that never knew volkeep: adopted if no repository has anything it could replace.
fn adopt_if_new(scope: &Scope, options: &BackupOptions) -> Result<(), OpsError> {
    if scope.volume.inspect()?.state != State::Foreign {
        return Ok(());
    }
    let _lock = scope.lock(LockKind::Exclusive, "backup")?;
    let Inspection { state: State::Foreign, marker, .. } = scope.volume.inspect()? else { return Ok(()) };
    for repository in &scope.repositories {
        match probe_ours(scope, repository.as_ref())? {
            Presence::Ready => return Err(OpsError::refused(Refusal::Foreign)),
            Presence::Absent(missing) if !options.create_repository => {
                let place = Absent { location: repository.location(), missing };
                return Err(OpsError::RepositoryAbsent { places: vec![place] });
            }
            Presence::Absent(_) | Presence::Empty => {}
        }
    }
    if options.dry_run {
        return Ok(());
    }
    refuse_damage(scope, options, None, Level::Full)?;
    scope.volume.adopt(marker, scope.clock.as_ref())?;
    Ok(())
}

/// A broken volume must not become the newest snapshot. One that is whole and only not what is configured is worth as
/// much as any: it is what an upgrade by hand starts from.
fn refuse_damage(
    scope: &Scope,
    options: &BackupOptions,
    marker: Option<&Marker>,
    level: Level,
) -> Result<(), OpsError> {
    let outcome = examine(scope, marker, &options.checks, level);
    if outcome.findings.is_empty() {
        return Ok(());
    }
    Err(OpsError::refused(Refusal::Corrupt { findings: findings_line(&outcome.findings) }))
}

fn one(
    scope: &Scope,
    options: &BackupOptions,
    repository: &dyn Repository,
    marker: &Marker,
) -> Result<BackupReport, OpsError> {
    if let Presence::Absent(missing) = repository.probe()? {
        // Where this volume has stored before, an absent repository is one that is not mounted.
        let had = marker.has_stored_in(&repository.location());
        if !options.create_repository || options.dry_run || had {
            let place = Absent { location: repository.location(), missing };
            return Err(OpsError::RepositoryAbsent { places: vec![place] });
        }
        repository.create(scope.volume.identity())?;
    }
    if !options.keep_stale {
        match find_newer(repository, marker) {
            Ok(None) => {}
            Ok(Some(newest)) => {
                return Err(OpsError::refused(Refusal::Stale { snapshot: newest.id.0, host: newest.host }));
            }
            // The backup stores what it needs anew.
            Err(error) if error.is_damage() => {}
            // Withdrawn since it was listed.
            Err(OpsError::Pick { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let guard = |totals: &Totals, before: Option<&Summary>| guard(totals, before, options);
    let writer = scope.writer(marker);
    let terms = Terms {
        guard: &guard,
        dry_run: options.dry_run,
        epoch: marker.epoch_in(&repository.location()),
        take_over: options.keep_stale,
    };
    scope.with_backup_request(&writer, &terms, |request| repository.backup(request)).map_err(|error| {
        match error {
            RepositoryError::Refused(reason) => OpsError::refused(Refusal::Shrunk(reason)),
            other => other.into(),
        }
    })
}

/// Pure: whether a snapshot with these totals may follow the one before.
fn guard(totals: &Totals, before: Option<&Summary>, options: &BackupOptions) -> Result<(), String> {
    let Some(before) = before.filter(|_| !options.allow_shrink) else { return Ok(()) };
    if totals.files == 0 && before.files > 0 && !options.allow_empty {
        return Err(format!("the volume has no file left, and snapshot {} has {}", before.id, before.files));
    }
    let left = u64::from(100 - options.max_shrink_percent.min(100));
    for (what, now, then) in [("files", totals.files, before.files), ("bytes", totals.bytes, before.bytes)] {
        if u128::from(now) * 100 < u128::from(then) * u128::from(left) {
            return Err(format!(
                "the volume has {now} {what}, and snapshot {} has {then}: it lost more than {} %",
                before.id, options.max_shrink_percent
            ));
        }
    }
    Ok(())
}

/// What this repository has of the volume now, so that its snapshot is later known for our own; `latest` for the
/// first one of a run. The marker is read again: another backup beside this one may have written it.
fn note(
    scope: &Scope,
    marker: &mut Marker,
    repository: &dyn Repository,
    (summary, epoch): (&Summary, Epoch),
    latest: bool,
) -> Result<(), OpsError> {
    if let Some(present) = scope.volume.read_marker()? {
        *marker = present;
    }
    let location = repository.location();
    // Of a snapshot that was there already the epoch may be an older one.
    marker.note_snapshot(&location, epoch, &summary.id.0);
    if latest {
        marker.last_backup = Some(LastBackup {
            snapshot: summary.id.0.clone(),
            time: summary.time,
            repository: location,
            files: summary.files,
            bytes: summary.bytes,
        });
    }
    Ok(scope.volume.write_marker(marker, scope.clock.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::timestamp::Timestamp;
    use crate::snapshot::SnapshotId;

    fn options() -> BackupOptions {
        BackupOptions {
            checks: Vec::new(),
            max_shrink_percent: 50,
            allow_empty: false,
            allow_shrink: false,
            create_repository: false,
            keep_stale: false,
            dry_run: false,
        }
    }

    fn before(files: u64, bytes: u64) -> Summary {
        Summary {
            id: SnapshotId("s".into()),
            time: Timestamp::default(),
            volume_id: "v".into(),
            epoch: 1,
            identity: "i".into(),
            host: "h".into(),
            parent: None,
            copied_from: None,
            entries: files,
            files,
            bytes,
            data_bytes: bytes,
            added_bytes: 0,
            stored_bytes: 0,
            problems: Vec::new(),
            problem_count: 0,
        }
    }

    #[test]
    fn a_volume_that_shrank_too_much_is_not_backed_up() {
        let totals = |files, bytes| Totals { entries: files, files, bytes, data_bytes: bytes };
        let cases = [
            (10, 100, true),
            (5, 50, true),
            (4, 100, false),
            (10, 49, false),
            (0, 0, false),
            (1000, 1000, true),
        ];
        for (files, bytes, passes) in cases {
            let verdict = guard(&totals(files, bytes), Some(&before(10, 100)), &options());
            assert_eq!(verdict.is_ok(), passes, "{files} {bytes} {verdict:?}");
        }
        let told = BackupOptions { allow_shrink: true, ..options() };
        assert!(guard(&totals(0, 0), Some(&before(10, 100)), &told).is_ok());
        assert!(guard(&totals(0, 0), None, &options()).is_ok(), "there is nothing to lose");
        assert!(guard(&totals(0, 0), Some(&before(0, 0)), &options()).is_ok());
    }
}
