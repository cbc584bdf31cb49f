//! `volkeep backup`: stores the volume as a new snapshot.

use clap::Args;

use crate::base::units::ByteSize;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{json, plural, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::backup::Stored;

/// Store the volume as a new snapshot in every repository
///
/// The app may go on running. Files that cannot be read or do not hold still are named, and the exit code is 3.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Say what would be stored, and store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Back up even though the volume lost more than `backup.max_shrink` since the last snapshot
    #[arg(long)]
    pub allow_shrink: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::BOTH)?;
    let options = config.backup_options(arguments.allow_shrink, arguments.dry_run);
    let (stored, failure) =
        context.with_progress("backing up", &scope.progress, || ops::backup::run(&scope, &options))?;
    match (arguments.json, stored.as_slice()) {
        (true, [one]) => context.print(&json(one)?)?,
        (true, all) => context.print(&json(&all)?)?,
        (false, all) => {
            for one in all {
                context.print(&describe(one))?;
            }
        }
    }
    let problems: u64 = stored.iter().map(|one| one.report.problem_count).sum();
    match failure {
        Some(failure) => Err(failure.into()),
        None if problems > 0 => Ok(Exit::Partial),
        None => Ok(Exit::Done),
    }
}

fn describe(stored: &Stored) -> String {
    let report = &stored.report;
    let totals = report.totals;
    let what = format!(
        "{}, {} ({} read, {} new, {} stored)",
        plural(totals.files, "file", "files"),
        ByteSize(totals.bytes),
        plural(report.files_read, "file", "files"),
        ByteSize(report.added_bytes),
        ByteSize(report.stored_bytes),
    );
    let mut text = match &report.snapshot {
        Some(snapshot) => format!("snapshot {} in {}: {what}\n", snapshot.id, stored.repository),
        None => format!("would store in {}: {what}\n", stored.repository),
    };
    if report.moved_bytes > 0 {
        let (bytes, stored) =
            (ByteSize(report.moved_bytes), if report.snapshot.is_some() { "" } else { "would be " });
        text.push_str(&format!(
            "{bytes} of that {stored}stored anew, so that packs that are mostly dead can go\n"
        ));
    }
    for problem in &report.problems {
        text.push_str(&format!("not as it should be: {}\n", printable(problem)));
    }
    if report.problem_count > report.problems.len() as u64 {
        text.push_str(&format!("and {} more\n", report.problem_count - report.problems.len() as u64));
    }
    text
}
