//! The Kubernetes termination log: what `kubectl describe pod` shows of a container that failed.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::base::environment::Environment;
use crate::cli::exit::Failure;
use crate::config::environment::TERMINATION_LOG_VARIABLE;

const DEFAULT_PATH: &str = "/dev/termination-log";
/// What Kubernetes reads of it.
const LONGEST: usize = 4096;

/// Writes the failure where the environment says, or to the usual place if that is there.
pub fn record(environment: &Environment, failure: &Failure) {
    let named = environment.get(TERMINATION_LOG_VARIABLE).filter(|path| !path.is_empty());
    let path = Path::new(named.unwrap_or(DEFAULT_PATH));
    // Only a named file is made: outside of Kubernetes nobody wants one in /dev.
    if let Err(error) = write(path, &failure.to_text(), named.is_some())
        && (named.is_some() || error.kind() != io::ErrorKind::NotFound)
    {
        // The failure itself is on stderr; this one must not hide it.
        tracing::warn!("cannot write {}: {error}", path.display());
    }
}

fn write(path: &Path, text: &str, create: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).create(create).open(path)?;
    file.write_all(cut(text).as_bytes())
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    #[test]
    fn the_cause_is_recorded_and_cut_between_characters() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("termination-log");
        let environment = Environment::from([(TERMINATION_LOG_VARIABLE, path.to_str().unwrap())]);
        record(&environment, &Failure::new(Exit::Failed, "ü".repeat(4000)));
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("volkeep: ü") && (4095..=4096).contains(&written.len()));

        record(&environment, &Failure::new(Exit::Failed, "short"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "volkeep: short\n");
    }
}
