//! `volkeep init`: makes the volume ready for the app.

use clap::Args;

use crate::base::timestamp::Timestamp;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::means::one_line;
use crate::cli::render::{describe_brought, json, warn_of_problems};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops::init::InitReport;
use crate::ops::init::decide::Action;
use crate::ops::init::repair::{RepairReport, RepairResult};
use crate::ops::init::steps::StepResult;
use crate::ops::{self, OpsError, Scope};
use crate::sidecar::record::{Figures, Outcome, Run, Trigger};
use crate::sidecar::state::{INIT, States};

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
    let (started, began) = (scope.clock.now(), scope.clock.elapsed());
    let result = context.with_progress("restoring", &scope.progress, || ops::init::run(&scope, &options));
    if !options.dry_run {
        let seconds = scope.clock.elapsed().saturating_sub(began).as_secs_f64();
        note(&scope, &result, started, seconds);
    }
    let report = result?;
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

/// Leaves word for the sidecar, which shows how the last init ended. Nothing rests on it: an init that cannot leave
/// it has done its work all the same. One that only found a healthy volume writes nothing, so as to cost nothing.
fn note(scope: &Scope, result: &Result<InitReport, OpsError>, started: Timestamp, seconds: f64) {
    let failure = match result {
        Ok(report) if report.action == Action::Nothing && report.repair.is_none() => None,
        Ok(_) => Some(None),
        Err(error) => Some(Some(Failure::of_ops(error))),
    };
    let states = States::below(scope.state_dir());
    let Ok(mut record) = states.load(INIT) else { return };
    let Some(failure) =
        failure.or_else(|| record.last.as_ref().is_none_or(|run| !run.outcome.is_success()).then_some(None))
    else {
        return;
    };
    let code = failure.as_ref().map_or(0, |failure| failure.exit.code());
    record.end(Run {
        trigger: Trigger::Start,
        started,
        seconds,
        outcome: match failure.as_ref().map(|failure| failure.exit) {
            None => Outcome::Done,
            Some(Exit::Refused) => Outcome::Refused,
            Some(_) => Outcome::Failed,
        },
        attempts: 1,
        code,
        reason: failure.as_ref().map(one_line),
        hint: failure.and_then(|failure| failure.hint),
        figures: figures(result.as_ref().ok()),
    });
    if let Err(error) = states.save(INIT, &record) {
        tracing::debug!(%error, "how init ended cannot be written down");
    }
}

fn figures(report: Option<&InitReport>) -> Figures {
    let brought = report.and_then(|report| report.brought.as_ref());
    Figures {
        snapshot: brought.map(|brought| brought.snapshot.clone()),
        files: brought.map(|brought| brought.restore.files),
        bytes: brought.map(|brought| brought.restore.bytes),
        problems: brought.map(|brought| brought.problem_count),
        ..Figures::default()
    }
}

fn describe(report: &InitReport) -> String {
    let would = if report.dry_run { "would " } else { "" };
    let done = match &report.action {
        Action::Nothing if report.repair.is_some() => "nothing to restore".to_owned(),
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
    let mut text = match &report.repair {
        Some(repair) => format!("the volume is {}: {}; {done}\n", report.state, describe_repair(repair)),
        None => format!("the volume is {}: {done}\n", report.state),
    };
    if let Some(copy) = report.repair.as_ref().and_then(|repair| repair.copy.as_ref()) {
        text.push_str(&format!("the data before the repair is in {}\n", copy.display()));
    }
    if let Some(brought) = &report.brought {
        text.push_str(&describe_brought(brought));
    }
    for step in &report.steps {
        let done = match step.result {
            StepResult::Done => "done",
            StepResult::Unchanged => "unchanged",
            StepResult::Already => "was done before",
            StepResult::Kept => "left as it is",
            StepResult::NotTold => "failed, which stops nothing",
            StepResult::Noted if report.dry_run => {
                "would be recorded as done, since there is nothing to upgrade"
            }
            StepResult::Noted => "recorded as done, since there is nothing to upgrade",
            StepResult::Skipped => "left out",
            StepResult::Due => "would be done",
        };
        let note = step.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let label = match step.name.starts_with(&format!("{}-", step.kind)) {
            true => step.name.clone(),
            false => format!("{} ({})", step.name, step.kind),
        };
        text.push_str(&format!("step {label}: {done}{note}\n"));
    }
    text
}

fn describe_repair(repair: &RepairReport) -> String {
    let command = &repair.command;
    let reason = repair.reason.as_deref().unwrap_or_default();
    match repair.result {
        RepairResult::Repaired => format!("repaired by `{command}`"),
        RepairResult::Failed => format!("the repair by `{command}` did not help ({reason})"),
        RepairResult::NotRun => format!("the repair by `{command}` was not tried ({reason})"),
        RepairResult::Due => format!("would try the repair by `{command}` first, and if that does not help"),
    }
}
