//! `volkeep drill`: brings the newest snapshot back to prove that it can be.

use std::path::PathBuf;

use clap::Args;

use crate::base::units::{ByteSize, Span};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{json, plural, printable, warn_of_problems};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::drill::{DrillOptions, Drilled};

/// Bring the newest snapshot back beside the volume, to prove that it can be
///
/// It is restored into scratch space, every byte is compared with the manifest, and the checks of `init` are run on it.
/// Then it is removed. The volume is left alone.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Use this directory, which has to exist, for the scratch space [default: drill.directory, or the state directory]
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Leave what came back where it is, until the next drill
    #[arg(long)]
    pub keep: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::BOTH)?;
    let configured = config.drill_options();
    let target = arguments.target.as_deref().map(std::path::absolute).transpose();
    let target = target.map_err(|error| Failure::of(Exit::Usage, &error))?;
    let options = DrillOptions {
        directory: target.or(configured.directory),
        keep: arguments.keep,
        each: configured.each,
        checks: configured.checks,
    };
    let (drilled, failure) =
        context.with_progress("drilling", &scope.progress, || ops::drill::run(&scope, &options))?;
    if arguments.json {
        context.print(&json(&drilled)?)?;
    } else {
        for one in &drilled {
            context.print(&describe(one))?;
        }
    }
    for one in &drilled {
        warn_of_problems(&one.problems, one.problem_count);
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None if drilled.iter().any(|one| one.problem_count > 0) => Ok(Exit::Partial),
        None => Ok(Exit::Done),
    }
}

fn describe(drilled: &Drilled) -> String {
    let proof = &drilled.proof;
    let took = Span(std::time::Duration::from_millis(millis(proof.seconds)));
    let mut text = format!(
        "{} of {} came back whole in {took}: {}, {}, {} compared, {}\n",
        proof.snapshot,
        proof.repository,
        plural(proof.entries, "entry", "entries"),
        plural(proof.files, "file", "files"),
        ByteSize(proof.bytes),
        plural(proof.checks, "check passed", "checks passed"),
    );
    for undecided in &drilled.undecided {
        text.push_str(&format!("could not tell: {}\n", printable(undecided)));
    }
    if let Some(kept) = &drilled.kept {
        text.push_str(&format!("kept until the next drill: {}\n", kept.display()));
    }
    text
}

fn millis(seconds: f64) -> u64 {
    let took = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
