//! Text that may be a secret: given as it is, or as a file that is read when the text is needed.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::secret::Secret;

/// Serialized with the secret as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    #[serde(serialize_with = "revealed", deserialize_with = "hidden")]
    Value(Secret),
    /// One line feed at its end is not part of the text.
    File(PathBuf),
}

impl Text {
    /// The error comes with the file's path.
    pub fn read(&self) -> Result<String, (&Path, io::Error)> {
        match self {
            Self::Value(secret) => Ok(secret.reveal().to_owned()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| (path.as_path(), error))?;
                let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
                Ok(line.unwrap_or(&text).to_owned())
            }
        }
    }
}

fn revealed<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

fn hidden<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_not_shown() {
        let text = Text::Value(Secret::new("token"));
        assert!(!format!("{text:?}").contains("token"));
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), text);
        assert_eq!(text.read().unwrap(), "token");
    }

    #[test]
    fn a_file_is_read_when_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let text = Text::File(dir.path().join("token"));
        assert!(text.read().is_err());
        std::fs::write(dir.path().join("token"), "one\ntwo\n").unwrap();
        assert_eq!(text.read().unwrap(), "one\ntwo");
    }
}
