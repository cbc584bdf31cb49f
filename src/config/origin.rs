//! Where a value came from: for messages and for `config show --origin`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Ordered by rank: a later kind wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: Option<u64> },
    Variable(String),
    Flag(String),
}

/// By full key, such as `repositories[0].url`. What is not named here came from where its parent came from.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Sets the origin of `key` and forgets that of everything below it.
    pub fn set(&mut self, key: &str, origin: Origin) {
        self.0.retain(|known, _| !is_below(known, key));
        self.0.insert(key.to_owned(), origin);
    }

    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub fn of(&self, key: &str) -> Origin {
        let mut key = key;
        loop {
            if let Some(origin) = self.0.get(key) {
                return origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = key.get(..end).unwrap_or_default(),
                None => return Origin::Default,
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "{} line {line}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

fn is_below(key: &str, parent: &str) -> bool {
    key.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}
