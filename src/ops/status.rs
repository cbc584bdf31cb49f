//! What there is to say about the volume at this moment, without changing or locking anything.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::ops::drill::record::{DrillRecord, Ended, Proof};
use crate::ops::health::examine_begun;
use crate::ops::reach::{ask_each, combine, find_newer};
use crate::ops::{OpsError, Scope};
use crate::repository::LeaseInfo;
use crate::snapshot::Summary;
use crate::volume::{
    CheckSpec, Damage, Finding, Holder, Inspection, LastBackup, Level, Marker, Origin, Phase, State,
};

#[derive(Clone, Debug)]
pub struct StatusOptions {
    pub checks: Vec<CheckSpec>,
    pub stale_timeout: Duration,
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// One of `empty`, `healthy`, `dirty`, `interrupted`, `corrupt`, `foreign`, `stale`, `mismatch`.
    pub state: &'static str,
    pub volume: String,
    pub identity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<LastBackup>,
    /// What was found before, if no full checks have passed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What is whole, and not as it is configured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<Finding>,
    /// The later snapshot of another volume that makes this one stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer: Option<Summary>,
    /// Who may write to each repository that answered in time and has a lease.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<LeaseOf>,
    /// What drills have proved, if there ever was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drill: Option<Drills>,
    pub sidecar: Option<Holder>,
    pub quarantine: Vec<Kept>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LeaseOf {
    pub repository: String,
    #[serde(flatten)]
    pub lease: LeaseInfo,
    /// Of this volume.
    pub ours: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Drills {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
    /// The latest proof of each repository.
    pub proved: Vec<Proof>,
}

impl Drills {
    /// `None` where there never was one.
    pub fn of(record: &DrillRecord) -> Option<Self> {
        record.last.is_some().then(|| Self {
            last: record.last.clone(),
            proved: record.latest().into_iter().cloned().collect(),
        })
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    pub path: String,
    pub reason: Option<String>,
    pub since: Option<String>,
}

pub fn run(scope: &Scope, options: &StatusOptions) -> Result<Status, OpsError> {
    let Inspection { state, marker, .. } = scope.volume.inspect()?;
    let mut newer = None;
    let mut leases = Vec::new();
    let mut unfit = Vec::new();
    let state = match (state, &marker) {
        (state @ (State::Healthy | State::Dirty), Some(marker)) => {
            let outcome = examine_begun(scope, Some(marker), &options.checks, Level::Quick)?;
            unfit = outcome.unfit;
            if outcome.findings.is_empty() {
                (newer, leases) = look_around(scope, marker, options.stale_timeout);
                if newer.is_some() { State::Stale } else { state }
            } else {
                State::Corrupt(outcome.findings)
            }
        }
        (state, _) => state,
    };
    let kept = scope.volume.quarantined()?.into_iter().map(|kept| Kept {
        path: kept.path.display().to_string(),
        reason: kept.note.as_ref().map(|note| note.reason.clone()),
        since: kept.note.as_ref().map(|note| note.time.to_rfc3339()),
    });
    Ok(Status {
        state: state.name(),
        volume: scope.volume.path().display().to_string(),
        identity: scope.volume.identity().to_owned(),
        volume_id: marker.as_ref().map(|marker| marker.volume_id.clone()),
        phase: marker.as_ref().map(|marker| marker.phase.clone()),
        origin: marker.as_ref().and_then(|marker| marker.origin.clone()),
        last_backup: marker.as_ref().and_then(|marker| marker.last_backup.clone()),
        damage: marker.as_ref().and_then(|marker| marker.damage.clone()),
        findings: match state {
            State::Corrupt(findings) => findings,
            _ => Vec::new(),
        },
        unfit,
        newer,
        leases,
        drill: DrillRecord::load(scope.state_dir()).ok().as_ref().and_then(Drills::of),
        sidecar: scope.volume.sidecar_running()?,
        quarantine: kept.collect(),
    })
}

/// Asks all repositories at the same time, once, what is newer and who may write.
fn look_around(scope: &Scope, marker: &Marker, limit: Duration) -> (Option<Summary>, Vec<LeaseOf>) {
    let asked = Arc::new(marker.clone());
    let answers = ask_each(scope, limit, move |repository| {
        let lease = repository.lease().inspect_err(|error| tracing::debug!(%error, "the lease is not known"));
        (find_newer(repository, &asked), lease.ok().flatten())
    });
    let (mut newer, mut leases) = (Vec::new(), Vec::new());
    for (repository, answer) in scope.repositories.iter().zip(answers) {
        let (found, lease) = answer.map_or((None, None), |(found, lease)| (Some(found), lease));
        newer.push(found);
        leases.extend(lease.map(|lease| LeaseOf {
            repository: repository.location(),
            ours: lease.volume_id == marker.volume_id,
            lease,
        }));
    }
    (combine(scope, newer, limit).flatten().map(|newer| newer.summary), leases)
}
