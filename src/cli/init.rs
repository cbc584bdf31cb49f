//! `volkeep init`: makes the volume ready for the app.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{describe_brought, json, warn_of_problems};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::init::InitReport;
use crate::ops::init::decide::Action;

/// Make the volume ready for the app: restore it if it is empty, check it if it is not
///
/// Run it before the app starts. A healthy volume costs milliseconds. Data on the volume is never deleted:
/// what a restore replaces is moved to quarantine.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::BOTH)?;
    let options = config.init_options(arguments.dry_run);
    let report = context.with_progress("restoring", &scope.progress, || ops::init::run(&scope, &options))?;
    if arguments.json {
        context.print(&json(&report)?)?;
    } else {
        context.print(&describe(&report))?;
    }
    if let Some(brought) = &report.brought {
        warn_of_problems(&brought.problems, brought.problem_count);
    }
    Ok(Exit::Done)
}

fn describe(report: &InitReport) -> String {
    let would = if report.dry_run { "would " } else { "" };
    let done = match &report.action {
        Action::Nothing if report.repaired => "repaired; nothing to restore".to_owned(),
        Action::Nothing => "nothing to do".to_owned(),
        Action::Keep => format!("{would}keep the data as it is"),
        Action::Restore => format!("{would}restore the newest snapshot"),
        Action::Resume { snapshot } => format!("{would}go on restoring {snapshot}"),
        Action::FinishCommit { snapshot } => format!("{would}finish making {snapshot} live"),
        Action::Unpack => format!("{would}unpack the first content"),
        Action::StartEmpty => format!("{would}start with an empty volume"),
        Action::CreateRepository { unpack: false } => format!("{would}make the repository and start empty"),
        Action::CreateRepository { unpack: true } => {
            format!("{would}make the repository and unpack the first content")
        }
        Action::Adopt => format!("{would}take the data for ours"),
        Action::Fail { why } => format!("{would}stop: {why:?}"),
    };
    let mut text = format!("the volume is {}: {done}\n", report.state);
    if let Some(brought) = &report.brought {
        text.push_str(&describe_brought(brought));
    }
    text
}
