//! What the repositories can offer, told apart so that "nothing there" is never confused with "cannot tell".

use std::sync::Arc;
use std::time::Duration;

use crate::base::within::within;
use crate::ops::error::Refusal;
use crate::ops::{OpsError, Scope};
use crate::repository::{Absent, Listing, Presence, Repository, RepositoryError};
use crate::snapshot::summary::{PickError, Wanted};
use crate::snapshot::{SnapshotId, Summary};
use crate::volume::{HeldLease, Marker};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What all repositories together have to offer to a restore.
#[derive(Debug)]
pub enum Offer {
    /// The first repository in order that has a snapshot.
    Snapshots(Arc<dyn Repository>),
    /// There are repositories and none has a snapshot.
    Nothing,
    /// Some are not there, and none has a snapshot.
    Absent(Vec<Absent>),
    OutOfReach(OpsError),
}

/// Asks the repositories in order until one has a snapshot. Those that cannot be reached are tried again until
/// `timeout` has passed, each in turn.
pub fn ask(scope: &Scope, timeout: Duration) -> Offer {
    let mut absent = Vec::new();
    let mut troubles: Vec<OpsError> = Vec::new();
    for repository in &scope.repositories {
        match probe(scope, repository.as_ref(), timeout) {
            Ok(Presence::Ready) => {
                for absent in &absent {
                    tracing::warn!(repository = repository.location(), "{absent}; another repository serves");
                }
                return Offer::Snapshots(Arc::clone(repository));
            }
            Ok(Presence::Empty) => {}
            Ok(Presence::Absent(missing)) => {
                absent.push(Absent { location: repository.location(), missing });
            }
            Err(error) => {
                tracing::warn!(%error, repository = repository.location(), "this repository cannot help");
                troubles.push(error.into());
            }
        }
    }
    // One that cannot be asked may hold the snapshots: nothing may be concluded from the others.
    if !troubles.is_empty() && !absent.is_empty() {
        troubles.push(OpsError::RepositoryAbsent { places: std::mem::take(&mut absent) });
    }
    match OpsError::of_each(troubles) {
        Some(error) => Offer::OutOfReach(error),
        None if scope.repositories.is_empty() => Offer::OutOfReach(OpsError::NoRepository),
        None if !absent.is_empty() => Offer::Absent(absent),
        None => Offer::Nothing,
    }
}

fn probe(scope: &Scope, repository: &dyn Repository, timeout: Duration) -> Result<Presence, RepositoryError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        match probe_ours(scope, repository) {
            Err(error) if error.retryable() => {
                let left = deadline.saturating_sub(scope.clock.elapsed());
                if left.is_zero() || scope.cancel.is_cancelled() {
                    return Err(error);
                }
                tracing::warn!(%error, seconds_left = left.as_secs(), "trying again");
                scope.clock.sleep(pause.min(left));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

/// An empty repository of another identity is a mistyped address as well.
pub fn probe_ours(scope: &Scope, repository: &dyn Repository) -> Result<Presence, RepositoryError> {
    let presence = repository.probe()?;
    if !matches!(presence, Presence::Absent(_)) {
        let (found, expected) = (repository.identity()?, scope.volume.identity().to_owned());
        if found != expected {
            return Err(RepositoryError::Identity { location: repository.location(), found, expected });
        }
    }
    Ok(presence)
}

/// The snapshot `wanted` of a repository. A damaged newest one is not silently passed over.
pub fn pick(repository: &dyn Repository, wanted: &Wanted) -> Result<Summary, OpsError> {
    let Listing { snapshots, damaged } = repository.snapshots()?;
    let location = repository.location();
    if !matches!(wanted, Wanted::Named(_)) {
        // Asked for by time, those that are younger do not matter.
        let in_question = |id: &SnapshotId| match wanted {
            Wanted::At(time) => id.time().is_none_or(|of_name| of_name <= *time),
            _ => true,
        };
        let newest_good = wanted.pick(&snapshots).ok().map(|summary| &summary.id);
        let newest_bad =
            damaged.iter().flat_map(|finding| &finding.snapshots).filter(|id| in_question(id)).max();
        if let Some(bad) = newest_bad.filter(|bad| newest_good.is_none_or(|good| *bad > good)) {
            let reason = damaged.iter().find(|finding| finding.snapshots.contains(bad));
            return Err(OpsError::Repository(RepositoryError::Damaged {
                location,
                object: bad.to_string(),
                reason: match reason {
                    Some(finding) => {
                        format!("{}; {}", finding.reason, Refusal::NewestDamaged(bad.to_string()))
                    }
                    None => Refusal::NewestDamaged(bad.to_string()).to_string(),
                },
            }));
        }
    }
    wanted.pick(&snapshots).cloned().map_err(|source: PickError| OpsError::Pick { location, source })
}

/// Cuts off whoever wrote before, and notes the new lease in the marker. A reader without the right to write can
/// still restore; then nobody is cut off, and the log says so.
pub fn take_over(scope: &Scope, repository: &dyn Repository, marker: &mut Marker) {
    match repository.take_over(&scope.writer(marker)) {
        Ok(epoch) => marker.lease = Some(HeldLease { repository: repository.location(), epoch }),
        Err(error) => tracing::warn!(%error, "a former writer, if one still runs, is not cut off"),
    }
}

/// Whether another volume wrote a snapshot later than ours. Answers within `limit`; `None` is "cannot tell",
/// with the reason in the log.
pub fn newer_elsewhere(scope: &Scope, marker: &Marker, limit: Duration) -> Option<Option<Summary>> {
    if scope.repositories.is_empty() {
        return None;
    }
    let repositories = scope.repositories.clone();
    let marker = marker.clone();
    let look = move || {
        let mut answers = repositories.iter().map(|repository| find_newer(repository.as_ref(), &marker));
        answers.find(|answer| !matches!(answer, Ok(None))).unwrap_or(Ok(None))
    };
    match within(limit, look) {
        Some(Ok(found)) => Some(found),
        Some(Err(error)) => {
            tracing::warn!(%error, "cannot tell whether the volume is stale; starting with it");
            None
        }
        None => {
            tracing::warn!(
                seconds = limit.as_secs_f32(),
                "no answer in time whether the volume is stale; starting with it"
            );
            None
        }
    }
}

/// The newest snapshot of the first repository, if it says so within `limit`.
pub fn newest_within(scope: &Scope, limit: Duration) -> Option<Summary> {
    let repository = Arc::clone(scope.repositories.first()?);
    let look = move || repository.newest().and_then(|id| id.map(|id| repository.summary(&id)).transpose());
    within(limit, look)?.ok()?
}

fn find_newer(repository: &dyn Repository, marker: &Marker) -> Result<Option<Summary>, RepositoryError> {
    let Some(newest) = repository.newest()? else { return Ok(None) };
    if marker.knows(&newest.0) {
        return Ok(None);
    }
    let summary = repository.summary(&newest)?;
    Ok(is_newer(&summary, &repository.location(), marker).then_some(summary))
}

/// Pure: whether `newest` was made elsewhere after this volume last knew what there is. Leases tell without any
/// clock; times are asked only where the volume never had a lease.
pub fn is_newer(newest: &Summary, repository: &str, marker: &Marker) -> bool {
    if marker.knows(&newest.id.0) || newest.volume_id == marker.volume_id {
        return false;
    }
    match marker.epoch_in(repository) {
        Some(epoch) => newest.epoch > epoch,
        None => newest.time > marker.knew_at(),
    }
}
