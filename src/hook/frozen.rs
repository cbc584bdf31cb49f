//! The frozen marker: a file for each job that has frozen its app, there before the first freeze and gone after
//! the last thaw. Whoever finds one thaws by what it says, whatever the configuration says by then.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::action::Action;
use super::error::HookError;
use super::perform::{Call, Surroundings};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::fs::{
    TEMPORARY_PREFIX, read_if_present, remove_if_present, sync_dir, sync_parent, write_atomic,
};
use crate::base::sealed::{SealError, open, seal};
use crate::base::timestamp::Timestamp;

/// Below the state directory.
const DIRECTORY: &str = "frozen";
const FORMAT: u64 = 1;
/// How often a thaw is tried in one go.
const ROUNDS: u32 = 3;
/// Before the second round; twice that before the third.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum FrozenError {
    /// For a person to mend.
    #[error("`{0}` cannot be the name of a job that freezes: letters, digits, `.`, `_` and `-` are")]
    Name(String),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// Whether something is frozen has to be looked at by a person.
    #[error("the frozen marker {} cannot be trusted: {source}", path.display())]
    Damaged { path: PathBuf, source: SealError },
    /// The marker stays, and the next start tries again.
    #[error("what job `{job}` froze is not thawed: {}", joined(failures))]
    StillFrozen { job: String, failures: Vec<HookError> },
    #[error("cannot watch over a freeze: {0}")]
    Watch(io::Error),
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub job: String,
    pub since: Timestamp,
    thaw: Vec<Action>,
    env: Vec<(String, String)>,
    directory: Option<PathBuf>,
}

/// All that is marked as frozen, without changing anything.
pub fn left_behind(state_dir: &Path) -> Result<Vec<Left>, FrozenError> {
    markers(state_dir)?.iter().filter_map(|path| read(path).transpose()).collect()
}

/// Thaws what an earlier run left frozen. To be called before any job runs, by whoever alone may run jobs. One that
/// fails keeps no other from being thawed; it stays marked.
pub fn thaw_left_behind(state_dir: &Path, clock: &dyn Clock) -> Vec<Result<Left, FrozenError>> {
    let markers = match markers(state_dir) {
        Ok(markers) => markers,
        Err(error) => return vec![Err(error)],
    };
    let thaw = |path: &PathBuf| thaw_marker(path, clock).transpose();
    markers.iter().filter_map(thaw).collect()
}

/// A freeze that is marked, and has to be thawed.
#[derive(Debug)]
pub(super) struct Frozen {
    path: PathBuf,
    left: Left,
}

impl Frozen {
    /// Marks the freeze that is about to begin. What an earlier run of the same job left frozen is thawed before,
    /// because its marker makes way.
    pub(super) fn begin(around: &Surroundings<'_>, thaw: &[Action]) -> Result<Self, FrozenError> {
        let path = place(around)?;
        thaw_marker(&path, around.clock)?;
        let left = Left {
            job: around.job.to_owned(),
            since: around.clock.now(),
            thaw: thaw.to_vec(),
            env: around.all_env(),
            directory: around.directory.clone(),
        };
        let frozen = Self { path, left };
        frozen.write()?;
        Ok(frozen)
    }

    /// Durable when this returns: a freeze nobody knows of after a crash would last for ever.
    fn write(&self) -> Result<(), FrozenError> {
        let io = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| FrozenError::Io { doing, path, source }
        };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        match std::fs::create_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.and_then(|()| sync_parent(directory)).map_err(io("create", directory))?,
        }
        let damaged = |source| FrozenError::Damaged { path: self.path.clone(), source };
        let bytes = seal(&self.left, FORMAT).map_err(damaged)?;
        // Its thaw actions may hold secrets.
        write_atomic(&self.path, &bytes, 0o600).map_err(io("write", &self.path))
    }

    /// Every action is tried, and those that fail are tried again. Only when all have succeeded the marker goes.
    pub(super) fn thaw(&self, clock: &dyn Clock) -> Result<(), FrozenError> {
        let Left { job, thaw, env, directory, .. } = &self.left;
        // Nothing ends a thaw but its own time limits.
        let never = Cancel::new();
        let mut pending: Vec<usize> = (0..thaw.len()).collect();
        let mut failures = Vec::new();
        for round in 0..ROUNDS {
            if round > 0 {
                clock.sleep(PAUSE * round);
            }
            failures.clear();
            pending.retain(|number| {
                let Some(action) = thaw.get(*number) else { return false };
                let call = Call {
                    directory: directory.as_deref(),
                    ..Call::new(job, &format!("thaw[{number}]"), env, &never)
                };
                let Err(error) = call.perform(action, None) else { return false };
                tracing::warn!(job, "{error}");
                failures.push(error);
                true
            });
            if pending.is_empty() {
                return self.forget();
            }
        }
        Err(FrozenError::StillFrozen { job: job.clone(), failures })
    }

    fn forget(&self) -> Result<(), FrozenError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        remove_if_present(&self.path).and_then(|()| sync_dir(directory)).map_err(|source| FrozenError::Io {
            doing: "remove",
            path: self.path.clone(),
            source,
        })
    }
}

fn thaw_marker(path: &Path, clock: &dyn Clock) -> Result<Option<Left>, FrozenError> {
    let Some(left) = read(path)? else { return Ok(None) };
    tracing::warn!(
        job = left.job,
        since = left.since.to_rfc3339(),
        "thawing what an earlier run left frozen"
    );
    let frozen = Frozen { path: path.to_owned(), left };
    frozen.thaw(clock)?;
    Ok(Some(frozen.left))
}

fn read(path: &Path) -> Result<Option<Left>, FrozenError> {
    let bytes = read_if_present(path).map_err(|source| FrozenError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    let damaged = |source| FrozenError::Damaged { path: path.to_owned(), source };
    bytes.map(|bytes| open(&bytes, FORMAT).map_err(damaged)).transpose()
}

fn place(around: &Surroundings<'_>) -> Result<PathBuf, FrozenError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let job = around.job;
    if job.is_empty() || job.starts_with('.') || job.len() > 200 || !job.bytes().all(fits) {
        return Err(FrozenError::Name(job.to_owned()));
    }
    Ok(around.state_dir.join(DIRECTORY).join(format!("{job}.json")))
}

/// In the order of their names.
fn markers(state_dir: &Path) -> Result<Vec<PathBuf>, FrozenError> {
    let directory = state_dir.join(DIRECTORY);
    let io = |source| FrozenError::Io { doing: "read", path: directory.clone(), source };
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(io)?.path();
        // A crash before the rename leaves a temporary file; nothing was frozen yet by then.
        let temporary = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()));
        if !temporary && path.extension() == Some(OsStr::new("json")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn joined(failures: &[HookError]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
