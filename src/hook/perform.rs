//! Runs the actions of the lists before and after a job, and says which variables they get. Freezing is another
//! matter, see `around`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::action::{Action, Kind};
use super::error::HookError;
use super::{command, http, signal};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;

/// The longest time an app is held, where nothing else is said.
pub const MAX_FROZEN: Duration = Duration::from_secs(60);

/// What is done around a job, in the order of the lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Before anything else. The first that fails is the last: the job does not run and has failed.
    pub before: Vec<Action>,
    /// Right before the work. With it there must be a `thaw`.
    pub freeze: Vec<Action>,
    /// After the work, or what became of it: all of them, always. They must do no harm where nothing is frozen.
    pub thaw: Vec<Action>,
    /// After success; the first that fails is the last, and the job has failed.
    pub after: Vec<Action>,
    /// After a failure: all of them.
    pub failed: Vec<Action>,
    /// At the end: all of them.
    pub finally: Vec<Action>,
    /// From the beginning of the freeze to that of the thaw. Then the work is told to stop, and the thaw does not
    /// wait for it.
    pub max_frozen: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        let none = Vec::new;
        Self {
            before: none(),
            freeze: none(),
            thaw: none(),
            after: none(),
            failed: none(),
            finally: none(),
            max_frozen: MAX_FROZEN,
        }
    }
}

impl Hooks {
    pub fn is_empty(&self) -> bool {
        let lists = [&self.before, &self.freeze, &self.thaw, &self.after, &self.failed, &self.finally];
        lists.iter().all(|list| list.is_empty())
    }
}

/// Where, for what and by which means hooks are run.
#[derive(Clone, Debug)]
pub struct Surroundings<'a> {
    /// The job's name; with a freeze it is part of a file's name: letters, digits, `.`, `_`, `-`.
    pub job: &'a str,
    /// What actions are told, such as `VOLKEEP_VOLUME`; `VOLKEEP_JOB` need not be in it.
    pub env: Vec<(String, String)>,
    /// The working directory of commands that name none.
    pub directory: Option<PathBuf>,
    /// Where the frozen marker goes.
    pub state_dir: &'a Path,
    pub clock: &'a dyn Clock,
    /// Ends `before`, `freeze` and the work.
    pub cancel: Cancel,
    /// Ends `after`, `failed` and `finally`, for whoever has no time left even for these. Nothing ends a thaw.
    pub abandon: Cancel,
}

impl Surroundings<'_> {
    pub(super) fn all_env(&self) -> Vec<(String, String)> {
        let mut env = vec![("VOLKEEP_JOB".to_owned(), self.job.to_owned())];
        env.extend(self.env.iter().cloned());
        env
    }
}

/// One call of an action.
#[derive(Clone, Debug)]
pub(super) struct Call<'a> {
    pub(super) job: &'a str,
    /// Such as `before[0]`.
    pub(super) hook: String,
    pub(super) env: &'a [(String, String)],
    pub(super) directory: Option<&'a Path>,
    pub(super) cancel: &'a Cancel,
}

impl<'a> Call<'a> {
    pub(super) fn new(job: &'a str, hook: &str, env: &'a [(String, String)], cancel: &'a Cancel) -> Self {
        Self { job, hook: hook.to_owned(), env, directory: None, cancel }
    }

    /// `limit` on top of the action's own.
    pub(super) fn perform(&self, action: &Action, limit: Option<Duration>) -> Result<(), HookError> {
        if self.cancel.is_cancelled() {
            return Err(HookError::LeftOut { hook: self.hook.clone() });
        }
        tracing::debug!(job = self.job, hook = self.hook, "running");
        let limit = limit.map_or(action.timeout, |limit| limit.min(action.timeout));
        match &action.kind {
            Kind::Command(action) => command::run(action, limit, self),
            Kind::Http(action) => http::run(action, limit, self),
            Kind::Signal(action) => signal::run(action, self),
        }
    }
}

/// Runs `before`. After an error the job must not run; [`conclude`] is to be called all the same.
pub fn prepare(hooks: &Hooks, around: &Surroundings<'_>) -> Result<(), HookError> {
    let env = around.all_env();
    in_turn("before", &hooks.before, around, &env, &around.cancel)
}

/// What the last lists had to say.
#[derive(Debug, Default)]
pub struct Concluded {
    /// The job succeeded until here; now it has failed.
    pub after: Option<HookError>,
    /// Of `failed` and `finally`; logged already.
    pub problems: Vec<String>,
}

/// Runs `after` or `failed`, then `finally`. `error` is why the job failed; `results` are variables that say what
/// came of it, such as `VOLKEEP_SNAPSHOT`.
pub fn conclude(
    hooks: &Hooks,
    around: &Surroundings<'_>,
    error: Option<&str>,
    results: &[(String, String)],
) -> Concluded {
    let mut told = around.all_env();
    told.extend(results.iter().cloned());
    let with = |error: Option<&str>| {
        let mut env = told.clone();
        let result = if error.is_some() { "failed" } else { "succeeded" };
        env.push(("VOLKEEP_RESULT".to_owned(), result.to_owned()));
        env.extend(error.map(|error| ("VOLKEEP_ERROR".to_owned(), error.to_owned())));
        env
    };
    let mut concluded = Concluded::default();
    let mut error = error.map(ToOwned::to_owned);
    if error.is_none() {
        let after = in_turn("after", &hooks.after, around, &with(None), &around.abandon);
        error = after.as_ref().err().map(ToString::to_string);
        concluded.after = after.err();
    }
    let env = with(error.as_deref());
    if error.is_some() {
        each("failed", &hooks.failed, around, &env, &mut concluded.problems);
    }
    each("finally", &hooks.finally, around, &env, &mut concluded.problems);
    concluded
}

/// Up to the first that fails.
pub(super) fn in_turn(
    list: &str,
    actions: &[Action],
    around: &Surroundings<'_>,
    env: &[(String, String)],
    cancel: &Cancel,
) -> Result<(), HookError> {
    for (number, action) in actions.iter().enumerate() {
        call(list, number, around, env, cancel).perform(action, None)?;
    }
    Ok(())
}

pub(super) fn call<'a>(
    list: &str,
    number: usize,
    around: &'a Surroundings<'_>,
    env: &'a [(String, String)],
    cancel: &'a Cancel,
) -> Call<'a> {
    Call {
        directory: around.directory.as_deref(),
        ..Call::new(around.job, &format!("{list}[{number}]"), env, cancel)
    }
}

/// All of them; one that fails is no reason not to try the next.
fn each(
    list: &str,
    actions: &[Action],
    around: &Surroundings<'_>,
    env: &[(String, String)],
    problems: &mut Vec<String>,
) {
    for (number, action) in actions.iter().enumerate() {
        if let Err(error) = call(list, number, around, env, &around.abandon).perform(action, None) {
            tracing::warn!(job = around.job, "{error}");
            problems.push(error.to_string());
        }
    }
}

/// One action apart from the lists, as the work of a job.
pub fn perform(action: &Action, around: &Surroundings<'_>, cancel: &Cancel) -> Result<(), HookError> {
    let env = around.all_env();
    Call { directory: around.directory.as_deref(), ..Call::new(around.job, "run", &env, cancel) }
        .perform(action, None)
}
