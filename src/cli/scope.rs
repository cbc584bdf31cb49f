//! Opens what the commands work on: the volume and its repositories, as configured.

use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, SystemClock};
use crate::base::environment::Environment;
use crate::base::progress::Progress;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::config::Needs;
use crate::config::model::Config;
use crate::ops::Scope;
use crate::repository::{Repository, open};
use crate::volume::Volume;

/// What names us to others, in order: set on purpose, or by the platform.
const NAMES: [&str; 2] = ["POD_NAME", "HOSTNAME"];

pub fn open_scope(context: &mut Context<'_>, needs: Needs) -> Result<(Scope, Config), Failure> {
    let config = context.load(needs)?.config;
    Ok((scope_of(&config, context.environment, &context.cancel)?, config))
}

pub fn scope_of(config: &Config, environment: &Environment, cancel: &Cancel) -> Result<Scope, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pod = NAMES.iter().find_map(|name| environment.get(name)).unwrap_or_default().to_owned();
    Ok(Scope {
        volume: Volume::new(config.volume_options()).map_err(crate::ops::OpsError::from)?,
        repositories: repositories(config, cancel, &clock),
        source: config.source_options().map_err(|error| Failure::of(Exit::Configuration, &error))?,
        workers: config.workers(),
        pod,
        host,
        clock,
        progress: Progress::default(),
        cancel: cancel.clone(),
    })
}

/// The repositories alone, with the identity they are made for.
pub fn open_repositories(context: &mut Context<'_>) -> Result<(Vec<Arc<dyn Repository>>, String), Failure> {
    let config = context.load(Needs::REPOSITORY)?.config;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    Ok((repositories(&config, &context.cancel, &clock), config.volume.identity.clone()))
}

fn repositories(config: &Config, cancel: &Cancel, clock: &Arc<dyn Clock>) -> Vec<Arc<dyn Repository>> {
    config
        .repository_options()
        .into_iter()
        .map(|mut options| {
            options.store.cancel = cancel.clone();
            open(&options, clock)
        })
        .collect()
}
