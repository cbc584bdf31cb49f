//! Text that must not show up in logs, errors or printed configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// In a JSON schema it is text to be written and never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String", extend("writeOnly" = true))]
pub struct Secret(String);

pub const REDACTED: &str = "***";

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; the name is long so that its uses stand out.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A secret, or where it is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    Value(Secret),
    /// Read again each time it is needed, so that a secret that was changed in place is noticed.
    File(PathBuf),
}

impl SecretSource {
    /// The text as it is, white space included.
    pub fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => std::fs::read_to_string(path).map(Secret::new),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}
