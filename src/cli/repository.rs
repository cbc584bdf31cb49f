//! `volkeep repository`: what is done to a repository as a whole.

use clap::{Args, Subcommand};

use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::scope::open_repositories;
use crate::ops::OpsError;

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

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    match arguments.action {
        Action::Init => {
            let (repositories, identity) = open_repositories(context)?;
            for repository in repositories {
                repository.create(&identity).map_err(OpsError::from)?;
                context.print(&format!("{} is a repository of `{identity}`\n", repository.location()))?;
            }
            Ok(Exit::Done)
        }
    }
}
