//! Whether an app may start on a volume: one rule for all who ask, about this volume or about another one. Looks
//! only, and makes nothing; must not know what is done to make a volume ready.

use std::path::Path;

use thiserror::Error;

use crate::volume::Volume;
use crate::volume::error::VolumeError;
use crate::volume::inspect::{Inspection, State, inspect_any};
use crate::volume::lock::{self, Holder};
use crate::volume::options::VolumeOptions;

/// Why not, in words that go on after "the volume is not ready: ".
#[derive(Debug, Error)]
pub enum NotYet {
    #[error("it is empty, and nothing has made it ready")]
    Empty,
    #[error("it has lost its data")]
    Lost,
    #[error("nothing has taken over the data on it")]
    Foreign,
    #[error("a restore of snapshot {snapshot} is not finished")]
    Restoring { snapshot: String },
    #[error("it was found damaged")]
    Corrupt,
    #[error("another volume has written a newer snapshot")]
    Stale,
    /// Waiting does not help.
    #[error("it belongs to `{found}`, not to `{expected}`")]
    Mismatch { found: String, expected: String },
    #[error("its data failed the checks after snapshot {snapshot} was restored")]
    Distrusted { snapshot: String },
    #[error("damage was found on it, and no full checks have passed since")]
    Damaged,
    #[error("a repair of it was begun, and no full checks have passed since")]
    Repaired,
    #[error("the steps on its new data are not done")]
    StepsDue,
    #[error("the full checks are due")]
    Dirty,
    #[error("it is in use by {}", Holder::describe(.0.as_deref()))]
    Locked(Option<Box<Holder>>),
    /// Nobody can tell, and waiting does not help as a rule: it is not mounted, or its marker is damaged.
    #[error(transparent)]
    Unknown(#[from] VolumeError),
}

/// Who works on the volume at this moment.
#[derive(Clone, Debug, Default)]
struct Others {
    /// `Some(None)`: somebody who left no name holds the volume's lock alone.
    lock: Option<Option<Holder>>,
    sidecar: bool,
}

impl Volume {
    /// `steps`: whether the asker knows of steps that are to be done on new data; those of the last init count
    /// anyway.
    pub fn readiness(&self, steps: bool) -> Result<(), NotYet> {
        look(self, Some(&self.options.identity), steps)
    }
}

/// The same of any volume, by where it is; it need not exist yet. Whose data it is is not asked.
pub fn readiness(path: &Path, state_dir: &Path) -> Result<(), NotYet> {
    look(&Volume::new(VolumeOptions::new(path, state_dir, ""))?, None, false)
}

fn look(volume: &Volume, identity: Option<&str>, steps: bool) -> Result<(), NotYet> {
    let found = inspect_any(&volume.places, identity)?;
    // Looking at a lock takes it for an instant, so that is done only where it matters. The marker was read before:
    // whoever changes the volume since then holds the lock, or has ended.
    let others = match found.state {
        State::Healthy | State::Dirty => Others {
            lock: lock::held_by(&volume.places.lock())?,
            sidecar: volume.sidecar_running()?.is_some(),
        },
        _ => Others::default(),
    };
    judge(found, others, steps)
}

/// Pure.
fn judge(found: Inspection, others: Others, steps: bool) -> Result<(), NotYet> {
    let Inspection { state, marker, lost } = found;
    let clean = match state {
        State::Healthy => true,
        State::Dirty => false,
        State::Empty if lost => return Err(NotYet::Lost),
        State::Empty => return Err(NotYet::Empty),
        State::Foreign => return Err(NotYet::Foreign),
        State::Corrupt(_) => return Err(NotYet::Corrupt),
        State::Stale => return Err(NotYet::Stale),
        State::Mismatch { found, expected } => return Err(NotYet::Mismatch { found, expected }),
        State::Interrupted { phase } => {
            let snapshot = phase.target().map(|target| target.snapshot.clone()).unwrap_or_default();
            return Err(NotYet::Restoring { snapshot });
        }
    };
    // Whoever holds the volume's lock may be about to change what is found here, also while a sidecar stands by.
    if let Some(holder) = others.lock {
        return Err(NotYet::Locked(holder.map(Box::new)));
    }
    if let Some(marker) = marker {
        if let Some(snapshot) = marker.distrusted {
            return Err(NotYet::Distrusted { snapshot });
        }
        match marker.damage {
            Some(damage) if damage.repair.is_some() => return Err(NotYet::Repaired),
            Some(_) => return Err(NotYet::Damaged),
            None => {}
        }
        if marker.steps_due && (steps || marker.has_steps) {
            return Err(NotYet::StepsDue);
        }
    }
    // A sidecar marks the volume dirty for as long as it works.
    if clean || others.sidecar { Ok(()) } else { Err(NotYet::Dirty) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock, ManualClock};
    use crate::base::timestamp::Timestamp;
    use crate::volume::marker::{Damage, Marker, Phase, RestoreTarget};
    use crate::volume::{LockKind, Origin};

    fn marker(change: impl FnOnce(&mut Marker)) -> Marker {
        let clock = ManualClock::at(Timestamp::new(1_000_000_000, 0));
        let mut marker = Marker::new("wiki", Phase::Ready, &clock).unwrap();
        marker.origin = Some(Origin::Adopted);
        change(&mut marker);
        marker
    }

    fn told(state: State, change: impl FnOnce(&mut Marker), others: Others, steps: bool) -> String {
        let found = Inspection { state, marker: Some(marker(change)), lost: false };
        judge(found, others, steps).map_or_else(|not_yet| not_yet.to_string(), |()| "ready".to_owned())
    }

    #[test]
    fn what_the_marker_and_the_locks_say_decides() {
        let nobody = Others::default;
        let sidecar = || Others { sidecar: true, ..Others::default() };
        let init = || Others { lock: Some(None), sidecar: true };
        let steps = |marker: &mut Marker| marker.steps_due = true;
        let steps_of_init = |marker: &mut Marker| (marker.steps_due, marker.has_steps) = (true, true);
        let distrusted = |marker: &mut Marker| marker.distrusted = Some("s".to_owned());
        let same = |_: &mut Marker| ();
        let time = Timestamp::new(1_000_000_000, 0);
        let damage = |repair| {
            move |marker: &mut Marker| {
                marker.damage = Some(Damage { found: time, repair, copy: None });
            }
        };
        // Whatever a sidecar makes of `clean`.
        assert!(told(State::Dirty, damage(None), sidecar(), false).starts_with("damage was found"));
        assert!(told(State::Healthy, damage(Some(time)), sidecar(), false).starts_with("a repair"));
        assert_eq!(told(State::Healthy, same, nobody(), true), "ready");
        assert_eq!(told(State::Dirty, same, sidecar(), true), "ready");
        assert_eq!(told(State::Dirty, same, nobody(), true), "the full checks are due");
        assert!(told(State::Healthy, same, init(), false).starts_with("it is in use by"));
        assert_eq!(told(State::Healthy, steps, nobody(), false), "ready");
        assert!(told(State::Healthy, steps, nobody(), true).starts_with("the steps"));
        assert!(told(State::Dirty, steps_of_init, sidecar(), false).starts_with("the steps"));
        assert!(told(State::Dirty, distrusted, sidecar(), false).contains("snapshot s"));
        let target = RestoreTarget { repository: "r".into(), snapshot: "s".into() };
        let interrupted = State::Interrupted { phase: Phase::Restoring { target } };
        assert_eq!(told(interrupted, same, sidecar(), false), "a restore of snapshot s is not finished");
        for state in [State::Empty, State::Foreign, State::Stale, State::Corrupt(Vec::new())] {
            assert_ne!(told(state, same, sidecar(), false), "ready");
        }
    }

    #[test]
    fn any_volume_can_be_asked_about_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let (path, state) = (dir.path().join("data"), dir.path().join("data/.volkeep"));
        assert!(matches!(readiness(&path, &state), Err(NotYet::Unknown(VolumeError::Missing { .. }))));
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(readiness(&path, &state), Err(NotYet::Empty)));
        assert!(!state.exists());
        std::fs::write(path.join("page"), "x").unwrap();
        assert!(matches!(readiness(&path, &state), Err(NotYet::Foreign)));
        let volume = Volume::new(VolumeOptions::new(&path, &state, "wiki")).unwrap();
        let clock = ManualClock::at(Timestamp::new(1_000_000_000, 0));
        volume.prepare().unwrap();
        volume.write_marker(&marker(|_| ()), &clock).unwrap();
        readiness(&path, &state).unwrap();
        volume.readiness(true).unwrap();
        let other = Volume::new(VolumeOptions::new(&path, &state, "shop")).unwrap();
        assert!(matches!(other.readiness(true), Err(NotYet::Mismatch { .. })));
        let who = Holder { mode: "init".into(), pod: "p".into(), host: "h".into(), since: clock.now() };
        let held = volume.lock(LockKind::Exclusive, &who, &clock, &mut |_| ()).unwrap();
        assert!(readiness(&path, &state).unwrap_err().to_string().contains("`init` in p on h"));
        drop(held);
        readiness(&path, &state).unwrap();
        std::fs::write(state.join("marker.json"), "{").unwrap();
        assert!(matches!(readiness(&path, &state), Err(NotYet::Unknown(VolumeError::MarkerDamaged { .. }))));
    }
}
