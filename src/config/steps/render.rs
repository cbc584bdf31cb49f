//! A file that a step makes of a template, as it stands in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DEFAULT_MODE, mode, place};
use crate::base::secret::Secret;
use crate::config::actions::absolute;
use crate::snapshot::RelativePath;
use crate::step::{Render, Template, Variable};

/// A file on the volume, made of a template. Exactly one of `template` and `text` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RenderFields {
    /// The absolute path of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    template: Option<PathBuf>,
    /// Instead: the template itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The file, relative to the volume.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) to: String,
    /// Its mode in octal digits, in quotes (default: "0644").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// Its owner, which needs root: `name`, `name:group` or `uid:gid` (default: as volkeep runs).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// Values by the names that the template has for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values: BTreeMap<String, Value>,
    /// Values that are in variables of the environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) values_env: BTreeMap<String, String>,
    /// Values that are in files; one line feed at the end is no part of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values_file: BTreeMap<String, PathBuf>,
    /// Mappings, each in a file in which Kubernetes tells a pod its labels or annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    values_downward: BTreeMap<String, PathBuf>,
}

impl RenderFields {
    pub(super) fn parse(&self) -> Result<(RelativePath, u32), String> {
        match (&self.template, &self.text) {
            (Some(path), None) => absolute("template", Some(path))?,
            (None, Some(_)) => {}
            _ => return Err("`render` needs either `template` or `text`".to_owned()),
        }
        let to = place("render", &self.to)?;
        let mode = mode(self.mode.as_deref())?.unwrap_or(DEFAULT_MODE);
        let mut seen = BTreeSet::new();
        for name in self
            .values
            .keys()
            .chain(self.values_env.keys())
            .chain(self.values_file.keys())
            .chain(self.values_downward.keys())
        {
            if !is_name(name) {
                return Err(format!("`{name}` is not a name that a template can use"));
            }
            if !seen.insert(name) {
                return Err(format!("the value `{name}` is set twice; one of them has to go"));
            }
        }
        for (key, files) in [("values_file", &self.values_file), ("values_downward", &self.values_downward)] {
            for (name, path) in files {
                absolute(&format!("{key}.{name}"), Some(path))?;
            }
        }
        if let Some((name, _)) = self.values_env.iter().find(|(_, variable)| variable.is_empty()) {
            return Err(format!("`values_env.{name}` names no variable"));
        }
        Ok((to, mode))
    }

    pub(super) fn render(
        &self,
        to: &RelativePath,
        mode: u32,
        variables: &BTreeMap<String, Secret>,
    ) -> Render {
        Render {
            template: match (&self.template, &self.text) {
                (Some(path), _) => Template::File(path.clone()),
                (None, text) => Template::Text(text.clone().unwrap_or_default()),
            },
            to: to.clone(),
            mode,
            owner: self.owner.clone(),
            values: self.values.clone(),
            values_env: self
                .values_env
                .iter()
                .map(|(value, name)| {
                    let variable = Variable { name: name.clone(), value: variables.get(name).cloned() };
                    (value.clone(), variable)
                })
                .collect(),
            values_file: self.values_file.clone(),
            values_downward: self.values_downward.clone(),
        }
    }
}

fn is_name(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
