//! Does one step: attempts, pauses between them, and what came of it. Whether it is its turn is decided elsewhere.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{StepError, Trouble};
use super::notify::About;
use super::place::{Place, Wanted};
use super::render::Render;
use super::{Kind, Step};
use crate::base::action::{ActionError, HttpAction};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::pause::pause;

const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// What steps need of those who know the volume.
pub trait Host: Debug {
    /// Puts a tree that is whole and durable in the place of the directory `live`, at once and durably, and says where
    /// what was there is kept.
    fn replace(&self, new: &Path, live: &Path) -> io::Result<PathBuf>;

    /// Whether a volume of another app is ready for it; otherwise why not.
    fn is_ready(&self, path: &Path, state_dir: &Path) -> Result<(), String>;
}

/// Where, and by which means.
#[derive(Clone, Debug)]
pub struct Means<'a> {
    /// What is rendered goes below it, and commands run in it.
    pub volume: &'a Path,
    /// What commands are told.
    pub told: Vec<(String, String)>,
    /// Where is remembered what was fetched, on the same file system.
    pub memory: PathBuf,
    /// What that belongs to: another name for other data.
    pub data: String,
    pub about: About,
    pub host: &'a dyn Host,
    pub clock: &'a dyn Clock,
    pub cancel: &'a Cancel,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Nothing had to be changed.
    Unchanged,
    /// The status of the answer says that it was done before.
    Already {
        status: u16,
    },
    /// What is there will do, since the source does not answer.
    Kept,
    /// Nobody could be told, which is in the log.
    NotTold,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Did {
    pub outcome: Outcome,
    pub attempts: u32,
    pub seconds: f64,
}

/// What comes of a step that has nothing to do, such as a file that is as it should be. Changes nothing, so it can be
/// asked while others work on the volume.
pub fn settled(step: &Step, means: &Means<'_>) -> Result<Option<Outcome>, Trouble> {
    let unchanged = |is_right: bool| is_right.then_some(Outcome::Unchanged);
    match &step.kind {
        Kind::Render(render) => {
            let content = render.content(step.timeout, means.cancel)?;
            wanted(render, &content)?.is_there(means.volume).map(unchanged)
        }
        Kind::Fetch(fetch) => fetch.is_settled(step.timeout, means),
        Kind::Permissions(permissions) => permissions.are_right(means.volume).map(unchanged),
        Kind::WaitFor(_) | Kind::Run(_) | Kind::Http { .. } | Kind::Notify(_) => Ok(None),
    }
}

/// With what a step needs held: see [`Step::needs_lock`].
pub fn perform(step: &Step, label: &str, means: &Means<'_>) -> Result<Did, StepError> {
    let started = means.clock.elapsed();
    let mut next = step.backoff;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let trouble = match attempt(step, label, means) {
            Ok(outcome) => {
                let seconds = means.clock.elapsed().saturating_sub(started).as_secs_f64();
                return Ok(Did { outcome, attempts, seconds });
            }
            Err(trouble) => trouble,
        };
        if attempts > step.retries || !trouble.may_pass() || means.cancel.is_cancelled() {
            if matches!(step.kind, Kind::Notify(_)) && !means.cancel.is_cancelled() {
                tracing::warn!(step = label, attempts, "{trouble}");
                let seconds = means.clock.elapsed().saturating_sub(started).as_secs_f64();
                return Ok(Did { outcome: Outcome::NotTold, attempts, seconds });
            }
            return Err(StepError { step: label.to_owned(), attempts, trouble });
        }
        tracing::warn!(
            step = label,
            attempt = attempts,
            pause = next.as_secs_f32(),
            "{trouble}; trying again"
        );
        pause(means.clock, means.cancel, next);
        next = (next * 2).min(LONGEST_BACKOFF);
    }
}

fn attempt(step: &Step, label: &str, means: &Means<'_>) -> Result<Outcome, Trouble> {
    if means.cancel.is_cancelled() {
        return Err(Trouble::Stopped);
    }
    match &step.kind {
        Kind::WaitFor(wait) => wait.until(step.timeout, means).map(|()| Outcome::Done),
        Kind::Fetch(fetch) => fetch.bring(step.timeout, means),
        Kind::Permissions(permissions) => Ok(match permissions.apply(means.volume)? {
            true => Outcome::Done,
            false => Outcome::Unchanged,
        }),
        Kind::Notify(notify) => {
            let volume = means.volume.display().to_string();
            let now = means.clock.now();
            notify.tell(&means.about, (label, &volume, now), step.timeout, means.cancel)?;
            Ok(Outcome::Done)
        }
        Kind::Render(render) => {
            let content = render.content(step.timeout, means.cancel)?;
            Ok(match wanted(render, &content)?.put(means.volume)? {
                true => Outcome::Done,
                false => Outcome::Unchanged,
            })
        }
        Kind::Run(command) => {
            let mut told = means.told.clone();
            told.push(("VOLKEEP_STEP".to_owned(), label.to_owned()));
            command.run(&told, Some(means.volume), step.timeout, means.cancel, &mut |line| {
                tracing::info!(step = label, "{line}");
            })?;
            Ok(Outcome::Done)
        }
        Kind::Http { request, already } => ask(request, already, step, means),
    }
}

fn ask(request: &HttpAction, already: &[u16], step: &Step, means: &Means<'_>) -> Result<Outcome, Trouble> {
    let answered = request.ask(Vec::new(), step.timeout, means.cancel)?;
    if already.contains(&answered.status) {
        return Ok(Outcome::Already { status: answered.status });
    }
    match request.expects(answered.status) {
        true => Ok(Outcome::Done),
        false => Err(ActionError::from(answered).into()),
    }
}

fn wanted<'a>(render: &'a Render, content: &'a str) -> Result<Wanted<'a>, Trouble> {
    let place = Place { to: &render.to, mode: render.mode, owner: render.owner()? };
    Ok(Wanted { place, content: content.as_bytes() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::action::CommandAction;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::step::{When, sample};

    fn run(script: &str, retries: u32, dir: &Path) -> (Result<Did, StepError>, Duration) {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let step = Step {
            name: None,
            kind: Kind::Run(CommandAction { argv, ..CommandAction::default() }),
            timeout: Duration::from_secs(60),
            retries,
            backoff: Duration::from_secs(2),
            when: When::Always,
            once: false,
            version: 1,
        };
        let (clock, cancel) = (ManualClock::at(Timestamp::default()), Cancel::new());
        let means = sample::means(dir, &clock, &cancel);
        (perform(&step, &step.label(2), &means), clock.elapsed())
    }

    #[test]
    fn what_fails_is_tried_again_after_pauses_that_double() {
        let dir = tempfile::tempdir().unwrap();
        let (did, paused) = run("echo x >> tries; test $(wc -l < tries) -eq 4", 5, dir.path());
        let did = did.unwrap();
        assert_eq!((did.outcome, did.attempts, paused), (Outcome::Done, 4, Duration::from_secs(2 + 4 + 8)));
    }

    #[test]
    fn the_last_failure_names_the_step_and_the_attempts() {
        let dir = tempfile::tempdir().unwrap();
        let (did, paused) = run("echo $VOLKEEP_STEP is broken; exit 3", 2, dir.path());
        assert_eq!(
            did.unwrap_err().to_string(),
            "step run-3: `sh` ended with exit code 3: run-3 is broken (after 3 attempts)"
        );
        assert_eq!(paused, Duration::from_secs(6));
    }
}
