//! `volkeep diff`: compares two snapshots.

use clap::Args;

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
