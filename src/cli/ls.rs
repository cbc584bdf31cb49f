//! `volkeep ls`: lists what is in a snapshot.

use clap::Args;

use crate::cli::arguments;
use crate::snapshot::RelativePath;

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
