//! From the command line and the configuration to what a sidecar works with, now and again for a new
//! configuration.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::environment::Environment;
use crate::base::secret::Secret;
use crate::cli::arguments::arguments_of;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure};
use crate::cli::scope::scope_of;
use crate::config::model::Config;
use crate::config::{self, Flags, Loaded, Needs};
use crate::sidecar::child::Program;
use crate::sidecar::drain::patience;
use crate::sidecar::options::SidecarOptions;
use crate::sidecar::{Means, Reload};

/// This very program, even when its file was replaced meanwhile.
const OURSELVES: &str = "/proc/self/exe";
/// Where a child finds its configuration.
const CONFIGURATION: &str = "/dev/stdin";

pub fn means(context: &mut Context<'_>) -> Result<Means, Failure> {
    let loaded = context.load(Needs::BOTH)?;
    made_of(&loaded, context.flags(), context.environment, &context.cancel)
}

/// For a sidecar that is told to read its configuration again.
pub fn reload(context: &Context<'_>) -> Reload {
    let (flags, environment, cancel) =
        (context.flags().clone(), context.environment.clone(), context.cancel.clone());
    Arc::new(move || {
        let loaded = config::load(&flags, &environment, Needs::BOTH)
            .map_err(|errors| one_line(&Failure::from(errors)))?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        made_of(&loaded, &flags, &environment, &cancel).map_err(|failure| one_line(&failure))
    })
}

/// What went wrong and why, for a place where there is one line for it.
pub fn one_line(failure: &Failure) -> String {
    let parts: Vec<&str> =
        std::iter::once(&failure.message).chain(&failure.causes).map(String::as_str).collect();
    parts.join(": ")
}

fn made_of(
    loaded: &Loaded,
    flags: &Flags,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<Means, Failure> {
    let scope = scope_of(&loaded.config, environment, cancel)?;
    let mut arguments = vec!["--config".to_owned(), CONFIGURATION.to_owned()];
    arguments.extend(arguments_of(flags));
    let program = Program {
        path: PathBuf::from(OURSELVES),
        arguments,
        configuration: loaded.text.clone(),
        patience: patience(loaded.config.sidecar.grace.0),
    };
    Ok(Means {
        options: Arc::new(sidecar_options(&loaded.config)?),
        configured: scope.clock.now(),
        scope,
        program: Arc::new(program),
    })
}

/// What a sidecar with this configuration is told.
pub fn sidecar_options(config: &Config) -> Result<SidecarOptions, Failure> {
    let sidecar = &config.sidecar;
    let refuse =
        |key: &str, message: String| Failure::new(Exit::Configuration, format!("`sidecar.{key}`: {message}"));
    let token = match &sidecar.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse("token_file", format!("cannot read {}: {error}", path.display())))?;
            match text.trim() {
                "" => return Err(refuse("token_file", format!("{} is empty", path.display()))),
                token => Some(Secret::new(token)),
            }
        }
        None => sidecar.token.clone(),
    };
    Ok(SidecarOptions {
        listen: sidecar.address().map_err(|message| refuse("listen", message))?,
        token,
        grace: sidecar.grace.0,
        backup_on_shutdown: sidecar.backup_on_shutdown,
        max_backup_age: sidecar.max_backup_age.map(|age| age.0),
        jobs: config.jobs.options(),
        has_steps: !config.init.steps.is_empty(),
        notify: sidecar.targets(),
    })
}
