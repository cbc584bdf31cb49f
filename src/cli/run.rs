//! `volkeep run`: one run of a job now, by the sidecar if there is one.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::means::means;
use crate::cli::render::json;
use crate::sidecar::once::{self, run_once};
use crate::sidecar::record::{Outcome, Run};
use crate::sidecar::web::ask::{AskError, ask_to_run};

/// Run a job now, with its hooks, and wait for its end
///
/// A running sidecar is asked to do it; without one it is done here. The exit code is that of the run.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// One of `jobs`, such as backup, prune, check, verify, drill, scrub
    pub job: String,
    /// Print how it ended as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let means = means(context)?;
    let Some(job) = means.options.job(&arguments.job) else {
        let known: Vec<&str> = means.options.jobs.iter().map(|job| job.name.as_str()).collect();
        let message = format!("there is no job `{}`; there are: {}", arguments.job, known.join(", "));
        return Err(Failure::new(Exit::Usage, message));
    };
    let run = match ask_to_run(means.scope.state_dir(), &arguments.job) {
        Ok(run) => run,
        Err(AskError::NotListening) => {
            let holder = means.scope.volume.sidecar_running().map_err(crate::ops::OpsError::from)?;
            // Another run like this one is waited for.
            if let Some(holder) = holder.filter(|holder| holder.mode != once::MODE) {
                let message = format!("the sidecar in {} does not listen on the volume", holder.pod);
                return Err(Failure::new(Exit::InUse, message)
                    .hint("ask it over http: `POST /jobs/<name>/run` with `sidecar.token`"));
            }
            run_once(&means, job, &context.cancel)?
        }
        Err(error) => return Err(Failure::of(Exit::Failed, &error)),
    };
    if arguments.json {
        context.print(&json(&run)?)?;
    } else if run.outcome.is_success() {
        context.print(&describe(&arguments.job, &run))?;
    }
    let exit = Exit::ALL.into_iter().find(|exit| exit.code() == run.code).unwrap_or(Exit::Failed);
    match run.outcome {
        Outcome::Done | Outcome::Partial => Ok(exit),
        outcome => {
            let reason = run.reason.unwrap_or_else(|| outcome.name().to_owned());
            let failure = Failure::new(exit, format!("{}: {reason}", arguments.job));
            Err(match run.hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

fn describe(job: &str, run: &Run) -> String {
    let mut text = format!("{job}: {} in {:.1} s", run.outcome.name(), run.seconds);
    if let Some(snapshot) = &run.figures.snapshot {
        text.push_str(&format!(", snapshot {snapshot}"));
    }
    if let Some(reason) = &run.reason {
        text.push_str(&format!("\n{reason}"));
    }
    text.push('\n');
    text
}
