//! How the configuration writes a check of the data. Must not know how one is run.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::Span;

/// One check. Paths are relative to the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckSpec {
    #[serde(flatten)]
    pub what: CheckKind,
    /// When it runs: at every start (`quick`), only when there is doubt (`full`), or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<CheckLevel>,
    /// After this time it counts as "could not run", which is not "corrupt".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// There is something by this name.
    Exists(PathBuf),
    /// A file with content, or a directory with entries.
    NotEmpty(PathBuf),
    /// A program and its arguments that exits with 0 when the data is whole; no shell is involved.
    Command(Vec<String>),
    /// A sqlite database that passes its integrity check.
    Sqlite(PathBuf),
    /// The data is what the last backup or restore recorded.
    Manifest(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckLevel {
    Quick,
    Full,
    Both,
}
