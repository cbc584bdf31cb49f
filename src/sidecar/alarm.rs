//! Wakes the sidecar's loop at an instant. The scheduler behind it only arms: what the instant is, and what is due
//! when it has come, is computed elsewhere, every time anew.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::base::clock::Clock;
use crate::base::timestamp::Timestamp;

/// It wakes at least this often, so that a clock that was set, or a machine that slept, is noticed.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// How often it is looked whether the clock was set back.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
#[error("the scheduler failed: {0}")]
pub struct AlarmError(#[from] JobSchedulerError);

pub struct Alarm {
    scheduler: JobScheduler,
    armed: Option<Timestamp>,
    rings: mpsc::Sender<()>,
    heard: mpsc::Receiver<()>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Alarm {
    pub async fn new() -> Result<Self, AlarmError> {
        let scheduler = JobScheduler::new().await?;
        scheduler.start().await?;
        let (rings, heard) = mpsc::channel(1);
        Ok(Self { scheduler, armed: None, rings, heard })
    }

    /// Rings within half a second after `instant`, at the latest after `LONGEST_SLEEP`. It may ring too early or
    /// once too often: whoever hears it looks at the clock.
    pub async fn arm(&mut self, now: Timestamp, instant: Option<Timestamp>) -> Result<(), AlarmError> {
        let latest = now.plus(LONGEST_SLEEP);
        let instant = instant.map_or(latest, |instant| instant.min(latest));
        // One that rings earlier will do. One that lies far ahead is left of a clock that was set back.
        if self.armed.is_some_and(|armed| armed <= instant && now <= armed.plus(LONGEST_SLEEP)) {
            return Ok(());
        }
        let rings = self.rings.clone();
        // The scheduler counts whole seconds, and begins with the one that is already under way.
        let wait = instant.since(now) + Duration::from_millis(500);
        let job = Job::new_one_shot(wait, move |_, _| {
            // Full: it has rung and nobody has looked yet.
            let _ = rings.try_send(());
        })?;
        self.scheduler.add(job).await?;
        self.armed = Some(instant);
        Ok(())
    }

    pub async fn ring(&mut self, clock: &dyn Clock) {
        loop {
            tokio::select! {
                _ = self.heard.recv() => break,
                // The scheduler goes by the clock of the day: set back by an hour, it would ring an hour late.
                () = tokio::time::sleep(LOOK) => {
                    if self.armed.is_some_and(|armed| armed.since(clock.now()) > LONGEST_SLEEP) {
                        break;
                    }
                }
            }
        }
        self.armed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, SystemClock};

    #[tokio::test]
    async fn it_rings_soon_after_the_instant_and_can_be_armed_again() {
        let clock = SystemClock::default();
        let mut alarm = Alarm::new().await.unwrap();
        for _ in 0..2 {
            let instant = clock.now().plus(Duration::from_millis(600));
            alarm.arm(clock.now(), Some(instant)).await.unwrap();
            let rung = async {
                while clock.now() < instant {
                    alarm.ring(&clock).await;
                    alarm.arm(clock.now(), Some(instant)).await.unwrap();
                }
            };
            tokio::time::timeout(Duration::from_secs(30), rung).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_is_noticed_soon() {
        let clock = ManualClock::at(SystemClock::default().now());
        let mut alarm = Alarm::new().await.unwrap();
        // As it is when an hour was taken away since it was armed.
        let before = clock.now().plus(Duration::from_secs(3600));
        alarm.arm(before, None).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), alarm.ring(&clock)).await.unwrap();
    }
}
