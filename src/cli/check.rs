//! `volkeep check`: looks for damage in the repository.

use clap::Args;

use crate::base::units::Percent;

/// Look for damage in the repository
///
/// Without --verify only the structure is read: everything a snapshot refers to is there and has the right size.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Read the data as well: all of it, or the given part of it, chosen at random
    #[arg(long, value_name = "PERCENT", num_args = 0..=1, require_equals = true, default_missing_value = "100%")]
    pub verify: Option<Percent>,
}
