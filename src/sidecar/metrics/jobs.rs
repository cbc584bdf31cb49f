//! The metrics of each job, by its name: runs, times, outcomes, and the figures of its last success.

use crate::sidecar::metrics::{Family, Sample, flag, number, seconds};
use crate::sidecar::record::{Figures, Outcome, Run};
use crate::sidecar::status::{JobStatus, Status};

pub(super) static FAMILIES: &[Family] = &[
    Family::gauge("volkeep_job_info", "What the job does, and when: always 1.", |status| {
        let described = status.jobs.iter().map(|job| {
            let mut labels = label(job);
            labels.push(("kind", job.kind.to_owned()));
            labels.push(("schedule", job.schedule.clone().unwrap_or_default()));
            labels.push(("time_zone", job.time_zone.clone().unwrap_or_default()));
            Sample::new(labels, 1.0)
        });
        described.collect()
    }),
    Family::counter("volkeep_job_runs", "Runs that ended, whatever way.", |status| {
        of_each(status, |job| Some(number(job.record.runs)))
    }),
    Family::counter("volkeep_job_failures", "Runs that were no success.", |status| {
        of_each(status, |job| Some(number(job.record.failures)))
    }),
    Family::counter(
        "volkeep_job_skipped",
        "Instants passed over because the run before had not ended.",
        |status| of_each(status, |job| Some(number(job.record.skipped))),
    ),
    Family::gauge(
        "volkeep_job_consecutive_failures",
        "Runs without success since the last success.",
        |status| of_each(status, |job| Some(number(job.record.consecutive_failures))),
    ),
    Family::gauge("volkeep_job_running", "Whether the job runs now.", |status| {
        of_each(status, |job| Some(flag(job.running.is_some())))
    }),
    Family::gauge(
        "volkeep_job_running_since_timestamp_seconds",
        "When the run that is under way began.",
        |status| of_each(status, |job| Some(seconds(job.running.as_ref()?.started))),
    ),
    Family::gauge("volkeep_job_queued", "Whether a run waits for another run to end.", |status| {
        of_each(status, |job| Some(flag(job.queued)))
    }),
    Family::gauge(
        "volkeep_job_next_run_timestamp_seconds",
        "When the job is due next, jitter included.",
        |status| of_each(status, |job| Some(seconds(job.next?))),
    ),
    Family::gauge(
        "volkeep_job_max_age_seconds",
        "How old the last success may become before something is wrong.",
        |status| of_each(status, |job| Some(number(job.max_age_seconds?))),
    ),
    Family::gauge(
        "volkeep_job_unsaved",
        "Whether the record of the job could not be written to the volume.",
        |status| of_each(status, |job| Some(flag(job.unsaved.is_some()))),
    ),
    Family::gauge("volkeep_job_frozen", "Whether a freeze of the job has not been undone.", |status| {
        of_each(status, |job| Some(flag(status.frozen.iter().any(|frozen| frozen.job == job.name))))
    }),
    Family::gauge(
        "volkeep_job_frozen_since_timestamp_seconds",
        "Since when the app is held by a freeze.",
        |status| {
            let frozen = status.frozen.iter();
            frozen
                .map(|frozen| Sample::new(vec![("job_name", frozen.job.clone())], seconds(frozen.since)))
                .collect()
        },
    ),
    Family::gauge("volkeep_job_last_run_timestamp_seconds", "When the last run began.", |status| {
        of_last(status, |run| Some(seconds(run.started)))
    }),
    Family::gauge("volkeep_job_last_run_duration_seconds", "How long the last run took.", |status| {
        of_last(status, |run| Some(run.seconds))
    }),
    Family::gauge(
        "volkeep_job_last_run_attempts",
        "Attempts of the last run: 1 when there was no retry.",
        |status| of_last(status, |run| Some(f64::from(run.attempts))),
    ),
    Family::gauge(
        "volkeep_job_last_run_exit_code",
        "The exit code of the last run, as the commands have them.",
        |status| of_last(status, |run| Some(f64::from(run.code))),
    ),
    Family::gauge(
        "volkeep_job_last_run_outcome",
        "How the last run ended: 1 for one outcome, 0 for the others.",
        |status| {
            let mut samples = Vec::new();
            for job in &status.jobs {
                let Some(run) = &job.record.last else { continue };
                for outcome in Outcome::ALL {
                    let mut labels = label(job);
                    labels.push(("outcome", outcome.name().to_owned()));
                    samples.push(Sample::new(labels, flag(outcome == run.outcome)));
                }
            }
            samples
        },
    ),
    Family::gauge(
        "volkeep_job_last_run_findings",
        "Damaged objects or files that the last run found.",
        |status| of_last(status, |run| Some(number(run.figures.findings?))),
    ),
    Family::gauge(
        "volkeep_job_last_success_timestamp_seconds",
        "When the last run began that went well.",
        |status| of_success(status, |run| Some(seconds(run.started))),
    ),
    Family::gauge(
        "volkeep_job_last_success_duration_seconds",
        "How long the last run took that went well.",
        |status| of_success(status, |run| Some(run.seconds)),
    ),
    Family::gauge(
        "volkeep_job_last_success_frozen_seconds",
        "How long that run held the app by a freeze.",
        |status| of_success(status, |run| run.figures.frozen_seconds),
    ),
    Family::gauge("volkeep_backup_files", "Files in the last backup.", |status| {
        figure(status, |figures| figures.files)
    }),
    Family::gauge("volkeep_backup_bytes", "Bytes in the last backup.", |status| {
        figure(status, |figures| figures.bytes)
    }),
    Family::gauge(
        "volkeep_backup_read_bytes",
        "Bytes that the last backup read, since they were new.",
        |status| figure(status, |figures| figures.read_bytes),
    ),
    Family::gauge(
        "volkeep_backup_stored_bytes",
        "Bytes that the last backup wrote to all repositories.",
        |status| figure(status, |figures| figures.stored_bytes),
    ),
    Family::gauge(
        "volkeep_backup_problems",
        "Files that the last backup could not store as they are.",
        |status| figure(status, |figures| figures.problems),
    ),
    Family::gauge(
        "volkeep_scrub_files",
        "Files that the last scrub read and compared, however it ended.",
        |status| of_last(status, |run| run.figures.scrubbed_files.map(number)),
    ),
    Family::gauge("volkeep_scrub_bytes", "Bytes that it read and compared.", |status| {
        of_last(status, |run| run.figures.scrubbed_bytes.map(number))
    }),
    Family::gauge(
        "volkeep_scrub_passed_over_files",
        "Files that it could not judge, since they were changed after the last snapshot.",
        |status| of_last(status, |run| run.figures.passed_over_files.map(number)),
    ),
    Family::gauge("volkeep_scrub_repaired_files", "Damaged files that it replaced.", |status| {
        of_last(status, |run| run.figures.repaired.map(number))
    }),
    Family::gauge("volkeep_prune_forgotten_snapshots", "Snapshots that the last prune forgot.", |status| {
        figure(status, |figures| figures.forgotten_snapshots)
    }),
    Family::gauge("volkeep_prune_deleted_bytes", "Bytes that the last prune deleted.", |status| {
        figure(status, |figures| figures.deleted_bytes)
    }),
];

fn label(job: &JobStatus) -> Vec<(&'static str, String)> {
    vec![("job_name", job.name.clone())]
}

fn of_each(status: &Status, value: impl Fn(&JobStatus) -> Option<f64>) -> Vec<Sample> {
    status.jobs.iter().filter_map(|job| Some(Sample::new(label(job), value(job)?))).collect()
}

fn of_last(status: &Status, value: impl Fn(&Run) -> Option<f64>) -> Vec<Sample> {
    of_each(status, |job| value(job.record.last.as_ref()?))
}

fn of_success(status: &Status, value: impl Fn(&Run) -> Option<f64>) -> Vec<Sample> {
    of_each(status, |job| value(job.record.last_success.as_ref()?))
}

fn figure(status: &Status, value: impl Fn(&Figures) -> Option<u64>) -> Vec<Sample> {
    of_success(status, |run| value(&run.figures).map(number))
}
