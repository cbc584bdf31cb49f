//! `volkeep restore`: brings a snapshot back, to the volume or to another directory.

use std::path::PathBuf;

use clap::Args;

use crate::base::timestamp::Timestamp;
use crate::base::units::ByteSize;
use crate::cli::arguments;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{describe_brought, json, plural, warn_of_problems};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::restore::{RestoreOptions, RestorePlan};
use crate::snapshot::RelativePath;
use crate::snapshot::selector::Selector;
use crate::snapshot::summary::Wanted;

/// Bring a snapshot back, to the volume or to another directory
///
/// Every byte is verified before it goes live. What it replaces on the volume is moved to quarantine.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The snapshot: `latest`, or the beginning of its name [default: latest]
    #[arg(conflicts_with_all = ["at", "from"])]
    pub snapshot: Option<String>,
    /// The newest snapshot that is not younger, such as 2026-11-20 or 2026-11-20T23:30
    #[arg(long, value_name = "TIME", value_parser = arguments::time, conflicts_with = "from")]
    pub at: Option<Timestamp>,
    /// Restore to this directory, which has to be empty or absent, and leave the volume alone
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Restore only this path and what is below it; may be given several times
    #[arg(long = "path", value_name = "PATH", value_parser = arguments::snapshot_path)]
    pub paths: Vec<RelativePath>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Replace the data on a volume that is healthy
    #[arg(long)]
    pub force: bool,
    /// Restore a plain archive (.tar, .tar.gz, .tar.zst) in place of a snapshot
    #[arg(long, value_name = "ARCHIVE", conflicts_with_all = ["target", "paths"])]
    pub from: Option<PathBuf>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if !arguments.paths.is_empty() && arguments.target.is_none() {
        return Err(Failure::new(Exit::Usage, "--path needs --target").hint(
            "a restore into the volume replaces all of it; restore the part beside it and copy it over",
        ));
    }
    let needs = if arguments.from.is_some() { Needs::VOLUME } else { Needs::BOTH };
    let (scope, config) = open_scope(context, needs)?;
    let options = RestoreOptions {
        wanted: arguments.wanted(),
        archive: arguments.from.clone(),
        target: arguments.target.clone(),
        selector: Selector::paths(arguments.paths.clone()),
        force: arguments.force,
        dry_run: arguments.dry_run,
        timeout: config.init.timeout.0,
    };
    let outcome =
        context.with_progress("restoring", &scope.progress, || ops::restore::run(&scope, &options))?;
    if arguments.json {
        context.print(&json(&outcome)?)?;
    } else {
        match &outcome.brought {
            Some(brought) => context.print(&describe_brought(brought))?,
            None => context.print(&describe(&outcome.plan))?,
        }
    }
    match &outcome.brought {
        Some(brought) if brought.problem_count > 0 => {
            warn_of_problems(&brought.problems, brought.problem_count);
            Ok(Exit::Partial)
        }
        _ => Ok(Exit::Done),
    }
}

fn describe(plan: &RestorePlan) -> String {
    let fate = if plan.replaces_data { "; the data there would go to quarantine" } else { "" };
    format!(
        "would restore {} from {} to {}: {}, {}{fate}\n",
        plan.snapshot,
        plan.repository,
        plan.target.display(),
        plural(plan.files, "file", "files"),
        ByteSize(plan.bytes),
    )
}

impl Arguments {
    pub fn wanted(&self) -> Wanted {
        match (self.at, &self.snapshot) {
            (Some(time), _) => Wanted::At(time),
            (None, Some(name)) => arguments::wanted(name),
            (None, None) => Wanted::Latest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("restore").chain(words.iter().copied());
        Alone::try_parse_from(words).map(|alone| alone.arguments)
    }

    #[test]
    fn a_snapshot_is_asked_for_in_three_ways() {
        assert_eq!(parse(&[]).unwrap().wanted(), Wanted::Latest);
        assert_eq!(parse(&["latest"]).unwrap().wanted(), Wanted::Latest);
        assert_eq!(parse(&["4be1"]).unwrap().wanted(), Wanted::Named("4be1".into()));
        assert_eq!(parse(&["--at", "@10"]).unwrap().wanted(), Wanted::At(Timestamp::new(10, 0)));
    }

    #[test]
    fn only_one_of_them_may_be_given() {
        for words in [["4be1", "--at=@10"], ["4be1", "--from=x.tar"], ["--at=@10", "--from=x.tar"]] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
        assert!(parse(&["--path", "../x"]).is_err());
        assert_eq!(parse(&["--path", "/a", "--path", "b/"]).unwrap().paths.len(), 2);
    }
}
