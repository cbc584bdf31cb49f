//! `volkeep init`: makes the volume ready for the app.

use clap::Args;

/// Make the volume ready for the app: restore it if it is empty, check it if it is not
///
/// Run it before the app starts. A healthy volume costs milliseconds. Data on the volume is never deleted:
/// what a restore replaces is moved to quarantine.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
