//! Checks whether the data is whole: what can be asked, and what came out. A check that could not run is told
//! apart from one that found damage, and never leads to a restore.

mod checksum_file;
mod command;
mod files;
#[cfg(feature = "git")]
mod git;
mod http;
mod limit;
mod postgres;
mod sqlite;

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::action::HttpAction;
use crate::base::cancel::Cancel;
use crate::snapshot::RelativePath;
pub use checksum_file::Algorithm;

/// For commands and quick looks.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Reading a whole database, or many files, takes its time.
const DEFAULT_READING_TIMEOUT: Duration = Duration::from_secs(600);

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// `None`: `both`, and for a command, a request and the manifest `full`, since the start of a healthy volume is a matter of
    /// milliseconds.
    pub level: Option<LevelFilter>,
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Something by this name is there.
    Exists(RelativePath),
    /// A file with content or a directory with entries.
    NotEmpty(RelativePath),
    /// Exit code 0 is good. `corrupt_codes`: those that mean damage, any other means that it could not tell;
    /// `None`: 1 to 125, since shells use those above for commands that could not be run or were killed.
    Command { argv: Vec<String>, corrupt_codes: Option<Vec<i32>> },
    /// A database file of SQLite.
    Sqlite(RelativePath),
    /// The data directory of a PostgreSQL server, and the first number of the version that is to serve it.
    Postgres { path: RelativePath, version: Option<u32> },
    /// A bare git repository, or a directory in which all of them are checked.
    Git(RelativePath),
    /// A status that the request does not expect is damage if it is one of these, and else says nothing.
    Http { request: Box<HttpAction>, corrupt: Vec<u16> },
    /// A list of hashes as `sha256sum` writes it. `None`: of which kind they are is told by their length.
    ChecksumFile { path: RelativePath, algorithm: Option<Algorithm> },
    /// Against the last snapshot's manifest; run by whoever has that.
    Manifest,
}

/// How thorough a run of checks is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Quick,
    Full,
}

/// In which runs a check takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelFilter {
    Quick,
    Full,
    Both,
}

/// Damage, for certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check: `exists PG_VERSION`.
    pub check: String,
    pub message: String,
}

/// A check that could not tell, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undecided {
    pub check: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckOutcome {
    pub findings: Vec<Finding>,
    /// Whole, and not what is configured: another would not be better, and this one must stay as it is.
    pub unfit: Vec<Finding>,
    pub undecided: Vec<Undecided>,
    /// Due, but not run here: the manifest.
    pub skipped: Vec<String>,
}

/// What one check says: nothing, damage, that it cannot tell, or that the data is whole and not what is configured.
#[derive(Debug)]
enum Verdict {
    Good,
    Damaged(String),
    Unknown(String),
    Unfit(String),
}

/// `state_dir` may lie in the volume, and is none of its data.
pub(crate) fn run(volume: &Path, state_dir: &Path, checks: &[CheckSpec], level: Level) -> CheckOutcome {
    run_at(volume, state_dir, checks, level, &Cancel::new())
}

/// Of the tree in `volume`, wherever that is. A wish to stop ends a command.
pub fn run_at(
    volume: &Path,
    state_dir: &Path,
    checks: &[CheckSpec],
    level: Level,
    cancel: &Cancel,
) -> CheckOutcome {
    let mut outcome = CheckOutcome::default();
    for check in checks.iter().filter(|check| check.is_due(level)) {
        let limit = check.time_limit();
        let verdict = match &check.kind {
            CheckKind::Exists(path) => apart(limit, volume, path, files::exists),
            CheckKind::NotEmpty(path) => apart(limit, volume, path, files::not_empty),
            CheckKind::Command { argv, corrupt_codes } => {
                command::run(volume, argv, corrupt_codes.as_deref(), limit, cancel)
            }
            CheckKind::Sqlite(path) => {
                apart(limit, volume, path, move |volume, path| sqlite::run(volume, path, level, limit))
            }
            CheckKind::Postgres { path, version } => postgres::run(volume, path, *version, level, limit),
            CheckKind::Git(path) => check_git((volume, state_dir), path, level, limit),
            CheckKind::Http { request, corrupt } => http::run(request, corrupt, limit),
            CheckKind::ChecksumFile { path, algorithm } => {
                checksum_file::run(volume, path, *algorithm, level, limit)
            }
            CheckKind::Manifest => {
                outcome.skipped.push(check.name());
                continue;
            }
        };
        match verdict {
            Verdict::Good => {}
            Verdict::Damaged(message) => outcome.findings.push(Finding { check: check.name(), message }),
            Verdict::Unknown(reason) => outcome.undecided.push(Undecided { check: check.name(), reason }),
            Verdict::Unfit(message) => outcome.unfit.push(Finding { check: check.name(), message }),
        }
    }
    outcome
}

impl CheckSpec {
    /// How messages call it.
    pub fn name(&self) -> String {
        match &self.kind {
            CheckKind::Exists(path) => format!("exists {path}"),
            CheckKind::NotEmpty(path) => format!("not_empty {path}"),
            CheckKind::Command { argv, .. } => format!("command {}", argv.join(" ")),
            CheckKind::Sqlite(path) => format!("sqlite {path}"),
            CheckKind::Postgres { path, .. } => format!("postgres {}", shown(path)),
            CheckKind::Git(path) => format!("git {}", shown(path)),
            // Its address may hold a token.
            CheckKind::Http { .. } => "http".to_owned(),
            CheckKind::ChecksumFile { path, .. } => format!("checksum_file {path}"),
            CheckKind::Manifest => "manifest".to_owned(),
        }
    }

    pub fn is_due(&self, level: Level) -> bool {
        let default = match self.kind {
            CheckKind::Command { .. } | CheckKind::Http { .. } | CheckKind::Manifest => LevelFilter::Full,
            _ => LevelFilter::Both,
        };
        match self.level.unwrap_or(default) {
            LevelFilter::Both => true,
            LevelFilter::Quick => level == Level::Quick,
            LevelFilter::Full => level == Level::Full,
        }
    }

    pub fn time_limit(&self) -> Duration {
        let default = match self.kind {
            CheckKind::Sqlite(_)
            | CheckKind::Postgres { .. }
            | CheckKind::Git(_)
            | CheckKind::ChecksumFile { .. }
            | CheckKind::Manifest => DEFAULT_READING_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        };
        self.timeout.unwrap_or(default)
    }
}

/// So that a file system that hangs is not waited for.
fn apart(
    span: Duration,
    volume: &Path,
    path: &RelativePath,
    look: impl FnOnce(&Path, &RelativePath) -> Verdict + Send + 'static,
) -> Verdict {
    let (volume, path) = (volume.to_owned(), path.clone());
    limit::limited(span, move |_| look(&volume, &path))
}

#[cfg(feature = "git")]
fn check_git(
    (volume, state_dir): (&Path, &Path),
    path: &RelativePath,
    level: Level,
    limit: Duration,
) -> Verdict {
    git::run(volume, state_dir, path, level, limit)
}

#[cfg(not(feature = "git"))]
fn check_git(_: (&Path, &Path), _: &RelativePath, _: Level, _: Duration) -> Verdict {
    Verdict::Unknown("git is not supported by this build".to_owned())
}

/// The volume itself as it is configured.
fn shown(path: &RelativePath) -> String {
    if path.is_root() { ".".to_owned() } else { path.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: CheckKind, level: Option<LevelFilter>) -> CheckSpec {
        CheckSpec { kind, level, timeout: None }
    }

    fn path(text: &str) -> RelativePath {
        RelativePath::new(text).unwrap()
    }

    #[test]
    fn each_kind_has_its_turn_and_its_time() {
        let command =
            |level| check(CheckKind::Command { argv: vec!["x".into()], corrupt_codes: None }, level);
        assert!(!command(None).is_due(Level::Quick));
        assert!(command(Some(LevelFilter::Both)).is_due(Level::Quick));
        assert!(!check(CheckKind::Exists(path("a")), Some(LevelFilter::Full)).is_due(Level::Quick));
        assert_eq!(check(CheckKind::Sqlite(path("a")), None).time_limit(), DEFAULT_READING_TIMEOUT);
        let limited = CheckSpec { timeout: Some(Duration::from_secs(1)), ..command(None) };
        assert_eq!(limited.time_limit(), Duration::from_secs(1));
        assert_eq!(command(None).name(), "command x");
    }

    #[test]
    fn each_verdict_has_its_place_and_the_manifest_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let exists = ["file", "gone", "file/below"].map(|name| check(CheckKind::Exists(path(name)), None));
        let checks = [&exists[..], &[check(CheckKind::Manifest, Some(LevelFilter::Both))]].concat();
        let outcome = run(dir.path(), &dir.path().join(".volkeep"), &checks, Level::Quick);
        assert_eq!(outcome.findings.len(), 1);
        assert_eq!(outcome.findings[0].check, "exists gone");
        assert_eq!(outcome.undecided.len(), 1);
        assert_eq!(outcome.undecided[0].check, "exists file/below");
        assert_eq!(outcome.skipped, ["manifest"]);
    }
}
