//! Checks whether the data is whole: what can be asked, and what came out. A check that could not run is told
//! apart from one that found damage, and never leads to a restore.

mod command;
mod files;
mod sqlite;

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::cancel::Cancel;
use crate::base::units::Span;
use crate::snapshot::RelativePath;

/// For commands and quick looks.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Reading a whole database, or all files, takes its time.
const DEFAULT_READING_TIMEOUT: Duration = Duration::from_secs(600);

/// One check, as it is configured: `{exists: PG_VERSION}`, `{command: [verify, /data], timeout: 30s}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CheckFields", into = "CheckFields")]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// `None`: `both`, and for a command and the manifest `full`, since the start of a healthy volume is a matter of
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
    pub undecided: Vec<Undecided>,
    /// Due, but not run here: the manifest.
    pub skipped: Vec<String>,
}

/// What one check says: nothing, damage, or that it cannot tell.
enum Verdict {
    Good,
    Damaged(String),
    Unknown(String),
}

pub(crate) fn run(volume: &Path, checks: &[CheckSpec], level: Level) -> CheckOutcome {
    run_at(volume, checks, level, &Cancel::new())
}

/// Of the tree in `volume`, wherever that is. A wish to stop ends a command.
pub fn run_at(volume: &Path, checks: &[CheckSpec], level: Level, cancel: &Cancel) -> CheckOutcome {
    let mut outcome = CheckOutcome::default();
    for check in checks.iter().filter(|check| check.is_due(level)) {
        let limit = check.time_limit();
        let verdict = match &check.kind {
            CheckKind::Exists(path) => files::exists(volume, path),
            CheckKind::NotEmpty(path) => files::not_empty(volume, path),
            CheckKind::Command { argv, corrupt_codes } => {
                command::run(volume, argv, corrupt_codes.as_deref(), limit, cancel)
            }
            CheckKind::Sqlite(path) => sqlite::run(volume, path, level, limit),
            CheckKind::Manifest => {
                outcome.skipped.push(check.name());
                continue;
            }
        };
        match verdict {
            Verdict::Good => {}
            Verdict::Damaged(message) => outcome.findings.push(Finding { check: check.name(), message }),
            Verdict::Unknown(reason) => outcome.undecided.push(Undecided { check: check.name(), reason }),
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
            CheckKind::Manifest => "manifest".to_owned(),
        }
    }

    pub fn is_due(&self, level: Level) -> bool {
        let default = match self.kind {
            CheckKind::Command { .. } | CheckKind::Manifest => LevelFilter::Full,
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
            CheckKind::Sqlite(_) | CheckKind::Manifest => DEFAULT_READING_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        };
        self.timeout.unwrap_or(default)
    }
}

/// A check of the volume. Exactly one of `exists`, `not_empty`, `command`, `sqlite` and `manifest` is given.
/// Paths are relative to the volume.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CheckFields {
    /// Something by this name is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exists: Option<String>,
    /// A file with content or a directory with entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_empty: Option<String>,
    /// A program and its arguments; exit code 0 is good. `VOLKEEP_VOLUME` holds the volume's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<Vec<String>>,
    /// Exit codes of the command that mean damage (default: 1 to 125).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    corrupt_codes: Option<Vec<i32>>,
    /// An SQLite database: quick, its header and size; full, its integrity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sqlite: Option<String>,
    /// `true`: sizes and hashes against the last snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<bool>,
    /// When it is run (default: both; a command and the manifest: full).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<LevelFilter>,
    /// After this time the check is given up as undecided (default: 60s; 10m for `sqlite` and `manifest`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<Span>,
}

impl JsonSchema for CheckSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CheckSpec".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        CheckFields::json_schema(generator)
    }
}

impl TryFrom<CheckFields> for CheckSpec {
    type Error = String;

    fn try_from(fields: CheckFields) -> Result<Self, String> {
        let path = |text: String| {
            let path = RelativePath::new(text.into_bytes()).map_err(|error| error.to_string())?;
            if path.is_root() { Err("a check needs a path".to_owned()) } else { Ok(path) }
        };
        let corrupt_codes = fields.corrupt_codes;
        if corrupt_codes.is_some() && fields.command.is_none() {
            return Err("`corrupt_codes` goes with `command` only".to_owned());
        }
        let mut kinds = Vec::new();
        kinds.extend(fields.exists.map(|text| path(text).map(CheckKind::Exists)));
        kinds.extend(fields.not_empty.map(|text| path(text).map(CheckKind::NotEmpty)));
        kinds.extend(fields.sqlite.map(|text| path(text).map(CheckKind::Sqlite)));
        kinds.extend(fields.command.map(|argv| match argv.is_empty() {
            true => Err("`command` is empty".to_owned()),
            false => Ok(CheckKind::Command { argv, corrupt_codes }),
        }));
        kinds.extend(fields.manifest.map(|wanted| match wanted {
            true => Ok(CheckKind::Manifest),
            false => Err("`manifest: false` asks for nothing; leave the check out".to_owned()),
        }));
        let mut kinds = kinds.into_iter();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => {
                Ok(Self { kind: kind?, level: fields.level, timeout: fields.timeout.map(|span| span.0) })
            }
            _ => Err("a check is exactly one of exists, not_empty, command, sqlite, manifest".to_owned()),
        }
    }
}

impl From<CheckSpec> for CheckFields {
    fn from(spec: CheckSpec) -> Self {
        let mut fields = Self { level: spec.level, timeout: spec.timeout.map(Span), ..Self::default() };
        match spec.kind {
            CheckKind::Exists(path) => fields.exists = Some(path.to_string()),
            CheckKind::NotEmpty(path) => fields.not_empty = Some(path.to_string()),
            CheckKind::Sqlite(path) => fields.sqlite = Some(path.to_string()),
            CheckKind::Command { argv, corrupt_codes } => {
                (fields.command, fields.corrupt_codes) = (Some(argv), corrupt_codes);
            }
            CheckKind::Manifest => fields.manifest = Some(true),
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CheckSpec, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn checks_are_written_in_one_line_each() {
        let check =
            parse("{command: [pg_verify, -q], corrupt_codes: [2], timeout: 30s, level: both}").unwrap();
        assert_eq!(check.time_limit(), Duration::from_secs(30));
        assert_eq!(check.name(), "command pg_verify -q");
        assert!(check.is_due(Level::Quick));
        assert_eq!(parse("{manifest: true}").unwrap().kind, CheckKind::Manifest);
        assert!(!parse("{command: [x]}").unwrap().is_due(Level::Quick));
        assert!(!parse("{exists: a, level: full}").unwrap().is_due(Level::Quick));
        let text = serde_json::to_string(&check).unwrap();
        assert_eq!(serde_json::from_str::<CheckSpec>(&text).unwrap(), check);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "{}",
            "{exists: a, sqlite: b}",
            "{exists: /etc/passwd}",
            "{exists: a/../../b}",
            "{exists: \"\"}",
            "{command: []}",
            "{manifest: false}",
            "{exists: a, corrupt_codes: [1]}",
            "{exist: a}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_verdict_has_its_place_and_the_manifest_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let checks =
            ["{exists: file}", "{exists: gone}", "{exists: file/below}", "{manifest: true, level: both}"];
        let checks = checks.map(|text| parse(text).unwrap());
        let outcome = run(dir.path(), &checks, Level::Quick);
        assert_eq!(outcome.findings.len(), 1);
        assert_eq!(outcome.findings[0].check, "exists gone");
        assert_eq!(outcome.undecided.len(), 1);
        assert_eq!(outcome.undecided[0].check, "exists file/below");
        assert_eq!(outcome.skipped, ["manifest"]);
    }
}
