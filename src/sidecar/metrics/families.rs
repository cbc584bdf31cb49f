//! The metrics of the sidecar as a whole: itself, the volume, leases, repositories, drills, init,
//! configuration, notices.

use crate::ops::drill::record::Proof;
use crate::sidecar::metrics::{Family, Sample, flag, number, seconds};
use crate::sidecar::record::{Figures, Outcome};
use crate::sidecar::status::{LeaseStatus, Stage, Status};

/// What `volkeep status` can say of a volume.
const STATES: [&str; 8] =
    ["empty", "healthy", "dirty", "interrupted", "corrupt", "foreign", "stale", "mismatch"];

pub(super) static FAMILIES: &[Family] = &[
    Family::gauge("volkeep_build_info", "The version of the program, always 1.", |status| {
        vec![Sample::new(vec![("version", status.version.to_owned())], 1.0)]
    }),
    Family::gauge(
        "volkeep_volume_info",
        "The volume and the identity of what lives on it, always 1.",
        |status| {
            let labels = vec![("identity", status.identity.clone()), ("path", status.volume.clone())];
            vec![Sample::new(labels, 1.0)]
        },
    ),
    Family::gauge("volkeep_ready", "Whether nothing keeps the sidecar from being ready.", |status| {
        Sample::alone(flag(status.not_ready.is_empty()))
    }),
    Family::gauge("volkeep_sidecar_start_timestamp_seconds", "When this sidecar started.", |status| {
        Sample::alone(seconds(status.started))
    }),
    Family::gauge(
        "volkeep_sidecar_stage",
        "What the sidecar is at: 1 for one stage, 0 for the others.",
        |status| Stage::ALL.iter().map(|stage| one("stage", stage.name(), *stage == status.stage)).collect(),
    ),
    Family::gauge(
        "volkeep_volume_state",
        "The state of the volume: 1 for one state, 0 for the others.",
        |status| {
            let strange = (!STATES.contains(&status.state)).then_some(&status.state);
            STATES.iter().chain(strange).map(|state| one("state", state, *state == status.state)).collect()
        },
    ),
    Family::gauge(
        "volkeep_lease_held",
        "Whether this sidecar has the right to write to the repository.",
        |status| status.leases.iter().map(|lease| of_repository(lease, flag(lease.held))).collect(),
    ),
    Family::gauge("volkeep_lease_epoch", "The number of the lease.", |status| {
        let epoch = |lease: &LeaseStatus| Some(of_repository(lease, number(lease.epoch?)));
        status.leases.iter().filter_map(epoch).collect()
    }),
    Family::gauge(
        "volkeep_lease_seen_timestamp_seconds",
        "When the lease was last known for sure.",
        |status| {
            let seen = |lease: &LeaseStatus| Some(of_repository(lease, seconds(lease.seen?)));
            status.leases.iter().filter_map(seen).collect()
        },
    ),
    Family::gauge(
        "volkeep_repository_bytes",
        "All that the first repository holds, as the last run that counted it found.",
        |status| newest(status, |figures| figures.repository_bytes),
    ),
    Family::gauge(
        "volkeep_repository_snapshots",
        "Snapshots in the first repository, as the last run that counted them found.",
        |status| newest(status, |figures| figures.repository_snapshots),
    ),
    Family::gauge(
        "volkeep_drill_last_success_timestamp_seconds",
        "When the last drill began that went well, by a job or by hand.",
        |status| of_drills(status, |proof| seconds(proof.time)),
    ),
    Family::gauge("volkeep_drill_last_success_duration_seconds", "How long that drill took.", |status| {
        of_drills(status, |proof| proof.seconds)
    }),
    Family::gauge("volkeep_drill_last_success_bytes", "Bytes that it brought back and compared.", |status| {
        of_drills(status, |proof| number(proof.bytes))
    }),
    Family::gauge(
        "volkeep_drill_snapshot_timestamp_seconds",
        "When the snapshot was made that it brought back.",
        |status| of_drills(status, |proof| seconds(proof.snapshot_time)),
    ),
    Family::gauge("volkeep_init_last_run_timestamp_seconds", "When the last init began.", |status| {
        status.init.last.iter().map(|run| Sample::new(Vec::new(), seconds(run.started))).collect()
    }),
    Family::gauge("volkeep_init_last_run_duration_seconds", "How long the last init took.", |status| {
        status.init.last.iter().map(|run| Sample::new(Vec::new(), run.seconds)).collect()
    }),
    Family::gauge(
        "volkeep_init_last_run_outcome",
        "How the last init ended: 1 for one outcome, 0 for the others.",
        |status| {
            let Some(run) = &status.init.last else { return Vec::new() };
            Outcome::ALL
                .iter()
                .map(|outcome| one("outcome", outcome.name(), *outcome == run.outcome))
                .collect()
        },
    ),
    Family::gauge(
        "volkeep_init_last_success_timestamp_seconds",
        "When the last init began that went well.",
        |status| {
            status.init.last_success.iter().map(|run| Sample::new(Vec::new(), seconds(run.started))).collect()
        },
    ),
    Family::gauge(
        "volkeep_configuration_accepted",
        "Whether the newest configuration is in force; 0 when it was refused and the one before goes on.",
        |status| Sample::alone(flag(status.refused_configuration.is_none())),
    ),
    Family::gauge(
        "volkeep_configuration_timestamp_seconds",
        "When the configuration in force was read.",
        |status| Sample::alone(seconds(status.configured)),
    ),
    Family::counter("volkeep_notices_sent", "Notices that arrived.", |status| {
        Sample::alone(number(status.notices.sent))
    }),
    Family::counter("volkeep_notices_failed", "Notices that were given up after some attempts.", |status| {
        Sample::alone(number(status.notices.failed))
    }),
    Family::counter(
        "volkeep_notices_dropped",
        "Notices that were not tried, because too many waited.",
        |status| Sample::alone(number(status.notices.dropped)),
    ),
];

fn one(label: &'static str, name: &str, is: bool) -> Sample {
    Sample::new(vec![(label, name.to_owned())], flag(is))
}

fn of_repository(lease: &LeaseStatus, value: f64) -> Sample {
    Sample::new(vec![("repository", lease.repository.clone())], value)
}

fn of_drills(status: &Status, value: fn(&Proof) -> f64) -> Vec<Sample> {
    let proofs = status.drill.iter().flat_map(|drill| &drill.proved);
    proofs.map(|proof| Sample::new(vec![("repository", proof.repository.clone())], value(proof))).collect()
}

/// Of the run that began last, among those that know the figure.
fn newest(status: &Status, figure: fn(&Figures) -> Option<u64>) -> Vec<Sample> {
    let runs = status.jobs.iter().filter_map(|job| job.record.last_success.as_ref());
    let known = runs.filter_map(|run| Some((run.started, figure(&run.figures)?)));
    known
        .max_by_key(|(started, _)| *started)
        .map(|(_, value)| Sample::alone(number(value)))
        .unwrap_or_default()
}
