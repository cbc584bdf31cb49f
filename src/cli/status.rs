//! `volkeep status`: says what state the volume is in, and changes nothing.

use clap::Args;

/// Say what state the volume is in, and change nothing
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
