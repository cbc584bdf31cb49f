//! One thread that writes the records of jobs, in the order in which they were handed over, so that a slow or full
//! disk holds up neither the loop nor the order.

use std::thread;

use crossbeam_channel::{Sender, unbounded};

use crate::sidecar::record::Record;
use crate::sidecar::state::States;

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
