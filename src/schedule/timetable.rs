//! Which jobs are due: the instants of their schedules against what has been settled. A pure machine: time and what
//! is durable come in, events go out. Must not read a clock, run anything, or know whether a run succeeded.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::timestamp::{Timestamp, rfc3339};
use crate::schedule::expression::{Passed, Schedule};
use crate::schedule::{jitter, repeat};

/// How late an instant may be seen and still count as seen in time: the machine was busy, or its clock was put right.
/// Whoever waits for an instant looks at the clock more often than this, so that no run is lost when that is set.
pub const LATE: Duration = Duration::from_secs(300);

/// How far ahead of the clock something may be settled. A clock that was an hour or half a day ahead (a wrong zone,
/// a wrong daylight saving) must not have its runs again when it is put right. Beyond that, the clock was simply wrong,
/// and waiting until it is that late would silence a job for years.
pub const AHEAD: Duration = Duration::from_secs(86_400);

/// What is to run, and when.
#[derive(Clone, Debug)]
pub struct Job {
    pub name: String,
    pub schedule: Schedule,
    /// Each run is later than scheduled by a fixed share of this.
    pub jitter: Duration,
    /// Whether a run that was missed is made up for.
    pub catch_up: bool,
}

/// What has to outlast the process for each job. Whoever keeps it writes it down after each event, before the job
/// runs: an instant that was settled is never run again, one that was not is seen as missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The schedule that was in force, as [`Schedule::fingerprint`] has it.
    pub schedule: String,
    /// All scheduled instants up to this one have been run, or passed over for good.
    #[serde(with = "rfc3339")]
    pub settled: Timestamp,
}

/// Why a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Scheduled,
    /// One run for all that were missed.
    CatchUp,
}

/// Something happened to a job, and its record has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The job is due, once. `scheduled` is the latest instant that has come; `first` is an earlier one if others
    /// came before it and had no run of their own.
    Run { job: String, scheduled: Timestamp, first: Timestamp, trigger: Trigger },
    /// Runs were missed, and are not made up for.
    Missed { job: String, first: Timestamp, latest: Timestamp },
    /// The clock was put back by more than [`AHEAD`]: the job begins anew, as if it had just been set up. `settled`
    /// is what the clock showed before.
    ClockSetBack { job: String, settled: Timestamp },
}

/// The next run of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// As the schedule says.
    pub scheduled: Timestamp,
    /// With the job's share of jitter.
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct Timetable {
    identity: String,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    job: Job,
    /// The job's share of its jitter.
    delay: Duration,
    record: Record,
    /// Until it was looked at for the first time: what was due before this was missed while nobody was there.
    started: Option<Timestamp>,
}

impl Timetable {
    /// `records` is what was written down before. A job without one is new: nothing was missed before `now`. The
    /// same goes for a job whose schedule has changed: what the new one would have had is nothing that was missed.
    pub fn new(identity: &str, jobs: Vec<Job>, records: &BTreeMap<String, Record>, now: Timestamp) -> Self {
        let entry = |job: Job| Entry::new(identity, job, now, |name| records.get(name).cloned());
        Self { identity: identity.to_owned(), entries: jobs.into_iter().map(entry).collect() }
    }

    /// Other jobs, while running. Those whose schedule stays go on as if nothing had happened.
    pub fn replace(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let old = std::mem::take(&mut self.entries);
        let find = |name: &str| old.iter().find(|entry| entry.job.name == name);
        let entry = |job: Job| {
            let before = find(&job.name).map(|entry| (entry.record.clone(), entry.started));
            let mut entry =
                Entry::new(&self.identity, job, now, |_| before.as_ref().map(|(record, _)| record.clone()));
            entry.started = before.and_then(|(_, started)| started);
            entry
        };
        self.entries = jobs.into_iter().map(entry).collect();
    }

    /// What has come up since the last call, at most one run a job. To be called when [`Timetable::next_wake`] says
    /// so, also while jobs are running: whether runs may overlap is decided by whoever runs them. Called later, it
    /// still gives one run, for the latest instant.
    pub fn due(&mut self, now: Timestamp) -> Vec<Event> {
        self.entries.iter_mut().flat_map(|entry| entry.due(now)).collect()
    }

    /// When [`Timetable::due`] has something to say again; that may be in the past. None if no job has any instant
    /// left. No timer sees that the clock was set: look again well within [`LATE`].
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |entry: &Entry| {
            let next = entry.job.schedule.next_after(entry.settled(now))?;
            Some(next.plus(entry.delay))
        };
        self.entries.iter().filter_map(first).min()
    }

    /// The next run of a job, after `now`. None for a job that is not there, or has no instant left.
    pub fn next(&self, job: &str, now: Timestamp) -> Option<Next> {
        let entry = self.entries.iter().find(|entry| entry.job.name == job)?;
        let from = entry.settled(now).max(earlier(now, entry.delay));
        let scheduled = entry.job.schedule.next_after(from)?;
        Some(Next { scheduled, at: scheduled.plus(entry.delay) })
    }

    /// What has to be written down for a job.
    pub fn record(&self, job: &str) -> Option<&Record> {
        self.entries.iter().find(|entry| entry.job.name == job).map(|entry| &entry.record)
    }

    /// What has to be written down, by name. At the start too: a job that is new has a record from then on.
    pub fn records(&self) -> impl Iterator<Item = (&str, &Record)> {
        self.entries.iter().map(|entry| (entry.job.name.as_str(), &entry.record))
    }
}

impl Entry {
    fn new(identity: &str, job: Job, now: Timestamp, record: impl Fn(&str) -> Option<Record>) -> Self {
        let schedule = job.schedule.fingerprint();
        let settled = match record(&job.name) {
            None => now,
            Some(record) if record.schedule == schedule => record.settled,
            // Not earlier than what is settled: an instant that both schedules have must not come twice.
            Some(record) => settled_by(record.settled, now).max(now),
        };
        let delay = jitter::delay(identity, &job.name, job.jitter);
        let job = Job { schedule: job.schedule.of_job(identity, &job.name), ..job };
        Self { job, delay, record: Record { schedule, settled: writable(settled) }, started: Some(now) }
    }

    fn due(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let job = || self.job.name.clone();
        let settled = self.settled(now);
        if settled != self.record.settled {
            events.push(Event::ClockSetBack { job: job(), settled: self.record.settled });
            self.record.settled = writable(settled);
        }
        let started = self.started.take();
        let Some(Passed { first, latest }) =
            self.job.schedule.latest_between(self.record.settled, earlier(now, self.delay))
        else {
            return events;
        };
        self.record.settled = latest;
        let at = latest.plus(self.delay);
        let missed = now.since(at) > LATE || started.is_some_and(|started| at < started);
        events.push(match (missed, self.job.catch_up) {
            (false, _) => Event::Run { job: job(), scheduled: latest, first, trigger: Trigger::Scheduled },
            (true, true) => Event::Run { job: job(), scheduled: latest, first, trigger: Trigger::CatchUp },
            (true, false) => Event::Missed { job: job(), first, latest },
        });
        events
    }

    /// What counts as settled when the clock shows `now`.
    fn settled(&self, now: Timestamp) -> Timestamp {
        settled_by(self.record.settled, now)
    }
}

fn settled_by(settled: Timestamp, now: Timestamp) -> Timestamp {
    if settled > now.plus(AHEAD) { now } else { settled }
}

/// What is written down has to be read again, whatever the clock shows: years with four digits.
fn writable(time: Timestamp) -> Timestamp {
    time.clamp(Timestamp::new(repeat::FIRST, 0), Timestamp::new(repeat::LAST, 0))
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    let seconds = time.seconds.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
    match time.nanoseconds.checked_sub(by.subsec_nanos()) {
        Some(nanoseconds) => Timestamp::new(seconds, nanoseconds),
        None => {
            Timestamp::new(seconds.saturating_sub(1), time.nanoseconds + 1_000_000_000 - by.subsec_nanos())
        }
    }
}

#[cfg(test)]
#[path = "timetable_tests.rs"]
mod tests;
