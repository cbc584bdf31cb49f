//! Whether an app may start on the volume, for those who can only ask by http. Looks anew each time, one look at a
//! time, and not in the loop: the volume may hang. Must not know what the sidecar does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::volume::Volume;

/// A look takes a fraction of a millisecond; a volume that thinks for longer hangs.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Gate {
    volume: Volume,
    steps: bool,
    turn: Arc<Semaphore>,
    patience: Duration,
}

impl Gate {
    /// `steps`: whether the configuration has steps that are to be done on new data.
    pub fn new(volume: Volume, steps: bool) -> Self {
        Self { volume, steps, turn: Arc::new(Semaphore::new(1)), patience: LONGEST_LOOK }
    }

    /// `Err` is why not, in words.
    pub(super) async fn look(&self) -> Result<(), String> {
        let look = async {
            // However many ask, one thread at the most waits for a volume that hangs: it has the turn until it ends.
            let turn = Arc::clone(&self.turn).acquire_owned().await;
            let (volume, steps) = (self.volume.clone(), self.steps);
            let seen = spawn_blocking(move || {
                let seen = volume.readiness(steps).map_err(|not_yet| not_yet.to_string());
                drop(turn);
                seen
            });
            seen.await.unwrap_or_else(|error| Err(format!("it cannot be looked at: {error}")))
        };
        let silent = || Err(format!("it did not answer within {} s", self.patience.as_secs_f32()));
        tokio::time::timeout(self.patience, look).await.unwrap_or_else(|_| silent())
    }

    /// For tests: somebody whose look hangs, and those who are told soon.
    #[cfg(test)]
    pub(super) fn behind_one_that_hangs(&self) -> (tokio::sync::OwnedSemaphorePermit, Self) {
        let turn = Arc::clone(&self.turn).try_acquire_owned().unwrap();
        (turn, Self { patience: Duration::from_millis(50), ..self.clone() })
    }
}
