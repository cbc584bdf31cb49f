//! One thread that writes the records of jobs, in the order in which they were handed over, so that a slow or full
//! disk holds up neither the loop nor the order.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, unbounded};

use crate::sidecar::record::Record;
use crate::sidecar::state::States;

/// How long after a record could not be written all such are tried again. The answer wakes the loop, so that without
/// a pause a full disk would keep both busy for nothing.
const PAUSE: Duration = Duration::from_secs(30);

/// When to try again what could not be written.
#[derive(Debug, Default)]
pub struct Again(Option<Duration>);

impl Again {
    /// Whether it is time, which counts as having been done. `now` by a clock that nobody sets.
    pub fn is_due(&mut self, now: Duration) -> bool {
        let due = self.0.is_none_or(|last| now.saturating_sub(last) >= PAUSE);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    pub job: String,
    pub error: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Saver {
    // As long as what the loop can hand over: each job once, some twice.
    records: Sender<Errand>,
}

#[derive(Debug)]
enum Errand {
    Save(String, Box<Record>),
    /// Answers when everything before is done.
    Settle(Sender<()>),
}

impl Saver {
    pub fn start(states: States, told: impl Fn(Saved) + Send + 'static) -> std::io::Result<Self> {
        let (records, errands) = unbounded();
        thread::Builder::new().name("records".to_owned()).spawn(move || {
            for errand in errands {
                match errand {
                    Errand::Save(job, record) => {
                        let error = states.save(&job, &record).err().map(|error| error.to_string());
                        told(Saved { job, error });
                    }
                    Errand::Settle(done) => drop(done),
                }
            }
        })?;
        Ok(Self { records })
    }

    pub fn save(&self, job: &str, record: &Record) {
        // Fails only when the thread is gone, which says so itself.
        let _ = self.records.send(Errand::Save(job.to_owned(), Box::new(record.clone())));
    }

    /// Blocks until everything handed over before was tried.
    pub fn settle(&self) {
        let (done, settled) = crossbeam_channel::bounded(0);
        if self.records.send(Errand::Settle(done)).is_ok() {
            let _ = settled.recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_now_and_then() {
        let mut again = Again::default();
        let seconds = (0..100).filter(|second| again.is_due(Duration::from_secs(*second)));
        assert_eq!(seconds.collect::<Vec<_>>(), [0, 30, 60, 90]);
    }
}
