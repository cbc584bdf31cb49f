//! A drill: brings the newest snapshot back into scratch space, compares every byte with the manifest, runs the
//! configured checks there, and removes it. Changes nothing on the volume and nothing in a repository.

mod checks;
mod compare;
pub mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::ops::bring::{Size, check_space};
use crate::ops::error::{findings_line, undecided_line};
use crate::ops::reach::{pick_once, probe_ours};
use crate::ops::restore::refuse_live_target;
use crate::ops::{OpsError, Scope};
use crate::repository::{Absent, Presence, Repository, RepositoryError, RestoreReport, RestoreRequest};
use crate::snapshot::Summary;
use crate::snapshot::selector::Selector;
use crate::snapshot::summary::{PickError, Wanted};
use crate::volume::{CheckSpec, Scratch};
use record::{DrillRecord, Ended, Proof};

pub const DRILL: &str = "the drill";

/// A prune may forget the newest snapshot for the sake of one that came while it was being read: then that one is
/// taken, so often.
const TRIES: u32 = 3;

#[derive(Clone, Debug)]
pub struct DrillOptions {
    /// An existing directory for the scratch space; `None`: the state directory.
    pub directory: Option<PathBuf>,
    /// Each repository in turn, not only the first.
    pub each: bool,
    pub checks: Vec<CheckSpec>,
    /// Leave what was restored where it is.
    pub keep: bool,
}

/// What was proved, and what there is to say of it.
#[derive(Clone, Debug, Serialize)]
pub struct Drilled {
    #[serde(flatten)]
    pub proof: Proof,
    /// Checks that could not tell, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
    /// Metadata that could not be set here, by name; the list is cut, the count is not.
    pub problems: Vec<String>,
    pub problem_count: u64,
    /// Where the data is until the next drill, if it was to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
}

/// Fails only when nothing was proved; failures of some repositories are `OpsError::Partly`. The volume is not locked:
/// backups go on meanwhile. The last one says what the record says, too.
pub fn run(scope: &Scope, options: &DrillOptions) -> Result<(Vec<Drilled>, Option<OpsError>), OpsError> {
    scope.first_repository()?;
    scope.volume.prepare()?;
    let place = scope.volume.scratch_place(options.directory.as_deref());
    if options.directory.is_some() {
        refuse_live_target(scope, &place)?;
    }
    let who = scope.holder("drill");
    let scratch = scope.volume.scratch(options.directory.as_deref(), &who, scope.clock.as_ref())?;
    let (mut drilled, mut failures) = (Vec::new(), Vec::new());
    let wanted = if options.each { scope.repositories.len() } else { 1 };
    for repository in scope.repositories.iter().take(wanted) {
        if scope.cancel.is_cancelled() {
            break;
        }
        match of_repository(scope, options, repository, &scratch) {
            Ok(one) => drilled.push(one),
            Err(error) => failures.push(error),
        }
    }
    if options.keep {
        let tree = scratch.tree();
        match (drilled.last_mut(), failures.is_empty()) {
            (Some(last), true) => last.kept = Some(tree),
            _ => tracing::warn!(path = %tree.display(), "kept, until the next drill, what came back"),
        }
        drop(scratch);
    } else if let Err(error) = scratch.remove() {
        tracing::error!(%error, "what was restored is still there; the next drill removes it");
        failures.push(error.into());
    }
    if scope.cancel.is_cancelled() && failures.is_empty() {
        failures.push(RepositoryError::Cancelled.into());
    }
    OpsError::sum_up(drilled, failures, wanted)
}

/// A drill of one repository, with its record.
fn of_repository(
    scope: &Scope,
    options: &DrillOptions,
    repository: &Arc<dyn Repository>,
    scratch: &Scratch,
) -> Result<Drilled, OpsError> {
    let mut snapshot = None;
    let time = scope.clock.now();
    let result = rehearse(scope, options, repository.as_ref(), scratch, &mut snapshot);
    // What was stopped says nothing about the snapshot.
    if result.is_err() && scope.cancel.is_cancelled() {
        return result;
    }
    let mut record = DrillRecord::load(scope.state_dir()).map_err(OpsError::io("read", scope.state_dir()))?;
    match &result {
        Ok(drilled) => record.note_proof(drilled.proof.clone()),
        Err(error) => record.note_failure(Ended {
            time,
            repository: repository.location(),
            snapshot,
            proved: false,
            reason: Some(error.to_string()),
        }),
    }
    match (record.save(scope.state_dir()), result) {
        (Ok(()), result) => result,
        (Err(error), Ok(_)) => Err(OpsError::io("note the drill in", scope.state_dir())(error)),
        (Err(error), failed) => {
            tracing::error!(%error, "the failure of the drill could not be noted");
            failed
        }
    }
}

fn rehearse(
    scope: &Scope,
    options: &DrillOptions,
    repository: &dyn Repository,
    scratch: &Scratch,
    snapshot: &mut Option<String>,
) -> Result<Drilled, OpsError> {
    let mut tries = 1;
    loop {
        let summary = newest(scope, repository)?;
        *snapshot = Some(summary.id.0.clone());
        scratch.clear()?;
        match prove(scope, options, repository, &summary, scratch) {
            Err(OpsError::Repository(RepositoryError::NoSnapshot { .. })) if tries < TRIES => {
                tracing::warn!(snapshot = %summary.id, "forgotten meanwhile; taking the newest there is now");
                tries += 1;
            }
            result => return result,
        }
    }
}

/// A damaged newest one is not passed over: that is what a drill is to find out.
fn newest(scope: &Scope, repository: &dyn Repository) -> Result<Summary, OpsError> {
    match probe_ours(scope, repository)? {
        Presence::Ready => Ok(pick_once(repository, &Wanted::Latest)?.summary),
        Presence::Empty => Err(OpsError::Pick { location: repository.location(), source: PickError::None }),
        Presence::Absent(missing) => {
            let place = Absent { location: repository.location(), missing };
            Err(OpsError::RepositoryAbsent { places: vec![place] })
        }
    }
}

fn prove(
    scope: &Scope,
    options: &DrillOptions,
    repository: &dyn Repository,
    summary: &Summary,
    scratch: &Scratch,
) -> Result<Drilled, OpsError> {
    let (time, began) = (scope.clock.now(), scope.clock.elapsed());
    let id = &summary.id;
    let nothing = || OpsError::NothingProved { snapshot: id.0.clone(), location: repository.location() };
    if summary.files == 0 || summary.bytes == 0 {
        return Err(nothing());
    }
    let size = Size { bytes: summary.data_bytes, entries: summary.entries };
    check_space(scratch.directory(), DRILL, size, 0)?;
    let tree = scratch.tree();
    tracing::info!(snapshot = %id, files = summary.files, to = %tree.display(), "restoring for a drill");
    let report = restore(scope, repository, summary, &tree)?;
    let compared = compare::compare(repository, id, &tree, &scope.cancel)?;
    let mut findings = compared.differences.named.clone();
    if compared.entries + compared.not_made != summary.entries {
        findings.push(format!("{} of {} entries were compared", compared.entries, summary.entries));
    }
    let failed = |findings: Vec<String>, count: usize| OpsError::DrillFailed {
        snapshot: id.0.clone(),
        location: repository.location(),
        findings,
        count: count as u64,
    };
    if !findings.is_empty() {
        let unnamed = usize::try_from(compared.differences.count).unwrap_or(usize::MAX);
        let count = findings.len().max(unnamed);
        return Err(failed(findings, count));
    }
    if compared.files == 0 || compared.bytes == 0 {
        return Err(nothing());
    }
    // Last, because a command may change what it looks at.
    let (outcome, good) = checks::run(&tree, &options.checks, &scope.cancel);
    if scope.cancel.is_cancelled() {
        return Err(RepositoryError::Cancelled.into());
    }
    for undecided in &outcome.undecided {
        tracing::warn!(check = undecided.check, reason = undecided.reason, "this check could not tell");
    }
    if !outcome.findings.is_empty() {
        return Err(failed(vec![findings_line(&outcome.findings)], outcome.findings.len()));
    }
    if good == 0 && !options.checks.is_empty() {
        let reasons = undecided_line(&outcome);
        return Err(OpsError::DrillUndecided { snapshot: id.0.clone(), reasons });
    }
    // What could not be set was told already, and cannot be as the snapshot says.
    let (mut problems, mut problem_count) = match report.problem_count {
        0 => (compared.metadata.named, compared.metadata.count),
        count => (report.problems, count),
    };
    if report.problem_count > 0 && compared.closed > 0 {
        problems.push(format!("{} of the files cannot be read back by this user", compared.closed));
        problem_count += compared.closed;
    }
    Ok(Drilled {
        proof: Proof {
            repository: repository.location(),
            snapshot: id.0.clone(),
            snapshot_time: summary.time,
            time,
            seconds: scope.clock.elapsed().saturating_sub(began).as_secs_f64(),
            entries: compared.entries,
            files: compared.files,
            bytes: compared.bytes,
            checks: good,
        },
        undecided: outcome.undecided.iter().map(|one| format!("{}: {}", one.check, one.reason)).collect(),
        problems,
        problem_count,
        kept: None,
    })
}

/// As after a disaster: with nothing that this machine has kept of the repository.
fn restore(
    scope: &Scope,
    repository: &dyn Repository,
    summary: &Summary,
    tree: &Path,
) -> Result<RestoreReport, OpsError> {
    let request = RestoreRequest {
        target: tree,
        selector: &Selector::everything(),
        cache: None,
        workers: &scope.workers,
        progress: &scope.progress,
        cancel: &scope.cancel,
    };
    Ok(repository.restore(&summary.id, &request)?)
}
