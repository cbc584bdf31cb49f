//! What the built program says to the configuration that a container would have.

use std::process::Command;

use serde_json::Value;

use super::objects::{find, list, text};
use super::pods::{Pod, mounted};
use crate::support::run;

/// The configuration in effect in a container, or why there is none.
pub fn configuration(pod: &Pod<'_>, container: &Value, objects: &[Value]) -> Result<Value, String> {
    let mount = mounted(container, "/etc/volkeep/config.yaml").ok_or("nothing is mounted at /etc/volkeep")?;
    let volume = pod.volume(text(&mount["name"])).ok_or("its configuration is no volume of the pod")?;
    let named = text(&volume["configMap"]["name"]);
    let map = find(objects, "ConfigMap", named).ok_or(format!("there is no ConfigMap {named}"))?;
    let file = map["data"]["config.yaml"].as_str().ok_or(format!("no config.yaml in {named}"))?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = scratch.path().join("config.yaml");
    std::fs::write(&path, file).map_err(|error| error.to_string())?;
    let asked = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_volkeep"));
        command.env_clear().arg("--config").arg(&path).args(words);
        for variable in list(container, "env") {
            // What has no value comes from the cluster, and is no part of the configuration.
            if let Some(value) = variable["value"].as_str() {
                command.env(text(&variable["name"]), value);
            }
        }
        let outcome = run(&mut command);
        // A name that nobody knows is only a warning.
        if outcome.code == 0 && outcome.stderr.is_empty() {
            Ok(outcome.stdout)
        } else {
            Err(outcome.to_string())
        }
    };
    asked(&["config", "check"])?;
    serde_saphyr::from_str(&asked(&["config", "show"])?).map_err(|error| error.to_string())
}

/// Every scalar with its path, so that two configurations can be compared.
pub fn scalars(of: &Value, path: &str, into: &mut Vec<(String, String)>) {
    match of {
        Value::Object(keys) => {
            for (key, value) in keys {
                scalars(value, &format!("{path}.{key}"), into);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                scalars(value, &format!("{path}[{number}]"), into);
            }
        }
        other => into.push((path.trim_start_matches('.').to_owned(), other.to_string())),
    }
}
