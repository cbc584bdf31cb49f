//! `volkeep diff`: compares two snapshots.

use clap::Args;
use serde::Serialize;

use crate::cli::arguments;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::render::{json_line, printable};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;
use crate::ops::compare::Change;
use crate::snapshot::Entry;

/// Say what changed from one snapshot to another
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// The older snapshot: `latest`, or the beginning of its name
    pub a: String,
    /// The newer snapshot
    pub b: String,
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    change: Change,
    #[serde(flatten)]
    entry: &'a Entry,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, _) = open_scope(context, Needs::BOTH)?;
    let (from, to) = (arguments::wanted(&arguments.a), arguments::wanted(&arguments.b));
    let mut failure = None;
    ops::compare::differences(&scope, &from, &to, &mut |change, entry| {
        if failure.is_some() {
            return;
        }
        let line = match arguments.json {
            true => json_line(&Line { change, entry }),
            false => Ok(format!("{} {}\n", letter(change), printable(&entry.path.to_string()))),
        };
        failure = line.and_then(|line| context.print(&line)).err();
    })?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

fn letter(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Modified => 'M',
        Change::Metadata => 'm',
    }
}
