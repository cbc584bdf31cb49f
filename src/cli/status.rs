//! `volkeep status`: says what state the volume is in, and changes nothing.

use clap::Args;
use serde::Serialize;

use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::means::sidecar_options;
use crate::cli::render::{json, plural, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::status::{LeaseOf, Status};
use crate::sidecar::outlook::outlook;
use crate::sidecar::status::JobStatus;
use crate::volume::{Holder, Origin};

/// Say what state the volume is in, and change nothing
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::VOLUME)?;
    let now = scope.clock.now();
    let jobs = outlook(&sidecar_options(&config)?, scope.volume.identity(), scope.state_dir(), now);
    let volume = ops::status::run(&scope, &config.status_options())?;
    let text = match arguments.json {
        true => json(&Shown { volume, jobs })?,
        false => describe(&volume) + &describe_jobs(&jobs),
    };
    context.print(&text)?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    volume: Status,
    jobs: Vec<JobStatus>,
}

/// Those that ever did something, or will.
fn describe_jobs(jobs: &[JobStatus]) -> String {
    let mut text = String::new();
    for job in jobs.iter().filter(|job| job.schedule.is_some() || job.record.last.is_some()) {
        let mut parts = Vec::new();
        if let Some(begun) = &job.running {
            parts.push(format!("running since {}", begun.started.to_rfc3339()));
        }
        if let Some(run) = &job.record.last {
            parts.push(format!("last {} {}", run.outcome.name(), run.started.to_rfc3339()));
        }
        if let (Some(next), Some(schedule)) = (job.next, &job.schedule) {
            parts.push(format!("next {} ({schedule})", next.to_rfc3339()));
        }
        text.push_str(&format!("  job {:<8} {}\n", job.name, parts.join(", ")));
        let last = job.record.last.as_ref().filter(|run| !run.outcome.is_success());
        if let Some(reason) = last.and_then(|run| run.reason.as_deref()) {
            text.push_str(&format!("  {:<12} {}\n", "", printable(reason)));
        }
        if let Some(hint) = last.and_then(|run| run.hint.as_deref()) {
            text.push_str(&format!("  {:<12} hint: {hint}\n", ""));
        }
    }
    text
}

fn describe(status: &Status) -> String {
    let mut text = format!("{}  {}\n", status.state, status.volume);
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<12} {value}\n"));
    line("identity", status.identity.clone());
    if let Some(phase) = &status.phase {
        line("phase", phase.name().to_owned());
    }
    match &status.origin {
        Some(Origin::Snapshot { id, repository, time }) => {
            line("origin", format!("{id} from {repository}, restored {}", time.to_rfc3339()));
        }
        Some(Origin::Empty) => line("origin", "started empty".to_owned()),
        Some(Origin::Adopted) => line("origin", "adopted".to_owned()),
        None => {}
    }
    match &status.last_backup {
        Some(backup) => line(
            "last backup",
            format!(
                "{} ({}, {})",
                backup.snapshot,
                plural(backup.files, "file", "files"),
                ByteSize(backup.bytes)
            ),
        ),
        None => line("last backup", "none by this volume".to_owned()),
    }
    if let Some(drill) = &status.drill {
        for proof in &drill.proved {
            let when = proof.time.to_rfc3339();
            line("proved", format!("{} of {}, {when}", proof.snapshot, proof.repository));
        }
        if let Some(last) = drill.last.as_ref().filter(|last| !last.proved) {
            let reason = last.reason.as_deref().unwrap_or("not proved");
            line("last drill", format!("failed {}: {}", last.time.to_rfc3339(), printable(reason)));
        }
    }
    if let Some(newer) = &status.newer {
        line("newer", format!("{}, written by {}", newer.id, printable(&newer.host)));
    }
    for LeaseOf { repository, lease, ours } in &status.leases {
        let who = if *ours { "this volume".to_owned() } else { format!("volume {}", lease.volume_id) };
        let since = lease.since.to_rfc3339();
        let until = lease.until.map(|until| format!(", until {}", until.to_rfc3339())).unwrap_or_default();
        let host = printable(&lease.host);
        line("lease", format!("{repository}: {who} on {host}, since {since}{until} (epoch {})", lease.epoch));
    }
    if let Some(damage) = &status.damage {
        let repair = damage.repair.map(|time| format!(", repair begun {}", time.to_rfc3339()));
        let found = damage.found.to_rfc3339();
        line("damage", format!("found {found}{}; the full checks are due", repair.unwrap_or_default()));
    }
    for finding in &status.findings {
        line("damage", format!("{}: {}", finding.check, finding.message));
    }
    for unfit in &status.unfit {
        line("unfit", format!("{}: {}", unfit.check, unfit.message));
    }
    if let Some(holder) = &status.sidecar {
        line("sidecar", Holder::describe(Some(holder)));
    }
    for kept in &status.quarantine {
        line("quarantine", format!("{} ({})", kept.path, kept.reason.as_deref().unwrap_or("no note")));
    }
    text
}
