//! Runs a program for a hook; what it says goes to the log, line by line, with the names of job and hook.

use std::time::Duration;

use super::error::HookError;
use super::perform::Call;
use crate::base::action::CommandAction;

pub(super) fn run(action: &CommandAction, limit: Duration, call: &Call<'_>) -> Result<(), HookError> {
    let (job, hook) = (call.job, call.hook.as_str());
    // A hook that tells of a volume that is not there cannot run in it.
    action
        .run(call.env, call.directory, limit, call.cancel, &mut |line| tracing::info!(job, hook, "{line}"))
        .map_err(|source| HookError::Action { hook: hook.to_owned(), source })
}
