//! How the loop comes to its end: no job begins any more, those that run have their time, and the volume is given
//! back.

use std::time::Duration;

use crate::sidecar::desk::{Access, Needs, Overlap};
use crate::sidecar::drain::{Drain, Step};
use crate::sidecar::engine::{BACKUP, End, Engine};
use crate::sidecar::opening::Opened;
use crate::sidecar::record::Trigger;
use crate::sidecar::status::Stage;

impl Engine {
    pub(super) fn begin_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let was_working = self.stage == Stage::Working;
        self.stage = Stage::Draining;
        self.drain = Some(Drain::begin(self.means.scope.clock.elapsed(), self.means.options.grace));
        for name in self.desk.clear() {
            // Whoever asked hears that it will not come.
            self.slots.entry(name).or_default().asked.clear();
        }
        if was_working && self.means.options.backup_on_shutdown {
            let needs = Needs { volume: Access::Shared, repository: true };
            self.desk.want(BACKUP, Trigger::Shutdown, needs, Overlap::Queue);
        }
        self.tenure.stop();
        tracing::info!(grace = ?self.means.options.grace, "ending");
    }

    pub(super) fn drain_step(&mut self) -> Option<Step> {
        let step = self.drain.as_mut()?.step(self.means.scope.clock.elapsed());
        if step == Step::Cancel {
            self.desk.clear();
            for (name, slot) in &self.slots {
                if let Some(cancel) = &slot.running {
                    tracing::warn!(job = name, "told to stop: the time to end is nearly over");
                    cancel.cancel();
                }
            }
        }
        Some(step)
    }

    pub(super) fn given_up(&self) -> End {
        for (name, slot) in &self.slots {
            if slot.running.is_some() {
                tracing::error!(job = name, "left behind: the time to end is over");
            }
        }
        if self.is_idle() { End::InOrder } else { End::GaveUp }
    }

    /// What is left to do when nothing works any more. Gives the volume back.
    pub fn close(&mut self) -> Option<Opened> {
        self.saver.settle();
        self.opened.take()
    }

    /// How much of the time to end is left.
    pub fn time_left(&self) -> Duration {
        self.drain.map_or(Duration::ZERO, |drain| drain.left(self.means.scope.clock.elapsed()))
    }

    /// Has the last notices sent.
    pub fn say_goodbye(self, within: Duration) {
        self.notifier.finish(within);
    }
}
