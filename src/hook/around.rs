//! One run of a job with all that is done around it. The order is the contract: before, freeze, the work, thaw,
//! after or failed, finally. A thaw follows every freeze: by a thread of its own, which neither a panic of the work
//! nor work that hangs can hold up, and by the marker if the process dies.

use std::fmt::{self, Display};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::HookError;
use super::frozen::{Frozen, FrozenError};
use super::perform::{Hooks, Surroundings, call, conclude, prepare};
use crate::base::cancel::Cancel;

/// How late a wish to stop reaches work that freezes.
const SLICE: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Debug)]
pub struct Ran<T, E> {
    /// What the work made, also if something else failed afterwards.
    pub done: Option<T>,
    /// The first thing that failed. The job has succeeded if and only if this is `None`.
    pub error: Option<Trouble<E>>,
    /// How long the app was frozen, from the first freeze to the end of the thaw.
    pub frozen: Option<Duration>,
    /// A thaw failed: the marker stays, and the app may be frozen still.
    pub left_frozen: bool,
    /// What failed besides; logged already.
    pub problems: Vec<String>,
}

#[derive(Debug)]
pub enum Trouble<E> {
    /// Of `before`, `freeze` or `after`.
    Hook(HookError),
    Work(E),
    /// The work was stopped, because it held the app for too long. What it made while it was being stopped may
    /// not be what was frozen.
    FrozenTooLong {
        limit: Duration,
    },
    /// The marker could not be written, or the thaw failed.
    Frozen(FrozenError),
}

impl<E: Display> Display for Trouble<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hook(error) => write!(f, "{error}"),
            Self::Work(error) => write!(f, "{error}"),
            Self::FrozenTooLong { limit } => {
                write!(
                    f,
                    "the work did not end within the {} s that it may freeze the app",
                    limit.as_secs_f32()
                )
            }
            Self::Frozen(error) => write!(f, "{error}"),
        }
    }
}

/// Runs `work` with `hooks` around it. The work is handed the wish to stop that it has to heed; `results` says what
/// of its outcome the last hooks are told, as variables.
pub fn around<T, E: Display>(
    hooks: &Hooks,
    surroundings: &Surroundings<'_>,
    work: impl FnOnce(&Cancel) -> Result<T, E>,
    results: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Ran<T, E> {
    let mut ran = Ran { done: None, error: None, frozen: None, left_frozen: false, problems: Vec::new() };
    match prepare(hooks, surroundings) {
        Err(error) => ran.error = Some(Trouble::Hook(error)),
        Ok(()) if hooks.freeze.is_empty() => ran.take(work(&surroundings.cancel)),
        Ok(()) => frozen(hooks, surroundings, work, &mut ran),
    }
    let results = ran.done.as_ref().map(results).unwrap_or_default();
    let error = ran.error.as_ref().map(ToString::to_string);
    let concluded = conclude(hooks, surroundings, error.as_deref(), &results);
    ran.problems.extend(concluded.problems);
    if let Some(error) = concluded.after {
        ran.error = Some(Trouble::Hook(error));
    }
    ran
}

impl<T, E: Display> Ran<T, E> {
    fn take(&mut self, result: Result<T, E>) {
        match result {
            Ok(done) => self.done = Some(done),
            Err(error) => self.error = Some(Trouble::Work(error)),
        }
    }
}

/// What the watch over a freeze has seen.
struct Watched {
    too_long: bool,
    /// To the end of the thaw.
    lasted: Duration,
    thawed: Result<(), FrozenError>,
}

fn frozen<T, E: Display>(
    hooks: &Hooks,
    surroundings: &Surroundings<'_>,
    work: impl FnOnce(&Cancel) -> Result<T, E>,
    ran: &mut Ran<T, E>,
) {
    if surroundings.cancel.is_cancelled() {
        ran.error = Some(Trouble::Hook(HookError::LeftOut { hook: "freeze[0]".to_owned() }));
        return;
    }
    let marked = match Frozen::begin(surroundings, &hooks.thaw) {
        Ok(marked) => marked,
        Err(error) => {
            ran.left_frozen = matches!(error, FrozenError::StillFrozen { .. });
            ran.error = Some(Trouble::Frozen(error));
            return;
        }
    };
    let started = Instant::now();
    let cancel = Cancel::new();
    let freezing = Mutex::new(());
    let (working, over) = mpsc::channel::<()>();
    let thaw = |too_long| {
        let thawed = marked.thaw(surroundings.clock);
        Watched { too_long, lasted: started.elapsed(), thawed }
    };
    let watched = thread::scope(|scope| {
        // Dropped when the work ends, by a panic too: that is what the watch waits for.
        let working = working;
        let still_freezing = freezing.lock();
        let (stop, frozen_by, thaw) = (&cancel, &freezing, &thaw);
        let watch = thread::Builder::new().name("thaw".to_owned()).spawn_scoped(scope, move || {
            let too_long = wait(&over, started, hooks.max_frozen, surroundings, stop);
            // A freeze that comes into effect after its thaw would last.
            drop(frozen_by.lock());
            thaw(too_long)
        });
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => {
                ran.error = Some(Trouble::Frozen(FrozenError::Watch(error)));
                return thaw(false);
            }
        };
        let ready = freeze(hooks, surroundings, started, &cancel);
        drop(still_freezing);
        match ready {
            Ok(()) => ran.take(work(&cancel)),
            Err(error) => ran.error = Some(Trouble::Hook(error)),
        }
        drop(working);
        watch.join().unwrap_or_else(|_| Watched {
            too_long: false,
            lasted: started.elapsed(),
            thawed: Err(FrozenError::Watch(std::io::Error::other("the watch has failed"))),
        })
    });
    ran.frozen = Some(watched.lasted);
    tracing::info!(job = surroundings.job, seconds = watched.lasted.as_secs_f64(), "the app was frozen");
    if watched.too_long {
        // That the work was stopped follows from it.
        let limit = hooks.max_frozen;
        if let Some(Trouble::Work(error)) = ran.error.replace(Trouble::FrozenTooLong { limit }) {
            ran.problems.push(error.to_string());
        }
    }
    if let Err(error) = watched.thawed {
        tracing::error!(job = surroundings.job, "{error}");
        ran.left_frozen = true;
        match ran.error {
            None => ran.error = Some(Trouble::Frozen(error)),
            Some(_) => ran.problems.push(error.to_string()),
        }
    }
}

/// Each freeze has the time that is left of all of it, at most.
fn freeze(
    hooks: &Hooks,
    surroundings: &Surroundings<'_>,
    started: Instant,
    cancel: &Cancel,
) -> Result<(), HookError> {
    let env = surroundings.all_env();
    for (number, action) in hooks.freeze.iter().enumerate() {
        let left = hooks.max_frozen.saturating_sub(started.elapsed());
        call("freeze", number, surroundings, &env, cancel).perform(action, Some(left))?;
    }
    Ok(())
}

/// Until the work has ended, or has taken too long: then it is told to stop. Hands on the wish to stop as well.
fn wait(
    over: &Receiver<()>,
    started: Instant,
    limit: Duration,
    surroundings: &Surroundings<'_>,
    cancel: &Cancel,
) -> bool {
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            cancel.cancel();
            return true;
        }
        match over.recv_timeout(left.min(SLICE)) {
            Err(RecvTimeoutError::Timeout) if surroundings.cancel.is_cancelled() => cancel.cancel(),
            Err(RecvTimeoutError::Timeout) | Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}
