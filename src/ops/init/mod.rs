//! `init`: makes sure that the volume holds good data before the app starts. Looks, decides, acts, under the
//! volume's lock; the healthy way asks for one marker and the quick checks.

pub mod decide;
#[cfg(feature = "git")]
pub mod git_file;
mod hooks;
mod look;
pub mod repair;
pub mod steps;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::hook::Hooks;
use crate::ops::bring::{Brought, bring_archive, bring_back, finish_commit, sweep};
use crate::ops::error::{Refusal, findings_line};
use crate::ops::health::{examine, examine_begun};
use crate::ops::init::decide::{Action, Facts, Failure, Policy, decide};
use crate::ops::init::hooks::{Before, with_hooks};
use crate::ops::init::look::{Found, Look, look, weigh};
use crate::ops::init::repair::{Repair, RepairReport, RepairResult};
use crate::ops::init::steps::StepReport;
use crate::ops::reach::{Newer, Offer, Picked, first_readable, next_readable, pick_again, take_over};
use crate::ops::{OpsError, Scope};
use crate::repository::{Repository, RepositoryError};
use crate::snapshot::{SnapshotId, Summary};
use crate::step::Step;
use crate::volume::check::CheckKind;
use crate::volume::{
    CheckOutcome, CheckSpec, Damage, Finding, Holder, Inspection, Level, LockGuard, LockKind, Marker, State,
};

/// How often a snapshot is chosen that is gone when it is to be read: each time another writer was cut off in the
/// instant of its commit, and each writer can be that only once.
const CHOICES: u32 = 5;

#[derive(Clone, Debug)]
pub struct InitOptions {
    pub policy: Policy,
    /// How long an unreachable repository is tried when it is needed.
    pub timeout: Duration,
    /// How long a healthy volume waits for the answer whether it is stale.
    pub stale_timeout: Duration,
    pub checks: Vec<CheckSpec>,
    /// Tried on damaged data before anything is replaced.
    pub repair: Option<Repair>,
    /// The first content.
    pub archive: Option<PathBuf>,
    /// Run when the volume is changed, or when that fails.
    pub hooks: Hooks,
    /// Done in turn when the volume is ready.
    pub steps: Vec<Step>,
    pub dry_run: bool,
}

/// What was found, what followed from it, and what came of that.
#[derive(Clone, Debug, Serialize)]
pub struct InitReport {
    pub state: &'static str,
    #[serde(flatten)]
    pub action: Action,
    pub dry_run: bool,
    pub repaired: bool,
    /// If one was tried, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brought: Option<Brought>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
}

impl InitReport {
    fn new(state: &'static str, action: Action, dry_run: bool) -> Self {
        Self { state, action, dry_run, repaired: false, repair: None, brought: None, steps: Vec::new() }
    }

    fn with_repair(self, repair: Option<RepairReport>) -> Self {
        let repaired = repair.as_ref().is_some_and(|repair| repair.result == RepairResult::Repaired);
        Self { repaired, repair, ..self }
    }
}

pub fn run(scope: &Scope, options: &InitOptions) -> Result<InitReport, OpsError> {
    if options.dry_run {
        let mut report = make_ready(scope, options, &mut || Ok(()))?.0;
        report.steps = steps::foresee(scope, options, &report.action)?;
        return Ok(report);
    }
    with_hooks(scope, options, |before| {
        let (mut report, lock) = make_ready(scope, options, before)?;
        report.steps = steps::run(scope, options, lock)?;
        Ok(report)
    })
}

/// With the volume's lock, unless nothing was to be changed beside a sidecar.
fn make_ready(
    scope: &Scope,
    options: &InitOptions,
    before: &mut Before<'_>,
) -> Result<(InitReport, Option<LockGuard>), OpsError> {
    if let Some(holder) = scope.volume.sidecar_running()? {
        return Ok((beside_sidecar(scope, options, &holder)?, None));
    }
    if options.dry_run {
        let found = look(scope, options)?;
        let repair = may_repair(options, &found).map(|(repair, ..)| RepairReport::due(repair));
        let seen = weigh(scope, options, found)?;
        return match seen.action {
            Action::Fail { why } if repair.is_none() => Err(failure(why, seen.offer, seen.found.newer)),
            action => Ok((InitReport::new(seen.found.state.name(), action, true).with_repair(repair), None)),
        };
    }
    // The lock's file is in the state directory, so that has to be there first. On a healthy volume all of this
    // is there already and nothing is written.
    scope.volume.prepare()?;
    let before_waiting = scope.volume.read_marker()?;
    let lock = scope.lock(LockKind::Exclusive, "init")?;
    if let Some(holder) = scope.came_while_waiting(before_waiting.as_ref())? {
        drop(lock);
        return Ok((beside_sidecar(scope, options, &holder)?, None));
    }
    let mut found = look(scope, options)?;
    note_damage(scope, &mut found)?;
    let state = found.state.name();
    let repair = match may_repair(options, &found) {
        None => None,
        Some((repair, marker, findings)) => {
            before()?;
            let report = repair::attempt(scope, repair, marker.clone(), findings)?;
            let (report, after) = judge(scope, options, report, found)?;
            found = after;
            Some(report)
        }
    };
    let seen = weigh(scope, options, found)?;
    let action = seen.action.clone();
    tracing::debug!(state, ?action, "decided");
    if !matches!(action, Action::Nothing | Action::Keep | Action::Fail { .. }) {
        before()?;
    }
    let brought = act(scope, options, seen)?;
    let report = InitReport { brought, ..InitReport::new(state, action, false) };
    Ok((report.with_repair(repair), Some(lock)))
}

/// From here on nothing but full checks makes the volume ready: an init that does not come to an end must not leave a
/// marker that knows nothing of what was found.
fn note_damage(scope: &Scope, found: &mut Found) -> Result<(), OpsError> {
    let (State::Corrupt(_), Some(marker)) = (&found.state, &mut found.marker) else { return Ok(()) };
    if marker.damage.is_some() && !marker.clean {
        return Ok(());
    }
    let now = scope.clock.now();
    marker.clean = false;
    marker.damage.get_or_insert(Damage { found: now, repair: None, copy: None });
    Ok(scope.volume.write_marker(marker, scope.clock.as_ref())?)
}

/// What to repair by, and what is wrong: data that is there, is ours, and was found damaged.
fn may_repair<'a>(
    options: &'a InitOptions,
    found: &'a Found,
) -> Option<(&'a Repair, &'a Marker, &'a [Finding])> {
    match (&options.repair, &found.state, &found.marker) {
        (Some(repair), State::Corrupt(findings), Some(marker)) if found.holds_data => {
            Some((repair, marker, findings))
        }
        _ => None,
    }
}

/// What the volume is after a repair. One that says itself that it failed is believed, and what was found stands.
fn judge(
    scope: &Scope,
    options: &InitOptions,
    report: RepairReport,
    before: Found,
) -> Result<(RepairReport, Found), OpsError> {
    if report.result != RepairResult::Repaired {
        let (marker, holds_data) = (scope.volume.read_marker()?, scope.holds_data()?);
        return Ok((report, Found { marker, holds_data, ..before }));
    }
    let after = look(scope, options)?;
    let still_wrong = match &after.state {
        State::Healthy | State::Dirty | State::Stale => None,
        State::Corrupt(findings) => Some(findings_line(findings)),
        other => Some(format!("the volume is {} now", other.name())),
    };
    Ok((report.judged(still_wrong), after))
}

/// The app may be running: look at the volume, touch nothing, take no lock.
fn beside_sidecar(scope: &Scope, options: &InitOptions, holder: &Holder) -> Result<InitReport, OpsError> {
    let Inspection { state, marker, .. } = scope.volume.inspect()?;
    let state = match state {
        // Only full checks could tell, and beside an app they cannot be made.
        State::Healthy | State::Dirty if marker.as_ref().is_some_and(Marker::is_suspect) => {
            State::Corrupt(Vec::new())
        }
        // A sidecar marks the volume dirty for as long as it runs.
        State::Healthy | State::Dirty => {
            let outcome = examine_begun(scope, marker.as_ref(), &options.checks, Level::Quick)?;
            if outcome.findings.is_empty() { State::Healthy } else { State::Corrupt(outcome.findings) }
        }
        other => other,
    };
    let facts = Facts { sidecar: true, ..Facts::of(&state) };
    match decide(&facts, &options.policy) {
        Action::Nothing => Ok(InitReport::new(state.name(), Action::Nothing, options.dry_run)),
        Action::Fail { why: Failure::Mismatch { found, expected } } => {
            Err(OpsError::Mismatch { found, expected })
        }
        _ => Err(OpsError::InUse { holder: Holder::describe(Some(holder)) }),
    }
}

fn act(scope: &Scope, options: &InitOptions, seen: Look) -> Result<Option<Brought>, OpsError> {
    let Look { found: Found { marker, newer, .. }, offer, action } = seen;
    let clock = scope.clock.as_ref();
    match action {
        Action::Nothing => {
            note_that_it_is_whole(scope, marker)?;
            if scope.volume.may_be_swept()? {
                sweep(scope);
            }
            Ok(None)
        }
        Action::Keep => {
            tracing::warn!("keeping the data although another volume wrote a later snapshot");
            note_that_it_is_whole(scope, marker)?;
            Ok(None)
        }
        Action::Restore => {
            let mut marker = marker_or_new(scope, marker)?;
            let (repository, picked) = newest(scope, offer, newer, &mut marker)?;
            restore_newest(scope, options, repository, picked, &mut marker).map(Some)
        }
        Action::Resume { snapshot } => {
            let mut marker = marker_or_new(scope, marker)?;
            let (offered, newest) = newest(scope, offer, None, &mut marker)?;
            let begun_from = marker.phase.target().map(|target| target.repository.clone());
            let same =
                scope.repositories.iter().find(|r| Some(r.location()) == begun_from).unwrap_or(&offered);
            match same.summary(&SnapshotId(snapshot.clone())) {
                Ok(summary) => restore(scope, options, same.as_ref(), &summary, &mut marker).map(Some),
                // Nothing has been moved yet: data that is there must not make way for a snapshot nobody chose.
                Err(RepositoryError::NoSnapshot { .. }) if scope.holds_data()? => {
                    Err(OpsError::refused(Refusal::HalfRestored { snapshot }))
                }
                Err(RepositoryError::NoSnapshot { .. }) => {
                    let newest_id = &newest.summary.id;
                    tracing::warn!(snapshot, newest = %newest_id, "the snapshot is gone; taking the newest");
                    restore_newest(scope, options, offered, newest, &mut marker).map(Some)
                }
                // The repository it was begun from does not answer, and another one has offered its newest.
                Err(error)
                    if error.retryable()
                        && same.location() != offered.location()
                        && !scope.holds_data()? =>
                {
                    tracing::warn!(%error, next = offered.location(), "restoring from the next repository");
                    restore_newest(scope, options, offered, newest, &mut marker).map(Some)
                }
                Err(error) => Err(error.into()),
            }
        }
        Action::FinishCommit { .. } => {
            let mut marker = marker_or_new(scope, marker)?;
            let brought = finish_commit(scope, &mut marker)?;
            check_restored(scope, options, &mut marker)?;
            Ok(Some(brought))
        }
        Action::Unpack => unpack(scope, options, marker).map(Some),
        Action::StartEmpty => {
            scope.volume.start_empty(marker, clock)?;
            Ok(None)
        }
        Action::CreateRepository { unpack: with_archive } => {
            for repository in &scope.repositories {
                repository.create(scope.volume.identity())?;
            }
            if with_archive {
                return unpack(scope, options, marker).map(Some);
            }
            scope.volume.start_empty(marker, clock)?;
            Ok(None)
        }
        Action::Adopt => {
            let outcome = examine(scope, marker.as_ref(), &options.checks, Level::Full);
            if !outcome.findings.is_empty() {
                let findings = findings_line(&outcome.findings);
                return Err(OpsError::refused(Refusal::CorruptWithoutSnapshot { findings }));
            }
            refuse_unfit(&outcome)?;
            if let Some(Offer::OutOfReach(error)) = &offer {
                tracing::warn!(%error, "adopting the data without knowing what the repository holds");
            }
            scope.volume.adopt(marker, clock)?;
            sweep(scope);
            Ok(None)
        }
        Action::Fail { why } => Err(failure(why, offer, newer)),
    }
}

/// The checks that were due have passed, and of a volume that was in doubt these were the full ones.
fn note_that_it_is_whole(scope: &Scope, marker: Option<Marker>) -> Result<(), OpsError> {
    let Some(marker) = marker.filter(|marker| !marker.clean || marker.is_suspect()) else { return Ok(()) };
    Ok(scope.volume.write_marker(&marker.checked(), scope.clock.as_ref())?)
}

fn failure(why: Failure, offer: Option<Offer>, newer: Option<Newer>) -> OpsError {
    match why {
        Failure::Refused(Refusal::Stale { .. }) => {
            let (snapshot, host) =
                newer.map(|newer| (newer.summary.id.0, newer.summary.host)).unwrap_or_default();
            OpsError::refused(Refusal::Stale { snapshot, host })
        }
        Failure::Refused(reason) => OpsError::Refused { reason },
        Failure::Mismatch { found, expected } => OpsError::Mismatch { found, expected },
        Failure::RepositoryAbsent | Failure::OutOfReach => match offer {
            Some(Offer::Absent(places)) => OpsError::RepositoryAbsent { places },
            Some(Offer::OutOfReach(error)) => error,
            _ => OpsError::NoRepository,
        },
        Failure::InUse => OpsError::InUse { holder: Holder::describe(None) },
    }
}

fn marker_or_new(scope: &Scope, marker: Option<Marker>) -> Result<Marker, OpsError> {
    match marker {
        Some(marker) => Ok(marker),
        None => Ok(scope.volume.new_marker(scope.clock.as_ref())?),
    }
}

/// The newest snapshot, chosen after the right to write was taken: a pod that was cut off can then commit
/// nothing that this choice would miss.
fn newest(
    scope: &Scope,
    offer: Option<Offer>,
    newer: Option<Newer>,
    marker: &mut Marker,
) -> Result<(Arc<dyn Repository>, Picked), OpsError> {
    let first = match (offer, newer) {
        (Some(Offer::Snapshots(repository)), _) => repository,
        (Some(Offer::OutOfReach(error)), _) => return Err(error),
        // The stale volume: its newer snapshot was seen there.
        (_, Some(newer)) => newer.repository,
        _ => return Err(OpsError::NoRepository),
    };
    // If there is nothing good to restore, nobody is cut off for it.
    let (repository, before) = first_readable(scope, &first)?;
    take_over(scope, repository.as_ref(), marker);
    let picked = pick_again(repository.as_ref(), before)?;
    Ok((repository, picked))
}

/// Restores what was picked. If its writer was cut off in the instant of its commit and has withdrawn it, the next
/// choice is made; if it turns out to be damaged, the next repository is tried that has something as new.
fn restore_newest(
    scope: &Scope,
    options: &InitOptions,
    mut repository: Arc<dyn Repository>,
    mut picked: Picked,
    marker: &mut Marker,
) -> Result<Brought, OpsError> {
    for _ in 1..CHOICES {
        let error = match bring_back(scope, repository.as_ref(), &picked.summary, marker) {
            Ok(brought) => {
                check_restored(scope, options, marker)?;
                return Ok(brought);
            }
            Err(error) => error,
        };
        if matches!(error, OpsError::Repository(RepositoryError::NoSnapshot { .. })) {
            tracing::warn!(%error, "choosing again");
            picked = pick_again(repository.as_ref(), picked)?;
        } else if error.is_damage() {
            let floor = Some(picked.summary.time);
            let Some((next, before)) = next_readable(scope, &repository, floor, &error) else {
                return Err(error);
            };
            take_over(scope, next.as_ref(), marker);
            picked = pick_again(next.as_ref(), before)?;
            repository = next;
        } else {
            return Err(error);
        }
    }
    restore(scope, options, repository.as_ref(), &picked.summary, marker)
}

fn restore(
    scope: &Scope,
    options: &InitOptions,
    repository: &dyn Repository,
    summary: &Summary,
    marker: &mut Marker,
) -> Result<Brought, OpsError> {
    let brought = bring_back(scope, repository, summary, marker)?;
    check_restored(scope, options, marker)?;
    Ok(brought)
}

fn unpack(scope: &Scope, options: &InitOptions, marker: Option<Marker>) -> Result<Brought, OpsError> {
    let mut marker = marker_or_new(scope, marker)?;
    let path = options.archive.as_ref().ok_or(OpsError::NoRepository)?;
    let brought = bring_archive(scope, path, &mut marker)?;
    check_restored(scope, options, &mut marker)?;
    Ok(brought)
}

/// A snapshot of damaged data restores damaged data. The app is not started on it, and the next run knows.
fn check_restored(scope: &Scope, options: &InitOptions, marker: &mut Marker) -> Result<(), OpsError> {
    let checks: Vec<CheckSpec> =
        options.checks.iter().filter(|check| check.kind != CheckKind::Manifest).cloned().collect();
    let outcome = examine(scope, Some(marker), &checks, Level::Full);
    let snapshot = match &marker.origin {
        Some(crate::volume::Origin::Snapshot { id, .. }) => id.clone(),
        _ => String::new(),
    };
    let distrusted = (!outcome.findings.is_empty()).then(|| snapshot.clone());
    // Until here the marker says dirty: a run that was killed during the checks has them repeated.
    marker.distrusted.clone_from(&distrusted);
    marker.clean = distrusted.is_none();
    scope.volume.write_marker(marker, scope.clock.as_ref())?;
    match distrusted {
        None => refuse_unfit(&outcome),
        Some(_) => {
            let findings = findings_line(&outcome.findings);
            Err(OpsError::refused(Refusal::SnapshotFailsChecks { snapshot, findings }))
        }
    }
}

/// The data is whole and stays; only the app must not start on it.
fn refuse_unfit(outcome: &CheckOutcome) -> Result<(), OpsError> {
    match outcome.unfit.is_empty() {
        true => Ok(()),
        false => Err(OpsError::refused(Refusal::Unfit { findings: findings_line(&outcome.unfit) })),
    }
}
