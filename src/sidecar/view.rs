//! Makes what is shown out of what the loop holds, and says whether the sidecar is ready. Changes nothing.

use std::time::Duration;

use crate::base::timestamp::Timestamp;
use crate::sidecar::engine::{Engine, Slot};
use crate::sidecar::means::Means;
use crate::sidecar::options::{JobOptions, SidecarOptions, Work};
use crate::sidecar::record::Record;
use crate::sidecar::status::{JobStatus, NoticeCounts, Stage, Status};

/// A backup takes its time, and its instant may be looked at late.
const SLACK: Duration = Duration::from_secs(600);

pub fn status(engine: &Engine, now: Timestamp) -> Status {
    let (scope, options) = (&engine.means.scope, &engine.means.options);
    let look = engine.lookout.last.as_ref();
    let nothing = Slot::default();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        identity: scope.volume.identity().to_owned(),
        volume: scope.volume.path().display().to_string(),
        started: engine.started,
        stage: engine.stage,
        not_ready: not_ready(engine, now),
        state: look.and_then(|look| look.state.as_ref().ok()).copied().unwrap_or("unknown"),
        leases: engine.tenure.leases().to_vec(),
        jobs: options
            .jobs
            .iter()
            .map(|job| job_status(engine, job, engine.slots.get(&job.name).unwrap_or(&nothing), now))
            .collect(),
        init: look.map_or_else(Record::default, |look| look.init.clone()),
        drill: look.and_then(|look| look.drill.clone()),
        frozen: look.map(|look| look.frozen.clone()).unwrap_or_default(),
        configured: engine.means.configured,
        refused_configuration: engine.refused.clone(),
        notices: engine.notifier.counts(),
    }
}

/// Before there is anything to see.
pub fn nothing(means: &Means, now: Timestamp) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION"),
        identity: means.scope.volume.identity().to_owned(),
        volume: means.scope.volume.path().display().to_string(),
        started: now,
        stage: Stage::StandingBy,
        not_ready: vec!["it has just been started".to_owned()],
        state: "unknown",
        leases: Vec::new(),
        jobs: Vec::new(),
        init: Record::default(),
        drill: None,
        frozen: Vec::new(),
        configured: means.configured,
        refused_configuration: None,
        notices: NoticeCounts::default(),
    }
}

fn job_status(engine: &Engine, job: &JobOptions, slot: &Slot, now: Timestamp) -> JobStatus {
    let next = engine.timetable.next(&job.name, now).map(|next| next.at);
    JobStatus {
        queued: engine.desk.is_waiting(&job.name),
        max_age_seconds: max_age(engine, job, slot),
        unsaved: slot.unsaved.clone(),
        ..JobStatus::new(job, slot.record.clone(), next)
    }
}

const STANDING_BY: &str = "another sidecar works on the volume, or nothing has made it ready yet";

fn not_ready(engine: &Engine, now: Timestamp) -> Vec<String> {
    match engine.stage {
        Stage::StandingBy => return vec![STANDING_BY.to_owned()],
        Stage::Draining => return vec!["the sidecar is ending".to_owned()],
        Stage::Working => {}
    }
    let mut reasons = Vec::new();
    match &engine.lookout.last {
        _ if engine.lookout.volume_hangs() => reasons.push("the volume does not answer".to_owned()),
        None => reasons.push("the volume has not been looked at yet".to_owned()),
        Some(look) => match &look.state {
            // Whoever works beside the app has the volume marked as in use: that is what dirty means.
            Ok("healthy" | "dirty") => {}
            Ok(state) => reasons.push(format!("the volume is {state}")),
            Err(reason) => reasons.push(format!("the state of the volume cannot be told: {reason}")),
        },
    }
    reasons.extend(engine.tenure.troubles(now, engine.is_writing_well()));
    reasons.extend(engine.means.options.jobs.iter().filter_map(|job| late_backup(engine, job, now)));
    reasons
}

/// The age of the last backup against what its schedule promises, or what is demanded.
fn late_backup(engine: &Engine, job: &JobOptions, now: Timestamp) -> Option<String> {
    if !matches!(job.work, Work::Backup) {
        return None;
    }
    let slot = engine.slots.get(&job.name)?;
    // One that is under way is about to mend it, unless those before it did not, or it takes as long as a late one may.
    if let Some(begun) = slot.record.running.as_ref().filter(|_| slot.is_promising())
        && now <= due_by(&engine.means.options, job, begun.started)?
    {
        return None;
    }
    let last = slot.record.last_success.as_ref().map(|run| run.started);
    let looked = engine.lookout.last.as_ref().and_then(|look| look.last_backup);
    // One that was made by hand counts as well; before the first one the sidecar's own start does.
    let since = last.max(looked).unwrap_or(engine.started);
    let due = due_by(&engine.means.options, job, since)?;
    let age = now.since(since).as_secs();
    (now > due).then(|| format!("the last backup is {age} s old, and should have had a successor"))
}

/// How old the last success may become, in seconds.
fn max_age(engine: &Engine, job: &JobOptions, slot: &Slot) -> Option<u64> {
    let since = slot.record.last_success.as_ref().map_or(engine.started, |run| run.started);
    Some(due_by(&engine.means.options, job, since)?.since(since).as_secs())
}

/// Until when a success at `since` has to be followed by the next: `max_backup_age`, or the second instant after it.
pub fn due_by(options: &SidecarOptions, job: &JobOptions, since: Timestamp) -> Option<Timestamp> {
    if let (Some(age), Work::Backup) = (options.max_backup_age, &job.work) {
        return Some(since.plus(age));
    }
    let schedule = job.schedule.as_ref()?;
    let second = schedule.next_after(schedule.next_after(since)?)?;
    Some(second.plus(job.jitter).plus(SLACK))
}
