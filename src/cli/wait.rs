//! `volkeep wait`: holds an app back until the volume is ready.

use clap::Args;

use crate::base::units::Span;

/// Wait until the volume is ready
///
/// For apps that cannot be started after `volkeep init` by other means.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: Span,
}
