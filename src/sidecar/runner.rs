//! One run of a job, from its hooks and locks to its outcome: attempts, time limits, retries. Blocking; must not
//! know schedules, records or who asked.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::base::action::ActionError;
use crate::base::cancel::Cancel;
use crate::base::pause::pause;
use crate::base::process::ProcessError;
use crate::hook::{self, Action, HookError, Surroundings, Trouble, around};
use crate::ops::OpsError;
use crate::sidecar::child::{self, ChildError};
use crate::sidecar::desk::Access;
use crate::sidecar::means::Means;
use crate::sidecar::options::{JobOptions, Work};
use crate::sidecar::record::{Begun, Figures, Outcome, Run};
use crate::sidecar::task::{Task, TaskReport};
use crate::volume::LockKind;

/// Those of the commands' exit codes that a runner has to tell apart.
pub mod code {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const PARTIAL: u8 = 3;
    pub const IN_USE: u8 = 11;
    pub const REFUSED: u8 = 16;
    /// Trying again changes nothing: usage, denied, identity, refused, configuration.
    pub const FINAL: [u8; 5] = [2, 14, 15, REFUSED, 78];
}

/// The pause between two attempts grows no longer than this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// What one run is to do.
#[derive(Clone, Debug)]
pub struct Orders {
    pub job: JobOptions,
    pub begun: Begun,
    /// How many runs of the job were done before.
    pub turn: u64,
    pub cancel: Cancel,
}

pub fn run(means: &Means, orders: &Orders) -> Run {
    let clock = means.scope.clock.as_ref();
    let began = clock.elapsed();
    let mut attempts = 1;
    let mut backoff = orders.job.backoff;
    let result = loop {
        let result = attempt(means, orders);
        let Err(failed) = &result else { break result };
        let is_last = attempts > orders.job.retries || code::FINAL.contains(&failed.code);
        if is_last || orders.cancel.is_cancelled() {
            break result;
        }
        tracing::warn!(job = orders.job.name, reason = failed.reason, pause = ?backoff, "failed; trying again");
        pause(clock, &orders.cancel, backoff);
        if orders.cancel.is_cancelled() {
            break result;
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
        attempts += 1;
    };
    let run = Run {
        trigger: orders.begun.trigger,
        started: orders.begun.started,
        seconds: clock.elapsed().saturating_sub(began).as_secs_f64(),
        outcome: Outcome::Done,
        attempts,
        code: code::DONE,
        reason: None,
        hint: None,
        figures: Figures::default(),
    };
    match result {
        Ok(report) => Run {
            outcome: if report.code == code::PARTIAL { Outcome::Partial } else { Outcome::Done },
            code: report.code,
            reason: report.reason,
            hint: report.hint,
            figures: report.figures,
            ..run
        },
        Err(failed) => Run {
            outcome: failed.outcome,
            code: failed.code,
            reason: Some(failed.reason),
            hint: failed.hint,
            figures: *failed.figures,
            ..run
        },
    }
}

/// For a run that the machine has no means to begin.
pub fn not_begun(begun: &Begun, error: &io::Error) -> Run {
    Run {
        trigger: begun.trigger,
        started: begun.started,
        seconds: 0.0,
        outcome: Outcome::Failed,
        attempts: 0,
        code: code::FAILED,
        reason: Some(format!("no thread could be started: {error}")),
        hint: None,
        figures: Figures::default(),
    }
}

/// How it ended, for people.
pub fn log(job: &str, run: &Run) {
    let reason = run.reason.as_deref().unwrap_or_default();
    let hint = run.hint.as_deref().unwrap_or_default();
    let seconds = run.seconds;
    match run.outcome {
        Outcome::Done => tracing::info!(job, seconds, "done"),
        Outcome::Partial => tracing::warn!(job, seconds, reason, "done in part"),
        outcome => tracing::error!(job, seconds, outcome = outcome.name(), reason, hint, "not done"),
    }
}

/// Why an attempt was no success.
#[derive(Clone, Debug)]
struct Failed {
    outcome: Outcome,
    code: u8,
    reason: String,
    hint: Option<String>,
    figures: Box<Figures>,
}

impl Failed {
    fn because(outcome: Outcome, reason: impl fmt::Display) -> Self {
        Self { outcome, code: code::FAILED, reason: reason.to_string(), hint: None, figures: Box::default() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

fn attempt(means: &Means, orders: &Orders) -> Result<TaskReport, Failed> {
    let volume = &means.scope.volume;
    let surroundings = Surroundings {
        job: &orders.job.name,
        env: vec![("VOLKEEP_VOLUME".to_owned(), volume.path().display().to_string())],
        directory: Some(volume.path().to_owned()),
        state_dir: volume.state_dir(),
        clock: means.scope.clock.as_ref(),
        cancel: orders.cancel.clone(),
        abandon: Cancel::new(),
    };
    let ran = around(
        &orders.job.hooks,
        &surroundings,
        |cancel| work(means, orders, &surroundings, cancel),
        |report| {
            let snapshot = report.figures.snapshot.clone();
            snapshot.map(|snapshot| ("VOLKEEP_SNAPSHOT".to_owned(), snapshot)).into_iter().collect()
        },
    );
    let frozen_seconds = ran.frozen.map(|frozen| frozen.as_secs_f64());
    let done =
        ran.done.map(|report| TaskReport { figures: Figures { frozen_seconds, ..report.figures }, ..report });
    match ran.error {
        None => Ok(done.unwrap_or_default()),
        Some(trouble) => {
            let failed = match trouble {
                Trouble::Work(failed) => failed,
                Trouble::FrozenTooLong { .. } => Failed::because(Outcome::TimedOut, trouble),
                Trouble::Hook(_) | Trouble::Frozen(_) if orders.cancel.is_cancelled() => {
                    Failed::because(Outcome::Cancelled, trouble)
                }
                Trouble::Hook(_) | Trouble::Frozen(_) => Failed::because(Outcome::Failed, trouble),
            };
            // What was stored stays stored, whatever failed after it.
            let figures = done.map_or(*failed.figures, |report| report.figures);
            Err(Failed { figures: Box::new(Figures { frozen_seconds, ..figures }), ..failed })
        }
    }
}

fn work(
    means: &Means,
    orders: &Orders,
    surroundings: &Surroundings<'_>,
    cancel: &Cancel,
) -> Result<TaskReport, Failed> {
    let limit = orders.job.timeout;
    match &orders.job.work {
        Work::Action { action, access } => act(means, orders, surroundings, action, *access, cancel),
        Work::Backup => in_child(means, Task::Backup, limit, cancel),
        Work::Prune => in_child(means, Task::Prune, limit, cancel),
        Work::Check => in_child(means, Task::Check, limit, cancel),
        Work::Drill => in_child(means, Task::Drill, limit, cancel),
        Work::Scrub { percent, repair } => {
            let (percent, turn, repair) = (*percent, orders.turn, *repair);
            in_child(means, Task::Scrub { percent, turn, repair }, limit, cancel)
        }
        Work::Verify { percent } => {
            in_child(means, Task::Verify { percent: *percent, turn: orders.turn }, limit, cancel)
        }
    }
}

fn in_child(
    means: &Means,
    task: Task,
    limit: Option<Duration>,
    cancel: &Cancel,
) -> Result<TaskReport, Failed> {
    let report = child::run(&means.program, task, limit, cancel).map_err(|error| {
        let outcome = match error {
            ChildError::TimedOut(_) => Outcome::TimedOut,
            ChildError::Cancelled => Outcome::Cancelled,
            ChildError::Start(_) | ChildError::Died(_) => Outcome::Failed,
        };
        Failed::because(outcome, error)
    })?;
    match report.code {
        code::DONE | code::PARTIAL => Ok(report),
        code => Err(Failed {
            outcome: if code == code::REFUSED { Outcome::Refused } else { Outcome::Failed },
            code,
            reason: report.reason.unwrap_or_else(|| format!("exit code {code}")),
            hint: report.hint,
            figures: Box::new(report.figures),
        }),
    }
}

/// A command or a request, under the volume's lock if it wants that.
fn act(
    means: &Means,
    orders: &Orders,
    surroundings: &Surroundings<'_>,
    action: &Action,
    access: Access,
    cancel: &Cancel,
) -> Result<TaskReport, Failed> {
    let kind = match access {
        Access::None => None,
        Access::Shared => Some(LockKind::Shared),
        Access::Exclusive => Some(LockKind::Exclusive),
    };
    let name = &orders.job.name;
    let _lock = match kind.map(|kind| means.scope.lock(kind, name)).transpose() {
        Ok(lock) => lock,
        Err(error @ OpsError::Volume(crate::volume::VolumeError::Locked { .. })) => {
            return Err(Failed { code: code::IN_USE, ..Failed::because(Outcome::Failed, error) });
        }
        Err(error) => return Err(Failed::because(Outcome::Failed, error)),
    };
    match hook::perform(action, surroundings, cancel) {
        Ok(()) => Ok(TaskReport::default()),
        Err(error) => {
            let outcome = match &error {
                HookError::Action { source: ActionError::Process(ProcessError::TimedOut { .. }), .. } => {
                    Outcome::TimedOut
                }
                _ if cancel.is_cancelled() => Outcome::Cancelled,
                _ => Outcome::Failed,
            };
            Err(Failed::because(outcome, error))
        }
    }
}
