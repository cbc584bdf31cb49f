//! `volkeep ls`: lists what is in a snapshot.

use std::ops::ControlFlow;

use clap::Args;

use crate::base::timestamp::Timestamp;
use crate::cli::arguments;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{json_line, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::snapshot::{Entry, Kind, RelativePath};

/// List what is in a snapshot
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// `latest`, or the beginning of a snapshot's name
    pub snapshot: String,
    /// Only this path and what is below it
    #[arg(value_parser = arguments::snapshot_path)]
    pub path: Option<RelativePath>,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let path = arguments.path.clone().unwrap_or_default();
    let wanted = arguments::wanted(&arguments.snapshot);
    let mut failure = None;
    let found = ops::compare::list(&scope, &wanted, &path, &mut |entry| {
        let line = if arguments.json { json_line(entry) } else { Ok(describe(entry)) };
        match line.and_then(|line| context.print(&line)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    match failure {
        Some(failure) => Err(failure),
        None if found == 0 => Err(Failure::new(Exit::Failed, format!("the snapshot has no `{path}`"))),
        None => Ok(Exit::Done),
    }
}

fn describe(entry: &Entry) -> String {
    let (letter, tail) = match &entry.kind {
        Kind::File { .. } => ('-', String::new()),
        Kind::Directory => ('d', String::new()),
        Kind::Symlink { target } => ('l', format!(" -> {}", printable(&target.to_string()))),
        Kind::Fifo => ('p', String::new()),
        Kind::Socket => ('s', String::new()),
        Kind::CharacterDevice { major, minor } => ('c', format!(" ({major}, {minor})")),
        Kind::BlockDevice { major, minor } => ('b', format!(" ({major}, {minor})")),
    };
    format!(
        "{letter}{:04o} {:>6} {:>6} {:>12} {} {}{tail}\n",
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size(),
        Timestamp::new(entry.mtime.seconds, 0).to_rfc3339(),
        printable(&entry.path.to_string()),
    )
}
