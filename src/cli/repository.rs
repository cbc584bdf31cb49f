//! `volkeep repository`: what is done to a repository as a whole.

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::repository_copy;
use crate::cli::scope::open_repositories;
use crate::ops::OpsError;

/// Make a repository, or copy snapshots to another one
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Make the repositories that do not exist yet; those that do are left as they are
    Init,
    Copy(repository_copy::Arguments),
}

impl Arguments {
    /// Whether it looks at the wish to end.
    pub fn ends_in_order(&self) -> bool {
        matches!(self.action, Action::Copy(_))
    }
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match &arguments.action {
        Action::Copy(arguments) => repository_copy::run(arguments, context),
        Action::Init => {
            let (repositories, identity) = open_repositories(context)?;
            for repository in repositories {
                repository.take_in(&identity).map_err(OpsError::from)?;
                context.print(&format!("{} is a repository of `{identity}`\n", repository.location()))?;
            }
            Ok(Exit::Done)
        }
    }
}
