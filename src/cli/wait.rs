//! `volkeep wait`: holds an app back until the volume is ready.

use clap::Args;

use crate::base::clock::SystemClock;
use crate::base::http::Url;
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
    /// Ask the sidecar at this address, such as http://db:9188/volume, in place of looking at a volume here
    #[arg(long, value_name = "URL", value_parser = url)]
    pub url: Option<Url>,
}

/// What is wrong with it is told without it: it may hold a token.
fn url(text: &str) -> Result<Url, String> {
    text.parse()
}

pub fn run(arguments: &Arguments, context: &mut Context<'_>) -> Result<Exit, Failure> {
    if let Some(url) = &arguments.url {
        context.load(Needs::NOTHING)?;
        ops::wait::run_by_url(url, arguments.timeout.0, &SystemClock::default(), &context.cancel)?;
        return Ok(Exit::Done);
    }
    let (scope, config) = open_scope(context, Needs::VOLUME)?;
    ops::wait::run(&scope, arguments.timeout.0, !config.init.steps.is_empty())?;
    Ok(Exit::Done)
}
