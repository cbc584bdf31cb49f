//! Keeps the right to write to the repositories for whoever works beside the app: takes it once, refreshes it
//! from then on, and says where another volume has it.

use serde::{Deserialize, Serialize};

use crate::base::timestamp::Timestamp;
use crate::ops::{OpsError, Scope};
use crate::repository::{Epoch, Presence, Repository, RepositoryError};
use crate::volume::{Marker, Phase};

/// What became of the lease of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseKept {
    pub repository: String,
    pub held: Held,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Why it is not held for certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    Yes,
    /// Another volume has it.
    No,
    /// There is no repository yet, so there is nothing to hold.
    Nothing,
    /// The repository did not say.
    Unknown,
}

/// Where this volume's lease is older than `since`, the start of the sidecar, a new epoch cuts off whatever its former
/// sidecar may still be doing; a clock that was set makes one epoch more, or one less. Another volume's lease is never
/// taken here: that is the right of an init, or of a person.
pub fn keep(scope: &Scope, since: Timestamp) -> Result<Vec<LeaseKept>, OpsError> {
    scope.first_repository()?;
    // The marker is read and written here, as backups do it.
    let _alone = scope.backup_lock()?;
    let Some(mut marker) = scope.volume.read_marker()?.filter(|marker| marker.phase == Phase::Ready) else {
        let nothing = |repository: &std::sync::Arc<dyn Repository>| LeaseKept {
            repository: repository.location(),
            held: Held::Unknown,
            epoch: None,
            reason: Some("the volume is not ready".to_owned()),
        };
        return Ok(scope.repositories.iter().map(nothing).collect());
    };
    let mut all = Vec::new();
    let mut took = false;
    for repository in &scope.repositories {
        let location = repository.location();
        let before = marker.epoch_in(&location);
        let kept = match one(scope, repository.as_ref(), &marker, since) {
            Ok(kept) => kept,
            Err(RepositoryError::Absent(absent)) => LeaseKept {
                repository: location.clone(),
                held: Held::Nothing,
                epoch: None,
                reason: Some(absent.to_string()),
            },
            Err(error @ RepositoryError::Fenced { .. }) => LeaseKept {
                repository: location.clone(),
                held: Held::No,
                epoch: None,
                reason: Some(error.to_string()),
            },
            Err(error) => LeaseKept {
                repository: location.clone(),
                held: Held::Unknown,
                epoch: before,
                reason: Some(error.to_string()),
            },
        };
        if let (Held::Yes, Some(epoch)) = (kept.held, kept.epoch)
            && before != Some(epoch)
        {
            marker.note_lease(&location, epoch);
            took = true;
        }
        all.push(kept);
    }
    if took {
        scope.volume.write_marker(&marker, scope.clock.as_ref())?;
    }
    Ok(all)
}

fn one(
    scope: &Scope,
    repository: &dyn Repository,
    marker: &Marker,
    since: Timestamp,
) -> Result<LeaseKept, RepositoryError> {
    let location = repository.location();
    if let Presence::Absent(missing) = repository.probe()? {
        return Err(RepositoryError::Absent(crate::repository::Absent { location, missing }));
    }
    let writer = scope.writer(marker);
    let known = marker.epoch_in(&location);
    let held =
        |epoch| LeaseKept { repository: location.clone(), held: Held::Yes, epoch: Some(epoch), reason: None };
    match repository.lease()? {
        Some(lease) if lease.volume_id == marker.volume_id && lease.since >= since => {
            repository.refresh(&writer, lease.epoch)?;
            Ok(held(lease.epoch))
        }
        // Whoever took an epoch after ours has cut this volume off. Where we never had one, as after an init that
        // restored and could not take it, the first backup would take it just the same.
        Some(lease)
            if lease.volume_id != marker.volume_id && known.is_some_and(|known| known < lease.epoch) =>
        {
            Err(RepositoryError::Fenced { location, by: lease.holder(), epoch: lease.epoch })
        }
        _ => Ok(held(repository.take_over(&writer)?)),
    }
}
