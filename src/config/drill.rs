//! The section `drill`: where snapshots are brought back to be proved, and of which repositories.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::section::no_absolute_path;

/// How a snapshot is brought back to be proved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DrillConfig {
    /// An existing directory for the scratch space, of this volume alone, on whatever file system. Default: the state
    /// directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// Of which repositories the newest snapshot is brought back.
    pub repositories: DrillRepositories,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillRepositories {
    /// The first one.
    #[default]
    First,
    /// Each in turn. All have to be good.
    Each,
}

impl DrillConfig {
    /// The key below `drill`, and what is wrong with it.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        no_absolute_path(self.directory.as_deref()).map(|message| ("directory", message))
    }
}
