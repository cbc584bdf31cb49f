//! `volkeep wait`: holds an app back until the volume is ready.

use clap::Args;

use crate::base::units::Span;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::scope::open_scope;
use crate::config::Needs;
use crate::ops;

/// Wait until the volume is ready
///
/// For apps that cannot be started after `volkeep init` by other means.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub timeout: Span,
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    let (scope, config) = open_scope(context, Needs::VOLUME)?;
    ops::wait::run(&scope, arguments.timeout.0, !config.init.steps.is_empty())?;
    Ok(Exit::Done)
}
