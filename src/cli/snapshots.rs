//! `volkeep snapshots`: lists what is in the repository.

use clap::Args;

/// List the snapshots of the repository, oldest first
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
}
