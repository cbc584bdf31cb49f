//! One run of a job without a sidecar: the same hooks, locks and records.

use crate::base::cancel::Cancel;
use crate::ops::OpsError;
use crate::sidecar::means::Means;
use crate::sidecar::opening;
use crate::sidecar::options::JobOptions;
use crate::sidecar::record::{Begun, Record, Run, Trigger};
use crate::sidecar::runner::{self, Orders};
use crate::sidecar::state::States;

/// How the lock names who holds it.
pub const MODE: &str = "run";

/// Blocks until the run has ended; `cancel` ends it in order. Another run like this one is waited for, as long as
/// the volume's locks are.
pub fn run_once(means: &Means, job: &JobOptions, cancel: &Cancel) -> Result<Run, OpsError> {
    let scope = &means.scope;
    scope.volume.prepare()?;
    // As if a sidecar ran: another run, or a sidecar that starts meanwhile, would take what this one freezes for left
    // behind, and thaw it under the backup.
    let _alone = scope.sidecar_lock(MODE)?;
    // Nobody else will: there is no sidecar.
    opening::thaw_left_behind(scope);
    let states = States::below(scope.state_dir());
    let mut record = opening::load(scope, &states, &job.name)?;
    let begun = Begun { trigger: Trigger::Request, started: scope.clock.now() };
    record.running = Some(begun.clone());
    let save = |record: &Record| {
        if let Err(error) = states.save(&job.name, record) {
            tracing::error!(%error, job = job.name, "the state of this job cannot be written");
        }
    };
    save(&record);
    let turn = record.runs;
    let run = runner::run(means, &Orders { job: job.clone(), begun, turn, cancel: cancel.clone() });
    record.end(run.clone());
    save(&record);
    Ok(run)
}
