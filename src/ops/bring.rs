//! Brings a snapshot, or an archive, back onto the volume: space, journal, staging, verification, commit. Every
//! way to restore into the live volume goes through here, with the volume's lock held exclusively.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::archive::{self, Limits};
use crate::base::fs::{free_space, metadata_if_present};
use crate::base::hash::Hash;
use crate::ops::{OpsError, Scope};
use crate::repository::{Repository, RepositoryError, RestoreReport, RestoreRequest};
use crate::snapshot::selector::Selector;
use crate::snapshot::{RelativePath, Summary};
use crate::tree::{Root, TreeWriter, Walk, WalkOptions};
use crate::volume::{Begun, CommitReport, Marker, RestoreTarget};

/// Room beyond the data itself: directories, the journal, the file system's own needs.
const SPARE_BYTES: u64 = 4 << 20;
const SPARE_PERCENT: u64 = 2;

pub(crate) const RESTORE: &str = "the restore";

/// How the name of what an archive brought begins; that of no snapshot does.
pub(crate) const ARCHIVE: &str = "archive-";

/// What was brought back and how.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Brought {
    pub snapshot: String,
    pub repository: String,
    pub restore: RestoreReport,
    /// Where the data is now that was on the volume before.
    pub quarantine: Option<PathBuf>,
    pub problems: Vec<String>,
    pub problem_count: u64,
}

/// Restores `summary`, or goes on where an interrupted restore of it stopped. `marker` is ready afterwards.
pub fn bring_back(
    scope: &Scope,
    repository: &dyn Repository,
    summary: &Summary,
    marker: &mut Marker,
) -> Result<Brought, OpsError> {
    let found = repository.identity()?;
    if found != scope.volume.identity() {
        return Err(RepositoryError::Identity {
            location: repository.location(),
            found,
            expected: scope.volume.identity().to_owned(),
        }
        .into());
    }
    let target = RestoreTarget { repository: repository.location(), snapshot: summary.id.0.clone() };
    // Makes room as well: what was staged of another snapshot goes.
    let begun = scope.volume.begin_restore(marker, target, scope.clock.as_ref())?;
    if begun != Begun::Staged {
        let staged = taken_by(&scope.volume.staging().tree, WalkOptions::default())?.bytes;
        make_space(scope, RESTORE, Size { bytes: summary.data_bytes, entries: summary.entries }, staged)?;
    }
    let mut brought =
        Brought { snapshot: summary.id.0.clone(), repository: repository.location(), ..Brought::default() };
    if begun != Begun::Staged {
        let tree = scope.volume.staging().tree;
        tracing::info!(snapshot = %summary.id, files = summary.files, resumed = begun == Begun::Resumed, "restoring");
        let report = repository.restore(
            &summary.id,
            &RestoreRequest {
                target: &tree,
                selector: &Selector::everything(),
                cache: Some(&scope.volume.cache_dir()),
                workers: &scope.workers,
                progress: &scope.progress,
                cancel: &scope.cancel,
            },
        )?;
        // Not one entry less than the snapshot has may ever be called restored.
        if report.entries != summary.entries {
            return Err(RepositoryError::Damaged {
                location: repository.location(),
                object: summary.id.to_string(),
                reason: format!("it says {} entries and has {}", summary.entries, report.entries),
            }
            .into());
        }
        brought.problems.clone_from(&report.problems);
        brought.problem_count = report.problem_count;
        brought.restore = report;
        scope.volume.mark_staged(marker, scope.clock.as_ref())?;
    }
    note_commit(&mut brought, scope.volume.commit(marker, scope.clock.as_ref())?);
    scope.remember(repository, &summary.id, marker);
    sweep(scope);
    Ok(brought)
}

/// The rest of a restore whose data is complete in staging; needs no repository.
pub fn finish_commit(scope: &Scope, marker: &mut Marker) -> Result<Brought, OpsError> {
    let target = marker.phase.target().cloned();
    let mut brought = Brought::default();
    if let Some(target) = target {
        (brought.snapshot, brought.repository) = (target.snapshot, target.repository);
    }
    note_commit(&mut brought, scope.volume.commit(marker, scope.clock.as_ref())?);
    let repository = scope.repositories.iter().find(|repository| repository.location() == brought.repository);
    if let Some(repository) = repository {
        scope.remember(repository.as_ref(), &crate::snapshot::SnapshotId(brought.snapshot.clone()), marker);
    }
    sweep(scope);
    Ok(brought)
}

/// Unpacks an archive as the volume's content, under the same journal.
pub fn bring_archive(scope: &Scope, path: &Path, marker: &mut Marker) -> Result<Brought, OpsError> {
    let file = File::open(path).map_err(OpsError::io("open", path))?;
    let metadata = file.metadata().map_err(OpsError::io("look at", path))?;
    let target = RestoreTarget { repository: path.display().to_string(), snapshot: archive_name(&metadata) };
    let begun = scope.volume.begin_restore(marker, target.clone(), scope.clock.as_ref())?;
    if begun != Begun::Staged {
        let staged = taken_by(&scope.volume.staging().tree, WalkOptions::default())?.bytes;
        make_space(scope, RESTORE, Size { bytes: metadata.len(), entries: 0 }, staged)?;
    }
    let mut brought =
        Brought { snapshot: target.snapshot, repository: target.repository, ..Brought::default() };
    if begun != Begun::Staged {
        let writer = TreeWriter::open(&scope.volume.staging().tree).map_err(RepositoryError::from)?;
        // What an interrupted run unpacked has no hashes to trust it by.
        writer.remove_tree(&RelativePath::root()).map_err(RepositoryError::from)?;
        let report = archive::unpack(BufReader::new(file), &writer, &Limits::NONE)
            .map_err(|source| OpsError::Archive { path: path.to_owned(), source })?;
        brought.restore = RestoreReport {
            entries: report.entries,
            files: report.files,
            bytes: report.bytes,
            ..RestoreReport::default()
        };
        brought.problems = writer.problems().lines();
        brought.problem_count = writer.problems().total();
        scope.volume.mark_staged(marker, scope.clock.as_ref())?;
    }
    note_commit(&mut brought, scope.volume.commit(marker, scope.clock.as_ref())?);
    sweep(scope);
    Ok(brought)
}

/// Another file under the same name is another archive.
fn archive_name(metadata: &std::fs::Metadata) -> String {
    let identity =
        format!("{} {} {} {}", metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
    format!("{ARCHIVE}{}", Hash::of(identity.as_bytes()).to_hex().get(..16).unwrap_or_default())
}

fn note_commit(brought: &mut Brought, commit: CommitReport) {
    brought.quarantine = commit.quarantine;
    brought.problem_count += (commit.problems.len() + commit.skipped.len()) as u64;
    brought.problems.extend(commit.problems);
    let skipped = commit.skipped.iter().map(|path| format!("{}: the volume has its own", path.display()));
    brought.problems.extend(skipped);
}

/// Old quarantine and left-over files go when the new data is safe. Not being able to is no reason to fail.
pub fn sweep(scope: &Scope) {
    match scope.volume.sweep(scope.clock.as_ref()) {
        Ok(report) if !report.quarantines.is_empty() => {
            tracing::info!(quarantines = report.quarantines.join(", "), "expired quarantine was removed");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "could not tidy up"),
    }
}

/// What something takes on a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub bytes: u64,
    pub entries: u64,
}

/// Old quarantine makes way for what is to be written; `staged` bytes of it are there already.
pub(super) fn make_space(
    scope: &Scope,
    doing: &'static str,
    size: Size,
    staged: u64,
) -> Result<(), OpsError> {
    if let Err(error) = check_space(scope.state_dir(), doing, size, staged) {
        match scope.volume.make_room(needed(size.bytes, staged), scope.clock.as_ref()) {
            Ok(dropped) if dropped.is_empty() => return Err(error),
            Ok(dropped) => tracing::warn!(quarantines = dropped.join(", "), "dropped to make room"),
            Err(trouble) => {
                tracing::warn!(error = %trouble, "no room could be made");
                return Err(error);
            }
        }
        check_space(scope.state_dir(), doing, size, staged)?;
    }
    Ok(())
}

fn needed(bytes: u64, staged: u64) -> u64 {
    bytes.saturating_sub(staged).saturating_add(bytes / 100 * SPARE_PERCENT + SPARE_BYTES)
}

/// Refuses before anything is written what could not be finished. `staged` bytes are there already.
pub fn check_space(path: &Path, doing: &'static str, size: Size, staged: u64) -> Result<(), OpsError> {
    let Size { bytes, entries } = size;
    let space = free_space(path).map_err(OpsError::io("look at", path))?;
    let needed = needed(bytes, staged);
    let too_few_inodes = staged == 0 && space.inodes.is_some_and(|inodes| inodes < entries);
    if space.bytes >= needed && !too_few_inodes {
        return Ok(());
    }
    Err(OpsError::NoSpace {
        path: path.to_owned(),
        doing,
        free: space.bytes,
        inodes_free: space.inodes.map_or_else(|| "unlimited".to_owned(), |inodes| inodes.to_string()),
        needed,
        inodes_needed: entries,
    })
}

/// What is below `path` takes so much. Several names of one file count as several.
pub(super) fn taken_by(path: &Path, options: WalkOptions) -> Result<Size, OpsError> {
    let mut size = Size::default();
    if metadata_if_present(path).map_err(OpsError::io("look at", path))?.is_none() {
        return Ok(size);
    }
    let root = Root::open(path).map_err(RepositoryError::from)?;
    for found in Walk::new(&root, options).filter_map(Result::ok) {
        size.bytes = size.bytes.saturating_add(found.stat.blocks.saturating_mul(512));
        size.entries += 1;
    }
    Ok(size)
}
