//! A new configuration under a running sidecar: what cannot be used is refused, and the old one stays in force.

use std::sync::Arc;
use std::thread;

use crate::sidecar::engine::{Engine, Event, Slot};
use crate::sidecar::means::Means;
use crate::sidecar::record::Record;
use crate::sidecar::state::States;

impl Engine {
    pub(super) fn begin_reload(&mut self) {
        let (reload, events) = (Arc::clone(&self.reload), self.events.clone());
        // Reads files, maybe from a file system that hangs.
        thread::spawn(move || drop(events.send(Event::Reloaded(Box::new(reload())))));
    }

    pub(super) fn reloaded(&mut self, reloaded: Result<Means, String>) {
        let checked = reloaded.and_then(|means| match self.means.needs_restart(&means) {
            Some(reason) => Err(reason),
            None => Ok(means),
        });
        match checked {
            Ok(means) => {
                tracing::info!(jobs = means.options.jobs.len(), "the new configuration is in force");
                self.notifier.retarget(means.options.notify.clone());
                let _ = self.token.send(means.options.token.clone());
                if means.options.listen != self.means.options.listen {
                    tracing::warn!("sidecar.listen changes with the next start only");
                }
                self.means = means;
                self.refused = None;
                if self.opened.is_some() {
                    self.learn_new_jobs();
                    self.timetable.replace(self.timed_jobs(), self.now());
                    self.settle_all();
                    self.tenure.hurry();
                }
            }
            Err(reason) => {
                tracing::error!(reason, "the new configuration is refused; the old one stays in force");
                self.refused = Some(reason);
            }
        }
    }

    /// A job that comes, or comes back, goes on from the state that it left on the volume.
    fn learn_new_jobs(&mut self) {
        let states = States::below(self.means.scope.state_dir());
        for job in &self.means.options.jobs {
            if !self.slots.contains_key(&job.name) {
                let record = states.load(&job.name).unwrap_or_else(|error| {
                    tracing::warn!(job = job.name, %error, "the state of this job cannot be read");
                    Record::default()
                });
                self.slots.insert(job.name.clone(), Slot { record, ..Slot::default() });
            }
        }
    }
}
