//! `volkeep demo`: plays a loss and a restore through, on data of its own.

use std::path::PathBuf;

use clap::Args;

/// Play a backup, a loss and a restore through, on data made for it
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Play in this new directory and leave it behind, in place of a temporary one
    #[arg(long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
}
