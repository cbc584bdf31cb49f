//! How the configuration writes a check of the data. Must not know how one is run.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::Span;
use crate::snapshot::RelativePath;

/// One check, as it is configured: `{exists: PG_VERSION}`, `{command: [verify, /data], timeout: 30s}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CheckFields", into = "CheckFields")]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// `None`: `both`, and for a command `full`, since the start of a healthy volume is a matter of
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

/// In which runs a check takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LevelFilter {
    Quick,
    Full,
    Both,
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
    /// When it is run (default: both; a command: full).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<LevelFilter>,
    /// After this time the check counts as one that could not tell (default: 60s; sqlite: 10m).
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
