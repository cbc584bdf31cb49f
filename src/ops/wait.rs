//! Waits until the volume is ready, for platforms that start everything at once.

use std::time::Duration;

use crate::ops::{OpsError, Scope};
use crate::volume::{Inspection, State};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Returns when the marker says ready and the data is there, and not before steps were done on what is new on the
/// volume: those that are configured here (`steps`), or those that the last init had. What does not mend itself by
/// waiting is an error at once.
pub fn run(scope: &Scope, timeout: Duration, steps: bool) -> Result<(), OpsError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let Inspection { state, marker, .. } = scope.volume.inspect()?;
        let trusted = marker.is_some_and(|marker| {
            marker.distrusted.is_none() && !(marker.steps_due && (steps || marker.has_steps))
        });
        match state {
            // Whoever holds the volume's lock may be about to change what is found here, also while a sidecar stands by.
            State::Healthy | State::Dirty if trusted && scope.volume.is_locked_exclusively()? => {}
            State::Healthy if trusted => return Ok(()),
            // A sidecar marks the volume dirty for as long as it works.
            State::Dirty if trusted && scope.volume.sidecar_running()?.is_some() => return Ok(()),
            State::Mismatch { found, expected } => return Err(OpsError::Mismatch { found, expected }),
            _ => {}
        }
        let left = deadline.saturating_sub(scope.clock.elapsed());
        if left.is_zero() || scope.cancel.is_cancelled() {
            let what = format!("preparing the volume, which is {},", state.name());
            return Err(OpsError::TimedOut { what, limit: timeout });
        }
        scope.clock.sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
