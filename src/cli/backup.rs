//! `volkeep backup`: stores the volume as a new snapshot.

use clap::Args;

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
}
