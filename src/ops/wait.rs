//! Waits until the volume is ready, for platforms that start everything at once.

use std::time::Duration;

use crate::ops::{OpsError, Scope};
use crate::volume::NotYet;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Returns when the marker says ready and the data is there, and not before steps were done on what is new on the
/// volume: those that are configured here (`steps`), or those that the last init had. What does not mend itself by
/// waiting is an error at once.
pub fn run(scope: &Scope, timeout: Duration, steps: bool) -> Result<(), OpsError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let not_yet = match scope.volume.readiness(steps) {
            Ok(()) => return Ok(()),
            Err(NotYet::Unknown(error)) => return Err(error.into()),
            Err(NotYet::Mismatch { found, expected }) => return Err(OpsError::Mismatch { found, expected }),
            Err(not_yet) => not_yet,
        };
        let left = deadline.saturating_sub(scope.clock.elapsed());
        if left.is_zero() || scope.cancel.is_cancelled() {
            let what = format!("preparing the volume ({not_yet})");
            return Err(OpsError::TimedOut { what, limit: timeout });
        }
        scope.clock.sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
