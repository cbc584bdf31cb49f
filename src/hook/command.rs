//! Runs a program for a hook; what it says goes to the log, line by line, with the names of job and hook.

use std::time::Duration;

use super::action::CommandAction;
use super::error::HookError;
use super::perform::Call;
use crate::base::process::{CommandSpec, run_watched};

/// How much of its last words goes into a message.
const SAID: usize = 300;

pub(super) fn run(action: &CommandAction, limit: Duration, call: &Call<'_>) -> Result<(), HookError> {
    let (job, hook) = (call.job, call.hook.as_str());
    let mut env = call.env.to_vec();
    for (name, text) in &action.env {
        env.push((name.clone(), call.text(text)?));
    }
    let spec = CommandSpec {
        argv: action.argv.clone(),
        env,
        // A hook that tells of a volume that is not there cannot run in it.
        directory: action
            .directory
            .clone()
            .or_else(|| call.directory.filter(|directory| directory.is_dir()).map(ToOwned::to_owned)),
        user: action.user.clone(),
        timeout: limit,
        ..CommandSpec::default()
    };
    let finished = run_watched(&spec, call.cancel, &mut |line| tracing::info!(job, hook, "{line}"))
        .map_err(|source| HookError::Process { hook: hook.to_owned(), source })?;
    match finished.code {
        0 => Ok(()),
        code => Err(HookError::Failed {
            hook: hook.to_owned(),
            program: action.argv.first().cloned().unwrap_or_default(),
            code,
            said: last_words(&finished.output),
        }),
    }
}

/// The last line, because that is where programs say why they give up.
pub(super) fn last_words(text: &str) -> String {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID).collect()
}
