//! Does one step: attempts, pauses between them, and what came of it. Whether it is its turn is decided elsewhere.

use std::path::Path;
use std::time::Duration;

use super::error::{StepError, Trouble};
use super::place::Wanted;
use super::render::Render;
use super::{Kind, Step};
use crate::base::action::{ActionError, HttpAction};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::pause::pause;

const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Where, and by which means.
#[derive(Clone, Debug)]
pub struct Means<'a> {
    /// What is rendered goes below it, and commands run in it.
    pub volume: &'a Path,
    /// What commands are told.
    pub told: Vec<(String, String)>,
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
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Did {
    pub outcome: Outcome,
    pub attempts: u32,
    pub seconds: f64,
}

/// A file that is as it should be. Looks only, so it can be asked while others work on the volume.
pub fn is_up_to_date(step: &Step, means: &Means<'_>) -> Result<bool, Trouble> {
    let Kind::Render(render) = &step.kind else { return Ok(false) };
    let content = render.content(step.timeout, means.cancel)?;
    wanted(render, &content)?.is_there(means.volume)
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
    Ok(Wanted { to: &render.to, content: content.as_bytes(), mode: render.mode, owner: render.owner()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::action::CommandAction;
    use crate::base::clock::ManualClock;
    use crate::base::timestamp::Timestamp;
    use crate::step::When;

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
        let means = Means { volume: dir, told: Vec::new(), clock: &clock, cancel: &cancel };
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
