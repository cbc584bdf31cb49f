//! What can be wrong with a configuration: each message names the key, where its value came from and why it
//! is refused. All of it is for the user to mend; trying again does not help.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::origin::Origin;

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("there is no file {} ({named_by})", path.display())]
    FileMissing { path: PathBuf, named_by: String },
    #[error("cannot read {}: {source}", path.display())]
    FileUnreadable { path: PathBuf, source: io::Error },
    #[error("{} is not YAML: {message}", path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("unknown key `{key}` ({origin}){}", did_you_mean(nearest))]
    UnknownKey { key: String, origin: Origin, nearest: Option<String> },
    #[error("the variable {name} means nothing; did you mean {nearest}?")]
    UnknownVariable { name: String, nearest: String },
    #[error("`{key}` ({origin}): {message}")]
    Value { key: String, origin: Origin, message: String },
    #[error("`{key}` is not set; set it by {by}")]
    Missing { key: String, by: String },
    #[error("{first} and {second} are both set; one of them has to go")]
    SetTwice { first: String, second: String },
    #[error("{name} names the file {}, which cannot be read: {source}", path.display())]
    VariableFile { name: String, path: PathBuf, source: io::Error },
}

/// Everything that was found, in one go. Never empty.
#[derive(Debug, Error)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
