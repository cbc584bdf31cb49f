//! A restore by hand: into the live volume, with everything there going to quarantine, or into any other
//! directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::base::fs::sync_file_system;
use crate::ops::bring::{Brought, RESTORE, Size, bring_archive, bring_back, check_space, finish_commit};
use crate::ops::compare::find_once;
use crate::ops::error::Refusal;
use crate::ops::reach::{Offer, Picked, ask, first_readable, pick_again, take_over};
use crate::ops::{OpsError, Scope};
use crate::repository::{Repository, RestoreRequest};
use crate::snapshot::selector::Selector;
use crate::snapshot::summary::Wanted;
use crate::snapshot::{Entry, RelativePath, Summary};
use crate::volume::{Holder, Inspection, LockKind, Phase, State};

#[derive(Clone, Debug)]
pub struct RestoreOptions {
    pub wanted: Wanted,
    /// Instead of a repository.
    pub archive: Option<PathBuf>,
    /// `None`: the live volume.
    pub target: Option<PathBuf>,
    pub selector: Selector,
    /// Into a volume or directory that holds something.
    pub force: bool,
    pub dry_run: bool,
    pub timeout: std::time::Duration,
}

/// What would be, or was, restored.
#[derive(Clone, Debug, Serialize)]
pub struct RestorePlan {
    pub repository: String,
    pub snapshot: String,
    pub target: PathBuf,
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    /// Data in the way goes to quarantine.
    pub replaces_data: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct RestoreOutcome {
    pub plan: RestorePlan,
    /// `None` after a dry run.
    pub brought: Option<Brought>,
}

pub fn run(scope: &Scope, options: &RestoreOptions) -> Result<RestoreOutcome, OpsError> {
    match (&options.archive, &options.target) {
        (Some(archive), _) => into_volume(scope, options, &Source::Archive(archive.clone())),
        (None, Some(target)) => {
            let (repository, picked) = choose(scope, options)?;
            into_directory(scope, options, repository.as_ref(), &picked.summary, target)
        }
        (None, None) => {
            let (repository, picked) = choose(scope, options)?;
            into_volume(scope, options, &Source::Snapshot(repository, Box::new(picked)))
        }
    }
}

enum Source {
    Snapshot(Arc<dyn Repository>, Box<Picked>),
    Archive(PathBuf),
}

/// The first repository that has the snapshot asked for.
fn choose(scope: &Scope, options: &RestoreOptions) -> Result<(Arc<dyn Repository>, Picked), OpsError> {
    if options.wanted == Wanted::Latest {
        return match ask(scope, options.timeout) {
            Offer::Snapshots(repository) => first_readable(scope, &repository),
            Offer::Nothing => Err(OpsError::Pick {
                location: scope.first_repository()?.location(),
                source: crate::snapshot::summary::PickError::None,
            }),
            Offer::Absent(places) => Err(OpsError::RepositoryAbsent { places }),
            Offer::OutOfReach(error) => Err(error),
        };
    }
    find_once(scope, &options.wanted)
}

fn plan(
    repository: &dyn Repository,
    summary: &Summary,
    selector: &Selector,
    target: &Path,
    replaces_data: bool,
) -> Result<RestorePlan, OpsError> {
    let mut plan = RestorePlan {
        repository: repository.location(),
        snapshot: summary.id.0.clone(),
        target: target.to_owned(),
        entries: summary.entries,
        files: summary.files,
        bytes: summary.bytes,
        replaces_data,
    };
    if !selector.is_everything() {
        (plan.entries, plan.files, plan.bytes) = (0, 0, 0);
        let mut missing: Vec<&RelativePath> = selector.named().iter().collect();
        repository.entries(&summary.id, &mut |entry: Entry| {
            if selector.takes(&entry.path) {
                plan.entries += 1;
                plan.files += u64::from(matches!(entry.kind, crate::snapshot::Kind::File { .. }));
                plan.bytes = plan.bytes.saturating_add(entry.size());
                missing.retain(|path| **path != entry.path);
            }
            std::ops::ControlFlow::Continue(())
        })?;
        if !missing.is_empty() {
            let paths = missing.into_iter().map(ToString::to_string).collect();
            return Err(OpsError::NoSuchPath { snapshot: summary.id.0.clone(), paths });
        }
    }
    Ok(plan)
}

fn into_directory(
    scope: &Scope,
    options: &RestoreOptions,
    repository: &dyn Repository,
    summary: &Summary,
    target: &Path,
) -> Result<RestoreOutcome, OpsError> {
    refuse_live_target(scope, target)?;
    let plan = plan(repository, summary, &options.selector, target, false)?;
    if holds_something(target)? && !options.force {
        return Err(OpsError::refused(Refusal::TargetNotEmpty(target.display().to_string())));
    }
    if options.dry_run {
        return Ok(RestoreOutcome { plan, brought: None });
    }
    std::fs::create_dir_all(target).map_err(OpsError::io("create", target))?;
    let needed = if options.selector.is_everything() { summary.data_bytes } else { plan.bytes };
    if !options.force {
        let size = Size { bytes: needed.min(plan.bytes), entries: plan.entries };
        check_space(target, RESTORE, size, 0)?;
    }
    let report = repository.restore(
        &summary.id,
        &RestoreRequest {
            target,
            selector: &options.selector,
            cache: None,
            workers: &scope.workers,
            progress: &scope.progress,
            cancel: &scope.cancel,
        },
    )?;
    sync_file_system(target).map_err(OpsError::io("sync", target))?;
    let brought = Brought {
        snapshot: summary.id.0.clone(),
        repository: repository.location(),
        problems: report.problems.clone(),
        problem_count: report.problem_count,
        restore: report,
        quarantine: None,
    };
    Ok(RestoreOutcome { plan, brought: Some(brought) })
}

/// Files in the volume are replaced under its lock and journal only.
pub(super) fn refuse_live_target(scope: &Scope, target: &Path) -> Result<(), OpsError> {
    let real = |path: &Path| real_path(path).map_err(OpsError::io("look at", path));
    let wanted = real(target)?;
    for live in [scope.volume.path(), scope.volume.state_dir()] {
        let live = real(live)?;
        if wanted.starts_with(&live) || live.starts_with(&wanted) {
            return Err(OpsError::refused(Refusal::TargetIsLive(target.display().to_string())));
        }
    }
    Ok(())
}

/// Without links, as far as the path exists.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Err(error), Some(parent), Some(name)) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(real_path(parent)?.join(name))
        }
        (found, ..) => found,
    }
}

fn into_volume(scope: &Scope, options: &RestoreOptions, source: &Source) -> Result<RestoreOutcome, OpsError> {
    if let Some(holder) = scope.volume.sidecar_running()? {
        return Err(OpsError::InUse { holder: Holder::describe(Some(&holder)) });
    }
    let look = |state: &State| !matches!(state, State::Empty | State::Interrupted { .. });
    let planned = |replaces| match source {
        Source::Snapshot(repository, picked) => {
            plan(repository.as_ref(), &picked.summary, &options.selector, scope.volume.path(), replaces)
        }
        Source::Archive(path) => Ok(RestorePlan {
            repository: path.display().to_string(),
            snapshot: "archive".to_owned(),
            target: scope.volume.path().to_owned(),
            entries: 0,
            files: 0,
            bytes: 0,
            replaces_data: replaces,
        }),
    };
    if options.dry_run {
        let plan = planned(look(&scope.volume.inspect()?.state))?;
        return Ok(RestoreOutcome { plan, brought: None });
    }
    scope.volume.prepare()?;
    let before_waiting = scope.volume.read_marker()?;
    let _lock = scope.lock(LockKind::Exclusive, "restore")?;
    if let Some(holder) = scope.came_while_waiting(before_waiting.as_ref())? {
        return Err(OpsError::InUse { holder: Holder::describe(Some(&holder)) });
    }
    let Inspection { state, marker, .. } = scope.volume.inspect()?;
    if let State::Mismatch { found, expected } = state {
        return Err(OpsError::Mismatch { found, expected });
    }
    let replaces = look(&state) && scope.holds_data()?;
    if replaces && !options.force {
        return Err(OpsError::refused(Refusal::LiveData));
    }
    let mut marker = match marker {
        Some(marker) => marker,
        None => scope.volume.new_marker(scope.clock.as_ref())?,
    };
    // A commit that has begun is finished first: half of it is live already.
    if matches!(marker.phase, Phase::Committing { .. }) {
        finish_commit(scope, &mut marker)?;
    }
    let mut plan = planned(replaces)?;
    let brought = match source {
        Source::Snapshot(repository, picked) => {
            take_over(scope, repository.as_ref(), &mut marker);
            let mut picked = picked.as_ref().clone();
            if options.wanted == Wanted::Latest {
                // What was committed until the former writer was cut off is the newest.
                picked = pick_again(repository.as_ref(), picked)?;
                plan = self::plan(
                    repository.as_ref(),
                    &picked.summary,
                    &options.selector,
                    scope.volume.path(),
                    replaces,
                )?;
            }
            bring_back(scope, repository.as_ref(), &picked.summary, &mut marker)?
        }
        Source::Archive(path) => bring_archive(scope, path, &mut marker)?,
    };
    // A person chose this snapshot; what it says about itself is for the next checks.
    marker.distrusted = None;
    marker.clean = true;
    scope.volume.write_marker(&marker, scope.clock.as_ref())?;
    Ok(RestoreOutcome { plan, brought: Some(brought) })
}

fn holds_something(target: &Path) -> Result<bool, OpsError> {
    match std::fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpsError::io("read", target)(error)),
    }
}
