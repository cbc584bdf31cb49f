//! Waiting that a shutdown can cut short. Knows nothing of what is waited for.

use std::time::Duration;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;

/// How late a cancelled wait may end.
const SLICE: Duration = Duration::from_millis(200);

pub fn pause(clock: &dyn Clock, cancel: &Cancel, duration: Duration) {
    let mut left = duration;
    while !left.is_zero() && !cancel.is_cancelled() {
        let slice = left.min(SLICE);
        clock.sleep(slice);
        left = left.saturating_sub(slice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;

    #[test]
    fn a_pause_lasts_as_told_unless_cancelled() {
        let clock = ManualClock::at(Timestamp::default());
        let cancel = Cancel::new();
        pause(&clock, &cancel, Duration::from_millis(1_250));
        assert_eq!(clock.elapsed(), Duration::from_millis(1_250));
        cancel.cancel();
        pause(&clock, &cancel, Duration::from_secs(3_600));
        assert_eq!(clock.elapsed(), Duration::from_millis(1_250));
    }
}
