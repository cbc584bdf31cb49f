//! How a sidecar ends: those who work get their time, then are told to stop, then are left behind. Pure
//! arithmetic over time that is handed in.

use std::time::Duration;

/// For giving up in order, at the end of the budget.
const LAST_PART: u32 = 4;
const LONGEST_LAST_PART: Duration = Duration::from_secs(10);

/// How long one that is told to stop has to give up in order: so short that there is time left to end it, to note
/// what became of it and to mark the volume.
pub fn patience(grace: Duration) -> Duration {
    last_part(grace) / 2
}

fn last_part(grace: Duration) -> Duration {
    (grace / LAST_PART).min(LONGEST_LAST_PART)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for those who work, at most so long.
    Wait(Duration),
    /// Tell them to stop.
    Cancel,
    /// The budget is spent.
    GiveUp,
}

/// Begun when the wish to end came.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    begun: Duration,
    grace: Duration,
    cancelled: bool,
}

impl Drain {
    /// `now` by a clock that nobody sets, as in all calls.
    pub fn begin(now: Duration, grace: Duration) -> Self {
        Self { begun: now, grace, cancelled: false }
    }

    pub fn step(&mut self, now: Duration) -> Step {
        let passed = now.saturating_sub(self.begun);
        let cancel_at = self.grace.saturating_sub(last_part(self.grace));
        if passed >= self.grace {
            Step::GiveUp
        } else if self.cancelled {
            Step::Wait(self.grace - passed)
        } else if passed >= cancel_at {
            self.cancelled = true;
            Step::Cancel
        } else {
            Step::Wait(cancel_at - passed)
        }
    }

    /// How much of the budget is left.
    pub fn left(&self, now: Duration) -> Duration {
        (self.begun + self.grace).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_shared_between_waiting_and_giving_up() {
        let second = Duration::from_secs;
        let mut drain = Drain::begin(second(100), second(24));
        assert_eq!(drain.step(second(100)), Step::Wait(second(18)));
        assert_eq!(drain.step(second(110)), Step::Wait(second(8)));
        assert_eq!(drain.step(second(118)), Step::Cancel);
        assert_eq!(drain.step(second(118)), Step::Wait(second(6)));
        assert_eq!(drain.step(second(124)), Step::GiveUp);
        assert_eq!(drain.left(second(120)), second(4));
        let mut long = Drain::begin(second(0), second(600));
        assert_eq!(long.step(second(0)), Step::Wait(second(590)));
        assert_eq!(Drain::begin(second(0), Duration::ZERO).step(second(0)), Step::GiveUp);
    }
}
