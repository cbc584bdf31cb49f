//! `volkeep repository copy`: brings snapshots from one repository to another.

use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::base::clock::{Clock, SystemClock};
use crate::base::progress::Progress;
use crate::base::units::ByteSize;
use crate::cli::arguments::{Address, wanted};
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{json, plural};
use crate::config::Needs;
use crate::config::repository_url::RepositoryUrl;
use crate::ops;
use crate::ops::OpsError;
use crate::ops::copy::{Copied, CopyMeans, CopyOptions, Selection};
use crate::repository::{CopyPlan, CopyReport, Finding, RepositoryError, route};

/// Copy the snapshots that a repository lacks from another one, oldest first
///
/// Only what is new is read and stored, so it can be repeated. Copies keep time, volume and host of the original.
/// Interrupted at any moment, it is finished by running it again. An address that is configured is used as it is
/// configured, another one with the defaults.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The repository with the snapshots, such as file:///backups/wiki
    #[arg(value_name = "FROM", value_parser = Address)]
    pub from: RepositoryUrl,
    /// The repository that gets them
    #[arg(value_name = "TO", value_parser = Address)]
    pub to: RepositoryUrl,

    /// Copy only this one: `latest`, or the beginning of its name; may be given several times
    #[arg(long = "snapshot", value_name = "SNAPSHOT", conflicts_with = "last", value_parser = NonEmptyStringValueParser::new())]
    pub snapshots: Vec<String>,
    /// Copy only so many of the newest
    #[arg(long, value_name = "NUMBER")]
    pub last: Option<usize>,
    /// Make the target if it is absent, with the identity of the source
    #[arg(long)]
    pub create: bool,
    /// Say what would be copied, and copy nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let config = context.load(Needs::NOTHING)?.config;
    let options = [&arguments.from, &arguments.to].map(|url| {
        let mut options = config.repository_at(url);
        options.store.cancel = context.cancel.clone();
        options
    });
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let [from, to] = &options;
    let route = route(from, to, &clock).map_err(OpsError::from)?;
    let means = CopyMeans {
        workers: config.workers(),
        progress: Progress::default(),
        cancel: context.cancel.clone(),
    };
    let options = CopyOptions {
        selection: match (arguments.last, arguments.snapshots.as_slice()) {
            (Some(count), _) => Selection::Last(count),
            (None, []) => Selection::All,
            (None, named) => Selection::Named(named.iter().map(|name| wanted(name)).collect()),
        },
        create: arguments.create,
        dry_run: arguments.dry_run,
    };
    let copied = context
        .with_progress("copying", &means.progress, || ops::copy::run(route.as_ref(), &means, &options))?;
    match copied {
        Copied::Plan(plan) => {
            let text = if arguments.json { json(&plan)? } else { describe_plan(&plan, arguments) };
            context.print(&text)?;
            end(&plan.failed, None)
        }
        Copied::Done(mut report) => {
            let stopped = report.stopped.take();
            let text = if arguments.json { json(&report)? } else { describe(&report, arguments) };
            context.print(&text)?;
            end(&report.failed, stopped)
        }
    }
}

fn end(failed: &[Finding], stopped: Option<RepositoryError>) -> Result<Exit, Failure> {
    if let Some(error) = stopped {
        let fenced = matches!(error, RepositoryError::Fenced { .. });
        let failure = Failure::from(OpsError::from(error));
        return Err(match fenced {
            true => failure.hint("what was copied before stays; run the same command again"),
            false => failure,
        });
    }
    let Some(first) = failed.first() else { return Ok(Exit::Done) };
    let count = failed.len() as u64;
    let what = format!("{} could not be copied", plural(count, "snapshot", "snapshots"));
    Err(Failure::new(Exit::Damaged, what)
        .because(&std::io::Error::other(format!("{}: {}", first.object, first.reason)))
        .hint("`volkeep --repository FROM check --verify` names everything that is damaged there"))
}

fn describe_plan(plan: &CopyPlan, arguments: &Arguments) -> String {
    let bytes = plan.snapshots.iter().map(|snapshot| snapshot.read_bytes).sum();
    let mut text = String::new();
    for one in &plan.snapshots {
        text.push_str(&format!(
            "would copy {}: {}, {} (at most {} to read)\n",
            one.snapshot,
            plural(one.files, "file", "files"),
            ByteSize(one.bytes),
            ByteSize(one.read_bytes)
        ));
    }
    text.push_str(&describe_failed(&plan.failed));
    text.push_str(&format!(
        "would copy {} to {} (at most {} to read); {} there already\n",
        plural(plan.snapshots.len() as u64, "snapshot", "snapshots"),
        arguments.to,
        ByteSize(bytes),
        plan.present
    ));
    text
}

fn describe(report: &CopyReport, arguments: &Arguments) -> String {
    let mut text = String::new();
    for one in &report.copied {
        text.push_str(&format!(
            "copied {} as {}: {}, {} ({} read, {} stored)\n",
            one.snapshot,
            one.copy,
            plural(one.files, "file", "files"),
            ByteSize(one.bytes),
            ByteSize(one.read_bytes),
            ByteSize(one.stored_bytes)
        ));
    }
    text.push_str(&describe_failed(&report.failed));
    text.push_str(&format!(
        "copied {} to {}; {} there already\n",
        plural(report.copied.len() as u64, "snapshot", "snapshots"),
        arguments.to,
        report.present
    ));
    text
}

fn describe_failed(failed: &[Finding]) -> String {
    let mut text = String::new();
    for finding in failed {
        for snapshot in &finding.snapshots {
            text.push_str(&format!("not copied: {snapshot}: {}: {}\n", finding.object, finding.reason));
        }
    }
    text
}
