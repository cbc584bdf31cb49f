//! Which run may begin now: pure bookkeeping of what runs and what waits. Knows jobs by name and by what they
//! need of the volume and the machine; starting, ending and time are others' business.

use std::collections::VecDeque;

use crate::sidecar::record::Trigger;

/// What a run needs for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    pub volume: Access,
    /// Reads or writes repositories with all the memory that is configured, so one of these runs at a time.
    pub repository: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Does not touch the volume.
    None,
    /// Reads it, beside others that do.
    #[default]
    Shared,
    /// Changes it: nobody else has it meanwhile.
    Exclusive,
}

/// What becomes of an instant that comes while the run before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// It is passed over.
    #[default]
    Skip,
    /// One more run follows, however many instants have come.
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It begins as soon as it can.
    Taken,
    /// The run before has not ended, and the job says to skip.
    Skipped,
    /// One waits already.
    Waiting,
}

#[derive(Clone, Debug, Default)]
pub struct Desk {
    running: Vec<(String, Needs)>,
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
pub struct Waiting {
    pub job: String,
    pub trigger: Trigger,
    needs: Needs,
}

impl Desk {
    pub fn want(&mut self, job: &str, trigger: Trigger, needs: Needs, overlap: Overlap) -> Verdict {
        if self.is_waiting(job) {
            return Verdict::Waiting;
        }
        // Who asks for a run wants one that begins after the asking.
        let scheduled = matches!(trigger, Trigger::Schedule | Trigger::CatchUp);
        if self.is_running(job) && scheduled && overlap == Overlap::Skip {
            return Verdict::Skipped;
        }
        self.waiting.push_back(Waiting { job: job.to_owned(), trigger, needs });
        Verdict::Taken
    }

    /// The next run that may begin; it counts as running from now on. In the order in which they were wanted, but
    /// one that has to wait does not hold up others, except that nobody passes one that wants the volume alone:
    /// it would never get it.
    pub fn begin_next(&mut self) -> Option<Waiting> {
        let mut reserved = false;
        let position = self.waiting.iter().position(|waiting| {
            if reserved && waiting.needs.volume != Access::None {
                return false;
            }
            let free = self.has_room_for(waiting);
            reserved |= !free && waiting.needs.volume == Access::Exclusive;
            free
        })?;
        let waiting = self.waiting.remove(position)?;
        self.running.push((waiting.job.clone(), waiting.needs));
        Some(waiting)
    }

    fn has_room_for(&self, waiting: &Waiting) -> bool {
        self.running.iter().all(|(job, needs)| {
            let volume = match (needs.volume, waiting.needs.volume) {
                (Access::None, _) | (_, Access::None) => true,
                (Access::Exclusive, _) | (_, Access::Exclusive) => false,
                (Access::Shared, Access::Shared) => true,
            };
            *job != waiting.job && volume && !(needs.repository && waiting.needs.repository)
        })
    }

    pub fn ended(&mut self, job: &str) {
        self.running.retain(|(running, _)| running != job);
    }

    /// Takes back everything that has not begun, and names it.
    pub fn clear(&mut self) -> Vec<String> {
        self.waiting.drain(..).map(|waiting| waiting.job).collect()
    }

    pub fn is_waiting(&self, job: &str) -> bool {
        self.waiting.iter().any(|waiting| waiting.job == job)
    }

    pub fn is_running(&self, job: &str) -> bool {
        self.running.iter().any(|(running, _)| running == job)
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: Needs = Needs { volume: Access::Shared, repository: false };
    const CHANGES: Needs = Needs { volume: Access::Exclusive, repository: false };
    const BACKUP: Needs = Needs { volume: Access::Shared, repository: true };
    const PRUNE: Needs = Needs { volume: Access::None, repository: true };

    fn want(desk: &mut Desk, job: &str, needs: Needs) -> Verdict {
        desk.want(job, Trigger::Schedule, needs, Overlap::Skip)
    }

    fn begin(desk: &mut Desk) -> Vec<String> {
        std::iter::from_fn(|| desk.begin_next().map(|waiting| waiting.job)).collect()
    }

    #[test]
    fn an_instant_during_the_run_is_passed_over_or_queued_once() {
        let mut desk = Desk::default();
        assert_eq!(want(&mut desk, "backup", BACKUP), Verdict::Taken);
        assert_eq!(want(&mut desk, "backup", BACKUP), Verdict::Waiting, "it has not begun");
        assert_eq!(begin(&mut desk), ["backup"]);
        assert_eq!(want(&mut desk, "backup", BACKUP), Verdict::Skipped);
        let queue = |desk: &mut Desk| desk.want("backup", Trigger::Schedule, BACKUP, Overlap::Queue);
        assert_eq!(queue(&mut desk), Verdict::Taken);
        assert_eq!(queue(&mut desk), Verdict::Waiting);
        assert!(begin(&mut desk).is_empty(), "not beside itself");
        desk.ended("backup");
        assert_eq!(begin(&mut desk), ["backup"]);
        desk.ended("backup");
        assert!(begin(&mut desk).is_empty() && desk.is_idle());
    }

    #[test]
    fn who_asks_gets_a_run_that_begins_later() {
        let mut desk = Desk::default();
        want(&mut desk, "backup", BACKUP);
        begin(&mut desk);
        assert_eq!(desk.want("backup", Trigger::Request, BACKUP, Overlap::Skip), Verdict::Taken);
        assert_eq!(desk.want("backup", Trigger::Request, BACKUP, Overlap::Skip), Verdict::Waiting);
    }

    #[test]
    fn work_on_repositories_is_done_one_after_the_other() {
        let mut desk = Desk::default();
        want(&mut desk, "backup", BACKUP);
        want(&mut desk, "prune", PRUNE);
        want(&mut desk, "look", READS);
        assert_eq!(begin(&mut desk), ["backup", "look"]);
        desk.ended("backup");
        assert_eq!(begin(&mut desk), ["prune"]);
    }

    #[test]
    fn who_changes_the_volume_is_alone_and_is_not_starved() {
        let mut desk = Desk::default();
        want(&mut desk, "look", READS);
        assert_eq!(begin(&mut desk), ["look"]);
        want(&mut desk, "vacuum", CHANGES);
        want(&mut desk, "backup", BACKUP);
        want(&mut desk, "prune", PRUNE);
        assert_eq!(begin(&mut desk), ["prune"], "the backup does not pass the one that waits for the volume");
        desk.ended("look");
        assert_eq!(begin(&mut desk), ["vacuum"]);
        desk.ended("vacuum");
        assert!(begin(&mut desk).is_empty(), "prune still works on the repository");
        desk.ended("prune");
        assert_eq!(begin(&mut desk), ["backup"]);
    }

    #[test]
    fn what_has_not_begun_can_be_taken_back() {
        let mut desk = Desk::default();
        want(&mut desk, "a", BACKUP);
        want(&mut desk, "b", PRUNE);
        assert_eq!(desk.begin_next().map(|waiting| waiting.job).as_deref(), Some("a"));
        assert_eq!(desk.clear(), ["b"]);
        assert!(begin(&mut desk).is_empty() && desk.is_running("a") && !desk.is_idle());
    }
}
