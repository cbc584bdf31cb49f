//! `volkeep sidecar`: backups and upkeep beside the app, until it is told to end.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::means::{means, reload};
use crate::sidecar::engine::End;
use crate::sidecar::{self, SidecarError};

/// Work beside the app: make backups and look after the repository by schedule
///
/// Run it for as long as the app runs. TERM ends it in order, HUP has it read its configuration again. What it does
/// and when is set by `jobs`, or by VOLKEEP_SCHEDULE alone. `volkeep status` shows the next runs.
#[derive(Clone, Debug, Args)]
pub struct Arguments {}

pub fn run(_: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let means = means(context)?;
    if means.options.jobs.iter().all(|job| job.schedule.is_none()) {
        tracing::warn!("no job has a schedule: nothing is done until it is asked for");
    }
    match sidecar::run(means, reload(context), &context.cancel)? {
        End::InOrder => Ok(Exit::Done),
        End::GaveUp => Err(Failure::new(Exit::Failed, "the time to end was over before all work had ended")
            .hint("nothing is half-committed; the next run goes on. `sidecar.grace` gives more time")),
    }
}

impl From<SidecarError> for Failure {
    fn from(error: SidecarError) -> Self {
        match error {
            SidecarError::Ops(error) => error.into(),
            SidecarError::Listen { .. } => {
                Self::of(Exit::Configuration, &error).hint("`sidecar.listen` says where; empty is nowhere")
            }
            SidecarError::Alarm(_) | SidecarError::Start { .. } => Self::of(Exit::Failed, &error),
        }
    }
}
