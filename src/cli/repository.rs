//! `volkeep repository`: what is done to a repository as a whole.

use clap::{Args, Subcommand};

/// Make a repository
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Make the repositories that do not exist yet; those that do are left as they are
    Init,
}
