//! The repair of damaged data as it stands in the file, and the way from there to the one that is run. Secrets are
//! shown nowhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::action::CommandAction;
use crate::base::units::Span;
use crate::config::actions::{HiddenText, command_fault, only_with, texts};
use crate::ops::init::repair::Repair;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// What to run on damaged data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RepairConfig {
    /// The program and its arguments; no shell is involved. Empty: nothing is repaired.
    pub command: Vec<String>,
    /// Variables for the command, on top of those that say what is wrong. Values are not shown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, HiddenText>,
    /// Variables for the command whose values are read from files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env_file: BTreeMap<String, PathBuf>,
    /// The working directory of the command. Default: the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// As whom the command runs, when volkeep is root: `name`, `name:group` or `uid:gid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// After this time the command is ended with all it started.
    pub timeout: Span,
    /// Whether a copy of the data goes to quarantine first. Without room for it nothing is repaired.
    pub keep_copy: bool,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            env: BTreeMap::new(),
            env_file: BTreeMap::new(),
            directory: None,
            user: None,
            timeout: Span(DEFAULT_TIMEOUT),
            keep_copy: false,
        }
    }
}

impl RepairConfig {
    pub fn fault(&self) -> Result<(), String> {
        match self.command.first() {
            Some(program) if program.is_empty() => Err("`command` begins with an empty word".to_owned()),
            Some(_) => command_fault(self.directory.as_deref(), &self.env, &self.env_file),
            None => only_with(
                "command",
                &[
                    ("env", !self.env.is_empty()),
                    ("env_file", !self.env_file.is_empty()),
                    ("directory", self.directory.is_some()),
                    ("user", self.user.is_some()),
                    ("keep_copy", self.keep_copy),
                ],
            ),
        }
    }

    pub fn options(&self) -> Option<Repair> {
        (!self.command.is_empty()).then(|| Repair {
            command: CommandAction {
                argv: self.command.clone(),
                env: texts(&self.env, &self.env_file),
                directory: self.directory.clone(),
                user: self.user.clone(),
            },
            timeout: self.timeout.0,
            keep_copy: self.keep_copy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_with_a_command_needs_one() {
        assert!(RepairConfig::default().fault().is_ok() && RepairConfig::default().options().is_none());
        let without = RepairConfig { keep_copy: true, ..RepairConfig::default() };
        assert_eq!(without.fault().unwrap_err(), "`keep_copy` goes with `command` only");
        let with = RepairConfig { command: vec!["mend".to_owned()], ..without };
        assert!(with.fault().is_ok());
        let repair = with.options().unwrap();
        assert!(repair.keep_copy && repair.timeout == Duration::from_secs(600));
        let relative = RepairConfig { directory: Some("here".into()), ..with };
        assert!(relative.fault().unwrap_err().contains("not an absolute path"));
    }
}
