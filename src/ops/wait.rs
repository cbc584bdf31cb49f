//! Waits until the volume is ready, for platforms that start everything at once.

use std::time::Duration;

use crate::ops::{OpsError, Scope};
use crate::volume::State;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Returns when the marker says ready and the data is there. What does not mend itself by waiting is an error at
/// once.
pub fn run(scope: &Scope, timeout: Duration) -> Result<(), OpsError> {
    let deadline = scope.clock.elapsed() + timeout;
    let mut pause = FIRST_PAUSE;
    loop {
        let state = scope.volume.inspect()?.state;
        match state {
            State::Healthy | State::Dirty => return Ok(()),
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
