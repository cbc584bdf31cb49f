//! A program to run. Each line it says is handed on as it comes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::action::{ActionError, last_words, read};
use crate::base::cancel::Cancel;
use crate::base::process::{CommandSpec, run_watched};
use crate::base::text::Text;

/// A program; exit code 0 is success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAction {
    pub argv: Vec<String>,
    /// Comes on top of our own environment and of what is said about the work.
    pub env: Vec<(String, Text)>,
    /// `None`: that of the work.
    pub directory: Option<PathBuf>,
    /// As `base::process::user` understands it; needs root.
    pub user: Option<String>,
}

impl CommandAction {
    /// `told` is what is said about the work; `usual` is the directory if the action names none, unless it is not
    /// there.
    pub fn run(
        &self,
        told: &[(String, String)],
        usual: Option<&Path>,
        limit: Duration,
        cancel: &Cancel,
        each_line: &mut dyn FnMut(&str),
    ) -> Result<(), ActionError> {
        let mut env = told.to_vec();
        for (name, text) in &self.env {
            env.push((name.clone(), read(text)?));
        }
        let usual = usual.filter(|directory| directory.is_dir()).map(ToOwned::to_owned);
        let spec = CommandSpec {
            argv: self.argv.clone(),
            env,
            directory: self.directory.clone().or(usual),
            user: self.user.clone(),
            timeout: limit,
            ..CommandSpec::default()
        };
        let finished = run_watched(&spec, cancel, each_line)?;
        match finished.code {
            0 => Ok(()),
            code => Err(ActionError::Failed {
                program: self.argv.first().cloned().unwrap_or_default(),
                code,
                said: last_words(&finished.output),
            }),
        }
    }
}
