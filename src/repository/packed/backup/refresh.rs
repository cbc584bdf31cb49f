//! Keeps the lease of a long backup fresh while packs are uploaded, and stops a run that has lost it: hours of
//! uploading for a snapshot that may not be committed would be for nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::repository::packed::lease::{self, Held};
use crate::repository::packed::objects::Objects;
use crate::repository::{Epoch, RepositoryError};

#[derive(Debug)]
pub struct Refresher<'a> {
    objects: &'a Objects,
    held: &'a Held,
    clock: &'a Arc<dyn Clock>,
    /// By the clock that only goes forward.
    last: Mutex<Duration>,
}

impl<'a> Refresher<'a> {
    /// The lease was taken or looked at just now.
    pub fn new(objects: &'a Objects, held: &'a Held, clock: &'a Arc<dyn Clock>) -> Self {
        Self { objects, held, clock, last: Mutex::new(clock.elapsed()) }
    }

    pub fn epoch(&self) -> Epoch {
        self.held.epoch
    }

    /// `Fenced` is the only error: an expiry that could not be written decides nothing.
    pub fn refresh_if_due(&self) -> Result<(), RepositoryError> {
        {
            // Not held while the store is asked: the other uploaders go on.
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.elapsed();
            if now.saturating_sub(*last) < lease::REFRESH {
                return Ok(());
            }
            *last = now;
        }
        lease::refresh_if_possible(self.objects, self.held, self.clock.now())
    }
}
