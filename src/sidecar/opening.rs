//! What a sidecar does before it begins to work: gets the volume to itself, ends a freeze that a killed one left
//! behind, says on the marker that somebody works here, and learns how the last runs ended. Blocking.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::pause::pause;
use crate::hook;
use crate::ops::{OpsError, Scope};
use crate::sidecar::record::{Begun, Outcome, Record, Run};
use crate::sidecar::state::States;
use crate::volume::{Inspection, LockGuard, LockKind, Phase, State, VolumeError};

/// How late a volume is noticed that has been made ready, or has got data.
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// The volume is this sidecar's.
#[derive(Debug)]
pub struct Opened {
    /// Held for the sidecar's life.
    pub lock: LockGuard,
    pub records: BTreeMap<String, Record>,
    /// The one before ended in order, so that this one may end in order too. Otherwise full checks are due, and an
    /// orderly end does not take that away.
    pub was_clean: bool,
}

/// Waits as long as another sidecar works on the volume, or there is nothing on it to work on: a lock held then would only
/// be in the way of the init that is to come. `None` when told to end meanwhile.
pub fn wait_for_volume(scope: &Scope, cancel: &Cancel) -> Result<Option<LockGuard>, OpsError> {
    scope.volume.prepare()?;
    let mut told = false;
    while !cancel.is_cancelled() {
        let Inspection { state, marker, .. } = scope.volume.inspect()?;
        if state == State::Empty && marker.is_none() {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!("standing by: the volume is empty, and no `volkeep init` has made it ready");
            }
            pause(scope.clock.as_ref(), cancel, LOOK_AGAIN);
            continue;
        }
        match scope.sidecar_lock("sidecar") {
            Ok(lock) => return Ok(Some(lock)),
            Err(OpsError::Volume(error @ VolumeError::Locked { .. })) => {
                tracing::info!(%error, "standing by: another sidecar works on the volume");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Only while no job runs: what is frozen then was left so. Whether nothing is frozen any more.
pub fn thaw_left_behind(scope: &Scope) -> bool {
    let mut all = true;
    for thawed in hook::thaw_left_behind(scope.state_dir(), scope.clock.as_ref()) {
        match thawed {
            Ok(left) => tracing::warn!(job = left.job, "thawed what had been left frozen"),
            Err(error) => {
                all = false;
                tracing::error!(%error, "the thaw failed; it is tried again");
            }
        }
    }
    all
}

/// After the lock is held and what was frozen is thawed. Waits for a backup that somebody makes by hand, however
/// long that takes: to give up would only mean to be started again. `None` when told to end meanwhile.
pub fn open(
    scope: &Scope,
    states: &States,
    jobs: &[String],
    lock: LockGuard,
    cancel: &Cancel,
) -> Result<Option<Opened>, OpsError> {
    let was_clean = loop {
        match mark_in_use(scope) {
            Err(OpsError::Volume(error @ VolumeError::Locked { .. })) => {
                tracing::info!(%error, "standing by: somebody else works on the volume");
            }
            other => break other?,
        }
        if cancel.is_cancelled() {
            return Ok(None);
        }
    };
    let mut records = BTreeMap::new();
    for job in jobs {
        records.insert(job.clone(), load(scope, states, job)?);
    }
    Ok(Some(Opened { lock, records, was_clean }))
}

/// The record of a job. A run that was under way when its sidecar died is counted as one that was cut off.
pub fn load(scope: &Scope, states: &States, job: &str) -> Result<Record, OpsError> {
    let mut record = states.load(job).map_err(OpsError::io("read the job states in", scope.state_dir()))?;
    if let Some(begun) = record.running.take() {
        tracing::warn!(job, since = begun.started.to_rfc3339(), "this run was cut off when its sidecar died");
        record.end(cut_off(begun));
        if let Err(error) = states.save(job, &record) {
            tracing::warn!(job, %error, "its state cannot be written");
        }
    }
    Ok(record)
}

fn cut_off(begun: Begun) -> Run {
    Run {
        trigger: begun.trigger,
        started: begun.started,
        // Nobody was there to see the end.
        seconds: 0.0,
        outcome: Outcome::Interrupted,
        attempts: 1,
        code: 1,
        reason: Some("the sidecar died during the run".to_owned()),
        hint: None,
        figures: crate::sidecar::record::Figures::default(),
    }
}

/// From now on whoever finds the volume without a sidecar knows that this one did not end in order. Returns whether
/// it was clean before. A volume that is not ready is left as it is: that is init's business.
pub fn mark_in_use(scope: &Scope) -> Result<bool, OpsError> {
    let _alone = scope.backup_lock()?;
    // Not while an init is under way, which calls the volume clean at its end.
    let _lock = scope.lock(LockKind::Shared, "sidecar")?;
    match scope.volume.read_marker()? {
        Some(mut marker) if marker.phase == Phase::Ready => {
            let was_clean = std::mem::replace(&mut marker.clean, false);
            scope.volume.write_marker(&marker, scope.clock.as_ref())?;
            Ok(was_clean)
        }
        _ => Ok(false),
    }
}

/// The last act: nothing of this sidecar is at work any more.
pub fn mark_clean(scope: &Scope) -> Result<(), OpsError> {
    let _alone = scope.backup_lock()?;
    if let Some(mut marker) = scope.volume.read_marker()?.filter(|marker| marker.phase == Phase::Ready) {
        marker.clean = true;
        scope.volume.write_marker(&marker, scope.clock.as_ref())?;
    }
    Ok(())
}
