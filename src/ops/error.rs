//! Why an operation did not do what it was asked for. Errors of the layers below pass through as they are;
//! what is added here are the refusals that protect data.

use std::path::PathBuf;

use thiserror::Error;

use crate::archive::ArchiveError;
use crate::base::units::ByteSize;
use crate::hook::HookError;
use crate::repository::{Absent, RepositoryError};
use crate::snapshot::summary::PickError;
use crate::step::StepError;
use crate::volume::{CheckOutcome, Finding, VolumeError};

#[derive(Debug, Error)]
pub enum OpsError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Step(Box<StepError>),
    #[error("{location}: {source}")]
    Pick { location: String, source: PickError },
    #[error("the archive {}: {source}", path.display())]
    Archive { path: PathBuf, source: ArchiveError },
    #[error("no repository is configured")]
    NoRepository,
    /// Maybe the address is mistyped, maybe this is the first boot: only a person knows.
    #[error("{}", joined(places))]
    RepositoryAbsent { places: Vec<Absent> },
    #[error("nothing to copy from: {0}")]
    SourceAbsent(Absent),
    #[error("nowhere to copy to: {0}")]
    TargetAbsent(Absent),
    #[error("the volume belongs to `{found}`, not to `{expected}`")]
    Mismatch { found: String, expected: String },
    #[error("the volume is in use by {holder}")]
    InUse { holder: String },
    /// Going on could destroy data, hide it, or let the app start on something else than its data.
    #[error("{reason}")]
    Refused { reason: Refusal },
    #[error(
        "{} has {} free in {} inodes, and {doing} needs {} in {}",
        path.display(), ByteSize(*free), inodes_free, ByteSize(*needed), inodes_needed
    )]
    NoSpace {
        path: PathBuf,
        /// Such as `the restore`.
        doing: &'static str,
        free: u64,
        inodes_free: String,
        needed: u64,
        inodes_needed: u64,
    },
    /// What came back is not what was stored, or the checks find damage in it.
    #[error(
        "snapshot {snapshot} of {location} did not come back whole: {}{}",
        findings.join("; "),
        if *count > findings.len() as u64 { format!("; {count} findings in all") } else { String::new() }
    )]
    DrillFailed { snapshot: String, location: String, findings: Vec<String>, count: u64 },
    #[error("snapshot {snapshot} came back, and none of the checks could tell whether it is good: {reasons}")]
    DrillUndecided { snapshot: String, reasons: String },
    #[error(
        "the newest snapshot {snapshot} of {location} holds no file with content: bringing it back proves nothing"
    )]
    NothingProved { snapshot: String, location: String },
    #[error("this volume has neither made a snapshot nor come from one, so nothing says what it should be")]
    NeverStored,
    #[error("the volume was backed up or restored while it was looked at, and nothing was repaired")]
    ChangedMeanwhile,
    /// A signal ended it: nothing is restored in its place.
    #[error("the repair was stopped, and the volume is as it left it")]
    RepairStopped,
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what} was not done within {} s", limit.as_secs())]
    TimedOut { what: String, limit: std::time::Duration },
    #[error("snapshot {snapshot} has no {}", paths.join(", no "))]
    NoSuchPath { snapshot: String, paths: Vec<String> },
    /// The other repositories, if there are any, were served.
    #[error("{} of {of} repositories failed: {}", failures.len(), joined(failures))]
    Partly { of: usize, failures: Vec<OpsError> },
    /// No repository could do it. Never without others.
    #[error("{first}; as to the other repositories: {}", joined(others))]
    Each { first: Box<OpsError>, others: Vec<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the volume holds data of unknown origin, and the repository has snapshots")]
    Foreign,
    #[error("the repository has the newer snapshot {snapshot}, written by another volume on {host}")]
    Stale { snapshot: String, host: String },
    #[error("the volume is corrupt ({findings}); that must not become the newest snapshot")]
    Corrupt { findings: String },
    #[error("the volume is corrupt ({findings}) and there is no snapshot to restore")]
    CorruptWithoutSnapshot { findings: String },
    #[error("the volume is corrupt ({findings}), and so it was right after snapshot {snapshot} was restored")]
    SnapshotFailsChecks { snapshot: String, findings: String },
    #[error(
        "{}, and no full checks have passed since",
        if *repair { "a repair of the volume was begun" } else { "damage was found on the volume" }
    )]
    Damaged { repair: bool },
    #[error("the data is whole, but not what is configured ({findings})")]
    Unfit { findings: String },
    #[error("the volume lost its data, and the repository has no snapshot to bring it back")]
    LostWithoutSnapshot,
    #[error("a restore of snapshot {snapshot} was begun and not finished")]
    HalfRestored { snapshot: String },
    #[error("the volume is empty; backing that up would push good snapshots out")]
    EmptyVolume,
    #[error("the volume has no record of any backup, so nothing says that it may delete one")]
    NeverBackedUp,
    #[error("the volume holds no data, so nothing says which snapshots may be given up")]
    NothingToMendFrom,
    #[error("{0}")]
    Shrunk(String),
    #[error("the volume holds data; a restore into it replaces all of it")]
    LiveData,
    #[error("{0} is, holds or lies in the volume or its state directory")]
    TargetIsLive(String),
    #[error("{0} is not empty")]
    TargetNotEmpty(String),
    #[error("the newest snapshot {0} is damaged; an older one is not taken in its place unasked")]
    NewestDamaged(String),
}

impl OpsError {
    pub fn refused(reason: Refusal) -> Self {
        Self::Refused { reason }
    }

    /// One error out of those of several repositories. What is in the way to a repository comes before what
    /// another one does not have: the one out of reach may have it. `None` for none.
    pub fn of_each(mut errors: Vec<Self>) -> Option<Self> {
        let lacks = |error: &Self| {
            matches!(
                error,
                Self::Pick { .. }
                    | Self::RepositoryAbsent { .. }
                    | Self::Repository(RepositoryError::Absent(_))
            )
        };
        let first = errors.iter().position(|error| !lacks(error)).unwrap_or(0);
        let first = (first < errors.len()).then(|| errors.remove(first))?;
        let others: Vec<String> = errors.iter().map(ToString::to_string).collect();
        match others.is_empty() {
            true => Some(first),
            false => Some(Self::Each { first: Box::new(first), others }),
        }
    }

    pub fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// What to say of failures among `of` repositories: nothing, the only one there is, or all of them.
    pub fn partly(of: usize, mut failures: Vec<Self>) -> Option<Self> {
        match (of, failures.len()) {
            (_, 0) => None,
            (1, 1) => failures.pop(),
            _ => Some(Self::Partly { of, failures }),
        }
    }

    /// What came of work on `of` repositories: an error only if none was served, else what was done, and beside it what
    /// to say of those that failed.
    pub fn sum_up<T>(done: Vec<T>, failures: Vec<Self>, of: usize) -> Result<(Vec<T>, Option<Self>), Self> {
        if done.is_empty() {
            return Self::of_each(failures).map_or(Ok((done, None)), Err);
        }
        Ok((done, Self::partly(of, failures)))
    }

    /// Something stored is not what was written: another repository may have it whole.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Repository(error) if error.is_damage())
    }

    pub fn retryable(&self) -> bool {
        match self {
            Self::Repository(error) => error.retryable(),
            Self::Each { first, .. } => first.retryable(),
            Self::Partly { failures, .. } => failures.iter().any(Self::retryable),
            _ => false,
        }
    }
}

fn joined(parts: &[impl ToString]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// In one line, for messages.
pub fn findings_line(findings: &[Finding]) -> String {
    let lines: Vec<String> =
        findings.iter().map(|finding| format!("{}: {}", finding.check, finding.message)).collect();
    lines.join("; ")
}

/// What could not be told in one line.
pub fn undecided_line(outcome: &CheckOutcome) -> String {
    let lines: Vec<String> =
        outcome.undecided.iter().map(|one| format!("{}: {}", one.check, one.reason)).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Missing;
    use crate::store::{Container, Obstacle, StoreError};

    fn absent(location: &str) -> OpsError {
        let missing = Missing::Repository(Container::Bucket);
        OpsError::RepositoryAbsent { places: vec![Absent { location: location.to_owned(), missing }] }
    }

    fn unreachable(location: &str) -> OpsError {
        let (location, reason) = (location.to_owned(), "gone".to_owned());
        let error = StoreError::Unreachable { location, reason, obstacle: Obstacle::Network };
        OpsError::Repository(error.into())
    }

    #[test]
    fn what_is_out_of_reach_comes_before_what_is_not_there() {
        let error = OpsError::of_each(vec![absent("a"), unreachable("b"), unreachable("c")]).unwrap();
        assert!(error.retryable());
        assert_eq!(
            error.to_string(),
            "b cannot be reached: gone; as to the other repositories: there is no repository at a, though the bucket is \
             there; c cannot be reached: gone"
        );
    }

    #[test]
    fn one_error_stays_as_it_is() {
        assert!(OpsError::of_each(Vec::new()).is_none());
        let error = OpsError::of_each(vec![absent("a")]).unwrap();
        assert!(matches!(error, OpsError::RepositoryAbsent { .. }));
    }
}
