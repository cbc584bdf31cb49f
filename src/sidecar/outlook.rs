//! The jobs as they stand, for whoever asks without a sidecar: from the configuration and what lasts on the volume.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::timestamp::Timestamp;
use crate::schedule::Timetable;
use crate::sidecar::options::{JobOptions, SidecarOptions};
use crate::sidecar::record::Record;
use crate::sidecar::state::States;
use crate::sidecar::status::JobStatus;

/// With the next runs that a sidecar would make from now on. What cannot be read counts as never run.
pub fn outlook(options: &SidecarOptions, identity: &str, state_dir: &Path, now: Timestamp) -> Vec<JobStatus> {
    let states = States::below(state_dir);
    let record = |job: &JobOptions| states.load(&job.name).unwrap_or_default();
    let records: BTreeMap<String, Record> =
        options.jobs.iter().map(|job| (job.name.clone(), record(job))).collect();
    let timings = records.iter().filter_map(|(name, record)| Some((name.clone(), record.timing.clone()?)));
    let timed = options.jobs.iter().filter_map(JobOptions::timed).collect();
    let timetable = Timetable::new(identity, timed, &timings.collect(), now);
    options
        .jobs
        .iter()
        .map(|job| {
            let next = timetable.next(&job.name, now).map(|next| next.at);
            JobStatus::new(job, records.get(&job.name).cloned().unwrap_or_default(), next)
        })
        .collect()
}
