//! Time as a dependency: what waits or expires asks a `Clock`, so that tests turn hours into nothing.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::base::timestamp::Timestamp;

pub trait Clock: Send + Sync + Debug {
    /// Wall-clock time: for names and records, never for measuring how long something took.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never goes backwards.
    fn elapsed(&self) -> Duration;
    fn sleep(&self, duration: Duration);
}

#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from(SystemTime::now())
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// A clock that stands still until it is moved; sleeping moves it.
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    passed: Mutex<Duration>,
}

impl ManualClock {
    pub fn at(start: Timestamp) -> Self {
        Self { start, passed: Mutex::new(Duration::ZERO) }
    }

    pub fn advance(&self, by: Duration) {
        if let Ok(mut passed) = self.passed.lock() {
            *passed += by;
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start.plus(self.elapsed())
    }

    fn elapsed(&self) -> Duration {
        self.passed.lock().map(|passed| *passed).unwrap_or_default()
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
