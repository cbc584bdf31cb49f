//! Times too near to prove anything: a file that was changed within the same tick of the clock in which it was
//! read looks, by its times, as if it was not. So whoever is about to look waits until the tick has passed.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::tree::Stat;

/// The kernel stamps files from a clock that ticks every 1 to 10 ms.
const TICK: Duration = Duration::from_millis(20);
/// File systems that keep whole seconds, or two (FAT, old NFS servers), show it by times without a fraction.
const COARSE_TICK: Duration = Duration::from_millis(2_100);

/// Waits out a fine tick. Returns whether times read from now on are old enough to be compared later; on a
/// coarse file system a fresh file is simply read again next time.
pub fn settle(clock: &Arc<dyn Clock>, stat: &Stat) -> bool {
    let changed = stat.ctime.max(stat.mtime);
    let coarse = stat.ctime.nanoseconds == 0 && stat.mtime.nanoseconds == 0;
    let now = clock.now();
    if changed > now.plus(TICK) {
        // A clock that was set back: waiting until it has caught up is out of the question.
        return false;
    }
    let age = now.since(changed);
    if coarse {
        return age >= COARSE_TICK;
    }
    if age >= TICK {
        return true;
    }
    clock.sleep(TICK - age);
    clock.now().since(changed) >= TICK
}
